//! Keys of several columns and types, and stamps of two authors that meet.

use std::collections::BTreeMap;
use std::sync::Arc;

use netabase_store::arrow::array::{
    ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringViewArray,
};
use netabase_store::arrow::datatypes::{DataType, Field, Int64Type, Schema};
use netabase_store::{BackendKind, Change, KeyEncoder, Settings, ShardBatch, Store, TableDef};
use proptest::prelude::*;

use crate::common::{digests, repeats, settings, stamp, table};

const SHARDS: u32 = 2;
const AUTHORS: [&str; 2] = ["alice", "bob"];

/// Text, number, truth: the first two choose the shard.
type Key = (String, i64, bool);

/// What a key holds: version, author, and whether it is a row.
type Model = BTreeMap<Key, (u64, usize, bool)>;

#[derive(Debug, Clone)]
struct Write {
    keys: Vec<Key>,
    version: u64,
    author: usize,
    change: Change,
    bulk: bool,
    /// What to do afterwards: nothing, a flush, a compaction, to open again.
    then: u8,
}

fn def() -> TableDef {
    TableDef {
        schema: Arc::new(Schema::new(vec![
            Field::new("name", DataType::Utf8View, false),
            Field::new("number", DataType::Int64, false),
            Field::new("flag", DataType::Boolean, false),
            Field::new("value", DataType::Int64, true),
        ])),
        primary_key: vec![0, 1, 2],
        shard_key: vec![0, 1],
        ..table("composite", SHARDS)
    }
}

fn key() -> impl Strategy<Value = Key> {
    let name = prop_oneof![
        Just(""),
        Just("a"),
        Just("a\0"),
        Just("ab"),
        Just("ä€𝄞"),
        Just("zz")
    ];
    let number = prop_oneof![
        Just(i64::MIN),
        Just(-1),
        Just(0),
        Just(1),
        Just(i64::MAX),
        -9..9i64
    ];
    (name.prop_map(str::to_owned), number, any::<bool>())
}

fn write() -> impl Strategy<Value = Write> {
    let keys = proptest::collection::btree_set(key(), 1..30);
    let stamps = (1..6u64, 0..AUTHORS.len());
    (keys, stamps, any::<bool>(), any::<bool>(), 0..10u8).prop_map(
        |(keys, (version, author), delete, bulk, then)| Write {
            keys: keys.into_iter().collect(),
            version: version * 10,
            author,
            change: if delete && !bulk {
                Change::Delete
            } else {
                Change::Upsert
            },
            bulk,
            then,
        },
    )
}

fn columns(keys: &[Key]) -> Vec<ArrayRef> {
    vec![
        Arc::new(StringViewArray::from_iter_values(keys.iter().map(|k| &k.0))),
        Arc::new(Int64Array::from_iter_values(keys.iter().map(|k| k.1))),
        Arc::new(BooleanArray::from_iter(keys.iter().map(|k| Some(k.2)))),
    ]
}

/// A row's value follows from its stamp: no two rows of one key and stamp differ.
fn value_of(version: u64, author: usize) -> i64 {
    version as i64 * 10 + author as i64
}

fn rows_of(write: &Write) -> RecordBatch {
    let mut all = columns(&write.keys);
    if write.change == Change::Delete {
        return RecordBatch::try_new(def().key_schema(), all).unwrap();
    }
    let value = value_of(write.version, write.author);
    all.push(Arc::new(Int64Array::from(vec![value; write.keys.len()])));
    RecordBatch::try_new(def().schema.clone(), all).unwrap()
}

fn batches_of(write: &Write) -> Vec<ShardBatch> {
    let parts = KeyEncoder::new(&def())
        .unwrap()
        .split(&rows_of(write))
        .unwrap();
    let batch = |(shard, rows)| ShardBatch {
        table: def().id,
        shard,
        change: write.change,
        stamp: stamp(write.version, AUTHORS[write.author]),
        rows,
    };
    parts.into_iter().map(batch).collect()
}

fn put(store: &Store, write: &Write) {
    if !write.bulk {
        store.write(batches_of(write)).unwrap();
        return;
    }
    let stamp = stamp(write.version, AUTHORS[write.author]);
    let mut load = store.bulk_load(def().id, stamp).unwrap();
    load.push(&rows_of(write)).unwrap();
    load.finish().unwrap();
}

fn found(store: &Store) -> BTreeMap<Key, i64> {
    let mut all = BTreeMap::new();
    for shard in 0..SHARDS {
        for batch in store.export_shard(def().id, shard).unwrap() {
            if batch.change == Change::Delete {
                continue;
            }
            let names = batch.rows.column(0).as_string_view();
            let numbers = batch.rows.column(1).as_primitive::<Int64Type>();
            let flags = batch.rows.column(2).as_boolean();
            let values = batch.rows.column(3).as_primitive::<Int64Type>();
            for row in 0..batch.rows.num_rows() {
                let key = (
                    names.value(row).to_owned(),
                    numbers.value(row),
                    flags.value(row),
                );
                assert!(all.insert(key, values.value(row)).is_none());
            }
        }
    }
    all
}

fn expected(model: &Model) -> BTreeMap<Key, i64> {
    let rows = model.iter().filter(|(_, (_, _, row))| *row);
    rows.map(|(key, (version, author, _))| (key.clone(), value_of(*version, *author)))
        .collect()
}

fn check_look_ups(store: &Store, model: &Model) {
    for (key, (version, author, row)) in model.iter().step_by(7) {
        let key = RecordBatch::try_new(def().key_schema(), columns(std::slice::from_ref(key)));
        let found = store.get(def().id, &key.unwrap()).unwrap();
        let value = found.map(|rows| rows.column(3).as_primitive::<Int64Type>().value(0));
        assert_eq!(value, row.then(|| value_of(*version, *author)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: repeats("PROPTEST_CASES", 32) as u32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn composite_keys_and_equal_versions(writes in proptest::collection::vec(write(), 1..30)) {
        let dir = tempfile::tempdir().unwrap();
        let quiet = Settings {
            backend: BackendKind::Memory,
            background: false,
            ..settings(dir.path())
        };
        let mut store = Store::open(quiet.clone()).unwrap();
        let mirror = Store::open(Settings::default()).unwrap();
        store.put_table(def()).unwrap();
        mirror.put_table(def()).unwrap();
        let mut model = Model::new();
        for write in &writes {
            put(&store, write);
            for key in &write.keys {
                let entry = model.entry(key.clone()).or_insert((0, 0, false));
                *entry = (*entry).max((write.version, write.author, write.change == Change::Upsert));
            }
            match write.then {
                0 => store.flush_to_segments().unwrap(),
                1 => store.compact(def().id).unwrap(),
                2 => {
                    store.close().unwrap();
                    store = Store::open(quiet.clone()).unwrap();
                }
                _ => {}
            }
        }
        prop_assert_eq!(found(&store), expected(&model));
        check_look_ups(&store, &model);
        // In any other order, the same.
        for write in writes.iter().rev() {
            mirror.write(batches_of(write)).unwrap();
        }
        prop_assert_eq!(digests(&store, def().id), digests(&mirror, def().id));
    }
}
