//! UPDATE, INSERT of a query, and DELETE with other tables, as queries.
//!
//! Idea: an UPDATE writes whole rows, selected from the table and whatever else it names; a DELETE with
//! USING removes the keys of a query. So joins and subqueries mean what they mean in a query.
//! Invariants: only rows that the query finds are updated, because their keys come from the table
//! itself and cannot be assigned. A query is planned by itself, and its columns are cast afterwards:
//! DataFusion's planner of INSERT casts every VALUES in it, by position, to the table's columns.
//! Non-goal: writing.

use std::ops::ControlFlow;

use datafusion::common::{Column, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr as PlanExpr, ExprSchemable, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::{
    Assignment, AssignmentTarget, Delete, Expr, FromTable, Ident, Insert, ObjectName, Query,
    Select, SelectItem, SetExpr, Statement, TableFactor, TableWithJoins, Update,
    UpdateTableFromKind, Visit, Visitor,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use netabase_store::{Error, TableDef};

use crate::error::{error_from_datafusion, invalid, not_found};
use crate::statement::{ident_of, refuse_given};

/// The table that a statement changes, as it is named there.
pub(crate) struct Target {
    /// Its name.
    pub(crate) name: ObjectName,
    /// How its columns are qualified.
    qualifier: Vec<Ident>,
    from: TableWithJoins,
}

impl Target {
    /// Fails unless it is a table, perhaps with an alias, and perhaps joined to others.
    fn of(from: TableWithJoins) -> Result<Self, Error> {
        let TableFactor::Table {
            name,
            alias,
            args: None,
            ..
        } = &from.relation
        else {
            return Err(invalid(format!(
                "{} cannot be changed: name a table",
                from.relation
            )));
        };
        let parts = || name.0.iter().filter_map(|part| part.as_ident().cloned());
        let qualifier = match alias {
            Some(alias) if alias.columns.is_empty() => vec![alias.name.clone()],
            Some(alias) => {
                return Err(invalid(format!(
                    "the columns of {name} cannot be renamed here: write AS {}",
                    alias.name
                )));
            }
            None => parts().collect(),
        };
        Ok(Self {
            name: name.clone(),
            qualifier,
            from,
        })
    }

    fn column(&self, name: &str) -> Expr {
        let mut parts = self.qualifier.clone();
        parts.push(quoted(name));
        Expr::CompoundIdentifier(parts)
    }
}

fn quoted(name: &str) -> Ident {
    Ident::with_quote('"', name)
}

/// Refuses what the planner would pass over in silence, anywhere in a statement.
pub(crate) fn check_tables(statement: &Statement) -> Result<(), Error> {
    match statement.visit(&mut TableChecker) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct TableChecker;

impl Visitor for TableChecker {
    type Break = Error;

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<Error> {
        const WAY_OUT: &str = "choose rows with WHERE";
        let checked = match table {
            TableFactor::Table {
                args,
                version,
                with_ordinality,
                partitions,
                json_path,
                sample,
                ..
            } => refuse_given(
                "",
                &[
                    ("TABLESAMPLE", sample.is_some(), WAY_OUT),
                    ("FOR … AS OF", version.is_some(), WAY_OUT),
                    ("PARTITION", !partitions.is_empty(), WAY_OUT),
                    ("a path behind a table", json_path.is_some(), WAY_OUT),
                    (
                        "WITH ORDINALITY",
                        *with_ordinality && args.is_none(),
                        WAY_OUT,
                    ),
                ],
            ),
            TableFactor::Derived { sample, .. } => {
                refuse_given("", &[("TABLESAMPLE", sample.is_some(), WAY_OUT)])
            }
            _ => Ok(()),
        };
        match checked {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// The table that an UPDATE changes. Fails for clauses that would change its meaning.
pub(crate) fn target_of_update(update: &Update) -> Result<Target, Error> {
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
            "UPDATE … RETURNING",
            update.returning.is_some(),
            "SELECT the rows afterwards",
        ),
        (
            "UPDATE … OUTPUT",
            update.output.is_some(),
            "SELECT the rows afterwards",
        ),
        ("UPDATE OR …", update.or.is_some(), "leave it out"),
        (
            "UPDATE FROM … SET",
            matches!(update.from, Some(UpdateTableFromKind::BeforeSet(_))),
            "write UPDATE t SET … FROM …",
        ),
    ];
    refuse_given("", &clauses)?;
    Target::of(update.table.clone())
}

/// The query for the rows that an UPDATE makes, with all columns of the table. Fails with `NotFound`
/// for unknown columns, and with `InvalidInput` for columns of the primary key and those that are
/// assigned twice.
pub(crate) fn rows_of_update(
    def: &TableDef,
    target: Target,
    update: Update,
) -> Result<Statement, Error> {
    let mut assigned: Vec<Option<Expr>> = vec![None; def.schema.fields().len()];
    for assignment in update.assignments {
        for (name, value) in single(assignment)? {
            let column = assignable(def, &name)?;
            if let Some(place) = assigned.get_mut(column)
                && place.replace(value).is_some()
            {
                return Err(invalid(format!("column \"{name}\" is set twice")));
            }
        }
    }
    let columns = def.schema.fields().iter().map(|field| field.name());
    let projection = columns.zip(assigned).map(|(name, value)| {
        let expr = value.unwrap_or_else(|| target.column(name));
        SelectItem::ExprWithAlias {
            expr,
            alias: quoted(name),
        }
    });
    let others = match update.from {
        Some(UpdateTableFromKind::AfterSet(tables) | UpdateTableFromKind::BeforeSet(tables)) => {
            tables
        }
        None => Vec::new(),
    };
    let mut query = skeleton()?;
    let select = select_of(&mut query)?;
    select.projection = projection.collect();
    select.from = std::iter::once(target.from).chain(others).collect();
    select.selection = update.selection;
    Ok(Statement::Query(Box::new(query)))
}

/// An assignment, or those of `(a, b) = (1, 2)`, by the names of their columns.
fn single(assignment: Assignment) -> Result<Vec<(String, Expr)>, Error> {
    let pairs = match (assignment.target, assignment.value) {
        (AssignmentTarget::ColumnName(name), value) => vec![(name, value)],
        (AssignmentTarget::Tuple(names), Expr::Tuple(values)) if names.len() == values.len() => {
            names.into_iter().zip(values).collect()
        }
        (AssignmentTarget::Tuple(names), value) => {
            return Err(invalid(format!(
                "SET of {} columns at once takes as many values, not {value}: write a = …, b = …",
                names.len()
            )));
        }
    };
    let named = |(name, value): (ObjectName, Expr)| match name.0.as_slice() {
        [part] => match part.as_ident() {
            Some(ident) => Ok((ident_of(ident), value)),
            None => Err(invalid(format!("{name} is not the name of a column"))),
        },
        _ => Err(invalid(format!(
            "SET {name}: columns of the changed table alone can be set; leave the table's name out"
        ))),
    };
    pairs.into_iter().map(named).collect()
}

fn column_of(def: &TableDef, name: &str) -> Result<usize, Error> {
    def.schema.index_of(name).map_err(|_| {
        not_found(format!(
            "column \"{name}\" does not exist in table \"{}\"",
            def.name
        ))
    })
}

fn assignable(def: &TableDef, name: &str) -> Result<usize, Error> {
    let column = column_of(def, name)?;
    if def.primary_key.contains(&column) {
        return Err(invalid(format!(
            "column \"{name}\" is part of the primary key of table \"{}\" and cannot be updated: a \
             row with another key is another row; INSERT it, and DELETE the old one",
            def.name
        )));
    }
    Ok(column)
}

/// The table that a DELETE changes, if it names others, too, or has an alias.
pub(crate) fn target_of_delete(delete: &Delete) -> Result<Option<Target>, Error> {
    let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = &delete.from;
    let [table] = tables.as_slice() else {
        return Ok(None);
    };
    let aliased = matches!(&table.relation, TableFactor::Table { alias: Some(_), .. });
    if delete.using.is_none() && !aliased {
        return Ok(None);
    }
    Target::of(table.clone()).map(Some)
}

/// The query for the primary keys that a DELETE removes; some may come several times.
pub(crate) fn keys_of_delete(
    def: &TableDef,
    target: Target,
    delete: Delete,
) -> Result<Statement, Error> {
    let names = def.primary_key.iter().filter_map(|&column| {
        let field = def.schema.fields().get(column)?;
        Some(field.name())
    });
    let projection = names.map(|name| SelectItem::ExprWithAlias {
        expr: target.column(name),
        alias: quoted(name),
    });
    let mut query = skeleton()?;
    let select = select_of(&mut query)?;
    select.projection = projection.collect();
    let others = delete.using.into_iter().flatten();
    select.from = std::iter::once(target.from).chain(others).collect();
    select.selection = delete.selection;
    Ok(Statement::Query(Box::new(query)))
}

/// The query of an INSERT that is more than a list of values, and which columns of the table its
/// columns become.
pub(crate) fn query_of_insert(
    def: &TableDef,
    insert: &Insert,
) -> Result<Option<(Statement, Vec<usize>)>, Error> {
    let Some(query) = &insert.source else {
        return Ok(None);
    };
    if matches!(query.body.as_ref(), SetExpr::Values(_)) && query.with.is_none() {
        return Ok(None);
    }
    let mut columns = Vec::with_capacity(insert.columns.len());
    for name in &insert.columns {
        let ident = match name.0.as_slice() {
            [part] => part.as_ident(),
            _ => None,
        };
        let ident = ident.ok_or_else(|| invalid(format!("{name} is not the name of a column")))?;
        let column = column_of(def, &ident_of(ident))?;
        if columns.contains(&column) {
            return Err(invalid(format!("column {name} is listed twice")));
        }
        columns.push(column);
    }
    if columns.is_empty() {
        columns = (0..def.schema.fields().len()).collect();
    }
    Ok(Some((Statement::Query(query.clone()), columns)))
}

/// Rows of the table out of a query whose columns become these columns of it; the others are NULL.
/// Fails with `InvalidInput` if they are not as many, or cannot be cast.
pub(crate) fn as_rows(
    def: &TableDef,
    query: LogicalPlan,
    columns: &[usize],
) -> Result<LogicalPlan, Error> {
    let schema = query.schema().clone();
    if schema.fields().len() != columns.len() {
        return Err(invalid(format!(
            "{} columns of table \"{}\" are to be written, but the query gives {}",
            columns.len(),
            def.name,
            schema.fields().len()
        )));
    }
    let row = def
        .schema
        .fields()
        .iter()
        .enumerate()
        .map(|(index, field)| {
            let value = match columns.iter().position(|column| *column == index) {
                Some(place) => PlanExpr::Column(Column::from(schema.qualified_field(place))),
                None => PlanExpr::Literal(ScalarValue::Null, None),
            };
            let value = value.cast_to(field.data_type(), &schema)?;
            Ok(value.alias(field.name()))
        });
    let row = row.collect::<Result<Vec<_>, DataFusionError>>();
    row.and_then(|row| LogicalPlanBuilder::from(query).project(row)?.build())
        .map_err(error_from_datafusion)
}

/// A query to be filled in: most of its parts are empty.
fn skeleton() -> Result<Query, Error> {
    match parsed("SELECT 1")? {
        Some(Statement::Query(query)) => Ok(*query),
        _ => Err(no_skeleton()),
    }
}

fn select_of(query: &mut Query) -> Result<&mut Select, Error> {
    match query.body.as_mut() {
        SetExpr::Select(select) => Ok(select),
        _ => Err(no_skeleton()),
    }
}

fn parsed(text: &str) -> Result<Option<Statement>, Error> {
    let statements = Parser::parse_sql(&GenericDialect {}, text);
    Ok(statements.map_err(|_| no_skeleton())?.pop())
}

fn no_skeleton() -> Error {
    invalid("this statement could not be read as a query: please report it")
}
