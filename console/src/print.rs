//! Rows on standard output.
//!
//! CSV and JSON are written as the rows arrive; a table needs all of them for its column widths.

use std::io::{BufWriter, Write};

use futures::StreamExt;
use netabase::arrow;
use netabase::arrow::csv::WriterBuilder as CsvBuilder;
use netabase::arrow::error::ArrowError;
use netabase::arrow::json::writer::{LineDelimited, WriterBuilder as JsonBuilder};
use netabase::{Answer, AnswerStream, Coverage};

use crate::args::Format;
use crate::exit::Failure;

/// Prints an answer and says what it covers.
pub(crate) async fn answer(answer: Answer, format: Format) -> Result<Coverage, Failure> {
    let coverage = answer.coverage_handle();
    match format {
        _ if answer.schema().fields().is_empty() => {
            let _ = answer.collect().await?;
        }
        Format::Table => {
            let table = answer.show().await?;
            line(&table)?;
        }
        Format::Csv => csv(answer.stream()).await?,
        Format::Json => json(answer.stream()).await?,
    }
    Ok(coverage.current())
}

/// Writes a line to standard output.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(|e| Failure::output(&e))
}

/// Writes bytes to standard output as they are.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(|e| Failure::output(&e))
}

async fn csv(mut rows: AnswerStream) -> Result<(), Failure> {
    let schema = netabase::text_schema(&rows.schema());
    let empty = arrow::record_batch::RecordBatch::new_empty(schema);
    let mut writer = CsvBuilder::new()
        .with_header(true)
        .build(BufWriter::new(std::io::stdout()));
    // The header is there even when no row is.
    writer.write(&empty).map_err(unwritable)?;
    while let Some(batch) = rows.next().await {
        let texts = netabase::text_batch(&batch?)?;
        writer.write(&texts).map_err(unwritable)?;
    }
    flush(&mut writer.into_inner())
}

async fn json(mut rows: AnswerStream) -> Result<(), Failure> {
    let mut writer = JsonBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, LineDelimited>(BufWriter::new(std::io::stdout()));
    while let Some(batch) = rows.next().await {
        writer.write(&batch?).map_err(unwritable)?;
    }
    writer.finish().map_err(unwritable)?;
    flush(&mut writer.into_inner())
}

fn flush(out: &mut impl Write) -> Result<(), Failure> {
    out.flush().map_err(|e| Failure::output(&e))
}

/// A row that cannot be written: because nobody reads, or because the format has no words for it.
fn unwritable(error: ArrowError) -> Failure {
    match error {
        ArrowError::IoError(_, error) => Failure::output(&error),
        // The CSV writer hides the kind of an input or output error.
        ArrowError::CsvError(text) if text.contains("Broken pipe") => Failure::ClosedPipe,
        other => Failure::Io(format!(
            "these rows cannot be printed in this format: {other}; try another --format"
        )),
    }
}
