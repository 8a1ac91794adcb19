//! Frozen batches cut into pieces, for export and checkpoints.

use std::collections::BTreeMap;

use arrow::array::{BinaryArray, RecordBatch, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::take_record_batch;
use arrow::error::ArrowError;

use super::size::{collect_views, held_bytes};
use super::stamps::Stamps;
use crate::ids::Stamp;
use crate::write::Change;

/// A batch as a snapshot sees it.
#[derive(Debug, Clone)]
pub(crate) struct FrozenBatch {
    pub(crate) change: Change,
    /// Which batch of its memtable it is.
    pub(crate) slot: usize,
    pub(crate) rows: RecordBatch,
    pub(crate) keys: BinaryArray,
    pub(crate) stamps: Stamps,
    /// Which rows are current; `None`: all.
    pub(crate) current: Option<BooleanBuffer>,
    pub(crate) current_rows: usize,
}

impl FrozenBatch {
    /// The current rows in pieces of about `bytes` bytes.
    pub(crate) fn pieces(&self, bytes: usize) -> Result<Vec<(RecordBatch, Stamps)>, ArrowError> {
        self.current_indices()
            .chunks(self.rows_in(bytes))
            .map(|rows| Ok((self.take(rows)?, self.stamps.select(rows))))
            .collect()
    }

    /// The current rows in pieces of about `bytes` bytes, each of one stamp.
    pub(crate) fn pieces_by_stamp(
        &self,
        bytes: usize,
    ) -> Result<Vec<(RecordBatch, Stamp)>, ArrowError> {
        let mut by_stamp: BTreeMap<Stamp, Vec<u32>> = BTreeMap::new();
        match &self.stamps {
            Stamps::One(stamp) => {
                by_stamp.insert(stamp.clone(), self.current_indices());
            }
            stamps => {
                for row in self.current_indices() {
                    let stamp = stamps.stamp(row as usize);
                    by_stamp.entry(stamp).or_default().push(row);
                }
            }
        }
        let mut pieces = Vec::with_capacity(by_stamp.len());
        for (stamp, rows) in by_stamp {
            for rows in rows.chunks(self.rows_in(bytes)) {
                pieces.push((self.take(rows)?, stamp.clone()));
            }
        }
        Ok(pieces)
    }

    fn current_indices(&self) -> Vec<u32> {
        match &self.current {
            Some(current) => current.set_indices_u32().collect(),
            None => (0..self.rows.num_rows() as u32).collect(),
        }
    }

    fn rows_in(&self, bytes: usize) -> usize {
        let per_row = held_bytes(&self.rows) / self.rows.num_rows().max(1);
        (bytes / per_row.max(1)).max(1)
    }

    fn take(&self, rows: &[u32]) -> Result<RecordBatch, ArrowError> {
        if rows.len() == self.rows.num_rows() {
            return Ok(self.rows.clone());
        }
        let taken = take_record_batch(&self.rows, &UInt32Array::from(rows.to_vec()))?;
        let columns = taken
            .columns()
            .iter()
            .map(collect_views)
            .collect::<Result<_, _>>()?;
        RecordBatch::try_new(taken.schema(), columns)
    }
}
