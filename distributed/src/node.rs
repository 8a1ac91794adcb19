//! A running peer: the swarm's task, the data plane's server, and the tasks that keep what peers
//! know of each other fresh.
//!
//! The swarm runs on a small runtime of its own; everything else, queries included, on the runtime
//! that started the node. All tasks are owned by the node and end with [`Node::stop`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use datafusion::error::DataFusionError;
use datafusion::execution::SessionStateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_distributed::Worker;
use libp2p::{Multiaddr, PeerId};
use netabase_sql::{Cluster, Estimates};
use netabase_store::{Error, ErrorKind, Store, TableDef};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cluster::NetworkCluster;
use crate::counters::{Counters, Meters};
use crate::identity::Identity;
use crate::membership::{Membership, PeerInfo};
use crate::plans::PlanCache;
use crate::protocol::{
    Announcement, Answer, Call, Gossip, Greeting, Holding, MAX_NEIGHBOUR_ADDRESSES, MAX_NEIGHBOURS,
    Neighbour, encode,
};
use crate::rpc::Pool;
use crate::settings::{NodeSettings, Role};
use crate::spread::Event;
use crate::swarm::{COMMAND_QUEUE, Command, Protocols, Topic};
use crate::{query, rpc, signed, spread, swarm};

/// Events from the swarm that wait to be handled.
const EVENT_QUEUE: usize = 1024;
/// Threads of the swarm's runtime.
const SWARM_THREADS: usize = 2;
/// Definitions in one greeting, in bytes.
const MAX_GREETING: usize = crate::protocol::MAX_MESSAGE / 4;
/// How long the system may take to give an address to listen on.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(10);
/// Rounds in which peers of an earlier run are dialled.
const REMEMBERED_ROUNDS: usize = 3;
/// How long stopping waits for tasks to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// How often an unreached bootstrap peer is tried again.
const REJOIN_INTERVAL: Duration = Duration::from_secs(3);

/// What all parts of a node share.
pub(crate) struct Shared {
    pub me: String,
    pub identity: Identity,
    pub settings: NodeSettings,
    pub store: Store,
    pub membership: Mutex<Membership>,
    pub meters: Arc<Meters>,
    pub pool: Pool,
    /// Plans that others may pull from here.
    pub offered_plans: PlanCache,
    /// Plans that came by gossip. Apart from the offered ones: strangers must not crowd those out.
    pub received_plans: PlanCache,
    /// Held while a table is created here, so that two statements do not make the same one.
    pub creating: tokio::sync::Mutex<()>,
    /// What the planner believes of tables that are (partly) here.
    pub estimates: Estimates,
    /// When the node started.
    pub started: Instant,
    /// Sequence number of the last announcement.
    pub announced: AtomicU64,
    pub commands: mpsc::Sender<Command>,
    pub events: mpsc::Sender<Event>,
    pub addresses: Mutex<Vec<Multiaddr>>,
    /// Holdings changed and want announcing.
    pub changed: Notify,
    /// Membership changed.
    pub news: Notify,
    pub stop: CancellationToken,
}

impl Shared {
    /// Ids of the peers that execute tasks, this one included if it serves; sorted.
    pub(crate) fn server_ids(&self) -> Vec<String> {
        let trusted = self.membership.lock().trusted_servers(Instant::now());
        let mut ids: Vec<String> = trusted.iter().map(|p| p.to_base58()).collect();
        if self.settings.role == Role::Server {
            ids.push(self.me.clone());
        }
        ids.sort_unstable();
        ids
    }

    /// The server peers, this one included if it serves.
    pub(crate) fn servers(&self) -> Vec<PeerId> {
        let mut servers = self.membership.lock().servers();
        if self.settings.role == Role::Server {
            servers.push(self.identity.id());
        }
        servers
    }

    pub(crate) fn parse_peer(&self, id: &str) -> Result<PeerId, Error> {
        id.parse().map_err(|e| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("\"{id}\" is not a peer id: {e}"),
            )
        })
    }

    pub(crate) fn suspect(&self, peer: &PeerId) {
        self.membership.lock().suspect(peer, Instant::now());
    }

    /// When a question asked now has lost its asker, in milliseconds since 1970.
    pub(crate) fn deadline_ms(&self) -> u64 {
        let at = SystemTime::now() + self.settings.deadline;
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// Publishes a hint; `false` when the swarm is too busy for hints.
    pub(crate) fn publish(&self, topic: Topic, message: Vec<u8>) -> bool {
        self.commands
            .try_send(Command::Publish(topic, message))
            .is_ok()
    }

    /// What this peer holds of a table.
    pub(crate) fn holdings(&self, def: &TableDef) -> Vec<Holding> {
        if def.local {
            return Vec::new();
        }
        let Ok(stats) = self.store.shard_stats(def.id) else {
            return Vec::new();
        };
        let placed = |shard: u32| {
            let placed = def.placement.get(shard as usize);
            placed.is_some_and(|p| p.contains(&self.me))
        };
        stats
            .into_iter()
            .filter(|s| placed(s.shard))
            .map(|s| Holding {
                shard: s.shard,
                rows: s.rows,
                bytes: s.bytes,
                digest: s.digest.0,
            })
            .collect()
    }

    /// A number larger than all before it, also than those before a restart: the clock, unless it
    /// was set back.
    fn next_sequence(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let clock = u64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(u64::MAX);
        let next = |last: u64| clock.max(last + 1);
        let before = self
            .announced
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |l| Some(next(l)));
        next(before.unwrap_or_default())
    }

    pub(crate) fn announcement(&self) -> Announcement {
        let sequence = self.next_sequence();
        let tables = self.store.tables();
        let held = tables.iter().map(|def| (def.id, self.holdings(def)));
        Announcement {
            sequence,
            role: self.settings.role,
            tables: held.filter(|(_, h)| !h.is_empty()).collect(),
        }
    }

    fn neighbours(&self) -> Vec<Neighbour> {
        let infos = self.membership.lock().infos().into_iter();
        infos
            .take(MAX_NEIGHBOURS)
            .map(|mut info| {
                info.addresses.truncate(MAX_NEIGHBOUR_ADDRESSES);
                Neighbour {
                    id: info.id,
                    addresses: info.addresses,
                }
            })
            .collect()
    }

    pub(crate) fn greeting(&self) -> Greeting {
        let shared = |def: &Arc<TableDef>| !def.local && !def.attachment.is_empty();
        let mut tables = self.store.all_tables();
        // What is cut off for its size is the drops: the living come first.
        tables.sort_by_key(|def| def.dropped.is_some());
        let mut left = MAX_GREETING;
        let records = tables.iter().filter(|d| shared(d));
        let fits = |record: &Vec<u8>| {
            left = left.saturating_sub(record.len());
            left > 0
        };
        Greeting {
            definitions: records
                .filter_map(|def| signed::to_record(def).ok())
                .take(crate::protocol::MAX_TABLES)
                .take_while(fits)
                .collect(),
            neighbours: self.neighbours(),
            announcement: self.announcement(),
        }
    }
}

/// A running peer of a network.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    worker: Worker,
    tasks: TaskTracker,
    /// Taken when the node stops.
    swarm_runtime: Mutex<Option<SwarmRuntime>>,
}

impl Inner {
    fn spawn_tasks(
        &self,
        (swarm, commands): (swarm::SwarmTask, mpsc::Receiver<Command>),
        incoming: libp2p_stream::IncomingStreams,
        events: mpsc::Receiver<Event>,
        swarm_runtime: &tokio::runtime::Handle,
    ) {
        let (shared, tasks) = (&self.shared, &self.tasks);
        let stop = &shared.stop;
        tasks.spawn_on(
            swarm.run(Arc::clone(shared) as _, commands, stop.clone()),
            swarm_runtime,
        );
        tasks.spawn(rpc::serve(
            Arc::clone(shared),
            self.worker.clone(),
            incoming,
            Arc::clone(&shared.meters),
            stop.clone(),
        ));
        let shared = Arc::clone(shared);
        tasks.spawn(spread::announce(Arc::clone(&shared)));
        tasks.spawn(spread::handle_events(shared, events, tasks.clone()));
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

/// The swarm's runtime. Ends in the background: dropping a runtime inside another one panics.
struct SwarmRuntime(Option<tokio::runtime::Runtime>);

impl SwarmRuntime {
    fn start() -> Result<(Self, tokio::runtime::Handle), Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(SWARM_THREADS)
            .thread_name("netabase-swarm")
            .enable_all()
            .build()
            .map_err(|e| Error::new(ErrorKind::Io, format!("cannot start threads: {e}")))?;
        let handle = runtime.handle().clone();
        Ok((Self(Some(runtime)), handle))
    }
}

impl Drop for SwarmRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("peer_id", &self.inner.shared.me)
            .finish_non_exhaustive()
    }
}

impl Node {
    #[cfg(test)]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    /// Starts a peer: listens, joins through the bootstrap peers, serves.
    ///
    /// Must be called on a tokio runtime that lives as long as the node; its tasks run there.
    ///
    /// # Errors
    /// `InvalidInput` for bad settings or a peer of another network at a bootstrap address;
    /// `Unavailable` when an address cannot be listened on, or (for a client) no bootstrap peer
    /// answers in time.
    pub async fn start(
        store: Store,
        identity: Identity,
        settings: NodeSettings,
    ) -> Result<Self, Error> {
        settings.validate()?;
        let listen = settings.listen_addresses()?;
        let protocols = Protocols::new(&settings.network)?;
        let (runtime, handle) = SwarmRuntime::start()?;
        let (key, mdns, names) = (identity.keypair().clone(), settings.mdns, protocols.clone());
        let setup = handle.spawn(async move {
            let (mut task, control) = swarm::build(&key, &names, mdns)?;
            let listening = tokio::time::timeout(LISTEN_TIMEOUT, task.listen(&listen)).await;
            listening.map_err(|_| {
                Error::new(
                    ErrorKind::Unavailable,
                    format!("the system gave no address to listen on within {LISTEN_TIMEOUT:?}"),
                )
            })??;
            Ok::<_, Error>((task, control))
        });
        let (task, control) = setup
            .await
            .map_err(|e| Error::new(ErrorKind::Io, e.to_string()))??;
        let swarm = (task, control, runtime, handle);
        let inner = Self::assemble(store, identity, settings, &protocols, swarm)?;
        let node = Self { inner };
        if let Err(e) = node.join().await {
            let _ = node.stop().await;
            return Err(e);
        }
        Ok(node)
    }

    fn assemble(
        store: Store,
        identity: Identity,
        settings: NodeSettings,
        protocols: &Protocols,
        (swarm, mut control, runtime, handle): (
            swarm::SwarmTask,
            libp2p_stream::Control,
            SwarmRuntime,
            tokio::runtime::Handle,
        ),
    ) -> Result<Arc<Inner>, Error> {
        let (commands, command_queue) = mpsc::channel(COMMAND_QUEUE);
        let (events, event_queue) = mpsc::channel(EVENT_QUEUE);
        let meters = Arc::new(Meters::default());
        let incoming = control
            .accept(protocols.rpc.clone())
            .map_err(|e| Error::new(ErrorKind::Io, e.to_string()))?;
        let pool = Pool::new(
            control,
            protocols.rpc.clone(),
            commands.clone(),
            Arc::clone(&meters),
            settings.deadline,
        );
        let shared = Arc::new(Shared {
            me: identity.peer_id(),
            identity,
            settings,
            store,
            membership: Mutex::default(),
            meters: Arc::clone(&meters),
            pool,
            offered_plans: PlanCache::default(),
            received_plans: PlanCache::default(),
            creating: tokio::sync::Mutex::default(),
            estimates: Estimates::default(),
            started: Instant::now(),
            announced: AtomicU64::default(),
            commands,
            events,
            addresses: Mutex::new(swarm.listeners()),
            changed: Notify::new(),
            news: Notify::new(),
            stop: CancellationToken::new(),
        });
        let worker = query::worker(&shared).map_err(netabase_sql::error_from_datafusion)?;
        let inner = Inner {
            shared,
            worker,
            tasks: TaskTracker::new(),
            swarm_runtime: Mutex::new(Some(runtime)),
        };
        inner.spawn_tasks((swarm, command_queue), incoming, event_queue, &handle);
        Ok(Arc::new(inner))
    }

    /// Joins through every bootstrap address and every remembered one.
    async fn join(&self) -> Result<(), Error> {
        let shared = &self.inner.shared;
        let bootstrap = shared.settings.bootstrap_addresses()?;
        let mut remembered = spread::remembered(shared).await;
        remembered.retain(|address| !bootstrap.contains(address));
        let again = rejoin(Arc::clone(shared), remembered, REMEMBERED_ROUNDS);
        self.inner.tasks.spawn(again);
        if bootstrap.is_empty() {
            return Ok(());
        }
        let deadline = Instant::now() + shared.settings.join_timeout;
        let mut unreached = Vec::new();
        let mut last = None;
        for address in bootstrap {
            match join_one(shared, &address, deadline).await {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::InvalidInput => return Err(e),
                Err(e) => {
                    unreached.push(address);
                    last = Some(e);
                }
            }
        }
        let nobody = shared.membership.lock().ready_peers().is_empty();
        if let Some(e) = last {
            if nobody && shared.settings.role == Role::Client {
                return Err(e);
            }
            tracing::warn!(error = %e, "a bootstrap peer was not reached; trying on");
            let shared = Arc::clone(shared);
            self.inner
                .tasks
                .spawn(rejoin(shared, unreached, usize::MAX));
        }
        Ok(())
    }

    /// This peer's id.
    #[must_use]
    pub fn peer_id(&self) -> &str {
        &self.inner.shared.me
    }

    /// Addresses this peer listens on, each ending in `/p2p/<peer id>`.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        let shared = &self.inner.shared;
        let addresses = shared.addresses.lock();
        let full = addresses.iter().map(|a| format!("{a}/p2p/{}", shared.me));
        full.collect()
    }

    /// The other peers that are ready.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.inner.shared.membership.lock().infos()
    }

    /// Waits until `count` other peers are ready.
    ///
    /// # Errors
    /// `Unavailable` when they are not within `timeout`.
    pub async fn wait_for_peers(&self, count: usize, timeout: Duration) -> Result<(), Error> {
        let shared = &self.inner.shared;
        let enough = async {
            loop {
                let news = shared.news.notified();
                tokio::pin!(news);
                news.as_mut().enable();
                if shared.membership.lock().ready_peers().len() >= count {
                    return;
                }
                news.await;
            }
        };
        tokio::time::timeout(timeout, enough).await.map_err(|_| {
            let there = shared.membership.lock().ready_peers().len();
            Error::new(
                ErrorKind::Unavailable,
                format!("{there} of {count} other peers were there after {timeout:?}"),
            )
        })
    }

    /// How tables are placed, written and read on this network.
    #[must_use]
    pub fn cluster(&self) -> Arc<dyn Cluster> {
        Arc::new(NetworkCluster::new(Arc::clone(&self.inner.shared)))
    }

    /// Makes a session plan and execute queries over the network.
    ///
    /// # Errors
    /// When the session cannot be configured.
    pub fn configure(
        &self,
        builder: SessionStateBuilder,
    ) -> Result<SessionStateBuilder, DataFusionError> {
        query::configure(&self.inner.shared, &self.inner.worker, builder)
    }

    /// What this peer has done so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.inner.shared.meters.read()
    }

    /// What another peer has done so far.
    ///
    /// # Errors
    /// `Unavailable` when it does not answer.
    pub async fn peer_counters(&self, peer: &str) -> Result<Counters, Error> {
        let shared = &self.inner.shared;
        let peer = shared.parse_peer(peer)?;
        match shared.pool.call(peer, &Call::Counters).await? {
            Answer::Counters(counters) => Ok(*counters),
            _ => Err(unexpected(&peer)),
        }
    }

    /// Bytes that an executed plan moved between peers, as its operators counted them. Waits a
    /// moment for the figures of remote stages.
    pub async fn network_bytes(&self, plan: &Arc<dyn ExecutionPlan>) -> u64 {
        crate::explain::network_bytes(plan).await
    }

    /// A plan as text; for a distributed one with its stages and tasks.
    #[must_use]
    pub fn explain(&self, plan: &Arc<dyn ExecutionPlan>) -> String {
        datafusion_distributed::display_plan_ascii(plan.as_ref(), false)
    }

    /// Says goodbye, ends every task and closes all connections. Doing it twice is harmless.
    ///
    /// # Errors
    /// `Unavailable` when tasks did not end in time; they are abandoned then.
    pub async fn stop(&self) -> Result<(), Error> {
        let Some(runtime) = self.inner.swarm_runtime.lock().take() else {
            return Ok(());
        };
        let shared = &self.inner.shared;
        if let Ok(goodbye) = encode(&Gossip::Goodbye(shared.next_sequence()))
            && shared.publish(Topic::Shards, goodbye)
        {
            // The swarm's task takes commands and stop signals in any order.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        shared.stop.cancel();
        self.inner.tasks.close();
        let ended = tokio::time::timeout(STOP_TIMEOUT, self.inner.tasks.wait()).await;
        drop(runtime);
        ended.map_err(|_| {
            Error::new(
                ErrorKind::Unavailable,
                "the node's tasks did not end in time",
            )
        })
    }
}

pub(crate) fn unexpected(peer: &PeerId) -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        format!("peer {peer} gave an answer to another question; do both run the same release?"),
    )
}

async fn dial(shared: &Arc<Shared>, address: Multiaddr) -> Result<PeerId, Error> {
    let gone = || Error::new(ErrorKind::Unavailable, "the node is stopped");
    let silent = format!("no peer answers at {address} in time");
    let (reply, answer) = oneshot::channel();
    let command = Command::Join(address, reply);
    let dialled = async {
        shared.commands.send(command).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    };
    let waited = tokio::time::timeout(shared.settings.join_timeout, dialled).await;
    waited.map_err(|_| Error::new(ErrorKind::Unavailable, silent))?
}

/// Dials an address until it answers and its peer said hello, at most until `deadline`.
async fn join_one(
    shared: &Arc<Shared>,
    address: &Multiaddr,
    deadline: Instant,
) -> Result<(), Error> {
    const PAUSE: Duration = Duration::from_millis(200);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let joined = tokio::time::timeout(left, dial(shared, address.clone())).await;
        let silent = || {
            let text = format!("no peer answers at {address}; check the address");
            Error::new(ErrorKind::Unavailable, text)
        };
        match joined.unwrap_or_else(|_| Err(silent())) {
            Ok(peer) => {
                while !shared.membership.lock().is_ready(&peer) {
                    if Instant::now() >= deadline {
                        return Err(Error::new(
                            ErrorKind::Unavailable,
                            format!("the peer at {address} did not say hello in time"),
                        ));
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                return Ok(());
            }
            Err(e) if e.kind() == ErrorKind::InvalidInput => return Err(e),
            Err(e) if Instant::now() + PAUSE >= deadline => return Err(e),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Dials addresses, all at once, round after round, until all answered.
async fn rejoin(shared: Arc<Shared>, mut addresses: Vec<Multiaddr>, rounds: usize) {
    for _ in 0..rounds {
        let dials = addresses.into_iter().map(|address| async {
            let failed = dial(&shared, address.clone()).await.is_err();
            failed.then_some(address)
        });
        let round = async {
            let left = futures::future::join_all(dials).await;
            tokio::time::sleep(REJOIN_INTERVAL).await;
            left
        };
        let left = tokio::select! {
            () = shared.stop.cancelled() => return,
            left = round => left,
        };
        addresses = left.into_iter().flatten().collect();
        if addresses.is_empty() {
            return;
        }
    }
}
