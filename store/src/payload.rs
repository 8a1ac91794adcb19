//! The payload of a write in the log.
//!
//! ```text
//! postcard list of parts (table, shard, change, stamps, bytes of rows) | rows | rows | …
//! ```
//!
//! The rows of each part are an Arrow IPC stream with one batch, compressed (LZ4) when large.
//! Invariant: what `encode` wrote, `decode` reads, bit for bit.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow_ipc::{CompressionType, MetadataVersion, root_as_message};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ids::TableId;
use crate::mem::{Incoming, Stamps};
use crate::write::Change;

/// Rows smaller than this, in bytes, are not compressed.
const MIN_COMPRESSED_BYTES: usize = 64 << 10;
/// Alignment of the buffers in the stream, in bytes; the least that arrow reads without a copy.
const ALIGNMENT: usize = 8;

/// First bytes of every message of a stream.
const CONTINUATION: [u8; 4] = [0xff; 4];
/// Those, and the length of what describes the message.
const MESSAGE_PREFIX_BYTES: usize = 8;
/// LZ4 makes at most so many bytes of one.
const MAX_LZ4_RATIO: u64 = 256;

#[derive(Debug, Serialize, Deserialize)]
struct PartHeader {
    table: TableId,
    shard: u32,
    change: Change,
    stamps: Stamps,
    bytes: u64,
}

/// A part to be encoded: where, how, when, what, and about how many bytes.
pub(crate) struct PartRef<'a> {
    pub(crate) table: TableId,
    pub(crate) shard: u32,
    pub(crate) change: Change,
    pub(crate) stamps: &'a Stamps,
    pub(crate) rows: &'a RecordBatch,
    pub(crate) bytes: usize,
}

pub(crate) fn encode<'a>(parts: impl Iterator<Item = PartRef<'a>>) -> Result<Vec<u8>> {
    let mut headers = Vec::new();
    let mut streams = Vec::new();
    for part in parts {
        let start = streams.len();
        streams = write_stream(streams, part.rows, part.bytes)
            .map_err(|error| Error::arrow("encode rows for the log", error))?;
        headers.push(PartHeader {
            table: part.table,
            shard: part.shard,
            change: part.change,
            stamps: part.stamps.clone(),
            bytes: (streams.len() - start) as u64,
        });
    }
    let mut payload = postcard::to_extend(&headers, Vec::new())
        .map_err(|error| Error::invalid(format!("encode a write for the log: {error}")))?;
    payload.append(&mut streams);
    Ok(payload)
}

fn write_stream(
    to: Vec<u8>,
    rows: &RecordBatch,
    bytes: usize,
) -> Result<Vec<u8>, arrow::error::ArrowError> {
    let compression = (bytes >= MIN_COMPRESSED_BYTES).then_some(CompressionType::LZ4_FRAME);
    let options = IpcWriteOptions::try_new(ALIGNMENT, false, MetadataVersion::V5)?
        .try_with_compression(compression)?;
    let mut writer = StreamWriter::try_new_with_options(to, &rows.schema(), options)?;
    writer.write(rows)?;
    writer.into_inner()
}

/// Fails if a stream announces more bytes than it has, or than its compressed ones can become: the
/// reader of arrow sets them aside before it looks, which may end the process.
fn check_lengths(mut stream: &[u8]) -> Result<(), String> {
    let short = || "rows are shorter than announced".to_owned();
    while let Some((prefix, after)) = stream.split_first_chunk::<MESSAGE_PREFIX_BYTES>() {
        let [c0, c1, c2, c3, len @ ..] = *prefix;
        let len = u32::from_le_bytes(len) as usize;
        if [c0, c1, c2, c3] != CONTINUATION || len == 0 {
            break;
        }
        let (meta, after) = after.split_at_checked(len).ok_or_else(short)?;
        // A copy, because flatbuffers are aligned.
        let meta = meta.to_vec();
        let message = root_as_message(&meta).map_err(|error| error.to_string())?;
        let body = usize::try_from(message.bodyLength()).map_err(|error| error.to_string())?;
        let (body, rest) = after.split_at_checked(body).ok_or_else(short)?;
        if let Some(batch) = message.header_as_record_batch() {
            check_compressed(batch, body)?;
        }
        stream = rest;
    }
    Ok(())
}

/// Every compressed buffer begins with the length that it has otherwise.
fn check_compressed(batch: arrow_ipc::RecordBatch<'_>, body: &[u8]) -> Result<(), String> {
    if batch.compression().is_none() {
        return Ok(());
    }
    for buffer in batch.buffers().into_iter().flatten() {
        let start = usize::try_from(buffer.offset()).unwrap_or(usize::MAX);
        let length = u64::try_from(buffer.length()).unwrap_or(u64::MAX);
        // An empty one says nothing.
        if length == 0 {
            continue;
        }
        let announced = body.get(start..).and_then(<[u8]>::first_chunk);
        let announced = announced.map_or(-1, |bytes| i64::from_le_bytes(*bytes));
        let most = length.saturating_mul(MAX_LZ4_RATIO);
        // -1 means that the buffer was left as it is.
        if u64::try_from(announced).is_ok_and(|announced| announced > most) {
            return Err("rows announce more bytes than they can have".to_owned());
        }
    }
    Ok(())
}

/// The reader of arrow panics on some streams that are not what its writer makes; a good checksum
/// does not rule them out.
fn read_stream(stream: &[u8]) -> Result<RecordBatch, String> {
    check_lengths(stream)?;
    let read = || {
        StreamReader::try_new(stream, None)
            .and_then(|mut reader| reader.next().transpose())
            .map_err(|error| error.to_string())?
            .ok_or_else(|| "a part has no rows".to_owned())
    };
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err("rows are malformed".to_owned()))
}

/// Fails with the reason, as text, if the payload is not what `encode` writes.
pub(crate) fn decode(payload: &[u8]) -> Result<Vec<Incoming>, String> {
    let (headers, mut rest): (Vec<PartHeader>, _) =
        postcard::take_from_bytes(payload).map_err(|error| error.to_string())?;
    let mut parts = Vec::with_capacity(headers.len());
    for header in headers {
        let len = usize::try_from(header.bytes).map_err(|error| error.to_string())?;
        let (stream, after) = rest
            .split_at_checked(len)
            .ok_or("rows are shorter than announced")?;
        rest = after;
        let rows = read_stream(stream)?;
        if !header.stamps.covers(rows.num_rows()) {
            return Err("stamps do not match the rows".to_owned());
        }
        parts.push(Incoming {
            table: header.table,
            shard: header.shard,
            change: header.change,
            stamps: header.stamps,
            rows,
        });
    }
    if rest.is_empty() {
        Ok(parts)
    } else {
        Err("bytes follow the last part".to_owned())
    }
}
