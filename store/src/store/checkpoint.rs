//! Checkpoints: everything a store knows at one moment, so that older log files are not needed.
//!
//! A checkpoint is a file of frames: every table's definition; for every shard its segments with
//! their hidden rows, the digests of the records in them, and the few rows that were in memory;
//! then the number of the log file in which it goes on. It is written beside, synced and renamed:
//! from then on it is the truth, together with the log from that file on.
//!
//! Invariant: what a checkpoint says is the state exactly at the beginning of that log file.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::core::Core;
use super::home;
use super::replay::Unplayed;
use crate::catalog::Table;
use crate::clock::Version;
use crate::digest::{DigestSum, DigestTree};
use crate::error::{Error, Result};
use crate::ids::TableId;
use crate::log::{Frame, FrameFolder, FrameKind, WholeFile, scan_file};
use crate::mem::{Captured, FrozenBatch, stored};
use crate::payload::{self, PartRef};
use crate::segment::{Segment, SegmentMeta};
use crate::table::TableDef;

/// About how many bytes of rows go into one frame.
const FRAME_BYTES: usize = 8 << 20;

/// A table at the moment when a checkpoint begins.
#[derive(Debug)]
pub(super) struct CapturedTable {
    pub(super) table: Table,
    pub(super) shards: Vec<(u32, Captured)>,
}

/// A store at that moment.
#[derive(Debug)]
pub(super) struct Capture {
    /// The log file that begins with this moment.
    pub(super) first_log: u64,
    pub(super) clock: Version,
    pub(super) tables: Vec<CapturedTable>,
    /// Segments that this checkpoint does without.
    pub(super) replaced: Vec<Arc<Segment>>,
}

impl Capture {
    /// Lets go of the rows that are in segments now.
    pub(super) fn forget_flushed(&mut self) {
        for (_, shard) in self.tables.iter_mut().flat_map(|table| &mut table.shards) {
            if shard.flush {
                shard.batches.clear();
            }
        }
    }
}

/// A segment in a checkpoint.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SegmentEntry {
    pub(super) meta: SegmentMeta,
    /// Bits of live rows of the groups with hidden ones.
    live: Vec<(u32, Vec<u8>)>,
}

/// A shard in a checkpoint.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ShardEntry {
    pub(super) table: TableId,
    shard: u32,
    newest: Version,
    sum: Vec<(u8, DigestSum)>,
}

/// The end of a checkpoint.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct EndEntry {
    pub(super) first_log: u64,
    pub(super) clock: Version,
    pub(super) frames: u64,
}

/// Writes a whole checkpoint; `flushed` are the segments that were made of rows in memory. Returns
/// when it is on disk.
pub(super) fn write(
    folder: &FrameFolder,
    number: u64,
    capture: &Capture,
    flushed: &[Arc<Segment>],
) -> Result<()> {
    let mut writer = Writer::create(folder.clone(), number)?;
    for captured in &capture.tables {
        writer.table(&captured.table.def)?;
    }
    for captured in &capture.tables {
        let id = captured.table.def.id;
        for (shard, of_shard) in &captured.shards {
            if is_blank(of_shard) {
                continue;
            }
            let metas = flushed.iter().map(|segment| segment.meta());
            let new: Vec<SegmentMeta> = metas
                .filter(|meta| meta.table == id && meta.shard == *shard)
                .cloned()
                .collect();
            writer.shard(id, *shard, of_shard, &new)?;
        }
    }
    writer.finish(capture.first_log, capture.clock)?;
    Ok(())
}

/// Whether there is nothing to say about a shard.
fn is_blank(captured: &Captured) -> bool {
    captured.segments.is_empty() && captured.batches.is_empty() && captured.newest.0 == 0
}

/// Writes checkpoints.
pub(super) struct Writer {
    file: WholeFile,
    frames: u64,
}

impl Writer {
    pub(super) fn create(folder: FrameFolder, number: u64) -> Result<Self> {
        Ok(Self {
            file: WholeFile::create(folder, number)?,
            frames: 0,
        })
    }

    pub(super) fn table(&mut self, def: &TableDef) -> Result<()> {
        self.append(FrameKind::Table, def.to_bytes()?)
    }

    /// A shard, with the segments that were made of its rows in memory.
    pub(super) fn shard(
        &mut self,
        table: TableId,
        shard: u32,
        captured: &Captured,
        flushed: &[SegmentMeta],
    ) -> Result<()> {
        let entry = ShardEntry {
            table,
            shard,
            newest: captured.newest,
            sum: captured.sum.to_sparse(),
        };
        self.entry(FrameKind::Shard, &entry)?;
        for seen in captured.segments.iter() {
            let live = stored(&seen.live);
            self.segment(seen.segment.meta().clone(), live)?;
        }
        for meta in flushed {
            self.segment(meta.clone(), Vec::new())?;
        }
        if !captured.flush {
            for batch in &captured.batches {
                self.rows(table, shard, batch)?;
            }
        }
        Ok(())
    }

    /// Returns the file's length when it is on disk.
    pub(super) fn finish(mut self, first_log: u64, clock: Version) -> Result<u64> {
        let end = EndEntry {
            first_log,
            clock,
            frames: self.frames,
        };
        self.entry(FrameKind::End, &end)?;
        self.file.finish()
    }

    fn segment(&mut self, meta: SegmentMeta, live: Vec<(u32, Vec<u8>)>) -> Result<()> {
        self.entry(FrameKind::Segment, &SegmentEntry { meta, live })
    }

    fn rows(&mut self, table: TableId, shard: u32, batch: &FrozenBatch) -> Result<()> {
        let pieces = batch
            .pieces(FRAME_BYTES)
            .map_err(|error| Error::arrow("write a checkpoint", error))?;
        for (rows, stamps) in pieces {
            let part = PartRef {
                table,
                shard,
                change: batch.change,
                stamps: &stamps,
                rows: &rows,
                bytes: rows.get_array_memory_size(),
                // They are few, and backups hold them: any release reads LZ4.
                codec: None,
                head: None,
            };
            let payload = payload::encode(std::iter::once(part))?;
            self.append(FrameKind::Write, payload)?;
        }
        Ok(())
    }

    fn entry(&mut self, kind: FrameKind, entry: &impl Serialize) -> Result<()> {
        let payload = postcard::to_extend(entry, Vec::new())
            .map_err(|error| Error::invalid(format!("encode a checkpoint: {error}")))?;
        self.append(kind, payload)
    }

    pub(super) fn append(&mut self, kind: FrameKind, payload: Vec<u8>) -> Result<()> {
        self.frames += 1;
        self.file.append(&Frame::new(kind, payload)?)
    }
}

/// Reads checkpoint `number` into an empty store. Returns the number of the log file that goes on
/// where it ends. `rows` takes the payload of rows that were in memory.
pub(super) fn load(
    core: &Core,
    folder: &FrameFolder,
    number: u64,
    rows: &mut dyn FnMut(&[u8]) -> Result<(), Unplayed>,
) -> Result<u64> {
    let path = folder.file(number);
    let (mut frames, mut end) = (0, None);
    let scanned = scan_file(folder, number, false, |frame| {
        let damaged = |reason: String| Error::log(&path, frame.offset, reason);
        match frame.kind {
            FrameKind::Table => {
                let def = TableDef::from_bytes(&frame.payload)
                    .map_err(|error| damaged(error.to_string()))?;
                core.install_quietly(def)
                    .map_err(|error| damaged(error.to_string()))?;
            }
            FrameKind::Write => {
                rows(&frame.payload).map_err(|reason| reason.at(&path, frame.offset))?;
            }
            FrameKind::Segment => {
                restore_segment(core, decode(&frame.payload).map_err(damaged)?)
                    .map_err(|reason| reason.at(&path, frame.offset))?;
            }
            FrameKind::Shard => {
                let entry = decode(&frame.payload).map_err(damaged)?;
                restore_shard(core, entry).map_err(|error| damaged(error.to_string()))?;
            }
            FrameKind::End => {
                let entry: EndEntry = decode(&frame.payload).map_err(damaged)?;
                if entry.frames != frames {
                    return Err(damaged("frames are missing".to_owned()));
                }
                core.clock.advance(entry.clock);
                end = Some(entry.first_log);
            }
            FrameKind::Mark | FrameKind::Checkpoint | FrameKind::Bulk => {
                return Err(damaged("a frame of the log in a checkpoint".to_owned()));
            }
        }
        frames += 1;
        Ok(())
    })?;
    end.ok_or_else(|| Error::log(&path, scanned.len, "the checkpoint has no end"))
}

pub(super) fn decode<T: serde::de::DeserializeOwned>(payload: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes(payload) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err("bytes follow the entry".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn restore_segment(core: &Core, entry: SegmentEntry) -> Result<(), Unplayed> {
    let Some(home) = &core.home else {
        return Ok(());
    };
    let table = core
        .any_table(entry.meta.table)
        .map_err(|e| e.to_string())?;
    home::check(&table.state, &entry.meta)?;
    let shard = entry.meta.shard as usize;
    let segment = home.open(&table.state, entry.meta);
    if let Some(shard) = table.state.mem.lock().get_mut(shard) {
        shard.restore(segment, &entry.live);
    }
    Ok(())
}

fn restore_shard(core: &Core, entry: ShardEntry) -> Result<()> {
    let table = core.any_table(entry.table)?;
    let sum = DigestTree::from_sparse(&entry.sum);
    core.clock.advance(entry.newest);
    if let Some(shard) = table.state.mem.lock().get_mut(entry.shard as usize) {
        shard.restore_summary(entry.newest, sum);
    }
    Ok(())
}
