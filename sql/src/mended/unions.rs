//! Unions of which some inputs are known to be empty.
//!
//! DataFusion takes empty inputs out, and the columns of what is left keep the names that the union gave them:
//! those of an input that may be gone. `SELECT 1 AS a WHERE FALSE UNION ALL SELECT 2 AS b` has a column a that
//! nothing below is called, and whatever asks for it by name fails.
//!
//! Invariant: the first input of a union, and what takes its place, names all of its columns as it does.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, Union};
use datafusion::optimizer::propagate_empty_relation::PropagateEmptyRelation;
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// The rule that this one replaces.
pub(super) const INSTEAD_OF: &str = "propagate_empty_relation";

/// Takes out what is empty, and keeps names. See the module.
#[derive(Debug, Default)]
pub(super) struct EmptyInputs(PropagateEmptyRelation);

impl OptimizerRule for EmptyInputs {
    fn name(&self) -> &str {
        INSTEAD_OF
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Union(union) = plan else {
            return self.0.rewrite(plan, config);
        };
        let mut left = union.inputs.iter().filter(|input| !is_empty(input));
        let Some(first) = left.next() else {
            return self.0.rewrite(LogicalPlan::Union(union), config);
        };
        let others: Vec<_> = left.map(Arc::clone).collect();
        if others.len() + 1 == union.inputs.len() {
            return Ok(Transformed::no(LogicalPlan::Union(union)));
        }
        let first = named(first, &union)?;
        Ok(Transformed::yes(match others.is_empty() {
            true => first,
            false => LogicalPlan::Union(Union {
                inputs: std::iter::once(Arc::new(first)).chain(others).collect(),
                schema: union.schema,
            }),
        }))
    }
}

fn is_empty(input: &LogicalPlan) -> bool {
    matches!(input, LogicalPlan::EmptyRelation(empty) if !empty.produce_one_row)
}

/// An input of a union, with the columns of the union.
fn named(input: &Arc<LogicalPlan>, union: &Union) -> Result<LogicalPlan> {
    let columns = input.schema().iter().zip(union.schema.iter());
    let exprs = columns.map(|((of, from), (qualifier, to))| {
        let column = Expr::Column(Column::new(of.cloned(), from.name()));
        match (of, from.name()) == (qualifier, to.name()) {
            true => column,
            false => column.alias_qualified(qualifier.cloned(), to.name()),
        }
    });
    let (exprs, schema) = (exprs.collect(), Arc::clone(&union.schema));
    Projection::try_new_with_schema(exprs, Arc::clone(input), schema).map(LogicalPlan::Projection)
}
