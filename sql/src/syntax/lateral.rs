//! Sources that look at the ones before them: names, and series of numbers.
//!
//! Invariant: what is changed would have no name that can be written, or would have failed.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
    SelectItem, SetExpr, TableAlias, TableAliasColumnDef, TableFactor, Visit, Visitor,
};

use super::rows::parsed;
use crate::statement::ident_of;

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

fn name_column(alias: &mut TableAlias) {
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
    let alias = alias.get_or_insert_with(|| TableAlias {
        explicit: true,
        name: Ident::new("unnest"),
        columns: Vec::new(),
        at: None,
    });
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

/// `generate_series(1, t.n)` of a column is the elements of a list.
pub(super) fn series_of_columns(table: &mut TableFactor) {
    let (name, args, alias) = match table {
        TableFactor::Table {
            name,
            args: Some(args),
            alias,
            ..
        } => (name, &args.args, alias),
        TableFactor::Function {
            name, args, alias, ..
        } => (name, &*args, alias),
        _ => return,
    };
    let called = match name.0.as_slice() {
        [part] => part.as_ident().map(ident_of),
        _ => None,
    };
    let Some(called) = called.filter(|name| name == "generate_series" || name == "range") else {
        return;
    };
    if !args.iter().any(names_a_column) {
        return;
    }
    let mut alias = alias.clone().unwrap_or_else(|| TableAlias {
        explicit: true,
        name: Ident::new(&called),
        columns: Vec::new(),
        at: None,
    });
    name_column(&mut alias);
    let list = Expr::Function(Function {
        name: name.clone(),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.clone(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    });
    *table = TableFactor::UNNEST {
        alias: Some(alias),
        array_exprs: vec![list],
        with_offset: false,
        with_offset_alias: None,
        with_ordinality: false,
    };
}

fn names_a_column(arg: &FunctionArg) -> bool {
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
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => expr.visit(&mut Columns).is_break(),
        _ => false,
    }
}
