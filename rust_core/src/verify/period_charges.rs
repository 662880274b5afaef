//! The part of the verifier that is about period charges: their counters add up, each row is what its line asks for what its
//! counters were at its commit, its postings are its amount, and no period that is over was left out.

use hashbrown::HashMap;

use super::counters::Counted;
use super::{Row, Verifier};
use crate::copy::CopyError;
use crate::counter::CounterKey;
use crate::money::format_nano;
use crate::period_charge::PeriodChargeRow;
use crate::posting::{Id, Posting, PostingKind, fold_digest};
use crate::rate::{PERIOD_GRACE_US, PeriodEnd};
use crate::void::VoidRow;
use crate::wallet::{UNALLOCATED, UNBILLED, read_parts};

/// How long a core that stands still may leave a period that is due.
const SETTLED_WITHIN_US: i64 = 15 * 60 * 1_000_000;

/// What a counter of a period counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    Quantity,
    Charge,
}

/// A row, and what its counters were at its commit as far as they are read.
#[derive(Debug)]
pub(super) struct Checked {
    row: PeriodChargeRow,
    before: i128,
    quantity: i128,
    charged: i128,
}

/// The postings of one row.
#[derive(Debug, Default)]
pub(super) struct PostedPeriod {
    account: i64,
    commit: i64,
    first_seq: i64,
    count: i64,
    /// By grant, below zero where it was given back.
    by_grant: HashMap<Id, i128>,
}

/// How a period stands.
#[derive(Debug, Default)]
struct Newest {
    /// The last commit that moved it.
    commit: i64,
    quantity: i128,
    charged: i128,
}

/// Of all period counters.
#[derive(Debug, Default)]
pub(super) struct Periods {
    /// (tenant, counter) → what it counts, and the counter of its line's units.
    pub(super) measures: HashMap<(i64, i32), (Measure, i32)>,
    posted: HashMap<Id, PostedPeriod>,
    rows: Vec<Checked>,
    by_counter: HashMap<Counted, Vec<usize>>,
    /// The last row of each period, while rows are read: its place.
    last: HashMap<Counted, usize>,
    /// Of each period, by the counter of its units: how it stands.
    newest: HashMap<Counted, Newest>,
    /// When those commits were.
    pub(super) committed: HashMap<i64, i64>,
    pub(super) now_us: i64,
}

impl Verifier {
    /// The moment of the verification: periods that were over long before it are settled.
    pub const fn at(&mut self, now_us: i64) {
        self.period_ends.now_us = now_us;
    }

    /// What a counter of a period that is moved by so much in a commit gains, for sums in any order: the change times a weight
    /// that nobody knows who has not the ledger's key.
    pub(super) fn weighed(&self, (tenant, account, key): Counted, commit: i64, change: i128) -> u128 {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        for number in [tenant, account, key.period_start_us, i64::from(key.counter_id), commit] {
            hasher.update(&number.to_le_bytes());
        }
        let mut first = [0_u8; 16];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        u128::from_le_bytes(first).wrapping_mul(change.cast_unsigned())
    }

    /// Adds what an event moves in the counters of its period; of a void the same with its signs turned.
    pub(super) fn count_period(&mut self, (tenant, account): (i64, i64), commit: i64, end: &PeriodEnd, event: (i64, i128, i128)) {
        let (occurred_us, quantity, charge) = event;
        let Ok(period_start_us) = end.periods.start_of(occurred_us) else {
            return self.differ("counter", tenant, account, 0, "an event in no period on a line that has periods settled".to_owned());
        };
        for (counter_id, change) in [(end.quantity_counter, quantity), (end.charge_counter, charge)] {
            let counted = (tenant, account, CounterKey { period_start_us, counter_id });
            let gain = self.weighed(counted, commit, change);
            let sum = self.links.entry(counted).or_default();
            *sum = sum.wrapping_add(gain);
        }
    }

    pub(super) fn uncount_period(&mut self, void: &VoidRow, end: &PeriodEnd) {
        let kept = end.periods.start_of(void.occurred_us).is_ok_and(|start| start >= void.voided_us - crate::counter::KEPT_FOR_US);
        if kept {
            let event = (void.occurred_us, -void.quantity, -void.charge);
            self.count_period((void.tenant, void.account), void.commit_id, end, event);
        }
    }

    pub(super) fn period_posting(&mut self, posting: &Posting<'_>) {
        let signed = if posting.kind == PostingKind::PeriodCharge { posting.amount } else { -posting.amount };
        let posted = self.period_ends.posted.entry(posting.reference).or_insert_with(|| PostedPeriod {
            account: posting.account,
            commit: posting.commit_id,
            first_seq: posting.seq,
            ..PostedPeriod::default()
        });
        let next = posted.first_seq.saturating_add(posted.count);
        let together = (posted.account, posted.commit, next) == (posting.account, posting.commit_id, posting.seq);
        posted.count += 1;
        *posted.by_grant.entry(posting.grant).or_default() += signed;
        if !together {
            let detail = "a period is charged twice, or not in one piece".to_owned();
            self.differ("period_charge", posting.tenant, posting.account, posting.seq, detail);
        }
    }

    /// Reads period charges, revision by revision; returns how many so far. Call after postings, prices and voids, and before the
    /// counters.
    ///
    /// # Errors
    /// When the bytes are not those rows.
    pub fn period_charges(&mut self, chunk: &[u8]) -> Result<u64, CopyError> {
        let mut reader = std::mem::take(&mut self.period_rows);
        reader.feed(chunk);
        let mut ranges = Vec::new();
        while let Some(bytes) = reader.next_row(&mut ranges)? {
            self.period_charge((bytes, &ranges))?;
        }
        self.period_rows = reader;
        Ok(self.report.period_charges)
    }

    fn period_charge(&mut self, row: Row<'_>) -> Result<(), CopyError> {
        self.report.period_charges += 1;
        let row = PeriodChargeRow::read(row)?;
        let (tenant, account, key) = row.key;
        let sum = self.sums.entry(row.commit_id).or_default();
        sum.digest = fold_digest(&sum.digest, &row.hash());
        let last = self.period_ends.last.get(&row.key).and_then(|place| self.period_ends.rows.get(*place));
        let (revision, before, mut paid) =
            last.map_or((0, 0, Vec::new()), |last| (last.row.revision, last.row.total, read_parts(&last.row.parts).unwrap_or_default()));
        let mut wrong = Vec::new();
        if row.revision != revision + 1 {
            wrong.push(format!("revision {} follows {revision}", row.revision));
        }
        if row.amount != row.total - before {
            wrong.push(format!("{} from {} is not {}", format_nano(row.total), format_nano(before), format_nano(row.amount)));
        }
        let posted = self.period_ends.posted.remove(&row.reference()).unwrap_or_default();
        let sum: i128 = posted.by_grant.values().sum();
        let named = if posted.count == 0 {
            row.posting_seq == 0
        } else {
            (posted.account, posted.commit, posted.first_seq) == (account, row.commit_id, row.posting_seq)
        };
        if sum != row.amount || !named {
            wrong.push(format!("{} is posted of {}, or elsewhere", format_nano(sum), format_nano(row.amount)));
        }
        // Who pays the total: who paid before, and what the postings took or gave back.
        paid.extend(posted.by_grant);
        let mut payers = HashMap::<Id, i128>::new();
        // What was owed unbilled may have been invoiced when it went back: then it is the wallet's.
        let payer = |grant: &Id| if *grant == UNBILLED.id { UNALLOCATED.id } else { *grant };
        paid.iter().for_each(|(grant, amount)| *payers.entry(payer(grant)).or_default() += amount);
        let said = read_parts(&row.parts);
        for (grant, amount) in said.iter().flatten() {
            *payers.entry(payer(grant)).or_default() -= amount;
        }
        if said.is_none() || payers.values().any(|left| *left != 0) {
            wrong.push("its grants are not those of its postings".to_owned());
        }
        match self.prices.get(&(tenant, i64::from(row.price_id))).and_then(|(price, _)| price.period_end.clone()) {
            Some(end) if end.quantity_counter == key.counter_id => {
                let place = self.period_ends.rows.len();
                for counter_id in [end.quantity_counter, end.charge_counter] {
                    let counted = (tenant, account, CounterKey { counter_id, ..key });
                    self.period_ends.by_counter.entry(counted).or_default().push(place);
                }
            }
            _ => wrong.push(format!("price {} settles no such period", row.price_id)),
        }
        self.period_ends.last.insert(row.key, self.period_ends.rows.len());
        for what in wrong {
            let detail = describe(&row, &what);
            self.differ("period_charge", tenant, account, row.posting_seq, detail);
        }
        self.period_ends.rows.push(Checked { row, before, quantity: 0, charged: 0 });
        Ok(())
    }

    /// What a counter of a period was after a commit. In key order.
    pub(super) fn period_counter(&mut self, counted: Counted, commit: i64, quantity: i128, (measure, units): (Measure, i32)) {
        let periods = &mut self.period_ends;
        for place in periods.by_counter.get(&counted).into_iter().flatten() {
            if let Some(checked) = periods.rows.get_mut(*place).filter(|checked| checked.row.commit_id >= commit) {
                match measure {
                    Measure::Quantity => checked.quantity = quantity,
                    Measure::Charge => checked.charged = quantity,
                }
            }
        }
        let (tenant, account, key) = counted;
        let newest = periods.newest.entry((tenant, account, CounterKey { counter_id: units, ..key })).or_default();
        newest.commit = newest.commit.max(commit);
        match measure {
            Measure::Quantity => newest.quantity = quantity,
            Measure::Charge => newest.charged = quantity,
        }
        periods.committed.insert(commit, 0);
    }

    /// After everything was read: rows that are not what their counters make, postings without a row, and periods without one.
    pub(super) fn periods_left(&mut self) {
        let rows = std::mem::take(&mut self.period_ends.rows);
        for Checked { row, before, quantity, charged } in &rows {
            let (tenant, account, _) = row.key;
            let end = self.prices.get(&(tenant, i64::from(row.price_id))).and_then(|(price, _)| price.period_end.clone());
            let total = end.and_then(|end| end.total(*quantity, *charged));
            if (row.quantity, row.charged) != (*quantity, *charged) || total != Some(row.total) {
                let made = total.map_or_else(|| "none".to_owned(), format_nano);
                let what = format!(
                    "{} units and {} charged at its commit make {made}, not {} after {}",
                    format_nano(*quantity),
                    format_nano(*charged),
                    format_nano(row.total),
                    format_nano(*before)
                );
                self.differ("period_charge", tenant, account, row.posting_seq, describe(row, &what));
            }
        }
        let mut unsaid: Vec<_> = self.period_ends.posted.values().map(|posted| (posted.account, posted.first_seq)).collect();
        unsaid.sort_unstable();
        for (account, seq) in unsaid {
            let tenant = self.customers.get(&account).map_or(0, |(tenant, ..)| *tenant);
            self.differ("period_charge", tenant, account, seq, "a posting charges a period that has no such row".to_owned());
        }
        self.periods_missing(&rows);
    }

    fn periods_missing(&mut self, rows: &[Checked]) {
        let periods = &self.period_ends;
        let now_us = periods.committed.values().copied().fold(periods.now_us, i64::max);
        let mut missing: Vec<Counted> = Vec::new();
        for (counted, Newest { commit, quantity, charged }) in &periods.newest {
            let (tenant, _, key) = *counted;
            let settled = periods.last.get(counted).and_then(|place| rows.get(*place));
            let settled = settled.map_or((0, 0), |checked| (checked.row.quantity, checked.row.charged));
            let over_us = self.periods.get(&tenant).and_then(|starts| starts.end_of(key.period_start_us));
            let due_us = over_us.map(|end_us| (end_us + PERIOD_GRACE_US).max(periods.committed.get(commit).copied().unwrap_or(0)));
            let due = due_us.is_some_and(|due_us| due_us + SETTLED_WITHIN_US < now_us);
            if due && settled != (*quantity, *charged) {
                missing.push(*counted);
            }
        }
        missing.sort_unstable();
        for (tenant, account, key) in missing {
            let period = crate::time::format_us(key.period_start_us);
            let detail = format!("counter {} of the period from {period}: not settled as it stands", key.counter_id);
            self.differ("period_charge_missing", tenant, account, 0, detail);
        }
    }
}

fn describe(row: &PeriodChargeRow, what: &str) -> String {
    let key = row.key.2;
    format!("period from {}, counter {}, revision {}: {what}", crate::time::format_us(key.period_start_us), key.counter_id, row.revision)
}
