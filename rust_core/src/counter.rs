//! Counters in memory: how much of a counted line a customer used in a period, by when the usage occurred.
//!
//! They belong to the wallet: loaded with it, undone with it, gone with it. What is not among them is zero, since loading
//! a wallet loads every counter whose period an event can still be of.

/// How long usage may be past and still be counted; what is older is refused like any event that is too old.
pub const COUNTED_FOR_US: i64 = 90 * 86_400_000_000;

/// How long ago a period may have begun and be kept: the longest month more than usage is counted for, and a week.
pub const KEPT_FOR_US: i64 = COUNTED_FOR_US + 38 * 86_400_000_000;

/// Which counter of a wallet, in which period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CounterKey {
    /// Microseconds since the Unix epoch.
    pub period_start_us: i64,
    /// Names it in `usage_counters`.
    pub counter_id: i32,
}

#[derive(Debug, Clone)]
struct Counter {
    key: CounterKey,
    /// Nano-units, above zero.
    quantity: i128,
    /// The last group that moved it.
    moved_in: u64,
}

/// A wallet's counters that are not zero.
#[derive(Debug, Clone, Default)]
pub struct Counters(Vec<Counter>);

/// A counter as it was before a group.
#[derive(Debug, Clone, Copy)]
pub struct CounterBefore {
    /// The wallet's place in memory.
    pub wallet: u32,
    /// Which one of it.
    pub key: CounterKey,
    /// Nano-units.
    pub quantity: i128,
}

impl Counters {
    /// As the ledger has them, in any order.
    #[must_use]
    pub fn new(quantities: impl IntoIterator<Item = (CounterKey, i128)>) -> Self {
        let mut counters: Vec<Counter> = quantities.into_iter().map(|(key, quantity)| Counter { key, quantity, moved_in: 0 }).collect();
        counters.sort_unstable_by_key(|counter| counter.key);
        Self(counters)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn find(&self, key: CounterKey) -> Result<usize, usize> {
        self.0.binary_search_by(|counter| counter.key.cmp(&key))
    }

    /// Nano-units used.
    #[must_use]
    #[inline]
    pub fn get(&self, key: CounterKey) -> i128 {
        self.find(key).map_or(0, |place| self.0[place].quantity)
    }

    /// Moves a counter in a group. Gives what it was if the group had not moved it yet.
    pub fn advance(&mut self, key: CounterKey, quantity: i128, group_id: u64, now_us: i64) -> Option<i128> {
        match self.find(key) {
            Ok(place) => {
                let counter = &mut self.0[place];
                let before = std::mem::replace(&mut counter.quantity, quantity);
                (std::mem::replace(&mut counter.moved_in, group_id) != group_id).then_some(before)
            }
            Err(place) => {
                self.0.insert(place, Counter { key, quantity, moved_in: group_id });
                // Now and then, so that a wallet that never leaves memory does not collect the periods of years.
                self.0.retain(|counter| counter.key.period_start_us >= now_us - KEPT_FOR_US);
                Some(0)
            }
        }
    }

    /// Puts a counter back.
    pub fn restore(&mut self, key: CounterKey, quantity: i128) {
        match (self.find(key), quantity) {
            (Ok(place), 0) => {
                self.0.remove(place);
            }
            (Ok(place), _) => self.0[place].quantity = quantity,
            (Err(_), 0) => {}
            (Err(place), _) => self.0.insert(place, Counter { key, quantity, moved_in: 0 }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_US: i64 = 1_790_000_000_000_000;

    fn key(period_start_us: i64, counter_id: i32) -> CounterKey {
        CounterKey { period_start_us, counter_id }
    }

    #[test]
    fn a_group_learns_once_what_a_counter_was() {
        let mut counters = Counters::new([(key(NOW_US, 2), 5), (key(NOW_US, 1), 3)]);
        assert_eq!((counters.get(key(NOW_US, 1)), counters.get(key(NOW_US, 2)), counters.get(key(NOW_US - 1, 1))), (3, 5, 0));
        assert_eq!(counters.advance(key(NOW_US, 1), 4, 1, NOW_US), Some(3));
        assert_eq!(counters.advance(key(NOW_US, 1), 6, 1, NOW_US), None);
        assert_eq!(counters.advance(key(NOW_US, 1), 7, 2, NOW_US), Some(6));
        assert_eq!(counters.advance(key(NOW_US, 3), 1, 2, NOW_US), Some(0));
        assert_eq!(counters.advance(key(NOW_US, 3), 2, 2, NOW_US), None);
        counters.restore(key(NOW_US, 1), 6);
        counters.restore(key(NOW_US, 3), 0);
        assert_eq!((counters.len(), counters.get(key(NOW_US, 1))), (2, 6));
    }

    #[test]
    fn periods_that_nothing_can_be_of_any_more_are_forgotten() {
        let old = key(NOW_US - KEPT_FOR_US - 1, 1);
        let kept = key(NOW_US - KEPT_FOR_US, 1);
        let mut counters = Counters::new([(old, 5), (kept, 6)]);
        counters.advance(key(NOW_US, 1), 1, 1, NOW_US);
        assert_eq!((counters.get(old), counters.get(kept), counters.len()), (0, 6, 2));
    }
}
