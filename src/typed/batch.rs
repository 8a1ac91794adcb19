//! Records to batches and back, column by column; called by the code that `#[derive(Record)]` writes.

use std::fmt::Display;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray};
use arrow::datatypes::DataType;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use netabase_store::ValueCodec;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Record;
use super::error::{ConversionError, Misfit};
use super::field::RecordField;
use super::layout::in_layout;
use super::lists::check_offsets;
use super::shape::{ColumnShape, Shape};

/// Writes records as a batch.
#[derive(Debug)]
pub struct BatchWriter<'a, R> {
    shape: &'static Shape,
    rows: &'a [R],
    columns: Vec<ArrayRef>,
}

impl<'a, R: Record> BatchWriter<'a, R> {
    /// Begins a batch of these rows.
    #[must_use]
    pub fn new(rows: &'a [R]) -> Self {
        let shape = R::shape();
        Self {
            shape,
            rows,
            columns: Vec::with_capacity(shape.columns().len()),
        }
    }

    /// Checks every row by a function of the user's.
    ///
    /// # Errors
    /// What the function says about the first row that it refuses.
    pub fn check<E: Display>(
        &self,
        validate: impl Fn(&R) -> Result<(), E>,
    ) -> Result<(), ConversionError> {
        check_rows(self.shape, self.rows, validate)
    }

    /// Checks a column of every row by a function of the user's.
    ///
    /// # Errors
    /// What the function says about the first value that it refuses.
    pub fn check_column<E: Display>(
        &self,
        place: usize,
        validate: impl Fn(&R) -> Result<(), E>,
    ) -> Result<(), ConversionError> {
        check_values(self.shape, place, self.rows, validate)
    }

    /// Adds the next column.
    ///
    /// # Errors
    /// What its type says about a value.
    pub fn column<T: RecordField>(&mut self, of: fn(&R) -> &T) -> Result<(), ConversionError> {
        let values: Vec<Option<&T>> = self.rows.iter().map(|row| Some(of(row))).collect();
        let column = T::write(&values).map_err(|misfit| self.misfit(misfit))?;
        self.columns.push(column);
        Ok(())
    }

    /// Adds the next column, whose values are stored as bytes.
    ///
    /// # Errors
    /// When a value cannot be encoded, or is too long.
    pub fn encoded<T: Serialize>(
        &mut self,
        of: fn(&R) -> &T,
        codec: ValueCodec,
    ) -> Result<(), ConversionError> {
        let mut values = Vec::with_capacity(self.rows.len());
        for (row, record) in self.rows.iter().enumerate() {
            let value = codec.encode(of(record));
            values.push(value.map_err(|e| self.misfit(Misfit::at(row, e.to_string())))?);
        }
        check_offsets(values.iter().map(Vec::len)).map_err(|misfit| self.misfit(misfit))?;
        let column = BinaryArray::from_iter_values(values);
        self.columns.push(Arc::new(column));
        Ok(())
    }

    /// The batch.
    ///
    /// # Errors
    /// When the columns make no batch.
    pub fn finish(self) -> Result<RecordBatch, ConversionError> {
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows.len()));
        let schema = Arc::clone(self.shape.schema());
        RecordBatch::try_new_with_options(schema, self.columns, &options)
            .map_err(|e| ConversionError::of_table(self.shape.table(), e.to_string()))
    }

    /// An error about the column that is being written.
    fn misfit(&self, misfit: Misfit) -> ConversionError {
        of_place(self.shape, self.columns.len(), misfit)
    }
}

/// Reads a batch as records.
#[derive(Debug)]
pub struct BatchReader<'a> {
    shape: &'static Shape,
    batch: &'a RecordBatch,
}

impl<'a> BatchReader<'a> {
    /// Begins to read a batch.
    ///
    /// # Errors
    /// When it has a column that the record does not have.
    pub fn new<R: Record>(batch: &'a RecordBatch) -> Result<Self, ConversionError> {
        let shape = R::shape();
        let schema = batch.schema();
        let mut fields = schema.fields().iter();
        let unknown = fields.find(|field| shape.schema().index_of(field.name()).is_err());
        match unknown {
            None => Ok(Self { shape, batch }),
            Some(field) => {
                let misfit = Misfit::new("the record has no such column: do not select it");
                Err(ConversionError::of_column(
                    shape.table(),
                    field.name(),
                    misfit,
                ))
            }
        }
    }

    /// The values of a column. `fallback` stands in for a missing column, and for NULL where the
    /// type has none.
    ///
    /// # Errors
    /// When the column is missing or of another type, or has a value that its type has not.
    pub fn column<T: RecordField>(
        &self,
        place: usize,
        fallback: Option<fn() -> T>,
    ) -> Result<Vec<T>, ConversionError> {
        let misfit = |misfit| of_place(self.shape, place, misfit);
        let Some(column) = self.array(place) else {
            return self.absent(place, fallback.or(T::OF_NULL));
        };
        let column = in_layout(column, &T::data_type()).map_err(misfit)?;
        let values = T::read(&column).map_err(misfit)?;
        without_null(values, fallback).map_err(misfit)
    }

    /// The values of a column whose values are stored as bytes.
    ///
    /// # Errors
    /// As [`column`](Self::column), and when the bytes are not those of a value.
    pub fn encoded<T: DeserializeOwned>(
        &self,
        place: usize,
        fallback: Option<fn() -> T>,
        codec: ValueCodec,
    ) -> Result<Vec<T>, ConversionError> {
        let misfit = |misfit| of_place(self.shape, place, misfit);
        let Some(column) = self.array(place) else {
            return self.absent(place, fallback);
        };
        let column = in_layout(column, &DataType::Binary).map_err(misfit)?;
        let wrong = || misfit(Misfit::new("it does not hold bytes"));
        let bytes = column.as_binary_opt::<i32>().ok_or_else(wrong)?;
        let mut values = Vec::with_capacity(bytes.len());
        for (row, bytes) in bytes.iter().enumerate() {
            let value = bytes.map(|bytes| codec.decode::<T>(bytes)).transpose();
            values.push(value.map_err(|e| misfit(Misfit::at(row, e.to_string())))?);
        }
        without_null(values, fallback).map_err(misfit)
    }

    /// Checks a column's values by a function of the user's.
    ///
    /// # Errors
    /// What the function says about the first value that it refuses.
    pub fn check_column<T, E: Display>(
        &self,
        place: usize,
        values: &[T],
        validate: impl Fn(&T) -> Result<(), E>,
    ) -> Result<(), ConversionError> {
        check_values(self.shape, place, values, validate)
    }

    /// Checks the rows by a function of the user's.
    ///
    /// # Errors
    /// What the function says about the first row that it refuses.
    pub fn check<R, E: Display>(
        &self,
        rows: &[R],
        validate: impl Fn(&R) -> Result<(), E>,
    ) -> Result<(), ConversionError> {
        check_rows(self.shape, rows, validate)
    }

    fn array(&self, place: usize) -> Option<&ArrayRef> {
        let name = self.shape.column(place)?.name();
        self.batch.column_by_name(name)
    }

    fn absent<T>(
        &self,
        place: usize,
        fallback: Option<fn() -> T>,
    ) -> Result<Vec<T>, ConversionError> {
        let missing = || Misfit::new("it is missing, and the field has no default");
        let fallback = fallback.ok_or_else(|| of_place(self.shape, place, missing()))?;
        Ok((0..self.batch.num_rows()).map(|_| fallback()).collect())
    }
}

/// A key's column, or an error that names it.
pub fn key_column<R: Record>(
    name: &str,
    column: Result<ArrayRef, Misfit>,
) -> Result<ArrayRef, ConversionError> {
    column.map_err(|misfit| ConversionError::of_column(R::shape().table(), name, misfit))
}

fn of_place(shape: &Shape, place: usize, misfit: Misfit) -> ConversionError {
    let name = shape.column(place).map_or("?", ColumnShape::name);
    ConversionError::of_column(shape.table(), name, misfit)
}

fn check_rows<R, E: Display>(
    shape: &Shape,
    rows: &[R],
    validate: impl Fn(&R) -> Result<(), E>,
) -> Result<(), ConversionError> {
    for (row, record) in rows.iter().enumerate() {
        validate(record).map_err(|reason| {
            ConversionError::of_table(shape.table(), reason.to_string()).at_row(row)
        })?;
    }
    Ok(())
}

fn check_values<T, E: Display>(
    shape: &Shape,
    place: usize,
    values: &[T],
    validate: impl Fn(&T) -> Result<(), E>,
) -> Result<(), ConversionError> {
    for (row, value) in values.iter().enumerate() {
        validate(value)
            .map_err(|reason| of_place(shape, place, Misfit::at(row, reason.to_string())))?;
    }
    Ok(())
}

fn without_null<T>(values: Vec<Option<T>>, fallback: Option<fn() -> T>) -> Result<Vec<T>, Misfit> {
    let values = values.into_iter().enumerate().map(|(row, value)| {
        let null = || {
            Misfit::at(
                row,
                "it is NULL, and the field is neither an Option nor has a default",
            )
        };
        value
            .or_else(|| fallback.map(|fallback| fallback()))
            .ok_or_else(null)
    });
    values.collect()
}
