//! Reading a file of frames from its start, and telling a torn tail from damage.

use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use super::file::{FILE_HEADER_BYTES, FrameFolder, MAX_ZEROS};
use super::frame::{FRAME_HEADER_BYTES, FRAME_MAGIC, FrameHeader, FrameKind};
use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Result};

/// Buffer in front of a log file that is read.
const READ_BUFFER_BYTES: usize = 1 << 20;

/// The end of the log that was cut off on open: a write that was never acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// The log file.
    pub file: PathBuf,
    /// Where its good part ends, in bytes.
    pub offset: u64,
    /// How many bytes were cut off, zeros that were written ahead among them.
    pub bytes: u64,
}

/// A good frame.
#[derive(Debug)]
pub(crate) struct ScannedFrame {
    pub(crate) kind: FrameKind,
    pub(crate) payload: Vec<u8>,
    pub(crate) offset: u64,
    pub(crate) disk_len: u64,
}

/// What `scan_file` found at the end.
#[derive(Debug)]
pub(crate) struct Scanned {
    /// Length of the good part, in bytes.
    pub(crate) len: u64,
    /// Length of the file.
    pub(crate) size: u64,
    /// What follows the good part, unless it is zeros that may have been written ahead; only ever in the
    /// last file.
    pub(crate) torn: Option<TornTail>,
}

/// Reads a file from its start to its end.
#[derive(Debug)]
struct FileReader {
    file: Box<dyn DiskFile>,
    at: u64,
    end: u64,
}

impl FileReader {
    fn open(disk: &dyn Disk, path: &Path) -> io::Result<BufReader<Self>> {
        let file = disk.open(path)?;
        let end = file.size()?;
        let reader = Self { file, at: 0, end };
        Ok(BufReader::with_capacity(READ_BUFFER_BYTES, reader))
    }
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let (part, _) = buffer.split_at_mut(wanted);
        self.file.read_at(self.at, part)?;
        self.at += wanted as u64;
        Ok(wanted)
    }
}

/// Reads file `number` of `folder` and gives every frame to `each`, in order. `last` says whether a
/// torn tail is possible. Fails with `Corrupt` on damage.
pub(crate) fn scan_file(
    folder: &FrameFolder,
    number: u64,
    last: bool,
    mut each: impl FnMut(ScannedFrame) -> Result<()>,
) -> Result<Scanned> {
    let path = folder.file(number);
    let failed = |error| Error::io(format!("read {}", path.display()), error);
    let mut reader = FileReader::open(&*folder.disk, &path).map_err(failed)?;
    let total = reader.get_ref().end;
    let mut offset = 0;
    let mut header = [0; FILE_HEADER_BYTES];
    let good_header =
        read_whole(&mut reader, &mut header).map_err(failed)? && header == folder.header(number);
    if good_header {
        offset = FILE_HEADER_BYTES as u64;
        while let Some(frame) = read_frame(&mut reader, offset, total).map_err(failed)? {
            offset += frame.disk_len;
            each(frame)?;
        }
    }
    let scanned = |torn| Scanned {
        len: offset,
        size: total,
        torn,
    };
    if offset == total && good_header {
        return Ok(scanned(None));
    }
    let reason = if good_header {
        "this frame is incomplete or its checksum differs"
    } else {
        "the file's header is wrong"
    };
    if !last {
        return Err(Error::log(&path, offset, reason));
    }
    let rest = read_from(&*folder.disk, &path, offset).map_err(failed)?;
    if good_header && rest.len() as u64 <= MAX_ZEROS && rest.iter().all(|byte| *byte == 0) {
        return Ok(scanned(None));
    }
    if acknowledged_beyond(&rest, offset) {
        return Err(Error::log(&path, offset, reason));
    }
    Ok(scanned(Some(TornTail {
        file: path.clone(),
        offset,
        bytes: total - offset,
    })))
}

/// The bytes of a file from `offset` on. Log files are bounded by rotation.
fn read_from(disk: &dyn Disk, path: &Path, offset: u64) -> io::Result<Vec<u8>> {
    let mut reader = FileReader::open(disk, path)?.into_inner();
    reader.at = offset.min(reader.end);
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The first file that is needed according to the last checkpoint that log file `number` ends, if
/// it ends one: folders of format 1 kept their checkpoints in the log. Looks at the frames' headers
/// alone, and stops at the first that is not one.
pub(crate) fn find_checkpoint(folder: &FrameFolder, number: u64) -> Result<Option<u64>> {
    let path = folder.file(number);
    walk_checkpoints(&*folder.disk, &path)
        .map_err(|error| Error::io(format!("read {}", path.display()), error))
}

fn walk_checkpoints(disk: &dyn Disk, path: &Path) -> io::Result<Option<u64>> {
    let mut reader = FileReader::open(disk, path)?;
    let mut found = None;
    skip(&mut reader, FILE_HEADER_BYTES)?;
    let mut bytes = [0; FRAME_HEADER_BYTES];
    while read_whole(&mut reader, &mut bytes)? {
        let Some(header) = FrameHeader::parse(&bytes) else {
            break;
        };
        if !header.may_be(FrameKind::Checkpoint) {
            skip(&mut reader, header.len)?;
            continue;
        }
        let mut payload = vec![0; header.len];
        if !read_whole(&mut reader, &mut payload)? || header.check(&payload).is_none() {
            break;
        }
        let first = <[u8; 8]>::try_from(payload.as_slice()).map(u64::from_le_bytes);
        found = first.ok().or(found);
    }
    Ok(found)
}

/// Passes over `bytes` bytes, or to the end.
fn skip(reader: &mut BufReader<FileReader>, bytes: usize) -> io::Result<()> {
    let buffered = reader.buffer().len();
    if bytes <= buffered {
        io::BufRead::consume(reader, bytes);
        return Ok(());
    }
    io::BufRead::consume(reader, buffered);
    let file = reader.get_mut();
    file.at = file.end.min(file.at + (bytes - buffered) as u64);
    Ok(())
}

/// The frame at `offset`, or `None` if there is no good one.
fn read_frame(reader: &mut impl Read, offset: u64, total: u64) -> io::Result<Option<ScannedFrame>> {
    let mut bytes = [0; FRAME_HEADER_BYTES];
    if !read_whole(reader, &mut bytes)? {
        return Ok(None);
    }
    let Some(header) = FrameHeader::parse(&bytes) else {
        return Ok(None);
    };
    let disk_len = (FRAME_HEADER_BYTES + header.len) as u64;
    if offset + disk_len > total {
        return Ok(None);
    }
    let mut payload = vec![0; header.len];
    if !read_whole(reader, &mut payload)? {
        return Ok(None);
    }
    Ok(header.check(&payload).map(|kind| ScannedFrame {
        kind,
        payload,
        offset,
        disk_len,
    }))
}

/// Fills `bytes`; false at the end of the file.
fn read_whole(reader: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether a good frame in the rest of a file, which begins at `offset`, proves that the bytes there were
/// on disk when it was written.
fn acknowledged_beyond(rest: &[u8], offset: u64) -> bool {
    let mut at = 0;
    while let Some(found) = rest.get(at..).and_then(find_magic) {
        at += found;
        match rest.get(at..).and_then(good_frame) {
            // What was durable lies before the frame; bytes of some other log, in the payload of a
            // torn frame, need not say so.
            Some((header, _))
                if header.durable > offset && header.durable <= offset + at as u64 =>
            {
                return true;
            }
            Some((_, disk_len)) => at += disk_len,
            None => at += 1,
        }
    }
    false
}

fn find_magic(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(FRAME_MAGIC.len())
        .position(|window| window == FRAME_MAGIC)
}

/// The frame at the beginning of `bytes`, its payload, and what follows it.
pub(crate) fn decode_frame(bytes: &[u8]) -> Option<(FrameKind, &[u8], &[u8])> {
    let (first, rest) = bytes.split_first_chunk::<FRAME_HEADER_BYTES>()?;
    let header = FrameHeader::parse(first)?;
    let (payload, rest) = rest.split_at_checked(header.len)?;
    Some((header.check(payload)?, payload, rest))
}

fn good_frame(bytes: &[u8]) -> Option<(FrameHeader, usize)> {
    let (first, rest) = bytes.split_first_chunk::<FRAME_HEADER_BYTES>()?;
    let header = FrameHeader::parse(first)?;
    header.check(rest.get(..header.len)?)?;
    Some((header, FRAME_HEADER_BYTES + header.len))
}
