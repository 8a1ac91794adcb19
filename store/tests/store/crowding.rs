//! Nobody asks for it: a small store does not keep a multiple of its rows on disk.

use std::sync::Arc;

use netabase_store::arrow::array::{Int64Array, RecordBatch, StringViewArray};
use netabase_store::{
    BackendKind, Change, Durability, KeyEncoder, Settings, ShardBatch, Store, TableDef,
};

use crate::common::{Random, files_below, ids, settings, stamp, table, wait_for};

fn open(dir: &std::path::Path) -> (Store, TableDef) {
    let usual = Settings {
        backend: BackendKind::Memory,
        durability: Durability::Relaxed,
        ..settings(dir)
    };
    let store = Store::open(usual).unwrap();
    let def = table("t", 1);
    store.put_table(def.clone()).unwrap();
    (store, def)
}

/// Rows with texts of 1,000 characters that do not compress well.
fn write(store: &Store, def: &TableDef, keys: std::ops::Range<i64>, version: u64) {
    let mut random = Random::new(version);
    let text = |_| (0..50).map(|_| format!("{:020}", random.next())).collect();
    let texts: Vec<String> = keys.clone().map(text).collect();
    let rows = RecordBatch::try_new(
        def.schema.clone(),
        vec![
            Arc::new(Int64Array::from_iter_values(keys.clone())),
            Arc::new(StringViewArray::from_iter_values(texts)),
            Arc::new(Int64Array::from_iter_values(keys)),
        ],
    );
    let parts = KeyEncoder::new(def).unwrap().split(&rows.unwrap()).unwrap();
    let batch = |(shard, rows)| ShardBatch {
        table: def.id,
        shard,
        change: Change::Upsert,
        stamp: stamp(version, "a"),
        rows,
    };
    store.write(parts.into_iter().map(batch).collect()).unwrap();
}

#[test]
fn a_log_that_outgrows_the_rows_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let (store, def) = open(dir.path());
    let started = Settings::default().checkpoint_log_bytes;
    let mut version = 0;
    // The same rows again and again: 2 MB of them.
    while store.stats().bytes_logged < 20 << 20 {
        version += 10;
        write(&store, &def, 0..2_000, version);
    }
    assert!(
        store.stats().bytes_logged < started,
        "far from the fixed bound"
    );
    wait_for("no checkpoint was made", || {
        store.stats().log_bytes < 4 << 20
    });
    assert_eq!(ids(&store, def.id).len(), 2_000);
}

#[test]
fn what_compaction_replaced_is_removed_soon() {
    let dir = tempfile::tempdir().unwrap();
    let (store, def) = open(dir.path());
    // Four segments of similar size, which compaction merges to one.
    for part in 0..4 {
        write(&store, &def, part * 4_000..(part + 1) * 4_000, 10);
        store.flush_to_segments().unwrap();
    }
    let folder = dir.path().join("segments");
    wait_for("nothing was merged", || store.stats().compactions > 0);
    wait_for("replaced files stay", || files_below(&folder).len() == 2);
    assert_eq!(store.stats().segments, 1);
    assert_eq!(ids(&store, def.id).len(), 16_000);
}
