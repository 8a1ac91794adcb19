//! How many distinct values a column has, roughly.
//!
//! Idea: HyperLogLog. A value's hash chooses one of 1024 registers, which keeps the longest run of
//! leading zeros seen. Invariant: sketches of parts merge into the sketch of the whole, in any
//! order. Non-goal: exact counts; expect the estimate to be 3 % off, rarely more than 8 %.

/// Bits of the hash that choose a register.
const INDEX_BITS: u32 = 10;

/// Number of registers, a byte each.
pub(super) const REGISTERS: usize = 1 << INDEX_BITS;

/// An estimate of the number of distinct values of a column. NULLs are not counted.
#[derive(Clone, PartialEq, Eq)]
pub struct DistinctSketch(Box<[u8; REGISTERS]>);

impl Default for DistinctSketch {
    fn default() -> Self {
        Self(Box::new([0; REGISTERS]))
    }
}

impl std::fmt::Debug for DistinctSketch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DistinctSketch(~{})", self.estimate())
    }
}

impl DistinctSketch {
    /// Takes note of a value by its well-mixed hash.
    #[inline]
    pub(super) fn add_hash(&mut self, hash: u64) {
        let index = (hash >> (64 - INDEX_BITS)) as usize & (REGISTERS - 1);
        // The bit set below bounds the run where all remaining bits are zero.
        let rest = (hash << INDEX_BITS) | (1 << (INDEX_BITS - 1));
        let rank = rest.leading_zeros() as u8 + 1;
        if let Some(register) = self.0.get_mut(index) {
            // Written rarely: a store that the next load of the register had to wait for costs more
            // than the comparison.
            if *register < rank {
                *register = rank;
            }
        }
    }

    /// Adds what the other one has seen.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0.iter()) {
            *mine = (*mine).max(*theirs);
        }
    }

    /// The estimated number of distinct values.
    pub fn estimate(&self) -> u64 {
        let registers = REGISTERS as f64;
        let bias = 0.7213 / (1.0 + 1.079 / registers);
        let sum: f64 = self.0.iter().map(|&rank| (-f64::from(rank)).exp2()).sum();
        let raw = bias * registers * registers / sum;
        let empty = self.0.iter().filter(|&&rank| rank == 0).count();
        // With many empty registers, counting those is far more exact.
        if raw <= 2.5 * registers && empty > 0 {
            return (registers * (registers / empty as f64).ln()).round() as u64;
        }
        raw.round() as u64
    }

    pub(super) fn registers(&self) -> &[u8] {
        &self.0[..]
    }

    /// From what `registers` gave; any bytes of that length make a sketch.
    pub(super) fn from_registers(bytes: &[u8]) -> Option<Self> {
        let registers: [u8; REGISTERS] = bytes.try_into().ok()?;
        Some(Self(Box::new(registers.map(|rank| rank.min(64)))))
    }
}

#[cfg(test)]
mod tests {
    use super::super::summary::mix;
    use super::*;

    #[test]
    fn estimates_are_close_and_merge() {
        for distinct in [0, 1, 10, 100, 1_000, 3_000, 10_000, 200_000, 1_500_000] {
            let mut all = DistinctSketch::default();
            let mut parts = [DistinctSketch::default(), DistinctSketch::default()];
            for n in 0..distinct {
                all.add_hash(mix(n));
                all.add_hash(mix(n));
                parts[(n % 2) as usize].add_hash(mix(n));
            }
            let off = (all.estimate() as f64 - distinct as f64).abs();
            assert!(off <= distinct as f64 * 0.05, "{distinct}: {all:?}");
            let [mut merged, other] = parts;
            merged.merge(&other);
            assert_eq!(merged, all);
            assert_eq!(DistinctSketch::from_registers(all.registers()), Some(all));
        }
    }
}
