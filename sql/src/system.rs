//! The schema `netabase`: what this peer holds, in numbers, as tables to read.
//!
//! `netabase.tables` has a row for every visible table, `netabase.store` one row. Invariant: they
//! are computed when a statement is planned, and belong to this peer alone, whoever asks.
//! Non-goal: other peers' numbers.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{MemTable, SchemaProvider, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::TableType;
use netabase_store::{ShardStats, Store};

/// The schema's name.
pub(crate) const SYSTEM_SCHEMA: &str = "netabase";

const TABLES: &str = "tables";
const STORE: &str = "store";

/// The tables of the schema.
pub(crate) struct SystemSchema(Store);

impl SystemSchema {
    pub(crate) fn new(store: Store) -> Self {
        Self(store)
    }
}

impl std::fmt::Debug for SystemSchema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SystemSchema")
    }
}

#[async_trait]
impl SchemaProvider for SystemSchema {
    fn table_names(&self) -> Vec<String> {
        [STORE, TABLES].map(str::to_owned).to_vec()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let rows = match name {
            TABLES => tables(&self.0)?,
            STORE => store(&self.0)?,
            _ => return Ok(None),
        };
        let table = MemTable::try_new(rows.schema(), vec![vec![rows]])?;
        Ok(Some(Arc::new(table)))
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        Ok(self.table_exist(name).then_some(TableType::View))
    }

    fn table_exist(&self, name: &str) -> bool {
        name == TABLES || name == STORE
    }
}

/// A column of numbers.
type Column = (&'static str, Vec<u64>);

fn tables(store: &Store) -> Result<RecordBatch> {
    let mut names = Vec::new();
    let mut all: Vec<Vec<ShardStats>> = Vec::new();
    for def in store.tables() {
        // One that was dropped meanwhile has no row.
        if let Ok(shards) = store.shard_stats(def.id) {
            names.push(def.name.clone());
            all.push(shards);
        }
    }
    let sum = |of| sums(&all, of);
    let columns: [Column; 8] = [
        (
            "shards",
            all.iter().map(|table| table.len() as u64).collect(),
        ),
        ("rows", sum(|shard| shard.rows)),
        ("memory_bytes", sum(|shard| shard.bytes)),
        ("segment_bytes", sum(|shard| shard.segment_bytes)),
        (
            "live_bytes",
            sum(|shard| shard.segment_bytes.saturating_sub(shard.dead_bytes)),
        ),
        ("dead_bytes", sum(|shard| shard.dead_bytes)),
        ("index_bytes", sum(|shard| shard.index_bytes)),
        ("segments", sum(|shard| shard.segments)),
    ];
    let names: ArrayRef = Arc::new(StringViewArray::from_iter_values(names));
    batch(Some(("name", names)), columns)
}

/// A number of every table, over its shards.
fn sums(all: &[Vec<ShardStats>], of: fn(&ShardStats) -> u64) -> Vec<u64> {
    all.iter().map(|table| table.iter().map(of).sum()).collect()
}

fn store(store: &Store) -> Result<RecordBatch> {
    let stats = store.stats();
    let one = |value: u64| vec![value];
    let columns: [Column; 9] = [
        ("log_bytes", one(stats.log_bytes)),
        ("memory_bytes", one(stats.memory_bytes)),
        ("cached_bytes", one(stats.cached_bytes)),
        ("snapshots", one(stats.snapshots)),
        ("oldest_snapshot_ms", one(stats.oldest_snapshot_ms)),
        ("retired_bytes", one(stats.retired_bytes)),
        ("checkpoints", one(stats.checkpoints)),
        ("compactions", one(stats.compactions)),
        ("failed_jobs", one(stats.failed_jobs)),
    ];
    batch(None, columns)
}

/// Numbers become BIGINT, which every client knows.
fn batch<const N: usize>(
    first: Option<(&str, ArrayRef)>,
    columns: [Column; N],
) -> Result<RecordBatch> {
    let mut fields = Vec::new();
    let mut arrays: Vec<ArrayRef> = Vec::new();
    if let Some((name, values)) = first {
        fields.push(Field::new(name, values.data_type().clone(), false));
        arrays.push(values);
    }
    for (name, values) in columns {
        let values = values
            .into_iter()
            .map(|v| i64::try_from(v).unwrap_or(i64::MAX));
        fields.push(Field::new(name, DataType::Int64, false));
        arrays.push(Arc::new(Int64Array::from_iter_values(values)));
    }
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    Ok(RecordBatch::try_new(schema, arrays)?)
}
