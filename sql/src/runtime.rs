//! What running queries may touch: memory, spill files, and nothing else.
//!
//! Invariant: no URL resolves to an object store, so that no plan can open a file or a socket.

use std::sync::Arc;

use datafusion::common::not_impl_err;
use datafusion::error::Result;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, MemoryPool};
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::object_store::ObjectStore;
use datafusion::prelude::SessionConfig;
use url::Url;

use crate::catalog::{CATALOG, SCHEMA};
use crate::settings::EngineSettings;

/// An object store registry that holds nothing and takes nothing.
#[derive(Debug)]
struct NoObjectStores;

impl ObjectStoreRegistry for NoObjectStores {
    fn register_store(
        &self,
        _url: &Url,
        _store: Arc<dyn ObjectStore>,
    ) -> Option<Arc<dyn ObjectStore>> {
        None
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        not_impl_err!("{url} cannot be opened: statements read tables only; load files with COPY")
    }
}

/// An environment that opens no files, object stores or sockets: `memory` bytes for operators, and
/// `spill` bytes of temporary files when they need more.
///
/// # Errors
/// When the environment cannot be made.
pub fn closed_runtime(memory: usize, spill: u64) -> Result<Arc<RuntimeEnv>> {
    closed_runtime_with(Arc::new(FairSpillPool::new(memory)), spill)
}

/// The same with a pool of the caller's.
pub(crate) fn closed_runtime_with(
    pool: Arc<dyn MemoryPool>,
    spill: u64,
) -> Result<Arc<RuntimeEnv>> {
    let disk = DiskManagerBuilder::default()
        .with_mode(DiskManagerMode::OsTmpDirectory)
        .with_max_temp_directory_size(spill);
    RuntimeEnvBuilder::new()
        .with_memory_pool(pool)
        .with_disk_manager_builder(disk)
        .with_object_store_registry(Arc::new(NoObjectStores))
        .build_arc()
}

/// The zone of instants, and of `now()`, unless a session sets another.
pub(crate) const TIME_ZONE: &str = "UTC";

/// The session's defaults.
pub(crate) fn session_config(settings: &EngineSettings) -> SessionConfig {
    let mut config = SessionConfig::new();
    // A timestamp with time zone is an instant; without this its type would lose the zone.
    config.options_mut().execution.time_zone = Some(TIME_ZONE.into());
    // Errors show their place in the statement.
    config.options_mut().sql_parser.collect_spans = true;
    // Which joins do so is decided by `join_filter`.
    config
        .options_mut()
        .optimizer
        .enable_join_dynamic_filter_pushdown = true;
    // What one aggregate has seen says nothing of the rows that another one needs, and DataFusion
    // filters by the first alone: `SELECT max(a + b), min(c)` lost its largest row.
    config
        .options_mut()
        .optimizer
        .enable_aggregate_dynamic_filter_pushdown = false;
    // The first rows of a sort are taken for the first groups of an aggregate below, also where a window, a
    // computed column of the same name or another aggregate stands between: `SELECT w, count(*) OVER () FROM t
    // GROUP BY w ORDER BY w LIMIT 2` counted two groups.
    config.options_mut().optimizer.enable_topk_aggregation = false;
    // A window above another one looks further ahead than each of them, and `lag(v, -3)` and `lead(v) IGNORE NULLS`
    // look ahead, too: `LIMIT` left them too few rows.
    config.options_mut().optimizer.enable_window_limits = false;
    // A field of a struct that is put together above an outer join is computed below it, where rows that the join
    // adds are not seen: `coalesce(b.x, 0)` as a field was NULL for them.
    config
        .options_mut()
        .optimizer
        .enable_leaf_expression_pushdown = false;
    // Rows that come in the order of their key keep it through repartitions where that saves a sort
    // or lets an aggregation stream. It does not apply to rows without an order.
    config.options_mut().optimizer.prefer_existing_sort = true;
    config
        .with_target_partitions(settings.target_partitions)
        .with_batch_size(settings.batch_size)
        .with_default_catalog_and_schema(CATALOG, SCHEMA)
        .with_create_default_catalog_and_schema(false)
        // The catalog has an `information_schema` of its own.
        .with_information_schema(false)
}
