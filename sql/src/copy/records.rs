//! Text into rows of fields.
//!
//! Invariant: line numbers are those of a text editor: they count the header and the line ends
//! inside quoted fields. A row is reported by the line on which it begins.

use std::io::BufRead;

use netabase_store::Error;

use super::FilePath;
use super::files::io_error;
use super::options::Dialect;
use crate::error::invalid;

/// The longest row: 64 MiB, what one frame of the store takes.
pub(super) const MAX_RECORD_BYTES: usize = 64 << 20;
/// What some editors write before UTF-8.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// One row of text.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// The text of all fields, unquoted, one after the other.
    pub(super) text: Vec<u8>,
    /// Where each field ends.
    pub(super) fields: Vec<FieldEnd>,
    /// The line on which the row begins.
    pub(super) line: u64,
}

impl Record {
    /// What it takes in memory: a field may be empty, but its end is kept.
    fn bytes(&self) -> usize {
        self.text.len() + size_of_val(self.fields.as_slice())
    }
}

/// The end of a field.
#[derive(Debug, Clone, Copy)]
pub(super) struct FieldEnd {
    /// Offset behind its last byte.
    pub(super) end: usize,
    /// Whether it was quoted.
    pub(super) quoted: bool,
}

/// Where the reader is in a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    FieldStart,
    Unquoted,
    Quoted,
    /// After a quote inside a quoted field: its end, or the first half of an escaped quote.
    QuoteSeen,
    /// After a character inside a quoted field that escapes, if it is not the quote itself.
    EscapeSeen,
}

/// Splits a file into records.
pub(super) struct Records<R> {
    input: R,
    path: FilePath,
    delimiter: u8,
    quote: u8,
    /// What stands before a quote inside of quotes.
    escape: u8,
    /// Whether an empty line is a row: of one column, which is empty.
    blank_rows: bool,
    /// Lines that ended so far.
    lines: u64,
}

impl<R: BufRead> Records<R> {
    /// Records of `input`, which may begin with a byte order mark.
    pub(super) fn new(mut input: R, path: FilePath, dialect: &Dialect) -> Result<Self, Error> {
        let buffer = input.fill_buf().map_err(|error| io_error(&path, &error))?;
        if buffer.starts_with(BYTE_ORDER_MARK) {
            input.consume(BYTE_ORDER_MARK.len());
        }
        Ok(Self {
            input,
            path,
            delimiter: dialect.delimiter,
            quote: dialect.quote,
            escape: dialect.escape,
            blank_rows: false,
            lines: 0,
        })
    }

    /// From here on an empty line is a row of one empty field.
    pub(super) fn take_blank_rows(&mut self) {
        self.blank_rows = true;
    }

    /// An error that names file and line.
    pub(super) fn broken(&self, line: u64, reason: &str) -> Error {
        invalid(format!("{} line {line}: {reason}", self.path.display()))
    }

    fn peek(&mut self) -> Result<Option<u8>, Error> {
        let buffer = self
            .input
            .fill_buf()
            .map_err(|error| io_error(&self.path, &error))?;
        Ok(buffer.first().copied())
    }

    /// Skips empty lines, and tells whether the file ends with them.
    fn skip_empty_lines(&mut self) -> Result<bool, Error> {
        loop {
            match self.peek()? {
                None => return Ok(true),
                Some(b'\n') => self.lines += 1,
                Some(b'\r') => {}
                Some(_) => return Ok(false),
            }
            self.input.consume(1);
        }
    }

    /// Reads one record; false at the end of the file.
    pub(super) fn next(&mut self, record: &mut Record) -> Result<bool, Error> {
        record.text.clear();
        record.fields.clear();
        record.line = self.lines + 1;
        let first = self.peek()?;
        if first.is_none() || (!self.blank_rows && matches!(first, Some(b'\n' | b'\r'))) {
            return match self.skip_empty_lines()? {
                true => Ok(false),
                false => Err(self.broken(record.line, "the line is empty")),
            };
        }
        let mut state = State::FieldStart;
        let mut quoted = false;
        loop {
            let Some(byte) = self.peek()? else {
                return self.end_of_file(record, state, quoted);
            };
            match state {
                State::FieldStart if byte == self.quote => {
                    quoted = true;
                    state = State::Quoted;
                    self.input.consume(1);
                }
                State::FieldStart => state = State::Unquoted,
                State::Quoted => state = self.quoted_part(record)?,
                State::QuoteSeen if byte == self.quote && self.escape == self.quote => {
                    record.text.push(byte);
                    state = State::Quoted;
                    self.input.consume(1);
                }
                State::EscapeSeen => {
                    // Before anything else than a quote or itself it is a character like others.
                    if byte != self.quote && byte != self.escape {
                        record.text.push(self.escape);
                    } else {
                        record.text.push(byte);
                        self.input.consume(1);
                    }
                    state = State::Quoted;
                }
                State::Unquoted | State::QuoteSeen => {
                    if state == State::Unquoted {
                        self.plain_part(record)?;
                    }
                    match self.field_end(record, quoted)? {
                        FieldSeparator::Record => return Ok(true),
                        FieldSeparator::Field => {
                            quoted = false;
                            state = State::FieldStart;
                        }
                        FieldSeparator::Continue => {}
                    }
                }
            }
            if record.bytes() > MAX_RECORD_BYTES {
                return Err(self.broken(
                    record.line,
                    &format!("a row takes more than {MAX_RECORD_BYTES} bytes; is a quote missing?"),
                ));
            }
        }
    }

    fn end_of_file(&self, record: &mut Record, state: State, quoted: bool) -> Result<bool, Error> {
        if matches!(state, State::Quoted | State::EscapeSeen) {
            return Err(self.broken(record.line, "a quoted field never ends"));
        }
        record.fields.push(FieldEnd {
            end: record.text.len(),
            quoted,
        });
        Ok(true)
    }

    /// Copies what is buffered of a quoted field up to its next quote or escape.
    fn quoted_part(&mut self, record: &mut Record) -> Result<State, Error> {
        let (quote, escape) = (self.quote, self.escape);
        let buffer = self
            .input
            .fill_buf()
            .map_err(|error| io_error(&self.path, &error))?;
        let end = buffer
            .iter()
            .position(|byte| *byte == quote || *byte == escape);
        let ended_by = end.and_then(|end| buffer.get(end)).copied();
        let part = buffer
            .get(..end.unwrap_or(buffer.len()))
            .unwrap_or_default();
        record.text.extend_from_slice(part);
        self.lines += part.iter().filter(|byte| **byte == b'\n').count() as u64;
        let used = part.len() + usize::from(end.is_some());
        self.input.consume(used);
        Ok(match ended_by {
            Some(byte) if byte == quote => State::QuoteSeen,
            Some(_) => State::EscapeSeen,
            None => State::Quoted,
        })
    }

    /// Copies what is buffered of a field without quotes.
    fn plain_part(&mut self, record: &mut Record) -> Result<(), Error> {
        let delimiter = self.delimiter;
        let buffer = self
            .input
            .fill_buf()
            .map_err(|error| io_error(&self.path, &error))?;
        let ends = |byte: &u8| *byte == delimiter || *byte == b'\n' || *byte == b'\r';
        let end = buffer.iter().position(ends).unwrap_or(buffer.len());
        record
            .text
            .extend_from_slice(buffer.get(..end).unwrap_or_default());
        self.input.consume(end);
        Ok(())
    }

    /// Looks at the byte after (a part of) a field.
    fn field_end(&mut self, record: &mut Record, quoted: bool) -> Result<FieldSeparator, Error> {
        let ended = FieldEnd {
            end: record.text.len(),
            quoted,
        };
        match self.peek()? {
            Some(byte) if byte == self.delimiter => {
                self.input.consume(1);
                record.fields.push(ended);
                Ok(FieldSeparator::Field)
            }
            Some(b'\n') => {
                self.input.consume(1);
                self.lines += 1;
                record.fields.push(ended);
                Ok(FieldSeparator::Record)
            }
            Some(b'\r') => {
                self.input.consume(1);
                match self.peek()? {
                    Some(b'\n') | None => {}
                    Some(_) if quoted => {
                        return Err(self.broken(record.line, "text follows a quoted field"));
                    }
                    Some(_) => record.text.push(b'\r'),
                }
                Ok(FieldSeparator::Continue)
            }
            None => Ok(FieldSeparator::Continue),
            Some(_) if quoted => Err(self.broken(record.line, "text follows a quoted field")),
            Some(_) => Ok(FieldSeparator::Continue),
        }
    }
}

/// What ended a field.
enum FieldSeparator {
    Field,
    Record,
    Continue,
}
