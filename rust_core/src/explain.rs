//! Why an event costs what it costs: the steps of its price in exact fractions, next to what the engine charges.
//!
//! The steps are worked out in unbounded numbers, without the engine's arithmetic; the charge comes from the engine's own
//! [`Price`]. The two must meet, or there is no explanation.

use num_bigint::BigUint;
use serde::Serialize;

use crate::money::{DecimalError, FRACTION_DIGITS, NANO, QUANTITY_INTEGER_DIGITS, format_nano, parse_decimal_nano};
use crate::rate::{HUNDRED, Model, Price, Terms, TermsError};
use crate::usage::CHARGE_LIMIT;

/// Places behind the point up to which an exact amount is written as a decimal.
const EXACT_PLACES: usize = 18;

/// Named in every explanation.
const ROUNDING: &str = "half to even at 9 decimals";

/// Why there is no explanation.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The line is not one.
    #[error(transparent)]
    Terms(#[from] TermsError),
    /// The quantity cannot be read.
    #[error("quantity {0:?}: {1}")]
    Quantity(String, DecimalError),
    /// An event that is refused has no charge to explain.
    #[error("the charge does not fit")]
    Range,
    /// Never seen: a defect of this program.
    #[error("the steps come to {0}, the engine charges {1}")]
    Disagrees(String, String),
}

/// One line of the calculation.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What is calculated, in words.
    pub what: &'static str,
    /// With the numbers in it.
    pub formula: String,
    /// What it comes to, exactly.
    pub amount: String,
}

/// A charge and how it came about.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// From the quantity to the charge.
    pub steps: Vec<Step>,
    /// Before rounding: a decimal, or a fraction in lowest terms.
    pub exact: String,
    /// After it.
    pub rounded: String,
    /// The rule.
    pub rounding: &'static str,
    /// Whether the minimum is more.
    pub minimum_applied: bool,
    /// What the engine takes.
    pub charge: String,
}

/// A fraction in units of money, in lowest terms.
struct Exact {
    over: BigUint,
    under: BigUint,
}

fn big(value: i128) -> BigUint {
    BigUint::from(value.unsigned_abs())
}

impl Exact {
    fn new(over: BigUint, under: BigUint) -> Self {
        let (mut divisor, mut rest) = (over.clone(), under.clone());
        while rest != BigUint::ZERO {
            (divisor, rest) = (rest.clone(), divisor % rest);
        }
        Self { over: over / &divisor, under: under / divisor }
    }

    fn text(&self) -> String {
        let scaled = &self.over * BigUint::from(10_u8).pow(18);
        if &scaled % &self.under != BigUint::ZERO {
            return format!("{}/{}", self.over, self.under);
        }
        let digits = format!("{:0>width$}", (scaled / &self.under).to_string(), width = EXACT_PLACES + 1);
        let (whole, fraction) = digits.split_at(digits.len() - EXACT_PLACES);
        let fraction = fraction.trim_end_matches('0');
        if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
    }

    /// Half to even, to nano-units.
    fn rounded(&self) -> Option<i128> {
        let nano = &self.over * big(NANO);
        let (mut floor, rest) = (&nano / &self.under, (nano % &self.under) * 2_u8);
        if rest > self.under || (rest == self.under && floor.bit(0)) {
            floor += 1_u8;
        }
        i128::try_from(floor).ok()
    }
}

/// The exact amount and the steps to it.
fn steps(terms: &Terms, quantity: i128) -> (Exact, Vec<Step>) {
    let [price, per, units] = [terms.price, terms.per, quantity].map(format_nano);
    let in_proportion = Exact::new(big(quantity) * big(terms.price), big(terms.per) * big(NANO));
    let step = |what, formula: String, amount: &Exact| Step { what, formula, amount: amount.text() };
    match terms.model {
        Model::PerUnit => {
            let steps = vec![step("quantity × price ÷ per", format!("{units} × {price} ÷ {per}"), &in_proportion)];
            (in_proportion, steps)
        }
        Model::Package => {
            let begun = Exact::new((big(quantity) + big(terms.per) - 1_u8) / big(terms.per), big(1));
            let exact = Exact::new(&begun.over * big(terms.price), big(NANO));
            let steps = vec![
                step("blocks begun: quantity ÷ per, rounded up", format!("⌈{units} ÷ {per}⌉"), &begun),
                step("blocks × price", format!("{} × {price}", begun.text()), &exact),
            ];
            (exact, steps)
        }
        Model::Flat => {
            let exact = Exact::new(big(terms.price), big(NANO));
            let steps = vec![step("price of an event, whatever the quantity", price, &exact)];
            (exact, steps)
        }
        Model::Markup => {
            let percent = terms.percent.unwrap_or_default();
            let exact = Exact::new(&in_proportion.over * (big(HUNDRED) + big(percent)), &in_proportion.under * big(HUNDRED));
            let steps = vec![
                step("cost: quantity × cost ÷ per", format!("{units} × {price} ÷ {per}"), &in_proportion),
                step("cost × (1 + percent ÷ 100)", format!("{} × (1 + {} ÷ 100)", in_proportion.text(), format_nano(percent)), &exact),
            ];
            (exact, steps)
        }
    }
}

/// Explains the charge of an event of this quantity (decimal text) under a line.
///
/// # Errors
/// When the quantity cannot be read, or the charge does not fit.
pub fn explain(terms: &Terms, quantity: &str) -> Result<Explanation, ExplainError> {
    let units = parse_decimal_nano(quantity.as_bytes(), QUANTITY_INTEGER_DIGITS)
        .map_err(|error| ExplainError::Quantity(quantity.to_owned(), error))?;
    let charge = Price::new(0, terms).charge(units).filter(|charge| *charge < CHARGE_LIMIT).ok_or(ExplainError::Range)?;
    let (exact, mut steps) = steps(terms, units);
    let rounded = exact.rounded().ok_or(ExplainError::Range)?;
    let (exact, rounded_text) = (exact.text(), format_nano(rounded));
    if exact != rounded_text {
        let formula = format!("{exact} to {FRACTION_DIGITS} decimals");
        steps.push(Step { what: "rounded half to even", formula, amount: rounded_text.clone() });
    }
    let least = terms.minimum.unwrap_or_default();
    if let Some(minimum) = terms.minimum {
        let formula = format!("the larger of {rounded_text} and {}", format_nano(minimum));
        steps.push(Step { what: "not less than the minimum", formula, amount: format_nano(rounded.max(minimum)) });
    }
    if rounded.max(least) != charge {
        return Err(ExplainError::Disagrees(format_nano(rounded.max(least)), format_nano(charge)));
    }
    Ok(Explanation {
        steps,
        exact,
        rounded: rounded_text,
        rounding: ROUNDING,
        minimum_applied: least > rounded,
        charge: format_nano(charge),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn explained(model: &str, price: &str, per: &str, percent: Option<&str>, minimum: Option<&str>, quantity: &str) -> Explanation {
        explain(&Terms::parse(model, price, per, percent, minimum).unwrap(), quantity).unwrap()
    }

    fn formulas(explanation: &Explanation) -> Vec<(&str, &str)> {
        explanation.steps.iter().map(|step| (step.formula.as_str(), step.amount.as_str())).collect()
    }

    #[test]
    fn a_price_per_unit() {
        let tokens = explained("per_unit", "4.000000000", "1000000", None, None, "1000.000");
        assert_eq!(formulas(&tokens), [("1000 × 4 ÷ 1000000", "0.004")]);
        assert_eq!((tokens.exact.as_str(), tokens.rounded.as_str(), tokens.charge.as_str()), ("0.004", "0.004", "0.004"));
        assert!(!tokens.minimum_applied);
    }

    #[test]
    fn what_is_no_decimal_is_a_fraction_and_its_rounding_a_step() {
        let third = explained("per_unit", "1", "3", None, Some("0.5"), "1");
        let expected = [("1 × 1 ÷ 3", "1/3"), ("1/3 to 9 decimals", "0.333333333"), ("the larger of 0.333333333 and 0.5", "0.5")];
        assert_eq!(formulas(&third), expected);
        assert_eq!((third.exact.as_str(), third.rounded.as_str(), third.charge.as_str()), ("1/3", "0.333333333", "0.5"));
        assert!(third.minimum_applied);
        let fine = explained("per_unit", "0.000000001", "1", None, None, "0.000000001");
        assert_eq!((fine.exact.as_str(), fine.rounded.as_str()), ("0.000000000000000001", "0"));
        let finer = explained("per_unit", "0.000000001", "2", None, None, "0.000000001");
        assert_eq!(finer.exact, "1/2000000000000000000");
    }

    #[test]
    fn blocks_flat_fees_and_mark_ups() {
        let images = explained("package", "100", "500", None, None, "501");
        assert_eq!(formulas(&images), [("⌈501 ÷ 500⌉", "2"), ("2 × 100", "200")]);
        assert_eq!(formulas(&explained("flat", "0.35", "1", None, None, "17")), [("0.35", "0.35")]);
        let marked = explained("markup", "1", "3", Some("50"), Some("0.5"), "1");
        let expected = [("1 × 1 ÷ 3", "1/3"), ("1/3 × (1 + 50 ÷ 100)", "0.5"), ("the larger of 0.5 and 0.5", "0.5")];
        assert_eq!(formulas(&marked), expected);
        assert!(!marked.minimum_applied, "as much as the minimum is not less");
    }

    #[test]
    fn what_the_engine_refuses_has_no_explanation() {
        let terms = Terms::parse("flat", "1", "1", None, None).unwrap();
        for quantity in ["", "-1", "1e3", "1000000000000000000", "0.0000000001"] {
            assert!(matches!(explain(&terms, quantity), Err(ExplainError::Quantity(..))), "{quantity}");
        }
        let dear = Terms::parse("per_unit", "99999999999999", "0.001", None, None).unwrap();
        assert!(matches!(explain(&dear, "999999999999999999"), Err(ExplainError::Range)));
    }

    proptest! {
        #[test]
        fn steps_and_engine_never_disagree(
            model in prop::sample::select(&[Model::PerUnit, Model::Package, Model::Flat, Model::Markup][..]),
            amounts in prop::array::uniform3((0..10_i128.pow(25), 0_u32..84).prop_map(|(value, shift)| value >> shift)),
            minimum in prop::option::of(0..10_i128.pow(12)),
            quantity in (1..10_i128.pow(27), 0_u32..88).prop_map(|(value, shift)| value >> shift),
        ) {
            let [price, per, percent] = amounts;
            let terms = Terms { model, price, per: per.max(1), percent: (model == Model::Markup).then_some(percent), minimum };
            match explain(&terms, &format_nano(quantity)) {
                Ok(explanation) => prop_assert_eq!(explanation.steps.last().map(|step| &step.amount), Some(&explanation.charge)),
                Err(error) => prop_assert!(matches!(error, ExplainError::Range), "{}", error),
            }
        }
    }
}
