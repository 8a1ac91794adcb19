//! What is written: batches of one shard, one change, one stamp.

use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};

use crate::ids::{Stamp, TableId};

/// What a batch does to the rows of its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Change {
    /// Rows carry all columns of the table; they replace older rows of the same keys.
    Upsert,
    /// Rows carry the key columns alone; they hide older rows of the same keys.
    Delete,
}

/// Rows of one shard, written at one time by one author.
///
/// A key may appear once. If one stamp both deletes and upserts a key (in two batches), the upsert
/// wins, so that an update that moves keys is a delete and an upsert with one stamp. A writer must
/// not upsert one key twice with one stamp: the row that arrives first stays.
#[derive(Debug, Clone, PartialEq)]
pub struct ShardBatch {
    /// The table.
    pub table: TableId,
    /// The shard that all rows belong to.
    pub shard: u32,
    /// What to do with the rows.
    pub change: Change,
    /// When and by whom.
    pub stamp: Stamp,
    /// The rows.
    pub rows: RecordBatch,
}

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Applied {
    /// Rows (or deletes) that took effect; the others had lost to a greater or equal stamp.
    pub rows: u64,
    /// Live rows that were replaced or deleted.
    pub hidden: u64,
}

impl Applied {
    pub(crate) fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.hidden += other.hidden;
    }
}
