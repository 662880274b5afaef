//! Assignments: which customers meet a rate card of their own in place of their product's default ones.

use hashbrown::HashMap;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WireAssignment {
    pub account_id: i64,
    pub product_id: String,
    /// Null: the product's default cards from then on.
    pub rate_card_id: Option<String>,
    pub effective_from_us: i64,
}

/// A product by its place in the catalogue.
pub type Product = usize;

/// A card by its place among those of its product.
pub type Place = usize;

/// Since when, and which card; `None`: the product's default ones. In order of effect.
type Timeline = Vec<(i64, Option<Place>)>;

/// The assignments of one customer, by product.
#[derive(Debug, Default)]
pub struct OwnCards(Vec<(Product, Timeline)>);

impl OwnCards {
    /// The card that stands in for a product's default ones at a moment.
    #[must_use]
    pub(super) fn card_at(&self, product: Product, occurred_us: i64) -> Option<Place> {
        let (_, timeline) = self.0.iter().find(|(other, _)| *other == product)?;
        timeline.iter().rev().find(|(from_us, _)| *from_us <= occurred_us)?.1
    }

    /// When another card was assigned, or none any more.
    pub(super) fn changes(&self, product: Product) -> impl Iterator<Item = i64> {
        let timeline = self.0.iter().find(move |(other, _)| *other == product).map(|(_, timeline)| timeline.as_slice());
        timeline.unwrap_or_default().iter().map(|(from_us, _)| *from_us)
    }
}

/// The assignments of a tenant, by account.
#[derive(Debug, Default)]
pub struct Assignments(HashMap<i64, OwnCards>);

impl Assignments {
    /// Adds one. Of two with the same start, the one added later counts.
    pub(super) fn add(&mut self, account: i64, product: Product, from_us: i64, card: Option<Place>) {
        let OwnCards(products) = self.0.entry(account).or_default();
        let place = products.iter().position(|(other, _)| *other == product).unwrap_or_else(|| {
            products.push((product, Timeline::new()));
            products.len() - 1
        });
        if let Some((_, timeline)) = products.get_mut(place) {
            let after = timeline.partition_point(|(other_us, _)| *other_us <= from_us);
            timeline.insert(after, (from_us, card));
        }
    }

    /// Those of one customer.
    #[must_use]
    #[inline]
    pub fn of(&self, account: i64) -> Option<&OwnCards> {
        // Most tenants have none at all.
        if self.0.is_empty() { None } else { self.0.get(&account) }
    }
}

#[cfg(test)]
mod tests {
    use crate::rate::{Catalog, CatalogError};

    /// One metric, tokens, sold by the product p; images by the product q.
    fn parse(cards: &str, assignments: &str) -> Result<Catalog, CatalogError> {
        let json = format!(
            r#"{{"tenantId":1,"version":1,"currency":"CNY","unknownCustomers":"create","defaultOverdraftLimit":"0",
                "metrics":[{{"id":1,"code":"tokens"}},{{"id":2,"code":"images"}}],"rateCards":[{cards}],"assignments":[{assignments}]}}"#
        );
        Catalog::from_json(json.as_bytes())
    }

    fn line(price_id: i32, metric_id: i32, more: &str) -> String {
        format!(r#"{{"priceId":{price_id},"metricId":{metric_id},"match":{{}},"price":"1","per":"1"{more}}}"#)
    }

    fn card(id: &str, product: &str, from: &str, more: &str, lines: &[String]) -> String {
        let lines = lines.join(",");
        format!(r#"{{"rateCardId":"{id}","productId":"{product}","effectiveFromUs":{from},"currency":"CNY"{more},"charges":[{lines}]}}"#)
    }

    fn assignment(account: i64, product: &str, card: &str, from_us: i64) -> String {
        format!(r#"{{"accountId":{account},"productId":"{product}","rateCardId":{card},"effectiveFromUs":{from_us}}}"#)
    }

    /// The line that an account with this currency meets.
    fn met(catalog: &mut Catalog, metric: &str, account: i64, currency: &str, at_us: i64) -> Option<i32> {
        let shape = catalog.shape(metric, "{}");
        let currency = currency.as_bytes().try_into().unwrap();
        shape.price_for(currency, catalog.assignments.of(account), at_us).map(|price| price.price_id)
    }

    #[test]
    fn the_wallets_currency_decides_which_line_counts() {
        let general = line(1, 1, "") + "," + &line(2, 1, r#","currency":"USD""#);
        let special = r#"{"priceId":3,"metricId":1,"match":{"model":"a"},"price":"1","per":"1"}"#;
        let cards = [card("v1", "p", "null", "", &[general, special.to_owned()]), card("v2", "p", "100", "", &[line(4, 1, "")])];
        let mut catalog = parse(&cards.join(","), "").unwrap();
        assert_eq!([("CNY", 1), ("USD", 2)].map(|(currency, id)| met(&mut catalog, "tokens", 7, currency, 0) == Some(id)), [true; 2]);
        assert_eq!(met(&mut catalog, "tokens", 7, "EUR", 0), None);
        // A version that has no price in a currency leaves its customers without one: the version before does not live on.
        assert_eq!(["CNY", "USD"].map(|currency| met(&mut catalog, "tokens", 7, currency, 100)), [Some(4), None]);
        // A more specific line of another currency is not there.
        let shape = catalog.shape("tokens", r#"{"model":"a"}"#);
        let found = [*b"CNY", *b"USD"].map(|currency| shape.price_for(currency, None, 0).map(|price| price.price_id));
        assert_eq!(found, [Some(3), Some(2)]);
        assert_eq!(shape.price_at(0).map(|price| price.price_id), Some(3));
    }

    #[test]
    fn a_line_without_a_currency_has_its_cards_and_the_card_the_tenants() {
        let dollars = card("v1", "p", "null", "", &[line(1, 1, "")]).replace("CNY", "USD");
        let mut catalog = parse(&dollars, "").unwrap();
        assert_eq!(["CNY", "USD"].map(|currency| met(&mut catalog, "tokens", 7, currency, 0)), [None, Some(1)]);
        let mut catalog = parse(&dollars.replace(r#""currency":"USD","#, ""), "").unwrap();
        assert_eq!(["CNY", "USD"].map(|currency| met(&mut catalog, "tokens", 7, currency, 0)), [Some(1), None]);
    }

    #[test]
    fn an_assigned_card_counts_from_its_moment_on_for_its_customer_and_product_alone() {
        let cards = [
            card("v1", "p", "null", "", &[line(1, 1, "")]),
            card("v2", "p", "100", "", &[line(2, 1, "")]),
            card("own", "p", "50", r#","audience":"assigned""#, &[line(3, 1, "")]),
            card("q1", "q", "null", "", &[line(4, 2, "")]),
        ];
        let assignments = [
            assignment(7, "p", r#""own""#, 60),
            assignment(7, "p", "null", 200),
            // A pinned version, also before it is everybody's; the one made later counts.
            assignment(8, "p", r#""own""#, 60),
            assignment(8, "p", r#""v2""#, 60),
        ];
        let mut catalog = parse(&cards.join(","), &assignments.join(",")).unwrap();
        let mut at = |metric, account| [0, 50, 60, 100, 199, 200].map(|at_us| met(&mut catalog, metric, account, "CNY", at_us).unwrap());
        assert_eq!(at("tokens", 7), [1, 1, 3, 3, 3, 2]);
        assert_eq!(at("tokens", 8), [1, 1, 2, 2, 2, 2]);
        assert_eq!(at("tokens", 9), [1, 1, 1, 2, 2, 2]);
        assert_eq!(at("images", 7), [4; 6]);
        // An own card without a price in the wallet's currency does not fall back to the default ones.
        assert_eq!(met(&mut catalog, "tokens", 7, "USD", 100), None);
    }

    #[test]
    fn an_assignment_of_what_is_not_there_is_refused() {
        let cards = [card("v1", "p", "null", "", &[line(1, 1, "")]), card("q1", "q", "null", "", &[line(2, 2, "")])].join(",");
        for wrong in [assignment(7, "p", r#""v9""#, 0), assignment(7, "p", r#""q1""#, 0), assignment(7, "r", r#""v1""#, 0)] {
            assert!(matches!(parse(&cards, &wrong), Err(CatalogError::Assignment(7, _))), "{wrong}");
        }
        // The default cards of a product that has none yet.
        assert!(parse(&cards, &assignment(7, "r", "null", 0)).is_ok());
    }
}
