//! COPY into files: every value comes back, also to others; a file is there whole or not at all.

use std::path::Path;
use std::time::{Duration, Instant};

use arrow::record_batch::RecordBatch;
use datafusion::arrow::ipc::reader::FileReader;
use datafusion::prelude::{CsvReadOptions, JsonReadOptions, ParquetReadOptions, SessionContext};
use netabase_sql::store::ErrorKind;
use netabase_sql::{CopyOptions, Engine};

use crate::common::{engine, engine_in_folder, failure, rows, run, text_of, value};

/// Columns that every format holds.
const FLAT: &str = "k BIGINT PRIMARY KEY, tiny TINYINT, small SMALLINT, int INT, \
    unsigned BIGINT UNSIGNED, single REAL, double DOUBLE, price DECIMAL(38, 10), ok BOOLEAN, \
    s TEXT, bytes BYTEA, day DATE, clock TIME, at TIMESTAMP, instant TIMESTAMPTZ";

const VALUES: &str = "INSERT INTO t VALUES
    (1, -128, -32768, -2147483648, 18446744073709551615, 1.1754944e-38, 5e-324,
     -1234567890123456789012345678.0123456789, true, 'plain', X'00ff7f', '0001-01-01',
     '00:00:00', '1677-09-22 00:12:44', '2262-04-11T23:47:16.854775807Z'),
    (2, 127, 32767, 2147483647, 0, 3.4028235e38, 1.7976931348623157e308, 0.0000000001, false,
     'a, \"b\"; ''c''\r\nd\te \\ \u{1F600} NA', X'', '9999-12-31', '23:59:59.999999999',
     '1970-01-01 00:00:00.000000001', '1970-01-01T01:02:03+02:00'),
    (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '', NULL, NULL, NULL, NULL, NULL),
    (4, 0, 0, 0, 0, 'NaN', 'Infinity', 0, NULL, NULL, X'5c78', '2024-02-29', '12:00:00.5',
     '2024-02-29 12:00:00.5', '2024-02-29T12:00:00.5Z'),
    (-9223372036854775808, 0, 0, 0, 0, '-Infinity', -0.0, 0, NULL, 'NULL', X'22', '1970-01-01',
     '00:00:01', '1970-01-01', '1970-01-01')";

async fn flat() -> Engine {
    let engine = engine();
    run(&engine, &format!("CREATE TABLE t ({FLAT})")).await;
    run(&engine, VALUES).await;
    engine
}

async fn all(engine: &Engine) -> Vec<Vec<String>> {
    rows(engine, "SELECT * FROM t ORDER BY k").await
}

fn to(path: &Path, options: &str) -> String {
    format!("COPY t TO '{}' {options}", path.display())
}

fn from(path: &Path, options: &str) -> String {
    format!("COPY t FROM '{}' {options}", path.display())
}

/// Names of files and their options, for writing and for reading.
const SHAPES: [(&str, &str, &str); 26] = [
    ("a.csv", "", ""),
    ("b.tsv", "", ""),
    ("c.csv.gz", "", ""),
    ("d.csv.zst", "", ""),
    (
        "e",
        "(FORMAT csv, COMPRESSION gzip)",
        "CSV COMPRESSION 'gzip'",
    ),
    ("f.csv", "(HEADER false)", "(HEADER false)"),
    ("g.csv", "(NULL 'NULL')", "(NULL 'NULL')"),
    (
        "h.csv",
        "(DELIMITER ';', QUOTE '''')",
        "(DELIMITER ';', QUOTE '''')",
    ),
    ("i.csv", r"(ESCAPE '\')", r"(ESCAPE '\')"),
    ("j.csv", "(FORCE_QUOTE *)", ""),
    ("k.csv", "CSV FORCE QUOTE s, k", ""),
    ("l.json", "", ""),
    ("m.ndjson.gz", "", ""),
    ("n.jsonl", "(COMPRESSION 'zstd')", "(COMPRESSION 'zstd')"),
    ("o.json", "(ARRAY true)", "(ARRAY true)"),
    ("p.parquet", "", ""),
    ("q.parquet", "(COMPRESSION snappy, ROW_GROUP_SIZE 2)", ""),
    ("r.parquet", "(COMPRESSION gzip)", ""),
    ("s.parquet", "(COMPRESSION lz4)", ""),
    ("t.parquet", "(COMPRESSION brotli)", ""),
    (
        "u",
        "(FORMAT 'parquet', COMPRESSION 'none')",
        "(FORMAT parquet)",
    ),
    ("v.arrow", "", ""),
    ("w.feather", "(COMPRESSION lz4)", ""),
    ("x.ipc", "(COMPRESSION zstd)", ""),
    ("y", "(FORMAT arrow)", "WITH (FORMAT feather)"),
    ("z.json", "(FORMAT csv)", "(FORMAT csv)"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_value_comes_back_from_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let source = flat().await;
    let expected = all(&source).await;
    assert_eq!(expected.len(), 5);
    for (name, writing, reading) in SHAPES {
        let path = folder.path().join(name);
        assert_eq!(value(&source, &to(&path, writing)).await, "5", "{name}");
        let copy = engine();
        run(&copy, &format!("CREATE TABLE t ({FLAT})")).await;
        run(&copy, &from(&path, reading)).await;
        assert_eq!(all(&copy).await, expected, "{name} {writing}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_back_where_they_can_be_held() {
    let folder = tempfile::tempdir().unwrap();
    let columns = "k BIGINT PRIMARY KEY, list BIGINT[], texts TEXT[], deep BIGINT[][]";
    let rows = "INSERT INTO t VALUES (1, [1, NULL, 3], ['a', 'b \"'], [[1], []]), \
                (2, [], [NULL], NULL), (3, NULL, NULL, [NULL])";
    let source = engine();
    run(&source, &format!("CREATE TABLE t ({columns}); {rows}")).await;
    let expected = all(&source).await;
    for name in ["a.json", "b.parquet", "c.arrow"] {
        let path = folder.path().join(name);
        run(&source, &to(&path, "")).await;
        let copy = engine();
        run(&copy, &format!("CREATE TABLE t ({columns})")).await;
        run(&copy, &from(&path, "")).await;
        assert_eq!(all(&copy).await, expected, "{name}");
    }
    let path = folder.path().join("d.csv");
    let (kind, text) = failure(&source, &to(&path, "")).await;
    assert_eq!(kind, ErrorKind::InvalidInput);
    assert!(text.contains("\"list\""), "{text}");
    assert!(text.contains("CSV cannot hold"), "{text}");
    std::fs::write(&path, "k,list\n1,5\n").unwrap();
    let (_, text) = failure(&source, &from(&path, "")).await;
    assert!(text.contains("CSV cannot hold"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn intervals_come_back_where_they_can_be_held() {
    let folder = tempfile::tempdir().unwrap();
    let source = engine();
    let query = "SELECT 1 AS k, INTERVAL '1 month 2 days -3.5 seconds' AS i";
    let table = "CREATE TABLE t (k BIGINT PRIMARY KEY, i INTERVAL)";
    let expected = rows(&source, query).await;
    for name in ["i.csv", "i.json", "i.arrow"] {
        let path = folder.path().join(name);
        run(&source, &format!("COPY ({query}) TO '{}'", path.display())).await;
        let copy = engine();
        run(&copy, table).await;
        run(&copy, &from(&path, "")).await;
        assert_eq!(all(&copy).await, expected, "{name}");
    }
    let path = folder.path().join("i.parquet");
    let copy = format!("COPY ({query}) TO '{}'", path.display());
    let (_, text) = failure(&source, &copy).await;
    assert!(text.contains("Parquet cannot hold"), "{text}");
    assert!(!path.exists());
}

/// What plain DataFusion makes of a file.
async fn plain(path: &Path) -> Vec<Vec<String>> {
    let context = SessionContext::new();
    let name = path.to_str().unwrap();
    match path.extension().unwrap().to_str().unwrap() {
        "csv" => context.register_csv("f", name, CsvReadOptions::new()).await,
        "json" => {
            let options = JsonReadOptions::default();
            context.register_json("f", name, options).await
        }
        "parquet" => {
            let options = ParquetReadOptions::default();
            context.register_parquet("f", name, options).await
        }
        other => panic!("{other}"),
    }
    .unwrap();
    let query = "SELECT k, s, double, CAST(price AS DECIMAL(38, 10)), ok, CAST(at AS TIMESTAMP) \
                 FROM f ORDER BY k";
    text_of(&context.sql(query).await.unwrap().collect().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_datafusion_reads_the_same_rows() {
    let folder = tempfile::tempdir().unwrap();
    let engine = flat().await;
    // Readers who guess the types of text take numbers of 38 digits for floats.
    let ours = "SELECT k, s, double, CASE WHEN k = 1 THEN 0.5 ELSE price END AS price, ok, at \
                FROM t WHERE k BETWEEN 1 AND 3 ORDER BY k";
    let ours = format!(
        "SELECT k, s, double, CAST(price AS DECIMAL(38, 10)) AS price, ok, at FROM ({ours})"
    );
    let expected = rows(&engine, &format!("{ours} ORDER BY k")).await;
    for name in ["a.csv", "b.json", "c.parquet"] {
        let path = folder.path().join(name);
        run(&engine, &format!("COPY ({ours}) TO '{}'", path.display())).await;
        let mut theirs = plain(&path).await;
        if name == "a.csv" {
            // It does not tell the empty text from NULL.
            assert!(["NULL", ""].contains(&theirs[2][1].as_str()));
            theirs[2][1] = String::new();
        }
        assert_eq!(theirs, expected, "{name}");
    }
    let path = folder.path().join("d.arrow");
    let copy = format!("COPY ({ours} ORDER BY k) TO '{}'", path.display());
    run(&engine, &copy).await;
    let reader = FileReader::try_new(std::fs::File::open(&path).unwrap(), None).unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    assert_eq!(text_of(&batches), expected);
}

#[tokio::test]
async fn what_is_written_is_as_expected() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine();
    run(
        &engine,
        "CREATE TABLE t (k BIGINT PRIMARY KEY, s TEXT); \
         INSERT INTO t VALUES (1, 'a,\"b\"'), (2, NULL), (3, '')",
    )
    .await;
    let path = folder.path().join("file");
    for (options, expected) in [
        ("(FORMAT csv)", "k,s\n1,\"a,\"\"b\"\"\"\n2,\n3,\"\"\n"),
        (
            r"(FORMAT csv, FORCE_QUOTE (s), NULL 'NA', DELIMITER '\t')",
            "k\ts\n1\t\"a,\"\"b\"\"\"\n2\tNA\n3\t\"\"\n",
        ),
        (
            "(FORMAT json)",
            "{\"k\":1,\"s\":\"a,\\\"b\\\"\"}\n{\"k\":2,\"s\":null}\n{\"k\":3,\"s\":\"\"}\n",
        ),
        (
            "(FORMAT json, ARRAY)",
            "[{\"k\":1,\"s\":\"a,\\\"b\\\"\"},{\"k\":2,\"s\":null},{\"k\":3,\"s\":\"\"}]\n",
        ),
    ] {
        let query = "SELECT k, s FROM t ORDER BY k";
        let copy = format!("COPY ({query}) TO '{}' {options}", path.display());
        run(&engine, &copy).await;
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
    }
    let copy = format!("COPY t (s, k) TO '{}' CSV", path.display());
    run(&engine, &copy).await;
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("s,k\n"));
}

#[tokio::test]
async fn files_without_rows_are_written_and_read() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine();
    run(&engine, "CREATE TABLE t (k BIGINT PRIMARY KEY, s TEXT)").await;
    let path = folder.path().join("file");
    for (options, expected) in [
        ("(FORMAT csv)", "k,s\n"),
        ("(FORMAT json)", ""),
        ("(FORMAT json, ARRAY)", "[]\n"),
    ] {
        run(&engine, &to(&path, options)).await;
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
        run(&engine, &from(&path, options)).await;
    }
    for options in ["(FORMAT parquet)", "(FORMAT arrow)"] {
        run(&engine, &to(&path, options)).await;
        run(&engine, &from(&path, options)).await;
    }
    assert_eq!(value(&engine, "SELECT count(*) FROM t").await, "0");
}

/// What is in a folder, hidden files too.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_fails_leaves_the_old_file_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine();
    let path = folder.path().join("old.csv");
    std::fs::write(&path, "old").unwrap();
    // Its first rows are good, and written by then.
    let late = "SELECT 1000 / (500000 - value) AS v FROM generate_series(1, 600000)";
    for (query, options, expected) in [
        (late, "", "zero"),
        (
            "SELECT 1 AS a",
            "(FORCE_QUOTE (c))",
            "no column of the rows",
        ),
        ("SELECT nope FROM t", "", "does not exist"),
        ("DELETE FROM t", "", "not supported"),
        (
            "SELECT 1",
            "(ROW_GROUP_SIZE 0, FORMAT parquet)",
            "give 1 to",
        ),
        (
            "SELECT 1",
            "(ROW_GROUP_SIZE -1, FORMAT parquet)",
            "whole number",
        ),
    ] {
        let copy = format!("COPY ({query}) TO '{}' {options}", path.display());
        let (_, text) = failure(&engine, &copy).await;
        assert!(text.contains(expected), "{copy}: {text}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(folder.path()), ["old.csv"]);
    }
    let copy = format!("COPY (SELECT 1 AS a) TO '{}'", path.display());
    run(&engine, &copy).await;
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "a\n1\n");
    assert_eq!(names(folder.path()), ["old.csv"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_cancelled_leaves_the_old_file_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine();
    let path = folder.path().join("old.csv");
    std::fs::write(&path, "old").unwrap();
    let endless = "SELECT a.value AS v FROM generate_series(1, 1000000) a, \
                   generate_series(1, 1000000) b";
    let copy = format!("COPY ({endless}) TO '{}'", path.display());
    let started = tokio::time::timeout(Duration::from_millis(300), engine.sql(&copy));
    assert!(started.await.is_err(), "it ended");
    let deadline = Instant::now() + Duration::from_secs(60);
    while names(folder.path()) != ["old.csv"] {
        assert!(Instant::now() < deadline, "{:?}", names(folder.path()));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
}

#[tokio::test]
async fn places_where_no_file_can_be_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, data) = engine_in_folder(1);
    let file = folder.path().join("file.csv");
    std::fs::write(&file, "old").unwrap();
    for (path, kind, expected) in [
        (
            folder.path().to_path_buf(),
            ErrorKind::InvalidInput,
            "is a folder",
        ),
        (
            folder.path().join("none/x.csv"),
            ErrorKind::NotFound,
            "create it first",
        ),
        (file.join("x.csv"), ErrorKind::Io, "cannot be written"),
        (
            data.path().join("x.csv"),
            ErrorKind::InvalidInput,
            "in the folder of the data",
        ),
    ] {
        let copy = format!("COPY (SELECT 1 AS a) TO '{}' (FORMAT csv)", path.display());
        let (found, text) = failure(&engine, &copy).await;
        assert_eq!(found, kind, "{text}");
        assert!(text.contains(expected), "{text}");
    }
    let mut permissions = std::fs::metadata(&file).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&file, permissions).unwrap();
    let copy = format!("COPY (SELECT 1 AS a) TO '{}'", file.display());
    let (_, text) = failure(&engine, &copy).await;
    assert!(text.contains("may not be written"), "{text}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "old");
    assert_eq!(names(folder.path()), ["file.csv"]);
}

#[cfg(unix)]
#[tokio::test]
async fn links_are_written_through_and_devices_are_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine();
    let real = folder.path().join("real.csv");
    let link = folder.path().join("link.csv");
    std::fs::write(&real, "old").unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let copy = format!("COPY (SELECT 1 AS a) TO '{}'", link.display());
    run(&engine, &copy).await;
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(std::fs::read_to_string(&real).unwrap(), "a\n1\n");
    run(&engine, "CREATE TABLE t (a BIGINT PRIMARY KEY)").await;
    for statement in [
        "COPY t TO '/dev/null' (FORMAT csv)",
        "COPY t FROM '/dev/null' (FORMAT csv)",
    ] {
        let (_, text) = failure(&engine, statement).await;
        assert!(text.contains("not a regular file"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_tells_its_progress() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine();
    let path = folder.path().join("rows.parquet");
    let query = "SELECT value AS k FROM generate_series(1, 50000)";
    let mut heard = Vec::new();
    let options = CopyOptions::default();
    let rows = engine.copy_to(query, &path, options.clone(), |done| heard.push(done));
    assert_eq!(rows.await.unwrap(), 50_000);
    assert!(heard.is_sorted() && heard.len() > 1, "{heard:?}");
    assert_eq!(heard.last(), Some(&50_000));
    for query in [
        "DELETE FROM t",
        "",
        "SELECT 1; SELECT 2",
        "COPY t FROM 'x.csv'",
    ] {
        let error = engine.copy_to(query, &path, options.clone(), |_| {}).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
