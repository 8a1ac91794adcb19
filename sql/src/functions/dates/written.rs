//! Dates and times as people write them.
//!
//! Arrow reads fewer forms than PostgreSQL (no `12:30`, no `2024-1-5`), and some texts as what they are not:
//! `2024-02-2x` as a date, `1234` as a time of nanoseconds. Idea: a text is brought into the form that Arrow reads
//! rightly, or said to be none. Invariant: a text in that form stays as it is. Non-goals: names of months and zones,
//! and whether the day exists, which Arrow finds out.

use std::borrow::Cow;

use arrow::datatypes::DataType;

/// A text as Arrow reads it for a type; `None` if it is no value of that type. Of a timestamp's forms those that are not
/// known here are left to Arrow.
pub(crate) fn readable<'a>(text: &'a str, target: &DataType) -> Option<Cow<'a, str>> {
    match target {
        DataType::Date32 | DataType::Date64 => date_alone(text),
        DataType::Time32(_) | DataType::Time64(_) => time_alone(text),
        DataType::Timestamp(..) => Some(timestamp(text)),
        _ => Some(Cow::Borrowed(text)),
    }
}

fn is_plain_date(text: &str) -> bool {
    let digit = |at: usize, byte: u8| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    };
    text.len() == 10 && text.bytes().enumerate().all(|(at, byte)| digit(at, byte))
}

fn date_alone(text: &str) -> Option<Cow<'_, str>> {
    if is_plain_date(text) {
        return Some(Cow::Borrowed(text));
    }
    let text = text.trim();
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Cow::Borrowed(text));
    }
    let (date, rest) = date(text)?;
    match rest.strip_prefix(['T', 't', ' ']) {
        None if rest.is_empty() => Some(Cow::Owned(date)),
        // Arrow takes the day of it.
        Some(time) => {
            let (time, zone) = self::time(time.trim_start())?;
            is_zone(zone.trim()).then(|| Cow::Owned(format!("{date}T{time}{}", zone.trim())))
        }
        None => None,
    }
}

fn time_alone(text: &str) -> Option<Cow<'_, str>> {
    let (time, rest) = time(text.trim())?;
    match rest.trim() {
        "" => Some(Cow::Owned(time)),
        half if half.eq_ignore_ascii_case("am") || half.eq_ignore_ascii_case("pm") => {
            Some(Cow::Borrowed(text))
        }
        _ => None,
    }
}

fn timestamp(text: &str) -> Cow<'_, str> {
    let whole = || {
        let (date, rest) = date(text.trim())?;
        if rest.is_empty() {
            return Some(date);
        }
        let (time, zone) = time(rest.strip_prefix(['T', 't', ' '])?.trim_start())?;
        let zone = zone.trim();
        is_zone(zone).then(|| format!("{date}T{time}{zone}"))
    };
    match whole() {
        Some(whole) => Cow::Owned(whole),
        None => Cow::Borrowed(text),
    }
}

/// A date at the beginning of a text, and what is behind it.
fn date(text: &str) -> Option<(String, &str)> {
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (year, rest) = digits(unsigned, 4, 6)?;
    let (month, rest) = digits(rest.strip_prefix('-')?, 1, 2)?;
    let (day, rest) = digits(rest.strip_prefix('-')?, 1, 2)?;
    let before = rest.trim_start();
    let ends = |text: &str| {
        text.get(..2)
            .is_some_and(|era| era.eq_ignore_ascii_case("bc"))
    };
    if sign.is_empty() && ends(before) && before.len() == 2 {
        // The year before the year 1 is the year 0.
        let year = year.parse::<i64>().ok()? - 1;
        let sign = if year > 0 { "-" } else { "" };
        return Some((format!("{sign}{year:04}-{month:0>2}-{day:0>2}"), ""));
    }
    let sign = match sign {
        "" if year.len() > 4 => "+",
        sign => sign,
    };
    Some((format!("{sign}{year}-{month:0>2}-{day:0>2}"), rest))
}

/// The same for a time of the day, whose seconds may be left out.
fn time(text: &str) -> Option<(String, &str)> {
    let (hour, rest) = digits(text, 1, 2)?;
    let (minute, rest) = digits(rest.strip_prefix(':')?, 1, 2)?;
    let Some(seconds) = rest.strip_prefix(':') else {
        return Some((format!("{hour:0>2}:{minute:0>2}:00"), rest));
    };
    let (second, rest) = digits(seconds, 1, 2)?;
    let whole = format!("{hour:0>2}:{minute:0>2}:{second:0>2}");
    match rest.strip_prefix('.') {
        Some(fraction) => {
            let (fraction, rest) = digits(fraction, 1, usize::MAX)?;
            Some((format!("{whole}.{fraction}"), rest))
        }
        None => Some((whole, rest)),
    }
}

/// As many digits as a text begins with, if they are not too few or too many.
fn digits(text: &str, least: usize, most: usize) -> Option<(&str, &str)> {
    let end = text
        .bytes()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    ((least..=most).contains(&end)).then(|| text.split_at(end))
}

/// Whether a text is nothing, `Z`, or so many hours and minutes.
fn is_zone(text: &str) -> bool {
    let Some(offset) = text.strip_prefix(['+', '-']) else {
        return text.is_empty() || text == "Z" || text == "z";
    };
    let digits = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    match offset.split_once(':') {
        Some((hours, minutes)) => digits(hours) && digits(minutes),
        None => digits(offset) || (offset.len() == 4 && offset.bytes().all(|b| b.is_ascii_digit())),
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::*;

    #[test]
    fn what_people_write_is_brought_into_one_form() {
        let read =
            |text: &'static str, target: &DataType| readable(text, target).map(Cow::into_owned);
        let (day, time) = (DataType::Date32, DataType::Time64(TimeUnit::Nanosecond));
        let instant = DataType::Timestamp(TimeUnit::Microsecond, None);
        for (text, target, expected) in [
            ("2024-02-29", &day, Some("2024-02-29")),
            (" 2024-2-9 ", &day, Some("2024-02-09")),
            ("2024-02-2x", &day, None),
            ("2024-02-29 12:00", &day, Some("2024-02-29T12:00:00")),
            ("2024-02-29 noon", &day, None),
            ("0044-03-15 BC", &day, Some("-0043-03-15")),
            ("0001-03-15 BC", &day, Some("0000-03-15")),
            ("10183-09-21", &day, Some("+10183-09-21")),
            ("20240229", &day, Some("20240229")),
            ("tomorrow", &day, None),
            ("12:30", &time, Some("12:30:00")),
            ("1:2:3.5", &time, Some("01:02:03.5")),
            ("12", &time, None),
            ("1234", &time, None),
            ("12:30:00 pm", &time, Some("12:30:00 pm")),
            ("2024-1-3 1:2", &instant, Some("2024-01-03T01:02:00")),
            (
                "2024-01-31 12:00+02",
                &instant,
                Some("2024-01-31T12:00:00+02"),
            ),
            ("2024-01-31", &instant, Some("2024-01-31")),
            (
                "2024-01-31 12:00:00 Europe/Berlin",
                &instant,
                Some("2024-01-31 12:00:00 Europe/Berlin"),
            ),
        ] {
            assert_eq!(read(text, target).as_deref(), expected, "{text}");
        }
    }
}
