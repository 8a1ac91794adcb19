//! Rows that have outlived their table's time to live.
//!
//! Idea: a row expires a fixed time after its version. So there is one version, the cutoff, that
//! every expired row is older than, and of two records of a key the older one expires first: leaving
//! out what is expired never brings anything back.
//! Invariant: expired rows count as current until a flush or a compaction leaves them out for good;
//! only then they leave the digest. Tombstones do not expire.

use arrow::array::Array;
use arrow::buffer::BooleanBuffer;
use hashbrown::DefaultHashBuilder;

use super::memtable::Memtable;
use super::shard::Seen;
use super::stamps::Stamps;
use crate::clock::{Clock, Version};
use crate::digest::{RecordDigest, RecordHasher};
use crate::error::Result;
use crate::ids::Stamp;
use crate::segment::GROUP_ROWS;
use crate::write::Change;

/// Everything older than this is expired now; `None`: nothing is. The clock never goes back, so what
/// expired stays expired.
pub(crate) fn cutoff(ttl_millis: Option<u64>, clock: &Clock) -> Option<Version> {
    let ttl = ttl_millis?;
    let last_expired = clock.now().millis().checked_sub(ttl)?;
    Some(Version::at_millis(last_expired + 1))
}

impl Seen {
    /// The same without what is older than `cutoff`. May read the file.
    pub(crate) fn without_expired(&self, cutoff: Version) -> Result<Self> {
        let meta = self.segment.meta();
        if meta.change == Change::Delete || meta.oldest >= cutoff {
            return Ok(self.clone());
        }
        let mut live = Vec::with_capacity(self.segment.groups());
        let mut live_rows = 0;
        for group in 0..self.segment.groups() {
            let known = self.live.get(group).cloned().flatten();
            let young = self.segment.younger(group, cutoff)?;
            let both = match (known, young) {
                (Some(known), Some(young)) => Some(&known & &young),
                (known, young) => known.or(young),
            };
            let rows = self.segment.group_rows(group);
            live_rows += both.as_ref().map_or(rows, BooleanBuffer::count_set_bits) as u64;
            live.push(both);
        }
        Ok(Self {
            segment: self.segment.clone(),
            live: live.into(),
            live_rows,
        })
    }

    /// The rows that are live here but not in `less`, with their digests.
    pub(crate) fn lost_in(&self, less: &Self) -> Result<Vec<(u32, RecordDigest)>> {
        let mut hasher = RecordHasher::default();
        let tombstone = self.segment.meta().change == Change::Delete;
        let mut lost = Vec::new();
        if self.live_rows == less.live_rows {
            return Ok(lost);
        }
        for group in 0..self.segment.groups() {
            let first = group * GROUP_ROWS;
            let rows = (0..self.segment.group_rows(group)).filter(|offset| {
                let row = (first + offset) as u32;
                self.is_live(row) && !less.is_live(row)
            });
            let rows: Vec<usize> = rows.collect();
            if rows.is_empty() {
                continue;
            }
            let (keys, stamps) = (self.segment.keys(group)?, self.segment.stamps(group)?);
            for row in rows {
                let Stamp { version, author } = stamps.stamp(row);
                let digest = hasher.hash(keys.value(row), version, &author, tombstone);
                lost.push(((first + row) as u32, digest));
            }
        }
        Ok(lost)
    }
}

impl Stamps {
    /// Which of the live ones of `rows` rows are not older than `cutoff`, and how many; `None`: as
    /// before.
    pub(crate) fn younger(
        &self,
        rows: usize,
        live: Option<&BooleanBuffer>,
        cutoff: Version,
    ) -> Option<(BooleanBuffer, usize)> {
        let young = match self {
            Self::One(stamp) if stamp.version >= cutoff => return None,
            Self::One(_) => BooleanBuffer::new_unset(rows),
            stamps => BooleanBuffer::collect_bool(rows, |row| stamps.version(row) >= cutoff),
        };
        let live = match live {
            Some(live) => live & &young,
            None => young,
        };
        let left = live.count_set_bits();
        Some((live, left))
    }
}

impl Memtable {
    /// Leaves out the rows that are older than `cutoff`, for good.
    pub(crate) fn expire(&mut self, cutoff: Version, hasher: &DefaultHashBuilder) {
        let beats = Stamp {
            version: cutoff,
            author: "".into(),
        };
        for batch in self.freeze(false) {
            let current = |row: &usize| batch.current.as_ref().is_none_or(|c| c.value(*row));
            for row in (0..batch.keys.len()).filter(current) {
                if batch.stamps.version(row) < cutoff {
                    self.yield_to(batch.keys.value(row), &beats, hasher);
                }
            }
        }
    }
}
