//! INSERT: from the statement to rows of some columns.
//!
//! Invariants: a list of values is planned by DataFusion's own INSERT, which casts each value to its
//! column by itself; every other query is planned alone, and its columns are cast afterwards, because
//! that planner casts any VALUES inside, by position. Non-goal: what happens to a row whose key is
//! there already, beyond handing it on.

use std::sync::Arc;

use datafusion::logical_expr::{Expr as PlanExpr, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    ConflictTarget, Expr, Insert, ObjectName, ObjectNamePart, OnConflict, OnConflictAction,
    OnInsert, Query, SelectItem, SetExpr, SetOperator, SetQuantifier, SqliteOnConflict,
    Statement as SqlStatement, TableObject, Value,
};
use netabase_store::{Error, TableDef};

use super::rewrite::{
    as_rows, default_of, generated_error, is_default, is_generated, listed_column, quoted,
    writable_columns,
};
use super::with::nothing;
use super::{Target, plan_query, upsert, write_query};
use crate::ddl;
use crate::deadline::Deadline;
use crate::engine::Engine;
use crate::error::{error_from_datafusion, invalid};
use crate::exact;
use crate::output::Output;
use crate::provenance;
use crate::statement::{check_insert, ident_of};
use crate::syntax::{call, cast_twice, has_query};

/// `INSERT`.
pub(super) async fn insert(engine: &Engine, insert: Insert) -> Result<Output, Error> {
    let deadline = engine.deadline();
    let (target, insert, conflict) = begin(engine, insert)?;
    let rows = source(engine, &target.def, insert, &deadline).await?;
    match conflict {
        None => write_query(engine, target, rows, deadline).await,
        Some(action) => upsert::insert(engine, target, rows, action, deadline).await,
    }
}

/// The query for the rows of an INSERT, without what becomes of those whose key is there.
pub(super) async fn query_of(
    engine: &Engine,
    insert: Insert,
    deadline: &Deadline,
) -> Result<LogicalPlan, Error> {
    let (target, insert, _) = begin(engine, insert)?;
    let (plan, _) = source(engine, &target.def, insert, deadline).await?;
    Ok(plan)
}

/// The table of an INSERT, its rows, and what is done about a key that is there.
fn begin(
    engine: &Engine,
    mut insert: Insert,
) -> Result<(Target, Insert, Option<OnConflictAction>), Error> {
    check_insert(&insert)?;
    let TableObject::TableName(name) = &insert.table else {
        return Err(invalid("INSERT names no table"));
    };
    let def = ddl::table_to_write(engine, name)?;
    let label = match &insert.table_alias {
        Some(alias) => alias.alias.clone(),
        None => quoted(&def.table_name()),
    };
    insert.table = TableObject::TableName(engine.in_path(name));
    let target = Target {
        def: Arc::clone(&def),
        label,
        returning: insert.returning.take(),
    };
    let conflict = conflict_of(&def, &mut insert)?;
    Ok((target, insert, conflict))
}

/// What is to be done with a row whose key is there; `None`: replace it.
fn conflict_of(def: &TableDef, insert: &mut Insert) -> Result<Option<OnConflictAction>, Error> {
    match (insert.on.take(), insert.or.take()) {
        (None, None | Some(SqliteOnConflict::Replace)) => Ok(None),
        (None, Some(SqliteOnConflict::Ignore)) => Ok(Some(OnConflictAction::DoNothing)),
        (None, Some(other)) => Err(invalid(format!(
            "INSERT {other} is not supported: INSERT replaces the row that has the same primary key, and \
             ON CONFLICT DO NOTHING keeps it"
        ))),
        (Some(OnInsert::OnConflict(clause)), None) => {
            check_conflict_target(def, &clause)?;
            Ok(Some(clause.action))
        }
        (Some(_), _) => Err(invalid(
            "this clause of INSERT is not supported: write ON CONFLICT (key) DO UPDATE SET …",
        )),
    }
}

/// Conflicts are found by the primary key alone.
fn check_conflict_target(def: &TableDef, clause: &OnConflict) -> Result<(), Error> {
    let key: Vec<&str> = def
        .primary_key
        .iter()
        .map(|column| def.column_name(*column))
        .collect();
    if def.primary_key.iter().any(|column| def.is_hidden(*column)) {
        return Err(invalid(format!(
            "table \"{}\" has no primary key, so that no row is in conflict with another: leave ON \
             CONFLICT out",
            def.name
        )));
    }
    let fits = match &clause.conflict_target {
        None => true,
        Some(ConflictTarget::Columns(columns)) => {
            let mut names: Vec<String> = columns.iter().map(ident_of).collect();
            let mut key: Vec<String> = key.iter().map(|name| (*name).to_owned()).collect();
            names.sort_unstable();
            key.sort_unstable();
            names == key
        }
        Some(ConflictTarget::OnConstraint(name)) => {
            name.to_string().replace('"', "") == format!("{}_pkey", def.table_name())
        }
    };
    if fits {
        return Ok(());
    }
    Err(invalid(format!(
        "ON CONFLICT of table \"{}\" is decided by its primary key: write ON CONFLICT ({})",
        def.name,
        key.join(", ")
    )))
}

/// The rows of an INSERT, as a plan that gives some columns of the table.
async fn source(
    engine: &Engine,
    def: &Arc<TableDef>,
    mut insert: Insert,
    deadline: &Deadline,
) -> Result<(LogicalPlan, Vec<usize>), Error> {
    let listed = match insert.columns.is_empty() {
        true => None,
        false => Some(listed_columns(def, &insert.columns)?),
    };
    let Some(mut query) = insert.source.take() else {
        // DEFAULT VALUES: one row without columns.
        let row = LogicalPlanBuilder::empty(true);
        let row = row
            .project(Vec::<PlanExpr>::new())
            .and_then(|row| row.build());
        return Ok((row.map_err(error_from_datafusion)?, Vec::new()));
    };
    bare(&mut query);
    let is_list = matches!(query.body.as_ref(), SetExpr::Values(_))
        && query.with.is_none()
        && !provenance::is_named(&query);
    if !is_list {
        with_digits(def, listed.as_deref(), &mut query.body);
        let plan = plan_query(engine, *query, None, deadline).await?;
        let width = plan.schema().fields().len();
        let given = listed.unwrap_or_else(|| columns_by_place(def, width));
        if let Some(column) = given.iter().find(|column| is_generated(def, **column)) {
            return Err(generated_error(def, *column));
        }
        return Ok((as_rows(def, plan, &given)?, given));
    }
    let given = fill_values(def, listed, &mut query)?;
    if given.is_empty() {
        return Err(invalid(
            "every value is DEFAULT: write INSERT INTO t DEFAULT VALUES, row by row",
        ));
    }
    insert.columns = given
        .iter()
        .map(|column| {
            let name = quoted(def.column_name(*column));
            ObjectName(vec![ObjectNamePart::Identifier(name)])
        })
        .collect();
    insert.source = Some(query);
    insert.table_alias = None;
    let statement = Statement::Statement(Box::new(SqlStatement::Insert(insert)));
    let plan = engine
        .plan_in(&engine.state()?, statement, deadline)
        .await?;
    Ok((given_columns(def, plan, &given)?, given))
}

/// Takes parentheses off, and a WITH that a list of values does not read: the values are cast one by one then.
fn bare(query: &mut Query) {
    while let SetExpr::Query(inner) = query.body.as_mut()
        && inner.with.is_none()
        && inner.order_by.is_none()
        && inner.limit_clause.is_none()
        && inner.fetch.is_none()
    {
        let body = std::mem::replace(inner.body.as_mut(), nothing());
        *query.body = body;
    }
    if matches!(query.body.as_ref(), SetExpr::Values(_)) && !has_query(query.body.as_ref()) {
        query.with = None;
    }
}

/// Lets numbers that a query gives to columns of DECIMAL be kept digit by digit. Where rows are told from each other
/// after that, as in UNION, they stay what they are.
fn with_digits(def: &TableDef, listed: Option<&[usize]>, body: &mut SetExpr) {
    let mut bodies = vec![body];
    while let Some(body) = bodies.pop() {
        match body {
            SetExpr::SetOperation {
                op: SetOperator::Union,
                set_quantifier: SetQuantifier::All,
                left,
                right,
            } => bodies.extend([left.as_mut(), right.as_mut()]),
            SetExpr::Query(query) => bodies.push(&mut query.body),
            SetExpr::Select(select) => items_with_digits(def, listed, &mut select.projection),
            _ => {}
        }
    }
}

fn items_with_digits(def: &TableDef, listed: Option<&[usize]>, items: &mut [SelectItem]) {
    let given = match listed {
        Some(listed) => listed.to_vec(),
        None => columns_by_place(def, items.len()),
    };
    let is_star = |item: &SelectItem| {
        matches!(
            item,
            SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)
        )
    };
    if items.len() != given.len() || items.iter().any(is_star) {
        return;
    }
    for (item, column) in items.iter_mut().zip(given) {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            let value = std::mem::replace(expr, Expr::Value(Value::Null.into()));
            *expr = exact::for_column(value, def.schema.field(column).data_type());
        }
    }
}

fn listed_columns(def: &TableDef, names: &[ObjectName]) -> Result<Vec<usize>, Error> {
    let mut columns = Vec::with_capacity(names.len());
    for name in names {
        let column = listed_column(def, name)?;
        if columns.contains(&column) {
            return Err(invalid(format!("column {name} is listed twice")));
        }
        columns.push(column);
    }
    Ok(columns)
}

/// The columns that values without a list of columns are for: all, or all that are not generated.
fn columns_by_place(def: &TableDef, width: usize) -> Vec<usize> {
    let writable = writable_columns(def);
    match writable.len() == width {
        true => writable,
        false => def.visible_columns(),
    }
}

/// The columns that a list names; those that so many values are for, if it is empty.
pub(super) fn columns_for(
    def: &TableDef,
    names: &[ObjectName],
    width: usize,
) -> Result<Vec<usize>, Error> {
    match names.is_empty() {
        true => Ok(columns_by_place(def, width)),
        false => listed_columns(def, names),
    }
}

/// The values of a row with the columns that they are for. What DEFAULT means is written out, and
/// generated columns, which have no values, are left out.
pub(super) fn filled(
    def: &TableDef,
    columns: &[usize],
    values: Vec<Expr>,
) -> Result<Vec<(usize, Expr)>, Error> {
    if values.len() != columns.len() {
        return Err(invalid(format!(
            "a row has {} values for {} columns of table \"{}\": {}",
            values.len(),
            columns.len(),
            def.name,
            names(def, columns)
        )));
    }
    let mut filled = Vec::with_capacity(columns.len());
    for (&column, value) in columns.iter().zip(values) {
        match (is_generated(def, column), is_default(&value)) {
            (true, true) => {}
            (true, false) => return Err(generated_error(def, column)),
            (false, true) => filled.push((column, default_of(def, column)?)),
            (false, false) => filled.push((column, value)),
        }
    }
    Ok(filled)
}

/// Writes out what DEFAULT means, and returns the columns that have values; generated ones have none.
fn fill_values(
    def: &TableDef,
    listed: Option<Vec<usize>>,
    query: &mut Query,
) -> Result<Vec<usize>, Error> {
    let SetExpr::Values(values) = query.body.as_mut() else {
        return Ok(listed.unwrap_or_default());
    };
    let width = values.rows.first().map_or(0, |row| row.content.len());
    let columns = listed.unwrap_or_else(|| columns_by_place(def, width));
    for row in &mut values.rows {
        let filled = filled(def, &columns, std::mem::take(&mut row.content))?;
        let values = filled.into_iter().map(|(column, value)| {
            exact::for_column(with_own_cast(value), def.schema.field(column).data_type())
        });
        row.content = values.collect();
    }
    let has_values = columns.iter().filter(|column| !is_generated(def, **column));
    Ok(has_values.copied().collect())
}

/// A CAST that is written is told from the one that the planner puts around every value, or into a query that is one.
fn with_own_cast(value: Expr) -> Expr {
    match value {
        Expr::Nested(inner) => with_own_cast(*inner),
        Expr::Subquery(_) => call("coalesce", vec![value]),
        value => cast_twice(value),
    }
}

fn names(def: &TableDef, columns: &[usize]) -> String {
    let names = columns.iter().map(|column| def.column_name(*column));
    names.collect::<Vec<_>>().join(", ")
}

/// The input of a planned INSERT, cut to the columns that were given.
fn given_columns(def: &TableDef, plan: LogicalPlan, given: &[usize]) -> Result<LogicalPlan, Error> {
    let LogicalPlan::Dml(statement) = plan else {
        return Err(invalid(
            "this INSERT could not be planned: please report it",
        ));
    };
    let input = statement.input.as_ref();
    let visible = def.visible_columns();
    if given == visible {
        return Ok(input.clone());
    }
    // The casts are in the projection at the top: it is cut, so that what it casts is still seen.
    let LogicalPlan::Projection(projection) = input else {
        return Err(invalid(
            "this INSERT could not be planned: please report it",
        ));
    };
    let kept = given.iter().filter_map(|column| {
        let place = visible.iter().position(|other| other == column)?;
        projection.expr.get(place).cloned()
    });
    LogicalPlanBuilder::from(projection.input.as_ref().clone())
        .project(kept.collect::<Vec<_>>())
        .and_then(LogicalPlanBuilder::build)
        .map_err(error_from_datafusion)
}
