//! The questions that netabase is for: joins and aggregates over a year of flights.

use std::time::Instant;

use crate::Failure;
use crate::arguments::Settings;
use crate::compare;
use crate::contender::{Contender, Load};
use crate::data;
use crate::report::{Figure, median, table};

/// Name and text; one round asks all of them.
const STATEMENTS: &[(&str, &str)] = &[
    (
        "delays_by_airline",
        include_str!("../../console/sql/delays_by_airline.sql"),
    ),
    (
        "delays_by_origin",
        include_str!("../../console/sql/delays_by_origin.sql"),
    ),
];
/// Rounds, unless told otherwise.
const DEFAULT_RUNS: usize = 20;
/// Peers of the network that is measured.
const PEERS: usize = 3;

/// A contender by its name, and the one that it is compared with.
struct Entry {
    name: &'static str,
    contender: Contender,
    against: Option<usize>,
    load: Option<Load>,
    /// Seconds of each round, by statement.
    times: Vec<Vec<f64>>,
}

impl Entry {
    fn new(name: &'static str, contender: Contender) -> Self {
        let times = STATEMENTS.iter().map(|_| Vec::new()).collect();
        Self {
            name,
            contender,
            against: None,
            load: None,
            times,
        }
    }

    /// The median of the rounds' sums.
    fn round(&self) -> f64 {
        let rounds = self.times.first().map_or(0, Vec::len);
        let sum = |round: usize| self.times.iter().map(|times| times[round]).sum();
        median(&(0..rounds).map(sum).collect::<Vec<f64>>())
    }
}

pub(crate) async fn run(settings: &Settings) -> Result<(), Failure> {
    let tables = data::tables();
    eprintln!("loading {} tables", tables.len());
    let parquet = Contender::parquet(&tables, settings.partitions).await?;
    let (one, one_load) = Contender::one_peer(&tables, settings.partitions).await?;
    let (three, three_load) = Contender::network(PEERS, &tables, settings.partitions).await?;
    let mut entries = vec![
        Entry::new("datafusion-parquet", parquet),
        Entry {
            against: Some(0),
            load: Some(one_load),
            ..Entry::new("one_peer", one)
        },
        Entry {
            against: Some(1),
            load: Some(three_load),
            ..Entry::new("three_peers", three)
        },
    ];
    verify(&entries).await?;
    let runs = settings.runs.unwrap_or(DEFAULT_RUNS);
    for round in 0..runs {
        measure(&mut entries, round).await?;
    }
    eprint!("{}", people_table(&entries, runs));
    for figure in figures(&entries) {
        figure.print()?;
    }
    for entry in entries {
        entry.contender.close().await?;
    }
    Ok(())
}

/// No figure of an answer that is wrong. Also what warms every contender up.
async fn verify(entries: &[Entry]) -> Result<(), Failure> {
    let Some((reference, others)) = entries.split_first() else {
        return Ok(());
    };
    for (name, statement) in STATEMENTS {
        let expected = reference.contender.answer(statement).await?;
        if expected.iter().all(|batch| batch.num_rows() == 0) {
            return Err(format!("{name}: the reference answer is empty").into());
        }
        for entry in others {
            let actual = entry.contender.answer(statement).await?;
            if let Some(place) = compare::difference(&expected, &actual)? {
                let (left, right) = (reference.name, entry.name);
                return Err(format!("{name}: {left} and {right} differ: {place}").into());
            }
        }
    }
    eprintln!("all answers are equal");
    Ok(())
}

/// One round: every contender answers every statement, another one first each time.
async fn measure(entries: &mut [Entry], round: usize) -> Result<(), Failure> {
    let count = entries.len();
    for turn in 0..count {
        let entry = &mut entries[(round + turn) % count];
        for ((_, statement), times) in STATEMENTS.iter().zip(&mut entry.times) {
            let started = Instant::now();
            entry.contender.answer(statement).await?;
            times.push(started.elapsed().as_secs_f64());
        }
    }
    Ok(())
}

/// The lines for programs: each round, each statement by itself, and the loads.
fn figures(entries: &[Entry]) -> Vec<Figure> {
    let mut figures = Vec::new();
    for entry in entries {
        let Some(other) = entry.against.map(|index| &entries[index]) else {
            continue;
        };
        let against = full_name(other);
        let name = full_name(entry);
        figures.push(Figure::seconds(
            name.to_owned(),
            entry.round(),
            (against, other.round()),
        ));
        for (index, (statement, _)) in STATEMENTS.iter().enumerate() {
            let compared = (against, median(&other.times[index]));
            let value = median(&entry.times[index]);
            figures.push(Figure::seconds(
                format!("{name}.{statement}"),
                value,
                compared,
            ));
        }
        if let Some(load) = entry.load {
            let bench = format!("spine.load_{}", entry.name);
            figures.push(Figure::rows_per_second(bench, load.rows, load.time));
        }
    }
    figures
}

/// The name of a contender among all benchmarks; foreign ones keep their own.
fn full_name(entry: &Entry) -> &'static str {
    match entry.name {
        "one_peer" => "spine.one_peer",
        "three_peers" => "spine.three_peers",
        foreign => foreign,
    }
}

fn people_table(entries: &[Entry], runs: usize) -> String {
    let mut header = vec![format!("median of {runs}, ms")];
    header.extend(entries.iter().map(|entry| entry.name.to_owned()));
    let mut rows = vec![header];
    let mut line = |name: &str, value: &dyn Fn(&Entry) -> f64| {
        let mut row = vec![name.to_owned()];
        row.extend(
            entries
                .iter()
                .map(|entry| format!("{:.2}", 1000.0 * value(entry))),
        );
        rows.push(row);
    };
    for (index, (name, _)) in STATEMENTS.iter().enumerate() {
        line(name, &|entry| median(&entry.times[index]));
    }
    line("all", &Entry::round);
    let mut ratios = vec!["ratio to the one before".to_owned()];
    ratios.extend(entries.iter().map(|entry| match entry.against {
        Some(other) => format!("{:.2}", entry.round() / entries[other].round()),
        None => "-".to_owned(),
    }));
    rows.push(ratios);
    let mut loads = vec!["load, rows/s".to_owned()];
    loads.extend(entries.iter().map(|entry| match entry.load {
        Some(load) => format!("{:.0}", load.rows as f64 / load.time.as_secs_f64()),
        None => "-".to_owned(),
    }));
    rows.push(loads);
    table(&rows)
}
