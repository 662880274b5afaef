//! The fast decoder judges every body as the slow one does: generated batches, and the same batches damaged.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod slow_decoder;

use buffmoney_core::event::decode_batch;
use proptest::collection::vec;
use proptest::prelude::*;
use slow_decoder::{fast_verdict, slow_verdict};

const NOW_US: i64 = 1_785_513_600_000_000;

fn assert_agreement(body: &[u8], max_events: usize) -> Result<(), TestCaseError> {
    let fast = fast_verdict(decode_batch(body, 7, NOW_US, max_events));
    prop_assert_eq!(fast, slow_verdict(body, 7, NOW_US, max_events), "{}", String::from_utf8_lossy(body));
    Ok(())
}

/// A JSON string with now and then something that strings should not have.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[a-z0-9-]{1,12}".prop_map(|text| format!("\"{text}\"")),
        1 => "\\PC{0,20}".prop_map(|text| serde_json::to_string(&text).unwrap()),
        1 => "(?s:.){0,12}".prop_map(|text| serde_json::to_string(&text).unwrap()),
        1 => (250_usize..260).prop_map(|length| format!("\"{}\"", "x".repeat(length))),
        1 => prop::sample::select(&[
            r#""""#, r#""\u0000""#, r#""\ud83d\ude00""#, r#""\ud83d""#, r#""a\/b""#, r#""\u0061""#, "\"\u{85}\"", "\"\u{7f}\"", "1", "null", "[]",
            "{\"a\":{}}", "\"a\tb\"", r#""\q""#,
        ][..]).prop_map(str::to_owned),
    ]
}

fn metric() -> impl Strategy<Value = String> {
    prop_oneof![5 => prop::sample::select(&["\"tokens_input\"", "\"tokens_output\"", "\"im\\u0061ges\""][..]).prop_map(str::to_owned), 1 => text()]
}

fn quantity() -> impl Strategy<Value = String> {
    prop_oneof![
        5 => "[0-9]{1,4}(\\.[0-9]{1,3})?".prop_map(|digits| format!("\"{digits}\"")),
        3 => "[1-9][0-9]{0,19}(\\.[0-9]{1,11})?",
        1 => "\"?-?[0-9]{0,3}\\.?[0-9]{0,3}([eE][-+]?[0-9]{1,3})?\"?",
        1 => text(),
    ]
}

fn time() -> impl Strategy<Value = String> {
    prop_oneof![
        5 => "\"2026-07-(0[1-9]|[12][0-9]|3[01])T[01][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6}0{0,3})?(Z|[-+]0[0-9]:[0-5][0-9])\"",
        2 => "\"20(2[0-9]|00)-(0[0-9]|1[0-3])-[0-3][0-9][Tt ][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{0,10})?([Zz]|[-+][0-2][0-9]:[0-6][0-9])?\"",
        1 => "\"[0-9]{4}-02-(28|29|30)T00:00:00Z\"",
        1 => text(),
    ]
}

fn dimensions() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        5 => prop::sample::select(&["\"model\"", "\"region\"", "\"m\\u006fdel\"", "\"x.y-Z_0\""][..]).prop_map(str::to_owned),
        1 => "\"[a-zA-Z0-9_. -]{0,3}\"",
        1 => (62_usize..67).prop_map(|length| format!("\"{}\"", "x".repeat(length))),
        1 => text().prop_filter("names are strings", |text| text.starts_with('"')),
    ];
    let object = |pairs: Vec<(String, String)>| {
        format!("{{{}}}", pairs.into_iter().map(|(name, value)| format!("{name}:{value}")).collect::<Vec<_>>().join(","))
    };
    let many =
        (14_usize..19).prop_map(move |count| object((0..count).map(|number| (format!("\"d{number}\""), "\"v\"".to_owned())).collect()));
    prop_oneof![
        4 => prop::sample::select(&[r#"{"model":"gpt-4o"}"#, r#"{ "region":"cn","model":"a"}"#, "{}"][..]).prop_map(str::to_owned),
        4 => vec((name, text()), 0..4).prop_map(object),
        1 => many,
        1 => text(),
    ]
}

fn event() -> impl Strategy<Value = String> {
    let fields = (text(), text(), metric(), quantity(), time(), dimensions());
    let extra = prop_oneof![
        8 => Just(None),
        1 => (prop::sample::select(&["metric", "quantity", "merchantId", "\\u0069d", "", "dimensions"][..]), text()).prop_map(Some),
    ];
    let object = (fields, extra, any::<prop::sample::Index>(), 0..40_u8, Just([0, 1, 2, 3, 4, 5]).prop_shuffle(), "[ \n]{0,2}").prop_map(
        |((customer, key, metric, quantity, time, dimensions), extra, place, missing, order, space)| {
            let all = [
                format!("\"customerExternalId\"{space}:{customer}"),
                format!("\"idempotencyKey\":{space}{key}"),
                format!("\"metric\":{metric}{space}"),
                format!("{space}\"quantity\":{quantity}"),
                format!("\"occurredAt\":{time}"),
                format!("\"dimensions\":{dimensions}"),
            ];
            let mut parts: Vec<String> =
                order.iter().filter(|number| **number != usize::from(missing)).map(|number| all[*number].clone()).collect();
            if let Some((name, value)) = extra {
                parts.insert(place.index(parts.len() + 1), format!("\"{name}\":{value}"));
            }
            format!("{{{}}}", parts.join(","))
        },
    );
    prop_oneof![12 => object, 1 => text()]
}

fn batch() -> impl Strategy<Value = String> {
    let around = prop_oneof![
        12 => Just(("", "")),
        1 => prop::sample::select(&[("\"a\":1,", ""), ("", ",\"events\":[]"), ("", ",\"b\":{},\"\\u0062\":1"), ("", ",\"x\":1e400"), ("", ",")][..]),
    ];
    (vec(event(), 0..12), around).prop_map(|(events, (before, after))| format!("{{{before}\"events\":[{}]{after}}}", events.join(",")))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 600,
        // Every run tries the same bodies; the fuzz target looks for new ones.
        rng_seed: proptest::test_runner::RngSeed::Fixed(500),
        ..ProptestConfig::default()
    })]

    /// Batches as clients might write them.
    #[test]
    fn on_generated_batches(body in batch(), max_events in 8_usize..14) {
        assert_agreement(body.as_bytes(), max_events)?;
    }

    /// The same with bytes changed, lost or doubled.
    #[test]
    fn on_damaged_batches(
        body in batch(),
        damage in vec((any::<prop::sample::Index>(), 0..3_u8, prop_oneof![prop::sample::select(&b"\"\\{}[]:,0e.u \x00\xff\xc2\x85"[..]), any::<u8>()]), 1..5),
    ) {
        let mut bytes = body.into_bytes();
        for (place, kind, byte) in damage {
            let place = place.index(bytes.len());
            match kind {
                0 => bytes[place] = byte,
                1 => bytes.insert(place, byte),
                _ if bytes.len() > 1 => drop(bytes.remove(place)),
                _ => {}
            }
        }
        assert_agreement(&bytes, 500)?;
    }
}
