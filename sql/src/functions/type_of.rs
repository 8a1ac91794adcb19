//! `typeof(x)` and `pg_typeof(x)`: the type of an expression, as CREATE TABLE writes it.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::ColumnarValue;

use super::plain::{Plain, Section};
use crate::sql_type::column_type;

pub(super) const TYPE_OF: Plain = Plain {
    name: "typeof",
    aliases: &["pg_typeof"],
    takes: |types| match types {
        [_] => Some(types.to_vec()),
        _ => None,
    },
    gives: |_| DataType::Utf8,
    compute: |args| {
        let name = args
            .arg_fields
            .first()
            .map(|field| match field.data_type() {
                DataType::Null => "NULL".to_owned(),
                _ => column_type(field),
            });
        Ok(ColumnarValue::Scalar(ScalarValue::Utf8(name)))
    },
    section: Section::Other,
    about: Some((
        "typeof(value)",
        "The type of a value, as CREATE TABLE writes it",
    )),
};
