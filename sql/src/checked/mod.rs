//! Functions and operators that fail where DataFusion's give a wrong answer or take all memory.
//!
//! Purpose: `+`, `-`, `*` and `sum` of integers are errors when the result is out of range, where
//! DataFusion's wrap around; functions whose result grows with a number in their arguments say how
//! large it becomes before they make it.
//!
//! Invariant: every session that plans or runs plans has these, or a plan of one peer would not be
//! understood by another.

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
