//! How much memory batches hold, and copying those that hold too much.
//!
//! Arrays are often slices of something larger, or share one buffer; storing them as they are
//! would keep all of it.

use std::sync::Arc;

use arrow::array::{Array, ArrayData, ArrayRef, AsArray, RecordBatch, UInt32Array, make_array};
use arrow::buffer::Buffer;
use arrow::compute::take;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

/// Excess that is not worth a copy, in bytes.
const SLACK_BYTES: usize = 4 << 10;

/// Bytes of the distinct allocations behind a batch.
pub(super) fn held_bytes(batch: &RecordBatch) -> usize {
    let mut allocations = Vec::new();
    for column in batch.columns() {
        note(&column.to_data(), &mut allocations);
    }
    sum(allocations)
}

/// Where an allocation is, and its bytes.
type Allocation = (usize, usize);

fn note(data: &ArrayData, allocations: &mut Vec<Allocation>) {
    let nulls = data.nulls().map(|nulls| nulls.buffer());
    let of = |buffer: &Buffer| (buffer.data_ptr().as_ptr().addr(), buffer.capacity());
    allocations.extend(data.buffers().iter().chain(nulls).map(of));
    for child in data.child_data() {
        note(child, allocations);
    }
}

fn sum(mut allocations: Vec<Allocation>) -> usize {
    allocations.sort_unstable();
    allocations.dedup_by_key(|(place, _)| *place);
    allocations.iter().map(|(_, bytes)| bytes).sum()
}

/// Bytes the values of an array need.
fn needed(array: &ArrayRef, data: &ArrayData) -> usize {
    let fixed = data.get_slice_memory_size().unwrap_or_default();
    let long = match array.data_type() {
        DataType::Utf8View => array.as_string_view().total_buffer_bytes_used(),
        DataType::BinaryView => array.as_binary_view().total_buffer_bytes_used(),
        _ => 0,
    };
    fixed + long
}

/// The same batch, copied if it holds more than twice what it needs, and the bytes that it holds.
pub(super) fn compact(batch: RecordBatch) -> Result<(RecordBatch, usize), ArrowError> {
    let (mut allocations, mut least) = (Vec::new(), 0);
    for column in batch.columns() {
        let data = column.to_data();
        least += needed(column, &data);
        note(&data, &mut allocations);
    }
    let held = sum(allocations);
    if held <= least * 2 + SLACK_BYTES {
        return Ok((batch, held));
    }
    let all = UInt32Array::from_iter_values(0..batch.num_rows() as u32);
    let columns = batch
        .columns()
        .iter()
        .map(|column| match column.data_type() {
            DataType::Utf8View | DataType::BinaryView => collect_views(column),
            _ => {
                // `take` reserves too much for lists.
                let mut taken = collect_views(&take(column, &all, None)?)?;
                taken.shrink_to_fit();
                Ok(taken)
            }
        })
        .collect::<Result<_, _>>()?;
    let batch = RecordBatch::try_new(batch.schema(), columns)?;
    let held = held_bytes(&batch);
    Ok((batch, held))
}

/// The same array with the strings of its views, nested ones too, copied into buffers of their
/// own. Arrays without views are shared.
pub(crate) fn collect_views(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match column.data_type() {
        DataType::Utf8View => Ok(Arc::new(column.as_string_view().gc())),
        DataType::BinaryView => Ok(Arc::new(column.as_binary_view().gc())),
        nested if has_views(nested) => {
            let data = column.to_data();
            let children = data
                .child_data()
                .iter()
                .map(|child| Ok(collect_views(&make_array(child.clone()))?.to_data()))
                .collect::<Result<_, ArrowError>>()?;
            Ok(make_array(
                data.into_builder().child_data(children).build()?,
            ))
        }
        _ => Ok(column.clone()),
    }
}

fn has_views(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8View | DataType::BinaryView => true,
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => has_views(field.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_views(field.data_type())),
        DataType::Dictionary(_, values) => has_views(values),
        _ => false,
    }
}
