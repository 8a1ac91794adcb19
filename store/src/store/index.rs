//! What the store keeps in the backend: the catalog, the list of log files, the clean mark.
//!
//! Invariant: none of it is needed to read the log. It is compared with the log on open, and
//! written anew where it differs.

use std::collections::BTreeMap;

use crate::backend::{Backend, Batch};
use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::table::TableDef;

const CATALOG: &str = "catalog";
pub(super) const MANIFEST: &str = "manifest";
const FILES: &[u8] = b"files";
const CLEAN: &[u8] = b"clean";

/// What the manifest says, as far as it can be read.
#[derive(Debug, Default)]
pub(super) struct Manifest {
    pub(super) files: Option<Vec<u64>>,
    /// Number and length of the last log file when the store was closed.
    pub(super) clean: Option<(u64, u64)>,
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
