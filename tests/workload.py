"""A seeded generator of what customers of a billing system do: batches with duplicates, conflicts and bad events, grants,
holds, captures, releases, refunds, voids, amendments, price changes, and time that goes by.

The same seed gives the same steps. A step is plain data: the property tests give it to the engine and to the oracle.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.oracle import Assignment, Card, Charge, Usage, nano, show

START_US = int(datetime(2026, 3, 31, 15, 0, tzinfo=UTC).timestamp()) * 1_000_000
"""the last hours of a month in Shanghai"""
METRICS = ("tokens_input", "tokens_output", "images", "agent_runs", "storage_gb")
OTHER_CURRENCIES = ("USD", "EUR")
CURRENCIES = {"customer-1": "USD", "customer-3": "EUR"}
"""of customers that have not the tenant's"""
MODELS = ("gpt-4o", "claude-sonnet", "qwen-max", "deepseek-v3")
REGIONS = ("cn-east", "cn-north", "eu-west")
ALLOWANCES = ("1", "3000", "12000.5", "0.000000001")
BAD_FIELDS: tuple[tuple[str, Any, str], ...] = (
    ("quantity", "-1", "invalid_quantity"),
    ("quantity", "0", "invalid_quantity"),
    ("quantity", "1e3", "invalid_quantity"),
    ("quantity", "0.0000000001", "invalid_quantity"),
    ("quantity", "１２", "invalid_quantity"),
    ("occurredAt", "2026-03-31T12:00:00", "invalid_time"),
    ("occurredAt", "2026-02-30T12:00:00Z", "invalid_time"),
    ("occurredAt", "2020-01-01T00:00:00Z", "too_old"),
    ("occurredAt", "2027-01-01T00:00:00Z", "in_future"),
    ("customerExternalId", "", "invalid_customer"),
    ("idempotencyKey", "x" * 256, "invalid_idempotency_key"),
)
"""field, bad value, the code that the event gets"""


def rfc3339(time_us: int) -> str:
    """UTC with microseconds, the way clients write it."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"


def event_json(event: Usage) -> dict[str, Any]:
    """A valid event as a client sends it."""
    body: dict[str, Any] = {
        "customerExternalId": event.customer,
        "idempotencyKey": event.key,
        "metric": event.metric,
        "quantity": show(event.quantity),
        "occurredAt": rfc3339(event.occurred_us),
    }
    if event.dimensions:
        body["dimensions"] = dict(event.dimensions)
    return body


@dataclass(frozen=True)
class Batch:
    """Events of one request. An entry is a valid event, or (JSON, code) of a bad one."""

    entries: tuple[Usage | tuple[dict[str, Any], str], ...]

    def json(self) -> dict[str, Any]:
        """The request body."""
        return {"events": [event_json(entry) if isinstance(entry, Usage) else entry[0] for entry in self.entries]}


@dataclass(frozen=True)
class GiveGrant:
    """amount in nano-units, expires_in_us None for never."""

    customer: str
    command_id: str
    amount: int
    kind: str
    priority: int
    expires_in_us: int | None
    currency: str = "CNY"


@dataclass(frozen=True)
class PlaceHold:
    """amount in nano-units; events: what is held is their price."""

    customer: str
    command_id: str
    amount: int
    ttl_ms: int
    events: Batch | None = None


@dataclass(frozen=True)
class Capture:
    """amount None: the whole hold; events: the actual usage instead of an amount."""

    hold_id: str
    command_id: str
    amount: int | None = None
    events: Batch | None = None


@dataclass(frozen=True)
class Release:
    """Gives a hold back."""

    hold_id: str
    command_id: str


@dataclass(frozen=True)
class Refund:
    """Takes credit back. parts: (id of a grant, nano-units). once: a refusal is its answer for good."""

    customer: str
    command_id: str
    parts: tuple[tuple[str, int], ...]
    once: bool = False


@dataclass(frozen=True)
class Void:
    """Takes events back, by key; `set_id`: as some of a set, each decided by itself."""

    keys: tuple[str, ...]
    command_id: str
    set_id: str | None = None


@dataclass(frozen=True)
class Amend:
    """Takes an event back and another one instead."""

    key: str
    command_id: str
    event: Usage


@dataclass(frozen=True)
class Configure:
    """overdraft_limit in nano-units, None for no floor. currency: None for the tenant's, or whatever the wallet has."""

    customer: str
    command_id: str
    overdraft_limit: int | None
    currency: str | None = None


@dataclass(frozen=True)
class ChangeCard:
    """A new rate card."""

    card: Card


@dataclass(frozen=True)
class ChangePeriods:
    """The merchant's billing periods begin elsewhere from the end of the open one on."""

    zone: str
    anchor_day: int


@dataclass(frozen=True)
class Assign:
    """A customer gets a card of its own, or the default ones again; nothing happens if there is no such customer."""

    assignment: Assignment


@dataclass(frozen=True)
class PassTime:
    """Time goes by, and what is due is swept or not."""

    microseconds: int
    sweep: bool


Step = Batch | GiveGrant | PlaceHold | Capture | Release | Refund | Void | Amend | Configure | ChangeCard | Assign | PassTime


def line(metric: str, chooser: random.Random, match: dict[str, str]) -> Charge:
    """A line of any model, cheap enough that wallets last for some events; now and then with a minimum or an allowance."""
    model = chooser.choice(("per_unit", "per_unit", "package", "flat", "markup", "graduated", "graduated"))
    if model == "graduated":
        return tiered_line(metric, chooser, match)
    decimals = chooser.choice(("0", f"{chooser.randint(0, 999):03d}", f"{chooser.randint(0, 10**9 - 1):09d}"))
    price = f"{chooser.randint(0, 40)}.{decimals}"
    per = "1" if model == "flat" else chooser.choice(("1", "1000", "1000000", "7", "333.333333333"))
    percent = chooser.choice(("0", "20", "12.5", "33.333333333", "0.000000001", "250")) if model == "markup" else None
    minimum = chooser.choice(("0.01", "0.000000001", "1.5")) if chooser.random() < 0.25 else None
    allowance = chooser.choice(ALLOWANCES) if model != "flat" and chooser.random() < 0.25 else None
    blocks = "period" if model == "package" and nano(price) and chooser.random() < 0.6 else "event"
    return Charge(metric, price, per, match, model, percent, None if blocks == "period" else minimum, allowance, blocks=blocks)


def tiered_line(metric: str, chooser: random.Random, match: dict[str, str]) -> Charge:
    """A graduated line whose tiers end where some thousand units, as these workloads use, get to; now and then with an allowance."""
    tiers: list[tuple[str | None, str, str]] = []
    end = 0
    for _ in range(chooser.randint(0, 4)):
        end += chooser.choice((1, 10**9, 700 * 10**9, chooser.randint(1, 5000 * 10**9)))
        tiers.append((show(end), f"{chooser.randint(0, 9)}.{chooser.randint(0, 10**9 - 1):09d}", chooser.choice(("1", "1000", "7"))))
    tiers.append((None, f"0.{chooser.randint(0, 999):03d}", chooser.choice(("1", "1000000", "333.333333333"))))
    minimum = chooser.choice(("0.01", "1.5")) if chooser.random() < 0.25 else None
    allowance = chooser.choice(ALLOWANCES) if chooser.random() < 0.4 else None
    return Charge(metric, "0", "1", match, "graduated", None, minimum, allowance, tuple(tiers))


def product_of(metric: str) -> str:
    """Tokens are sold by one product, everything else by another."""
    return "default" if metric.startswith("tokens") else "prod_0000000000000000000000aa"


def rate_card(number: int, effective_us: int | None, created_us: int, chooser: random.Random, product: str = "default") -> Card:
    """A card with a price for most metrics of its product, and dearer or cheaper ones for some models and regions."""
    charges = []
    metrics = [metric for metric in METRICS if product_of(metric) == product]
    for metric in metrics:
        if chooser.random() < 0.9:
            charges.append(line(metric, chooser, {}))
        for model in MODELS:
            if chooser.random() < 0.4:
                charges.append(line(metric, chooser, {"model": model}))
            if chooser.random() < 0.15:
                charges.append(line(metric, chooser, {"model": model, "region": chooser.choice(REGIONS)}))
    if not charges:
        charges.append(Charge(metrics[0], "1"))
    for charge in charges.copy():
        for currency in OTHER_CURRENCIES:
            if chooser.random() < 0.7:
                charges.append(replace(line(charge.metric, chooser, dict(charge.match)), currency=currency))
    return Card(f"card {number}", tuple(charges), effective_us=effective_us, created_us=created_us, product=product)


@dataclass
class Workload:
    """The generator. customers: how many there are; time starts at START_US."""

    seed: int
    customers: int = 6
    now_us: int = START_US
    keys: int = 0
    commands: int = 0
    cards: int = 0
    sent: list[Usage] = field(default_factory=list)
    correct: bool = False
    """whether events are voided and amended, too"""
    holds: list[tuple[str, str]] = field(default_factory=list)
    """(hold id, customer)"""
    grants: list[tuple[str, str]] = field(default_factory=list)
    """(grant id, customer)"""
    repeatable: list[Step] = field(default_factory=list)
    published: dict[str, list[str]] = field(default_factory=dict)
    """names of the cards of each product"""

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def customer(self) -> str:
        """Some customers are much busier than others, and one name is not ASCII."""
        number = min(int(self.random.expovariate(3 / self.customers)), self.customers - 1)
        return "顾客-五" if number == 5 else f"customer-{number}"

    def command_id(self) -> str:
        """32 hexadecimal digits."""
        self.commands += 1
        return f"{self.seed % 2**64:016x}{self.commands:016x}"

    def amount(self, most: int) -> int:
        """Nano-units, often round, sometimes with all nine decimals."""
        if self.random.random() < 0.5:
            return nano(str(self.random.randint(1, most)))
        return self.random.randint(1, most * 10**9)

    def event(self) -> Usage:
        """A new valid event."""
        self.keys += 1
        dimensions = []
        if self.random.random() < 0.8:
            dimensions.append(("model", self.random.choice(MODELS)))
        if self.random.random() < 0.4:
            dimensions.append(("region", self.random.choice(REGIONS)))
        quantity = nano(str(self.random.randint(1, 5000))) if self.random.random() < 0.8 else self.random.randint(1, 10**12)
        age_s = self.random.choice((-60, 0, 1, 3600, 86_400, 30 * 86_400))
        occurred_us = self.now_us - age_s * 10**6 - self.random.randint(0, 1)
        return Usage(self.customer(), f"key-{self.keys}", self.random.choice(METRICS), quantity, occurred_us, tuple(sorted(dimensions)))

    def entry(self) -> Usage | tuple[dict[str, Any], str]:
        """A new event, an old one again, an old key with another payload, or a bad event."""
        dice = self.random.random()
        if dice < 0.1 and self.sent:
            return self.random.choice(self.sent)
        if dice < 0.15 and self.sent:
            old = self.random.choice(self.sent)
            return Usage(old.customer, old.key, old.metric, old.quantity + 10**9, old.occurred_us, old.dimensions)
        if dice < 0.2:
            name, value, code = self.random.choice(BAD_FIELDS)
            return {**event_json(self.event()), name: value}, code
        event = self.event()
        self.sent.append(event)
        return event

    def batch(self, most: int = 12) -> Batch:
        """One request."""
        return Batch(tuple(self.entry() for _ in range(self.random.randint(1, most))))

    def capture(self) -> Capture:
        """Of any hold there ever was, so closed and expired ones too."""
        hold_id, customer = self.random.choice(self.holds)
        dice = self.random.random()
        if dice < 0.3:
            return Capture(hold_id, self.command_id(), amount=self.amount(30))
        if dice < 0.6:
            events = [self.event() for _ in range(self.random.randint(1, 4))]
            if self.random.random() < 0.9:
                events = [replace(event, customer=customer) for event in events]
            if self.correct:
                # What a capture took can be voided like any other usage.
                self.sent += events
            return Capture(hold_id, self.command_id(), events=Batch(tuple(events)))
        return Capture(hold_id, self.command_id())

    def refund(self) -> Refund:
        """Of grants there ever were, mostly the newest of one customer: open, spent, expired, partly on hold; now and then of another
        customer's, or of one twice."""
        _, customer = self.random.choice(self.grants[-12:])
        theirs = [grant_id for grant_id, owner in self.grants if owner == customer][-4:]
        chosen = self.random.sample(theirs, min(len(theirs), self.random.choice((1, 1, 2, 3))))
        if self.random.random() < 0.1:
            chosen.append(self.random.choice(self.grants)[0])
        return Refund(customer, self.command_id(), tuple((one, self.amount(8)) for one in chosen), self.random.random() < 0.5)

    def publish(self, card: Card) -> ChangeCard:
        """A new card, known from now on."""
        self.published.setdefault(card.product, []).append(card.name)
        return ChangeCard(card)

    def correction(self) -> Void | Amend:
        """Of events that were sent, taken or not, perhaps voided already, or that never were."""
        dice = self.random.random()
        if dice < 0.4:
            return Void((self.random.choice(self.sent).key if dice < 0.37 else "never",), self.command_id())
        if dice < 0.6:
            some = self.random.sample(self.sent, min(len(self.sent), self.random.randint(1, 6)))
            keys = [event.key for event in some]
            return Void((*keys, keys[0]), self.command_id(), self.command_id())
        old = self.random.choice(self.sent)
        self.keys += 1
        key = old.key if dice < 0.63 else f"key-{self.keys}"
        quantity = self.amount(2000)
        changed = replace(old, key=key, quantity=quantity, occurred_us=self.now_us, metric=self.random.choice((old.metric, *METRICS)))
        if dice < 0.95:
            self.sent.append(changed)
        else:
            changed = replace(changed, customer=self.customer())
        return Amend(old.key, self.command_id(), changed)

    def new_step(self) -> Step:
        """Whatever comes next."""
        if self.correct and self.sent and self.random.random() < 0.3:
            return self.correction()
        dice = self.random.random()
        if dice < 0.5:
            return self.batch()
        if dice < 0.68:
            expiry = self.random.choice((None, None, 10**6, 60 * 10**6, 3600 * 10**6))
            kind = self.random.choice(("paid", "paid", "bonus", "promotional"))
            customer, priority = self.customer(), self.random.choice((0, 0, 10, 50))
            currency = CURRENCIES.get(customer, "CNY") if self.random.random() < 0.9 else "USD"
            grant = GiveGrant(customer, self.command_id(), self.amount(60), kind, priority, expiry, currency)
            self.grants.append((grant.command_id, customer))
            return grant
        if dice < 0.71 and self.grants:
            return self.refund()
        if dice < 0.78:
            customer = self.customer()
            hold = PlaceHold(customer, self.command_id(), self.amount(40), self.random.choice((1_000, 60_000, 3_600_000)))
            if self.random.random() < 0.4:
                hold = replace(
                    hold, events=Batch(tuple(replace(self.event(), customer=customer) for _ in range(self.random.randint(1, 4))))
                )
            self.holds.append((hold.command_id, hold.customer))
            return hold
        if dice < 0.86 and self.holds:
            return self.capture() if self.random.random() < 0.7 else Release(self.random.choice(self.holds)[0], self.command_id())
        if dice < 0.9:
            currency = self.random.choice((None, None, None, "CNY", "USD"))
            return Configure(self.customer(), self.command_id(), self.random.choice((0, nano("5"), nano("50"), None)), currency)
        if dice < 0.93:
            self.cards += 1
            effective_us = self.now_us - self.random.choice((0, 3600 * 10**6))
            card = rate_card(self.cards, effective_us, self.now_us, self.random, product_of(self.random.choice(METRICS)))
            if self.random.random() < 0.4:
                card = replace(card, audience="assigned", currency=self.random.choice(("CNY", "USD")))
            return self.publish(card)
        if dice < 0.96:
            product = self.random.choice(sorted(self.published))
            card_name = self.random.choice([None, *self.published[product]])
            effective_us = self.now_us - self.random.choice((0, 0, 3600 * 10**6, -60 * 10**6))
            return Assign(Assignment(self.customer(), product, card_name, effective_us))
        passed = self.random.choice((1, 1_000, 2 * 10**6, 90 * 10**6, 4000 * 10**6))
        self.now_us += passed
        return PassTime(passed, self.random.random() < 0.5)

    def steps(self, count: int) -> Iterator[Step]:
        """The first card of each product, customers of other currencies, then `count` steps; now and then an old command comes again."""
        for product in sorted({product_of(metric) for metric in METRICS}):
            yield self.publish(rate_card(self.cards, None, self.now_us, self.random, product))
            self.cards += 1
        for customer, currency in CURRENCIES.items():
            yield Configure(customer, self.command_id(), self.random.choice((0, nano("50"))), currency)
        for _ in range(count):
            if self.repeatable and self.random.random() < 0.05:
                yield self.random.choice(self.repeatable)
                continue
            step = self.new_step()
            if isinstance(step, (GiveGrant, PlaceHold, Capture, Release, Refund, Void, Amend)):
                self.repeatable.append(step)
            yield step
