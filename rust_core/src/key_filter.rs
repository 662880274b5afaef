//! Which keys a table of event keys may hold: a filter that is exact when it says no.
//!
//! A Bloom filter in blocks of 64 bytes (Putze, Sanders, Singler: "Cache-, Hash- and Space-Efficient Bloom Filters",
//! 2007): a key has one block and there one bit in each of sixteen words, so a question touches one cache line. With 32 bits
//! for each key, of a million keys that are not there some four are said to be there, perhaps; then the tables are asked.

use crate::posting::Id;

/// Bits for each key that the filter is made for. Sixteen spans are looked into for every event of a batch of five hundred:
/// at 24 bits and half the words, every batch had to ask the database about one of its events.
const BITS_PER_KEY: usize = 32;
/// Sixteen words make a block: a cache line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(align(64))]
pub struct Block([u32; 16]);
const BLOCK_BYTES: usize = size_of::<Block>();
/// Odd numbers that draw sixteen bits out of one word of a key.
const SALTS: [u32; 16] = [
    0x47b6_137b,
    0x4497_4d91,
    0x8824_ad5b,
    0xa2b7_289d,
    0x7054_95c7,
    0x2df1_424b,
    0x9efc_4947,
    0x5c6b_fb31,
    0x6f4f_2d19,
    0xc2b2_ae3d,
    0x85eb_ca6b,
    0x9e37_79b1,
    0x27d4_eb2f,
    0x1656_67b1,
    0xd3a2_646d,
    0xb492_b66f,
];

impl Block {
    /// The bits of a key, the same in every filter. Keys are blake3 already: the first bytes order them in their table, so
    /// the last choose the block and those between the bits.
    #[must_use]
    #[inline]
    pub fn of(key: &Id) -> Self {
        let word = u32::from_le_bytes([key[4], key[5], key[6], key[7]]);
        Self(SALTS.map(|salt| 1 << (word.wrapping_mul(salt) >> 27)))
    }

    /// Whether all of these bits are set.
    #[must_use]
    #[inline]
    pub fn has(&self, bits: &Self) -> bool {
        self.0.iter().zip(bits.0).fold(0, |absent: u32, (word, bit)| absent | (!word & bit)) == 0
    }

    /// A part of it, for who wants it in the cache.
    #[must_use]
    #[inline]
    pub const fn word(&self) -> u32 {
        self.0[0]
    }
}

/// A set of keys that may hold more than was put in, never less.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFilter {
    blocks: Vec<Block>,
}

impl KeyFilter {
    /// An empty filter for so many keys; more of them make it less sharp, not wrong.
    #[must_use]
    pub fn new(keys: usize) -> Self {
        Self { blocks: vec![Block([0; 16]); (keys * BITS_PER_KEY).div_ceil(BLOCK_BYTES * 8).max(1)] }
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
            for (word, bit) in block.0.iter_mut().zip(Block::of(key).0) {
                *word |= bit;
            }
        }
    }

    /// The block of a key: has it not all of its bits, the key was never put in.
    #[must_use]
    #[inline]
    pub fn block(&self, key: &Id) -> &Block {
        self.blocks.get(self.place(key)).unwrap_or(&Block([u32::MAX; 16]))
    }

    /// False: the key was never put in.
    #[must_use]
    #[inline]
    pub fn may_contain(&self, key: &Id) -> bool {
        self.block(key).has(&Block::of(key))
    }

    /// As stored: the words of the blocks, little-endian.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.blocks.iter().flat_map(|block| block.0).flat_map(u32::to_le_bytes).collect()
    }

    /// # Errors
    /// When these are not whole blocks.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FilterError> {
        let (words, rest) = bytes.as_chunks::<4>();
        let (blocks, left) = words.as_chunks::<16>();
        if bytes.is_empty() || !rest.is_empty() || !left.is_empty() {
            return Err(FilterError);
        }
        Ok(Self { blocks: blocks.iter().map(|block| Block(block.map(u32::from_le_bytes))).collect() })
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
        let wrong = keys(1 << 32, 1_000_000).filter(|key| filter.may_contain(key)).count();
        assert!(wrong < 20, "{wrong} of a million foreign keys");
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
