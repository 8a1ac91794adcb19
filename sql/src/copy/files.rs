//! Files that are read.
//!
//! Invariant: only regular files are opened, and only those that the statement names.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind as IoErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;
use glob::{MatchOptions, glob_with};
use netabase_store::{Error, ErrorKind};

use super::CopyCompression;
use crate::error::{capacity, invalid, not_found};

/// The most files of one statement.
const MAX_FILES: usize = 65_536;
/// Bytes of a file read at once.
const READ_BYTES: usize = 1 << 20;
/// Characters that make a pattern of a name.
const PATTERN: [char; 3] = ['*', '?', '['];

/// Files in the order of their names: one, or those that match a pattern.
pub(super) fn find(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let pattern = path.to_str().filter(|name| name.contains(PATTERN));
    let Some(pattern) = pattern.filter(|_| !path.exists()) else {
        return Ok(vec![path.to_path_buf()]);
    };
    let options = MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: true,
    };
    let matches = glob_with(pattern, options)
        .map_err(|error| invalid(format!("{pattern} is not a pattern of files: {error}")))?;
    let mut files = Vec::new();
    for found in matches {
        let found = found.map_err(|error| io_error(error.path(), error.error()))?;
        if !found.is_file() {
            continue;
        }
        if files.len() == MAX_FILES {
            return Err(capacity(format!(
                "{pattern} matches more than {MAX_FILES} files: load them in several statements"
            )));
        }
        files.push(found);
    }
    if files.is_empty() {
        return Err(not_found(format!(
            "no file matches {pattern}: check the folder and the pattern"
        )));
    }
    files.sort();
    Ok(files)
}

/// Opens a file and tells its size.
pub(super) fn open(path: &Path) -> Result<(File, u64), Error> {
    let failed = |error: io::Error| match error.kind() {
        IoErrorKind::NotFound => not_found(format!("file {} does not exist", path.display())),
        _ => io_error(path, &error),
    };
    // Asked before it is opened, because opening a pipe would wait for its other end.
    let about = std::fs::metadata(path).map_err(failed)?;
    if about.is_dir() {
        return Err(invalid(format!(
            "{} is a folder: name a file, or a pattern like {}",
            path.display(),
            path.join("*.csv").display()
        )));
    }
    if !about.is_file() {
        return Err(invalid(format!(
            "{} is not a regular file: write its bytes to one first",
            path.display()
        )));
    }
    Ok((File::open(path).map_err(failed)?, about.len()))
}

/// A file that cannot be read, or whose compression is damaged.
pub(super) fn io_error(path: &Path, error: &io::Error) -> Error {
    let kind = match error.kind() {
        IoErrorKind::InvalidData | IoErrorKind::InvalidInput | IoErrorKind::UnexpectedEof => {
            ErrorKind::InvalidInput
        }
        _ => ErrorKind::Io,
    };
    Error::new(kind, format!("{} cannot be read: {error}", path.display()))
}

/// A file's text, decompressed, and how many bytes of the file were read for it.
pub(super) struct Text {
    pub(super) input: BufReader<Box<dyn Read + Send>>,
    pub(super) at: Arc<AtomicU64>,
}

/// Reads the text of a file.
pub(super) fn text(file: File, path: &Path, compression: CopyCompression) -> Result<Text, Error> {
    let at = Arc::new(AtomicU64::new(0));
    let counted = Counted {
        file,
        at: Arc::clone(&at),
    };
    let plain: Box<dyn Read + Send> = match compression {
        CopyCompression::Gzip => Box::new(MultiGzDecoder::new(BufReader::with_capacity(
            READ_BYTES, counted,
        ))),
        CopyCompression::Zstd => {
            let decoder = zstd::Decoder::new(counted).map_err(|error| io_error(path, &error))?;
            Box::new(decoder)
        }
        _ => Box::new(counted),
    };
    Ok(Text {
        input: BufReader::with_capacity(READ_BYTES, plain),
        at,
    })
}

/// Counts what is read of a file.
struct Counted {
    file: File,
    at: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.at.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
