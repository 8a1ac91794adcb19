//! Whether two answers are the same: order and counts exactly, measured values to nine digits.

use arrow::array::{Array, AsArray};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Float64Type};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

/// Floats may differ by this share of the larger one: sums depend on the order of their rows.
const TOLERANCE: f64 = 1e-9;

/// The first place where two answers differ, in words; `None` when they are the same.
pub(crate) fn difference(
    expected: &[RecordBatch],
    actual: &[RecordBatch],
) -> Result<Option<String>, ArrowError> {
    let (Some(first), Some(other)) = (expected.first(), actual.first()) else {
        let same = expected.is_empty() && actual.is_empty();
        return Ok((!same).then(|| "one of them has no rows".to_owned()));
    };
    let expected = concat_batches(&first.schema(), expected)?;
    let actual = concat_batches(&other.schema(), actual)?;
    if expected.num_rows() != actual.num_rows() {
        let (left, right) = (expected.num_rows(), actual.num_rows());
        return Ok(Some(format!("{left} rows against {right}")));
    }
    if expected.num_columns() != actual.num_columns() {
        let (left, right) = (expected.num_columns(), actual.num_columns());
        return Ok(Some(format!("{left} columns against {right}")));
    }
    for (index, field) in expected.schema().fields().iter().enumerate() {
        if let Some(row) = column_difference(expected.column(index), actual.column(index))? {
            return Ok(Some(format!("row {row}, column {}", field.name())));
        }
    }
    Ok(None)
}

/// The first row in which two columns differ. Floats are compared as floats, everything else by its
/// text, so that it does not matter how wide an integer or how a string is stored.
fn column_difference(left: &dyn Array, right: &dyn Array) -> Result<Option<usize>, ArrowError> {
    let floating = left.data_type().is_floating() && right.data_type().is_floating();
    let target = if floating {
        DataType::Float64
    } else {
        DataType::Utf8
    };
    let (left, right) = (cast(left, &target)?, cast(right, &target)?);
    let same = |row: usize| match (left.is_null(row), right.is_null(row)) {
        (false, false) if floating => {
            let left = left.as_primitive::<Float64Type>().value(row);
            close(left, right.as_primitive::<Float64Type>().value(row))
        }
        (false, false) => left.as_string::<i32>().value(row) == right.as_string::<i32>().value(row),
        (left, right) => left == right,
    };
    Ok((0..left.len()).find(|row| !same(*row)))
}

fn close(left: f64, right: f64) -> bool {
    left == right || (left - right).abs() <= TOLERANCE * left.abs().max(right.abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::StringViewArray;
    use arrow::array::{ArrayRef, Float64Array, Int32Array, Int64Array, StringArray};
    use std::sync::Arc;

    fn batch(columns: Vec<ArrayRef>) -> RecordBatch {
        let named = columns
            .into_iter()
            .enumerate()
            .map(|(i, column)| (format!("c{i}"), column));
        RecordBatch::try_from_iter_with_nullable(named.map(|(name, column)| (name, column, true)))
            .unwrap()
    }

    fn floats(values: &[Option<f64>]) -> RecordBatch {
        batch(vec![Arc::new(Float64Array::from(values.to_vec()))])
    }

    #[test]
    fn representation_and_batching_do_not_matter() {
        let whole = batch(vec![
            Arc::new(Int64Array::from(vec![Some(1), None])),
            Arc::new(StringArray::from(vec![Some("a"), None])),
        ]);
        let other = batch(vec![
            Arc::new(Int32Array::from(vec![Some(1), None])),
            Arc::new(StringViewArray::from(vec![Some("a"), None])),
        ]);
        let parts = [other.slice(0, 1), other.slice(1, 1)];
        assert_eq!(found(&whole, &parts), None);
    }

    fn found(left: &RecordBatch, right: &[RecordBatch]) -> Option<String> {
        difference(std::slice::from_ref(left), right).unwrap()
    }

    #[test]
    fn the_last_digits_of_floats_do_not_matter() {
        let left = floats(&[Some(1.0), Some(0.0), None]);
        let near = floats(&[Some(1.0 + 1e-10), Some(0.0), None]);
        let far = floats(&[Some(1.0 + 1e-8), Some(0.0), None]);
        assert_eq!(found(&left, &[near]), None);
        assert_eq!(found(&left, &[far]).as_deref(), Some("row 0, column c0"));
    }

    #[test]
    fn counts_rows_and_nulls_do() {
        let left = batch(vec![Arc::new(Int64Array::from(vec![Some(5), Some(6)]))]);
        for (values, says) in [
            (vec![Some(5), Some(7)], "row 1, column c0"),
            (vec![None, Some(6)], "row 0, column c0"),
            (vec![Some(5)], "2 rows against 1"),
        ] {
            let right = batch(vec![Arc::new(Int64Array::from(values))]);
            assert_eq!(found(&left, &[right]).as_deref(), Some(says));
        }
        assert!(found(&left, &[]).is_some());
        assert!(found(&left, &[floats(&[Some(5.0), Some(6.0)])]).is_some());
    }
}
