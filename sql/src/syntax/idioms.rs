//! What others write in other words.
//!
//! Purpose: calls and operators of PostgreSQL, SQLite and DuckDB that the planner knows under another name, or
//! can be told in other terms. Invariant: only what would have failed is changed, and to what means the
//! same there. Non-goal: functions that nothing here computes.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident,
    ObjectName, OrderByKind, Query, SelectItem, SetExpr, Value, ValueWithSpan,
};
use netabase_store::Error;

use super::rows::parsed;
use super::{aggregates, others};
use crate::error::invalid;
use crate::statement::ident_of;

/// Functions by other names.
const NAMES: [(&str, &str); 11] = [
    ("any_value", "first_value"),
    ("approx_count_distinct", "approx_distinct"),
    ("ceiling", "ceil"),
    ("every", "bool_and"),
    ("group_concat", "string_agg"),
    ("list_value", "make_array"),
    ("listagg", "string_agg"),
    ("logical_and", "bool_and"),
    ("logical_or", "bool_or"),
    ("string_split", "string_to_array"),
    ("today", "current_date"),
];
/// Functions of sequences.
const SEQUENCES: [&str; 5] = [
    "currval",
    "last_insert_rowid",
    "lastval",
    "nextval",
    "setval",
];
/// Functions that take a part of a date, and the part.
const PARTS: [(&str, &str); 10] = [
    ("year", "year"),
    ("quarter", "quarter"),
    ("month", "month"),
    ("week", "week"),
    ("day", "day"),
    ("dayofweek", "dow"),
    ("dayofyear", "doy"),
    ("hour", "hour"),
    ("minute", "minute"),
    ("second", "second"),
];

/// Writes an expression as the planner knows it.
pub(super) fn mend(expr: &mut Expr) -> Result<(), Error> {
    let made = match expr {
        Expr::Function(function) => call(function)?,
        Expr::BinaryOp { left, op, right } => operation(left, op, right)?,
        Expr::Interval(interval) => {
            others::interval(interval);
            None
        }
        // The parser has read its escapes.
        Expr::Value(ValueWithSpan { value, .. }) => {
            if let Value::UnicodeStringLiteral(text) = value {
                *value = Value::SingleQuotedString(std::mem::take(text));
            }
            None
        }
        Expr::Like {
            pattern,
            escape_char,
            ..
        }
        | Expr::ILike {
            pattern,
            escape_char,
            ..
        } => {
            escape(pattern, escape_char);
            None
        }
        _ => None,
    };
    if let Some(made) = made {
        *expr = made;
    }
    Ok(())
}

pub(super) fn name_of(function: &Function) -> Option<String> {
    match function.name.0.as_slice() {
        [part] => part.as_ident().map(ident_of),
        _ => None,
    }
}

/// The arguments of a call without clauses.
pub(super) fn args_of(function: &Function) -> Option<Vec<&Expr>> {
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    let args = list.args.iter().map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    });
    args.collect()
}

fn call(function: &mut Function) -> Result<Option<Expr>, Error> {
    let Some(name) = name_of(function) else {
        return Ok(None);
    };
    if let FunctionArguments::Subquery(query) = &function.args {
        return match name == "array" {
            true => array_of(query).map(Some),
            false => Ok(None),
        };
    }
    if let Some((_, known)) = NAMES.iter().find(|(other, _)| *other == name) {
        function.name = ObjectName::from(vec![Ident::new(*known)]);
        separate(function, known);
        return Ok(None);
    }
    if SEQUENCES.contains(&name.as_str()) {
        return Err(invalid(format!(
            "{name} is not supported, because there are no sequences: peers that write at the same time cannot \
             count together; give keys DEFAULT uuid(), or leave PRIMARY KEY out, so that rows have a hidden one"
        )));
    }
    if name == "localtimestamp" && matches!(function.args, FunctionArguments::None) {
        return parsed("CAST(now() AS TIMESTAMP)").map(Some);
    }
    if let Some(made) = aggregates::made(function, &name)? {
        return Ok(Some(made));
    }
    let plain = function.over.is_none() && function.filter.is_none();
    if plain && let Some(made) = others::made(function, &name)? {
        return Ok(Some(made));
    }
    let Some(args) = args_of(function).filter(|_| plain) else {
        return Ok(None);
    };
    let part = PARTS.iter().find(|(other, _)| *other == name);
    let text = match (name.as_str(), args.as_slice(), part) {
        (_, [date], Some((_, part))) => format!("date_part('{part}', {date})"),
        ("iif" | "if", [condition, yes, no], _) => {
            format!("(CASE WHEN {condition} THEN {yes} ELSE {no} END)")
        }
        ("date", [date], _) => format!("CAST({date} AS DATE)"),
        ("total", [value], _) => format!("coalesce(CAST(sum({value}) AS DOUBLE), 0.0)"),
        ("max_by" | "arg_max", [value, by], _) => best(value, by, "DESC"),
        ("min_by" | "arg_min", [value, by], _) => best(value, by, "ASC"),
        _ => return Ok(None),
    };
    parsed(&text).map(Some)
}

fn best(value: &Expr, by: &Expr, order: &str) -> String {
    format!("first_value({value} ORDER BY {by} {order}) FILTER (WHERE ({by}) IS NOT NULL)")
}

/// Texts are put together with a comma between them, unless another text is given.
fn separate(function: &mut Function, name: &str) {
    if let FunctionArguments::List(list) = &mut function.args
        && name == "string_agg"
        && list.args.len() == 1
    {
        let comma = Value::SingleQuotedString(",".to_owned());
        let comma = FunctionArgExpr::Expr(Expr::Value(comma.into()));
        list.args.push(FunctionArg::Unnamed(comma));
    }
}

/// `ARRAY(SELECT …)`, in the order of the query.
fn array_of(query: &Query) -> Result<Expr, Error> {
    let orders = match query.order_by.as_ref().map(|order| &order.kind) {
        None => return array("\"__c\"", query, "\"__c\""),
        Some(OrderByKind::Expressions(orders)) => orders,
        Some(OrderByKind::All(_)) => return Err(no_array()),
    };
    let mut query = query.clone();
    let SetExpr::Select(select) = query.body.as_mut() else {
        return Err(no_array());
    };
    let item = match select.projection.as_slice() {
        [SelectItem::UnnamedExpr(item) | SelectItem::ExprWithAlias { expr: item, .. }] => {
            item.clone()
        }
        _ => return Err(no_array()),
    };
    if select.distinct.is_some() {
        return Err(no_array());
    }
    let orders = orders.iter().map(|order| {
        let mut order = order.clone();
        if matches!(&order.expr, Expr::Value(value) if value.value.to_string() == "1") {
            order.expr = item.clone();
        }
        order.to_string()
    });
    let orders: Vec<String> = orders.collect();
    let number = parsed(&format!(
        "row_number() OVER (ORDER BY {})",
        orders.join(", ")
    ))?;
    select.projection.push(SelectItem::UnnamedExpr(number));
    array("\"__c\" ORDER BY \"__n\"", &query, "\"__c\", \"__n\"")
}

fn array(elements: &str, query: &Query, columns: &str) -> Result<Expr, Error> {
    parsed(&format!(
        "coalesce((SELECT array_agg({elements}) FROM ({query}) AS \"__row\"({columns})), make_array())"
    ))
}

fn no_array() -> Error {
    invalid("this ARRAY of a query is not supported: write (SELECT array_agg(x ORDER BY …) FROM …)")
}

fn operation(left: &Expr, op: &BinaryOperator, right: &Expr) -> Result<Option<Expr>, Error> {
    let text = match (op, left, right) {
        (BinaryOperator::PGOverlap, ..) => format!("array_has_any({left}, {right})"),
        (BinaryOperator::HashArrow, _, Expr::Value(path)) => match steps(path) {
            Some(steps) => format!("(({left}){})", steps.join("")),
            None => return Ok(None),
        },
        (BinaryOperator::HashLongArrow, _, Expr::Value(path)) => match steps(path) {
            Some(mut steps) => {
                if let Some(last) = steps.last_mut() {
                    *last = last.replacen("->", "->>", 1);
                }
                format!("(({left}){})", steps.join(""))
            }
            None => return Ok(None),
        },
        (BinaryOperator::Overlaps, Expr::Tuple(one), Expr::Tuple(other)) => {
            let ([a, b], [c, d]) = (one.as_slice(), other.as_slice()) else {
                return Ok(None);
            };
            format!(
                "((least({a}, {b}) < greatest({c}, {d}) AND least({c}, {d}) < greatest({a}, {b})) OR \
                 least({a}, {b}) = least({c}, {d}))"
            )
        }
        _ => return Ok(None),
    };
    parsed(&text).map(Some)
}

/// The steps of a path like `{a,0,b}`.
fn steps(path: &ValueWithSpan) -> Option<Vec<String>> {
    let Value::SingleQuotedString(path) = &path.value else {
        return None;
    };
    let inner = path.trim().strip_prefix('{')?.strip_suffix('}')?;
    if inner.trim().is_empty() {
        return None;
    }
    let steps = inner.split(',').map(|step| {
        let step = step.trim().trim_matches('"');
        match step.parse::<u32>() {
            Ok(at) => format!(" -> {at}"),
            Err(_) => format!(" -> '{}'", step.replace('\'', "''")),
        }
    });
    Some(steps.collect())
}

/// A pattern whose escape is another letter than the one that the planner knows.
fn escape(pattern: &mut Expr, by: &mut Option<ValueWithSpan>) {
    let Some(Value::SingleQuotedString(letter)) = by.as_ref().map(|by| &by.value) else {
        return;
    };
    let letter = letter.clone();
    let mut letters = letter.chars();
    let (escape, None) = (letters.next(), letters.next()) else {
        return;
    };
    let Expr::Value(ValueWithSpan {
        value: Value::SingleQuotedString(text),
        ..
    }) = pattern
    else {
        return;
    };
    if escape == Some('\\') {
        return;
    }
    let mut written = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(next) = rest.next() {
        match next {
            next if Some(next) == escape => match rest.next() {
                Some(literal @ ('%' | '_' | '\\')) => written.extend(['\\', literal]),
                Some(literal) => written.push(literal),
                None => return,
            },
            '\\' => written.push_str("\\\\"),
            other => written.push(other),
        }
    }
    *text = written;
    *by = None;
}
