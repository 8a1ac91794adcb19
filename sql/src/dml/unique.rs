//! UNIQUE, checked before rows of a `LOCAL` table are written.
//!
//! Invariant: whoever writes such a table holds the engine's lock for it from the check until the rows
//! are there, so that nobody writes in between. Rows with a NULL among the values are never equal, as
//! SQL has it. Non-goal: tables that other peers write.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::sql::sqlparser::ast::{
    Expr, Join, JoinConstraint, JoinOperator, Query, TableWithJoins, UnaryOperator,
};
use netabase_store::{Error, TableDef};

use super::rewrite::{all_of, column, equal, from_keyed, item, quoted, select};
use super::{finds, named_schema};
use crate::deadline::Deadline;
use crate::engine::Engine;
use crate::error::{conflict, error_from_datafusion, from_arrow};
use crate::scoped::{Scoped, relation};

/// The rows that are about to be written, in the queries here.
const NEW: &str = "new";
/// The keys of rows that go.
const GONE: &str = "gone";
/// The rows of the table.
const OLD: &str = "old";

/// Fails with `Conflict` if one of these whole rows has the unique values of another one, or of a row
/// that is there, is not replaced by them, and does not go by these keys.
pub(crate) async fn check(
    engine: &Engine,
    def: &Arc<TableDef>,
    (rows, gone): (&[RecordBatch], &[RecordBatch]),
) -> Result<(), Error> {
    for name in &def.options.rules.unique {
        let mut indexes = def.options.indexes.iter();
        let Some(index) = indexes.find(|index| index.name == *name) else {
            continue;
        };
        let columns: Vec<usize> = index
            .columns
            .iter()
            .map(|column| *column as usize)
            .collect();
        let twice = same_values(def, &columns, relation(NEW, quoted(OLD)))?;
        let there = there_already(def, &columns)?;
        for query in [twice, there] {
            let query = (query, Some(scoped(def, (rows, gone))?));
            if finds(engine, query, engine.deadline()).await? {
                return Err(violated(def, name, &columns));
            }
        }
    }
    Ok(())
}

/// Fails with `Conflict` if rows that are there have the same values in these columns.
pub(crate) async fn check_unique_existing(
    engine: &Engine,
    def: &Arc<TableDef>,
    columns: &[usize],
) -> Result<(), Error> {
    let table = |alias: &str| from_keyed(def, quoted(alias));
    let query = pairs(def, columns, (table(NEW), table(OLD)))?;
    match finds(engine, (query, None), Deadline::none()).await? {
        true => Err(violated(def, "the new index", columns)),
        false => Ok(()),
    }
}

fn violated(def: &TableDef, index: &str, columns: &[usize]) -> Error {
    let names: Vec<&str> = columns
        .iter()
        .map(|column| def.column_name(*column))
        .collect();
    conflict(format!(
        "two rows of table \"{}\" would have the same ({}), which is unique ({index}); nothing was written",
        def.name,
        names.join(", ")
    ))
}

fn scoped(def: &TableDef, (rows, gone): (&[RecordBatch], &[RecordBatch])) -> Result<Scoped, Error> {
    let schema = named_schema(def);
    let keys = schema.project(&def.primary_key).map_err(from_arrow)?;
    let named = |rows: &[RecordBatch], schema: &SchemaRef| {
        let rows = rows.iter().map(|rows| {
            RecordBatch::try_new(Arc::clone(schema), rows.columns().to_vec()).map_err(from_arrow)
        });
        rows.collect::<Result<Vec<_>, _>>()
    };
    let (rows, keys) = (named(rows, &schema)?, Arc::new(keys));
    let scoped = Scoped::default().with(NEW, &schema, rows);
    let scoped = scoped.map_err(error_from_datafusion)?;
    let scoped = scoped.with(GONE, &keys, named(gone, &keys)?);
    scoped.map_err(error_from_datafusion)
}

/// Pairs of new rows with the same values and different keys.
fn same_values(def: &TableDef, columns: &[usize], old: TableWithJoins) -> Result<Query, Error> {
    pairs(def, columns, (relation(NEW, quoted(NEW)), old))
}

/// Pairs of a new row and one of the table with the same values, which stays: no new row has its key,
/// and it does not go.
fn there_already(def: &TableDef, columns: &[usize]) -> Result<Query, Error> {
    let old = from_keyed(def, quoted(OLD));
    let stays = [NEW, GONE].map(|others| has_no(def, others));
    let [not_replaced, not_gone] = stays;
    let kept = all_of([not_replaced?, not_gone?]);
    let key = def
        .primary_key
        .first()
        .map_or("", |key| def.column_name(*key));
    let from = joined(def, columns, (relation(NEW, quoted(NEW)), old));
    let key = column(&quoted(NEW), key);
    select(vec![item(key, "key")], vec![from], Some(kept))
}

/// Whether none of some rows has the key of a row of the table.
fn has_no(def: &TableDef, others: &str) -> Result<Expr, Error> {
    let other = quoted("other");
    let same_key = def.primary_key.iter().map(|place| {
        let name = def.column_name(*place);
        equal(column(&other, name), column(&quoted(OLD), name))
    });
    let key = def
        .primary_key
        .first()
        .map_or("", |key| def.column_name(*key));
    let found = select(
        vec![item(column(&other, key), key)],
        vec![relation(others, other.clone())],
        Some(all_of(same_key)),
    )?;
    Ok(Expr::Exists {
        subquery: Box::new(found),
        negated: true,
    })
}

/// Pairs of rows with the same values and different keys.
fn pairs(
    def: &TableDef,
    columns: &[usize],
    sides: (TableWithJoins, TableWithJoins),
) -> Result<Query, Error> {
    let (new, old) = (quoted(NEW), quoted(OLD));
    let same_key = def.primary_key.iter().map(|place| {
        let name = def.column_name(*place);
        equal(column(&new, name), column(&old, name))
    });
    let differs = Expr::UnaryOp {
        op: UnaryOperator::Not,
        expr: Box::new(Expr::Nested(Box::new(all_of(same_key)))),
    };
    let key = def
        .primary_key
        .first()
        .map_or("", |key| def.column_name(*key));
    let key = item(column(&new, key), "key");
    select(vec![key], vec![joined(def, columns, sides)], Some(differs))
}

/// Both sides, joined where they have the same values.
fn joined(
    def: &TableDef,
    columns: &[usize],
    (new, old): (TableWithJoins, TableWithJoins),
) -> TableWithJoins {
    let same = columns.iter().map(|place| {
        let name = def.column_name(*place);
        equal(column(&quoted(NEW), name), column(&quoted(OLD), name))
    });
    let on = JoinConstraint::On(all_of(same));
    TableWithJoins {
        joins: vec![Join {
            relation: old.relation,
            global: false,
            join_operator: JoinOperator::Inner(on),
        }],
        ..new
    }
}
