//! Tables that are made together with their rows: nobody sees one before it has all of them.
//!
//! Idea: such a table is stored as unfinished, filled, and then shown. Invariant: one that is never
//! finished, because a statement was dropped or the process ended, is removed by the next statement that
//! changes definitions, and when the database is opened; what it froze thaws then.

use std::collections::HashMap;
use std::sync::Arc;

use netabase_store::{Error, TableDef, TableId};
use parking_lot::Mutex;

use super::freeze;
use crate::engine::Engine;
use crate::revision::is_frozen;

/// The tables that statements of one database are making or copying, and how many statements: there are as
/// many as statements that run. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct InWork(Arc<Mutex<HashMap<TableId, usize>>>);

impl InWork {
    /// Says that a statement works on a table, for as long as what it gets lives.
    pub(super) fn on(&self, id: TableId) -> Working {
        *self.0.lock().entry(id).or_default() += 1;
        Working {
            of: self.clone(),
            id,
        }
    }

    fn has(&self, id: TableId) -> bool {
        self.0.lock().contains_key(&id)
    }
}

/// A statement that works on a table.
pub(super) struct Working {
    of: InWork,
    id: TableId,
}

impl Drop for Working {
    fn drop(&mut self) {
        let mut working = self.of.0.lock();
        let others = working.get(&self.id).copied().unwrap_or(1) - 1;
        match others {
            0 => working.remove(&self.id),
            others => working.insert(self.id, others),
        };
    }
}

/// Makes a table, lets it be filled, and then be seen; if either fails, there is none.
pub(super) async fn create_filled<T>(
    engine: &Engine,
    def: TableDef,
    fill: impl AsyncFnOnce(Arc<TableDef>) -> Result<T, Error>,
) -> Result<T, Error> {
    let working = engine.in_work().on(def.id);
    let def = create(engine, def).await?;
    let filled = match fill(Arc::clone(&def)).await {
        Ok(filled) => {
            let (own, table) = (engine.clone(), Arc::clone(&def));
            let own_work = engine.in_work().on(def.id);
            // Once it is seen others write to it: nobody may take it for something left over then.
            let shown = engine.to_the_end(async move {
                let _working = own_work;
                show(&own, &table).await
            });
            shown.await.map(|()| filled)
        }
        Err(error) => Err(error),
    };
    let known = engine.store().table_by_id(def.id);
    if filled.is_err() && known.is_some_and(|known| known.options.rules.unfinished) {
        give_up(engine, &def).await;
    }
    drop(working);
    filled
}

/// Stores a table that nobody sees.
pub(super) async fn create(engine: &Engine, mut def: TableDef) -> Result<Arc<TableDef>, Error> {
    def.options.rules.unfinished = true;
    engine.cluster().create_table(def).await
}

/// Lets a table be seen that has its rows. Fails with `Conflict` if another one has its name by now.
pub(super) async fn show(engine: &Engine, def: &Arc<TableDef>) -> Result<(), Error> {
    let mut shown = TableDef::clone(def);
    shown.options.rules.unfinished = false;
    engine.cluster().alter_table(shown).await.map(|_| ())
}

/// Removes a table that will not be finished.
pub(super) async fn give_up(engine: &Engine, def: &Arc<TableDef>) {
    if let Err(error) = engine.cluster().drop_table(Arc::clone(def)).await {
        tracing::warn!(table = %def.name, %error, "a table that was not finished was not dropped");
    }
}

/// Removes what statements left that were never finished. What cannot be removed now is tried again.
pub(crate) async fn discard(engine: &Engine) {
    let me = engine.cluster().me();
    let known = engine.store().all_tables().into_iter();
    let mine = known.filter(|def| def.dropped.is_none() && *def.owner == *me);
    for def in mine.filter(|def| !engine.in_work().has(def.id)) {
        // As it is since nobody works on it: it may have been finished meanwhile.
        let now = engine.store().table_by_id(def.id);
        let Some(def) = now.filter(|def| def.dropped.is_none()) else {
            continue;
        };
        if is_left_over(engine, &def) {
            give_up(engine, &def).await;
        } else if def.options.rules.unfinished {
            // It took the place of another one; peers shall see it that never hear of that.
            if let Err(error) = show(engine, &def).await {
                tracing::warn!(table = %def.name, %error, "a finished table is not shown to peers yet");
            }
        } else if is_frozen(engine.store(), &def)
            && let Err(error) = freeze::thaw(engine, Arc::clone(&def)).await
        {
            tracing::warn!(table = %def.name, %error, "the table stays frozen until its time is up");
        }
    }
}

/// Whether it waits to be filled, or for another table to go.
fn is_left_over(engine: &Engine, def: &TableDef) -> bool {
    let rules = &def.options.rules;
    let store = engine.store();
    let replaced = rules.replaces.and_then(|id| store.table_by_id(id));
    match replaced {
        Some(old) if old.dropped.is_none() => true,
        Some(old) => rules.unfinished && old.options.rules.replaced_by != Some(def.id),
        None => rules.unfinished,
    }
}
