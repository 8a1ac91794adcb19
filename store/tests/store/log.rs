//! Torn tails are cut off, damage is reported, and the index is only an index.

use std::fs;
use std::path::Path;

use netabase_store::{BackendKind, Durability, ErrorKind, Settings, Store};

use crate::common::{digests, ids, last_log_file, open, settings, table, upsert};

/// A closed store with rows 0..writes, one write each. Gives the length of the log after each, but for
/// zeros that are written ahead.
fn written(dir: &Path, writes: i64) -> Vec<u64> {
    let store = open(dir);
    let def = table("t", 2);
    store.put_table(def.clone()).unwrap();
    let mut lengths = Vec::new();
    for id in 0..writes {
        upsert(&store, &def, &[id], 10 + id as u64);
        lengths.push(24 + store.stats().bytes_logged);
    }
    store.close().unwrap();
    lengths
}

#[test]
fn a_tail_torn_at_any_byte_loses_only_the_last_frame() {
    let dir = tempfile::tempdir().unwrap();
    let lengths = written(dir.path(), 3);
    let file = last_log_file(dir.path());
    let bytes = fs::read(&file).unwrap();
    let def = table("t", 2);
    assert_eq!(*lengths.last().unwrap(), bytes.len() as u64);
    // The index does not matter here, and opening sled two thousand times takes long.
    let quick = Settings {
        backend: BackendKind::Memory,
        ..settings(dir.path())
    };
    for cut in lengths[1]..lengths[2] {
        fs::write(&file, &bytes[..cut as usize]).unwrap();
        let store = Store::open(quick.clone()).unwrap();
        let torn = store.report().torn_tail.clone();
        if cut == lengths[1] {
            assert_eq!(torn, None);
        } else {
            let torn = torn.unwrap();
            assert_eq!((torn.offset, torn.bytes), (lengths[1], cut - lengths[1]));
        }
        assert_eq!(ids(&store, def.id), [0, 1]);
        upsert(&store, &def, &[7], 100);
        store.close().unwrap();
        assert_eq!(ids(&Store::open(quick.clone()).unwrap(), def.id), [0, 1, 7]);
    }
}

/// Zeros are written ahead of single rows, and are there after a kill, but not after a close.
#[test]
fn zeros_ahead_are_cut_off_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let def = table("t", 2);
    let store = open(dir.path());
    store.put_table(def.clone()).unwrap();
    for id in 0..40 {
        upsert(&store, &def, &[id], 10);
    }
    let file = last_log_file(dir.path());
    let killed = fs::read(&file).unwrap();
    store.close().unwrap();
    let closed = fs::read(&file).unwrap();
    let zeros = killed.len() - closed.len();
    assert!(zeros > 1000, "{zeros}");
    assert_eq!(killed, [&closed[..], &vec![0; zeros]].concat());
    for more in [0, 20] {
        let copy = tempfile::tempdir().unwrap();
        fs::create_dir(copy.path().join("log")).unwrap();
        fs::copy(dir.path().join("FORMAT"), copy.path().join("FORMAT")).unwrap();
        let there = copy.path().join("log").join(file.file_name().unwrap());
        fs::write(&there, &killed).unwrap();
        let store = open(copy.path());
        assert_eq!(store.report().torn_tail, None);
        assert_eq!(store.report().zeros_ahead, zeros as u64);
        assert_eq!(fs::metadata(&there).unwrap().len(), closed.len() as u64);
        assert_eq!(ids(&store, def.id), (0..40).collect::<Vec<i64>>());
        for id in 40..40 + more {
            upsert(&store, &def, &[id], 100 + id as u64);
        }
        store.close().unwrap();
        let store = open(copy.path());
        assert!(store.report().clean);
        assert_eq!(store.report().zeros_ahead, 0);
        assert_eq!(ids(&store, def.id), (0..40 + more).collect::<Vec<i64>>());
    }
}

#[test]
fn a_torn_file_header_opens() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 3);
    for len in 0..24 {
        let next = dir.path().join("log/000002.log");
        let header = fs::read(last_log_file(dir.path())).unwrap();
        fs::write(&next, &header[..len]).unwrap();
        let store = open(dir.path());
        assert_eq!(ids(&store, table("t", 2).id), [0, 1, 2]);
        assert_eq!(store.report().torn_tail.as_ref().unwrap().bytes, len as u64);
        store.close().unwrap();
        fs::remove_file(&next).unwrap();
        fs::remove_dir_all(dir.path().join("index")).unwrap();
    }
    let only = dir.path().join("log/000001.log");
    fs::write(&only, b"NETA").unwrap();
    assert!(open(dir.path()).tables().is_empty());
}

#[test]
fn a_flipped_bit_in_the_middle_is_damage_and_nothing_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let lengths = written(dir.path(), 4);
    let file = last_log_file(dir.path());
    let bytes = fs::read(&file).unwrap();
    for at in [
        3,
        24,
        30,
        60,
        lengths[0] + 2,
        lengths[1] + 5,
        lengths[2] - 1,
    ] {
        let mut damaged = bytes.clone();
        damaged[at as usize] ^= 16;
        fs::write(&file, &damaged).unwrap();
        let error = Store::open(settings(dir.path())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}: {error}");
        assert!(error.to_string().contains("000001.log"), "{error}");
        assert_eq!(fs::read(&file).unwrap(), damaged);
    }
    fs::write(&file, &bytes).unwrap();
    assert_eq!(ids(&open(dir.path()), table("t", 2).id), [0, 1, 2, 3]);
}

#[test]
fn a_flipped_bit_or_zeros_in_the_last_frame_of_a_closed_store_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let lengths = written(dir.path(), 4);
    open(dir.path()).close().unwrap();
    let file = last_log_file(dir.path());
    let bytes = fs::read(&file).unwrap();
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 16;
    let mut zeroed = bytes.clone();
    zeroed[lengths[2] as usize..].fill(0);
    for damaged in [flipped, zeroed] {
        fs::write(&file, &damaged).unwrap();
        let error = Store::open(settings(dir.path())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert_eq!(fs::read(&file).unwrap(), damaged, "nothing is cut");
    }
    fs::write(&file, &bytes).unwrap();
    assert_eq!(ids(&open(dir.path()), table("t", 2).id), [0, 1, 2, 3]);
}

#[test]
fn damage_in_an_earlier_file_and_missing_files_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    let small = Settings {
        log_file_bytes: 4096,
        ..settings(dir.path())
    };
    let def = table("t", 1);
    let store = Store::open(small.clone()).unwrap();
    store.put_table(def.clone()).unwrap();
    for id in 0..20 {
        upsert(&store, &def, &[id], 10);
    }
    store.close().unwrap();
    let first = dir.path().join("log/000001.log");
    let second = dir.path().join("log/000002.log");
    let last = last_log_file(dir.path());
    assert!(last > second);

    let bytes = fs::read(&first).unwrap();
    fs::write(&first, &bytes[..bytes.len() - 1]).unwrap();
    let error = Store::open(small.clone()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    fs::write(&first, &bytes).unwrap();

    for file in [&first, &second, &last] {
        let bytes = fs::read(file).unwrap();
        fs::remove_file(file).unwrap();
        let error = Store::open(small.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains("missing"), "{error}");
        fs::write(file, bytes).unwrap();
    }
    assert_eq!(ids(&Store::open(small).unwrap(), def.id).len(), 20);
}

#[test]
fn relaxed_writes_are_protected_after_a_close() {
    let dir = tempfile::tempdir().unwrap();
    let relaxed = Settings {
        durability: Durability::Relaxed,
        ..settings(dir.path())
    };
    let def = table("t", 1);
    let store = Store::open(relaxed.clone()).unwrap();
    store.put_table(def.clone()).unwrap();
    for id in 0..5 {
        upsert(&store, &def, &[id], 10);
    }
    let middle = fs::metadata(last_log_file(dir.path())).unwrap().len() - 40;
    upsert(&store, &def, &[5], 10);
    store.close().unwrap();
    let file = last_log_file(dir.path());
    let mut bytes = fs::read(&file).unwrap();
    bytes[middle as usize] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let error = Store::open(relaxed.clone()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    bytes[middle as usize] ^= 1;
    fs::write(&file, &bytes).unwrap();
    assert_eq!(ids(&Store::open(relaxed).unwrap(), def.id).len(), 6);
}

#[test]
fn a_lost_or_damaged_index_is_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 5);
    let def = table("t", 2);
    let store = open(dir.path());
    assert!(!store.report().index_rebuilt && store.report().clean);
    let before = digests(&store, def.id);
    store.close().unwrap();

    let index = dir.path().join("index");
    let garble = |make: &dyn Fn(usize) -> Vec<u8>| {
        for entry in fs::read_dir(&index).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let len = fs::metadata(&path).unwrap().len() as usize;
                fs::write(&path, make(len)).unwrap();
            }
        }
    };
    let damages: [&dyn Fn(); 6] = [
        &|| fs::remove_dir_all(&index).unwrap(),
        &|| garble(&|len| vec![0xa5; len]),
        &|| garble(&|len| vec![0; len]),
        &|| garble(&|_| b"garbage".to_vec()),
        &|| garble(&|len| (0..len).map(|at| (at * 31 % 251) as u8).collect()),
        &|| {
            fs::remove_dir_all(&index).unwrap();
            fs::write(&index, b"a file").unwrap();
        },
    ];
    for (number, damage) in damages.iter().enumerate() {
        damage();
        let store = open(dir.path());
        assert!(store.report().index_rebuilt, "damage {number}");
        assert_eq!(ids(&store, def.id), [0, 1, 2, 3, 4]);
        assert_eq!(digests(&store, def.id), before);
        store.close().unwrap();
        let store = open(dir.path());
        assert!(!store.report().index_rebuilt, "after damage {number}");
    }
}

#[test]
fn a_checkpoint_keeps_rows_and_frees_space() {
    let dir = tempfile::tempdir().unwrap();
    let def = table("t", 2);
    let store = open(dir.path());
    store.put_table(def.clone()).unwrap();
    for version in 1..40 {
        upsert(&store, &def, &(0..50).collect::<Vec<_>>(), version);
    }
    let deleted = crate::common::batches(
        &def,
        netabase_store::Change::Delete,
        &[3, 4],
        &crate::common::stamp(99, "b"),
    );
    store.write(deleted).unwrap();
    let (rows, before) = (ids(&store, def.id), digests(&store, def.id));
    let long = store.stats().bytes_logged;
    store.checkpoint().unwrap();
    let short = fs::metadata(dir.path().join("checkpoints/000001.checkpoint")).unwrap();
    assert!(short.len() * 4 < long);
    assert!(!dir.path().join("log/000001.log").exists());
    upsert(&store, &def, &[1000], 1);
    store.close().unwrap();
    let store = open(dir.path());
    assert!(!store.report().index_rebuilt);
    let mut with_new = rows.clone();
    with_new.push(1000);
    assert_eq!(ids(&store, def.id), with_new);
    assert_ne!(digests(&store, def.id), before);
    store.checkpoint().unwrap();
    let digest = digests(&store, def.id);
    store.close().unwrap();
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let store = open(dir.path());
    assert_eq!(
        (ids(&store, def.id), digests(&store, def.id)),
        (with_new, digest)
    );
}

#[test]
fn a_crash_while_a_checkpoint_removes_old_files_is_harmless() {
    let dir = tempfile::tempdir().unwrap();
    let small = Settings {
        log_file_bytes: 4096,
        ..settings(dir.path())
    };
    let def = table("t", 1);
    let store = Store::open(small.clone()).unwrap();
    store.put_table(def.clone()).unwrap();
    for id in 0..20 {
        upsert(&store, &def, &[id], 10);
    }
    store.flush().unwrap();
    let old: Vec<_> = fs::read_dir(dir.path().join("log"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    assert!(old.len() > 3);
    store.checkpoint().unwrap();
    upsert(&store, &def, &[20], 10);
    store.close().unwrap();
    // Whichever of the old files are still there, and whatever state they are in.
    for left in 0..old.len() {
        for (path, bytes) in &old[left..] {
            fs::write(path, &bytes[..bytes.len() - left]).unwrap();
        }
        let store = Store::open(small.clone()).unwrap();
        assert_eq!(ids(&store, def.id), (0..21).collect::<Vec<_>>());
        assert!(old.iter().all(|(path, _)| !path.exists()));
        store.close().unwrap();
    }
}
