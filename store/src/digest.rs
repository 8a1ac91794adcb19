//! The set hash by which two replicas of a shard are compared.
//!
//! Idea: every current record has a blake3 hash over (key, version, author, tombstone); the digest
//! is their sum, four 64-bit lanes, wrapping. Adding and removing a record is therefore O(1), and
//! the order of arrival does not show. Invariant: same records, same digest.
//! Non-goal: it does not stand against an author who searches for colliding sets on purpose.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::Version;

const LANES: usize = 4;
const LANE_BYTES: usize = 8;

/// An order-free hash over the current records of a shard, tombstones included. Shown as the first
/// 8 bytes in hex. The empty shard's digest is all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .take(LANE_BYTES)
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// The running sum behind a [`Digest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct DigestSum([u64; LANES]);

impl DigestSum {
    pub(crate) fn add(&mut self, other: Self) {
        for (lane, value) in self.0.iter_mut().zip(other.0) {
            *lane = lane.wrapping_add(value);
        }
    }

    pub(crate) fn remove(&mut self, other: Self) {
        for (lane, value) in self.0.iter_mut().zip(other.0) {
            *lane = lane.wrapping_sub(value);
        }
    }

    pub(crate) fn digest(self) -> Digest {
        let mut bytes = [0; LANES * LANE_BYTES];
        for (chunk, lane) in bytes.chunks_exact_mut(LANE_BYTES).zip(self.0) {
            chunk.copy_from_slice(&lane.to_le_bytes());
        }
        Digest(bytes)
    }
}

/// Hashes records one after the other, with one scratch buffer.
#[derive(Debug, Default)]
pub(crate) struct RecordHasher {
    scratch: Vec<u8>,
}

impl RecordHasher {
    pub(crate) fn hash(
        &mut self,
        key: &[u8],
        version: Version,
        author: &str,
        tombstone: bool,
    ) -> DigestSum {
        let bytes = &mut self.scratch;
        bytes.clear();
        bytes.push(u8::from(tombstone));
        bytes.extend_from_slice(&version.0.to_le_bytes());
        bytes.extend_from_slice(&(author.len() as u64).to_le_bytes());
        bytes.extend_from_slice(author.as_bytes());
        bytes.extend_from_slice(key);
        let hash = blake3::hash(bytes);
        let mut sum = DigestSum::default();
        for (lane, chunk) in sum
            .0
            .iter_mut()
            .zip(hash.as_bytes().chunks_exact(LANE_BYTES))
        {
            let mut word = [0; LANE_BYTES];
            word.copy_from_slice(chunk);
            *lane = u64::from_le_bytes(word);
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_free_reversible_and_pinned() {
        let mut hasher = RecordHasher::default();
        let a = hasher.hash(b"a", Version(1), "p", false);
        let b = hasher.hash(b"b", Version(2), "p", true);
        let (mut ab, mut ba) = (DigestSum::default(), DigestSum::default());
        ab.add(a);
        ab.add(b);
        ba.add(b);
        ba.add(a);
        assert_eq!(ab, ba);
        assert_eq!(ab.digest().to_string(), "b6e09a31d9fb5a2d");
        ab.remove(a);
        assert_eq!(ab, b);
        assert_ne!(a, hasher.hash(b"a", Version(1), "p", true));
    }
}
