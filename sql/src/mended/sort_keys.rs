//! `ORDER BY x % 7 > 3`, `row_number() OVER (PARTITION BY length(t) > 3)`, `array_agg(x ORDER BY -abs(y))`.
//!
//! DataFusion looks for the range of each part of what rows are ordered by. For `>`, `-` and the like it fails where it
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
    Aggregate, Between, BinaryExpr, Expr, LogicalPlan, Operator, Projection, Sort, Window,
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
            LogicalPlan::Sort(sort) => of_sort(sort),
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
    /// Takes out the keys of functions; their places are taken by columns, their names stay.
    fn take(exprs: &[Expr]) -> Result<Option<(Self, Vec<Expr>)>> {
        let names = NamePreserver::new_for_projection();
        let mut keys = Self::default();
        let taken = exprs.iter().cloned().map(|expr| {
            let name = names.save(&expr);
            let taken = expr.transform_up(|part| Ok(keys.take_of(part)))?;
            Ok(taken.update_data(|expr| name.restore(expr)).data)
        });
        let taken = taken.collect::<Result<_>>()?;
        Ok((!keys.0.is_empty()).then_some((keys, taken)))
    }

    fn take_of(&mut self, mut part: Expr) -> Transformed<Expr> {
        let changed = match &mut part {
            Expr::WindowFunction(function) => {
                let params = &mut function.params;
                let divided = self.take_from(&mut params.partition_by);
                self.take_from(params.order_by.iter_mut().map(|order| &mut order.expr)) || divided
            }
            Expr::AggregateFunction(function) => {
                let params = &mut function.params;
                let orders = params.order_by.iter_mut();
                let ordered = self.take_from(orders.map(|order| &mut order.expr));
                // What is distinct is ordered by its own values.
                if ordered && params.distinct {
                    self.take_from(&mut params.args);
                }
                ordered
            }
            _ => false,
        };
        Transformed::new_transformed(part, changed)
    }

    /// Whether one of the keys was taken.
    fn take_from<'a>(&mut self, keys: impl IntoIterator<Item = &'a mut Expr>) -> bool {
        let mut changed = false;
        for key in keys.into_iter().filter(|key| is_refused(key)) {
            let known = self.0.iter().position(|known| known == key);
            let place = known.unwrap_or(self.0.len());
            let column = Expr::Column(Column::new_unqualified(format!("{NAME}{place}")));
            let key = std::mem::replace(key, column);
            if known.is_none() {
                self.0.push(key);
            }
            changed = true;
        }
        changed
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

fn of_sort(mut sort: Sort) -> Result<Transformed<LogicalPlan>> {
    let mut keys = Keys::default();
    let orders = sort.expr.iter_mut().map(|order| &mut order.expr);
    // What a query around it gives is put in for such a reference later.
    if !keys.take_from(orders.filter(|key| !key.contains_outer())) {
        return Ok(Transformed::no(LogicalPlan::Sort(sort)));
    }
    let columns = sort.input.schema().columns();
    sort.input = keys.below(&sort.input)?;
    above(LogicalPlan::Sort(sort), columns)
}

/// The same rows without the keys.
fn above(plan: LogicalPlan, columns: Vec<Column>) -> Result<Transformed<LogicalPlan>> {
    let columns = columns.into_iter().map(Expr::Column).collect();
    let projection = Projection::try_new(columns, Arc::new(plan))?;
    Ok(Transformed::yes(LogicalPlan::Projection(projection)))
}

fn of_window(window: Window) -> Result<Transformed<LogicalPlan>> {
    let Some((keys, exprs)) = Keys::take(&window.window_expr)? else {
        return Ok(Transformed::no(LogicalPlan::Window(window)));
    };
    let inner = Window::try_new(exprs, keys.below(&window.input)?)?;
    above(LogicalPlan::Window(inner), window.schema.columns())
}

fn of_aggregate(aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let Some((keys, exprs)) = Keys::take(&aggregate.aggr_expr)? else {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    };
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
            Expr::Between(Between {
                expr, low, high, ..
            }) => ![expr, low, high].into_iter().all(|part| has_range(part)),
            Expr::Negative(inner) => !has_range(inner),
            _ => false,
        })
    });
    found.unwrap_or(true)
}

fn asks_ranges(op: Operator) -> bool {
    use Operator::{And, Gt, GtEq, Lt, LtEq, Minus, Or, Plus};
    matches!(op, And | Gt | GtEq | Lt | LtEq | Minus | Or | Plus)
}

fn has_range(expr: &Expr) -> bool {
    match expr {
        Expr::Column(_) | Expr::Literal(..) => true,
        Expr::Alias(alias) => has_range(&alias.expr),
        Expr::Cast(cast) => has_range(&cast.expr),
        Expr::Negative(inner) => has_range(inner),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            asks_ranges(*op) && has_range(left) && has_range(right)
        }
        _ => false,
    }
}
