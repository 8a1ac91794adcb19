//! What is too large, too far ahead, or not allowed: a clear refusal, or it works.

use std::path::Path;
use std::sync::Arc;

use netabase_store::arrow::array::{AsArray, RecordBatch, StringViewArray};
use netabase_store::arrow::datatypes::{DataType, Field, Schema};
use netabase_store::{
    BackendKind, Change, Components, ErrorKind, MAX_FRAME_BYTES, Settings, ShardBatch, Store,
    TableDef, Version,
};

use crate::common::{Random, batches, ids, keys, live, settings, stamp, table, upsert};
use crate::faults::{Fault, FaultDisk, Kind};

fn quiet(root: &Path) -> Settings {
    Settings {
        backend: BackendKind::Memory,
        background: false,
        ..settings(root)
    }
}

/// A table `name(id VARCHAR, text VARCHAR)`.
fn texts(name: &str) -> TableDef {
    TableDef {
        schema: Arc::new(Schema::new(vec![
            Field::new("id", DataType::Utf8View, false),
            Field::new("text", DataType::Utf8View, true),
        ])),
        ..table(name, 1)
    }
}

fn text_rows(def: &TableDef, key: &str, text: &str) -> RecordBatch {
    let column = |value: &str| Arc::new(StringViewArray::from(vec![value]));
    RecordBatch::try_new(def.schema.clone(), vec![column(key), column(text)]).unwrap()
}

fn text_batch(def: &TableDef, key: &str, text: &str) -> ShardBatch {
    ShardBatch {
        table: def.id,
        shard: 0,
        change: Change::Upsert,
        stamp: stamp(10, "a"),
        rows: text_rows(def, key, text),
    }
}

/// Text that does not compress.
fn noise(bytes: usize) -> String {
    let mut random = Random::new(1);
    let mut text = String::with_capacity(bytes);
    while text.len() < bytes {
        let mut number = random.next();
        for _ in 0..10 {
            text.push(char::from(b'0' + (number % 64) as u8));
            number /= 64;
        }
    }
    text
}

fn length_of(store: &Store, def: &TableDef, key: &str) -> Option<usize> {
    let rows = text_rows(def, key, "");
    let key = RecordBatch::try_new(def.key_schema(), vec![rows.column(0).clone()]).unwrap();
    let found = store.get(def.id, &key).unwrap()?;
    Some(found.column(1).as_string_view().value(0).len())
}

#[test]
fn keys_of_a_megabyte_work_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let def = texts("t");
    let store = Store::open(quiet(dir.path())).unwrap();
    store.put_table(def.clone()).unwrap();
    let long = |last: char| format!("{}{last}", "k".repeat(1 << 20));
    for (key, text) in [('a', "first"), ('b', "second one")] {
        store
            .write(vec![text_batch(&def, &long(key), text)])
            .unwrap();
        store.flush_to_segments().unwrap();
    }
    let mut load = store.bulk_load(def.id, stamp(20, "a")).unwrap();
    load.push(&text_rows(&def, &long('b'), "third")).unwrap();
    load.finish().unwrap();
    store.compact(def.id).unwrap();
    store.close().unwrap();
    let store = Store::open(quiet(dir.path())).unwrap();
    assert_eq!(length_of(&store, &def, &long('a')), Some(5));
    assert_eq!(length_of(&store, &def, &long('b')), Some(5));
    assert_eq!(length_of(&store, &def, &long('c')), None);
}

#[test]
fn a_row_of_a_hundred_megabytes_is_refused_by_a_write_and_taken_by_a_load() {
    let dir = tempfile::tempdir().unwrap();
    let def = texts("t");
    let store = Store::open(quiet(dir.path())).unwrap();
    store.put_table(def.clone()).unwrap();
    let large = noise(100 << 20);
    let error = store
        .write(vec![text_batch(&def, "large", &large)])
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let text = error.to_string();
    assert!(
        text.contains("MAX_FRAME_BYTES") && text.contains(&MAX_FRAME_BYTES.to_string()),
        "{text}"
    );
    assert_eq!(
        store.stats().memory_bytes,
        0,
        "what was set aside is given back"
    );
    store
        .write(vec![text_batch(&def, "small", "works")])
        .unwrap();
    let mut load = store.bulk_load(def.id, stamp(20, "a")).unwrap();
    load.push(&text_rows(&def, "large", &large)).unwrap();
    load.finish().unwrap();
    assert!(store.stats().memory_bytes < 1 << 20, "{:?}", store.stats());
    store.close().unwrap();
    let store = Store::open(quiet(dir.path())).unwrap();
    assert_eq!(length_of(&store, &def, "large"), Some(large.len()));
    assert_eq!(length_of(&store, &def, "small"), Some(5));
}

#[test]
fn ten_thousand_columns_are_too_many() {
    let field = |number| Field::new(format!("c{number}"), DataType::Int64, true);
    let def = TableDef {
        schema: Arc::new(Schema::new((0..10_000).map(field).collect::<Vec<_>>())),
        ..table("wide", 1)
    };
    let store = Store::open(Settings::default()).unwrap();
    let error = store.put_table(def).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let text = error.to_string();
    assert!(
        text.contains("wide") && text.contains("10000") && text.contains("4096"),
        "{text}"
    );
}

/// What moves rows from the log to elsewhere.
type Way = fn(&Store);

/// Four minutes ahead: within what a clock may drift.
fn ahead(store: &Store) -> u64 {
    store.clock().now().0 + (240_000 << 16)
}

#[test]
fn the_clock_stays_ahead_of_what_is_stored_wherever_it_lies() {
    let def = table("t", 1);
    let ways: [(&str, Way); 4] = [
        ("log", |_| {}),
        ("checkpoint", |store| store.checkpoint().unwrap()),
        ("segments", |store| store.flush_to_segments().unwrap()),
        ("compacted", |store| {
            store.flush_to_segments().unwrap();
            store.compact(table("t", 1).id).unwrap();
        }),
    ];
    for (name, way) in ways {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(quiet(dir.path())).unwrap();
        store.put_table(def.clone()).unwrap();
        let version = ahead(&store);
        upsert(&store, &def, &[1], version - 1);
        let deleted = batches(&def, Change::Delete, &[1], &stamp(version, "a"));
        store.write(deleted).unwrap();
        way(&store);
        store.close().unwrap();
        let store = Store::open(quiet(dir.path())).unwrap();
        assert!(store.clock().now() > Version(version), "{name}");
        // A new row of this machine wins over what was written by the clock that is ahead.
        let now = store.clock().now();
        upsert(&store, &def, &[1], now.0);
        assert_eq!(ids(&store, def.id), [1], "{name}");
    }
}

#[test]
fn a_folder_that_may_not_be_written_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultDisk::new(dir.path());
    disk.set_fault(Some(Fault {
        at: 0,
        kind: Kind::ReadOnly,
        stays: true,
    }));
    let components = Components {
        disk: Some(Arc::new(disk)),
        ..Components::default()
    };
    let error = Store::open_with(quiet(dir.path()), components, |_, _| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("000001.log"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_read_only_folder_is_refused_by_name() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let locked = dir.path().join("locked");
    std::fs::create_dir(&locked).unwrap();
    let allow = |mode| {
        std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    allow(0o555);
    // Root may write anywhere.
    if std::fs::write(locked.join("probe"), b"").is_ok() {
        return;
    }
    let error = Store::open(quiet(&locked)).unwrap_err();
    allow(0o755);
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("locked"), "{error}");
}

/// Several groups in each segment, with rows hidden in the first, a middle, and the last one.
#[test]
fn segments_of_several_groups_hold_what_they_should() {
    const ROWS: i64 = 150_000;
    let dir = tempfile::tempdir().unwrap();
    let def = table("t", 1);
    let store = Store::open(quiet(dir.path())).unwrap();
    store.put_table(def.clone()).unwrap();
    let all: Vec<i64> = (0..ROWS).collect();
    let mut load = store.bulk_load(def.id, stamp(10, "a")).unwrap();
    for part in all.chunks(40_000) {
        load.push(&crate::common::rows(&def, part, 10)).unwrap();
    }
    load.finish().unwrap();
    let gone: Vec<i64> = [0, 65_535, 65_536, 131_071, 131_072, ROWS - 1].into();
    store
        .write(batches(&def, Change::Delete, &gone, &stamp(20, "a")))
        .unwrap();
    upsert(&store, &def, &[5, 70_000, 140_000, ROWS + 1], 30);
    let expected = live(&store, def.id);
    assert_eq!(expected.len() as i64, ROWS - 6 + 1);
    for step in 0..4 {
        match step {
            0 => store.checkpoint().unwrap(),
            1 => store.flush_to_segments().unwrap(),
            2 => store.compact(def.id).unwrap(),
            _ => store.close().unwrap(),
        }
        if step < 3 {
            assert_eq!(live(&store, def.id), expected, "step {step}");
        }
    }
    let store = Store::open(quiet(dir.path())).unwrap();
    assert_eq!(live(&store, def.id), expected);
    assert!(store.get(def.id, &keys(&def, &[65_536])).unwrap().is_none());
    assert!(store.get(def.id, &keys(&def, &[65_537])).unwrap().is_some());
}
