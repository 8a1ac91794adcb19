//! Writing what was checked.
//!
//! Invariant: from the moment a statement begins to write, its rows are written to the last, whether or
//! not anybody waits for it: by a task that the engine owns, and that closing waits for. What fits into
//! one entry of a store's log is one, and there as a whole after a crash of the process, or not at all.
//! More is written in chunks, removals last, of which a crash may leave the first.
//! Non-goal: retrying.

use std::sync::Arc;
use std::time::Duration;

use netabase_store::{Change, Error, Store};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::cluster::{Cluster, TableWrite, WriteReceipt};
use crate::engine::Engine;
use crate::error::{interrupted, unavailable};
use crate::local::blocking;
use crate::panics;
use crate::revision::has_checks_of;
use crate::running::Statement;
use crate::transaction;
use crate::write::{CheckedRows, logical_bytes, sum_receipts};

/// The statements of an engine that write just now; each is one of those that run, whose number is
/// bounded.
pub(crate) type Writes = TaskTracker;

impl Engine {
    /// Writes what was checked: together where that fits, or else table by table; or keeps it until the
    /// open transaction is committed.
    pub(crate) async fn apply(&self, changes: Vec<CheckedRows>) -> Result<WriteReceipt, Error> {
        if let Some(gathered) = self.gathered() {
            return gathered.add(self.settings().max_insert_bytes, changes);
        }
        let entered = self.unique().enter(self, &changes).await?;
        if self.transaction().is_open() {
            return transaction::keep(self, changes).await;
        }
        let (store, cluster) = (self.store().clone(), Arc::clone(self.cluster()));
        self.to_the_end(async move {
            let _entered = entered;
            check_again(&store, &changes)?;
            write(&cluster, changes).await
        })
        .await
    }

    /// Writes what was checked, all at once where that can be promised.
    pub(crate) async fn write_together(
        &self,
        changes: Vec<CheckedRows>,
    ) -> Result<WriteReceipt, Error> {
        let entered = self.unique().enter(self, &changes).await?;
        let (store, cluster) = (self.store().clone(), Arc::clone(self.cluster()));
        self.to_the_end(async move {
            let _entered = entered;
            check_again(&store, &changes)?;
            together(&cluster, changes).await
        })
        .await
    }

    /// Writes the rows of one table; `progress` hears how many of how many are written.
    pub(crate) async fn write_rows(
        &self,
        rows: CheckedRows,
        progress: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<WriteReceipt, Error> {
        let (told, mut heard) = watch::channel((0, 0));
        let (store, cluster) = (self.store().clone(), Arc::clone(self.cluster()));
        let changes = [rows];
        let entered = self.unique().enter(self, &changes).await?;
        let [rows] = changes;
        let mut writing = std::pin::pin!(self.to_the_end(async move {
            let _entered = entered;
            has_checks_of(&store, rows.def())?;
            let mut tell = |done, total| {
                told.send_replace((done, total));
            };
            rows.write(&cluster, &mut tell).await
        }));
        let mut open = true;
        let receipt = loop {
            tokio::select! {
                biased;
                changed = heard.changed(), if open => open = changed.is_ok(),
                done = &mut writing => break done?,
            }
            let (done, total) = *heard.borrow_and_update();
            progress(done, total);
        };
        progress(receipt.rows, receipt.rows);
        Ok(receipt)
    }

    /// Waits until the statements that write have written everything; no other begins to.
    ///
    /// # Errors
    /// `Unavailable` when some are still writing after this time.
    pub async fn close_writes(&self, limit: Duration) -> Result<(), Error> {
        let writes = self.writes();
        writes.close();
        tokio::time::timeout(limit, writes.wait())
            .await
            .map_err(|_| {
                let count = writes.len();
                unavailable(format!(
                    "{count} statements were still writing rows after {limit:?}; some of theirs may be \
                     missing"
                ))
            })
    }

    /// Runs what writes rows. It goes on when this future is dropped.
    pub(crate) async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        // Before the look, so that whoever closes waits for it.
        let owned = self.writes().token();
        if self.writes().is_closed() {
            return Err(unavailable("the database is closing; nothing was written"));
        }
        let statement = Statement::current();
        statement.begin_writing()?;
        let task = tokio::spawn(async move {
            let _held = (owned, statement);
            panics::caught(work).await
        });
        task.await.map_err(|error| interrupted(&error))?
    }
}

/// A table may have got a check since its rows were looked at.
fn check_again(store: &Store, changes: &[CheckedRows]) -> Result<(), Error> {
    let come = changes
        .iter()
        .filter(|rows| rows.change() == Change::Upsert);
    come.map(CheckedRows::def)
        .try_for_each(|def| has_checks_of(store, def))
}

async fn write(
    cluster: &Arc<dyn Cluster>,
    mut changes: Vec<CheckedRows>,
) -> Result<WriteReceipt, Error> {
    changes.retain(|rows| rows.rows() > 0);
    if changes.len() > 1 && fit_together(cluster.as_ref(), &changes) {
        return together(cluster, changes).await;
    }
    let mut receipts = Vec::with_capacity(changes.len());
    for rows in changes {
        receipts.push(rows.write(cluster, &mut |_, _| {}).await?);
    }
    Ok(sum_receipts(receipts))
}

async fn together(
    cluster: &Arc<dyn Cluster>,
    changes: Vec<CheckedRows>,
) -> Result<WriteReceipt, Error> {
    let split = move || changes.into_iter().map(CheckedRows::into_write).collect();
    let writes: Vec<TableWrite> = blocking(split).await?;
    Ok(sum_receipts(cluster.write_together(writes).await?))
}

/// Whether the cluster lets all of it take effect together.
fn fit_together(cluster: &dyn Cluster, changes: &[CheckedRows]) -> bool {
    let limits = changes
        .iter()
        .map(|rows| cluster.together_limit(rows.def()));
    let Some(limits) = limits.collect::<Option<Vec<_>>>() else {
        return false;
    };
    let rows = changes.iter().flat_map(CheckedRows::batches);
    let bytes: usize = rows.map(logical_bytes).sum();
    limits.into_iter().min().is_some_and(|limit| bytes <= limit)
}
