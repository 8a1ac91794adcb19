//! Rows as CSV.
//!
//! Invariant: what is written is read back as it was: NULL and the empty text are told apart, and
//! whatever could be mistaken is quoted.

use std::fmt::Write as _;
use std::io::{self, Write};

use arrow::array::{Array, AsArray, BinaryArray, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::options::{Dialect, ForceQuote};
use super::typed::push_hex;

/// Bytes that are collected before they are written.
const BUFFER_BYTES: usize = 64 << 10;
/// Ends the rows for some readers where it stands alone in a line.
const END_MARK: &[u8] = b"\\.";

/// Writes rows as CSV.
pub(super) struct CsvText<W> {
    to: W,
    dialect: Dialect,
    /// Which columns are quoted in any case.
    forced: Vec<bool>,
    buffer: Vec<u8>,
    text: String,
}

impl<W: Write> CsvText<W> {
    /// Writes the header, if there is one.
    pub(super) fn new(to: W, schema: &Schema, dialect: Dialect) -> io::Result<Self> {
        let forced = schema
            .fields()
            .iter()
            .map(|field| match &dialect.force_quote {
                None => false,
                Some(ForceQuote::All) => true,
                Some(ForceQuote::Columns(columns)) => columns.contains(field.name()),
            });
        let mut writer = Self {
            to,
            forced: forced.collect(),
            dialect,
            buffer: Vec::new(),
            text: String::new(),
        };
        if writer.dialect.header {
            for (index, field) in schema.fields().iter().enumerate() {
                writer.separate(index);
                writer.field(field.name().as_bytes(), false);
            }
            writer.end_row()?;
        }
        Ok(writer)
    }

    pub(super) fn write(&mut self, rows: &RecordBatch) -> Result<(), ArrowError> {
        let options = FormatOptions::default().with_display_error(false);
        let columns = rows.columns().iter();
        let columns = columns.map(|column| Cells::new(column.as_ref(), &options));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        for row in 0..rows.num_rows() {
            for (index, cells) in columns.iter().enumerate() {
                self.separate(index);
                self.cell(cells, row, index)?;
            }
            self.end_row()?;
        }
        Ok(())
    }

    /// Writes what is left, and gives back where it was written to.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.to.write_all(&self.buffer)?;
        Ok(self.to)
    }

    fn separate(&mut self, index: usize) {
        if index > 0 {
            self.buffer.push(self.dialect.delimiter);
        }
    }

    fn end_row(&mut self) -> io::Result<()> {
        self.buffer.push(b'\n');
        if self.buffer.len() >= BUFFER_BYTES {
            self.to.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }

    fn cell(&mut self, cells: &Cells<'_>, row: usize, index: usize) -> Result<(), ArrowError> {
        let forced = self.forced.get(index).copied().unwrap_or_default();
        if cells.array.is_null(row) {
            self.buffer.extend_from_slice(self.dialect.null.as_bytes());
            return Ok(());
        }
        if let Some(bytes) = cells.bytes {
            let mut hex = Vec::new();
            push_hex(bytes.value(row), &mut hex);
            self.field(&hex, forced);
            return Ok(());
        }
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        write!(text, "{}", cells.formatter.value(row))
            .map_err(|_| ArrowError::CsvError(format!("row {row} has no text")))?;
        self.field(text.as_bytes(), forced);
        self.text = text;
        Ok(())
    }

    fn field(&mut self, text: &[u8], forced: bool) {
        let dialect = &self.dialect;
        let (quote, escape) = (dialect.quote, dialect.escape);
        let special = |byte: &u8| [quote, escape, dialect.delimiter, b'\n', b'\r'].contains(byte);
        let mistaken = text.is_empty() || text == dialect.null.as_bytes() || text == END_MARK;
        if !(forced || mistaken || text.iter().any(special)) {
            self.buffer.extend_from_slice(text);
            return;
        }
        self.buffer.push(quote);
        for byte in text {
            if *byte == quote || *byte == escape {
                self.buffer.push(escape);
            }
            self.buffer.push(*byte);
        }
        self.buffer.push(quote);
    }
}

/// A column whose values become text.
struct Cells<'a> {
    array: &'a dyn Array,
    formatter: ArrayFormatter<'a>,
    /// The same column, if it holds bytes.
    bytes: Option<&'a BinaryArray>,
}

impl<'a> Cells<'a> {
    fn new(array: &'a dyn Array, options: &FormatOptions<'a>) -> Result<Self, ArrowError> {
        let bytes = matches!(array.data_type(), DataType::Binary);
        Ok(Self {
            array,
            formatter: ArrayFormatter::try_new(array, options)?,
            bytes: bytes.then(|| array.as_binary::<i32>()),
        })
    }
}
