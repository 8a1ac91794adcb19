//! Windows that are ordered by what nothing is added to.
//!
//! The frame of a window reaches from its beginning to the last row that is equal to the current one, unless another is
//! written: `RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW`. DataFusion refuses that where the order is by TIME,
//! INTERVAL, BYTEA, STRUCT or MAP, to which it cannot add a distance, although there is none.
//!
//! Idea: without distances, `GROUPS` says the same. Invariant: frames with a distance, and other types, stay.

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, WindowFrame, WindowFrameBound, WindowFrameUnits,
};
use datafusion::optimizer::AnalyzerRule;

use crate::by_type::rewrite_by_type;

/// Frames that can be planned. See the module.
#[derive(Debug)]
pub(super) struct Frames;

impl AnalyzerRule for Frames {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        rewrite_by_type(plan, of_groups)
    }

    fn name(&self) -> &str {
        "frames"
    }
}

fn of_groups(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::WindowFunction(mut window) = expr else {
        return Ok(Transformed::no(expr));
    };
    let frame = &window.params.window_frame;
    let first = window.params.order_by.first();
    let kind = first.and_then(|order| order.expr.get_type(schema).ok());
    let is_free = has_no_distance(&frame.start_bound) && has_no_distance(&frame.end_bound);
    let changes = frame.units == WindowFrameUnits::Range
        && is_free
        && kind.is_some_and(|kind| has_no_sum(&kind));
    if changes {
        let (start, end) = (frame.start_bound.clone(), frame.end_bound.clone());
        window.params.window_frame = WindowFrame::new_bounds(WindowFrameUnits::Groups, start, end);
    }
    Ok(Transformed::new_transformed(
        Expr::WindowFunction(window),
        changes,
    ))
}

/// Whether a bound is the current row, or the end of the rows.
fn has_no_distance(bound: &WindowFrameBound) -> bool {
    match bound {
        WindowFrameBound::CurrentRow => true,
        WindowFrameBound::Preceding(distance) | WindowFrameBound::Following(distance) => {
            ScalarValue::is_null(distance)
        }
    }
}

/// Whether the planner adds no distance to values of a type.
fn has_no_sum(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Time32(_)
            | DataType::Time64(_)
            | DataType::Interval(_)
            | DataType::Duration(_)
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_)
            | DataType::Struct(_)
            | DataType::Map(..)
            | DataType::Union(..)
    )
}
