//! Whether a definition may take the place of the one that is known.
//!
//! Invariant: of two changes that were made of one definition the first takes effect, and the other is
//! refused; what a statement holds frozen is changed by that statement alone; a table that was dropped
//! is not dropped again in favour of another one. Whoever stores definitions asks here, holding a lock.

use std::sync::Arc;

use netabase_store::{Error, Store, TableDef};

use crate::error::{conflict, not_found};

/// Counts the revision of changed options up, if they were made of what the store knows.
///
/// # Errors
/// `NotFound` when the table is gone; `Conflict` when another one took its place or its options were changed
/// meanwhile, when it is frozen by another statement, or when its name is another table's.
pub fn next_revision(store: &Store, def: &mut TableDef) -> Result<(), Error> {
    let known = known(store, def)?;
    if known.options.revision != def.options.revision {
        return Err(changed_meanwhile(def));
    }
    let frozen = known.options.rules.frozen_until;
    // Who holds it frozen says for how long, in each definition anew.
    if is_frozen(store, &known) && def.options.rules.frozen_until == frozen {
        return Err(being_altered(&known));
    }
    let named = store.table(&def.name);
    match named.filter(|other| def.is_kept_out_by(other)) {
        Some(other) => Err(conflict(format!("table \"{}\" exists already", other.name))),
        None => {
            def.options.revision += 1;
            Ok(())
        }
    }
}

/// The definition, dropped, if it may be.
///
/// # Errors
/// `NotFound` when the table is gone; `Conflict` when another one took its place, or when it is dropped in
/// favour of another one, and its options were changed meanwhile.
pub fn as_dropped(store: &Store, def: &TableDef) -> Result<TableDef, Error> {
    let known = known(store, def)?;
    let replaced = def.options.rules.replaced_by.is_some();
    if replaced && known.options.revision != def.options.revision {
        return Err(changed_meanwhile(def));
    }
    Ok(TableDef {
        dropped: Some(store.clock().now()),
        ..def.clone()
    })
}

fn known(store: &Store, def: &TableDef) -> Result<Arc<TableDef>, Error> {
    match store.table_by_id(def.id) {
        Some(known) if known.dropped.is_none() => Ok(known),
        // There still is a table of this name.
        Some(known) if known.options.rules.replaced_by.is_some() => Err(changed_meanwhile(def)),
        _ => Err(not_found(format!("table \"{}\" does not exist", def.name))),
    }
}

/// Fails if a table has other checks by now than those that its rows meet.
///
/// # Errors
/// `Conflict` then; the statement may be run again.
pub(crate) fn has_checks_of(store: &Store, def: &TableDef) -> Result<(), Error> {
    match store.table_by_id(def.id) {
        Some(known) if known.options.rules.checks != def.options.rules.checks => {
            Err(changed_meanwhile(def))
        }
        _ => Ok(()),
    }
}

fn changed_meanwhile(def: &TableDef) -> Error {
    conflict(format!(
        "table \"{}\" was changed meanwhile; run the statement again",
        def.name
    ))
}

/// Whether nothing may be written to the table now.
pub(crate) fn is_frozen(store: &Store, def: &TableDef) -> bool {
    let until = def.options.rules.frozen_until;
    until.is_some_and(|until| store.clock().now().millis() < until)
}

/// The refusal to change a table whose rows are being copied.
pub(crate) fn being_altered(def: &TableDef) -> Error {
    conflict(format!(
        "table \"{}\" is being altered by another statement: run this one again when that is done",
        def.name
    ))
}
