//! Each rule of the body, with the outcome that breaking it gets. Tests against an independent slow decoder are in `tests/`.

use super::*;

const NOW_US: i64 = 1_785_513_600_000_000;

fn decode(body: &str) -> Result<DecodedBatch, BatchError> {
    decode_batch(body.as_bytes(), 7, NOW_US, 500)
}

fn refusal(body: &str) -> (u16, &'static str, Option<String>) {
    let error = decode(body).unwrap_err();
    (error.status, error.code, error.param)
}

/// An event with one field replaced (`None`: left out).
fn with(field: &str, value: Option<&str>) -> String {
    let fields = [
        ("customerExternalId", r#""c1""#),
        ("idempotencyKey", r#""k1""#),
        ("metric", r#""tokens_input""#),
        ("quantity", r#""12.5""#),
        ("occurredAt", r#""2026-07-31T23:59:59.999999+08:00""#),
        ("dimensions", r#"{"region":"cn","model":"gpt-4o"}"#),
    ];
    let parts: Vec<String> = fields
        .iter()
        .filter_map(|(name, usual)| if *name == field { value } else { Some(*usual) }.map(|value| format!("\"{name}\":{value}")))
        .collect();
    format!("{{\"events\":[{{{}}}]}}", parts.join(","))
}

fn outcome(body: &str) -> (Outcome, String) {
    let batch = decode(body).unwrap();
    assert_eq!((batch.count(), batch.rejected(), batch.all_invalid()), (1, 1, true), "{body}");
    (batch.invalid()[0].outcome, batch.invalid_param(&batch.invalid()[0]))
}

/// A whole event arrives as sent, with canonical dimensions and the documented hashes.
#[test]
fn decodes_an_event() {
    let batch = decode(&with("", None)).unwrap();
    let event = batch.events()[0];
    assert_eq!((batch.count(), batch.rejected(), batch.all_invalid()), (1, 0, false));
    assert_eq!((batch.customer(event.customer), batch.idempotency_key(&event)), ("c1", "k1"));
    let dimensions = r#"{"model":"gpt-4o","region":"cn"}"#;
    assert_eq!(batch.shape(event.shape), ("tokens_input", dimensions));
    assert_eq!((event.quantity_nano, event.occurred_us), (12_500_000_000, 1_785_513_599_999_999));
    assert_eq!(event.key_hash, crate::identity::key_hash(7, b"k1"));
    let payload = Payload {
        tenant_id: 7,
        customer: "c1",
        metric: "tokens_input",
        quantity_nano: 12_500_000_000,
        occurred_us: 1_785_513_599_999_999,
        dimensions,
    };
    assert_eq!(event.fingerprint, payload.fingerprint());
}

/// The same event in other words is the same event: escapes, order, number or string, zone, white space.
#[test]
fn spelling_does_not_matter() {
    let same = r#" { "\u0065vents" : [ {"dimensions":{"m\u006fdel":"gpt\u002d4o","region":"cn"}, "quantity":12.50,
        "occurredAt":"2026-07-31T15:59:59.9999990Z","metric":"tokens\u005finput", "idempotencyKey":"\u006b1","customerExternalId":"c1"} ] } "#;
    let (left, right) = (decode(&with("", None)).unwrap(), decode(same).unwrap());
    assert_eq!((left.events()[0].key_hash, left.events()[0].fingerprint), (right.events()[0].key_hash, right.events()[0].fingerprint));
    for none in [with("dimensions", None), with("dimensions", Some("{}")), with("dimensions", Some(" {\n} "))] {
        let batch = decode(&none).unwrap();
        assert_eq!(batch.shape(batch.events()[0].shape).1, "{}");
    }
}

/// A body that is not JSON gets 400 whatever else is wrong with it.
#[test]
fn refuses_malformed_bodies() {
    let deep = format!("{{\"events\":{}", "[".repeat(100_000));
    let bodies = [
        "",
        " ",
        "{",
        "{\"events\":[",
        "{\"events\":[]",
        "{\"events\":[]}x",
        "{\"events\":[],}",
        "{\"events\":[],\"events\":[]}",
        "{\"x\":1,\"\\u0078\":2,\"events\":[]}",
        "{\"x\":1e400,\"events\":[]}",
        "{\"x\":NaN}",
        "[Infinity]",
        &deep,
        &with("quantity", Some("1e400")),
        &with("quantity", Some("NaN")),
        &with("quantity", Some("01")),
        &with("idempotencyKey", Some(r#""\ud800""#)),
        &with("idempotencyKey", Some("\"a\nb\"")),
        &with("dimensions", Some(r#"{"a":"\udc00"}"#)),
        &with("other", Some("1e999")).replace("}]", ",\"other\":[1e999]}]"),
    ];
    for body in bodies {
        assert_eq!(refusal(body), (400, "malformed_json", None), "{body:.200}");
    }
    assert_eq!(decode_batch(b"{\"events\":[\"\xff\"]}", 7, NOW_US, 500).unwrap_err().status, 400);
}

/// JSON that is not a batch gets 422, and one event too many gets 413 whatever the events hold.
#[test]
fn refuses_what_is_no_batch() {
    let about = |name: &str| Some(name.to_owned());
    for body in ["[]", "1", "null", "\"x\""] {
        assert_eq!(refusal(body), (422, "invalid_batch", None));
    }
    assert_eq!(refusal("{}"), (422, "invalid_batch", about("events")));
    assert_eq!(refusal("{\"events\":{}}"), (422, "invalid_batch", about("events")));
    assert_eq!(refusal("{\"events\":null}"), (422, "invalid_batch", about("events")));
    assert_eq!(refusal("{\"events\":[1],\"merchantId\":\"m\"}"), (422, "invalid_batch", about("merchantId")));
    assert_eq!(refusal("{\"events\":[]}"), (422, "empty_batch", about("events")));
    let events = |count: usize| format!("{{\"events\":[{}]}}", vec!["1"; count].join(","));
    assert_eq!(decode(&events(500)).unwrap().rejected(), 500);
    assert_eq!(refusal(&events(501)), (413, "too_many_events", about("events")));
    assert_eq!(refusal(&events(70_000)), (413, "too_many_events", about("events")));
}

/// Every required field is missed by name; dimensions may be absent.
#[test]
fn names_missing_fields() {
    for field in ["customerExternalId", "idempotencyKey", "metric", "quantity", "occurredAt"] {
        assert_eq!(outcome(&with(field, None)), (Outcome::MissingField, format!("events[0].{field}")));
    }
}

/// Each field's value is judged by its own rule.
#[test]
fn judges_values() {
    let long = format!("\"{}\"", "x".repeat(256));
    let wide = format!("\"{}\"", "é".repeat(128));
    let texts = [
        "1",
        "null",
        "true",
        "{}",
        "[]",
        "\"\"",
        r#""\u0000""#,
        r#""a\u001fb""#,
        "\"a\u{7f}b\"",
        "\"a\u{85}b\"",
        r#""a\u0085b""#,
        &long,
        &wide,
    ];
    for text in texts {
        assert_eq!(outcome(&with("customerExternalId", Some(text))).0, Outcome::InvalidCustomer, "{text}");
        assert_eq!(outcome(&with("idempotencyKey", Some(text))).0, Outcome::InvalidIdempotencyKey, "{text}");
        assert_eq!(outcome(&with("dimensions", Some(&format!("{{\"a\":{text}}}")))).0, Outcome::InvalidDimensions, "{text}");
    }
    let long_metric = format!("\"a{}\"", "x".repeat(64));
    for metric in ["1", "\"\"", "\"Tokens\"", "\"1a\"", "\"_a\"", "\"a-b\"", "\"a b\"", "\"é\"", "\"a\\u0000\"", &long_metric] {
        assert_eq!(outcome(&with("metric", Some(metric))), (Outcome::InvalidMetric, "events[0].metric".to_owned()), "{metric}");
    }
    for quantity in [
        "0",
        "-0",
        "-1",
        "0.0",
        "1e3",
        "1E3",
        "1e-3",
        "1.0000000001",
        "1000000000000000000",
        "null",
        "[]",
        "\"\"",
        "\"0\"",
        "\"-1\"",
        "\"+1\"",
        "\"1e300000\"",
        "\"1_000\"",
        "\"１２\"",
        "\"٣\"",
        "\" 5 \"",
        "\"NaN\"",
        "\"Infinity\"",
        "\"5\\u0000\"",
        "1234567890123456789012345",
    ] {
        assert_eq!(outcome(&with("quantity", Some(quantity))), (Outcome::InvalidQuantity, "events[0].quantity".to_owned()), "{quantity}");
    }
    for time in [
        "1785513600",
        "null",
        "\"2026-07-31T15:59:59\"",
        "\"2026-07-31T15:59:60Z\"",
        "\"9999-12-31T23:59:59Z\"",
        "\"2026-07-31T15:59:59.1234567Z\"",
    ] {
        assert_eq!(outcome(&with("occurredAt", Some(time))), (Outcome::InvalidTime, "events[0].occurredAt".to_owned()), "{time}");
    }
}

/// The window around now is closed: its ends are in, a microsecond beyond them is out.
#[test]
fn judges_times_to_the_microsecond() {
    let at = |time: &str| decode(&with("occurredAt", Some(&format!("\"{time}\"")))).unwrap();
    assert!(!at("2026-07-31T16:05:00Z").all_invalid());
    assert_eq!(at("2026-07-31T16:05:00.000001Z").invalid()[0].outcome, Outcome::InFuture);
    assert!(!at("2026-06-26T16:00:00Z").all_invalid());
    assert_eq!(at("2026-06-26T15:59:59.999999Z").invalid()[0].outcome, Outcome::TooOld);
}

/// Dimensions: objects of a few named strings, each name once.
#[test]
fn judges_dimensions() {
    let pairs = |count: usize| format!("{{{}}}", (0..count).map(|number| format!("\"d{number}\":\"v\"")).collect::<Vec<_>>().join(","));
    let long_name = format!("{{\"a{}\":\"v\"}}", "x".repeat(64));
    for dimensions in [
        "null",
        "[]",
        "\"x\"",
        "1",
        r#"{"a":"b","a":"c"}"#,
        r#"{"a":"b","\u0061":"b"}"#,
        r#"{"":"v"}"#,
        r#"{"1a":"v"}"#,
        r#"{"a b":"v"}"#,
        r#"{"a":{"b":"c"}}"#,
        &long_name,
        &pairs(17),
    ] {
        // Twice, since the second time comes from memory.
        let event = with("dimensions", Some(dimensions));
        let body = format!("{},{}", &event[..event.len() - 2], &event[11..]);
        let batch = decode(&body).unwrap();
        assert_eq!(batch.invalid().iter().map(|event| event.outcome).collect::<Vec<_>>(), [Outcome::InvalidDimensions; 2], "{dimensions}");
        assert_eq!(batch.invalid_key(&batch.invalid()[1]), Some("k1"));
    }
    assert!(!decode(&with("dimensions", Some(&pairs(16)))).unwrap().all_invalid());
    let batch = decode(&with("dimensions", Some(r#"{"b":"\"\\/é😀\ud83d\ude00","a.b-c_D":" "}"#))).unwrap();
    assert_eq!(batch.shape(0).1, "{\"a.b-c_D\":\" \",\"b\":\"\\\"\\\\/é😀😀\"}");
}

/// Foreign and repeated fields are that event's fault only, and its neighbours stand.
#[test]
fn one_bad_event_leaves_its_neighbours() {
    let good = with("", None);
    let event = &good[11..good.len() - 2];
    let foreign = event.replacen('{', "{\"merchantId\":{\"a\":[1]},", 1);
    let repeated = event.replacen('{', "{\"metric\":\"images\",", 1);
    let batch = decode(&format!("{{\"events\":[{event},{foreign},{repeated},7,{event}]}}")).unwrap();
    assert_eq!(batch.events().iter().map(|event| event.index).collect::<Vec<_>>(), [0, 4]);
    let told: Vec<_> = batch.invalid().iter().map(|event| (event.outcome, batch.invalid_param(event), batch.invalid_key(event))).collect();
    assert_eq!(
        told,
        [
            (Outcome::UnknownField, "events[1].merchantId".to_owned(), Some("k1")),
            (Outcome::InvalidEvent, "events[2].metric".to_owned(), Some("k1")),
            (Outcome::InvalidEvent, "events[3]".to_owned(), None),
        ]
    );
}

/// Customers and shapes are shared: many events, few of each, more than the memory of recent dimensions holds.
#[test]
fn shares_customers_and_shapes() {
    let events: Vec<String> = (0..400)
        .map(|number| {
            let event = with("dimensions", Some(&format!("{{\"model\":\"m{}\"}}", number % 20)));
            event[11..event.len() - 2].replace("\"c1\"", &format!("\"c{}\"", number % 7)).replace("\"k1\"", &format!("\"k{number}\""))
        })
        .collect();
    let batch = decode(&format!("{{\"events\":[{}]}}", events.join(","))).unwrap();
    assert_eq!((batch.events().len(), batch.customers(), batch.shapes()), (400, 7, 20));
    for event in batch.events() {
        assert_eq!(batch.customer(event.customer), format!("c{}", event.index % 7));
        assert_eq!(batch.shape(event.shape).1, format!("{{\"model\":\"m{}\"}}", event.index % 20));
        assert_eq!(batch.idempotency_key(event), format!("k{}", event.index));
    }
}
