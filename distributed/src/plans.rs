//! Plans of stages, pushed by gossip and pulled by hash.
//!
//! The asking peer encodes a stage's plan once, publishes it under the hash of its bytes, and sends
//! each task only a stub that names the hash. A peer that gets a task waits a moment for the gossip
//! message and otherwise pulls the bytes from the asking peer; either way the hash proves that they
//! are the plan that was meant. See docs/adr/0006.
//!
//! Not here: what a plan may contain (see `fence`).

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::datatypes::Schema;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, exec_err, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use datafusion_distributed::DistributedCodec;
use datafusion_proto::bytes::physical_plan_from_bytes_with_proto_converter;
use datafusion_proto::physical_plan::DeduplicatingProtoConverter;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::protocol::Hash;

/// Bytes of plans that are kept for those who may still pull or need them.
const CACHE_BYTES: usize = 64 * 1024 * 1024;
/// How long a task waits for its plan by gossip before it pulls.
pub(crate) const GOSSIP_GRACE: Duration = Duration::from_millis(50);

/// The latest plans by hash. Those not used for longest leave first.
#[derive(Default)]
pub(crate) struct PlanCache {
    inner: Mutex<Inner>,
    arrived: Notify,
}

#[derive(Default)]
struct Inner {
    plans: HashMap<Hash, Arc<Vec<u8>>>,
    order: VecDeque<Hash>,
    bytes: usize,
}

impl PlanCache {
    /// Keeps a plan; `false` when it was there.
    pub(crate) fn insert(&self, hash: Hash, plan: Arc<Vec<u8>>) -> bool {
        let mut inner = self.inner.lock();
        if inner.plans.contains_key(&hash) {
            // Used again: it leaves last.
            inner.order.retain(|h| *h != hash);
            inner.order.push_back(hash);
            return false;
        }
        inner.bytes += plan.len();
        inner.plans.insert(hash, plan);
        inner.order.push_back(hash);
        while inner.bytes > CACHE_BYTES
            && let Some(oldest) = inner.order.pop_front()
        {
            if let Some(gone) = inner.plans.remove(&oldest) {
                inner.bytes -= gone.len();
            }
        }
        drop(inner);
        self.arrived.notify_waiters();
        true
    }

    pub(crate) fn get(&self, hash: &Hash) -> Option<Arc<Vec<u8>>> {
        self.inner.lock().plans.get(hash).cloned()
    }

    /// Waits for a plan to arrive, at most `patience`.
    pub(crate) async fn wait(&self, hash: &Hash, patience: Duration) -> Option<Arc<Vec<u8>>> {
        let arrival = async {
            loop {
                let notified = self.arrived.notified();
                tokio::pin!(notified);
                notified.as_mut().enable();
                if let Some(plan) = self.get(hash) {
                    return plan;
                }
                notified.await;
            }
        };
        tokio::time::timeout(patience, arrival).await.ok()
    }
}

/// The plan that belongs to the stub a worker is about to decode; a session extension.
pub(crate) struct StagePlan {
    pub hash: Hash,
    pub bytes: Arc<Vec<u8>>,
}

/// Stands for a plan that travels by itself.
#[derive(Debug)]
pub(crate) struct PlanStub {
    hash: Hash,
    properties: Arc<PlanProperties>,
}

impl PlanStub {
    pub(crate) fn new(hash: Hash) -> Self {
        let schema = Arc::new(Schema::empty());
        Self {
            hash,
            properties: Arc::new(PlanProperties::new(
                EquivalenceProperties::new(schema),
                Partitioning::UnknownPartitioning(1),
                EmissionType::Incremental,
                Boundedness::Bounded,
            )),
        }
    }
}

impl DisplayAs for PlanStub {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hash = blake3::Hash::from_bytes(self.hash);
        write!(f, "PlanStub: hash={}", hash.to_hex())
    }
}

impl ExecutionPlan for PlanStub {
    fn name(&self) -> &'static str {
        "PlanStub"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        internal_err!("a plan stub was executed")
    }
}

pub(crate) fn write_stub(stub: &PlanStub, buf: &mut Vec<u8>) {
    buf.extend_from_slice(&stub.hash);
}

/// Decodes the plan that a stub stands for.
pub(crate) fn read_stub(
    bytes: &[u8],
    plan: Option<&StagePlan>,
    context: &TaskContext,
) -> Result<Arc<dyn ExecutionPlan>> {
    match plan {
        Some(plan) if plan.hash == bytes => {
            let codec = DistributedCodec::new_combined_with_user(context.session_config());
            let converter = DeduplicatingProtoConverter::default();
            physical_plan_from_bytes_with_proto_converter(&plan.bytes, context, &codec, &converter)
        }
        _ => exec_err!("a plan stub names a plan that is not here"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn plan(n: usize) -> (Hash, Arc<Vec<u8>>) {
        let bytes = vec![u8::try_from(n % 251).unwrap(); CACHE_BYTES / 4];
        (
            *blake3::hash(&[n.to_le_bytes(), [0; 8]].concat()).as_bytes(),
            Arc::new(bytes),
        )
    }

    #[test]
    fn the_oldest_plans_leave_a_full_cache() {
        let cache = PlanCache::default();
        for n in 0..6 {
            let (hash, bytes) = plan(n);
            assert!(cache.insert(hash, Arc::clone(&bytes)));
            assert!(!cache.insert(hash, bytes), "kept once");
        }
        assert!(cache.get(&plan(0).0).is_none());
        assert!(cache.get(&plan(5).0).is_some());
        assert!(cache.inner.lock().bytes <= CACHE_BYTES);
    }

    #[tokio::test]
    async fn a_waiter_is_woken_by_the_arrival_and_gives_up_in_time() {
        let cache = Arc::new(PlanCache::default());
        let (hash, bytes) = plan(1);
        let waiting = {
            let cache = Arc::clone(&cache);
            tokio::spawn(async move { cache.wait(&hash, Duration::from_secs(30)).await })
        };
        tokio::task::yield_now().await;
        cache.insert(hash, bytes);
        assert!(waiting.await.unwrap().is_some());
        assert!(
            cache
                .wait(&plan(9).0, Duration::from_millis(1))
                .await
                .is_none()
        );
    }
}
