//! Scans over shards that live on several peers.
//!
//! A [`ClusterSource`] names every shard of its table once, each with the holder that a plan chose.
//! Wherever it is opened it reads the shards that are assigned to the running task: those of this
//! peer from a frozen local snapshot, the others by call. It is therefore right on every peer and
//! in every stage; routing a stage's tasks to the holders only makes it fast.
//!
//! The scan is encoded with its whole assignment table and finds its share by the index of the
//! running task, so that one encoded plan serves all tasks of a stage.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use datafusion::common::{Result, exec_err, internal_datafusion_err, internal_err};
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion_distributed::DistributedTaskContext;
use datafusion_proto::bytes::{
    physical_plan_from_bytes_with_extension_codec, physical_plan_to_bytes_with_extension_codec,
};
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};
use futures::{StreamExt, TryStreamExt};
use netabase_sql::{
    ColumnSummary, CompactExec, ForgetExec, ScanRequest, ShardRef, ShardScan, ShardSource,
    SourceStatistics, decode_request, encode_request, error_to_datafusion, scan_snapshot,
};
use netabase_store::{Error, ErrorKind, TableDef, TableId, TableSnapshot};
use serde::{Deserialize, Serialize};

use crate::counters::add;
use crate::fence;
use crate::lookup::LookupJoinExec;
use crate::node::Shared;
use crate::plans::{PlanStub, StagePlan, read_stub, write_stub};
use crate::protocol::{self, Read};
use crate::rpc::Parts;

/// Most tasks that one scan is spread over.
pub(crate) const MAX_TASKS: usize = 1024;
/// Partitions of a scan, per task, at most.
const MAX_PARTITIONS: usize = 256;

/// The shards of a table, bound to holders and, once a stage is cut, to the stage's tasks.
pub(crate) struct ClusterSource {
    shared: Arc<Shared>,
    table: TableId,
    shards: Vec<ShardRef>,
    partitions: usize,
    statistics: SourceStatistics,
    /// For each task of the stage the indices of its shards; empty: one task reads them all.
    tasks: Vec<Vec<u32>>,
    /// Whether every task reads all shards; see `lookup`.
    everywhere: bool,
    /// The local view, frozen when it is first needed and shared by all partitions.
    snapshot: Arc<OnceLock<TableSnapshot>>,
    /// Bytes that this source's own calls brought here.
    received: Arc<AtomicU64>,
    /// Estimates from the shards that are here.
    summaries: Option<Arc<[ColumnSummary]>>,
}

impl fmt::Debug for ClusterSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterSource")
            .field("table", &self.table)
            .field("shards", &self.shards.len())
            .field("tasks", &self.tasks)
            .finish_non_exhaustive()
    }
}

impl ClusterSource {
    pub(crate) fn new(
        shared: Arc<Shared>,
        table: TableId,
        shards: Vec<ShardRef>,
        partitions: usize,
        statistics: SourceStatistics,
    ) -> Self {
        Self {
            shared,
            table,
            shards,
            partitions: partitions.clamp(1, MAX_PARTITIONS),
            statistics,
            tasks: Vec::new(),
            everywhere: false,
            snapshot: Arc::default(),
            received: Arc::default(),
            summaries: None,
        }
    }

    /// With the local view that its statistics were taken from.
    pub(crate) fn with_snapshot(mut self, snapshot: TableSnapshot) -> Self {
        self.summaries = Some(self.shared.estimates.of(&snapshot));
        let _ = self.snapshot.set(snapshot);
        self
    }

    /// The source behind a plan's leaf, if it is one of ours.
    pub(crate) fn of(plan: &Arc<dyn ExecutionPlan>) -> Option<(&ShardScan, &Self)> {
        let scan = ShardScan::of(plan)?;
        let source = scan.source().as_any().downcast_ref::<Self>()?;
        Some((scan, source))
    }

    /// Bytes that calls of this source (not of its copies on other peers) brought here so far.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Distinct holders, in the order of their ids.
    pub(crate) fn holders(&self) -> Vec<&str> {
        let mut holders: Vec<&str> = self.shards.iter().map(|s| s.holder.as_str()).collect();
        holders.sort_unstable();
        holders.dedup();
        holders
    }

    /// The same source cut into the tasks of a stage: task `i` reads what holder `i` (modulo the
    /// number of tasks) holds.
    pub(crate) fn cut(&self, task_count: usize) -> Self {
        let holders = self.holders();
        let mut tasks = vec![Vec::new(); task_count];
        for (index, shard) in (0u32..).zip(&self.shards) {
            let holder = holders.binary_search(&shard.holder.as_str()).unwrap_or(0);
            if let Some(task) = tasks.get_mut(holder % task_count.max(1)) {
                task.push(index);
            }
        }
        Self {
            shared: Arc::clone(&self.shared),
            table: self.table,
            shards: self.shards.clone(),
            partitions: self.partitions,
            statistics: self.statistics,
            tasks,
            everywhere: self.everywhere,
            snapshot: Arc::clone(&self.snapshot),
            received: Arc::clone(&self.received),
            summaries: self.summaries.clone(),
        }
    }

    /// Rows of all shards, as announced.
    pub(crate) fn rows(&self) -> u64 {
        self.statistics.rows
    }

    /// The same source for a place where every task needs all rows.
    pub(crate) fn everywhere(&self) -> Self {
        let mut whole = self.cut(1);
        whole.tasks = Vec::new();
        whole.partitions = 1;
        whole.everywhere = true;
        whole
    }

    /// Adds the rows that task `index` reads from each holder; an uncut source has one task.
    pub(crate) fn count_rows(&self, index: usize, rows: &mut BTreeMap<String, u64>) {
        let mut count = |shard: &ShardRef| {
            *rows.entry(shard.holder.clone()).or_default() += shard.rows + 1;
        };
        if self.tasks.is_empty() {
            self.shards.iter().for_each(count);
            return;
        }
        for &shard in self.tasks.get(index).into_iter().flatten() {
            self.shards
                .get(shard as usize)
                .into_iter()
                .for_each(&mut count);
        }
    }

    /// The shards that the running task reads.
    fn assigned(&self, context: &Arc<TaskContext>) -> Result<Vec<&ShardRef>> {
        let task = DistributedTaskContext::from_ctx(context);
        if self.everywhere || (self.tasks.is_empty() && task.task_count <= 1) {
            return Ok(self.shards.iter().collect());
        }
        if task.task_count != self.tasks.len() {
            // Reading on would repeat or leave out shards.
            return internal_err!(
                "a scan cut for {} tasks runs as one of {}",
                self.tasks.len(),
                task.task_count
            );
        }
        let Some(own) = self.tasks.get(task.task_index) else {
            return internal_err!("task {} of {}", task.task_index, task.task_count);
        };
        own.iter()
            .map(|&i| {
                let shard = self.shards.get(i as usize);
                shard.ok_or_else(|| internal_datafusion_err!("no shard at index {i}"))
            })
            .collect()
    }

    fn local_snapshot(&self) -> Result<&TableSnapshot> {
        if self.snapshot.get().is_none() {
            let taken = self.shared.store.snapshot(self.table);
            let _ = self.snapshot.set(taken.map_err(error_to_datafusion)?);
        }
        self.snapshot
            .get()
            .ok_or_else(|| internal_datafusion_err!("no snapshot"))
    }
}

impl ShardSource for ClusterSource {
    fn shards(&self) -> &[ShardRef] {
        &self.shards
    }

    fn partitions(&self) -> usize {
        self.partitions
    }

    fn statistics(&self) -> SourceStatistics {
        self.statistics
    }

    fn summaries(&self) -> Option<Arc<[ColumnSummary]>> {
        self.summaries.clone()
    }

    fn open(
        &self,
        partition: usize,
        request: &ScanRequest,
        context: &Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        if partition >= self.partitions {
            return exec_err!("partition {partition} of {}", self.partitions);
        }
        let mut local = Vec::new();
        let mut remote = BTreeMap::<&str, Vec<u32>>::new();
        for (i, shard) in self.assigned(context)?.into_iter().enumerate() {
            if shard.holder == self.shared.me {
                local.push(shard.shard);
            } else if i % self.partitions == partition {
                // Every call sees a snapshot of its own, so a remote shard is read by one call.
                remote.entry(&shard.holder).or_default().push(shard.shard);
            }
        }
        let mut streams = Vec::with_capacity(1 + remote.len());
        if !local.is_empty() {
            let slice = (partition, self.partitions);
            let batch_size = context.session_config().batch_size();
            let snapshot = self.local_snapshot()?;
            check_placed(&snapshot.def, &local, &self.shared.me)?;
            streams.push(scan_snapshot(snapshot, &local, slice, request, batch_size)?);
        }
        for (holder, shards) in remote {
            streams.push(self.remote_scan(holder, shards, request)?);
        }
        if streams.len() == 1
            && let Some(only) = streams.pop()
        {
            return Ok(only);
        }
        let schema = request.output_schema()?;
        let all = futures::stream::select_all(streams);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, all)))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl ClusterSource {
    fn remote_scan(
        &self,
        holder: &str,
        shards: Vec<u32>,
        request: &ScanRequest,
    ) -> Result<SendableRecordBatchStream> {
        let peer = self
            .shared
            .parse_peer(holder)
            .map_err(error_to_datafusion)?;
        let read = Read::Scan {
            table: self.table,
            shards,
            request: encode_request(request).map_err(error_to_datafusion)?,
        };
        let shared = Arc::clone(&self.shared);
        let schema = request.output_schema()?;
        let received = Arc::clone(&self.received);
        let parts = async move {
            let suspicious = Arc::clone(&shared);
            let failed = move |e: Error| {
                if e.kind() == ErrorKind::Unavailable {
                    suspicious.suspect(&peer);
                }
                error_to_datafusion(e)
            };
            let parts = shared.pool.read(peer, &read).await.map_err(&failed)?;
            Ok::<_, DataFusionError>(parts.map(move |part| {
                let bytes = part.map_err(&failed)?;
                add(&received, bytes.len() as u64);
                protocol::decode_batch(&bytes).map_err(error_to_datafusion)
            }))
        };
        let rows = futures::stream::once(parts).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

/// Encodes scans, nodes of our own and the stubs that stand for pushed plans.
///
/// Some nodes hold a plan in their bytes. prost's limit of levels starts anew there, so such a plan
/// may not hold another one: the limit holds a few times over (the plan, the one in a node, predicates
/// of its scans), however a hostile peer nests them.
#[derive(Clone)]
pub(crate) struct Codec {
    shared: Arc<Shared>,
    /// Whether the plan stands inside of a node. Its leaves may be scans; it has no other node of
    /// ours.
    inside: bool,
}

impl fmt::Debug for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("netabase Codec")
    }
}

#[derive(Serialize, Deserialize)]
struct EncodedScan {
    table: TableId,
    request: Vec<u8>,
    /// Shard, index of its holder, announced rows, digest.
    shards: Vec<(u32, u32, u64, String)>,
    holders: Vec<String>,
    partitions: u32,
    tasks: Vec<Vec<u32>>,
    everywhere: bool,
}

impl Codec {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            inside: false,
        }
    }

    /// For the plans that nodes hold.
    fn inside(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            inside: true,
        }
    }

    fn encode_inside(&self, plan: Arc<dyn ExecutionPlan>, buf: &mut Vec<u8>) -> Result<()> {
        let bytes = physical_plan_to_bytes_with_extension_codec(plan, &self.inside())?;
        buf.extend(bytes);
        Ok(())
    }

    fn decode_inside(&self, bytes: &[u8], context: &TaskContext) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = physical_plan_from_bytes_with_extension_codec(bytes, context, &self.inside())?;
        fence::check(&plan)?;
        Ok(plan)
    }

    fn encode_scan(scan: &ShardScan, source: &ClusterSource) -> Result<Vec<u8>> {
        let holders = source.holders();
        let index = |holder: &str| holders.binary_search(&holder).unwrap_or(0);
        let encoded = EncodedScan {
            table: source.table,
            request: encode_request(scan.request()).map_err(error_to_datafusion)?,
            shards: source
                .shards
                .iter()
                .map(|s| {
                    let holder = u32::try_from(index(&s.holder)).unwrap_or(u32::MAX);
                    (s.shard, holder, s.rows, s.digest.clone())
                })
                .collect(),
            holders: holders.iter().map(ToString::to_string).collect(),
            partitions: u32::try_from(source.partitions).unwrap_or(1),
            tasks: source.tasks.clone(),
            everywhere: source.everywhere,
        };
        protocol::encode(&encoded).map_err(error_to_datafusion)
    }

    fn decode_scan(&self, bytes: &[u8], context: &TaskContext) -> Result<Arc<dyn ExecutionPlan>> {
        let scan: EncodedScan = protocol::decode(bytes).map_err(error_to_datafusion)?;
        let Some(def) = self.shared.store.table_by_id(scan.table) else {
            return Err(error_to_datafusion(Error::new(
                ErrorKind::Unavailable,
                format!(
                    "peer {} does not know table {} yet",
                    self.shared.me, scan.table
                ),
            )));
        };
        if scan.tasks.len() > MAX_TASKS || scan.partitions as usize > MAX_PARTITIONS {
            return exec_err!("a scan of {} tasks is refused", scan.tasks.len());
        }
        let mut seen = vec![false; def.shards as usize];
        let mut shards = Vec::with_capacity(scan.shards.len());
        for (shard, holder, rows, digest) in scan.shards {
            let holder = scan.holders.get(holder as usize);
            match (seen.get_mut(shard as usize), holder) {
                (Some(seen), Some(holder)) if !*seen => {
                    *seen = true;
                    shards.push(ShardRef {
                        shard,
                        holder: holder.clone(),
                        rows,
                        digest,
                    });
                }
                _ => return exec_err!("a scan names shard {shard} twice or wrongly"),
            }
        }
        let rows = shards.iter().map(|s| s.rows).sum();
        let statistics = SourceStatistics {
            rows,
            bytes: 0,
            exact: false,
        };
        let request = decode_request(&scan.request, def, context).map_err(error_to_datafusion)?;
        let partitions = scan.partitions as usize;
        let shared = Arc::clone(&self.shared);
        let mut source = ClusterSource::new(shared, scan.table, shards, partitions, statistics);
        source.tasks = scan.tasks;
        source.everywhere = scan.everywhere;
        Ok(ShardScan::new(request, Arc::new(source))?.into_exec())
    }

    /// Nothing where there are no keys, else a projection that computes them.
    fn encode_keys(&self, compact: &CompactExec, buf: &mut Vec<u8>) -> Result<()> {
        if compact.keys().is_empty() {
            return Ok(());
        }
        let keys = compact.keys().iter().cloned().enumerate();
        let keys = keys.map(|(place, key)| (key, place.to_string()));
        let empty = Arc::new(EmptyExec::new(compact.schema()));
        let projection = Arc::new(ProjectionExec::try_new(keys, empty)?);
        self.encode_inside(projection, buf)
    }

    /// Reverses [`encode_keys`](Self::encode_keys).
    fn decode_keys(
        &self,
        bytes: &[u8],
        context: &TaskContext,
    ) -> Result<Vec<Arc<dyn PhysicalExpr>>> {
        if bytes.is_empty() {
            return Ok(Vec::new());
        }
        let decoded = self.decode_inside(bytes, context)?;
        let Some(projection) = decoded.downcast_ref::<ProjectionExec>() else {
            return exec_err!("batches of another peer have keys that are none");
        };
        let keys = projection.expr().iter().map(|key| Arc::clone(&key.expr));
        Ok(keys.collect())
    }
}

const SCAN: u8 = 1;
const STUB: u8 = 2;
const LOOKUP: u8 = 3;
const FORGET: u8 = 4;
const COMPACT: u8 = 5;
const FORGET_WINDOW: u8 = 6;

impl PhysicalExtensionCodec for Codec {
    fn try_decode(
        &self,
        buf: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        _converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if self.inside && buf.first() != Some(&SCAN) {
            return exec_err!("a plan inside of a node of another peer may hold scans only");
        }
        if let (Some((&LOOKUP, bytes)), [probe]) = (buf.split_first(), inputs) {
            let decoded = self.decode_inside(bytes, context)?;
            let lookup = LookupJoinExec::with_probe(&decoded, Arc::clone(probe))?;
            return Ok(Arc::new(lookup));
        }
        match (buf, inputs) {
            (&[FORGET], [input]) => return Ok(ForgetExec::above(Arc::clone(input))),
            (&[FORGET_WINDOW], [input]) => {
                return Ok(ForgetExec::above_window(Arc::clone(input)));
            }
            ([COMPACT, gathers, keys @ ..], [input]) => {
                let keys = self.decode_keys(keys, context)?;
                return Ok(CompactExec::above(Arc::clone(input), keys, *gathers != 0));
            }
            _ => {}
        }
        if !inputs.is_empty() {
            return exec_err!("a netabase leaf has no inputs");
        }
        match buf.split_first() {
            Some((&SCAN, bytes)) => self.decode_scan(bytes, context),
            Some((&STUB, bytes)) => {
                let plan = context.session_config().get_extension::<StagePlan>();
                read_stub(bytes, plan.as_deref(), context)
            }
            _ => exec_err!("an unknown kind of netabase node; do all peers run the same release?"),
        }
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        _converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        if let Some((scan, source)) = ClusterSource::of(&node) {
            buf.push(SCAN);
            buf.extend(Self::encode_scan(scan, source)?);
            return Ok(());
        }
        if self.inside {
            return exec_err!("{} cannot be sent inside of a node", node.name());
        }
        if let Some(lookup) = node.downcast_ref::<LookupJoinExec>() {
            buf.push(LOOKUP);
            return self.encode_inside(lookup.without_probe()?, buf);
        }
        if let Some(forget) = node.downcast_ref::<ForgetExec>() {
            buf.push(match forget.is_above_window() {
                true => FORGET_WINDOW,
                false => FORGET,
            });
            return Ok(());
        }
        if let Some(compact) = node.downcast_ref::<CompactExec>() {
            buf.extend([COMPACT, u8::from(compact.gathers())]);
            return self.encode_keys(compact, buf);
        }
        if let Some(stub) = node.downcast_ref::<PlanStub>() {
            buf.push(STUB);
            write_stub(stub, buf);
            return Ok(());
        }
        exec_err!("{} cannot be sent to another peer", node.name())
    }
}

/// A shard that is not placed here is no empty shard: who asks for it must hear so.
fn check_placed(def: &TableDef, shards: &[u32], me: &String) -> Result<()> {
    if def.placement.is_empty() {
        return Ok(());
    }
    let placed = |s: &&u32| {
        def.placement
            .get(**s as usize)
            .is_some_and(|p| p.contains(me))
    };
    match shards.iter().find(|s| !placed(s)) {
        None => Ok(()),
        Some(shard) => Err(error_to_datafusion(Error::new(
            ErrorKind::Unavailable,
            format!(
                "peer {me} does not hold shard {shard} of table \"{}\"",
                def.name
            ),
        ))),
    }
}

/// Reads shards for another peer whose plan could not come here. See [`Read::Scan`].
pub(crate) fn serve_scan(
    shared: &Arc<Shared>,
    table: TableId,
    shards: &[u32],
    request: &[u8],
    context: &Arc<TaskContext>,
) -> Result<Parts> {
    let snapshot = shared.store.snapshot(table).map_err(error_to_datafusion)?;
    check_placed(&snapshot.def, shards, &shared.me)?;
    add(&shared.meters.remote_scans, shards.len() as u64);
    let request =
        decode_request(request, Arc::clone(&snapshot.def), context).map_err(error_to_datafusion)?;
    let batch_size = context.session_config().batch_size();
    let rows = scan_snapshot(&snapshot, shards, (0, 1), &request, batch_size)?;
    Ok(rows
        .map(|batch| {
            let batch = batch.map_err(netabase_sql::error_from_datafusion)?;
            protocol::encode_batch(&batch)
        })
        .boxed())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
    use datafusion::physical_expr::expressions::{col, is_not_null};
    use datafusion::prelude::SessionContext;
    use datafusion_proto::protobuf::physical_plan_node::PhysicalPlanType;
    use datafusion_proto::protobuf::{PhysicalExtensionNode, PhysicalPlanNode};
    use netabase_store::{Settings, Store};
    use prost::Message;

    use super::*;
    use crate::{Identity, Node, NodeSettings};

    /// Many more levels than prost lets pass, and than a stack has room for.
    const LEVELS: usize = 4_000;

    async fn codec() -> (Node, Codec) {
        let store = Store::open(Settings::default()).unwrap();
        let settings = NodeSettings::default();
        let node = Node::start(store, Identity::generate(), settings);
        let node = node.await.unwrap();
        let codec = Codec::new(Arc::clone(node.shared()));
        (node, codec)
    }

    fn schema() -> SchemaRef {
        let fields = ["a", "b"].map(|name| Field::new(name, DataType::Int64, true));
        Arc::new(Schema::new(fields.to_vec()))
    }

    fn decoded(codec: &Codec, bytes: &[u8]) -> Result<Arc<dyn ExecutionPlan>> {
        let task = SessionContext::new().task_ctx();
        physical_plan_from_bytes_with_extension_codec(bytes, &task, codec)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn keys_of_batches_cross_the_wire() {
        let (node, codec) = codec().await;
        let schema = schema();
        let computed = is_not_null(col("b", &schema).unwrap()).unwrap();
        let keys = vec![col("b", &schema).unwrap(), computed];
        for (keys, gathers) in [(keys, true), (Vec::new(), false)] {
            let empty = Arc::new(EmptyExec::new(Arc::clone(&schema)));
            let sent = CompactExec::above(empty, keys.clone(), gathers);
            let bytes = physical_plan_to_bytes_with_extension_codec(sent, &codec).unwrap();
            let came = decoded(&codec, &bytes).unwrap();
            let came = came.downcast_ref::<CompactExec>().unwrap();
            assert_eq!((came.keys(), came.gathers()), (&keys[..], gathers));
        }
        node.stop().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn plans_inside_of_plans_do_not_nest() {
        let (node, codec) = codec().await;
        let empty = Arc::new(EmptyExec::new(schema()));
        let empty = physical_plan_to_bytes_with_extension_codec(empty, &codec).unwrap();
        for head in [&[LOOKUP][..], &[COMPACT, 1]] {
            let mut plan = empty.to_vec();
            for _ in 0..LEVELS {
                let extension = PhysicalExtensionNode {
                    node: [head, &plan].concat(),
                    inputs: vec![PhysicalPlanNode::decode(&empty[..]).unwrap()],
                };
                let node = PhysicalPlanNode {
                    physical_plan_type: Some(PhysicalPlanType::Extension(extension)),
                };
                plan = node.encode_to_vec();
            }
            let error = decoded(&codec, &plan).unwrap_err().to_string();
            assert!(error.contains("may hold scans only"), "{error}");
        }
        node.stop().await.unwrap();
    }
}
