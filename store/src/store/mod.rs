//! The store: a cheap handle over shared state, one writer's thread and one for maintenance.
//!
//! A write is checked, encoded, hashed and located on the caller's thread; the writer's thread
//! gathers what is waiting, writes and syncs it in one go, applies it in log order, and answers
//! everyone. Maintenance makes checkpoints (rows in memory become segments, older log files go) and
//! compacts segments; what it made takes effect through the writer's thread, too.
//!
//! Invariant: what is visible is in the log, or in a checkpoint and the segments that it lists; what
//! was answered is on disk (unless relaxed).

mod backup;
mod bulk;
mod check;
mod checkpoint;
mod committer;
mod compact;
mod core;
mod export;
mod flush;
mod folder;
mod health;
mod home;
mod index;
mod index_runs;
mod lane;
mod listing;
mod maintenance;
mod meta;
mod open;
mod read;
mod reader;
mod recompute;
mod repair;
mod replay;
mod set_aside;
mod snapshots;
mod writing;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};
use std::thread::JoinHandle;

use futures::channel::oneshot;
use parking_lot::Mutex;

pub use self::backup::{
    BackupInfo, BackupReport, BackupTable, BackupTarget, PruneReport, RestoreReport,
};
pub(crate) use self::backup::{archive_for_fuzzing, files_for_fuzzing};
pub use self::bulk::BulkLoad;
pub use self::check::{CheckReport, Problem};
use self::committer::{Outcome, Request, Work};
use self::core::Core;
pub use self::core::StoreStats;
pub use self::health::StoreHealth;
pub use self::listing::SegmentInfo;
use self::maintenance::Job;
pub use self::meta::{MAX_META_KEY, MAX_META_VALUE};
pub use self::open::Components;
pub use self::reader::TableReader;
pub use self::repair::RepairReport;
pub use self::replay::OpenReport;
pub(crate) use self::snapshots::SnapshotGuard;
pub use self::writing::PendingWrite;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::ids::TableId;
use crate::log::Frame;

/// Where an answer of the writer's thread comes.
type PendingOutcome = oneshot::Receiver<Result<Outcome>>;

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
    /// `None` in memory, and where nothing is written.
    maintenance: Option<(SyncSender<Job>, JoinHandle<()>)>,
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

    /// Makes a checkpoint: rows in memory become segments, except a few small ones, and the log
    /// before it is removed, so that opening is fast. Neither readers nor writers wait. A crash in
    /// between loses nothing. Does nothing in memory. Fails with `Io` if the system refuses: without
    /// space everything stays as it was, and the checkpoint is tried again by itself; after a failed
    /// sync the store takes no more writes (see [`health`](Self::health)). Fails with `Unavailable`
    /// if it is closed or read only.
    pub fn checkpoint(&self) -> Result<()> {
        self.maintain(|| Job::checkpoint(false)).map(|_| ())
    }

    /// Like `checkpoint`, and leaves no rows in memory.
    pub fn flush_to_segments(&self) -> Result<()> {
        self.maintain(|| Job::checkpoint(true)).map(|_| ())
    }

    /// Merges all segments of a table into as few as possible, in order of keys, without what is
    /// hidden; then makes a checkpoint. Neither readers nor writers wait. Does nothing in memory.
    /// Fails like `checkpoint`, and with `NotFound` if the table is unknown.
    pub fn compact(&self, table: TableId) -> Result<()> {
        self.core().any_table(table)?;
        self.maintain(|| Job::compact(table)).map(|_| ())
    }

    /// Hands a job to the background thread and waits for its answer; `None` if there is none.
    fn maintain<T>(&self, job: impl FnOnce() -> (Job, Receiver<Result<T>>)) -> Result<Option<T>> {
        let Some(jobs) = self.jobs()? else {
            return Ok(None);
        };
        let (job, answer) = job();
        jobs.send(job).map_err(|_| Error::closed())?;
        drop(jobs);
        let answer = answer.recv().map_err(|_| Error::closed())??;
        self.core().backend()?.flush()?;
        Ok(Some(answer))
    }

    /// The way to maintenance; `None` in memory.
    fn jobs(&self) -> Result<Option<SyncSender<Job>>> {
        self.core().check_writable()?;
        match self.0.writer.lock().as_ref() {
            Some(writer) => Ok(writer.maintenance.as_ref().map(|(jobs, _)| jobs.clone())),
            None => Err(Error::closed()),
        }
    }

    /// Tells maintenance to look whether something is due. If its queue is full, it is awake.
    fn wake(&self) {
        if let Some(writer) = self.0.writer.lock().as_ref()
            && let Some((jobs, _)) = &writer.maintenance
        {
            let _ = jobs.try_send(Job::Wake);
        }
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

impl Store {
    /// Hands work to the writer's thread, and says where its answer comes; `None` if its queue is
    /// full.
    fn try_submit(&self, work: Work, frame: Option<Frame>) -> Result<Option<PendingOutcome>> {
        self.core().check_open()?;
        let (request, answer) = Request::of_task(work, frame);
        match self.0.writer.lock().as_ref() {
            Some(writer) => match writer.requests.try_send(request) {
                Ok(()) => Ok(Some(answer)),
                Err(TrySendError::Full(_)) => Ok(None),
                Err(TrySendError::Disconnected(_)) => Err(Error::closed()),
            },
            None => Err(Error::closed()),
        }
    }
}

impl Shared {
    fn close(&self) -> Result<()> {
        let mut writer = self.writer.lock();
        let Some(Writer {
            requests,
            thread,
            maintenance,
            lock,
        }) = writer.take()
        else {
            return Ok(());
        };
        self.core.set_closed();
        self.core.stop();
        if let Some((jobs, thread)) = maintenance {
            // So that it looks up; if its queue is full, it is awake.
            let _ = jobs.try_send(Job::Wake);
            drop(jobs);
            // It logs what goes wrong, and what it leaves undone is done after the next open.
            let _ = thread.join();
        }
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
