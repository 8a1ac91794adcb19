//! The point path gives what the planner gives: columns, rows, receipts, shards and errors.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use netabase_sql::datafusion::common::ScalarValue;
use netabase_sql::store::{Error, ErrorKind};
use netabase_sql::{Engine, Output, ScanInfo, WriteReceipt};

use crate::common::{engine, engine_in_folder, failure, rows, run, text_of, value};

/// Types of keys, and values that a table has, of which the last ones are in memory.
const KEYS: &[(&str, &[&str])] = &[
    (
        "BIGINT",
        &["0", "1", "-1", "127", "9223372036854775807", "-5"],
    ),
    ("INT", &["0", "1", "-1", "128", "2147483647", "-5"]),
    ("SMALLINT", &["0", "1", "-1", "128", "32767"]),
    ("TINYINT", &["0", "1", "-1", "127"]),
    ("BIGINT UNSIGNED", &["0", "1", "9223372036854775808", "128"]),
    ("INT UNSIGNED", &["0", "1", "2147483648"]),
    (
        "TEXT",
        &["''", "'abc'", "'it''s'", "'1'", "'größe'", "'2020-01-01'"],
    ),
    ("BOOLEAN", &["true", "false"]),
    ("DATE", &["'2020-01-01'", "'1969-12-31'"]),
    ("TIMESTAMP", &["'2020-01-01'", "'2020-01-01 10:00:00'"]),
    (
        "TIMESTAMP(0)",
        &["'2020-01-01'", "'1970-01-01'", "'1969-12-31 23:59:59'"],
    ),
    (
        "TIMESTAMP(3)",
        &["'2020-01-01'", "'1969-12-31 23:59:59.5'", "'3000-01-01'"],
    ),
    (
        "TIMESTAMP WITH TIME ZONE",
        &["'2020-01-01'", "'2020-01-01T10:00:00Z'"],
    ),
    ("TIME", &["'10:00:00'", "'23:59:59.5'"]),
    ("DECIMAL(10, 2)", &["1", "1.5", "-1"]),
    ("DOUBLE", &["0.0", "1.5", "-1"]),
];

/// What a key, or any other column, is compared with and set to.
const LITERALS: &[&str] = &[
    "0",
    "1",
    "-1",
    "127",
    "128",
    "-129",
    "32768",
    "2147483648",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "99999999999999999999",
    "1.0",
    "1.5",
    "-1.5",
    "'1'",
    "'abc'",
    "'it''s'",
    "''",
    "'größe'",
    "NULL",
    "true",
    "false",
    "'2020-01-01'",
    "'2020-01-01 10:00:00'",
    "'2020-01-01T10:00:00Z'",
    "'10:00:00'",
    "' 2020-01-01'",
    "'2020-13-01'",
    "'1969-12-31 23:59:59.5'",
    "'3000-01-01'",
];

/// Types of keys with which the other columns are gone through, too.
const WITH_COLUMNS: usize = 1;

/// Columns beside the key.
const COLUMNS: &str = "i INT, t TEXT, f DOUBLE, g REAL, d DATE, n DECIMAL(8, 3), b BOOLEAN,
    m BIGINT NOT NULL";

/// Everything that is told about a statement.
#[derive(Debug, PartialEq)]
struct Told {
    schema: SchemaRef,
    rows: Vec<Vec<String>>,
    receipt: Option<WriteReceipt>,
    scans: Vec<ScanInfo>,
}

type Outcome = Result<Told, (ErrorKind, String)>;

async fn told(ran: Result<Output, Error>) -> Outcome {
    let shown = |error: Error| (error.kind(), error.to_string());
    let output = ran.map_err(shown)?;
    let (schema, receipt) = (output.schema(), output.receipt().cloned());
    let scans = output.scans().to_vec();
    let batches = output.collect().await.map_err(shown)?;
    assert!(batches.iter().all(|batch| batch.schema() == schema));
    let mut rows = text_of(&batches);
    rows.sort();
    Ok(Told {
        schema,
        rows,
        receipt,
        scans,
    })
}

async fn generally(engine: &Engine, text: &str) -> Outcome {
    told(engine.without_point_path().sql(text).await).await
}

/// By the point path, if it takes the statement; else as the planner has it. And whether it did.
async fn pointedly(engine: &Engine, text: &str) -> (Outcome, bool) {
    if let Some(call) = engine.point(text) {
        match call.run(true).await {
            Ok(Some(output)) => return (told(Ok(output)).await, true),
            Err(error) => return (told(Err(error)).await, true),
            Ok(None) => {}
        }
    }
    (generally(engine, text).await, false)
}

/// Both ways on one store. Whether the point path took it.
async fn agrees(engine: &Engine, text: &str) -> bool {
    let expected = generally(engine, text).await;
    let (found, taken) = pointedly(engine, text).await;
    assert_eq!(found, expected, "{text}");
    taken
}

/// Fills a table of this key type: some rows in segments, some replaced, removed and in memory.
async fn fill(engine: &Engine, key: &str, values: &[&str]) {
    let engine = &engine.without_point_path();
    run(
        engine,
        &format!("CREATE TABLE t (k {key} PRIMARY KEY, {COLUMNS}) WITH (shards = 3)"),
    )
    .await;
    let row = |value: &str, m: usize| {
        format!(
            "INSERT INTO t VALUES ({value}, {m}, 't{m}', 1.5, NULL, '2020-01-01', 1.5, true, {m})"
        )
    };
    let (early, late) = values.split_at(values.len() / 2);
    for (m, value) in early.iter().enumerate() {
        run(engine, &row(value, m)).await;
    }
    engine.store().flush_to_segments().unwrap();
    for (m, value) in late.iter().enumerate() {
        run(engine, &row(value, 10 + m)).await;
    }
    run(engine, &row(values[0], 99)).await;
    run(
        engine,
        "CREATE INDEX by_i ON t (i); CREATE INDEX by_t ON t (t, i)",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_by_key_and_index_agree_for_all_types() {
    let (mut asked, mut taken) = (0, 0);
    for (number, (key, values)) in KEYS.iter().enumerate() {
        let (engine, _dir) = engine_in_folder(2);
        fill(&engine, key, values).await;
        for literal in LITERALS.iter().chain(*values) {
            let mut texts = vec![
                format!("SELECT * FROM t WHERE k = {literal}"),
                format!("SELECT m, k AS key, t FROM t AS x WHERE {literal} = x.k"),
            ];
            if number < WITH_COLUMNS {
                texts.extend([
                    format!("SELECT t, k FROM public.t WHERE i = {literal}"),
                    format!("SELECT m FROM t WHERE t = {literal} LIMIT 3"),
                ]);
            }
            for text in texts {
                asked += 1;
                taken += usize::from(agrees(&engine, &text).await);
            }
        }
        // What most rows have is left to the planner or not, and is the same.
        for text in [
            "SELECT k FROM t WHERE k = 1 LIMIT 0",
            "SELECT nothing FROM t WHERE k = 1",
            "SELECT k FROM t WHERE nothing = 1",
            "SELECT k FROM nothing WHERE k = 1",
            "SELECT k AS a, m AS a FROM t WHERE k = 1",
            "SELECT K, \"K\" FROM t WHERE k = 1",
        ] {
            agrees(&engine, text).await;
        }
    }
    assert!(asked > 800 && taken > asked / 5, "{taken} of {asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_several_columns_agree_in_any_order() {
    let (engine, _dir) = engine_in_folder(2);
    run(
        &engine,
        "CREATE TABLE t (v TEXT, b TEXT, a INT, c BIGINT, PRIMARY KEY (a, b, c))
             WITH (shards = 4, shard_by = 'a')",
    )
    .await;
    for n in 0..40 {
        if n == 20 {
            engine.store().flush_to_segments().unwrap();
        }
        let insert = format!(
            "INSERT INTO t VALUES ('v{n}', 'b{}', {}, {n})",
            n % 3,
            n % 5
        );
        run(&engine, &insert).await;
    }
    let mut taken = 0;
    for n in 0..45 {
        let (b, a) = (n % 3, n % 5);
        for condition in [
            format!("a = {a} AND b = 'b{b}' AND c = {n}"),
            format!("{n} = c AND b = 'b{b}' AND {a} = a"),
            format!("c = {n} AND a = {a} AND b = 'b{}'", b + 1),
            format!("c = {n} AND a = {a} AND b = NULL"),
            format!("c = {n} AND a = {a}"),
            format!("c = {n} AND a = {a} AND b = 'b{b}' AND v = 'v{n}'"),
            format!("a = {a}"),
        ] {
            let text = format!("SELECT * FROM t WHERE {condition}");
            taken += usize::from(agrees(&engine, &text).await);
        }
    }
    assert!(taken > 100, "{taken}");
}

/// Two stores with the same rows, of which one takes the point path.
async fn twins(key: &str, values: &[&str]) -> [(Engine, tempfile::TempDir); 2] {
    let twins = [engine_in_folder(2), engine_in_folder(2)];
    for (engine, _dir) in &twins {
        fill(engine, key, values).await;
    }
    twins
}

/// Without what says when something was written.
fn undated(outcome: Outcome) -> Outcome {
    outcome.map(|told| Told {
        scans: told
            .scans
            .into_iter()
            .map(|scan| ScanInfo {
                shards: scan
                    .shards
                    .into_iter()
                    .map(|shard| netabase_sql::ShardRef {
                        digest: String::new(),
                        ..shard
                    })
                    .collect(),
                ..scan
            })
            .collect(),
        ..told
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_agree_for_all_types() {
    let (mut asked, mut taken) = (0, 0);
    for (number, (key, values)) in KEYS.iter().enumerate() {
        let [(ours, _dir), (theirs, _other)] = twins(key, values).await;
        let mut statements = Vec::new();
        for literal in LITERALS {
            statements.push(format!("INSERT INTO t (m, k) VALUES (7, {literal})"));
            let columns = ["i", "t", "f", "g", "d", "n", "b", "m"];
            for column in columns.iter().filter(|_| number < WITH_COLUMNS) {
                let by = values[statements.len() % values.len()];
                statements.push(format!("UPDATE t SET {column} = {literal} WHERE k = {by}"));
            }
            statements.push(format!(
                "UPDATE t SET i = i + {literal}, m = m - 1 WHERE k = {}",
                values[0]
            ));
            statements.push(format!(
                "INSERT INTO t VALUES ({}, {literal}, {literal}, 1, 2, NULL, 0.5, false, 3)",
                values[0]
            ));
            statements.push(format!("UPDATE t SET t = 'x' WHERE k = {literal}"));
            statements.push(format!("DELETE FROM t WHERE k = {literal}"));
        }
        let (a, b) = (values[0], values[1]);
        statements.extend([
            format!("INSERT INTO t (k, m) VALUES ({a}, 1), ({b}, 2)"),
            format!("INSERT INTO t (k, m) VALUES ({a}, 1), ({a}, 2)"),
            format!("INSERT INTO t (k, m, k) VALUES ({a}, 1, {a})"),
            format!("INSERT INTO t (k, nothing) VALUES ({a}, 1)"),
            format!("INSERT INTO t (k) VALUES ({a})"),
            "INSERT INTO t (m) VALUES (1)".to_owned(),
            format!("INSERT INTO t (k, m) VALUES ({a})"),
            format!("INSERT INTO t VALUES ({a})"),
            format!("UPDATE t SET k = {a} WHERE k = {a}"),
            format!("UPDATE t SET m = 1, m = 2 WHERE k = {a}"),
            format!("UPDATE t SET nothing = 1 WHERE k = {a}"),
            format!("UPDATE t SET m = NULL WHERE k = {a}"),
            format!("UPDATE t SET m = m + 9223372036854775807 WHERE k = {a}"),
            format!("UPDATE t SET i = i + 2147483647 WHERE k = {a}"),
            format!("UPDATE t SET i = 2147483647 WHERE k = {a}"),
            format!("UPDATE t SET m = i + 1 WHERE k = {a}"),
            format!("UPDATE t SET i = m, m = i WHERE k = {a}"),
            format!("UPDATE t SET i = m + 1, m = i - 1 WHERE k = {a}"),
            format!("DELETE FROM t WHERE k = {b}"),
            format!("DELETE FROM t WHERE k = {b}"),
        ]);
        for text in statements {
            let expected = undated(generally(&theirs, &text).await);
            let (found, by_point) = pointedly(&ours, &text).await;
            assert_eq!(undated(found), expected, "{key}: {text}");
            asked += 1;
            taken += usize::from(by_point);
        }
        let all = "SELECT * FROM t ORDER BY k";
        assert_eq!(rows(&ours, all).await, rows(&theirs, all).await, "{key}");
    }
    assert!(asked > 1500 && taken > asked / 6, "{taken} of {asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_the_same_name_is_another_table() {
    let engine = engine();
    let select = "SELECT * FROM t WHERE id = 1";
    for (columns, row) in [
        ("id BIGINT PRIMARY KEY, v TEXT", "(1, 'a')"),
        ("v INT, id TEXT PRIMARY KEY, w TEXT", "(5, '1', 'b')"),
        ("id INT, v TEXT, PRIMARY KEY (id, v)", "(1, 'c'), (1, 'd')"),
    ] {
        let (kind, _) = failure(&engine, select).await;
        assert_eq!(kind, ErrorKind::NotFound);
        run(&engine, &format!("CREATE TABLE t ({columns})")).await;
        run(&engine, &format!("INSERT INTO t VALUES {row}")).await;
        for _ in 0..3 {
            agrees(&engine, select).await;
            agrees(&engine, "SELECT v FROM t WHERE id = '1'").await;
        }
        run(&engine, "DROP TABLE t").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_used_from_the_next_statement_on() {
    let (engine, _dir) = engine_in_folder(2);
    run(
        &engine,
        "CREATE TABLE t (id BIGINT PRIMARY KEY, g BIGINT);
         INSERT INTO t SELECT value, value / 10 FROM generate_series(0, 9999)",
    )
    .await;
    engine.store().flush_to_segments().unwrap();
    let select = "SELECT id FROM t WHERE g = 77";
    assert!(!agrees(&engine, select).await);
    run(&engine, "CREATE INDEX by_g ON t (g)").await;
    assert!(agrees(&engine, select).await);
    run(
        &engine,
        "INSERT INTO t VALUES (100000, 77); DELETE FROM t WHERE id = 771",
    )
    .await;
    assert!(agrees(&engine, select).await);
    assert_eq!(rows(&engine, select).await.len(), 10);
    run(&engine, "DROP INDEX by_g").await;
    assert!(!agrees(&engine, select).await);
    // Most rows are not looked up one by one.
    run(
        &engine,
        "UPDATE t SET g = 5 WHERE id > 1000; CREATE INDEX by_g ON t (g)",
    )
    .await;
    engine.store().flush_to_segments().unwrap();
    assert!(!agrees(&engine, "SELECT id FROM t WHERE g = 5").await);
}

/// How many rows the point path finds; `None` if it leaves that to others.
async fn found_here(engine: &Engine, text: &str, anywhere: bool) -> Option<usize> {
    let call = engine.point(text).unwrap();
    let output = call.run(anywhere).await.unwrap()?;
    let batches = output.collect().await.unwrap();
    Some(batches.iter().map(|batch| batch.num_rows()).sum())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_is_kept_for_few_rows_alone() {
    let (engine, _dir) = engine_in_folder(2);
    // Of each group, a tenth comes later; half of that, in the place of a row that is there.
    run(
        &engine,
        "CREATE TABLE t (id BIGINT PRIMARY KEY, g BIGINT, v TEXT) WITH (shards = 3);
         INSERT INTO t SELECT value, CASE WHEN value < 12 THEN 1 WHEN value < 200 THEN 2
             WHEN value < 4000 THEN 3 ELSE value END, 'some text of row ' || value
         FROM generate_series(0, 9999)",
    )
    .await;
    engine.store().flush_to_segments().unwrap();
    run(
        &engine,
        "CREATE INDEX by_g ON t (g);
         INSERT INTO t SELECT id + 100000, g, 'late' FROM t WHERE id % 20 = 0;
         INSERT INTO t SELECT id, g, 'changed' FROM t WHERE id % 20 = 10;
         DELETE FROM t WHERE id % 20 = 5; UPDATE t SET g = -1 WHERE id % 20 = 6",
    )
    .await;
    for (group, at_once, here) in [(1, true, true), (2, false, true), (3, false, false)] {
        let text = format!("SELECT v, id FROM t WHERE g = {group}");
        let rows = rows(&engine.without_point_path(), &text).await.len();
        assert_eq!(
            found_here(&engine, &text, true).await,
            at_once.then_some(rows)
        );
        assert_eq!(
            found_here(&engine, &text, false).await,
            here.then_some(rows)
        );
        assert_eq!(agrees(&engine, &text).await, at_once, "{text}");
        let first = format!("{text} LIMIT 7");
        assert_eq!(found_here(&engine, &first, false).await, here.then_some(7));
    }
    assert_eq!(
        found_here(&engine, "SELECT * FROM t WHERE g = -2", true).await,
        Some(0)
    );
    // Which rows are expired is not looked up at once.
    run(&engine, "ALTER TABLE t SET (ttl = '1 hour')").await;
    let text = "SELECT v FROM t WHERE g = 1";
    assert_eq!(found_here(&engine, text, true).await, None);
    assert!(found_here(&engine, text, false).await.is_some());
    assert!(!agrees(&engine, text).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_rows_are_gone() {
    let (engine, _dir) = engine_in_folder(2);
    run(
        &engine,
        "CREATE TABLE t (id BIGINT PRIMARY KEY, v TEXT) WITH (ttl = '1 second');
         INSERT INTO t VALUES (1, 'a')",
    )
    .await;
    engine.store().flush_to_segments().unwrap();
    run(&engine, "INSERT INTO t VALUES (2, 'b')").await;
    assert!(agrees(&engine, "SELECT v FROM t WHERE id = 1").await);
    tokio::time::sleep(Duration::from_millis(1200)).await;
    for id in 1..=2 {
        assert!(agrees(&engine, &format!("SELECT v FROM t WHERE id = {id}")).await);
        assert!(
            rows(&engine, &format!("SELECT v FROM t WHERE id = {id}"))
                .await
                .is_empty()
        );
        let update = format!("UPDATE t SET v = 'c' WHERE id = {id}");
        assert_eq!(value(&engine, &update).await, "0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_see_what_was_acknowledged_while_others_write() {
    const ROUNDS: i64 = 300;
    let (engine, _dir) = engine_in_folder(2);
    run(&engine, "CREATE TABLE t (id BIGINT PRIMARY KEY, v BIGINT)").await;
    let mut tasks = Vec::new();
    for writer in 0..4_i64 {
        let engine = engine.clone();
        tasks.push(tokio::spawn(async move {
            let put = engine
                .prepare("INSERT INTO t VALUES ($1, $2)")
                .await
                .unwrap();
            for round in 0..ROUNDS {
                let values = [ScalarValue::from(writer), ScalarValue::from(round)];
                put.run(&values).await.unwrap();
                let select = format!("SELECT v FROM t WHERE id = {writer}");
                assert_eq!(value(&engine, &select).await, round.to_string());
                // Somebody else's value only grows.
                let other = (writer + 1) % 4;
                let select = format!("SELECT v FROM t WHERE id = {other}");
                let first = rows(&engine, &select).await;
                let second = rows(&engine, &select).await;
                let number =
                    |rows: &[Vec<String>]| rows.first().map(|row| row[0].parse::<i64>().unwrap());
                assert!(number(&first) <= number(&second));
                if round % 100 == 50 {
                    let store = engine.store().clone();
                    tokio::task::spawn_blocking(move || store.flush_to_segments().unwrap())
                        .await
                        .unwrap();
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let last = ROUNDS - 1;
    assert_eq!(
        value(&engine, &format!("SELECT count(*) FROM t WHERE v = {last}")).await,
        "4"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_take_values_of_their_types() {
    let engine = engine();
    run(
        &engine,
        "CREATE TABLE t (id INT PRIMARY KEY, name TEXT, born DATE, share DOUBLE);
         CREATE TABLE u (id INT PRIMARY KEY, n BIGINT)",
    )
    .await;
    let insert = engine
        .prepare("INSERT INTO t VALUES ($1, $2, $3, $4)")
        .await
        .unwrap();
    for id in 0..5_i64 {
        let values = [
            id.into(),
            format!("n{id}").as_str().into(),
            "2020-01-01".into(),
            ScalarValue::Int32(Some(1)),
        ];
        let receipt = insert.run(&values).await.unwrap().receipt().cloned();
        assert_eq!(receipt.map(|receipt| receipt.rows), Some(1));
    }
    let texts = [
        ("SELECT name FROM t WHERE id = $1", true),
        ("SELECT name FROM t WHERE id + 1 = $1 + 1", false),
        ("SELECT name FROM t WHERE id IN ($1)", false),
    ];
    for (text, by_point) in texts {
        let select = engine.prepare(text).await.unwrap();
        let call = select.point(&[ScalarValue::Int64(Some(3))]).unwrap();
        assert_eq!(call.is_some(), by_point, "{text}");
        let output = select.run(&[ScalarValue::Int64(Some(3))]).await.unwrap();
        assert_eq!(
            text_of(&output.collect().await.unwrap()),
            [["n3"]],
            "{text}"
        );
    }
    let update = engine
        .prepare("UPDATE t SET name = $2 WHERE id = $1")
        .await
        .unwrap();
    update.run(&[3_i64.into(), "new".into()]).await.unwrap();
    let wide = engine
        .prepare("UPDATE t SET name = name || $1 WHERE id > $2")
        .await
        .unwrap();
    wide.run(&["!".into(), 2_i64.into()]).await.unwrap();
    let delete = engine.prepare("DELETE FROM t WHERE id = $1").await.unwrap();
    delete.run(&[4_i64.into()]).await.unwrap();
    let copy = engine
        .prepare("INSERT INTO u SELECT id, $1 FROM t WHERE id < $2")
        .await
        .unwrap();
    copy.run(&[7_i64.into(), 2_i64.into()]).await.unwrap();
    let names = rows(&engine, "SELECT name FROM t ORDER BY id").await;
    assert_eq!(names, [["n0"], ["n1"], ["n2"], ["new!"]]);
    assert_eq!(value(&engine, "SELECT sum(n) FROM u").await, "14");
    // A NULL is a value like any other, and equals nothing.
    let select = engine
        .prepare("SELECT name FROM t WHERE id = $1")
        .await
        .unwrap();
    let none = select.run(&[ScalarValue::Null]).await.unwrap();
    assert!(
        none.collect()
            .await
            .unwrap()
            .iter()
            .all(|batch| batch.num_rows() == 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_refuse_what_does_not_fit() {
    let engine = engine();
    run(&engine, "CREATE TABLE t (id INT PRIMARY KEY, name TEXT)").await;
    for text in [
        "CREATE TABLE u (id INT PRIMARY KEY)",
        "SELECT 1; SELECT 2",
        "EXPLAIN SELECT 1",
        "SELECT name FROM t WHERE id = $2",
        "SELECT name FROM t WHERE id = $id",
        "SELECT name FROM t WHERE id = $0",
        "CHECKPOINT",
        "",
    ] {
        let error = engine.prepare(text).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}: {error}");
    }
    let error = engine
        .prepare("SELECT a FROM nothing WHERE id = $1")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let select = engine
        .prepare("SELECT name FROM t WHERE id = $1")
        .await
        .unwrap();
    assert_eq!(*select.types(), [Some(arrow::datatypes::DataType::Int32)]);
    for values in [
        vec![],
        vec![1_i64.into(), 2_i64.into()],
        vec![ScalarValue::from("x")],
        vec![ScalarValue::Int64(Some(1 << 40))],
        vec![ScalarValue::Float64(Some(1.5))],
    ] {
        let error = select.run(&values).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{values:?}: {error}");
    }
    run(&engine, "DROP TABLE t").await;
    let error = select.run(&[1_i64.into()]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn shapes_are_not_mixed_up() {
    let engine = engine();
    run(
        &engine,
        "CREATE TABLE t (id BIGINT PRIMARY KEY, a BIGINT, b TEXT);
         INSERT INTO t VALUES (1, 10, 'x'), (2, 20, 'y')",
    )
    .await;
    let texts = [
        "SELECT a FROM t WHERE id = 1",
        "SELECT b FROM t WHERE id = 1",
        "SELECT a FROM t WHERE id = 2",
        "SELECT a FROM t WHERE id = -2",
        "SELECT a FROM t WHERE id = '2'",
        "SELECT a FROM t WHERE id = 2;",
        "SELECT a AS b FROM t WHERE id = 2",
        "select A from T where ID=2",
        "SELECT \"a\" FROM \"t\" WHERE \"id\" = 2",
    ];
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        for text in texts {
            agrees(&engine, text).await;
            seen.insert(rows(&engine, text).await);
        }
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
    // No statement changes that, but whoever opens an engine may.
    let dialect = "SET datafusion.sql_parser.dialect = 'MySQL'";
    engine.context().sql(dialect).await.unwrap();
    assert!(engine.point(texts[0]).is_none());
    let shared = Arc::new(engine);
    assert_eq!(value(&shared, texts[0]).await, "10");
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_of_tables_are_the_planners() {
    let engine = engine();
    run(
        &engine,
        "CREATE TABLE t (id BIGINT PRIMARY KEY, a BIGINT DEFAULT 7, b BIGINT CHECK (b < 100));
         CREATE TABLE plain (id BIGINT PRIMARY KEY, a BIGINT);
         CREATE VIEW v AS SELECT id, a FROM plain;
         INSERT INTO plain VALUES (1, 10)",
    )
    .await;
    run(&engine, "INSERT INTO t (id, b) VALUES (1, 5)").await;
    let select = "SELECT a FROM t WHERE id = 1";
    assert_eq!(value(&engine, select).await, "7");
    let (kind, _) = failure(&engine, "INSERT INTO t VALUES (2, 1, 100)").await;
    assert_eq!(kind, ErrorKind::InvalidInput);
    let (kind, _) = failure(&engine, "UPDATE t SET b = 100 WHERE id = 1").await;
    assert_eq!(kind, ErrorKind::InvalidInput);
    assert_eq!(value(&engine, "SELECT a FROM v WHERE id = 1").await, "10");
    // A statement that was fast minds a rule from the next time on.
    let insert = |id: i64, a: i64| format!("INSERT INTO plain VALUES ({id}, {a})");
    assert_eq!(value(&engine, &insert(2, 50)).await, "1");
    run(
        &engine,
        "ALTER TABLE plain ADD CONSTRAINT small CHECK (a < 60)",
    )
    .await;
    let (kind, _) = failure(&engine, &insert(3, 70)).await;
    assert_eq!(kind, ErrorKind::InvalidInput);
    run(&engine, "ALTER TABLE plain RENAME COLUMN a TO c").await;
    let (kind, _) = failure(&engine, "SELECT a FROM plain WHERE id = 2").await;
    assert_ne!(kind, ErrorKind::Io);
    assert_eq!(
        value(&engine, "SELECT c FROM plain WHERE id = 2").await,
        "50"
    );
    // With values in the place of parameters, too.
    let insert = engine
        .prepare("INSERT INTO t (id, b) VALUES ($1, $2)")
        .await
        .unwrap();
    insert.run(&[9_i64.into(), 8_i64.into()]).await.unwrap();
    let found = rows(&engine, "SELECT a, b FROM t WHERE id = 9").await;
    assert_eq!(found, [["7", "8"]]);
    let update = engine
        .prepare("UPDATE t SET b = $2 WHERE id = $1")
        .await
        .unwrap();
    update.run(&[9_i64.into(), 9_i64.into()]).await.unwrap();
    assert_eq!(value(&engine, "SELECT b FROM t WHERE id = 9").await, "9");
}
