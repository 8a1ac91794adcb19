//! Rows of text, typed by the table.
//!
//! Purpose: CSV and JSON give the text of each value and the line of each row; here they become
//! columns of the table.
//!
//! Invariant: of several errors the first line's is reported.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder, UInt64Array};
use arrow::compute::{CastOptions, can_cast_types, cast, cast_with_options, take};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use netabase_store::{Error, TableDef};

use super::columns::Matched;
use super::{FilePath, Part, Place};
use crate::error::invalid;

/// Rows that are parsed before their columns are typed.
pub(super) const ROWS_PER_BATCH: usize = 16_384;
/// Bytes of text after which columns are typed earlier.
pub(super) const BYTES_PER_BATCH: usize = 8 << 20;
/// Characters of a broken value that an error repeats.
const SHOWN_CHARACTERS: usize = 64;
/// What stands before bytes that are written in hexadecimal.
const HEX: &str = "\\x";

/// Whether text becomes a value of this type: no lists, structures or maps.
pub(super) fn takes_text(data_type: &DataType) -> bool {
    !data_type.is_nested() && can_cast_types(&DataType::Utf8, data_type)
}

/// What types the rows of one file.
#[derive(Debug)]
pub(super) struct Typer {
    pub(super) path: FilePath,
    pub(super) def: Arc<TableDef>,
    pub(super) matched: Matched,
}

impl Typer {
    /// An error that names file and line.
    pub(super) fn broken(&self, line: u64, reason: &str) -> Error {
        invalid(format!("{} line {line}: {reason}", self.path.display()))
    }

    /// Types columns of text, which begin on these lines.
    pub(super) fn part(&self, texts: &[ArrayRef], lines: Vec<u64>) -> Result<Part, Error> {
        let targets = self.matched.targets(texts.len());
        let mut typed: Vec<Option<ArrayRef>> = Vec::with_capacity(texts.len());
        let mut first: Option<(usize, Error)> = None;
        for (text, target) in texts.iter().zip(targets) {
            let Some(target) = target else {
                typed.push(None);
                continue;
            };
            match parse(text, self.def.schema.field(target).data_type()) {
                Ok(array) => typed.push(Some(array)),
                Err(row) if first.as_ref().is_none_or(|(found, _)| row < *found) => {
                    first = Some((row, self.unparsable(text, row, (target, &lines))));
                }
                Err(_) => {}
            }
        }
        if let Some((_, error)) = first {
            return Err(error);
        }
        let rows = self.matched.rows(lines.len(), |source, field| {
            let array = typed.get(source).cloned().flatten();
            array.ok_or_else(|| invalid(format!("column \"{}\" was not read", field.name())))
        })?;
        Ok(Part {
            rows,
            given: self.matched.given(),
            place: Place::Lines(lines),
        })
    }

    fn unparsable(&self, text: &ArrayRef, row: usize, (target, lines): (usize, &[u64])) -> Error {
        let line = lines.get(row).copied().unwrap_or_default();
        self.broken(
            line,
            &format!(
                "column \"{}\": cannot parse {} as {}",
                self.def.column_name(target),
                shown(text, row),
                self.def.schema.field(target).data_type()
            ),
        )
    }
}

/// Types a column, or tells the first row that does not fit.
fn parse(text: &ArrayRef, to: &DataType) -> Result<ArrayRef, usize> {
    let array = match to {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            bytes_of(text).and_then(|bytes| cast(&bytes, to))
        }
        _ if to.is_nested() => return parse_nested(text, to),
        _ => cast_with_options(text, to, &CastOptions::default()),
    };
    let Ok(array) = array else { return Err(0) };
    if array.null_count() <= text.null_count() {
        return Ok(array);
    }
    let lost = |row: &usize| array.is_null(*row) && text.is_valid(*row);
    match (0..text.len()).find(lost) {
        Some(row) => Err(row),
        None => Ok(array),
    }
}

/// Lists and structures of text; a value inside of them that does not fit fails the cast.
fn parse_nested(text: &ArrayRef, to: &DataType) -> Result<ArrayRef, usize> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    // A slice would be cast with all of the values that its list shares with others.
    let fits = |row: usize| {
        let alone = take(text, &UInt64Array::from(vec![row as u64]), None);
        alone.is_ok_and(|alone| cast_with_options(&alone, to, &options).is_ok())
    };
    match cast_with_options(text, to, &options) {
        Ok(array) => Ok(array),
        Err(_) => Err((0..text.len()).find(|row| !fits(*row)).unwrap_or(0)),
    }
}

/// Bytes: `\x` and hexadecimal digits, or the text itself. NULL where it is neither.
fn bytes_of(text: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let text = text.as_string_opt::<i32>();
    let text = text.ok_or_else(|| ArrowError::CastError("text was expected".to_owned()))?;
    let mut bytes = BinaryBuilder::new();
    for value in text {
        match value.map(|value| (value, value.strip_prefix(HEX))) {
            None => bytes.append_null(),
            Some((_, Some(digits))) => bytes.append_option(unhex(digits)),
            Some((value, None)) => bytes.append_value(value.as_bytes()),
        }
    }
    Ok(Arc::new(bytes.finish()))
}

/// The bytes of hexadecimal digits, if these are some.
pub(crate) fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = digits.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => u8::try_from(digit(*high)? << 4 | digit(*low)?).ok(),
        _ => None,
    });
    pairs.collect()
}

/// Appends bytes as `\x` and hexadecimal digits.
pub(super) fn push_hex(bytes: &[u8], to: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied();
    to.extend_from_slice(HEX.as_bytes());
    for byte in bytes {
        to.extend(digit(byte >> 4).into_iter().chain(digit(byte & 15)));
    }
}

/// The beginning of a broken value.
fn shown(text: &ArrayRef, row: usize) -> String {
    let Some(text) = text.as_string_opt::<i32>() else {
        return "the value".to_owned();
    };
    let value = text.value(row);
    let mut short: String = value.chars().take(SHOWN_CHARACTERS).collect();
    if short.len() < value.len() {
        short.push('…');
    }
    format!("\"{short}\"")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use arrow::array::StringArray;

    #[test]
    fn bytes_are_text_or_hexadecimal() {
        let text: ArrayRef = Arc::new(StringArray::from(vec![
            Some("\\x00fF"),
            Some("plain"),
            Some("\\x"),
            None,
        ]));
        let bytes = parse(&text, &DataType::Binary).unwrap();
        let bytes = bytes.as_binary::<i32>();
        assert_eq!(bytes.value(0), [0, 255]);
        assert_eq!(bytes.value(1), b"plain");
        assert_eq!(bytes.value(2), b"");
        assert!(bytes.is_null(3));
        for broken in ["\\x0", "\\x0g", "\\xä"] {
            let text: ArrayRef = Arc::new(StringArray::from(vec!["a", broken]));
            assert_eq!(parse(&text, &DataType::Binary).unwrap_err(), 1, "{broken}");
        }
        let mut hex = Vec::new();
        push_hex(&[0, 10, 255], &mut hex);
        assert_eq!(hex, b"\\x000aff");
    }

    #[test]
    fn text_is_no_list() {
        let list = DataType::new_list(DataType::Int64, true);
        assert!(can_cast_types(&DataType::Utf8, &list));
        assert!(!takes_text(&list));
        assert!(takes_text(&DataType::Float64));
    }
}
