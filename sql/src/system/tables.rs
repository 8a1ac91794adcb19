//! `netabase.tables` and `netabase.indexes`.

use datafusion::error::Result;
use datafusion::execution::TaskContext;
use netabase_store::{Change, Codec, SegmentInfo, ShardStats, Store, TableDef};

use super::rows::{Kind, Row, SystemTable, Value, column, optional};
use super::storage::time_of;
use super::{Sources, place_of};
use crate::describe::{kind_of, plain_view, table_comment};

pub(super) const TABLES: SystemTable = SystemTable {
    name: "tables",
    comment: "Every table that this peer knows, and how much of it lies here",
    columns: &[
        column("schema_name", Kind::Text, "The schema that it is in"),
        column("name", Kind::Text, "The table's name"),
        column(
            "shards",
            Kind::Number,
            "Shards that its rows are spread over",
        ),
        column("rows", Kind::Number, "Rows on this peer"),
        column("memory_bytes", Kind::Number, "Bytes in memory of this peer"),
        column(
            "segment_bytes",
            Kind::Number,
            "Bytes of its segments' data files",
        ),
        column(
            "live_bytes",
            Kind::Number,
            "About how many of these belong to current rows",
        ),
        column(
            "dead_bytes",
            Kind::Number,
            "About how many of these belong to replaced or deleted rows",
        ),
        column(
            "index_bytes",
            Kind::Number,
            "Bytes of its segments' index files",
        ),
        column("segments", Kind::Number, "Its segments"),
        column("kind", Kind::Text, "table, view or materialized view"),
        column(
            "columns",
            Kind::Number,
            "Its columns, where it has rows of its own",
        ),
        column("indexes", Kind::Number, "Its secondary indexes"),
        column(
            "primary_key",
            Kind::Text,
            "The columns of its primary key, in order",
        ),
        column(
            "shard_by",
            Kind::Text,
            "Those that choose the shard of a row",
        ),
        column(
            "replicas",
            Kind::Number,
            "Copies of every shard that are wanted",
        ),
        column("local", Kind::Flag, "Whether it never leaves this peer"),
        optional(
            "ttl_ms",
            Kind::Number,
            "How long a row lives; NULL for ever",
        ),
        optional(
            "compression",
            Kind::Text,
            "How it is compressed, where that was said",
        ),
        column("owner", Kind::Text, "The peer that made it"),
        column("created", Kind::Time, "When it was made"),
        optional("comment", Kind::Text, "What it is for"),
    ],
    rows: tables,
};

fn tables(sources: &Sources, _: &TaskContext) -> Result<Vec<Row>> {
    let known = sources.store.tables();
    let rows = known.iter().filter_map(|def| {
        // One that was dropped meanwhile has no row.
        let shards = sources.store.shard_stats(def.id).ok()?;
        Some(table(def, &shards))
    });
    Ok(rows.collect())
}

fn table(def: &TableDef, shards: &[ShardStats]) -> Row {
    let sum = |of: fn(&ShardStats) -> u64| -> Value { shards.iter().map(of).sum::<u64>().into() };
    let (schema, name) = place_of(def);
    let mut row: Row = vec![
        schema.into(),
        name.into(),
        def.shards.into(),
        sum(|shard| shard.rows),
        sum(|shard| shard.bytes),
        sum(|shard| shard.segment_bytes),
        sum(|shard| shard.segment_bytes.saturating_sub(shard.dead_bytes)),
        sum(|shard| shard.dead_bytes),
        sum(|shard| shard.index_bytes),
        sum(|shard| shard.segments),
    ];
    row.extend([
        kind_of(def).into(),
        match plain_view(def) {
            Some(_) => 0u64.into(),
            None => def.visible_columns().len().into(),
        },
        def.options.indexes.len().into(),
        names(def, &def.primary_key).into(),
        names(def, &def.shard_key).into(),
        def.replicas.into(),
        def.local.into(),
        def.options.ttl_millis.into(),
        def.options.codec.map(codec_name).into(),
        (*def.owner).into(),
        time_of(def.created),
        table_comment(def).into(),
    ]);
    row
}

/// What a codec is called in the table option `compression`.
pub(crate) fn codec_name(codec: Codec) -> &'static str {
    match codec {
        Codec::Lz4 => "lz4",
        Codec::Zstd(_) => "zstd",
        Codec::None => "none",
    }
}

/// The names of columns, in the order given.
pub(crate) fn names(def: &TableDef, columns: &[usize]) -> String {
    let seen = columns.iter().filter(|column| !def.is_hidden(**column));
    let names: Vec<&str> = seen.map(|column| def.column_name(*column)).collect();
    names.join(", ")
}

pub(super) const INDEXES: SystemTable = SystemTable {
    name: "indexes",
    comment: "The primary key and the secondary indexes of every table",
    columns: &[
        column("schema_name", Kind::Text, "The schema of the table"),
        column("table_name", Kind::Text, "The table"),
        column("name", Kind::Text, "The index's name; primary key for that"),
        column("kind", Kind::Text, "primary or secondary"),
        column("columns", Kind::Text, "Its columns, in order"),
        column(
            "is_unique",
            Kind::Flag,
            "Whether a table has one row for each of its values",
        ),
        column(
            "segments",
            Kind::Number,
            "Segments of the table on this peer that have rows",
        ),
        column(
            "ready_segments",
            Kind::Number,
            "Those that the index is made for; the others are scanned",
        ),
    ],
    rows: indexes,
};

fn indexes(sources: &Sources, _: &TaskContext) -> Result<Vec<Row>> {
    let known = sources.store.tables();
    Ok(known
        .iter()
        .flat_map(|def| indexes_of(&sources.store, def))
        .collect())
}

fn indexes_of(store: &Store, def: &TableDef) -> Vec<Row> {
    let mut segments = store.segments(def.id).unwrap_or_default();
    segments.retain(|info| info.change == Change::Upsert);
    let row = |name: &str, columns: &[usize], primary: bool| -> Row {
        let is_made = |info: &&SegmentInfo| primary || info.indexes.iter().any(|made| made == name);
        let (schema, table) = place_of(def);
        vec![
            schema.into(),
            table.into(),
            name.into(),
            if primary { "primary" } else { "secondary" }.into(),
            names(def, columns).into(),
            (primary || def.options.rules.unique.iter().any(|unique| unique == name)).into(),
            segments.len().into(),
            segments.iter().filter(is_made).count().into(),
        ]
    };
    if plain_view(def).is_some() {
        return Vec::new();
    }
    let mut rows = vec![row("primary key", &def.primary_key, true)];
    for index in &def.options.indexes {
        let columns: Vec<usize> = index
            .columns
            .iter()
            .map(|column| *column as usize)
            .collect();
        rows.push(row(&index.name, &columns, false));
    }
    rows
}
