//! A file that is written.
//!
//! Invariant: under its name there is what was there before, or all of the new file, durably:
//! everything is written beside it and renamed when it is complete.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind as IoErrorKind};
use std::path::{Path, PathBuf};

use netabase_store::{Error, ErrorKind};
use tempfile::{Builder, NamedTempFile};

use crate::error::{invalid, not_found};

/// How unfinished files begin: hidden, and none of a pattern like `*.csv`.
const PREFIX: &str = ".netabase-copy-";

/// A file that is not complete yet. Dropping it leaves nothing.
#[derive(Debug)]
pub(super) struct Target {
    temporary: NamedTempFile,
    folder: PathBuf,
    path: PathBuf,
}

impl Target {
    /// Begins to write. Files of the store itself, in `data_dir`, are refused.
    pub(super) fn create(path: &Path, data_dir: Option<&Path>) -> Result<Self, Error> {
        let failed = |error: &io::Error| write_error(path, error);
        // A link is written through.
        let real = match std::fs::canonicalize(path) {
            Ok(real) => real,
            Err(error) if error.kind() == IoErrorKind::NotFound => path.to_path_buf(),
            Err(error) => return Err(failed(&error)),
        };
        let replaced = std::fs::metadata(&real).ok();
        if let Some(replaced) = &replaced {
            check_replaced(path, replaced)?;
        }
        let folder = match real.parent() {
            Some(folder) if folder.as_os_str().is_empty() => PathBuf::from("."),
            Some(folder) => folder.to_path_buf(),
            None => return Err(is_folder(path)),
        };
        if real.file_name().is_none() || path.to_string_lossy().ends_with('/') {
            return Err(is_folder(path));
        }
        let folder = std::fs::canonicalize(&folder).map_err(|error| match error.kind() {
            IoErrorKind::NotFound => not_found(format!(
                "folder {} does not exist: create it first",
                folder.display()
            )),
            _ => failed(&error),
        })?;
        check_outside(path, &folder, data_dir)?;
        let temporary = begin(&folder, replaced).map_err(|error| failed(&error))?;
        Ok(Self {
            temporary,
            folder,
            path: real,
        })
    }

    /// The file to write to.
    pub(super) fn file(&self) -> Result<File, Error> {
        self.temporary
            .as_file()
            .try_clone()
            .map_err(|error| write_error(&self.path, &error))
    }

    /// Gives the file its name, once all of it is on disk.
    pub(super) fn keep(self) -> Result<(), Error> {
        let path = self.path;
        self.temporary
            .as_file()
            .sync_all()
            .map_err(|error| write_error(&path, &error))?;
        self.temporary
            .persist(&path)
            .map_err(|failed| write_error(&path, &failed.error))?;
        sync_folder(&self.folder).map_err(|error| write_error(&path, &error))
    }
}

fn begin(folder: &Path, replaced: Option<Metadata>) -> io::Result<NamedTempFile> {
    let mut builder = Builder::new();
    builder.prefix(PREFIX).suffix(".tmp");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As for any new file: what the process grants.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let temporary = builder.tempfile_in(folder)?;
    if let Some(replaced) = replaced {
        temporary
            .as_file()
            .set_permissions(replaced.permissions())?;
    }
    Ok(temporary)
}

fn check_replaced(path: &Path, replaced: &Metadata) -> Result<(), Error> {
    if replaced.is_dir() {
        return Err(is_folder(path));
    }
    if !replaced.is_file() {
        return Err(invalid(format!(
            "{} is not a regular file: name another",
            path.display()
        )));
    }
    if replaced.permissions().readonly() {
        return Err(Error::new(
            ErrorKind::Io,
            format!(
                "{} may not be written: change its permissions, or name another file",
                path.display()
            ),
        ));
    }
    Ok(())
}

/// Nobody wants to replace a segment.
fn check_outside(path: &Path, folder: &Path, data_dir: Option<&Path>) -> Result<(), Error> {
    let data_dir = data_dir.and_then(|dir| std::fs::canonicalize(dir).ok());
    match data_dir {
        Some(data_dir) if folder.starts_with(&data_dir) => Err(invalid(format!(
            "{} is in the folder of the data: name a file elsewhere",
            path.display()
        ))),
        _ => Ok(()),
    }
}

fn is_folder(path: &Path) -> Error {
    invalid(format!("{} is a folder: name a file", path.display()))
}

/// A rename is durable once its folder is.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// A file that cannot be written.
pub(super) fn write_error(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::Io,
        format!("{} cannot be written: {error}", path.display()),
    )
}
