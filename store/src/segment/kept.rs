//! Types that Parquet lacks, as others that it has.
//!
//! Idea: an interval of months, days and nanoseconds takes 16 bytes, and so does a value of
//! `FixedSizeBinary(16)`: one becomes the other by another name, without a copy.
//!
//! Invariant: what is read has the type, and the values, of what was written. Non-goal: types that
//! Parquet has, which stay as they are.

use std::sync::Arc;

use arrow::array::{ArrayData, ArrayRef, make_array};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, IntervalUnit, Schema, SchemaRef};
use arrow::error::ArrowError;

/// Bytes of an interval: months (4), days (4) and nanoseconds (8), little-endian.
const INTERVAL_BYTES: i32 = 16;

/// The columns as the data file has them.
pub(super) fn kept_schema(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields();
    match fields.iter().any(|field| is_changed(field.data_type())) {
        true => Arc::new(Schema::new(kept_fields(fields))),
        false => Arc::clone(schema),
    }
}

/// The same values under the type that the data file has, or the table; of the same layout.
pub(super) fn with_type(values: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    match values.data_type() == to {
        true => Ok(Arc::clone(values)),
        false => Ok(make_array(renamed(values.to_data(), to)?)),
    }
}

fn renamed(values: ArrayData, to: &DataType) -> Result<ArrayData, ArrowError> {
    let inner = inner_types(to);
    let children = values.child_data().iter().cloned().zip(inner);
    let children = children
        .map(|(child, to)| renamed(child, to))
        .collect::<Result<Vec<_>, _>>()?;
    let builder = values.into_builder().data_type(to.clone());
    // Bytes may lie where numbers of 64 bits do not.
    builder.child_data(children).align_buffers(true).build()
}

fn inner_types(of: &DataType) -> Vec<&DataType> {
    match of {
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => vec![field.data_type()],
        DataType::Struct(fields) => fields.iter().map(|field| field.data_type()).collect(),
        DataType::Dictionary(_, values) => vec![values],
        _ => Vec::new(),
    }
}

fn is_changed(data_type: &DataType) -> bool {
    match data_type {
        DataType::Interval(IntervalUnit::MonthDayNano) => true,
        other => inner_types(other).into_iter().any(is_changed),
    }
}

fn kept_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Interval(IntervalUnit::MonthDayNano) => DataType::FixedSizeBinary(INTERVAL_BYTES),
        DataType::List(field) => DataType::List(kept_field(field)),
        DataType::LargeList(field) => DataType::LargeList(kept_field(field)),
        DataType::ListView(field) => DataType::ListView(kept_field(field)),
        DataType::LargeListView(field) => DataType::LargeListView(kept_field(field)),
        DataType::FixedSizeList(field, size) => DataType::FixedSizeList(kept_field(field), *size),
        DataType::Map(field, sorted) => DataType::Map(kept_field(field), *sorted),
        DataType::Struct(fields) => DataType::Struct(kept_fields(fields)),
        DataType::Dictionary(keys, values) => {
            DataType::Dictionary(keys.clone(), Box::new(kept_type(values)))
        }
        other => other.clone(),
    }
}

fn kept_field(field: &FieldRef) -> FieldRef {
    let kept = kept_type(field.data_type());
    Arc::new(Field::clone(field).with_data_type(kept))
}

fn kept_fields(fields: &Fields) -> Fields {
    fields.iter().map(kept_field).collect()
}

#[cfg(test)]
mod tests {
    use arrow::array::{IntervalMonthDayNanoArray, ListArray, StructArray};
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::IntervalMonthDayNano;

    use super::*;

    #[test]
    fn intervals_come_back_wherever_they_are() {
        let interval = |n: i32| IntervalMonthDayNano::new(n, -n, i64::from(n) * 1_000_000_007);
        let values: IntervalMonthDayNanoArray = (-50..50)
            .map(|n| (n % 7 != 0).then(|| interval(n)))
            .collect();
        let values: ArrayRef = Arc::new(values);
        let item = Arc::new(Field::new("item", values.data_type().clone(), true));
        let offsets = OffsetBuffer::from_lengths([0, 10, 90]);
        let list = ListArray::new(item, offsets, Arc::clone(&values), None);
        let list: ArrayRef = Arc::new(list);
        let field = Arc::new(Field::new("i", values.data_type().clone(), true));
        let nested: ArrayRef = Arc::new(StructArray::from(vec![(field, Arc::clone(&values))]));
        for array in [values, list, nested] {
            for array in [array.slice(1, array.len() - 2), array] {
                let kept = with_type(&array, &kept_type(array.data_type())).unwrap();
                assert!(!is_changed(kept.data_type()), "{}", kept.data_type());
                assert_eq!(&with_type(&kept, array.data_type()).unwrap(), &array);
            }
        }
    }
}
