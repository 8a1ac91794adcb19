//! What the planner is told about a scan.
//!
//! Purpose: [`estimate`] turns a source's numbers into DataFusion's statistics: projected, after the
//! scan's filter and limit, of all partitions or of one.
//!
//! Invariant: a number is exact only if the source says so and neither filter, limit nor partition
//! makes it a guess: counts, minima and maxima are answered from exact ones.
//!
//! Not here: joins and aggregates; DataFusion derives theirs.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, Statistics};
use datafusion::error::Result;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, InListExpr, LikeExpr, Literal};
use datafusion::physical_expr::intervals::utils::check_support;
use datafusion::physical_expr::utils::conjunction;
use datafusion::physical_expr::{PhysicalExpr, split_conjunction};
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::{ExecutionPlan, StatisticsArgs};

use crate::cluster::{ScanRequest, ShardSource};

/// Share of the rows that is kept by a condition nothing is known about (DataFusion's default).
const ASSUMED_SELECTIVITY: f64 = 0.2;
/// Share of the rows that match a pattern; those that must not match it are the others.
const PATTERN_SELECTIVITY: f64 = 0.05;
/// Assumed bytes of a value of variable length.
const VARIABLE_WIDTH: usize = 24;

/// Statistics of a scan's output: of one partition, or of all.
pub(crate) fn estimate(
    request: &ScanRequest,
    source: &dyn ShardSource,
    partition: Option<usize>,
) -> Result<Statistics> {
    let mut statistics = of_table(request, source);
    if let Some(predicate) = &request.predicate {
        statistics = filtered(statistics, predicate, &request.schema)?;
    }
    let partitions = source.partitions().max(1);
    if partition.is_some() {
        statistics = scaled(statistics, 1.0 / partitions as f64);
    }
    let mut statistics = statistics.project(Some(&request.projection));
    statistics.total_byte_size = projected_bytes(request, statistics.total_byte_size);
    if request.answer.is_some() {
        statistics = statistics.to_inexact();
    }
    if let Some(fetch) = request.fetch {
        let readers = if partition.is_some() { 1 } else { partitions };
        statistics = limited(statistics, fetch.saturating_mul(readers));
    }
    Ok(statistics)
}

/// What the source knows, before filter and projection.
fn of_table(request: &ScanRequest, source: &dyn ShardSource) -> Statistics {
    let known = source.statistics();
    let mut statistics = Statistics::new_unknown(&request.schema);
    let rows = usize::try_from(known.rows).unwrap_or(usize::MAX);
    statistics.num_rows = match known.exact {
        true => Precision::Exact(rows),
        false => Precision::Inexact(rows),
    };
    let bytes = usize::try_from(known.bytes).unwrap_or(usize::MAX);
    statistics.total_byte_size = Precision::Inexact(bytes);
    let summaries = source.summaries().unwrap_or_default();
    for (column, summary) in statistics.column_statistics.iter_mut().zip(&*summaries) {
        column.null_count = summary.nulls;
        column.min_value = summary.min.clone();
        column.max_value = summary.max.clone();
        column.distinct_count = summary.distinct;
    }
    if known.exact {
        return statistics;
    }
    statistics.to_inexact()
}

/// After a filter: DataFusion's interval analysis for the conditions it understands, distinct counts
/// for equalities it does not (texts), and a guess for the rest.
fn filtered(
    statistics: Statistics,
    predicate: &Arc<dyn PhysicalExpr>,
    schema: &SchemaRef,
) -> Result<Statistics> {
    let (understood, others): (Vec<_>, Vec<_>) = split_conjunction(predicate)
        .into_iter()
        .partition(|condition| check_support(condition, schema));
    let before = statistics.num_rows;
    let mut statistics = statistics.to_inexact();
    let mut guessed = false;
    if !understood.is_empty() {
        let condition = conjunction(understood.into_iter().cloned());
        let table = Arc::new(EmptyExec::new(Arc::clone(schema)));
        let filter = FilterExec::try_new(condition, table)?;
        let input = Arc::new(statistics);
        let inputs = std::slice::from_ref(&input);
        // It fails for casts that change the order, of numbers to text or of fractions to integers.
        let analysed = filter.statistics_from_inputs(inputs, &StatisticsArgs::new());
        if let Err(error) = &analysed {
            tracing::debug!(%error, "the rows that a filter leaves are guessed");
            guessed = true;
        }
        statistics = Arc::unwrap_or_clone(analysed.unwrap_or(input)).to_inexact();
    }
    let mut kept = 1.0;
    for condition in others {
        match values_kept(condition, &statistics.column_statistics) {
            Some(share) => kept *= share,
            None => guessed = true,
        }
    }
    if guessed {
        kept *= ASSUMED_SELECTIVITY;
    }
    let mut statistics = scaled(statistics, kept);
    if before.get_value().is_some_and(|rows| *rows > 0) {
        statistics.num_rows = statistics.num_rows.max(&Precision::Inexact(1));
    }
    Ok(statistics)
}

/// The share of rows for which a condition is true, where more is known than nothing: an equality
/// with literals keeps as many of the column's distinct values, a pattern few rows.
fn values_kept(condition: &Arc<dyn PhysicalExpr>, columns: &[ColumnStatistics]) -> Option<f64> {
    let (negated, share) = if let Some(like) = condition.downcast_ref::<LikeExpr>() {
        (like.negated(), PATTERN_SELECTIVITY)
    } else {
        let (negated, column, values) = equal_values(condition)?;
        let column = column.downcast_ref::<Column>()?.index();
        let distinct = *columns.get(column)?.distinct_count.get_value()?;
        (negated, (values as f64 / distinct.max(1) as f64).min(1.0))
    };
    Some(if negated { 1.0 - share } else { share })
}

/// Whether a condition is negated, what it compares, and with how many literals.
fn equal_values(
    condition: &Arc<dyn PhysicalExpr>,
) -> Option<(bool, &Arc<dyn PhysicalExpr>, usize)> {
    if let Some(list) = condition.downcast_ref::<InListExpr>() {
        return Some((list.negated(), list.expr(), list.list().len()));
    }
    let binary = condition.downcast_ref::<BinaryExpr>()?;
    let literal = binary.right().is::<Literal>();
    let equal = literal && matches!(binary.op(), Operator::Eq | Operator::NotEq);
    equal.then(|| (*binary.op() == Operator::NotEq, binary.left(), 1))
}

/// The same columns with a share of the rows.
fn scaled(statistics: Statistics, share: f64) -> Statistics {
    if share >= 1.0 {
        return statistics;
    }
    let mut statistics = statistics.to_inexact();
    statistics.num_rows = statistics.num_rows.with_estimated_selectivity(share);
    statistics.total_byte_size = statistics.total_byte_size.with_estimated_selectivity(share);
    let rows = statistics.num_rows;
    for column in &mut statistics.column_statistics {
        column.null_count = column.null_count.with_estimated_selectivity(share);
        column.distinct_count = at_most(column.distinct_count, rows);
    }
    statistics
}

/// The same columns with no more than `wanted` rows.
fn limited(statistics: Statistics, wanted: usize) -> Statistics {
    let rows = *statistics.num_rows.get_value().unwrap_or(&wanted);
    let mut statistics = statistics.to_inexact();
    if wanted < rows {
        let share = wanted as f64 / rows as f64;
        statistics = scaled(statistics, share);
        statistics.num_rows = Precision::Inexact(wanted);
    }
    statistics
}

fn at_most(value: Precision<usize>, rows: Precision<usize>) -> Precision<usize> {
    match (value.get_value(), rows.get_value()) {
        (Some(value), Some(rows)) => Precision::Inexact(*value.min(rows)),
        _ => value,
    }
}

/// The part of a table's bytes that the projected columns are expected to take.
fn projected_bytes(request: &ScanRequest, whole: Precision<usize>) -> Precision<usize> {
    let fields = request.schema.fields();
    let width = |index: usize| {
        let field = fields.get(index);
        field.map_or(0, |field| column_width(field.data_type()) as u128)
    };
    let all: u128 = (0..fields.len()).map(width).sum();
    let read: u128 = request.projection.iter().copied().map(width).sum();
    match whole.get_value() {
        Some(bytes) => {
            let part = *bytes as u128 * read / all.max(1);
            Precision::Inexact(usize::try_from(part).unwrap_or(usize::MAX))
        }
        None => Precision::Absent,
    }
}

/// Bytes that one value of a type takes, roughly.
pub(crate) fn column_width(data_type: &DataType) -> usize {
    data_type.primitive_width().unwrap_or(match data_type {
        DataType::Boolean | DataType::Null => 1,
        _ => VARIABLE_WIDTH,
    })
}
