//! INSERT … ON CONFLICT.
//!
//! Idea: the rows that are proposed are completed first, and then joined with the table by the primary
//! key, in one query; what it gives is written. Invariant: the table is read once, so that no row is
//! taken for new and for old. Non-goal: a lock: of two peers that insert a key at the same time, the
//! later one wins, as for every write.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::{
    DoUpdate, Expr, Ident, Join, JoinConstraint, JoinOperator, OnConflictAction, Query, SelectItem,
    TableWithJoins,
};
use netabase_store::{Error, TableDef};

use super::rewrite::{
    all_of, arrow_cast, as_rows, assigned, case, column, equal, item, keyed, qualify, quoted,
    select, writable_columns,
};
use super::{RowRules, Target, collect, named_schema, plan_query, write_rows};
use crate::deadline::Deadline;
use crate::engine::Engine;
use crate::error::{error_from_datafusion, from_arrow, invalid};
use crate::local::blocking;
use crate::output::Output;
use crate::scoped::{Scoped, relation};
use crate::write::{refuse_duplicates, refuse_nulls, without_duplicates};

/// How the proposed rows are called in DO UPDATE.
const EXCLUDED: &str = "excluded";

/// Inserts the rows of a plan; `action` says what happens to rows whose keys are there.
pub(super) async fn insert(
    engine: &Engine,
    target: Target,
    (plan, given): (LogicalPlan, Vec<usize>),
    action: OnConflictAction,
    deadline: Deadline,
) -> Result<Output, Error> {
    let def = Arc::clone(&target.def);
    super::check_assignments(&def, &given, &plan)?;
    let rules = RowRules::of(engine, &def)?;
    let (rows, _) = collect(engine, &plan, deadline, "INSERT").await?;
    let whole = rows.iter().map(|rows| rules.complete(&given, rows));
    let whole = whole.collect::<Result<Vec<_>, _>>()?;
    let update = matches!(action, OnConflictAction::DoUpdate(_));
    // A row has to be one before it is in conflict with another.
    refuse_nulls(&def, &whole)?;
    let proposed = each_once(&def, whole, update).await?;
    let visible = def.visible_columns();
    let schema: SchemaRef = named_schema(&def)
        .project(&visible)
        .map_err(from_arrow)?
        .into();
    let seen = proposed.iter().map(|batch| batch.project(&visible));
    let seen = seen.collect::<Result<Vec<_>, _>>().map_err(from_arrow)?;
    let scoped = Scoped::default()
        .with(EXCLUDED, &schema, seen)
        .map_err(error_from_datafusion)?;
    let query = query(&def, &target.label, action)?;
    let plan = plan_query(engine, query, Some(scoped), &deadline).await?;
    let given = writable_columns(&def);
    let plan = as_rows(&def, plan, &given)?;
    let (rows, scans) = collect(engine, &plan, deadline, "INSERT").await?;
    let whole = rows.iter().map(|rows| rules.complete(&given, rows));
    let whole = whole.collect::<Result<Vec<_>, _>>()?;
    write_rows(engine, target, whole, scans).await
}

/// Of several rows with one key the first is proposed; an update could not tell which one to take.
async fn each_once(
    def: &Arc<TableDef>,
    rows: Vec<RecordBatch>,
    update: bool,
) -> Result<Vec<RecordBatch>, Error> {
    let def = Arc::clone(def);
    let work = move || {
        if update {
            refuse_duplicates(&def, &rows, &crate::write::NoOrigin)?;
            return Ok(rows);
        }
        let key = def.primary_key.clone();
        without_duplicates(&def, &rows, &key).map(|(rows, _)| rows)
    };
    blocking(work).await
}

/// The rows to write: proposed ones whose key is new, and updated ones.
fn query(def: &TableDef, label: &Ident, action: OnConflictAction) -> Result<Query, Error> {
    let excluded = quoted(EXCLUDED);
    let Some(key) = def.primary_key.first() else {
        return Err(invalid(format!("table \"{}\" has no key", def.name)));
    };
    let is_new = Expr::IsNull(Box::new(column(label, def.column_name(*key))));
    let (values, condition) = match action {
        OnConflictAction::DoNothing => (None, None),
        OnConflictAction::DoUpdate(DoUpdate {
            assignments,
            selection,
        }) => (Some(assigned(def, assignments)?), selection),
    };
    let updates = values.is_some();
    let mut values = values.unwrap_or_default();
    let mut projection: Vec<SelectItem> = Vec::new();
    for place in writable_columns(def) {
        let name = def.column_name(place);
        let proposed = column(&excluded, name);
        if !updates || def.primary_key.contains(&place) {
            projection.push(item(proposed, name));
            continue;
        }
        let mut value = match values.get_mut(place).and_then(Option::take) {
            Some(value) => value,
            None => column(label, name),
        };
        qualify(def, label, &mut value);
        let value = arrow_cast(value, def.schema.field(place).data_type())?;
        projection.push(item(case(vec![(is_new.clone(), proposed)], value), name));
    }
    let selection = match (updates, condition) {
        (false, _) => Some(is_new),
        (true, None) => None,
        (true, Some(mut condition)) => {
            qualify(def, label, &mut condition);
            Some(Expr::BinaryOp {
                left: Box::new(is_new),
                op: datafusion::sql::sqlparser::ast::BinaryOperator::Or,
                right: Box::new(Expr::Nested(Box::new(condition))),
            })
        }
    };
    let same_key = def.primary_key.iter().map(|place| {
        let name = def.column_name(*place);
        equal(column(label, name), column(&excluded, name))
    });
    let from = TableWithJoins {
        joins: vec![Join {
            relation: keyed(def, label.clone()),
            global: false,
            join_operator: JoinOperator::Left(JoinConstraint::On(all_of(same_key))),
        }],
        ..relation(EXCLUDED, excluded)
    };
    select(projection, vec![from], selection)
}
