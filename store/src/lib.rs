//! Durable local storage of netabase: a commit log, rows in memory as Arrow, immutable sorted
//! segments on disk, and an index.
//!
//! A [`Store`] keeps the shards of many tables on one machine. A [`write`](Store::write) is one
//! atomic frame in an append-only log; when it returns, it is on disk and visible. A
//! [`bulk_load`](Store::bulk_load) writes segments and takes effect with one such frame.
//! Checkpoints move rows to segments, in the background. Readers take
//! [`snapshot`](Store::snapshot)s, which writers never block or change.
//!
//! Guarantees:
//!
//! - Nothing acknowledged is lost by a crash of the process or, with [`Durability::Durable`], of
//!   the machine. Damaged files are an error that says where; they are never silently shortened.
//! - Conflicts are decided by the greatest (version, author): stores that have seen the same
//!   batches, in any order and any number of times, hold the same rows and the same digests.
//! - The log and what it names are the truth: a lost or damaged index is rebuilt from it on open.
//!
//! Left out on purpose: SQL, the network, signatures, and trust in whoever wrote a row.

#![forbid(unsafe_code)]

mod backend;
mod catalog;
mod clock;
mod codec;
pub mod conformance;
mod digest;
mod disk;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod ids;
mod key;
mod key_part;
mod log;
mod mem;
mod payload;
mod qualified;
mod row_ref;
mod segment;
mod segment_view;
mod settings;
mod snapshot;
mod store;
mod table;
mod table_options;
mod write;

pub use arrow;
pub use arrow_row;

pub use backend::{
    Backend, Batch, BatchChange, KeyValue, MAX_MAP_NAME, MemoryBackend, RedbBackend, SledBackend,
    SqliteBackend,
};
pub use clock::{Clock, MAX_CLOCK_DRIFT, Version};
pub use codec::{MAX_VALUE_BYTES, ValueCodec};
pub use digest::{DIGEST_LEAVES, Digest};
pub use disk::{Disk, DiskFile, OsDisk};
pub use error::{Error, ErrorKind, Result};
pub use ids::{Author, Stamp, TableId};
pub use key::{KeyEncoder, RowKey};
pub use key_part::KeyPart;
pub use log::{MAX_FRAME_BYTES, TornTail};
pub use payload::{MAX_DECODED_BYTES, check_announced};
pub use qualified::QualifiedName;
pub use row_ref::RowRef;
pub use segment::{Codec, ColumnSummary, DistinctSketch, KeyRange, OuterRows};
pub use segment_view::SegmentView;
pub use settings::{BackendKind, Durability, Settings};
pub use snapshot::{ShardHead, ShardSnapshot, ShardStats, SnapshotBatch, TableSnapshot};
pub use store::{
    BackupInfo, BackupReport, BackupTable, BackupTarget, BulkLoad, CheckReport, Components,
    MAX_META_KEY, MAX_META_VALUE, OpenReport, PendingWrite, Problem, PruneReport, RepairReport,
    RestoreReport, SegmentInfo, Store, StoreHealth, StoreStats, TableReader,
};
pub use table::{
    MAX_ATTACHMENT, MAX_COLUMNS, MAX_HOLDERS, MAX_NAME, MAX_REPLICAS, MAX_SHARDS,
    MAX_TABLE_DEF_BYTES, TableDef,
};
pub use table_options::{
    CheckDef, ColumnRules, IndexDef, MAX_CHECKS, MAX_INDEX_COLUMNS, MAX_INDEXES, MAX_RULE_BYTES,
    MAX_VIEW_BYTES, TableOptions, TableRules, ViewDef,
};
pub use write::{Applied, Change, ShardBatch};
