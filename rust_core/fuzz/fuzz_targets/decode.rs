//! Any bytes as a body: the fast decoder must judge them as the slow one does, and what it makes of them must travel.
//!
//!     cargo +nightly fuzz run decode -- -max_len=4096 -max_total_time=300
#![no_main]

#[path = "../../tests/slow_decoder/mod.rs"]
mod slow_decoder;

use buffmoney_core::event::decode_batch;
use buffmoney_core::message::{Message, MessageBody};
use libfuzzer_sys::fuzz_target;
use slow_decoder::{fast_verdict, slow_verdict};

const NOW_US: i64 = 1_785_513_600_000_000;

fuzz_target!(|body: &[u8]| {
    let decoded = decode_batch(body, 7, NOW_US, 5);
    if let Ok(batch) = &decoded {
        let bytes = batch.message([1; 16], b"reply", false).expect("a decoded batch fits a message");
        let message = Message::parse(&bytes).expect("an encoded message is read back");
        let MessageBody::Usage(section) = message.body else { panic!("a usage message is one") };
        assert_eq!(section.events.len(), batch.pending());
        let problems: Vec<serde_json::Value> = serde_json::from_slice(&batch.problems()).expect("problems are JSON");
        assert_eq!(problems.len(), batch.rejected());
    }
    assert_eq!(fast_verdict(decoded), slow_verdict(body, 7, NOW_US, 5));
});
