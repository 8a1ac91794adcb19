//! The writer's thread: group commit, rotation, checkpoints.
//!
//! Invariant: requests are applied in log order, and answered after their bytes are on disk. After
//! a failed write or sync nothing is written any more: the kernel may have dropped the pages, and
//! a second sync would report success without them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::core::Core;
use super::index;
use crate::catalog::Table;
use crate::error::{Error, Result};
use crate::log::{Frame, FrameKind, LogWriter};
use crate::mem::Part;
use crate::payload::{self, PartRef};
use crate::settings::Durability;
use crate::table::TableDef;
use crate::write::Applied;

/// Requests that may wait for the writer's thread; further callers wait to hand theirs over.
pub(super) const MAX_QUEUED_REQUESTS: usize = 1024;
/// Bytes after which a group takes no further request.
const MAX_GROUP_BYTES: u64 = 32 << 20;
/// How long relaxed writes may stay off the disk.
const RELAXED_SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// About how many bytes of rows a checkpoint puts into one frame.
const CHECKPOINT_FRAME_BYTES: usize = 8 << 20;

/// What to do once the frame, if any, is logged.
#[derive(Debug)]
pub(super) enum Work {
    /// Apply rows, for which so many bytes were reserved.
    Write { parts: Vec<Part>, reserved: usize },
    /// Let a definition take effect.
    Table(Box<TableDef>),
    /// Sync.
    Flush,
    /// Write the log anew.
    Checkpoint,
}

/// The answer to any request.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Outcome {
    pub(super) applied: Applied,
    pub(super) changed: bool,
}

#[derive(Debug)]
pub(super) struct Request {
    work: Work,
    frame: Option<Frame>,
    answer: SyncSender<Result<Outcome>>,
}

impl Request {
    pub(super) fn new(work: Work, frame: Option<Frame>) -> (Self, Receiver<Result<Outcome>>) {
        let (answer, receiver) = sync_channel(1);
        let request = Self {
            work,
            frame,
            answer,
        };
        (request, receiver)
    }
}

#[derive(Debug)]
pub(super) struct Committer {
    core: Arc<Core>,
    requests: Receiver<Request>,
    log: Option<LogWriter>,
    synced_at: Instant,
}

impl Committer {
    pub(super) fn new(
        core: Arc<Core>,
        requests: Receiver<Request>,
        log: Option<LogWriter>,
    ) -> Self {
        Self {
            core,
            requests,
            log,
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
                }
                Err(RecvTimeoutError::Timeout) => {
                    if let Err(error) = self.sync_marked() {
                        self.core.fail(&error);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return self.finish(),
            }
        }
    }

    fn next(&self) -> Result<Request, RecvTimeoutError> {
        let unsynced = self.log.as_ref().is_some_and(|log| log.unsynced() > 0);
        if unsynced && self.core.check_failed().is_ok() {
            self.requests.recv_timeout(RELAXED_SYNC_INTERVAL)
        } else {
            self.requests
                .recv()
                .map_err(|_| RecvTimeoutError::Disconnected)
        }
    }

    /// The first request and those that wait behind it.
    fn gather(&self, first: Request) -> Vec<Request> {
        let size = |request: &Request| request.frame.as_ref().map_or(0, Frame::disk_len);
        let mut bytes = size(&first);
        let mut group = vec![first];
        while bytes < MAX_GROUP_BYTES && group.len() < MAX_QUEUED_REQUESTS {
            let Ok(request) = self.requests.try_recv() else {
                break;
            };
            bytes += size(&request);
            group.push(request);
        }
        group
    }

    fn commit(&mut self, group: Vec<Request>) {
        let logged = self
            .core
            .check_failed()
            .and_then(|()| self.log_group(&group))
            .inspect_err(|error| self.core.fail(error));
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
            // A caller that is gone needs no answer.
            let _ = answer.send(outcome);
        }
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
        let counters = &self.core.counters;
        counters
            .frames
            .fetch_add(frames.len() as u64, Ordering::Relaxed);
        counters.bytes_logged.fetch_add(bytes, Ordering::Relaxed);
        match &mut self.log {
            Some(log) => log.append(frames.into_iter()),
            None => Ok(()),
        }
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
        self.append(vec![&mark])?;
        self.sync()
    }

    fn perform(&mut self, work: Work) -> Result<Outcome> {
        match work {
            Work::Write { parts, reserved } => {
                let applied = self.core.apply(parts);
                self.core.release(reserved);
                Ok(Outcome {
                    applied,
                    changed: applied.rows > 0,
                })
            }
            Work::Table(def) => Ok(Outcome {
                changed: self.core.install(*def)?,
                ..Outcome::default()
            }),
            Work::Flush => Ok(Outcome::default()),
            Work::Checkpoint => self
                .checkpoint()
                .inspect_err(|error| self.core.fail(error))
                .map(|()| Outcome::default()),
        }
    }

    /// Writes all current records into new files. Until the last frame is on disk the old files
    /// stay, and reading both is harmless: applying a record twice changes nothing.
    fn checkpoint(&mut self) -> Result<()> {
        let Some(log) = &mut self.log else {
            return Ok(());
        };
        log.rotate()?;
        let first = log.number();
        self.note_files();
        let tables = self.core.catalog.read().all();
        for table in &tables {
            self.checkpoint_table(table)?;
        }
        self.sync()?;
        let end = Frame::new(FrameKind::Checkpoint, first.to_le_bytes().to_vec())?;
        self.append(vec![&end])?;
        self.sync()?;
        if let Some(log) = &self.log {
            log.remove_before(first)?;
        }
        self.note_files();
        Ok(())
    }

    fn checkpoint_table(&mut self, table: &Table) -> Result<()> {
        let def = Frame::new(FrameKind::Table, table.def.to_bytes()?)?;
        self.append(vec![&def])?;
        for shard in 0..table.state.shards {
            let frozen = match table.state.mem.lock().get_mut(shard as usize) {
                Some(mem) => mem.freeze(true),
                None => continue,
            };
            for batch in frozen {
                let pieces = batch
                    .pieces(CHECKPOINT_FRAME_BYTES)
                    .map_err(|error| Error::arrow("write a checkpoint", error))?;
                for (rows, stamps) in pieces {
                    let part = PartRef {
                        table: table.def.id,
                        shard,
                        change: batch.change,
                        stamps: &stamps,
                        rows: &rows,
                        bytes: rows.get_array_memory_size(),
                    };
                    let payload = payload::encode(std::iter::once(part))?;
                    let frame = Frame::new(FrameKind::Write, payload)?;
                    self.append(vec![&frame])?;
                }
            }
        }
        Ok(())
    }

    /// Notes in the index which log files there are. The log does not depend on it.
    fn note_files(&self) {
        let Some(log) = &self.log else {
            return;
        };
        let noted = self
            .core
            .backend()
            .and_then(|backend| index::note_files(&*backend, &log.files()?));
        if let Err(error) = noted {
            tracing::warn!(%error, "the index missed a log file; the next open repairs it");
        }
    }

    fn finish(mut self) -> Result<()> {
        self.core.check_failed()?;
        self.sync_marked()?;
        let Some(log) = &self.log else {
            return Ok(());
        };
        let backend = self.core.backend()?;
        index::note_clean(&*backend, log.number(), log.len())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::backend::MemoryBackend;
    use crate::error::ErrorKind;
    use crate::settings::Settings;

    #[test]
    fn after_a_failed_write_nothing_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let core = Arc::new(Core::new(
            Settings::default(),
            Arc::new(MemoryBackend::new()),
        ));
        let mut log = LogWriter::create(dir.path(), 1).unwrap();
        let len = log.len();
        log.break_disk();
        let (requests, receiver) = sync_channel(MAX_QUEUED_REQUESTS);
        let committer = Committer::new(core.clone(), receiver, Some(log));
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
