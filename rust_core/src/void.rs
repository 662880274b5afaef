//! Corrections of usage: an event is voided, or voided and replaced by a new one in the same step.
//!
//! Nothing stored changes. A void is a row of its own and new postings that name what they reverse. The charge goes back part
//! by part to the grants that paid it, the last first: what was overdraft first repays overdraft, and what came from a grant
//! that has expired expires again at once. A free event is voided without a posting. An event is voided once, whoever asks how
//! often: a repetition gets the first void. Its key stays taken for ever.

use serde::Deserialize;
use serde_json::{Value, json};
use smallvec::SmallVec;

use crate::command::{Failure, MAX_OPEN_GRANTS, parse_hex, public_id, read, refuse};
use crate::copy::{CopyError, CopyWriter};
use crate::counter::{CounterKey, KEPT_FOR_US, Moved};
use crate::engine::{Engine, EngineError};
use crate::group::Work;
use crate::identity::key_hash;
use crate::message::UsageSection;
use crate::money::format_nano;
use crate::outcome::Outcome;
use crate::posting::{Digest, Id, PostingKind};
use crate::time::format_us;
use crate::usage::AMOUNT_LIMIT;
use crate::verify::{Row, field, id, int, numeric, optional, text, time};
use crate::wallet::{Grant, Wallet, write_parts};

/// Events of one command: what must be loaded for them stays small, so that nobody waits long behind it.
const MAX_KEYS: usize = 500;

/// Columns of `usage_voids`, in the order of [`VoidRow::write`].
pub const VOID_COLUMNS: &[&str] = &[
    "tenant_id",
    "key_hash",
    "idempotency_key",
    "account_id",
    "commit_id",
    "voided_at",
    "command_id",
    "set_id",
    "voided_by",
    "reason",
    "event_commit_id",
    "event_posting_seq",
    "posting_seq",
    "metric_id",
    "price_id",
    "occurred_at",
    "quantity",
    "charge",
    "dimensions",
    "parts",
    "balance_after",
    "replaced_by",
    "replaced_fingerprint",
    "counter_before",
];

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
    /// Who paid: `remaining` is the part; a zero id is overdraft. In the order of paying.
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
    /// To which grants, in the order in which they had paid; a zero id is overdraft.
    pub parts: Vec<(Id, i128)>,
    /// What was available after it, nano-units.
    pub balance_after: i128,
    /// The merchant's words.
    pub reason: Option<String>,
    /// Key and fingerprint of the event that amends it.
    pub replaced_by: Option<(String, u64)>,
    /// The answer to the amendment, JSON.
    pub answer: Option<String>,
}

/// One row of `usage_voids`. Its hash goes into the digest of its commit, after the postings.
#[derive(Debug, Clone)]
pub struct VoidRow {
    /// The tenant.
    pub tenant: i64,
    /// The event's identity.
    pub key_hash: Id,
    /// The event's key.
    pub idempotency_key: String,
    /// The wallet's account.
    pub account: i64,
    /// The commit of the void.
    pub commit_id: i64,
    /// Microseconds since the Unix epoch.
    pub voided_us: i64,
    /// The command that asked for it.
    pub command_id: Id,
    /// The digest of the set that it was voided with; zero: alone.
    pub set_id: Id,
    /// The API key that asked for it.
    pub voided_by: String,
    /// The merchant's words.
    pub reason: Option<String>,
    /// The commit of the event.
    pub event_commit_id: i64,
    /// The posting that the event's charge begins in; 0: free of charge.
    pub event_posting_seq: i64,
    /// The first posting that gives it back; 0: nothing to give back.
    pub posting_seq: i64,
    /// Of the event.
    pub metric_id: i32,
    /// Of the event.
    pub price_id: i32,
    /// Of the event, microseconds since the Unix epoch.
    pub occurred_us: i64,
    /// Of the event, nano-units.
    pub quantity: i128,
    /// Of the event, nano-units: what is given back.
    pub charge: i128,
    /// Of the event, canonical JSON.
    pub dimensions: String,
    /// 32 bytes each: a grant and what it gets back.
    pub parts: Vec<u8>,
    /// What was available after it, nano-units.
    pub balance_after: i128,
    /// Key and fingerprint of the event that amends it.
    pub replaced_by: Option<(String, u64)>,
    /// Nano-units that its counter was at before the void; `None`: nothing is counted, or nothing more in that period.
    pub counter_before: Option<i128>,
}

impl VoidRow {
    /// blake3 over the row's canonical bytes.
    #[must_use]
    pub fn hash(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        let mut long = |bytes: Option<&[u8]>| {
            // None and empty differ: a length of 2^32 − 1 stands for NULL.
            let length = bytes.map_or(u32::MAX, |bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX - 1));
            hasher.update(&length.to_le_bytes()).update(bytes.unwrap_or_default());
        };
        long(Some(self.idempotency_key.as_bytes()));
        long(Some(self.voided_by.as_bytes()));
        long(self.reason.as_deref().map(str::as_bytes));
        long(Some(self.dimensions.as_bytes()));
        long(Some(&self.parts));
        long(self.replaced_by.as_ref().map(|(key, _)| key.as_bytes()));
        long(self.counter_before.map(i128::to_le_bytes).as_ref().map(<[u8; 16]>::as_slice));
        hasher.update(&self.replaced_by.as_ref().map_or(0, |(_, print)| *print).to_le_bytes());
        for number in [
            self.tenant,
            self.account,
            self.commit_id,
            self.voided_us,
            self.event_commit_id,
            self.event_posting_seq,
            self.posting_seq,
            self.metric_id.into(),
            self.price_id.into(),
            self.occurred_us,
        ] {
            hasher.update(&number.to_le_bytes());
        }
        for id in [&self.key_hash, &self.command_id, &self.set_id] {
            hasher.update(id);
        }
        for amount in [self.quantity, self.charge, self.balance_after] {
            hasher.update(&amount.to_le_bytes());
        }
        *hasher.finalize().as_bytes()
    }

    /// Reads a row of `usage_voids`, with the columns of [`VOID_COLUMNS`].
    ///
    /// # Errors
    /// When it is not one.
    pub(crate) fn read(row: Row<'_>) -> Result<Self, CopyError> {
        let narrow = |index| int(row, index).and_then(|wide| i32::try_from(wide).map_err(|_| CopyError("not an integer")));
        let owned = |index| text(row, index).map(str::to_owned);
        let owned_or_null = |index| optional(row, index).and_then(|bytes| bytes.map(|_| owned(index)).transpose());
        let replaced_by = owned_or_null(21)?.map(|key| int(row, 22).map(|print| (key, print.cast_unsigned()))).transpose()?;
        Ok(Self {
            tenant: int(row, 0)?,
            key_hash: id(row, 1)?,
            idempotency_key: owned(2)?,
            account: int(row, 3)?,
            commit_id: int(row, 4)?,
            voided_us: time(row, 5)?,
            command_id: id(row, 6)?,
            set_id: id(row, 7)?,
            voided_by: owned(8)?,
            reason: owned_or_null(9)?,
            event_commit_id: int(row, 10)?,
            event_posting_seq: int(row, 11)?,
            posting_seq: int(row, 12)?,
            metric_id: narrow(13)?,
            price_id: narrow(14)?,
            occurred_us: time(row, 15)?,
            quantity: numeric(row, 16)?,
            charge: numeric(row, 17)?,
            dimensions: owned(18)?,
            parts: field(row, 19)?.to_vec(),
            balance_after: numeric(row, 20)?,
            replaced_by,
            counter_before: optional(row, 23)?.map(|_| numeric(row, 23)).transpose()?,
        })
    }

    /// Writes it as a row of `usage_voids`.
    pub fn write(&self, rows: &mut CopyWriter) {
        rows.row(24);
        rows.int8(self.tenant);
        rows.uuid(&self.key_hash);
        rows.bytes(self.idempotency_key.as_bytes());
        rows.int8(self.account);
        rows.int8(self.commit_id);
        rows.timestamp(self.voided_us);
        rows.uuid(&self.command_id);
        rows.uuid_or_null(&self.set_id);
        rows.bytes(self.voided_by.as_bytes());
        rows.bytes_or_null(self.reason.as_deref().map(str::as_bytes));
        rows.int8s([self.event_commit_id, self.event_posting_seq, self.posting_seq]);
        rows.int4(self.metric_id);
        rows.int4(self.price_id);
        rows.timestamp(self.occurred_us);
        rows.numeric(self.quantity);
        rows.numeric(self.charge);
        rows.bytes(self.dimensions.as_bytes());
        rows.bytes(&self.parts);
        rows.numeric(self.balance_after);
        match &self.replaced_by {
            Some((key, fingerprint)) => {
                rows.bytes(key.as_bytes());
                rows.int8(fingerprint.cast_signed());
            }
            None => {
                rows.null();
                rows.null();
            }
        }
        rows.numeric_or_null(self.counter_before);
    }
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
            .map(|(id, amount)| json!({"grantId": (*id != [0; 16]).then(|| public_id("gr_", id)), "amount": format_nano(*amount)}))
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
        let (mut voided, mut already, mut amount, mut refused) = (0, 0, 0_i128, Vec::new());
        for key in &command.keys {
            let hash = key_hash(tenant.cast_unsigned(), key.as_bytes());
            if self.void_of(&hash).is_some() {
                already += 1;
                continue;
            }
            match self.void_event(work, tenant, key, hash, &said) {
                Ok(void) => {
                    voided += 1;
                    amount = amount.checked_add(void.amount).ok_or(EngineError::Range)?;
                }
                Err(Failure::Refused(refusal)) => refused.push(json!({"idempotencyKey": key, "code": refusal.0})),
                Err(failure) => return Err(failure),
            }
        }
        Ok(json!({"ok": true, "voided": voided, "alreadyVoided": already, "amount": format_nano(amount), "refused": refused}))
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
            if let Some(row) = row.filter(|row| row.counter_before.is_some()) {
                self.recount(work, tenant, index, (row.price_id, row.occurred_us, row.quantity));
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
        });
        self.voids.insert(hash, Box::new(Voided { answer: Some(answer.to_string()), ..void }));
        Ok(answer)
    }

    /// Moves the counter of an event's line in its period by a quantity, while usage of that period can still come: later events go on
    /// from there, earlier charges stay. Gives where it was; `None`: nothing is counted there.
    fn recount(&mut self, work: &mut Work, tenant: i64, index: u32, (price_id, occurred_us, change): (i32, i64, i128)) -> Option<i128> {
        let counting = self.catalogs.get(&tenant)?.counting(price_id)?;
        let period_start_us = counting.periods.start_of(occurred_us).ok()?;
        if period_start_us < work.now_us - KEPT_FOR_US {
            return None;
        }
        let key = CounterKey { period_start_us, counter_id: counting.counter_id };
        let wallet = self.wallets.slots[index as usize].as_mut()?;
        let place = wallet.counters.find(key);
        let before = wallet.counters.used(place);
        let after = before.checked_add(change).filter(|after| *after >= 0)?;
        let moved = Moved { wallet: index, tenant, account: wallet.account, key, before, after };
        let held = wallet.counters.len();
        wallet.counters.advance(place, moved, &mut work.counters, work.group_id, work.now_us);
        self.wallets.counters = self.wallets.counters + wallet.counters.len() - held;
        Some(before)
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
        let opens = |part: &&Grant| {
            part.id != [0; 16] && part.expires_us > work.now_us && wallet.state.grants.iter().all(|grant| grant.id != part.id)
        };
        if wallet.state.grants.len() + event.parts.iter().filter(opens).count() > MAX_OPEN_GRANTS {
            return refuse("too_many_grants", format!("a customer has at most {MAX_OPEN_GRANTS} open grants"));
        }
        let counted = (event.price_id, event.occurred_us, event.quantity);
        let place = i64::try_from(work.touched[slot].pending.len()).unwrap_or(i64::MAX);
        let posting_seq = if event.charge == 0 { 0 } else { wallet.state.seq + 1 + place };
        work.release(slot, wallet, PostingKind::Void, &event.parts, hash);
        let replaced_by = said.replaced_by.map(|(key, fingerprint)| (key.to_owned(), fingerprint));
        let void = Voided {
            account: event.account,
            voided_us: work.now_us,
            amount: event.charge,
            parts: event.parts.iter().map(|part| (part.id, part.remaining)).collect(),
            balance_after: wallet.state.balance,
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
            parts: write_parts(&event.parts),
            balance_after: void.balance_after,
            replaced_by,
            counter_before: None,
        });
        let before = self.recount(work, tenant, index, (counted.0, counted.1, -counted.2));
        if let Some(row) = work.voids.last_mut() {
            row.counter_before = before;
        }
        self.voids.insert(hash, Box::new(void.clone()));
        Ok(void)
    }
}
