//! Corrections of usage: an event is voided, or voided and replaced by a new one in the same step.
//!
//! Nothing stored changes. A void is a row of its own and new postings that name what they reverse. The charge goes back part
//! by part to those who paid it, the last first: what was owed unbilled lowers that, what was overdraft first repays
//! overdraft, and what came from a grant that has expired expires again at once. A free event is voided without a posting. An event is voided once, whoever asks how
//! often: a repetition gets the first void. Its key stays taken for ever.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use smallvec::SmallVec;

use crate::command::{Failure, MAX_OPEN_GRANTS, parse_hex, public_id, read, refuse};
use crate::counter::{CounterKey, KEPT_FOR_US, Moved};
use crate::engine::{Engine, EngineError};
use crate::group::Work;
use crate::identity::key_hash;
use crate::message::UsageSection;
use crate::money::format_nano;
use crate::outcome::Outcome;
use crate::posting::{Id, PostingKind};
use crate::rate::{Counting, Currency};
use crate::time::format_us;
use crate::usage::AMOUNT_LIMIT;
use crate::wallet::{Grant, UNALLOCATED, UNBILLED, Wallet, write_parts};

mod row;

pub use row::{VOID_COLUMNS, VoidRow};

/// Events of one command: what must be loaded for them stays small, so that nobody waits long behind it.
const MAX_KEYS: usize = 500;

/// An accepted event as the ledger has it, with the grants that paid it.
#[derive(Debug, Clone)]
pub struct StoredEvent {
    /// The wallet's account.
    pub account: i64,
    /// The commit that it was accepted in.
    pub commit_id: i64,
    /// The posting that its charge begins in; 0: free of charge.
    pub posting_seq: i64,
    /// What was used.
    pub metric_id: i32,
    /// The line that priced it.
    pub price_id: i32,
    /// Microseconds since the Unix epoch.
    pub occurred_us: i64,
    /// Nano-units.
    pub quantity: i128,
    /// Nano-units.
    pub charge: i128,
    /// Canonical JSON.
    pub dimensions: String,
    /// Who paid: `remaining` is the part; also [`UNALLOCATED`] and [`UNBILLED`]. In the order of paying.
    pub parts: SmallVec<[Grant; 1]>,
    /// Its void, if it has one.
    pub void: Option<Voided>,
}

/// What was said when an event was voided.
#[derive(Debug, Clone)]
pub struct Voided {
    /// The wallet's account.
    pub account: i64,
    /// Microseconds since the Unix epoch.
    pub voided_us: i64,
    /// Nano-units given back.
    pub amount: i128,
    /// To which grants, in the order in which they had paid; also to [`UNALLOCATED`] and [`UNBILLED`].
    pub parts: Vec<(Id, i128)>,
    /// What was available after it, nano-units.
    pub balance_after: i128,
    /// What was owed unbilled after it, nano-units.
    pub unbilled_after: i128,
    /// The merchant's words.
    pub reason: Option<String>,
    /// Key and fingerprint of the event that amends it.
    pub replaced_by: Option<(String, u64)>,
    /// The answer to the amendment, JSON.
    pub answer: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct VoidCommand {
    key: String,
    by: String,
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct VoidSetCommand {
    keys: Vec<String>,
    set_id: String,
    by: String,
    reason: Option<String>,
}

/// Who voids, and why.
struct Said<'a> {
    command_id: Id,
    set_id: Id,
    by: &'a str,
    reason: Option<&'a str>,
    replaced_by: Option<(&'a str, u64)>,
}

impl Voided {
    fn answer(&self, wallet: &Wallet, key: &str, again: bool) -> Value {
        let parts: Vec<Value> = self
            .parts
            .iter()
            .map(|(id, amount)| {
                let account = if *id == UNBILLED.id { "customer_unbilled" } else { "customer_wallet" };
                let grant = (*id != UNALLOCATED.id && *id != UNBILLED.id).then(|| public_id("gr_", id));
                json!({"account": account, "grantId": grant, "amount": format_nano(*amount)})
            })
            .collect();
        json!({
            "ok": true,
            "alreadyVoided": again,
            "idempotencyKey": key,
            "customerExternalId": &*wallet.external_id,
            "amount": format_nano(self.amount),
            "currency": String::from_utf8_lossy(&wallet.currency),
            "givenBackTo": parts,
            "balanceAfter": format_nano(self.balance_after),
            "unbilledAfter": format_nano(self.unbilled_after),
            "voidedAt": format_us(self.voided_us),
            "reason": self.reason,
            "amendedBy": self.replaced_by.as_ref().map(|(key, _)| key),
        })
    }
}

impl Engine {
    /// Takes events as the ledger has them, and the keys that are not there. They are forgotten after the next group: what is
    /// not there now may be there then.
    pub fn load_events(&mut self, rows: Vec<(Id, StoredEvent)>, absent: Vec<Id>) {
        self.stored_events.extend(rows.into_iter().map(|(hash, event)| (hash, Some(event))));
        for hash in absent {
            self.stored_events.entry(hash).or_insert(None);
        }
    }

    /// The account of an event that memory has, to know whether its wallet is there: `None`, nothing is known of the event.
    pub(crate) fn known_event(&self, hash: &Id) -> Option<Option<i64>> {
        if let Some(void) = self.voids.get(hash) {
            return Some(Some(void.account));
        }
        self.stored_events.get(hash).map(|event| event.as_ref().map(|event| event.account))
    }

    fn void_of(&self, hash: &Id) -> Option<Voided> {
        let stored = || self.stored_events.get(hash).and_then(|event| event.as_ref()?.void.as_ref());
        self.voids.get(hash).map(|void| &**void).or_else(stored).cloned()
    }

    fn wallet_of(&self, account: i64) -> Result<&Wallet, Failure> {
        let index = self.wallets.find_account(account);
        let wallet = index.and_then(|index| self.wallets.slots[index as usize].as_ref());
        wallet.ok_or_else(|| EngineError::NotLoaded("an event's wallet").into())
    }

    /// `{"key", "by", "reason"?}`: voids one event.
    pub(crate) fn void(&mut self, work: &mut Work, tenant: i64, id: Id, json: &[u8]) -> Result<Value, Failure> {
        let command: VoidCommand = read(json)?;
        let hash = key_hash(tenant.cast_unsigned(), command.key.as_bytes());
        if let Some(void) = self.void_of(&hash) {
            return Ok(void.answer(self.wallet_of(void.account)?, &command.key, true));
        }
        let said = Said { command_id: id, set_id: [0; 16], by: &command.by, reason: command.reason.as_deref(), replaced_by: None };
        let void = self.void_event(work, tenant, &command.key, hash, &said)?;
        Ok(void.answer(self.wallet_of(void.account)?, &command.key, false))
    }

    /// `{"keys", "setId", "by", "reason"?}`: voids some events of a set. Each is decided by itself.
    pub(crate) fn void_set(&mut self, work: &mut Work, tenant: i64, id: Id, json: &[u8]) -> Result<Value, Failure> {
        let command: VoidSetCommand = read(json)?;
        let Some(set_id) = parse_hex(&command.set_id) else { return refuse("invalid_command", "setId is not 32 hex digits") };
        if command.keys.len() > MAX_KEYS {
            return refuse("invalid_command", format!("a command voids at most {MAX_KEYS} events"));
        }
        let said = Said { command_id: id, set_id, by: &command.by, reason: command.reason.as_deref(), replaced_by: None };
        let (mut voided, mut already, mut amounts, mut refused) = (0, 0, BTreeMap::<Currency, i128>::new(), Vec::new());
        for key in &command.keys {
            let hash = key_hash(tenant.cast_unsigned(), key.as_bytes());
            if self.void_of(&hash).is_some() {
                already += 1;
                continue;
            }
            match self.void_event(work, tenant, key, hash, &said) {
                Ok(void) => {
                    voided += 1;
                    let amount = amounts.entry(self.wallet_of(void.account)?.currency).or_default();
                    *amount = amount.checked_add(void.amount).ok_or(EngineError::Range)?;
                }
                Err(Failure::Refused(refusal)) => refused.push(json!({"idempotencyKey": key, "code": refusal.0})),
                Err(failure) => return Err(failure),
            }
        }
        let amounts: Map<String, Value> = amounts
            .iter()
            .map(|(currency, amount)| (String::from_utf8_lossy(currency).into_owned(), format_nano(*amount).into()))
            .collect();
        Ok(json!({"ok": true, "voided": voided, "alreadyVoided": already, "amounts": amounts, "refused": refused}))
    }

    /// `{"key", "by", "reason"?}` and one event of the same customer: voids the one and takes the other, or neither.
    pub(crate) fn amend(
        &mut self,
        work: &mut Work,
        tenant: i64,
        id: Id,
        json: &[u8],
        section: Option<&UsageSection<'_>>,
    ) -> Result<Value, Failure> {
        let command: VoidCommand = read(json)?;
        let Some((section, [event])) = section.and_then(|section| Some((section, section.events.first_chunk::<1>()?))) else {
            return refuse("invalid_command", "an amendment takes one event");
        };
        let hash = key_hash(tenant.cast_unsigned(), command.key.as_bytes());
        if let Some(void) = self.void_of(&hash) {
            let same =
                void.replaced_by.as_ref().is_some_and(|(key, print)| (key.as_str(), *print) == (event.idempotency_key, event.fingerprint));
            let first = void.answer.filter(|_| same).and_then(|answer| serde_json::from_str::<Value>(&answer).ok());
            return first.map_or_else(|| refuse("event_voided", "the event is voided already"), Ok);
        }
        let Some(Some(stored)) = self.stored_events.get(&hash) else {
            return self.void_event_missing(&hash);
        };
        let Some(index) = self.wallets.find_account(stored.account) else { return Err(EngineError::NotLoaded("an event's wallet").into()) };
        let Some(wallet) = self.wallets.slots[index as usize].as_mut() else { return Err(EngineError::NotLoaded("a wallet").into()) };
        if section.customers.iter().any(|customer| **customer != *wallet.external_id) {
            return refuse("customer_mismatch", "an event is amended by one of the same customer");
        }
        let slot = work.touch(index, wallet);
        let before = (wallet.state.clone(), work.touched[slot].pending.len(), work.expired_grants.len());
        let replaced_by = Some((event.idempotency_key, event.fingerprint));
        let said = Said { command_id: id, set_id: [0; 16], by: &command.by, reason: command.reason.as_deref(), replaced_by };
        let void = self.void_event(work, tenant, &command.key, hash, &said)?;
        let decided = self.decide(work, tenant, section)?;
        let outcome = decided.outcomes.first().map_or(Outcome::Conflict, |event| event.outcome);
        if outcome != Outcome::Accepted {
            // Neither: the wallet is as it was, and nothing of the void is left.
            if let Some(wallet) = self.wallets.slots[index as usize].as_mut() {
                wallet.state = before.0;
            }
            work.touched[slot].pending.truncate(before.1);
            work.expired_grants.truncate(before.2);
            let row = work.voids.pop();
            self.voids.remove(&hash);
            if let Some(row) = row {
                if let Some(before) = row.counter_before {
                    self.recount(work, tenant, index, (row.price_id, row.occurred_us), |_, _| Some(before));
                }
                self.recount_period(work, tenant, index, row.price_id, (row.occurred_us, row.quantity, row.charge));
            }
            return match outcome {
                Outcome::Duplicate | Outcome::Conflict => refuse("idempotency_conflict", "the new idempotencyKey is that of another event"),
                _ => refuse(outcome.code(), outcome.detail()),
            };
        }
        let wallet = self.wallet_of(void.account)?;
        let mut of_void = void.answer(wallet, &command.key, false);
        if let Some(fields) = of_void.as_object_mut() {
            fields.remove("ok");
        }
        let answer = json!({
            "ok": true,
            "void": of_void,
            "event": {
                "idempotencyKey": event.idempotency_key,
                "amends": command.key,
                "charge": format_nano(decided.charged),
                "currency": String::from_utf8_lossy(&wallet.currency),
            },
            "balanceAfter": format_nano(wallet.state.balance),
            "unbilledAfter": format_nano(wallet.state.unbilled),
        });
        self.voids.insert(hash, Box::new(Voided { answer: Some(answer.to_string()), ..void }));
        Ok(answer)
    }

    /// Moves the counter of an event's line in its period, while usage of that period can still come: later events go on from there,
    /// earlier charges stay. Gives where it was; `None`: nothing is counted there.
    fn recount(
        &mut self,
        work: &mut Work,
        tenant: i64,
        index: u32,
        (price_id, occurred_us): (i32, i64),
        to: impl Fn(&Counting, i128) -> Option<i128>,
    ) -> Option<i128> {
        let counting = self.catalogs.get(&tenant)?.counting(price_id)?;
        let period_start_us = counting.periods.start_of(occurred_us).ok()?;
        if period_start_us < work.now_us - KEPT_FOR_US {
            return None;
        }
        let key = CounterKey { period_start_us, counter_id: counting.counter_id };
        let wallet = self.wallets.slots[index as usize].as_mut()?;
        let place = wallet.counters.find(key);
        let before = wallet.counters.used(place);
        let after = to(counting, before)?;
        let moved = Moved { wallet: index, period_start_us, counter_id: counting.counter_id, before, after };
        let held = wallet.counters.len();
        wallet.counters.advance(place, moved, &mut work.counters, work.now_us);
        self.wallets.counters = self.wallets.counters + wallet.counters.len() - held;
        Some(before)
    }

    /// The same for the counters of a line that is settled at the end of the period.
    fn recount_period(&mut self, work: &mut Work, tenant: i64, index: u32, price_id: i32, event: (i64, i128, i128)) {
        let end = self.catalogs.get(&tenant).and_then(|catalog| catalog.period_end(price_id)).cloned();
        if let Some(end) = end {
            self.count_period(work, index, &end, event);
        }
    }

    fn void_event_missing<T>(&self, hash: &Id) -> Result<T, Failure> {
        match self.stored_events.get(hash) {
            Some(None) => refuse("event_not_found", "no event has this idempotency key"),
            _ => Err(EngineError::NotLoaded("an event").into()),
        }
    }

    /// Voids an event that is not voided yet. Checks everything first; after that nothing can fail.
    fn void_event(&mut self, work: &mut Work, tenant: i64, key: &str, hash: Id, said: &Said<'_>) -> Result<Voided, Failure> {
        let Some(Some(event)) = self.stored_events.get(&hash) else {
            return self.void_event_missing(&hash);
        };
        let Some(index) = self.wallets.find_account(event.account) else { return Err(EngineError::NotLoaded("an event's wallet").into()) };
        let Some(wallet) = self.wallets.slots[index as usize].as_mut() else { return Err(EngineError::NotLoaded("a wallet").into()) };
        let slot = work.touch(index, wallet);
        if wallet.state.balance.checked_add(event.charge).is_none_or(|after| after >= AMOUNT_LIMIT) {
            return refuse("amount_out_of_range", "the balance would have more than 29 digits");
        }
        let opens =
            |part: &&Grant| part.is_real() && part.expires_us > work.now_us && wallet.state.grants.iter().all(|grant| grant.id != part.id);
        if wallet.state.grants.len() + event.parts.iter().filter(opens).count() > MAX_OPEN_GRANTS {
            return refuse("too_many_grants", format!("a customer has at most {MAX_OPEN_GRANTS} open grants"));
        }
        let counted = (event.price_id, event.occurred_us, event.quantity);
        let charge = event.charge;
        let place = i64::try_from(work.touched[slot].pending.len()).unwrap_or(i64::MAX);
        let posting_seq = if event.charge == 0 { 0 } else { wallet.state.seq + 1 + place };
        let parts = work.release(slot, wallet, PostingKind::Void, &event.parts, hash);
        let replaced_by = said.replaced_by.map(|(key, fingerprint)| (key.to_owned(), fingerprint));
        let void = Voided {
            account: event.account,
            voided_us: work.now_us,
            amount: event.charge,
            parts: parts.iter().map(|part| (part.id, part.remaining)).collect(),
            balance_after: wallet.state.balance,
            unbilled_after: wallet.state.unbilled,
            reason: said.reason.map(str::to_owned),
            replaced_by: replaced_by.clone(),
            answer: None,
        };
        work.voids.push(VoidRow {
            tenant,
            key_hash: hash,
            idempotency_key: key.to_owned(),
            account: event.account,
            commit_id: work.commit_id,
            voided_us: work.now_us,
            command_id: said.command_id,
            set_id: said.set_id,
            voided_by: said.by.to_owned(),
            reason: void.reason.clone(),
            event_commit_id: event.commit_id,
            event_posting_seq: event.posting_seq,
            posting_seq,
            metric_id: event.metric_id,
            price_id: event.price_id,
            occurred_us: event.occurred_us,
            quantity: event.quantity,
            charge: event.charge,
            dimensions: event.dimensions.clone(),
            parts: write_parts(&parts),
            balance_after: void.balance_after,
            unbilled_after: void.unbilled_after,
            replaced_by,
            counter_before: None,
        });
        let (price_id, occurred_us, quantity) = counted;
        let before =
            self.recount(work, tenant, index, (price_id, occurred_us), |counting, before| counting.without(before, quantity, charge));
        if let Some(row) = work.voids.last_mut() {
            row.counter_before = before;
        }
        self.recount_period(work, tenant, index, price_id, (occurred_us, -quantity, -charge));
        self.voids.insert(hash, Box::new(void.clone()));
        Ok(void)
    }
}
