//! How far a COPY is, while it runs.
//!
//! Idea: another session asks `netabase.queries` now and then. Invariant: nothing is asked or shown unless
//! standard error is a terminal, and nothing is left there.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount, ProgressBar};
use netabase::arrow::array::{Array, AsArray};
use netabase::arrow::datatypes::Int64Type;
use netabase::{Answer, Error, Netabase};

/// How often it is looked.
const STEP: Duration = Duration::from_millis(200);
/// How far the newest COPY is.
const QUESTION: &str = "SELECT copy_rows, copy_bytes, copy_total_bytes FROM netabase.queries \
    WHERE copy_rows IS NOT NULL ORDER BY id DESC LIMIT 1";

/// Runs a statement; a COPY with a line of progress.
pub(crate) async fn run(db: &Netabase, statement: &str) -> Result<Answer, Error> {
    if !is_copy(statement) || !std::io::stderr().is_terminal() {
        return db.sql(statement).await;
    }
    let bar = ProgressBar::new_spinner();
    let watching = tokio::spawn(watch(db.clone(), bar.clone()));
    let answer = db.sql(statement).await;
    watching.abort();
    bar.finish_and_clear();
    answer
}

/// Whether the first word is COPY.
fn is_copy(statement: &str) -> bool {
    let first = statement.split_whitespace().next();
    first.is_some_and(|word| word.eq_ignore_ascii_case("copy"))
}

/// Shows how far it is until somebody stops this.
async fn watch(db: Netabase, bar: ProgressBar) {
    loop {
        tokio::time::sleep(STEP).await;
        let Ok(Some(numbers)) = ask(&db).await else {
            continue;
        };
        bar.set_message(line(numbers));
        bar.tick();
    }
}

/// Rows, bytes that were read, and bytes of all files.
type Numbers = (i64, Option<i64>, Option<i64>);

async fn ask(db: &Netabase) -> Result<Option<Numbers>, Error> {
    let rows = db.sql(QUESTION).await?.collect().await?;
    let Some(batch) = rows.batches().iter().find(|batch| batch.num_rows() > 0) else {
        return Ok(None);
    };
    let number = |column: usize| {
        let column = batch
            .columns()
            .get(column)?
            .as_primitive_opt::<Int64Type>()?;
        column.is_valid(0).then(|| column.value(0))
    };
    Ok(number(0).map(|rows| (rows, number(1), number(2))))
}

fn line((rows, read, all): Numbers) -> String {
    let number = |value: i64| u64::try_from(value).unwrap_or_default();
    let rows = format!("{} rows", HumanCount(number(rows)));
    match (read, all) {
        (Some(read), Some(all)) if all > 0 => format!(
            "{rows}, {} of {} ({}%)",
            HumanBytes(number(read)),
            HumanBytes(number(all)),
            number(read) * 100 / number(all)
        ),
        _ => rows,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_copies_are_watched_and_told_in_words() {
        assert!(is_copy("  copy t FROM 'x.csv'"));
        assert!(!is_copy("SELECT 'copy'"));
        assert_eq!(line((1234, None, None)), "1,234 rows");
        let half = line((10, Some(1 << 20), Some(2 << 20)));
        assert_eq!(half, "10 rows, 1.00 MiB of 2.00 MiB (50%)");
    }
}
