//! The rules of a usage batch a second time, as plainly as possible, on top of serde_json: what the fast decoder is
//! compared with. It shares no code with it but the hashes, and reads times and decimals in its own way.

use buffmoney_core::event::{BatchError, DecodedBatch};
use buffmoney_core::identity::{Payload, key_hash};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashSet};
use std::fmt;

/// JSON that remembers repeated names and the text of its numbers.
#[derive(Clone, Debug)]
pub enum Node {
    Text(String),
    Number(String),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
    Literal,
}

/// An object's members in the order of the text, repeated names and all.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(member) = members.next_entry()? {
            all.push(member);
        }
        Ok(all)
    }
}

impl Node {
    /// None: not JSON, too deep, or a number beyond a double.
    fn parse(raw: &RawValue, depth: usize) -> Option<Self> {
        let text = raw.get();
        match text.as_bytes().first()? {
            b'"' => serde_json::from_str(text).ok().map(Self::Text),
            b'-' | b'0'..=b'9' => text.parse::<f64>().ok().filter(|number| number.is_finite()).map(|_| Self::Number(text.to_owned())),
            b'{' | b'[' if depth == 64 => None,
            b'[' => {
                let elements: Vec<&RawValue> = serde_json::from_str(text).ok()?;
                elements.into_iter().map(|element| Self::parse(element, depth + 1)).collect::<Option<_>>().map(Self::Array)
            }
            b'{' => {
                let members = serde_json::Deserializer::from_str(text).deserialize_map(Members).ok()?;
                members
                    .into_iter()
                    .map(|(name, value)| Some((name, Self::parse(value, depth + 1)?)))
                    .collect::<Option<_>>()
                    .map(Self::Object)
            }
            _ => Some(Self::Literal),
        }
    }
}

/// An event as both decoders see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    Valid { customer: String, key: String, metric: String, quantity: i128, time: i64, dimensions: String, hash: [u8; 16], fingerprint: u64 },
    Invalid { code: &'static str, param: String, key: Option<String> },
}

/// A batch, or the status and code of its refusal.
pub type Verdict = Result<Vec<Judged>, (u16, &'static str)>;

/// The fast decoder's batch in the same terms.
pub fn fast_verdict(decoded: Result<DecodedBatch, BatchError>) -> Verdict {
    let batch = decoded.map_err(|error| (error.status, error.code))?;
    let mut judged = BTreeMap::new();
    for event in batch.events() {
        let (metric, dimensions) = batch.shape(event.shape);
        let valid = Judged::Valid {
            customer: batch.customer(event.customer).to_owned(),
            key: batch.idempotency_key(event).to_owned(),
            metric: metric.to_owned(),
            quantity: event.quantity_nano,
            time: event.occurred_us,
            dimensions: dimensions.to_owned(),
            hash: event.key_hash,
            fingerprint: event.fingerprint,
        };
        assert!(judged.insert(event.index, valid).is_none());
    }
    for event in batch.invalid() {
        let key = batch.invalid_key(event).map(str::to_owned);
        let invalid = Judged::Invalid { code: event.outcome.code(), param: batch.invalid_param(event), key };
        assert!(judged.insert(event.index, invalid).is_none());
    }
    assert_eq!(batch.count(), judged.len());
    assert!(judged.keys().copied().eq(0..u16::try_from(judged.len()).expect("fewer than 65,536 events")), "no event is lost");
    Ok(judged.into_values().collect())
}

/// Decodes slowly.
pub fn slow_verdict(body: &[u8], tenant_id: u64, now_us: i64, max_events: usize) -> Verdict {
    let malformed = (400, "malformed_json");
    let text = std::str::from_utf8(body).map_err(|_| malformed)?;
    let raw: &RawValue = serde_json::from_str(text).map_err(|_| malformed)?;
    let node = Node::parse(raw, 0).ok_or(malformed)?;
    let Node::Object(members) = node else { return Err((422, "invalid_batch")) };
    let names: HashSet<_> = members.iter().map(|(name, _)| name).collect();
    if names.len() < members.len() {
        return Err(malformed);
    }
    let [(name, Node::Array(events))] = &members[..] else { return Err((422, "invalid_batch")) };
    if name != "events" {
        return Err((422, "invalid_batch"));
    }
    match events.len() {
        0 => Err((422, "empty_batch")),
        count if count > max_events => Err((413, "too_many_events")),
        _ => Ok(events.iter().enumerate().map(|(index, event)| judge(index, event, tenant_id, now_us)).collect()),
    }
}

fn judge(index: usize, event: &Node, tenant_id: u64, now_us: i64) -> Judged {
    let whole = format!("events[{index}]");
    let Node::Object(members) = event else { return Judged::Invalid { code: "invalid_event", param: whole, key: None } };
    let value = |name: &str| members.iter().find(|(other, _)| other == name).map(|(_, node)| node);
    let key = value("idempotencyKey").and_then(plain_text);
    let fails = |code: &'static str, name: &str| Judged::Invalid { code, param: format!("{whole}.{name}"), key: key.clone() };

    let known = ["customerExternalId", "idempotencyKey", "metric", "quantity", "occurredAt", "dimensions"];
    let mut met = HashSet::new();
    for (name, _) in members {
        if !known.contains(&name.as_str()) {
            let mut cut = name.len().min(255);
            while !name.is_char_boundary(cut) {
                cut -= 1;
            }
            let param = if name.is_empty() { whole } else { format!("{whole}.{}", &name[..cut]) };
            return Judged::Invalid { code: "unknown_field", param, key };
        }
        if !met.insert(name) {
            return fails("invalid_event", name);
        }
    }
    for name in &known[..5] {
        if value(name).is_none() {
            return fails("missing_field", name);
        }
    }
    let Some(customer) = value("customerExternalId").and_then(plain_text) else { return fails("invalid_customer", "customerExternalId") };
    let Some(key) = key.clone() else { return fails("invalid_idempotency_key", "idempotencyKey") };
    let Some(metric) = value("metric").and_then(metric_code) else { return fails("invalid_metric", "metric") };
    let Some(quantity) = value("quantity").and_then(quantity_nano) else { return fails("invalid_quantity", "quantity") };
    let time = match value("occurredAt").and_then(time_us) {
        None => return fails("invalid_time", "occurredAt"),
        Some(time) if time > now_us + 300_000_000 => return fails("in_future", "occurredAt"),
        Some(time) if time < now_us - 35 * 86_400_000_000 => return fails("too_old", "occurredAt"),
        Some(time) => time,
    };
    let dimensions = match value("dimensions") {
        None => "{}".to_owned(),
        Some(node) => match canonical(node) {
            Some(text) => text,
            None => return fails("invalid_dimensions", "dimensions"),
        },
    };
    let payload =
        Payload { tenant_id, customer: &customer, metric: &metric, quantity_nano: quantity, occurred_us: time, dimensions: &dimensions };
    let (fingerprint, hash) = (payload.fingerprint(), key_hash(tenant_id, key.as_bytes()));
    Judged::Valid { customer, key, metric, quantity, time, dimensions, hash, fingerprint }
}

fn plain_text(node: &Node) -> Option<String> {
    match node {
        Node::Text(text) if (1..=255).contains(&text.len()) && !text.chars().any(char::is_control) => Some(text.clone()),
        _ => None,
    }
}

fn name_like(text: &str, first: fn(char) -> bool, rest: fn(char) -> bool) -> bool {
    text.chars().next().is_some_and(first) && text.chars().all(rest) && text.len() <= 64
}

fn metric_code(node: &Node) -> Option<String> {
    match node {
        Node::Text(text) if name_like(text, |c| c.is_ascii_lowercase(), |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') => {
            Some(text.clone())
        }
        _ => None,
    }
}

fn quantity_nano(node: &Node) -> Option<i128> {
    let (Node::Text(text) | Node::Number(text)) = node else { return None };
    let (integer, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str, most: usize| (1..=most).contains(&part.len()) && part.chars().all(|c| c.is_ascii_digit());
    if !digits(integer, 18) || !digits(fraction, 9) {
        return None;
    }
    format!("{integer}{fraction:0<9}").parse().ok().filter(|nano| *nano > 0)
}

fn time_us(node: &Node) -> Option<i64> {
    let Node::Text(text) = node else { return None };
    if !text.is_ascii() || text.len() < 20 {
        return None;
    }
    let pattern = |text: &str, pattern: &str| {
        text.len() == pattern.len()
            && text.chars().zip(pattern.chars()).all(|(c, p)| if p == '0' { c.is_ascii_digit() } else { c.eq_ignore_ascii_case(&p) })
    };
    let (date_time, rest) = text.split_at(19);
    let number = |from: usize, to: usize| text[from..to].parse::<i64>().ok();
    if !pattern(date_time, "0000-00-00T00:00:00") {
        return None;
    }
    let (year, month, day, hour, minute, second) =
        (number(0, 4)?, number(5, 7)?, number(8, 10)?, number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let month_index = usize::try_from(month).ok()?.checked_sub(1)?;
    if year == 0 || year == 9999 || day < 1 || day > *lengths.get(month_index)? || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let zone_at = rest.find(|c: char| c != '.' && !c.is_ascii_digit())?;
    let (fraction, zone) = rest.split_at(zone_at);
    let fraction_us = match fraction.strip_prefix('.') {
        None if fraction.is_empty() => 0,
        Some(digits) if (1..=9).contains(&digits.len()) && !digits.contains('.') => {
            let nanos: i64 = format!("{digits:0<9}").parse().ok()?;
            if nanos % 1000 != 0 {
                return None;
            }
            nanos / 1000
        }
        _ => return None,
    };
    let offset_s = if pattern(zone, "Z") {
        0
    } else if pattern(zone, "+00:00") || pattern(zone, "-00:00") {
        let (hours, minutes): (i64, i64) = (zone[1..3].parse().ok()?, zone[4..6].parse().ok()?);
        if hours > 23 || minutes > 59 {
            return None;
        }
        (hours * 3600 + minutes * 60) * if zone.starts_with('-') { -1 } else { 1 }
    } else {
        return None;
    };
    let years: i64 = (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum::<i64>()
        - (year..1970).map(|year| if leap(year) { 366 } else { 365 }).sum::<i64>();
    let days = years + lengths[..month_index].iter().sum::<i64>() + day - 1;
    Some((days * 86_400 + hour * 3600 + minute * 60 + second - offset_s) * 1_000_000 + fraction_us)
}

fn canonical(node: &Node) -> Option<String> {
    let Node::Object(members) = node else { return None };
    let mut sorted = BTreeMap::new();
    for (name, value) in members {
        let allowed = name_like(name, |c| c.is_ascii_alphabetic(), |c| c.is_ascii_alphanumeric() || "_.-".contains(c));
        if !allowed || sorted.insert(name.clone(), plain_text(value)?).is_some() {
            return None;
        }
    }
    if sorted.len() > 16 { None } else { serde_json::to_string(&sorted).ok() }
}
