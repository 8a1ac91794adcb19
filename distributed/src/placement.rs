//! Which peers hold a shard, and which of them a query asks. Pure functions.
//!
//! Placement follows Kademlia's rule: the key of a shard is a hash, and the replicas are the peers
//! nearest to it by XOR distance (Maymounkov and Mazières, "Kademlia", 2002). Every peer that sees
//! the same members computes the same answer.

use libp2p::PeerId;
use netabase_store::TableId;

/// A point in the key space.
type Point = [u8; 32];

/// The key of a shard.
fn shard_point(table: TableId, shard: u32) -> Point {
    let mut hasher = blake3::Hasher::new_derive_key("netabase shard placement 1");
    hasher.update(&table.0);
    hasher.update(&shard.to_be_bytes());
    *hasher.finalize().as_bytes()
}

/// The key of a peer.
fn peer_point(peer: &PeerId) -> Point {
    blake3::derive_key("netabase peer placement 1", &peer.to_bytes())
}

fn distance(a: &Point, b: &Point) -> Point {
    std::array::from_fn(|i| a.get(i).unwrap_or(&0) ^ b.get(i).unwrap_or(&0))
}

/// For each shard the `replicas` members nearest to it (all of them, when there are fewer).
pub(crate) fn place(
    table: TableId,
    shards: u32,
    replicas: u32,
    members: &[PeerId],
) -> Vec<Vec<String>> {
    let points: Vec<(Point, &PeerId)> = members.iter().map(|p| (peer_point(p), p)).collect();
    (0..shards)
        .map(|shard| {
            let key = shard_point(table, shard);
            let mut near: Vec<_> = points
                .iter()
                .map(|(point, peer)| (distance(&key, point), *peer))
                .collect();
            near.sort();
            near.into_iter()
                .take(replicas as usize)
                .map(|(_, peer)| peer.to_base58())
                .collect()
        })
        .collect()
}

/// A shard and the peers that can answer for it now.
#[derive(Debug, Clone)]
pub(crate) struct Candidates {
    /// Shard number.
    pub shard: u32,
    /// Rows, as announced; weighs the load.
    pub rows: u64,
    /// Living holders.
    pub holders: Vec<String>,
}

/// Chooses one holder for each shard: this peer where it can, else the one with the least rows to
/// read so far (ties: the smaller id). Shards without a holder are returned in `Err`.
pub(crate) fn choose(me: &str, shards: &[Candidates]) -> Result<Vec<String>, Vec<u32>> {
    let missing: Vec<u32> = shards
        .iter()
        .filter(|c| c.holders.is_empty())
        .map(|c| c.shard)
        .collect();
    if !missing.is_empty() {
        return Err(missing);
    }
    let mut load = std::collections::HashMap::<&str, u64>::new();
    let mut chosen = Vec::with_capacity(shards.len());
    for candidate in shards {
        let best = candidate.holders.iter().min_by_key(|h| {
            let away = h.as_str() != me;
            (away, load.get(h.as_str()).copied().unwrap_or(0), h.as_str())
        });
        if let Some(best) = best {
            // A shard costs something even when it is empty, so that empty ones spread as well.
            *load.entry(best).or_default() += candidate.rows + 1;
            chosen.push(best.clone());
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn peers(n: usize) -> Vec<PeerId> {
        (0..n).map(|_| PeerId::random()).collect()
    }

    #[test]
    fn places_each_shard_on_distinct_peers_whatever_the_order() {
        let mut members = peers(7);
        let table = TableId([7; 16]);
        let placed = place(table, 64, 3, &members);
        assert_eq!(placed.len(), 64);
        for shard in &placed {
            let distinct: std::collections::HashSet<_> = shard.iter().collect();
            assert_eq!(distinct.len(), 3);
        }
        members.reverse();
        assert_eq!(place(table, 64, 3, &members), placed);
        assert!(
            place(table, 2, 3, &members[..2])
                .iter()
                .all(|s| s.len() == 2)
        );
    }

    #[test]
    fn a_leaving_peer_moves_only_its_own_shards() {
        let members = peers(10);
        let table = TableId([1; 16]);
        let gone = members[3].to_base58();
        let rest: Vec<_> = members
            .iter()
            .filter(|p| p.to_base58() != gone)
            .copied()
            .collect();
        let before = place(table, 200, 2, &members);
        let after = place(table, 200, 2, &rest);
        for (b, a) in before.iter().zip(&after) {
            if !b.contains(&gone) {
                assert_eq!(b, a);
            }
        }
    }

    #[test]
    fn chooses_itself_first_then_the_least_loaded() {
        let candidates = |shard, rows, holders: &[&str]| Candidates {
            shard,
            rows,
            holders: holders.iter().map(ToString::to_string).collect(),
        };
        let shards = [
            candidates(0, 10, &["a", "me"]),
            candidates(1, 100, &["a", "b"]),
            candidates(2, 1, &["a", "b"]),
            candidates(3, 1, &["a", "b"]),
        ];
        assert_eq!(choose("me", &shards).unwrap(), ["me", "a", "b", "b"]);
        let broken = [candidates(0, 1, &["a"]), candidates(1, 1, &[])];
        assert_eq!(choose("me", &broken).unwrap_err(), [1]);
    }
}
