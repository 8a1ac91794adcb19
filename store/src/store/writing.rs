//! Changing tables and rows.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::channel::oneshot;

use super::Store;
use super::committer::{Outcome, Work};
use super::core::Core;
use super::replay::encode;
use crate::error::{Error, Result};
use crate::log::{Frame, FrameKind, MAX_FRAME_BYTES};
use crate::mem::{Incoming, Part, Preparer, Stamps};
use crate::table::TableDef;
use crate::write::{Applied, ShardBatch};

/// Memory that a row's entry in the key map takes at most, in bytes.
const MAP_BYTES_PER_ROW: usize = 40;
/// How long a write waits for memory.
const MEMORY_PATIENCE: Duration = Duration::from_secs(30);
/// Time between two tries to get memory.
const MEMORY_RETRY: Duration = Duration::from_millis(5);
/// Most bytes of rows in one write before they are encoded; what is larger could not fit a frame.
const MAX_WRITE_BYTES: usize = 4 * MAX_FRAME_BYTES;

/// A write that is checked and encoded.
struct Staged {
    parts: Vec<Part>,
    frame: Option<Frame>,
    /// Bytes of memory that it needs.
    reserved: usize,
}

impl Staged {
    fn into_work(self, core: &Core) -> (Work, Option<Frame>) {
        for part in &self.parts {
            core.clock.advance(part.stamps.newest());
        }
        let work = Work::Write {
            parts: self.parts,
            reserved: self.reserved,
        };
        (work, self.frame)
    }
}

/// A write on its way to the disk, which happens whether or not anybody waits for it.
#[derive(Debug)]
#[must_use = "only its outcome says whether the rows are on disk"]
pub struct PendingWrite(Option<oneshot::Receiver<Result<Outcome>>>);

impl Future for PendingWrite {
    type Output = Result<Applied>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(outcome) = &mut self.0 else {
            return Poll::Ready(Ok(Applied::default()));
        };
        let outcome = ready!(outcome.poll_unpin(cx));
        Poll::Ready(match outcome {
            Ok(outcome) => outcome.map(|outcome| outcome.applied),
            Err(_) => Err(Error::closed()),
        })
    }
}

impl Store {
    /// Makes a table known, or changes its definition; durable on return. Of two definitions of
    /// one id the greater (dropped, created, attachment) wins, so a layer above that changes a
    /// placement lets the attachment begin with a counter. False if nothing changed, because this
    /// or a greater definition is known. A dropped definition frees the table's rows, for ever.
    ///
    /// Fails with `InvalidInput` if the definition is not valid, `Conflict` if the id is known
    /// with other columns, keys or shard count, `Io` if the system refuses, `Unavailable` if the
    /// store is closed.
    pub fn put_table(&self, def: TableDef) -> Result<bool> {
        self.core().check_writable()?;
        let bytes = def.to_bytes()?;
        if !self.core().catalog.read().wins(&def)? {
            return Ok(false);
        }
        let frame = Frame::new(FrameKind::Table, bytes)?;
        let outcome = self.submit(Work::Table(Box::new(def)), Some(frame))?;
        Ok(outcome.changed)
    }

    /// Writes all batches, or none: one frame in the log. When it returns, they are on disk (see
    /// [`Durability`](crate::Durability)) and visible. Blocks; callers at the same time share one
    /// sync.
    ///
    /// Everything is checked before anything is logged. Fails with
    /// - `NotFound` if a table is not known, or dropped;
    /// - `InvalidInput` if a shard does not exist or a key belongs to another one, columns differ
    ///   from the table's, a key or a NOT NULL column has NULL, a version is more than
    ///   [`MAX_CLOCK_DRIFT`](crate::MAX_CLOCK_DRIFT) ahead of this machine's clock, or the frame
    ///   exceeds [`MAX_FRAME_BYTES`];
    /// - `Conflict` if a key appears twice in one batch;
    /// - `Capacity` if the memory limit is reached;
    /// - `Io` if the system refuses: without space nothing was written, and later writes are taken;
    ///   after a failed sync the store takes no more writes;
    /// - `Unavailable` if the store is closed.
    pub fn write(&self, batches: Vec<ShardBatch>) -> Result<Applied> {
        let Some(staged) = self.stage(batches)? else {
            return Ok(Applied::default());
        };
        self.reserve(staged.reserved)?;
        let (work, frame) = staged.into_work(self.core());
        Ok(self.submit(work, frame)?.applied)
    }

    /// Like [`write`](Self::write), for a caller that may not block: the rows are checked and handed
    /// over at once, and a task of any executor can wait for the rest. `None` if memory, or the place in
    /// the queue, would have to be waited for; then nothing was done, and `write` does it. It reads
    /// files only where a key may be in a segment. Fails like `write`.
    pub fn begin_write(&self, batches: Vec<ShardBatch>) -> Result<Option<PendingWrite>> {
        let Some(staged) = self.stage(batches)? else {
            return Ok(Some(PendingWrite(None)));
        };
        let (core, reserved) = (self.core(), staged.reserved);
        if core.reserve(reserved).is_err() {
            return Ok(None);
        }
        let (work, frame) = staged.into_work(core);
        let outcome = self.try_submit(work, frame);
        if !matches!(outcome, Ok(Some(_))) {
            core.release(reserved);
        }
        Ok(outcome?.map(|outcome| PendingWrite(Some(outcome))))
    }

    /// Checks and encodes rows; `None` if there are none.
    fn stage(&self, batches: Vec<ShardBatch>) -> Result<Option<Staged>> {
        self.core().check_writable()?;
        let parts = self.prepare(batches)?;
        if parts.is_empty() {
            return Ok(None);
        }
        let bytes: usize = parts.iter().map(|part| part.bytes).sum();
        if bytes > MAX_WRITE_BYTES {
            return Err(Error::invalid(format!(
                "this write has {bytes} bytes of rows; the limit is {MAX_WRITE_BYTES} (and \
                 MAX_FRAME_BYTES = {MAX_FRAME_BYTES} once encoded): split it into smaller writes"
            )));
        }
        let frame = match self.data_dir() {
            Some(_) => Some(Frame::new(FrameKind::Write, encode(&parts)?)?),
            None => None,
        };
        let rows: usize = parts.iter().map(|part| part.rows.num_rows()).sum();
        Ok(Some(Staged {
            reserved: bytes + rows * MAP_BYTES_PER_ROW,
            parts,
            frame,
        }))
    }

    /// Sets memory aside; while the limit is reached, waits for rows to be moved to segments.
    fn reserve(&self, bytes: usize) -> Result<()> {
        let core = self.core();
        let started = Instant::now();
        loop {
            let refused = match core.reserve(bytes) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let hopeless = bytes > core.settings.memory_limit || !core.settings.background;
            if core.home.is_none() || hopeless || started.elapsed() > MEMORY_PATIENCE {
                return Err(match core.last_failure() {
                    None => refused,
                    Some(cause) => Error::capacity(format!(
                        "{refused}; rows could not be moved to segments: {cause}"
                    )),
                });
            }
            core.check_writable()?;
            self.wake();
            std::thread::sleep(MEMORY_RETRY);
        }
    }

    fn prepare(&self, batches: Vec<ShardBatch>) -> Result<Vec<Part>> {
        let core = self.core();
        let preparer = Preparer {
            hasher: &core.hasher,
            trusted: false,
        };
        let mut parts = Vec::with_capacity(batches.len());
        for batch in batches {
            let table = core.any_table(batch.table)?;
            drop(table.state.lock()?);
            if !core.clock.accepts(batch.stamp.version) {
                return Err(Error::invalid(format!(
                    "table \"{}\": version {} of author {} is too far ahead of this machine's \
                     clock; check both clocks",
                    table.def.name, batch.stamp.version, batch.stamp.author
                )));
            }
            let incoming = Incoming {
                table: batch.table,
                shard: batch.shard,
                change: batch.change,
                stamps: Stamps::One(batch.stamp),
                rows: batch.rows,
            };
            let mut part = preparer.prepare(&table.state, incoming)?;
            part.locate()?;
            if part.rows.num_rows() > 0 {
                parts.push(part);
            }
        }
        // Parts of one table follow each other, so that they become visible together.
        parts.sort_by_key(|part| Arc::as_ptr(&part.table).addr());
        Ok(parts)
    }
}
