//! Frozen views of a table.
//!
//! Invariant: a snapshot never changes, is consistent over all shards of its table, and costs a
//! few reference counts: writers go on meanwhile. Non-goal: it is not consistent over tables.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow::buffer::BooleanBuffer;

use crate::clock::Version;
use crate::digest::Digest;
use crate::ids::Author;
use crate::mem::{FrozenBatch, ShardMem, Stamps};
use crate::table::TableDef;

/// All rows of a table at one moment.
#[derive(Debug, Clone)]
pub struct TableSnapshot {
    /// The definition at that moment.
    pub def: Arc<TableDef>,
    /// One entry per shard, in order.
    pub shards: Vec<ShardSnapshot>,
}

/// The rows of one shard at one moment.
#[derive(Debug, Clone)]
pub struct ShardSnapshot {
    /// The shard's number.
    pub shard: u32,
    /// Number of live rows, exactly.
    pub rows: u64,
    /// Hash over all current records, tombstones included.
    pub digest: Digest,
    /// Greatest version seen; zero if none.
    pub newest: Version,
    /// The rows, in no particular order; each live key is live in one of them.
    pub batches: Vec<SnapshotBatch>,
}

/// Some rows with their liveness and stamps.
#[derive(Debug, Clone)]
pub struct SnapshotBatch {
    /// The rows, live or not.
    pub rows: RecordBatch,
    /// Which rows are live; `None`: all.
    pub live: Option<BooleanBuffer>,
    /// How many rows are live; at least one.
    pub live_rows: usize,
    stamps: Stamps,
}

impl SnapshotBatch {
    /// When `row` was written. Zero if there is no such row.
    pub fn version(&self, row: usize) -> Version {
        if row < self.rows.num_rows() {
            self.stamps.version(row)
        } else {
            Version::default()
        }
    }

    /// Who wrote `row`; `None` if there is no such row.
    pub fn author(&self, row: usize) -> Option<&Author> {
        (row < self.rows.num_rows())
            .then(|| self.stamps.author(row))
            .flatten()
    }

    /// The versions of all rows, live or not, as a `UInt64` column.
    pub fn versions(&self) -> ArrayRef {
        let rows = 0..self.rows.num_rows();
        Arc::new(UInt64Array::from_iter_values(
            rows.map(|row| self.stamps.version(row).0),
        ))
    }

    /// The authors of all rows, live or not, as a `Utf8` column.
    pub fn authors(&self) -> ArrayRef {
        let rows = 0..self.rows.num_rows();
        Arc::new(StringArray::from_iter_values(
            rows.map(|row| self.stamps.author(row).map_or("", |author| author)),
        ))
    }
}

/// What a shard holds, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardStats {
    /// The shard's number.
    pub shard: u32,
    /// Number of live rows, exactly.
    pub rows: u64,
    /// Bytes held in memory: rows, keys, stamps, key map, tombstones.
    pub bytes: u64,
    /// Hash over all current records, tombstones included.
    pub digest: Digest,
    /// Greatest version seen; zero if none.
    pub newest: Version,
}

impl ShardSnapshot {
    pub(crate) fn of(shard: u32, mem: &mut ShardMem) -> Self {
        Self {
            shard,
            rows: mem.live(),
            digest: mem.digest(),
            newest: mem.newest(),
            batches: mem
                .freeze(false)
                .into_iter()
                .map(SnapshotBatch::from)
                .collect(),
        }
    }
}

impl ShardStats {
    pub(crate) fn of(shard: u32, mem: &ShardMem) -> Self {
        Self {
            shard,
            rows: mem.live(),
            bytes: mem.bytes() as u64,
            digest: mem.digest(),
            newest: mem.newest(),
        }
    }
}

impl From<FrozenBatch> for SnapshotBatch {
    fn from(batch: FrozenBatch) -> Self {
        Self {
            rows: batch.rows,
            live: batch.current,
            live_rows: batch.current_rows,
            stamps: batch.stamps,
        }
    }
}
