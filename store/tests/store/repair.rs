//! The index can be made anew, by any backend, without losing what the old one can tell.

use std::fs;
use std::path::Path;

use netabase_store::{BackendKind, ErrorKind, RepairReport, Settings, Store};

use crate::common::{digests, ids, settings, table, upsert};

fn with(dir: &Path, backend: BackendKind) -> Settings {
    Settings {
        backend,
        ..settings(dir)
    }
}

fn repair(dir: &Path, backend: BackendKind) -> RepairReport {
    let mut seen = Vec::new();
    let report = Store::repair(with(dir, backend), |done, all| seen.push((done, all))).unwrap();
    assert!(seen.last().is_some_and(|(done, all)| done == all));
    assert_eq!(report.backend, backend);
    report
}

/// A store with rows and small state, closed.
fn written(dir: &Path, backend: BackendKind) {
    let store = Store::open(with(dir, backend)).unwrap();
    let def = table("t", 2);
    store.put_table(def.clone()).unwrap();
    upsert(&store, &def, &[1, 2, 3], 5);
    for number in 0..200u32 {
        store
            .meta_put("peers", &number.to_be_bytes(), &[number as u8; 50])
            .unwrap();
    }
    store.meta_put("hints", b"", b"empty key").unwrap();
    store.close().unwrap();
}

#[test]
fn from_backend_to_backend_rows_and_small_state_are_kept() {
    use BackendKind::{Memory, Redb, Sled, Sqlite};
    let dir = tempfile::tempdir().unwrap();
    let def = table("t", 2);
    written(dir.path(), Sled);
    let store = Store::open(settings(dir.path())).unwrap();
    let before = digests(&store, def.id);
    store.close().unwrap();

    let mut on_disk = Sled;
    for kind in [Sqlite, Redb, Memory, Sled, Sled] {
        let report = repair(dir.path(), kind);
        assert_eq!(report.unread, Vec::<String>::new());
        assert_eq!((report.opened.rows, report.opened.tables), (3, 1));
        if kind != Memory {
            assert_eq!((report.previous, report.copied), (Some(on_disk), 201));
            assert_eq!(report.moved_to, Some(dir.path().join("index.broken")));
            assert!(report.opened.index_rebuilt && report.opened.clean);
            on_disk = kind;
        }
        assert!(!dir.path().join("index.new").exists());
        let store = Store::open(with(dir.path(), kind)).unwrap();
        assert_eq!(store.report().index_rebuilt, kind == Memory);
        assert_eq!(ids(&store, def.id), [1, 2, 3]);
        assert_eq!(digests(&store, def.id), before);
        // The one in memory knows no small state, and leaves that on disk as it is.
        if kind != Memory {
            let peers = store.meta_scan("peers", &[], None, 999).unwrap();
            assert_eq!(peers.len(), 200);
            assert_eq!(peers[7].1, [7; 50]);
            assert_eq!(store.meta_get("hints", b"").unwrap().unwrap(), b"empty key");
        }
        store.close().unwrap();
    }
}

#[test]
fn another_backend_is_refused_until_the_index_is_repaired() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), BackendKind::Redb);
    let error = Store::open(with(dir.path(), BackendKind::Sqlite)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let text = error.to_string();
    assert!(
        text.contains("was made with redb, and sqlite was asked for"),
        "{text}"
    );
    repair(dir.path(), BackendKind::Sqlite);
    Store::open(with(dir.path(), BackendKind::Sqlite)).unwrap();
}

#[test]
fn a_garbled_index_is_repaired() {
    for kind in [BackendKind::Sled, BackendKind::Sqlite, BackendKind::Redb] {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path(), kind);
        let index = dir.path().join("index");
        for entry in fs::read_dir(&index).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() && !path.ends_with("BACKEND") {
                let len = fs::metadata(&path).unwrap().len() as usize;
                fs::write(&path, vec![0xa5; len]).unwrap();
            }
        }
        let report = repair(dir.path(), BackendKind::Redb);
        assert_eq!((report.previous, report.copied), (Some(kind), 0));
        assert_eq!(report.unread.len(), 1, "{report:?}");
        assert!(report.opened.index_rebuilt);
        let store = Store::open(with(dir.path(), BackendKind::Redb)).unwrap();
        assert!(!store.report().index_rebuilt);
        assert_eq!(ids(&store, table("t", 2).id), [1, 2, 3]);
    }
}

#[test]
fn a_lost_index_and_one_of_a_later_release_are_repaired() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), BackendKind::Sled);
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let report = repair(dir.path(), BackendKind::Sqlite);
    assert_eq!((report.previous, report.moved_to), (None, None));
    fs::write(dir.path().join("index").join("BACKEND"), "fjall\n").unwrap();
    let report = repair(dir.path(), BackendKind::Sqlite);
    assert_eq!(report.previous, None);
    assert!(report.unread[0].contains("fjall"), "{report:?}");
    assert!(report.moved_to.is_some());
}

#[test]
fn a_missing_log_file_is_still_noticed_after_a_repair() {
    let dir = tempfile::tempdir().unwrap();
    let small = Settings {
        log_file_bytes: 4 << 10,
        ..settings(dir.path())
    };
    let store = Store::open(small).unwrap();
    let def = table("t", 1);
    store.put_table(def.clone()).unwrap();
    for id in 0..200 {
        upsert(&store, &def, &[id], 5);
    }
    store.close().unwrap();
    fs::remove_file(crate::common::last_log_file(dir.path())).unwrap();
    for _ in 0..2 {
        let settings = with(dir.path(), BackendKind::Sqlite);
        let error = Store::repair(settings, |_, _| {}).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn what_is_no_closed_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("nothing here");
    let refused = |settings: Settings| Store::repair(settings, |_, _| {}).unwrap_err().kind();
    assert_eq!(refused(settings(&missing)), ErrorKind::NotFound);
    assert!(!missing.exists());
    assert_eq!(refused(Settings::default()), ErrorKind::InvalidInput);
    let store = Store::open(settings(dir.path())).unwrap();
    let sqlite = with(dir.path(), BackendKind::Sqlite);
    assert_eq!(refused(sqlite.clone()), ErrorKind::Unavailable);
    store.close().unwrap();
    Store::repair(sqlite, |_, _| {}).unwrap();
}
