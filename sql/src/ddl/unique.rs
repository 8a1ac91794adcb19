//! UNIQUE, where it can be promised.
//!
//! Peers take writes without asking each other, so that no network of them can promise that a value is
//! there once: two peers may write it at the same moment. A `LOCAL` table is written by one process
//! alone, which looks before it writes. Invariant: all writes of such a table pass through
//! [`Engine::apply`](crate::Engine), one after the other.

use std::sync::Arc;

use netabase_store::{Error, IndexDef, TableDef};

use crate::dml;
use crate::engine::Engine;
use crate::error::invalid;

/// Why UNIQUE is refused.
pub(super) fn refuse(table: &str) -> Error {
    invalid(format!(
        "UNIQUE is not supported for table \"{table}\": peers take writes without asking each other, so \
         that nobody can promise it; only the PRIMARY KEY is unique. A table that stays on this peer \
         can have it: CREATE LOCAL TABLE"
    ))
}

/// Adds a unique index for each of these lists of columns.
pub(super) fn add_constraints(def: &mut TableDef, unique: Vec<Vec<String>>) -> Result<(), Error> {
    for columns in unique {
        if !def.local {
            return Err(refuse(&def.name));
        }
        let name = format!("{}_{}_key", def.name, columns.join("_"));
        let places = columns.iter().map(|column| {
            let place = def.column_named(column).ok_or_else(|| {
                invalid(format!(
                    "UNIQUE names column \"{column}\", which table \"{}\" does not have",
                    def.name
                ))
            })?;
            Ok(place as u32)
        });
        let columns = places.collect::<Result<Vec<_>, Error>>()?;
        def.options.indexes.push(IndexDef {
            name: name.clone(),
            columns,
        });
        def.options.rules.unique.push(name);
    }
    Ok(())
}

/// Fails with `Conflict` if rows that are there have the same values in these columns.
pub(super) async fn check_existing(
    engine: &Engine,
    def: &Arc<TableDef>,
    columns: &[u32],
) -> Result<(), Error> {
    let columns: Vec<usize> = columns.iter().map(|column| *column as usize).collect();
    dml::check_unique_existing(engine, def, &columns).await
}
