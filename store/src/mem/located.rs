//! Where the keys of a part lie in a shard's segments.
//!
//! Finding keys may read files, so it is done before a part is logged and without a lock. What was
//! found holds as long as the shard has the same segments, which its epoch tells.

use std::sync::Arc;

use arrow::array::{Array, BinaryArray};

use crate::error::Result;
use crate::ids::Stamp;
use crate::segment::Segment;

/// Positions of a part's keys, in ascending order of the part's rows.
#[derive(Debug, Default)]
pub(crate) struct Located {
    pub(crate) epoch: u64,
    found: Vec<Found>,
}

/// One row of a part, and a record of its key in a segment. It may be hidden.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    row: u32,
    /// Which of the shard's segments.
    pub(crate) slot: u32,
    /// The row in the segment.
    pub(crate) at: u32,
    pub(crate) stamp: Stamp,
}

/// The segments of a shard at one epoch.
#[derive(Debug, Clone)]
pub(crate) struct SegmentList {
    pub(crate) epoch: u64,
    pub(crate) segments: Arc<[Arc<Segment>]>,
}

impl SegmentList {
    /// Looks all keys up. Reads files.
    pub(crate) fn locate(&self, keys: &BinaryArray) -> Result<Located> {
        let mut found = Vec::new();
        if !self.segments.is_empty() && !keys.is_empty() {
            let mut order: Vec<u32> = (0..keys.len() as u32).collect();
            order.sort_unstable_by_key(|row| keys.value(*row as usize));
            let sorted: Vec<&[u8]> = order.iter().map(|row| keys.value(*row as usize)).collect();
            for (slot, segment) in (0..).zip(self.segments.iter()) {
                let mut here = Vec::new();
                segment.locate(&sorted, &mut |index, at| {
                    here.extend(order.get(index).map(|row| (*row, at)));
                })?;
                for (row, at) in here {
                    let stamp = segment.stamp(at)?;
                    found.push(Found {
                        row,
                        slot,
                        at,
                        stamp,
                    });
                }
            }
            found.sort_by_key(|found| found.row);
        }
        Ok(Located {
            epoch: self.epoch,
            found,
        })
    }
}

impl Located {
    /// Everything that was found, with the rows it was found for.
    pub(crate) fn into_found(self) -> impl Iterator<Item = (u32, Found)> {
        self.found.into_iter().map(|found| (found.row, found))
    }

    /// What was found for row `row`.
    pub(crate) fn of(&self, row: usize) -> &[Found] {
        let start = self
            .found
            .partition_point(|found| (found.row as usize) < row);
        let rest = self.found.get(start..).unwrap_or_default();
        let end = rest.partition_point(|found| found.row as usize == row);
        rest.get(..end).unwrap_or_default()
    }
}
