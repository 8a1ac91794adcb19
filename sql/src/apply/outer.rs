//! The values of outer rows that a subquery is run for.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, LogicalPlanBuilder, Projection, col};

use super::refs::Refs;
use super::stable::superset;

/// What the names of row numbers begin with.
pub(super) const NTH: &str = "__nth";

/// Makes names that nobody else gives.
#[derive(Debug, Default)]
pub(super) struct Names(usize);

impl Names {
    pub(super) fn next(&mut self, what: &str) -> String {
        self.0 += 1;
        format!("__{what}_{}", self.0)
    }
}

/// A column without a table.
pub(super) fn plain(name: &str) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

/// The different values of some columns.
#[derive(Debug, Clone)]
pub(super) struct Outer {
    /// One row for each.
    pub(super) rows: Arc<LogicalPlan>,
    /// What the columns are called outside, and in these rows.
    pub(super) columns: Vec<(Column, String)>,
}

impl Outer {
    /// Those of some rows that are referred to.
    pub(super) fn of(rows: &LogicalPlan, refs: &Refs, names: &mut Names) -> Result<Self> {
        let columns = refs.iter().map(|(column, _)| {
            let name = names.next("outer");
            (column.clone(), name)
        });
        let columns: Vec<_> = columns.collect();
        let shown = columns
            .iter()
            .map(|(column, name)| Expr::Column(column.clone()).alias(name));
        let rows = match refs.is_empty() {
            true => rows.clone(),
            false => superset(rows)?,
        };
        let rows = Projection::try_new(shown.collect(), Arc::new(rows))?;
        let rows = Arc::new(LogicalPlan::Projection(rows));
        let rows = Arc::new(LogicalPlan::Distinct(Distinct::All(rows)));
        Ok(Self { rows, columns })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// The columns as expressions.
    pub(super) fn exprs(&self) -> Vec<Expr> {
        self.columns.iter().map(|(_, name)| plain(name)).collect()
    }

    /// An expression of the subquery, over rows that have the values.
    pub(super) fn bind(&self, expr: Expr) -> Result<Expr> {
        let bound = expr.transform_up(|expr| {
            let Expr::OuterReferenceColumn(_, column) = &expr else {
                return Ok(Transformed::no(expr));
            };
            let own = self.columns.iter().find(|(outer, _)| outer == column);
            Ok(match own {
                Some((_, name)) => Transformed::yes(plain(name)),
                None => Transformed::no(expr),
            })
        })?;
        Ok(bound.data)
    }

    /// Whether a plan refers to one of the values.
    pub(super) fn is_in(&self, plan: &LogicalPlan) -> Result<bool> {
        let refs = super::refs::free_refs(plan)?;
        let own = |column: &Column| self.columns.iter().any(|(outer, _)| outer == column);
        Ok(refs.iter().any(|(column, _)| own(column)))
    }

    /// Rows that end in the values, with other names for these; and the pairs that are equal where rows
    /// belong together.
    pub(super) fn renamed(
        &self,
        rows: LogicalPlan,
        names: &mut Names,
    ) -> Result<(LogicalPlan, Vec<(Expr, Expr)>)> {
        let mut shown: Vec<Expr> = rows
            .schema()
            .columns()
            .into_iter()
            .map(Expr::Column)
            .collect();
        let mut pairs = Vec::with_capacity(self.columns.len());
        let first = shown.len().saturating_sub(self.columns.len());
        for (expr, (_, name)) in shown.iter_mut().skip(first).zip(&self.columns) {
            let other = names.next("outer");
            *expr = col(Column::new_unqualified(name)).alias(&other);
            pairs.push((plain(name), plain(&other)));
        }
        let rows = LogicalPlan::Projection(Projection::try_new(shown, Arc::new(rows))?);
        Ok((rows, pairs))
    }
}

/// An expression under the name of a column that it replaces.
pub(super) fn named(expr: Expr, column: &Column) -> Expr {
    let (table, name) = expr.qualified_name();
    if table == column.relation && name == column.name {
        return expr;
    }
    let bare = match expr {
        Expr::Alias(alias) => *alias.expr,
        other => other,
    };
    bare.alias_qualified(column.relation.clone(), column.name.clone())
}

/// A projection as it is written.
pub(super) fn project(exprs: Vec<Expr>, input: LogicalPlan) -> Result<LogicalPlan> {
    Ok(LogicalPlan::Projection(Projection::try_new(
        exprs,
        Arc::new(input),
    )?))
}

/// Columns as expressions.
pub(super) fn columns(plan: &LogicalPlan) -> Vec<Expr> {
    plan.schema()
        .columns()
        .into_iter()
        .map(Expr::Column)
        .collect()
}

/// Two sides joined without a condition.
pub(super) fn cross(left: LogicalPlan, right: LogicalPlan) -> Result<LogicalPlan> {
    LogicalPlanBuilder::from(left).cross_join(right)?.build()
}
