//! netabase's store, as the benchmarks see it.
//!
//! Purpose: the only file of the benchmarks that knows the store's interface.

use std::ops::{Bound, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::record_batch::RecordBatch;
use futures::executor::block_on;
use netabase::Netabase;
use netabase_store::{
    Change, KeyEncoder, KeyRange, SegmentView, Settings, ShardBatch, Stamp, Store, TableDef,
    TableId, Version,
};
use parquet::arrow::ArrowWriter;

use crate::Failure;
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
        Ok(Self {
            store,
            def,
            encoder,
        })
    }

    pub(crate) fn peer(folder: &Path) -> Result<Box<dyn KeyValue>, Failure> {
        Ok(Box::new(Self::open(folder)?))
    }

    /// The bytes of keys and values of up to `limit` rows from this key on, in any shard.
    pub(crate) fn scan(&self, from: &Key, limit: usize) -> Result<usize, Failure> {
        let mut found: Vec<(Vec<u8>, usize)> = Vec::new();
        let snapshot = self.store.snapshot(self.def.id)?;
        let key: ArrayRef = Arc::new(BinaryArray::from_iter_values([&from[..]]));
        let range = KeyRange::between(&[], Bound::Included(&key), Bound::Unbounded)?;
        for segment in snapshot.shards.iter().flat_map(|shard| &shard.segments) {
            let mut rows = segment.rows_in(&range)?;
            // Hidden ones among them are few.
            rows.end = rows.end.min(rows.start + 2 * limit as u32);
            let positions: Vec<u32> = rows.filter(|row| is_live(segment, *row)).collect();
            add(&mut found, &segment.take(&positions, &[0, 1])?, |_| true);
        }
        for batch in snapshot.shards.iter().flat_map(|shard| &shard.batches) {
            let keys = batch.rows.column(0).as_binary::<i32>();
            add(&mut found, &batch.rows, |row| {
                let live = batch.live.as_ref().is_none_or(|live| live.value(row));
                live && keys.value(row) >= &from[..]
            });
        }
        found.sort_unstable();
        let first = found.iter().take(limit);
        Ok(first.map(|(key, value)| key.len() + value).sum())
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

    fn put(&self, key: &Key, value: &Value) -> Result<(), Failure> {
        self.write([&key[..]].into_iter(), [&value[..]].into_iter())
    }

    fn get(&self, key: &Key) -> Result<Option<usize>, Failure> {
        let keys = BinaryArray::from_iter_values([&key[..]]);
        let key = RecordBatch::try_new(self.def.key_schema(), vec![Arc::new(keys)])?;
        let found = self.store.get(self.def.id, &key)?;
        Ok(found.map(|row| row.column(1).as_binary::<i32>().value(0).len()))
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(self.store.close()?)
    }
}

/// Adds the keys and the lengths of the values of some rows.
fn add(found: &mut Vec<(Vec<u8>, usize)>, rows: &RecordBatch, wanted: impl Fn(usize) -> bool) {
    let keys = rows.column(0).as_binary::<i32>();
    let values = rows.column(1).as_binary::<i32>();
    let wanted = (0..rows.num_rows()).filter(|row| wanted(*row));
    found.extend(wanted.map(|row| (keys.value(row).to_vec(), values.value(row).len())));
}

fn is_live(segment: &SegmentView, row: u32) -> bool {
    let (mut group, mut row) = (0, row as usize);
    while row >= segment.group_rows(group) && group + 1 < segment.groups() {
        row -= segment.group_rows(group);
        group += 1;
    }
    segment.live(group).is_none_or(|live| live.value(row))
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
    let file = std::fs::File::create(path)?;
    let mut writer = ArrowWriter::try_new(file, Arc::clone(&schema), None)?;
    for chunk in chunks(0..rows) {
        let keys = Int64Array::from_iter_values(chunk.clone().map(|row| row as i64));
        let values = Int64Array::from_iter_values(chunk.map(number));
        let columns = vec![Arc::new(keys) as _, Arc::new(values) as _];
        writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns)?)?;
    }
    writer.close()?;
    Ok(())
}
