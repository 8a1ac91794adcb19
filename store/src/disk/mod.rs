//! The few file operations that the store needs, behind a trait.
//!
//! Purpose: tests fail, tear and forget file operations at will; everything else runs on
//! [`OsDisk`]. Invariant: the log, segments and checkpoints touch files through a [`Disk`] alone;
//! what is not behind it (the lock, the format mark, the index) can be made anew.
//! Non-goal: a virtual file system. Paths are the operating system's.

mod os;

use std::fmt::Debug;
use std::io;
use std::path::Path;

pub use os::OsDisk;

use crate::error::{Error, Result};

/// An open file: read anywhere, and written by one writer.
pub trait DiskFile: Send + Sync + Debug {
    /// Appends all of `bytes`.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Writes all of `bytes` from `offset` on, over what is there and beyond. `offset` is not behind the
    /// end of the file.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Fills `buffer` from `offset` on. Fails with `UnexpectedEof` if the file is shorter.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Length in bytes.
    fn size(&self) -> io::Result<u64>;

    /// Cuts the file to `size` bytes.
    fn cut(&mut self, size: u64) -> io::Result<()>;

    /// Returns when contents and length are on disk.
    fn sync(&self) -> io::Result<()>;
}

/// A file system. Implementations are used from several threads at once.
pub trait Disk: Send + Sync + Debug {
    /// Creates an empty file, in place of another one if there is one.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens an existing file for reading.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens an existing file for reading and writing.
    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Names of the entries of a folder, in no particular order; empty if there is no such folder.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// Creates a folder and those above it; fine if it exists.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;

    /// Gives a file another name, in place of another one if there is one. Atomic.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes a folder with everything in it; fine if there is none.
    fn remove_folder(&self, folder: &Path) -> io::Result<()>;

    /// Returns when the entries of a folder are on disk.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

/// Makes the entries of a folder of the operating system durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    OsDisk
        .sync_folder(folder)
        .map_err(|error| Error::io(format!("sync the folder {}", folder.display()), error))
}
