//! The one task that owns the libp2p swarm.
//!
//! Commands come in over a bounded channel, events leave through [`Handler`], which must not block.
//! Nothing here touches a disk or plans a query: heartbeats would starve.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use libp2p::core::ConnectedPoint;
use libp2p::gossipsub::{self, IdentTopic, MessageAcceptance, TopicHash};
use libp2p::identity::Keypair;
use libp2p::kad::store::{MemoryStore, MemoryStoreConfig, RecordStore};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{DialError, NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder};
use libp2p::{identify, kad, mdns, noise, ping, tls, yamux};
use netabase_store::{Error, ErrorKind};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::protocol::MAX_GOSSIP;

/// Commands waiting for the swarm.
pub(crate) const COMMAND_QUEUE: usize = 256;
/// Largest DHT value: Kademlia packets are 16 KiB.
pub(crate) const MAX_DHT_VALUE: usize = 12 * 1024;
/// DHT records kept for the network.
const MAX_DHT_RECORDS: usize = 16 * 1024;
/// Streams on one connection, in each direction.
const MAX_STREAMS: usize = 64;
/// A quiet connection is kept this long; peers of a network stay connected.
const IDLE: Duration = Duration::from_secs(3600);
/// A quiet connection is probed this often, and given up after [`PING_TIMEOUT`].
const PING_INTERVAL: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
const GOSSIP_HEARTBEAT: Duration = Duration::from_millis(700);
/// Kademlia looks for more peers this often.
const DISCOVERY_INTERVAL: Duration = Duration::from_secs(20);

/// Protocol names of a network; all carry its name.
#[derive(Debug, Clone)]
pub(crate) struct Protocols {
    pub kad: StreamProtocol,
    pub rpc: StreamProtocol,
    pub identify: String,
    pub topics: [IdentTopic; 3],
}

/// Index into [`Protocols::topics`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Topic {
    Tables = 0,
    Shards = 1,
    Plans = 2,
}

impl Protocols {
    pub(crate) fn new(network: &str) -> Result<Self, Error> {
        let name = |what: &str| {
            StreamProtocol::try_from_owned(format!("/netabase/{network}/{what}/1"))
                .map_err(|e| Error::new(ErrorKind::InvalidInput, e.to_string()))
        };
        let topic = |what: &str| IdentTopic::new(format!("/netabase/{network}/{what}/1"));
        Ok(Self {
            kad: name("kad")?,
            rpc: name("rpc")?,
            identify: format!("/netabase/{network}/1"),
            topics: [topic("tables"), topic("shards"), topic("plans")],
        })
    }

    fn topic_of(&self, hash: &TopicHash) -> Option<Topic> {
        [Topic::Tables, Topic::Shards, Topic::Plans]
            .into_iter()
            .zip(&self.topics)
            .find(|(_, t)| t.hash() == *hash)
            .map(|(t, _)| t)
    }
}

/// What the swarm tells the node. Calls come from the swarm's task and must return at once.
pub(crate) trait Handler: Send + Sync + 'static {
    fn connected(&self, peer: PeerId);
    fn disconnected(&self, peer: PeerId);
    fn identified(&self, peer: PeerId, addresses: Vec<Multiaddr>);
    fn gossip(&self, topic: Topic, source: PeerId, data: &[u8]) -> MessageAcceptance;
    /// A DHT record arrived; `true` keeps it.
    fn record(&self, value: &[u8]) -> bool;
    fn listening(&self, address: Multiaddr);
}

/// A command for the swarm's task.
pub(crate) enum Command {
    /// Dials an address; answers with the peer's id once it turned out to be of this network.
    Join(Multiaddr, oneshot::Sender<Result<PeerId, Error>>),
    /// Makes sure that a peer is connected.
    Connect(PeerId, oneshot::Sender<Result<(), Error>>),
    /// Connects to a peer that another one named, if it is not connected.
    Meet(PeerId, Vec<Multiaddr>),
    Publish(Topic, Vec<u8>),
    PutRecord(Vec<u8>, Vec<u8>),
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    limits: libp2p::connection_limits::Behaviour,
    kad: kad::Behaviour<MemoryStore>,
    gossipsub: gossipsub::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    mdns: Toggle<mdns::tokio::Behaviour>,
    stream: libp2p_stream::Behaviour,
}

/// Connections this peer keeps at most.
const MAX_CONNECTIONS: u32 = 1024;
/// Connections to one peer.
const MAX_CONNECTIONS_PER_PEER: u32 = 4;

fn behaviour(key: &Keypair, protocols: &Protocols, mdns: bool) -> Result<Behaviour, Error> {
    let setup = |e: &dyn std::fmt::Display| {
        Error::new(ErrorKind::Io, format!("cannot set up the network: {e}"))
    };
    let id = key.public().to_peer_id();
    let mut kad_config = kad::Config::new(protocols.kad.clone());
    kad_config
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_periodic_bootstrap_interval(Some(DISCOVERY_INTERVAL));
    let store = MemoryStore::with_config(
        id,
        MemoryStoreConfig {
            max_records: MAX_DHT_RECORDS,
            max_value_bytes: MAX_DHT_VALUE,
            ..Default::default()
        },
    );
    let mut kad = kad::Behaviour::with_config(id, store, kad_config);
    kad.set_mode(Some(kad::Mode::Server));
    let gossip_config = gossipsub::ConfigBuilder::default()
        .validation_mode(gossipsub::ValidationMode::Strict)
        .validate_messages()
        .max_transmit_size(MAX_GOSSIP)
        .heartbeat_interval(GOSSIP_HEARTBEAT)
        .flood_publish(true)
        .message_id_fn(|m: &gossipsub::Message| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&m.source.map(|s| s.to_bytes()).unwrap_or_default());
            hasher.update(&m.sequence_number.unwrap_or_default().to_be_bytes());
            hasher.update(&m.data);
            gossipsub::MessageId::new(hasher.finalize().as_bytes())
        })
        .build()
        .map_err(|e| setup(&e))?;
    let authenticity = gossipsub::MessageAuthenticity::Signed(key.clone());
    let mut gossipsub =
        gossipsub::Behaviour::new(authenticity, gossip_config).map_err(|e| setup(&e))?;
    gossipsub
        .with_peer_score(Default::default(), Default::default())
        .map_err(|e| setup(&e))?;
    for topic in &protocols.topics {
        gossipsub.subscribe(topic).map_err(|e| setup(&e))?;
    }
    let mdns = mdns
        .then(|| mdns::tokio::Behaviour::new(mdns::Config::default(), id))
        .transpose()
        .map_err(|e| setup(&e))?;
    let limits = libp2p::connection_limits::ConnectionLimits::default()
        .with_max_established(Some(MAX_CONNECTIONS))
        .with_max_established_per_peer(Some(MAX_CONNECTIONS_PER_PEER));
    Ok(Behaviour {
        limits: libp2p::connection_limits::Behaviour::new(limits),
        kad,
        gossipsub,
        identify: identify::Behaviour::new(
            identify::Config::new(protocols.identify.clone(), key.public())
                .with_agent_version(format!("netabase/{}", env!("CARGO_PKG_VERSION"))),
        ),
        ping: ping::Behaviour::new(
            ping::Config::new()
                .with_interval(PING_INTERVAL)
                .with_timeout(PING_TIMEOUT),
        ),
        mdns: mdns.into(),
        stream: libp2p_stream::Behaviour::new(),
    })
}

/// Builds the swarm and its stream control. Must run inside the runtime that will poll it.
pub(crate) fn build(
    key: &Keypair,
    protocols: &Protocols,
    mdns: bool,
) -> Result<(SwarmTask, libp2p_stream::Control), Error> {
    let setup = |e: &dyn std::fmt::Display| {
        Error::new(ErrorKind::Io, format!("cannot set up the network: {e}"))
    };
    let behaviour = behaviour(key, protocols, mdns)?;
    let multiplexer = || {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(MAX_STREAMS);
        config
    };
    let swarm = SwarmBuilder::with_existing_identity(key.clone())
        .with_tokio()
        .with_tcp(
            libp2p::tcp::Config::default().nodelay(true),
            (noise::Config::new, tls::Config::new),
            multiplexer,
        )
        .map_err(|e| setup(&e))?
        .with_quic()
        .with_behaviour(|_| behaviour)
        .map_err(|e| setup(&e))?
        .with_swarm_config(|c| c.with_idle_connection_timeout(IDLE))
        .build();
    let control = swarm.behaviour().stream.new_control();
    let task = SwarmTask {
        swarm,
        protocols: protocols.clone(),
        joining: HashMap::new(),
        connecting: HashMap::new(),
        ours: HashSet::new(),
    };
    Ok((task, control))
}

type JoinReply = (Multiaddr, oneshot::Sender<Result<PeerId, Error>>);

/// The swarm and the answers it owes.
pub(crate) struct SwarmTask {
    swarm: Swarm<Behaviour>,
    protocols: Protocols,
    /// Dials by address, until the connection is identified.
    joining: HashMap<libp2p::swarm::ConnectionId, JoinReply>,
    connecting: HashMap<PeerId, Vec<oneshot::Sender<Result<(), Error>>>>,
    /// Connected peers that proved to be of this network.
    ours: HashSet<PeerId>,
}

impl SwarmTask {
    /// Listens on all addresses.
    pub(crate) async fn listen(&mut self, addresses: &[Multiaddr]) -> Result<(), Error> {
        for address in addresses {
            let failed = |e: &dyn std::fmt::Display| {
                let text = e.to_string();
                let in_use = text.to_lowercase().contains("in use");
                let way_out = if in_use {
                    "another program uses it; choose another port, or port 0 for any free one"
                } else {
                    "check that the address belongs to this machine"
                };
                Error::new(
                    ErrorKind::Unavailable,
                    format!("cannot listen on {address}: {text}; {way_out}"),
                )
            };
            ensure_free(address).map_err(|e| failed(&e))?;
            let id = self
                .swarm
                .listen_on(address.clone())
                .map_err(|e| failed(&format!("{e:?}")))?;
            loop {
                match self.swarm.select_next_some().await {
                    SwarmEvent::NewListenAddr { listener_id, .. } if listener_id == id => break,
                    SwarmEvent::ListenerClosed {
                        listener_id,
                        reason: Err(e),
                        ..
                    } if listener_id == id => return Err(failed(&e)),
                    SwarmEvent::ListenerError { listener_id, error } if listener_id == id => {
                        return Err(failed(&error));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Addresses that are listened on by now.
    pub(crate) fn listeners(&self) -> Vec<Multiaddr> {
        self.swarm.listeners().cloned().collect()
    }

    /// Runs until `stop`; everything owed is answered by dropping it.
    pub(crate) async fn run(
        mut self,
        handler: Arc<dyn Handler>,
        mut commands: mpsc::Receiver<Command>,
        stop: CancellationToken,
    ) {
        for address in self.listeners() {
            self.swarm.add_external_address(address);
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                command = commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => break,
                },
                event = self.swarm.select_next_some() => self.event(event, &*handler),
            }
        }
        // Queued farewells leave before the connections close.
        let drain = async {
            loop {
                self.swarm.select_next_some().await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_millis(200), drain).await;
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Join(address, reply) => {
                let opts = DialOpts::unknown_peer_id().address(address.clone()).build();
                let id = opts.connection_id();
                match self.swarm.dial(opts) {
                    Ok(()) => {
                        self.joining.insert(id, (address, reply));
                    }
                    Err(e) => {
                        let _ = reply.send(Err(unreachable(&address, &e)));
                    }
                }
            }
            Command::Connect(peer, reply) => {
                if self.swarm.is_connected(&peer) {
                    let _ = reply.send(Ok(()));
                    return;
                }
                let opts = DialOpts::peer_id(peer)
                    .condition(PeerCondition::DisconnectedAndNotDialing)
                    .build();
                match self.swarm.dial(opts) {
                    Ok(()) | Err(DialError::DialPeerConditionFalse(_)) => {
                        self.connecting.entry(peer).or_default().push(reply);
                    }
                    Err(e) => {
                        let _ = reply.send(Err(peer_unreachable(&peer, &e)));
                    }
                }
            }
            Command::Meet(peer, addresses) => {
                for address in addresses {
                    self.swarm.add_peer_address(peer, address);
                }
                self.meet(peer);
            }
            Command::Publish(topic, data) => {
                let behaviour = self.swarm.behaviour_mut();
                let topic = self.protocols.topics.get(topic as usize);
                if let Some(topic) = topic
                    && let Err(e) = behaviour.gossipsub.publish(topic.hash(), data)
                {
                    // Nobody listens, or queues are full: hints may be lost, everything can be pulled.
                    tracing::debug!(%topic, error = %e, "gossip not sent");
                }
            }
            Command::PutRecord(key, value) => {
                let record = kad::Record::new(key, value);
                let kad = &mut self.swarm.behaviour_mut().kad;
                if let Err(e) = kad.put_record(record, kad::Quorum::One) {
                    tracing::debug!(error = ?e, "record not stored in the DHT");
                }
            }
        }
    }

    fn event(&mut self, event: SwarmEvent<BehaviourEvent>, handler: &dyn Handler) {
        match event {
            SwarmEvent::ConnectionEstablished {
                peer_id, endpoint, ..
            } => {
                for reply in self.connecting.remove(&peer_id).unwrap_or_default() {
                    let _ = reply.send(Ok(()));
                }
                if let ConnectedPoint::Dialer { address, .. } = endpoint {
                    tracing::debug!(%peer_id, %address, "connected");
                }
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                connection_id,
                num_established,
                ..
            } => {
                if let Some((address, reply)) = self.joining.remove(&connection_id) {
                    let _ = reply.send(Err(unreachable(&address, &"it closed the connection")));
                }
                if num_established == 0 && self.ours.remove(&peer_id) {
                    handler.disconnected(peer_id);
                }
            }
            SwarmEvent::OutgoingConnectionError {
                peer_id,
                connection_id,
                error,
            } => {
                if let Some((address, reply)) = self.joining.remove(&connection_id) {
                    let _ = reply.send(Err(unreachable(&address, &error)));
                }
                if let Some(peer) = peer_id {
                    for reply in self.connecting.remove(&peer).unwrap_or_default() {
                        let _ = reply.send(Err(peer_unreachable(&peer, &error)));
                    }
                }
            }
            SwarmEvent::NewListenAddr { address, .. } => handler.listening(address),
            SwarmEvent::Behaviour(event) => self.behaviour_event(event, handler),
            _ => {}
        }
    }

    fn behaviour_event(&mut self, event: BehaviourEvent, handler: &dyn Handler) {
        match event {
            BehaviourEvent::Identify(identify::Event::Received {
                connection_id,
                peer_id,
                info,
            }) => self.identified(connection_id, peer_id, info, handler),
            BehaviourEvent::Gossipsub(gossipsub::Event::Message {
                propagation_source,
                message_id,
                message,
            }) => {
                let topic = self.protocols.topic_of(&message.topic);
                let verdict = match (topic, message.source) {
                    (Some(topic), Some(source)) => handler.gossip(topic, source, &message.data),
                    _ => MessageAcceptance::Reject,
                };
                self.swarm
                    .behaviour_mut()
                    .gossipsub
                    .report_message_validation_result(&message_id, &propagation_source, verdict);
            }
            BehaviourEvent::Kad(kad::Event::InboundRequest {
                request:
                    kad::InboundRequest::PutRecord {
                        record: Some(record),
                        ..
                    },
            }) if handler.record(&record.value) => {
                let _ = self.swarm.behaviour_mut().kad.store_mut().put(record);
            }
            BehaviourEvent::Ping(ping::Event {
                peer,
                result: Err(e),
                ..
            }) if !matches!(e, ping::Failure::Unsupported) => {
                tracing::debug!(%peer, error = %e, "gave up a silent connection");
                let _ = self.swarm.disconnect_peer_id(peer);
            }
            BehaviourEvent::Kad(kad::Event::RoutingUpdated { peer, .. }) => self.meet(peer),
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => {
                for (peer, address) in found {
                    self.swarm.add_peer_address(peer, address);
                    self.meet(peer);
                }
            }
            _ => {}
        }
    }

    /// Connects to a peer that discovery found: peers of a network know each other.
    fn meet(&mut self, peer: PeerId) {
        if !self.swarm.is_connected(&peer) {
            let opts = DialOpts::peer_id(peer)
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .build();
            if let Err(e) = self.swarm.dial(opts) {
                tracing::debug!(%peer, error = %e, "not dialled");
            }
        }
    }

    fn identified(
        &mut self,
        connection: libp2p::swarm::ConnectionId,
        peer: PeerId,
        info: identify::Info,
        handler: &dyn Handler,
    ) {
        let joining = self.joining.remove(&connection);
        if info.protocol_version != self.protocols.identify {
            if let Some((address, reply)) = joining {
                let _ = reply.send(Err(wrong_network(&address, &info, &self.protocols)));
            }
            let _ = self.swarm.disconnect_peer_id(peer);
            return;
        }
        for address in &info.listen_addrs {
            self.swarm
                .behaviour_mut()
                .kad
                .add_address(&peer, address.clone());
            self.swarm.add_peer_address(peer, address.clone());
        }
        if self.ours.insert(peer) {
            handler.connected(peer);
            // One look around the neighbourhood; who is found there gets dialled.
            let _ = self.swarm.behaviour_mut().kad.bootstrap();
        }
        handler.identified(peer, info.listen_addrs);
        if let Some((_, reply)) = joining {
            let _ = reply.send(Ok(peer));
        }
    }
}

/// Fails if somebody listens at an address already: libp2p's sockets share ports, so that binding
/// twice would succeed and connections would go to either.
fn ensure_free(address: &Multiaddr) -> std::io::Result<()> {
    let mut parts = address.iter();
    let ip = match parts.next() {
        Some(Protocol::Ip4(ip)) => std::net::IpAddr::V4(ip),
        Some(Protocol::Ip6(ip)) => std::net::IpAddr::V6(ip),
        _ => return Ok(()),
    };
    match parts.next() {
        Some(Protocol::Tcp(port)) => std::net::TcpListener::bind((ip, port)).map(|_| ()),
        Some(Protocol::Udp(port)) => std::net::UdpSocket::bind((ip, port)).map(|_| ()),
        _ => Ok(()),
    }
}

fn unreachable(address: &Multiaddr, e: &dyn std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("no peer answers at {address}: {e}; check the address, and that the peer runs"),
    )
}

fn peer_unreachable(peer: &PeerId, e: &dyn std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("peer {peer} cannot be reached: {e}"),
    )
}

fn wrong_network(address: &Multiaddr, info: &identify::Info, ours: &Protocols) -> Error {
    let name = |version: &str| {
        version
            .strip_prefix("/netabase/")
            .and_then(|v| v.strip_suffix("/1"))
            .map(str::to_string)
    };
    let theirs = match name(&info.protocol_version) {
        Some(theirs) => format!("belongs to network \"{theirs}\""),
        None => "is not a netabase peer".into(),
    };
    let ours = name(&ours.identify).unwrap_or_default();
    Error::new(
        ErrorKind::InvalidInput,
        format!(
            "the peer at {address} {theirs}, not to \"{ours}\"; open with the right network name, \
             or with another address"
        ),
    )
}
