//! What a statement gives back.
//!
//! Purpose: [`Output`] is one shape for queries (a running stream) and for statements that change
//! something (a count and a [`WriteReceipt`]).
//!
//! Non-goals: formatting, paging.

use std::fmt;
use std::sync::{Arc, LazyLock};

use arrow::array::UInt64Array;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt, stream};
use netabase_store::{Error, TableDef};
use parking_lot::Mutex;

use crate::cluster::{ShardRef, ShardSource, WriteReceipt};
use crate::error::error_from_datafusion;
use crate::held::SharedPlan;
use crate::running::Statement;
use crate::shard_scan::ShardScan;
use crate::syntax::shown_schema;

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
    rows: Rows,
    plan: Option<SharedPlan>,
    receipt: Option<WriteReceipt>,
    scans: Vec<ScanInfo>,
    /// Of a query that runs.
    statement: Option<Arc<Statement>>,
}

/// The rows of an output.
enum Rows {
    Stream(SendableRecordBatchStream),
    Ready(SchemaRef, Vec<RecordBatch>),
}

impl Rows {
    /// Rows in memory, under the names that are shown.
    fn ready(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        let Some(shown) = shown_schema(&schema) else {
            return Self::Ready(schema, batches);
        };
        let renamed = batches.iter().map(|batch| renamed(batch, &shown));
        match renamed.collect() {
            Ok(batches) => Self::Ready(shown, batches),
            Err(_) => Self::Ready(schema, batches),
        }
    }

    fn schema(&self) -> SchemaRef {
        match self {
            Self::Stream(stream) => stream.schema(),
            Self::Ready(schema, _) => Arc::clone(schema),
        }
    }

    fn into_stream(self) -> SendableRecordBatchStream {
        match self {
            Self::Stream(stream) => stream,
            Self::Ready(schema, batches) => in_memory(schema, batches),
        }
    }

    async fn collect(self) -> Result<Vec<RecordBatch>, Error> {
        match self {
            Self::Stream(stream) => stream.try_collect().await.map_err(error_from_datafusion),
            Self::Ready(_, batches) => Ok(batches),
        }
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output")
            .field("schema", &self.schema())
            .field("receipt", &self.receipt)
            .field("scans", &self.scans)
            .finish_non_exhaustive()
    }
}

impl Output {
    pub(crate) fn query(
        stream: SendableRecordBatchStream,
        plan: SharedPlan,
        scans: Vec<ScanInfo>,
    ) -> Self {
        Self {
            rows: Rows::Stream(shown_stream(stream)),
            plan: Some(plan),
            receipt: None,
            scans,
            statement: Some(Statement::current()),
        }
    }

    /// Rows of a query that are in memory already.
    pub(crate) fn ready(
        schema: SchemaRef,
        batches: Vec<RecordBatch>,
        scans: Vec<ScanInfo>,
    ) -> Self {
        Self {
            rows: Rows::ready(schema, batches),
            plan: None,
            receipt: None,
            scans,
            statement: None,
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
        let schema = count_schema();
        let count = Arc::new(UInt64Array::from(vec![rows]));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![count])
            .map_err(|error| error_from_datafusion(error.into()))?;
        Ok(Self {
            rows: Rows::Ready(schema, vec![batch]),
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
            rows: Rows::ready(schema, rows),
            plan: None,
            receipt: Some(receipt),
            scans,
            statement: None,
        }
    }

    /// The same rows, with what a write reached.
    pub(crate) fn with_receipt(self, receipt: WriteReceipt) -> Self {
        Self {
            receipt: Some(receipt),
            ..self
        }
    }

    /// Rows that are known.
    pub(crate) fn of(batch: RecordBatch) -> Self {
        Self::ready(batch.schema(), vec![batch], Vec::new())
    }

    /// No columns and no rows.
    pub(crate) fn empty() -> Self {
        Self::ready(Arc::new(Schema::empty()), Vec::new(), Vec::new())
    }

    /// Runs the stream to its end and keeps the rows.
    pub(crate) async fn buffered(self) -> Result<Self, Error> {
        let schema = self.schema();
        let batches = self.rows.collect().await?;
        Ok(Self {
            rows: Rows::Ready(schema, batches),
            plan: self.plan,
            receipt: self.receipt,
            scans: self.scans,
            statement: None,
        })
    }

    /// The columns of the result.
    pub fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    /// Whether all rows are in memory, so that nothing has to be waited for.
    pub fn is_ready(&self) -> bool {
        matches!(self.rows, Rows::Ready(..))
    }

    /// The physical plan of a query; after the stream ended, with its metrics. None once the statement
    /// was cancelled or took too long.
    pub fn plan(&self) -> Option<Arc<dyn ExecutionPlan>> {
        self.plan.as_ref().and_then(|plan| plan.lock().clone())
    }

    /// What a write reached; none for queries and definitions.
    pub fn receipt(&self) -> Option<&WriteReceipt> {
        self.receipt.as_ref()
    }

    /// How rows were looked up without a plan, as text; none if there is a plan, or nothing was read.
    pub fn lookup(&self) -> Option<String> {
        let read = self.plan.is_none() && self.receipt.is_none();
        let scan = self.scans.first().filter(|_| read)?;
        Some(format!(
            "PointLookup: table={}, shards={}, rows={}",
            scan.table,
            scan.shards.len(),
            self.ready_rows()
        ))
    }

    pub(crate) fn ready_rows(&self) -> usize {
        match &self.rows {
            Rows::Stream(_) => 0,
            Rows::Ready(_, batches) => batches.iter().map(RecordBatch::num_rows).sum(),
        }
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

    /// The rows that are in memory already: all of them if [`is_ready`](Self::is_ready), none otherwise.
    pub fn into_ready(self) -> Vec<RecordBatch> {
        match self.rows {
            Rows::Stream(_) => Vec::new(),
            Rows::Ready(_, batches) => batches,
        }
    }

    /// The rows as they come.
    pub fn stream(self) -> SendableRecordBatchStream {
        self.rows.into_stream()
    }

    /// All rows.
    ///
    /// # Errors
    /// Whatever the query fails with after its first batch; `Unavailable` when the statement's time
    /// is up.
    pub async fn collect(self) -> Result<Vec<RecordBatch>, Error> {
        self.rows.collect().await
    }
}

/// A stream whose columns have the names that are shown.
fn shown_stream(stream: SendableRecordBatchStream) -> SendableRecordBatchStream {
    let Some(shown) = shown_schema(&stream.schema()) else {
        return stream;
    };
    let schema = Arc::clone(&shown);
    let batches = stream.map(move |batch| Ok(renamed(&batch?, &shown)?));
    Box::pin(RecordBatchStreamAdapter::new(schema, batches))
}

/// The same rows under other names.
fn renamed(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), batch.columns().to_vec(), &rows)
}

/// The schema of the answer to a write.
fn count_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let count = Field::new("count", DataType::UInt64, false);
        Arc::new(Schema::new(vec![count]))
    });
    Arc::clone(&SCHEMA)
}

/// Batches as a stream.
pub(crate) fn in_memory(schema: SchemaRef, batches: Vec<RecordBatch>) -> SendableRecordBatchStream {
    Box::pin(RecordBatchStreamAdapter::new(
        schema,
        stream::iter(batches).map(Ok),
    ))
}
