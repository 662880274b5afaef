//! A finished group: the bytes of one transaction, what to say after it, and how to take it back.

use hashbrown::HashMap;

use crate::copy::{Buffers, CopyStream, CopyWriter, POSTGRES_EPOCH_US};
use crate::counter::{Moved, Written};
use crate::group::{NewKey, OUTCOMES, Work};
use crate::message::Mark;
use crate::period_charge::{PERIOD_CHARGE_COLUMNS, PeriodKey, Settled};
use crate::posting::{Commit, Digest, Id, Posting, fold_digest, head_mac};
use crate::void::VOID_COLUMNS;
use crate::wallet::{HoldState, UNBILLED, Wallet, WalletState};

/// Who and where the engine is: what a commit's head is made from.
#[derive(Debug, Clone)]
pub struct Position {
    /// The partition.
    pub partition: i64,
    /// The epoch of the lease.
    pub epoch: i64,
    /// Signs heads.
    pub key: Digest,
    /// The last commit's sequence.
    pub commit_seq: i64,
    /// The last commit's head.
    pub head: Digest,
}

/// A finished group: bytes for one transaction, and what to say after it.
#[derive(Debug)]
pub struct Group {
    /// Counts groups of this engine.
    pub group_id: u64,
    /// The commit it will be.
    pub commit_seq: i64,
    /// Likewise, with its partition.
    pub commit_id: i64,
    /// The table that takes its event keys.
    pub key_table: i32,
    /// (table, columns, COPY BINARY bytes), in the order of writing.
    pub copies: Vec<(&'static str, &'static [&'static str], CopyStream)>,
    /// (tenant, hold, status, captured nano-units).
    pub closed_holds: Vec<(i64, Id, &'static str, i128)>,
    /// (tenant, grant).
    pub expired_grants: Vec<(i64, Id)>,
    /// (tenant, account, overdraft limit, low-balance threshold), nano-units.
    pub configured: Vec<(i64, i64, Option<i128>, Option<i128>)>,
    /// New events.
    pub new_keys: Vec<NewKey>,
    /// Events voided: (tenant, identity).
    pub voids: Vec<(i64, Id)>,
    /// New commands.
    pub new_commands: Vec<(i64, Id)>,
    /// Periods that were over when it moved their counters: to be settled.
    pub late_periods: Vec<PeriodKey>,
    /// Refused commands that the database may know.
    pub refused_commands: Vec<(i64, Id)>,
    /// (reply list, message id, reply).
    pub replies: Vec<(Vec<u8>, Id, Vec<u8>)>,
    /// Batches of which every event is stored once this is committed: (tenant, mark).
    pub seen: Vec<(u64, Mark)>,
    /// (field, packed wallet).
    pub balances: Vec<(Vec<u8>, Vec<u8>)>,
    /// Fields of wallets that left memory.
    pub evicted: Vec<Vec<u8>>,
    /// Postings in it.
    pub postings: usize,
    /// Events accepted.
    pub events: usize,
    /// Sum of their charges, nano-units, whatever their currencies: a checksum.
    pub charged: i128,
    /// Events by outcome code.
    pub outcomes: [u64; OUTCOMES],
    /// The head after it.
    pub head: Digest,
    /// Its signature.
    pub head_mac: Digest,
    /// Nothing to write.
    pub empty: bool,
}

/// What takes a group back out of memory.
#[derive(Debug)]
pub struct Undo {
    /// The group.
    pub group_id: u64,
    /// Wallets and their state before.
    pub wallets: Vec<(u32, WalletState)>,
    /// Wallets made by it.
    pub created: Vec<u32>,
    /// Keys it remembered.
    pub keys: Vec<Id>,
    /// Commands it remembered.
    pub commands: Vec<(i64, Id)>,
    /// Voids it remembered: (tenant, identity).
    pub voids: Vec<(i64, Id)>,
    /// Holds before it.
    pub holds: Vec<((i64, Id), Option<HoldState>)>,
    /// What was known before it of the periods that it settled.
    pub settled: Vec<(PeriodKey, Option<Settled>)>,
    /// Counters it moved.
    pub counters: Vec<Moved>,
    /// Rows it wrote of them.
    pub counter_rows: Vec<Written>,
    /// Account ids it took.
    pub account_ids: Vec<i64>,
    /// The position before it.
    pub commit_seq: i64,
    /// Likewise.
    pub head: Digest,
}

const POSTING_COLUMNS: &[&str] = &[
    "tenant_id",
    "account_id",
    "seq",
    "kind",
    "debit_account_id",
    "credit_account_id",
    "amount",
    "balance_after",
    "held_after",
    "grant_id",
    "reference",
    "commit_id",
    "posted_at",
    "grants_after",
    "chain_hash",
    // Left out where nothing is.
    "unbilled_after",
];
const EVENT_COLUMNS: &[&str] = &[
    "tenant_id",
    "account_id",
    "commit_id",
    "posting_seq",
    "accepted_at",
    "occurred_at",
    "metric_id",
    "price_id",
    "quantity",
    "charge",
    "idempotency_key",
    "dimensions",
    // Left out where nothing counts.
    "counter_before",
];
const COUNTER_COLUMNS: &[&str] = &["tenant_id", "account_id", "period_start", "commit_id", "whole", "counter_ids", "quantities"];
const CUSTOMER_COLUMNS: &[&str] =
    &["tenant_id", "account_id", "external_id", "currency", "overdraft_limit", "low_balance_threshold", "created_at"];
const GRANT_COLUMNS: &[&str] =
    &["tenant_id", "grant_id", "account_id", "kind", "priority", "amount", "currency", "expires_at", "created_at", "commit_id"];
const HOLD_COLUMNS: &[&str] = &["tenant_id", "hold_id", "account_id", "amount", "parts", "expires_at", "created_at", "commit_id"];
const COMMIT_COLUMNS: &[&str] =
    &["partition_id", "commit_seq", "commit_id", "epoch", "committed_at", "events", "postings", "charged", "digest", "head", "messages"];

/// Gives postings their sequence numbers and hashes, writes the remaining tables, and moves the position on.
///
/// Wallets are written in key order: it is the order in which the commit's digest is defined, and kind to the index.
pub fn finish(
    mut work: Work,
    moved: Vec<Moved>,
    wallets: &mut [Option<Wallet>],
    position: &mut Position,
    evicted: Vec<Vec<u8>>,
) -> (Group, Undo) {
    let mut undo = Undo {
        group_id: work.group_id,
        wallets: Vec::with_capacity(work.touched.len()),
        created: Vec::new(),
        keys: work.new_keys.iter().map(|key| key.hash).collect(),
        commands: work.new_commands.clone(),
        voids: work.voids.iter().map(|void| (void.tenant, void.key_hash)).collect(),
        holds: std::mem::take(&mut work.holds_before),
        settled: std::mem::take(&mut work.settled_before),
        counters: moved,
        counter_rows: Vec::new(),
        account_ids: std::mem::take(&mut work.account_ids),
        commit_seq: position.commit_seq,
        head: position.head,
    };
    let mut touched = std::mem::take(&mut work.touched);
    touched.sort_by_cached_key(|one| wallets[one.wallet as usize].as_ref().map(|wallet| (wallet.tenant, wallet.account)));
    let mut postings = work.buffers.writer(touched.len() * 320);
    let mut customers = work.buffers.writer(0);
    let mut alerts = work.buffers.writer(0);
    let mut configured = Vec::new();
    let mut balances = Vec::with_capacity(touched.len() + work.warm.len());
    let mut digest: Digest = [0; 32];
    for one in touched {
        let Some(wallet) = wallets.get_mut(one.wallet as usize).and_then(Option::as_mut) else { continue };
        // Its place in the order of keys, until the counters are written.
        wallet.touched = u32::try_from(undo.wallets.len()).ok();
        if one.created {
            undo.created.push(one.wallet);
            write_customer(&mut customers, wallet, work.now_us);
        } else if one.configured {
            configured.push((wallet.tenant, wallet.account, wallet.state.overdraft_limit, wallet.state.low_balance_threshold));
        }
        let grants_after = wallet.state.grants_after();
        let last = one.pending.len().wrapping_sub(1);
        for (place, pending) in one.pending.iter().enumerate() {
            wallet.state.seq += 1;
            let posting = Posting {
                tenant: wallet.tenant,
                account: wallet.account,
                seq: wallet.state.seq,
                kind: pending.kind,
                debit: pending.debit,
                credit: pending.credit,
                amount: pending.amount,
                after: pending.after,
                grant: if pending.grant == UNBILLED.id { [0; 16] } else { pending.grant },
                reference: pending.reference,
                commit_id: work.commit_id,
                posted_at_us: work.now_us,
                grants_after: (place == last).then_some(&grants_after[..]),
            };
            wallet.state.chain = posting.chain(&wallet.state.chain);
            digest = fold_digest(&digest, &wallet.state.chain);
            write_posting(&mut postings, &posting, &wallet.state.chain, work.accrues);
        }
        if let Some(threshold) = wallet.state.low_balance_threshold
            && one.before.balance >= threshold
            && wallet.state.balance < threshold
        {
            alerts.row(6);
            alerts.int8(wallet.tenant);
            alerts.int8(wallet.account);
            alerts.int8(wallet.state.seq);
            alerts.numeric(threshold);
            alerts.numeric(wallet.state.balance);
            alerts.int8(work.commit_id);
        }
        if one.created || one.configured || !one.pending.is_empty() {
            balances.push((wallet.cache_field(), wallet.pack()));
        }
        undo.wallets.push((one.wallet, one.before));
    }
    for index in &work.warm {
        if let Some(wallet) = wallets.get(*index as usize).and_then(Option::as_ref) {
            balances.push((wallet.cache_field(), wallet.pack()));
        }
    }

    let (counters, counter_rows) = write_counters(&work.buffers, &undo.counters, wallets, &undo.wallets, work.commit_id);
    undo.counter_rows = counter_rows;
    for (index, _) in &undo.wallets {
        if let Some(wallet) = wallets[*index as usize].as_mut() {
            wallet.touched = None;
        }
    }

    work.voids.sort_unstable_by_key(|void| (void.tenant, void.key_hash));
    let mut voids = work.buffers.writer(0);
    for void in &work.voids {
        digest = fold_digest(&digest, &void.hash());
        void.write(&mut voids);
    }
    work.period_charges.sort_unstable_by_key(|row| row.key);
    let mut period_charges = work.buffers.writer(0);
    for row in &work.period_charges {
        digest = fold_digest(&digest, &row.hash());
        row.write(&mut period_charges);
    }
    work.late_periods.sort_unstable();
    work.late_periods.dedup();

    let empty = work.events.rows() == 0
        && work.commands.rows() == 0
        && postings.rows() == 0
        && period_charges.rows() == 0
        && customers.rows() == 0
        && configured.is_empty()
        && work.closed_holds.is_empty()
        && work.expired_grants.is_empty();
    let (events, posted) = (work.events.rows(), postings.rows());
    let commit = Commit {
        partition: position.partition,
        seq: work.commit_seq,
        epoch: position.epoch,
        committed_at_us: work.now_us,
        events: i64::try_from(events).unwrap_or(i64::MAX),
        postings: i64::try_from(posted).unwrap_or(i64::MAX),
        charged: work.charged,
        digest,
        messages: &work.messages,
    };
    let mut copies = Vec::new();
    if !empty {
        let head = commit.head(&position.head);
        position.commit_seq = work.commit_seq;
        position.head = head;
        let keys = write_keys(&work.buffers, &mut work.new_keys, work.commit_id, work.key_table);
        let posting_columns = if work.accrues { POSTING_COLUMNS } else { &POSTING_COLUMNS[..POSTING_COLUMNS.len() - 1] };
        let event_columns = if work.counts { EVENT_COLUMNS } else { &EVENT_COLUMNS[..EVENT_COLUMNS.len() - 1] };
        let mut commits = work.buffers.writer(256);
        write_commit(&mut commits, &commit, work.commit_id, &head);
        // Identity first: a duplicate fails the transaction before the wide rows are sent.
        for (table, columns, writer) in [
            ("event_keys", &["tenant_id", "key_hash", "fingerprint", "commit_id", "key_table"][..], keys),
            ("wallet_commands", &["tenant_id", "command_id", "fingerprint", "commit_id", "result"], work.commands),
            ("usage_voids", VOID_COLUMNS, voids),
            ("customers", CUSTOMER_COLUMNS, customers),
            ("grants", GRANT_COLUMNS, work.grants),
            ("holds", HOLD_COLUMNS, work.holds),
            ("usage_events", event_columns, work.events),
            ("usage_counter_quantities", COUNTER_COLUMNS, counters),
            ("period_charges", PERIOD_CHARGE_COLUMNS, period_charges),
            ("postings", posting_columns, postings),
            ("low_balance_alerts", &["tenant_id", "account_id", "seq", "threshold", "available", "commit_id"], alerts),
            ("commits", COMMIT_COLUMNS, commits),
        ] {
            if writer.rows() > 0 {
                copies.push((table, columns, writer.finish()));
            }
        }
    }
    let group = Group {
        group_id: work.group_id,
        commit_seq: work.commit_seq,
        commit_id: work.commit_id,
        key_table: work.key_table,
        copies,
        closed_holds: work.closed_holds,
        expired_grants: work.expired_grants,
        configured,
        new_keys: work.new_keys,
        voids: undo.voids.clone(),
        new_commands: work.new_commands,
        late_periods: work.late_periods,
        refused_commands: work.refused_commands,
        replies: work.replies,
        seen: work.seen,
        balances,
        evicted,
        postings: posted,
        events,
        charged: work.charged,
        outcomes: work.outcomes,
        head: position.head,
        head_mac: head_mac(&position.key, position.partition, position.commit_seq, &position.head),
        empty,
    };
    (group, undo)
}

/// Sorts by (tenant, hash). Hashes are uniform: dealt into about as many buckets as there are keys by their first bits,
/// they are nearly sorted, which takes a third of the time of comparing them all.
fn sort_keys(keys: &mut [NewKey]) {
    let order = |key: &NewKey| (key.tenant, u128::from_be_bytes(key.hash));
    let bits = keys.len().checked_ilog2().unwrap_or(0).min(15);
    let one_tenant = keys.windows(2).all(|pair| pair[0].tenant == pair[1].tenant);
    if !one_tenant || bits < 8 {
        keys.sort_unstable_by_key(order);
        return;
    }
    let bucket = |key: &NewKey| usize::from(u16::from_be_bytes([key.hash[0], key.hash[1]]) >> (16 - bits));
    let mut ends = vec![0_usize; (1 << bits) + 1];
    for key in keys.iter() {
        ends[bucket(key) + 1] += 1;
    }
    for place in 1..ends.len() {
        ends[place] += ends[place - 1];
    }
    let unsorted = keys.to_vec();
    for key in unsorted {
        let next = &mut ends[bucket(&key)];
        keys[*next] = key;
        *next += 1;
    }
    // Not all in one pass: whoever chooses keys by their hash could fill one bucket, and must not slow the others down.
    let mut from = 0;
    for to in ends {
        if to > from + 1 {
            keys[from..to].sort_unstable_by_key(order);
        }
        from = to.max(from);
    }
}

/// In key order: neighbours in the group are then neighbours in the index, which makes COPY a quarter to a half faster.
fn write_keys(buffers: &Buffers, keys: &mut [NewKey], commit_id: i64, key_table: i32) -> CopyWriter {
    sort_keys(keys);
    let mut rows = buffers.writer(keys.len() * 68);
    for key in keys {
        rows.row(5);
        rows.int8(key.tenant);
        rows.uuid(&key.hash);
        rows.int8s([key.fingerprint.cast_signed(), commit_id]);
        rows.int4(key_table);
    }
    rows
}

/// What the counters are after the group that moved them, a row for each wallet and period, in key order. `touched`: the wallets
/// in key order, each of which knows its place in it: dealt out by wallet, what is left to sort are a few counters each.
fn write_counters(
    buffers: &Buffers,
    moved: &[Moved],
    wallets: &mut [Option<Wallet>],
    touched: &[(u32, WalletState)],
    commit_id: i64,
) -> (CopyWriter, Vec<Written>) {
    let mut rows = buffers.writer(moved.len() * 32);
    let mut written = Vec::new();
    if moved.is_empty() {
        return (rows, written);
    }
    let wallet_of = |index: u32| wallets.get(index as usize).and_then(Option::as_ref);
    let place = |one: &Moved| wallet_of(one.wallet).and_then(|wallet| wallet.touched).map_or(touched.len(), |place| place as usize);
    let mut ends = vec![0_usize; touched.len() + 2];
    for one in moved {
        ends[place(one) + 1] += 1;
    }
    for place in 1..ends.len() {
        ends[place] += ends[place - 1];
    }
    let mut dealt = vec![(0_i64, 0_i32, 0_u32); moved.len()];
    for (number, one) in (0_u32..).zip(moved) {
        let next = &mut ends[place(one)];
        dealt[*next] = (one.period_start_us, one.counter_id, number);
        *next += 1;
    }
    let mut from = 0;
    let mut used: Vec<(i32, i128)> = Vec::new();
    for ((index, _), to) in touched.iter().zip(ends) {
        let Some(wallet) = wallets.get_mut(*index as usize).and_then(Option::as_mut) else { continue };
        let own = &mut dealt[from..to];
        from = to;
        own.sort_unstable();
        for period in own.chunk_by(|one, next| one.0 == next.0) {
            let period_start_us = period[0].0;
            used.clear();
            // One that went back to where it was, by a void or a refused amendment, did not move.
            used.extend(period.iter().filter_map(|(_, counter_id, number)| {
                let Moved { before, after, .. } = moved[*number as usize];
                (before != after).then_some((*counter_id, after))
            }));
            if used.is_empty() {
                continue;
            }
            let (whole, before) = wallet.counters.writes_whole(*index, period_start_us, used.len());
            written.push(before);
            if whole {
                used.retain(|(_, quantity)| *quantity == 0);
                used.extend(wallet.counters.of_period(period_start_us));
                used.sort_unstable();
            }
            rows.row(7);
            rows.int8s([wallet.tenant, wallet.account, period_start_us - POSTGRES_EPOCH_US, commit_id]);
            rows.boolean(whole);
            rows.int4_array(used.iter().map(|(counter_id, _)| *counter_id));
            rows.numeric_array(used.iter().map(|(_, quantity)| *quantity));
        }
    }
    debug_assert_eq!(from, moved.len(), "a counter of a wallet that was not touched");
    (rows, written)
}

fn write_posting(rows: &mut CopyWriter, posting: &Posting<'_>, chain: &Digest, accrues: bool) {
    rows.row(if accrues { 16 } else { 15 });
    rows.int8(posting.tenant);
    rows.int8(posting.account);
    rows.int8(posting.seq);
    rows.int2(posting.kind as i16);
    rows.int8(posting.debit);
    rows.int8(posting.credit);
    rows.numeric(posting.amount);
    rows.numeric(posting.after.balance);
    rows.numeric(posting.after.held);
    rows.uuid_or_null(&posting.grant);
    rows.uuid_or_null(&posting.reference);
    rows.int8(posting.commit_id);
    rows.timestamp(posting.posted_at_us);
    rows.bytes_or_null(posting.grants_after);
    rows.bytes(chain);
    if accrues {
        rows.numeric(posting.after.unbilled);
    }
}

fn write_customer(rows: &mut CopyWriter, wallet: &Wallet, now_us: i64) {
    rows.row(7);
    rows.int8(wallet.tenant);
    rows.int8(wallet.account);
    rows.bytes(wallet.external_id.as_bytes());
    rows.bytes(&wallet.currency);
    for amount in [wallet.state.overdraft_limit, wallet.state.low_balance_threshold] {
        rows.numeric_or_null(amount);
    }
    rows.timestamp(now_us);
}

fn write_commit(rows: &mut CopyWriter, commit: &Commit<'_>, commit_id: i64, head: &Digest) {
    let narrow = |wide: i64| i32::try_from(wide).unwrap_or(i32::MAX);
    rows.row(11);
    rows.int4(narrow(commit.partition));
    rows.int8(commit.seq);
    rows.int8(commit_id);
    rows.int8(commit.epoch);
    rows.timestamp(commit.committed_at_us);
    rows.int4(narrow(commit.events));
    rows.int4(narrow(commit.postings));
    rows.numeric(commit.charged);
    rows.bytes(&commit.digest);
    rows.bytes(head);
    rows.bytes(commit.messages);
}

/// Runs of equal tenants, as (tenant, ids).
#[must_use]
pub fn by_tenant(ids: impl IntoIterator<Item = (i64, Id)>) -> Vec<(i64, Vec<Id>)> {
    let mut runs: HashMap<i64, Vec<Id>> = HashMap::new();
    for (tenant, id) in ids {
        runs.entry(tenant).or_default().push(id);
    }
    let mut sorted: Vec<_> = runs.into_iter().collect();
    sorted.sort_by_key(|(tenant, _)| *tenant);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_are_sorted_however_many_and_whosever_they_are(
            mut keys in prop::collection::vec((0..2_i64, any::<[u8; 16]>()).prop_map(|(tenant, hash)| NewKey { tenant, hash, fingerprint: 0 }), 0..700),
            one_tenant in any::<bool>(),
        ) {
            if one_tenant {
                keys.iter_mut().for_each(|key| key.tenant = 1);
            }
            let order = |key: &NewKey| (key.tenant, key.hash);
            let mut expected: Vec<_> = keys.iter().map(order).collect();
            expected.sort_unstable();
            sort_keys(&mut keys);
            prop_assert_eq!(keys.iter().map(order).collect::<Vec<_>>(), expected);
        }
    }
}
