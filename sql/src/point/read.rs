//! Reading by a key, and by a value that an index begins with.
//!
//! Invariant: rows come from this peer's own store only if a plan would read their shard here. What an
//! answer says of its shards is not newer than its rows.

use std::sync::Arc;

use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use futures::TryStreamExt;
use netabase_store::{Error, RowKey};

use super::PointCall;
use super::fit::comparable;
use super::plan::{Columns, Read, Search};
use crate::cluster::ScanRequest;
use crate::error::{error_from_datafusion, from_arrow};
use crate::local::LocalSource;
use crate::lookup::leaves_few;
use crate::output::{Output, ScanInfo};
use crate::scan::scan_snapshot;

/// Rows that an index may point to; more are read in parallel, by a general plan.
const MAX_FOUND: u64 = 1024;
/// Rows in memory that are compared one after the other; more are a general plan's as well.
const MAX_IN_MEMORY: u64 = 1 << 20;
/// About how many rows a batch has.
const BATCH_ROWS: usize = 8192;

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

    pub(super) async fn search(&self, search: &Search) -> Result<Option<Output>, Error> {
        let Some(request) = self.request(search) else {
            return Ok(None);
        };
        let source = self.engine.cluster().plan_scan(&self.plan.def, 1).ok();
        let local = source.as_ref();
        let Some(local) = local.and_then(|of| of.as_any().downcast_ref::<LocalSource>()) else {
            return Ok(None);
        };
        let snapshot = local.snapshot();
        let batches = snapshot.shards.iter().flat_map(|shard| &shard.batches);
        let in_memory: u64 = batches.map(|batch| batch.rows.num_rows() as u64).sum();
        if in_memory > MAX_IN_MEMORY || !leaves_few(snapshot, &request, MAX_FOUND)? {
            return Ok(None);
        }
        let shards: Vec<u32> = snapshot.shards.iter().map(|shard| shard.shard).collect();
        let rows = scan_snapshot(snapshot, &shards, (0, 1), &request, BATCH_ROWS)
            .map_err(error_from_datafusion)?;
        let rows: Vec<RecordBatch> = rows.try_collect().await.map_err(error_from_datafusion)?;
        let schema = &search.output.schema;
        let rows = rows.into_iter().map(|batch| {
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let columns = batch.columns().to_vec();
            RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
                .map_err(from_arrow)
        });
        let scans = vec![ScanInfo::new(&self.plan.def, local)];
        let rows = rows.collect::<Result<_, _>>()?;
        Ok(Some(Output::ready(Arc::clone(schema), rows, scans)))
    }

    fn request(&self, search: &Search) -> Option<ScanRequest> {
        let def = &self.plan.def;
        let field = def.schema.fields().get(search.column)?;
        let value = comparable(&self.value(&search.value)?, field.data_type())?;
        let column = Arc::new(Column::new(field.name(), search.column));
        let equal = BinaryExpr::new(column, Operator::Eq, Arc::new(Literal::new(value)));
        let fetch = self.fetch(&search.limit)?;
        Some(ScanRequest {
            def: Arc::clone(def),
            schema: Arc::clone(&def.schema),
            projection: search.output.projection.clone(),
            predicate: Some(Arc::new(equal) as Arc<dyn PhysicalExpr>),
            fetch: (fetch != usize::MAX).then_some(fetch),
            answer: None,
        })
    }
}
