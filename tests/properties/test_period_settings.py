"""Proves: a merchant may change zone and anchor day of its billing periods at any time, and no period that has begun ever changes."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buffmoney.base.periods import Periods, Setting
from tests.oracle import NANO, Card, Charge, Tenant, Usage
from tests.properties.model_run import ModelRun, changed
from tests.properties.test_period_charges import START_US as PERIOD_START_US
from tests.properties.test_period_charges import Run, Version, lines
from tests.properties.test_tiers import tiered
from tests.workload import START_US, Batch, ChangeCard, ChangePeriods, PassTime, Step, Void

RUNS = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
MINUTE_US, HOUR_US, DAY_US = 60 * 10**6, 3_600 * 10**6, 86_400 * 10**6
AHEAD_US = 4 * MINUTE_US
"""events may occur that much later than now"""
ZONES = (
    *("Asia/Shanghai", "UTC", "Asia/Kathmandu", "America/New_York", "Europe/London", "Africa/Cairo", "Australia/Lord_Howe"),
    # On either side of the date line: the same moment, and two days of the calendar between them.
    *("Pacific/Kiritimati", "Pacific/Auckland", "Pacific/Apia", "Pacific/Pago_Pago", "Pacific/Niue"),
)
SETTINGS = st.builds(Setting, st.sampled_from(ZONES), st.sampled_from((1, 1, 2, 15, 28, 29, 30, 31)))


def model_of(first: Setting) -> Tenant:
    """The oracle with a first setting."""
    model = Tenant()
    model.settings = [(0, first.zone, first.anchor_day)]
    return model


@RUNS
@given(
    first=SETTINGS,
    changes=st.lists(st.tuples(SETTINGS, st.integers(0, 70 * DAY_US)), min_size=1, max_size=6),
    seed=st.integers(0, 2**32),
)
def test_a_change_begins_where_a_period_ends(first: Setting, changes: list[tuple[Setting, int]], seed: int) -> None:
    """Proves: a change leaves all periods up to the end of the open one as they were; the next one ends where the new setting says and is
    at most a month long; and every moment is in the period in which the oracle has it, around all boundaries."""
    chance = random.Random(seed)
    periods, model, now_us = Periods((first,)), model_of(first), START_US
    for wanted, wait_us in changes:
        now_us += wait_us
        before = periods
        periods = changed(before, wanted, now_us)
        model.change_periods(wanted.zone, wanted.anchor_day, now_us)
        if periods == before:
            continue
        effective_us = periods.settings[-1].since_us
        assert effective_us is not None
        assert effective_us == before.of(now_us)[1]
        begun, begun_before = ([start for start in each.starts_us if start <= effective_us] for each in (periods, before))
        assert begun == begun_before
        start, end = periods.of(effective_us)
        assert (start, periods.at(start).zone) == (effective_us, wanted.zone)
        assert end == Periods((wanted,)).of(effective_us)[1]
        # A month in which the clocks are put back has an hour more.
        assert end - start <= 31 * DAY_US + HOUR_US
    starts = [start for start in periods.starts_us if START_US - 60 * DAY_US < start < now_us + 120 * DAY_US]
    assert starts == sorted(set(starts))
    moments = [start + step for start in starts for step in (-1, 0, 1)]
    moments += [chance.randrange(START_US - 40 * DAY_US, now_us + 80 * DAY_US) for _ in range(20)]
    for moment in moments:
        start, end = periods.of(moment)
        assert start <= moment < end
        assert model.period(start - 1) != model.period(start) == model.period(moment) == model.period(end - 1) != model.period(end)
        assert periods.at(moment).zone == periods.at(start).zone == periods.at(end - 1).zone


def test_what_is_to_come_can_be_replaced_and_taken_back() -> None:
    """Proves: a second change before the first has begun takes its place with the same start; the setting in force takes both back, and
    then periods are what they were."""
    first = Periods()
    end = first.of(START_US)[1]
    once = changed(first, Setting("UTC", 15), START_US)
    twice = changed(once, Setting("America/New_York", 31), end - 1)
    assert [setting.since_us for setting in twice.settings] == [None, end]
    assert (twice.at(end - 1), twice.at(end).zone) == (Setting(), "America/New_York")
    back = changed(twice, Setting(), end - 1)
    assert back.starts_us == first.starts_us
    # From its first moment on it is in force, and the next change begins with the next period.
    assert changed(once, Setting("UTC", 20), end).settings[-1].since_us == once.of(end)[1] > end
    assert changed(once, Setting("UTC", 15), end) == once


def test_a_change_of_another_clock_is_never_overtaken() -> None:
    """Proves: where a faster clock has made a change for the period after the next, a slower one replaces that and none before it."""
    end = Periods().of(START_US)[1]
    ahead = changed(changed(Periods(), Setting("UTC", 15), end - 1), Setting("UTC", 20), end)
    behind = changed(ahead, Setting("Asia/Kathmandu", 3), end - 1)
    assert [setting.since_us for setting in behind.settings] == [setting.since_us for setting in ahead.settings]
    assert behind.settings[-1].zone == "Asia/Kathmandu"


@pytest.mark.parametrize(
    "before, after, hours",
    [
        # West to east across the date line, and back: 1 May has begun 25 hours earlier, or begins so much later.
        (Setting("Pacific/Pago_Pago"), Setting("Pacific/Kiritimati"), 31 * 24 - 25),
        (Setting("Pacific/Kiritimati"), Setting("Pacific/Pago_Pago"), 25),
        (Setting("Asia/Shanghai"), Setting("Asia/Shanghai", 15), 14 * 24),
        (Setting("Asia/Shanghai"), Setting("UTC"), 8),
        (Setting("UTC"), Setting("Asia/Shanghai"), 31 * 24 - 8),
        # New York's summer is four hours behind UTC.
        (Setting("UTC"), Setting("America/New_York"), 4),
        (Setting("Asia/Shanghai", 31), Setting("Asia/Shanghai", 29), 29 * 24),
    ],
)
def test_how_long_the_short_period_is(before: Setting, after: Setting, hours: int) -> None:
    """Proves: worked out by hand for changes in April 2026: from the end of the open period to the next boundary by the new setting."""
    start_us = START_US + 7 * DAY_US
    periods = changed(Periods((before,)), after, start_us)
    start, end = periods.of(periods.of(start_us)[1])
    assert (end - start) / HOUR_US == hours


@RUNS
@given(
    line=tiered(),
    first=SETTINGS,
    steps=st.lists(
        st.tuples(
            st.sampled_from(("use", "use", "use", "use", "change", "change", "pass", "pass", "to the end", "restart", "void")),
            SETTINGS,
            st.integers(0, 2**32),
        ),
        min_size=4,
        max_size=24,
    ),
)
def test_usage_is_counted_in_the_period_of_its_setting(line: Charge, first: Setting, steps: list[tuple[str, Setting, int]]) -> None:
    """Proves: whatever is changed when, events of now, late ones and those a little ahead meet the counter of the period that the setting
    in force at their moment gives them, through restarts and voids; each charge and counter is the oracle's."""
    run = ModelRun(billing="pay-as-you-go", periods=Periods((first,)), max_wallets=2, recent_keys=64, group_size=2)
    run.feed([ChangeCard(Card("one", (line,)))])
    for number, (what, wanted, seed) in enumerate(steps):
        chance = random.Random(seed)
        step: Step | None = None
        match what:
            case "use":
                ages = [chance.choice((0, AHEAD_US, -chance.randrange(3 * DAY_US), -chance.randrange(34 * DAY_US))) for _ in range(3)]
                quantities = [chance.choice((NANO, 3 * NANO, chance.randrange(1, 10**16))) for _ in ages]
                events = zip(ages, quantities, strict=True)
                names = [f"c{chance.randrange(3)}" for _ in ages]
                step = Batch(
                    tuple(
                        Usage(names[place], f"key-{number}-{place}", "images", quantity, run.now_us + age)
                        for place, (age, quantity) in enumerate(events)
                    )
                )
            case "change":
                step = ChangePeriods(wanted.zone, wanted.anchor_day)
            case "pass":
                step = PassTime(chance.randrange(40 * DAY_US), chance.random() < 0.5)
            case "to the end":
                # Where an event that is a little ahead is of the next period already.
                left_us = run.model.period_bounds(run.now_us)[1] - run.now_us
                step = PassTime(max(0, left_us - chance.randrange(1, AHEAD_US)), False)
            case "restart":
                run.partition.restart(with_filters=chance.random() < 0.5)
            case "void":
                # A void counts back as long as usage of the period can still come.
                young = sorted(key for key, (event, _) in run.model.known.items() if event.occurred_us > run.now_us - 60 * DAY_US)
                step = Void((chance.choice(young),), f"{number:032x}") if young else None
        if step is not None:
            run.feed([step])
    run.compare()


@RUNS
@given(
    versions=st.lists(lines(), min_size=1, max_size=3),
    accrues=st.booleans(),
    steps=st.lists(
        st.tuples(
            st.sampled_from(("use", "use", "use", "use", "change", "change", "pass", "pass", "sweep", "restart", "void", "stray")),
            SETTINGS,
            st.integers(0, 2**32),
        ),
        min_size=6,
        max_size=30,
    ),
)
def test_short_periods_are_settled_like_any(versions: list[Version], accrues: bool, steps: list[tuple[str, Setting, int]]) -> None:
    """Proves: volume tiers and minimums are charged for each period that the changes leave, once it is over, short ones too; late events,
    voids, restarts and groups taken back leave what plain arithmetic says of the oracle's periods."""
    # No longer than counters are kept of what happens.
    until_us = PERIOD_START_US + 50 * DAY_US
    spread = [None, *(PERIOD_START_US + place * 20 * DAY_US for place in range(1, len(versions)))]
    run = Run(list(zip(spread, versions, strict=True)), accrues, latest_us=until_us)
    for what, wanted, seed in steps:
        chance = random.Random(seed)
        match what:
            case "use":
                occurred_us = run.now_us + chance.choice((0, AHEAD_US, -chance.randrange(3 * DAY_US), -chance.randrange(20 * DAY_US)))
                run.use(chance.choice("abc"), chance.choice((NANO, chance.randrange(1, 10**12))), occurred_us)
            case "change":
                run.change_periods(wanted)
            case "pass":
                run.now_us = min(run.now_us + chance.randrange(1, 25 * DAY_US), until_us)
            case "sweep":
                run.check()
            case "restart":
                run.partition.restart()
            case "void" if run.events:
                run.void(chance.choice(sorted(run.events)))
            case "stray":
                run.stray()
    run.now_us = until_us + 31 * DAY_US
    run.check()
    assert all(run.periods.of(start)[0] == start for _, start in run.totals())


def test_the_catalogue_holds_short_periods() -> None:
    """Proves: what the engine gets has the boundaries of all settings, and an empty table where a tenant has none."""
    periods = changed(Periods(), Setting("UTC", 15), START_US)
    wire: dict[str, Any] = periods.wire(periods.around(START_US))
    starts = wire["startsUs"]
    assert {periods.of(START_US)[0], *periods.of(periods.of(START_US)[1])} <= set(starts)
    assert Periods.stored("[]").starts_us == []
    assert Periods.stored('[[null, "UTC", 3], [5, "Asia/Shanghai", 1]]').settings == (Setting("UTC", 3), Setting("Asia/Shanghai", 1, 5))
