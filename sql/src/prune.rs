//! Leaving out blocks whose zones prove that no row passes.
//!
//! Invariant: a block is left out only when its zones prove it; whatever is not known, or cannot be
//! analysed, keeps it.
//!
//! Non-goal: rows. They are checked one by one in `scan`.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use arrow::datatypes::SchemaRef;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, ScalarValue};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr_common::physical_expr::snapshot_generation;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;

use crate::block::{BlockRows, Zone};

/// Decides which blocks are worth reading, again whenever the predicate has changed: what a join or
/// a top-k has found so far narrows it while the scan runs.
#[derive(Debug)]
pub(crate) struct Pruner {
    predicate: Arc<dyn PhysicalExpr>,
    schema: SchemaRef,
    /// The predicate's generation that the blocks were checked against last.
    checked: Option<u64>,
}

impl Pruner {
    pub(crate) fn new(predicate: Arc<dyn PhysicalExpr>, schema: SchemaRef) -> Self {
        Self {
            predicate,
            schema,
            checked: None,
        }
    }

    /// Removes blocks, unless the predicate is what they were checked against before.
    pub(crate) fn prune(&mut self, blocks: &mut VecDeque<BlockRows>) {
        let generation = snapshot_generation(&self.predicate);
        if self.checked.replace(generation) == Some(generation) || !self.has_zones(blocks) {
            return;
        }
        let Some(predicate) = PruningPredicateBuilder::new()
            .with_file_schema(Arc::clone(&self.schema))
            .build(Arc::clone(&self.predicate))
        else {
            return;
        };
        let zones = Zones {
            blocks: blocks.make_contiguous(),
            schema: &self.schema,
        };
        match predicate.prune(&zones) {
            Ok(keep) if keep.len() == blocks.len() => {
                let mut keep = keep.into_iter();
                blocks.retain(|_| keep.next().unwrap_or(true));
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "blocks are read without looking at their zones"),
        }
    }

    /// Whether any block knows something about a column of the predicate.
    fn has_zones(&self, blocks: &VecDeque<BlockRows>) -> bool {
        let columns = collect_columns(&self.predicate);
        blocks.iter().any(|part| {
            columns
                .iter()
                .any(|column| part.block.zone(column.index()).is_some())
        })
    }
}

/// The zones of a list of blocks, as DataFusion asks for them.
struct Zones<'a> {
    blocks: &'a [BlockRows],
    schema: &'a SchemaRef,
}

impl Zones<'_> {
    /// One value per block; NULL where it is not known.
    fn values(
        &self,
        column: &Column,
        of: impl Fn(Zone) -> Option<ScalarValue>,
    ) -> Option<ArrayRef> {
        let (index, field) = self.schema.column_with_name(&column.name)?;
        let unknown = ScalarValue::try_from(field.data_type()).ok()?;
        let values = self.blocks.iter().map(|part| {
            part.block
                .zone(index)
                .and_then(&of)
                .filter(|value| value.data_type() == *field.data_type())
                .unwrap_or_else(|| unknown.clone())
        });
        ScalarValue::iter_to_array(values).ok()
    }
}

impl PruningStatistics for Zones<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |zone| zone.min)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |zone| zone.max)
    }

    fn num_containers(&self) -> usize {
        self.blocks.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let (index, _) = self.schema.column_with_name(&column.name)?;
        let counts = self.blocks.iter();
        let counts: UInt64Array = counts
            .map(|part| part.block.zone(index).and_then(|zone| zone.nulls))
            .collect();
        Some(Arc::new(counts))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let rows = self.blocks.iter().map(|part| part.block.rows() as u64);
        Some(Arc::new(UInt64Array::from_iter_values(rows)))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
