//! Rebuilding tables and rows from the log.
//!
//! Invariant: a frame with a good checksum is understood, or the open fails: nothing acknowledged
//! is skipped. Files must follow each other without a gap, and begin with number 1, or with the one
//! that the last complete checkpoint made the first; older files are ignored.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use super::index::Manifest;
use crate::error::{Error, Result};
use crate::log::{
    FrameKind, ScannedFrame, TornTail, file_path, find_checkpoint, list_files, scan_file,
};
use crate::mem::{Part, Preparer};
use crate::payload;
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
    /// Live, visible tables.
    pub tables: usize,
    /// The unacknowledged end of the log that was cut off, if any.
    pub torn_tail: Option<TornTail>,
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
    /// Length of the good part of the file, in bytes; `None` if the file is yet to be made.
    pub(super) len: Option<u64>,
}

pub(super) struct Replay<'a> {
    pub(super) core: &'a Core,
    pub(super) dir: &'a Path,
    pub(super) report: &'a mut OpenReport,
    pub(super) progress: &'a mut dyn FnMut(u64, u64),
}

impl Replay<'_> {
    /// Reads all files. Fails with `Corrupt` if one is missing or damaged.
    pub(super) fn run(&mut self, manifest: &Manifest) -> Result<LogEnd> {
        let mut files = list_files(self.dir)?;
        let first = self.first_needed(&files)?;
        files.retain(|number| *number >= first);
        self.check_files(first, &files, manifest)?;
        let total = files.iter().map(|number| self.file_len(*number)).sum();
        let mut before = 0;
        let mut end = LogEnd {
            first,
            number: first,
            len: None,
        };
        for &number in &files {
            let path = file_path(self.dir, number);
            let last = files.last() == Some(&number);
            let scanned = scan_file(self.dir, number, last, |frame| {
                (self.progress)(before + frame.offset + frame.disk_len, total);
                self.frame(frame, &path)
            })?;
            before += self.file_len(number);
            end.number = number;
            end.len = Some(scanned.len);
            self.report.torn_tail = scanned.torn;
        }
        (self.progress)(total, total);
        Ok(end)
    }

    fn first_needed(&self, files: &[u64]) -> Result<u64> {
        for &number in files.iter().rev() {
            if let Some(first) = find_checkpoint(self.dir, number)? {
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
            Some((wanted, _)) => Err(missing(self.dir, wanted)),
            None if last > files.last().copied() => {
                Err(missing(self.dir, first + files.len() as u64))
            }
            None => Ok(()),
        }
    }

    fn file_len(&self, number: u64) -> u64 {
        std::fs::metadata(file_path(self.dir, number)).map_or(0, |file| file.len())
    }

    fn frame(&mut self, frame: ScannedFrame, path: &Path) -> Result<()> {
        self.report.frames += 1;
        let damaged = |reason: String| Error::log(path, frame.offset, reason);
        match frame.kind {
            FrameKind::Mark | FrameKind::Checkpoint => Ok(()),
            FrameKind::Table => {
                let def = TableDef::from_bytes(&frame.payload)
                    .map_err(|error| damaged(error.to_string()))?;
                // One that contradicts an earlier one was refused when it was written, too.
                let _ = self.core.install_quietly(def);
                Ok(())
            }
            FrameKind::Write => self.rows(&frame.payload).map_err(damaged),
        }
    }

    fn rows(&mut self, payload: &[u8]) -> Result<(), String> {
        let preparer = Preparer {
            hasher: &self.core.hasher,
            trusted: true,
        };
        let mut parts: Vec<Part> = Vec::new();
        for part in payload::decode(payload)? {
            let state = match self.core.catalog.read().by_id(part.table) {
                Some(table) => Arc::clone(&table.state),
                None => {
                    return Err(format!(
                        "rows of unknown table {}: an earlier log file is missing",
                        part.table
                    ));
                }
            };
            self.report.rows += part.rows.num_rows() as u64;
            self.core.clock.advance(part.stamps.newest());
            if state.is_dropped() {
                continue;
            }
            let part = preparer
                .prepare(&state, part)
                .map_err(|error| error.to_string())?;
            parts.push(part);
        }
        self.core.apply(parts);
        Ok(())
    }
}

fn missing(dir: &Path, number: u64) -> Error {
    let path = file_path(dir, number);
    Error::corrupt(format!(
        "log file {} is missing, and rows with it. Restore it from a copy; or, to give up what it \
         held, remove the folder index/ if it was the last file, or the files before it",
        path.display()
    ))
}
