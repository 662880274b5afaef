"""Proves: every charge has an explanation that can be worked out by hand, and the shares of events add up to every posting."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buffmoney.base.money import from_nano
from buffmoney.metering.shares import SharedPosting, shared, shares
from buffmoney.pricing.explain import Line, UnexplainedError, explain, explain_charge
from tests import by_hand
from tests.oracle import show
from tests.properties.model_run import ModelRun
from tests.properties.test_models import line_of
from tests.workload import Workload

SEEDS = st.integers(0, 2**40)
RUNS = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
USAGE = 2
Row = dict[str, Any]


def amounts(lowest: int = 0) -> st.SearchStrategy[int]:
    """Nano-units: few, many, whole, and everything up to 18 digits before the point and 9 after it."""
    widths = (10**2, 10**9, 10**18, 10**27 - 1)
    return st.one_of(*(st.integers(lowest, width) for width in widths), st.integers(1, 10**6).map(lambda whole: whole * 10**9))


@RUNS
@given(
    model=st.sampled_from(("per_unit", "package", "flat", "markup")),
    quantity=amounts(1),
    price=amounts(),
    per=amounts(1),
    percent=amounts(),
    minimum=st.none() | amounts(1),
)
def test_every_model_can_be_worked_out_by_hand(model: str, quantity: int, price: int, per: int, percent: int, minimum: int | None) -> None:
    """Proves: each formula gives its amount, and the charge is that of the table of models, whatever the digits."""
    text = {"price": show(price), "cost": show(price), "per": show(per), "percent": show(percent)}
    wire = {"model": model, **text, **({} if minimum is None else {"minimum": show(minimum)})}
    # A flat price is for one event: `per` is 1.
    line = Line(
        model,
        from_nano(price),
        Decimal(1) if model == "flat" else from_nano(per),
        from_nano(percent) if model == "markup" else None,
        None if minimum is None else from_nano(minimum),
    )
    found = explain(line, from_nano(quantity))
    assert by_hand.check(msgspec.to_builtins(found)) == by_hand.charge_of(wire, show(quantity))


def wallets_of_commits(run: ModelRun) -> dict[tuple[int, int], tuple[list[Row], list[Row]]]:
    """The usage postings and the charged events of every (account, commit), both in the order of writing."""
    found: defaultdict[tuple[int, int], tuple[list[Row], list[Row]]] = defaultdict(lambda: ([], []))
    for posting in run.partition.tables.of("postings"):
        if posting["kind"] == USAGE:
            found[posting["account_id"], posting["commit_id"]][0].append(posting)
    for event in run.partition.tables.usage_events:
        if event["charge"]:
            found[event["account_id"], event["commit_id"]][1].append(event)
    return dict(found)


def flow(postings: list[Row], events: list[Row]) -> list[SharedPosting]:
    """What the statement `shared_postings` sums up."""
    begun: defaultdict[int, list[int]] = defaultdict(list)
    for event in events:
        begun[event["posting_seq"]].append(event["charge"])
    return shared((row["seq"], row["amount"], len(begun[row["seq"]]), sum(begun[row["seq"]])) for row in postings)


def shares_of(carried: list[SharedPosting], events: list[Row]) -> list[dict[int, int]]:
    """Every event's shares by posting. events: in the order in which the table has them."""
    found = []
    for place, event in enumerate(events):
        out = next(posting.carried_out for posting in carried if posting.seq == event["posting_seq"])
        # What the statement `later_event` looks for.
        later = any(other["posting_seq"] == event["posting_seq"] and other["charge"] > out for other in events[place + 1 :])
        parts = shares(carried, event["posting_seq"], event["charge"], goes_on=0 < out < event["charge"] and not later)
        found.append({posting.seq: part for posting, part in parts})
    return found


def poured(postings: list[Row], events: list[Row]) -> list[dict[int, int]]:
    """The same, the obvious way: charges poured into postings one after the other."""
    left = {row["seq"]: row["amount"] for row in postings}
    found: list[dict[int, int]] = []
    for event in events:
        due, parts = event["charge"], {}
        for seq in left:
            part = min(due, left[seq])
            if part:
                parts[seq] = part
                left[seq] -= part
                due -= part
        assert not due
        found.append(parts)
    return found


@RUNS
@given(seed=SEEDS, billing=st.sampled_from(("prepaid", "pay-as-you-go")), group_size=st.integers(1, 9))
def test_shares_add_up_to_every_posting_and_every_charge(seed: int, billing: str, group_size: int) -> None:
    """Proves: in every commit and wallet the shares are those of pouring charges into postings, and so they add up both ways."""
    run = ModelRun(billing=billing, group_size=group_size)
    run.feed(Workload(seed).steps(60))
    check_shares(run, random.Random(seed))


def check_shares(run: ModelRun, chooser: random.Random) -> int:
    """Checks every posting of a run. Gives how many events went on from one posting to another."""
    went_on = 0
    for postings, events in wallets_of_commits(run).values():
        carried = flow(postings, events)
        parts = shares_of(carried, events)
        assert parts == poured(postings, events)
        went_on += sum(len(part) > 1 for part in parts)
        # A restored table may have its rows in another order: another event may then be named as the one that went on, and still
        # everything adds up.
        shuffled = events.copy()
        chooser.shuffle(shuffled)
        for order, found in ((events, parts), (shuffled, shares_of(carried, shuffled))):
            assert [sum(part.values()) for part in found] == [event["charge"] for event in order]
            assert all(part > 0 for one in found for part in one.values())
            for posting in carried:
                through = [one[posting.seq] for one in found if posting.seq in one]
                assert (sum(through), len(through)) == (posting.amount, posting.events)
    return went_on


def test_some_events_do_go_on_with_another_posting() -> None:
    """Proves: the runs above are not blind to charges that empty a grant."""
    assert sum(went_on(seed) for seed in range(20)) > 20


def went_on(seed: int) -> int:
    """Events of a run that more than one posting carries."""
    run = ModelRun(group_size=6)
    run.feed(Workload(seed).steps(60))
    return check_shares(run, random.Random(seed))


@RUNS
@given(seed=SEEDS)
def test_the_engine_charged_what_the_explanation_says(seed: int) -> None:
    """Proves: for every event of a run, the line that its price names explains its charge to the nano-unit."""
    run = ModelRun()
    run.feed(Workload(seed).steps(60))
    lines = [charge for card in run.model.cards for charge in card.charges]
    for event in run.partition.tables.usage_events:
        line = line_of(lines[event["price_id"] - 1])
        before = from_nano(event.get("counter_before", 0))
        found = explain_charge(line, from_nano(event["quantity"]), from_nano(event["charge"]), before)
        assert by_hand.check(msgspec.to_builtins(found)) == Fraction(event["charge"], 10**9)


def test_a_forged_posting_has_no_shares() -> None:
    """Proves: where postings and charges do not add up, nothing is made up to fit."""
    for rows in ([(1, 10, 1, 9)], [(1, 10, 1, 11)], [(1, 5, 1, 7), (2, 3, 0, 0)]):
        with pytest.raises(UnexplainedError):
            shared(rows)
    for seq, charge in itertools.product((2, 4), (1, 7)):
        with pytest.raises(UnexplainedError):
            shares(shared([(1, 5, 1, 7), (3, 2, 0, 0)]), seq, charge, goes_on=False)
