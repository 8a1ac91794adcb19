//! Unions whose parts name their columns differently.
//!
//! The columns of a union are called what its first part calls them. DataFusion flattens unions, and takes out
//! parts that are known to be empty; it then asks for columns by these names where another part has others, as in
//! `SELECT a FROM t WHERE FALSE UNION ALL SELECT b FROM t`, and fails. [`NamedAlike`] gives all parts the same
//! names before.
//!
//! Invariant: a union and its parts name their columns alike. Non-goal: parts with two columns of one
//! name, which cannot be told apart.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Union};
use datafusion::optimizer::AnalyzerRule;

/// Names the columns of all parts alike. See the module.
#[derive(Debug)]
pub(super) struct NamedAlike;

impl AnalyzerRule for NamedAlike {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| {
            let LogicalPlan::Union(Union { inputs, schema }) = node else {
                return Ok(Transformed::no(node));
            };
            let inputs = inputs.into_iter().map(|input| named(input, &schema));
            let inputs = inputs.collect::<Result<_>>()?;
            let union = LogicalPlan::Union(Union { inputs, schema });
            Ok(Transformed::yes(union))
        })
        .data()
    }

    fn name(&self) -> &str {
        "named_alike"
    }
}

/// An input of a union, with the names of the union.
fn named(input: Arc<LogicalPlan>, union: &DFSchema) -> Result<Arc<LogicalPlan>> {
    let columns = input.schema().columns();
    let told_apart = columns.iter().collect::<HashSet<_>>().len() == columns.len();
    let mut names = columns.iter().zip(union.fields());
    if !told_apart || names.all(|(column, to)| column.name == *to.name()) {
        return Ok(input);
    }
    let exprs = columns.into_iter().zip(union.fields()).map(|(column, to)| {
        match column.name == *to.name() {
            true => Expr::Column(column),
            false => Expr::Column(column).alias(to.name()),
        }
    });
    let exprs: Vec<Expr> = exprs.collect();
    let renamed = LogicalPlanBuilder::from(Arc::unwrap_or_clone(input)).project(exprs)?;
    renamed.build().map(Arc::new)
}
