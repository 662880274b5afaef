//! Usage in a group: dedupe, rate, deduct, encode, event by event.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::copy::POSTGRES_EPOCH_US;
use crate::counter::{COUNTED_FOR_US, CounterKey, Moved};
use crate::engine::{Engine, EngineError};
use crate::group::{NewKey, Work};
use crate::message::{EventReply, Message, UsageEvent, UsageReply, UsageSection};
use crate::outcome::Outcome;
use crate::period_charge::admit;
use crate::rate::{Assignments, Catalog, Counting, Outside, Price, PricedShape, UnknownCustomers};
use crate::wallet::Wallet;

/// No balance reaches this: 29 integer digits are what NUMERIC(38, 9) holds.
pub const AMOUNT_LIMIT: i128 = 10_i128.pow(38);

/// No event's charge reaches this: 18 integer digits, as many as any amount from a client, so that the sums of a commit
/// fit. A charge that did not fit with others would stop the partition, and everybody on it.
pub const CHARGE_LIMIT: i128 = 10_i128.pow(27);

/// What became of a usage section.
#[derive(Debug)]
pub struct Decided {
    /// Of each event, in the section's order.
    pub outcomes: Vec<EventReply>,
    /// The customers' wallets, in the section's order; `None`: not made.
    pub wallets: Vec<Option<u32>>,
    /// Sum of the accepted events' charges, nano-units, whatever their currencies: of one customer's events the sum, else a checksum.
    pub charged: i128,
}

/// What a tenant's catalogue says about its customers.
pub struct Policy {
    unknown: UnknownCustomers,
    default_limit: Option<i128>,
    /// What grants do not cover is owed unbilled.
    pub(crate) accrues: bool,
    assignments: Arc<Assignments>,
}

impl Policy {
    pub(crate) fn of(catalog: &Catalog) -> Self {
        Self {
            unknown: catalog.unknown_customers,
            default_limit: catalog.default_overdraft_limit,
            accrues: catalog.accrues,
            assignments: Arc::clone(&catalog.assignments),
        }
    }

    /// The price that a customer meets: in its wallet's currency, by its own card if it has one. `None`: a customer to be made.
    #[inline]
    pub(crate) fn price<'a>(&self, shape: &'a PricedShape, wallet: Option<&Wallet>, occurred_us: i64) -> Option<&'a Price> {
        match wallet {
            Some(wallet) => shape.price_for(wallet.currency, self.assignments.of(wallet.account), occurred_us),
            None => shape.price_at(occurred_us),
        }
    }
}

impl Engine {
    /// A batch: every event gets its own outcome, the reply carries the customers' balances after it.
    pub(crate) fn usage_message(&mut self, work: &mut Work, message: &Message<'_>, section: &UsageSection<'_>) -> Result<(), EngineError> {
        let decided = self.decide(work, message.tenant_id.cast_signed(), section)?;
        if decided.outcomes.iter().all(|event| matches!(event.outcome, Outcome::Accepted | Outcome::Duplicate)) {
            work.seen.push((message.tenant_id, message.mark));
        }
        let wallet = |index: &Option<u32>| index.and_then(|index| self.wallets.slots[index as usize].as_ref());
        let tenant_currency = self.catalogs.get(&message.tenant_id.cast_signed()).map_or(*b"CNY", |catalog| catalog.currency);
        let balance = |index| wallet(index).map_or((0, tenant_currency), |wallet| (wallet.state.balance, wallet.currency));
        let balances = decided.wallets.iter().map(balance).collect();
        let reply = UsageReply { events: decided.outcomes, balances }.encode(message.message_id)?;
        work.replies.push((message.reply_to.to_vec(), message.message_id, reply));
        Ok(())
    }

    /// Decides every event of a section and writes those it accepts into the group.
    pub(crate) fn decide(&mut self, work: &mut Work, tenant: i64, section: &UsageSection<'_>) -> Result<Decided, EngineError> {
        let catalog = self.catalogs.get_mut(&tenant).ok_or(EngineError::NotLoaded("a catalogue"))?;
        let shapes: SmallVec<[(Arc<PricedShape>, &str); 16]> =
            section.shapes.iter().map(|shape| (catalog.shape(shape.metric, shape.dimensions), shape.dimensions)).collect();
        let (policy, counts) = (Policy::of(catalog), catalog.counts);
        let names = &section.customers;
        let mut wallets: Vec<Option<u32>> = names.iter().map(|name| self.wallets.find(tenant, name)).collect();
        // One pass over the keys first: its look-ups do not depend on each other, so their cache misses overlap, and those
        // below, which see what this batch itself adds, find everything near.
        let known: Vec<Option<u64>> = section.events.iter().map(|event| self.known_key(&event.key_hash)).collect();
        if counts {
            self.approach_counters(work.now_us, section, &shapes, &wallets, &policy);
        }
        work.new_keys.reserve(section.events.len());
        let mut outcomes = Vec::with_capacity(section.events.len());
        let mut charged = 0_i128;
        for (event, known) in section.events.iter().zip(&known) {
            // Not by `ok_or`, which makes an error for every event and drops it.
            let customer = usize::from(event.customer);
            let (Some(name), Some(wallet)) = (names.get(customer).copied(), wallets.get_mut(customer)) else {
                return Err(EngineError::Row("an event's customer"));
            };
            let Some((shape, dimensions)) = shapes.get(usize::from(event.shape)) else { return Err(EngineError::Row("an event's shape")) };
            let (outcome, charge) = self.decide_event(work, tenant, event, *known, shape, dimensions, name, wallet, &policy)?;
            if outcome == Outcome::Accepted {
                let Some(sum) = charged.checked_add(charge) else { return Err(EngineError::Range) };
                charged = sum;
            }
            work.outcomes[usize::from(outcome as u8)] += 1;
            outcomes.push(EventReply { index: event.index, outcome, charge_nano: charge });
        }
        work.charged = work.charged.checked_add(charged).ok_or(EngineError::Range)?;
        Ok(Decided { outcomes, wallets, charged })
    }

    /// Looks at where the counters of a section lie, one look after the other without waiting for what it finds: so memory is
    /// asked for many at a time, and each is near when its event is decided.
    fn approach_counters(
        &self,
        now_us: i64,
        section: &UsageSection<'_>,
        shapes: &[(Arc<PricedShape>, &str)],
        wallets: &[Option<u32>],
        policy: &Policy,
    ) {
        let counter = |event: &UsageEvent<'_>| {
            let wallet = self.wallets.slots[(*wallets.get(usize::from(event.customer))?)? as usize].as_ref()?;
            let price = policy.price(&shapes.get(usize::from(event.shape))?.0, Some(wallet), event.occurred_us)?;
            let key = counter_key(price.counting.as_ref()?, event.occurred_us, now_us).ok()?;
            Some((wallet, key))
        };
        let counters: Vec<(&Wallet, CounterKey)> = section.events.iter().filter_map(counter).collect();
        std::hint::black_box(counters.iter().fold(0, |all, (wallet, key)| all ^ wallet.counters.approach(*key)));
    }

    /// Checks everything first; after the debit nothing can fail.
    #[allow(clippy::too_many_arguments, reason = "the parts of one decision, taken from three tables of the message")]
    #[inline]
    fn decide_event(
        &mut self,
        work: &mut Work,
        tenant: i64,
        event: &UsageEvent<'_>,
        known: Option<u64>,
        shape: &PricedShape,
        dimensions: &str,
        name: &str,
        place: &mut Option<u32>,
        policy: &Policy,
    ) -> Result<(Outcome, i128), EngineError> {
        if let Some(fingerprint) = known.or_else(|| self.keys.get_young(&event.key_hash).copied()) {
            let same = fingerprint == event.fingerprint;
            return Ok((if same { Outcome::Duplicate } else { Outcome::Conflict }, 0));
        }
        let Some(metric_id) = shape.metric_id else { return Ok((Outcome::UnknownMetric, 0)) };
        let payer = place.and_then(|index| self.wallets.slots[index as usize].as_ref());
        let Some(price) = policy.price(shape, payer, event.occurred_us) else { return Ok((Outcome::NoPrice, 0)) };
        let mut counted = None;
        let rated = match &price.counting {
            None => price.charge(event.quantity_nano),
            Some(counting) => {
                let key = match counter_key(counting, event.occurred_us, work.now_us) {
                    Ok(key) => key,
                    Err(outcome) => return Ok((outcome, 0)),
                };
                let found = payer.and_then(|wallet| wallet.counters.find(key));
                let before = payer.map_or(0, |wallet| wallet.counters.used(found));
                let step = price.charge_counted(counting, before, event.quantity_nano).filter(|(_, after)| *after < AMOUNT_LIMIT);
                let Some((charge, after)) = step else { return Ok((Outcome::AmountOutOfRange, 0)) };
                counted = Some((key, found, before, after));
                Some(charge)
            }
        };
        let Some(charge) = rated.filter(|charge| *charge < CHARGE_LIMIT) else { return Ok((Outcome::AmountOutOfRange, 0)) };
        if let Some(end) = &price.period_end
            && let Err(outcome) = admit(end, payer, work.now_us, (event.occurred_us, event.quantity_nano, charge))
        {
            return Ok((outcome, 0));
        }
        let index = match *place {
            Some(index) => index,
            None if policy.unknown == UnknownCustomers::Refuse => return Ok((Outcome::UnknownCustomer, 0)),
            // A customer is not made for a charge that it could not pay.
            None if policy.default_limit.is_some_and(|limit| charge > limit) => return Ok((Outcome::InsufficientBalance, 0)),
            None => {
                let index = self.create_wallet(work, tenant, name, None)?;
                *place = Some(index);
                index
            }
        };
        let Some(wallet) = self.wallets.slots[index as usize].as_mut() else { return Err(EngineError::NotLoaded("a wallet")) };
        let slot = work.touch(index, wallet);
        if !wallet.state.affords(charge, policy.accrues) {
            return Ok((Outcome::InsufficientBalance, 0));
        }
        let posting_seq = if charge == 0 { 0 } else { work.debit_usage(slot, wallet, charge, policy.accrues) };
        if let Some((key, found, before, after)) = counted {
            let held = wallet.counters.len();
            let CounterKey { period_start_us, counter_id } = key;
            let moved = Moved { wallet: index, period_start_us, counter_id, before, after };
            wallet.counters.advance(found, moved, &mut work.counters, work.now_us);
            self.wallets.counters = self.wallets.counters + wallet.counters.len() - held;
        }
        let account = wallet.account;
        if let Some(end) = &price.period_end {
            self.count_period(work, index, end, (event.occurred_us, event.quantity_nano, charge));
        }

        self.keys.insert(event.key_hash, event.fingerprint);
        work.new_keys.push(NewKey { tenant, hash: event.key_hash, fingerprint: event.fingerprint });
        let events = &mut work.events;
        events.row(if work.counts { 13 } else { 12 });
        let times = [work.now_us, event.occurred_us].map(|unix_us| unix_us - POSTGRES_EPOCH_US);
        events.int8s([tenant, account, work.commit_id, posting_seq, times[0], times[1]]);
        events.int4(metric_id);
        events.int4(price.price_id);
        events.numeric(event.quantity_nano);
        events.numeric(charge);
        events.bytes(event.idempotency_key.as_bytes());
        events.bytes(dimensions.as_bytes());
        if work.counts {
            events.numeric(counted.map_or(0, |(_, _, before, _)| before));
        }
        Ok((Outcome::Accepted, charge))
    }
}

/// Which counter an event is counted by: of the period in which it occurred.
pub(crate) fn counter_key(counting: &Counting, occurred_us: i64, now_us: i64) -> Result<CounterKey, Outcome> {
    // Counters of older periods may have left memory.
    if occurred_us < now_us - COUNTED_FOR_US {
        return Err(Outcome::TooOld);
    }
    match counting.periods.start_of(occurred_us) {
        Ok(period_start_us) => Ok(CounterKey { period_start_us, counter_id: counting.counter_id }),
        Err(Outside::Before) => Err(Outcome::TooOld),
        Err(Outside::After) => Err(Outcome::InFuture),
    }
}
