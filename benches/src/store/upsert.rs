//! A bulk load over rows that exist, against the same load into an empty table.
//!
//! Purpose: what it costs to hide the old rows.
//! Invariant: both tables are of one database and load one file; the answer shows that every row is
//! there once, with its new values.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{AsArray, BinaryArray, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use futures::executor::block_on;
use netabase::Netabase;

use super::Plan;
use super::ours::write_parquet;
use super::peer::{key, value};
use crate::Failure;
use crate::report::{Figure, median};

/// What the benchmark and its folder are called.
pub(super) const BENCH: &str = "store.upsert";
/// What it is compared with.
const PLAIN: &str = "plain-load";
/// The table whose rows are replaced, and the one that is loaded once.
const TABLES: [&str; 2] = ["replaced", "plain"];

/// Seconds of both loads, in turns.
#[derive(Default)]
struct Times {
    upsert: Vec<f64>,
    plain: Vec<f64>,
}

/// The median time of replacing all rows, beside the median time of loading them into an empty table.
pub(super) fn upserts(plan: &Plan) -> Result<Figure, Failure> {
    let folder = plan.folder.join(BENCH);
    std::fs::create_dir_all(&folder)?;
    let files = [0, 1].map(|turn| folder.join(format!("rows{turn}.parquet")));
    for (turn, file) in (0..).zip(&files) {
        write_rows(file, plan.rows, turn)?;
    }
    eprintln!("measuring {BENCH}");
    let mut times = Times::default();
    for turn in 0..plan.turns {
        // A folder of its own each time, so that no turn waits for what an earlier one left to do.
        let data = folder.join(format!("data{turn}"));
        one_turn(&data, &files, plan.rows, &mut times)?;
        std::fs::remove_dir_all(&data)?;
    }
    std::fs::remove_dir_all(&folder)?;
    let (upsert, plain) = (median(&times.upsert), median(&times.plain));
    Ok(Figure::seconds(BENCH.to_owned(), upsert, (PLAIN, plain)))
}

fn one_turn(
    data: &Path,
    files: &[PathBuf; 2],
    rows: u64,
    times: &mut Times,
) -> Result<(), Failure> {
    let database = block_on(Netabase::embedded(data))?;
    for table in TABLES {
        block_on(database.sql(&format!(
            "CREATE TABLE {table} (k BYTEA PRIMARY KEY, v BYTEA NOT NULL, turn BIGINT NOT NULL)"
        )))?;
    }
    let [replaced, plain] = TABLES;
    let load = |table: &str, file: &Path| -> Result<f64, Failure> {
        let started = Instant::now();
        block_on(database.load(table, file, |_, _| ()))?;
        Ok(started.elapsed().as_secs_f64())
    };
    load(replaced, &files[0])?;
    // Another one first each time.
    let upsert_first = times.upsert.len() % 2 == 1;
    if upsert_first {
        times.upsert.push(load(replaced, &files[1])?);
    }
    times.plain.push(load(plain, &files[1])?);
    if !upsert_first {
        times.upsert.push(load(replaced, &files[1])?);
    }
    for table in TABLES {
        check(&database, table, rows)?;
    }
    Ok(block_on(database.close())?)
}

/// Every row is there once, and of the second file.
fn check(database: &Netabase, table: &str, rows: u64) -> Result<(), Failure> {
    let question = format!("SELECT count(*), sum(turn), count(DISTINCT k) FROM {table}");
    let answer = block_on(database.sql(&question))?;
    let batches = block_on(answer.collect())?.into_batches();
    let batch = batches.first().ok_or("a count without a row")?;
    for column in batch.columns() {
        let found = column.as_primitive::<Int64Type>().value(0);
        if found != rows as i64 {
            return Err(format!("{table} has {found} of {rows} rows").into());
        }
    }
    Ok(())
}

fn write_rows(path: &Path, rows: u64, turn: i64) -> Result<(), Failure> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("k", DataType::Binary, false),
        Field::new("v", DataType::Binary, false),
        Field::new("turn", DataType::Int64, false),
    ]));
    write_parquet(path, schema, rows, |chunk| {
        let turns = Int64Array::from_value(turn, (chunk.end - chunk.start) as usize);
        let keys = BinaryArray::from_iter_values(chunk.clone().map(key));
        let values = chunk.map(|row| value(row.wrapping_add(rows * turn as u64)));
        let values = BinaryArray::from_iter_values(values);
        vec![Arc::new(keys), Arc::new(values), Arc::new(turns)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_replaced_and_a_row_that_is_not_is_noticed() {
        let folder = tempfile::TempDir::new().unwrap();
        let rows = 40_000;
        let files = [0, 1].map(|turn| folder.path().join(format!("{turn}.parquet")));
        write_rows(&files[0], rows, 0).unwrap();
        write_rows(&files[1], rows, 1).unwrap();
        // Large enough for the path that large files take.
        assert!(std::fs::metadata(&files[0]).unwrap().len() > 4 << 20);
        let mut times = Times::default();
        one_turn(&folder.path().join("data"), &files, rows, &mut times).unwrap();
        assert_eq!((times.upsert.len(), times.plain.len()), (1, 1));
        let again = [files[0].clone(), files[0].clone()];
        let failed = one_turn(&folder.path().join("again"), &again, rows, &mut times);
        assert!(failed.unwrap_err().to_string().contains("0 of 40000"));
    }
}
