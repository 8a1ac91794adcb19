//! Intervals, in PostgreSQL's own style.

use std::fmt;

use arrow::datatypes::IntervalMonthDayNano;

const SECOND: i128 = 1_000_000_000;
const MINUTE: i128 = 60 * SECOND;
const HOUR: i128 = 60 * MINUTE;
const DAY: i128 = 24 * HOUR;

/// An interval: parts that are not converted into each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) months: i32,
    pub(super) days: i64,
    pub(super) nanoseconds: i128,
}

impl Span {
    /// Days of 24 hours and the rest.
    pub(super) fn of_nanoseconds(nanoseconds: i128) -> Self {
        Self {
            months: 0,
            days: i64::try_from(nanoseconds / DAY).unwrap_or_default(),
            nanoseconds: nanoseconds % DAY,
        }
    }
}

impl From<IntervalMonthDayNano> for Span {
    fn from(value: IntervalMonthDayNano) -> Self {
        Self {
            months: value.months,
            days: i64::from(value.days),
            nanoseconds: i128::from(value.nanoseconds),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut first, mut negative) = (true, false);
        let parts = [
            (i64::from(self.months / 12), "year"),
            (i64::from(self.months % 12), "mon"),
            (self.days, "day"),
        ];
        for (value, unit) in parts.iter().filter(|(value, _)| *value != 0) {
            let space = if first { "" } else { " " };
            // A sign is written when it is another one than before.
            let plus = if negative && *value > 0 { "+" } else { "" };
            let plural = if *value == 1 { "" } else { "s" };
            write!(f, "{space}{plus}{value} {unit}{plural}")?;
            (first, negative) = (false, *value < 0);
        }
        if !first && self.nanoseconds == 0 {
            return Ok(());
        }
        let sign = match (self.nanoseconds < 0, negative) {
            (true, _) => "-",
            (false, true) => "+",
            (false, false) => "",
        };
        let time = self.nanoseconds.abs();
        let space = if first { "" } else { " " };
        let (hours, minutes) = (time / HOUR, time % HOUR / MINUTE);
        let seconds = time % MINUTE / SECOND;
        write!(f, "{space}{sign}{hours:02}:{minutes:02}:{seconds:02}")?;
        match time % SECOND {
            0 => Ok(()),
            fraction => {
                let digits = format!("{fraction:09}");
                write!(f, ".{}", digits.trim_end_matches('0'))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_postgresql() {
        // SELECT INTERVAL '…' in PostgreSQL 16.
        for ((months, days, nanoseconds), text) in [
            (
                (14, 3, 4 * HOUR + 5 * MINUTE + 6 * SECOND),
                "1 year 2 mons 3 days 04:05:06",
            ),
            ((0, 0, 0), "00:00:00"),
            ((1, 0, 0), "1 mon"),
            ((-1, 0, 0), "-1 mons"),
            ((0, 1, 0), "1 day"),
            ((0, 0, SECOND / 2), "00:00:00.5"),
            ((-14, 3, -HOUR), "-1 years -2 mons +3 days -01:00:00"),
            ((0, -1, HOUR), "-1 days +01:00:00"),
            ((0, 0, 100 * HOUR), "100:00:00"),
            ((0, 0, -MINUTE), "-00:01:00"),
        ] {
            let span = Span {
                months,
                days,
                nanoseconds,
            };
            assert_eq!(span.to_string(), text);
        }
        assert_eq!(
            Span::of_nanoseconds(DAY + HOUR).to_string(),
            "1 day 01:00:00"
        );
        assert_eq!(
            Span::of_nanoseconds(-DAY - HOUR).to_string(),
            "-1 days -01:00:00"
        );
    }
}
