//! The fuzz targets, over random bytes and over valid files with random changes.

use std::path::Path;

use netabase_store::{BackendKind, Change, Codec, Settings, Store, fuzzing};

use crate::common::{Random, batches, repeats, settings, stamp, table, upsert};

#[allow(unreachable_pub, reason = "public in the package of the fuzz targets")]
#[path = "../../../fuzz/src/targets.rs"]
mod targets;

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
fn run(target: fn(&[u8]), samples: &[Vec<u8>], runs: u64, seed: u64) {
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
    run(
        targets::log_file,
        &[log, targets::packed(&frames)],
        runs(),
        1,
    );
}

#[test]
fn no_checkpoint_makes_a_store_panic() {
    let dir = tempfile::tempdir().unwrap();
    let (_, checkpoint, _) = valid_files(dir.path());
    let frames = fuzzing::frames_of_file(&checkpoint);
    assert!(frames.len() > 4, "a table, shards, segments, an end");
    let samples = [checkpoint, targets::packed(&frames)];
    run(targets::checkpoint_file, &samples, runs(), 2);
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
    run(targets::payload, &writes, runs() * 4, 3);
    run(targets::table_definition, &tables, runs() * 4, 4);
    run(targets::segment_index, &[index], runs() * 4, 5);
}
