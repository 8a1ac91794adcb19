//! Engines and answers for tests.

pub(crate) mod tables;
pub(crate) mod tpch;

use std::path::PathBuf;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use netabase_sql::store::{ErrorKind, Settings, Store};
use netabase_sql::{Engine, EngineSettings, LocalCluster};
use tempfile::TempDir;

/// An engine over a new in-memory store.
pub(crate) fn engine() -> Engine {
    engine_with(EngineSettings {
        target_partitions: 4,
        ..EngineSettings::default()
    })
}

/// An engine with settings of one's own.
pub(crate) fn engine_with(settings: EngineSettings) -> Engine {
    let store = Store::open(Settings::default()).unwrap();
    let cluster = Arc::new(LocalCluster::new(store.clone(), "me"));
    Engine::new(store, cluster, settings, Ok).unwrap()
}

/// An engine over a store with a folder, whose background work is done when the test says so.
pub(crate) fn engine_in_folder(partitions: usize) -> (Engine, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        data_dir: Some(dir.path().to_path_buf()),
        background: false,
        ..Settings::default()
    };
    let store = Store::open(settings).unwrap();
    let cluster = Arc::new(LocalCluster::new(store.clone(), "me"));
    let settings = EngineSettings {
        target_partitions: partitions,
        ..EngineSettings::default()
    };
    (Engine::new(store, cluster, settings, Ok).unwrap(), dir)
}

/// Runs a script that must succeed.
pub(crate) async fn run(engine: &Engine, text: &str) {
    engine.script(text).await.unwrap();
}

/// The rows of a query, as text.
pub(crate) async fn rows(engine: &Engine, text: &str) -> Vec<Vec<String>> {
    let batches = engine.sql(text).await.unwrap().collect().await.unwrap();
    text_of(&batches)
}

/// One value of a query of one row and column.
pub(crate) async fn value(engine: &Engine, text: &str) -> String {
    let rows = rows(engine, text).await;
    assert_eq!((rows.len(), rows[0].len()), (1, 1), "{text}");
    rows[0][0].clone()
}

/// Kind and text of the error that a statement must fail with.
pub(crate) async fn failure(engine: &Engine, text: &str) -> (ErrorKind, String) {
    let error = match engine.sql(text).await {
        Ok(output) => output.collect().await.expect_err(text),
        Err(error) => error,
    };
    (error.kind(), error.to_string())
}

/// Every row of the batches, as text.
pub(crate) fn text_of(batches: &[RecordBatch]) -> Vec<Vec<String>> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<ArrayFormatter<'_>> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            rows.push(
                columns
                    .iter()
                    .map(|column| column.value(row).to_string())
                    .collect(),
            );
        }
    }
    rows
}

/// A file of the data folder.
pub(crate) fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../data")
        .join(name)
}
