//! Keys seen lately, in two generations: the newest are always known, and the older generation goes as a whole.

use std::hash::{BuildHasherDefault, Hash, Hasher};

use hashbrown::HashMap;

use crate::posting::Id;

/// Keys are blake3 already: their first eight bytes are the hash.
#[derive(Debug, Default, Clone, Copy)]
pub struct Already(u64);

impl Hasher for Already {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*first);
        }
    }
    fn write_usize(&mut self, _: usize) {}
}

/// An id that hashes as its own first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key(Id);

impl Hash for Key {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

type Generation<V> = HashMap<Key, V, BuildHasherDefault<Already>>;

/// Two generations.
#[derive(Debug)]
pub struct Recent<V> {
    young: Generation<V>,
    old: Generation<V>,
    capacity: usize,
}

impl<V> Recent<V> {
    /// Nothing seen.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        // Made whole at once: growing would move every key while a batch waits. A group may overshoot a little.
        let generation = || Generation::with_capacity_and_hasher(capacity + capacity / 8, BuildHasherDefault::default());
        Self { young: generation(), old: generation(), capacity: capacity.max(1) }
    }

    /// What is known of a key.
    #[must_use]
    #[inline]
    pub fn get(&self, id: &Id) -> Option<&V> {
        self.young.get(&Key(*id)).or_else(|| self.old.get(&Key(*id)))
    }

    /// What is known of a key since the generations last aged: enough for a key that was not known then.
    #[must_use]
    #[inline]
    pub fn get_young(&self, id: &Id) -> Option<&V> {
        self.young.get(&Key(*id))
    }

    /// Remembers a key.
    #[inline]
    pub fn insert(&mut self, id: Id, value: V) {
        self.young.insert(Key(id), value);
    }

    /// Forgets a key.
    pub fn remove(&mut self, id: &Id) {
        self.young.remove(&Key(*id));
        self.old.remove(&Key(*id));
    }

    /// Ages the generations when the young one has `capacity` keys. Between groups only: a group's own keys must stay known.
    pub fn rotate(&mut self) {
        if self.young.len() >= self.capacity {
            self.age();
        }
    }

    /// Forgets the older generation and begins a new one.
    pub fn age(&mut self) {
        std::mem::swap(&mut self.young, &mut self.old);
        self.young.clear();
    }

    /// Makes room for so many keys in the young generation.
    pub fn reserve(&mut self, capacity: usize) {
        self.young.reserve(capacity.saturating_sub(self.young.len()));
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }

    /// Bytes held by the tables.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.young.allocation_size() + self.old.allocation_size()
    }
}
