//! The leaf of every plan over a table.
//!
//! Purpose: [`ShardScan`] is a DataFusion `DataSource`: it carries a [`ScanRequest`] and the
//! [`ShardSource`] that answers it, and takes what the optimizer pushes down (projection, filters,
//! limits).
//!
//! Invariant: a filter that was accepted is checked for every row, unless an index has told that it
//! passes; a scan that already has a limit, or whose rows are counted, accepts no further filter,
//! because the limit would then cut before the filter. It never declares
//! a hash partitioning, even where its rows lie by shard: DataFusion takes any two of them for the
//! same hash function, and ours is another one (see `colocate`).
//!
//! Not here: reading rows; guessing how many (`scan_statistics`).

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Statistics, plan_datafusion_err};
use datafusion::datasource::source::{DataSource, DataSourceExec};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{
    BinaryExpr, Column, DynamicFilterPhysicalExpr, Literal,
};
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::utils::conjunction;
use datafusion::physical_expr::{
    AcrossPartitions, ConstExpr, EquivalenceProperties, Partitioning, PhysicalExpr,
    PhysicalSortExpr, split_conjunction,
};
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_plan::execution_plan::SchedulingType;
use datafusion::physical_plan::filter_pushdown::{FilterPushdownPropagation, PushedDown};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::projection::{all_alias_free_columns, new_projections_for_columns};
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan};
use futures::Stream;

use crate::cluster::{ScanRequest, ShardSource};
use crate::index_answer::IndexAnswer;
use crate::lookup::IndexMetrics;
use crate::scan_statistics;

/// A scan of one table: what to read, and from whom.
#[derive(Debug, Clone)]
pub struct ShardScan {
    request: ScanRequest,
    source: Arc<dyn ShardSource>,
    output: SchemaRef,
    metrics: ExecutionPlanMetricsSet,
}

impl ShardScan {
    /// A scan that answers `request` from `source`.
    ///
    /// # Errors
    /// When the projection names a column that the table does not have.
    pub fn new(request: ScanRequest, source: Arc<dyn ShardSource>) -> Result<Self> {
        let output = request.output_schema()?;
        Ok(Self {
            request,
            source,
            output,
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    /// What is read.
    pub fn request(&self) -> &ScanRequest {
        &self.request
    }

    /// Who answers.
    pub fn source(&self) -> &Arc<dyn ShardSource> {
        &self.source
    }

    /// The scan in a plan node, if the node is one.
    pub fn of(plan: &Arc<dyn ExecutionPlan>) -> Option<&ShardScan> {
        plan.downcast_ref::<DataSourceExec>()?
            .data_source()
            .downcast_ref::<ShardScan>()
    }

    /// The same scan, answered by another source.
    #[must_use]
    pub fn with_source(&self, source: Arc<dyn ShardSource>) -> ShardScan {
        Self {
            source,
            metrics: ExecutionPlanMetricsSet::new(),
            ..self.clone()
        }
    }

    /// The plan node that runs this scan.
    pub fn into_exec(self) -> Arc<dyn ExecutionPlan> {
        DataSourceExec::from_data_source(self)
    }

    /// A copy with another request and metrics of its own.
    fn with_request(&self, request: ScanRequest) -> Result<Self> {
        Self::new(request, Arc::clone(&self.source))
    }

    /// The same scan, which returns the first rows alone by an order of its output's columns; `None` if
    /// no index has them.
    pub(crate) fn with_first(
        &self,
        wanted: &[(usize, SortOptions)],
        rows: usize,
    ) -> Result<Option<Self>> {
        let request = &self.request;
        let column = |(place, options): &(usize, SortOptions)| {
            Some((*request.projection.get(*place)?, *options))
        };
        let Some(wanted) = wanted.iter().map(column).collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let predicate = request.predicate.as_ref();
        self.answered_by(IndexAnswer::firsts(&request.def, predicate, &wanted, rows))
    }

    /// The same scan, whose rows an index counts; `None` if none does, or columns are wanted.
    pub(crate) fn counted(&self) -> Result<Option<Self>> {
        match &self.request.predicate {
            Some(predicate) if self.request.projection.is_empty() => {
                self.answered_by(IndexAnswer::counts(&self.request.def, predicate))
            }
            _ => Ok(None),
        }
    }

    /// The same scan with the first of some answers that the source takes.
    fn answered_by(&self, answers: Vec<IndexAnswer>) -> Result<Option<Self>> {
        if self.request.fetch.is_some() || self.request.answer.is_some() {
            return Ok(None);
        }
        let mut answers = answers.into_iter();
        let Some(answer) = answers.find(|answer| self.source.takes(answer)) else {
            return Ok(None);
        };
        let request = ScanRequest {
            answer: Some(Arc::new(answer)),
            ..self.request.clone()
        };
        self.with_request(request).map(Some)
    }

    /// Rewrites a filter over the output columns into one over the table's columns.
    fn to_table_columns(&self, filter: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        let request = &self.request;
        filter
            .transform_down(|expr| {
                let Some(column) = expr.downcast_ref::<Column>() else {
                    return Ok(Transformed::no(expr));
                };
                let index = *request.projection.get(column.index()).ok_or_else(|| {
                    plan_datafusion_err!("the scan of {} has no column {column}", request.def.name)
                })?;
                let name = request.schema.field(index).name();
                Ok(Transformed::yes(
                    Arc::new(Column::new(name, index)) as Arc<dyn PhysicalExpr>
                ))
            })
            .map(|transformed| transformed.data)
    }

    /// The column of the output that holds a column of the table.
    fn output_column(&self, table_column: usize) -> Option<Arc<dyn PhysicalExpr>> {
        let index = self
            .request
            .projection
            .iter()
            .position(|c| *c == table_column)?;
        let name = self.output.field(index).name();
        Some(Arc::new(Column::new(name, index)))
    }

    /// The primary key as far as it is in the output, if the rows come in its order.
    fn ordering(&self) -> Option<Vec<PhysicalSortExpr>> {
        if !self.source.layout().ordered {
            return None;
        }
        let key = self.request.def.primary_key.iter();
        let columns = key.map_while(|column| self.output_column(*column));
        // Keys are never NULL, so that it does not matter where NULLs go.
        let options = SortOptions::new(false, false);
        Some(
            columns
                .map(|column| PhysicalSortExpr::new(column, options))
                .collect(),
        )
    }

    /// Columns of the output that the predicate compares with one literal.
    fn constants(&self) -> Vec<ConstExpr> {
        let mut constants = Vec::new();
        for condition in self.request.predicate.iter().flat_map(split_conjunction) {
            if let Some(binary) = condition.downcast_ref::<BinaryExpr>()
                && *binary.op() == Operator::Eq
                && let Some(column) = binary.left().downcast_ref::<Column>()
                && let Some(value) = binary.right().downcast_ref::<Literal>()
                && let Some(column) = self.output_column(column.index())
            {
                let value = Some(value.value().clone());
                constants.push(ConstExpr::new(column, AcrossPartitions::Uniform(value)));
            }
        }
        constants
    }

    fn names_of_projection(&self) -> String {
        let names: Vec<&str> = self
            .output
            .fields()
            .iter()
            .map(|f| f.name().as_str())
            .collect();
        names.join(", ")
    }

    fn peers(&self) -> usize {
        let mut peers: Vec<&str> = self
            .source
            .shards()
            .iter()
            .map(|s| s.holder.as_str())
            .collect();
        peers.sort_unstable();
        peers.dedup();
        peers.len()
    }
}

impl DataSource for ShardScan {
    fn open(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let timer = metrics.elapsed_compute().clone();
        let opened = {
            let _running = timer.timer();
            let indexes = IndexMetrics::new(&self.metrics, partition);
            self.source
                .open_counted(partition, &self.request, &context, &indexes)?
        };
        Ok(Box::pin(Metered {
            inner: opened,
            metrics,
        }))
    }

    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let request = &self.request;
        let shards = self.source.shards().len();
        if matches!(format, DisplayFormatType::TreeRender) {
            writeln!(f, "table={}", request.def.name)?;
            writeln!(f, "shards={shards}")?;
            if let Some(predicate) = &request.predicate {
                writeln!(f, "predicate={predicate}")?;
            }
            return Ok(());
        }
        write!(
            f,
            "ShardScan: table={}, shards={shards}, peers={}, projection=[{}]",
            request.def.name,
            self.peers(),
            self.names_of_projection()
        )?;
        if let Some(predicate) = &request.predicate {
            write!(f, ", predicate={predicate}")?;
        }
        if let Some(answer) = &request.answer {
            write!(f, ", {answer}")?;
        } else if let Some(index) = self.source.index_of(request) {
            write!(f, ", index={index}")?;
        }
        match request.fetch {
            Some(fetch) => write!(f, ", fetch={fetch}"),
            None => Ok(()),
        }
    }

    fn output_partitioning(&self) -> Partitioning {
        Partitioning::UnknownPartitioning(self.source.partitions().max(1))
    }

    fn eq_properties(&self) -> EquivalenceProperties {
        let mut properties =
            EquivalenceProperties::new_with_orderings(Arc::clone(&self.output), self.ordering());
        if let Err(error) = properties.add_constants(self.constants()) {
            tracing::debug!(%error, "a scan declares no constants");
        }
        properties
    }

    fn scheduling_type(&self) -> SchedulingType {
        SchedulingType::NonCooperative
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        let statistics = scan_statistics::estimate(&self.request, self.source.as_ref(), partition)?;
        Ok(Arc::new(statistics))
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn DataSource>> {
        let request = ScanRequest {
            fetch: limit,
            ..self.request.clone()
        };
        Some(Arc::new(self.with_request(request).ok()?))
    }

    fn fetch(&self) -> Option<usize> {
        self.request.fetch
    }

    fn metrics(&self) -> ExecutionPlanMetricsSet {
        self.metrics.clone()
    }

    fn try_swapping_with_projection(
        &self,
        projection: &ProjectionExprs,
    ) -> Result<Option<Arc<dyn DataSource>>> {
        let exprs: Vec<_> = projection.iter().cloned().collect();
        if !all_alias_free_columns(&exprs) {
            return Ok(None);
        }
        let projection = new_projections_for_columns(&exprs, &self.request.projection);
        let request = ScanRequest {
            projection,
            ..self.request.clone()
        };
        Ok(Some(Arc::new(self.with_request(request)?)))
    }

    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        _config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn DataSource>>> {
        let mut answers = Vec::with_capacity(filters.len());
        let mut accepted: Vec<Arc<dyn PhysicalExpr>> =
            self.request.predicate.iter().cloned().collect();
        let before = accepted.len();
        let counted = self.request.answer.as_ref().is_some_and(|a| a.is_count());
        for filter in filters {
            let stays = is_volatile(&filter) || has_nested_keys(&filter);
            if self.request.fetch.is_some() || counted || stays {
                answers.push(PushedDown::No);
                continue;
            }
            accepted.push(self.to_table_columns(filter)?);
            answers.push(PushedDown::Yes);
        }
        let result = FilterPushdownPropagation::with_parent_pushdown_result(answers);
        if accepted.len() == before {
            return Ok(result);
        }
        let request = ScanRequest {
            predicate: Some(conjunction(accepted)),
            ..self.request.clone()
        };
        let updated: Arc<dyn DataSource> = Arc::new(self.with_request(request)?);
        Ok(result.with_updated_node(updated))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        match &self.request.predicate {
            Some(predicate) => f(predicate),
            None => Ok(TreeNodeRecursion::Continue),
        }
    }

    fn with_new_state(&self, _state: Arc<dyn Any + Send + Sync>) -> Option<Arc<dyn DataSource>> {
        None
    }
}

/// Whether a filter that is filled in later asks for something, and for a part of it: `ORDER BY a + b, a`. When it is
/// handed over, the part is put in its new place first; what it is a part of is not found any more then, and its other
/// columns stay where they were.
fn has_nested_keys(filter: &Arc<dyn PhysicalExpr>) -> bool {
    if !filter.is::<DynamicFilterPhysicalExpr>() {
        return false;
    }
    let keys = filter.children();
    let is_within = |part: &Arc<dyn PhysicalExpr>, whole: &Arc<dyn PhysicalExpr>| {
        let found = whole.exists(|inner| Ok(inner == part));
        !Arc::ptr_eq(part, whole) && part != whole && found.unwrap_or(true)
    };
    keys.iter()
        .any(|part| keys.iter().any(|whole| is_within(part, whole)))
}

/// Counts rows and time of a source's stream.
struct Metered {
    inner: SendableRecordBatchStream,
    metrics: BaselineMetrics,
}

impl Stream for Metered {
    type Item = Result<RecordBatch, DataFusionError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let timer = self.metrics.elapsed_compute().clone();
        let poll = {
            let _running = timer.timer();
            self.inner.as_mut().poll_next(cx)
        };
        self.metrics.record_poll(poll)
    }
}

impl RecordBatchStream for Metered {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }
}
