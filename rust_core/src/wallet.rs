//! A wallet in memory: balance, grants, holds, and the order in which grants pay.
//!
//! Invariant: `balance = Σ grants' remaining + unallocated`, where a negative unallocated part is overdraft. Credits
//! repay overdraft first; debits take from grants in order and then from the unallocated part, down to the floor.
//!
//! Where a merchant bills pay-as-you-go its wallets accrue: a debit takes from grants and from an unallocated part above
//! zero, and what these do not cover is owed `unbilled`, up to the limit. So it takes no balance below zero; overdraft
//! from before the wallet accrued stays overdraft. Credits leave `unbilled` alone.

use smallvec::SmallVec;

use crate::counter::Counters;
use crate::posting::{Amounts, Digest, Id};
use crate::usage::AMOUNT_LIMIT;

/// Never expires.
pub const NEVER: i64 = i64::MAX;

/// The kinds of grant, in the order in which equals are spent: what was given before what was paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum GrantKind {
    /// Given in a promotion.
    Promotional = 0,
    /// Given on top of a payment.
    Bonus = 1,
    /// Paid for.
    Paid = 2,
}

impl GrantKind {
    /// The name in JSON and SQL.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Promotional => "promotional",
            Self::Bonus => "bonus",
            Self::Paid => "paid",
        }
    }

    /// The kind with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Promotional, Self::Bonus, Self::Paid].into_iter().find(|kind| kind.name() == name)
    }
}

/// A grant with what remains of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Its id: the id of the command that made it.
    pub id: Id,
    /// Nano-units left.
    pub remaining: i128,
    /// Microseconds since the Unix epoch; [`NEVER`].
    pub expires_us: i64,
    /// Microseconds since the Unix epoch.
    pub created_us: i64,
    /// Lower is spent first.
    pub priority: i16,
    /// Paid, bonus or promotional.
    pub kind: GrantKind,
}

impl Grant {
    /// Priority, soonest expiry, bonus before paid, oldest; the id makes it total.
    fn order(&self) -> (i16, i64, GrantKind, i64, Id) {
        (self.priority, self.expires_us, self.kind, self.created_us, self.id)
    }

    /// Whether it is a grant, and not a part that stands for [`UNALLOCATED`] or [`UNBILLED`].
    #[must_use]
    pub fn is_real(&self) -> bool {
        self.id != UNALLOCATED.id && self.id != UNBILLED.id
    }
}

/// Who pays what no grant covers: the unallocated part of the wallet.
pub const UNALLOCATED: Grant = Grant { id: [0; 16], remaining: 0, expires_us: NEVER, created_us: 0, priority: 0, kind: GrantKind::Paid };

/// Who pays what a wallet that accrues does not cover: the unbilled account.
pub const UNBILLED: Grant = Grant { id: [0xff; 16], ..UNALLOCATED };

/// A hold that is open, with the grants that paid for it.
#[derive(Debug, Clone)]
pub struct Hold {
    /// The wallet's account.
    pub account: i64,
    /// Nano-units.
    pub amount: i128,
    /// Microseconds since the Unix epoch.
    pub expires_us: i64,
    /// Who paid: `remaining` is the part; also [`UNALLOCATED`] and [`UNBILLED`].
    pub parts: SmallVec<[Grant; 1]>,
}

/// What is known of a hold: closed ones are remembered, so that a hold is never taken from the database as open while
/// the group that closed it is on its way there.
#[derive(Debug, Clone)]
pub enum HoldState {
    /// It can be captured or released.
    Open(Hold),
    /// It was captured, released or expired.
    Closed(&'static str),
}

/// What changes in a wallet, and what an undo puts back.
#[derive(Debug, Clone)]
pub struct WalletState {
    /// Nano-units available.
    pub balance: i128,
    /// Nano-units on hold.
    pub held: i128,
    /// Nano-units owed and not invoiced yet, what open holds took of it included.
    pub unbilled: i128,
    /// How far below zero the balance may go, and how much may be owed unbilled; `None`: without end.
    pub overdraft_limit: Option<i128>,
    /// Falling below it is recorded.
    pub low_balance_threshold: Option<i128>,
    /// Sequence of the last posting.
    pub seq: i64,
    /// Its chain hash.
    pub chain: Digest,
    /// Grants with something left, in the order of spending.
    pub grants: SmallVec<[Grant; 1]>,
}

/// How [`Wallet::pack`] packs: the first byte. 1 had no unbilled amount.
pub const PACKED_VERSION: u8 = 2;

/// Bytes before the grants in a packed wallet.
pub const PACKED_HEAD: usize = 60;

/// A wallet in memory.
#[derive(Debug)]
pub struct Wallet {
    /// The tenant.
    pub tenant: i64,
    /// The account.
    pub account: i64,
    /// The customer as the merchant calls it.
    pub external_id: Box<str>,
    /// Its currency.
    pub currency: [u8; 3],
    /// What changes.
    pub state: WalletState,
    /// What was used in a period, of lines that count. Not part of the state: an undo puts back those that moved.
    pub counters: Counters,
    /// Where the current group keeps what it does to this wallet.
    pub touched: Option<u32>,
    /// How many open groups could still put back its state: while any does, it stays in memory.
    pub pins: u32,
    /// Touched since the eviction hand last came by.
    pub recently_used: bool,
}

impl Wallet {
    /// Its field in the balance hash: tenant (8 bytes, big-endian) and external id.
    #[must_use]
    pub fn cache_field(&self) -> Vec<u8> {
        let mut field = Vec::with_capacity(8 + self.external_id.len());
        field.extend_from_slice(&self.tenant.to_be_bytes());
        field.extend_from_slice(self.external_id.as_bytes());
        field
    }

    /// Its value in the balance hash; [`crate::balance::render`] reads it.
    #[must_use]
    pub fn pack(&self) -> Vec<u8> {
        let state = &self.state;
        let mut bytes = Vec::with_capacity(PACKED_HEAD + 43 * state.grants.len());
        bytes.push(PACKED_VERSION);
        bytes.extend_from_slice(&self.currency);
        bytes.extend_from_slice(&state.seq.to_le_bytes());
        bytes.extend_from_slice(&state.balance.to_le_bytes());
        bytes.extend_from_slice(&state.held.to_le_bytes());
        bytes.extend_from_slice(&state.unbilled.to_le_bytes());
        for grant in &state.grants {
            bytes.extend_from_slice(&grant.id);
            bytes.push(grant.kind as u8);
            bytes.extend_from_slice(&grant.priority.to_le_bytes());
            bytes.extend_from_slice(&grant.expires_us.to_le_bytes());
            bytes.extend_from_slice(&grant.remaining.to_le_bytes());
        }
        bytes
    }
}

impl WalletState {
    /// A wallet that has never moved.
    #[must_use]
    pub fn new(overdraft_limit: Option<i128>) -> Self {
        Self {
            balance: 0,
            held: 0,
            unbilled: 0,
            overdraft_limit,
            low_balance_threshold: None,
            seq: 0,
            chain: [0; 32],
            grants: SmallVec::new(),
        }
    }

    /// What its postings say of it.
    #[must_use]
    #[inline]
    pub const fn amounts(&self) -> Amounts {
        Amounts { balance: self.balance, held: self.held, unbilled: self.unbilled }
    }

    /// Whether this much can be taken without going below the floor, or without owing more than the limit.
    #[must_use]
    #[inline]
    pub fn affords(&self, amount: i128, accrues: bool) -> bool {
        if accrues {
            let due = amount - self.balance.max(0);
            // Overdraft from before the wallet accrued is owed as well.
            let owed = self.unbilled.saturating_sub(self.balance.min(0)).saturating_add(due);
            return due <= 0 || owed <= self.overdraft_limit.unwrap_or(AMOUNT_LIMIT - 1);
        }
        match self.overdraft_limit {
            // Without a floor there is still the end of what can be written.
            None => self.balance.checked_sub(amount).is_some_and(|after| after > -AMOUNT_LIMIT),
            Some(limit) => self.balance.checked_sub(amount).is_some_and(|after| after >= -limit || amount == 0),
        }
    }

    /// Takes an amount that [`affords`](Self::affords) allowed, calling `pay(grant, part)` for each grant in order; the last
    /// calls may be for [`UNALLOCATED`] and [`UNBILLED`].
    #[inline]
    pub fn debit(&mut self, amount: i128, accrues: bool, mut pay: impl FnMut(&Grant, i128)) {
        let mut due = amount;
        let mut spent = 0;
        for grant in &mut self.grants {
            if due == 0 {
                break;
            }
            let part = grant.remaining.min(due);
            grant.remaining -= part;
            due -= part;
            pay(grant, part);
            if grant.remaining == 0 {
                spent += 1;
            }
        }
        if spent > 0 {
            self.grants.drain(..spent);
        }
        self.balance -= amount - due;
        if due > 0 {
            let covered = if accrues { self.balance.clamp(0, due) } else { due };
            self.balance -= covered;
            self.unbilled += due - covered;
            for (payer, part) in [(&UNALLOCATED, covered), (&UNBILLED, due - covered)] {
                if part > 0 {
                    pay(payer, part);
                }
            }
        }
    }

    /// Where parts go when they are given back: to where they came from. But of what was owed unbilled only as much as still
    /// is; the rest has been invoiced, and is the wallet's.
    #[must_use]
    pub fn returns(&self, parts: &[Grant]) -> SmallVec<[Grant; 1]> {
        let mut left = self.unbilled;
        let mut found = SmallVec::new();
        for part in parts {
            if part.id != UNBILLED.id {
                found.push(*part);
                continue;
            }
            let lowered = part.remaining.min(left);
            left -= lowered;
            let both = [Grant { remaining: part.remaining - lowered, ..UNALLOCATED }, Grant { remaining: lowered, ..UNBILLED }];
            found.extend(both.into_iter().filter(|part| part.remaining > 0));
        }
        found
    }

    /// Gives one of [`returns`](Self::returns)' parts back.
    pub fn give_back(&mut self, part: &Grant) {
        if part.id == UNBILLED.id {
            self.unbilled -= part.remaining;
        } else {
            self.credit(part.is_real().then_some(part), part.remaining);
        }
    }

    /// Adds an amount for a grant: overdraft is repaid first, the rest is the grant's. `None`: unallocated.
    pub fn credit(&mut self, grant: Option<&Grant>, amount: i128) {
        if let Some(meta) = grant {
            let allocated: i128 = self.grants.iter().map(|grant| grant.remaining).sum();
            let overdraft = (allocated - self.balance).max(0);
            let kept = amount - overdraft.min(amount);
            if kept > 0 {
                if let Some(known) = self.grants.iter_mut().find(|known| known.id == meta.id) {
                    known.remaining += kept;
                } else {
                    let place = self.grants.partition_point(|known| known.order() < meta.order());
                    self.grants.insert(place, Grant { remaining: kept, ..*meta });
                }
            }
        }
        self.balance += amount;
    }

    /// Takes an amount out of an open grant that has at least as much; one with nothing left is closed.
    pub fn take_back(&mut self, grant: &Id, amount: i128) {
        if let Some(place) = self.grants.iter().position(|known| known.id == *grant) {
            self.grants[place].remaining -= amount;
            self.balance -= amount;
            if self.grants[place].remaining == 0 {
                self.grants.remove(place);
            }
        }
    }

    /// Takes out the first grant that is due, if any.
    pub fn take_due_grant(&mut self, now_us: i64) -> Option<Grant> {
        let place = self.grants.iter().position(|grant| grant.expires_us <= now_us)?;
        let grant = self.grants.remove(place);
        self.balance -= grant.remaining;
        Some(grant)
    }

    /// The open grants as `grants_after` stores them: 32 bytes each, id and remaining nano-units (little-endian).
    #[must_use]
    pub fn grants_after(&self) -> SmallVec<[u8; 64]> {
        let mut bytes = SmallVec::new();
        for grant in &self.grants {
            bytes.extend_from_slice(&grant.id);
            bytes.extend_from_slice(&grant.remaining.to_le_bytes());
        }
        bytes
    }

    /// Puts loaded grants into the order of spending.
    pub fn sort_grants(&mut self) {
        self.grants.sort_by_key(Grant::order);
    }
}

/// Reads `grants_after` or a hold's `parts`: (id, nano-units) pairs; `None` when it is not a multiple of 32 bytes.
#[must_use]
pub fn read_parts(bytes: &[u8]) -> Option<Vec<(Id, i128)>> {
    if !bytes.len().is_multiple_of(32) {
        return None;
    }
    bytes
        .chunks_exact(32)
        .map(|part| {
            let (id, amount) = part.split_at(16);
            Some((id.try_into().ok()?, i128::from_le_bytes(amount.try_into().ok()?)))
        })
        .collect()
}

/// Writes a hold's `parts`.
#[must_use]
pub fn write_parts<'a>(parts: impl IntoIterator<Item = &'a Grant>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&part.id);
        bytes.extend_from_slice(&part.remaining.to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(id: u8, remaining: i128, priority: i16, expires_us: i64, kind: GrantKind) -> Grant {
        Grant { id: [id; 16], remaining, expires_us, created_us: i64::from(id), priority, kind }
    }

    #[test]
    fn grants_pay_by_priority_then_expiry_then_kind_then_age() {
        let mut wallet = WalletState::new(Some(0));
        for grant in [
            grant(1, 10, 5, NEVER, GrantKind::Paid),
            grant(2, 10, 5, NEVER, GrantKind::Bonus),
            grant(3, 10, 5, 99, GrantKind::Paid),
            grant(4, 10, 1, NEVER, GrantKind::Paid),
            grant(5, 10, 5, NEVER, GrantKind::Paid),
        ] {
            wallet.credit(Some(&grant), 10);
        }
        let mut order = Vec::new();
        wallet.debit(45, false, |grant, part| order.push((grant.id[0], part)));
        assert_eq!(order, [(4, 10), (3, 10), (2, 10), (1, 10), (5, 5)]);
        assert_eq!(wallet.balance, 5);
    }

    #[test]
    fn credits_repay_overdraft_first() {
        let mut wallet = WalletState::new(Some(100));
        wallet.debit(30, false, |grant, part| assert_eq!((*grant, part), (UNALLOCATED, 30)));
        wallet.credit(Some(&grant(1, 0, 0, NEVER, GrantKind::Paid)), 50);
        assert_eq!((wallet.balance, wallet.grants[0].remaining), (20, 20));
        assert!(wallet.affords(120, false) && !wallet.affords(121, false));
    }

    fn paid(wallet: &mut WalletState, amount: i128) -> Vec<(Id, i128)> {
        let mut parts = Vec::new();
        wallet.debit(amount, true, |payer, part| parts.push((payer.id, part)));
        parts
    }

    #[test]
    fn a_wallet_that_accrues_spends_grants_and_owes_the_rest() {
        let mut wallet = WalletState::new(Some(40));
        wallet.credit(Some(&grant(1, 0, 0, NEVER, GrantKind::Paid)), 10);
        assert!(wallet.affords(50, true) && !wallet.affords(51, true));
        assert_eq!(paid(&mut wallet, 25), [([1; 16], 10), (UNBILLED.id, 15)]);
        assert_eq!((wallet.balance, wallet.unbilled), (0, 15));
        assert!(wallet.affords(25, true) && !wallet.affords(26, true));
        // Credits leave it alone, and whoever owes too much may still spend what it has.
        wallet.credit(Some(&grant(2, 0, 0, NEVER, GrantKind::Paid)), 30);
        wallet.overdraft_limit = Some(5);
        assert!(wallet.affords(30, true) && !wallet.affords(31, true));
        assert_eq!(paid(&mut wallet, 30), [([2; 16], 30)]);
        assert_eq!((wallet.balance, wallet.unbilled), (0, 15));
        wallet.overdraft_limit = None;
        assert!(wallet.affords(AMOUNT_LIMIT - 16, true) && !wallet.affords(AMOUNT_LIMIT - 15, true));
    }

    #[test]
    fn overdraft_from_before_a_wallet_accrued_stays_and_counts() {
        let mut wallet = WalletState::new(Some(40));
        wallet.debit(30, false, |_, _| {});
        assert!(wallet.affords(10, true) && !wallet.affords(11, true));
        assert_eq!(paid(&mut wallet, 10), [(UNBILLED.id, 10)]);
        assert_eq!((wallet.balance, wallet.unbilled), (-30, 10));
        wallet.credit(Some(&grant(1, 0, 0, NEVER, GrantKind::Paid)), 50);
        assert_eq!((wallet.balance, wallet.unbilled, wallet.grants[0].remaining), (20, 10, 20));
    }

    #[test]
    fn what_was_invoiced_comes_back_to_the_wallet_and_is_spent_before_anything_accrues() {
        let mut wallet = WalletState::new(None);
        let parts = paid(&mut wallet, 10);
        wallet.unbilled = 4;
        let parts: Vec<_> = parts.iter().map(|(_, part)| Grant { remaining: *part, ..UNBILLED }).collect();
        let back = wallet.returns(&parts);
        assert_eq!(back[..], [Grant { remaining: 6, ..UNALLOCATED }, Grant { remaining: 4, ..UNBILLED }]);
        back.iter().rev().for_each(|part| wallet.give_back(part));
        assert_eq!((wallet.balance, wallet.unbilled), (6, 0));
        assert_eq!(paid(&mut wallet, 7), [(UNALLOCATED.id, 6), (UNBILLED.id, 1)]);
    }
}
