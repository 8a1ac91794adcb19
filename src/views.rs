//! Plain layouts for foreign readers.
//!
//! Rows hold strings and bytes as Arrow views, which older Arrow consumers do not know. At the edge
//! they become `LargeUtf8` and `LargeBinary`, whose offsets cannot overflow.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use netabase_store::{Error, ErrorKind};

/// The schema with every view type replaced, nested ones included.
pub(crate) fn expand_schema(schema: &Schema) -> SchemaRef {
    let fields: Vec<FieldRef> = schema.fields().iter().map(expand_field).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// The batch in the layout that [`expand_schema`] gave.
pub(crate) fn expand_batch(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, Error> {
    let expand = || {
        let columns = batch
            .columns()
            .iter()
            .zip(schema.fields())
            .map(|(column, field)| {
                if column.data_type() == field.data_type() {
                    Ok(Arc::clone(column))
                } else {
                    cast(column, field.data_type())
                }
            })
            .collect::<Result<Vec<ArrayRef>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
    };
    expand().map_err(|e| {
        Error::new(
            ErrorKind::InvalidInput,
            format!("the rows cannot be handed over as plain Arrow: {e}"),
        )
    })
}

fn expand_field(field: &FieldRef) -> FieldRef {
    let expanded = expand_type(field.data_type());
    if &expanded == field.data_type() {
        return Arc::clone(field);
    }
    Arc::new(Field::clone(field).with_data_type(expanded))
}

fn expand_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View => DataType::LargeUtf8,
        DataType::BinaryView => DataType::LargeBinary,
        DataType::List(item) => DataType::List(expand_field(item)),
        DataType::LargeList(item) => DataType::LargeList(expand_field(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(expand_field(item), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(expand_field).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use arrow::array::{AsArray, BinaryViewArray, Int64Array, StringViewArray};

    #[test]
    fn views_become_plain_and_the_rest_stays() {
        let schema = Arc::new(Schema::new(vec![
            Field::new("s", DataType::Utf8View, true),
            Field::new("b", DataType::BinaryView, true),
            Field::new("i", DataType::Int64, true),
            Field::new_list("l", Field::new_list_field(DataType::Utf8View, true), true),
        ]));
        let expanded = expand_schema(&schema);
        assert_eq!(expanded.field(0).data_type(), &DataType::LargeUtf8);
        assert_eq!(
            expanded.field(3).data_type(),
            &DataType::List(Arc::new(Field::new_list_field(DataType::LargeUtf8, true)))
        );
        let flat = Arc::new(schema.project(&[0, 1, 2]).unwrap());
        let batch = RecordBatch::try_new(
            Arc::clone(&flat),
            vec![
                Arc::new(StringViewArray::from(vec![
                    Some("a string longer than twelve"),
                    None,
                ])),
                Arc::new(BinaryViewArray::from(vec![Some(&b"x"[..]), None])),
                Arc::new(Int64Array::from(vec![1, 2])),
            ],
        )
        .unwrap();
        let plain = expand_batch(&batch, &expand_schema(&flat)).unwrap();
        assert_eq!(
            plain.column(0).as_string::<i64>().value(0),
            "a string longer than twelve"
        );
        assert!(plain.column(0).is_null(1));
    }
}
