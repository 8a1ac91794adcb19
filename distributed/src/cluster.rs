//! Tables on the network: placed, written and bound to holders.
//!
//! Invariant: a write is acknowledged when every replica of every shard it touches has it on disk.
//! Every replica therefore has every acknowledged row, and a query may read any one of them.
//! (Weaker levels need repair to be safe; see docs/adr/0005.)

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use datafusion::error::DataFusionError;
use futures::{FutureExt, StreamExt, TryStreamExt};
use libp2p::PeerId;
use netabase_sql::{
    Cluster, ShardRef, ShardSource, SourceStatistics, TableWrite, WriteReceipt, as_dropped,
    next_revision, write_here, write_here_limit,
};
use netabase_store::{Change, Error, ErrorKind, ShardBatch, Stamp, TableDef};

use crate::counters::add;
use crate::node::{Shared, unexpected};
use crate::placement::{choose, place};
use crate::protocol::{Answer, Call, PART_BYTES, cut};
use crate::source::ClusterSource;
use crate::spread::{blocking, spread_definition};
use crate::{signed, sync};

/// Peers that are written to at once.
const WRITE_CONCURRENCY: usize = 16;
/// Attempts to find living holders for one query.
const MAX_ATTEMPTS: usize = 4;
/// Pause before the next attempt, so that a lost connection is noticed.
const RETRY_PAUSE: Duration = Duration::from_millis(150);
/// How long after its start a peer goes on looking for holders it has not met.
const JOIN_GRACE: Duration = Duration::from_secs(5);
/// Holders named in an error.
const MAX_NAMED: usize = 8;

/// The network, as the SQL layer sees it.
pub(crate) struct NetworkCluster {
    shared: Arc<Shared>,
}

impl fmt::Debug for NetworkCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetworkCluster")
            .field("me", &self.shared.me)
            .finish_non_exhaustive()
    }
}

/// Rows for one peer: shard and batch.
type Rows = Vec<(u32, RecordBatch)>;

impl NetworkCluster {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Tells every ready peer; returns what went wrong with whom.
    async fn define_everywhere(&self, def: &TableDef) -> Result<Vec<(PeerId, Error)>, Error> {
        let record = signed::to_record(def)?;
        let peers = self.shared.membership.lock().ready_peers();
        let tell = |peer: PeerId| {
            let call = Call::Define(record.clone());
            async move { (peer, self.shared.pool.call(peer, &call).await) }
        };
        let calls = futures::stream::iter(peers).map(tell);
        let answers: Vec<_> = calls.buffer_unordered(WRITE_CONCURRENCY).collect().await;
        let mut failed = Vec::new();
        for (peer, answer) in answers {
            match answer {
                Ok(Answer::Done) => self.shared.membership.lock().confirmed(&peer, def),
                Ok(_) => failed.push((peer, unexpected(&peer))),
                Err(e) => failed.push((peer, e)),
            }
        }
        Ok(failed)
    }

    async fn store_definition(&self, def: TableDef) -> Result<TableDef, Error> {
        let keypair = self.shared.identity.keypair();
        let def = signed::sign(keypair, &self.shared.settings.network, def)?;
        let (store, stored) = (self.shared.store.clone(), def.clone());
        blocking(move || store.put_table(stored)).await?;
        Ok(def)
    }

    async fn mark_dropped(&self, def: &TableDef) -> Result<(), Error> {
        let dropped = as_dropped(&self.shared.store, def)?;
        let dropped = self.store_definition(dropped).await?;
        let failed = self.define_everywhere(&dropped).await?;
        for (peer, e) in failed {
            // It learns of the drop when it connects next.
            tracing::debug!(%peer, error = %e, "not told of a dropped table");
        }
        spread_definition(&self.shared, &dropped)
    }

    async fn write_here(&self, write: &Write<'_>, rows: Rows) -> Result<(), Error> {
        let batches = rows
            .into_iter()
            .map(|(shard, rows)| write.batch(shard, rows));
        let (store, groups) = (self.shared.store.clone(), frames(batches));
        blocking(move || {
            for group in groups {
                store.write(group)?;
            }
            Ok(())
        })
        .await?;
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Brings one replica its rows. Returns the bytes sent.
    async fn write_replica(
        &self,
        peer: String,
        write: &Write<'_>,
        rows: Rows,
    ) -> Result<u64, Error> {
        if peer == self.shared.me {
            self.write_here(write, rows).await?;
            return Ok(0);
        }
        let peer = self.shared.parse_peer(&peer)?;
        let mut bytes = 0;
        for (shard, rows) in rows {
            for rows in cut(&rows) {
                let part = sync::to_part(&write.batch(shard, rows))?;
                bytes += part.rows.len() as u64;
                self.apply(peer, write.def, shard, Call::Apply(part))
                    .await?;
            }
        }
        Ok(bytes)
    }

    async fn apply(
        &self,
        peer: PeerId,
        def: &TableDef,
        shard: u32,
        call: Call,
    ) -> Result<(), Error> {
        let mut answer = self.shared.pool.call(peer, &call).await;
        if answer
            .as_ref()
            .is_err_and(|e| e.kind() == ErrorKind::NotFound)
        {
            // The definition has not reached it yet.
            let record = signed::to_record(def)?;
            self.shared.pool.call(peer, &Call::Define(record)).await?;
            answer = self.shared.pool.call(peer, &call).await;
        }
        match answer {
            Ok(Answer::Done) => Ok(()),
            Ok(_) => Err(unexpected(&peer)),
            Err(e) if e.kind() == ErrorKind::Unavailable => {
                self.shared.suspect(&peer);
                Err(unacknowledged(
                    def,
                    shard,
                    &peer.to_base58(),
                    &e.to_string(),
                ))
            }
            Err(e) => Err(e),
        }
    }
}

/// What all batches of one write share.
struct Write<'a> {
    def: &'a TableDef,
    change: Change,
    stamp: Stamp,
}

impl Write<'_> {
    fn batch(&self, shard: u32, rows: RecordBatch) -> ShardBatch {
        ShardBatch {
            table: self.def.id,
            shard,
            change: self.change,
            stamp: self.stamp.clone(),
            rows,
        }
    }
}

/// Groups batches so that each group fits one log frame.
fn frames(batches: impl Iterator<Item = ShardBatch>) -> Vec<Vec<ShardBatch>> {
    let mut groups: Vec<Vec<ShardBatch>> = Vec::new();
    let mut size = usize::MAX;
    for batch in batches {
        for rows in cut(&batch.rows) {
            let bytes = rows.get_array_memory_size();
            if size.saturating_add(bytes) > 4 * PART_BYTES {
                groups.push(Vec::new());
                size = 0;
            }
            size += bytes;
            if let Some(group) = groups.last_mut() {
                group.push(ShardBatch {
                    rows,
                    stamp: batch.stamp.clone(),
                    ..batch
                });
            }
        }
    }
    groups
}

fn unacknowledged(def: &TableDef, shard: u32, peer: &str, why: &str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!(
            "table \"{}\", shard {shard}: replica {peer} did not confirm the rows ({why}); they are \
             not acknowledged, and writing them again is safe",
            def.name
        ),
    )
}

fn missing(def: &TableDef, shards: &[u32]) -> Error {
    let list: Vec<String> = shards.iter().map(ToString::to_string).collect();
    let mut holders: Vec<&String> = shards
        .iter()
        .filter_map(|s| def.placement.get(*s as usize))
        .flatten()
        .collect();
    holders.sort_unstable();
    holders.dedup();
    let named: Vec<&str> = holders.iter().take(MAX_NAMED).map(|h| h.as_str()).collect();
    Error::new(
        ErrorKind::Unavailable,
        format!(
            "table \"{}\": {} of {} shards are missing ({}); their last known holders are not \
             reachable: {}; start one of them, or ask again when it is back",
            def.name,
            shards.len(),
            def.shards,
            list.join(", "),
            named.join(", ")
        ),
    )
}

#[async_trait]
impl Cluster for NetworkCluster {
    fn me(&self) -> &str {
        &self.shared.me
    }

    async fn create_table(&self, mut def: TableDef) -> Result<Arc<TableDef>, Error> {
        let _alone = self.shared.creating.lock().await;
        if let Some(known) = self.shared.store.table(&def.name)
            && def.is_kept_out_by(&known)
        {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "table \"{}\" exists already, made by peer {}",
                    def.name, known.owner
                ),
            ));
        }
        def.owner = self.shared.me.as_str().into();
        if !def.local {
            let servers = self.shared.servers();
            if servers.is_empty() {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    format!(
                        "no server peer is connected to hold table \"{}\"; start one, or create it \
                         with local = true",
                        def.name
                    ),
                ));
            }
            def.placement = place(def.id, def.shards, def.replicas, &servers);
        }
        let def = self.store_definition(def).await?;
        if !def.local {
            let failed = self.define_everywhere(&def).await?;
            let placed = |id: &PeerId| {
                let id = id.to_base58();
                def.placement.iter().any(|p| p.contains(&id))
            };
            let fatal = failed
                .into_iter()
                .find(|(peer, e)| e.kind() == ErrorKind::Conflict || placed(peer));
            if let Some((_, e)) = fatal {
                self.mark_dropped(&def).await?;
                return Err(e);
            }
            spread_definition(&self.shared, &def)?;
        }
        Ok(Arc::new(def))
    }

    async fn alter_table(&self, mut def: TableDef) -> Result<Arc<TableDef>, Error> {
        let _alone = self.shared.creating.lock().await;
        if *def.owner != *self.shared.me {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "table \"{}\" belongs to peer {}, which alone may change it; run the statement \
                     there",
                    def.name, def.owner
                ),
            ));
        }
        next_revision(&self.shared.store, &mut def)?;
        let def = self.store_definition(def).await?;
        if !def.local {
            for (peer, e) in self.define_everywhere(&def).await? {
                // It learns of the change when it connects next.
                tracing::debug!(%peer, error = %e, "not told of a changed table");
            }
            spread_definition(&self.shared, &def)?;
        }
        Ok(Arc::new(def))
    }

    async fn drop_table(&self, def: Arc<TableDef>) -> Result<(), Error> {
        let _alone = self.shared.creating.lock().await;
        if !def.local {
            return self.mark_dropped(&def).await;
        }
        let dropped = as_dropped(&self.shared.store, &def)?;
        self.store_definition(dropped).await.map(|_| ())
    }

    /// Every shard takes its part as a whole; then tables that stay here take effect together.
    async fn write_together(&self, writes: Vec<TableWrite>) -> Result<Vec<WriteReceipt>, Error> {
        let (here, spread): (Vec<_>, Vec<_>) =
            writes.into_iter().partition(|write| write.def.local);
        let mut receipts = Vec::with_capacity(here.len() + spread.len());
        for write in spread {
            receipts.push(self.write(write.def, write.change, write.parts).await?);
        }
        if !here.is_empty() {
            let store = self.shared.store.clone();
            let me = self.shared.me.as_str().into();
            let work = move || write_here(&store, &me, here);
            let written = tokio::task::spawn_blocking(work).await.map_err(|e| {
                Error::new(
                    ErrorKind::Unavailable,
                    format!("a write was interrupted: {e}"),
                )
            })??;
            receipts.extend(written);
        }
        Ok(receipts)
    }

    fn together_limit(&self, def: &TableDef) -> Option<usize> {
        def.local.then(write_here_limit)
    }

    async fn write(
        &self,
        def: Arc<TableDef>,
        change: Change,
        parts: Vec<(u32, RecordBatch)>,
    ) -> Result<WriteReceipt, Error> {
        let me = &self.shared.me;
        let stamp = Stamp {
            version: self.shared.store.clock().now(),
            author: me.as_str().into(),
        };
        let mut receipt = WriteReceipt {
            replicas: usize::MAX,
            ..Default::default()
        };
        let mut by_peer = BTreeMap::<String, Rows>::new();
        let mut shards = std::collections::BTreeSet::new();
        let only_here = [me.clone()];
        for (shard, rows) in parts {
            let placed = def.placement.get(shard as usize);
            let replicas = placed.map_or(&only_here[..], |p| p.as_slice());
            if replicas.is_empty() {
                return Err(unacknowledged(
                    &def,
                    shard,
                    "none",
                    "its definition names no replica",
                ));
            }
            receipt.rows += rows.num_rows() as u64;
            receipt.replicas = receipt.replicas.min(replicas.len());
            shards.insert(shard);
            for replica in replicas {
                by_peer
                    .entry(replica.clone())
                    .or_default()
                    .push((shard, rows.clone()));
            }
        }
        receipt.shards = shards.len();
        receipt.peers = by_peer.keys().cloned().collect();
        if receipt.rows == 0 {
            receipt.replicas = 0;
        }
        // Nobody is written to when somebody is known to be missing.
        for (peer, rows) in &by_peer {
            let id = self.shared.parse_peer(peer)?;
            if peer != me && !self.shared.membership.lock().is_ready(&id) {
                let shard = rows.first().map_or(0, |(s, _)| *s);
                return Err(unacknowledged(&def, shard, peer, "it is not connected"));
            }
        }
        let write = Write {
            def: &def,
            change,
            stamp,
        };
        let writes: Vec<_> = by_peer
            .into_iter()
            .map(|(peer, rows)| self.write_replica(peer, &write, rows).boxed())
            .collect();
        let sent: Vec<u64> = futures::stream::iter(writes)
            .buffer_unordered(WRITE_CONCURRENCY)
            .try_collect()
            .await?;
        receipt.bytes = sent.iter().sum();
        Ok(receipt)
    }

    fn read_here(&self, def: &Arc<TableDef>, shard: u32) -> Result<Option<Vec<ShardRef>>, Error> {
        let source = self.plan_scan(def, 1)?;
        let mine = |read: &ShardRef| read.shard == shard && read.holder == self.shared.me;
        let here = source.shards().iter().any(mine);
        Ok(here.then(|| source.shards().to_vec()))
    }

    fn plan_scan(
        &self,
        def: &Arc<TableDef>,
        target_partitions: usize,
    ) -> Result<Arc<dyn ShardSource>, Error> {
        let shared = &self.shared;
        let local = shared.holdings(def);
        let known = shared
            .membership
            .lock()
            .candidates(def, &shared.me, &local, Instant::now());
        let (candidates, digests): (Vec<_>, Vec<_>) = known.into_iter().unzip();
        let holders = choose(&shared.me, &candidates).map_err(|m| missing(def, &m))?;
        let mut shards: Vec<ShardRef> = candidates
            .iter()
            .zip(holders)
            .zip(digests)
            .map(|((c, holder), digest)| ShardRef {
                shard: c.shard,
                holder,
                rows: c.rows,
                digest: blake3::Hash::from_bytes(digest).to_hex().as_str().into(),
            })
            .collect();
        let all_here = shards.iter().all(|s| s.holder == shared.me);
        let snapshot = shards
            .iter()
            .any(|s| s.holder == shared.me)
            .then(|| shared.store.snapshot(def.id))
            .transpose()?;
        for frozen in snapshot.iter().flat_map(|s| &s.shards) {
            let own = |s: &&mut ShardRef| s.shard == frozen.shard && s.holder == shared.me;
            if let Some(shard) = shards.iter_mut().find(own) {
                shard.rows = frozen.rows;
                shard.digest = blake3::Hash::from_bytes(frozen.digest.0)
                    .to_hex()
                    .as_str()
                    .into();
            }
        }
        let statistics = SourceStatistics {
            rows: shards.iter().map(|s| s.rows).sum(),
            bytes: local.iter().map(|h| h.bytes).sum(),
            exact: all_here,
        };
        // A scan of several peers wants two partitions at least: single ones are never spread.
        let partitions = target_partitions.max(if all_here { 1 } else { 2 });
        let (shared, id) = (Arc::clone(shared), def.id);
        let source = ClusterSource::new(shared, id, shards, partitions, statistics);
        Ok(match snapshot {
            Some(snapshot) => Arc::new(source.with_snapshot(snapshot)),
            None => Arc::new(source),
        })
    }

    async fn should_retry(&self, error: &DataFusionError, attempt: usize) -> bool {
        // A newcomer may not have met all holders yet.
        let newcomer = self.shared.started.elapsed() < JOIN_GRACE;
        if !is_loss(error) || (attempt >= MAX_ATTEMPTS && !newcomer) {
            return false;
        }
        let pause = u32::try_from(attempt.min(MAX_ATTEMPTS) + 1).unwrap_or(1);
        tokio::time::sleep(RETRY_PAUSE * pause).await;
        self.probe().await;
        add(&self.shared.meters.retries, 1);
        true
    }
}

impl NetworkCluster {
    /// Asks every ready peer for a sign of life; the silent ones are avoided from now on.
    async fn probe(&self) {
        const PATIENCE: Duration = Duration::from_secs(1);
        let peers = self.shared.membership.lock().ready_peers();
        let ask = |peer: PeerId| async move {
            let asked = self.shared.pool.call(peer, &Call::Counters);
            let answered = tokio::time::timeout(PATIENCE, asked).await;
            match answered {
                Ok(Ok(_)) => self.shared.membership.lock().trust(&peer),
                _ => self.shared.suspect(&peer),
            }
        };
        let probes = futures::stream::iter(peers).map(ask);
        probes
            .buffer_unordered(WRITE_CONCURRENCY)
            .collect::<()>()
            .await;
    }
}

/// How this crate words the loss of a peer.
const LOSSES: [&str; 6] = [
    "does not know table",
    "does not hold shard",
    "is not connected",
    "does not answer",
    "did not answer",
    "was lost during the query",
];

/// Whether an error says that a peer was lost, rather than that the query is wrong.
fn is_loss(error: &DataFusionError) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(e) = source {
        if let Some(e) = e.downcast_ref::<Error>() {
            return e.kind() == ErrorKind::Unavailable;
        }
        if let Some(DataFusionError::Shared(inner)) = e.downcast_ref::<DataFusionError>() {
            source = Some(inner.as_ref());
            continue;
        }
        source = e.source();
    }
    // What another peer ran into reaches this one as text.
    let text = error.to_string();
    LOSSES.iter().any(|loss| text.contains(loss))
}
