//! Arrow types that differ in how they lie in memory alone.
//!
//! Purpose: a table that was made by SQL, or a batch from elsewhere, may keep texts, bytes and lists
//! in another layout than records do. Invariant: bringing one into the other changes no value.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Fields};

use super::error::Misfit;

/// Whether two types have the same values.
pub(crate) fn same_kind(a: &DataType, b: &DataType) -> bool {
    use DataType::{
        Binary, BinaryView, LargeBinary, LargeList, LargeUtf8, List, Map, Struct, Utf8, Utf8View,
    };
    match (a, b) {
        (Utf8 | LargeUtf8 | Utf8View, Utf8 | LargeUtf8 | Utf8View) => true,
        (Binary | LargeBinary | BinaryView, Binary | LargeBinary | BinaryView) => true,
        (List(a) | LargeList(a), List(b) | LargeList(b)) => same_kind(a.data_type(), b.data_type()),
        (Struct(a), Struct(b)) => same_parts(a, b),
        (Map(a, _), Map(b, _)) => match (a.data_type(), b.data_type()) {
            // The parts are called "key" and "keys" by different writers; there are two.
            (Struct(a), Struct(b)) => {
                let mut parts = a.iter().zip(b);
                a.len() == b.len() && parts.all(|(a, b)| same_kind(a.data_type(), b.data_type()))
            }
            _ => false,
        },
        (a, b) => a == b,
    }
}

fn same_parts(a: &Fields, b: &Fields) -> bool {
    let mut parts = a.iter().zip(b);
    a.len() == b.len()
        && parts.all(|(a, b)| a.name() == b.name() && same_kind(a.data_type(), b.data_type()))
}

/// A column in the layout of another type of the same kind. Fails when it is of another kind.
pub(crate) fn in_layout(column: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, Misfit> {
    if column.data_type() == wanted {
        return Ok(Arc::clone(column));
    }
    let reason = || {
        format!(
            "its type is {}, and the record's is {wanted}",
            column.data_type()
        )
    };
    if !same_kind(column.data_type(), wanted) {
        return Err(Misfit::new(reason()));
    }
    cast(column, wanted).map_err(|error| Misfit::new(format!("{}: {error}", reason())))
}
