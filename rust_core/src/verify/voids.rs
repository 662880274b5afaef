//! The part of the verifier that is about voids: each has its event, gives back exactly its charge to those who paid, once.

use super::{Row, Verifier, int, numeric, text, time};
use crate::copy::CopyError;
use crate::money::format_nano;
use crate::posting::{Id, Posting, fold_digest};
use crate::void::VoidRow;
use crate::wallet::{UNALLOCATED, UNBILLED, read_parts};

#[derive(Debug, Default)]
pub(super) struct Returned {
    account: i64,
    commit: i64,
    first_seq: i64,
    /// Grants and amounts as `parts` has them, but the last part first.
    parts: Vec<(Id, i128)>,
}

impl Verifier {
    /// `payer`: the grant that gets it back, or who stands for one.
    pub(super) fn void_posting(&mut self, posting: &Posting<'_>, payer: Id) {
        let paid = self.walk.paid.entry(payer).or_default();
        *paid -= posting.amount;
        let mut left = *paid;
        if payer == UNALLOCATED.id {
            // What was owed unbilled and is not any more goes back to the wallet.
            left += self.walk.paid.get(&UNBILLED.id).copied().unwrap_or_default();
        }
        if left < 0 {
            let detail = "voids gave a grant more than it had paid for usage".to_owned();
            self.differ("void_overpaid", posting.tenant, posting.account, posting.seq, detail);
        }
        let returned = self.returned.entry(posting.reference).or_insert_with(|| Returned {
            account: posting.account,
            commit: posting.commit_id,
            first_seq: posting.seq,
            parts: Vec::new(),
        });
        let next = returned.first_seq.saturating_add(i64::try_from(returned.parts.len()).unwrap_or(i64::MAX));
        let together = (returned.account, returned.commit, next) == (posting.account, posting.commit_id, posting.seq);
        returned.parts.push((payer, posting.amount));
        if !together {
            let detail = "an event is given back twice, or not in one piece".to_owned();
            self.differ("void_twice", posting.tenant, posting.account, posting.seq, detail);
        }
    }

    /// Reads voids in key order; returns how many so far. Call after the postings and prices, and before the events.
    ///
    /// # Errors
    /// When the bytes are not those rows.
    pub fn voids(&mut self, chunk: &[u8]) -> Result<u64, CopyError> {
        let mut reader = std::mem::take(&mut self.voids);
        reader.feed(chunk);
        let mut ranges = Vec::new();
        while let Some(bytes) = reader.next_row(&mut ranges)? {
            self.void((bytes, &ranges))?;
        }
        self.voids = reader;
        Ok(self.report.voids)
    }

    fn void(&mut self, row: Row<'_>) -> Result<(), CopyError> {
        self.report.voids += 1;
        let void = VoidRow::read(row)?;
        let (tenant, account, seq) = (void.tenant, void.account, void.posting_seq);
        let sum = self.sums.entry(void.commit_id).or_default();
        sum.digest = fold_digest(&sum.digest, &void.hash());
        let returned = self.returned.remove(&void.key_hash).unwrap_or_default();
        let mut parts = read_parts(&void.parts).unwrap_or_default();
        let sum: i128 = parts.iter().map(|(_, amount)| *amount).sum();
        parts.reverse();
        let posted = (returned.account, returned.commit, returned.first_seq) == (account, void.commit_id, seq);
        if sum != void.charge || parts != returned.parts || !(posted || (void.charge == 0 && returned.parts.is_empty() && seq == 0)) {
            let given: i128 = returned.parts.iter().map(|(_, amount)| *amount).sum();
            let detail = format!(
                "event {}: charged {}, given back {} by its postings, or to other grants",
                void.idempotency_key,
                format_nano(void.charge),
                format_nano(given)
            );
            self.differ("void", tenant, account, seq, detail);
        }
        let counting = self.prices.get(&(tenant, i64::from(void.price_id))).and_then(|(price, _)| price.counting.clone());
        self.uncount(&void, counting.as_deref());
        let end = self.prices.get(&(tenant, i64::from(void.price_id))).and_then(|(price, _)| price.period_end.clone());
        if let Some(end) = end {
            self.uncount_period(&void, &end);
        }
        self.voided.insert(void.key_hash, void);
        Ok(())
    }

    /// An event, against its void if it has one. Columns as in [`Verifier::events`].
    pub(super) fn voided_event(&mut self, row: Row<'_>, hash: &Id) -> Result<(), CopyError> {
        let Some(void) = self.voided.remove(hash) else { return Ok(()) };
        let (metric, price) = (i64::from(void.metric_id), i64::from(void.price_id));
        let named = (void.tenant, void.account, void.event_commit_id, void.event_posting_seq, void.occurred_us, metric, price);
        let stored = (int(row, 0)?, int(row, 1)?, int(row, 2)?, int(row, 3)?, time(row, 4)?, int(row, 5)?, int(row, 6)?);
        let same = named == stored
            && (void.quantity, void.charge) == (numeric(row, 7)?, numeric(row, 8)?)
            && (void.idempotency_key.as_str(), void.dimensions.as_str()) == (text(row, 9)?, text(row, 10)?)
            && void.commit_id > void.event_commit_id;
        if !same {
            let detail = format!("event {}: its void says otherwise what it was", void.idempotency_key);
            self.differ("void_event", void.tenant, void.account, void.posting_seq, detail);
        }
        Ok(())
    }

    /// After everything was read: voids without an event, and postings without a void.
    pub(super) fn voids_left(&mut self) {
        let mut eventless: Vec<_> =
            self.voided.values().map(|void| (void.tenant, void.account, void.posting_seq, void.idempotency_key.clone())).collect();
        eventless.sort_unstable();
        for (tenant, account, seq, key) in eventless {
            self.differ("void_event", tenant, account, seq, format!("event {key}: voided, and not there"));
        }
        let mut unsaid: Vec<_> = self.returned.values().map(|returned| (returned.account, returned.first_seq)).collect();
        unsaid.sort_unstable();
        for (account, seq) in unsaid {
            let tenant = self.customers.get(&account).map_or(0, |(tenant, ..)| *tenant);
            self.differ("void", tenant, account, seq, "a posting gives back an event that was not voided".to_owned());
        }
    }
}
