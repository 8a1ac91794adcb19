//! Changes by chance, compared with a map.

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use netabase_store::{TableId, Version};
use proptest::prelude::*;

use super::*;

fn table() -> Arc<TableDef> {
    Arc::new(TableDef {
        id: TableId::derive(&[b"t"]),
        name: "t".to_string(),
        schema: Arc::new(Schema::new(vec![
            Field::new("k", DataType::Int64, false),
            Field::new("v", DataType::Int64, true),
        ])),
        primary_key: vec![0],
        shard_key: vec![0],
        shards: 1,
        replicas: 1,
        local: true,
        owner: "me".into(),
        created: Version(1),
        dropped: None,
        placement: Vec::new(),
        options: Default::default(),
        attachment: Vec::new(),
    })
}

fn prepared(def: &Arc<TableDef>, keys: &[i64], value: Option<i64>) -> Prepared {
    let numbers = |numbers: Vec<i64>| Arc::new(Int64Array::from(numbers)) as ArrayRef;
    let (change, rows) = match value {
        Some(value) => {
            let columns = vec![numbers(keys.to_vec()), numbers(vec![value; keys.len()])];
            let rows = RecordBatch::try_new(Arc::clone(&def.schema), columns).unwrap();
            (Change::Upsert, rows)
        }
        None => {
            let rows = RecordBatch::try_new(def.key_schema(), vec![numbers(keys.to_vec())]);
            (Change::Delete, rows.unwrap())
        }
    };
    let keys = KeyEncoder::new(def).unwrap().encode(&rows).unwrap();
    Prepared {
        def: Arc::clone(def),
        change,
        batches: vec![(rows, keys)],
        bytes: 0,
    }
}

/// Its rows, and the keys that it removes, which are NULL.
fn shown(pending: &Pending) -> BTreeMap<i64, Option<i64>> {
    let mut shown = BTreeMap::new();
    let mut add = |key: i64, value: Option<i64>| {
        assert!(shown.insert(key, value).is_none(), "{key} is there twice");
    };
    for rows in pending.rows().unwrap() {
        let [keys, values] = [0, 1].map(|c| rows.column(c).as_primitive::<Int64Type>().clone());
        (0..rows.num_rows()).for_each(|row| add(keys.value(row), Some(values.value(row))));
    }
    for keys in pending.removed.kept().unwrap() {
        let keys = keys.column(0).as_primitive::<Int64Type>();
        keys.values().iter().for_each(|key| add(*key, None));
    }
    shown
}

fn exact_bytes(pending: &Pending) -> usize {
    let rows = pending.rows().unwrap().into_iter();
    let all = rows.chain(pending.removed.kept().unwrap());
    all.map(|batch| logical_bytes(&batch)).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_last_change_of_each_key_is_there(
        steps in prop::collection::vec(
            (prop::collection::vec(0_i64..900, 1..4), prop::option::weighted(0.7, 0_i64..1000)),
            1..2500,
        ),
    ) {
        let def = table();
        let mut pending = Pending::new(Arc::clone(&def));
        let mut expected = BTreeMap::new();
        for (mut keys, value) in steps {
            keys.sort_unstable();
            keys.dedup();
            pending.add(&prepared(&def, &keys, value));
            pending.tidy().unwrap();
            expected.extend(keys.into_iter().map(|key| (key, value)));
        }
        prop_assert_eq!(shown(&pending), expected.clone());
        prop_assert!(pending.row_bytes() >= exact_bytes(&pending));
        pending.drop_all_marked().unwrap();
        prop_assert_eq!(pending.row_bytes(), exact_bytes(&pending));
        prop_assert_eq!(shown(&pending), expected.clone());
        let keys: usize = pending.keys().unwrap().iter().map(RecordBatch::num_rows).sum();
        prop_assert_eq!(keys, expected.len());
        prop_assert!(pending.written.batches.len() < 2 * MOST_SMALL + 20);
    }
}
