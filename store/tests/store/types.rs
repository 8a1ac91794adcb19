//! Every kind of column survives the log, merging and export; shards are pinned.

use std::sync::Arc;

use netabase_store::arrow::array::{
    Array, ArrayRef, BinaryViewArray, Decimal128Array, DictionaryArray, Int32Array, Int64Array,
    ListArray, RecordBatch, StringArray, StringViewArray, StructArray, TimestampMicrosecondArray,
};
use netabase_store::arrow::compute::{concat_batches, sort_to_indices, take_record_batch};
use netabase_store::arrow::datatypes::{DataType, Field, Int32Type, Schema};
use netabase_store::{Change, KeyEncoder, Settings, ShardBatch, Store, TableDef};

use crate::common::{open, stamp, table};

fn rich_rows(from: i64, count: i64) -> RecordBatch {
    let ids = from..from + count;
    let names: Vec<String> = ids
        .clone()
        .map(|id| format!("a rather long name, number {id:05}"))
        .collect();
    let lists = ids
        .clone()
        .map(|id| (id % 3 != 0).then(|| vec![Some(id as i32), None]));
    let parts: ArrayRef = Arc::new(StringViewArray::from_iter(
        names
            .iter()
            .map(|name| (name.len() % 2 == 0).then_some(name)),
    ));
    let fields = vec![Field::new("part", DataType::Utf8View, true)];
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("name", Arc::new(StringViewArray::from_iter_values(&names))),
        ("id", Arc::new(Int64Array::from_iter_values(ids.clone()))),
        (
            "price",
            Arc::new(
                Decimal128Array::from_iter_values(ids.clone().map(i128::from))
                    .with_precision_and_scale(20, 4)
                    .unwrap(),
            ),
        ),
        (
            "at",
            Arc::new(
                TimestampMicrosecondArray::from_iter_values(ids.clone()).with_timezone("+00:00"),
            ),
        ),
        (
            "bytes",
            Arc::new(BinaryViewArray::from_iter_values(
                names.iter().map(String::as_bytes),
            )),
        ),
        (
            "list",
            Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists)),
        ),
        (
            "nested",
            Arc::new(StructArray::new(fields.into(), vec![parts], None)),
        ),
        (
            "word",
            Arc::new(
                ids.clone()
                    .map(|id| ["red", "green", "blue"][id as usize % 3])
                    .collect::<DictionaryArray<Int32Type>>(),
            ),
        ),
        (
            "nothing",
            Arc::new(StringArray::from(vec![None::<&str>; count as usize])),
        ),
    ];
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, array)| Field::new(*name, array.data_type().clone(), true))
        .collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

fn rich_table() -> TableDef {
    TableDef {
        schema: rich_rows(0, 1).schema(),
        // Not in the order of the columns, and of several types.
        primary_key: vec![1, 0, 2, 3, 4],
        shard_key: vec![1, 0],
        ..table("rich", 1)
    }
}

fn sorted(store: &Store, def: &TableDef) -> RecordBatch {
    let snapshot = store.snapshot(def.id).unwrap();
    let shard = &snapshot.shards[0];
    let mut batches: Vec<_> = shard.batches.iter().map(|b| b.rows.clone()).collect();
    for segment in &shard.segments {
        let column = |column| segment.column(0, column).unwrap();
        let columns = (0..def.schema.fields().len()).map(column).collect();
        batches.push(RecordBatch::try_new(def.schema.clone(), columns).unwrap());
    }
    let all = concat_batches(&def.schema, &batches).unwrap();
    let order = sort_to_indices(all.column(1), None, None).unwrap();
    take_record_batch(&all, &order).unwrap()
}

fn write(store: &Store, def: &TableDef, rows: RecordBatch, version: u64) {
    let batch = ShardBatch {
        table: def.id,
        shard: 0,
        change: Change::Upsert,
        stamp: stamp(version, "a"),
        rows,
    };
    store.write(vec![batch]).unwrap();
}

#[test]
fn columns_of_many_types_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let def = rich_table();
    let store = open(dir.path());
    store.put_table(def.clone()).unwrap();
    let whole = rich_rows(0, 400);
    for from in 0..100 {
        write(&store, &def, whole.slice(from, 1), 5 + from as u64);
    }
    write(&store, &def, whole.slice(100, 300), 5);
    assert!(store.stats().batches < 30);
    assert_eq!(sorted(&store, &def), whole);
    store.close().unwrap();

    let store = open(dir.path());
    assert_eq!(sorted(&store, &def), whole);
    store.checkpoint().unwrap();
    store.close().unwrap();
    let store = open(dir.path());
    assert_eq!(sorted(&store, &def), whole);

    store.flush_to_segments().unwrap();
    assert_eq!((store.stats().batches, store.stats().segments), (0, 1));
    assert_eq!(sorted(&store, &def), whole);
    store.close().unwrap();
    let store = open(dir.path());
    assert_eq!(sorted(&store, &def), whole);

    let copy = Store::open(Settings::default()).unwrap();
    copy.put_table(def.clone()).unwrap();
    copy.write(store.export_shard(def.id, 0).unwrap()).unwrap();
    assert_eq!(sorted(&copy, &def), whole);
    assert_eq!(
        copy.shard_stats(def.id).unwrap()[0].digest,
        store.shard_stats(def.id).unwrap()[0].digest
    );
    let key = def.key_schema();
    let columns = def
        .primary_key
        .iter()
        .map(|at| whole.column(*at).slice(7, 1))
        .collect();
    let key = RecordBatch::try_new(key, columns).unwrap();
    assert_eq!(store.get(def.id, &key).unwrap().unwrap(), whole.slice(7, 1));
}

#[test]
fn slices_do_not_keep_their_parents() {
    let def = rich_table();
    let store = Store::open(Settings::default()).unwrap();
    store.put_table(def.clone()).unwrap();
    let whole = rich_rows(0, 50_000);
    write(&store, &def, whole.slice(777, 10), 5);
    assert!(
        store.stats().memory_bytes < 200_000,
        "{}",
        store.stats().memory_bytes
    );
}

#[test]
fn shards_are_the_same_in_every_release() {
    let def = TableDef {
        shards: 16,
        ..rich_table()
    };
    let encoder = KeyEncoder::new(&def).unwrap();
    let rows = rich_rows(0, 12);
    let shards = encoder.shard_of_each(&rows).unwrap();
    assert_eq!(shards, [14, 15, 1, 13, 3, 7, 12, 15, 11, 14, 8, 1]);
    let numbers = table("t", 8);
    let encoder = KeyEncoder::new(&numbers).unwrap();
    let keys = crate::common::keys(&numbers, &[-1, 0, 1, 2, 3, i64::MAX, i64::MIN]);
    assert_eq!(encoder.shard_of_each(&keys).unwrap(), [5, 2, 6, 1, 6, 6, 3]);
}

#[test]
fn splitting_keeps_every_row() {
    let def = TableDef {
        shards: 16,
        ..rich_table()
    };
    let encoder = KeyEncoder::new(&def).unwrap();
    let rows = rich_rows(0, 500);
    let parts = encoder.split(&rows).unwrap();
    assert_eq!(
        parts.iter().map(|(_, part)| part.num_rows()).sum::<usize>(),
        500
    );
    assert!(parts.windows(2).all(|pair| pair[0].0 < pair[1].0));
    for (shard, part) in &parts {
        assert!(
            encoder
                .shard_of_each(part)
                .unwrap()
                .iter()
                .all(|of| of == shard)
        );
    }
    assert!(encoder.split(&rows.slice(0, 0)).unwrap().is_empty());
    let text = encoder.describe(&rows, 3);
    assert!(
        text.starts_with("(3, a rather long name, number 00003, 0.0003, 1970-01-01"),
        "{text}"
    );
    let wrong =
        RecordBatch::try_from_iter([("other", Arc::new(Int32Array::from(vec![1])) as ArrayRef)])
            .unwrap();
    let error = encoder.encode(&wrong).unwrap_err();
    assert!(
        error.to_string().contains("(id, name, price, at, bytes)"),
        "{error}"
    );
    assert_eq!(encoder.describe(&wrong, 0), "(?)");
}
