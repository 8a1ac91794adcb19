//! Functions and operators for texts that hold JSON.
//!
//! Idea: what looks into JSON is of `datafusion-functions-json`, and what makes it is here. The operators mean what
//! PostgreSQL's do: `->` gives JSON as text, whatever is there, and `->>` the plain text of it.
//! Non-goal: the crate's own `->`, whose values are a union of types that no client can read.

mod build;
mod length;
mod text;

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::sql::sqlparser::ast::BinaryOperator;
use datafusion_functions_json::{functions, udfs};

pub(super) use build::{AS_JSON, takes_json};

/// Registers functions and operators.
pub(super) fn register(session: &mut dyn FunctionRegistry) -> Result<()> {
    for function in [
        udfs::json_as_text_udf(),
        udfs::json_contains_udf(),
        udfs::json_from_scalar_udf(),
        udfs::json_get_udf(),
        udfs::json_get_array_udf(),
        udfs::json_get_bool_udf(),
        udfs::json_get_float_udf(),
        udfs::json_get_int_udf(),
        udfs::json_get_json_udf(),
        udfs::json_get_str_udf(),
        udfs::json_length_udf(),
        udfs::json_object_keys_udf(),
        udfs::json_union_to_text_udf(),
    ] {
        session.register_udf(function)?;
    }
    for plain in build::FUNCTIONS.into_iter().chain([length::ARRAY_LENGTH]) {
        session.register_udf(Arc::new(plain.function()))?;
    }
    session.register_expr_planner(Arc::new(JsonOperators))
}

/// Plans `->` and `->>`.
#[derive(Debug)]
struct JsonOperators;

impl ExprPlanner for JsonOperators {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        _schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let call = match expr.op {
            BinaryOperator::Arrow => functions::json_get_json,
            BinaryOperator::LongArrow => functions::json_as_text,
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let RawBinaryExpr { left, right, .. } = expr;
        Ok(PlannerResult::Planned(call(left, right)))
    }
}
