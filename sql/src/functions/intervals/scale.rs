//! Intervals times and divided by numbers, and brought to full months and days, as PostgreSQL does it.
//!
//! Idea: months, days and the time of day are multiplied by themselves. What is left of a month goes to the
//! days, of which a month has 30, and what is left of a day to its time. Nothing goes the other way unless
//! one of the `justify_…` functions is asked.
//! Invariant: `None` is out of range; no number wraps around.

use arrow::datatypes::IntervalMonthDayNano as Span;

const DAYS_OF_MONTH: i64 = 30;
const SECONDS_OF_DAY: f64 = 86_400.0;
const NANOSECONDS: f64 = 1e9;
/// What is left of months and days is rounded to microseconds, which a `DOUBLE` is exact enough for.
const MICROSECONDS: f64 = 1e6;
const MICROSECOND: i64 = 1_000;
pub(super) const DAY: i64 = 86_400 * 1_000_000_000;
/// Up to here every whole number is a `DOUBLE`.
const WHOLE: f64 = 9_007_199_254_740_992.0;

/// Whether an interval is multiplied or divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Times,
    Divided,
}

impl By {
    fn apply(self, value: f64, factor: f64) -> f64 {
        match self {
            Self::Times => value * factor,
            Self::Divided => value / factor,
        }
    }
}

/// An interval times a number, or divided by one that is not 0.
pub(super) fn scaled(span: Span, by: By, factor: f64) -> Option<Span> {
    if by == By::Times && factor.fract() == 0.0 && factor.abs() <= WHOLE {
        return multiplied(span, factor as i64);
    }
    let months = by.apply(span.months.into(), factor);
    let days = by.apply(span.days.into(), factor);
    let of_months = rounded((months - months.trunc()) * DAYS_OF_MONTH as f64);
    let mut seconds =
        rounded((days - days.trunc() + of_months - of_months.trunc()) * SECONDS_OF_DAY);
    let mut whole_days = days.trunc() + of_months.trunc();
    if seconds.abs() >= SECONDS_OF_DAY {
        let more = (seconds / SECONDS_OF_DAY).trunc();
        (whole_days, seconds) = (whole_days + more, seconds - more * SECONDS_OF_DAY);
    }
    // A double does not tell nanoseconds of long times apart, which such times rarely have.
    let unit = match span.nanoseconds % MICROSECOND {
        0 => MICROSECOND,
        _ => 1,
    };
    let time = by.apply(span.nanoseconds as f64, factor) + seconds * NANOSECONDS;
    let units = (time / unit as f64).round_ties_even();
    Some(Span {
        months: whole(months)?.try_into().ok()?,
        days: whole(whole_days)?.try_into().ok()?,
        nanoseconds: whole(units)?.checked_mul(unit)?,
    })
}

fn multiplied(span: Span, factor: i64) -> Option<Span> {
    let months = i64::from(span.months).checked_mul(factor)?;
    let days = i64::from(span.days).checked_mul(factor)?;
    Some(Span {
        months: months.try_into().ok()?,
        days: days.try_into().ok()?,
        nanoseconds: span.nanoseconds.checked_mul(factor)?,
    })
}

fn rounded(value: f64) -> f64 {
    (value * MICROSECONDS).round_ties_even() / MICROSECONDS
}

/// The part of a number before the point.
pub(super) fn whole(value: f64) -> Option<i64> {
    // The next double above is out of range.
    let in_range = value.is_finite() && value >= i64::MIN as f64 && value < i64::MAX as f64;
    in_range.then_some(value.trunc() as i64)
}

/// Days beyond a month become months.
pub(super) fn justified_days(span: Span) -> Option<Span> {
    let mut months = i64::from(span.months) + i64::from(span.days) / DAYS_OF_MONTH;
    let mut days = i64::from(span.days) % DAYS_OF_MONTH;
    carry(&mut months, (&mut days, DAYS_OF_MONTH));
    made(months, days, span.nanoseconds)
}

/// Hours beyond a day become days.
pub(super) fn justified_hours(span: Span) -> Option<Span> {
    let mut days = i64::from(span.days) + span.nanoseconds / DAY;
    let mut time = span.nanoseconds % DAY;
    carry(&mut days, (&mut time, DAY));
    made(span.months.into(), days, time)
}

/// Both, with one sign for all parts.
pub(super) fn justified(span: Span) -> Option<Span> {
    let mut days = i64::from(span.days) + span.nanoseconds / DAY;
    let mut time = span.nanoseconds % DAY;
    let mut months = i64::from(span.months) + days / DAYS_OF_MONTH;
    days %= DAYS_OF_MONTH;
    if months > 0 && (days < 0 || days == 0 && time < 0) {
        (months, days) = (months - 1, days + DAYS_OF_MONTH);
    } else if months < 0 && (days > 0 || days == 0 && time > 0) {
        (months, days) = (months + 1, days - DAYS_OF_MONTH);
    }
    carry(&mut days, (&mut time, DAY));
    made(months, days, time)
}

/// Takes one of the larger unit where the smaller has the other sign.
fn carry(large: &mut i64, (small, of_large): (&mut i64, i64)) {
    if *large > 0 && *small < 0 {
        (*large, *small) = (*large - 1, *small + of_large);
    } else if *large < 0 && *small > 0 {
        (*large, *small) = (*large + 1, *small - of_large);
    }
}

fn made(months: i64, days: i64, nanoseconds: i64) -> Option<Span> {
    Some(Span {
        months: months.try_into().ok()?,
        days: days.try_into().ok()?,
        nanoseconds,
    })
}

#[cfg(test)]
mod tests {
    use super::super::text::parse;
    use super::*;
    use crate::values::span_text;

    fn shown(span: Option<Span>) -> String {
        span.map_or_else(|| "out of range".to_owned(), span_text)
    }

    /// The tables of PostgreSQL's own tests, `interval.sql`.
    #[test]
    fn products_and_quotients_are_those_of_postgresql() {
        let spans = [
            "41 mon 12 days 360:00",
            "-41 mon -12 days +360:00",
            "-12 days",
            "9 mon -27 days 12:34:56",
            "-3 years 482 days 76:54:32.189",
            "4 mon",
            "14 mon",
            "999 mon 999 days",
        ];
        let wanted = [
            (
                By::Times,
                0.3,
                [
                    "1 year 12 days 122:24:00",
                    "-1 years -12 days +93:36:00",
                    "-3 days -14:24:00",
                    "2 mons 13 days 01:22:28.8",
                    "-10 mons +120 days 37:28:21.6567",
                    "1 mon 6 days",
                    "4 mons 6 days",
                    "24 years 11 mons 320 days 16:48:00",
                ],
            ),
            (
                By::Times,
                8.2,
                [
                    "28 years 104 days 2961:36:00",
                    "-28 years -104 days +2942:24:00",
                    "-98 days -09:36:00",
                    "6 years 1 mon -197 days +93:34:27.2",
                    "-24 years -7 mons +3946 days 640:15:11.9498",
                    "2 years 8 mons 24 days",
                    "9 years 6 mons 24 days",
                    "682 years 7 mons 8215 days 19:12:00",
                ],
            ),
            (
                By::Divided,
                10.0,
                [
                    "4 mons 4 days 40:48:00",
                    "-4 mons -4 days +31:12:00",
                    "-1 days -04:48:00",
                    "25 days -15:32:30.4",
                    "-3 mons +30 days 12:29:27.2189",
                    "12 days",
                    "1 mon 12 days",
                    "8 years 3 mons 126 days 21:36:00",
                ],
            ),
            (
                By::Divided,
                100.0,
                [
                    "12 days 13:40:48",
                    "-12 days -06:28:48",
                    "-02:52:48",
                    "2 days 10:26:44.96",
                    "-6 days +01:14:56.72189",
                    "1 day 04:48:00",
                    "4 days 04:48:00",
                    "9 mons 39 days 16:33:36",
                ],
            ),
        ];
        for (by, factor, results) in wanted {
            for (text, wanted) in spans.iter().zip(results) {
                let found = shown(scaled(parse(text).unwrap(), by, factor));
                assert_eq!(found, wanted, "{text} {by:?} {factor}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_out_of_range() {
        let year = parse("1 year").unwrap();
        for factor in [1e9, f64::NAN, f64::INFINITY, 1e300, 1.5e9] {
            assert_eq!(scaled(year, By::Times, factor), None, "{factor}");
        }
        let long = parse("2562047 hours").unwrap();
        assert_eq!(scaled(long, By::Times, 2.0), None);
        assert_eq!(scaled(long, By::Times, 2.5), None);
    }

    #[test]
    fn intervals_are_justified_as_in_postgresql() {
        let of = |text: &str| parse(text).unwrap();
        for (text, wanted) in [
            (
                "6 months 36 days 5 hours 4 minutes 3 seconds",
                "7 mons 6 days 05:04:03",
            ),
            ("-6 months 36 days 5 hours", "-4 mons -24 days +05:00:00"),
        ] {
            assert_eq!(shown(justified_days(of(text))), wanted);
        }
        let hours = justified_hours(of("6 months 3 days 52 hours 3 minutes 2 seconds"));
        assert_eq!(shown(hours), "6 mons 5 days 04:03:02");
        for (text, wanted) in [
            ("1 month -1 hour", "29 days 23:00:00"),
            ("2147483647 days", "5965232 years 4 mons 7 days"),
            ("27 hours", "1 day 03:00:00"),
            ("-1 month 1 hour", "-29 days -23:00:00"),
        ] {
            assert_eq!(shown(justified(of(text))), wanted, "{text}");
        }
    }
}
