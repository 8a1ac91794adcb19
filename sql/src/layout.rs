//! How the rows of a source lie, and what is known about their values.
//!
//! Purpose: [`Layout`] and [`ColumnSummary`] are what a [`ShardSource`](crate::ShardSource) promises
//! to the planner. A layout is a promise that answers depend on; a summary decides answers only
//! where it says that it is exact.
//!
//! Not here: what the planner makes of them (`colocate`, `scan_statistics`).

use datafusion::common::ScalarValue;
use datafusion::common::stats::Precision;

/// How a source's partitions divide its rows. The default promises nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Layout {
    /// Partition `i` of `n` returns exactly the rows of the shards `s` with `s % n == i`.
    pub by_shard: bool,
    /// Each partition returns its rows ascending by primary key.
    pub ordered: bool,
}

/// What is known about the values of one column, over all rows of a source.
///
/// An exact value must hold for exactly the live rows that a scan without filter returns: counts,
/// minima and maxima are then answered from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnSummary {
    /// How many values are NULL.
    pub nulls: Precision<usize>,
    /// The least value.
    pub min: Precision<ScalarValue>,
    /// The greatest value.
    pub max: Precision<ScalarValue>,
    /// How many values differ from each other.
    pub distinct: Precision<usize>,
}

impl Default for ColumnSummary {
    fn default() -> Self {
        Self {
            nulls: Precision::Absent,
            min: Precision::Absent,
            max: Precision::Absent,
            distinct: Precision::Absent,
        }
    }
}
