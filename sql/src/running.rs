//! The statements that run, and how they are ended.
//!
//! Idea: every statement is registered before it is planned, and stays so until its last row was
//! read or its output dropped. Whoever works on it finds it in a task-local, so that a query needs
//! no further argument to count its rows and memory, and to notice that it was ended.
//!
//! Invariant: a statement ends once, for one cause; from then on its stream gives an error and holds
//! nothing, whether anybody reads it or not. Writing rows is not interrupted: a statement either was
//! ended or has begun to write, never both, and who has begun writes all of its rows.
//!
//! Non-goals: statements of other peers; who may end whose.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::future::Future;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant, SystemTime};

use netabase_store::Error;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::error::{capacity, conflict, not_found, unavailable};
use crate::held::Held;
use crate::output::Output;

/// Statements that may run at the same time; one more is refused.
const MAX_STATEMENTS: usize = 10_000;
/// Bytes of a statement's text that are kept.
const MAX_TEXT: usize = 1024;

tokio::task_local! {
    static CURRENT: Arc<Statement>;
}

/// The statements of an engine.
#[derive(Debug, Default)]
pub(crate) struct Running {
    statements: Mutex<BTreeMap<u64, Weak<Statement>>>,
    counts: Counts,
}

/// What has become of statements since the engine was opened.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) started: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) cancelled: AtomicU64,
    pub(crate) timed_out: AtomicU64,
    pub(crate) rows_returned: AtomicU64,
    pub(crate) rows_written: AtomicU64,
}

impl Counts {
    pub(crate) fn add_written(&self, rows: u64) {
        self.rows_written.fetch_add(rows, Ordering::Relaxed);
    }

    /// Counts what a statement of one key did; and the statement, if it was not counted when it began.
    pub(crate) fn add_done(&self, is_new: bool, output: &Output) {
        if is_new {
            self.started.fetch_add(1, Ordering::Relaxed);
        }
        match output.receipt() {
            Some(receipt) => self.add_written(receipt.rows),
            None => {
                let rows = output.ready_rows() as u64;
                self.rows_returned.fetch_add(rows, Ordering::Relaxed);
            }
        }
    }

    /// Counts a statement that failed before it could have been seen.
    pub(crate) fn add_failed(&self) {
        self.started.fetch_add(1, Ordering::Relaxed);
        self.failed.fetch_add(1, Ordering::Relaxed);
    }
}

/// What may still become of a statement: it has begun to write, was ended, or may do either.
const OPEN: u8 = 0;
const WRITING: u8 = 1;
const CANCELLED: u8 = 2;
const TIMED_OUT: u8 = 3;

/// What became of an attempt to end a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It is ended by this.
    Now,
    /// It was ended before.
    Before,
    /// It has begun to write, and is not ended.
    Writing,
}

/// How far a COPY is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CopyProgress {
    /// Rows that were read from files, or handed to the one that is written.
    pub(crate) rows: u64,
    /// Bytes of files that were read, about, and of all that are to be; of a file that is written they
    /// are not known.
    pub(crate) bytes: Option<(u64, u64)>,
}

/// Why a statement was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Somebody asked for it.
    Cancelled,
    /// It took longer than this.
    TimedOut(Duration),
}

/// What a statement is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// It is planned, or changes a definition.
    Starting = 0,
    /// Its query runs, and has given no row yet.
    Running = 1,
    /// Its rows are being read.
    Reading = 2,
    /// It was ended, and is still held.
    Ended,
    /// Its rows are being written, which is not interrupted.
    Writing,
}

impl Phase {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Reading => "reading",
            Self::Ended => "ended",
            Self::Writing => "writing",
        }
    }
}

/// One statement, from its start until nobody holds its output any more.
pub(crate) struct Statement {
    id: u64,
    text: String,
    since: SystemTime,
    started: Instant,
    phase: AtomicU8,
    rows: AtomicU64,
    memory: Arc<AtomicUsize>,
    copy: Mutex<Option<CopyProgress>>,
    /// One of the constants; leaves `OPEN` once.
    fate: AtomicU8,
    /// How long it was allowed to take, if its time was up.
    timeout: OnceLock<Duration>,
    ended: CancellationToken,
    /// What it holds while it runs.
    holds: Mutex<Weak<Held>>,
    registry: Arc<Running>,
}

impl fmt::Debug for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statement")
            .field("id", &self.id)
            .field("phase", &self.phase())
            .finish_non_exhaustive()
    }
}

impl Running {
    /// Runs a statement under an id of its own.
    ///
    /// # Errors
    /// `Capacity` when too many run; those of the statement.
    pub(crate) async fn track<T>(
        self: &Arc<Self>,
        text: impl fmt::Display,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let statement = self.enter(text)?;
        let done = CURRENT.scope(statement, work).await;
        if done.is_err() {
            self.counts.failed.fetch_add(1, Ordering::Relaxed);
        }
        done
    }

    fn enter(self: &Arc<Self>, text: impl fmt::Display) -> Result<Arc<Statement>, Error> {
        let text = beginning(text);
        let mut statements = self.statements.lock();
        if statements.len() >= MAX_STATEMENTS {
            return Err(capacity(format!(
                "{MAX_STATEMENTS} statements are running: read their answers to the end or drop \
                 them, or end some with CANCEL QUERY (see netabase.queries)"
            )));
        }
        let id = self.counts.started.fetch_add(1, Ordering::Relaxed) + 1;
        let statement = Arc::new(Statement::new(id, text, Arc::clone(self)));
        statements.insert(id, Arc::downgrade(&statement));
        Ok(statement)
    }

    /// The statements that run now, in the order in which they began.
    pub(crate) fn list(&self) -> Vec<Arc<Statement>> {
        let statements = self.statements.lock();
        statements.values().filter_map(Weak::upgrade).collect()
    }

    /// Ends a statement: its work, and whatever it holds.
    ///
    /// # Errors
    /// `NotFound` when there is none with this id, `Conflict` when it is writing its rows.
    pub(crate) fn cancel(&self, id: u64) -> Result<(), Error> {
        let found = self.statements.lock().get(&id).and_then(Weak::upgrade);
        match found.map(|statement| statement.end(Cause::Cancelled)) {
            Some(Ending::Now) => Ok(()),
            Some(Ending::Writing) => Err(conflict(format!(
                "statement {id} has begun to write its rows, and writes all of them"
            ))),
            Some(Ending::Before) | None => Err(not_found(format!(
                "no statement {id} is running; netabase.queries lists those that are"
            ))),
        }
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }
}

impl Statement {
    /// The statement that this task works on. Outside of one, a statement that nobody sees.
    pub(crate) fn current() -> Arc<Statement> {
        CURRENT
            .try_with(Arc::clone)
            .unwrap_or_else(|_| Arc::new(Self::new(0, String::new(), Arc::default())))
    }

    fn new(id: u64, text: String, registry: Arc<Running>) -> Self {
        Self {
            id,
            text,
            since: SystemTime::now(),
            started: Instant::now(),
            phase: AtomicU8::new(Phase::Starting as u8),
            rows: AtomicU64::new(0),
            memory: Arc::default(),
            copy: Mutex::default(),
            fate: AtomicU8::new(OPEN),
            timeout: OnceLock::new(),
            ended: CancellationToken::new(),
            holds: Mutex::new(Weak::new()),
            registry,
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The beginning of its text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn since(&self) -> SystemTime {
        self.since
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn phase(&self) -> Phase {
        match (
            self.fate.load(Ordering::Acquire),
            self.phase.load(Ordering::Relaxed),
        ) {
            (CANCELLED | TIMED_OUT, _) => Phase::Ended,
            (WRITING, _) => Phase::Writing,
            (_, 1) => Phase::Running,
            (_, 2) => Phase::Reading,
            _ => Phase::Starting,
        }
    }

    pub(crate) fn enter_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Rows that were read of its answer.
    pub(crate) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    pub(crate) fn add_rows(&self, rows: usize) {
        let rows = rows as u64;
        self.rows.fetch_add(rows, Ordering::Relaxed);
        let all = &self.registry.counts.rows_returned;
        all.fetch_add(rows, Ordering::Relaxed);
    }

    /// Rows that it wrote or deleted.
    pub(crate) fn add_written(&self, rows: u64) {
        self.registry.counts.add_written(rows);
    }

    /// How far it is, if it is a COPY that has begun.
    pub(crate) fn copy(&self) -> Option<CopyProgress> {
        *self.copy.lock()
    }

    /// Notes how far a COPY is.
    pub(crate) fn note_copy(&self, progress: CopyProgress) {
        *self.copy.lock() = Some(progress);
    }

    /// Bytes that its operators have reserved on this peer.
    pub(crate) fn memory(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }

    /// Where they are counted.
    pub(crate) fn memory_counter(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.memory)
    }

    /// Why it was ended, if it was.
    pub(crate) fn cause(&self) -> Option<Cause> {
        match self.fate.load(Ordering::Acquire) {
            CANCELLED => Some(Cause::Cancelled),
            TIMED_OUT => {
                let timeout = self.timeout.get().copied();
                Some(Cause::TimedOut(timeout.unwrap_or_default()))
            }
            _ => None,
        }
    }

    /// Decides what becomes of it, if that is open still. Returns what was decided before.
    fn decide(&self, fate: u8) -> Result<(), u8> {
        let order = (Ordering::AcqRel, Ordering::Acquire);
        let decided = self.fate.compare_exchange(OPEN, fate, order.0, order.1);
        decided.map(|_| ())
    }

    /// Ends it, unless it has ended or begun to write: its work stops, and what it holds is freed.
    pub(crate) fn end(&self, cause: Cause) -> Ending {
        let fate = match cause {
            Cause::Cancelled => CANCELLED,
            Cause::TimedOut(timeout) => {
                // Before anybody can ask for it. There is one timeout only.
                let _ = self.timeout.set(timeout);
                TIMED_OUT
            }
        };
        match self.decide(fate) {
            Ok(()) => {}
            Err(WRITING) => return Ending::Writing,
            Err(_) => return Ending::Before,
        }
        let counts = &self.registry.counts;
        let counter = match cause {
            Cause::Cancelled => &counts.cancelled,
            Cause::TimedOut(_) => &counts.timed_out,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.ended.cancel();
        let held = self.holds.lock().upgrade();
        if let Some(held) = held {
            held.release();
        }
        Ending::Now
    }

    /// Is ready when it was ended.
    pub(crate) async fn ended(&self) -> Error {
        self.ended.cancelled().await;
        self.error()
    }

    /// From here on it writes its rows, and is not ended any more.
    ///
    /// # Errors
    /// `Unavailable` when it was ended before.
    pub(crate) fn begin_writing(&self) -> Result<(), Error> {
        match self.decide(WRITING) {
            Ok(()) | Err(WRITING) => Ok(()),
            Err(_) => Err(self.error()),
        }
    }

    /// Fails when it was ended: for work that blocks a thread and looks now and then.
    ///
    /// # Errors
    /// `Unavailable` with the cause.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.cause() {
            None => Ok(()),
            Some(_) => Err(self.error()),
        }
    }

    /// What is freed when it ends.
    pub(crate) fn hold(&self, held: &Arc<Held>) {
        *self.holds.lock() = Arc::downgrade(held);
        // It may have been ended meanwhile.
        if self.cause().is_some() {
            held.release();
        }
    }

    /// The error of a statement that was ended.
    pub(crate) fn error(&self) -> Error {
        match self.cause() {
            Some(Cause::TimedOut(timeout)) => unavailable(format!(
                "the statement took longer than {timeout:?}; raise statement_timeout, or ask for less"
            )),
            _ => unavailable(format!("statement {} was cancelled", self.id)),
        }
    }
}

impl Drop for Statement {
    fn drop(&mut self) {
        self.registry.statements.lock().remove(&self.id);
    }
}

/// The beginning of a text, without writing the rest.
pub(crate) fn beginning(text: impl fmt::Display) -> String {
    struct Short(String);
    impl Write for Short {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let room = MAX_TEXT.saturating_sub(self.0.len());
            if text.len() <= room {
                self.0.push_str(text);
                return Ok(());
            }
            let end = text.floor_char_boundary(room);
            self.0.push_str(text.get(..end).unwrap_or_default());
            self.0.push('…');
            Err(fmt::Error)
        }
    }
    let mut short = Short(String::new());
    // An error means that it is longer.
    let _ = write!(short, "{text}");
    short.0
}

#[cfg(test)]
mod tests;
