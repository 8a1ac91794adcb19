//! The values of the columns, from the stamps of a block's rows.
//!
//! Invariant: a value depends on the row's stamp and the table's time to live alone, so that every
//! replica of a row gives the same.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, TimestampMillisecondArray, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, UInt64Type};
use datafusion::common::exec_datafusion_err;
use datafusion::error::DataFusionError;
use netabase_store::{TableDef, Version};

use super::{AUTHOR, VERSION};
use crate::block::Block;

/// A column of provenance.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Provenance {
    Version,
    Author,
    /// With the time to live, in milliseconds; without one, nothing expires.
    Expires(Option<u64>),
}

impl Provenance {
    /// The column of this name behind a table's own.
    pub(crate) fn of(def: &TableDef, name: &str) -> Self {
        match name {
            VERSION => Self::Version,
            AUTHOR => Self::Author,
            _ => Self::Expires(def.options.ttl_millis),
        }
    }
}

/// The values of a column for all rows of a block, live or not.
pub(crate) fn value_of(column: Provenance, block: &dyn Block) -> Result<ArrayRef, DataFusionError> {
    match column {
        Provenance::Author => Ok(cast(&block.authors()?, &DataType::Utf8View)?),
        Provenance::Version => {
            let versions = versions(block)?;
            // No clock reaches the year 6429, where the sign begins.
            let signed = |version: &u64| i64::try_from(*version).unwrap_or(i64::MAX);
            let signed = versions.values().iter().map(signed);
            Ok(Arc::new(Int64Array::from_iter_values(signed)))
        }
        Provenance::Expires(None) => {
            let nulls = TimestampMillisecondArray::new_null(block.rows());
            Ok(Arc::new(nulls.with_timezone("UTC")))
        }
        Provenance::Expires(Some(ttl)) => {
            let end = |version: &u64| {
                let millis = Version(*version).millis().saturating_add(ttl);
                i64::try_from(millis).unwrap_or(i64::MAX)
            };
            let versions = versions(block)?;
            let ends = versions.values().iter().map(end);
            let ends = TimestampMillisecondArray::from_iter_values(ends);
            Ok(Arc::new(ends.with_timezone("UTC")))
        }
    }
}

fn versions(block: &dyn Block) -> Result<UInt64Array, DataFusionError> {
    let versions = block.versions()?;
    let versions = versions.as_primitive_opt::<UInt64Type>();
    versions
        .cloned()
        .ok_or_else(|| exec_datafusion_err!("the versions of a block are no numbers"))
}
