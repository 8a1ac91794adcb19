//! The background thread: checkpoints, compaction, removal of what nobody reads any more.
//!
//! Invariant: it changes what is visible only through the writer's thread, so that everything
//! happens in one order; and no file is removed before a checkpoint that does without it is on disk.
//! What fails for want of space leaves nothing behind and is tried again after a while; a checkpoint
//! then as of the moment when it began, because its rows were set aside at that moment.
//! Non-goal: being fast. It runs beside readers and writers and gives way to them.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::checkpoint::{self, Capture};
use super::committer::{Outcome, Request, Work};
use super::compact;
use super::core::Core;
use super::flush::{FlushedShard, flush, remove};
use super::health::Backoff;
use super::home::SegmentHome;
use super::index_runs;
use crate::catalog::TableState;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::TableId;
use crate::log::FrameFolder;
use crate::segment::{Segment, SegmentMeta};

/// Jobs that may wait.
const MAX_QUEUED_JOBS: usize = 64;
/// Steps of making indexes that nobody has looked at yet; more are not told.
const MAX_QUEUED_STEPS: usize = 64;
/// How often the thread looks for something to do by itself.
const TICK: Duration = Duration::from_secs(1);
/// Rows in memory that are not worth a segment, in bytes, when there is no need to free memory.
const SMALL_SHARD_BYTES: usize = 1 << 20;

/// What to do.
#[derive(Debug)]
pub(super) enum Job {
    /// Look whether something is due.
    Wake,
    /// Make a checkpoint; move all rows in memory to segments if so told.
    Checkpoint {
        flush_all: bool,
        answer: SyncSender<Result<()>>,
    },
    /// Make a checkpoint, and hand out what it consists of.
    Backup {
        answer: SyncSender<Result<Option<Made>>>,
    },
    /// Merge all segments of a table.
    Compact {
        table: TableId,
        answer: SyncSender<Result<()>>,
    },
    /// Make the runs that a table's indexes lack.
    Index {
        table: TableId,
        /// Runs made, and to be made.
        progress: SyncSender<(u64, u64)>,
        answer: SyncSender<Result<()>>,
    },
}

impl Job {
    pub(super) fn checkpoint(flush_all: bool) -> (Self, Receiver<Result<()>>) {
        let (answer, receiver) = sync_channel(1);
        (Self::Checkpoint { flush_all, answer }, receiver)
    }

    pub(super) fn backup() -> (Self, Receiver<Result<Option<Made>>>) {
        let (answer, receiver) = sync_channel(1);
        (Self::Backup { answer }, receiver)
    }

    pub(super) fn compact(table: TableId) -> (Self, Receiver<Result<()>>) {
        let (answer, receiver) = sync_channel(1);
        (Self::Compact { table, answer }, receiver)
    }

    pub(super) fn index(table: TableId) -> (Self, Indexing) {
        let (answer, receiver) = sync_channel(1);
        let (progress, steps) = sync_channel(MAX_QUEUED_STEPS);
        let job = Self::Index {
            table,
            progress,
            answer,
        };
        (job, (steps, receiver))
    }
}

/// Runs made, and to be made; then the answer.
type Indexing = (Receiver<(u64, u64)>, Receiver<Result<()>>);

/// A checkpoint that was just made. As long as this lives, and a snapshot that is older, the files
/// of its segments stay.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) capture: Capture,
    /// The segments that were made of its rows in memory.
    pub(super) flushed: Vec<Arc<Segment>>,
}

/// The way to the background thread.
pub(super) fn job_queue() -> (SyncSender<Job>, Receiver<Job>) {
    sync_channel(MAX_QUEUED_JOBS)
}

/// The background thread's state.
#[derive(Debug)]
pub(super) struct Maintenance {
    core: Arc<Core>,
    jobs: Receiver<Job>,
    requests: SyncSender<Request>,
    log: FrameFolder,
    checkpoints: FrameFolder,
    /// Number of the last checkpoint.
    last: u64,
    /// A checkpoint that began and could not be written.
    begun: Option<Capture>,
    /// Of checkpoints, and of the rest: one of them must not wait for the other.
    checkpoint_backoff: Backoff,
    tidy_backoff: Backoff,
    /// Shards that could not be compacted because a file is damaged.
    damaged: HashSet<(TableId, u32)>,
}

impl Maintenance {
    pub(super) fn new(
        core: Arc<Core>,
        jobs: Receiver<Job>,
        requests: SyncSender<Request>,
        folders: (FrameFolder, FrameFolder),
        last: u64,
    ) -> Self {
        let (log, checkpoints) = folders;
        Self {
            core,
            jobs,
            requests,
            log,
            checkpoints,
            last,
            begun: None,
            checkpoint_backoff: Backoff::default(),
            tidy_backoff: Backoff::default(),
            damaged: HashSet::new(),
        }
    }

    /// Serves jobs until the store is closed.
    pub(super) fn run(mut self) {
        loop {
            match self.jobs.recv_timeout(TICK) {
                Ok(Job::Wake) | Err(RecvTimeoutError::Timeout) => {
                    self.look();
                    // Compaction ends where a checkpoint frees what it replaced.
                    if self.is_checkpoint_due() && !self.core.is_stopping() {
                        self.look();
                    }
                }
                Ok(Job::Checkpoint { flush_all, answer }) => {
                    // A caller that is gone needs no answer.
                    let _ = answer.send(self.checkpoint(flush_all));
                }
                Ok(Job::Backup { answer }) => {
                    let intact = self.core.check_intact();
                    let _ = answer.send(intact.and_then(|()| self.make_checkpoint(false)));
                }
                Ok(Job::Compact { table, answer }) => {
                    let _ = answer.send(self.compact(table));
                }
                Ok(Job::Index {
                    table,
                    progress,
                    answer,
                }) => {
                    let _ = answer.send(self.index(table, &progress));
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.core.is_stopping() {
                return;
            }
            self.reap();
        }
    }

    /// Does what is due.
    fn look(&mut self) {
        if !self.core.settings.background || self.core.check_failed().is_err() {
            return;
        }
        let checkpoint = self.begun.is_some() || self.is_checkpoint_due();
        let done = match checkpoint {
            true if self.checkpoint_backoff.is_over() => self.try_checkpoint(false).map(|_| ()),
            false if self.tidy_backoff.is_over() => self.tidy(),
            _ => return,
        };
        if let Err(error) = &done
            && !self.core.is_stopping()
        {
            tracing::error!(%error, "background work failed; it is tried again");
        }
        match checkpoint {
            true => self.note(&done),
            false => self.note_tidied(&done),
        }
    }

    /// Whether memory, log or replaced segments have grown enough for a checkpoint.
    fn is_checkpoint_due(&self) -> bool {
        self.core.checkpoint_due() || self.core.is_crowded()
    }

    /// Keeps what a checkpoint came to. One that succeeds says nothing about another that waits.
    fn note<T>(&mut self, done: &Result<T>) {
        if done.is_ok() && self.begun.is_some() {
            return;
        }
        self.core.note_job(done);
        self.checkpoint_backoff.note(done.is_ok());
    }

    /// Keeps what compaction, or making runs, came to.
    fn note_tidied<T>(&mut self, done: &Result<T>) {
        self.tidy_backoff.note(done.is_ok());
        if done.is_err() || self.begun.is_none() {
            self.core.note_job(done);
        }
    }

    /// Makes a checkpoint, however long ago it was tried.
    fn checkpoint(&mut self, flush_all: bool) -> Result<()> {
        self.make_checkpoint(flush_all).map(|_| ())
    }

    fn make_checkpoint(&mut self, flush_all: bool) -> Result<Option<Made>> {
        self.core.check_failed()?;
        let done = self.try_checkpoint(flush_all);
        self.note(&done);
        done
    }

    fn try_checkpoint(&mut self, flush_all: bool) -> Result<Option<Made>> {
        self.core.check_carried()?;
        if let Some(begun) = self.begun.take() {
            self.complete(begun)?;
        }
        let flush_bytes = if flush_all { 0 } else { self.flush_bytes() };
        match self.ask(Work::Capture { flush_bytes })?.captured {
            Some(capture) => self.complete(capture).map(Some),
            None => Ok(None),
        }
    }

    /// Writes what was captured. If that fails and nothing is in doubt, nothing is left behind, and
    /// the capture is kept: its rows are set aside until it is written.
    fn complete(&mut self, capture: Capture) -> Result<Made> {
        let written = self.flush(&capture).and_then(|flushed| {
            let segments = segments_of(&flushed);
            match checkpoint::write(&self.checkpoints, self.last + 1, &capture, &segments) {
                Ok(()) => Ok((flushed, segments)),
                Err(error) => {
                    // It may have its name already, and list them.
                    if !error.is_in_doubt() {
                        remove(&flushed);
                    }
                    Err(error)
                }
            }
        });
        match written {
            Ok((flushed, segments)) => self.take_effect(capture, flushed, segments),
            Err(error) => {
                self.begun = Some(capture);
                Err(error)
            }
        }
    }

    /// Goes on from a checkpoint that is on disk.
    fn take_effect(
        &mut self,
        mut capture: Capture,
        flushed: Vec<FlushedShard>,
        segments: Vec<Arc<Segment>>,
    ) -> Result<Made> {
        self.last += 1;
        let replaced = std::mem::take(&mut capture.replaced);
        capture.forget_flushed();
        self.ask(Work::Install(flushed))?;
        let now = Instant::now();
        let retired = replaced.into_iter().map(|segment| (now, segment));
        self.core.retired.lock().extend(retired);
        self.core
            .counters
            .checkpoints
            .fetch_add(1, Ordering::Relaxed);
        // What cannot be removed now, the next checkpoint removes.
        self.log.remove_before(capture.first_log)?;
        self.core.note_files(&self.log);
        self.checkpoints.remove_before(self.last)?;
        Ok(Made {
            capture,
            flushed: segments,
        })
    }

    /// Bytes that a shard needs for a segment of its own. When memory has to be freed, small enough
    /// that half of it is, however many shards there are.
    fn flush_bytes(&self) -> usize {
        let memory = self.core.memory();
        if (memory as u64) < self.core.settings.flush_bytes {
            return SMALL_SHARD_BYTES;
        }
        let shards = self.core.shards_in_memory().max(1);
        (memory / (2 * shards)).min(SMALL_SHARD_BYTES)
    }

    fn flush(&self, capture: &Capture) -> Result<Vec<FlushedShard>> {
        let Some(home) = &self.core.home else {
            return Ok(Vec::new());
        };
        let mut all = Vec::new();
        let done = flush_all(home, capture, &mut all).and_then(|()| {
            let metas: Vec<&SegmentMeta> = all.iter().flat_map(metas_of).collect();
            home.sync(&metas)
        });
        match done {
            Ok(()) => Ok(all),
            Err(error) => {
                remove(&all);
                Err(error)
            }
        }
    }

    /// Compacts, and makes runs, as far as no checkpoint is due.
    fn tidy(&mut self) -> Result<()> {
        self.compact_due()?;
        match self.is_checkpoint_due() {
            true => Ok(()),
            false => self.index_due(),
        }
    }

    /// Compacts what is worth it. A shard with a segment that cannot be read is left alone, so that
    /// one damaged file does not keep the others from it.
    fn compact_due(&mut self) -> Result<()> {
        let tables = self.core.catalog.read().all();
        for table in tables {
            if table.state.is_set_aside() {
                continue;
            }
            for shard in 0..table.state.shards {
                let place = (table.state.id, shard);
                if self.damaged.contains(&place) {
                    continue;
                }
                // Whether the store is crowded is looked at where something was done: it takes time.
                let done = match self.compact_shard_due(&table.state, shard) {
                    Ok(done) => done,
                    Err(error) if error.kind() == ErrorKind::Corrupt => {
                        tracing::error!(%error, "a shard is not compacted any more");
                        self.damaged.insert(place);
                        false
                    }
                    Err(error) => return Err(error),
                };
                let due = self.core.checkpoint_due() || done && self.core.is_crowded();
                if due || self.core.is_stopping() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Whether anything was due.
    fn compact_shard_due(&self, table: &Arc<TableState>, shard: u32) -> Result<bool> {
        let mut done = false;
        while let Some(inputs) = compact::due(table, shard, self.core.cutoff(table))? {
            self.compact_shard(table, shard, &inputs, true)?;
            done = true;
            if self.is_checkpoint_due() || self.core.is_stopping() {
                break;
            }
        }
        Ok(done)
    }

    /// Makes the runs that are missing, and removes those of dropped indexes.
    fn index_due(&mut self) -> Result<()> {
        let tables = self.core.catalog.read().all();
        for table in tables {
            if table.state.is_set_aside() {
                continue;
            }
            index_runs::forget(&table.state);
            for (segment, index) in index_runs::missing(&table.state) {
                index_runs::build(&self.core, &table.state, &segment, &index)?;
                if self.is_checkpoint_due() || self.core.is_stopping() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Makes the runs that a table lacks, and says how far it is. Writers are not kept waiting for
    /// memory meanwhile.
    fn index(&mut self, table: TableId, progress: &SyncSender<(u64, u64)>) -> Result<()> {
        self.core.check_failed()?;
        let table = self.core.any_table(table)?.state;
        table.check_intact()?;
        let done = self.index_table(&table, progress);
        self.note_tidied(&done);
        done
    }

    fn index_table(
        &mut self,
        table: &Arc<TableState>,
        progress: &SyncSender<(u64, u64)>,
    ) -> Result<()> {
        let mut done = 0;
        loop {
            let missing = index_runs::missing(table);
            let total = done + missing.len() as u64;
            if missing.is_empty() {
                return Ok(());
            }
            for (segment, index) in missing {
                // Whoever listens may be slow, or gone.
                let _ = progress.try_send((done, total));
                index_runs::build(&self.core, table, &segment, &index)?;
                done += 1;
                if self.core.settings.background && self.core.checkpoint_due() {
                    self.try_checkpoint(false)?;
                }
            }
        }
    }

    fn compact(&mut self, table: TableId) -> Result<()> {
        self.core.check_failed()?;
        let table = self.core.any_table(table)?.state;
        table.check_intact()?;
        let done = self.compact_table(&table);
        self.note_tidied(&done);
        done
    }

    fn compact_table(&mut self, table: &Arc<TableState>) -> Result<()> {
        for shard in 0..table.shards {
            for inputs in compact::everything(table, shard, self.core.cutoff(table)) {
                self.compact_shard(table, shard, &inputs, false)?;
            }
        }
        self.try_checkpoint(false).map(|_| ())
    }

    fn compact_shard(
        &self,
        table: &Arc<TableState>,
        shard: u32,
        inputs: &[crate::mem::Seen],
        throttled: bool,
    ) -> Result<()> {
        let compacted = compact::merge(&self.core, table, shard, inputs, throttled)?;
        self.ask(Work::Swap {
            table: Arc::clone(table),
            shard,
            compacted: Box::new(compacted),
        })?;
        self.core
            .counters
            .compactions
            .fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Removes the files of segments that nobody reads any more.
    fn reap(&self) {
        self.core.snapshots.end_old();
        let mut retired = self.core.retired.lock();
        retired.retain(|(since, segment)| {
            let read = Arc::strong_count(segment) > 1 && self.core.snapshots.may_read(*since);
            if !read {
                // What stays behind is removed on the next open.
                segment.remove_files();
            }
            read
        });
    }

    /// Hands work to the writer's thread and waits for its answer.
    fn ask(&self, work: Work) -> Result<Outcome> {
        let (request, answer) = Request::new(work, None);
        self.requests.send(request).map_err(|_| Error::closed())?;
        answer.recv().map_err(|_| Error::closed())?
    }
}

/// Writes the segments of everything that was set aside.
fn flush_all(home: &SegmentHome, capture: &Capture, all: &mut Vec<FlushedShard>) -> Result<()> {
    for captured in &capture.tables {
        let state = &captured.table.state;
        for (shard, of_shard) in &captured.shards {
            if of_shard.flush {
                let flushed = flush(home, state, *shard, &of_shard.batches)?;
                all.push((Arc::clone(state), *shard, flushed));
            }
        }
    }
    Ok(())
}

fn segments_of(flushed: &[FlushedShard]) -> Vec<Arc<Segment>> {
    let segments = flushed.iter().flat_map(|(_, _, of_shard)| of_shard);
    segments.map(|f| Arc::clone(&f.segment)).collect()
}

fn metas_of((_, _, flushed): &FlushedShard) -> impl Iterator<Item = &SegmentMeta> {
    flushed.iter().map(|flushed| flushed.segment.meta())
}
