//! What the store keeps in the backend: the catalog, the list of log files, the clean mark.
//!
//! Invariant: none of it is needed to read the log. It is compared with the log on open, and
//! written anew where it differs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::{Backend, Batch, SledBackend};
use crate::catalog::Catalog;
use crate::error::{Error, ErrorKind, Result};
use crate::table::TableDef;

/// How long to retry opening sled when the system refuses.
const OPEN_PATIENCE: Duration = Duration::from_secs(1);
/// Time between two tries.
const OPEN_RETRY: Duration = Duration::from_millis(20);

const CATALOG: &str = "catalog";
const MANIFEST: &str = "manifest";
const FILES: &[u8] = b"files";
const CLEAN: &[u8] = b"clean";

/// What the manifest says, as far as it can be read.
#[derive(Debug, Default)]
pub(super) struct Manifest {
    pub(super) files: Option<Vec<u64>>,
    /// Number and length of the last log file when the store was closed.
    pub(super) clean: Option<(u64, u64)>,
}

/// Opens sled in `path`; moves a folder that cannot be opened aside. Also says whether it did.
pub(super) fn open_sled(path: &Path, cache_bytes: u64) -> Result<(Arc<dyn Backend>, bool)> {
    match open_patiently(path, cache_bytes) {
        Ok(backend) => Ok((Arc::new(backend), false)),
        Err(error) => {
            tracing::warn!(%error, "the index cannot be opened; it is rebuilt from the log");
            move_aside(path)?;
            Ok((Arc::new(SledBackend::open(path, cache_bytes)?), true))
        }
    }
}

/// The store holds the folder's lock already, so sled's own can only be held by its last moments
/// in this process, or by a process that is just being started: both are over soon.
fn open_patiently(path: &Path, cache_bytes: u64) -> Result<SledBackend> {
    let started = Instant::now();
    loop {
        match SledBackend::open(path, cache_bytes) {
            Err(error) if error.kind() == ErrorKind::Io && started.elapsed() < OPEN_PATIENCE => {
                std::thread::sleep(OPEN_RETRY);
            }
            opened => return opened,
        }
    }
}

/// Keeps one damaged index beside the new one, for whoever wants to look at it.
fn move_aside(path: &Path) -> Result<()> {
    let aside = path.with_extension("broken");
    let failed = |error| Error::io(format!("move {} aside", path.display()), error);
    let removed = match fs::symlink_metadata(&aside) {
        Ok(entry) if entry.is_dir() => fs::remove_dir_all(&aside),
        Ok(_) => fs::remove_file(&aside),
        Err(_) => Ok(()),
    };
    removed
        .and_then(|()| fs::rename(path, &aside))
        .map_err(failed)
}

/// The manifest; what cannot be read counts as missing.
pub(super) fn manifest(backend: &dyn Backend) -> Manifest {
    let value = |key| backend.get(MANIFEST, key).ok().flatten();
    Manifest {
        files: value(FILES).and_then(|bytes| postcard::from_bytes(&bytes).ok()),
        clean: value(CLEAN).and_then(|bytes| postcard::from_bytes(&bytes).ok()),
    }
}

/// Makes the backend agree with the log. True if it did already.
pub(super) fn reconcile(backend: &dyn Backend, catalog: &Catalog, files: &[u64]) -> Result<bool> {
    let mut wanted = BTreeMap::new();
    for table in catalog.all() {
        wanted.insert(table.def.id.0.to_vec(), table.def.to_bytes()?);
    }
    let found = backend.range(CATALOG, &[], None, usize::MAX);
    let agrees = match &found {
        Ok(found) => found.iter().map(|(k, v)| (k, v)).eq(wanted.iter()),
        Err(error) => {
            tracing::warn!(%error, "the index cannot be read; it is rebuilt from the log");
            backend.clear()?;
            false
        }
    };
    let agrees = agrees && manifest(backend).files.as_deref() == Some(files);
    let mut batch = Batch::new();
    for (id, _) in found.unwrap_or_default() {
        batch.delete(CATALOG, id);
    }
    for (id, def) in wanted {
        batch.put(CATALOG, id, def);
    }
    batch.put(MANIFEST, FILES, encoded(&files)?);
    batch.delete(MANIFEST, CLEAN);
    backend.apply(batch)?;
    backend.flush()?;
    Ok(agrees)
}

pub(super) fn note_table(backend: &dyn Backend, def: &TableDef) -> Result<()> {
    let mut batch = Batch::new();
    batch.put(CATALOG, def.id.0, def.to_bytes()?);
    backend.apply(batch)?;
    backend.flush()
}

pub(super) fn note_files(backend: &dyn Backend, files: &[u64]) -> Result<()> {
    let mut batch = Batch::new();
    batch.put(MANIFEST, FILES, encoded(&files)?);
    backend.apply(batch)?;
    backend.flush()
}

pub(super) fn note_clean(backend: &dyn Backend, file: u64, len: u64) -> Result<()> {
    let mut batch = Batch::new();
    batch.put(MANIFEST, CLEAN, encoded(&(file, len))?);
    backend.apply(batch)
}

fn encoded(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    postcard::to_extend(value, Vec::new())
        .map_err(|error| Error::invalid(format!("encode the manifest: {error}")))
}
