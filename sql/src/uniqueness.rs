//! Who writes to tables whose values must be unique.
//!
//! Idea: only `LOCAL` tables can have such values, and all statements that write to one are of this process.
//! Invariant: whoever writes to one looks at its definition, and at its rows if the definition says so, and
//! nobody else writes between that and the write, and no unique index is made. Non-goal: tables that other
//! peers write.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use netabase_store::{Change, Error, TableDef};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::cluster::{BulkSink, WriteReceipt};
use crate::dml;
use crate::engine::Engine;
use crate::error::conflict;
use crate::write::CheckedRows;

/// Held for reading by who writes rows without looking at others, for writing by who has looked.
#[derive(Debug, Default)]
pub(crate) struct Uniqueness(Arc<RwLock<()>>);

/// Lets rows be written, while it lives.
#[expect(dead_code, reason = "guards are held, not read")]
pub(crate) enum Entered {
    /// Nobody else cares.
    Freely,
    /// Others may write as well.
    Beside(OwnedRwLockReadGuard<()>),
    /// Nobody else writes.
    Alone(OwnedRwLockWriteGuard<()>),
}

impl Uniqueness {
    /// Waits until rows may be written. Fails with `Conflict` if they have values that must be unique and
    /// are not.
    pub(crate) async fn enter(
        &self,
        engine: &Engine,
        changes: &[CheckedRows],
    ) -> Result<Entered, Error> {
        if !changes.iter().any(|rows| rows.def().local) {
            return Ok(Entered::Freely);
        }
        let deadline = engine.deadline();
        let beside = deadline
            .bound(async { Ok(Arc::clone(&self.0).read_owned().await) })
            .await?;
        if !changes.iter().any(|rows| is_unique(engine, rows)) {
            return Ok(Entered::Beside(beside));
        }
        drop(beside);
        let alone = deadline.bound(self.alone()).await?;
        let mut seen = HashSet::new();
        for rows in changes.iter().filter(|rows| is_unique(engine, rows)) {
            if !seen.insert(rows.def().id) {
                continue;
            }
            let known = engine.store().table_by_id(rows.def().id);
            let def = known.unwrap_or_else(|| Arc::clone(rows.def()));
            let come = batches_of(changes, Change::Upsert, &def);
            let gone = batches_of(changes, Change::Delete, &def);
            dml::check_unique(engine, &def, (&come, &gone)).await?;
        }
        Ok(Entered::Alone(alone))
    }

    /// Waits until nobody writes to a `LOCAL` table.
    pub(crate) async fn alone(&self) -> Result<OwnedRwLockWriteGuard<()>, Error> {
        Ok(Arc::clone(&self.0).write_owned().await)
    }

    /// Lets rows of a table without unique values be written at once; `None` if that has to wait, or if
    /// it has some by now.
    pub(crate) fn try_enter(&self, engine: &Engine, def: &TableDef) -> Option<Entered> {
        if !def.local {
            return Some(Entered::Freely);
        }
        let beside = Arc::clone(&self.0).try_read_owned().ok()?;
        (!has_unique(engine, def)).then_some(Entered::Beside(beside))
    }

    /// A load that fails at its end if the table has unique values by then.
    pub(crate) fn guarded(
        engine: &Engine,
        def: &Arc<TableDef>,
        sink: Box<dyn BulkSink>,
    ) -> Box<dyn BulkSink> {
        match def.local && !def.options.rules.unfinished {
            true => Box::new(GuardedSink {
                engine: engine.clone(),
                def: Arc::clone(def),
                sink,
            }),
            false => sink,
        }
    }
}

/// The keys of the rows of a table that go together with what is written.
/// The rows of a table that all changes of one kind concern.
fn batches_of(changes: &[CheckedRows], change: Change, def: &TableDef) -> Vec<RecordBatch> {
    let of_it = |rows: &&CheckedRows| rows.change() == change && rows.def().id == def.id;
    let rows = changes.iter().filter(of_it).flat_map(CheckedRows::batches);
    rows.cloned().collect()
}

fn is_unique(engine: &Engine, rows: &CheckedRows) -> bool {
    rows.change() == Change::Upsert && has_unique(engine, rows.def())
}

fn has_unique(engine: &Engine, def: &TableDef) -> bool {
    let known = engine.store().table_by_id(def.id);
    known.is_some_and(|known| !known.options.rules.unique.is_empty())
}

struct GuardedSink {
    engine: Engine,
    def: Arc<TableDef>,
    sink: Box<dyn BulkSink>,
}

impl BulkSink for GuardedSink {
    fn push(&mut self, rows: &RecordBatch) -> Result<(), Error> {
        self.sink.push(rows)
    }

    fn finish(self: Box<Self>) -> Result<WriteReceipt, Error> {
        let _beside = self.engine.unique().0.blocking_read();
        match has_unique(&self.engine, &self.def) {
            false => self.sink.finish(),
            true => Err(conflict(format!(
                "table \"{}\" got a unique index meanwhile; nothing was written: run the statement again",
                self.def.name
            ))),
        }
    }
}
