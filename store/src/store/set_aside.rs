//! Tables whose rows in the log could not be replayed, because a segment of theirs is damaged.
//!
//! Idea: such a table is set aside, so that the store opens and the others work: whoever reads or
//! writes it is told what is damaged. What the log holds for it and could not be applied is kept in
//! memory, and written into the log again whenever a checkpoint begins a new part of it; so older
//! log files can go, and the next open finds everything, whether the file is back or not.
//!
//! Invariant: nothing of the log is dropped while its table is set aside. Beyond
//! [`MAX_CARRIED_BYTES`] no checkpoint is made any more, and the log stays as it is.
//! Non-goal: reading the part of such a table that is not damaged; that would be old rows.

use std::collections::HashSet;
use std::fmt;

use parking_lot::Mutex;

use super::core::Core;
use crate::catalog::TableState;
use crate::error::{Error, Result};
use crate::log::Frame;

/// Most bytes of log that are kept in memory for tables that are set aside.
const MAX_CARRIED_BYTES: u64 = 256 << 20;

/// What the log holds for tables that are set aside.
#[derive(Debug, Default)]
pub(super) struct Carried(Mutex<Frames>);

#[derive(Default)]
struct Frames {
    frames: Vec<Frame>,
    /// Hashes of the payloads of all that were added.
    known: HashSet<[u8; 32]>,
    bytes: u64,
    /// There is more than may be kept.
    over: bool,
}

impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Frames");
        shown.field("bytes", &self.bytes).field("over", &self.over);
        shown.finish_non_exhaustive()
    }
}

impl Carried {
    fn add(&self, frame: Frame, limit: u64) {
        let mut kept = self.0.lock();
        if kept.over {
            return;
        }
        // The log has it once more for each checkpoint that began and never came to its end.
        let hash = blake3::hash(frame.payload());
        if !kept.known.insert(*hash.as_bytes()) {
            return;
        }
        kept.bytes += frame.disk_len();
        if kept.bytes > limit {
            *kept = Frames {
                over: true,
                ..Frames::default()
            };
        } else {
            kept.frames.push(frame);
        }
    }
}

impl Core {
    /// Sets a table aside because of `error`. The first reason is kept.
    pub(super) fn set_aside(&self, table: &TableState, error: &Error) {
        if table.set_aside(error) {
            tracing::error!(%error, table = %table.name, "a table is set aside");
        }
    }

    /// Keeps a frame that could not be applied because its tables are set aside.
    pub(super) fn carry(&self, frame: Frame) {
        self.carried.add(frame, MAX_CARRIED_BYTES);
    }

    /// Hands the kept frames to `log`, if any table is still set aside.
    pub(super) fn with_carried(&self, log: impl FnOnce(Vec<&Frame>) -> Result<()>) -> Result<()> {
        let mut kept = self.carried.0.lock();
        if self.tables_set_aside().is_empty() {
            // Those tables were dropped since.
            *kept = Frames::default();
        }
        match kept.frames.is_empty() {
            true => Ok(()),
            false => log(kept.frames.iter().collect()),
        }
    }

    /// Fails with `Corrupt` if more is set aside than a checkpoint can carry.
    pub(super) fn check_carried(&self) -> Result<()> {
        if !self.carried.0.lock().over {
            return Ok(());
        }
        match self.tables_set_aside().into_iter().next() {
            None => Ok(()),
            Some((_, error)) => Err(Error::corrupt(format!(
                "no checkpoint is made while the log holds more than MAX_CARRIED_BYTES = \
                 {MAX_CARRIED_BYTES} bytes for a table that is set aside: {error}"
            ))),
        }
    }

    /// Fails with `Corrupt` if any table is set aside: what concerns the whole store is not whole
    /// without it.
    pub(super) fn check_intact(&self) -> Result<()> {
        match self.tables_set_aside().into_iter().next() {
            None => Ok(()),
            Some((_, error)) => Err(error),
        }
    }

    /// The names of the tables that are set aside, and why.
    pub(super) fn tables_set_aside(&self) -> Vec<(String, Error)> {
        let tables = self.catalog.read().all();
        let states = tables.iter().map(|table| &table.state);
        let states = states.filter(|state| !state.is_dropped());
        states
            .filter_map(|state| Some((state.name.clone(), state.check_intact().err()?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::log::FrameKind;

    #[test]
    fn what_is_kept_is_bounded() {
        let carried = Carried::default();
        let kept = || {
            let frames = carried.0.lock();
            (frames.frames.len(), frames.over)
        };
        let mut seen = Vec::new();
        for number in 0..5 {
            // Again, as it comes from a log that was begun and never replaced the one before.
            for _ in 0..3 {
                let frame = Frame::new(FrameKind::Write, vec![number; 100]).unwrap();
                carried.add(frame, 400);
            }
            seen.push(kept());
        }
        assert_eq!(
            seen,
            [(1, false), (2, false), (3, false), (0, true), (0, true)]
        );
    }
}
