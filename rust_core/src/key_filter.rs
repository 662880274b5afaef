//! Which keys a table of event keys may hold: a filter that is exact when it says no.
//!
//! A Bloom filter in blocks of 64 bytes (Putze, Sanders, Singler: "Cache-, Hash- and Space-Efficient Bloom Filters",
//! 2007): a key has one block and there one bit in each of sixteen words, so a question touches one cache line. With 32 bits
//! for each key, of a million keys that are not there some four are said to be there, perhaps; then the tables are asked.
//!
//! Filters are made of chunks of memory that is taken once ([`FilterMemory`]), so that a process does not grow with the
//! keys that it has seen. When it is full, the sharpest of the oldest filters are folded to half their size: neighbouring
//! blocks become one that has the bits of both. At sixteen bits for each key some thousandth of foreign keys look like known
//! ones, at eight a tenth: so it gets slower by and by and never wrong.

use crate::posting::Id;

/// Bits for each key that the filter is made for. Sixteen spans are looked into for every event of a batch of five hundred:
/// at 24 bits and half the words, every batch had to ask the database about one of its events.
const BITS_PER_KEY: usize = 32;
/// How often a filter is folded; at four bits for each key it would say yes to everybody.
const MOST_FOLDS: u32 = 2;
/// Sixteen words make a block: a cache line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(align(64))]
pub struct Block([u32; 16]);
const EMPTY: Block = Block([0; 16]);
/// Blocks in a chunk: 64 KiB, for 16,384 keys.
const BLOCKS: usize = 1024;
const CHUNK_BYTES: usize = BLOCKS * size_of::<Block>();
/// What filters are made of.
type Chunk = Box<[Block]>;
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

fn chunk() -> Chunk {
    vec![EMPTY; BLOCKS].into_boxed_slice()
}

/// The memory of a partition's filters: a bound that is taken at once, and kept.
#[derive(Debug, Default)]
pub struct FilterMemory {
    bound: usize,
    used: usize,
    /// Chunks without any bit.
    free: Vec<Chunk>,
}

impl FilterMemory {
    /// Takes so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let bound = bytes / CHUNK_BYTES;
        Self { bound, used: 0, free: (0..bound).map(|_| chunk()).collect() }
    }

    /// An empty filter for so many keys, which may go over the bound until [`over`](Self::over) is heeded. More keys than that
    /// make it less sharp, not wrong.
    pub fn filter(&mut self, keys: usize) -> KeyFilter {
        let chunks = chunks_of(keys);
        self.used += chunks;
        KeyFilter { chunks: (0..chunks).map(|_| self.free.pop().unwrap_or_else(chunk)).collect(), folds: 0 }
    }

    /// A stored filter, likewise.
    ///
    /// # Errors
    /// When these are not whole chunks.
    pub fn read(&mut self, stored: &[u8]) -> Result<KeyFilter, FilterError> {
        let (words, rest) = stored.as_chunks::<4>();
        let (blocks, left) = words.as_chunks::<16>();
        if stored.is_empty() || !rest.is_empty() || !left.is_empty() || !blocks.len().is_multiple_of(BLOCKS) {
            return Err(FilterError);
        }
        let mut filter = KeyFilter { chunks: Vec::with_capacity(blocks.len() / BLOCKS), folds: 0 };
        for stored in blocks.chunks_exact(BLOCKS) {
            let mut chunk = self.free.pop().unwrap_or_else(chunk);
            chunk.iter_mut().zip(stored).for_each(|(block, stored)| *block = Block(stored.map(u32::from_le_bytes)));
            filter.chunks.push(chunk);
        }
        self.used += filter.chunks.len();
        Ok(filter)
    }

    /// Whether filters have more than the bound, so that one of them has to be folded, or dropped.
    pub fn over(&mut self) -> bool {
        self.free.truncate(self.bound.saturating_sub(self.used));
        self.used > self.bound
    }

    /// Takes what a filter is folded by, or all of one that is dropped.
    pub fn reclaim(&mut self, chunks: impl IntoIterator<Item = Chunk>) {
        for mut chunk in chunks {
            self.used -= 1;
            if self.used + self.free.len() < self.bound {
                chunk.fill(EMPTY);
                self.free.push(chunk);
            }
        }
    }

    /// Bytes in memory, used or not.
    #[must_use]
    pub const fn size_bytes(&self) -> usize {
        (self.used + self.free.len()) * CHUNK_BYTES
    }
}

/// A number of chunks that can be folded as often as a filter may be, but for very small ones.
const fn chunks_of(keys: usize) -> usize {
    let chunks = (keys * BITS_PER_KEY).div_ceil(CHUNK_BYTES * 8);
    let folded = 1 << MOST_FOLDS;
    if chunks < folded { chunks.next_power_of_two() } else { chunks.next_multiple_of(folded) }
}

/// A set of keys that may hold more than was put in, never less.
#[derive(Debug)]
pub struct KeyFilter {
    chunks: Vec<Chunk>,
    folds: u32,
}

impl KeyFilter {
    /// The chunk and the block of a key.
    #[inline]
    fn place(&self, key: &Id) -> (usize, usize) {
        let (_, last) = key.split_at(8);
        let number = last.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        // The number's share of its range, of the number of blocks; so a fold halves every place.
        let place = usize::try_from((u128::from(number) * (self.chunks.len() * BLOCKS) as u128) >> 64).unwrap_or(0);
        (place / BLOCKS, place % BLOCKS)
    }

    /// Puts a key in.
    #[inline]
    pub fn insert(&mut self, key: &Id) {
        let (chunk, place) = self.place(key);
        if let Some(block) = self.chunks.get_mut(chunk).and_then(|chunk| chunk.get_mut(place)) {
            for (word, bit) in block.0.iter_mut().zip(Block::of(key).0) {
                *word |= bit;
            }
        }
    }

    /// The block of a key: has it not all of its bits, the key was never put in.
    #[must_use]
    #[inline]
    pub fn block(&self, key: &Id) -> &Block {
        let (chunk, place) = self.place(key);
        self.chunks.get(chunk).and_then(|chunk| chunk.get(place)).unwrap_or(&Block([u32::MAX; 16]))
    }

    /// False: the key was never put in.
    #[must_use]
    #[inline]
    pub fn may_contain(&self, key: &Id) -> bool {
        self.block(key).has(&Block::of(key))
    }

    /// How often it was folded; `None`: it cannot be folded once more.
    #[must_use]
    pub const fn folds(&self) -> Option<u32> {
        if self.folds < MOST_FOLDS && self.chunks.len().is_multiple_of(2) { Some(self.folds) } else { None }
    }

    /// Halves it and gives what it had of memory for the other half.
    #[must_use]
    pub fn fold(&mut self) -> Vec<Chunk> {
        let mut halves = std::mem::take(&mut self.chunks).into_iter();
        let mut left = Vec::with_capacity(halves.len() / 2);
        while let (Some(mut chunk), Some(next)) = (halves.next(), halves.next()) {
            for place in 0..BLOCKS {
                let (from, pair) = if place < BLOCKS / 2 { (&chunk, 2 * place) } else { (&next, 2 * place - BLOCKS) };
                let (first, second) = (from[pair], from[pair + 1]);
                chunk[place] = Block(std::array::from_fn(|word| first.0[word] | second.0[word]));
            }
            self.chunks.push(chunk);
            left.push(next);
        }
        self.folds += 1;
        left
    }

    /// All of its memory.
    #[must_use]
    pub fn into_chunks(self) -> Vec<Chunk> {
        self.chunks
    }

    /// As stored: the words of the blocks, little-endian.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.chunks.iter().flat_map(|chunk| chunk.iter()).flat_map(|block| block.0).flat_map(u32::to_le_bytes).collect()
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

    fn wrong(filter: &KeyFilter) -> usize {
        keys(1 << 32, 1_000_000).filter(|key| filter.may_contain(key)).count()
    }

    #[test]
    fn knows_what_it_holds_and_little_else_before_it_is_folded() {
        let mut memory = FilterMemory::new(1 << 20);
        let mut filter = memory.filter(65_536);
        keys(0, 65_536).for_each(|key| filter.insert(&key));
        for (folds, most) in [(Some(0), 20), (Some(1), 3_000), (None, 200_000)] {
            assert_eq!(filter.folds(), folds);
            assert!(keys(0, 65_536).all(|key| filter.may_contain(&key)));
            let wrong = wrong(&filter);
            assert!(wrong < most, "{wrong} of a million foreign keys");
            if folds.is_some() {
                memory.reclaim(filter.fold());
            }
        }
        assert_eq!(memory.size_bytes(), 1 << 20);
        memory.reclaim(filter.into_chunks());
        assert_eq!(wrong(&memory.filter(65_536)), 0, "what was given back has no bits");
    }

    #[test]
    fn memory_is_bounded_as_soon_as_something_is_given_back() {
        let mut memory = FilterMemory::new(4 * CHUNK_BYTES);
        let mut filters: Vec<KeyFilter> = (0..3).map(|_| memory.filter(2 * 16_384)).collect();
        assert_eq!(memory.size_bytes(), 6 * CHUNK_BYTES);
        assert!(memory.over());
        memory.reclaim(filters.pop().unwrap().into_chunks());
        assert!(!memory.over());
        memory.reclaim(filters.pop().unwrap().fold());
        assert_eq!(memory.size_bytes(), 4 * CHUNK_BYTES);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn nothing_is_forgotten_by_storing_or_folding(held in prop::collection::vec(any::<[u8; 16]>(), 0..200), keys in 1..300_000_usize) {
            let mut memory = FilterMemory::default();
            let mut filter = memory.filter(keys);
            held.iter().for_each(|key| filter.insert(key));
            let stored = filter.to_bytes();
            let mut read = memory.read(&stored).unwrap();
            prop_assert_eq!(read.to_bytes(), stored.clone());
            prop_assert!(memory.read(&stored[1..]).is_err());
            while read.folds().is_some() {
                memory.reclaim(read.fold());
                prop_assert!(held.iter().all(|key| read.may_contain(key)));
            }
        }
    }
}
