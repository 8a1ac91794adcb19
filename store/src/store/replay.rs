//! Rebuilding tables and rows from the last checkpoint and the log after it.
//!
//! Invariant: a frame with a good checksum is understood, or the open fails: nothing acknowledged
//! is skipped. What belongs to a table with a damaged segment is kept for the next open, and the
//! table set aside. Log files must follow each other without a gap, and begin with number 1, or with the
//! one that the last checkpoint names; older files are ignored.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use super::index::Manifest;
use super::{bulk, checkpoint};
use crate::error::{Error, ErrorKind, Result};
use crate::log::{
    Frame, FrameFolder, FrameKind, MAX_FILE_NUMBER, ScannedFrame, TornTail, find_checkpoint,
    scan_file,
};
use crate::mem::{Part, Preparer};
use crate::payload::{self, PartRef};
use crate::table::TableDef;

/// Number of a store's first log file.
const FIRST_FILE: u64 = 1;

/// What opening a store found and did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct OpenReport {
    /// Frames read from the log.
    pub frames: u64,
    /// Rows and tombstones read from the log, replaced ones included.
    pub rows: u64,
    /// The checkpoint from which opening began, if there was one.
    pub checkpoint: Option<u64>,
    /// Files of segments that nothing referred to, and that were removed: those of work that a
    /// crash cut short.
    pub orphans: u64,
    /// Live, visible tables.
    pub tables: usize,
    /// The unacknowledged end of the log that was cut off, if any.
    pub torn_tail: Option<TornTail>,
    /// Bytes of zeros at the end of the log, which a store that was killed leaves there; one that was
    /// closed does not, unless the disk refused to cut them off.
    pub zeros_ahead: u64,
    /// Tables that are set aside because a segment is damaged that rows of the log had to be
    /// compared with: see [`Store::health`](crate::Store::health).
    pub set_aside: Vec<String>,
    /// Whether the index was missing, damaged, or differed from the log, and was written anew.
    pub index_rebuilt: bool,
    /// Whether the store had been closed, as opposed to killed, before. True for a new one.
    pub clean: bool,
    /// How long opening took.
    pub elapsed: Duration,
}

/// Where the log goes on.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogEnd {
    /// The first file that is needed; older ones can be removed.
    pub(super) first: u64,
    pub(super) number: u64,
    /// Bytes of all files that are needed.
    pub(super) bytes: u64,
    /// Length of the good part of the file, in bytes; `None` if the file is yet to be made.
    pub(super) len: Option<u64>,
    /// Length of the file itself.
    pub(super) size: u64,
}

/// Why a frame could not be replayed.
#[derive(Debug)]
pub(super) enum Unplayed {
    /// It makes no sense itself.
    Damaged(String),
    /// Something else that it needs could not be read, such as a segment; the frame may be good.
    Because(Error),
}

impl Unplayed {
    /// The error for a frame at `offset` of the file `path`.
    pub(super) fn at(self, path: &Path, offset: u64) -> Error {
        match self {
            Self::Damaged(reason) => Error::log(path, offset, reason),
            Self::Because(error) => error,
        }
    }

    fn text(self) -> String {
        match self {
            Self::Damaged(reason) => reason,
            Self::Because(error) => error.to_string(),
        }
    }
}

impl From<String> for Unplayed {
    fn from(reason: String) -> Self {
        Self::Damaged(reason)
    }
}

pub(super) struct Replay<'a> {
    pub(super) core: &'a Core,
    pub(super) log: &'a FrameFolder,
    pub(super) checkpoints: &'a FrameFolder,
    pub(super) report: &'a mut OpenReport,
    pub(super) progress: &'a mut dyn FnMut(u64, u64),
}

impl Replay<'_> {
    /// Reads all files. Fails with `Corrupt` if one is missing or damaged.
    pub(super) fn run(&mut self, manifest: &Manifest) -> Result<LogEnd> {
        let mut files = self.log.numbers()?;
        let first = self.begin(&files)?;
        if first > MAX_FILE_NUMBER {
            return Err(missing(self.log, first));
        }
        files.retain(|number| *number >= first);
        self.check_files(first, &files, manifest)?;
        let total = files.iter().map(|number| self.log.file_len(*number)).sum();
        let mut before = 0;
        let mut end = LogEnd {
            first,
            number: first,
            bytes: total,
            size: 0,
            len: None,
        };
        for &number in &files {
            let path = self.log.file(number);
            let last = files.last() == Some(&number);
            let scanned = scan_file(self.log, number, last, |frame| {
                (self.progress)(before + frame.offset + frame.disk_len, total);
                self.frame(frame, &path)
            })?;
            before += self.log.file_len(number);
            end.number = number;
            end.len = Some(scanned.len);
            end.size = scanned.size;
            self.report.zeros_ahead = match scanned.torn {
                Some(_) => 0,
                None => scanned.size - scanned.len,
            };
            self.report.torn_tail = scanned.torn;
        }
        // What is cut off is not needed. A length that could not be told counts as zero.
        let cut = end.len.map_or(0, |len| end.size.saturating_sub(len));
        end.bytes = end.bytes.saturating_sub(cut);
        (self.progress)(total, total);
        Ok(end)
    }

    /// Reads the last checkpoint. Returns the log file that goes on from there.
    fn begin(&mut self, files: &[u64]) -> Result<u64> {
        if let Some(&number) = self.checkpoints.numbers()?.last() {
            self.report.checkpoint = Some(number);
            let core = self.core;
            let mut rows = 0;
            let first = checkpoint::load(core, self.checkpoints, number, &mut |payload| {
                // Whatever these rows replaced is hidden in the checkpoint already.
                rows += read_rows(core, payload, false).map_err(Unplayed::text)?;
                Ok(())
            })?;
            self.report.rows += rows;
            return Ok(first);
        }
        for &number in files.iter().rev() {
            if let Some(first) = find_checkpoint(self.log, number)? {
                return Ok(first);
            }
        }
        Ok(FIRST_FILE)
    }

    fn check_files(&self, first: u64, files: &[u64], manifest: &Manifest) -> Result<()> {
        let noted = manifest.files.as_deref().and_then(<[u64]>::last).copied();
        let last = files.last().copied().max(noted);
        match (first..)
            .zip(files)
            .find(|(wanted, found)| wanted != *found)
        {
            Some((wanted, _)) => Err(missing(self.log, wanted)),
            // The file in which a checkpoint goes on is on disk before the checkpoint is.
            None if files.is_empty() && self.report.checkpoint.is_some() => {
                Err(missing(self.log, first))
            }
            None if last > files.last().copied() => {
                Err(missing(self.log, first + files.len() as u64))
            }
            None => Ok(()),
        }
    }

    fn frame(&mut self, frame: ScannedFrame, path: &Path) -> Result<()> {
        self.report.frames += 1;
        let damaged = |reason: String| Error::log(path, frame.offset, reason);
        let unplayed = |reason: Unplayed| reason.at(path, frame.offset);
        match frame.kind {
            FrameKind::Mark | FrameKind::Checkpoint => Ok(()),
            FrameKind::Table => {
                let def = TableDef::from_bytes(&frame.payload)
                    .map_err(|error| damaged(error.to_string()))?;
                // One that contradicts an earlier one was refused when it was written, too.
                let _ = self.core.install_quietly(def);
                Ok(())
            }
            FrameKind::Write => {
                self.report.rows += read_rows(self.core, &frame.payload, true).map_err(unplayed)?;
                Ok(())
            }
            FrameKind::Bulk => {
                self.report.rows += bulk::replay(self.core, &frame.payload).map_err(unplayed)?;
                Ok(())
            }
            FrameKind::Segment | FrameKind::Shard | FrameKind::End => {
                Err(damaged("a frame of a checkpoint in the log".to_owned()))
            }
        }
    }
}

/// Applies rows of the log or of a checkpoint. Returns how many there are. `locate` says whether
/// their keys may be in segments.
fn read_rows(core: &Core, payload: &[u8], locate: bool) -> Result<u64, Unplayed> {
    let preparer = Preparer {
        hasher: &core.hasher,
        trusted: true,
    };
    let mut rows = 0;
    let (mut parts, mut left_out): (Vec<Part>, Vec<Part>) = Default::default();
    for part in payload::decode(payload)? {
        let state = match core.catalog.read().by_id(part.table) {
            Some(table) => Arc::clone(&table.state),
            None => {
                let reason = format!(
                    "rows of unknown table {}: an earlier log file is missing",
                    part.table
                );
                return Err(reason.into());
            }
        };
        rows += part.rows.num_rows() as u64;
        core.clock.advance(part.stamps.newest());
        if state.is_dropped() {
            continue;
        }
        let mut part = preparer
            .prepare(&state, part)
            .map_err(|error| error.to_string())?;
        if locate && !state.is_set_aside() {
            match part.locate() {
                Err(error) if error.kind() == ErrorKind::Corrupt => core.set_aside(&state, &error),
                located => located.map_err(Unplayed::Because)?,
            }
        }
        match state.is_set_aside() {
            true => left_out.push(part),
            false => parts.push(part),
        }
    }
    if !left_out.is_empty() {
        let payload = match parts.is_empty() {
            true => payload.to_vec(),
            false => encode(&left_out).map_err(Unplayed::Because)?,
        };
        core.carry(Frame::new(FrameKind::Write, payload).map_err(Unplayed::Because)?);
    }
    core.apply(parts);
    Ok(rows)
}

/// The payload of a write of these parts.
pub(super) fn encode(parts: &[Part]) -> Result<Vec<u8>> {
    payload::encode(parts.iter().map(|part| PartRef {
        table: part.table.id,
        shard: part.shard,
        change: part.change,
        stamps: &part.stamps,
        rows: &part.rows,
        bytes: part.bytes,
        codec: part.table.options().codec,
        head: part.table.head_of(part.change),
    }))
}

fn missing(log: &FrameFolder, number: u64) -> Error {
    let path = log.file(number);
    Error::corrupt(format!(
        "log file {} is missing, and rows with it. Restore it from a copy; or, to give up what it \
         held, remove the folder index/ if it was the last file, or the files before it",
        path.display()
    ))
}
