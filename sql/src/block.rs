//! What a scan reads: blocks of rows.
//!
//! Purpose: [`Block`] hides where rows come from: batches in memory here, files elsewhere. A scan
//! asks for a column only when it needs one, and for zones before it asks for anything.
//!
//! Invariant: a block never changes: the same column is the same each time. A zone covers every row
//! of the block, live or not.
//!
//! Not here: filters, order between blocks; whoever lists the blocks answers for their order.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::UInt64Type;
use datafusion::common::{ScalarValue, exec_datafusion_err, exec_err};
use datafusion::error::DataFusionError;
use netabase_store::{SegmentView, ShardSnapshot, SnapshotBatch, TableSnapshot};

use crate::error::error_to_datafusion;

/// Bounds of one column's values in one block. What is `None` is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Zone {
    /// No value is less.
    pub min: Option<ScalarValue>,
    /// No value is greater.
    pub max: Option<ScalarValue>,
    /// How many values are NULL.
    pub nulls: Option<u64>,
}

/// Rows that give their columns when they are asked for.
pub trait Block: Debug + Send + Sync {
    /// How many rows there are, live or not.
    fn rows(&self) -> usize;

    /// Which rows are live; `None`: all.
    fn live(&self) -> Option<BooleanBuffer>;

    /// All values of one column (its index in the table's schema), live or not. May read and decode
    /// a file for some milliseconds; the scan lets other tasks run in between.
    ///
    /// # Errors
    /// When the values cannot be read.
    fn column(&self, column: usize) -> Result<ArrayRef, DataFusionError>;

    /// The versions of all rows, live or not, as `UInt64`.
    ///
    /// # Errors
    /// When they cannot be read, or rows of this kind have none.
    fn versions(&self) -> Result<ArrayRef, DataFusionError> {
        exec_err!("these rows have no versions")
    }

    /// The authors of all rows, live or not, as texts.
    ///
    /// # Errors
    /// When they cannot be read, or rows of this kind have none.
    fn authors(&self) -> Result<ArrayRef, DataFusionError> {
        exec_err!("these rows have no authors")
    }

    /// What is known about the values of one column.
    fn zone(&self, column: usize) -> Option<Zone>;

    /// Whether every row is known to pass the predicate of the scan that made the block.
    fn all_pass(&self) -> bool {
        false
    }
}

/// A run of rows of one block.
#[derive(Debug, Clone)]
pub struct BlockRows {
    /// The block.
    pub block: Arc<dyn Block>,
    /// The rows of it.
    pub rows: Range<usize>,
}

impl BlockRows {
    /// All rows of a block.
    pub fn all(block: Arc<dyn Block>) -> Self {
        let rows = 0..block.rows();
        Self { block, rows }
    }
}

/// A batch in memory.
#[derive(Debug)]
struct MemoryBlock(SnapshotBatch);

impl Block for MemoryBlock {
    fn rows(&self) -> usize {
        self.0.rows.num_rows()
    }

    fn live(&self) -> Option<BooleanBuffer> {
        self.0.live.clone()
    }

    fn column(&self, column: usize) -> Result<ArrayRef, DataFusionError> {
        let found = self.0.rows.columns().get(column);
        found
            .cloned()
            .ok_or_else(|| exec_datafusion_err!("a batch has no column {column}"))
    }

    fn versions(&self) -> Result<ArrayRef, DataFusionError> {
        Ok(self.0.versions())
    }

    fn authors(&self) -> Result<ArrayRef, DataFusionError> {
        Ok(self.0.authors())
    }

    fn zone(&self, _column: usize) -> Option<Zone> {
        None
    }
}

/// A group of a segment. Its columns are read from the file when they are asked for, and cached by
/// the store.
#[derive(Debug)]
struct SegmentBlock {
    view: SegmentView,
    group: usize,
}

impl Block for SegmentBlock {
    fn rows(&self) -> usize {
        self.view.group_rows(self.group)
    }

    fn live(&self) -> Option<BooleanBuffer> {
        self.view.live(self.group).cloned()
    }

    fn column(&self, column: usize) -> Result<ArrayRef, DataFusionError> {
        self.view
            .column(self.group, column)
            .map_err(error_to_datafusion)
    }

    fn versions(&self) -> Result<ArrayRef, DataFusionError> {
        self.view.versions(self.group).map_err(error_to_datafusion)
    }

    fn authors(&self) -> Result<ArrayRef, DataFusionError> {
        self.view.authors(self.group).map_err(error_to_datafusion)
    }

    fn zone(&self, column: usize) -> Option<Zone> {
        // What cannot be read here fails when the column is read.
        let bound = |bounds: ArrayRef| {
            let value = ScalarValue::try_from_array(&bounds, self.group).ok()?;
            (!value.is_null()).then_some(value)
        };
        let nulls = self.view.zone_nulls(column).ok()?;
        let nulls = nulls.as_primitive_opt::<UInt64Type>()?;
        Some(Zone {
            min: bound(self.view.zone_mins(column).ok()?),
            max: bound(self.view.zone_maxes(column).ok()?),
            nulls: (self.group < nulls.len() && nulls.is_valid(self.group))
                .then(|| nulls.value(self.group)),
        })
    }
}

/// The segments of a shard, in order of their first keys.
pub(crate) fn segments_of(shard: &ShardSnapshot) -> Vec<&SegmentView> {
    let mut segments: Vec<&SegmentView> = shard.segments.iter().collect();
    segments.sort_by_key(|segment| segment.key_range().0);
    segments
}

/// Whether the blocks of a shard hold its rows ascending by primary key.
pub(crate) fn is_ordered(shard: &ShardSnapshot) -> bool {
    shard.batches.is_empty()
        && segments_of(shard)
            .windows(2)
            .all(|pair| matches!(pair, [a, b] if a.key_range().1 < b.key_range().0))
}

/// A block, and for a group of a segment where it lies.
#[derive(Debug)]
pub(crate) struct PlacedBlock {
    block: Arc<dyn Block>,
    /// Which of the scan's segments.
    segment: Option<usize>,
    view: Option<SegmentView>,
    group: usize,
    /// Whether it is the first one of its segment.
    begins_segment: bool,
}

/// A run of rows of a placed block.
#[derive(Debug)]
pub(crate) struct SlicedRows {
    pub(crate) rows: BlockRows,
    /// Which of the scan's segments the block is a group of.
    pub(crate) segment: Option<usize>,
    pub(crate) view: Option<SegmentView>,
    pub(crate) group: usize,
    /// Whether the segment's first block begins here; of all slices, one has that.
    pub(crate) begins_segment: bool,
}

/// The groups of a segment that have live rows.
fn live_groups(segment: &SegmentView) -> impl Iterator<Item = usize> {
    let dead = |live: &BooleanBuffer| !live.has_true();
    let groups = 0..segment.groups();
    groups.filter(move |group| !segment.live(*group).is_some_and(dead))
}

/// All blocks of a segment.
pub(crate) fn blocks_of_segment(segment: &SegmentView) -> Vec<BlockRows> {
    let block = |group| {
        let view = segment.clone();
        BlockRows::all(Arc::new(SegmentBlock { view, group }))
    };
    live_groups(segment).map(block).collect()
}

/// The blocks of the named shards, in the order they are named.
pub(crate) fn blocks_of(
    snapshot: &TableSnapshot,
    shards: &[u32],
) -> Result<Vec<PlacedBlock>, DataFusionError> {
    let mut blocks: Vec<PlacedBlock> = Vec::new();
    let mut number = 0;
    for shard in shards {
        let found = snapshot.shards.iter().find(|s| s.shard == *shard);
        let Some(found) = found else {
            return exec_err!("shard {shard} of table {} is not here", snapshot.def.name);
        };
        for batch in found.batches.iter().filter(|batch| batch.live_rows > 0) {
            blocks.push(PlacedBlock {
                block: Arc::new(MemoryBlock(batch.clone())),
                segment: None,
                view: None,
                group: 0,
                begins_segment: false,
            });
        }
        for segment in segments_of(found) {
            number += 1;
            for (place, group) in live_groups(segment).enumerate() {
                let view = segment.clone();
                blocks.push(PlacedBlock {
                    block: Arc::new(SegmentBlock { view, group }),
                    segment: Some(number),
                    view: Some(segment.clone()),
                    group,
                    begins_segment: place == 0,
                });
            }
        }
    }
    Ok(blocks)
}

/// Cuts part `part` of `of` equal ranges of physical rows out of the blocks. Over all parts every
/// row appears once.
pub(crate) fn slice_of(
    blocks: Vec<PlacedBlock>,
    (part, of): (usize, usize),
) -> Result<Vec<SlicedRows>, DataFusionError> {
    if part >= of {
        return exec_err!("slice {part} of {of} does not exist");
    }
    let total: usize = blocks.iter().map(|placed| placed.block.rows()).sum();
    let start = share(total, part, of);
    let end = share(total, part + 1, of);
    let mut parts = Vec::new();
    let mut offset = 0;
    for placed in blocks {
        let rows = placed.block.rows();
        let from = start.clamp(offset, offset + rows) - offset;
        let to = end.clamp(offset, offset + rows) - offset;
        offset += rows;
        if from < to {
            let (block, rows) = (placed.block, from..to);
            parts.push(SlicedRows {
                rows: BlockRows { block, rows },
                segment: placed.segment,
                view: placed.view,
                group: placed.group,
                begins_segment: placed.begins_segment && from == 0,
            });
        }
    }
    Ok(parts)
}

/// `total * part / of` without overflow.
fn share(total: usize, part: usize, of: usize) -> usize {
    let wide = (total as u128) * (part as u128) / (of.max(1) as u128);
    usize::try_from(wide).unwrap_or(total)
}
