//! From rows to acknowledged rows.
//!
//! Purpose: everything that a statement writes passes through here: checked as a whole, then split
//! by shard and handed to the cluster in chunks.
//!
//! Invariant: nothing is written unless every row passed: no NULL where none may be, and no key
//! twice. Each chunk is acknowledged before the next is sent.
//!
//! Non-goal: one atomic frame for all chunks. When the cluster fails in the middle, earlier chunks
//! stay; writing the same rows again is safe.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{BinaryViewType, ByteViewType, DataType, SchemaRef, StringViewType};
use hashbrown::{HashMap, HashSet};
use netabase_store::arrow_row::Rows;
use netabase_store::{Change, Error, KeyEncoder, TableDef};

use crate::cluster::{Cluster, TableWrite, WriteReceipt};
use crate::declared;
use crate::error::{conflict, from_arrow, invalid};
use crate::local::blocking;

/// Bytes of rows handed to the cluster at once.
const CHUNK_BYTES: usize = 32 << 20;

/// Values longer than this are kept outside a view.
const INLINE_VIEW: u32 = 12;

/// Bytes that the rows of a batch take on their own, whatever buffers they share with others.
pub(crate) fn logical_bytes(rows: &RecordBatch) -> usize {
    rows.columns().iter().map(array_bytes).sum()
}

fn array_bytes(array: &ArrayRef) -> usize {
    match array.data_type() {
        DataType::Utf8View => view_bytes::<StringViewType>(array),
        DataType::BinaryView => view_bytes::<BinaryViewType>(array),
        _ => array
            .to_data()
            .get_slice_memory_size()
            .unwrap_or_else(|_| array.get_array_memory_size()),
    }
}

fn view_bytes<T: ByteViewType>(array: &ArrayRef) -> usize {
    let views = array.as_byte_view::<T>().views();
    let outside = |view: &u128| (*view as u32) * u32::from(*view as u32 > INLINE_VIEW);
    views
        .iter()
        .map(|view| outside(view) as usize + size_of::<u128>())
        .sum()
}

/// Rows without the buffers of the batches they were taken from.
pub(crate) fn compact(rows: RecordBatch) -> Result<RecordBatch, Error> {
    let columns = rows
        .columns()
        .iter()
        .map(|column| match column.data_type() {
            DataType::Utf8View => Arc::new(column.as_string_view().gc()) as ArrayRef,
            DataType::BinaryView => Arc::new(column.as_binary_view().gc()) as ArrayRef,
            _ => Arc::clone(column),
        });
    RecordBatch::try_new(rows.schema(), columns.collect()).map_err(from_arrow)
}

/// Halves a batch until no part is larger than `limit` bytes. Single rows are never cut.
pub(crate) fn split_to(rows: RecordBatch, limit: usize) -> Vec<RecordBatch> {
    let count = rows.num_rows();
    if count <= 1 || logical_bytes(&rows) <= limit {
        return vec![rows];
    }
    let half = count / 2;
    let mut parts = split_to(rows.slice(0, half), limit);
    parts.extend(split_to(rows.slice(half, count - half), limit));
    parts
}

/// Rows that were checked and may be written.
#[derive(Debug)]
pub(crate) struct CheckedRows {
    def: Arc<TableDef>,
    change: Change,
    batches: Vec<RecordBatch>,
}

/// Where rows came from, for error messages.
pub(crate) trait Origin: Send + Sync + 'static {
    /// Names a row ("flights.csv line 7: "), or nothing.
    fn describe(&self, batch: usize, row: usize) -> String;
}

/// Rows of a statement: nothing more to say about them than their key.
#[derive(Debug)]
pub(crate) struct NoOrigin;

impl Origin for NoOrigin {
    fn describe(&self, _batch: usize, _row: usize) -> String {
        String::new()
    }
}

impl CheckedRows {
    /// Checks rows that have the table's schema (or its key's, for deletions).
    pub(crate) async fn check(
        def: Arc<TableDef>,
        change: Change,
        batches: Vec<RecordBatch>,
        origin: impl Origin,
    ) -> Result<Self, Error> {
        let check = move || {
            let schema = match change {
                Change::Upsert => Arc::clone(&def.schema),
                Change::Delete => def.key_schema(),
            };
            let batches = conform(&def, &schema, batches, &origin)?;
            if matches!(change, Change::Upsert) {
                refuse_duplicates(&def, &batches, &origin)?;
            }
            Ok(Self {
                def,
                change,
                batches,
            })
        };
        blocking(check).await
    }

    /// The table.
    pub(crate) fn def(&self) -> &Arc<TableDef> {
        &self.def
    }

    /// What is done with the rows.
    pub(crate) fn change(&self) -> Change {
        self.change
    }

    /// The rows, or keys.
    pub(crate) fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    /// Whether they bring values that no other row may have.
    pub(crate) fn is_unique(&self) -> bool {
        self.change == Change::Upsert && !self.def.options.rules.unique.is_empty()
    }

    /// How many rows there are.
    pub(crate) fn rows(&self) -> u64 {
        self.batches
            .iter()
            .map(|batch| batch.num_rows() as u64)
            .sum()
    }

    /// Writes everything, chunk by chunk; `progress` hears how many rows are written.
    pub(crate) async fn write(
        self,
        cluster: &Arc<dyn Cluster>,
        progress: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<WriteReceipt, Error> {
        let total = self.rows();
        let (def, change) = (Arc::clone(&self.def), self.change);
        let mut sum = Receipts::default();
        for chunk in self.into_chunks() {
            let owner = Arc::clone(&def);
            let parts = blocking(move || split(&owner, &chunk)).await?;
            sum.shards.extend(parts.iter().map(|(shard, _)| *shard));
            sum.add(cluster.write(Arc::clone(&def), change, parts).await?);
            progress(sum.rows, total);
        }
        Ok(sum.into_receipt())
    }

    /// The rows by shard, for one write.
    pub(crate) fn into_write(self) -> Result<TableWrite, Error> {
        Ok(TableWrite {
            parts: split(&self.def, &self.batches)?,
            def: self.def,
            change: self.change,
        })
    }

    /// Groups the batches into chunks of about `CHUNK_BYTES`.
    fn into_chunks(self) -> Vec<Vec<RecordBatch>> {
        let mut chunks = Vec::new();
        let mut chunk = Vec::new();
        let mut bytes = 0;
        let batches = self
            .batches
            .into_iter()
            .flat_map(|batch| split_to(batch, CHUNK_BYTES));
        for batch in batches.filter(|batch| batch.num_rows() > 0) {
            let size = logical_bytes(&batch);
            if bytes + size > CHUNK_BYTES && !chunk.is_empty() {
                chunks.push(std::mem::take(&mut chunk));
                bytes = 0;
            }
            bytes += size;
            chunk.push(batch);
        }
        if !chunk.is_empty() {
            chunks.push(chunk);
        }
        chunks
    }
}

/// The receipts of several chunks, as one.
#[derive(Debug, Default)]
struct Receipts {
    rows: u64,
    shards: BTreeSet<u32>,
    peers: BTreeSet<String>,
    replicas: Option<usize>,
    bytes: u64,
}

impl Receipts {
    fn add(&mut self, receipt: WriteReceipt) {
        self.rows += receipt.rows;
        self.peers.extend(receipt.peers);
        self.replicas = Some(self.replicas.unwrap_or(usize::MAX).min(receipt.replicas));
        self.bytes += receipt.bytes;
    }

    /// What several writes reached.
    fn into_receipt(self) -> WriteReceipt {
        WriteReceipt {
            rows: self.rows,
            shards: self.shards.len(),
            peers: self.peers.into_iter().collect(),
            replicas: self.replicas.unwrap_or(0),
            bytes: self.bytes,
        }
    }
}

/// What several statements reached, as one.
pub(crate) fn sum_receipts(receipts: Vec<WriteReceipt>) -> WriteReceipt {
    let shards = receipts.iter().map(|receipt| receipt.shards).sum();
    let mut sum = Receipts::default();
    for receipt in receipts.into_iter().filter(|receipt| receipt.rows > 0) {
        sum.add(receipt);
    }
    WriteReceipt {
        shards,
        ..sum.into_receipt()
    }
}

/// One chunk, by shard.
fn split(def: &TableDef, chunk: &[RecordBatch]) -> Result<Vec<(u32, RecordBatch)>, Error> {
    let Some(first) = chunk.first() else {
        return Ok(Vec::new());
    };
    let rows = concat_batches(&first.schema(), chunk).map_err(from_arrow)?;
    let parts = KeyEncoder::new(def)?.split(&rows)?;
    let compacted = parts
        .into_iter()
        .map(|(shard, rows)| Ok((shard, compact(rows)?)));
    compacted.collect()
}

/// Gives every batch exactly the expected schema, or names the column that does not fit.
fn conform(
    def: &TableDef,
    schema: &SchemaRef,
    batches: Vec<RecordBatch>,
    origin: &impl Origin,
) -> Result<Vec<RecordBatch>, Error> {
    let mut conforming = Vec::with_capacity(batches.len());
    for (number, batch) in batches.into_iter().enumerate() {
        if batch.num_columns() != schema.fields().len() {
            return Err(invalid(format!(
                "table \"{}\" has {} columns, but the rows have {}",
                def.name,
                schema.fields().len(),
                batch.num_columns()
            )));
        }
        for (field, column) in schema.fields().iter().zip(batch.columns()) {
            if column.data_type() != field.data_type() {
                return Err(invalid(format!(
                    "column \"{}\" of table \"{}\" is {}, but the rows hold {}",
                    field.name(),
                    def.name,
                    field.data_type(),
                    column.data_type()
                )));
            }
            if !field.is_nullable() && column.null_count() > 0 {
                let row = (0..column.len())
                    .find(|row| column.is_null(*row))
                    .unwrap_or(0);
                let name = def.schema.index_of(field.name()).ok();
                let name = name.map_or(field.name().as_str(), |column| def.column_name(column));
                return Err(null_error(def, name, &origin.describe(number, row)));
            }
        }
        let columns = batch.columns().to_vec();
        let batch = RecordBatch::try_new(Arc::clone(schema), columns).map_err(from_arrow)?;
        let described = |row| origin.describe(number, row);
        conforming.push(declared::checked(def, schema, batch, described)?);
    }
    Ok(conforming)
}

/// A NULL where none may be.
pub(crate) fn null_error(def: &TableDef, column: &str, origin: &str) -> Error {
    let is_key = def
        .primary_key
        .iter()
        .any(|index| def.column_name(*index) == column);
    let why = if is_key {
        "is part of the primary key"
    } else {
        "is NOT NULL"
    };
    let text = format!(
        "{origin}column \"{column}\" of table \"{}\" {why}",
        def.name
    );
    invalid(format!("{text}, but a row has no value for it"))
}

/// The keys of rows whose key columns are at these places, in key order. Fails with `InvalidInput` if
/// one is NULL.
pub(crate) fn key_batches(
    def: &TableDef,
    rows: &[RecordBatch],
    places: &[usize],
) -> Result<Vec<RecordBatch>, Error> {
    let schema = def.key_schema();
    let keys = rows.iter().map(|batch| batch.project(places));
    let keys = keys.collect::<Result<Vec<_>, _>>().map_err(from_arrow)?;
    conform(def, &schema, keys, &NoOrigin)
}

/// Rows, and their keys, each key once: the first of several rows stays. Keys are compared as the
/// store does it, which knows two zeros. `places` are those of the key columns, in key order.
pub(crate) fn without_duplicates(
    def: &TableDef,
    batches: &[RecordBatch],
    places: &[usize],
) -> Result<(Vec<RecordBatch>, Vec<RecordBatch>), Error> {
    let encoder = KeyEncoder::new(def)?;
    let keys = key_batches(def, batches, places)?;
    let encoded = encode_all(&encoder, &keys)?;
    let mut seen: HashSet<&[u8]> = HashSet::new();
    let (mut rows, mut kept) = (Vec::new(), Vec::new());
    for ((batch, keys), encoded) in batches.iter().zip(&keys).zip(&encoded) {
        let first = (0..encoded.num_rows()).map(|row| Some(seen.insert(encoded.row(row).data())));
        let first: BooleanArray = first.collect();
        rows.push(filter_record_batch(batch, &first).map_err(from_arrow)?);
        kept.push(filter_record_batch(keys, &first).map_err(from_arrow)?);
    }
    Ok((rows, kept))
}

/// Of whole rows those whose keys are not known, and of known keys those that no row has.
pub(crate) fn difference(
    def: &TableDef,
    rows: &[RecordBatch],
    known: &[RecordBatch],
) -> Result<(Vec<RecordBatch>, Vec<RecordBatch>), Error> {
    let encoder = KeyEncoder::new(def)?;
    let keys = encode_all(&encoder, &key_batches(def, rows, &def.primary_key)?)?;
    let all: Vec<usize> = (0..def.primary_key.len()).collect();
    let known_keys = encode_all(&encoder, &key_batches(def, known, &all)?)?;
    let lacking = |batches: &[RecordBatch], keys: &[Rows], others: &[Rows]| {
        let others: HashSet<&[u8]> = others.iter().flatten().map(|row| row.data()).collect();
        let kept = batches.iter().zip(keys).map(|(batch, keys)| {
            let lacks = keys.iter().map(|row| Some(!others.contains(row.data())));
            filter_record_batch(batch, &lacks.collect::<BooleanArray>()).map_err(from_arrow)
        });
        kept.collect::<Result<Vec<_>, Error>>()
    };
    let new = lacking(rows, &keys, &known_keys)?;
    let gone = lacking(known, &known_keys, &keys)?;
    Ok((new, gone))
}

fn encode_all(encoder: &KeyEncoder, batches: &[RecordBatch]) -> Result<Vec<Rows>, Error> {
    batches.iter().map(|batch| encoder.encode(batch)).collect()
}

/// Fails with `Conflict` when two rows, or keys, have the same key.
pub(crate) fn refuse_duplicates(
    def: &TableDef,
    batches: &[RecordBatch],
    origin: &impl Origin,
) -> Result<(), Error> {
    let encoder = KeyEncoder::new(def)?;
    let keys = encode_all(&encoder, batches)?;
    let total = batches.iter().map(RecordBatch::num_rows).sum();
    let mut seen: HashMap<&[u8], (usize, usize)> = HashMap::with_capacity(total);
    for (number, rows) in keys.iter().enumerate() {
        for row in 0..rows.num_rows() {
            let key = rows.row(row).data();
            let Some((first_batch, first_row)) = seen.insert(key, (number, row)) else {
                continue;
            };
            let described = encoder.describe(&batches[number], row);
            let here = origin.describe(number, row);
            let there = origin.describe(first_batch, first_row);
            let there = there.trim_end_matches([':', ' ']);
            let before = if there.is_empty() {
                String::new()
            } else {
                format!(" (first in {there})")
            };
            return Err(conflict(format!(
                "{here}the key {described} of table \"{}\" appears twice{before}; nothing was written",
                def.name
            )));
        }
    }
    Ok(())
}
