//! One partition in memory: its wallets, holds and catalogues, and the groups that are applied but not yet durable.
//!
//! Single writer. `needs` tells what must be loaded, `apply` changes memory and gives the bytes of one transaction,
//! `commit` forgets how to undo the oldest group, `rollback` undoes them all. The same calls give the same bytes.

use std::collections::VecDeque;

use hashbrown::{HashMap, HashSet};

use crate::copy::Buffers;
use crate::counter::{Counters, MoveLists};
use crate::group::Work;
use crate::identity::key_hash;
use crate::key_tables::{KeyTables, Turned};
use crate::message::{Message, MessageBody, MessageError, Outline};
use crate::period_charge::{PeriodKey, Settled};
use crate::posting::{Digest, Id, PostingKind, commit_id};
use crate::rate::{Catalog, CatalogError, Currency};
use crate::recent::Recent;
use crate::transaction::{Group, Position, Undo, finish};
use crate::void::{StoredEvent, Voided};
use crate::wallet::{Grant, Hold, HoldState, UNALLOCATED, UNBILLED, Wallet, WalletState};
use crate::wallets::Wallets;

/// Why a group was not applied. Memory is as it was.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A message is not one.
    #[error("malformed message: {0}")]
    Message(#[from] MessageError),
    /// A catalogue is not one.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Something that `needs` names was not loaded.
    #[error("not loaded: {0}")]
    NotLoaded(&'static str),
    /// What the database gave cannot be.
    #[error("malformed row: {0}")]
    Row(&'static str),
    /// A sum beyond 38 digits.
    #[error("an amount is out of range")]
    Range,
}

/// What must be loaded before messages can be applied.
#[derive(Debug, Default)]
pub struct Needs {
    /// Tenants without a catalogue.
    pub catalogs: Vec<i64>,
    /// Customers not in memory.
    pub wallets: Vec<(i64, String)>,
    /// Accounts not in memory.
    pub accounts: Vec<(i64, i64)>,
    /// Holds not in memory.
    pub holds: Vec<(i64, Id)>,
    /// Event keys that may be stored already.
    pub keys: Vec<(i64, Id)>,
    /// Stored events that are to be voided: tenant, identity, key.
    pub events: Vec<(i64, Id, String)>,
    /// Account ids to reserve.
    pub account_ids: usize,
    /// Periods of which memory does not know whether they are settled.
    pub settled: Vec<PeriodKey>,
}

impl Needs {
    /// Whether `apply` can run.
    #[must_use]
    pub const fn nothing(&self) -> bool {
        self.catalogs.is_empty()
            && self.wallets.is_empty()
            && self.accounts.is_empty()
            && self.holds.is_empty()
            && self.keys.is_empty()
            && self.events.is_empty()
            && self.settled.is_empty()
            && self.account_ids == 0
    }
}

/// A wallet as the ledger has it.
#[derive(Debug)]
pub struct WalletRow {
    /// The tenant.
    pub tenant: i64,
    /// The account.
    pub account: i64,
    /// The customer.
    pub external_id: String,
    /// Three letters.
    pub currency: [u8; 3],
    /// Its state; grants in any order.
    pub state: WalletState,
    /// All of it that usage can still be of: [`KEPT_FOR_US`](crate::counter::KEPT_FOR_US).
    pub counters: Counters,
}

/// Account ids are reserved in blocks of at least this many.
const ACCOUNT_ID_BLOCK: usize = 1_000;

/// Holds in memory; beyond it they are loaded anew when asked for.
const HOLDS_REMEMBERED: usize = 500_000;

/// One partition in memory.
#[derive(Debug)]
pub struct Engine {
    pub(crate) position: Position,
    pub(crate) wallets: Wallets,
    pub(crate) holds: HashMap<(i64, Id), HoldState>,
    pub(crate) catalogs: HashMap<i64, Catalog>,
    /// Whether a line of any catalogue counted since the start.
    counts: bool,
    /// All keys of the open table and of the one closed last, with those on their way there.
    pub(crate) keys: Recent<u64>,
    /// Where older keys are.
    key_tables: KeyTables,
    /// Some that were looked up there.
    pub(crate) found_keys: Recent<u64>,
    absent_keys: HashSet<Id>,
    vetted: HashSet<Id>,
    pub(crate) commands: Recent<(i64, u64, String)>,
    pub(crate) voids: Recent<Box<Voided>>,
    pub(crate) stored_events: HashMap<Id, Option<StoredEvent>>,
    /// Periods, as far as they are settled; `None`: not at all.
    pub(crate) settled: HashMap<PeriodKey, Option<Settled>>,
    pub(crate) absent_wallets: HashSet<(i64, String)>,
    absent_holds: HashSet<(i64, Id)>,
    pub(crate) account_ids: VecDeque<i64>,
    evicted: Vec<Vec<u8>>,
    open: VecDeque<Undo>,
    buffers: Buffers,
    wallets_touched: usize,
    move_lists: MoveLists,
    groups: u64,
    max_wallets: usize,
    may_evict: bool,
}

impl Engine {
    /// An engine without a lease: call [`start`](Self::start) before anything else.
    #[must_use]
    pub fn new(partition: i64, ledger_key: Digest, max_wallets: usize, recent_keys: usize) -> Self {
        Self {
            position: Position { partition, epoch: 0, key: ledger_key, commit_seq: 0, head: [0; 32] },
            wallets: Wallets::default(),
            holds: HashMap::new(),
            catalogs: HashMap::new(),
            counts: false,
            keys: Recent::new(recent_keys),
            key_tables: KeyTables::default(),
            found_keys: Recent::new(recent_keys),
            absent_keys: HashSet::new(),
            vetted: HashSet::new(),
            commands: Recent::new(recent_keys / 8),
            voids: Recent::new(recent_keys / 8),
            stored_events: HashMap::new(),
            settled: HashMap::new(),
            absent_wallets: HashSet::new(),
            absent_holds: HashSet::new(),
            account_ids: VecDeque::new(),
            evicted: Vec::new(),
            open: VecDeque::new(),
            buffers: Buffers::default(),
            wallets_touched: 0,
            move_lists: MoveLists::default(),
            groups: 0,
            max_wallets: max_wallets.max(16),
            may_evict: true,
        }
    }

    /// Forgets everything and continues after this commit: after taking the lease, or after an unknown outcome.
    pub fn start(&mut self, commit_seq: i64, head: Digest, epoch: i64) {
        self.position.commit_seq = commit_seq;
        self.position.head = head;
        self.position.epoch = epoch;
        self.wallets = Wallets::default();
        self.holds.clear();
        self.catalogs.clear();
        self.counts = false;
        self.keys.clear();
        self.key_tables = KeyTables::default();
        self.found_keys.clear();
        self.absent_keys.clear();
        self.vetted.clear();
        self.commands.clear();
        self.voids.clear();
        self.stored_events.clear();
        self.settled.clear();
        self.absent_wallets.clear();
        self.absent_holds.clear();
        self.account_ids.clear();
        self.evicted.clear();
        self.open.clear();
    }

    /// Takes a tenant's catalogue.
    ///
    /// # Errors
    /// When it is malformed; the one before stays.
    pub fn load_catalog(&mut self, tenant: i64, json: &[u8]) -> Result<(), EngineError> {
        let catalog = Catalog::from_json(json)?;
        self.counts |= catalog.counts;
        self.catalogs.insert(tenant, catalog);
        Ok(())
    }

    /// Forgets a tenant's catalogue, so that `needs` asks for it again.
    pub fn drop_catalog(&mut self, tenant: i64) {
        self.catalogs.remove(&tenant);
    }

    /// Adds reserved account ids.
    pub fn add_account_ids(&mut self, ids: impl IntoIterator<Item = i64>) {
        self.account_ids.extend(ids);
    }

    /// Takes wallets as the ledger has them, and the names that it does not have.
    pub fn load_wallets(&mut self, rows: Vec<WalletRow>, absent: Vec<(i64, String)>) {
        for row in rows {
            if self.wallets.find_account(row.account).is_some() {
                continue;
            }
            let mut state = row.state;
            state.sort_grants();
            self.wallets.insert(Wallet {
                tenant: row.tenant,
                account: row.account,
                external_id: row.external_id.into_boxed_str(),
                currency: row.currency,
                state,
                counters: row.counters,
                touched: None,
                pins: 0,
                recently_used: true,
            });
        }
        self.absent_wallets.extend(absent);
    }

    /// Takes holds as the ledger has them, and the ids that are not there.
    pub fn load_holds(&mut self, rows: Vec<(i64, Id, HoldState)>, absent: Vec<(i64, Id)>) {
        for (tenant, id, hold) in rows {
            self.holds.entry((tenant, id)).or_insert(hold);
        }
        self.absent_holds.extend(absent);
    }

    /// Says which table takes new keys, and how many it is made for.
    pub fn open_key_table(&mut self, number: i32, capacity: u64) {
        self.key_tables.open(number, capacity);
        self.keys.reserve(usize::try_from(capacity).unwrap_or(usize::MAX));
    }

    /// Takes a key that the open table has already, before anything is applied.
    pub fn load_key(&mut self, id: Id, fingerprint: u64) {
        self.keys.insert(id, fingerprint);
        self.key_tables.committed(&[id]);
    }

    /// Closes the open table and opens another one: see [`KeyTables::turn`].
    pub fn turn_key_table(&mut self, number: i32, capacity: u64, span: u64) -> Option<Turned> {
        let closed = self.key_tables.turn(number, capacity, span)?;
        self.keys.age();
        self.keys.reserve(usize::try_from(capacity).unwrap_or(usize::MAX));
        Some(closed)
    }

    /// The tables of event keys.
    #[must_use]
    pub const fn key_tables(&self) -> &KeyTables {
        &self.key_tables
    }

    /// The same, to be told about closed ones before anything is applied.
    pub const fn key_tables_mut(&mut self) -> &mut KeyTables {
        &mut self.key_tables
    }

    /// The tables that may hold a key.
    pub fn key_tables_with<'a>(&'a self, key: &'a Id) -> impl Iterator<Item = i32> + 'a {
        let near = self.keys.get(key).map(|_| self.key_tables.in_memory());
        self.key_tables.closed_with(key).chain(near.into_iter().flatten())
    }

    /// Takes event keys found in the database.
    pub fn remember_keys(&mut self, rows: impl IntoIterator<Item = (Id, u64)>) {
        for (id, fingerprint) in rows {
            self.found_keys.insert(id, fingerprint);
        }
    }

    /// Takes event keys that the database does not have.
    pub fn remember_absent_keys(&mut self, keys: impl IntoIterator<Item = Id>) {
        self.absent_keys.extend(keys);
    }

    /// Takes commands found in the database: (tenant, id, fingerprint, result).
    pub fn remember_commands(&mut self, rows: impl IntoIterator<Item = (i64, Id, u64, String)>) {
        for (tenant, id, fingerprint, result) in rows {
            self.commands.insert(id, (tenant, fingerprint, result));
        }
    }

    /// What these messages need; also the moment when wallets beyond the bound leave memory.
    ///
    /// # Errors
    /// When a message is malformed.
    pub fn needs(&mut self, messages: &[&[u8]]) -> Result<Needs, EngineError> {
        // Once before each group: what is loaded for it must not leave again before it is applied, however much it weighs.
        if std::mem::take(&mut self.may_evict) && self.wallets.weight() > self.max_wallets {
            let gone = self.wallets.evict(self.max_wallets - self.max_wallets / 16);
            self.evicted.extend(gone);
        }
        if self.holds.len() > HOLDS_REMEMBERED && self.open.is_empty() {
            self.holds.clear();
        }
        if self.settled.len() > HOLDS_REMEMBERED && self.open.is_empty() {
            self.settled.clear();
        }
        if self.absent_wallets.len() + self.absent_holds.len() > HOLDS_REMEMBERED {
            self.absent_wallets.clear();
            self.absent_holds.clear();
        }
        let mut needs = Needs::default();
        let mut asked_catalogs = HashSet::new();
        let mut asked_holds = HashSet::new();
        let mut asked_events = HashSet::new();
        let mut new_customers = 0;
        for message in messages {
            let message = Message::outline(message)?;
            let tenant = message.tenant_id.cast_signed();
            self.need_keys(&message, &mut needs);
            if !self.catalogs.contains_key(&tenant) && asked_catalogs.insert(tenant) {
                needs.catalogs.push(tenant);
            }
            let mut names = message.customers;
            let command = message.command.and_then(crate::command::Header::read);
            if let Some(command) = &command {
                names.extend(command.customer.as_deref());
                let known = self.catalogs.get(&tenant).map_or(i64::MIN, |catalog| catalog.version);
                if command.kind == "catalog" && command.version.is_some_and(|wanted| wanted > known) && asked_catalogs.insert(tenant) {
                    needs.catalogs.push(tenant);
                }
                if let Some(hold) = command.hold() {
                    self.need_hold(tenant, hold, &mut needs, &mut asked_holds);
                }
                for key in command.key.iter().chain(command.keys.iter().flatten()) {
                    self.need_event(tenant, key, &mut needs, &mut asked_events);
                }
            }
            for name in names {
                if self.wallets.find(tenant, name).is_some() {
                    continue;
                }
                if self.absent_wallets.contains(&(tenant, name.to_owned())) {
                    new_customers += 1;
                } else {
                    needs.wallets.push((tenant, name.to_owned()));
                }
            }
        }
        needs.wallets.sort_unstable();
        needs.wallets.dedup();
        if new_customers > self.account_ids.len() {
            needs.account_ids = (new_customers - self.account_ids.len()).max(ACCOUNT_ID_BLOCK);
        }
        Ok(needs)
    }

    /// The fingerprint of an event that is known to be stored, or on its way.
    #[inline]
    pub(crate) fn known_key(&self, key: &Id) -> Option<u64> {
        self.keys.get(key).or_else(|| self.found_keys.get(key)).copied()
    }

    /// Events that no table has are vetted; of the others it must be known before they are applied.
    fn need_keys(&mut self, message: &Outline<'_>, needs: &mut Needs) {
        if self.key_tables.none() {
            return;
        }
        let keys: Vec<Id> = message.keys().collect();
        let before = needs.keys.len();
        let unknown = |key: &Id| self.known_key(key).is_none() && !self.absent_keys.contains(key);
        let tenant = message.tenant_id.cast_signed();
        needs.keys.extend(self.key_tables.suspects(&keys).into_iter().filter(unknown).map(|key| (tenant, key)));
        if needs.keys.len() == before {
            self.vetted.insert(message.message_id);
        }
    }

    /// What a sweep of these wallets, holds and periods needs.
    #[must_use]
    pub fn sweep_needs(&self, accounts: &[(i64, i64)], holds: &[(i64, Id)], periods: &[PeriodKey]) -> Needs {
        let mut needs = Needs::default();
        let mut asked = HashSet::new();
        for (tenant, account) in accounts {
            if self.wallets.find_account(*account).is_none() {
                needs.accounts.push((*tenant, *account));
            }
        }
        for (tenant, hold) in holds {
            self.need_hold(*tenant, *hold, &mut needs, &mut asked);
        }
        for period in periods {
            let (tenant, account, _) = *period;
            if !self.catalogs.contains_key(&tenant) && !needs.catalogs.contains(&tenant) {
                needs.catalogs.push(tenant);
            }
            if self.wallets.find_account(account).is_none() && needs.accounts.last() != Some(&(tenant, account)) {
                needs.accounts.push((tenant, account));
            }
            if !self.settled.contains_key(period) {
                needs.settled.push(*period);
            }
        }
        needs
    }

    fn need_hold(&self, tenant: i64, hold: Id, needs: &mut Needs, asked: &mut HashSet<(i64, Id)>) {
        match self.holds.get(&(tenant, hold)) {
            Some(HoldState::Open(known)) if self.wallets.find_account(known.account).is_none() => {
                needs.accounts.push((tenant, known.account))
            }
            Some(_) => {}
            None if self.absent_holds.contains(&(tenant, hold)) || !asked.insert((tenant, hold)) => {}
            None => needs.holds.push((tenant, hold)),
        }
    }

    fn need_event(&self, tenant: i64, key: &str, needs: &mut Needs, asked: &mut HashSet<Id>) {
        let hash = key_hash(tenant.cast_unsigned(), key.as_bytes());
        match self.known_event(&hash) {
            Some(Some(account)) if self.wallets.find_account(account).is_none() => needs.accounts.push((tenant, account)),
            Some(_) => {}
            None if asked.insert(hash) => needs.events.push((tenant, hash, key.to_owned())),
            None => {}
        }
    }

    fn begin(&mut self, now_us: i64, bytes: usize) -> Work {
        self.groups += 1;
        self.may_evict = true;
        let seq = self.position.commit_seq + 1;
        let mut work = Work::new(self.groups, seq, commit_id(self.position.partition, seq), now_us, bytes, &self.buffers);
        work.key_table = self.key_tables.current();
        // As many as last time: what is kept of a wallet is large, and growing would move it again and again.
        work.touched.reserve(self.wallets_touched);
        work.counters = self.move_lists.begin();
        work.counts = self.counts;
        work
    }

    fn end(&mut self, mut work: Work) -> Group {
        self.vetted.clear();
        self.absent_keys.clear();
        // Here, and not when a group begins: between its vetting and its end nothing known must be forgotten.
        self.found_keys.rotate();
        if self.key_tables.none() {
            self.keys.rotate();
        }
        self.commands.rotate();
        self.voids.rotate();
        let evicted = std::mem::take(&mut self.evicted);
        self.wallets_touched = work.touched.len();
        let moved = self.move_lists.end(std::mem::take(&mut work.counters));
        let (group, undo) = finish(work, moved, &mut self.wallets.slots, &mut self.position, evicted);
        self.open.push_back(undo);
        group
    }

    /// Applies messages to memory, in order.
    ///
    /// # Errors
    /// When a message is malformed or something was not loaded; memory is then as it was before.
    pub fn apply(&mut self, messages: &[&[u8]], now_us: i64) -> Result<Group, EngineError> {
        let mut work = self.begin(now_us, messages.iter().map(|message| message.len()).sum());
        for bytes in messages {
            // Read one by one, so that what is read is still near when it is decided.
            let result = Message::parse(bytes).map_err(EngineError::from).and_then(|message| {
                if !self.key_tables.none() && !self.vetted.contains(&message.message_id) {
                    // A key of a closed table would be taken a second time.
                    return Err(EngineError::NotLoaded("event keys"));
                }
                work.messages.extend_from_slice(&message.message_id);
                match &message.body {
                    MessageBody::Usage(section) => self.usage_message(&mut work, &message, section),
                    MessageBody::Command { command: json, usage: section } => {
                        self.command_message(&mut work, &message, json, section.as_ref())
                    }
                }
            });
            if let Err(error) = result {
                let mut unfinished = self.end(work);
                self.evicted.append(&mut unfinished.evicted);
                drop(unfinished);
                self.rollback_newest();
                self.stored_events.clear();
                return Err(error);
            }
        }
        self.stored_events.clear();
        Ok(self.end(work))
    }

    /// Expires due grants of these wallets and these holds, and settles these periods; what is not in memory is passed over.
    pub fn sweep(&mut self, accounts: &[(i64, i64)], holds: &[(i64, Id)], periods: &[PeriodKey], now_us: i64) -> Group {
        let mut work = self.begin(now_us, 0);
        for (_, account) in accounts {
            if let Some(index) = self.wallets.find_account(*account)
                && let Some(wallet) = self.wallets.slots[index as usize].as_mut()
            {
                work.touch(index, wallet);
            }
        }
        for key in holds {
            let due = matches!(self.holds.get(key), Some(HoldState::Open(hold)) if hold.expires_us <= now_us);
            if due {
                self.close_hold(&mut work, *key, PostingKind::HoldExpiry);
            }
        }
        for period in periods {
            // None: there is nothing to settle.
            let _ = self.settle_period(&mut work, *period);
        }
        self.end(work)
    }

    /// Gives a hold back to its wallet by time or by wish, whole.
    pub(crate) fn close_hold(&mut self, work: &mut Work, key: (i64, Id), kind: PostingKind) -> Option<(u32, Hold)> {
        let Some(HoldState::Open(hold)) = self.holds.get(&key) else { return None };
        let hold = hold.clone();
        let index = self.wallets.find_account(hold.account)?;
        let wallet = self.wallets.slots[index as usize].as_mut()?;
        let slot = work.touch(index, wallet);
        work.release(slot, wallet, kind, &hold.parts, key.1);
        let status = if kind == PostingKind::HoldExpiry { "expired" } else { "released" };
        work.closed_holds.push((key.0, key.1, status, 0));
        self.close_in_memory(work, key, status);
        Some((index, hold))
    }

    pub(crate) fn close_in_memory(&mut self, work: &mut Work, key: (i64, Id), status: &'static str) {
        let before = self.holds.insert(key, HoldState::Closed(status));
        work.holds_before.push((key, before));
    }

    pub(crate) fn open_hold(&mut self, work: &mut Work, key: (i64, Id), hold: Hold) {
        self.absent_holds.remove(&key);
        let before = self.holds.insert(key, HoldState::Open(hold));
        work.holds_before.push((key, before));
    }

    /// The oldest open group is durable.
    pub fn commit(&mut self, group_id: u64) {
        while self.open.front().is_some_and(|undo| undo.group_id <= group_id) {
            if let Some(undo) = self.open.pop_front() {
                self.key_tables.committed(&undo.keys);
                self.move_lists.give_back(undo.counters);
                for (index, _) in undo.wallets {
                    if let Some(wallet) = self.wallets.slots[index as usize].as_mut() {
                        wallet.pins = wallet.pins.saturating_sub(1);
                    }
                }
            }
        }
    }

    /// Undoes every open group, newest first.
    pub fn rollback(&mut self) {
        self.stored_events.clear();
        while !self.open.is_empty() {
            self.rollback_newest();
        }
    }

    fn rollback_newest(&mut self) {
        let Some(undo) = self.open.pop_back() else { return };
        for (index, state) in undo.wallets {
            if let Some(wallet) = self.wallets.slots[index as usize].as_mut() {
                wallet.state = state;
                wallet.touched = None;
                wallet.pins = wallet.pins.saturating_sub(1);
            }
        }
        for moved in undo.counters {
            if let Some(wallet) = self.wallets.slots[moved.wallet as usize].as_mut() {
                let held = wallet.counters.len();
                wallet.counters.restore(moved.key(), moved.before);
                self.wallets.counters = self.wallets.counters + wallet.counters.len() - held;
            }
        }
        for row in &undo.counter_rows {
            if let Some(wallet) = self.wallets.slots[row.wallet as usize].as_mut() {
                wallet.counters.unwrite(row);
            }
        }
        for index in undo.created {
            if let Some(wallet) = self.wallets.remove(index) {
                self.absent_wallets.insert((wallet.tenant, wallet.external_id.into()));
            }
        }
        for key in &undo.keys {
            self.keys.remove(key);
        }
        for (_, id) in &undo.commands {
            self.commands.remove(id);
        }
        for (_, hash) in &undo.voids {
            self.voids.remove(hash);
        }
        for (period, before) in undo.settled.into_iter().rev() {
            self.settled.insert(period, before);
        }
        for (key, before) in undo.holds.into_iter().rev() {
            match before {
                Some(hold) => {
                    self.holds.insert(key, hold);
                }
                None => {
                    self.holds.remove(&key);
                }
            }
        }
        for id in undo.account_ids.into_iter().rev() {
            self.account_ids.push_front(id);
        }
        self.position.commit_seq = undo.commit_seq;
        self.position.head = undo.head;
    }

    /// The packed wallet of a customer, if in memory.
    #[must_use]
    pub fn balance(&self, tenant: i64, external_id: &str) -> Option<Vec<u8>> {
        let index = self.wallets.find(tenant, external_id)?;
        self.wallets.slots[index as usize].as_ref().map(Wallet::pack)
    }

    /// How many wallets are in memory.
    #[must_use]
    pub fn wallet_count(&self) -> usize {
        self.wallets.len()
    }

    /// Groups applied and not yet durable.
    #[must_use]
    pub fn open_groups(&self) -> usize {
        self.open.len()
    }

    /// Bytes held by the large tables, roughly.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.wallets.memory_bytes()
            + self.keys.memory_bytes()
            + self.found_keys.memory_bytes()
            + self.key_tables.memory_bytes()
            + self.holds.allocation_size()
    }

    /// Makes a customer's wallet in this group. `currency`: `None` for the tenant's.
    pub(crate) fn create_wallet(
        &mut self,
        work: &mut Work,
        tenant: i64,
        external_id: &str,
        currency: Option<Currency>,
    ) -> Result<u32, EngineError> {
        let name = (tenant, external_id.to_owned());
        if !self.absent_wallets.contains(&name) {
            return Err(EngineError::NotLoaded("a customer"));
        }
        let catalog = self.catalogs.get(&tenant).ok_or(EngineError::NotLoaded("a catalogue"))?;
        let account = self.account_ids.pop_front().ok_or(EngineError::NotLoaded("account ids"))?;
        self.absent_wallets.remove(&name);
        work.account_ids.push(account);
        let index = self.wallets.insert(Wallet {
            tenant,
            account,
            external_id: external_id.into(),
            currency: currency.unwrap_or(catalog.currency),
            state: WalletState::new(catalog.default_overdraft_limit),
            counters: Counters::default(),
            touched: None,
            pins: 0,
            recently_used: true,
        });
        if let Some(wallet) = self.wallets.slots[index as usize].as_mut() {
            let slot = work.touch(index, wallet);
            work.touched[slot].created = true;
        }
        Ok(index)
    }
}

/// A grant's standing facts, as the table `grants` has them.
pub type GrantRow = (i64, Grant);

/// Joins (id, amount) pairs with the grants' standing facts; the ids of [`UNALLOCATED`] and [`UNBILLED`] stand for themselves.
///
/// # Errors
/// When a grant is missing.
pub fn join_grants(pairs: &[(Id, i128)], grants: &HashMap<Id, Grant>) -> Result<smallvec::SmallVec<[Grant; 1]>, EngineError> {
    pairs
        .iter()
        .map(|(id, amount)| {
            if let Some(other) = [UNALLOCATED, UNBILLED].into_iter().find(|other| other.id == *id) {
                return Ok(Grant { remaining: *amount, ..other });
            }
            grants.get(id).map(|grant| Grant { remaining: *amount, ..*grant }).ok_or(EngineError::Row("a grant is missing"))
        })
        .collect()
}
