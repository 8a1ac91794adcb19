//! What a Rust type is as a column.
//!
//! Idea: a type converts whole columns. Rows are read by column and put together afterwards, so that
//! a type's array is found and checked once, and nothing is looked up for each row.
//!
//! Invariant: reading what was written gives the same values. NULL is `None` in both directions, and
//! whether it may be there is decided by whoever asks.

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use datafusion::logical_expr::Expr;

use super::error::Misfit;
use super::lists;

/// A type whose values can be in a column of a [`Record`](super::Record).
///
/// | Rust | SQL | Arrow |
/// |---|---|---|
/// | `bool` | `BOOLEAN` | `Boolean` |
/// | `i8` … `i64`, `u8` … `u64` | `TINYINT` … `BIGINT UNSIGNED` | `Int8` … `UInt64` |
/// | `f32`, `f64` | `REAL`, `DOUBLE` | `Float32`, `Float64` |
/// | `String` | `TEXT` | `Utf8View` |
/// | `Vec<u8>` | `BYTEA` | `Binary` |
/// | `SystemTime` | `TIMESTAMP` | `Timestamp(Nanosecond)` |
/// | `Vec<T>` | `T[]` | `List` |
/// | `HashMap<K, V>`, `BTreeMap<K, V>` | (a map) | `Map` |
/// | a struct with `#[derive(RecordField)]` | `STRUCT` | `Struct` |
/// | an enum with `#[derive(RecordField)]` | `TEXT` | `Utf8View` |
/// | `Option<T>` | the same, without `NOT NULL` | |
///
/// Texts and bytes are read in every layout that Arrow has for them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the type of a column",
    label = "no column holds this",
    note = "columns hold bool, i8 … i64, u8 … u64, f32, f64, String, Vec<u8>, SystemTime, Vec, Option, HashMap \
            and BTreeMap of these, and what derives RecordField",
    note = "for a struct of your own or an enum without data, write #[derive(RecordField)] at its definition",
    note = "for any other type with serde, write #[record(codec = \"json\")] (or bincode, cbor) at the field; to \
            leave the field out of the table, write #[record(skip)]"
)]
pub trait RecordField: Sized + Send + 'static {
    /// What filters compare with: the type itself, or what is inside of an `Option`.
    type Plain;

    /// Whether NULL is one of the values.
    const NULLABLE: bool = false;

    /// The value that NULL is, if there is one.
    #[doc(hidden)]
    const OF_NULL: Option<fn() -> Self> = None;

    /// The type of the column.
    fn data_type() -> DataType;

    /// The values as a column of that type; `None` is NULL.
    ///
    /// # Errors
    /// When a value has no counterpart in the column's type.
    fn write(values: &[Option<&Self>]) -> Result<ArrayRef, Misfit>;

    /// The values of a column of that type; NULL is `None`.
    ///
    /// # Errors
    /// When the column has another type, or a value that the Rust type has not.
    fn read(column: &ArrayRef) -> Result<Vec<Option<Self>>, Misfit>;

    /// The type of a column of lists. Of bytes it is not a list.
    #[doc(hidden)]
    fn list_type() -> DataType {
        lists::list_type(Self::data_type())
    }

    #[doc(hidden)]
    fn write_list(values: &[Option<&[Self]>]) -> Result<ArrayRef, Misfit> {
        lists::write(values)
    }

    #[doc(hidden)]
    fn read_list(column: &ArrayRef) -> Result<Vec<Option<Vec<Self>>>, Misfit> {
        lists::read(column)
    }
}

/// A type whose values can be in a primary key: booleans, integers, texts, bytes, times, and enums.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be in a primary key",
    label = "no key holds this",
    note = "a key is made of bool, integers, String, Vec<u8>, SystemTime, and enums with #[derive(RecordField)]"
)]
pub trait KeyField: RecordField {
    /// How a key is handed in: `&str` for `String`, `&[u8]` for `Vec<u8>`, plain values as they are.
    type Ref<'key>;

    /// The value, as it is handed in.
    fn key_ref(&self) -> Self::Ref<'_>;

    /// A column of this one value.
    ///
    /// # Errors
    /// When the value has no counterpart in the column's type.
    fn key_column(key: Self::Ref<'_>) -> Result<ArrayRef, Misfit>;
}

/// A type whose columns are in the same order for SQL as its values are for Rust: booleans, numbers, texts,
/// bytes, times and lists of them.
///
/// An enum is none: its column holds texts, of which `"High"` is less than `"Low"`, whatever the order of its
/// variants.
#[diagnostic::on_unimplemented(
    message = "columns of `{Self}` have no order to be compared by",
    label = "no order",
    note = "an enum is kept as text, whose order is not that of its variants: name them with `is_in`, or \
            keep a number beside it"
)]
pub trait OrderedField {}

/// An enum whose variants are texts; see `#[derive(RecordField)]`.
pub trait TextEnum: RecordField {
    /// The texts of all variants, in their order.
    const TEXTS: &'static [&'static str];

    /// The text of a variant.
    fn text(&self) -> &'static str;

    /// The variant of a text.
    fn of_text(text: &str) -> Option<Self>;
}

/// What the columns of `P` of a record `R` can be compared with: a value of that type, or another
/// such column.
#[diagnostic::on_unimplemented(
    message = "a column of `{P}` cannot be compared with `{Self}`",
    label = "not a `{P}`, nor a column of them"
)]
pub trait Operand<R, P> {
    /// The value as a literal, or the column by its name.
    fn into_expr(self) -> Expr;
}

impl<T: RecordField> RecordField for Option<T> {
    type Plain = T::Plain;
    const NULLABLE: bool = true;
    const OF_NULL: Option<fn() -> Self> = Some(|| None);

    fn data_type() -> DataType {
        const {
            assert!(!T::NULLABLE, "a column has one NULL: write one Option");
        }
        T::data_type()
    }

    fn write(values: &[Option<&Self>]) -> Result<ArrayRef, Misfit> {
        let inner = values.iter().map(|value| value.and_then(Option::as_ref));
        T::write(&inner.collect::<Vec<_>>())
    }

    fn read(column: &ArrayRef) -> Result<Vec<Option<Self>>, Misfit> {
        Ok(T::read(column)?.into_iter().map(Some).collect())
    }
}

/// The error about a column that does not have the type it should have.
pub(crate) fn wrong_type<T: RecordField>(column: &dyn Array) -> Misfit {
    Misfit::new(format!(
        "its type is {}, and the record's is {}",
        column.data_type(),
        T::data_type()
    ))
}
