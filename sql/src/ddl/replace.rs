//! A table that takes the place of another one, with rows of another shape.
//!
//! Idea: the rows of a shard all have one shape, for ever; a column that is added makes another table.
//! The old one is frozen, its rows are copied, and it is dropped in favour of the new one, which is seen
//! under the same name from then on. Invariants: a write that is acknowledged is in one of the two:
//! while the rows are copied no peer that knows of it takes any, and a write needs all replicas; what
//! fails, or is broken off, leaves the old table as it was. Non-goal: keeping versions and authors, which become those
//! of the copy.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;
use netabase_store::{ColumnRules, Error, IndexDef, TableDef, TableId, TableRules};

use super::alter::{Draft, Recast};
use super::freeze::{self, Freeze};
use super::unfinished;
use super::{check_rules, table_id};
use crate::deadline::Deadline;
use crate::dml;
use crate::engine::Engine;
use crate::error::{error_from_datafusion, invalid, unavailable};
use crate::output::Output;

/// Makes the table of a draft, copies the rows into it, and drops the old one.
pub(super) async fn replace(
    engine: &Engine,
    old: &Arc<TableDef>,
    draft: Draft,
) -> Result<Output, Error> {
    let (new, kept) = definition(engine, old, &draft);
    new.validate()?;
    let new = Arc::new(new);
    check_rules(engine, &new)?;
    let rows = plan_rows(engine, old, &new, (draft, kept)).await?;
    let working = [old.id, new.id].map(|id| engine.in_work().on(id));
    let mut frozen = Freeze::begin(engine, old).await?;
    let new = match unfinished::create(engine, Arc::unwrap_or_clone(new)).await {
        Ok(new) => new,
        Err(error) => {
            frozen.end().await;
            return Err(error);
        }
    };
    let copied = frozen.during(copy_rows(engine, old, &new, rows)).await;
    if let Err(error) = copied {
        unfinished::give_up(engine, &new).await;
        frozen.end().await;
        return Err(error);
    }
    let (own, tables) = (engine.clone(), (Arc::clone(old), Arc::clone(&new)));
    let own_work = [old.id, new.id].map(|id| engine.in_work().on(id));
    // Whoever drops this future finds either table, and nobody takes what is in work for something left over.
    let placed = engine.to_the_end(async move {
        let _working = own_work;
        Ok(take_place(&own, tables, frozen).await)
    });
    let error = match placed.await {
        Ok(taken) => return taken.map(|()| Output::empty()),
        Err(error) if is_replaced(engine, old.id, new.id) => return Err(half_told(old, &error)),
        Err(error) => error,
    };
    // It was not begun.
    unfinished::give_up(engine, &new).await;
    freeze::end(engine, old.id).await;
    drop(working);
    Err(error)
}

fn half_told(old: &TableDef, error: &Error) -> Error {
    unavailable(format!(
        "table \"{}\" was altered, but not every peer knows it yet: {error}",
        old.name
    ))
}

/// Lets a copy be seen in the place of the table that was copied.
async fn take_place(
    engine: &Engine,
    (old, new): (Arc<TableDef>, Arc<TableDef>),
    mut frozen: Freeze,
) -> Result<(), Error> {
    match frozen.replace(new.id).await {
        Ok(()) => {}
        Err(error) if is_replaced(engine, old.id, new.id) => {
            return Err(half_told(&old, &error));
        }
        Err(error) => {
            unfinished::give_up(engine, &new).await;
            frozen.end().await;
            return Err(error);
        }
    }
    // So that it is seen by peers, too, that never hear of the old one.
    if let Err(error) = unfinished::show(engine, &new).await {
        tracing::debug!(table = %new.name, %error, "a table that took another one's place");
    }
    Ok(())
}

fn is_replaced(engine: &Engine, old: TableId, new: TableId) -> bool {
    let old = engine.store().table_by_id(old);
    old.is_some_and(|old| old.options.rules.replaced_by == Some(new))
}

/// The new definition, and which column of the old one each column is; the added ones come last but for
/// a hidden key.
fn definition(engine: &Engine, old: &TableDef, draft: &Draft) -> (TableDef, Vec<usize>) {
    let def = &draft.def;
    let kept: Vec<usize> = (0..def.schema.fields().len())
        .filter(|column| !def.is_hidden(*column) || def.primary_key.contains(column))
        .collect();
    let (mut fields, mut rules) = (Vec::new(), Vec::new());
    for column in &kept {
        let field = field_of(draft, *column);
        fields.push(field);
        let known = def.column_rules(*column).cloned().unwrap_or_default();
        rules.push(ColumnRules {
            name: None,
            ..known
        });
    }
    for (field, added) in &draft.added {
        fields.push(field.clone());
        rules.push(added.clone());
    }
    let place = |column: &usize| kept.iter().position(|other| other == column).unwrap_or(0);
    let places = |columns: &[usize]| columns.iter().map(place).collect::<Vec<_>>();
    let created = engine.store().clock().now();
    let owner = engine.cluster().me();
    let mut options = def.options.clone();
    options.revision = 0;
    options.first_name = None;
    options.indexes = options
        .indexes
        .into_iter()
        .map(|index| IndexDef {
            columns: index
                .columns
                .iter()
                .map(|column| place(&(*column as usize)) as u32)
                .collect(),
            ..index
        })
        .collect();
    options.rules = TableRules {
        columns: rules,
        frozen_until: None,
        replaces: Some(old.id),
        unfinished: true,
        replaced_by: None,
        ..options.rules
    };
    let new = TableDef {
        id: table_id(&def.name, owner, created),
        name: def.name.clone(),
        schema: Arc::new(Schema::new(fields)),
        primary_key: places(&def.primary_key),
        shard_key: places(&def.shard_key),
        created,
        placement: Vec::new(),
        options,
        attachment: Vec::new(),
        ..def.clone()
    };
    (new, kept)
}

/// A column of the old definition as it will be.
fn field_of(draft: &Draft, column: usize) -> Field {
    let def = &draft.def;
    let field = def.schema.field(column).clone();
    let name = match def.is_hidden(column) {
        true => field.name().clone(),
        false => def.column_name(column).to_owned(),
    };
    match draft.recast.get(&column) {
        Some(Recast {
            data_type,
            nullable,
            metadata,
            ..
        }) => Field::new(name, data_type.clone(), *nullable).with_metadata(metadata.clone()),
        None => field.with_name(name),
    }
}

/// The query for the new rows, and which columns it gives.
async fn plan_rows(
    engine: &Engine,
    old: &TableDef,
    new: &TableDef,
    (mut draft, kept): (Draft, Vec<usize>),
) -> Result<(LogicalPlan, Vec<usize>), Error> {
    let label = dml::quoted(&old.table_name());
    let mut given = Vec::new();
    let mut projection = Vec::new();
    for (place, column) in kept.iter().enumerate() {
        if dml::is_generated(new, place) {
            continue;
        }
        let name = old.column_name(*column);
        let value = match draft
            .recast
            .get_mut(column)
            .and_then(|recast| recast.using.take())
        {
            Some(using) => using,
            None => dml::column(&label, name),
        };
        given.push(place);
        projection.push(dml::item(value, new.schema.field(place).name()));
    }
    let from = dml::from_keyed(old, label);
    let query = dml::select(projection, vec![from], None)?;
    let plan = dml::plan_query(engine, query, None, &Deadline::none()).await?;
    refuse_other_rows(&plan)?;
    Ok((dml::as_rows(new, plan, &given)?, given))
}

/// Fails unless each row of the query is made of one row of the table alone.
fn refuse_other_rows(plan: &LogicalPlan) -> Result<(), Error> {
    let mut wrong = false;
    plan.apply_with_subqueries(|node| {
        wrong |= !matches!(
            node,
            LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::TableScan(_)
        );
        Ok(TreeNodeRecursion::Continue)
    })
    .map_err(error_from_datafusion)?;
    match wrong {
        true => Err(invalid(
            "USING cannot have aggregates, window functions or subqueries: it is computed from one row alone",
        )),
        false => Ok(()),
    }
}

async fn copy_rows(
    engine: &Engine,
    old: &TableDef,
    new: &Arc<TableDef>,
    rows: (LogicalPlan, Vec<usize>),
) -> Result<(), Error> {
    let (receipt, _) = dml::fill_unseen(engine, new, rows).await?;
    let there = dml::count(engine, old).await?;
    match receipt.rows == there {
        true => Ok(()),
        false => Err(invalid(format!(
            "{there} rows of table \"{}\" would become {}: USING must give one value for each row",
            old.name, receipt.rows
        ))),
    }
}
