//! DataFusion over the netabase store.
//!
//! One `SELECT` goes through this crate like this: [`Engine::sql`] parses the text and decides who
//! runs the statement; DataFusion plans it against a catalog that reads the store live; a table's
//! provider asks the [`Cluster`] which peer to read each shard from and puts a [`ShardScan`] into
//! the plan; the scan answers every filter it accepted exactly; the first batch is awaited, so that
//! a failure before it can be planned again; the rest streams out through [`Output`].
//!
//! Statements that change something never reach DataFusion's own executors: they are turned into
//! key scans, row checks and [`Cluster::write`] calls here.
//!
//! Invariants: no statement is half checked (rows are written after all of them passed); no scan
//! omits or repeats a row; no SQL text opens a file except those that `COPY` names.
//!
//! Not here: the network, placement, durability.

#![forbid(unsafe_code)]

mod access;
mod apply;
mod blame;
mod block;
mod by_type;
mod caret;
mod cast_names;
mod catalog;
mod chain;
mod checked;
mod cluster;
mod colocate;
mod copy;
mod ddl;
mod deadline;
mod decimals;
mod declared;
mod defer;
mod describe;
mod dml;
mod doubled;
mod engine;
mod error;
mod estimate;
mod exact;
mod explain;
mod explain_changes;
mod filter;
mod filter_names;
mod functions;
mod held;
mod index_answer;
mod index_rows;
mod index_rule;
mod instants;
mod interrupt;
mod join_filter;
mod layout;
mod like;
mod local;
mod lookup;
mod memory;
mod mended;
mod metered;
mod near;
mod not_in;
mod open;
mod output;
mod own_settings;
mod owned;
mod panics;
mod pass_through;
mod path;
mod point;
mod prepare;
mod prepared;
mod provenance;
mod provider;
mod prune;
mod quantity;
mod query;
mod request;
mod revision;
mod running;
mod runtime;
mod same_names;
mod sample;
mod scan;
mod scan_statistics;
mod scoped;
mod set_all;
mod settings;
mod shard_scan;
mod show;
mod sql_type;
mod sql_types;
mod statement;
mod syntax;
mod system;
mod table_checker;
mod transaction;
mod types;
mod uniqueness;
mod upkeep;
mod values;
mod views;
mod withs;
mod wording;
mod write;
mod writes;

pub use block::{Block, BlockRows, Zone};
pub use checked::register_checked;
pub use cluster::{
    BulkSink, Cluster, ScanRequest, ShardRef, ShardSource, SourceStatistics, StartedWrite,
    TableWrite, WriteReceipt,
};
pub use colocate::{ByShardExec, CoLocate};
pub use copy::{CopyCompression, CopyFormat, CopyOptions, ForceQuote};
pub use datafusion;
pub use ddl::{DEFAULT_REPLICAS, DEFAULT_SHARDS, objects_table, table_id};
pub use declared::key_as_kept;
pub use engine::Engine;
pub use error::{error_from_datafusion, error_to_datafusion};
pub use estimate::Estimates;
pub use functions::register_functions;
pub use index_answer::IndexAnswer;
pub use layout::{ColumnSummary, Layout};
pub use local::{LocalCluster, LocalSource, begin_small_write, write_here, write_here_limit};
pub use lookup::IndexMetrics;
pub use mended::{CompactExec, ForgetExec};
pub use netabase_store as store;
pub use output::{Output, ScanInfo};
pub use path::{check_schema_of, sql_name, stored_name};
pub use point::PointCall;
pub use prepared::Prepared;
pub use request::{MAX_PREDICATE_BYTES, decode_request, encode_request};
pub use revision::{as_dropped, next_revision};
pub use runtime::closed_runtime;
pub use scan::{Counted, scan_blocks, scan_snapshot, scan_snapshot_counted};
pub use settings::EngineSettings;
pub use shard_scan::ShardScan;
pub use values::{text_batch, text_schema};
