//! A shape of usage, priced: what each customer meets at each moment.

use super::Currency;
use super::assignment::{OwnCards, Place, Product};
use super::price::Price;

/// The prices of a shape in one currency.
#[derive(Debug)]
pub struct CurrencyPrices {
    pub currency: Currency,
    /// By the default cards: since when, and the price then; in order of effect.
    pub timeline: Vec<(i64, Option<Price>)>,
    /// By the cards that some customer has as its own.
    pub assigned: Vec<(Place, Option<Price>)>,
}

impl CurrencyPrices {
    #[inline]
    fn at(&self, occurred_us: i64) -> Option<&Price> {
        // Most usage is young, so the newest cards are asked first.
        self.timeline.iter().rev().find(|(from_us, _)| *from_us <= occurred_us)?.1.as_ref()
    }

    fn of(&self, card: Place) -> Option<&Price> {
        self.assigned.iter().find(|(other, _)| *other == card)?.1.as_ref()
    }
}

/// A metric with its dimensions, priced in every currency under every rate card of the product that prices the metric.
#[derive(Debug)]
pub struct PricedShape {
    /// `None`: the tenant has no such metric.
    pub metric_id: Option<i32>,
    pub(super) product: Product,
    /// In the tenant's currency first.
    pub(super) prices: Vec<CurrencyPrices>,
}

impl PricedShape {
    /// The price in force at a moment for a customer of the tenant's currency without a card of its own.
    #[must_use]
    #[inline]
    pub fn price_at(&self, occurred_us: i64) -> Option<&Price> {
        self.prices.first()?.at(occurred_us)
    }

    /// The price that a customer meets. `own`: its cards, if it has any.
    #[must_use]
    #[inline]
    pub fn price_for(&self, currency: Currency, own: Option<&OwnCards>, occurred_us: i64) -> Option<&Price> {
        let prices = self.prices.iter().find(|prices| prices.currency == currency)?;
        match own.and_then(|own| own.card_at(self.product, occurred_us)) {
            Some(card) => prices.of(card),
            None => prices.at(occurred_us),
        }
    }
}
