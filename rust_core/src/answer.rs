//! What is done with a decoded batch: ask Redis what is known, hand the rest to the core, answer the client.

use std::collections::HashMap;
use std::hash::BuildHasher;

use crate::batch::{DecodedBatch, DecodedEvent, InvalidEvent, param};
use crate::identity::KEY_HASH_LENGTH;
use crate::json::write_string;
use crate::message::{EventReply, Header, Mark, MessageError, Shape, UsageEvent, UsageReply, UsageSection, usage_message};
use crate::money::write_nano;
use crate::outcome::Outcome;
use crate::resp::{append_argument, append_header};

/// Bytes of a member of the sets of seen batches: tenant and mark.
pub const MEMBER_LENGTH: usize = 24;

/// A reply of Redis or of the core that does not fit the batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// Not a reply's body.
    #[error("the core's reply cannot be read: {0}")]
    Reply(#[from] MessageError),
    /// Another batch's reply: events or customers do not match.
    #[error("the core's reply is not about this batch")]
    Mismatch,
    /// A sum beyond i128.
    #[error("the charges are out of range")]
    Range,
}

/// Marks of seen batches lie in this many sets for each generation, told apart by the mark's first bits: small ones, so
/// that letting go of an old one holds nobody up.
pub const SEEN_SHARDS: u8 = 16;

/// The Redis set of a mark: `generation:shard`, the shard in hex.
pub fn seen_key(generation: &[u8], mark: &Mark) -> Vec<u8> {
    let digit = char::from_digit(u32::from(mark[0] >> 4), 16).unwrap_or('0');
    [generation, b":", digit.to_string().as_bytes()].concat()
}

/// The member of a set of seen batches. The tenant is part of it, so that nobody can mark what another will send.
pub fn seen_member(tenant_id: u64, mark: &Mark) -> [u8; MEMBER_LENGTH] {
    let mut member = [0; MEMBER_LENGTH];
    let (owner, rest) = member.split_at_mut(8);
    owner.copy_from_slice(&tenant_id.to_le_bytes());
    rest.copy_from_slice(mark);
    member
}

/// The customers and shapes of the pending events, renumbered so that nothing else travels.
struct Renumbered {
    /// Old numbers in the order of the new ones.
    customers: Vec<u16>,
    shapes: Vec<u16>,
    new_customer: Vec<u16>,
    new_shape: Vec<u16>,
}

/// Marks an old number that no pending event has.
const UNUSED: u16 = u16::MAX;

fn renumber(old: u16, new_by_old: &mut [u16], old_by_new: &mut Vec<u16>) {
    if let Some(new) = new_by_old.get_mut(usize::from(old))
        && *new == UNUSED
    {
        *new = u16::try_from(old_by_new.len()).unwrap_or(UNUSED);
        old_by_new.push(old);
    }
}

impl DecodedBatch {
    /// Valid events that are not known as duplicates: what the core has yet to decide. All of them or none.
    pub fn pending(&self) -> usize {
        self.pending_events().len()
    }

    fn pending_events(&self) -> &[DecodedEvent] {
        if self.seen { &[] } else { &self.events }
    }

    /// RESP bytes and how many answers they get: for each generation one SISMEMBER, answered by 1 where the batch is known.
    pub fn seen_command(&self, generations: &[&[u8]]) -> (Vec<u8>, usize) {
        let mut buffer = Vec::with_capacity(generations.len() * 128);
        for generation in generations {
            append_header(&mut buffer, 3);
            append_argument(&mut buffer, b"SISMEMBER");
            append_argument(&mut buffer, &seen_key(generation, &self.mark));
            append_argument(&mut buffer, &seen_member(self.tenant_id, &self.mark));
        }
        (buffer, generations.len())
    }

    /// All valid events are known as committed. Comes before `message`.
    pub const fn mark_seen(&mut self) {
        self.seen = true;
    }

    fn renumbered(&self) -> Renumbered {
        let mut numbers = Renumbered {
            customers: Vec::with_capacity(self.customers()),
            shapes: Vec::with_capacity(self.shapes()),
            new_customer: vec![UNUSED; self.customers()],
            new_shape: vec![UNUSED; self.shapes()],
        };
        for event in self.pending_events() {
            renumber(event.customer, &mut numbers.new_customer, &mut numbers.customers);
            renumber(event.shape, &mut numbers.new_shape, &mut numbers.shapes);
        }
        numbers
    }

    fn usage_section(&self) -> UsageSection<'_> {
        let numbers = self.renumbered();
        let new = |table: &[u16], old: u16| table.get(usize::from(old)).copied().unwrap_or(UNUSED);
        UsageSection {
            customers: numbers.customers.iter().map(|old| self.customer(*old)).collect(),
            shapes: numbers
                .shapes
                .iter()
                .map(|old| {
                    let (metric, dimensions) = self.shape(*old);
                    Shape { metric, dimensions }
                })
                .collect(),
            events: self
                .pending_events()
                .iter()
                .map(|event| UsageEvent {
                    key_hash: event.key_hash,
                    fingerprint: event.fingerprint,
                    index: event.index,
                    customer: new(&numbers.new_customer, event.customer),
                    shape: new(&numbers.new_shape, event.shape),
                    quantity_nano: event.quantity_nano,
                    occurred_us: event.occurred_us,
                    idempotency_key: self.idempotency_key(event),
                })
                .collect(),
        }
    }

    /// The inbox message for the pending events.
    pub fn message(&self, message_id: [u8; 16], reply_to: &[u8], redelivered: bool) -> Result<Vec<u8>, MessageError> {
        let header = Header { redelivered, tenant_id: self.tenant_id, message_id, reply_to, mark: self.mark };
        usage_message(header, &self.usage_section())
    }

    /// Only the usage section, to embed in a command.
    pub fn section(&self) -> Result<Vec<u8>, MessageError> {
        let mut buffer = Vec::new();
        self.usage_section().append_to(&mut buffer)?;
        Ok(buffer)
    }

    /// JSON array of the results of the events that failed validation.
    pub fn problems(&self) -> Vec<u8> {
        let mut results = Results::default();
        for event in &self.invalid {
            self.write_invalid(&mut results, event);
        }
        results.finish()
    }

    fn write_invalid(&self, results: &mut Results, event: &InvalidEvent) {
        results.add(event.index, self.invalid_key(event), event.outcome, Some(&self.invalid_param(event)), None);
    }

    /// The JSON answer. `reply` is the body of the core's reply (None when nothing was pending); `charges` are those of
    /// earlier accepted events by key hash, as decimal strings.
    pub fn answer<Hash: BuildHasher>(
        &self,
        reply: Option<&[u8]>,
        all_results: bool,
        request_id: &str,
        charges: &HashMap<[u8; KEY_HASH_LENGTH], String, Hash>,
    ) -> Result<Vec<u8>, AnswerError> {
        let reply = reply.map(UsageReply::parse).transpose()?.unwrap_or_default();
        if reply.events.len() != self.pending() {
            return Err(AnswerError::Mismatch);
        }
        let mut decided = reply.events.iter();
        let mut invalid = self.invalid.iter().peekable();
        let (mut accepted, mut duplicates, mut rejected, mut charged) = (0_usize, 0_usize, self.invalid.len(), 0_i128);
        let mut results = Results::default();
        for event in &self.events {
            while let Some(earlier) = invalid.next_if(|other| other.index < event.index) {
                self.write_invalid(&mut results, earlier);
            }
            let became = if self.seen {
                EventReply { index: event.index, outcome: Outcome::Duplicate, charge_nano: 0 }
            } else {
                decided.next().filter(|next| next.index == event.index).copied().ok_or(AnswerError::Mismatch)?
            };
            match became.outcome {
                Outcome::Accepted => {
                    accepted += 1;
                    charged = charged.checked_add(became.charge_nano).ok_or(AnswerError::Range)?;
                }
                Outcome::Duplicate => duplicates += 1,
                _ => rejected += 1,
            }
            if all_results || became.outcome != Outcome::Accepted {
                self.write_valid(&mut results, event, became, charges.get(&event.key_hash));
            }
        }
        for later in invalid {
            self.write_invalid(&mut results, later);
        }

        let results = results.finish();
        let mut json = Vec::with_capacity(results.len() + 256 + reply.available_nano.len() * 40);
        write_number(&mut json, b"{\"accepted\":", accepted);
        write_number(&mut json, b",\"duplicates\":", duplicates);
        write_number(&mut json, b",\"rejected\":", rejected);
        json.extend_from_slice(b",\"results\":");
        json.extend_from_slice(&results);
        json.extend_from_slice(b",\"charged\":");
        write_amount(&mut json, charged);
        self.write_balances(&mut json, &reply)?;
        json.extend_from_slice(b",\"requestId\":");
        write_string(&mut json, request_id);
        json.push(b'}');
        Ok(json)
    }

    fn write_valid(&self, results: &mut Results, event: &DecodedEvent, became: EventReply, known_charge: Option<&String>) {
        let mut charge = Vec::new();
        let charge = match (became.outcome, known_charge) {
            (Outcome::Duplicate, Some(known)) => Some(known.as_bytes()),
            (Outcome::Duplicate, None) if became.charge_nano == 0 => None,
            (Outcome::Accepted | Outcome::Duplicate, _) => {
                write_nano(&mut charge, became.charge_nano);
                Some(&charge[..])
            }
            _ => None,
        };
        let about = match became.outcome {
            Outcome::Accepted | Outcome::Duplicate => None,
            refused => Some(param(event.index, refused.field().name())),
        };
        results.add(event.index, Some(self.idempotency_key(event)), became.outcome, about.as_deref(), charge);
    }

    fn write_balances(&self, json: &mut Vec<u8>, reply: &UsageReply<'_>) -> Result<(), AnswerError> {
        let customers = self.renumbered().customers;
        if customers.len() != reply.available_nano.len() {
            return Err(AnswerError::Mismatch);
        }
        json.extend_from_slice(b",\"balances\":{");
        for (place, (customer, available)) in customers.iter().zip(&reply.available_nano).enumerate() {
            if place > 0 {
                json.push(b',');
            }
            write_string(json, self.customer(*customer));
            json.push(b':');
            write_amount(json, *available);
        }
        json.push(b'}');
        Ok(())
    }
}

/// The `results` array.
#[derive(Default)]
struct Results(Vec<u8>);

impl Results {
    fn add(&mut self, index: u16, key: Option<&str>, outcome: Outcome, param: Option<&str>, charge: Option<&[u8]>) {
        let json = &mut self.0;
        json.push(if json.is_empty() { b'[' } else { b',' });
        write_number(json, b"{\"index\":", usize::from(index));
        if let Some(key) = key {
            json.extend_from_slice(b",\"idempotencyKey\":");
            write_string(json, key);
        }
        json.extend_from_slice(b",\"outcome\":\"");
        json.extend_from_slice(outcome.word().as_bytes());
        json.push(b'"');
        if !matches!(outcome, Outcome::Accepted | Outcome::Duplicate) {
            json.extend_from_slice(b",\"code\":");
            write_string(json, outcome.code());
            json.extend_from_slice(b",\"detail\":");
            write_string(json, outcome.detail());
        }
        if let Some(param) = param {
            json.extend_from_slice(b",\"param\":");
            write_string(json, param);
        }
        if let Some(charge) = charge {
            json.extend_from_slice(b",\"charge\":\"");
            json.extend_from_slice(charge);
            json.push(b'"');
        }
        json.push(b'}');
    }

    fn finish(mut self) -> Vec<u8> {
        if self.0.is_empty() {
            self.0.push(b'[');
        }
        self.0.push(b']');
        self.0
    }
}

fn write_number(json: &mut Vec<u8>, before: &[u8], number: usize) {
    json.extend_from_slice(before);
    json.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn write_amount(json: &mut Vec<u8>, nano: i128) {
    json.push(b'"');
    write_nano(json, nano);
    json.push(b'"');
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
