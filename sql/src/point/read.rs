//! Reading by a key.
//!
//! Invariant: rows come from this peer's own store only if a plan would read their shard here. What an
//! answer says of its shards is not newer than its rows.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use netabase_store::{Error, RowKey};

use super::PointCall;
use super::plan::{Columns, Read};
use crate::output::{Output, ScanInfo};

/// A row that was looked up, and the shards it was looked up in.
pub(super) struct Found {
    pub(super) row: Option<RecordBatch>,
    pub(super) scans: Vec<ScanInfo>,
}

impl PointCall {
    pub(super) fn read(&self, read: &Read) -> Result<Option<Output>, Error> {
        let (Some(key), Some(_)) = (self.key(&read.key), self.fetch(&read.limit)) else {
            return Ok(None);
        };
        let Some(Found { row, scans }) = self.find(&key, &read.output)? else {
            return Ok(None);
        };
        let schema = Arc::clone(&read.output.schema);
        Ok(Some(Output::ready(
            schema,
            row.into_iter().collect(),
            scans,
        )))
    }

    /// Looks a row up; `None` if its shard is read elsewhere.
    pub(super) fn find(&self, key: &RowKey, columns: &Columns) -> Result<Option<Found>, Error> {
        let def = &self.plan.def;
        let cluster = self.engine.cluster();
        // Whether a shard that nobody can read comes back is decided where queries are tried again.
        let Some(shards) = cluster.read_here(def, key.shard()).ok().flatten() else {
            return Ok(None);
        };
        let row = self.plan.reader.get(key, &columns.projection)?;
        let row = row.map(|row| row.to_batch(&columns.schema)).transpose()?;
        let table = def.name.clone();
        let scans = vec![ScanInfo { table, shards }];
        Ok(Some(Found { row, scans }))
    }
}
