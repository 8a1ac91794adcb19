//! Statements that want too much: every one of them ends, as an error or with the right answer, and
//! the engine goes on.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
use netabase_sql::store::ErrorKind;
use netabase_sql::{Engine, EngineSettings};

use crate::common::{engine, engine_with, failure, run, text_of, value};

/// The stack of a query thread, as the facade has it.
const STACK: usize = 8 << 20;
/// How long one of these may take on a slow machine, where an answer is expected.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a test as the facade runs statements: as a task on threads with a stack of 8 MiB.
fn on_query_threads<F>(test: impl FnOnce() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_stack_size(STACK)
        .enable_all()
        .build()
        .unwrap();
    let test = test();
    runtime.block_on(async { tokio::spawn(test).await.unwrap() });
}

/// Kind and first line of the answer, or the only value.
async fn outcome(engine: &Engine, text: &str) -> String {
    let shown = |error: netabase_sql::store::Error| {
        let text = error.to_string();
        format!("{:?}: {}", error.kind(), text.lines().next().unwrap_or(""))
    };
    let started = Instant::now();
    let outcome = match engine.sql(text).await {
        Ok(output) => match output.collect().await {
            Ok(batches) => {
                let rows = text_of(&batches);
                let first = rows.first().and_then(|row| row.first());
                first.cloned().unwrap_or_default()
            }
            Err(error) => shown(error),
        },
        Err(error) => shown(error),
    };
    let start: String = text.chars().take(60).collect();
    println!(
        "{:>8.3} s  {start}: {outcome}",
        started.elapsed().as_secs_f64()
    );
    outcome
}

/// Every statement is answered with a text that begins like this.
async fn all(engine: &Engine, cases: &[(&str, &str)]) {
    let mut wrong = Vec::new();
    for (statement, expected) in cases {
        let given = outcome(engine, statement).await;
        if !given.contains(expected) {
            wrong.push(format!("{statement}\n  gives {given}\n  not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const NUMBERS: &str = "
    CREATE TABLE n (k BIGINT PRIMARY KEY, i BIGINT, s SMALLINT, d DECIMAL(38, 0), f DOUBLE);
    INSERT INTO n VALUES
        (1, 9223372036854775807, 32767, 99999999999999999999999999999999999999, 1.5),
        (2, 9223372036854775807, 32767, 99999999999999999999999999999999999999, 0.0),
        (3, -9223372036854775808, -32768, -99999999999999999999999999999999999999, -1.0),
        (4, NULL, NULL, NULL, NULL)";

#[test]
fn overflow_is_an_error_and_never_another_number() {
    on_query_threads(|| async {
        let engine = engine();
        run(&engine, NUMBERS).await;
        let range = "out of range";
        all(
            &engine,
            &[
                ("SELECT 9223372036854775807 + 1", range),
                ("SELECT -9223372036854775807 - 2", range),
                ("SELECT 9223372036854775807 * 2", range),
                ("SELECT i + 1 FROM n WHERE k = 1", range),
                ("SELECT i - 1 FROM n WHERE k = 3", range),
                ("SELECT i * 2 FROM n WHERE k = 1", range),
                ("SELECT i * i FROM n WHERE k = 3", range),
                ("SELECT -i FROM n WHERE k = 3", range),
                ("SELECT abs(i) FROM n WHERE k = 3", "verflow"),
                ("SELECT i / -1 FROM n WHERE k = 3", range),
                ("SELECT s + s FROM n WHERE k = 1", range),
                ("SELECT k FROM n WHERE i + k > 0", range),
                ("SELECT k FROM n ORDER BY i * 2", range),
                ("SELECT max(i + 1) FROM n", range),
                ("SELECT count(*) FROM n GROUP BY i + 1", range),
                ("SELECT a.k FROM n a JOIN n b ON a.i + 1 = b.i", range),
                ("SELECT sum(i) FROM n WHERE k < 3", range),
                ("SELECT sum(i) FROM n WHERE k < 3 GROUP BY s", range),
                ("SELECT sum(DISTINCT i + k - 4) FROM n WHERE k < 4", ""),
                ("SELECT sum(i) OVER (ORDER BY k) FROM n WHERE k < 3", range),
                ("SELECT sum(d) FROM n WHERE k < 3", range),
                ("SELECT sum(d) FROM n WHERE k < 3 GROUP BY s", range),
                ("SELECT d + d FROM n WHERE k = 1", ""),
                ("SELECT d * d FROM n WHERE k = 1", range),
                ("SELECT CAST(i AS INT) FROM n WHERE k = 1", range),
                ("SELECT CAST(1e300 AS BIGINT)", range),
                ("SELECT 18446744073709551615 + 1", ""),
                (
                    "SELECT CAST(18446744073709551615 AS BIGINT UNSIGNED) + 1",
                    "18446744073709551616",
                ),
                ("UPDATE n SET i = i + 1", range),
                ("INSERT INTO n (k, i) SELECT k + 10, i + 1 FROM n", range),
                ("SELECT factorial(21)", "verflow"),
                ("SELECT power(10, 30)::BIGINT", range),
                // What is in range stays what it was.
                ("SELECT 9223372036854775806 + 1", "9223372036854775807"),
                ("SELECT -9223372036854775807 - 1", "-9223372036854775808"),
                ("SELECT i - 1 FROM n WHERE k = 1", "9223372036854775806"),
                ("SELECT sum(i) FROM n WHERE k IN (1, 3)", "-1"),
                ("SELECT sum(i) FROM n WHERE k = 4", "NULL"),
                ("SELECT sum(s) FROM n", "32766"),
                ("SELECT sum(k) FILTER (WHERE k > 2) FROM n", "7"),
                ("SELECT sum(DISTINCT s) FROM n", "-1"),
                ("SELECT sum(d) FROM n WHERE k IN (1, 3)", "0"),
                ("SELECT k + NULL FROM n WHERE k = 1", "NULL"),
                ("SELECT -k FROM n WHERE k = 1", "-1"),
                ("SELECT 1 + 2 * 3 - 4", "3"),
                ("SELECT 1e308 * 10", "inf"),
            ],
        )
        .await;
        assert_eq!(value(&engine, "SELECT count(*) FROM n").await, "4");
    });
}

#[test]
fn sums_are_those_of_plain_arithmetic() {
    on_query_threads(|| async {
        let engine = engine();
        run(
            &engine,
            "CREATE TABLE t (k BIGINT PRIMARY KEY, g INT, v BIGINT, u BIGINT UNSIGNED)",
        )
        .await;
        let rows: Vec<String> = (0..5000_i64)
            .map(|k| match k % 7 {
                0 => format!("({k}, {}, NULL, {k})", k % 3),
                _ => format!("({k}, {}, {}, NULL)", k % 3, k * 31 - 70_000),
            })
            .collect();
        run(
            &engine,
            &format!("INSERT INTO t VALUES {}", rows.join(", ")),
        )
        .await;
        let mut expected = [0_i64; 3];
        for k in (0..5000_i64).filter(|k| k % 7 != 0) {
            expected[(k % 3) as usize] += k * 31 - 70_000;
        }
        for (group, sum) in expected.iter().enumerate() {
            let where_group = format!("SELECT sum(v) FROM t WHERE g = {group}");
            assert_eq!(value(&engine, &where_group).await, sum.to_string());
            let grouped = format!(
                "SELECT s FROM (SELECT g, sum(v) AS s FROM t GROUP BY g) x WHERE g = {group}"
            );
            assert_eq!(value(&engine, &grouped).await, sum.to_string());
        }
        let unsigned: i64 = (0..5000).filter(|k| k % 7 == 0).sum();
        assert_eq!(
            value(&engine, "SELECT sum(u) FROM t").await,
            unsigned.to_string()
        );
        let sliding =
            "SELECT max(s) FROM (SELECT sum(k) OVER (ORDER BY k ROWS 1 PRECEDING) AS s FROM t) x";
        assert_eq!(value(&engine, sliding).await, (4999 + 4998).to_string());
    });
}

#[test]
fn values_without_meaning_are_errors() {
    on_query_threads(|| async {
        let engine = engine();
        run(&engine, NUMBERS).await;
        let valid = "is not a valid";
        all(
            &engine,
            &[
                ("SELECT 1 / 0", "division by zero"),
                ("SELECT k / (k - 1) FROM n", "division by zero"),
                ("SELECT k % (k - 1) FROM n", "division by zero"),
                ("SELECT CAST(1 AS DECIMAL(5, 2)) / 0", "division by zero"),
                // IEEE 754, as documented.
                ("SELECT f / 0.0 FROM n WHERE k = 1", "inf"),
                ("SELECT f / f FROM n WHERE k = 2", "NaN"),
                ("SELECT CAST(X'ff' AS TEXT)", "UTF-8"),
                ("SELECT X'ff' || 'a'", ""),
                ("SELECT decode('ff', 'hex')::TEXT", "UTF-8"),
                ("SELECT decode('xyz', 'hex')", "InvalidInput"),
                ("SELECT DATE '2024-02-30'", valid),
                ("SELECT DATE '2023-02-29'", valid),
                ("SELECT DATE '999999999-01-01'", valid),
                ("SELECT TIMESTAMP '2024-01-01 24:61:00'", valid),
                ("SELECT TIMESTAMP '99999-01-01 00:00:00'", valid),
                ("SELECT to_timestamp(9223372036854775807)", "InvalidInput"),
                (
                    "SELECT DATE '2024-01-01' + INTERVAL '999999999 years'",
                    "InvalidInput",
                ),
                (
                    "SELECT TIMESTAMP '2024-01-01' + INTERVAL '9999 years'",
                    "InvalidInput",
                ),
                ("SELECT INTERVAL '1 parsec'", valid),
                (
                    "SELECT INTERVAL '99999999999999999999 days'",
                    "InvalidInput",
                ),
                ("SELECT CAST(12345 AS DECIMAL(4, 0))", "does not fit"),
                ("SELECT CAST('NaN' AS DECIMAL(4, 0))", valid),
                ("SELECT name ~ '(' FROM (SELECT 'a' AS name) x", valid),
                ("SELECT regexp_like('a', '(a{1000}){1000}')", "InvalidInput"),
                ("SELECT regexp_replace('a', '(', 'b')", valid),
                ("SELECT regexp_like('a', 'a', 'z')", "InvalidInput"),
                ("SELECT 'a' LIKE 'a\\'", ""),
                ("SELECT 'a' LIKE 'a' ESCAPE 'ab'", "InvalidInput"),
                ("SELECT chr(-1)", "InvalidInput"),
                ("SELECT chr(55296)", "InvalidInput"),
                ("SELECT substr('abc', 1, -1)", "InvalidInput"),
                ("SELECT log(0)", "inf"),
                ("SELECT sqrt(-1)", "negative number"),
            ],
        )
        .await;
    });
}

#[test]
fn memory_is_not_taken_before_it_is_asked_for() {
    on_query_threads(|| async {
        let engine = engine();
        run(&engine, NUMBERS).await;
        let much = "Capacity";
        all(
            &engine,
            &[
                ("SELECT length(repeat('x', 1000000000000))", much),
                ("SELECT length(repeat('x', 2000000000))", much),
                ("SELECT length(repeat(repeat('x', 100000), 100000))", much),
                ("SELECT length(repeat('x', k * 1000000000)) FROM n", much),
                ("SELECT lpad('x', 2000000000)", much),
                ("SELECT rpad('x', 2000000000, 'y')", much),
                ("SELECT length(rpad('x', k * 500000000, 'y')) FROM n", much),
                ("SELECT generate_series(1, 1000000000000000000)", much),
                ("SELECT range(1000000000)", much),
                ("SELECT range(0, 9223372036854775807, 2)", much),
                (
                    "SELECT generate_series(TIMESTAMP '1970-01-01', TIMESTAMP '2020-01-01', \
                     INTERVAL '1 millisecond')",
                    much,
                ),
                ("SELECT array_repeat(1, 1000000000)", much),
                ("SELECT array_resize([1], 1000000000, 0)", much),
                (
                    "SELECT length(replace(repeat('x', 1000000), 'x', repeat('y', 1000000)))",
                    much,
                ),
                (
                    "SELECT length(regexp_replace(repeat('x', 100000), 'x', repeat('y', 100000), 'g'))",
                    much,
                ),
                (
                    "SELECT length(regexp_replace(repeat('x', 100000), 'x*', repeat('$0', 10000)))",
                    much,
                ),
                (
                    "SELECT array_resize([], 1000000, repeat('x', 1000000))",
                    much,
                ),
                (
                    "SELECT length(array_to_string(range(100000), repeat('x', 100000)))",
                    much,
                ),
                (
                    "SELECT length(array_to_string(array_replace_all(array_repeat('a', 100000), 'a', \
                     repeat('x', 100000)), ''))",
                    much,
                ),
                (
                    "SELECT length(concat_ws(repeat('x', 100000000), 'a', 'b', 'c', 'd'))",
                    much,
                ),
                (
                    "SELECT length(concat(x, x, x, x)) FROM (SELECT repeat('x', 100000000) AS x)",
                    much,
                ),
                (
                    "SELECT length(string_agg('a', repeat('x', 1000000))) FROM generate_series(1, 100000)",
                    much,
                ),
                // What is asked for within reason is there.
                (
                    "SELECT length(regexp_replace(repeat('x', 100000), 'y', repeat('y', 100000), 'g'))",
                    "100000",
                ),
                (
                    "SELECT length(regexp_replace(repeat('x', 100000), 'x', repeat('y', 100000)))",
                    "199999",
                ),
                (
                    "SELECT length(regexp_replace(repeat('xX', 50000), 'X', repeat('y', 1000), 'i'))",
                    "100999",
                ),
                ("SELECT regexp_replace('abc', '(b)', '<\\1>', 'g')", "a<b>c"),
                ("SELECT array_replace_all([1, 2, 1], 1, 3)", "[3, 2, 3]"),
                ("SELECT concat_ws(', ', 'a', NULL, 'b')", "a, b"),
                ("SELECT concat('a', NULL, 1)", "a1"),
                ("SELECT array_to_string([[1, 2], [3]], '-')", "1-2-3"),
                ("SELECT string_agg(v, '-' ORDER BY v) FROM (VALUES ('b'), ('a')) AS t(v)", "a-b"),
                ("SELECT length(repeat('x', 1000000))", "1000000"),
                ("SELECT length(repeat('x', 0))", "0"),
                ("SELECT length(repeat('x', -1))", "0"),
                ("SELECT lpad('x', 3, 'ab')", "abx"),
                ("SELECT array_length(range(1000))", "1000"),
                ("SELECT array_length(range(10, 0, -2))", "5"),
                (
                    "SELECT array_length(array_repeat(k, 100)) FROM n LIMIT 1",
                    "100",
                ),
                ("SELECT replace('aXbX', 'X', 'yy')", "ayybyy"),
                ("SELECT sum(value) FROM generate_series(1, 1000)", "500500"),
            ],
        )
        .await;
    });
}

#[test]
fn work_without_end_ends_at_the_deadline() {
    on_query_threads(|| async {
        let engine = engine_with(EngineSettings {
            statement_timeout: Duration::from_secs(2),
            memory_limit: 256 << 20,
            target_partitions: 2,
            ..EngineSettings::default()
        });
        let started = Instant::now();
        for statement in [
            "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n FROM r) SELECT count(*) FROM r",
            "SELECT count(*) FROM generate_series(1, 1000000000000000000)",
            "SELECT count(*) FROM generate_series(1, 100000000) a, generate_series(1, 100000000) b",
        ] {
            let (kind, text) = failure(&engine, statement).await;
            let ended = matches!(kind, ErrorKind::Unavailable | ErrorKind::Capacity);
            assert!(ended, "{statement}: {kind:?}: {text}");
            println!("{:?} {statement}: {text}", started.elapsed());
        }
        assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
        assert_eq!(value(&engine, "SELECT 1").await, "1");
    });
}

/// What is nested is refused, and what is long is run, without a stack that overflows.
#[test]
fn nesting_is_refused_and_length_is_not() {
    on_query_threads(|| async {
        let engine = engine();
        run(&engine, NUMBERS).await;
        const N: usize = 10_000;
        let nested = |open: &str, inner: &str, close: &str| {
            format!("SELECT {}{inner}{}", open.repeat(N), close.repeat(N))
        };
        // Some of them break off where the parser would go on to read them as something else.
        let deep = "InvalidInput";
        for (statement, expected) in [
            (nested("(", "1", ")"), "nested too deeply"),
            (nested("NOT ", "true", ""), deep),
            (nested("- ", "1", ""), deep),
            (nested("abs(", "1", ")"), deep),
            (nested("[", "1", "]"), deep),
            (nested("CASE WHEN true THEN ", "1", " END"), deep),
            (nested("CAST(", "1", " AS INT)"), deep),
            (nested("(SELECT ", "1", ")"), deep),
            (
                format!(
                    "SELECT * FROM {}n{}",
                    "(SELECT * FROM ".repeat(N),
                    ") x".repeat(N)
                ),
                deep,
            ),
            (
                format!(
                    "{}SELECT 1{}",
                    "WITH x AS (".repeat(N),
                    ") SELECT 1".repeat(N)
                ),
                deep,
            ),
            (format!("SELECT {}1", "EXISTS (SELECT ".repeat(N)), deep),
            (
                format!(
                    "CREATE TABLE t (k {}INT{})",
                    "ARRAY<".repeat(N),
                    ">".repeat(N)
                ),
                "",
            ),
            (format!("SELECT {}", "(".repeat(N)), "InvalidInput"),
            (format!("EXPLAIN {}", "EXPLAIN ".repeat(N)), "InvalidInput"),
        ] {
            let given = outcome(&engine, &statement).await;
            let start: String = statement.chars().take(40).collect();
            assert!(given.contains(expected), "{start}: {given}");
        }
        assert_eq!(value(&engine, "SELECT count(*) FROM n").await, "4");
    });
}

#[test]
fn long_lists_are_run_and_long_chains_refused() {
    on_query_threads(|| async {
        let engine = engine();
        run(&engine, NUMBERS).await;
        const N: usize = 10_000;
        let list: Vec<String> = (0..N).map(|i| i.to_string()).collect();
        let or: Vec<String> = (0..N).map(|i| format!("k = {i}")).collect();
        let and: Vec<String> = (10..N + 10).map(|i| format!("k <> {i}")).collect();
        for (statement, expected) in [
            (
                format!("SELECT count(*) FROM n WHERE k IN ({})", list.join(", ")),
                "4",
            ),
            (
                format!(
                    "SELECT count(*) FROM n WHERE k NOT IN ({})",
                    list.join(", ")
                ),
                "0",
            ),
        ] {
            let started = Instant::now();
            assert_eq!(outcome(&engine, &statement).await, expected);
            assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
        }
        for (statement, expected) in [
            (
                format!("SELECT count(*) FROM n WHERE {}", or.join(" OR ")),
                "4",
            ),
            (
                format!("SELECT count(*) FROM n WHERE {}", and.join(" AND ")),
                "4",
            ),
        ] {
            let given = outcome(&engine, &statement).await;
            assert!(
                given == expected || given.contains("in a row here"),
                "{given}"
            );
        }
        for statement in [
            format!("SELECT {}", list.join(" + ")),
            format!("SELECT {}", vec!["'a'"; N].join(" || ")),
            format!("SELECT 1{}", "::INT".repeat(N)),
            format!("SELECT 1{}", " IS NULL".repeat(N)),
            format!("SELECT [1]{}", "[1]".repeat(N)),
            format!("SELECT * FROM n{}", " CROSS JOIN n".repeat(N)),
        ] {
            let given = outcome(&engine, &statement).await;
            assert!(given.contains("in a row here"), "{given}");
        }
        let sum = format!("SELECT {} FROM n WHERE k = 1", vec!["k"; 200].join(" + "));
        assert_eq!(outcome(&engine, &sum).await, "200");
        assert_eq!(value(&engine, "SELECT count(*) FROM n").await, "4");
    });
}

#[test]
fn wide_statements_are_run_or_refused() {
    on_query_threads(|| async {
        let engine = engine();
        const N: usize = 10_000;
        let columns: Vec<String> = (0..N).map(|i| format!("{i} AS c{i}")).collect();
        let started = Instant::now();
        let wide = engine
            .sql(&format!("SELECT {}", columns.join(", ")))
            .await
            .unwrap();
        assert_eq!(wide.schema().fields().len(), N);
        println!("{N} columns: {:?}", started.elapsed());
        let columns: Vec<String> = (0..N).map(|i| format!("c{i} INT")).collect();
        let table = format!("CREATE TABLE w (k INT PRIMARY KEY, {})", columns.join(", "));
        let given = outcome(&engine, &table).await;
        assert!(
            given.is_empty() || given.contains("InvalidInput"),
            "{given}"
        );
        assert_eq!(value(&engine, "SELECT 1").await, "1");
    });
}

#[test]
fn many_branches_end() {
    on_query_threads(|| async {
        let engine = engine_with(EngineSettings {
            statement_timeout: Duration::from_secs(20),
            target_partitions: 2,
            ..EngineSettings::default()
        });
        let union = |n: usize| {
            let branches: Vec<String> = (0..n).map(|i| format!("SELECT {i} AS n")).collect();
            format!("SELECT count(*) FROM ({}) x", branches.join(" UNION ALL "))
        };
        let started = Instant::now();
        assert_eq!(outcome(&engine, &union(500)).await, "500");
        let given = outcome(&engine, &union(10_000)).await;
        assert!(
            given == "10000" || given.contains("in a row here"),
            "{given}"
        );
        println!("{:?}: {given}", started.elapsed());
        assert_eq!(value(&engine, "SELECT 1").await, "1");
    });
}

#[test]
fn long_literals_are_taken_up_to_the_limit() {
    on_query_threads(|| async {
        let engine = engine();
        let large = "x".repeat(10 << 20);
        let given = outcome(&engine, &format!("SELECT length('{large}')")).await;
        assert_eq!(given, (10 << 20).to_string());
        let huge = "x".repeat(100 << 20);
        let given = outcome(&engine, &format!("SELECT length('{huge}')")).await;
        assert!(given.contains("too long for SQL"), "{given}");
        let broken = outcome(&engine, &format!("SELECT '{large}' FROM nowhere")).await;
        assert!(
            broken.contains("table \"nowhere\" does not exist"),
            "{broken}"
        );
        run(&engine, "CREATE TABLE t (k INT PRIMARY KEY, v TEXT)").await;
        run(&engine, &format!("INSERT INTO t VALUES (1, '{large}')")).await;
        let stored = value(&engine, "SELECT length(v) FROM t").await;
        assert_eq!(stored, (10 << 20).to_string());
    });
}

#[test]
fn a_panic_is_an_error_of_its_statement() {
    on_query_threads(|| async {
        let engine = engine();
        run(&engine, NUMBERS).await;
        let panics = create_udf(
            "panics",
            vec![DataType::Int64],
            DataType::Int64,
            Volatility::Volatile,
            Arc::new(|arguments: &[ColumnarValue]| match arguments {
                [ColumnarValue::Scalar(ScalarValue::Int64(None))] => {
                    Ok(ColumnarValue::Scalar(ScalarValue::Int64(None)))
                }
                _ => panic!("on purpose"),
            }),
        );
        engine.context().register_udf(panics);
        for statement in [
            "SELECT panics(k) FROM n",
            "SELECT sum(panics(k)) FROM n GROUP BY s",
            "SELECT k FROM n ORDER BY panics(k)",
            "SELECT a.k FROM n a JOIN n b ON panics(a.k) = panics(b.k)",
            "INSERT INTO n (k) SELECT panics(k) FROM n",
            "UPDATE n SET i = panics(k)",
            "DELETE FROM n WHERE panics(k) = 1",
            "SELECT panics(k) OVER () FROM n",
        ] {
            let (kind, text) = failure(&engine, statement).await;
            assert_eq!(kind, ErrorKind::Io, "{statement}: {text}");
            assert!(text.contains("on purpose"), "{statement}: {text}");
        }
        assert_eq!(value(&engine, "SELECT count(*) FROM n").await, "4");
    });
}
