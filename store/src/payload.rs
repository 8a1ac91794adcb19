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
use arrow_ipc::{CompressionType, MetadataVersion};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ids::TableId;
use crate::mem::{Incoming, Stamps};
use crate::write::Change;

/// Rows smaller than this, in bytes, are not compressed.
const MIN_COMPRESSED_BYTES: usize = 64 << 10;
/// Alignment of the buffers in the stream, in bytes; the least that arrow reads without a copy.
const ALIGNMENT: usize = 8;

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

/// The reader of arrow panics on some streams that are not what its writer makes; a good checksum
/// does not rule them out.
fn read_stream(stream: &[u8]) -> Result<RecordBatch, String> {
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
