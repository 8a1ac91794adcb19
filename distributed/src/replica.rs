//! Answers other peers' calls.

use std::sync::{Arc, OnceLock};

use datafusion::execution::TaskContext;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use libp2p::PeerId;
use netabase_store::{Error, ErrorKind, TableId};

use crate::counters::add;
use crate::node::Shared;
use crate::protocol::{Answer, Call, Failure, Part, Read, encode};
use crate::rpc::{Parts, Replica};
use crate::source::serve_scan;
use crate::spread::{absorb, believe, blocking};
use crate::{fence, signed, sync};

impl Replica for Shared {
    fn call(self: Arc<Self>, from: PeerId, call: Call) -> BoxFuture<'static, Answer> {
        async move {
            let answer = match call {
                Call::Hello(greeting) => match believe(&self, from, greeting).await {
                    Ok(()) => Ok(Answer::Greeting(self.greeting())),
                    Err(e) => Err(e),
                },
                Call::Define(record) => define(&self, &record).await,
                Call::Apply(part) => apply(&self, from, part).await,
                Call::Plan(hash) => match self.offered_plans.get(&hash) {
                    Some(plan) => Ok(Answer::Plan(plan.to_vec())),
                    None => Err(Error::new(
                        ErrorKind::NotFound,
                        "the plan is not kept any more; ask the query again",
                    )),
                },
                Call::Counters => Ok(Answer::Counters(Box::new(self.meters.read()))),
            };
            answer.unwrap_or_else(|e| Answer::Failed(Failure::from(&e)))
        }
        .boxed()
    }

    fn read(self: Arc<Self>, from: PeerId, read: Read) -> BoxFuture<'static, Result<Parts, Error>> {
        async move {
            match read {
                Read::Scan {
                    table,
                    shards,
                    request,
                } => {
                    let context = scan_context()?;
                    serve_scan(&self, table, &shards, &request, &context)
                        .map_err(netabase_sql::error_from_datafusion)
                }
                Read::Export { table, shard } => export(&self, from, table, shard).await,
            }
        }
        .boxed()
    }
}

/// What decoding and evaluating a predicate needs; without files, like a worker's.
fn scan_context() -> Result<Arc<TaskContext>, Error> {
    static CONTEXT: OnceLock<Arc<TaskContext>> = OnceLock::new();
    if CONTEXT.get().is_none() {
        let runtime = fence::runtime().map_err(netabase_sql::error_from_datafusion)?;
        let mut session = SessionContext::new_with_config_rt(SessionConfig::new(), runtime);
        let registered = netabase_sql::register_functions(&mut session);
        registered.map_err(netabase_sql::error_from_datafusion)?;
        let _ = CONTEXT.set(session.task_ctx());
    }
    let context = CONTEXT.get().cloned();
    context.ok_or_else(|| Error::new(ErrorKind::Unavailable, "no session for scans"))
}

async fn define(shared: &Arc<Shared>, record: &[u8]) -> Result<Answer, Error> {
    let def = signed::from_record(&shared.settings.network, record)?;
    let known = shared.store.table(&def.name);
    if let Some(known) = known
        && def.is_kept_out_by(&known)
        && def.dropped.is_none()
        && !def.is_schema()
    {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "table \"{}\" exists already, made by peer {}",
                def.name, known.owner
            ),
        ));
    }
    absorb(shared, vec![def]).await?;
    Ok(Answer::Done)
}

async fn apply(shared: &Arc<Shared>, from: PeerId, part: Part) -> Result<Answer, Error> {
    if part.author != from.to_base58() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("peer {from} sent rows in the name of {}", part.author),
        ));
    }
    let def = shared.store.table_by_id(part.table);
    let Some(def) = def else {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("peer {} does not know table {}", shared.me, part.table),
        ));
    };
    let placed = def.placement.get(part.shard as usize);
    if !placed.is_some_and(|p| p.contains(&shared.me)) {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!(
                "shard {} of table \"{}\" is not placed on peer {}",
                part.shard, def.name, shared.me
            ),
        ));
    }
    let store = shared.store.clone();
    blocking(move || store.write(vec![sync::to_batch(part)?])).await?;
    add(&shared.meters.batches_applied, 1);
    shared.changed.notify_one();
    Ok(Answer::Done)
}

async fn export(
    shared: &Arc<Shared>,
    from: PeerId,
    table: TableId,
    shard: u32,
) -> Result<Parts, Error> {
    let def = shared.store.table_by_id(table);
    let placed = def.as_ref().and_then(|d| d.placement.get(shard as usize));
    if !placed.is_some_and(|p| p.contains(&from.to_base58())) {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("shard {shard} of table {table} is not placed on peer {from}"),
        ));
    }
    let store = shared.store.clone();
    let batches = blocking(move || store.export_shard(table, shard)).await?;
    let parts = futures::stream::iter(batches);
    Ok(parts.map(|batch| encode(&sync::to_part(&batch)?)).boxed())
}
