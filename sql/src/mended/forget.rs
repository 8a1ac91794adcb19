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
//! A window's count of a frame that slides is increasing to it, as long as the rows come in the order of what is counted.
//! It is not where frames are made of peers, or NULLs come at the end. `ORDER BY` of such a count then sorts nothing,
//! and with a LIMIT rows are not looked at.
//!
//! A sort of which the first rows are wanted is moved below windows whose order it gives, too, and takes the others away
//! from them: `count(*) OVER ()` then counts the first rows. It stays above unless the rows come in its order already.
//!
//! [`Forget`] puts [`ForgetExec`] on a side, a union or a window of which something is known that does not hold
//! above. It has the same rows, of whose values and order nothing is known. Invariant: what is above
//! knows only what holds for its rows. Non-goal: joins that need an order of their sides.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{JoinType, Result};
use datafusion::logical_expr::SetMonotonicity;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::window::{SlidingAggregateWindowExpr, WindowExpr};
use datafusion::physical_expr::{AcrossPartitions, ConstExpr, EquivalenceProperties, PhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, PlanProperties};

use super::PhysicalRules;
use crate::pass_through::{Manner, PassThrough};

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
            if let Some(sort) = node.downcast_ref::<SortExec>()
                && takes_from_windows(sort)
            {
                let below = ForgetExec::above(Arc::clone(sort.input()));
                return replace_children_if_necessary(node, vec![below]).map(Transformed::yes);
            }
            if slides(&node) {
                return Ok(Transformed::yes(ForgetExec::above_window(node)));
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

/// Whether a sort gives the first rows alone, and is above a window that does not want them in its order.
fn takes_from_windows(sort: &SortExec) -> bool {
    if sort.fetch().is_none() {
        return false;
    }
    let mut below = sort.input();
    loop {
        if is_window(below) && !wants_order_of(below, sort) {
            return true;
        }
        let [input] = below.children()[..] else {
            return false;
        };
        below = input;
    }
}

/// Whether a window wants its rows in an order that begins with that of a sort.
fn wants_order_of(window: &Plan, sort: &SortExec) -> bool {
    let Some(Some(wanted)) = window.required_input_ordering().into_iter().next() else {
        return false;
    };
    let wanted = wanted.into_single();
    let orders = sort.expr();
    // Projections between the two move columns, and leave their names.
    let name = |expr: &Arc<dyn PhysicalExpr>| {
        let column = expr.downcast_ref::<Column>();
        column.map(|column| column.name().to_owned())
    };
    orders.len() <= wanted.len()
        && orders.iter().zip(wanted.iter()).all(|(order, wanted)| {
            name(&order.expr).is_some()
                && name(&order.expr) == name(&wanted.expr)
                && wanted.options == Some(order.options)
        })
}

/// Whether a window's frame loses rows, of which DataFusion concludes an order of its values.
fn slides(node: &Plan) -> bool {
    let exprs = if let Some(window) = node.downcast_ref::<BoundedWindowAggExec>() {
        window.window_expr()
    } else if let Some(window) = node.downcast_ref::<WindowAggExec>() {
        window.window_expr()
    } else {
        return false;
    };
    exprs.iter().any(|expr| {
        let sliding = expr.as_any().downcast_ref::<SlidingAggregateWindowExpr>();
        sliding.is_some_and(|expr| {
            let frame = expr.get_window_frame();
            let concluded = frame.is_causal() || frame.end_bound.is_unbounded();
            let monotonic = expr.get_aggregate_expr().set_monotonicity();
            concluded && monotonic != SetMonotonicity::NotMonotonic
        })
    })
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
    side.exists(|node| Ok(node.is::<SortExec>() || is_window(node)))
}

/// Its input's rows, of which nothing is known.
pub type ForgetExec = PassThrough<Forgetting>;

/// What a [`ForgetExec`] forgets.
#[derive(Debug, Clone)]
pub enum Forgetting {
    /// Everything.
    All,
    /// What is known of the columns that a window adds.
    Added,
}

impl Manner for Forgetting {
    const NAME: &'static str = "ForgetExec";

    /// Otherwise a sort would be moved to where what is known of the columns is wrong.
    fn keeps_order(&self) -> bool {
        false
    }

    fn properties(&self, input: &Plan) -> Arc<PlanProperties> {
        let mut known = EquivalenceProperties::new(input.schema());
        if let (Self::Added, [rows]) = (self, &input.children()[..])
            && is_window(input)
            // What cannot be said of more columns is forgotten, too.
            && let Ok(more) = known.clone().extend(rows.equivalence_properties().clone())
        {
            known = more;
        }
        Arc::new(PlanProperties::clone(input.properties()).with_eq_properties(known))
    }
}

pub(super) fn is_window(plan: &Plan) -> bool {
    plan.is::<BoundedWindowAggExec>() || plan.is::<WindowAggExec>()
}

impl ForgetExec {
    /// Nothing is known above of the rows of a plan.
    pub fn above(input: Plan) -> Plan {
        Arc::new(Self::new(input, Forgetting::All))
    }

    /// Nothing is known above of the columns that a window adds.
    pub fn above_window(input: Plan) -> Plan {
        Arc::new(Self::new(input, Forgetting::Added))
    }

    /// Whether something is still known of the rows of a window.
    pub fn is_above_window(&self) -> bool {
        matches!(self.manner(), Forgetting::Added)
    }
}
