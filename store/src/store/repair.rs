//! Making the index anew, from the log and from what the old index can still tell.
//!
//! Purpose: the way out of a damaged index, and from one backend to another. Invariant: the old
//! index is only read, and kept beside the new one; the new one takes its place when it is complete
//! and on disk. Non-goal: the log is not repaired; damage in it fails here as it does on open.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::folder::Folder;
use super::index::MANIFEST;
use super::meta::META_PREFIX;
use super::open::open_folder;
use super::{Components, OpenReport, Store};
use crate::backend::{self, Backend, Batch};
use crate::disk::sync_folder;
use crate::error::{Error, Result};
use crate::settings::{BackendKind, Settings};

/// Entries copied at a time; a value has at most [`MAX_META_VALUE`](super::MAX_META_VALUE) bytes.
const COPY_ENTRIES: usize = 64;

/// What a repair found and did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RepairReport {
    /// The backend of the new index.
    pub backend: BackendKind,
    /// The backend that made the old index; `None` if there was none, or none that is known.
    pub previous: Option<BackendKind>,
    /// Where the old index is now; `None` if there was none, or it was left in place because the
    /// new one is in memory.
    pub moved_to: Option<PathBuf>,
    /// Entries of small state of the layers above that were copied from the old index.
    pub copied: u64,
    /// What could not be read of the old index, each with its reason.
    pub unread: Vec<String>,
    /// What opening with the new index found and rebuilt.
    pub opened: OpenReport,
}

impl Store {
    /// Makes the index of a closed store anew with `settings.backend`, and tells `progress` the
    /// bytes of the log read so far, and in all. The old index is moved to `index.broken`, in place
    /// of an earlier one; the small state of the layers above that it can still deliver is copied.
    /// With [`BackendKind::Memory`] an index on disk is left as it is.
    ///
    /// Fails with `InvalidInput` if a setting is out of bounds or names no folder, `NotFound` if
    /// there is no such store, `Unavailable` if it is in use, `Corrupt` if the log is damaged, `Io`
    /// if the system refuses.
    pub fn repair(settings: Settings, mut progress: impl FnMut(u64, u64)) -> Result<RepairReport> {
        let started = Instant::now();
        settings.validate()?;
        let root = existing_folder(&settings)?;
        let folder = Folder::open(&root)?;
        let mut report = RepairReport {
            backend: settings.backend,
            ..RepairReport::default()
        };
        if settings.backend != BackendKind::Memory {
            replace_index(&settings, &folder, &mut report)?;
        }
        let opened = open_folder(settings, folder, Components::default(), &mut progress)?;
        let store = opened.start(started)?;
        report.opened = store.report().clone();
        store.close()?;
        Ok(report)
    }
}

fn existing_folder(settings: &Settings) -> Result<PathBuf> {
    let root = settings.data_dir.clone().ok_or_else(|| {
        Error::invalid("a store in memory cannot be repaired: set data_dir to its folder")
    })?;
    // Opening would create it, and a mistyped name would look like a repaired store.
    if !root.join("log").is_dir() {
        return Err(Error::not_found(format!(
            "no store is in {}: name its data folder",
            root.display()
        )));
    }
    Ok(root)
}

fn replace_index(settings: &Settings, folder: &Folder, report: &mut RepairReport) -> Result<()> {
    let old = folder.index();
    let new = old.with_extension("new");
    let io = |error| Error::io(format!("replace {}", old.display()), error);
    backend::remove(&new).map_err(io)?;
    {
        let (index, _) = backend::open(settings.backend, &new, settings.index_cache_bytes)?;
        if let Some(old) = open_old(settings, &old, report) {
            copy_state(&*old, &*index, report)?;
        }
        index.flush()?;
    }
    if fs::symlink_metadata(&old).is_ok() {
        report.moved_to = Some(backend::move_aside(&old)?);
    }
    fs::rename(&new, &old).map_err(io)?;
    sync_folder(&folder.root)
}

/// The old index, if it can be opened.
fn open_old(
    settings: &Settings,
    folder: &Path,
    report: &mut RepairReport,
) -> Option<Arc<dyn Backend>> {
    let opened = match backend::made_with(folder) {
        Ok(None) => return None,
        Ok(Some(kind)) => {
            report.previous = Some(kind);
            backend::open_patiently(kind, folder, settings.index_cache_bytes)
        }
        Err(error) => Err(error),
    };
    match opened {
        Ok(backend) => Some(backend),
        Err(error) => {
            report.unread.push(error.to_string());
            None
        }
    }
}

/// Copies what is not in the log. The manifest goes along: without it, nobody would notice that the
/// last log file is missing.
fn copy_state(from: &dyn Backend, to: &dyn Backend, report: &mut RepairReport) -> Result<()> {
    let maps = match from.maps() {
        Ok(maps) => maps,
        Err(error) => {
            report.unread.push(error.to_string());
            return Ok(());
        }
    };
    for map in maps {
        if map.starts_with(META_PREFIX) {
            report.copied += copy_map(&map, from, to, &mut report.unread)?;
        } else if map == MANIFEST {
            copy_map(&map, from, to, &mut report.unread)?;
        }
    }
    Ok(())
}

/// Copies entries in order up to the first that cannot be read; says how many.
fn copy_map(
    map: &str,
    from: &dyn Backend,
    to: &dyn Backend,
    unread: &mut Vec<String>,
) -> Result<u64> {
    let mut copied = 0;
    let mut start = Vec::new();
    loop {
        let entries = match from.range(map, &start, None, COPY_ENTRIES) {
            Ok(entries) => entries,
            Err(error) => {
                unread.push(format!("map {map} after {copied} entries: {error}"));
                return Ok(copied);
            }
        };
        let Some((last, _)) = entries.last() else {
            return Ok(copied);
        };
        if *last < start {
            unread.push(format!("map {map} after {copied} entries: out of order"));
            return Ok(copied);
        }
        start.clone_from(last);
        start.push(0);
        copied += entries.len() as u64;
        let mut batch = Batch::new();
        for (key, value) in entries {
            batch.put(map, key, value);
        }
        to.apply(batch)?;
    }
}
