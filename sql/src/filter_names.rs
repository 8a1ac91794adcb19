//! Filters that are pushed down a physical plan, where names mislead.
//!
//! Purpose: DataFusion's rule finds a filter's columns in the node below by their names alone, so that
//! `a.c <> 3` above a projection of `a.c` and `b.c` becomes a filter of whichever `c` comes first, and
//! rows are lost or kept wrongly. The same happens where a node calls a column otherwise than its
//! input does: a semi-join that tells its key `x` to a side whose key is `y` and which has another
//! `x`, a union of `k, y` and `y, k`, a group that has the name of another column. [`push_filters`]
//! runs that rule on the parts of a plan between such nodes: nothing is pushed into one from above.
//!
//! Invariant: a plan without such nodes is DataFusion's own. Non-goal: pushing filters past them; the
//! logical plan, which tells tables apart, has been through that already.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinType, Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::filter_pushdown::FilterPushdown;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
};

type Plan = Arc<dyn ExecutionPlan>;

/// The first of DataFusion's two rules; `join_filter` is in the place of the other.
const INSTEAD_OF: &str = "FilterPushdown";

/// DataFusion's filter pushdown, between nodes whose columns share a name. See the module.
#[derive(Debug)]
pub(crate) struct NamedFilters(FilterPushdown);

impl NamedFilters {
    /// Puts this rule in the place of DataFusion's.
    pub(crate) fn replace_in(rules: &mut [Arc<dyn PhysicalOptimizerRule + Send + Sync>]) {
        for rule in rules {
            if rule.name() == INSTEAD_OF {
                *rule = Arc::new(Self(FilterPushdown::new()));
            }
        }
    }
}

impl PhysicalOptimizerRule for NamedFilters {
    fn optimize(&self, plan: Plan, config: &ConfigOptions) -> Result<Plan> {
        push_filters(&self.0, plan, config)
    }

    fn name(&self) -> &str {
        INSTEAD_OF
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Runs a rule on the parts of a plan, from the top down.
pub(crate) fn push_filters(
    rule: &FilterPushdown,
    plan: Plan,
    config: &ConfigOptions,
) -> Result<Plan> {
    let (top, cut) = cut_below(plan)?;
    let top = rule.optimize(top, config)?;
    if !cut {
        return Ok(top);
    }
    let whole = top.transform_down(|node| match node.downcast_ref::<Cut>() {
        Some(cut) => {
            let below = push_filters(rule, Arc::clone(&cut.0), config)?;
            Ok(Transformed::new(below, true, TreeNodeRecursion::Jump))
        }
        None => Ok(Transformed::no(node)),
    })?;
    Ok(whole.data)
}

/// The plan without what is below the first nodes whose names mislead; and whether any is.
fn cut_below(plan: Plan) -> Result<(Plan, bool)> {
    let mut any = false;
    let mut children = Vec::new();
    for child in plan.children() {
        let (child, cut) = match misleads(child) {
            true => (Arc::new(Cut(Arc::clone(child))) as Plan, true),
            false => cut_below(Arc::clone(child))?,
        };
        any |= cut;
        children.push(child);
    }
    match any {
        true => Ok((replace_children_if_necessary(plan, children)?, true)),
        false => Ok((plan, false)),
    }
}

/// Whether a filter of what this node gives may be taken for one of another column.
fn misleads(node: &Plan) -> bool {
    let schema = node.schema();
    if shares_names(&schema) {
        return true;
    }
    if node.is::<UnionExec>() {
        let names = |schema: &Schema| -> Vec<String> {
            let fields = schema.fields().iter();
            fields.map(|field| field.name().clone()).collect()
        };
        let own = names(&schema);
        let mut inputs = node.children().into_iter();
        return inputs.any(|input| names(&input.schema()) != own);
    }
    if let Some(groups) = node.downcast_ref::<AggregateExec>() {
        let input = groups.input().schema();
        let mut exprs = groups.group_expr().expr().iter();
        return exprs.any(|(expr, name)| is_another(expr, name, &input));
    }
    node.downcast_ref::<HashJoinExec>()
        .is_some_and(tells_another)
}

/// Whether a semi-join passes a filter of its key to another column of the side that it does not give.
fn tells_another(join: &HashJoinExec) -> bool {
    let (left, right) = (join.left().schema(), join.right().schema());
    let mut keys = join.on().iter();
    let another = |given: &Arc<dyn PhysicalExpr>, other, schema: &Schema| {
        let column = given.downcast_ref::<Column>();
        column.is_some_and(|column| is_another(other, column.name(), schema))
    };
    match join.join_type() {
        JoinType::LeftSemi => keys.any(|(given, other)| another(given, other, &right)),
        JoinType::RightSemi => keys.any(|(other, given)| another(given, other, &left)),
        _ => false,
    }
}

/// Whether the column of this name is another one than an expression.
fn is_another(expr: &Arc<dyn PhysicalExpr>, name: &str, schema: &Schema) -> bool {
    let is_it = |column: &Column| column.name() == name;
    schema.index_of(name).is_ok() && !expr.downcast_ref::<Column>().is_some_and(is_it)
}

fn shares_names(schema: &Schema) -> bool {
    let mut names = HashSet::new();
    !schema
        .fields()
        .iter()
        .all(|field| names.insert(field.name()))
}

/// A part of a plan that takes no filters, while the rest is looked at.
#[derive(Debug)]
struct Cut(Plan);

impl DisplayAs for Cut {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ExecutionPlan for Cut {
    fn name(&self) -> &'static str {
        "Cut"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.0.properties()
    }

    fn children(&self) -> Vec<&Plan> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _children: Vec<Plan>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Plan> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _children: Vec<Plan>) -> Result<Plan> {
        Ok(self)
    }

    fn execute(
        &self,
        _partition: usize,
        _context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        internal_err!("a plan was run before it was whole")
    }
}
