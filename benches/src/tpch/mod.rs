//! TPC-H: 22 analytical queries over generated tables, one peer against DuckDB or plain DataFusion.
//!
//! Purpose: how far netabase is from a database that does nothing but analyse.
//! Invariant: both sides load the same files, run the same text with the same number of cores, and
//! no query is timed before its answers agree. Hot runs only: each query has been run once.
//!
//! Not here: the refresh functions, several streams, and the audit's rules.

mod answer;
mod duckdb;
mod loading;
mod queries;
mod report;
mod rival;
mod tables;

use std::time::Instant;

use crate::Failure;
use crate::arguments::Settings;
use crate::contender::Contender;
use crate::process;
use answer::Answer;
pub(crate) use duckdb::environment as duckdb_python;
pub(crate) use loading::run as load;
use queries::Query;
use report::Timed;
use rival::Rival;

/// Runs of each query, unless told otherwise.
const DEFAULT_RUNS: usize = 5;

pub(crate) async fn run(settings: &Settings) -> Result<(), Failure> {
    let queries = queries::chosen(&settings.queries)?;
    let name = rival::name(&settings.against)?;
    let cache = process::cache_folder(settings)?;
    let data = tables::generated(&cache, settings.scale)?;
    let folder = process::scratch_folder(settings)?;
    eprintln!("loading netabase");
    let loaded = loading::in_a_process(folder.path(), &data, settings)?;
    eprintln!("loading {name}");
    let tables = tables::tables(&data, settings.shards);
    let mut rival = Rival::start(name, &tables, settings).await?;
    let ours = Contender::loaded(folder, settings.partitions).await?;
    verify(&ours, &mut rival, &queries).await?;
    if settings.explain {
        explain(&ours, &queries).await?;
    }
    let mut timed: Vec<Timed> = queries.into_iter().map(Timed::new).collect();
    for round in 0..settings.runs.unwrap_or(DEFAULT_RUNS) {
        for timed in &mut timed {
            measure(&ours, &mut rival, timed, round).await?;
        }
    }
    report::print(&timed, &loaded, &rival)?;
    ours.close().await
}

/// No figure of an answer that is wrong. Also what warms both sides up.
async fn verify(ours: &Contender, rival: &mut Rival, queries: &[Query]) -> Result<(), Failure> {
    let mut wrong = Vec::new();
    for query in queries {
        let expected = rival.answer(query).await?;
        let found = match ours.answer(query.text).await {
            Ok(batches) => answer::difference(&expected, &Answer::of(&batches)?, &query.order),
            Err(failure) => Some(format!("no answer: {failure}")),
        };
        if let Some(place) = found {
            wrong.push(format!("{}: {place}", query.name));
        }
    }
    if wrong.is_empty() {
        eprintln!("all answers are equal");
        return Ok(());
    }
    let rival = rival.name();
    Err(format!(
        "answers differ from those of {rival}:\n{}",
        wrong.join("\n")
    )
    .into())
}

async fn explain(ours: &Contender, queries: &[Query]) -> Result<(), Failure> {
    for query in queries {
        let text = format!("EXPLAIN ANALYZE {}", query.text);
        let plan = ours.answer(&text).await?;
        eprintln!("{}\n{}", query.name, answer::lines(&plan)?);
    }
    Ok(())
}

/// One run of one query by both sides, another one first each round.
async fn measure(
    ours: &Contender,
    rival: &mut Rival,
    timed: &mut Timed,
    round: usize,
) -> Result<(), Failure> {
    for turn in 0..2 {
        if (round + turn).is_multiple_of(2) {
            let started = Instant::now();
            ours.answer(timed.query.text).await?;
            timed.ours.push(started.elapsed().as_secs_f64());
        } else {
            let seconds = rival.seconds(&timed.query).await?;
            timed.theirs.push(seconds);
        }
    }
    Ok(())
}
