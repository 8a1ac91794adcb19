//! The scan itself: all partitions together return each live row exactly once.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::Int64Type;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{binary, col, lit};
use futures::TryStreamExt;
use netabase_sql::store::{
    Change, KeyEncoder, Settings, Store, TableDef, TableId, TableSnapshot, Version,
};
use netabase_sql::{Cluster, LocalCluster, ScanRequest, scan_snapshot};
use proptest::prelude::*;

/// What is written, in order: keys that appear or go.
#[derive(Debug, Clone)]
enum Step {
    Upsert(BTreeSet<i64>),
    Delete(BTreeSet<i64>),
}

fn step() -> impl Strategy<Value = Step> {
    let keys = || prop::collection::btree_set(0i64..400, 1..200);
    prop_oneof![2 => keys().prop_map(Step::Upsert), 1 => keys().prop_map(Step::Delete)]
}

fn table() -> TableDef {
    use arrow::datatypes::{DataType, Field, Schema};
    TableDef {
        id: TableId::derive(&[b"t"]),
        name: "t".to_string(),
        schema: Arc::new(Schema::new(vec![
            Field::new("k", DataType::Int64, false),
            Field::new("v", DataType::Int64, true),
            Field::new("s", DataType::Utf8View, true),
        ])),
        primary_key: vec![0],
        shard_key: vec![0],
        shards: 3,
        replicas: 1,
        local: true,
        owner: "me".into(),
        created: Version(1),
        dropped: None,
        placement: Vec::new(),
        options: Default::default(),
        attachment: Vec::new(),
    }
}

/// `v` is NULL for every fifth key.
fn row_value(key: i64) -> Option<i64> {
    (key % 5 != 0).then_some(key % 7)
}

fn rows_of(def: &TableDef, keys: &BTreeSet<i64>) -> RecordBatch {
    let keys: Vec<i64> = keys.iter().copied().collect();
    let values = Int64Array::from_iter(keys.iter().map(|key| row_value(*key)));
    let texts: StringViewArray = keys
        .iter()
        .map(|key| Some(format!("a text that is not inlined {key}")))
        .collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(keys)),
        Arc::new(values),
        Arc::new(texts),
    ];
    RecordBatch::try_new(Arc::clone(&def.schema), columns).unwrap()
}

struct Case {
    steps: Vec<Step>,
    partitions: usize,
    batch_size: usize,
    below: Option<i64>,
    fetch: Option<usize>,
    projection: Vec<usize>,
}

/// Applies the steps; returns the live keys.
async fn apply(cluster: &LocalCluster, def: &Arc<TableDef>, steps: &[Step]) -> BTreeSet<i64> {
    let encoder = KeyEncoder::new(def).unwrap();
    let mut live = BTreeSet::new();
    for step in steps {
        let (change, rows) = match step {
            Step::Upsert(keys) => {
                live.extend(keys.iter().copied());
                (Change::Upsert, rows_of(def, keys))
            }
            Step::Delete(keys) => {
                live.retain(|key| !keys.contains(key));
                let rows = rows_of(def, keys).project(&def.primary_key).unwrap();
                (Change::Delete, rows)
            }
        };
        let parts = encoder.split(&rows).unwrap();
        cluster.write(Arc::clone(def), change, parts).await.unwrap();
    }
    live
}

/// The keys that one slice returns.
async fn read(
    snapshot: &TableSnapshot,
    slice: (usize, usize),
    request: &ScanRequest,
    batch_size: usize,
) -> Vec<i64> {
    let stream = scan_snapshot(snapshot, &[0, 1, 2], slice, request, batch_size).unwrap();
    let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
    let key = request
        .projection
        .iter()
        .position(|column| *column == 0)
        .unwrap();
    let mut keys = Vec::new();
    for batch in &batches {
        assert_eq!(batch.schema(), request.output_schema().unwrap());
        keys.extend(
            batch
                .column(key)
                .as_primitive::<Int64Type>()
                .values()
                .iter()
                .copied(),
        );
    }
    keys
}

async fn check(case: Case) {
    let store = Store::open(Settings::default()).unwrap();
    let cluster = LocalCluster::new(store.clone(), "me");
    let def = cluster.create_table(table()).await.unwrap();
    let live = apply(&cluster, &def, &case.steps).await;
    let predicate = case.below.map(|below| -> Arc<dyn PhysicalExpr> {
        let column = col("v", &def.schema).unwrap();
        binary(column, Operator::Lt, lit(below), &def.schema).unwrap()
    });
    let kept = |key: &i64| {
        case.below
            .is_none_or(|below| row_value(*key).is_some_and(|v| v < below))
    };
    let wanted: BTreeSet<i64> = live.into_iter().filter(kept).collect();
    let projection = case.projection.clone();
    let all = ScanRequest {
        def: Arc::clone(&def),
        schema: Arc::clone(&def.schema),
        projection,
        predicate,
        fetch: None,
        answer: None,
    };
    let request = ScanRequest {
        fetch: case.fetch,
        ..all.clone()
    };
    let snapshot = store.snapshot(def.id).unwrap();
    let mut seen = Vec::new();
    for partition in 0..case.partitions {
        let slice = (partition, case.partitions);
        let keys = read(&snapshot, slice, &request, case.batch_size).await;
        if let Some(fetch) = case.fetch {
            let there = read(&snapshot, slice, &all, case.batch_size).await.len();
            assert_eq!(keys.len(), fetch.min(there));
        }
        seen.extend(keys);
    }
    let distinct: BTreeSet<i64> = seen.iter().copied().collect();
    assert_eq!(distinct.len(), seen.len(), "a row was repeated");
    match case.fetch {
        None => assert_eq!(distinct, wanted),
        Some(_) => assert!(distinct.is_subset(&wanted)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn partitions_return_each_live_row_once(
        steps in prop::collection::vec(step(), 1..8),
        partitions in 1usize..6,
        batch_size in prop_oneof![Just(1usize), Just(7), Just(64), Just(8192)],
        below in prop::option::of(0i64..8),
        fetch in prop::option::of(0usize..300),
        projection in prop_oneof![
            Just(vec![0usize]), Just(vec![0, 1, 2]), Just(vec![2, 0]), Just(vec![1, 0, 1]),
        ],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let case = Case { steps, partitions, batch_size, below, fetch, projection };
        runtime.block_on(check(case));
    }
}

#[tokio::test]
async fn wrong_slices_and_shards_are_refused() {
    let store = Store::open(Settings::default()).unwrap();
    let cluster = LocalCluster::new(store.clone(), "me");
    let def = cluster.create_table(table()).await.unwrap();
    let snapshot = store.snapshot(def.id).unwrap();
    let request = ScanRequest {
        schema: Arc::clone(&def.schema),
        def,
        projection: vec![0],
        predicate: None,
        fetch: None,
        answer: None,
    };
    assert!(scan_snapshot(&snapshot, &[0], (1, 1), &request, 10).is_err());
    assert!(scan_snapshot(&snapshot, &[3], (0, 1), &request, 10).is_err());
}
