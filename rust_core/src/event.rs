//! The body of POST /v1/usage-events: decoded, validated and hashed in one pass over its bytes.
//!
//! Not JSON: the whole body is refused. Not a batch: likewise. Anything wrong with one event is that event's outcome,
//! and its neighbours stand. Of several faults of an event the first of these is told: what it is, a field it should not
//! have or names twice, a field that is missing, then the fields' values in the order of `Field::ORDER`.

pub use crate::batch::{BatchError, DecodedBatch, DecodedEvent, InvalidEvent};

use crate::batch::{Span, Subject, cut};
use crate::identity::{Payload, key_hash_with};
use crate::json::{Kind, Malformed, MalformedReason, Reader, Text, write_string};
use crate::money::{QUANTITY_INTEGER_DIGITS, parse_decimal_nano};
use crate::outcome::{Field, Outcome};
use crate::time::parse_rfc3339_us;
use std::collections::HashSet;
use std::ops::Range;

/// How far ahead of now an event may lie: clocks differ.
pub const MAX_AHEAD_US: i64 = 5 * 60 * 1_000_000;
/// How far back an event may lie.
pub const MAX_BACK_US: i64 = 35 * 24 * 3600 * 1_000_000;
/// Bytes of an external id, an idempotency key or a dimension's value.
pub const MAX_TEXT_BYTES: usize = 255;
/// Bytes of a metric's code or a dimension's name.
pub const MAX_NAME_BYTES: usize = 64;
/// Dimensions of an event.
pub const MAX_DIMENSIONS: usize = 16;
/// Events of a batch that the messages' 16-bit counts can carry.
const MAX_EVENTS: usize = 65_000;

fn invalid_batch(detail: &str, param: Option<String>) -> BatchError {
    BatchError { status: 422, code: "invalid_batch", detail: detail.to_owned(), param }
}

/// Decodes a body. `now_us` is the time by which too old and too new are judged.
///
/// Errors: 400 malformed_json (which beats everything else, wherever in the body it stands), 413 too_many_events,
/// 422 invalid_batch and empty_batch.
pub fn decode_batch(body: &[u8], tenant_id: u64, now_us: i64, max_events: usize) -> Result<DecodedBatch, BatchError> {
    if u32::try_from(body.len()).is_err() {
        return Err(BatchError { status: 413, code: "body_too_large", detail: "The body is too large.".to_owned(), param: None });
    }
    let limit = max_events.min(MAX_EVENTS);
    let mut reader = Reader::new(body)?;
    reader.skip_space();
    if reader.kind()? != Kind::Object {
        reader.skip_value(0)?;
        reader.finish()?;
        return Err(invalid_batch("The body is a JSON object with an array `events`.", None));
    }
    let mut decoder = Decoder::new(reader, tenant_id, now_us);
    let mut refusal = None;
    let mut count = None;
    let mut foreign_names = HashSet::new();
    let (mut buffer, mut first) = (String::new(), true);
    let depth = decoder.reader.enter(0)?;
    while decoder.reader.next_member(&mut first)? {
        let at = decoder.reader.offset();
        let name = decoder.reader.name()?;
        let name = name.decode(&mut buffer);
        if name != "events" {
            if !foreign_names.insert(name.to_owned()) {
                return Err(Malformed { reason: MalformedReason::DuplicateName, at }.into());
            }
            refusal.get_or_insert_with(|| invalid_batch("The body has no field but `events`.", Some(cut(name, MAX_TEXT_BYTES).to_owned())));
            decoder.reader.skip_value(depth)?;
        } else if count.is_some() {
            return Err(Malformed { reason: MalformedReason::DuplicateName, at }.into());
        } else if decoder.reader.kind()? == Kind::Array {
            count = Some(decoder.events(depth, limit)?);
        } else {
            count = Some(0);
            decoder.reader.skip_value(depth)?;
            refusal.get_or_insert_with(|| invalid_batch("`events` is an array.", Some("events".to_owned())));
        }
    }
    decoder.reader.finish()?;
    if let Some(refusal) = refusal {
        return Err(refusal);
    }
    match count {
        None => Err(invalid_batch("`events` is missing.", Some("events".to_owned()))),
        Some(0) => Err(BatchError {
            status: 422,
            code: "empty_batch",
            detail: "The batch has no events.".to_owned(),
            param: Some("events".to_owned()),
        }),
        Some(count) if count > limit => Err(BatchError {
            status: 413,
            code: "too_many_events",
            detail: format!("The batch has {count} events; {limit} are allowed. Nothing was applied."),
            param: Some("events".to_owned()),
        }),
        Some(_) => Ok(decoder.batch.seal()),
    }
}

/// A field's value as it stands in the body.
#[derive(Clone, Copy)]
enum Value<'a> {
    Text(Text<'a>),
    Number(&'a str),
    Other,
}

/// The fields of one event, before they are judged.
struct Fields<'a> {
    present: u8,
    customer: Value<'a>,
    key: Value<'a>,
    metric: Value<'a>,
    quantity: Value<'a>,
    occurred_at: Value<'a>,
    /// Number of the canonical dimensions; None: invalid.
    dimensions: Option<u16>,
    /// A field that is not known or comes twice.
    misfit: Option<(Outcome, Subject)>,
}

/// Dimensions that were read lately, with the bytes they were read from.
const RECENT_DIMENSIONS: usize = 8;

struct Decoder<'a> {
    reader: Reader<'a>,
    now_us: i64,
    batch: DecodedBatch,
    /// The same bytes again are the same dimensions again: a complete object at the front of the rest is decided by a
    /// comparison, which is several times cheaper than reading, sorting and writing it.
    recent: [(&'a str, Option<u16>); RECENT_DIMENSIONS],
    next_recent: usize,
    decoded: String,
    /// Names and values of the dimensions being read, as parts of `pair_texts`.
    pairs: Vec<(Range<usize>, Range<usize>)>,
    pair_texts: String,
    canonical: Vec<u8>,
    hashed: Vec<u8>,
}

impl<'a> Decoder<'a> {
    fn new(reader: Reader<'a>, tenant_id: u64, now_us: i64) -> Self {
        let expected = reader.rest().len() / 128;
        let batch = DecodedBatch::sized(tenant_id, expected.min(1024));
        Self {
            reader,
            now_us,
            batch,
            recent: [("", None); RECENT_DIMENSIONS],
            next_recent: 0,
            decoded: String::new(),
            pairs: Vec::new(),
            pair_texts: String::new(),
            canonical: Vec::new(),
            hashed: Vec::with_capacity(512),
        }
    }

    /// Reads the array of events; those beyond the limit are only counted.
    fn events(&mut self, depth: u8, limit: usize) -> Result<usize, Malformed> {
        let inside = self.reader.enter(depth)?;
        let (mut count, mut first) = (0_usize, true);
        while self.reader.next_element(&mut first)? {
            match u16::try_from(count) {
                Ok(index) if count < limit => self.event(index, inside)?,
                _ => self.reader.skip_value(inside)?,
            }
            count += 1;
        }
        Ok(count)
    }

    fn event(&mut self, index: u16, depth: u8) -> Result<(), Malformed> {
        if self.reader.kind()? != Kind::Object {
            self.reader.skip_value(depth)?;
            let subject = Subject::Field(Field::Event);
            self.batch.invalid.push(InvalidEvent { index, outcome: Outcome::InvalidEvent, subject, key: None });
            return Ok(());
        }
        let fields = self.fields(depth)?;
        let mut key = None;
        if let Err((outcome, subject)) = self.judge(index, &fields, &mut key) {
            if key.is_none() {
                key = self.valid_text(&fields.key).map(|text| self.keep_decoded(text));
            }
            self.batch.invalid.push(InvalidEvent { index, outcome, subject, key });
        }
        Ok(())
    }

    fn fields(&mut self, depth: u8) -> Result<Fields<'a>, Malformed> {
        let mut fields = Fields {
            present: 0,
            customer: Value::Other,
            key: Value::Other,
            metric: Value::Other,
            quantity: Value::Other,
            occurred_at: Value::Other,
            dimensions: None,
            misfit: None,
        };
        let inside = self.reader.enter(depth)?;
        let mut first = true;
        while self.reader.next_member(&mut first)? {
            let name = self.reader.name()?;
            let name = name.decode(&mut self.decoded);
            let Some(field) = Field::named(name.as_bytes()) else {
                if fields.misfit.is_none() {
                    fields.misfit = Some((Outcome::UnknownField, Subject::Unknown(self.batch.keep(cut(name, MAX_TEXT_BYTES)))));
                }
                self.reader.skip_value(inside)?;
                continue;
            };
            if fields.present & field.bit() != 0 {
                fields.misfit.get_or_insert((Outcome::InvalidEvent, Subject::Field(field)));
                self.reader.skip_value(inside)?;
                continue;
            }
            fields.present |= field.bit();
            match field {
                Field::Customer => fields.customer = self.value(inside)?,
                Field::IdempotencyKey => fields.key = self.value(inside)?,
                Field::Metric => fields.metric = self.value(inside)?,
                Field::Quantity => fields.quantity = self.value(inside)?,
                Field::OccurredAt => fields.occurred_at = self.value(inside)?,
                Field::Dimensions => fields.dimensions = self.dimensions(inside)?,
                Field::Event => {}
            }
        }
        Ok(fields)
    }

    #[inline]
    fn value(&mut self, depth: u8) -> Result<Value<'a>, Malformed> {
        match self.reader.kind()? {
            Kind::Text => self.reader.string().map(Value::Text),
            Kind::Number => self.reader.number().map(Value::Number),
            _ => self.reader.skip_value(depth).map(|()| Value::Other),
        }
    }

    /// Judges an event and takes it in. `kept_key` is set once the idempotency key is among the texts.
    fn judge(&mut self, index: u16, fields: &Fields<'a>, kept_key: &mut Option<Span>) -> Result<(), (Outcome, Subject)> {
        if let Some(misfit) = fields.misfit {
            return Err(misfit);
        }
        for field in Field::ORDER {
            if fields.present & field.bit() == 0 && field != Field::Dimensions {
                return Err((Outcome::MissingField, Subject::Field(field)));
            }
        }
        let fails = |field: Field| (Outcome::invalid(field), Subject::Field(field));
        let customer = self.valid_text(&fields.customer).ok_or(fails(Field::Customer))?;
        let key = self.valid_text(&fields.key).ok_or(fails(Field::IdempotencyKey))?;
        let metric = self.metric(&fields.metric).ok_or(fails(Field::Metric))?;
        let quantity_nano = self.quantity(&fields.quantity).ok_or(fails(Field::Quantity))?;
        let occurred_us = self.occurred_us(&fields.occurred_at).map_err(|outcome| (outcome, Subject::Field(Field::OccurredAt)))?;
        let dimensions = if fields.present & Field::Dimensions.bit() == 0 { self.batch.dimensions.intern("{}") } else { fields.dimensions };
        let dimensions = dimensions.ok_or(fails(Field::Dimensions))?;

        let batch = &mut self.batch;
        let event_is_too_much = (Outcome::InvalidEvent, Subject::Field(Field::Event));
        let customer = batch.customers.intern(customer.decode(&mut self.decoded)).ok_or(event_is_too_much)?;
        let shape = batch.intern_shape(metric, dimensions).ok_or(event_is_too_much)?;
        let key_text = key.decode(&mut self.decoded);
        let key_hash = key_hash_with(&mut self.hashed, batch.tenant_id, key_text.as_bytes());
        let key = batch.keep(key_text);
        *kept_key = Some(key);
        let payload = Payload {
            tenant_id: batch.tenant_id,
            customer: batch.customers.get(customer),
            metric: batch.metrics.get(metric),
            quantity_nano,
            occurred_us,
            dimensions: batch.dimensions.get(dimensions),
        };
        let fingerprint = payload.fingerprint_with(&mut self.hashed);
        batch.events.push(DecodedEvent { index, customer, shape, key_hash, fingerprint, quantity_nano, occurred_us, key });
        Ok(())
    }

    fn keep_decoded(&mut self, text: Text<'a>) -> Span {
        let decoded = text.decode(&mut self.decoded);
        self.batch.keep(decoded)
    }

    /// A string of 1 to 255 bytes without control characters.
    #[inline]
    fn valid_text(&mut self, value: &Value<'a>) -> Option<Text<'a>> {
        let Value::Text(text) = value else { return None };
        is_plain(text.decode(&mut self.decoded), text.unusual).then_some(*text)
    }

    #[inline]
    fn metric(&mut self, value: &Value<'a>) -> Option<u16> {
        let Value::Text(text) = value else { return None };
        let code = text.decode(&mut self.decoded);
        if let Some(known) = self.batch.metrics.find(code) {
            return Some(known);
        }
        let (first, rest) = code.as_bytes().split_first()?;
        let valid = code.len() <= MAX_NAME_BYTES
            && first.is_ascii_lowercase()
            && rest.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        if valid { self.batch.metrics.intern(code) } else { None }
    }

    #[inline]
    fn quantity(&mut self, value: &Value<'a>) -> Option<i128> {
        let digits = match value {
            Value::Text(text) => text.decode(&mut self.decoded),
            Value::Number(digits) => digits,
            Value::Other => return None,
        };
        parse_decimal_nano(digits.as_bytes(), QUANTITY_INTEGER_DIGITS).ok().filter(|nano| *nano > 0)
    }

    #[inline]
    fn occurred_us(&mut self, value: &Value<'a>) -> Result<i64, Outcome> {
        let Value::Text(text) = value else { return Err(Outcome::InvalidTime) };
        let time = text.decode(&mut self.decoded);
        match parse_rfc3339_us(time.as_bytes()) {
            None => Err(Outcome::InvalidTime),
            Some(time_us) if time_us > self.now_us.saturating_add(MAX_AHEAD_US) => Err(Outcome::InFuture),
            Some(time_us) if time_us < self.now_us.saturating_sub(MAX_BACK_US) => Err(Outcome::TooOld),
            Some(time_us) => Ok(time_us),
        }
    }

    /// The number of the canonical dimensions, None where they are invalid.
    #[inline]
    fn dimensions(&mut self, depth: u8) -> Result<Option<u16>, Malformed> {
        let rest = self.reader.rest();
        for (raw, number) in &self.recent {
            if !raw.is_empty() && rest.starts_with(raw.as_bytes()) {
                self.reader.advance(raw.len());
                return Ok(*number);
            }
        }
        if self.reader.kind()? != Kind::Object {
            return self.reader.skip_value(depth).map(|()| None);
        }
        let start = self.reader.offset();
        let number = if self.read_pairs(depth)? { self.canonical_dimensions() } else { None };
        let raw = self.reader.span(start..self.reader.offset());
        if let Some(slot) = self.recent.get_mut(self.next_recent % RECENT_DIMENSIONS) {
            *slot = (raw, number);
        }
        self.next_recent = self.next_recent.wrapping_add(1);
        Ok(number)
    }

    /// Reads the object to its end; false if something in it is not as it should be.
    fn read_pairs(&mut self, depth: u8) -> Result<bool, Malformed> {
        self.pairs.clear();
        self.pair_texts.clear();
        let inside = self.reader.enter(depth)?;
        let (mut valid, mut first) = (true, true);
        while self.reader.next_member(&mut first)? {
            let name = self.reader.name()?;
            let value = self.value(inside)?;
            let name = name.decode(&mut self.decoded);
            valid = valid && self.pairs.len() < MAX_DIMENSIONS && is_dimension_name(name);
            if !valid {
                continue;
            }
            let start = self.pair_texts.len();
            self.pair_texts.push_str(name);
            let middle = self.pair_texts.len();
            let Some(text) = self.valid_text(&value) else {
                valid = false;
                continue;
            };
            self.pair_texts.push_str(text.decode(&mut self.decoded));
            self.pairs.push((start..middle, middle..self.pair_texts.len()));
        }
        Ok(valid)
    }

    /// Writes the pairs in the order of their names, None where a name comes twice.
    fn canonical_dimensions(&mut self) -> Option<u16> {
        let part = |range: &Range<usize>| self.pair_texts.get(range.clone()).unwrap_or_default();
        self.pairs.sort_unstable_by(|(left, _), (right, _)| part(left).cmp(part(right)));
        if self.pairs.windows(2).any(|pair| matches!(pair, [(left, _), (right, _)] if part(left) == part(right))) {
            return None;
        }
        self.canonical.clear();
        self.canonical.push(b'{');
        for (place, (name, value)) in self.pairs.iter().enumerate() {
            if place > 0 {
                self.canonical.push(b',');
            }
            write_string(&mut self.canonical, part(name));
            self.canonical.push(b':');
            write_string(&mut self.canonical, part(value));
        }
        self.canonical.push(b'}');
        self.batch.dimensions.intern(std::str::from_utf8(&self.canonical).ok()?)
    }
}

/// 1 to 255 bytes without control characters; `unusual` false says that there are none.
#[inline]
fn is_plain(text: &str, unusual: bool) -> bool {
    (1..=MAX_TEXT_BYTES).contains(&text.len()) && !(unusual && text.chars().any(char::is_control))
}

fn is_dimension_name(name: &str) -> bool {
    name.len() <= MAX_NAME_BYTES
        && name.as_bytes().split_first().is_some_and(|(first, rest)| {
            first.is_ascii_alphabetic() && rest.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
        })
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;
