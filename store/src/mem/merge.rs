//! Copying the current rows of several batches into one.

use arrow::array::{Array, ArrayRef, BinaryArray, BooleanArray, RecordBatch};
use arrow::compute::{concat, filter, filter_record_batch};
use arrow::error::ArrowError;

use super::bitmap::Bitmap;
use super::runs::MemBatch;
use super::size::{collect_views, held_bytes};
use super::stamps::Stamps;

/// Most rows of a batch made by merging; batches of this size are left alone.
pub(super) const MAX_MERGED_ROWS: usize = 1 << 16;
/// So many batches of similar size are merged into one. Each row is copied at most
/// log8(`MAX_MERGED_ROWS`) times.
pub(super) const MERGE_FAN_IN: usize = 8;

/// The start of the run of batches at the end of `rows_of` (rows of each batch) that should be
/// merged now, if any: at least [`MERGE_FAN_IN`] batches, none of a greater size class than the
/// last.
pub(super) fn due(
    rows_of: impl DoubleEndedIterator<Item = usize> + ExactSizeIterator,
) -> Option<usize> {
    let batches = rows_of.len();
    let mut class = None;
    let (mut count, mut total) = (0, 0);
    for rows in rows_of.rev() {
        let last_class = *class.get_or_insert(size_class(rows));
        if size_class(rows) > last_class || total + rows > MAX_MERGED_ROWS {
            break;
        }
        count += 1;
        total += rows;
    }
    (count >= MERGE_FAN_IN).then_some(batches - count)
}

fn size_class(rows: usize) -> u32 {
    rows.max(1).ilog2() / MERGE_FAN_IN.ilog2()
}

/// One batch with the current rows of all, in order. Fails if arrow cannot concatenate them, such
/// as dictionaries whose values do not fit together.
pub(super) fn merge(batches: &mut [&mut MemBatch]) -> Result<MemBatch, ArrowError> {
    let mut rows = Vec::with_capacity(batches.len());
    let mut keys: Vec<ArrayRef> = Vec::with_capacity(batches.len());
    let mut chosen = Vec::with_capacity(batches.len());
    for batch in batches.iter_mut() {
        let current = batch.current.freeze();
        match &current {
            Some(current) => {
                let mask = BooleanArray::new(current.clone(), None);
                rows.push(filter_record_batch(&batch.rows, &mask)?);
                keys.push(filter(&batch.keys, &mask)?);
            }
            None => {
                rows.push(batch.rows.clone());
                keys.push(std::sync::Arc::new(batch.keys.clone()));
            }
        }
        chosen.push(current);
    }
    let rows = concat_rows(&rows)?;
    let keys: Vec<&dyn Array> = keys.iter().map(AsRef::as_ref).collect();
    let keys = BinaryArray::from(concat(&keys)?.to_data());
    let stamps = Stamps::gather(
        batches
            .iter()
            .zip(chosen)
            .map(|(batch, chosen)| (&batch.stamps, chosen, batch.rows.num_rows())),
    );
    let current = Bitmap::all(rows.num_rows());
    let bytes = held_bytes(&rows);
    Ok(MemBatch::new((rows, bytes), keys, stamps, current))
}

fn concat_rows(rows: &[RecordBatch]) -> Result<RecordBatch, ArrowError> {
    let Some(first) = rows.first() else {
        return Err(ArrowError::InvalidArgumentError("nothing to merge".into()));
    };
    let columns = (0..first.num_columns())
        .map(|column| {
            let parts: Vec<&dyn Array> = rows.iter().map(|r| r.column(column).as_ref()).collect();
            collect_views(&concat(&parts)?)
        })
        .collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(first.schema(), columns)
}
