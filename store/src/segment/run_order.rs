//! What a sorted run tells of the live rows in a range: which of them come first, and how many they are.
//!
//! Idea: a run has its rows in the index's order, so that the first rows of a range are read from its
//! one end, and a count needs no values. Only the positions are read, to leave out hidden rows.
//!
//! Invariant: rows that are equal in the index's columns are in the order of the segment, hence of the
//! primary key.

use super::{GROUP_ROWS, KeyRange, Segment};
use crate::table_options::IndexDef;

/// How many rows of a range are wanted, from which of its ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OuterRows {
    /// The least ones, ascending.
    First(usize),
    /// The greatest ones, descending.
    Last(usize),
}

impl OuterRows {
    fn rows(self) -> usize {
        match self {
            Self::First(rows) | Self::Last(rows) => rows,
        }
    }
}

impl Segment {
    /// The live rows of a range that come first, or last, in the index's order; in that order, or
    /// against it. `None` if there is no run; one that cannot be read is forgotten.
    pub(crate) fn outer_rows(
        &self,
        index: &IndexDef,
        range: &KeyRange,
        wanted: OuterRows,
        is_live: &dyn Fn(u32) -> bool,
    ) -> Option<Vec<u32>> {
        self.with_run(index, |run| {
            let mut left = run.rows_in(range)?;
            let mut found = Vec::new();
            let mut step = wanted.rows().clamp(1, GROUP_ROWS);
            while found.len() < wanted.rows() && !left.is_empty() {
                let length = step.min(left.len()) as u32;
                let mut rows = match wanted {
                    OuterRows::First(_) => {
                        let end = left.start + length;
                        self.positions(run, std::mem::replace(&mut left.start, end)..end)?
                    }
                    OuterRows::Last(_) => {
                        let start = left.end - length;
                        self.positions(run, start..std::mem::replace(&mut left.end, start))?
                    }
                };
                if matches!(wanted, OuterRows::Last(_)) {
                    rows.reverse();
                }
                let missing = wanted.rows() - found.len();
                found.extend(rows.into_iter().filter(|row| is_live(*row)).take(missing));
                // Many hidden rows are passed over in few steps.
                step = (step * 2).min(GROUP_ROWS);
            }
            Ok(found)
        })
    }

    /// How many live rows there are in a range. `None` if there is no run; one that cannot be read is
    /// forgotten.
    pub(crate) fn count_live(
        &self,
        index: &IndexDef,
        range: &KeyRange,
        is_live: &dyn Fn(u32) -> bool,
    ) -> Option<u64> {
        self.with_run(index, |run| {
            let mut left = run.rows_in(range)?;
            let mut live = 0;
            while !left.is_empty() {
                // A group of the run at a time.
                let group = left.start as usize / GROUP_ROWS;
                let whole = u32::try_from((group + 1) * GROUP_ROWS).unwrap_or(u32::MAX);
                let end = left.end.min(whole);
                let rows = self.positions(run, std::mem::replace(&mut left.start, end)..end)?;
                live += rows.into_iter().filter(|row| is_live(*row)).count() as u64;
            }
            Ok(live)
        })
    }
}
