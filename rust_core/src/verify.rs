//! `ledger verify`: re-derives every chain, balance, grant, charge, identity and commit from the rows themselves.
//!
//! Fed with COPY BINARY in any chunking: postings in key order, voids and period charges likewise, then events, counters in key order, event keys in key
//! order, commits, heads. Memory grows with the wallets and counters that moved and the commits, not with the events.

use std::sync::Arc;

use std::collections::BTreeMap;

use hashbrown::{HashMap, HashSet};
use serde::Serialize;

use crate::copy::{CopyError, CopyReader, POSTGRES_EPOCH_US, read_int, read_numeric};
use crate::identity::{Payload, key_hash};
use crate::money::format_nano;
use crate::posting::{Amounts, Commit, Digest, Id, Posting, PostingKind, fold_digest, head_mac, unbilled_account};
use crate::rate::{Currency, Periods, Price, Terms, TermsError};
use crate::void::VoidRow;
use crate::wallet::{UNBILLED, read_parts};

mod counters;
mod period_charges;
mod refunds;
mod voids;

use counters::{Counted, CounterWalk};
use period_charges::Measure;
use refunds::Refunds;
use voids::Returned;

/// Differences that are kept; the rest is only counted.
const KEPT: usize = 100;

/// One thing that is not as it should be.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// A stable word for what is off.
    pub what: &'static str,
    /// The tenant, where there is one.
    pub tenant_id: i64,
    /// The account, where there is one.
    pub account_id: i64,
    /// The sequence number of the posting or commit.
    pub seq: i64,
    /// What was found and expected.
    pub detail: String,
}

/// The result of a verification.
#[derive(Debug, Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Postings read.
    pub postings: u64,
    /// Events read.
    pub events: u64,
    /// Voids read.
    pub voids: u64,
    /// Period charges read.
    pub period_charges: u64,
    /// Wallets that have postings.
    pub wallets: u64,
    /// Commits read.
    pub commits: u64,
    /// Quantities of counters read.
    pub counters: u64,
    /// Sums of the events' charges, by currency.
    pub charged: BTreeMap<String, String>,
    /// How many differences there are.
    pub difference_count: u64,
    /// The first of them.
    pub differences: Vec<Difference>,
}

#[derive(Debug, Default)]
struct WalletWalk {
    tenant: i64,
    account: i64,
    seq: i64,
    amounts: Amounts,
    chain: Digest,
    grants: HashMap<Id, i128>,
    /// What each grant paid for usage, less what voids gave back to it; also those who stand for one.
    paid: HashMap<Id, i128>,
    refunds: Refunds,
    last_has_grants: bool,
}

#[derive(Debug, Default, Clone, Copy)]
struct CommitSum {
    digest: Digest,
    postings: i64,
    events: i64,
    charged: i128,
    identity: u128,
    keys: i64,
}

/// Collects what is off.
#[derive(Debug)]
pub struct Verifier {
    key: Digest,
    report: Report,
    charged: BTreeMap<Currency, i128>,
    postings: CopyReader,
    voids: CopyReader,
    period_rows: CopyReader,
    events: CopyReader,
    keys: CopyReader,
    last_key: Option<(i64, Id)>,
    commits: CopyReader,
    counters: CopyReader,
    walk: WalletWalk,
    counter_walk: CounterWalk,
    /// What events and quantities of a counter say, one less the other: [`link`].
    links: HashMap<Counted, u128>,
    /// Counters that a commit's voids lowered.
    lowered: HashSet<(Counted, i64)>,
    /// Counters that go up and down by themselves: (tenant, counter).
    swaying: HashSet<(i64, i32)>,
    period_ends: period_charges::Periods,
    periods: HashMap<i64, Arc<Periods>>,
    sums: HashMap<i64, CommitSum>,
    /// What usage postings took, less what events charged, by (account, commit).
    usage: HashMap<(i64, i64), i128>,
    /// What void postings gave back, by the event that they name.
    returned: HashMap<Id, Returned>,
    /// Voids whose event was not met yet.
    voided: HashMap<Id, VoidRow>,
    prices: HashMap<(i64, i64), (Price, Currency)>,
    metrics: HashMap<(i64, i64), String>,
    customers: HashMap<i64, (i64, String, Currency)>,
    commit_walk: HashMap<i64, (i64, Digest)>,
    heads_at: HashMap<(i64, i64), Digest>,
}

pub(crate) type Row<'a> = (&'a [u8], &'a [Option<(usize, usize)>]);

pub(crate) fn field<'a>((bytes, ranges): Row<'a>, index: usize) -> Result<&'a [u8], CopyError> {
    optional((bytes, ranges), index)?.ok_or(CopyError("NULL where a value must be"))
}

pub(crate) fn optional<'a>((bytes, ranges): Row<'a>, index: usize) -> Result<Option<&'a [u8]>, CopyError> {
    let range = ranges.get(index).ok_or(CopyError("too few columns"))?;
    Ok(range.and_then(|(from, to)| bytes.get(from..to)))
}

pub(crate) fn int(row: Row<'_>, index: usize) -> Result<i64, CopyError> {
    read_int(field(row, index)?)
}

pub(crate) fn numeric(row: Row<'_>, index: usize) -> Result<i128, CopyError> {
    read_numeric(field(row, index)?)
}

pub(crate) fn time(row: Row<'_>, index: usize) -> Result<i64, CopyError> {
    Ok(int(row, index)? + POSTGRES_EPOCH_US)
}

pub(crate) fn id(row: Row<'_>, index: usize) -> Result<Id, CopyError> {
    optional(row, index)?.map_or(Ok([0; 16]), |bytes| bytes.try_into().map_err(|_| CopyError("not a uuid")))
}

fn digest(row: Row<'_>, index: usize) -> Result<Digest, CopyError> {
    field(row, index)?.try_into().map_err(|_| CopyError("not 32 bytes"))
}

pub(crate) fn text(row: Row<'_>, index: usize) -> Result<&str, CopyError> {
    std::str::from_utf8(field(row, index)?).map_err(|_| CopyError("not UTF-8"))
}

/// An order-independent sum over identities: events and event keys of a commit must add up to the same.
fn identity(tenant: i64, key: &Id, fingerprint: i64, commit: i64) -> u128 {
    let mut bytes = [0_u8; 40];
    bytes[..8].copy_from_slice(&tenant.to_le_bytes());
    bytes[8..24].copy_from_slice(key);
    bytes[24..32].copy_from_slice(&fingerprint.to_le_bytes());
    bytes[32..].copy_from_slice(&commit.to_le_bytes());
    let mut first = [0_u8; 16];
    first.copy_from_slice(&blake3::hash(&bytes).as_bytes()[..16]);
    u128::from_le_bytes(first)
}

impl Verifier {
    /// Nothing read yet.
    #[must_use]
    pub fn new(ledger_key: Digest) -> Self {
        Self {
            key: ledger_key,
            report: Report::default(),
            charged: BTreeMap::new(),
            postings: CopyReader::default(),
            voids: CopyReader::default(),
            period_rows: CopyReader::default(),
            events: CopyReader::default(),
            keys: CopyReader::default(),
            last_key: None,
            commits: CopyReader::default(),
            counters: CopyReader::default(),
            walk: WalletWalk::default(),
            counter_walk: CounterWalk::default(),
            links: HashMap::new(),
            lowered: HashSet::new(),
            swaying: HashSet::new(),
            period_ends: period_charges::Periods::default(),
            periods: HashMap::new(),
            sums: HashMap::new(),
            usage: HashMap::new(),
            returned: HashMap::new(),
            voided: HashMap::new(),
            prices: HashMap::new(),
            metrics: HashMap::new(),
            customers: HashMap::new(),
            commit_walk: HashMap::new(),
            heads_at: HashMap::new(),
        }
    }

    fn differ(&mut self, what: &'static str, tenant_id: i64, account_id: i64, seq: i64, detail: String) {
        self.report.difference_count += 1;
        if self.report.differences.len() < KEPT {
            self.report.differences.push(Difference { what, tenant_id, account_id, seq, detail });
        }
    }

    /// When the periods of a tenant begin, as far as its usage goes; before its prices.
    pub fn add_periods(&mut self, tenant: i64, starts_us: Vec<i64>) {
        match Periods::new(starts_us) {
            Some(periods) => {
                self.periods.insert(tenant, Arc::new(periods));
            }
            None => self.differ("periods", tenant, 0, 0, "the starts of the periods do not rise".to_owned()),
        }
    }

    /// (tenant, price id) → what the line says, and in which currency. Terms that nobody can charge by are a difference of their own.
    pub fn add_price(&mut self, tenant: i64, price_id: i32, currency: Currency, terms: Result<Terms, TermsError>) {
        match terms {
            Ok(terms) => {
                let price = Price::new(price_id, &terms);
                let price = self.periods.get(&tenant).map_or_else(|| price.clone(), |periods| price.clone().in_periods(periods));
                if let Some(counting) = price.counting.as_ref().filter(|counting| counting.sways()) {
                    self.swaying.insert((tenant, counting.counter_id));
                }
                if let Some(end) = &price.period_end {
                    self.period_ends.measures.insert((tenant, end.quantity_counter), (Measure::Quantity, end.quantity_counter));
                    self.period_ends.measures.insert((tenant, end.charge_counter), (Measure::Charge, end.quantity_counter));
                }
                self.prices.insert((tenant, i64::from(price_id)), (price, currency));
            }
            Err(error) => self.differ("price", tenant, 0, 0, format!("price {price_id}: {error}")),
        }
    }

    /// (tenant, metric id) → code.
    pub fn add_metric(&mut self, tenant: i64, metric_id: i64, code: String) {
        self.metrics.insert((tenant, metric_id), code);
    }

    /// account → (tenant, external id, currency).
    pub fn add_customer(&mut self, tenant: i64, account: i64, external_id: String, currency: Currency) {
        self.customers.insert(account, (tenant, external_id, currency));
    }

    /// Reads postings; returns how many so far.
    ///
    /// # Errors
    /// When the bytes are not those rows.
    pub fn postings(&mut self, chunk: &[u8]) -> Result<u64, CopyError> {
        let mut reader = std::mem::take(&mut self.postings);
        reader.feed(chunk);
        let mut ranges = Vec::new();
        while let Some(bytes) = reader.next_row(&mut ranges)? {
            self.posting((bytes, &ranges))?;
        }
        self.postings = reader;
        Ok(self.report.postings)
    }

    fn posting(&mut self, row: Row<'_>) -> Result<(), CopyError> {
        self.report.postings += 1;
        let (tenant, account, seq) = (int(row, 0)?, int(row, 1)?, int(row, 2)?);
        if (tenant, account) != (self.walk.tenant, self.walk.account) {
            self.close_wallet();
            self.report.wallets += 1;
            self.walk = WalletWalk { tenant, account, ..WalletWalk::default() };
        }
        let Some(kind) = PostingKind::from_code(int(row, 3)?) else {
            self.differ("posting_kind", tenant, account, seq, "unknown kind".to_owned());
            return Ok(());
        };
        let grants_after = optional(row, 13)?;
        let posting = Posting {
            tenant,
            account,
            seq,
            kind,
            debit: int(row, 4)?,
            credit: int(row, 5)?,
            amount: numeric(row, 6)?,
            after: Amounts { balance: numeric(row, 7)?, held: numeric(row, 8)?, unbilled: numeric(row, 15)? },
            grant: id(row, 9)?,
            reference: id(row, 10)?,
            commit_id: int(row, 11)?,
            posted_at_us: time(row, 12)?,
            grants_after,
        };
        if seq != self.walk.seq + 1 {
            self.differ("posting_missing", tenant, account, seq, format!("sequence {} follows {}", seq, self.walk.seq));
        }
        let stored = digest(row, 14)?;
        let chain = posting.chain(&self.walk.chain);
        if chain != stored {
            self.differ("chain_broken", tenant, account, seq, "the row does not match its chain hash".to_owned());
        }
        // Who paid or gained: no grant where the unbilled account did.
        let accrued = [posting.debit, posting.credit].contains(&unbilled_account(account));
        let payer = if accrued { UNBILLED.id } else { posting.grant };
        let effect = kind.effect(posting.amount, accrued);
        let derived = self.walk.amounts.after(effect);
        if derived != posting.after {
            let told = |amounts: Amounts| {
                let [balance, held, unbilled] = [amounts.balance, amounts.held, amounts.unbilled].map(format_nano);
                format!("balance {balance}, held {held} and unbilled {unbilled}")
            };
            let detail = format!("{} stored, {} derived", told(posting.after), told(derived));
            self.differ("balance", tenant, account, seq, detail);
        }
        if effect.unbilled > 0 && posting.after.balance > 0 {
            self.differ("accrued", tenant, account, seq, "something was owed unbilled while the wallet could pay".to_owned());
        }
        self.replay_grants(&posting, effect.balance);
        if kind == PostingKind::Usage {
            *self.usage.entry((account, posting.commit_id)).or_default() += posting.amount;
            *self.walk.paid.entry(payer).or_default() += posting.amount;
        }
        match kind {
            PostingKind::Grant => self.grant_posting(&posting),
            PostingKind::Refund => self.refund_posting(&posting),
            PostingKind::Void => self.void_posting(&posting, payer),
            _ => {}
        }
        if matches!(kind, PostingKind::PeriodCharge | PostingKind::PeriodChargeReversal) {
            self.period_posting(&posting);
        }
        let sum = self.sums.entry(posting.commit_id).or_default();
        sum.digest = fold_digest(&sum.digest, &stored);
        sum.postings += 1;
        self.walk.seq = seq;
        self.walk.amounts = posting.after;
        self.walk.chain = stored;
        self.walk.last_has_grants = grants_after.is_some();
        Ok(())
    }

    /// Credits repay overdraft first; debits come off the named grant. Compared where `grants_after` is stored.
    fn replay_grants(&mut self, posting: &Posting<'_>, effect: i128) {
        let (tenant, account, seq) = (posting.tenant, posting.account, posting.seq);
        if posting.grant != [0; 16] {
            if effect > 0 {
                let allocated: i128 = self.walk.grants.values().sum();
                let overdraft = (allocated - self.walk.amounts.balance).max(0);
                *self.walk.grants.entry(posting.grant).or_default() += effect - overdraft.min(effect);
            } else if effect < 0 {
                let remaining = self.walk.grants.entry(posting.grant).or_default();
                *remaining += effect;
                if *remaining < 0 {
                    self.differ("grant_overspent", tenant, account, seq, "a grant paid more than it had".to_owned());
                }
            }
            self.walk.grants.retain(|_, remaining| *remaining != 0);
        }
        if let Some(stored) = posting.grants_after {
            let same = read_parts(stored).is_some_and(|parts| {
                parts.len() == self.walk.grants.len() && parts.iter().all(|(id, left)| self.walk.grants.get(id) == Some(left))
            });
            if !same {
                self.differ("grants", tenant, account, seq, "the open grants stored differ from those derived".to_owned());
            }
        }
    }

    fn close_wallet(&mut self) {
        if self.walk.seq > 0 && !self.walk.last_has_grants {
            let (tenant, account, seq) = (self.walk.tenant, self.walk.account, self.walk.seq);
            self.differ("wallet_truncated", tenant, account, seq, "the last posting is not the last of its commit".to_owned());
        }
    }

    /// Reads events; returns how many so far.
    ///
    /// # Errors
    /// When the bytes are not those rows.
    pub fn events(&mut self, chunk: &[u8]) -> Result<u64, CopyError> {
        let mut reader = std::mem::take(&mut self.events);
        reader.feed(chunk);
        let mut ranges = Vec::new();
        while let Some(bytes) = reader.next_row(&mut ranges)? {
            self.event((bytes, &ranges))?;
        }
        self.events = reader;
        Ok(self.report.events)
    }

    fn event(&mut self, row: Row<'_>) -> Result<(), CopyError> {
        self.report.events += 1;
        let (tenant, account, commit) = (int(row, 0)?, int(row, 1)?, int(row, 2)?);
        let (posting_seq, occurred_us) = (int(row, 3)?, time(row, 4)?);
        let (metric, price) = (int(row, 5)?, int(row, 6)?);
        let (quantity, charge) = (numeric(row, 7)?, numeric(row, 8)?);
        let (key, dimensions, before) = (text(row, 9)?, text(row, 10)?, numeric(row, 11)?);
        let currency = self.customers.get(&account).map_or(*b"XXX", |(_, _, currency)| *currency);
        match self.prices.get(&(tenant, price)) {
            Some((_, other)) if *other != currency => {
                let [theirs, ours] = [*other, currency].map(|code| String::from_utf8_lossy(&code).into_owned());
                self.differ("currency", tenant, account, posting_seq, format!("event {key}: a price in {theirs}, a wallet in {ours}"));
            }
            Some((price, _)) => {
                let (derived, counting) = (price.charge_after(before, quantity), price.counting.clone());
                let end = price.period_end.clone();
                if derived != Some(charge) {
                    let derived = derived.map_or("none".to_owned(), format_nano);
                    let detail = format!("event {key}: charged {}, its price makes {derived}", format_nano(charge));
                    self.differ("charge", tenant, account, posting_seq, detail);
                }
                match counting {
                    Some(counting) => {
                        // What does not fit is no step that any stored quantity goes.
                        let after = counting.after(before, quantity, charge).unwrap_or(i128::MAX);
                        self.count((tenant, account), commit, occurred_us, &counting, (before, after), key);
                    }
                    None if before != 0 => {
                        self.differ("counter", tenant, account, posting_seq, format!("event {key}: counted where nothing counts"));
                    }
                    None => {}
                }
                if let Some(end) = end {
                    self.count_period((tenant, account), commit, &end, (occurred_us, quantity, charge));
                }
            }
            None => self.differ("price_missing", tenant, account, posting_seq, format!("event {key}: no price {price}")),
        }
        if charge != 0 {
            *self.usage.entry((account, commit)).or_default() -= charge;
        }
        let hash = key_hash(tenant.cast_unsigned(), key.as_bytes());
        let print = match (self.customers.get(&account), self.metrics.get(&(tenant, metric))) {
            (Some((owner, customer, _)), Some(metric)) if *owner == tenant => {
                Payload { tenant_id: tenant.cast_unsigned(), customer, metric, quantity_nano: quantity, occurred_us, dimensions }
                    .fingerprint()
            }
            _ => 0,
        };
        self.voided_event(row, &hash)?;
        let sum = self.sums.entry(commit).or_default();
        sum.events += 1;
        sum.charged = sum.charged.saturating_add(charge);
        sum.identity = sum.identity.wrapping_add(identity(tenant, &hash, print.cast_signed(), commit));
        let charged = self.charged.entry(currency).or_default();
        *charged = charged.saturating_add(charge);
        Ok(())
    }

    /// Reads event keys, in key order: their tables are unique each in itself, so here it is seen that no key is in two. Returns how
    /// many there are in this chunk.
    ///
    /// # Errors
    /// When the bytes are not those rows.
    pub fn event_keys(&mut self, chunk: &[u8]) -> Result<u64, CopyError> {
        let mut reader = std::mem::take(&mut self.keys);
        reader.feed(chunk);
        let mut ranges = Vec::new();
        let mut read = 0;
        while let Some(bytes) = reader.next_row(&mut ranges)? {
            let row = (bytes, &ranges[..]);
            let (tenant, key, print, commit) = (int(row, 0)?, id(row, 1)?, int(row, 2)?, int(row, 3)?);
            let sum = self.sums.entry(commit).or_default();
            sum.identity = sum.identity.wrapping_sub(identity(tenant, &key, print, commit));
            sum.keys += 1;
            read += 1;
            if self.last_key.replace((tenant, key)) == Some((tenant, key)) {
                let digits = key.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
                self.differ("key_twice", tenant, 0, commit & 0xffff_ffff_ffff, format!("event key {digits} was accepted more than once"));
            }
        }
        self.keys = reader;
        Ok(read)
    }

    /// Reads commits; returns how many so far.
    ///
    /// # Errors
    /// When the bytes are not those rows.
    pub fn commits(&mut self, chunk: &[u8]) -> Result<u64, CopyError> {
        let mut reader = std::mem::take(&mut self.commits);
        reader.feed(chunk);
        let mut ranges = Vec::new();
        while let Some(bytes) = reader.next_row(&mut ranges)? {
            self.commit((bytes, &ranges))?;
        }
        self.commits = reader;
        Ok(self.report.commits)
    }

    fn commit(&mut self, row: Row<'_>) -> Result<(), CopyError> {
        self.report.commits += 1;
        let (partition, seq, commit_id) = (int(row, 0)?, int(row, 1)?, int(row, 2)?);
        let commit = Commit {
            partition,
            seq,
            epoch: int(row, 3)?,
            committed_at_us: time(row, 4)?,
            events: int(row, 5)?,
            postings: int(row, 6)?,
            charged: numeric(row, 7)?,
            digest: digest(row, 8)?,
            messages: field(row, 10)?,
        };
        if let Some(committed_us) = self.period_ends.committed.get_mut(&commit_id) {
            *committed_us = commit.committed_at_us;
        }
        let stored = digest(row, 9)?;
        let sum = self.sums.remove(&commit_id).unwrap_or_default();
        let (last_seq, last_head) = self.commit_walk.get(&partition).copied().unwrap_or_default();
        let mut off = |wrong: bool, what: &'static str, detail: String| {
            if wrong {
                self.report.difference_count += 1;
                if self.report.differences.len() < KEPT {
                    self.report.differences.push(Difference { what, tenant_id: 0, account_id: 0, seq, detail });
                }
            }
        };
        off(seq != last_seq + 1, "commit_missing", format!("partition {partition}: commit {seq} follows {last_seq}"));
        off(commit_id != crate::posting::commit_id(partition, seq), "commit_id", format!("commit id {commit_id}"));
        off(commit.head(&last_head) != stored, "commit_chain", format!("partition {partition}: the row does not match its head"));
        off(sum.digest != commit.digest, "commit_digest", "its postings are not those that were committed".to_owned());
        off(sum.postings != commit.postings, "commit_postings", format!("{} postings found, {} committed", sum.postings, commit.postings));
        off(sum.events != commit.events, "commit_events", format!("{} events found, {} committed", sum.events, commit.events));
        off(
            sum.keys != sum.events || sum.identity != 0,
            "identity",
            format!("{} event keys for {} events, or not the same", sum.keys, sum.events),
        );
        off(
            sum.charged != commit.charged,
            "commit_charged",
            format!("{} charged by its events, {} committed", format_nano(sum.charged), format_nano(commit.charged)),
        );
        self.commit_walk.insert(partition, (seq, stored));
        self.heads_at.insert((partition, seq), stored);
        Ok(())
    }

    /// A signed head, of the database or of the file beside it. Must lie on the chain of commits. Call after the commits.
    /// `current`: it must be the chain's end.
    pub fn head(&mut self, partition: i64, seq: i64, head: &[u8], mac: &[u8], current: bool) {
        if seq == 0 {
            return;
        }
        let known = self.heads_at.get(&(partition, seq)).copied();
        let signed = <Digest>::try_from(head).is_ok_and(|head| head_mac(&self.key, partition, seq, &head) == mac);
        if !signed {
            self.differ("head_signature", 0, 0, seq, format!("partition {partition}: the head is not signed by this key"));
        }
        match known {
            None => self.differ("tail_truncated", 0, 0, seq, format!("partition {partition}: commit {seq} was signed and is gone")),
            Some(stored) if stored != head => {
                self.differ("head", 0, 0, seq, format!("partition {partition}: the signed head is not that of commit {seq}"));
            }
            Some(_) => {}
        }
        let end = self.commit_walk.get(&partition).map_or(0, |(seq, _)| *seq);
        if current && end > seq {
            self.differ("head_behind", 0, 0, seq, format!("partition {partition}: commits go on to {end}, the signed head stays at {seq}"));
        }
    }

    /// Draws the sum.
    #[must_use]
    pub fn finish(mut self) -> Report {
        self.close_wallet();
        let mut open: Vec<_> = self.usage.iter().filter(|(_, left)| **left != 0).map(|(key, left)| (*key, *left)).collect();
        open.sort_unstable();
        for ((account, commit), left) in open {
            let tenant = self.customers.get(&account).map_or(0, |(tenant, ..)| *tenant);
            self.differ("usage", tenant, account, commit & 0xffff_ffff_ffff, format!("postings minus events is {}", format_nano(left)));
        }
        self.voids_left();
        self.close_counters();
        self.periods_left();
        let mut orphans: Vec<i64> = self.sums.keys().copied().collect();
        orphans.sort_unstable();
        for commit in orphans {
            self.differ("commit_gone", 0, 0, commit & 0xffff_ffff_ffff, "rows name a commit that is not there".to_owned());
        }
        let text = |currency: &Currency| String::from_utf8_lossy(currency).into_owned();
        self.report.charged = self.charged.iter().map(|(currency, sum)| (text(currency), format_nano(*sum))).collect();
        self.report
    }
}
