//! What a peer has done, counted. Tests and operators read these numbers, never the log text.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// A reading of a peer's counters. All start at zero with the process and only grow.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Counters { $($(#[$doc])* pub $name: u64,)* }

        #[derive(Debug, Default)]
        pub(crate) struct Meters { $(pub $name: AtomicU64,)* }

        impl Meters {
            pub(crate) fn read(&self) -> Counters {
                Counters { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Stage plans published by gossip as the asking peer.
    plans_pushed,
    /// Stage plans that were too large for a gossip message and only offered for pulling.
    plans_too_large,
    /// Stage plans this peer was sent a task for and had received by gossip.
    plans_by_gossip,
    /// Stage plans this peer was sent a task for and pulled from the asking peer.
    plans_by_pull,
    /// Tasks of other peers' queries that this peer started.
    tasks_run,
    /// Of those, tasks that aggregate partially above a scan.
    partial_aggregates,
    /// Plans of other peers that the fence refused.
    plans_refused,
    /// Shards read for another peer because the plan could not be sent to them.
    remote_scans,
    /// Write batches applied for other peers.
    batches_applied,
    /// Queries planned again because a holder was lost before the first row.
    retries,
    /// Shards brought up to date from another replica.
    shards_synced,
    /// Gossip messages accepted.
    gossip_accepted,
    /// Gossip messages rejected as malformed or forged.
    gossip_rejected,
    /// Gossip messages dropped by the test switch.
    gossip_dropped,
    /// Bytes written to data-plane streams.
    bytes_sent,
    /// Bytes read from data-plane streams.
    bytes_received,
}

pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}
