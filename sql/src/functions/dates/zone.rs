//! `time AT TIME ZONE 'Europe/Berlin'`, as in PostgreSQL: an instant becomes the time that clocks show there, and a
//! time that clocks show there an instant.
//!
//! Idea: what is an instant has a zone in its type, which DataFusion would only exchange. Where clocks are turned back, a
//! time that they show twice is the later instant; where they are put forward, one that they never show is counted from
//! before. Invariant: the unit stays what it was.

use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use chrono::{LocalResult, NaiveDateTime, Offset, TimeDelta, TimeZone};
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};

use super::super::plain::{Plain, Section, argument, is_text, whole, wrong};
use super::moment;

const SECOND: i64 = 1_000_000_000;

pub(super) const AT_TIME_ZONE: Plain = Plain {
    name: "at_time_zone",
    aliases: &[],
    takes: |types| match types {
        [time, zone] if is_text(zone) => Some(vec![taken(time)?, DataType::Utf8]),
        _ => None,
    },
    gives: |types| match types {
        [DataType::Timestamp(unit, Some(_)), _] => DataType::Timestamp(*unit, None),
        [DataType::Timestamp(unit, None), _] => DataType::Timestamp(*unit, Some("UTC".into())),
        _ => DataType::Timestamp(TimeUnit::Nanosecond, None),
    },
    compute: converted,
    section: Section::Time,
    about: Some((
        "time AT TIME ZONE zone",
        "Of an instant the time that clocks show in a zone, and of such a time the instant",
    )),
};

/// A text is an instant.
fn taken(time: &DataType) -> Option<DataType> {
    match time {
        DataType::Timestamp(..) => Some(time.clone()),
        DataType::Date32 | DataType::Date64 => Some(DataType::Timestamp(TimeUnit::Second, None)),
        text if is_text(text) => Some(DataType::Timestamp(
            TimeUnit::Nanosecond,
            Some("UTC".into()),
        )),
        _ => None,
    }
}

fn converted(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    whole(args, |arrays, rows| {
        let (times, zones) = (argument(arrays, 0)?, argument(arrays, 1)?);
        let zones = zones.as_string::<i32>();
        let is_instant = matches!(times.data_type(), DataType::Timestamp(_, Some(_)));
        let (mut known, mut moved) = (None::<(String, Tz)>, Vec::with_capacity(rows));
        for row in 0..rows {
            let (true, Some(time)) = (zones.is_valid(row), moment(times, row)?) else {
                moved.push(None);
                continue;
            };
            let name = zones.value(row);
            let zone = match &known {
                Some((same, zone)) if same == name => *zone,
                _ => {
                    let zone = zone_of(name)?;
                    known = Some((name.to_owned(), zone));
                    zone
                }
            };
            moved.push(Some(offset(zone, time, is_instant)));
        }
        added(times, &moved)
    })
}

fn zone_of(name: &str) -> Result<Tz> {
    match name.parse() {
        Ok(zone) => Ok(zone),
        Err(_) => wrong(format!(
            "there is no time zone \"{name}\": write a name such as 'Europe/Berlin', or an offset such as '+02:00'"
        )),
    }
}

/// The seconds between a time and what it becomes.
fn offset(zone: Tz, time: NaiveDateTime, is_instant: bool) -> i64 {
    if is_instant {
        return zone
            .offset_from_utc_datetime(&time)
            .fix()
            .local_minus_utc()
            .into();
    }
    let offset = match zone.offset_from_local_datetime(&time) {
        LocalResult::Single(offset) => offset.fix(),
        LocalResult::Ambiguous(one, other) => {
            let (one, other) = (one.fix(), other.fix());
            match one.local_minus_utc() < other.local_minus_utc() {
                true => one,
                false => other,
            }
        }
        LocalResult::None => {
            let before = time.checked_sub_signed(TimeDelta::days(1)).unwrap_or(time);
            zone.offset_from_utc_datetime(&before).fix()
        }
    };
    -i64::from(offset.local_minus_utc())
}

/// Times with so many seconds added.
fn added(times: &ArrayRef, seconds: &[Option<i64>]) -> Result<ArrayRef> {
    let DataType::Timestamp(unit, zone) = times.data_type() else {
        return wrong("a timestamp is expected");
    };
    let of_second = match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => SECOND,
    };
    let made = DataType::Timestamp(*unit, zone.is_none().then(|| "UTC".into()));
    let counts = cast(times, &DataType::Int64)?;
    let counts = counts.as_primitive::<Int64Type>();
    let sums = seconds.iter().enumerate().map(|(row, seconds)| {
        let Some(seconds) = seconds else {
            return Ok(None);
        };
        let sum = counts.value(row).checked_add(seconds * of_second);
        match sum {
            Some(sum) => Ok(Some(sum)),
            None => wrong("the result is out of range for TIMESTAMP"),
        }
    });
    let sums: PrimitiveArray<Int64Type> = sums.collect::<Result<_>>()?;
    Ok(cast(&sums, &made)?)
}
