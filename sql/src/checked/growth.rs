//! Functions whose result grows with a number in their arguments, or with one times another.
//!
//! Idea: `repeat('x', 2000000000)` is a short text and two gigabytes that no memory limit knows of.
//! How large the result of a call for one batch becomes is computed before it is made.
//!
//! Non-goals: functions whose result is about as large as their arguments.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int64Type, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
};
use regex::Regex;

use super::sizes::{ELEMENT_BYTES, elements, leaves, length, number, place, text_at};
use crate::error::{capacity, error_to_datafusion};

/// What one call may make for one batch: 256 MiB.
const MAX_RESULT_BYTES: u128 = 256 << 20;
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
    /// The same for a pattern, with flags behind.
    Matched,
    /// The third argument in the place of elements of the first, which is a list.
    ReplacedElements,
    /// The elements of the first argument, with the second between them.
    Joined,
    /// The others, with the first argument between them.
    Separated,
    /// All arguments one behind the other.
    Together,
}

/// The functions and how they grow.
pub(super) const GROWING: [(&str, Growth); 16] = [
    ("regexp_replace", Growth::Matched),
    ("array_replace", Growth::ReplacedElements),
    ("array_replace_n", Growth::ReplacedElements),
    ("array_replace_all", Growth::ReplacedElements),
    ("array_to_string", Growth::Joined),
    ("concat_ws", Growth::Separated),
    ("concat", Growth::Together),
    ("array_concat", Growth::Together),
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
        let sum = |size: &mut dyn FnMut(usize) -> Option<u128>| {
            let mut bytes = 0_u128;
            for row in 0..rows {
                bytes = bytes.saturating_add(size(row).unwrap_or(0));
                if bytes > MAX_RESULT_BYTES {
                    break;
                }
            }
            bytes
        };
        let mut bytes = sum(&mut |row| self.growth.size(&arrays, row));
        if bytes > MAX_RESULT_BYTES && self.growth.is_counted() {
            // What there may be at most is too much: how much will it be?
            let mut patterns = Patterns::default();
            bytes = sum(&mut |row| self.growth.counted(&arrays, row, &mut patterns));
        }
        if bytes <= MAX_RESULT_BYTES {
            return Ok(());
        }
        Err(error_to_datafusion(capacity(format!(
            "{} would make {bytes} bytes or more at once, and a call may make {MAX_RESULT_BYTES}: ask for \
             less, or for fewer rows",
            self.inner.name()
        ))))
    }
}

impl Growth {
    /// The bytes of one row's result, at most and roughly. `None` where there is none, or no telling.
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
            Self::Elements => {
                let element = length(2).unwrap_or(0).max(ELEMENT_BYTES);
                Some(count(1)?.saturating_mul(element))
            }
            Self::Series => series(arguments, row).map(|n| n.saturating_mul(ELEMENT_BYTES)),
            Self::Replaced => {
                let (text, from, to) = (length(0)?, length(1)?, length(2)?);
                if to <= from {
                    return Some(text);
                }
                // Before and behind every character, if nothing is looked for.
                Some(replaced(text, text / from.max(1) + 1, to))
            }
            Self::Matched => {
                let text = length(0)?;
                let most = if is_global(arguments, row) {
                    text + 1
                } else {
                    1
                };
                let repeated = text.saturating_mul(groups(arguments, row)?);
                Some(replaced(text, most, length(2)?).saturating_add(repeated))
            }
            Self::ReplacedElements => {
                let list = elements(arguments.first()?, row)?;
                let most = list.len() as u128;
                Some(replaced(length(0)?, most, length(2).unwrap_or(0)))
            }
            Self::Joined => {
                let between = leaves(&elements(arguments.first()?, row)?);
                Some(replaced(length(0)?, between, length(1)?))
            }
            Self::Separated => {
                let others = (1..arguments.len()).filter_map(length);
                let (bytes, parts) = others.fold((0_u128, 0), |(bytes, parts), more| {
                    (bytes.saturating_add(more), parts + 1)
                });
                Some(replaced(bytes, parts, length(0)?))
            }
            Self::Together => {
                let all = (0..arguments.len()).filter_map(length);
                Some(all.fold(0, u128::saturating_add))
            }
        }
    }

    /// Whether looking at the texts tells more than their lengths.
    fn is_counted(self) -> bool {
        matches!(self, Self::Replaced | Self::Matched)
    }

    /// The bytes of one row's result, counted.
    fn counted(self, arguments: &[ArrayRef], row: usize, patterns: &mut Patterns) -> Option<u128> {
        let text = text_at(arguments.first()?, row)?;
        let looked_for = text_at(arguments.get(1)?, row)?;
        let (length, to) = (text.len() as u128, length(arguments.get(2)?, row)?);
        match self {
            Self::Matched => {
                let flags = arguments.get(3).and_then(|flags| text_at(flags, row));
                let pattern = patterns.get(&looked_for, flags.unwrap_or_default())?;
                let found = match is_global(arguments, row) {
                    true => pattern.find_iter(&text).count(),
                    false => usize::from(pattern.is_match(&text)),
                };
                // What a group repeats is a part of the text, each of them once.
                let repeated = length.saturating_mul(groups(arguments, row)?);
                Some(replaced(length, found as u128, to).saturating_add(repeated))
            }
            _ => {
                let found = text.matches(&looked_for).count();
                Some(replaced(length, found as u128, to))
            }
        }
    }
}

/// The bytes of a text in which something was put so often.
fn replaced(text: u128, times: u128, by: u128) -> u128 {
    times.saturating_mul(by).saturating_add(text)
}

/// Whether a pattern is replaced wherever it is.
fn is_global(arguments: &[ArrayRef], row: usize) -> bool {
    let flags = arguments.get(3).and_then(|flags| text_at(flags, row));
    flags.is_some_and(|flags| flags.contains('g'))
}

/// How many groups of a pattern a replacement may repeat.
fn groups(arguments: &[ArrayRef], row: usize) -> Option<u128> {
    let by = text_at(arguments.get(2)?, row)?;
    Some(by.matches(['$', '\\']).count() as u128)
}

/// The pattern that was used last.
#[derive(Default)]
struct Patterns(Option<(String, Regex)>);

impl Patterns {
    /// `None` for one that is none, which the function says itself.
    fn get(&mut self, pattern: &str, flags: String) -> Option<&Regex> {
        let flags = flags.replace('g', "");
        let whole = match flags.is_empty() {
            true => pattern.to_owned(),
            false => format!("(?{flags}){pattern}"),
        };
        if self.0.as_ref().is_none_or(|(known, _)| *known != whole) {
            let regex = Regex::new(&whole).ok()?;
            self.0 = Some((whole, regex));
        }
        self.0.as_ref().map(|(_, regex)| regex)
    }
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

/// Lengths of which the negative ones are zero, which the functions take for very long ones.
fn at_least_zero(lengths: &ColumnarValue) -> Result<ColumnarValue> {
    let ColumnarValue::Array(array) = lengths else {
        return Ok(lengths.clone());
    };
    let numbers = cast(array, &DataType::Int64)?;
    let numbers: Int64Array = numbers
        .as_primitive::<Int64Type>()
        .unary(|number| number.max(0));
    Ok(ColumnarValue::Array(cast(&numbers, array.data_type())?))
}

impl ScalarUDFImpl for Bounded {
    as_inner!();

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.check(&args)?;
        if self.growth == Growth::Padded
            && let Some(length) = args.args.get_mut(1)
        {
            *length = at_least_zero(length)?;
        }
        self.inner.invoke_with_args(args)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        match self.growth {
            // They would become functions that say nothing.
            Growth::Together | Growth::Separated | Growth::Matched => {
                Ok(ExprSimplifyResult::Original(args))
            }
            _ => self.inner.simplify(args, info),
        }
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arg_types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}
