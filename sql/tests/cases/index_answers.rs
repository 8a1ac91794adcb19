//! The first rows of an order, and numbers of rows, are the same whether an index tells them or not.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use netabase_sql::{Engine, ShardScan};
use tempfile::TempDir;

use crate::common::{engine_in_folder, rows, run, value};

const NAMES: [&str; 7] = ["k", "p", "a", "b", "s", "f", "d"];
const COLUMNS: &str = "k BIGINT, p INT, a BIGINT, b INT NOT NULL, s TEXT, f DOUBLE, d DATE, \
                       PRIMARY KEY (k, p)";

/// Rows with many equal values, NULLs, NaNs and zeros of both signs.
fn insert(table: &str, (from, to): (i64, i64), plus: i64) -> String {
    format!(
        "INSERT INTO {table} SELECT value, value % 3,
             CASE WHEN value % 11 = 0 THEN NULL ELSE (value * 7919 + {plus}) % 2003 END,
             CAST((value * 31 + {plus}) % 17 AS INT),
             CASE WHEN value % 13 = 0 THEN NULL ELSE 'n' || ((value * 101 + {plus}) % 4001) END,
             CASE WHEN value % 1009 = 0 THEN CAST('NaN' AS DOUBLE) WHEN value % 907 = 0 THEN -0.0
                  WHEN value % 7 = 0 THEN NULL ELSE ((value * 37) % 4000 - 2000) / 16.0 END,
             DATE '2020-01-01' + CAST((value * 13 + {plus}) % 3000 AS INT)
         FROM generate_series({from}, {to})"
    )
}

async fn filled(partitions: usize, shards: u32) -> (Engine, TempDir) {
    let (engine, dir) = engine_in_folder(partitions);
    for table in ["t", "u"] {
        let create = format!("CREATE TABLE {table} ({COLUMNS}) WITH (shards = {shards})");
        run(&engine, &create).await;
    }
    let changes = |table: &str| {
        [
            insert(table, (1, 12_000), 0),
            // Writes over a part of them.
            insert(table, (9_000, 16_000), 5),
            // The least, the greatest, and others.
            format!("DELETE FROM {table} WHERE a < 20 OR a > 1990 OR a = 77 OR k % 1000 = 17"),
            insert(table, (100, 140), 9),
        ]
    };
    for (one, other) in changes("t").into_iter().zip(changes("u")) {
        run(&engine, &one).await;
        run(&engine, &other).await;
        engine.store().flush_to_segments().unwrap();
    }
    for table in ["t", "u"] {
        // These stay in memory, and hide some of the rows in files.
        let late = format!(
            "INSERT INTO {table} VALUES (70000, 1, 21, 3, 'n44', 0.0, DATE '2020-01-05'),
                                        (41, 2, 1989, 3, NULL, -0.0, DATE '2030-01-05'),
                                        (70001, 1, NULL, 0, 'n44', NULL, NULL);
             DELETE FROM {table} WHERE k BETWEEN 200 AND 210 OR a = 22;
             {}",
            insert(table, (60_000, 60_100), 3)
        );
        run(&engine, &late).await;
    }
    run(
        &engine,
        "CREATE INDEX by_a ON t (a);
         CREATE INDEX by_sa ON t (s, a);
         CREATE INDEX by_bd ON t (b, d);
         CREATE INDEX by_f ON t (f);
         CREATE INDEX by_d ON t (d)",
    )
    .await;
    (engine, dir)
}

/// Who tells the answer in large segments.
#[derive(Clone, Copy, PartialEq)]
enum Told {
    By(&'static str),
    Never,
}

use Told::{By, Never};

const FIRSTS: &[(&str, &str, Told)] = &[
    ("TRUE", "a", By("by_a")),
    ("TRUE", "a DESC", By("by_a")),
    ("TRUE", "a NULLS FIRST", By("by_a")),
    ("TRUE", "a DESC NULLS LAST", By("by_a")),
    ("TRUE", "a, k, p", By("by_a")),
    ("TRUE", "a DESC, k DESC", By("by_a")),
    ("TRUE", "a, k DESC", Never),
    ("TRUE", "a, p", Never),
    ("TRUE", "a, b", Never),
    ("TRUE", "f", By("by_f")),
    ("TRUE", "f DESC", By("by_f")),
    ("TRUE", "f DESC NULLS LAST", By("by_f")),
    ("TRUE", "s NULLS FIRST, a NULLS FIRST", By("by_sa")),
    ("TRUE", "s DESC, a DESC NULLS LAST", By("by_sa")),
    // Where `s` is equal, NULLs of `a` are wanted at the other end.
    ("TRUE", "s DESC, a DESC", Never),
    ("TRUE", "s, a", Never),
    ("TRUE", "s, a NULLS FIRST", By("by_sa")),
    ("TRUE", "s NULLS FIRST, a DESC", Never),
    ("TRUE", "b, d NULLS FIRST", By("by_bd")),
    // In segments there are no NULLs.
    ("TRUE", "b, d", By("by_bd")),
    ("TRUE", "b DESC, d DESC NULLS LAST", By("by_bd")),
    ("TRUE", "k, p", By("primary key")),
    ("TRUE", "k DESC, p DESC", By("primary key")),
    ("TRUE", "k DESC NULLS LAST", By("primary key")),
    ("TRUE", "k DESC, p", Never),
    ("TRUE", "p", Never),
    ("TRUE", "a + 1", Never),
    ("a > 500", "a", By("by_a")),
    ("a > 500 AND a <= 700", "a DESC", By("by_a")),
    ("a > 500 AND a >= 500", "a", By("by_a")),
    ("a < 700", "a DESC, k DESC", By("by_a")),
    ("a < 30", "a", By("by_a")),
    ("a IS NULL", "k", By("by_a")),
    ("a IS NULL", "k DESC, p DESC", By("by_a")),
    ("a IN (500, 501, 77)", "k", By("by_a")),
    ("a IN (500, 501, 77)", "a DESC, k DESC", By("by_a")),
    ("a IN (500, 501, 77)", "a DESC, k", By("by_a")),
    ("a = 500 OR a IS NULL", "a, k", By("by_a")),
    ("a IN (500, 501) AND a IN (501, 502)", "k", By("by_a")),
    ("b = 5", "d", By("by_bd")),
    ("b = 5", "b, d DESC", By("by_bd")),
    ("b = 5", "d DESC NULLS LAST, k DESC", By("by_bd")),
    ("b IN (5, 9, 90)", "d", By("by_bd")),
    ("b IN (5, 9, 90)", "b DESC, d", By("by_bd")),
    ("b = 5 AND d > DATE '2022-01-01'", "d, k", By("by_bd")),
    ("s LIKE 'n12%'", "s, a NULLS FIRST", By("by_sa")),
    ("s LIKE 'n12_'", "s, a NULLS FIRST", Never),
    ("k > 500 AND k < 15500", "k DESC", By("primary key")),
    ("k = 40", "p DESC", By("primary key")),
    // What an index does not hold would have to be checked afterwards.
    ("b = 5", "a", Never),
    ("a > 500 AND b = 5", "a", Never),
    ("a <> 500", "a", Never),
    ("a % 2 = 0", "a", Never),
    ("f > 0", "f", Never),
    ("f = 0", "k", Never),
];

const COUNTS: &[(&str, Told)] = &[
    ("a = 500", By("by_a")),
    ("a = 77", By("by_a")),
    ("a > 500", By("by_a")),
    ("a > 500 AND a > 500.0", Never),
    ("a >= 600 AND a > 600 AND a < 900", By("by_a")),
    ("a IS NULL", By("by_a")),
    ("a IN (500, 77, 21, 1989, NULL)", By("by_a")),
    ("a > 5000", By("by_a")),
    ("a = 500 OR a IS NULL", By("by_a")),
    ("s = 'n44'", By("by_sa")),
    ("s = 'n44' AND a > 300", By("by_sa")),
    ("s IN ('n44', 'n45', 'x') AND a IN (21, 500)", By("by_sa")),
    ("s LIKE 'n12%'", By("by_sa")),
    ("s >= 'n12' AND s LIKE 'n1%'", By("by_sa")),
    ("b = 5 AND d >= DATE '2022-01-01'", By("by_bd")),
    (
        "d BETWEEN DATE '2020-02-05' AND DATE '2024-02-07'",
        By("by_d"),
    ),
    ("k = 40", By("primary key")),
    ("k = 40 AND p = 1", By("primary key")),
    ("k BETWEEN 100 AND 9100", By("primary key")),
    (
        "k IN (41, 70000, 9001) AND p IN (0, 1, 2)",
        By("primary key"),
    ),
    ("s LIKE 'n12_'", Never),
    ("s LIKE 'n%2'", Never),
    ("a > 500 AND b = 5", Never),
    ("a <> 500", Never),
    ("a = 500 OR s = 'n44'", Never),
    ("f = 0", Never),
    ("f > 10.5", Never),
    ("f IS NULL", Never),
    ("a IN (1, 500, 700) AND a > 600", Never),
    ("s > 'n3' AND a = 500", Never),
];

/// What the scans of a query have counted.
#[derive(Debug, Default)]
struct Counted {
    lookups: usize,
    of_index: usize,
    rows: usize,
}

impl Counted {
    fn add(&mut self, plan: &Arc<dyn ExecutionPlan>) {
        if ShardScan::of(plan).is_some() {
            let metrics = plan.metrics().unwrap();
            let sum = |name| metrics.sum_by_name(name).unwrap().as_usize();
            self.lookups += sum("index_lookups");
            self.of_index += sum("index_rows");
            self.rows += metrics.output_rows().unwrap_or(0);
        }
        plan.children()
            .into_iter()
            .for_each(|child| self.add(child));
    }
}

async fn counted(engine: &Engine, asked: &str) -> Counted {
    let output = engine.sql(asked).await.unwrap();
    let plan = output.plan().unwrap();
    output.collect().await.unwrap();
    let mut counted = Counted::default();
    counted.add(&plan);
    counted
}

/// Which segments have runs.
#[derive(Clone, Copy, PartialEq)]
enum Runs {
    All,
    /// Only the largest one.
    Largest,
    Missing,
}

/// The values that the rows are sorted by; SQL's comparisons do not tell the signs of zero apart.
fn sorted_by(rows: &[Vec<String>], order: &str) -> Vec<Vec<String>> {
    let names = order
        .split(',')
        .filter_map(|by| by.split_whitespace().next());
    let places: Vec<usize> = names
        .map(|name| NAMES.iter().position(|other| *other == name).unwrap())
        .collect();
    let value = |row: &Vec<String>, place: usize| match row[place].as_str() {
        "-0.0" => "0.0".to_owned(),
        other => other.to_owned(),
    };
    let of = |row: &Vec<String>| places.iter().map(|place| value(row, *place)).collect();
    rows.iter().map(of).collect()
}

async fn check_firsts(engine: &Engine, runs: Runs) {
    let columns = NAMES.join(", ");
    for (predicate, order, told) in FIRSTS {
        // The other table has no index, no limit, and a filter that keys do not help with.
        let all = format!("SELECT {columns} FROM u WHERE ({predicate}) IS TRUE ORDER BY {order}");
        let all = rows(engine, &all).await;
        for (limit, offset) in [(1, 0), (10, 0), (7, 6), (150, 2), (50_000, 15_000)] {
            let asked = format!(
                "SELECT {columns} FROM t WHERE {predicate} ORDER BY {order} \
                 LIMIT {limit} OFFSET {offset}"
            );
            let found = rows(engine, &asked).await;
            let (from, to) = (offset.min(all.len()), (offset + limit).min(all.len()));
            let expected = &all[from..to];
            if order.contains('+') {
                assert_eq!(found.len(), expected.len(), "{asked}");
            } else {
                let (found, expected) = (sorted_by(&found, order), sorted_by(expected, order));
                assert_eq!(found, expected, "{asked}");
            }
            let mut found = found;
            found.sort();
            found.dedup();
            assert_eq!(found.len(), expected.len(), "no row comes twice: {asked}");
            if found.len() <= 20 {
                assert!(found.iter().all(|row| all.contains(row)), "{asked}");
            }
            let explained = format!("{:?}", rows(engine, &format!("EXPLAIN {asked}")).await);
            match told {
                By(index) if limit <= 10 && (runs != Runs::Missing || *index == "primary key") => {
                    let top = format!(", top={} by {index}", limit + offset);
                    assert!(explained.contains(&top), "{asked}: {explained}");
                    if runs == Runs::All {
                        few_are_read(engine, &asked).await;
                    }
                }
                Never => assert!(!explained.contains("top="), "{asked}: {explained}"),
                By(_) => {}
            }
        }
    }
}

async fn few_are_read(engine: &Engine, asked: &str) {
    let counted = counted(engine, asked).await;
    assert!(counted.lookups > 0, "{asked}: {counted:?}");
    // At most 13 rows of each of 3 ranges of each of 12 segments; beside those in memory.
    assert!(counted.of_index <= 13 * 3 * 12, "{asked}: {counted:?}");
    assert!(
        counted.rows <= counted.of_index + 110,
        "{asked}: {counted:?}"
    );
}

async fn check_counts(engine: &Engine, runs: Runs) {
    for (predicate, told) in COUNTS {
        let count = |table: &str, is: &str| {
            format!("SELECT count(*) FROM {table} WHERE ({predicate}) {is}")
        };
        let asked = count("t", "");
        let expected = value(engine, &count("u", "IS TRUE")).await;
        assert_eq!(value(engine, &asked).await, expected, "{predicate}");
        let inner = format!("SELECT count(*) FROM (SELECT k FROM t WHERE {predicate} LIMIT 9)");
        let cut = expected.parse::<u64>().unwrap().min(9).to_string();
        assert_eq!(value(engine, &inner).await, cut, "{predicate}");
        let explained = format!("{:?}", rows(engine, &format!("EXPLAIN {asked}")).await);
        match told {
            By(index) if runs != Runs::Missing || *index == "primary key" => {
                let by = format!(", counted by {index}");
                assert!(explained.contains(&by), "{asked}: {explained}");
                let counted = counted(engine, &asked).await;
                assert!(counted.lookups > 0, "{asked}: {counted:?}");
                assert_eq!(counted.rows.to_string(), expected, "{asked}");
                if runs == Runs::All {
                    let in_memory = counted.rows - counted.of_index;
                    assert!(in_memory <= 110, "{asked}: {counted:?}");
                }
            }
            Never => assert!(!explained.contains("counted by"), "{asked}: {explained}"),
            By(_) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn first_rows_are_the_same_with_and_without_an_index() {
    for (partitions, shards) in [(1, 1), (4, 1), (4, 3)] {
        let (engine, _dir) = filled(partitions, shards).await;
        check_firsts(&engine, Runs::All).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_are_the_same_with_and_without_an_index() {
    for (partitions, shards) in [(1, 1), (4, 1), (4, 3)] {
        let (engine, _dir) = filled(partitions, shards).await;
        check_counts(&engine, Runs::All).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_the_same_while_indexes_are_missing() {
    let (engine, _dir) = filled(4, 1).await;
    let id = engine.store().table("t").unwrap().id;
    // The new segment has no runs, and those that come after it neither.
    engine.store().compact(id).unwrap();
    check_firsts(&engine, Runs::Missing).await;
    check_counts(&engine, Runs::Missing).await;
    for sql in [
        "EXPLAIN SELECT k FROM t ORDER BY a LIMIT 5",
        "EXPLAIN SELECT count(*) FROM t WHERE a > 600",
    ] {
        let plan = format!("{:?}", rows(&engine, sql).await);
        assert!(!plan.contains("by_a"), "{plan}");
    }
    engine.store().build_indexes(id, &mut |_, _| {}).unwrap();
    // Some segments have runs, and some do not.
    for table in ["t", "u"] {
        run(&engine, &insert(table, (15_000, 18_000), 11)).await;
        run(&engine, &format!("DELETE FROM {table} WHERE a = 501")).await;
    }
    engine.store().flush_to_segments().unwrap();
    check_firsts(&engine, Runs::Largest).await;
    check_counts(&engine, Runs::Largest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_joined_grouped_or_filtered_again_are_not_cut() {
    let (engine, _dir) = filled(4, 3).await;
    for (asked, answered) in [
        (
            "SELECT k FROM (SELECT * FROM @ ORDER BY a, k, p LIMIT 50) WHERE b = 3 ORDER BY k",
            true,
        ),
        (
            "SELECT k, p FROM (SELECT DISTINCT a, k, p FROM @) ORDER BY a, k, p LIMIT 5",
            false,
        ),
        (
            "SELECT a, count(*) FROM @ WHERE a > 600 GROUP BY a ORDER BY a LIMIT 5",
            false,
        ),
        (
            "SELECT x.k FROM (SELECT k, p, a FROM @ ORDER BY a, k, p LIMIT 60) x \
             JOIN @ y ON x.k = y.k AND x.p = y.p WHERE y.b = 3 ORDER BY x.k",
            true,
        ),
        (
            "SELECT count(*) FROM @ x, (VALUES (1), (2)) y WHERE x.a > 600",
            true,
        ),
        (
            "SELECT x.a FROM @ x JOIN @ y ON x.k = y.k ORDER BY x.a, x.k LIMIT 5",
            false,
        ),
        (
            "SELECT a FROM @ WHERE a > 600 ORDER BY a + 0, a LIMIT 5",
            false,
        ),
        ("SELECT count(*), min(k) FROM @ WHERE a > 600", false),
        ("SELECT a * 2 FROM @ ORDER BY a, k, p LIMIT 5", true),
        (
            "SELECT -a AS z, k FROM @ WHERE a IS NOT NULL ORDER BY z, k, p LIMIT 5",
            false,
        ),
    ] {
        let found = rows(&engine, &asked.replace('@', "t")).await;
        assert_eq!(
            found,
            rows(&engine, &asked.replace('@', "u")).await,
            "{asked}"
        );
        let explain = format!("EXPLAIN {}", asked.replace('@', "t"));
        let plan = format!("{:?}", rows(&engine, &explain).await);
        let says = plan.contains("top=") || plan.contains("counted by");
        assert_eq!(says, answered, "{plan}");
    }
}

/// Compares with `tests/plans/indexes.txt`; `NETABASE_TEST_REFILL=1` writes it.
#[tokio::test(flavor = "multi_thread")]
async fn plans_say_what_an_index_tells() {
    let (engine, _dir) = filled(4, 3).await;
    let mut plans = String::new();
    for asked in [
        "SELECT k, a, s FROM t ORDER BY a DESC LIMIT 10 OFFSET 3",
        "SELECT k, d FROM t WHERE b = 5 AND d > DATE '2022-01-01' ORDER BY d LIMIT 10",
        "SELECT * FROM t WHERE a > 500 AND b = 5 ORDER BY a LIMIT 10",
        "SELECT s FROM t ORDER BY k DESC LIMIT 1",
        "SELECT count(*) FROM t WHERE a > 500",
        "SELECT count(*) FROM t WHERE k BETWEEN 100 AND 300",
        "SELECT count(*) FROM t WHERE a = 500 AND b = 5",
    ] {
        let explain = format!("EXPLAIN FORMAT INDENT {asked}");
        for row in rows(&engine, &explain).await {
            if let [kind, plan] = &row[..]
                && kind == "physical_plan"
            {
                plans += &format!("{asked}\n{plan}\n");
            }
        }
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/plans/indexes.txt");
    if std::env::var_os("NETABASE_TEST_REFILL").is_some() {
        fs::write(&path, &plans).unwrap();
    }
    let pinned = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(plans, pinned, "look at it, then refill");
}

/// Within a value, keys have NULLs first, whatever the query wants.
#[tokio::test(flavor = "multi_thread")]
async fn lists_with_nulls_are_sorted_as_the_query_says() {
    let (engine, _dir) = engine_in_folder(1);
    let script = "CREATE TABLE l (k BIGINT PRIMARY KEY, tags BIGINT[]) WITH (shards = 1);
         INSERT INTO l SELECT value, CASE WHEN value % 400 = 0 THEN make_array(NULL, value)
             ELSE make_array(5, value) END FROM generate_series(1, 8000);
         CREATE INDEX by_tags ON l (tags)";
    run(&engine, script).await;
    engine.store().flush_to_segments().unwrap();
    let id = engine.store().table("l").unwrap().id;
    engine.store().build_indexes(id, &mut |_, _| {}).unwrap();
    for order in ["ASC", "DESC", "ASC NULLS FIRST", "DESC NULLS LAST"] {
        let all = rows(&engine, &format!("SELECT k FROM l ORDER BY tags {order}")).await;
        let asked = format!("SELECT k FROM l ORDER BY tags {order} LIMIT 10");
        assert_eq!(rows(&engine, &asked).await, all[..10], "{order}");
    }
}

/// The first column of an answer that an index tells.
async fn told(engine: &Engine, asked: &str) -> Vec<i64> {
    let plan = format!("{:?}", rows(engine, &format!("EXPLAIN {asked}")).await);
    assert!(
        plan.contains("top=") || plan.contains("counted by"),
        "{plan}"
    );
    let found = rows(engine, asked).await;
    found.iter().map(|row| row[0].parse().unwrap()).collect()
}

/// Rows of a segment with several groups, of which an index's order makes one mix.
const MANY: i64 = 150_000;

#[tokio::test(flavor = "multi_thread")]
async fn hidden_rows_of_several_groups_are_passed_over() {
    for partitions in [1, 4] {
        let (engine, _dir) = engine_in_folder(partitions);
        let fill = format!(
            "CREATE TABLE t (k BIGINT PRIMARY KEY, a BIGINT) WITH (shards = 1);
             INSERT INTO t SELECT value, value * 7919 % {} FROM generate_series(1, {MANY})",
            MANY + 1
        );
        run(&engine, &fill).await;
        engine.store().flush_to_segments().unwrap();
        let id = engine.store().table("t").unwrap().id;
        engine.store().compact(id).unwrap();
        // Every `a` from 1 on is there once, and now only those above 70,000, and few rows of the
        // greatest keys.
        let hide = format!(
            "CREATE INDEX by_a ON t (a);
             DELETE FROM t WHERE a <= 70000;
             DELETE FROM t WHERE k > {} AND a <> 100003",
            MANY - 1000
        );
        run(&engine, &hide).await;
        let snapshot = engine.store().snapshot(id).unwrap();
        assert!(snapshot.shards[0].segments.iter().any(|s| s.groups() > 2));
        let everything = rows(&engine, "SELECT a, k FROM t").await;
        let mut all: Vec<(i64, i64)> = everything
            .iter()
            .map(|row| (row[0].parse().unwrap(), row[1].parse().unwrap()))
            .collect();
        all.sort_unstable();
        let ask = |sql| told(&engine, sql);
        let a: Vec<i64> = all.iter().map(|(a, _)| *a).collect();
        assert_eq!(ask("SELECT a FROM t ORDER BY a LIMIT 40").await, a[..40]);
        assert_eq!(
            ask("SELECT a FROM t WHERE a <= 70500 ORDER BY a DESC LIMIT 2").await,
            a.iter()
                .rev()
                .filter(|a| **a <= 70_500)
                .take(2)
                .copied()
                .collect::<Vec<_>>()
        );
        let mut k: Vec<i64> = all.iter().map(|(_, k)| *k).collect();
        k.sort_unstable_by_key(|k| -k);
        assert_eq!(
            ask("SELECT k FROM t ORDER BY k DESC LIMIT 40").await,
            k[..40]
        );
        let above = |least: i64| vec![a.iter().filter(|a| **a > least).count() as i64];
        assert_eq!(ask("SELECT count(*) FROM t WHERE a > 0").await, above(0));
        assert_eq!(
            ask("SELECT count(*) FROM t WHERE a > 60000").await,
            above(60_000)
        );
        assert_eq!(
            ask("SELECT count(*) FROM t WHERE a > 149990").await,
            above(149_990)
        );
        let early = k.iter().filter(|k| **k <= 140_000).count() as i64;
        assert_eq!(
            ask("SELECT count(*) FROM t WHERE k <= 140000").await,
            [early]
        );
    }
}
