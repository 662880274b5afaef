//! Period charges: what a billing period costs that its events did not pay, made when it is over.
//!
//! A line of volume tiers or with a minimum per period has two counters in each period, of units and of what its events were
//! charged. A sweep settles them: it posts what the line asks (`rate/period_end.rs`) and keeps it as a row, revision 1.
//! When a late event or a void moves the counters after that, the next revision says what the period costs now and posts the
//! difference, or gives it back to those that paid, the last first. (account, period, counter, revision) is the row's key,
//! so that a period is settled once however often it is swept and whoever sweeps it.

use smallvec::SmallVec;

use crate::copy::{CopyError, CopyWriter};
use crate::counter::{COUNTED_FOR_US, CounterKey, KEPT_FOR_US, Moved};
use crate::engine::Engine;
use crate::group::Work;
use crate::outcome::Outcome;
use crate::posting::{Digest, Id, PostingKind};
use crate::rate::{Outside, PERIOD_GRACE_US, PeriodEnd};
use crate::usage::{AMOUNT_LIMIT, CHARGE_LIMIT};
use crate::verify::{Row, field, int, numeric, time};
use crate::wallet::{Grant, Wallet, write_parts};

/// A period of a customer on a line: tenant, account, and the counter of its units.
pub type PeriodKey = (i64, i64, CounterKey);

/// What is known of a period that was settled: its newest row.
#[derive(Debug, Clone)]
pub struct Settled {
    /// Of the row, from 1.
    pub revision: i32,
    /// Nano-units used.
    pub quantity: i128,
    /// Nano-units that its events were charged.
    pub charged: i128,
    /// Nano-units that the period is charged.
    pub total: i128,
    /// Who pays that: `remaining` is the part; also [`UNALLOCATED`](crate::wallet::UNALLOCATED) and
    /// [`UNBILLED`](crate::wallet::UNBILLED). In the order of paying.
    pub parts: SmallVec<[Grant; 1]>,
}

/// Columns of `period_charges`, in the order of [`PeriodChargeRow::write`].
pub const PERIOD_CHARGE_COLUMNS: &[&str] = &[
    "tenant_id",
    "account_id",
    "period_start",
    "counter_id",
    "revision",
    "price_id",
    "quantity",
    "charged",
    "total",
    "amount",
    "parts",
    "posting_seq",
    "balance_after",
    "commit_id",
    "settled_at",
];

/// One row of `period_charges`. Its hash goes into the digest of its commit, after the postings and voids.
#[derive(Debug, Clone)]
pub struct PeriodChargeRow {
    /// Whose, of which line, and when.
    pub key: PeriodKey,
    /// From 1.
    pub revision: i32,
    /// The line that it was settled by.
    pub price_id: i32,
    /// Nano-units used in the period.
    pub quantity: i128,
    /// Nano-units that the period's events were charged.
    pub charged: i128,
    /// Nano-units that the period is charged from now on.
    pub total: i128,
    /// That less what it was charged before: what was posted. Below zero: given back.
    pub amount: i128,
    /// 32 bytes each: a grant, or what stands for one, and what it pays of the total.
    pub parts: Vec<u8>,
    /// The first posting of the amount; 0: there is none.
    pub posting_seq: i64,
    /// What was available after it, nano-units.
    pub balance_after: i128,
    /// The commit that it is part of.
    pub commit_id: i64,
    /// Microseconds since the Unix epoch.
    pub settled_us: i64,
}

impl PeriodChargeRow {
    /// What its postings refer to.
    #[must_use]
    pub fn reference(&self) -> Id {
        let (tenant, account, key) = self.key;
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"period charge");
        for number in [tenant, account, key.period_start_us, key.counter_id.into(), self.revision.into()] {
            hasher.update(&number.to_le_bytes());
        }
        let mut first = [0_u8; 16];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        first
    }

    /// blake3 over the row's canonical bytes.
    #[must_use]
    pub fn hash(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.reference());
        for number in [i64::from(self.price_id), self.posting_seq, self.commit_id, self.settled_us] {
            hasher.update(&number.to_le_bytes());
        }
        for amount in [self.quantity, self.charged, self.total, self.amount, self.balance_after] {
            hasher.update(&amount.to_le_bytes());
        }
        hasher.update(&self.parts);
        *hasher.finalize().as_bytes()
    }

    /// Reads a row of `period_charges`, with the columns of [`PERIOD_CHARGE_COLUMNS`].
    ///
    /// # Errors
    /// When it is not one.
    pub(crate) fn read(row: Row<'_>) -> Result<Self, CopyError> {
        let narrow = |index| int(row, index).and_then(|wide| i32::try_from(wide).map_err(|_| CopyError("not an integer")));
        Ok(Self {
            key: (int(row, 0)?, int(row, 1)?, CounterKey { period_start_us: time(row, 2)?, counter_id: narrow(3)? }),
            revision: narrow(4)?,
            price_id: narrow(5)?,
            quantity: numeric(row, 6)?,
            charged: numeric(row, 7)?,
            total: numeric(row, 8)?,
            amount: numeric(row, 9)?,
            parts: field(row, 10)?.to_vec(),
            posting_seq: int(row, 11)?,
            balance_after: numeric(row, 12)?,
            commit_id: int(row, 13)?,
            settled_us: time(row, 14)?,
        })
    }

    /// Writes it as a row of `period_charges`.
    pub fn write(&self, rows: &mut CopyWriter) {
        let (tenant, account, key) = self.key;
        rows.row(15);
        rows.int8(tenant);
        rows.int8(account);
        rows.timestamp(key.period_start_us);
        rows.int4(key.counter_id);
        rows.int4(self.revision);
        rows.int4(self.price_id);
        for amount in [self.quantity, self.charged, self.total, self.amount] {
            rows.numeric(amount);
        }
        rows.bytes(&self.parts);
        rows.int8(self.posting_seq);
        rows.numeric(self.balance_after);
        rows.int8(self.commit_id);
        rows.timestamp(self.settled_us);
    }
}

/// Whether a line takes an event that it will settle: its period must be counted yet, and what it then costs must fit.
///
/// # Errors
/// The outcome of an event that is refused.
#[inline(never)]
pub(crate) fn admit(end: &PeriodEnd, wallet: Option<&Wallet>, now_us: i64, event: (i64, i128, i128)) -> Result<(), Outcome> {
    let (occurred_us, quantity, charge) = event;
    if occurred_us < now_us - COUNTED_FOR_US {
        return Err(Outcome::TooOld);
    }
    let period_start_us = end.periods.start_of(occurred_us).map_err(|outside| match outside {
        Outside::Before => Outcome::TooOld,
        Outside::After => Outcome::InFuture,
    })?;
    let used = |counter_id| {
        let key = CounterKey { period_start_us, counter_id };
        wallet.map_or(0, |wallet| wallet.counters.used(wallet.counters.find(key)))
    };
    let (quantity, charged) = (used(end.quantity_counter) + quantity, used(end.charge_counter) + charge);
    let fits = quantity < AMOUNT_LIMIT && charged < AMOUNT_LIMIT && end.total(quantity, charged).is_some_and(|total| total < CHARGE_LIMIT);
    if fits { Ok(()) } else { Err(Outcome::AmountOutOfRange) }
}

impl Engine {
    /// Moves the counters of an event's period by its quantity and charge, both of one sign, while usage of that period can
    /// still come.
    #[inline(never)]
    pub(crate) fn count_period(&mut self, work: &mut Work, index: u32, end: &PeriodEnd, event: (i64, i128, i128)) {
        let (occurred_us, quantity, charge) = event;
        let Ok(period_start_us) = end.periods.start_of(occurred_us) else { return };
        let Some(wallet) = self.wallets.slots[index as usize].as_mut().filter(|_| period_start_us >= work.now_us - KEPT_FOR_US) else {
            return;
        };
        let (tenant, account, held) = (wallet.tenant, wallet.account, wallet.counters.len());
        for (counter_id, change) in [(end.quantity_counter, quantity), (end.charge_counter, charge)] {
            let key = CounterKey { period_start_us, counter_id };
            let place = wallet.counters.find(key);
            let before = wallet.counters.used(place);
            if let Some(after) = before.checked_add(change).filter(|after| *after >= 0 && change != 0) {
                let moved = Moved { wallet: index, period_start_us, counter_id, before, after };
                wallet.counters.advance(place, moved, &mut work.counters, work.now_us);
            }
        }
        self.wallets.counters = self.wallets.counters + wallet.counters.len() - held;
        if end.periods.end_of(period_start_us).is_some_and(|end_us| work.now_us >= end_us + PERIOD_GRACE_US) {
            let key = CounterKey { period_start_us, counter_id: end.quantity_counter };
            if work.late_periods.last() != Some(&(tenant, account, key)) {
                work.late_periods.push((tenant, account, key));
            }
        }
    }

    /// Takes settled periods as the ledger has them, and those that are not there.
    pub fn load_settled(&mut self, rows: Vec<(PeriodKey, Settled)>, absent: Vec<PeriodKey>) {
        for (key, settled) in rows {
            self.settled.entry(key).or_insert(Some(settled));
        }
        for key in absent {
            self.settled.entry(key).or_insert(None);
        }
    }

    /// Settles a period that is over, if it was not yet or its counters have moved since. What is not in memory is passed over.
    pub(crate) fn settle_period(&mut self, work: &mut Work, period: PeriodKey) -> Option<()> {
        let (tenant, account, key) = period;
        let before = self.settled.get(&period)?.clone();
        let index = self.wallets.find_account(account)?;
        let wallet = self.wallets.slots[index as usize].as_mut()?;
        let catalog = self.catalogs.get(&tenant)?;
        let accrues = catalog.accrues;
        let line = catalog.line_at_end(account, wallet.currency, key.counter_id, key.period_start_us)?;
        let end_us = line.periods.end_of(key.period_start_us)?;
        // Counters of older periods may have left memory.
        if work.now_us < end_us + PERIOD_GRACE_US || key.period_start_us < work.now_us - KEPT_FOR_US {
            return None;
        }
        let used = |counter_id| wallet.counters.used(wallet.counters.find(CounterKey { counter_id, ..key }));
        let (quantity, charged) = (used(line.quantity_counter), used(line.charge_counter));
        let (revision, known) = before.as_ref().map_or((1, 0), |settled| (settled.revision + 1, settled.total));
        if before.as_ref().map_or((0, 0), |settled| (settled.quantity, settled.charged)) == (quantity, charged) {
            return None;
        }
        // What an event is refused for, an assignment in the past or a line in force at the end can bring about still. Nobody can
        // pay it: `ledger verify` goes on reporting that the period is not settled.
        let total = line.total(quantity, charged).filter(|total| *total < CHARGE_LIMIT)?;
        let amount = total - known;
        wallet.state.balance.checked_sub(amount).filter(|after| after.abs() < AMOUNT_LIMIT)?;
        wallet.state.unbilled.checked_add(amount).filter(|after| *after < AMOUNT_LIMIT)?;
        let slot = work.touch(index, wallet);
        let place = i64::try_from(work.touched[slot].pending.len()).unwrap_or(i64::MAX);
        let mut row = PeriodChargeRow {
            key: period,
            revision,
            price_id: line.price_id,
            quantity,
            charged,
            total,
            amount,
            parts: Vec::new(),
            posting_seq: if amount == 0 { 0 } else { wallet.state.seq + 1 + place },
            balance_after: 0,
            commit_id: work.commit_id,
            settled_us: work.now_us,
        };
        let mut parts = before.as_ref().map(|settled| settled.parts.clone()).unwrap_or_default();
        if amount > 0 {
            // Whatever the floor or limit: it was used.
            parts.extend(work.debit(slot, wallet, PostingKind::PeriodCharge, amount, accrues, row.reference()));
        } else if amount < 0 {
            let back = take_last(&mut parts, -amount);
            work.release(slot, wallet, PostingKind::PeriodChargeReversal, &back, row.reference());
        }
        row.parts = write_parts(&parts);
        row.balance_after = wallet.state.balance;
        work.period_charges.push(row);
        work.settled_before.push((period, before));
        self.settled.insert(period, Some(Settled { revision, quantity, charged, total, parts }));
        Some(())
    }
}

/// Takes an amount out of parts, the last first, and gives what was taken in the order of the parts.
fn take_last(parts: &mut SmallVec<[Grant; 1]>, amount: i128) -> SmallVec<[Grant; 1]> {
    let (mut due, mut taken) = (amount, SmallVec::<[Grant; 1]>::new());
    while let Some(last) = parts.last_mut().filter(|_| due > 0) {
        let part = last.remaining.min(due);
        due -= part;
        last.remaining -= part;
        taken.insert(0, Grant { remaining: part, ..*last });
        if last.remaining == 0 {
            parts.pop();
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wallet::UNALLOCATED;

    #[test]
    fn the_last_that_paid_gets_back_first() {
        let part = |id: u8, remaining: i128| Grant { id: [id; 16], remaining, ..UNALLOCATED };
        let mut parts: SmallVec<[Grant; 1]> = SmallVec::from_vec(vec![part(1, 5), part(2, 3), part(0, 4)]);
        let amounts = |parts: &[Grant]| parts.iter().map(|part| (part.id[0], part.remaining)).collect::<Vec<_>>();
        assert_eq!(amounts(&take_last(&mut parts, 6)), [(2, 2), (0, 4)]);
        assert_eq!(amounts(&parts), [(1, 5), (2, 1)]);
        assert_eq!(amounts(&take_last(&mut parts, 6)), [(1, 5), (2, 1)]);
        assert!(parts.is_empty());
    }

    #[test]
    fn a_rows_hash_knows_every_field() {
        let row = PeriodChargeRow {
            key: (1, 1_000, CounterKey { period_start_us: 5, counter_id: 6 }),
            revision: 1,
            price_id: 2,
            quantity: 3,
            charged: 4,
            total: 5,
            amount: 6,
            parts: vec![7; 32],
            posting_seq: 8,
            balance_after: 9,
            commit_id: 10,
            settled_us: 11,
        };
        let (tenant, account, key) = row.key;
        let others = [
            PeriodChargeRow { key: (tenant + 1, account, key), ..row.clone() },
            PeriodChargeRow { key: (tenant, account + 1, key), ..row.clone() },
            PeriodChargeRow { key: (tenant, account, CounterKey { period_start_us: 6, ..key }), ..row.clone() },
            PeriodChargeRow { key: (tenant, account, CounterKey { counter_id: 7, ..key }), ..row.clone() },
            PeriodChargeRow { revision: 2, ..row.clone() },
            PeriodChargeRow { price_id: 3, ..row.clone() },
            PeriodChargeRow { quantity: 4, ..row.clone() },
            PeriodChargeRow { charged: 5, ..row.clone() },
            PeriodChargeRow { total: 6, ..row.clone() },
            PeriodChargeRow { amount: 7, ..row.clone() },
            PeriodChargeRow { parts: vec![8; 32], ..row.clone() },
            PeriodChargeRow { posting_seq: 9, ..row.clone() },
            PeriodChargeRow { balance_after: 10, ..row.clone() },
            PeriodChargeRow { commit_id: 11, ..row.clone() },
            PeriodChargeRow { settled_us: 12, ..row.clone() },
        ];
        assert!(others.iter().all(|other| other.hash() != row.hash()));
    }
}
