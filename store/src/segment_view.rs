//! A segment as one snapshot sees it.
//!
//! Invariant: what it shows never changes. Columns are read and decoded when they are asked for,
//! and kept in a bounded cache that all snapshots share.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::buffer::BooleanBuffer;

use crate::clock::Version;
use crate::error::Result;
use crate::mem::Seen;
use crate::segment::{ColumnSummary, KeyRange, OuterRows, Segment};
use crate::store::SnapshotGuard;
use crate::table_options::IndexDef;

/// Sorted rows of one shard, by groups of at most 65,536.
#[derive(Debug, Clone)]
pub struct SegmentView {
    seen: Seen,
    guard: Arc<SnapshotGuard>,
}

impl SegmentView {
    pub(crate) fn new(seen: Seen, guard: &Arc<SnapshotGuard>) -> Self {
        Self {
            seen,
            guard: Arc::clone(guard),
        }
    }

    /// Leaves out the rows that are older than `cutoff`. May read the file.
    pub(crate) fn expire(&mut self, cutoff: Version) -> Result<()> {
        self.seen = self.seen.without_expired(cutoff)?;
        Ok(())
    }

    /// Rows, live or not.
    pub fn rows(&self) -> u64 {
        self.segment().meta().rows
    }

    /// Rows that are live; at least one.
    pub fn live_rows(&self) -> u64 {
        self.seen.live_rows
    }

    /// Bytes of the data file.
    pub fn bytes(&self) -> u64 {
        self.segment().meta().data_bytes
    }

    /// The encoded keys of the first and the last row.
    pub fn key_range(&self) -> (&[u8], &[u8]) {
        let meta = self.segment().meta();
        (&meta.min_key, &meta.max_key)
    }

    /// Number of groups.
    pub fn groups(&self) -> usize {
        self.segment().groups()
    }

    /// Rows of a group, live or not. Zero if there is no such group.
    pub fn group_rows(&self, group: usize) -> usize {
        self.segment().group_rows(group)
    }

    /// Which rows of a group are live; `None`: all.
    pub fn live(&self, group: usize) -> Option<&BooleanBuffer> {
        self.seen.live.get(group)?.as_ref()
    }

    /// Whether the row at a position is live.
    pub fn is_live(&self, row: u32) -> bool {
        self.seen.is_live(row)
    }

    /// The values of a column of the table in a group, in the column's type. May read the file.
    /// Fails with `InvalidInput` if there is no such group or column, `Corrupt` if the file is
    /// damaged, `Unavailable` if the snapshot was ended.
    pub fn column(&self, group: usize, column: usize) -> Result<ArrayRef> {
        self.guard.check()?;
        self.segment().column(group, column)
    }

    /// Whole rows by their positions, which ascend; cheaper than `column` for a few rows. Fails like
    /// `column`.
    pub fn take(&self, rows: &[u32], projection: &[usize]) -> Result<RecordBatch> {
        self.guard.check()?;
        self.segment().take(rows, projection)
    }

    /// The positions of encoded keys, which ascend; `found` gets the index of the key and the row,
    /// live or not. Fails like `column`.
    pub fn locate(&self, keys: &[&[u8]], found: &mut dyn FnMut(usize, u32)) -> Result<()> {
        self.guard.check()?;
        self.segment().locate(keys, found)
    }

    /// The rows, live or not, whose encoded primary keys lie in a range. Fails like `column`.
    pub fn rows_in(&self, range: &KeyRange) -> Result<Range<u32>> {
        self.guard.check()?;
        self.segment().rows_in(range)
    }

    /// Like `rows_in` for a whole primary key, which is denied without reading where its filter
    /// knows better.
    pub fn row_at(&self, key: &KeyRange) -> Result<Option<u32>> {
        self.guard.check()?;
        self.segment().locate_one(key.start())
    }

    /// The positions, ascending, of the rows, live or not, whose columns in an index lie in a range:
    /// the first `limit` of them in the index's order. `None` if the index's run is not made yet, or
    /// is made anew because it was damaged. Fails with `Unavailable` if the snapshot was ended.
    pub fn lookup(
        &self,
        index: &IndexDef,
        range: &KeyRange,
        limit: usize,
    ) -> Result<Option<Vec<u32>>> {
        self.guard.check()?;
        Ok(self.segment().lookup(index, range, limit))
    }

    /// How many rows, live or not, `lookup` finds without a limit; cheaper than finding them. Fails
    /// like `lookup`.
    pub fn count(&self, index: &IndexDef, range: &KeyRange) -> Result<Option<u64>> {
        self.guard.check()?;
        Ok(self.segment().count(index, range))
    }

    /// Whether an index's run is made. Fails like `lookup`.
    pub fn is_indexed(&self, index: &IndexDef) -> Result<bool> {
        self.guard.check()?;
        Ok(self.segment().run(index).is_some())
    }

    /// The positions of the live rows that come first, or last, among those whose columns in an index
    /// lie in a range; in the index's order, or against it. Rows that are equal there are in the order
    /// of their primary keys. Fails, and is `None`, like `lookup`.
    pub fn outer_rows(
        &self,
        index: &IndexDef,
        range: &KeyRange,
        wanted: OuterRows,
    ) -> Result<Option<Vec<u32>>> {
        self.guard.check()?;
        let is_live = |row| self.seen.is_live(row);
        Ok(self.segment().outer_rows(index, range, wanted, &is_live))
    }

    /// How many live rows' columns in an index lie in a range; no columns are read, and no positions
    /// either unless rows are hidden. Fails, and is `None`, like `lookup`.
    pub fn count_live(&self, index: &IndexDef, range: &KeyRange) -> Result<Option<u64>> {
        if self.live_rows() == self.rows() {
            return self.count(index, range);
        }
        self.guard.check()?;
        let is_live = |row| self.seen.is_live(row);
        Ok(self.segment().count_live(index, range, &is_live))
    }

    /// The versions of a group's rows, as `UInt64`. Fails like `column`.
    pub fn versions(&self, group: usize) -> Result<ArrayRef> {
        self.guard.check()?;
        self.segment().versions(group)
    }

    /// The authors of a group's rows, as `Utf8`. Fails like `column`.
    pub fn authors(&self, group: usize) -> Result<ArrayRef> {
        self.guard.check()?;
        self.segment().authors(group)
    }

    /// What is known of the columns over all rows, hidden ones included. Fails like `column`.
    pub fn summaries(&self) -> Result<&[ColumnSummary]> {
        self.guard.check()?;
        self.segment().column_stats()
    }

    /// The least value of a column in every group; NULL where it is not known. Fails like `column`.
    pub fn zone_mins(&self, column: usize) -> Result<ArrayRef> {
        self.guard.check()?;
        self.segment().zone_mins(column)
    }

    /// The greatest value of a column in every group; NULL where it is not known. Fails like
    /// `column`.
    pub fn zone_maxes(&self, column: usize) -> Result<ArrayRef> {
        self.guard.check()?;
        self.segment().zone_maxes(column)
    }

    /// The NULLs of a column in every group, as `UInt64`. Fails like `column`.
    pub fn zone_nulls(&self, column: usize) -> Result<ArrayRef> {
        self.guard.check()?;
        Ok(Arc::new(self.segment().zone_nulls(column)?))
    }

    fn segment(&self) -> &Arc<Segment> {
        &self.seen.segment
    }
}
