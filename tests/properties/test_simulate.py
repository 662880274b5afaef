"""Proves: a simulation charges every stored event what the plain-Python oracle says, and sums it where it belongs."""

from __future__ import annotations

import bisect
import json
import random
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buffmoney import _core
from buffmoney.pricing import simulation
from tests.oracle import (
    AMOUNT_LIMIT,
    Card,
    Charge,
    card_in_force,
    counted_after,
    counter_of,
    matching_charge,
    nano,
    period_of,
    price_of,
    show,
)
from tests.properties.copies import POSTGRES_EPOCH_US, SIGNATURE
from tests.properties.model_run import TENANT_ID, ModelRun
from tests.properties.partition import METRIC_IDS, Row, catalog_json
from tests.workload import METRICS, Assign, ChangeCard, Workload, product_of, rate_card

RUNS = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
SEEDS = st.integers(0, 2**40)
ZONES = ("Asia/Shanghai", "UTC", "America/New_York", "Asia/Kathmandu")
CODES = {number: code for code, number in METRIC_IDS.items()}
EVER = (-(2**63), 2**63 - 1)
Groups = dict[tuple[Any, ...], "Sums"]


@dataclass
class Sums:
    """What the oracle expects of some events, in nano-units."""

    events: int = 0
    before: int = 0
    after: int = 0
    unpriced_events: int = 0
    unpriced_before: int = 0

    def wire(self) -> dict[str, Any]:
        """As the report says it."""
        return {
            "events": self.events,
            "before": show(self.before),
            "after": show(self.after),
            "difference": show(self.after - self.before),
            "unpricedEvents": self.unpriced_events,
            "unpricedBefore": show(self.unpriced_before),
        }


@dataclass
class Expected:
    """The oracle's own simulation: each event rated by itself, with exact fractions."""

    groups: Groups = field(default_factory=lambda: defaultdict(Sums))
    used: defaultdict[tuple[Any, ...], int] = field(default_factory=lambda: defaultdict(int))
    """by account, counter and period, counted anew"""
    others: Sums = field(default_factory=Sums)

    def add(self, row: Row, card: Card, cards: list[Card], zone: str, currency: str) -> None:
        """One stored event. cards: those that were in force."""
        metric = CODES[row["metric_id"]]
        if any(charge.metric == metric for other in cards if other.product != card.product for charge in other.charges):
            self.others.events += 1
            self.others.before += row["charge"]
            return
        in_force = card_in_force([card], row["occurred_at"])
        assert in_force is not None
        charge = matching_charge(in_force, metric, json.loads(row["dimensions"]), currency)
        counter = charge and (row["account_id"], counter_of(in_force, charge), period_of(row["occurred_at"], "Asia/Shanghai", 1))
        after = None
        if charge is not None:
            after = price_of(charge, row["quantity"], self.used[counter])
            self.used[counter] = counted_after(charge, row["quantity"], self.used[counter])
        day = datetime.fromtimestamp(row["occurred_at"] // 10**6, UTC).astimezone(ZoneInfo(zone)).date().isoformat()
        for key in ((), ("metric", metric), ("day", day), ("account", row["account_id"]), (row["account_id"], metric, day)):
            sums = self.groups[key]
            sums.events += 1
            sums.before += row["charge"]
            if after is None:
                sums.unpriced_events += 1
                sums.unpriced_before += row["charge"]
            else:
                sums.after += after


def numeric(value: int) -> bytes:
    """Nano-units as numeric_send lays them out: digits of base 10,000 and the weight of the first."""
    digits, rest = [], value * 1000
    while rest:
        rest, digit = divmod(rest, 10_000)
        digits.append(digit)
    weight = len(digits) - 4
    while digits and digits[0] == 0:
        digits.pop(0)
    words = [len(digits), weight % 65_536, 0, 9, *reversed(digits)]
    return b"".join(word.to_bytes(2, "big") for word in words)


def stream(rows: list[Row]) -> bytes:
    """The rows as COPY BINARY would send them for the simulation's query."""
    out = bytearray(SIGNATURE + bytes(8))
    for row in rows:
        fields = (
            row["account_id"].to_bytes(8, "big"),
            row["metric_id"].to_bytes(4, "big"),
            (row["occurred_at"] - POSTGRES_EPOCH_US).to_bytes(8, "big", signed=True),
            numeric(row["quantity"]),
            numeric(row["charge"]),
            row["dimensions"].encode(),
        )
        out += len(fields).to_bytes(2, "big")
        for one in fields:
            out += len(one).to_bytes(4, "big") + one
    return bytes(out + b"\xff\xff")


def simulate(
    rows: list[Row], before: bytes, after: bytes, zone: str, cut: int, most: int | None = None, looked_at: tuple[int, int] = EVER
) -> dict[str, Any]:
    """The product's simulation of these rows, fed in pieces of `cut` bytes."""
    first_day = (simulation.FIRST_DAY - date(1970, 1, 1)).days
    one = _core.Simulation(before, after, first_day, simulation.day_starts(zone), looked_at=looked_at)
    copied = stream(rows)
    read = 0
    for start in range(0, len(copied), cut):
        read = one.events(copied[start : start + cut])
    assert read == len(rows)
    report: dict[str, Any] = json.loads(one.finish(most))
    return report


def check(report: dict[str, Any], expected: Expected) -> None:
    """Every number of the report is the oracle's, and nothing is missing."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {(): {name: report[name] for name in Sums().wire()}}
    for names, rows in (("metric", "byMetric"), ("day", "byDay"), ("account", "byCustomer")):
        for row in report[rows]:
            found[names, row.pop("accountId" if names == "account" else names)] = row
    for row in report["data"]:
        found[row.pop("accountId"), row.pop("metric"), row.pop("day")] = row
    assert found == {key: sums.wire() for key, sums in expected.groups.items()} | ({} if expected.groups else {(): Sums().wire()})
    assert (report["otherProductsEvents"], report["otherProductsBefore"]) == (expected.others.events, show(expected.others.before))
    assert report["customers"] == len(report["byCustomer"])
    assert report["groups"] == len(report["data"])


def rows_in(run: ModelRun, currency: str) -> list[Row]:
    """The usage of customers of one currency, as the simulation's query gives it."""
    currencies = {row["account_id"]: row["currency"] for row in run.partition.tables.of("customers", TENANT_ID)}
    return [row for row in run.partition.tables.usage_events if currencies[row["account_id"]] == currency]


@RUNS
@given(
    seed=SEEDS,
    zone=st.sampled_from(ZONES),
    cut=st.sampled_from((1, 13, 997, 1 << 20)),
    currency=st.sampled_from(("CNY", "USD")),
)
def test_every_event_is_charged_what_the_oracle_says(seed: int, zone: str, cut: int, currency: str) -> None:
    """Proves: over what the engine stored of any workload, `before` is what it charged and `after` the oracle's price of each event."""
    run = ModelRun(billing="pay-as-you-go")
    run.feed(Workload(seed).steps(40))
    rows = rows_in(run, currency)
    before = run.partition.catalogs[TENANT_ID]
    chooser = random.Random(seed + 1)
    card = rate_card(99, None, 0, chooser, product_of(chooser.choice(METRICS)))
    after = catalog_json(TENANT_ID, 1, [card], "create", None, currency=currency)
    expected = Expected()
    for row in rows:
        expected.add(row, card, run.model.cards, zone, currency)
    check(simulate(rows, before, after, zone, cut), expected)


@RUNS
@given(seed=SEEDS)
def test_the_card_in_force_gives_what_was_charged(seed: int) -> None:
    """Proves: a simulation of the only cards there ever were changes nothing, to the nano-unit, of all usage and of any part of it: what
    lies outside of the part, and late, moves the counters of its periods and is in no sum."""
    run = ModelRun(billing="pay-as-you-go")
    workload = Workload(seed)
    only = (step for step in workload.steps(40) if not isinstance(step, Assign))
    run.feed(step for step in only if not isinstance(step, ChangeCard) or step.card.effective_us is None)
    catalog, rows = run.partition.catalogs[TENANT_ID], rows_in(run, "CNY")
    report = simulate(rows, catalog, catalog, "Asia/Shanghai", 1 << 20)
    assert (report["difference"], report["unpricedEvents"]) == ("0", 0)
    assert report["after"] == report["before"] == show(sum(row["charge"] for row in rows))
    chance = random.Random(seed)
    moments = [moment + step for row in rows for moment in (row["occurred_at"], *run.periods.of(row["occurred_at"])) for step in (0, 1)]
    for _ in range(8 if moments else 0):
        from_us, to_us = sorted(chance.sample(moments, 2))
        check_span(run, rows, catalog, from_us, max(to_us, from_us + 1))


def check_span(run: ModelRun, rows: list[Row], catalog: bytes, from_us: int, to_us: int) -> None:
    """The card in force, tried on a part of what it was charged for, gives that part's charges."""
    card = simulation.Card("in force", [charge for one in json.loads(catalog)["rateCards"] for charge in one["charges"]], "", "CNY")
    read = card.reads(simulation.Span(from_us, to_us), run.periods)
    assert read.from_us is not None
    assert read.to_us is not None
    those = [row for row in rows if read.from_us <= row["occurred_at"] < read.to_us]
    report = simulate(those, catalog, catalog, "Asia/Shanghai", 1 << 20, looked_at=(from_us, to_us))
    within = [row for row in those if from_us <= row["occurred_at"] < to_us]
    assert (report["events"], report["difference"], report["outOfRangeEvents"]) == (len(within), "0", 0)
    assert report["after"] == report["before"] == show(sum(row["charge"] for row in within))


QUANTITIES = st.one_of(st.integers(1, 10**27 - 1), st.integers(1, 10**12), st.sampled_from((1, 10**9, 10**27 - 1)))
PRICES = st.one_of(st.integers(0, 10**20), st.sampled_from((0, 1, 5 * 10**8, 10**9))).map(show)


@RUNS
@given(
    lines=st.lists(st.tuples(QUANTITIES, st.integers(0, 10**27), st.integers(0, 3)), min_size=1, max_size=20),
    price=PRICES,
    per=st.integers(1, 10**18).map(show),
)
def test_the_widest_amounts(lines: list[tuple[int, int, int]], price: str, per: str) -> None:
    """Proves: 18-digit quantities and 9-decimal prices are exact; what is too large to be kept is counted and not summed."""
    card = Card("wide", (Charge("images", price, per),))
    rows: list[Row] = [
        {"account_id": 1000 + 2 * who, "metric_id": 3, "occurred_at": 1_785_513_600_000_000, "quantity": quantity, "charge": charge}
        | {"dimensions": "{}"}
        for quantity, charge, who in lines
    ]
    after = catalog_json(TENANT_ID, 1, [card], "create", None)
    report = simulate(rows, after, after, "UTC", 1 << 20)
    charges = [price_of(card.charges[0], row["quantity"]) for row in rows]
    kept = [charge for charge in charges if charge < AMOUNT_LIMIT]
    assert report["outOfRangeEvents"] == len(charges) - len(kept)
    assert report["after"] == show(sum(kept))
    assert report["before"] == show(sum(row["charge"] for row in rows))


@pytest.mark.parametrize("zone", [*ZONES, "Pacific/Apia", "America/Sao_Paulo", "Africa/Cairo", "Australia/Lord_Howe"])
def test_days_start_where_the_calendar_says(zone: str) -> None:
    """Proves: the table of days puts any moment into the day that the zone's calendar shows, also where clocks leave out midnight."""
    starts = simulation.day_starts(zone)
    assert starts == sorted(starts)
    where, chance = ZoneInfo(zone), random.Random(zone)
    moments = [chance.randrange(starts[0], starts[-1]) for _ in range(2_000)]
    moments += [start + step for start in chance.sample(starts[1:-1], 500) for step in (-1, 0, 1)]
    for moment in moments:
        day = simulation.FIRST_DAY + timedelta(days=bisect.bisect_right(starts, moment) - 1)
        assert day == (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment)).astimezone(where).date(), moment


def test_only_the_largest_changes_are_given_and_counted() -> None:
    """Proves: `most` cuts lists, not sums."""
    card = Card("flat", (Charge("images", "1", "1"),))
    after = catalog_json(TENANT_ID, 1, [card], "create", None)
    rows: list[Row] = [
        {"account_id": 1000 + 2 * who, "metric_id": 3, "occurred_at": 1_785_513_600_000_000, "quantity": nano(str(who + 1)), "charge": 0}
        | {"dimensions": "{}"}
        for who in range(5)
    ]
    report = simulate(rows, after, after, "UTC", 100, most=2)
    assert [(row["accountId"], row["difference"]) for row in report["byCustomer"]] == [(1008, "5"), (1006, "4")]
    assert (report["customers"], report["groups"], len(report["data"]), report["after"]) == (5, 5, 2, "15")


def test_broken_streams_are_refused() -> None:
    """Proves: other bytes, other columns, unknown metrics and other catalogues are errors, not numbers."""
    good = catalog_json(TENANT_ID, 1, [Card("flat", (Charge("images", "1", "1"),))], "create", None)
    days = simulation.day_starts("UTC")
    for bad in (b"", b"{}", b"[]"):
        with pytest.raises(ValueError, match="catalogue"):
            _core.Simulation(bad, good, 10_957, days)
        with pytest.raises(ValueError, match="catalogue"):
            _core.Simulation(good, bad, 10_957, days)
    row: Row = {"account_id": 1000, "metric_id": 77, "occurred_at": 1_785_513_600_000_000, "quantity": 1, "charge": 0, "dimensions": "{}"}
    for bytes_, why in (
        (b"x" * 40, "signature"),
        (stream([row]), "unknown metric"),
        (stream([{**row, "metric_id": 3, "occurred_at": 0}]), "outside of the days"),
        (SIGNATURE + bytes(8) + b"\x00\x01\x00\x00\x00\x00", "six columns"),
    ):
        with pytest.raises(ValueError, match=why):
            _core.Simulation(good, good, 10_957, days).events(bytes_)
    done = _core.Simulation(good, good, 10_957, days)
    done.finish()
    with pytest.raises(RuntimeError):
        done.finish()
