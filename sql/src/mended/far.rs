//! Dates and times that nanoseconds do not reach.
//!
//! DataFusion compares a DATE with a TIMESTAMP, and one TIMESTAMP with another, as the finer of both. Nanoseconds end in
//! 2262, so that `valid_to < now()` fails for the 9999-12-31 that stands for "never" in many tables. Such a value is
//! compared as the last, or first, instant that there is ([`Bounded`]); where neither side has nanoseconds of its own,
//! both are microseconds.
//!
//! Invariant: within nanoseconds' reach nothing changes. Non-goals: keys of joins, IN and ANY of subqueries, CASE with an
//! operand and `coalesce`, which fail as before; what is written to a column, which has to fit.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, TimestampNanosecondArray};
use arrow::compute::cast as cast_array;
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampNanosecondType};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue, internal_err};
use datafusion::logical_expr::expr::{Between, InList};
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::{
    BinaryExpr, Cast, ColumnarValue, Expr, ExprSchemable, LogicalPlan, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility, cast, lit,
};
use datafusion::optimizer::AnalyzerRule;

use super::digits::is_comparison;
use crate::by_type::rewrite_by_type;

/// Compares what nanoseconds do not reach. See the module.
#[derive(Debug)]
pub(super) struct Far;

impl AnalyzerRule for Far {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        rewrite_by_type(plan, reached)
    }

    fn name(&self) -> &str {
        "far_dates"
    }
}

/// The same for one expression, whose parts are done.
pub(super) fn reached(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    if let Some(pairs) = in_pairs(&expr, schema) {
        let reached = pairs.transform_up(|part| reached(part, schema))?;
        return Ok(Transformed::yes(reached.data));
    }
    let mut expr = expr;
    let changed = match &mut expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_comparison(*op) => {
            reach(vec![left, right], schema)
        }
        Expr::Between(Between {
            expr, low, high, ..
        }) => reach(vec![expr, low, high], schema),
        Expr::InList(InList { expr, list, .. }) => {
            let values = std::iter::once(expr.as_mut()).chain(list);
            reach(values.collect(), schema)
        }
        _ => false,
    };
    Ok(Transformed::new_transformed(expr, changed))
}

/// Two comparisons in the place of one, if a value without nanoseconds meets both kinds: the last instant is not asked
/// of two.
fn in_pairs(expr: &Expr, schema: &DFSchema) -> Option<Expr> {
    let is_far = |value: &Expr| coarse(value, schema).is_some();
    match expr {
        Expr::Between(Between {
            expr,
            negated,
            low,
            high,
        }) if is_far(expr) && is_far(low) != is_far(high) && !expr.is_volatile() => {
            let value = || expr.as_ref().clone();
            let (low, high) = (low.as_ref().clone(), high.as_ref().clone());
            Some(match negated {
                false => value().gt_eq(low).and(value().lt_eq(high)),
                true => value().lt(low).or(value().gt(high)),
            })
        }
        Expr::InList(InList {
            expr,
            list,
            negated,
        }) if is_far(expr) && !expr.is_volatile() => {
            let (far, near): (Vec<Expr>, Vec<Expr>) = list.iter().cloned().partition(is_far);
            if far.is_empty() || near.is_empty() {
                return None;
            }
            let of = |items| expr.as_ref().clone().in_list(items, *negated);
            Some(match negated {
                false => of(far).or(of(near)),
                true => of(far).and(of(near)),
            })
        }
        _ => None,
    }
}

/// Lets values be compared that were cast to nanoseconds; whether one changed.
fn reach(values: Vec<&mut Expr>, schema: &DFSchema) -> bool {
    let coarse: Vec<Option<DataType>> = values.iter().map(|value| coarse(value, schema)).collect();
    if coarse.iter().all(Option::is_none) {
        return false;
    }
    let all = coarse.iter().all(Option::is_some);
    let several = values.iter().filter(|value| differs(value)).count() > 1;
    let mut changed = false;
    for (value, from) in values.into_iter().zip(coarse) {
        // Of a column of coarser timestamps beside a constant the cast is taken away later, and its index serves.
        let is_day = matches!(from, Some(DataType::Date32 | DataType::Date64));
        let Expr::Cast(Cast { expr, field }) = value else {
            continue;
        };
        let DataType::Timestamp(_, zone) = field.data_type() else {
            continue;
        };
        if from.is_none() || !(all || several || is_day) {
            continue;
        }
        let zone = zone.clone();
        let inner = std::mem::take(expr.as_mut());
        *value = match all {
            true => cast(inner, DataType::Timestamp(TimeUnit::Microsecond, zone)),
            false => {
                let kind = lit(ScalarValue::TimestampNanosecond(Some(0), zone));
                ScalarUDF::from(Bounded::new()).call(vec![inner, kind])
            }
        };
        changed = true;
    }
    changed
}

/// Whether a value is known only when rows are read.
fn differs(value: &Expr) -> bool {
    let found = value.exists(|part| {
        Ok(matches!(
            part,
            Expr::Column(_) | Expr::OuterReferenceColumn(..) | Expr::ScalarSubquery(_)
        ))
    });
    found.unwrap_or(true)
}

/// What a value was before it was cast to nanoseconds, if that has a larger reach.
fn coarse(value: &Expr, schema: &DFSchema) -> Option<DataType> {
    let Expr::Cast(Cast { expr, field }) = value else {
        return None;
    };
    let DataType::Timestamp(TimeUnit::Nanosecond, zone) = field.data_type() else {
        return None;
    };
    let is_plain = |zone: &Option<Arc<str>>| zone.as_deref().is_none_or(|zone| zone == "UTC");
    let from = expr.get_type(schema).ok()?;
    let reaches = match &from {
        DataType::Date32 | DataType::Date64 => true,
        DataType::Timestamp(unit, own) => *unit != TimeUnit::Nanosecond && is_plain(own),
        _ => false,
    };
    (reaches && is_plain(zone)).then_some(from)
}

/// Casts a date or a timestamp to nanoseconds, in the zone of a second one; what these do not reach is the last, or first,
/// of them.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Bounded {
    signature: Signature,
}

impl Bounded {
    pub(crate) fn new() -> Self {
        Self {
            signature: Signature::any(2, Volatility::Immutable),
        }
    }
}

fn bounded(values: &dyn Array, zone: Option<Arc<str>>) -> Result<ArrayRef> {
    let factor = match values.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => 1_000_000_000,
        DataType::Timestamp(TimeUnit::Millisecond, _) | DataType::Date32 | DataType::Date64 => {
            1_000_000
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000,
        DataType::Timestamp(TimeUnit::Nanosecond, _) => 1,
        other => return internal_err!("bounded() of {other}"),
    };
    let numbers = match values.data_type() {
        DataType::Date32 => cast_array(&cast_array(values, &DataType::Date64)?, &DataType::Int64),
        _ => cast_array(values, &DataType::Int64),
    }?;
    let instants: TimestampNanosecondArray =
        numbers
            .as_primitive::<Int64Type>()
            .unary::<_, TimestampNanosecondType>(|number| number.saturating_mul(factor));
    Ok(Arc::new(instants.with_timezone_opt(zone)))
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        "bounded"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match arg_types {
            [_, kind @ DataType::Timestamp(TimeUnit::Nanosecond, _)] => Ok(kind.clone()),
            _ => internal_err!("bounded() has a date or a timestamp, and a timestamp"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let DataType::Timestamp(_, zone) = args.return_field.data_type() else {
            return internal_err!("bounded() gives timestamps");
        };
        Ok(match args.args.first() {
            Some(ColumnarValue::Array(values)) => {
                ColumnarValue::Array(bounded(values, zone.clone())?)
            }
            Some(ColumnarValue::Scalar(value)) => {
                let instant = bounded(&value.to_array()?, zone.clone())?;
                ColumnarValue::Scalar(ScalarValue::try_from_array(&instant, 0)?)
            }
            None => return internal_err!("bounded() has two arguments"),
        })
    }

    // Comparisons ask for it when they look for an order.
    fn evaluate_bounds(&self, inputs: &[&Interval]) -> Result<Interval> {
        match inputs {
            [_, kind] => Interval::make_unbounded(&kind.data_type()),
            _ => internal_err!("bounded() has two arguments"),
        }
    }
}
