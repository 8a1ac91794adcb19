//! What a statement gives back.
//!
//! Purpose: [`Output`] is one shape for queries (a running stream) and for statements that change
//! something (a count and a [`WriteReceipt`]).
//!
//! Non-goals: formatting, paging.

use std::fmt;
use std::sync::Arc;

use arrow::array::UInt64Array;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt, stream};
use netabase_store::{Error, TableDef};
use parking_lot::Mutex;

use crate::cluster::{ShardRef, ShardSource, WriteReceipt};
use crate::error::error_from_datafusion;
use crate::running::Statement;
use crate::shard_scan::ShardScan;

/// Which shards of one table a query reads, and from whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanInfo {
    /// The table's name.
    pub table: String,
    /// Every shard of the table, once.
    pub shards: Vec<ShardRef>,
}

impl ScanInfo {
    pub(crate) fn new(def: &TableDef, source: &dyn ShardSource) -> Self {
        Self {
            table: def.name.to_string(),
            shards: source.shards().to_vec(),
        }
    }
}

/// The scans that were planned for one statement, including those the optimizer answered from
/// statistics and took out of the plan.
#[derive(Debug, Default)]
pub(crate) struct ScanLog(Mutex<Vec<ScanInfo>>);

impl ScanLog {
    pub(crate) fn record(&self, info: ScanInfo) {
        self.0.lock().push(info);
    }

    /// Every scan in the plan, then every planned scan of a table that is not in it.
    pub(crate) fn complete(&self, plan: &Arc<dyn ExecutionPlan>) -> Vec<ScanInfo> {
        let mut scans = Vec::new();
        collect_scans(plan, &mut scans);
        for info in self.0.lock().iter() {
            if !scans.iter().any(|scan| scan.table == info.table) {
                scans.push(info.clone());
            }
        }
        scans
    }
}

fn collect_scans(plan: &Arc<dyn ExecutionPlan>, into: &mut Vec<ScanInfo>) {
    if let Some(scan) = ShardScan::of(plan) {
        into.push(ScanInfo::new(&scan.request().def, scan.source().as_ref()));
    }
    for child in plan.children() {
        collect_scans(child, into);
    }
}

/// The result of one statement.
///
/// A query's stream is already running: its first batch has arrived. Dropping the output stops it.
pub struct Output {
    stream: SendableRecordBatchStream,
    plan: Option<Arc<dyn ExecutionPlan>>,
    receipt: Option<WriteReceipt>,
    scans: Vec<ScanInfo>,
    /// Of a query that runs.
    statement: Option<Arc<Statement>>,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output")
            .field("schema", &self.stream.schema())
            .field("receipt", &self.receipt)
            .field("scans", &self.scans)
            .finish_non_exhaustive()
    }
}

impl Output {
    pub(crate) fn query(
        stream: SendableRecordBatchStream,
        plan: Arc<dyn ExecutionPlan>,
        scans: Vec<ScanInfo>,
    ) -> Self {
        Self {
            stream,
            plan: Some(plan),
            receipt: None,
            scans,
            statement: Some(Statement::current()),
        }
    }

    /// One row, `count`: how many rows were written.
    pub(crate) fn written(receipt: WriteReceipt, scans: Vec<ScanInfo>) -> Result<Self, Error> {
        Statement::current().add_written(receipt.rows);
        let counted = Self::counted(receipt.rows, scans)?;
        Ok(Self {
            receipt: Some(receipt),
            ..counted
        })
    }

    /// One row, `count`: how many rows a file has now.
    pub(crate) fn counted(rows: u64, scans: Vec<ScanInfo>) -> Result<Self, Error> {
        let schema = Arc::new(Schema::new(vec![Field::new(
            "count",
            DataType::UInt64,
            false,
        )]));
        let count = Arc::new(UInt64Array::from(vec![rows]));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![count])
            .map_err(|error| error_from_datafusion(error.into()))?;
        Ok(Self {
            stream: in_memory(schema, vec![batch]),
            plan: None,
            receipt: None,
            scans,
            statement: None,
        })
    }

    /// What a statement gives back of the rows that it changed.
    pub(crate) fn returned(
        receipt: WriteReceipt,
        scans: Vec<ScanInfo>,
        schema: SchemaRef,
        rows: Vec<RecordBatch>,
    ) -> Self {
        Statement::current().add_written(receipt.rows);
        Self {
            stream: in_memory(schema, rows),
            plan: None,
            receipt: Some(receipt),
            scans,
            statement: None,
        }
    }

    /// Rows that are known.
    pub(crate) fn of(batch: RecordBatch) -> Self {
        Self {
            stream: in_memory(batch.schema(), vec![batch]),
            plan: None,
            receipt: None,
            scans: Vec::new(),
            statement: None,
        }
    }

    /// No columns and no rows.
    pub(crate) fn empty() -> Self {
        let stream = in_memory(Arc::new(Schema::empty()), Vec::new());
        Self {
            stream,
            plan: None,
            receipt: None,
            scans: Vec::new(),
            statement: None,
        }
    }

    /// Runs the stream to its end and keeps the rows.
    pub(crate) async fn buffered(self) -> Result<Self, Error> {
        let schema = self.schema();
        let Self {
            stream,
            plan,
            receipt,
            scans,
            ..
        } = self;
        let batches: Vec<RecordBatch> =
            stream.try_collect().await.map_err(error_from_datafusion)?;
        Ok(Self {
            stream: in_memory(schema, batches),
            plan,
            receipt,
            scans,
            statement: None,
        })
    }

    /// The columns of the result.
    pub fn schema(&self) -> SchemaRef {
        self.stream.schema()
    }

    /// The physical plan of a query; after the stream ended, with its metrics.
    pub fn plan(&self) -> Option<&Arc<dyn ExecutionPlan>> {
        self.plan.as_ref()
    }

    /// What a write reached; none for queries and definitions.
    pub fn receipt(&self) -> Option<&WriteReceipt> {
        self.receipt.as_ref()
    }

    /// The tables a query reads: every shard and the peer it is read from.
    pub fn scans(&self) -> &[ScanInfo] {
        &self.scans
    }

    /// Is ready, with the reason, when the statement was cancelled or took too long. Its stream gives
    /// an error then, and whoever keeps [`plan`](Self::plan) should let it go: operators leave tables
    /// in it.
    pub fn ended(&self) -> impl Future<Output = Error> + Send + 'static {
        let statement = self.statement.clone();
        async move {
            match statement {
                Some(statement) => statement.ended().await,
                None => std::future::pending().await,
            }
        }
    }

    /// The rows as they come.
    pub fn stream(self) -> SendableRecordBatchStream {
        self.stream
    }

    /// All rows.
    ///
    /// # Errors
    /// Whatever the query fails with after its first batch; `Unavailable` when the statement's time
    /// is up.
    pub async fn collect(self) -> Result<Vec<RecordBatch>, Error> {
        self.stream
            .try_collect()
            .await
            .map_err(error_from_datafusion)
    }
}

fn in_memory(schema: SchemaRef, batches: Vec<RecordBatch>) -> SendableRecordBatchStream {
    Box::pin(RecordBatchStreamAdapter::new(
        schema,
        stream::iter(batches).map(Ok),
    ))
}
