//! Rating: which price an event meets.
//!
//! A tenant's catalogue holds its metrics and rate cards in order of effect. A metric is priced by one product; of that
//! product's cards the one assigned to the customer at `occurredAt` decides, else the default one in force then, and of
//! its lines for the metric in the wallet's currency the most specific match wins. What the line then costs is in
//! `rate/price.rs`, and in `rate/counting.rs` where it depends on what was used in the period; the counters belong to the
//! wallet.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::{Equivalent, HashMap};
use serde::Deserialize;

use self::assignment::{Place, Product, WireAssignment};
use self::shape::CurrencyPrices;
use crate::money::{AMOUNT_INTEGER_DIGITS, parse_decimal_nano};

mod assignment;
mod counting;
mod period_end;
mod price;
mod shape;

pub use assignment::{Assignments, OwnCards};
pub use counting::{Counting, CountingText, MAX_TIERS, Outside, Periods, Tier, TierText};
pub use period_end::{PERIOD_GRACE_US, PeriodEnd, PeriodEndText};
pub use price::{CountingTerms, Model, Price, Terms, TermsError};
pub use shape::PricedShape;

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
    /// An assignment of a card that the catalogue does not have, or has as another product's.
    #[error("account {0} is assigned a card that is not in the catalogue: {1}")]
    Assignment(i64, String),
    /// Periods that do not follow each other.
    #[error("the periods in the catalogue do not rise")]
    Periods,
}

/// Three capital letters of ISO 4217.
pub type Currency = [u8; 3];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireCatalog {
    #[allow(dead_code, reason = "part of the contract, of no use here")]
    tenant_id: i64,
    version: i64,
    currency: String,
    unknown_customers: UnknownCustomers,
    default_overdraft_limit: Option<String>,
    #[serde(default)]
    accrues: bool,
    metrics: Vec<WireMetric>,
    rate_cards: Vec<WireCard>,
    /// In the order in which they were made.
    #[serde(default)]
    assignments: Vec<WireAssignment>,
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
    #[serde(default)]
    rate_card_id: String,
    /// Absent: the tenant's.
    currency: Option<String>,
    #[serde(default)]
    audience: Audience,
    effective_from_us: Option<i64>,
    charges: Vec<WireCharge>,
}

/// Who meets a card.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Audience {
    /// All customers that have no card of their own, while it is in force.
    #[default]
    Everyone,
    /// Only those to whom it is assigned.
    Assigned,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireCharge {
    price_id: i32,
    metric_id: i32,
    /// Absent: the card's.
    currency: Option<String>,
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
    /// Of a package: absent for those of the event.
    blocks: Option<String>,
    minimum_per_period: Option<String>,
    period_quantity_counter_id: Option<i32>,
    period_charge_counter_id: Option<i32>,
}

impl WireCharge {
    fn terms(&self) -> Result<Terms, TermsError> {
        let (percent, minimum) = (self.percent.as_deref(), self.minimum.as_deref());
        let counting = CountingText {
            counter_id: self.counter_id,
            allowance: self.allowance.as_deref(),
            tiers: self.tiers.as_deref(),
            blocks: self.blocks.as_deref(),
        };
        let period_end = PeriodEndText {
            quantity_counter: self.period_quantity_counter_id,
            charge_counter: self.period_charge_counter_id,
            minimum_per_period: self.minimum_per_period.as_deref(),
        };
        let terms = Terms::parse(self.model.as_deref().unwrap_or("per_unit"), &self.price, &self.per, percent, minimum)?;
        terms.counted(&counting)?.settled(&period_end, &counting)
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
    audience: Audience,
    /// Some customer has it as its own.
    assigned: bool,
    by_metric: HashMap<(i32, Currency), MetricLines>,
}

impl RateCard {
    fn price(&self, metric_id: i32, currency: Currency, pairs: &BTreeMap<String, String>) -> Option<Price> {
        self.by_metric.get(&(metric_id, currency))?.find(pairs).cloned()
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

/// A line that is settled at the end of a period, and the card that it is of.
#[derive(Debug)]
struct PeriodLine {
    product: Product,
    card: Place,
    currency: Currency,
    end: Arc<PeriodEnd>,
}

/// A tenant's metrics, rate cards and settings.
#[derive(Debug)]
pub struct Catalog {
    /// Grows with every change.
    pub version: i64,
    /// The tenant's currency.
    pub currency: Currency,
    /// Whether usage makes customers.
    pub unknown_customers: UnknownCustomers,
    /// Of new customers; `None`: no floor.
    pub default_overdraft_limit: Option<i128>,
    /// What grants do not cover is owed unbilled: the merchant bills pay-as-you-go.
    pub accrues: bool,
    /// Whether any line has tiers, an allowance or blocks of the period.
    pub counts: bool,
    /// What each line that counts counts by.
    counting: HashMap<i32, Arc<Counting>>,
    /// How each line is settled that is.
    period_ends: HashMap<i32, Arc<PeriodEnd>>,
    /// The same by the counter of their units, with the cards that they are of.
    period_lines: HashMap<i32, Vec<PeriodLine>>,
    metrics: HashMap<String, i32>,
    /// Customers' own cards.
    pub assignments: Arc<Assignments>,
    /// The cards of each product, in order of effect.
    products: Vec<Vec<RateCard>>,
    /// Which of the products prices a metric.
    priced_by: HashMap<i32, Product>,
    /// Of all lines, the tenant's first.
    currencies: Vec<Currency>,
    shapes: HashMap<ShapeKey, Arc<PricedShape>>,
    prices_remembered: usize,
}

fn amount(text: &str) -> Result<i128, CatalogError> {
    parse_decimal_nano(text.as_bytes(), AMOUNT_INTEGER_DIGITS).map_err(|_| CatalogError::Amount(text.to_owned()))
}

/// Three capital letters as bytes.
#[must_use]
pub fn currency_code(text: &str) -> Option<Currency> {
    let code: Currency = text.as_bytes().try_into().ok()?;
    code.iter().all(u8::is_ascii_uppercase).then_some(code)
}

fn currency(text: &str) -> Result<Currency, CatalogError> {
    currency_code(text).ok_or_else(|| CatalogError::Currency(text.to_owned()))
}

impl Catalog {
    /// Reads the JSON of `pricing/catalog.py`.
    ///
    /// # Errors
    /// When it is not that JSON.
    pub fn from_json(json: &[u8]) -> Result<Self, CatalogError> {
        let wire: WireCatalog = serde_json::from_slice(json)?;
        let tenant_currency = currency(&wire.currency)?;
        let mut currencies = vec![tenant_currency];
        let periods = Periods::new(wire.periods.map(|periods| periods.starts_us).unwrap_or_default()).ok_or(CatalogError::Periods)?;
        let (periods, mut counts, mut counting) = (Arc::new(periods), false, HashMap::new());
        let (mut period_ends, mut period_lines) = (HashMap::new(), HashMap::<i32, Vec<PeriodLine>>::new());
        let mut cards = wire.rate_cards;
        // Stable: of two cards with the same start, the higher version stays behind and counts.
        cards.sort_by_key(|card| card.effective_from_us.unwrap_or(i64::MIN));
        let (mut places, mut products, mut priced_by) = (HashMap::<String, Product>::new(), Vec::<Vec<RateCard>>::new(), HashMap::new());
        let mut by_id = HashMap::<String, (Product, Place)>::new();
        for card in cards {
            let product = *places.entry(card.product_id).or_insert(products.len());
            if product == products.len() {
                products.push(Vec::new());
            }
            let card_currency = card.currency.as_deref().map_or(Ok(tenant_currency), currency)?;
            let mut by_metric: HashMap<(i32, Currency), MetricLines> = HashMap::new();
            for (line, charge) in card.charges.into_iter().enumerate() {
                let terms = charge.terms().map_err(|error| CatalogError::Terms(charge.price_id, error))?;
                counts |= terms.counting.is_some();
                let currency = charge.currency.as_deref().map_or(Ok(card_currency), currency)?;
                if !currencies.contains(&currency) {
                    currencies.push(currency);
                }
                let price = Price::new(charge.price_id, &terms).in_periods(&periods);
                if let Some(line) = &price.counting {
                    counting.insert(charge.price_id, Arc::clone(line));
                }
                if let Some(end) = &price.period_end {
                    period_ends.insert(charge.price_id, Arc::clone(end));
                    let place = products.get(product).map_or(0, Vec::len);
                    period_lines.entry(end.quantity_counter).or_default().push(PeriodLine {
                        product,
                        card: place,
                        currency,
                        end: Arc::clone(end),
                    });
                }
                by_metric.entry((charge.metric_id, currency)).or_default().add(charge.matches, line, price);
                // No card is published that prices a metric of another product; if one were, the first product keeps it.
                priced_by.entry(charge.metric_id).or_insert(product);
            }
            let effective_from_us = card.effective_from_us.unwrap_or(i64::MIN);
            if let Some(cards) = products.get_mut(product) {
                by_id.insert(card.rate_card_id, (product, cards.len()));
                cards.push(RateCard { effective_from_us, audience: card.audience, assigned: false, by_metric });
            }
        }
        let mut assignments = Assignments::default();
        for WireAssignment { account_id, product_id, rate_card_id, effective_from_us } in wire.assignments {
            let product = places.get(&product_id).copied();
            let place = match rate_card_id {
                // A product without cards has nothing that could be met in place of others.
                None => None,
                Some(id) => {
                    let found = by_id.get(&id).filter(|(owner, _)| Some(*owner) == product);
                    let (owner, place) = *found.ok_or(CatalogError::Assignment(account_id, id))?;
                    if let Some(card) = products.get_mut(owner).and_then(|cards| cards.get_mut(place)) {
                        card.assigned = true;
                    }
                    Some(place)
                }
            };
            if let Some(product) = product {
                assignments.add(account_id, product, effective_from_us, place);
            }
        }
        Ok(Self {
            version: wire.version,
            currency: tenant_currency,
            unknown_customers: wire.unknown_customers,
            default_overdraft_limit: wire.default_overdraft_limit.as_deref().map(amount).transpose()?,
            accrues: wire.accrues,
            counts,
            counting,
            period_ends,
            period_lines,
            metrics: wire.metrics.into_iter().map(|metric| (metric.code, metric.id)).collect(),
            assignments: Arc::new(assignments),
            products,
            priced_by,
            currencies,
            shapes: HashMap::new(),
            prices_remembered: 0,
        })
    }

    /// What a line counts by; `None`: it does not count, or is not there.
    #[must_use]
    pub fn counting(&self, price_id: i32) -> Option<&Counting> {
        self.counting.get(&price_id).map(|counting| &**counting)
    }

    /// How a line is settled at the end of a period; `None`: it is not, or is not there.
    #[must_use]
    pub fn period_end(&self, price_id: i32) -> Option<&Arc<PeriodEnd>> {
        self.period_ends.get(&price_id)
    }

    /// The line by which a customer's period is settled: that of the card in force for it at the period's last moment. Where
    /// that has none for the counter any more, that of the card before it, so that what was used while it had one is not free.
    #[must_use]
    pub fn line_at_end(&self, account: i64, currency: Currency, counter_id: i32, period_start_us: i64) -> Option<&Arc<PeriodEnd>> {
        let lines = self.period_lines.get(&counter_id)?;
        let PeriodLine { product, end, .. } = lines.first()?;
        let last_us = end.periods.end_of(period_start_us)? - 1;
        let cards = self.products.get(*product)?;
        let own = self.assignments.of(account);
        let defaults = || cards.iter().enumerate().filter(|(_, card)| card.audience == Audience::Everyone);
        let mut moments: Vec<i64> = defaults().map(|(_, card)| card.effective_from_us).collect();
        moments.extend(own.into_iter().flat_map(|own| own.changes(*product)));
        moments.retain(|moment| *moment < last_us);
        moments.push(last_us);
        moments.sort_unstable_by(|left, right| right.cmp(left));
        moments.into_iter().find_map(|moment| {
            let assigned = own.and_then(|own| own.card_at(*product, moment));
            let default = || defaults().rfind(|(_, card)| card.effective_from_us <= moment).map(|(place, _)| place);
            let card = assigned.or_else(default)?;
            lines.iter().find(|line| line.card == card && line.currency == currency).map(|line| &line.end)
        })
    }

    /// A metric with canonical dimensions, priced. Remembered, since a product has few shapes and many events.
    pub fn shape(&mut self, metric: &str, dimensions: &str) -> Arc<PricedShape> {
        if let Some(shape) = self.shapes.get(&ShapeName { metric, dimensions }) {
            return Arc::clone(shape);
        }
        let metric_id = self.metrics.get(metric).copied();
        let pairs: BTreeMap<String, String> = serde_json::from_str(dimensions).unwrap_or_default();
        let product = metric_id.and_then(|id| self.priced_by.get(&id)).copied().unwrap_or(Product::MAX);
        let cards = self.products.get(product).map_or(&[][..], Vec::as_slice);
        let in_currency = |currency: Currency| {
            let price = |card: &RateCard| card.price(metric_id?, currency, &pairs);
            let default = cards.iter().filter(|card| card.audience == Audience::Everyone);
            let assigned = cards.iter().enumerate().filter(|(_, card)| card.assigned);
            CurrencyPrices {
                currency,
                timeline: default.map(|card| (card.effective_from_us, price(card))).collect(),
                assigned: assigned.map(|(place, card)| (place, price(card))).collect(),
            }
        };
        let prices: Vec<_> = self.currencies.iter().map(|currency| in_currency(*currency)).collect();
        if self.prices_remembered >= PRICES_REMEMBERED {
            self.shapes.clear();
            self.prices_remembered = 0;
        }
        self.prices_remembered += 1 + prices.iter().map(|prices| prices.timeline.len() + prices.assigned.len()).sum::<usize>();
        let shape = Arc::new(PricedShape { metric_id, product, prices });
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
