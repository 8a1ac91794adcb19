//! Both databases, and what they say to one script.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use netabase_sql::store::{Durability, Settings, Store};
use netabase_sql::{Engine, EngineSettings, LocalCluster};
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use tempfile::TempDir;

use super::script::{Script, Step};
use super::tree::{Dialect, Tree};

/// How long a statement may take, however slow the machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same where batches have few rows. DataFusion's sorts and windows take minutes there, or gigabytes, for what a
/// join of a table with itself gives: for each batch they go over all that wait. Such a statement runs again with
/// large ones.
const PATIENCE_OF_SMALL: Duration = Duration::from_secs(10);
/// Rows of a batch that is not small.
const LEAST_BATCH: usize = 8192;
/// What a statement says that took longer, or more memory: a sort counts the text of a whole table for each batch.
const TOO_MUCH: [&str; 2] = ["the statement took longer than", "netabase.memory_limit = "];
/// Relative difference of two floats that are the same.
const TOLERANCE: f64 = 1e-9;
/// What SQLite says where it moves a join's condition, so that it cannot find a table any more.
const LIMIT_OF_SQLITE: &str = "ON clause references tables to its right";
/// What our planner says that it cannot do, where SQLite can: nothing is compared then. How many
/// statements meet one of them is bounded.
fn known_limits() -> &'static [String] {
    static LIMITS: OnceLock<Vec<String>> = OnceLock::new();
    LIMITS.get_or_init(|| {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/differential_limits.txt");
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(str::to_owned).collect()
    })
}

/// One value of an answer. Booleans are numbers, as SQLite has it.
#[derive(Debug, Clone)]
pub(super) enum Cell {
    Null,
    Int(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

impl Cell {
    fn kind(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Int(_) | Self::Real(_) => 1,
            Self::Text(_) => 2,
            Self::Blob(_) => 3,
        }
    }

    fn number(&self) -> f64 {
        match self {
            Self::Int(value) => *value as f64,
            Self::Real(value) => *value + 0.0,
            _ => 0.0,
        }
    }

    /// An order in which rows without one are compared.
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Blob(a), Self::Blob(b)) => a.cmp(b),
            _ => {
                let numbers = self.number().total_cmp(&other.number());
                self.kind().cmp(&other.kind()).then(numbers)
            }
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Real(_), Self::Int(_) | Self::Real(_)) | (Self::Int(_), Self::Real(_)) => {
                let (a, b) = (self.number(), other.number());
                a == b || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs())
            }
            _ => self.order(other).is_eq(),
        }
    }
}

/// What a statement did.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    Rows(Vec<Vec<Cell>>),
    Changed(u64),
    Done,
    Failed(String),
    /// It must not end like this, whatever the other does.
    Broken(String),
    /// A limit that is known.
    Limited(String),
}

impl Outcome {
    fn class(&self) -> String {
        match self {
            Self::Rows(_) => "rows".to_owned(),
            Self::Changed(_) | Self::Done => "changed".to_owned(),
            Self::Failed(text) | Self::Broken(text) | Self::Limited(text) => {
                let words = text.split_whitespace();
                let plain = |word: &&str| word.chars().all(char::is_alphabetic);
                let words: Vec<&str> = words.filter(plain).take(6).collect();
                words.join(" ")
            }
        }
    }

    fn is_like(&mut self, other: &mut Self, ordered: bool) -> bool {
        match (self, other) {
            (Self::Rows(a), Self::Rows(b)) => {
                if !ordered {
                    a.sort_by(|x, y| order_of_rows(x, y));
                    b.sort_by(|x, y| order_of_rows(x, y));
                }
                let same = |(x, y): (&Vec<Cell>, &Vec<Cell>)| {
                    x.len() == y.len() && x.iter().zip(y).all(|(x, y)| x.is_like(y))
                };
                a.len() == b.len() && a.iter().zip(b.iter()).all(same)
            }
            (Self::Changed(a), Self::Changed(b)) => a == b,
            (Self::Done | Self::Changed(_), Self::Done) => true,

            (Self::Failed(_), Self::Failed(_)) => true,
            _ => false,
        }
    }
}

fn order_of_rows(a: &[Cell], b: &[Cell]) -> std::cmp::Ordering {
    let orders = a.iter().zip(b).map(|(a, b)| a.order(b));
    orders.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
}

/// A statement that both answer differently.
#[derive(Debug)]
pub(super) struct Difference {
    /// Which step of the script.
    pub(super) step: usize,
    pub(super) sql: String,
    pub(super) ours: Outcome,
    pub(super) sqlite: Outcome,
}

impl Difference {
    /// What kind of difference it is: a smaller script shows the same one only if that stays.
    pub(super) fn class(&self) -> (String, String) {
        (self.ours.class(), self.sqlite.class())
    }
}

/// What a script without a difference met.
#[derive(Debug, Default, Clone)]
pub(super) struct Tally {
    pub(super) statements: usize,
    /// Statements that both refused.
    pub(super) failed: usize,
    /// Queries that gave rows.
    pub(super) filled: usize,
    /// Statements that a known limit kept from being compared.
    pub(super) limited: usize,
    /// Queries to which SQLite gives two answers, of which ours is one.
    pub(super) doubted: usize,
}

struct Ours {
    engine: Engine,
    has_small_batches: bool,
    dir: TempDir,
}

fn open(dir: &Path, script: &Script) -> Engine {
    let store = Store::open(Settings {
        data_dir: Some(PathBuf::from(dir)),
        background: false,
        // Files of the operating system's memory: crashes are tested elsewhere.
        durability: Durability::Relaxed,
        ..Settings::default()
    })
    .unwrap();
    let cluster = Arc::new(LocalCluster::new(store.clone(), "me"));
    let settings = EngineSettings {
        target_partitions: script.target_partitions,
        batch_size: script.batch_size,
        statement_timeout: match script.batch_size < LEAST_BATCH {
            true => PATIENCE_OF_SMALL,
            false => PATIENCE,
        },
        ..EngineSettings::default()
    };
    Engine::new(store, cluster, settings, Ok).unwrap()
}

impl Ours {
    async fn run(&self, text: &str) -> Outcome {
        let outcome = self.run_once(text).await;
        match &outcome {
            Outcome::Failed(why)
                if self.has_small_batches && TOO_MUCH.iter().any(|much| why.contains(much)) => {}
            _ => return outcome,
        }
        for (name, value) in [
            ("batch_size", LEAST_BATCH.to_string()),
            ("statement_timeout", format!("'{}s'", PATIENCE.as_secs())),
        ] {
            let set = format!("SET netabase.{name} = {value}");
            self.engine.sql(&set).await.unwrap();
        }
        let outcome = self.run_once(text).await;
        for name in ["batch_size", "statement_timeout"] {
            let reset = format!("RESET netabase.{name}");
            self.engine.sql(&reset).await.unwrap();
        }
        outcome
    }

    async fn run_once(&self, text: &str) -> Outcome {
        let (engine, text) = (self.engine.clone(), text.to_owned());
        let ran = tokio::spawn(async move {
            let output = engine.sql(&text).await?;
            let schema = output.schema();
            // With RETURNING there are rows, and no count of them.
            let counts = schema
                .fields()
                .iter()
                .map(|field| field.name())
                .eq(["count"]);
            let changed = output
                .receipt()
                .filter(|_| counts)
                .map(|receipt| receipt.rows);
            let columns = schema.fields().len();
            Ok::<_, netabase_sql::store::Error>((changed, columns, output.collect().await?))
        });
        match ran.await {
            Ok(Ok((Some(rows), _, _))) => Outcome::Changed(rows),
            Ok(Ok((None, 0, _))) => Outcome::Done,
            Ok(Ok((None, _, batches))) => Outcome::Rows(cells(&batches)),
            Ok(Err(error)) => failed(error.to_string()),
            Err(panic) => Outcome::Broken(panic.to_string()),
        }
    }

    async fn upkeep(&mut self, step: &Step, script: &Script) -> Result<(), String> {
        let store = self.engine.store();
        let done = match step {
            Step::Flush => store.flush_to_segments(),
            Step::Checkpoint => self.engine.sql("CHECKPOINT").await.map(drop),
            Step::Compact(table) => {
                let compact = format!("COMPACT TABLE {table}");
                match self.engine.sql(&compact).await {
                    // A smaller script may not have the table.
                    Err(error) if error.to_string().contains("does not exist") => Ok(()),
                    done => done.map(drop),
                }
            }
            Step::Reopen => {
                let closed = store.close();
                self.engine = open(self.dir.path(), script);
                closed
            }
            Step::Sql(_) | Step::Compare => Ok(()),
        };
        done.map_err(|error| error.to_string())
    }
}

fn failed(text: String) -> Outcome {
    if known_limits().iter().any(|limit| text.contains(limit)) {
        return Outcome::Limited(text);
    }
    // A plan that contradicts itself is a bug, even of a statement that is wrong.
    match text.to_lowercase().contains("internal error") {
        true => Outcome::Broken(text),
        false => Outcome::Failed(text),
    }
}

fn cells(batches: &[RecordBatch]) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<Vec<Cell>> = batch.columns().iter().map(|c| column(c.as_ref())).collect();
        let row = |row: usize| columns.iter().map(|column| column[row].clone()).collect();
        rows.extend((0..batch.num_rows()).map(row));
    }
    rows
}

fn column(values: &dyn Array) -> Vec<Cell> {
    let ty = values.data_type();
    let to = match ty {
        DataType::Boolean => DataType::Int64,
        ty if ty.is_integer() => DataType::Int64,
        ty if ty.is_numeric() => DataType::Float64,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        _ => DataType::Utf8,
    };
    let values = cast(values, &to).unwrap();
    let cell = |row: usize| match &to {
        _ if values.is_null(row) => Cell::Null,
        DataType::Int64 => Cell::Int(values.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => Cell::Real(values.as_primitive::<Float64Type>().value(row)),
        DataType::Binary => Cell::Blob(values.as_binary::<i32>().value(row).to_vec()),
        _ => Cell::Text(values.as_string::<i32>().value(row).to_owned()),
    };
    (0..values.len()).map(cell).collect()
}

fn sqlite() -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    let minded = "PRAGMA case_sensitive_like = ON";
    connection.execute_batch(minded).unwrap();
    connection
}

fn run_sqlite(connection: &Connection, text: &str) -> Outcome {
    let ran = || -> rusqlite::Result<Outcome> {
        let mut statement = connection.prepare(text)?;
        let columns = statement.column_count();
        if columns == 0 {
            let changed = statement.execute([])? as u64;
            // It keeps the count of the statement before where it changes no rows.
            let changes = ["INSERT", "UPDATE", "DELETE"];
            let changes = changes.iter().any(|word| text.starts_with(word));
            return Ok(if changes {
                Outcome::Changed(changed)
            } else {
                Outcome::Done
            });
        }
        let (mut found, mut rows) = (Vec::new(), statement.query([])?);
        while let Some(row) = rows.next()? {
            let cells = (0..columns).map(|index| row.get_ref(index).map(sqlite_cell));
            found.push(cells.collect::<rusqlite::Result<Vec<_>>>()?);
        }
        Ok(Outcome::Rows(found))
    };
    ran().unwrap_or_else(|error| Outcome::Failed(error.to_string()))
}

fn sqlite_cell(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(value) => Cell::Int(value),
        ValueRef::Real(value) => Cell::Real(value),
        ValueRef::Text(bytes) => Cell::Text(String::from_utf8_lossy(bytes).into_owned()),
        ValueRef::Blob(bytes) => Cell::Blob(bytes.to_vec()),
    }
}

/// Runs a script against both, up to the first difference.
pub(super) async fn run(script: &Script) -> Result<Tally, Box<Difference>> {
    // Nothing is to outlive the power, and a disk would be most of the time.
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let dir = dir.unwrap();
    let engine = open(dir.path(), script);
    let mut pair = Pair {
        ours: Ours {
            engine,
            has_small_batches: script.batch_size < LEAST_BATCH,
            dir,
        },
        sqlite: sqlite(),
        tally: Tally::default(),
    };
    for (number, step) in script.steps.iter().enumerate() {
        let same = match step {
            Step::Sql(tree) => pair.statement(tree).await,
            Step::Compare => pair.tables().await,
            upkeep => pair.upkeep(upkeep, script).await,
        };
        same.map_err(|(sql, ours, sqlite)| {
            Box::new(Difference {
                step: number,
                sql,
                ours,
                sqlite,
            })
        })?;
    }
    let _ = pair.ours.engine.store().close();
    Ok(pair.tally)
}

type Differing = (String, Outcome, Outcome);

struct Pair {
    ours: Ours,
    sqlite: Connection,
    tally: Tally,
}

impl Pair {
    async fn statement(&mut self, tree: &Tree) -> Result<(), Differing> {
        let text = tree.text(Dialect::Ours);
        let mut ours = self.ours.run(&text).await;
        self.tally.statements += 1;
        if let Outcome::Limited(_) = ours {
            self.tally.limited += 1;
            return Ok(());
        }
        // What a view is over cannot be told apart later.
        let dialect = match text.starts_with("CREATE VIEW") {
            true => Dialect::SqliteApart,
            false => Dialect::Sqlite,
        };
        let mut sqlite = run_sqlite(&self.sqlite, &tree.text(dialect));
        if let Outcome::Failed(text) = &sqlite
            && text.contains(LIMIT_OF_SQLITE)
        {
            self.tally.limited += 1;
            return Ok(());
        }
        if !ours.is_like(&mut sqlite, tree.is_ordered()) {
            // It has optimizations that change answers; told to leave a relation alone, it does not use them.
            let apart = tree.text(Dialect::SqliteApart);
            let reads = ["SELECT", "WITH"].iter().any(|word| text.starts_with(word));
            if !reads || !ours.is_like(&mut run_sqlite(&self.sqlite, &apart), tree.is_ordered()) {
                return Err((text, ours, sqlite));
            }
            println!("SQLite gives two answers to {text}");
            self.tally.doubted += 1;
        }
        match ours {
            Outcome::Rows(rows) => self.tally.filled += usize::from(!rows.is_empty()),
            Outcome::Failed(_) => self.tally.failed += 1,
            _ => {}
        }
        Ok(())
    }

    async fn upkeep(&mut self, step: &Step, script: &Script) -> Result<(), Differing> {
        if let Step::Reopen = step
            && !self.sqlite.is_autocommit()
        {
            // Who leaves amid a transaction takes it back.
            self.sqlite.execute_batch("ROLLBACK").unwrap();
        }
        let done = self.ours.upkeep(step, script).await;
        done.map_err(|error| (format!("{step:?}"), Outcome::Broken(error), Outcome::Done))
    }

    /// Compares all rows of all tables.
    async fn tables(&self) -> Result<(), Differing> {
        let names = "SELECT name FROM sqlite_master WHERE type = 'table'";
        let Outcome::Rows(names) = run_sqlite(&self.sqlite, names) else {
            panic!("SQLite does not know its tables");
        };
        for name in names {
            let [Cell::Text(name)] = name.as_slice() else {
                continue;
            };
            let all = format!("SELECT * FROM {name}");
            let mut ours = self.ours.run(&all).await;
            let mut sqlite = run_sqlite(&self.sqlite, &all);
            if !ours.is_like(&mut sqlite, false) {
                return Err((all, ours, sqlite));
            }
        }
        Ok(())
    }
}
