//! Everything a shard holds, for another store.

use super::Store;
use crate::error::{Error, Result};
use crate::ids::TableId;
use crate::write::ShardBatch;

/// About how many bytes of rows one exported batch has.
const EXPORT_BATCH_BYTES: usize = 8 << 20;

impl Store {
    /// All current records of a shard, tombstones included. Writing them, in any grouping, to a
    /// store that has none gives the same rows and the same digest. Every batch has one stamp and
    /// about 8 MiB of rows at most. Fails with `NotFound` if the table is unknown or dropped,
    /// `InvalidInput` if it has no such shard, `Unavailable` if the store is closed.
    pub fn export_shard(&self, table: TableId, shard: u32) -> Result<Vec<ShardBatch>> {
        let table = self.core().any_table(table)?;
        let frozen = match table.state.lock()?.get_mut(shard as usize) {
            Some(mem) => mem.freeze(true),
            None => {
                return Err(Error::invalid(format!(
                    "table \"{}\" has {} shards; there is no shard {shard}",
                    table.def.name, table.state.shards
                )));
            }
        };
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
