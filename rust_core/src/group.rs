//! A group in the making: what a set of messages does, on its way to become one transaction.

use smallvec::SmallVec;

use crate::copy::{Buffers, CopyWriter};
use crate::counter::Moves;
use crate::message::Mark;
use crate::posting::{Id, PostingKind, account};
use crate::void::VoidRow;
use crate::wallet::{Grant, GrantKind, HoldState, Wallet, WalletState};

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
    pub(crate) balance_after: i128,
    pub(crate) held_after: i128,
}

/// What a posting moves, and for what.
#[derive(Debug, Clone, Copy)]
pub struct Movement {
    /// What it is for.
    pub kind: PostingKind,
    /// The account that a grant comes from; of no meaning for other kinds.
    pub funding: i64,
    /// Nano-units.
    pub amount: i128,
    /// The grant that gains or pays; zero: none.
    pub grant: Id,
    /// The grant, hold or command behind it.
    pub reference: Id,
}

impl Movement {
    /// Any movement but a grant.
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
    /// Adds a posting that leaves the wallet in `state` (balance, held), or grows the last one when both are usage paid by
    /// the same grant. Returns its place.
    #[inline]
    pub fn post(&mut self, wallet_account: i64, state: (i128, i128), movement: Movement) -> usize {
        let Movement { kind, funding, amount, grant, reference } = movement;
        if kind == PostingKind::Usage
            && let Some(last) = self.pending.last_mut()
            && last.kind == PostingKind::Usage
            && last.grant == grant
        {
            last.amount += amount;
            last.balance_after = state.0;
            return self.pending.len() - 1;
        }
        let held_account = wallet_account + 1;
        let (debit, credit) = match kind {
            PostingKind::Grant => (funding, wallet_account),
            PostingKind::Usage => (wallet_account, account::USAGE_REVENUE),
            PostingKind::Hold => (wallet_account, held_account),
            PostingKind::Capture => (held_account, account::USAGE_REVENUE),
            PostingKind::Release | PostingKind::HoldExpiry => (held_account, wallet_account),
            PostingKind::GrantExpiry => (wallet_account, account::BREAKAGE_INCOME),
            PostingKind::Void => (account::USAGE_REVENUE, wallet_account),
        };
        self.pending.push(PendingPosting { kind, grant, reference, debit, credit, amount, balance_after: state.0, held_after: state.1 });
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
    /// Events refused by the state of the catalogue or wallet: the database may know them as accepted long ago.
    pub refused_keys: Vec<(i64, Id)>,
    /// Commands refused: likewise.
    pub refused_commands: Vec<(i64, Id)>,
    /// (tenant, hold, status, captured nano-units).
    pub closed_holds: Vec<(i64, Id, &'static str, i128)>,
    /// (tenant, grant).
    pub expired_grants: Vec<(i64, Id)>,
    /// Events voided.
    pub voids: Vec<VoidRow>,
    /// Holds before the group.
    pub holds_before: Vec<((i64, Id), Option<HoldState>)>,
    /// Counters that it moved.
    pub counters: Moves,
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
            refused_keys: Vec::new(),
            refused_commands: Vec::new(),
            closed_holds: Vec::new(),
            expired_grants: Vec::new(),
            voids: Vec::new(),
            holds_before: Vec::new(),
            counters: Moves::default(),
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
                (wallet.state.balance, wallet.state.held),
                Movement::of(PostingKind::GrantExpiry, grant.remaining, grant.id, grant.id),
            );
            self.expired_grants.push((wallet.tenant, grant.id));
        }
    }

    /// Takes an affordable amount from a wallet, one posting per paying grant. Returns the parts.
    pub fn debit(&mut self, slot: usize, wallet: &mut Wallet, kind: PostingKind, amount: i128, reference: Id) -> SmallVec<[Grant; 1]> {
        let mut parts: SmallVec<[Grant; 1]> = SmallVec::new();
        let mut balance = wallet.state.balance;
        let mut held = wallet.state.held;
        let touched = &mut self.touched[slot];
        let account = wallet.account;
        wallet.state.debit(amount, |grant, part| {
            balance -= part;
            if kind == PostingKind::Hold {
                held += part;
            }
            let payer = grant.map_or(UNALLOCATED, |grant| Grant { remaining: part, ..*grant });
            touched.post(account, (balance, held), Movement::of(kind, part, payer.id, reference));
            parts.push(Grant { remaining: part, ..payer });
        });
        wallet.state.held = held;
        parts
    }

    /// [`debit`](Self::debit) for a usage event, without collecting parts. Returns the sequence number of the first posting.
    #[inline]
    pub fn debit_usage(&mut self, slot: usize, wallet: &mut Wallet, amount: i128) -> i64 {
        let mut balance = wallet.state.balance;
        let held = wallet.state.held;
        let account = wallet.account;
        let touched = &mut self.touched[slot];
        let mut first = usize::MAX;
        wallet.state.debit(amount, |grant, part| {
            balance -= part;
            let movement = Movement::of(PostingKind::Usage, part, grant.map_or([0; 16], |grant| grant.id), [0; 16]);
            let place = touched.post(account, (balance, held), movement);
            first = first.min(place);
        });
        wallet.state.seq + 1 + i64::try_from(first).unwrap_or(0)
    }

    /// Gives parts back to the wallet, held ones or those of a voided charge; those of expired grants expire at once. The last
    /// part goes first: what was overdraft must be back before grants are, or they would repay it and keep less than they gave.
    pub fn release(&mut self, slot: usize, wallet: &mut Wallet, kind: PostingKind, parts: &[Grant], reference: Id) {
        for part in parts.iter().rev() {
            let grant = (part.id != [0; 16]).then_some(part);
            wallet.state.credit(grant, part.remaining);
            wallet.state.held += kind.effect(part.remaining).1;
            self.touched[slot].post(
                wallet.account,
                (wallet.state.balance, wallet.state.held),
                Movement::of(kind, part.remaining, part.id, reference),
            );
        }
        self.expire_grants(slot, wallet);
    }

    /// Moves held parts to revenue.
    pub fn capture(&mut self, slot: usize, wallet: &mut Wallet, parts: &[Grant], hold: Id) {
        for part in parts {
            wallet.state.held -= part.remaining;
            self.touched[slot].post(
                wallet.account,
                (wallet.state.balance, wallet.state.held),
                Movement::of(PostingKind::Capture, part.remaining, part.id, hold),
            );
        }
    }
}

/// The payer of what no grant covers.
pub const UNALLOCATED: Grant =
    Grant { id: [0; 16], remaining: 0, expires_us: crate::wallet::NEVER, created_us: 0, priority: 0, kind: GrantKind::Paid };
