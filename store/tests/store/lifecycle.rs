//! Folders, tables and handles from beginning to end.

use std::fs;
use std::sync::Arc;

use netabase_store::{
    Author, Components, ErrorKind, MemoryBackend, Settings, Store, TableId, Version,
};

use crate::common::{ids, open, settings, table, upsert};

#[test]
fn a_folder_has_one_user_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let error = Store::open(settings(dir.path())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let process = format!("in use by another process (process {})", std::process::id());
    assert!(error.to_string().contains(&process), "{error}");
    drop(store);
    open(dir.path()).close().unwrap();
    open(dir.path());
}

#[test]
fn a_newer_format_is_refused_and_garbage_too() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).close().unwrap();
    let format = dir.path().join("FORMAT");
    fs::write(&format, "netabase-store 4\n").unwrap();
    let error = Store::open(settings(dir.path())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let text = error.to_string();
    assert!(
        text.contains("newer netabase") && text.contains("format 4"),
        "{text}"
    );
    fs::write(&format, "something").unwrap();
    let error = Store::open(settings(dir.path())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn a_closed_store_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let def = table("t", 1);
    store.put_table(def.clone()).unwrap();
    let other = store.clone();
    store.close().unwrap();
    store.close().unwrap();
    let batches = crate::common::batches(
        &def,
        netabase_store::Change::Upsert,
        &[1],
        &crate::common::stamp(1, "a"),
    );
    let kinds = [
        other.write(batches).unwrap_err().kind(),
        other.put_table(table("u", 1)).unwrap_err().kind(),
        other.snapshot(def.id).unwrap_err().kind(),
        other.shard_stats(def.id).unwrap_err().kind(),
        other.export_shard(def.id, 0).unwrap_err().kind(),
        other.meta_get("peers", b"k").unwrap_err().kind(),
        other.flush().unwrap_err().kind(),
        other.checkpoint().unwrap_err().kind(),
    ];
    assert!(kinds.iter().all(|kind| *kind == ErrorKind::Unavailable));
    assert_eq!(open(dir.path()).tables().len(), 1);
}

#[test]
fn dropping_frees_rows_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let def = table("t", 2);
    assert!(store.put_table(def.clone()).unwrap());
    assert!(!store.put_table(def.clone()).unwrap());
    upsert(&store, &def, &(0..5000).collect::<Vec<_>>(), 5);
    assert!(store.stats().memory_bytes > 100_000);
    let mut dropped = def.clone();
    dropped.dropped = Some(Version(9));
    assert!(store.put_table(dropped.clone()).unwrap());
    assert!(!store.put_table(def.clone()).unwrap());
    assert_eq!(store.stats().memory_bytes, 0);
    assert_eq!(store.stats().rows, 0);
    assert!(store.table("t").is_none() && store.tables().is_empty());
    assert_eq!(*store.table_by_id(def.id).unwrap(), dropped);
    assert_eq!(store.all_tables().len(), 1);
    assert_eq!(
        store.snapshot(def.id).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    store.close().unwrap();
    let store = open(dir.path());
    assert!(store.table("t").is_none());
    assert_eq!(store.stats().memory_bytes, 0);

    let mut again = def.clone();
    again.id = TableId::derive(&[b"another"]);
    store.put_table(again.clone()).unwrap();
    upsert(&store, &again, &[1], 5);
    assert_eq!(ids(&store, again.id), [1]);
}

#[test]
fn the_order_of_definitions_does_not_matter() {
    let base = table("t", 1);
    let mut later = base.clone();
    later.attachment = vec![2];
    let mut earlier = base.clone();
    earlier.attachment = vec![1, 9];
    let mut shadowed = base.clone();
    shadowed.id = TableId([255; 16]);
    shadowed.created = Version(5);
    let all = [base, later.clone(), earlier, shadowed.clone()];
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]] {
        let store = Store::open(Settings::default()).unwrap();
        for index in order {
            store.put_table(all[index].clone()).unwrap();
        }
        assert_eq!(*store.table("t").unwrap(), later);
        assert_eq!(store.tables().len(), 1);
        assert_eq!(store.all_tables().len(), 2);
        let mut dropped = later.clone();
        dropped.dropped = Some(Version(10));
        store.put_table(dropped).unwrap();
        assert_eq!(*store.table("t").unwrap(), shadowed);
    }
    let store = Store::open(Settings::default()).unwrap();
    store.put_table(later.clone()).unwrap();
    let mut other_shape = later;
    other_shape.shards = 2;
    let error = store.put_table(other_shape).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

#[test]
fn small_state_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for key in 0..5u8 {
        store.meta_put("peers", &[key], &[key; 3]).unwrap();
    }
    store.meta_put("hints", &[1], b"hint").unwrap();
    store.meta_delete("peers", &[2]).unwrap();
    store.close().unwrap();
    let store = open(dir.path());
    assert_eq!(store.meta_get("peers", &[1]).unwrap().unwrap(), [1; 3]);
    assert!(store.meta_get("peers", &[2]).unwrap().is_none());
    let keys = |entries: Vec<(Vec<u8>, Vec<u8>)>| -> Vec<u8> {
        entries.into_iter().map(|(key, _)| key[0]).collect()
    };
    assert_eq!(
        keys(store.meta_scan("peers", &[], None, 99).unwrap()),
        [0, 1, 3, 4]
    );
    assert_eq!(
        keys(store.meta_scan("peers", &[1], Some(&[4]), 99).unwrap()),
        [1, 3]
    );
    assert_eq!(keys(store.meta_scan("peers", &[1], None, 1).unwrap()), [1]);
    let error = store.meta_put("", b"k", b"v").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let error = store.meta_put("m", b"k", &vec![0; 2 << 20]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn own_backend_and_progress() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let def = table("t", 1);
    store.put_table(def.clone()).unwrap();
    for id in 0..20 {
        upsert(&store, &def, &[id], 5);
    }
    store.close().unwrap();
    let mut seen = Vec::new();
    let components = Components {
        backend: Some(Arc::new(MemoryBackend::new())),
        ..Components::default()
    };
    let store = Store::open_with(settings(dir.path()), components, |done, total| {
        seen.push((done, total));
    })
    .unwrap();
    assert!(store.report().index_rebuilt);
    assert_eq!((store.report().frames, store.report().rows), (21, 20));
    assert!(seen.windows(2).all(|pair| pair[0].0 <= pair[1].0));
    let (done, total) = *seen.last().unwrap();
    assert!(done == total && total > 0);
}

#[test]
fn own_writes_win_over_what_was_seen() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let def = table("t", 1);
    store.put_table(def.clone()).unwrap();
    let ahead = store.clock().now().0 + (100_000 << 16);
    upsert(&store, &def, &[1], ahead);
    assert!(store.clock().now().0 > ahead);
    store.close().unwrap();
    let store = open(dir.path());
    assert!(store.clock().now().0 > ahead);
    let snapshot = store.snapshot(def.id).unwrap();
    let batch = &snapshot.shards[0].batches[0];
    assert_eq!(batch.version(0), Version(ahead));
    assert_eq!(batch.author(0), Some(&Author::from("a")));
    assert!(batch.author(1).is_none());
    assert_eq!(snapshot.shards[0].newest, Version(ahead));
}

#[test]
fn a_table_that_takes_the_place_of_another_one_is_seen_once_that_went_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let old = table("t", 1);
    let copy = |id: u8, unfinished: bool| {
        let mut copy = table("t", 1);
        copy.id = TableId([id; 16]);
        copy.created = Version(old.created.0 + u64::from(id));
        copy.options.rules.replaces = Some(old.id);
        copy.options.rules.unfinished = unfinished;
        copy
    };
    let (half, whole) = (copy(1, true), copy(2, true));
    for def in [&old, &half, &whole] {
        store.put_table(def.clone()).unwrap();
    }
    let seen = |store: &Store| store.table("t").map(|def| def.id);
    assert_eq!(seen(&store), Some(old.id));
    let mut dropped = old.clone();
    dropped.dropped = Some(Version(1 << 40));
    dropped.options.rules.replaced_by = Some(whole.id);
    store.put_table(dropped.clone()).unwrap();
    assert_eq!(seen(&store), Some(whole.id));
    assert_eq!(store.tables().len(), 1);
    store.close().unwrap();
    let store = open(dir.path());
    assert_eq!(seen(&store), Some(whole.id));
    assert_eq!(*store.table_by_id(old.id).unwrap(), dropped);
    assert!(store.table_by_id(half.id).unwrap().options.rules.unfinished);

    // Dropped for nobody: what was left behind stays unseen.
    let store = Store::open(Settings::default()).unwrap();
    dropped.options.rules.replaced_by = None;
    for def in [&old, &half, &dropped] {
        store.put_table(def.clone()).unwrap();
    }
    assert_eq!(seen(&store), None);
    // Before there was a word for it, a table was seen as soon as the other one was gone.
    let mut earlier = copy(3, false);
    store.put_table(earlier.clone()).unwrap();
    assert_eq!(seen(&store), Some(earlier.id));
    earlier.options.revision += 1;
    earlier.options.rules.unfinished = true;
    earlier.options.rules.replaces = None;
    store.put_table(earlier).unwrap();
    assert_eq!(seen(&store), None);
}
