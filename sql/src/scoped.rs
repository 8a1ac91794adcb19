//! Rows that one statement can name like a table.
//!
//! Purpose: what a statement wrote (for RETURNING), or is about to write (for ON CONFLICT), is queried
//! with SQL. Invariant: nobody else sees these tables: they are in the catalog list of one planning
//! alone. Non-goal: rows that do not fit in memory.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemTable, MemoryCatalogProvider, MemorySchemaProvider,
    SchemaProvider,
};
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::sql::sqlparser::ast::{
    Ident, ObjectName, ObjectNamePart, TableFactor, TableWithJoins,
};

use crate::statement::table_alias;

/// The catalog that has them; not a name that anybody would give.
const CATALOG: &str = "$statement";
/// The one of rows that a WITH has changed, which the parts of a statement see besides their own.
const WITH_CATALOG: &str = "$with";
const SCHEMA: &str = "rows";

/// Rows by name.
#[derive(Debug, Clone)]
pub(crate) struct Scoped {
    catalog: &'static str,
    rows: Arc<MemorySchemaProvider>,
}

impl Default for Scoped {
    fn default() -> Self {
        Self {
            catalog: CATALOG,
            rows: Arc::default(),
        }
    }
}

impl Scoped {
    /// For what a WITH changes.
    pub(crate) fn of_with() -> Self {
        Self {
            catalog: WITH_CATALOG,
            ..Self::default()
        }
    }

    /// Adds rows under a name.
    pub(crate) fn with(
        self,
        name: &str,
        schema: &SchemaRef,
        rows: Vec<RecordBatch>,
    ) -> Result<Self, DataFusionError> {
        let table = MemTable::try_new(Arc::clone(schema), vec![rows])?;
        self.rows.register_table(name.to_owned(), Arc::new(table))?;
        Ok(self)
    }

    /// Lets a planning see the rows, besides what it sees anyway.
    pub(crate) fn enter(self, state: &mut SessionState) -> Result<(), DataFusionError> {
        let rows = MemoryCatalogProvider::new();
        rows.register_schema(SCHEMA, self.rows)?;
        let catalogs = ScopedCatalogs {
            outer: Arc::clone(state.catalog_list()),
            name: self.catalog,
            rows: Arc::new(rows),
        };
        state.register_catalog_list(Arc::new(catalogs));
        Ok(())
    }
}

/// How such rows are named in FROM.
pub(crate) fn relation(name: &str, alias: Ident) -> TableWithJoins {
    named(CATALOG, name, alias)
}

/// The same for what a WITH has changed.
pub(crate) fn relation_of_with(name: &str, alias: Ident) -> TableWithJoins {
    named(WITH_CATALOG, name, alias)
}

fn named(catalog: &str, name: &str, alias: Ident) -> TableWithJoins {
    let parts = [catalog, SCHEMA, name].map(|part| {
        let ident = Ident::with_quote('"', part);
        ObjectNamePart::Identifier(ident)
    });
    TableWithJoins {
        relation: table(ObjectName(parts.to_vec()), alias),
        joins: Vec::new(),
    }
}

/// A table under an alias.
pub(crate) fn table(name: ObjectName, alias: Ident) -> TableFactor {
    TableFactor::Table {
        name,
        alias: Some(table_alias(alias)),
        args: None,
        with_hints: Vec::new(),
        version: None,
        with_ordinality: false,
        partitions: Vec::new(),
        json_path: None,
        sample: None,
        index_hints: Vec::new(),
    }
}

#[derive(Debug)]
struct ScopedCatalogs {
    outer: Arc<dyn CatalogProviderList>,
    name: &'static str,
    rows: Arc<dyn CatalogProvider>,
}

impl CatalogProviderList for ScopedCatalogs {
    fn register_catalog(
        &self,
        name: String,
        catalog: Arc<dyn CatalogProvider>,
    ) -> Option<Arc<dyn CatalogProvider>> {
        self.outer.register_catalog(name, catalog)
    }

    fn catalog_names(&self) -> Vec<String> {
        self.outer.catalog_names()
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        match name == self.name {
            true => Some(Arc::clone(&self.rows)),
            false => self.outer.catalog(name),
        }
    }
}
