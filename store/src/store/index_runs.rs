//! Making the sorted runs of secondary indexes.
//!
//! Invariant: runs come and go on the background thread alone, so that none is made twice, or of a
//! segment whose files are being removed. Readers and writers go on meanwhile.

use std::sync::Arc;

use super::Store;
use super::core::Core;
use super::maintenance::Job;
use crate::catalog::TableState;
use crate::error::{Error, Result};
use crate::ids::TableId;
use crate::segment::{Segment, run_id};
use crate::table_options::IndexDef;
use crate::write::Change;

impl Store {
    /// Returns when every segment of a table has what each of the table's indexes needs; `progress`
    /// hears how many of them are made, and how many there are to make. Without this call that
    /// happens in the background, and until then scans do without the index. Neither readers nor
    /// writers wait. Does nothing in memory. Fails with `NotFound` if the table is unknown, `Io` if
    /// the system refuses, `Corrupt` if a segment is damaged, `Unavailable` if the store is closed.
    pub fn build_indexes(&self, table: TableId, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        self.core().any_table(table)?;
        let Some(jobs) = self.jobs()? else {
            return Ok(());
        };
        let (job, (steps, answer)) = Job::index(table);
        jobs.send(job).map_err(|_| Error::closed())?;
        drop(jobs);
        for (done, total) in steps {
            progress(done, total);
        }
        answer.recv().map_err(|_| Error::closed())?
    }
}

/// The segments of rows that lack the run of an index.
pub(super) fn missing(table: &TableState) -> Vec<(Arc<Segment>, IndexDef)> {
    let options = table.options();
    if options.indexes.is_empty() || table.is_dropped() {
        return Vec::new();
    }
    let mut missing = Vec::new();
    // Asking a segment may read a file, so it is not done under the lock.
    for segment in segments(table) {
        let lacks = options.indexes.iter().filter(|i| segment.run(i).is_none());
        missing.extend(lacks.map(|index| (Arc::clone(&segment), index.clone())));
    }
    missing
}

/// Removes the runs of indexes that were dropped.
pub(super) fn forget(table: &TableState) {
    let options = table.options();
    let kept: Vec<u64> = options.indexes.iter().map(run_id).collect();
    for segment in segments(table) {
        segment.keep_runs(&kept);
    }
}

/// Makes one run.
pub(super) fn build(
    core: &Core,
    table: &TableState,
    segment: &Segment,
    index: &IndexDef,
) -> Result<()> {
    match &core.home {
        Some(home) => segment.build_run(index, home.codec_of(table), &|| core.is_stopping()),
        None => Ok(()),
    }
}

fn segments(table: &TableState) -> Vec<Arc<Segment>> {
    let shards = table.mem.lock();
    let held = shards.iter().flat_map(|shard| shard.segments());
    held.map(|held| &held.segment)
        .filter(|segment| segment.meta().change == Change::Upsert)
        .map(Arc::clone)
        .collect()
}
