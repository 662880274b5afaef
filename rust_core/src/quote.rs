//! What events would be charged if they came now: for holds by estimated events, and before actual ones take a hold's place.

use std::collections::HashSet;

use hashbrown::HashMap;

use crate::counter::CounterKey;
use crate::engine::{Engine, EngineError};
use crate::message::{UsageEvent, UsageSection};
use crate::outcome::Outcome;
use crate::period_charge::admit;
use crate::rate::PricedShape;
use crate::usage::{AMOUNT_LIMIT, CHARGE_LIMIT, Policy, counter_key};
use crate::wallet::{Hold, Wallet};

/// What counters would be after the events so far, where these moved them.
type Moved = HashMap<CounterKey, i128>;

impl Engine {
    /// The charge of each event of one customer, or why it would be refused: as `usage.rs` decides them one after the other, where each
    /// can be paid. Its counters go on from event to event. Nothing is recorded.
    ///
    /// # Errors
    /// When the section is none, or the catalogue is not loaded.
    pub(crate) fn quote(
        &mut self,
        now_us: i64,
        tenant: i64,
        payer: Option<u32>,
        section: &UsageSection<'_>,
    ) -> Result<Vec<Result<i128, Outcome>>, EngineError> {
        let catalog = self.catalogs.get_mut(&tenant).ok_or(EngineError::NotLoaded("a catalogue"))?;
        let shapes: Vec<_> = section.shapes.iter().map(|shape| catalog.shape(shape.metric, shape.dimensions)).collect();
        let policy = Policy::of(catalog);
        let payer = payer.and_then(|index| self.wallets.slots[index as usize].as_ref());
        let mut moved = Moved::new();
        let shape = |event: &UsageEvent<'_>| shapes.get(usize::from(event.shape)).ok_or(EngineError::Row("an event's shape"));
        section.events.iter().map(|event| Ok(charge(now_us, &policy, shape(event)?, payer, event, &mut moved))).collect()
    }

    /// What the events of a section that are new would be charged in all; `None` when that does not fit.
    ///
    /// # Errors
    /// Those of [`quote`](Self::quote).
    pub(crate) fn quote_new(
        &mut self,
        now_us: i64,
        tenant: i64,
        payer: u32,
        section: &UsageSection<'_>,
    ) -> Result<Option<i128>, EngineError> {
        let mut seen = HashSet::new();
        let known = |event: &&UsageEvent<'_>| self.known_key(&event.key_hash).or_else(|| self.keys.get_young(&event.key_hash).copied());
        let new = section.events.iter().filter(|event| known(event).is_none() && seen.insert(event.key_hash)).cloned().collect();
        let section = UsageSection { customers: section.customers.clone(), shapes: section.shapes.clone(), events: new };
        let charges = self.quote(now_us, tenant, Some(payer), &section)?;
        Ok(charges.into_iter().flatten().try_fold(0_i128, i128::checked_add))
    }

    /// Whether a wallet could pay so much if a hold of its went back first.
    pub(crate) fn affords_instead(&self, now_us: i64, payer: u32, hold: &Hold, amount: i128, accrues: bool) -> bool {
        let Some(wallet) = self.wallets.slots[payer as usize].as_ref() else { return false };
        let mut state = wallet.state.clone();
        // As a release does it: what is due expires, before and after.
        while state.take_due_grant(now_us).is_some() {}
        for part in state.returns(&hold.parts).iter().rev() {
            state.give_back(part);
        }
        while state.take_due_grant(now_us).is_some() {}
        state.affords(amount, accrues)
    }
}

fn charge(
    now_us: i64,
    policy: &Policy,
    shape: &PricedShape,
    payer: Option<&Wallet>,
    event: &UsageEvent<'_>,
    moved: &mut Moved,
) -> Result<i128, Outcome> {
    if shape.metric_id.is_none() {
        return Err(Outcome::UnknownMetric);
    }
    let price = policy.price(shape, payer, event.occurred_us).ok_or(Outcome::NoPrice)?;
    let (charge, counted) = match &price.counting {
        None => (price.charge(event.quantity_nano), None),
        Some(counting) => {
            let key = counter_key(counting, event.occurred_us, now_us)?;
            let stored = || payer.map_or(0, |wallet| wallet.counters.used(wallet.counters.find(key)));
            let before = moved.get(&key).copied().unwrap_or_else(stored);
            let step = price.charge_counted(counting, before, event.quantity_nano).filter(|(_, after)| *after < AMOUNT_LIMIT);
            (step.map(|(charge, _)| charge), step.map(|(_, after)| (key, after)))
        }
    };
    let charge = charge.filter(|charge| *charge < CHARGE_LIMIT).ok_or(Outcome::AmountOutOfRange)?;
    if let Some(end) = &price.period_end {
        admit(end, payer, now_us, (event.occurred_us, event.quantity_nano, charge))?;
    }
    moved.extend(counted);
    Ok(charge)
}
