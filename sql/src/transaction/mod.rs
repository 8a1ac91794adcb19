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

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use datafusion::sql::sqlparser::ast::{
    Statement, TransactionAccessMode, TransactionIsolationLevel, TransactionMode,
};
use netabase_store::{Change, Error, KeyEncoder, TableDef, TableId};
use parking_lot::Mutex;

pub(crate) use self::overlay::overlay;
use crate::cluster::WriteReceipt;
use crate::engine::Engine;
use crate::error::{capacity, conflict, from_arrow, invalid, not_found};
use crate::local::blocking;
use crate::output::Output;
use crate::statement::ident_of;
use crate::write::{CheckedRows, NoOrigin, key_batches, logical_bytes};

/// The most savepoints of one transaction.
const MAX_SAVEPOINTS: usize = 1024;

/// What a transaction has written to one table.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    def: Arc<TableDef>,
    /// Whole rows, each key once.
    rows: Vec<RecordBatch>,
    /// Keys that are removed, which no row has.
    removed: Vec<RecordBatch>,
}

impl Pending {
    fn new(def: Arc<TableDef>) -> Self {
        Self {
            def,
            rows: Vec::new(),
            removed: Vec::new(),
        }
    }

    fn bytes(&self) -> usize {
        let all = self.rows.iter().chain(&self.removed);
        all.map(logical_bytes).sum()
    }

    /// Takes a later change: it hides earlier ones of the same keys.
    fn add(&mut self, change: Change, batches: &[RecordBatch]) -> Result<(), Error> {
        let encoder = KeyEncoder::new(&self.def)?;
        let mut later: HashSet<Vec<u8>> = HashSet::new();
        for batch in batches {
            let keys = encoder.encode(batch)?;
            later.extend(keys.iter().map(|key| key.data().to_vec()));
        }
        let earlier = |batches: &mut Vec<RecordBatch>| {
            for batch in batches.iter_mut() {
                let keys = encoder.encode(batch)?;
                let kept = keys.iter().map(|key| Some(!later.contains(key.data())));
                let kept: BooleanArray = kept.collect();
                if kept.false_count() > 0 {
                    *batch = filter_record_batch(batch, &kept).map_err(from_arrow)?;
                }
            }
            batches.retain(|batch| batch.num_rows() > 0);
            Ok::<_, Error>(())
        };
        earlier(&mut self.rows)?;
        earlier(&mut self.removed)?;
        let batches = batches.iter().filter(|batch| batch.num_rows() > 0).cloned();
        match change {
            Change::Upsert => self.rows.extend(batches),
            Change::Delete => self.removed.extend(batches),
        }
        Ok(())
    }

    /// All keys that the transaction has changed.
    fn keys(&self) -> Result<Vec<RecordBatch>, Error> {
        let mut keys = key_batches(&self.def, &self.rows, &self.def.primary_key)?;
        keys.extend(self.removed.iter().cloned());
        Ok(keys)
    }

    async fn into_changes(self) -> Result<[CheckedRows; 2], Error> {
        let rows = CheckedRows::check(Arc::clone(&self.def), Change::Upsert, self.rows, NoOrigin);
        let removed = CheckedRows::check(self.def, Change::Delete, self.removed, NoOrigin);
        Ok([rows.await?, removed.await?])
    }
}

/// What a transaction has written, by table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Changes(HashMap<TableId, Pending>);

impl Changes {
    fn bytes(&self) -> usize {
        self.0.values().map(Pending::bytes).sum()
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

    /// Keeps what a statement writes. Fails with `Capacity` above `limit` bytes, and with
    /// `InvalidInput` if the transaction is read only; it stays as it was.
    pub(crate) fn add(&self, changes: &[CheckedRows], limit: usize) -> Result<WriteReceipt, Error> {
        let mut open = self.0.lock();
        let Some(open) = open.as_mut() else {
            return Err(invalid("the transaction has ended meanwhile"));
        };
        if open.read_only {
            return Err(invalid(
                "the transaction is read only: ROLLBACK, and BEGIN another one",
            ));
        }
        let mut after = Changes::clone(&open.changes);
        for rows in changes.iter().filter(|rows| rows.rows() > 0) {
            let def = rows.def();
            let pending = after.0.entry(def.id);
            let pending = pending.or_insert_with(|| Pending::new(Arc::clone(def)));
            pending.add(rows.change(), rows.batches())?;
        }
        if after.bytes() > limit {
            return Err(capacity(format!(
                "the transaction would hold more than {limit} bytes of rows: COMMIT more often, or raise \
                 max_insert_bytes"
            )));
        }
        open.changes = Arc::new(after);
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
        changes.extend(pending.clone().into_changes().await?);
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
    let limit = engine.settings().max_insert_bytes;
    let work = move || engine.transaction().add(&changes, limit);
    blocking(work).await
}
