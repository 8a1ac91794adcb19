//! Names of things: table ids, authors and stamps.
//!
//! Invariant: every order defined here is total and the same on every machine, because it decides
//! which of two writes wins.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Version;

/// The peer id, as text, of whoever wrote a row or owns a table.
pub type Author = Arc<str>;

/// Identifies a table for ever, on every peer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct TableId(pub [u8; 16]);

impl TableId {
    /// The id derived from `parts`: blake3 over the parts, each preceded by its length, cut to 16
    /// bytes. The same parts give the same id everywhere; moving a byte from one part to the next
    /// gives another id.
    pub fn derive(parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let mut id = [0; 16];
        for (to, from) in id.iter_mut().zip(hasher.finalize().as_bytes()) {
            *to = *from;
        }
        Self(id)
    }
}

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TableId({self})")
    }
}

/// When and by whom a row was written. The greater stamp wins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// The time of the write.
    pub version: Version,
    /// The peer that wrote; decides between equal versions.
    pub author: Author,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_ids_are_pinned_and_framed() {
        let id = TableId::derive(&[b"flights", b"owner"]);
        assert_eq!(id.to_string(), "3621b1ec45b271159332e5a46f19c482");
        assert_ne!(id, TableId::derive(&[b"flightso", b"wner"]));
    }

    #[test]
    fn stamps_order_by_version_then_author() {
        let stamp = |version, author: &str| Stamp {
            version: Version(version),
            author: author.into(),
        };
        assert!(stamp(1, "b") < stamp(2, "a"));
        assert!(stamp(2, "a") < stamp(2, "b"));
    }
}
