//! Sorted runs: the order of a segment's rows by other columns than its key's.
//!
//! Idea: a run is a file of the segment's format beside it. Its rows are the indexed columns and, as
//! the last column, the row's position in the segment; all of them together are its key. A small
//! file of its own says that the run is complete, and of which segment it is.
//!
//! Invariant: a run that is given out belongs to exactly this segment. Runs are derived: no
//! checkpoint lists them, and one that is missing or damaged is made anew.
//! Non-goal: hidden rows. A run has all rows, and whoever looks them up leaves out the hidden ones.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch, UInt32Array};
use arrow::compute::{interleave, interleave_record_batch};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, UInt32Type};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::blocks::damaged;
use super::merge::{MergeInput, merge_sorted};
use super::range::KeyRange;
use super::writer::{remove_files, write_whole};
use super::{
    Codec, FileName, GROUP_ROWS, KeyLayout, Segment, SegmentMeta, SegmentPlace, SegmentSpec,
    SegmentWriter, run_meta_path,
};
use crate::error::{Error, Result};
use crate::ids::Stamp;
use crate::mem::Stamps;
use crate::table_options::IndexDef;

/// Keys and columns that are sorted in memory at once, in bytes; more is sorted in parts, which are
/// then merged.
const SORT_BYTES: usize = if cfg!(test) { 1 << 20 } else { 128 << 20 };
/// Longest description of a run, in bytes: two keys and some numbers.
const MAX_META_BYTES: u64 = 64 << 20;
/// First byte of a description.
const META_FORMAT: u8 = 1;

/// The runs of a segment, as far as they are known.
#[derive(Debug, Default)]
pub(super) struct Runs(Mutex<Vec<(u64, Option<Arc<Segment>>)>>);

/// What the file beside a run says.
#[derive(Debug, Serialize, Deserialize)]
struct RunMeta {
    /// Checksum of the index file of the segment that the run is of.
    base: [u8; 32],
    run: SegmentMeta,
}

/// Names the runs of an index: its name and columns, hashed.
pub(crate) fn run_id(index: &IndexDef) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(index.name.as_bytes());
    for column in &index.columns {
        hasher.update(&column.to_le_bytes());
    }
    let mut word = [0; 8];
    for (to, from) in word.iter_mut().zip(hasher.finalize().as_bytes()) {
        *to = *from;
    }
    u64::from_le_bytes(word)
}

impl Segment {
    /// The run for an index, if there is one. Looks on the disk the first time.
    pub(crate) fn run(&self, index: &IndexDef) -> Option<Arc<Segment>> {
        let id = run_id(index);
        let mut runs = self.runs.0.lock();
        if let Some((_, known)) = runs.iter().find(|(known, _)| *known == id) {
            return known.clone();
        }
        let found = self.adopt(index, id).unwrap_or_else(|error| {
            tracing::warn!(%error, index = %index.name, "an index run is made anew");
            None
        });
        runs.push((id, found.clone()));
        found
    }

    /// The rows, ascending, whose indexed columns lie in a range: the first `limit` of them in the
    /// index's order. `None` if there is no run; one that cannot be read is forgotten.
    pub(crate) fn lookup(
        &self,
        index: &IndexDef,
        range: &KeyRange,
        limit: usize,
    ) -> Option<Vec<u32>> {
        self.with_run(index, |run| {
            let found = run.rows_in(range)?;
            let limit = u32::try_from(limit).unwrap_or(u32::MAX);
            let end = found.end.min(found.start.saturating_add(limit));
            let mut rows = self.positions(run, found.start..end)?;
            rows.sort_unstable();
            Ok(rows)
        })
    }

    /// How many rows `lookup` would give without a limit.
    pub(crate) fn count(&self, index: &IndexDef, range: &KeyRange) -> Option<u64> {
        self.with_run(index, |run| Ok(run.rows_in(range)?.len() as u64))
    }

    /// The positions in this segment that some rows of a run of it name, in the run's order.
    pub(super) fn positions(&self, run: &Segment, of: Range<u32>) -> Result<Vec<u32>> {
        let wanted: Vec<u32> = of.collect();
        let parts = run.take_parts(&wanted, &[run.schema.fields().len() - 1])?;
        let mut rows = Vec::with_capacity(wanted.len());
        for part in parts.iter().flatten() {
            let part = part.as_primitive_opt::<UInt32Type>();
            rows.extend_from_slice(part.map_or(&[], |part| part.values()));
        }
        let beyond = |row: &u32| u64::from(*row) >= self.meta.rows;
        if rows.len() != wanted.len() || rows.iter().any(beyond) {
            return Err(damaged(
                &run.data_path(),
                "it names rows that are not there",
            ));
        }
        Ok(rows)
    }

    /// What `read` finds in the run for an index. `None` if there is none; one that cannot be read is
    /// forgotten.
    pub(super) fn with_run<T>(
        &self,
        index: &IndexDef,
        read: impl FnOnce(&Segment) -> Result<T>,
    ) -> Option<T> {
        let run = self.run(index)?;
        match read(&run) {
            Ok(found) => Some(found),
            Err(error) => {
                tracing::warn!(%error, index = %index.name, "an index run is made anew");
                self.lose_run(run_id(index), &run);
                None
            }
        }
    }

    /// Removes the runs that are not among `ids`.
    pub(crate) fn keep_runs(&self, ids: &[u64]) {
        let mut runs = self.runs.0.lock();
        runs.retain(|(id, run)| {
            let keep = ids.contains(id);
            if let (false, Some(run)) = (keep, run) {
                let _ = self.place.disk.remove(&self.run_meta(*id));
                run.remove_files();
            }
            keep
        });
    }

    /// Makes the run for an index, unless there is one. `stop` is asked now and then whether to give
    /// up; then nothing is left behind. Fails with `Io` if the system refuses, `Corrupt` if the
    /// segment is damaged.
    pub(crate) fn build_run(
        &self,
        index: &IndexDef,
        codec: Codec,
        stop: &dyn Fn() -> bool,
    ) -> Result<()> {
        if self.run(index).is_some() {
            return Ok(());
        }
        let id = run_id(index);
        let built = Builder::new(self, index, codec)?.build(stop)?;
        self.describe(id, &built).inspect_err(|_| {
            let name = FileName {
                number: self.meta.number,
                run: Some(id),
            };
            // Best effort: what stays behind is no run, and written over by the next try.
            let _ = self.place.disk.remove(&self.run_meta(id));
            remove_files(&*self.place.disk, &self.place.folder, name);
        })?;
        self.set_run(id, Some(self.open_run(index, id, built)?));
        Ok(())
    }

    /// Forgets a run that cannot be read, unless it has been made anew already.
    fn lose_run(&self, id: u64, run: &Arc<Segment>) {
        let mut runs = self.runs.0.lock();
        for (known, held) in runs.iter_mut().filter(|(known, _)| *known == id) {
            if held.as_ref().is_some_and(|held| Arc::ptr_eq(held, run)) {
                let _ = self.place.disk.remove(&self.run_meta(*known));
                run.remove_files();
                *held = None;
            }
        }
    }

    fn set_run(&self, id: u64, run: Option<Arc<Segment>>) {
        let mut runs = self.runs.0.lock();
        runs.retain(|(known, _)| *known != id);
        runs.push((id, run));
    }

    /// The run that lies on the disk, if it is complete and of this segment.
    fn adopt(&self, index: &IndexDef, id: u64) -> Result<Option<Arc<Segment>>> {
        let path = self.run_meta(id);
        let Ok(file) = self.place.disk.open(&path) else {
            return Ok(None);
        };
        let io = |error| Error::io(format!("reading {}", path.display()), error);
        let size = file.size().map_err(io)?;
        if size > MAX_META_BYTES {
            return Err(damaged(&path, "it is too long"));
        }
        let mut bytes = vec![0; size as usize];
        file.read_at(0, &mut bytes).map_err(io)?;
        match decode(&bytes) {
            Some(RunMeta { base, run })
                if base == self.meta.index_checksum && run.rows == self.meta.rows =>
            {
                Ok(Some(self.open_run(index, id, run)?))
            }
            _ => Err(damaged(&path, "it does not describe a run of its segment")),
        }
    }

    /// Writes the file that makes a run count.
    fn describe(&self, id: u64, run: &SegmentMeta) -> Result<()> {
        let meta = RunMeta {
            base: self.meta.index_checksum,
            run: run.clone(),
        };
        let mut bytes = postcard::to_extend(&meta, vec![META_FORMAT])
            .map_err(|error| Error::invalid(format!("describe a run: {error}")))?;
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        let path = self.run_meta(id);
        write_whole(&*self.place.disk, &path, &bytes)
    }

    fn open_run(&self, index: &IndexDef, id: u64, meta: SegmentMeta) -> Result<Arc<Segment>> {
        let schema = self.run_schema(index)?;
        let keys = KeyLayout::new(&schema, (0..schema.fields().len()).collect())?;
        let place = SegmentPlace {
            run: Some(id),
            ..self.place.clone()
        };
        Ok(Arc::new(Segment::new(place, meta, schema, Arc::new(keys))))
    }

    fn run_schema(&self, index: &IndexDef) -> Result<SchemaRef> {
        let columns = index.columns.iter();
        let mut fields: Vec<FieldRef> = columns
            .map(|&column| {
                let field = self.schema.fields().get(column as usize).cloned();
                field.ok_or_else(|| self.no_column(column as usize))
            })
            .collect::<Result<_>>()?;
        let mut name = "_row".to_owned();
        while fields.iter().any(|field| *field.name() == name) {
            name.push('_');
        }
        fields.push(Arc::new(Field::new(name, DataType::UInt32, false)));
        Ok(Arc::new(Schema::new(fields)))
    }

    fn run_meta(&self, id: u64) -> std::path::PathBuf {
        run_meta_path(
            &self.place.folder,
            FileName {
                number: self.meta.number,
                run: Some(id),
            },
        )
    }
}

/// The description in these bytes, if they are one and undamaged.
fn decode(bytes: &[u8]) -> Option<RunMeta> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let body = body.strip_prefix(&[META_FORMAT])?;
    match postcard::take_from_bytes(body) {
        Ok((meta, [])) => Some(meta),
        _ => None,
    }
}

/// Makes one run.
struct Builder<'a> {
    base: &'a Segment,
    columns: Vec<usize>,
    schema: SchemaRef,
    keys: Arc<KeyLayout>,
    codec: Codec,
    id: u64,
    waiting: Vec<(RecordBatch, BinaryArray)>,
    waiting_bytes: usize,
    /// Sorted parts, which are runs themselves.
    parts: Vec<Arc<Segment>>,
}

impl<'a> Builder<'a> {
    fn new(base: &'a Segment, index: &IndexDef, codec: Codec) -> Result<Self> {
        let schema = base.run_schema(index)?;
        let keys = KeyLayout::new(&schema, (0..schema.fields().len()).collect())?;
        Ok(Self {
            base,
            columns: index.columns.iter().map(|&c| c as usize).collect(),
            schema,
            keys: Arc::new(keys),
            codec,
            id: run_id(index),
            waiting: Vec::new(),
            waiting_bytes: 0,
            parts: Vec::new(),
        })
    }

    fn build(mut self, stop: &dyn Fn() -> bool) -> Result<SegmentMeta> {
        for group in 0..self.base.groups() {
            if stop() {
                return Err(Error::closed());
            }
            self.take_group(group)?;
            if self.waiting_bytes >= SORT_BYTES {
                self.write_part()?;
            }
        }
        if self.parts.is_empty() {
            return self.write_waiting(self.id);
        }
        self.write_part()?;
        self.merge_parts(stop)
    }

    fn take_group(&mut self, group: usize) -> Result<()> {
        let first = (group * GROUP_ROWS) as u32;
        let rows = first..first + self.base.group_rows(group) as u32;
        let columns = self.columns.iter();
        let mut columns: Vec<ArrayRef> = columns
            .map(|&column| self.base.column_once(group, column))
            .collect::<Result<_>>()?;
        columns.push(Arc::new(UInt32Array::from_iter_values(rows)));
        let keys = self.keys.encode(&self.base.data_path(), &columns)?;
        let rows = RecordBatch::try_new(self.schema.clone(), columns)
            .map_err(|error| damaged(&self.base.data_path(), error))?;
        self.waiting_bytes += rows.get_array_memory_size() + keys.get_array_memory_size();
        self.waiting.push((rows, keys));
        Ok(())
    }

    /// Sorts the rows that wait into a part.
    fn write_part(&mut self) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        // Names that no index has: what a crash leaves of them is removed on the next open.
        let id = self.id.wrapping_add(1 + self.parts.len() as u64);
        let meta = self.write_waiting(id)?;
        self.waiting.clear();
        self.waiting_bytes = 0;
        let place = SegmentPlace {
            run: Some(id),
            ..self.base.place.clone()
        };
        let part = Segment::new(place, meta, self.schema.clone(), Arc::clone(&self.keys));
        self.parts.push(Arc::new(part));
        Ok(())
    }

    fn merge_parts(&self, stop: &dyn Fn() -> bool) -> Result<SegmentMeta> {
        let mut writer = self.writer(self.id)?;
        let inputs = self.parts.iter().map(|part| MergeInput {
            segment: Arc::clone(part),
            live: Vec::new(),
        });
        merge_sorted(inputs.collect(), &mut |merged| {
            if stop() {
                return Err(Error::closed());
            }
            writer.push(&merged.rows, &merged.keys, &merged.stamps)
        })?;
        writer.finish()
    }

    fn write_waiting(&self, id: u64) -> Result<SegmentMeta> {
        let failed = |error| Error::arrow("sort the rows of an index", error);
        let mut order: Vec<(usize, usize)> = Vec::new();
        for (number, (rows, _)) in self.waiting.iter().enumerate() {
            order.extend((0..rows.num_rows()).map(|row| (number, row)));
        }
        let key =
            |(batch, row): &(usize, usize)| self.waiting.get(*batch).map(|(_, k)| k.value(*row));
        order.sort_unstable_by(|a, b| key(a).cmp(&key(b)));
        let rows: Vec<&RecordBatch> = self.waiting.iter().map(|(rows, _)| rows).collect();
        let keys: Vec<&dyn Array> = self.waiting.iter().map(|(_, keys)| keys as _).collect();
        let mut writer = self.writer(id)?;
        let stamps = Stamps::One(self.stamp());
        for chunk in order.chunks(GROUP_ROWS) {
            let rows = interleave_record_batch(&rows, chunk).map_err(failed)?;
            let keys = interleave(&keys, chunk).map_err(failed)?;
            writer.push(&rows, &BinaryArray::from(keys.to_data()), &stamps)?;
        }
        writer.finish()
    }

    fn writer(&self, id: u64) -> Result<SegmentWriter> {
        let meta = &self.base.meta;
        let spec = SegmentSpec {
            table: meta.table,
            shard: meta.shard,
            number: meta.number,
            change: meta.change,
            schema: self.schema.clone(),
            codec: self.codec,
            stamp: Some(self.stamp()),
            run: Some(id),
        };
        let place = &self.base.place;
        SegmentWriter::create(Arc::clone(&place.disk), &place.folder, spec)
    }

    /// Rows of a run need no stamps of their own; this one spares the columns.
    fn stamp(&self) -> Stamp {
        Stamp {
            version: self.base.meta.newest,
            author: "".into(),
        }
    }
}

impl Drop for Builder<'_> {
    fn drop(&mut self) {
        let folder: &Path = &self.base.place.folder;
        for part in &self.parts {
            remove_files(&*self.base.place.disk, folder, part.name());
        }
    }
}
