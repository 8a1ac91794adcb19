//! NOT IN of a subquery that may give NULL.
//!
//! Purpose: `x NOT IN (SELECT y …)` is unknown, not true, when no y equals x but some y is NULL, or x
//! is. DataFusion plans that rightly in one case: a conjunct of a WHERE, x a column, and the subquery
//! not tied to what is around it. Elsewhere a NULL counts as no match, so that `DELETE FROM t WHERE 1 NOT
//! IN (SELECT y …)` removes rows that it must keep, or the plan fails. [`NotIn`] says the same by EXISTS,
//! which has no third value: NOT IN is true where no y is equal or unknown to be so.
//!
//! Invariant: what a filter lets pass is what SQL says, whatever stands around the IN. Non-goals: IN
//! in the list of a SELECT, which DataFusion refuses; IN where neither side has NULLs, which is right.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Result, ScalarValue, not_impl_err};
use datafusion::logical_expr::expr::{Case, InSubquery};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, Filter, LogicalPlan, LogicalPlanBuilder, Operator, exists, lit,
};
use datafusion::optimizer::AnalyzerRule;

/// The name of a subquery that is compared with a column of the same name.
const ALIAS: &str = "__not_in";

/// Rewrites IN of subqueries in filters. See the module.
#[derive(Debug)]
pub(crate) struct NotIn;

impl AnalyzerRule for NotIn {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let rewritten = plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Filter(filter) if has_in(&filter.predicate)? => {
                let schema = Arc::clone(filter.input.schema());
                let predicate = conjuncts(filter.predicate, &schema)?;
                let filter = Filter::try_new(predicate, filter.input)?;
                Ok(Transformed::yes(LogicalPlan::Filter(filter)))
            }
            other => Ok(Transformed::no(other)),
        })?;
        Ok(rewritten.data)
    }

    fn name(&self) -> &str {
        "not_in"
    }
}

fn has_in(expr: &Expr) -> Result<bool> {
    expr.exists(|expr| Ok(matches!(expr, Expr::InSubquery(_))))
}

/// What an expression has to keep of its three values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// Whether it is true.
    True,
    /// Whether it is false.
    False,
    /// All three.
    All,
}

impl Kept {
    fn of_negated(self) -> Self {
        match self {
            Self::True => Self::False,
            Self::False => Self::True,
            Self::All => Self::All,
        }
    }
}

/// A filter, whose conjuncts DataFusion makes joins of.
fn conjuncts(expr: Expr, outer: &DFSchema) -> Result<Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::And,
            right,
        }) => {
            let left = conjuncts(*left, outer)?;
            let right = conjuncts(*right, outer)?;
            Ok(left.and(right))
        }
        Expr::InSubquery(one) if is_planned(&one) => Ok(Expr::InSubquery(one)),
        Expr::Not(inner) => match *inner {
            Expr::InSubquery(one) if is_planned(&one) => {
                Ok(Expr::Not(Box::new(Expr::InSubquery(one))))
            }
            inner => Ok(Expr::Not(Box::new(rewrite(inner, Kept::False, outer)?))),
        },
        other => rewrite(other, Kept::True, outer),
    }
}

/// Whether DataFusion's own join for it minds NULLs.
fn is_planned(one: &InSubquery) -> bool {
    one.subquery.outer_ref_columns.is_empty() && matches!(*one.expr, Expr::Column(_))
}

fn rewrite(expr: Expr, kept: Kept, outer: &DFSchema) -> Result<Expr> {
    let below = |expr: Box<Expr>, kept| rewrite(*expr, kept, outer).map(Box::new);
    Ok(match expr {
        Expr::InSubquery(one) => in_subquery(one, kept, outer)?,
        Expr::Not(inner) => Expr::Not(below(inner, kept.of_negated())?),
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if matches!(op, Operator::And | Operator::Or) =>
        {
            let (left, right) = (below(left, kept)?, below(right, kept)?);
            Expr::BinaryExpr(BinaryExpr { left, op, right })
        }
        Expr::IsTrue(inner) => Expr::IsTrue(below(inner, Kept::True)?),
        Expr::IsNotTrue(inner) => Expr::IsNotTrue(below(inner, Kept::True)?),
        Expr::IsFalse(inner) => Expr::IsFalse(below(inner, Kept::False)?),
        Expr::IsNotFalse(inner) => Expr::IsNotFalse(below(inner, Kept::False)?),
        // What is inside of a subquery has been done already; `map_children` does not go there.
        other => {
            other
                .map_children(|child| Ok(Transformed::yes(rewrite(child, Kept::All, outer)?)))?
                .data
        }
    })
}

fn in_subquery(one: InSubquery, kept: Kept, outer: &DFSchema) -> Result<Expr> {
    let kept = if one.negated { kept.of_negated() } else { kept };
    // Kept for IN from here on; the negation comes last.
    let negated = one.negated;
    let question = match kept {
        Kept::True => None,
        Kept::False | Kept::All => Question::of(&one, outer)?,
    };
    let Some(question) = question else {
        return Ok(Expr::InSubquery(one));
    };
    let found = match kept {
        Kept::True | Kept::False => question.exists(Expr::is_not_false)?,
        Kept::All => {
            let unknown = lit(ScalarValue::Boolean(None));
            let when = [
                (question.exists(|equal| equal)?, lit(true)),
                (question.exists(Expr::is_not_false)?, unknown),
            ];
            let when = when.map(|(when, then)| (Box::new(when), Box::new(then)));
            Expr::Case(Case::new(None, when.to_vec(), Some(Box::new(lit(false)))))
        }
    };
    Ok(if negated {
        Expr::Not(Box::new(found))
    } else {
        found
    })
}

/// A subquery, and what its rows are compared with.
struct Question {
    rows: LogicalPlan,
    /// Whether a row is equal, as the subquery says it.
    equal: Expr,
}

impl Question {
    /// None where nothing is unknown.
    ///
    /// # Errors
    /// `NotImplemented` where the names of both sides cannot be told apart.
    fn of(one: &InSubquery, outer: &DFSchema) -> Result<Option<Self>> {
        let plan = one.subquery.subquery.as_ref();
        let Some((_, field)) = plan.schema().iter().next() else {
            return Ok(None);
        };
        // A subquery that is tied to the row fails as a NOT IN, with NULLs or without.
        let tied = !one.subquery.outer_ref_columns.is_empty();
        if !tied && !field.is_nullable() && !one.expr.nullable(outer)? {
            return Ok(None);
        }
        let rows = match tied {
            false => LogicalPlanBuilder::from(plan.clone())
                .alias(ALIAS)?
                .build()?,
            true => plan.clone(),
        };
        let column = Column::from(rows.schema().qualified_field(0));
        let Some(expr) = as_outer(&one.expr, outer, rows.schema())? else {
            return not_impl_err!(
                "NOT IN compares {} with a subquery that may give NULL: make it a column of a \
                 subquery in FROM, and compare that",
                one.expr
            );
        };
        let equal = expr.eq(Expr::Column(column));
        Ok(Some(Self { rows, equal }))
    }

    /// Whether there is a row for which something is true of its being equal.
    fn exists(&self, of_equal: impl FnOnce(Expr) -> Expr) -> Result<Expr> {
        let filter = of_equal(self.equal.clone());
        let rows = LogicalPlanBuilder::from(self.rows.clone()).filter(filter)?;
        Ok(exists(Arc::new(rows.build()?)))
    }
}

/// An expression over the outer query's columns, as a subquery names them.
fn as_outer(expr: &Expr, outer: &DFSchema, inner: &DFSchema) -> Result<Option<Expr>> {
    let mut clear = true;
    let named = expr.clone().transform_down(|expr| match expr {
        Expr::Column(column) => {
            clear &= !inner.has_column(&column);
            let (_, field) = outer.qualified_field_from_column(&column)?;
            let named = Expr::OuterReferenceColumn(Arc::clone(field), column);
            Ok(Transformed::new(named, true, TreeNodeRecursion::Jump))
        }
        // One that is not tied to any row means the same everywhere.
        Expr::ScalarSubquery(one) if one.outer_ref_columns.is_empty() => {
            let same = Expr::ScalarSubquery(one);
            Ok(Transformed::new(same, false, TreeNodeRecursion::Jump))
        }
        Expr::OuterReferenceColumn(..)
        | Expr::ScalarSubquery(_)
        | Expr::Exists(_)
        | Expr::InSubquery(_) => {
            clear = false;
            Ok(Transformed::no(expr))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(clear.then_some(named.data))
}
