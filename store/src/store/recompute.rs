//! The digest of a shard, computed anew from the records themselves.
//!
//! Purpose: to notice when the sums that are kept, or the marks of hidden rows, are not what the
//! records say. Non-goal: speed; everything is read and decoded.

use crate::catalog::TableState;
use crate::digest::DigestTree;
use crate::error::Result;
use crate::mem::{FrozenBatch, Seen, digests_of};
use crate::write::Change;

/// What the records of a shard say.
#[derive(Debug, Default)]
pub(super) struct Recomputed {
    pub(super) rows: u64,
    pub(super) tree: DigestTree,
}

/// Reads every current record of a shard. Fails with `Corrupt` or `Io`, naming the file.
pub(super) fn shard(table: &TableState, shard: u32) -> Result<Recomputed> {
    let (frozen, segments) = match table.lock()?.get_mut(shard as usize) {
        Some(shard) => (shard.freeze(true), shard.seen()),
        None => return Ok(Recomputed::default()),
    };
    let mut found = Recomputed::default();
    for batch in &frozen {
        found.add_batch(batch);
    }
    for seen in segments.iter() {
        found.add_segment(seen)?;
    }
    Ok(found)
}

impl Recomputed {
    fn add_batch(&mut self, batch: &FrozenBatch) {
        let digests = digests_of(&batch.keys, &batch.stamps, batch.change);
        for (row, digest) in digests.into_iter().enumerate() {
            if batch.current.as_ref().is_none_or(|live| live.value(row)) {
                self.rows += u64::from(batch.change == Change::Upsert);
                self.tree.add(digest);
            }
        }
    }

    fn add_segment(&mut self, seen: &Seen) -> Result<()> {
        let change = seen.segment.meta().change;
        for group in 0..seen.segment.groups() {
            let live = seen.live.get(group).and_then(Option::as_ref);
            let (_, keys, stamps) = seen.segment.group_once(group)?;
            for (row, digest) in digests_of(&keys, &stamps, change).into_iter().enumerate() {
                if live.is_none_or(|live| live.value(row)) {
                    self.rows += u64::from(change == Change::Upsert);
                    self.tree.add(digest);
                }
            }
        }
        Ok(())
    }
}
