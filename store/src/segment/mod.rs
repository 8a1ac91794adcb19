//! Immutable columnar files: the sorted rows of one shard.
//!
//! Idea: a segment is a plain Parquet file, readable by every Parquet tool, and an index file
//! beside it with what Parquet lacks: a checksum for every block, the first key of every page, a
//! key filter, and a distinct-value sketch of every column. Rows are sorted strictly by encoded
//! key and are addressed by position: row = group * [`GROUP_ROWS`] + offset.
//!
//! Invariant: bytes that were not written by [`SegmentWriter`] are never taken for rows. Whatever
//! is read is compared with its checksum first, and the index file's own checksum is kept by the
//! checkpoint that lists the segment. Columns are found by position, never by name.
//! Non-goals: which rows are hidden, and which segments belong to a shard.

mod ages;
mod blocks;
mod cache;
mod decode;
mod encoding;
mod filter;
mod index;
mod kept;
mod keys;
mod load;
mod locate;
mod merge;
mod range;
mod reader;
mod run_order;
mod runs;
mod sketch;
mod stamped;
mod summary;
mod take;
mod writer;
mod zones;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

use crate::clock::Version;
use crate::ids::{Stamp, TableId};
use crate::write::Change;

pub(crate) use self::{
    cache::ColumnCache,
    index::decode_index_for_fuzzing,
    keys::KeyLayout,
    merge::{MergeInput, Merged, merge_sorted},
    reader::{Segment, SegmentPlace},
    runs::run_id,
    writer::SegmentWriter,
};
pub use self::{
    range::KeyRange, run_order::OuterRows, sketch::DistinctSketch, zones::ColumnSummary,
};

/// Rows of every row group but the last. Part of the format: it turns a row into group and offset.
pub(crate) const GROUP_ROWS: usize = 65_536;

/// Rows of a data page, and of an entry of the sparse key index. Divides [`GROUP_ROWS`].
pub(crate) const PAGE_ROWS: usize = 4096;

/// What a checkpoint lists of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentMeta {
    pub(crate) number: u64,
    pub(crate) table: TableId,
    pub(crate) shard: u32,
    pub(crate) change: Change,
    pub(crate) rows: u64,
    pub(crate) data_bytes: u64,
    pub(crate) index_bytes: u64,
    /// blake3 of the index file, which holds the checksums of the data file.
    pub(crate) index_checksum: [u8; 32],
    pub(crate) min_key: Vec<u8>,
    pub(crate) max_key: Vec<u8>,
    pub(crate) newest: Version,
    pub(crate) oldest: Version,
}

impl SegmentMeta {
    /// Whether the key ranges of two segments have keys in common, perhaps.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.min_key <= other.max_key && other.min_key <= self.max_key
    }
}

/// What a segment is to hold, and how.
#[derive(Debug, Clone)]
pub(crate) struct SegmentSpec {
    pub(crate) table: TableId,
    pub(crate) shard: u32,
    pub(crate) number: u64,
    pub(crate) change: Change,
    /// Columns of the rows: the table's, or its key's for deletes.
    pub(crate) schema: SchemaRef,
    pub(crate) codec: Codec,
    /// The stamp of every row, if the caller knows that there is only one. The data file then has
    /// no stamp columns, and rows with another stamp are refused.
    pub(crate) stamp: Option<Stamp>,
    /// For a sorted run: which one. Its keys get no filter, because nobody asks for a whole one.
    pub(crate) run: Option<u64>,
}

impl SegmentSpec {
    pub(super) fn name(&self) -> FileName {
        FileName {
            number: self.number,
            run: self.run,
        }
    }
}

/// How the pages of a segment are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Codec {
    /// Fastest to read.
    Lz4,
    /// Smaller; the level is 1 to 22, and values outside of it count as the nearest one.
    Zstd(i32),
    /// As encoded.
    None,
}

impl Default for Codec {
    fn default() -> Self {
        Self::Zstd(1)
    }
}

/// What the files of a segment, or of one of its sorted runs, are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FileName {
    pub(crate) number: u64,
    pub(crate) run: Option<u64>,
}

impl From<u64> for FileName {
    fn from(number: u64) -> Self {
        Self { number, run: None }
    }
}

impl FileName {
    /// The segment or run that a file belongs to, going by its name.
    pub(crate) fn parse(file: &str) -> Option<Self> {
        let (digits, rest) = file.split_once('.')?;
        let number = digits.parse().ok()?;
        if matches!(rest, "parquet" | "idx") {
            return Some(Self { number, run: None });
        }
        let (run, rest) = rest.split_once('.')?;
        let run = (run.len() == 16).then(|| u64::from_str_radix(run, 16).ok())??;
        let known = matches!(rest, "run.parquet" | "run.idx" | "run.meta");
        known.then_some(Self {
            number,
            run: Some(run),
        })
    }

    fn path(self, folder: &Path, extension: &str) -> PathBuf {
        folder.join(match self.run {
            None => format!("{:012}.{extension}", self.number),
            Some(run) => format!("{:012}.{run:016x}.run.{extension}", self.number),
        })
    }
}

/// Where the data file of a segment or run lies.
pub(crate) fn data_path(folder: &Path, name: impl Into<FileName>) -> PathBuf {
    name.into().path(folder, "parquet")
}

/// Where the index file of a segment or run lies.
pub(crate) fn index_path(folder: &Path, name: impl Into<FileName>) -> PathBuf {
    name.into().path(folder, "idx")
}

/// Where a run is described.
pub(crate) fn run_meta_path(folder: &Path, name: FileName) -> PathBuf {
    name.path(folder, "meta")
}
