//! Joins and windows that notice that their statement was ended, and let other tasks run.
//!
//! Idea: a join may compare pairs of rows for minutes before it has one to give, and may give batch
//! after batch without ever waiting for its inputs. So the condition of a join, which is asked again
//! and again meanwhile, fails once the statement was ended ([`condition`]); and what a join gives is
//! handed on by a node that does the same, and gives up its turn after a while ([`turns`]). A window may
//! ask for batch after batch before it gives one, so that this node stands below it.
//!
//! A turn that is spent within one poll cannot be given up. Then the other tasks of the thread move to
//! another one (`block_in_place`), so that clocks go on and `CANCEL QUERY` is heard even where all
//! threads compare rows.
//!
//! Invariant: as long as the statement runs, the plan gives the same rows in the same order.
//! Non-goal: other operators, which come back after a batch or a few. Plans that are spread over peers
//! stay as they are.

mod condition;
mod turns;

use std::sync::{Arc, Weak};
use std::time::Duration;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, HashJoinExecBuilder, NestedLoopJoinExec,
    NestedLoopJoinExecBuilder, SortMergeJoinExec,
};
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use netabase_store::Error;

use crate::error::unavailable;
use crate::running::Statement;

use condition::Watched;
use turns::{Turned, TurnsExec};

/// The name of the root of plans that are spread over peers.
const DISTRIBUTED: &str = "DistributedExec";
/// How long a join works before other tasks get the thread.
const TURN: Duration = Duration::from_millis(10);

type Plan = Arc<dyn ExecutionPlan>;

/// Lets the joins and windows of a plan end with their statement.
pub(crate) fn interruptible(plan: Plan, statement: &Arc<Statement>) -> Result<Plan> {
    if plan.exists(|node| Ok(node.name() == DISTRIBUTED))? {
        return Ok(plan);
    }
    let ending = Ending::of(statement);
    let turns = |plan| -> Plan { Arc::new(TurnsExec::new(plan, Turned(ending.clone()))) };
    let watched = plan.transform_up(|node| {
        if let Some(join) = watched_join(&node, &ending)? {
            return Ok(Transformed::yes(turns(join)));
        }
        let waits = node.is::<BoundedWindowAggExec>() || node.is::<WindowAggExec>();
        match node.children()[..] {
            [input] if waits && !input.is::<TurnsExec>() => {
                let input = turns(Arc::clone(input));
                replace_children_if_necessary(node, vec![input]).map(Transformed::yes)
            }
            _ => Ok(Transformed::no(node)),
        }
    })?;
    Ok(watched.data)
}

/// The join that this node is, with a condition that is watched.
fn watched_join(node: &Plan, ending: &Ending) -> Result<Option<Plan>> {
    let watched = |filter: &JoinFilter| {
        let condition = Watched::new(Arc::clone(filter.expression()), ending.clone());
        let columns = filter.column_indices().to_vec();
        JoinFilter::new(Arc::new(condition), columns, Arc::clone(filter.schema()))
    };
    if node.is::<CrossJoinExec>() {
        return Ok(Some(Arc::clone(node)));
    }
    if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
        let filter = join.filter().map(watched);
        let join = NestedLoopJoinExecBuilder::from(join).with_filter(filter);
        return Ok(Some(Arc::new(join.build()?)));
    }
    if let Some(join) = node.downcast_ref::<HashJoinExec>() {
        let filter = join.filter().map(watched);
        let join = HashJoinExecBuilder::from(join).with_filter(filter);
        return join.build_exec().map(Some);
    }
    if let Some(join) = node.downcast_ref::<SortMergeJoinExec>() {
        let join = SortMergeJoinExec::try_new(
            Arc::clone(join.left()),
            Arc::clone(join.right()),
            join.on().to_vec(),
            join.filter().as_ref().map(watched),
            join.join_type(),
            join.sort_options().to_vec(),
            join.null_equality(),
        )?;
        return Ok(Some(Arc::new(join)));
    }
    Ok(None)
}

/// Tells whether a statement was ended, without keeping it alive in a plan that somebody keeps.
#[derive(Debug, Clone)]
struct Ending {
    /// None outside of a statement: nobody can end that.
    statement: Option<Weak<Statement>>,
}

impl Ending {
    fn of(statement: &Arc<Statement>) -> Self {
        let is_listed = statement.id() != 0;
        Self {
            statement: is_listed.then(|| Arc::downgrade(statement)),
        }
    }

    /// # Errors
    /// `Unavailable` once the statement was ended, or nobody holds its output any more.
    fn check(&self) -> Result<(), Error> {
        match self.statement.as_ref().map(Weak::upgrade) {
            None => Ok(()),
            Some(Some(statement)) => statement.check(),
            Some(None) => Err(unavailable("the statement's answer was dropped")),
        }
    }

    fn is_that_of(&self, other: &Self) -> bool {
        match (&self.statement, &other.statement) {
            (Some(a), Some(b)) => Weak::ptr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        }
    }
}
