//! The moment after a peer has joined.
//!
//! A peer learns the tables from the first peer it reaches, and meets the others a little later. A
//! write that comes in between would be refused for want of a replica that is only a handshake away;
//! so opening waits, briefly, until every known holder of a shard is there.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use netabase_distributed::Node;
use netabase_store::Store;

/// How long opening waits for holders; one that is gone for good costs this much once.
const HOLDERS_WAIT: Duration = Duration::from_secs(2);
/// How often it looks.
const HOLDERS_STEP: Duration = Duration::from_millis(10);

/// Waits until the holders of every known table are connected, or the time is up: their absence is
/// told by the statement that needs them.
pub(crate) async fn meet_holders(node: &Node, store: &Store) {
    let limit = Instant::now() + HOLDERS_WAIT;
    while !all_here(node, store) && Instant::now() < limit {
        tokio::time::sleep(HOLDERS_STEP).await;
    }
}

fn all_here(node: &Node, store: &Store) -> bool {
    let mut here: HashSet<String> = node.peers().into_iter().map(|peer| peer.id).collect();
    here.insert(node.peer_id().to_owned());
    let tables = store.tables();
    let mut holders = tables
        .iter()
        .flat_map(|table| table.placement.iter().flatten());
    holders.all(|holder| here.contains(holder))
}
