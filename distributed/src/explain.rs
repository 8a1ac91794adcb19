//! Figures that an executed plan carries.

use std::sync::Arc;
use std::time::Duration;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::MetricValue;
use datafusion_distributed::{DistributedMetricsFormat, rewrite_distributed_plan_with_metrics};

use crate::source::ClusterSource;

/// Counters of bytes that moved between peers, as their operators name them.
const BYTES: [&str; 2] = ["bytes_transferred", "plan_bytes_sent"];

/// How long figures of remote stages are waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// Sums them over a plan, its remote stages included as far as their metrics have arrived.
pub(crate) async fn network_bytes(plan: &Arc<dyn ExecutionPlan>) -> u64 {
    let rewritten = rewrite_distributed_plan_with_metrics(
        Arc::clone(plan),
        DistributedMetricsFormat::Aggregated,
    );
    let rewritten = match tokio::time::timeout(PATIENCE, rewritten).await {
        Ok(Ok(rewritten)) => rewritten,
        _ => Arc::clone(plan),
    };
    let mut bytes = 0;
    let _ = rewritten.apply(|node| {
        bytes += own_metrics(node);
        Ok(TreeNodeRecursion::Continue)
    });
    bytes
}

fn own_metrics(node: &Arc<dyn ExecutionPlan>) -> u64 {
    let received = ClusterSource::of(node).map_or(0, |(_, source)| source.received());
    let metrics = node.metrics().unwrap_or_default();
    let counted = metrics.iter().map(|m| m.value());
    let moved = counted.filter(|v| BYTES.contains(&v.name()));
    let bytes: usize = moved.map(MetricValue::as_usize).sum();
    received + bytes as u64
}
