//! Files of frames: their names, their headers, and the log file that is appended to.
//!
//! Idea: behind the last frame of a file that takes small groups, zeros are written ahead. Bytes that
//! are written over them change neither the file's length nor where it lies, so that a sync is one write
//! of the disk where it would be two or more.
//!
//! Invariant: a new file's header and its entry in the folder are on disk before the first frame
//! is. Behind the last frame there are zeros at most, and in files that are followed by another one
//! nothing. What could not be written is taken back, and the writer goes on where it was. After an error
//! that leaves the disk in doubt it is not used again: what the disk holds is then unknown, and a
//! second sync would not tell (the kernel forgets failed pages).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::frame::Frame;
use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Result};

/// Format of files of frames.
const FILE_FORMAT: u32 = 1;
/// Bytes before the first frame.
pub(super) const FILE_HEADER_BYTES: usize = 24;
/// Greatest number of a file: far more than a store comes to, so that counting on is safe.
pub(crate) const MAX_FILE_NUMBER: u64 = 1 << 48;
/// What to do after a write that was taken back.
const RETRY_HINT: &str = "of which nothing is kept: make room on the disk, then try again";
/// Frames up to this size are gathered so that a group goes out in one write.
const GATHER_BYTES: usize = 1 << 20;
/// Most zeros that are written ahead at once; no more than the file has bytes.
const AHEAD_BYTES: u64 = 256 << 10;
/// Groups up to this size are small: larger ones would write the disk full twice.
const SMALL_GROUP_BYTES: u64 = 16 << 10;
/// So many small groups in a row are worth zeros.
const SMALL_GROUPS: u32 = 3;
/// Most zeros that there may be behind the last frame: more are written when a small group may find
/// too few.
pub(super) const MAX_ZEROS: u64 = AHEAD_BYTES + SMALL_GROUP_BYTES;

/// What the frames of a file are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Series {
    /// The commit log: `000001.log`.
    Log,
    /// Checkpoints: `000001.checkpoint`.
    Checkpoint,
}

impl Series {
    fn magic(self) -> [u8; 8] {
        match self {
            Self::Log => *b"NETABLOG",
            Self::Checkpoint => *b"NETABCKP",
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Log => ".log",
            Self::Checkpoint => ".checkpoint",
        }
    }
}

/// A folder of numbered files of frames.
#[derive(Debug, Clone)]
pub(crate) struct FrameFolder {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) path: PathBuf,
    pub(crate) series: Series,
}

impl FrameFolder {
    pub(crate) fn new(disk: Arc<dyn Disk>, path: PathBuf, series: Series) -> Self {
        Self { disk, path, series }
    }

    /// The numbers of the files, ascending. Other files are ignored.
    pub(crate) fn numbers(&self) -> Result<Vec<u64>> {
        let names = self.disk.list(&self.path).map_err(|error| {
            Error::io(format!("list the folder {}", self.path.display()), error)
        })?;
        let mut numbers: Vec<u64> = names
            .iter()
            .filter_map(|name| self.number_of(name))
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The path of file `number`.
    pub(crate) fn file(&self, number: u64) -> PathBuf {
        self.path.join(self.name(number))
    }

    fn name(&self, number: u64) -> String {
        format!("{number:06}{}", self.series.suffix())
    }

    /// The number of the file of this name; `None` if it is none of ours, such as `1.log`.
    fn number_of(&self, name: &str) -> Option<u64> {
        let number = name.strip_suffix(self.series.suffix())?.parse().ok()?;
        (number <= MAX_FILE_NUMBER && self.name(number) == name).then_some(number)
    }

    /// The header of file `number`.
    pub(crate) fn header(&self, number: u64) -> [u8; FILE_HEADER_BYTES] {
        let mut header = [0; FILE_HEADER_BYTES];
        let magic = self.series.magic();
        let fields = [
            magic.as_slice(),
            &FILE_FORMAT.to_le_bytes(),
            &number.to_le_bytes(),
        ];
        let crc = fields
            .iter()
            .fold(0, |crc, field| crc32c::crc32c_append(crc, field))
            .to_le_bytes();
        for (to, from) in header
            .iter_mut()
            .zip(fields.into_iter().chain([crc.as_slice()]).flatten())
        {
            *to = *from;
        }
        header
    }

    /// Makes the entries of the folder durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.disk.sync_folder(&self.path).map_err(|error| {
            Error::in_doubt(format!("sync the folder {}", self.path.display()), error)
        })
    }

    /// Removes the files before `first`. In whatever order the removals reach the disk, the next
    /// open ignores those that are left.
    pub(crate) fn remove_before(&self, first: u64) -> Result<()> {
        let old: Vec<u64> = self.numbers()?.into_iter().filter(|n| *n < first).collect();
        for &number in &old {
            let path = self.file(number);
            self.disk
                .remove(&path)
                .map_err(|error| Error::io(format!("remove {}", path.display()), error))?;
        }
        if old.is_empty() { Ok(()) } else { self.sync() }
    }

    /// Length of file `number`; zero if it cannot be told.
    pub(crate) fn file_len(&self, number: u64) -> u64 {
        let opened = self.disk.open(&self.file(number));
        opened.and_then(|file| file.size()).unwrap_or(0)
    }
}

/// Appends to the last log file and begins new ones.
#[derive(Debug)]
pub(crate) struct LogWriter {
    folder: FrameFolder,
    file: Box<dyn DiskFile>,
    number: u64,
    len: u64,
    durable: u64,
    /// Up to here, there are zeros behind the frames.
    ahead: u64,
    /// Whether there may be some, be it fewer than were wanted.
    has_zeros: bool,
    /// Whether they could not be written, as for want of space; it is not tried again in this file.
    is_refused: bool,
    /// Small groups that were synced one after the other, also in files before.
    small_groups: u32,
    buffer: Vec<u8>,
}

impl LogWriter {
    /// Begins file `number`.
    pub(crate) fn create(folder: FrameFolder, number: u64) -> Result<Self> {
        let path = folder.file(number);
        let file = begin_file(&folder, &path, number)
            .map_err(|error| take_back_file(&folder, &path, error))?;
        folder.sync()?;
        Ok(Self::at(folder, file, number, FILE_HEADER_BYTES as u64))
    }

    /// Goes on with file `number`, whose good part is `len` bytes long; cuts off the rest.
    pub(crate) fn resume(folder: FrameFolder, number: u64, len: u64) -> Result<Self> {
        if len < FILE_HEADER_BYTES as u64 {
            return Self::create(folder, number);
        }
        let path = folder.file(number);
        let opened = folder.disk.open_append(&path).and_then(|mut file| {
            file.cut(len)?;
            file.sync()?;
            Ok(file)
        });
        let file = opened.map_err(|error| Error::io(format!("open {}", path.display()), error))?;
        Ok(Self::at(folder, file, number, len))
    }

    fn at(folder: FrameFolder, file: Box<dyn DiskFile>, number: u64, len: u64) -> Self {
        Self {
            folder,
            file,
            number,
            len,
            durable: len,
            ahead: len,
            has_zeros: false,
            is_refused: false,
            small_groups: 0,
            buffer: Vec::new(),
        }
    }

    /// Lets every later write fail, as a full or broken disk does.
    #[cfg(test)]
    pub(crate) fn break_disk(&mut self) {
        if let Ok(read_only) = self.folder.disk.open(&self.folder.file(self.number)) {
            self.file = read_only;
        }
    }

    pub(crate) fn folder(&self) -> &FrameFolder {
        &self.folder
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Whether `bytes` more would exceed `limit`; a file takes at least one frame.
    pub(crate) fn is_over(&self, bytes: u64, limit: u64) -> bool {
        self.len > FILE_HEADER_BYTES as u64 && self.len + bytes > limit
    }

    /// Bytes handed to the system but not yet known to be on disk.
    pub(crate) fn unsynced(&self) -> u64 {
        self.len.saturating_sub(self.durable)
    }

    /// Hands the frames to the system, in order: all of them, or none unless the error leaves the
    /// disk in doubt.
    pub(crate) fn append<'a>(&mut self, frames: impl Iterator<Item = &'a Frame>) -> Result<()> {
        let before = self.len;
        let mut buffer = std::mem::take(&mut self.buffer);
        let written = self.append_through(&mut buffer, frames);
        buffer.clear();
        buffer.shrink_to(GATHER_BYTES * 2);
        self.buffer = buffer;
        written.map_err(|error| self.take_back(before, error))
    }

    /// Cuts off what a failed write may have left behind the first `len` bytes, which were good.
    fn take_back(&mut self, len: u64, error: io::Error) -> Error {
        let path = self.folder.file(self.number);
        match self.file.cut(len).and_then(|()| self.file.sync()) {
            Ok(()) => {
                (self.len, self.durable) = (len, len);
                (self.ahead, self.has_zeros) = (len, false);
                Error::io(format!("write to {}, {RETRY_HINT}", path.display()), error)
            }
            Err(_) => Error::in_doubt(format!("write to {}", path.display()), error),
        }
    }

    fn append_through<'a>(
        &mut self,
        buffer: &mut Vec<u8>,
        frames: impl Iterator<Item = &'a Frame>,
    ) -> io::Result<()> {
        let mut at = self.len;
        for frame in frames {
            buffer.extend_from_slice(&frame.header(self.durable));
            if buffer.len() + frame.payload().len() > GATHER_BYTES {
                self.file.write_at(at, buffer)?;
                at += buffer.len() as u64;
                buffer.clear();
                self.file.write_at(at, frame.payload())?;
                at += frame.payload().len() as u64;
            } else {
                buffer.extend_from_slice(frame.payload());
            }
            self.len += frame.disk_len();
        }
        self.file.write_at(at, buffer)?;
        self.ahead = self.ahead.max(self.len);
        Ok(())
    }

    /// Returns when everything appended is on disk.
    pub(crate) fn sync(&mut self) -> Result<()> {
        let group = self.unsynced();
        self.sync_all()?;
        self.small_groups = match group <= SMALL_GROUP_BYTES {
            true => self.small_groups.saturating_add(1),
            false => 0,
        };
        let worth = self.small_groups >= SMALL_GROUPS && !self.is_refused;
        if worth && self.ahead.saturating_sub(self.len) < group {
            self.write_ahead();
        }
        Ok(())
    }

    fn sync_all(&mut self) -> Result<()> {
        self.file
            .sync()
            .map_err(|error| self.failed("sync", error))?;
        self.durable = self.len;
        Ok(())
    }

    /// Writes zeros, which come to the disk with the next group. Without them, syncs take longer.
    fn write_ahead(&mut self) {
        let bytes = AHEAD_BYTES.min(self.len);
        self.has_zeros = true;
        match self.file.write_at(self.ahead, &vec![0; bytes as usize]) {
            Ok(()) => self.ahead += bytes,
            // What was written of them is zeros, too.
            Err(error) => {
                tracing::warn!(%error, "no zeros ahead of the log; syncs take longer");
                self.is_refused = true;
            }
        }
    }

    /// Leaves nothing behind the last frame. If that cannot be cut off, nothing is in doubt, and it can be
    /// tried again; if the sync fails, only how long the file is.
    pub(crate) fn cut_zeros(&mut self) -> Result<()> {
        if !self.has_zeros {
            return Ok(());
        }
        let path = || self.folder.file(self.number);
        // From here on it is not known how many there are.
        self.ahead = self.len;
        let cut = self.file.cut(self.len);
        cut.map_err(|error| Error::io(format!("cut zeros off {}", path().display()), error))?;
        self.file
            .sync()
            .map_err(|error| self.failed("sync", error))?;
        self.has_zeros = false;
        Ok(())
    }

    /// Makes everything durable, then begins the next file; goes on with this one if there is no
    /// space for another.
    pub(crate) fn rotate(&mut self) -> Result<()> {
        self.sync_all()?;
        self.cut_zeros()?;
        let next = Self::create(self.folder.clone(), self.number + 1)?;
        *self = Self {
            small_groups: self.small_groups,
            ..next
        };
        Ok(())
    }

    fn failed(&self, action: &str, error: io::Error) -> Error {
        let path = self.folder.file(self.number);
        Error::in_doubt(format!("{action} {}", path.display()), error)
    }
}

/// Writes a whole file of frames: under another name first, so that it is there as a whole or not
/// at all. Dropped before that, it leaves nothing behind.
pub(crate) struct WholeFile {
    folder: FrameFolder,
    file: Box<dyn DiskFile>,
    number: u64,
    beside: PathBuf,
    len: u64,
    buffer: Vec<u8>,
    finished: bool,
}

impl WholeFile {
    pub(crate) fn create(folder: FrameFolder, number: u64) -> Result<Self> {
        let beside = folder.file(number).with_extension("new");
        let file = begin_file(&folder, &beside, number).inspect_err(|_| {
            // Best effort: the next one is written over it.
            let _ = folder.disk.remove(&beside);
        })?;
        Ok(Self {
            folder,
            file,
            number,
            beside,
            len: FILE_HEADER_BYTES as u64,
            buffer: Vec::new(),
            finished: false,
        })
    }

    pub(crate) fn append(&mut self, frame: &Frame) -> Result<()> {
        // Nothing of this file counts before all of it is on disk, so nothing is durable yet.
        self.buffer.extend_from_slice(&frame.header(0));
        self.buffer.extend_from_slice(frame.payload());
        self.len += frame.disk_len();
        if self.buffer.len() > GATHER_BYTES {
            self.write_out()?;
        }
        Ok(())
    }

    /// Returns the file's length when it is on disk under its name.
    pub(crate) fn finish(mut self) -> Result<u64> {
        self.write_out()?;
        let to = self.folder.file(self.number);
        self.file
            .sync()
            .and_then(|()| self.folder.disk.rename(&self.beside, &to))
            .map_err(|error| Error::in_doubt(format!("write {}", to.display()), error))?;
        self.finished = true;
        self.folder.sync()?;
        Ok(self.len)
    }

    fn write_out(&mut self) -> Result<()> {
        let written = self.file.append(&self.buffer);
        self.buffer.clear();
        written.map_err(|error| Error::io(format!("write {}", self.beside.display()), error))
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if !self.finished {
            // Best effort: the next one is written over it.
            let _ = self.folder.disk.remove(&self.beside);
        }
    }
}

fn begin_file(folder: &FrameFolder, path: &Path, number: u64) -> Result<Box<dyn DiskFile>> {
    let context = || format!("create {}", path.display());
    let begun = folder.disk.create(path).and_then(|mut file| {
        file.append(&folder.header(number))?;
        Ok(file)
    });
    let file = begun.map_err(|error| Error::io(context(), error))?;
    file.sync()
        .map_err(|error| Error::in_doubt(context(), error))?;
    Ok(file)
}

/// Removes a log file that could not be begun, for good: with a file behind it, a torn end of the
/// one before would look like damage.
fn take_back_file(folder: &FrameFolder, path: &Path, error: Error) -> Error {
    if error.is_in_doubt() {
        return error;
    }
    let removed = match folder.disk.remove(path) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    };
    let context = format!("remove {} after {error}", path.display());
    match removed {
        Ok(()) => folder.sync().err().unwrap_or(error),
        Err(cause) => Error::in_doubt(context, cause),
    }
}
