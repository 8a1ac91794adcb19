//! The set hashes by which two replicas of a shard are compared, as a tree.
//!
//! Idea: every current record has a blake3 hash over (key, version, author, tombstone), and belongs
//! to one of 256 leaves, chosen by a hash of its key. A leaf's digest is the sum of its records'
//! hashes, four 64-bit lanes, wrapping; a node's is the sum of its children's. Adding and removing
//! a record is therefore O(1), and the order of arrival does not show. Equal roots cost one
//! comparison; unequal ones lead to the leaves that differ, and these to a 256th of the records
//! each. Invariant: same records, same tree.
//! Non-goal: it does not stand against an author who searches for colliding sets on purpose.

use std::fmt;

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use crate::clock::Version;

/// Leaves of a shard's digest tree.
pub const DIGEST_LEAVES: usize = 256;

const LANES: usize = 4;
const LANE_BYTES: usize = 8;

/// An order-free hash over the current records of a shard, tombstones included. Shown as the first
/// 8 bytes in hex. The empty shard's digest is all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.first_chunk::<LANE_BYTES>();
        let shown = shown.map_or(0, |bytes| u64::from_be_bytes(*bytes));
        write!(f, "{shown:016x}")
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// The running sum behind a [`Digest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
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

    pub(crate) fn is_zero(self) -> bool {
        self == Self::default()
    }

    pub(crate) fn digest(self) -> Digest {
        let mut bytes = [0; LANES * LANE_BYTES];
        for (chunk, lane) in bytes.chunks_exact_mut(LANE_BYTES).zip(self.0) {
            chunk.copy_from_slice(&lane.to_le_bytes());
        }
        Digest(bytes)
    }
}

/// The leaf that the records of a key belong to; the same on every machine.
pub(crate) fn leaf_of(key: &[u8]) -> u8 {
    // The high bits, because the low ones choose slots of other tables.
    (XxHash3_64::oneshot(key) >> (u64::BITS - 8)) as u8
}

/// The hash of one record, and its place in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordDigest {
    pub(crate) leaf: u8,
    pub(crate) sum: DigestSum,
}

/// The leaves, and their sum. Empty trees hold no memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DigestTree {
    root: DigestSum,
    leaves: Vec<DigestSum>,
}

impl DigestTree {
    pub(crate) fn add(&mut self, record: RecordDigest) {
        self.root.add(record.sum);
        self.leaf(record.leaf).add(record.sum);
    }

    pub(crate) fn remove(&mut self, record: RecordDigest) {
        self.root.remove(record.sum);
        self.leaf(record.leaf).remove(record.sum);
    }

    pub(crate) fn add_tree(&mut self, other: &Self) {
        if other.leaves.is_empty() {
            return;
        }
        self.root.add(other.root);
        self.leaves.resize(DIGEST_LEAVES, DigestSum::default());
        for (leaf, theirs) in self.leaves.iter_mut().zip(&other.leaves) {
            leaf.add(*theirs);
        }
    }

    pub(crate) fn root(&self) -> Digest {
        self.root.digest()
    }

    pub(crate) fn root_sum(&self) -> DigestSum {
        self.root
    }

    /// The digest of every leaf.
    pub(crate) fn leaves(&self) -> Vec<Digest> {
        let known = self.leaves.iter().map(|leaf| leaf.digest());
        let mut all: Vec<Digest> = known.collect();
        all.resize(DIGEST_LEAVES, Digest::default());
        all
    }

    /// The leaves that are not empty, for storing.
    pub(crate) fn to_sparse(&self) -> Vec<(u8, DigestSum)> {
        let numbered = (0..=u8::MAX).zip(&self.leaves);
        numbered
            .filter(|(_, leaf)| !leaf.is_zero())
            .map(|(number, leaf)| (number, *leaf))
            .collect()
    }

    pub(crate) fn from_sparse(leaves: &[(u8, DigestSum)]) -> Self {
        let mut tree = Self::default();
        for &(leaf, sum) in leaves {
            tree.add(RecordDigest { leaf, sum });
        }
        tree
    }

    fn leaf(&mut self, leaf: u8) -> &mut DigestSum {
        self.leaves.resize(DIGEST_LEAVES, DigestSum::default());
        &mut self.leaves[usize::from(leaf)]
    }
}

/// Bytes of an author's hash.
const AUTHOR_BYTES: usize = 16;

/// Hashes records one after the other, with one scratch buffer.
///
/// An author goes in as a hash of its own, which neighbours mostly share: with it and a key of up to
/// 39 bytes, a record is one block of blake3. Names of peers alone would make that two.
#[derive(Debug, Default)]
pub(crate) struct RecordHasher {
    scratch: Vec<u8>,
    author: Option<(String, [u8; AUTHOR_BYTES])>,
}

impl RecordHasher {
    pub(crate) fn hash(
        &mut self,
        key: &[u8],
        version: Version,
        author: &str,
        tombstone: bool,
    ) -> RecordDigest {
        let author = self.hash_of(author);
        let bytes = &mut self.scratch;
        bytes.clear();
        bytes.push(u8::from(tombstone));
        bytes.extend_from_slice(&version.0.to_le_bytes());
        bytes.extend_from_slice(&author);
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
        RecordDigest {
            leaf: leaf_of(key),
            sum,
        }
    }

    fn hash_of(&mut self, author: &str) -> [u8; AUTHOR_BYTES] {
        if let Some((known, hash)) = &self.author
            && known == author
        {
            return *hash;
        }
        let mut hash = [0; AUTHOR_BYTES];
        let whole = blake3::hash(author.as_bytes());
        for (to, from) in hash.iter_mut().zip(whole.as_bytes()) {
            *to = *from;
        }
        self.author = Some((author.to_owned(), hash));
        hash
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
        let (mut ab, mut ba) = (DigestTree::default(), DigestTree::default());
        ab.add(a);
        ab.add(b);
        ba.add(b);
        ba.add(a);
        assert_eq!(ab, ba);
        assert_eq!(ab.root().to_string(), "ef938eea2a1f4c9f");
        assert_eq!((a.leaf, b.leaf), (LEAF_OF_A, LEAF_OF_B));
        assert_eq!(DigestTree::from_sparse(&ab.to_sparse()), ab);
        ab.remove(a);
        assert_eq!(ab.root(), b.sum.digest());
        assert_ne!(a, hasher.hash(b"a", Version(1), "p", true));
        assert_ne!(a, hasher.hash(b"a", Version(1), "q", false));
        assert_eq!(a, hasher.hash(b"a", Version(1), "p", false));
        let mut both = ba.clone();
        both.add_tree(&ab);
        both.remove(a);
        both.remove(b);
        assert_eq!(both.to_sparse(), ab.to_sparse());
        assert_eq!(ab.leaves()[usize::from(b.leaf)], ab.root());
    }

    /// The leaves of the keys `a` and `b`: the same in every release.
    const LEAF_OF_A: u8 = 0xe6;
    const LEAF_OF_B: u8 = 0x57;
}
