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
    BinaryOperator, DoUpdate, Expr, Ident, Join, JoinConstraint, JoinOperator, OnConflictAction,
    Query, SelectItem, TableWithJoins,
};
use netabase_store::{Error, TableDef};

use super::rewrite::{
    all_of, assigned, case, column, equal, item, keyed, null, qualify, quoted, select,
    writable_columns,
};
use super::typed::{Typed, projected};
use super::{RowRules, Target, collect, named_schema, plan_query, write_rows};
use crate::deadline::Deadline;
use crate::engine::Engine;
use crate::error::{error_from_datafusion, from_arrow, invalid};
use crate::local::blocking;
use crate::output::Output;
use crate::scoped::{Scoped, relation};
use crate::write::{NoOrigin, key_batches, refuse_duplicates, refuse_nulls, without_duplicates};

/// Whether a row is new.
const IS_NEW: &str = "$new";
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
    let given = writable_columns(&def);
    let changes = Changes::of(&def, &target.label, action)?;
    let query = changes.query(&def, &target.label)?;
    let plan = plan_query(engine, query, Some(scoped), &deadline).await?;
    let plan = changes.rows(&def, plan, &given)?;
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
        let key = def.primary_key.clone();
        if update {
            // The rows have the names that are shown; keys have those that are stored.
            let keys = key_batches(&def, &rows, &key)?;
            refuse_duplicates(&def, &keys, &NoOrigin)?;
            return Ok(rows);
        }
        without_duplicates(&def, &rows, &key).map(|(rows, _)| rows)
    };
    blocking(work).await
}

/// What becomes of rows whose keys are there.
struct Changes {
    /// Values by the positions of their columns; `None` if such rows stay as they are.
    values: Option<Vec<Option<Expr>>>,
    condition: Option<Expr>,
}

impl Changes {
    fn of(def: &TableDef, label: &Ident, action: OnConflictAction) -> Result<Self, Error> {
        let OnConflictAction::DoUpdate(update) = action else {
            return Ok(Self {
                values: None,
                condition: None,
            });
        };
        let DoUpdate {
            assignments,
            mut selection,
        } = update;
        let mut values = assigned(def, assignments)?;
        let given = values.iter_mut().flatten().chain(&mut selection);
        given.for_each(|expr| qualify(def, label, expr));
        Ok(Self {
            values: Some(values),
            condition: selection,
        })
    }

    /// A query for the rows to write: whether each is new, and what it becomes. A value that is set has
    /// a column of its own, so that its type is seen.
    fn query(&self, def: &TableDef, label: &Ident) -> Result<Query, Error> {
        let excluded = quoted(EXCLUDED);
        let Some(key) = def.primary_key.first() else {
            return Err(invalid(format!("table \"{}\" has no key", def.name)));
        };
        let is_new = Expr::IsNull(Box::new(column(label, def.column_name(*key))));
        let mut projection: Vec<SelectItem> = vec![item(is_new.clone(), IS_NEW)];
        for place in writable_columns(def) {
            let name = def.column_name(place);
            let proposed = column(&excluded, name);
            // A key may be equal and written otherwise, as 0.0 and -0.0 are: that of the row that is there stays.
            let proposed = match def.primary_key.contains(&place) {
                true => case(vec![(is_new.clone(), proposed)], column(label, name)),
                false => proposed,
            };
            projection.push(item(proposed, &proposed_name(place)));
            let value = self.values.as_ref().map(|values| values.get(place));
            let value = match value {
                Some(Some(Some(value))) => value.clone(),
                Some(_) if !def.primary_key.contains(&place) => column(label, name),
                _ => continue,
            };
            // Values are for rows that are there alone, and may fail for others.
            let value = case(vec![(is_new.clone(), null())], value);
            projection.push(item(value, &value_name(place)));
        }
        let selection = match (&self.values, &self.condition) {
            (None, _) => Some(is_new),
            (Some(_), None) => None,
            (Some(_), Some(condition)) => Some(Expr::BinaryOp {
                left: Box::new(is_new),
                op: BinaryOperator::Or,
                right: Box::new(Expr::Nested(Box::new(condition.clone()))),
            }),
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

    /// The rows of that query, in the types of the table.
    fn rows(
        &self,
        def: &TableDef,
        query: LogicalPlan,
        given: &[usize],
    ) -> Result<LogicalPlan, Error> {
        let rows = Typed::of(def, &query);
        let mut row = Vec::with_capacity(given.len());
        for &place in given {
            let proposed = rows.value(place, &proposed_name(place))?;
            let has_value = self.values.is_some() && !def.primary_key.contains(&place);
            let becomes = match has_value {
                true => {
                    let value = rows.value(place, &value_name(place))?;
                    Typed::case(vec![(rows.column(IS_NEW)?, proposed)], value)
                }
                false => proposed,
            };
            row.push(becomes.alias(def.column_name(place)));
        }
        projected(query, row)
    }
}

fn proposed_name(place: usize) -> String {
    format!("$proposed{place}")
}

fn value_name(place: usize) -> String {
    format!("$value{place}")
}
