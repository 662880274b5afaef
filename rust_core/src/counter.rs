//! Counters in memory: how much of a counted line a customer used in a period, by when the usage occurred.
//!
//! They belong to the wallet: loaded with it, undone with it, gone with it. What is not among them is zero, since loading
//! a wallet loads every counter whose period an event can still be of.

use hashbrown::HashTable;

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
    /// The last group that moved it, and where that group keeps the move.
    moved_in: u64,
    moved_at: u32,
}

/// A wallet's counters that are not zero. A hash table, so that one of a thousand is found by two looks at memory.
#[derive(Debug, Clone, Default)]
pub struct Counters(HashTable<Counter>);

/// What a group did to a counter.
#[derive(Debug, Clone, Copy)]
pub struct Moved {
    /// The wallet's place in memory.
    pub wallet: u32,
    /// Whose it is.
    pub tenant: i64,
    /// Whose it is.
    pub account: i64,
    /// Which one.
    pub key: CounterKey,
    /// Nano-units before the group.
    pub before: i128,
    /// Nano-units after it.
    pub after: i128,
}

/// Where a counter lies in a wallet; `None`: nowhere.
pub type Place = Option<usize>;

impl CounterKey {
    /// Counters are numbered by one sequence, so their numbers need no secret: only to be spread.
    #[inline]
    fn hash(&self) -> u64 {
        let both = self.period_start_us.cast_unsigned() ^ u64::from(self.counter_id.cast_unsigned()) << 24;
        let mixed = both.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ mixed.rotate_left(32)
    }
}

impl Counters {
    /// As the ledger has them.
    #[must_use]
    pub fn new(quantities: impl IntoIterator<Item = (CounterKey, i128)>) -> Self {
        let mut counters = Self::default();
        for (key, quantity) in quantities {
            counters.restore(key, quantity);
        }
        counters
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

    /// Looks a counter up.
    #[must_use]
    #[inline]
    pub fn find(&self, key: CounterKey) -> Place {
        self.0.find_bucket_index(key.hash(), |counter| counter.key == key)
    }

    /// Nano-units used of the counter at a place.
    #[must_use]
    #[inline]
    pub fn used(&self, place: Place) -> i128 {
        place.and_then(|place| self.0.get_bucket(place)).map_or(0, |counter| counter.quantity)
    }

    /// Moves the counter that was found at a place in a group, whose moves are all in `moves`: `moved` is what it becomes,
    /// should the group not have moved it yet.
    #[inline]
    pub fn advance(&mut self, place: Place, moved: Moved, moves: &mut Vec<Moved>, group_id: u64, now_us: i64) {
        let moved_at = u32::try_from(moves.len()).unwrap_or(u32::MAX);
        if let Some(counter) = place.and_then(|place| self.0.get_bucket_mut(place)) {
            counter.quantity = moved.after;
            if counter.moved_in == group_id {
                moves[counter.moved_at as usize].after = moved.after;
                return;
            }
            counter.moved_in = group_id;
            counter.moved_at = moved_at;
        } else {
            self.insert(Counter { key: moved.key, quantity: moved.after, moved_in: group_id, moved_at }, now_us);
        }
        moves.push(moved);
    }

    fn insert(&mut self, counter: Counter, now_us: i64) {
        if self.0.len() == self.0.capacity() {
            // Before it grows, so that a wallet that never leaves memory does not collect the periods of years.
            self.0.retain(|counter| counter.key.period_start_us >= now_us - KEPT_FOR_US);
        }
        self.0.insert_unique(counter.key.hash(), counter, |counter| counter.key.hash());
    }

    /// Puts a counter back.
    pub fn restore(&mut self, key: CounterKey, quantity: i128) {
        match (self.0.find_entry(key.hash(), |counter| counter.key == key), quantity) {
            (Ok(entry), 0) => {
                entry.remove();
            }
            (Ok(mut entry), _) => entry.get_mut().quantity = quantity,
            (Err(_), 0) => {}
            (Err(_), _) => self.insert(Counter { key, quantity, moved_in: 0, moved_at: 0 }, i64::MIN + KEPT_FOR_US),
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

    fn advance(counters: &mut Counters, key: CounterKey, after: i128, moves: &mut Vec<Moved>, group_id: u64) {
        let place = counters.find(key);
        let before = counters.used(place);
        counters.advance(place, Moved { wallet: 0, tenant: 1, account: 1000, key, before, after }, moves, group_id, NOW_US);
    }

    #[test]
    fn a_group_keeps_what_a_counter_was_and_is() {
        let mut counters = Counters::new([(key(NOW_US, 2), 5), (key(NOW_US, 1), 3)]);
        let used = |counters: &Counters, key| counters.used(counters.find(key));
        assert_eq!([1, 2, 3].map(|id| used(&counters, key(NOW_US, id))), [3, 5, 0]);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for (id, after) in [(1, 4), (3, 1), (1, 6)] {
            advance(&mut counters, key(NOW_US, id), after, &mut first, 1);
        }
        for (id, after) in [(3, 2), (1, 7)] {
            advance(&mut counters, key(NOW_US, id), after, &mut second, 2);
        }
        let moved = |moves: &[Moved]| moves.iter().map(|one| (one.key.counter_id, one.before, one.after)).collect::<Vec<_>>();
        assert_eq!((moved(&first), moved(&second)), (vec![(1, 3, 6), (3, 0, 1)], vec![(3, 1, 2), (1, 6, 7)]));
        for one in second.iter().chain(&first) {
            counters.restore(one.key, one.before);
        }
        assert_eq!(([1, 2, 3].map(|id| used(&counters, key(NOW_US, id))), counters.len()), ([3, 5, 0], 2));
    }

    #[test]
    fn periods_that_nothing_can_be_of_any_more_are_forgotten() {
        let old = (1..=1_000).map(|id| (key(NOW_US - KEPT_FOR_US - 1, id), 5));
        let kept = key(NOW_US - KEPT_FOR_US, 1);
        let mut counters = Counters::new(old.chain([(kept, 6)]));
        for id in 1..=2_000 {
            advance(&mut counters, key(NOW_US, id), 1, &mut Vec::new(), 1);
        }
        assert_eq!((counters.used(counters.find(kept)), counters.len()), (6, 2_001));
    }
}
