//! The one error of conversions between rows and records.
//!
//! Invariant: it names the table, and the column and the row where there is one. It widens into
//! [`Error`] with the kind `InvalidInput`.

use std::fmt;

use netabase_store::{Error, ErrorKind};

/// Why rows are no records, or records no rows.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConversionError {
    /// The record's table.
    pub table: String,
    /// The column, with the place inside of it for a nested value: `tags[2]`, `address.street`. None
    /// when it is the row as a whole that is refused.
    pub column: Option<String>,
    /// The row, from 0: among those that were given, or among those that a query has found. None
    /// when every row is concerned.
    pub row: Option<u64>,
    /// What is wrong, as a part of a sentence.
    pub reason: String,
}

impl ConversionError {
    pub(crate) fn of_table(table: &str, reason: impl Into<String>) -> Self {
        Self {
            table: table.to_owned(),
            column: None,
            row: None,
            reason: reason.into(),
        }
    }

    pub(crate) fn of_column(table: &str, column: &str, misfit: Misfit) -> Self {
        Self {
            table: table.to_owned(),
            column: Some(format!("{column}{}", misfit.place)),
            row: misfit.row.map(|row| row as u64),
            reason: misfit.reason,
        }
    }

    pub(crate) fn at_row(self, row: usize) -> Self {
        let row = Some(row as u64);
        Self { row, ..self }
    }

    /// The same, where `rows` others came before those that were converted.
    pub(crate) fn after(self, rows: u64) -> Self {
        let row = self.row.map(|row| row + rows);
        Self { row, ..self }
    }
}

impl fmt::Display for ConversionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table \"{}\"", self.table)?;
        if let Some(column) = &self.column {
            write!(f, ", column \"{column}\"")?;
        }
        if let Some(row) = self.row {
            write!(f, ", row {row}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl std::error::Error for ConversionError {}

impl From<ConversionError> for Error {
    fn from(error: ConversionError) -> Self {
        Self::new(ErrorKind::InvalidInput, error.to_string())
    }
}

/// What a [`RecordField`](super::RecordField) says about a value that it cannot convert; the column's
/// and the table's name are added by whoever knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    row: Option<usize>,
    place: String,
    reason: String,
}

impl Misfit {
    /// About all values of a column.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            row: None,
            place: String::new(),
            reason: reason.into(),
        }
    }

    /// About one value of a column.
    #[must_use]
    pub fn at(row: usize, reason: impl Into<String>) -> Self {
        Self {
            row: Some(row),
            ..Self::new(reason)
        }
    }

    /// The same, seen from the column that `place` is a part of.
    pub(crate) fn inside(self, place: &str, row: Option<usize>) -> Self {
        Self {
            row,
            place: format!("{place}{}", self.place),
            reason: self.reason,
        }
    }

    pub(crate) fn row(&self) -> Option<usize> {
        self.row
    }
}
