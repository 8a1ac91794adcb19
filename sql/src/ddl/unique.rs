//! UNIQUE, where it can be promised.
//!
//! Peers take writes without asking each other, so that no network of them can promise that a value is
//! there once: two peers may write it at the same moment. A `LOCAL` table is written by one process
//! alone, which looks before it writes. Invariant: all writes of such a table pass through
//! [`Uniqueness`](crate::uniqueness), one after the other.

use std::sync::Arc;

use netabase_store::{Error, IndexDef, TableDef};

use super::index;
use crate::dml;
use crate::engine::Engine;
use crate::error::{conflict, invalid};

/// Why UNIQUE is refused.
pub(super) fn refuse(table: &str) -> Error {
    invalid(format!(
        "UNIQUE is not supported for table \"{table}\": peers take writes without asking each other, so \
         that nobody can promise it; only the PRIMARY KEY is unique. A table that stays on this peer \
         can have it: CREATE LOCAL TABLE"
    ))
}

/// Columns that are unique together, and the name that they are given, if any.
pub(crate) type Unique = (Option<String>, Vec<String>);

/// Adds a unique index for each of these lists of columns, under a name that no other index has.
pub(super) fn add_constraints(
    engine: &Engine,
    def: &mut TableDef,
    unique: Vec<Unique>,
) -> Result<(), Error> {
    for (given, columns) in unique {
        if !def.local {
            return Err(refuse(&def.name));
        }
        let name = match given {
            Some(name) if is_taken(engine, def, &name) => {
                return Err(conflict(format!(
                    "index \"{name}\" exists already: give the constraint another name"
                )));
            }
            Some(name) => name,
            None => {
                let name = format!("{}_{}_key", def.table_name(), columns.join("_"));
                let numbered = (1..).map(|number| format!("{name}{number}"));
                let mut names = std::iter::once(name.clone()).chain(numbered);
                names
                    .find(|name| !is_taken(engine, def, name))
                    .unwrap_or(name)
            }
        };
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

fn is_taken(engine: &Engine, def: &TableDef, name: &str) -> bool {
    let own = def.options.indexes.iter().any(|index| index.name == name);
    let check = def
        .options
        .rules
        .checks
        .iter()
        .any(|check| check.name == name);
    own || check || index::table_of(engine, name).is_some()
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
