"""Proves: periods are settled as plain arithmetic says, once, whatever moves them before and after their end."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buffmoney import _core
from buffmoney.base.money import from_nano, to_nano
from buffmoney.base.periods import Periods, Setting
from buffmoney.pricing.cards import Tier
from buffmoney.pricing.explain import Line, explain_period
from tests import by_hand
from tests.oracle import Tenant
from tests.properties.model_run import changed
from tests.properties.partition import REPLY_TO, Partition, command_message

GOLDEN = Path(__file__).parent / "golden_period_charges.md"
NANO = 10**9
TENANT = 7
UNITS, CHARGES, COUNTER = 501, 502, 503
USAGE, VOID, PERIOD_CHARGE, PERIOD_CHARGE_REVERSAL = 2, 7, 9, 10
HOUR_US, DAY_US = 3_600 * 10**6, 86_400 * 10**6
PERIODS = Periods()
START_US, END_US = PERIODS.of(int(datetime(2026, 7, 10, tzinfo=UTC).timestamp()) * 10**6)
BEFORE_US, _ = PERIODS.of(START_US - 1)
RUNS = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
Version = dict[str, Any]
"""a line: model, price, per, and the optional fields, as the catalogue has them"""


def rounded(value: Fraction) -> int:
    """Nano-units, half to even."""
    return round(value * NANO)


def event_charge(line: Version, quantity: int) -> int:
    """What an event costs, in nano-units. quantity: nano-units."""
    match line["model"]:
        case "volume":
            return 0
        case "flat":
            return rounded(Fraction(line["price"]))
        case _:
            return rounded(Fraction(quantity, NANO) * Fraction(line["price"]) / Fraction(line["per"]))


def period_charge(line: Version, quantity: int, charged: int) -> int:
    """What a period costs at its end."""
    if not quantity:
        return 0
    asked = charged
    if line["model"] == "volume":
        left = max(Fraction(quantity, NANO) - Fraction(line.get("allowance", "0")), Fraction(0))
        tier = next(tier for tier in line["tiers"] if tier["upTo"] is None or left <= Fraction(tier["upTo"]))
        asked = rounded(left * Fraction(tier["price"]) / Fraction(tier["per"]))
    asked = max(asked, rounded(Fraction(line.get("minimumPerPeriod", "0"))))
    return max(asked - charged, 0)


def tiers(*rows: tuple[str | None, str, str]) -> list[dict[str, str | None]]:
    """Tiers as the catalogue has them."""
    return [{"upTo": up_to, "price": price, "per": per} for up_to, price, per in rows]


def catalog(
    versions: list[tuple[int | None, Version]],
    version: int = 1,
    assigned: Sequence[tuple[int, int, int]] = (),
    *,
    accrues: bool = False,
    periods: Periods = PERIODS,
) -> bytes:
    """Versions of one line, each with the moment from which it is in force. assigned: (account, place of the version, since)."""
    own = {place for _, place, _ in assigned}
    cards = [
        {
            "rateCardId": f"v{place}",
            "productId": "p",
            "currency": "CNY",
            "audience": "assigned" if place in own else "everyone",
            "effectiveFromUs": since,
            "charges": [{"priceId": place + 1, "metricId": 3, "match": {}, "price": "0", "per": "1", **settling(line), **line}],
        }
        for place, (since, line) in enumerate(versions)
    ]
    assignments = [
        {"accountId": account, "productId": "p", "rateCardId": f"v{place}", "effectiveFromUs": since} for account, place, since in assigned
    ]
    return json.dumps(
        {
            "tenantId": TENANT,
            "version": version,
            "currency": "CNY",
            "unknownCustomers": "create",
            **({"accrues": True} if accrues else {}),
            "defaultOverdraftLimit": None,
            "metrics": [{"id": 3, "code": "images"}],
            "rateCards": cards,
            "assignments": assignments,
            "periods": periods.wire(periods.starts_us),
        }
    ).encode()


def settling(line: Version) -> Version:
    """The counters of a line that is settled."""
    settles = line["model"] == "volume" or "minimumPerPeriod" in line
    counters: Version = {"periodQuantityCounterId": UNITS, "periodChargeCounterId": CHARGES} if settles else {}
    return counters | ({"counterId": COUNTER} if "allowance" in line and line["model"] != "volume" else {})


def said(line: Version) -> Line:
    """A line as the product explains it."""
    of_tiers = [
        Tier(None if tier["upTo"] is None else Decimal(tier["upTo"]), Decimal(str(tier["price"])), Decimal(str(tier["per"])))
        for tier in line.get("tiers", [])
    ]
    allowance, minimum = (Decimal(line[name]) if name in line else None for name in ("allowance", "minimumPerPeriod"))
    price, per = (Decimal(line.get(name, default)) for name, default in (("price", "0"), ("per", "1")))
    return Line(line["model"], price, per, None, None, allowance, tuple(of_tiers), minimum)


@dataclass
class Event:
    """One that was accepted."""

    customer: str
    quantity: int
    occurred_us: int
    charge: int
    settles: bool


@dataclass
class Run:
    """An engine with its tables, and what was sent to it."""

    versions: list[tuple[int | None, Version]]
    accrues: bool = False
    now_us: int = START_US + 5 * DAY_US
    partition: Partition = field(default_factory=lambda: Partition(max_wallets=16, recent_keys=64))
    events: dict[str, Event] = field(default_factory=dict)
    sent: int = 0
    latest_us: int = END_US + 20 * DAY_US
    """when the last event may have occurred"""
    periods: Periods = PERIODS
    model: Tenant = field(default_factory=Tenant)
    """the oracle, which is asked for periods only"""
    bounds: dict[Any, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.partition.period_counters = {UNITS: UNITS, CHARGES: UNITS}
        self.partition.set_catalog(TENANT, catalog(self.versions, accrues=self.accrues))

    def change_periods(self, wanted: Setting) -> None:
        """Periods begin elsewhere from the end of the open one on."""
        self.periods = changed(self.periods, wanted, self.now_us)
        self.model.change_periods(wanted.zone, wanted.anchor_day, self.now_us)
        self.partition.set_catalog(TENANT, catalog(self.versions, self.sent + 2, accrues=self.accrues, periods=self.periods))

    def period(self, moment_us: int) -> tuple[int, int]:
        """Start and end of a period as the oracle has them."""
        place = (*self.model.settings, self.model.period(moment_us))
        if place not in self.bounds:
            self.bounds[place] = self.model.period_bounds(moment_us)
        return self.bounds[place]

    def at(self, occurred_us: int) -> Version:
        """The line in force at a moment."""
        return [line for since, line in self.versions if since is None or since <= occurred_us][-1]

    def message(self, customer: str, quantity: int, occurred_us: int) -> tuple[str, bytes]:
        """The key of a new event, and its message."""
        self.sent += 1
        key = f"key-{self.sent}"
        occurred = datetime.fromtimestamp(occurred_us / 10**6, UTC).isoformat()
        said = {"customerExternalId": customer, "idempotencyKey": key, "metric": "images", "quantity": format(from_nano(quantity), "f")}
        batch = _core.decode_batch(json.dumps({"events": [{**said, "occurredAt": occurred}]}).encode(), TENANT, self.now_us)
        assert batch.rejected == 0, batch.problems
        return key, batch.message(self.sent.to_bytes(16, "big"), REPLY_TO, False)

    def use(self, customer: str, quantity: int, occurred_us: int) -> None:
        """One event, and its charge as it must be."""
        key, message = self.message(customer, quantity, occurred_us)
        (reply,) = self.partition.run([message], self.now_us)
        _, _, body = _core.split_reply(reply)
        assert body[4] == 0, "not accepted"
        line = self.at(occurred_us)
        charge = int.from_bytes(body[5:21], "little", signed=True)
        if "allowance" not in line or line["model"] == "volume":
            assert charge == event_charge(line, quantity)
        self.events[key] = Event(customer, quantity, occurred_us, charge, "periodQuantityCounterId" in settling(line))

    def command(self, **command: Any) -> None:
        """A command that succeeds."""
        self.sent += 1
        identity = self.sent.to_bytes(16, "big")
        (reply,) = self.partition.run([command_message(TENANT, identity, {"commandId": identity.hex(), **command})], self.now_us)
        answer = json.loads(_core.split_reply(reply)[2])
        assert answer["ok"], answer

    def void(self, key: str) -> None:
        """Takes an event back."""
        self.command(type="void", key=key, by="key_1")
        del self.events[key]

    def stray(self) -> None:
        """Two groups that are applied on top of each other and taken back, the second of them a sweep."""
        _, message = self.message("a", 5 * NANO, min(self.now_us, self.latest_us))
        self.partition.apply([message], self.now_us)
        periods = self.partition.unsettled()
        while not (needs := self.partition.engine.sweep_needs([], [], periods)).nothing:
            self.partition.load(needs)
        self.partition.engine.sweep([], [], self.now_us, periods)
        self.partition.engine.rollback()

    def accounts(self) -> dict[str, int]:
        """Customers by name."""
        return {row["external_id"]: row["account_id"] for row in self.partition.tables.of("customers")}

    def totals(self) -> dict[tuple[str, int], int]:
        """What each period is charged by its newest row."""
        names = {account: name for name, account in self.accounts().items()}
        return {(names[row["account_id"]], row["period_start"]): row["total"] for row in self.partition.tables.of("period_charges")}

    def expected(self) -> dict[tuple[str, int], int]:
        """The same by plain arithmetic, of the events that are there."""
        sums: defaultdict[tuple[str, int], list[int]] = defaultdict(lambda: [0, 0])
        for event in self.events.values():
            if event.settles:
                start, end = self.period(event.occurred_us)
                if self.now_us >= end + HOUR_US:
                    used = sums[event.customer, start]
                    used[0], used[1] = used[0] + event.quantity, used[1] + event.charge
        found = {}
        for (customer, start), (quantity, charged) in sums.items():
            last = self.period(start)[1] - 1
            lines = [line for since, line in self.versions if since is None or since <= last]
            line = [line for line in lines if settling(line).get("periodQuantityCounterId")][-1]
            found[customer, start] = period_charge(line, quantity, charged)
        return found

    def check(self) -> None:
        """Every period is settled as it stands, and all postings are charges of events and periods."""
        self.partition.sweep(self.now_us)
        totals, expected = self.totals(), self.expected()
        assert {key: total for key, total in totals.items() if total} == {key: total for key, total in expected.items() if total}
        tables = self.partition.tables
        posted: defaultdict[int, int] = defaultdict(int)
        for row in tables.of("postings"):
            posted[row["kind"]] += row["amount"]
        rows = tables.of("period_charges")
        assert posted[PERIOD_CHARGE] - posted[PERIOD_CHARGE_REVERSAL] == sum(row["amount"] for row in rows) == sum(totals.values())
        assert posted[USAGE] - posted[VOID] == sum(event.charge for event in self.events.values())
        last: dict[tuple[int, int], dict[str, Any]] = {}
        for row in rows:
            before = last.get((row["account_id"], row["period_start"]), {"revision": 0, "total": 0})
            assert (row["revision"], row["amount"]) == (before["revision"] + 1, row["total"] - before["total"])
            parts = [int.from_bytes(row["parts"][at + 16 : at + 32], "little") for at in range(0, len(row["parts"]), 32)]
            assert sum(parts) == row["total"]
            last[row["account_id"], row["period_start"]] = row
        groups = len(tables.of("commits"))
        self.partition.sweep(self.now_us)
        assert len(tables.of("commits")) == groups, "a second sweep settles nothing"


positive = st.one_of(st.integers(1, 400).map(lambda units: units * NANO), st.integers(1, 10**20))
prices = st.one_of(st.sampled_from(("0", "1", "2", "0.5")), st.integers(0, 10**12).map(lambda nano: format(from_nano(nano), "f")))
# Not so small that forty events of the largest quantity at the highest price together meet the limit of a charge, 10**27 nano.
sizes = st.one_of(st.sampled_from(("1", "3", "1000")), st.integers(10**7, 10**12).map(lambda nano: format(from_nano(nano), "f")))


@st.composite
def lines(draw: st.DrawFn) -> Version:
    """A line that is settled at the end of a period."""
    model = draw(st.sampled_from(("volume", "volume", "per_unit", "flat")))
    line: Version = {"model": model}
    if model == "volume":
        ends = sorted(draw(st.sets(positive, max_size=4)))
        rows = [(format(from_nano(end), "f"), draw(prices), draw(sizes)) for end in ends]
        line["tiers"] = tiers(*rows, (None, draw(prices), draw(sizes)))
        if draw(st.booleans()):
            line["allowance"] = format(from_nano(draw(positive)), "f")
    else:
        line |= {"price": draw(prices), "per": "1" if model == "flat" else draw(sizes)}
    if model != "volume" or draw(st.booleans()):
        line["minimumPerPeriod"] = format(from_nano(draw(positive)), "f")
    return line


def edges(line: Version) -> list[int]:
    """Totals at which the price of a period changes: one nano-unit before, at and behind them."""
    if line["model"] != "volume":
        return []
    free = to_nano(Decimal(line.get("allowance", "0")))
    ends = [free, *(free + to_nano(Decimal(tier["upTo"])) for tier in line["tiers"] if tier["upTo"])]
    return [end + nudge for end in ends for nudge in (-1, 0, 1) if end + nudge > 0]


@RUNS
@given(line=lines(), which=st.integers(0, 10**6), share=st.floats(0, 1), other=positive)
def test_every_edge_is_settled_as_plain_arithmetic_says(line: Version, which: int, share: float, other: int) -> None:
    """Proves: totals at the edges of tiers and allowances, and any other, cost what the rule gives, in one event or two."""
    run = Run([(None, line)])
    found = edges(line) or [other]
    total = found[which % len(found)]
    first = min(int(total * share), total - 1)
    for part in (first, total - first):
        if part:
            run.use("a", part, START_US)
    run.check()
    assert run.totals() == {}, "the period is not over"
    run.now_us = END_US + HOUR_US - 1
    run.check()
    assert run.totals() == {}, "the grace is not over"
    run.now_us += 1
    run.check()
    assert list(run.totals()) == [("a", START_US)]
    (row,) = run.partition.tables.of("period_charges")
    why = explain_period(said(line), *(from_nano(row[name]) for name in ("quantity", "charged", "total")))
    for step in why.steps:
        assert by_hand.work_out(step.formula) == Fraction(step.amount), step
    assert to_nano(Decimal(why.total)) == row["total"] == to_nano(Decimal(why.steps[-1].amount))


@RUNS
@given(
    versions=st.lists(lines(), min_size=1, max_size=4),
    accrues=st.booleans(),
    steps=st.lists(
        st.tuples(
            st.sampled_from(("use", "use", "use", "use", "void", "pass", "pass", "sweep", "sweep", "restart", "stray", "grant")),
            positive,
            st.integers(0, 2**32),
        ),
        min_size=6,
        max_size=40,
    ),
)
def test_periods_stay_settled_whatever_happens(versions: list[Version], accrues: bool, steps: list[tuple[str, int, int]]) -> None:
    """Proves: late events, voids, new versions, grants, restarts and groups taken back, before and after a period was settled, leave what
    arithmetic says, and events and periods add up to the postings."""
    share = (END_US - BEFORE_US) // len(versions)
    run = Run([(None if place == 0 else BEFORE_US + place * share, line) for place, line in enumerate(versions)], accrues)
    for what, amount, seed in steps:
        chooser = random.Random(seed)
        match what:
            case "use":
                oldest = max(run.now_us - 34 * DAY_US, BEFORE_US)
                run.use(chooser.choice("abc"), amount, chooser.randint(oldest, min(run.now_us, END_US - 1)))
            case "void" if run.events:
                run.void(chooser.choice(sorted(run.events)))
            case "pass":
                run.now_us = min(run.now_us + chooser.randint(1, 20 * DAY_US), END_US + 30 * DAY_US)
            case "sweep":
                run.check()
            case "restart":
                run.partition.restart()
            case "stray":
                run.stray()
            case "grant":
                expiry = chooser.choice((None, run.now_us + 3 * DAY_US))
                money = {"amount": format(from_nano(amount), "f"), "currency": "CNY", "kind": "paid", "priority": 1, "expiresAtUs": expiry}
                run.command(type="grant", customer=chooser.choice("abc"), **money)
    run.now_us = max(run.now_us, END_US + HOUR_US)
    run.check()


def test_the_engine_names_what_it_moves_late() -> None:
    """Proves: a group names a period that it moves an hour after its end, and none before; a void does it like an event."""
    run = Run([(None, {"model": "volume", "tiers": tiers((None, "1", "1"))})])
    late = []
    for now_us in (START_US + 1, END_US + HOUR_US - 1, END_US + HOUR_US):
        run.now_us = now_us
        _, message = run.message("a", NANO, START_US)
        group = run.partition.apply([message], now_us)
        late.append(group.late_periods)
        run.partition.commit(group)
    account = run.accounts()["a"]
    assert late == [[], [], [(TENANT, account, START_US, UNITS)]]
    void = command_message(TENANT, b"v" * 16, {"type": "void", "commandId": "0" * 32, "key": "key-1", "by": "key_1"})
    group = run.partition.apply([void], run.now_us)
    assert group.late_periods == [(TENANT, account, START_US, UNITS)]


def test_who_paid_gets_back_and_the_last_first() -> None:
    """Proves: a period is paid by grants, then by overdraft; a total that costs less gives back to overdraft first."""
    volume = {"model": "volume", "tiers": tiers(("10", "1", "1"), (None, "0.5", "1"))}
    run = Run([(None, volume)])
    money = {"amount": "4", "currency": "CNY", "kind": "paid", "priority": 1, "expiresAtUs": None}
    run.command(type="grant", customer="a", **money)
    run.use("a", 10 * NANO, START_US)
    run.now_us = END_US + HOUR_US
    run.check()
    # One unit more makes all of them cheaper: 5.5 in place of 10.
    run.use("a", NANO, END_US - 1)
    run.check()
    kinds = [(row["kind"], row["amount"], row["grant_id"] is None) for row in run.partition.tables.of("postings")]
    assert kinds[1:] == [
        (PERIOD_CHARGE, 4 * NANO, False),
        (PERIOD_CHARGE, 6 * NANO, True),
        (PERIOD_CHARGE_REVERSAL, 4_500_000_000, True),
    ]
    for key in list(run.events):
        run.void(key)
    run.check()
    postings = run.partition.tables.of("postings")
    assert [row["amount"] for row in postings[-2:]] == [1_500_000_000, 4 * NANO]
    assert postings[-1]["balance_after"] == 4 * NANO


def test_the_customers_own_card_settles_its_period() -> None:
    """Proves: of two customers the one with a card of its own at the period's last moment is settled by that."""
    dear, cheap = ({"model": "volume", "tiers": tiers((None, price, "1"))} for price in ("2", "1"))
    run = Run([(None, dear), (None, cheap)])
    run.partition.set_catalog(TENANT, catalog([(None, dear)]))
    for name in "ab":
        run.partition.run([run.message(name, 10 * NANO, START_US)[1]], run.now_us)
    own = run.accounts()["b"]
    run.partition.set_catalog(TENANT, catalog([(None, dear), (BEFORE_US, cheap)], 2, [(own, 1, END_US - 1)]))
    run.now_us = END_US + HOUR_US
    run.partition.sweep(run.now_us)
    assert run.totals() == {("a", START_US): 20 * NANO, ("b", START_US): 10 * NANO}


def test_what_does_not_fit_is_refused_with_its_event() -> None:
    """Proves: an event that would make its period cost more than an amount can be is refused alone."""
    run = Run([(None, {"model": "volume", "tiers": tiers((None, "1000000000", "0.000000001"))})])
    _, message = run.message("a", NANO, START_US)
    (reply,) = run.partition.run([message], run.now_us)
    assert _core.split_reply(reply)[2][4] != 0
    run.now_us = END_US + HOUR_US
    run.check()
    assert run.totals() == {}


# ---------------------------------------------------------------- golden tables


def golden() -> list[tuple[str, dict[str, str]]]:
    """(table, row by column)."""
    found: list[tuple[str, dict[str, str]]] = []
    table, columns = "", list[str]()
    for text in GOLDEN.read_text().splitlines():
        if text.startswith("## "):
            table, columns = text[3:].partition(":")[0], []
        elif text.startswith("|") and not text.startswith("|---"):
            cells = [cell.strip() for cell in text.strip("|").split("|")]
            if columns:
                found.append((table, dict(zip(columns, cells, strict=True))))
            columns = columns or cells
    return found


ROWS = golden()


@pytest.mark.parametrize("table, row", ROWS, ids=[row["what"] for _, row in ROWS])
def test_golden(table: str, row: dict[str, str]) -> None:
    """Proves: the table's row is what the engine posts, arithmetic gives and the explanation says."""
    line: Version = {"model": "per_unit", "price": "2"}
    if table == "volume":
        rows = []
        for text in row["tiers"].split(";"):
            end, _, rest = text.strip().partition(": ")
            price, _, per = rest.partition(" per ")
            rows.append((None if end == "beyond" else end.removeprefix("to "), price, per))
        line = {"model": "volume", "tiers": tiers(*rows)}
    for name, column in (("allowance", "allowance"), ("minimumPerPeriod", "minimum per period")):
        if row[column]:
            line[name] = row[column]
    line.setdefault("per", "1")
    run = Run([(None, line)])
    quantities = [to_nano(Decimal(text)) for text in row["used"].split()]
    for quantity in quantities:
        run.use("a", quantity, START_US)
    run.now_us = END_US + HOUR_US
    run.partition.sweep(run.now_us)
    assert run.totals() == {("a", START_US): to_nano(Decimal(row["charge of the period"]))}
    charged = sum(event.charge for event in run.events.values())
    assert charged == to_nano(Decimal(row.get("charged for events", "0")))
    why = explain_period(said(line), from_nano(sum(quantities)), from_nano(charged), Decimal(row["charge of the period"]))
    if "before rounding" in row:
        assert why.exact == row["before rounding"]
    assert why.steps[-1].amount == row["charge of the period"]


def test_the_golden_tables_are_read() -> None:
    """Proves: all rows are there."""
    assert {table: sum(each == table for each, _ in ROWS) for table in ("volume", "minimum")} == {"volume": 18, "minimum": 6}
