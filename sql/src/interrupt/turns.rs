//! A node that hands its input on, and lets others run now and then.

use std::cell::Cell;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::Statistics;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::{
    ChildStats, ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan,
    PlanProperties, ReplaceChildrenOptions, StatisticsArgs,
};
use futures::{Stream, StreamExt};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

use super::{Ending, Plan, TURN};
use crate::error::error_to_datafusion;
use crate::one_input::{only_child, only_statistics};

thread_local! {
    /// When the join that this thread polls just now was polled.
    static POLLED: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Does a part of the work of a poll. Once the poll has lasted for a turn, the other tasks of this
/// thread are given to another one meanwhile; they do not come back, so that this costs little from
/// then on.
pub(super) fn apart_if_long<T>(work: impl FnOnce() -> T) -> T {
    let is_long = POLLED.get().is_some_and(|polled| polled.elapsed() > TURN);
    // Elsewhere there is no other thread, and it panics.
    let flavor = |handle: Handle| handle.runtime_flavor();
    match is_long && Handle::try_current().map(flavor).ok() == Some(RuntimeFlavor::MultiThread) {
        true => block_in_place(work),
        false => work(),
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct TurnsExec {
    input: Plan,
    ending: Ending,
}

impl TurnsExec {
    pub(super) fn new(input: Plan, ending: Ending) -> Self {
        Self { input, ending }
    }
}

impl DisplayAs for TurnsExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match format {
            DisplayFormatType::TreeRender => Ok(()),
            _ => write!(f, "TurnsExec"),
        }
    }
}

impl ExecutionPlan for TurnsExec {
    fn name(&self) -> &'static str {
        "TurnsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Plan> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Plan>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Plan> {
        let input = only_child(children, self.name())?;
        Ok(Arc::new(Self::new(input, self.ending.clone())))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Plan>) -> Result<Plan> {
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, options)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        Ok(Box::pin(Turns {
            rows: self.input.execute(partition, context)?,
            ending: self.ending.clone(),
            began: None,
        }))
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        only_statistics(inputs, self.name())
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }
}

/// The rows of a join.
struct Turns {
    rows: SendableRecordBatchStream,
    ending: Ending,
    /// When it was first polled since others ran.
    began: Option<Instant>,
}

impl Stream for Turns {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Err(error) = self.ending.check() {
            return Poll::Ready(Some(Err(error_to_datafusion(error))));
        }
        let now = Instant::now();
        if now.duration_since(*self.began.get_or_insert(now)) > TURN {
            self.began = None;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        // Joins poll joins.
        let outer = POLLED.replace(Some(now));
        let polled = self.rows.poll_next_unpin(cx);
        POLLED.set(outer);
        if polled.is_pending() {
            self.began = None;
        }
        polled
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.rows.size_hint()
    }
}

impl RecordBatchStream for Turns {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }
}
