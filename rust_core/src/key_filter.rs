//! Which keys a table of event keys may hold: a filter that is exact when it says no.
//!
//! A Bloom filter in blocks of 32 bytes (Putze, Sanders, Singler: "Cache-, Hash- and Space-Efficient Bloom Filters",
//! 2007): a key has one block and there one bit in each of eight words, so a question touches one cache line. With 24 bits
//! for each key, of ten thousand keys that are not there one or two are said to be there, perhaps; then the table is asked.

use crate::posting::Id;

/// Bits for each key that the filter is made for.
const BITS_PER_KEY: usize = 24;
/// Eight words make a block.
type Block = [u32; 8];
const BLOCK_BYTES: usize = 32;
/// Odd numbers that draw eight bits out of one word of a key.
const SALTS: Block = [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

/// A set of keys that may hold more than was put in, never less.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFilter {
    blocks: Vec<Block>,
}

/// Keys are blake3 already. The first bytes order them in their table, so the last choose the block and those between the bits.
#[inline]
fn bits(key: &Id) -> Block {
    let word = u32::from_le_bytes([key[4], key[5], key[6], key[7]]);
    SALTS.map(|salt| 1 << (word.wrapping_mul(salt) >> 27))
}

impl KeyFilter {
    /// An empty filter for so many keys; more of them make it less sharp, not wrong.
    #[must_use]
    pub fn new(keys: usize) -> Self {
        Self { blocks: vec![[0; 8]; (keys * BITS_PER_KEY).div_ceil(BLOCK_BYTES * 8).max(1)] }
    }

    #[inline]
    fn place(&self, key: &Id) -> usize {
        let (_, last) = key.split_at(8);
        let number = last.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        // The number's share of its range, of the number of blocks.
        usize::try_from((u128::from(number) * self.blocks.len() as u128) >> 64).unwrap_or(0)
    }

    /// Puts a key in.
    #[inline]
    pub fn insert(&mut self, key: &Id) {
        let place = self.place(key);
        if let Some(block) = self.blocks.get_mut(place) {
            for (word, bit) in block.iter_mut().zip(bits(key)) {
                *word |= bit;
            }
        }
    }

    /// False: the key was never put in.
    #[must_use]
    #[inline]
    pub fn may_contain(&self, key: &Id) -> bool {
        let Some(block) = self.blocks.get(self.place(key)) else { return true };
        block.iter().zip(bits(key)).fold(true, |all, (word, bit)| all & (word & bit != 0))
    }

    /// As stored: the words of the blocks, little-endian.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.blocks.iter().flatten().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// # Errors
    /// When these are not whole blocks.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FilterError> {
        let (words, rest) = bytes.as_chunks::<4>();
        let (blocks, left) = words.as_chunks::<8>();
        if bytes.is_empty() || !rest.is_empty() || !left.is_empty() {
            return Err(FilterError);
        }
        Ok(Self { blocks: blocks.iter().map(|block| block.map(u32::from_le_bytes)).collect() })
    }

    /// Bytes in memory, and when stored.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.blocks.len() * BLOCK_BYTES
    }
}

/// Bytes that are not a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a key filter")]
pub struct FilterError;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys(from: u64, count: u64) -> impl Iterator<Item = Id> {
        (from..from + count).map(|number| crate::identity::key_hash(1, &number.to_le_bytes()))
    }

    #[test]
    fn knows_what_it_holds_and_little_else() {
        let mut filter = KeyFilter::new(20_000);
        keys(0, 20_000).for_each(|key| filter.insert(&key));
        assert!(keys(0, 20_000).all(|key| filter.may_contain(&key)));
        let wrong = keys(1 << 32, 100_000).filter(|key| filter.may_contain(key)).count();
        assert!(wrong < 60, "{wrong} of 100,000 foreign keys");
    }

    proptest! {
        #[test]
        fn nothing_is_forgotten_by_storing(held in prop::collection::vec(any::<[u8; 16]>(), 0..200), size in 1..300_usize) {
            let mut filter = KeyFilter::new(size);
            held.iter().for_each(|key| filter.insert(key));
            let read = KeyFilter::from_bytes(&filter.to_bytes()).unwrap();
            prop_assert_eq!(&read, &filter);
            prop_assert!(held.iter().all(|key| read.may_contain(key)));
            prop_assert_eq!(KeyFilter::from_bytes(&filter.to_bytes()[1..]), Err(FilterError));
        }
    }
}
