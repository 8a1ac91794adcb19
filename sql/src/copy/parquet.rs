//! Parquet, cast to the table's columns where nothing is lost.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use netabase_store::{Error, TableDef};

use super::{FileOrigin, Loaded, Position, match_columns, too_large};
use crate::error::{from_arrow, invalid};
use crate::write::logical_bytes;

/// Rows of one batch.
const ROWS_PER_BATCH: usize = 16_384;

/// Reads a whole file.
pub(super) fn read(file: File, path: &Path, def: &TableDef, limit: usize) -> Result<Loaded, Error> {
    let mut batches = Vec::new();
    let mut before = Vec::new();
    let (mut rows, mut bytes) = (0, 0);
    each(file, path, def, &mut |batch| {
        bytes += logical_bytes(&batch);
        if bytes > limit {
            return Err(too_large(path, limit));
        }
        before.push(rows);
        rows += batch.num_rows() as u64;
        batches.push(batch);
        Ok(())
    })?;
    let origin = FileOrigin {
        path: path.to_path_buf(),
        position: Position::Rows(before),
    };
    Ok(Loaded { batches, origin })
}

/// Reads a file batch by batch, in order.
pub(super) fn each(
    file: File,
    path: &Path,
    def: &TableDef,
    take: &mut dyn FnMut(RecordBatch) -> Result<(), Error>,
) -> Result<(), Error> {
    let shown = path.display();
    let builder = ParquetRecordBatchReaderBuilder::try_new(file)
        .map_err(|error| invalid(format!("{shown} is not a Parquet file: {error}")))?;
    let schema = Arc::clone(builder.schema());
    let names: Vec<String> = schema
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    let columns = match_columns(path, def, &names)?;
    check_types(path, def, &schema, &columns)?;
    let reader = builder
        .with_batch_size(ROWS_PER_BATCH)
        .build()
        .map_err(|error| invalid(format!("{shown} is damaged: {error}")))?;
    for batch in reader {
        let batch = batch.map_err(|error| invalid(format!("{shown} is damaged: {error}")))?;
        take(convert(path, def, &columns, &batch)?)?;
    }
    Ok(())
}

fn check_types(
    path: &Path,
    def: &TableDef,
    file: &Schema,
    columns: &[Option<usize>],
) -> Result<(), Error> {
    for (field, column) in def.schema.fields().iter().zip(columns) {
        let Some(column) = column else { continue };
        let from = file.field(*column).data_type();
        if !keeps_values(from, field.data_type()) {
            return Err(invalid(format!(
                "{}: column \"{}\" is {from} in the file, but {} in table \"{}\"",
                path.display(),
                field.name(),
                field.data_type(),
                def.name
            )));
        }
    }
    Ok(())
}

fn convert(
    path: &Path,
    def: &TableDef,
    columns: &[Option<usize>],
    batch: &RecordBatch,
) -> Result<RecordBatch, Error> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(columns.len());
    for (field, column) in def.schema.fields().iter().zip(columns) {
        let array = match column {
            Some(column) => cast_with_options(batch.column(*column), field.data_type(), &options)
                .map_err(|error| {
                let error = from_arrow(error);
                invalid(format!(
                    "{}: column \"{}\": {error}",
                    path.display(),
                    field.name()
                ))
            })?,
            None => new_null_array(field.data_type(), batch.num_rows()),
        };
        arrays.push(array);
    }
    // NOT NULL is checked with everything else; here the rows only need the right types.
    let nullable: Vec<Field> = def
        .schema
        .fields()
        .iter()
        .map(|f| f.as_ref().clone().with_nullable(true))
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(nullable)), arrays).map_err(from_arrow)
}

/// Whether a checked cast either keeps every value or fails: the types are of one class, and the
/// target is not coarser. (Integers that do not fit fail in the cast.)
fn keeps_values(from: &DataType, to: &DataType) -> bool {
    use DataType::{
        Binary, BinaryView, Date32, Date64, Decimal32, Decimal64, Decimal128, Decimal256,
        Dictionary, FixedSizeBinary, Float16, Float32, Float64, LargeBinary, LargeUtf8, Null,
        Timestamp, Utf8, Utf8View,
    };
    if from == to {
        return true;
    }
    match (from, to) {
        (Null, _) => true,
        (Dictionary(_, values), _) => keeps_values(values, to),
        (from, to) if from.is_integer() && to.is_integer() => true,
        (Float16, Float32 | Float64) | (Float32, Float64) => true,
        (Utf8 | LargeUtf8 | Utf8View, Utf8 | LargeUtf8 | Utf8View) => true,
        (
            Binary | LargeBinary | BinaryView | FixedSizeBinary(_),
            Binary | LargeBinary | BinaryView,
        ) => true,
        (Date32, Date64) => true,
        (
            Decimal32(_, from) | Decimal64(_, from) | Decimal128(_, from) | Decimal256(_, from),
            Decimal32(_, to) | Decimal64(_, to) | Decimal128(_, to) | Decimal256(_, to),
        ) => from <= to,
        (Timestamp(from_unit, from_zone), Timestamp(to_unit, to_zone)) => {
            from_unit <= to_unit && same_instant(from_zone.as_deref(), to_zone.as_deref())
        }
        _ => false,
    }
}

/// Whether a cast between the zones keeps the instant. No zone means UTC.
fn same_instant(from: Option<&str>, to: Option<&str>) -> bool {
    let is_utc = |zone: &str| matches!(zone, "UTC" | "utc" | "Z" | "+00:00" | "+00" | "Etc/UTC");
    match (from, to) {
        (None, None) | (Some(_), Some(_)) => true,
        (Some(zone), None) | (None, Some(zone)) => is_utc(zone),
    }
}
