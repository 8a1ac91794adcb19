//! Functions and operators that fail where DataFusion's give a wrong answer or take all memory.
//!
//! Purpose: `+`, `-`, `*` and `sum` of integers are errors when the result is out of range, where
//! DataFusion's wrap around; functions whose result grows with a number in their arguments say how
//! large it becomes before they make it.
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

mod arithmetic;
mod delimited;
mod growth;
mod sizes;
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
    Ok(())
}
