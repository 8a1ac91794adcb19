//! Shards: rows in memory, rebuilt from the log on open, on top of segments.
//!
//! Idea: a memtable is a list of Arrow batches, and a hash table from key to (batch, row) that points
//! at the current record of every key. A newer record clears the old one's bit in its batch's
//! bitmap, or in its segment's; scans therefore never merge by key. Tombstones are records in
//! batches and segments of their own.
//!
//! Invariant: which record is current depends only on the set of records seen, never on their
//! order. Non-goals: durability (the log's), values (never looked into).

mod bitmap;
mod expiry;
mod frozen;
mod hidden;
mod located;
mod memtable;
mod merge;
mod part;
mod runs;
mod shard;
mod size;
mod stamps;

pub(crate) use expiry::cutoff;
pub(crate) use frozen::FrozenBatch;
pub(crate) use hidden::stored;
pub(crate) use located::SegmentList;
pub(crate) use memtable::Known;
pub(crate) use part::{Incoming, Part, Preparer, check_rows, digests_of};
pub(crate) use shard::{Captured, Clash, Compacted, Flushed, Loaded, Seen, Shard};
pub(crate) use size::collect_views;
pub(crate) use stamps::Stamps;

#[cfg(test)]
mod tests;
