//! Which rows a DELETE removes, and an UPDATE changes: those that SQL says, and no others.
//!
//! Filters that fold away, subqueries that become joins, and NULLs in them have emptied tables. Every
//! condition is tried on rows in memory, in segments, and in both, with an index, and the rows that
//! are left are counted. What each condition finds is what SQLite 3.50 and PostgreSQL 15 find.

use netabase_sql::Engine;

use crate::common::{engine_in_folder, failure, rows, run, value};

/// Rows of the table, with keys from one on; v is 1, 2, 3 and NULL by turns.
const ROWS: i64 = 12;
const ALL: &[i64] = &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
const ODD: &[i64] = &[1, 3, 5, 7, 9, 11];
const EVEN: &[i64] = &[2, 4, 6, 8, 10, 12];

/// Conditions, and the keys of the rows that they find. `u.n` is 1, NULL and 3; `w.n` is 1 and 3; `e` is
/// empty.
const CONDITIONS: &[(&str, &[i64])] = &[
    ("k IN (SELECT k FROM u)", &[1, 2, 3]),
    ("v IN (SELECT n FROM u)", ODD),
    ("v NOT IN (SELECT n FROM u)", &[]),
    (
        "v NOT IN (SELECT n FROM u WHERE n IS NOT NULL)",
        &[2, 6, 10],
    ),
    ("v NOT IN (SELECT n FROM e)", ALL),
    ("NOT (v IN (SELECT n FROM u))", &[]),
    ("NOT (k = 2 OR v IN (SELECT n FROM u))", &[]),
    // An IN of a value that is no column, which a join of keys cannot be.
    ("1 NOT IN (SELECT n FROM u)", &[]),
    ("5 NOT IN (SELECT n FROM u)", &[]),
    ("5 NOT IN (SELECT n FROM w)", ALL),
    ("NULL NOT IN (SELECT n FROM w)", &[]),
    ("NULL NOT IN (SELECT n FROM e)", ALL),
    ("NOT (5 IN (SELECT n FROM u))", &[]),
    ("v + 4 NOT IN (SELECT n FROM u)", &[]),
    ("(SELECT max(n) + 2 FROM w) NOT IN (SELECT n FROM u)", &[]),
    ("(SELECT max(n) + 2 FROM w) NOT IN (SELECT n FROM w)", ALL),
    ("(SELECT n FROM e) NOT IN (SELECT n FROM w)", &[]),
    // An IN that is only a part of a condition.
    ("k = 77 OR v NOT IN (SELECT n FROM u)", &[]),
    ("k = 2 OR v NOT IN (SELECT n FROM u)", &[2]),
    ("k = 2 OR v NOT IN (SELECT n FROM w)", &[2, 6, 10]),
    ("k = 2 OR v IN (SELECT n FROM u)", &[1, 2, 3, 5, 7, 9, 11]),
    ("(v IN (SELECT n FROM u)) IS NULL", EVEN),
    ("(v IN (SELECT n FROM u)) IS NOT TRUE", EVEN),
    ("(v NOT IN (SELECT n FROM w)) IS NULL", &[4, 8, 12]),
    (
        "CASE WHEN v IN (SELECT n FROM u) THEN FALSE ELSE k > 9 END",
        &[10, 12],
    ),
    // Tied to the row around it.
    ("EXISTS (SELECT 1 FROM u WHERE u.n = t.v)", ODD),
    ("NOT EXISTS (SELECT 1 FROM u WHERE u.n = t.v)", EVEN),
    ("EXISTS (SELECT 1 FROM e)", &[]),
    ("NOT EXISTS (SELECT 1 FROM e)", ALL),
    ("v IN (SELECT n FROM u WHERE u.k = t.k)", &[1, 3]),
    (
        "v NOT IN (SELECT n FROM u WHERE u.k = t.k)",
        &[4, 5, 6, 7, 8, 9, 10, 11, 12],
    ),
    (
        "k = 5 OR v NOT IN (SELECT n FROM u WHERE u.k < t.k)",
        &[1, 2, 5],
    ),
    // Of the table itself.
    ("k = (SELECT min(k) FROM t)", &[1]),
    ("k = (SELECT min(n) FROM e)", &[]),
    ("k IN (SELECT max(k) FROM t GROUP BY v)", &[9, 10, 11, 12]),
    ("k IN (SELECT k FROM t ORDER BY k DESC LIMIT 2)", &[11, 12]),
    ("k NOT IN (SELECT k FROM t WHERE k > 2)", &[1, 2]),
    (
        "k IN (SELECT k FROM t WHERE v > (SELECT avg(v) FROM t))",
        &[3, 7, 11],
    ),
    (
        "EXISTS (SELECT 1 FROM t AS o WHERE o.k = t.k + 8)",
        &[1, 2, 3, 4],
    ),
    // What folds into nothing.
    ("false", &[]),
    ("NULL", &[]),
    ("1 = 0", &[]),
    ("NOT (1 = 1)", &[]),
    ("1 > 2 OR NULL", &[]),
    ("'a' = 'b'", &[]),
    ("k = NULL", &[]),
    ("k IN (NULL)", &[]),
    ("k NOT IN (1, NULL)", &[]),
    ("k = 1 AND k = 2", &[]),
    ("k BETWEEN 5 AND 3", &[]),
    ("v <> v", &[]),
    ("length('abc') < 3", &[]),
    ("k IN (SELECT k FROM t WHERE 1 = 0)", &[]),
    ("k IN (SELECT k FROM t LIMIT 0)", &[]),
    ("v IS NULL AND v = 1", &[]),
    ("v = 1 AND k > 5", &[9]),
    ("v IS NULL", &[4, 8, 12]),
    ("true", ALL),
];

/// Where rows lie when a statement finds them.
#[derive(Debug, Clone, Copy)]
enum Place {
    Memory,
    Segments,
    Both,
}

async fn fill(engine: &Engine, place: Place) {
    let rows_of = |from: i64, to: i64| {
        format!(
            "INSERT INTO t SELECT value, NULLIF(value % 4, 0), 'row ' || value \
             FROM generate_series({from}, {to})"
        )
    };
    run(engine, "DELETE FROM t").await;
    run(engine, &rows_of(1, ROWS / 2)).await;
    if let Place::Both = place {
        engine.store().flush_to_segments().unwrap();
    }
    run(engine, &rows_of(ROWS / 2 + 1, ROWS)).await;
    if let Place::Segments = place {
        engine.store().flush_to_segments().unwrap();
    }
}

async fn keys(engine: &Engine, which: &str) -> Vec<i64> {
    let found = rows(engine, &format!("SELECT k FROM t{which} ORDER BY k")).await;
    found.iter().map(|row| row[0].parse().unwrap()).collect()
}

async fn tables() -> (Engine, tempfile::TempDir) {
    let (engine, dir) = engine_in_folder(2);
    let made = "CREATE TABLE t (k BIGINT PRIMARY KEY, v BIGINT, s TEXT) WITH (shards = 3);
                CREATE INDEX by_v ON t (v);
                CREATE TABLE u (k BIGINT PRIMARY KEY, n BIGINT);
                CREATE TABLE w (k BIGINT PRIMARY KEY, n BIGINT);
                CREATE TABLE e (k BIGINT PRIMARY KEY, n BIGINT);
                INSERT INTO u VALUES (1, 1), (2, NULL), (3, 3);
                INSERT INTO w VALUES (1, 1), (2, 3)";
    run(&engine, made).await;
    (engine, dir)
}

async fn check(place: Place) {
    let (engine, _dir) = tables().await;
    fill(&engine, place).await;
    for (condition, found) in CONDITIONS {
        let what = format!("{condition}, rows in {place:?}");
        assert_eq!(
            keys(&engine, &format!(" WHERE {condition}")).await,
            *found,
            "{what}"
        );
        run(
            &engine,
            &format!("UPDATE t SET s = 'hit' WHERE {condition}"),
        )
        .await;
        assert_eq!(
            keys(&engine, " WHERE s = 'hit'").await,
            *found,
            "UPDATE: {what}"
        );
        assert_eq!(
            value(&engine, "SELECT count(*) FROM t").await,
            ROWS.to_string()
        );
        fill(&engine, place).await;
        let deleted = engine
            .sql(&format!("DELETE FROM t WHERE {condition}"))
            .await;
        let deleted = deleted.unwrap().receipt().unwrap().rows;
        let left = ALL.iter().filter(|key| !found.contains(key));
        let left: Vec<i64> = left.copied().collect();
        assert_eq!(keys(&engine, "").await, left, "DELETE: {what}");
        assert_eq!(deleted, found.len() as u64, "{what}");
        fill(&engine, place).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_in_memory_are_found_as_sql_says() {
    check(Place::Memory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_in_segments_are_found_as_sql_says() {
    check(Place::Segments).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_in_both_are_found_as_sql_says() {
    check(Place::Both).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_be_dropped_in_silence_is_refused_and_removes_nothing() {
    let (engine, _dir) = tables().await;
    fill(&engine, Place::Both).await;
    for statement in [
        "DELETE FROM t LIMIT 1",
        "DELETE FROM t WHERE k > 0 LIMIT 1",
        "DELETE FROM t ORDER BY k",
        "DELETE FROM t WHERE k > 0 ORDER BY k LIMIT 1",
        "UPDATE t SET v = 0 LIMIT 1",
        "UPDATE t SET v = 0 WHERE k > 0 ORDER BY k LIMIT 1",
        "DELETE FROM t WHERE k = 1; DELETE FROM t",
        "DELETE FROM t WHERE",
        "DELETE FROM t WHERE k = ",
        "DELETE FROM t WHERE no_such_column = 1",
        "DELETE FROM t WHERE k IN (SELECT no_such_column FROM u)",
        "DELETE FROM t WHERE k = $1",
    ] {
        failure(&engine, statement).await;
        assert_eq!(keys(&engine, "").await, ALL, "{statement}");
    }
}
