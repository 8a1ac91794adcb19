//! An index changes how rows are found, never which.

use netabase_sql::Engine;
use tempfile::TempDir;

use crate::common::{engine_in_folder, rows, run, value};

const COLUMNS: &str = "k BIGINT, p INT, a BIGINT, s TEXT, f DOUBLE, d DATE, PRIMARY KEY (k, p)";

/// Statements that fill a table; each is followed by a flush.
fn changes(table: &str) -> Vec<String> {
    let rows = |from, to, plus| {
        format!(
            "INSERT INTO {table} SELECT value, value % 3,
                 CASE WHEN value % 11 = 0 THEN NULL ELSE (value * 7 + {plus}) % 997 END,
                 CASE WHEN value % 13 = 0 THEN NULL ELSE 'name ' || ((value * 31 + {plus}) % 5003) END,
                 (value % 2000 - 1000) / 8.0,
                 DATE '2020-01-01' + CAST((value + {plus}) % 3000 AS INT)
             FROM generate_series({from}, {to})"
        )
    };
    vec![
        rows(1, 40_000, 0),
        rows(30_000, 55_000, 5),
        format!("DELETE FROM {table} WHERE a = 3 OR k % 1000 = 17"),
        rows(100, 140, 9),
    ]
}

async fn filled(partitions: usize, shards: u32) -> (Engine, TempDir) {
    let (engine, dir) = engine_in_folder(partitions);
    for table in ["t", "u"] {
        let create = format!("CREATE TABLE {table} ({COLUMNS}) WITH (shards = {shards})");
        run(&engine, &create).await;
    }
    for (one, other) in changes("t").into_iter().zip(changes("u")) {
        run(&engine, &one).await;
        run(&engine, &other).await;
        engine.store().flush_to_segments().unwrap();
    }
    // These stay in memory.
    for table in ["t", "u"] {
        let late = format!(
            "INSERT INTO {table} VALUES (70000, 1, 6, 'name 44', 0.0, DATE '2020-01-05'),
                                        (41, 2, 6, 'name 44', -0.0, DATE '2020-01-05')"
        );
        run(&engine, &late).await;
    }
    run(
        &engine,
        "CREATE INDEX by_a ON t (a);
         CREATE INDEX by_sa ON t (s, a);
         CREATE INDEX by_f ON t (f);
         CREATE INDEX by_d ON t (d)",
    )
    .await;
    (engine, dir)
}

/// Which order answers a predicate in large segments.
#[derive(Clone, Copy, PartialEq)]
enum Served {
    By(&'static str),
    /// There is one, and whether it is worth it depends on the sizes of the segments.
    Perhaps,
    Never,
}

use Served::{By, Never, Perhaps};

const QUERIES: &[(&str, Served)] = &[
    ("a = 6", By("by_a")),
    ("6 = a", By("by_a")),
    ("a = 3", By("by_a")),
    ("a IN (6, 7)", By("by_a")),
    ("a IN (6, 700, 12, 990, 991)", By("by_a")),
    ("a IN (6, NULL)", By("by_a")),
    ("a BETWEEN 10 AND 14", By("by_a")),
    ("a > 990", By("by_a")),
    ("a < 5 AND a >= 2", By("by_a")),
    ("a > 5000", By("by_a")),
    ("a > 100", Perhaps),
    ("a <> 6", Never),
    ("a IS NULL", Perhaps),
    ("a IS NULL AND s = 'name 44'", By("by_sa")),
    ("s = 'name 44'", By("by_sa")),
    ("s = 'name 44' AND a > 300", By("by_sa")),
    (
        "s IN ('name 44', 'name 45', 'x', 'name 47') AND a = 6",
        By("by_sa"),
    ),
    ("s LIKE 'name 44%'", Perhaps),
    ("s LIKE 'name 444%'", By("by_sa")),
    ("s LIKE 'name 444_'", By("by_sa")),
    ("s LIKE 'name 44\\_%'", By("by_sa")),
    ("s NOT LIKE 'name%'", Never),
    ("f = 0", By("by_f")),
    ("f >= 124.5", By("by_f")),
    ("f < -124.5 AND f > -124.9", By("by_f")),
    ("d = DATE '2020-01-05'", By("by_d")),
    (
        "d BETWEEN DATE '2020-02-05' AND DATE '2020-02-07' AND a > 500",
        By("by_d"),
    ),
    ("k = 77", By("primary key")),
    ("k = 77 AND p = 2", By("primary key")),
    (
        "k IN (5, 17, 41, 70000) AND p IN (0, 1, 2)",
        By("primary key"),
    ),
    ("k BETWEEN 100 AND 150", By("primary key")),
    ("k > 54990 AND a < 900", By("primary key")),
    ("(a = 6 OR a = 9) AND k % 2 = 0", By("by_a")),
    ("a = 6 OR s = 'name 44'", Never),
];

fn counted(plan: &str, counter: &str) -> Option<u64> {
    let (_, rest) = plan.split_once(&format!("{counter}="))?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

async fn check(engine: &Engine) {
    for (predicate, served) in QUERIES {
        let ask = |table| format!("SELECT * FROM {table} WHERE {predicate} ORDER BY k, p");
        let found = rows(engine, &ask("t")).await;
        // The other table has no index, and an expression that keys do not help with.
        let plain = format!("SELECT * FROM u WHERE ({predicate}) IS TRUE ORDER BY k, p");
        assert_eq!(found, rows(engine, &plain).await, "{predicate}");
        let count = format!("SELECT count(*) FROM t WHERE {predicate}");
        assert_eq!(value(engine, &count).await, found.len().to_string());
        let explained = rows(engine, &format!("EXPLAIN {}", ask("t"))).await;
        let plan = format!("{explained:?}");
        match served {
            By(index) => assert!(plan.contains(&format!(", index={index}")), "{plan}"),
            Never => assert!(!plan.contains("index="), "{plan}"),
            Perhaps => {}
        }
        let analyzed = rows(engine, &format!("EXPLAIN ANALYZE {}", ask("t"))).await;
        let plan = format!("{analyzed:?}");
        let lookups = counted(&plan, "index_lookups").unwrap();
        let read = counted(&plan, "index_rows").unwrap();
        match served {
            By(_) => assert!(lookups > 0 && read <= 2000, "{plan}"),
            Never => assert_eq!((lookups, read), (0, 0), "{plan}"),
            Perhaps => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_the_same_with_and_without_an_index() {
    for (partitions, shards) in [(1, 1), (4, 1), (4, 3)] {
        let (engine, _dir) = filled(partitions, shards).await;
        check(&engine).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_changes_and_dropping_keep_the_answers() {
    let (engine, _dir) = filled(4, 2).await;
    let id = engine.store().table("t").unwrap().id;
    engine.store().compact(id).unwrap();
    let query = "SELECT k FROM t WHERE a = 6 ORDER BY k";
    let found = rows(&engine, query).await;
    // Nothing has made the runs of the new segments yet.
    let plan = format!("{:?}", rows(&engine, &format!("EXPLAIN {query}")).await);
    assert!(!plan.contains("index="), "{plan}");
    engine.store().build_indexes(id, &mut |_, _| {}).unwrap();
    check(&engine).await;
    assert_eq!(rows(&engine, query).await, found);
    run(
        &engine,
        "DELETE FROM t WHERE a = 6; DELETE FROM u WHERE a = 6",
    )
    .await;
    assert_eq!(rows(&engine, query).await, Vec::<Vec<String>>::new());
    check(&engine).await;
    run(&engine, "DROP INDEX by_a, by_sa; DROP INDEX IF EXISTS by_a").await;
    let plan = format!("{:?}", rows(&engine, &format!("EXPLAIN {query}")).await);
    assert!(!plan.contains("index="), "{plan}");
    let left: Vec<String> = engine
        .store()
        .table("t")
        .unwrap()
        .options
        .indexes
        .iter()
        .map(|index| index.name.clone())
        .collect();
    assert_eq!(left, ["by_f", "by_d"]);
}
