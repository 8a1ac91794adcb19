//! Distributed queries: how sessions plan them, and how workers take part.
//!
//! datafusion-distributed cuts a plan into stages; this module tells it how many tasks a scan
//! wants, which peer each task goes to, and how plans travel. What it cannot distribute safely
//! (recursive queries: their nodes cannot be encoded and are executed repeatedly; writes) is
//! planned locally, where scans read remote shards by themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, exec_err};
use datafusion::error::DataFusionError;
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::{SessionState, SessionStateBuilder, TaskContext};
use datafusion::logical_expr::{LogicalPlan, PlanType, StringifiedPlan, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::explain::ExplainExec;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use datafusion_distributed::{
    ChannelResolver, CoordinatorToWorkerMsg, DesiredTaskCountEvent, DesiredTaskCountEventResponse,
    DistributedExt, ExecuteTaskRequest, GetWorkerInfoRequest, GetWorkerInfoResponse, MaybeEncoded,
    RouteTasksEvent, RouteTasksEventResponse, ScaleUpLeafNodeEvent, ScaleUpLeafNodeEventResponse,
    SessionStateBuilderExt, SetPlanRequest, Worker, WorkerChannel, WorkerQueryContext,
    WorkerResolver, WorkerToCoordinatorMsg, display_plan_ascii, grpc,
};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use http::HeaderMap;
use libp2p::PeerId;
use netabase_sql::{error_to_datafusion, register_functions};
use netabase_store::{Error, ErrorKind};
use url::Url;

use crate::counters::add;
use crate::fence;
use crate::lookup::use_lookups;
use crate::node::Shared;
use crate::plans::{GOSSIP_GRACE, PlanStub, StagePlan};
use crate::protocol::{Answer, Call, Gossip, Hash, MAX_GOSSIP, MAX_PLAN, encode};
use crate::rpc::PEER_HEADER;
use crate::source::{ClusterSource, Codec, MAX_TASKS};
use crate::swarm::Topic;

const SCHEME: &str = "p2p";
/// Header with the hash of the plan that a task belongs to.
const PLAN_HEADER: &str = "x-netabase-plan";
/// Bytes that one worker connection buffers before it stops reading.
const CONNECTION_BUFFER: usize = 16 * 1024 * 1024;
/// Room in a gossip message for its envelope and signature.
const GOSSIP_OVERHEAD: usize = 1024;

pub(crate) fn url_of(peer: &str) -> Result<Url> {
    Url::parse(&format!("{SCHEME}://{peer}"))
        .map_err(|e| DataFusionError::Internal(format!("peer id {peer} makes no URL: {e}")))
}

fn peer_of(url: &Url) -> Result<&str> {
    match url.host_str() {
        Some(peer) if url.scheme() == SCHEME => Ok(peer),
        _ => exec_err!("{url} is not the URL of a peer"),
    }
}

/// Gives a session everything that distributed planning and execution need.
pub(crate) fn configure(
    shared: &Arc<Shared>,
    worker: &Worker,
    builder: SessionStateBuilder,
) -> Result<SessionStateBuilder> {
    let me = url_of(&shared.me)?;
    let mut builder = common(shared, builder)?
        .with_distributed_local_worker_context(worker.to_local_worker_context(me))
        .with_distributed_desired_task_count_handler(desired_tasks)
        .with_distributed_scale_up_leaf_node_handler(cut_scan)
        .with_distributed_route_tasks_handler(Router(Arc::clone(shared)))
        // A LIMIT below a broadcast join is applied once per consumer in 4.0.0.
        .with_distributed_broadcast_joins(false)?
        // Isolated unions would make the plan of each task different.
        .with_distributed_children_isolator_unions(false)?
        // A message of a hostile peer must not say how much memory unpacking it takes.
        .with_distributed_compression(None)?
        .with_query_planner(Arc::new(WithLookups))
        .with_distributed_planner();
    if let Some(config) = builder.config() {
        let optimizer = &mut config.options_mut().optimizer;
        // Joins that collect one side run as a single task; partitioned ones are spread.
        optimizer.hash_join_single_partition_threshold = 0;
        optimizer.hash_join_single_partition_threshold_rows = 0;
    }
    let distributed = builder.query_planner().take();
    Ok(builder.with_query_planner(Arc::new(Planner { distributed })))
}

/// What asking and executing sessions share. Codecs are identified by their order.
fn common(shared: &Arc<Shared>, builder: SessionStateBuilder) -> Result<SessionStateBuilder> {
    builder
        .with_distributed_worker_resolver(Workers(Arc::clone(shared)))
        .with_distributed_channel_resolver(Channels(Arc::clone(shared)))
        .with_distributed_user_codec(Codec::new(Arc::clone(shared)))
        .with_distributed_worker_connection_buffer_budget_bytes(CONNECTION_BUFFER)
}

// ---- planning -------------------------------------------------------------------------------

/// DataFusion's planner; joins with small tables stay where the other side's rows are.
#[derive(Debug)]
struct WithLookups;

#[async_trait]
impl QueryPlanner for WithLookups {
    async fn create_physical_plan(
        &self,
        logical: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = DefaultPhysicalPlanner::default()
            .create_physical_plan(logical, session)
            .await?;
        use_lookups(plan)
    }
}

#[derive(Debug)]
struct Planner {
    distributed: Option<Arc<dyn QueryPlanner + Send + Sync>>,
}

impl Planner {
    async fn plan(
        &self,
        logical: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match &self.distributed {
            Some(distributed) if !stays_here(logical)? => {
                distributed.create_physical_plan(logical, session).await
            }
            _ => {
                DefaultPhysicalPlanner::default()
                    .create_physical_plan(logical, session)
                    .await
            }
        }
    }
}

/// Whether a plan holds something that must not leave this peer.
fn stays_here(logical: &LogicalPlan) -> Result<bool> {
    let mut stays = false;
    logical.apply_with_subqueries(|node| {
        stays |= match node {
            LogicalPlan::RecursiveQuery(_)
            | LogicalPlan::Dml(_)
            | LogicalPlan::Copy(_)
            | LogicalPlan::Ddl(_) => true,
            // Its rows are computed here, of what this peer holds and does.
            LogicalPlan::TableScan(scan) => scan.source.table_type() == TableType::View,
            _ => false,
        };
        Ok(if stays {
            TreeNodeRecursion::Stop
        } else {
            TreeNodeRecursion::Continue
        })
    })?;
    Ok(stays)
}

#[async_trait]
impl QueryPlanner for Planner {
    async fn create_physical_plan(
        &self,
        logical: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let LogicalPlan::Explain(explain) = logical else {
            return self.plan(logical, session).await;
        };
        // DataFusion explains its own physical plan; what would run is the distributed one.
        let explained = DefaultPhysicalPlanner::default()
            .create_physical_plan(logical, session)
            .await?;
        let Some(node) = explained.downcast_ref::<ExplainExec>() else {
            return Ok(explained);
        };
        let plan = self.plan(&explain.plan, session).await?;
        let mut plans = node.stringified_plans().to_vec();
        if plan.name() == "DistributedExec" {
            plans.push(StringifiedPlan::new(
                PlanType::FinalPhysicalPlan,
                display_plan_ascii(plan.as_ref(), false),
            ));
        }
        Ok(Arc::new(ExplainExec::new(
            node.schema(),
            plans,
            node.verbose(),
        )))
    }
}

fn desired_tasks(ev: DesiredTaskCountEvent<'_>) -> Option<Result<DesiredTaskCountEventResponse>> {
    let (_, source) = ClusterSource::of(ev.plan)?;
    let tasks = source.holders().len().clamp(1, MAX_TASKS);
    Some(Ok(DesiredTaskCountEventResponse::desired(tasks)))
}

fn cut_scan(ev: ScaleUpLeafNodeEvent<'_>) -> Option<Result<ScaleUpLeafNodeEventResponse>> {
    let (scan, source) = ClusterSource::of(ev.plan)?;
    if ev.task_count <= 1 {
        return None;
    }
    let cut = scan.with_source(Arc::new(source.cut(ev.task_count)));
    Some(Ok(ScaleUpLeafNodeEventResponse::new(cut.into_exec())))
}

/// Sends each task to the peer that holds most of what it reads.
struct Router(Arc<Shared>);

impl datafusion_distributed::RouteTasksHandler for Router {
    fn handle(&self, ev: RouteTasksEvent<'_>) -> Option<Result<RouteTasksEventResponse>> {
        let mut scans = Vec::new();
        let mut only_here = false;
        let walked = ev.plan.apply(|node| {
            if ClusterSource::of(node).is_some() {
                scans.push(Arc::clone(node));
            } else if node.children().is_empty() && !node.name().starts_with("Network") {
                // A catalog view or a literal table: it may be impossible to encode.
                only_here = true;
            }
            Ok(TreeNodeRecursion::Continue)
        });
        if let Err(e) = walked {
            return Some(Err(e));
        }
        if ev.task_count == 1 && only_here {
            let here = url_of(&self.0.me);
            return Some(here.map(|url| RouteTasksEventResponse::new(vec![url])));
        }
        if ev.task_count == 1 && scans.is_empty() {
            return None;
        }
        Some(self.route(&scans, ev.task_count))
    }
}

impl Router {
    fn route(
        &self,
        scans: &[Arc<dyn ExecutionPlan>],
        tasks: usize,
    ) -> Result<RouteTasksEventResponse> {
        let servers = Workers(Arc::clone(&self.0)).get_urls()?;
        let mut urls = Vec::with_capacity(tasks);
        for task in 0..tasks {
            let mut rows = BTreeMap::new();
            for (_, source) in scans.iter().filter_map(ClusterSource::of) {
                source.count_rows(task, &mut rows);
            }
            let most = rows.into_iter().max_by_key(|(_, n)| *n);
            urls.push(match (most, servers.get(task % servers.len().max(1))) {
                (Some((peer, _)), _) => url_of(&peer)?,
                (None, Some(url)) => url.clone(),
                (None, None) => url_of(&self.0.me)?,
            });
        }
        Ok(RouteTasksEventResponse::new(urls))
    }
}

/// The peers that execute tasks: every ready server peer, this one included.
struct Workers(Arc<Shared>);

impl WorkerResolver for Workers {
    fn get_urls(&self) -> Result<Vec<Url>> {
        self.0.server_ids().iter().map(|id| url_of(id)).collect()
    }
}

// ---- sending plans --------------------------------------------------------------------------

struct Channels(Arc<Shared>);

#[async_trait]
impl ChannelResolver for Channels {
    async fn get_worker_client_for_url(&self, url: &Url) -> Result<Box<dyn WorkerChannel>> {
        let peer = self
            .0
            .parse_peer(peer_of(url)?)
            .map_err(error_to_datafusion)?;
        if !self.0.membership.lock().is_connected(&peer) {
            return Err(error_to_datafusion(Error::new(
                ErrorKind::Unavailable,
                format!("peer {peer} is not connected"),
            )));
        }
        let channel = grpc::BoxCloneSyncChannel::new(self.0.pool.channel(peer));
        Ok(Box::new(PushingChannel {
            inner: grpc::create_worker_client(channel),
            peer,
            shared: Arc::clone(&self.0),
        }))
    }
}

/// The crate's gRPC client, except that plans travel by gossip.
struct PushingChannel {
    inner: Box<dyn WorkerChannel>,
    peer: PeerId,
    shared: Arc<Shared>,
}

impl PushingChannel {
    /// Names the peer in the error of a broken connection, and avoids it from then on.
    fn on_loss(&self) -> impl Fn(DataFusionError) -> DataFusionError + Clone + Send + use<> {
        let (shared, peer) = (Arc::clone(&self.shared), self.peer);
        move |error| {
            if !is_transport_error(&error) {
                return error;
            }
            shared.suspect(&peer);
            error_to_datafusion(Error::new(
                ErrorKind::Unavailable,
                format!("peer {peer} was lost during the query; ask again ({error})"),
            ))
        }
    }

    fn push(&self, bytes: Vec<u8>) -> Result<Hash> {
        if bytes.len() > MAX_PLAN {
            return Err(error_to_datafusion(Error::new(
                ErrorKind::Capacity,
                format!(
                    "a stage of the plan takes {} bytes, more than the {MAX_PLAN} that peers \
                     accept; make the statement smaller, for instance its list of literals",
                    bytes.len()
                ),
            )));
        }
        let hash = *blake3::hash(&bytes).as_bytes();
        let bytes = Arc::new(bytes);
        if !self.shared.offered_plans.insert(hash, Arc::clone(&bytes)) {
            return Ok(hash);
        }
        if bytes.len() + GOSSIP_OVERHEAD > MAX_GOSSIP {
            add(&self.shared.meters.plans_too_large, 1);
            return Ok(hash);
        }
        let message = Gossip::Plan {
            deadline: self.shared.deadline_ms(),
            assignment: self.shared.server_ids(),
            plan: bytes.to_vec(),
        };
        let message = encode(&message).map_err(error_to_datafusion)?;
        if self.shared.publish(Topic::Plans, message) {
            add(&self.shared.meters.plans_pushed, 1);
        }
        Ok(hash)
    }
}

#[async_trait]
impl WorkerChannel for PushingChannel {
    async fn coordinator_channel(
        &mut self,
        mut headers: HeaderMap,
        mut request: SetPlanRequest,
        c2w: BoxStream<'static, CoordinatorToWorkerMsg>,
        metrics: ExecutionPlanMetricsSet,
        context: &Arc<TaskContext>,
    ) -> Result<BoxStream<'static, Result<WorkerToCoordinatorMsg>>> {
        let plan = std::mem::replace(&mut request.plan, MaybeEncoded::Encoded(Vec::new()));
        let hash = self.push(plan.encode(context)?)?;
        let stub: Arc<dyn ExecutionPlan> = Arc::new(PlanStub::new(hash));
        request.plan = MaybeEncoded::Encoded(MaybeEncoded::Decoded(stub).encode(context)?);
        let text = blake3::Hash::from_bytes(hash).to_hex();
        if let Ok(value) = text.as_str().parse() {
            headers.insert(PLAN_HEADER, value);
        }
        let lost = self.on_loss();
        let channel = self
            .inner
            .coordinator_channel(headers, request, c2w, metrics, context)
            .await;
        let messages = channel.map_err(&lost)?;
        Ok(messages.map_err(lost).boxed())
    }

    async fn execute_task(
        &mut self,
        headers: HeaderMap,
        request: ExecuteTaskRequest,
        metrics: ExecutionPlanMetricsSet,
        context: &Arc<TaskContext>,
    ) -> Result<Vec<BoxStream<'static, Result<datafusion::arrow::array::RecordBatch>>>> {
        let lost = self.on_loss();
        let partitions = self
            .inner
            .execute_task(headers, request, metrics, context)
            .await
            .map_err(&lost)?;
        let watch = |rows: BoxStream<'static, _>| rows.map_err(lost.clone()).boxed();
        Ok(partitions.into_iter().map(watch).collect())
    }

    async fn get_worker_info(
        &mut self,
        request: GetWorkerInfoRequest,
    ) -> Result<GetWorkerInfoResponse> {
        self.inner.get_worker_info(request).await
    }
}

/// Whether a connection broke, rather than that the other side reported an error.
fn is_transport_error(error: &DataFusionError) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(e) = source {
        if e.is::<tonic::transport::Error>() {
            return true;
        }
        if let Some(status) = e.downcast_ref::<tonic::Status>()
            && matches!(
                status.code(),
                tonic::Code::Unavailable | tonic::Code::Cancelled | tonic::Code::Unknown
            )
        {
            return true;
        }
        source = e.source();
    }
    false
}

// ---- executing plans ------------------------------------------------------------------------

/// The worker that executes tasks for this and other peers.
pub(crate) fn worker(shared: &Arc<Shared>) -> Result<Worker> {
    let runtime = fence::runtime()?;
    let for_sessions = Arc::clone(shared);
    let build = move |ctx: WorkerQueryContext| {
        let shared = Arc::clone(&for_sessions);
        async move { session(&shared, ctx).await }
    };
    Ok(Worker::from_session_builder(build)
        .with_runtime_env(runtime)
        .with_version(env!("CARGO_PKG_VERSION")))
}

/// The session of one task. For another peer's task it also brings the plan here.
async fn session(shared: &Arc<Shared>, ctx: WorkerQueryContext) -> Result<SessionState> {
    let builder = common(shared, ctx.builder)?;
    let Some(from) = ctx.headers.get(PEER_HEADER) else {
        // No connection, no header: this peer's own query, whose plan never left memory.
        return with_functions(builder);
    };
    let from = from.to_str().unwrap_or_default();
    let result = async {
        let hash = plan_hash(&ctx.headers)?;
        let bytes = fetch_plan(shared, from, hash).await?;
        fence::check_bytes(&bytes)?;
        Ok::<_, DataFusionError>(StagePlan { hash, bytes })
    };
    let plan = result
        .await
        .inspect_err(|_| add(&shared.meters.plans_refused, 1))?;
    let mut builder =
        builder.with_distributed_worker_plan_rewrite_handler(fence::Fence::new(shared));
    if let Some(config) = builder.config() {
        config.set_extension(Arc::new(plan));
    }
    add(&shared.meters.tasks_run, 1);
    with_functions(builder)
}

/// Plans name the functions that every peer has.
fn with_functions(builder: SessionStateBuilder) -> Result<SessionState> {
    let mut state = builder.build();
    register_functions(&mut state)?;
    Ok(state)
}

fn plan_hash(headers: &HeaderMap) -> Result<Hash> {
    let hash = headers.get(PLAN_HEADER).and_then(|v| v.to_str().ok());
    match hash.and_then(|h| blake3::Hash::from_hex(h).ok()) {
        Some(hash) => Ok(*hash.as_bytes()),
        None => {
            exec_err!("a task of another peer must name its plan; do both run the same release?")
        }
    }
}

/// The plan's bytes: from gossip if they are there or arrive in a moment, else by call.
async fn fetch_plan(shared: &Arc<Shared>, from: &str, hash: Hash) -> Result<Arc<Vec<u8>>> {
    if let Some(plan) = shared.received_plans.wait(&hash, GOSSIP_GRACE).await {
        add(&shared.meters.plans_by_gossip, 1);
        return Ok(plan);
    }
    let peer = shared.parse_peer(from).map_err(error_to_datafusion)?;
    let answer = shared.pool.call(peer, &Call::Plan(hash)).await;
    match answer.map_err(error_to_datafusion)? {
        Answer::Plan(bytes) if *blake3::hash(&bytes).as_bytes() == hash => {
            add(&shared.meters.plans_by_pull, 1);
            Ok(Arc::new(bytes))
        }
        _ => exec_err!("peer {from} sent another plan than the one it named"),
    }
}
