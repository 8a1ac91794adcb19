//! Frozen views of a table.
//!
//! Invariant: a snapshot never changes, is consistent over all shards of its table, and costs a
//! few reference counts: writers go on meanwhile. Non-goal: it is not consistent over tables.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow::buffer::BooleanBuffer;

use crate::clock::Version;
use crate::digest::Digest;
use crate::error::Result;
use crate::ids::Author;
use crate::mem::{FrozenBatch, Seen, Shard, Stamps};
use crate::segment_view::SegmentView;
use crate::store::SnapshotGuard;
use crate::table::TableDef;
use crate::write::Change;

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
    /// The rows in memory, in no particular order.
    pub batches: Vec<SnapshotBatch>,
    /// The segments with live rows. Each live key is live in one batch or segment.
    pub segments: Vec<SegmentView>,
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
    fn younger(&self, cutoff: Version) -> Option<(BooleanBuffer, usize)> {
        let rows = self.rows.num_rows();
        self.stamps.younger(rows, self.live.as_ref(), cutoff)
    }

    fn expire(&mut self, cutoff: Version) {
        if let Some((live, rows)) = self.younger(cutoff) {
            (self.live, self.live_rows) = (Some(live), rows);
        }
    }

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
    /// Segments, those of tombstones included.
    pub segments: u64,
    /// Bytes of the segments' data files.
    pub segment_bytes: u64,
    /// Bytes of the segments' index files.
    pub index_bytes: u64,
    /// About how many bytes of the data files belong to rows that were replaced or deleted.
    pub dead_bytes: u64,
    /// Hash over all current records, tombstones included.
    pub digest: Digest,
    /// Greatest version seen; zero if none.
    pub newest: Version,
}

/// How much a shard holds, and the digest of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardHead {
    /// Number of live rows, exactly.
    pub rows: u64,
    /// Hash over all current records, tombstones included.
    pub digest: Digest,
}

impl ShardHead {
    pub(crate) fn of(shard: &Shard) -> Self {
        Self {
            rows: shard.live(),
            digest: shard.root(),
        }
    }
}

impl ShardSnapshot {
    pub(crate) fn of(number: u32, shard: &mut Shard, guard: &Arc<SnapshotGuard>) -> Self {
        let rows_of = |seen: &&Seen| seen.segment.meta().change == Change::Upsert;
        let segments = shard.seen();
        Self {
            shard: number,
            rows: shard.live(),
            digest: shard.root(),
            newest: shard.newest(),
            batches: shard
                .freeze(false)
                .into_iter()
                .map(SnapshotBatch::from)
                .collect(),
            segments: segments
                .iter()
                .filter(rows_of)
                .filter(|seen| seen.live_rows > 0)
                .map(|seen| SegmentView::new(seen.clone(), guard))
                .collect(),
        }
    }

    /// Leaves out the rows that are older than `cutoff`. May read files.
    pub(crate) fn expire(&mut self, cutoff: Version) -> Result<()> {
        for batch in &mut self.batches {
            batch.expire(cutoff);
        }
        self.batches.retain(|batch| batch.live_rows > 0);
        for segment in &mut self.segments {
            segment.expire(cutoff)?;
        }
        self.segments.retain(|segment| segment.live_rows() > 0);
        let in_memory = self.batches.iter().map(|batch| batch.live_rows as u64);
        let in_segments = self.segments.iter().map(SegmentView::live_rows);
        self.rows = in_memory.sum::<u64>() + in_segments.sum::<u64>();
        Ok(())
    }

    /// Rows that a scan passes over, live or not.
    pub fn stored_rows(&self) -> u64 {
        let batches = self
            .batches
            .iter()
            .map(|batch| batch.rows.num_rows() as u64);
        let segments = self.segments.iter().map(SegmentView::rows);
        batches.sum::<u64>() + segments.sum::<u64>()
    }
}

impl ShardStats {
    pub(crate) fn of(number: u32, shard: &Shard) -> Self {
        let files = shard.segments().iter().map(|held| {
            let meta = held.segment.meta();
            (meta, held.hidden.count())
        });
        let mut stats = Self {
            shard: number,
            rows: shard.live(),
            bytes: shard.bytes() as u64,
            digest: shard.root(),
            newest: shard.newest(),
            segments: 0,
            segment_bytes: 0,
            index_bytes: 0,
            dead_bytes: 0,
        };
        for (meta, hidden) in files {
            stats.segments += 1;
            stats.segment_bytes += meta.data_bytes;
            stats.index_bytes += meta.index_bytes;
            let share = u128::from(meta.data_bytes) * u128::from(hidden);
            stats.dead_bytes += (share / u128::from(meta.rows.max(1))) as u64;
        }
        stats
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
