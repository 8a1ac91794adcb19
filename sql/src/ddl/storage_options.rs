//! The values of the table options `ttl` and `compression`.

use datafusion::sql::sqlparser::ast::{Expr as SqlExpr, Value};
use netabase_store::{Codec, Error};

use crate::error::invalid;

/// Units of time and their milliseconds.
const UNITS: [(&[&str], u64); 5] = [
    (&["ms", "millisecond", "milliseconds"], 1),
    (&["s", "sec", "second", "seconds"], 1000),
    (&["min", "minute", "minutes"], 60_000),
    (&["h", "hour", "hours"], 3_600_000),
    (&["d", "day", "days"], 86_400_000),
];
/// The longest time to live: what a version can count, 8,900 years.
const MAX_TTL_MILLIS: u64 = (1 << 48) - 1;

/// A time to live in milliseconds, like `'7 days'`.
pub(crate) fn duration(option: &str, value: &SqlExpr) -> Result<u64, Error> {
    let wrong = || {
        invalid(format!(
            "option {option} is a time with its unit (ms, s, min, h, days), like '7 days', not {value}"
        ))
    };
    let text = text_of(value).ok_or_else(wrong)?.trim().to_lowercase();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let known = UNITS.iter().find(|(names, _)| names.contains(&unit.trim()));
    let (_, millis) = known.ok_or_else(wrong)?;
    match number.checked_mul(*millis) {
        Some(millis) if (1..=MAX_TTL_MILLIS).contains(&millis) => Ok(millis),
        _ => Err(wrong()),
    }
}

/// How segments are compressed: `'zstd'`, `'lz4'` or `'none'`.
pub(crate) fn codec(option: &str, value: &SqlExpr) -> Result<Codec, Error> {
    let text = text_of(value).map(str::to_lowercase);
    match text.as_deref() {
        Some("zstd") => Ok(Codec::default()),
        Some("lz4") => Ok(Codec::Lz4),
        Some("none") => Ok(Codec::None),
        _ => Err(invalid(format!(
            "option {option} must be 'zstd', 'lz4' or 'none', not {value}"
        ))),
    }
}

fn text_of(value: &SqlExpr) -> Option<&str> {
    match value {
        SqlExpr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}
