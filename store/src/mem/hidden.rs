//! Which rows of a segment are hidden: replaced, deleted, or never current.
//!
//! Rows are counted in groups of [`GROUP_ROWS`]; a group of which nothing is hidden takes no memory.
//! A snapshot shares the groups that have not changed since the last one.

use std::sync::Arc;

use arrow::buffer::{BooleanBuffer, Buffer};

use super::bitmap::Bitmap;
use crate::segment::GROUP_ROWS;

/// Liveness of a segment's rows by group, frozen; `None`: all of the group's rows are live.
pub(crate) type Liveness = Arc<[Option<BooleanBuffer>]>;

/// Hidden rows of one segment.
#[derive(Debug)]
pub(crate) struct Hidden {
    groups: Vec<Option<Bitmap>>,
    rows: u64,
    hidden: u64,
    frozen: Option<Liveness>,
}

impl Hidden {
    /// Nothing of `rows` rows is hidden.
    pub(crate) fn none(rows: u64) -> Self {
        let groups = rows.div_ceil(GROUP_ROWS as u64);
        Self {
            groups: (0..groups).map(|_| None).collect(),
            rows,
            hidden: 0,
            frozen: None,
        }
    }

    /// Rows that are not hidden.
    pub(crate) fn live(&self) -> u64 {
        self.rows - self.hidden
    }

    /// How many are hidden.
    pub(crate) fn count(&self) -> u64 {
        self.hidden
    }

    pub(crate) fn contains(&self, row: u32) -> bool {
        let group = self.groups.get(row as usize / GROUP_ROWS);
        match group {
            Some(Some(bits)) => !bits.is_set(row as usize % GROUP_ROWS),
            _ => false,
        }
    }

    /// Hides a row. False if it was hidden, or is not there.
    pub(crate) fn hide(&mut self, row: u32) -> bool {
        let number = row as usize / GROUP_ROWS;
        let len = self.group_len(number);
        let Some(group) = self.groups.get_mut(number) else {
            return false;
        };
        let bits = group.get_or_insert_with(|| Bitmap::all(len));
        let before = bits.set();
        bits.unset(row as usize % GROUP_ROWS);
        let changed = bits.set() < before;
        if changed {
            self.hidden += 1;
            self.frozen = None;
        }
        changed
    }

    /// The rows as they are now, for ever.
    pub(crate) fn freeze(&mut self) -> Liveness {
        if let Some(frozen) = &self.frozen {
            return Arc::clone(frozen);
        }
        let groups = self.groups.iter_mut();
        let frozen: Liveness = groups
            .map(|group| group.as_mut().and_then(Bitmap::freeze))
            .collect();
        self.frozen = Some(Arc::clone(&frozen));
        frozen
    }

    /// Hides what a stored group hides: bits of live rows, least significant first.
    pub(crate) fn restore(&mut self, group: u32, live: &[u8]) {
        let len = self.group_len(group as usize);
        let live = BooleanBuffer::new(Buffer::from(live), 0, (live.len() * 8).min(len));
        let start = group as usize * GROUP_ROWS;
        for row in 0..len {
            if row >= live.len() || !live.value(row) {
                self.hide((start + row) as u32);
            }
        }
    }

    fn group_len(&self, group: usize) -> usize {
        let start = group as u64 * GROUP_ROWS as u64;
        self.rows.saturating_sub(start).min(GROUP_ROWS as u64) as usize
    }
}

/// The groups with hidden rows, as bytes, for storing.
pub(crate) fn stored(liveness: &Liveness) -> Vec<(u32, Vec<u8>)> {
    (0..)
        .zip(liveness.iter())
        .filter_map(|(group, live)| {
            let live = live.as_ref()?;
            Some((group, live.sliced().as_slice().to_vec()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hides_freezes_and_restores() {
        let rows = GROUP_ROWS as u64 + 10;
        let mut hidden = Hidden::none(rows);
        assert!(hidden.freeze().iter().all(Option::is_none));
        assert!(hidden.hide(3) && !hidden.hide(3));
        assert!(hidden.hide(GROUP_ROWS as u32 + 9) && !hidden.hide(GROUP_ROWS as u32 + 10));
        assert_eq!((hidden.live(), hidden.count()), (rows - 2, 2));
        let frozen = hidden.freeze();
        hidden.hide(4);
        assert!(frozen[0].as_ref().is_some_and(|bits| bits.value(4)));
        assert!(hidden.contains(4) && !hidden.contains(5));
        let mut copy = Hidden::none(rows);
        for (group, live) in stored(&hidden.freeze()) {
            copy.restore(group, &live);
        }
        assert_eq!(copy.count(), 3);
        assert!(copy.contains(3) && copy.contains(4) && copy.contains(GROUP_ROWS as u32 + 9));
    }
}
