//! How the rows of a subtree lie.
//!
//! Purpose: [`lie_of`] follows the shard key from the scans upwards, through whatever keeps a row in
//! its partition and its key columns as they are.
//!
//! Invariant: where it answers, a row is in partition `hash(key) % modulus % partitions` for each row
//! of the output, and none of the key's columns is NULL. An outer join therefore ends what is known
//! of the side that it fills with NULLs. A node it does not know ends everything.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{JoinSide, JoinType};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::limit::LocalLimitExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};

use super::by_shard::ByShardExec;
use crate::mended::{CompactExec, ForgetExec};
use crate::shard_scan::ShardScan;

type Plan = Arc<dyn ExecutionPlan>;
/// A pair of expressions that a join compares.
type Pair = (Arc<dyn PhysicalExpr>, Arc<dyn PhysicalExpr>);

/// The scheme by which rows are spread over partitions, and where its key is in the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lie {
    modulus: usize,
    pub(super) partitions: usize,
    /// The shard key's columns, in order.
    key: Vec<KeyColumn>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct KeyColumn {
    data_type: DataType,
    /// Output columns that hold its value; at least one.
    at: Vec<usize>,
}

impl Lie {
    /// The same rows with other columns: `place` gives the new places of an old column.
    fn moved(mut self, place: impl Fn(usize) -> Vec<usize>) -> Option<Self> {
        for column in &mut self.key {
            column.at = column.at.iter().flat_map(|at| place(*at)).collect();
        }
        let known = self.key.iter().all(|column| !column.at.is_empty());
        known.then_some(self)
    }

    /// The same rows behind `offset` further columns.
    fn shifted(self, offset: usize) -> Option<Self> {
        self.moved(|at| vec![at + offset])
    }

    fn projected(self, projection: Option<&[usize]>) -> Option<Self> {
        let Some(projection) = projection else {
            return Some(self);
        };
        self.moved(|at| places(projection.iter().map(|from| *from == at)))
    }

    /// Adds the columns that a join's condition makes equal to the key's.
    fn with_equal(mut self, equal: &[(usize, usize)]) -> Self {
        for column in &mut self.key {
            let more: Vec<usize> = equal
                .iter()
                .flat_map(|(one, other)| [(one, other), (other, one)])
                .filter(|(one, other)| column.at.contains(one) && !column.at.contains(other))
                .map(|(_, other)| *other)
                .collect();
            column.at.extend(more);
        }
        self
    }
}

/// The numbers of the true ones.
fn places(hits: impl Iterator<Item = bool>) -> Vec<usize> {
    let hits = hits.enumerate().filter(|(_, hit)| *hit);
    hits.map(|(index, _)| index).collect()
}

fn column_of(expr: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    expr.downcast_ref::<Column>().map(Column::index)
}

/// How a plan's output lies, if that is known.
pub(super) fn lie_of(plan: &Plan) -> Option<Lie> {
    if let Some(scan) = ShardScan::of(plan) {
        return of_scan(scan);
    }
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        return of_join(join)?.projected(join.projection.as_deref());
    }
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        return lie_of(filter.input())?.projected(filter.projection().as_deref());
    }
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let from: Vec<_> = projection
            .expr()
            .iter()
            .map(|e| column_of(&e.expr))
            .collect();
        let place = |at| places(from.iter().map(|from| *from == Some(at)));
        return lie_of(projection.input())?.moved(place);
    }
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        if !aggregate.group_expr().is_single() {
            return None;
        }
        let groups = aggregate.group_expr().input_exprs();
        let from: Vec<_> = groups.iter().map(column_of).collect();
        let place = |at| places(from.iter().map(|from| *from == Some(at)));
        return lie_of(aggregate.input())?.moved(place);
    }
    if let Some(sort) = plan.downcast_ref::<SortExec>() {
        let stays = sort.preserve_partitioning();
        return stays.then(|| lie_of(sort.input())).flatten();
    }
    // Windows add columns behind those of their input.
    let passes = plan.is::<ByShardExec>()
        || plan.is::<CompactExec>()
        || plan.is::<CooperativeExec>()
        || plan.is::<ForgetExec>()
        || plan.is::<LocalLimitExec>()
        || plan.is::<WindowAggExec>()
        || plan.is::<BoundedWindowAggExec>();
    passes.then(|| lie_of(plan.children().first()?)).flatten()
}

fn of_scan(scan: &ShardScan) -> Option<Lie> {
    let source = scan.source();
    let (shards, partitions) = (source.shards().len(), source.partitions());
    if !source.layout().by_shard || partitions < 2 {
        return None;
    }
    let request = scan.request();
    let mut key = Vec::with_capacity(request.def.shard_key.len());
    for column in &request.def.shard_key {
        let data_type = request.def.schema.field(*column).data_type().clone();
        // 0.0 and -0.0 may be equal without having equal bytes.
        if data_type.is_floating() {
            return None;
        }
        let at = places(request.projection.iter().map(|from| from == column));
        key.push(KeyColumn { data_type, at });
    }
    let lie = Lie {
        // If the partitions divide the shards, their number alone decides.
        modulus: if shards % partitions == 0 {
            partitions
        } else {
            shards
        },
        partitions,
        key,
    };
    lie.moved(|at| vec![at])
}

/// Before the join's projection.
fn of_join(join: &HashJoinExec) -> Option<Lie> {
    let collected = match join.partition_mode() {
        PartitionMode::Partitioned => false,
        PartitionMode::CollectLeft => true,
        PartitionMode::Auto => return None,
    };
    let width = join.left().schema().fields().len();
    let side = match join.join_type() {
        JoinType::Inner | JoinType::Right => JoinSide::Right,
        JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
            return lie_of(join.right());
        }
        // Rows of a collected side come out wherever its last reader happens to be.
        _ if collected => return None,
        JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
            JoinSide::Left
        }
        JoinType::Full => return None,
    };
    let lie = match side {
        // In a partitioned join both sides lie alike, or neither does.
        JoinSide::Left => lie_of(join.left()).filter(|_| lie_of(join.right()).is_some())?,
        _ if collected => lie_of(join.right())?.shifted(width)?,
        _ => lie_of(join.right())
            .filter(|_| lie_of(join.left()).is_some())?
            .shifted(width)?,
    };
    if *join.join_type() != JoinType::Inner {
        return Some(lie);
    }
    let pairs = join.on().iter();
    let equal: Vec<(usize, usize)> = pairs
        .filter_map(|(left, right)| Some((column_of(left)?, column_of(right)? + width)))
        .collect();
    Some(lie.with_equal(&equal))
}

/// Whether rows that agree on `keys` are in one partition.
pub(super) fn covers(lie: &Lie, keys: &[Arc<dyn PhysicalExpr>]) -> bool {
    let keys: Vec<usize> = keys.iter().filter_map(column_of).collect();
    let has = |column: &KeyColumn| column.at.iter().any(|at| keys.contains(at));
    lie.key.iter().all(has)
}

/// Whether rows of two sides that agree on all pairs of `on` are in partitions of the same number.
pub(super) fn lies_alike(left: &Lie, right: &Lie, on: &[Pair]) -> bool {
    let compared = |one: &KeyColumn, other: &KeyColumn| {
        one.data_type == other.data_type
            && on.iter().any(|(l, r)| {
                column_of(l).is_some_and(|l| one.at.contains(&l))
                    && column_of(r).is_some_and(|r| other.at.contains(&r))
            })
    };
    left.modulus == right.modulus
        && left.partitions == right.partitions
        && left.key.len() == right.key.len()
        && left.key.iter().zip(&right.key).all(|(l, r)| compared(l, r))
}
