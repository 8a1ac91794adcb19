//! Plain DataFusion over the Parquet files, and the comparison with it.

use netabase::arrow::array::{Array, AsArray, RecordBatch};
use netabase::arrow::datatypes::{DataType, Float64Type};
use netabase::arrow::util::display::{ArrayFormatter, FormatOptions};
use netabase::datafusion::prelude::{ParquetReadOptions, SessionContext};

use crate::common::{TABLES, data};

pub(crate) async fn oracle() -> SessionContext {
    let ctx = SessionContext::new();
    for table in TABLES {
        let path = data(table);
        let options = ParquetReadOptions::default();
        ctx.register_parquet(table, path.to_str().unwrap(), options)
            .await
            .unwrap();
    }
    ctx
}

/// One value: floats by number, everything else by its text.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Float(f64),
    Text(String),
}

fn rows(batches: &[RecordBatch]) -> Vec<Vec<Value>> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let value = |column: &std::sync::Arc<dyn Array>| match column.data_type() {
                DataType::Float64 if column.is_valid(row) => {
                    Value::Float(column.as_primitive::<Float64Type>().value(row))
                }
                _ => {
                    let text = ArrayFormatter::try_new(column, &options).unwrap();
                    Value::Text(text.value(row).to_string())
                }
            };
            rows.push(batch.columns().iter().map(value).collect());
        }
    }
    rows
}

fn close(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => {
            a == b || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
        }
        _ => a == b,
    }
}

/// Fails unless both hold the same rows: in order if `ordered`, as multisets otherwise.
pub(crate) fn assert_same(what: &str, got: &[RecordBatch], want: &[RecordBatch], ordered: bool) {
    let (mut got, mut want) = (rows(got), rows(want));
    assert_eq!(got.len(), want.len(), "{what}: number of rows");
    if !ordered {
        // Floats last: their last digits must not decide the order.
        let key = |row: &Vec<Value>| {
            let text = row.iter().filter(|v| matches!(v, Value::Text(_)));
            let floats = row.iter().filter_map(|v| match v {
                Value::Float(f) => Some(format!("{f:.6e}")),
                Value::Text(_) => None,
            });
            (
                format!("{:?}", text.collect::<Vec<_>>()),
                floats.collect::<Vec<_>>(),
            )
        };
        got.sort_by_key(key);
        want.sort_by_key(key);
    }
    for (i, (g, w)) in got.iter().zip(&want).enumerate() {
        let same = g.len() == w.len() && g.iter().zip(w).all(|(a, b)| close(a, b));
        assert!(same, "{what}: row {i}\n got {g:?}\nwant {w:?}");
    }
}

mod tests {
    use std::sync::Arc;

    use netabase::arrow::array::{ArrayRef, Float64Array, Int64Array};

    use super::*;

    fn batch(ints: [i64; 2], floats: [f64; 2]) -> RecordBatch {
        let columns: [(&str, ArrayRef); 2] = [
            ("i", Arc::new(Int64Array::from(ints.to_vec()))),
            ("f", Arc::new(Float64Array::from(floats.to_vec()))),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn fails(check: impl FnOnce()) -> bool {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)).is_err()
    }

    #[test]
    fn the_comparison_can_fail() {
        let want = batch([1, 2], [0.5, 1.5]);
        assert_same(
            "same",
            &[batch([2, 1], [1.5, 0.5 + 1e-12])],
            std::slice::from_ref(&want),
            false,
        );
        for bad in [batch([1, 3], [0.5, 1.5]), batch([1, 2], [0.5, 1.5001])] {
            let want = want.clone();
            assert!(fails(|| assert_same("x", &[bad], &[want], false)));
        }
        let swapped = batch([2, 1], [1.5, 0.5]);
        assert!(fails(|| assert_same("x", &[swapped], &[want], true)));
    }
}
