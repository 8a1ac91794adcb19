//! Checksums of a file, block by block.
//!
//! Purpose: reading one page must not cost reading the file, and still no byte may be used that
//! was not compared with a checksum. Invariant: [`BlockFile`] hands out checked bytes only.
//! Non-goal: repairing; a damaged block is an error that names file and place.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Result};

/// Bytes under one checksum.
pub(super) const BLOCK_BYTES: usize = 16 << 10;

/// Bytes collected before they are given to the file.
const WRITE_BUFFER: usize = 256 << 10;

/// The error for stored bytes of a segment that are not what was written.
pub(super) fn damaged(path: &Path, reason: impl std::fmt::Display) -> Error {
    let text = format!(
        "{}: {reason}. Restore the segment's two files from a copy, or remove this replica of the \
         shard and fetch it again from another",
        path.display()
    );
    Error::damaged(path, text)
}

/// Writes a file and computes the checksums of its blocks on the way.
#[derive(Debug)]
pub(super) struct BlockWriter {
    file: Box<dyn DiskFile>,
    buffer: Vec<u8>,
    crcs: Vec<u32>,
    current: u32,
    /// Bytes of the block that `current` covers.
    filled: usize,
    written: u64,
}

impl BlockWriter {
    pub(super) fn new(file: Box<dyn DiskFile>) -> Self {
        Self {
            file,
            buffer: Vec::with_capacity(WRITE_BUFFER),
            crcs: Vec::new(),
            current: 0,
            filled: 0,
            written: 0,
        }
    }

    fn check_in(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.filled));
            self.current = crc32c::crc32c_append(self.current, now);
            self.filled += now.len();
            if self.filled == BLOCK_BYTES {
                self.close_block();
            }
            bytes = later;
        }
    }

    fn close_block(&mut self) {
        self.crcs.push(self.current);
        self.current = 0;
        self.filled = 0;
    }

    fn empty_buffer(&mut self) -> io::Result<()> {
        self.file.append(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// Puts the file, which is at `path`, on disk; returns its length and the checksums of its
    /// blocks.
    pub(super) fn finish(mut self, path: &Path) -> Result<(u64, Vec<u32>)> {
        let context = || format!("writing {}", path.display());
        self.empty_buffer()
            .map_err(|error| Error::io(context(), error))?;
        if self.filled > 0 {
            self.close_block();
        }
        self.file
            .sync()
            .map_err(|error| Error::in_doubt(context(), error))?;
        Ok((self.written, self.crcs))
    }
}

impl Write for BlockWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check_in(bytes);
        self.buffer.extend_from_slice(bytes);
        self.written += bytes.len() as u64;
        if self.buffer.len() >= WRITE_BUFFER {
            self.empty_buffer()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file whose every block is checked when it is read.
#[derive(Debug)]
pub(super) struct BlockFile {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    size: u64,
    crcs: Vec<u32>,
}

impl BlockFile {
    /// Fails with `Corrupt` if the file is missing or has another length than `size`.
    pub(super) fn open(disk: &dyn Disk, path: PathBuf, size: u64, crcs: Vec<u32>) -> Result<Self> {
        let file = open_sized(disk, &path, size)?;
        if crcs.len() as u64 != size.div_ceil(BLOCK_BYTES as u64) {
            return Err(damaged(&path, "its index has another number of blocks"));
        }
        Ok(Self {
            file,
            path,
            size,
            crcs,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The bytes from `start` on, checked.
    pub(super) fn read(&self, start: u64, length: usize) -> Result<Bytes> {
        let block = BLOCK_BYTES as u64;
        let end = start.saturating_add(length as u64);
        if end > self.size {
            return Err(damaged(
                &self.path,
                format_args!("it refers to bytes {start} to {end}, behind its end"),
            ));
        }
        let first = start / block;
        let from = first * block;
        let until = end.div_ceil(block).saturating_mul(block).min(self.size);
        let mut bytes = vec![0; (until - from) as usize];
        self.file
            .read_at(from, &mut bytes)
            .map_err(|error| Error::io(format!("reading {}", self.path.display()), error))?;
        self.check(first as usize, &bytes)?;
        let skip = (start - from) as usize;
        Ok(Bytes::from(bytes).slice(skip..skip + length))
    }

    fn check(&self, first: usize, bytes: &[u8]) -> Result<()> {
        for (block, chunk) in (first..).zip(bytes.chunks(BLOCK_BYTES)) {
            if self.crcs.get(block) != Some(&crc32c::crc32c(chunk)) {
                return Err(damaged(
                    &self.path,
                    format_args!("damaged at byte {}", block * BLOCK_BYTES),
                ));
            }
        }
        Ok(())
    }

    /// Reads everything, checks it, and gives it to `each`, piece by piece.
    pub(super) fn read_all(&self, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let size = self
            .file
            .size()
            .map_err(|error| Error::io(format!("reading {}", self.path.display()), error))?;
        check_size(&self.path, size, self.size)?;
        let step = WRITE_BUFFER as u64;
        let mut start = 0;
        while start < self.size {
            each(&self.read(start, step.min(self.size - start) as usize)?)?;
            start += step;
        }
        Ok(())
    }
}

/// Opens a file that must exist and have `size` bytes.
pub(super) fn open_sized(disk: &dyn Disk, path: &Path, size: u64) -> Result<Box<dyn DiskFile>> {
    let file = match disk.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(damaged(path, "the file is missing"));
        }
        Err(error) => return Err(Error::io(format!("opening {}", path.display()), error)),
    };
    let found = file
        .size()
        .map_err(|error| Error::io(format!("reading {}", path.display()), error))?;
    check_size(path, found, size)?;
    Ok(file)
}

fn check_size(path: &Path, found: u64, wanted: u64) -> Result<()> {
    if found == wanted {
        return Ok(());
    }
    Err(damaged(
        path,
        format_args!("it has {found} bytes instead of {wanted}"),
    ))
}

/// A shared [`BlockFile`], as Parquet's reader wants it. That reader turns errors into text on some
/// of its ways, so the first one is kept here.
#[derive(Debug, Clone)]
pub(super) struct Blocks {
    file: Arc<BlockFile>,
    failed: Arc<Mutex<Option<Error>>>,
}

impl Blocks {
    pub(super) fn new(file: Arc<BlockFile>) -> Self {
        Self {
            file,
            failed: Arc::default(),
        }
    }

    /// What made reading fail; `error` if it was not this file.
    pub(super) fn cause_of(&self, error: Error) -> Error {
        self.failed.lock().take().unwrap_or(error)
    }
}

impl Length for Blocks {
    fn len(&self) -> u64 {
        self.file.size
    }
}

impl ChunkReader for Blocks {
    type T = BlockStream;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        // The footer. Pages are never streamed: every segment has an offset index.
        let rest = self.file.size.saturating_sub(start);
        let bytes = self.get_bytes(start, rest.min(BLOCK_BYTES as u64) as usize)?;
        Ok(BlockStream(bytes.reader()))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        self.file.read(start, length).map_err(|error| {
            let text = error.to_string();
            self.failed.lock().get_or_insert(error);
            ParquetError::General(text)
        })
    }
}

/// One stretch of a file that was read and checked in one go: a column chunk.
#[derive(Debug)]
pub(super) struct Stretch {
    pub(super) size: u64,
    pub(super) start: u64,
    pub(super) bytes: Bytes,
}

impl Length for Stretch {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for Stretch {
    type T = BlockStream;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        let rest = self.bytes.len();
        let skip = start.saturating_sub(self.start) as usize;
        let bytes = self.get_bytes(start, rest.saturating_sub(skip))?;
        Ok(BlockStream(bytes.reader()))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let from = start.checked_sub(self.start).map(|from| from as usize);
        let range = from.and_then(|from| Some(from..from.checked_add(length)?));
        match range {
            Some(range) if range.end <= self.bytes.len() => Ok(self.bytes.slice(range)),
            _ => Err(ParquetError::EOF("a page lies outside of its chunk".into())),
        }
    }
}

/// Reads checked bytes one after the other.
#[derive(Debug)]
pub(super) struct BlockStream(bytes::buf::Reader<Bytes>);

impl Read for BlockStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}
