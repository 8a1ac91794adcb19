//! netabase as a program embeds it.

use std::path::Path;
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use netabase::datafusion::common::ScalarValue;
use netabase::{Batches, Netabase, Prepared};
use tokio::runtime::Runtime;

use super::{Contender, LATE_ROWS, What, name_of};
use crate::Failure;
use crate::contender::open_peer;

/// The table. Loaded in one statement, so that its rows are in segments.
const SCRIPT: &str =
    "CREATE TABLE points (id BIGINT PRIMARY KEY, grp BIGINT NOT NULL, name TEXT NOT NULL,
    value DOUBLE NOT NULL);
    CREATE INDEX by_grp ON points (grp)";

pub(super) struct Ours {
    runtime: Runtime,
    database: Netabase,
    prepared: Vec<(What, Prepared)>,
}

impl Ours {
    pub(super) fn load(folder: &Path, partitions: usize, rows: i64) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let database = runtime.block_on(async {
            let database = open_peer(folder, partitions).await?;
            database.script(SCRIPT).await?;
            let load = |from: i64, to: i64| {
                format!(
                    "INSERT INTO points SELECT value, value / 10, 'name ' || value, value * 0.5
                     FROM generate_series({from}, {})",
                    to - 1
                )
            };
            database.sql(&load(0, rows)).await?;
            database.script("COMPACT TABLE points").await?;
            database.sql(&load(rows, rows + LATE_ROWS)).await?;
            Ok::<_, Failure>(database)
        })?;
        let mut prepared = Vec::new();
        for what in What::ALL
            .into_iter()
            .filter(|what| *what != What::Unprepared)
        {
            let statement = runtime.block_on(database.prepare(what.text()))?;
            prepared.push((what, statement));
        }
        Ok(Self {
            runtime,
            database,
            prepared,
        })
    }

    /// The whole answer to a statement, and how long it took.
    pub(super) fn timed(&self, text: &str) -> Result<(Batches, Duration), Failure> {
        self.runtime.block_on(async {
            let started = Instant::now();
            let answer = self.database.sql(text).await?.collect().await?;
            Ok((answer, started.elapsed()))
        })
    }

    fn statement(&self, what: What) -> Option<Prepared> {
        let mut prepared = self.prepared.iter();
        let (_, statement) = prepared.find(|(of, _)| *of == what)?;
        Some(statement.clone())
    }

    fn ask(&self, what: What, key: i64) -> Result<(Batches, Duration), Failure> {
        let Some(statement) = self.statement(what) else {
            return self.timed(&format!("{}{key}", what.text()));
        };
        let values = values(what, key);
        self.runtime.block_on(async {
            let started = Instant::now();
            let answer = statement.query(&values).await?.collect().await?;
            Ok((answer, started.elapsed()))
        })
    }
}

fn values(what: What, key: i64) -> Vec<ScalarValue> {
    match what {
        What::Prepared | What::Unprepared | What::Index | What::Delete => vec![key.into()],
        What::Insert => vec![
            key.into(),
            (key / 10).into(),
            name_of(key).as_str().into(),
            (key as f64 * 0.5).into(),
        ],
        What::Update => vec![
            name_of(key).as_str().into(),
            (key as f64).into(),
            key.into(),
        ],
    }
}

impl Contender for Ours {
    fn name(&self) -> &'static str {
        "netabase"
    }

    fn names(&mut self, what: What, key: i64) -> Result<Vec<String>, Failure> {
        let (answer, _) = self.ask(what, key)?;
        let mut names = Vec::new();
        for batch in answer.batches() {
            let column = batch.column_by_name("name").ok_or("no names")?;
            let column = cast(column, &DataType::Utf8)?;
            names.extend(
                column
                    .as_string::<i32>()
                    .iter()
                    .flatten()
                    .map(str::to_owned),
            );
        }
        Ok(names)
    }

    fn times(&mut self, what: What, keys: &[i64]) -> Result<Vec<Duration>, Failure> {
        let timed = keys.iter().map(|key| Ok(self.ask(what, *key)?.1));
        timed.collect()
    }

    fn rows(&mut self) -> Result<i64, Failure> {
        let (answer, _) = self.timed("SELECT count(*) FROM points")?;
        let count = answer.batches().first().ok_or("no count")?.column(0);
        Ok(count.as_primitive::<Int64Type>().value(0))
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        // The folder goes next, and nothing depends on what is still written to it.
        let _ = self.runtime.block_on(self.database.close());
    }
}
