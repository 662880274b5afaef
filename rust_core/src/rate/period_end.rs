//! Lines that are settled when a billing period is over: volume tiers and least amounts per period.
//!
//! With `c` units used of a line in the period and `a` charged for its events, the line asks for `v` in all: of a volume
//! line b × price ÷ per of the one tier in which b = max(0, c − allowance) lies, rounded half to even once; of any other
//! line `a`. If anything was used, it is at least the minimum per period. What the events did not pay of it is the charge
//! of the period: max(0, v − a). It is never below zero, since an event keeps the price that it was charged by.

use std::sync::Arc;

use super::counting::{CountingText, Periods, Step, Tier};
use super::price::{Model, Terms, TermsError, parse_amount};
use crate::money::mul_div_round;

/// How long after its end a period is settled, so that the usage of its last moments is there.
pub const PERIOD_GRACE_US: i64 = 3_600_000_000;

/// What a line says that is settled at the end of a period, beside what every line says.
#[derive(Debug, Clone, Copy, Default)]
pub struct PeriodEndText<'a> {
    /// Counts the units of a period.
    pub quantity_counter: Option<i32>,
    /// Counts what the period's events were charged.
    pub charge_counter: Option<i32>,
    /// The least that a period costs in which the line was used.
    pub minimum_per_period: Option<&'a str>,
}

/// The same in nano-units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeriodEndTerms {
    quantity_counter: i32,
    charge_counter: i32,
    minimum: Option<i128>,
    allowance: i128,
    /// Of a volume line, and only of it.
    tiers: Vec<Tier>,
}

impl Terms {
    /// The same with what a line says that is settled at the end of a period; nothing for one that is not.
    ///
    /// # Errors
    /// When it cannot be read or is not of the model.
    pub fn settled(mut self, text: &PeriodEndText<'_>, counting: &CountingText<'_>) -> Result<Self, TermsError> {
        let minimum = text.minimum_per_period.map(|text| parse_amount("minimumPerPeriod", text)).transpose()?;
        let volume = self.model == Model::Volume;
        self.period_end = match (text.quantity_counter, text.charge_counter, volume || minimum.is_some()) {
            (Some(quantity_counter), Some(charge_counter), true) => Some(PeriodEndTerms {
                quantity_counter,
                charge_counter,
                minimum,
                allowance: if volume {
                    counting.allowance.map(|text| parse_amount("allowance", text)).transpose()?.unwrap_or_default()
                } else {
                    0
                },
                tiers: if volume { Tier::parse_all(counting.tiers.unwrap_or_default())? } else { Vec::new() },
            }),
            (None, None, false) => None,
            (.., true) => return Err(TermsError::NoCounter),
            (.., false) => return Err(TermsError::NothingToSettle),
        };
        Ok(self)
    }
}

/// A line that is settled at the end of a period, ready for totals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeriodEnd {
    /// Names the line in `rate_card_charges`.
    pub price_id: i32,
    /// Names the counter of its units in `usage_counters`.
    pub quantity_counter: i32,
    /// Names the counter of what its events were charged.
    pub charge_counter: i32,
    /// The tenant's periods.
    pub periods: Arc<Periods>,
    allowance: i128,
    /// Nano-units; `i128::MIN`: none.
    minimum: i128,
    /// Of a volume line.
    steps: Vec<Step>,
}

impl PeriodEnd {
    pub(super) fn new(price_id: i32, terms: &PeriodEndTerms) -> Self {
        Self {
            price_id,
            quantity_counter: terms.quantity_counter,
            charge_counter: terms.charge_counter,
            periods: Arc::default(),
            allowance: terms.allowance,
            minimum: terms.minimum.unwrap_or(i128::MIN),
            steps: terms.tiers.iter().map(Step::from).collect(),
        }
    }

    pub(super) fn in_periods(&self, periods: &Arc<Periods>) -> Self {
        Self { periods: Arc::clone(periods), ..self.clone() }
    }

    /// What a period is charged at its end, in nano-units, for so many units of which the events were charged so much
    /// already; `None` when it does not fit.
    #[must_use]
    pub fn total(&self, quantity: i128, charged: i128) -> Option<i128> {
        if quantity == 0 {
            return Some(0);
        }
        let asked = if self.steps.is_empty() { charged } else { self.volume(quantity.checked_sub(self.allowance)?.max(0))? };
        Some(asked.max(self.minimum).checked_sub(charged)?.max(0))
    }

    fn volume(&self, billable: i128) -> Option<i128> {
        // A bound belongs to the tier that it ends.
        let step = self.steps.get(self.steps.partition_point(|step| step.end < billable))?;
        mul_div_round(billable, step.over, step.under)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::NANO;
    use crate::rate::{Price, TierText};

    fn line(
        model: &str,
        price: &str,
        allowance: Option<&str>,
        minimum: Option<&str>,
        tiers: Option<&[(Option<&str>, &str, &str)]>,
    ) -> Price {
        let tiers: Option<Vec<TierText>> = tiers.map(|tiers| {
            let text = |(up_to, price, per): &(Option<&str>, &str, &str)| TierText {
                up_to: up_to.map(str::to_owned),
                price: (*price).to_owned(),
                per: (*per).to_owned(),
            };
            tiers.iter().map(text).collect()
        });
        let counting = CountingText { allowance, tiers: tiers.as_deref(), ..CountingText::default() };
        let end = PeriodEndText { quantity_counter: Some(7), charge_counter: Some(8), minimum_per_period: minimum };
        let terms = Terms::parse(model, price, "1", None, None).unwrap().counted(&counting).unwrap().settled(&end, &counting).unwrap();
        Price::new(1, &terms)
    }

    fn total(price: &Price, quantity: i128, charged: i128) -> i128 {
        price.period_end.as_ref().unwrap().total(quantity, charged).unwrap()
    }

    #[test]
    fn all_units_are_priced_by_the_tier_of_the_total() {
        let tokens = line("volume", "0", None, None, Some(&[(Some("100"), "2", "1"), (Some("200"), "1.5", "1"), (None, "1", "3")]));
        assert_eq!(tokens.charge(5 * NANO), Some(0));
        for (quantity, expected) in [
            (0, 0),
            (1, 2),
            (100 * NANO, 200 * NANO),
            (100 * NANO + 1, 150 * NANO + 2),
            (200 * NANO, 300 * NANO),
            (201 * NANO, 67 * NANO),
            (200 * NANO + 1, 66_666_666_667),
        ] {
            assert_eq!(total(&tokens, quantity, 0), expected, "{quantity}");
        }
    }

    #[test]
    fn an_allowance_is_taken_off_the_total_first() {
        let tokens = line("volume", "0", Some("50"), None, Some(&[(Some("100"), "2", "1"), (None, "1", "1")]));
        for (quantity, expected) in [(50, 0), (51, 2), (150, 200), (151, 101)] {
            assert_eq!(total(&tokens, quantity * NANO, 0), expected * NANO, "{quantity}");
        }
    }

    #[test]
    fn a_minimum_is_what_the_events_did_not_pay_of_it() {
        let runs = line("flat", "3", None, Some("10"), None);
        assert_eq!([0, 3, 9, 10, 11].map(|charged| total(&runs, NANO, charged * NANO)), [10, 7, 1, 0, 0].map(|left| left * NANO));
        assert_eq!(total(&runs, 0, 0), 0, "nothing was used");
        let tokens = line("volume", "0", Some("50"), Some("10"), Some(&[(None, "2", "1")]));
        assert_eq!([1, 50, 55, 56].map(|units| total(&tokens, units * NANO, 0)), [10, 10, 10, 12].map(|amount| amount * NANO));
        // What a version before charged for events of the same period counts, and is never given back.
        assert_eq!([3, 12, 13].map(|charged| total(&tokens, 56 * NANO, charged * NANO)), [9 * NANO, 0, 0]);
    }

    #[test]
    fn a_total_that_does_not_fit_is_none() {
        let dear = line("volume", "0", None, None, Some(&[(None, "999999999999999999", "0.000000001")]));
        assert_eq!(dear.period_end.unwrap().total(10_i128.pow(37), 0), None);
    }

    #[test]
    fn what_settles_has_two_counters_and_something_to_settle() {
        let settled = |model: &str, end: PeriodEndText<'_>| {
            let tiers = [TierText { up_to: None, price: "1".to_owned(), per: "1".to_owned() }];
            let counting = CountingText { tiers: (model == "volume").then_some(&tiers[..]), ..CountingText::default() };
            let terms = Terms::parse(model, "1", "1", None, None).unwrap().counted(&counting).unwrap();
            terms.settled(&end, &counting).map(|terms| terms.period_end.is_some())
        };
        let both = PeriodEndText { quantity_counter: Some(1), charge_counter: Some(2), minimum_per_period: None };
        assert_eq!(settled("volume", both), Ok(true));
        assert_eq!(settled("volume", PeriodEndText { charge_counter: None, ..both }), Err(TermsError::NoCounter));
        assert_eq!(settled("volume", PeriodEndText::default()), Err(TermsError::NoCounter));
        assert_eq!(settled("flat", both), Err(TermsError::NothingToSettle));
        assert_eq!(settled("flat", PeriodEndText { minimum_per_period: Some("1"), ..both }), Ok(true));
        assert_eq!(
            settled("flat", PeriodEndText { minimum_per_period: Some("1"), ..PeriodEndText::default() }),
            Err(TermsError::NoCounter)
        );
        assert_eq!(settled("flat", PeriodEndText::default()), Ok(false));
        let no_tiers = Terms::parse("volume", "0", "1", None, None).unwrap().counted(&CountingText::default());
        assert_eq!(no_tiers, Err(TermsError::NoTiers));
        assert_eq!(Terms::parse("volume", "0", "1", None, Some("1")), Err(TermsError::VolumeMinimum));
    }
}
