//! How rows of a segment become encoded keys.
//!
//! Invariant: the same bytes as [`crate::KeyEncoder`] gives, because both use arrow's row format
//! over the key columns in key order.

use std::path::Path;

use arrow::array::{ArrayRef, BinaryArray};
use arrow::datatypes::SchemaRef;
use arrow_row::{RowConverter, SortField};

use super::blocks::damaged;
use crate::error::{Error, Result};

/// Which columns make the key, and what turns them into bytes.
#[derive(Debug)]
pub(crate) struct KeyLayout {
    columns: Vec<usize>,
    converter: RowConverter,
}

impl KeyLayout {
    /// For rows of `schema` whose key is `columns`, in key order. Fails with `InvalidInput` if a
    /// column does not exist or cannot be part of a key.
    pub(crate) fn new(schema: &SchemaRef, columns: Vec<usize>) -> Result<Self> {
        let fields = columns
            .iter()
            .map(|&column| schema.fields().get(column))
            .map(|field| field.map(|field| SortField::new(field.data_type().clone())))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| Error::invalid("a key column does not exist"))?;
        let converter =
            RowConverter::new(fields).map_err(|error| Error::arrow("a segment's key", error))?;
        Ok(Self { columns, converter })
    }

    pub(super) fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// The keys of rows, given their key columns in key order.
    pub(super) fn encode(&self, path: &Path, columns: &[ArrayRef]) -> Result<BinaryArray> {
        self.converter
            .convert_columns(columns)
            .and_then(|rows| rows.try_into_binary())
            .map_err(|error| damaged(path, error))
    }

    /// How the key of one row compares with `key`.
    pub(super) fn compare(
        &self,
        columns: &[ArrayRef],
        row: usize,
        key: &[u8],
    ) -> Result<std::cmp::Ordering, arrow::error::ArrowError> {
        let one: Vec<ArrayRef> = columns.iter().map(|column| column.slice(row, 1)).collect();
        let rows = self.converter.convert_columns(&one)?;
        Ok(rows
            .iter()
            .next()
            .map_or(std::cmp::Ordering::Less, |found| found.data().cmp(key)))
    }
}
