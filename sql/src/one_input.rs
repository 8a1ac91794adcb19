//! What nodes have in common that hand the rows of their one input on as they are.

use std::sync::Arc;

use datafusion::common::{Result, Statistics, internal_err};
use datafusion::physical_plan::ExecutionPlan;

type Plan = Arc<dyn ExecutionPlan>;

/// The one child among new children.
///
/// # Errors
/// `Internal` when there are none or several.
pub(crate) fn only_child(mut children: Vec<Plan>, name: &str) -> Result<Plan> {
    match (children.pop(), children.is_empty()) {
        (Some(input), true) => Ok(input),
        _ => internal_err!("{name} has one input"),
    }
}

/// The statistics of the one input.
///
/// # Errors
/// `Internal` when there are none or several.
pub(crate) fn only_statistics(inputs: &[Arc<Statistics>], name: &str) -> Result<Arc<Statistics>> {
    match inputs {
        [input] => Ok(Arc::clone(input)),
        _ => internal_err!("{name} has one input"),
    }
}
