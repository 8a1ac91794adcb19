//! The data folder: its lock, its format, its subfolders.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind as IoKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fs4::fs_std::FileExt;

use crate::disk::sync_folder;
use crate::error::{Error, ErrorKind, Result};

/// Format of the data folder. Raised when an older release could not read it any more.
const FOLDER_FORMAT: u32 = 3;
/// How long to wait for the folder's lock. A process that another part of the program is just
/// starting holds copies of all open files, locks included, until it runs its own program.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);
/// Time between two tries of the lock.
const LOCK_RETRY: Duration = Duration::from_millis(10);
/// The file that is locked; holds the id of the process that has it.
const LOCK_FILE: &str = "LOCK";
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
        for part in ["log", "checkpoints", "segments"] {
            fs::create_dir_all(root.join(part)).map_err(io)?;
        }
        let mut lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(root.join(LOCK_FILE))
            .map_err(io)?;
        wait_for_lock(root, &lock, FileExt::try_lock_exclusive)?;
        // For whoever finds the folder in use. The lock itself is the system's.
        lock.set_len(0)
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(io)?;
        let folder = Self {
            root: root.to_path_buf(),
            lock,
        };
        match folder.format()? {
            Some(FOLDER_FORMAT) => {}
            // Everything of an older format is still read, and from now on the newer may be there.
            Some(_) | None => folder.write_format()?,
        }
        sync_folder(root)?;
        // Best effort: the folder above may not be ours to read.
        if let Some(parent) = root
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            let _ = sync_folder(parent);
        }
        Ok(folder)
    }

    /// Opens a folder that is there, beside other readers, and changes nothing in it. Fails with
    /// `NotFound` if it is no data folder, `Unavailable` if somebody may write to it.
    pub(super) fn open_read_only(root: &Path) -> Result<Self> {
        let lock = File::open(root.join(LOCK_FILE)).map_err(|error| match error.kind() {
            IoKind::NotFound => no_data_folder(root),
            _ => Error::io(format!("open the data folder {}", root.display()), error),
        })?;
        wait_for_lock(root, &lock, FileExt::try_lock_shared)?;
        let folder = Self {
            root: root.to_path_buf(),
            lock,
        };
        match folder.format()? {
            Some(_) => Ok(folder),
            None => Err(no_data_folder(root)),
        }
    }

    pub(super) fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    pub(super) fn segments(&self) -> PathBuf {
        self.root.join("segments")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    pub(super) fn index(&self) -> PathBuf {
        self.root.join("index")
    }

    /// The folder's format; `None` if it says nothing yet.
    fn format(&self) -> Result<Option<u32>> {
        let path = self.root.join("FORMAT");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == IoKind::NotFound => return Ok(None),
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
        Ok(Some(format))
    }

    /// Writes beside, then renames: the file is never half there.
    fn write_format(&self) -> Result<()> {
        let path = self.root.join("FORMAT");
        let beside = self.root.join("FORMAT.new");
        File::create(&beside)
            .and_then(|mut file| {
                writeln!(file, "{FORMAT_WORD} {FOLDER_FORMAT}")?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&beside, &path))
            .map_err(|error| Error::io(format!("write {}", path.display()), error))
    }
}

/// Tries until the folder is locked, or the patience is over.
fn wait_for_lock(
    root: &Path,
    lock: &File,
    try_lock: fn(&File) -> std::io::Result<bool>,
) -> Result<()> {
    let started = Instant::now();
    loop {
        let locked = try_lock(lock).map_err(|error| {
            Error::io(format!("lock the data folder {}", root.display()), error)
        })?;
        if locked {
            return Ok(());
        }
        if started.elapsed() > LOCK_PATIENCE {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!(
                    "data folder {} is in use by another process{}; close it or choose another \
                     folder",
                    root.display(),
                    user_of(root)
                ),
            ));
        }
        std::thread::sleep(LOCK_RETRY);
    }
}

/// Who has the folder, as far as the lock file tells.
fn user_of(root: &Path) -> String {
    let noted = fs::read_to_string(root.join(LOCK_FILE)).unwrap_or_default();
    match noted.trim().parse::<u32>() {
        Ok(process) => format!(" (process {process})"),
        Err(_) => String::new(),
    }
}

fn no_data_folder(root: &Path) -> Error {
    Error::not_found(format!(
        "{} is not a data folder, and opening it to be read only makes none",
        root.display()
    ))
}

/// Releases the lock, also if a process that is just being started has a copy of the file.
pub(super) fn unlock(lock: &File) -> Result<()> {
    FileExt::unlock(lock).map_err(|error| Error::io("unlock the data folder", error))
}
