//! TPC-H: the answers of DuckDB and of plain DataFusion, with and without co-location, and the plans
//! that it gives.

use std::fs;
use std::path::PathBuf;

use crate::common::tables::{Session, Tables, plain, plain_rows, rows_and_plan};
use crate::common::tpch::{query, tables};

/// Rows of the tables that answers are compared on: 60 thousand in the largest.
const ANSWERS_SCALE: f64 = 0.01;
/// Rows of the tables that plans are made for: enough that none but the smallest is read at once.
const PLANS_SCALE: f64 = 0.05;
/// What a join collects at scale 1, by default, in bytes and rows.
const COLLECTED: (usize, usize) = (1 << 20, 128 << 10);
/// The queries whose plans are pinned.
const PLANS: [usize; 9] = [1, 3, 5, 7, 9, 10, 13, 18, 21];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_do_not_depend_on_where_rows_lie() {
    let source = tables(ANSWERS_SCALE, 3);
    let stored = Tables::new(&source).await;
    let context = plain(&source);
    let off = stored.engine(Session {
        colocate: false,
        ..Session::default()
    });
    let on = stored.engine(Session::default());
    let collecting = stored.engine(Session {
        collected: (COLLECTED.0 / 100, COLLECTED.1 / 100),
        target_partitions: 4,
        ..Session::default()
    });
    for number in 1..=22 {
        let text = query(number);
        let expected = plain_rows(&context, &text).await;
        compare_with_duckdb(number, &expected);
        for engine in [&off, &on, &collecting] {
            let (found, plan) = rows_and_plan(engine, &text).await;
            assert_eq!(found, expected, "query {number}\n{plan}");
        }
    }
}

/// Fails unless these are the rows that DuckDB gives to a query.
fn compare_with_duckdb(number: usize, rows: &[Vec<String>]) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/tpch");
    let text = fs::read_to_string(folder.join(format!("q{number:02}.tsv"))).unwrap();
    let cells = |line: &str| line.split('\t').map(str::to_owned).collect();
    let mut theirs: Vec<Vec<String>> = text.lines().skip(1).map(cells).collect();
    let mut ours = rows.to_vec();
    assert_eq!(ours.len(), theirs.len(), "query {number}");
    // What is not rounded tells the rows of every query apart.
    let exact = |row: &Vec<String>| -> Vec<String> {
        let exact = row.iter().filter(|cell| digits_of(cell).is_none());
        exact.cloned().collect()
    };
    ours.sort_by_key(exact);
    theirs.sort_by_key(exact);
    for (ours, theirs) in ours.iter().zip(&theirs) {
        let same =
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| is_like(a, b));
        assert!(same, "query {number}: {ours:?}, but DuckDB {theirs:?}");
    }
}

/// The digits behind the point of a number that has one.
fn digits_of(cell: &str) -> Option<i32> {
    let (_, digits) = cell.split_once('.')?;
    cell.parse::<f64>().ok()?;
    i32::try_from(digits.len()).ok()
}

/// Whether both are the same, up to the last digit of the one that has fewer.
fn is_like(ours: &str, theirs: &str) -> bool {
    match (digits_of(ours), digits_of(theirs)) {
        (Some(a), Some(b)) => {
            let (ours, theirs): (f64, f64) = (ours.parse().unwrap(), theirs.parse().unwrap());
            let last = 10f64.powi(-a.min(b));
            (ours - theirs).abs() <= last.max(ours.abs() * 1e-12)
        }
        _ => ours == theirs,
    }
}

/// Compares with the files in `tests/plans`; `NETABASE_TEST_REFILL=1` writes them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plans_move_no_rows_that_lie_where_they_are_needed() {
    let stored = Tables::new(&tables(PLANS_SCALE, 4)).await;
    let share = |value: usize| (value as f64 * PLANS_SCALE) as usize;
    let engine = stored.engine(Session {
        collected: (share(COLLECTED.0), share(COLLECTED.1)),
        ..Session::default()
    });
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/plans");
    let refill = std::env::var_os("NETABASE_TEST_REFILL").is_some();
    for number in PLANS {
        let (_, plan) = rows_and_plan(&engine, &query(number)).await;
        let path = folder.join(format!("q{number}.txt"));
        if refill {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&path, &plan).unwrap();
        }
        let pinned = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(plan, pinned, "query {number}: look at it, then refill");
    }
}
