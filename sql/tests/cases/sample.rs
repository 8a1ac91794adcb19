//! TABLESAMPLE: samples are as large as they should be, even, and the same wherever the rows lie.

use netabase_sql::Engine;

use crate::common::{engine, engine_in_folder, rows, run};

const ROWS: u32 = 20_000;

async fn fill(engine: &Engine, shards: u32) {
    run(
        engine,
        &format!(
            "CREATE TABLE t (id BIGINT PRIMARY KEY) WITH (shards = {shards});
             INSERT INTO t SELECT value FROM generate_series(1, {ROWS})"
        ),
    )
    .await;
}

async fn sample(engine: &Engine, clause: &str) -> Vec<u32> {
    let sql = format!("SELECT id FROM t TABLESAMPLE {clause} ORDER BY id");
    let rows = rows(engine, &sql).await;
    rows.iter().map(|row| row[0].parse().unwrap()).collect()
}

#[tokio::test]
async fn a_percentage_is_met_and_hits_all_rows_alike() {
    let engine = engine();
    fill(&engine, 8).await;
    // Of n rows, a sample of p has np of them, give or take sqrt(np(1-p)).
    let (n, p) = (f64::from(ROWS), 0.1);
    let deviation = (n * p * (1.0 - p)).sqrt();
    let mut sizes = Vec::new();
    let mut tenths = [0u32; 10];
    for seed in 0..20 {
        let ids = sample(&engine, &format!("BERNOULLI (10) REPEATABLE ({seed})")).await;
        let off = (ids.len() as f64 - n * p).abs();
        assert!(off < 5.0 * deviation, "seed {seed}: {} rows", ids.len());
        sizes.push(ids.len() as f64);
        for id in ids {
            tenths[((id - 1) * 10 / ROWS) as usize] += 1;
        }
    }
    // 20 samples together, by tenths of the keys: 4000 rows each.
    let deviation = (n * 2.0 * p * (1.0 - p)).sqrt();
    for count in tenths {
        let off = (f64::from(count) - n * 2.0 * p).abs();
        assert!(off < 5.0 * deviation, "{tenths:?}");
    }
    assert!(sizes.iter().any(|size| *size != sizes[0]), "{sizes:?}");
}

#[tokio::test]
async fn without_a_seed_every_sample_is_another() {
    let engine = engine();
    fill(&engine, 2).await;
    let one = sample(&engine, "BERNOULLI (50)").await;
    let other = sample(&engine, "BERNOULLI (50)").await;
    // Two of them are equal with a probability of 2^-20000.
    assert_ne!(one, other);
    let shared = one.iter().filter(|id| other.contains(id)).count() as f64;
    let (expected, deviation) = (f64::from(ROWS) / 4.0, (f64::from(ROWS) * 3.0 / 16.0).sqrt());
    assert!((shared - expected).abs() < 5.0 * deviation, "{shared}");
}

#[tokio::test]
async fn a_number_of_rows_comes_exactly_and_from_everywhere() {
    let engine = engine();
    run(
        &engine,
        "CREATE TABLE t (id BIGINT PRIMARY KEY); INSERT INTO t SELECT value FROM generate_series(0, 99)",
    )
    .await;
    let mut drawn = [0u32; 100];
    for seed in 0..200 {
        let ids = sample(&engine, &format!("(10 ROWS) REPEATABLE ({seed})")).await;
        assert_eq!(ids.len(), 10);
        ids.into_iter().for_each(|id| drawn[id as usize] += 1);
    }
    // Each row is drawn with probability 0.1 in 200 samples: 20 times, give or take 4.2.
    let off = |count: &&u32| count.abs_diff(20) > 25;
    assert_eq!(drawn.iter().find(off), None, "{drawn:?}");
    assert!(drawn.iter().all(|count| *count > 0), "{drawn:?}");
}

#[tokio::test]
async fn a_seed_gives_the_same_rows_wherever_they_lie() {
    let (one, many) = (engine(), engine());
    fill(&one, 1).await;
    fill(&many, 16).await;
    let (folder, _dir) = engine_in_folder(4);
    fill(&folder, 4).await;
    for clause in [
        "BERNOULLI (3) REPEATABLE (42)",
        "SYSTEM (33.3) REPEATABLE (1)",
        "(50 ROWS) REPEATABLE (7)",
    ] {
        let expected = sample(&one, clause).await;
        assert_eq!(sample(&many, clause).await, expected, "{clause}");
        assert_eq!(sample(&folder, clause).await, expected, "{clause}");
    }
    let before = sample(&folder, "BERNOULLI (3) REPEATABLE (42)").await;
    run(&folder, "CHECKPOINT").await;
    assert_eq!(
        sample(&folder, "BERNOULLI (3) REPEATABLE (42)").await,
        before
    );
}
