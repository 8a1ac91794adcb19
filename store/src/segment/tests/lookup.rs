//! Keys and positions are found, against a map.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, StringViewArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::Int64Type;
use proptest::prelude::*;

use super::*;

const ROWS: usize = 140_000;

fn segment_of_even_ids() -> (Fixture, Arc<Segment>, RecordBatch) {
    let rows = plain_rows((0..ROWS as i64).map(|n| n * 2));
    let fixture = Fixture::new(&rows.schema(), &[0]);
    let meta = fixture.write(1, &rows, &Stamps::One(stamp(5, "ann")));
    let segment = fixture.open(&meta);
    (fixture, segment, rows)
}

fn located(segment: &Segment, keys: &[&[u8]]) -> Vec<(usize, u32)> {
    let mut found = Vec::new();
    segment
        .locate(keys, &mut |index, row| found.push((index, row)))
        .unwrap();
    found
}

#[test]
fn keys_are_found_few_or_many_cached_or_not() {
    let (fixture, segment, _) = segment_of_even_ids();
    for (step, start) in [
        (1, -5),
        (7, 3),
        (977, 0),
        (40_001, 2),
        (90_000, -1),
        (3, 260_000),
    ] {
        let ids: Vec<i64> = (start..ROWS as i64 * 2 + 9).step_by(step).collect();
        let asked = fixture.keys(&plain_rows(ids.iter().copied()));
        let asked: Vec<&[u8]> = asked.iter().flatten().collect();
        let expected: Vec<(usize, u32)> = ids
            .iter()
            .enumerate()
            .filter(|(_, id)| **id % 2 == 0 && (0..ROWS as i64 * 2).contains(*id))
            .map(|(index, id)| (index, (*id / 2) as u32))
            .collect();
        fixture.cache.evict_segment(0);
        for _ in 0..2 {
            assert_eq!(located(&segment, &asked), expected, "step {step}");
        }
        for (index, key) in asked.iter().enumerate().take(20) {
            let row = expected
                .iter()
                .find(|(i, _)| *i == index)
                .map(|(_, row)| *row);
            assert_eq!(segment.locate_one(key).unwrap(), row);
        }
    }
    assert_eq!(located(&segment, &[]), []);
    assert_eq!(segment.locate_one(b"").unwrap(), None);
}

#[test]
fn several_keys_of_one_page_are_found() {
    let (fixture, segment, _) = segment_of_even_ids();
    let ids: Vec<i64> = (9_000..9_200).collect();
    let asked = fixture.keys(&plain_rows(ids.iter().copied()));
    let asked: Vec<&[u8]> = asked.iter().flatten().collect();
    for _ in 0..2 {
        let found = located(&segment, &asked);
        assert_eq!(found.len(), 100);
        assert!(
            found
                .iter()
                .all(|(index, row)| ids[*index] == i64::from(*row) * 2)
        );
    }
}

#[test]
fn rows_are_taken_few_or_many_cached_or_not() {
    let (fixture, segment, rows) = segment_of_even_ids();
    let cases: Vec<Vec<u32>> = vec![
        vec![],
        vec![0],
        vec![4_095, 4_096],
        vec![5, 6, 7, 8],
        vec![65_535, 65_536, 131_071, 131_072, 139_999],
        (0..ROWS as u32).step_by(11).collect(),
        (0..ROWS as u32).collect(),
    ];
    for chosen in cases {
        let expected = take_record_batch(&rows, &UInt32Array::from(chosen.clone())).unwrap();
        for projection in [vec![2, 0], vec![1], vec![0, 1, 2], vec![0, 0], vec![]] {
            fixture.cache.evict_segment(0);
            for _ in 0..2 {
                let taken = segment.take(&chosen, &projection).unwrap();
                assert_eq!(taken, expected.project(&projection).unwrap());
            }
        }
    }
    assert!(segment.take(&[ROWS as u32], &[0]).is_err());
    assert!(segment.take(&[3, 1], &[0]).is_err());
    assert!(segment.take(&[1], &[3]).is_err());
}

#[test]
fn the_cache_stays_within_its_bound() {
    let (mut fixture, segment, _) = segment_of_even_ids();
    fixture.cache = ColumnCache::new(2 << 20);
    let small = fixture.open(segment.meta());
    for round in 0..3 {
        for group in 0..small.groups() {
            for column in 0..3 {
                assert_eq!(
                    small.column(group, column).unwrap().len(),
                    small.group_rows(group)
                );
                assert!(fixture.cache.bytes() <= 2 << 20);
            }
            small.keys(group).unwrap();
            small.take(&[round * 9_999, 139_000], &[2]).unwrap();
        }
    }
    assert!(fixture.cache.bytes() > 0);
    drop(small);
    assert_eq!(fixture.cache.bytes(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn as_a_map_with_text_keys(
        map in prop::collection::btree_map("[a-c]{0,6}", 0i64..100, 1..300),
        asked in prop::collection::btree_set("[a-d]{0,6}", 0..60),
    ) {
        check_map(&map, asked.iter().map(String::as_str).collect());
    }
}

fn check_map(map: &BTreeMap<String, i64>, asked: Vec<&str>) {
    let schema = Arc::new(Schema::new(vec![
        Field::new("n", DataType::Int64, false),
        Field::new("name", DataType::Utf8View, false),
    ]));
    let rows = |names: Vec<&str>, numbers: Vec<i64>| {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(numbers)),
            Arc::new(StringViewArray::from_iter_values(names)),
        ];
        RecordBatch::try_new(schema.clone(), columns).unwrap()
    };
    let all = rows(
        map.keys().map(String::as_str).collect(),
        map.values().copied().collect(),
    );
    let fixture = Fixture::new(&schema, &[1]);
    let segment = fixture.open(&fixture.write(1, &all, &Stamps::One(stamp(1, "a"))));
    let asked_rows = rows(asked.clone(), vec![0; asked.len()]);
    let keys = fixture.keys(&asked_rows);
    let keys: Vec<&[u8]> = keys.iter().flatten().collect();
    let mut values = BTreeMap::new();
    for (index, row) in located(&segment, &keys) {
        let taken = segment.take(&[row], &[0]).unwrap();
        values.insert(
            asked[index],
            taken.column(0).as_primitive::<Int64Type>().value(0),
        );
    }
    let expected = asked
        .iter()
        .filter_map(|name| Some((*name, *map.get(*name)?)));
    assert_eq!(values, expected.collect());
}
