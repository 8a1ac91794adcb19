//! Rows as JSON objects.
//!
//! Invariant: nothing is lost where JSON has no words: numbers that are none are the texts `"NaN"`,
//! `"Infinity"` and `"-Infinity"`, and bytes are `"\\x…"` in hexadecimal.

use std::fmt::Debug;
use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrowPrimitiveType, AsArray, BinaryArray, PrimitiveArray};
use arrow::datatypes::{DataType, FieldRef, Float16Type, Float32Type, Float64Type};
use arrow::error::ArrowError;
use arrow::json::writer::{
    Encoder, EncoderFactory, EncoderOptions, JsonArray, LineDelimited, NullableEncoder, Writer,
    WriterBuilder,
};
use arrow::record_batch::RecordBatch;

use super::typed::push_hex;

/// Writes rows as lines of objects, or as one array of them.
pub(super) enum JsonText<W: Write> {
    Lines(Writer<W, LineDelimited>),
    Array(Writer<W, JsonArray>),
}

impl<W: Write> JsonText<W> {
    pub(super) fn new(to: W, array: bool) -> Self {
        let builder = WriterBuilder::new()
            .with_explicit_nulls(true)
            .with_encoder_factory(Arc::new(Whole));
        match array {
            true => JsonText::Array(builder.build(to)),
            false => JsonText::Lines(builder.build(to)),
        }
    }

    pub(super) fn write(&mut self, rows: &RecordBatch) -> Result<(), ArrowError> {
        match self {
            JsonText::Lines(writer) => writer.write(rows),
            JsonText::Array(writer) => writer.write(rows),
        }
    }

    /// Writes the end, and gives back where it was written to.
    pub(super) fn finish(self) -> Result<W, ArrowError> {
        match self {
            JsonText::Lines(mut writer) => {
                writer.finish()?;
                Ok(writer.into_inner())
            }
            JsonText::Array(mut writer) => {
                writer.finish()?;
                let mut to = writer.into_inner();
                to.write_all(b"\n")?;
                Ok(to)
            }
        }
    }
}

/// Encodes what arrow would write as null, or in a way that is not read back.
#[derive(Debug)]
struct Whole;

impl EncoderFactory for Whole {
    fn make_default_encoder<'a>(
        &self,
        _field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Float16 => Box::new(Floats(array.as_primitive::<Float16Type>())),
            DataType::Float32 => Box::new(Floats(array.as_primitive::<Float32Type>())),
            DataType::Float64 => Box::new(Floats(array.as_primitive::<Float64Type>())),
            DataType::Binary => Box::new(Bytes(array.as_binary())),
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

struct Floats<'a, T: ArrowPrimitiveType>(&'a PrimitiveArray<T>);

impl<T: ArrowPrimitiveType> Encoder for Floats<'_, T>
where
    T::Native: Into<f64> + Debug,
{
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let value = self.0.value(row);
        let wide: f64 = value.into();
        let text = match wide {
            wide if wide.is_nan() => "\"NaN\"".to_owned(),
            f64::INFINITY => "\"Infinity\"".to_owned(),
            f64::NEG_INFINITY => "\"-Infinity\"".to_owned(),
            // The shortest text that is read back as the same number, and a number in JSON.
            _ => format!("{value:?}"),
        };
        out.extend_from_slice(text.as_bytes());
    }
}

struct Bytes<'a>(&'a BinaryArray);

impl Encoder for Bytes<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        // The backslash of `\x` is doubled in JSON.
        out.extend_from_slice(b"\"\\");
        push_hex(self.0.value(row), out);
        out.push(b'"');
    }
}
