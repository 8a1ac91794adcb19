//! How fast bulk loads are. Run with `--ignored --nocapture`, in release.

use std::sync::Arc;
use std::time::Instant;

use netabase_store::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use netabase_store::arrow::datatypes::{DataType, Field, Schema};
use netabase_store::{Change, KeyEncoder, ShardBatch, TableDef};

use crate::common::{open, stamp, table};

const ROWS: i64 = 340_000;

fn flights() -> RecordBatch {
    let mut columns: Vec<(String, ArrayRef)> = Vec::new();
    for column in 0..15i64 {
        let values = (0..ROWS).map(|row| {
            if column == 0 {
                row
            } else {
                (row * column) % 997
            }
        });
        columns.push((
            format!("n{column}"),
            Arc::new(Int64Array::from_iter_values(values)),
        ));
    }
    for column in 0..4 {
        let values = (0..ROWS).map(|row| format!("word {} {column}", row % 313));
        columns.push((
            format!("s{column}"),
            Arc::new(StringViewArray::from_iter_values(values)),
        ));
    }
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, array)| Field::new(name, array.data_type().clone(), true))
        .collect();
    assert_eq!(fields[0].data_type(), &DataType::Int64);
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

#[test]
#[ignore = "measures, does not check"]
fn a_bulk_load() {
    let rows = flights();
    for shards in [1, 8] {
        let dir = tempfile::tempdir().unwrap();
        let def = TableDef {
            schema: rows.schema(),
            primary_key: vec![0, 15],
            ..table("flights", shards)
        };
        let store = open(dir.path());
        store.put_table(def.clone()).unwrap();
        for version in [5, 6] {
            let started = Instant::now();
            let parts = KeyEncoder::new(&def).unwrap().split(&rows).unwrap();
            let split = started.elapsed();
            let batches = parts
                .into_iter()
                .map(|(shard, rows)| ShardBatch {
                    table: def.id,
                    shard,
                    change: Change::Upsert,
                    stamp: stamp(version, "a"),
                    rows,
                })
                .collect();
            let applied = store.write(batches).unwrap();
            let stats = store.stats();
            println!(
                "{shards} shards: split {split:?}, all {:?}, {applied:?}, log {} MB, memory {} MB",
                started.elapsed(),
                stats.bytes_logged >> 20,
                stats.memory_bytes >> 20
            );
        }
        let started = Instant::now();
        let snapshot = store.snapshot(def.id).unwrap();
        println!("snapshot {:?}", started.elapsed());
        drop(snapshot);
        store.close().unwrap();
        let store = open(dir.path());
        println!("open {:?}", store.report().elapsed);
    }
}
