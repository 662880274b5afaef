//! Postings: their kinds, canonical bytes, hash chain, and the chain of commits above them.
//!
//! Every hash is blake3 over fixed-width little-endian fields and length-prefixed bytes, so that no two different
//! rows have the same canonical bytes.

use smallvec::SmallVec;

/// 32 bytes of blake3.
pub type Digest = [u8; 32];

/// 16 bytes of a grant, hold, command or event; all zero stands for none.
pub type Id = [u8; 16];

/// System accounts, as in the table `system_accounts`.
pub mod account {
    /// What was collected, or is to be, for paid grants.
    pub const PAID_CREDIT_FUNDING: i64 = 1;
    /// Bonus grants given.
    pub const BONUS_CREDIT_COST: i64 = 2;
    /// Promotional grants given.
    pub const PROMOTIONAL_CREDIT_COST: i64 = 3;
    /// Usage charged and holds captured.
    pub const USAGE_REVENUE: i64 = 10;
    /// Grants that expired unspent.
    pub const BREAKAGE_INCOME: i64 = 11;
}

/// What a posting is for; the numbers are those of the table `posting_kinds`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum PostingKind {
    /// Funding account → wallet.
    Grant = 1,
    /// Wallet, or unbilled where it accrues, → revenue.
    Usage = 2,
    /// Wallet, or unbilled, → held.
    Hold = 3,
    /// Held → revenue.
    Capture = 4,
    /// Held → wallet or unbilled, asked for.
    Release = 5,
    /// Wallet → breakage.
    GrantExpiry = 6,
    /// Revenue → wallet or unbilled: usage that was charged is given back.
    Void = 7,
    /// Held → wallet or unbilled, by time.
    HoldExpiry = 8,
    /// Wallet or unbilled → revenue: what a billing period is charged at its end.
    PeriodCharge = 9,
    /// Revenue → wallet or unbilled: what it was charged too much.
    PeriodChargeReversal = 10,
    /// Wallet → funding account: credit is taken back out of a grant.
    Refund = 11,
}

impl PostingKind {
    /// The kind with this number.
    #[must_use]
    pub const fn from_code(code: i64) -> Option<Self> {
        Some(match code {
            1 => Self::Grant,
            2 => Self::Usage,
            3 => Self::Hold,
            4 => Self::Capture,
            5 => Self::Release,
            6 => Self::GrantExpiry,
            7 => Self::Void,
            8 => Self::HoldExpiry,
            9 => Self::PeriodCharge,
            10 => Self::PeriodChargeReversal,
            11 => Self::Refund,
            _ => return None,
        })
    }

    /// What the accounts of a customer gain by an amount. `accrued`: the unbilled account stands in the wallet's place.
    #[must_use]
    #[inline]
    pub const fn effect(self, amount: i128, accrued: bool) -> Amounts {
        let (balance, held) = match self {
            Self::Grant | Self::Void | Self::PeriodChargeReversal => (amount, 0),
            Self::Usage | Self::GrantExpiry | Self::PeriodCharge | Self::Refund => (-amount, 0),
            Self::Hold => (-amount, amount),
            Self::Capture => (0, -amount),
            Self::Release | Self::HoldExpiry => (amount, -amount),
        };
        // What is owed grows where a balance would have fallen.
        if accrued { Amounts { balance: 0, held, unbilled: -balance } } else { Amounts { balance, held, unbilled: 0 } }
    }
}

/// Of the three accounts of a customer, nano-units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amounts {
    /// In the wallet: what is available.
    pub balance: i128,
    /// On hold.
    pub held: i128,
    /// Owed and not invoiced yet, what open holds took of it included.
    pub unbilled: i128,
}

impl Amounts {
    /// After an effect on them; at the ends of 128 bits it stays there.
    #[must_use]
    #[inline]
    pub const fn after(self, effect: Self) -> Self {
        Self {
            balance: self.balance.saturating_add(effect.balance),
            held: self.held.saturating_add(effect.held),
            unbilled: self.unbilled.saturating_add(effect.unbilled),
        }
    }
}

/// The account of what a customer owes unbilled, by that of its wallet.
#[must_use]
pub const fn unbilled_account(wallet: i64) -> i64 {
    -wallet
}

/// One row of `postings` but for its chain hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Posting<'a> {
    /// The tenant.
    pub tenant: i64,
    /// The wallet whose sequence this extends.
    pub account: i64,
    /// Its place in that sequence, from 1.
    pub seq: i64,
    /// What it is for.
    pub kind: PostingKind,
    /// The account that gives.
    pub debit: i64,
    /// The account that gains.
    pub credit: i64,
    /// Nano-units, above zero.
    pub amount: i128,
    /// What the customer's accounts come to after it.
    pub after: Amounts,
    /// The grant that gained or paid; zero: overdraft or unbilled, which the accounts tell apart.
    pub grant: Id,
    /// The grant, hold, command or period charge behind it; of a refund its command, of a void the event that it reverses.
    pub reference: Id,
    /// The commit it is part of.
    pub commit_id: i64,
    /// Microseconds since the Unix epoch.
    pub posted_at_us: i64,
    /// The wallet's open grants after its last posting of a commit: 32 bytes each (id, remaining).
    pub grants_after: Option<&'a [u8]>,
}

impl Posting<'_> {
    /// The chain hash: blake3 over the hash before and this posting's canonical bytes.
    #[must_use]
    pub fn chain(&self, before: &Digest) -> Digest {
        let mut bytes = [0_u8; 224];
        let mut at = 0;
        let mut put = |field: &[u8]| {
            bytes[at..at + field.len()].copy_from_slice(field);
            at += field.len();
        };
        put(before);
        put(&self.tenant.to_le_bytes());
        put(&self.account.to_le_bytes());
        put(&self.seq.to_le_bytes());
        put(&[self.kind as u8]);
        put(&self.debit.to_le_bytes());
        put(&self.credit.to_le_bytes());
        put(&self.amount.to_le_bytes());
        put(&self.after.balance.to_le_bytes());
        put(&self.after.held.to_le_bytes());
        put(&self.grant);
        put(&self.reference);
        put(&self.commit_id.to_le_bytes());
        put(&self.posted_at_us.to_le_bytes());
        // None and empty differ: a length of 2^32 − 1 stands for NULL.
        let grants_length = self.grants_after.map_or(u32::MAX, |grants| u32::try_from(grants.len()).unwrap_or(u32::MAX - 1));
        put(&grants_length.to_le_bytes());
        let fixed = at;
        let grants = self.grants_after.unwrap_or_default();
        let unbilled = tagged_unbilled(self.after.unbilled);
        let end = fixed + grants.len();
        if let Some(room) = bytes.get_mut(fixed..end + unbilled.len()) {
            let (of_grants, of_unbilled) = room.split_at_mut(grants.len());
            of_grants.copy_from_slice(grants);
            of_unbilled.copy_from_slice(&unbilled);
            return *blake3::hash(&bytes[..end + unbilled.len()]).as_bytes();
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&bytes[..fixed]).update(grants).update(&unbilled);
        *hasher.finalize().as_bytes()
    }
}

/// What is hashed of an unbilled amount, at the very end: nothing of zero, so that rows from before there was one keep
/// their hashes, else a `u` and the amount.
#[must_use]
pub(crate) fn tagged_unbilled(amount: i128) -> SmallVec<[u8; 17]> {
    let mut bytes = SmallVec::new();
    if amount != 0 {
        bytes.push(b'u');
        bytes.extend_from_slice(&amount.to_le_bytes());
    }
    bytes
}

/// Folds one more posting into a commit's digest.
#[must_use]
pub fn fold_digest(digest: &Digest, chain_hash: &Digest) -> Digest {
    let mut bytes = [0_u8; 64];
    bytes[..32].copy_from_slice(digest);
    bytes[32..].copy_from_slice(chain_hash);
    *blake3::hash(&bytes).as_bytes()
}

/// One row of `commits` but for its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit<'a> {
    /// The partition.
    pub partition: i64,
    /// Its place in the partition, from 1.
    pub seq: i64,
    /// The epoch of the writer.
    pub epoch: i64,
    /// Microseconds since the Unix epoch.
    pub committed_at_us: i64,
    /// Usage events in it.
    pub events: i64,
    /// Postings in it.
    pub postings: i64,
    /// Sum of the events' charges, nano-units, whatever their currencies: a checksum.
    pub charged: i128,
    /// The postings' chain hashes, folded in key order, and after them the hashes of the voids and of the period charges, likewise.
    pub digest: Digest,
    /// 16 bytes for each inbox message in it.
    pub messages: &'a [u8],
}

impl Commit<'_> {
    /// The head of the partition's chain of commits: blake3 over the head before and this commit's canonical bytes.
    #[must_use]
    pub fn head(&self, before: &Digest) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(before);
        for field in [self.partition, self.seq, self.epoch, self.committed_at_us, self.events, self.postings] {
            hasher.update(&field.to_le_bytes());
        }
        hasher.update(&self.charged.to_le_bytes());
        hasher.update(&self.digest);
        hasher.update(&(self.messages.len() as u64).to_le_bytes());
        hasher.update(self.messages);
        *hasher.finalize().as_bytes()
    }
}

/// The signature of a head: keyed blake3 over partition, sequence and head.
#[must_use]
pub fn head_mac(key: &Digest, partition: i64, seq: i64, head: &Digest) -> Digest {
    let mut bytes = [0_u8; 48];
    bytes[..8].copy_from_slice(&partition.to_le_bytes());
    bytes[8..16].copy_from_slice(&seq.to_le_bytes());
    bytes[16..].copy_from_slice(head);
    *blake3::keyed_hash(key, &bytes).as_bytes()
}

/// commit_id = partition << 48 | commit sequence: one number that orders a partition's commits and names its partition.
#[must_use]
pub const fn commit_id(partition: i64, seq: i64) -> i64 {
    (partition << 48) | seq
}
