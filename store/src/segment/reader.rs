//! A segment that can be read.
//!
//! Invariant: opening does no IO; the files are opened once, by the first reader. A row's position
//! never changes. Non-goal: keeping the files in being: whoever removes them makes sure that no
//! reader that has not opened them yet is left.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch, StringArray, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef};
use parking_lot::Mutex;

use super::blocks::damaged;
use super::cache::{CacheKey, ColumnCache, KEYS, WHOLE};
use super::keys::KeyLayout;
use super::load::{Loaded, load, read_index};
use super::runs::Runs;
use super::writer::remove_files;
use super::zones::{ColumnSummary, Zones};
use super::{FileName, GROUP_ROWS, PAGE_ROWS, SegmentMeta, data_path, index_path, stamped};
use crate::clock::Version;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::ids::Stamp;
use crate::mem::Stamps;

/// Where the segments of a shard lie, and what caches their columns.
#[derive(Debug, Clone)]
pub(crate) struct SegmentPlace {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) folder: PathBuf,
    pub(crate) cache: Arc<ColumnCache>,
    /// For a sorted run: which one.
    pub(crate) run: Option<u64>,
}

impl SegmentPlace {
    pub(super) fn name(&self, meta: &SegmentMeta) -> FileName {
        FileName {
            number: meta.number,
            run: self.run,
        }
    }
}

/// The sorted rows of one shard in a file that never changes.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(super) place: SegmentPlace,
    pub(super) meta: SegmentMeta,
    pub(super) schema: SchemaRef,
    pub(super) keys: Arc<KeyLayout>,
    uid: u64,
    loaded: OnceLock<Loaded>,
    /// Held while the files are opened, so that it happens once.
    loading: Mutex<()>,
    pub(super) summaries: OnceLock<Vec<ColumnSummary>>,
    pub(super) zones: Vec<OnceLock<Zones>>,
    pub(super) runs: Runs,
    /// The greatest and the least version of every group, once somebody asked.
    pub(super) ages: OnceLock<Vec<(Version, Version)>>,
}

impl Segment {
    /// The segment that a checkpoint lists; its rows have the columns `schema`. Does no IO.
    pub(crate) fn new(
        place: SegmentPlace,
        meta: SegmentMeta,
        schema: SchemaRef,
        keys: Arc<KeyLayout>,
    ) -> Self {
        let uid = place.cache.new_segment();
        Self {
            zones: schema.fields().iter().map(|_| OnceLock::new()).collect(),
            place,
            meta,
            schema,
            keys,
            uid,
            loaded: OnceLock::new(),
            loading: Mutex::new(()),
            summaries: OnceLock::new(),
            runs: Runs::default(),
            ages: OnceLock::new(),
        }
    }

    pub(crate) fn meta(&self) -> &SegmentMeta {
        &self.meta
    }

    /// The columns of the rows.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The number of row groups.
    pub(crate) fn groups(&self) -> usize {
        self.meta.rows.div_ceil(GROUP_ROWS as u64) as usize
    }

    /// The number of rows of a row group: 65536, the last one may be shorter, and zero behind it.
    pub(crate) fn group_rows(&self, group: usize) -> usize {
        let whole = GROUP_ROWS as u64;
        let before = (group as u64).saturating_mul(whole);
        whole.min(self.meta.rows.saturating_sub(before)) as usize
    }

    /// The stamp of all rows, if they were written with one that was known to be the only one.
    pub(crate) fn uniform_stamp(&self) -> Result<Option<Stamp>> {
        Ok(self.load()?.index.stamp.clone())
    }

    /// The open files.
    pub(super) fn load(&self) -> Result<&Loaded> {
        if let Some(loaded) = self.loaded.get() {
            return Ok(loaded);
        }
        let _one_at_a_time = self.loading.lock();
        if let Some(loaded) = self.loaded.get() {
            return Ok(loaded);
        }
        let place = &self.place;
        let loaded = load(place, &self.meta, &self.schema)?;
        Ok(self.loaded.get_or_init(|| loaded))
    }

    pub(super) fn cache_key(&self, group: usize, column: usize, page: u32) -> CacheKey {
        CacheKey {
            segment: self.uid,
            group: group as u32,
            column: column as u32,
            page,
        }
    }

    /// A column of one row group, in exactly the table's type. Kept in the cache. Fails with
    /// `InvalidInput` if there is no such group or column.
    pub(crate) fn column(&self, group: usize, column: usize) -> Result<ArrayRef> {
        if column >= self.schema.fields().len() {
            return Err(self.no_column(column));
        }
        self.any_column(group, column)
    }

    /// Like `column`; also gives the stamp columns, if there are such.
    fn any_column(&self, group: usize, column: usize) -> Result<ArrayRef> {
        let key = self.cache_key(group, column, WHOLE);
        if let Some(values) = self.place.cache.get(key) {
            return Ok(values);
        }
        let values = self.load()?.read_column(group, column)?;
        self.place.cache.insert(key, &values);
        Ok(values)
    }

    /// Like `column`, for what is read only once: leaves the cache as it is.
    pub(super) fn column_once(&self, group: usize, column: usize) -> Result<ArrayRef> {
        let key = self.cache_key(group, column, WHOLE);
        match self.place.cache.get(key) {
            Some(values) => Ok(values),
            None => self.load()?.read_column(group, column),
        }
    }

    /// Columns (by position, in any order) of one page of a group.
    pub(super) fn page(
        &self,
        group: usize,
        columns: &[usize],
        page: usize,
    ) -> Result<Vec<ArrayRef>> {
        let loaded = self.load()?;
        let start = page * PAGE_ROWS;
        let end = (start + PAGE_ROWS).min(loaded.rows_of(group)?);
        let len = end.saturating_sub(start);
        let cache = &self.place.cache;
        let key = |column, page| self.cache_key(group, column, page);
        let mut found: Vec<Option<ArrayRef>> = columns
            .iter()
            .map(|&column| {
                let whole = cache.get(key(column, WHOLE));
                let slice = whole
                    .filter(|all| all.len() >= end)
                    .map(|all| all.slice(start, len));
                slice.or_else(|| cache.get(key(column, page as u32)))
            })
            .collect();
        let missing = columns.iter().zip(&found).filter(|(_, f)| f.is_none());
        let mut missing: Vec<usize> = missing.map(|(&column, _)| column).collect();
        missing.sort_unstable();
        missing.dedup();
        if !missing.is_empty() {
            let read = loaded.read_rows(group, &missing, start..end)?;
            for (&column, values) in missing.iter().zip(read.columns()) {
                cache.insert(key(column, page as u32), values);
                let places = columns.iter().zip(&mut found);
                places
                    .filter(|(wanted, _)| **wanted == column)
                    .for_each(|(_, place)| *place = Some(values.clone()));
            }
        }
        let found: Option<Vec<ArrayRef>> = found.into_iter().collect();
        found.ok_or_else(|| damaged(loaded.file.path(), "a column is missing"))
    }

    /// The encoded keys of one row group. Kept in the cache.
    pub(crate) fn keys(&self, group: usize) -> Result<BinaryArray> {
        let key = self.cache_key(group, KEYS as usize, WHOLE);
        if let Some(keys) = self.cached_keys(key) {
            return Ok(keys);
        }
        let columns = self.keys.columns().iter();
        let columns: Vec<ArrayRef> = columns
            .map(|&column| self.column(group, column))
            .collect::<Result<_>>()?;
        let keys = self.encode_keys(&columns)?;
        self.place.cache.insert(key, &(Arc::new(keys.clone()) as _));
        Ok(keys)
    }

    pub(super) fn cached_keys(&self, key: CacheKey) -> Option<BinaryArray> {
        let keys = self.place.cache.get(key)?;
        keys.as_binary_opt::<i32>().cloned()
    }

    pub(super) fn encode_keys(&self, columns: &[ArrayRef]) -> Result<BinaryArray> {
        self.keys.encode(self.load()?.file.path(), columns)
    }

    /// The stamps of one row group.
    pub(crate) fn stamps(&self, group: usize) -> Result<Stamps> {
        if let Some(stamp) = &self.load()?.index.stamp {
            return Ok(Stamps::One(stamp.clone()));
        }
        let [versions, authors] = self.stamp_columns();
        self.to_stamps(
            &self.any_column(group, versions)?,
            &self.any_column(group, authors)?,
        )
    }

    pub(super) fn stamp_columns(&self) -> [usize; stamped::STAMP_COLUMNS] {
        let after = self.schema.fields().len();
        [after, after + 1]
    }

    fn to_stamps(&self, versions: &ArrayRef, authors: &ArrayRef) -> Result<Stamps> {
        let stamps = stamped::from_columns(versions, authors);
        stamps.ok_or_else(|| damaged(&self.data_path(), "its stamps are not stamps"))
    }

    /// The versions of one row group, UInt64.
    pub(crate) fn versions(&self, group: usize) -> Result<ArrayRef> {
        let loaded = self.load()?;
        let rows = loaded.rows_of(group)?;
        match &loaded.index.stamp {
            Some(stamp) => Ok(Arc::new(UInt64Array::from(vec![stamp.version.0; rows]))),
            None => self.any_column(group, self.stamp_columns()[0]),
        }
    }

    /// The authors of one row group, Utf8.
    pub(crate) fn authors(&self, group: usize) -> Result<ArrayRef> {
        let loaded = self.load()?;
        let rows = loaded.rows_of(group)?;
        if let Some(stamp) = &loaded.index.stamp {
            let same = std::iter::repeat_n(&*stamp.author, rows);
            return Ok(Arc::new(StringArray::from_iter_values(same)));
        }
        let authors = self.any_column(group, self.stamp_columns()[1])?;
        cast(&authors, &DataType::Utf8).map_err(|error| damaged(&self.data_path(), error))
    }

    /// The stamp of one row.
    pub(crate) fn stamp(&self, row: u32) -> Result<Stamp> {
        if let Some(stamp) = &self.load()?.index.stamp {
            return Ok(stamp.clone());
        }
        let (group, offset) = (row as usize / GROUP_ROWS, row as usize % GROUP_ROWS);
        let columns = self.page(group, &self.stamp_columns(), offset / PAGE_ROWS)?;
        let offset = offset % PAGE_ROWS;
        match columns.as_slice() {
            [versions, authors] if offset < versions.len().min(authors.len()) => {
                let stamps =
                    self.to_stamps(&versions.slice(offset, 1), &authors.slice(offset, 1))?;
                Ok(stamps.stamp(0))
            }
            _ => Err(self.no_row(row)),
        }
    }

    pub(super) fn no_column(&self, column: usize) -> Error {
        Error::invalid(format!(
            "{}: there is no column {column}",
            self.data_path().display()
        ))
    }

    pub(super) fn no_row(&self, row: u32) -> Error {
        Error::invalid(format!(
            "{}: there is no row {row}",
            self.data_path().display()
        ))
    }

    /// All of one row group, for what is read only once.
    pub(crate) fn group_once(&self, group: usize) -> Result<(RecordBatch, BinaryArray, Stamps)> {
        let loaded = self.load()?;
        let columns: Vec<ArrayRef> = (0..self.schema.fields().len())
            .map(|column| self.column_once(group, column))
            .collect::<Result<_>>()?;
        let of_key = self.keys.columns().iter();
        let of_key: Option<Vec<_>> = of_key.map(|&c| columns.get(c).cloned()).collect();
        let keys = self.encode_keys(&of_key.unwrap_or_default())?;
        let stamps = match &loaded.index.stamp {
            Some(stamp) => Stamps::One(stamp.clone()),
            None => {
                let [versions, authors] = self.stamp_columns();
                let versions = self.column_once(group, versions)?;
                self.to_stamps(&versions, &self.column_once(group, authors)?)?
            }
        };
        let rows = RecordBatch::try_new(self.schema.clone(), columns)
            .map_err(|error| damaged(loaded.file.path(), error))?;
        Ok((rows, keys, stamps))
    }

    pub(crate) fn data_path(&self) -> PathBuf {
        data_path(&self.place.folder, self.name())
    }

    /// Reads both files whole and compares every checksum. Fails with `Corrupt`.
    pub(crate) fn verify(&self) -> Result<()> {
        let index = index_path(&self.place.folder, self.name());
        read_index(&*self.place.disk, &index, &self.meta)?;
        self.read_data(&mut |_| Ok(()))
    }

    /// The bytes of the data file, piece by piece, compared with their checksums. Fails with
    /// `Corrupt`, and with whatever `each` fails with.
    pub(crate) fn read_data(&self, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.load()?.file.read_all(each)
    }

    /// The bytes of the index file, compared with the checkpoint's checksum. Fails with `Corrupt`.
    pub(crate) fn read_index(&self) -> Result<Vec<u8>> {
        let index = index_path(&self.place.folder, self.name());
        read_index(&*self.place.disk, &index, &self.meta)
    }

    pub(super) fn name(&self) -> FileName {
        self.place.name(&self.meta)
    }

    /// Removes its files and those of its runs, best effort, and what is cached of them. A segment
    /// whose files are open can still be read on Unix.
    pub(crate) fn remove_files(&self) {
        self.place.cache.evict_segment(self.uid);
        self.keep_runs(&[]);
        remove_files(&*self.place.disk, &self.place.folder, self.name());
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.place.cache.evict_segment(self.uid);
    }
}
