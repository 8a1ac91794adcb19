//! Checking a batch, and computing everything that applying it needs, on the caller's thread.

use std::hash::BuildHasher;
use std::sync::Arc;

use arrow::array::{Array, BinaryArray, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use hashbrown::{DefaultHashBuilder, HashTable};

use super::located::Located;
use super::size;
use super::stamps::Stamps;
use crate::catalog::TableState;
use crate::digest::{RecordDigest, RecordHasher};
use crate::error::{Error, Result};
use crate::ids::TableId;
use crate::write::Change;

/// A batch that is yet to be checked.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) table: TableId,
    pub(crate) shard: u32,
    pub(crate) change: Change,
    pub(crate) stamps: Stamps,
    pub(crate) rows: RecordBatch,
}

/// A checked batch, ready to be applied.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) table: Arc<TableState>,
    pub(crate) shard: u32,
    pub(crate) change: Change,
    pub(crate) stamps: Stamps,
    pub(crate) rows: RecordBatch,
    pub(crate) keys: BinaryArray,
    pub(super) hashes: Vec<u64>,
    /// The digest of every row's record.
    pub(super) digests: Vec<RecordDigest>,
    /// Where its keys lie in segments.
    pub(crate) located: Located,
    /// Bytes the rows hold in memory.
    pub(super) row_bytes: usize,
    /// Bytes the rows and keys hold in memory.
    pub(crate) bytes: usize,
}

impl Part {
    /// Finds the keys in the shard's segments. Reads files.
    pub(crate) fn locate(&mut self) -> Result<()> {
        let list = match self.table.mem.lock().get(self.shard as usize) {
            Some(shard) => shard.list().clone(),
            None => return Ok(()),
        };
        self.located = list.locate(&self.keys)?;
        Ok(())
    }

    /// Finds the keys again if the shard has other segments now.
    pub(crate) fn relocate(&mut self) -> Result<()> {
        let epoch = match self.table.mem.lock().get(self.shard as usize) {
            Some(shard) => shard.list().epoch,
            None => return Ok(()),
        };
        if epoch == self.located.epoch {
            return Ok(());
        }
        self.locate()
    }
}

/// Makes parts. `trusted` rows come from this store's own log, and were checked before.
#[derive(Debug)]
pub(crate) struct Preparer<'a> {
    pub(crate) hasher: &'a DefaultHashBuilder,
    pub(crate) trusted: bool,
}

impl Preparer<'_> {
    /// Fails with `InvalidInput` or `Conflict`, naming table, column and key.
    pub(crate) fn prepare(&self, table: &Arc<TableState>, incoming: Incoming) -> Result<Part> {
        let Incoming {
            shard,
            change,
            stamps,
            rows,
            ..
        } = incoming;
        if shard >= table.shards {
            return Err(Error::invalid(format!(
                "table \"{}\" has {} shards; there is no shard {shard}",
                table.name, table.shards
            )));
        }
        let failed = |error| Error::arrow(format!("rows of table \"{}\"", table.name), error);
        let rows = if self.trusted {
            conform(table, change, &rows)?
        } else {
            check_rows(table, change, &rows)?
        };
        let (rows, row_bytes) = size::compact(rows).map_err(failed)?;
        let encoded = table.encoder.encode(&rows)?;
        let keys = encoded.try_into_binary().map_err(failed)?;
        let hashes: Vec<u64> = (0..keys.len())
            .map(|row| self.hasher.hash_one(keys.value(row)))
            .collect();
        if !self.trusted {
            check_shard(table, shard, &rows, &keys)?;
            check_unique(table, &rows, &keys, &hashes)?;
        }
        let digests = digests_of(&keys, &stamps, change);
        let bytes = row_bytes + keys.get_buffer_memory_size();
        Ok(Part {
            table: table.clone(),
            shard,
            change,
            stamps,
            rows,
            keys,
            hashes,
            digests,
            located: Located::default(),
            row_bytes,
            bytes,
        })
    }
}

/// Rows with the table's own schema object. Fails with `InvalidInput` if columns differ, or a key
/// or NOT NULL column has NULL.
pub(crate) fn check_rows(
    table: &TableState,
    change: Change,
    rows: &RecordBatch,
) -> Result<RecordBatch> {
    let schema = table.schema_of(change);
    if !Arc::ptr_eq(schema, rows.schema_ref()) {
        check_schema(&table.name, schema, rows.schema_ref())?;
    }
    check_nulls(table, change, rows)?;
    conform(table, change, rows)
}

fn conform(table: &TableState, change: Change, rows: &RecordBatch) -> Result<RecordBatch> {
    let schema = table.schema_of(change);
    if Arc::ptr_eq(schema, rows.schema_ref()) {
        return Ok(rows.clone());
    }
    check_schema(&table.name, schema, rows.schema_ref())?;
    RecordBatch::try_new(schema.clone(), rows.columns().to_vec())
        .map_err(|error| Error::arrow(format!("rows of table \"{}\"", table.name), error))
}

fn check_schema(table: &str, wanted: &SchemaRef, given: &Schema) -> Result<()> {
    if wanted.fields().len() != given.fields().len() {
        return Err(Error::invalid(format!(
            "table \"{table}\": rows have {} columns; expected {}",
            given.fields().len(),
            wanted.fields().len()
        )));
    }
    for (wanted, given) in wanted.fields().iter().zip(given.fields()) {
        if wanted.name() != given.name() {
            return Err(Error::invalid(format!(
                "table \"{table}\": rows have column \"{}\" where \"{}\" is expected",
                given.name(),
                wanted.name()
            )));
        }
        if wanted.data_type() != given.data_type() {
            return Err(Error::invalid(format!(
                "table \"{table}\": column \"{}\" is {}; the rows have {}",
                wanted.name(),
                wanted.data_type(),
                given.data_type()
            )));
        }
    }
    Ok(())
}

fn check_nulls(table: &TableState, change: Change, rows: &RecordBatch) -> Result<()> {
    for (index, column) in rows.columns().iter().enumerate() {
        if column.logical_null_count() == 0 {
            continue;
        }
        let schema = rows.schema_ref();
        let name = schema.field(index).name();
        let in_key = change == Change::Delete || table.primary_key.contains(&index);
        if in_key {
            return Err(Error::invalid(format!(
                "table \"{}\": column \"{name}\" is part of the primary key and cannot be NULL",
                table.name
            )));
        }
        if !table.schema.field(index).is_nullable() {
            return Err(Error::invalid(format!(
                "table \"{}\": column \"{name}\" is NOT NULL, but a row has NULL in it",
                table.name
            )));
        }
    }
    Ok(())
}

fn check_shard(
    table: &TableState,
    shard: u32,
    rows: &RecordBatch,
    keys: &BinaryArray,
) -> Result<()> {
    let shards = table.encoder.shard_of_keys(rows, keys)?;
    match shards.iter().position(|&other| other != shard) {
        Some(row) => Err(Error::invalid(format!(
            "table \"{}\": key {} belongs to shard {}, not {shard}; split rows with KeyEncoder",
            table.name,
            table.encoder.describe(rows, row),
            shards.get(row).copied().unwrap_or_default(),
        ))),
        None => Ok(()),
    }
}

fn check_unique(
    table: &TableState,
    rows: &RecordBatch,
    keys: &BinaryArray,
    hashes: &[u64],
) -> Result<()> {
    let ascending = (1..keys.len()).all(|row| keys.value(row - 1) < keys.value(row));
    if ascending {
        return Ok(());
    }
    let mut seen: HashTable<(u64, usize)> = HashTable::with_capacity(keys.len());
    for (row, &hash) in hashes.iter().enumerate() {
        let key = keys.value(row);
        let same = |&(other, at): &(u64, usize)| other == hash && keys.value(at) == key;
        if seen.find(hash, same).is_some() {
            return Err(Error::conflict(format!(
                "table \"{}\": key {} appears twice in one write",
                table.name,
                table.encoder.describe(rows, row)
            )));
        }
        seen.insert_unique(hash, (hash, row), |&(hash, _)| hash);
    }
    Ok(())
}

pub(crate) fn digests_of(keys: &BinaryArray, stamps: &Stamps, change: Change) -> Vec<RecordDigest> {
    let mut hasher = RecordHasher::default();
    let tombstone = change == Change::Delete;
    (0..keys.len())
        .map(|row| {
            let author = stamps.author(row).map_or("", |author| author);
            hasher.hash(keys.value(row), stamps.version(row), author, tombstone)
        })
        .collect()
}
