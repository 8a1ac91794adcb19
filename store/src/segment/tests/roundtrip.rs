//! What was written comes back, in the table's types.

use arrow::array::*;
use arrow::datatypes::{
    DataType as T, Field, Float16Type, Float64Type, Int32Type, Int64Type, IntervalMonthDayNano,
    UnionMode,
};

use super::*;
use crate::error::ErrorKind;

const ROWS: usize = 70_000;

/// NULL in every fourth row.
fn some<V>(value: impl Fn(usize) -> V) -> impl Iterator<Item = Option<V>> {
    (0..ROWS).map(move |row| (row % 4 != 1).then(|| value(row)))
}

fn numbers() -> Vec<(&'static str, ArrayRef)> {
    let decimal: Decimal128Array = some(|n| n as i128 * 100 - 77).collect();
    let wide: Decimal128Array = some(|n| (n as i128) << 70).collect();
    let seconds: TimestampSecondArray = some(|n| n as i64).collect();
    let zoned: TimestampMicrosecondArray = some(|n| n as i64 * 1_000_003).collect();
    let interval =
        |n: usize| IntervalMonthDayNano::new(n as i32, -(n as i32), n as i64 * 1_000_003);
    let float = |n: usize| if n == 6 { f64::NAN } else { n as f64 / -3.0 };
    vec![
        ("i8", Arc::new(some(|n| n as i8).collect::<Int8Array>())),
        ("i16", Arc::new(some(|n| n as i16).collect::<Int16Array>())),
        (
            "i32",
            Arc::new(some(|n| -(n as i32)).collect::<Int32Array>()),
        ),
        ("u8", Arc::new(some(|n| n as u8).collect::<UInt8Array>())),
        (
            "u32",
            Arc::new(some(|n| u32::MAX - n as u32).collect::<UInt32Array>()),
        ),
        (
            "u64",
            Arc::new(some(|n| u64::MAX - n as u64).collect::<UInt64Array>()),
        ),
        (
            "f32",
            Arc::new(some(|n| n as f32).collect::<Float32Array>()),
        ),
        ("f64", Arc::new(some(float).collect::<Float64Array>())),
        (
            "bool",
            Arc::new(some(|n| n % 3 == 0).collect::<BooleanArray>()),
        ),
        (
            "d15",
            Arc::new(decimal.with_precision_and_scale(15, 2).unwrap()),
        ),
        (
            "d38",
            Arc::new(wide.with_precision_and_scale(38, 3).unwrap()),
        ),
        (
            "date",
            Arc::new(some(|n| n as i32 / 9).collect::<Date32Array>()),
        ),
        (
            "date64",
            Arc::new(some(|n| n as i64 * 86_400_000).collect::<Date64Array>()),
        ),
        (
            "time",
            Arc::new(some(|n| n as i64).collect::<Time64NanosecondArray>()),
        ),
        ("seconds", Arc::new(seconds)),
        ("zoned", Arc::new(zoned.with_timezone("Europe/Berlin"))),
        (
            "span",
            Arc::new(some(interval).collect::<IntervalMonthDayNanoArray>()),
        ),
        (
            "wait",
            Arc::new(some(|n| n as i64).collect::<DurationMillisecondArray>()),
        ),
    ]
}

fn texts() -> Vec<(&'static str, ArrayRef)> {
    let word = |n: usize| ["", "R", "a word longer than twelve bytes"][n % 3].to_owned();
    let line = |n: usize| format!("comment {n} ").repeat(n % 4);
    let fixed = some(|n| (n as u32).to_be_bytes());
    let fixed = FixedSizeBinaryArray::try_from_sparse_iter_with_size(fixed, 4).unwrap();
    let coded: DictionaryArray<Int32Type> = (0..ROWS)
        .map(|n| (n % 4 != 1).then(|| ["x", "y", "z"][n % 3]))
        .collect();
    vec![
        ("utf8", Arc::new(some(line).collect::<StringArray>())),
        ("large", Arc::new(some(line).collect::<LargeStringArray>())),
        ("view", Arc::new(some(line).collect::<StringViewArray>())),
        ("words", Arc::new(some(word).collect::<StringViewArray>())),
        (
            "binary",
            Arc::new(some(|n| line(n).into_bytes()).collect::<BinaryArray>()),
        ),
        (
            "binview",
            Arc::new(some(|n| line(n).into_bytes()).collect::<BinaryViewArray>()),
        ),
        ("fixed", Arc::new(fixed)),
        ("coded", Arc::new(coded)),
        ("nothing", Arc::new(NullArray::new(ROWS))),
        ("empty", new_null_array(&T::Utf8View, ROWS)),
    ]
}

fn nested() -> Vec<(&'static str, ArrayRef)> {
    let list = some(|n| {
        (0..n % 4)
            .map(|i| (i != 2).then_some(i as i64))
            .collect::<Vec<_>>()
    });
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>(list);
    let inner: ArrayRef = Arc::new(some(|n| format!("inner {n}")).collect::<StringViewArray>());
    let half: ArrayRef =
        Arc::new(Float16Array::from_iter((0..ROWS).map(|_| {
            Some(<Float16Type as ArrowPrimitiveType>::Native::from_f32(0.5))
        })));
    let fields = vec![
        Arc::new(Field::new("s", T::Utf8View, true)),
        Arc::new(Field::new("h", T::Float16, true)),
    ];
    let valid = (0..ROWS).map(|n| n % 6 != 0).collect();
    let structs = StructArray::try_new(fields.into(), vec![inner, half], Some(valid)).unwrap();
    vec![("list", Arc::new(list)), ("struct", Arc::new(structs))]
}

fn everything() -> RecordBatch {
    let id: ArrayRef = Arc::new(Int64Array::from_iter_values(
        (0..ROWS as i64).map(|n| n * 3),
    ));
    // Names that the stamp columns would have.
    let mut columns = vec![("_version", id)];
    columns.extend(numbers());
    columns.extend(texts());
    columns.extend(nested());
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, values)| Field::new(*name, values.data_type().clone(), *name != "_version"))
        .collect();
    let columns = columns.into_iter().map(|(_, values)| values).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// Equal, NaN to NaN.
fn same(one: &ArrayRef, other: &ArrayRef) -> bool {
    let bits = |values: &ArrayRef| -> Option<Vec<Option<u64>>> {
        let floats = values.as_primitive_opt::<Float64Type>()?;
        Some(floats.iter().map(|f| f.map(f64::to_bits)).collect())
    };
    bits(one).map_or_else(|| one == other, |found| bits(other) == Some(found))
}

#[test]
fn every_type_comes_back() {
    let rows = everything();
    let fixture = Fixture::new(&rows.schema(), &[0]);
    let meta = fixture.write(1, &rows, &stamps_of(0..ROWS));
    let segment = fixture.open(&meta);
    assert_eq!(segment.group_rows(0), GROUP_ROWS);
    assert_eq!(segment.group_rows(1), ROWS - GROUP_ROWS);
    assert_eq!(segment.group_rows(2), 0);
    let read = read_all(&segment).unwrap();
    let schema = rows.schema();
    let pairs = read.columns().iter().zip(rows.columns());
    for (field, (read, written)) in schema.fields().iter().zip(pairs) {
        assert_eq!(read.data_type(), written.data_type(), "{field}");
        assert!(same(read, written), "{field}");
    }
    let chosen: Vec<u32> = vec![0, 1, 2, 4095, 4096, 65_535, 65_536, 69_999];
    let floats = schema.index_of("f64").unwrap();
    let all: Vec<usize> = (0..rows.num_columns()).filter(|c| *c != floats).collect();
    let taken = segment.take(&chosen, &all).unwrap();
    let expected = arrow::compute::take_record_batch(&rows, &UInt32Array::from(chosen)).unwrap();
    assert_eq!(taken, expected.project(&all).unwrap());
    segment.verify().unwrap();
}

#[test]
fn stamps_of_each_row_come_back() {
    let rows = plain_rows((0..ROWS as i64).map(|n| n * 2));
    let fixture = Fixture::new(&rows.schema(), &[0]);
    let meta = fixture.write(1, &rows, &stamps_of(0..ROWS));
    assert_eq!(
        (meta.oldest, meta.newest),
        (Version(1_000), Version(1_000 + (ROWS as u64 - 1) / 3))
    );
    let segment = fixture.open(&meta);
    for row in [0, 1, 4096, 65_535, 65_536, ROWS - 1] {
        assert_eq!(segment.stamp(row as u32).unwrap(), stamp_of(row));
    }
    assert_eq!(segment.stamps(1).unwrap(), stamps_of(GROUP_ROWS..ROWS));
    let authors = segment.authors(1).unwrap();
    assert_eq!(
        authors.as_string::<i32>().value(0),
        &*stamp_of(GROUP_ROWS).author
    );
    let versions = segment.versions(0).unwrap();
    assert_eq!(versions.len(), GROUP_ROWS);
    assert!(segment.stamp(ROWS as u32).is_err());
}

#[test]
fn one_stamp_is_kept_once_whether_announced_or_not() {
    let rows = plain_rows(0..9_000);
    let one = Stamps::One(stamp(5, "ann"));
    let mut fixture = Fixture::new(&rows.schema(), &[0]);
    let found = fixture.open(&fixture.write(1, &rows, &one));
    fixture.stamp = Some(stamp(5, "ann"));
    let announced = fixture.open(&fixture.write(2, &rows, &one));
    assert!(announced.meta().data_bytes < found.meta().data_bytes);
    for segment in [found, announced] {
        assert_eq!(segment.stamps(0).unwrap(), one);
        assert_eq!(segment.stamp(8_999).unwrap(), stamp(5, "ann"));
        assert_eq!(
            segment.authors(0).unwrap().as_string::<i32>().value(8_999),
            "ann"
        );
        assert_eq!(segment.versions(0).unwrap().len(), 9_000);
    }
    let mut writer = fixture.writer(3);
    let other = writer.push(&rows, &fixture.keys(&rows), &stamps_of(0..9_000));
    assert_eq!(other.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn statistics_bound_every_value() {
    let rows = everything();
    let fixture = Fixture::new(&rows.schema(), &[0]);
    let segment = fixture.open(&fixture.write(1, &rows, &Stamps::One(stamp(5, "ann"))));
    let stats = segment.column_stats().unwrap();
    for (column, summary) in stats.iter().enumerate() {
        let values = rows.column(column);
        assert_eq!(summary.nulls as usize, values.logical_null_count());
        let (mins, maxes) = (segment.zone_mins(column), segment.zone_maxes(column));
        assert_eq!(mins.unwrap().data_type(), values.data_type());
        assert_eq!(maxes.unwrap().len(), 2);
    }
    let ids = stats.first().unwrap();
    assert_eq!(
        ids.max
            .as_ref()
            .unwrap()
            .as_primitive::<Int64Type>()
            .value(0),
        (ROWS as i64 - 1) * 3
    );
    assert!(ids.exact);
    let estimate = ids.sketch.as_ref().unwrap().estimate() as f64;
    assert!((estimate - ROWS as f64).abs() < ROWS as f64 * 0.05);
    // A group with NaN has no bounds, and then the segment has none.
    let floats = rows.schema().index_of("f64").unwrap();
    assert!(segment.zone_mins(floats).unwrap().is_null(0));
    assert!(stats.get(floats).unwrap().max.is_none());
    assert!(segment.zone_maxes(floats).unwrap().is_valid(1));
    assert!(segment.zone_mins(99).is_err() && segment.zone_nulls(99).is_err());
}

#[test]
fn wrong_pushes_are_refused_and_leave_nothing() {
    let rows = plain_rows(0..100);
    let fixture = Fixture::new(&rows.schema(), &[0]);
    let keys = fixture.keys(&rows);
    let one = Stamps::One(stamp(5, "ann"));
    let mut writer = fixture.writer(1);
    writer.push(&rows, &keys, &one).unwrap();
    let again = writer.push(&rows, &keys, &one);
    assert_eq!(again.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert!(writer.finish().is_err());
    assert!(fixture.writer(2).finish().is_err());
    fixture.writer(3).abandon();
    let mut writer = fixture.writer(4);
    assert!(writer.push(&rows, &keys.slice(0, 99), &one).is_err());
    drop(writer);
    assert_eq!(std::fs::read_dir(fixture.path()).unwrap().count(), 0);
    let segment = fixture.open(&fixture.write(5, &rows, &one));
    segment.remove_files();
    assert_eq!(std::fs::read_dir(fixture.path()).unwrap().count(), 0);
}

#[test]
fn types_that_parquet_lacks_are_refused() {
    let one_of = [(0, Arc::new(Field::new("a", T::Int32, true)))];
    let one_of = T::Union(one_of.into_iter().collect(), UnionMode::Sparse);
    let values: ArrayRef = new_null_array(&one_of, 3);
    let id: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let rows = RecordBatch::try_from_iter_with_nullable([("id", id, false), ("i", values, true)]);
    let rows = rows.unwrap();
    let fixture = Fixture::new(&rows.schema(), &[0]);
    let created = SegmentWriter::create(Arc::new(OsDisk), fixture.path(), fixture.spec(1));
    let error = created.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("column \"i\""), "{error}");
}
