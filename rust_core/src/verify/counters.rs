//! Counters against the events that they count.

use std::collections::BTreeMap;

use super::{Row, Verifier, field, int, time};
use crate::copy::{CopyError, read_int4_array, read_numeric_array};
use crate::counter::{CounterKey, KEPT_FOR_US};
use crate::money::format_nano;
use crate::rate::Counting;
use crate::void::VoidRow;

/// A counter of a customer in a period: (tenant, account, counter).
pub(super) type Counted = (i64, i64, CounterKey);

/// The counters of one customer's period as far as their rows are read.
#[derive(Debug, Default)]
pub(super) struct CounterWalk {
    /// Tenant, account, start.
    period: (i64, i64, i64),
    /// Nano-units by counter.
    used: BTreeMap<i32, i128>,
}

/// The step of a counter from one quantity to another in a commit, for sums in any order. Steps that follow each other
/// add up to the step from the first to the last, and to nothing else: each quantity between goes out with one sign and
/// comes in with the other, and every step but a void's goes up, or the counter is one of a period's blocks.
fn link((tenant, account, key): Counted, commit: i64, from: i128, to: i128) -> u128 {
    let end = |quantity: i128| {
        let mut hasher = blake3::Hasher::new();
        for number in [tenant, account, key.period_start_us, i64::from(key.counter_id), commit] {
            hasher.update(&number.to_le_bytes());
        }
        hasher.update(&quantity.to_le_bytes());
        let mut first = [0_u8; 16];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        u128::from_le_bytes(first)
    };
    end(to).wrapping_sub(end(from))
}

impl Verifier {
    /// Adds an event's step to its counter's.
    pub(super) fn count(
        &mut self,
        (tenant, account): (i64, i64),
        commit: i64,
        occurred_us: i64,
        counting: &Counting,
        (before, after): (i128, i128),
        event: &str,
    ) {
        let Ok(period_start_us) = counting.periods.start_of(occurred_us) else {
            return self.differ("counter", tenant, account, 0, format!("event {event}: in no period"));
        };
        let counted = (tenant, account, CounterKey { period_start_us, counter_id: counting.counter_id });
        let sum = self.links.entry(counted).or_default();
        *sum = sum.wrapping_add(link(counted, commit, before, after));
    }

    /// Adds a void's step: back by what the event had counted, where it told so, and it must where usage of the period could still come.
    pub(super) fn uncount(&mut self, void: &VoidRow, counting: Option<&Counting>) {
        let period = counting.map(|counting| (counting, counting.periods.start_of(void.occurred_us)));
        let told = match (period, void.counter_before) {
            (Some((counting, Ok(period_start_us))), Some(before)) => {
                let counted = (void.tenant, void.account, CounterKey { period_start_us, counter_id: counting.counter_id });
                let after = counting.without(before, void.quantity, void.charge);
                let sum = self.links.entry(counted).or_default();
                *sum = sum.wrapping_add(link(counted, void.commit_id, before, after.unwrap_or(i128::MIN)));
                self.lowered.insert((counted, void.commit_id));
                after.is_some()
            }
            (Some((_, Ok(period_start_us))), None) => period_start_us < void.voided_us - KEPT_FOR_US,
            (_, before) => before.is_none(),
        };
        if !told {
            let detail = format!("void of event {}: its counter is not what it was", void.idempotency_key);
            self.differ("counter", void.tenant, void.account, void.posting_seq, detail);
        }
    }

    /// Reads what counters were after commits, in key order; returns how many quantities so far.
    ///
    /// # Errors
    /// When the bytes are not those rows.
    pub fn counters(&mut self, chunk: &[u8]) -> Result<u64, CopyError> {
        let mut reader = std::mem::take(&mut self.counters);
        reader.feed(chunk);
        let mut ranges = Vec::new();
        while let Some(bytes) = reader.next_row(&mut ranges)? {
            self.counter_row((bytes, &ranges))?;
        }
        self.counters = reader;
        Ok(self.report.counters)
    }

    /// What a commit wrote of the counters of one customer's period: those that it moved, or all of them.
    fn counter_row(&mut self, row: Row<'_>) -> Result<(), CopyError> {
        let (tenant, account, period_start_us, commit) = (int(row, 0)?, int(row, 1)?, time(row, 2)?, int(row, 3)?);
        let whole = field(row, 4)? == [1];
        let (counter_ids, quantities) = (read_int4_array(field(row, 5)?)?, read_numeric_array(field(row, 6)?)?);
        let mut walk = std::mem::take(&mut self.counter_walk);
        if walk.period != (tenant, account, period_start_us) {
            walk = CounterWalk { period: (tenant, account, period_start_us), used: BTreeMap::new() };
        }
        let mut wrong =
            counter_ids.is_empty() || counter_ids.len() != quantities.len() || !counter_ids.is_sorted_by(|one, next| one < next);
        for (counter_id, quantity) in counter_ids.iter().zip(&quantities) {
            self.report.counters += 1;
            let counter_id = i32::try_from(*counter_id).map_err(|_| CopyError("not a counter"))?;
            let before = walk.used.insert(counter_id, *quantity).unwrap_or(0);
            if *quantity != before {
                self.counter_moved((tenant, account, CounterKey { period_start_us, counter_id }), commit, before, *quantity);
            } else {
                // Said again, where all are.
                wrong |= !whole || before == 0;
            }
        }
        let used = |quantities: &mut dyn Iterator<Item = &i128>| quantities.filter(|quantity| **quantity != 0).count();
        // Whoever loads the counters reads no further back than to such a row: it must leave none out.
        wrong |= whole && used(&mut walk.used.values()) != used(&mut quantities.iter());
        if wrong {
            let period = crate::time::format_us(period_start_us);
            let detail = format!("counters of the period from {period}: a row that no commit writes so");
            self.differ("counter", tenant, account, commit & 0xffff_ffff_ffff, detail);
        }
        self.counter_walk = walk;
        Ok(())
    }

    fn counter_moved(&mut self, counted: Counted, commit: i64, before: i128, quantity: i128) {
        let (tenant, account, CounterKey { counter_id, .. }) = counted;
        let step = if let Some(measure) = self.period_ends.measures.get(&(tenant, counter_id)).copied() {
            self.period_counter(counted, commit, quantity, measure);
            self.weighed(counted, commit, quantity.wrapping_sub(before))
        } else {
            let sways = self.swaying.contains(&(tenant, counter_id));
            if quantity < before && !sways && !self.lowered.contains(&(counted, commit)) {
                let detail = format!("counter {counter_id}: {} does not follow {}", format_nano(quantity), format_nano(before));
                self.differ("counter", tenant, account, commit & 0xffff_ffff_ffff, detail);
            }
            link(counted, commit, before, quantity)
        };
        let sum = self.links.entry(counted).or_default();
        *sum = sum.wrapping_sub(step);
    }

    /// What does not add up in the end.
    pub(super) fn close_counters(&mut self) {
        let mut broken: Vec<Counted> = self.links.iter().filter(|(_, sum)| **sum != 0).map(|(counted, _)| *counted).collect();
        broken.sort_unstable();
        for (tenant, account, key) in broken {
            let period = crate::time::format_us(key.period_start_us);
            let detail =
                format!("counter {} of the period from {period}: its quantities are not what its events add up to", key.counter_id);
            self.differ("counter", tenant, account, 0, detail);
        }
    }
}
