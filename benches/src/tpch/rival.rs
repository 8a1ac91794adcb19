//! Whom the queries are compared with.

use std::time::Instant;

use crate::Failure;
use crate::arguments::Settings;
use crate::contender::Contender;
use crate::data::Table;
use crate::tpch::answer::Answer;
use crate::tpch::duckdb::DuckDb;
use crate::tpch::loading::Loaded;
use crate::tpch::queries::Query;

/// The contenders that can be named with `--against`.
const NAMES: &[&str] = &["duckdb", "datafusion", "datafusion-memory"];

/// A contender with the tables in it.
pub(crate) struct Rival {
    name: &'static str,
    engine: Engine,
    /// What loading took, if it loads.
    pub(crate) loaded: Option<Loaded>,
}

enum Engine {
    DuckDb(Box<DuckDb>),
    DataFusion(Contender),
}

/// The rival that was asked for; DuckDB when none was.
pub(crate) fn name(against: &[String]) -> Result<&'static str, Failure> {
    let asked = match against {
        [] => NAMES[0],
        [one] => one.as_str(),
        _ => return Err("one contender at a time, please".into()),
    };
    let found = NAMES.iter().find(|name| **name == asked);
    found
        .copied()
        .ok_or_else(|| format!("no contender {asked}: there are {}", NAMES.join(", ")).into())
}

impl Rival {
    /// Starts a contender and loads the tables.
    pub(crate) async fn start(
        name: &'static str,
        tables: &[Table],
        settings: &Settings,
    ) -> Result<Self, Failure> {
        let (engine, loaded) = match name {
            "duckdb" => {
                let mut duckdb = Box::new(DuckDb::start(settings)?);
                let loaded = duckdb.load(tables)?;
                (Engine::DuckDb(duckdb), Some(loaded))
            }
            "datafusion-memory" => {
                let contender = Contender::memory(tables, settings.partitions).await?;
                (Engine::DataFusion(contender), None)
            }
            _ => {
                let contender = Contender::parquet(tables, settings.partitions).await?;
                (Engine::DataFusion(contender), None)
            }
        };
        Ok(Self {
            name,
            engine,
            loaded,
        })
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) async fn answer(&mut self, query: &Query) -> Result<Answer, Failure> {
        match &mut self.engine {
            Engine::DuckDb(duckdb) => duckdb.answer(query.text),
            Engine::DataFusion(contender) => Ok(Answer::of(&contender.answer(query.text).await?)?),
        }
    }

    /// How long one run takes.
    pub(crate) async fn seconds(&mut self, query: &Query) -> Result<f64, Failure> {
        match &mut self.engine {
            Engine::DuckDb(duckdb) => duckdb.seconds(query.text),
            Engine::DataFusion(contender) => {
                let started = Instant::now();
                contender.answer(query.text).await?;
                Ok(started.elapsed().as_secs_f64())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_known_rival_is_chosen() {
        assert_eq!(name(&[]).unwrap(), "duckdb");
        assert_eq!(name(&["datafusion".to_owned()]).unwrap(), "datafusion");
        assert!(name(&["oracle".to_owned()]).is_err());
        assert!(name(&["duckdb".to_owned(), "datafusion".to_owned()]).is_err());
    }
}
