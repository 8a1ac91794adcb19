//! Calls that others write with other arguments: `strftime('%Y', t)`, `json_extract(j, '$.a')`, `age(t)`,
//! `make_interval(days => 10)`, and `regexp_matches`, which is many things.
//!
//! Invariant: what is rewritten means the same where it comes from; PostgreSQL's meaning goes first. Non-goal:
//! functions that only have other names (see `idioms`).

use arrow::datatypes::IntervalMonthDayNano;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType, DateTimeField, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, Ident, Interval, ObjectName, Select, UnaryOperator, Value,
};
use netabase_store::Error;

use super::aggregates::{call, text};
use super::idioms::{args_of, name_of};
use super::rows::parsed;
use crate::error::invalid;
use crate::functions::{INTERVAL_PARTS, in_words, interval_of, is_plain_interval};
use crate::statement::ident_of;

/// Functions that put JSON into other JSON.
const BUILDERS: [&str; 8] = [
    "json_array",
    "json_build_array",
    "json_build_object",
    "json_object",
    "jsonb_build_array",
    "jsonb_build_object",
    "to_json",
    "to_jsonb",
];

/// A text that is cast to JSON is JSON, which its type does not tell.
pub(super) fn as_json(expr: &Expr) -> Expr {
    let to_json = matches!(
        expr,
        Expr::Cast {
            data_type: DataType::JSON | DataType::JSONB,
            ..
        }
    );
    match to_json {
        true => call("as_json", vec![expr.clone()]),
        false => expr.clone(),
    }
}

/// What a call means here; `None` if it is another function, or is as it should be.
pub(super) fn made(function: &Function, name: &str) -> Result<Option<Expr>, Error> {
    if name == "make_interval" {
        return interval_of_parts(function);
    }
    let Some(args) = args_of(function) else {
        return Ok(None);
    };
    let owned = |args: &[&Expr]| args.iter().map(|arg| (*arg).clone()).collect::<Vec<Expr>>();
    if BUILDERS.contains(&name) {
        let marked: Vec<Expr> = args.iter().map(|arg| as_json(arg)).collect();
        let same = marked.iter().zip(&args).all(|(marked, arg)| marked == *arg);
        return Ok((!same).then(|| call(name, marked)));
    }
    Ok(match (name, args.as_slice()) {
        ("age", [time]) => {
            let today = parsed("CAST(current_date AS TIMESTAMP)")?;
            Some(call("age", vec![today, (*time).clone()]))
        }
        ("strftime", [format, times @ ..]) if is_format(format) => strftime(format, times)?,
        ("regexp_matches", args) => {
            let all = call("regexp_all_matches", owned(args));
            Some(call("unnest", vec![all]))
        }
        ("json_extract" | "json_extract_string", [doc, paths @ ..]) => {
            json_extract(doc, paths).map(Some)?
        }
        ("json_array_length" | "jsonb_array_length", [doc, steps @ ..]) if !steps.is_empty() => {
            let inner = at_path("json_get_json", doc, steps);
            Some(call("json_array_length", vec![inner]))
        }
        ("json_extract_path" | "jsonb_extract_path", [doc, steps @ ..]) => {
            Some(at_path("json_get_json", doc, steps))
        }
        ("json_extract_path_text" | "jsonb_extract_path_text", [doc, steps @ ..]) => {
            Some(at_path("json_as_text", doc, steps))
        }
        _ => None,
    })
}

/// A text that is written out.
pub(super) fn literal(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

fn is_format(expr: &Expr) -> bool {
    literal(expr).is_some_and(|text| text.contains('%'))
}

/// SQLite's order, which a third argument tells from DuckDB's.
fn strftime(format: &Expr, times: &[&Expr]) -> Result<Option<Expr>, Error> {
    let now = || call("now", Vec::new());
    let time = match times {
        [] => now(),
        [time] if literal(time).is_some_and(|time| time.eq_ignore_ascii_case("now")) => now(),
        [time] => (*time).clone(),
        // That is how it is written here.
        [_, Expr::Value(value)] if value.value == Value::Boolean(true) => return Ok(None),
        _ => {
            return Err(invalid(
                "strftime with modifiers is not supported: write strftime(format, time + INTERVAL '1 day')",
            ));
        }
    };
    let order = Expr::Value(Value::Boolean(true).into());
    Ok(Some(call("strftime", vec![format.clone(), time, order])))
}

/// `json_extract(doc, '$.a[0]')`: the text at a path; an array of what is at several.
fn json_extract(doc: &Expr, paths: &[&Expr]) -> Result<Expr, Error> {
    let steps = |path: &Expr| -> Result<Vec<Expr>, Error> {
        literal(path).and_then(steps_of).ok_or_else(|| {
            invalid(
                "json_extract takes paths that are written out, such as '$.a.b[1]' or '$.\"a b\"'; where they are \
                 computed, write doc -> key ->> key",
            )
        })
    };
    let at = |function: &str, path: &Expr| -> Result<Expr, Error> {
        let doc = std::iter::once(doc.clone());
        Ok(call(function, doc.chain(steps(path)?).collect()))
    };
    match paths {
        [path] => at("json_as_text", path),
        [] => Err(invalid(
            "json_extract takes a path: json_extract(doc, '$.a')",
        )),
        several => {
            let each = several.iter().map(|path| at("json_get_json", path));
            Ok(call("json_array", each.collect::<Result<_, Error>>()?))
        }
    }
}

/// The steps of a path like `$.a."b c"[1]`.
fn steps_of(path: &str) -> Option<Vec<Expr>> {
    let mut rest = path.trim().strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(behind) = rest.strip_prefix('[') {
            let (at, behind) = behind.split_once(']')?;
            let at: u32 = at.trim().parse().ok()?;
            steps.push(Expr::Value(Value::Number(at.to_string(), false).into()));
            rest = behind;
        } else if let Some(behind) = rest.strip_prefix(".\"") {
            let (key, behind) = behind.split_once('"')?;
            steps.push(text(key));
            rest = behind;
        } else {
            let behind = rest.strip_prefix('.')?;
            let end = behind.find(['.', '[']).unwrap_or(behind.len());
            let (key, behind) = behind.split_at(end);
            if key.is_empty() {
                return None;
            }
            steps.push(text(key));
            rest = behind;
        }
    }
    Some(steps)
}

/// A path of texts, of which numbers count the elements of arrays.
fn at_path(function: &str, doc: &Expr, steps: &[&Expr]) -> Expr {
    let steps = steps
        .iter()
        .map(|step| match literal(step).map(str::parse::<u32>) {
            Some(Ok(at)) => Expr::Value(Value::Number(at.to_string(), false).into()),
            _ => (*step).clone(),
        });
    call(
        function,
        std::iter::once(doc.clone()).chain(steps).collect(),
    )
}

/// `make_interval` with names, as one without them.
fn interval_of_parts(function: &Function) -> Result<Option<Expr>, Error> {
    let FunctionArguments::List(list) = &function.args else {
        return Ok(None);
    };
    let zero = || Expr::Value(Value::Number("0".to_owned(), false).into());
    let mut parts: Vec<Option<Expr>> = vec![None; INTERVAL_PARTS.len()];
    let mut named = list.args.is_empty();
    for (nth, arg) in list.args.iter().enumerate() {
        let (place, value) = match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => (Some(nth), value),
            FunctionArg::Named {
                name,
                arg: FunctionArgExpr::Expr(value),
                ..
            } => {
                named = true;
                let name = ident_of(name);
                (INTERVAL_PARTS.iter().position(|part| *part == name), value)
            }
            _ => return Ok(None),
        };
        match place.and_then(|place| parts.get_mut(place)) {
            Some(part) if part.is_none() => *part = Some(value.clone()),
            _ => {
                return Err(invalid(format!(
                    "make_interval does not take \"{arg}\"; it has {}, each once",
                    INTERVAL_PARTS.join(", ")
                )));
            }
        }
    }
    let parts = parts.into_iter().map(|part| part.unwrap_or_else(zero));
    Ok(named.then(|| call("make_interval", parts.collect())))
}

/// `regexp_matches` gives rows in PostgreSQL, which a condition cannot have; there it is what it is in DuckDB.
pub(super) fn conditions(select: &mut Select) {
    let conditions = [
        &mut select.selection,
        &mut select.having,
        &mut select.qualify,
    ];
    let conditions = conditions.into_iter().flatten();
    conditions.for_each(matches_as_condition);
}

fn matches_as_condition(expr: &mut Expr) {
    match expr {
        Expr::BinaryOp {
            left,
            op: BinaryOperator::And | BinaryOperator::Or,
            right,
        } => {
            matches_as_condition(left);
            matches_as_condition(right);
        }
        Expr::Nested(inner)
        | Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr: inner,
        } => matches_as_condition(inner),
        Expr::Function(function) if name_of(function).as_deref() == Some("regexp_matches") => {
            function.name = ObjectName::from(vec![Ident::new("regexp_like")]);
        }
        _ => {}
    }
}

/// A literal of an interval that the planner does not read, in words that it does.
pub(super) fn interval(interval: &mut Interval) {
    let Some(written) = literal(&interval.value) else {
        return;
    };
    let several = interval.last_field.is_some();
    if !several && (interval.leading_field.is_some() || is_plain_interval(written)) {
        return;
    }
    let minutes = matches!(interval.leading_field, Some(DateTimeField::Minute));
    let parted = written.contains([':', '-']);
    let span = match (several, minutes) {
        // Without seconds, two numbers would be hours and minutes.
        (true, true) if parted => interval_of(&format!("00:{}", written.trim())),
        (true, _) if !parted => None,
        _ => interval_of(written),
    };
    if let Some(span) = span.map(|span| cut(span, interval.last_field.as_ref())) {
        *interval = Interval {
            value: Box::new(text(&in_words(span))),
            leading_field: None,
            leading_precision: None,
            last_field: None,
            fractional_seconds_precision: None,
        };
    }
}

/// What the last field of a literal leaves of it: the parts below are left out.
fn cut(mut span: IntervalMonthDayNano, last: Option<&DateTimeField>) -> IntervalMonthDayNano {
    const MINUTE: i64 = 60 * 1_000_000_000;
    match last {
        Some(DateTimeField::Year | DateTimeField::Month) => {
            (span.days, span.nanoseconds) = (0, 0);
        }
        Some(DateTimeField::Day) => span.nanoseconds = 0,
        Some(DateTimeField::Hour) => span.nanoseconds -= span.nanoseconds % (60 * MINUTE),
        Some(DateTimeField::Minute) => span.nanoseconds -= span.nanoseconds % MINUTE,
        _ => {}
    }
    span
}
