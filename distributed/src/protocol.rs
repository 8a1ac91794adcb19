//! Messages between peers, and the limits under which they are decoded.
//!
//! Two services share one gRPC connection per pair of peers: datafusion-distributed's `Worker`, and
//! `Replica`, whose two methods carry the enums below: `Call` (one question, one answer) and `Read`
//! (one question, a stream of parts). Gossip carries [`Gossip`] on a fixed set of topics.
//!
//! Every enum is append-only: variants are numbered by position on the wire.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use netabase_store::{Change, Error, ErrorKind, TableId};
use serde::{Deserialize, Serialize};

use crate::counters::Counters;
use crate::settings::Role;

/// Largest message of the data plane, in bytes.
pub(crate) const MAX_MESSAGE: usize = 64 * 1024 * 1024;
/// Rows travel in parts of about this many bytes.
pub(crate) const PART_BYTES: usize = 4 * 1024 * 1024;
/// Largest gossip message, in bytes; gossipsub's own default.
pub(crate) const MAX_GOSSIP: usize = 64 * 1024;
/// Largest encoded plan of one stage, in bytes.
pub(crate) const MAX_PLAN: usize = 4 * 1024 * 1024;
/// Most peers in one greeting, and addresses of each.
pub(crate) const MAX_NEIGHBOURS: usize = 64;
pub(crate) const MAX_NEIGHBOUR_ADDRESSES: usize = 8;
/// Most table definitions in one answer.
pub(crate) const MAX_TABLES: usize = 10_000;

/// A blake3 hash.
pub(crate) type Hash = [u8; 32];

/// One shard as its holder sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holding {
    pub shard: u32,
    pub rows: u64,
    pub bytes: u64,
    pub digest: Hash,
}

/// What a peer holds. Later sequence numbers replace earlier ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Announcement {
    /// Microseconds since 1970 when it was made: grows over restarts, too.
    pub sequence: u64,
    pub role: Role,
    pub tables: Vec<(TableId, Vec<Holding>)>,
}

/// A question to a peer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Call {
    /// Everything a newcomer needs; carries the same of the asker.
    Hello(Greeting),
    /// A signed definition to store.
    Define(Vec<u8>),
    /// Rows of one shard to store.
    Apply(Part),
    /// The plan with this hash, which the asked peer offered.
    Plan(Hash),
    /// The peer's counters.
    Counters,
}

/// Who a peer is, what it knows and holds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Greeting {
    pub definitions: Vec<Vec<u8>>,
    /// Other peers, so that a newcomer meets the holders of all shards at once.
    pub neighbours: Vec<Neighbour>,
    pub announcement: Announcement,
}

/// A peer and where it can be dialled.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Neighbour {
    pub id: String,
    pub addresses: Vec<String>,
}

/// Rows on their way to a replica.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Part {
    pub table: TableId,
    pub shard: u32,
    pub delete: bool,
    pub version: u64,
    pub author: String,
    pub rows: Vec<u8>,
}

impl Part {
    pub(crate) fn change(&self) -> Change {
        if self.delete {
            Change::Delete
        } else {
            Change::Upsert
        }
    }
}

/// The answer to a [`Call`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Greeting(Greeting),
    Done,
    Plan(Vec<u8>),
    Counters(Box<Counters>),
    Failed(Failure),
}

/// An error on its way to the asker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Failure {
    kind: u8,
    message: String,
}

const KINDS: [ErrorKind; 7] = [
    ErrorKind::InvalidInput,
    ErrorKind::NotFound,
    ErrorKind::Conflict,
    ErrorKind::Capacity,
    ErrorKind::Unavailable,
    ErrorKind::Corrupt,
    ErrorKind::Io,
];

impl From<&Error> for Failure {
    fn from(e: &Error) -> Self {
        let kind = KINDS.iter().position(|k| *k == e.kind()).unwrap_or(4);
        Self {
            kind: u8::try_from(kind).unwrap_or(4),
            message: e.to_string(),
        }
    }
}

impl From<Failure> for Error {
    fn from(f: Failure) -> Self {
        let kind = KINDS.get(usize::from(f.kind)).copied();
        Error::new(kind.unwrap_or(ErrorKind::Unavailable), f.message)
    }
}

/// A request for a stream.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Read {
    /// Rows of the given shards that satisfy an encoded scan request; items are IPC batches.
    Scan {
        table: TableId,
        shards: Vec<u32>,
        request: Vec<u8>,
    },
    /// A whole shard with versions and tombstones; items are encoded [`Part`]s.
    Export { table: TableId, shard: u32 },
}

/// A gossip message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Gossip {
    /// A signed definition.
    Definition(Vec<u8>),
    /// What the sender holds.
    Holdings(Announcement),
    /// The sender's holdings changed and do not fit a message: ask for them.
    HoldingsChanged,
    /// The plan of one stage. Its key is the hash of its bytes.
    Plan {
        /// Milliseconds since 1970 after which nobody waits for an answer.
        deadline: u64,
        /// Peers that may get a task of it.
        assignment: Vec<String>,
        plan: Vec<u8>,
    },
    /// The sender leaves in good order; the number is larger than its announcements' before.
    Goodbye(u64),
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    postcard::to_stdvec(value)
        .map_err(|e| Error::new(ErrorKind::Corrupt, format!("cannot encode a message: {e}")))
}

pub(crate) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Error> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        _ => Err(Error::new(
            ErrorKind::InvalidInput,
            "a peer sent a malformed message; do both run the same release?",
        )),
    }
}

/// One batch as a self-contained Arrow IPC stream. View columns are compacted first: a slice of a
/// large one would otherwise carry all of its buffers.
pub(crate) fn encode_batch(batch: &RecordBatch) -> Result<Vec<u8>, Error> {
    let columns = batch.columns().iter().map(compact).collect();
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let write = || -> Result<Vec<u8>, arrow::error::ArrowError> {
        let batch = RecordBatch::try_new_with_options(batch.schema(), columns, &options)?;
        let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
        writer.write(&batch)?;
        writer.into_inner()
    };
    write().map_err(|e| Error::new(ErrorKind::Corrupt, format!("cannot encode rows: {e}")))
}

fn compact(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Utf8View => std::sync::Arc::new(column.as_string_view().gc()),
        DataType::BinaryView => std::sync::Arc::new(column.as_binary_view().gc()),
        _ => std::sync::Arc::clone(column),
    }
}

/// Reverses [`encode_batch`]; Arrow's reader checks offsets, lengths and UTF-8.
pub(crate) fn decode_batch(bytes: &[u8]) -> Result<RecordBatch, Error> {
    let bad = |e: String| Error::new(ErrorKind::InvalidInput, format!("malformed rows: {e}"));
    refuse_compression(bytes)?;
    let mut reader = StreamReader::try_new(bytes, None).map_err(|e| bad(e.to_string()))?;
    match (reader.next(), reader.next()) {
        (Some(batch), None) => batch.map_err(|e| bad(e.to_string())),
        _ => Err(bad("expected exactly one batch".into())),
    }
}

/// A compressed buffer says by itself how much memory it wants; peers send theirs plain.
fn refuse_compression(mut bytes: &[u8]) -> Result<(), Error> {
    const CONTINUATION: usize = 4;
    let bad = || {
        Error::new(
            ErrorKind::InvalidInput,
            "malformed rows: no Arrow IPC stream",
        )
    };
    while bytes.len() > 2 * CONTINUATION {
        let length = bytes.get(CONTINUATION..2 * CONTINUATION).ok_or_else(bad)?;
        let length = u32::from_le_bytes(length.try_into().map_err(|_| bad())?) as usize;
        if length == 0 {
            return Ok(());
        }
        let rest = bytes.get(2 * CONTINUATION..).ok_or_else(bad)?;
        let (head, body) = rest.split_at_checked(length).ok_or_else(bad)?;
        let message = arrow_ipc::root_as_message(head).map_err(|_| bad())?;
        let dictionary = message.header_as_dictionary_batch().and_then(|d| d.data());
        let batch = message.header_as_record_batch().or(dictionary);
        if batch.is_some_and(|b| b.compression().is_some()) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "compressed rows are refused",
            ));
        }
        let body_length = usize::try_from(message.bodyLength()).map_err(|_| bad())?;
        bytes = body.get(body_length..).ok_or_else(bad)?;
    }
    Ok(())
}

/// Cuts a batch into parts of about [`PART_BYTES`].
pub(crate) fn cut(batch: &RecordBatch) -> Vec<RecordBatch> {
    let rows = batch.num_rows();
    let parts = batch.get_array_memory_size().div_ceil(PART_BYTES).max(1);
    let step = rows.div_ceil(parts).max(1);
    (0..rows)
        .step_by(step)
        .map(|start| batch.slice(start, step.min(rows - start)))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringViewArray};

    use super::*;

    #[test]
    fn rows_survive_cutting_and_travel_compactly() {
        let n = 200_000;
        let text =
            StringViewArray::from_iter_values((0..n).map(|i| format!("a rather long value {i}")));
        let keys = Int64Array::from_iter_values(0..n);
        let batch = RecordBatch::try_from_iter([
            ("k", Arc::new(keys) as ArrayRef),
            ("v", Arc::new(text) as ArrayRef),
        ])
        .unwrap();
        let parts = cut(&batch);
        assert!(parts.len() > 1);
        assert_eq!(
            parts.iter().map(RecordBatch::num_rows).sum::<usize>(),
            n as usize
        );
        let first = encode_batch(&parts[0].slice(0, 10)).unwrap();
        assert!(first.len() < 4096, "{}", first.len());
        assert_eq!(decode_batch(&first).unwrap(), batch.slice(0, 10));
        assert!(decode_batch(&first[..first.len() / 2]).is_err());
    }

    #[test]
    fn compressed_rows_are_refused_before_they_are_unpacked() {
        let values = Int64Array::from_iter_values(0..10_000);
        let batch = RecordBatch::try_from_iter([("v", Arc::new(values) as ArrayRef)]).unwrap();
        let options = arrow_ipc::writer::IpcWriteOptions::default()
            .try_with_compression(Some(arrow_ipc::CompressionType::LZ4_FRAME))
            .unwrap();
        let mut writer =
            StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options).unwrap();
        writer.write(&batch).unwrap();
        let bytes = writer.into_inner().unwrap();
        let error = decode_batch(&bytes).unwrap_err().to_string();
        assert!(error.contains("compressed"), "{error}");
    }

    #[test]
    fn errors_keep_their_kind() {
        for kind in KINDS {
            let sent = Failure::from(&Error::new(kind, "x"));
            assert_eq!(Error::from(sent).kind(), kind);
        }
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut bytes = encode(&Call::Counters).unwrap();
        assert!(decode::<Call>(&bytes).is_ok());
        bytes.push(0);
        assert!(decode::<Call>(&bytes).is_err());
    }
}
