//! Who is in the network, and who holds what. A state machine without IO: facts in, answers out.
//!
//! Invariant: a peer is `ready` once it said hello on a live connection of this network; only ready
//! peers are placed, written to or asked. Knowledge about a shard is what its holder last said.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use libp2p::PeerId;
use netabase_store::{TableDef, TableId};

use crate::placement::Candidates;
use crate::protocol::{Announcement, Holding};
use crate::settings::Role;

/// How long a peer whose call failed is avoided, if another replica is there.
const SUSPICION: Duration = Duration::from_secs(30);

/// How long a new definition may take to show in its holders' announcements, in milliseconds.
const SPREADING_MS: u64 = 5_000;

/// A peer of the network, as seen from this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerInfo {
    /// Peer id.
    pub id: String,
    /// Its role.
    pub role: Role,
    /// Addresses it can be dialled at.
    pub addresses: Vec<String>,
    /// Tables of which it holds shards.
    pub tables: usize,
    /// Live rows it holds.
    pub rows: u64,
}

#[derive(Debug, Default)]
struct Peer {
    connected: bool,
    addresses: Vec<String>,
    /// Sequence of its last announcement, and its role.
    said: Option<(u64, Role)>,
    holdings: HashMap<TableId, Vec<Holding>>,
    suspect_until: Option<Instant>,
}

/// What a peer holds of a table that is younger than its last announcement: nothing yet.
static NOTHING_YET: Holding = Holding {
    shard: 0,
    rows: 0,
    bytes: 0,
    digest: [0; 32],
};

impl Peer {
    fn serves(&self) -> bool {
        self.said.is_some_and(|(_, role)| role == Role::Server)
    }

    /// What a replica holds whose last announcement is from before the table could have reached it.
    fn may_not_have_said(&self, def: &TableDef) -> Option<&Holding> {
        let said_ms = self.said?.0 / 1000;
        let created_ms = def.created.0 >> 16;
        (said_ms < created_ms + SPREADING_MS).then_some(&NOTHING_YET)
    }
}

/// The members and their shards.
#[derive(Debug, Default)]
pub(crate) struct Membership {
    peers: BTreeMap<PeerId, Peer>,
}

impl Membership {
    pub(crate) fn connected(&mut self, peer: PeerId) {
        let peer = self.peers.entry(peer).or_default();
        peer.connected = true;
        peer.suspect_until = None;
    }

    pub(crate) fn disconnected(&mut self, peer: &PeerId) {
        self.peers.remove(peer);
    }

    /// A peer says that it leaves; `false` if it has spoken since.
    pub(crate) fn goodbye(&mut self, peer: &PeerId, sequence: u64) -> bool {
        let known = self.peers.get_mut(peer);
        let last = known.filter(|p| p.said.is_some_and(|(said, _)| said < sequence));
        last.map(|p| p.said = None).is_some()
    }

    pub(crate) fn addresses(&mut self, peer: PeerId, addresses: Vec<String>) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.addresses = addresses;
        }
    }

    /// Takes what a connected peer says it holds, unless it said something newer.
    pub(crate) fn announced(&mut self, peer: PeerId, announcement: Announcement) -> bool {
        let Some(known) = self.peers.get_mut(&peer).filter(|p| p.connected) else {
            return false;
        };
        if known.said.is_some_and(|(s, _)| s >= announcement.sequence) {
            return false;
        }
        known.said = Some((announcement.sequence, announcement.role));
        known.holdings = announcement.tables.into_iter().collect();
        true
    }

    /// A peer confirmed a definition: it holds its (still empty) shards from now on.
    pub(crate) fn confirmed(&mut self, peer: &PeerId, def: &TableDef) {
        let Some(known) = self.peers.get_mut(peer) else {
            return;
        };
        let id = peer.to_base58();
        known
            .holdings
            .entry(def.id)
            .or_insert_with(|| empty_holdings(def, &id));
    }

    pub(crate) fn suspect(&mut self, peer: &PeerId, now: Instant) {
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.suspect_until = Some(now + SUSPICION);
        }
    }

    pub(crate) fn trust(&mut self, peer: &PeerId) {
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.suspect_until = None;
        }
    }

    fn ready(&self) -> impl Iterator<Item = (&PeerId, &Peer)> {
        self.peers
            .iter()
            .filter(|(_, p)| p.connected && p.said.is_some())
    }

    pub(crate) fn is_ready(&self, peer: &PeerId) -> bool {
        self.ready().any(|(p, _)| p == peer)
    }

    pub(crate) fn is_connected(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|p| p.connected)
    }

    pub(crate) fn ready_peers(&self) -> Vec<PeerId> {
        self.ready().map(|(id, _)| *id).collect()
    }

    /// Ready peers that hold shards for others.
    pub(crate) fn servers(&self) -> Vec<PeerId> {
        let servers = self.ready().filter(|(_, p)| p.serves());
        servers.map(|(id, _)| *id).collect()
    }

    /// Of these, the ones that are not suspected of being lost.
    pub(crate) fn trusted_servers(&self, now: Instant) -> Vec<PeerId> {
        let servers = self.ready().filter(|(_, p)| p.serves());
        let trusted = servers.filter(|(_, p)| p.suspect_until.is_none_or(|until| until <= now));
        trusted.map(|(id, _)| *id).collect()
    }

    pub(crate) fn infos(&self) -> Vec<PeerInfo> {
        self.ready()
            .map(|(id, p)| PeerInfo {
                id: id.to_base58(),
                role: p.said.map_or(Role::Client, |(_, role)| role),
                addresses: p.addresses.clone(),
                tables: p.holdings.len(),
                rows: p.holdings.values().flatten().map(|h| h.rows).sum(),
            })
            .collect()
    }

    /// What a peer said about a table.
    pub(crate) fn said_about(&self, peer: &PeerId, table: TableId) -> Vec<Holding> {
        let said = self.peers.get(peer).and_then(|p| p.holdings.get(&table));
        said.cloned().unwrap_or_default()
    }

    /// Everyone who can answer for each shard of a table. `local` is what this peer (`me`) holds.
    ///
    /// Suspects are left out where somebody else holds the shard.
    pub(crate) fn candidates(
        &self,
        def: &TableDef,
        me: &str,
        local: &[Holding],
        now: Instant,
    ) -> Vec<(Candidates, Hash)> {
        let own = def.placement.is_empty();
        (0..def.shards)
            .map(|shard| {
                let mut holders = Vec::new();
                let mut suspects = Vec::new();
                let mut rows = 0;
                let mut digest = Hash::default();
                let placed = def.placement.get(shard as usize);
                if own || placed.is_some_and(|p| p.iter().any(|id| id == me)) {
                    holders.push(me.to_string());
                    if let Some(h) = local.iter().find(|h| h.shard == shard) {
                        (rows, digest) = (h.rows, h.digest);
                    }
                }
                for (id, peer) in self.ready() {
                    // Who is no replica of a shard may hold an old or a forged copy of it.
                    let text = id.to_base58();
                    if !placed.is_some_and(|p| p.contains(&text)) {
                        continue;
                    }
                    let said = peer.holdings.get(&def.id);
                    let held = said.and_then(|t| t.iter().find(|h| h.shard == shard));
                    let Some(held) = held.or_else(|| peer.may_not_have_said(def)) else {
                        continue;
                    };
                    if holders.is_empty() && suspects.is_empty() {
                        (rows, digest) = (held.rows, held.digest);
                    }
                    match peer.suspect_until {
                        Some(until) if until > now => suspects.push(text),
                        _ => holders.push(text),
                    }
                }
                if holders.is_empty() {
                    holders = suspects;
                }
                let candidates = Candidates {
                    shard,
                    rows,
                    holders,
                };
                (candidates, digest)
            })
            .collect()
    }
}

/// A digest as it is announced.
type Hash = [u8; 32];

/// The shards that a definition places on a peer, without rows.
pub(crate) fn empty_holdings(def: &TableDef, peer: &str) -> Vec<Holding> {
    let placed = |shard: &Vec<String>| shard.iter().any(|id| id == peer);
    (0..def.shards)
        .zip(&def.placement)
        .filter(|(_, p)| placed(p))
        .map(|(shard, _)| Holding {
            shard,
            rows: 0,
            bytes: 0,
            digest: [0; 32],
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};
    use netabase_store::Version;

    use super::*;

    fn def(placement: Vec<Vec<String>>) -> TableDef {
        TableDef {
            id: TableId([1; 16]),
            name: "t".into(),
            schema: Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, false)])),
            primary_key: vec![0],
            shard_key: vec![0],
            shards: 2,
            replicas: 2,
            local: false,
            owner: "o".into(),
            created: Version(1),
            dropped: None,
            placement,
            options: Default::default(),
            attachment: Vec::new(),
        }
    }

    /// Announced long after the table was made.
    fn says(order: u64, shards: &[u32]) -> Announcement {
        let sequence = SPREADING_MS * 2000 + order;
        let held = |&shard| Holding {
            shard,
            rows: 5,
            bytes: 50,
            digest: [9; 32],
        };
        Announcement {
            sequence,
            role: Role::Server,
            tables: vec![(TableId([1; 16]), shards.iter().map(held).collect())],
        }
    }

    fn holders(m: &Membership, d: &TableDef, now: Instant) -> Vec<Vec<String>> {
        m.candidates(d, "me", &[], now)
            .into_iter()
            .map(|(c, _)| c.holders)
            .collect()
    }

    #[test]
    fn only_connected_peers_that_said_hello_answer() {
        let (a, now) = (PeerId::random(), Instant::now());
        let id = a.to_base58();
        let d = def(vec![vec![id.clone()], vec![id.clone()]]);
        let mut m = Membership::default();
        m.connected(a);
        assert_eq!(
            holders(&m, &d, now),
            [vec![], Vec::<String>::new()],
            "no hello yet"
        );
        assert!(m.announced(a, says(2, &[0])));
        assert!(!m.announced(a, says(1, &[0, 1])), "older news are ignored");
        assert_eq!(holders(&m, &d, now), [vec![id.clone()], vec![]]);
        assert!(!m.goodbye(&a, 5), "said before it spoke");
        m.disconnected(&a);
        assert!(holders(&m, &d, now).iter().all(Vec::is_empty));
        assert!(
            !m.announced(a, says(9, &[0])),
            "only connected peers are listened to"
        );
        assert!(m.servers().is_empty());
    }

    #[test]
    fn a_suspect_is_asked_only_when_nobody_else_is_there() {
        let (a, b, now) = (PeerId::random(), PeerId::random(), Instant::now());
        let both = vec![a.to_base58(), b.to_base58()];
        let d = def(vec![both.clone(), both]);
        let mut m = Membership::default();
        for p in [a, b] {
            m.connected(p);
        }
        m.announced(a, says(1, &[0, 1]));
        m.announced(b, says(1, &[0]));
        m.suspect(&a, now);
        assert_eq!(m.trusted_servers(now), [b]);
        assert_eq!(m.servers().len(), 2);
        assert_eq!(
            holders(&m, &d, now),
            [vec![b.to_base58()], vec![a.to_base58()]]
        );
        assert_eq!(holders(&m, &d, now + SUSPICION * 2)[0].len(), 2);
        m.suspect(&a, now);
        m.trust(&a);
        assert_eq!(holders(&m, &d, now)[0].len(), 2);
    }

    #[test]
    fn a_confirmed_definition_is_held_at_once() {
        let (a, now) = (PeerId::random(), Instant::now());
        let d = def(vec![vec![a.to_base58()], vec!["me".into()]]);
        let mut m = Membership::default();
        m.connected(a);
        m.announced(
            a,
            Announcement {
                sequence: 1,
                role: Role::Server,
                tables: vec![],
            },
        );
        m.confirmed(&a, &d);
        assert_eq!(
            holders(&m, &d, now),
            [vec![a.to_base58()], vec!["me".to_string()]]
        );
    }
}
