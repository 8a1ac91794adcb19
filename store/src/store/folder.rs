//! The data folder: its lock, its format, its subfolders.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind as IoKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fs4::fs_std::FileExt;

use crate::error::{Error, ErrorKind, Result};
use crate::log::sync_dir;

/// Format of the data folder. Raised when an older release could not read it any more.
const FOLDER_FORMAT: u32 = 1;
/// How long to wait for the folder's lock. A process that another part of the program is just
/// starting holds copies of all open files, locks included, until it runs its own program.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);
/// Time between two tries of the lock.
const LOCK_RETRY: Duration = Duration::from_millis(10);
/// First word of the file `FORMAT`.
const FORMAT_WORD: &str = "netabase-store";

/// A locked data folder.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) root: PathBuf,
    /// The lock is held as long as this file is open.
    pub(super) lock: File,
}

impl Folder {
    /// Creates what is missing, and locks the folder. Fails with `Unavailable` if it is in use.
    pub(super) fn open(root: &Path) -> Result<Self> {
        let io = |error| Error::io(format!("open the data folder {}", root.display()), error);
        fs::create_dir_all(root.join("log")).map_err(io)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(root.join("LOCK"))
            .map_err(io)?;
        let started = Instant::now();
        while !FileExt::try_lock_exclusive(&lock).map_err(io)? {
            if started.elapsed() > LOCK_PATIENCE {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    format!(
                        "data folder {} is in use by another process; close it or choose another \
                         folder",
                        root.display()
                    ),
                ));
            }
            std::thread::sleep(LOCK_RETRY);
        }
        let folder = Self {
            root: root.to_path_buf(),
            lock,
        };
        folder.check_format()?;
        sync_dir(root)?;
        // Best effort: the folder above may not be ours to read.
        if let Some(parent) = root
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            let _ = sync_dir(parent);
        }
        Ok(folder)
    }

    pub(super) fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    pub(super) fn index(&self) -> PathBuf {
        self.root.join("index")
    }

    fn check_format(&self) -> Result<()> {
        let path = self.root.join("FORMAT");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == IoKind::NotFound => return self.write_format(&path),
            Err(error) => return Err(Error::io(format!("read {}", path.display()), error)),
        };
        let format = text
            .strip_prefix(FORMAT_WORD)
            .and_then(|rest| rest.trim().parse::<u32>().ok())
            .ok_or_else(|| {
                Error::corrupt(format!(
                    "{} does not name a format: this is not a data folder, or it is damaged; choose \
                     another folder, or write \"{FORMAT_WORD} {FOLDER_FORMAT}\" into the file",
                    path.display()
                ))
            })?;
        if format > FOLDER_FORMAT {
            return Err(Error::invalid(format!(
                "data folder {} has format {format}; this release reads formats up to \
                 {FOLDER_FORMAT}: use a newer netabase, or choose another folder",
                self.root.display()
            )));
        }
        Ok(())
    }

    /// Writes beside, then renames: the file is never half there.
    fn write_format(&self, path: &Path) -> Result<()> {
        let beside = self.root.join("FORMAT.new");
        File::create(&beside)
            .and_then(|mut file| {
                writeln!(file, "{FORMAT_WORD} {FOLDER_FORMAT}")?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&beside, path))
            .map_err(|error| Error::io(format!("write {}", path.display()), error))
    }
}

/// Releases the lock, also if a process that is just being started has a copy of the file.
pub(super) fn unlock(lock: &File) -> Result<()> {
    FileExt::unlock(lock).map_err(|error| Error::io("unlock the data folder", error))
}
