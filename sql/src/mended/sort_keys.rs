//! `row_number() OVER (PARTITION BY length(t) > 3)`, `array_agg(x ORDER BY a * b > 3)`.
//!
//! DataFusion looks for the range of each part of what rows are ordered by. For `>`, `AND` and the like it fails where it
//! knows nothing of an operand, does not see that the rows are ordered, and refuses its own plan. Such a key is computed
//! below, so that rows are ordered by a column.
//!
//! Invariant: names, types and values stay what they are; what DataFusion can order by stays where it is.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Expr, LogicalPlan, Operator, Projection, SortExpr, Window,
};
use datafusion::optimizer::AnalyzerRule;

/// What keys are called; a number follows.
const NAME: &str = "__sort_key_";

/// Computes keys before rows are ordered. See the module.
#[derive(Debug)]
pub(super) struct SortKeys;

impl AnalyzerRule for SortKeys {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Window(window) => of_window(window),
            LogicalPlan::Aggregate(aggregate) => of_aggregate(aggregate),
            node => Ok(Transformed::no(node)),
        })
        .data()
    }

    fn name(&self) -> &str {
        "sort_keys"
    }
}

/// Keys that are computed below.
#[derive(Default)]
struct Keys(Vec<Expr>);

impl Keys {
    /// Takes out the keys of a function; their places are taken by columns.
    fn take(&mut self, exprs: Vec<Expr>, names: &NamePreserver) -> Result<Vec<Expr>> {
        let taken = exprs.into_iter().map(|expr| {
            let name = names.save(&expr);
            let taken = expr.transform_up(|part| {
                let before = self.0.len();
                let mut part = part;
                match &mut part {
                    Expr::WindowFunction(function) => {
                        let params = &mut function.params;
                        params.partition_by.iter_mut().for_each(|key| self.key(key));
                        self.keys(&mut params.order_by);
                    }
                    Expr::AggregateFunction(function) => self.keys(&mut function.params.order_by),
                    _ => {}
                }
                let changed = self.0.len() > before;
                Ok(Transformed::new_transformed(part, changed))
            })?;
            Ok(taken.update_data(|expr| name.restore(expr)).data)
        });
        taken.collect()
    }

    fn keys(&mut self, orders: &mut [SortExpr]) {
        orders
            .iter_mut()
            .for_each(|order| self.key(&mut order.expr));
    }

    fn key(&mut self, key: &mut Expr) {
        if !is_refused(key) {
            return;
        }
        let known = self.0.iter().position(|known| known == key);
        let place = known.unwrap_or(self.0.len());
        let column = Expr::Column(Column::new_unqualified(format!("{NAME}{place}")));
        let key = std::mem::replace(key, column);
        if known.is_none() {
            self.0.push(key);
        }
    }

    /// What the functions look at: the same rows, and the keys.
    fn below(self, input: &Arc<LogicalPlan>) -> Result<Arc<LogicalPlan>> {
        let columns = input.schema().columns().into_iter().map(Expr::Column);
        let keys = self.0.into_iter().enumerate();
        let keys = keys.map(|(place, key)| key.alias(format!("{NAME}{place}")));
        let projection = Projection::try_new(columns.chain(keys).collect(), Arc::clone(input))?;
        Ok(Arc::new(LogicalPlan::Projection(projection)))
    }
}

fn of_window(window: Window) -> Result<Transformed<LogicalPlan>> {
    let names = NamePreserver::new_for_projection();
    let mut keys = Keys::default();
    let exprs = keys.take(window.window_expr.clone(), &names)?;
    if keys.0.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Window(window)));
    }
    let inner = Window::try_new(exprs, keys.below(&window.input)?)?;
    let columns = window.schema.columns().into_iter().map(Expr::Column);
    let inner = Arc::new(LogicalPlan::Window(inner));
    let projection = Projection::try_new(columns.collect(), inner)?;
    Ok(Transformed::yes(LogicalPlan::Projection(projection)))
}

fn of_aggregate(aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let names = NamePreserver::new_for_projection();
    let mut keys = Keys::default();
    let exprs = keys.take(aggregate.aggr_expr.clone(), &names)?;
    if keys.0.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    }
    let input = keys.below(&aggregate.input)?;
    let aggregate = Aggregate::try_new(input, aggregate.group_expr, exprs)?;
    Ok(Transformed::yes(LogicalPlan::Aggregate(aggregate)))
}

/// Whether DataFusion fails to find the range of a part of a key.
fn is_refused(key: &Expr) -> bool {
    let found = key.exists(|part| {
        Ok(match part {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                asks_ranges(*op) && !(has_range(left) && has_range(right))
            }
            _ => false,
        })
    });
    found.unwrap_or(true)
}

fn asks_ranges(op: Operator) -> bool {
    use Operator::{And, Gt, GtEq, Lt, LtEq, Or};
    matches!(op, And | Gt | GtEq | Lt | LtEq | Or)
}

fn has_range(expr: &Expr) -> bool {
    match expr {
        Expr::Column(_) | Expr::Literal(..) => true,
        Expr::Alias(alias) => has_range(&alias.expr),
        Expr::Cast(cast) => has_range(&cast.expr),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let is_known = asks_ranges(*op) || matches!(op, Operator::Plus | Operator::Minus);
            is_known && has_range(left) && has_range(right)
        }
        _ => false,
    }
}
