//! The bytes between edge and core: inbox messages and their replies. All integers are little-endian.
//!
//! Parsing borrows from the bytes, checks every length, every index and all UTF-8 once, and never panics.

use crate::outcome::Outcome;

/// The version of the format: the first byte of every message.
pub const VERSION: u8 = 3;
/// Kind of a message or reply about usage events.
pub const KIND_USAGE: u8 = 1;
/// Kind of a message or reply about a wallet command.
pub const KIND_COMMAND: u8 = 2;
/// Flag: the edge has pushed this message before.
pub const FLAG_REDELIVERED: u8 = 1;

/// What a batch is known by when it comes again; zero for commands.
pub type Mark = [u8; 16];

/// Why bytes are not a message, or a message cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The bytes end inside a field.
    #[error("the message ends too early")]
    Truncated,
    /// Bytes follow the last field.
    #[error("the message has trailing bytes")]
    Trailing,
    /// Another format's version.
    #[error("unknown message version {0}")]
    Version(u8),
    /// Neither usage nor a command.
    #[error("unknown message kind {0}")]
    Kind(u8),
    /// A text that is not UTF-8, or not as long as its parts say.
    #[error("text is not UTF-8 or of another length")]
    Text,
    /// An event names a customer or shape that the section does not list.
    #[error("an event refers to a missing customer or shape")]
    Reference,
    /// An outcome's number that no outcome has.
    #[error("unknown outcome {0}")]
    Outcome(u8),
    /// A length that its field cannot hold.
    #[error("a field is too long for the message")]
    TooLong,
}

/// What many events share: a metric and canonical dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape<'a> {
    /// The metric's code.
    pub metric: &'a str,
    /// Canonical JSON: keys sorted, no white space; `{}` where there are none.
    pub dimensions: &'a str,
}

/// One event on its way to the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsageEvent<'a> {
    /// Identity: see `identity`.
    pub key_hash: [u8; 16],
    /// Of the payload: see `identity`.
    pub fingerprint: u64,
    /// Its place in the client's batch.
    pub index: u16,
    /// Its customer's place in the section.
    pub customer: u16,
    /// Its shape's place in the section.
    pub shape: u16,
    /// Above zero, in nano-units.
    pub quantity_nano: i128,
    /// Microseconds since 1970.
    pub occurred_us: i64,
    /// The client's key.
    pub idempotency_key: &'a str,
}

/// Events with the customers and shapes they refer to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageSection<'a> {
    /// External ids.
    pub customers: Vec<&'a str>,
    /// Metric and dimensions.
    pub shapes: Vec<Shape<'a>>,
    /// In the order of the client's batch.
    pub events: Vec<UsageEvent<'a>>,
}

/// Bytes of an event record without its key's text.
const EVENT_FIXED_LENGTH: usize = 56;

impl<'a> UsageSection<'a> {
    /// Appends the section's bytes.
    pub fn append_to(&self, buffer: &mut Vec<u8>) -> Result<(), MessageError> {
        buffer.reserve(6 + self.customers.len() * 24 + self.shapes.len() * 80 + self.events.len() * (EVENT_FIXED_LENGTH + 40));
        append_u16(buffer, self.customers.len())?;
        for customer in &self.customers {
            append_text(buffer, customer)?;
        }
        append_u16(buffer, self.shapes.len())?;
        for shape in &self.shapes {
            append_text(buffer, shape.metric)?;
            append_text(buffer, shape.dimensions)?;
        }
        append_u16(buffer, self.events.len())?;
        // The records first and their keys' text after them in one piece: so one check of UTF-8 does for all.
        for event in &self.events {
            buffer.extend_from_slice(&event.key_hash);
            buffer.extend_from_slice(&event.fingerprint.to_le_bytes());
            buffer.extend_from_slice(&event.index.to_le_bytes());
            buffer.extend_from_slice(&event.customer.to_le_bytes());
            buffer.extend_from_slice(&event.shape.to_le_bytes());
            buffer.extend_from_slice(&event.quantity_nano.to_le_bytes());
            buffer.extend_from_slice(&event.occurred_us.to_le_bytes());
            append_u16(buffer, event.idempotency_key.len())?;
        }
        let text: usize = self.events.iter().map(|event| event.idempotency_key.len()).sum();
        buffer.extend_from_slice(&u32::try_from(text).map_err(|_| MessageError::TooLong)?.to_le_bytes());
        for event in &self.events {
            buffer.extend_from_slice(event.idempotency_key.as_bytes());
        }
        Ok(())
    }

    /// Reads a section that fills the bytes.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MessageError> {
        let mut input = Input(bytes);
        let section = Self::read(&mut input)?;
        input.finish()?;
        Ok(section)
    }

    fn read_customers(input: &mut Input<'a>) -> Result<Vec<&'a str>, MessageError> {
        // Vectors grow only as records are really there, so that a false count cannot ask for memory.
        let customer_count = input.u16()?;
        let mut customers = Vec::with_capacity(usize::from(customer_count).min(input.0.len() / 2));
        for _ in 0..customer_count {
            customers.push(input.text()?);
        }
        Ok(customers)
    }

    /// The customers and the records of the events.
    fn outline(input: &mut Input<'a>) -> Result<(Vec<&'a str>, &'a [u8]), MessageError> {
        let customers = Self::read_customers(input)?;
        for _ in 0..2 * usize::from(input.u16()?) {
            let length = input.u16()?;
            input.take(usize::from(length))?;
        }
        let event_count = usize::from(input.u16()?);
        Ok((customers, input.take(event_count * EVENT_FIXED_LENGTH)?))
    }

    fn read(input: &mut Input<'a>) -> Result<Self, MessageError> {
        let customers = Self::read_customers(input)?;
        let shape_count = input.u16()?;
        let mut shapes = Vec::with_capacity(usize::from(shape_count).min(input.0.len() / 4));
        for _ in 0..shape_count {
            shapes.push(Shape { metric: input.text()?, dimensions: input.text()? });
        }
        let event_count = usize::from(input.u16()?);
        let records = input.take(event_count * EVENT_FIXED_LENGTH)?;
        let text_length = u32::from_le_bytes(input.array()?);
        let mut text = input.utf8(usize::try_from(text_length).map_err(|_| MessageError::TooLong)?)?;
        let mut events = Vec::with_capacity(event_count);
        for record in records.chunks_exact(EVENT_FIXED_LENGTH) {
            let mut record = Input(record);
            let (key_hash, fingerprint) = (record.array()?, u64::from_le_bytes(record.array()?));
            let (index, customer, shape) = (record.u16()?, record.u16()?, record.u16()?);
            let (quantity_nano, occurred_us) = (i128::from_le_bytes(record.array()?), i64::from_le_bytes(record.array()?));
            let (idempotency_key, rest) = text.split_at_checked(usize::from(record.u16()?)).ok_or(MessageError::Text)?;
            text = rest;
            if usize::from(customer) >= customers.len() || shape >= shape_count {
                return Err(MessageError::Reference);
            }
            events.push(UsageEvent { key_hash, fingerprint, index, customer, shape, quantity_nano, occurred_us, idempotency_key });
        }
        if !text.is_empty() {
            return Err(MessageError::Trailing);
        }
        Ok(Self { customers, shapes, events })
    }
}

/// What a message asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageBody<'a> {
    /// Events to rate and deduct.
    Usage(UsageSection<'a>),
    /// A wallet command, with the events it is about, if any.
    Command {
        /// JSON, not looked into here.
        command: &'a [u8],
        /// For an estimate or a capture with the actual events.
        usage: Option<UsageSection<'a>>,
    },
}

/// One message in a partition's inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The edge has pushed it before.
    pub redelivered: bool,
    /// Whose it is.
    pub tenant_id: u64,
    /// Made by the edge; the reply carries it.
    pub message_id: [u8; 16],
    /// The Redis list for the reply.
    pub reply_to: &'a [u8],
    /// What a usage batch is known by when it comes again.
    pub mark: Mark,
    /// What it asks for.
    pub body: MessageBody<'a>,
}

/// What must be known of a message before it can be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline<'a> {
    /// Whose it is.
    pub tenant_id: u64,
    /// Made by the edge.
    pub message_id: [u8; 16],
    /// The JSON of a command.
    pub command: Option<&'a [u8]>,
    /// The customers that events are about.
    pub customers: Vec<&'a str>,
    records: &'a [u8],
}

impl Outline<'_> {
    /// The identities of the events.
    pub fn keys(&self) -> impl Iterator<Item = [u8; 16]> {
        self.records.chunks_exact(EVENT_FIXED_LENGTH).filter_map(|record| record.first_chunk().copied())
    }
}

/// What stands before a message's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The edge has pushed it before.
    pub redelivered: bool,
    /// Whose it is.
    pub tenant_id: u64,
    /// Made by the edge.
    pub message_id: [u8; 16],
    /// The Redis list for the reply.
    pub reply_to: &'a [u8],
    /// What a usage batch is known by when it comes again.
    pub mark: Mark,
}

impl Header<'_> {
    fn append_to(&self, buffer: &mut Vec<u8>, kind: u8) -> Result<(), MessageError> {
        buffer.extend_from_slice(&[VERSION, kind, if self.redelivered { FLAG_REDELIVERED } else { 0 }, 0]);
        buffer.extend_from_slice(&self.tenant_id.to_le_bytes());
        buffer.extend_from_slice(&self.message_id);
        append_u16(buffer, self.reply_to.len())?;
        buffer.extend_from_slice(self.reply_to);
        buffer.extend_from_slice(&self.mark);
        Ok(())
    }
}

impl<'a> Message<'a> {
    /// Reads a whole message.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MessageError> {
        let (message, mut input) = Self::begin(bytes)?;
        let body = match message.body {
            MessageBody::Usage(_) => MessageBody::Usage(UsageSection::read(&mut input)?),
            MessageBody::Command { .. } => {
                let command = input.long_bytes()?;
                let section = input.long_bytes()?;
                let usage = if section.is_empty() { None } else { Some(UsageSection::parse(section)?) };
                MessageBody::Command { command, usage }
            }
        };
        input.finish()?;
        Ok(Self { body, ..message })
    }

    /// Reads whom and what a message is about. The rest is not looked at, nor checked.
    pub fn outline(bytes: &'a [u8]) -> Result<Outline<'a>, MessageError> {
        let (message, mut input) = Self::begin(bytes)?;
        let mut command = None;
        if matches!(message.body, MessageBody::Command { .. }) {
            command = Some(input.long_bytes()?);
            input = Input(input.long_bytes()?);
        }
        let (customers, records) =
            if command.is_some() && input.0.is_empty() { Default::default() } else { UsageSection::outline(&mut input)? };
        Ok(Outline { tenant_id: message.tenant_id, message_id: message.message_id, command, customers, records })
    }

    /// What stands before the body, with an empty one of its kind.
    fn begin(bytes: &'a [u8]) -> Result<(Self, Input<'a>), MessageError> {
        let mut input = Input(bytes);
        let [version, kind, flags, _] = input.array()?;
        if version != VERSION {
            return Err(MessageError::Version(version));
        }
        let tenant_id = u64::from_le_bytes(input.array()?);
        let message_id = input.array()?;
        let reply_length = input.u16()?;
        let reply_to = input.take(usize::from(reply_length))?;
        let mark = input.array()?;
        let body = match kind {
            KIND_USAGE => MessageBody::Usage(UsageSection::default()),
            KIND_COMMAND => MessageBody::Command { command: &[], usage: None },
            other => return Err(MessageError::Kind(other)),
        };
        Ok((Self { redelivered: flags & FLAG_REDELIVERED != 0, tenant_id, message_id, reply_to, mark, body }, input))
    }
}

/// A usage message.
pub fn usage_message(header: Header<'_>, section: &UsageSection<'_>) -> Result<Vec<u8>, MessageError> {
    let mut buffer = Vec::with_capacity(64 + header.reply_to.len());
    header.append_to(&mut buffer, KIND_USAGE)?;
    section.append_to(&mut buffer)?;
    Ok(buffer)
}

/// A command message around an encoded section (empty: none).
pub fn command_message(header: Header<'_>, command: &[u8], section: &[u8]) -> Result<Vec<u8>, MessageError> {
    let mut buffer = Vec::with_capacity(64 + header.reply_to.len() + command.len() + section.len());
    header.append_to(&mut buffer, KIND_COMMAND)?;
    for part in [command, section] {
        buffer.extend_from_slice(&u32::try_from(part.len()).map_err(|_| MessageError::TooLong)?.to_le_bytes());
        buffer.extend_from_slice(part);
    }
    Ok(buffer)
}

/// A reply as the edge finds it in its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply<'a> {
    /// Of the message that it answers.
    pub message_id: [u8; 16],
    /// `KIND_USAGE` or `KIND_COMMAND`.
    pub kind: u8,
    /// A `UsageReply`, or JSON.
    pub body: &'a [u8],
}

impl<'a> Reply<'a> {
    /// Splits a reply; the body is not looked into.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MessageError> {
        let mut input = Input(bytes);
        let message_id = input.array()?;
        let [kind] = input.array()?;
        if kind != KIND_USAGE && kind != KIND_COMMAND {
            return Err(MessageError::Kind(kind));
        }
        Ok(Self { message_id, kind, body: input.0 })
    }

    /// The reply's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut buffer = Vec::with_capacity(17 + self.body.len());
        buffer.extend_from_slice(&self.message_id);
        buffer.push(self.kind);
        buffer.extend_from_slice(self.body);
        buffer
    }
}

/// What became of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventReply {
    /// Its place in the client's batch.
    pub index: u16,
    /// What became of it.
    pub outcome: Outcome,
    /// What it cost; 0 unless accepted (or a duplicate whose charge is known).
    pub charge_nano: i128,
}

/// The body of a reply to usage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageReply<'a> {
    /// One for each event of the message.
    pub events: Vec<EventReply>,
    /// What each customer of the message has available now, in the message's order.
    pub available_nano: Vec<i128>,
    /// The wallets' currency.
    pub currency: &'a str,
}

impl<'a> UsageReply<'a> {
    /// Reads a reply's body.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MessageError> {
        let mut input = Input(bytes);
        let event_count = input.u16()?;
        let mut events = Vec::with_capacity(usize::from(event_count).min(bytes.len() / 19));
        for _ in 0..event_count {
            let index = input.u16()?;
            let [number] = input.array()?;
            let outcome = Outcome::from_number(number).ok_or(MessageError::Outcome(number))?;
            events.push(EventReply { index, outcome, charge_nano: i128::from_le_bytes(input.array()?) });
        }
        let customer_count = input.u16()?;
        let mut available_nano = Vec::with_capacity(usize::from(customer_count).min(bytes.len() / 16));
        for _ in 0..customer_count {
            available_nano.push(i128::from_le_bytes(input.array()?));
        }
        let [currency_length] = input.array()?;
        let currency = input.utf8(usize::from(currency_length))?;
        input.finish()?;
        Ok(Self { events, available_nano, currency })
    }

    /// The whole reply's bytes, body and what stands before it.
    pub fn encode(&self, message_id: [u8; 16]) -> Result<Vec<u8>, MessageError> {
        let mut buffer = Vec::with_capacity(32 + self.events.len() * 19 + self.available_nano.len() * 16);
        buffer.extend_from_slice(&message_id);
        buffer.push(KIND_USAGE);
        self.append_body(&mut buffer)?;
        Ok(buffer)
    }

    /// Appends only the body.
    pub fn append_body(&self, buffer: &mut Vec<u8>) -> Result<(), MessageError> {
        append_u16(buffer, self.events.len())?;
        for event in &self.events {
            buffer.extend_from_slice(&event.index.to_le_bytes());
            buffer.push(event.outcome.number());
            buffer.extend_from_slice(&event.charge_nano.to_le_bytes());
        }
        append_u16(buffer, self.available_nano.len())?;
        for available in &self.available_nano {
            buffer.extend_from_slice(&available.to_le_bytes());
        }
        buffer.push(u8::try_from(self.currency.len()).map_err(|_| MessageError::TooLong)?);
        buffer.extend_from_slice(self.currency.as_bytes());
        Ok(())
    }
}

fn append_u16(buffer: &mut Vec<u8>, number: usize) -> Result<(), MessageError> {
    buffer.extend_from_slice(&u16::try_from(number).map_err(|_| MessageError::TooLong)?.to_le_bytes());
    Ok(())
}

fn append_text(buffer: &mut Vec<u8>, text: &str) -> Result<(), MessageError> {
    append_u16(buffer, text.len())?;
    buffer.extend_from_slice(text.as_bytes());
    Ok(())
}

/// What has not been read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], MessageError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(MessageError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], MessageError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(MessageError::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    #[inline]
    fn u16(&mut self) -> Result<u16, MessageError> {
        self.array().map(u16::from_le_bytes)
    }

    #[inline]
    fn text(&mut self) -> Result<&'a str, MessageError> {
        let length = self.u16()?;
        self.utf8(usize::from(length))
    }

    #[inline]
    fn utf8(&mut self, length: usize) -> Result<&'a str, MessageError> {
        simdutf8::basic::from_utf8(self.take(length)?).map_err(|_| MessageError::Text)
    }

    fn long_bytes(&mut self) -> Result<&'a [u8], MessageError> {
        let length = u32::from_le_bytes(self.array()?);
        self.take(usize::try_from(length).map_err(|_| MessageError::TooLong)?)
    }

    fn finish(&self) -> Result<(), MessageError> {
        if self.0.is_empty() { Ok(()) } else { Err(MessageError::Trailing) }
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
