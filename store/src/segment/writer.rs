//! Writing a segment.
//!
//! Invariant: after `finish` both files are on disk, whole; a writer that is not finished removes
//! what it wrote. Memory is bounded by one encoded row group and what the index needs.
//! Non-goals: sorting (keys that do not ascend are refused), syncing the folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, BinaryArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;

use super::blocks::BlockWriter;
use super::encoding::{Sample, check_types, properties};
use super::index::Index;
use super::kept::{kept_schema, with_type};
use super::stamped::{range, same_types, to_columns, with_stamp_columns};
use super::summary::{ColumnNotes, group_of};
use super::{
    FileName, GROUP_ROWS, PAGE_ROWS, SegmentMeta, SegmentSpec, data_path, filter, index_path,
};
use crate::clock::Version;
use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Result};
use crate::ids::Stamp;
use crate::mem::Stamps;

/// Writes the sorted rows of one shard into a new segment.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    spec: SegmentSpec,
    /// Columns of the data file, in the types of the table.
    schema: SchemaRef,
    /// The same in the types of the data file.
    kept: SchemaRef,
    data: Option<Data>,
    rows: u64,
    columns: Vec<ColumnNotes>,
    page_keys: Vec<Vec<u8>>,
    /// Hashes of the keys of the group that is being written.
    hashes: Vec<u64>,
    filters: Vec<Vec<u8>>,
    last_key: Vec<u8>,
    seen: Option<Seen>,
    finished: bool,
}

/// Rows after which the encodings are chosen.
const SAMPLE_ROWS: u64 = 16_384;

/// Most rows of a segment: rows are numbered with 32 bits.
const MAX_ROWS: u64 = u32::MAX as u64;

/// The data file.
#[derive(Debug)]
enum Data {
    /// The first rows wait until the encodings can be chosen.
    Sampling(Box<dyn DiskFile>, Vec<RecordBatch>),
    Encoding(Box<ArrowWriter<BlockWriter>>),
}

/// The stamps so far.
#[derive(Debug)]
struct Seen {
    newest: Version,
    oldest: Version,
    same: Option<Stamp>,
}

impl SegmentWriter {
    /// Creates the data file in `folder`, which must exist, in place of one of the same number.
    /// Fails with `InvalidInput` if a column has a type that Parquet lacks.
    pub(crate) fn create(disk: Arc<dyn Disk>, folder: &Path, spec: SegmentSpec) -> Result<Self> {
        check_types(&spec.schema)?;
        let path = data_path(folder, spec.name());
        let file = disk
            .create(&path)
            .map_err(|error| Error::io(format!("creating {}", path.display()), error))?;
        let schema = match spec.stamp {
            Some(_) => spec.schema.clone(),
            None => with_stamp_columns(&spec.schema),
        };
        let fields = spec.schema.fields().iter();
        Ok(Self {
            disk,
            folder: folder.to_path_buf(),
            columns: fields.map(|f| ColumnNotes::new(f.data_type())).collect(),
            spec,
            kept: kept_schema(&schema),
            schema,
            data: Some(Data::Sampling(file, Vec::new())),
            rows: 0,
            page_keys: Vec::new(),
            hashes: Vec::new(),
            filters: Vec::new(),
            last_key: Vec::new(),
            seen: None,
            finished: false,
        })
    }

    /// Rows written so far.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Appends rows with their encoded keys. Fails with `InvalidInput` if the keys do not ascend
    /// strictly; the segment cannot be finished then.
    pub(crate) fn push(
        &mut self,
        rows: &RecordBatch,
        keys: &BinaryArray,
        stamps: &Stamps,
    ) -> Result<()> {
        let pushed = self.try_push(rows, keys, stamps);
        if pushed.is_err() {
            self.data = None;
        }
        pushed
    }

    fn try_push(&mut self, rows: &RecordBatch, keys: &BinaryArray, stamps: &Stamps) -> Result<()> {
        self.check(rows, keys, stamps)?;
        if rows.num_rows() == 0 {
            return Ok(());
        }
        self.note_stamps(stamps, rows.num_rows())?;
        let mut columns = rows.columns().to_vec();
        if self.spec.stamp.is_none() {
            columns.extend(to_columns(stamps, rows.num_rows())?);
        }
        let rows = RecordBatch::try_new(self.schema.clone(), columns)
            .map_err(|error| self.wrong_rows(error))?;
        let mut from = 0;
        while from < rows.num_rows() {
            // Pages end where the sparse index says that they do.
            let room = PAGE_ROWS - (self.rows % PAGE_ROWS as u64) as usize;
            let len = room.min(rows.num_rows() - from);
            self.push_page(&rows.slice(from, len), &keys.slice(from, len))?;
            from += len;
        }
        Ok(())
    }

    /// Writes rows that lie within one page.
    fn push_page(&mut self, rows: &RecordBatch, keys: &BinaryArray) -> Result<()> {
        if self.rows.is_multiple_of(PAGE_ROWS as u64) {
            self.page_keys.push(keys.value(0).to_vec());
        }
        if self.spec.run.is_none() {
            let hashes = keys.iter().flatten().map(filter::hash_key);
            self.hashes.extend(hashes);
        }
        let group = group_of(self.rows);
        for (notes, values) in self.columns.iter_mut().zip(rows.columns()) {
            notes.add(group, values);
        }
        self.last_key.clear();
        self.last_key.extend_from_slice(keys.value(keys.len() - 1));
        self.rows += rows.num_rows() as u64;
        let rows = self.as_kept(rows).map_err(|error| self.wrong_rows(error))?;
        match &mut self.data {
            Some(Data::Encoding(writer)) => {
                let written = writer.write(&rows);
                written.map_err(|error| self.failed(error))?;
            }
            Some(Data::Sampling(_, waiting)) => waiting.push(rows),
            None => {}
        }
        if self.rows >= SAMPLE_ROWS {
            self.start_encoding()?;
        }
        if self.rows.is_multiple_of(GROUP_ROWS as u64) {
            self.close_filter();
        }
        Ok(())
    }

    /// Rows in the types of the data file.
    fn as_kept(&self, rows: &RecordBatch) -> std::result::Result<RecordBatch, ArrowError> {
        let columns = rows.columns().iter().zip(self.kept.fields());
        let columns = columns.map(|(values, field)| with_type(values, field.data_type()));
        RecordBatch::try_new(
            self.kept.clone(),
            columns.collect::<std::result::Result<_, _>>()?,
        )
    }

    fn close_filter(&mut self) {
        // An empty filter denies nothing.
        self.filters.push(match self.spec.run {
            None => filter::build(&self.hashes),
            Some(_) => Vec::new(),
        });
        self.hashes.clear();
    }

    fn check(&self, rows: &RecordBatch, keys: &BinaryArray, stamps: &Stamps) -> Result<()> {
        let number = self.spec.number;
        let wrong = |reason: &str| Err(Error::invalid(format!("segment {number}: {reason}")));
        if self.data.is_none() {
            return wrong("an earlier write to it failed; begin a new one");
        }
        if keys.len() != rows.num_rows() || !stamps.covers(rows.num_rows()) {
            return wrong("rows, keys and stamps differ in number");
        }
        if !same_types(rows.schema_ref(), &self.spec.schema) {
            return wrong("rows have other columns than the segment");
        }
        if self.rows + rows.num_rows() as u64 > MAX_ROWS {
            return wrong("it would have more rows than can be numbered; begin another one");
        }
        let after_last = self.rows == 0 || keys.is_empty() || keys.value(0) > &self.last_key[..];
        let ascending = (1..keys.len()).all(|row| keys.value(row - 1) < keys.value(row));
        if keys.null_count() > 0 || !after_last || !ascending {
            return wrong("keys do not ascend; sort the rows by key, each key once");
        }
        Ok(())
    }

    fn note_stamps(&mut self, stamps: &Stamps, rows: usize) -> Result<()> {
        let (newest, oldest, same) = range(stamps, rows);
        if self.spec.stamp.is_some() && same != self.spec.stamp {
            return Err(Error::invalid(format!(
                "segment {}: rows have another stamp than the one given for all",
                self.spec.number
            )));
        }
        self.seen = Some(match self.seen.take() {
            Some(seen) => Seen {
                newest: newest.max(seen.newest),
                oldest: oldest.min(seen.oldest),
                same: seen.same.filter(|stamp| same.as_ref() == Some(stamp)),
            },
            None => Seen {
                newest,
                oldest,
                same,
            },
        });
        Ok(())
    }

    /// Chooses the encodings by the rows so far, and encodes these.
    fn start_encoding(&mut self) -> Result<()> {
        let (file, waiting) = match self.data.take() {
            Some(Data::Sampling(file, waiting)) => (file, waiting),
            other => {
                self.data = other;
                return Ok(());
            }
        };
        let sample = Sample {
            rows: self.rows,
            columns: &self.columns,
        };
        let properties = properties(&self.schema, self.spec.codec, sample);
        let encode = || {
            let file = BlockWriter::new(file);
            let mut writer = ArrowWriter::try_new(file, self.kept.clone(), Some(properties))?;
            waiting.iter().try_for_each(|rows| writer.write(rows))?;
            Ok(writer)
        };
        let writer = encode().map_err(|error| self.failed(error))?;
        self.data = Some(Data::Encoding(Box::new(writer)));
        Ok(())
    }

    /// Puts both files on disk. The caller syncs the folder. Fails with `InvalidInput` if there
    /// are no rows.
    pub(crate) fn finish(mut self) -> Result<SegmentMeta> {
        if self.rows > 0 {
            self.start_encoding()?;
        }
        let (Some(Data::Encoding(writer)), Some(seen)) = (self.data.take(), self.seen.take())
        else {
            return Err(Error::invalid(format!(
                "segment {}: nothing was written to it, or writing failed",
                self.spec.number
            )));
        };
        if !self.rows.is_multiple_of(GROUP_ROWS as u64) {
            self.close_filter();
        }
        let blocks = writer.into_inner().map_err(|error| self.failed(error))?;
        let path = data_path(&self.folder, self.spec.name());
        let (data_bytes, block_crcs) = blocks.finish(&path)?;
        let index = self.index(seen.same, data_bytes, block_crcs);
        let bytes = index.to_bytes()?;
        self.write_index(&bytes)?;
        self.finished = true;
        Ok(SegmentMeta {
            number: index.number,
            table: index.table,
            shard: index.shard,
            change: index.change,
            rows: index.rows,
            data_bytes,
            index_bytes: bytes.len() as u64,
            index_checksum: *blake3::hash(&bytes).as_bytes(),
            min_key: index.page_keys.first().cloned().unwrap_or_default(),
            max_key: std::mem::take(&mut self.last_key),
            newest: seen.newest,
            oldest: seen.oldest,
        })
    }

    fn index(&mut self, stamp: Option<Stamp>, data_bytes: u64, block_crcs: Vec<u32>) -> Index {
        Index {
            table: self.spec.table,
            shard: self.spec.shard,
            number: self.spec.number,
            change: self.spec.change,
            rows: self.rows,
            data_bytes,
            stamp,
            stamp_columns: self.spec.stamp.is_none(),
            block_crcs,
            page_keys: std::mem::take(&mut self.page_keys),
            filters: std::mem::take(&mut self.filters),
            columns: std::mem::take(&mut self.columns),
        }
    }

    fn write_index(&self, bytes: &[u8]) -> Result<()> {
        let path = index_path(&self.folder, self.spec.name());
        write_whole(&*self.disk, &path, bytes)
    }

    /// Gives up and removes what was written.
    pub(crate) fn abandon(self) {
        drop(self);
    }

    fn failed(&self, error: ParquetError) -> Error {
        let path = data_path(&self.folder, self.spec.name());
        match error {
            ParquetError::External(source) => match source.downcast::<std::io::Error>() {
                Ok(error) => Error::io(format!("writing {}", path.display()), *error),
                Err(other) => Error::invalid(format!("writing {}: {other}", path.display())),
            },
            other => Error::invalid(format!("writing {}: {other}", path.display())),
        }
    }

    fn wrong_rows(&self, error: ArrowError) -> Error {
        Error::arrow(format!("rows of segment {}", self.spec.number), error)
    }
}

impl Drop for SegmentWriter {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        // Windows does not remove open files.
        self.data = None;
        remove_files(&*self.disk, &self.folder, self.spec.name());
    }
}

/// Writes a small file, and puts it on disk.
pub(super) fn write_whole(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<()> {
    let context = || format!("writing {}", path.display());
    let written = disk.create(path).and_then(|mut file| {
        file.append(bytes)?;
        Ok(file)
    });
    let file = written.map_err(|error| Error::io(context(), error))?;
    file.sync()
        .map_err(|error| Error::in_doubt(context(), error))
}

/// Removes both files of a segment, best effort: what stays behind is listed by no checkpoint, and
/// removed when the store opens.
pub(super) fn remove_files(disk: &dyn Disk, folder: &Path, name: FileName) {
    for path in [data_path(folder, name), index_path(folder, name)] {
        let _ = disk.remove(&path);
    }
}
