"""Proves: whatever versions begin at the same moments, the engine prices each event by the one that the oracle names."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buffmoney.base.periods import Periods
from tests.oracle import Card, Charge, Usage, nano
from tests.properties.model_run import ModelRun
from tests.workload import START_US, Batch, ChangeCard, Step

RUNS = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
TIERS = (("5", "2", "1"), (None, "1", "1"))


@RUNS
@given(seed=st.integers(0, 2**40))
def test_the_highest_version_with_the_latest_start_prices(seed: int) -> None:
    """Proves: scheduled versions may be replaced at their own moments, with usage before, at and after each moment in between: charges,
    counters and wallets are the oracle's. A version that was replaced before its moment prices nothing."""
    chance = random.Random(seed)
    run = ModelRun(billing="pay-as-you-go", periods=Periods())
    moments = [START_US - 3600 * 10**6 * hour for hour in (1, 2, 3)]
    steps: list[Step] = [ChangeCard(Card("first", (Charge("images", "1"),)))]
    for number in range(10):
        plain = Charge("images", str(number + 2))
        line = chance.choice((plain, replace(plain, price="0", model="graduated", tiers=TIERS)))
        steps.append(ChangeCard(Card(f"card {number}", (line,), effective_us=chance.choice(moments), created_us=START_US + number)))
        events = [
            Usage("acme", f"key-{number}-{place}", "images", nano(str(chance.randint(1, 9))), moment + step, ())
            for place, (moment, step) in enumerate((moment, step) for moment in moments for step in (-1, 0, 1))
        ]
        steps.append(Batch(tuple(chance.sample(events, 4))))
    run.feed(steps)
    last = {card.effective_us: card for card in run.model.cards}
    assert len(last) < len(run.model.cards)
