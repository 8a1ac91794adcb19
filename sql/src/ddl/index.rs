//! Indexes come and go.
//!
//! Purpose: `CREATE INDEX` and `DROP INDEX` change the definition of the index's table. `CREATE INDEX`
//! returns when this peer's rows are indexed; other peers index theirs in the background, and
//! queries scan where an index is not ready yet.
//!
//! Invariant: the name of an index is unique over all tables that are known here.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{CreateIndex, Expr as SqlExpr, IndexColumn, ObjectName};
use netabase_store::arrow_row::{RowConverter, SortField};
use netabase_store::{Error, ErrorKind, IndexDef, TableDef};

use super::{table_with_rows, unique};
use crate::blame::{Blame, What};
use crate::deadline::Deadline;
use crate::engine::Engine;
use crate::error::{conflict, invalid};
use crate::local::blocking;
use crate::near::hint;
use crate::output::Output;
use crate::sql_type::type_name;
use crate::statement::{ident_of, refuse_given};

/// `CREATE INDEX`.
pub(crate) async fn create_index(engine: &Engine, statement: CreateIndex) -> Result<Output, Error> {
    refuse_clauses(&statement)?;
    let Some(name) = &statement.name else {
        return Err(invalid(
            "an index needs a name: CREATE INDEX name ON table (column, …)",
        ));
    };
    let name = index_name(name)?;
    let def = table_with_rows(engine, &statement.table_name)?;
    if let Some(other) = table_of(engine, &name) {
        if statement.if_not_exists {
            return Ok(Output::empty());
        }
        return Err(conflict(format!(
            "index \"{name}\" exists already, on table \"{}\"; drop it first, or use CREATE INDEX \
             IF NOT EXISTS",
            other.name
        )));
    }
    let columns = columns_of(&def, &statement.columns)?;
    let def = match statement.unique {
        true => add_unique(engine, &statement, IndexDef { name, columns }).await?,
        false => add(engine, &def, IndexDef { name, columns }).await?,
    };
    build(engine, def).await?;
    Ok(Output::empty())
}

async fn add(engine: &Engine, def: &TableDef, index: IndexDef) -> Result<Arc<TableDef>, Error> {
    let mut changed = def.clone();
    changed.options.indexes.push(index);
    changed.validate()?;
    engine.cluster().alter_table(changed).await
}

/// Adds an index whose values are there once; nobody writes between looking and that.
async fn add_unique(
    engine: &Engine,
    statement: &CreateIndex,
    index: IndexDef,
) -> Result<Arc<TableDef>, Error> {
    let _alone = Deadline::none().bound(engine.unique().alone()).await?;
    let def = table_with_rows(engine, &statement.table_name)?;
    if !def.local {
        return Err(unique::refuse(&def.name));
    }
    unique::check_existing(engine, &def, &index.columns).await?;
    let mut changed = TableDef::clone(&def);
    changed.options.rules.unique.push(index.name.clone());
    add(engine, &changed, index).await
}

/// `DROP INDEX`: all names are checked before the first index goes.
pub(crate) async fn drop_indexes(
    engine: &Engine,
    (names, table): (&[ObjectName], Option<&ObjectName>),
    if_exists: bool,
) -> Result<Output, Error> {
    let table = match table {
        Some(table) => Some(table_with_rows(engine, table)?),
        None => None,
    };
    let mut known = Vec::with_capacity(names.len());
    for name in names {
        let name = index_name(name)?;
        match table_of(engine, &name) {
            Some(def) if table.as_ref().is_some_and(|table| table.id != def.id) => {
                return Err(invalid(format!(
                    "index \"{name}\" is on table \"{}\"",
                    def.name
                )));
            }
            Some(_) => known.push(name),
            None if if_exists => {}
            None => return Err(missing_index(engine, &name)),
        }
    }
    for name in known {
        // Another name of this statement may have changed the same table.
        if let Some(def) = table_of(engine, &name) {
            let mut changed = TableDef::clone(&def);
            changed.options.indexes.retain(|index| index.name != name);
            changed
                .options
                .rules
                .unique
                .retain(|unique| *unique != name);
            engine.cluster().alter_table(changed).await?;
        }
    }
    Ok(Output::empty())
}

/// There is no such index.
fn missing_index(engine: &Engine, name: &str) -> Error {
    let tables = engine.store().tables();
    let live = tables.iter().filter(|def| def.dropped.is_none());
    let names = live.flat_map(|def| def.options.indexes.iter().map(|index| index.name.as_str()));
    let text = format!("index \"{name}\" does not exist{}", hint(name, names));
    Blame::error(What::Name, name, (ErrorKind::NotFound, text))
}

/// The live table that has an index of this name.
pub(super) fn table_of(engine: &Engine, index: &str) -> Option<Arc<TableDef>> {
    let tables = engine.store().tables().into_iter();
    let mut tables =
        tables.filter(|def| def.options.indexes.iter().any(|known| known.name == index));
    tables.next()
}

/// Returns when this peer's rows are indexed.
async fn build(engine: &Engine, def: Arc<TableDef>) -> Result<(), Error> {
    let store = engine.store().clone();
    let work = move || {
        store.build_indexes(def.id, &mut |done, total| {
            tracing::info!(table = %def.name, done, total, "making an index");
        })
    };
    blocking(work).await
}

fn index_name(name: &ObjectName) -> Result<String, Error> {
    match name.0.as_slice() {
        [part] => part.as_ident().map(ident_of),
        _ => None,
    }
    .ok_or_else(|| {
        invalid(format!(
            "{name} is not the name of an index: write it alone"
        ))
    })
}

fn columns_of(def: &TableDef, columns: &[IndexColumn]) -> Result<Vec<u32>, Error> {
    let mut indexed = Vec::with_capacity(columns.len());
    for IndexColumn {
        column,
        operator_class,
    } in columns
    {
        let SqlExpr::Identifier(ident) = &column.expr else {
            return Err(invalid(format!(
                "CREATE INDEX takes columns, not {}: store the value in a column of its own",
                column.expr
            )));
        };
        let options = column.options;
        let ordered = options.asc.is_some() || options.nulls_first.is_some();
        if ordered || operator_class.is_some() || column.with_fill.is_some() {
            return Err(invalid(format!(
                "CREATE INDEX takes columns alone, not {column}: the order is fixed, and lookups \
                 work in both directions"
            )));
        }
        let name = ident_of(ident);
        let index = def
            .column_named(&name)
            .ok_or_else(|| no_column(def, &name))?;
        if indexed.contains(&(index as u32)) {
            return Err(invalid(format!(
                "column \"{name}\" is listed twice: once is enough for an index"
            )));
        }
        let field = def.schema.field(index);
        if !RowConverter::supports_fields(&[SortField::new(field.data_type().clone())]) {
            return Err(invalid(format!(
                "column \"{name}\" is {}, which has no order: it cannot be indexed",
                type_name(field.data_type())
            )));
        }
        indexed.push(index as u32);
    }
    Ok(indexed)
}

/// The table has no such column.
fn no_column(def: &TableDef, name: &str) -> Error {
    let names = def.schema.fields().iter().map(|field| field.name());
    let text = format!(
        "table \"{}\" has no column \"{name}\"{}",
        def.name,
        hint(name, names)
    );
    Blame::error(What::Name, name, (ErrorKind::InvalidInput, text))
}

/// Refuses what would otherwise be ignored.
fn refuse_clauses(statement: &CreateIndex) -> Result<(), Error> {
    let unsupported = [
        (
            "INDEX CONCURRENTLY",
            statement.concurrently,
            "leave it out: reading and writing go on anyway",
        ),
        (
            "INDEX … USING",
            statement.using.is_some(),
            "leave it out: there is one kind of index",
        ),
        (
            "INDEX … WHERE",
            statement.predicate.is_some(),
            "index all rows",
        ),
        (
            "INDEX … INCLUDE",
            !statement.include.is_empty(),
            "add the columns to the index",
        ),
        (
            "INDEX … NULLS DISTINCT",
            statement.nulls_distinct.is_some(),
            "leave it out",
        ),
        (
            "INDEX … with options",
            !statement.with.is_empty()
                || !statement.index_options.is_empty()
                || !statement.alter_options.is_empty(),
            "leave them out",
        ),
    ];
    refuse_given("CREATE ", &unsupported)
}
