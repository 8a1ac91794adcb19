//! What is read here besides what DataFusion plans.
//!
//! Purpose: [`mend`] turns syntax that the planner refuses, or takes for something else, into syntax
//! that means the same and is planned: `a.b[1].c`, `SIMILAR TO`, `FETCH FIRST`.
//!
//! Invariant: what is changed would have failed, or would have meant something else than in PostgreSQL.

mod dialect;
mod explain;
mod kept;
mod merged;
mod similar;

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, Expr, LimitClause, Query, Select, Statement as SqlStatement,
    Subscript, TableFactor, Value, VisitMut, VisitorMut,
};
use netabase_store::Error;

use crate::error::invalid;
use crate::statement::ident_of;

pub(crate) use dialect::NetabaseDialect;
pub(crate) use explain::tokens as explain_tokens;
pub(crate) use kept::{kept_expr, kept_query, read_expr};

/// Makes a statement one that is planned as it is meant. Fails for what would be planned wrongly.
pub(crate) fn mend(statement: &mut Statement) -> Result<(), Error> {
    match statement {
        Statement::Statement(inner) => match inner.visit(&mut Mender) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(error) => Err(error),
        },
        Statement::Explain(explain) => mend(&mut explain.statement),
        _ => Ok(()),
    }
}

/// The same for a query inside another statement.
pub(crate) fn mend_query(query: &mut Query) -> Result<(), Error> {
    match query.visit(&mut Mender) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// The same for the query of CREATE TABLE … AS; what else it has is kept as it was written.
pub(crate) fn mend_source(statement: &mut Statement) -> Result<(), Error> {
    let Statement::Statement(inner) = statement else {
        return Ok(());
    };
    match inner.as_mut() {
        SqlStatement::CreateTable(create) => match &mut create.query {
            Some(query) => mend_query(query),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

/// The same for an expression of a definition.
pub(crate) fn mend_expr(expr: &mut Expr) -> Result<(), Error> {
    match expr.visit(&mut Mender) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Mender;

impl VisitorMut for Mender {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        match fetch_as_limit(query) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        let joins = select.from.iter().try_for_each(merged::check_joins);
        match joins.and_then(|()| merged::check_stars(select)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<Error> {
        let TableFactor::NestedJoin {
            table_with_joins, ..
        } = table
        else {
            return ControlFlow::Continue(());
        };
        match merged::check_joins(table_with_joins) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        let mended = match expr {
            Expr::CompoundFieldAccess { root, access_chain } => {
                name_fields(root, access_chain);
                Ok(())
            }
            Expr::SimilarTo { .. } => similar_as_regex(expr),
            _ => Ok(()),
        };
        match mended {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// `….c` behind a subscript or a value: the planner wants `['c']`. The names that a chain
/// begins with may be a table's and a column's, which it finds out.
fn name_fields(root: &Expr, chain: &mut [AccessExpr]) {
    let is_name = matches!(root, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
    let is_dot = |access: &AccessExpr| matches!(access, AccessExpr::Dot(_));
    let names = match is_name {
        true => chain.iter().take_while(|access| is_dot(access)).count(),
        false => 0,
    };
    for access in chain.iter_mut().skip(names) {
        if let AccessExpr::Dot(Expr::Identifier(name)) = access {
            let text = Value::SingleQuotedString(ident_of(name));
            let index = Expr::Value(text.into());
            *access = AccessExpr::Subscript(Subscript::Index { index });
        }
    }
}

/// `FETCH FIRST n ROWS ONLY` is `LIMIT n`.
fn fetch_as_limit(query: &mut Query) -> Result<(), Error> {
    let Some(fetch) = query.fetch.take() else {
        return Ok(());
    };
    if fetch.with_ties || fetch.percent {
        return Err(invalid(
            "FETCH with PERCENT or WITH TIES is not supported: write FETCH FIRST n ROWS ONLY, or \
             QUALIFY rank() OVER (ORDER BY …) <= n",
        ));
    }
    let one = || Expr::Value(Value::Number("1".to_owned(), false).into());
    let quantity = fetch.quantity.unwrap_or_else(one);
    match &mut query.limit_clause {
        None => {
            query.limit_clause = Some(LimitClause::LimitOffset {
                limit: Some(quantity),
                offset: None,
                limit_by: Vec::new(),
            });
            Ok(())
        }
        Some(LimitClause::LimitOffset { limit, .. }) if limit.is_none() => {
            *limit = Some(quantity);
            Ok(())
        }
        Some(_) => Err(invalid("a query has LIMIT and FETCH: leave one out")),
    }
}

/// `SIMILAR TO` as a regular expression over the whole text.
fn similar_as_regex(expr: &mut Expr) -> Result<(), Error> {
    let Expr::SimilarTo {
        negated,
        expr: text,
        pattern,
        escape_char,
    } = expr
    else {
        return Ok(());
    };
    let escape = match escape_char.as_ref().map(|escape| &escape.value) {
        None => Some('\\'),
        Some(Value::SingleQuotedString(escape)) => escape.chars().next(),
        Some(_) => return Err(similar::wrong("its ESCAPE is not a text")),
    };
    let Expr::Value(value) = pattern.as_ref() else {
        return Err(similar::wrong("its pattern is not a text"));
    };
    let Value::SingleQuotedString(pattern) = &value.value else {
        return Err(similar::wrong("its pattern is not a text"));
    };
    let regex = similar::regex(pattern, escape)?;
    let left = match text.as_ref() {
        Expr::BinaryOp { .. } => Box::new(Expr::Nested(text.clone())),
        _ => text.clone(),
    };
    *expr = Expr::BinaryOp {
        left,
        op: match negated {
            false => BinaryOperator::PGRegexMatch,
            true => BinaryOperator::PGRegexNotMatch,
        },
        right: Box::new(Expr::Value(Value::SingleQuotedString(regex).into())),
    };
    Ok(())
}
