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
        ("WITH (format json)", "csv and parquet"),
        ("WITH (quote '''')", "QUOTE"),
        ("WITH (delimiter '\"')", "cannot separate"),
        ("CSV HEADER", "WITH (format csv"),
    ] {
        let (kind, text) = failure(&engine, &format!("COPY t FROM 'x.csv' {options}")).await;
        assert_eq!(kind, ErrorKind::InvalidInput);
        assert!(text.contains(expected), "{text}");
    }
    let (_, text) = failure(&engine, "COPY t TO 'x.csv'").await;
    assert!(text.contains("COPY … TO is not supported"), "{text}");
    let (_, text) = failure(&engine, "COPY t (k) FROM 'x.csv'").await;
    assert!(text.contains("matched by their names"), "{text}");
    let (kind, _) = failure(&engine, "COPY nothing FROM 'x.csv'").await;
    assert_eq!(kind, ErrorKind::NotFound);
}
