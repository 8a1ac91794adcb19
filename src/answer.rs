//! The answer to one statement.
//!
//! Purpose: rows as they arrive or all at once, always with their [`Coverage`].
//! Invariant: a stream ends only after the last row; whatever cuts it short is an error in it,
//! never a quiet end.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::physical_plan::{ExecutionPlan, displayable};
use futures::{Stream, StreamExt};
use netabase_distributed::Node;
use netabase_sql::{Output, WriteReceipt, error_from_datafusion, text_batch, text_schema};
use netabase_store::Error;
use tokio::sync::mpsc;

use crate::coverage::{Coverage, CoverageHandle};
use crate::database::Inner;
use crate::runtime::{Task, closed};
use crate::views::{expand_batch, expand_schema};

/// Batches that wait for a slow reader of one answer.
const WAITING_BATCHES: usize = 2;

/// The answer to one statement: read it with [`stream`](Self::stream), [`collect`](Self::collect)
/// or [`show`](Self::show). Dropping it cancels the statement's remaining work.
pub struct Answer {
    output: Output,
    schema: SchemaRef,
    receipt: Option<WriteReceipt>,
    coverage: CoverageHandle,
    database: Arc<Inner>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("schema", &self.schema)
            .field("coverage", &self.coverage.current())
            .finish_non_exhaustive()
    }
}

impl Answer {
    pub(crate) fn new(
        database: Arc<Inner>,
        output: Output,
        started: Instant,
        retries: usize,
    ) -> Self {
        let receipt = output.receipt().cloned();
        let coverage = match &receipt {
            Some(receipt) => CoverageHandle::written(started, output.scans(), receipt),
            None => CoverageHandle::new(started, output.scans()),
        };
        coverage.set_retries(retries);
        Self {
            schema: output.schema(),
            output,
            receipt,
            coverage,
            database,
        }
    }

    /// The columns of the rows.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// What a write reached; `None` for anything else.
    #[must_use]
    pub fn receipt(&self) -> Option<&WriteReceipt> {
        self.receipt.as_ref()
    }

    /// What is known so far about the answer's coverage; complete after the last row.
    #[must_use]
    pub fn coverage(&self) -> Coverage {
        self.coverage.current()
    }

    /// A handle to the coverage that outlives this value.
    #[must_use]
    pub fn coverage_handle(&self) -> CoverageHandle {
        self.coverage.clone()
    }

    /// The plan that runs, as text: for a network, with its stages and the peers they run on.
    /// `None` for statements that have no plan.
    #[must_use]
    pub fn plan_text(&self) -> Option<String> {
        let Some(plan) = self.output.plan() else {
            return self.output.lookup();
        };
        Some(match self.database.node() {
            Some(node) => node.explain(&plan),
            None => displayable(plan.as_ref()).indent(false).to_string(),
        })
    }

    /// The rows, batch by batch, as they arrive. Work goes on only a few batches ahead of the
    /// reader.
    pub fn stream(self) -> AnswerStream {
        // What is in memory needs no task that hands it over. A plan knows of bytes that moved.
        if self.output.is_ready() && self.output.plan().is_none() {
            return AnswerStream {
                schema: self.schema,
                source: Source::Ready(self.output.into_ready().into_iter()),
                coverage: self.coverage,
                ended: false,
                _database: self.database,
            };
        }
        let (sender, receiver) = mpsc::channel(WAITING_BATCHES);
        let coverage = self.coverage.clone();
        let pump = Pump {
            node: self.database.node().cloned(),
            plan: self.output.plan(),
            output: self.output,
            sender,
            coverage,
        };
        AnswerStream {
            schema: self.schema,
            source: Source::Pumped {
                receiver,
                _task: self.database.runtime().spawn(pump.run()),
            },
            coverage: self.coverage,
            ended: false,
            _database: self.database,
        }
    }

    /// Reads every row into memory.
    ///
    /// # Errors
    /// Whatever cut the answer short.
    pub async fn collect(self) -> Result<Batches, Error> {
        let schema = self.schema();
        let handle = self.coverage_handle();
        let mut stream = self.stream();
        let mut batches = Vec::new();
        while let Some(batch) = stream.next().await {
            batches.push(batch?);
        }
        Ok(Batches {
            schema,
            batches,
            coverage: handle.current(),
        })
    }

    /// Reads every row and lays them out as a text table.
    ///
    /// # Errors
    /// Whatever cut the answer short.
    pub async fn show(self) -> Result<String, Error> {
        Ok(self.collect().await?.to_string())
    }
}

/// Reads an answer on the query runtime and hands its batches over.
struct Pump {
    output: Output,
    plan: Option<Arc<dyn ExecutionPlan>>,
    node: Option<Node>,
    sender: mpsc::Sender<Result<RecordBatch, Error>>,
    coverage: CoverageHandle,
}

impl Pump {
    async fn run(self) {
        let sender = self.sender.clone();
        let ended = self.output.ended();
        let error = tokio::select! {
            biased;
            () = self.read() => return,
            error = ended => error,
        };
        // Nothing of the statement is held any more. The reader may come late, or never.
        let _ = sender.send(Err(error)).await;
    }

    async fn read(self) {
        let mut stream = self.output.stream();
        while let Some(next) = stream.next().await {
            let next = next.map_err(error_from_datafusion);
            let failed = next.is_err();
            let rows = next.as_ref().map_or(0, RecordBatch::num_rows);
            if !failed && rows == 0 {
                continue;
            }
            self.coverage.add_rows(rows);
            // The reader has gone: nobody wants the rest.
            if self.sender.send(next).await.is_err() || failed {
                return;
            }
        }
        let bytes = match (&self.node, &self.plan) {
            (Some(node), Some(plan)) => node.network_bytes(plan).await,
            _ => 0,
        };
        self.coverage.finish(bytes);
    }
}

/// Where rows come from.
#[derive(Debug)]
enum Source {
    Ready(std::vec::IntoIter<RecordBatch>),
    Pumped {
        receiver: mpsc::Receiver<Result<RecordBatch, Error>>,
        _task: Task<()>,
    },
}

/// The rows of an answer as they arrive.
#[derive(Debug)]
pub struct AnswerStream {
    schema: SchemaRef,
    source: Source,
    coverage: CoverageHandle,
    ended: bool,
    // Keeps the runtime alive for as long as rows are to come.
    _database: Arc<Inner>,
}

impl AnswerStream {
    /// The columns of the rows.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// What is known so far; complete once the stream has ended.
    #[must_use]
    pub fn coverage(&self) -> Coverage {
        self.coverage.current()
    }

    /// A handle to the coverage that outlives this stream.
    #[must_use]
    pub fn coverage_handle(&self) -> CoverageHandle {
        self.coverage.clone()
    }
}

impl Stream for AnswerStream {
    type Item = Result<RecordBatch, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let receiver = match &mut self.source {
            Source::Ready(batches) => {
                let next = batches.find(|batch| batch.num_rows() > 0);
                match &next {
                    Some(batch) => self.coverage.add_rows(batch.num_rows()),
                    None => self.coverage.finish(0),
                }
                self.ended = next.is_none();
                return Poll::Ready(next.map(Ok));
            }
            Source::Pumped { receiver, .. } => receiver,
        };
        let next = std::task::ready!(receiver.poll_recv(cx));
        self.ended = !matches!(next, Some(Ok(_)));
        Poll::Ready(match next {
            // The task ended without having read everything: `close`, or a panic.
            None if !self.coverage.is_finished() => Some(Err(closed())),
            other => other,
        })
    }
}

/// Every row of an answer, in memory. [`Display`](fmt::Display) gives a text table, with values as
/// PostgreSQL prints them.
#[derive(Debug, Clone)]
pub struct Batches {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    coverage: Coverage,
}

impl Batches {
    /// The columns.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The batches, none of them empty.
    #[must_use]
    pub fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    /// How many rows there are.
    #[must_use]
    pub fn num_rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// What the rows cover.
    #[must_use]
    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// The same rows with string and binary views turned into the plain layouts that every Arrow
    /// consumer knows.
    ///
    /// # Errors
    /// `InvalidInput` when a value has no plain layout.
    pub fn expand_views(self) -> Result<Self, Error> {
        let schema = expand_schema(&self.schema);
        let expand = |batch: &RecordBatch| expand_batch(batch, &schema);
        let batches = self.batches.iter().map(expand).collect::<Result<_, _>>()?;
        Ok(Self {
            schema,
            batches,
            ..self
        })
    }

    /// Gives the batches away.
    #[must_use]
    pub fn into_batches(self) -> Vec<RecordBatch> {
        self.batches
    }
}

impl fmt::Display for Batches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = self.batches.iter().map(text_batch);
        let table = texts.collect::<Result<Vec<_>, Error>>().and_then(|texts| {
            let schema = text_schema(&self.schema);
            arrow::util::pretty::pretty_format_batches_with_schema(schema, &texts)
                .map_err(|failure| error_from_datafusion(failure.into()))
        });
        match table {
            Ok(table) => write!(f, "{table}"),
            Err(failure) => write!(f, "(the rows cannot be shown as text: {failure})"),
        }
    }
}
