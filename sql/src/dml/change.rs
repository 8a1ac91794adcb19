//! UPDATE, DELETE and TRUNCATE, as queries.
//!
//! Idea: an UPDATE writes whole rows, selected from the table and whatever else it names; a DELETE
//! removes the keys of a query. So joins and subqueries mean what they mean in a query. Invariant:
//! only rows that the query finds are changed, because their keys come from the table itself and
//! cannot be assigned; DataFusion's own hooks, whose filters the optimizer may have folded into
//! nothing, are never used. Non-goal: writing.

use std::sync::Arc;

use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::{
    Delete, FromTable, TableWithJoins, Truncate, Update, UpdateTableFromKind, With,
};
use netabase_store::{Change, Error, ErrorKind, TableDef};

use super::returning::refuse_others;
use super::rewrite::{Changed, as_rows, assigned, is_generated, item, select};
use super::row_sets::RowSets;
use super::with::add_with;
use super::{Target, delete_rows, plan_query, write_query};
use crate::ddl;
use crate::deadline::Deadline;
use crate::engine::Engine;
use crate::error::invalid;
use crate::output::Output;
use crate::statement::{check_delete, refuse_given};
use crate::write::{CheckedRows, NoOrigin};

/// `UPDATE`.
pub(super) async fn update(
    engine: &Engine,
    update: Update,
    with: Option<With>,
) -> Result<Output, Error> {
    let deadline = engine.deadline();
    let (target, rows) = plan_update(engine, (update, with), &deadline).await?;
    write_query(engine, target, rows, deadline).await
}

/// What an UPDATE writes: a query, and the columns that it gives.
pub(super) async fn plan_update(
    engine: &Engine,
    (mut update, with): (Update, Option<With>),
    deadline: &Deadline,
) -> Result<(Target, (LogicalPlan, Vec<usize>)), Error> {
    check_update(&update)?;
    let changed = Changed::of(update.table)?;
    let def = ddl::table_to_write(engine, &changed.name)?;
    let target = Target {
        def: def.clone(),
        label: changed.label(),
        returning: update.returning,
    };
    let others = match update.from {
        Some(UpdateTableFromKind::AfterSet(tables) | UpdateTableFromKind::BeforeSet(tables)) => {
            tables
        }
        None => Vec::new(),
    };
    refuse_others(&def, target.returning.as_ref(), &others)?;
    let sets = RowSets::take(&mut update.assignments)?;
    let mut values = assigned(&def, update.assignments)?;
    // Hidden columns that are no keys are not read, and generated ones are made again.
    let given: Vec<usize> = (0..def.schema.fields().len())
        .filter(|column| !def.is_hidden(*column) || def.primary_key.contains(column))
        .filter(|column| !is_generated(&def, *column))
        .collect();
    let items = sets.items((&def, &changed), (&given, &mut values));
    let from = std::iter::once(changed.into_from(&def, with.as_ref())).chain(others);
    let mut query = items.query(from.collect(), update.selection)?;
    add_with(&mut query, with);
    let plan = plan_query(engine, query, None, deadline).await?;
    let plan = as_rows(&def, plan, &given)?;
    Ok((target, (plan, given)))
}

/// Refuses clauses of UPDATE that would change its meaning.
fn check_update(update: &Update) -> Result<(), Error> {
    let clauses = [
        (
            "UPDATE … LIMIT",
            update.limit.is_some(),
            "choose the rows with WHERE key IN (SELECT … LIMIT …)",
        ),
        (
            "UPDATE … ORDER BY",
            !update.order_by.is_empty(),
            "rows are changed all at once; leave it out",
        ),
        (
            "UPDATE … OUTPUT",
            update.output.is_some(),
            "write RETURNING at the end",
        ),
        ("UPDATE OR …", update.or.is_some(), "leave it out"),
        (
            "UPDATE FROM … SET",
            matches!(update.from, Some(UpdateTableFromKind::BeforeSet(_))),
            "write UPDATE t SET … FROM …",
        ),
    ];
    refuse_given("", &clauses)
}

/// `DELETE`.
pub(super) async fn delete(
    engine: &Engine,
    delete: Delete,
    with: Option<With>,
) -> Result<Output, Error> {
    let deadline = engine.deadline();
    let (target, rows) = plan_delete(engine, (delete, with), &deadline).await?;
    delete_rows(engine, target, rows, deadline).await
}

/// What a DELETE removes: a query, and the columns that it gives.
pub(super) async fn plan_delete(
    engine: &Engine,
    (delete, with): (Delete, Option<With>),
    deadline: &Deadline,
) -> Result<(Target, (LogicalPlan, Vec<usize>)), Error> {
    check_delete(&delete)?;
    let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = delete.from;
    let Some(table) = tables.into_iter().next() else {
        return Err(invalid("DELETE names no table"));
    };
    let changed = Changed::of(table)?;
    let def = ddl::table_to_write(engine, &changed.name)?;
    let target = Target {
        def: def.clone(),
        label: changed.label(),
        returning: delete.returning,
    };
    let others: Vec<TableWithJoins> = delete.using.into_iter().flatten().collect();
    refuse_others(&def, target.returning.as_ref(), &others)?;
    // Those that RETURNING may name, and the key.
    let wanted: Vec<usize> = (0..def.schema.fields().len())
        .filter(|column| {
            def.primary_key.contains(column)
                || (target.returning.is_some() && !def.is_hidden(*column))
        })
        .collect();
    let projection = wanted.iter().map(|&column| {
        let name = def.column_name(column);
        item(changed.column(name), name)
    });
    let projection = projection.collect();
    let from = std::iter::once(changed.into_from(&def, with.as_ref())).chain(others);
    let mut query = select(projection, from.collect(), delete.selection)?;
    add_with(&mut query, with);
    let plan = plan_query(engine, query, None, deadline).await?;
    Ok((target, (plan, wanted)))
}

/// `TRUNCATE`: removes every row that is there now, of all tables together where they fit.
pub(crate) async fn truncate(engine: &Engine, truncate: Truncate) -> Result<Output, Error> {
    let clauses = [
        (
            "PARTITION",
            truncate.partitions.is_some(),
            "choose rows with DELETE … WHERE",
        ),
        (
            "ON CLUSTER",
            truncate.on_cluster.is_some(),
            "leave it out: a table is one on all peers",
        ),
        (
            "RESTART IDENTITY",
            truncate.identity.is_some(),
            "leave it out: there are no sequences",
        ),
        (
            "CASCADE",
            truncate.cascade.is_some(),
            "leave it out: no table refers to another one",
        ),
    ];
    refuse_given("TRUNCATE … ", &clauses)?;
    let mut defs = Vec::with_capacity(truncate.table_names.len());
    for table in &truncate.table_names {
        match ddl::table_to_write(engine, &table.name) {
            Ok(def) if defs.iter().any(|known: &Arc<TableDef>| known.id == def.id) => {}
            Ok(def) => defs.push(def),
            Err(error) if truncate.if_exists && error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let (mut changes, deadline) = (Vec::with_capacity(defs.len()), engine.deadline());
    for def in defs {
        let keys = super::keys_of(engine, &def, &deadline).await?;
        changes.push(CheckedRows::check(def, Change::Delete, keys, NoOrigin).await?);
    }
    Output::written(engine.apply(changes).await?, Vec::new())
}
