//! The payload of a write in the log.
//!
//! ```text
//! postcard list of parts (table, shard, change, stamps, bytes of rows) | rows | rows | …
//! ```
//!
//! The rows of each part are an Arrow IPC stream with one batch, compressed when large: as the table
//! says, with LZ4 if it says nothing.
//! Invariant: what `encode` wrote, `decode` reads, bit for bit (what would be too large for that is
//! refused); and whatever bytes it is given, it sets aside no more than twice [`MAX_DECODED_BYTES`].

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::{
    DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions, StreamWriter,
    write_message,
};
use arrow_ipc::{BodyCompression, CompressionType, Message, MetadataVersion, root_as_message};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ids::TableId;
use crate::mem::{Incoming, Stamps};
use crate::segment::Codec;
use crate::write::Change;

/// Rows smaller than this, in bytes, are not compressed.
const MIN_COMPRESSED_BYTES: usize = 64 << 10;
/// Highest level of zstd for rows in the log: somebody waits for them.
const MAX_ZSTD_LEVEL: i32 = 3;
/// Most bytes of the buffers of a write, or of a message of a stream, once they are decompressed. A
/// write has 256 MiB of rows at most, to which the stream adds bitmaps.
pub const MAX_DECODED_BYTES: u64 = 512 << 20;
/// Alignment of the buffers in the stream, in bytes; the least that arrow reads without a copy.
const ALIGNMENT: usize = 8;

/// First bytes of every message of a stream.
const CONTINUATION: [u8; 4] = [0xff; 4];
/// Those, and the length of what describes the message.
const MESSAGE_PREFIX_BYTES: usize = 8;
/// Last bytes of a stream: a message without a length.
const END_OF_STREAM: [u8; MESSAGE_PREFIX_BYTES] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
/// LZ4 makes at most so many bytes of one.
const MAX_LZ4_RATIO: u64 = 256;
/// First bytes of an LZ4 frame.
const LZ4_MAGIC: [u8; 4] = 0x184D_2204_u32.to_le_bytes();
/// Set in the length of a block that is not compressed.
const LZ4_PLAIN_BLOCK: u32 = 1 << 31;

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
    /// What the table says about compression.
    pub(crate) codec: Option<Codec>,
    /// Of the rows' schema, where it is at hand.
    pub(crate) head: Option<&'a StreamHead>,
}

/// How the stream of every batch of a schema begins. Kept, because making it takes longer than the
/// rows of a small write.
#[derive(Debug)]
pub(crate) struct StreamHead(Vec<u8>);

impl StreamHead {
    /// `None` if the rows of the schema do not follow at once, because they have dictionaries, or if
    /// there can be no stream of it.
    pub(crate) fn of(schema: &Schema) -> Option<Self> {
        let fields = schema.flattened_fields();
        let has_dictionary = |field: &&Field| matches!(field.data_type(), DataType::Dictionary(..));
        if fields.iter().any(has_dictionary) {
            return None;
        }
        let options = stream_options(None, None).ok()?;
        let writer = StreamWriter::try_new_with_options(Vec::new(), schema, options).ok()?;
        let mut stream = writer.into_inner().ok()?;
        stream.truncate(stream.len().checked_sub(END_OF_STREAM.len())?);
        Some(Self(stream))
    }
}

pub(crate) fn encode<'a>(parts: impl Iterator<Item = PartRef<'a>>) -> Result<Vec<u8>> {
    let mut headers = Vec::new();
    let mut streams = Vec::new();
    let mut budget = MAX_DECODED_BYTES;
    for part in parts {
        let start = streams.len();
        streams = write_stream(streams, &part)
            .map_err(|error| Error::arrow("encode rows for the log", error))?;
        // Columns that share a buffer in memory have one each in the stream.
        if part.bytes >= MIN_COMPRESSED_BYTES {
            let stream = streams.get(start..).unwrap_or_default();
            check_lengths(stream, &mut budget).map_err(|_| {
                Error::invalid(format!(
                    "the columns of this write have more than {MAX_DECODED_BYTES} bytes, each by \
                     itself: split it into smaller writes"
                ))
            })?;
        }
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

fn write_stream(to: Vec<u8>, part: &PartRef<'_>) -> Result<Vec<u8>, ArrowError> {
    let (compression, level) = match part.codec {
        _ if part.bytes < MIN_COMPRESSED_BYTES => (None, None),
        Some(Codec::None) => (None, None),
        Some(Codec::Zstd(level)) => {
            let level = level.clamp(1, MAX_ZSTD_LEVEL);
            (Some(CompressionType::ZSTD), Some(level))
        }
        Some(Codec::Lz4) | None => (Some(CompressionType::LZ4_FRAME), None),
    };
    let options = stream_options(compression, level)?;
    // The writer of streams copies large rows once less.
    if let Some(head) = part.head
        && part.bytes < MIN_COMPRESSED_BYTES
    {
        return write_after(head, to, part.rows, &options);
    }
    let mut writer = StreamWriter::try_new_with_options(to, &part.rows.schema(), options)?;
    writer.write(part.rows)?;
    writer.into_inner()
}

fn stream_options(
    compression: Option<CompressionType>,
    level: Option<i32>,
) -> Result<IpcWriteOptions, ArrowError> {
    IpcWriteOptions::try_new(ALIGNMENT, false, MetadataVersion::V5)?
        .try_with_compression(compression)?
        .try_with_compression_level(level)
}

/// The same bytes as a writer of streams makes.
fn write_after(
    head: &StreamHead,
    mut to: Vec<u8>,
    rows: &RecordBatch,
    options: &IpcWriteOptions,
) -> Result<Vec<u8>, ArrowError> {
    to.extend_from_slice(&head.0);
    let mut dictionaries = DictionaryTracker::new(false);
    let context = &mut IpcWriteContext::default();
    let generator = IpcDataGenerator::default();
    let (_none, rows) = generator.encode(rows, &mut dictionaries, options, context)?;
    write_message(&mut to, rows, options)?;
    to.extend_from_slice(&END_OF_STREAM);
    Ok(to)
}

/// Fails if a stream announces more bytes than it has, or than `budget` allows once decompressed, and
/// takes these from it: the reader of arrow sets them aside before it looks, which may end the
/// process.
fn check_lengths(mut stream: &[u8], budget: &mut u64) -> Result<(), String> {
    let short = || "rows are shorter than announced".to_owned();
    while !stream.is_empty() {
        let (prefix, after) = stream
            .split_first_chunk::<MESSAGE_PREFIX_BYTES>()
            .ok_or_else(short)?;
        let [c0, c1, c2, c3, len @ ..] = *prefix;
        let len = u32::from_le_bytes(len) as usize;
        // Without the mark, the reader takes these bytes themselves for a length.
        if [c0, c1, c2, c3] != CONTINUATION {
            return Err("rows do not begin like a message".to_owned());
        }
        if len == 0 {
            break;
        }
        let (meta, after) = after.split_at_checked(len).ok_or_else(short)?;
        // A copy, because flatbuffers are aligned.
        let meta = meta.to_vec();
        let message = root_as_message(&meta).map_err(|error| error.to_string())?;
        let body = usize::try_from(message.bodyLength()).map_err(|error| error.to_string())?;
        let (body, rest) = after.split_at_checked(body).ok_or_else(short)?;
        check_announced(&message, body, budget)?;
        stream = rest;
    }
    Ok(())
}

/// Fails if the buffers of a message announce more bytes than `budget` allows once they are
/// decompressed, and takes these from it. `body` is what follows the message.
///
/// # Errors
/// The reason, as text.
pub fn check_announced(
    message: &Message<'_>,
    body: &[u8],
    budget: &mut u64,
) -> std::result::Result<(), String> {
    let of_dictionary = message.header_as_dictionary_batch();
    let batch = of_dictionary.and_then(|dictionary| dictionary.data());
    if let Some(batch) = message.header_as_record_batch().or(batch)
        && let Some(compression) = batch.compression()
    {
        check_compressed(batch, compression, body, budget)?;
    }
    Ok(())
}

/// Every compressed buffer begins with the length that it has otherwise.
fn check_compressed(
    batch: arrow_ipc::RecordBatch<'_>,
    compression: BodyCompression<'_>,
    body: &[u8],
    budget: &mut u64,
) -> Result<(), String> {
    let lz4 = compression.codec() == CompressionType::LZ4_FRAME;
    for buffer in batch.buffers().into_iter().flatten() {
        let start = usize::try_from(buffer.offset()).unwrap_or(usize::MAX);
        let length = usize::try_from(buffer.length()).unwrap_or(usize::MAX);
        let end = start.saturating_add(length).min(body.len());
        let bytes = body.get(start..end).unwrap_or_default();
        // An empty one says nothing, and -1 means that the buffer was left as it is.
        let Some((announced, frame)) = bytes.split_first_chunk() else {
            continue;
        };
        let Ok(announced) = u64::try_from(i64::from_le_bytes(*announced)) else {
            continue;
        };
        let too_many = || "rows announce more bytes than they can have".to_owned();
        if lz4 && announced > (length as u64).saturating_mul(MAX_LZ4_RATIO) {
            return Err(too_many());
        }
        // Unlike zstd's, the decoder of LZ4 goes on behind what was announced.
        if lz4 && announced > 0 && lz4_most(frame) > MAX_DECODED_BYTES {
            return Err(too_many());
        }
        *budget = budget.checked_sub(announced).ok_or_else(too_many)?;
    }
    Ok(())
}

/// What an LZ4 frame can become at most, going by its blocks, in bytes.
fn lz4_most(frame: &[u8]) -> u64 {
    let unknown = u64::MAX;
    let Some(([m0, m1, m2, m3, flags, sizes], mut rest)) = frame.split_first_chunk() else {
        return 0;
    };
    if [*m0, *m1, *m2, *m3] != LZ4_MAGIC {
        return unknown;
    }
    let bit = |bit: u8| usize::from(flags >> bit & 1);
    // 64 KiB, 256 KiB, 1 MiB, 4 MiB; the decoder refuses the others.
    let block = 1_u64 << (8 + 2 * u32::from(sizes >> 4 & 7));
    let header = 8 * bit(3) + 4 * bit(0) + 1;
    rest = rest.get(header..).unwrap_or_default();
    let mut most = 0;
    while let Some((size, after)) = rest.split_first_chunk() {
        let size = u32::from_le_bytes(*size);
        if size == 0 {
            // Another frame that follows is none of ours; up to the alignment it may be padding.
            let behind = after.get(4 * bit(2)..).map_or(0, <[u8]>::len);
            return if behind < ALIGNMENT { most } else { unknown };
        }
        most += block;
        let size = (size & !LZ4_PLAIN_BLOCK) as usize;
        let next = size.saturating_add(4 * bit(4));
        rest = after.get(next..).unwrap_or_default();
    }
    most
}

/// The reader of arrow panics on some streams that are not what its writer makes; a good checksum
/// does not rule them out.
fn read_stream(stream: &[u8], budget: &mut u64) -> Result<RecordBatch, String> {
    check_lengths(stream, budget)?;
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
    let mut budget = MAX_DECODED_BYTES;
    let mut parts = Vec::with_capacity(headers.len());
    for header in headers {
        let len = usize::try_from(header.bytes).map_err(|error| error.to_string())?;
        let (stream, after) = rest
            .split_at_checked(len)
            .ok_or("rows are shorter than announced")?;
        rest = after;
        let rows = read_stream(stream, &mut budget)?;
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, DictionaryArray, Int64Array, NullArray, StringArray, StringViewArray, StructArray,
    };
    use arrow::datatypes::Int8Type;

    use super::*;
    use crate::ids::Stamp;

    const ROWS: i64 = 40_000;

    fn rows(count: i64) -> RecordBatch {
        let numbers = Int64Array::from_iter_values((0..count).map(|row| row / 16));
        let texts =
            StringArray::from_iter_values((0..count).map(|row| format!("text {}", row % 9)));
        let columns: [(&str, ArrayRef); 2] = [("n", Arc::new(numbers)), ("t", Arc::new(texts))];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn encoded(rows: &RecordBatch, codec: Option<Codec>) -> Vec<u8> {
        try_encode(rows, codec, None).unwrap()
    }

    fn try_encode(
        rows: &RecordBatch,
        codec: Option<Codec>,
        head: Option<&StreamHead>,
    ) -> Result<Vec<u8>> {
        let stamps = Stamps::One(Stamp {
            version: crate::clock::Version(1),
            author: "a".into(),
        });
        let part = PartRef {
            table: TableId([7; 16]),
            shard: 0,
            change: Change::Upsert,
            stamps: &stamps,
            rows,
            bytes: rows.get_array_memory_size(),
            codec,
            head,
        };
        encode(std::iter::once(part))
    }

    #[test]
    fn a_head_at_hand_changes_no_byte() {
        let pairs = StructArray::from(rows(100));
        let long = (0..100).map(|row| Some(format!("a text that is longer than a view, {row}")));
        let more: [(&str, ArrayRef); 3] = [
            ("empty", Arc::new(NullArray::new(100))),
            ("pair", Arc::new(pairs)),
            ("text", Arc::new(long.collect::<StringViewArray>())),
        ];
        let nested = RecordBatch::try_from_iter(more).unwrap();
        for rows in [rows(100), rows(100).slice(7, 1), nested.slice(1, 3), nested] {
            let head = StreamHead::of(rows.schema_ref()).unwrap();
            let bytes = try_encode(&rows, None, Some(&head)).unwrap();
            assert_eq!(bytes, encoded(&rows, None));
            assert_eq!(&decode(&bytes).unwrap()[0].rows, &rows);
        }
        let words: DictionaryArray<Int8Type> = ["a", "b", "a"].into_iter().collect();
        let words: [(&str, ArrayRef); 1] = [("word", Arc::new(words))];
        let words = RecordBatch::try_from_iter(words).unwrap();
        assert!(StreamHead::of(words.schema_ref()).is_none());
    }

    #[test]
    fn columns_that_share_a_buffer_count_each() {
        let text = StringArray::from_iter_values((0..1 << 10).map(|_| "x".repeat(64 << 10)));
        let column: ArrayRef = Arc::new(text);
        let names = (0..9).map(|number| format!("c{number}"));
        let columns = names.map(|name| (name, Arc::clone(&column)));
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let error = try_encode(&rows, Some(Codec::Zstd(1)), None).unwrap_err();
        assert!(error.to_string().contains("smaller writes"), "{error}");
    }

    const CODECS: [Option<Codec>; 5] = [
        Some(Codec::None),
        None,
        Some(Codec::Lz4),
        Some(Codec::Zstd(1)),
        Some(Codec::Zstd(19)),
    ];

    #[test]
    fn every_codec_comes_back_and_only_large_rows_are_compressed() {
        let (large, small) = (rows(ROWS), rows(100));
        let mut lengths = Vec::new();
        for codec in CODECS {
            for rows in [&large, &small] {
                let bytes = encoded(rows, codec);
                assert_eq!(&decode(&bytes).unwrap()[0].rows, rows, "{codec:?}");
                lengths.push(bytes.len());
            }
        }
        let [none, s0, default, s1, lz4, s2, zstd, s3, most, s4] = lengths[..] else {
            panic!("{lengths:?}");
        };
        assert!([s1, s2, s3, s4].iter().all(|small| *small == s0));
        assert_eq!(default, lz4);
        assert!(lz4 * 2 < none && zstd.max(most) < lz4, "{lengths:?}");
    }

    /// Every length that a compressed stream announces, made larger or smaller.
    #[test]
    fn lengths_that_lie_are_refused() {
        let rows = rows(ROWS);
        let honest = (ROWS as u64 * 8).to_le_bytes();
        for codec in [Codec::Lz4, Codec::Zstd(1)] {
            let bytes = encoded(&rows, Some(codec));
            let at = bytes
                .windows(8)
                .position(|window| window == honest)
                .unwrap();
            for lie in [0, 1, 8 * ROWS - 1, 8 * ROWS + 1, 1 << 30, 1 << 40, i64::MAX] {
                let mut lying = bytes.clone();
                lying[at..at + 8].copy_from_slice(&lie.to_le_bytes());
                assert!(decode(&lying).is_err(), "{codec:?} {lie}");
            }
        }
    }

    /// Streams of old had no mark before a length.
    #[test]
    fn messages_without_a_mark_are_refused() {
        let rows = rows(10);
        let bytes = encoded(&rows, None);
        let (_, stream): (Vec<PartHeader>, _) = postcard::take_from_bytes(&bytes).unwrap();
        let check = |stream: &[u8]| check_lengths(stream, &mut MAX_DECODED_BYTES.clone());
        assert_eq!(check(stream), Ok(()));
        let length = 0x5000_0000_u32.to_le_bytes();
        let mut unmarked = stream.to_vec();
        unmarked[..4].copy_from_slice(&length);
        assert!(check(&unmarked).is_err());
        // In the place of the end, which is shorter than a mark and a length.
        let mut behind = stream[..stream.len() - END_OF_STREAM.len()].to_vec();
        assert_eq!(check(&behind), Ok(()));
        behind.extend_from_slice(&length);
        assert!(check(&behind).is_err());
    }

    #[test]
    fn a_write_cannot_become_more_than_the_limit() {
        let rows = rows(ROWS);
        let bytes = encoded(&rows, Some(Codec::Zstd(1)));
        let (headers, stream): (Vec<PartHeader>, _) = postcard::take_from_bytes(&bytes).unwrap();
        assert_eq!(headers.len(), 1);
        let mut budget = MAX_DECODED_BYTES;
        read_stream(stream, &mut budget).unwrap();
        let used = MAX_DECODED_BYTES - budget;
        assert!(used >= ROWS as u64 * 8);
        let mut budget = used;
        assert!(read_stream(stream, &mut budget).is_ok());
        let mut budget = used - 1;
        let refused = read_stream(stream, &mut budget).unwrap_err();
        assert!(refused.contains("announce more bytes"), "{refused}");
    }

    #[test]
    fn the_blocks_of_an_lz4_frame_are_counted() {
        // 4 MiB blocks, no checksums.
        let mut frame = LZ4_MAGIC.to_vec();
        frame.extend([0x60, 0x70, 0]);
        let block = |size: u32| [&size.to_le_bytes()[..], &vec![0; size as usize]].concat();
        for _ in 0..1000 {
            frame.extend(block(10));
        }
        frame.extend([0; 4]);
        assert_eq!(lz4_most(&frame), 1000 * (4 << 20));
        assert!(lz4_most(&frame) > MAX_DECODED_BYTES);
        let twice = [&frame[..], &frame].concat();
        assert_eq!(lz4_most(&twice), u64::MAX);
        let plain = encoded(&rows(ROWS), Some(Codec::Lz4));
        let at = plain
            .windows(4)
            .position(|window| window == LZ4_MAGIC)
            .unwrap();
        // Of the first column alone: 320,000 bytes, in blocks of 256 KiB at most.
        let end = plain[at..]
            .windows(4)
            .position(|window| window == [0; 4])
            .unwrap();
        let most = lz4_most(&plain[at..at + end + 4]);
        assert!((1..=4 << 20).contains(&most), "{most}");
    }
}
