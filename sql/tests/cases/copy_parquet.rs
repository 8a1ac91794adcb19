//! COPY from Parquet: all or nothing, by name, without loss.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
use arrow::record_batch::RecordBatch;
use datafusion::parquet::arrow::ArrowWriter;
use netabase_sql::store::ErrorKind;
use netabase_sql::{CopyOptions, Engine};

use crate::common::{data, engine, failure, rows, run, value};

fn write(folder: &tempfile::TempDir, columns: Vec<(&str, ArrayRef)>) -> PathBuf {
    let path = folder.path().join("rows.parquet");
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .unwrap();
    let mut writer =
        ArrowWriter::try_new(File::create(&path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    path
}

async fn table() -> Engine {
    let engine = engine();
    run(
        &engine,
        "CREATE TABLE t (k BIGINT PRIMARY KEY, v DOUBLE, s TEXT NOT NULL)",
    )
    .await;
    engine
}

fn ints(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

async fn fails(engine: &Engine, path: &std::path::Path) -> (ErrorKind, String) {
    let error = failure(engine, &format!("COPY t FROM '{}'", path.display())).await;
    assert_eq!(value(engine, "SELECT count(*) FROM t").await, "0");
    error
}

#[tokio::test]
async fn columns_are_matched_by_name_and_missing_ones_are_null() {
    let folder = tempfile::tempdir().unwrap();
    let engine = table().await;
    let path = write(
        &folder,
        vec![("s", texts(&["a", "b"])), ("k", ints(&[1, 2]))],
    );
    run(&engine, &format!("COPY t FROM '{}'", path.display())).await;
    let all = rows(&engine, "SELECT * FROM t ORDER BY k").await;
    assert_eq!(all, [["1", "NULL", "a"], ["2", "NULL", "b"]]);
}

#[tokio::test]
async fn a_wrong_schema_names_column_and_types() {
    let folder = tempfile::tempdir().unwrap();
    let engine = table().await;
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![1.5]));
    let path = write(&folder, vec![("k", floats), ("s", texts(&["a"]))]);
    let (kind, text) = fails(&engine, &path).await;
    assert_eq!(kind, ErrorKind::InvalidInput);
    assert!(
        text.contains("\"k\"") && text.contains("Float64") && text.contains("Int64"),
        "{text}"
    );

    let path = write(
        &folder,
        vec![("k", ints(&[1])), ("s", texts(&["a"])), ("x", ints(&[1]))],
    );
    let (_, text) = fails(&engine, &path).await;
    assert!(text.contains("no column \"x\""), "{text}");

    let path = write(&folder, vec![("k", ints(&[1]))]);
    let (_, text) = fails(&engine, &path).await;
    assert!(
        text.contains("\"s\"") && text.contains("NOT NULL"),
        "{text}"
    );
}

#[tokio::test]
async fn a_key_that_appears_twice_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let engine = table().await;
    let path = write(
        &folder,
        vec![("k", ints(&[1, 7, 7])), ("s", texts(&["a", "b", "c"]))],
    );
    let (kind, text) = fails(&engine, &path).await;
    assert_eq!(kind, ErrorKind::Conflict);
    assert!(text.contains("(7)") && text.contains("row 3"), "{text}");
}

#[tokio::test]
async fn missing_and_broken_files() {
    let folder = tempfile::tempdir().unwrap();
    let engine = table().await;
    let (kind, text) = fails(&engine, &folder.path().join("none.parquet")).await;
    assert_eq!(kind, ErrorKind::NotFound);
    assert!(text.contains("none.parquet"), "{text}");
    let path = folder.path().join("text.parquet");
    std::fs::write(&path, "not parquet at all").unwrap();
    let (kind, text) = fails(&engine, &path).await;
    assert_eq!(kind, ErrorKind::InvalidInput);
    assert!(text.contains("not a Parquet file"), "{text}");
    let (kind, text) = fails(&engine, folder.path()).await;
    assert_eq!(kind, ErrorKind::InvalidInput);
    assert!(text.contains("format"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_ends_at_the_number_of_rows() {
    let engine = engine();
    run(
        &engine,
        "CREATE TABLE airlines (carrier TEXT PRIMARY KEY, name TEXT)",
    )
    .await;
    let mut heard = Vec::new();
    let path = data("airlines.parquet");
    let copied = engine.copy_from("airlines", path, CopyOptions::default(), |done, total| {
        heard.push((done, total));
    });
    let receipt = copied.await.unwrap();
    assert_eq!(receipt.rows, 16);
    assert_eq!(receipt.peers, ["me"]);
    assert_eq!(heard.last(), Some(&(16, 16)));
}
