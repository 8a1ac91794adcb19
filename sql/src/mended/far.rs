//! Dates and times that nanoseconds do not reach.
//!
//! DataFusion compares a DATE with a TIMESTAMP, and one TIMESTAMP with another, as the finer of both. Nanoseconds end in
//! 2262, so that `valid_to < now()` fails for the 9999-12-31 that stands for "never" in many tables. Such a value is
//! compared as the last, or first, instant that there is ([`Bounded`]); where neither side has nanoseconds of its own,
//! both are microseconds.
//!
//! Invariant: within nanoseconds' reach nothing changes. Non-goals: keys of joins; what is written to a column, which
//! has to fit.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, TimestampNanosecondArray};
use arrow::compute::cast as cast_array;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, TimeUnit, TimestampNanosecondType};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue, internal_err};
use datafusion::logical_expr::expr::{Between, InList};
use datafusion::logical_expr::utils::{conjunction, disjunction};
use datafusion::logical_expr::{
    BinaryExpr, Cast, ColumnarValue, Expr, ExprSchemable, LogicalPlan, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, cast,
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

/// Several comparisons in the place of one, if values of both kinds meet there: the last instant is not asked of two.
fn in_pairs(expr: &Expr, schema: &DFSchema) -> Option<Expr> {
    let is_mixed = |values: Vec<&Expr>| {
        let found = values
            .iter()
            .filter(|value| coarse(value, schema).is_some());
        let found = found.count();
        found > 1 && found < values.len() && !values.iter().any(|value| value.is_volatile())
    };
    match expr {
        Expr::Between(Between {
            expr,
            negated,
            low,
            high,
        }) if is_mixed(vec![expr, low, high]) => {
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
        }) if is_mixed(std::iter::once(expr.as_ref()).chain(list).collect()) => {
            let value = || expr.as_ref().clone();
            let items = list.iter().cloned();
            match negated {
                false => disjunction(items.map(|item| value().eq(item))),
                true => conjunction(items.map(|item| value().not_eq(item))),
            }
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
            false => ScalarUDF::from(Bounded::new(zone)).call(vec![inner]),
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

/// Casts a date or a timestamp to nanoseconds; what these do not reach is the last, or first, of them.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    signature: Signature,
    zone: Option<Arc<str>>,
}

impl Bounded {
    fn new(zone: Option<Arc<str>>) -> Self {
        Self {
            signature: Signature::any(1, Volatility::Immutable),
            zone,
        }
    }

    fn kind(&self) -> DataType {
        DataType::Timestamp(TimeUnit::Nanosecond, self.zone.clone())
    }

    fn bounded(&self, values: &dyn Array) -> Result<ArrayRef> {
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
            DataType::Date32 => {
                cast_array(&cast_array(values, &DataType::Date64)?, &DataType::Int64)
            }
            _ => cast_array(values, &DataType::Int64),
        }?;
        let instants: TimestampNanosecondArray =
            numbers
                .as_primitive::<Int64Type>()
                .unary::<_, TimestampNanosecondType>(|number| number.saturating_mul(factor));
        Ok(Arc::new(instants.with_timezone_opt(self.zone.clone())))
    }
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        "bounded"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(self.kind())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let may_be_null = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.kind(), may_be_null)))
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(match args.args.pop() {
            Some(ColumnarValue::Array(values)) => ColumnarValue::Array(self.bounded(&values)?),
            Some(ColumnarValue::Scalar(value)) => {
                let bounded = self.bounded(&value.to_array()?)?;
                ColumnarValue::Scalar(ScalarValue::try_from_array(&bounded, 0)?)
            }
            None => return internal_err!("bounded() has one argument"),
        })
    }
}
