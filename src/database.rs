//! The handle.
//!
//! Purpose: owns the layers beneath (store, engine, node) and the runtime that they work on.
//! Invariant: nothing runs after [`Netabase::close`] has returned, and no call hangs because of it.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use netabase_distributed::{Counters, Identity, Node, PeerInfo};
use netabase_sql::{Cluster, CopyOptions, Engine, LocalCluster, PointCall, WriteReceipt};
use netabase_store::{Error, ErrorKind, OpenReport, Store, StoreHealth, StoreStats};
use tokio::sync::Mutex;

use crate::answer::Answer;
use crate::builder::{Builder, Progress};
use crate::joining::meet_holders;
use crate::opening::open_store;
use crate::runtime::{QueryRuntime, closed};
use crate::settings::Settings;
use crate::watched::{WatchedCluster, count_retries};

/// How long closing waits for statements that write rows.
const WRITES_LIMIT: Duration = Duration::from_secs(30);

/// A database: a peer of a network, or alone. Cheap to clone; every clone is the same database.
#[derive(Debug, Clone)]
pub struct Netabase {
    inner: Arc<Inner>,
}

/// What every clone, answer and stream shares.
#[derive(Debug)]
pub(crate) struct Inner {
    store: Store,
    engine: Engine,
    cluster: Arc<dyn Cluster>,
    node: Option<Node>,
    me: String,
    closed: AtomicBool,
    closing: Mutex<bool>,
    // Last: the layers above end before the threads they run on.
    runtime: QueryRuntime,
}

impl Inner {
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn cluster(&self) -> &Arc<dyn Cluster> {
        &self.cluster
    }

    pub(crate) fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    pub(crate) fn runtime(&self) -> &QueryRuntime {
        &self.runtime
    }
}

impl Netabase {
    /// Options of a database; [`Builder::open`] opens it.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A lone peer over a folder: durable, no network.
    ///
    /// # Errors
    /// As [`Builder::open`].
    pub async fn embedded(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::builder().data_dir(path.as_ref()).open().await
    }

    /// A lone peer in memory: gone on close.
    ///
    /// # Errors
    /// As [`Builder::open`].
    pub async fn in_memory() -> Result<Self, Error> {
        Self::builder().open().await
    }

    pub(crate) async fn start(
        settings: Settings,
        progress: Option<Progress>,
    ) -> Result<Self, Error> {
        let runtime = QueryRuntime::start(settings.engine().target_partitions)?;
        let folder = settings.data_dir.clone();
        let (store_settings, read_only) = (settings.store(), settings.read_only);
        let (store, identity) = runtime
            .blocking(move || {
                let store = open_store(store_settings, progress)?;
                let identity = match folder {
                    // Nothing may be written, and nobody will be told who this is.
                    Some(folder) if read_only && !folder.join("identity").exists() => {
                        Identity::generate()
                    }
                    Some(folder) => Identity::load_or_create(&folder)?,
                    None => Identity::generate(),
                };
                Ok((store, identity))
            })
            .await?;
        let me = identity.peer_id();
        let (opened, node_settings) = (store.clone(), settings.node());
        let joined = runtime
            .run(async move {
                let Some(settings) = node_settings else {
                    return Ok(None);
                };
                let joins = !settings.bootstrap.is_empty();
                let node = Node::start(opened.clone(), identity, settings).await?;
                if joins {
                    meet_holders(&node, &opened).await;
                }
                Ok(Some(node))
            })
            .await;
        let built = joined.and_then(|node| {
            let engine = build_engine(&store, node.as_ref(), &me, &settings)?;
            Ok((node, engine))
        });
        let (node, (engine, cluster)) = match built {
            Ok(built) => built,
            Err(error) => {
                // The folder must be free again when the caller reads the error.
                let _ = runtime.blocking(move || store.close()).await;
                runtime.stop().await;
                return Err(error);
            }
        };
        if !settings.read_only {
            runtime.run(discard_unfinished(engine.clone())).await?;
        }
        let inner = Inner {
            store,
            engine,
            cluster,
            node,
            me,
            closed: AtomicBool::new(false),
            closing: Mutex::new(false),
            runtime,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Runs one statement. A query's rows are read from the answer; anything else is done when this
    /// returns.
    ///
    /// # Errors
    /// `InvalidInput` for a statement that cannot be run, `NotFound` and `Conflict` about tables and
    /// rows, `Unavailable` when a needed peer cannot be reached in time, `Capacity` at a limit.
    pub async fn sql(&self, text: &str) -> Result<Answer, Error> {
        let started = Instant::now();
        let call = self.inner.engine.point(text);
        if let Some(answer) = self.at_once(call, started).await? {
            return Ok(answer);
        }
        let text = text.to_owned();
        self.run(move |inner| async move {
            let (output, retries) = count_retries(inner.engine.sql(&text)).await;
            Ok(Answer::new(inner, output?, started, retries))
        })
        .await
    }

    /// Runs statements separated by `;`, one after the other, and stops at the first that fails.
    /// Times and retries in the answers' coverage are those of the whole script.
    ///
    /// # Errors
    /// As [`sql`](Self::sql); the statements before the failing one have been run.
    pub async fn script(&self, text: &str) -> Result<Vec<Answer>, Error> {
        let text = text.to_owned();
        self.run(move |inner| async move {
            let started = Instant::now();
            let (outputs, retries) = count_retries(inner.engine.script(&text)).await;
            let answer = |output| Answer::new(Arc::clone(&inner), output, started, retries);
            Ok(outputs?.into_iter().map(answer).collect())
        })
        .await
    }

    /// Ends a statement that runs, whoever asked it: its work stops, and what it holds is freed. A
    /// statement that has begun to write its rows goes on to its end. `CANCEL QUERY id` is the same;
    /// the ids are in the table `netabase.queries`.
    ///
    /// # Errors
    /// `NotFound` when no statement with this id is running, `Conflict` when it is writing its rows.
    pub fn cancel(&self, id: u64) -> Result<(), Error> {
        self.inner.engine.cancel(id)
    }

    /// Loads a file into a table, or all files that match a pattern like `folder/*.parquet`: CSV, JSON,
    /// Parquet or Arrow, by the extension. Tells `progress` how many of how many rows are written; of
    /// large files, of about how many.
    ///
    /// # Errors
    /// As [`sql`](Self::sql), and `Io` when the file cannot be read.
    pub async fn load(
        &self,
        table: &str,
        path: impl AsRef<Path>,
        progress: impl Fn(u64, u64) + Send + Sync + 'static,
    ) -> Result<WriteReceipt, Error> {
        let (table, path) = (table.to_owned(), path.as_ref().to_owned());
        self.run(move |inner| async move {
            let options = CopyOptions::default();
            inner
                .engine
                .copy_from(&table, &path, options, progress)
                .await
        })
        .await
    }

    /// Writes the rows of a query to a file: CSV, JSON, Parquet or Arrow, by the extension. Tells
    /// `progress` how many rows the file has so far, and returns how many it has. The file is there
    /// whole or not at all; one of that name is replaced. `COPY (query) TO 'file'` takes options, too.
    ///
    /// # Errors
    /// As [`sql`](Self::sql), and `Io` when the file cannot be written.
    pub async fn save(
        &self,
        query: &str,
        path: impl AsRef<Path>,
        progress: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<u64, Error> {
        let (query, path) = (query.to_owned(), path.as_ref().to_owned());
        self.run(move |inner| async move {
            let options = CopyOptions::default();
            inner.engine.copy_to(&query, &path, options, progress).await
        })
        .await
    }

    /// This peer's id; it stays the same for a data folder.
    #[must_use]
    pub fn peer_id(&self) -> &str {
        &self.inner.me
    }

    /// The addresses that other peers can join through; none without a network.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.inner.node().map(Node::addresses).unwrap_or_default()
    }

    /// The other peers of the network that are ready.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.inner.node().map(Node::peers).unwrap_or_default()
    }

    /// Waits until at least `count` other peers of the network are ready.
    ///
    /// # Errors
    /// `Unavailable` after `timeout`; `InvalidInput` without a network.
    pub async fn wait_for_peers(&self, count: usize, timeout: Duration) -> Result<(), Error> {
        let node = self.networked()?;
        self.run(move |_| async move { node.wait_for_peers(count, timeout).await })
            .await
    }

    /// What this peer has done for its network; all zero without one.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.inner.node().map(Node::counters).unwrap_or_default()
    }

    /// Asks another peer for its counters.
    ///
    /// # Errors
    /// `NotFound` for a peer that is not known, `Unavailable` when it does not answer.
    pub async fn peer_counters(&self, peer: &str) -> Result<Counters, Error> {
        if peer == self.peer_id() {
            return Ok(self.counters());
        }
        let (node, peer) = (self.networked()?, peer.to_owned());
        self.run(move |_| async move { node.peer_counters(&peer).await })
            .await
    }

    /// What opening the data found and repaired.
    #[must_use]
    pub fn open_report(&self) -> OpenReport {
        self.inner.store.report().clone()
    }

    /// How much this peer holds.
    #[must_use]
    pub fn store_stats(&self) -> StoreStats {
        self.inner.store.stats()
    }

    /// Whether this peer's storage does all of its work, and why not.
    #[must_use]
    pub fn store_health(&self) -> StoreHealth {
        self.inner.store.health()
    }

    /// Says goodbye to the network, makes everything durable and frees the data folder. Later calls
    /// fail with `Unavailable`; closing again does nothing.
    ///
    /// # Errors
    /// What went wrong on the way; the database is closed all the same.
    pub async fn close(&self) -> Result<(), Error> {
        let inner = &self.inner;
        let mut done = inner.closing.lock().await;
        if *done {
            return Ok(());
        }
        inner.closed.store(true, Ordering::SeqCst);
        let engine = inner.engine.clone();
        let writes = async move { engine.close_writes(WRITES_LIMIT).await };
        let written = inner.runtime.run(writes).await;
        let left = match inner.node.clone() {
            Some(node) => inner.runtime.run(async move { node.stop().await }).await,
            None => Ok(()),
        };
        let store = inner.store.clone();
        let flushed = inner.runtime.blocking(move || store.close()).await;
        inner.runtime.stop().await;
        *done = true;
        written.and(left).and(flushed)
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// Runs a piece of work on the query runtime, unless the database is closed.
    pub(crate) async fn run<T, F, W>(&self, work: W) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
        W: FnOnce(Arc<Inner>) -> F,
    {
        if self.inner.closed.load(Ordering::SeqCst) {
            return Err(closed());
        }
        // Futures of statements are large, and would be copied on their way to the runtime.
        let work = Box::pin(work(Arc::clone(&self.inner)));
        self.inner.runtime.run(work).await
    }

    /// Runs a statement about one key, or about few rows that an index points to, on the caller's thread:
    /// handing it to another one, and being woken again, would take longer than the work, which is a
    /// look-up. Only a disk is waited for, and that as any task waits. `None` if it is nothing like that.
    pub(crate) async fn at_once(
        &self,
        call: Option<PointCall>,
        started: Instant,
    ) -> Result<Option<Answer>, Error> {
        // Writing to other peers, and searching at them, is the runtime's work.
        let alone = self.inner.node.is_none();
        let Some(call) = call.filter(|call| alone || !(call.writes() || call.searches())) else {
            return Ok(None);
        };
        if self.inner.closed.load(Ordering::SeqCst) {
            return Err(closed());
        }
        let output = call.run(true).await?;
        Ok(output.map(|output| Answer::new(Arc::clone(&self.inner), output, started, 0)))
    }

    fn networked(&self) -> Result<Node, Error> {
        self.inner.node.clone().ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidInput,
                "this database is not part of a network; open it with the option network",
            )
        })
    }
}

type Planner = (Engine, Arc<dyn Cluster>);

async fn discard_unfinished(engine: Engine) -> Result<(), Error> {
    engine.discard_unfinished().await;
    Ok(())
}

fn build_engine(
    store: &Store,
    node: Option<&Node>,
    me: &str,
    settings: &Settings,
) -> Result<Planner, Error> {
    let cluster = match node {
        Some(node) => node.cluster(),
        None => Arc::new(LocalCluster::new(store.clone(), me)),
    };
    let cluster: Arc<dyn Cluster> = Arc::new(WatchedCluster(cluster));
    let engine = Engine::new(
        store.clone(),
        Arc::clone(&cluster),
        settings.engine(),
        |builder| match node {
            Some(node) => node.configure(builder),
            None => Ok(builder),
        },
    )?;
    Ok((engine, cluster))
}
