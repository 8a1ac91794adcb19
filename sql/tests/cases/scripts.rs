//! Every `.slt` file, each against fresh engines: one that has its rows in memory, and one that moves
//! them to segments after each change. A record that shows where rows lie says `skipif segments`.

use std::fmt;
use std::path::PathBuf;

use async_trait::async_trait;
use netabase_sql::Engine;
use netabase_sql::store::Error;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};
use tempfile::TempDir;

use crate::common::{engine, engine_in_folder, text_of};

/// Where the rows of a script lie.
#[derive(Debug, Clone, Copy)]
enum Rows {
    InMemory,
    InSegments,
}

/// One engine, spoken to by a script.
struct Database {
    engine: Engine,
    /// Of an engine whose rows are in segments.
    folder: Option<TempDir>,
}

impl Database {
    fn with(rows: Rows) -> Self {
        match rows {
            Rows::InMemory => Self {
                engine: engine(),
                folder: None,
            },
            Rows::InSegments => {
                let (engine, folder) = engine_in_folder(4);
                Self {
                    engine,
                    folder: Some(folder),
                }
            }
        }
    }

    /// What follows a statement that may have changed rows.
    fn changed(&self, rows: u64) -> Result<DBOutput<DefaultColumnType>, Failed> {
        if self.folder.is_some() {
            self.engine.store().flush_to_segments().map_err(Failed)?;
        }
        Ok(DBOutput::StatementComplete(rows))
    }
}

/// The error of a statement.
#[derive(Debug)]
struct Failed(Error);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind(), self.0)
    }
}

impl std::error::Error for Failed {}

#[async_trait]
impl AsyncDB for Database {
    type Error = Failed;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Failed> {
        let output = self.engine.sql(sql).await.map_err(Failed)?;
        let counts = output
            .schema()
            .fields()
            .iter()
            .map(|field| field.name())
            .eq(["count"]);
        if let Some(receipt) = output.receipt()
            && counts
        {
            return self.changed(receipt.rows);
        }
        let columns = output.schema().fields().len();
        let batches = output.collect().await.map_err(Failed)?;
        if columns == 0 {
            return self.changed(0);
        }
        let shown = |value: String| {
            if value.is_empty() {
                "(empty)".to_string()
            } else {
                value
            }
        };
        let rows = text_of(&batches).into_iter();
        let rows = rows
            .map(|row| row.into_iter().map(shown).collect())
            .collect();
        Ok(DBOutput::Rows {
            types: vec![DefaultColumnType::Any; columns],
            rows,
        })
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &str {
        match self.folder {
            None => "memory",
            Some(_) => "segments",
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_script_gives_what_it_says() {
    every_script(Rows::InMemory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_script_gives_the_same_from_segments() {
    every_script(Rows::InSegments).await;
}

async fn every_script(rows: Rows) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/slt");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "slt"));
    files.sort();
    assert!(!files.is_empty());
    let mut failures = Vec::new();
    for file in files {
        let mut runner = Runner::new(|| async { Ok(Database::with(rows)) });
        if let Err(error) = runner.run_file_async(&file).await {
            failures.push(format!("{}: {}", file.display(), error.display(false)));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
