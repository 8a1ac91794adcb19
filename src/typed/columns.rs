//! Columns and filters whose types the compiler knows.
//!
//! Idea: `Article::columns().likes.gt(10)` is an expression of DataFusion's by the time it is built.
//! Values are literals in it, and no text is ever made of them. Invariant: a filter of one record
//! cannot be used for another, and a column is compared with values of its own type alone.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{BitAnd, BitOr, Not};

use datafusion::logical_expr::{Expr, ident};

use super::field::{Operand, OrderedField, RecordField};
use super::scalars::text_literal;

/// A column of the record `R` that holds values of the type `T`.
pub struct Column<R, T> {
    name: &'static str,
    of: PhantomData<fn() -> (R, T)>,
}

impl<R, T> Clone for Column<R, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R, T> Copy for Column<R, T> {}

impl<R, T> fmt::Debug for Column<R, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Column").field(&self.name).finish()
    }
}

impl<R, T> Column<R, T> {
    /// For the code of `#[derive(Record)]`, which knows that there is such a column.
    #[doc(hidden)]
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        let of = PhantomData;
        Self { name, of }
    }

    /// The column's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// The column as an expression of DataFusion's, for [`Filter::from_expr`].
    #[must_use]
    pub fn expr(self) -> Expr {
        ident(self.name)
    }
}

/// Comparisons. As in SQL, a row whose value is NULL passes none of them, nor their opposites.
impl<R, T: RecordField> Column<R, T> {
    /// Equal to a value, or to another column.
    pub fn eq(self, other: impl Operand<R, T::Plain>) -> Filter<R> {
        Filter::from_expr(self.expr().eq(other.into_expr()))
    }

    /// Different from it.
    pub fn ne(self, other: impl Operand<R, T::Plain>) -> Filter<R> {
        Filter::from_expr(self.expr().not_eq(other.into_expr()))
    }

    /// Less than it.
    pub fn lt(self, other: impl Operand<R, T::Plain>) -> Filter<R>
    where
        T::Plain: OrderedField,
    {
        Filter::from_expr(self.expr().lt(other.into_expr()))
    }

    /// Less than or equal to it.
    pub fn le(self, other: impl Operand<R, T::Plain>) -> Filter<R>
    where
        T::Plain: OrderedField,
    {
        Filter::from_expr(self.expr().lt_eq(other.into_expr()))
    }

    /// Greater than it.
    pub fn gt(self, other: impl Operand<R, T::Plain>) -> Filter<R>
    where
        T::Plain: OrderedField,
    {
        Filter::from_expr(self.expr().gt(other.into_expr()))
    }

    /// Greater than or equal to it.
    pub fn ge(self, other: impl Operand<R, T::Plain>) -> Filter<R>
    where
        T::Plain: OrderedField,
    {
        Filter::from_expr(self.expr().gt_eq(other.into_expr()))
    }

    /// Between two values, both included.
    pub fn between(
        self,
        least: impl Operand<R, T::Plain>,
        most: impl Operand<R, T::Plain>,
    ) -> Filter<R>
    where
        T::Plain: OrderedField,
    {
        Filter::from_expr(self.expr().between(least.into_expr(), most.into_expr()))
    }

    /// One of these values; none, if there are none.
    pub fn is_in<O: Operand<R, T::Plain>>(self, values: impl IntoIterator<Item = O>) -> Filter<R> {
        let values = values.into_iter().map(Operand::into_expr).collect();
        Filter::from_expr(self.expr().in_list(values, false))
    }
}

/// What only texts have.
impl<R, T: RecordField<Plain = String>> Column<R, T> {
    /// Begins with a text. An index over the column answers this.
    pub fn starts_with(self, text: &str) -> Filter<R> {
        self.like(&format!("{}%", literally(text)))
    }

    /// Has a text somewhere in it.
    pub fn contains(self, text: &str) -> Filter<R> {
        self.like(&format!("%{}%", literally(text)))
    }

    /// Matches a pattern of SQL: `%` is any text, `_` any character, and `\` makes the next one plain.
    pub fn like(self, pattern: &str) -> Filter<R> {
        Filter::from_expr(self.expr().like(text_literal(pattern)))
    }
}

/// What only columns have that may be NULL.
impl<R, T: RecordField> Column<R, Option<T>> {
    /// Has no value.
    pub fn is_null(self) -> Filter<R> {
        Filter::from_expr(self.expr().is_null())
    }

    /// Has a value.
    pub fn is_not_null(self) -> Filter<R> {
        Filter::from_expr(self.expr().is_not_null())
    }
}

/// A text in which no character of a pattern means anything but itself.
fn literally(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for letter in text.chars() {
        if matches!(letter, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern
}

impl<R, T: RecordField> Operand<R, T::Plain> for Column<R, T> {
    fn into_expr(self) -> Expr {
        self.expr()
    }
}

/// A condition on the rows of a record: combine them by [`and`](Self::and), [`or`](Self::or) and
/// `!`, or by the operators `&` and `|`.
#[must_use = "a filter does nothing until a table is asked with it"]
pub struct Filter<R> {
    expr: Expr,
    of: PhantomData<fn() -> R>,
}

impl<R> Clone for Filter<R> {
    fn clone(&self) -> Self {
        Self::from_expr(self.expr.clone())
    }
}

impl<R> fmt::Debug for Filter<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Filter({})", self.expr)
    }
}

impl<R> Filter<R> {
    /// Any condition of DataFusion's, checked when it runs. For what the methods of [`Column`] cannot
    /// say, such as a part of a nested value.
    pub fn from_expr(expr: Expr) -> Self {
        let of = PhantomData;
        Self { expr, of }
    }

    /// The condition as an expression of DataFusion's.
    #[must_use]
    pub fn into_expr(self) -> Expr {
        self.expr
    }

    /// Both conditions hold.
    pub fn and(self, other: Self) -> Self {
        Self::from_expr(self.expr.and(other.expr))
    }

    /// At least one of them holds.
    pub fn or(self, other: Self) -> Self {
        Self::from_expr(self.expr.or(other.expr))
    }
}

impl<R> Not for Filter<R> {
    type Output = Self;

    fn not(self) -> Self {
        Self::from_expr(!self.expr)
    }
}

impl<R> BitAnd for Filter<R> {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        self.and(other)
    }
}

impl<R> BitOr for Filter<R> {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.or(other)
    }
}
