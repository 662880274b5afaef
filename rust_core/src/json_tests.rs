//! What is not JSON is refused, with its reason; what is JSON is what serde reads.

use super::*;
use proptest::prelude::*;

fn read(input: &[u8]) -> Result<(), Malformed> {
    let mut reader = Reader::new(input)?;
    reader.skip_space();
    reader.skip_value(0)?;
    reader.finish()
}

/// Each way of not being JSON has its own reason, wherever in the value it stands.
#[test]
fn refuses_what_is_not_json() {
    use MalformedReason as Reason;
    let long_number = "9".repeat(400);
    let cases: &[(&str, Reason)] = &[
        ("", Reason::Truncated),
        ("[1", Reason::Truncated),
        ("\"abc", Reason::Truncated),
        ("[1,]", Reason::Unexpected),
        ("[,1]", Reason::Unexpected),
        ("{\"a\":1,}", Reason::Unexpected),
        ("{a:1}", Reason::Unexpected),
        ("[NaN]", Reason::Unexpected),
        ("[-Infinity]", Reason::Unexpected),
        ("[Infinity]", Reason::Unexpected),
        ("[nul]", Reason::Unexpected),
        ("[01]", Reason::Unexpected),
        ("[1.]", Reason::Unexpected),
        ("[.5]", Reason::Unexpected),
        ("[+1]", Reason::Unexpected),
        ("[1e]", Reason::Unexpected),
        ("\u{feff}[]", Reason::Unexpected),
        ("[1e400]", Reason::NumberRange),
        ("[-1e400]", Reason::NumberRange),
        (&long_number, Reason::NumberRange),
        ("\"a\tb\"", Reason::RawControl),
        (r#""\x""#, Reason::Escape),
        (r#""\u12g4""#, Reason::Escape),
        (r#""\ud800""#, Reason::LoneSurrogate),
        (r#""\ud800\ud800""#, Reason::LoneSurrogate),
        (r#""\udc00""#, Reason::LoneSurrogate),
        (r#""\udc00\ud800""#, Reason::LoneSurrogate),
        ("1 2", Reason::Trailing),
    ];
    for (input, reason) in cases {
        assert_eq!(read(input.as_bytes()).map_err(|error| error.reason), Err(*reason), "{input:?}");
    }
    assert_eq!(read(b"\"\xff\"").map_err(|error| error.reason), Err(Reason::Utf8));
}

/// The limit is exact, and a hundred thousand brackets cost no stack.
#[test]
fn limits_depth() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(read(nested(64).as_bytes()).is_ok());
    assert_eq!(read(nested(65).as_bytes()).map_err(|error| error.reason), Err(MalformedReason::Depth));
    assert_eq!(read("{\"a\":".repeat(100_000).as_bytes()).map_err(|error| error.reason), Err(MalformedReason::Depth));
}

proptest! {
    /// Any string that serde writes is read back, and the flag for unusual characters misses none.
    #[test]
    fn reads_strings(text in "\\PC*|[ -~]{0,40}|(?s:.){0,40}", tail in "[a-z ]{0,20}") {
        let mut input = serde_json::to_string(&text).unwrap();
        let length = input.len();
        input.push_str(&tail);
        let mut reader = Reader::new(input.as_bytes()).unwrap();
        let read = reader.string().unwrap();
        prop_assert_eq!(reader.offset(), length);
        let mut buffer = String::new();
        prop_assert_eq!(read.decode(&mut buffer), text.as_str());
        prop_assert!(read.unusual || !text.chars().any(|character| character.is_control() || !character.is_ascii()));
        let mut written = Vec::new();
        write_string(&mut written, &text);
        prop_assert_eq!(String::from_utf8(written).unwrap(), serde_json::to_string(&text).unwrap());
    }

    /// Any bytes give a value or an error, never a panic, and what is taken is what serde takes.
    #[test]
    fn agrees_with_serde(input in r#"([\[\]{},:" \n]|"[a-z\\]{0,3}"|[-+.eE0-9]{1,4}|true|false|null|\\\\u[0-9a-d]{4}){0,24}"#) {
        prop_assert_eq!(read(input.as_bytes()).is_ok(), serde_json::from_str::<serde_json::Value>(&input).is_ok(), "{}", input);
    }
}

/// A name that stands twice is found wherever its object lies and however it is written; the same name in two objects is none.
#[test]
fn finds_names_that_stand_twice() {
    let cases: &[(&str, Option<&str>)] = &[
        (r#"{"amount":"1","amount":"1000"}"#, Some("amount")),
        (r#" {"a":{"b":[{"c":1},{"c":1,"d":{},"c":2}]}} "#, Some("a.b[1].c")),
        (r#"{"amount":"1","\u0061mount":"1000"}"#, Some("amount")),
        (r#"[[],[{"":1,"":2}]]"#, Some("[1][0].")),
        (r#"{"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}],"A":"a"}"#, None),
        ("7", None),
    ];
    for (text, path) in cases {
        assert_eq!(repeated_name(text.as_bytes()), Ok(path.map(str::to_owned)), "{text}");
    }
    assert_eq!(repeated_name(b"{\"a\":1").unwrap_err().reason, MalformedReason::Truncated);
    assert_eq!(repeated_name("[".repeat(65).as_bytes()).unwrap_err().reason, MalformedReason::Depth);
}

proptest! {
    /// Objects that serde writes have every name once; with any of them written again, that one is found.
    #[test]
    fn finds_any_name_that_is_written_again(names in prop::collection::btree_set(".{0,6}", 1..40), place in any::<prop::sample::Index>()) {
        let members: Vec<String> = names.iter().map(|name| format!("{}:1", serde_json::to_string(name).unwrap())).collect();
        let once = format!("{{{}}}", members.join(","));
        prop_assert_eq!(repeated_name(once.as_bytes()), Ok(None));
        let again = place.get(&members);
        let twice = format!("{{{},{again}}}", members.join(","));
        let name = names.iter().nth(place.index(members.len())).cloned();
        prop_assert_eq!(repeated_name(twice.as_bytes()), Ok(name));
    }
}
