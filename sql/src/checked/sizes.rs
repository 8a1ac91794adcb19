//! Values of one row of arguments, and the bytes that they take.
//!
//! Invariant: an argument of one row is a constant, and the same for every row.

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int64Type};

/// Bytes of an element of a list, at least.
pub(super) const ELEMENT_BYTES: u128 = 8;

/// Where a row of an argument is: constants have one.
pub(super) fn place(array: &ArrayRef, row: usize) -> Option<usize> {
    let row = if array.len() == 1 { 0 } else { row };
    array.is_valid(row).then_some(row)
}

/// An integer.
pub(super) fn number(array: &ArrayRef, row: usize) -> Option<i64> {
    let row = place(array, row)?;
    match array.as_primitive_opt::<Int64Type>() {
        Some(numbers) => Some(numbers.value(row)),
        None => {
            let one = cast(&array.slice(row, 1), &DataType::Int64).ok()?;
            let one = one.as_primitive_opt::<Int64Type>()?;
            one.is_valid(0).then(|| one.value(0))
        }
    }
}

pub(super) fn text_at(array: &ArrayRef, row: usize) -> Option<String> {
    let one = cast(&array.slice(place(array, row)?, 1), &DataType::Utf8).ok()?;
    let one = one.as_string_opt::<i32>()?;
    one.is_valid(0).then(|| one.value(0).to_owned())
}

/// The bytes of a text; of anything else, what it takes in a list.
pub(super) fn length(array: &ArrayRef, row: usize) -> Option<u128> {
    let row = place(array, row)?;
    Some(match array.data_type() {
        DataType::Utf8View => array.as_string_view().value(row).len() as u128,
        DataType::Utf8 => array.as_string::<i32>().value(row).len() as u128,
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).len() as u128,
        kind if kind.is_primitive() => ELEMENT_BYTES,
        _ => bytes_of(&array.slice(row, 1)).max(ELEMENT_BYTES),
    })
}

/// The elements of a list.
pub(super) fn elements(array: &ArrayRef, row: usize) -> Option<ArrayRef> {
    let row = place(array, row)?;
    match array.data_type() {
        DataType::List(_) => Some(array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => Some(array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => Some(array.as_fixed_size_list().value(row)),
        _ => None,
    }
}

/// How many values there are in lists of lists.
pub(super) fn leaves(array: &ArrayRef) -> u128 {
    let rows = 0..array.len();
    match array.data_type() {
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => rows
            .filter_map(|row| elements(array, row))
            .map(|inner| leaves(&inner))
            .sum(),
        _ => array.len() as u128,
    }
}

/// The bytes of all values.
fn bytes_of(array: &ArrayRef) -> u128 {
    let rows = 0..array.len();
    match array.data_type() {
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => rows
            .filter_map(|row| elements(array, row))
            .map(|inner| bytes_of(&inner).saturating_add(ELEMENT_BYTES))
            .sum(),
        DataType::Utf8View | DataType::Utf8 | DataType::LargeUtf8 => {
            let texts = rows.filter_map(|row| length(array, row));
            texts.map(|bytes| bytes + ELEMENT_BYTES).sum()
        }
        DataType::Struct(_) => array.as_struct().columns().iter().map(bytes_of).sum(),
        _ => {
            let bytes = array.to_data().get_slice_memory_size();
            bytes.unwrap_or_default() as u128
        }
    }
}
