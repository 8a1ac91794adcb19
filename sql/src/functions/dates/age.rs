//! `age(a, b)`: the years, months, days and time from `b` to `a`, as PostgreSQL counts them.
//!
//! Idea: field by field, as on paper. A month that is borrowed has as many days as that of the earlier date.

use std::sync::Arc;

use arrow::array::PrimitiveArray;
use arrow::datatypes::{DataType, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit};
use chrono::{Datelike, NaiveDate, NaiveDateTime, Timelike};
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};

use super::super::plain::{Plain, Section, argument, whole};
use super::{as_timestamp, moment};

const DAY: i64 = 86_400 * 1_000_000_000;

pub(super) const AGE: Plain = Plain {
    name: "age",
    aliases: &[],
    takes: |types| match types {
        [later, earlier] => Some(vec![as_timestamp(later)?, as_timestamp(earlier)?]),
        _ => None,
    },
    gives: |_| DataType::Interval(IntervalUnit::MonthDayNano),
    compute: ages,
    section: Section::Time,
    about: Some((
        "age(later, earlier)",
        "The interval between two times in years, months and days; age(time) is that from it to today",
    )),
};

fn ages(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    whole(args, |arrays, rows| {
        let (later, earlier) = (argument(arrays, 0)?, argument(arrays, 1)?);
        let ages = (0..rows).map(|row| {
            Ok(match (moment(later, row)?, moment(earlier, row)?) {
                (Some(later), Some(earlier)) => Some(age(later, earlier)),
                _ => None,
            })
        });
        let ages: PrimitiveArray<IntervalMonthDayNanoType> = ages.collect::<Result<_>>()?;
        Ok(Arc::new(ages))
    })
}

fn age(later: NaiveDateTime, earlier: NaiveDateTime) -> IntervalMonthDayNano {
    let (sign, from, to) = match later < earlier {
        true => (-1, later, earlier),
        false => (1, earlier, later),
    };
    let month = |at: NaiveDateTime| at.year() * 12 + at.month0() as i32;
    let mut months = month(to) - month(from);
    let mut days = to.day() as i32 - from.day() as i32;
    let mut time = time_of(to) - time_of(from);
    if time < 0 {
        (days, time) = (days - 1, time + DAY);
    }
    if days < 0 {
        // PostgreSQL takes the month of the second argument, or of the first if that is before it: the earlier.
        (months, days) = (months - 1, days + days_of_month(from));
    }
    IntervalMonthDayNano::new(sign * months, sign * days, i64::from(sign) * time)
}

fn time_of(at: NaiveDateTime) -> i64 {
    let seconds = i64::from(at.num_seconds_from_midnight());
    seconds * 1_000_000_000 + i64::from(at.nanosecond())
}

fn days_of_month(at: NaiveDateTime) -> i32 {
    let (year, month) = match at.month() {
        12 => (at.year() + 1, 1),
        month => (at.year(), month + 1),
    };
    let next = NaiveDate::from_ymd_opt(year, month, 1);
    let last = next.and_then(|next| next.pred_opt());
    last.map_or(31, |last| last.day() as i32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::span_text;

    #[test]
    fn ages_are_those_of_postgresql() {
        let at = |text: &str| text.parse::<NaiveDateTime>().unwrap();
        for (later, earlier, wanted) in [
            (
                "2001-04-10T00:00:00",
                "1957-06-13T00:00:00",
                "43 years 9 mons 27 days",
            ),
            (
                "1957-06-13T00:00:00",
                "2001-04-10T00:00:00",
                "-43 years -9 mons -27 days",
            ),
            ("2024-03-01T00:00:00", "2024-01-31T00:00:00", "1 mon 1 day"),
            ("2024-03-31T00:00:00", "2024-02-29T00:00:00", "1 mon 2 days"),
            ("2026-01-01T00:00:00", "2025-12-31T12:00:00", "12:00:00"),
            (
                "1969-01-01T01:00:00.5",
                "1969-01-01T00:00:00.75",
                "00:59:59.75",
            ),
            ("2026-05-05T00:00:00", "2026-05-05T00:00:00", "00:00:00"),
        ] {
            let found = span_text(age(at(later), at(earlier)));
            assert_eq!(found, wanted, "{later} {earlier}");
        }
    }
}
