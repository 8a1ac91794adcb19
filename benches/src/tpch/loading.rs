//! Loading netabase in a process of its own, so that its memory is measured without ours.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::arguments::Settings;
use crate::contender::{define_tables, load_files, open_peer};
use crate::process::{self, MB, Talker};
use crate::tpch::tables;

/// The longest that loading may take.
const DEADLINE: Duration = Duration::from_secs(3600);

/// What loading took.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Loaded {
    /// Until everything is on disk.
    pub(crate) seconds: f64,
    pub(crate) disk_mb: Option<f64>,
    pub(crate) peak_mb: Option<f64>,
}

/// Starts this program again to load the data into a folder.
pub(crate) fn in_a_process(
    folder: &Path,
    data: &Path,
    settings: &Settings,
) -> Result<Loaded, Failure> {
    let mut command = process::this_program()?;
    command.arg("tpch-load").arg(folder).arg(data);
    command.args(["--partitions", &settings.partitions.to_string()]);
    if let Some(shards) = settings.shards {
        command.args(["--shards", &shards.to_string()]);
    }
    let line = Talker::start(command)?.line(DEADLINE)?;
    Ok(serde_json::from_str(&line)?)
}

/// What that process does: `tpch-load <folder> <data>`.
pub(crate) async fn run(settings: &Settings) -> Result<(), Failure> {
    let [folder, data] = settings.inputs.as_slice() else {
        return Err("tpch-load needs a folder and the data".into());
    };
    let tables = tables::tables(data, settings.shards);
    let database = open_peer(folder, settings.partitions).await?;
    define_tables(&database, &tables).await?;
    let started = Instant::now();
    load_files(&database, &tables).await?;
    database.close().await?;
    let loaded = Loaded {
        seconds: started.elapsed().as_secs_f64(),
        disk_mb: Some(process::folder_bytes(folder)? as f64 / MB),
        peak_mb: Some(process::peak_mb()?),
    };
    println!("{}", serde_json::to_string(&loaded)?);
    Ok(())
}
