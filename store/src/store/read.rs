//! Reading tables and rows.

use std::sync::Arc;

use arrow::array::RecordBatch;

use super::Store;
use super::reader::TableReader;
use crate::catalog::Table;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::ids::TableId;
use crate::snapshot::{ShardHead, ShardSnapshot, ShardStats, TableSnapshot};
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
        let mut visible = self.core().catalog.read().visible();
        visible.retain(|def| !def.is_schema());
        visible
    }

    /// The live definitions of schemas, by name; one schema may have several, if several peers made it.
    pub fn schemas(&self) -> Vec<Arc<TableDef>> {
        let mut all = self.all_tables();
        all.retain(|def| def.is_schema() && def.dropped.is_none());
        all
    }

    /// All tables, also shadowed and dropped ones, by name, then id.
    pub fn all_tables(&self) -> Vec<Arc<TableDef>> {
        let all = self.core().catalog.read().all();
        all.into_iter().map(|table| table.def).collect()
    }

    /// The rows of a table at this moment, consistent over its shards. Cheap. It holds back the
    /// removal of what is replaced, for at most
    /// [`snapshot_patience_secs`](crate::Settings::snapshot_patience_secs). Fails with `NotFound` if
    /// the table is unknown or dropped, `Unavailable` if the store is closed; with a time to live
    /// also `Corrupt` or `Io` if a segment's versions cannot be read.
    pub fn snapshot(&self, table: TableId) -> Result<TableSnapshot> {
        let core = self.core();
        let table = core.any_table(table)?;
        let guard = core.snapshots.register();
        let mut shards: Vec<ShardSnapshot> = (0..)
            .zip(table.state.lock()?.iter_mut())
            .map(|(number, shard)| ShardSnapshot::of(number, shard, &guard))
            .collect();
        // Not under the lock, because it may read versions from files.
        if let Some(cutoff) = core.cutoff(&table.state) {
            shards
                .iter_mut()
                .try_for_each(|shard| shard.expire(cutoff))?;
        }
        Ok(TableSnapshot {
            def: table.def,
            shards,
        })
    }

    /// Looks up many rows of a table, one by one. Fails with `NotFound` if the table is unknown or
    /// dropped, `Corrupt` if it is set aside, `Unavailable` if the store is closed.
    pub fn reader(&self, table: TableId) -> Result<TableReader> {
        let core = self.core();
        let table = core.any_table(table)?;
        drop(table.state.lock()?);
        Ok(TableReader::new(Arc::clone(&self.0.core), table))
    }

    /// The live row with this key, as a batch of one row with all columns. `key` is one row of
    /// the table's key columns ([`TableDef::key_schema`]). Costs one look-up in memory, and one in
    /// each segment that may have the key; [`reader`](Self::reader) is cheaper for many. Fails with
    /// `NotFound` if the table is unknown or dropped, `InvalidInput` if the key has other columns or
    /// not one row, `Unavailable` if the store is closed, `Corrupt` or `Io` if a segment cannot be
    /// read.
    pub fn get(&self, table: TableId, key: &RecordBatch) -> Result<Option<RecordBatch>> {
        let table = self.core().any_table(table)?;
        let reader = TableReader::new(Arc::clone(&self.0.core), table);
        let key = reader.encoder().row_key(key)?;
        let schema = &reader.table().schema;
        let all: Vec<usize> = (0..schema.fields().len()).collect();
        let found = reader.get(&key, &all)?;
        found.map(|row| row.to_batch(schema)).transpose()
    }

    /// Rows, bytes, digest and newest version of every shard, in order. Fails like `snapshot`.
    pub fn shard_stats(&self, table: TableId) -> Result<Vec<ShardStats>> {
        let core = self.core();
        let id = table;
        let table = core.any_table(id)?;
        let mut stats: Vec<ShardStats> = (0..)
            .zip(table.state.lock()?.iter())
            .map(|(number, shard)| ShardStats::of(number, shard))
            .collect();
        if core.cutoff(&table.state).is_some() {
            for (stats, shard) in stats.iter_mut().zip(self.snapshot(id)?.shards) {
                stats.rows = shard.rows;
            }
        }
        Ok(stats)
    }

    /// Rows and digest of every shard, in order: what a snapshot would say, without taking one. `None`
    /// for a table with a time to live, whose rows have to be counted. Fails like `shard_stats`.
    pub fn shard_heads(&self, table: TableId) -> Result<Option<Vec<ShardHead>>> {
        let core = self.core();
        let table = core.any_table(table)?;
        if core.cutoff(&table.state).is_some() {
            return Ok(None);
        }
        let shards = table.state.lock()?;
        Ok(Some(shards.iter().map(ShardHead::of).collect()))
    }

    /// The digests of the leaves of a shard's digest tree, [`DIGEST_LEAVES`](crate::DIGEST_LEAVES)
    /// of them. A record belongs to the leaf that a hash of its key chooses; the shard's digest is
    /// their sum. Fails like `shard_stats`, and with `InvalidInput` if there is no such shard.
    pub fn digest_leaves(&self, table: TableId, shard: u32) -> Result<Vec<Digest>> {
        let table = self.core().any_table(table)?;
        let shards = table.state.lock()?;
        match shards.get(shard as usize) {
            Some(shard) => Ok(shard.tree().leaves()),
            None => Err(no_shard(&table, shard)),
        }
    }
}

pub(super) fn no_shard(table: &Table, shard: u32) -> Error {
    Error::invalid(format!(
        "table \"{}\" has {} shards; there is no shard {shard}",
        table.def.name, table.state.shards
    ))
}
