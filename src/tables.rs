//! Tables that a program uses without SQL: made when they are missing, and read by key.
//!
//! Invariant: however many peers and tasks make a table at the same time, all of them end up with one
//! definition, or with an error.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::record_batch::RecordBatch;
use netabase_sql::ShardRef;
use netabase_store::{Error, ErrorKind, KeyEncoder, TableDef, Version};

use crate::database::Inner;

/// Attempts to create a table while others do the same.
const CREATE_ATTEMPTS: u32 = 5;
/// Wait between them, times attempt and a number of the peer's own.
const CREATE_PAUSE: Duration = Duration::from_millis(40);
/// How often it looks.
const DEFINITION_STEP: Duration = Duration::from_millis(20);

impl Inner {
    /// The table of this name, unless it was dropped.
    pub(crate) fn live_table(&self, name: &str) -> Option<Arc<TableDef>> {
        let def = self.store().table(&netabase_sql::stored_name(name))?;
        (def.dropped.is_none() && !def.is_schema()).then_some(def)
    }

    /// The table of this name. One that is missing is made as `define` says, given the owner and the
    /// time.
    pub(crate) async fn table_or_create(
        &self,
        name: &str,
        define: impl Fn(&str, Version) -> TableDef,
    ) -> Result<Arc<TableDef>, Error> {
        let mut attempt = 1;
        loop {
            if let Some(def) = self.live_table(name) {
                return Ok(def);
            }
            let (me, now) = (self.cluster().me(), self.store().clock().now());
            match self.cluster().create_table(define(me, now)).await {
                // Another peer, or another task of this one, makes it as well: its definition is on
                // its way, or each refused the other's and one must be first next time.
                Err(e) if e.kind() == ErrorKind::Conflict && attempt < CREATE_ATTEMPTS => {
                    let turn = u32::from(me.as_bytes().last().copied().unwrap_or(0));
                    let patience = CREATE_PAUSE * (attempt + turn % 8);
                    self.await_table(name, patience).await;
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    async fn await_table(&self, name: &str, patience: Duration) {
        let limit = Instant::now() + patience;
        while self.live_table(name).is_none() && Instant::now() < limit {
            tokio::time::sleep(DEFINITION_STEP).await;
        }
    }

    /// Whether the shard of this key would be read from this peer's own store. `key` is one row of
    /// the key's columns.
    pub(crate) fn is_read_here(
        &self,
        def: &Arc<TableDef>,
        key: &RecordBatch,
    ) -> Result<bool, Error> {
        if self.node().is_none() {
            return Ok(true);
        }
        let shard = KeyEncoder::new(def)?.shard_of_each(key)?.first().copied();
        let source = self.cluster().plan_scan(def, 1)?;
        let mine =
            |read: &ShardRef| Some(read.shard) == shard && read.holder == self.cluster().me();
        Ok(source.shards().iter().any(mine))
    }

    /// The row of a key in this peer's own store.
    pub(crate) async fn stored_row(
        self: &Arc<Self>,
        def: &TableDef,
        key: RecordBatch,
    ) -> Result<Option<RecordBatch>, Error> {
        let (inner, table) = (Arc::clone(self), def.id);
        let get = move || inner.store().get(table, &key);
        self.runtime().blocking(get).await
    }
}
