//! Lines that count: free allowances, graduated tiers, and blocks bought within a billing period.
//!
//! With `c` units used before in the period and an event of quantity `q`, what is billed is the stretch from
//! `max(0, c − allowance)` to `max(0, c + q − allowance)`. A graduated line prices each part of the stretch by the tier it
//! lies in; any other line prices its length. The sum is an exact fraction, rounded once. An event that lies within the
//! allowance as a whole is free: the minimum is that of events that are billed.
//!
//! A package whose blocks are those of the period counts what was used less the blocks that were bought: below zero, so much
//! is left of them. With `c` there an event first uses what is left, `max(0, allowance − c)`, and begins as many blocks as
//! what it lacks then takes. Where nothing is voided and no version changes the size of a block, these are the blocks of a
//! grid over the period's units: ⌈after ÷ per⌉ − ⌈before ÷ per⌉, counted beyond the allowance. What was used and is paid for by
//! no block any more, because the event was voided that began it, is forgiven once the next event comes: charges that
//! were made are not worked out again. But nobody pays for a block while something is left of those that are paid for.

use std::sync::Arc;

use num_bigint::BigUint;
use serde::Deserialize;

use super::price::{TermsError, cut, divide_rounded, parse_amount};
use crate::money::mul_div_round;

/// Tiers that a line may have.
pub const MAX_TIERS: usize = 100;

/// When the periods of a tenant begin, in microseconds since the Unix epoch, rising; the last start only ends the period
/// before it. Made by `base/periods.py`, which knows time zones and what the tenant changed of them when.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Periods(Vec<i64>);

/// On which side of a table of periods a moment lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    /// Before its first period.
    Before,
    /// After its last one.
    After,
}

impl Periods {
    /// `None` unless the starts rise.
    #[must_use]
    pub fn new(starts_us: Vec<i64>) -> Option<Self> {
        starts_us.is_sorted_by(|left, right| left < right).then_some(Self(starts_us))
    }

    /// The start of the period in which a moment lies.
    ///
    /// # Errors
    /// When it lies in none.
    #[inline]
    pub fn start_of(&self, unix_us: i64) -> Result<i64, Outside> {
        let after = self.0.partition_point(|start| *start <= unix_us);
        match after.checked_sub(1).map(|place| self.0[place]) {
            None => Err(Outside::Before),
            Some(_) if after == self.0.len() => Err(Outside::After),
            Some(start) => Ok(start),
        }
    }

    /// When the period ends that begins at this moment; `None`: none begins there.
    #[must_use]
    pub fn end_of(&self, start_us: i64) -> Option<i64> {
        self.0.binary_search(&start_us).ok().and_then(|place| self.0.get(place + 1)).copied()
    }
}

/// A tier as the catalogue's JSON has it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TierText {
    /// The last unit of it; absent for the last tier, which is open.
    pub up_to: Option<String>,
    /// Money for `per` units.
    pub price: String,
    /// Units.
    pub per: String,
}

/// What a line says that counts, beside what every line says.
#[derive(Debug, Clone, Copy, Default)]
pub struct CountingText<'a> {
    /// Which counter.
    pub counter_id: Option<i32>,
    /// Units that are free in a period.
    pub allowance: Option<&'a str>,
    /// Of a graduated line.
    pub tiers: Option<&'a [TierText]>,
    /// Of a package: `period` or `event`, which is what it is without it.
    pub blocks: Option<&'a str>,
}

/// One of the tiers of a graduated line, in nano-units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tier {
    /// Where it ends; `None`: nowhere.
    pub up_to: Option<i128>,
    /// Money for `per` units.
    pub price: i128,
    /// Units.
    pub per: i128,
}

impl Tier {
    /// Reads tiers and checks that they rise without a gap to an open end.
    ///
    /// # Errors
    /// When they do not, or an amount cannot be read.
    pub fn parse_all(texts: &[TierText]) -> Result<Vec<Self>, TermsError> {
        if texts.is_empty() || texts.len() > MAX_TIERS {
            return Err(TermsError::Tiers("there are 1 to 100 of them"));
        }
        let mut tiers = Vec::with_capacity(texts.len());
        let mut before = 0;
        for (place, text) in texts.iter().enumerate() {
            let up_to = text.up_to.as_deref().map(|text| parse_amount("upTo", text)).transpose()?;
            match (up_to, place + 1 == texts.len()) {
                (None, false) => return Err(TermsError::Tiers("only the last one is open")),
                (Some(_), true) => return Err(TermsError::Tiers("the last one is open")),
                (Some(bound), false) if bound <= before => return Err(TermsError::Tiers("their bounds rise")),
                (Some(bound), false) => before = bound,
                (None, true) => {}
            }
            let (price, per) = (parse_amount("price", &text.price)?, parse_amount("per", &text.per)?);
            if per == 0 {
                return Err(TermsError::Per);
            }
            tiers.push(Self { up_to, price, per });
        }
        Ok(tiers)
    }
}

/// What a line counts by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counting {
    /// Names the counter in `usage_counters`.
    pub counter_id: i32,
    /// Nano-units of the metric that are free in a period.
    pub allowance: i128,
    /// The tenant's periods.
    pub periods: Arc<Periods>,
    /// Of a package whose blocks are those of the period.
    pub(super) block: Option<Block>,
}

/// What a block costs, and how many nano-units of the metric it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) price: i128,
    pub(super) per: i128,
}

impl Block {
    /// The units that a charge bought.
    fn bought(&self, charge: i128) -> Option<i128> {
        charge.checked_div(self.price)?.checked_mul(self.per)
    }

    /// Not inlined, so that other lines' way through the engine is short.
    #[inline(never)]
    fn after(&self, before: i128, quantity: i128, charge: i128) -> Option<i128> {
        before.checked_add(quantity)?.checked_sub(self.bought(charge)?)
    }
}

impl Counting {
    /// Whether the counter goes up and down, as that of a period's blocks does. Others only go up, but for voids.
    #[must_use]
    pub const fn sways(&self) -> bool {
        self.block.is_some()
    }

    /// Where the counter goes by an event of this quantity and charge; `None` when it does not fit.
    #[must_use]
    #[inline]
    pub fn after(&self, before: i128, quantity: i128, charge: i128) -> Option<i128> {
        match &self.block {
            None => before.checked_add(quantity),
            Some(block) => block.after(before.min(self.allowance), quantity, charge),
        }
    }

    /// Where the counter goes when such an event is voided; `None`: it cannot have counted it.
    #[must_use]
    pub fn without(&self, before: i128, quantity: i128, charge: i128) -> Option<i128> {
        match &self.block {
            None => before.checked_sub(quantity).filter(|after| *after >= 0),
            Some(block) => before.checked_sub(quantity)?.checked_add(block.bought(charge)?),
        }
    }

    /// The units of an event that the allowance and the blocks bought before leave uncovered; `None` when a sum does not fit.
    pub(super) fn lacking(&self, before: i128, quantity: i128) -> Option<i128> {
        let left = self.allowance.checked_sub(before)?.max(0);
        Some(quantity.checked_sub(left)?.max(0))
    }

    /// The stretch that is billed of an event, as (where it begins, how long it is); `None` when a sum does not fit.
    #[inline]
    pub(super) fn billable(&self, before: i128, quantity: i128) -> Option<(i128, i128)> {
        let from = before.checked_sub(self.allowance)?.max(0);
        let to = before.checked_add(quantity)?.checked_sub(self.allowance)?.max(0);
        Some((from, to - from))
    }
}

/// A tier ready for many events or totals: where it ends (the last one: nowhere), and price over per, cut down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) end: i128,
    pub(super) over: i128,
    pub(super) under: i128,
}

impl From<&Tier> for Step {
    fn from(tier: &Tier) -> Self {
        let (mut over, mut under) = (tier.price, tier.per);
        cut(&mut over, &mut under);
        Self { end: tier.up_to.unwrap_or(i128::MAX), over, under }
    }
}

/// Tiers made ready for many events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Graduated {
    steps: Vec<Step>,
    /// The fractions over one denominator, where that fits.
    common: Option<(Vec<i128>, i128)>,
}

impl Graduated {
    pub(super) fn new(tiers: &[Tier]) -> Self {
        let steps: Vec<Step> = tiers.iter().map(Step::from).collect();
        Self { common: common(&steps), steps }
    }

    /// The exact charge of the stretch of this length from here on, rounded once; `None` when it does not fit.
    #[inline]
    pub(super) fn rounded(&self, from: i128, length: i128) -> Option<i128> {
        let first = self.steps.partition_point(|step| step.end <= from);
        let to = from.checked_add(length)?;
        let step = self.steps.get(first)?;
        // Nearly every event lies within one tier.
        if to <= step.end {
            return mul_div_round(length, step.over, step.under);
        }
        self.across(first, from, to)
    }

    #[inline(never)]
    fn across(&self, first: usize, from: i128, to: i128) -> Option<i128> {
        if let Some((overs, under)) = &self.common {
            let sum = self.parts(first, from, to).try_fold(0_i128, |sum, (tier, part)| part.checked_mul(overs[tier])?.checked_add(sum));
            if let Some(sum) = sum {
                return mul_div_round(sum, 1, *under);
            }
        }
        let wide = |value: i128| BigUint::from(value.unsigned_abs());
        let (mut over, mut under) = (BigUint::ZERO, BigUint::from(1_u8));
        for (tier, part) in self.parts(first, from, to) {
            let step = &self.steps[tier];
            over = over * wide(step.under) + wide(part) * wide(step.over) * &under;
            under *= wide(step.under);
        }
        divide_rounded(&over, &under)
    }

    /// (tier, units in it) of a stretch that begins in `first`.
    fn parts(&self, first: usize, from: i128, to: i128) -> impl Iterator<Item = (usize, i128)> {
        (first..self.steps.len()).scan(from, move |at, tier| {
            let end = to.min(self.steps[tier].end);
            let part = end - *at;
            *at = end;
            (part > 0).then_some((tier, part))
        })
    }
}

/// The fractions over their least common denominator.
fn common(steps: &[Step]) -> Option<(Vec<i128>, i128)> {
    let denominator = steps.iter().try_fold(1_i128, |all, step| {
        let (mut left, mut right) = (all, step.under);
        cut(&mut left, &mut right);
        all.checked_mul(right)
    })?;
    let overs = steps.iter().map(|step| step.over.checked_mul(denominator / step.under)).collect::<Option<_>>()?;
    Some((overs, denominator))
}

#[cfg(test)]
mod tests {
    use num_bigint::BigInt;
    use proptest::prelude::*;

    use super::*;
    use crate::money::NANO;
    use crate::rate::{Price, Terms};

    fn tier(up_to: Option<&str>, price: &str, per: &str) -> TierText {
        TierText { up_to: up_to.map(str::to_owned), price: price.to_owned(), per: per.to_owned() }
    }

    fn price(
        model: &str,
        (unit_price, per): (&str, &str),
        minimum: Option<&str>,
        allowance: Option<&str>,
        tiers: Option<&[TierText]>,
    ) -> Price {
        let text = CountingText { counter_id: Some(5), allowance, tiers, blocks: None };
        Price::new(1, &Terms::parse(model, unit_price, per, None, minimum).unwrap().counted(&text).unwrap())
    }

    #[test]
    fn each_part_of_an_event_is_priced_by_its_tier() {
        let tiers = [tier(Some("1000000"), "4", "1000000"), tier(Some("2000000"), "3", "1000000"), tier(None, "2", "1000000")];
        let tokens = price("graduated", ("0", "1"), None, None, Some(&tiers));
        let million = 1_000_000 * NANO;
        for (before, quantity, expected) in [
            (0, million, 4 * NANO),
            (0, million + NANO, 4 * NANO + 3_000),
            (million - NANO, 2 * NANO, 4_000 + 3_000),
            (million, million, 3 * NANO),
            (million / 2, 2 * million, 2 * NANO + 3 * NANO + NANO),
            (5 * million, million, 2 * NANO),
            (0, 1, 0),
        ] {
            assert_eq!(tokens.charge_after(before, quantity), Some(expected), "{before} {quantity}");
        }
    }

    #[test]
    fn what_lies_within_the_allowance_is_free_and_has_no_minimum() {
        let images = price("per_unit", ("0.2", "1"), Some("1"), Some("100"), None);
        for (before, quantity, expected) in
            [(0, 100, 0), (0, 101, 1_000_000_000), (99, 1, 0), (99, 7, 1_200_000_000), (100, 10, 2_000_000_000), (1_000, 1, 1_000_000_000)]
        {
            assert_eq!(images.charge_after(before * NANO, quantity * NANO), Some(expected), "{before} {quantity}");
        }
        let packs = price("package", ("100", "500"), None, Some("10"), None);
        assert_eq!(packs.charge_after(0, 510 * NANO), Some(100 * NANO));
        assert_eq!(packs.charge_after(0, 511 * NANO), Some(200 * NANO));
        assert_eq!(packs.charge_after(10 * NANO, 500 * NANO), Some(100 * NANO));
        // Tiers begin behind the allowance.
        let tiers = [tier(Some("10"), "1", "1"), tier(None, "0.5", "1")];
        let runs = price("graduated", ("0", "1"), None, Some("5"), Some(&tiers));
        assert_eq!(runs.charge_after(0, 17 * NANO), Some(11 * NANO));
    }

    /// A package whose blocks are those of the period.
    fn packs(unit_price: &str, per: &str, allowance: Option<&str>) -> Price {
        let text = CountingText { counter_id: Some(5), allowance, tiers: None, blocks: Some("period") };
        Price::new(1, &Terms::parse("package", unit_price, per, None, None).unwrap().counted(&text).unwrap())
    }

    #[test]
    fn a_block_is_bought_once_however_many_events_use_it_up() {
        let line = packs("100", "500", Some("10"));
        let counting = line.counting.clone().unwrap();
        let (mut counter, mut charges) = (0, Vec::new());
        for quantity in [10, 1, 1, 498, 1, 1_000, 499, 1] {
            let (charge, after) = line.charge_counted(&counting, counter, quantity * NANO).unwrap();
            charges.push(charge / NANO);
            counter = after;
        }
        assert_eq!(charges, [0, 100, 0, 0, 100, 200, 0, 100]);
        // The event that began a block is voided: what lies in it is forgiven, and the next event begins a block.
        let one = packs("100", "500", None);
        let counting = one.counting.clone().unwrap();
        let after = [1, 1, 1].iter().fold(0, |counter, units| one.charge_counted(&counting, counter, units * NANO).unwrap().1);
        let voided = counting.without(after, NANO, 100 * NANO).unwrap();
        assert_eq!((after, voided), (-497 * NANO, 2 * NANO));
        assert_eq!(one.charge_counted(&counting, voided, NANO), Some((100 * NANO, -499 * NANO)));
        // One that began none: so much more is left of what is paid for, beyond the size of a block, too.
        assert_eq!(one.charge_counted(&counting, counting.without(-499 * NANO, NANO, 0).unwrap(), 500 * NANO), Some((0, 0)));
        assert_eq!(one.charge_counted(&counting, counting.without(-500 * NANO, 300 * NANO, 0).unwrap(), 800 * NANO), Some((0, 0)));
    }

    #[test]
    fn tiers_with_a_mistake_are_refused() {
        let parse = |tiers: &[TierText]| Tier::parse_all(tiers).unwrap_err().to_string();
        assert_eq!(parse(&[]), "tiers: there are 1 to 100 of them");
        assert_eq!(parse(&vec![tier(None, "1", "1"); 101]), "tiers: there are 1 to 100 of them");
        assert_eq!(parse(&[tier(Some("5"), "1", "1")]), "tiers: the last one is open");
        assert_eq!(parse(&[tier(None, "1", "1"), tier(None, "1", "1")]), "tiers: only the last one is open");
        assert_eq!(parse(&[tier(Some("5"), "1", "1"), tier(Some("5"), "1", "1"), tier(None, "1", "1")]), "tiers: their bounds rise");
        assert_eq!(parse(&[tier(Some("0"), "1", "1"), tier(None, "1", "1")]), "tiers: their bounds rise");
        assert_eq!(parse(&[tier(None, "1", "0")]), "per is zero");
        let terms =
            |model, text: CountingText<'_>| Terms::parse(model, "1", "1", None, None).unwrap().counted(&text).map(|_| ()).unwrap_err();
        let one = [tier(None, "1", "1")];
        assert_eq!(terms("graduated", CountingText::default()), TermsError::NoTiers);
        let tiered = CountingText { counter_id: Some(1), tiers: Some(&one), ..CountingText::default() };
        assert_eq!(terms("per_unit", tiered), TermsError::NotGraduated);
        let counted = CountingText { counter_id: Some(1), ..CountingText::default() };
        assert_eq!(terms("flat", CountingText { allowance: Some("5"), ..counted }), TermsError::FlatAllowance);
        assert_eq!(terms("graduated", CountingText { counter_id: None, ..tiered }), TermsError::NoCounter);
        assert_eq!(terms("per_unit", counted), TermsError::NothingToCount);
        assert_eq!(terms("per_unit", CountingText { allowance: Some("0"), ..counted }), TermsError::NothingToCount);
        assert_eq!(terms("package", CountingText { blocks: Some("event"), ..counted }), TermsError::NothingToCount);
        assert_eq!(terms("package", CountingText { blocks: Some("period"), ..CountingText::default() }), TermsError::NoCounter);
        assert_eq!(terms("package", CountingText { blocks: Some("month"), ..counted }), TermsError::Blocks);
        assert_eq!(terms("per_unit", CountingText { blocks: Some("period"), ..counted }), TermsError::Blocks);
        let least = Terms::parse("package", "1", "1", None, Some("1")).unwrap();
        assert_eq!(least.counted(&CountingText { blocks: Some("period"), ..counted }), Err(TermsError::BlocksMinimum));
        let free = Terms::parse("package", "0", "1", None, None).unwrap();
        assert_eq!(free.counted(&CountingText { blocks: Some("period"), ..counted }), Err(TermsError::FreeBlocks));
    }

    #[test]
    fn a_period_goes_from_its_start_to_the_next() {
        let periods = Periods::new(vec![10, 20, 30]).unwrap();
        let found = [9, 10, 19, 20, 29, 30].map(|moment| periods.start_of(moment));
        assert_eq!(found, [Err(Outside::Before), Ok(10), Ok(10), Ok(20), Ok(20), Err(Outside::After)]);
        assert_eq!(Periods::default().start_of(5), Err(Outside::Before));
        assert!(Periods::new(vec![10, 10]).is_none());
    }

    /// What the table at the top of this file says, in fractions of unbounded numbers: unit by unit of each tier.
    fn oracle(tiers: &[Tier], allowance: i128, before: i128, quantity: i128) -> Option<i128> {
        let big = BigInt::from;
        let from = (big(before) - big(allowance)).max(BigInt::ZERO);
        let to = (big(before) + big(quantity) - big(allowance)).max(BigInt::ZERO);
        let (mut over, mut under, mut low) = (BigInt::ZERO, big(1), BigInt::ZERO);
        for tier in tiers {
            let high = tier.up_to.map_or_else(|| to.clone(), big);
            let part = (to.clone().min(high.clone()) - from.clone().max(low)).max(BigInt::ZERO);
            over = over * big(tier.per) + part * big(tier.price) * &under;
            under *= big(tier.per);
            low = high;
        }
        let (doubled, twice): (BigInt, BigInt) = (&over * 2_i32 + &under, &under * 2_i32);
        let mut rounded: BigInt = &doubled / &twice;
        if &rounded * &twice == doubled && rounded.bit(0) {
            rounded -= 1_i32;
        }
        i128::try_from(rounded).ok()
    }

    /// From nothing to what 18 integer digits and nine decimals hold, small numbers and round ones as often as large ones.
    fn amount() -> impl Strategy<Value = i128> {
        let largest = 10_i128.pow(27) - 1;
        prop_oneof![
            0..=largest,
            (0..=largest, 0_u32..90).prop_map(|(value, shift)| value >> shift),
            (0..1_000_i128, 0_u32..24).prop_map(|(value, zeros)| value * 10_i128.pow(zeros)),
        ]
    }

    fn tiers() -> impl Strategy<Value = Vec<Tier>> {
        prop::collection::vec((amount(), amount(), amount()), 1..8).prop_map(|parts| {
            let last = parts.len() - 1;
            let mut end = 0;
            parts
                .into_iter()
                .enumerate()
                .map(|(place, (width, price, per))| {
                    end += width.max(1);
                    Tier { up_to: (place < last).then_some(end), price, per: per.max(1) }
                })
                .collect()
        })
    }

    fn line(tiers: Vec<Tier>, allowance: i128) -> Price {
        let mut terms = Terms::parse("graduated", "0", "1", None, None).unwrap();
        terms.counting = Some(super::super::price::CountingTerms { counter_id: 1, allowance, tiers, blocks: false });
        Price::new(1, &terms)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn tiers_agree_with_arbitrary_precision(tiers in tiers(), allowance in amount(), before in amount(), quantity in amount()) {
            let expected = oracle(&tiers, allowance, before, quantity.max(1));
            prop_assert_eq!(line(tiers, allowance).charge_after(before, quantity.max(1)), expected);
        }

        /// Blocks of a period are those of the grid that its units reach, each paid by the event that begins it.
        #[test]
        fn blocks_of_a_period_agree_with_the_grid(
            unit_price in 1..10_i128.pow(15), per in amount(), allowance in amount(), quantities in prop::collection::vec(amount(), 1..20),
        ) {
            let mut terms = Terms::parse("package", "0", "1", None, None).unwrap();
            (terms.price, terms.per) = (unit_price, per.max(1));
            terms.counting = Some(super::super::price::CountingTerms { counter_id: 1, allowance, tiers: Vec::new(), blocks: true });
            let line = Price::new(1, &terms);
            let counting = line.counting.clone().unwrap();
            let reached = |used: i128| {
                let beyond = (BigInt::from(used) - allowance).max(BigInt::ZERO);
                (beyond + terms.per - 1_i32) / terms.per * unit_price
            };
            let (mut used, mut counter) = (0_i128, 0_i128);
            for quantity in quantities {
                let quantity = quantity.max(1);
                let expected = i128::try_from(reached(used + quantity) - reached(used)).ok();
                let found = line.charge_counted(&counting, counter, quantity);
                prop_assert_eq!(found.map(|(charge, _)| charge), expected);
                let Some((_, after)) = found else { break };
                (used, counter) = (used + quantity, after);
            }
        }

        /// The very ends of tiers, one nano-unit before and one behind them.
        #[test]
        fn edges_of_tiers_agree(tiers in tiers(), which in any::<prop::sample::Index>(), nudges in (-1_i128..=1, -1_i128..=1), more in amount()) {
            let ends: Vec<i128> = tiers.iter().filter_map(|tier| tier.up_to).chain([0]).collect();
            let before = (ends[which.index(ends.len())] + nudges.0).max(0);
            let to = ends.iter().find(|end| **end > before).map_or(before + more, |end| end + nudges.1).max(before + 1);
            let expected = oracle(&tiers, 0, before, to - before);
            prop_assert_eq!(line(tiers, 0).charge_after(before, to - before), expected);
        }
    }
}
