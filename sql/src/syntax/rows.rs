//! Rows of values that are compared with those of a subquery, or with each other.
//!
//! Idea: `(a, b) IN (SELECT c, d …)` is true where a row is equal, unknown where one may be, NULL being any
//! value, and false otherwise; which EXISTS can say. `(a, b) = (SELECT c, d …)` asks it of the one row that the
//! query gives, and so is asked where that row is. Invariant: as in PostgreSQL, rows are compared value by
//! value, from left to right, and a NULL makes unknown what it may decide.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Query,
    SelectItem, SetExpr, Visit, Visitor,
};
use datafusion::sql::sqlparser::parser::Parser;
use netabase_store::Error;

use super::NetabaseDialect;
use crate::error::invalid;
use crate::statement::ident_of;

/// The most rows of a list that are compared one by one; those of a longer one are looked up as values, for
/// which a NULL is a value like any other.
const MAX_ROWS: usize = 100;
/// The usual functions over several rows, and how the names of others begin.
const AGGREGATES: [&str; 14] = [
    "any_value",
    "array_agg",
    "avg",
    "count",
    "first_value",
    "grouping",
    "last_value",
    "max",
    "median",
    "min",
    "mode",
    "nth_value",
    "string_agg",
    "sum",
];
const AGGREGATES_BEGIN: [&str; 12] = [
    "approx_",
    "bit_",
    "bool_",
    "corr",
    "covar",
    "every",
    "json_",
    "percentile_",
    "regr_",
    "stddev",
    "var_",
    "variance",
];

/// Writes an IN of several columns with EXISTS.
#[inline(never)]
pub(super) fn in_subquery(expr: &mut Expr) -> Result<(), Error> {
    let Expr::InSubquery {
        expr: row,
        subquery,
        negated,
    } = expr
    else {
        return Ok(());
    };
    let Some(values) = values_of(row) else {
        return Ok(());
    };
    if values.iter().any(compares_rows) {
        check_copied(&values)?;
    }
    let columns = columns_for(&values, subquery)?;
    let equal = values.iter().zip(&columns);
    let equal: Vec<String> = equal
        .map(|(value, column)| format!("({value}) = \"__row\".\"{column}\""))
        .collect();
    let equal = equal.join(" AND ");
    let from = from_of(subquery, &columns);
    let text = format!(
        "CASE WHEN EXISTS (SELECT 1 FROM {from} WHERE {equal}) THEN true \
         WHEN EXISTS (SELECT 1 FROM {from} WHERE ({equal}) IS NULL) THEN NULL ELSE false END"
    );
    let is_in = parsed(&text)?;
    *expr = match negated {
        false => Expr::Nested(Box::new(is_in)),
        true => parsed(&format!("(NOT ({text}))"))?,
    };
    Ok(())
}

/// The names of a subquery's columns. Fails unless there are as many as values that they are compared with.
fn columns_for(values: &[Expr], subquery: &Query) -> Result<Vec<String>, Error> {
    if let Some(count) = columns_of(subquery)
        && count != values.len()
    {
        return Err(invalid(format!(
            "the subquery must give {} columns, as many as it is compared with, not {count}",
            values.len()
        )));
    }
    Ok((1..=values.len()).map(|nth| format!("__c{nth}")).collect())
}

/// The values of a row: `(a, b)` or `ROW(a, b)`.
fn values_of(expr: &Expr) -> Option<Vec<Expr>> {
    match expr {
        Expr::Nested(inner) => values_of(inner),
        Expr::Tuple(values) => Some(values.clone()),
        Expr::Function(function) if is_row(function) => {
            let FunctionArguments::List(list) = &function.args else {
                return None;
            };
            let args = list.args.iter().map(|arg| match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
                _ => None,
            });
            args.collect()
        }
        _ => None,
    }
}

/// Whether a call makes a row.
pub(super) fn is_row(function: &Function) -> bool {
    match function.name.0.as_slice() {
        [part] => part
            .as_ident()
            .is_some_and(|name| name.quote_style.is_none() && ident_of(name) == "row"),
        _ => false,
    }
}

fn subquery_of(expr: &Expr) -> Option<&Query> {
    match expr {
        Expr::Nested(inner) => subquery_of(inner),
        Expr::Subquery(query) => Some(query),
        _ => None,
    }
}

/// Lets items without a name that compare rows be called as they are written.
#[inline(never)]
pub(super) fn name_comparisons(items: &mut [SelectItem]) {
    for item in items {
        let SelectItem::UnnamedExpr(expr) = item else {
            continue;
        };
        if compares_rows(expr) {
            let alias = Ident::with_quote('"', expr.to_string().replace('"', ""));
            let expr = std::mem::replace(expr, Expr::Identifier(alias.clone()));
            *item = SelectItem::ExprWithAlias { expr, alias };
        }
    }
}

/// Whether rows are compared somewhere in an expression.
fn compares_rows(expr: &Expr) -> bool {
    any_in(expr, |expr| match expr {
        Expr::InSubquery { expr, .. } | Expr::InList { expr, .. } => values_of(expr).is_some(),
        other => are_compared(other),
    })
}

fn any_in(expr: &Expr, wanted: impl Fn(&Expr) -> bool) -> bool {
    struct Finder<F>(F);
    impl<F: Fn(&Expr) -> bool> Visitor for Finder<F> {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match (self.0)(expr) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        }
    }
    expr.visit(&mut Finder(wanted)).is_break()
}

/// Whether a value is made of several rows.
fn aggregates(expr: &Expr) -> bool {
    any_in(expr, |expr| match expr {
        Expr::Function(function) => {
            let name = function.name.to_string().to_ascii_lowercase();
            function.over.is_some()
                || AGGREGATES.contains(&name.as_str())
                || AGGREGATES_BEGIN.iter().any(|begin| name.starts_with(begin))
        }
        _ => false,
    })
}

/// Whether a value costs something, or may be another one each time it is asked for: it is not written several times.
fn computes(expr: &Expr) -> bool {
    any_in(expr, |expr| match expr {
        Expr::Function(_) | Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
            true
        }
        Expr::InList { expr, .. } => values_of(expr).is_some(),
        other => are_compared(other),
    })
}

/// Fails if a row would be written several times that must not be.
fn check_copied(row: &[Expr]) -> Result<(), Error> {
    match row.iter().any(computes) {
        false => Ok(()),
        true => Err(invalid(
            "a row with a call, a subquery or another comparison of rows in it is compared by = and <> alone: \
             compute its values in a subquery in FROM, and compare its columns",
        )),
    }
}

/// Writes an IN of a short list of rows as comparisons with each.
#[inline(never)]
pub(super) fn in_list(expr: &mut Expr) -> Result<(), Error> {
    let Expr::InList {
        expr: row,
        list,
        negated,
    } = expr
    else {
        return Ok(());
    };
    let Some(row) = values_of(row) else {
        return Ok(());
    };
    let rows: Option<Vec<Vec<Expr>>> = list.iter().map(values_of).collect();
    let Some(rows) = rows.filter(|rows| !rows.is_empty() && rows.len() <= MAX_ROWS) else {
        return Ok(());
    };
    if rows.len() > 1 {
        check_copied(&row)?;
    }
    let values = texts(&row);
    let mut each = Vec::with_capacity(rows.len());
    for other in rows {
        check_width(&row, &other)?;
        let equal = by_values(&values, &BinaryOperator::Eq, &texts(&other));
        each.push(format!("({equal})"));
    }
    let negation = if *negated { "NOT " } else { "" };
    *expr = parsed(&format!("({negation}({}))", each.join(" OR ")))?;
    Ok(())
}

/// Whether two rows are compared.
pub(super) fn are_compared(expr: &Expr) -> bool {
    let is_side = |expr: &Expr| values_of(expr).is_some() || subquery_of(expr).is_some();
    match expr {
        Expr::BinaryOp { left, op, right } => {
            is_comparison(op)
                && is_side(left)
                && is_side(right)
                && (values_of(left).is_some() || values_of(right).is_some())
        }
        Expr::IsDistinctFrom(left, right) | Expr::IsNotDistinctFrom(left, right) => {
            values_of(left).is_some() && values_of(right).is_some()
        }
        Expr::AnyOp { left, right, .. } | Expr::AllOp { left, right, .. } => {
            values_of(left).is_some() && subquery_of(right).is_some()
        }
        _ => false,
    }
}

fn is_comparison(op: &BinaryOperator) -> bool {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq)
}

/// Writes a comparison of rows as one of their values.
#[inline(never)]
pub(super) fn compare(expr: &mut Expr) -> Result<(), Error> {
    let made = match expr {
        Expr::BinaryOp { left, op, right } => compared(left, op, right)?,
        Expr::IsDistinctFrom(left, right) => distinct(left, right, "NOT ")?,
        Expr::IsNotDistinctFrom(left, right) => distinct(left, right, "")?,
        Expr::AnyOp {
            left,
            right,
            compare_op: BinaryOperator::Eq,
            ..
        } => is_in(left, right, false)?,
        Expr::AllOp {
            left,
            right,
            compare_op: BinaryOperator::NotEq,
        } => is_in(left, right, true)?,
        Expr::AnyOp { .. } | Expr::AllOp { .. } => {
            return Err(invalid(
                "rows are compared with all rows of a subquery by = ANY (…) and <> ALL (…) alone: write \
                 EXISTS (SELECT … WHERE …) for the others",
            ));
        }
        _ => None,
    };
    if let Some(made) = made {
        *expr = made;
    }
    Ok(())
}

fn is_in(left: &Expr, right: &Expr, negated: bool) -> Result<Option<Expr>, Error> {
    let Some(subquery) = subquery_of(right) else {
        return Ok(None);
    };
    let mut made = Expr::InSubquery {
        expr: Box::new(left.clone()),
        subquery: Box::new(subquery.clone()),
        negated,
    };
    in_subquery(&mut made)?;
    Ok(Some(made))
}

/// A comparison of two rows, one of which may come out of a query.
fn compared(left: &Expr, op: &BinaryOperator, right: &Expr) -> Result<Option<Expr>, Error> {
    let (row, op, other) = match values_of(left) {
        Some(row) => (row, op.clone(), right),
        None => match values_of(right) {
            Some(row) => (row, turned(op), left),
            None => return Ok(None),
        },
    };
    let values = texts(&row);
    let once = matches!(op, BinaryOperator::Eq | BinaryOperator::NotEq);
    if !once {
        check_copied(&row)?;
    }
    if let Some(query) = subquery_of(other) {
        if row.iter().any(aggregates) {
            return Err(invalid(
                "an aggregate in a row that is compared with a subquery is not supported: compute it in a \
                 subquery in FROM, and compare its columns",
            ));
        }
        let columns = columns_for(&row, query)?;
        let named: Vec<String> = columns
            .iter()
            .map(|column| format!("\"__row\".\"{column}\""))
            .collect();
        let holds = by_values(&values, &op, &named);
        let from = from_of(query, &columns);
        return parsed(&format!("(SELECT {holds} FROM {from})")).map(Some);
    }
    let Some(others) = values_of(other) else {
        return Ok(None);
    };
    check_width(&row, &others)?;
    if !once {
        check_copied(&others)?;
    }
    parsed(&format!("({})", by_values(&values, &op, &texts(&others)))).map(Some)
}

fn distinct(left: &Expr, right: &Expr, negation: &str) -> Result<Option<Expr>, Error> {
    let (Some(left), Some(right)) = (values_of(left), values_of(right)) else {
        return Ok(None);
    };
    check_width(&left, &right)?;
    let same = texts(&left).into_iter().zip(texts(&right));
    let same: Vec<String> = same
        .map(|(left, right)| format!("{left} IS NOT DISTINCT FROM {right}"))
        .collect();
    parsed(&format!("({negation}({}))", same.join(" AND "))).map(Some)
}

fn check_width(left: &[Expr], right: &[Expr]) -> Result<(), Error> {
    match left.len() == right.len() && !left.is_empty() {
        true => Ok(()),
        false => Err(invalid(format!(
            "rows of {} and of {} values cannot be compared",
            left.len(),
            right.len()
        ))),
    }
}

/// The operator that means the same with its sides exchanged.
fn turned(op: &BinaryOperator) -> BinaryOperator {
    match op {
        BinaryOperator::Lt => BinaryOperator::Gt,
        BinaryOperator::LtEq => BinaryOperator::GtEq,
        BinaryOperator::Gt => BinaryOperator::Lt,
        BinaryOperator::GtEq => BinaryOperator::LtEq,
        other => other.clone(),
    }
}

fn texts(values: &[Expr]) -> Vec<String> {
    values.iter().map(|value| format!("({value})")).collect()
}

/// Whether a comparison of rows holds, by their values: the first that differ decide which is smaller.
fn by_values(left: &[String], op: &BinaryOperator, right: &[String]) -> String {
    let pairs = left.iter().zip(right);
    let each = |between: &str| {
        let each = pairs
            .clone()
            .map(|(left, right)| format!("{left} {op} {right}"));
        each.collect::<Vec<_>>().join(between)
    };
    let strict = match op {
        BinaryOperator::Eq => return each(" AND "),
        BinaryOperator::NotEq => return each(" OR "),
        BinaryOperator::Lt | BinaryOperator::LtEq => "<",
        _ => ">",
    };
    let mut pairs = pairs.rev();
    let last = pairs
        .next()
        .map(|(left, right)| format!("{left} {op} {right}"));
    pairs.fold(last.unwrap_or_default(), |rest, (left, right)| {
        format!("{left} {strict} {right} OR ({left} = {right} AND ({rest}))")
    })
}

/// How many columns a query has, where its text tells.
fn columns_of(query: &Query) -> Option<usize> {
    let SetExpr::Select(select) = query.body.as_ref() else {
        return None;
    };
    let named = |item: &SelectItem| {
        matches!(
            item,
            SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. }
        )
    };
    let items = &select.projection;
    items.iter().all(named).then_some(items.len())
}

/// A query as a source with these columns.
pub(crate) fn from_of(query: &Query, columns: &[String]) -> String {
    let columns: Vec<String> = columns.iter().map(|name| format!("\"{name}\"")).collect();
    format!("({query}) AS \"__row\"({})", columns.join(", "))
}

/// An expression of this crate's own.
pub(crate) fn parsed(text: &str) -> Result<Expr, Error> {
    let parser = Parser::new(&NetabaseDialect).try_with_sql(text);
    let parsed = parser.and_then(|mut parser| parser.parse_expr());
    parsed.map_err(|_| invalid("a row that is compared with a subquery could not be read"))
}
