//! Typed records: a struct is a row.
//!
//! `#[derive(Record)]` says what the table of a struct is, and [`Netabase::table`](crate::Netabase::table)
//! reads and writes it; the guide is `docs/typed.md`.
//!
//! ```
//! use netabase::{Netabase, Record};
//!
//! #[derive(Record, Debug, PartialEq)]
//! #[record(table = "articles")]
//! struct Article {
//!     #[record(key)]
//!     id: i64,
//!     #[record(index)]
//!     author: String,
//!     likes: u32,
//! }
//!
//! # async fn example() -> Result<(), netabase::Error> {
//! let db = Netabase::in_memory().await?;
//! let articles = db.table::<Article>();
//! articles.create().await?;
//! articles.insert(&Article { id: 1, author: "Ada".into(), likes: 7 }).await?;
//! assert_eq!(articles.get(1).await?.map(|article| article.likes), Some(7));
//! let column = Article::columns();
//! let popular = column.author.eq("Ada").and(column.likes.gt(5));
//! assert_eq!(articles.filter(popular).await?.all().await?.len(), 1);
//! # db.close().await
//! # }
//! # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
//! ```
//!
//! Invariants: a row that is read back is the record that was written; what cannot be converted is one
//! [`ConversionError`] that names table, column, row and reason; values never become SQL text.
//!
//! Not here: joins, aggregates and orders, which are SQL; an answer to SQL becomes records by
//! [`Record::from_batch`].

mod batch;
pub mod blocking;
mod columns;
mod error;
mod field;
mod layout;
mod lists;
mod nested;
mod rows;
mod scalars;
mod shape;
mod source;
mod table;
mod whole;

use arrow::array::ArrayRef;
use arrow::record_batch::RecordBatch;

pub use columns::{Column, Filter};
pub use error::{ConversionError, Misfit};
pub use field::{KeyField, Operand, OrderedField, RecordField, TextEnum};
pub use rows::Rows;
pub use shape::{ColumnShape, Shape};
pub use table::Table;

/// A struct that is the row of a table. Derive it; the guide `docs/typed.md` lists the attributes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a record",
    note = "write #[derive(Record)] at its definition, and #[record(key)] at the fields of its primary key"
)]
pub trait Record: Sized + Send + 'static {
    /// How a primary key is handed in: the key field's [`KeyField::Ref`], or a tuple of several.
    type Key<'key>;
    /// The columns, by the names of the fields.
    type Columns;

    /// What the table is.
    fn shape() -> &'static Shape;

    /// The columns, for filters.
    fn columns() -> Self::Columns;

    /// The primary key of this row.
    fn key(&self) -> Self::Key<'_>;

    /// The columns of a key, each of one value, in the order of the key.
    ///
    /// # Errors
    /// When a value has no counterpart in its column's type.
    fn key_columns(key: Self::Key<'_>) -> Result<Vec<ArrayRef>, ConversionError>;

    /// Rows as a batch of [`Shape::schema`].
    ///
    /// # Errors
    /// For the first value that a validation refuses, or that has no counterpart in its column's type.
    fn to_batch(rows: &[Self]) -> Result<RecordBatch, ConversionError>;

    /// The rows of a batch, whose columns are found by their names, in any order. A missing column,
    /// and NULL in one whose type has none, take the field's default.
    ///
    /// # Errors
    /// For a column that is missing and has no default, one that the record does not have, and the
    /// first value that the record's type has not or that a validation refuses.
    fn from_batch(batch: &RecordBatch) -> Result<Vec<Self>, ConversionError>;
}

/// What the derives call. Not an interface: it changes with them.
#[doc(hidden)]
pub mod derive {
    pub use super::batch::{BatchReader, BatchWriter, key_column};
    pub use super::nested::{StructReader, StructWriter, part, struct_type};
    pub use super::scalars::{read_enum, text_literal, write_enum};
    pub use super::shape::{column, encoded_column};

    /// The type of a column of texts.
    #[must_use]
    pub fn text_type() -> arrow::datatypes::DataType {
        <String as super::RecordField>::data_type()
    }
}
