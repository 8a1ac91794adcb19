//! Rows in memory become segments.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, RecordBatch};
use arrow::compute::{interleave, interleave_record_batch};

use super::home::SegmentHome;
use crate::catalog::TableState;
use crate::error::{Error, Result};
use crate::ids::Stamp;
use crate::mem::{Flushed, FrozenBatch, Stamps};
use crate::segment::GROUP_ROWS;
use crate::write::Change;

/// Writes the current rows, and the tombstones, of what was set aside: at most one segment each.
pub(super) fn flush(
    home: &SegmentHome,
    table: &TableState,
    shard: u32,
    batches: &[FrozenBatch],
) -> Result<Vec<Flushed>> {
    let mut flushed: Vec<Flushed> = Vec::new();
    for change in [Change::Upsert, Change::Delete] {
        let of_kind: Vec<&FrozenBatch> = batches.iter().filter(|b| b.change == change).collect();
        match flush_kind(home, table, shard, &of_kind) {
            Ok(written) => flushed.extend(written),
            Err(error) => {
                flushed.iter().for_each(|f| f.segment.remove_files());
                return Err(error);
            }
        }
    }
    Ok(flushed)
}

/// Removes segments that no checkpoint lists, best effort.
pub(super) fn remove(flushed: &[FlushedShard]) {
    let segments = flushed.iter().flat_map(|(_, _, of_shard)| of_shard);
    segments.for_each(|flushed| flushed.segment.remove_files());
}

fn flush_kind(
    home: &SegmentHome,
    table: &TableState,
    shard: u32,
    batches: &[&FrozenBatch],
) -> Result<Option<Flushed>> {
    let Some(first) = batches.first() else {
        return Ok(None);
    };
    let order = sorted(batches);
    let mut writer = home.begin(table, shard, first.change, common_stamp(batches))?;
    for rows in order.chunks(GROUP_ROWS) {
        let chunk = Chunk::gather(batches, rows)
            .map_err(|error| Error::arrow(format!("flush table \"{}\"", table.name), error))?;
        writer.push(&chunk.rows, &chunk.keys, &chunk.stamps)?;
    }
    let meta = writer.finish()?;
    let slot = |batch: usize| batches.get(batch).map_or(0, |batch| batch.slot as u32);
    Ok(Some(Flushed {
        segment: home.open(table, meta),
        origins: order
            .into_iter()
            .map(|(batch, row)| (slot(batch), row as u32))
            .collect(),
    }))
}

/// Batch and row of every current row, in order of keys.
fn sorted(batches: &[&FrozenBatch]) -> Vec<(usize, usize)> {
    let mut order = Vec::new();
    for (number, batch) in batches.iter().enumerate() {
        match &batch.current {
            Some(current) => order.extend(current.set_indices().map(|row| (number, row))),
            None => order.extend((0..batch.rows.num_rows()).map(|row| (number, row))),
        }
    }
    let key = |(batch, row): &(usize, usize)| batches.get(*batch).map(|b| b.keys.value(*row));
    if !order.is_sorted_by_key(key) {
        order.sort_unstable_by(|a, b| key(a).cmp(&key(b)));
    }
    order
}

/// The stamp of all rows, if they have but one.
fn common_stamp(batches: &[&FrozenBatch]) -> Option<Stamp> {
    let mut stamps = batches.iter().map(|batch| match &batch.stamps {
        Stamps::One(stamp) => Some(stamp),
        Stamps::PerRow(_) => None,
    });
    let first = stamps.next()??;
    stamps
        .all(|stamp| stamp == Some(first))
        .then(|| first.clone())
}

/// Rows from several batches, in a wanted order.
struct Chunk {
    rows: RecordBatch,
    keys: BinaryArray,
    stamps: Stamps,
}

impl Chunk {
    fn gather(
        batches: &[&FrozenBatch],
        order: &[(usize, usize)],
    ) -> Result<Self, arrow::error::ArrowError> {
        let rows: Vec<&RecordBatch> = batches.iter().map(|batch| &batch.rows).collect();
        let keys: Vec<&dyn Array> = batches.iter().map(|b| &b.keys as &dyn Array).collect();
        let keys: ArrayRef = interleave(&keys, order)?;
        let stamps = order.iter().filter_map(|(batch, row)| {
            let batch = batches.get(*batch)?;
            Some((&batch.stamps, *row))
        });
        Ok(Self {
            rows: interleave_record_batch(&rows, order)?,
            keys: BinaryArray::from(keys.to_data()),
            stamps: Stamps::collect(stamps),
        })
    }
}

/// The segments of a flush.
pub(super) type FlushedShard = (Arc<TableState>, u32, Vec<Flushed>);
