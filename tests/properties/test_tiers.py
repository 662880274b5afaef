"""Proves: tiers and allowances charge through the engine what the oracle says, whatever comes between two events of a period."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buffmoney.base.money import from_nano
from buffmoney.base.periods import Periods, Setting
from buffmoney.pricing.explain import explain
from tests import by_hand
from tests.oracle import NANO, Card, Charge, Outcome, Usage, exact_after, nano, period_of, price_of, round_half_even, show
from tests.properties.model_run import TENANT_ID, ModelRun, reply_outcomes
from tests.properties.partition import catalog_json
from tests.properties.test_models import LARGEST, line_of, positive
from tests.workload import START_US, Batch, ChangeCard, Configure, PassTime, Step

RUNS = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
FEWER = settings(RUNS, max_examples=80)
DAY_US = 86_400 * 10**6
ZONES = ("Asia/Shanghai", "UTC", "America/New_York", "Asia/Kathmandu", "Pacific/Auckland")
PERIODS = st.builds(lambda *place: Periods((Setting(*place),)), st.sampled_from(ZONES), st.sampled_from((1, 1, 15, 28, 29, 30, 31)))


@st.composite
def tiered(draw: st.DrawFn) -> Charge:
    """A line that counts, of any model that can, of any amounts that a card may have."""
    model = draw(st.sampled_from(("graduated", "graduated", "per_unit", "package", "markup")))
    minimum = show(draw(positive)) if draw(st.integers(0, 3)) == 0 else None
    allowance = show(draw(positive)) if model != "graduated" or draw(st.booleans()) else None
    if model == "package" and draw(st.booleans()):
        return Charge(
            "images",
            show(draw(positive)),
            show(draw(positive)),
            {},
            model,
            allowance=draw(st.sampled_from((None, allowance))),
            blocks="period",
        )
    if model != "graduated":
        percent = show(draw(positive)) if model == "markup" else None
        return Charge("images", show(draw(positive)), show(draw(positive)), {}, model, percent, minimum, allowance)
    ends = sorted(draw(st.sets(positive, max_size=6)))
    tiers = [(show(end), show(draw(positive)), show(draw(positive))) for end in ends]
    return Charge("images", "0", "1", {}, model, None, minimum, allowance, (*tiers, (None, show(draw(positive)), show(draw(positive)))))


def edges_of(line: Charge) -> list[int]:
    """Where a counter stands when the allowance is used up, and when each tier is."""
    free = nano(line.allowance or "0")
    if line.buys_blocks:
        return [free + nano(line.per) * count for count in range(0 if free else 1, 4)]
    return [edge for edge in (free, *(free + nano(up_to) for up_to, _, _ in line.tiers if up_to)) if edge]


def steps_to_edges(line: Charge, nudges: list[int]) -> list[int]:
    """Quantities that bring a counter to each edge in turn, one nano-unit before it or one behind it."""
    quantities, at = [], 0
    for edge, nudge in zip(edges_of(line), nudges, strict=False):
        if at < edge + nudge <= LARGEST:
            quantities.append(edge + nudge - at)
            at = edge + nudge
    return quantities


def usage(number: int, quantity: int, occurred_us: int = START_US, customer: str = "acme", **dimensions: str) -> Usage:
    """An event of images."""
    return Usage(customer, f"key-{number}", "images", quantity, occurred_us, tuple(sorted(dimensions.items())))


def batches(events: list[Usage], chooser: random.Random) -> list[Step]:
    """The events in batches of any size."""
    found: list[Step] = []
    while events:
        size = chooser.randint(1, 5)
        found.append(Batch(tuple(events[:size])))
        events = events[size:]
    return found


@RUNS
@given(line=tiered(), quantities=st.lists(positive, max_size=5), nudges=st.lists(st.sampled_from((-1, 0, 1)), min_size=7, max_size=7))
def test_any_tiers_and_allowance_charge_as_the_oracle_does(line: Charge, quantities: list[int], nudges: list[int]) -> None:
    """Proves: outcome, charge and counter equal the oracle's at edges of tiers and allowances, for 18 digits and nine decimals."""
    run = ModelRun(billing="pay-as-you-go")
    events = [usage(number, quantity) for number, quantity in enumerate([*steps_to_edges(line, nudges), *quantities])]
    run.feed([ChangeCard(Card("one", (line,))), Batch(tuple(events) or (usage(99, NANO),))])


@RUNS
@given(line=tiered(), before=st.integers(-LARGEST, LARGEST), quantity=positive)
def test_every_charge_of_a_line_that_counts_can_be_worked_out_by_hand(line: Charge, before: int, quantity: int) -> None:
    """Proves: each formula of the explanation gives its amount, tiers add up to the billable quantity, and the charge is the oracle's."""
    # Only a counter of blocks can be below zero.
    before = before if line.buys_blocks else abs(before)
    found = explain(line_of(line), from_nano(quantity), from_nano(before))
    wire: dict[str, Any] = {"model": line.model, "per": line.per, "price": line.price, "cost": line.price, "percent": line.percent}
    wire |= {"minimum": line.minimum, "allowance": line.allowance, "blocks": line.blocks}
    wire["tiers"] = [{"upTo": up_to, "price": price, "per": per} for up_to, price, per in line.tiers]
    wire = {name: value for name, value in wire.items() if value is not None}
    assert by_hand.check(msgspec.to_builtins(found)) == by_hand.charge_of(wire, show(quantity), show(before))
    assert nano(found.charge) == price_of(line, quantity, before)
    if line.tiers:
        assert sum((Decimal(tier.quantity) for tier in found.tiers), Decimal(0)) == Decimal(found.billable)
    if not line.buys_blocks and exact_after(line, quantity, before) is None:
        assert (found.charge, found.billable, found.minimum_applied) == ("0", "0", False)


@RUNS
@given(
    line=tiered(),
    periods=PERIODS,
    events=st.lists(st.tuples(positive, st.integers(-34 * DAY_US, 0), st.integers(0, 2)), min_size=1, max_size=14),
    seed=st.integers(0, 2**32),
)
def test_late_events_count_in_the_period_in_which_they_occurred(
    line: Charge, periods: Periods, events: list[tuple[int, int, int]], seed: int
) -> None:
    """Proves: with any zone and anchor day, events of two or three periods in any order move each its own counter and change no other."""
    chooser = random.Random(seed)
    run = ModelRun(billing="pay-as-you-go", periods=periods, group_size=chooser.randint(1, 4))
    sent = [usage(number, quantity, START_US + age, f"c{who}") for number, (quantity, age, who) in enumerate(events)]
    run.feed([ChangeCard(Card("one", (line,))), *batches(sent, chooser)])


@FEWER
@given(lines=st.lists(tiered(), min_size=2, max_size=4), quantities=st.lists(positive, min_size=2, max_size=16), seed=st.integers(0, 2**32))
def test_a_new_version_goes_on_with_the_counter(lines: list[Charge], quantities: list[int], seed: int) -> None:
    """Proves: versions that change tiers, allowance or model within a period count on; a line with another match has its own counter."""
    chooser = random.Random(seed)
    run = ModelRun(billing="pay-as-you-go")
    sent = [usage(number, quantity, region=chooser.choice(("cn", "eu"))) for number, quantity in enumerate(quantities)]
    for version, line in enumerate(lines):
        special = (replace(line, match={"region": "eu"}),) if chooser.random() < 0.5 else ()
        card = Card(f"v{version}", (line, *special), effective_us=None if version == 0 else START_US - len(lines) + version)
        share, sent = sent[: len(sent) // 2 + 1], sent[len(sent) // 2 + 1 :]
        run.feed([ChangeCard(card), *batches(share, chooser)])


@FEWER
@given(
    line=tiered(),
    quantities=st.lists(positive, min_size=3, max_size=16),
    seed=st.integers(0, 2**32),
    billing=st.sampled_from(("prepaid", "pay-as-you-go")),
)
def test_restarts_and_undone_groups_lose_no_count(line: Charge, quantities: list[int], seed: int, billing: str) -> None:
    """Proves: an engine that starts anew, evicts, or takes groups back goes on exactly where the ledger is."""
    chooser = random.Random(seed)
    run = ModelRun(billing=billing, max_wallets=1, recent_keys=64, group_size=2)
    run.feed([ChangeCard(Card("one", (line,)))])
    names = [f"c{number}" for number in range(5)]
    for name in names:
        run.feed([Configure(name, f"{names.index(name):032x}", chooser.choice((None, 0, LARGEST)))])
    sent = [usage(number, quantity, START_US, chooser.choice(names)) for number, quantity in enumerate(quantities)]
    for step in batches(sent, chooser):
        assert isinstance(step, Batch)
        dice = chooser.random()
        if dice < 0.3:
            run.partition.restart(with_filters=chooser.random() < 0.5)
        elif dice < 0.6:
            # Applied on top of each other and taken back: other events, so that nothing of them is known later.
            strays = Batch(tuple(replace(entry, key=f"stray {entry.key}") for entry in step.entries if isinstance(entry, Usage)))
            for _ in range(2):
                run.partition.apply([run.message(strays)[0]], run.now_us)
            run.partition.engine.rollback()
        run.feed([step])


def test_a_refused_event_is_not_counted() -> None:
    """Proves: what a wallet cannot pay, and what is a duplicate, moves no counter; the next event is charged as if it had not been sent."""
    line = Charge("images", "0", "1", {}, "graduated", tiers=(("10", "1", "1"), (None, "100", "1")))
    run = ModelRun(billing="prepaid")
    run.feed([ChangeCard(Card("one", (line,))), Configure("acme", "0" * 32, 20 * NANO)])
    events = [usage(1, 9 * NANO), usage(2, 5 * NANO), usage(1, 9 * NANO), usage(3, NANO)]
    run.feed([Batch(tuple(events))])
    assert [run.model.rate(event, "CNY") for event in events[1:2]] == [Outcome("accepted", 500 * NANO)]
    assert {key: charge for key, (_, charge) in run.model.known.items()} == {"key-1": 9 * NANO, "key-3": NANO}


def test_the_order_of_batches_changes_charges_but_not_what_was_used() -> None:
    """Proves: any order gives the same counter, and by it the same sum where rounding plays no part."""
    line = Charge("images", "0", "1", {}, "graduated", allowance="3", tiers=(("10", "4", "1"), ("20", "3", "1"), (None, "1", "1")))
    sums = set()
    for seed in range(12):
        chooser = random.Random(seed)
        run = ModelRun(billing="pay-as-you-go")
        sent = [usage(number, (number % 5 + 1) * NANO) for number in range(10)]
        chooser.shuffle(sent)
        run.feed([ChangeCard(Card("one", (line,))), *batches(sent, chooser)])
        sums.add((sum(charge for _, charge in run.model.known.values()), *run.counters().values()))
    assert sums == {((10 * 4 + 10 * 3 + 7) * NANO, 30 * NANO)}


def test_an_event_outside_of_the_table_of_periods_is_refused() -> None:
    """Proves: before its first start too_old, from its last one on in_future, as the edge says for times out of bounds; nothing is kept."""
    line = Charge("images", "1", "1", {}, "per_unit", allowance="5")
    run = ModelRun(billing="pay-as-you-go")
    periods = Periods()
    start, end = periods.of(START_US)

    class Short(Periods):
        @property
        def starts_us(self) -> list[int]:
            return [start, end]

    run.feed([ChangeCard(Card("one", (line,)))])
    run.partition.set_catalog(TENANT_ID, catalog_json(TENANT_ID, 9, run.model.cards, "create", None, Short()))
    run.now_us = end
    events = [usage(number, NANO, moment) for number, moment in enumerate((start - 1, start, end - 1, end))]
    message, _ = run.usage(Batch(tuple(events)))
    (reply,) = run.partition.run([message], run.now_us)
    # 38 too_old, 39 in_future.
    assert [outcome for _, outcome, _ in reply_outcomes(reply[17:])] == [38, 0, 0, 39]
    assert len(run.partition.tables.usage_events) == 2


def test_a_counter_has_an_end() -> None:
    """Proves: a counter that would not fit the ledger's numbers refuses the event by itself."""
    line = Charge("images", "0", "1", {}, "graduated", tiers=((None, "0", "1"),))
    run = ModelRun(billing="pay-as-you-go")
    run.feed([ChangeCard(Card("one", (line,))), Batch((usage(1, LARGEST),))])
    (row,) = run.partition.tables.of("usage_counter_quantities")
    row["quantities"] = [10**38 - LARGEST - 1]
    for counter in run.model.counters:
        run.model.counters[counter] = row["quantities"][0]
    run.partition.restart(with_filters=False)
    run.feed([Batch((usage(2, LARGEST), usage(3, 1), usage(4, NANO)))])
    assert set(run.model.known) == {"key-1", "key-2"}


@pytest.mark.parametrize("zone", [*ZONES, "America/Sao_Paulo", "Africa/Cairo", "Australia/Lord_Howe"])
@pytest.mark.parametrize("anchor_day", [1, 15, 28, 29, 31])
def test_periods_begin_where_the_calendar_says(zone: str, anchor_day: int) -> None:
    """Proves: the table puts any moment into the period that the calendar on the zone's wall shows, also around its very boundaries."""
    periods = Periods((Setting(zone, anchor_day),))
    starts = periods.starts_us
    chance = random.Random(f"{zone} {anchor_day}")
    moments = [chance.randrange(starts[1], starts[-2]) for _ in range(400)]
    moments += [start + step for start in chance.sample(starts[2:-2], 200) for step in (-1, 0, 1)]
    for moment in moments:
        start, end = periods.of(moment)
        assert start <= moment < end
        assert period_of(start, zone, anchor_day) == period_of(moment, zone, anchor_day) != period_of(end, zone, anchor_day), moment


def test_a_catalogue_holds_periods_from_128_days_back_to_ten_years_ahead() -> None:
    """Proves: what usage of now can be of is in the table, and its first period is whole."""
    now_us = START_US
    for periods in (Periods(), Periods((Setting("America/New_York", 31),))):
        table = periods.around(now_us)
        assert table == sorted(set(table))
        assert table[0] <= now_us - 128 * DAY_US < table[1]
        assert table[-2] <= now_us + 3653 * DAY_US < table[-1]
        assert bisect_right(table, now_us)
    shanghai = [datetime.fromtimestamp(start / 10**6, UTC).astimezone(ZoneInfo("Asia/Shanghai")) for start in Periods().around(now_us)[1:5]]
    assert [moment.isoformat() for moment in shanghai] == [
        f"2026-{month:02d}-01T00:00:00+08:00" if month else "2025-12-01T00:00:00+08:00" for month in (0, 1, 2, 3)
    ]


def test_the_products_own_images() -> None:
    """Proves: ¥100 for the first 500 images of a month, then ¥300 for each 1,800 in proportion; and 500 free, then packs of 1,800."""
    tiers = (("500", "100", "500"), (None, "300", "1800"))
    run = ModelRun(billing="pay-as-you-go")
    run.feed([ChangeCard(Card("one", (Charge("images", "0", "1", {}, "graduated", tiers=tiers),)))])
    run.feed([Batch((usage(1, 500 * NANO), usage(2, 1800 * NANO), usage(3, 6 * NANO)))])
    assert [charge for _, charge in run.model.known.values()] == [100 * NANO, 300 * NANO, NANO]
    packs = ModelRun(billing="pay-as-you-go")
    packs.feed([ChangeCard(Card("one", (Charge("images", "300", "1800", {}, "package", allowance="500"),)))])
    packs.feed([Batch((usage(1, 500 * NANO), usage(2, 1800 * NANO), usage(3, NANO)))])
    assert [charge for _, charge in packs.model.known.values()] == [0, 300 * NANO, 300 * NANO]


def test_a_month_of_one_customer_costs_what_its_sum_costs() -> None:
    """Proves: with prices that need no rounding, a thousand events together cost what one event of all they used would."""
    line = Charge("images", "0", "1", {}, "graduated", allowance="1000", tiers=(("5000", "0.004", "1"), (None, "0.003", "1")))
    run = ModelRun(billing="pay-as-you-go", group_size=9)
    run.feed([ChangeCard(Card("one", (line,)))])
    chooser = random.Random(5)
    used: defaultdict[str, int] = defaultdict(int)
    steps: list[Step] = []
    for number in range(1000):
        event = usage(number, chooser.randint(1, 100) * NANO, START_US, chooser.choice("abcdef"))
        used[event.customer] += event.quantity
        steps.append(Batch((event,)))
    run.feed([*steps, PassTime(1, False)])
    for customer, quantity in used.items():
        exact = exact_after(line, quantity, 0)
        assert exact is not None
        charged = sum(charge for event, charge in run.model.known.values() if event.customer == customer)
        assert charged == round_half_even(exact * NANO)
