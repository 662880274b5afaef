"""Request bodies of real shape, built once so that sending one costs a single replace."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

MODELS = ("gpt-4o", "deepseek-v3", "qwen-max", "claude-sonnet")
EVENTS_PER_BATCH = 500
MARK = b"@batch-mark@"
"""stands in every idempotencyKey of a template; each batch puts 12 characters of its own there"""

RATE_CARD: dict[str, object] = {
    "name": "bench",
    "currency": "CNY",
    "charges": [
        {"metric": metric, "per": "1000000", "price": price, "match": {"model": model}}
        for model, (input_price, output_price) in zip(MODELS, (("4", "16"), ("2", "8"), ("2.4", "9.6"), ("21", "105")), strict=True)
        for metric, price in (("tokens_input", input_price), ("tokens_output", output_price))
    ],
}
TIERED_CARD: dict[str, object] = {
    "name": "bench tiered",
    "currency": "CNY",
    "charges": [
        {
            "metric": metric,
            "match": {"model": model},
            "model": "graduated",
            "allowance": "5000",
            "tiers": [
                {"upTo": "100000", "price": "9", "per": "1000000"},
                {"upTo": "10000000", "price": "7", "per": "1000000"},
                {"upTo": None, "price": "5", "per": "1000000"},
            ],
        }
        for model in MODELS
        for metric in ("tokens_input", "tokens_output")
    ],
}


@dataclass(frozen=True, slots=True)
class Shape:
    """Whose events fill the batches, and of which models. `own` gives every event a customer of its own; else one request is an input
    and an output event. models_each: how many of the models a customer uses; None: all of them."""

    customers: int
    own: bool = False
    prefix: str = "customer"
    models: tuple[str, ...] = MODELS
    models_each: int | None = None

    def model(self, customer: int, chance: random.Random) -> str:
        """One of those that this customer uses."""
        return self.models[(7 * customer + chance.randrange(self.models_each or len(self.models))) % len(self.models)]

    def name(self, number: int) -> str:
        """The external id of a customer."""
        return f"{self.prefix}-{number:07d}"


def templates(shape: Shape, seed: int, count: int | None = None) -> list[bytes]:
    """Bodies of 500 events with MARK where the batch's own characters go. With `own`, one round over them touches every customer once."""
    chance = random.Random(seed)
    walk = itertools.cycle(range(shape.customers))
    if count is None:
        count = max(1, shape.customers // EVENTS_PER_BATCH) if shape.own else 48
    now = datetime.now(UTC) - timedelta(seconds=60)
    bodies = []
    for _ in range(count):
        events: list[dict[str, object]] = []
        while len(events) < EVENTS_PER_BATCH:
            moment = (now + timedelta(milliseconds=chance.randrange(60_000))).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            tokens = {"tokens_input": int(chance.lognormvariate(6.5, 1.1)) + 1, "tokens_output": int(chance.lognormvariate(5, 1)) + 1}
            one = chance.randrange(shape.customers)
            model = shape.model(one, chance)
            for metric, quantity in tokens.items():
                customer = next(walk) if shape.own else one
                events.append(
                    {
                        "customerExternalId": shape.name(customer),
                        "idempotencyKey": f"{MARK.decode()}-{len(events):03d}",
                        "metric": metric,
                        "quantity": str(quantity),
                        "occurredAt": moment,
                        "dimensions": {"model": model},
                    }
                )
        bodies.append(json.dumps({"events": events}, separators=(",", ":")).encode())
    return bodies


def batch_marks(seed: int) -> Iterator[bytes]:
    """12 characters each, never the same twice within a seed, and other ones for every seed."""
    start = (seed % 0xFFFFFF) << 24
    return (b"%012x" % (start + number) for number in itertools.count())
