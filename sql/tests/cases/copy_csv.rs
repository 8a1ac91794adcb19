//! COPY from CSV: typed by the table, and every error names its line.

use std::path::{Path, PathBuf};

use netabase_sql::Engine;
use netabase_sql::store::ErrorKind;

use crate::common::{engine, failure, rows, run, value};

async fn table() -> Engine {
    let engine = engine();
    run(
        &engine,
        "CREATE TABLE t (k BIGINT PRIMARY KEY, dep_delay DOUBLE, s TEXT, at TIMESTAMP, ok BOOLEAN)",
    )
    .await;
    engine
}

fn write(folder: &tempfile::TempDir, text: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join("flights.csv");
    std::fs::write(&path, text).unwrap();
    path
}

async fn fails(engine: &Engine, path: &Path) -> (ErrorKind, String) {
    let error = failure(engine, &format!("COPY t FROM '{}'", path.display())).await;
    assert_eq!(
        value(engine, "SELECT count(*) FROM t").await,
        "0",
        "something was loaded"
    );
    error
}

async fn loads(engine: &Engine, path: &Path, options: &str) {
    run(
        engine,
        &format!("COPY t FROM '{}' {options}", path.display()),
    )
    .await;
}

#[tokio::test]
async fn values_quotes_and_nulls() {
    let folder = tempfile::tempdir().unwrap();
    let engine = table().await;
    let text = "\u{feff}s,k,dep_delay,at,ok\r\n\
                plain,1,1.5,2013-01-01T05:00:00Z,true\r\n\
                \"a \"\"quoted\"\", text\",2,,2013-01-01 05:00:00,false\n\
                \"\",3,-2e3,,\n\
                ,4,,,\n\
                \"two\nlines\",5,0,,";
    let path = write(&folder, text);
    loads(&engine, &path, "").await;
    let all = rows(&engine, "SELECT k, dep_delay, s, at, ok FROM t ORDER BY k").await;
    let at = "2013-01-01T05:00:00";
    assert_eq!(all[0], ["1", "1.5", "plain", at, "true"]);
    assert_eq!(all[1], ["2", "NULL", "a \"quoted\", text", at, "false"]);
    assert_eq!(all[2], ["3", "-2000.0", "", "NULL", "NULL"]);
    assert_eq!(all[3], ["4", "NULL", "NULL", "NULL", "NULL"]);
    assert_eq!(all[4][2], "two\nlines");
}

#[tokio::test]
async fn options_change_delimiter_header_and_null() {
    let folder = tempfile::tempdir().unwrap();
    let engine = table().await;
    let path = write(&folder, "1;NA;NA text;NA;t\n2;2.5;\"NA\";;f\n\n");
    let options = "WITH (format csv, header false, delimiter ';', null 'NA')";
    loads(&engine, &path, options).await;
    let all = rows(&engine, "SELECT k, dep_delay, s, at FROM t ORDER BY k").await;
    assert_eq!(
        all,
        [["1", "NULL", "NA text", "NULL"], ["2", "2.5", "NA", "NULL"]]
    );
}

#[tokio::test]
async fn a_broken_line_1000_is_named_and_nothing_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let engine = table().await;
    let mut text = String::from("k,dep_delay\n");
    for line in 2..=5000 {
        let value = if line == 1000 {
            "x".to_string()
        } else {
            format!("{line}.5")
        };
        text.push_str(&format!("{line},{value}\n"));
    }
    let path = write(&folder, text);
    let (kind, text) = fails(&engine, &path).await;
    assert_eq!(kind, ErrorKind::InvalidInput);
    let end = "flights.csv line 1000: column \"dep_delay\": cannot parse \"x\" as Float64";
    assert!(text.ends_with(end), "{text}");
}

#[tokio::test]
async fn lines_inside_quotes_count() {
    let folder = tempfile::tempdir().unwrap();
    let engine = table().await;
    let path = write(&folder, "k,s\n1,\"a\nb\nc\"\n2,\"d\r\ne\"\nx,f\n");
    let (_, text) = fails(&engine, &path).await;
    assert!(
        text.contains("line 7: column \"k\": cannot parse \"x\" as Int64"),
        "{text}"
    );
}

#[tokio::test]
async fn the_first_broken_line_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let engine = table().await;
    let path = write(&folder, "k,dep_delay\n1,1\n2,late\nthree,3\n4\n");
    let (_, text) = fails(&engine, &path).await;
    assert!(text.contains("line 3: column \"dep_delay\""), "{text}");
}

#[tokio::test]
async fn structure_errors_name_their_line() {
    let folder = tempfile::tempdir().unwrap();
    let engine = table().await;
    for (text, expected) in [
        ("k,s\n1,a\n2\n3,c\n", "line 3: 1 fields instead of 2"),
        ("k,s\n1,a,b\n", "line 2: 3 fields instead of 2"),
        ("k,s\n1,a\n\n3,c\n", "line 3: the line is empty"),
        ("k,s\n1,\"a\n2,b\n", "line 2: a quoted field never ends"),
        ("k,s\n1,\"a\"b\n", "line 2: text follows a quoted field"),
        ("k,x\n1,a\n", "no column \"x\""),
        ("s\na\n", "no column \"k\""),
        ("k,k\n1,1\n", "\"k\" appears twice"),
        ("", "the file is empty"),
        (
            "k,s\n1,a\n,b\n",
            "line 3: column \"k\" of table \"t\" is part of the primary key",
        ),
    ] {
        let path = write(&folder, text);
        let (kind, error) = fails(&engine, &path).await;
        assert_eq!(kind, ErrorKind::InvalidInput, "{error}");
        assert!(error.contains(expected), "{error}\nexpected {expected}");
    }
    let path = write(&folder, b"k,s\n1,a\n2,\xff\n");
    let (_, error) = fails(&engine, &path).await;
    assert!(error.contains("line 3: the text is not UTF-8"), "{error}");
}

#[tokio::test]
async fn a_key_twice_names_both_lines() {
    let folder = tempfile::tempdir().unwrap();
    let engine = table().await;
    let path = write(&folder, "k,s\n1,a\n2,b\n1,c\n");
    let (kind, text) = fails(&engine, &path).await;
    assert_eq!(kind, ErrorKind::Conflict);
    assert!(
        text.contains("line 4: the key (1)") && text.contains("line 2"),
        "{text}"
    );
}

#[tokio::test]
async fn a_header_alone_loads_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let engine = table().await;
    let path = write(&folder, "k,s\n");
    loads(&engine, &path, "").await;
    assert_eq!(value(&engine, "SELECT count(*) FROM t").await, "0");
}

#[tokio::test]
async fn options_that_are_not_known_are_refused() {
    let engine = table().await;
    for (options, expected) in [
        ("WITH (format xml)", "csv, json, parquet and arrow"),
        ("WITH (oids)", "OIDS is not supported; there are FORMAT"),
        ("(delimiter '\"')", "separate fields and be their QUOTE"),
        ("(delimiter 'ab')", "one ASCII character"),
        ("(delimiter 'ä')", "one ASCII character"),
        ("(null ',')", "no field could be it"),
        ("(header maybe)", "either true or false"),
        ("(header, header)", "HEADER is given twice"),
        ("(delim ';', delimiter ';')", "DELIMITER is given twice"),
        ("(format parquet, delimiter ';')", "for CSV only"),
        ("(array true)", "ARRAY is for JSON only"),
        ("(row_group_size 5)", "ROW_GROUP_SIZE is for Parquet only"),
        ("(force_quote *)", "no effect on COPY FROM"),
        (
            "(format parquet, compression zstd)",
            "no effect on COPY FROM",
        ),
        ("(compression snappy)", "none, gzip, zstd"),
        ("(compression 'rar')", "\"rar\" is not known"),
        ("(encoding 'latin1')", "UTF-8"),
        ("WITH", "options in parentheses"),
        ("CSV HEADER FORCE NOT NULL k", "FORCE NULL is not supported"),
        ("BINARY", "not \"binary\""),
        ("STORED AS PARQUET", "STORED is not supported"),
        ("WHERE k > 1", "WHERE is not supported"),
        ("(format csv) garbage", "expected the end of the statement"),
    ] {
        let (kind, text) = failure(&engine, &format!("COPY t FROM 'x.csv' {options}")).await;
        assert_eq!(kind, ErrorKind::InvalidInput, "{options}: {text}");
        assert!(text.contains(expected), "{options}: {text}");
    }
}

#[tokio::test]
async fn statements_that_do_something_else_are_refused() {
    let engine = table().await;
    for (statement, expected) in [
        ("COPY t FROM STDIN", "STDIN is not supported"),
        ("COPY t TO STDOUT (FORMAT csv)", "STDOUT is not supported"),
        ("COPY t FROM PROGRAM 'ls'", "PROGRAM is not supported"),
        ("COPY t FROM x.csv", "in single quotes"),
        ("COPY t 'x.csv'", "expected FROM 'file' or TO 'file'"),
        ("COPY (SELECT 1) FROM 'x.csv'", "loads into a table"),
        ("COPY t (k, k) FROM 'x.csv'", "listed twice"),
        ("COPY t (k, nope) FROM 'x.csv'", "no column \"nope\""),
        ("COPY t (k, k) TO 'x.csv'", "listed twice"),
        ("COPY information_schema.tables FROM 'x.csv'", "read-only"),
        ("COPY t FROM 'x.xls'", "the format of x.xls is not clear"),
        ("COPY t FROM 'x.parquet.gz'", "compressed inside"),
        ("EXPLAIN COPY t TO 'x.csv'", "inside EXPLAIN"),
    ] {
        let (kind, text) = failure(&engine, statement).await;
        assert_eq!(kind, ErrorKind::InvalidInput, "{statement}: {text}");
        assert!(text.contains(expected), "{statement}: {text}");
    }
    let (kind, _) = failure(&engine, "COPY nothing FROM 'x.csv'").await;
    assert_eq!(kind, ErrorKind::NotFound);
}

#[tokio::test]
async fn the_options_of_postgresql_and_duckdb_mean_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for options in [
        "WITH (FORMAT csv, HEADER false, DELIMITER ';', QUOTE '''', NULL 'NA')",
        "(FORMAT 'csv', HEADER off, DELIM ';', QUOTE '''', NULLSTR 'NA', ENCODING 'utf-8')",
        "CSV DELIMITER AS ';' QUOTE '''' NULL AS 'NA' HEADER false",
        "WITH CSV HEADER 0 QUOTE AS '''' DELIMITER ';' NULL 'NA'",
    ] {
        let engine = table().await;
        let path = write(&folder, "1;NA;'it''s; so';NA;t\n2;2.5;'NA';;f\n");
        loads(&engine, &path, options).await;
        let all = rows(&engine, "SELECT k, dep_delay, s FROM t ORDER BY k").await;
        let expected = [["1", "NULL", "it's; so"], ["2", "2.5", "NA"]];
        assert_eq!(all, expected, "{options}");
    }
}

#[tokio::test]
async fn a_character_of_its_own_escapes_quotes() {
    let folder = tempfile::tempdir().unwrap();
    let engine = table().await;
    let path = write(
        &folder,
        r#"k,s
1,"a \" b \\ c \n"
2,\"plain
"#,
    );
    loads(&engine, &path, r"(ESCAPE '\')").await;
    let all = rows(&engine, "SELECT s FROM t ORDER BY k").await;
    assert_eq!(all, [[r#"a " b \ c \n"#], [r#"\"plain"#]]);
    let path = write(&folder, "k,s\n1,\"a \\");
    let copy = format!(r"COPY t FROM '{}' (ESCAPE '\')", path.display());
    let (_, text) = failure(&engine, &copy).await;
    assert!(text.contains("line 2: a quoted field never ends"), "{text}");
}

#[tokio::test]
async fn listed_columns_are_loaded_and_others_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let engine = table().await;
    let path = write(&folder, "x,s,k,dep_delay\nlost,a,1,1.5\n");
    let (_, text) = fails(&engine, &path).await;
    assert!(text.contains("no column \"x\""), "{text}");
    assert!(text.contains("COPY \"t\" (columns) FROM"), "{text}");
    run(&engine, &format!("COPY t (k, s) FROM '{}'", path.display())).await;
    let all = rows(&engine, "SELECT k, s, dep_delay FROM t").await;
    assert_eq!(all, [["1", "a", "NULL"]]);
    let copy = format!("COPY t (k, ok) FROM '{}'", path.display());
    let (_, text) = failure(&engine, &copy).await;
    assert!(text.contains("no column \"ok\"; it has x, s, k"), "{text}");
    // Without names in the file, they are those of its fields.
    let path = write(&folder, "b,2\n");
    let copy = format!("COPY t (s, k) FROM '{}' (HEADER false)", path.display());
    run(&engine, &copy).await;
    assert_eq!(rows(&engine, "SELECT s FROM t WHERE k = 2").await, [["b"]]);
    write(&folder, "b,2,3\n");
    let (_, text) = failure(&engine, &copy).await;
    assert!(text.contains("line 1: 3 fields instead of 2"), "{text}");
}

#[tokio::test]
async fn an_empty_line_is_a_row_where_one_column_may_be_null() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine();
    run(&engine, "CREATE TABLE t (k TEXT PRIMARY KEY, v BIGINT)").await;
    let path = write(&folder, "v\n1\n\n2\n");
    let copy = format!("COPY t (v) FROM '{}'", path.display());
    // It has no key, which is needed.
    let (_, text) = failure(&engine, &copy).await;
    assert!(text.contains("no column \"k\""), "{text}");
    let path = write(&folder, "k\na\n\nb\n");
    let (_, text) = failure(&engine, &format!("COPY t FROM '{}'", path.display())).await;
    assert!(text.contains("line 3: the line is empty"), "{text}");
}

#[tokio::test]
async fn a_row_of_delimiters_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let engine = table().await;
    // Each of them is one byte of text, and ends a field that takes more.
    let text = format!("s,k,dep_delay,at,ok\n{}\n", ",".repeat(5_000_000));
    let path = write(&folder, text);
    let (kind, error) = fails(&engine, &path).await;
    assert_eq!(kind, ErrorKind::InvalidInput);
    assert!(error.contains("line 2: a row takes more than"), "{error}");
}
