//! Folders of earlier formats, and of this one as it was released, can be opened.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use netabase_store::arrow::array::AsArray;
use netabase_store::{BackendKind, Change, Codec, Settings, Store};

use crate::common::{batches, ids, live, stamp, table, upsert};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &to),
            false => fs::copy(&path, &to).map(|_| ()).unwrap(),
        }
    }
}

fn settings(dir: &Path) -> Settings {
    Settings {
        data_dir: Some(dir.to_path_buf()),
        backend: BackendKind::Memory,
        ..Settings::default()
    }
}

/// id to name, of the fixture's table `fruit`.
fn fruit(store: &Store) -> BTreeMap<i64, String> {
    let def = store.table("fruit").unwrap();
    let mut all = BTreeMap::new();
    for id in 0..10 {
        let column = netabase_store::arrow::array::Int64Array::from(vec![id]);
        let key = netabase_store::arrow::array::RecordBatch::try_new(
            def.key_schema(),
            vec![std::sync::Arc::new(column)],
        );
        if let Some(row) = store.get(def.id, &key.unwrap()).unwrap() {
            let names = netabase_store::arrow::compute::cast(
                row.column(1),
                &netabase_store::arrow::datatypes::DataType::Utf8,
            );
            all.insert(id, names.unwrap().as_string::<i32>().value(0).to_owned());
        }
    }
    all
}

#[test]
fn format_1_is_read_and_raised() {
    let dir = tempfile::tempdir().unwrap();
    copy(&fixture("format-1"), dir.path());
    let wanted: BTreeMap<i64, String> = [(1, "apple"), (2, "pear, riper"), (3, "plum")]
        .map(|(id, name)| (id, name.to_owned()))
        .into();
    let mut before = None;
    for round in 0..3 {
        let store = Store::open(settings(dir.path())).unwrap();
        assert_eq!(fruit(&store), wanted, "round {round}");
        assert!(store.table("gone").is_none());
        assert_eq!(store.tables().len(), 1);
        let id = store.table("fruit").unwrap().id;
        let digests = crate::common::digests(&store, id);
        assert_eq!(*before.get_or_insert_with(|| digests.clone()), digests);
        let format = fs::read_to_string(dir.path().join("FORMAT")).unwrap();
        assert_eq!(format.trim(), "netabase-store 3");
        if round == 1 {
            store.flush_to_segments().unwrap();
            assert!(store.stats().segments > 0);
        }
        store.close().unwrap();
    }
    let report = Store::check(settings(dir.path()), |_, _| {}).unwrap();
    assert_eq!((report.problems, report.rows), (Vec::new(), 3));
}

/// The tables of `fixtures/format-3` whose rows in the log are compressed.
const PACKED: [(&str, Codec); 2] = [("zstd", Codec::Zstd(1)), ("lz4", Codec::Lz4)];

/// Writes `fixtures/format-3` anew. Only for a format that was never released:
/// `cargo test -p netabase-store --test store -- --ignored format_3_is_written`
#[test]
#[ignore = "writes the fixture that the next test reads"]
fn format_3_is_written() {
    let to = fixture("format-3");
    let _ = fs::remove_dir_all(&to);
    let store = Store::open(settings(&to)).unwrap();
    let def = table("fruit", 2);
    store.put_table(def.clone()).unwrap();
    upsert(&store, &def, &(0..40).collect::<Vec<_>>(), 5);
    store.flush_to_segments().unwrap();
    upsert(&store, &def, &[3, 100], 7);
    for (name, codec) in PACKED {
        let mut def = table(name, 1);
        def.options.codec = Some(codec);
        store.put_table(def.clone()).unwrap();
        upsert(&store, &def, &(0..2000).collect::<Vec<_>>(), 8);
        let gone = batches(&def, Change::Delete, &[1, 2], &stamp(9, "a"));
        store.write(gone).unwrap();
    }
    store.close().unwrap();
    fs::remove_file(to.join("LOCK")).unwrap();
}

#[test]
fn format_3_is_read() {
    let dir = tempfile::tempdir().unwrap();
    copy(&fixture("format-3"), dir.path());
    let log = fs::metadata(dir.path().join("log/000002.log")).unwrap();
    assert!(log.len() < 64 << 10, "its rows are compressed");
    let store = Store::open(settings(dir.path())).unwrap();
    let fruit = store.table("fruit").unwrap();
    let wanted: Vec<i64> = (0..40).chain([100]).collect();
    assert_eq!(ids(&store, fruit.id), wanted);
    let wanted: Vec<i64> = [0].into_iter().chain(3..2000).collect();
    for (name, codec) in PACKED {
        let def = store.table(name).unwrap();
        assert_eq!(def.options.codec, Some(codec));
        assert_eq!(ids(&store, def.id), wanted, "{name}");
        assert_eq!(live(&store, def.id)[&7], "row 7 written at version 8");
    }
    store.close().unwrap();
    let report = Store::check(settings(dir.path()), |_, _| {}).unwrap();
    assert_eq!((report.problems, report.rows), (Vec::new(), 41 + 2 * 1998));
}

#[test]
fn format_2_is_read() {
    let dir = tempfile::tempdir().unwrap();
    copy(&fixture("format-2"), dir.path());
    let store = Store::open(settings(dir.path())).unwrap();
    let def = store.table("fruit").unwrap();
    assert_eq!(def.options.revision, 1);
    let wanted: Vec<i64> = [0].into_iter().chain(3..40).chain(100..=102).collect();
    assert_eq!(ids(&store, def.id), wanted);
    let rows = live(&store, def.id);
    let version = |id: i64, version: u64| {
        assert_eq!(rows[&id], format!("row {id} written at version {version}"));
    };
    version(0, 5);
    version(3, 7);
    version(4, 9);
    version(101, 8);
    assert_eq!(store.report().checkpoint, Some(3));
    assert!(store.stats().segments >= 4);
    // The digests of this release's own making.
    let digests: Vec<String> = crate::common::digests(&store, def.id)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(digests, DIGESTS);
    store.close().unwrap();
    let report = Store::check(settings(dir.path()), |_, _| {}).unwrap();
    assert_eq!((report.problems, report.rows), (Vec::new(), 41));
}

/// Of the two shards: the same in every release.
const DIGESTS: [&str; 2] = ["671517d3e2aa53be", "96e3eec1f3499bc4"];
