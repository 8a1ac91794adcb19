//! Transactions of one session.
//!
//! Idea: what the statements of a transaction write is kept in memory, by table and key, until COMMIT
//! hands it to the cluster at once; queries of the same session see it over what is stored.
//! Promises: nobody sees anything of it before COMMIT, and nothing after ROLLBACK. On a lone peer,
//! and for `LOCAL` tables, COMMIT is one entry in the log: all of it is there, or nothing, also after a
//! crash. In a network each shard takes its part as a whole, and the statement says which peers hold
//! it; should a replica be lost amid it, some shards have their part and others have not.
//! Non-goal: isolation from what others commit meanwhile: every statement sees it, and of two
//! transactions that write a row the later one wins.

mod overlay;
mod pending;

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{
    Statement, TransactionAccessMode, TransactionIsolationLevel, TransactionMode,
};
use netabase_store::{Error, TableDef, TableId};
use parking_lot::Mutex;

pub(crate) use self::overlay::overlay;
use self::pending::{Pending, Prepared};
use crate::cluster::{Cluster, WriteReceipt};
use crate::engine::Engine;
use crate::error::{capacity, conflict, invalid, not_found};
use crate::local::blocking;
use crate::output::Output;
use crate::statement::ident_of;
use crate::write::{CheckedRows, logical_bytes};

/// The most savepoints of one transaction.
const MAX_SAVEPOINTS: usize = 1024;

/// What a transaction has written, by table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Changes(HashMap<TableId, Arc<Pending>>);

impl Changes {
    fn bytes(&self) -> usize {
        self.0.values().map(|pending| pending.bytes()).sum()
    }

    fn row_bytes(&self) -> impl Iterator<Item = (&Arc<TableDef>, usize)> {
        let tables = self.0.values();
        tables.map(|pending| (&pending.def, pending.row_bytes()))
    }

    fn pending(&mut self, def: &Arc<TableDef>) -> &mut Pending {
        let pending = self.0.entry(def.id);
        let new = || Arc::new(Pending::new(Arc::clone(def)));
        Arc::make_mut(pending.or_insert_with(new))
    }

    fn add(&mut self, changes: &[Prepared]) -> Result<(), Error> {
        for change in changes {
            let pending = self.pending(change.def());
            pending.tidy()?;
            pending.add(change);
        }
        Ok(())
    }

    fn drop_marked(&mut self) -> Result<(), Error> {
        let mut all = self.0.values_mut();
        all.try_for_each(|pending| Arc::make_mut(pending).drop_all_marked())
    }
}

/// How much a transaction may hold.
struct Limits<'a> {
    /// Bytes in memory.
    held: usize,
    cluster: &'a dyn Cluster,
}

impl Limits<'_> {
    /// Whether changes fit, whatever they replace.
    fn have_room(&self, changes: &Changes, more: &[Prepared]) -> bool {
        let held: usize = more.iter().map(|change| change.bytes).sum();
        let more = more.iter().map(|change| (change.def(), change.bytes));
        let (bytes, limit) = self.together(changes.row_bytes().chain(more));
        changes.bytes() + held <= self.held && bytes <= limit
    }

    /// The bytes that take effect together, and how many may.
    fn together<'a>(
        &self,
        tables: impl Iterator<Item = (&'a Arc<TableDef>, usize)>,
    ) -> (usize, usize) {
        tables.fold((0, usize::MAX), |(bytes, limit), (def, more)| {
            match self.cluster.together_limit(def) {
                Some(together) => (bytes + more, limit.min(together)),
                None => (bytes, limit),
            }
        })
    }

    /// Fails with `Capacity` if it holds more.
    fn check(&self, changes: &Changes) -> Result<(), Error> {
        if changes.bytes() > self.held {
            return Err(capacity(format!(
                "the transaction would hold more than {} bytes of rows: COMMIT before this statement, or \
                 raise max_insert_bytes",
                self.held
            )));
        }
        let (bytes, limit) = self.together(changes.row_bytes());
        if bytes > limit {
            return Err(capacity(format!(
                "with this statement the transaction would have {bytes} bytes of rows, and at most {limit} \
                 can take effect together: COMMIT before it, and BEGIN again"
            )));
        }
        Ok(())
    }
}

/// Fails with `Capacity` if changes are too many to take effect together.
pub(crate) fn check_together(engine: &Engine, changes: &[CheckedRows]) -> Result<(), Error> {
    let limits = Limits {
        held: usize::MAX,
        cluster: engine.cluster().as_ref(),
    };
    let sizes = changes.iter().map(|rows| {
        let bytes = rows.batches().iter().map(logical_bytes).sum();
        (rows.def(), bytes)
    });
    let (bytes, limit) = limits.together(sizes);
    match bytes <= limit {
        true => Ok(()),
        false => Err(capacity(format!(
            "the changes of this statement are {bytes} bytes of rows, and at most {limit} can take effect \
             together: change fewer rows at once"
        ))),
    }
}

#[derive(Debug, Default)]
struct Open {
    changes: Arc<Changes>,
    savepoints: Vec<(String, Arc<Changes>)>,
    read_only: bool,
}

/// The transaction of a session, if one is open.
#[derive(Debug, Default)]
pub(crate) struct Transaction(Mutex<Option<Open>>);

impl Transaction {
    pub(crate) fn is_open(&self) -> bool {
        self.0.lock().is_some()
    }

    /// What was written so far; `None` outside of a transaction, and before the first write.
    pub(crate) fn changes(&self) -> Option<Arc<Changes>> {
        let open = self.0.lock();
        let changes = open.as_ref().map(|open| Arc::clone(&open.changes));
        changes.filter(|changes| !changes.0.is_empty())
    }

    /// Keeps what a statement writes. Fails with `Capacity` above a limit, and with `InvalidInput` if
    /// the transaction is read only; it stays as it was.
    fn add(&self, changes: &[CheckedRows], limits: &Limits<'_>) -> Result<WriteReceipt, Error> {
        let writes = changes.iter().filter(|rows| rows.rows() > 0);
        let prepared = writes.map(Prepared::of).collect::<Result<Vec<_>, _>>()?;
        let mut open = self.0.lock();
        let Some(open) = open.as_mut() else {
            return Err(invalid("the transaction has ended meanwhile"));
        };
        if open.read_only {
            return Err(invalid(
                "the transaction is read only: ROLLBACK, and BEGIN another one",
            ));
        }
        if limits.have_room(&open.changes, &prepared) {
            // A savepoint, or a query that still runs, keeps its own.
            Arc::make_mut(&mut open.changes).add(&prepared)?;
        } else {
            // What is replaced may make the room.
            let mut after = Changes::clone(&open.changes);
            after.add(&prepared)?;
            after.drop_marked()?;
            limits.check(&after)?;
            open.changes = Arc::new(after);
        }
        Ok(WriteReceipt {
            rows: changes.iter().map(CheckedRows::rows).sum(),
            ..WriteReceipt::default()
        })
    }

    fn take(&self) -> Result<Open, Error> {
        self.0.lock().take().ok_or_else(none_open)
    }
}

fn none_open() -> Error {
    invalid("no transaction is open: BEGIN starts one")
}

/// Runs a statement that opens, ends or marks a transaction.
pub(crate) async fn run(engine: &Engine, statement: Statement) -> Result<Output, Error> {
    let transaction = engine.transaction();
    match statement {
        Statement::StartTransaction {
            modes,
            modifier: None,
            statements,
            exception: None,
            ..
        } if statements.is_empty() => begin(transaction, &modes),
        Statement::Commit { chain: false, .. } => commit(engine).await,
        Statement::Rollback {
            chain: false,
            savepoint: None,
        } => transaction.take().map(|_| Output::empty()),
        Statement::Rollback {
            chain: false,
            savepoint: Some(name),
        } => back_to(transaction, &ident_of(&name)),
        Statement::Savepoint { name } => mark(transaction, ident_of(&name)),
        Statement::ReleaseSavepoint { name } => release(transaction, &ident_of(&name)),
        other => Err(invalid(format!(
            "{other} is not supported: there are BEGIN, COMMIT, ROLLBACK, SAVEPOINT, ROLLBACK TO and RELEASE"
        ))),
    }
}

fn begin(transaction: &Transaction, modes: &[TransactionMode]) -> Result<Output, Error> {
    let mut read_only = false;
    for mode in modes {
        match mode {
            TransactionMode::AccessMode(TransactionAccessMode::ReadOnly) => read_only = true,
            TransactionMode::AccessMode(TransactionAccessMode::ReadWrite)
            | TransactionMode::IsolationLevel(
                TransactionIsolationLevel::ReadCommitted
                | TransactionIsolationLevel::ReadUncommitted,
            ) => {}
            other => {
                return Err(invalid(format!(
                    "{other} cannot be promised, because peers write without asking each other: use \
                     ISOLATION LEVEL READ COMMITTED"
                )));
            }
        }
    }
    let mut open = transaction.0.lock();
    if open.is_some() {
        return Err(invalid(
            "a transaction is open already: COMMIT or ROLLBACK it first, or use SAVEPOINT",
        ));
    }
    *open = Some(Open {
        read_only,
        ..Open::default()
    });
    Ok(Output::empty())
}

/// Writes everything; whatever the outcome, the transaction has ended.
async fn commit(engine: &Engine) -> Result<Output, Error> {
    let open = engine.transaction().take()?;
    let mut changes = Vec::new();
    for pending in open.changes.0.values() {
        check_still_there(engine, &pending.def)?;
        changes.extend(pending.changes().await?);
    }
    changes.retain(|rows| rows.rows() > 0);
    let receipt = engine.write_together(changes).await?;
    Output::written(receipt, Vec::new())
}

/// A table that was altered meanwhile may not take the rows any more.
fn check_still_there(engine: &Engine, def: &TableDef) -> Result<(), Error> {
    let now = crate::catalog::live_table(engine.store(), &def.name);
    match now {
        Some(now) if now.id == def.id && now.options.rules == def.options.rules => Ok(()),
        _ => Err(conflict(format!(
            "table \"{}\" was changed since the transaction wrote to it; nothing was written: run it again",
            def.name
        ))),
    }
}

fn mark(transaction: &Transaction, name: String) -> Result<Output, Error> {
    let mut open = transaction.0.lock();
    let open = open.as_mut().ok_or_else(none_open)?;
    if open.savepoints.len() >= MAX_SAVEPOINTS {
        return Err(capacity(format!(
            "the transaction has {MAX_SAVEPOINTS} savepoints: RELEASE some"
        )));
    }
    open.savepoints.push((name, Arc::clone(&open.changes)));
    Ok(Output::empty())
}

/// The place of the last savepoint of a name.
fn savepoint(open: &Open, name: &str) -> Result<usize, Error> {
    let found = open.savepoints.iter().rposition(|(known, _)| known == name);
    found.ok_or_else(|| not_found(format!("savepoint \"{name}\" does not exist")))
}

fn back_to(transaction: &Transaction, name: &str) -> Result<Output, Error> {
    let mut open = transaction.0.lock();
    let open = open.as_mut().ok_or_else(none_open)?;
    let place = savepoint(open, name)?;
    open.savepoints.truncate(place + 1);
    if let Some((_, changes)) = open.savepoints.last() {
        open.changes = Arc::clone(changes);
    }
    Ok(Output::empty())
}

fn release(transaction: &Transaction, name: &str) -> Result<Output, Error> {
    let mut open = transaction.0.lock();
    let open = open.as_mut().ok_or_else(none_open)?;
    let place = savepoint(open, name)?;
    open.savepoints.truncate(place);
    Ok(Output::empty())
}

/// Keeps what a statement writes, where it does not hold up others.
pub(crate) async fn keep(
    engine: &Engine,
    changes: Vec<CheckedRows>,
) -> Result<WriteReceipt, Error> {
    let engine = engine.clone();
    let work = move || {
        let limits = Limits {
            held: engine.settings().max_insert_bytes,
            cluster: engine.cluster().as_ref(),
        };
        engine.transaction().add(&changes, &limits)
    };
    blocking(work).await
}
