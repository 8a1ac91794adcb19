//! Sources that look at the ones before them: names, and series of numbers.
//!
//! Invariant: what is changed would have no name that can be written, or would have failed.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Ident, SelectItem, SetExpr, TableAlias,
    TableAliasColumnDef, TableFactor, Visit, Visitor,
};

use super::aggregates::{call, call_of};
use super::rows::parsed;
use crate::statement::{ident_of, table_alias};

/// `LATERAL unnest(list)` is `unnest(list)`.
#[inline(never)]
pub(super) fn read_unnest(table: &mut TableFactor) {
    if let TableFactor::Function {
        name,
        args,
        with_ordinality,
        alias,
        ..
    } = table
        && let [part] = name.0.as_slice()
        && part.as_ident().map(ident_of).as_deref() == Some("unnest")
        && let Some(array_exprs) = args.iter().map(value_of).collect()
    {
        *table = TableFactor::UNNEST {
            alias: alias.take(),
            array_exprs,
            with_offset: false,
            with_offset_alias: None,
            with_ordinality: *with_ordinality,
        };
    }
}

/// `[a, b]` of columns is a call: of a literal, the planner looks for columns neither in the sources before
/// nor in the rows around a subquery.
pub(super) fn list_as_call(expr: &mut Expr) {
    if let Expr::Array(list) = expr
        && list.elem.iter().any(has_column)
    {
        *expr = call("make_array", std::mem::take(&mut list.elem));
    }
}

fn value_of(arg: &FunctionArg) -> Option<Expr> {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    }
}

/// The alias of `unnest(list) AS x` is also the name of its column.
pub(super) fn name_unnested(table: &mut TableFactor) {
    if let TableFactor::UNNEST {
        alias: Some(alias),
        array_exprs,
        with_offset: false,
        with_ordinality: false,
        ..
    } = table
        && array_exprs.len() == 1
    {
        name_column(alias);
    }
}

/// The alias of a source is also the name of its one column.
pub(super) fn name_column(alias: &mut TableAlias) {
    if alias.columns.is_empty() {
        let mut column = TableAliasColumnDef::from_name(ident_of(&alias.name));
        column.name.quote_style = Some('"');
        alias.columns.push(column);
    }
}

/// `unnest(list) WITH ORDINALITY`: the numbers are those of the list's places.
pub(super) fn number_unnested(table: &mut TableFactor) {
    let TableFactor::UNNEST {
        alias,
        array_exprs,
        with_offset: false,
        with_ordinality,
        ..
    } = table
    else {
        return;
    };
    let ([list], true) = (array_exprs.as_slice(), *with_ordinality) else {
        return;
    };
    let Ok(numbers) = parsed(&format!("generate_series(1, array_length({list}))")) else {
        return;
    };
    array_exprs.push(numbers);
    *with_ordinality = false;
    let alias = alias.get_or_insert_with(|| table_alias(Ident::new("unnest")));
    name_column(alias);
    if alias.columns.len() == 1 {
        alias
            .columns
            .push(TableAliasColumnDef::from_name("ordinality"));
    }
}

/// A column of another source that a LATERAL shows is called as it is there.
pub(super) fn name_columns(table: &mut TableFactor) {
    let TableFactor::Derived {
        lateral: true,
        subquery,
        ..
    } = table
    else {
        return;
    };
    let SetExpr::Select(select) = subquery.body.as_mut() else {
        return;
    };
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names)) = item
            && let Some(name) = names.last()
        {
            let alias = Ident::with_quote('"', ident_of(name));
            let expr = Expr::CompoundIdentifier(names.clone());
            *item = SelectItem::ExprWithAlias { expr, alias };
        }
    }
}

/// `generate_series(1, t.n)` of a column is the elements of a list, and so is one WITH ORDINALITY.
pub(super) fn series_of_columns(table: &mut TableFactor) {
    let (name, args, alias, ordinality) = match table {
        TableFactor::Table {
            name,
            args: Some(args),
            alias,
            with_ordinality,
            ..
        } => (name, &args.args, alias, *with_ordinality),
        TableFactor::Function {
            name,
            args,
            alias,
            with_ordinality,
            ..
        } => (name, &*args, alias, *with_ordinality),
        _ => return,
    };
    let called = match name.0.as_slice() {
        [part] => part.as_ident().map(ident_of),
        _ => None,
    };
    let Some(called) = called.filter(|name| name == "generate_series" || name == "range") else {
        return;
    };
    if !(ordinality || args.iter().any(names_a_column)) {
        return;
    }
    let mut alias = alias
        .clone()
        .unwrap_or_else(|| table_alias(Ident::new(&called)));
    name_column(&mut alias);
    let list = call_of(name.clone(), args.clone());
    *table = TableFactor::UNNEST {
        alias: Some(alias),
        array_exprs: vec![list],
        with_offset: false,
        with_offset_alias: None,
        with_ordinality: ordinality,
    };
}

fn names_a_column(arg: &FunctionArg) -> bool {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => has_column(expr),
        _ => false,
    }
}

fn has_column(expr: &Expr) -> bool {
    struct Columns;
    impl Visitor for Columns {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    expr.visit(&mut Columns).is_break()
}
