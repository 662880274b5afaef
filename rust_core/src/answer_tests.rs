//! What goes to Redis and the core is what was decoded, and the answer adds up.

use super::*;
use crate::event::decode_batch;
use crate::message::{Message, MessageBody, Reply};
use crate::money::{NANO, format_nano};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

const NOW_US: i64 = 1_785_513_600_000_000;

/// A batch where `customers[i]` is the customer of event i, and None an invalid event.
fn batch(customers: &[Option<u8>]) -> DecodedBatch {
    let events: Vec<String> = customers
        .iter()
        .enumerate()
        .map(|(number, customer)| match customer {
            Some(customer) => format!(
                r#"{{"customerExternalId":"c\"{customer}","idempotencyKey":"k{number}","metric":"images","quantity":1,
                    "occurredAt":"2026-07-31T15:00:00Z","dimensions":{{"model":"m{}"}}}}"#,
                customer % 2
            ),
            None => format!(r#"{{"idempotencyKey":"k{number}"}}"#),
        })
        .collect();
    decode_batch(format!("{{\"events\":[{}]}}", events.join(",")).as_bytes(), 7, NOW_US, 500).unwrap()
}

fn charges() -> HashMap<[u8; KEY_HASH_LENGTH], String> {
    HashMap::new()
}

proptest! {
    /// Whatever is known already and whatever the core says: counts, sums, order and balances are those of a recount.
    #[test]
    fn answers_add_up(
        events in vec((prop::option::weighted(0.8, 0..6_u8), prop::sample::select(Outcome::ALL), 0..10_i128.pow(20)), 1..40),
        seen in prop::bool::weighted(0.2), all_results: bool,
    ) {
        let customers: Vec<_> = events.iter().map(|(customer, ..)| *customer).collect();
        let mut batch = batch(&customers);
        if seen {
            batch.mark_seen();
        }

        let pending: Vec<usize> = (0..events.len()).filter(|index| events[*index].0.is_some() && !seen).collect();
        prop_assert_eq!(batch.pending(), pending.len());
        let bytes = batch.message([9; 16], b"reply:1", true).unwrap();
        let message = Message::parse(&bytes).unwrap();
        let MessageBody::Usage(section) = message.body else { panic!("not usage") };
        let section_bytes = batch.section().unwrap();
        prop_assert_eq!(UsageSection::parse(&section_bytes), Ok(section.clone()));
        let mut reply = UsageReply { events: vec![], available_nano: vec![], currency: "CNY" };
        for (event, index) in section.events.iter().zip(&pending) {
            prop_assert_eq!(usize::from(event.index), *index);
            prop_assert_eq!(section.customers[usize::from(event.customer)], format!("c\"{}", customers[*index].unwrap()));
            let dimensions = format!("{{\"model\":\"m{}\"}}", customers[*index].unwrap() % 2);
            prop_assert_eq!(section.shapes[usize::from(event.shape)], Shape { metric: "images", dimensions: &dimensions });
            reply.events.push(EventReply { index: event.index, outcome: events[*index].1, charge_nano: events[*index].2 });
        }
        reply.available_nano = (0..section.customers.len()).map(|place| i128::try_from(place).unwrap() * NANO - 1).collect();
        let reply_bytes = reply.encode([9; 16]).unwrap();

        let json = batch.answer(Some(Reply::parse(&reply_bytes).unwrap().body), all_results, "req_\"1", &charges()).unwrap();
        let answer: Value = serde_json::from_slice(&json).unwrap();
        let word = |index: usize| match events[index] {
            (None, ..) => "rejected",
            (Some(_), ..) if seen => "duplicate",
            (Some(_), outcome, _) => outcome.word(),
        };
        let words: Vec<_> = (0..events.len()).map(word).collect();
        let count = |wanted: &[&str]| words.iter().filter(|word| wanted.contains(word)).count() as u64;
        prop_assert_eq!(answer["accepted"].as_u64(), Some(count(&["accepted"])));
        prop_assert_eq!(answer["duplicates"].as_u64(), Some(count(&["duplicate"])));
        prop_assert_eq!(answer["rejected"].as_u64(), Some(count(&["rejected", "conflict"])));
        let charged = pending.iter().filter(|index| words[**index] == "accepted").map(|index| events[*index].2).sum();
        prop_assert_eq!(&answer["charged"], &Value::from(format_nano(charged)));
        prop_assert_eq!(answer["requestId"].as_str(), Some("req_\"1"));
        let listed: Vec<usize> = (0..events.len()).filter(|index| all_results || words[*index] != "accepted").collect();
        let results = answer["results"].as_array().unwrap();
        prop_assert_eq!(results.len(), listed.len());
        for (result, index) in results.iter().zip(listed) {
            prop_assert_eq!(result["index"].as_u64(), Some(index as u64));
            prop_assert_eq!(&result["idempotencyKey"], &Value::from(format!("k{index}")));
            prop_assert_eq!(result["outcome"].as_str(), Some(words[index]));
            prop_assert_eq!(result.get("code").is_some(), matches!(words[index], "rejected" | "conflict"));
        }
        let balances = answer["balances"].as_object().unwrap();
        prop_assert_eq!(balances.len(), section.customers.len());
        for (customer, available) in section.customers.iter().zip(&reply.available_nano) {
            prop_assert_eq!(&balances[*customer], &Value::from(format_nano(*available)));
        }
    }
}

/// Duplicates carry the charge of the original where it is known, and are not charged again.
#[test]
fn duplicates_show_their_charge() {
    let mut batch = batch(&[Some(1), Some(1)]);
    batch.mark_seen();
    assert_eq!(batch.pending(), 0);
    let known = HashMap::from([(batch.events()[0].key_hash, "0.5".to_owned())]);
    let answer: Value = serde_json::from_slice(&batch.answer(None, false, "r", &known).unwrap()).unwrap();
    assert_eq!(answer["charged"], "0");
    assert_eq!(answer["results"][0]["charge"], "0.5");
    assert!(answer["results"][1].get("charge").is_none());
    assert_eq!(answer["balances"], serde_json::json!({}));
}

/// Another batch's reply is an error, never a wrong answer.
#[test]
fn foreign_replies_are_refused() {
    let batch = batch(&[Some(1), None, Some(2)]);
    assert_eq!(batch.answer(None, false, "r", &charges()), Err(AnswerError::Mismatch));
    let body = |indexes: &[u16], customers: usize| {
        let events = indexes.iter().map(|index| EventReply { index: *index, outcome: Outcome::Accepted, charge_nano: i128::MAX }).collect();
        let mut bytes = Vec::new();
        UsageReply { events, available_nano: vec![0; customers], currency: "CNY" }.append_body(&mut bytes).unwrap();
        bytes
    };
    for (indexes, customers) in [(&[0, 1][..], 2), (&[2, 0], 2), (&[0], 2), (&[0, 2, 3], 2)] {
        assert_eq!(batch.answer(Some(&body(indexes, customers)), false, "r", &charges()), Err(AnswerError::Mismatch));
    }
    assert_eq!(batch.answer(Some(&body(&[0, 2], 2)), false, "r", &charges()), Err(AnswerError::Range));
    assert!(matches!(batch.answer(Some(b"x"), false, "r", &charges()), Err(AnswerError::Reply(_))));
}

/// The question to Redis names the batch once for each generation, in the set of its shard; what the core is told is the same mark.
#[test]
fn asks_redis_for_the_batch() {
    let batch = batch(&[Some(1), None]);
    let event = batch.events()[0];
    let mark: Mark = blake3::hash(&[&event.key_hash[..], &event.fingerprint.to_le_bytes()].concat()).as_bytes()[..16].try_into().unwrap();
    let member = [&7_u64.to_le_bytes()[..], &mark].concat();
    let set = |generation: &str| format!("{generation}:{:x}", mark[0] >> 4);
    let expected: Vec<u8> =
        ["a", "b"].iter().flat_map(|key| crate::resp::pack_command(&[b"SISMEMBER", set(key).as_bytes(), &member])).collect();
    assert_eq!(batch.seen_command(&[b"a", b"b"]), (expected, 2));
    assert_eq!(Message::parse(&batch.message([9; 16], b"r", false).unwrap()).unwrap().mark, mark);
    let problems: Value = serde_json::from_slice(&batch.problems()).unwrap();
    assert_eq!(problems[0]["param"], "events[1].customerExternalId");
    assert_eq!(problems[0]["code"], "missing_field");
}

/// Another order, another payload, one event more or less: another batch.
#[test]
fn a_mark_is_of_one_batch_only() {
    let marks: std::collections::BTreeSet<Mark> =
        [&[Some(1), Some(2)][..], &[Some(2), Some(1)], &[Some(1)], &[Some(1), Some(1)], &[Some(1), Some(2), Some(3)]]
            .map(|customers| batch(customers).mark)
            .into();
    assert_eq!(marks.len(), 5);
    assert_eq!(batch(&[Some(1), Some(2)]).mark, batch(&[Some(1), Some(2), None]).mark);
}
