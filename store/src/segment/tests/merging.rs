//! Merging equals sorting.

use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::buffer::BooleanBuffer;
use arrow::compute::concat_batches;
use arrow::datatypes::Int64Type;
use proptest::prelude::*;

use super::super::merge::Origin;
use super::*;

/// What an input holds: ids, and which of them are live.
#[derive(Debug, Clone)]
struct Given {
    ids: Vec<i64>,
    live: Vec<bool>,
}

fn input(fixture: &Fixture, number: usize, given: &Given) -> MergeInput {
    let rows = plain_rows(given.ids.iter().copied());
    let stamps = stamped::gather_rows(given.ids.iter().map(|id| stamp_of(*id as usize)));
    let meta = fixture.write(number as u64, &rows, &stamps);
    let masks = given.live.chunks(GROUP_ROWS).map(|live| {
        let mask: BooleanBuffer = live.iter().copied().collect();
        (mask.count_set_bits() < mask.len()).then_some(mask)
    });
    MergeInput {
        segment: fixture.open(&meta),
        live: masks.collect(),
    }
}

fn check(all: &[Given]) {
    let fixture = Fixture::new(&plain_schema(), &[0]);
    let mut expected = BTreeMap::new();
    for (number, given) in all.iter().enumerate() {
        for (row, (id, live)) in given.ids.iter().zip(&given.live).enumerate() {
            if *live {
                let origin = Origin {
                    input: number as u32,
                    row: row as u32,
                };
                assert!(expected.insert(*id, origin).is_none());
            }
        }
    }
    let inputs = all.iter().enumerate();
    let inputs = inputs.map(|(n, given)| input(&fixture, n, given)).collect();
    let (mut batches, mut origins) = (Vec::new(), Vec::new());
    merge_sorted(inputs, &mut |merged| {
        assert_eq!(merged.keys, fixture.keys(&merged.rows));
        let ids = merged.rows.column(0).as_primitive::<Int64Type>();
        for (row, id) in ids.values().iter().enumerate() {
            assert_eq!(merged.stamps.stamp(row), stamp_of(*id as usize));
        }
        batches.push(merged.rows);
        origins.extend(merged.origins);
        Ok(())
    })
    .unwrap();
    let merged = concat_batches(&plain_schema(), &batches).unwrap();
    assert_eq!(merged, plain_rows(expected.keys().copied()));
    assert!(expected.values().eq(&origins));
}

#[test]
fn interleaved_and_stacked_groups() {
    let given = |ids: Vec<i64>, live: fn(i64) -> bool| Given {
        live: ids.iter().map(|id| live(*id)).collect(),
        ids,
    };
    check(&[
        given((0..150_000).step_by(2).collect(), |id| id % 10 != 4),
        given((1..150_000).step_by(2).collect(), |id| id < 140_000),
        given((200_000..280_000).collect(), |_| true),
        given((4..150_000).step_by(10).collect(), |_| true),
        given((300_000..440_000).collect(), |id| id > 439_000),
    ]);
    check(&[]);
}

#[test]
fn the_first_error_stops_it() {
    let fixture = Fixture::new(&plain_schema(), &[0]);
    let given = Given {
        ids: (0..40_000).collect(),
        live: vec![true; 40_000],
    };
    let mut calls = 0;
    let stopped = merge_sorted(vec![input(&fixture, 0, &given)], &mut |_| {
        calls += 1;
        Err(crate::error::Error::closed())
    });
    assert!(stopped.is_err() && calls == 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn equals_sorting(owners in prop::collection::vec((0usize..4, any::<bool>(), 0usize..4), 0..400)) {
        let mut all = vec![Given { ids: vec![], live: vec![] }; 4];
        for (id, (owner, live, other)) in owners.into_iter().enumerate() {
            all[owner].ids.push(id as i64);
            all[owner].live.push(live);
            if other != owner {
                // The same key, hidden.
                all[other].ids.push(id as i64);
                all[other].live.push(false);
            }
        }
        all.retain(|given| !given.ids.is_empty());
        check(&all);
    }
}
