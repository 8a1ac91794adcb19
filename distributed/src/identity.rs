//! The peer's key pair and its file.
//!
//! Purpose: a data folder keeps one identity for its lifetime; placement refers to peers by it.
//! Invariant: a damaged file is never replaced silently: a new identity would make every shard of
//! this folder unreachable under its old name.

use std::io::Write;
use std::path::Path;

use libp2p::PeerId;
use libp2p::identity::Keypair;
use netabase_store::{Error, ErrorKind};

const FILE: &str = "identity";
const MAGIC: &[u8; 8] = b"NETAID01";
/// Longest identity file that is read, in bytes.
const MAX_FILE: u64 = 4096;
const CHECKSUM: usize = 32;

/// A peer's Ed25519 key pair.
#[derive(Debug, Clone)]
pub struct Identity(Keypair);

impl Identity {
    /// A fresh identity that lives in memory only.
    #[must_use]
    pub fn generate() -> Self {
        Self(Keypair::generate_ed25519())
    }

    /// Reads the identity of a data folder, or makes one there.
    ///
    /// # Errors
    /// `Corrupt` when the file exists and is damaged, `Io` when it cannot be read or written.
    pub fn load_or_create(data_dir: &Path) -> Result<Self, Error> {
        let path = data_dir.join(FILE);
        match std::fs::metadata(&path) {
            Ok(meta) if meta.len() > MAX_FILE => Err(corrupt(&path)),
            Ok(_) => {
                let bytes = std::fs::read(&path).map_err(|e| io(&path, &e))?;
                Self::decode(&bytes).ok_or_else(|| corrupt(&path))
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let identity = Self::generate();
                identity.save(&path)?;
                Ok(identity)
            }
            Err(e) => Err(io(&path, &e)),
        }
    }

    /// The peer id, in its usual base58 text form.
    #[must_use]
    pub fn peer_id(&self) -> String {
        self.id().to_base58()
    }

    pub(crate) fn id(&self) -> PeerId {
        self.0.public().to_peer_id()
    }

    pub(crate) fn keypair(&self) -> &Keypair {
        &self.0
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (checksum, key) = rest.split_at_checked(CHECKSUM)?;
        if blake3::hash(key).as_bytes() != checksum {
            return None;
        }
        Keypair::from_protobuf_encoding(key).ok().map(Self)
    }

    fn save(&self, path: &Path) -> Result<(), Error> {
        let key = self
            .0
            .to_protobuf_encoding()
            .map_err(|e| Error::new(ErrorKind::Io, format!("cannot encode a new identity: {e}")))?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(blake3::hash(&key).as_bytes());
        bytes.extend_from_slice(&key);
        let temporary = path.with_extension("new");
        let write = || -> std::io::Result<()> {
            let mut options = std::fs::OpenOptions::new();
            options.write(true).create(true).truncate(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(&temporary)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            std::fs::rename(&temporary, path)?;
            if let Some(folder) = path.parent() {
                std::fs::File::open(folder)?.sync_all()?;
            }
            Ok(())
        };
        write().map_err(|e| io(path, &e))
    }
}

fn corrupt(path: &Path) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!(
            "identity file {} is damaged; restore it from a backup, or remove it to join as a new \
             peer (shards placed on the old identity are then served by their other replicas only)",
            path.display()
        ),
    )
}

fn io(path: &Path, e: &std::io::Error) -> Error {
    Error::new(
        ErrorKind::Io,
        format!("identity file {}: {e}", path.display()),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keeps_its_identity_and_refuses_a_damaged_file() {
        let dir = tempfile::tempdir().unwrap();
        let first = Identity::load_or_create(dir.path()).unwrap();
        let again = Identity::load_or_create(dir.path()).unwrap();
        assert_eq!(first.peer_id(), again.peer_id());

        let path = dir.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        for damage in [whole[..whole.len() / 2].to_vec(), Vec::new(), {
            let mut flipped = whole.clone();
            *flipped.last_mut().unwrap() ^= 1;
            flipped
        }] {
            std::fs::write(&path, &damage).unwrap();
            let error = Identity::load_or_create(dir.path()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(error.to_string().contains("identity"));
            assert_eq!(
                std::fs::read(&path).unwrap(),
                damage,
                "the file is left alone"
            );
        }
    }
}
