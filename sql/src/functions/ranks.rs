//! Ranks as numbers with a sign.
//!
//! DataFusion counts the places of rows without one, so that `- rank() OVER …` has no type, and `1 - rank() OVER …`
//! is a DECIMAL. Here they are BIGINT, as every other count.

use arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::expr::{WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawWindowExpr};
use datafusion::logical_expr::{Expr, WindowFunctionDefinition, cast};

/// The functions whose results have no sign.
const COUNTING: [&str; 4] = ["row_number", "rank", "dense_rank", "ntile"];

/// Casts what counts places.
#[derive(Debug)]
pub(super) struct Ranks;

impl ExprPlanner for Ranks {
    fn plan_window(&self, raw: RawWindowExpr) -> Result<PlannerResult<RawWindowExpr>> {
        let counts = matches!(&raw.func_def, WindowFunctionDefinition::WindowUDF(function)
            if COUNTING.contains(&function.name()));
        if !counts {
            return Ok(PlannerResult::Original(raw));
        }
        let window = WindowFunction {
            fun: raw.func_def,
            params: WindowFunctionParams {
                args: raw.args,
                partition_by: raw.partition_by,
                order_by: raw.order_by,
                window_frame: raw.window_frame,
                filter: raw.filter,
                null_treatment: raw.null_treatment,
                distinct: raw.distinct,
            },
        };
        let window = Expr::WindowFunction(Box::new(window));
        Ok(PlannerResult::Planned(cast(window, DataType::Int64)))
    }
}
