//! Removing old backups from a folder.
//!
//! Invariant: a file goes only when no manifest that stays lists it. Manifests go first, so that
//! none is ever left whose files are missing.

use std::collections::HashSet;
use std::path::Path;

use super::target::{io, list_manifests, lock, read, read_manifest};
use super::{MARK, manifest};
use crate::disk::{Disk, OsDisk};
use crate::error::{Error, Result};

/// What was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PruneReport {
    /// Backups that were removed.
    pub backups: u64,
    /// Files that were removed.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
}

pub(super) fn prune(root: &Path, keep: usize) -> Result<PruneReport> {
    let mark = root.join(MARK);
    if keep == 0 || !mark.is_file() {
        return Err(Error::invalid(format!(
            "name a folder of backups and how many to keep, at least 1; {} keeping {keep} is not \
             that",
            root.display()
        )));
    }
    let text = read(&OsDisk, &mark)?;
    manifest::check_format(&mark, &String::from_utf8_lossy(&text))?;
    let _lock = lock(root)?;
    let mut old = list_manifests(&OsDisk, root)?;
    let kept = old.split_off(old.len().saturating_sub(keep));
    let mut needed = HashSet::new();
    for (_, path) in &kept {
        needed.extend(read_manifest(&OsDisk, path)?.files.into_keys());
    }
    let mut report = PruneReport::default();
    for (_, path) in &old {
        OsDisk.remove(path).map_err(|e| io("remove", path, e))?;
        report.backups += 1;
    }
    let folder = root.join("manifests");
    if !old.is_empty() {
        let synced = OsDisk.sync_folder(&folder);
        synced.map_err(|error| io("sync", &folder, error))?;
    }
    for part in ["checkpoints", "segments"] {
        remove_unneeded(root, part, &needed, &mut report)?;
    }
    Ok(report)
}

/// Removes what is not needed below a part of the backup.
fn remove_unneeded(
    root: &Path,
    part: &str,
    needed: &HashSet<String>,
    report: &mut PruneReport,
) -> Result<()> {
    let folder = root.join(part);
    let names = OsDisk.list(&folder).map_err(|e| io("list", &folder, e))?;
    for name in names {
        let inner = format!("{part}/{name}");
        let path = root.join(&inner);
        if path.is_dir() {
            remove_unneeded(root, &inner, needed, report)?;
        } else if !needed.contains(&inner) {
            report.bytes += std::fs::metadata(&path).map_or(0, |meta| meta.len());
            report.files += 1;
            OsDisk.remove(&path).map_err(|e| io("remove", &path, e))?;
        }
    }
    Ok(())
}
