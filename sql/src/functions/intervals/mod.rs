//! Intervals: times and divided by numbers, made of parts, read from texts.
//!
//! Purpose: what PostgreSQL has of them and DataFusion lacks. Invariant: a result that is no interval is an
//! error, and never wraps around. Non-goal: intervals added to times, which DataFusion does.

mod scale;
mod text;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DataType, DurationNanosecondType, Float64Type, Int64Type,
    IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, cast as cast_to,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use self::scale::{By, justified, justified_days, justified_hours, scaled, whole};
use super::plain::{Plain, Section, argument, is_text, whole as compute_whole, wrong};

pub(crate) use self::text::{in_words, is_plain, parse};

const NANOSECONDS_OF_DAY: i128 = 86_400_000_000_000;
const SPAN: DataType = DataType::Interval(IntervalUnit::MonthDayNano);
/// The parts that `make_interval` takes, the last of which may have a fraction.
pub(crate) const PARTS: [&str; 7] = ["years", "months", "weeks", "days", "hours", "mins", "secs"];

/// The functions.
pub(super) const FUNCTIONS: [Plain; 8] = [
    scaling("interval_multiply", times),
    scaling("interval_divide", divided),
    justifying(
        "justify_days",
        |args| each(args, justified_days),
        "Turns 30 days of an interval into a month",
    ),
    justifying(
        "justify_hours",
        |args| each(args, justified_hours),
        "Turns 24 hours of an interval into a day",
    ),
    justifying(
        "justify_interval",
        |args| each(args, justified),
        "Turns 24 hours into a day and 30 days into a month, and gives all parts one sign",
    ),
    Plain {
        name: "make_interval",
        aliases: &[],
        takes: parts_taken,
        gives: |_| SPAN,
        compute: made,
        section: Section::Time,
        about: Some((
            "make_interval(years, months, weeks, days, hours, mins, secs)",
            "Makes an interval of its parts, which may be named: make_interval(days => 10)",
        )),
    },
    TEXT_TO_INTERVAL,
    LENGTH,
];

/// How long an interval is, in nanoseconds, where a month has 30 days and a day 24 hours.
const LENGTH: Plain = Plain {
    name: "interval_length",
    aliases: &[],
    takes: |types| match types {
        [span] => Some(vec![counted(span)?]),
        _ => None,
    },
    gives: |_| DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0),
    compute: |args| compute_whole(args, |arrays, _| lengths(arrays)),
    section: Section::Time,
    about: None,
};

fn lengths(arrays: &[ArrayRef]) -> Result<ArrayRef> {
    let spans = argument(arrays, 0)?;
    let lengths: Decimal128Array = match spans.as_primitive_opt::<DurationNanosecondType>() {
        Some(durations) => durations.unary(i128::from),
        None => {
            let spans = cast(spans, &SPAN)?;
            spans
                .as_primitive::<IntervalMonthDayNanoType>()
                .unary(|span| {
                    let days = i128::from(span.months) * 30 + i128::from(span.days);
                    days * NANOSECONDS_OF_DAY + i128::from(span.nanoseconds)
                })
        }
    };
    let lengths = lengths.with_precision_and_scale(DECIMAL128_MAX_PRECISION, 0)?;
    Ok(Arc::new(lengths))
}

/// A call of that function.
pub(crate) fn span_length(span: Expr) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(
        Arc::new(LENGTH.function()),
        vec![span],
    ))
}

/// Of a text, and whether what is none is NULL.
pub(super) const TEXT_TO_INTERVAL: Plain = Plain {
    name: "text_to_interval",
    aliases: &[],
    takes: |types| match types {
        [text, DataType::Boolean] if is_text(text) => Some(vec![DataType::Utf8, DataType::Boolean]),
        _ => None,
    },
    gives: |_| SPAN,
    compute: read,
    section: Section::Time,
    about: None,
};

type Compute = fn(&ScalarFunctionArgs) -> Result<ColumnarValue>;

const fn scaling(name: &'static str, compute: Compute) -> Plain {
    Plain {
        name,
        aliases: &[],
        takes: |types| match types {
            [span, factor] if is_factor(factor) => Some(vec![counted(span)?, DataType::Float64]),
            _ => None,
        },
        gives: |types| types.first().and_then(counted).unwrap_or(SPAN),
        compute,
        section: Section::Time,
        about: None,
    }
}

const fn justifying(name: &'static str, compute: Compute, does: &'static str) -> Plain {
    Plain {
        name,
        aliases: &[],
        takes: |types| match types {
            [DataType::Interval(_) | DataType::Duration(_) | DataType::Null] => Some(vec![SPAN]),
            [text] if is_text(text) => Some(vec![SPAN]),
            _ => None,
        },
        gives: |_| SPAN,
        compute,
        section: Section::Time,
        about: Some((
            match name.len() {
                12 => "justify_days(interval)",
                13 => "justify_hours(interval)",
                _ => "justify_interval(interval)",
            },
            does,
        )),
    }
}

/// As what a span of time is scaled.
fn counted(span: &DataType) -> Option<DataType> {
    match span {
        DataType::Interval(_) => Some(SPAN),
        DataType::Duration(_) => Some(DataType::Duration(TimeUnit::Nanosecond)),
        _ => None,
    }
}

fn is_factor(data_type: &DataType) -> bool {
    data_type.is_numeric() || data_type.is_null()
}

fn out_of_range() -> DataFusionError {
    DataFusionError::Execution("the result is out of range for INTERVAL".to_owned())
}

/// Every interval by itself.
fn each(
    args: &ScalarFunctionArgs,
    change: fn(IntervalMonthDayNano) -> Option<IntervalMonthDayNano>,
) -> Result<ColumnarValue> {
    compute_whole(args, |arrays, _| {
        let spans = argument(arrays, 0)?.as_primitive::<IntervalMonthDayNanoType>();
        let changed = spans.iter().map(|span| match span {
            Some(span) => change(span).map(Some).ok_or_else(out_of_range),
            None => Ok(None),
        });
        let changed: PrimitiveArray<IntervalMonthDayNanoType> = changed.collect::<Result<_>>()?;
        Ok(Arc::new(changed))
    })
}

fn times(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    compute_whole(args, |arrays, _| scale(arrays, By::Times))
}

fn divided(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    compute_whole(args, |arrays, _| scale(arrays, By::Divided))
}

fn scale(arrays: &[ArrayRef], by: By) -> Result<ArrayRef> {
    let (spans, factors) = (argument(arrays, 0)?, argument(arrays, 1)?);
    let factors = factors.as_primitive::<Float64Type>();
    let zero = |factor: f64| by == By::Divided && factor == 0.0;
    let factor = |row: usize| match factors.is_valid(row) && spans.is_valid(row) {
        true if zero(factors.value(row)) => wrong("division by zero"),
        true => Ok(Some(factors.value(row))),
        false => Ok(None),
    };
    if let Some(durations) = spans.as_primitive_opt::<DurationNanosecondType>() {
        let made = (0..spans.len()).map(|row| match factor(row)? {
            Some(factor) => {
                let span = IntervalMonthDayNano::new(0, 0, durations.value(row));
                let scaled = scaled(span, by, factor).map(|span| span.nanoseconds);
                scaled.map(Some).ok_or_else(out_of_range)
            }
            None => Ok(None),
        });
        let made: PrimitiveArray<DurationNanosecondType> = made.collect::<Result<_>>()?;
        return Ok(Arc::new(made));
    }
    let spans = spans.as_primitive::<IntervalMonthDayNanoType>();
    let made = (0..spans.len()).map(|row| match factor(row)? {
        Some(factor) => scaled(spans.value(row), by, factor)
            .map(Some)
            .ok_or_else(out_of_range),
        None => Ok(None),
    });
    let made: PrimitiveArray<IntervalMonthDayNanoType> = made.collect::<Result<_>>()?;
    Ok(Arc::new(made))
}

fn parts_taken(types: &[DataType]) -> Option<Vec<DataType>> {
    let taken = types.iter().enumerate().map(|(at, of)| match at {
        0..=5 if of.is_integer() || of.is_null() => Some(DataType::Int64),
        6 if is_factor(of) => Some(DataType::Float64),
        _ => None,
    });
    taken.collect()
}

fn made(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    compute_whole(args, |arrays, rows| {
        let made = (0..rows).map(|row| match arrays.iter().any(|of| of.is_null(row)) {
            true => Ok(None),
            false => of_parts(arrays, row).map(Some).ok_or_else(out_of_range),
        });
        let made: PrimitiveArray<IntervalMonthDayNanoType> = made.collect::<Result<_>>()?;
        Ok(Arc::new(made))
    })
}

fn of_parts(arrays: &[ArrayRef], row: usize) -> Option<IntervalMonthDayNano> {
    let part = |at: usize| match arrays.get(at) {
        Some(array) => i128::from(array.as_primitive::<Int64Type>().value(row)),
        None => 0,
    };
    let seconds = arrays.get(6).map_or(0.0, |seconds| {
        seconds.as_primitive::<Float64Type>().value(row)
    });
    // As PostgreSQL does, to the microsecond.
    let seconds = i128::from(whole((seconds * 1e6).round_ties_even())?) * 1_000;
    let time = (part(4) * 3_600 + part(5) * 60) * 1_000_000_000 + seconds;
    Some(IntervalMonthDayNano {
        months: i32::try_from(part(0) * 12 + part(1)).ok()?,
        days: i32::try_from(part(2) * 7 + part(3)).ok()?,
        nanoseconds: i64::try_from(time).ok()?,
    })
}

fn read(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    compute_whole(args, |arrays, rows| {
        let texts = argument(arrays, 0)?.as_string::<i32>();
        let lenient = argument(arrays, 1)?.as_boolean();
        let spans = (0..rows).map(|row| match texts.is_valid(row) {
            false => Ok(None),
            true => match parse(texts.value(row)) {
                Some(span) => Ok(Some(span)),
                None if lenient.value(row) => Ok(None),
                None => wrong(format!(
                    "Invalid input syntax for type interval: \"{}\"",
                    texts.value(row)
                )),
            },
        });
        let spans: PrimitiveArray<IntervalMonthDayNanoType> = spans.collect::<Result<_>>()?;
        Ok(Arc::new(spans))
    })
}

/// The values of texts as a cast gives them.
pub(super) fn intervals_of(texts: &ArrayRef) -> Result<ArrayRef> {
    let texts = cast(texts, &DataType::Utf8)?;
    let spans = texts.as_string::<i32>().iter().map(|text| match text {
        Some(text) => match parse(text) {
            Some(span) => Ok(Some(span)),
            None => wrong(format!(
                "Invalid input syntax for type interval: \"{text}\""
            )),
        },
        None => Ok(None),
    });
    let spans: PrimitiveArray<IntervalMonthDayNanoType> = spans.collect::<Result<_>>()?;
    Ok(Arc::new(spans))
}

/// Whether an interval is written that has a time of the day: a date that it is added to has one, too.
fn has_time(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(span)), _) => span.nanoseconds != 0,
        Expr::Negative(inner) => has_time(inner),
        _ => false,
    }
}

/// Plans `*` and `/` of intervals and numbers, and times that are added to dates.
#[derive(Debug)]
pub(super) struct Scaled;

impl ExprPlanner for Scaled {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let types = (expr.left.get_type(schema), expr.right.get_type(schema));
        let (Ok(left), Ok(right)) = types else {
            return Ok(PlannerResult::Original(expr));
        };
        let moves = matches!(expr.op, BinaryOperator::Plus | BinaryOperator::Minus);
        if moves && left == DataType::Date32 && has_time(&expr.right) {
            let left = cast_to(expr.left, DataType::Timestamp(TimeUnit::Nanosecond, None));
            return Ok(PlannerResult::Original(RawBinaryExpr { left, ..expr }));
        }
        if moves && right == DataType::Date32 && has_time(&expr.left) {
            let right = cast_to(expr.right, DataType::Timestamp(TimeUnit::Nanosecond, None));
            return Ok(PlannerResult::Original(RawBinaryExpr { right, ..expr }));
        }
        let (spans, factors) = (counted(&left).is_some(), is_factor(&right));
        let turned = is_factor(&left) && counted(&right).is_some();
        let (at, left, right) = match expr.op {
            BinaryOperator::Multiply if spans && factors => (0, expr.left, expr.right),
            BinaryOperator::Multiply if turned => (0, expr.right, expr.left),
            BinaryOperator::Divide if spans && factors => (1, expr.left, expr.right),
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let function = Arc::new(FUNCTIONS[at].function());
        let call = ScalarFunction::new_udf(function, vec![left, right]);
        Ok(PlannerResult::Planned(Expr::ScalarFunction(call)))
    }
}
