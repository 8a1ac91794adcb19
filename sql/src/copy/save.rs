//! `COPY … TO`: the rows of a query into a file.
//!
//! Invariants: rows are encoded and written by a thread of their own, a few batches behind the query;
//! whatever ends the statement before its last row leaves no file, and an older one as it was.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use futures::StreamExt;
use netabase_store::Error;
use tokio::sync::mpsc;

use super::options::{Direction, Settled};
use super::target::Target;
use super::writers::{FileRows, Shape, check_schema, plain_rows, plain_schema};
use super::{CopyOptions, ForceQuote};
use crate::engine::Engine;
use crate::error::{error_from_datafusion, interrupted, invalid, unavailable};
use crate::local::blocking;
use crate::output::ScanInfo;
use crate::query;
use crate::running::{CopyProgress, Statement};
use crate::write::split_to;

/// Batches that wait to be written.
const MAX_QUEUED_BATCHES: usize = 4;
/// Bytes of rows that are encoded at once.
const CHUNK_BYTES: usize = 64 << 20;

/// What the writing thread is sent.
enum Message {
    Rows(RecordBatch),
    /// There are no more rows; without this, the statement has failed.
    End,
}

/// Writes the rows of a query to a file, and tells how many there were and where they came from.
pub(crate) async fn copy_to(
    engine: &Engine,
    query: SqlStatement,
    (path, options): (&Path, CopyOptions),
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<(u64, Vec<ScanInfo>), Error> {
    let settled = options.settle(path, Direction::To)?;
    let (plan, deadline) = engine.plan_query(query).await?;
    let data_dir = engine.store().data_dir().map(Path::to_path_buf);
    let path = path.to_path_buf();
    let created = path.clone();
    let target = blocking(move || Target::create(&created, data_dir.as_deref())).await?;
    let output = query::run(engine, &plan, deadline).await?;
    let schema = plain_schema(&output.schema());
    check_schema(&schema, settled.format)?;
    check_forced(&schema, &settled)?;
    let scans = output.scans().to_vec();
    let (rows, received) = mpsc::channel(MAX_QUEUED_BATCHES);
    let job = Job {
        target,
        path,
        schema,
        settled,
    };
    let work = tokio::task::spawn_blocking(move || job.write(received));
    let sent = send_all(output.stream(), rows, progress).await;
    let written = work.await.map_err(|error| interrupted(&error))?;
    // A query that failed is the reason why the writer was told nothing more.
    let count = sent?;
    written?;
    Ok((count, scans))
}

/// Hands over rows as long as they are taken, and then their end.
async fn send_all(
    mut stream: SendableRecordBatchStream,
    rows: mpsc::Sender<Message>,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<u64, Error> {
    let (statement, mut count) = (Statement::current(), 0);
    let note = |rows| statement.note_copy(CopyProgress { rows, bytes: None });
    note(count);
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(error_from_datafusion)?;
        let more = batch.num_rows() as u64;
        if send(&rows, Message::Rows(batch)).await.is_break() {
            return Ok(count);
        }
        count += more;
        note(count);
        progress(count);
    }
    // The writer's own error is told by itself.
    let _ = send(&rows, Message::End).await;
    Ok(count)
}

/// Breaks when the writer has failed and takes no more.
async fn send(rows: &mpsc::Sender<Message>, message: Message) -> ControlFlow<()> {
    match rows.send(message).await {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    }
}

/// Columns that are to be quoted must be there.
fn check_forced(schema: &Schema, settled: &Settled) -> Result<(), Error> {
    let Some(ForceQuote::Columns(columns)) = &settled.dialect.force_quote else {
        return Ok(());
    };
    match columns.iter().find(|name| schema.index_of(name).is_err()) {
        Some(name) => Err(invalid(format!(
            "FORCE_QUOTE names \"{name}\", which is no column of the rows"
        ))),
        None => Ok(()),
    }
}

/// What the writing thread does.
struct Job {
    target: Target,
    path: PathBuf,
    schema: SchemaRef,
    settled: Settled,
}

impl Job {
    fn write(self, mut received: mpsc::Receiver<Message>) -> Result<(), Error> {
        let shape = Shape {
            path: &self.path,
            schema: Arc::clone(&self.schema),
            settled: &self.settled,
        };
        let mut rows = FileRows::new(self.target.file()?, &shape)?;
        loop {
            match received.blocking_recv() {
                Some(Message::Rows(batch)) => {
                    for part in split_to(batch, CHUNK_BYTES) {
                        rows.write(&plain_rows(&part, &self.schema)?, &self.path)?;
                    }
                }
                Some(Message::End) => break,
                None => return Err(unavailable("COPY was stopped; no file was written")),
            }
        }
        rows.finish(&self.path)?;
        self.target.keep()
    }
}
