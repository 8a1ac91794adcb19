//! The index file of a segment.
//!
//! Layout: `NBSI`, the format as two bytes little-endian, then a postcard body. The checkpoint
//! that lists the segment has the file's blake3, which is compared before anything is decoded.
//! Invariant: decoding is safe on arbitrary bytes; nothing is allocated that the file's own length
//! does not warrant.

use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::blocks::{BLOCK_BYTES, damaged};
use super::sketch::{DistinctSketch, REGISTERS};
use super::summary::ColumnNotes;
use super::{GROUP_ROWS, PAGE_ROWS, SegmentMeta};
use crate::error::{Error, Result};
use crate::ids::{Stamp, TableId};
use crate::table::MAX_COLUMNS;
use crate::write::Change;

const MAGIC: &[u8; 4] = b"NBSI";
const FORMAT: u16 = 1;
const HEADER: usize = 6;

/// Registers compress well, and the level hardly matters.
const SKETCH_LEVEL: i32 = 1;

/// What the index file holds.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) table: TableId,
    pub(super) shard: u32,
    pub(super) number: u64,
    pub(super) change: Change,
    pub(super) rows: u64,
    pub(super) data_bytes: u64,
    /// The stamp of all rows.
    pub(super) stamp: Option<Stamp>,
    /// Whether the data file has stamp columns; it may although all stamps are equal.
    pub(super) stamp_columns: bool,
    pub(super) block_crcs: Vec<u32>,
    /// The first key of every page of [`PAGE_ROWS`] rows.
    pub(super) page_keys: Vec<Vec<u8>>,
    /// The key filter of every group.
    pub(super) filters: Vec<Vec<u8>>,
    pub(super) columns: Vec<ColumnNotes>,
}

#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    table: TableId,
    shard: u32,
    number: u64,
    change: Change,
    rows: u64,
    data_bytes: u64,
    stamp: Option<Stamp>,
    stamp_columns: bool,
    /// Four bytes each, little-endian.
    block_crcs: Bytes<'a>,
    #[serde(borrow)]
    page_keys: Vec<Bytes<'a>>,
    filters: Vec<Bytes<'a>>,
    nulls: Vec<u64>,
    nan_groups: Vec<Vec<u32>>,
    has_sketch: Vec<bool>,
    /// Registers of all sketches, one after the other, zstd.
    sketches: Bytes<'a>,
}

/// Bytes that are copied at once instead of one by one.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Bytes<'a>(#[serde(borrow, serialize_with = "as_bytes")] &'a [u8]);

fn as_bytes<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

impl Index {
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        let failed = |error: &dyn std::fmt::Display| {
            Error::invalid(format!("a segment's index cannot be encoded: {error}"))
        };
        let crcs: Vec<u8> = self
            .block_crcs
            .iter()
            .flat_map(|crc| crc.to_le_bytes())
            .collect();
        let sketches = || self.columns.iter().map(|notes| notes.sketch.as_ref());
        let registers: Vec<&[u8]> = sketches()
            .flatten()
            .map(DistinctSketch::registers)
            .collect();
        let registers = zstd::bulk::compress(&registers.concat(), SKETCH_LEVEL)
            .map_err(|error| failed(&error))?;
        let wire = Wire {
            table: self.table,
            shard: self.shard,
            number: self.number,
            change: self.change,
            rows: self.rows,
            data_bytes: self.data_bytes,
            stamp: self.stamp.clone(),
            stamp_columns: self.stamp_columns,
            block_crcs: Bytes(&crcs),
            page_keys: self.page_keys.iter().map(|key| Bytes(key)).collect(),
            filters: self.filters.iter().map(|filter| Bytes(filter)).collect(),
            nulls: self.columns.iter().map(|notes| notes.nulls).collect(),
            nan_groups: self.columns.iter().map(|n| n.nan_groups.clone()).collect(),
            has_sketch: sketches().map(|sketch| sketch.is_some()).collect(),
            sketches: Bytes(&registers),
        };
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        postcard::to_extend(&wire, bytes).map_err(|error| failed(&error))
    }

    /// Reads what `to_bytes` wrote; `path` is where, for errors. Fails with `InvalidInput` if a
    /// newer release wrote it, with `Corrupt` on anything else.
    pub(super) fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self> {
        let wrong = |reason: &str| damaged(path, format_args!("not a segment index: {reason}"));
        let (header, body) = bytes
            .split_at_checked(HEADER)
            .ok_or_else(|| wrong("too short"))?;
        let format = match header {
            [m @ .., low, high] if m == MAGIC => u16::from_le_bytes([*low, *high]),
            _ => return Err(wrong("other first bytes")),
        };
        if format > FORMAT {
            return Err(Error::invalid(format!(
                "{}: this segment has format {format}, this release reads up to {FORMAT}; use a \
                 newer netabase",
                path.display()
            )));
        }
        let (wire, rest): (Wire<'_>, _) =
            postcard::take_from_bytes(body).map_err(|error| wrong(&error.to_string()))?;
        if format != FORMAT || !rest.is_empty() {
            return Err(wrong("unknown format, or bytes behind its end"));
        }
        wire.check().map_err(wrong)?;
        wire.into_index().ok_or_else(|| wrong("damaged sketches"))
    }

    /// Whether this is the index of the segment that a checkpoint means.
    pub(super) fn belongs_to(&self, meta: &SegmentMeta) -> bool {
        (self.table, self.shard, self.number, self.change)
            == (meta.table, meta.shard, meta.number, meta.change)
            && (self.rows, self.data_bytes) == (meta.rows, meta.data_bytes)
    }
}

impl Wire<'_> {
    /// Every list has the length that the number of rows and bytes calls for.
    fn check(&self) -> Result<(), &'static str> {
        let blocks = self.data_bytes.div_ceil(BLOCK_BYTES as u64);
        if self.block_crcs.0.len() as u64 != blocks.saturating_mul(4) {
            return Err("other number of blocks");
        }
        if self.page_keys.len() as u64 != self.rows.div_ceil(PAGE_ROWS as u64) {
            return Err("other number of pages");
        }
        if self.filters.len() as u64 != self.rows.div_ceil(GROUP_ROWS as u64) {
            return Err("other number of groups");
        }
        let columns = self.nulls.len();
        if columns > MAX_COLUMNS
            || self.nan_groups.len() != columns
            || self.has_sketch.len() != columns
        {
            return Err("other number of columns");
        }
        if self.stamp.is_none() && !self.stamp_columns {
            return Err("no stamps");
        }
        Ok(())
    }

    /// All registers, if there are as many as announced.
    fn registers(&self) -> Option<Vec<u8>> {
        let sketches = self.has_sketch.iter().filter(|has| **has).count();
        let wanted = sketches.checked_mul(REGISTERS)?;
        let mut registers = Vec::new();
        let decoder = zstd::Decoder::new(self.sketches.0).ok()?;
        // One more byte than wanted shows that there are too many.
        let read = decoder.take(wanted as u64 + 1).read_to_end(&mut registers);
        (read.ok()? == wanted).then_some(registers)
    }

    fn into_index(self) -> Option<Index> {
        let registers = self.registers()?;
        let mut sketches = registers
            .chunks_exact(REGISTERS)
            .map(DistinctSketch::from_registers);
        let columns = self.nulls.iter().zip(self.nan_groups).zip(self.has_sketch);
        let columns = columns
            .map(|((&nulls, nan_groups), has_sketch)| ColumnNotes {
                sketch: has_sketch.then(|| sketches.next()).flatten().flatten(),
                nulls,
                nan_groups,
            })
            .collect();
        let word = |bytes: &[u8]| bytes.try_into().map_or(0, u32::from_le_bytes);
        let owned = |list: &[Bytes<'_>]| list.iter().map(|bytes| bytes.0.to_vec()).collect();
        Some(Index {
            table: self.table,
            shard: self.shard,
            number: self.number,
            change: self.change,
            rows: self.rows,
            data_bytes: self.data_bytes,
            stamp: self.stamp,
            stamp_columns: self.stamp_columns,
            block_crcs: self.block_crcs.0.chunks_exact(4).map(word).collect(),
            page_keys: owned(&self.page_keys),
            filters: owned(&self.filters),
            columns,
        })
    }
}

/// Decodes arbitrary bytes as an index file. For fuzzing; returns whether they are one.
pub(crate) fn decode_index_for_fuzzing(bytes: &[u8]) -> bool {
    Index::from_bytes(Path::new("fuzzed"), bytes).is_ok()
}
