//! The rows that every contender gets: the flights of 2013 and what they join to.

use std::path::{Path, PathBuf};

use datafusion::dataframe::DataFrameWriteOptions;
use datafusion::prelude::{ParquetReadOptions, SessionContext};

use crate::Failure;

/// One table: its definition for netabase, and the file with its rows.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) definition: &'static str,
    pub(crate) file: PathBuf,
}

/// Name and definition, in the order in which they are loaded.
const TABLES: &[(&str, &str)] = &[
    ("airlines", include_str!("../../console/sql/airlines.sql")),
    ("airports", include_str!("../../console/sql/airports.sql")),
    ("planes", include_str!("../../console/sql/planes.sql")),
    ("weather", include_str!("../../console/sql/weather.sql")),
    ("flights", include_str!("../../console/sql/flights.sql")),
];

/// Three rows of the weather repeat the key of another. A table with a primary key keeps one of
/// each, a Parquet file all of them, and the answers would differ: so everybody gets a file without
/// repetitions.
const WEATHER: &str = "
    SELECT DISTINCT ON (origin, time_hour) *
    FROM weather
    ORDER BY origin, time_hour, year, month, day, hour, temp, dewp, humid, wind_dir, wind_speed";

/// The tables; what must be written for them goes into `folder`.
pub(crate) async fn prepare(folder: &Path) -> Result<Vec<Table>, Failure> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data");
    let mut tables = Vec::new();
    for (name, definition) in TABLES.iter().copied() {
        let original = data.join(format!("{name}.parquet"));
        let file = match name {
            "weather" => without_repetitions(&original, &folder.join("weather.parquet")).await?,
            _ => original,
        };
        tables.push(Table {
            name,
            definition,
            file,
        });
    }
    Ok(tables)
}

async fn without_repetitions(original: &Path, written: &Path) -> Result<PathBuf, Failure> {
    let context = SessionContext::new();
    let source = original.to_string_lossy();
    context
        .register_parquet("weather", source, ParquetReadOptions::default())
        .await?;
    let options = DataFrameWriteOptions::new().with_single_file_output(true);
    context
        .sql(WEATHER)
        .await?
        .write_parquet(&written.to_string_lossy(), options, None)
        .await?;
    Ok(written.to_owned())
}
