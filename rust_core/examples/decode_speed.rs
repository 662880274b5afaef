//! Events decoded, validated and hashed a second on one core, in batches of real shape:
//! 500 events, 1,000 customers, 4 models, both token metrics, 170 bytes an event.
//!
//!     cargo run --release --no-default-features --example decode_speed
#![allow(clippy::unwrap_used, clippy::float_arithmetic, clippy::cast_precision_loss, reason = "a measurement prints rates")]

use buffmoney_core::event::decode_batch;
use std::hint::black_box;
use std::time::Instant;

const NOW_US: i64 = 1_785_513_600_000_000;
const MODELS: [&str; 4] = ["gpt-4o", "qwen-max", "deepseek-v3", "claude"];

fn body(batch: usize, unusual: bool) -> String {
    let events: Vec<String> = (0..500)
        .map(|place| {
            let number = batch * 500 + place;
            let metric = if number.is_multiple_of(2) { "tokens_input" } else { "tokens_output" };
            let mut dimensions = format!("\"model\":\"{}\"", MODELS[number / 2 % 4]);
            if unusual {
                dimensions.push_str(&format!(",\"session\":\"号{number}\""));
            }
            format!(
                "{{\"customerExternalId\":\"cust-{:04}\",\"idempotencyKey\":\"run-{number:012x}\",\"metric\":\"{metric}\",\"quantity\":\"{}\",\
                 \"occurredAt\":\"2026-07-31T15:{:02}:{:02}.{:06}Z\",\"dimensions\":{{{dimensions}}}}}",
                number * 7919 % 1000,
                number % 4000 + 1,
                number / 60 % 60,
                number % 60,
                number * 7919 % 1_000_000,
            )
        })
        .collect();
    format!("{{\"events\":[{}]}}", events.join(","))
}

fn measure(name: &str, bodies: &[String]) {
    let events = bodies.len() * 500;
    let bytes: usize = bodies.iter().map(String::len).sum();
    let mut best = f64::MAX;
    for _ in 0..20 {
        let start = Instant::now();
        for body in bodies {
            let batch = decode_batch(black_box(body.as_bytes()), 1, NOW_US, 500).unwrap();
            assert_eq!(batch.events().len(), 500);
            black_box(batch);
        }
        best = best.min(start.elapsed().as_secs_f64());
    }
    let rate = events as f64 / best;
    println!("{name}: {rate:.0} events/s, {:.0} ns an event, {} bytes an event", 1e9 / rate, bytes / events);
}

fn main() {
    measure("real shape", &(0..100).map(|batch| body(batch, false)).collect::<Vec<_>>());
    measure("each its own dimensions, not ASCII", &(0..100).map(|batch| body(batch, true)).collect::<Vec<_>>());
}
