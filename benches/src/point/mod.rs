//! Statements about one row: how long each takes, as a program sees it that embeds a database.
//!
//! Purpose: the fixed cost of a statement, which nothing hides when there is one row to read. A million
//! rows are in segments, and a thousand in memory; everything is written durably.
//! Invariant: contenders have the same rows and take turns; each gives the right answers before it is
//! timed, and the number of rows that it must have afterwards.

mod ours;
mod planning;
mod rivals;

use std::time::Duration;

use crate::Failure;
use crate::arguments::Settings;
use crate::histogram::Histogram;
use crate::process;
use crate::report::{Figure, table};

use self::ours::Ours;
use self::rivals::{DuckDb, Sqlite};

/// Rows on disk unless told otherwise.
const DEFAULT_ROWS: usize = 1_000_000;
/// Rows that are inserted afterwards, and stay in memory.
const LATE_ROWS: i64 = 1000;
/// Rows that have the same `grp`.
const GROUP: i64 = 10;
/// How often contenders take turns unless told otherwise.
const DEFAULT_RUNS: usize = 5;
/// Statements of one turn that read, and that write.
const READS: usize = 2000;
const WRITES: usize = 300;
/// Steps between the keys that are asked for: prime, so that they come in no order.
const STRIDE: i64 = 7_368_787;

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Prepared,
    Unprepared,
    Index,
    Insert,
    Update,
    Delete,
}

impl What {
    const ALL: [Self; 6] = [
        Self::Prepared,
        Self::Unprepared,
        Self::Index,
        Self::Insert,
        Self::Update,
        // Last: it removes what was inserted.
        Self::Delete,
    ];

    fn figure(self) -> &'static str {
        match self {
            Self::Prepared => "point.pk_prepared",
            Self::Unprepared => "point.pk_unprepared",
            Self::Index => "point.index",
            Self::Insert => "point.insert_durable",
            Self::Update => "point.update",
            Self::Delete => "point.delete",
        }
    }

    /// The statement with a parameter for each value; the same for every contender.
    fn text(self) -> &'static str {
        match self {
            Self::Prepared => "SELECT id, grp, name, value FROM points WHERE id = $1",
            Self::Unprepared => "SELECT id, grp, name, value FROM points WHERE id = ",
            Self::Index => "SELECT id, grp, name, value FROM points WHERE grp = $1",
            Self::Insert => "INSERT INTO points VALUES ($1, $2, $3, $4)",
            Self::Update => "UPDATE points SET name = $1, value = $2 WHERE id = $3",
            Self::Delete => "DELETE FROM points WHERE id = $1",
        }
    }

    fn count(self) -> usize {
        match self {
            Self::Prepared | Self::Unprepared | Self::Index => READS,
            Self::Insert | Self::Update | Self::Delete => WRITES,
        }
    }

    /// The keys of one turn.
    fn keys(self, rows: i64, turn: usize) -> Vec<i64> {
        let first = (turn * self.count()) as i64;
        let numbers = first..first + self.count() as i64;
        let late = rows + LATE_ROWS;
        match self {
            Self::Prepared | Self::Unprepared | Self::Update => {
                numbers.map(|n| (n * STRIDE) % rows).collect()
            }
            Self::Index => numbers.map(|n| (n * STRIDE) % (rows / GROUP)).collect(),
            Self::Insert | Self::Delete => numbers.map(|n| late + n).collect(),
        }
    }
}

/// The name in a row.
fn name_of(id: i64) -> String {
    format!("name {id}")
}

/// Somebody who is timed.
pub(crate) trait Contender {
    fn name(&self) -> &'static str;

    /// The names that a query for one key or one group gives.
    fn names(&mut self, what: What, key: i64) -> Result<Vec<String>, Failure>;

    /// Runs a statement for each key, and times each.
    fn times(&mut self, what: What, keys: &[i64]) -> Result<Vec<Duration>, Failure>;

    fn rows(&mut self) -> Result<i64, Failure>;
}

pub(crate) async fn run(settings: &Settings) -> Result<(), Failure> {
    let settings = settings.clone();
    tokio::task::spawn_blocking(move || measure(&settings)).await?
}

fn measure(settings: &Settings) -> Result<(), Failure> {
    let rows = settings.rows.unwrap_or(DEFAULT_ROWS) as i64;
    let folder = process::scratch_folder(settings)?;
    eprintln!("loading {rows} rows");
    let mut ours = Ours::load(&folder.path().join("ours"), settings.partitions, rows)?;
    planning::measure(&mut ours, settings.runs.unwrap_or(DEFAULT_RUNS))?;
    let mut contenders: Vec<Box<dyn Contender>> = vec![Box::new(ours)];
    for rival in ["sqlite", "duckdb"] {
        let wanted = settings.against.is_empty() || settings.against.iter().any(|of| of == rival);
        match rival {
            _ if !wanted => {}
            "sqlite" => contenders.push(Box::new(Sqlite::load(folder.path(), rows)?)),
            _ => contenders.push(Box::new(DuckDb::load(settings, folder.path(), rows)?)),
        }
    }
    for contender in &mut contenders {
        check(contender.as_mut(), rows)?;
    }
    for what in What::ALL {
        compare(what, &mut contenders, settings, rows)?;
    }
    let left = rows + LATE_ROWS;
    for contender in &mut contenders {
        let found = contender.rows()?;
        if found != left {
            return Err(format!("{} has {found} rows, not {left}", contender.name()).into());
        }
    }
    Ok(())
}

/// The first, the last, and some others.
fn check(contender: &mut dyn Contender, rows: i64) -> Result<(), Failure> {
    let name = contender.name();
    for key in [0, rows / 3, rows - 1, rows, rows + LATE_ROWS - 1] {
        for what in [What::Prepared, What::Unprepared] {
            if contender.names(what, key)? != [name_of(key)] {
                return Err(format!("{name} gives something else for key {key}").into());
            }
        }
    }
    for group in [0, rows / GROUP / 2] {
        let mut found = contender.names(What::Index, group)?;
        let ids = group * GROUP..(group + 1) * GROUP;
        let mut expected: Vec<String> = ids.map(name_of).collect();
        found.sort();
        expected.sort();
        if found != expected {
            return Err(format!("{name} gives something else for group {group}").into());
        }
    }
    Ok(())
}

fn compare(
    what: What,
    contenders: &mut [Box<dyn Contender>],
    settings: &Settings,
    rows: i64,
) -> Result<(), Failure> {
    let mut times = vec![Histogram::default(); contenders.len()];
    for turn in 0..settings.runs.unwrap_or(DEFAULT_RUNS) {
        let keys = what.keys(rows, turn);
        for (contender, times) in contenders.iter_mut().zip(&mut times) {
            for time in contender.times(what, &keys)? {
                times.add(time);
            }
        }
    }
    let micros = |times: &Histogram, share| times.percentile(share) * 1e6;
    let mut shown = vec![vec![
        what.figure().to_owned(),
        "p50 us".into(),
        "p99 us".into(),
    ]];
    let named = contenders.iter().map(|contender| contender.name());
    for (name, times) in named.clone().zip(&times) {
        let shares = [0.5, 0.99].map(|share| format!("{:.1}", micros(times, share)));
        shown.push([vec![name.to_owned()], shares.to_vec()].concat());
    }
    eprint!("{}", table(&shown));
    let Some((ours, others)) = times.split_first() else {
        return Ok(());
    };
    for (figure, share) in [
        (what.figure().to_owned(), 0.5),
        (what.figure().to_owned() + ".p99", 0.99),
    ] {
        let figure = || Figure::new(figure.clone(), micros(ours, share), "us");
        figure().print()?;
        for (name, other) in named.clone().skip(1).zip(others) {
            figure().against(name, micros(other, share)).print()?;
        }
    }
    Ok(())
}
