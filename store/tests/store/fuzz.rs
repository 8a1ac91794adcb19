//! The fuzz targets, over random bytes and over valid files with random changes.

use std::path::Path;

use netabase_store::{
    BackendKind, BackupTarget, Change, Codec, ErrorKind, Settings, Store, fuzzing,
};

use crate::common::{Random, batches, repeats, settings, stamp, table, upsert};

#[allow(unreachable_pub, reason = "public in the package of the fuzz targets")]
#[path = "../../../fuzz/src/targets.rs"]
mod targets;

/// A target and its name.
type Target = (&'static str, fn(&[u8]));

/// Inputs of each target that opens a store; those that only decode get four times as many.
const RUNS: u64 = 300;

fn runs() -> u64 {
    repeats("NETABASE_FUZZ_RUNS", RUNS)
}

/// Valid files of a small store: its log and its checkpoint.
fn valid_files(root: &Path) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let quiet = Settings {
        backend: BackendKind::Memory,
        background: false,
        ..settings(root)
    };
    let store = Store::open(quiet).unwrap();
    let def = table("t", 2);
    store.put_table(def.clone()).unwrap();
    upsert(&store, &def, &[1, 2, 3], 10);
    let deleted = batches(&def, Change::Delete, &[2], &stamp(20, "b"));
    store.write(deleted).unwrap();
    let log = std::fs::read(root.join("log/000001.log")).unwrap();
    store.flush_to_segments().unwrap();
    upsert(&store, &def, &[4, 5], 30);
    store.checkpoint().unwrap();
    store.close().unwrap();
    let checkpoint = std::fs::read(root.join("checkpoints/000002.checkpoint")).unwrap();
    let mut folders = vec![root.join("segments")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "idx") {
                return (log, checkpoint, std::fs::read(path).unwrap());
            }
        }
    }
    panic!("no segment was made");
}

/// A backup in one file of a small store.
fn valid_backup(root: &Path) -> Vec<u8> {
    let quiet = Settings {
        backend: BackendKind::Memory,
        background: false,
        ..settings(&root.join("data"))
    };
    let store = Store::open(quiet).unwrap();
    let def = table("t", 2);
    store.put_table(def.clone()).unwrap();
    upsert(&store, &def, &[1, 2, 3], 10);
    store.flush_to_segments().unwrap();
    upsert(&store, &def, &[3, 4], 20);
    let to = root.join("backup.tar");
    let target = BackupTarget::File(to.clone());
    store.backup(target, None, |_, _| {}).unwrap();
    store.close().unwrap();
    std::fs::read(to).unwrap()
}

/// Writes the samples of a target where a fuzzer finds them, if it was asked for.
fn keep(target: &str, samples: &[Vec<u8>]) {
    let Ok(corpus) = std::env::var("NETABASE_FUZZ_CORPUS") else {
        return;
    };
    let folder = Path::new(&corpus).join(target);
    std::fs::create_dir_all(&folder).unwrap();
    for (number, sample) in samples.iter().enumerate() {
        std::fs::write(folder.join(format!("valid-{number}")), sample).unwrap();
    }
}

/// The payload of a write that is large enough to be compressed.
fn compressed_payload(codec: Codec) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let quiet = Settings {
        backend: BackendKind::Memory,
        ..settings(dir.path())
    };
    let store = Store::open(quiet).unwrap();
    let mut def = table("t", 1);
    def.options.codec = Some(codec);
    store.put_table(def.clone()).unwrap();
    upsert(&store, &def, &(0..2000).collect::<Vec<_>>(), 10);
    store.close().unwrap();
    let log = std::fs::read(dir.path().join("log/000001.log")).unwrap();
    fuzzing::frames_of_file(&log).pop().unwrap().1
}

/// Changes a few bytes, or cuts, repeats or inserts some.
fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        if bytes.is_empty() {
            return bytes.push(random.next() as u8);
        }
        let at = random.below(bytes.len() as u64) as usize;
        match random.below(8) {
            0..=2 => bytes[at] ^= 1 << random.below(8),
            3 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5) as usize],
            4 => bytes[at] = random.next() as u8,
            5 => bytes.truncate(at),
            6 => bytes.insert(at, random.next() as u8),
            _ => {
                let end = (at + random.below(16) as usize).min(bytes.len());
                let part = bytes[at..end].to_vec();
                bytes.extend_from_slice(&part);
            }
        }
    }
}

/// Runs a target over random bytes, and over mutations of the samples.
fn run((name, target): Target, samples: &[Vec<u8>], runs: u64, seed: u64) {
    keep(name, samples);
    let mut random = Random::new(seed);
    samples.iter().for_each(|sample| target(sample));
    for number in 0..runs {
        let mut bytes: Vec<u8> = match number % 8 {
            0 => (0..random.below(300))
                .map(|_| random.next() as u8)
                .collect(),
            _ => samples[random.below(samples.len() as u64) as usize].clone(),
        };
        mutate(&mut bytes, &mut random);
        let kept = bytes.clone();
        let done = std::panic::catch_unwind(move || target(&bytes));
        assert!(done.is_ok(), "run {number} of seed {seed}: {kept:02x?}");
    }
}

#[test]
fn no_log_makes_a_store_panic() {
    let dir = tempfile::tempdir().unwrap();
    let (log, ..) = valid_files(dir.path());
    let frames = fuzzing::frames_of_file(&log);
    assert_eq!(frames.len(), 3, "a table, rows, a delete");
    let samples = [log, targets::packed(&frames)];
    run(("log_file", targets::log_file), &samples, runs(), 1);
}

/// Found by libFuzzer: counting on from such a number overflows.
#[test]
fn a_log_that_names_a_file_beyond_all_is_refused() {
    for number in [u64::MAX, u64::MAX - 1, 1 << 60] {
        let dir = tempfile::tempdir().unwrap();
        Store::open(settings(dir.path())).unwrap().close().unwrap();
        // Kind 4: files before this number are not needed.
        let log = fuzzing::file_of_frames(false, &[(4, number.to_le_bytes().to_vec())]);
        std::fs::write(dir.path().join("log/000001.log"), log).unwrap();
        let error = Store::open(settings(dir.path())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains(&number.to_string()), "{error}");
    }
}

#[test]
fn no_checkpoint_makes_a_store_panic() {
    let dir = tempfile::tempdir().unwrap();
    let (_, checkpoint, _) = valid_files(dir.path());
    let frames = fuzzing::frames_of_file(&checkpoint);
    assert!(frames.len() > 4, "a table, shards, segments, an end");
    let samples = [checkpoint, targets::packed(&frames)];
    let target: Target = ("checkpoint_file", targets::checkpoint_file);
    run(target, &samples, runs(), 2);
}

#[test]
fn no_bytes_make_a_decoder_panic() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _, index) = valid_files(dir.path());
    let frames = fuzzing::frames_of_file(&log);
    let of_kind = |kind| -> Vec<Vec<u8>> {
        let found = frames.iter().filter(|(found, _)| *found == kind);
        found.map(|(_, payload)| payload.clone()).collect()
    };
    let (mut writes, tables) = (of_kind(1), of_kind(2));
    writes.extend([Codec::Lz4, Codec::Zstd(1)].map(compressed_payload));
    assert!(writes.iter().all(|write| fuzzing::decode_payload(write)));
    assert!(fuzzing::decode_payload(&writes[0]) && fuzzing::decode_index(&index));
    let (often, definition) = (runs() * 4, targets::table_definition as fn(&[u8]));
    run(("payload", targets::payload), &writes, often, 3);
    run(("table_definition", definition), &tables, often, 4);
    run(
        ("segment_index", targets::segment_index),
        &[index],
        often,
        5,
    );
}

#[test]
fn no_backup_makes_a_restore_panic() {
    let dir = tempfile::tempdir().unwrap();
    let archive = valid_backup(dir.path());
    let (files, manifest) = fuzzing::files_of_archive(&archive).unwrap();
    assert!(files.len() > 4, "a checkpoint, two files for each segment");
    // What is put together again is a backup.
    let again = dir.path().join("again.tar");
    std::fs::write(&again, fuzzing::archive(&files, &manifest)).unwrap();
    let report = Store::restore(&again, &dir.path().join("restored"), None, |_, _| {});
    assert_eq!(report.unwrap().rows, 4);
    let packed = targets::packed_backup(&files, &manifest);
    let parts = targets::frames(&packed);
    assert_eq!(parts.len(), files.len() + 1, "nothing was cut");
    let bytes: usize = files
        .iter()
        .map(|(name, bytes)| name.len() + 1 + bytes.len())
        .sum();
    let parts: usize = parts.iter().map(|(_, part)| part.len()).sum();
    assert_eq!(parts, bytes + manifest.len(), "nothing was cut");
    let samples = [archive, packed];
    run(("backup_file", targets::backup_file), &samples, runs(), 6);
}
