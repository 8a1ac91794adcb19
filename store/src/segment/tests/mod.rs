//! Tests of segments: a folder, rows, and what reads them back.

mod damage;
mod lookup;
mod merging;
mod roundtrip;
mod speed;

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Decimal128Array, Int64Array, RecordBatch, StringViewArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::*;
use crate::disk::OsDisk;
use crate::mem::Stamps;

pub(super) fn stamp(version: u64, author: &str) -> Stamp {
    Stamp {
        version: Version(version),
        author: author.into(),
    }
}

/// Version and author differ from row to row, with runs.
pub(super) fn stamp_of(row: usize) -> Stamp {
    stamp(1_000 + row as u64 / 3, ["ann", "bob", "cleo"][row / 7 % 3])
}

pub(super) fn stamps_of(rows: std::ops::Range<usize>) -> Stamps {
    stamped::gather_rows(rows.map(stamp_of))
}

/// A segment under test: what to read it with.
pub(super) struct Fixture {
    pub(super) folder: tempfile::TempDir,
    pub(super) cache: Arc<ColumnCache>,
    pub(super) schema: SchemaRef,
    pub(super) key: Vec<usize>,
    pub(super) stamp: Option<Stamp>,
}

impl Fixture {
    pub(super) fn new(schema: &SchemaRef, key: &[usize]) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            cache: ColumnCache::new(64 << 20),
            schema: schema.clone(),
            key: key.to_vec(),
            stamp: None,
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn layout(&self) -> Arc<KeyLayout> {
        Arc::new(KeyLayout::new(&self.schema, self.key.clone()).unwrap())
    }

    pub(super) fn keys(&self, rows: &RecordBatch) -> BinaryArray {
        let columns: Vec<ArrayRef> = self.key.iter().map(|&c| rows.column(c).clone()).collect();
        self.layout().encode(self.path(), &columns).unwrap()
    }

    pub(super) fn spec(&self, number: u64) -> SegmentSpec {
        SegmentSpec {
            table: TableId([7; 16]),
            shard: 3,
            number,
            change: Change::Upsert,
            schema: self.schema.clone(),
            codec: Codec::default(),
            stamp: self.stamp.clone(),
            run: None,
        }
    }

    pub(super) fn writer(&self, number: u64) -> SegmentWriter {
        let disk = Arc::new(OsDisk);
        SegmentWriter::create(disk, self.path(), self.spec(number)).unwrap()
    }

    /// Writes rows in pieces of uneven sizes.
    pub(super) fn write(&self, number: u64, rows: &RecordBatch, stamps: &Stamps) -> SegmentMeta {
        let mut writer = self.writer(number);
        let keys = self.keys(rows);
        let mut from = 0;
        for piece in [1, 5_000, 3_191, 70_000, 12_345].into_iter().cycle() {
            let len = piece.min(rows.num_rows() - from);
            let chosen: Vec<u32> = (from as u32..(from + len) as u32).collect();
            let part = stamps.select(&chosen);
            writer
                .push(&rows.slice(from, len), &keys.slice(from, len), &part)
                .unwrap();
            from += len;
            if from == rows.num_rows() {
                break;
            }
        }
        assert_eq!(writer.rows(), rows.num_rows() as u64);
        writer.finish().unwrap()
    }

    pub(super) fn open(&self, meta: &SegmentMeta) -> Arc<Segment> {
        let place = SegmentPlace {
            disk: Arc::new(OsDisk),
            folder: self.path().to_path_buf(),
            cache: self.cache.clone(),
            run: None,
        };
        let segment = Segment::new(place, meta.clone(), self.schema.clone(), self.layout());
        Arc::new(segment)
    }
}

/// A small table: a key, a number, a text. Keys are even numbers.
pub(super) fn plain_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("price", DataType::Decimal128(15, 2), true),
        Field::new("text", DataType::Utf8View, true),
    ]))
}

pub(super) fn plain_rows(ids: impl Iterator<Item = i64> + Clone) -> RecordBatch {
    let prices: Decimal128Array = ids
        .clone()
        .map(|n| Some(i128::from(n) * 7 % 1000))
        .collect();
    let texts: StringViewArray = ids
        .clone()
        .map(|n| (n % 5 != 0).then(|| format!("a text that is not short: {n}")))
        .collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(ids)),
        Arc::new(prices.with_precision_and_scale(15, 2).unwrap()),
        Arc::new(texts),
    ];
    RecordBatch::try_new(plain_schema(), columns).unwrap()
}

/// All rows of a segment, read column by column.
pub(super) fn read_all(segment: &Segment) -> crate::error::Result<RecordBatch> {
    let groups = (0..segment.groups()).map(|group| {
        let columns = 0..segment.schema().fields().len();
        let columns: Vec<ArrayRef> = columns
            .map(|column| segment.column(group, column))
            .collect::<crate::error::Result<_>>()?;
        Ok(RecordBatch::try_new(segment.schema().clone(), columns).unwrap())
    });
    let groups: Vec<RecordBatch> = groups.collect::<crate::error::Result<_>>()?;
    Ok(arrow::compute::concat_batches(segment.schema(), &groups).unwrap())
}
