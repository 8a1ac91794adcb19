//! What keeps an open store from all of its work.
//!
//! Invariant: a failure after which the disk is in doubt ends writing for good; any other failure of
//! work in the background is kept until that work succeeds, and the work is tried again.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Store;
use super::core::Core;
use crate::error::{Error, ErrorKind, Result};

/// Pause after the first failure of work in the background; it doubles with every other one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What keeps an open store from all of its work; everything empty: nothing does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StoreHealth {
    /// Why the store takes no more writes until it is opened again.
    pub failed: Option<String>,
    /// Why the last checkpoint, compaction or making of an index failed. It is tried again.
    pub background: Option<String>,
    /// Tables that are set aside until the next open, and the damage because of which they are.
    pub set_aside: Vec<(String, String)>,
}

/// Failures of an open store.
#[derive(Debug, Default)]
pub(super) struct Failures {
    fatal: OnceLock<String>,
    background: Mutex<Option<String>>,
    /// Failures of work in the background.
    pub(super) jobs: AtomicU64,
}

impl Store {
    /// Whether the store does all of its work, and why not.
    pub fn health(&self) -> StoreHealth {
        let failures = &self.core().failures;
        StoreHealth {
            failed: failures.fatal.get().cloned(),
            background: failures.background.lock().clone(),
            set_aside: self
                .core()
                .tables_set_aside()
                .into_iter()
                .map(|(table, error)| (table, error.to_string()))
                .collect(),
        }
    }
}

impl Core {
    /// After an error that leaves the disk in doubt, nothing is written any more.
    pub(super) fn fail_if_in_doubt(&self, error: &Error) {
        if error.is_in_doubt() {
            // Only the first failure is kept; it is the cause of the others.
            let _ = self.failures.fatal.set(error.to_string());
        }
    }

    pub(super) fn check_failed(&self) -> Result<()> {
        match self.failures.fatal.get() {
            None => Ok(()),
            Some(cause) => Err(Error::new(
                ErrorKind::Io,
                format!(
                    "the store takes no more writes after an error ({cause}); reads go on. Check \
                     the disk, then close the store and open it again"
                ),
            )),
        }
    }

    /// Keeps what work in the background came to; its last failure is shown until it succeeds.
    pub(super) fn note_job<T>(&self, done: &Result<T>) {
        match done {
            Ok(_) => *self.failures.background.lock() = None,
            Err(error) if self.is_stopping() => self.fail_if_in_doubt(error),
            Err(error) => {
                self.fail_if_in_doubt(error);
                self.failures.jobs.fetch_add(1, Ordering::Relaxed);
                *self.failures.background.lock() = Some(error.to_string());
            }
        }
    }

    /// The last failure in the background, if nothing has succeeded since.
    pub(super) fn last_failure(&self) -> Option<String> {
        self.failures.background.lock().clone()
    }
}

/// When work that failed may be tried again.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    pause: Duration,
    until: Option<Instant>,
}

impl Backoff {
    pub(super) fn is_over(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() >= until)
    }

    pub(super) fn note(&mut self, succeeded: bool) {
        if succeeded {
            *self = Self::default();
            return;
        }
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        self.until = Some(Instant::now() + self.pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_end_with_success() {
        let mut backoff = Backoff::default();
        assert!(backoff.is_over());
        let mut pauses = Vec::new();
        for _ in 0..10 {
            backoff.note(false);
            assert!(!backoff.is_over());
            pauses.push(backoff.pause.as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
        backoff.note(true);
        assert!(backoff.is_over());
        backoff.note(false);
        assert_eq!(backoff.pause, FIRST_PAUSE);
    }
}
