//! Records, strangers' folders, damage, and indexes that are in use.

use super::*;
use crate::backend::Batch;

const CACHE: u64 = 4 << 20;
const ON_DISK: [BackendKind; 3] = [BackendKind::Sled, BackendKind::Sqlite, BackendKind::Redb];

fn put(backend: &dyn Backend, value: &[u8]) {
    let mut batch = Batch::new();
    batch.put("map", b"key", value);
    backend.apply(batch).unwrap();
    backend.flush().unwrap();
}

/// A data folder with an index that holds one entry.
fn made(kind: BackendKind) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("index");
    let (backend, moved) = open(kind, &folder, CACHE).unwrap();
    assert!(!moved);
    put(&*backend, b"value");
    (dir, folder)
}

fn overwrite(folder: &Path, bytes: &dyn Fn(usize) -> Vec<u8>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let len = fs::metadata(&path).unwrap().len() as usize;
            fs::write(&path, bytes(len)).unwrap();
        }
    }
}

#[test]
fn backend_that_made_the_index_is_kept_apart_from_others() {
    for kind in ON_DISK {
        let (dir, folder) = made(kind);
        let name = fs::read_to_string(folder.join(RECORD)).unwrap();
        assert_eq!(name, format!("{kind}\n"));
        for other in ON_DISK.into_iter().filter(|other| *other != kind) {
            let error = open(other, &folder, CACHE).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            let wanted = format!(
                "the index of data folder {} was made with {kind}, and {other} was asked for: open \
                 it with backend = {kind}, or run `netabase repair --backend {other}` to rebuild \
                 the index",
                dir.path().display()
            );
            assert_eq!(error.to_string(), wanted);
        }
        // The one in memory leaves the folder alone.
        open(BackendKind::Memory, &folder, CACHE).unwrap();
        let (backend, moved) = open(kind, &folder, CACHE).unwrap();
        assert!(!moved);
        assert_eq!(backend.get("map", b"key").unwrap().unwrap(), b"value");
    }
}

#[test]
fn backend_without_a_record_is_told_by_its_files() {
    for kind in ON_DISK {
        for record in [None, Some(&b"sled"[..]), Some(b""), Some(&[0xa5; 6])] {
            let (_dir, folder) = made(kind);
            fs::remove_file(folder.join(RECORD)).unwrap();
            if let Some(record) = record {
                fs::write(folder.join(RECORD), record).unwrap();
            }
            assert_eq!(made_with(&folder).unwrap(), Some(kind));
            let (backend, moved) = open(kind, &folder, CACHE).unwrap();
            assert!(!moved && backend.get("map", b"key").unwrap().is_some());
            assert_eq!(
                plain_name(&fs::read(folder.join(RECORD)).unwrap()),
                Some(kind.name())
            );
        }
    }
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(made_with(&dir.path().join("index")).unwrap(), None);
}

#[test]
fn backend_of_a_later_release_is_not_overwritten() {
    let (_dir, folder) = made(BackendKind::Redb);
    fs::write(folder.join(RECORD), "fjall\n").unwrap();
    let error = open(BackendKind::Redb, &folder, CACHE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("fjall"), "{error}");
}

#[test]
fn backend_files_that_are_damaged_are_moved_aside() {
    let damages: [&dyn Fn(usize) -> Vec<u8>; 4] = [
        &|len| vec![0xa5; len],
        &|_| b"garbage".to_vec(),
        &|len| (0..len).map(|at| (at * 31 % 251) as u8).collect(),
        &|len| vec![0; len],
    ];
    for kind in ON_DISK {
        for (number, damage) in damages.iter().enumerate() {
            let (dir, folder) = made(kind);
            overwrite(&folder, damage);
            let (backend, moved) = open(kind, &folder, CACHE).unwrap();
            // What the library takes for an empty file of its own is no damage to it.
            assert!(
                moved || backend.maps().unwrap().is_empty(),
                "{kind} {number}"
            );
            assert_eq!(dir.path().join("index.broken").exists(), moved);
            put(&*backend, b"again");
            drop(backend);
            let (backend, moved) = open(kind, &folder, CACHE).unwrap();
            assert!(!moved);
            assert_eq!(backend.get("map", b"key").unwrap().unwrap(), b"again");
        }
    }
}

#[test]
fn backend_damage_found_later_is_corrupt_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let sqlite = SqliteBackend::open(folder, CACHE).unwrap();
    for number in 0..2000u32 {
        let mut batch = Batch::new();
        batch.put("map", number.to_be_bytes(), [7; 100]);
        sqlite.apply(batch).unwrap();
    }
    sqlite.flush().unwrap();
    drop(sqlite);
    let file = folder.join(sqlite_backend::FILE);
    let mut bytes = fs::read(&file).unwrap();
    // All but the first pages, which are read on open.
    bytes[3 * 4096..].fill(0xa5);
    fs::write(&file, bytes).unwrap();
    let sqlite = SqliteBackend::open(folder, CACHE).unwrap();
    let error = sqlite.range("map", &[], None, usize::MAX).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("netabase repair"), "{error}");
}

#[test]
fn backend_in_use_is_unavailable_and_left_alone() {
    for kind in [BackendKind::Sqlite, BackendKind::Redb] {
        let (dir, folder) = made(kind);
        let (held, _) = open(kind, &folder, CACHE).unwrap();
        let error = open(kind, &folder, CACHE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(!dir.path().join("index.broken").exists());
        put(&*held, b"still works");
    }
}

#[test]
fn backend_that_was_killed_has_what_was_flushed() {
    for kind in ON_DISK {
        let (_dir, folder) = made(kind);
        let (backend, _) = open(kind, &folder, CACHE).unwrap();
        put(&*backend, b"flushed");
        let mut batch = Batch::new();
        batch.put("late", b"1", b"value");
        batch.put("late", b"2", b"value");
        backend.apply(batch).unwrap();
        // The files as they are, without a close: what a killed process leaves.
        let killed = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs::copy(&path, killed.path().join(path.file_name().unwrap())).unwrap();
            }
        }
        let (found, moved) = open(kind, killed.path(), CACHE).unwrap();
        assert!(!moved, "{kind}");
        assert_eq!(found.get("map", b"key").unwrap().unwrap(), b"flushed");
        let late = found.range("late", &[], None, 9).unwrap().len();
        assert!(late == 0 || late == 2, "{kind}: {late}");
        assert!(late == 2 || kind != BackendKind::Sqlite);
    }
}
