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

/// 32 bytes, so that none lies on two lines of the processor's cache.
#[derive(Debug, Clone, Copy)]
#[repr(align(32))]
struct Counter {
    /// Nano-units.
    quantity: i128,
    /// [`NOWHEN`]: there is no counter here.
    period_start_us: i64,
    counter_id: i32,
    /// Which of all moves its last one was: [`Moves`] knows whether that was in the current group.
    move_number: u32,
}

/// No period begins then.
const NOWHEN: i64 = i64::MIN;

const NOTHING: Counter = Counter { quantity: 0, period_start_us: NOWHEN, counter_id: 0, move_number: 0 };

/// A wallet's counters: a hash table without chains or tags, of which a look-up reads a single line of memory most of the time.
/// What is not there is zero, and one that went back to zero may stay until the table grows.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    /// As many as a power of two, a quarter of them free; or none.
    slots: Vec<Counter>,
    len: usize,
    /// What is stored of each period's counters. A period or two, nearly always.
    stored: Vec<Stored>,
}

/// How the rows of one period's counters stand. A commit writes those that it moved; so that whoever loads them need not read all
/// rows there ever were, it writes all of the period once as many were written since that was done last.
#[derive(Debug, Clone, Copy)]
struct Stored {
    period_start_us: i64,
    /// Counters of the period that are not zero.
    used: usize,
    /// Quantities written since the last row that had all of them. What is written first of a period, or first since it was
    /// loaded, is all of it: [`NEVER`].
    since_whole: usize,
}

/// More than is ever written.
const NEVER: usize = usize::MAX;

/// What a row that a group writes of a period changed of how its rows stand: to be put back with the group.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    /// The wallet's place in memory.
    pub wallet: u32,
    period_start_us: i64,
    since_whole: usize,
}

/// What a group did to a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// Nano-units before the group.
    pub before: i128,
    /// Nano-units after it.
    pub after: i128,
    /// Of the counter.
    pub period_start_us: i64,
    /// Of the counter.
    pub counter_id: i32,
    /// The wallet's place in memory.
    pub wallet: u32,
}

impl Moved {
    /// Which counter of the wallet.
    #[must_use]
    pub const fn key(&self) -> CounterKey {
        CounterKey { period_start_us: self.period_start_us, counter_id: self.counter_id }
    }
}

/// What a group did to all counters, each once.
#[derive(Debug, Default)]
pub struct Moves {
    list: Vec<Moved>,
    /// How many moves there were before this group, counted round a circle.
    base: u32,
}

/// The lists of groups that are done, for the next ones: fresh pages would cost the kernel more than the moves the engine.
#[derive(Debug, Default)]
pub struct MoveLists {
    kept: Vec<Vec<Moved>>,
    base: u32,
}

/// As many as groups are open at a time, and one.
const LISTS_KEPT: usize = 3;

impl MoveLists {
    /// For a group that begins.
    pub fn begin(&mut self) -> Moves {
        Moves { list: self.kept.pop().unwrap_or_default(), base: self.base }
    }

    /// What a group did that ends.
    pub fn end(&mut self, moves: Moves) -> Vec<Moved> {
        // The next group's numbers go on from here.
        self.base = moves.base.wrapping_add(u32::try_from(moves.list.len()).unwrap_or(u32::MAX));
        moves.list
    }

    /// Takes a list back that nobody needs any more.
    pub fn give_back(&mut self, mut list: Vec<Moved>) {
        if list.capacity() > 0 && self.kept.len() < LISTS_KEPT {
            list.clear();
            self.kept.push(list);
        }
    }
}

/// Where a counter lies in a wallet; `None`: nowhere.
pub type Place = Option<usize>;

impl CounterKey {
    /// Counters are numbered by one sequence, so their numbers need no secret: only to be spread, which this does evenly
    /// for numbers that follow each other. The uppermost bits are the best.
    #[inline]
    fn hash(self) -> u64 {
        let both = self.period_start_us.cast_unsigned().rotate_left(32) ^ u64::from(self.counter_id.cast_unsigned());
        both.wrapping_mul(0x9e37_79b9_7f4a_7c15)
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
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that a counter takes.
    pub const BYTES: usize = size_of::<Counter>() * 2;

    /// The first slot in which a counter may lie.
    #[inline]
    fn first_slot(&self, key: CounterKey) -> usize {
        // At most 2^32 slots: half of the hash has bits enough for them.
        let spread = usize::try_from(key.hash() >> 32).unwrap_or_default();
        (spread * self.slots.len()) >> 32
    }

    /// The slot of a counter, or the free one where it belongs; `None`: there are no slots.
    #[inline]
    fn slot(&self, key: CounterKey) -> Place {
        let mask = self.slots.len().checked_sub(1)?;
        let mut slot = self.first_slot(key);
        // Ends, since a quarter of the slots is free.
        loop {
            let counter = &self.slots[slot];
            if (counter.counter_id == key.counter_id && counter.period_start_us == key.period_start_us) || counter.period_start_us == NOWHEN
            {
                return Some(slot);
            }
            slot = (slot + 1) & mask;
        }
    }

    /// Looks a counter up.
    #[must_use]
    #[inline]
    pub fn find(&self, key: CounterKey) -> Place {
        self.slot(key).filter(|slot| self.slots[*slot].period_start_us != NOWHEN)
    }

    /// Reads the memory where a counter will be looked for, so that many such reads can wait at the same time. The result
    /// means nothing.
    #[inline]
    pub fn approach(&self, key: CounterKey) -> u32 {
        self.slots.get(self.first_slot(key)).map_or(0, |counter| counter.move_number)
    }

    /// Nano-units used of the counter at a place.
    #[must_use]
    #[inline]
    pub fn used(&self, place: Place) -> i128 {
        place.and_then(|place| self.slots.get(place)).map_or(0, |counter| counter.quantity)
    }

    /// Moves the counter that was found at a place in a group: `moved` is what it becomes, should the group not have moved it
    /// yet.
    #[inline]
    pub fn advance(&mut self, place: Place, moved: Moved, moves: &mut Moves, now_us: i64) {
        let number = moves.base.wrapping_add(u32::try_from(moves.list.len()).unwrap_or(u32::MAX));
        if let Some(counter) = place.and_then(|place| self.slots.get_mut(place)) {
            let was = std::mem::replace(&mut counter.quantity, moved.after);
            // Numbers go round: what lies there must be of this counter.
            let before = moves.list.get_mut(counter.move_number.wrapping_sub(moves.base) as usize);
            let again = before.filter(|one| one.key() == moved.key() && one.wallet == moved.wallet);
            let first = again.is_none();
            if let Some(before) = again {
                before.after = moved.after;
            } else {
                counter.move_number = number;
            }
            self.recount(moved.period_start_us, was, moved.after);
            if !first {
                return;
            }
        } else {
            self.insert(moved.key(), moved.after, number, now_us);
        }
        moves.list.push(moved);
    }

    /// Adds a counter that is not there.
    fn insert(&mut self, key: CounterKey, quantity: i128, move_number: u32, now_us: i64) {
        if self.len * 4 >= self.slots.len() * 3 {
            self.grow(now_us);
        }
        if let Some(slot) = self.slot(key) {
            let CounterKey { period_start_us, counter_id } = key;
            self.slots[slot] = Counter { quantity, period_start_us, counter_id, move_number };
            self.len += 1;
            self.recount(period_start_us, 0, quantity);
        }
    }

    /// Notes that a counter of a period was and is so much.
    #[inline]
    fn recount(&mut self, period_start_us: i64, before: i128, after: i128) {
        if (before == 0) != (after == 0) {
            let stored = self.stored_of(period_start_us);
            stored.used = if after == 0 { stored.used.saturating_sub(1) } else { stored.used + 1 };
        }
    }

    #[cold]
    fn stored_of(&mut self, period_start_us: i64) -> &mut Stored {
        let place = self.stored.iter().position(|stored| stored.period_start_us == period_start_us).unwrap_or_else(|| {
            self.stored.push(Stored { period_start_us, used: 0, since_whole: NEVER });
            self.stored.len() - 1
        });
        &mut self.stored[place]
    }

    /// Whether a row of a period that so many counters were moved of is to have all of them, and what takes that back.
    pub fn writes_whole(&mut self, wallet: u32, period_start_us: i64, moved: usize) -> (bool, Written) {
        let stored = self.stored_of(period_start_us);
        let before = Written { wallet, period_start_us, since_whole: stored.since_whole };
        let written = stored.since_whole.saturating_add(moved);
        let whole = written >= stored.used;
        stored.since_whole = if whole { 0 } else { written };
        (whole, before)
    }

    /// Takes a row back.
    pub fn unwrite(&mut self, written: &Written) {
        self.stored_of(written.period_start_us).since_whole = written.since_whole;
    }

    /// The counters of a period that are not zero, and their nano-units.
    pub fn of_period(&self, period_start_us: i64) -> impl Iterator<Item = (i32, i128)> + '_ {
        let used = self.slots.iter().filter(move |counter| counter.period_start_us == period_start_us && counter.quantity != 0);
        used.map(|counter| (counter.counter_id, counter.quantity))
    }

    /// Makes room, also by leaving out what is of no use any more: a wallet that never leaves memory must not collect the
    /// periods of years.
    #[cold]
    fn grow(&mut self, now_us: i64) {
        let mut kept = std::mem::take(&mut self.slots);
        let oldest_us = now_us.saturating_sub(KEPT_FOR_US).max(NOWHEN + 1);
        kept.retain(|counter| counter.period_start_us >= oldest_us);
        self.stored.retain(|stored| stored.period_start_us >= oldest_us);
        self.len = kept.len();
        self.slots = vec![NOTHING; (self.len * 2).next_power_of_two().max(4)];
        for counter in kept {
            if let Some(slot) = self.slot(CounterKey { period_start_us: counter.period_start_us, counter_id: counter.counter_id }) {
                self.slots[slot] = counter;
            }
        }
    }

    /// Puts a counter back.
    pub fn restore(&mut self, key: CounterKey, quantity: i128) {
        match self.find(key) {
            Some(slot) => {
                let was = std::mem::replace(&mut self.slots[slot].quantity, quantity);
                self.recount(key.period_start_us, was, quantity);
            }
            None if quantity == 0 => {}
            None => self.insert(key, quantity, 0, NOWHEN),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const NOW_US: i64 = 1_790_000_000_000_000;

    fn key(period_start_us: i64, counter_id: i32) -> CounterKey {
        CounterKey { period_start_us, counter_id }
    }

    fn advance(counters: &mut Counters, key: CounterKey, after: i128, moves: &mut Moves) {
        let place = counters.find(key);
        let before = counters.used(place);
        let CounterKey { period_start_us, counter_id } = key;
        counters.advance(place, Moved { wallet: 0, period_start_us, counter_id, before, after }, moves, NOW_US);
    }

    #[test]
    fn a_group_keeps_what_a_counter_was_and_is() {
        let mut counters = Counters::new([(key(NOW_US, 2), 5), (key(NOW_US, 1), 3)]);
        let used = |counters: &Counters, key| counters.used(counters.find(key));
        assert_eq!([1, 2, 3].map(|id| used(&counters, key(NOW_US, id))), [3, 5, 0]);
        let mut lists = MoveLists::default();
        let mut moves = lists.begin();
        for (id, after) in [(1, 4), (3, 1), (1, 6)] {
            advance(&mut counters, key(NOW_US, id), after, &mut moves);
        }
        let first = lists.end(moves);
        let mut moves = lists.begin();
        for (id, after) in [(3, 2), (1, 7)] {
            advance(&mut counters, key(NOW_US, id), after, &mut moves);
        }
        let second = lists.end(moves);
        let moved = |moves: &[Moved]| moves.iter().map(|one| (one.counter_id, one.before, one.after)).collect::<Vec<_>>();
        assert_eq!((moved(&first), moved(&second)), (vec![(1, 3, 6), (3, 0, 1)], vec![(3, 1, 2), (1, 6, 7)]));
        for one in second.iter().chain(&first) {
            counters.restore(one.key(), one.before);
        }
        assert_eq!([1, 2, 3].map(|id| used(&counters, key(NOW_US, id))), [3, 5, 0]);
    }

    #[test]
    fn periods_that_nothing_can_be_of_any_more_are_forgotten() {
        let old = (1..=1_000).map(|id| (key(NOW_US - KEPT_FOR_US - 1, id), 5));
        let kept = key(NOW_US - KEPT_FOR_US, 1);
        let mut counters = Counters::new(old.chain([(kept, 6)]));
        for id in 1..=2_000 {
            advance(&mut counters, key(NOW_US, id), 1, &mut Moves::default());
        }
        assert_eq!((counters.used(counters.find(kept)), counters.len()), (6, 2_001));
    }

    proptest! {
        /// Groups that move counters of two wallets, some of them taken back, against maps: as often as the numbers of moves go
        /// round, each counter is moved once in each group, from what it was to what it is.
        #[test]
        fn counters_and_moves_are_those_of_maps(
            base in prop_oneof![Just(0_u32), any::<u32>(), u32::MAX - 60..=u32::MAX],
            groups in prop::collection::vec((prop::collection::vec((0..2_u32, 0..3_i64, 0..30_i32, 1..1_000_i128), 0..60), any::<bool>()), 1..8),
        ) {
            let mut lists = MoveLists { base, ..MoveLists::default() };
            let mut wallets = [Counters::default(), Counters::default()];
            let mut model: BTreeMap<(u32, CounterKey), i128> = BTreeMap::new();
            for (events, kept) in groups {
                let mut moves = lists.begin();
                let (start, mut moved_in_model) = (model.clone(), BTreeMap::new());
                for (wallet, period, counter_id, quantity) in events {
                    let key = key(NOW_US - period * 86_400_000_000, counter_id);
                    let counters = &mut wallets[wallet as usize];
                    let place = counters.find(key);
                    let before = counters.used(place);
                    prop_assert_eq!(before, model.get(&(wallet, key)).copied().unwrap_or(0));
                    let after = before + quantity;
                    let CounterKey { period_start_us, counter_id } = key;
                    counters.advance(place, Moved { wallet, period_start_us, counter_id, before, after }, &mut moves, NOW_US);
                    model.insert((wallet, key), after);
                    moved_in_model.entry((wallet, key)).or_insert((before, after)).1 = after;
                }
                let moved = lists.end(moves);
                prop_assert_eq!(moved.len(), moved_in_model.len());
                prop_assert_eq!(moved.iter().map(|one| ((one.wallet, one.key()), (one.before, one.after))).collect::<BTreeMap<_, _>>(), moved_in_model);
                if !kept {
                    for one in &moved {
                        wallets[one.wallet as usize].restore(one.key(), one.before);
                    }
                    model = start;
                }
                lists.give_back(moved);
            }
        }
    }
}
