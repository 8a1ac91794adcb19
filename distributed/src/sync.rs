//! Brings replicas of a shard together after a connection is (re)made.
//!
//! A write is acknowledged only when every replica has it, so replicas differ by unacknowledged
//! batches alone: one that reached some replicas before the writer failed. Both sides fetch what the
//! other has; the conflict rule makes the result the same on both, whatever the order.

use std::sync::Arc;

use futures::StreamExt;
use libp2p::PeerId;
use netabase_store::{Error, ErrorKind, ShardBatch, Stamp, TableDef, Version};

use crate::counters::add;
use crate::node::Shared;
use crate::protocol::{self, MAX_MESSAGE, Part, Read};
use crate::spread::blocking;

/// Compares every shard that both hold, and fetches those that differ.
pub(crate) async fn with_peer(shared: &Arc<Shared>, peer: PeerId) {
    for def in shared.store.tables() {
        for shard in differing(shared, peer, &def) {
            match fetch(shared, peer, &def, shard).await {
                Ok(()) => add(&shared.meters.shards_synced, 1),
                Err(e) => {
                    tracing::warn!(%peer, table = %def.name, shard, error = %e, "shard not synced");
                    return;
                }
            }
        }
    }
}

fn differing(shared: &Arc<Shared>, peer: PeerId, def: &TableDef) -> Vec<u32> {
    let theirs = shared.membership.lock().said_about(&peer, def.id);
    let mine = shared.holdings(def);
    let differs = |m: &&protocol::Holding| {
        let other = theirs.iter().find(|t| t.shard == m.shard);
        other.is_some_and(|t| t.digest != m.digest)
    };
    mine.iter().filter(differs).map(|m| m.shard).collect()
}

async fn fetch(
    shared: &Arc<Shared>,
    peer: PeerId,
    def: &Arc<TableDef>,
    shard: u32,
) -> Result<(), Error> {
    let read = Read::Export {
        table: def.id,
        shard,
    };
    let mut parts = shared.pool.read(peer, &read).await?;
    loop {
        let next = tokio::time::timeout(shared.settings.deadline, parts.next()).await;
        let Ok(next) = next else {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!("peer {peer} stopped sending shard {shard}"),
            ));
        };
        let Some(part) = next else {
            break;
        };
        let part: Part = protocol::decode(&part?)?;
        if part.table != def.id || part.shard != shard {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("peer {peer} sent another shard than it was asked for"),
            ));
        }
        let batch = to_batch(part)?;
        let store = shared.store.clone();
        blocking(move || store.write(vec![batch])).await?;
    }
    shared.changed.notify_one();
    Ok(())
}

/// A part as the store takes it.
pub(crate) fn to_batch(part: Part) -> Result<ShardBatch, Error> {
    if part.rows.len() > MAX_MESSAGE {
        return Err(Error::new(ErrorKind::Capacity, "a part is too large"));
    }
    Ok(ShardBatch {
        table: part.table,
        shard: part.shard,
        change: part.change(),
        rows: protocol::decode_batch(&part.rows)?,
        stamp: Stamp {
            version: Version(part.version),
            author: part.author.into(),
        },
    })
}

/// A batch as it travels.
pub(crate) fn to_part(batch: &ShardBatch) -> Result<Part, Error> {
    Ok(Part {
        table: batch.table,
        shard: batch.shard,
        delete: matches!(batch.change, netabase_store::Change::Delete),
        version: batch.stamp.version.0,
        author: batch.stamp.author.to_string(),
        rows: protocol::encode_batch(&batch.rows)?,
    })
}
