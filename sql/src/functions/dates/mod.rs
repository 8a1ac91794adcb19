//! Functions of dates and times: `age`, `date_trunc`, `strftime`, `strptime`, `AT TIME ZONE`; and how they are read.
//!
//! Invariant: times before 1970 and of every unit are as good as others. Non-goal: zones other than UTC that a
//! type has.

mod age;
mod format;
mod parse;
mod truncate;
mod written;
mod zone;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use chrono::{DateTime, NaiveDateTime};
use datafusion::error::Result;

use super::plain::{Plain, is_text, wrong};

pub(crate) use written::readable;

pub(super) use truncate::{NAME as DATE_TRUNC, Truncate};

/// The functions.
pub(super) const FUNCTIONS: [Plain; 5] = [
    age::AGE,
    format::STRFTIME,
    parse::STRPTIME,
    parse::TRY,
    zone::AT_TIME_ZONE,
];

/// The timestamps that an argument is brought to.
fn as_timestamp(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Timestamp(..) => Some(data_type.clone()),
        DataType::Date32 | DataType::Date64 => Some(DataType::Timestamp(TimeUnit::Second, None)),
        text if is_text(text) => Some(DataType::Timestamp(TimeUnit::Microsecond, None)),
        _ => None,
    }
}

/// A value of a column of timestamps, as it is in UTC.
fn moment(times: &ArrayRef, row: usize) -> Result<Option<NaiveDateTime>> {
    if times.is_null(row) {
        return Ok(None);
    }
    let (value, of_second) = match times.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => {
            (times.as_primitive::<TimestampSecondType>().value(row), 1)
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            let times = times.as_primitive::<TimestampMillisecondType>();
            (times.value(row), 1_000)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let times = times.as_primitive::<TimestampMicrosecondType>();
            (times.value(row), 1_000_000)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            let times = times.as_primitive::<TimestampNanosecondType>();
            (times.value(row), 1_000_000_000)
        }
        other => return wrong(format!("{other} is no timestamp")),
    };
    let nanoseconds = value.rem_euclid(of_second) * (1_000_000_000 / of_second);
    let nanoseconds = u32::try_from(nanoseconds).unwrap_or_default();
    match DateTime::from_timestamp(value.div_euclid(of_second), nanoseconds) {
        Some(moment) => Ok(Some(moment.naive_utc())),
        None => wrong(format!("{value} is beyond the calendar")),
    }
}
