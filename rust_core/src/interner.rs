//! Texts that occur again and again in one batch, each kept once and known by a small number.

use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;

/// Distinct texts in the order of their first appearance.
#[derive(Clone, Debug, Default)]
pub struct Interner {
    text: String,
    ends: Vec<u32>,
    table: HashTable<u16>,
    hasher: DefaultHashBuilder,
}

impl Interner {
    /// The number of this text, if it is known.
    pub fn find(&self, text: &str) -> Option<u16> {
        self.table.find(self.hasher.hash_one(text.as_bytes()), |known| self.get(*known) == text).copied()
    }

    /// The number of this text, new or known. None when more than 65,535 texts or 4 GiB would be held.
    pub fn intern(&mut self, text: &str) -> Option<u16> {
        let hash = self.hasher.hash_one(text.as_bytes());
        if let Some(known) = self.table.find(hash, |known| self.get(*known) == text) {
            return Some(*known);
        }
        let number = u16::try_from(self.ends.len()).ok().filter(|number| *number < u16::MAX)?;
        let end = u32::try_from(self.text.len().checked_add(text.len())?).ok()?;
        self.text.push_str(text);
        self.ends.push(end);
        let (strings, ends, hasher) = (&self.text, &self.ends, &self.hasher);
        self.table.insert_unique(hash, number, |known| hasher.hash_one(slice(strings, ends, *known).as_bytes()));
        Some(number)
    }

    /// The text with this number; empty for a number never given out.
    pub fn get(&self, number: u16) -> &str {
        slice(&self.text, &self.ends, number)
    }

    /// How many texts are known.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// No text is known.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

fn slice<'a>(text: &'a str, ends: &[u32], number: u16) -> &'a str {
    let index = usize::from(number);
    let end_at = |index: usize| ends.get(index).map_or(0, |end| *end as usize);
    let start = index.checked_sub(1).map_or(0, end_at);
    text.get(start..end_at(index)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers are dense, stable and in order of appearance.
    #[test]
    fn numbers_texts() {
        let mut interner = Interner::default();
        assert!(interner.is_empty());
        for round in 0..2 {
            for number in 0..1000_u16 {
                assert_eq!(interner.find(&number.to_string()), (round == 1).then_some(number));
                assert_eq!(interner.intern(&number.to_string()), Some(number));
            }
        }
        assert_eq!(interner.len(), 1000);
        assert_eq!(interner.get(999), "999");
        assert_eq!(interner.get(1000), "");
    }

    /// A full interner says so instead of giving a number twice.
    #[test]
    fn is_bounded() {
        let mut interner = Interner::default();
        for number in 0..u32::from(u16::MAX) {
            assert!(interner.intern(&number.to_string()).is_some());
        }
        assert_eq!(interner.intern("one more"), None);
        assert_eq!(interner.intern("0"), Some(0));
    }
}
