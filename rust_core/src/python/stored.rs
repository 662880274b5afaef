//! Stored events on their way to the engine, which is to void them.

use hashbrown::HashMap;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::{amount, id};
use crate::engine::join_grants;
use crate::posting::Id;
use crate::void::{StoredEvent, Voided};
use crate::wallet::{Grant, read_parts};

type PyEventFacts = (i64, i64, i64, i32, i32, i64, String, String, String, Vec<u8>);
type PyVoidFacts = (i64, String, String, Option<String>, Option<String>, Option<i64>, Option<String>);
/// (key hash, facts, void): see `_core.pyi`.
pub(super) type PyEventRow = (Vec<u8>, PyEventFacts, Option<PyVoidFacts>);

/// An event as the engine takes it, with the grants that paid it.
pub(super) fn event_row(row: PyEventRow, grants: &HashMap<Id, Grant>) -> PyResult<(Id, StoredEvent)> {
    let (hash, (account, commit_id, posting_seq, metric_id, price_id, occurred_us, quantity, charge, dimensions, parts), void) = row;
    let parts = read_parts(&parts).ok_or_else(|| PyValueError::new_err("malformed parts"))?;
    let charge = amount(&charge)?;
    let void = match void {
        None => None,
        Some((voided_us, balance_after, unbilled_after, reason, replaced_by, fingerprint, answer)) => Some(Voided {
            account,
            voided_us,
            amount: charge,
            parts: parts.clone(),
            balance_after: amount(&balance_after)?,
            unbilled_after: amount(&unbilled_after)?,
            reason,
            replaced_by: replaced_by.zip(fingerprint.map(i64::cast_unsigned)),
            answer,
        }),
    };
    let quantity = amount(&quantity)?;
    let parts = join_grants(&parts, grants)?;
    Ok((
        id(&hash)?,
        StoredEvent { account, commit_id, posting_seq, metric_id, price_id, occurred_us, quantity, charge, dimensions, parts, void },
    ))
}
