//! Rating: which price an event meets.
//!
//! A tenant's catalogue holds its metrics and rate cards in order of effect. A metric is priced by one product; of that
//! product's cards the one in force at `occurredAt` decides, and of its lines for the metric the most specific match
//! wins. What the line then costs is in `rate/price.rs`, and in `rate/counting.rs` where it depends on what was used in the
//! period; the counters belong to the wallet.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::{Equivalent, HashMap};
use serde::Deserialize;

use crate::money::{AMOUNT_INTEGER_DIGITS, parse_decimal_nano};

mod counting;
mod price;

pub use counting::{Counting, CountingText, MAX_TIERS, Outside, Periods, Tier, TierText};
pub use price::{CountingTerms, Model, Price, Terms, TermsError};

/// Prices of shapes that are remembered, each under every card; beyond it the memory starts anew.
const PRICES_REMEMBERED: usize = 131_072;

/// Why a catalogue was refused.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// Not the JSON that `pricing/catalog.py` writes.
    #[error("malformed catalogue: {0}")]
    Malformed(#[from] serde_json::Error),
    /// An amount in it cannot be read.
    #[error("malformed amount in catalogue: {0}")]
    Amount(String),
    /// The terms of a line do not fit together.
    #[error("price {0} in catalogue: {1}")]
    Terms(i32, TermsError),
    /// A currency that is not three letters.
    #[error("malformed currency in catalogue: {0}")]
    Currency(String),
    /// Periods that do not follow each other.
    #[error("the periods in the catalogue do not rise")]
    Periods,
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
    /// Absent: no line counts.
    periods: Option<WirePeriods>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WirePeriods {
    starts_us: Vec<i64>,
}

#[derive(Deserialize)]
struct WireMetric {
    id: i32,
    code: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireCard {
    /// Absent: all cards of the tenant are versions of one.
    #[serde(default)]
    product_id: String,
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
    model: Option<String>,
    price: String,
    per: String,
    percent: Option<String>,
    minimum: Option<String>,
    counter_id: Option<i32>,
    allowance: Option<String>,
    tiers: Option<Vec<TierText>>,
}

impl WireCharge {
    fn terms(&self) -> Result<Terms, TermsError> {
        let (percent, minimum) = (self.percent.as_deref(), self.minimum.as_deref());
        let counting = CountingText { counter_id: self.counter_id, allowance: self.allowance.as_deref(), tiers: self.tiers.as_deref() };
        Terms::parse(self.model.as_deref().unwrap_or("per_unit"), &self.price, &self.per, percent, minimum)?.counted(&counting)
    }
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

/// The lines of a card that match on the same dimensions, by the values they match.
#[derive(Debug)]
struct Lines {
    names: Vec<String>,
    by_values: HashMap<String, (usize, Price)>,
}

/// The lines of a card for one metric, the most specific first.
#[derive(Debug, Default)]
struct MetricLines(Vec<Lines>);

/// Values as one key: each with its length before it, so that no two lists have the same.
fn values_key<'a>(values: impl Iterator<Item = &'a String>) -> String {
    values.fold(String::new(), |key, value| key + &value.len().to_string() + ":" + value)
}

impl MetricLines {
    fn add(&mut self, matches: BTreeMap<String, String>, line: usize, price: Price) {
        let key = values_key(matches.values());
        let names: Vec<String> = matches.into_keys().collect();
        let place = self.0.iter().position(|lines| lines.names == names).unwrap_or_else(|| {
            let place = self.0.partition_point(|lines| lines.names.len() >= names.len());
            self.0.insert(place, Lines { names, by_values: HashMap::new() });
            place
        });
        if let Some(lines) = self.0.get_mut(place) {
            // Of two lines that match the same, which no published card has, the first counts.
            lines.by_values.entry(key).or_insert((line, price));
        }
    }

    /// The most specific line that matches, of equals the first of the card: a look-up for each set of names, however
    /// many lines there are.
    fn find(&self, pairs: &BTreeMap<String, String>) -> Option<&Price> {
        let mut best: Option<(usize, usize, &Price)> = None;
        for lines in &self.0 {
            let specific = lines.names.len();
            if best.is_some_and(|(found, ..)| found > specific) {
                break;
            }
            let values: Option<Vec<&String>> = lines.names.iter().map(|name| pairs.get(name)).collect();
            let Some(values) = values else { continue };
            if let Some((line, price)) = lines.by_values.get(&values_key(values.into_iter()))
                && best.is_none_or(|(_, first, _)| *line < first)
            {
                best = Some((specific, *line, price));
            }
        }
        best.map(|(.., price)| price)
    }
}

#[derive(Debug)]
struct RateCard {
    effective_from_us: i64,
    by_metric: HashMap<i32, MetricLines>,
}

/// A metric with its dimensions, priced under every rate card of the product that prices the metric.
#[derive(Debug)]
pub struct PricedShape {
    /// `None`: the tenant has no such metric.
    pub metric_id: Option<i32>,
    /// Since when, and the price then; in order of effect.
    prices: Vec<(i64, Option<Price>)>,
}

impl PricedShape {
    /// The price in force at a moment.
    #[must_use]
    #[inline]
    pub fn price_at(&self, occurred_us: i64) -> Option<&Price> {
        // Most usage is young, so the newest cards are asked first.
        self.prices.iter().rev().find(|(from_us, _)| *from_us <= occurred_us)?.1.as_ref()
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ShapeKey {
    metric: Box<str>,
    dimensions: Box<str>,
}

/// A [`ShapeKey`] that nobody had to copy. Must hash as that does: the same fields in the same order.
#[derive(Hash)]
struct ShapeName<'a> {
    metric: &'a str,
    dimensions: &'a str,
}

impl Equivalent<ShapeKey> for ShapeName<'_> {
    fn equivalent(&self, key: &ShapeKey) -> bool {
        *self.metric == *key.metric && *self.dimensions == *key.dimensions
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
    /// Whether any line has tiers or an allowance.
    pub counts: bool,
    metrics: HashMap<String, i32>,
    /// The cards of each product, in order of effect.
    timelines: Vec<Vec<RateCard>>,
    /// Which of the timelines prices a metric.
    priced_by: HashMap<i32, usize>,
    shapes: HashMap<ShapeKey, Arc<PricedShape>>,
    prices_remembered: usize,
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
        let periods = Periods::new(wire.periods.map(|periods| periods.starts_us).unwrap_or_default()).ok_or(CatalogError::Periods)?;
        let (periods, mut counts) = (Arc::new(periods), false);
        let mut cards = wire.rate_cards;
        // Stable: of two cards with the same start, the one made later stays behind and counts.
        cards.sort_by_key(|card| card.effective_from_us.unwrap_or(i64::MIN));
        let (mut places, mut timelines, mut priced_by) = (HashMap::new(), Vec::<Vec<RateCard>>::new(), HashMap::new());
        for card in cards {
            let place = *places.entry(card.product_id).or_insert(timelines.len());
            let mut by_metric: HashMap<i32, MetricLines> = HashMap::new();
            for (line, charge) in card.charges.into_iter().enumerate() {
                let terms = charge.terms().map_err(|error| CatalogError::Terms(charge.price_id, error))?;
                counts |= terms.counting.is_some();
                let price = Price::new(charge.price_id, &terms).in_periods(&periods);
                by_metric.entry(charge.metric_id).or_default().add(charge.matches, line, price);
                // No card is published that prices a metric of another product; if one were, the first product keeps it.
                priced_by.entry(charge.metric_id).or_insert(place);
            }
            let card = RateCard { effective_from_us: card.effective_from_us.unwrap_or(i64::MIN), by_metric };
            match timelines.get_mut(place) {
                Some(timeline) => timeline.push(card),
                None => timelines.push(vec![card]),
            }
        }
        Ok(Self {
            version: wire.version,
            currency: currency_code(&wire.currency).ok_or_else(|| CatalogError::Currency(wire.currency.clone()))?,
            unknown_customers: wire.unknown_customers,
            default_overdraft_limit: wire.default_overdraft_limit.as_deref().map(amount).transpose()?,
            counts,
            metrics: wire.metrics.into_iter().map(|metric| (metric.code, metric.id)).collect(),
            timelines,
            priced_by,
            shapes: HashMap::new(),
            prices_remembered: 0,
        })
    }

    /// A metric with canonical dimensions, priced. Remembered, since a product has few shapes and many events.
    pub fn shape(&mut self, metric: &str, dimensions: &str) -> Arc<PricedShape> {
        if let Some(shape) = self.shapes.get(&ShapeName { metric, dimensions }) {
            return Arc::clone(shape);
        }
        let metric_id = self.metrics.get(metric).copied();
        let pairs: BTreeMap<String, String> = serde_json::from_str(dimensions).unwrap_or_default();
        let timeline = metric_id.and_then(|id| self.timelines.get(*self.priced_by.get(&id)?));
        let price = |card: &RateCard| card.by_metric.get(&metric_id?)?.find(&pairs).cloned();
        let prices: Vec<_> = timeline.into_iter().flatten().map(|card| (card.effective_from_us, price(card))).collect();
        if self.prices_remembered >= PRICES_REMEMBERED {
            self.shapes.clear();
            self.prices_remembered = 0;
        }
        self.prices_remembered += 1 + prices.len();
        let shape = Arc::new(PricedShape { metric_id, prices });
        self.shapes.insert(ShapeKey { metric: metric.into(), dimensions: dimensions.into() }, Arc::clone(&shape));
        shape
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = r#"[{"id":1,"code":"tokens_input"},{"id":2,"code":"images"}]"#;

    fn parse(cards: &str) -> Result<Catalog, CatalogError> {
        let json = format!(
            r#"{{"tenantId":1,"version":1,"currency":"CNY","unknownCustomers":"create","defaultOverdraftLimit":"0","metrics":{METRICS},"rateCards":{cards}}}"#
        );
        Catalog::from_json(json.as_bytes())
    }

    /// The line that prices usage of a metric with these dimensions at a moment.
    fn price_id(catalog: &mut Catalog, metric: &str, dimensions: &str, at_us: i64) -> Option<i32> {
        catalog.shape(metric, dimensions).price_at(at_us).map(|price| price.price_id)
    }

    #[test]
    fn the_most_specific_line_wins_and_an_unmatched_metric_has_no_price() {
        let mut catalog = parse(
            r#"[{"effectiveFromUs":null,"charges":[
                {"priceId":1,"metricId":1,"match":{},"price":"1","per":"1"},
                {"priceId":2,"metricId":1,"match":{"model":"a"},"price":"2","per":"1"},
                {"priceId":3,"metricId":1,"match":{"model":"a","region":"cn"},"price":"3","per":"1"}]}]"#,
        )
        .unwrap();
        let mut price = |dimensions: &str| price_id(&mut catalog, "tokens_input", dimensions, 0);
        assert_eq!(price("{}"), Some(1));
        assert_eq!(price(r#"{"model":"a"}"#), Some(2));
        assert_eq!(price(r#"{"model":"a","region":"cn"}"#), Some(3));
        assert_eq!(price(r#"{"model":"b","region":"cn"}"#), Some(1));
        assert_eq!(price(r#"{"model":"a","region":"cn","tier":"x"}"#), Some(3));
        assert_eq!(price(r#"{"region":"cn"}"#), Some(1));
        assert!(catalog.shape("storage_gb", "{}").metric_id.is_none());
        assert_eq!(catalog.shape("images", "{}").metric_id, Some(2));
        assert_eq!(price_id(&mut catalog, "images", "{}", 0), None);
    }

    #[test]
    fn of_equally_specific_lines_the_first_wins() {
        let mut catalog = parse(
            r#"[{"effectiveFromUs":null,"charges":[
                {"priceId":1,"metricId":1,"match":{"region":"cn"},"price":"1","per":"1"},
                {"priceId":2,"metricId":1,"match":{"model":"a"},"price":"2","per":"1"},
                {"priceId":3,"metricId":1,"match":{"model":"a"},"price":"3","per":"1"},
                {"priceId":4,"metricId":1,"match":{"a":"1","b":"2"},"price":"1","per":"1"},
                {"priceId":5,"metricId":1,"match":{"a":"1:2","b":""},"price":"1","per":"1"}]}]"#,
        )
        .unwrap();
        let mut price = |dimensions: &str| price_id(&mut catalog, "tokens_input", dimensions, 0);
        assert_eq!(price(r#"{"model":"a","region":"cn"}"#), Some(1));
        assert_eq!(price(r#"{"model":"a","region":"eu"}"#), Some(2));
        assert_eq!(price(r#"{"a":"1","b":"2"}"#), Some(4));
        assert_eq!(price(r#"{"a":"1:2","b":""}"#), Some(5));
        assert_eq!(price(r#"{"a":"1","b":"3"}"#), None);
    }

    #[test]
    fn the_card_in_force_at_the_moment_decides() {
        let line = |id: i32| format!(r#"[{{"priceId":{id},"metricId":1,"match":{{}},"price":"1","per":"1"}}]"#);
        let mut catalog = parse(&format!(
            r#"[{{"effectiveFromUs":100,"charges":{}}},{{"effectiveFromUs":null,"charges":{}}},{{"effectiveFromUs":200,"charges":[]}},
                {{"effectiveFromUs":300,"charges":{}}},{{"effectiveFromUs":300,"charges":{}}}]"#,
            line(1),
            line(2),
            line(3),
            line(4)
        ))
        .unwrap();
        let found = [i64::MIN, 99, 100, 199, 200, 299, 300].map(|at_us| price_id(&mut catalog, "tokens_input", "{}", at_us));
        assert_eq!(found, [Some(2), Some(2), Some(1), Some(1), None, None, Some(4)]);
    }

    #[test]
    fn another_products_cards_do_not_count() {
        let card = |product: &str, from: &str, price_id: i32, metric: i32| {
            format!(
                r#"{{"productId":"{product}","effectiveFromUs":{from},"charges":[{{"priceId":{price_id},"metricId":{metric},"match":{{}},"price":"1","per":"1"}}]}}"#
            )
        };
        let cards = [card("a", "null", 1, 1), card("b", "100", 2, 2), card("a", "200", 3, 1), card("b", "300", 4, 2)];
        let mut catalog = parse(&format!("[{}]", cards.join(","))).unwrap();
        let mut prices = |metric: &str| [0, 100, 200, 300].map(|at_us| price_id(&mut catalog, metric, "{}", at_us));
        assert_eq!(prices("tokens_input"), [Some(1), Some(1), Some(3), Some(3)]);
        assert_eq!(prices("images"), [None, Some(2), Some(2), Some(4)]);
    }

    #[test]
    fn a_line_has_a_model_and_contradictions_are_refused_by_name() {
        let card = |line: &str| format!(r#"[{{"effectiveFromUs":null,"charges":[{{"priceId":8,"metricId":1,"match":{{}},{line}}}]}}]"#);
        let charge = |line: &str, quantity: i128| {
            parse(&card(line)).unwrap().shape("tokens_input", "{}").price_at(0).unwrap().charge(quantity * 1_000_000_000).unwrap()
        };
        assert_eq!(charge(r#""price":"3","per":"1000""#, 1), 3_000_000);
        assert_eq!(charge(r#""model":"package","price":"3","per":"1000","percent":null,"minimum":null"#, 1_001), 6_000_000_000);
        assert_eq!(charge(r#""model":"flat","price":"3","per":"1","minimum":"4""#, 9), 4_000_000_000);
        assert_eq!(charge(r#""model":"markup","price":"3","per":"1000","percent":"12.5""#, 1), 3_375_000);
        let refused = parse(&card(r#""model":"tiers","price":"3","per":"1""#)).unwrap_err();
        assert_eq!(refused.to_string(), r#"price 8 in catalogue: unknown pricing model "tiers""#);
    }
}
