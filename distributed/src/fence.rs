//! What a plan from another peer may contain.
//!
//! A physical plan is remote code: it can name files, sinks and sockets. A worker therefore takes
//! only plans within size limits, only nodes on a list, and runs them in an environment that has no
//! object stores and a bounded memory pool. prost's recursion limit (100 levels) stays on while
//! the bytes are decoded, and a plan that a node holds in its bytes has no such node itself;
//! functions are looked up by name in this peer's own registry.

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, exec_err};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion_distributed::{
    WorkerPlanRewriteEvent, WorkerPlanRewriteEventResponse, WorkerPlanRewriteHandler,
};
use netabase_sql::{ShardScan, closed_runtime};

use crate::counters::add;
use crate::node::Shared;
use crate::protocol::MAX_PLAN;

/// Memory of all tasks together, in bytes.
const WORKER_MEMORY: usize = 4 * 1024 * 1024 * 1024;
/// Disk that all tasks together may spill to, in bytes.
const WORKER_SPILL: u64 = 16 * 1024 * 1024 * 1024;
/// Nodes of one stage's plan.
const MAX_NODES: usize = 10_000;
/// Levels of one stage's plan.
const MAX_DEPTH: usize = 90;

/// Nodes that compute on their inputs only, exchange rows with other peers, or read our shards.
const ALLOWED: &[&str] = &[
    "AggregateExec",
    "BoundedWindowAggExec",
    "BroadcastExec",
    "BufferExec",
    "ChildrenIsolatorUnionExec",
    "CoalesceBatchesExec",
    "CoalescePartitionsExec",
    "CompactExec",
    "CooperativeExec",
    "CrossJoinExec",
    "DataSourceExec",
    "EmptyExec",
    "FilterExec",
    "ForgetExec",
    "GlobalLimitExec",
    "HashJoinExec",
    "InterleaveExec",
    "LocalLimitExec",
    "LookupJoinExec",
    "NestedLoopJoinExec",
    "NetworkBroadcastExec",
    "NetworkCoalesceExec",
    "NetworkShuffleExec",
    "PartialSortExec",
    "PiecewiseMergeJoinExec",
    "PlaceholderRowExec",
    "ProjectionExec",
    "RepartitionExec",
    "SamplerExec",
    "ScalarSubqueryExec",
    "SortExec",
    "SortMergeJoinExec",
    "SortPreservingMergeExec",
    "SymmetricHashJoinExec",
    "UnionExec",
    "UnnestExec",
    "WindowAggExec",
];

/// An environment without files, object stores or sockets.
pub(crate) fn runtime() -> Result<Arc<RuntimeEnv>> {
    closed_runtime(WORKER_MEMORY, WORKER_SPILL)
}

/// Limits that hold before anything is decoded.
pub(crate) fn check_bytes(plan: &[u8]) -> Result<()> {
    if plan.len() > MAX_PLAN {
        return exec_err!(
            "a plan of {} bytes is refused; the limit is {MAX_PLAN}",
            plan.len()
        );
    }
    Ok(())
}

/// Checks what came out of decoding, before it is registered.
pub(crate) struct Fence {
    shared: Arc<Shared>,
}

impl Fence {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
        }
    }
}

impl WorkerPlanRewriteHandler for Fence {
    fn rewrite_worker_plan(
        &self,
        ev: WorkerPlanRewriteEvent<'_>,
    ) -> Result<WorkerPlanRewriteEventResponse> {
        if let Err(e) = check(&ev.plan) {
            add(&self.shared.meters.plans_refused, 1);
            return Err(e);
        }
        if aggregates_partially(&ev.plan)? {
            add(&self.shared.meters.partial_aggregates, 1);
        }
        Ok(WorkerPlanRewriteEventResponse::new(ev.plan))
    }
}

pub(crate) fn check(plan: &Arc<dyn ExecutionPlan>) -> Result<()> {
    let mut nodes = 0;
    walk(plan, 1, &mut nodes)
}

fn walk(plan: &Arc<dyn ExecutionPlan>, depth: usize, nodes: &mut usize) -> Result<()> {
    *nodes += 1;
    if *nodes > MAX_NODES || depth > MAX_DEPTH {
        return exec_err!("a plan of more than {MAX_NODES} nodes or {MAX_DEPTH} levels is refused");
    }
    // Some nodes add their mode: SortExec(TopK).
    let name = plan.name().split('(').next().unwrap_or_default();
    let foreign_leaf = name == "DataSourceExec" && !is_own_data(plan);
    if foreign_leaf || !ALLOWED.contains(&name) {
        return exec_err!("a plan of another peer may not contain {name}");
    }
    for child in plan.children() {
        walk(child, depth + 1, nodes)?;
    }
    Ok(())
}

/// A scan of our shards, or of rows that the plan itself carries.
fn is_own_data(plan: &Arc<dyn ExecutionPlan>) -> bool {
    ShardScan::of(plan).is_some()
        || plan.downcast_ref::<DataSourceExec>().is_some_and(|exec| {
            exec.data_source()
                .downcast_ref::<MemorySourceConfig>()
                .is_some()
        })
}

/// Whether a plan aggregates partially right where the rows are.
fn aggregates_partially(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    let mut found = false;
    plan.apply(|node| {
        let partial = node
            .downcast_ref::<AggregateExec>()
            .is_some_and(|a| *a.mode() == AggregateMode::Partial);
        if partial {
            found |= node.exists(|n| Ok(ShardScan::of(n).is_some()))?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use datafusion::prelude::SessionContext;
    use url::Url;

    use super::*;

    async fn refused(sql: &str) -> Option<String> {
        let ctx = SessionContext::new();
        let plan = ctx
            .sql(sql)
            .await
            .unwrap()
            .create_physical_plan()
            .await
            .unwrap();
        check(&plan).err().map(|e| e.to_string())
    }

    #[tokio::test]
    async fn lets_computation_pass_and_stops_files_and_foreign_leaves() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret.csv");
        std::fs::write(&file, "a\n1\n").unwrap();
        assert_eq!(refused("SELECT 1 + 1").await, None);

        let ctx = SessionContext::new();
        let frame = ctx
            .read_csv(file.to_str().unwrap(), Default::default())
            .await
            .unwrap();
        let scan = frame.clone().create_physical_plan().await.unwrap();
        assert!(
            check(&scan)
                .unwrap_err()
                .to_string()
                .contains("DataSourceExec")
        );
        let out = dir.path().join("out.csv");
        let copy = format!("COPY (SELECT 1) TO '{}'", out.display());
        let sink = refused(&copy).await.unwrap();
        assert!(sink.contains("may not contain"), "{sink}");
        assert_eq!(refused("SELECT * FROM (VALUES (1), (2))").await, None);
    }

    #[test]
    fn opens_no_files() {
        let url = Url::parse("file:///etc/passwd").unwrap();
        let error = runtime()
            .unwrap()
            .object_store_registry
            .get_store(&url)
            .unwrap_err();
        assert!(error.to_string().contains("cannot be opened"));
        assert!(check_bytes(&vec![0; MAX_PLAN + 1]).is_err());
    }
}
