//! Any order, duplication and grouping of the same batches gives the same rows and digests.

use std::collections::BTreeMap;

use netabase_store::{Change, Settings, ShardBatch, Store};
use proptest::prelude::*;

use crate::common::{batches, digests, live, stamp, table};

type Step = (bool, Vec<i64>, u64, u8);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ids = proptest::collection::btree_set(0..24i64, 1..8);
    let step = (any::<bool>(), ids, 1..12u64, 0..3u8).prop_map(|(delete, ids, version, author)| {
        (delete, ids.into_iter().collect(), version, author)
    });
    proptest::collection::vec(step, 1..40)
}

/// Two writes with one stamp are one write of one author: drop the later ones.
fn distinct(steps: Vec<Step>) -> Vec<Step> {
    let mut seen = std::collections::HashSet::new();
    steps
        .into_iter()
        .filter(|(_, _, version, author)| seen.insert((*version, *author)))
        .collect()
}

fn model(steps: &[Step]) -> BTreeMap<i64, String> {
    let mut records: BTreeMap<i64, (u64, u8, bool)> = BTreeMap::new();
    for (delete, ids, version, author) in steps {
        for id in ids {
            let new = (*version, *author, *delete);
            let old = records.entry(*id).or_insert(new);
            if (new.0, new.1) > (old.0, old.1) {
                *old = new;
            }
        }
    }
    records
        .into_iter()
        .filter(|(_, (_, _, deleted))| !deleted)
        .map(|(id, (version, ..))| (id, format!("row {id} written at version {version}")))
        .collect()
}

fn memory(shards: u32) -> (Store, netabase_store::TableDef) {
    let store = Store::open(Settings::default()).unwrap();
    let def = table("t", shards);
    store.put_table(def.clone()).unwrap();
    (store, def)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_gives_the_same(
        steps in steps(),
        order in proptest::collection::vec(any::<prop::sample::Index>(), 0..60),
        group in 1..9usize,
        shards in 1..4u32,
    ) {
        let steps = distinct(steps);
        let (one, def) = memory(shards);
        let mut all: Vec<ShardBatch> = Vec::new();
        for (delete, ids, version, author) in &steps {
            let change = if *delete { Change::Delete } else { Change::Upsert };
            let part = batches(&def, change, ids, &stamp(*version, &format!("p{author}")));
            one.write(part.clone()).unwrap();
            all.extend(part);
        }
        prop_assert_eq!(live(&one, def.id), model(&steps));

        let (other, _) = memory(shards);
        let mut shuffled: Vec<_> = order.iter().map(|index| index.get(&all).clone()).collect();
        shuffled.extend(all.iter().rev().cloned());
        for group in shuffled.chunks(group) {
            other.write(group.to_vec()).unwrap();
        }
        prop_assert_eq!(live(&other, def.id), model(&steps));
        prop_assert_eq!(digests(&one, def.id), digests(&other, def.id));

        let (copy, _) = memory(shards);
        for shard in (0..shards).rev() {
            let mut exported = other.export_shard(def.id, shard).unwrap();
            exported.reverse();
            if exported.is_empty() {
                continue;
            }
            copy.write(exported).unwrap();
        }
        prop_assert_eq!(live(&copy, def.id), model(&steps));
        prop_assert_eq!(digests(&one, def.id), digests(&copy, def.id));
    }
}

#[test]
fn a_stamp_that_moves_keys_keeps_the_upserts() {
    for reversed in [false, true] {
        let (store, def) = memory(1);
        store
            .write(batches(&def, Change::Upsert, &[1, 2, 3], &stamp(1, "a")))
            .unwrap();
        let mut update = batches(&def, Change::Delete, &[1, 2, 3], &stamp(2, "a"));
        update.extend(batches(&def, Change::Upsert, &[2, 3, 4], &stamp(2, "a")));
        if reversed {
            update.reverse();
        }
        store.write(update).unwrap();
        assert_eq!(crate::common::ids(&store, def.id), [2, 3, 4]);
    }
}

#[test]
fn counts_tell_what_took_effect() {
    let (store, def) = memory(1);
    let write = |change, ids: &[i64], version| {
        let applied = store
            .write(batches(&def, change, ids, &stamp(version, "a")))
            .unwrap();
        (applied.rows, applied.hidden)
    };
    assert_eq!(write(Change::Upsert, &[1, 2], 5), (2, 0));
    assert_eq!(write(Change::Upsert, &[1, 2], 5), (0, 0));
    assert_eq!(write(Change::Upsert, &[2, 3], 6), (2, 1));
    assert_eq!(write(Change::Upsert, &[2, 4], 4), (1, 0));
    assert_eq!(write(Change::Delete, &[1, 9], 7), (2, 1));
    assert_eq!(write(Change::Delete, &[1], 8), (1, 0));
    assert_eq!(crate::common::ids(&store, def.id), [2, 3, 4]);
}
