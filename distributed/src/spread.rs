//! How peers learn of each other's tables and shards.
//!
//! Three ways, so that none has to be reliable: hints by gossip, a full exchange with every peer
//! that connects (and again whenever a hint says that more happened than fits it), and definitions
//! in the DHT. What arrives is checked before it is believed, and applying it twice changes nothing.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use libp2p::gossipsub::MessageAcceptance;
use libp2p::{Multiaddr, PeerId};
use netabase_store::{Error, ErrorKind, Store, TableDef};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::counters::add;
use crate::node::{Shared, unexpected};
use crate::protocol::{
    Answer, Call, Gossip, Greeting, MAX_GOSSIP, MAX_NEIGHBOUR_ADDRESSES, MAX_NEIGHBOURS, MAX_PLAN,
    MAX_TABLES, Neighbour, decode, encode,
};
use crate::signed;
use crate::swarm::{Command, Handler, MAX_DHT_VALUE, Topic};
use crate::sync;

/// Announcements are repeated this often, for those who missed one.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(5);
/// Changes within this time share an announcement.
const ANNOUNCE_DELAY: Duration = Duration::from_millis(100);
/// Greetings tried with a new connection before it is left to the other side.
const HELLO_ATTEMPTS: u32 = 5;
const HELLO_PAUSE: Duration = Duration::from_millis(200);
/// Greetings under way at once.
const MAX_GREETINGS: usize = 16;
/// Peers whose addresses are remembered.
const MAX_REMEMBERED: usize = 64;
/// A gossiped plan may claim to be awaited this far in the future, in milliseconds.
const MAX_PLAN_DEADLINE_MS: u64 = 3_600_000;
const PEERS_MAP: &str = "peers";

/// What the swarm noticed and the node must act on.
#[derive(Debug)]
pub(crate) enum Event {
    /// Exchange everything with this peer, and compare the shards that both hold.
    Hello(PeerId),
    /// Exchange everything with this peer.
    Refresh(PeerId),
    /// A verified definition arrived.
    Definition(Box<TableDef>),
}

impl Handler for Shared {
    fn connected(&self, peer: PeerId) {
        self.membership.lock().connected(peer);
        self.queue(Event::Hello(peer));
    }

    fn disconnected(&self, peer: PeerId) {
        self.membership.lock().disconnected(&peer);
        self.pool.forget(&peer);
        self.news.notify_waiters();
    }

    fn identified(&self, peer: PeerId, addresses: Vec<Multiaddr>) {
        let addresses = addresses.iter().map(ToString::to_string).collect();
        self.membership.lock().addresses(peer, addresses);
    }

    fn gossip(&self, topic: Topic, source: PeerId, data: &[u8]) -> MessageAcceptance {
        if self.settings.drop_gossip {
            add(&self.meters.gossip_dropped, 1);
            return MessageAcceptance::Ignore;
        }
        let verdict = self.judge(topic, source, data);
        match verdict {
            MessageAcceptance::Accept => add(&self.meters.gossip_accepted, 1),
            MessageAcceptance::Reject => add(&self.meters.gossip_rejected, 1),
            MessageAcceptance::Ignore => {}
        }
        verdict
    }

    fn record(&self, value: &[u8]) -> bool {
        match signed::from_record(&self.settings.network, value) {
            Ok(def) => self.queue(Event::Definition(Box::new(def))),
            Err(e) => {
                tracing::debug!(error = %e, "a DHT record was refused");
                false
            }
        }
    }

    fn listening(&self, address: Multiaddr) {
        let mut addresses = self.addresses.lock();
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
}

impl Shared {
    fn queue(&self, event: Event) -> bool {
        let queued = self.events.try_send(event);
        if let Err(e) = &queued {
            tracing::warn!(error = %e, "too busy to follow the network's news");
        }
        queued.is_ok()
    }

    fn judge(&self, topic: Topic, source: PeerId, data: &[u8]) -> MessageAcceptance {
        if data.len() > MAX_GOSSIP {
            return MessageAcceptance::Reject;
        }
        let Ok(message) = decode::<Gossip>(data) else {
            return MessageAcceptance::Reject;
        };
        match (topic, message) {
            (Topic::Tables, Gossip::Definition(record)) => {
                match signed::from_record(&self.settings.network, &record) {
                    Ok(def) => {
                        self.queue(Event::Definition(Box::new(def)));
                        MessageAcceptance::Accept
                    }
                    Err(_) => MessageAcceptance::Reject,
                }
            }
            (Topic::Shards, Gossip::Holdings(announcement)) => {
                if announcement.tables.len() > MAX_TABLES {
                    return MessageAcceptance::Reject;
                }
                if self.membership.lock().announced(source, announcement) {
                    self.news.notify_waiters();
                }
                MessageAcceptance::Accept
            }
            (Topic::Shards, Gossip::HoldingsChanged) => {
                if self.membership.lock().is_connected(&source) {
                    self.queue(Event::Refresh(source));
                }
                MessageAcceptance::Accept
            }
            (Topic::Shards, Gossip::Goodbye(sequence)) => {
                if self.membership.lock().goodbye(&source, sequence) {
                    self.news.notify_waiters();
                }
                MessageAcceptance::Accept
            }
            (
                Topic::Plans,
                Gossip::Plan {
                    deadline,
                    assignment,
                    plan,
                },
            ) => self.judge_plan(deadline, &assignment, plan),
            _ => MessageAcceptance::Reject,
        }
    }

    /// Keeps a plan in which this peer may have a part; the fence looks at it when a task comes.
    fn judge_plan(&self, deadline: u64, assignment: &[String], plan: Vec<u8>) -> MessageAcceptance {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
        if plan.len() > MAX_PLAN || deadline > now.saturating_add(MAX_PLAN_DEADLINE_MS) {
            return MessageAcceptance::Reject;
        }
        if deadline < now {
            return MessageAcceptance::Ignore;
        }
        if assignment.contains(&self.me) {
            let hash = *blake3::hash(&plan).as_bytes();
            self.received_plans.insert(hash, Arc::new(plan));
        }
        MessageAcceptance::Accept
    }
}

/// Acts on events until the node stops.
pub(crate) async fn handle_events(
    shared: Arc<Shared>,
    mut events: mpsc::Receiver<Event>,
    tasks: TaskTracker,
) {
    let greetings = Arc::new(tokio::sync::Semaphore::new(MAX_GREETINGS));
    // One greeting per peer at a time: hints of a talkative peer do not pile up.
    let greeted = Arc::new(Mutex::new(HashSet::new()));
    loop {
        let event = tokio::select! {
            () = shared.stop.cancelled() => return,
            event = events.recv() => event,
        };
        match event {
            None => return,
            Some(Event::Definition(def)) => {
                if let Err(e) = absorb(&shared, vec![*def]).await {
                    tracing::warn!(error = %e, "a table definition could not be stored");
                }
            }
            Some(Event::Hello(peer) | Event::Refresh(peer)) if !greeted.lock().insert(peer) => {}
            Some(event @ (Event::Hello(peer) | Event::Refresh(peer))) => {
                let (shared, greetings) = (Arc::clone(&shared), Arc::clone(&greetings));
                let greeted = Arc::clone(&greeted);
                let compare = matches!(event, Event::Hello(_));
                tasks.spawn(async move {
                    let stop = shared.stop.clone();
                    let greeting = async {
                        let _turn = greetings.acquire().await;
                        greet(&shared, peer, compare).await;
                    };
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = greeting => {}
                    }
                    greeted.lock().remove(&peer);
                });
            }
        }
    }
}

/// Exchanges definitions and holdings with a peer, then compares shared shards.
async fn greet(shared: &Arc<Shared>, peer: PeerId, compare: bool) {
    for attempt in 1..=HELLO_ATTEMPTS {
        match hello(shared, peer).await {
            Ok(()) => {
                if compare {
                    remember(shared, peer).await;
                    sync::with_peer(shared, peer).await;
                }
                return;
            }
            Err(e) => tracing::debug!(%peer, attempt, error = %e, "hello failed"),
        }
        if !shared.membership.lock().is_connected(&peer) {
            return;
        }
        tokio::time::sleep(HELLO_PAUSE * attempt).await;
    }
}

async fn hello(shared: &Arc<Shared>, peer: PeerId) -> Result<(), Error> {
    let call = Call::Hello(shared.greeting());
    match shared.pool.call(peer, &call).await? {
        Answer::Greeting(greeting) => believe(shared, peer, greeting).await,
        _ => Err(unexpected(&peer)),
    }
}

/// Takes over what a peer said in a greeting.
pub(crate) async fn believe(
    shared: &Arc<Shared>,
    peer: PeerId,
    greeting: Greeting,
) -> Result<(), Error> {
    if greeting.definitions.len() > MAX_TABLES || greeting.announcement.tables.len() > MAX_TABLES {
        return Err(Error::new(
            ErrorKind::Capacity,
            format!("peer {peer} knows more than {MAX_TABLES} tables"),
        ));
    }
    let network = &shared.settings.network;
    let mut defs = Vec::new();
    for record in &greeting.definitions {
        match signed::from_record(network, record) {
            Ok(def) => defs.push(def),
            Err(e) => tracing::warn!(%peer, error = %e, "a definition was refused"),
        }
    }
    absorb(shared, defs).await?;
    meet(shared, greeting.neighbours);
    shared
        .membership
        .lock()
        .announced(peer, greeting.announcement);
    shared.news.notify_waiters();
    Ok(())
}

/// Gets to know the peers that another one knows.
fn meet(shared: &Arc<Shared>, neighbours: Vec<Neighbour>) {
    for neighbour in neighbours.into_iter().take(MAX_NEIGHBOURS) {
        let Ok(peer) = shared.parse_peer(&neighbour.id) else {
            continue;
        };
        if neighbour.id == shared.me || shared.membership.lock().is_connected(&peer) {
            continue;
        }
        let addresses = neighbour.addresses.iter().take(MAX_NEIGHBOUR_ADDRESSES);
        let addresses = addresses.filter_map(|a| a.parse().ok()).collect();
        if shared
            .commands
            .try_send(Command::Meet(peer, addresses))
            .is_err()
        {
            return;
        }
    }
}

/// Stores definitions; what changed is announced.
pub(crate) async fn absorb(shared: &Arc<Shared>, defs: Vec<TableDef>) -> Result<(), Error> {
    if defs.is_empty() {
        return Ok(());
    }
    let store = shared.store.clone();
    let changed = blocking(move || {
        let mut changed = false;
        for def in defs {
            changed |= take_over(&store, def)?;
        }
        Ok(changed)
    })
    .await?;
    if changed {
        shared.changed.notify_one();
    }
    Ok(())
}

/// Stores one definition of another peer; says whether it is news.
fn take_over(store: &Store, def: TableDef) -> Result<bool, Error> {
    if store.table_by_id(def.id).is_none() {
        let namesake = store.table(&def.name);
        // One schema may have several definitions: they say the same.
        let namesake = namesake
            .filter(|known| def.dropped.is_none() && !def.is_schema() && def.is_kept_out_by(known));
        if let Some(namesake) = namesake {
            // Which of two tables a name means must not change behind a user's back.
            tracing::warn!(
                table = %def.name, here = %namesake.owner, there = %def.owner,
                "another peer made a table of this name; it is ignored here until one is dropped"
            );
            return Ok(false);
        }
        if store.all_tables().len() >= MAX_TABLES {
            return Err(Error::new(
                ErrorKind::Capacity,
                format!("more than {MAX_TABLES} tables; drop some"),
            ));
        }
    }
    store.put_table(def)
}

/// Runs store work that waits for a disk.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::new(ErrorKind::Unavailable, format!("the node is stopping: {e}")))?
}

/// Spreads a definition by gossip and into the DHT; who misses both asks when it connects.
pub(crate) fn spread_definition(shared: &Arc<Shared>, def: &TableDef) -> Result<(), Error> {
    let record = signed::to_record(def)?;
    let message = encode(&Gossip::Definition(record.clone()))?;
    if message.len() + 1024 < MAX_GOSSIP {
        shared.publish(Topic::Tables, message);
    }
    if record.len() < MAX_DHT_VALUE {
        let key = format!("/netabase/{}/table/{}", shared.settings.network, def.id);
        let put = Command::PutRecord(key.into_bytes(), record);
        if shared.commands.try_send(put).is_err() {
            tracing::debug!("too busy to store a definition in the DHT");
        }
    }
    shared.changed.notify_one();
    Ok(())
}

/// Announces holdings when they change, and now and then anyway.
pub(crate) async fn announce(shared: Arc<Shared>) {
    loop {
        let woken = async {
            shared.changed.notified().await;
            tokio::time::sleep(ANNOUNCE_DELAY).await;
        };
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = woken => {}
            () = tokio::time::sleep(ANNOUNCE_INTERVAL) => {}
        }
        let full = encode(&Gossip::Holdings(shared.announcement()));
        let message = match full {
            Ok(m) if m.len() + 1024 < MAX_GOSSIP => Ok(m),
            _ => encode(&Gossip::HoldingsChanged),
        };
        if let Ok(message) = message {
            shared.publish(Topic::Shards, message);
        }
    }
}

/// Notes where a peer was reached, for the next start.
async fn remember(shared: &Arc<Shared>, peer: PeerId) {
    let infos = shared.membership.lock().infos();
    let id = peer.to_base58();
    let Some(info) = infos.into_iter().find(|i| i.id == id) else {
        return;
    };
    let full = info.addresses.iter().map(|a| format!("{a}/p2p/{id}"));
    let line = full.collect::<Vec<_>>().join(" ");
    let store = shared.store.clone();
    let noted = blocking(move || {
        let known = store.meta_scan(PEERS_MAP, &[], None, MAX_REMEMBERED)?;
        if known.len() < MAX_REMEMBERED || known.iter().any(|(k, _)| *k == id.as_bytes()) {
            store.meta_put(PEERS_MAP, id.as_bytes(), line.as_bytes())?;
        }
        Ok(())
    });
    if let Err(e) = noted.await {
        tracing::debug!(error = %e, "peer address not remembered");
    }
}

/// Addresses of peers met before, one per peer.
pub(crate) async fn remembered(shared: &Arc<Shared>) -> Vec<Multiaddr> {
    let store = shared.store.clone();
    let entries = blocking(move || store.meta_scan(PEERS_MAP, &[], None, MAX_REMEMBERED));
    let lines = entries.await.unwrap_or_default().into_iter();
    lines
        .filter_map(|(_, line)| {
            let text = String::from_utf8(line).ok()?;
            text.split(' ').next()?.parse().ok()
        })
        .collect()
}
