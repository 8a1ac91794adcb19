//! Windows whose rows wait for later ones.
//!
//! A window that cannot give a row yet asks for more input by calling itself: so many batches that wait, so many
//! calls deep. A large partition, or small batches, overflow the stack, which ends the process. An input that lets other
//! tasks run after some batches ends the calls, too.
//!
//! A window also joins the batches that wait, and gives parts of the whole. A part of a column of text (`Utf8View`)
//! keeps the buffers of the whole column alive, however few of its rows it has; so each batch that a window
//! gives names the buffers of all batches that waited, the window above joins those lists, and with each
//! level their number is multiplied by that of the batches: a minute for four levels over some hundred batches of three
//! rows. A sort counts each of those buffers for each batch, and finds that gigabytes are needed for some kilobytes of
//! text; of one batch with all rows, as some windows give, it makes many that share all of its text, and counts that
//! for each. [`CompactExec`] stands below each window, and each sort of what a window gave, and copies text that lies in
//! many buffers, or in buffers that are mostly of other rows, into one.
//!
//! For each batch, a window looks again for the end of the rows that are equal to the first that waits, and copies all
//! that wait: where most rows are equal, the time is that of their square. Such rows come in batches that double.
//! And a join of all rows with all gives a batch for each of some, which may be tiny; a sort asks each of its batches
//! for a row until all have one, which is a square as well. [`CompactExec`] makes batches of the usual size of them.
//!
//! And a window gives a row as soon as its frame is known to be whole. Of `RANGE BETWEEN 3 PRECEDING AND 1 PRECEDING` that
//! is said of every row, since what precedes has been seen; but the frame of a NULL is all NULLs, the later ones, too,
//! and so it is with an infinite or undefined float. Those frames are left to the window that reads all of its input first.
//!
//! Invariant: rows and their order are those of the plan before, or, for such frames, what SQL says. Non-goal: text
//! within lists and structs.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::logical_expr::{WindowFrameBound, WindowFrameUnits};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::window::{StandardWindowExpr, WindowExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{CrossJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{ExecutionPlan, InputOrderMode};

use super::compact::{CompactExec, is_view};
use super::forget::{ForgetExec, is_window};

type Plan = Arc<dyn ExecutionPlan>;

/// Lets the inputs of windows yield, and keeps their text together. See the module.
#[derive(Debug)]
pub(super) struct Yielding;

impl PhysicalOptimizerRule for Yielding {
    fn optimize(&self, plan: Plan, _config: &ConfigOptions) -> Result<Plan> {
        plan.transform_up(|node| {
            let node = match node.downcast_ref::<BoundedWindowAggExec>() {
                Some(window) if hurries(window)? => Transformed::yes(whole(window)?),
                _ => Transformed::no(node),
            };
            node.transform_data(yielding)?.transform_data(gathering)
        })
        .data()
    }

    fn name(&self) -> &str {
        "Yielding"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// A window whose input yields, and comes in batches that it can do with.
fn yielding(node: Plan) -> Result<Transformed<Plan>> {
    let [input] = node.children()[..] else {
        return Ok(Transformed::no(node));
    };
    if !is_window(&node) || input.is::<CooperativeExec>() {
        return Ok(Transformed::no(node));
    }
    let keys = match node.downcast_ref() {
        Some(window) => peers_of(window)?,
        None => Vec::new(),
    };
    let gathers = comes_from(input, &is_join_of_all);
    let wants = !keys.is_empty() || gathers || has_text(input);
    let mut input: Plan = Arc::new(CooperativeExec::new(Arc::clone(input)));
    if wants {
        // Many batches are taken at once below it, and many are made of one by it.
        input = CompactExec::above(input, keys, gathers);
        input = Arc::new(CooperativeExec::new(input));
    }
    replace_children_if_necessary(node, vec![input]).map(Transformed::yes)
}

/// What rows have in common that a window waits for together; nothing where it waits for none.
fn peers_of(window: &BoundedWindowAggExec) -> Result<Vec<Arc<dyn PhysicalExpr>>> {
    // All windows of a node have the same keys.
    let keys = match window.window_expr().first() {
        Some(first) if !first.order_by().is_empty() => {
            let orders = first.order_by().iter().map(|order| &order.expr);
            first.partition_by().iter().chain(orders)
        }
        _ => return Ok(Vec::new()),
    };
    for expr in window.window_expr() {
        if expr.get_window_frame().units != WindowFrameUnits::Rows && looks_at_frames(expr)? {
            return Ok(keys.cloned().collect());
        }
    }
    Ok(Vec::new())
}

/// Whether its values are those of the frame of a row; the number of a row is not.
fn looks_at_frames(expr: &Arc<dyn WindowExpr>) -> Result<bool> {
    match expr.as_any().downcast_ref::<StandardWindowExpr>() {
        Some(expr) => {
            let evaluator = expr.get_standard_func_expr().create_evaluator()?;
            Ok(evaluator.uses_window_frame())
        }
        None => Ok(true),
    }
}

/// A sort of what a window or a join gave, in batches that it can do with.
fn gathering(node: Plan) -> Result<Transformed<Plan>> {
    let Some(sort) = node.downcast_ref::<SortExec>() else {
        return Ok(Transformed::no(node));
    };
    let input = sort.input();
    let gathers = comes_from(input, &is_join_of_all);
    let shares_text = has_text(input) && comes_from(input, &is_window);
    if input.is::<CompactExec>() || !(gathers || shares_text) {
        return Ok(Transformed::no(node));
    }
    let input = CompactExec::above(Arc::clone(input), Vec::new(), gathers);
    replace_children_if_necessary(node, vec![input]).map(Transformed::yes)
}

fn has_text(plan: &Plan) -> bool {
    let fields = plan.schema();
    let mut fields = fields.fields().iter();
    fields.any(|field| is_view(field.data_type()))
}

/// Whether its batches may be tiny.
fn is_join_of_all(plan: &Plan) -> bool {
    plan.is::<CrossJoinExec>() || plan.is::<NestedLoopJoinExec>()
}

/// Whether its batches are those of such a node, or parts of them.
fn comes_from(plan: &Plan, is_such: &dyn Fn(&Plan) -> bool) -> bool {
    let handed_on = plan.is::<ProjectionExec>()
        || plan.is::<FilterExec>()
        || plan.is::<RepartitionExec>()
        || plan.is::<ForgetExec>()
        || plan.is::<CooperativeExec>();
    let below = || {
        let children = plan.children();
        children.iter().any(|child| comes_from(child, is_such))
    };
    is_such(plan) || handed_on && below()
}

/// Whether it may give rows of NULL before it has seen all that are in their frame.
fn hurries(window: &BoundedWindowAggExec) -> Result<bool> {
    if window.input_order_mode != InputOrderMode::Sorted {
        return Ok(false);
    }
    let schema = window.input().schema();
    for expr in window.window_expr() {
        let frame = expr.get_window_frame();
        let precedes = frame.units == WindowFrameUnits::Range
            && matches!(frame.end_bound, WindowFrameBound::Preceding(_));
        if let (true, Some(order)) = (precedes, expr.order_by().first())
            && (order.expr.nullable(&schema)? || order.expr.data_type(&schema)?.is_floating())
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The same window, which gives nothing before it has read everything.
fn whole(window: &BoundedWindowAggExec) -> Result<Plan> {
    let divides = !window.partition_keys().is_empty();
    let input = Arc::clone(window.input());
    let window = WindowAggExec::try_new(window.window_expr().to_vec(), input, divides)?;
    Ok(Arc::new(window))
}
