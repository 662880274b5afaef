//! Wallet commands: grant, hold, capture, release, configure, and those of `refund.rs` and `void.rs`; and two that only concern
//! memory: catalog, warm.
//!
//! A command's id is its identity: the same id with the same content gets its first answer again, with other content a
//! conflict. A refusal is not remembered, unless the command says `decideOnce`: whoever keeps what became of it must never see a
//! copy of it, still on its way, decided otherwise. Check everything, then change: no command is half applied.

use serde::Deserialize;
use serde_json::{Value, json};
use smallvec::SmallVec;

use crate::balance::write_hex;
use crate::engine::{Engine, EngineError};
use crate::group::{Movement, Work, funding_account};
use crate::message::{EventReply, KIND_COMMAND, Message, UsageSection};
use crate::money::{AMOUNT_INTEGER_DIGITS, format_nano, parse_decimal_nano, parse_signed_decimal_nano};
use crate::outcome::Outcome;
use crate::posting::{Amounts, Id, PostingKind};
use crate::rate::{Currency, UnknownCustomers, currency_code};
use crate::time::format_us;
use crate::usage::{AMOUNT_LIMIT, Decided};
use crate::wallet::{Grant, GrantKind, Hold, HoldState, NEVER, write_parts};

/// Open grants of one wallet; their list travels with its postings, so it stays short.
pub(crate) const MAX_OPEN_GRANTS: usize = 100;

/// Integer digits of an amount in a command.
const COMMAND_DIGITS: usize = 18;

/// What every command says about itself.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// Which command.
    #[serde(rename = "type")]
    pub kind: String,
    /// 32 hex digits.
    pub command_id: Option<String>,
    /// The customer it is about.
    pub customer: Option<String>,
    /// The hold it is about, 32 hex digits.
    pub hold_id: Option<String>,
    /// The event it is about, by its idempotency key.
    pub key: Option<String>,
    /// The events it is about.
    pub keys: Option<Vec<String>>,
    /// `catalog`: the version that must be in memory.
    pub version: Option<i64>,
    /// A refusal is the answer for good.
    #[serde(default)]
    pub decide_once: bool,
}

impl Header {
    /// Reads it from a command's JSON.
    #[must_use]
    pub fn read(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// The hold it is about.
    #[must_use]
    pub fn hold(&self) -> Option<Id> {
        parse_hex(self.hold_id.as_deref()?)
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GrantCommand {
    customer: String,
    amount: String,
    currency: String,
    kind: String,
    priority: i16,
    expires_at_us: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HoldCommand {
    customer: String,
    amount: Option<String>,
    ttl_ms: i64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CaptureCommand {
    hold_id: String,
    amount: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConfigureCommand {
    customer: String,
    /// Of the wallet, when it is made; of one that is there it must be the same. Absent: the tenant's, or that of the wallet.
    currency: Option<String>,
    /// Absent: unchanged. Null: no floor.
    #[serde(default, deserialize_with = "present")]
    overdraft_limit: Option<Option<String>>,
    /// Absent: unchanged. Null: none.
    #[serde(default, deserialize_with = "present")]
    low_balance_threshold: Option<Option<String>>,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(deserializer).map(Some)
}

/// A refusal: a stable code and words.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) &'static str, String);

pub(crate) enum Failure {
    Refused(Refusal),
    Engine(EngineError),
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

pub(crate) fn refuse<T>(code: &'static str, detail: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Refused(Refusal(code, detail.into())))
}

pub(crate) fn parse_hex(text: &str) -> Option<Id> {
    let bytes = text.as_bytes();
    if bytes.len() != 32 {
        return None;
    }
    let mut id = [0_u8; 16];
    for (byte, pair) in id.iter_mut().zip(bytes.chunks_exact(2)) {
        let digit = |character: u8| (character as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(id)
}

pub(crate) fn public_id(prefix: &str, id: &Id) -> String {
    let mut text = prefix.as_bytes().to_vec();
    write_hex(&mut text, id);
    String::from_utf8(text).unwrap_or_default()
}

pub(crate) fn read<T: for<'de> Deserialize<'de>>(json: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(json).or_else(|error| refuse("invalid_command", error.to_string()))
}

pub(crate) fn positive(text: &str, name: &str) -> Result<i128, Failure> {
    match parse_decimal_nano(text.as_bytes(), COMMAND_DIGITS) {
        Ok(amount) if amount > 0 => Ok(amount),
        _ => refuse("invalid_amount", format!("{name} is not a positive decimal with at most 9 decimals")),
    }
}

/// Commands with an id are remembered with their answer; `catalog` and `warm` change nothing that lasts.
impl Engine {
    pub(crate) fn command_message(
        &mut self,
        work: &mut Work,
        message: &Message<'_>,
        json: &[u8],
        section: Option<&UsageSection<'_>>,
    ) -> Result<(), EngineError> {
        let answer = self.command(work, message, json, section)?;
        let mut reply = Vec::with_capacity(17 + answer.len());
        reply.extend_from_slice(&message.message_id);
        reply.push(KIND_COMMAND);
        reply.extend_from_slice(answer.as_bytes());
        work.replies.push((message.reply_to.to_vec(), message.message_id, reply));
        Ok(())
    }

    fn command(
        &mut self,
        work: &mut Work,
        message: &Message<'_>,
        json: &[u8],
        section: Option<&UsageSection<'_>>,
    ) -> Result<String, EngineError> {
        let tenant = message.tenant_id.cast_signed();
        let refusal = |code: &str, detail: &str| json!({"ok": false, "code": code, "detail": detail}).to_string();
        let Some(header) = Header::read(json) else { return Ok(refusal("invalid_command", "the command cannot be read")) };
        match header.kind.as_str() {
            "catalog" => return Ok(json!({"ok": true}).to_string()),
            "warm" => {
                if let Some(index) = header.customer.and_then(|customer| self.wallets.find(tenant, &customer)) {
                    work.warm.push(index);
                }
                return Ok(json!({"ok": true}).to_string());
            }
            _ => {}
        }
        let Some(id) = header.command_id.as_deref().and_then(parse_hex) else {
            return Ok(refusal("invalid_command", "commandId is not 32 hex digits"));
        };
        let fingerprint = fingerprint(json, section);
        if let Some((owner, known, result)) = self.commands.get(&id)
            && *owner == tenant
        {
            return Ok(if *known == fingerprint {
                result.clone()
            } else {
                refusal("idempotency_conflict", "this Idempotency-Key was used with other content")
            });
        }
        let outcome = match header.kind.as_str() {
            "grant" => self.grant(work, tenant, id, json),
            "hold" => self.hold(work, tenant, id, json, section),
            "capture" => self.capture(work, tenant, json, section),
            "release" => self.release_hold(work, tenant, json),
            "configure" => self.configure(work, tenant, json),
            "refund" => self.refund(work, tenant, id, json),
            "void" => self.void(work, tenant, id, json),
            "void_set" => self.void_set(work, tenant, id, json),
            "amend" => self.amend(work, tenant, id, json, section),
            _ => refuse("invalid_command", "unknown type of command"),
        };
        let result = match outcome {
            Ok(result) => result.to_string(),
            Err(Failure::Refused(Refusal(code, detail))) if header.decide_once => refusal(code, &detail),
            Err(Failure::Refused(Refusal(code, detail))) => {
                work.refused_commands.push((tenant, id));
                return Ok(refusal(code, &detail));
            }
            Err(Failure::Engine(error)) => return Err(error),
        };
        self.commands.insert(id, (tenant, fingerprint, result.clone()));
        work.new_commands.push((tenant, id));
        let rows = &mut work.commands;
        rows.row(5);
        rows.int8(tenant);
        rows.uuid(&id);
        rows.int8(fingerprint.cast_signed());
        rows.int8(work.commit_id);
        rows.bytes(result.as_bytes());
        Ok(result)
    }

    /// The wallet a command is about, made when the merchant wants that.
    fn customer_wallet(
        &mut self,
        work: &mut Work,
        tenant: i64,
        name: &str,
        currency: Option<Currency>,
        create: bool,
    ) -> Result<u32, Failure> {
        if let Some(index) = self.wallets.find(tenant, name) {
            return Ok(index);
        }
        if !create {
            return refuse("unknown_customer", "no such customer");
        }
        Ok(self.create_wallet(work, tenant, name, currency)?)
    }

    fn creates_customers(&self, tenant: i64) -> Result<bool, Failure> {
        let catalog = self.catalogs.get(&tenant).ok_or(EngineError::NotLoaded("a catalogue"))?;
        Ok(catalog.unknown_customers == UnknownCustomers::Create)
    }

    pub(crate) fn balance_of(&self, index: u32) -> Value {
        self.wallets.slots[index as usize].as_ref().map_or(Value::Null, |wallet| amounts_value(wallet.state.amounts()))
    }

    fn grant(&mut self, work: &mut Work, tenant: i64, id: Id, json: &[u8]) -> Result<Value, Failure> {
        let command: GrantCommand = read(json)?;
        let amount = positive(&command.amount, "amount")?;
        let Some(kind) = GrantKind::from_name(&command.kind) else {
            return refuse("invalid_grant_kind", "kind is paid, bonus or promotional");
        };
        if command.expires_at_us.is_some_and(|expires| expires <= work.now_us) {
            return refuse("expired_grant", "expiresAt is not in the future");
        }
        let tenant_currency = self.catalogs.get(&tenant).ok_or(EngineError::NotLoaded("a catalogue"))?.currency;
        let currency = currency_code(&command.currency);
        match self.wallets.find(tenant, &command.customer).and_then(|index| self.wallets.slots[index as usize].as_ref()) {
            Some(wallet) if wallet.state.grants.len() >= MAX_OPEN_GRANTS => {
                return refuse("too_many_grants", format!("a customer has at most {MAX_OPEN_GRANTS} open grants"));
            }
            Some(wallet) if wallet.state.balance.checked_add(amount).is_none_or(|after| after >= AMOUNT_LIMIT) => {
                return refuse("amount_out_of_range", "the balance would have more than 29 digits");
            }
            Some(wallet) if currency != Some(wallet.currency) => return refuse("currency_mismatch", "the wallet has another currency"),
            None if currency != Some(tenant_currency) => return refuse("currency_mismatch", "the merchant has another currency"),
            _ => {}
        }
        let create = self.creates_customers(tenant)?;
        let index = self.customer_wallet(work, tenant, &command.customer, currency, create)?;
        let Some(wallet) = self.wallets.slots[index as usize].as_mut() else { return Err(EngineError::NotLoaded("a wallet").into()) };
        let slot = work.touch(index, wallet);
        let expires_us = command.expires_at_us.unwrap_or(NEVER);
        let grant = Grant { id, remaining: amount, expires_us, created_us: work.now_us, priority: command.priority, kind };
        wallet.state.credit(Some(&grant), amount);
        work.touched[slot].post(
            wallet.account,
            wallet.state.amounts(),
            Movement { kind: PostingKind::Grant, funding: funding_account(kind), amount, grant: id, reference: id },
        );
        let rows = &mut work.grants;
        rows.row(10);
        rows.int8(tenant);
        rows.uuid(&id);
        rows.int8(wallet.account);
        rows.bytes(kind.name().as_bytes());
        rows.int2(command.priority);
        rows.numeric(amount);
        rows.bytes(&wallet.currency);
        rows.timestamp_or_null(command.expires_at_us);
        rows.timestamp(work.now_us);
        rows.int8(work.commit_id);
        Ok(json!({
            "ok": true,
            "grantId": public_id("gr_", &id),
            "customerExternalId": command.customer,
            "amount": format_nano(amount),
            "currency": command.currency,
            "kind": kind.name(),
            "priority": command.priority,
            "expiresAt": command.expires_at_us.map(format_us),
            "createdAt": format_us(work.now_us),
            "balance": self.balance_of(index),
        }))
    }

    fn hold(&mut self, work: &mut Work, tenant: i64, id: Id, json: &[u8], section: Option<&UsageSection<'_>>) -> Result<Value, Failure> {
        let command: HoldCommand = read(json)?;
        let amount = match (&command.amount, section) {
            (Some(text), None) => positive(text, "amount")?,
            (None, Some(section)) => self.estimate(work.now_us, tenant, &command.customer, section)?,
            _ => return refuse("invalid_command", "a hold takes an amount or events"),
        };
        let accrues = self.catalogs.get(&tenant).ok_or(EngineError::NotLoaded("a catalogue"))?.accrues;
        let Some(index) = self.wallets.find(tenant, &command.customer) else { return refuse("unknown_customer", "no such customer") };
        let Some(wallet) = self.wallets.slots[index as usize].as_mut() else { return Err(EngineError::NotLoaded("a wallet").into()) };
        let slot = work.touch(index, wallet);
        if !wallet.state.affords(amount, accrues) {
            return refuse("insufficient_balance", format!("{} available", format_nano(wallet.state.balance)));
        }
        let parts = work.debit(slot, wallet, PostingKind::Hold, amount, accrues, id);
        let expires_us = work.now_us.saturating_add(command.ttl_ms.saturating_mul(1_000));
        let (account, currency) = (wallet.account, String::from_utf8_lossy(&wallet.currency).into_owned());
        let rows = &mut work.holds;
        rows.row(8);
        rows.int8(tenant);
        rows.uuid(&id);
        rows.int8(account);
        rows.numeric(amount);
        rows.bytes(&write_parts(&parts));
        rows.timestamp(expires_us);
        rows.timestamp(work.now_us);
        rows.int8(work.commit_id);
        self.open_hold(work, (tenant, id), Hold { account, amount, expires_us, parts });
        Ok(json!({
            "ok": true,
            "holdId": public_id("hold_", &id),
            "customerExternalId": command.customer,
            "amount": format_nano(amount),
            "currency": currency,
            "status": "open",
            "expiresAt": format_us(expires_us),
            "createdAt": format_us(work.now_us),
            "balance": self.balance_of(index),
        }))
    }

    /// What these events would be charged if they came now, in this order: a capture with the same events right after comes to as much.
    /// It may be nothing, where they are free or priced at the end of the period: such a hold is one of zero, so that whoever holds
    /// before the work need not know which work that is.
    fn estimate(&mut self, now_us: i64, tenant: i64, customer: &str, section: &UsageSection<'_>) -> Result<i128, Failure> {
        let payer = self.wallets.find(tenant, customer);
        let mut total = 0_i128;
        for (event, charge) in section.events.iter().zip(self.quote(now_us, tenant, payer, section)?) {
            let charge = charge.or_else(|outcome| refuse(outcome.code(), format!("event {}: {}", event.index, outcome.detail())))?;
            let Some(sum) = total.checked_add(charge).filter(|sum| *sum < AMOUNT_LIMIT) else {
                return refuse("amount_out_of_range", "the estimate is too large");
            };
            total = sum;
        }
        Ok(total)
    }

    /// An open hold that is not past its time.
    fn open_hold_of(&self, work: &Work, key: (i64, Id)) -> Result<Hold, Failure> {
        match self.holds.get(&key) {
            None => refuse("hold_not_found", "no such hold"),
            Some(HoldState::Closed("expired")) => refuse("hold_expired", "the hold has expired"),
            Some(HoldState::Closed(status)) => refuse("hold_closed", format!("the hold is {status}")),
            Some(HoldState::Open(hold)) if hold.expires_us <= work.now_us => refuse("hold_expired", "the hold has expired"),
            Some(HoldState::Open(hold)) => Ok(hold.clone()),
        }
    }

    fn release_hold(&mut self, work: &mut Work, tenant: i64, json: &[u8]) -> Result<Value, Failure> {
        let command: CaptureCommand = read(json)?;
        let Some(id) = parse_hex(&command.hold_id) else { return refuse("hold_not_found", "no such hold") };
        let hold = self.open_hold_of(work, (tenant, id))?;
        let Some((index, _)) = self.close_hold(work, (tenant, id), PostingKind::Release) else {
            return Err(EngineError::NotLoaded("a hold's wallet").into());
        };
        Ok(json!({
            "ok": true,
            "holdId": public_id("hold_", &id),
            "status": "released",
            "captured": "0",
            "released": format_nano(hold.amount),
            "balance": self.balance_of(index),
        }))
    }

    fn capture(&mut self, work: &mut Work, tenant: i64, json: &[u8], section: Option<&UsageSection<'_>>) -> Result<Value, Failure> {
        let command: CaptureCommand = read(json)?;
        let Some(id) = parse_hex(&command.hold_id) else { return refuse("hold_not_found", "no such hold") };
        let key = (tenant, id);
        let hold = self.open_hold_of(work, key)?;
        if let Some(section) = section {
            if command.amount.is_some() {
                return refuse("invalid_command", "a capture takes an amount or events, not both");
            }
            return self.capture_events(work, key, &hold, section);
        }
        let amount = match &command.amount {
            Some(text) => positive(text, "amount")?,
            None => hold.amount,
        };
        if amount > hold.amount {
            return refuse("capture_exceeds_hold", format!("the hold is for {}", format_nano(hold.amount)));
        }
        let Some(index) = self.wallets.find_account(hold.account) else { return Err(EngineError::NotLoaded("a hold's wallet").into()) };
        let Some(wallet) = self.wallets.slots[index as usize].as_mut() else { return Err(EngineError::NotLoaded("a wallet").into()) };
        let slot = work.touch(index, wallet);
        // Captured in the order of spending; what is left goes back to the grants that paid last.
        let (mut taken, mut left): (SmallVec<[Grant; 1]>, SmallVec<[Grant; 1]>) = (SmallVec::new(), SmallVec::new());
        let mut due = amount;
        for part in &hold.parts {
            let used = part.remaining.min(due);
            due -= used;
            if used > 0 {
                taken.push(Grant { remaining: used, ..*part });
            }
            if part.remaining > used {
                left.push(Grant { remaining: part.remaining - used, ..*part });
            }
        }
        work.capture(slot, wallet, &taken, id);
        work.release(slot, wallet, PostingKind::Release, &left, id);
        work.closed_holds.push((tenant, id, "captured", amount));
        self.close_in_memory(work, key, "captured");
        Ok(json!({
            "ok": true,
            "holdId": public_id("hold_", &id),
            "status": "captured",
            "captured": format_nano(amount),
            "released": format_nano(hold.amount - amount),
            "balance": self.balance_of(index),
        }))
    }

    /// Gives the hold back and takes the actual events as usage, in one step. All of them must be the hold's customer's. Where the
    /// balance with what was on hold does not cover them all, nothing happens and the hold stays open: the work is done, so the
    /// money for it must not be let go. The client can try again after a top-up, or capture what is held.
    fn capture_events(&mut self, work: &mut Work, key: (i64, Id), hold: &Hold, section: &UsageSection<'_>) -> Result<Value, Failure> {
        let Some(index) = self.wallets.find_account(hold.account) else { return Err(EngineError::NotLoaded("a hold's wallet").into()) };
        let name = self.wallets.slots[index as usize].as_ref().map(|wallet| wallet.external_id.clone()).unwrap_or_default();
        if section.customers.iter().any(|customer| **customer != *name) {
            return refuse("customer_mismatch", "an event belongs to another customer than the hold");
        }
        let accrues = self.catalogs.get(&key.0).ok_or(EngineError::NotLoaded("a catalogue"))?.accrues;
        let due = self.quote_new(work.now_us, key.0, index, section)?;
        if !due.is_some_and(|due| self.affords_instead(work.now_us, index, hold, due, accrues)) {
            let due = due.map_or_else(|| "too much".to_owned(), format_nano);
            return refuse(
                "insufficient_balance",
                format!("the events cost {due}, more than is available and on hold: the hold stays open"),
            );
        }
        if self.close_hold(work, key, PostingKind::Release).is_none() {
            return Err(EngineError::NotLoaded("a hold's wallet").into());
        }
        let decided = self.decide(work, key.0, section)?;
        if let Some(closed) = work.closed_holds.last_mut() {
            (closed.2, closed.3) = ("captured", decided.charged);
        }
        if let Some(state) = self.holds.get_mut(&key) {
            *state = HoldState::Closed("captured");
        }
        Ok(json!({
            "ok": true,
            "holdId": public_id("hold_", &key.1),
            "status": "captured",
            "captured": format_nano(decided.charged),
            "released": format_nano((hold.amount - decided.charged).max(0)),
            "balance": self.balance_of(index),
            "usage": usage_value(&decided),
        }))
    }

    fn configure(&mut self, work: &mut Work, tenant: i64, json: &[u8]) -> Result<Value, Failure> {
        let command: ConfigureCommand = read(json)?;
        let limit = match &command.overdraft_limit {
            None => None,
            Some(None) => Some(None),
            Some(Some(text)) => match parse_decimal_nano(text.as_bytes(), COMMAND_DIGITS) {
                Ok(limit) => Some(Some(limit)),
                Err(_) => return refuse("invalid_amount", "overdraftLimit is not a decimal of zero or more"),
            },
        };
        let threshold = match &command.low_balance_threshold {
            None => None,
            Some(None) => Some(None),
            Some(Some(text)) => match parse_signed_decimal_nano(text.as_bytes(), AMOUNT_INTEGER_DIGITS) {
                Ok(threshold) => Some(Some(threshold)),
                Err(_) => return refuse("invalid_amount", "lowBalanceThreshold is not a decimal"),
            },
        };
        let currency = match command.currency.as_deref().map(currency_code) {
            Some(None) => return refuse("invalid_currency", "currency is not three capital letters"),
            None => None,
            Some(wanted) => wanted,
        };
        let known = self.wallets.find(tenant, &command.customer).and_then(|index| self.wallets.slots[index as usize].as_ref());
        if let (Some(wallet), Some(wanted)) = (known, currency)
            && wallet.currency != wanted
        {
            return refuse("currency_mismatch", format!("the wallet is in {}", String::from_utf8_lossy(&wallet.currency)));
        }
        let index = self.customer_wallet(work, tenant, &command.customer, currency, true)?;
        let Some(wallet) = self.wallets.slots[index as usize].as_mut() else { return Err(EngineError::NotLoaded("a wallet").into()) };
        let slot = work.touch(index, wallet);
        work.touched[slot].configured = true;
        if let Some(limit) = limit {
            wallet.state.overdraft_limit = limit;
        }
        if let Some(threshold) = threshold {
            wallet.state.low_balance_threshold = threshold;
        }
        let state = &wallet.state;
        Ok(json!({
            "ok": true,
            "externalId": command.customer,
            "currency": String::from_utf8_lossy(&wallet.currency),
            "overdraftLimit": state.overdraft_limit.map(format_nano),
            "lowBalanceThreshold": state.low_balance_threshold.map(format_nano),
        }))
    }
}

fn amounts_value(amounts: Amounts) -> Value {
    let Amounts { balance, held, unbilled } = amounts;
    json!({"available": format_nano(balance), "held": format_nano(held), "unbilled": format_nano(unbilled)})
}

/// 64 bits of blake3 over what a command says.
fn fingerprint(json: &[u8], section: Option<&UsageSection<'_>>) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(json.len() as u64).to_le_bytes());
    hasher.update(json);
    if let Some(section) = section {
        let mut bytes = Vec::new();
        // What cannot be encoded was never a message.
        let _ = section.append_to(&mut bytes);
        hasher.update(&bytes);
    }
    let mut first = [0_u8; 8];
    hasher.finalize_xof().fill(&mut first);
    u64::from_le_bytes(first)
}

fn usage_value(decided: &Decided) -> Value {
    let count = |wanted: fn(Outcome) -> bool| decided.outcomes.iter().filter(|event| wanted(event.outcome)).count();
    let accepted = count(|outcome| outcome == Outcome::Accepted);
    let duplicates = count(|outcome| outcome == Outcome::Duplicate);
    let results: Vec<Value> = decided
        .outcomes
        .iter()
        .map(|EventReply { index, outcome, charge_nano }| match outcome {
            Outcome::Accepted => json!({"index": index, "outcome": "accepted", "charge": format_nano(*charge_nano)}),
            Outcome::Duplicate => json!({"index": index, "outcome": "duplicate"}),
            Outcome::Conflict => json!({"index": index, "outcome": "conflict", "code": outcome.code()}),
            _ => json!({"index": index, "outcome": "rejected", "code": outcome.code()}),
        })
        .collect();
    json!({
        "accepted": accepted,
        "duplicates": duplicates,
        "rejected": decided.outcomes.len() - accepted - duplicates,
        "charged": format_nano(decided.charged),
        "results": results,
    })
}
