//! Plain settings of a node.

use std::time::Duration;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use netabase_store::{Error, ErrorKind};
use serde::{Deserialize, Serialize};

/// Longest network name, in bytes.
pub const MAX_NETWORK_NAME: usize = 64;
/// Most addresses to listen on, and most bootstrap addresses.
pub const MAX_ADDRESSES: usize = 64;

/// What a peer does for its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Holds shards and executes parts of other peers' queries.
    Server,
    /// Only asks and writes; never chosen to hold a shard.
    Client,
}

/// Settings of a node. Data only; the store and the identity are handed over beside them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeSettings {
    /// The network's name: `[a-z0-9-]`, 1 to 64 bytes. Peers of other networks are turned away.
    pub network: String,
    /// What this peer does for the network.
    pub role: Role,
    /// Multiaddresses to listen on. Port 0 takes any free port.
    pub listen: Vec<String>,
    /// Multiaddresses of peers to join through, with or without a trailing `/p2p/<peer id>`.
    pub bootstrap: Vec<String>,
    /// Whether peers on the local network are found by multicast DNS.
    pub mdns: bool,
    /// Budget of one remote call, and of a query's search for living replicas.
    pub deadline: Duration,
    /// How long joining waits for the bootstrap peers.
    pub join_timeout: Duration,
    /// Test switch: every gossip message that arrives is dropped.
    pub drop_gossip: bool,
}

impl Default for NodeSettings {
    fn default() -> Self {
        Self {
            network: "default".into(),
            role: Role::Server,
            listen: vec![
                "/ip4/127.0.0.1/tcp/0".into(),
                "/ip4/127.0.0.1/udp/0/quic-v1".into(),
            ],
            bootstrap: Vec::new(),
            mdns: false,
            deadline: Duration::from_secs(20),
            join_timeout: Duration::from_secs(10),
            drop_gossip: false,
        }
    }
}

impl NodeSettings {
    /// Checks every field and the rules between them.
    ///
    /// # Errors
    /// `InvalidInput` naming the field and what it accepts.
    pub fn validate(&self) -> Result<(), Error> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.network.is_empty()
            || self.network.len() > MAX_NETWORK_NAME
            || !self.network.chars().all(fits)
        {
            return Err(invalid(format!(
                "network name \"{}\" is not valid; use 1 to {MAX_NETWORK_NAME} of a-z, 0-9 and -",
                self.network
            )));
        }
        if self.listen.len() > MAX_ADDRESSES || self.bootstrap.len() > MAX_ADDRESSES {
            return Err(invalid(format!(
                "more than {MAX_ADDRESSES} listen or bootstrap addresses"
            )));
        }
        if self.role == Role::Server && self.listen.is_empty() {
            return Err(invalid(
                "a server peer needs an address to listen on; add one, or open it as a client"
                    .into(),
            ));
        }
        if self.deadline.is_zero() {
            return Err(invalid("deadline must be longer than zero".into()));
        }
        self.listen_addresses()?;
        self.bootstrap_addresses()?;
        Ok(())
    }

    pub(crate) fn listen_addresses(&self) -> Result<Vec<Multiaddr>, Error> {
        self.listen.iter().map(|a| parse("listen", a)).collect()
    }

    pub(crate) fn bootstrap_addresses(&self) -> Result<Vec<Multiaddr>, Error> {
        self.bootstrap
            .iter()
            .map(|a| parse("bootstrap", a))
            .collect()
    }
}

fn parse(what: &str, address: &str) -> Result<Multiaddr, Error> {
    let parsed: Multiaddr = address.parse().map_err(|e| {
        invalid(format!(
            "{what} address \"{address}\" is not a multiaddress ({e}); write for instance /ip4/127.0.0.1/tcp/4001"
        ))
    })?;
    let transport = parsed
        .iter()
        .any(|p| matches!(p, Protocol::Tcp(_) | Protocol::QuicV1));
    if !transport {
        return Err(invalid(format!(
            "{what} address \"{address}\" has neither /tcp/<port> nor /udp/<port>/quic-v1"
        )));
    }
    Ok(parsed)
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_what_is_wrong() {
        let bad = |s: NodeSettings| s.validate().unwrap_err().to_string();
        assert!(NodeSettings::default().validate().is_ok());
        assert!(
            bad(NodeSettings {
                network: "A b".into(),
                ..Default::default()
            })
            .contains("A b")
        );
        assert!(
            bad(NodeSettings {
                listen: vec!["/ip4/1.2.3.4".into()],
                ..Default::default()
            })
            .contains("neither /tcp")
        );
        assert!(
            bad(NodeSettings {
                bootstrap: vec!["here".into()],
                ..Default::default()
            })
            .contains("not a multiaddress")
        );
        assert!(
            bad(NodeSettings {
                listen: vec![],
                ..Default::default()
            })
            .contains("client")
        );
    }
}
