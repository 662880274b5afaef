"""Proves: a hold by estimated events is for what they cost, whatever the customer has used; and no capture lets the money of work go."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buffmoney import _core
from tests.oracle import NANO, Card, Charge, Usage
from tests.properties.model_run import ModelRun
from tests.properties.partition import catalog_json
from tests.properties.test_models import positive
from tests.properties.test_tiers import DAY_US, batches, tiered, usage
from tests.workload import START_US, Batch, Capture, ChangeCard, Configure, GiveGrant, PlaceHold

RUNS = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
HOLD = f"{77:032x}"
events_of = st.lists(st.tuples(positive, st.integers(-34 * DAY_US, 0), st.sampled_from(("cn", "eu"))), min_size=1, max_size=8)
rising = Charge("images", "0", "1", {}, "graduated", tiers=(("100", "1", "1"), (None, "5", "1")))


def sent(drawn: list[tuple[int, int, str]], name: str) -> list[Usage]:
    """Events of one customer."""
    events = [usage(number, quantity, START_US + age, region=region) for number, (quantity, age, region) in enumerate(drawn)]
    return [replace(event, key=f"{name} {event.key}") for event in events]


@RUNS
@given(line=tiered(), other=tiered(), past=events_of, work=events_of, seed=st.integers(0, 2**32), restarts=st.booleans())
def test_an_estimate_is_what_a_capture_with_the_same_events_comes_to(
    line: Charge, other: Charge, past: list[tuple[int, int, str]], work: list[tuple[int, int, str]], seed: int, restarts: bool
) -> None:
    """Proves: with tiers, allowances and blocks that the customer has used in part, in several periods and on several lines, the hold is
    for exactly what a capture with the same events right after costs, and the oracle agrees. What usage is refused for, it is as well.
    """
    chooser = random.Random(seed)
    run = ModelRun(billing="pay-as-you-go")
    card = Card("one", (line, replace(other, match={"region": "eu"})))
    run.feed([ChangeCard(card), Configure("acme", f"{1:032x}", None), *batches(sent(past, "past"), chooser)])
    if restarts:
        run.partition.restart(with_filters=False)
    events = sent(work, "work")
    # Nothing of the estimate is recorded, however often it is asked for.
    for number in range(2):
        run.feed([PlaceHold("acme", f"{number + 5:032x}", 0, 60_000, Batch(tuple(replace(one, key=f"guess {one.key}") for one in events)))])
    run.feed([PlaceHold("acme", HOLD, 0, 60_000, Batch(tuple(events)))])
    if HOLD in run.model.holds:
        held = run.model.holds[HOLD].amount
        run.feed([Capture(HOLD, f"{78:032x}", events=Batch(tuple(events)))])
        assert (run.model.holds[HOLD].status, run.model.holds[HOLD].captured) == ("captured", held)


def test_the_audits_example() -> None:
    """Proves: with 100 used of a first tier of 100 at 1, a hold for 100 more is for 500; two events of one counter are estimated one after
    the other."""
    run = ModelRun(billing="prepaid")
    run.feed([ChangeCard(Card("one", (rising,))), GiveGrant("acme", f"{1:032x}", 1000 * NANO, "paid", 0, None)])
    run.feed([PlaceHold("acme", f"{2:032x}", 0, 60_000, Batch((usage(8, 60 * NANO), usage(9, 60 * NANO))))])
    assert run.model.holds[f"{2:032x}"].amount == (60 + 40 + 20 * 5) * NANO
    run.feed([Capture(f"{2:032x}", f"{3:032x}", events=Batch((usage(1, 100 * NANO),)))])
    run.feed([PlaceHold("acme", HOLD, 0, 60_000, Batch((usage(2, 100 * NANO),)))])
    assert run.model.holds[HOLD].amount == 500 * NANO
    run.feed([Capture(HOLD, f"{4:032x}", events=Batch((usage(2, 100 * NANO),)))])
    assert (run.model.holds[HOLD].captured, run.model.wallets["acme"].available) == (500 * NANO, 400 * NANO)


@pytest.mark.parametrize("billing", ["prepaid", "pay-as-you-go"])
def test_an_estimate_of_nothing_is_held_and_captured_like_any_other(billing: str) -> None:
    """Proves: a hold for events that are free is one of zero, without a posting, also with an empty wallet; it is captured with what really
    happened, or expires."""
    line = Charge("images", "1", "1", {}, "per_unit", allowance="100")
    run = ModelRun(billing=billing)
    run.feed([ChangeCard(Card("one", (line,))), Configure("acme", f"{1:032x}", 0)])
    free = Batch((usage(1, 60 * NANO), usage(2, 40 * NANO)))
    run.feed(
        [
            PlaceHold("acme", HOLD, 0, 60_000, free),
            PlaceHold("acme", f"{2:032x}", 0, 1_000, free),
            PlaceHold("acme", f"{3:032x}", 0, 60_000, free),
        ]
    )
    assert run.partition.tables.of("postings") == []
    run.feed([Capture(HOLD, f"{4:032x}", events=free), Capture(f"{3:032x}", f"{5:032x}")])
    assert [(run.model.holds[hold].status, run.model.holds[hold].captured) for hold in (HOLD, f"{3:032x}")] == [("captured", 0)] * 2
    assert len(run.model.known) == 2
    # The allowance is used up by now.
    run.feed([PlaceHold("acme", f"{6:032x}", 0, 60_000, Batch((usage(3, NANO),)))])
    assert f"{6:032x}" not in run.model.holds
    run.now_us += 2 * 10**6
    run.partition.sweep(run.now_us)
    run.model.sweep(run.now_us)
    run.compare()
    assert run.model.holds[f"{2:032x}"].status == "expired"


def test_a_capture_that_cannot_be_paid_leaves_the_hold_open() -> None:
    """Proves: events that cost more than hold and balance are refused as a whole, nothing of them is counted or charged, and the same
    capture succeeds after a top-up; what is held can be captured all the same."""
    run = ModelRun(billing="prepaid")
    run.feed([ChangeCard(Card("one", (rising,))), GiveGrant("acme", f"{1:032x}", 150 * NANO, "paid", 0, None)])
    run.feed([PlaceHold("acme", HOLD, 100 * NANO, 60_000), PlaceHold("acme", f"{2:032x}", 50 * NANO, 60_000)])
    work = Batch((usage(1, 90 * NANO), usage(2, 20 * NANO), usage(1, 90 * NANO)))
    for _ in range(2):
        run.feed([Capture(HOLD, f"{3:032x}", events=work)])
        assert (run.model.holds[HOLD].status, run.model.known, run.counters()) == ("open", {}, {})
    run.feed([GiveGrant("acme", f"{4:032x}", 50 * NANO, "paid", 0, None), Capture(HOLD, f"{3:032x}", events=work)])
    assert (run.model.holds[HOLD].status, run.model.holds[HOLD].captured) == ("captured", 150 * NANO)
    run.feed([Capture(f"{2:032x}", f"{5:032x}", events=Batch((usage(3, 11 * NANO),))), Capture(f"{2:032x}", f"{6:032x}")])
    assert (run.model.holds[f"{2:032x}"].captured, run.model.wallets["acme"].available) == (50 * NANO, 0)


def test_events_that_are_priced_at_the_end_of_the_period_can_be_held() -> None:
    """Proves: a hold for usage of a volume line is one of zero; and too old an event is refused by the estimate as by usage."""
    run = ModelRun(billing="pay-as-you-go")
    run.feed([ChangeCard(Card("one", (Charge("images", "1", "1", {}, "per_unit", allowance="5"),))), Configure("acme", f"{1:032x}", None)])
    catalog = catalog_json(7, 9, run.model.cards, "create", None, run.periods, accrues=True).decode()
    volume = '"price": "0", "model": "volume", "tiers": [{"price": "1", "per": "1"}], "per": "1"'
    volume += ', "periodQuantityCounterId": 1, "periodChargeCounterId": 2'
    line = catalog[catalog.index('"price": "1"') : catalog.index("}", catalog.index('"price": "1"'))]
    run.partition.set_catalog(7, catalog.replace(line, volume).encode())
    message, _ = run.message(PlaceHold("acme", HOLD, 0, 60_000, Batch((usage(1, NANO), usage(2, NANO)))))
    (reply,) = run.partition.run([message], run.now_us)
    assert b'"amount":"0"' in _core.split_reply(reply)[2]
