//! The catalog `netabase`, read from the store at every look: users' tables are in `public` and in the
//! schemas that were made, what describes the store in `netabase`.
//!
//! Invariant: it holds no copy of anything, so that a definition that arrives or goes is seen by
//! the next statement.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::TableType;
use netabase_store::{Error, ErrorKind, Store, TableDef, TableId};

use crate::blame::{Blame, What};
use crate::cluster::Cluster;
use crate::path;
use crate::provider::ShardTable;
use crate::syntax::shown;
use crate::system::{SYSTEM_SCHEMA, Sources, SystemSchema};
use crate::views::Views;

/// The only catalog.
pub(crate) const CATALOG: &str = "netabase";
/// The schema that is always there for users' tables, and needs no name.
pub(crate) const SCHEMA: &str = "public";
/// All tables with keys that nobody gave, by the names under which the store knows them, for statements
/// that change rows. It is not listed.
pub(crate) const KEYED_SCHEMA: &str = "public+key";
/// The read-only schema that describes the others.
pub(crate) const INFORMATION_SCHEMA: &str = "information_schema";

/// The catalog: the users' schemas, and those that describe them.
#[derive(Debug)]
pub(crate) struct StoreCatalog {
    schema: Arc<StoreSchema>,
    keyed: Arc<StoreSchema>,
    system: Arc<SystemSchema>,
    standard: Arc<SystemSchema>,
}

impl StoreCatalog {
    pub(crate) fn new(cluster: Arc<dyn Cluster>, sources: Sources) -> Self {
        let users = |of| {
            Arc::new(StoreSchema {
                store: sources.store.clone(),
                cluster: Arc::clone(&cluster),
                views: Arc::clone(&sources.views),
                of,
            })
        };
        Self {
            system: Arc::new(SystemSchema::own(sources.clone())),
            standard: Arc::new(SystemSchema::standard(sources.clone())),
            keyed: users(Of::All),
            schema: users(Of::Schema(SCHEMA.to_owned())),
        }
    }
}

impl CatalogProvider for StoreCatalog {
    fn schema_names(&self) -> Vec<String> {
        path::schemas(&self.schema.store).into_iter().collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        match name {
            SCHEMA => Some(Arc::clone(&self.schema) as Arc<dyn SchemaProvider>),
            KEYED_SCHEMA => Some(Arc::clone(&self.keyed) as Arc<dyn SchemaProvider>),
            SYSTEM_SCHEMA => Some(Arc::clone(&self.system) as Arc<dyn SchemaProvider>),
            INFORMATION_SCHEMA => Some(Arc::clone(&self.standard) as Arc<dyn SchemaProvider>),
            name => path::exists(&self.schema.store, name).then(|| {
                let of = Of::Schema(name.to_owned());
                Arc::new(self.schema.other(of)) as Arc<dyn SchemaProvider>
            }),
        }
    }
}

/// Which tables a schema has.
#[derive(Debug)]
enum Of {
    /// Those of this schema.
    Schema(String),
    /// All, by the names under which the store knows them, with keys that nobody gave.
    All,
}

/// The store's live tables.
struct StoreSchema {
    store: Store,
    cluster: Arc<dyn Cluster>,
    views: Arc<Views>,
    of: Of,
}

impl StoreSchema {
    fn other(&self, of: Of) -> Self {
        Self {
            store: self.store.clone(),
            cluster: Arc::clone(&self.cluster),
            views: Arc::clone(&self.views),
            of,
        }
    }

    fn find(&self, name: &str) -> Option<Arc<TableDef>> {
        match &self.of {
            Of::Schema(schema) => live_table(&self.store, &path::name_in(schema, name)),
            Of::All => live_table(&self.store, name),
        }
    }
}

impl std::fmt::Debug for StoreSchema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreSchema")
            .field("of", &self.of)
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

impl StoreSchema {
    /// A table that nobody sees yet, by its id: for the statement that makes it.
    fn unfinished(&self, id: &str) -> Option<Arc<TableDef>> {
        let digits = Some(id).filter(|id| matches!(self.of, Of::All) && id.len() == 32)?;
        let id = TableId(u128::from_str_radix(digits, 16).ok()?.to_be_bytes());
        let def = self.store.table_by_id(id)?;
        (def.dropped.is_none() && def.options.rules.unfinished).then_some(def)
    }
}

/// A live table by name.
pub(crate) fn live_table(store: &Store, name: &str) -> Option<Arc<TableDef>> {
    let def = store.table(name)?;
    (def.dropped.is_none() && !def.is_schema()).then_some(def)
}

/// There is no such table.
pub(crate) fn missing_table(name: &str) -> Error {
    let name = shown(name);
    let text = format!("table \"{name}\" does not exist");
    Blame::error(What::Table, name, (ErrorKind::NotFound, text))
}

#[async_trait]
impl SchemaProvider for StoreSchema {
    fn table_names(&self) -> Vec<String> {
        let tables = self.store.tables();
        let live = tables.iter().filter(|def| def.dropped.is_none());
        let names = live.filter_map(|def| match &self.of {
            Of::All => Some(def.name.clone()),
            Of::Schema(schema) => {
                let name = def.qualified_name();
                let of = name.schema.as_deref().unwrap_or(SCHEMA);
                (of == schema).then_some(name.table)
            }
        });
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let found = self.find(name).or_else(|| self.unfinished(name));
        let Some(def) = found else {
            return Ok(None);
        };
        if let Some(view) = &def.options.rules.view
            && !view.materialized
        {
            return self.views.table(&def.name, view).await.map(Some);
        }
        let cluster = Arc::clone(&self.cluster);
        let table = match self.of {
            Of::All => ShardTable::with_key(def, cluster),
            Of::Schema(_) => ShardTable::new(def, cluster),
        };
        Ok(Some(Arc::new(table)))
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        Ok(self.find(name).map(|def| match &def.options.rules.view {
            Some(view) if !view.materialized => TableType::View,
            _ => TableType::Base,
        }))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.find(name).is_some()
    }
}
