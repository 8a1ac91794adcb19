//! Looking up rows of one table by their keys.
//!
//! Idea: what a look-up needs of the table is found once, keys come as bytes, and rows are named where
//! they lie instead of being copied. Invariant: a look-up sees everything that was acknowledged before
//! it began. Non-goal: one moment for several look-ups; that is what snapshots are for.

use std::sync::Arc;

use super::core::Core;
use crate::catalog::{Table, TableState};
use crate::error::{Error, Result};
use crate::key::{KeyEncoder, RowKey};
use crate::mem::Known;
use crate::row_ref::RowRef;
use crate::write::Change;

/// Looks up rows of one table. It does not keep the store open, but what the store has in memory.
#[derive(Debug, Clone)]
pub struct TableReader {
    core: Arc<Core>,
    table: Table,
}

impl TableReader {
    pub(super) fn new(core: Arc<Core>, table: Table) -> Self {
        Self { core, table }
    }

    /// Makes keys of this table.
    pub fn encoder(&self) -> &KeyEncoder {
        &self.table.state.encoder
    }

    pub(super) fn table(&self) -> &TableState {
        &self.table.state
    }

    /// The live row with this key, in the columns `projection`: positions in the table, in any order.
    /// Costs one look-up in memory, and one in each segment that may have the key. The key is one of
    /// this table's [`encoder`](Self::encoder): another one's finds nothing, or what has the same
    /// bytes. Fails with `NotFound` if the table was dropped, `InvalidInput` if there is no such
    /// column or shard, `Unavailable` if the store is closed, `Corrupt` if the table is set aside,
    /// `Corrupt` or `Io` if a segment cannot be read.
    pub fn get(&self, key: &RowKey, projection: &[usize]) -> Result<Option<RowRef>> {
        self.core.check_open()?;
        let table = &self.table.state;
        let cutoff = self.core.cutoff(table).unwrap_or_default();
        let segments = {
            let mut shards = table.lock()?;
            let shard = shards.get_mut(key.shard() as usize).ok_or_else(|| {
                Error::invalid(format!(
                    "table \"{}\" has {} shards; this key is one of shard {} of another table",
                    table.name,
                    table.shards,
                    key.shard()
                ))
            })?;
            match shard.get(key.bytes(), &self.core.hasher) {
                // What is in segments is older still.
                Known::Row { version, .. } if version < cutoff => return Ok(None),
                Known::Row { rows, row, .. } => {
                    return RowRef::of_batch(&table.name, rows, row, projection).map(Some);
                }
                Known::Deleted => return Ok(None),
                Known::Nothing => shard.seen(),
            }
        };
        for seen in segments.iter() {
            if seen.segment.meta().change == Change::Upsert
                && let Some(row) = seen.find(key.bytes())?
            {
                let expired = seen.segment.meta().oldest < cutoff
                    && seen.segment.stamp(row)?.version < cutoff;
                if expired {
                    return Ok(None);
                }
                let (columns, row) = seen.segment.row(row, projection)?;
                return Ok(Some(RowRef::new(columns, row)));
            }
        }
        Ok(None)
    }
}
