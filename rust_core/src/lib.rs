//! What BuffMoney does per event: decode, validate, hash, rate, deduct, post and encode for COPY.
//!
//! Pure Rust: no clock, no I/O, no randomness; the same calls give the same bytes. `python.rs` alone knows pyo3.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod answer;
pub mod balance;
pub mod batch;
pub mod command;
pub mod copy;
pub mod counter;
pub mod engine;
pub mod event;
pub mod group;
pub mod identity;
pub mod interner;
pub mod json;
pub mod key_filter;
pub mod key_tables;
pub mod message;
pub mod money;
pub mod outcome;
pub mod period_charge;
pub mod posting;
pub mod publish;
#[cfg(feature = "python")]
mod python;
mod quote;
pub mod rate;
pub mod recent;
mod refund;
pub mod resp;
pub mod simulate;
pub mod time;
pub mod transaction;
pub mod usage;
pub mod verify;
pub mod void;
pub mod wallet;
pub mod wallets;
