//! Reading tables and rows.

use std::sync::Arc;

use arrow::array::RecordBatch;

use super::Store;
use crate::error::{Error, Result};
use crate::ids::TableId;
use crate::snapshot::{ShardSnapshot, ShardStats, TableSnapshot};
use crate::table::TableDef;

impl Store {
    /// The live table of this name. If two share it, the one with the smaller (created, owner,
    /// id) is visible.
    pub fn table(&self, name: &str) -> Option<Arc<TableDef>> {
        self.core().catalog.read().by_name(name).cloned()
    }

    /// The table with this id, also if it is shadowed or dropped.
    pub fn table_by_id(&self, id: TableId) -> Option<Arc<TableDef>> {
        let catalog = self.core().catalog.read();
        catalog.by_id(id).map(|table| table.def.clone())
    }

    /// The live, visible tables, by name.
    pub fn tables(&self) -> Vec<Arc<TableDef>> {
        self.core().catalog.read().visible()
    }

    /// All tables, also shadowed and dropped ones, by name, then id.
    pub fn all_tables(&self) -> Vec<Arc<TableDef>> {
        let all = self.core().catalog.read().all();
        all.into_iter().map(|table| table.def).collect()
    }

    /// The rows of a table at this moment, consistent over its shards. Cheap. Fails with
    /// `NotFound` if the table is unknown or dropped, `Unavailable` if the store is closed.
    pub fn snapshot(&self, table: TableId) -> Result<TableSnapshot> {
        let table = self.core().any_table(table)?;
        let mut shards = table.state.lock()?;
        Ok(TableSnapshot {
            def: table.def,
            shards: (0..)
                .zip(shards.iter_mut())
                .map(|(shard, mem)| ShardSnapshot::of(shard, mem))
                .collect(),
        })
    }

    /// The live row with this key, as a batch of one row with all columns. `key` is one row of
    /// the table's key columns ([`TableDef::key_schema`]). Costs one look-up. Fails with
    /// `NotFound` if the table is unknown or dropped, `InvalidInput` if the key has other columns
    /// or not one row, `Unavailable` if the store is closed.
    pub fn get(&self, table: TableId, key: &RecordBatch) -> Result<Option<RecordBatch>> {
        let core = self.core();
        let table = core.any_table(table)?;
        if key.num_rows() != 1 {
            return Err(Error::invalid(format!(
                "table \"{}\": a look-up takes one key, not {}",
                table.def.name,
                key.num_rows()
            )));
        }
        let encoder = &table.state.encoder;
        let encoded = encoder.encode(key)?;
        let shard = encoder.shard_of_each(key)?.first().copied().unwrap_or(0);
        let shards = table.state.lock()?;
        let row = shards
            .get(shard as usize)
            .and_then(|mem| mem.get(encoded.row(0).data(), &core.hasher));
        Ok(row)
    }

    /// Rows, bytes, digest and newest version of every shard, in order. Fails like `snapshot`.
    pub fn shard_stats(&self, table: TableId) -> Result<Vec<ShardStats>> {
        let table = self.core().any_table(table)?;
        let shards = table.state.lock()?;
        Ok((0..)
            .zip(shards.iter())
            .map(|(shard, mem)| ShardStats::of(shard, mem))
            .collect())
    }
}
