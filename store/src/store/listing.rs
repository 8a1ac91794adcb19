//! What segments there are, for people and tools.
//!
//! Invariant: a listing is what the shards held at one moment; no rows are read for it.

use std::sync::Arc;

use super::Store;
use crate::catalog::Table;
use crate::clock::Version;
use crate::error::Result;
use crate::ids::TableId;
use crate::segment::Segment;
use crate::table_options::IndexDef;
use crate::write::Change;

/// One segment of a shard, in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentInfo {
    /// The shard's number.
    pub shard: u32,
    /// The segment's number; greater ones were made later.
    pub number: u64,
    /// Whether it has rows, or tombstones.
    pub change: Change,
    /// Records, hidden ones included.
    pub rows: u64,
    /// Records that newer ones hide.
    pub hidden_rows: u64,
    /// Bytes of the data file.
    pub data_bytes: u64,
    /// Bytes of the index file.
    pub index_bytes: u64,
    /// The least key, as text: `(2013-01-01, UA, 12)`.
    pub min_key: String,
    /// The greatest key, as text.
    pub max_key: String,
    /// The oldest version of a record.
    pub oldest: Version,
    /// The newest version of a record.
    pub newest: Version,
    /// The names of the secondary indexes that are made for it.
    pub indexes: Vec<String>,
}

impl Store {
    /// The segments of a table, by shard and number. Fails like [`shard_stats`](Self::shard_stats).
    pub fn segments(&self, table: TableId) -> Result<Vec<SegmentInfo>> {
        let table = self.core().any_table(table)?;
        let mut held = Vec::new();
        for (shard, state) in (0..).zip(table.state.lock()?.iter()) {
            let segments = state.segments().iter();
            held.extend(segments.map(|one| (shard, Arc::clone(&one.segment), one.hidden.count())));
        }
        // Not under the lock, because looking for index runs may read the disk.
        let listed = held.into_iter();
        let mut listed: Vec<SegmentInfo> = listed
            .map(|(shard, segment, hidden)| {
                let info = info(&table, shard, &segment);
                SegmentInfo {
                    hidden_rows: hidden,
                    ..info
                }
            })
            .collect();
        listed.sort_by_key(|info| (info.shard, info.number));
        Ok(listed)
    }
}

fn info(table: &Table, shard: u32, segment: &Segment) -> SegmentInfo {
    let meta = segment.meta();
    let describe = |key: &[u8]| table.state.encoder.describe_encoded(key);
    let made = |index: &&IndexDef| segment.run(index).is_some();
    // Tombstones are not indexed.
    let indexes = match meta.change {
        Change::Upsert => table.def.options.indexes.as_slice(),
        Change::Delete => &[],
    };
    SegmentInfo {
        shard,
        number: meta.number,
        change: meta.change,
        rows: meta.rows,
        hidden_rows: 0,
        data_bytes: meta.data_bytes,
        index_bytes: meta.index_bytes,
        min_key: describe(&meta.min_key),
        max_key: describe(&meta.max_key),
        oldest: meta.oldest,
        newest: meta.newest,
        indexes: indexes
            .iter()
            .filter(made)
            .map(|index| index.name.clone())
            .collect(),
    }
}
