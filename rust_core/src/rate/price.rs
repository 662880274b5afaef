//! The pricing models: what one event costs on one line of a rate card.
//!
//! | model | charge of an event of quantity q |
//! |---|---|
//! | `per_unit` | q × price ÷ per |
//! | `package` | price for each begun block of per: of the event, ⌈q ÷ per⌉, or of the period, what it lacks of those bought before |
//! | `flat` | price, whatever q |
//! | `markup` | q × cost ÷ per × (1 + percent ÷ 100) |
//! | `graduated` | of each part of q in its tier: part × price ÷ per |
//! | `volume` | nothing: all of a period is priced at its end, `rate/period_end.rs` |
//!
//! It is rounded half to even, once, to nano-units; a `minimum` is compared with what was rounded. Lines with tiers, a free
//! allowance or blocks of the period count: `rate/counting.rs`.

use std::sync::Arc;

use num_bigint::BigUint;

use super::counting::{Block, Counting, CountingText, Graduated, Periods, Tier};
use super::period_end::{PeriodEnd, PeriodEndTerms};
use crate::money::{AMOUNT_INTEGER_DIGITS, DecimalError, NANO, mul_div_round, parse_decimal_nano};

/// A hundred per cent in nano-units.
pub(crate) const HUNDRED: i128 = 100 * NANO;

/// How a line prices an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// A price for so many units, in proportion.
    PerUnit,
    /// A price for every begun block of units, of an event or of a period.
    Package,
    /// A price for every event.
    Flat,
    /// A cost for so many units, in proportion, and a percentage on top.
    Markup,
    /// A price for so many units, in proportion, that changes with what was used in the period.
    Graduated,
    /// A price for so many units, in proportion, by what was used in the period in all.
    Volume,
}

impl Model {
    /// By its name in a rate card.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "per_unit" => Some(Self::PerUnit),
            "package" => Some(Self::Package),
            "flat" => Some(Self::Flat),
            "markup" => Some(Self::Markup),
            "graduated" => Some(Self::Graduated),
            "volume" => Some(Self::Volume),
            _ => None,
        }
    }
}

/// Why the terms of a line were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    /// No model has this name.
    #[error("unknown pricing model {0:?}")]
    Model(String),
    /// An amount cannot be read.
    #[error("{0} {1:?}: {2}")]
    Amount(&'static str, String, DecimalError),
    /// Nothing can be divided by it.
    #[error("per is zero")]
    Per,
    /// A mark-up without one.
    #[error("a mark-up needs a percentage")]
    NoPercent,
    /// Another model with one: somebody expects it to count.
    #[error("only a mark-up has a percentage")]
    Percent,
    /// Tiers that leave a gap, overlap or end.
    #[error("tiers: {0}")]
    Tiers(&'static str),
    /// A graduated line without them.
    #[error("a graduated or volume line needs tiers")]
    NoTiers,
    /// Another model with them.
    #[error("only a graduated or volume line has tiers")]
    NotGraduated,
    /// A price that does not know the quantity.
    #[error("a flat price has no allowance")]
    FlatAllowance,
    /// Tiers, an allowance or blocks of a period that nothing counts.
    #[error("a line with tiers, an allowance or blocks of the period needs a counter")]
    NoCounter,
    /// A counter without a use.
    #[error("a counter needs tiers, an allowance above zero or blocks of the period")]
    NothingToCount,
    /// Another model with them, or blocks of something else.
    #[error("only a package has blocks, of the period or of the event")]
    Blocks,
    /// Blocks of which no charge tells that they were bought.
    #[error("blocks of the period have a price")]
    FreeBlocks,
    /// A least amount of events most of which begin no block.
    #[error("an event has no minimum where blocks are those of the period")]
    BlocksMinimum,
    /// Counters of a period at whose end nothing is charged.
    #[error("counters of a period need volume tiers or a minimum per period")]
    NothingToSettle,
    /// A least amount of events that cost nothing by themselves.
    #[error("an event on a volume line has no minimum")]
    VolumeMinimum,
}

/// What a line that counts says besides, in nano-units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountingTerms {
    /// Names the counter in `usage_counters`.
    pub counter_id: i32,
    /// Units that are free in a period; zero: none.
    pub allowance: i128,
    /// Of a graduated line, and only of it.
    pub tiers: Vec<Tier>,
    /// A package whose blocks are those of the period.
    pub blocks: bool,
}

/// What a line says, in nano-units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// How it prices.
    pub model: Model,
    /// The price; of a mark-up the cost.
    pub price: i128,
    /// Units of the metric that the price buys; of no meaning for `flat`.
    pub per: i128,
    /// Of a mark-up, and only of it.
    pub percent: Option<i128>,
    /// No event costs less that is not free by an allowance.
    pub minimum: Option<i128>,
    /// Of a line with tiers, an allowance or blocks of the period.
    pub counting: Option<CountingTerms>,
    /// Of a line that is settled at the end of a period.
    pub period_end: Option<PeriodEndTerms>,
}

pub(super) fn parse_amount(what: &'static str, text: &str) -> Result<i128, TermsError> {
    parse_decimal_nano(text.as_bytes(), AMOUNT_INTEGER_DIGITS).map_err(|error| TermsError::Amount(what, text.to_owned(), error))
}

impl Terms {
    /// Reads a line's fields, all of them decimal text.
    ///
    /// # Errors
    /// When one cannot be read, or is not of the model.
    pub fn parse(model: &str, price: &str, per: &str, percent: Option<&str>, minimum: Option<&str>) -> Result<Self, TermsError> {
        let terms = Self {
            model: Model::from_name(model).ok_or_else(|| TermsError::Model(model.to_owned()))?,
            price: parse_amount("price", price)?,
            per: parse_amount("per", per)?,
            percent: percent.map(|text| parse_amount("percent", text)).transpose()?,
            minimum: minimum.map(|text| parse_amount("minimum", text)).transpose()?,
            counting: None,
            period_end: None,
        };
        match (terms.model, terms.percent) {
            _ if terms.per == 0 => Err(TermsError::Per),
            (Model::Volume, None) if terms.minimum.is_some() => Err(TermsError::VolumeMinimum),
            (Model::Markup, None) => Err(TermsError::NoPercent),
            (Model::PerUnit | Model::Package | Model::Flat | Model::Graduated | Model::Volume, Some(_)) => Err(TermsError::Percent),
            _ => Ok(terms),
        }
    }

    /// The same with what a line says that counts; nothing for one that does not.
    ///
    /// # Errors
    /// When it cannot be read or is not of the model.
    pub fn counted(mut self, text: &CountingText<'_>) -> Result<Self, TermsError> {
        let allowance = text.allowance.map(|text| parse_amount("allowance", text)).transpose()?;
        let tiers = text.tiers.map(Tier::parse_all).transpose()?;
        let blocks = match (text.blocks, self.model) {
            (None, _) | (Some("event"), Model::Package) => false,
            (Some("period"), Model::Package) if self.minimum.is_some() => return Err(TermsError::BlocksMinimum),
            (Some("period"), Model::Package) if self.price == 0 => return Err(TermsError::FreeBlocks),
            (Some("period"), Model::Package) => true,
            _ => return Err(TermsError::Blocks),
        };
        match (self.model, &tiers) {
            (Model::Graduated | Model::Volume, None) => return Err(TermsError::NoTiers),
            // Its events do not depend on what was used before them.
            (Model::Volume, Some(_)) if text.counter_id.is_none() => return Ok(self),
            (Model::Volume, Some(_)) => return Err(TermsError::NothingToCount),
            (Model::PerUnit | Model::Package | Model::Flat | Model::Markup, Some(_)) => return Err(TermsError::NotGraduated),
            (Model::Flat, None) if allowance.is_some() => return Err(TermsError::FlatAllowance),
            _ => {}
        }
        let counts = blocks || tiers.is_some() || allowance.is_some_and(|allowance| allowance > 0);
        self.counting = match (text.counter_id, counts) {
            (Some(counter_id), true) => {
                Some(CountingTerms { counter_id, allowance: allowance.unwrap_or_default(), tiers: tiers.unwrap_or_default(), blocks })
            }
            (None, true) => return Err(TermsError::NoCounter),
            (None, false) if allowance.is_none() => None,
            _ => return Err(TermsError::NothingToCount),
        };
        Ok(self)
    }
}

/// The terms made ready for many events.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    /// quantity × over ÷ under. Also a mark-up: its percentage is worked into the fraction.
    Ratio { over: i128, under: i128 },
    /// One price for each begun block.
    Package { price: i128, per: i128 },
    /// One price.
    Flat { price: i128 },
    /// A mark-up whose fraction does not fit 128 bits.
    Wide(Box<WideRatio>),
    /// Tiers.
    Graduated(Arc<Graduated>),
}

#[derive(Debug, PartialEq, Eq, Clone)]
struct WideRatio {
    over: BigUint,
    under: BigUint,
}

/// A line of a rate card, ready to price events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// Names the line in `rate_card_charges`.
    pub price_id: i32,
    /// What it counts by; `None`: an event's price depends on nothing but its quantity.
    pub counting: Option<Arc<Counting>>,
    /// How its periods are settled; `None`: they are not.
    pub period_end: Option<Arc<PeriodEnd>>,
    rule: Rule,
    /// Nano-units; `i128::MIN`: none.
    minimum: i128,
}

impl Price {
    /// Fractions are cut down: small numbers multiply and divide several times as fast. A line that counts does so in no
    /// period yet: [`in_periods`](Self::in_periods).
    #[must_use]
    pub fn new(price_id: i32, terms: &Terms) -> Self {
        let rule = match terms.model {
            Model::PerUnit => {
                let (mut over, mut under) = (terms.price, terms.per);
                cut(&mut over, &mut under);
                Rule::Ratio { over, under }
            }
            Model::Package => Rule::Package { price: terms.price, per: terms.per },
            Model::Flat => Rule::Flat { price: terms.price },
            Model::Markup => markup(terms.price, terms.per, terms.percent.unwrap_or_default()),
            Model::Volume => Rule::Flat { price: 0 },
            Model::Graduated => Rule::Graduated(Arc::new(Graduated::new(terms.counting.as_ref().map_or(&[], |counting| &counting.tiers)))),
        };
        let counting = terms.counting.as_ref().map(|counting| {
            let block = counting.blocks.then_some(Block { price: terms.price, per: terms.per });
            Arc::new(Counting { counter_id: counting.counter_id, allowance: counting.allowance, periods: Arc::default(), block })
        });
        let period_end = terms.period_end.as_ref().map(|terms| Arc::new(PeriodEnd::new(price_id, terms)));
        Self { price_id, counting, period_end, rule, minimum: terms.minimum.unwrap_or(i128::MIN) }
    }

    /// The same, counting in these periods.
    #[must_use]
    pub fn in_periods(mut self, periods: &Arc<Periods>) -> Self {
        self.counting = self.counting.map(|counting| Arc::new(Counting { periods: Arc::clone(periods), ..*counting }));
        self.period_end = self.period_end.map(|end| Arc::new(end.in_periods(periods)));
        self
    }

    /// The charge for a quantity, in nano-units; `None` when it does not fit. Of a line that counts: for the first units of
    /// a period without an allowance.
    #[must_use]
    #[inline]
    pub fn charge(&self, quantity: i128) -> Option<i128> {
        let rounded = match &self.rule {
            Rule::Ratio { over, under } => mul_div_round(quantity, *over, *under),
            other => other.rounded(quantity),
        };
        rounded.map(|rounded| rounded.max(self.minimum))
    }

    /// The charge for a quantity where the line's counter of the period stands here, and where it goes; `None` when one of them
    /// does not fit.
    #[must_use]
    #[inline]
    pub fn charge_counted(&self, counting: &Counting, before: i128, quantity: i128) -> Option<(i128, i128)> {
        let charge = self.charge_after(before, quantity)?;
        Some((charge, counting.after(before, quantity, charge)?))
    }

    /// The charge for a quantity where the line's counter of the period stands here; `None` when it does not fit.
    #[must_use]
    pub fn charge_after(&self, before: i128, quantity: i128) -> Option<i128> {
        let Some(counting) = &self.counting else { return self.charge(quantity) };
        if let Some(block) = &counting.block {
            return blocks(counting.lacking(before, quantity)?, block.per)?.checked_mul(block.price);
        }
        let (from, billable) = counting.billable(before, quantity)?;
        if billable == 0 {
            return Some(0);
        }
        match &self.rule {
            Rule::Graduated(tiers) => tiers.rounded(from, billable).map(|rounded| rounded.max(self.minimum)),
            _ => self.charge(billable),
        }
    }
}

impl Rule {
    /// Not inlined, so that the commonest model is short where it is called.
    #[inline(never)]
    fn rounded(&self, quantity: i128) -> Option<i128> {
        match self {
            Self::Ratio { over, under } => mul_div_round(quantity, *over, *under),
            Self::Package { price, per } => blocks(quantity, *per)?.checked_mul(*price),
            Self::Flat { price } => Some(*price),
            Self::Wide(ratio) => ratio.rounded(quantity),
            Self::Graduated(tiers) => tiers.rounded(0, quantity),
        }
    }
}

/// How many blocks of `per` a quantity begins.
#[inline]
fn blocks(quantity: i128, per: i128) -> Option<i128> {
    if let (Ok(quantity), Ok(per)) = (u64::try_from(quantity), u64::try_from(per)) {
        return (per > 0).then(|| i128::from(quantity.div_ceil(per)));
    }
    let whole = quantity.checked_div(per)?;
    Some(whole + i128::from(quantity % per > 0))
}

/// cost × (100 + percent) over per × 100.
fn markup(mut cost: i128, mut per: i128, percent: i128) -> Rule {
    // Both are below 10^38, so the sum fits.
    let (mut factor, mut hundred) = (HUNDRED + percent, HUNDRED);
    cut(&mut cost, &mut per);
    cut(&mut cost, &mut hundred);
    cut(&mut factor, &mut per);
    cut(&mut factor, &mut hundred);
    if let (Some(over), Some(under)) = (cost.checked_mul(factor), per.checked_mul(hundred)) {
        return Rule::Ratio { over, under };
    }
    let wide = |value: i128| BigUint::from(value.unsigned_abs());
    Rule::Wide(Box::new(WideRatio { over: wide(cost) * wide(factor), under: wide(per) * wide(hundred) }))
}

impl WideRatio {
    /// Allocates, unlike all other ways to a charge: only a cost or percentage of some 20 digits and more comes here.
    #[cold]
    fn rounded(&self, quantity: i128) -> Option<i128> {
        let magnitude = divide_rounded(&(BigUint::from(quantity.unsigned_abs()) * &self.over), &self.under)?;
        Some(if quantity < 0 { -magnitude } else { magnitude })
    }
}

/// A fraction rounded half to even; `None` when it does not fit.
pub(super) fn divide_rounded(over: &BigUint, under: &BigUint) -> Option<i128> {
    let (mut quotient, remainder) = (over / under, over % under);
    let left = under - &remainder;
    if remainder > left || (remainder == left && quotient.bit(0)) {
        quotient += 1_u8;
    }
    i128::try_from(quotient).ok()
}

/// Divides both by their greatest common divisor.
pub(super) fn cut(left: &mut i128, right: &mut i128) {
    let (mut divisor, mut rest) = (*left, *right);
    while rest != 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    if divisor > 1 {
        *left /= divisor;
        *right /= divisor;
    }
}

#[cfg(test)]
mod tests {
    use num_bigint::BigInt;
    use proptest::prelude::*;

    use super::*;

    fn price(model: &str, price: &str, per: &str, percent: Option<&str>, minimum: Option<&str>) -> Price {
        Price::new(1, &Terms::parse(model, price, per, percent, minimum).unwrap())
    }

    #[test]
    fn a_begun_block_counts_whole() {
        let images = price("package", "100", "500", None, None);
        for (quantity, expected) in [(1, 100), (499 * NANO, 100), (500 * NANO, 100), (500 * NANO + 1, 200), (1_000 * NANO, 200)] {
            assert_eq!(images.charge(quantity), Some(expected * NANO), "{quantity}");
        }
        assert_eq!(images.charge(0), Some(0));
        assert_eq!(price("package", "1", "0.000000003", None, None).charge(10), Some(4 * NANO));
    }

    #[test]
    fn a_flat_price_does_not_know_the_quantity() {
        let run = price("flat", "0.35", "1", None, None);
        assert_eq!([1, NANO, i128::MAX].map(|quantity| run.charge(quantity)), [Some(350_000_000); 3]);
    }

    #[test]
    fn a_mark_up_rounds_once() {
        // 1 ÷ 3 × 1.5 is one half, and 0.333333333 × 1.5 would not be.
        assert_eq!(price("markup", "1", "3", Some("50"), None).charge(NANO), Some(NANO / 2));
        assert_eq!(price("markup", "2", "1000", Some("0"), None).charge(NANO), Some(2_000_000));
        // Half a nano-unit and half of three of them go to the even neighbour.
        assert_eq!(price("markup", "0.000000001", "3", Some("50"), None).charge(NANO), Some(0));
        assert_eq!(price("markup", "0.000000001", "1", Some("50"), None).charge(NANO), Some(2));
    }

    #[test]
    fn a_minimum_is_the_least_an_event_costs() {
        let tokens = price("per_unit", "4", "1000000", None, Some("0.01"));
        assert_eq!(tokens.charge(2_499 * NANO), Some(10_000_000));
        assert_eq!(tokens.charge(2_500 * NANO), Some(10_000_000));
        assert_eq!(tokens.charge(2_501 * NANO), Some(10_004_000));
        assert_eq!(price("per_unit", "0", "1", None, Some("0.01")).charge(NANO), Some(10_000_000));
        assert_eq!(price("flat", "5", "1", None, Some("7")).charge(NANO), Some(7 * NANO));
    }

    #[test]
    fn terms_that_contradict_their_model_are_refused() {
        let parse = |model, price, per, percent| Terms::parse(model, price, per, percent, None).unwrap_err();
        assert_eq!(parse("tiered", "1", "1", None), TermsError::Model("tiered".to_owned()));
        assert_eq!(parse("markup", "1", "1", None), TermsError::NoPercent);
        assert_eq!(parse("package", "1", "1", Some("5")), TermsError::Percent);
        assert_eq!(parse("per_unit", "1", "0", None), TermsError::Per);
        assert_eq!(parse("flat", "-1", "1", None), TermsError::Amount("price", "-1".to_owned(), DecimalError::Malformed));
        assert_eq!(parse("markup", "1", "1", Some("1.0000000001")).to_string(), "percent \"1.0000000001\": more than 9 decimals");
    }

    /// The table at the top of this file in fractions of unbounded numbers, without cutting anything down.
    fn oracle(terms: &Terms, quantity: i128) -> Option<i128> {
        let big = BigInt::from;
        let (price, per, nano) = (big(terms.price), big(terms.per), big(NANO));
        // The charge in nano-units as a fraction.
        let (over, under) = match terms.model {
            Model::PerUnit => (big(quantity) * price, per),
            Model::Package => ((big(quantity) + &per - 1_i32) / &per * price, big(1)),
            Model::Flat => (price, big(1)),
            Model::Markup => (big(quantity) * price * (big(100) * &nano + big(terms.percent.unwrap())), per * 100_i32 * nano),
            Model::Graduated | Model::Volume => unreachable!("the oracles of tiers are in files of their own"),
        };
        // ⌊x + 1/2⌋, less one where x + 1/2 is whole and odd.
        let (doubled, twice): (BigInt, BigInt) = (&over * 2_i32 + &under, &under * 2_i32);
        let mut rounded: BigInt = &doubled / &twice;
        if &rounded * &twice == doubled && rounded.bit(0) {
            rounded -= 1_i32;
        }
        i128::try_from(rounded).ok().map(|charge| charge.max(terms.minimum.unwrap_or(0)))
    }

    /// From nothing to all that NUMERIC(38, 9) holds, small numbers and round ones as often as large ones.
    fn amount() -> impl Strategy<Value = i128> {
        let largest = 10_i128.pow(38) - 1;
        prop_oneof![
            0..=largest,
            (0..=largest, 0_u32..126).prop_map(|(value, shift)| value >> shift),
            (0..1_000_i128, 0_u32..30).prop_map(|(value, zeros)| value * 10_i128.pow(zeros)),
        ]
    }

    fn terms() -> impl Strategy<Value = Terms> {
        let model = prop::sample::select(&[Model::PerUnit, Model::Package, Model::Flat, Model::Markup][..]);
        (model, amount(), amount(), amount(), prop::option::of(amount())).prop_map(|(model, price, per, percent, minimum)| Terms {
            model,
            price,
            per: per.max(1),
            percent: (model == Model::Markup).then_some(percent),
            minimum,
            counting: None,
            period_end: None,
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn every_model_agrees_with_arbitrary_precision(terms in terms(), quantity in amount()) {
            prop_assert_eq!(Price::new(1, &terms).charge(quantity), oracle(&terms, quantity));
        }

        #[test]
        fn edges_of_blocks_agree(price in 0..10_i128.pow(12), per in 1..10_i128.pow(27), count in 0..10_i128.pow(6), nudge in -1_i128..=1) {
            let terms = Terms { model: Model::Package, price, per, percent: None, minimum: None, counting: None, period_end: None };
            let quantity = (per * count + nudge).max(0);
            prop_assert_eq!(Price::new(1, &terms).charge(quantity), oracle(&terms, quantity));
        }

        #[test]
        fn halves_of_mark_ups_agree(cost in 0..10_i128.pow(12), quantity in 1..10_i128.pow(12), whole in 0..2_000_i128) {
            // Percentages of whole halves against blocks of one unit make many exact ties.
            let terms = Terms { model: Model::Markup, price: cost, per: 2 * NANO, percent: Some(whole * NANO / 2), minimum: None, counting: None, period_end: None };
            prop_assert_eq!(Price::new(1, &terms).charge(quantity), oracle(&terms, quantity));
        }

        #[test]
        fn a_minimum_only_raises(mut terms in terms(), quantity in amount(), minimum in amount()) {
            terms.minimum = None;
            let plain = Price::new(1, &terms).charge(quantity);
            terms.minimum = Some(minimum);
            prop_assert_eq!(Price::new(1, &terms).charge(quantity), plain.map(|charge| charge.max(minimum)));
        }
    }
}
