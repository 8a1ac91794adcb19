//! Log files: their names, their headers, and the one that is appended to.
//!
//! Invariant: a new file's header and its entry in the folder are on disk before the first frame
//! is. After an error the writer is not used again: what the disk holds is then unknown, and a
//! second sync would not tell (the kernel forgets failed pages).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::frame::Frame;
use crate::error::{Error, Result};

/// First bytes of every log file.
const FILE_MAGIC: [u8; 8] = *b"NETABLOG";
/// Format of the log's files.
const FILE_FORMAT: u32 = 1;
/// Bytes before the first frame.
pub(super) const FILE_HEADER_BYTES: usize = 24;
/// Frames up to this size are gathered so that a group goes out in one write.
const GATHER_BYTES: usize = 1 << 20;

/// The header of file `number`.
pub(super) fn file_header(number: u64) -> [u8; FILE_HEADER_BYTES] {
    let mut header = [0; FILE_HEADER_BYTES];
    let fields = [
        FILE_MAGIC.as_slice(),
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

/// The numbers of the log files in `dir`, ascending. Other files are ignored.
pub(crate) fn list_files(dir: &Path) -> Result<Vec<u64>> {
    let failed = |error| Error::io(format!("list the log folder {}", dir.display()), error);
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_suffix(".log"))
            .and_then(|digits| digits.parse::<u64>().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The path of log file `number` in `dir`.
pub(crate) fn file_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:06}.log"))
}

/// Makes the entries of a folder durable. Does nothing where folders cannot be opened.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    if cfg!(windows) {
        return Ok(());
    }
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|error| Error::io(format!("sync the folder {}", dir.display()), error))
}

/// Appends to the last log file and begins new ones.
#[derive(Debug)]
pub(crate) struct LogWriter {
    dir: PathBuf,
    file: File,
    number: u64,
    len: u64,
    durable: u64,
    buffer: Vec<u8>,
}

impl LogWriter {
    /// Begins file `number`.
    pub(crate) fn create(dir: &Path, number: u64) -> Result<Self> {
        let file = create_file(dir, number)?;
        let len = FILE_HEADER_BYTES as u64;
        Ok(Self {
            dir: dir.to_path_buf(),
            file,
            number,
            len,
            durable: len,
            buffer: Vec::new(),
        })
    }

    /// Goes on with file `number`, whose good part is `len` bytes long; cuts off the rest.
    pub(crate) fn resume(dir: &Path, number: u64, len: u64) -> Result<Self> {
        if len < FILE_HEADER_BYTES as u64 {
            return Self::create(dir, number);
        }
        let path = file_path(dir, number);
        let file = OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(|file| {
                file.set_len(len)?;
                file.sync_all()?;
                Ok(file)
            })
            .map_err(|error| Error::io(format!("open {}", path.display()), error))?;
        Ok(Self {
            dir: dir.to_path_buf(),
            file,
            number,
            len,
            durable: len,
            buffer: Vec::new(),
        })
    }

    /// Lets every later write fail, as a full or broken disk does.
    #[cfg(test)]
    pub(crate) fn break_disk(&mut self) {
        if let Ok(read_only) = File::open(file_path(&self.dir, self.number)) {
            self.file = read_only;
        }
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The numbers of all log files.
    pub(crate) fn files(&self) -> Result<Vec<u64>> {
        list_files(&self.dir)
    }

    /// Whether `bytes` more would exceed `limit`; a file takes at least one frame.
    pub(crate) fn is_over(&self, bytes: u64, limit: u64) -> bool {
        self.len > FILE_HEADER_BYTES as u64 && self.len + bytes > limit
    }

    /// Bytes handed to the system but not yet known to be on disk.
    pub(crate) fn unsynced(&self) -> u64 {
        self.len.saturating_sub(self.durable)
    }

    /// Hands the frames to the system, in order.
    pub(crate) fn append<'a>(&mut self, frames: impl Iterator<Item = &'a Frame>) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let written = self.append_through(&mut buffer, frames);
        buffer.clear();
        buffer.shrink_to(GATHER_BYTES * 2);
        self.buffer = buffer;
        written.map_err(|error| self.failed("write to", error))
    }

    fn append_through<'a>(
        &mut self,
        buffer: &mut Vec<u8>,
        frames: impl Iterator<Item = &'a Frame>,
    ) -> io::Result<()> {
        for frame in frames {
            buffer.extend_from_slice(&frame.header(self.durable));
            if buffer.len() + frame.payload().len() > GATHER_BYTES {
                self.file.write_all(buffer)?;
                buffer.clear();
                self.file.write_all(frame.payload())?;
            } else {
                buffer.extend_from_slice(frame.payload());
            }
            self.len += frame.disk_len();
        }
        self.file.write_all(buffer)
    }

    /// Returns when everything appended is on disk.
    pub(crate) fn sync(&mut self) -> Result<()> {
        self.file
            .sync_data()
            .map_err(|error| self.failed("sync", error))?;
        self.durable = self.len;
        Ok(())
    }

    /// Makes everything durable, then begins the next file.
    pub(crate) fn rotate(&mut self) -> Result<()> {
        self.file
            .sync_all()
            .map_err(|error| self.failed("sync", error))?;
        *self = Self::create(&self.dir, self.number + 1)?;
        Ok(())
    }

    /// Removes the files before `first`. In whatever order the removals reach the disk, the next
    /// open ignores those that are left: it looks for the last checkpoint first.
    pub(crate) fn remove_before(&self, first: u64) -> Result<()> {
        for number in list_files(&self.dir)?.into_iter().filter(|n| *n < first) {
            let path = file_path(&self.dir, number);
            fs::remove_file(&path)
                .map_err(|error| Error::io(format!("remove {}", path.display()), error))?;
        }
        sync_dir(&self.dir)
    }

    fn failed(&self, action: &str, error: io::Error) -> Error {
        let path = file_path(&self.dir, self.number);
        Error::io(format!("{action} {}", path.display()), error)
    }
}

fn create_file(dir: &Path, number: u64) -> Result<File> {
    let path = file_path(dir, number);
    let created = OpenOptions::new()
        .append(true)
        .create(true)
        .open(&path)
        .and_then(|mut file| {
            file.set_len(0)?;
            file.write_all(&file_header(number))?;
            file.sync_all()?;
            Ok(file)
        })
        .map_err(|error| Error::io(format!("create {}", path.display()), error))?;
    sync_dir(dir)?;
    Ok(created)
}
