//! The name of a table where a value is expected: its row, as PostgreSQL and DuckDB have it.
//!
//! Idea: a name that the planner did not find as a column, and that a table of the same SELECT has, is
//! written as `named_struct('a', t.a, …)`; and so is the `t.*` of a call. Invariants: a column of that name
//! goes first, in each SELECT for itself; the row of a side of a join that has none is NULL. Non-goal: tables of
//! the SELECT around, and their columns.

use std::collections::HashSet;
use std::ops::ControlFlow;

use arrow::datatypes::FieldRef;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident,
    JoinOperator, Query, Select, SelectItem, SetExpr, TableFactor, TableWithJoins, Visit, VisitMut,
    Visitor, With,
};
use netabase_store::Error;

use super::{Look, MAX_PLACES, columns_of, find_in, put_in, selects_of, too_many};
use crate::dml::parse_expr;
use crate::error::invalid;
use crate::statement::{ident_of, label_of};
use crate::syntax::outside_queries;

/// A table that is named as a row.
struct Named {
    source: TableFactor,
    label: String,
    /// Whether a row of the SELECT may have none of it.
    may_lack: bool,
    /// Everything in FROM, as it is called.
    beside: Vec<(String, TableFactor)>,
    with: Option<With>,
}

/// What is looked for.
#[derive(Debug, Clone, Copy)]
enum Wanted<'a> {
    /// `t.*` in a call.
    Stars,
    /// That, and this name.
    Name(&'a str),
}

/// Writes out the `t.*` of calls.
pub(super) async fn count_rows<T: VisitMut + Visit>(
    look: &Look<'_>,
    statement: &mut T,
) -> Result<(), Error> {
    write_out(look, statement, Wanted::Stars).await.map(|_| ())
}

/// Writes out a name that a planning did not find; whether there is a table of that name.
pub(super) async fn settle<T: VisitMut + Visit>(
    look: &Look<'_>,
    statement: &mut T,
    error: &DataFusionError,
) -> Result<bool, Error> {
    let DataFusionError::SchemaError(error, _) = error.find_root() else {
        return Ok(false);
    };
    match error.as_ref() {
        SchemaError::FieldNotFound { field, .. } if field.relation.is_none() => {
            write_out(look, statement, Wanted::Name(&field.name)).await
        }
        _ => Ok(false),
    }
}

/// Whether a name in a statement may be that of a table that it reads.
pub(crate) fn may_name_rows(statement: &impl Visit) -> bool {
    #[derive(Default)]
    struct Names {
        tables: HashSet<String>,
        values: HashSet<String>,
    }
    impl Visitor for Names {
        type Break = ();
        fn pre_visit_table_factor(&mut self, source: &TableFactor) -> ControlFlow<()> {
            self.tables.extend(label_of(source).map(ident_of));
            ControlFlow::Continue(())
        }
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if let Expr::Identifier(name) = expr {
                self.values.insert(ident_of(name));
            }
            ControlFlow::Continue(())
        }
    }
    let mut names = Names::default();
    // It never breaks.
    let _ = statement.visit(&mut names);
    !names.tables.is_disjoint(&names.values)
}

async fn write_out<T: VisitMut + Visit>(
    look: &Look<'_>,
    statement: &mut T,
    wanted: Wanted<'_>,
) -> Result<bool, Error> {
    for done in 0..MAX_PLACES {
        let found = find_in(statement, |query, ctes| {
            let (named, _) = first_of(query, wanted)?;
            Some(ctes.with().map(|with| Named { with, ..named }))
        })?;
        let Some(named) = found.transpose()? else {
            return Ok(done > 0);
        };
        let columns = columns_of(look, &named.source, named.with.clone()).await?;
        let Ok(columns) = columns else {
            return Ok(done > 0);
        };
        let row = match column_of(look, &named, wanted).await? {
            Some(column) => column,
            None => row_of(&named, &columns)?,
        };
        put_in(statement, |query| {
            let (_, at) = first_of(query, wanted)?;
            put(query, at, (&named, wanted, &row));
            Some(())
        });
    }
    Err(too_many())
}

/// The column that goes before a row of its name.
async fn column_of(
    look: &Look<'_>,
    named: &Named,
    wanted: Wanted<'_>,
) -> Result<Option<Expr>, Error> {
    let Wanted::Name(name) = wanted else {
        return Ok(None);
    };
    for (label, source) in &named.beside {
        let columns = columns_of(look, source, named.with.clone()).await?;
        if columns.is_ok_and(|columns| columns.iter().any(|column| column.name() == name)) {
            let path = [label, name].map(|part| Ident::with_quote('"', part));
            return Ok(Some(Expr::CompoundIdentifier(path.into())));
        }
    }
    Ok(None)
}

/// The first table of a query that is named as a row, and which of its SELECTs does it.
fn first_of(query: &mut Query, wanted: Wanted<'_>) -> Option<(Named, usize)> {
    let is_select = matches!(query.body.as_ref(), SetExpr::Select(_));
    let mut order = query.order_by.as_mut().filter(|_| is_select);
    for (at, select) in selects_of(&mut query.body).into_iter().enumerate() {
        let labels = labels_of(select);
        for (tables, nth, label) in &labels {
            let mut finder = Namer::new(label, wanted, None);
            visit_values(select, &mut finder);
            if let Some(order) = &mut order
                && !is_called(select, label)
            {
                finder.look(*order);
            }
            if !finder.found {
                continue;
            }
            let beside = labels.iter().filter_map(|(tables, nth, label)| {
                let source = sources(select.from.get(*tables)?).nth(*nth)?;
                Some((label.clone(), source.clone()))
            });
            let tables = select.from.get(*tables)?;
            let named = Named {
                source: sources(tables).nth(*nth)?.clone(),
                label: label.clone(),
                may_lack: may_lack(tables, *nth),
                beside: beside.collect(),
                with: None,
            };
            return Some((named, at));
        }
    }
    None
}

/// Whether a SELECT calls something that it gives so, which ORDER BY then means.
fn is_called(select: &Select, name: &str) -> bool {
    let mut items = select.projection.iter();
    items.any(
        |item| matches!(item, SelectItem::ExprWithAlias { alias, .. } if ident_of(alias) == name),
    )
}

/// What the sources of a SELECT are called, and where they are.
fn labels_of(select: &Select) -> Vec<(usize, usize, String)> {
    let tables = select.from.iter().enumerate();
    let labels = tables.flat_map(|(at, tables)| {
        let sources = sources(tables).enumerate();
        sources.filter_map(move |(nth, source)| Some((at, nth, label_of(source).map(ident_of)?)))
    });
    labels.collect()
}

fn sources(tables: &TableWithJoins) -> impl Iterator<Item = &TableFactor> {
    let joined = tables.joins.iter().map(|join| &join.relation);
    std::iter::once(&tables.relation).chain(joined)
}

/// Whether a source has no row for some of those that its joins give.
fn may_lack(tables: &TableWithJoins, nth: usize) -> bool {
    use JoinOperator::{FullOuter, Left, LeftOuter, Right, RightOuter};
    let mut joins = tables.joins.iter().enumerate();
    joins.any(|(at, join)| match join.join_operator {
        Left(_) | LeftOuter(_) => at + 1 == nth,
        Right(_) | RightOuter(_) => at + 1 > nth,
        FullOuter(_) => at + 1 >= nth,
        _ => false,
    })
}

/// A row as an expression over its columns.
fn row_of(named: &Named, columns: &[FieldRef]) -> Result<Expr, Error> {
    let label = format!("\"{}\"", named.label.replace('"', "\"\""));
    let column = |field: &FieldRef| format!("{label}.\"{}\"", field.name().replace('"', "\"\""));
    let fields = columns.iter().map(|field| {
        let name = field.name().replace('\'', "''");
        format!("'{name}', {}", column(field))
    });
    let row = format!("named_struct({})", fields.collect::<Vec<_>>().join(", "));
    if !named.may_lack {
        return parse_expr(&row);
    }
    match columns.iter().find(|field| !field.is_nullable()) {
        Some(key) => parse_expr(&format!(
            "CASE WHEN {} IS NOT NULL THEN {row} END",
            column(key)
        )),
        None => Err(invalid(format!(
            "\"{0}\" as a row: none of its columns is NOT NULL, so that a row of NULLs looks like one that the \
             join did not find; name the columns, like {0}.x",
            named.label
        ))),
    }
}

fn put(query: &mut Query, at: usize, (named, wanted, row): (&Named, Wanted<'_>, &Expr)) {
    let mut namer = Namer::new(&named.label, wanted, Some((row, named.may_lack)));
    let mut is_select = matches!(query.body.as_ref(), SetExpr::Select(_));
    if let Some(select) = selects_of(&mut query.body).into_iter().nth(at) {
        is_select &= !is_called(select, &named.label);
        for item in &mut select.projection {
            name_item(item, &mut namer);
        }
        visit_values(select, &mut namer);
    }
    if is_select && let Some(order) = &mut query.order_by {
        namer.look(order);
    }
}

/// Puts the row into an item, which is called as it was.
fn name_item(item: &mut SelectItem, namer: &mut Namer<'_>) {
    let SelectItem::UnnamedExpr(expr) = item else {
        return;
    };
    let name = match namer.is_named(expr) {
        true => namer.label.to_owned(),
        false => expr.to_string().replace('"', ""),
    };
    namer.found = false;
    namer.look(expr);
    if namer.found {
        let alias = Ident::with_quote('"', name);
        let expr = std::mem::replace(expr, Expr::Identifier(alias.clone()));
        *item = SelectItem::ExprWithAlias { expr, alias };
    }
}

/// Visits what a SELECT computes; sources in FROM have other names.
fn visit_values(select: &mut Select, namer: &mut Namer<'_>) {
    namer.look(&mut select.projection);
    let conditions = [
        &mut select.selection,
        &mut select.having,
        &mut select.qualify,
    ];
    for condition in conditions.into_iter().flatten() {
        namer.look(condition);
    }
    if let GroupByExpr::Expressions(groups, _) = &mut select.group_by {
        namer.look(groups);
    }
}

/// Finds the name of a row, or puts its expression there.
struct Namer<'a> {
    label: &'a str,
    wanted: Wanted<'a>,
    /// The expression, and whether it may be NULL.
    row: Option<(&'a Expr, bool)>,
    found: bool,
}

impl<'a> Namer<'a> {
    fn new(label: &'a str, wanted: Wanted<'a>, row: Option<(&'a Expr, bool)>) -> Self {
        Self {
            label,
            wanted,
            row,
            found: false,
        }
    }

    /// Looks at a part of a statement; queries in it have names of their own.
    fn look(&mut self, part: &mut impl VisitMut) {
        outside_queries(part, |expr| {
            if self.is_named(expr) {
                self.found = true;
                if let Some((row, _)) = self.row {
                    *expr = row.clone();
                }
            } else if let Expr::Function(function) = expr {
                self.call(function);
            }
        });
    }

    fn is_named(&self, expr: &Expr) -> bool {
        match (expr, self.wanted) {
            (Expr::Identifier(name), Wanted::Name(wanted)) => {
                wanted == self.label && ident_of(name) == self.label
            }
            _ => false,
        }
    }

    /// The `t.*` of a call.
    fn call(&mut self, function: &mut Function) {
        let name = function.name.to_string().to_ascii_lowercase();
        let FunctionArguments::List(list) = &mut function.args else {
            return;
        };
        let counts = name == "count" && list.args.len() == 1 && list.duplicate_treatment.is_none();
        for arg in &mut list.args {
            let FunctionArg::Unnamed(arg) = arg else {
                continue;
            };
            let FunctionArgExpr::QualifiedWildcard(table) = arg else {
                continue;
            };
            let table = table.0.last().and_then(|part| part.as_ident());
            if table.map(ident_of).as_deref() != Some(self.label) {
                continue;
            }
            self.found = true;
            if let Some((row, may_lack)) = self.row {
                *arg = match counts && !may_lack {
                    true => FunctionArgExpr::Wildcard,
                    false => FunctionArgExpr::Expr(row.clone()),
                };
            }
        }
    }
}
