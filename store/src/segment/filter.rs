//! Whether a row group may hold a key.
//!
//! Idea: a split-block Bloom filter. The upper half of a key's hash chooses a block of 32 bytes,
//! the lower half one bit in each of its eight words: a lookup touches one cache line.
//! Invariant: a key that was added is never denied. Of the others about 1 % are not denied.

/// Bytes of a block.
const BLOCK: usize = 32;

/// Bits per key: about 1 % wrong answers.
const BITS_PER_KEY: usize = 11;

/// Odd numbers that turn one hash into eight bit positions; the ones of Parquet's filter.
const SALT: [u32; 8] = [
    0x47b6_137b,
    0x4497_4d91,
    0x8824_ad5b,
    0xa2b7_289d,
    0x7054_95c7,
    0x2df1_424b,
    0x9efc_4947,
    0x5c6b_fb31,
];

/// The hash of a key, the same in every release.
pub(super) fn hash_key(key: &[u8]) -> u64 {
    twox_hash::XxHash3_64::oneshot(key)
}

/// A filter over the keys of these hashes.
pub(super) fn build(hashes: &[u64]) -> Vec<u8> {
    let blocks = (hashes.len() * BITS_PER_KEY).div_ceil(BLOCK * 8).max(1);
    let mut filter = vec![0; blocks * BLOCK];
    for &hash in hashes {
        let start = block_of(hash, blocks) * BLOCK;
        if let Some(block) = filter.get_mut(start..start + BLOCK) {
            for (word, bit) in block.chunks_exact_mut(4).zip(bits(hash)) {
                if let Some(byte) = word.get_mut((bit / 8) as usize) {
                    *byte |= 1 << (bit % 8);
                }
            }
        }
    }
    filter
}

/// False: no key of this hash was added. An unusable filter denies nothing.
pub(super) fn may_contain(filter: &[u8], hash: u64) -> bool {
    let blocks = filter.len() / BLOCK;
    if blocks == 0 {
        return true;
    }
    let start = block_of(hash, blocks) * BLOCK;
    filter.get(start..start + BLOCK).is_none_or(|block| {
        block.chunks_exact(4).zip(bits(hash)).all(|(word, bit)| {
            word.get((bit / 8) as usize)
                .is_some_and(|byte| byte & (1 << (bit % 8)) != 0)
        })
    })
}

fn block_of(hash: u64, blocks: usize) -> usize {
    (((hash >> 32) * blocks as u64) >> 32) as usize
}

fn bits(hash: u64) -> impl Iterator<Item = u32> {
    let low = hash as u32;
    SALT.into_iter()
        .map(move |salt| low.wrapping_mul(salt) >> 27)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn added_keys_pass_and_few_others_do() {
        let hash = |n: u64| hash_key(&n.to_be_bytes());
        let filter = build(&(0..65_536).map(hash).collect::<Vec<_>>());
        assert!((0..65_536).all(|n| may_contain(&filter, hash(n))));
        let wrong = (1_000_000..1_100_000)
            .filter(|&n| may_contain(&filter, hash(n)))
            .count();
        assert!(wrong < 1_500, "{wrong} of 100000");
        assert!(may_contain(&[], 7));
    }
}
