//! Nodes that hand on the rows of their one input.
//!
//! Such a node changes when rows come, how they are held, or what is known of them, and nothing else.
//! [`PassThrough`] is what they have in common; a [`Manner`] is what one of them does.
//!
//! Invariant: rows and their partitions are those of the input. Their order is, too, unless the manner forgets it.
//! Filters and limits may be moved below.

use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterDescription, FilterPushdownPhase, FilterPushdownPropagation,
};
use datafusion::physical_plan::{
    ChildStats, ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan,
    PlanProperties, ReplaceChildrenOptions, StatisticsArgs,
};

type Plan = Arc<dyn ExecutionPlan>;

/// What a node does that hands rows on.
pub trait Manner: fmt::Debug + Clone + Send + Sync + 'static {
    /// The name of the node.
    const NAME: &'static str;

    /// Whether what is known of the input's order is known of the output.
    fn keeps_order(&self) -> bool {
        true
    }

    /// What is known of the rows.
    fn properties(&self, input: &Plan) -> Arc<PlanProperties> {
        Arc::clone(input.properties())
    }

    /// The expressions that the node holds.
    fn expressions(&self) -> &[Arc<dyn PhysicalExpr>] {
        &[]
    }

    /// What is shown behind the name.
    fn details(&self, _properties: &PlanProperties) -> Option<String> {
        None
    }

    /// The rows of one partition.
    ///
    /// # Errors
    /// Those of the input.
    fn execute(
        &self,
        input: &Plan,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        input.execute(partition, context)
    }
}

/// A node that hands rows on in some manner. See the module.
#[derive(Debug, Clone)]
pub struct PassThrough<M> {
    input: Plan,
    manner: M,
    properties: Arc<PlanProperties>,
}

impl<M: Manner> PassThrough<M> {
    /// A node above `input`.
    pub(crate) fn new(input: Plan, manner: M) -> Self {
        Self {
            properties: manner.properties(&input),
            input,
            manner,
        }
    }

    pub(crate) fn input(&self) -> &Plan {
        &self.input
    }

    pub(crate) fn manner(&self) -> &M {
        &self.manner
    }
}

impl<M: Manner> DisplayAs for PassThrough<M> {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (format, self.manner.details(&self.properties)) {
            (DisplayFormatType::TreeRender, None) => Ok(()),
            (DisplayFormatType::TreeRender, Some(details)) => writeln!(f, "{details}"),
            (_, None) => f.write_str(M::NAME),
            (_, Some(details)) => write!(f, "{}: {details}", M::NAME),
        }
    }
}

impl<M: Manner> ExecutionPlan for PassThrough<M> {
    fn name(&self) -> &'static str {
        M::NAME
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![self.manner.keeps_order()]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Plan> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let mut next = TreeNodeRecursion::Continue;
        for expression in self.manner.expressions() {
            next = f(expression)?;
            if next == TreeNodeRecursion::Stop {
                break;
            }
        }
        Ok(next)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Plan>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Plan> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(Self::new(input, self.manner.clone()))),
            _ => internal_err!("{} has one input", M::NAME),
        }
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
        self.manner.execute(&self.input, partition, context)
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        match inputs {
            [input] => Ok(Arc::clone(input)),
            _ => internal_err!("{} has one input", M::NAME),
        }
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    fn gather_filters_for_pushdown(
        &self,
        _phase: FilterPushdownPhase,
        parent_filters: Vec<Arc<dyn PhysicalExpr>>,
        _config: &ConfigOptions,
    ) -> Result<FilterDescription> {
        FilterDescription::from_children(parent_filters, &self.children())
    }

    fn handle_child_pushdown_result(
        &self,
        _phase: FilterPushdownPhase,
        result: ChildPushdownResult,
        _config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Plan>> {
        Ok(FilterPushdownPropagation::if_all(result))
    }
}
