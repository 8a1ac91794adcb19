//! Floating point numbers: the shortest text that is the same number.
//!
//! As PostgreSQL has it, the exponent is written from 15 digits before the point on (6 for
//! `REAL`), or when four zeros would follow the point.

/// Digits that a `DOUBLE` and a `REAL` are sure to keep.
const DOUBLE_DIGITS: i32 = 15;
const REAL_DIGITS: i32 = 6;
/// The smallest exponent that is not written.
const MIN_EXPONENT: i32 = -4;

pub(super) fn double(value: f64) -> String {
    match special(value) {
        Some(text) => text.to_owned(),
        None => written(&format!("{value:e}"), &format!("{value}"), DOUBLE_DIGITS),
    }
}

pub(super) fn real(value: f32) -> String {
    match special(f64::from(value)) {
        Some(text) => text.to_owned(),
        None => written(&format!("{value:e}"), &format!("{value}"), REAL_DIGITS),
    }
}

fn special(value: f64) -> Option<&'static str> {
    match value {
        _ if value.is_nan() => Some("NaN"),
        f64::INFINITY => Some("Infinity"),
        f64::NEG_INFINITY => Some("-Infinity"),
        _ => None,
    }
}

/// One of the two ways to write a number.
fn written(scientific: &str, plain: &str, digits: i32) -> String {
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        return plain.to_owned();
    };
    match exponent.parse::<i32>() {
        Ok(exponent) if !(MIN_EXPONENT..digits).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", exponent.abs())
        }
        _ => plain.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_postgresql() {
        // SELECT …::float8 in PostgreSQL 16.
        for (value, text) in [
            (0.1, "0.1"),
            (1.0, "1"),
            (-0.0, "-0"),
            (1e20, "1e+20"),
            (1e15, "1e+15"),
            (1e14, "100000000000000"),
            (123_456_789.125, "123456789.125"),
            (1.0 / 3.0, "0.3333333333333333"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.5e300, "1.5e+300"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(double(value), text);
        }
        assert_eq!(real(0.1), "0.1");
        assert_eq!(real(1_000_000.0), "1e+06");
        assert_eq!(real(100_000.0), "100000");
    }
}
