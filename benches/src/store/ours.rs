//! netabase's store, as the benchmarks see it.
//!
//! Purpose: the only file of the benchmarks that knows the store's interface.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use futures::executor::block_on;
use netabase::Netabase;
use netabase_store::{
    Change, KeyEncoder, KeyPart, KeyRange, SegmentView, Settings, ShardBatch, Stamp, Store,
    TableDef, TableId, TableReader, Version,
};
use parquet::arrow::ArrowWriter;

use crate::Failure;
use crate::process::MB;
use crate::store::peer::{Key, KeyValue, Numbers, Value, chunks, key, number, value};

/// Shards of the table: the default of CREATE TABLE.
const SHARDS: u32 = 8;
/// Name of the table, and of whoever writes its rows.
const NAME: &str = "bench";
/// Folder of the index inside a data folder.
const INDEX: &str = "index";

/// A store with one table of keys and values.
pub(crate) struct Ours {
    store: Store,
    def: TableDef,
    encoder: KeyEncoder,
    reader: TableReader,
}

impl Ours {
    /// Opens a folder; makes the table if it is new.
    pub(crate) fn open(folder: &Path) -> Result<Self, Failure> {
        let store = Store::open(Settings {
            data_dir: Some(folder.to_owned()),
            ..Settings::default()
        })?;
        let def = definition();
        store.put_table(def.clone())?;
        let encoder = KeyEncoder::new(&def)?;
        let reader = store.reader(def.id)?;
        Ok(Self {
            store,
            def,
            encoder,
            reader,
        })
    }

    pub(crate) fn peer(folder: &Path) -> Result<Box<dyn KeyValue>, Failure> {
        Ok(Box::new(Self::open(folder)?))
    }

    /// Up to `limit` rows from this key on, in any shard: their keys, in order, and the lengths of
    /// their values. Segments find the first key; rows in memory are in no order, and all are looked
    /// at. Values are read of the rows that are found, and of no others.
    pub(crate) fn scan(&self, from: &Key, limit: usize) -> Result<Vec<(Key, usize)>, Failure> {
        let snapshot = self.store.snapshot(self.def.id)?;
        let start: ArrayRef = Arc::new(BinaryArray::from_iter_values([&from[..]]));
        let range = KeyRange::between(&[], Bound::Included(&start), Bound::Unbounded)?;
        let segments = snapshot.shards.iter().flat_map(|shard| &shard.segments);
        let segments: Vec<&SegmentView> = segments.collect();
        let mut first = FirstKeys::new(limit);
        // These come first, so that few rows in memory are more than looked at.
        for (index, segment) in segments.iter().enumerate() {
            let live = segment.rows_in(&range)?.filter(|row| segment.is_live(*row));
            let rows: Vec<u32> = live.take(limit).collect();
            let keys = segment.take(&rows, &[0])?;
            for (row, key) in rows.into_iter().zip(keys.column(0).as_binary::<i32>()) {
                first.offer(key, || Place::Segment(index, row))?;
            }
        }
        for batch in snapshot.shards.iter().flat_map(|shard| &shard.batches) {
            let values = batch.rows.column(1).as_binary::<i32>();
            for (row, key) in batch.rows.column(0).as_binary::<i32>().iter().enumerate() {
                let live = || batch.live.as_ref().is_none_or(|live| live.value(row));
                if key >= Some(&from[..]) && first.wants(key) && live() {
                    first.offer(key, || Place::Memory(values.value(row).len()))?;
                }
            }
        }
        with_lengths(first, &segments)
    }

    /// What the store says that it holds, in MB.
    pub(crate) fn sizes(&self) -> String {
        let stats = self.store.stats();
        let mb = |bytes: u64| bytes as f64 / MB;
        format!(
            "rows in memory {:.0}, cached columns {:.0}; segments {:.0}, replaced {:.0}, log {:.0}",
            mb(stats.memory_bytes),
            mb(stats.cached_bytes),
            mb(stats.segment_bytes),
            mb(stats.replaced_bytes + stats.retired_bytes),
            mb(stats.log_bytes)
        )
    }

    fn write<'a>(
        &self,
        keys: impl Iterator<Item = &'a [u8]>,
        values: impl Iterator<Item = &'a [u8]>,
    ) -> Result<(), Failure> {
        let columns = BinaryArray::from_iter_values(keys);
        let values = BinaryArray::from_iter_values(values);
        let rows = RecordBatch::try_new(
            Arc::clone(&self.def.schema),
            vec![Arc::new(columns), Arc::new(values)],
        )?;
        let stamp = Stamp {
            version: self.store.clock().now(),
            author: NAME.into(),
        };
        let parts = self.encoder.split(&rows)?.into_iter();
        let batches = parts.map(|(shard, rows)| ShardBatch {
            table: self.def.id,
            shard,
            change: Change::Upsert,
            stamp: stamp.clone(),
            rows,
        });
        self.store.write(batches.collect())?;
        Ok(())
    }
}

impl KeyValue for Ours {
    fn load(&self, rows: Range<u64>) -> Result<(), Failure> {
        for chunk in chunks(rows) {
            let keys: Vec<Key> = chunk.clone().map(key).collect();
            let values: Vec<Value> = chunk.map(value).collect();
            self.write(
                keys.iter().map(<[u8; _]>::as_slice),
                values.iter().map(<[u8; _]>::as_slice),
            )?;
        }
        Ok(self.store.flush()?)
    }

    fn settle(&self) -> Result<(), Failure> {
        Ok(self.store.flush_to_segments()?)
    }

    fn put(&self, key: &Key, value: &Value) -> Result<(), Failure> {
        self.write([&key[..]].into_iter(), [&value[..]].into_iter())
    }

    fn get(&self, key: &Key) -> Result<Option<usize>, Failure> {
        let key = self.reader.encoder().key_of(&[KeyPart::Bytes(key)])?;
        let Some(found) = self.reader.get(&key, &[1])? else {
            return Ok(None);
        };
        let value = found.columns().first().ok_or("a row without a value")?;
        Ok(Some(value.as_binary::<i32>().value(found.row()).len()))
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(self.store.close()?)
    }
}

/// Where the value of a row is.
#[derive(Clone, Copy)]
enum Place {
    /// In memory, of this length.
    Memory(usize),
    /// In the segment of this index, at this row.
    Segment(usize, u32),
}

/// The least keys among those offered.
struct FirstKeys {
    limit: usize,
    found: BTreeMap<Key, Place>,
}

impl FirstKeys {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            found: BTreeMap::new(),
        }
    }

    fn wants(&self, key: Option<&[u8]>) -> bool {
        let last = self.found.last_key_value();
        self.found.len() < self.limit || last.is_some_and(|(last, _)| key < Some(&last[..]))
    }

    fn offer(&mut self, key: Option<&[u8]>, place: impl FnOnce() -> Place) -> Result<(), Failure> {
        if self.wants(key) {
            let key = key.ok_or("a row without a key")?;
            self.found.insert(key.try_into()?, place());
            if self.found.len() > self.limit {
                self.found.pop_last();
            }
        }
        Ok(())
    }
}

/// The keys with the lengths of their values, which are read where they lie.
fn with_lengths(first: FirstKeys, segments: &[&SegmentView]) -> Result<Vec<(Key, usize)>, Failure> {
    let mut wanted = vec![Vec::new(); segments.len()];
    let mut rows = Vec::with_capacity(first.found.len());
    for (key, place) in first.found {
        rows.push((key, 0));
        let last = rows.len() - 1;
        match place {
            Place::Memory(length) => rows[last].1 = length,
            Place::Segment(index, row) => wanted[index].push((row, last)),
        }
    }
    for (segment, wanted) in segments.iter().zip(&mut wanted) {
        wanted.sort_unstable();
        let positions: Vec<u32> = wanted.iter().map(|(row, _)| *row).collect();
        if positions.is_empty() {
            continue;
        }
        let values = segment.take(&positions, &[1])?;
        for ((_, place), value) in wanted.iter().zip(values.column(0).as_binary::<i32>()) {
            rows[*place].1 = value.map_or(0, <[u8]>::len);
        }
    }
    Ok(rows)
}

fn definition() -> TableDef {
    TableDef {
        id: TableId::derive(&[NAME.as_bytes()]),
        name: NAME.to_owned(),
        schema: Arc::new(Schema::new(vec![
            Field::new("key", DataType::Binary, false),
            Field::new("value", DataType::Binary, false),
        ])),
        primary_key: vec![0],
        shard_key: vec![0],
        shards: SHARDS,
        replicas: 1,
        local: false,
        owner: NAME.into(),
        created: Version(1),
        dropped: None,
        placement: Vec::new(),
        options: Default::default(),
        attachment: Vec::new(),
    }
}

/// Removes the index that a store can rebuild.
pub(crate) fn remove_index(folder: &Path) -> Result<(), Failure> {
    let index = folder.join(INDEX);
    // A store that keeps no index in a folder of its own has none to lose.
    match index.is_dir() {
        true => Ok(std::fs::remove_dir_all(index)?),
        false => Err("there is no index to remove: this measurement needs another one".into()),
    }
}

/// netabase with a table of two integers, asked in SQL.
pub(crate) struct OursInSql {
    database: Netabase,
    folder: PathBuf,
}

impl OursInSql {
    pub(crate) fn open(folder: &Path) -> Result<Self, Failure> {
        Ok(Self {
            database: block_on(Netabase::embedded(folder))?,
            folder: folder.to_owned(),
        })
    }

    pub(crate) fn peer(folder: &Path) -> Result<Box<dyn Numbers>, Failure> {
        Ok(Box::new(Self::open(folder)?))
    }

    pub(crate) fn close(&self) -> Result<(), Failure> {
        Ok(block_on(self.database.close())?)
    }
}

impl Numbers for OursInSql {
    fn load(&self, rows: u64) -> Result<(), Failure> {
        let definition = "CREATE TABLE numbers (k BIGINT PRIMARY KEY, v BIGINT NOT NULL)";
        block_on(self.database.sql(definition))?;
        let file = self.folder.with_extension("parquet");
        write_numbers(&file, rows)?;
        block_on(self.database.load("numbers", &file, |_, _| ()))?;
        Ok(std::fs::remove_file(file)?)
    }

    fn sum(&self) -> Result<i64, Failure> {
        let answer = block_on(self.database.sql("SELECT sum(v) FROM numbers"))?;
        let batches = block_on(answer.collect())?.into_batches();
        let batch = batches.first().ok_or("a sum without a row")?;
        Ok(batch.column(0).as_primitive::<Int64Type>().value(0))
    }
}

fn write_numbers(path: &Path, rows: u64) -> Result<(), Failure> {
    let columns = ["k", "v"].map(|name| Field::new(name, DataType::Int64, false));
    let schema = Arc::new(Schema::new(columns.to_vec()));
    write_parquet(path, schema, rows, |chunk| {
        let keys = Int64Array::from_iter_values(chunk.clone().map(|row| row as i64));
        let values = Int64Array::from_iter_values(chunk.map(number));
        vec![Arc::new(keys), Arc::new(values)]
    })
}

/// Writes rows in chunks, whose columns `columns` makes.
pub(super) fn write_parquet(
    path: &Path,
    schema: SchemaRef,
    rows: u64,
    columns: impl Fn(Range<u64>) -> Vec<ArrayRef>,
) -> Result<(), Failure> {
    let file = std::fs::File::create(path)?;
    let mut writer = ArrowWriter::try_new(file, Arc::clone(&schema), None)?;
    for chunk in chunks(0..rows) {
        let columns = columns(chunk);
        writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns)?)?;
    }
    writer.close()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::VALUE;

    #[test]
    fn a_scan_finds_the_first_keys_in_memory_and_in_segments() {
        let folder = tempfile::TempDir::new().unwrap();
        let ours = Ours::open(folder.path()).unwrap();
        ours.load(0..400).unwrap();
        ours.settle().unwrap();
        // Some rows lie in memory only, some in both places, where those in the segments are hidden.
        ours.load(300..600).unwrap();
        let snapshot = ours.store.snapshot(ours.def.id).unwrap();
        assert!(
            snapshot
                .shards
                .iter()
                .all(|shard| !shard.batches.is_empty())
        );
        assert!(
            snapshot
                .shards
                .iter()
                .all(|shard| !shard.segments.is_empty())
        );
        let mut keys: Vec<Key> = (0..600).map(key).collect();
        keys.sort_unstable();
        for from in [0, 1, 250, 590] {
            let expected: Vec<_> = keys[from..]
                .iter()
                .take(50)
                .map(|key| (*key, VALUE))
                .collect();
            assert_eq!(ours.scan(&keys[from], 50).unwrap(), expected);
        }
    }

    #[test]
    fn rows_that_settled_are_not_in_memory() {
        let folder = tempfile::TempDir::new().unwrap();
        let ours = Ours::open(folder.path()).unwrap();
        ours.load(0..100).unwrap();
        let in_memory = |ours: &Ours| {
            let shards = ours.store.snapshot(ours.def.id).unwrap().shards;
            shards
                .iter()
                .map(|shard| shard.batches.len())
                .sum::<usize>()
        };
        assert!(in_memory(&ours) > 0);
        ours.settle().unwrap();
        assert_eq!(in_memory(&ours), 0);
    }
}
