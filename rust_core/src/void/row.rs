//! A void as the table `usage_voids` has it.

use crate::copy::{CopyError, CopyWriter};
use crate::posting::{Digest, Id, tagged_unbilled};
use crate::verify::{Row, field, id, int, numeric, optional, text, time};

/// Columns of `usage_voids`, in the order of [`VoidRow::write`].
pub const VOID_COLUMNS: &[&str] = &[
    "tenant_id",
    "key_hash",
    "idempotency_key",
    "account_id",
    "commit_id",
    "voided_at",
    "command_id",
    "set_id",
    "voided_by",
    "reason",
    "event_commit_id",
    "event_posting_seq",
    "posting_seq",
    "metric_id",
    "price_id",
    "occurred_at",
    "quantity",
    "charge",
    "dimensions",
    "parts",
    "balance_after",
    "replaced_by",
    "replaced_fingerprint",
    "counter_before",
    "unbilled_after",
];

/// One row of `usage_voids`. Its hash goes into the digest of its commit, after the postings.
#[derive(Debug, Clone)]
pub struct VoidRow {
    /// The tenant.
    pub tenant: i64,
    /// The event's identity.
    pub key_hash: Id,
    /// The event's key.
    pub idempotency_key: String,
    /// The wallet's account.
    pub account: i64,
    /// The commit of the void.
    pub commit_id: i64,
    /// Microseconds since the Unix epoch.
    pub voided_us: i64,
    /// The command that asked for it.
    pub command_id: Id,
    /// The digest of the set that it was voided with; zero: alone.
    pub set_id: Id,
    /// The API key that asked for it.
    pub voided_by: String,
    /// The merchant's words.
    pub reason: Option<String>,
    /// The commit of the event.
    pub event_commit_id: i64,
    /// The posting that the event's charge begins in; 0: free of charge.
    pub event_posting_seq: i64,
    /// The first posting that gives it back; 0: nothing to give back.
    pub posting_seq: i64,
    /// Of the event.
    pub metric_id: i32,
    /// Of the event.
    pub price_id: i32,
    /// Of the event, microseconds since the Unix epoch.
    pub occurred_us: i64,
    /// Of the event, nano-units.
    pub quantity: i128,
    /// Of the event, nano-units: what is given back.
    pub charge: i128,
    /// Of the event, canonical JSON.
    pub dimensions: String,
    /// 32 bytes each: a grant, or who stands for one, and what it gets back.
    pub parts: Vec<u8>,
    /// What was available after it, nano-units.
    pub balance_after: i128,
    /// Key and fingerprint of the event that amends it.
    pub replaced_by: Option<(String, u64)>,
    /// Nano-units that its counter was at before the void; `None`: nothing is counted, or nothing more in that period.
    pub counter_before: Option<i128>,
    /// What was owed unbilled after it, nano-units.
    pub unbilled_after: i128,
}

impl VoidRow {
    /// blake3 over the row's canonical bytes.
    #[must_use]
    pub fn hash(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        let mut long = |bytes: Option<&[u8]>| {
            // None and empty differ: a length of 2^32 − 1 stands for NULL.
            let length = bytes.map_or(u32::MAX, |bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX - 1));
            hasher.update(&length.to_le_bytes()).update(bytes.unwrap_or_default());
        };
        long(Some(self.idempotency_key.as_bytes()));
        long(Some(self.voided_by.as_bytes()));
        long(self.reason.as_deref().map(str::as_bytes));
        long(Some(self.dimensions.as_bytes()));
        long(Some(&self.parts));
        long(self.replaced_by.as_ref().map(|(key, _)| key.as_bytes()));
        long(self.counter_before.map(i128::to_le_bytes).as_ref().map(<[u8; 16]>::as_slice));
        hasher.update(&self.replaced_by.as_ref().map_or(0, |(_, print)| *print).to_le_bytes());
        for number in [
            self.tenant,
            self.account,
            self.commit_id,
            self.voided_us,
            self.event_commit_id,
            self.event_posting_seq,
            self.posting_seq,
            self.metric_id.into(),
            self.price_id.into(),
            self.occurred_us,
        ] {
            hasher.update(&number.to_le_bytes());
        }
        for id in [&self.key_hash, &self.command_id, &self.set_id] {
            hasher.update(id);
        }
        for amount in [self.quantity, self.charge, self.balance_after] {
            hasher.update(&amount.to_le_bytes());
        }
        hasher.update(&tagged_unbilled(self.unbilled_after));
        *hasher.finalize().as_bytes()
    }

    /// Reads a row of `usage_voids`, with the columns of [`VOID_COLUMNS`].
    ///
    /// # Errors
    /// When it is not one.
    pub(crate) fn read(row: Row<'_>) -> Result<Self, CopyError> {
        let narrow = |index| int(row, index).and_then(|wide| i32::try_from(wide).map_err(|_| CopyError("not an integer")));
        let owned = |index| text(row, index).map(str::to_owned);
        let owned_or_null = |index| optional(row, index).and_then(|bytes| bytes.map(|_| owned(index)).transpose());
        let replaced_by = owned_or_null(21)?.map(|key| int(row, 22).map(|print| (key, print.cast_unsigned()))).transpose()?;
        Ok(Self {
            tenant: int(row, 0)?,
            key_hash: id(row, 1)?,
            idempotency_key: owned(2)?,
            account: int(row, 3)?,
            commit_id: int(row, 4)?,
            voided_us: time(row, 5)?,
            command_id: id(row, 6)?,
            set_id: id(row, 7)?,
            voided_by: owned(8)?,
            reason: owned_or_null(9)?,
            event_commit_id: int(row, 10)?,
            event_posting_seq: int(row, 11)?,
            posting_seq: int(row, 12)?,
            metric_id: narrow(13)?,
            price_id: narrow(14)?,
            occurred_us: time(row, 15)?,
            quantity: numeric(row, 16)?,
            charge: numeric(row, 17)?,
            dimensions: owned(18)?,
            parts: field(row, 19)?.to_vec(),
            balance_after: numeric(row, 20)?,
            replaced_by,
            counter_before: optional(row, 23)?.map(|_| numeric(row, 23)).transpose()?,
            unbilled_after: numeric(row, 24)?,
        })
    }

    /// Writes it as a row of `usage_voids`.
    pub fn write(&self, rows: &mut CopyWriter) {
        rows.row(25);
        rows.int8(self.tenant);
        rows.uuid(&self.key_hash);
        rows.bytes(self.idempotency_key.as_bytes());
        rows.int8(self.account);
        rows.int8(self.commit_id);
        rows.timestamp(self.voided_us);
        rows.uuid(&self.command_id);
        rows.uuid_or_null(&self.set_id);
        rows.bytes(self.voided_by.as_bytes());
        rows.bytes_or_null(self.reason.as_deref().map(str::as_bytes));
        rows.int8s([self.event_commit_id, self.event_posting_seq, self.posting_seq]);
        rows.int4(self.metric_id);
        rows.int4(self.price_id);
        rows.timestamp(self.occurred_us);
        rows.numeric(self.quantity);
        rows.numeric(self.charge);
        rows.bytes(self.dimensions.as_bytes());
        rows.bytes(&self.parts);
        rows.numeric(self.balance_after);
        match &self.replaced_by {
            Some((key, fingerprint)) => {
                rows.bytes(key.as_bytes());
                rows.int8(fingerprint.cast_signed());
            }
            None => {
                rows.null();
                rows.null();
            }
        }
        rows.numeric_or_null(self.counter_before);
        rows.numeric(self.unbilled_after);
    }
}
