//! A rate card over past usage: what was charged, and what the card would have charged, by customer, metric and day.
//!
//! Fed with COPY BINARY in any chunking, and in any order unless the card counts: then in the order in which the events were
//! stored, from which the counters of the card are made anew. Such a card is fed all events of the periods in which the span that
//! is looked at begins and ends: those outside of the span move counters and are in no sum. Every event is rated by the code that
//! rates it in the engine ([`rate_event`]); nothing is written. What billing periods ask at their ends counts for those that lie as a
//! whole in the span and are over: in the day with their last moment. Memory grows with customers × metrics × days, not with events.

use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use hashbrown::{Equivalent, HashMap, HashSet};
use serde::{Deserialize, Serialize, Serializer};

use crate::copy::{CopyError, CopyReader, POSTGRES_EPOCH_US, read_int, read_numeric};
use crate::counter::CounterKey;
use crate::money::format_nano;
use crate::rate::{Catalog, CatalogError, PeriodEnd, PricedShape};
use crate::time::format_us;
use crate::usage::{AMOUNT_LIMIT, CHARGE_LIMIT};

const DAY_US: i64 = 86_400_000_000;
/// Metrics with their dimensions that are remembered; beyond it the memory starts anew.
const SHAPES_REMEMBERED: usize = 65_536;
const OUT_OF_RANGE: CopyError = CopyError("a sum that does not fit");

/// Sums over some events.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sums {
    /// Events, those without a price too.
    pub events: u64,
    /// What was charged, nano-units.
    #[serde(serialize_with = "decimal")]
    pub before: i128,
    /// What the card would have charged, nano-units.
    #[serde(serialize_with = "decimal")]
    pub after: i128,
    /// `after − before`.
    #[serde(serialize_with = "decimal")]
    pub difference: i128,
    /// Events that the card would have refused: none of its lines matches them.
    pub unpriced_events: u64,
    /// What was charged for those.
    #[serde(serialize_with = "decimal")]
    pub unpriced_before: i128,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn decimal<S: Serializer>(nano: &i128, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format_nano(*nano))
}

impl Sums {
    fn add(&mut self, other: &Self) -> Result<(), CopyError> {
        self.events += other.events;
        self.before = self.before.checked_add(other.before).ok_or(OUT_OF_RANGE)?;
        self.after = self.after.checked_add(other.after).ok_or(OUT_OF_RANGE)?;
        self.difference = self.after - self.before;
        self.unpriced_events += other.unpriced_events;
        self.unpriced_before = self.unpriced_before.checked_add(other.unpriced_before).ok_or(OUT_OF_RANGE)?;
        Ok(())
    }
}

/// What becomes of one event under a catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rated {
    /// Nano-units.
    Charge(i128),
    /// No line in force matches.
    NoPrice,
    /// The charge cannot be kept.
    OutOfRange,
}

/// What customers used so far, by account.
type Counters = HashMap<(i64, CounterKey), i128>;

/// What a customer used of a line in a period so far: units, and what the events were charged.
type Used = HashMap<(i64, i32, i64, i32), (Arc<PeriodEnd>, i128, i128)>;

/// Rates one event, as `usage.rs` does before it looks at the balance, and counts it. Also how its line is settled, if it is.
#[inline]
fn rate_event(
    shape: &PricedShape,
    counters: &mut Counters,
    account: i64,
    occurred_us: i64,
    quantity: i128,
) -> (Rated, Option<Arc<PeriodEnd>>) {
    let Some(price) = shape.price_at(occurred_us) else { return (Rated::NoPrice, None) };
    let charge = match &price.counting {
        None => price.charge(quantity),
        Some(counting) => {
            let Ok(period_start_us) = counting.periods.start_of(occurred_us) else { return (Rated::OutOfRange, None) };
            let used = counters.entry((account, CounterKey { period_start_us, counter_id: counting.counter_id })).or_default();
            let step = price.charge_counted(counting, *used, quantity);
            step.filter(|(charge, after)| *charge < CHARGE_LIMIT && *after < AMOUNT_LIMIT).map(|(charge, after)| {
                *used = after;
                charge
            })
        }
    };
    (charge.filter(|charge| *charge < CHARGE_LIMIT).map_or(Rated::OutOfRange, Rated::Charge), price.period_end.clone())
}

/// The start of every day of some time zone, from a first day on; the last start ends the day before it.
#[derive(Debug)]
pub struct Days {
    /// Days since 1970-01-01 of the first start.
    first: i64,
    starts: Vec<i64>,
    /// Where the last look-up ended: usage comes nearly in order.
    near: usize,
}

impl Days {
    /// `starts`: microseconds since 1970, never falling. A day that a zone skipped starts when the next one does.
    #[must_use]
    pub const fn new(first: i64, starts: Vec<i64>) -> Self {
        Self { first, starts, near: 0 }
    }

    /// The place of the day in which a moment lies.
    #[inline]
    fn place(&mut self, unix_us: i64) -> Result<u32, CopyError> {
        let inside =
            |starts: &[i64], place: usize| matches!(starts.get(place..place + 2), Some(&[from, to]) if from <= unix_us && unix_us < to);
        if !inside(&self.starts, self.near) {
            let after = self.starts.partition_point(|start| *start <= unix_us);
            self.near =
                after.checked_sub(1).filter(|place| inside(&self.starts, *place)).ok_or(CopyError("a time outside of the days given"))?;
        }
        u32::try_from(self.near).map_err(|_| CopyError("too many days"))
    }

    fn name(&self, place: u32) -> String {
        format_us((self.first + i64::from(place)) * DAY_US).chars().take(10).collect()
    }
}

/// What a simulation needs of a catalogue beside what rates: names, and which product prices what.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireCatalog {
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
    /// Absent: all cards of the tenant are versions of one.
    product_id: Option<String>,
    charges: Vec<WireCharge>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireCharge {
    metric_id: i32,
}

#[derive(Debug, PartialEq, Eq)]
struct ShapeKey {
    metric: i32,
    dimensions: Box<[u8]>,
}

/// A [`ShapeKey`] to look up with, so that an event needs no memory of its own.
struct ShapeRef<'a> {
    metric: i32,
    dimensions: &'a [u8],
}

impl Hash for ShapeKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        ShapeRef { metric: self.metric, dimensions: &self.dimensions }.hash(state);
    }
}

impl Hash for ShapeRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.metric.hash(state);
        self.dimensions.hash(state);
    }
}

impl Equivalent<ShapeKey> for ShapeRef<'_> {
    fn equivalent(&self, key: &ShapeKey) -> bool {
        self.metric == key.metric && *self.dimensions == *key.dimensions
    }
}

/// One group in the answer; what it is a group of is named by those fields that are there.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metric: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    day: Option<String>,
    #[serde(flatten)]
    sums: Sums,
}

/// The result of a simulation.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    #[serde(flatten)]
    total: Sums,
    /// Events whose charge would be too large to be kept: in `events` and `before`, not in `after`.
    out_of_range_events: u64,
    /// Events of metrics that another product prices: in no other number here.
    other_products_events: u64,
    #[serde(serialize_with = "decimal")]
    other_products_before: i128,
    by_metric: Vec<Group>,
    by_day: Vec<Group>,
    /// The largest changes first.
    by_customer: Vec<Group>,
    /// How many there are, of which `by_customer` may be a part.
    customers: usize,
    /// By customer, metric and day, the largest changes first.
    data: Vec<Group>,
    /// How many there are, of which `data` may be a part.
    groups: usize,
}

/// A card over past usage.
#[derive(Debug)]
pub struct Simulation {
    reader: CopyReader,
    after: Catalog,
    codes: HashMap<i32, String>,
    elsewhere: HashSet<i32>,
    days: Days,
    shapes: HashMap<ShapeKey, Arc<PricedShape>>,
    counters: Counters,
    /// By (account, metric, start of the period, line).
    used: Used,
    /// Which periods are settled: those that lie between these moments.
    settled: (i64, i64),
    /// Which events are in the sums, by when they occurred.
    looked_at: Range<i64>,
    /// By (account, metric, day).
    groups: HashMap<(i64, i32, u32), Sums>,
    read: u64,
    out_of_range: u64,
    other: Sums,
}

impl Simulation {
    /// `before`: the tenant's catalogue. `after`: the same with the card under test alone, in force since ever.
    ///
    /// # Errors
    /// When one of them is not the JSON of `pricing/catalog.py`.
    pub fn new(before: &[u8], after: &[u8], days: Days) -> Result<Self, CatalogError> {
        let (known, tested): (WireCatalog, WireCatalog) = (serde_json::from_slice(before)?, serde_json::from_slice(after)?);
        let product = tested.rate_cards.first().and_then(|card| card.product_id.clone());
        let priced =
            |cards: &[WireCard]| -> HashSet<i32> { cards.iter().flat_map(|card| &card.charges).map(|charge| charge.metric_id).collect() };
        let (of_others, own): (Vec<_>, Vec<_>) = known.rate_cards.into_iter().partition(|card| card.product_id != product);
        let mut elsewhere = priced(&of_others);
        for metric in priced(&own).union(&priced(&tested.rate_cards)) {
            elsewhere.remove(metric);
        }
        Ok(Self {
            reader: CopyReader::default(),
            after: Catalog::from_json(after)?,
            codes: known.metrics.into_iter().map(|metric| (metric.id, metric.code)).collect(),
            elsewhere,
            days,
            shapes: HashMap::new(),
            counters: HashMap::new(),
            used: HashMap::new(),
            settled: (0, 0),
            looked_at: i64::MIN..i64::MAX,
            groups: HashMap::new(),
            read: 0,
            out_of_range: 0,
            other: Sums::default(),
        })
    }

    /// The same, settling the periods that lie between these moments.
    #[must_use]
    pub const fn settling(mut self, from_us: i64, to_us: i64) -> Self {
        self.settled = (from_us, to_us);
        self
    }

    /// The same with the events in the sums that occurred then; all others only move counters.
    #[must_use]
    pub const fn looking_at(mut self, occurred_us: Range<i64>) -> Self {
        self.looked_at = occurred_us;
        self
    }

    /// What a period was charged at its end, the last moment of which is given.
    ///
    /// # Errors
    /// When a sum does not fit.
    pub fn period_charge(&mut self, account: i64, metric: i32, last_us: i64, total: i128) -> Result<(), CopyError> {
        let one = Sums { before: total, ..Sums::default() };
        if self.elsewhere.contains(&metric) {
            return self.other.add(&one);
        }
        let day = self.days.place(last_us)?;
        self.groups.entry((account, metric, day)).or_default().add(&one)
    }

    /// Adds what the card asks for the periods at their ends.
    fn settle(&mut self) -> Result<(), CopyError> {
        for ((account, metric, start_us, _), (end, quantity, charged)) in std::mem::take(&mut self.used) {
            let Some(end_us) = end.periods.end_of(start_us).filter(|end_us| self.settled.0 <= start_us && *end_us <= self.settled.1) else {
                continue;
            };
            let Some(total) = end.total(quantity, charged).filter(|total| *total < CHARGE_LIMIT) else { return Err(OUT_OF_RANGE) };
            let day = self.days.place(end_us - 1)?;
            self.groups.entry((account, metric, day)).or_default().add(&Sums { after: total, ..Sums::default() })?;
        }
        Ok(())
    }

    /// Reads events (account, metric, occurred at, quantity, charge, dimensions); returns how many so far.
    ///
    /// # Errors
    /// When the bytes are not those rows, or a sum does not fit.
    pub fn events(&mut self, chunk: &[u8]) -> Result<u64, CopyError> {
        let mut reader = std::mem::take(&mut self.reader);
        reader.feed(chunk);
        let mut ranges = Vec::with_capacity(6);
        while let Some(bytes) = reader.next_row(&mut ranges)? {
            let &[account, metric, occurred, quantity, charge, dimensions] = ranges.as_slice() else {
                return Err(CopyError("not six columns"));
            };
            let field = |range: Option<(usize, usize)>| {
                range.and_then(|(from, to)| bytes.get(from..to)).ok_or(CopyError("NULL where a value must be"))
            };
            self.event(
                read_int(field(account)?)?,
                i32::try_from(read_int(field(metric)?)?).map_err(|_| CopyError("not a metric"))?,
                read_int(field(occurred)?)? + POSTGRES_EPOCH_US,
                read_numeric(field(quantity)?)?,
                read_numeric(field(charge)?)?,
                field(dimensions)?,
            )?;
        }
        self.reader = reader;
        Ok(self.read)
    }

    #[inline]
    fn event(
        &mut self,
        account: i64,
        metric: i32,
        occurred_us: i64,
        quantity: i128,
        before: i128,
        dimensions: &[u8],
    ) -> Result<(), CopyError> {
        self.read += 1;
        let summed = self.looked_at.contains(&occurred_us);
        let mut one = Sums { events: 1, before, ..Sums::default() };
        if self.elsewhere.contains(&metric) {
            return if summed { self.other.add(&one) } else { Ok(()) };
        }
        let (rated, end) = match self.shapes.get(&ShapeRef { metric, dimensions }) {
            Some(shape) => rate_event(shape, &mut self.counters, account, occurred_us, quantity),
            None => {
                let shape = self.shape(metric, dimensions)?;
                rate_event(&shape, &mut self.counters, account, occurred_us, quantity)
            }
        };
        // A period that is settled lies in the span as a whole, so what lies outside is of none.
        if !summed {
            return Ok(());
        }
        match rated {
            Rated::Charge(charge) => {
                one.after = charge;
                if let Some(end) = end {
                    self.use_in_period(end, (account, metric), occurred_us, (quantity, charge))?;
                }
            }
            Rated::NoPrice => (one.unpriced_events, one.unpriced_before) = (1, before),
            Rated::OutOfRange => self.out_of_range += 1,
        }
        let day = self.days.place(occurred_us)?;
        self.groups.entry((account, metric, day)).or_default().add(&one)
    }

    #[inline(never)]
    fn use_in_period(
        &mut self,
        end: Arc<PeriodEnd>,
        (account, metric): (i64, i32),
        occurred_us: i64,
        (quantity, charge): (i128, i128),
    ) -> Result<(), CopyError> {
        let Ok(start_us) = end.periods.start_of(occurred_us) else { return Ok(()) };
        let (_, units, charged) = self.used.entry((account, metric, start_us, end.price_id)).or_insert((end, 0, 0));
        *units = units.checked_add(quantity).ok_or(OUT_OF_RANGE)?;
        *charged = charged.checked_add(charge).ok_or(OUT_OF_RANGE)?;
        Ok(())
    }

    #[cold]
    fn shape(&mut self, metric: i32, dimensions: &[u8]) -> Result<Arc<PricedShape>, CopyError> {
        let code = self.codes.get(&metric).ok_or(CopyError("an unknown metric"))?;
        let text = std::str::from_utf8(dimensions).map_err(|_| CopyError("not UTF-8"))?;
        let shape = self.after.shape(code, text);
        if self.shapes.len() >= SHAPES_REMEMBERED {
            self.shapes.clear();
        }
        self.shapes.insert(ShapeKey { metric, dimensions: dimensions.into() }, Arc::clone(&shape));
        Ok(shape)
    }

    /// Draws the sums. `most`: of customers and of groups by customer, metric and day, those that change most; `None`: all.
    ///
    /// # Errors
    /// When a sum does not fit.
    pub fn finish(mut self, most: Option<usize>) -> Result<Report, CopyError> {
        self.settle()?;
        let mut total = Sums::default();
        let (mut metrics, mut days, mut customers) = (HashMap::new(), HashMap::new(), HashMap::new());
        for (&(account, metric, day), sums) in &self.groups {
            total.add(sums)?;
            metrics.entry(metric).or_insert_with(Sums::default).add(sums)?;
            days.entry(day).or_insert_with(Sums::default).add(sums)?;
            customers.entry(account).or_insert_with(Sums::default).add(sums)?;
        }
        let code = |metric: i32| self.codes.get(&metric).cloned().unwrap_or_default();
        let mut metrics: Vec<_> = metrics.into_iter().collect();
        metrics.sort_unstable_by_key(|(metric, _)| *metric);
        let mut days: Vec<_> = days.into_iter().collect();
        days.sort_unstable_by_key(|(day, _)| *day);
        let (customers, customer_count) = largest(customers, most);
        let (groups, group_count) = largest(self.groups.iter().map(|(key, sums)| (*key, *sums)), most);
        let none = |sums: Sums| Group { account_id: None, metric: None, day: None, sums };
        Ok(Report {
            total,
            out_of_range_events: self.out_of_range,
            other_products_events: self.other.events,
            other_products_before: self.other.before,
            by_metric: metrics.into_iter().map(|(metric, sums)| Group { metric: Some(code(metric)), ..none(sums) }).collect(),
            by_day: days.into_iter().map(|(day, sums)| Group { day: Some(self.days.name(day)), ..none(sums) }).collect(),
            by_customer: customers.into_iter().map(|(account, sums)| Group { account_id: Some(account), ..none(sums) }).collect(),
            customers: customer_count,
            data: groups
                .into_iter()
                .map(|((account, metric, day), sums)| Group {
                    account_id: Some(account),
                    metric: Some(code(metric)),
                    day: Some(self.days.name(day)),
                    sums,
                })
                .collect(),
            groups: group_count,
        })
    }
}

/// Those that change most, the largest change first, equals by their key; and how many there were.
fn largest<K: Ord + Copy>(found: impl IntoIterator<Item = (K, Sums)>, most: Option<usize>) -> (Vec<(K, Sums)>, usize) {
    let mut all: Vec<(K, Sums)> = found.into_iter().collect();
    let count = all.len();
    all.sort_unstable_by_key(|(key, sums)| (std::cmp::Reverse(sums.difference.unsigned_abs()), *key));
    all.truncate(most.unwrap_or(usize::MAX));
    (all, count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::{Buffers, CopyWriter};
    use crate::money::NANO;

    const MIDNIGHT_US: i64 = 1_785_513_600_000_000;

    fn catalog(cards: &str) -> String {
        format!(
            r#"{{"tenantId":1,"version":1,"currency":"CNY","unknownCustomers":"create","defaultOverdraftLimit":"0","metrics":[{{"id":1,"code":"tokens_input"}},{{"id":3,"code":"images"}}],"rateCards":{cards}}}"#
        )
    }

    fn days() -> Days {
        Days::new(20_665, (0..4).map(|day| MIDNIGHT_US + (day - 1) * DAY_US).collect())
    }

    fn row(writer: &mut CopyWriter, account: i64, metric: i32, occurred_us: i64, quantity: i128, charge: i128, dimensions: &str) {
        writer.row(6);
        writer.int8(account);
        writer.int4(metric);
        writer.timestamp(occurred_us);
        writer.numeric(quantity);
        writer.numeric(charge);
        writer.bytes(dimensions.as_bytes());
    }

    const CARD: &str = r#"[{"effectiveFromUs":null,"productId":"prod_a","charges":[
        {"priceId":1,"metricId":1,"match":{},"price":"3","per":"2"},
        {"priceId":2,"metricId":1,"match":{"model":"a"},"price":"1","per":"3"}]}]"#;

    fn run(before: &str, chunk: usize) -> serde_json::Value {
        let mut simulation = Simulation::new(catalog(before).as_bytes(), catalog(CARD).as_bytes(), days()).unwrap();
        let mut writer = Buffers::default().writer(0);
        row(&mut writer, 1000, 1, MIDNIGHT_US - 1, 2 * NANO, NANO, "{}");
        row(&mut writer, 1000, 1, MIDNIGHT_US, NANO, NANO, r#"{"model":"a"}"#);
        row(&mut writer, 1002, 1, MIDNIGHT_US, NANO, 0, r#"{"model":"b"}"#);
        row(&mut writer, 1002, 3, MIDNIGHT_US + DAY_US, NANO, 5 * NANO, "{}");
        let bytes = writer.finish();
        for piece in bytes.chunks(chunk) {
            simulation.events(piece).unwrap();
        }
        serde_json::to_value(simulation.finish(None).unwrap()).unwrap()
    }

    #[test]
    fn sums_by_customer_metric_and_day_in_any_chunking() {
        let report = run("[]", usize::MAX);
        for chunk in [1, 7, 100] {
            assert_eq!(run("[]", chunk), report);
        }
        assert_eq!(report["events"], 4);
        assert_eq!(report["before"], "7");
        assert_eq!(report["after"], "4.833333333");
        assert_eq!(report["difference"], "-2.166666667");
        assert_eq!((&report["unpricedEvents"], &report["unpricedBefore"]), (&1.into(), &"5".into()));
        let names: Vec<_> = report["byDay"].as_array().unwrap().iter().map(|row| row["day"].as_str().unwrap().to_owned()).collect();
        assert_eq!(names, ["2026-07-31", "2026-08-01", "2026-08-02"]);
        assert_eq!(report["byCustomer"][0]["accountId"], 1002);
        assert_eq!(report["byCustomer"][0]["after"], "1.5");
        assert_eq!(report["groups"], 4);
        assert_eq!(report["data"][0]["metric"], "images");
    }

    #[test]
    fn what_another_product_prices_is_left_aside() {
        let other =
            r#"[{"effectiveFromUs":null,"productId":"prod_b","charges":[{"priceId":9,"metricId":3,"match":{},"price":"5","per":"1"}]}]"#;
        let report = run(other, usize::MAX);
        assert_eq!((&report["events"], &report["before"]), (&3.into(), &"2".into()));
        assert_eq!((&report["otherProductsEvents"], &report["otherProductsBefore"]), (&1.into(), &"5".into()));
        assert_eq!(report["unpricedEvents"], 0);
    }

    #[test]
    fn what_lies_outside_of_the_span_moves_counters_alone() {
        let tiered = r#"[{"effectiveFromUs":null,"charges":[{"priceId":1,"metricId":1,"match":{},"model":"graduated","price":"0","per":"1",
            "counterId":1,"tiers":[{"upTo":"3","price":"5","per":"1"},{"upTo":null,"price":"1","per":"1"}]}]}]"#;
        let periods = format!(r#","periods":{{"startsUs":[{},{}]}}}}"#, MIDNIGHT_US - DAY_US, MIDNIGHT_US + 3 * DAY_US);
        let json = catalog(tiered).trim_end_matches('}').to_owned() + &periods;
        let mut simulation =
            Simulation::new(json.as_bytes(), json.as_bytes(), days()).unwrap().looking_at(MIDNIGHT_US..MIDNIGHT_US + DAY_US);
        let mut writer = Buffers::default().writer(0);
        for (occurred_us, charge) in [(MIDNIGHT_US - 1, 10), (MIDNIGHT_US + DAY_US, 6), (MIDNIGHT_US, 2)] {
            row(&mut writer, 1000, 1, occurred_us, 2 * NANO, charge * NANO, "{}");
        }
        simulation.events(&writer.finish()).unwrap();
        let report = serde_json::to_value(simulation.finish(None).unwrap()).unwrap();
        assert_eq!((&report["events"], &report["before"], &report["after"]), (&1.into(), &"2".into(), &"2".into()));
    }

    #[test]
    fn a_time_outside_of_the_days_is_an_error() {
        let mut days = days();
        assert!(days.place(MIDNIGHT_US - DAY_US - 1).is_err());
        assert_eq!(days.place(MIDNIGHT_US - DAY_US).unwrap(), 0);
        assert_eq!(days.place(MIDNIGHT_US + 2 * DAY_US - 1).unwrap(), 2);
        assert!(days.place(MIDNIGHT_US + 2 * DAY_US).is_err());
    }

    #[test]
    fn a_day_that_was_skipped_has_nothing_in_it() {
        let mut days = Days::new(0, vec![0, 10, 10, 20]);
        assert_eq!((days.place(9).unwrap(), days.place(10).unwrap()), (0, 2));
    }
}
