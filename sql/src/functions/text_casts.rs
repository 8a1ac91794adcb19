//! Casts of texts to types that Arrow reads in fewer ways than PostgreSQL: intervals and lists.
//!
//! Idea: once types are known, such a cast becomes a call of a function, which travels to other peers by its
//! name. Invariant: the type of an expression stays what it was.

use std::sync::Arc;

use arrow::datatypes::{DataType, IntervalUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Cast, Expr, ExprSchemable, LogicalPlan, TryCast, lit};
use datafusion::optimizer::AnalyzerRule;

use super::lists::{TEXT_TO_LIST, is_list};
use super::plain::Plain;
use super::{TEXT_TO_INTERVAL, plain::is_text};
use crate::by_type::rewrite_by_type;

/// Puts functions in the place of casts. See the module.
#[derive(Debug)]
pub(crate) struct TextCasts;

impl AnalyzerRule for TextCasts {
    fn name(&self) -> &str {
        "text_casts"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        rewrite_by_type(plan, |expr, schema| Ok(read(expr, schema)))
    }
}

/// The same for one expression whose types are known.
pub(crate) fn text_casts(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    Ok(expr.transform_up(|expr| Ok(read(expr, schema)))?.data)
}

fn read(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let (inner, field, lenient) = match &expr {
        Expr::Cast(Cast { expr, field }) => (expr, field, false),
        Expr::TryCast(TryCast { expr, field }) => (expr, field, true),
        _ => return Transformed::no(expr),
    };
    let target = field.data_type();
    let from = inner.get_type(schema);
    if !from.is_ok_and(|from| is_text(&from) && !from.is_null()) {
        return Transformed::no(expr);
    }
    let text = inner.as_ref().clone();
    let call = match target {
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            call(TEXT_TO_INTERVAL, vec![as_plain(text), lit(lenient)])
        }
        list if is_list(list) => match read_as_list(as_plain(text), list, lenient) {
            Some(call) => call,
            None => return Transformed::no(expr),
        },
        _ => return Transformed::no(expr),
    };
    Transformed::yes(call)
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

fn call(plain: Plain, args: Vec<Expr>) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(plain.function()), args))
}
