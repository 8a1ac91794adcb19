//! COPY from JSON: lines or an array, typed by the table, and every error names its line.

use std::path::PathBuf;

use netabase_sql::Engine;
use netabase_sql::store::ErrorKind;

use crate::common::{engine, failure, rows, run, value};

async fn table() -> Engine {
    let engine = engine();
    run(
        &engine,
        "CREATE TABLE t (k BIGINT PRIMARY KEY, price DECIMAL(20, 3), s TEXT, at TIMESTAMP, \
         ok BOOLEAN, list BIGINT[], bytes BYTEA)",
    )
    .await;
    engine
}

fn write(folder: &tempfile::TempDir, text: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join("rows.json");
    std::fs::write(&path, text).unwrap();
    path
}

async fn loaded(text: &str, options: &str) -> Vec<Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let engine = table().await;
    let path = write(&folder, text);
    let copy = format!("COPY t FROM '{}' {options}", path.display());
    run(&engine, &copy).await;
    rows(
        &engine,
        "SELECT k, price, s, at, ok, list FROM t ORDER BY k",
    )
    .await
}

#[tokio::test]
async fn lines_arrays_and_indented_objects_are_the_same() {
    let at = "2013-01-01T05:00:00";
    let expected = [
        ["1", "9007199254740993.125", "a \"{ é", at, "true", "[1, 2]"],
        ["2", "NULL", "NULL", "NULL", "NULL", "NULL"],
    ];
    let one = r#"{"k": 1, "price": 9007199254740993.125, "s": "a \"{ \u00e9",
 "ok": true, "at": "2013-01-01T05:00:00Z", "list": [1, 2]}"#;
    let two = r#"{"k": "2", "s": null}"#;
    let line = one.replace('\n', "");
    for (text, options) in [
        (format!("{line}\n{two}\n"), ""),
        (format!("{line}{two}"), ""),
        (
            format!("\u{feff}{one}\r\n\n{two}"),
            "(FORMAT ndjson, ARRAY 0)",
        ),
        (format!(" [\n{one} , {two}\n] \n"), ""),
        (format!("[{one},{two}]"), "(ARRAY)"),
    ] {
        assert_eq!(loaded(&text, options).await, expected, "{text}");
    }
    assert!(loaded("", "").await.is_empty());
    assert!(loaded("[ ]", "").await.is_empty());
}

#[tokio::test]
async fn errors_name_the_line_and_nothing_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let engine = table().await;
    let deep = format!("{{\"k\": 1, \"list\": {}", "[".repeat(100_000));
    let key = "{\"k\": 1}\n";
    for (text, expected) in [
        (r#"{"k": 1.5}"#, "cannot parse \"1.5\" as Int64"),
        (r#"{"k": true}"#, "cannot parse \"true\" as Int64"),
        (r#"{"k": {"a": 1}}"#, ""),
        (r#"{"k": 2, "list": [1, 2.5]}"#, "column \"list\""),
        (r#"{"k": 2, "x": 1}"#, "no column \"x\""),
        (r#"{"s": "a"}"#, "part of the primary key"),
        (r#"{"k": "#, "an object never ends"),
        ("5", "expected an object"),
        (",{\"k\": 2}", "expected an object"),
        (r#"{"k": 2 "s": 1}"#, ""),
        ("{]", ""),
        (r#"{"k": 2, "bytes": "\\x0"}"#, "column \"bytes\": cannot"),
        (deep.as_str(), "nested deeper than 64"),
    ] {
        let path = write(&folder, format!("{key}{text}"));
        let (kind, error) = failure(&engine, &format!("COPY t FROM '{}'", path.display())).await;
        assert_eq!(kind, ErrorKind::InvalidInput, "{error}");
        assert!(error.contains(expected), "{error}\nexpected {expected}");
        assert!(error.contains("rows.json"), "{error}");
        assert!(error.contains("line 2"), "{error}");
        assert_eq!(value(&engine, "SELECT count(*) FROM t").await, "0");
    }
    let mut text = key.as_bytes().to_vec();
    text.extend_from_slice(b"{\"k\": 2, \"s\": \"\xff\"}");
    let path = write(&folder, text);
    let (_, error) = failure(&engine, &format!("COPY t FROM '{}'", path.display())).await;
    assert!(error.contains("line 2"), "{error}");
    let path = write(&folder, format!("{key}{key}"));
    let (kind, error) = failure(&engine, &format!("COPY t FROM '{}'", path.display())).await;
    assert_eq!(kind, ErrorKind::Conflict, "{error}");
    assert!(error.contains("line 2: the key (1)"), "{error}");
}

#[tokio::test]
async fn broken_arrays_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let engine = table().await;
    for (text, options, expected) in [
        (
            "[{\"k\": 1}\n{\"k\": 2}]",
            "",
            "line 2: a comma or ] is missing",
        ),
        ("[{\"k\": 1},\n]", "", "line 2: expected an object"),
        ("[{\"k\": 1}\n", "", "line 2: the array never ends"),
        ("[", "", "line 1: the array never ends"),
        ("[{\"k\": 1}]\n{", "", "line 2: text follows the array"),
        ("[]", "(ARRAY false)", "but ARRAY is false"),
        ("{\"k\": 1}", "(ARRAY true)", "but ARRAY is true"),
    ] {
        let path = write(&folder, text);
        let copy = format!("COPY t FROM '{}' {options}", path.display());
        let (kind, error) = failure(&engine, &copy).await;
        assert_eq!(kind, ErrorKind::InvalidInput, "{error}");
        assert!(error.contains(expected), "{error}\nexpected {expected}");
        assert_eq!(value(&engine, "SELECT count(*) FROM t").await, "0");
    }
}

#[tokio::test]
async fn listed_columns_are_loaded_and_others_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let engine = table().await;
    let text = r#"{"k": 1, "x": {"y": [1]}, "ok": true, "s": "a"}"#;
    let path = write(&folder, text);
    run(&engine, &format!("COPY t (k, s) FROM '{}'", path.display())).await;
    let all = rows(&engine, "SELECT k, s, ok FROM t").await;
    assert_eq!(all, [["1", "a", "NULL"]]);
}
