//! Times by their size: a long run's percentiles in constant memory.
//!
//! Invariant: a time is told to within a sixteenth of itself.

use std::time::Duration;

/// Buckets of each power of two.
const STEPS: u64 = 16;
/// Powers of two: a 64-bit number of nanoseconds fits.
const POWERS: usize = 64;

/// Counts of times.
#[derive(Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; POWERS * STEPS as usize],
            total: 0,
        }
    }
}

impl Histogram {
    pub(crate) fn add(&mut self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanoseconds)] += 1;
        self.total += 1;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
    }

    /// The seconds that this share of the times does not exceed; zero of none.
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        let wanted = (share * self.total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper(bucket) / 1e9;
            }
        }
        0.0
    }
}

/// Small numbers have a bucket each; above, the power of two and the four bits after its first.
fn bucket(value: u64) -> usize {
    if value < STEPS {
        return value as usize;
    }
    let power = u64::from(63 - value.leading_zeros());
    let step = (value >> (power - 4)) - STEPS;
    ((power - 3) * STEPS + step) as usize
}

/// The largest number of a bucket.
fn upper(bucket: usize) -> f64 {
    let (power, step) = (bucket as u64 / STEPS, bucket as u64 % STEPS);
    match power {
        0 => step as f64,
        _ => (STEPS + step + 1) as f64 * 2f64.powi(power as i32 - 1) - 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_near() {
        let mut histogram = Histogram::default();
        for microseconds in 1..=1000 {
            histogram.add(Duration::from_micros(microseconds));
        }
        for (share, expected) in [(0.5, 500e-6), (0.99, 990e-6), (1.0, 1000e-6)] {
            let found = histogram.percentile(share);
            assert!((found / expected - 1.0).abs() < 1.0 / 16.0, "{found}");
        }
    }

    #[test]
    fn buckets_follow_each_other() {
        let mut last = 0;
        for value in (0..5000).chain([1 << 40, u64::MAX]) {
            let found = bucket(value);
            assert!(found == last || found == last + 1 || value > 5000);
            assert!(upper(found) >= value as f64, "{value}");
            last = found;
        }
        assert!(last < POWERS * STEPS as usize);
    }

    #[test]
    fn histograms_add_up() {
        let (mut one, mut other) = (Histogram::default(), Histogram::default());
        assert_eq!(one.percentile(0.5), 0.0);
        one.add(Duration::from_nanos(3));
        other.add(Duration::from_nanos(9));
        one.merge(&other);
        assert_eq!(one.percentile(0.5), 3e-9);
        assert_eq!(one.percentile(1.0), 9e-9);
    }
}
