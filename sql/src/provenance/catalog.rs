//! The catalog as statements see it that name columns of provenance.
//!
//! Invariant: the same tables under the same names; those of the store have the columns, all others
//! are passed on as they are.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::TableType;

use crate::provider::ShardTable;

/// Lets a session's tables show where their rows come from.
pub(crate) fn serve(state: &mut SessionState) {
    let shown = Shown(Arc::clone(state.catalog_list()));
    state.register_catalog_list(Arc::new(shown));
}

/// What shows the columns, over what does not.
struct Shown<T: ?Sized>(Arc<T>);

impl<T: fmt::Debug + ?Sized> fmt::Debug for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shown").field(&self.0).finish()
    }
}

impl CatalogProviderList for Shown<dyn CatalogProviderList> {
    fn register_catalog(
        &self,
        name: String,
        catalog: Arc<dyn CatalogProvider>,
    ) -> Option<Arc<dyn CatalogProvider>> {
        self.0.register_catalog(name, catalog)
    }

    fn catalog_names(&self) -> Vec<String> {
        self.0.catalog_names()
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        let found = self.0.catalog(name)?;
        Some(Arc::new(Shown(found)))
    }
}

impl CatalogProvider for Shown<dyn CatalogProvider> {
    fn schema_names(&self) -> Vec<String> {
        self.0.schema_names()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let found = self.0.schema(name)?;
        Some(Arc::new(Shown(found)))
    }
}

#[async_trait]
impl SchemaProvider for Shown<dyn SchemaProvider> {
    fn table_names(&self) -> Vec<String> {
        self.0.table_names()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let found = self.0.table(name).await?;
        Ok(found.map(|table| match table.downcast_ref::<ShardTable>() {
            Some(plain) => Arc::new(plain.with_provenance()) as Arc<dyn TableProvider>,
            None => table,
        }))
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        self.0.table_type(name).await
    }

    fn table_exist(&self, name: &str) -> bool {
        self.0.table_exist(name)
    }
}
