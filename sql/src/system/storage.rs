//! `netabase.store` and `netabase.segments`.

use netabase_store::{Change, Version};

use super::rows::{Kind, Row, SystemTable, Value, column};
use super::{Sources, place_of};
use datafusion::error::Result;
use datafusion::execution::TaskContext;

pub(super) const STORE: SystemTable = SystemTable {
    name: "store",
    comment: "The store of this peer, in one row",
    columns: &[
        column(
            "log_bytes",
            Kind::Number,
            "Bytes of log that the next open would read",
        ),
        column(
            "memory_bytes",
            Kind::Number,
            "Bytes held in memory by all tables",
        ),
        column(
            "cached_bytes",
            Kind::Number,
            "Bytes of decoded columns in memory",
        ),
        column("snapshots", Kind::Number, "Snapshots that queries hold"),
        column("oldest_snapshot_ms", Kind::Number, "Age of the oldest one"),
        column(
            "retired_bytes",
            Kind::Number,
            "Bytes of replaced segments that snapshots may still read",
        ),
        column(
            "checkpoints",
            Kind::Number,
            "Checkpoints since the store was opened",
        ),
        column(
            "compactions",
            Kind::Number,
            "Compactions since the store was opened",
        ),
        column(
            "failed_jobs",
            Kind::Number,
            "Work in the background that failed since the store was opened",
        ),
    ],
    rows: store,
};

fn store(sources: &Sources, _: &TaskContext) -> Result<Vec<Row>> {
    let stats = sources.store.stats();
    let row = [
        stats.log_bytes,
        stats.memory_bytes,
        stats.cached_bytes,
        stats.snapshots,
        stats.oldest_snapshot_ms,
        stats.retired_bytes,
        stats.checkpoints,
        stats.compactions,
        stats.failed_jobs,
    ];
    Ok(vec![row.into_iter().map(Value::from).collect()])
}

pub(super) const SEGMENTS: SystemTable = SystemTable {
    name: "segments",
    comment: "The segments of every table on this peer: sorted files that never change",
    columns: &[
        column("schema_name", Kind::Text, "The schema of the table"),
        column("table_name", Kind::Text, "The table"),
        column("shard", Kind::Number, "The shard that it belongs to"),
        column(
            "number",
            Kind::Number,
            "Its number; greater ones were made later",
        ),
        column("kind", Kind::Text, "rows, or tombstones of deleted ones"),
        column("rows", Kind::Number, "Records, hidden ones included"),
        column("live_rows", Kind::Number, "Records that no newer one hides"),
        column("data_bytes", Kind::Number, "Bytes of the data file"),
        column("index_bytes", Kind::Number, "Bytes of the index file"),
        column("min_key", Kind::Text, "The least primary key"),
        column("max_key", Kind::Text, "The greatest primary key"),
        column("oldest", Kind::Time, "When its oldest record was written"),
        column("newest", Kind::Time, "When its newest record was written"),
        column(
            "indexes",
            Kind::Text,
            "The secondary indexes that are made for it",
        ),
    ],
    rows: segments,
};

fn segments(sources: &Sources, _: &TaskContext) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for def in sources.store.tables() {
        // One that was dropped meanwhile has no segments.
        for info in sources.store.segments(def.id).unwrap_or_default() {
            let kind = match info.change {
                Change::Upsert => "rows",
                Change::Delete => "tombstones",
            };
            let (schema, table) = place_of(&def);
            rows.push(vec![
                schema.into(),
                table.into(),
                info.shard.into(),
                info.number.into(),
                kind.into(),
                info.rows.into(),
                info.rows.saturating_sub(info.hidden_rows).into(),
                info.data_bytes.into(),
                info.index_bytes.into(),
                info.min_key.into(),
                info.max_key.into(),
                time_of(info.oldest),
                time_of(info.newest),
                info.indexes.join(", ").into(),
            ]);
        }
    }
    Ok(rows)
}

/// When a version was given.
pub(super) fn time_of(version: Version) -> Value {
    Value::Time(i64::try_from(version.millis()).unwrap_or(i64::MAX))
}
