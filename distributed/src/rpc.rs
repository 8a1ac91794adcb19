//! gRPC over libp2p streams: one HTTP/2 connection per pair of peers and direction.
//!
//! Purpose: flow control, deadlines, cancellation and metadata come from HTTP/2; authenticity and
//! encryption come from the libp2p connection below, whose peer id every request carries in its
//! connection info.
//!
//! libp2p-stream 0.5 drops bursts of inbound streams and may wait for a dial that was never made,
//! so streams are few and long-lived, opened on established connections only, each under a timeout.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use hyper_util::rt::TokioIo;
use libp2p::{PeerId, StreamProtocol};
use netabase_store::{Error, ErrorKind};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::counters::{Meters, add};
use crate::protocol::{Answer, Call, MAX_MESSAGE, Read, decode, encode};
use crate::swarm::Command;

/// Accepted streams that wait for the server to pick them up.
const ACCEPT_QUEUE: usize = 64;
/// Requests at once on one connection.
const MAX_REQUESTS: u32 = 1024;
/// HTTP/2 window of one request: what may be in flight before its reader asks for more.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
/// HTTP/2 window of one connection.
const CONNECTION_WINDOW: u32 = 32 * 1024 * 1024;
/// A silent connection is probed this often, and given up after [`KEEP_ALIVE_TIMEOUT`].
const KEEP_ALIVE: Duration = Duration::from_secs(3);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(7);
/// Largest request to a worker, in bytes: a stub and its surroundings. A plan does not fit, so that
/// all plans come by hash and pass the fence.
const MAX_TASK: usize = 256 * 1024;
/// Opening one stream on a living connection.
const OPEN_TIMEOUT: Duration = Duration::from_secs(3);
const OPEN_ATTEMPTS: usize = 3;
const SERVICE: &str = "netabase.Replica";

/// The body of every message of the `Replica` service.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Frame {
    #[prost(bytes = "bytes", tag = "1")]
    payload: Bytes,
}

type Codec = ProstCodec<Frame, Frame>;

/// The peer at the other end of a request's connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller(pub PeerId);

/// A libp2p stream that counts its bytes and knows its peer.
pub(crate) struct PeerStream {
    io: Compat<libp2p::Stream>,
    peer: PeerId,
    meters: Arc<Meters>,
}

impl Connected for PeerStream {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        Caller(self.peer)
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.io).poll_read(cx, buf);
        let read = buf.filled().len() - before;
        add(&self.meters.bytes_received, read as u64);
        result
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, buf);
        if let Poll::Ready(Ok(n)) = &result {
            add(&self.meters.bytes_sent, *n as u64);
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// The parts of an answer to [`Read`].
pub(crate) type Parts = BoxStream<'static, Result<Vec<u8>, Error>>;

/// Who answers the `Replica` service.
pub(crate) trait Replica: Send + Sync + 'static {
    fn call(self: Arc<Self>, from: PeerId, call: Call) -> BoxFuture<'static, Answer>;
    fn read(self: Arc<Self>, from: PeerId, read: Read) -> BoxFuture<'static, Result<Parts, Error>>;
}

/// The `Replica` service over any [`Replica`].
pub(crate) struct ReplicaServer<R>(Arc<R>);

impl<R> Clone for ReplicaServer<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R> tonic::server::NamedService for ReplicaServer<R> {
    const NAME: &'static str = SERVICE;
}

struct CallMethod<R>(Arc<R>);
struct ReadMethod<R>(Arc<R>);

fn caller<T>(request: &Request<T>) -> Result<PeerId, Status> {
    let caller = request.extensions().get::<Caller>();
    caller
        .map(|c| c.0)
        .ok_or_else(|| Status::unauthenticated("the connection has no peer id"))
}

fn status(e: &Error) -> Status {
    match e.kind() {
        ErrorKind::InvalidInput => Status::invalid_argument(e.to_string()),
        ErrorKind::NotFound => Status::not_found(e.to_string()),
        ErrorKind::Capacity => Status::resource_exhausted(e.to_string()),
        ErrorKind::Unavailable => Status::unavailable(e.to_string()),
        _ => Status::internal(e.to_string()),
    }
}

impl<R: Replica> tonic::server::UnaryService<Frame> for CallMethod<R> {
    type Response = Frame;
    type Future = BoxFuture<'static, Result<Response<Frame>, Status>>;

    fn call(&mut self, request: Request<Frame>) -> Self::Future {
        let replica = Arc::clone(&self.0);
        Box::pin(async move {
            let from = caller(&request)?;
            let call = decode(&request.get_ref().payload).map_err(|e| status(&e))?;
            let answer = replica.call(from, call).await;
            let payload = encode(&answer).map_err(|e| status(&e))?.into();
            Ok(Response::new(Frame { payload }))
        })
    }
}

impl<R: Replica> tonic::server::ServerStreamingService<Frame> for ReadMethod<R> {
    type Response = Frame;
    type ResponseStream = BoxStream<'static, Result<Frame, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Frame>) -> Self::Future {
        let replica = Arc::clone(&self.0);
        Box::pin(async move {
            let from = caller(&request)?;
            let read = decode(&request.get_ref().payload).map_err(|e| status(&e))?;
            let parts = replica.read(from, read).await.map_err(|e| status(&e))?;
            let frames = parts.map(|part| {
                let payload = part.map_err(|e| status(&e))?.into();
                Ok(Frame { payload })
            });
            Ok(Response::new(frames.boxed()))
        })
    }
}

impl<R: Replica> tower::Service<http::Request<Body>> for ReplicaServer<R> {
    type Response = http::Response<Body>;
    type Error = std::convert::Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let replica = Arc::clone(&self.0);
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(Codec::default())
                .max_decoding_message_size(MAX_MESSAGE)
                .max_encoding_message_size(MAX_MESSAGE);
            Ok(match request.uri().path() {
                "/netabase.Replica/Call" => grpc.unary(CallMethod(replica), request).await,
                "/netabase.Replica/Read" => {
                    grpc.server_streaming(ReadMethod(replica), request).await
                }
                path => Status::unimplemented(format!("no method {path}")).into_http(),
            })
        })
    }
}

/// Serves both services on every stream that peers open, until `stop`.
pub(crate) async fn serve<R: Replica>(
    replica: Arc<R>,
    worker: datafusion_distributed::Worker,
    mut incoming: libp2p_stream::IncomingStreams,
    meters: Arc<Meters>,
    stop: CancellationToken,
) {
    let (streams, accepted) = mpsc::channel::<io::Result<PeerStream>>(ACCEPT_QUEUE);
    let accept = async {
        while let Some((peer, stream)) = incoming.next().await {
            let stream = PeerStream {
                io: stream.compat(),
                peer,
                meters: Arc::clone(&meters),
            };
            if streams.try_send(Ok(stream)).is_err() {
                tracing::warn!(%peer, "refused a stream: too many wait to be accepted");
            }
        }
    };
    let worker = worker
        .into_worker_server()
        .max_decoding_message_size(MAX_TASK);
    let worker = tonic::service::interceptor::InterceptedService::new(worker, authenticate);
    let server = Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_REQUESTS)
        .add_service(worker)
        .add_service(ReplicaServer(replica))
        .serve_with_incoming(ReceiverStream::new(accepted));
    tokio::select! {
        () = stop.cancelled() => {}
        () = accept => {}
        result = server => if let Err(e) = result {
            tracing::error!(error = %e, "the data plane's server stopped");
        },
    }
}

/// Header that names the peer a task came from. Set here, whatever the peer wrote into it.
pub(crate) const PEER_HEADER: &str = "x-netabase-peer";

#[allow(clippy::result_large_err)] // tonic's interceptor signature
fn authenticate(mut request: Request<()>) -> Result<Request<()>, Status> {
    let peer = caller(&request)?.to_base58();
    let value = peer
        .parse()
        .map_err(|_| Status::internal("peer id is not a header value"))?;
    request.metadata_mut().insert(PEER_HEADER, value);
    Ok(request)
}

/// Connections to other peers, made on first use.
pub(crate) struct Pool {
    control: libp2p_stream::Control,
    protocol: StreamProtocol,
    commands: mpsc::Sender<Command>,
    meters: Arc<Meters>,
    runtime: Handle,
    deadline: Duration,
    channels: Mutex<HashMap<PeerId, Channel>>,
}

impl Pool {
    pub(crate) fn new(
        control: libp2p_stream::Control,
        protocol: StreamProtocol,
        commands: mpsc::Sender<Command>,
        meters: Arc<Meters>,
        deadline: Duration,
    ) -> Self {
        Self {
            control,
            protocol,
            commands,
            meters,
            runtime: Handle::current(),
            deadline,
            channels: Mutex::new(HashMap::new()),
        }
    }

    /// The channel to a peer. Connecting happens with the first request.
    pub(crate) fn channel(&self, peer: PeerId) -> Channel {
        if let Some(channel) = self.channels.lock().get(&peer) {
            return channel.clone();
        }
        let (control, protocol) = (self.control.clone(), self.protocol.clone());
        let (commands, meters) = (self.commands.clone(), Arc::clone(&self.meters));
        let connector = tower::service_fn(move |_: http::Uri| {
            let (control, protocol) = (control.clone(), protocol.clone());
            let (commands, meters) = (commands.clone(), Arc::clone(&meters));
            async move {
                let stream = open(control, protocol, commands, peer)
                    .await
                    .map_err(io::Error::other)?;
                Ok::<_, io::Error>(TokioIo::new(PeerStream {
                    io: stream.compat(),
                    peer,
                    meters,
                }))
            }
        });
        // The connection's own task must outlive the runtime of whoever asks first.
        let _in_runtime = self.runtime.enter();
        let channel = Endpoint::from_static("http://peer")
            .connect_timeout(self.deadline)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .connect_with_connector_lazy(connector);
        let mut channels = self.channels.lock();
        channels.entry(peer).or_insert(channel).clone()
    }

    /// Forgets the connection to a peer that left.
    pub(crate) fn forget(&self, peer: &PeerId) {
        self.channels.lock().remove(peer);
    }

    /// One question, one answer, within the deadline.
    pub(crate) async fn call(&self, peer: PeerId, call: &Call) -> Result<Answer, Error> {
        let payload: Bytes = encode(call)?.into();
        let mut grpc = self.client(peer);
        let ask = async {
            grpc.ready().await.map_err(|e| lost(&peer, &e))?;
            let path = http::uri::PathAndQuery::from_static("/netabase.Replica/Call");
            let request = Request::new(Frame { payload });
            let answer = grpc.unary(request, path, Codec::default()).await;
            let frame: Frame = answer.map_err(|s| from_status(&peer, &s))?.into_inner();
            match decode(&frame.payload)? {
                Answer::Failed(failure) => Err(Error::from(failure)),
                answer => Ok(answer),
            }
        };
        tokio::time::timeout(self.deadline, ask)
            .await
            .map_err(|_| timed_out(&peer, self.deadline))?
    }

    /// One question, a stream of parts. The deadline holds for the first part; the stream itself
    /// lives as long as the connection's keep-alive does.
    pub(crate) async fn read(
        &self,
        peer: PeerId,
        read: &Read,
    ) -> Result<BoxStream<'static, Result<Bytes, Error>>, Error> {
        let payload: Bytes = encode(read)?.into();
        let mut grpc = self.client(peer);
        let ask = async {
            grpc.ready().await.map_err(|e| lost(&peer, &e))?;
            let path = http::uri::PathAndQuery::from_static("/netabase.Replica/Read");
            let request = Request::new(Frame { payload });
            let answer = grpc.server_streaming(request, path, Codec::default()).await;
            let parts = answer.map_err(|s| from_status(&peer, &s))?.into_inner();
            Ok::<tonic::Streaming<Frame>, Error>(parts)
        };
        let parts = tokio::time::timeout(self.deadline, ask)
            .await
            .map_err(|_| timed_out(&peer, self.deadline))??;
        Ok(parts
            .map(move |part| match part {
                Ok(frame) => Ok(frame.payload),
                Err(s) => Err(from_status(&peer, &s)),
            })
            .boxed())
    }

    fn client(&self, peer: PeerId) -> tonic::client::Grpc<Channel> {
        tonic::client::Grpc::new(self.channel(peer))
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE)
    }
}

/// Opens a stream on an established connection.
async fn open(
    mut control: libp2p_stream::Control,
    protocol: StreamProtocol,
    commands: mpsc::Sender<Command>,
    peer: PeerId,
) -> Result<libp2p::Stream, Error> {
    let stopped = || Error::new(ErrorKind::Unavailable, "the node is stopped");
    let mut last = stopped();
    for _ in 0..OPEN_ATTEMPTS {
        let (reply, connected) = oneshot::channel();
        let command = Command::Connect(peer, reply);
        commands.send(command).await.map_err(|_| stopped())?;
        connected.await.map_err(|_| stopped())??;
        match tokio::time::timeout(OPEN_TIMEOUT, control.open_stream(peer, protocol.clone())).await
        {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(e)) => last = lost(&peer, &e),
            Err(_) => last = timed_out(&peer, OPEN_TIMEOUT),
        }
    }
    Err(last)
}

fn lost(peer: &PeerId, e: &dyn std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("peer {peer} does not answer: {e}"),
    )
}

fn timed_out(peer: &PeerId, after: Duration) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("peer {peer} did not answer within {after:?}"),
    )
}

fn from_status(peer: &PeerId, status: &Status) -> Error {
    let kind = match status.code() {
        tonic::Code::InvalidArgument => ErrorKind::InvalidInput,
        tonic::Code::NotFound => ErrorKind::NotFound,
        tonic::Code::ResourceExhausted => ErrorKind::Capacity,
        _ => return lost(peer, &status.message()),
    };
    Error::new(kind, format!("peer {peer}: {}", status.message()))
}
