//! Rating: which price an event meets, and what it costs.
//!
//! A tenant's catalogue holds its metrics and rate cards in order of effect. The card in force at `occurredAt` decides;
//! of its charges for the metric, the most specific match wins. One model is known so far, the price per N units:
//! `charge = quantity × price / per`, rounded half to even, once, to nano-units. Further models become further variants
//! of [`Price`]'s computation, and their tier and allowance counters belong to the wallet in `wallet.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use serde::Deserialize;

use crate::money::{AMOUNT_INTEGER_DIGITS, mul_div_round, parse_decimal_nano};

/// Prices of shapes that are remembered; beyond it the memory starts anew.
const SHAPES_REMEMBERED: usize = 65_536;

/// What a unit of a metric costs on one line of a rate card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// Names the line in `rate_card_charges`.
    pub price_id: i32,
    /// Nano-units of money.
    pub price: i128,
    /// Nano-units of the metric that the price buys.
    pub per: i128,
}

impl Price {
    /// The fraction is cut down: small numbers multiply and divide several times as fast.
    #[must_use]
    pub fn new(price_id: i32, price: i128, per: i128) -> Self {
        let divisor = greatest_common_divisor(price, per).max(1);
        Self { price_id, price: price / divisor, per: per / divisor }
    }

    /// The charge for a quantity, in nano-units; `None` when it does not fit.
    #[must_use]
    #[inline]
    pub fn charge(&self, quantity: i128) -> Option<i128> {
        mul_div_round(quantity, self.price, self.per)
    }
}

fn greatest_common_divisor(mut left: i128, mut right: i128) -> i128 {
    while right != 0 {
        (left, right) = (right, left % right);
    }
    left
}

/// Why a catalogue was refused.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// Not the JSON that `pricing/catalog.py` writes.
    #[error("malformed catalogue: {0}")]
    Malformed(#[from] serde_json::Error),
    /// An amount in it cannot be read.
    #[error("malformed amount in catalogue: {0}")]
    Amount(String),
    /// A currency that is not three letters.
    #[error("malformed currency in catalogue: {0}")]
    Currency(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireCatalog {
    #[allow(dead_code, reason = "part of the contract, of no use here")]
    tenant_id: i64,
    version: i64,
    currency: String,
    unknown_customers: UnknownCustomers,
    default_overdraft_limit: Option<String>,
    metrics: Vec<WireMetric>,
    rate_cards: Vec<WireCard>,
}

#[derive(Deserialize)]
struct WireMetric {
    id: i32,
    code: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireCard {
    effective_from_us: Option<i64>,
    charges: Vec<WireCharge>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireCharge {
    price_id: i32,
    metric_id: i32,
    #[serde(rename = "match")]
    matches: BTreeMap<String, String>,
    price: String,
    per: String,
}

/// What happens to usage of a customer nobody has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownCustomers {
    /// The customer is made.
    Create,
    /// The event is refused.
    Refuse,
}

#[derive(Debug)]
struct Charge {
    matches: BTreeMap<String, String>,
    price: Price,
}

#[derive(Debug)]
struct RateCard {
    effective_from_us: i64,
    by_metric: HashMap<i32, Vec<Charge>>,
}

/// A metric with its dimensions, priced under every rate card of the tenant.
#[derive(Debug)]
pub struct PricedShape {
    /// `None`: the tenant has no such metric.
    pub metric_id: Option<i32>,
    prices: Vec<Option<Price>>,
}

impl PricedShape {
    /// The price under the card with this index.
    #[must_use]
    #[inline]
    pub fn price(&self, card: usize) -> Option<&Price> {
        self.prices.get(card).and_then(Option::as_ref)
    }
}

/// A tenant's metrics, rate cards and settings.
#[derive(Debug)]
pub struct Catalog {
    /// Grows with every change.
    pub version: i64,
    /// The tenant's currency.
    pub currency: [u8; 3],
    /// Whether usage makes customers.
    pub unknown_customers: UnknownCustomers,
    /// Of new customers; `None`: no floor.
    pub default_overdraft_limit: Option<i128>,
    metrics: HashMap<String, i32>,
    cards: Vec<RateCard>,
    shapes: HashMap<(String, String), Arc<PricedShape>>,
}

fn amount(text: &str) -> Result<i128, CatalogError> {
    parse_decimal_nano(text.as_bytes(), AMOUNT_INTEGER_DIGITS).map_err(|_| CatalogError::Amount(text.to_owned()))
}

/// Three capital letters as bytes.
#[must_use]
pub fn currency_code(text: &str) -> Option<[u8; 3]> {
    let code: [u8; 3] = text.as_bytes().try_into().ok()?;
    code.iter().all(u8::is_ascii_uppercase).then_some(code)
}

impl Catalog {
    /// Reads the JSON of `pricing/catalog.py`.
    ///
    /// # Errors
    /// When it is not that JSON.
    pub fn from_json(json: &[u8]) -> Result<Self, CatalogError> {
        let wire: WireCatalog = serde_json::from_slice(json)?;
        let mut cards = Vec::with_capacity(wire.rate_cards.len());
        for card in wire.rate_cards {
            let mut by_metric: HashMap<i32, Vec<Charge>> = HashMap::new();
            for charge in card.charges {
                let price = Price::new(charge.price_id, amount(&charge.price)?, amount(&charge.per)?);
                by_metric.entry(charge.metric_id).or_default().push(Charge { matches: charge.matches, price });
            }
            for charges in by_metric.values_mut() {
                // The most specific first; a stable sort keeps the card's order among equals.
                charges.sort_by_key(|charge| std::cmp::Reverse(charge.matches.len()));
            }
            cards.push(RateCard { effective_from_us: card.effective_from_us.unwrap_or(i64::MIN), by_metric });
        }
        cards.sort_by_key(|card| card.effective_from_us);
        Ok(Self {
            version: wire.version,
            currency: currency_code(&wire.currency).ok_or_else(|| CatalogError::Currency(wire.currency.clone()))?,
            unknown_customers: wire.unknown_customers,
            default_overdraft_limit: wire.default_overdraft_limit.as_deref().map(amount).transpose()?,
            metrics: wire.metrics.into_iter().map(|metric| (metric.code, metric.id)).collect(),
            cards,
            shapes: HashMap::new(),
        })
    }

    /// The index of the card in force at a moment.
    #[must_use]
    #[inline]
    pub fn card_at(&self, occurred_us: i64) -> Option<usize> {
        self.cards.iter().rposition(|card| card.effective_from_us <= occurred_us)
    }

    /// A metric with canonical dimensions, priced. Remembered, since a product has few shapes and many events.
    pub fn shape(&mut self, metric: &str, dimensions: &str) -> Arc<PricedShape> {
        let key = (metric.to_owned(), dimensions.to_owned());
        if let Some(shape) = self.shapes.get(&key) {
            return Arc::clone(shape);
        }
        let metric_id = self.metrics.get(metric).copied();
        let pairs: BTreeMap<String, String> = serde_json::from_str(dimensions).unwrap_or_default();
        let prices = self
            .cards
            .iter()
            .map(|card| {
                let charges = card.by_metric.get(&metric_id?)?;
                let matching = charges.iter().find(|charge| charge.matches.iter().all(|(name, value)| pairs.get(name) == Some(value)))?;
                Some(matching.price)
            })
            .collect();
        let shape = Arc::new(PricedShape { metric_id, prices });
        if self.shapes.len() >= SHAPES_REMEMBERED {
            self.shapes.clear();
        }
        self.shapes.insert(key, Arc::clone(&shape));
        shape
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(cards: &str) -> Catalog {
        let json = format!(
            r#"{{"tenantId":1,"version":1,"currency":"CNY","unknownCustomers":"create","defaultOverdraftLimit":"0","metrics":[{{"id":1,"code":"tokens_input"}}],"rateCards":{cards}}}"#
        );
        Catalog::from_json(json.as_bytes()).unwrap()
    }

    #[test]
    fn the_most_specific_line_wins_and_an_unmatched_metric_has_no_price() {
        let mut catalog = catalog(
            r#"[{"effectiveFromUs":null,"charges":[
                {"priceId":1,"metricId":1,"match":{},"price":"1","per":"1"},
                {"priceId":2,"metricId":1,"match":{"model":"a"},"price":"2","per":"1"},
                {"priceId":3,"metricId":1,"match":{"model":"a","region":"cn"},"price":"3","per":"1"}]}]"#,
        );
        let price =
            |catalog: &mut Catalog, dimensions: &str| catalog.shape("tokens_input", dimensions).price(0).map(|price| price.price_id);
        assert_eq!(price(&mut catalog, "{}"), Some(1));
        assert_eq!(price(&mut catalog, r#"{"model":"a"}"#), Some(2));
        assert_eq!(price(&mut catalog, r#"{"model":"a","region":"cn"}"#), Some(3));
        assert_eq!(price(&mut catalog, r#"{"model":"b","region":"cn"}"#), Some(1));
        assert!(catalog.shape("images", "{}").metric_id.is_none());
    }

    #[test]
    fn the_card_in_force_at_the_moment_decides() {
        let catalog = catalog(r#"[{"effectiveFromUs":100,"charges":[]},{"effectiveFromUs":null,"charges":[]}]"#);
        assert_eq!(catalog.card_at(99), Some(0));
        assert_eq!(catalog.card_at(100), Some(1));
    }
}
