//! The form in which Arrow reads a text as a value of another type, and the text in which a value is shown.
//!
//! See [`super::text_casts`], which puts these functions into plans.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder, StringBuilder};
use arrow::datatypes::{DataType, TimeUnit};
use arrow::error::ArrowError;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, lit};

use super::dates::readable;
use super::plain::{Plain, Section, argument, is_text, whole, wrong};
use super::text_casts::call;
use crate::copy::unhex;
use crate::values::texts_of;

/// What the names of these functions begin with.
pub(super) const FORMED: &str = "form_of_";

/// What a text is to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Date,
    Time,
    Timestamp,
    Bytes,
}

/// A text in its form.
pub(super) enum Formed {
    Same,
    Text(String),
    Bytes(Vec<u8>),
}

/// The functions.
pub(super) const FUNCTIONS: [Plain; 5] = [
    forming("form_of_date", |args| each(args, Form::Date)),
    forming("form_of_time", |args| each(args, Form::Time)),
    forming("form_of_timestamp", |args| each(args, Form::Timestamp)),
    Plain {
        gives: |_| DataType::Binary,
        ..forming("form_of_bytes", |args| each(args, Form::Bytes))
    },
    SHOWN_TEXT,
];

/// The text that a value is shown as.
pub(super) const SHOWN_TEXT: Plain = Plain {
    name: "shown_text",
    aliases: &[],
    takes: |types| match types {
        [one] => Some(vec![one.clone()]),
        _ => None,
    },
    gives: |_| DataType::Utf8,
    compute: |args| {
        whole(args, |arrays, _| {
            Ok(Arc::new(texts_of(argument(arrays, 0)?)?))
        })
    },
    section: Section::Text,
    about: None,
};

/// Of a text, and whether what is none is NULL.
const fn forming(
    name: &'static str,
    compute: fn(&ScalarFunctionArgs) -> Result<ColumnarValue>,
) -> Plain {
    Plain {
        name,
        aliases: &[],
        takes: |types| match types {
            [text, DataType::Boolean] if is_text(text) => {
                Some(vec![DataType::Utf8, DataType::Boolean])
            }
            _ => None,
        },
        gives: |_| DataType::Utf8,
        compute,
        section: Section::Other,
        about: None,
    }
}

/// Whether Arrow writes values of a type otherwise than they are shown.
pub(super) fn is_written_otherwise(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Timestamp(..) | DataType::Interval(_) | DataType::Duration(_)
    ) || data_type.is_nested()
}

impl Form {
    /// The form of texts that are cast to a type.
    pub(super) fn of(target: &DataType) -> Option<Self> {
        match target {
            DataType::Date32 | DataType::Date64 => Some(Self::Date),
            DataType::Time32(_) | DataType::Time64(_) => Some(Self::Time),
            DataType::Timestamp(..) => Some(Self::Timestamp),
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Some(Self::Bytes),
            _ => None,
        }
    }

    pub(super) fn call(self, text: Expr, lenient: bool) -> Expr {
        let at = match self {
            Self::Date => 0,
            Self::Time => 1,
            Self::Timestamp => 2,
            Self::Bytes => 3,
        };
        call(FUNCTIONS[at], vec![text, lit(lenient)])
    }

    /// A text in its form.
    pub(super) fn formed(self, text: &str) -> Result<Formed> {
        let (target, kind) = match self {
            Self::Date => (DataType::Date32, "Date32"),
            Self::Time => (DataType::Time64(TimeUnit::Nanosecond), "Time64"),
            Self::Timestamp => (DataType::Timestamp(TimeUnit::Nanosecond, None), "Timestamp"),
            Self::Bytes => return bytes(text),
        };
        match readable(text, &target) {
            Some(same) if same == text => Ok(Formed::Same),
            Some(other) => Ok(Formed::Text(other.into_owned())),
            None => Err(DataFusionError::from(ArrowError::CastError(format!(
                "Cannot cast string '{text}' to value of {kind} type"
            )))),
        }
    }
}

/// `\x00ff` as two bytes; any other text is its own bytes.
fn bytes(text: &str) -> Result<Formed> {
    let Some(digits) = text.strip_prefix("\\x") else {
        return Ok(Formed::Same);
    };
    match unhex(digits) {
        Some(bytes) => Ok(Formed::Bytes(bytes)),
        None => wrong(format!(
            "'{text}' is not a valid BYTEA: two hexadecimal digits of each byte are behind \\x"
        )),
    }
}

fn each(args: &ScalarFunctionArgs, form: Form) -> Result<ColumnarValue> {
    whole(args, |arrays, rows| {
        let texts = argument(arrays, 0)?.as_string::<i32>();
        let lenient = argument(arrays, 1)?.as_boolean();
        let (mut formed, mut bytes) = (StringBuilder::new(), BinaryBuilder::new());
        for row in 0..rows {
            let made = match texts.is_valid(row) {
                true => form.formed(texts.value(row)),
                false => {
                    formed.append_null();
                    bytes.append_null();
                    continue;
                }
            };
            match made {
                Ok(Formed::Same) => {
                    formed.append_value(texts.value(row));
                    bytes.append_value(texts.value(row));
                }
                Ok(Formed::Text(text)) => formed.append_value(text),
                Ok(Formed::Bytes(of_text)) => bytes.append_value(of_text),
                Err(_) if lenient.value(row) => {
                    formed.append_null();
                    bytes.append_null();
                }
                Err(error) => return Err(error),
            }
        }
        let array: ArrayRef = match form {
            Form::Bytes => Arc::new(bytes.finish()),
            _ => Arc::new(formed.finish()),
        };
        Ok(array)
    })
}
