//! What a snapshot shows does not change, and it does not hold files for ever.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use netabase_store::{BackendKind, Change, ErrorKind, Settings, Store, TableDef, Version};

use crate::common::{Random, batches, live, rows, rows_of, settings, stamp, table, upsert};

/// How long a test may wait for the background thread, which looks once a second.
const PATIENCE: Duration = Duration::from_secs(20);

fn small(root: &Path) -> Settings {
    Settings {
        backend: BackendKind::Memory,
        flush_bytes: 64 << 10,
        checkpoint_log_bytes: 64 << 10,
        cache_bytes: Some(0),
        ..settings(root)
    }
}

/// A random write, applied to `model` as well.
fn change(store: &Store, def: &TableDef, model: &mut BTreeMap<i64, String>, random: &mut Random) {
    let version = 10 + store.stats().frames;
    let first = random.below(500) as i64;
    let ids: Vec<i64> = (first..first + 40).collect();
    let stamp = stamp(version, "a");
    match random.below(4) {
        0 => {
            store
                .write(batches(def, Change::Delete, &ids, &stamp))
                .unwrap();
            model.retain(|id, _| !ids.contains(id));
            return;
        }
        1 => {
            let mut load = store.bulk_load(def.id, stamp).unwrap();
            load.push(&rows(def, &ids, version)).unwrap();
            load.finish().unwrap();
        }
        _ => upsert(store, def, &ids, version),
    }
    let text = |id: &i64| (*id, format!("row {id} written at version {version}"));
    model.extend(ids.iter().map(text));
}

#[test]
fn snapshots_do_not_change_while_everything_else_does() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(small(dir.path())).unwrap();
    let def = table("t", 3);
    store.put_table(def.clone()).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                store.flush_to_segments().unwrap();
                store.compact(def.id).unwrap();
                store.checkpoint().unwrap();
            }
        });
        let (mut random, mut model) = (Random::new(3), BTreeMap::new());
        let mut held = Vec::new();
        for _ in 0..80 {
            change(&store, &def, &mut model, &mut random);
            held.push((store.snapshot(def.id).unwrap(), model.clone()));
            if held.len() > 6 {
                held.swap_remove(random.below(6) as usize);
            }
            for (snapshot, expected) in &held {
                assert_eq!(&rows_of(snapshot), expected);
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// Waits until maintenance has removed what was replaced.
fn wait_for_removal(store: &Store) {
    let started = Instant::now();
    while store.stats().retired_bytes > 0 {
        assert!(started.elapsed() < PATIENCE, "{:?}", store.stats());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_dropped_table_can_be_read_as_long_as_its_snapshot_lives() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(small(dir.path())).unwrap();
    let def = table("t", 2);
    store.put_table(def.clone()).unwrap();
    upsert(&store, &def, &(0..300).collect::<Vec<_>>(), 10);
    store.flush_to_segments().unwrap();
    upsert(&store, &def, &[7, 400], 20);
    let expected = live(&store, def.id);
    let snapshot = store.snapshot(def.id).unwrap();
    store
        .put_table(TableDef {
            dropped: Some(Version(9)),
            ..def.clone()
        })
        .unwrap();
    for _ in 0..3 {
        store.checkpoint().unwrap();
    }
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(rows_of(&snapshot), expected);
    assert!(store.stats().retired_bytes > 0);
    drop(snapshot);
    store.checkpoint().unwrap();
    wait_for_removal(&store);
}

#[test]
fn without_patience_a_snapshot_ends_and_its_files_go() {
    let dir = tempfile::tempdir().unwrap();
    let impatient = Settings {
        snapshot_patience_secs: 0,
        ..small(dir.path())
    };
    let store = Store::open(impatient).unwrap();
    let def = table("t", 1);
    store.put_table(def.clone()).unwrap();
    upsert(&store, &def, &(0..300).collect::<Vec<_>>(), 10);
    store.flush_to_segments().unwrap();
    let snapshot = store.snapshot(def.id).unwrap();
    // Dropped, so that nobody has opened its files when they go.
    let dropped = TableDef {
        dropped: Some(Version(9)),
        ..def.clone()
    };
    store.put_table(dropped).unwrap();
    store.checkpoint().unwrap();
    wait_for_removal(&store);
    let segment = &snapshot.shards[0].segments[0];
    let errors = [
        segment.column(0, 0).unwrap_err(),
        segment.summaries().unwrap_err(),
        segment.zone_mins(0).unwrap_err(),
        segment.zone_maxes(0).unwrap_err(),
        segment.zone_nulls(0).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(
            error.to_string().contains("snapshot_patience_secs = 0"),
            "{error}"
        );
    }
}
