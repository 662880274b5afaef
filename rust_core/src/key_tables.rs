//! The tables that event keys lie in: one is open and takes new keys, the closed ones never change again.
//!
//! Which keys the open table has is known in memory, key by key ([`crate::engine::Engine`]), so that it needs no index while
//! it grows: entering random keys into one was half of what a commit cost. It gets its index when it is closed, and its keys
//! leave memory one table later. Of older keys there are filters, each over the tables of a span: a filter's no is exact,
//! after its perhaps the span's tables are asked. So dedupe is exact over all of them. Tables are small, so that an index is
//! made in a moment; spans are large, since every filter is one more to look into for every event. Their memory is bounded:
//! older filters get less sharp as keys are added, and in the end the oldest go.

use crate::key_filter::{Block, FilterError, FilterMemory, KeyFilter};
use crate::posting::Id;

/// Closed tables that share a filter.
#[derive(Debug)]
struct Span {
    tables: Vec<i32>,
    /// `None`: memory is short. Then the tables are asked for every key.
    filter: Option<KeyFilter>,
}

#[derive(Debug)]
struct Open {
    number: i32,
    /// Keys it is made for.
    capacity: u64,
    /// Committed keys in it.
    keys: u64,
}

/// The span that grows.
#[derive(Debug)]
struct Growing {
    /// Its closed tables.
    tables: Vec<i32>,
    /// Keys it is made for.
    capacity: u64,
    /// Committed keys in it, those of the open table among them.
    keys: u64,
    filter: KeyFilter,
}

/// What is to be done about a table that was closed.
#[derive(Debug, PartialEq, Eq)]
pub struct Turned {
    /// The closed table.
    pub number: i32,
    /// Keys in it.
    pub keys: u64,
    /// The filter of the span that ended with it, if one did: of all tables since the span before.
    pub filter: Option<Vec<u8>>,
}

/// The tables of a partition. None at all before the first [`open`](Self::open): then nothing is asked of any.
#[derive(Debug, Default)]
pub struct KeyTables {
    memory: FilterMemory,
    /// The oldest first.
    spans: Vec<Span>,
    growing: Option<Growing>,
    /// The table closed last: its keys are still in memory, and maybe it has no index yet.
    last: Option<i32>,
    open: Option<Open>,
}

impl KeyTables {
    /// None yet; their filters will have so many bytes, and the one of the span that grows what it needs.
    #[must_use]
    pub fn with_memory(bytes: usize) -> Self {
        Self { memory: FilterMemory::new(bytes), ..Self::default() }
    }

    /// Adds a span of closed tables, which have their indexes, with its stored filter. Whether it has one now: there may be no
    /// memory for it, and then there is none for older ones.
    ///
    /// # Errors
    /// When these bytes are not a filter.
    pub fn add_span(&mut self, tables: Vec<i32>, stored: Option<&[u8]>) -> Result<bool, FilterError> {
        let filter = stored.map(|stored| self.memory.read(stored)).transpose()?;
        let place = self.spans.partition_point(|span| span.tables < tables);
        self.spans.insert(place, Span { tables, filter });
        self.fit();
        Ok(self.spans.get(place).is_some_and(|span| span.filter.is_some()))
    }

    /// Begins a span for so many keys.
    pub fn begin_span(&mut self, capacity: u64) {
        let filter = self.memory.filter(usize::try_from(capacity).unwrap_or(usize::MAX));
        self.growing = Some(Growing { tables: Vec::new(), capacity, keys: 0, filter });
        self.fit();
    }

    /// Keeps to the bound: of the filters that were folded least, the oldest is folded; when none can be, the oldest goes.
    fn fit(&mut self) {
        while self.memory.over() {
            let filters = self.spans.iter_mut().filter_map(|span| span.filter.as_mut());
            let sharpest = filters.filter(|filter| filter.folds().is_some()).min_by_key(|filter| filter.folds());
            let freed = match sharpest {
                Some(filter) => filter.fold(),
                None => match self.spans.iter_mut().find_map(|span| span.filter.take()) {
                    Some(filter) => filter.into_chunks(),
                    None => return,
                },
            };
            self.memory.reclaim(freed);
        }
    }

    /// Adds a closed table, which has its index, to the span that grows; its keys follow.
    pub fn add_closed(&mut self, number: i32) {
        if let Some(span) = &mut self.growing {
            span.tables.push(number);
        }
    }

    /// A key of a closed table of the span that grows.
    pub fn add_key(&mut self, key: &Id) {
        if let Some(span) = &mut self.growing {
            span.keys += 1;
            span.filter.insert(key);
        }
    }

    /// Says which table takes new keys, and how many it is made for.
    pub const fn open(&mut self, number: i32, capacity: u64) {
        self.open = Some(Open { number, capacity, keys: 0 });
    }

    /// The number of the open table; 0: there is none.
    #[must_use]
    pub fn current(&self) -> i32 {
        self.open.as_ref().map_or(0, |open| open.number)
    }

    /// How full the open table is: keys in it, keys it is made for.
    #[must_use]
    pub fn fill(&self) -> (u64, u64) {
        self.open.as_ref().map_or((0, u64::MAX), |open| (open.keys, open.capacity))
    }

    /// Committed keys of the open table.
    pub fn committed(&mut self, keys: &[Id]) {
        if let Some(open) = &mut self.open {
            open.keys += keys.len() as u64;
            keys.iter().for_each(|key| self.add_key(key));
        }
    }

    /// Closes the open table, which has no group on its way, and opens another; `span`: the keys that a next span is made
    /// for. The table closed before it must have its index by now: from here on it is asked. `None`: none was open.
    pub fn turn(&mut self, number: i32, capacity: u64, span: u64) -> Option<Turned> {
        let closed = self.open.take()?;
        self.last = Some(closed.number);
        self.add_closed(closed.number);
        let ended = self.growing.take_if(|growing| growing.keys >= growing.capacity);
        let filter = ended.as_ref().map(|span| span.filter.to_bytes());
        if let Some(ended) = ended {
            self.spans.push(Span { tables: ended.tables, filter: Some(ended.filter) });
            self.begin_span(span);
        }
        self.open(number, capacity);
        Some(Turned { number: closed.number, keys: closed.keys, filter })
    }

    /// The tables whose keys are in memory, and that may have no index.
    pub fn in_memory(&self) -> impl Iterator<Item = i32> {
        self.last.into_iter().chain(self.open.iter().map(|open| open.number))
    }

    fn filters(&self) -> impl Iterator<Item = (&[i32], Option<&KeyFilter>)> {
        let grown = self.spans.iter().map(|span| (&span.tables[..], span.filter.as_ref()));
        grown.chain(self.growing.iter().filter(|span| !span.tables.is_empty()).map(|span| (&span.tables[..], Some(&span.filter))))
    }

    /// The tables that may hold a key, of those whose keys are not in memory.
    pub fn closed_with<'a>(&'a self, key: &'a Id) -> impl Iterator<Item = i32> + 'a {
        let spans = self.filters().filter(|(_, filter)| filter.is_none_or(|filter| filter.may_contain(key)));
        spans.flat_map(|(tables, _)| tables).copied().filter(|number| Some(*number) != self.last)
    }

    /// Of these keys, those that some closed table may hold. One filter after the other, so that the look-ups of one overlap.
    #[must_use]
    pub fn suspects(&self, keys: &[Id]) -> Vec<Id> {
        let bits: Vec<Block> = keys.iter().map(Block::of).collect();
        let mut suspect = vec![false; keys.len()];
        let mut blocks: Vec<&Block> = Vec::with_capacity(keys.len());
        for (_, filter) in self.filters() {
            let Some(filter) = filter else { return keys.to_vec() };
            blocks.clear();
            blocks.extend(keys.iter().map(|key| filter.block(key)));
            // A short loop first, so that the processor waits for many blocks at a time.
            std::hint::black_box(blocks.iter().fold(0, |all, block| all ^ block.word()));
            for ((mark, block), bits) in suspect.iter_mut().zip(&blocks).zip(&bits) {
                *mark |= block.has(bits);
            }
        }
        keys.iter().zip(suspect).filter(|(_, suspect)| *suspect).map(|(key, _)| *key).collect()
    }

    /// Whether there is anything to ask.
    #[must_use]
    pub const fn none(&self) -> bool {
        self.open.is_none()
    }

    /// Bytes of the filters.
    #[must_use]
    pub const fn memory_bytes(&self) -> usize {
        self.memory.size_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of a table.
    fn keys(number: i32) -> Vec<Id> {
        (0..60_000_u32).map(|key| crate::identity::key_hash(number.cast_unsigned().into(), &key.to_le_bytes())).collect()
    }

    #[test]
    fn memory_stays_where_it_was_and_nothing_is_forgotten() {
        // For four filters as they are made, 16 when they are folded twice; the one that grows is as it is made.
        let mut tables = KeyTables::with_memory(1 << 20);
        assert_eq!(tables.memory_bytes(), 1 << 20);
        tables.begin_span(60_000);
        tables.open(1, 60_000);
        for number in 1..=20 {
            tables.committed(&keys(number));
            let turned = tables.turn(number + 1, 60_000, 60_000);
            assert!(turned.is_some_and(|turned| turned.number == number && turned.filter.is_some()));
            assert!(tables.memory_bytes() <= 1 << 20);
        }
        let asked = |number| keys(number).iter().filter(|key| tables.closed_with(key).any(|table| table == number)).count();
        assert!((1..20).all(|number| asked(number) == 60_000));
        let filtered = tables.spans.iter().map(|span| span.filter.as_ref().map(KeyFilter::folds)).collect::<Vec<_>>();
        assert_eq!(filtered, [vec![None; 8], vec![Some(None); 12]].concat(), "the oldest have none");
        assert_eq!(tables.suspects(&keys(21)).len(), 60_000, "then every key may be in one of them");
    }
}
