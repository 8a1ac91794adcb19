//! The tables this store knows, and which of two definitions of one table holds.
//!
//! Invariant: which definition holds depends only on the set of definitions seen. For one id the
//! greater (dropped, created, revision, attachment, bytes) wins; a drop is therefore final. Of two live
//! tables with one name the smaller (created, owner, id) is visible. One that takes the place of another
//! is not visible while that lives, and one whose rows are still being written not before they are.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arrow::datatypes::SchemaRef;
use parking_lot::{Mutex, MutexGuard, RwLock};

use crate::clock::{Clock, Version};
use crate::error::{Error, Result};
use crate::ids::TableId;
use crate::key::KeyEncoder;
use crate::mem::Shard;
use crate::payload::StreamHead;
use crate::segment::{KeyLayout, Segment};
use crate::table::TableDef;
use crate::table_options::TableOptions;
use crate::write::Change;

/// What never changes about a table, its options, and its rows.
#[derive(Debug)]
pub(crate) struct TableState {
    pub(crate) id: TableId,
    pub(crate) name: String,
    pub(crate) schema: SchemaRef,
    pub(crate) key_schema: SchemaRef,
    pub(crate) primary_key: Vec<usize>,
    pub(crate) shards: u32,
    pub(crate) encoder: KeyEncoder,
    /// What may change about the table, as it is now.
    options: RwLock<Arc<TableOptions>>,
    /// How rows become keys again, and how tombstones do.
    row_keys: Arc<KeyLayout>,
    tombstone_keys: Arc<KeyLayout>,
    /// How streams of rows begin in the log, and those of tombstones.
    row_head: Option<StreamHead>,
    tombstone_head: Option<StreamHead>,
    /// Set once; from then on there are no rows.
    pub(crate) dropped: AtomicBool,
    /// Why it is set aside, if so: the damaged file, and what is wrong with it.
    set_aside: OnceLock<(PathBuf, String)>,
    /// One lock for all shards: snapshots are consistent over the table.
    pub(crate) mem: Mutex<Vec<Shard>>,
}

impl TableState {
    fn new(def: &TableDef) -> Result<Self> {
        Ok(Self {
            id: def.id,
            name: def.name.clone(),
            schema: def.schema.clone(),
            key_schema: def.key_schema(),
            primary_key: def.primary_key.clone(),
            shards: def.shards,
            encoder: KeyEncoder::new(def)?,
            options: RwLock::new(Arc::new(def.options.clone())),
            row_head: StreamHead::of(&def.schema),
            tombstone_head: StreamHead::of(&def.key_schema()),
            row_keys: Arc::new(KeyLayout::new(&def.schema, def.primary_key.clone())?),
            tombstone_keys: Arc::new(KeyLayout::new(
                &def.key_schema(),
                (0..def.primary_key.len()).collect(),
            )?),
            dropped: AtomicBool::new(false),
            set_aside: OnceLock::new(),
            mem: Mutex::new((0..def.shards).map(|_| Shard::default()).collect()),
        })
    }

    /// The columns of rows or of tombstones.
    pub(crate) fn schema_of(&self, change: Change) -> &SchemaRef {
        match change {
            Change::Upsert => &self.schema,
            Change::Delete => &self.key_schema,
        }
    }

    /// How streams of rows or of tombstones begin in the log, unless it differs.
    pub(crate) fn head_of(&self, change: Change) -> Option<&StreamHead> {
        match change {
            Change::Upsert => self.row_head.as_ref(),
            Change::Delete => self.tombstone_head.as_ref(),
        }
    }

    /// How rows or tombstones become keys.
    pub(crate) fn keys_of(&self, change: Change) -> Arc<KeyLayout> {
        Arc::clone(match change {
            Change::Upsert => &self.row_keys,
            Change::Delete => &self.tombstone_keys,
        })
    }

    /// What may change about the table, as it is now.
    pub(crate) fn options(&self) -> Arc<TableOptions> {
        Arc::clone(&self.options.read())
    }

    pub(crate) fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::Acquire)
    }

    /// Sets the table aside because of damage: nobody reads or writes it until the next open. False
    /// if it is already.
    pub(crate) fn set_aside(&self, error: &Error) -> bool {
        let file = error.file().map(PathBuf::from).unwrap_or_default();
        self.set_aside.set((file, error.to_string())).is_ok()
    }

    pub(crate) fn is_set_aside(&self) -> bool {
        self.set_aside.get().is_some()
    }

    /// Fails with `Corrupt`, naming the file, if the table is set aside.
    pub(crate) fn check_intact(&self) -> Result<()> {
        match self.set_aside.get() {
            None => Ok(()),
            Some((file, cause)) => Err(Error::damaged(
                file,
                format!(
                    "table \"{}\" is set aside, because rows of the log could not be compared with \
                     its segments: {cause}. `netabase check` tells what else is damaged. Put the \
                     files back and open the store again: nothing of the log is lost meanwhile. To \
                     give the table up, drop it",
                    self.name
                ),
            )),
        }
    }

    /// Fails with `Unavailable` while the rows are being copied to a table that takes its place.
    pub(crate) fn check_thawed(&self, clock: &Clock) -> Result<()> {
        match self.options().rules.frozen_until {
            Some(until) if clock.now().millis() < until => Err(Error::unavailable(format!(
                "table \"{}\" is being altered, so that nothing can be written: try again in a moment",
                self.name
            ))),
            _ => Ok(()),
        }
    }

    /// The shards, unless the table was dropped or is set aside.
    pub(crate) fn lock(&self) -> Result<MutexGuard<'_, Vec<Shard>>> {
        let shards = self.mem.lock();
        if self.is_dropped() {
            return Err(Error::not_found(format!(
                "table \"{}\" was dropped",
                self.name
            )));
        }
        self.check_intact()?;
        Ok(shards)
    }

    /// Frees all rows; returns the bytes they held in memory, and the segments.
    fn drop_rows(&self) -> (usize, Vec<Arc<Segment>>) {
        let mut shards = self.mem.lock();
        self.dropped.store(true, Ordering::Release);
        let freed = shards.iter().map(Shard::bytes).sum();
        let segments = shards.iter().flat_map(|shard| shard.segments());
        let segments = segments.map(|held| Arc::clone(&held.segment)).collect();
        *shards = (0..self.shards).map(|_| Shard::default()).collect();
        (freed, segments)
    }
}

/// A definition and the table it defines.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) def: Arc<TableDef>,
    pub(crate) state: Arc<TableState>,
}

/// What `install` did.
#[derive(Debug)]
pub(crate) enum Installed {
    /// Nothing: an equal or greater definition is known.
    Unchanged,
    /// The definition now holds.
    Changed {
        /// Bytes of rows in memory that were freed.
        freed: usize,
        /// Segments that are not needed any more.
        segments: Vec<Arc<Segment>>,
    },
}

#[derive(Debug, Default)]
pub(crate) struct Catalog {
    by_id: HashMap<TableId, Table>,
    visible: HashMap<String, Arc<TableDef>>,
}

impl Catalog {
    pub(crate) fn by_id(&self, id: TableId) -> Option<&Table> {
        self.by_id.get(&id)
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<&Arc<TableDef>> {
        self.visible.get(name)
    }

    /// Live, visible tables, by name.
    pub(crate) fn visible(&self) -> Vec<Arc<TableDef>> {
        let mut tables: Vec<_> = self.visible.values().cloned().collect();
        tables.sort_by(|a, b| a.name.cmp(&b.name));
        tables
    }

    /// Every table, by name, then id.
    pub(crate) fn all(&self) -> Vec<Table> {
        let mut tables: Vec<_> = self.by_id.values().cloned().collect();
        tables.sort_by(|a, b| (&a.def.name, a.def.id).cmp(&(&b.def.name, b.def.id)));
        tables
    }

    /// Whether `def` would change anything. Fails with `Conflict` if the id is known with another
    /// shape.
    pub(crate) fn wins(&self, def: &TableDef) -> Result<bool> {
        let Some(known) = self.by_id.get(&def.id) else {
            return Ok(true);
        };
        if !known.def.same_shape(def) {
            return Err(Error::conflict(format!(
                "table \"{}\": id {} is known with other columns, keys or shard count; give a \
                 changed table a new id",
                def.name, def.id
            )));
        }
        match order(def).cmp(&order(&known.def)) {
            std::cmp::Ordering::Equal => Ok(def.to_bytes()? > known.def.to_bytes()?),
            unequal => Ok(unequal.is_gt()),
        }
    }

    pub(crate) fn install(&mut self, def: TableDef) -> Result<Installed> {
        if !self.wins(&def)? {
            return Ok(Installed::Unchanged);
        }
        let state = match self.by_id.get(&def.id) {
            Some(known) => {
                *known.state.options.write() = Arc::new(def.options.clone());
                known.state.clone()
            }
            None => Arc::new(TableState::new(&def)?),
        };
        let (freed, segments) = match def.dropped {
            Some(_) => state.drop_rows(),
            None => (0, Vec::new()),
        };
        let def = Arc::new(def);
        self.by_id.insert(def.id, Table { def, state });
        self.find_visible();
        Ok(Installed::Changed { freed, segments })
    }

    /// Whether a table lives, is finished, and does not wait for another one to go.
    fn is_shown(&self, def: &TableDef) -> bool {
        let rules = &def.options.rules;
        let replaced = rules.replaces.and_then(|id| self.by_id.get(&id));
        let finished = match replaced.map(|table| &table.def) {
            Some(old) if old.dropped.is_none() => false,
            Some(old) => !rules.unfinished || old.options.rules.replaced_by == Some(def.id),
            None => !rules.unfinished,
        };
        def.dropped.is_none() && finished
    }

    fn find_visible(&mut self) {
        let mut live: Vec<_> = self
            .by_id
            .values()
            .map(|table| &table.def)
            .filter(|def| self.is_shown(def))
            .collect();
        // The last one inserted stays, so the smallest comes last.
        live.sort_by_key(|def| Reverse((def.created, def.owner.clone(), def.id)));
        self.visible = live
            .into_iter()
            .map(|def| (def.name.clone(), def.clone()))
            .collect();
    }
}

/// What decides between two definitions of one id.
fn order(def: &TableDef) -> (Option<Version>, Version, u64, &[u8]) {
    (
        def.dropped,
        def.created,
        def.options.revision,
        &def.attachment,
    )
}
