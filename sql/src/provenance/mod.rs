//! Where a row comes from, as columns: `_version`, `_author` and `_expires`.
//!
//! Idea: a statement that names one of them is planned against tables that have them behind their own
//! columns, and every `*` in it is written out so that it leaves them out. All other statements are
//! planned as if there were no such columns, and cost what they did.
//!
//! Invariants: no `*` ever has one of them; nothing writes them. A table that has a column of such a
//! name keeps it, and lacks ours; no new table gets one.
//! Non-goal: what earlier versions of a row were.

mod catalog;
mod stars;
mod values;

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Expr, Ident, Statement as SqlStatement, Visit, Visitor};
use netabase_store::{Error, Store, TableDef};

use crate::declared::without_kinds;
use crate::error::invalid;
use crate::statement::ident_of;

pub(crate) use catalog::serve;
pub(crate) use values::{Provenance, value_of};

/// When a row was written: milliseconds since 1970, times 65,536, plus a counter.
const VERSION: &str = "_version";
/// The peer that wrote it.
const AUTHOR: &str = "_author";
/// When it will be gone; NULL: never.
const EXPIRES: &str = "_expires";
/// All of them, in the order in which they follow a table's columns.
const NAMES: [&str; 3] = [VERSION, AUTHOR, EXPIRES];

/// The names of those that a table of these columns shows.
fn names_for(schema: &Schema) -> impl Iterator<Item = &'static str> {
    let free = |name: &&str| schema.index_of(name).is_err();
    NAMES.into_iter().filter(free)
}

/// A table's columns, and behind them those of provenance.
pub(crate) fn with_provenance(schema: &SchemaRef) -> SchemaRef {
    let field = |name| match name {
        VERSION => Field::new(name, DataType::Int64, false),
        AUTHOR => Field::new(name, DataType::Utf8View, false),
        _ => Field::new(name, expires_type(), true),
    };
    let plain = without_kinds(schema);
    let own = plain.fields().iter().cloned();
    let fields: Vec<FieldRef> = own
        .chain(names_for(schema).map(|name| Arc::new(field(name))))
        .collect();
    Arc::new(Schema::new(fields))
}

fn expires_type() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
}

/// Whether an expression in a statement names one of the columns.
pub(crate) fn is_named(statement: &impl Visit) -> bool {
    statement.visit(&mut Names).is_break()
}

fn is_reserved(ident: &Ident) -> bool {
    is_name(&ident_of(ident))
}

/// Whether one of the columns is called this.
pub(crate) fn is_name(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Stops at the first name of ours.
struct Names;

impl Visitor for Names {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let named = match expr {
            Expr::Identifier(ident) => is_reserved(ident),
            Expr::CompoundIdentifier(idents) => idents.iter().any(is_reserved),
            _ => false,
        };
        match named {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

/// Makes a statement that names the columns ready to be planned by a session that serves them. Whether
/// it is such a one.
pub(crate) fn prepare(statement: &mut Statement, store: &Store) -> Result<bool, Error> {
    let Some(inner) = sql_of(statement) else {
        return Ok(false);
    };
    if !is_named(inner) {
        return Ok(false);
    }
    stars::write_out(inner, store)?;
    Ok(true)
}

/// The statement itself, or the one that is explained.
pub(crate) fn sql_of(statement: &mut Statement) -> Option<&mut SqlStatement> {
    match statement {
        Statement::Statement(inner) => Some(inner),
        Statement::Explain(explain) => sql_of(&mut explain.statement),
        _ => None,
    }
}

/// Fails if a column of a new table has one of the names.
pub(crate) fn refuse_reserved(columns: &[Field]) -> Result<(), Error> {
    let taken = |name: &&&str| columns.iter().any(|column| column.name() == **name);
    match NAMES.iter().find(taken) {
        Some(name) => Err(invalid(format!(
            "column \"{name}\" cannot be made: every table shows when and by whom a row was written \
             under this name; choose another one"
        ))),
        None => Ok(()),
    }
}

/// The error for writing a column, if it is one of ours.
pub(crate) fn unwritable(def: &TableDef, column: &str) -> Option<Error> {
    let ours = names_for(&def.schema).any(|name| name == column);
    ours.then(|| {
        invalid(format!(
            "column \"{column}\" of table \"{}\" is kept by netabase and cannot be written",
            def.name
        ))
    })
}
