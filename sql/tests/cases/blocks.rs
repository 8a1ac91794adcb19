//! Reading blocks: what is not needed is not fetched, and the order stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, AsArray, Int64Array, StringViewArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{binary, col, lit};
use futures::TryStreamExt;
use netabase_sql::store::{TableDef, TableId, Version};
use netabase_sql::{Block, BlockRows, ScanRequest, Zone, scan_blocks};

/// Rows of a block.
const ROWS: i64 = 1000;

/// Keys from `first`, and how often each column was fetched.
#[derive(Debug)]
struct Counted {
    first: i64,
    zones: bool,
    hidden: Option<BooleanBuffer>,
    fetched: [AtomicUsize; 3],
}

impl Counted {
    fn new(first: i64, zones: bool) -> Arc<Self> {
        Arc::new(Self {
            first,
            zones,
            hidden: None,
            fetched: Default::default(),
        })
    }

    fn fetched(&self) -> [usize; 3] {
        [0, 1, 2].map(|column| self.fetched[column].load(Ordering::Relaxed))
    }
}

impl Block for Counted {
    fn rows(&self) -> usize {
        ROWS as usize
    }

    fn live(&self) -> Option<BooleanBuffer> {
        self.hidden.clone()
    }

    fn column(&self, column: usize) -> Result<ArrayRef, DataFusionError> {
        self.fetched[column].fetch_add(1, Ordering::Relaxed);
        let keys = self.first..self.first + ROWS;
        Ok(match column {
            0 => Arc::new(Int64Array::from_iter_values(keys)),
            1 => Arc::new(Int64Array::from_iter(
                keys.map(|key| (key % 5 != 0).then_some(key % 7)),
            )),
            _ => Arc::new(StringViewArray::from_iter_values(
                keys.map(|key| format!("a text that is not inlined {key}")),
            )),
        })
    }

    fn zone(&self, column: usize) -> Option<Zone> {
        let bounds = |min: i64, max: i64, nulls| Zone {
            min: Some(ScalarValue::Int64(Some(min))),
            max: Some(ScalarValue::Int64(Some(max))),
            nulls: Some(nulls),
        };
        match column {
            _ if !self.zones => None,
            0 => Some(bounds(self.first, self.first + ROWS - 1, 0)),
            1 => Some(bounds(0, 6, 200)),
            _ => None,
        }
    }
}

fn table() -> Arc<TableDef> {
    Arc::new(TableDef {
        id: TableId::derive(&[b"t"]),
        name: "t".to_string(),
        schema: Arc::new(Schema::new(vec![
            Field::new("k", DataType::Int64, false),
            Field::new("v", DataType::Int64, true),
            Field::new("s", DataType::Utf8View, true),
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

fn compared(column: &str, op: Operator, value: i64) -> Arc<dyn PhysicalExpr> {
    let schema = &table().schema;
    binary(col(column, schema).unwrap(), op, lit(value), schema).unwrap()
}

fn both(one: Arc<dyn PhysicalExpr>, other: Arc<dyn PhysicalExpr>) -> Arc<dyn PhysicalExpr> {
    binary(one, Operator::And, other, &table().schema).unwrap()
}

/// The keys that come out.
async fn read(
    blocks: &[Arc<Counted>],
    predicate: Option<Arc<dyn PhysicalExpr>>,
    projection: &[usize],
    fetch: Option<usize>,
) -> Vec<i64> {
    let request = ScanRequest {
        def: table(),
        schema: Arc::clone(&table().schema),
        projection: projection.to_vec(),
        predicate,
        fetch,
        answer: None,
    };
    let blocks = blocks.iter();
    let blocks = blocks.map(|block| BlockRows::all(Arc::clone(block) as Arc<dyn Block>));
    let stream = scan_blocks(blocks.collect::<Vec<_>>(), &request, 128).unwrap();
    let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
    let keys = batches.iter().flat_map(|batch| {
        let keys = batch.column(0).as_primitive::<Int64Type>();
        keys.values().to_vec()
    });
    keys.collect()
}

fn three(zones: bool) -> [Arc<Counted>; 3] {
    [0, 1, 2].map(|i| Counted::new(i * ROWS, zones))
}

#[tokio::test]
async fn blocks_that_cannot_match_are_not_touched() {
    let blocks = three(true);
    let predicate = both(
        compared("k", Operator::GtEq, 1500),
        compared("k", Operator::Lt, 2000),
    );
    let keys = read(&blocks, Some(predicate), &[0, 2], None).await;
    assert_eq!(keys, (1500..2000).collect::<Vec<_>>());
    let fetched = blocks.each_ref().map(|block| block.fetched());
    assert_eq!(fetched, [[0, 0, 0], [1, 0, 1], [0, 0, 0]]);
}

#[tokio::test]
async fn without_zones_every_block_is_checked_and_no_more_is_fetched() {
    let blocks = three(false);
    let predicate = compared("k", Operator::GtEq, 1500);
    let keys = read(&blocks, Some(predicate), &[0, 2], None).await;
    assert_eq!(keys, (1500..3000).collect::<Vec<_>>());
    let fetched = blocks.each_ref().map(|block| block.fetched());
    assert_eq!(fetched, [[1, 0, 0], [1, 0, 1], [1, 0, 1]]);
}

#[tokio::test]
async fn a_part_of_the_predicate_that_keeps_nothing_ends_a_block() {
    let blocks = three(false);
    let predicate = both(
        compared("v", Operator::Eq, 3),
        compared("k", Operator::Lt, 10),
    );
    let keys = read(&blocks, Some(predicate), &[0], None).await;
    assert_eq!(keys, [3]);
    let bounds = compared("k", Operator::Lt, 10);
    let keys = read(
        &blocks,
        Some(both(bounds, compared("v", Operator::Eq, 3))),
        &[0],
        None,
    )
    .await;
    assert_eq!(keys, [3]);
    // The second time the values were needed in the first block only.
    let fetched = blocks.each_ref().map(|block| block.fetched()[1]);
    assert_eq!(fetched, [2, 1, 1]);
}

#[tokio::test]
async fn a_limit_stops_reading() {
    let blocks = three(true);
    let keys = read(&blocks, None, &[0], Some(1100)).await;
    assert_eq!(keys, (0..1100).collect::<Vec<_>>());
    let fetched = blocks.each_ref().map(|block| block.fetched()[0]);
    assert_eq!(fetched, [1, 1, 0]);
}

#[tokio::test]
async fn hidden_rows_are_not_returned_and_need_no_column() {
    let mut all_hidden = Arc::into_inner(Counted::new(0, true)).unwrap();
    all_hidden.hidden = Some(BooleanBuffer::new_unset(ROWS as usize));
    let mut some_hidden = Arc::into_inner(Counted::new(ROWS, true)).unwrap();
    some_hidden.hidden = Some(BooleanBuffer::collect_bool(ROWS as usize, |i| i % 2 == 0));
    let blocks = [Arc::new(all_hidden), Arc::new(some_hidden)];
    let predicate = compared("v", Operator::NotEq, 100);
    let keys = read(&blocks, Some(predicate), &[0], None).await;
    let expected = (ROWS..2 * ROWS).filter(|key| key % 2 == 0 && key % 5 != 0);
    assert_eq!(keys, expected.collect::<Vec<_>>());
    assert_eq!(blocks[0].fetched(), [0, 0, 0]);
}
