//! Whatever is done to a store, it holds what a map would hold.

use std::collections::BTreeMap;

use netabase_store::{Change, Settings, Store, TableSnapshot};
use proptest::prelude::*;

use crate::common::{batches, digests, keys, live, repeats, rows, rows_of, settings, stamp, table};

/// Keys are below this, so that most of them meet.
const KEYS: i64 = 400;

#[derive(Debug, Clone)]
enum Step {
    Upsert(Vec<i64>),
    Delete(Vec<i64>),
    /// A late write: older than everything before.
    Late(Vec<i64>),
    Bulk(Vec<i64>),
    Get(i64),
    Checkpoint,
    Flush,
    Compact,
    Reopen,
    TakeSnapshot,
    CheckSnapshot,
}

fn some_keys() -> impl Strategy<Value = Vec<i64>> {
    proptest::collection::btree_set(0..KEYS, 1..120).prop_map(|keys| keys.into_iter().collect())
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => some_keys().prop_map(Step::Upsert),
        2 => some_keys().prop_map(Step::Delete),
        1 => some_keys().prop_map(Step::Late),
        3 => some_keys().prop_map(Step::Bulk),
        3 => (0..KEYS).prop_map(Step::Get),
        1 => Just(Step::Checkpoint),
        3 => Just(Step::Flush),
        1 => Just(Step::Compact),
        2 => Just(Step::Reopen),
        1 => Just(Step::TakeSnapshot),
        1 => Just(Step::CheckSnapshot),
    ]
}

/// What a key holds: its newest version, and whether it is a row.
type Model = BTreeMap<i64, (u64, bool)>;

fn apply(model: &mut Model, ids: &[i64], version: u64, row: bool) {
    for id in ids {
        let entry = model.entry(*id).or_insert((0, false));
        *entry = (*entry).max((version, row));
    }
}

fn expected(model: &Model) -> BTreeMap<i64, String> {
    model
        .iter()
        .filter(|(_, (_, row))| *row)
        .map(|(id, (version, _))| (*id, format!("row {id} written at version {version}")))
        .collect()
}

struct Run {
    settings: Settings,
    store: Store,
    /// Has seen the same records, in memory only.
    mirror: Store,
    model: Model,
    snapshot: Option<(TableSnapshot, BTreeMap<i64, String>)>,
    version: u64,
}

impl Run {
    fn write(&mut self, change: Change, ids: &[i64], version: u64) {
        let def = table("t", 3);
        let stamp = stamp(version, "a");
        self.store
            .write(batches(&def, change, ids, &stamp))
            .unwrap();
        self.mirror
            .write(batches(&def, change, ids, &stamp))
            .unwrap();
        apply(&mut self.model, ids, version, change == Change::Upsert);
    }

    fn bulk(&mut self, ids: &[i64], version: u64) {
        let def = table("t", 3);
        let stamp = stamp(version, "a");
        let mut load = self.store.bulk_load(def.id, stamp.clone()).unwrap();
        // In two batches, the later keys first.
        let (first, last) = ids.split_at(ids.len() / 2);
        load.push(&rows(&def, last, version)).unwrap();
        load.push(&rows(&def, first, version)).unwrap();
        load.finish().unwrap();
        self.mirror
            .write(batches(&def, Change::Upsert, ids, &stamp))
            .unwrap();
        apply(&mut self.model, ids, version, true);
    }

    fn take(&mut self, step: Step) {
        let id = table("t", 3).id;
        self.version += 10;
        let version = self.version;
        match step {
            Step::Upsert(ids) => self.write(Change::Upsert, &ids, version),
            Step::Delete(ids) => self.write(Change::Delete, &ids, version),
            Step::Late(ids) => self.write(Change::Upsert, &ids, version / 20 * 10 + 1),
            Step::Bulk(ids) => self.bulk(&ids, version),
            Step::Get(key) => {
                let found = self.store.get(id, &keys(&table("t", 3), &[key])).unwrap();
                let wanted = self.model.get(&key).is_some_and(|(_, row)| *row);
                assert_eq!(found.is_some(), wanted, "key {key}");
                let version = self.model.get(&key).map_or(0, |(version, _)| *version);
                let expected = wanted.then(|| rows(&table("t", 3), &[key], version));
                assert_eq!(found, expected);
            }
            Step::Checkpoint => self.store.checkpoint().unwrap(),
            Step::Flush => self.store.flush_to_segments().unwrap(),
            Step::Compact => self.store.compact(id).unwrap(),
            Step::Reopen => {
                self.snapshot = None;
                self.store.close().unwrap();
                self.store = Store::open(self.settings.clone()).unwrap();
            }
            Step::TakeSnapshot => {
                let snapshot = self.store.snapshot(id).unwrap();
                self.snapshot = Some((snapshot, expected(&self.model)));
            }
            Step::CheckSnapshot => {
                if let Some((snapshot, rows)) = &self.snapshot {
                    assert_eq!(&rows_of(snapshot), rows);
                }
            }
        }
    }

    fn check(&self) {
        let id = table("t", 3).id;
        assert_eq!(live(&self.store, id), expected(&self.model));
        assert_eq!(digests(&self.store, id), digests(&self.mirror, id));
        for shard in 0..3 {
            assert_eq!(
                self.store.digest_leaves(id, shard).unwrap(),
                self.mirror.digest_leaves(id, shard).unwrap()
            );
        }
        let copy = Store::open(Settings::default()).unwrap();
        copy.put_table(table("t", 3)).unwrap();
        for shard in 0..3 {
            copy.write(self.store.export_shard(id, shard).unwrap())
                .unwrap();
        }
        assert_eq!(digests(&copy, id), digests(&self.mirror, id));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: repeats("PROPTEST_CASES", 48) as u32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_store_is_a_map(steps in proptest::collection::vec(step(), 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings {
            backend: netabase_store::BackendKind::Memory,
            background: false,
            ..settings(dir.path())
        };
        let mut run = Run {
            store: Store::open(settings.clone()).unwrap(),
            mirror: Store::open(Settings::default()).unwrap(),
            settings,
            model: Model::new(),
            snapshot: None,
            version: 0,
        };
        run.store.put_table(table("t", 3)).unwrap();
        run.mirror.put_table(table("t", 3)).unwrap();
        for step in steps {
            run.take(step);
            run.check();
        }
    }
}
