//! Figures, printed on request: `cargo test --release -p netabase-store --lib segment -- --ignored
//! --nocapture`.

use std::time::{Duration, Instant};

use arrow::array::{Array, Date32Array, Int32Array, StringViewArray};

use super::*;

const ROWS: usize = 1_000_000;

/// Lookups of each kind.
const LOOKUPS: usize = 2_000;

/// A small generator, the same numbers every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        summary::mix(self.0) % bound
    }
}

fn decimals(dice: &mut Dice, from: i128, range: u64) -> ArrayRef {
    let values: Decimal128Array = (0..ROWS)
        .map(|_| Some(from + i128::from(dice.below(range))))
        .collect();
    Arc::new(values.with_precision_and_scale(15, 2).unwrap())
}

fn words(dice: &mut Dice, words: &[&str]) -> ArrayRef {
    let chosen = (0..ROWS).map(|_| words[dice.below(words.len() as u64) as usize]);
    Arc::new(StringViewArray::from_iter_values(chosen))
}

fn comments(dice: &mut Dice) -> ArrayRef {
    const WORDS: [&str; 12] = [
        "carefully",
        "final",
        "deposits",
        "sleep",
        "furiously",
        "ironic",
        "requests",
        "above",
        "the",
        "slyly",
        "express",
        "packages",
    ];
    let mut comment = || {
        let count = 2 + dice.below(5);
        let words = (0..count).map(|_| WORDS[dice.below(12) as usize]);
        words.collect::<Vec<_>>().join(" ")
    };
    Arc::new(StringViewArray::from_iter_values(
        (0..ROWS).map(|_| comment()),
    ))
}

/// Like TPC-H's lineitem: four lines to an order.
fn lineitem() -> RecordBatch {
    let dice = &mut Dice(1);
    let dates = |dice: &mut Dice| -> ArrayRef {
        Arc::new(Date32Array::from_iter_values(
            (0..ROWS).map(|_| 8_000 + dice.below(2_500) as i32),
        ))
    };
    let numbers = |dice: &mut Dice, range: u64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(
            (0..ROWS).map(|_| dice.below(range) as i64),
        ))
    };
    let order =
        Int64Array::from_iter_values((0..ROWS).map(|n| (n / 4 / 8 * 32 + n / 4 % 8) as i64));
    let line = Int32Array::from_iter_values((0..ROWS).map(|n| n as i32 % 4 + 1));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("orderkey", Arc::new(order)),
        ("partkey", numbers(dice, 200_000)),
        ("suppkey", numbers(dice, 10_000)),
        ("linenumber", Arc::new(line)),
        ("quantity", decimals(dice, 100, 50)),
        ("extendedprice", decimals(dice, 90_000, 10_000_000)),
        ("discount", decimals(dice, 0, 11)),
        ("tax", decimals(dice, 0, 9)),
        ("returnflag", words(dice, &["A", "N", "R"])),
        ("linestatus", words(dice, &["O", "F"])),
        ("shipdate", dates(dice)),
        ("commitdate", dates(dice)),
        ("receiptdate", dates(dice)),
        (
            "shipinstruct",
            words(
                dice,
                &[
                    "DELIVER IN PERSON",
                    "COLLECT COD",
                    "NONE",
                    "TAKE BACK RETURN",
                ],
            ),
        ),
        (
            "shipmode",
            words(
                dice,
                &["REG AIR", "AIR", "RAIL", "SHIP", "TRUCK", "MAIL", "FOB"],
            ),
        ),
        ("comment", comments(dice)),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn rate(bytes: usize, time: Duration) -> String {
    format!(
        "{:.0} MB/s in {time:.0?}",
        bytes as f64 / 1e6 / time.as_secs_f64()
    )
}

fn each(name: &str, mut lookup: impl FnMut(u32)) {
    let dice = &mut Dice(9);
    let begin = Instant::now();
    (0..LOOKUPS).for_each(|_| lookup(dice.below(ROWS as u64) as u32));
    println!("{name}: {:.1?} each", begin.elapsed() / LOOKUPS as u32);
}

#[test]
#[ignore = "prints figures"]
fn lineitem_speed() {
    let rows = lineitem();
    let plain = rows.get_array_memory_size();
    let mut fixture = Fixture::new(&rows.schema(), &[0, 3]);
    let begin = Instant::now();
    let mut notes: Vec<_> = rows
        .columns()
        .iter()
        .map(|c| summary::ColumnNotes::new(c.data_type()))
        .collect();
    notes
        .iter_mut()
        .zip(rows.columns())
        .for_each(|(notes, column)| notes.add(0, column));
    println!("statistics of {ROWS} rows x 16: {:.2?}", begin.elapsed());
    let begin = Instant::now();
    let meta = fixture.write(1, &rows, &Stamps::One(stamp(5, "ann")));
    println!("encode {} of {plain} bytes", rate(plain, begin.elapsed()));
    println!(
        "data {} bytes, index {} bytes",
        meta.data_bytes, meta.index_bytes
    );
    fixture.cache = ColumnCache::new(0);
    let segment = fixture.open(&meta);
    segment.column_stats().unwrap();
    let begin = Instant::now();
    for (column, field) in rows.schema().fields().iter().enumerate() {
        let begin = Instant::now();
        for group in 0..segment.groups() {
            std::hint::black_box(segment.column(group, column).unwrap());
        }
        println!("  {:14} {:.1?}", field.name(), begin.elapsed());
    }
    println!("decode {}", rate(plain, begin.elapsed()));
    let keys = fixture.keys(&rows);
    lookups(&mut fixture, &meta, &keys);
    many(&segment, &keys);
}

fn lookups(fixture: &mut Fixture, meta: &SegmentMeta, keys: &BinaryArray) {
    for (name, cache) in [("nothing cached", 0), ("cached", 1 << 30)] {
        fixture.cache = ColumnCache::new(cache);
        let segment = fixture.open(meta);
        segment.load().unwrap();
        for round in 0..2 {
            println!("{name}, round {round}");
            each("  take 1 column", |row| {
                drop(segment.take(&[row], &[5]).unwrap())
            });
            each("  take 4 columns", |row| {
                drop(segment.take(&[row], &[1, 4, 10, 14]).unwrap())
            });
            each("  take comment", |row| {
                drop(segment.take(&[row], &[15]).unwrap())
            });
            each("  locate", |row| {
                assert_eq!(
                    segment.locate_one(keys.value(row as usize)).unwrap(),
                    Some(row)
                );
            });
            each("  locate missing", |row| {
                let mut key = keys.value(row as usize).to_vec();
                key.push(0);
                assert_eq!(segment.locate_one(&key).unwrap(), None);
            });
        }
    }
}

fn many(segment: &Arc<Segment>, keys: &BinaryArray) {
    let begin = Instant::now();
    let asked: Vec<&[u8]> = keys.iter().flatten().step_by(10).collect();
    let mut found = 0;
    segment.locate(&asked, &mut |_, _| found += 1).unwrap();
    println!("locate {found} keys: {:.0?}", begin.elapsed());
    let begin = Instant::now();
    let mut merged = 0;
    let inputs = (0..2).map(|half| MergeInput {
        segment: segment.clone(),
        live: (0..segment.groups())
            .map(|group| 0..segment.group_rows(group))
            .map(|rows| Some(rows.map(|row| row / 3 % 2 == half).collect()))
            .collect(),
    });
    merge_sorted(inputs.collect(), &mut |part| {
        merged += part.rows.num_rows();
        Ok(())
    })
    .unwrap();
    println!("merge two of {merged} rows: {:.0?}", begin.elapsed());
}
