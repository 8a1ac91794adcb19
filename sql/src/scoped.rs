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
    Ident, ObjectName, ObjectNamePart, TableAlias, TableFactor, TableWithJoins,
};

/// The catalog that has them; not a name that anybody would give.
const CATALOG: &str = "$statement";
const SCHEMA: &str = "rows";

/// Rows by name.
#[derive(Debug, Default)]
pub(crate) struct Scoped(MemorySchemaProvider);

impl Scoped {
    /// Adds rows under a name.
    pub(crate) fn with(
        self,
        name: &str,
        schema: &SchemaRef,
        rows: Vec<RecordBatch>,
    ) -> Result<Self, DataFusionError> {
        let table = MemTable::try_new(Arc::clone(schema), vec![rows])?;
        self.0.register_table(name.to_owned(), Arc::new(table))?;
        Ok(self)
    }

    /// Lets a planning see the rows, besides what it sees anyway.
    pub(crate) fn enter(self, state: &mut SessionState) -> Result<(), DataFusionError> {
        let rows = MemoryCatalogProvider::new();
        rows.register_schema(SCHEMA, Arc::new(self.0))?;
        let catalogs = ScopedCatalogs {
            outer: Arc::clone(state.catalog_list()),
            rows: Arc::new(rows),
        };
        state.register_catalog_list(Arc::new(catalogs));
        Ok(())
    }
}

/// How such rows are named in FROM.
pub(crate) fn relation(name: &str, alias: Ident) -> TableWithJoins {
    let parts = [CATALOG, SCHEMA, name].map(|part| {
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
        alias: Some(TableAlias {
            explicit: true,
            name: alias,
            columns: Vec::new(),
            at: None,
        }),
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
        match name {
            CATALOG => Some(Arc::clone(&self.rows)),
            other => self.outer.catalog(other),
        }
    }
}
