//! Rows that have outlived their table's time to live.

use std::path::Path;

use netabase_store::{Change, Codec, Settings, Store, TableDef, TableOptions, Version};

use crate::common::{batches, digests, ids, keys, settings, stamp, table, upsert};

const HOUR: u64 = 3_600_000;

fn mortal(ttl_millis: u64) -> TableDef {
    TableDef {
        options: TableOptions {
            ttl_millis: Some(ttl_millis),
            ..TableOptions::default()
        },
        ..table("t", 2)
    }
}

fn quiet(dir: &Path) -> Store {
    let settings = Settings {
        background: false,
        ..settings(dir)
    };
    Store::open(settings).unwrap()
}

/// A version so many milliseconds ago.
fn ago(store: &Store, millis: u64) -> u64 {
    store.clock().now().0 - (millis << 16)
}

fn has(store: &Store, def: &TableDef, id: i64) -> bool {
    store.get(def.id, &keys(def, &[id])).unwrap().is_some()
}

fn rows(store: &Store, def: &TableDef) -> u64 {
    let stats = store.shard_stats(def.id).unwrap();
    stats.iter().map(|shard| shard.rows).sum()
}

#[test]
fn expired_rows_are_gone_at_once_wherever_they_lie() {
    let dir = tempfile::tempdir().unwrap();
    let store = quiet(dir.path());
    let def = mortal(HOUR);
    store.put_table(def.clone()).unwrap();
    // A segment with both kinds, an old one, a young one, and both kinds in memory.
    upsert(&store, &def, &[1, 2, 3], ago(&store, 2 * HOUR));
    upsert(&store, &def, &[4, 5, 6], ago(&store, HOUR / 2));
    let digest = digests(&store, def.id);
    assert_eq!(ids(&store, def.id), [4, 5, 6]);
    assert!(has(&store, &def, 4) && !has(&store, &def, 1));
    assert_eq!(rows(&store, &def), 3);
    store.flush_to_segments().unwrap();
    assert_ne!(
        digests(&store, def.id),
        digest,
        "the flush leaves expired rows out"
    );
    assert_eq!(ids(&store, def.id), [4, 5, 6]);
    for (segment, age) in [(10, 3 * HOUR), (20, HOUR / 4)] {
        let mut load = store
            .bulk_load(def.id, stamp(ago(&store, age), "a"))
            .unwrap();
        let loaded = crate::common::rows(&def, &[segment, segment + 1], 1);
        load.push(&loaded).unwrap();
        load.finish().unwrap();
    }
    upsert(&store, &def, &[30, 4], ago(&store, HOUR + 1));
    upsert(&store, &def, &[31], ago(&store, HOUR / 3));
    let alive = [4, 5, 6, 20, 21, 31];
    assert_eq!(ids(&store, def.id), alive);
    assert_eq!(rows(&store, &def), 6);
    assert!(!has(&store, &def, 10) && !has(&store, &def, 30) && has(&store, &def, 21));
    // Deleted and written again rows follow the same rules as ever.
    let gone = batches(&def, Change::Delete, &[5], &stamp(ago(&store, 10), "a"));
    store.write(gone).unwrap();
    store.compact(def.id).unwrap();
    store.flush_to_segments().unwrap();
    store.compact(def.id).unwrap();
    assert_eq!(ids(&store, def.id), [4, 6, 20, 21, 31]);
    assert_eq!(store.stats().rows, 5, "nothing expired is stored any more");
    let digest = digests(&store, def.id);
    store.close().unwrap();
    let store = quiet(dir.path());
    assert_eq!(ids(&store, def.id), [4, 6, 20, 21, 31]);
    assert_eq!(digests(&store, def.id), digest);
}

#[test]
fn what_is_left_out_leaves_the_digest() {
    let dir = tempfile::tempdir().unwrap();
    let store = quiet(dir.path());
    let young = Store::open(Settings::default()).unwrap();
    let def = mortal(HOUR);
    store.put_table(def.clone()).unwrap();
    young.put_table(def.clone()).unwrap();
    // First without a time to live, so that old rows reach segments.
    let immortal = table("t", 2);
    let other = tempfile::tempdir().unwrap();
    let store = {
        drop(store);
        let store = quiet(other.path());
        store.put_table(immortal.clone()).unwrap();
        store
    };
    let recent = ago(&store, 1000);
    upsert(
        &store,
        &def,
        &(0..500).collect::<Vec<_>>(),
        ago(&store, 2 * HOUR),
    );
    upsert(&store, &def, &(400..600).collect::<Vec<_>>(), recent);
    upsert(&young, &def, &(400..600).collect::<Vec<_>>(), recent);
    store.flush_to_segments().unwrap();
    assert_eq!(ids(&store, def.id).len(), 600);
    let options = TableOptions {
        revision: 1,
        ..def.options.clone()
    };
    store
        .put_table(TableDef {
            options,
            ..def.clone()
        })
        .unwrap();
    assert_eq!(ids(&store, def.id), (400..600).collect::<Vec<_>>());
    assert_ne!(digests(&store, def.id), digests(&young, def.id));
    store.compact(def.id).unwrap();
    assert_eq!(digests(&store, def.id), digests(&young, def.id));
    assert_eq!(store.stats().rows, 200);
}

#[test]
fn background_work_removes_expired_rows() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(settings(dir.path())).unwrap();
    let def = mortal(HOUR);
    store.put_table(def.clone()).unwrap();
    let old = stamp(ago(&store, 2 * HOUR), "a");
    let mut load = store.bulk_load(def.id, old).unwrap();
    load.push(&crate::common::rows(&def, &[1, 2, 3], 1))
        .unwrap();
    load.finish().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while store.stats().segments > 0 {
        assert!(std::time::Instant::now() < deadline, "expired rows stay");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(store.stats().rows, 0);
}

#[test]
fn rows_expire_while_nobody_writes_and_stay_expired() {
    let store = Store::open(Settings::default()).unwrap();
    let def = mortal(HOUR);
    store.put_table(def.clone()).unwrap();
    upsert(&store, &def, &[1], ago(&store, HOUR - 250));
    assert_eq!(ids(&store, def.id), [1]);
    let held = store.snapshot(def.id).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while has(&store, &def, 1) {
        assert!(
            std::time::Instant::now() < deadline,
            "the row does not expire"
        );
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(ids(&store, def.id), [] as [i64; 0]);
    // A snapshot does not change.
    assert_eq!(crate::common::rows_of(&held).len(), 1);
    // The clock has seen a later time than the machine's: that time counts.
    let ahead = Version(store.clock().now().0 + (200_000 << 16));
    upsert(&store, &def, &[2], ago(&store, HOUR - 100_000));
    assert!(store.clock().observe(ahead));
    assert!(!has(&store, &def, 2));
}

#[test]
fn a_table_has_its_own_compression() {
    let mut bytes = Vec::new();
    for codec in [Codec::None, Codec::Lz4, Codec::Zstd(3)] {
        let dir = tempfile::tempdir().unwrap();
        let store = quiet(dir.path());
        let options = TableOptions {
            codec: Some(codec),
            ..TableOptions::default()
        };
        let def = TableDef {
            options,
            ..table("t", 1)
        };
        store.put_table(def.clone()).unwrap();
        upsert(&store, &def, &(0..20_000).collect::<Vec<_>>(), 7);
        store.flush_to_segments().unwrap();
        bytes.push(store.shard_stats(def.id).unwrap()[0].segment_bytes);
    }
    assert!(bytes[2] < bytes[1] && bytes[1] < bytes[0], "{bytes:?}");
}
