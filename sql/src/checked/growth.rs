//! Functions whose result grows with a number in their arguments.
//!
//! Idea: `repeat('x', 2000000000)` is a short text and two gigabytes that no memory limit knows of.
//! How large the result of a call for one batch becomes is computed before it is made.
//!
//! Non-goals: functions whose result is about as large as their arguments.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, FieldRef, Int64Type, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature,
};

use crate::error::{capacity, error_to_datafusion};

/// What one call may make for one batch: 256 MiB.
const MAX_RESULT_BYTES: u128 = 256 << 20;
/// Bytes of an element of a list, at least.
const ELEMENT_BYTES: u128 = 8;
/// Bytes of a character, at most.
const CHARACTER_BYTES: u128 = 4;
/// Nanoseconds of a day and of a month, at least.
const DAY: i128 = 24 * 3600 * 1_000_000_000;
const MONTH: i128 = 28 * DAY;

/// How a function's result grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Growth {
    /// The first argument, as often as the second says.
    Repeated,
    /// Characters, as many as the second argument says.
    Padded,
    /// From the first argument to the second, by the third; to the first if it is alone.
    Series,
    /// Elements, as many as the second argument says.
    Elements,
    /// The third argument in the place of each of the second in the first.
    Replaced,
}

/// The functions and how they grow.
pub(super) const GROWING: [(&str, Growth); 8] = [
    ("repeat", Growth::Repeated),
    ("lpad", Growth::Padded),
    ("rpad", Growth::Padded),
    ("range", Growth::Series),
    ("generate_series", Growth::Series),
    ("array_repeat", Growth::Repeated),
    ("array_resize", Growth::Elements),
    ("replace", Growth::Replaced),
];

/// A function that says how large its result becomes before it is made.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Bounded {
    inner: Arc<ScalarUDF>,
    growth: Growth,
}

impl Bounded {
    pub(super) fn new(inner: Arc<ScalarUDF>, growth: Growth) -> Self {
        Self { inner, growth }
    }

    /// Fails if the result is too large.
    fn check(&self, args: &ScalarFunctionArgs) -> Result<()> {
        if args.number_rows == 0 {
            return Ok(());
        }
        let arrays = args.args.iter().map(|argument| {
            // A constant is there once, however many rows there are.
            let array = argument.to_array(match argument {
                ColumnarValue::Array(_) => args.number_rows,
                ColumnarValue::Scalar(_) => 1,
            })?;
            Ok(match array.data_type().is_integer() {
                true => cast(&array, &DataType::Int64)?,
                false => array,
            })
        });
        let arrays: Vec<ArrayRef> = arrays.collect::<Result<_>>()?;
        let rows = arrays.iter().map(|array| array.len()).max().unwrap_or(0);
        let bytes = (0..rows).fold(0_u128, |sum, row| {
            let size = self.growth.size(&arrays, row).unwrap_or(0);
            sum.saturating_add(size)
        });
        if bytes <= MAX_RESULT_BYTES {
            return Ok(());
        }
        Err(error_to_datafusion(capacity(format!(
            "{} would make {bytes} bytes at once, and a call may make {MAX_RESULT_BYTES}: ask for \
             less, or for fewer rows",
            self.inner.name()
        ))))
    }
}

impl Growth {
    /// The bytes of one row's result, roughly. `None` where there is none, or no telling.
    fn size(self, arguments: &[ArrayRef], row: usize) -> Option<u128> {
        let count = |at: usize| {
            let number = number(arguments.get(at)?, row)?;
            Some(u128::try_from(number).unwrap_or(0))
        };
        let length = |at: usize| length(arguments.get(at)?, row);
        match self {
            // As lists have it, an empty element takes room, too.
            Self::Repeated => Some(length(0)?.max(1).saturating_mul(count(1)?)),
            Self::Padded => Some(count(1)?.saturating_mul(CHARACTER_BYTES)),
            Self::Elements => Some(count(1)?.saturating_mul(ELEMENT_BYTES)),
            Self::Series => series(arguments, row).map(|n| n.saturating_mul(ELEMENT_BYTES)),
            Self::Replaced => {
                let (text, from, to) = (length(0)?, length(1)?, length(2)?);
                // Before and behind every character, if nothing is looked for.
                let most = (text / from.max(1) + 1)
                    .saturating_mul(to)
                    .saturating_add(text);
                if to <= from || most <= MAX_RESULT_BYTES {
                    return Some(text);
                }
                let found = text_at(arguments.first()?, row)?
                    .matches(&text_at(arguments.get(1)?, row)?)
                    .count();
                Some((found as u128).saturating_mul(to).saturating_add(text))
            }
        }
    }
}

/// Where a row of an argument is: constants have one.
fn place(array: &ArrayRef, row: usize) -> Option<usize> {
    let row = if array.len() == 1 { 0 } else { row };
    array.is_valid(row).then_some(row)
}

/// An integer.
fn number(array: &ArrayRef, row: usize) -> Option<i64> {
    let row = place(array, row)?;
    match array.as_primitive_opt::<Int64Type>() {
        Some(numbers) => Some(numbers.value(row)),
        None => {
            let one = cast(&array.slice(row, 1), &DataType::Int64).ok()?;
            let one = one.as_primitive_opt::<Int64Type>()?;
            one.is_valid(0).then(|| one.value(0))
        }
    }
}

fn text_at(array: &ArrayRef, row: usize) -> Option<String> {
    let one = cast(&array.slice(place(array, row)?, 1), &DataType::Utf8).ok()?;
    let one = one.as_string_opt::<i32>()?;
    one.is_valid(0).then(|| one.value(0).to_owned())
}

/// The bytes of a text; of anything else, what it takes in a list.
fn length(array: &ArrayRef, row: usize) -> Option<u128> {
    let row = place(array, row)?;
    Some(match array.data_type() {
        DataType::Utf8View => array.as_string_view().value(row).len() as u128,
        DataType::Utf8 => array.as_string::<i32>().value(row).len() as u128,
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).len() as u128,
        kind if kind.is_primitive() => ELEMENT_BYTES,
        _ => {
            let bytes = array.slice(row, 1).to_data().get_slice_memory_size();
            (bytes.unwrap_or_default() as u128).max(ELEMENT_BYTES)
        }
    })
}

/// How many steps lead from the start to the end.
fn series(arguments: &[ArrayRef], row: usize) -> Option<u128> {
    let (start, end) = match arguments {
        [end] => (0, position(end, row)?),
        [start, end, ..] => (position(start, row)?, position(end, row)?),
        [] => return None,
    };
    let step = match arguments.get(2) {
        Some(step) => self::step(step, row)?,
        None => 1,
    };
    let distance = if step < 0 { start - end } else { end - start };
    let steps = distance.checked_div(step.abs().max(1))?;
    Some(u128::try_from(steps).map_or(0, |steps| steps + 1))
}

/// A place in a series: a number, or nanoseconds.
fn position(array: &ArrayRef, row: usize) -> Option<i128> {
    let nanoseconds = match array.data_type() {
        DataType::Date32 => DAY,
        DataType::Date64 | DataType::Timestamp(TimeUnit::Millisecond, _) => 1_000_000,
        DataType::Timestamp(TimeUnit::Second, _) => 1_000_000_000,
        DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000,
        _ => 1,
    };
    let value = match array.data_type() {
        DataType::Date32 => cast(&array.slice(place(array, row)?, 1), &DataType::Int32).ok()?,
        _ => array.slice(place(array, row)?, 1),
    };
    Some(i128::from(number(&value, 0)?).saturating_mul(nanoseconds))
}

fn step(array: &ArrayRef, row: usize) -> Option<i128> {
    match ScalarValue::try_from_array(array, place(array, row)?).ok()? {
        ScalarValue::IntervalMonthDayNano(Some(step)) => Some(
            i128::from(step.months) * MONTH
                + i128::from(step.days) * DAY
                + i128::from(step.nanoseconds),
        ),
        _ => number(array, row).map(i128::from),
    }
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn is_strict(&self) -> bool {
        self.inner.inner().is_strict()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.check(&args)?;
        self.inner.invoke_with_args(args)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.inner.simplify(args, info)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arg_types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}
