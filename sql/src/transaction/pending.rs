//! What a transaction has written to one table.
//!
//! Idea: rows are kept as they come, and a map says where the row of each key is; a later change of a key
//! marks the earlier row. Invariant: of each key there is one row, or one removal, that is not marked.
//! What a change costs grows with its own rows alone: marked rows are dropped when most of a batch is
//! marked, and small batches are put together when there are many.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use hashbrown::HashMap;
use netabase_store::arrow_row::Rows;
use netabase_store::{Change, Error, KeyEncoder, TableDef};

use crate::error::from_arrow;
use crate::write::{CheckedRows, NoOrigin, compact, key_batches, logical_bytes};

/// Rows below which a batch is small.
const SMALL_ROWS: usize = 512;
/// Small batches that are put together.
const MOST_SMALL: usize = 512;
/// Bytes of a key's place in the map, about.
const PLACE_BYTES: usize = 48;

/// A change with its keys, ready to be taken.
pub(super) struct Prepared {
    def: Arc<TableDef>,
    change: Change,
    batches: Vec<(RecordBatch, Rows)>,
    pub(super) bytes: usize,
}

impl Prepared {
    pub(super) fn of(rows: &CheckedRows) -> Result<Self, Error> {
        let encoder = KeyEncoder::new(rows.def())?;
        let mut batches = Vec::with_capacity(rows.batches().len());
        let mut bytes = 0;
        for batch in rows.batches().iter().filter(|batch| batch.num_rows() > 0) {
            let keys = encoder.encode(batch)?;
            bytes += logical_bytes(batch) + map_bytes(&keys);
            batches.push((tidy(batch.clone())?, keys));
        }
        Ok(Self {
            def: Arc::clone(rows.def()),
            change: rows.change(),
            batches,
            bytes,
        })
    }

    pub(super) fn def(&self) -> &Arc<TableDef> {
        &self.def
    }
}

/// What the map takes for some keys.
fn map_bytes(keys: &Rows) -> usize {
    let bytes: usize = keys.iter().map(|key| key.data().len()).sum();
    bytes + keys.num_rows() * PLACE_BYTES
}

/// Rows that keep little besides themselves in memory.
fn tidy(rows: RecordBatch) -> Result<RecordBatch, Error> {
    match rows.get_array_memory_size() > 2 * logical_bytes(&rows) {
        true => compact(rows),
        false => Ok(rows),
    }
}

/// Where the row of a key is.
#[derive(Debug, Clone, Copy)]
struct Place {
    change: Change,
    batch: usize,
    row: usize,
}

/// Rows of which some are marked.
#[derive(Debug, Clone)]
struct Batch {
    rows: RecordBatch,
    bytes: usize,
    /// By row; empty if none is.
    marked: Vec<bool>,
    marks: usize,
}

impl Batch {
    fn new(rows: RecordBatch) -> Self {
        Self {
            bytes: logical_bytes(&rows),
            rows,
            marked: Vec::new(),
            marks: 0,
        }
    }

    fn mark(&mut self, row: usize) {
        if self.marked.is_empty() {
            self.marked = vec![false; self.rows.num_rows()];
        }
        if let Some(marked) = self.marked.get_mut(row)
            && !std::mem::replace(marked, true)
        {
            self.marks += 1;
        }
    }

    /// Whether so many rows are marked that it pays to drop them.
    fn is_worn(&self) -> bool {
        self.marks * 2 > self.rows.num_rows()
    }

    /// The rows that are not marked.
    fn kept(&self) -> Result<RecordBatch, Error> {
        if self.marks == 0 {
            return Ok(self.rows.clone());
        }
        let kept: BooleanArray = self.marked.iter().map(|marked| Some(!marked)).collect();
        filter_record_batch(&self.rows, &kept).map_err(from_arrow)
    }
}

/// Rows, or keys that are removed.
#[derive(Debug, Clone, Default)]
struct Side {
    batches: Vec<Batch>,
    /// From here on they are small.
    small: usize,
    /// Those that became worn.
    worn: Vec<usize>,
    bytes: usize,
}

impl Side {
    fn mark(&mut self, batch: usize, row: usize) {
        if let Some(found) = self.batches.get_mut(batch) {
            let before = found.is_worn();
            found.mark(row);
            if found.is_worn() && !before {
                self.worn.push(batch);
            }
        }
    }

    fn push(&mut self, rows: RecordBatch) -> usize {
        let batch = Batch::new(rows);
        self.bytes += batch.bytes;
        self.batches.push(batch);
        self.batches.len() - 1
    }

    fn put(&mut self, place: usize, rows: RecordBatch) {
        if let Some(found) = self.batches.get_mut(place) {
            let batch = Batch::new(rows);
            self.bytes = self.bytes + batch.bytes - found.bytes;
            *found = batch;
        }
    }

    fn kept(&self) -> Result<Vec<RecordBatch>, Error> {
        let mut all = Vec::with_capacity(self.batches.len());
        for batch in &self.batches {
            let rows = batch.kept()?;
            if rows.num_rows() > 0 {
                all.push(rows);
            }
        }
        Ok(all)
    }
}

/// What a transaction has written to one table.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(super) def: Arc<TableDef>,
    written: Side,
    removed: Side,
    places: HashMap<Box<[u8]>, Place>,
    key_bytes: usize,
}

impl Pending {
    pub(super) fn new(def: Arc<TableDef>) -> Self {
        Self {
            def,
            written: Side::default(),
            removed: Side::default(),
            places: HashMap::new(),
            key_bytes: 0,
        }
    }

    /// Bytes of rows that COMMIT writes; at most those that are there.
    pub(super) fn row_bytes(&self) -> usize {
        self.written.bytes + self.removed.bytes
    }

    /// Bytes that are held.
    pub(super) fn bytes(&self) -> usize {
        self.row_bytes() + self.key_bytes
    }

    fn side(&mut self, change: Change) -> &mut Side {
        match change {
            Change::Upsert => &mut self.written,
            Change::Delete => &mut self.removed,
        }
    }

    /// Takes a later change: it hides earlier ones of the same keys.
    pub(super) fn add(&mut self, change: &Prepared) {
        for (rows, keys) in &change.batches {
            let batch = self.side(change.change).push(rows.clone());
            for (row, key) in keys.iter().enumerate() {
                let place = Place {
                    change: change.change,
                    batch,
                    row,
                };
                match self.places.get_mut(key.data()) {
                    Some(known) => {
                        let before = std::mem::replace(known, place);
                        self.side(before.change).mark(before.batch, before.row);
                    }
                    None => {
                        self.key_bytes += key.data().len() + PLACE_BYTES;
                        self.places.insert(key.data().into(), place);
                    }
                }
            }
        }
    }

    /// Drops marked rows, and puts small batches together, where it pays. Nothing else changes by it,
    /// whether it succeeds or not.
    pub(super) fn tidy(&mut self) -> Result<(), Error> {
        for change in [Change::Upsert, Change::Delete] {
            for batch in std::mem::take(&mut self.side(change).worn) {
                self.drop_marked(change, batch)?;
            }
            let side = self.side(change);
            if side.batches.len() - side.small >= MOST_SMALL {
                self.put_together(change)?;
            }
        }
        Ok(())
    }

    /// Drops every marked row, so that bytes are exact.
    pub(super) fn drop_all_marked(&mut self) -> Result<(), Error> {
        for change in [Change::Upsert, Change::Delete] {
            let side = self.side(change);
            side.worn.clear();
            let batches = side.batches.iter().enumerate();
            let marked = batches.filter(|(_, batch)| batch.marks > 0);
            for batch in marked.map(|(batch, _)| batch).collect::<Vec<_>>() {
                self.drop_marked(change, batch)?;
            }
        }
        Ok(())
    }

    fn drop_marked(&mut self, change: Change, batch: usize) -> Result<(), Error> {
        let Some(found) = self.side(change).batches.get(batch) else {
            return Ok(());
        };
        let rows = found.kept()?;
        self.place_again(change, batch, &rows)?;
        self.side(change).put(batch, rows);
        Ok(())
    }

    fn put_together(&mut self, change: Change) -> Result<(), Error> {
        let side = self.side(change);
        let first = side.small;
        let Some(schema) = side.batches.get(first).map(|batch| batch.rows.schema()) else {
            return Ok(());
        };
        let small = side.batches.iter().skip(first);
        let kept = small.map(Batch::kept).collect::<Result<Vec<_>, _>>()?;
        let rows = compact(concat_batches(&schema, &kept).map_err(from_arrow)?)?;
        self.place_again(change, first, &rows)?;
        let side = self.side(change);
        for batch in side.batches.drain(first..) {
            side.bytes -= batch.bytes;
        }
        side.worn.retain(|worn| *worn < first);
        let is_small = rows.num_rows() < SMALL_ROWS;
        side.push(rows);
        side.small = if is_small { first } else { first + 1 };
        Ok(())
    }

    /// Says of the keys of unmarked rows where they are going to be.
    fn place_again(
        &mut self,
        change: Change,
        batch: usize,
        rows: &RecordBatch,
    ) -> Result<(), Error> {
        let keys = KeyEncoder::new(&self.def)?.encode(rows)?;
        for (row, key) in keys.iter().enumerate() {
            if let Some(place) = self.places.get_mut(key.data()) {
                *place = Place { change, batch, row };
            }
        }
        Ok(())
    }

    /// Whether any row was written.
    pub(super) fn has_rows(&self) -> bool {
        let batches = &self.written.batches;
        batches
            .iter()
            .any(|batch| batch.marks < batch.rows.num_rows())
    }

    /// Whole rows, each key once.
    pub(super) fn rows(&self) -> Result<Vec<RecordBatch>, Error> {
        self.written.kept()
    }

    /// All keys that the transaction has changed.
    pub(super) fn keys(&self) -> Result<Vec<RecordBatch>, Error> {
        let mut keys = key_batches(&self.def, &self.rows()?, &self.def.primary_key)?;
        keys.extend(self.removed.kept()?);
        Ok(keys)
    }

    /// What COMMIT writes.
    pub(super) async fn changes(&self) -> Result<[CheckedRows; 2], Error> {
        let (rows, removed) = (self.rows()?, self.removed.kept()?);
        let rows = CheckedRows::check(Arc::clone(&self.def), Change::Upsert, rows, NoOrigin);
        let removed = CheckedRows::check(Arc::clone(&self.def), Change::Delete, removed, NoOrigin);
        Ok([rows.await?, removed.await?])
    }
}

#[cfg(test)]
mod tests;
