//! A table as DataFusion sees it.
//!
//! Purpose: [`ShardTable`] plans scans through the [`Cluster`].
//!
//! Invariant: it declares no primary key to the planner (nothing DataFusion infers from one may
//! decide an answer) and offers none of the write hooks: rows change only through this crate's
//! own statements.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::error::Result;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::expressions::Column as PhysicalColumn;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};
use netabase_store::TableDef;

use crate::cluster::{Cluster, ScanRequest};
use crate::declared::{kind_name, without_kinds};
use crate::error::error_to_datafusion;
use crate::output::{ScanInfo, ScanLog};
use crate::provenance::with_provenance;
use crate::shard_scan::ShardScan;
use crate::transaction::{Changes, overlay};

/// One table of the store: its visible columns, under the names that they have now.
#[derive(Debug)]
pub(crate) struct ShardTable {
    def: Arc<TableDef>,
    cluster: Arc<dyn Cluster>,
    schema: SchemaRef,
    /// What can be read under its first names: all columns, and perhaps those of provenance.
    stored: SchemaRef,
    /// The positions of these columns in `stored`.
    columns: Vec<usize>,
    renamed: bool,
}

impl ShardTable {
    pub(crate) fn new(def: Arc<TableDef>, cluster: Arc<dyn Cluster>) -> Self {
        let columns = def.visible_columns();
        let stored = without_kinds(&def.schema);
        Self::of(def, cluster, columns, stored)
    }

    /// The same with the columns of provenance behind its own.
    pub(crate) fn with_provenance(&self) -> Self {
        let stored = with_provenance(&self.def.schema);
        let own = self.def.schema.fields().len();
        let mut columns = self.columns.clone();
        columns.extend((own..stored.fields().len()).filter(|column| {
            let name = stored.field(*column).name();
            // A column that was renamed to this name keeps it.
            self.schema.index_of(name).is_err()
        }));
        let (def, cluster) = (Arc::clone(&self.def), Arc::clone(&self.cluster));
        Self::of(def, cluster, columns, stored)
    }

    /// Where a column of the table is among those that are seen.
    pub(crate) fn place_of(&self, column: usize) -> Option<usize> {
        self.columns.iter().position(|seen| *seen == column)
    }

    /// What a column of text was declared as, if it is no plain text.
    pub(crate) fn kind(&self, name: &str) -> Option<String> {
        let seen = self.schema.index_of(name).ok()?;
        let column = self.columns.get(seen)?;
        kind_name(self.def.schema.fields().get(*column)?)
    }

    /// The same with a key that nobody gave.
    pub(crate) fn with_key(def: Arc<TableDef>, cluster: Arc<dyn Cluster>) -> Self {
        let columns = (0..def.schema.fields().len())
            .filter(|column| !def.is_hidden(*column) || def.primary_key.contains(column))
            .collect();
        let stored = without_kinds(&def.schema);
        Self::of(def, cluster, columns, stored)
    }

    fn of(
        def: Arc<TableDef>,
        cluster: Arc<dyn Cluster>,
        columns: Vec<usize>,
        stored: SchemaRef,
    ) -> Self {
        let (fields, own) = (stored.fields(), def.schema.fields().len());
        let renamed = (0..own).any(|column| {
            let field = fields.get(column);
            field.is_some_and(|field| field.name() != def.column_name(column))
        });
        let schema = if !renamed && columns.len() == fields.len() {
            Arc::clone(&stored)
        } else {
            let field = |&column: &usize| {
                let field = fields.get(column)?.as_ref().clone();
                Some(match column < own {
                    true => field.with_name(def.column_name(column)),
                    false => field,
                })
            };
            Arc::new(Schema::new(
                columns.iter().filter_map(field).collect::<Vec<_>>(),
            ))
        };
        Self {
            def,
            cluster,
            schema,
            stored,
            columns,
            renamed,
        }
    }

    /// The filter over the whole table, under the names in its schema.
    fn filter(&self, filters: &[Expr]) -> Result<Option<Expr>> {
        let Some(filter) = conjunction(filters.iter().cloned()) else {
            return Ok(None);
        };
        let plain = filter.transform(|expr| match expr {
            Expr::Column(column) => {
                let place = self.schema.index_of(&column.name);
                let place = place.ok().and_then(|place| self.columns.get(place));
                let field = place.and_then(|place| self.stored.fields().get(*place));
                let name = field.map_or(column.name.clone(), |field| field.name().clone());
                let plain = Column::new_unqualified(name);
                Ok(Transformed::yes(Expr::Column(plain)))
            }
            other => Ok(Transformed::no(other)),
        })?;
        Ok(Some(plain.data))
    }

    /// Gives the columns of a scan the names that they have now.
    fn named(
        &self,
        scan: Arc<dyn ExecutionPlan>,
        projection: &[usize],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if !self.renamed {
            return Ok(scan);
        }
        let schema = scan.schema();
        let columns = projection.iter().zip(schema.fields()).enumerate();
        let columns = columns.map(|(place, (column, field))| {
            let value = PhysicalColumn::new(field.name(), place);
            let name = self.schema.fields().get(*column);
            let name = name.map_or(field.name(), |field| field.name()).clone();
            (Arc::new(value) as Arc<dyn PhysicalExpr>, name)
        });
        let renamed = ProjectionExec::try_new(columns.collect::<Vec<_>>(), scan)?;
        Ok(Arc::new(renamed))
    }

    pub(crate) fn def(&self) -> &Arc<TableDef> {
        &self.def
    }
}

#[async_trait]
impl TableProvider for ShardTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(filters.iter().map(|filter| pushdown_of(filter)).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all: Vec<usize>;
        let wanted = match projection {
            Some(projection) => projection,
            None => {
                all = (0..self.columns.len()).collect();
                &all
            }
        };
        let projection = wanted.iter().filter_map(|column| self.columns.get(*column));
        let projection: Vec<usize> = projection.copied().collect();
        let predicate = match self.filter(filters)? {
            Some(filter) => {
                let schema = DFSchema::try_from(Arc::clone(&self.stored))?;
                Some(state.create_physical_expr(filter, &schema)?)
            }
            None => None,
        };
        let source = self
            .cluster
            .plan_scan(&self.def, state.config().target_partitions().max(1))
            .map_err(error_to_datafusion)?;
        if let Some(log) = state.config().get_extension::<ScanLog>() {
            log.record(ScanInfo::new(&self.def, source.as_ref()));
        }
        let def = Arc::clone(&self.def);
        let request = ScanRequest {
            def,
            schema: Arc::clone(&self.stored),
            projection,
            predicate,
            fetch: limit,
            answer: None,
        };
        let scan = |request| Ok(ShardScan::new(request, source)?.into_exec());
        let read = match state.config().get_extension::<Changes>() {
            Some(changes) => overlay(&changes, request, scan)?,
            None => scan(request)?,
        };
        self.named(read, wanted)
    }
}

/// Whether the scan can answer a filter on its own. What it takes, it checks for every row.
fn pushdown_of(filter: &Expr) -> TableProviderFilterPushDown {
    let mut simple = !filter.is_volatile();
    // The closure never fails, so the traversal does not either.
    let _ = filter.apply(|expr| {
        let subquery = matches!(
            expr,
            Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::ScalarSubquery(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
                | Expr::Placeholder(_)
        );
        if subquery {
            simple = false;
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    if simple {
        TableProviderFilterPushDown::Exact
    } else {
        TableProviderFilterPushDown::Unsupported
    }
}
