//! DuckDB, in a Python process with a virtual environment of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::Failure;
use crate::arguments::Settings;
use crate::data::Table;
use crate::process::{self, Talker};
use crate::tpch::answer::{Answer, Cell};
use crate::tpch::loading::Loaded;

/// What is installed; another text in the marker means another environment.
const PACKAGES: &[&str] = &["duckdb==2.0.0", "pyarrow"];
/// The program that speaks to DuckDB.
const DRIVER: &str = include_str!("driver.py");
/// The longest that one request may take.
const DEADLINE: Duration = Duration::from_secs(1800);

/// A database of DuckDB on disk.
pub(crate) struct DuckDb {
    talker: Talker,
    _folder: TempDir,
}

#[derive(Deserialize)]
struct Reply {
    seconds: Vec<f64>,
    columns: Vec<String>,
    rows: Vec<Vec<Option<(String, String)>>>,
}

impl DuckDb {
    /// An empty database that uses as many threads as we have partitions.
    pub(crate) fn start(settings: &Settings) -> Result<Self, Failure> {
        let python = environment(&process::cache_folder(settings)?)?;
        let folder = process::scratch_folder(settings)?;
        let driver = folder.path().join("driver.py");
        std::fs::write(&driver, DRIVER)?;
        let mut command = Command::new(python);
        command
            .arg(driver)
            .arg(folder.path().join("duck.db"))
            .arg(settings.partitions.to_string());
        Ok(Self {
            talker: Talker::start(command)?,
            _folder: folder,
        })
    }

    /// Loads the files into tables of its own, without keys.
    pub(crate) fn load(&mut self, tables: &[Table]) -> Result<Loaded, Failure> {
        let files: serde_json::Map<String, Value> = tables
            .iter()
            .map(|table| (table.name.to_owned(), json!(table.file)))
            .collect();
        self.ask(&json!({ "load": files }))
    }

    pub(crate) fn answer(&mut self, text: &str) -> Result<Answer, Failure> {
        let reply: Reply = self.ask(&json!({ "query": text, "runs": 1, "rows": true }))?;
        let row = |row: Vec<_>| row.into_iter().map(cell).collect::<Result<_, _>>();
        Ok(Answer {
            columns: reply.columns,
            rows: reply.rows.into_iter().map(row).collect::<Result<_, _>>()?,
        })
    }

    /// Seconds of one run, taken beside DuckDB: without Python and without the pipe.
    pub(crate) fn seconds(&mut self, text: &str) -> Result<f64, Failure> {
        let reply: Reply = self.ask(&json!({ "query": text, "runs": 1, "rows": false }))?;
        let seconds = reply.seconds.first().copied();
        seconds.ok_or_else(|| "DuckDB took no time".into())
    }

    fn ask<T: DeserializeOwned>(&mut self, request: &Value) -> Result<T, Failure> {
        self.talker.say(&request.to_string())?;
        let reply: Value = serde_json::from_str(&self.talker.line(DEADLINE)?)?;
        match reply.get("error") {
            Some(error) => Err(format!("DuckDB: {error}").into()),
            None => Ok(serde_json::from_value(reply)?),
        }
    }
}

fn cell(value: Option<(String, String)>) -> Result<Cell, Failure> {
    let Some((kind, text)) = value else {
        return Ok(Cell::Null);
    };
    Ok(match kind.as_str() {
        "float" => Cell::Float(text.parse()?),
        "exact" => Cell::Exact(text),
        _ => Cell::Text(text),
    })
}

/// The interpreter of an environment with DuckDB; made when it is missing.
pub(crate) fn environment(cache: &Path) -> Result<PathBuf, Failure> {
    let folder = cache.join("duckdb-venv");
    let python = folder.join("bin").join("python");
    let marker = folder.join("packages");
    let packages = PACKAGES.join(" ");
    if std::fs::read_to_string(&marker).is_ok_and(|found| found == packages) {
        return Ok(python);
    }
    eprintln!("installing {packages}");
    succeed(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet"]);
    succeed(install.args(PACKAGES))?;
    std::fs::write(marker, packages)?;
    Ok(python)
}

fn succeed(command: &mut Command) -> Result<(), Failure> {
    // What it prints belongs to people: our own output is for programs.
    let status = command.stdout(std::io::stderr()).status()?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("{} failed: {status}", command.get_program().display()).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_with_their_kind() {
        let pair = |kind: &str, text: &str| cell(Some((kind.to_owned(), text.to_owned())));
        assert_eq!(pair("float", "1e-05").unwrap(), Cell::Float(1e-5));
        assert_eq!(
            pair("exact", "1.50").unwrap(),
            Cell::Exact("1.50".to_owned())
        );
        assert_eq!(pair("text", "x").unwrap(), Cell::Text("x".to_owned()));
        assert_eq!(cell(None).unwrap(), Cell::Null);
        assert!(pair("float", "x").is_err());
    }
}
