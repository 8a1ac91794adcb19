//! What the handles and the writer's thread share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hashbrown::DefaultHashBuilder;
use parking_lot::{Mutex, RwLock};

use super::bulk::LoadedShard;
use super::health::Failures;
use super::home::SegmentHome;
use super::index;
use super::set_aside::Carried;
use super::snapshots::Snapshots;
use crate::backend::Backend;
use crate::catalog::{Catalog, Installed, Table, TableState};
use crate::clock::{Clock, Version};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::TableId;
use crate::log::FrameFolder;
use crate::mem::{self, Compacted, Flushed, Part, Shard};
use crate::segment::{FileName, Segment, run_id};
use crate::settings::Settings;
use crate::table::TableDef;
use crate::write::Applied;

/// Counters and sizes of an open store. Counters begin at zero on open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StoreStats {
    /// Frames written to the log.
    pub frames: u64,
    /// Times the log was synced to disk for writes.
    pub syncs: u64,
    /// Bytes written to the log.
    pub bytes_logged: u64,
    /// Bytes held in memory by all tables, writes in flight included.
    pub memory_bytes: u64,
    /// Live rows of all tables, with those that have expired and were not yet removed.
    pub rows: u64,
    /// Records of all tables: live rows and tombstones.
    pub records: u64,
    /// Batches in memory, over all tables.
    pub batches: u64,
    /// Live, visible tables.
    pub tables: u64,
    /// Bytes of log that the next open would read.
    pub log_bytes: u64,
    /// Segments of all tables.
    pub segments: u64,
    /// Bytes of their files.
    pub segment_bytes: u64,
    /// Bytes of segments that were replaced, but that snapshots may still read.
    pub retired_bytes: u64,
    /// Bytes of decoded columns in memory.
    pub cached_bytes: u64,
    /// Snapshots that are held.
    pub snapshots: u64,
    /// Age of the oldest one, in milliseconds.
    pub oldest_snapshot_ms: u64,
    /// Bytes of the files of segments that were replaced, and go with the next checkpoint.
    pub replaced_bytes: u64,
    /// Checkpoints made.
    pub checkpoints: u64,
    /// Compactions made.
    pub compactions: u64,
    /// Checkpoints, compactions and index runs that failed; see [`Store::health`](crate::Store::health).
    pub failed_jobs: u64,
}

/// Replaced segments are many when they have one byte for so many that the store holds.
const REPLACED_SHARE: u64 = 8;
/// The log is long when it has one byte for so many that the store holds.
const LOG_SHARE: u64 = 4;
/// Replaced segments with fewer bytes are never many.
const MIN_REPLACED_BYTES: u64 = 4 << 20;
/// A log with fewer bytes is never long.
const MIN_LOG_BYTES: u64 = 16 << 20;

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) frames: AtomicU64,
    pub(super) syncs: AtomicU64,
    pub(super) bytes_logged: AtomicU64,
    /// Since the last checkpoint began.
    pub(super) log_bytes: AtomicU64,
    pub(super) checkpoints: AtomicU64,
    pub(super) compactions: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Core {
    pub(super) settings: Settings,
    pub(super) clock: Clock,
    pub(super) catalog: RwLock<Catalog>,
    pub(super) hasher: DefaultHashBuilder,
    pub(super) counters: Counters,
    /// `None` in memory.
    pub(super) home: Option<SegmentHome>,
    pub(super) snapshots: Arc<Snapshots>,
    /// Segments that were replaced since the last checkpoint began.
    replaced: Mutex<Vec<Arc<Segment>>>,
    /// Segments that no checkpoint refers to any more, and since when.
    pub(super) retired: Mutex<Vec<(Instant, Arc<Segment>)>>,
    memory: AtomicUsize,
    stopping: AtomicBool,
    backend: RwLock<Option<Arc<dyn Backend>>>,
    pub(super) failures: Failures,
    pub(super) carried: Carried,
    closed: AtomicBool,
}

impl Core {
    pub(super) fn new(
        settings: Settings,
        backend: Arc<dyn Backend>,
        home: Option<SegmentHome>,
    ) -> Self {
        let patience = Duration::from_secs(settings.snapshot_patience_secs);
        Self {
            settings,
            home,
            snapshots: Arc::new(Snapshots::new(patience)),
            replaced: Mutex::default(),
            retired: Mutex::default(),
            stopping: AtomicBool::new(false),
            clock: Clock::new(),
            catalog: RwLock::default(),
            hasher: DefaultHashBuilder::default(),
            counters: Counters::default(),
            memory: AtomicUsize::new(0),
            backend: RwLock::new(Some(backend)),
            failures: Failures::default(),
            carried: Carried::default(),
            closed: AtomicBool::new(false),
        }
    }

    pub(super) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::closed());
        }
        Ok(())
    }

    pub(super) fn set_closed(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Asks long background work to end early.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Bytes of rows in memory, writes in flight included.
    pub(super) fn memory(&self) -> usize {
        self.memory.load(Ordering::Acquire)
    }

    /// Whether memory or log have grown enough for a checkpoint.
    pub(super) fn checkpoint_due(&self) -> bool {
        let log = self.counters.log_bytes.load(Ordering::Relaxed);
        self.home.is_some()
            && (self.memory() as u64 >= self.settings.flush_bytes
                || log >= self.settings.checkpoint_log_bytes)
    }

    /// Whether log files and replaced segments, which the next checkpoint frees, have become many for
    /// what the store holds. Neither for every write nor for every shard: it looks at every segment.
    pub(super) fn is_crowded(&self) -> bool {
        if self.home.is_none() {
            return false;
        }
        let mut live = self.memory() as u64;
        for table in self.catalog.read().all() {
            for shard in table.state.mem.lock().iter() {
                let held = shard.segments().iter();
                live += held.map(|held| file_bytes(&held.segment)).sum::<u64>();
            }
        }
        let replaced = self.replaced_bytes();
        let log = self.counters.log_bytes.load(Ordering::Relaxed);
        replaced >= MIN_REPLACED_BYTES.max(live / REPLACED_SHARE)
            || log >= MIN_LOG_BYTES.max(live / LOG_SHARE)
    }

    /// Bytes of the segments that were replaced since the last checkpoint began.
    fn replaced_bytes(&self) -> u64 {
        let replaced = self.replaced.lock();
        replaced.iter().map(|segment| file_bytes(segment)).sum()
    }

    /// The names of all segments of all tables, and of the runs that they may have.
    pub(super) fn segment_files(&self) -> Vec<FileName> {
        let mut names = Vec::new();
        for table in self.catalog.read().all() {
            let indexes = &table.def.options.indexes;
            let runs: Vec<_> = indexes.iter().map(|index| Some(run_id(index))).collect();
            for shard in table.state.mem.lock().iter() {
                for held in shard.segments() {
                    let number = held.segment.meta().number;
                    let runs = runs.iter().copied().chain([None]);
                    names.extend(runs.map(|run| FileName { number, run }));
                }
            }
        }
        names
    }

    /// What is older than this has outlived its table's time to live; `None`: nothing has.
    pub(super) fn cutoff(&self, table: &TableState) -> Option<Version> {
        mem::cutoff(table.options().ttl_millis, &self.clock)
    }

    /// Shards with rows in memory.
    pub(super) fn shards_in_memory(&self) -> usize {
        let tables = self.catalog.read().all();
        let of = |table: &Table| {
            let shards = table.state.mem.lock();
            shards.iter().filter(|shard| shard.batches() > 0).count()
        };
        tables.iter().map(of).sum()
    }

    /// Notes segments whose rows are elsewhere now; the next checkpoint does not list them.
    pub(super) fn replace(&self, segments: Vec<Arc<Segment>>) {
        self.replaced.lock().extend(segments);
    }

    /// The segments noted so far.
    pub(super) fn take_replaced(&self) -> Vec<Arc<Segment>> {
        std::mem::take(&mut *self.replaced.lock())
    }

    /// Fails if nothing can be written: closed, failed, or only read.
    pub(super) fn check_writable(&self) -> Result<()> {
        self.check_open()?;
        self.check_failed()?;
        if self.settings.read_only {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "the store was opened to be read only; open it without read_only to change it",
            ));
        }
        Ok(())
    }

    pub(super) fn backend(&self) -> Result<Arc<dyn Backend>> {
        self.backend.read().clone().ok_or_else(Error::closed)
    }

    pub(super) fn take_backend(&self) -> Option<Arc<dyn Backend>> {
        self.backend.write().take()
    }

    /// The table, dropped or not. Fails with `NotFound`, or with `Unavailable` when closed.
    pub(super) fn any_table(&self, id: TableId) -> Result<Table> {
        self.check_open()?;
        let catalog = self.catalog.read();
        catalog.by_id(id).cloned().ok_or_else(|| {
            Error::not_found(format!(
                "no table has id {id}; was its definition put here?"
            ))
        })
    }

    /// Sets `bytes` aside for rows in flight. Fails with `Capacity`.
    pub(super) fn reserve(&self, bytes: usize) -> Result<()> {
        let limit = self.settings.memory_limit;
        let grow = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= limit);
        self.memory
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, grow)
            .map(|_| ())
            .map_err(|used| {
                Error::capacity(format!(
                    "this write needs {bytes} bytes; {used} of memory_limit = {limit} bytes are in \
                     use: raise memory_limit, or drop tables"
                ))
            })
    }

    /// Gives back what `reserve` set aside.
    pub(super) fn release(&self, bytes: usize) {
        self.memory.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Applies parts in order. Parts of one table that follow each other become visible together.
    pub(super) fn apply(&self, parts: Vec<Part>) -> Applied {
        let mut applied = Applied::default();
        let mut parts = parts.into_iter().peekable();
        while let Some(first) = parts.peek() {
            let table = first.table.clone();
            let mut shards = table.mem.lock();
            while let Some(part) = parts.next_if(|part| Arc::ptr_eq(&part.table, &table)) {
                if table.is_dropped() {
                    continue;
                }
                if let Some(shard) = shards.get_mut(part.shard as usize) {
                    applied.add(self.apply_part(shard, part));
                }
            }
        }
        applied
    }

    fn apply_part(&self, shard: &mut Shard, part: Part) -> Applied {
        let before = shard.bytes();
        let applied = shard.apply(part, &self.hasher);
        let after = shard.bytes();
        if after >= before {
            self.memory.fetch_add(after - before, Ordering::AcqRel);
        } else {
            self.memory.fetch_sub(before - after, Ordering::AcqRel);
        }
        applied
    }

    /// Puts segments in the place of the rows that were set aside for them.
    pub(super) fn install_segments(&self, table: &TableState, shard: u32, flushed: Vec<Flushed>) {
        let mut shards = table.mem.lock();
        if table.is_dropped() {
            self.replace(flushed.into_iter().map(|f| f.segment).collect());
        } else if let Some(shard) = shards.get_mut(shard as usize) {
            self.release(shard.install(flushed));
        }
    }

    /// Puts the result of a compaction in the place of its inputs.
    pub(super) fn swap_segments(&self, table: &TableState, shard: u32, compacted: Compacted) {
        let outputs = compacted.outputs.clone();
        let mut shards = table.mem.lock();
        let replaced = match shards.get_mut(shard as usize) {
            Some(shard) if !table.is_dropped() => shard.swap(compacted),
            _ => Vec::new(),
        };
        // Inputs that were gone already: then the outputs are what nobody needs.
        self.replace(if replaced.is_empty() {
            outputs
        } else {
            replaced
        });
    }

    /// Applies the segments of a bulk load; they become visible together.
    pub(super) fn apply_loads(&self, table: &Table, loads: Vec<LoadedShard>) -> Applied {
        let mut applied = Applied::default();
        let mut shards = table.state.mem.lock();
        if table.state.is_dropped() {
            self.replace(loads.into_iter().map(|(_, load)| load.segment).collect());
            return applied;
        }
        for (shard, load) in loads {
            if let Some(shard) = shards.get_mut(shard as usize) {
                applied.add(shard.apply_load(load, &self.hasher));
            }
        }
        applied
    }

    /// Notes in the index which log files there are. The log does not depend on it.
    pub(super) fn note_files(&self, log: &FrameFolder) {
        let noted = self
            .backend()
            .and_then(|backend| index::note_files(&*backend, &log.numbers()?));
        if let Err(error) = noted {
            tracing::warn!(%error, "the index missed a log file; the next open repairs it");
        }
    }

    /// Lets a definition take effect, and notes it in the index. Whether anything changed.
    pub(super) fn install(&self, def: TableDef) -> Result<bool> {
        let id = def.id;
        if !self.install_quietly(def)? {
            return Ok(false);
        }
        let noted = self.backend().and_then(|backend| {
            let catalog = self.catalog.read();
            match catalog.by_id(id) {
                Some(table) => index::note_table(&*backend, &table.def),
                None => Ok(()),
            }
        });
        if let Err(error) = noted {
            tracing::warn!(%error, "the index missed a table; the next open repairs it");
        }
        Ok(true)
    }

    /// Lets a definition take effect. Whether anything changed.
    pub(super) fn install_quietly(&self, def: TableDef) -> Result<bool> {
        match self.catalog.write().install(def)? {
            Installed::Unchanged => Ok(false),
            Installed::Changed { freed, segments } => {
                self.release(freed);
                self.replace(segments);
                Ok(true)
            }
        }
    }

    pub(super) fn stats(&self) -> StoreStats {
        let catalog = self.catalog.read();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let retired = self.retired.lock();
        let (snapshots, oldest) = self.snapshots.held();
        let mut stats = StoreStats {
            frames: count(&self.counters.frames),
            syncs: count(&self.counters.syncs),
            bytes_logged: count(&self.counters.bytes_logged),
            log_bytes: count(&self.counters.log_bytes),
            checkpoints: count(&self.counters.checkpoints),
            compactions: count(&self.counters.compactions),
            failed_jobs: count(&self.failures.jobs),
            memory_bytes: self.memory() as u64,
            tables: catalog.visible().len() as u64,
            cached_bytes: self.home.as_ref().map_or(0, SegmentHome::cached_bytes),
            replaced_bytes: self.replaced_bytes(),
            retired_bytes: retired.iter().map(|(_, segment)| file_bytes(segment)).sum(),
            snapshots,
            oldest_snapshot_ms: u64::try_from(oldest.as_millis()).unwrap_or(u64::MAX),
            ..StoreStats::default()
        };
        drop(retired);
        for table in catalog.all() {
            for shard in table.state.mem.lock().iter() {
                stats.rows += shard.live();
                stats.records += shard.records();
                stats.batches += shard.batches() as u64;
                stats.segments += shard.segments().len() as u64;
                let files = shard
                    .segments()
                    .iter()
                    .map(|held| file_bytes(&held.segment));
                stats.segment_bytes += files.sum::<u64>();
            }
        }
        stats
    }
}

/// Bytes of a segment's files.
pub(super) fn file_bytes(segment: &Segment) -> u64 {
    segment.meta().data_bytes + segment.meta().index_bytes
}
