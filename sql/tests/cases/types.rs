//! Values of every type: the same from memory, from a segment, and after opening again.

use std::sync::Arc;

use netabase_sql::store::{Settings, Store};
use netabase_sql::{Engine, EngineSettings, LocalCluster};

use crate::common::{engine_in_folder, failure, rows, run};

/// Types, and values of each; the last ones have NULLs and nothing inside.
const TYPES: &[(&str, &[&str])] = &[
    ("SMALLINT", &["7", "-32768"]),
    ("BIGINT", &["9223372036854775807"]),
    ("REAL", &["1.5"]),
    ("DOUBLE PRECISION", &["-2.5e300"]),
    ("NUMERIC(9, 2)", &["1.25"]),
    ("DECIMAL(38, 10)", &["12345.6789"]),
    ("VARCHAR(3)", &["'äöü'", "''"]),
    ("BYTEA", &["x'00ff'", "x''"]),
    ("BOOLEAN", &["true"]),
    ("DATE", &["'2024-02-29'"]),
    ("TIME", &["'12:34:56.789'"]),
    ("TIMESTAMP", &["'2024-02-29 12:00:00.123456789'"]),
    ("TIMESTAMPTZ", &["'2024-02-29 12:00:00+02'"]),
    ("INTERVAL", &["INTERVAL '1 month 2 days 3 hours'"]),
    ("UUID", &["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"]),
    ("JSON", &["'{\"a\": [1, null]}'"]),
    ("INT[]", &["[1, NULL, 3]", "[]", "[NULL]"]),
    ("TEXT[][]", &["[['a', NULL], NULL, []]", "[]"]),
    ("INT[2]", &["[1, NULL]"]),
    (
        "STRUCT<a INT, b TEXT[]>",
        &["{a: 1, b: ['x', NULL]}", "{a: NULL, b: NULL}"],
    ),
    ("MAP(TEXT, INT[])", &["MAP {'a': [1], 'b': NULL}", "MAP {}"]),
];

fn open(dir: &std::path::Path) -> Engine {
    let settings = Settings {
        data_dir: Some(dir.to_path_buf()),
        background: false,
        ..Settings::default()
    };
    let store = Store::open(settings).unwrap();
    let cluster = Arc::new(LocalCluster::new(store.clone(), "me"));
    Engine::new(store, cluster, EngineSettings::default(), Ok).unwrap()
}

#[tokio::test]
async fn values_stay_what_they_are() {
    let (engine, dir) = engine_in_folder(2);
    let mut expected = Vec::new();
    for (number, (data_type, values)) in TYPES.iter().enumerate() {
        run(
            &engine,
            &format!("CREATE TABLE t{number} (k INT PRIMARY KEY, v {data_type})"),
        )
        .await;
        for (key, value) in values.iter().chain(&["NULL"]).enumerate() {
            run(
                &engine,
                &format!("INSERT INTO t{number} VALUES ({key}, {value})"),
            )
            .await;
        }
        let all = rows(&engine, &format!("SELECT v FROM t{number} ORDER BY k")).await;
        assert_eq!(all.len(), values.len() + 1);
        assert_eq!(all[values.len()], ["NULL"], "{data_type}");
        assert!(all[..values.len()].iter().all(|row| row[0] != "NULL"));
        expected.push(all);
    }
    let check = async |engine: &Engine, when: &str| {
        for (number, expected) in expected.iter().enumerate() {
            let all = rows(engine, &format!("SELECT v FROM t{number} ORDER BY k")).await;
            assert_eq!(all, *expected, "{} {when}", TYPES[number].0);
        }
    };
    run(&engine, "CHECKPOINT").await;
    check(&engine, "in a segment").await;
    drop(engine);
    check(&open(dir.path()), "after opening again").await;
}

#[tokio::test]
async fn values_are_keys() {
    let (engine, _dir) = engine_in_folder(2);
    for (number, (data_type, values)) in TYPES.iter().enumerate() {
        let table = format!("k{number}");
        run(
            &engine,
            &format!("CREATE TABLE {table} (k {data_type} PRIMARY KEY, n INT)"),
        )
        .await;
        for (n, value) in values.iter().enumerate() {
            run(&engine, &format!("INSERT INTO {table} VALUES ({value}, 0)")).await;
            // The same key again is the same row.
            run(
                &engine,
                &format!("INSERT INTO {table} VALUES ({value}, {n})"),
            )
            .await;
        }
        run(&engine, "CHECKPOINT").await;
        let count = rows(&engine, &format!("SELECT count(*) FROM {table}")).await;
        assert_eq!(count, [[values.len().to_string()]], "{data_type}");
        let found = format!("SELECT n FROM {table} WHERE k = (SELECT k FROM {table} WHERE n = 0)");
        assert_eq!(rows(&engine, &found).await, [["0"]], "{data_type}");
    }
}

#[tokio::test]
async fn a_bulk_load_is_checked_too() {
    let (engine, _dir) = engine_in_folder(2);
    run(
        &engine,
        "CREATE TABLE t (k BIGINT PRIMARY KEY, v VARCHAR(200), u UUID)",
    )
    .await;
    // Large enough to go straight to segments.
    let rows_of = |text: &str| {
        format!(
            "INSERT INTO t SELECT value, {text}, 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11' \
             FROM generate_series(1, 200000)"
        )
    };
    let long = rows_of("repeat('x', CASE WHEN value = 150000 THEN 201 ELSE 200 END)");
    let (_, text) = failure(&engine, &long).await;
    assert!(text.contains("VARCHAR(200)"), "{text}");
    assert_eq!(rows(&engine, "SELECT count(*) FROM t").await, [["0"]]);
    run(&engine, &rows_of("repeat('x', 200)")).await;
    let kept = "SELECT count(*), min(u), max(u) FROM t";
    let uuid = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    assert_eq!(rows(&engine, kept).await, [["200000", uuid, uuid]]);
}
