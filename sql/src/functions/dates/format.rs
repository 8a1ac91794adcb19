//! `strftime`: times as texts, by a format of `%` and letters.
//!
//! Idea: DuckDB gives the time first, and SQLite the format. `%f` is what it is there: microseconds, or seconds
//! with three digits behind the point. Invariant: what is no letter of theirs is refused.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use arrow::datatypes::DataType;
use chrono::{Datelike, NaiveDateTime, Timelike};
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};

use super::super::plain::{Plain, Section, argument, is_text, whole, wrong};
use super::super::room::Room;
use super::{as_timestamp, moment};

/// The longest format.
pub(super) const MAX_FORMAT_BYTES: usize = 4_096;

pub(super) const STRFTIME: Plain = Plain {
    name: "strftime",
    aliases: &[],
    takes: |types| match types {
        [time, format] if is_text(format) => Some(vec![as_timestamp(time)?, DataType::Utf8]),
        [format, time] if is_text(format) => Some(vec![DataType::Utf8, as_timestamp(time)?]),
        // Where both are texts, a third argument says that the format comes first.
        [format, time, DataType::Boolean] if is_text(format) => {
            Some(vec![DataType::Utf8, as_timestamp(time)?, DataType::Boolean])
        }
        _ => None,
    },
    gives: |_| DataType::Utf8,
    compute: format_all,
    section: Section::Time,
    about: Some((
        "strftime(time, format)",
        "A time as text: strftime(now(), '%Y-%m-%d'); as in SQLite, the format may come first",
    )),
};

fn format_all(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    whole(args, |arrays, rows| {
        let first = argument(arrays, 0)?;
        let is_time = matches!(first.data_type(), DataType::Timestamp(..));
        let (times, formats) = match is_time {
            true => (first, argument(arrays, 1)?),
            false => (argument(arrays, 1)?, first),
        };
        let formats = formats.as_string::<i32>();
        let (mut texts, mut room) = (StringBuilder::new(), Room::of("strftime"));
        let writer = Writer {
            zone: zone_of(times),
            sqlite: !is_time,
        };
        for row in 0..rows {
            match moment(times, row)? {
                Some(at) if formats.is_valid(row) => {
                    let text = writer.text(at, formats.value(row))?;
                    room.take(text.len())?;
                    texts.append_value(text);
                }
                _ => texts.append_null(),
            }
        }
        Ok(Arc::new(texts.finish()))
    })
}

fn zone_of(times: &ArrayRef) -> &'static str {
    match times.data_type() {
        DataType::Timestamp(_, Some(_)) => "UTC",
        _ => "",
    }
}

/// One of the format's letters, and whether zeros before its number are left out.
pub(super) struct Letter {
    pub(super) letter: char,
    pub(super) bare: bool,
}

/// The letters of a format and what is between them.
pub(super) fn pieces(format: &str) -> Result<Vec<(&str, Option<Letter>)>> {
    if format.len() > MAX_FORMAT_BYTES {
        return wrong(format!(
            "a format of a time may have {MAX_FORMAT_BYTES} bytes, and not {}",
            format.len()
        ));
    }
    let mut pieces = Vec::new();
    let mut rest = format;
    while let Some((before, behind)) = rest.split_once('%') {
        let bare = behind.starts_with('-');
        let behind = behind.strip_prefix('-').unwrap_or(behind);
        let mut letters = behind.chars();
        let Some(letter) = letters.next() else {
            return wrong("a format of a time ends with %: write %% for the sign itself");
        };
        pieces.push((before, Some(Letter { letter, bare })));
        rest = letters.as_str();
    }
    pieces.push((rest, None));
    Ok(pieces)
}

struct Writer {
    zone: &'static str,
    sqlite: bool,
}

impl Writer {
    fn text(&self, at: NaiveDateTime, format: &str) -> Result<String> {
        let mut text = String::new();
        for (between, letter) in pieces(format)? {
            text.push_str(between);
            if let Some(letter) = letter {
                self.push(&mut text, at, &letter)?;
            }
        }
        Ok(text)
    }

    fn push(&self, text: &mut String, at: NaiveDateTime, letter: &Letter) -> Result<()> {
        let same = match letter.letter {
            'a' => "%a",
            'A' => "%A",
            'b' | 'h' => "%b",
            'B' => "%B",
            'w' => "%w",
            'u' => "%u",
            'p' => "%p",
            'P' => "%P",
            'G' => "%G",
            'e' => "%e",
            'k' => "%k",
            'l' => "%l",
            'D' => "%m/%d/%y",
            'F' | 'x' => "%Y-%m-%d",
            'T' | 'X' => "%H:%M:%S",
            'R' => "%H:%M",
            'c' => "%Y-%m-%d %H:%M:%S",
            's' => "%s",
            'f' if self.sqlite => "%S%.3f",
            'f' => "%6f",
            'n' if !self.sqlite => "%9f",
            'g' if self.sqlite => "%g",
            'g' => "%3f",
            _ => return self.push_number(text, at, letter),
        };
        // Writing to a text does not fail, and these are letters that chrono knows.
        let _ = write!(text, "{}", at.format(same));
        Ok(())
    }

    fn push_number(&self, text: &mut String, at: NaiveDateTime, letter: &Letter) -> Result<()> {
        let week = |first: u32| (at.ordinal0() + 7 - first) / 7;
        let (number, width) = match letter.letter {
            'Y' => {
                let year = at.year();
                let sign = if year < 0 { "-" } else { "" };
                text.push_str(sign);
                (year.unsigned_abs(), 4)
            }
            'm' => (at.month(), 2),
            'd' => (at.day(), 2),
            'y' => (at.year().rem_euclid(100).unsigned_abs(), 2),
            'H' => (at.hour(), 2),
            'I' => (at.hour12().1, 2),
            'M' => (at.minute(), 2),
            'S' => (at.second(), 2),
            'j' => (at.ordinal(), 3),
            'U' => (week(at.weekday().num_days_from_sunday()), 2),
            'W' => (week(at.weekday().num_days_from_monday()), 2),
            'V' => (at.iso_week().week(), 2),
            'z' => {
                text.push_str("+00");
                return Ok(());
            }
            'Z' => {
                text.push_str(self.zone);
                return Ok(());
            }
            '%' => {
                text.push('%');
                return Ok(());
            }
            other => return unknown(other),
        };
        let width = if letter.bare { 0 } else { width };
        let _ = write!(text, "{number:0width$}");
        Ok(())
    }
}

pub(super) fn unknown<T>(letter: char) -> Result<T> {
    wrong(format!(
        "'%{letter}' is nothing that a format of a time may have; there are %Y, %m, %d, %H, %M, %S, %f, %y, %b, %B, \
         %a, %A, %I, %p, %j, %F, %T, %s and others"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_those_of_duckdb_and_sqlite() {
        let at: NaiveDateTime = "1992-03-02T20:32:45.123456789".parse().unwrap();
        let written = |sqlite, format: &str| {
            let zone = "UTC";
            Writer { zone, sqlite }.text(at, format).unwrap()
        };
        for (format, wanted) in [
            (
                "%a, %-d %B %Y - %I:%M:%S %p",
                "Mon, 2 March 1992 - 08:32:45 PM",
            ),
            ("%Y%m%d", "19920302"),
            ("%f|%g|%n", "123456|123|123456789"),
            ("%j %-j %U %W %V %G %u %w %y", "062 62 09 09 10 1992 1 1 92"),
            (
                "%x %X|%c|%Z%z|100%%",
                "1992-03-02 20:32:45|1992-03-02 20:32:45|UTC+00|100%",
            ),
            ("%-H %-I %-M %-m", "20 8 32 3"),
            ("née %Y", "née 1992"),
        ] {
            assert_eq!(written(false, format), wanted, "{format}");
        }
        for (format, wanted) in [
            ("%H:%M:%f", "20:32:45.123"),
            ("%s", "699568365"),
            (
                "%F %T %R %e %k %l %P",
                "1992-03-02 20:32:45 20:32  2 20  8 pm",
            ),
        ] {
            assert_eq!(written(true, format), wanted, "{format}");
        }
        let writer = Writer {
            zone: "",
            sqlite: false,
        };
        assert!(writer.text(at, "%Q").is_err());
        assert!(writer.text(at, "5%").is_err());
    }
}
