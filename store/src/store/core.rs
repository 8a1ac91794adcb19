//! What the handles and the writer's thread share.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use hashbrown::DefaultHashBuilder;
use parking_lot::RwLock;

use super::index;
use crate::backend::Backend;
use crate::catalog::{Catalog, Installed, Table};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::TableId;
use crate::mem::{Part, ShardMem};
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
    /// Live rows of all tables.
    pub rows: u64,
    /// Records of all tables: live rows and tombstones.
    pub records: u64,
    /// Batches in memory, over all tables.
    pub batches: u64,
    /// Live, visible tables.
    pub tables: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) frames: AtomicU64,
    pub(super) syncs: AtomicU64,
    pub(super) bytes_logged: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Core {
    pub(super) settings: Settings,
    pub(super) clock: Clock,
    pub(super) catalog: RwLock<Catalog>,
    pub(super) hasher: DefaultHashBuilder,
    pub(super) counters: Counters,
    memory: AtomicUsize,
    backend: RwLock<Option<Arc<dyn Backend>>>,
    failed: OnceLock<String>,
    closed: AtomicBool,
}

impl Core {
    pub(super) fn new(settings: Settings, backend: Arc<dyn Backend>) -> Self {
        Self {
            settings,
            clock: Clock::new(),
            catalog: RwLock::default(),
            hasher: DefaultHashBuilder::default(),
            counters: Counters::default(),
            memory: AtomicUsize::new(0),
            backend: RwLock::new(Some(backend)),
            failed: OnceLock::new(),
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

    /// After this, nothing is written any more: what the disk holds is unknown.
    pub(super) fn fail(&self, error: &Error) {
        // Only the first failure is kept; it is the cause of the others.
        let _ = self.failed.set(error.to_string());
    }

    pub(super) fn check_failed(&self) -> Result<()> {
        match self.failed.get() {
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

    fn apply_part(&self, shard: &mut ShardMem, part: Part) -> Applied {
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
            Installed::Changed { freed } => {
                self.release(freed);
                Ok(true)
            }
        }
    }

    pub(super) fn stats(&self) -> StoreStats {
        let catalog = self.catalog.read();
        let mut stats = StoreStats {
            frames: self.counters.frames.load(Ordering::Relaxed),
            syncs: self.counters.syncs.load(Ordering::Relaxed),
            bytes_logged: self.counters.bytes_logged.load(Ordering::Relaxed),
            memory_bytes: self.memory.load(Ordering::Relaxed) as u64,
            tables: catalog.visible().len() as u64,
            ..StoreStats::default()
        };
        for table in catalog.all() {
            for shard in table.state.mem.lock().iter() {
                stats.rows += shard.live();
                stats.records += shard.records();
                stats.batches += shard.batches() as u64;
            }
        }
        stats
    }
}
