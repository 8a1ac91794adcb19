//! Backups: a copy of everything at one moment, while the store is used.
//!
//! Idea: a checkpoint and the segments that it lists are the whole state, and segments never
//! change. A backup makes a checkpoint, keeps its segments from being removed, and copies what the
//! target does not have yet; readers and writers never wait. A folder holds many backups that share
//! files; an archive (tar) holds one, and unpacks to such a folder.
//!
//! Invariants: a manifest is written last and lists every file with its hash; a failed backup
//! leaves earlier ones as they were; what was restored has the digests that the manifest tells,
//! computed anew from the rows. Non-goals: the peer's identity and the small state of the layers
//! above, which are one machine's; encryption; copying to other machines.

mod filter;
mod fuzzing;
mod make;
mod manifest;
mod prune;
mod restore;
mod source;
mod tar;
mod target;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::fuzzing::{archive_for_fuzzing, files_for_fuzzing};
pub use self::prune::PruneReport;
use super::Store;
use super::maintenance::Job;
use crate::error::{Error, Result};
use crate::ids::TableId;

/// The file that marks a folder of backups.
const MARK: &str = "BACKUP";

/// Longest manifest, in bytes: about four million files.
const MAX_MANIFEST: u64 = 1 << 30;

/// Bytes done, bytes in all.
type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// Where a backup goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackupTarget {
    /// A folder: new, empty, or with earlier backups, whose files are not copied again.
    Folder(PathBuf),
    /// One file, a tar archive; an earlier archive of that name is replaced at the end.
    File(PathBuf),
}

/// What a backup copied.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct BackupReport {
    /// The backup's number in its folder.
    pub number: u64,
    /// Live tables in it.
    pub tables: usize,
    /// Live rows in it.
    pub rows: u64,
    /// Files that belong to it.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Files that were not there yet.
    pub copied_files: u64,
    /// Bytes of these.
    pub copied_bytes: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// What a backup became.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RestoreReport {
    /// The backup's number in its folder.
    pub number: u64,
    /// When it was made, in milliseconds since 1970.
    pub made_millis: u64,
    /// Live tables that were restored.
    pub tables: usize,
    /// Live rows in them, counted and verified.
    pub rows: u64,
    /// Files that were copied.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// What a backup says it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupInfo {
    /// The backup's number in its folder.
    pub number: u64,
    /// When it was made, in milliseconds since 1970.
    pub made_millis: u64,
    /// Its live tables.
    pub tables: Vec<BackupTable>,
    /// Bytes of its files.
    pub bytes: u64,
}

/// A live table in a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupTable {
    /// Its id.
    pub id: TableId,
    /// Its name.
    pub name: String,
    /// Its live rows.
    pub rows: u64,
}

impl Store {
    /// Copies the state of this moment, of all tables or of some, and tells `progress` the bytes
    /// done, and in all. Makes a checkpoint; neither readers nor writers wait for it or for the
    /// copying, and later changes are not in it. In a folder of earlier backups only new files are
    /// copied.
    ///
    /// Fails with `InvalidInput` if the target is something else or the store is in memory,
    /// `NotFound` if a table is unknown, `Unavailable` if the store is closed, only read, or another
    /// backup into the folder is running, `Corrupt` if a segment is damaged, `Io` if the system
    /// refuses, such as when the disk is full. Earlier backups in the folder stay as they were.
    pub fn backup(
        &self,
        to: BackupTarget,
        tables: Option<&[TableId]>,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<BackupReport> {
        let core = self.core();
        core.check_writable()?;
        for id in tables.unwrap_or_default() {
            core.any_table(*id)?;
        }
        let Some(home) = &core.home else {
            return Err(Error::invalid(
                "a store in memory has no files to copy; open it with data_dir",
            ));
        };
        let target = make::open(&home.disk, &to)?;
        // Older than everything that is retired from now on.
        let _guard = core.snapshots.register_lasting();
        let made = self.maintain(Job::backup)?.flatten();
        let made = made.ok_or_else(Error::closed)?;
        let work = make::Work {
            disk: Arc::clone(&home.disk),
            target,
            progress: &mut progress,
            files: Default::default(),
            report: BackupReport::default(),
            done: 0,
            total: 0,
        };
        work.run(made, tables)
    }

    /// Makes a data folder of a backup, whole or of some tables, and tells `progress` the bytes
    /// copied, and in all. `from` is a folder (its last backup is taken), one of the folder's
    /// manifests, or an archive; `data_dir` is new or empty. Every file's hash and every shard's
    /// digest are verified before the folder gets its name.
    ///
    /// Fails with `NotFound` if there is no such backup or table, `InvalidInput` if `from` is no
    /// backup, is of a newer format, or `data_dir` is not empty, `Corrupt` naming the file if the
    /// backup is damaged or incomplete, `Io` if the system refuses. Nothing is left behind then.
    pub fn restore(
        from: &Path,
        data_dir: &Path,
        tables: Option<&[TableId]>,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<RestoreReport> {
        restore::restore(from, data_dir, tables, &mut progress)
    }

    /// What the manifest of a backup says; its files are not read. Fails like `restore`.
    pub fn inspect_backup(from: &Path) -> Result<BackupInfo> {
        let manifest = source::manifest_of(&source::Source::open(from)?)?;
        let tables = manifest.tables.iter().filter(|table| !table.dropped);
        Ok(BackupInfo {
            number: manifest.number,
            made_millis: manifest.made_millis,
            bytes: manifest.files.values().map(|file| file.bytes).sum(),
            tables: tables
                .map(|table| BackupTable {
                    id: table.table_id().unwrap_or_default(),
                    name: table.name.clone(),
                    rows: table.rows(),
                })
                .collect(),
        })
    }

    /// Removes all but the newest `keep` backups of a folder, and the files that no other needs.
    /// Fails with `InvalidInput` if it is no folder of backups or `keep` is 0, `Unavailable` if a
    /// backup into it is running, `Corrupt` if a manifest to be kept is damaged (nothing is removed
    /// then), `Io` if the system refuses.
    pub fn prune_backups(folder: &Path, keep: usize) -> Result<PruneReport> {
        prune::prune(folder, keep)
    }
}

/// The error for a file of a backup that is not what was written.
fn damaged(path: &Path, reason: impl std::fmt::Display) -> Error {
    Error::corrupt(format!(
        "{}: {reason}. Restore from another backup",
        path.display()
    ))
}
