//! Where DataFusion's planner answers wrongly, and what stands in its place.
//!
//! Each module is about one mistake: it says which, and how the plan is kept right. What becomes right in a
//! newer release goes from here. Invariant: a mended plan gives what SQL says; where nothing is wrong, a
//! plan stays as it was.
//!
//! Non-goals: statements that DataFusion refuses; NOT IN (see `not_in`).

mod casted;
mod compact;
mod dependencies;
mod digits;
mod far;
mod filters;
mod forget;
mod frames;
mod guarded;
mod guesses;
mod in_lists;
mod join_keys;
mod literals;
mod null_keys;
mod nullable;
mod outer_types;
mod recursions;
mod single_distinct;
mod sort_keys;
mod spans;
mod stacked;
mod statistics;
mod swapped;
mod totals;
mod unions;
mod windows;

use std::sync::Arc;

use datafusion::common::tree_node::{TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::{Analyzer, AnalyzerRule, Optimizer, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;

use crate::functions::{ListLengths, LongListsOfIntegers, counted};

pub use compact::CompactExec;
pub(crate) use far::Bounded;
pub(crate) use filters::as_they_are;
pub use forget::ForgetExec;
pub(crate) use nullable::Nullable;

type Rules = Vec<Arc<dyn OptimizerRule + Send + Sync>>;
type PhysicalRule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;
type PhysicalRules = Vec<PhysicalRule>;

/// Whether a plan, or a subquery in it, has such a node.
fn has_node(plan: &LogicalPlan, is_one: impl Fn(&LogicalPlan) -> bool) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found |= is_one(node);
        Ok(match found {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    })?;
    Ok(found)
}

/// DataFusion's optimizer rules, the wrong ones replaced.
pub(crate) fn optimizer_rules() -> Rules {
    let mut rules = Optimizer::new().rules;
    for rule in &mut rules {
        match rule.name() {
            totals::INSTEAD_OF => *rule = Arc::new(totals::Totals::default()),
            stacked::INSTEAD_OF => {
                *rule = Arc::new(dependencies::Told(Arc::new(stacked::Stacked::default())));
            }
            single_distinct::INSTEAD_OF => {
                *rule = Arc::new(single_distinct::SingleDistinct::default());
            }
            null_keys::KEYS => *rule = Arc::new(null_keys::Keys::default()),
            null_keys::ROWS => *rule = Arc::new(join_keys::AllKeys::default()),
            name if dependencies::ASKING.contains(&name) => {
                *rule = Arc::new(dependencies::Told(Arc::clone(rule)));
            }
            _ => {}
        }
    }
    rules.push(Arc::new(null_keys::Keys::default()));
    rules
}

/// DataFusion's own analysis, between what has to come right before and right behind it.
pub(crate) fn analysis() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    let mut rules = Analyzer::new().rules;
    rules.insert(0, Arc::new(LongListsOfIntegers));
    rules.insert(1, Arc::new(digits::Digits));
    rules.insert(2, Arc::new(frames::Frames));
    rules.insert(3, Arc::new(ListLengths));
    rules.insert(4, Arc::new(recursions::Recursions));
    rules.push(Arc::new(outer_types::OuterTypes));
    rules.push(Arc::new(casted::NamedCasts));
    rules
}

/// Rules that come after DataFusion's own analysis.
pub(crate) fn analyzer_rules() -> [Arc<dyn AnalyzerRule + Send + Sync>; 7] {
    [
        Arc::new(far::Far),
        Arc::new(guarded::Guarded),
        Arc::new(spans::ByLength),
        Arc::new(nullable::NullableSubqueries),
        Arc::new(unions::NamedAlike),
        Arc::new(in_lists::KnownLists),
        Arc::new(sort_keys::SortKeys),
    ]
}

/// An expression that is planned alone, before its types are coerced.
pub(crate) fn read_alone(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    expr.transform_up(|expr| Ok(digits::read(expr, schema)))?
        .transform_data(|expr| expr.transform_up(|expr| Ok(counted(expr, schema))))
        .data()
}

/// The same behind that.
pub(crate) fn mended_alone(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    expr.transform_up(|expr| guarded::guarded(expr, schema))?
        .transform_data(|expr| expr.transform_up(|expr| spans::compared(expr, schema)))?
        .transform_data(|expr| expr.transform_up(|expr| far::reached(expr, schema)))
        .data()
}

/// Puts the rules for finished plans in their places.
pub(crate) fn insert_into(rules: &mut PhysicalRules) {
    for rule in rules.iter_mut() {
        let own = Arc::clone(rule);
        match rule.name() {
            statistics::INSTEAD_OF => *rule = Arc::new(statistics::OwnStatistics(own)),
            swapped::INSTEAD_OF => *rule = Arc::new(swapped::Swapped(own)),
            _ => {}
        }
    }
    forget::Forget::insert_into(rules);
    rules.push(Arc::new(windows::Yielding));
}
