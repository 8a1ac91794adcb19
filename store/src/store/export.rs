//! Everything a shard holds, for another store.

use arrow::array::{ArrayRef, RecordBatch};

use super::Store;
use super::read::no_shard;
use crate::error::{Error, Result};
use crate::ids::TableId;
use crate::mem::{FrozenBatch, Seen};
use crate::write::ShardBatch;

/// About how many bytes of rows one exported batch has.
const EXPORT_BATCH_BYTES: usize = 8 << 20;

impl Store {
    /// All current records of a shard, tombstones included. Writing them, in any grouping, to a
    /// store that has none gives the same rows and the same digest. Every batch has one stamp and
    /// about 8 MiB of rows at most. Fails with `NotFound` if the table is unknown or dropped,
    /// `InvalidInput` if it has no such shard, `Unavailable` if the store is closed, `Corrupt` or
    /// `Io` if a segment cannot be read.
    pub fn export_shard(&self, table: TableId, shard: u32) -> Result<Vec<ShardBatch>> {
        let core = self.core();
        let table = core.any_table(table)?;
        let _guard = core.snapshots.register();
        let (mut frozen, segments) = match table.state.lock()?.get_mut(shard as usize) {
            Some(shard) => (shard.freeze(true), shard.seen()),
            None => return Err(no_shard(&table, shard)),
        };
        for seen in segments.iter() {
            for group in 0..seen.segment.groups() {
                frozen.extend(group_of(seen, group)?);
            }
        }
        let mut batches = Vec::with_capacity(frozen.len());
        for batch in frozen {
            let pieces = batch
                .pieces_by_stamp(EXPORT_BATCH_BYTES)
                .map_err(|error| Error::arrow("export a shard", error))?;
            batches.extend(pieces.into_iter().map(|(rows, stamp)| ShardBatch {
                table: table.def.id,
                shard,
                change: batch.change,
                stamp,
                rows,
            }));
        }
        Ok(batches)
    }
}

/// A group of a segment, as if it were in memory; `None` if nothing of it is current.
fn group_of(seen: &Seen, group: usize) -> Result<Option<FrozenBatch>> {
    let segment = &seen.segment;
    let current = seen.live.get(group).cloned().flatten();
    if current
        .as_ref()
        .is_some_and(|current| current.count_set_bits() == 0)
    {
        return Ok(None);
    }
    let columns: Vec<ArrayRef> = (0..segment.schema().fields().len())
        .map(|column| segment.column(group, column))
        .collect::<Result<_>>()?;
    let rows = RecordBatch::try_new(segment.schema().clone(), columns)
        .map_err(|error| Error::arrow("export a shard", error))?;
    Ok(Some(FrozenBatch {
        change: segment.meta().change,
        slot: 0,
        keys: segment.keys(group)?,
        stamps: segment.stamps(group)?,
        current_rows: current
            .as_ref()
            .map_or(rows.num_rows(), |current| current.count_set_bits()),
        current,
        rows,
    }))
}
