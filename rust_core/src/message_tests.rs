//! Messages and replies survive the journey, and no bytes at all make the parser panic.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

const HEADER: Header<'static> = Header { redelivered: true, tenant_id: 1, message_id: [7; 16], reply_to: b"reply:x", mark: [3; 16] };

#[derive(Clone, Debug)]
struct OwnedEvent {
    numbers: ([u8; 16], u64, u16, prop::sample::Index, prop::sample::Index, i128, i64),
    key: String,
}

type OwnedSection = (Vec<String>, Vec<(String, String)>, Vec<OwnedEvent>);

fn section() -> impl Strategy<Value = OwnedSection> {
    let event = (any::<([u8; 16], u64, u16, prop::sample::Index, prop::sample::Index, i128, i64)>(), "\\PC{0,30}")
        .prop_map(|(numbers, key)| OwnedEvent { numbers, key });
    (vec("\\PC{0,20}", 1..8), vec(("[a-z]{1,9}", "\\PC{0,30}"), 1..8), vec(event, 0..12))
}

fn borrow(owned: &OwnedSection) -> UsageSection<'_> {
    let (customers, shapes, events) = owned;
    UsageSection {
        customers: customers.iter().map(String::as_str).collect(),
        shapes: shapes.iter().map(|(metric, dimensions)| Shape { metric, dimensions }).collect(),
        events: events
            .iter()
            .map(|OwnedEvent { numbers: (key_hash, fingerprint, index, customer, shape, quantity_nano, occurred_us), key }| UsageEvent {
                key_hash: *key_hash,
                fingerprint: *fingerprint,
                index: *index,
                customer: u16::try_from(customer.index(customers.len())).unwrap(),
                shape: u16::try_from(shape.index(shapes.len())).unwrap(),
                quantity_nano: *quantity_nano,
                occurred_us: *occurred_us,
                idempotency_key: key,
            })
            .collect(),
    }
}

/// Customers and keys, as an outline tells them.
fn told(message: &Message<'_>) -> (Vec<String>, Vec<[u8; 16]>) {
    match &message.body {
        MessageBody::Usage(section) | MessageBody::Command { usage: Some(section), .. } => {
            (section.customers.iter().map(ToString::to_string).collect(), section.events.iter().map(|event| event.key_hash).collect())
        }
        MessageBody::Command { usage: None, .. } => Default::default(),
    }
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop::sample::select(Outcome::ALL)
}

proptest! {
    /// Usage and commands come out as they went in; any cut or any longer bytes are refused.
    #[test]
    fn messages_round_trip(
        owned in section(), kind in 0..3_u8, redelivered: bool, tenant_id: u64, message_id: [u8; 16],
        reply_to in vec(any::<u8>(), 0..40), command in vec(any::<u8>(), 0..60), cut: prop::sample::Index, mark: [u8; 16],
    ) {
        let usage = borrow(&owned);
        let header = Header { redelivered, tenant_id, message_id, reply_to: &reply_to, mark };
        let mut section = Vec::new();
        usage.append_to(&mut section).unwrap();
        prop_assert_eq!(UsageSection::parse(&section), Ok(usage.clone()));
        let (mut bytes, body) = match kind {
            0 => (usage_message(header, &usage).unwrap(), MessageBody::Usage(usage)),
            1 => (command_message(header, &command, &section).unwrap(), MessageBody::Command { command: &command, usage: Some(usage) }),
            _ => (command_message(header, &command, b"").unwrap(), MessageBody::Command { command: &command, usage: None }),
        };
        let outline = Message::outline(&bytes).unwrap();
        let outlined = (outline.customers.iter().map(ToString::to_string).collect(), outline.keys().collect());
        prop_assert_eq!(outlined, told(&Message::parse(&bytes).unwrap()));
        prop_assert_eq!(outline.command, (kind > 0).then_some(&command[..]));
        prop_assert_eq!(Message::parse(&bytes), Ok(Message { redelivered, tenant_id, message_id, reply_to: &reply_to, mark, body }));
        prop_assert!(Message::parse(&bytes[..cut.index(bytes.len())]).is_err());
        bytes.push(0);
        prop_assert_eq!(Message::parse(&bytes), Err(MessageError::Trailing));
    }

    /// Replies likewise.
    #[test]
    fn replies_round_trip(
        events in vec((any::<u16>(), outcome(), any::<i128>()), 0..20), available_nano in vec(any::<i128>(), 0..9),
        currency in "[A-Z]{3}", message_id: [u8; 16], cut: prop::sample::Index,
    ) {
        let events = events.into_iter().map(|(index, outcome, charge_nano)| EventReply { index, outcome, charge_nano }).collect();
        let usage = UsageReply { events, available_nano, currency: &currency };
        let bytes = usage.encode(message_id).unwrap();
        let reply = Reply::parse(&bytes).unwrap();
        prop_assert_eq!((reply.message_id, reply.kind), (message_id, KIND_USAGE));
        prop_assert_eq!(reply.encode(), bytes.clone());
        prop_assert_eq!(UsageReply::parse(reply.body), Ok(usage.clone()));
        prop_assert!(UsageReply::parse(&reply.body[..cut.index(reply.body.len())]).is_err());
    }

    /// Damaged messages are read or refused.
    #[test]
    fn damage_is_survived(owned in section(), damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)) {
        let mut bytes = usage_message(HEADER, &borrow(&owned)).unwrap();
        let length = bytes.len();
        for (place, value) in damage {
            bytes[place.index(length)] = value;
        }
        let outline = Message::outline(&bytes);
        if let Ok(message) = Message::parse(&bytes) {
            prop_assert_eq!(outline.map(|outline| outline.keys().collect()), Ok(told(&message).1));
        }
        let _ = UsageReply::parse(&bytes);
        let _ = Reply::parse(&bytes);
    }
}

/// Foreign versions and kinds, dangling references and absurd counts are named.
#[test]
fn refusals_are_specific() {
    let bytes = usage_message(HEADER, &UsageSection { customers: vec!["c"], ..UsageSection::default() }).unwrap();
    let with = |place: usize, value: u8| {
        let mut changed = bytes.clone();
        changed[place] = value;
        changed
    };
    assert_eq!(Message::parse(&with(0, 9)), Err(MessageError::Version(9)));
    assert_eq!(Message::parse(&with(1, 9)), Err(MessageError::Kind(9)));
    assert_eq!(UsageSection::parse(&[0xff; 2]), Err(MessageError::Truncated));
    assert_eq!(UsageReply::parse(&[1, 0, 0, 0, 99]), Err(MessageError::Outcome(99)));
    let event = UsageEvent {
        key_hash: [0; 16],
        fingerprint: 0,
        index: 0,
        customer: 0,
        shape: 0,
        quantity_nano: 1,
        occurred_us: 0,
        idempotency_key: "k",
    };
    let mut dangling = Vec::new();
    UsageSection { customers: vec!["c"], shapes: vec![], events: vec![event] }.append_to(&mut dangling).unwrap();
    assert_eq!(UsageSection::parse(&dangling), Err(MessageError::Reference));
    let long = "x".repeat(70_000);
    let section = UsageSection { customers: vec![&long], ..UsageSection::default() };
    assert_eq!(section.append_to(&mut Vec::new()), Err(MessageError::TooLong));
}
