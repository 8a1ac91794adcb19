//! Several sorted inputs as one.
//!
//! Idea: always take the longest run of the least input that lies before the next input's key.
//! Invariant: rows come out strictly ascending if every key is live once; hidden rows never do.
//! Memory holds one group per input, and the few that the rows being collected come from.
//! Non-goal: deciding which of two rows with one key wins.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::array::{Array, BinaryArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{interleave, interleave_record_batch};

use super::locate::lower_bound;
use super::stamped::gather_rows;
use super::{GROUP_ROWS, Segment};
use crate::error::{Error, Result};
use crate::mem::Stamps;

/// Rows that come out at once, at most.
const OUT_ROWS: usize = 16_384;

/// Groups kept beside the current one of each input, until their rows are out.
const SPARE_GROUPS: usize = 4;

/// The rows of a segment, keys strictly ascending. `live` has a mask per group; `None`, or no entry:
/// all are live.
#[derive(Debug)]
pub(crate) struct MergeInput {
    pub(crate) segment: Arc<Segment>,
    pub(crate) live: Vec<Option<BooleanBuffer>>,
}

/// Where a merged row comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) input: u32,
    pub(crate) row: u32,
}

/// Some merged rows.
#[derive(Debug)]
pub(crate) struct Merged {
    pub(crate) rows: RecordBatch,
    pub(crate) keys: BinaryArray,
    pub(crate) stamps: Stamps,
    pub(crate) origins: Vec<Origin>,
}

/// Gives the live rows of all inputs to `out` in order of keys, some thousand at a time. Stops
/// with the first error of `out`.
pub(crate) fn merge_sorted(
    inputs: Vec<MergeInput>,
    out: &mut dyn FnMut(Merged) -> Result<()>,
) -> Result<()> {
    let mut merge = Merge::start(inputs)?;
    while let Some((least, bound)) = merge.least() {
        merge.take_run(least, bound.as_deref());
        let crowded = merge.parts.len() > merge.cursors.len() + SPARE_GROUPS;
        if merge.picks.len() >= OUT_ROWS || crowded {
            merge.flush(out)?;
        }
        merge.refill(least)?;
    }
    merge.flush(out)
}

/// Rows that were decoded and are still needed.
#[derive(Debug, Clone)]
struct Part {
    rows: RecordBatch,
    keys: BinaryArray,
    stamps: Stamps,
    live: Option<BooleanBuffer>,
    input: u32,
    first_row: u32,
}

/// The place in one input.
#[derive(Debug)]
struct Cursor {
    input: MergeInput,
    next_group: usize,
    /// The current part, `None` at the end of the input.
    part: Option<usize>,
    at: usize,
}

#[derive(Debug)]
struct Merge {
    cursors: Vec<Cursor>,
    parts: Vec<Part>,
    /// (part, row) of the rows collected.
    picks: Vec<(usize, usize)>,
}

impl Merge {
    fn start(inputs: Vec<MergeInput>) -> Result<Self> {
        let cursor = |input| Cursor {
            input,
            next_group: 0,
            part: None,
            at: 0,
        };
        let mut merge = Self {
            cursors: inputs.into_iter().map(cursor).collect(),
            parts: Vec::new(),
            picks: Vec::new(),
        };
        for index in 0..merge.cursors.len() {
            merge.refill(index)?;
        }
        Ok(merge)
    }

    fn key(&self, cursor: &Cursor) -> Option<&[u8]> {
        let part = self.parts.get(cursor.part?)?;
        (cursor.at < part.keys.len()).then(|| part.keys.value(cursor.at))
    }

    /// The input with the least key, and the least key of the others.
    fn least(&self) -> Option<(usize, Option<Vec<u8>>)> {
        let mut least: Option<(usize, &[u8])> = None;
        let mut bound: Option<&[u8]> = None;
        for (index, cursor) in self.cursors.iter().enumerate() {
            let Some(key) = self.key(cursor) else {
                continue;
            };
            match least {
                Some((_, first)) if first <= key => {
                    bound = Some(bound.map_or(key, |bound| bound.min(key)));
                }
                first => {
                    bound = first.map(|(_, key)| key).or(bound);
                    least = Some((index, key));
                }
            }
        }
        least.map(|(index, _)| (index, bound.map(<[u8]>::to_vec)))
    }

    /// Collects live rows of an input up to `bound`, at least one, as many as there is room for.
    fn take_run(&mut self, index: usize, bound: Option<&[u8]>) {
        let Some(cursor) = self.cursors.get_mut(index) else {
            return;
        };
        let Some((number, part)) = cursor.part.and_then(|n| Some((n, self.parts.get(n)?))) else {
            return;
        };
        let end = bound.map_or(part.keys.len(), |bound| {
            lower_bound(&part.keys, cursor.at, bound)
        });
        // Equal keys are the writer's to refuse; here they must not stop the merge.
        let end = end.max(cursor.at + 1);
        while cursor.at < end && self.picks.len() < OUT_ROWS {
            if is_live(part, cursor.at) {
                self.picks.push((number, cursor.at));
            }
            cursor.at += 1;
        }
    }

    /// Moves an input to its next live row, decoding its next group if need be.
    fn refill(&mut self, index: usize) -> Result<()> {
        let Some(cursor) = self.cursors.get_mut(index) else {
            return Ok(());
        };
        loop {
            if let Some(part) = cursor.part.and_then(|part| self.parts.get(part)) {
                while cursor.at < part.keys.len() && !is_live(part, cursor.at) {
                    cursor.at += 1;
                }
                if cursor.at < part.keys.len() {
                    return Ok(());
                }
            }
            cursor.at = 0;
            let Some(part) = cursor.next_part(index as u32)? else {
                cursor.part = None;
                return Ok(());
            };
            cursor.part = Some(self.parts.len());
            self.parts.push(part);
        }
    }

    /// Puts out what was collected and forgets the parts that no input stands in.
    fn flush(&mut self, out: &mut dyn FnMut(Merged) -> Result<()>) -> Result<()> {
        if !self.picks.is_empty() {
            out(self.merged()?)?;
            self.picks.clear();
        }
        let mut kept = Vec::with_capacity(self.cursors.len());
        for cursor in &mut self.cursors {
            if let Some(part) = cursor.part.and_then(|part| self.parts.get(part)) {
                cursor.part = Some(kept.len());
                kept.push(part.clone());
            }
        }
        self.parts = kept;
        Ok(())
    }

    fn merged(&self) -> Result<Merged> {
        let failed = |error| Error::arrow("merging segments", error);
        let place = |&(part, row): &(usize, usize)| self.parts.get(part).map(|part| (part, row));
        let places = || self.picks.iter().filter_map(place);
        let origins = places().map(|(part, row)| Origin {
            input: part.input,
            row: part.first_row + row as u32,
        });
        let stamps = gather_rows(places().map(|(part, row)| part.stamps.stamp(row)));
        let origins = origins.collect();
        if let Some((part, first)) = self.dense() {
            return Ok(Merged {
                rows: part.rows.slice(first, self.picks.len()),
                keys: part.keys.slice(first, self.picks.len()),
                stamps,
                origins,
            });
        }
        let rows: Vec<&RecordBatch> = self.parts.iter().map(|part| &part.rows).collect();
        let keys: Vec<&dyn Array> = self.parts.iter().map(|part| &part.keys as _).collect();
        let keys = interleave(&keys, &self.picks).map_err(failed)?;
        Ok(Merged {
            rows: interleave_record_batch(&rows, &self.picks).map_err(failed)?,
            keys: keys.as_binary::<i32>().clone(),
            stamps,
            origins,
        })
    }

    /// The part and first row, if neighbours of one part were collected: nothing is copied then.
    fn dense(&self) -> Option<(&Part, usize)> {
        let &(number, first) = self.picks.first()?;
        let expected = (first..).map(|row| (number, row));
        let dense = self
            .picks
            .iter()
            .zip(expected)
            .all(|(pick, expected)| *pick == expected);
        dense
            .then(|| Some((self.parts.get(number)?, first)))
            .flatten()
    }
}

impl Cursor {
    fn next_part(&mut self, number: u32) -> Result<Option<Part>> {
        let group = self.next_group;
        let MergeInput { segment, live } = &self.input;
        // Groups without live rows are not decoded.
        let dead = |group: &usize| {
            let mask = live.get(*group).and_then(Option::as_ref);
            mask.is_some_and(|mask| mask.count_set_bits() == 0)
        };
        let Some(group) = (group..segment.groups()).find(|group| !dead(group)) else {
            self.next_group = segment.groups();
            return Ok(None);
        };
        self.next_group = group + 1;
        let (rows, keys, stamps) = segment.group_once(group)?;
        Ok(Some(Part {
            rows,
            keys,
            stamps,
            live: live.get(group).cloned().flatten(),
            input: number,
            first_row: (group * GROUP_ROWS) as u32,
        }))
    }
}

fn is_live(part: &Part, row: usize) -> bool {
    let live = part.live.as_ref();
    live.is_none_or(|live| row < live.len() && live.value(row))
}
