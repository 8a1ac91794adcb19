//! Answers of different systems, made comparable.
//!
//! Invariant: exact values (integers, decimals, dates, text) must be equal. Floats may differ by a
//! millionth, because sums depend on the order of rows. A system that keeps an average or a quotient
//! as a decimal of at least six digits may differ from another's float by one in the last of them.
//! Rows must come in the order of the ORDER BY; rows that are equal in it, in any.

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

/// Floats may differ by this share of the larger one.
const TOLERANCE: f64 = 1e-6;
/// A decimal with fewer digits is no rounded quotient.
const QUOTIENT_DIGITS: usize = 6;

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    Null,
    Text(String),
    /// An integer or a decimal, by its digits.
    Exact(String),
    Float(f64),
}

/// All rows of an answer.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<Cell>>,
}

impl Answer {
    pub(crate) fn of(batches: &[RecordBatch]) -> Result<Self, ArrowError> {
        let mut answer = Self::default();
        if let Some(first) = batches.first() {
            let schema = first.schema();
            let names = schema.fields().iter().map(|field| field.name().clone());
            answer.columns = names.collect();
        }
        for batch in batches {
            let columns = batch.columns().iter().map(|column| cells(column));
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            let row = |row: usize| columns.iter().map(|cells| cells[row].clone()).collect();
            answer.rows.extend((0..batch.num_rows()).map(row));
        }
        Ok(answer)
    }
}

fn cells(column: &dyn Array) -> Result<Vec<Cell>, ArrowError> {
    let kind = column.data_type();
    if kind.is_floating() {
        let floats = cast(column, &DataType::Float64)?;
        let floats = floats.as_primitive::<Float64Type>();
        let cell = |value: Option<f64>| value.map_or(Cell::Null, Cell::Float);
        return Ok(floats.iter().map(cell).collect());
    }
    let exact = kind.is_integer() || kind.is_decimal();
    let texts = cast(column, &DataType::Utf8)?;
    let cell = |value: Option<&str>| match value {
        None => Cell::Null,
        Some(text) if exact => Cell::Exact(text.to_owned()),
        Some(text) => Cell::Text(text.to_owned()),
    };
    Ok(texts.as_string::<i32>().iter().map(cell).collect())
}

/// The text of an answer that is meant to be read, like a plan.
pub(crate) fn lines(batches: &[RecordBatch]) -> Result<String, ArrowError> {
    let mut text = String::new();
    for row in Answer::of(batches)?.rows {
        for cell in row {
            if let Cell::Text(line) = cell {
                text += &line;
                text.push('\n');
            }
        }
    }
    Ok(text)
}

/// The first place where two answers differ, in words; `None` when they agree.
pub(crate) fn difference(expected: &Answer, actual: &Answer, order: &[usize]) -> Option<String> {
    let (left, right) = (expected.rows.len(), actual.rows.len());
    if left != right {
        return Some(format!("{left} rows against {right}"));
    }
    let (left, right) = (expected.columns.len(), actual.columns.len());
    if left != right && !expected.rows.is_empty() {
        return Some(format!("{left} columns against {right}"));
    }
    let mut start = 0;
    while start < expected.rows.len() {
        let end = end_of_group(&expected.rows, start, order);
        let left = sorted(&expected.rows[start..end]);
        let right = sorted(&actual.rows[start..end]);
        for (offset, (left, right)) in left.iter().zip(&right).enumerate() {
            for (column, (one, other)) in left.iter().zip(right.iter()).enumerate() {
                if !same(one, other) {
                    let (row, name) = (start + offset, &expected.columns[column]);
                    return Some(format!("row {row}, column {name}: {one:?} and {other:?}"));
                }
            }
        }
        start = end;
    }
    None
}

/// Where the rows end that the order cannot tell from the one at `start`.
fn end_of_group(rows: &[Vec<Cell>], start: usize, order: &[usize]) -> usize {
    let tied = |row: &Vec<Cell>| order.iter().all(|&key| same(&row[key], &rows[start][key]));
    let rest = rows.iter().skip(start);
    start + rest.take_while(|row| tied(row)).count()
}

fn sorted(rows: &[Vec<Cell>]) -> Vec<&Vec<Cell>> {
    let mut sorted: Vec<&Vec<Cell>> = rows.iter().collect();
    sorted.sort_by_cached_key(|row| row.iter().map(sort_text).collect::<Vec<_>>());
    sorted
}

/// Equal for values that are the same, but for floats at the edge of rounding.
fn sort_text(cell: &Cell) -> String {
    match cell {
        Cell::Null => String::new(),
        Cell::Text(text) => text.clone(),
        Cell::Exact(digits) => shortest(digits).to_owned(),
        Cell::Float(value) => format!("{value:.3e}"),
    }
}

fn same(one: &Cell, other: &Cell) -> bool {
    match (one, other) {
        (Cell::Exact(one), Cell::Exact(other)) => shortest(one) == shortest(other),
        (Cell::Float(one), Cell::Float(other)) => close(*one, *other, 0.0),
        (Cell::Float(float), Cell::Exact(digits)) | (Cell::Exact(digits), Cell::Float(float)) => {
            let fraction = digits.split_once('.').map_or(0, |(_, digits)| digits.len());
            let last = match fraction < QUOTIENT_DIGITS {
                true => 0.0,
                false => 0.1f64.powi(fraction as i32),
            };
            digits
                .parse::<f64>()
                .is_ok_and(|value| close(value, *float, last))
        }
        (one, other) => one == other,
    }
}

fn close(one: f64, other: f64, last: f64) -> bool {
    let share = TOLERANCE * one.abs().max(other.abs());
    one == other || (one - other).abs() <= share.max(last)
}

/// Digits without zeros that say nothing: `1.50` is `1.5`, `2.00` is `2`.
fn shortest(digits: &str) -> &str {
    match digits.contains('.') {
        true => digits.trim_end_matches('0').trim_end_matches('.'),
        false => digits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Date32Array, Decimal128Array, Float64Array, Int32Array};
    use std::sync::Arc;

    fn exact(digits: &str) -> Cell {
        Cell::Exact(digits.to_owned())
    }

    fn answer(rows: Vec<Vec<Cell>>) -> Answer {
        let width = rows.first().map_or(0, Vec::len);
        let columns = (0..width).map(|column| format!("c{column}")).collect();
        Answer { columns, rows }
    }

    #[test]
    fn columns_become_cells() {
        let price = Decimal128Array::from(vec![Some(150), None]);
        let columns: Vec<(&str, ArrayRef)> = vec![
            (
                "price",
                Arc::new(price.with_precision_and_scale(15, 2).unwrap()),
            ),
            ("day", Arc::new(Date32Array::from(vec![0, 1]))),
            ("n", Arc::new(Int32Array::from(vec![7, 8]))),
            ("f", Arc::new(Float64Array::from(vec![0.5, 1.5]))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let answer = Answer::of(&[batch]).unwrap();
        let day = Cell::Text("1970-01-01".to_owned());
        let first = vec![exact("1.50"), day, exact("7"), Cell::Float(0.5)];
        assert_eq!(answer.rows[0], first);
        assert_eq!(answer.rows[1][0], Cell::Null);
    }

    #[test]
    fn trailing_zeros_do_not_matter_and_digits_do() {
        assert!(same(&exact("1.50"), &exact("1.5")));
        assert!(same(&exact("2.00"), &exact("2")));
        assert!(same(&exact("100"), &exact("100")));
        assert!(!same(&exact("100"), &exact("1")));
        assert!(!same(&exact("1.51"), &exact("1.5")));
        assert!(!same(&exact("1"), &Cell::Null));
    }

    #[test]
    fn floats_have_a_tolerance() {
        assert!(same(&Cell::Float(1.0), &Cell::Float(1.000_000_5)));
        assert!(!same(&Cell::Float(1.0), &Cell::Float(1.000_01)));
        assert!(same(&Cell::Float(0.049_985_296), &exact("0.049985")));
        assert!(!same(&Cell::Float(0.049_985_296), &exact("0.0499")));
        assert!(!same(&Cell::Float(2.5), &exact("2.51")));
    }

    #[test]
    fn order_matters_where_there_is_one_but_not_among_equals() {
        let row = |key: &str, text: &str| vec![exact(key), Cell::Text(text.to_owned())];
        let left = answer(vec![row("1", "a"), row("1", "b"), row("2", "c")]);
        let tied = answer(vec![row("1", "b"), row("1", "a"), row("2", "c")]);
        let moved = answer(vec![row("2", "c"), row("1", "a"), row("1", "b")]);
        assert_eq!(difference(&left, &tied, &[0]), None);
        assert!(difference(&left, &moved, &[0]).is_some());
        assert_eq!(difference(&left, &moved, &[]), None);
    }

    #[test]
    fn the_place_is_named() {
        let left = answer(vec![vec![exact("1"), exact("2")]]);
        let right = answer(vec![vec![exact("1"), exact("3")]]);
        let found = difference(&left, &right, &[0]).unwrap();
        assert!(found.starts_with("row 0, column c1"), "{found}");
        let found = difference(&left, &answer(vec![]), &[]).unwrap();
        assert_eq!(found, "1 rows against 0");
    }
}
