//! `strptime`: texts as times, by a format of `%` and letters, as DuckDB reads them.
//!
//! Invariant: the whole text fits the format, or it is refused (or NULL, of `try_strptime`). What a format does not
//! name is that of 1900-01-01 00:00:00. Non-goals: names of zones; days of the week and weeks of the year, which
//! are read past.

use std::sync::Arc;

use arrow::array::{Array, AsArray, PrimitiveArray};
use arrow::datatypes::{DataType, TimeUnit, TimestampNanosecondType};
use chrono::{Datelike, NaiveDate, NaiveDateTime, TimeDelta};
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};

use super::super::plain::{Plain, Section, argument, is_text, whole, wrong};
use super::format::{Letter, pieces, unknown};

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const WEEKDAYS: [&str; 7] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];
/// Letters that stand for others.
const SHORT: [(char, &str); 6] = [
    ('F', "%Y-%m-%d"),
    ('x', "%Y-%m-%d"),
    ('T', "%H:%M:%S"),
    ('X', "%H:%M:%S"),
    ('R', "%H:%M"),
    ('c', "%Y-%m-%d %H:%M:%S"),
];

const fn reading(
    name: &'static str,
    compute: fn(&ScalarFunctionArgs) -> Result<ColumnarValue>,
    about: (&'static str, &'static str),
) -> Plain {
    Plain {
        name,
        aliases: &[],
        takes: |types| match types {
            [text, format] if is_text(text) && is_text(format) => {
                Some(vec![DataType::Utf8, DataType::Utf8])
            }
            _ => None,
        },
        gives: |_| DataType::Timestamp(TimeUnit::Nanosecond, None),
        compute,
        section: Section::Time,
        about: Some(about),
    }
}

pub(super) const STRPTIME: Plain = reading(
    "strptime",
    |args| read_all(args, false),
    (
        "strptime(text, format)",
        "The time that a text says by a format: strptime('2/3/1992', '%d/%m/%Y')",
    ),
);
pub(super) const TRY: Plain = reading(
    "try_strptime",
    |args| read_all(args, true),
    (
        "try_strptime(text, format)",
        "As strptime, but NULL where the text does not fit the format",
    ),
);

fn read_all(args: &ScalarFunctionArgs, lenient: bool) -> Result<ColumnarValue> {
    whole(args, |arrays, rows| {
        let texts = argument(arrays, 0)?.as_string::<i32>();
        let formats = argument(arrays, 1)?.as_string::<i32>();
        let times = (0..rows).map(|row| {
            if texts.is_null(row) || formats.is_null(row) {
                return Ok(None);
            }
            let (text, format) = (texts.value(row), formats.value(row));
            match read(text, format)? {
                None if !lenient => wrong(format!("'{text}' is no time of the format '{format}'")),
                None => Ok(None),
                // The text fits the format, so that a NULL would tell something else.
                Some(at) => match at.and_utc().timestamp_nanos_opt() {
                    None => wrong(format!(
                        "the time '{text}' is out of range: strptime reads those from 1678 to 2261"
                    )),
                    time => Ok(time),
                },
            }
        });
        let times: PrimitiveArray<TimestampNanosecondType> = times.collect::<Result<_>>()?;
        Ok(Arc::new(times))
    })
}

/// The time of a text; `None` if it does not fit. Fails for a format that is none.
fn read(text: &str, format: &str) -> Result<Option<NaiveDateTime>> {
    let mut reader = Reader {
        rest: text,
        parts: Parts::default(),
    };
    let fits = reader.follow(format)?;
    Ok(match fits && reader.rest.is_empty() {
        true => reader.parts.time(),
        false => None,
    })
}

/// What has been read.
#[derive(Default)]
struct Parts {
    year: Option<i64>,
    month: Option<u32>,
    day: Option<u32>,
    of_year: Option<u32>,
    hour: u32,
    of_twelve: bool,
    afternoon: Option<bool>,
    minute: u32,
    second: u32,
    nanosecond: u32,
    /// Seconds before UTC.
    ahead: i64,
    since_epoch: Option<i64>,
}

impl Parts {
    fn time(self) -> Option<NaiveDateTime> {
        if let Some(seconds) = self.since_epoch {
            let at = chrono::DateTime::from_timestamp(seconds, self.nanosecond)?;
            return Some(at.naive_utc());
        }
        let hour = match (self.of_twelve, self.afternoon) {
            (true, _) if !(1..=12).contains(&self.hour) => return None,
            (true, afternoon) => self.hour % 12 + if afternoon == Some(true) { 12 } else { 0 },
            (false, _) => self.hour,
        };
        let year = i32::try_from(self.year.unwrap_or(1900)).ok()?;
        let date = match self.of_year {
            Some(day) => NaiveDate::from_yo_opt(year, day)?,
            None => NaiveDate::from_ymd_opt(year, self.month.unwrap_or(1), self.day.unwrap_or(1))?,
        };
        let named = (self.month, self.day);
        if named.0.is_some_and(|month| month != date.month())
            || named.1.is_some_and(|day| day != date.day())
        {
            return None;
        }
        let at = date.and_hms_nano_opt(hour, self.minute, self.second, self.nanosecond)?;
        at.checked_sub_signed(TimeDelta::try_seconds(self.ahead)?)
    }
}

/// A text that is read along a format.
struct Reader<'a> {
    rest: &'a str,
    parts: Parts,
}

impl Reader<'_> {
    /// Whether the text goes on as the format says.
    fn follow(&mut self, format: &str) -> Result<bool> {
        for (between, letter) in pieces(format)? {
            let Some(rest) = self.rest.strip_prefix(between) else {
                return Ok(false);
            };
            self.rest = rest;
            let fits = match letter {
                None => true,
                Some(Letter { letter, .. }) => match SHORT.iter().find(|(of, _)| *of == letter) {
                    Some((_, format)) => self.follow(format)?,
                    None => match self.date(letter) {
                        Some(fits) => fits.is_some(),
                        None => self.time(letter)?.is_some(),
                    },
                },
            };
            if !fits {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads a part of a date. `None`: that is no letter of one.
    fn date(&mut self, letter: char) -> Option<Option<()>> {
        Some(match letter {
            'Y' => self.signed(4).map(|year| self.parts.year = Some(year)),
            'y' => self.number(2).map(|year| {
                let century = if year < 69 { 2000 } else { 1900 };
                self.parts.year = Some(century + i64::from(year));
            }),
            'm' => self.number(2).map(|month| self.parts.month = Some(month)),
            'd' | 'e' => {
                self.rest = self.rest.trim_start_matches(' ');
                self.number(2).map(|day| self.parts.day = Some(day))
            }
            'j' => self.number(3).map(|day| self.parts.of_year = Some(day)),
            'b' | 'B' | 'h' => self
                .name(&MONTHS)
                .map(|month| self.parts.month = Some(month + 1)),
            'a' | 'A' => self.name(&WEEKDAYS).map(|_| ()),
            'w' | 'u' => self.number(1).map(|_| ()),
            'U' | 'W' | 'V' => self.number(2).map(|_| ()),
            _ => return None,
        })
    }

    /// Reads a part of a time. `None`: the text does not go on with one.
    fn time(&mut self, letter: char) -> Result<Option<()>> {
        Ok(match letter {
            'H' => self.number(2).map(|hour| self.parts.hour = hour),
            'I' => self.number(2).map(|hour| {
                (self.parts.hour, self.parts.of_twelve) = (hour, true);
            }),
            'p' | 'P' => self
                .name(&["am", "pm"])
                .map(|half| self.parts.afternoon = Some(half == 1)),
            'M' => self.number(2).map(|minute| self.parts.minute = minute),
            'S' => self.number(2).map(|second| self.parts.second = second),
            'f' | 'n' => self.fraction(9),
            'g' => self.fraction(3),
            's' => self
                .signed(18)
                .map(|seconds| self.parts.since_epoch = Some(seconds)),
            'z' => self.offset(),
            '%' => self.literal('%'),
            other => return unknown(other),
        })
    }

    fn literal(&mut self, letter: char) -> Option<()> {
        self.rest = self.rest.strip_prefix(letter)?;
        Some(())
    }

    /// The digits that come next, at most so many.
    fn digits(&mut self, most: usize) -> Option<&str> {
        let count = self
            .rest
            .bytes()
            .take(most)
            .take_while(u8::is_ascii_digit)
            .count();
        let (digits, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        (count > 0).then_some(digits)
    }

    fn number(&mut self, most: usize) -> Option<u32> {
        self.digits(most)?.parse().ok()
    }

    fn signed(&mut self, most: usize) -> Option<i64> {
        let negative = self.rest.starts_with('-');
        self.rest = self.rest.strip_prefix('-').unwrap_or(self.rest);
        let number: i64 = self.digits(most)?.parse().ok()?;
        Some(if negative { -number } else { number })
    }

    /// The place of the name that comes next, which may be cut to three letters.
    fn name(&mut self, names: &[&str]) -> Option<u32> {
        let begins = |name: &str| {
            let head = self.rest.get(..name.len())?;
            head.eq_ignore_ascii_case(name).then_some(name.len())
        };
        let found = names.iter().enumerate().find_map(|(place, name)| {
            let short = name.get(..3).unwrap_or(name);
            let length = begins(name).or_else(|| begins(short))?;
            Some((place, length))
        });
        let (place, length) = found?;
        self.rest = self.rest.get(length..)?;
        u32::try_from(place).ok()
    }

    /// Digits behind the point of a second.
    fn fraction(&mut self, most: usize) -> Option<()> {
        let digits = self.digits(most)?;
        let nanoseconds = format!("{digits:0<9}").parse().ok()?;
        self.parts.nanosecond = nanoseconds;
        Some(())
    }

    /// `Z`, `+02`, `+0230` or `+02:30`.
    fn offset(&mut self) -> Option<()> {
        if self.literal('Z').is_some() {
            return Some(());
        }
        let sign = match self.rest.chars().next()? {
            '+' => 1,
            '-' => -1,
            _ => return None,
        };
        self.rest = self.rest.get(1..)?;
        let hours = i64::from(self.number(2)?);
        let colon = self.literal(':').is_some();
        let minutes = match self.number(2) {
            Some(minutes) => i64::from(minutes),
            None if colon => return None,
            None => 0,
        };
        (hours < 24 && minutes < 60)
            .then(|| self.parts.ahead = sign * (hours * 3600 + minutes * 60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_as_by_duckdb() {
        for (text, format, wanted) in [
            ("02/03/1992", "%d/%m/%Y", "1992-03-02T00:00:00"),
            (
                "Monday, 2 March 1992 - 08:32:45 PM",
                "%A, %-d %B %Y - %I:%M:%S %p",
                "1992-03-02T20:32:45",
            ),
            ("Mon Mar 2 1992", "%a %b %d %Y", "1992-03-02T00:00:00"),
            (
                "2023-01-02T03:04:05.25Z",
                "%Y-%m-%dT%H:%M:%S.%f%z",
                "2023-01-02T03:04:05.25",
            ),
            ("2023-01-02 03:04 +02:30", "%F %R %z", "2023-01-02T00:34:00"),
            ("20230102", "%Y%m%d", "2023-01-02T00:00:00"),
            ("99", "%y", "1999-01-01T00:00:00"),
            ("12 am", "%I %p", "1900-01-01T00:00:00"),
            ("2024 060", "%Y %j", "2024-02-29T00:00:00"),
            ("100%", "100%%", "1900-01-01T00:00:00"),
            ("-1", "%s", "1969-12-31T23:59:59"),
        ] {
            let wanted: NaiveDateTime = wanted.parse().unwrap();
            assert_eq!(read(text, format).unwrap(), Some(wanted), "{text} {format}");
        }
    }

    #[test]
    fn what_does_not_fit_is_none() {
        for (text, format) in [
            ("2023-02-30", "%Y-%m-%d"),
            ("2023-01-01 ", "%Y-%m-%d"),
            ("x", "%Y"),
            ("", "%d"),
            ("25", "%H"),
            ("13 pm", "%I %p"),
            ("Mai", "%B"),
            ("é", "%b"),
            ("+02:", "%z"),
        ] {
            assert_eq!(read(text, format).unwrap(), None, "{text} {format}");
        }
        assert!(read("x", "%Q").is_err());
        assert!(read("x", "x%").is_err());
    }
}
