//! `netabase backup`, `restore`, `check`, `repair` and `compact`: looking after a data folder.
//!
//! Invariant: a folder that is not there is an error and is not made; progress goes to standard
//! error, and only to a terminal; what was done goes to standard output, one line for each fact.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use indicatif::HumanBytes;
use netabase::{
    BackendKind, BackupTarget, Builder, CheckReport, Error, ErrorKind, Netabase, RepairReport,
};

use crate::connect::{finish, note, open, progress_bar};
use crate::exit::Failure;
use crate::print::line;

/// Which data folder, and how its index is kept.
#[derive(Debug, Args)]
pub(crate) struct DataOptions {
    /// Folder of the data; no other process may have it open
    #[arg(long, env = "NETABASE_DATA_DIR", value_name = "DIR")]
    data_dir: PathBuf,
    /// What keeps the index: sled, sqlite, redb or memory [default: sled]
    #[arg(long, env = "NETABASE_BACKEND", value_name = "NAME")]
    backend: Option<BackendKind>,
}

#[derive(Debug, Args)]
pub(crate) struct BackupArguments {
    #[command(flatten)]
    data: DataOptions,
    /// Folder of backups, in which only new files are copied; with --file, the archive to write
    #[arg(long, value_name = "PATH")]
    to: PathBuf,
    /// Table to copy, repeatable [default: all]
    #[arg(long = "table", value_name = "TABLE")]
    tables: Vec<String>,
    /// Write one file, a tar archive
    #[arg(long)]
    file: bool,
    /// Then remove all but the newest N backups of the folder
    #[arg(long, value_name = "N", conflicts_with = "file", value_parser = clap::value_parser!(u32).range(1..))]
    keep: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArguments {
    /// Folder of backups (the last one is taken), one of its manifests, or an archive
    #[arg(long, value_name = "PATH")]
    from: PathBuf,
    /// Folder to make; new or empty
    #[arg(long, env = "NETABASE_DATA_DIR", value_name = "DIR")]
    data_dir: PathBuf,
    /// Table to restore, repeatable [default: all]
    #[arg(long = "table", value_name = "TABLE")]
    tables: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct CompactArguments {
    #[command(flatten)]
    data: DataOptions,
    /// Table to compact, repeatable [default: all]
    #[arg(long = "table", value_name = "TABLE")]
    tables: Vec<String>,
}

impl DataOptions {
    fn builder(&self) -> Builder {
        let builder = Netabase::builder().data_dir(&self.data_dir);
        match self.backend {
            Some(backend) => builder.index_backend(backend),
            None => builder,
        }
    }

    /// Opens the folder, which must be there.
    async fn open(&self) -> Result<Netabase, Failure> {
        // Opening would make it, and a mistyped name would look like an empty database.
        if !self.data_dir.join("log").is_dir() {
            return Err(Failure::Database(Error::new(
                ErrorKind::NotFound,
                format!("{} is not a data folder", self.data_dir.display()),
            )));
        }
        open(self.builder()).await
    }
}

pub(crate) async fn backup(arguments: BackupArguments) -> Result<(), Failure> {
    let db = arguments.data.open().await?;
    let worked = make_backup(&db, &arguments).await;
    finish(&db, worked).await
}

async fn make_backup(db: &Netabase, arguments: &BackupArguments) -> Result<(), Failure> {
    let to = arguments.to.clone();
    let target = match arguments.file {
        true => BackupTarget::File(to),
        false => BackupTarget::Folder(to),
    };
    let tables = names(&arguments.tables);
    let bar = Bar::new("backing up");
    let report = db.backup(target, &tables, bar.progress()).await;
    bar.clear();
    let report = report?;
    line(&format!(
        "backup {} in {}: {} tables, {} rows, {} files of {}; copied {} files of {} in {}",
        report.number,
        arguments.to.display(),
        report.tables,
        report.rows,
        report.files,
        HumanBytes(report.bytes),
        report.copied_files,
        HumanBytes(report.copied_bytes),
        seconds(report.elapsed),
    ))?;
    let Some(keep) = arguments.keep else {
        return Ok(());
    };
    let pruned = Netabase::prune_backups(&arguments.to, keep as usize).await?;
    line(&format!(
        "removed {} older backups: {} files of {}",
        pruned.backups,
        pruned.files,
        HumanBytes(pruned.bytes),
    ))
}

pub(crate) async fn restore(arguments: RestoreArguments) -> Result<(), Failure> {
    let tables = names(&arguments.tables);
    let bar = Bar::new("restoring");
    let (from, to) = (&arguments.from, &arguments.data_dir);
    let report = Netabase::restore(from, to, &tables, bar.progress()).await;
    bar.clear();
    let report = report?;
    line(&format!(
        "restored backup {} into {}: {} tables, {} rows, {} files of {}, all verified, in {}",
        report.number,
        to.display(),
        report.tables,
        report.rows,
        report.files,
        HumanBytes(report.bytes),
        seconds(report.elapsed),
    ))
}

pub(crate) async fn check(data: DataOptions) -> Result<(), Failure> {
    let bar = Bar::new("checking");
    let report = Netabase::check(data.builder().settings(), bar.progress()).await;
    bar.clear();
    let report = report?;
    tell_check(&report)?;
    match report.problems.len() {
        0 => line("nothing is damaged"),
        problems => Err(Failure::Database(Error::new(
            ErrorKind::Corrupt,
            format!("{}: {problems} problems", data.data_dir.display()),
        ))),
    }
}

fn tell_check(report: &CheckReport) -> Result<(), Failure> {
    line(&format!(
        "read {} files of {} in {}: {} tables, {} rows",
        report.files,
        HumanBytes(report.bytes),
        seconds(report.elapsed),
        report.tables,
        report.rows,
    ))?;
    if let Some(torn) = &report.torn_tail {
        line(&format!(
            "{}: {} bytes at its end were never acknowledged; the next open cuts them off",
            torn.file.display(),
            torn.bytes,
        ))?;
    }
    if report.zeros_ahead > 0 {
        line(&format!(
            "the log ends with {} bytes of zeros, which is no damage if the process that wrote it was killed",
            report.zeros_ahead
        ))?;
    }
    if report.orphans > 0 {
        line(&format!(
            "{} files of segments belong to nothing; the next open removes them",
            report.orphans
        ))?;
    }
    for problem in &report.problems {
        line(&format!("damaged: {}", problem.text))?;
    }
    Ok(())
}

pub(crate) async fn repair(data: DataOptions) -> Result<(), Failure> {
    let bar = Bar::new("repairing");
    let report = Netabase::repair(data.builder().settings(), bar.progress()).await;
    bar.clear();
    tell_repair(&data.data_dir, &report?)
}

fn tell_repair(folder: &Path, report: &RepairReport) -> Result<(), Failure> {
    line(&format!(
        "made the index of {} anew with {}: {} tables; {} entries of small state were copied",
        folder.display(),
        report.backend,
        report.opened.tables,
        report.copied,
    ))?;
    if let Some(old) = &report.moved_to {
        line(&format!("the old index is in {}", old.display()))?;
    }
    for unread in &report.unread {
        note(format_args!("not read of the old index: {unread}"));
    }
    Ok(())
}

pub(crate) async fn compact(arguments: CompactArguments) -> Result<(), Failure> {
    let db = arguments.data.open().await?;
    let worked = compact_tables(&db, &arguments.tables).await;
    finish(&db, worked).await
}

async fn compact_tables(db: &Netabase, tables: &[String]) -> Result<(), Failure> {
    let tables = match tables.is_empty() {
        true => db.table_names(),
        false => tables.to_vec(),
    };
    let before = db.store_stats().segment_bytes;
    let bar = Bar::new("compacting");
    let total = tables.len() as u64;
    let mut progress = bar.progress();
    let mut worked = Ok(());
    for (table, done) in tables.iter().zip(1..) {
        worked = db.compact(table).await;
        if worked.is_err() {
            break;
        }
        progress(done, total);
    }
    bar.clear();
    worked?;
    line(&format!(
        "compacted {total} tables: {} of segments became {}",
        HumanBytes(before),
        HumanBytes(db.store_stats().segment_bytes),
    ))
}

fn names(tables: &[String]) -> Vec<&str> {
    tables.iter().map(String::as_str).collect()
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Progress on standard error; indicatif hides it where that is no terminal.
struct Bar(indicatif::ProgressBar);

impl Bar {
    fn new(label: &str) -> Self {
        Self(progress_bar(label, "{percent}%"))
    }

    fn progress(&self) -> impl FnMut(u64, u64) + Send + 'static + use<> {
        let bar = self.0.clone();
        move |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        }
    }

    fn clear(&self) {
        self.0.finish_and_clear();
    }
}
