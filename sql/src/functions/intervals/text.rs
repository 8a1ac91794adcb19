//! Intervals as texts.
//!
//! Purpose: what Arrow does not read of that which PostgreSQL takes: `02:03:04`, `1 day 02:03`, `1-2`,
//! `P1Y2M3DT4H5M6S`, `3 days ago`. Invariant: a text that Arrow reads keeps its meaning; a number without a
//! unit counts seconds. Non-goal: what an interval is printed as (see `values`).

use arrow::compute::kernels::cast_utils::{
    IntervalParseConfig, IntervalUnit, parse_interval_month_day_nano_config,
};
use arrow::datatypes::IntervalMonthDayNano as Span;

use super::scale::DAY;

/// The longest text that is read: there is no interval that needs more.
const MAX_BYTES: usize = 1_024;
/// Numbers are counted in billionths, as nanoseconds are of a second.
const BILLION: i128 = 1_000_000_000;
/// Digits behind the point that are read.
const DIGITS: usize = 9;

/// The interval of a text.
pub(crate) fn parse(text: &str) -> Option<Span> {
    if text.len() > MAX_BYTES {
        return None;
    }
    plain(text).or_else(|| Reader::new(text).read())
}

/// Whether the planner reads a text as well.
pub(crate) fn is_plain(text: &str) -> bool {
    plain(text).is_some()
}

fn plain(text: &str) -> Option<Span> {
    let seconds = IntervalParseConfig::new(IntervalUnit::Second);
    parse_interval_month_day_nano_config(text, seconds).ok()
}

/// The same interval in words that Arrow reads.
pub(crate) fn in_words(span: Span) -> String {
    let (months, days, nanoseconds) = (span.months, span.days, span.nanoseconds);
    format!("{months} mons {days} days {nanoseconds} nanoseconds")
}

#[derive(Debug, Default)]
struct Sum {
    months: i128,
    days: i128,
    nanoseconds: i128,
}

impl Sum {
    /// Adds so many billionths of a unit.
    fn add(&mut self, count: i128, unit: &str) -> Option<()> {
        let years = |years: i128| (count * 12 * years + count.signum() * BILLION / 2) / BILLION;
        match unit.to_ascii_lowercase().as_str() {
            "millennium" | "millennia" | "mil" | "mils" => self.months += years(1_000),
            "century" | "centuries" | "cent" | "c" => self.months += years(100),
            "decade" | "decades" | "dec" | "decs" => self.months += years(10),
            "year" | "years" | "yr" | "yrs" | "y" => self.months += years(1),
            "month" | "months" | "mon" | "mons" => {
                self.months += count / BILLION;
                self.add_days(count % BILLION * 30);
            }
            "week" | "weeks" | "w" => self.add_days(count * 7),
            "day" | "days" | "d" => self.add_days(count),
            "hour" | "hours" | "hr" | "hrs" | "h" => self.nanoseconds += count * 3_600,
            "minute" | "minutes" | "min" | "mins" | "m" => self.nanoseconds += count * 60,
            "second" | "seconds" | "sec" | "secs" | "s" | "" => self.nanoseconds += count,
            "millisecond" | "milliseconds" | "msec" | "msecs" | "ms" => {
                self.nanoseconds += count / 1_000;
            }
            "microsecond" | "microseconds" | "usec" | "usecs" | "us" => {
                self.nanoseconds += count / 1_000_000;
            }
            "nanosecond" | "nanoseconds" | "ns" => self.nanoseconds += count / BILLION,
            _ => return None,
        }
        Some(())
    }

    fn add_days(&mut self, count: i128) {
        self.days += count / BILLION;
        self.nanoseconds += count % BILLION * i128::from(DAY) / BILLION;
    }

    fn span(self, negative: bool) -> Option<Span> {
        let sign = if negative { -1 } else { 1 };
        Some(Span {
            months: i32::try_from(self.months * sign).ok()?,
            days: i32::try_from(self.days * sign).ok()?,
            nanoseconds: i64::try_from(self.nanoseconds * sign).ok()?,
        })
    }
}

/// What is left of a text.
struct Reader<'a> {
    rest: &'a str,
    sum: Sum,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            rest: text.trim(),
            sum: Sum::default(),
        }
    }

    fn read(mut self) -> Option<Span> {
        if let Some(rest) = self.rest.strip_prefix(['P', 'p']) {
            self.rest = rest;
            self.standard()?;
            return self.sum.span(false);
        }
        self.rest = self.rest.trim_start_matches('@').trim_start();
        if self.rest.is_empty() {
            return None;
        }
        let mut begun = false;
        while !self.rest.is_empty() {
            if begun && self.rest.eq_ignore_ascii_case("ago") {
                return self.sum.span(true);
            }
            begun = true;
            self.part()?;
            self.rest = self.rest.trim_start();
        }
        self.sum.span(false)
    }

    /// A time, years and months, or a number with its unit.
    fn part(&mut self) -> Option<()> {
        let negative = self.sign();
        if self.time(negative).is_some() {
            return Some(());
        }
        if let Some((years, months)) = self.pair('-') {
            let sign = if negative { -1 } else { 1 };
            self.sum.months += sign * (years * 12 + months);
            return (months < 12).then_some(());
        }
        let count = self.number()?;
        let count = if negative { -count } else { count };
        self.rest = self.rest.trim_start();
        // A number before a time counts days.
        let before_time = self.rest.split_whitespace().next();
        let before_time = before_time.is_some_and(|next| next.contains(':'));
        let unit = match self.word() {
            "" if before_time => "day",
            "" if !self.rest.is_empty() => return None,
            unit => unit,
        };
        self.sum.add(count, unit)
    }

    fn sign(&mut self) -> bool {
        let negative = self.rest.starts_with('-');
        self.rest = self.rest.strip_prefix(['-', '+']).unwrap_or(self.rest);
        negative
    }

    /// Two whole numbers with a sign between them.
    fn pair(&mut self, between: char) -> Option<(i128, i128)> {
        let end = self.rest.find(char::is_whitespace);
        let (token, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        let (one, other) = token.split_once(between)?;
        let pair = (digits(one)?, digits(other)?);
        self.rest = rest;
        Some(pair)
    }

    /// Hours, minutes and seconds; or minutes and seconds, if these have a point.
    fn time(&mut self, negative: bool) -> Option<()> {
        let end = self.rest.find(char::is_whitespace);
        let (token, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        let nanoseconds = time_of(token)?;
        self.sum.nanoseconds += if negative { -nanoseconds } else { nanoseconds };
        self.rest = rest;
        Some(())
    }

    /// A number without a sign, in billionths.
    fn number(&mut self) -> Option<i128> {
        let is_part = |c: char| c.is_ascii_digit() || c == '.';
        let end = self.rest.find(|c| !is_part(c));
        let (number, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        billionths(number)
    }

    fn word(&mut self) -> &'a str {
        let end = self.rest.find(|c: char| !c.is_ascii_alphabetic());
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }

    /// The format of ISO 8601, behind its `P`.
    fn standard(&mut self) -> Option<()> {
        let (date, time) = match self.rest.split_once(['T', 't']) {
            Some((_, "")) => return None,
            Some((date, time)) => (date, time),
            None => (self.rest, ""),
        };
        if date.is_empty() && time.is_empty() {
            return None;
        }
        let parts: Vec<&str> = date.split('-').collect();
        match parts.as_slice() {
            [years, months, days] if digits(years).is_some() => {
                self.sum.months += digits(years)? * 12 + digits(months)?;
                self.sum.days += digits(days)?;
            }
            _ => self.designated(date, &[('y', "y"), ('m', "mon"), ('w', "w"), ('d', "d")])?,
        }
        match time.contains(':') {
            true => self.sum.nanoseconds += time_of(time)?,
            false => self.designated(time, &[('h', "h"), ('m', "m"), ('s', "s")])?,
        }
        Some(())
    }

    /// Numbers with the letters of their units behind them, which come in this order.
    fn designated(&mut self, text: &'a str, units: &[(char, &str)]) -> Option<()> {
        let mut units = units.iter();
        self.rest = text;
        while !self.rest.is_empty() {
            let negative = self.sign();
            let count = self.number()?;
            let letter = self.rest.chars().next()?;
            self.rest = self.rest.get(1..)?;
            let (_, unit) = units.find(|(of, _)| letter.eq_ignore_ascii_case(of))?;
            self.sum.add(if negative { -count } else { count }, unit)?;
        }
        Some(())
    }
}

/// A whole number without a sign.
fn digits(text: &str) -> Option<i128> {
    let all = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    // As many digits as the largest interval of nanoseconds has.
    (all && text.len() <= 2 * DIGITS).then(|| text.parse().ok())?
}

/// A number without a sign, in billionths.
fn billionths(text: &str) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { digits(whole)? };
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let kept = fraction.get(..fraction.len().min(DIGITS))?;
    let fraction: i128 = format!("{kept:0<DIGITS$}").parse().ok()?;
    Some(whole * BILLION + fraction)
}

/// A time of day, or longer, in nanoseconds.
fn time_of(text: &str) -> Option<i128> {
    let parts: Vec<&str> = text.split(':').collect();
    let (hours, minutes, seconds) = match parts.as_slice() {
        [minutes, seconds] if seconds.contains('.') => ("0", *minutes, *seconds),
        [hours, minutes] => (*hours, *minutes, "0"),
        [hours, minutes, seconds] => (*hours, *minutes, *seconds),
        _ => return None,
    };
    let (hours, minutes, seconds) = (digits(hours)?, digits(minutes)?, billionths(seconds)?);
    let in_range = minutes < 60 && seconds <= 60 * BILLION;
    in_range.then_some((hours * 3_600 + minutes * 60) * BILLION + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::span_text;

    #[test]
    fn texts_are_read_as_by_postgresql() {
        for (text, wanted) in [
            ("01:02:03", "01:02:03"),
            ("-01:02", "-01:02:00"),
            ("02:03.5", "00:02:03.5"),
            ("1 day 02:03:04", "1 day 02:03:04"),
            ("1 02:03:04", "1 day 02:03:04"),
            ("1-2", "1 year 2 mons"),
            ("-1-2", "-1 years -2 mons"),
            ("P1Y2M3DT4H5M6S", "1 year 2 mons 3 days 04:05:06"),
            ("P0001-02-03T04:05:06", "1 year 2 mons 3 days 04:05:06"),
            ("P1W", "7 days"),
            ("PT-90M", "-01:30:00"),
            ("@ 1 minute", "00:01:00"),
            ("1 day 2 hours ago", "-1 days -02:00:00"),
            ("2 days -03:00", "2 days -03:00:00"),
            ("1.5 mon 00:00", "1 mon 15 days"),
            ("1 millennium", "1000 years"),
            ("10", "00:00:10"),
            ("1 year 2 months 3 days", "1 year 2 mons 3 days"),
            ("100:00:00", "100:00:00"),
        ] {
            let found = parse(text).map(span_text);
            assert_eq!(found.as_deref(), Some(wanted), "{text}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "",
            "P",
            "PT",
            "P1",
            "P1H",
            "P1D1Y",
            "1:60",
            "1:00:61",
            ":",
            "1 dya",
            "1-13",
            "day",
            "1 2",
            "ago",
            "-",
            "P1YT",
            "999999999999999999999 days",
            "99999999999 years",
            "1:2:3:4",
            "½ day",
            "P½Y",
            "1..5 00:00",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn words_are_read_back() {
        let span = Span::new(-14, 3, -5_000_000_001);
        assert_eq!(parse(&in_words(span)), Some(span));
    }
}
