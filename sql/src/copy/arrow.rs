//! Arrow IPC, cast to the table's columns where nothing is lost.
//!
//! Purpose: both of its formats are read from their beginning to their end, because a file holds a
//! stream: magic bytes, the stream, a footer for those who jump.
//!
//! Invariants: nothing is set aside before it is known to be there; a stream without its end is an
//! error, and so is one that the reader panics on.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, ErrorKind as IoErrorKind, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::buffer::{Buffer, MutableBuffer};
use arrow::datatypes::SchemaRef;
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::{read_dictionary, read_record_batch};
use arrow::ipc::{Message, MessageHeader, root_as_message};
use arrow::record_batch::RecordBatch;
use netabase_store::{Error, MAX_DECODED_BYTES, check_announced};

use super::columns::{Matched, check_types, convert};
use super::files::io_error;
use super::{FilePath, Owner, Part, Place, RowReader};
use crate::error::invalid;

/// First and last bytes of a file.
const MAGIC: &[u8; 6] = b"ARROW1";
/// Bytes before the stream in a file: the magic bytes, padded.
const FILE_PREFIX_BYTES: u64 = 8;
/// Most bytes before the stream, whatever a writer aligns to.
const MAX_PADDING_BYTES: u64 = 4096;
/// First bytes of every message.
const CONTINUATION: [u8; 4] = [0xff; 4];
/// Most bytes of what describes a message.
const MAX_HEADER_BYTES: u64 = 16 << 20;
/// Bytes of a file read at once.
const READ_BYTES: usize = 1 << 20;

/// Reads the rows of a file.
pub(super) struct ArrowReader {
    messages: Messages,
    path: FilePath,
    schema: SchemaRef,
    dictionaries: HashMap<i64, ArrayRef>,
    matched: Matched,
    rows: u64,
    batches: u64,
}

impl ArrowReader {
    /// Reads the schema, and matches the columns.
    pub(super) fn new(
        (file, bytes): (File, u64),
        path: FilePath,
        owner: &Owner,
    ) -> Result<Self, Error> {
        let wrong = |reason: String| {
            invalid(format!(
                "{} is not an Arrow file or stream, or damaged: {reason}",
                path.display()
            ))
        };
        let mut messages = Messages::new(file, bytes, &path)?;
        let first = messages.next(&path)?;
        let (header, _) = first.ok_or_else(|| wrong("it has no schema".to_owned()))?;
        let schema = guarded(|| {
            let message = root_as_message(&header).map_err(|error| error.to_string())?;
            let schema = message
                .header_as_schema()
                .ok_or("it begins with no schema")?;
            Ok(Arc::new(fb_to_schema(schema)))
        });
        let schema = schema.map_err(wrong)?;
        let fields = schema.fields().iter();
        let names: Vec<String> = fields.map(|field| field.name().clone()).collect();
        let matched = Matched::new(&path, &owner.def, &names, &owner.chosen)?;
        check_types(&path, &owner.def, &schema, &matched)?;
        Ok(Self {
            messages,
            path,
            schema,
            dictionaries: HashMap::new(),
            matched,
            rows: 0,
            batches: 0,
        })
    }

    /// Reads a message: rows, or a dictionary.
    fn read(&mut self, header: &[u8], body: &Buffer) -> Result<Option<RecordBatch>, String> {
        let (schema, dictionaries) = (&self.schema, &mut self.dictionaries);
        guarded(|| {
            let message = root_as_message(header).map_err(|error| error.to_string())?;
            let mut budget = MAX_DECODED_BYTES;
            check_announced(&message, body, &mut budget)?;
            decode(&message, body, schema, dictionaries)
        })
    }
}

fn decode(
    message: &Message<'_>,
    body: &Buffer,
    schema: &SchemaRef,
    dictionaries: &mut HashMap<i64, ArrayRef>,
) -> Result<Option<RecordBatch>, String> {
    let version = message.version();
    if let Some(batch) = message.header_as_record_batch() {
        let schema = Arc::clone(schema);
        return read_record_batch(body, batch, schema, dictionaries, None, &version)
            .map(Some)
            .map_err(|error| error.to_string());
    }
    match (message.header_as_dictionary_batch(), message.header_type()) {
        (Some(batch), _) => {
            read_dictionary(body, batch, schema, dictionaries, &version)
                .map_err(|error| error.to_string())?;
            Ok(None)
        }
        (None, MessageHeader::NONE) => Ok(None),
        (None, other) => Err(format!("a message of type {other:?} is not expected")),
    }
}

impl RowReader for ArrowReader {
    fn next(&mut self) -> Result<Option<Part>, Error> {
        while let Some((header, body)) = self.messages.next(&self.path)? {
            let batch = self.read(&header, &body).map_err(|reason| {
                invalid(format!(
                    "{} is damaged in batch {}: {reason}",
                    self.path.display(),
                    self.batches + 1
                ))
            })?;
            if let Some(batch) = batch {
                self.batches += 1;
                let rows = convert(&self.path, &self.matched, &batch)?;
                let place = Place::After(self.rows);
                self.rows += rows.num_rows() as u64;
                return Ok(Some(Part {
                    rows,
                    given: self.matched.given(),
                    place,
                }));
            }
        }
        Ok(None)
    }

    fn bytes_read(&self) -> u64 {
        self.messages.at
    }
}

/// The messages of a stream, whole.
struct Messages {
    input: BufReader<File>,
    /// Where the stream goes on, and where the file ends.
    at: u64,
    end: u64,
    /// Whether its end was read.
    ended: bool,
}

impl Messages {
    fn new(mut file: File, bytes: u64, path: &FilePath) -> Result<Self, Error> {
        let failed = |error: std::io::Error| io_error(path, &error);
        let mut first = [0; MAGIC.len()];
        let is_file = bytes >= FILE_PREFIX_BYTES && {
            file.read_exact(&mut first).map_err(failed)?;
            &first == MAGIC
        };
        if is_file {
            let mut last = [0; MAGIC.len()];
            file.seek(SeekFrom::End(-(MAGIC.len() as i64)))
                .and_then(|_| file.read_exact(&mut last))
                .map_err(failed)?;
            if &last != MAGIC {
                return Err(invalid(format!(
                    "{} is an Arrow file without its end: it is damaged, or was never finished",
                    path.display()
                )));
            }
        }
        let at = match is_file {
            true => after_padding(&mut file).map_err(failed)?,
            false => 0,
        };
        file.seek(SeekFrom::Start(at)).map_err(failed)?;
        Ok(Self {
            input: BufReader::with_capacity(READ_BYTES, file),
            at,
            end: bytes,
            ended: false,
        })
    }

    /// The next message and its body; `None` at the end of the stream.
    fn next(&mut self, path: &FilePath) -> Result<Option<(Vec<u8>, Buffer)>, Error> {
        if self.ended {
            return Ok(None);
        }
        let damaged = |reason: &str| {
            invalid(format!(
                "{} is not an Arrow file or stream, or damaged: {reason}",
                path.display()
            ))
        };
        let mut prefix = [0; 4];
        self.fill(&mut prefix, path)?;
        if prefix == CONTINUATION {
            self.fill(&mut prefix, path)?;
        }
        let length = u64::from(u32::from_le_bytes(prefix));
        if length == 0 {
            self.ended = true;
            return Ok(None);
        }
        if length > MAX_HEADER_BYTES.min(self.left()) {
            return Err(damaged("a message is longer than it can be"));
        }
        let mut header = vec![0; length as usize];
        self.fill(&mut header, path)?;
        let body = guarded(|| {
            let message = root_as_message(&header).map_err(|error| error.to_string())?;
            Ok(message.bodyLength())
        });
        let body = body.map_err(|reason| damaged(&reason))?;
        let length = u64::try_from(body).unwrap_or(u64::MAX);
        if length > self.left() {
            return Err(damaged("it ends in the middle of its rows"));
        }
        if length > MAX_DECODED_BYTES {
            return Err(invalid(format!(
                "{} has a batch of {length} bytes; write it in batches of at most \
                 {MAX_DECODED_BYTES} bytes",
                path.display()
            )));
        }
        let mut body = MutableBuffer::from_len_zeroed(length as usize);
        self.fill(&mut body, path)?;
        Ok(Some((header, body.into())))
    }

    fn left(&self) -> u64 {
        self.end.saturating_sub(self.at)
    }

    fn fill(&mut self, to: &mut [u8], path: &FilePath) -> Result<(), Error> {
        self.input
            .read_exact(to)
            .map_err(|error| match error.kind() {
                IoErrorKind::UnexpectedEof => invalid(format!(
                    "{} ends before its last row: it is no Arrow file or stream, or was never \
                     finished",
                    path.display()
                )),
                _ => io_error(path, &error),
            })?;
        self.at += to.len() as u64;
        Ok(())
    }
}

/// Where the stream begins in a file, behind the magic bytes and zeros up to some alignment.
fn after_padding(file: &mut File) -> std::io::Result<u64> {
    let mut at = FILE_PREFIX_BYTES;
    file.seek(SeekFrom::Start(at))?;
    let mut word = [0; FILE_PREFIX_BYTES as usize];
    while at < MAX_PADDING_BYTES {
        file.read_exact(&mut word)?;
        if word != [0; FILE_PREFIX_BYTES as usize] {
            break;
        }
        at += FILE_PREFIX_BYTES;
    }
    Ok(at)
}

/// Runs a step of arrow's reader, which panics on some damaged files.
fn guarded<T>(step: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(step)).unwrap_or_else(|_| Err("it is malformed".to_owned()))
}
