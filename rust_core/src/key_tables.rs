//! The tables that event keys lie in: one is open and takes new keys, the closed ones never change again.
//!
//! Each has an index of its own, small enough to stay fast, which is unique only in itself. That a key is in no closed
//! table is known here, by their filters: a filter's no is exact, after its perhaps the table is asked. So dedupe stays
//! exact over all of them.

use crate::key_filter::{FilterError, KeyFilter};
use crate::posting::Id;

#[derive(Debug)]
struct Closed {
    number: i32,
    /// `None`: not read yet, or memory is short. Then the table is asked for every key.
    filter: Option<KeyFilter>,
}

#[derive(Debug)]
struct Open {
    number: i32,
    /// Keys it is made for.
    capacity: u64,
    /// Keys in it, as far as they are known here.
    keys: u64,
    /// All keys that were committed since this core has the table; all keys, once `complete`.
    filter: KeyFilter,
    complete: bool,
}

/// The tables of a partition. None at all before the first [`open`](Self::open): then nothing is asked of any.
#[derive(Debug, Default)]
pub struct KeyTables {
    closed: Vec<Closed>,
    open: Option<Open>,
}

impl KeyTables {
    /// Adds a closed table.
    pub fn add_closed(&mut self, number: i32, filter: Option<KeyFilter>) {
        self.closed.push(Closed { number, filter });
    }

    /// Says which table takes new keys, and how many it is made for. `complete`: it has none yet, so that no reading is needed.
    pub fn open(&mut self, number: i32, capacity: u64, complete: bool) {
        let filter = KeyFilter::new(usize::try_from(capacity).unwrap_or(usize::MAX));
        self.open = Some(Open { number, capacity, keys: 0, filter, complete });
    }

    /// Takes a filter of all keys that a table had at some moment since the lease was taken: so with those noted here since then, it is whole.
    ///
    /// # Errors
    /// When it is not made for as many keys as the open table.
    pub fn complete(&mut self, number: i32, filter: KeyFilter, keys: u64) -> Result<(), FilterError> {
        if let Some(open) = self.open.as_mut().filter(|open| open.number == number) {
            open.filter.absorb(&filter)?;
            // Those that were committed meanwhile may count twice: the table closes a little early.
            open.keys += keys;
            open.complete = true;
        } else if let Some(closed) = self.closed.iter_mut().find(|closed| closed.number == number) {
            closed.filter = Some(filter);
        }
        Ok(())
    }

    /// The number of the open table; 0: there is none.
    #[must_use]
    pub fn current(&self) -> i32 {
        self.open.as_ref().map_or(0, |open| open.number)
    }

    /// How full the open table is: keys in it, keys it is made for. A table whose filter is not complete is not to be closed.
    #[must_use]
    pub fn fill(&self) -> (u64, u64) {
        self.open.as_ref().filter(|open| open.complete).map_or((0, u64::MAX), |open| (open.keys, open.capacity))
    }

    /// Committed keys of the open table.
    pub fn committed(&mut self, keys: &[Id]) {
        if let Some(open) = &mut self.open {
            open.keys += keys.len() as u64;
            keys.iter().for_each(|key| open.filter.insert(key));
        }
    }

    /// Closes the open table, which is complete and has no group on its way, and opens another. Gives the closed one's
    /// number, keys and filter, to be stored.
    pub fn turn(&mut self, number: i32, capacity: u64) -> Option<(i32, u64, Vec<u8>)> {
        let open = self.open.take_if(|open| open.complete)?;
        let stored = (open.number, open.keys, open.filter.to_bytes());
        self.closed.push(Closed { number: open.number, filter: Some(open.filter) });
        self.open(number, capacity, true);
        Some(stored)
    }

    /// The tables that may hold a key, without the open one.
    pub fn closed_with<'a>(&'a self, key: &'a Id) -> impl Iterator<Item = i32> + 'a {
        self.closed.iter().filter(|closed| closed.filter.as_ref().is_none_or(|filter| filter.may_contain(key))).map(|closed| closed.number)
    }

    /// The tables that may hold a key.
    pub fn with<'a>(&'a self, key: &'a Id) -> impl Iterator<Item = i32> + 'a {
        let open = self.open.as_ref().filter(|open| !open.complete || open.filter.may_contain(key));
        self.closed_with(key).chain(open.map(|open| open.number))
    }

    /// Of these keys, those that some table may hold. One filter after the other, so that the look-ups of one overlap.
    #[must_use]
    pub fn suspects(&self, keys: &[Id]) -> Vec<Id> {
        let mut suspect = vec![false; keys.len()];
        let open = self.open.iter().filter(|open| open.complete).map(|open| Some(&open.filter));
        for filter in self.closed.iter().map(|closed| closed.filter.as_ref()).chain(open) {
            for (mark, key) in suspect.iter_mut().zip(keys) {
                *mark |= filter.is_none_or(|filter| filter.may_contain(key));
            }
        }
        keys.iter().zip(suspect).filter(|(_, suspect)| *suspect).map(|(key, _)| *key).collect()
    }

    /// Whether there is anything to ask.
    #[must_use]
    pub const fn none(&self) -> bool {
        self.closed.is_empty() && self.open.is_none()
    }

    /// Bytes held by the filters.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let closed = self.closed.iter().filter_map(|closed| closed.filter.as_ref());
        closed.chain(self.open.iter().map(|open| &open.filter)).map(KeyFilter::size_bytes).sum()
    }
}
