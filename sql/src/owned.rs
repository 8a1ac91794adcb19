//! Batches that own what they show.
//!
//! A scan hands out slices of decoded columns without copying them. An operator that keeps such a slice
//! keeps the whole column with it, and accounts for all of it: a sort would hold a few slices of a wide
//! column, find its memory full, and spill little or fail. A copy costs less than what it is kept for.
//!
//! Invariant: rows do not change. Non-goal: narrow columns, whose slices are worth more than the
//! copies cost.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, MutableArrayData, make_array};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

/// Columns whose buffers are smaller are handed out as they are: 4 MiB, 64 bytes for each row of a
/// full group.
const WIDE_BYTES: usize = 4 << 20;
/// Bytes of a value of a view array, beside the text or bytes that it refers to.
const VIEW_BYTES: usize = 16;

/// The same rows; wide columns of which more than a quarter is not shown are copied.
pub(crate) fn owned(batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
    if !batch.columns().iter().any(is_small_part) {
        return Ok(batch);
    }
    let columns = batch.columns().iter();
    let columns = columns.map(|column| match is_small_part(column) {
        true => copy(column),
        false => Ok(Arc::clone(column)),
    });
    let columns = columns.collect::<Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(batch.schema(), columns, &options)
}

fn is_small_part(column: &ArrayRef) -> bool {
    let held = column.get_buffer_memory_size();
    held >= WIDE_BYTES && shown(column).is_some_and(|shown| held - held / 4 > shown)
}

/// Bytes that the rows need by themselves; `None` where that is not known.
fn shown(column: &ArrayRef) -> Option<usize> {
    let referred = match column.data_type() {
        DataType::Utf8View => column.as_string_view().total_buffer_bytes_used(),
        DataType::BinaryView => column.as_binary_view().total_buffer_bytes_used(),
        _ => return column.to_data().get_slice_memory_size().ok(),
    };
    Some(referred + VIEW_BYTES * column.len())
}

/// The same values in buffers of their own.
pub(crate) fn copy(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    Ok(match column.data_type() {
        DataType::Utf8View => Arc::new(column.as_string_view().gc()),
        DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
        _ => {
            let data = column.to_data();
            let mut copy = MutableArrayData::new(vec![&data], false, data.len());
            copy.try_extend(0, 0, data.len())?;
            make_array(copy.freeze())
        }
    })
}

#[cfg(test)]
mod tests {
    use arrow::array::{BinaryArray, Int64Array, StringViewArray};

    use super::*;

    #[test]
    fn slices_of_wide_columns_are_copied_and_no_others() {
        let rows = 20_000;
        let text = |row: usize| (!row.is_multiple_of(7)).then(|| format!("{row:0300}"));
        let columns: Vec<(&str, ArrayRef)> = vec![
            (
                "wide",
                Arc::new(
                    (0..rows)
                        .map(text)
                        .map(|text| text.map(String::into_bytes))
                        .collect::<BinaryArray>(),
                ),
            ),
            (
                "view",
                Arc::new((0..rows).map(text).collect::<StringViewArray>()),
            ),
            (
                "narrow",
                Arc::new(Int64Array::from_iter_values(0..rows as i64)),
            ),
        ];
        let whole = RecordBatch::try_from_iter_with_nullable(
            columns
                .into_iter()
                .map(|(name, column)| (name, column, true)),
        )
        .unwrap();
        let slice = whole.slice(5_000, 1_000);
        let copied = owned(slice.clone()).unwrap();
        assert_eq!(copied, slice);
        for column in [0, 1] {
            assert!(slice.column(column).get_buffer_memory_size() > WIDE_BYTES);
            assert!(copied.column(column).get_buffer_memory_size() < 500_000);
        }
        assert!(Arc::ptr_eq(copied.column(2), slice.column(2)));
        // What shows nearly all that it holds is left alone.
        let mut tight = BinaryArray::from_iter_values((0..rows).map(|row| format!("{row:0300}")));
        tight.shrink_to_fit();
        let whole = RecordBatch::try_from_iter([("wide", Arc::new(tight) as ArrayRef)]).unwrap();
        assert!(whole.column(0).get_buffer_memory_size() > WIDE_BYTES);
        let kept = owned(whole.clone()).unwrap();
        assert!(Arc::ptr_eq(kept.column(0), whole.column(0)));
    }
}
