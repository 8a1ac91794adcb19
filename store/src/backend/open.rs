//! Opening the index of a data folder, whichever backend made it.
//!
//! Purpose: an index that cannot be opened is moved aside, for it can be rebuilt from the log.
//! Invariant: the file `BACKEND` names the backend that made the folder; another one never touches
//! it. Non-goal: a backend of the caller's, and the one in memory, are not recorded: they leave
//! nothing in the folder.

use std::fs::{self, File};
use std::io::{ErrorKind as IoKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::keys::damaged;
use super::{Backend, MemoryBackend, RedbBackend, SledBackend, SqliteBackend};
use super::{redb_backend, sqlite_backend};
use crate::disk::sync_folder;
use crate::error::{Error, ErrorKind, Result};
use crate::settings::BackendKind;

/// How long to retry opening an index that seems to be in use.
const OPEN_PATIENCE: Duration = Duration::from_secs(1);
/// Time between two tries.
const OPEN_RETRY: Duration = Duration::from_millis(20);
/// The file inside the folder of the index that names its backend.
const RECORD: &str = "BACKEND";
/// Longest name of a backend in a record; what is longer is damage.
const MAX_NAME: usize = 32;
/// Files that tell an index from before there was a record.
const SIGNS: [(&str, BackendKind); 4] = [
    (sqlite_backend::FILE, BackendKind::Sqlite),
    (redb_backend::FILE, BackendKind::Redb),
    ("conf", BackendKind::Sled),
    ("db", BackendKind::Sled),
];

/// Opens the index in `folder`; moves a folder that cannot be opened aside. Also says whether it
/// did. Fails with `InvalidInput` if another backend made the folder.
pub(crate) fn open(
    kind: BackendKind,
    folder: &Path,
    cache_bytes: u64,
) -> Result<(Arc<dyn Backend>, bool)> {
    if kind == BackendKind::Memory {
        return Ok((Arc::new(MemoryBackend::new()), false));
    }
    let made_with = made_with(folder)?;
    if let Some(other) = made_with.filter(|made_with| *made_with != kind) {
        return Err(another(folder, other.name(), kind));
    }
    let (backend, moved_aside) = match open_patiently(kind, folder, cache_bytes) {
        Ok(backend) => (backend, false),
        Err(error) if !is_damage(kind, &error) => return Err(error),
        Err(error) => {
            tracing::warn!(%error, "the index cannot be opened; it is rebuilt from the log");
            move_aside(folder)?;
            (open_once(kind, folder, cache_bytes)?, true)
        }
    };
    record(kind, folder)?;
    Ok((backend, moved_aside))
}

/// The store holds the data folder's lock already, so the index can only be held by its last
/// moments in this process, or by a process that is just being started: both are over soon.
pub(crate) fn open_patiently(
    kind: BackendKind,
    folder: &Path,
    cache_bytes: u64,
) -> Result<Arc<dyn Backend>> {
    // sled says so with an error of the system.
    let in_use = match kind {
        BackendKind::Sled => ErrorKind::Io,
        _ => ErrorKind::Unavailable,
    };
    let started = Instant::now();
    loop {
        match open_once(kind, folder, cache_bytes) {
            Err(error) if error.kind() == in_use && started.elapsed() < OPEN_PATIENCE => {
                std::thread::sleep(OPEN_RETRY);
            }
            opened => return opened,
        }
    }
}

fn open_once(kind: BackendKind, folder: &Path, cache_bytes: u64) -> Result<Arc<dyn Backend>> {
    Ok(match kind {
        BackendKind::Sled => Arc::new(SledBackend::open(folder, cache_bytes)?),
        BackendKind::Sqlite => Arc::new(SqliteBackend::open(folder, cache_bytes)?),
        BackendKind::Redb => Arc::new(RedbBackend::open(folder, cache_bytes)?),
        BackendKind::Memory => Arc::new(MemoryBackend::new()),
    })
}

/// sled reports some damage as an error of the system, too.
fn is_damage(kind: BackendKind, error: &Error) -> bool {
    error.kind() == ErrorKind::Corrupt || kind == BackendKind::Sled
}

/// Creates the folder of a backend that keeps a file in it.
pub(super) fn make_home(name: &str, folder: &Path) -> Result<()> {
    if fs::symlink_metadata(folder).is_ok_and(|entry| entry.is_file()) {
        return Err(damaged(name, format!("{} is a file", folder.display())));
    }
    fs::create_dir_all(folder)
        .map_err(|error| Error::io(format!("create {}", folder.display()), error))
}

/// The backend that made the index in `folder`; `None` if there is no index. Fails with
/// `InvalidInput` if the record names a backend that this release does not know.
pub(crate) fn made_with(folder: &Path) -> Result<Option<BackendKind>> {
    let path = folder.join(RECORD);
    let text = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if matches!(error.kind(), IoKind::NotFound | IoKind::NotADirectory) => {
            Vec::new()
        }
        Err(error) => return Err(Error::io(format!("read {}", path.display()), error)),
    };
    // A damaged record counts as none: the files themselves tell, too.
    let Some(name) = plain_name(&text) else {
        let sign = SIGNS.iter().find(|(file, _)| folder.join(file).exists());
        return Ok(sign.map(|(_, kind)| *kind));
    };
    name.parse().map(Some).map_err(|_| {
        Error::invalid(format!(
            "{} names {name}, a backend that this release does not know: use the release that \
             made the folder, or run `netabase repair` to rebuild the index",
            path.display()
        ))
    })
}

/// The name in a record, a line of its own; `None` if it looks like none.
fn plain_name(text: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(text).ok()?.strip_suffix('\n')?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let fits = (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(plain);
    fits.then_some(name)
}

fn another(folder: &Path, made_with: &str, asked: BackendKind) -> Error {
    let data_folder = folder.parent().unwrap_or(folder).display();
    Error::invalid(format!(
        "the index of data folder {data_folder} was made with {made_with}, and {asked} was asked \
         for: open it with backend = {made_with}, or run `netabase repair --backend {asked}` to \
         rebuild the index"
    ))
}

/// Writes beside, then renames: the record is never half there.
fn record(kind: BackendKind, folder: &Path) -> Result<()> {
    let path = folder.join(RECORD);
    let text = format!("{kind}\n");
    if fs::read(&path).is_ok_and(|found| found == text.as_bytes()) {
        return Ok(());
    }
    let beside = folder.join("BACKEND.new");
    File::create(&beside)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&beside, &path))
        .map_err(|error| Error::io(format!("write {}", path.display()), error))?;
    sync_folder(folder)
}

/// Keeps one replaced index beside the new one, for whoever wants to look at it; says where.
pub(crate) fn move_aside(folder: &Path) -> Result<PathBuf> {
    let aside = folder.with_extension("broken");
    remove(&aside)
        .and_then(|()| fs::rename(folder, &aside))
        .map_err(|error| Error::io(format!("move {} aside", folder.display()), error))?;
    Ok(aside)
}

/// Removes a file or a folder; fine if there is none.
pub(crate) fn remove(path: &Path) -> std::io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(entry) if entry.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
