//! The network of netabase: a libp2p node, placement and replication of shards, and queries that
//! are planned where they are asked and executed where the rows are.
//!
//! # A query's way
//!
//! `query` configures sessions: a scan (`source`) names every shard once, with the holder that
//! `placement` chose from what `membership` knows. datafusion-distributed cuts the plan into
//! stages; `plans` pushes each stage by gossip and `fence` checks it where it arrives. Rows come
//! back over `rpc`. A write (`cluster`) goes to every replica before it is acknowledged; `spread`
//! and `sync` keep catalogs and replicas the same.
#![forbid(unsafe_code)]

mod cluster;
mod counters;
mod explain;
mod fence;
mod identity;
mod lookup;
mod membership;
mod node;
mod placement;
mod plans;
mod protocol;
mod query;
mod replica;
mod rpc;
mod settings;
mod signed;
mod source;
mod spread;
mod swarm;
mod sync;

pub use counters::Counters;
pub use identity::Identity;
pub use membership::PeerInfo;
pub use node::Node;
pub use settings::{MAX_ADDRESSES, MAX_NETWORK_NAME, NodeSettings, Role};
