//! A reader of a table finds the rows that are there, wherever they lie, by keys made of values.

use std::sync::Arc;

use netabase_store::arrow::array::{
    ArrayRef, AsArray, Decimal128Array, Int32Array, RecordBatch, StringArray,
};
use netabase_store::arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema};
use netabase_store::{Change, ErrorKind, KeyEncoder, KeyPart, Store, TableDef, TableReader};

use crate::common::{batches, open, refused, rows, stamp, table, upsert};

fn text_of(reader: &TableReader, id: i64) -> Option<String> {
    let key = reader.encoder().key_of(&[KeyPart::Int(id)]).unwrap();
    let found = reader.get(&key, &[1]).unwrap()?;
    let texts = found.columns()[0].as_string_view();
    Some(texts.value(found.row()).to_owned())
}

#[test]
fn a_reader_follows_a_row_from_memory_to_segments() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let def = table("t", 3);
    store.put_table(def.clone()).unwrap();
    let reader = store.reader(def.id).unwrap();
    assert_eq!(text_of(&reader, 7), None);
    upsert(&store, &def, &(0..10_000).collect::<Vec<_>>(), 5);
    let written = |version: u64| Some(format!("row 7 written at version {version}"));
    assert_eq!(text_of(&reader, 7), written(5));
    store.flush_to_segments().unwrap();
    // Probed, then found among the cached keys of its page.
    for _ in 0..3 {
        assert_eq!(text_of(&reader, 7), written(5));
        assert_eq!(text_of(&reader, 10_000), None);
    }
    let key = reader.encoder().key_of(&[KeyPart::Int(7)]).unwrap();
    let found = reader.get(&key, &[2, 1, 0]).unwrap().unwrap();
    let types = found.columns().iter().map(|column| column.data_type());
    let types: Vec<&DataType> = types.collect();
    assert_eq!(
        types,
        [&DataType::Int64, &DataType::Utf8View, &DataType::Int64]
    );
    assert_eq!(
        found.columns()[2]
            .as_primitive::<Int64Type>()
            .value(found.row()),
        7
    );
    upsert(&store, &def, &[7], 6);
    assert_eq!(text_of(&reader, 7), written(6));
    store
        .write(batches(&def, Change::Delete, &[7], &stamp(7, "a")))
        .unwrap();
    assert_eq!(text_of(&reader, 7), None);
    store.flush_to_segments().unwrap();
    assert_eq!(text_of(&reader, 7), None);
    let key = reader.encoder().key_of(&[KeyPart::Int(8)]).unwrap();
    let whole = reader.get(&key, &[0, 1, 2]).unwrap().unwrap();
    assert_eq!(whole.to_batch(&def.schema).unwrap(), rows(&def, &[8], 5));
}

fn two_columns(shard_key: Vec<usize>) -> (TableDef, RecordBatch) {
    let schema = Arc::new(Schema::new(vec![
        Field::new("place", DataType::Utf8, false),
        Field::new("day", DataType::Int32, false),
    ]));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![
            "Oslo",
            "",
            "a rather long name of a place",
        ])),
        Arc::new(Int32Array::from(vec![-3, 0, i32::MAX])),
    ];
    let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
    let def = TableDef {
        schema,
        primary_key: vec![0, 1],
        shard_key,
        ..table("two", 5)
    };
    (def, batch)
}

#[test]
fn keys_of_values_are_keys_of_batches() {
    for shard_key in [vec![0], vec![0, 1]] {
        let (def, batch) = two_columns(shard_key);
        let encoder = KeyEncoder::new(&def).unwrap();
        let shards = encoder.shard_of_each(&batch).unwrap();
        let encoded = encoder.encode(&batch).unwrap();
        for (row, shard) in shards.into_iter().enumerate() {
            let place = batch.column(0).as_string::<i32>().value(row);
            let day = batch.column(1).as_primitive::<Int32Type>();
            let parts = [KeyPart::Text(place), KeyPart::Int(day.value(row).into())];
            let key = encoder.key_of(&parts).unwrap();
            assert_eq!(key.bytes(), encoded.row(row).data());
            assert_eq!(key.shard(), shard);
            assert_eq!(encoder.row_key(&batch.slice(row, 1)).unwrap(), key);
        }
    }
}

#[test]
fn wrong_keys_columns_and_tables_are_refused() {
    use ErrorKind::{InvalidInput, NotFound, Unavailable};
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let def = table("t", 3);
    refused(store.reader(def.id), NotFound, &["no table"]);
    store.put_table(def.clone()).unwrap();
    upsert(&store, &def, &[1, 2], 5);
    let reader = store.reader(def.id).unwrap();
    let encoder = reader.encoder();
    refused(
        encoder.key_of(&[]),
        InvalidInput,
        &["\"t\"", "1 values, not 0"],
    );
    refused(
        encoder.key_of(&[KeyPart::Text("1")]),
        InvalidInput,
        &["\"id\"", "Int64"],
    );
    let large = KeyPart::UInt(u64::MAX);
    refused(
        encoder.key_of(&[large]),
        InvalidInput,
        &["\"id\"", "outside"],
    );
    let key = encoder.key_of(&[KeyPart::UInt(1)]).unwrap();
    refused(reader.get(&key, &[3]), InvalidInput, &["column 3"]);
    store.flush_to_segments().unwrap();
    refused(reader.get(&key, &[3]), InvalidInput, &["column 3"]);
    assert!(reader.get(&key, &[]).unwrap().is_some());
    // A key of a table with more shards, in one that this table does not have.
    let wide = KeyEncoder::new(&table("t", 64)).unwrap();
    let keys = (0..100).map(|id| wide.key_of(&[KeyPart::Int(id)]).unwrap());
    let foreign = keys.into_iter().find(|key| key.shard() > 2).unwrap();
    refused(reader.get(&foreign, &[0]), InvalidInput, &["3 shards"]);
    by_batch_only();
    dropped_and_closed(&store, &def, &reader);
    refused(reader.get(&key, &[0]), Unavailable, &["closed"]);
}

/// Decimals have no key part.
fn by_batch_only() {
    let schema = Schema::new(vec![Field::new("price", DataType::Decimal128(9, 2), false)]);
    let def = TableDef {
        schema: Arc::new(schema),
        ..table("decimals", 2)
    };
    let encoder = KeyEncoder::new(&def).unwrap();
    refused(
        encoder.key_of(&[KeyPart::Int(1)]),
        ErrorKind::InvalidInput,
        &["Decimal128(9, 2)", "row_key"],
    );
    let prices = Decimal128Array::from(vec![125]).with_precision_and_scale(9, 2);
    let batch = RecordBatch::try_new(def.schema.clone(), vec![Arc::new(prices.unwrap())]);
    let batch = batch.unwrap();
    let key = encoder.row_key(&batch).unwrap();
    assert_eq!(key.bytes(), encoder.encode(&batch).unwrap().row(0).data());
}

fn dropped_and_closed(store: &Store, def: &TableDef, reader: &TableReader) {
    let key = reader.encoder().key_of(&[KeyPart::Int(1)]).unwrap();
    let dropped = TableDef {
        dropped: Some(stamp(9, "a").version),
        ..def.clone()
    };
    store.put_table(dropped).unwrap();
    refused(reader.get(&key, &[0]), ErrorKind::NotFound, &["\"t\""]);
    store.close().unwrap();
}
