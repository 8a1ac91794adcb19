//! Sizes and times as settings are written: a number and a unit.
//!
//! Invariant: what is written here is read back as the same number.

use netabase_store::Error;

use crate::error::invalid;

/// Units of sizes, the largest first, and the bytes of each.
const SIZES: [(&str, u64); 4] = [
    ("TB", 1 << 40),
    ("GB", 1 << 30),
    ("MB", 1 << 20),
    ("kB", 1 << 10),
];
/// Units of time as PostgreSQL writes them, the largest first, and the milliseconds of each.
const TIMES: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("min", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Reads a size for a setting: bytes, or a whole number of a unit.
pub(crate) fn size(setting: &str, text: &str) -> Result<usize, Error> {
    let bytes = number_of(text, &SIZES);
    bytes
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(|| {
            invalid(format!(
                "{setting} is written as bytes or with kB, MB, GB or TB, such as '512MB', and not \
                 '{text}'"
            ))
        })
}

/// Writes a size in the largest unit that divides it.
pub(crate) fn size_text(bytes: usize) -> String {
    text_of(bytes as u64, &SIZES)
}

/// Reads a time for a setting: milliseconds, or a whole number of a unit.
pub(crate) fn millis(setting: &str, text: &str) -> Result<u64, Error> {
    number_of(text, &TIMES).ok_or_else(|| {
        invalid(format!(
            "{setting} is written as milliseconds or with ms, s, min, h or d, such as '30s', and \
             not '{text}'"
        ))
    })
}

/// Writes a time in the largest unit that divides it.
pub(crate) fn millis_text(millis: u64) -> String {
    text_of(millis, &TIMES)
}

fn number_of(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let trimmed = text.trim();
    let digits = trimmed.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor = match trimmed.get(digits.len()..)? {
        "" => 1,
        unit => {
            let known = units
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(unit));
            known?.1
        }
    };
    digits.trim_end().parse::<u64>().ok()?.checked_mul(factor)
}

fn text_of(number: u64, units: &[(&str, u64)]) -> String {
    let whole = |(_, factor): &&(&str, u64)| number > 0 && number.is_multiple_of(*factor);
    match units.iter().find(whole) {
        Some((name, factor)) => format!("{}{name}", number / factor),
        None => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_they_are_written() {
        for (text, bytes) in [
            ("512MB", 512 << 20),
            ("512 mb", 512 << 20),
            ("2GB", 2 << 30),
            ("1048577", 1_048_577),
            ("20000kB", 20_000 << 10),
        ] {
            assert_eq!(size("limit", text).unwrap(), bytes, "{text}");
            assert_eq!(size("limit", &size_text(bytes)).unwrap(), bytes, "{text}");
        }
        for text in ["", "MB", "-1", "1.5GB", "12 parsecs", "99999999999TB", "1é"] {
            let error = size("limit", text).unwrap_err().to_string();
            assert!(error.contains("'512MB'"), "{text}");
        }
        assert_eq!(size_text(512 << 20), "512MB");
        assert_eq!(size_text(0), "0");
    }

    #[test]
    fn times_are_read_as_they_are_written() {
        for (text, time) in [
            ("5000", 5000),
            ("5s", 5000),
            ("5 S", 5000),
            ("250ms", 250),
            ("0", 0),
            ("90min", 5_400_000),
            ("2d", 172_800_000),
        ] {
            assert_eq!(millis("timeout", text).unwrap(), time, "{text}");
            let written = millis_text(time);
            assert_eq!(millis("timeout", &written).unwrap(), time, "{text}");
        }
        for text in ["", "s", "-1", "1.5s", "3 fortnights"] {
            assert!(millis("timeout", text).is_err(), "{text}");
        }
        assert_eq!(millis_text(5000), "5s");
        assert_eq!(millis_text(1500), "1500ms");
    }
}
