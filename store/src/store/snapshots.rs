//! Who holds snapshots, and for how long they may.
//!
//! A snapshot keeps the files of replaced segments. One that is older than the store's patience is
//! ended: what it held back is removed, and reading from it fails with a clear message.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::error::{Error, ErrorKind, Result};

/// The snapshots of a store.
#[derive(Debug)]
pub(crate) struct Snapshots {
    patience: Duration,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    next: u64,
    alive: BTreeMap<u64, Arc<Life>>,
}

#[derive(Debug)]
struct Life {
    since: Instant,
    /// Whether the patience does not apply.
    lasting: bool,
    ended: AtomicBool,
}

/// Counts as a snapshot as long as it lives.
#[derive(Debug)]
pub(crate) struct SnapshotGuard {
    number: u64,
    life: Arc<Life>,
    registry: Arc<Snapshots>,
}

impl Snapshots {
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            patience,
            held: Mutex::default(),
        }
    }

    /// Counts one more.
    pub(super) fn register(self: &Arc<Self>) -> Arc<SnapshotGuard> {
        self.add(false)
    }

    /// Counts one more, which lasts as long as its guard: for work that ends by itself.
    pub(super) fn register_lasting(self: &Arc<Self>) -> Arc<SnapshotGuard> {
        self.add(true)
    }

    fn add(self: &Arc<Self>, lasting: bool) -> Arc<SnapshotGuard> {
        let life = Arc::new(Life {
            since: Instant::now(),
            lasting,
            ended: AtomicBool::new(false),
        });
        let mut held = self.held.lock();
        held.next += 1;
        let number = held.next;
        held.alive.insert(number, Arc::clone(&life));
        Arc::new(SnapshotGuard {
            number,
            life,
            registry: Arc::clone(self),
        })
    }

    /// How many there are, and the age of the oldest.
    pub(super) fn held(&self) -> (u64, Duration) {
        let held = self.held.lock();
        let oldest = held.alive.values().next();
        let age = oldest.map_or(Duration::ZERO, |life| life.since.elapsed());
        (held.alive.len() as u64, age)
    }

    /// Ends those that are older than the patience.
    pub(super) fn end_old(&self) {
        for life in self.held.lock().alive.values() {
            if !life.lasting && life.since.elapsed() > self.patience {
                life.ended.store(true, Ordering::Release);
            }
        }
    }

    /// Whether something retired at `when` may still be read.
    pub(super) fn may_read(&self, when: Instant) -> bool {
        let held = self.held.lock();
        held.alive
            .values()
            .any(|life| life.since <= when && !life.ended.load(Ordering::Acquire))
    }
}

impl SnapshotGuard {
    /// Fails with `Unavailable` once the snapshot was ended.
    pub(crate) fn check(&self) -> Result<()> {
        if !self.life.ended.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!(
                "this snapshot was ended after snapshot_patience_secs = {}: it held back the removal \
                 of replaced rows. Ask again, or raise the setting",
                self.registry.patience.as_secs()
            ),
        ))
    }
}

impl Drop for SnapshotGuard {
    fn drop(&mut self) {
        self.registry.held.lock().alive.remove(&self.number);
    }
}
