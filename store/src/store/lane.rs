//! One shard's part of a bulk load: checked, sorted, written.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, RecordBatch};
use arrow::compute::{interleave, interleave_record_batch};

use super::bulk::ascends;
use super::home::SegmentHome;
use crate::catalog::TableState;
use crate::digest::DigestTree;
use crate::error::{Error, Result};
use crate::ids::Stamp;
use crate::mem::{Stamps, check_rows, digests_of};
use crate::segment::{GROUP_ROWS, Segment, SegmentWriter};
use crate::write::Change;

/// Rows after which a segment is finished and another one begun.
pub(super) const MAX_SEGMENT_ROWS: u64 = 4 << 20;

/// A finished segment and the digests of its records.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) segment: Arc<Segment>,
    pub(super) sum: DigestTree,
}

/// The shard's open segment, and rows that wait to be sorted.
pub(super) struct LaneShard<'a> {
    home: &'a SegmentHome,
    table: &'a TableState,
    number: u32,
    stamp: Stamp,
    sort_bytes: usize,
    open: Option<Open>,
    waiting: Vec<(RecordBatch, BinaryArray)>,
    waiting_bytes: usize,
    written: Vec<Written>,
}

struct Open {
    writer: SegmentWriter,
    last: Vec<u8>,
    sum: DigestTree,
}

impl<'a> LaneShard<'a> {
    pub(super) fn new(
        (home, table): (&'a SegmentHome, &'a TableState),
        number: u32,
        stamp: &Stamp,
        sort_bytes: usize,
    ) -> Self {
        Self {
            home,
            table,
            number,
            stamp: stamp.clone(),
            sort_bytes,
            open: None,
            waiting: Vec::new(),
            waiting_bytes: 0,
            written: Vec::new(),
        }
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    pub(super) fn push(&mut self, rows: RecordBatch) -> Result<()> {
        let rows = check_rows(self.table, Change::Upsert, &rows)?;
        let keys = self
            .table
            .encoder
            .encode(&rows)?
            .try_into_binary()
            .map_err(|error| self.failed(error))?;
        let last = self.open.as_ref().map(|open| open.last.as_slice());
        if self.waiting.is_empty() && ascends(&keys, last) {
            return self.write(&rows, &keys);
        }
        self.waiting_bytes += rows.get_array_memory_size() + keys.get_array_memory_size();
        self.waiting.push((rows, keys));
        if self.waiting_bytes >= self.sort_bytes {
            self.write_waiting()?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Vec<Written>> {
        let done = self.write_waiting().and_then(|()| self.close());
        match done {
            Ok(()) => Ok(std::mem::take(&mut self.written)),
            Err(error) => {
                self.abandon();
                Err(error)
            }
        }
    }

    /// Leaves nothing behind.
    pub(super) fn abandon(self) {
        if let Some(open) = self.open {
            open.writer.abandon();
        }
        self.written.iter().for_each(|w| w.segment.remove_files());
    }

    /// Sorts and writes the rows that wait.
    fn write_waiting(&mut self) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        let mut order: Vec<(usize, usize)> = Vec::new();
        for (number, (rows, _)) in waiting.iter().enumerate() {
            order.extend((0..rows.num_rows()).map(|row| (number, row)));
        }
        let key = |(batch, row): &(usize, usize)| waiting.get(*batch).map(|(_, k)| k.value(*row));
        order.sort_unstable_by(|a, b| key(a).cmp(&key(b)));
        if let Some(pair) = order.windows(2).find(|pair| key(&pair[0]) == key(&pair[1]))
            && let Some((rows, _)) = waiting.get(pair[0].0)
        {
            return Err(Error::conflict(format!(
                "table \"{}\": key {} appears twice in one load",
                self.table.name,
                self.table.encoder.describe(rows, pair[0].1)
            )));
        }
        let rows: Vec<&RecordBatch> = waiting.iter().map(|(rows, _)| rows).collect();
        let keys: Vec<&dyn Array> = waiting.iter().map(|(_, keys)| keys as &dyn Array).collect();
        for chunk in order.chunks(GROUP_ROWS) {
            let rows = interleave_record_batch(&rows, chunk).map_err(|e| self.failed(e))?;
            let keys: ArrayRef = interleave(&keys, chunk).map_err(|e| self.failed(e))?;
            self.write(&rows, &BinaryArray::from(keys.to_data()))?;
        }
        Ok(())
    }

    /// Appends ascending rows: to the open segment if they follow its last one.
    fn write(&mut self, rows: &RecordBatch, keys: &BinaryArray) -> Result<()> {
        let Some(last_row) = keys.len().checked_sub(1) else {
            return Ok(());
        };
        let fits = self.open.as_ref().is_some_and(|open| {
            open.last.as_slice() < keys.value(0) && open.writer.rows() < MAX_SEGMENT_ROWS
        });
        if !fits {
            self.close()?;
        }
        let stamps = Stamps::One(self.stamp.clone());
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.begin()?,
        };
        for digest in digests_of(keys, &stamps, Change::Upsert) {
            open.sum.add(digest);
        }
        let pushed = open.writer.push(rows, keys, &stamps);
        open.last.clear();
        open.last.extend_from_slice(keys.value(last_row));
        self.open = Some(open);
        pushed
    }

    fn begin(&self) -> Result<Open> {
        let stamp = Some(self.stamp.clone());
        Ok(Open {
            writer: self
                .home
                .begin(self.table, self.number, Change::Upsert, stamp)?,
            last: Vec::new(),
            sum: DigestTree::default(),
        })
    }

    fn close(&mut self) -> Result<()> {
        if let Some(open) = self.open.take() {
            let meta = open.writer.finish()?;
            self.written.push(Written {
                segment: self.home.open(self.table, meta),
                sum: open.sum,
            });
        }
        Ok(())
    }

    fn failed(&self, error: arrow::error::ArrowError) -> Error {
        Error::arrow(format!("rows of table \"{}\"", self.table.name), error)
    }
}
