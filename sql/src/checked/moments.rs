//! Variances, covariances and regressions over frames whose start moves.
//!
//! Idea: of some rows it is enough to know their number, their means, and the sums of the products of their distances
//! from those; of two parts these are joined without loss (Chan et al., "Updating formulae and a pairwise algorithm for
//! computing sample variances", 1979). Invariant: equal values have a variance of exactly 0, which DataFusion's own
//! merge does not keep; which results are NULL is as DataFusion has it.

use arrow::array::ArrayRef;
use datafusion::common::ScalarValue;
use datafusion::error::Result;

use super::sliding::{Slides, floats};

/// What is asked about rows of one float, or of a pair `(y, x)` of floats.
#[derive(Clone, Copy, Debug)]
pub(super) enum Statistic {
    Variance(Over),
    Deviation(Over),
    Covariance(Over),
    Correlation,
    Slope,
    Intercept,
    Pairs,
    Determination,
    MeanX,
    MeanY,
    SpreadX,
    SpreadY,
    Shared,
}

/// What the rows stand for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Over {
    Sample,
    Population,
}

impl Statistic {
    /// What a function asks for, by its name in DataFusion.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "var" => Self::Variance(Over::Sample),
            "var_pop" => Self::Variance(Over::Population),
            "stddev" => Self::Deviation(Over::Sample),
            "stddev_pop" => Self::Deviation(Over::Population),
            "covar_samp" => Self::Covariance(Over::Sample),
            "covar_pop" => Self::Covariance(Over::Population),
            "corr" => Self::Correlation,
            "regr_slope" => Self::Slope,
            "regr_intercept" => Self::Intercept,
            "regr_count" => Self::Pairs,
            "regr_r2" => Self::Determination,
            "regr_avgx" => Self::MeanX,
            "regr_avgy" => Self::MeanY,
            "regr_sxx" => Self::SpreadX,
            "regr_syy" => Self::SpreadY,
            "regr_sxy" => Self::Shared,
            _ => return None,
        })
    }

    fn value(self, of: &Moments) -> Option<f64> {
        let some = of.count > 0;
        match self {
            Self::Variance(over) => of.variance(over),
            Self::Deviation(over) => of.variance(over).map(f64::sqrt),
            Self::Covariance(over) => over.divisor(of.count).map(|by| of.shared / by),
            Self::Correlation => of.correlation(),
            Self::Slope => of.slope(),
            Self::Intercept => of.slope().map(|slope| of.mean_y - slope * of.mean_x),
            Self::Pairs => Some(of.count as f64),
            Self::Determination => of.determination(),
            Self::MeanX => some.then_some(of.mean_x),
            Self::MeanY => some.then_some(of.mean_y),
            Self::SpreadX => some.then_some(of.spread_x),
            Self::SpreadY => some.then_some(of.spread_y),
            Self::Shared => some.then_some(of.shared),
        }
    }
}

impl Over {
    fn divisor(self, count: u64) -> Option<f64> {
        let divisor = match self {
            Self::Sample => count.saturating_sub(1),
            Self::Population => count,
        };
        (divisor > 0).then_some(divisor as f64)
    }
}

/// What is known of some rows. With one column, `x` is 0.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moments {
    /// The rows without NULL.
    count: u64,
    mean_y: f64,
    mean_x: f64,
    /// The sum of the squares of the distances from the mean.
    spread_y: f64,
    spread_x: f64,
    /// The sum of the products of the distances of a row.
    shared: f64,
}

impl Moments {
    fn of(y: f64, x: f64) -> Self {
        let (spread_y, spread_x) = (distance(y), distance(x));
        Self {
            count: 1,
            mean_y: y,
            mean_x: x,
            spread_y,
            spread_x,
            shared: spread_y + spread_x,
        }
    }

    fn variance(&self, over: Over) -> Option<f64> {
        match (over, self.count) {
            (Over::Population, 1) => Some(0.0),
            _ => over.divisor(self.count).map(|by| self.spread_y / by),
        }
    }

    fn correlation(&self) -> Option<f64> {
        match (self.mean_y.is_nan(), self.mean_x.is_nan()) {
            (true, true) => return Some(f64::NAN),
            (false, false) if self.count > 1 => {}
            _ => return None,
        }
        let count = self.count as f64;
        let (y, x) = (
            (self.spread_y / count).sqrt(),
            (self.spread_x / count).sqrt(),
        );
        (y != 0.0 && x != 0.0).then(|| self.shared / count / y / x)
    }

    fn slope(&self) -> Option<f64> {
        let count = self.count as f64;
        let variance = self.spread_x / count;
        (self.count > 1 && variance != 0.0).then(|| self.shared / count / variance)
    }

    fn determination(&self) -> Option<f64> {
        let count = self.count as f64;
        let shared = self.shared / count;
        let (y, x) = (self.spread_y / count, self.spread_x / count);
        (self.count > 1 && y != 0.0 && x != 0.0).then(|| (shared * shared) / (y * x))
    }
}

/// How far a value is from itself: what is not finite has no distance.
fn distance(value: f64) -> f64 {
    if value.is_finite() { 0.0 } else { f64::NAN }
}

/// The mean of two parts, of which the second has so many rows of all. The mean of an infinity is that infinity.
fn mean(earlier: f64, later: f64, rows: f64, all: f64) -> f64 {
    if earlier.is_finite() && later.is_finite() {
        earlier + (later - earlier) * rows / all
    } else {
        earlier + later
    }
}

impl Slides for Statistic {
    type Part = Moments;

    fn read(&self, values: &[ArrayRef], rows: &mut Vec<Moments>) -> Result<()> {
        let y = floats(values, 0)?.iter();
        if values.len() == 1 {
            rows.extend(y.map(|y| y.map(|y| Moments::of(y, 0.0)).unwrap_or_default()));
            return Ok(());
        }
        let pairs = y.zip(floats(values, 1)?.iter());
        rows.extend(pairs.map(|pair| match pair {
            (Some(y), Some(x)) => Moments::of(y, x),
            _ => Moments::default(),
        }));
        Ok(())
    }

    fn join(&self, earlier: Moments, later: Moments) -> Moments {
        if earlier.count == 0 {
            return later;
        }
        if later.count == 0 {
            return earlier;
        }
        let count = earlier.count + later.count;
        let (rows, all) = (later.count as f64, count as f64);
        let weight = earlier.count as f64 * rows / all;
        let y = later.mean_y - earlier.mean_y;
        let x = later.mean_x - earlier.mean_x;
        Moments {
            count,
            mean_y: mean(earlier.mean_y, later.mean_y, rows, all),
            mean_x: mean(earlier.mean_x, later.mean_x, rows, all),
            spread_y: earlier.spread_y + later.spread_y + y * y * weight,
            spread_x: earlier.spread_x + later.spread_x + x * x * weight,
            shared: earlier.shared + later.shared + y * x * weight,
        }
    }

    fn tell(&self, total: Moments) -> Result<ScalarValue> {
        Ok(match self {
            Self::Pairs => ScalarValue::UInt64(Some(total.count)),
            _ => ScalarValue::Float64(self.value(&total)),
        })
    }
}
