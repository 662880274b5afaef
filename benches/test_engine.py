"""The Rust engine by itself, on one core: `pytest benches/test_engine.py`.

`extra_info` names the figure and the events of one round, from which `python -m benches` makes events a second.
"""

from __future__ import annotations

import json
import os
import time

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benches.batches import EVENTS_PER_BATCH, MARK, MODELS, Shape, templates
from buffmoney import _core
from buffmoney.base.clock import SystemClock
from buffmoney.base.periods import Periods

TENANT = 1
CUSTOMERS = 1000
BATCHES_PER_GROUP = 40
GROUP_EVENTS = BATCHES_PER_GROUP * EVENTS_PER_BATCH
METRICS = {"tokens_input": 1, "tokens_output": 2}


def catalog(charges: list[dict[str, object]], **more: object) -> bytes:
    """A catalogue of one card with these lines, in force since ever."""
    return json.dumps(
        {
            "tenantId": TENANT,
            "version": 1,
            "currency": "CNY",
            "unknownCustomers": "create",
            "defaultOverdraftLimit": "0",
            "metrics": [{"id": metric_id, "code": code} for code, metric_id in METRICS.items()],
            "rateCards": [
                {
                    "effectiveFromUs": None,
                    "charges": [{"priceId": price_id, **charge} for price_id, charge in enumerate(charges, start=1)],
                }
            ],
            **more,
        }
    ).encode()


CATALOG = catalog(
    [
        {"metricId": metric_id, "match": {"model": name}, "price": str(4 + metric * 12), "per": "1000000"}
        for name in MODELS
        for metric, metric_id in enumerate(METRICS.values())
    ]
)
MANY_MODELS = tuple(f"model-{number:03d}" for number in range(500))
PRICINGS: tuple[dict[str, object], ...] = (
    {"price": "4.123456789", "per": "1000000"},
    {"model": "package", "price": "0.03", "per": "1000"},
    {"model": "flat", "price": "0.002", "per": "1"},
    {"model": "markup", "price": "2.9", "per": "1000000", "percent": "17.5", "minimum": "0.0001"},
)
CATALOG_OF_1000_LINES = catalog(
    [
        {"metricId": metric_id, "match": {"model": name}, **PRICINGS[number % len(PRICINGS)]}
        for number, name in enumerate(MANY_MODELS)
        for metric_id in METRICS.values()
    ]
)


TIERS = [
    {"upTo": up_to, "price": f"{price}.123456789", "per": "1000000"}
    for price, up_to in ((9, "20000"), (7, "100000"), (5, "1000000"), (4, "20000000"), (3, None))
]
CATALOG_OF_1000_TIERED_LINES = catalog(
    [
        {"metricId": metric_id, "match": {"model": name}, "model": "graduated", "price": "0", "per": "1", "tiers": TIERS}
        | {"counterId": 2 * number + metric_id}
        | ({"allowance": "5000"} if number % 2 else {})
        for number, name in enumerate(MANY_MODELS)
        for metric_id in METRICS.values()
    ],
    periods=Periods().wire(Periods().around(SystemClock().now_us())),
)
CATALOG_OF_1000_VOLUME_LINES = catalog(
    [
        {"metricId": metric_id, "match": {"model": name}, "model": "volume", "price": "0", "per": "1", "tiers": TIERS}
        | {"periodQuantityCounterId": 4 * number + 2 * metric_id, "periodChargeCounterId": 4 * number + 2 * metric_id + 1}
        | ({"minimumPerPeriod": "20"} if number % 2 else {})
        for number, name in enumerate(MANY_MODELS)
        for metric_id in METRICS.values()
    ],
    accrues=True,
    periods=Periods().wire(Periods().around(SystemClock().now_us())),
)
OWN_MODELS = Shape(CUSTOMERS, models=MANY_MODELS, models_each=4)
"""each customer uses four of the models, and so eight of the lines"""


def now_us() -> int:
    """Microseconds since the Unix epoch."""
    return time.time_ns() // 1000


class Bodies:
    """Bodies of real shape, each with keys nobody has seen."""

    def __init__(self, shape: Shape) -> None:
        self._templates = templates(shape, seed=7, count=BATCHES_PER_GROUP)
        self._run = os.urandom(3).hex()
        self._number = 0

    def fresh(self, count: int) -> list[bytes]:
        """The next `count` bodies."""
        made = []
        for _ in range(count):
            self._number += 1
            mark = f"{self._run}{self._number:06x}".encode()
            made.append(self._templates[self._number % len(self._templates)].replace(MARK, mark))
        return made


def satisfied(engine: _core.Engine, messages: list[bytes], account: list[int]) -> list[bytes]:
    """Gives the engine what it asks for before these messages; nothing was ever stored."""
    while not (needs := engine.needs(messages)).nothing:
        if needs.account_ids:
            engine.add_account_ids([account[0] + 2 * step for step in range(needs.account_ids)])
            account[0] += 2 * needs.account_ids
        if needs.wallets:
            engine.load_wallets([], [], needs.wallets)
    return messages


@pytest.mark.parametrize("customers", [CUSTOMERS, 1], ids=["1000-customers", "hot-customer"])
def test_decode(benchmark: BenchmarkFixture, customers: int) -> None:
    """Decode, validate and hash bodies of 500 events."""
    bodies = Bodies(Shape(customers)).fresh(BATCHES_PER_GROUP)

    def decode() -> int:
        moment = now_us()
        return sum(_core.decode_batch(body, TENANT, moment).pending for body in bodies)

    benchmark.extra_info.update(figure="decode_events_per_s" if customers > 1 else "decode_events_per_s_hot_customer", events=GROUP_EVENTS)
    assert benchmark.pedantic(decode, rounds=40, warmup_rounds=5) == GROUP_EVENTS  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    "figure, shape, prices",
    [
        ("rate_events_per_s", Shape(CUSTOMERS), CATALOG),
        ("rate_events_per_s_hot_customer", Shape(1), CATALOG),
        ("rate_events_per_s_1000_lines", Shape(CUSTOMERS, models=MANY_MODELS), CATALOG_OF_1000_LINES),
        ("rate_events_per_s_1000_lines_tiered", OWN_MODELS, CATALOG_OF_1000_TIERED_LINES),
        ("rate_events_per_s_1000_lines_tiered_all_used", Shape(CUSTOMERS, models=MANY_MODELS), CATALOG_OF_1000_TIERED_LINES),
        ("rate_events_per_s_1000_lines_volume", OWN_MODELS, CATALOG_OF_1000_VOLUME_LINES),
    ],
    ids=["1000-customers", "hot-customer", "1000-lines", "1000-lines-tiered", "1000-lines-tiered-all-used", "1000-lines-volume"],
)
def test_rate(benchmark: BenchmarkFixture, figure: str, shape: Shape, prices: bytes) -> None:
    """Rate, deduct and encode prepared groups of 20,000 events, up to the bytes of COPY."""
    bodies = Bodies(shape)
    engine = _core.Engine(0, bytes(range(32)))
    engine.start(0, bytes(32), 1)
    engine.load_catalog(TENANT, prices)
    account = [1000]
    grants = []
    for number in range(shape.customers):
        command = {
            "type": "grant",
            "commandId": os.urandom(16).hex(),
            "customer": shape.name(number),
            "amount": "100000000",
            "currency": "CNY",
        }
        command.update({"kind": "paid", "priority": 100, "expiresAtUs": None})  # type: ignore[dict-item]
        grants.append(_core.command_message(TENANT, os.urandom(16), b"reply:bench", False, json.dumps(command).encode(), b""))
    engine.commit(engine.apply(satisfied(engine, grants, account), now_us()).group_id)
    opened: list[int] = []

    def prepare() -> tuple[tuple[list[bytes]], dict[str, object]]:
        for group_id in opened:
            engine.commit(group_id)
        opened.clear()
        moment = now_us()
        decoded = [_core.decode_batch(body, TENANT, moment) for body in bodies.fresh(BATCHES_PER_GROUP)]
        messages = [batch.message(os.urandom(16), b"reply:bench", False) for batch in decoded]
        return (satisfied(engine, messages, account),), {}

    def rate(messages: list[bytes]) -> tuple[int, int]:
        group = engine.apply(messages, now_us())
        opened.append(group.group_id)
        return group.events_accepted, sum(len(stream) for _, _, stream in group.copies)

    benchmark.extra_info.update(figure=figure, events=GROUP_EVENTS)
    accepted, encoded = benchmark.pedantic(rate, setup=prepare, rounds=30, warmup_rounds=3)  # type: ignore[no-untyped-call]
    assert accepted == GROUP_EVENTS
    assert encoded > GROUP_EVENTS * 100
