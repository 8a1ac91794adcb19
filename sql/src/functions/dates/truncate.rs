//! `date_trunc`: DataFusion's, but for what it cuts in the wrong direction or not at all.
//!
//! Idea: milliseconds of a constant before 1970 are cut towards 1970 there, and times that no count of
//! nanoseconds reaches are refused. Times in UTC are cut here in their own unit, and always towards the past.
//! Non-goals: times of day, and units of days and longer in other zones, which are as they were.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{
    ArrowTimestampType, DataType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use chrono::{Datelike, NaiveDate};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
};

use crate::checked::as_inner;

use super::super::plain::{argument, whole, wrong};

/// The function's name.
pub(crate) const NAME: &str = "date_trunc";
const SECONDS_OF_DAY: i64 = 86_400;
/// The units, from the shortest on.
const UNITS: [(&str, Unit); 13] = [
    ("microsecond", Unit::Parts(1_000_000)),
    ("millisecond", Unit::Parts(1_000)),
    ("second", Unit::Seconds(1)),
    ("minute", Unit::Seconds(60)),
    ("hour", Unit::Seconds(3_600)),
    ("day", Unit::Days(Days::Day)),
    ("week", Unit::Days(Days::Week)),
    ("month", Unit::Days(Days::Month)),
    ("quarter", Unit::Days(Days::Quarter)),
    ("year", Unit::Days(Days::Year)),
    ("decade", Unit::Days(Days::Decade)),
    ("century", Unit::Days(Days::Century)),
    ("millennium", Unit::Days(Days::Millennium)),
];

#[derive(Debug, Clone, Copy)]
enum Unit {
    /// So many of them are a second.
    Parts(i64),
    Seconds(i64),
    Days(Days),
}

#[derive(Debug, Clone, Copy)]
enum Days {
    Day,
    Week,
    Month,
    Quarter,
    Year,
    Decade,
    Century,
    Millennium,
}

impl Unit {
    fn of(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let named = |name: &str| {
            text == name
                || text.strip_suffix('s') == Some(name)
                || matches!(
                    (name, text.as_str()),
                    ("century", "centuries") | ("millennium", "millennia")
                )
        };
        let (_, unit) = UNITS.into_iter().find(|(name, _)| named(name))?;
        Some(unit)
    }

    /// The begin of the unit that a time is in; `None` if there is no such time.
    fn cut(self, value: i64, of_second: i64) -> Option<i64> {
        match self {
            Self::Parts(parts) => floor(value, (of_second / parts).max(1)),
            Self::Seconds(seconds) => floor(value, seconds * of_second),
            Self::Days(days) => {
                let of_day = SECONDS_OF_DAY * of_second;
                days.cut(value.div_euclid(of_day))?.checked_mul(of_day)
            }
        }
    }

    /// Whether every zone begins it when UTC does.
    fn is_everywhere(self) -> bool {
        matches!(self, Self::Parts(_) | Self::Seconds(..=60))
    }
}

fn floor(value: i64, unit: i64) -> Option<i64> {
    value.checked_sub(value.rem_euclid(unit))
}

impl Days {
    fn cut(self, day: i64) -> Option<i64> {
        let date = NaiveDate::from_epoch_days(i32::try_from(day).ok()?)?;
        let year = date.year();
        let (year, month) = match self {
            Self::Day => return Some(day),
            // The first day of 1970 is a Thursday.
            Self::Week => return day.checked_sub((day + 3).rem_euclid(7)),
            Self::Month => (year, date.month()),
            Self::Quarter => (year, date.month0() / 3 * 3 + 1),
            Self::Year => (year, 1),
            Self::Decade => (year.div_euclid(10) * 10, 1),
            // The first century begins with the year 1.
            Self::Century => ((year - 1).div_euclid(100) * 100 + 1, 1),
            Self::Millennium => ((year - 1).div_euclid(1_000) * 1_000 + 1, 1),
        };
        let begin = NaiveDate::from_ymd_opt(year, month, 1)?;
        Some(i64::from(begin.to_epoch_days()))
    }
}

/// The function. See the module.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Truncate {
    inner: Arc<ScalarUDF>,
}

impl Truncate {
    pub(crate) fn new(inner: Arc<ScalarUDF>) -> Self {
        Self { inner }
    }
}

/// The unit, if it is a constant.
fn unit_of(args: &ScalarFunctionArgs) -> Result<Option<Unit>> {
    let Some(ColumnarValue::Scalar(unit)) = args.args.first() else {
        return Ok(None);
    };
    let Some(text) = unit.try_as_str().flatten() else {
        return Ok(None);
    };
    match Unit::of(text) {
        Some(unit) => Ok(Some(unit)),
        None => {
            let names: Vec<&str> = UNITS.iter().map(|(name, _)| *name).collect();
            wrong(format!(
                "'{text}' is not a unit of date_trunc; there are {}",
                names.join(", ")
            ))
        }
    }
}

fn cut<T: ArrowTimestampType>(times: &ArrayRef, unit: Unit, of_second: i64) -> Result<ArrayRef> {
    let times = times.as_primitive::<T>();
    let cut: PrimitiveArray<T> = times.try_unary(|value| {
        unit.cut(value, of_second).ok_or_else(|| {
            DataFusionError::Execution("date_trunc: the result is out of range".to_owned())
        })
    })?;
    Ok(Arc::new(cut.with_data_type(times.data_type().clone())))
}

fn truncated(times: &ArrayRef, unit: Unit) -> Result<ArrayRef> {
    match times.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => cut::<TimestampSecondType>(times, unit, 1),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            cut::<TimestampMillisecondType>(times, unit, 1_000)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            cut::<TimestampMicrosecondType>(times, unit, 1_000_000)
        }
        _ => cut::<TimestampNanosecondType>(times, unit, 1_000_000_000),
    }
}

impl ScalarUDFImpl for Truncate {
    as_inner!();

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(unit) = unit_of(&args)? else {
            return self.inner.invoke_with_args(args);
        };
        let times = args.args.get(1).map(ColumnarValue::data_type);
        let ours = match &times {
            Some(DataType::Timestamp(_, zone)) => match zone.as_deref() {
                None | Some("UTC" | "+00:00" | "Z") => true,
                Some(_) => unit.is_everywhere(),
            },
            _ => false,
        };
        match ours {
            true => whole(&args, |arrays, _| truncated(argument(arrays, 1)?, unit)),
            false => self.inner.invoke_with_args(args),
        }
    }

    fn output_ordering(&self, input: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.inner().output_ordering(input)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arg_types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_cut_towards_the_past() {
        // 1969-05-31T12:34:56.789012 and 0000-05-31 (which is 1 BC), in microseconds.
        let at = |text: &str| {
            let at: chrono::NaiveDateTime = text.parse().unwrap();
            at.and_utc().timestamp_micros()
        };
        for (unit, wanted) in [
            ("microseconds", "1969-05-31T12:34:56.789012"),
            ("millisecond", "1969-05-31T12:34:56.789"),
            ("second", "1969-05-31T12:34:56"),
            ("minute", "1969-05-31T12:34:00"),
            ("Hour", "1969-05-31T12:00:00"),
            ("day", "1969-05-31T00:00:00"),
            ("week", "1969-05-26T00:00:00"),
            ("month", "1969-05-01T00:00:00"),
            ("quarter", "1969-04-01T00:00:00"),
            ("year", "1969-01-01T00:00:00"),
            ("decade", "1960-01-01T00:00:00"),
            ("century", "1901-01-01T00:00:00"),
            ("millennium", "1001-01-01T00:00:00"),
        ] {
            let cut = Unit::of(unit)
                .unwrap()
                .cut(at("1969-05-31T12:34:56.789012"), 1_000_000);
            assert_eq!(cut, Some(at(wanted)), "{unit}");
        }
        let century = Unit::of("century").unwrap();
        let cut = century.cut(at("0000-05-31T00:00:00"), 1_000_000);
        assert_eq!(cut, Some(at("-0099-01-01T00:00:00")));
        assert_eq!(Unit::of("year").unwrap().cut(i64::MIN, 1_000_000_000), None);
        assert!(Unit::of("fortnight").is_none());
    }
}
