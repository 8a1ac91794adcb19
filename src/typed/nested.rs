//! Structs of one's own as columns.
//!
//! Invariant: the parts of a struct that is NULL are not looked at, whatever lies in their columns.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StructArray};
use arrow::buffer::NullBuffer;
use arrow::compute::{is_null, nullif};
use arrow::datatypes::{DataType, Field, FieldRef, Fields};

use super::error::Misfit;
use super::field::RecordField;

/// A part of a struct. It may be NULL for SQL, as when a struct is made by a query; reading checks.
pub fn part<T: RecordField>(name: &str) -> FieldRef {
    Arc::new(Field::new(name, T::data_type(), true))
}

/// The type of a struct of these parts.
pub fn struct_type(parts: Vec<FieldRef>) -> DataType {
    DataType::Struct(Fields::from(parts))
}

/// Writes a column of structs, part by part.
#[derive(Debug)]
pub struct StructWriter<'a, T> {
    values: &'a [Option<&'a T>],
    fields: Vec<FieldRef>,
    columns: Vec<ArrayRef>,
}

impl<'a, T> StructWriter<'a, T> {
    /// Begins a column of these structs.
    #[must_use]
    pub fn new(values: &'a [Option<&'a T>]) -> Self {
        Self {
            values,
            fields: Vec::new(),
            columns: Vec::new(),
        }
    }

    /// Adds a part.
    ///
    /// # Errors
    /// What the part's type says about a value.
    pub fn part<P: RecordField>(&mut self, name: &str, of: fn(&T) -> &P) -> Result<(), Misfit> {
        let values: Vec<Option<&P>> = self.values.iter().map(|value| value.map(of)).collect();
        let column = P::write(&values).map_err(|misfit| in_part(name, misfit))?;
        self.fields.push(part::<P>(name));
        self.columns.push(column);
        Ok(())
    }

    /// The column.
    ///
    /// # Errors
    /// When the parts make no column.
    pub fn finish(self) -> Result<ArrayRef, Misfit> {
        let nulls: NullBuffer = self.values.iter().map(Option::is_some).collect();
        let array = StructArray::try_new(Fields::from(self.fields), self.columns, Some(nulls));
        Ok(Arc::new(
            array.map_err(|error| Misfit::new(error.to_string()))?,
        ))
    }
}

/// Reads a column of structs, part by part.
#[derive(Debug)]
pub struct StructReader<'a> {
    column: &'a StructArray,
}

impl<'a> StructReader<'a> {
    /// Begins to read a column.
    ///
    /// # Errors
    /// When it has no structs.
    pub fn new(column: &'a ArrayRef) -> Result<Self, Misfit> {
        let reason = || Misfit::new(format!("its type is {}, not a struct", column.data_type()));
        let column = column.as_struct_opt().ok_or_else(reason)?;
        Ok(Self { column })
    }

    /// The values of a part; `None` where the struct is NULL. `fallback` stands in for a part that
    /// is NULL in a struct that is not.
    ///
    /// # Errors
    /// When there is no such part, or a value that its type has not.
    pub fn part<P: RecordField>(
        &self,
        name: &str,
        fallback: Option<fn() -> P>,
    ) -> Result<Vec<Option<P>>, Misfit> {
        let missing = || Misfit::new(format!("it has no part \"{name}\""));
        let mut column = Arc::clone(self.column.column_by_name(name).ok_or_else(missing)?);
        if self.column.null_count() > 0 {
            let hidden = is_null(self.column).and_then(|hidden| nullif(&column, &hidden));
            column = hidden.map_err(|error| in_part(name, Misfit::new(error.to_string())))?;
        }
        let mut values = P::read(&column).map_err(|misfit| in_part(name, misfit))?;
        for (row, value) in values.iter_mut().enumerate() {
            if self.column.is_null(row) {
                *value = None;
            } else if value.is_none() {
                let misfit = || Misfit::at(row, "it is NULL, and the record's is not an Option");
                let fallback = fallback.ok_or_else(|| in_part(name, misfit()))?;
                *value = Some(fallback());
            }
        }
        Ok(values)
    }
}

fn in_part(name: &str, misfit: Misfit) -> Misfit {
    let row = misfit.row();
    misfit.inside(&format!(".{name}"), row)
}
