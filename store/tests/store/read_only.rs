//! A folder that is only read: by many at once, and never changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use netabase_store::{Change, ErrorKind, Settings, Store};

use crate::common::{batches, digests, ids, open, settings, stamp, table, upsert};

fn read_only(dir: &Path) -> Settings {
    Settings {
        read_only: true,
        ..settings(dir)
    }
}

/// Every file below a folder, and its bytes.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.insert(path.clone(), Vec::new());
            all.extend(contents(&path));
        } else {
            let bytes = fs::read(&path).unwrap();
            all.insert(path, bytes);
        }
    }
    all
}

#[test]
fn two_readers_see_everything_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let def = table("t", 2);
    let store = open(dir.path());
    store.put_table(def.clone()).unwrap();
    upsert(&store, &def, &(0..100).collect::<Vec<_>>(), 5);
    store.flush_to_segments().unwrap();
    upsert(&store, &def, &[7, 500], 6);
    let wanted = (ids(&store, def.id), digests(&store, def.id));
    store.close().unwrap();
    // A torn tail is not cut off, and a stray segment not removed.
    let log = crate::common::last_log_file(dir.path());
    let mut bytes = fs::read(&log).unwrap();
    bytes.extend([7; 30]);
    fs::write(&log, bytes).unwrap();
    let stray = dir.path().join("segments/00/0");
    fs::create_dir_all(&stray).unwrap();
    fs::write(stray.join("000000000099.idx"), "x").unwrap();

    let before = contents(dir.path());
    let one = Store::open(read_only(dir.path())).unwrap();
    let two = Store::open(read_only(dir.path())).unwrap();
    for reader in [&one, &two] {
        assert_eq!((ids(reader, def.id), digests(reader, def.id)), wanted);
        let writes = [
            reader
                .write(batches(&def, Change::Upsert, &[1], &stamp(9, "a")))
                .map(|_| ()),
            reader.put_table(table("u", 1)).map(|_| ()),
            reader.checkpoint(),
            reader.compact(def.id),
            reader.meta_put("peers", b"k", b"v"),
            reader.meta_delete("peers", b"k"),
        ];
        for written in writes {
            let error = written.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert!(error.to_string().contains("read only"), "{error}");
        }
        assert_eq!(reader.meta_get("peers", b"k").unwrap(), None);
        assert_eq!(ids(reader, def.id), wanted.0);
    }
    one.close().unwrap();
    two.close().unwrap();
    assert_eq!(contents(dir.path()), before);
}

#[test]
fn a_writer_and_a_reader_exclude_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let in_use = |settings: Settings| {
        let error = Store::open(settings).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let text = error.to_string();
        assert!(text.contains("in use"), "{text}");
        assert!(text.contains(dir.path().to_str().unwrap()), "{text}");
    };
    let writer = open(dir.path());
    in_use(read_only(dir.path()));
    writer.close().unwrap();
    let reader = Store::open(read_only(dir.path())).unwrap();
    in_use(settings(dir.path()));
    reader.close().unwrap();
    open(dir.path()).close().unwrap();
}

#[test]
fn a_folder_that_is_not_there_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["nothing", "."] {
        let folder = dir.path().join(name);
        let error = Store::open(read_only(&folder)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    let nowhere = Settings {
        read_only: true,
        ..Settings::default()
    };
    let error = Store::open(nowhere).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}
