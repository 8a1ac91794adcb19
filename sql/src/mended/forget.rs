//! What is known of a part of a plan, and does not hold for what is made of it.
//!
//! In `t LEFT JOIN s ON t.a = s.a AND s.b = 5` column s.b is 5 where s is read, and 5 or NULL above the join.
//! DataFusion goes on to take it for a constant there: `ORDER BY s.b` sorts nothing, and ranks, groups
//! and merges that need its order are wrong. It also takes the rows of a hash join to be in the order of the probed
//! side and then of the other one, which they are only if the first order tells all rows apart.
//!
//! A column of a union that is 1 in one part and 2 in another is a constant to it as well, in each
//! partition; `ORDER BY` then leaves it out, and with a LIMIT, one part tells another that its rows come too late.
//!
//! [`Forget`] puts [`ForgetExec`] on a side, or a union, of which something is known that does not hold
//! above. It has the same rows, of whose values and order nothing is known. Invariant: what is above
//! knows only what holds for its rows. Non-goal: joins that need an order of their sides.

use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinType, Result, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{AcrossPartitions, ConstExpr, EquivalenceProperties, PhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::{CardinalityEffect, replace_children_if_necessary};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterDescription, FilterPushdownPhase, FilterPushdownPropagation,
};
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{
    ChildStats, ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan,
    ExecutionPlanProperties, PlanProperties, ReplaceChildrenOptions, StatisticsArgs,
};

use super::PhysicalRules;
use crate::one_input::{only_child, only_statistics};

type Plan = Arc<dyn ExecutionPlan>;

/// The rule before which this one runs: the first that asks what is sorted.
const BEFORE: &str = "EnsureRequirements";

/// Puts [`ForgetExec`] where it is needed. See the module.
#[derive(Debug)]
pub(super) struct Forget;

impl Forget {
    pub(super) fn insert_into(rules: &mut PhysicalRules) {
        let place = rules.iter().position(|rule| rule.name() == BEFORE);
        rules.insert(place.unwrap_or(rules.len()), Arc::new(Self));
    }
}

impl PhysicalOptimizerRule for Forget {
    fn optimize(&self, plan: Plan, _config: &ConfigOptions) -> Result<Plan> {
        plan.transform_up(|node| {
            if node.is::<UnionExec>() && differs_by_part(&node) {
                return Ok(Transformed::yes(ForgetExec::above(node)));
            }
            let Some((kind, streams)) = kind_of(&node) else {
                return Ok(Transformed::no(node));
            };
            let [left, right] = node.children()[..] else {
                return Ok(Transformed::no(node));
            };
            let (left_padded, right_padded) = padded(kind);
            // The order of the probed side is kept, and the other one's would follow.
            let follows = streams
                && matches!(kind, JoinType::Inner | JoinType::Right)
                && may_be_sorted(left)?
                && may_be_sorted(right)?;
            let forget_left = (left_padded && has_values(left)) || follows;
            let forget_right = right_padded && has_values(right);
            if !forget_left && !forget_right {
                return Ok(Transformed::no(node));
            }
            let children = [(left, forget_left), (right, forget_right)];
            let children = children.map(|(side, forget)| match forget {
                true => ForgetExec::above(Arc::clone(side)),
                false => Arc::clone(side),
            });
            replace_children_if_necessary(node, children.to_vec()).map(Transformed::yes)
        })
        .data()
    }

    fn name(&self) -> &str {
        "Forget"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Whether a column is constant in each partition, but not the same one.
fn differs_by_part(union: &Plan) -> bool {
    let constants = union.equivalence_properties().constants();
    let differs = |c: &ConstExpr| matches!(c.across_partitions, AcrossPartitions::Heterogeneous);
    constants.iter().any(differs)
}

/// The type of a join, and whether its rows come in the order of the right side.
fn kind_of(node: &Plan) -> Option<(JoinType, bool)> {
    if let Some(join) = node.downcast_ref::<HashJoinExec>() {
        return Some((*join.join_type(), true));
    }
    let join = node.downcast_ref::<NestedLoopJoinExec>()?;
    Some((*join.join_type(), false))
}

/// Which sides a join fills with NULLs.
fn padded(kind: JoinType) -> (bool, bool) {
    match kind {
        JoinType::Left => (false, true),
        JoinType::Right => (true, false),
        JoinType::Full => (true, true),
        _ => (false, false),
    }
}

/// Whether values are known that NULLs would not have: constants, and columns that are computed from others.
fn has_values(side: &Plan) -> bool {
    let properties = side.equivalence_properties();
    let computed = |expr: &Arc<dyn PhysicalExpr>| !expr.is::<Column>();
    !properties.constants().is_empty()
        || (properties.eq_group().iter()).any(|class| class.iter().any(computed))
}

/// Whether it has an order, or gets one when it is ensured.
fn may_be_sorted(side: &Plan) -> Result<bool> {
    if !side.equivalence_properties().oeq_class().is_empty() {
        return Ok(true);
    }
    side.exists(|node| {
        let sorts = node.is::<SortExec>()
            || node.is::<WindowAggExec>()
            || node.is::<BoundedWindowAggExec>();
        Ok(sorts)
    })
}

/// Its input's rows, of which nothing is known.
#[derive(Debug, Clone)]
pub struct ForgetExec {
    input: Plan,
    properties: Arc<PlanProperties>,
}

impl ForgetExec {
    /// Nothing is known above of the rows of a plan.
    pub fn above(input: Plan) -> Plan {
        let properties = PlanProperties::clone(input.properties())
            .with_eq_properties(EquivalenceProperties::new(input.schema()));
        Arc::new(Self {
            input,
            properties: Arc::new(properties),
        })
    }
}

impl DisplayAs for ForgetExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match format {
            DisplayFormatType::TreeRender => Ok(()),
            _ => write!(f, "ForgetExec"),
        }
    }
}

impl ExecutionPlan for ForgetExec {
    fn name(&self) -> &'static str {
        "ForgetExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false]
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
        Ok(Self::above(only_child(children, self.name())?))
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
        self.input.execute(partition, context)
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
