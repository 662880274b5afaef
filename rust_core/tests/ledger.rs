//! What the engine writes, the verifier accepts; what anyone changes afterwards, it finds.
//!
//! Messages are built here byte by byte from the wire format, not with the crate's own encoder.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "test data is small")]

use std::collections::BTreeMap;

use buffmoney_core::copy::{CopyReader, read_int, read_numeric, read_numeric_array};
use buffmoney_core::counter::Counters;
use buffmoney_core::engine::{Engine, EngineError, WalletRow};
use buffmoney_core::identity::key_hash;
use buffmoney_core::key_tables::KeyTables;
use buffmoney_core::publish;
use buffmoney_core::rate::{CountingText, Terms, TermsError, TierText, currency_code};
use buffmoney_core::transaction::Group;
use buffmoney_core::verify::{Report, Verifier};
use buffmoney_core::void::StoredEvent;
use buffmoney_core::wallet::{Grant, GrantKind, NEVER, UNBILLED, WalletState};
use proptest::prelude::*;

const KEY: [u8; 32] = [7; 32];
const TENANT: i64 = 3;
const START_US: i64 = 1_790_000_000_000_000;
const NANO: i128 = 1_000_000_000;
const CATALOG: &str = r#"{"tenantId":3,"version":1,"currency":"CNY","unknownCustomers":"create","defaultOverdraftLimit":"0",
    "metrics":[{"id":1,"code":"tokens"},{"id":2,"code":"free"},{"id":3,"code":"tiered"}],"periods":{"anchorDay":1,"startsUs":[1788000000000000,1792000000000000]},
    "rateCards":[{"rateCardId":"rc","currency":"CNY","effectiveFromUs":null,"charges":[
        {"priceId":1,"metricId":1,"match":{},"price":"0.3","per":"7"},{"priceId":2,"metricId":2,"match":{},"price":"0","per":"1"},
        {"priceId":3,"metricId":3,"match":{},"model":"graduated","price":"0","per":"1","counterId":9,"allowance":"3","tiers":[
            {"upTo":"5","price":"0.2","per":"3"},{"upTo":"11.5","price":"0.1","per":"7"},{"upTo":null,"price":"0.05","per":"1"}]}]}]}"#;
/// `CATALOG`, of a merchant that bills pay-as-you-go or does not.
fn catalog(accrues: bool) -> String {
    CATALOG.replacen(r#""currency""#, &format!(r#""accrues":{accrues},"currency""#), 1)
}
const METRICS: [&str; 3] = ["tokens", "free", "tiered"];
const PERIODS: [i64; 2] = [1_788_000_000_000_000, 1_792_000_000_000_000];

fn tiered(allowance: &str) -> Result<Terms, TermsError> {
    let tier = |up_to: Option<&str>, price: &str, per: &str| TierText {
        up_to: up_to.map(str::to_owned),
        price: price.to_owned(),
        per: per.to_owned(),
    };
    let tiers = [tier(Some("5"), "0.2", "3"), tier(Some("11.5"), "0.1", "7"), tier(None, "0.05", "1")];
    Terms::parse("graduated", "0", "1", None, None)?.counted(&CountingText {
        counter_id: Some(9),
        allowance: Some(allowance),
        tiers: Some(&tiers),
        blocks: None,
    })
}

fn short(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn fingerprint(customer: &str, metric: &str, quantity: i128) -> u64 {
    let mut bytes = TENANT.to_le_bytes().to_vec();
    for text in [customer, metric] {
        bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes.extend_from_slice(&quantity.to_le_bytes());
    bytes.extend_from_slice(&START_US.to_le_bytes());
    bytes.extend_from_slice(&2_u32.to_le_bytes());
    bytes.extend_from_slice(b"{}");
    u64::from_le_bytes(blake3::hash(&bytes).as_bytes()[..8].try_into().unwrap())
}

fn header(kind: u8, id: u64) -> Vec<u8> {
    let mut out = vec![3, kind, 0, 0];
    out.extend_from_slice(&TENANT.to_le_bytes());
    out.extend_from_slice(&u128::from(id).to_le_bytes());
    short(&mut out, "reply:e");
    out.extend_from_slice(&[id as u8; 16]);
    out
}

/// One customer's events: (key, metric, quantity).
fn section(customer: &str, events: &[(&str, &str, i128)]) -> Vec<u8> {
    let mut out = 1_u16.to_le_bytes().to_vec();
    short(&mut out, customer);
    out.extend_from_slice(&3_u16.to_le_bytes());
    for metric in METRICS {
        short(&mut out, metric);
        short(&mut out, "{}");
    }
    out.extend_from_slice(&(events.len() as u16).to_le_bytes());
    for (index, (key, metric, quantity)) in events.iter().enumerate() {
        let mut identity = TENANT.to_le_bytes().to_vec();
        identity.extend_from_slice(key.as_bytes());
        out.extend_from_slice(&blake3::hash(&identity).as_bytes()[..16]);
        out.extend_from_slice(&fingerprint(customer, metric, *quantity).to_le_bytes());
        out.extend_from_slice(&(index as u16).to_le_bytes());
        out.extend_from_slice(&0_u16.to_le_bytes());
        let shape = METRICS.iter().position(|known| known == metric).unwrap_or(0);
        out.extend_from_slice(&(shape as u16).to_le_bytes());
        out.extend_from_slice(&quantity.to_le_bytes());
        out.extend_from_slice(&START_US.to_le_bytes());
        out.extend_from_slice(&(key.len() as u16).to_le_bytes());
    }
    let text: String = events.iter().map(|(key, ..)| *key).collect();
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    out
}

fn usage(id: u64, customer: &str, events: &[(&str, &str, i128)]) -> Vec<u8> {
    let mut out = header(1, id);
    out.extend_from_slice(&section(customer, events));
    out
}

fn command(id: u64, json: &str, events: Option<Vec<u8>>) -> Vec<u8> {
    let mut out = header(2, id);
    for part in [json.as_bytes(), &events.unwrap_or_default()] {
        out.extend_from_slice(&(part.len() as u32).to_le_bytes());
        out.extend_from_slice(part);
    }
    out
}

fn engine() -> Engine {
    let mut engine = Engine::new(0, KEY, 1_000, 1_000);
    engine.start(0, [0; 32], 1);
    engine
}

/// Loads what the engine asks for, from a database that has nothing; but leaves it to the caller to say which event keys there are.
fn satisfy(engine: &mut Engine, messages: &[&[u8]]) -> Vec<(i64, [u8; 16])> {
    loop {
        let mut needs = engine.needs(messages).unwrap();
        let keys = std::mem::take(&mut needs.keys);
        if needs.nothing() {
            return keys;
        }
        for tenant in &needs.catalogs {
            engine.load_catalog(*tenant, CATALOG.as_bytes()).unwrap();
        }
        engine.load_wallets(Vec::new(), needs.wallets);
        engine.load_holds(Vec::new(), needs.holds);
        let next = 1_000 + 2 * (engine.wallet_count() as i64);
        engine.add_account_ids((0..needs.account_ids as i64).map(|place| next + 2 * place));
    }
}

fn apply(engine: &mut Engine, messages: &[Vec<u8>], now_us: i64) -> Group {
    let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
    assert_eq!(satisfy(engine, &messages), []);
    engine.apply(&messages, now_us).unwrap()
}

/// A zero as NUMERIC(38, 9).
const ZERO: [u8; 8] = [0, 0, 0, 0, 0, 0, 0, 9];

/// Rows of one table over all groups, as raw COPY fields.
type Rows = Vec<Vec<Option<Vec<u8>>>>;

fn collect(tables: &mut BTreeMap<&'static str, Rows>, group: &Group) {
    for (table, _, bytes) in &group.copies {
        let mut reader = CopyReader::default();
        reader.feed(bytes);
        let mut ranges = Vec::new();
        while let Some(all) = reader.next_row(&mut ranges).unwrap() {
            let mut fields: Vec<_> = ranges.iter().map(|range| range.map(|(from, to)| all[from..to].to_vec())).collect();
            if *table == "postings" && fields.len() == 15 {
                // As the column's default has it.
                fields.push(Some(ZERO.to_vec()));
            }
            tables.entry(table).or_default().push(fields);
        }
    }
}

fn stream(rows: &Rows, columns: &[usize]) -> Vec<u8> {
    let mut out = b"PGCOPY\n\xff\r\n\0".to_vec();
    out.extend_from_slice(&[0; 8]);
    for fields in rows {
        out.extend_from_slice(&(columns.len() as i16).to_be_bytes());
        for column in columns {
            match &fields[*column] {
                Some(bytes) => {
                    out.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
                    out.extend_from_slice(bytes);
                }
                None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
            }
        }
    }
    out.extend_from_slice(&(-1_i16).to_be_bytes());
    out
}

fn verify(tables: &BTreeMap<&'static str, Rows>, last: &Group) -> Report {
    verify_with(tables, last, Terms::parse("per_unit", "0.3", "7", None, None), tiered("3"))
}

/// As if the line for tokens said this.
fn verify_with(
    tables: &BTreeMap<&'static str, Rows>,
    last: &Group,
    tokens: Result<Terms, TermsError>,
    tiered: Result<Terms, TermsError>,
) -> Report {
    let empty = Vec::new();
    let rows = |name: &str| tables.get(name).unwrap_or(&empty);
    let mut verifier = Verifier::new(KEY);
    let mut postings = rows("postings").clone();
    postings.sort_by(|left, right| left[..3].cmp(&right[..3]));
    verifier.postings(&stream(&postings, &(0..16).collect::<Vec<_>>())).unwrap();
    verifier.add_periods(TENANT, PERIODS.to_vec());
    verifier.add_price(TENANT, 1, *b"CNY", tokens);
    verifier.add_price(TENANT, 3, *b"CNY", tiered);
    verifier.add_price(TENANT, 2, *b"CNY", Terms::parse("per_unit", "0", "1", None, None));
    let mut voids = rows("usage_voids").clone();
    voids.sort_by(|left, right| left[..2].cmp(&right[..2]));
    verifier.voids(&stream(&voids, &(0..25).collect::<Vec<_>>())).unwrap();
    verifier.add_metric(TENANT, 1, "tokens".to_owned());
    verifier.add_metric(TENANT, 2, "free".to_owned());
    verifier.add_metric(TENANT, 3, "tiered".to_owned());
    for fields in rows("customers") {
        let account = i64::from_be_bytes(fields[1].clone().unwrap().try_into().unwrap());
        let currency = currency_code(std::str::from_utf8(fields[3].as_ref().unwrap()).unwrap()).unwrap();
        verifier.add_customer(TENANT, account, String::from_utf8(fields[2].clone().unwrap()).unwrap(), currency);
    }
    verifier.events(&stream(rows("usage_events"), &[0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12])).unwrap();
    let mut counters = rows("usage_counter_quantities").clone();
    counters.sort_by(|left, right| left[..4].cmp(&right[..4]));
    verifier.counters(&stream(&counters, &[0, 1, 2, 3, 4, 5, 6])).unwrap();
    verifier.event_keys(&stream(rows("event_keys"), &[0, 1, 2, 3])).unwrap();
    verifier.commits(&stream(rows("commits"), &(0..11).collect::<Vec<_>>())).unwrap();
    verifier.head(0, last.commit_seq - i64::from(last.empty), &last.head, &last.head_mac, true);
    verifier.finish()
}

fn grant(id: u64, customer: &str, amount: &str, priority: i16, expires: Option<i64>) -> Vec<u8> {
    let expires = expires.map_or("null".to_owned(), |expires| expires.to_string());
    let json = format!(
        r#"{{"type":"grant","commandId":"{id:032x}","customer":"{customer}","amount":"{amount}","currency":"CNY","kind":"bonus","priority":{priority},"expiresAtUs":{expires}}}"#
    );
    command(id, &json, None)
}

/// Parts: (the grant's number, amount).
fn refund(id: u64, customer: &str, parts: &[(u64, String)]) -> Vec<u8> {
    let parts: Vec<_> =
        parts.iter().map(|(grant, amount)| serde_json::json!({"grantId": format!("{grant:032x}"), "amount": amount})).collect();
    let json = serde_json::json!({"type": "refund", "commandId": format!("{id:032x}"), "customer": customer, "parts": parts});
    command(id, &json.to_string(), None)
}

fn reply_json(group: &Group, place: usize) -> serde_json::Value {
    serde_json::from_slice(&group.replies[place].2[17..]).unwrap()
}

fn outcomes(group: &Group, place: usize) -> Vec<u8> {
    let body = &group.replies[place].2[17..];
    let count = u16::from_le_bytes([body[0], body[1]]) as usize;
    (0..count).map(|event| body[2 + event * 19 + 2]).collect()
}

/// A wallet's grant is spent to its end and not beyond; the same key again is a duplicate, with other content a conflict.
#[test]
fn events_are_charged_once_and_never_below_the_floor() {
    let mut engine = engine();
    let group = apply(
        &mut engine,
        &[
            grant(1, "a", "1", 0, None),
            usage(
                2,
                "a",
                &[("k1", "tokens", 7 * NANO), ("k2", "tokens", 14 * NANO), ("k1", "tokens", 7 * NANO), ("k1", "tokens", 8 * NANO)],
            ),
            usage(3, "a", &[("k3", "tokens", 7 * NANO), ("k4", "free", NANO), ("k5", "nothing", NANO)][..2]),
        ],
        START_US,
    );
    assert_eq!(outcomes(&group, 1), [0, 0, 1, 2]);
    assert_eq!(outcomes(&group, 2), [10, 0], "0.1 is left, 0.3 is refused, what is free goes through");
    assert_eq!((group.postings, group.events, group.charged), (2, 3, 9 * NANO / 10));
}

/// The verifier derives charges under every model, and tells one line from another that differs in a single field.
#[test]
fn charges_of_every_model_are_derived_again() {
    type Line = (&'static str, &'static str, &'static str, Option<&'static str>, Option<&'static str>);
    let lines: [Line; 6] = [
        ("per_unit", "0.3", "7", None, None),
        ("per_unit", "0.3", "7", None, Some("0.5")),
        ("package", "0.3", "7", None, None),
        ("flat", "0.3", "1", None, None),
        ("markup", "0.3", "7", Some("20"), None),
        ("markup", "0.3", "7", Some("20"), Some("0.5")),
    ];
    for line in lines {
        let (model, price, per, percent, minimum) = line;
        let optional = |name: &str, value: Option<&str>| value.map_or(String::new(), |value| format!(r#","{name}":"{value}""#));
        let said =
            format!(r#""model":"{model}","price":"{price}","per":"{per}"{}{}"#, optional("percent", percent), optional("minimum", minimum));
        let mut engine = engine();
        engine.load_catalog(TENANT, CATALOG.replace(r#""price":"0.3","per":"7""#, &said).as_bytes()).unwrap();
        let events = [("k1", "tokens", 8 * NANO), ("k2", "tokens", 15 * NANO + 1), ("k3", "free", NANO)];
        let group = apply(&mut engine, &[grant(1, "a", "100", 0, None), usage(2, "a", &events)], START_US);
        assert_eq!(outcomes(&group, 1), [0, 0, 0]);
        let mut tables = BTreeMap::new();
        collect(&mut tables, &group);
        for other in lines {
            let report = verify_with(&tables, &group, Terms::parse(other.0, other.1, other.2, other.3, other.4), tiered("3"));
            let charges = report.differences.iter().filter(|difference| difference.what == "charge").count();
            assert_eq!((report.difference_count == 0, charges > 0), (line == other, line != other), "{line:?} {other:?} {report:?}");
        }
        let report = verify_with(&tables, &group, Terms::parse(model, price, "0", percent, minimum), tiered("3"));
        let found: Vec<_> = report.differences.iter().map(|difference| difference.what).collect();
        assert_eq!(found, ["price", "price_missing", "price_missing"]);
    }
}

/// An event that was priced in another currency than its wallet's is found; charges are summed by the wallet's.
#[test]
fn a_price_in_another_currency_is_found() {
    let mut engine = engine();
    let group =
        apply(&mut engine, &[grant(1, "a", "1", 0, None), usage(2, "a", &[("k1", "tokens", 7 * NANO), ("k2", "free", NANO)])], START_US);
    let mut tables = BTreeMap::new();
    collect(&mut tables, &group);
    let report = verify(&tables, &group);
    assert_eq!((report.difference_count, report.charged), (0, BTreeMap::from([("CNY".to_owned(), "0.3".to_owned())])));
    tables.get_mut("customers").unwrap()[0][3] = Some(b"USD".to_vec());
    let report = verify(&tables, &group);
    let found: Vec<_> = report.differences.iter().map(|difference| (difference.what, difference.detail.as_str())).collect();
    let detail = |key: &str| format!("event {key}: a price in CNY, a wallet in USD");
    assert_eq!(found, [("currency", detail("k1").as_str()), ("currency", detail("k2").as_str())]);
    assert_eq!(report.charged, BTreeMap::from([("USD".to_owned(), "0.3".to_owned())]));
}

/// Counters go on from commit to commit and are taken back with their group; the verifier tells any other allowance apart.
#[test]
fn tiers_go_on_over_commits_and_are_undone_with_their_group() {
    let mut engine = engine();
    let mut tables = BTreeMap::new();
    let first = apply(
        &mut engine,
        &[grant(1, "a", "100", 0, None), usage(2, "a", &[("k1", "tiered", 2 * NANO), ("k2", "tiered", 4 * NANO)])],
        START_US,
    );
    // Three are free, three of the first tier cost 0.2 together.
    assert_eq!(first.charged, NANO / 5);
    collect(&mut tables, &first);
    engine.commit(first.group_id);
    let messages = [usage(3, "a", &[("k3", "tiered", 9 * NANO)]), usage(4, "a", &[("k4", "tiered", NANO)])];
    let undone = apply(&mut engine, &messages[..1], START_US);
    engine.rollback();
    let group = apply(&mut engine, &messages, START_US);
    // Two of 0.2 for three, six and a half of 0.1 for seven, half a unit at 0.05; and one more at 0.05.
    assert_eq!((undone.charged, group.charged), (251_190_476, 251_190_476 + 50_000_000));
    collect(&mut tables, &group);
    assert_eq!(tables["usage_counter_quantities"].len(), 2);
    let report = verify(&tables, &group);
    assert_eq!((report.difference_count, report.counters), (0, 2), "{report:?}");
    let report = verify_with(&tables, &group, Terms::parse("per_unit", "0.3", "7", None, None), tiered("2"));
    assert!(report.differences.iter().all(|difference| difference.what == "charge"), "{report:?}");
    assert_eq!(report.difference_count, 2);
}

fn parts(of: &[(u64, &str)]) -> Vec<(u64, String)> {
    of.iter().map(|(grant, amount)| (*grant, (*amount).to_owned())).collect()
}

/// A refund takes from the grants that it names and from no other, whatever the order of its parts; all of it or nothing. What is on
/// hold, spent, expired, another customer's or nobody's is not there to be taken, and one answer says so.
#[test]
fn a_refund_takes_what_is_left_in_its_grants_or_nothing() {
    let mut engine = engine();
    let hold = |id: u64, amount: &str| {
        command(id, &format!(r#"{{"type":"hold","commandId":"{id:032x}","customer":"a","amount":"{amount}","ttlMs":1000}}"#), None)
    };
    let given = [
        grant(1, "a", "5", 0, None),
        grant(2, "a", "3", 1, None),
        grant(3, "a", "2", 2, Some(START_US + 10)),
        grant(4, "b", "9", 0, None),
        hold(5, "1.5"),
    ];
    let mut group = apply(&mut engine, &given, START_US);
    engine.commit(group.group_id);
    let refused = [
        refund(10, "a", &parts(&[(1, "3.500000001")])),
        refund(11, "a", &parts(&[(2, "1"), (1, "4")])),
        refund(12, "a", &parts(&[(4, "1")])),
        refund(13, "a", &parts(&[(99, "1")])),
        refund(14, "a", &parts(&[(2, "1"), (2, "1")])),
        refund(15, "a", &[]),
        refund(16, "a", &(100..=200).map(|grant| (grant, "1".to_owned())).collect::<Vec<_>>()),
        refund(17, "a", &parts(&[(1, "0")])),
        refund(18, "nobody", &parts(&[(1, "1")])),
    ];
    group = apply(&mut engine, &refused, START_US + 1);
    let codes: Vec<_> = (0..refused.len()).map(|place| reply_json(&group, place)["code"].as_str().unwrap().to_owned()).collect();
    let insufficient = ["insufficient_balance"; 4];
    assert_eq!(codes, [&insufficient[..], &["invalid_command"; 3], &["invalid_amount", "unknown_customer"]].concat());
    assert_eq!(reply_json(&group, 2), reply_json(&group, 3), "whose a grant is makes no difference");
    assert!(group.empty && group.postings == 0);
    assert_eq!(
        (balance(&engine, "a"), balance(&engine, "b")),
        (["8.5", "1.5", "0"].map(str::to_owned), ["9", "0", "0"].map(str::to_owned))
    );

    // The rest of one grant, part of another, in either order; and the same command again.
    let messages = [refund(20, "a", &parts(&[(2, "1"), (1, "3.5")])), refund(20, "a", &parts(&[(2, "1"), (1, "3.5")]))];
    let turned = [refund(20, "a", &parts(&[(1, "3.5"), (2, "1")]))];
    let one = apply(&mut engine, &turned, START_US + 2);
    engine.rollback();
    assert_eq!(balance(&engine, "a"), ["8.5", "1.5", "0"]);
    group = apply(&mut engine, &messages, START_US + 2);
    assert_eq!(reply_json(&group, 0), reply_json(&group, 1));
    assert_eq!(reply_json(&group, 0), reply_json(&one, 0));
    let (mut tables, mut of_turned) = (BTreeMap::new(), BTreeMap::new());
    collect(&mut tables, &group);
    collect(&mut of_turned, &one);
    assert_eq!(tables["postings"], of_turned["postings"]);
    let told = reply_json(&group, 0);
    assert_eq!((&told["amount"], &told["balance"]["available"]), (&"4.5".into(), &"4".into()));
    let part = |grant: u64, amount: &str, remaining: &str| serde_json::json!({"grantId": format!("gr_{grant:032x}"), "amount": amount, "remaining": remaining});
    assert_eq!(told["parts"], serde_json::json!([part(1, "3.5", "0"), part(2, "1", "2")]));
    engine.commit(group.group_id);

    // What a hold gives back afterwards is there again; what has expired is not.
    let release = format!(r#"{{"type":"release","commandId":"{:032x}","holdId":"{:032x}"}}"#, 21, 5);
    let messages = [command(21, &release, None), refund(22, "a", &parts(&[(1, "1.5")])), refund(23, "a", &parts(&[(3, "1")]))];
    group = apply(&mut engine, &messages, START_US + 10);
    assert_eq!((&reply_json(&group, 1)["ok"], &reply_json(&group, 2)["code"]), (&true.into(), &"insufficient_balance".into()));
    assert_eq!(balance(&engine, "a"), ["2", "0", "0"]);
}

/// A refusal is forgotten, unless the command wants to be decided once: then a copy of it gets the same answer, though it could now be
/// done, also from an engine that has only what was stored; and an undone refusal was none.
#[test]
fn a_command_that_is_decided_once_stays_refused() {
    let mut engine = engine();
    let once = |id: u64| {
        let json = format!(
            r#"{{"type":"refund","decideOnce":true,"commandId":"{id:032x}","customer":"a","parts":[{{"grantId":"{:032x}","amount":"2"}}]}}"#,
            1
        );
        command(id, &json, None)
    };
    let first = apply(&mut engine, &[grant(2, "a", "1", 0, None)], START_US);
    engine.commit(first.group_id);
    let undone = apply(&mut engine, &[once(10)], START_US);
    assert_eq!((reply_json(&undone, 0)["code"].as_str(), undone.empty, undone.postings), (Some("insufficient_balance"), false, 0));
    engine.rollback();
    let group = apply(&mut engine, &[once(10), refund(11, "a", &parts(&[(1, "2")]))], START_US);
    assert_eq!((group.new_commands.len(), group.refused_commands.len()), (1, 1));
    engine.commit(group.group_id);
    let messages = [grant(1, "a", "2", 0, None), once(10), refund(11, "a", &parts(&[(1, "1")]))];
    let later = apply(&mut engine, &messages, START_US + 1);
    assert_eq!(reply_json(&later, 1), reply_json(&group, 0));
    assert_eq!(reply_json(&later, 2)["ok"], true);
    assert!(apply(&mut engine, &[once(10)], START_US + 2).empty);
}

/// The verifier takes refunds as the engine writes them and no others: not from a grant that was never given, nor to another account than
/// it came from, nor twice by one command, nor from a wallet without a balance.
#[test]
fn refunds_are_verified() {
    let (mut engine, mut tables) = (engine(), BTreeMap::new());
    let messages = [
        grant(1, "a", "5", 0, None),
        grant(2, "a", "3", 1, None),
        refund(3, "a", &parts(&[(1, "5"), (2, "1")])),
        refund(4, "a", &parts(&[(2, "1")])),
        refund(5, "a", &parts(&[(2, "0.5")])),
    ];
    let group = apply(&mut engine, &messages, START_US);
    collect(&mut tables, &group);
    let report = verify(&tables, &group);
    assert_eq!((report.difference_count, report.postings), (0, 6), "{:?}", report.differences);
    let differences = |change: &dyn Fn(&mut Rows)| {
        let mut changed = tables.clone();
        change(changed.get_mut("postings").unwrap());
        verify(&changed, &group).differences.iter().map(|difference| difference.what).collect::<Vec<_>>()
    };
    let id = |number: u128| Some(number.to_be_bytes().to_vec());
    let funding = |account: i64| Some(account.to_be_bytes().to_vec());
    assert!(differences(&|rows| rows[2][5] = funding(1)).contains(&"refund_account"), "a bonus goes back as one");
    assert!(differences(&|rows| rows[2][9] = None).contains(&"refund_account"));
    assert!(differences(&|rows| rows[2][9] = id(7)).contains(&"refund_account"));
    assert!(differences(&|rows| rows[2][9] = id(2)).contains(&"grant_overspent"));
    assert!(differences(&|rows| rows[3][9] = id(1)).contains(&"refund_twice"));
    assert!(differences(&|rows| rows[5][10] = id(3)).contains(&"refund_twice"));
    assert!(!differences(&|rows| rows[5][10] = id(6)).contains(&"refund_twice"));
    let negative = Some([&[0, 1, 0, 0, 0x40, 0, 0, 9][..], &[0, 1]].concat());
    assert!(differences(&|rows| rows[5][7].clone_from(&negative)).contains(&"refund_overdrawn"));
}

/// Whatever a group did to memory, rollback takes back: applied again it gives the same bytes.
#[test]
fn a_group_rolled_back_and_applied_again_gives_the_same_bytes() {
    let mut engine = engine();
    let first = apply(&mut engine, &[grant(1, "a", "10", 0, None), grant(2, "b", "10", 0, None)], START_US);
    engine.commit(first.group_id);
    let messages = [
        usage(3, "a", &[("k1", "tokens", 7 * NANO)]),
        command(4, r#"{"type":"hold","commandId":"00000000000000000000000000000004","customer":"b","amount":"3","ttlMs":1000}"#, None),
        usage(5, "c", &[("k2", "free", NANO)]),
        refund(6, "b", &parts(&[(2, "7")])),
    ];
    let once = apply(&mut engine, &messages, START_US + 1);
    engine.rollback();
    let again = apply(&mut engine, &messages, START_US + 1);
    assert_eq!(once.copies, again.copies);
    assert_eq!((once.head, once.replies), (again.head, again.replies));
}

/// A hold captured in part gives the rest back to the grant that paid; captured again it is refused; its command
/// repeated gets its first answer.
#[test]
fn a_hold_is_captured_once() {
    let mut engine = engine();
    let hold = r#"{"type":"hold","commandId":"00000000000000000000000000000002","customer":"a","amount":"3","ttlMs":1000}"#;
    let capture = |id: u64| {
        let json = format!(r#"{{"type":"capture","commandId":"{id:032x}","holdId":"00000000000000000000000000000002","amount":"1"}}"#);
        command(id, &json, None)
    };
    let messages = [grant(1, "a", "5", 0, None), command(2, hold, None), capture(3), capture(4), capture(3)];
    let group = apply(&mut engine, &messages, START_US);
    assert_eq!(reply_json(&group, 2)["released"], "2");
    assert_eq!(reply_json(&group, 2)["balance"]["available"], "4");
    assert_eq!(reply_json(&group, 3)["code"], "hold_closed");
    assert_eq!(reply_json(&group, 4), reply_json(&group, 2));
}

/// A malformed message behind good ones, with a group open: memory is as before, and the good ones give the bytes they would have given.
#[test]
fn a_malformed_message_undoes_what_was_applied_before_it() {
    let first = [grant(1, "a", "5", 0, None)];
    let good = usage(2, "a", &[("k1", "tokens", 1_000_000_000), ("k2", "free", 1)]);
    let truncated = good[..good.len() - 1].to_vec();
    let (mut one, mut other) = (engine(), engine());
    let open = [apply(&mut one, &first, START_US), apply(&mut other, &first, START_US)];
    satisfy(&mut one, &[&good]);
    for _ in 0..3 {
        assert!(one.apply(&[&good, &truncated], START_US + 1).is_err());
    }
    assert_eq!(one.open_groups(), 1);
    let (after, alone) = (apply(&mut one, std::slice::from_ref(&good), START_US + 1), apply(&mut other, &[good], START_US + 1));
    assert_eq!((after.copies, after.replies, after.head), (alone.copies, alone.replies, alone.head));
    assert_eq!(open[0].head, open[1].head);
}

/// Balances go before the replies that promise them, no command is long, and the number of answers is right.
#[test]
fn what_is_published_is_in_order_and_in_small_commands() {
    let mut engine = engine();
    let mut messages: Vec<Vec<u8>> = (0..900).map(|id| grant(id, &format!("c{id}"), "5", 0, None)).collect();
    let keys: Vec<String> = (0..500).map(|key| format!("key-{key}")).collect();
    messages.push(usage(1_000, "c1", &keys.iter().map(|key| (&key[..], "free", 1)).collect::<Vec<_>>()));
    let group = apply(&mut engine, &messages, START_US);
    let (bytes, answers) = publish::commands(&group, b"balances", b"seen", 60_000);
    let (names, lengths) = commands(&bytes);
    assert_eq!(names, [vec!["HSET"; 3], vec!["PEXPIRE"], vec!["RPUSH"; 3], vec!["PEXPIRE", "SADD"]].concat());
    assert_eq!(answers, names.len());
    assert_eq!(lengths, [802, 802, 202, 3, 402, 402, 103, 3, 3]);
}

/// A batch is marked when every event of it is stored, and not when one was refused.
#[test]
fn only_whole_batches_are_marked() {
    let mut engine = engine();
    let group = apply(
        &mut engine,
        &[usage(1, "a", &[("k1", "free", 1), ("k2", "free", 1)]), usage(2, "a", &[("k3", "free", 1), ("k4", "tokens", 7_000_000_000)])],
        START_US,
    );
    assert_eq!((outcomes(&group, 0), outcomes(&group, 1)), (vec![0, 0], vec![0, 10]));
    assert_eq!(group.seen.len(), 1);
    let again = apply(&mut engine, &[usage(3, "a", &[("k1", "free", 1), ("k3", "free", 1)])], START_US);
    assert_eq!((outcomes(&again, 0), again.seen.len()), (vec![1, 1], 1));
}

/// Keys of closed tables are asked for before events are applied, and only those.
#[test]
fn a_key_of_a_closed_table_is_asked_for() {
    let mut engine = engine();
    engine.key_tables_mut().begin_span(100);
    engine.open_key_table(1, 1_000);
    let names: Vec<String> = (0..200).map(|key| format!("key-{key}")).collect();
    let batch = |id: u64, keys: &[String]| usage(id, "a", &keys.iter().map(|key| (&key[..], "free", 1)).collect::<Vec<_>>());
    let group = apply(&mut engine, &[batch(1, &names)], START_US);
    engine.commit(group.group_id);
    assert_eq!((group.key_table, engine.key_tables().fill()), (1, (200, 1_000)));
    let turned = engine.turn_key_table(2, 1_000, 100).unwrap();
    assert_eq!((turned.number, turned.keys, engine.key_tables().current(), engine.key_tables().fill()), (1, 200, 2, (0, 1_000)));

    // Another core: it has the filter alone.
    let mut other = Engine::new(0, KEY, 1_000, 1_000);
    other.start(group.commit_seq, group.head, 2);
    *other.key_tables_mut() = KeyTables::with_memory(1 << 20);
    assert!(other.key_tables_mut().add_span(vec![1], turned.filter.as_deref()).unwrap());
    other.key_tables_mut().begin_span(100);
    other.open_key_table(2, 1_000);
    let message = batch(2, &[names[..100].to_vec(), (0..100).map(|key| format!("new-{key}")).collect()].concat());
    let hash = |name: &str| key_hash(TENANT.cast_unsigned(), name.as_bytes());
    let asked = satisfy(&mut other, &[&message]);
    assert!(names[..100].iter().all(|name| asked.contains(&(TENANT, hash(name)))));
    assert!(asked.len() < 110, "{} keys asked for", asked.len());
    assert!(asked.iter().all(|(_, key)| other.key_tables_with(key).eq([1])));
    assert!(matches!(other.apply(&[&message], START_US), Err(EngineError::NotLoaded("event keys"))));
    let stored = |key: &[u8; 16]| group.new_keys.iter().find(|known| known.hash == *key).map(|known| (*key, known.fingerprint));
    other.remember_keys(asked.iter().filter_map(|(_, key)| stored(key)));
    other.remember_absent_keys(asked.iter().map(|(_, key)| *key).filter(|key| stored(key).is_none()));
    assert!(other.needs(&[&message]).unwrap().nothing());
    let second = other.apply(&[&message], START_US + 1).unwrap();
    assert_eq!(outcomes(&second, 0), [vec![1; 100], vec![0; 100]].concat());
    assert_eq!((second.key_table, second.events), (2, 100));
}

/// Names and numbers of arguments of commands in RESP.
fn commands(mut bytes: &[u8]) -> (Vec<&str>, Vec<usize>) {
    fn number<'a>(bytes: &mut &'a [u8], mark: u8) -> usize {
        assert_eq!(bytes[0], mark);
        let end = bytes.iter().position(|byte| *byte == b'\r').unwrap();
        let digits: &'a [u8] = &bytes[1..end];
        *bytes = &bytes[end + 2..];
        std::str::from_utf8(digits).unwrap().parse().unwrap()
    }
    let (mut names, mut lengths) = (Vec::new(), Vec::new());
    while !bytes.is_empty() {
        let length = number(&mut bytes, b'*');
        for argument in 0..length {
            let size = number(&mut bytes, b'$');
            if argument == 0 {
                names.push(std::str::from_utf8(&bytes[..size]).unwrap());
            }
            bytes = &bytes[size + 2..];
        }
        lengths.push(length);
    }
    (names, lengths)
}

#[derive(Debug, Clone)]
enum Step {
    Grant { customer: u8, amount: u32, priority: i16, lives_us: Option<i64> },
    Usage { customer: u8, keys: Vec<u8>, quantity: u16, tiered: bool },
    Hold { customer: u8, amount: u32, lives_ms: i64 },
    Capture { hold: u8, part: Option<u32>, events: bool },
    Release { hold: u8 },
    Refund { customer: u8, parts: Vec<(u8, u32)> },
    Overdraft { customer: u8, limit: u32 },
    Accrue { on: bool },
    Commit { pass_us: i64, rollback_first: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..4_u8, 1..2_000_u32, 0..3_i16, prop::option::of(1..4_000_i64))
            .prop_map(|(customer, amount, priority, lives_us)| Step::Grant { customer, amount, priority, lives_us }),
        4 => (0..4_u8, prop::collection::vec(any::<u8>(), 1..6), 1..9_000_u16, any::<bool>())
            .prop_map(|(customer, keys, quantity, tiered)| Step::Usage { customer, keys, quantity, tiered }),
        2 => (0..4_u8, 1..900_u32, 1..5_i64).prop_map(|(customer, amount, lives_ms)| Step::Hold { customer, amount, lives_ms }),
        2 => (any::<u8>(), prop::option::of(1..900_u32), any::<bool>()).prop_map(|(hold, part, events)| Step::Capture { hold, part, events }),
        1 => any::<u8>().prop_map(|hold| Step::Release { hold }),
        2 => (0..4_u8, prop::collection::vec((any::<u8>(), 1..1_500_u32), 1..4)).prop_map(|(customer, parts)| Step::Refund { customer, parts }),
        1 => (0..4_u8, 0..500_u32).prop_map(|(customer, limit)| Step::Overdraft { customer, limit }),
        1 => any::<bool>().prop_map(|on| Step::Accrue { on }),
        3 => (1..2_000_i64, any::<bool>()).prop_map(|(pass_us, rollback_first)| Step::Commit { pass_us, rollback_first }),
    ]
}

/// Runs steps in groups; gives every row written and the last group.
fn run(steps: &[Step]) -> (BTreeMap<&'static str, Rows>, Group) {
    let mut engine = engine();
    let mut tables = BTreeMap::new();
    let (mut id, mut now_us) = (0_u64, START_US);
    let (mut holds, mut owners): (Vec<u64>, Vec<u8>) = (Vec::new(), Vec::new());
    let mut grants: BTreeMap<u8, Vec<u64>> = BTreeMap::new();
    let mut waiting: Vec<Vec<u8>> = vec![grant(u64::MAX, "a0", "1", 0, None)];
    let mut last = None;
    let customer = |number: &u8| format!("a{number}");
    for step in steps.iter().chain([&Step::Commit { pass_us: 1, rollback_first: false }]) {
        id += 1;
        let chosen = |hold: &u8| holds.get(usize::from(*hold) % holds.len().max(1)).copied().unwrap_or(9_999);
        match step {
            Step::Grant { customer: number, amount, priority, lives_us } => {
                let amount = format!("{}.{:03}", amount / 1_000, amount % 1_000);
                waiting.push(grant(id, &customer(number), &amount, *priority, lives_us.map(|lives| now_us + lives)));
                grants.entry(*number).or_default().push(id);
            }
            Step::Usage { customer: number, keys, quantity, tiered } => {
                let keys: Vec<String> = keys.iter().map(|key| format!("k{key}")).collect();
                let events: Vec<_> = keys
                    .iter()
                    .map(|key| (key.as_str(), if *tiered { "tiered" } else { "tokens" }, i128::from(*quantity) * NANO / 1_000))
                    .collect();
                waiting.push(usage(id, &customer(number), &events));
            }
            Step::Hold { customer: number, amount, lives_ms } => {
                let json = format!(
                    r#"{{"type":"hold","commandId":"{id:032x}","customer":"{}","amount":"0.{amount:03}","ttlMs":{lives_ms}}}"#,
                    customer(number)
                );
                waiting.push(command(id, &json, None));
                holds.push(id);
                owners.push(*number);
            }
            Step::Capture { hold, part, events } => {
                let amount = part.map_or("null".to_owned(), |part| format!("\"0.{part:03}\""));
                let with = events.then(|| {
                    let owner = owners.get(usize::from(*hold) % owners.len().max(1)).copied().unwrap_or(0);
                    section(&customer(&owner), &[(&format!("c{id}"), "tokens", NANO)])
                });
                let amount = if *events { "null" } else { &amount };
                let json = format!(r#"{{"type":"capture","commandId":"{id:032x}","holdId":"{:032x}","amount":{amount}}}"#, chosen(hold));
                waiting.push(command(id, &json, with));
            }
            Step::Release { hold } => {
                let json = format!(r#"{{"type":"release","commandId":"{id:032x}","holdId":"{:032x}"}}"#, chosen(hold));
                waiting.push(command(id, &json, None));
            }
            Step::Refund { customer: number, parts } => {
                // The newest grants are the likeliest to have something left.
                let given = grants.get(number).map_or(&[][..], Vec::as_slice);
                let of = |which: &u8| given.iter().rev().nth(usize::from(*which) % given.len().clamp(1, 5)).copied().unwrap_or(9_999);
                let parts: Vec<_> =
                    parts.iter().map(|(which, amount)| (of(which), format!("{}.{:03}", amount / 1_000, amount % 1_000))).collect();
                waiting.push(refund(id, &customer(number), &parts));
            }
            Step::Overdraft { customer: number, limit } => {
                let json = format!(
                    r#"{{"type":"configure","commandId":"{id:032x}","customer":"{}","overdraftLimit":"0.{limit:03}"}}"#,
                    customer(number)
                );
                waiting.push(command(id, &json, None));
            }
            Step::Accrue { on } => engine.load_catalog(TENANT, catalog(*on).as_bytes()).unwrap(),
            Step::Commit { pass_us, rollback_first } => {
                now_us += pass_us;
                let mut group = apply(&mut engine, &waiting, now_us);
                if *rollback_first {
                    engine.rollback();
                    group = apply(&mut engine, &waiting, now_us);
                }
                collect(&mut tables, &group);
                engine.commit(group.group_id);
                waiting.clear();
                last = Some(group);
            }
        }
    }
    (tables, last.unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Every chain, balance, grant, charge, identity and commit that the engine writes can be derived from the rows.
    #[test]
    fn what_the_engine_writes_the_verifier_accepts(steps in prop::collection::vec(step(), 1..60)) {
        let (tables, last) = run(&steps);
        let report = verify(&tables, &last);
        prop_assert_eq!(report.difference_count, 0, "{:?}", report.differences);
    }

    /// One flipped bit anywhere in the ledger, or one row gone, is found.
    #[test]
    fn what_is_changed_afterwards_is_found(
        steps in prop::collection::vec(step(), 10..40), table in any::<prop::sample::Index>(), row in any::<prop::sample::Index>(),
        column in any::<prop::sample::Index>(), byte in any::<prop::sample::Index>(), bit in 0..8_u8, remove in any::<bool>(),
    ) {
        let (mut tables, last) = run(&steps);
        // accepted_at and posting_seq of events are not part of what is derived: the rest of every row is.
        let checked: &[(&str, &[usize])] = &[
            ("postings", &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]),
            ("usage_events", &[0, 1, 2, 5, 6, 7, 8, 9, 10, 11, 12]),
            // Whether a row has all counters is checked where it says so; where it does not, more is read than need be.
            ("usage_counter_quantities", &[0, 1, 2, 3, 5, 6]),
            ("event_keys", &[0, 1, 2, 3]),
            ("commits", &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        ];
        let present: Vec<_> = checked.iter().filter(|(name, _)| tables.contains_key(name)).collect();
        let (name, columns) = present[table.index(present.len())];
        let rows = tables.get_mut(name).unwrap();
        let at = row.index(rows.len());
        if remove {
            rows.remove(at);
        } else {
            let column = columns[column.index(columns.len())];
            let before = rows[at][column].clone();
            match &mut rows[at][column] {
                Some(bytes) if !bytes.is_empty() => {
                    let place = byte.index(bytes.len());
                    bytes[place] ^= 1 << bit;
                }
                other => *other = Some(vec![1; 16]),
            }
            // A numeric's display scale says nothing about its value.
            if [("postings", 6), ("postings", 7), ("postings", 8), ("postings", 15), ("usage_events", 8), ("usage_events", 9), ("usage_events", 12), ("commits", 7)].contains(&(name, column)) {
                let value = |field: &Option<Vec<u8>>| field.as_deref().map(buffmoney_core::copy::read_numeric);
                prop_assume!(value(&before) != value(&rows[at][column]));
            }
            if (*name, column) == ("usage_counter_quantities", 6) {
                let values = |field: &Option<Vec<u8>>| field.as_deref().map(read_numeric_array);
                prop_assume!(values(&before) != values(&rows[at][column]));
            }
        }
        let found = std::panic::catch_unwind(|| verify(&tables, &last).difference_count);
        prop_assert!(found.map_or(true, |differences| differences > 0), "a change in {name} was not found");
    }
}

/// An event as the tables have it, paid by overdraft or one grant.
fn stored_event(tables: &BTreeMap<&'static str, Rows>, key: &str, paid: Grant) -> StoredEvent {
    let fields = tables["usage_events"].iter().find(|fields| fields[10].as_deref() == Some(key.as_bytes())).unwrap();
    let int = |column: usize| read_int(fields[column].as_ref().unwrap()).unwrap();
    let amount = |column: usize| read_numeric(fields[column].as_ref().unwrap()).unwrap();
    StoredEvent {
        account: int(1),
        commit_id: int(2),
        posting_seq: int(3),
        metric_id: int(6) as i32,
        price_id: int(7) as i32,
        occurred_us: START_US,
        quantity: amount(8),
        charge: amount(9),
        dimensions: "{}".to_owned(),
        parts: std::iter::repeat_n(Grant { remaining: amount(9), ..paid }, usize::from(amount(9) > 0)).collect(),
        void: None,
    }
}

/// What a void gives back, to whom and why is part of its commit: the verifier accepts what the engine wrote and nothing else.
#[test]
fn voids_are_verified() {
    let (mut engine, mut tables) = (engine(), BTreeMap::new());
    let events = [("k1", "tokens", 70 * NANO), ("k2", "free", NANO), ("k3", "tokens", 7 * NANO)];
    let messages = [grant(1, "a", "100", 0, None), usage(2, "a", &events)];
    let group = apply(&mut engine, &messages, START_US);
    collect(&mut tables, &group);
    engine.commit(group.group_id);
    let command_of = |id: u64, key: &str| {
        command(id, &format!(r#"{{"type":"void","commandId":"{id:032x}","key":"{key}","by":"key_1","reason":"test"}}"#), None)
    };
    let messages = [command_of(3, "k1"), command_of(4, "k2"), command_of(5, "k1"), command_of(6, "never")];
    let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
    let needs = engine.needs(&messages).unwrap();
    assert_eq!(needs.events.iter().map(|(_, _, key)| key.as_str()).collect::<Vec<_>>(), ["k1", "k2", "never"]);
    let mut id = [0; 16];
    id[15] = 1;
    let payer = Grant { id, remaining: 0, expires_us: NEVER, created_us: START_US, priority: 0, kind: GrantKind::Bonus };
    let found = ["k1", "k2"].iter().zip(&needs.events).map(|(key, (_, hash, _))| (*hash, stored_event(&tables, key, payer))).collect();
    engine.load_events(found, vec![needs.events[2].1]);
    let group = engine.apply(&messages, START_US + 1).unwrap();
    assert_eq!(reply_json(&group, 0)["amount"], "3");
    assert_eq!(reply_json(&group, 1)["amount"], "0");
    assert_eq!(reply_json(&group, 2)["alreadyVoided"], true);
    assert_eq!(reply_json(&group, 3)["code"], "event_not_found");
    assert_eq!(group.voids.len(), 2);
    collect(&mut tables, &group);
    let report = verify(&tables, &group);
    assert_eq!((report.difference_count, report.voids), (0, 2), "{:?}", report.differences);
    // Every column of the rows is vouched for: another value in any of them is found, and so is a row that is gone.
    for (row, fields) in tables["usage_voids"].iter().enumerate() {
        // Without replaced_by, the table's CHECK keeps the column of its fingerprint NULL.
        for column in (0..22).chain([24]) {
            let mut changed = tables.clone();
            let field = &mut changed.get_mut("usage_voids").unwrap()[row][column];
            match field {
                // The last byte of a number or text is one that counts; an empty one becomes one that is not.
                Some(bytes) if bytes.is_empty() => bytes.push(1),
                // A zero's last byte is its scale.
                Some(bytes) if *bytes == ZERO => bytes.clone_from(fields[16].as_ref().unwrap()),
                Some(bytes) => *bytes.last_mut().unwrap() ^= 1,
                None => *field = Some(vec![b'1'; 16]),
            }
            // What cannot be read any more is found as well.
            let found = std::panic::catch_unwind(|| verify(&changed, &group).difference_count);
            assert!(found.is_err() || found.is_ok_and(|count| count > 0), "row {row}, column {column}: {:?}", fields[column]);
        }
        let mut without = tables.clone();
        without.get_mut("usage_voids").unwrap().remove(row);
        assert!(verify(&without, &group).difference_count > 0);
    }
}

/// A balance as it is shown: (available, held, unbilled).
fn balance(engine: &Engine, customer: &str) -> [String; 3] {
    let shown = buffmoney_core::balance::render(&engine.balance(TENANT, customer).unwrap()).unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&shown).unwrap();
    ["available", "held", "unbilled"].map(|name| shown[name].as_str().unwrap().to_owned())
}

/// Where a merchant bills pay-as-you-go: grants first, the rest is owed unbilled, also of a hold, up to the limit; a void and a
/// release lower it again; undone groups leave nothing; and the verifier derives all of it, but nothing else.
#[test]
fn what_grants_do_not_cover_accrues() {
    let (mut engine, mut tables) = (engine(), BTreeMap::new());
    engine.load_catalog(TENANT, catalog(true).as_bytes()).unwrap();
    let hold = |id: u64, amount: &str| {
        command(id, &format!(r#"{{"type":"hold","commandId":"{id:032x}","customer":"a","amount":"{amount}","ttlMs":9}}"#), None)
    };
    let messages = [
        command(1, &format!(r#"{{"type":"configure","commandId":"{:032x}","customer":"a","overdraftLimit":"5"}}"#, 1), None),
        grant(2, "a", "1", 0, None),
        usage(3, "a", &[("k1", "tokens", 70 * NANO), ("k2", "tokens", 7 * NANO), ("k3", "tokens", 70 * NANO)]),
        hold(4, "2.7"),
        hold(5, "2.8"),
        hold(6, "0.1"),
    ];
    let mut group = apply(&mut engine, &messages, START_US);
    assert_eq!(outcomes(&group, 2), [0, 0, 10], "3 and 0.3 are taken, 1 of it from the grant; 3 more are beyond the limit");
    assert_eq!(reply_json(&group, 3)["balance"], serde_json::json!({"available": "0", "held": "2.7", "unbilled": "5"}));
    assert_eq!(
        (&reply_json(&group, 4)["code"], &reply_json(&group, 5)["code"]),
        (&"insufficient_balance".into(), &"insufficient_balance".into())
    );
    assert_eq!(balance(&engine, "a"), ["0", "2.7", "5"]);
    engine.rollback();
    assert!(engine.balance(TENANT, "a").is_none());
    group = apply(&mut engine, &messages, START_US);
    collect(&mut tables, &group);
    engine.commit(group.group_id);

    // A part of the hold is captured and stays owed; the rest is not owed any more. Credit leaves what is owed alone.
    let capture = format!(r#"{{"type":"capture","commandId":"{:032x}","holdId":"{:032x}","amount":"1.5"}}"#, 7, 4);
    group = apply(&mut engine, &[command(7, &capture, None), grant(8, "a", "2", 0, None)], START_US + 1);
    collect(&mut tables, &group);
    engine.commit(group.group_id);
    assert_eq!(balance(&engine, "a"), ["2", "0", "3.8"]);

    let void = [command(9, &format!(r#"{{"type":"void","commandId":"{:032x}","key":"k1","by":"key_1"}}"#, 9), None)];
    let void: Vec<&[u8]> = void.iter().map(Vec::as_slice).collect();
    let needs = engine.needs(&void).unwrap();
    let mut stored = stored_event(&tables, "k1", UNBILLED);
    let mut id = [0; 16];
    id[15] = 2;
    let paid = Grant { id, remaining: NANO, expires_us: NEVER, created_us: START_US, priority: 0, kind: GrantKind::Bonus };
    stored.parts = [paid, Grant { remaining: 2 * NANO, ..UNBILLED }].into_iter().collect();
    engine.load_events(vec![(needs.events[0].1, stored)], Vec::new());
    group = engine.apply(&void, START_US + 2).unwrap();
    collect(&mut tables, &group);
    let told = reply_json(&group, 0);
    assert_eq!((&told["balanceAfter"], &told["unbilledAfter"]), (&"3".into(), &"1.8".into()));
    assert_eq!(
        told["givenBackTo"],
        serde_json::json!([
            {"account": "customer_wallet", "grantId": format!("gr_{:032x}", 2), "amount": "1"},
            {"account": "customer_unbilled", "grantId": null, "amount": "2"},
        ])
    );
    assert_eq!(balance(&engine, "a"), ["3", "0", "1.8"]);
    let report = verify(&tables, &group);
    assert_eq!(report.difference_count, 0, "{:?}", report.differences);

    // What was owed after a posting or a void, and from which account it came, cannot be changed unseen.
    let nonzero = |table: &str, column: usize| {
        let rows = &tables[table];
        (0..rows.len()).filter(|row| rows[*row][column].as_deref() != Some(&ZERO)).map(move |row| (row, column)).collect::<Vec<_>>()
    };
    assert_eq!(nonzero("postings", 15).len(), 7);
    for (table, places) in
        [("postings", [nonzero("postings", 15), nonzero("postings", 4)].concat()), ("usage_voids", nonzero("usage_voids", 24))]
    {
        for (row, column) in places {
            let mut changed = tables.clone();
            *changed.get_mut(table).unwrap()[row][column].as_mut().unwrap().last_mut().unwrap() ^= 1;
            assert!(verify(&changed, &group).difference_count > 0, "{table}, row {row}, column {column}");
        }
    }
}

/// Usage that is said to be owed while the wallet could pay is found, whatever else is.
#[test]
fn what_is_owed_too_early_is_found() {
    let mut engine = engine();
    let group = apply(&mut engine, &[grant(1, "a", "1", 0, None), usage(2, "a", &[("k1", "tokens", 7 * NANO)])], START_US);
    let mut tables = BTreeMap::new();
    collect(&mut tables, &group);
    let posting = &mut tables.get_mut("postings").unwrap()[1];
    let account = read_int(posting[4].as_ref().unwrap()).unwrap();
    posting[4] = Some((-account).to_be_bytes().to_vec());
    let report = verify(&tables, &group);
    assert!(report.differences.iter().any(|difference| difference.what == "accrued"), "{:?}", report.differences);
}

/// A void lowers what is owed as far as there is any; the rest, which something else has taken from there, is the wallet's.
#[test]
fn a_void_of_what_is_owed_no_more_is_the_wallets() {
    let mut engine = engine();
    engine.load_catalog(TENANT, catalog(true).as_bytes()).unwrap();
    let state = WalletState { seq: 7, unbilled: 4 * NANO, ..WalletState::new(None) };
    let row =
        WalletRow { tenant: TENANT, account: 1_000, external_id: "a".to_owned(), currency: *b"CNY", state, counters: Counters::default() };
    engine.load_wallets(vec![row], Vec::new());
    let message = command(1, &format!(r#"{{"type":"void","commandId":"{:032x}","key":"k1","by":"key_1"}}"#, 1), None);
    let hash = engine.needs(&[&message]).unwrap().events[0].1;
    let event = StoredEvent {
        account: 1_000,
        commit_id: 1,
        posting_seq: 7,
        metric_id: 1,
        price_id: 1,
        occurred_us: START_US,
        quantity: NANO,
        charge: 10 * NANO,
        dimensions: "{}".to_owned(),
        parts: std::iter::once(Grant { remaining: 10 * NANO, ..UNBILLED }).collect(),
        void: None,
    };
    engine.load_events(vec![(hash, event)], Vec::new());
    let group = engine.apply(&[&message], START_US).unwrap();
    let (answer, mut tables) = (reply_json(&group, 0), BTreeMap::new());
    collect(&mut tables, &group);
    assert_eq!((&answer["balanceAfter"], &answer["unbilledAfter"]), (&"6".into(), &"0".into()));
    let part = |account: &str, amount: &str| serde_json::json!({"account": account, "grantId": null, "amount": amount});
    assert_eq!(answer["givenBackTo"], serde_json::json!([part("customer_wallet", "6"), part("customer_unbilled", "4")]));
    let int = |row: usize, column: usize| read_int(tables["postings"][row][column].as_ref().unwrap()).unwrap();
    let amount = |row: usize, column: usize| read_numeric(tables["postings"][row][column].as_ref().unwrap()).unwrap() / NANO;
    let posted = [0, 1].map(|row| (int(row, 2), int(row, 5), amount(row, 6), amount(row, 7), amount(row, 15)));
    assert_eq!(posted, [(8, -1_000, 4, 0, 0), (9, 1_000, 6, 6, 0)]);
}

/// Overdraft from before a merchant's wallets accrued stays on the wallet, is repaid by credit, and counts against the limit; a hold on it
/// goes back to it.
#[test]
fn overdraft_from_before_stays_overdraft() {
    let (mut engine, mut tables) = (engine(), BTreeMap::new());
    engine.load_catalog(TENANT, CATALOG.replace(r#""defaultOverdraftLimit":"0""#, r#""defaultOverdraftLimit":null"#).as_bytes()).unwrap();
    let hold = command(2, &format!(r#"{{"type":"hold","commandId":"{:032x}","customer":"a","amount":"2","ttlMs":1}}"#, 2), None);
    let mut group = apply(&mut engine, &[usage(1, "a", &[("k1", "tokens", 70 * NANO)]), hold], START_US);
    collect(&mut tables, &group);
    engine.commit(group.group_id);
    assert_eq!(balance(&engine, "a"), ["-5", "2", "0"]);
    engine.load_catalog(TENANT, catalog(true).as_bytes()).unwrap();
    group = apply(&mut engine, &[usage(3, "a", &[("k2", "tokens", 70 * NANO)])], START_US + 1);
    collect(&mut tables, &group);
    engine.commit(group.group_id);
    assert_eq!(balance(&engine, "a"), ["-5", "2", "3"]);
    let expired: [(i64, [u8; 16]); 1] = [(TENANT, u128::from(2_u8).to_be_bytes())];
    group = engine.sweep(&[], &expired, &[], START_US + 1_000);
    collect(&mut tables, &group);
    engine.commit(group.group_id);
    assert_eq!(balance(&engine, "a"), ["-3", "0", "3"]);
    let limit = command(4, &format!(r#"{{"type":"configure","commandId":"{:032x}","customer":"a","overdraftLimit":"6.5"}}"#, 4), None);
    let events = usage(5, "a", &[("k3", "tokens", 14 * NANO), ("k4", "tokens", 7 * NANO)]);
    group = apply(&mut engine, &[limit, events, grant(6, "a", "4", 0, None)], START_US + 1_001);
    assert_eq!(outcomes(&group, 1), [10, 0]);
    collect(&mut tables, &group);
    assert_eq!(balance(&engine, "a"), ["1", "0", "3.3"]);
    let report = verify(&tables, &group);
    assert_eq!(report.difference_count, 0, "{:?}", report.differences);
}
