//! What BuffMoney does per event: decode, validate, hash, rate, deduct, post and encode for COPY.
//!
//! Pure Rust: no clock, no I/O, no randomness; the same calls give the same bytes. `python.rs` alone knows pyo3.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

