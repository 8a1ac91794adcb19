//! A checkpoint of a backup becomes one of a new data folder.
//!
//! Frames of wanted tables are copied as they are; the end says that the log begins anew.

use std::path::Path;
use std::sync::Arc;

use crate::disk::OsDisk;
use crate::error::{Error, Result};
use crate::ids::TableId;
use crate::log::{FrameFolder, FrameKind, ScannedFrame, Series, scan_file};
use crate::payload;
use crate::store::checkpoint::{EndEntry, SegmentEntry, ShardEntry, Writer, decode};
use crate::table::TableDef;

/// Number of a store's first checkpoint and first log file.
pub(super) const FIRST: u64 = 1;

/// Copies what is wanted of a checkpoint (folder and number) into another folder, as number 1.
pub(super) fn copy_checkpoint(
    (from, number): (&Path, u64),
    to: &Path,
    wanted: &dyn Fn(TableId) -> bool,
) -> Result<()> {
    let folder =
        |path: &Path| FrameFolder::new(Arc::new(OsDisk), path.to_path_buf(), Series::Checkpoint);
    let from = folder(from);
    let path = from.file(number);
    let mut writer = Writer::create(folder(to), FIRST)?;
    let (mut frames, mut clock) = (0, None);
    scan_file(&from, number, false, |frame| {
        let damaged = |reason: String| Error::log(&path, frame.offset, reason);
        if frame.kind == FrameKind::End {
            let end: EndEntry = decode(&frame.payload).map_err(damaged)?;
            clock = (end.frames == frames).then_some(end.clock);
            return Ok(());
        }
        frames += 1;
        match table_of(&frame).map_err(damaged)? {
            id if wanted(id) => writer.append(frame.kind, frame.payload),
            _ => Ok(()),
        }
    })?;
    let clock = clock.ok_or_else(|| Error::log(&path, 0, "frames are missing"))?;
    writer.finish(FIRST, clock)?;
    Ok(())
}

/// The table that a frame is about.
fn table_of(frame: &ScannedFrame) -> Result<TableId, String> {
    match frame.kind {
        FrameKind::Table => {
            let def = TableDef::from_bytes(&frame.payload).map_err(|error| error.to_string())?;
            Ok(def.id)
        }
        FrameKind::Segment => {
            let entry: SegmentEntry = decode(&frame.payload)?;
            Ok(entry.meta.table)
        }
        FrameKind::Shard => {
            let entry: ShardEntry = decode(&frame.payload)?;
            Ok(entry.table)
        }
        FrameKind::Write => match payload::decode(&frame.payload)?.as_slice() {
            [part] => Ok(part.table),
            _ => Err("rows of several tables in a checkpoint".to_owned()),
        },
        _ => Err("a frame of the log in a checkpoint".to_owned()),
    }
}
