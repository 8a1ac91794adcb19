//! One key by its values, without an Arrow array.
//!
//! Idea: a lookup of one row would spend most of its time on making arrays of one element. Invariant:
//! the bytes are those of arrow's row format (ascending, no NULLs), which the tests compare for every
//! type here; see <https://docs.rs/arrow-row> for the format. Non-goal: types whose keys are rare:
//! they go through an array.

use arrow::datatypes::DataType;

/// Before a value that is not NULL.
const VALID: u8 = 1;
/// A text or bytes of length zero.
const EMPTY: u8 = 1;
/// Before other text or bytes.
const NOT_EMPTY: u8 = 2;
/// After a block that is followed by another one.
const CONTINUES: u8 = 0xff;
/// Bytes of one of the first blocks, and how many there are of these.
const FIRST_BLOCK: usize = 8;
const FIRST_BLOCKS: usize = 4;
/// Bytes of a later block.
const BLOCK: usize = 32;

/// One value of a key.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum KeyPart<'a> {
    /// Of a column of booleans.
    Bool(bool),
    /// Of a column of integers of any width, or of dates, times and timestamps in the column's unit.
    Int(i64),
    /// Of a column of integers of any width.
    UInt(u64),
    /// Of a column of text.
    Text(&'a str),
    /// Of a column of bytes.
    Bytes(&'a [u8]),
}

/// How the values of a key column are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PartKind {
    Bool,
    /// Bits of the integer.
    Signed(u32),
    Unsigned(u32),
    Text,
    Bytes,
    /// So many bytes each.
    FixedBytes(usize),
    /// Through an array only.
    Other,
}

/// Why a value cannot be in a key column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// It has another type.
    Type,
    /// It is outside of the column's range, or has another length.
    Range,
    /// The column's type is encoded through an array only.
    Unsupported,
}

impl PartKind {
    pub(crate) fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Boolean => Self::Bool,
            DataType::Int8 => Self::Signed(8),
            DataType::Int16 => Self::Signed(16),
            DataType::Int32 | DataType::Date32 | DataType::Time32(_) => Self::Signed(32),
            DataType::Int64
            | DataType::Date64
            | DataType::Time64(_)
            | DataType::Timestamp(_, _)
            | DataType::Duration(_) => Self::Signed(64),
            DataType::UInt8 => Self::Unsigned(8),
            DataType::UInt16 => Self::Unsigned(16),
            DataType::UInt32 => Self::Unsigned(32),
            DataType::UInt64 => Self::Unsigned(64),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Text,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Self::Bytes,
            DataType::FixedSizeBinary(len) => {
                usize::try_from(*len).map_or(Self::Other, Self::FixedBytes)
            }
            _ => Self::Other,
        }
    }
}

/// Appends the encoding of a value.
pub(crate) fn encode(kind: PartKind, part: KeyPart<'_>, to: &mut Vec<u8>) -> Result<(), Misfit> {
    match (kind, part) {
        (PartKind::Bool, KeyPart::Bool(value)) => to.extend([VALID, u8::from(value)]),
        (PartKind::Signed(bits), part) => signed(bits, integer(part)?, to)?,
        (PartKind::Unsigned(bits), part) => unsigned(bits, integer(part)?, to)?,
        (PartKind::Text, KeyPart::Text(value)) => variable(value.as_bytes(), to),
        (PartKind::Bytes, KeyPart::Bytes(value)) => variable(value, to),
        (PartKind::FixedBytes(len), KeyPart::Bytes(value)) if value.len() == len => {
            to.push(VALID);
            to.extend_from_slice(value);
        }
        (PartKind::FixedBytes(_), KeyPart::Bytes(_)) => return Err(Misfit::Range),
        (PartKind::Other, _) => return Err(Misfit::Unsupported),
        _ => return Err(Misfit::Type),
    }
    Ok(())
}

/// The most bytes that a value takes.
pub(crate) fn encoded_len(part: KeyPart<'_>) -> usize {
    let len = match part {
        KeyPart::Text(text) => text.len(),
        KeyPart::Bytes(bytes) => bytes.len(),
        KeyPart::Bool(_) | KeyPart::Int(_) | KeyPart::UInt(_) => return 1 + size_of::<i64>(),
    };
    // One byte before, and one after every block.
    1 + len + len.div_ceil(FIRST_BLOCK) + BLOCK
}

fn integer(part: KeyPart<'_>) -> Result<i128, Misfit> {
    match part {
        KeyPart::Int(value) => Ok(value.into()),
        KeyPart::UInt(value) => Ok(value.into()),
        _ => Err(Misfit::Type),
    }
}

/// Big-endian with the sign flipped, so that negative numbers come first.
fn signed(bits: u32, value: i128, to: &mut Vec<u8>) -> Result<(), Misfit> {
    let half = 1_i128 << (bits - 1);
    if !(-half..half).contains(&value) {
        return Err(Misfit::Range);
    }
    unsigned(bits, value + half, to)
}

fn unsigned(bits: u32, value: i128, to: &mut Vec<u8>) -> Result<(), Misfit> {
    let word = u64::try_from(value).map_err(|_| Misfit::Range)?;
    if bits < u64::BITS && word >> bits != 0 {
        return Err(Misfit::Range);
    }
    to.push(VALID);
    let bytes = word.to_be_bytes();
    to.extend(bytes.iter().skip(size_of::<u64>() - bits as usize / 8));
    Ok(())
}

fn variable(value: &[u8], to: &mut Vec<u8>) {
    if value.is_empty() {
        return to.push(EMPTY);
    }
    to.push(NOT_EMPTY);
    let (first, rest) = value.split_at(value.len().min(FIRST_BLOCK * FIRST_BLOCKS));
    blocks(first, FIRST_BLOCK, rest.is_empty(), to);
    blocks(rest, BLOCK, true, to);
}

/// Blocks filled up with zeros, each followed by its length if it is the last one of all.
fn blocks(value: &[u8], size: usize, last: bool, to: &mut Vec<u8>) {
    let mut blocks = value.chunks(size).peekable();
    while let Some(block) = blocks.next() {
        to.extend_from_slice(block);
        to.resize(to.len() + size - block.len(), 0);
        let ends = last && blocks.peek().is_none();
        to.push(if ends { block.len() as u8 } else { CONTINUES });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use std::sync::Arc;

    use arrow::array::{ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, StringArray};
    use arrow::array::{Int64Array, UInt64Array};
    use arrow::compute::cast;
    use arrow::datatypes::TimeUnit;
    use arrow_row::{RowConverter, SortField};

    use super::*;

    /// What arrow makes of the first row.
    fn by_arrow(column: &ArrayRef) -> Vec<u8> {
        let field = SortField::new(column.data_type().clone());
        let converter = RowConverter::new(vec![field]).unwrap();
        let rows = converter.convert_columns(&[Arc::clone(column)]).unwrap();
        rows.row(0).data().to_vec()
    }

    fn check(column: &ArrayRef, part: KeyPart<'_>) {
        let mut bytes = Vec::new();
        encode(PartKind::of(column.data_type()), part, &mut bytes).unwrap();
        assert_eq!(
            bytes,
            by_arrow(column),
            "{part:?} in {}",
            column.data_type()
        );
        assert!(bytes.len() <= encoded_len(part), "{part:?}");
    }

    #[test]
    fn integers_and_times_are_encoded_like_arrow_does() {
        let narrow = [
            DataType::Int8,
            DataType::Int16,
            DataType::Int32,
            DataType::Date32,
        ];
        let narrow = narrow
            .into_iter()
            .chain([DataType::Time32(TimeUnit::Second)]);
        let wide = [
            DataType::Int64,
            DataType::Date64,
            DataType::Time64(TimeUnit::Microsecond),
            DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
            DataType::Duration(TimeUnit::Millisecond),
        ];
        for data_type in narrow.chain(wide.clone()) {
            for value in [0_i64, 1, -1, 127, -128, 77] {
                let values: ArrayRef = match PartKind::of(&data_type) {
                    PartKind::Signed(32) => {
                        let ints = cast(&Int64Array::from(vec![value]), &DataType::Int32).unwrap();
                        cast(&ints, &data_type).unwrap()
                    }
                    _ => cast(&Int64Array::from(vec![value]), &data_type).unwrap(),
                };
                check(&values, KeyPart::Int(value));
            }
        }
        for data_type in wide {
            for value in [i64::MIN, i64::MAX] {
                let values = cast(&Int64Array::from(vec![value]), &data_type).unwrap();
                check(&values, KeyPart::Int(value));
            }
        }
        let unsigned = [
            DataType::UInt8,
            DataType::UInt16,
            DataType::UInt32,
            DataType::UInt64,
        ];
        for data_type in unsigned {
            for value in [0_u64, 1, 200, 255] {
                let values = cast(&UInt64Array::from(vec![value]), &data_type).unwrap();
                check(&values, KeyPart::UInt(value));
            }
        }
        let largest: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX]));
        check(&largest, KeyPart::UInt(u64::MAX));
        for value in [true, false] {
            let values: ArrayRef = Arc::new(BooleanArray::from(vec![value]));
            check(&values, KeyPart::Bool(value));
        }
    }

    #[test]
    fn text_and_bytes_of_every_length_are_encoded_like_arrow_does() {
        let text: String = ('a'..='z').cycle().take(200).collect();
        for len in 0..text.len() {
            let text = &text[..len];
            let values: ArrayRef = Arc::new(StringArray::from(vec![text]));
            for data_type in [DataType::Utf8, DataType::LargeUtf8, DataType::Utf8View] {
                check(&cast(&values, &data_type).unwrap(), KeyPart::Text(text));
            }
            let values: ArrayRef = Arc::new(BinaryArray::from(vec![text.as_bytes()]));
            for data_type in [
                DataType::Binary,
                DataType::LargeBinary,
                DataType::BinaryView,
            ] {
                let values = cast(&values, &data_type).unwrap();
                check(&values, KeyPart::Bytes(text.as_bytes()));
            }
        }
        let fixed = FixedSizeBinaryArray::try_from_iter([[0xff_u8, 0, 7]].into_iter()).unwrap();
        check(
            &(Arc::new(fixed) as ArrayRef),
            KeyPart::Bytes(&[0xff, 0, 7]),
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let fails = |kind, part| encode(kind, part, &mut Vec::new()).unwrap_err();
        assert_eq!(fails(PartKind::Signed(8), KeyPart::Int(128)), Misfit::Range);
        assert_eq!(
            fails(PartKind::Signed(64), KeyPart::UInt(u64::MAX)),
            Misfit::Range
        );
        assert_eq!(
            fails(PartKind::Unsigned(16), KeyPart::Int(-1)),
            Misfit::Range
        );
        assert_eq!(
            fails(PartKind::Unsigned(16), KeyPart::UInt(65_536)),
            Misfit::Range
        );
        assert_eq!(
            fails(PartKind::FixedBytes(3), KeyPart::Bytes(b"ab")),
            Misfit::Range
        );
        assert_eq!(fails(PartKind::Text, KeyPart::Bytes(b"ab")), Misfit::Type);
        assert_eq!(fails(PartKind::Bool, KeyPart::Int(1)), Misfit::Type);
        assert_eq!(
            fails(PartKind::Signed(8), KeyPart::Bool(true)),
            Misfit::Type
        );
        let decimal = PartKind::of(&DataType::Decimal128(10, 2));
        assert_eq!(fails(decimal, KeyPart::Int(1)), Misfit::Unsupported);
    }
}
