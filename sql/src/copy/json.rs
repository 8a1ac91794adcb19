//! JSON objects, typed by the table.
//!
//! Purpose: rows are objects, one after the other (as in lines of JSON) or in one array. They are
//! cut here, and parsed by arrow into text, which is typed like that of CSV: so `1.5` is no integer.
//!
//! Invariant: an error names the line on which its object begins.

use std::io::{BufRead, BufReader, Read};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::ArrayRef;
use arrow::compute::can_cast_types;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::ReaderBuilder;
use arrow::record_batch::RecordBatch;
use netabase_store::{Error, TableDef};
use serde::de::IgnoredAny;

use super::columns::{Matched, unknown_column};
use super::files::{Text, io_error};
use super::options::Settled;
use super::records::{BYTE_ORDER_MARK, MAX_RECORD_BYTES};
use super::typed::{BYTES_PER_BATCH, ROWS_PER_BATCH, Typer, takes_text};
use super::{FilePath, Owner, Part, RowReader};
use crate::error::invalid;

/// The deepest nesting of one row.
const MAX_DEPTH: usize = 64;

/// Reads the rows of a file.
pub(super) struct JsonReader {
    objects: Objects<BufReader<Box<dyn Read + Send>>>,
    typer: Typer,
    /// The columns that are read, as text.
    schema: SchemaRef,
    /// Whether an object may have others.
    skips: bool,
    at: Arc<AtomicU64>,
    /// Objects that are not parsed yet, one after the other, and where each begins and ends.
    pending: Vec<u8>,
    places: Vec<(Range<usize>, u64)>,
    failed: Option<Error>,
    done: bool,
}

impl JsonReader {
    /// Looks at the first character.
    pub(super) fn new(
        text: Text,
        path: FilePath,
        owner: &Owner,
        settled: &Settled,
    ) -> Result<Self, Error> {
        let schema = text_schema(&path, &owner.def, &owner.chosen)?;
        let names: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
        let matched = Matched::new(&path, &owner.def, &names, &[])?;
        Ok(Self {
            objects: Objects::new(text.input, Arc::clone(&path), settled.array)?,
            typer: Typer {
                path,
                def: Arc::clone(&owner.def),
                matched,
            },
            schema,
            skips: !owner.chosen.is_empty(),
            at: text.at,
            pending: Vec::new(),
            places: Vec::new(),
            failed: None,
            done: false,
        })
    }

    /// Reads until there is a batch, the file ends, or an object is broken.
    fn fill(&mut self) {
        self.pending.clear();
        self.places.clear();
        while self.places.len() < ROWS_PER_BATCH && self.pending.len() < BYTES_PER_BATCH {
            let start = self.pending.len();
            match self.objects.next(&mut self.pending) {
                Ok(Some(line)) => match self.check(start, line) {
                    Ok(()) => self.places.push((start..self.pending.len(), line)),
                    Err(error) => return self.fail(start, error),
                },
                Ok(None) => {
                    self.done = true;
                    return;
                }
                Err(error) => return self.fail(start, error),
            }
        }
    }

    /// Ends reading before an object, if nothing further up is broken: that is the better answer.
    fn fail(&mut self, start: usize, error: Error) {
        self.pending.truncate(start);
        self.failed = Some(error);
        self.done = true;
    }

    /// Fails unless what is pending from here on is JSON: arrow's reader minds no commas.
    fn check(&self, start: usize, line: u64) -> Result<(), Error> {
        let object = self.pending.get(start..).unwrap_or_default();
        match serde_json::from_slice::<IgnoredAny>(object) {
            Ok(_) => Ok(()),
            Err(error) => {
                let error = ArrowError::JsonError(error.to_string());
                Err(self.broken(line, &error))
            }
        }
    }

    /// Parses a piece of what is pending, which has so many objects.
    fn parse(&self, piece: Range<usize>, rows: usize) -> Result<RecordBatch, ArrowError> {
        let mut decoder = ReaderBuilder::new(Arc::clone(&self.schema))
            .with_batch_size(rows)
            .with_coerce_primitive(true)
            .with_strict_mode(!self.skips)
            .build_decoder()?;
        let mut rest = self.pending.get(piece).unwrap_or_default();
        while !rest.is_empty() {
            let used = decoder.decode(rest)?;
            rest = rest.get(used..).unwrap_or_default();
            if used == 0 {
                break;
            }
        }
        let batch = decoder.flush()?;
        batch
            .filter(|batch| batch.num_rows() == rows && rest.is_empty())
            .ok_or_else(|| ArrowError::JsonError("it is not one object".to_owned()))
    }

    /// What is wrong with the first object that cannot be parsed by itself.
    fn first_error(&self, together: ArrowError) -> Error {
        for (piece, line) in &self.places {
            if let Err(error) = self.parse(piece.clone(), 1) {
                return self.broken(*line, &error);
            }
        }
        let line = self.places.first().map_or(1, |(_, line)| *line);
        self.broken(line, &together)
    }

    fn broken(&self, line: u64, error: &ArrowError) -> Error {
        let text = match error {
            ArrowError::JsonError(text) => text.clone(),
            other => other.to_string(),
        };
        let unknown = text
            .strip_prefix("column '")
            .and_then(|rest| rest.strip_suffix("' missing from schema"));
        match unknown {
            Some(name) if self.typer.def.column_named(name).is_none() => {
                let error = unknown_column(&self.typer.path, &self.typer.def, name);
                Error::new(error.kind(), format!("line {line} of {error}"))
            }
            _ => self.typer.broken(line, text.trim()),
        }
    }
}

impl RowReader for JsonReader {
    fn next(&mut self) -> Result<Option<Part>, Error> {
        if self.done {
            self.places.clear();
        } else {
            self.fill();
        }
        if self.places.is_empty() {
            return self.failed.take().map_or(Ok(None), Err);
        }
        let batch = self
            .parse(0..self.pending.len(), self.places.len())
            .map_err(|error| self.first_error(error))?;
        let texts: Vec<ArrayRef> = batch.columns().to_vec();
        let lines = self.places.iter().map(|(_, line)| *line).collect();
        self.typer.part(&texts, lines).map(Some)
    }

    fn bytes_read(&self) -> u64 {
        self.at.load(Ordering::Relaxed)
    }
}

/// The columns that are read, with text for every value.
fn text_schema(path: &FilePath, def: &TableDef, chosen: &[String]) -> Result<SchemaRef, Error> {
    let mut columns = def.visible_columns();
    columns.retain(|column| {
        chosen.is_empty() || chosen.iter().any(|name| name == def.column_name(*column))
    });
    let fields = columns.into_iter().map(|column| {
        let (field, name) = (def.schema.field(column), def.column_name(column));
        let text = text_type(field.data_type()).ok_or_else(|| {
            invalid(format!(
                "{}: column \"{}\" is {}, which JSON cannot hold; use Parquet or Arrow",
                path.display(),
                name,
                field.data_type()
            ))
        })?;
        Ok(Field::new(name, text, true))
    });
    let fields = fields.collect::<Result<Vec<Field>, Error>>()?;
    Ok(Arc::new(Schema::new(fields)))
}

/// The type of the same shape with text for every value; `None` where there is none.
fn text_type(data_type: &DataType) -> Option<DataType> {
    let inner = |field: &FieldRef| {
        let data_type = field.data_type();
        // Bytes inside of lists would be taken for their text.
        let bytes = matches!(
            data_type,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView
        );
        let text = text_type(data_type).filter(|_| !bytes)?;
        Some(Arc::new(Field::new(
            field.name(),
            text,
            field.is_nullable(),
        )))
    };
    let text = match data_type {
        DataType::List(field) => DataType::List(inner(field)?),
        DataType::LargeList(field) => DataType::LargeList(inner(field)?),
        DataType::Struct(fields) => {
            let fields: Option<Vec<FieldRef>> = fields.iter().map(inner).collect();
            DataType::Struct(Fields::from(fields?))
        }
        other if takes_text(other) => DataType::Utf8,
        _ => return None,
    };
    can_cast_types(&text, data_type).then_some(text)
}

/// Cuts a text into objects.
struct Objects<R> {
    input: R,
    path: FilePath,
    /// Whether they are elements of an array.
    array: bool,
    /// What may come next, outside of objects.
    expects: Expects,
    /// Lines that ended so far.
    lines: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expects {
    /// The first object, or the end.
    First,
    /// An object, behind a comma.
    Object,
    /// A comma or the end, behind an object of an array.
    Comma,
    /// Nothing more.
    End,
}

impl<R: BufRead> Objects<R> {
    fn new(input: R, path: FilePath, array: Option<bool>) -> Result<Self, Error> {
        let mut objects = Self {
            input,
            path,
            array: false,
            expects: Expects::First,
            lines: 0,
        };
        if objects.buffer()?.starts_with(BYTE_ORDER_MARK) {
            objects.input.consume(BYTE_ORDER_MARK.len());
        }
        let begins = objects.skip_white()? == Some(b'[');
        match array {
            Some(true) if !begins => {
                return Err(objects.broken("the file does not begin with [, but ARRAY is true"));
            }
            Some(false) if begins => {
                return Err(objects.broken("the file begins with [, but ARRAY is false"));
            }
            _ => {}
        }
        if begins {
            objects.array = true;
            objects.input.consume(1);
        }
        Ok(objects)
    }

    fn buffer(&mut self) -> Result<&[u8], Error> {
        let path = &self.path;
        self.input
            .fill_buf()
            .map_err(|error| io_error(path, &error))
    }

    /// An error on the current line.
    fn broken(&self, reason: &str) -> Error {
        self.broken_at(self.lines + 1, reason)
    }

    fn broken_at(&self, line: u64, reason: &str) -> Error {
        invalid(format!("{} line {line}: {reason}", self.path.display()))
    }

    /// The next byte that is no white space.
    fn skip_white(&mut self) -> Result<Option<u8>, Error> {
        loop {
            let Some(byte) = self.buffer()?.first().copied() else {
                return Ok(None);
            };
            match byte {
                b'\n' => self.lines += 1,
                b' ' | b'\t' | b'\r' => {}
                other => return Ok(Some(other)),
            }
            self.input.consume(1);
        }
    }

    /// Appends the next object and tells its line; `None` at the end.
    fn next(&mut self, to: &mut Vec<u8>) -> Result<Option<u64>, Error> {
        loop {
            let Some(byte) = self.skip_white()? else {
                return match self.expects {
                    Expects::First | Expects::End if !self.array || self.ended() => Ok(None),
                    _ => Err(self.broken("the array never ends")),
                };
            };
            match (self.expects, byte) {
                (Expects::First | Expects::Object, b'{') => {
                    let line = self.lines + 1;
                    self.object(to, line)?;
                    if self.array {
                        self.expects = Expects::Comma;
                    }
                    return Ok(Some(line));
                }
                (Expects::Comma, b',') => self.expects = Expects::Object,
                (Expects::Comma | Expects::First, b']') if self.array => {
                    self.expects = Expects::End;
                }
                (Expects::End, _) => return Err(self.broken("text follows the array")),
                (Expects::Comma, _) => {
                    return Err(self.broken("a comma or ] is missing behind an object"));
                }
                _ => {
                    let found = char::from(byte);
                    let reason =
                        format!("expected an object, which begins with {{, found {found:?}");
                    return Err(self.broken(&reason));
                }
            }
            self.input.consume(1);
        }
    }

    fn ended(&self) -> bool {
        self.expects == Expects::End
    }

    /// Appends one object, from its first brace to its last.
    fn object(&mut self, to: &mut Vec<u8>, line: u64) -> Result<(), Error> {
        let start = to.len();
        let mut scan = Scan::default();
        while !scan.done {
            let buffer = self.buffer()?;
            if buffer.is_empty() {
                return Err(self.broken_at(line, "an object never ends"));
            }
            let used = scan.advance(buffer);
            to.extend_from_slice(buffer.get(..used).unwrap_or_default());
            self.input.consume(used);
            if scan.depth > MAX_DEPTH {
                let reason = format!("an object is nested deeper than {MAX_DEPTH} levels");
                return Err(self.broken_at(line, &reason));
            }
            if to.len() - start > MAX_RECORD_BYTES {
                let reason = format!(
                    "an object takes more than {MAX_RECORD_BYTES} bytes; is a brace or quote missing?"
                );
                return Err(self.broken_at(line, &reason));
            }
        }
        self.lines += scan.lines;
        Ok(())
    }
}

/// Looks for the end of an object.
#[derive(Debug, Default)]
struct Scan {
    depth: usize,
    in_text: bool,
    escaped: bool,
    lines: u64,
    done: bool,
}

impl Scan {
    /// Goes on, to the end of the object or of the buffer, and tells how far.
    fn advance(&mut self, buffer: &[u8]) -> usize {
        for (at, byte) in buffer.iter().enumerate() {
            if *byte == b'\n' {
                self.lines += 1;
            }
            if self.escaped {
                self.escaped = false;
                continue;
            }
            match byte {
                b'"' => self.in_text = !self.in_text,
                b'\\' if self.in_text => self.escaped = true,
                b'{' | b'[' if !self.in_text => self.depth += 1,
                b'}' | b']' if !self.in_text => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            if self.depth == 0 || self.depth > MAX_DEPTH {
                self.done = self.depth == 0;
                return at + 1;
            }
        }
        buffer.len()
    }
}
