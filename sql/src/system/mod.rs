//! The schemas `netabase` and `information_schema`: what this peer holds and does, as tables to read.
//!
//! Invariant: rows are computed when a scan runs, on a thread that may block, and belong to this peer
//! alone, whoever asks. Every table and column says what it is, in its comment.
//!
//! Non-goals: other peers' numbers; filters inside a scan (there are few rows).

mod columns;
mod engine;
mod facts;
mod functions;
mod rows;
mod standard;
mod storage;
mod tables;

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use arrow::datatypes::{Field, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::information_schema::InformationSchemaProvider;
use datafusion::catalog::{
    CatalogProviderList, MemoryCatalogProviderList, SchemaProvider, TableProvider,
};
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::TableType;
use futures::FutureExt;
use netabase_store::{Store, TableDef};
use parking_lot::RwLock;

use self::rows::SystemTable;
use self::rows::provider_of;
pub(crate) use self::tables::{codec_name, names as names_of};
use crate::catalog::{INFORMATION_SCHEMA, SCHEMA};
use crate::describe::{ColumnFacts, plain_view, visible_columns};
use crate::memory::QueryPool;
use crate::own_settings::Defaults;
use crate::running::Running;
use crate::views::Views;

/// The name of the schema that is netabase's own.
pub(crate) const SYSTEM_SCHEMA: &str = "netabase";

/// Where the rows come from.
#[derive(Clone)]
pub(crate) struct Sources {
    pub(crate) store: Store,
    pub(crate) running: Arc<Running>,
    pub(crate) pool: Arc<QueryPool>,
    pub(crate) defaults: Defaults,
    /// The session, for its table functions; it owns the catalog.
    pub(crate) session: Weak<RwLock<SessionState>>,
    pub(crate) views: Arc<Views>,
    /// The columns of views, by name, where they were planned for a scan.
    pub(crate) planned: HashMap<String, SchemaRef>,
}

impl Sources {
    /// The same with the columns of views, which are those of their queries; of `only` one, if it is named.
    /// A view that cannot be planned any more has none.
    async fn with_views(mut self, only: Option<&str>) -> Self {
        let mut tables = self.store.tables();
        tables.retain(|def| only.is_none_or(|name| *def.name == *name));
        for def in tables {
            if let Some(view) = plain_view(&def)
                && let Ok(table) = self.views.table(&def.name, view).await
            {
                self.planned.insert(def.name.clone(), table.schema());
            }
        }
        self
    }

    /// The columns of a user's table or view, by position, with what is known about them.
    fn columns_of(&self, def: &TableDef) -> Vec<(Field, ColumnFacts, Option<usize>)> {
        if plain_view(def).is_none() {
            return visible_columns(def);
        }
        let planned = self.planned.get(&def.name);
        let fields = planned.map(|schema| schema.fields().iter().cloned());
        let plain = fields.into_iter().flatten();
        plain
            .map(|field| (field.as_ref().clone(), ColumnFacts::default(), None))
            .collect()
    }
}

/// The schema and the name of a user's table.
fn place_of(def: &TableDef) -> (String, String) {
    let name = def.qualified_name();
    let schema = name.schema.unwrap_or_else(|| SCHEMA.to_owned());
    (schema, name.table)
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sources")
    }
}

/// The tables of the schema `netabase`.
const OWN_TABLES: [&SystemTable; 10] = [
    &columns::COLUMNS,
    &functions::FUNCTIONS,
    &tables::INDEXES,
    &engine::METRICS,
    &engine::PREPARED,
    &engine::QUERIES,
    &storage::SEGMENTS,
    &engine::SETTINGS,
    &storage::STORE,
    &tables::TABLES,
];

/// The tables of `information_schema` that are made here.
const STANDARD_TABLES: [&SystemTable; 8] = [
    &standard::CHECK_CONSTRAINTS,
    &standard::COLUMNS,
    &standard::KEY_COLUMN_USAGE,
    &standard::REFERENTIAL_CONSTRAINTS,
    &standard::SCHEMATA,
    &standard::TABLE_CONSTRAINTS,
    &standard::TABLES,
    &standard::VIEWS,
];

/// Those that DataFusion makes.
const BORROWED_TABLES: [&str; 3] = ["df_settings", "parameters", "routines"];

/// A schema of system tables.
#[derive(Debug)]
pub(crate) struct SystemSchema {
    tables: &'static [&'static SystemTable],
    borrowed: &'static [&'static str],
    sources: Sources,
}

impl SystemSchema {
    /// The schema `netabase`.
    pub(crate) fn own(sources: Sources) -> Self {
        Self {
            tables: &OWN_TABLES,
            borrowed: &[],
            sources,
        }
    }

    /// The schema `information_schema`.
    pub(crate) fn standard(sources: Sources) -> Self {
        Self {
            tables: &STANDARD_TABLES,
            borrowed: &BORROWED_TABLES,
            sources,
        }
    }

    /// A table of DataFusion's, which describes the session alone.
    async fn borrowed(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let nothing: Arc<dyn CatalogProviderList> = Arc::new(MemoryCatalogProviderList::new());
        let session = self.sources.session.upgrade();
        let functions = session.map(|session| session.read().table_functions().clone());
        let provider = InformationSchemaProvider::new(nothing);
        let provider = provider.with_table_functions(functions.unwrap_or_default());
        provider.table(name).await
    }
}

#[async_trait]
impl SchemaProvider for SystemSchema {
    fn table_names(&self) -> Vec<String> {
        let names = self.tables.iter().map(|table| table.name);
        let mut names: Vec<String> = names
            .chain(self.borrowed.iter().copied())
            .map(str::to_owned)
            .collect();
        names.sort_unstable();
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if self.borrowed.contains(&name) {
            return self.borrowed(name).await;
        }
        match self.tables.iter().find(|table| table.name == name) {
            Some(table) => Ok(Some(provider_of(table, &self.sources))),
            None => Ok(None),
        }
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        Ok(self.table_exist(name).then_some(TableType::View))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.borrowed.contains(&name) || self.tables.iter().any(|table| table.name == name)
    }
}

/// The columns of all system tables, with the names of schema and table.
fn schemas() -> Vec<(&'static str, &'static str, SchemaRef)> {
    let mut all: Vec<_> = described()
        .map(|(schema, table)| (schema, table.name, Arc::new(table.schema())))
        .collect();
    let nothing: Arc<dyn CatalogProviderList> = Arc::new(MemoryCatalogProviderList::new());
    let provider = InformationSchemaProvider::new(nothing);
    for name in BORROWED_TABLES {
        // These are made without waiting for anything.
        if let Some(Ok(Some(table))) = provider.table(name).now_or_never() {
            all.push((INFORMATION_SCHEMA, name, table.schema()));
        }
    }
    all
}

/// The system tables of both schemas that are made here, with their schema's name.
fn described() -> impl Iterator<Item = (&'static str, &'static SystemTable)> {
    let own = OWN_TABLES.iter().map(|table| (SYSTEM_SCHEMA, *table));
    let standard = STANDARD_TABLES.iter();
    own.chain(standard.map(|table| (INFORMATION_SCHEMA, *table)))
}

/// The names of all system tables, with their schemas'.
pub(crate) fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    let borrowed = BORROWED_TABLES.iter();
    described()
        .map(|(schema, table)| (schema, table.name))
        .chain(borrowed.map(|name| (INFORMATION_SCHEMA, *name)))
}
