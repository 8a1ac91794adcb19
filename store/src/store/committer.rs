//! The writer's thread: group commit, rotation, and every change of what is visible.
//!
//! Invariant: requests are applied in log order, and answered after their bytes are on disk. What
//! can fail is done before anything is logged. A write to the log that fails is taken back, and its
//! requests are refused. If that fails, or a sync does, nothing is written any more: the kernel may
//! have dropped the pages, and a second sync would report success without them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use futures::channel::oneshot;

use super::bulk::{self, LoadedShard};
use super::checkpoint::{Capture, CapturedTable};
use super::core::Core;
use super::flush::FlushedShard;
use super::index;
use super::maintenance::Job;
use crate::catalog::{Table, TableState};
use crate::error::{Error, Result};
use crate::log::{Frame, FrameKind, LogWriter};
use crate::mem::{Compacted, Part, Shard};
use crate::settings::Durability;
use crate::table::TableDef;
use crate::write::Applied;

/// Requests that may wait for the writer's thread; further callers wait to hand theirs over.
pub(super) const MAX_QUEUED_REQUESTS: usize = 1024;
/// Bytes after which a group takes no further request.
const MAX_GROUP_BYTES: u64 = 32 << 20;
/// How long relaxed writes may stay off the disk.
const RELAXED_SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// What to do once the frame, if any, is logged.
#[derive(Debug)]
pub(super) enum Work {
    /// Apply rows, for which so many bytes were reserved.
    Write { parts: Vec<Part>, reserved: usize },
    /// Let a definition take effect.
    Table(Box<TableDef>),
    /// Sync.
    Flush,
    /// Let the segments of a bulk load take effect.
    Load {
        table: Table,
        loads: Vec<LoadedShard>,
    },
    /// Begin a checkpoint: shards with so many bytes in memory set them aside.
    Capture { flush_bytes: usize },
    /// Put segments in the place of what was set aside.
    Install(Vec<FlushedShard>),
    /// Put the result of a compaction in the place of its inputs.
    Swap {
        table: Arc<TableState>,
        shard: u32,
        compacted: Box<Compacted>,
    },
}

impl Work {
    /// Whether it changes where records lie, so that it cannot be in one group with writes that
    /// were located before.
    fn moves_records(&self) -> bool {
        match self {
            Self::Write { .. } | Self::Flush => false,
            // Writes behind it must find that they come too late.
            Self::Table(def) => def.options.rules.frozen_until.is_some(),
            _ => true,
        }
    }
}

/// The answer to any request.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) applied: Applied,
    pub(super) changed: bool,
    pub(super) captured: Option<Capture>,
}

/// Who waits for an outcome: a thread, or a task of any executor.
#[derive(Debug)]
enum Answer {
    Thread(SyncSender<Result<Outcome>>),
    Task(oneshot::Sender<Result<Outcome>>),
}

impl Answer {
    /// A caller that is gone needs no answer.
    fn send(self, outcome: Result<Outcome>) {
        match self {
            Self::Thread(thread) => drop(thread.send(outcome)),
            Self::Task(task) => drop(task.send(outcome)),
        }
    }
}

#[derive(Debug)]
pub(super) struct Request {
    work: Work,
    frame: Option<Frame>,
    answer: Answer,
}

impl Request {
    /// A request that a thread waits for.
    pub(super) fn new(work: Work, frame: Option<Frame>) -> (Self, Receiver<Result<Outcome>>) {
        let (answer, receiver) = sync_channel(1);
        let request = Self {
            work,
            frame,
            answer: Answer::Thread(answer),
        };
        (request, receiver)
    }

    /// A request that a task waits for.
    pub(super) fn of_task(
        work: Work,
        frame: Option<Frame>,
    ) -> (Self, oneshot::Receiver<Result<Outcome>>) {
        let (answer, receiver) = oneshot::channel();
        let request = Self {
            work,
            frame,
            answer: Answer::Task(answer),
        };
        (request, receiver)
    }
}

#[derive(Debug)]
pub(super) struct Committer {
    core: Arc<Core>,
    requests: Receiver<Request>,
    /// The request after the last group.
    next: Option<Request>,
    log: Option<LogWriter>,
    /// Where to say that something may be due; `None` without background work.
    jobs: Option<SyncSender<Job>>,
    synced_at: Instant,
}

impl Committer {
    pub(super) fn new(
        core: Arc<Core>,
        requests: Receiver<Request>,
        log: Option<LogWriter>,
        jobs: Option<SyncSender<Job>>,
    ) -> Self {
        Self {
            core,
            requests,
            next: None,
            log,
            jobs,
            synced_at: Instant::now(),
        }
    }

    /// Serves requests until every sender is gone, then leaves everything on disk.
    pub(super) fn run(mut self) -> Result<()> {
        loop {
            match self.next() {
                Ok(first) => {
                    let group = self.gather(first);
                    self.commit(group);
                    self.wake();
                }
                Err(RecvTimeoutError::Timeout) => {
                    if let Err(error) = self.sync_marked() {
                        self.core.fail_if_in_doubt(&error);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return self.finish(),
            }
        }
    }

    /// Tells the background thread when something is due. If its queue is full, it is awake.
    fn wake(&self) {
        if let Some(jobs) = &self.jobs
            && self.core.checkpoint_due()
        {
            let _ = jobs.try_send(Job::Wake);
        }
    }

    fn next(&mut self) -> Result<Request, RecvTimeoutError> {
        if let Some(next) = self.next.take() {
            return Ok(next);
        }
        let unsynced = self.log.as_ref().is_some_and(|log| log.unsynced() > 0);
        if unsynced && self.core.check_failed().is_ok() {
            self.requests.recv_timeout(RELAXED_SYNC_INTERVAL)
        } else {
            self.requests
                .recv()
                .map_err(|_| RecvTimeoutError::Disconnected)
        }
    }

    /// The first request and those that wait behind it, up to one that moves records.
    fn gather(&mut self, first: Request) -> Vec<Request> {
        if first.work.moves_records() {
            return vec![first];
        }
        let size = |request: &Request| request.frame.as_ref().map_or(0, Frame::disk_len);
        let mut bytes = size(&first);
        let mut group = vec![first];
        while bytes < MAX_GROUP_BYTES && group.len() < MAX_QUEUED_REQUESTS {
            let Ok(request) = self.requests.try_recv() else {
                break;
            };
            if request.work.moves_records() {
                self.next = Some(request);
                break;
            }
            bytes += size(&request);
            group.push(request);
        }
        group
    }

    fn commit(&mut self, group: Vec<Request>) {
        let group = self.relocate(group);
        let logged = self
            .core
            .check_failed()
            .and_then(|()| self.log_group(&group))
            .inspect_err(|error| self.core.fail_if_in_doubt(error));
        for Request { work, answer, .. } in group {
            let outcome = match &logged {
                Ok(()) => self.perform(work),
                Err(error) => {
                    if let Work::Write { reserved, .. } = work {
                        self.core.release(reserved);
                    }
                    Err(Error::new(error.kind(), error.to_string()))
                }
            };
            answer.send(outcome);
        }
    }

    /// Finds keys again whose shards have other segments now. A request for which that fails is
    /// answered, and left out.
    fn relocate(&self, group: Vec<Request>) -> Vec<Request> {
        let mut kept = Vec::with_capacity(group.len());
        for mut request in group {
            let located = match &mut request.work {
                Work::Write { parts, .. } => parts.iter_mut().try_for_each(|part| {
                    part.table.check_thawed(&self.core.clock)?;
                    part.relocate()
                }),
                Work::Load { table, loads } => {
                    let thawed = table.state.check_thawed(&self.core.clock);
                    thawed.and_then(|()| bulk::relocate(&table.state, loads))
                }
                _ => Ok(()),
            };
            match located {
                Ok(()) => kept.push(request),
                Err(error) => {
                    if let Work::Write { reserved, .. } = request.work {
                        self.core.release(reserved);
                    }
                    request.answer.send(Err(error));
                }
            }
        }
        kept
    }

    fn log_group(&mut self, group: &[Request]) -> Result<()> {
        let frames = || group.iter().filter_map(|request| request.frame.as_ref());
        let flush = group
            .iter()
            .any(|request| matches!(request.work, Work::Flush));
        self.append(frames().collect())?;
        let Some(log) = &self.log else {
            return Ok(());
        };
        let due = match self.core.settings.durability {
            Durability::Durable => log.unsynced() > 0,
            Durability::Relaxed => flush || self.synced_at.elapsed() > RELAXED_SYNC_INTERVAL,
        };
        match (due, self.core.settings.durability) {
            (false, _) => Ok(()),
            (true, Durability::Durable) => self.sync(),
            (true, Durability::Relaxed) => self.sync_marked(),
        }
    }

    fn append(&mut self, frames: Vec<&Frame>) -> Result<()> {
        let Some(log) = &mut self.log else {
            return Ok(());
        };
        let bytes: u64 = frames.iter().map(|frame| frame.disk_len()).sum();
        if frames.is_empty() {
            return Ok(());
        }
        if log.is_over(bytes, self.core.settings.log_file_bytes) {
            log.rotate()?;
            self.note_files();
        }
        let count = frames.len() as u64;
        if let Some(log) = &mut self.log {
            log.append(frames.into_iter())?;
        }
        let counters = &self.core.counters;
        counters.frames.fetch_add(count, Ordering::Relaxed);
        counters.bytes_logged.fetch_add(bytes, Ordering::Relaxed);
        counters.log_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        if let Some(log) = &mut self.log {
            self.core.counters.syncs.fetch_add(1, Ordering::Relaxed);
            log.sync()?;
        }
        self.synced_at = Instant::now();
        Ok(())
    }

    /// Syncs, then leaves a mark that proves it, so that later damage to what was relaxed until
    /// now is not taken for a torn tail.
    fn sync_marked(&mut self) -> Result<()> {
        if self.log.as_ref().is_none_or(|log| log.unsynced() == 0) {
            return Ok(());
        }
        self.sync()?;
        let mark = Frame::new(FrameKind::Mark, Vec::new())?;
        match self.append(vec![&mark]) {
            Ok(()) => self.sync(),
            Err(error) if error.is_in_doubt() => Err(error),
            // What it would prove is on disk, and must not be refused.
            Err(error) => {
                tracing::warn!(%error, "no space for a mark in the log");
                Ok(())
            }
        }
    }

    fn perform(&mut self, work: Work) -> Result<Outcome> {
        match work {
            Work::Write { parts, reserved } => {
                let applied = self.core.apply(parts);
                self.core.release(reserved);
                Ok(Outcome {
                    applied,
                    changed: applied.rows > 0,
                    ..Outcome::default()
                })
            }
            Work::Table(def) => Ok(Outcome {
                changed: self.core.install(*def)?,
                ..Outcome::default()
            }),
            Work::Flush => Ok(Outcome::default()),
            Work::Load { table, loads } => {
                let applied = self.core.apply_loads(&table, loads);
                Ok(Outcome {
                    applied,
                    changed: true,
                    ..Outcome::default()
                })
            }
            Work::Capture { flush_bytes } => self
                .capture(flush_bytes)
                .inspect_err(|error| self.core.fail_if_in_doubt(error)),
            Work::Install(flushed) => {
                for (table, shard, segments) in flushed {
                    self.core.install_segments(&table, shard, segments);
                }
                Ok(Outcome::default())
            }
            Work::Swap {
                table,
                shard,
                compacted,
            } => {
                self.core.swap_segments(&table, shard, *compacted);
                Ok(Outcome::default())
            }
        }
    }

    /// Begins a new log file, and captures the state at its beginning. Nothing in memory.
    fn capture(&mut self, flush_bytes: usize) -> Result<Outcome> {
        let Some(log) = &mut self.log else {
            return Ok(Outcome::default());
        };
        log.rotate()?;
        let first_log = log.number();
        // What is set aside is in no checkpoint, so it has to be in the log that goes on from it.
        self.core.with_carried(|frames| {
            log.append(frames.into_iter())?;
            log.sync()
        })?;
        self.core.counters.log_bytes.store(0, Ordering::Relaxed);
        self.note_files();
        let tables = self.core.catalog.read().all();
        let capture = |table: Table| {
            let cutoff = self.core.cutoff(&table.state);
            let mut shards = table.state.mem.lock();
            let capture = |shard: &mut Shard| {
                if let Some(cutoff) = cutoff {
                    shard.expire(flush_bytes, cutoff, &self.core.hasher);
                }
                shard.capture(flush_bytes)
            };
            let captured = (0..).zip(shards.iter_mut());
            let captured = captured.map(|(number, shard)| (number, capture(shard)));
            let captured = captured.collect();
            drop(shards);
            CapturedTable {
                table,
                shards: captured,
            }
        };
        Ok(Outcome {
            captured: Some(Capture {
                first_log,
                clock: self.core.clock.last(),
                tables: tables.into_iter().map(capture).collect(),
                replaced: self.core.take_replaced(),
            }),
            ..Outcome::default()
        })
    }

    fn note_files(&self) {
        if let Some(log) = &self.log {
            self.core.note_files(log.folder());
        }
    }

    fn finish(mut self) -> Result<()> {
        self.core.check_failed()?;
        self.sync_marked()?;
        let Some(log) = &mut self.log else {
            return Ok(());
        };
        // All frames are on disk. Zeros behind them are cut off by the next open, if not now.
        if let Err(error) = log.cut_zeros() {
            tracing::warn!(%error, "zeros may stay behind the log's last frame");
        }
        let backend = self.core.backend()?;
        index::note_clean(&*backend, log.number(), log.len())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::backend::MemoryBackend;
    use crate::disk::OsDisk;
    use crate::error::ErrorKind;
    use crate::log::{FrameFolder, Series};
    use crate::settings::Settings;

    #[test]
    fn after_a_failed_write_nothing_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let core = Arc::new(Core::new(
            Settings::default(),
            Arc::new(MemoryBackend::new()),
            None,
        ));
        let folder = FrameFolder::new(Arc::new(OsDisk), dir.path().to_path_buf(), Series::Log);
        let mut log = LogWriter::create(folder, 1).unwrap();
        let len = log.len();
        log.break_disk();
        let (requests, receiver) = sync_channel(MAX_QUEUED_REQUESTS);
        let committer = Committer::new(core.clone(), receiver, Some(log), None);
        let thread = std::thread::spawn(move || committer.run());
        let parts = Vec::new();
        core.reserve(100).unwrap();
        let frame = Frame::new(FrameKind::Write, b"rows".to_vec()).unwrap();
        let work = Work::Write {
            parts,
            reserved: 100,
        };
        let (request, answer) = Request::new(work, Some(frame));
        requests.send(request).unwrap();
        let error = answer.recv().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains("000001.log"), "{error}");
        assert_eq!(core.stats().memory_bytes, 0);

        let (request, answer) = Request::new(Work::Flush, None);
        requests.send(request).unwrap();
        let error = answer.recv().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains("no more writes"), "{error}");
        drop(requests);
        assert!(thread.join().unwrap().is_err());
        let file = dir.path().join("000001.log");
        assert_eq!(std::fs::metadata(file).unwrap().len(), len);
    }
}
