//! Group commit, snapshots under writers, and many tiny writes.

use std::sync::atomic::{AtomicBool, Ordering};

use netabase_store::{Change, Durability, Settings, Store};

use crate::common::{batches, ids, live, open, settings, stamp, table, upsert};

#[test]
fn many_callers_share_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let def = table("t", 4);
    store.put_table(def.clone()).unwrap();
    let before = store.stats();
    std::thread::scope(|scope| {
        for thread in 0..16i64 {
            let (store, def) = (&store, &def);
            scope.spawn(move || {
                for write in 0..50i64 {
                    upsert(store, def, &[thread * 50 + write], 10);
                }
            });
        }
    });
    let after = store.stats();
    assert_eq!(after.frames - before.frames, 800);
    assert!(after.syncs - before.syncs < 800, "{} syncs", after.syncs);
    assert_eq!(after.rows, 800);
    store.close().unwrap();
    assert_eq!(ids(&open(dir.path()), def.id), (0..800).collect::<Vec<_>>());
}

#[test]
fn snapshots_are_frozen_and_consistent_over_shards() {
    let store = Store::open(Settings::default()).unwrap();
    let def = table("t", 8);
    store.put_table(def.clone()).unwrap();
    let all: Vec<i64> = (0..200).collect();
    upsert(&store, &def, &all, 1);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for version in 2..200 {
                upsert(&store, &def, &all, version);
            }
            done.store(true, Ordering::Release);
        });
        while !done.load(Ordering::Acquire) {
            let rows = live(&store, def.id);
            assert_eq!(rows.len(), 200);
            // Every write touches all shards: a snapshot sees one version everywhere.
            let version = |text: &String| text.rsplit(' ').next().unwrap().to_owned();
            let first = version(&rows[&0]);
            assert!(rows.values().all(|text| version(text) == first));
        }
    });
    let old = store.snapshot(def.id).unwrap();
    let texts = |snapshot: &netabase_store::TableSnapshot| format!("{:?}", snapshot.shards);
    let before = texts(&old);
    let delete = batches(&def, Change::Delete, &all, &stamp(999, "a"));
    assert_eq!(store.write(delete).unwrap().hidden, 200);
    assert_eq!(texts(&old), before);
    assert_eq!(old.shards.iter().map(|shard| shard.rows).sum::<u64>(), 200);
    assert!(ids(&store, def.id).is_empty());
}

#[test]
fn a_hundred_thousand_tiny_writes_end_in_few_batches() {
    let dir = tempfile::tempdir().unwrap();
    let relaxed = Settings {
        durability: Durability::Relaxed,
        ..settings(dir.path())
    };
    let store = Store::open(relaxed.clone()).unwrap();
    let def = table("t", 1);
    store.put_table(def.clone()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4i64 {
            let (store, def) = (&store, &def);
            scope.spawn(move || {
                for write in 0..25_000i64 {
                    let id = thread * 25_000 + write;
                    upsert(store, def, &[id], 10 + id as u64);
                }
            });
        }
    });
    let stats = store.stats();
    assert_eq!(stats.rows, 100_000);
    assert!(stats.batches < 64, "{} batches", stats.batches);
    assert!(
        stats.memory_bytes < 40 << 20,
        "{} bytes",
        stats.memory_bytes
    );
    let rows = live(&store, def.id);
    assert_eq!(rows.len(), 100_000);
    assert!(
        rows.iter()
            .all(|(id, text)| *text == format!("row {id} written at version {}", 10 + id))
    );
    store.close().unwrap();
    let store = Store::open(relaxed).unwrap();
    assert_eq!(store.stats().rows, 100_000);
    assert!(store.stats().batches < 64);
}

#[test]
fn overwriting_the_same_keys_does_not_grow_memory() {
    let store = Store::open(Settings::default()).unwrap();
    let def = table("t", 1);
    store.put_table(def.clone()).unwrap();
    let all: Vec<i64> = (0..1000).collect();
    upsert(&store, &def, &all, 1);
    let once = store.stats().memory_bytes;
    for version in 2..300 {
        upsert(&store, &def, &all, version);
        upsert(&store, &def, &all[..10], version);
    }
    let stats = store.stats();
    assert_eq!(stats.rows, 1000);
    assert!(
        stats.memory_bytes < once * 4,
        "{} from {once}",
        stats.memory_bytes
    );
}
