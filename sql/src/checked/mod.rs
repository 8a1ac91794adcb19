//! Functions and operators that fail where DataFusion's give a wrong answer or take all memory.
//!
//! Purpose: `+`, `-`, `*` and `sum` of integers are errors when the result is out of range, where
//! DataFusion's wrap around; functions whose result grows with a number in their arguments say how
//! large it becomes before they make it; aggregates over frames whose start moves are those of the frame's rows
//! alone, and `percentile_cont` is exact.
//!
//! Invariant: every session that plans or runs plans has these, or a plan of one peer would not be
//! understood by another.

/// What a function that stands in the place of its field `inner` has in common with that.
macro_rules! as_inner {
    () => {
        fn name(&self) -> &str {
            self.inner.name()
        }

        fn aliases(&self) -> &[String] {
            self.inner.aliases()
        }

        fn signature(&self) -> &datafusion::logical_expr::Signature {
            self.inner.signature()
        }

        fn return_type(
            &self,
            arg_types: &[arrow::datatypes::DataType],
        ) -> datafusion::error::Result<arrow::datatypes::DataType> {
            self.inner.return_type(arg_types)
        }

        fn return_field_from_args(
            &self,
            args: datafusion::logical_expr::ReturnFieldArgs<'_>,
        ) -> datafusion::error::Result<arrow::datatypes::FieldRef> {
            self.inner.return_field_from_args(args)
        }

        fn is_strict(&self) -> bool {
            self.inner.inner().is_strict()
        }
    };
}
pub(crate) use as_inner;

/// What an aggregate that stands in the place of its field `inner` has in common with that: all but how it is computed.
macro_rules! as_inner_aggregate {
    () => {
        fn name(&self) -> &str {
            self.inner.name()
        }

        fn aliases(&self) -> &[String] {
            self.inner.aliases()
        }

        fn schema_name(
            &self,
            params: &datafusion::logical_expr::expr::AggregateFunctionParams,
        ) -> datafusion::error::Result<String> {
            self.inner.schema_name(params)
        }

        fn human_display(
            &self,
            params: &datafusion::logical_expr::expr::AggregateFunctionParams,
        ) -> datafusion::error::Result<String> {
            self.inner.human_display(params)
        }

        fn window_function_schema_name(
            &self,
            params: &datafusion::logical_expr::expr::WindowFunctionParams,
        ) -> datafusion::error::Result<String> {
            self.inner.window_function_schema_name(params)
        }

        fn display_name(
            &self,
            params: &datafusion::logical_expr::expr::AggregateFunctionParams,
        ) -> datafusion::error::Result<String> {
            self.inner.display_name(params)
        }

        fn window_function_display_name(
            &self,
            params: &datafusion::logical_expr::expr::WindowFunctionParams,
        ) -> datafusion::error::Result<String> {
            self.inner.window_function_display_name(params)
        }

        fn signature(&self) -> &datafusion::logical_expr::Signature {
            self.inner.signature()
        }

        fn return_type(
            &self,
            arg_types: &[arrow::datatypes::DataType],
        ) -> datafusion::error::Result<arrow::datatypes::DataType> {
            self.inner.return_type(arg_types)
        }

        fn return_field(
            &self,
            arg_fields: &[arrow::datatypes::FieldRef],
        ) -> datafusion::error::Result<arrow::datatypes::FieldRef> {
            self.inner.return_field(arg_fields)
        }

        fn is_nullable(&self) -> bool {
            self.inner.is_nullable()
        }

        fn state_fields(
            &self,
            args: datafusion::logical_expr::function::StateFieldsArgs<'_>,
        ) -> datafusion::error::Result<Vec<arrow::datatypes::FieldRef>> {
            self.inner.state_fields(args)
        }

        fn with_beneficial_ordering(
            self: std::sync::Arc<Self>,
            beneficial_ordering: bool,
        ) -> datafusion::error::Result<
            Option<std::sync::Arc<dyn datafusion::logical_expr::AggregateUDFImpl>>,
        > {
            let inner = (*self.inner).clone();
            let inner = inner.with_beneficial_ordering(beneficial_ordering)?;
            Ok(inner.map(|inner| {
                std::sync::Arc::new(Self::new(std::sync::Arc::new(inner)))
                    as std::sync::Arc<dyn datafusion::logical_expr::AggregateUDFImpl>
            }))
        }

        fn order_sensitivity(&self) -> datafusion::logical_expr::utils::AggregateOrderSensitivity {
            self.inner.order_sensitivity()
        }

        fn simplify(
            &self,
        ) -> Option<datafusion::logical_expr::function::AggregateFunctionSimplification> {
            self.inner.simplify()
        }

        fn simplify_expr_op_literal(
            &self,
            agg_function: &datafusion::logical_expr::expr::AggregateFunction,
            arg: &datafusion::logical_expr::Expr,
            op: datafusion::logical_expr::Operator,
            lit: &datafusion::logical_expr::Expr,
            arg_is_left: bool,
        ) -> datafusion::error::Result<Option<datafusion::logical_expr::Expr>> {
            self.inner
                .simplify_expr_op_literal(agg_function, arg, op, lit, arg_is_left)
        }

        fn reverse_expr(&self) -> datafusion::logical_expr::ReversedUDAF {
            use datafusion::logical_expr::{AggregateUDF, ReversedUDAF};
            match self.inner.reverse_udf() {
                ReversedUDAF::Reversed(inner) => {
                    let ours = AggregateUDF::new_from_impl(Self::new(inner));
                    ReversedUDAF::Reversed(std::sync::Arc::new(ours))
                }
                other => other,
            }
        }

        fn coerce_types(
            &self,
            arg_types: &[arrow::datatypes::DataType],
        ) -> datafusion::error::Result<Vec<arrow::datatypes::DataType>> {
            self.inner.coerce_types(arg_types)
        }

        fn is_descending(&self) -> Option<bool> {
            self.inner.is_descending()
        }

        fn value_from_stats(
            &self,
            statistics_args: &datafusion::logical_expr::StatisticsArgs<'_>,
        ) -> Option<datafusion::common::ScalarValue> {
            self.inner.value_from_stats(statistics_args)
        }

        fn default_value(
            &self,
            data_type: &arrow::datatypes::DataType,
        ) -> datafusion::error::Result<datafusion::common::ScalarValue> {
            self.inner.default_value(data_type)
        }

        fn supports_null_handling_clause(&self) -> bool {
            self.inner.supports_null_handling_clause()
        }

        fn supports_within_group_clause(&self) -> bool {
            self.inner.supports_within_group_clause()
        }

        fn documentation(&self) -> Option<&datafusion::logical_expr::Documentation> {
            self.inner.documentation()
        }

        fn set_monotonicity(
            &self,
            data_type: &arrow::datatypes::DataType,
        ) -> datafusion::logical_expr::SetMonotonicity {
            self.inner.inner().set_monotonicity(data_type)
        }
    };
}

mod arithmetic;
mod delimited;
mod growth;
mod moments;
mod percentile;
mod sizes;
mod sliding;
mod sum;

use std::sync::Arc;

pub(crate) use arithmetic::{CheckedArithmetic, checked_arithmetic};
use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};

/// Gives a session the checked functions, some of which take the place of DataFusion's.
///
/// # Errors
/// When the registry takes no functions.
pub fn register_checked(registry: &mut dyn FunctionRegistry) -> Result<()> {
    for function in arithmetic::functions() {
        registry.register_udf(Arc::new(function))?;
    }
    for (name, growth) in growth::GROWING {
        // A registry without the function has nothing to be careful with.
        if let Ok(inner) = registry.udf(name) {
            let bounded = growth::Bounded::new(inner, growth);
            registry.register_udf(Arc::new(ScalarUDF::new_from_impl(bounded)))?;
        }
    }
    if let Ok(inner) = registry.udaf(sum::NAME) {
        let checked = sum::CheckedSum::new(inner);
        registry.register_udaf(Arc::new(AggregateUDF::new_from_impl(checked)))?;
    }
    if let Ok(inner) = registry.udaf(delimited::NAME) {
        let checked = delimited::Delimited::new(inner);
        registry.register_udaf(Arc::new(AggregateUDF::new_from_impl(checked)))?;
    }
    if let Ok(inner) = registry.udaf(percentile::NAME) {
        let exact = percentile::Percentile::new(inner);
        registry.register_udaf(Arc::new(AggregateUDF::new_from_impl(exact)))?;
    }
    for name in sliding::NAMES {
        if let Ok(inner) = registry.udaf(name) {
            let sliding = sliding::Sliding::new(inner);
            registry.register_udaf(Arc::new(AggregateUDF::new_from_impl(sliding)))?;
        }
    }
    Ok(())
}
