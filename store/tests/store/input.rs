//! Wrong input is refused whole, with an error that names the thing.

use std::sync::Arc;

use netabase_store::arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, StringViewArray};
use netabase_store::arrow::datatypes::{DataType, Field, Schema};
use netabase_store::{
    Change, ErrorKind, MAX_SHARDS, Settings, ShardBatch, Store, TableDef, TableId, Version,
};

use crate::common::{batches, ids, keys, refused, rows, settings, stamp, table, upsert};

fn memory(def: &TableDef) -> Store {
    let store = Store::open(Settings::default()).unwrap();
    store.put_table(def.clone()).unwrap();
    store
}

fn batch(def: &TableDef, rows: RecordBatch) -> ShardBatch {
    ShardBatch {
        table: def.id,
        shard: 0,
        change: Change::Upsert,
        stamp: stamp(5, "a"),
        rows,
    }
}

#[test]
fn writes_are_checked_before_anything_is_logged() {
    let def = table("flights", 1);
    let store = memory(&def);
    let good = || batch(&def, rows(&def, &[1, 2], 5));
    let invalid = |wrong: ShardBatch, words: &[&str]| {
        refused(
            store.write(vec![good(), wrong]),
            ErrorKind::InvalidInput,
            words,
        );
    };

    let unknown = ShardBatch {
        table: TableId([9; 16]),
        ..good()
    };
    refused(store.write(vec![unknown]), ErrorKind::NotFound, &["0909"]);
    invalid(
        ShardBatch { shard: 1, ..good() },
        &["flights", "no shard 1"],
    );
    invalid(
        ShardBatch {
            change: Change::Delete,
            ..good()
        },
        &["flights", "3 columns"],
    );
    invalid(batch(&def, keys(&def, &[1])), &["flights", "1 columns"]);

    let column = |index: usize, array: ArrayRef, field: Field| {
        let good = rows(&def, &[1, 2], 5);
        let mut fields: Vec<_> = def.schema.fields().iter().cloned().collect();
        let mut columns = good.columns().to_vec();
        fields[index] = Arc::new(field);
        columns[index] = array;
        batch(
            &def,
            RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap(),
        )
    };
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
    let texts: ArrayRef = Arc::new(StringViewArray::from(vec![Some("x"), None]));
    invalid(
        column(0, numbers.clone(), Field::new("id", DataType::Int64, true)),
        &["flights", "\"id\"", "primary key", "NULL"],
    );
    invalid(
        column(
            1,
            texts.clone(),
            Field::new("text", DataType::Utf8View, true),
        ),
        &["flights", "\"text\"", "NOT NULL"],
    );
    invalid(
        column(2, texts, Field::new("note", DataType::Utf8View, true)),
        &["flights", "\"note\"", "Int64", "Utf8View"],
    );
    invalid(
        column(2, numbers, Field::new("nota", DataType::Int64, true)),
        &["flights", "\"nota\"", "\"note\""],
    );
    let future = stamp(u64::MAX / 2, "a");
    invalid(
        ShardBatch {
            stamp: future,
            ..good()
        },
        &["flights", "ahead"],
    );
    refused(
        store.write(vec![batch(&def, rows(&def, &[4, 5, 4], 5))]),
        ErrorKind::Conflict,
        &["flights", "(4)", "twice"],
    );
    assert!(ids(&store, def.id).is_empty());
    assert_eq!(store.stats().frames, 0);
}

#[test]
fn rows_of_another_shard_are_refused() {
    let def = table("t", 4);
    let store = memory(&def);
    let mut split = batches(&def, Change::Upsert, &[1], &stamp(5, "a"));
    let right = split[0].shard;
    split[0].shard = (right + 1) % 4;
    refused(
        store.write(split),
        ErrorKind::InvalidInput,
        &["(1)", &format!("shard {right}")],
    );
}

#[test]
fn limits_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let def = table("t", 1);
    let store = Store::open(Settings {
        memory_limit: 1 << 20,
        ..settings(dir.path())
    })
    .unwrap();
    store.put_table(def.clone()).unwrap();
    let many: Vec<i64> = (0..100_000).collect();
    refused(
        store.write(vec![batch(&def, rows(&def, &many, 5))]),
        ErrorKind::Capacity,
        &["memory_limit", "1048576"],
    );
    for id in 0..50 {
        upsert(&store, &def, &[id], 5);
    }
    store.close().unwrap();

    let dir = tempfile::tempdir().unwrap();
    let store = crate::common::open(dir.path());
    store.put_table(def.clone()).unwrap();
    let noise: Vec<String> = (0..1200u64)
        .map(|row| {
            let mut state = row + 1;
            (0..60_000)
                .map(|_| {
                    state = state
                        .wrapping_mul(6364136223846793005)
                        .wrapping_add(1442695040888963407);
                    char::from(33 + (state >> 58) as u8)
                })
                .collect()
        })
        .collect();
    let large = RecordBatch::try_new(
        def.schema.clone(),
        vec![
            Arc::new(Int64Array::from_iter_values(0..1200)),
            Arc::new(StringViewArray::from_iter_values(noise)),
            Arc::new(Int64Array::from(vec![None; 1200])),
        ],
    )
    .unwrap();
    refused(
        store.write(vec![batch(&def, large)]),
        ErrorKind::InvalidInput,
        &["MAX_FRAME_BYTES", "split"],
    );
    for wrong in ["memory_limit", "log_file_bytes", "index_cache_bytes"] {
        let mut settings = Settings::default();
        match wrong {
            "memory_limit" => settings.memory_limit = 1,
            "log_file_bytes" => settings.log_file_bytes = 1,
            _ => settings.index_cache_bytes = 1,
        }
        refused(Store::open(settings), ErrorKind::InvalidInput, &[wrong]);
    }
}

#[test]
fn definitions_are_checked() {
    let good = table("t", 1);
    let check = |change: &dyn Fn(&mut TableDef), words: &[&str]| {
        let mut def = good.clone();
        change(&mut def);
        refused(def.validate(), ErrorKind::InvalidInput, words);
    };
    check(&|def| def.name.clear(), &["name"]);
    check(&|def| def.name = "x".repeat(129), &["128"]);
    check(&|def| def.name = "a\nb".into(), &["control"]);
    check(&|def| def.shards = 0, &["shards"]);
    check(&|def| def.shards = MAX_SHARDS + 1, &["4096"]);
    check(&|def| def.replicas = 17, &["replicas", "16"]);
    check(&|def| def.primary_key.clear(), &["primary key"]);
    check(&|def| def.primary_key = vec![7], &["column 7"]);
    check(&|def| def.primary_key = vec![0, 0], &["\"id\"", "twice"]);
    check(&|def| def.shard_key = vec![1], &["prefix"]);
    check(&|def| def.placement = vec![vec![], vec![]], &["placement"]);
    check(
        &|def| {
            let field = || Field::new("id", DataType::Int64, false);
            def.schema = Arc::new(Schema::new(vec![field(), field()]));
        },
        &["\"id\"", "twice"],
    );
}

#[test]
fn definitions_keep_through_bytes_and_refuse_others() {
    let mut def = table("t", 2);
    def.placement = vec![vec!["p1".into()], vec!["p2".into(), "p3".into()]];
    def.attachment = vec![1, 2, 3];
    def.dropped = Some(Version(7));
    let bytes = def.to_bytes().unwrap();
    assert_eq!(TableDef::from_bytes(&bytes).unwrap(), def);
    for cut in 0..bytes.len() {
        assert!(TableDef::from_bytes(&bytes[..cut]).is_err());
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(TableDef::from_bytes(&longer).is_err());
    let mut newer = bytes.clone();
    newer[0] = 9;
    refused(
        TableDef::from_bytes(&newer),
        ErrorKind::InvalidInput,
        &["format 9"],
    );
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x41;
        // Whatever comes out, it is an answer and not a panic, and it is valid.
        if let Ok(def) = TableDef::from_bytes(&flipped) {
            def.validate().unwrap();
        }
    }
}

#[test]
fn look_ups_take_one_key() {
    let def = table("t", 4);
    let store = memory(&def);
    upsert(&store, &def, &[1, 2, 3], 5);
    let found = store.get(def.id, &keys(&def, &[2])).unwrap().unwrap();
    assert_eq!(found, rows(&def, &[2], 5));
    assert!(store.get(def.id, &keys(&def, &[4])).unwrap().is_none());
    refused(
        store.get(def.id, &keys(&def, &[1, 2])),
        ErrorKind::InvalidInput,
        &["one key"],
    );
    store
        .write(batches(&def, Change::Delete, &[2], &stamp(6, "a")))
        .unwrap();
    assert!(store.get(def.id, &keys(&def, &[2])).unwrap().is_none());
    assert_eq!(rows(&def, &[2], 5).column(0).len(), 1);
}
