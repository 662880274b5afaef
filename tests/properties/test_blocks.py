"""Proves: blocks of a billing period are bought once and used up by whatever events follow, also after voids and new versions."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from fractions import Fraction

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.oracle import NANO, Card, Charge, Outcome, nano, show
from tests.properties.model_run import ModelRun
from tests.properties.test_models import positive
from tests.properties.test_tiers import batches, usage
from tests.workload import START_US, Amend, Batch, ChangeCard, GiveGrant, Step, Void

RUNS = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
PACKS = {"100": "500", "300": "1800"}
"""the product's own: price and images"""


def packs(price: str, per: str, allowance: str | None = None) -> Charge:
    """A line whose blocks are those of the period."""
    return Charge("images", price, per, {}, "package", allowance=allowance, blocks="period")


def grid(line: Charge, used: int) -> int:
    """What so many units of a period cost in all: the blocks that they begin beyond the allowance."""
    beyond = max(0, used - nano(line.allowance or "0"))
    return math.ceil(Fraction(beyond, nano(line.per))) * nano(line.price)


small = st.integers(1, 40).map(lambda units: units * NANO // 4)
lines = st.builds(packs, st.integers(1, 9).map(str), st.integers(1, 12).map(str), st.none() | st.integers(1, 15).map(str))
any_line = st.builds(
    lambda price, per, free: packs(show(price), show(per), show(free) if free else None), positive, positive, st.none() | positive
)


@RUNS
@given(
    line=st.one_of(lines, any_line), quantities=st.lists(st.one_of(small, positive), min_size=1, max_size=20), seed=st.integers(0, 2**32)
)
def test_a_period_costs_the_blocks_of_all_its_units(line: Charge, quantities: list[int], seed: int) -> None:
    """Proves: each event is charged ⌈after ÷ per⌉ − ⌈before ÷ per⌉ blocks, however the usage is cut into events and batches."""
    run = ModelRun(billing="pay-as-you-go", group_size=3)
    run.feed([ChangeCard(Card("one", (line,))), *batches([usage(*pair) for pair in enumerate(quantities)], random.Random(seed))])
    used = 0
    for event, charge in run.model.known.values():
        assert charge == grid(line, used + event.quantity) - grid(line, used)
        used += event.quantity
    if sum(quantities) < 10**27 and grid(line, sum(quantities)) < 10**27:
        assert len(run.model.known) == len(quantities)


@dataclass
class Books:
    """What a customer has used and bought, by what was answered alone, in nano-units; what was bought and given back is not bought."""

    line: Charge
    used: int = 0
    bought: int = 0
    forgiven: int = 0
    """what had been used and was paid for by nothing any more when the next event came"""

    @property
    def uncovered(self) -> int:
        """What is used beyond the allowance and what was bought; below zero, so much is left."""
        return self.used - self.forgiven - self.bought - nano(self.line.allowance or "0")

    def take(self, run: ModelRun, key: str) -> None:
        """An event was taken: it bought what it lacked, and nothing else."""
        event, charge = run.model.known[key]
        self.forgiven += max(0, self.uncovered)
        lacking = max(0, event.quantity + self.uncovered)
        blocks = math.ceil(Fraction(lacking, nano(self.line.per)))
        assert charge == blocks * nano(self.line.price)
        self.used += event.quantity
        self.bought += blocks * nano(self.line.per)

    def give_back(self, run: ModelRun, key: str) -> None:
        """An event was voided."""
        event, charge = run.model.known[key]
        self.used -= event.quantity
        self.bought -= charge // nano(self.line.price) * nano(self.line.per)


@RUNS
@given(line=lines, quantities=st.lists(small, min_size=2, max_size=24), seed=st.integers(0, 2**32))
def test_nobody_pays_for_a_block_while_units_of_another_are_left(line: Charge, quantities: list[int], seed: int) -> None:
    """Proves: whatever is voided, amended and sent in between, an event buys exactly the blocks that it lacks beside those bought and not
    given back; when all is voided, everything is given back, and the next event begins anew."""
    chooser = random.Random(seed)
    run, books = ModelRun(billing="pay-as-you-go", group_size=1), Books(line)
    run.feed([ChangeCard(Card("one", (line,)))])
    for number, quantity in enumerate(quantities):
        left = [key for key in run.model.known if key not in run.model.voided]
        dice = chooser.random()
        if left and dice < 0.3:
            key = chooser.choice(left)
            run.feed([Void((key,), f"{number:032x}")])
            books.give_back(run, key)
        elif left and dice < 0.5:
            key = chooser.choice(left)
            run.feed([Amend(key, f"{number:032x}", usage(number, quantity))])
            books.give_back(run, key)
            books.take(run, f"key-{number}")
        else:
            run.feed([Batch((usage(number, quantity),))])
            books.take(run, f"key-{number}")
    for place, key in enumerate([key for key in run.model.known if key not in run.model.voided]):
        run.feed([Void((key,), f"{1000 + place:032x}")])
        books.give_back(run, key)
    assert (books.used, books.bought, run.model.usage()[2], run.model.wallets["acme"].unbilled) == (0, 0, 0, 0)
    assert sum(run.counters().values()) == -books.forgiven
    run.feed([Batch((usage(2000, NANO),))])
    books.take(run, "key-2000")


def test_amending_the_event_that_began_a_block_buys_it_again() -> None:
    """Proves: a correction neither makes a pack free nor costs a second one; a void of any other event gives its units back."""
    run = ModelRun(billing="pay-as-you-go")
    run.feed([ChangeCard(Card("one", (packs("100", "500"),))), Batch(tuple(usage(number, NANO) for number in range(3)))])
    run.feed([Amend("key-0", f"{1:032x}", usage(10, 2 * NANO))])
    assert run.model.known["key-10"][1] == 100 * NANO
    run.feed([Batch((usage(11, 498 * NANO), usage(12, NANO)))])
    assert [run.model.known[f"key-{number}"][1] for number in (11, 12)] == [0, 100 * NANO]
    # Of two packs one event's 498 units come back: they are used before a third one is bought.
    run.feed([Void(("key-11",), f"{2:032x}"), Batch((usage(13, 499 * NANO), usage(14, 498 * NANO), usage(15, NANO)))])
    assert [run.model.known[f"key-{number}"][1] for number in (13, 14, 15)] == [0, 0, 100 * NANO]


@RUNS
@given(
    versions=st.lists(lines, min_size=2, max_size=4),
    quantities=st.lists(small, min_size=4, max_size=16),
    seed=st.integers(0, 2**32),
    restarts=st.booleans(),
)
def test_a_new_version_uses_up_what_was_bought_before(versions: list[Charge], quantities: list[int], seed: int, restarts: bool) -> None:
    """Proves: units left of blocks of another size or price are used first, then the new version's blocks are bought; an engine that starts
    anew knows them, and a line whose blocks are those of the event leaves them alone."""
    chooser = random.Random(seed)
    run = ModelRun(billing="pay-as-you-go")
    sent = [usage(*pair) for pair in enumerate(quantities)]
    left = 0
    for version, line in enumerate(versions):
        line = replace(line, allowance=None, blocks=chooser.choice(("period", "period", "event")))
        card = Card(f"v{version}", (line,), effective_us=None if version == 0 else START_US - len(versions) + version)
        share, sent = sent[: len(sent) // 2 + 1], sent[len(sent) // 2 + 1 :]
        run.feed([ChangeCard(card), *batches(share.copy(), chooser)])
        if restarts:
            run.partition.restart(with_filters=chooser.random() < 0.5)
        for event in share:
            lacking = event.quantity if line.blocks == "event" else max(0, event.quantity - left)
            count = math.ceil(Fraction(lacking, nano(line.per)))
            assert run.model.known[event.key][1] == count * nano(line.price)
            if line.blocks == "period":
                left += count * nano(line.per) - event.quantity


def test_the_products_own_packs_image_by_image() -> None:
    """Proves: a prepaid customer with ¥100 makes exactly 500 single images, with ¥300 exactly 1,800; the next one is refused for want of
    balance, and begins the next pack after a top-up."""
    for price, per in PACKS.items():
        run = ModelRun(billing="prepaid", group_size=9)
        grant = GiveGrant("acme", f"{1:032x}", nano(price), "paid", 0, None)
        images: list[Step] = [Batch(tuple(usage(place + number, NANO) for number in range(100))) for place in range(0, int(per), 100)]
        run.feed([ChangeCard(Card("one", (packs(price, per),))), grant, *images])
        assert (len(run.model.known), run.model.wallets["acme"].available) == (int(per), 0)
        assert run.model.rate(usage(9999, NANO), "CNY") == Outcome("accepted", nano(price))
        run.feed([Batch((usage(9999, NANO),))])
        assert len(run.model.known) == int(per)
        run.feed([replace(grant, command_id=f"{2:032x}"), Batch((usage(9999, NANO), usage(10000, NANO)))])
        assert [run.model.known[f"key-{number}"][1] for number in (9999, 10000)] == [nano(price), 0]


def test_a_late_event_uses_the_packs_of_its_own_period() -> None:
    """Proves: what is left at a period's end is lost to the next one, and still there for events of the period that come late."""
    run = ModelRun(billing="pay-as-you-go")
    next_month_us = START_US + 3 * 3600 * 10**6
    run.feed([ChangeCard(Card("one", (packs("100", "500"),))), Batch((usage(1, NANO, START_US),))])
    run.now_us = next_month_us
    run.feed(
        [Batch((usage(2, NANO, next_month_us), usage(3, 499 * NANO, START_US), usage(4, NANO, START_US), usage(5, NANO, next_month_us)))]
    )
    assert [run.model.known[f"key-{number}"][1] for number in range(1, 6)] == [100 * NANO, 100 * NANO, 0, 100 * NANO, 0]
