//! A decoded batch: its valid events, those that failed validation, and the texts they share, each kept once.

use crate::identity::KEY_HASH_LENGTH;
use crate::interner::Interner;
use crate::json::Malformed;
use crate::message::Mark;
use crate::outcome::{Field, Outcome};

/// A whole body is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct BatchError {
    /// The HTTP status.
    pub status: u16,
    /// The stable code.
    pub code: &'static str,
    /// A sentence.
    pub detail: String,
    /// What it is about.
    pub param: Option<String>,
}

impl From<Malformed> for BatchError {
    fn from(malformed: Malformed) -> Self {
        Self { status: 400, code: "malformed_json", detail: format!("The body is not valid JSON: {malformed}."), param: None }
    }
}

/// A part of the batch's texts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Span {
    start: u32,
    length: u16,
}

/// A valid event.
#[derive(Clone, Copy, Debug)]
pub struct DecodedEvent {
    /// Its place in the client's batch.
    pub index: u16,
    /// Number of its customer, see `DecodedBatch::customer`.
    pub customer: u16,
    /// Number of its metric and dimensions, see `DecodedBatch::shape`.
    pub shape: u16,
    /// Identity.
    pub key_hash: [u8; KEY_HASH_LENGTH],
    /// Of the payload.
    pub fingerprint: u64,
    /// Above zero.
    pub quantity_nano: i128,
    /// Microseconds since 1970.
    pub occurred_us: i64,
    pub(crate) key: Span,
}

/// What an outcome is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject {
    Field(Field),
    /// A field that events do not have.
    Unknown(Span),
}

/// An event that failed validation.
#[derive(Clone, Copy, Debug)]
pub struct InvalidEvent {
    /// Its place in the client's batch.
    pub index: u16,
    /// Why.
    pub outcome: Outcome,
    pub(crate) subject: Subject,
    pub(crate) key: Option<Span>,
}

/// A decoded body: valid events and the others, in the order of the batch.
#[derive(Clone, Debug, Default)]
pub struct DecodedBatch {
    pub(crate) tenant_id: u64,
    /// What the batch is known by when it comes again.
    pub(crate) mark: Mark,
    /// Known to Redis as committed, every valid event.
    pub(crate) seen: bool,
    pub(crate) events: Vec<DecodedEvent>,
    pub(crate) invalid: Vec<InvalidEvent>,
    pub(crate) customers: Interner,
    pub(crate) metrics: Interner,
    pub(crate) dimensions: Interner,
    /// (metric, dimensions), each pair once.
    shapes: Vec<(u16, u16)>,
    shape_numbers: hashbrown::HashMap<(u16, u16), u16>,
    texts: String,
}

impl DecodedBatch {
    /// An empty batch with room for so many events.
    pub(crate) fn sized(tenant_id: u64, events: usize) -> Self {
        Self { tenant_id, events: Vec::with_capacity(events), texts: String::with_capacity(events * 32), ..Self::default() }
    }

    /// Sets the mark: 128 bits of blake3 over the identity and fingerprint of the valid events, in their order.
    pub(crate) fn seal(mut self) -> Self {
        let mut bytes = Vec::with_capacity(self.events.len() * (KEY_HASH_LENGTH + 8));
        for event in &self.events {
            bytes.extend_from_slice(&event.key_hash);
            bytes.extend_from_slice(&event.fingerprint.to_le_bytes());
        }
        self.mark.copy_from_slice(blake3::hash(&bytes).as_bytes().first_chunk::<16>().unwrap_or(&[0; 16]));
        self
    }

    /// Events in the body.
    pub fn count(&self) -> usize {
        self.events.len() + self.invalid.len()
    }

    /// Events that failed validation.
    pub fn rejected(&self) -> usize {
        self.invalid.len()
    }

    /// No event passed validation.
    pub fn all_invalid(&self) -> bool {
        self.events.is_empty()
    }

    /// The valid events.
    pub fn events(&self) -> &[DecodedEvent] {
        &self.events
    }

    /// The events that failed validation.
    pub fn invalid(&self) -> &[InvalidEvent] {
        &self.invalid
    }

    /// A customer's external id.
    pub fn customer(&self, number: u16) -> &str {
        self.customers.get(number)
    }

    /// How many customers the valid events have.
    pub fn customers(&self) -> usize {
        self.customers.len()
    }

    /// Metric and canonical dimensions.
    pub fn shape(&self, number: u16) -> (&str, &str) {
        let (metric, dimensions) = self.shapes.get(usize::from(number)).copied().unwrap_or_default();
        (self.metrics.get(metric), self.dimensions.get(dimensions))
    }

    /// How many shapes the valid events have.
    pub fn shapes(&self) -> usize {
        self.shapes.len()
    }

    /// An event's idempotency key.
    pub fn idempotency_key(&self, event: &DecodedEvent) -> &str {
        self.text(event.key)
    }

    /// The idempotency key of an invalid event, if that at least is valid.
    pub fn invalid_key(&self, event: &InvalidEvent) -> Option<&str> {
        event.key.map(|key| self.text(key))
    }

    /// What an invalid event's outcome is about, like `events[3].quantity`.
    pub fn invalid_param(&self, event: &InvalidEvent) -> String {
        match event.subject {
            Subject::Field(field) => param(event.index, field.name()),
            Subject::Unknown(name) => param(event.index, self.text(name)),
        }
    }

    pub(crate) fn text(&self, span: Span) -> &str {
        let start = span.start as usize;
        self.texts.get(start..start.saturating_add(usize::from(span.length))).unwrap_or_default()
    }

    /// Keeps a text, cut to what a span can hold at a character's border.
    pub(crate) fn keep(&mut self, text: &str) -> Span {
        let kept = cut(text, usize::from(u16::MAX));
        // A body of 4 GiB is refused before it comes here.
        let start = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        self.texts.push_str(kept);
        Span { start, length: u16::try_from(kept.len()).unwrap_or_default() }
    }

    pub(crate) fn intern_shape(&mut self, metric: u16, dimensions: u16) -> Option<u16> {
        if let Some(number) = self.shape_numbers.get(&(metric, dimensions)) {
            return Some(*number);
        }
        let number = u16::try_from(self.shapes.len()).ok()?;
        self.shapes.push((metric, dimensions));
        self.shape_numbers.insert((metric, dimensions), number);
        Some(number)
    }
}

/// The front of a text, at most so many bytes, whole characters.
pub(crate) fn cut(text: &str, most_bytes: usize) -> &str {
    (0..=most_bytes.min(text.len())).rev().find_map(|end| text.get(..end)).unwrap_or_default()
}

/// `events[index]` or `events[index].field`.
pub(crate) fn param(index: u16, field: &str) -> String {
    if field.is_empty() { format!("events[{index}]") } else { format!("events[{index}].{field}") }
}
