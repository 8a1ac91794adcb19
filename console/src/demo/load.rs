//! The tables of the demonstration, and their rows.

use std::fs::File;
use std::path::{Path, PathBuf};

use netabase::arrow::array::AsArray;
use netabase::arrow::datatypes::Int64Type;
use netabase::datafusion::parquet::file::reader::{FileReader, SerializedFileReader};
use netabase::{Error, ErrorKind, Netabase};

use crate::connect::{note, progress_bar};
use crate::exit::Failure;

/// How the definitions say how many copies to keep.
const REPLICAS: &str = "replicas = 2";

/// Every table with its definition.
const TABLES: [(&str, &str); 5] = [
    ("airlines", include_str!("../../sql/airlines.sql")),
    ("airports", include_str!("../../sql/airports.sql")),
    ("planes", include_str!("../../sql/planes.sql")),
    ("weather", include_str!("../../sql/weather.sql")),
    ("flights", include_str!("../../sql/flights.sql")),
];

/// The folder with one Parquet file for each table.
pub(crate) struct Source(PathBuf);

impl Source {
    /// The given folder, the one beside the sources, or `data` here: the first that is complete.
    pub(crate) fn find(given: Option<PathBuf>) -> Result<Self, Failure> {
        let candidates = match given {
            Some(folder) => vec![folder],
            None => vec![
                Path::new(env!("CARGO_MANIFEST_DIR")).join("../data"),
                PathBuf::from("data"),
            ],
        };
        let complete = |folder: &&PathBuf| {
            TABLES
                .iter()
                .all(|(table, _)| file(folder, table).is_file())
        };
        if let Some(folder) = candidates.iter().find(complete) {
            return Ok(Self(folder.clone()));
        }
        let looked: Vec<_> = candidates.iter().map(|c| c.display().to_string()).collect();
        let text = format!(
            "no folder with the five Parquet files of the flights data (looked at {}); give it with \
             --data",
            looked.join(" and ")
        );
        Err(Error::new(ErrorKind::NotFound, text).into())
    }

    /// Creates the tables and loads those that are not complete.
    pub(crate) async fn load(&self, db: &Netabase, replicas: u32) -> Result<(), Failure> {
        for (table, definition) in TABLES {
            let definition = definition.replace(REPLICAS, &format!("replicas = {replicas}"));
            let _ = db.sql(&definition).await?.collect().await?;
            let path = file(&self.0, table);
            let rows = rows_in(&path)?;
            if rows_of(db, table).await? == rows {
                note(format_args!("  {table}: {rows} rows are there already"));
                continue;
            }
            load_one(db, table, &path).await?;
        }
        Ok(())
    }
}

async fn load_one(db: &Netabase, table: &str, path: &Path) -> Result<(), Failure> {
    let bar = progress_bar(table, "{human_pos}/{human_len} rows");
    let shown = bar.clone();
    let loaded = db
        .load(table, path, move |done, total| {
            shown.set_length(total);
            shown.set_position(done);
        })
        .await;
    bar.finish_and_clear();
    let receipt = loaded?;
    note(format_args!(
        "  {table}: {} rows in {} shards over {} peers, {} copies of each",
        receipt.rows,
        receipt.shards,
        receipt.peers.len(),
        receipt.replicas
    ));
    Ok(())
}

fn file(folder: &Path, table: &str) -> PathBuf {
    folder.join(format!("{table}.parquet"))
}

fn rows_in(path: &Path) -> Result<i64, Failure> {
    let named = |e: &dyn std::fmt::Display| Failure::Io(format!("file {}: {e}", path.display()));
    let file = File::open(path).map_err(|e| named(&e))?;
    let reader = SerializedFileReader::new(file).map_err(|e| named(&e))?;
    Ok(reader.metadata().file_metadata().num_rows())
}

async fn rows_of(db: &Netabase, table: &str) -> Result<i64, Failure> {
    let answer = db.sql(&format!("SELECT count(*) FROM {table}")).await?;
    let counted = answer.collect().await?;
    let first = counted.batches().first();
    Ok(first.map_or(0, |batch| {
        batch.column(0).as_primitive::<Int64Type>().value(0)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_definition_names_its_table_and_its_replicas() {
        for (table, definition) in TABLES {
            assert!(definition.contains(&format!("CREATE TABLE IF NOT EXISTS {table} (")));
            assert_eq!(definition.matches(REPLICAS).count(), 1);
        }
    }
}
