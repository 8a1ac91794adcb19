//! The store: a cheap handle over shared state and one writer's thread.
//!
//! A write is checked, encoded and hashed on the caller's thread; the writer's thread gathers what
//! is waiting, writes and syncs it in one go, applies it in log order, and answers everyone.
//!
//! Invariant: what is visible is in the log; what was answered is on disk (unless relaxed).
//! Non-goals: no background work but the log's; checkpoints run when asked for.

mod committer;
mod core;
mod export;
mod folder;
mod index;
mod meta;
mod open;
mod read;
mod repair;
mod replay;
mod writing;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;

use parking_lot::Mutex;

use self::committer::{Outcome, Request, Work};
use self::core::Core;
pub use self::core::StoreStats;
pub use self::meta::{MAX_META_KEY, MAX_META_VALUE};
pub use self::repair::RepairReport;
pub use self::replay::OpenReport;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::log::Frame;

/// Durable storage of tables. A cheap handle: clone it freely. When the last one is dropped, the
/// store is closed.
#[derive(Debug, Clone)]
pub struct Store(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    core: Arc<Core>,
    report: OpenReport,
    writer: Mutex<Option<Writer>>,
}

/// What ends with the store.
#[derive(Debug)]
struct Writer {
    requests: SyncSender<Request>,
    thread: JoinHandle<Result<()>>,
    /// Held for the lock on the folder.
    lock: Option<File>,
}

impl Store {
    /// What opening found and did.
    pub fn report(&self) -> &OpenReport {
        &self.0.report
    }

    /// The data folder; `None` if everything is in memory.
    pub fn data_dir(&self) -> Option<&Path> {
        self.0.core.settings.data_dir.as_deref()
    }

    /// The clock that stamps writes; it has seen every stamp in the store.
    pub fn clock(&self) -> &Clock {
        &self.0.core.clock
    }

    /// Counters and sizes.
    pub fn stats(&self) -> StoreStats {
        self.0.core.stats()
    }

    /// Returns when everything acknowledged, relaxed writes and small state included, is on disk.
    /// Fails with `Io` if the system refuses, with `Unavailable` if the store is closed.
    pub fn flush(&self) -> Result<()> {
        self.submit(Work::Flush, None)?;
        self.0.core.backend()?.flush()
    }

    /// Writes the log anew with the current records alone, then removes the old files: opening
    /// becomes faster, and space of replaced rows is freed. Writes wait meanwhile; readers do not.
    /// A crash in between loses nothing. Does nothing in memory. Fails like `flush`.
    pub fn checkpoint(&self) -> Result<()> {
        self.submit(Work::Checkpoint, None)?;
        self.0.core.backend()?.flush()
    }

    /// Makes everything durable, stops the writer's thread and releases the folder. Later calls
    /// that need the store fail with `Unavailable`; a second close does nothing. Fails with `Io`
    /// if the system refuses; the store is closed even then.
    pub fn close(&self) -> Result<()> {
        self.0.close()
    }

    fn core(&self) -> &Core {
        &self.0.core
    }

    /// Hands work to the writer's thread and waits for its answer.
    fn submit(&self, work: Work, frame: Option<Frame>) -> Result<Outcome> {
        self.core().check_open()?;
        let requests = match self.0.writer.lock().as_ref() {
            Some(writer) => writer.requests.clone(),
            None => return Err(Error::closed()),
        };
        let (request, answer) = Request::new(work, frame);
        requests.send(request).map_err(|_| Error::closed())?;
        drop(requests);
        answer.recv().map_err(|_| Error::closed())?
    }
}

impl Shared {
    fn close(&self) -> Result<()> {
        let mut writer = self.writer.lock();
        let Some(Writer {
            requests,
            thread,
            lock,
        }) = writer.take()
        else {
            return Ok(());
        };
        self.core.set_closed();
        drop(requests);
        let logged = thread.join().unwrap_or_else(|_| Err(Error::closed()));
        let indexed = match self.core.take_backend() {
            Some(backend) => backend.flush(),
            None => Ok(()),
        };
        let unlocked = lock.as_ref().map_or(Ok(()), folder::unlock);
        logged.and(indexed).and(unlocked)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "closing the store failed");
        }
    }
}
