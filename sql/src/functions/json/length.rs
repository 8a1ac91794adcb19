//! `json_array_length`, which is an error for what is no array.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::ColumnarValue;
use datafusion::logical_expr::ScalarFunctionArgs;
use serde::de::IgnoredAny;

use super::super::plain::{Plain, Section, argument, is_text, whole, wrong};

/// Unlike `json_length`, it does not count the members of objects. Its values are numbers, and no JSON.
pub(super) const ARRAY_LENGTH: Plain = Plain {
    name: "json_array_length",
    aliases: &["jsonb_array_length"],
    takes: |types| match types {
        [text] if is_text(text) => Some(vec![DataType::Utf8]),
        _ => None,
    },
    gives: |_| DataType::Int64,
    compute: lengths,
    section: Section::Other,
    about: None,
};

fn lengths(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    whole(args, |arrays, _| {
        let texts = argument(arrays, 0)?.as_string::<i32>();
        let lengths = texts.iter().map(|text| text.map(length).transpose());
        let lengths: Int64Array = lengths.collect::<Result<_>>()?;
        Ok(Arc::new(lengths) as ArrayRef)
    })
}

fn length(text: &str) -> Result<i64> {
    match serde_json::from_str::<Vec<IgnoredAny>>(text) {
        Ok(elements) => Ok(i64::try_from(elements.len()).unwrap_or(i64::MAX)),
        Err(_) => wrong(
            "json_array_length takes an array, and this is none: json_length counts the members of objects too",
        ),
    }
}
