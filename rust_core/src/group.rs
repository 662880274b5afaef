//! A group in the making: what a set of messages does, on its way to become one transaction.

use smallvec::SmallVec;

use crate::copy::{Buffers, CopyWriter};
use crate::counter::Moves;
use crate::message::Mark;
use crate::period_charge::{PeriodChargeRow, PeriodKey, Settled};
use crate::posting::{Amounts, Id, PostingKind, account, unbilled_account};
use crate::void::VoidRow;
use crate::wallet::{Grant, GrantKind, HoldState, UNALLOCATED, UNBILLED, Wallet, WalletState};

/// Outcome codes are below this.
pub const OUTCOMES: usize = 64;

/// A posting that has no sequence number yet. Usage of one wallet from one grant is merged while nothing comes between.
#[derive(Debug, Clone, Copy)]
pub struct PendingPosting {
    pub(crate) kind: PostingKind,
    pub(crate) grant: Id,
    pub(crate) reference: Id,
    pub(crate) debit: i64,
    pub(crate) credit: i64,
    pub(crate) amount: i128,
    pub(crate) after: Amounts,
}

/// What a posting moves, and for what.
#[derive(Debug, Clone, Copy)]
pub struct Movement {
    /// What it is for.
    pub kind: PostingKind,
    /// The account that a grant comes from, or goes back to; of no meaning for other kinds.
    pub funding: i64,
    /// Nano-units.
    pub amount: i128,
    /// The grant that gains or pays; those of [`UNALLOCATED`] and [`UNBILLED`]: none.
    pub grant: Id,
    /// The grant, hold or command behind it.
    pub reference: Id,
}

impl Movement {
    /// Any movement but a grant or a refund.
    #[must_use]
    pub const fn of(kind: PostingKind, amount: i128, grant: Id, reference: Id) -> Self {
        Self { kind, funding: 0, amount, grant, reference }
    }
}

/// What a group does to one wallet.
#[derive(Debug)]
pub struct Touched {
    /// The wallet's place in memory.
    pub wallet: u32,
    /// Its state before.
    pub before: WalletState,
    /// Its new postings.
    pub pending: SmallVec<[PendingPosting; 2]>,
    /// Made in this group.
    pub created: bool,
    /// Its floor or threshold was set in this group.
    pub configured: bool,
}

impl Touched {
    /// Adds a posting that leaves the customer's accounts `after` it, or grows the last one when both are usage paid by the
    /// same grant, or by none. Returns its place.
    #[inline]
    pub fn post(&mut self, wallet_account: i64, after: Amounts, movement: Movement) -> usize {
        let Movement { kind, funding, amount, grant, reference } = movement;
        if kind == PostingKind::Usage
            && let Some(last) = self.pending.last_mut()
            && last.kind == PostingKind::Usage
            && last.grant == grant
        {
            last.amount += amount;
            last.after = after;
            return self.pending.len() - 1;
        }
        let held_account = wallet_account + 1;
        let payer = if grant == UNBILLED.id { unbilled_account(wallet_account) } else { wallet_account };
        let (debit, credit) = match kind {
            PostingKind::Grant => (funding, payer),
            PostingKind::Usage | PostingKind::PeriodCharge => (payer, account::USAGE_REVENUE),
            PostingKind::Hold => (payer, held_account),
            PostingKind::Capture => (held_account, account::USAGE_REVENUE),
            PostingKind::Release | PostingKind::HoldExpiry => (held_account, payer),
            PostingKind::GrantExpiry => (payer, account::BREAKAGE_INCOME),
            PostingKind::Refund => (payer, funding),
            PostingKind::Void | PostingKind::PeriodChargeReversal => (account::USAGE_REVENUE, payer),
        };
        self.pending.push(PendingPosting { kind, grant, reference, debit, credit, amount, after });
        self.pending.len() - 1
    }
}

/// The account that a grant of this kind is funded from.
#[must_use]
pub const fn funding_account(kind: GrantKind) -> i64 {
    match kind {
        GrantKind::Paid => account::PAID_CREDIT_FUNDING,
        GrantKind::Bonus => account::BONUS_CREDIT_COST,
        GrantKind::Promotional => account::PROMOTIONAL_CREDIT_COST,
    }
}

/// A new event's identity.
#[derive(Debug, Clone, Copy)]
pub struct NewKey {
    /// The tenant.
    pub tenant: i64,
    /// 128 bits of blake3 over tenant and idempotency key.
    pub hash: Id,
    /// 64 bits of blake3 over the payload.
    pub fingerprint: u64,
}

/// A group while messages are applied.
#[derive(Debug)]
pub struct Work {
    /// Counts groups of this engine.
    pub group_id: u64,
    /// The commit it will be.
    pub commit_seq: i64,
    /// Likewise, with its partition.
    pub commit_id: i64,
    /// The moment of the group.
    pub now_us: i64,
    /// The table that takes its event keys.
    pub key_table: i32,
    /// Wallets, in the order in which they were first touched.
    pub touched: Vec<Touched>,
    /// Where rows are written.
    pub buffers: Buffers,
    /// Rows of `usage_events`.
    pub events: CopyWriter,
    /// Rows of `wallet_commands`.
    pub commands: CopyWriter,
    /// Rows of `grants`.
    pub grants: CopyWriter,
    /// Rows of `holds`.
    pub holds: CopyWriter,
    /// New events.
    pub new_keys: Vec<NewKey>,
    /// New commands: (tenant, id).
    pub new_commands: Vec<(i64, Id)>,
    /// Commands refused by the state of the catalogue or wallet: the database may know them as accepted long ago.
    pub refused_commands: Vec<(i64, Id)>,
    /// (tenant, hold, status, captured nano-units).
    pub closed_holds: Vec<(i64, Id, &'static str, i128)>,
    /// (tenant, grant).
    pub expired_grants: Vec<(i64, Id)>,
    /// Events voided.
    pub voids: Vec<VoidRow>,
    /// Periods settled.
    pub period_charges: Vec<PeriodChargeRow>,
    /// What was known of those periods before the group.
    pub settled_before: Vec<(PeriodKey, Option<Settled>)>,
    /// Periods that were over when the group moved their counters.
    pub late_periods: Vec<PeriodKey>,
    /// Holds before the group.
    pub holds_before: Vec<((i64, Id), Option<HoldState>)>,
    /// Counters that it moved.
    pub counters: Moves,
    /// Whether anything is owed unbilled in it: rows of `postings` then say how much.
    pub accrues: bool,
    /// Whether any catalogue counts: rows of `usage_events` then say what was counted before.
    pub counts: bool,
    /// Account ids taken from the pool.
    pub account_ids: Vec<i64>,
    /// Wallets to publish though nothing moved.
    pub warm: Vec<u32>,
    /// (reply list, message id, reply).
    pub replies: Vec<(Vec<u8>, Id, Vec<u8>)>,
    /// Batches that are wholly committed with this group: (tenant, mark).
    pub seen: Vec<(u64, Mark)>,
    /// 16 bytes for each message.
    pub messages: Vec<u8>,
    /// Sum of the accepted events' charges, nano-units, whatever their currencies: a checksum.
    pub charged: i128,
    /// Events by outcome code.
    pub outcomes: [u64; OUTCOMES],
}

impl Work {
    /// An empty group.
    #[must_use]
    pub fn new(group_id: u64, commit_seq: i64, commit_id: i64, now_us: i64, bytes: usize, buffers: &Buffers) -> Self {
        Self {
            group_id,
            commit_seq,
            commit_id,
            now_us,
            key_table: 0,
            touched: Vec::new(),
            buffers: buffers.clone(),
            events: buffers.writer(bytes * 9 / 4),
            commands: buffers.writer(0),
            grants: buffers.writer(0),
            holds: buffers.writer(0),
            // An event takes some ninety bytes of a message.
            new_keys: Vec::with_capacity(bytes / 80),
            new_commands: Vec::new(),
            refused_commands: Vec::new(),
            closed_holds: Vec::new(),
            expired_grants: Vec::new(),
            voids: Vec::new(),
            period_charges: Vec::new(),
            settled_before: Vec::new(),
            late_periods: Vec::new(),
            holds_before: Vec::new(),
            counters: Moves::default(),
            accrues: false,
            counts: false,
            account_ids: Vec::new(),
            warm: Vec::new(),
            replies: Vec::new(),
            seen: Vec::new(),
            messages: Vec::new(),
            charged: 0,
            outcomes: [0; OUTCOMES],
        }
    }

    /// Begins to change a wallet: keeps its state for an undo and posts the expiry of grants that are due.
    pub fn touch(&mut self, index: u32, wallet: &mut Wallet) -> usize {
        if let Some(slot) = wallet.touched {
            return slot as usize;
        }
        let slot = self.touched.len();
        wallet.touched = u32::try_from(slot).ok();
        wallet.pins += 1;
        wallet.recently_used = true;
        self.accrues |= wallet.state.unbilled != 0;
        self.touched.push(Touched {
            wallet: index,
            before: wallet.state.clone(),
            pending: SmallVec::new(),
            created: false,
            configured: false,
        });
        self.expire_grants(slot, wallet);
        slot
    }

    /// Posts the expiry of the wallet's due grants.
    pub fn expire_grants(&mut self, slot: usize, wallet: &mut Wallet) {
        while let Some(grant) = wallet.state.take_due_grant(self.now_us) {
            self.touched[slot].post(
                wallet.account,
                wallet.state.amounts(),
                Movement::of(PostingKind::GrantExpiry, grant.remaining, grant.id, grant.id),
            );
            self.expired_grants.push((wallet.tenant, grant.id));
        }
    }

    /// Takes an affordable amount from a wallet, one posting per payer. Returns the parts.
    pub fn debit(
        &mut self,
        slot: usize,
        wallet: &mut Wallet,
        kind: PostingKind,
        amount: i128,
        accrues: bool,
        reference: Id,
    ) -> SmallVec<[Grant; 1]> {
        let mut parts: SmallVec<[Grant; 1]> = SmallVec::new();
        let mut after = wallet.state.amounts();
        let touched = &mut self.touched[slot];
        let account = wallet.account;
        wallet.state.debit(amount, accrues, |payer, part| {
            after = after.after(kind.effect(part, payer.id == UNBILLED.id));
            touched.post(account, after, Movement::of(kind, part, payer.id, reference));
            parts.push(Grant { remaining: part, ..*payer });
        });
        wallet.state.held = after.held;
        self.accrues |= after.unbilled != 0;
        parts
    }

    /// [`debit`](Self::debit) for a usage event, without collecting parts. Returns the sequence number of the first posting.
    #[inline]
    pub fn debit_usage(&mut self, slot: usize, wallet: &mut Wallet, amount: i128, accrues: bool) -> i64 {
        let mut after = wallet.state.amounts();
        let account = wallet.account;
        let touched = &mut self.touched[slot];
        let mut first = usize::MAX;
        wallet.state.debit(amount, accrues, |payer, part| {
            // What `effect` says of usage, without a step for what it leaves alone.
            if payer.id == UNBILLED.id {
                after.unbilled += part;
            } else {
                after.balance -= part;
            }
            let place = touched.post(account, after, Movement::of(PostingKind::Usage, part, payer.id, [0; 16]));
            first = first.min(place);
        });
        self.accrues |= after.unbilled != 0;
        wallet.state.seq + 1 + i64::try_from(first).unwrap_or(0)
    }

    /// Gives parts back, held ones or those of a voided charge; those of expired grants expire at once. The last part goes
    /// first: what was overdraft must be back before grants are, or they would repay it and keep less than they gave.
    /// Returns the parts as they were given back: [`WalletState::returns`].
    pub fn release(&mut self, slot: usize, wallet: &mut Wallet, kind: PostingKind, parts: &[Grant], reference: Id) -> SmallVec<[Grant; 1]> {
        let parts = wallet.state.returns(parts);
        for part in parts.iter().rev() {
            wallet.state.give_back(part);
            wallet.state.held += kind.effect(part.remaining, part.id == UNBILLED.id).held;
            let movement = Movement::of(kind, part.remaining, part.id, reference);
            self.touched[slot].post(wallet.account, wallet.state.amounts(), movement);
        }
        self.expire_grants(slot, wallet);
        parts
    }

    /// Moves held parts to revenue.
    pub fn capture(&mut self, slot: usize, wallet: &mut Wallet, parts: &[Grant], hold: Id) {
        for part in parts {
            wallet.state.held -= part.remaining;
            // Whoever paid, it comes from what is held: what was owed unbilled for it stays so.
            let payer = if part.is_real() { part.id } else { UNALLOCATED.id };
            self.touched[slot].post(
                wallet.account,
                wallet.state.amounts(),
                Movement::of(PostingKind::Capture, part.remaining, payer, hold),
            );
        }
    }
}
