//! Which clause of a MERGE decides about a pair of rows.
//!
//! Idea: the query of a MERGE asks for values where their clause decides, by a column that stands for the
//! number of that clause; here the plan gets the decision in its place. Invariant: it is made once for
//! each pair, below everything that depends on it.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, TableReference};
use datafusion::logical_expr::{Expr as PlanExpr, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, MergeClause, MergeClauseKind, Query, Visit, Visitor,
};
use netabase_store::Error;

use crate::error::{error_from_datafusion, invalid};
use crate::statement::ident_of;

/// The number of the clause that decides; 0 for none.
pub(super) const CLAUSE: &str = "$clause";

/// Lets a query know which clause decides about each pair, which is found out once, whatever the
/// conditions are; pairs that no clause fits are left out.
pub(super) fn decided(query: LogicalPlan, source: &Ident) -> Result<LogicalPlan, Error> {
    let unexpected = || invalid("this MERGE could not be planned: please report it");
    let LogicalPlan::Projection(top) = query else {
        return Err(unexpected());
    };
    let Some((decision, others)) = top.expr.split_first() else {
        return Err(unexpected());
    };
    // A filter may be asked somewhere else again, where a decision by chance would be another one.
    let by_chance = decision.is_volatile();
    let source = TableReference::bare(ident_of(source));
    let schema = Arc::clone(top.input.schema());
    let pairs = schema.iter().map(|(qualifier, field)| {
        match qualifier == Some(&source) && field.name() == CLAUSE {
            true => {
                let decision = decision.clone().unalias();
                decision.alias_qualified(qualifier.cloned(), CLAUSE)
            }
            false => PlanExpr::Column(Column::from((qualifier, field))),
        }
    });
    let clause = PlanExpr::Column(Column::new(Some(source.clone()), CLAUSE));
    let mut projection = vec![clause.clone().alias(CLAUSE)];
    projection.extend(others.iter().cloned());
    LogicalPlanBuilder::from(top.input.as_ref().clone())
        .project(pairs.collect::<Vec<_>>())
        .and_then(|pairs| match by_chance {
            true => Ok(pairs),
            false => pairs.filter(clause.gt(lit(0_i64))),
        })
        .and_then(|pairs| pairs.project(projection)?.build())
        .map_err(error_from_datafusion)
}

/// A clause of a MERGE, for which one side has no row.
pub(super) struct Absent {
    /// What it is about; the side that is there for others is not here.
    pub(super) kind: MergeClauseKind,
    pub(super) has_condition: bool,
    /// How the side without a row is called; `None`: both have one.
    pub(super) side: Option<Ident>,
}

/// Refuses conditions and values of clauses that name columns of the side that has no row there. `values`
/// says which clause, from 1, each value is of.
pub(super) fn refuse_absent(
    query: &LogicalPlan,
    clauses: &[Absent],
    values: impl Iterator<Item = usize>,
) -> Result<(), Error> {
    let LogicalPlan::Projection(top) = query else {
        return Ok(());
    };
    let Some((decision, others)) = top.expr.split_first() else {
        return Ok(());
    };
    if let PlanExpr::Case(decision) = decision.clone().unalias() {
        for (clause, (when, _)) in clauses.iter().zip(&decision.when_then_expr) {
            // Before it stands whether the side is there.
            if let PlanExpr::BinaryExpr(both) = when.as_ref()
                && clause.has_condition
            {
                clause.check(&both.right)?;
            }
        }
    }
    for (place, value) in values.zip(others) {
        let clause = place.checked_sub(1).and_then(|place| clauses.get(place));
        clause.map_or(Ok(()), |clause| clause.check(value))?;
    }
    Ok(())
}

impl Absent {
    fn check(&self, expr: &PlanExpr) -> Result<(), Error> {
        let Some(side) = &self.side else {
            return Ok(());
        };
        let label = ident_of(side);
        let table = TableReference::bare(label.as_str());
        let mut named = None;
        let mut see = |column: &Column| {
            if column.relation.as_ref() == Some(&table) && column.name != CLAUSE {
                named.get_or_insert_with(|| column.name.clone());
            }
        };
        // The closure never fails, so the traversal does not either.
        let _ = expr.apply(|expr| {
            match expr {
                PlanExpr::Column(column) => see(column),
                PlanExpr::ScalarSubquery(query) => {
                    for column in &query.outer_ref_columns {
                        if let PlanExpr::OuterReferenceColumn(_, column) = column {
                            see(column);
                        }
                    }
                }
                _ => {}
            }
            Ok(TreeNodeRecursion::Continue)
        });
        match named {
            Some(column) => Err(invalid(format!(
                "{label}.{column} in WHEN {}: there is no row of \"{label}\"",
                self.kind
            ))),
            None => Ok(()),
        }
    }
}

/// Refuses subqueries that the planner takes in a WHERE alone.
pub(super) fn refuse_subqueries(clauses: &[MergeClause]) -> Result<(), Error> {
    let found = clauses.iter().try_for_each(|clause| {
        let mut visitor = Subqueries { depth: 0 };
        clause.visit(&mut visitor)
    });
    match found {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(invalid(
            "IN (SELECT …), EXISTS and ANY are not supported in the clauses of MERGE: look it up in the \
             source by a LEFT JOIN, or compare a (SELECT count(*) …)",
        )),
    }
}

struct Subqueries {
    depth: usize,
}

impl Visitor for Subqueries {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let compared = match expr {
            Expr::InSubquery { .. } | Expr::Exists { .. } => true,
            Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } => {
                matches!(right.as_ref(), Expr::Subquery(_))
            }
            _ => false,
        };
        match compared && self.depth == 0 {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}
