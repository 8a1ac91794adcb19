//! Tables made from batches, in a store and as DataFusion's own.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::datasource::MemTable;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::{SessionConfig, SessionContext};
use netabase_sql::store::{Change, KeyEncoder, Settings, Store, TableDef, TableId, Version};
use netabase_sql::{Cluster, Engine, EngineSettings, LocalCluster};

use super::text_of;

/// A table and its rows.
#[derive(Clone)]
pub(crate) struct TestTable {
    pub(crate) name: &'static str,
    /// The primary key's columns.
    pub(crate) key: &'static [usize],
    /// How many of them are the shard key.
    pub(crate) shard_key: usize,
    pub(crate) shards: u32,
    pub(crate) schema: SchemaRef,
    pub(crate) rows: Vec<RecordBatch>,
}

/// A store with some tables.
pub(crate) struct Tables {
    pub(crate) store: Store,
    pub(crate) cluster: Arc<LocalCluster>,
}

/// What a session does differently.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Session {
    pub(crate) target_partitions: usize,
    /// Whether the rule is there.
    pub(crate) colocate: bool,
    /// Bytes and rows up to which a join collects one side.
    pub(crate) collected: (usize, usize),
    pub(crate) dynamic_filters: bool,
    pub(crate) hash_joins: bool,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            target_partitions: 2,
            colocate: true,
            collected: (0, 0),
            dynamic_filters: false,
            hash_joins: true,
        }
    }
}

impl Session {
    fn apply(self, config: &mut SessionConfig) {
        let optimizer = &mut config.options_mut().optimizer;
        optimizer.hash_join_single_partition_threshold = self.collected.0;
        optimizer.hash_join_single_partition_threshold_rows = self.collected.1;
        optimizer.enable_join_dynamic_filter_pushdown = self.dynamic_filters;
        optimizer.prefer_hash_join = self.hash_joins;
    }
}

fn definition(table: &TestTable) -> TableDef {
    TableDef {
        id: TableId::derive(&[table.name.as_bytes()]),
        name: table.name.to_string(),
        schema: Arc::clone(&table.schema),
        primary_key: table.key.to_vec(),
        shard_key: table.key[..table.shard_key].to_vec(),
        shards: table.shards,
        replicas: 1,
        local: true,
        owner: "me".into(),
        created: Version(1),
        dropped: None,
        placement: Vec::new(),
        options: Default::default(),
        attachment: Vec::new(),
    }
}

impl Tables {
    pub(crate) async fn new(tables: &[TestTable]) -> Self {
        let store = Store::open(Settings::default()).unwrap();
        let cluster = Arc::new(LocalCluster::new(store.clone(), "me"));
        for table in tables {
            let def = cluster.create_table(definition(table)).await.unwrap();
            let encoder = KeyEncoder::new(&def).unwrap();
            for rows in &table.rows {
                let parts = encoder.split(rows).unwrap();
                let written = cluster.write(Arc::clone(&def), Change::Upsert, parts);
                written.await.unwrap();
            }
        }
        Self { store, cluster }
    }

    pub(crate) fn engine(&self, session: Session) -> Engine {
        self.engine_of(session, Arc::clone(&self.cluster) as Arc<dyn Cluster>)
    }

    /// An engine whose rows come from elsewhere.
    pub(crate) fn engine_of(&self, session: Session, cluster: Arc<dyn Cluster>) -> Engine {
        let settings = EngineSettings {
            target_partitions: session.target_partitions,
            ..EngineSettings::default()
        };
        let customize = |mut builder: SessionStateBuilder| {
            if let Some(config) = builder.config() {
                session.apply(config);
            }
            Ok(match session.colocate {
                true => builder,
                false => builder.with_physical_optimizer_rules(PhysicalOptimizer::new().rules),
            })
        };
        Engine::new(self.store.clone(), cluster, settings, customize).unwrap()
    }
}

/// The same tables without any of this crate.
pub(crate) fn plain(tables: &[TestTable]) -> SessionContext {
    let config = SessionConfig::new().with_target_partitions(2);
    let context = SessionContext::new_with_config(config);
    for table in tables {
        let rows = vec![table.rows.clone()];
        let provider = MemTable::try_new(Arc::clone(&table.schema), rows).unwrap();
        context
            .register_table(table.name, Arc::new(provider))
            .unwrap();
    }
    context
}

/// The rows of a query on plain DataFusion, sorted.
pub(crate) async fn plain_rows(context: &SessionContext, query: &str) -> Vec<Vec<String>> {
    let frame = context.sql(query).await.unwrap();
    let mut rows = text_of(&frame.collect().await.unwrap());
    rows.sort();
    rows
}

/// The rows of a query, sorted, and its plan.
pub(crate) async fn rows_and_plan(engine: &Engine, query: &str) -> (Vec<Vec<String>>, String) {
    let output = engine.sql(query).await.unwrap();
    let plan = output.plan().unwrap();
    let mut rows = text_of(&output.collect().await.unwrap());
    rows.sort();
    let plan = datafusion::physical_plan::displayable(plan.as_ref());
    (rows, plan.indent(false).to_string())
}
