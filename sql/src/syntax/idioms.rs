//! What others write in other words.
//!
//! Purpose: calls and operators of PostgreSQL, SQLite and DuckDB that the planner knows under another name, or
//! can be told in other terms. Invariant: only what would have failed is changed, and to what means the
//! same there. Non-goal: functions that nothing here computes.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType, DuplicateTreatment, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArguments, Ident, ObjectName, OrderByKind, Query, SelectItem, SetExpr,
    UnaryOperator, Value, ValueWithSpan,
};
use netabase_store::Error;

use super::rows::parsed;
use super::{aggregates, others};
use crate::declared::{as_uuid, is_json};
use crate::error::invalid;
use crate::statement::ident_of;

/// Functions by other names.
const NAMES: [(&str, &str); 16] = [
    ("approx_count_distinct", "approx_distinct"),
    ("ceiling", "ceil"),
    ("every", "bool_and"),
    ("first", "first_value"),
    ("gen_random_uuid", "uuid"),
    ("group_concat", "string_agg"),
    ("last", "last_value"),
    ("list", "array_agg"),
    ("list_value", "make_array"),
    ("listagg", "string_agg"),
    ("logical_and", "bool_and"),
    ("logical_or", "bool_or"),
    ("sign", "signum"),
    ("string_split", "string_to_array"),
    ("today", "current_date"),
    ("variance", "var_samp"),
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
        Expr::UnaryOp {
            op: UnaryOperator::BitwiseNot,
            expr: inner,
        } => Some(with_all_bits(inner)),
        Expr::Interval(interval) => {
            others::interval(interval);
            None
        }
        Expr::AtTimeZone {
            timestamp,
            time_zone,
        } => {
            let args = [timestamp, time_zone].map(|arg| arg.as_ref().clone());
            Some(aggregates::call("at_time_zone", args.into()))
        }
        Expr::AnyOp {
            left,
            compare_op,
            right,
            ..
        } if !matches!(right.as_ref(), Expr::Subquery(_)) => any_of(left, compare_op, right),
        Expr::Substring {
            substring_from: None,
            substring_for: None,
            ..
        } => {
            return Err(invalid(
                "substring takes where it begins: substring(text FROM 2 FOR 3), or substr(text, 2, 3)",
            ));
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

/// `~x` is `x # -1`.
fn with_all_bits(expr: &Expr) -> Expr {
    let one = Expr::Value(Value::Number("1".to_owned(), false).into());
    let bits = Expr::UnaryOp {
        op: UnaryOperator::Minus,
        expr: Box::new(one),
    };
    Expr::Nested(Box::new(Expr::BinaryOp {
        left: Box::new(Expr::Nested(Box::new(expr.clone()))),
        op: BinaryOperator::PGBitwiseXor,
        right: Box::new(bits),
    }))
}

/// A text that is cast to UUID in the form of those that are kept; and one to JSON, if it is some.
pub(super) fn checked_text(expr: &mut Expr) -> Result<(), Error> {
    let Expr::Cast {
        kind,
        expr: inner,
        data_type: data_type @ (DataType::Uuid | DataType::JSON | DataType::JSONB),
        ..
    } = expr
    else {
        return Ok(());
    };
    let Expr::Value(value) = inner.as_mut() else {
        return Ok(());
    };
    let Value::SingleQuotedString(text) = &mut value.value else {
        return Ok(());
    };
    let kept = match data_type {
        DataType::Uuid => as_uuid(text),
        _ => is_json(text).then(|| text.clone()),
    };
    match kept {
        Some(kept) => *text = kept,
        None if matches!(kind, CastKind::Cast | CastKind::DoubleColon) => {
            let kind = match data_type {
                DataType::Uuid => "a valid UUID",
                _ => "valid JSON",
            };
            return Err(invalid(format!("'{text}' is not {kind}")));
        }
        None => value.value = Value::Null,
    }
    Ok(())
}

/// `x = ANY (list)`, which the planner takes for FALSE where a NULL in the list may be it: `x <> ALL (list)` is told
/// rightly.
fn any_of(left: &Expr, op: &BinaryOperator, right: &Expr) -> Option<Expr> {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    let compare_op = match op {
        Eq => NotEq,
        NotEq => Eq,
        Lt => GtEq,
        LtEq => Gt,
        Gt => LtEq,
        GtEq => Lt,
        _ => return None,
    };
    let all = Expr::AllOp {
        left: Box::new(left.clone()),
        compare_op,
        right: Box::new(right.clone()),
    };
    Some(Expr::UnaryOp {
        op: UnaryOperator::Not,
        expr: Box::new(Expr::Nested(Box::new(all))),
    })
}

/// The same in a condition of WHERE, where unknown is as good as false, and scans know what is listed.
pub(super) fn any_in_condition(expr: &mut Expr) {
    match expr {
        Expr::BinaryOp {
            left,
            op: BinaryOperator::And,
            right,
        } => {
            any_in_condition(left);
            any_in_condition(right);
        }
        Expr::Nested(inner) => any_in_condition(inner),
        Expr::AnyOp {
            left,
            compare_op: BinaryOperator::Eq,
            right,
            ..
        } if !matches!(right.as_ref(), Expr::Subquery(_)) => {
            let args = [right, left].map(|arg| arg.as_ref().clone());
            *expr = aggregates::call("array_has", args.into());
        }
        _ => {}
    }
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
    if name == "count" && is_distinct_star(function) {
        return Err(invalid(
            "count(DISTINCT *) is not supported: write SELECT count(*) FROM (SELECT DISTINCT …)",
        ));
    }
    if name == "any_value" {
        return any_value(function);
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
    match in_other_terms(&name, &args)? {
        Some(text) => parsed(&text).map(Some),
        None => Ok(None),
    }
}

/// The text of what a call means.
fn in_other_terms(name: &str, args: &[&Expr]) -> Result<Option<String>, Error> {
    let part = PARTS.iter().find(|(other, _)| *other == name);
    Ok(Some(match (name, args, part) {
        (_, [date], Some((_, part))) => format!("date_part('{part}', {date})"),
        ("iif" | "if", [condition, yes, no], _) => {
            format!("(CASE WHEN {condition} THEN {yes} ELSE {no} END)")
        }
        ("mod", [one, other], _) => format!("(({one}) % ({other}))"),
        ("last_day", [date], _) => format!(
            "CAST(date_trunc('month', {date}) + INTERVAL '1 month' - INTERVAL '1 day' AS DATE)"
        ),
        ("version", [], _) => concat!("'netabase ", env!("CARGO_PKG_VERSION"), "'").to_owned(),
        ("encode", [bytes, form], _)
            if others::literal(form).is_some_and(|form| form.eq_ignore_ascii_case("base64")) =>
        {
            format!("encode({bytes}, 'base64pad')")
        }
        ("to_char", [_, format], _) => match others::literal(format) {
            Some(format) if !format.contains('%') => {
                return Err(invalid(format!(
                    "to_char takes formats such as '%Y-%m-%d %H:%M:%S', and '{format}' has nothing of the kind"
                )));
            }
            _ => return Ok(None),
        },
        ("date", [date], _) => format!("CAST({date} AS DATE)"),
        ("total", [value], _) => format!("coalesce(CAST(sum({value}) AS DOUBLE), 0.0)"),
        ("max_by" | "arg_max", [value, by], _) => best(value, by, "DESC"),
        ("min_by" | "arg_min", [value, by], _) => best(value, by, "ASC"),
        _ => return Ok(None),
    }))
}

fn is_distinct_star(function: &Function) -> bool {
    match &function.args {
        FunctionArguments::List(list) => {
            list.duplicate_treatment == Some(DuplicateTreatment::Distinct)
                && matches!(
                    list.args.as_slice(),
                    [FunctionArg::Unnamed(
                        FunctionArgExpr::Wildcard | FunctionArgExpr::QualifiedWildcard(_)
                    )]
                )
        }
        _ => false,
    }
}

/// The first value that is not NULL.
fn any_value(function: &mut Function) -> Result<Option<Expr>, Error> {
    function.name = ObjectName::from(vec![Ident::new("first_value")]);
    if let (None, Some([value])) = (&function.over, args_of(function).as_deref()) {
        let known = parsed(&format!("({value}) IS NOT NULL"))?;
        function.filter = Some(Box::new(match function.filter.take() {
            Some(filter) => Expr::BinaryOp {
                left: Box::new(Expr::Nested(filter)),
                op: BinaryOperator::And,
                right: Box::new(known),
            },
            None => known,
        }));
    }
    Ok(None)
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
