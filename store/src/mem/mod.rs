//! Rows in memory: what queries read, rebuilt from the log on open.
//!
//! Idea: a shard is a list of Arrow batches, and a hash table from key to (batch, row) that points
//! at the current record of every key. A newer record clears the old one's bit in its batch's
//! bitmap; scans therefore never merge by key. Tombstones are records in batches of their own.
//!
//! Invariant: which record is current depends only on the set of records seen, never on their
//! order. Non-goals: durability (the log's), values (never looked into).

mod bitmap;
mod frozen;
mod merge;
mod part;
mod runs;
mod shard;
mod size;
mod stamps;

pub(crate) use frozen::FrozenBatch;
pub(crate) use part::{Incoming, Part, Preparer};
pub(crate) use shard::ShardMem;
pub(crate) use stamps::Stamps;

#[cfg(test)]
mod tests;
