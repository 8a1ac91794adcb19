//! The hybrid logical clock that stamps every write.
//!
//! Invariant: `now` never returns the same version twice and never goes back, also when the
//! machine's clock does; after `observe(v)` it returns versions greater than `v`.
//! Non-goal: it does not synchronise machines; it only refuses to follow one that is far ahead.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// How far ahead of this machine's clock a version may be. Farther ones are refused, or one wrong
/// clock in the network would win every conflict for ever.
pub const MAX_CLOCK_DRIFT: Duration = Duration::from_secs(300);

/// Bits of a version that count writes within one millisecond.
const COUNTER_BITS: u32 = 16;

/// A point in hybrid logical time: milliseconds since 1970 (48 bits), then a counter (16 bits).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Version(pub u64);

impl Version {
    /// The wall-clock part, in milliseconds since 1970.
    pub fn millis(self) -> u64 {
        self.0 >> COUNTER_BITS
    }

    /// The least version of a millisecond.
    pub(crate) fn at_millis(millis: u64) -> Self {
        Self(millis << COUNTER_BITS)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Hands out strictly increasing versions. Shared by reference; needs no lock.
#[derive(Debug, Default)]
pub struct Clock {
    last: AtomicU64,
}

impl Clock {
    /// A clock that has seen nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next version: greater than every version returned or observed before.
    pub fn now(&self) -> Version {
        let wall = wall_millis() << COUNTER_BITS;
        let next = |last: u64| wall.max(last.saturating_add(1));
        // The closure never refuses, so both arms hold the previous value.
        match self
            .last
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |last| Some(next(last)))
        {
            Ok(last) | Err(last) => Version(next(last)),
        }
    }

    /// The greatest version returned or observed so far.
    pub(crate) fn last(&self) -> Version {
        Version(self.last.load(Ordering::Acquire))
    }

    /// Takes note of a version from elsewhere. Returns false, and ignores it, if it is more than
    /// [`MAX_CLOCK_DRIFT`] ahead of this machine's clock and of everything seen so far.
    pub fn observe(&self, version: Version) -> bool {
        if !self.accepts(version) {
            return false;
        }
        self.advance(version);
        true
    }

    /// Whether `observe` would take this version.
    pub(crate) fn accepts(&self, version: Version) -> bool {
        let drift = u64::try_from(MAX_CLOCK_DRIFT.as_millis()).unwrap_or(u64::MAX);
        version.0 <= self.last.load(Ordering::Acquire)
            || version.millis() <= wall_millis().saturating_add(drift)
    }

    /// Takes note of a version that was accepted in an earlier life of this store.
    pub(crate) fn advance(&self, version: Version) {
        self.last.fetch_max(version.0, Ordering::AcqRel);
    }
}

fn wall_millis() -> u64 {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX) & (u64::MAX >> COUNTER_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strictly_increasing_over_threads() {
        let clock = Clock::new();
        let mut all: Vec<Version> = std::thread::scope(|scope| {
            let run = || (0..1000).map(|_| clock.now()).collect::<Vec<_>>();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap_or_default())
                .collect()
        });
        assert_eq!(all.len(), 4000);
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 4000);
    }

    #[test]
    fn observed_versions_are_passed_but_not_the_far_future() {
        let clock = Clock::new();
        let near = Version(clock.now().0 + (60_000 << COUNTER_BITS));
        assert!(clock.observe(near));
        assert!(clock.now() > near);
        let far = Version(clock.now().0 + (3_600_000 << COUNTER_BITS));
        assert!(!clock.observe(far));
        assert!(clock.now() < far);
        clock.advance(far);
        let own = clock.now();
        assert!(own > far && clock.observe(own));
    }
}
