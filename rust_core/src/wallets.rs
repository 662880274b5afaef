//! The wallets in memory: found by customer or account, let go by a clock hand when there are too many.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use crate::counter::Counters;
use crate::wallet::Wallet;

/// Counters that take as much room as a wallet without any.
const COUNTERS_PER_WALLET: usize = 8;

/// The wallets in memory: found by name or account, let go by a clock hand.
#[derive(Debug, Default)]
pub struct Wallets {
    pub(crate) slots: Vec<Option<Wallet>>,
    free: Vec<u32>,
    by_name: HashTable<u32>,
    by_account: HashMap<i64, u32>,
    hasher: DefaultHashBuilder,
    hand: usize,
    /// Of all wallets.
    pub(crate) counters: usize,
}

impl Wallets {
    /// The place of a customer's wallet.
    #[must_use]
    pub fn find(&self, tenant: i64, external_id: &str) -> Option<u32> {
        let hash = self.hasher.hash_one((tenant, external_id));
        self.by_name
            .find(hash, |index| {
                self.slots[*index as usize].as_ref().is_some_and(|wallet| wallet.tenant == tenant && *wallet.external_id == *external_id)
            })
            .copied()
    }

    /// The place of an account's wallet.
    #[must_use]
    pub fn find_account(&self, account: i64) -> Option<u32> {
        self.by_account.get(&account).copied()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_account.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_account.is_empty()
    }

    /// How much room they take, in wallets without counters.
    pub(crate) fn weight(&self) -> usize {
        self.len() + self.counters / COUNTERS_PER_WALLET
    }

    pub(crate) fn insert(&mut self, wallet: Wallet) -> u32 {
        self.counters += wallet.counters.len();
        let hash = self.hasher.hash_one((wallet.tenant, &*wallet.external_id));
        let account = wallet.account;
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        self.slots[index as usize] = Some(wallet);
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.by_name.insert_unique(hash, index, |index| {
            slots[*index as usize].as_ref().map_or(0, |wallet| hasher.hash_one((wallet.tenant, &*wallet.external_id)))
        });
        self.by_account.insert(account, index);
        index
    }

    pub(crate) fn remove(&mut self, index: u32) -> Option<Wallet> {
        let wallet = self.slots.get(index as usize)?.as_ref()?;
        let hash = self.hasher.hash_one((wallet.tenant, &*wallet.external_id));
        if let Ok(entry) = self.by_name.find_entry(hash, |known| *known == index) {
            entry.remove();
        }
        self.by_account.remove(&wallet.account);
        self.counters -= wallet.counters.len();
        self.free.push(index);
        self.slots[index as usize].take()
    }

    /// Lets go of wallets that no open group holds and nobody used since the hand came by, until they weigh no more than `target`.
    pub(crate) fn evict(&mut self, target: usize) -> Vec<Vec<u8>> {
        let mut fields = Vec::new();
        let mut steps = self.slots.len() * 2;
        while self.weight() > target && steps > 0 {
            steps -= 1;
            self.hand = (self.hand + 1) % self.slots.len();
            let Some(wallet) = self.slots[self.hand].as_mut() else { continue };
            if wallet.pins > 0 || std::mem::take(&mut wallet.recently_used) {
                continue;
            }
            fields.push(wallet.cache_field());
            let index = u32::try_from(self.hand).unwrap_or(u32::MAX);
            self.remove(index);
        }
        fields
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Option<Wallet>>()
            + self.counters * Counters::BYTES
            + self.by_name.allocation_size()
            + self.by_account.allocation_size()
    }
}
