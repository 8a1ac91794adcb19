//! The bodies of the fuzz targets: whatever the bytes, no panic, no abort, no unbounded memory.
//!
//! The store's tests include this file, too, and run every target over seeded mutations of valid
//! files, so that continuous integration covers them without libFuzzer.

use std::cell::OnceCell;
use std::path::Path;

use netabase_store::{BackendKind, Settings, Store, TableDef, fuzzing};

thread_local! {
    /// One folder for all runs of a thread: making one takes longer than opening it.
    static FOLDER: OnceCell<tempfile::TempDir> = const { OnceCell::new() };
}

/// A store's log file: as it is, then as frames with good checksums.
pub fn log_file(bytes: &[u8]) {
    open_with(&[("log/000001.log", bytes)]);
    let framed = fuzzing::file_of_frames(false, &frames(bytes));
    open_with(&[("log/000001.log", &framed)]);
}

/// A store's checkpoint: as it is, then as frames with good checksums.
pub fn checkpoint_file(bytes: &[u8]) {
    let log = fuzzing::file_of_frames(false, &[]);
    let log = ("log/000001.log", log.as_slice());
    open_with(&[("checkpoints/000001.checkpoint", bytes), log]);
    let framed = fuzzing::file_of_frames(true, &frames(bytes));
    open_with(&[("checkpoints/000001.checkpoint", &framed), log]);
}

/// A backup in one file: as it is, then with files and a manifest whose checksums are right.
pub fn backup_file(bytes: &[u8]) {
    restore(bytes);
    let (mut files, mut manifest) = (Vec::new(), Vec::new());
    for (kind, payload) in frames(bytes) {
        if kind == MANIFEST {
            manifest = payload;
            continue;
        }
        let end = payload.iter().position(|byte| *byte == b'\n');
        let (name, contents) = payload.split_at(end.unwrap_or(payload.len()));
        let contents = contents.get(1..).unwrap_or_default();
        files.push((
            String::from_utf8_lossy(name).into_owned(),
            contents.to_vec(),
        ));
    }
    restore(&fuzzing::archive(&files, &manifest));
}

/// The bytes that `backup_file` takes for these files and this manifest.
pub fn packed_backup(files: &[(String, Vec<u8>)], manifest: &[u8]) -> Vec<u8> {
    let file = |(name, contents): &(String, Vec<u8>)| {
        let name = name.bytes().chain([b'\n']);
        (MANIFEST + 1, name.chain(contents.iter().copied()).collect())
    };
    let manifest = (MANIFEST, manifest.to_vec());
    let all = files.iter().map(file).chain([manifest]);
    packed(&all.collect::<Vec<_>>())
}

/// The kind of the part that is a manifest; the others are files: name, line feed, contents.
const MANIFEST: u8 = 0;

/// The index file of a segment.
pub fn segment_index(bytes: &[u8]) {
    fuzzing::decode_index(bytes);
}

/// A table definition. What is understood keeps its meaning.
pub fn table_definition(bytes: &[u8]) {
    if let Ok(def) = TableDef::from_bytes(bytes) {
        let again = def
            .to_bytes()
            .and_then(|bytes| TableDef::from_bytes(&bytes));
        assert_eq!(again.ok().as_ref(), Some(&def));
    }
}

/// The payload of a write in the log.
pub fn payload(bytes: &[u8]) {
    fuzzing::decode_payload(bytes);
}

/// Cuts bytes into frames: kind, length in two bytes, payload.
pub fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [kind, low, high, rest @ ..] = bytes {
        let len = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (payload, after) = rest.split_at(len);
        frames.push((*kind, payload.to_vec()));
        bytes = after;
    }
    frames
}

/// The bytes that `frames` cuts into these; payloads that are too long are shortened.
pub fn packed(frames: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, payload) in frames {
        let len = u16::try_from(payload.len()).unwrap_or(u16::MAX);
        bytes.push(*kind);
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(&payload[..usize::from(len)]);
    }
    bytes
}

/// Opens a store with just these files, and reads what it holds.
fn open_with(files: &[(&str, &[u8])]) {
    FOLDER.with(|folder| {
        let folder = folder.get_or_init(|| tempfile::tempdir().expect("a folder for the store"));
        for part in ["log", "checkpoints", "segments"] {
            let _ = std::fs::remove_dir_all(folder.path().join(part));
            std::fs::create_dir_all(folder.path().join(part)).expect("a folder of the store");
        }
        for (name, bytes) in files {
            std::fs::write(folder.path().join(name), bytes).expect("a file of the store");
        }
        open_and_read(folder.path());
    });
}

/// Restores a backup in one file, and reads what came of it.
fn restore(archive: &[u8]) {
    FOLDER.with(|folder| {
        let folder = folder.get_or_init(|| tempfile::tempdir().expect("a folder for the store"));
        let (from, to) = (folder.path().join("backup"), folder.path().join("restored"));
        let _ = std::fs::remove_dir_all(&to);
        std::fs::write(&from, archive).expect("a backup");
        if Store::restore(&from, &to, None, |_, _| {}).is_ok() {
            open_and_read(&to);
        }
    });
}

fn open_and_read(folder: &Path) {
    let opened = Store::open(Settings {
        data_dir: Some(folder.to_owned()),
        backend: BackendKind::Memory,
        background: false,
        ..Settings::default()
    });
    let Ok(store) = opened else { return };
    for def in store.all_tables() {
        for shard in 0..def.shards.min(4) {
            let _ = store.export_shard(def.id, shard);
        }
    }
    let _ = store.close();
}
