//! `netabase.settings`, `netabase.queries`, `netabase.prepared` and `netabase.metrics`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use datafusion::error::Result;
use datafusion::execution::TaskContext;

use super::Sources;
use super::rows::{Kind, Row, SystemTable, Value, column, optional};
use crate::own_settings::OwnSettings;
use crate::running::Statement;

pub(super) const SETTINGS: SystemTable = SystemTable {
    name: "settings",
    comment: "The settings of this session, and what they may be set to",
    columns: &[
        column("name", Kind::Text, "The setting"),
        optional("value", Kind::Text, "What it is now"),
        optional(
            "default_value",
            Kind::Text,
            "What it began with; RESET goes back to it",
        ),
        optional("unit", Kind::Text, "What a number without a unit means"),
        column("description", Kind::Text, "What it does"),
        column("changeable", Kind::Flag, "Whether SET may change it"),
    ],
    rows: settings,
};

fn settings(sources: &Sources, context: &TaskContext) -> Result<Vec<Row>> {
    let all = sources.defaults.all(context.session_config().options());
    let rows = all.into_iter().map(|setting| {
        vec![
            setting.name.into(),
            setting.value.into(),
            setting.default.into(),
            setting.unit.into(),
            setting.description.into(),
            setting.changeable.into(),
        ]
    });
    Ok(rows.collect())
}

pub(super) const QUERIES: SystemTable = SystemTable {
    name: "queries",
    comment: "The statements that run on this peer; CANCEL QUERY id ends one",
    columns: &[
        column(
            "id",
            Kind::Number,
            "The statement's number, from 1 when the database is opened",
        ),
        column("text", Kind::Text, "The beginning of its text"),
        column(
            "state",
            Kind::Text,
            "starting, running (no row yet), reading (its rows), writing, ended (and still held)",
        ),
        column("started", Kind::Time, "When it began"),
        column("elapsed_ms", Kind::Number, "How long ago that is"),
        column(
            "rows",
            Kind::Number,
            "Rows that were read of its answer so far",
        ),
        column(
            "memory_bytes",
            Kind::Number,
            "Memory that its operators hold on this peer",
        ),
        optional(
            "copy_rows",
            Kind::Number,
            "Rows that a COPY has read from files, or handed to the one that it writes, so far",
        ),
        optional(
            "copy_bytes",
            Kind::Number,
            "About how many bytes of its files a COPY has read so far",
        ),
        optional(
            "copy_total_bytes",
            Kind::Number,
            "Bytes of all files that a COPY reads",
        ),
    ],
    rows: queries,
};

fn queries(sources: &Sources, _: &TaskContext) -> Result<Vec<Row>> {
    let running = sources.running.list();
    Ok(running.iter().map(|statement| query(statement)).collect())
}

fn query(statement: &Statement) -> Row {
    let since = statement.since().duration_since(UNIX_EPOCH);
    let since = since.map_or(0, |since| since.as_millis());
    let elapsed = u64::try_from(statement.elapsed().as_millis()).unwrap_or(u64::MAX);
    let copy = statement.copy();
    let bytes = copy.and_then(|copy| copy.bytes);
    vec![
        statement.id().into(),
        statement.text().into(),
        statement.phase().name().into(),
        Value::Time(i64::try_from(since).unwrap_or(i64::MAX)),
        elapsed.into(),
        statement.rows().into(),
        statement.memory().into(),
        copy.map(|copy| copy.rows).into(),
        bytes.map(|(read, _)| read).into(),
        bytes.map(|(_, all)| all).into(),
    ]
}

pub(super) const PREPARED: SystemTable = SystemTable {
    name: "prepared",
    comment: "The statements that this session has prepared",
    columns: &[
        column("name", Kind::Text, "The name by which EXECUTE runs it"),
        column("statement", Kind::Text, "The beginning of its text"),
        column(
            "parameter_types",
            Kind::Text,
            "The types of $1, $2 …; any where the statement takes any",
        ),
        column("prepared", Kind::Time, "When it was prepared"),
    ],
    rows: prepared,
};

fn prepared(_: &Sources, context: &TaskContext) -> Result<Vec<Row>> {
    let known = OwnSettings::prepared_in(context.session_config().options());
    let rows = known.list().into_iter().map(|prepared| -> Row {
        let since = prepared.since.duration_since(UNIX_EPOCH);
        let since = since.map_or(0, |since| since.as_millis());
        vec![
            prepared.name.as_str().into(),
            prepared.text.as_ref().into(),
            prepared.types().into(),
            Value::Time(i64::try_from(since).unwrap_or(i64::MAX)),
        ]
    });
    Ok(rows.collect())
}

pub(super) const METRICS: SystemTable = SystemTable {
    name: "metrics",
    comment: "What this peer has done since it was opened, and how much it holds",
    columns: &[
        column("name", Kind::Text, "The metric"),
        column("kind", Kind::Text, "counter (only grows) or gauge"),
        column("value", Kind::Number, "Its value now"),
        column("unit", Kind::Text, "What it counts"),
        column("description", Kind::Text, "What it means"),
    ],
    rows: metrics,
};

/// Name, unit, value and description of a metric.
type Metric = (&'static str, &'static str, u64, &'static str);

fn metrics(sources: &Sources, context: &TaskContext) -> Result<Vec<Row>> {
    let row = |kind: &'static str| {
        move |(name, unit, value, description): Metric| -> Row {
            vec![
                name.into(),
                kind.into(),
                value.into(),
                unit.into(),
                description.into(),
            ]
        }
    };
    let counters = statement_counters(sources).into_iter();
    let counters = counters.chain(store_counters(sources)).map(row("counter"));
    let gauges = query_gauges(sources, context).into_iter();
    let gauges = gauges.chain(store_gauges(sources)).map(row("gauge"));
    Ok(counters.chain(gauges).collect())
}

fn statement_counters(sources: &Sources) -> [Metric; 6] {
    let counts = sources.running.counts();
    let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
    [
        (
            "statements",
            "statements",
            count(&counts.started),
            "Statements that were begun",
        ),
        (
            "failed_statements",
            "statements",
            count(&counts.failed),
            "Those that failed before their first row",
        ),
        (
            "cancelled_statements",
            "statements",
            count(&counts.cancelled),
            "Those that were cancelled by CANCEL QUERY or its like",
        ),
        (
            "timed_out_statements",
            "statements",
            count(&counts.timed_out),
            "Those that took longer than statement_timeout",
        ),
        (
            "rows_returned",
            "rows",
            count(&counts.rows_returned),
            "Rows that queries gave, those of INSERT … SELECT and the like included",
        ),
        (
            "rows_written",
            "rows",
            count(&counts.rows_written),
            "Rows that statements wrote or deleted",
        ),
    ]
}

fn store_counters(sources: &Sources) -> [Metric; 6] {
    let stats = sources.store.stats();
    [
        (
            "log_frames",
            "frames",
            stats.frames,
            "Frames written to the log",
        ),
        (
            "log_syncs",
            "syncs",
            stats.syncs,
            "Times that the log was synced for writes",
        ),
        (
            "logged_bytes",
            "bytes",
            stats.bytes_logged,
            "Bytes written to the log",
        ),
        (
            "checkpoints",
            "checkpoints",
            stats.checkpoints,
            "Checkpoints made",
        ),
        (
            "compactions",
            "compactions",
            stats.compactions,
            "Compactions made",
        ),
        (
            "failed_jobs",
            "jobs",
            stats.failed_jobs,
            "Work of the store in the background that failed, and is tried again",
        ),
    ]
}

fn query_gauges(sources: &Sources, context: &TaskContext) -> [Metric; 4] {
    let spilled = context.runtime_env().disk_manager.used_disk_space();
    [
        (
            "running_statements",
            "statements",
            sources.running.list().len() as u64,
            "Statements that run now",
        ),
        (
            "query_memory_bytes",
            "bytes",
            sources.pool.reserved_bytes() as u64,
            "Memory that running queries hold",
        ),
        (
            "query_memory_limit_bytes",
            "bytes",
            sources.pool.limit() as u64,
            "What they may hold: netabase.memory_limit",
        ),
        (
            "query_spill_bytes",
            "bytes",
            spilled,
            "Disk that running queries hold",
        ),
    ]
}

fn store_gauges(sources: &Sources) -> [Metric; 11] {
    let stats = sources.store.stats();
    [
        (
            "tables",
            "tables",
            stats.tables,
            "Tables that this peer knows",
        ),
        ("rows", "rows", stats.rows, "Rows on this peer"),
        (
            "records",
            "records",
            stats.records,
            "Rows and tombstones on this peer",
        ),
        (
            "segments",
            "segments",
            stats.segments,
            "Segments on this peer",
        ),
        (
            "segment_bytes",
            "bytes",
            stats.segment_bytes,
            "Bytes of their files",
        ),
        (
            "memory_bytes",
            "bytes",
            stats.memory_bytes,
            "Rows in memory",
        ),
        (
            "cached_bytes",
            "bytes",
            stats.cached_bytes,
            "Decoded columns in memory",
        ),
        (
            "log_bytes",
            "bytes",
            stats.log_bytes,
            "Log that the next open would read",
        ),
        (
            "snapshots",
            "snapshots",
            stats.snapshots,
            "Snapshots that queries hold",
        ),
        (
            "oldest_snapshot_ms",
            "ms",
            stats.oldest_snapshot_ms,
            "Age of the oldest one",
        ),
        (
            "retired_bytes",
            "bytes",
            stats.retired_bytes,
            "Replaced segments that snapshots may still read",
        ),
    ]
}
