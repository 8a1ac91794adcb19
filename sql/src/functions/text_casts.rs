//! Casts of texts to types that Arrow reads in fewer ways than PostgreSQL, or in wrong ones: intervals, lists, dates,
//! times and bytes; and casts to texts of what Arrow writes otherwise than it is shown.
//!
//! Idea: once types are known, such a cast becomes a call of a function, which travels to other peers by its
//! name; a text that is written out is brought into Arrow's form. Invariant: the type of an expression stays what it
//! was.

use std::sync::Arc;

use arrow::datatypes::{DataType, IntervalUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Cast, Expr, ExprSchemable, LogicalPlan, TryCast, lit};
use datafusion::optimizer::AnalyzerRule;

use super::TEXT_TO_INTERVAL;
use super::forms::{FORMED, Form, Formed, SHOWN_TEXT, is_written_otherwise};
use super::lists::{TEXT_TO_LIST, is_list};
use super::plain::{Plain, is_text};
use crate::by_type::rewrite_by_type;
use crate::error::{error_to_datafusion, invalid};

/// Puts functions in the place of casts. See the module.
#[derive(Debug)]
pub(crate) struct TextCasts;

impl AnalyzerRule for TextCasts {
    fn name(&self) -> &str {
        "text_casts"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        rewrite_by_type(plan, read)
    }
}

/// The same for one expression whose types are known.
pub(crate) fn text_casts(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    Ok(expr.transform_up(|expr| read(expr, schema))?.data)
}

fn read(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let (inner, field, lenient) = match &expr {
        Expr::Cast(Cast { expr, field }) => (expr, field, false),
        Expr::TryCast(TryCast { expr, field }) => (expr, field, true),
        _ => return Ok(Transformed::no(expr)),
    };
    let target = field.data_type();
    let Ok(from) = inner.get_type(schema) else {
        return Ok(Transformed::no(expr));
    };
    if reads_bytes_inside(&from, target) {
        return Err(error_to_datafusion(invalid(
            "a text inside of a list, a struct or a map is not read as BYTEA: write bytes, as in [x'00ff'], or cast each \
             one, as in ['\\x00ff'::BYTEA]",
        )));
    }
    if is_text(target) && is_written_otherwise(&from) {
        let text = call(SHOWN_TEXT, vec![inner.as_ref().clone()]);
        return Ok(Transformed::yes(datafusion::logical_expr::cast(
            text,
            target.clone(),
        )));
    }
    if !is_text(&from) || from.is_null() {
        return Ok(Transformed::no(expr));
    }
    if let Expr::Literal(value, _) = inner.as_ref()
        && let Some(Some(text)) = value.try_as_str()
        && let Some(form) = Form::of(target)
    {
        return literal(text, form, target, lenient, &expr);
    }
    let text = inner.as_ref().clone();
    let call = match target {
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            call(TEXT_TO_INTERVAL, vec![as_plain(text), lit(lenient)])
        }
        list if is_list(list) => match read_as_list(as_plain(text), list, lenient) {
            Some(call) => call,
            None => return Ok(Transformed::no(expr)),
        },
        _ => match Form::of(target) {
            Some(form) if !is_formed(&text) => {
                let formed = form.call(as_plain(text), lenient);
                match lenient {
                    true => Expr::TryCast(TryCast::new(Box::new(formed), target.clone())),
                    false => Expr::Cast(Cast::new(Box::new(formed), target.clone())),
                }
            }
            _ => return Ok(Transformed::no(expr)),
        },
    };
    Ok(Transformed::yes(call))
}

/// Whether a cast would take a text for bytes as it stands, within something else.
fn reads_bytes_inside(from: &DataType, to: &DataType) -> bool {
    let is_read = |from: &DataType| is_text(from) && !from.is_null();
    if is_read(from) {
        return parts(to).into_iter().any(has_bytes);
    }
    let mut pairs = parts(from).into_iter().zip(parts(to));
    pairs.any(|(from, to)| is_read(from) && is_bytes(to) || reads_bytes_inside(from, to))
}

fn has_bytes(kind: &DataType) -> bool {
    is_bytes(kind) || parts(kind).into_iter().any(has_bytes)
}

fn is_bytes(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView
    )
}

/// The types that one is made of.
fn parts(kind: &DataType) -> Vec<&DataType> {
    match kind {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => vec![item.data_type()],
        DataType::Struct(fields) => fields.iter().map(|field| field.data_type()).collect(),
        _ => Vec::new(),
    }
}

/// A text that is written out, as Arrow reads it.
fn literal(
    text: &str,
    form: Form,
    target: &DataType,
    lenient: bool,
    expr: &Expr,
) -> Result<Transformed<Expr>> {
    let formed = match (form.formed(text), lenient) {
        (Ok(Formed::Same), _) => return Ok(Transformed::no(expr.clone())),
        (Ok(Formed::Text(text)), _) => ScalarValue::Utf8(Some(text)),
        (Ok(Formed::Bytes(bytes)), _) => ScalarValue::Binary(Some(bytes)),
        (Err(_), true) => ScalarValue::Utf8(None),
        (Err(why), false) => return Err(why),
    };
    Ok(Transformed::yes(datafusion::logical_expr::cast(
        lit(formed),
        target.clone(),
    )))
}

/// Whether a text went through such a function already.
fn is_formed(text: &Expr) -> bool {
    match text {
        Expr::ScalarFunction(call) => call.name().starts_with(FORMED),
        Expr::Cast(Cast { expr, .. }) => is_formed(expr),
        _ => false,
    }
}

/// A list of a fixed length is read as one of any length, which is cast: a NULL that carries the type takes the
/// memory of as many elements, for every row.
fn read_as_list(text: Expr, target: &DataType, lenient: bool) -> Option<Expr> {
    let mut lengths = Vec::new();
    let list = of_any_length(target, &mut lengths);
    let null = ScalarValue::try_new_null(&list).ok()?;
    let mut args = vec![text, lit(null), lit(lenient)];
    if list == *target {
        return Some(call(TEXT_TO_LIST, args));
    }
    args.extend(lengths.into_iter().map(lit));
    let read = Box::new(call(TEXT_TO_LIST, args));
    Some(match lenient {
        true => Expr::TryCast(TryCast::new(read, target.clone())),
        false => Expr::Cast(Cast::new(read, target.clone())),
    })
}

/// The type with lists of any length, and the length of each level, which is negative where it is free.
fn of_any_length(target: &DataType, lengths: &mut Vec<i64>) -> DataType {
    let (item, length) = match target {
        DataType::FixedSizeList(item, length) => (item, i64::from(*length)),
        DataType::List(item) | DataType::LargeList(item) => (item, -1),
        other => return other.clone(),
    };
    lengths.push(length);
    let inner = of_any_length(item.data_type(), lengths);
    let item = Arc::new(item.as_ref().clone().with_data_type(inner));
    match target {
        DataType::LargeList(_) => DataType::LargeList(item),
        _ => DataType::List(item),
    }
}

/// Types are not coerced any more where this rule runs.
fn as_plain(text: Expr) -> Expr {
    datafusion::logical_expr::cast(text, DataType::Utf8)
}

pub(super) fn call(plain: Plain, args: Vec<Expr>) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(plain.function()), args))
}
