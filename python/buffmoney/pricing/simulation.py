"""A rate card over past usage: what was charged, and what the card would have charged, by customer, metric and day.

Stored events stream through the Rust code that rates new ones; nothing is written. The card under test counts alone and since ever: a
simulation asks what a price would have earned, not what the change to it would have been like. Balances play no part: an event that was
taken stays taken, however dear it would have been. Where the card counts, its counters begin with the billing period: usage from outside
of the time that is looked at moves them and is in no sum, so a part of a month costs what it cost within the month. A simulation is in
one currency, and customers of others are left aside: their charges could not be added up. Which cards are assigned to customers plays no
part either. What a billing period costs at its end counts, before and after, if the period lies as a whole within the time that is
looked at and is over: in the day with its last moment.
"""

from __future__ import annotations

import asyncio
import json
import unicodedata
import zoneinfo
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec

from buffmoney._core import Simulation
from buffmoney.base import money, queries
from buffmoney.base.clock import EPOCH, format_time, to_datetime, to_us
from buffmoney.base.errors import Problem
from buffmoney.base.http import Answer, Call, Route
from buffmoney.base.periods import Periods, time_zone
from buffmoney.base.times import parse_time
from buffmoney.base.wire import Currency, CustomerId, Date, MetricCode, Number, Time, TimeZone
from buffmoney.pricing import cards

if TYPE_CHECKING:
    from buffmoney.base.database import Connection

MAX_EVENTS = 200_000
"""that one request may cover; the command line has no such bound"""
MAX_ROWS = 1_000
"""of customers, and of groups by customer, metric and day, that one answer gives"""
MAX_AT_ONCE = 1
"""simulations that one edge runs beside its other work"""
FEED_BYTES = 1 << 20
FIRST_DAY = date(2000, 1, 1)
LAST_DAY = date(2100, 1, 1)
# Usage is taken up to 35 days back and 5 minutes ahead. Twice as much costs at most some days' tables, and covers whatever lay in an inbox.
ARRIVES_BEFORE = timedelta(days=1)
ARRIVES_AFTER = timedelta(days=70)
_EVER = (-(1 << 63), (1 << 63) - 1)

_SQL = queries.load("buffmoney.pricing", "simulate.sql")
# Of a line's columns and fields, what the catalogue does not have; the others are called there as here, in its own spelling.
_NOT_IN_CATALOG = frozenset(
    {
        *("tenant_id", "rate_card_id", "line", "price_id", "metric"),
        *("counter_id", "period_quantity_counter_id", "period_charge_counter_id"),
    }
)

Report = dict[str, Any]
"""As the Rust simulation gives it, with `customerExternalId` in place of `accountId`."""
Step = Callable[[int], None]
"""Told of progress: events read so far."""


@dataclass(frozen=True, slots=True)
class Span:
    """Which usage is looked at. Times in microseconds, half-open; each None for all."""

    from_us: int | None = None
    to_us: int | None = None
    customer: str | None = None

    @property
    def occurred(self) -> tuple[datetime | None, datetime | None]:
        """When the usage happened."""
        return (None if self.from_us is None else to_datetime(self.from_us)), (None if self.to_us is None else to_datetime(self.to_us))

    @property
    def arrived(self) -> tuple[datetime | None, datetime | None]:
        """When such usage can have come in: what decides which days' tables are read."""
        first, last = self.occurred
        return (None if first is None else first - ARRIVES_BEFORE), (None if last is None else last + ARRIVES_AFTER)

    def whole_periods(self, periods: Periods) -> Span:
        """The same with all of the billing periods in which it begins and ends. What counters of a period stand at depends on what was
        committed before: also on usage from before the span, and on that from after it, where some of the span's came late."""
        from_us, to_us = self.from_us, self.to_us
        first, *_, last = periods.starts_us
        # Outside of the table nothing can have happened.
        if from_us is not None and first <= from_us < last:
            from_us, _ = periods.of(from_us)
        if to_us is not None and first < to_us <= last:
            _, to_us = periods.of(to_us - 1)
        return Span(from_us, to_us, self.customer)


@dataclass(frozen=True, slots=True)
class Card:
    """A card to be tried: its lines as the catalogue holds them. rate_card_id None: it is not stored."""

    name: str
    charges: list[dict[str, Any]]
    product_id: str
    currency: str
    rate_card_id: str | None = None

    @property
    def counts(self) -> bool:
        """Whether any line has tiers, an allowance or blocks of the period: then the order of events matters."""
        return any("counterId" in charge for charge in self.charges)

    def reads(self, span: Span, periods: Periods) -> Span:
        """Which usage must be read to know what that of a span would have cost."""
        return span.whole_periods(periods) if self.counts else span

    @property
    def settles(self) -> bool:
        """Whether a period can cost something at its end."""
        return any("periodQuantityCounterId" in charge for charge in self.charges)


# ---------------------------------------------------------------- the card


async def stored_card(connection: Connection, tenant_id: int, card_id: str) -> Card:
    """A card of the tenant, in force or not. Raises Problem rate_card_not_found."""
    row = await connection.fetchrow(_SQL["card"], tenant_id, card_id)
    if row is None:
        raise Problem("rate_card_not_found", "There is no rate card with this id.", "rateCardId")
    card = json.loads(row["card"])
    lines = json.loads(row["charges"], parse_float=Decimal)
    charges = [_charge(number, line) for number, line in enumerate(lines, 1)]
    return Card(card["name"], charges, card["product_id"], card["currency"], card["rate_card_id"])


def written_card(name: str, currency: str, charges: list[cards.Charge], metric_ids: dict[str, int], product_id: str) -> Card:
    """A card that is not stored. charges: checked. Raises Problem unknown_metric."""
    lines = []
    for number, charge in enumerate(charges, 1):
        if charge.metric not in metric_ids:
            raise Problem("unknown_metric", f"There is no metric {charge.metric}.", f"charges[{charge.line}].metric")
        tiers = [tier.wire for tier in charge.tiers] or None
        fields = {**msgspec.structs.asdict(charge), "metric_id": metric_ids[charge.metric], "tiers": tiers}
        lines.append(_charge(number, fields))
    return Card(name, lines, product_id, currency)


def _charge(price_id: int, fields: dict[str, Any]) -> dict[str, Any]:
    """A line of the catalogue from a row's columns or a checked line's fields: amounts as strings, absent where there is none.

    price_id: any, for what was never published has none. A line that counts gets a counter of its own by the same number: a simulation
    counts anew.
    """
    charge: dict[str, Any] = {"priceId": price_id}
    for name, value in fields.items():
        if name in _NOT_IN_CATALOG or value is None:
            continue
        first, *others = name.split("_")
        amount = isinstance(value, Decimal) or (isinstance(value, int) and not name.endswith("_id"))
        charge[first + "".join(map(str.capitalize, others))] = money.format_decimal(Decimal(value)) if amount else value
    volume = charge.get("model") == cards.VOLUME
    if not volume and ("allowance" in charge or "tiers" in charge or charge.get("blocks") == cards.PERIOD):
        charge["counterId"] = price_id
    if volume or "minimumPerPeriod" in charge:
        charge |= {"periodQuantityCounterId": price_id, "periodChargeCounterId": -price_id}
    return charge


def catalog_with(before: bytes, card: Card, currency: str, periods: Periods) -> bytes:
    """The tenant's catalogue with this card alone, in force since ever, for customers of one currency."""
    content = json.loads(before)
    content["currency"] = currency
    tested = {"rateCardId": card.rate_card_id or "", "productId": card.product_id, "currency": card.currency, "effectiveFromUs": None}
    content["rateCards"] = [{**tested, "charges": card.charges}]
    if card.counts or card.settles:
        content["periods"] = periods.wire(periods.starts_us)
    return json.dumps(content).encode()


# ---------------------------------------------------------------- days


@lru_cache(maxsize=64)
def day_starts(zone: str) -> list[int]:
    """When each day from FIRST_DAY to LAST_DAY starts in a time zone, in microseconds.

    Where the clocks leave midnight out, the day starts with the moment at which they do; a day left out altogether starts with the next.
    """
    where = zoneinfo.ZoneInfo(zone)
    days = range((LAST_DAY - FIRST_DAY).days + 1)
    midnight = datetime(FIRST_DAY.year, FIRST_DAY.month, FIRST_DAY.day, tzinfo=where)
    return [to_us((midnight + timedelta(days=day)).astimezone(UTC)) for day in days]


# ---------------------------------------------------------------- the reading


class _Feed:
    """Hands COPY's many small pieces over in large ones: one is rated in another thread while the next one is read."""

    def __init__(self, simulation: Simulation, step: Step) -> None:
        self._simulation = simulation
        self._step = step
        self._pieces: list[bytes] = []
        self._size = 0
        self._rating: asyncio.Task[int] | None = None
        self.events = 0

    async def __call__(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size >= FEED_BYTES:
            await self._hand_over()

    async def _hand_over(self) -> None:
        await self.settle()
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        self._rating = asyncio.create_task(asyncio.to_thread(self._simulation.events, data))

    async def settle(self) -> None:
        """Waits for what was handed over last. Raises ValueError for rows that cannot be rated."""
        if self._rating is not None:
            rating, self._rating = self._rating, None
            self.events = await rating
            self._step(self.events)

    async def finish(self) -> None:
        """Rates what is left."""
        await self._hand_over()
        await self.settle()


async def simulate(
    connection: Connection,
    tenant_id: int,
    card: Card,
    span: Span,
    zone: str,
    currency: str,
    step: Step,
    *,
    now_us: int,
    most_events: int | None = None,
    most_rows: int | None = None,
) -> Report:
    """Rates the tenant's usage anew, in the caller's transaction, which may be a read-only one.

    most_events: that are read, which for a card that counts may be more than are looked at.

    Raises Problem currency_mismatch (the card has no price in this currency), simulation_too_large (more than most_events),
    amount_out_of_range.
    """
    if all(charge.get("currency", card.currency) != currency for charge in card.charges):
        raise Problem("currency_mismatch", f"The rate card has no price in {currency}.", "currency")
    account_id = None
    if span.customer is not None:
        # A customer without a wallet has used nothing, and no account has this number.
        account_id = await connection.fetchval(_SQL["account"], tenant_id, span.customer) or 0
    before = (await connection.fetchval(_SQL["catalog"], tenant_id)).encode()
    periods = Periods.stored(await connection.fetchval(_SQL["periods"], tenant_id))
    starts = await asyncio.to_thread(day_starts, zone)
    after = catalog_with(before, card, currency, periods)
    settled = (span.from_us or 0, now_us if span.to_us is None else min(span.to_us, now_us))
    looked_at = (_EVER[0] if span.from_us is None else span.from_us, _EVER[1] if span.to_us is None else span.to_us)
    read = card.reads(span, periods)
    simulation = Simulation(before, after, (FIRST_DAY - EPOCH.date()).days, starts, settled, looked_at)
    feed = _Feed(simulation, step)
    output: Callable[[bytes], Coroutine[Any, Any, None]] = feed.__call__
    limit = None if most_events is None else most_events + 1
    # Nearly all tenants have one currency: they need not look up whose wallet is in which.
    only = currency if await connection.fetchval(_SQL["other_currencies"], tenant_id, currency) else None
    await connection.execute(_SQL["match_voids_by_hash"])
    try:
        await connection.copy_from_query(
            _SQL["events_in_order" if card.counts else "events"],
            tenant_id,
            *read.occurred,
            *read.arrived,
            account_id,
            limit,
            only,
            output=output,
            format="binary",
        )
        await feed.finish()
        if most_events is not None and feed.events > most_events:
            raise too_large(most_events)
        await _settle(connection, tenant_id, simulation, periods, settled, account_id, currency)
        report: Report = json.loads(await asyncio.to_thread(simulation.finish, most_rows))
    except ValueError as failure:
        raise Problem("amount_out_of_range", f"The usage cannot be simulated: {failure}.") from failure
    await _name_customers(connection, tenant_id, report)
    return report


async def _settle(
    connection: Connection,
    tenant_id: int,
    simulation: Simulation,
    periods: Periods,
    settled: tuple[int, int],
    account_id: int | None,
    currency: str,
) -> None:
    """Adds what periods were charged at their ends."""
    since, until = (to_datetime(moment) for moment in settled)
    rows = await connection.fetch(_SQL["period_charges"], tenant_id, since, until, account_id, currency)
    found = []
    for row in rows:
        _, end_us = periods.of(to_us(row["period_start"]))
        if end_us <= settled[1]:
            found.append((row["account_id"], row["metric_id"], end_us - 1, row["total"]))
    simulation.period_charges(found)


async def currency_of(connection: Connection, tenant_id: int, tenant_currency: str, span: Span, asked: str | None) -> str:
    """The currency to simulate in: the one asked for, else the customer's, else the tenant's. Raises Problem invalid_currency."""
    if asked is not None:
        return money.check_currency(asked, "currency", known=tenant_currency)
    found: str | None = None
    if span.customer is not None:
        found = await connection.fetchval(_SQL["currency"], tenant_id, span.customer)
    return found or tenant_currency


def too_large(most_events: int) -> Problem:
    """The refusal of what would take too long."""
    return Problem(
        "simulation_too_large",
        f"That is more than {most_events:,} events, or takes too long to find: ask for a shorter time or for one customer (a card with "
        "tiers or an allowance reads whole billing periods), or use `buffmoney rate-cards simulate`, which has no bound.",
        "from",
    )


async def expected(connection: Connection, tenant_id: int, card: Card, span: Span) -> int:
    """About how many events will be read."""
    span = card.reads(span, Periods.stored(await connection.fetchval(_SQL["periods"], tenant_id)))
    account_id = None
    if span.customer is not None:
        account_id = await connection.fetchval(_SQL["account"], tenant_id, span.customer) or 0
    return int(await connection.fetchval(_SQL["rolled_up"], tenant_id, *span.occurred, account_id))


async def _name_customers(connection: Connection, tenant_id: int, report: Report) -> None:
    rows = [*report["byCustomer"], *report["data"]]
    accounts = list({row["accountId"] for row in rows})
    names = {row["account_id"]: row["external_id"] for row in await connection.fetch(_SQL["names"], tenant_id, accounts)}
    for row in rows:
        row["customerExternalId"] = names[row.pop("accountId")]


# ---------------------------------------------------------------- the route


class SimulateBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Which past usage.

    customerExternalId: of one customer. from, to: RFC 3339, half-open, by when it occurred. timeZone: where its days begin. currency: of
    which customers; without it that of the one asked for, else the merchant's.
    """

    from_: Time | None = msgspec.field(default=None, name="from")
    to: Time | None = None
    customer_external_id: CustomerId | None = None
    time_zone: TimeZone = "Asia/Shanghai"
    currency: Currency | None = None


class SimulatedSums(msgspec.Struct, rename="camel"):
    """Sums over some events.

    before: what was charged; after: what the card would have charged. unpricedEvents: those that no line of the card matches, so that it
    would have refused them; unpricedBefore: what was charged for them. difference: after less before.
    """

    events: int
    before: Number
    after: Number
    difference: Number
    unpriced_events: int
    unpriced_before: Number


class SimulatedMetric(SimulatedSums, rename="camel", kw_only=True):
    """The events of one metric."""

    metric: MetricCode


class SimulatedDay(SimulatedSums, rename="camel", kw_only=True):
    """The events of one day. day: in the time zone that was asked for."""

    day: Date


class SimulatedCustomer(SimulatedSums, rename="camel", kw_only=True):
    """The events of one customer."""

    customer_external_id: CustomerId


class SimulatedGroup(SimulatedSums, rename="camel", kw_only=True):
    """The events of one customer, metric and day. day: in the time zone that was asked for."""

    customer_external_id: CustomerId
    metric: MetricCode
    day: Date


class SimulationReport(SimulatedSums, rename="camel", kw_only=True):
    """What a card would have earned; sums are over all events.

    byMetric: all metrics. byDay: all days. byCustomer: those that change most. customers: how many there are. data: by customer, metric and
    day, those that change most. groups: how many of them there are. outOfRangeEvents: their charge would be too large to be kept.
    otherProductsEvents: of metrics that another product prices, which are in no other sum. otherProductsBefore: what was charged for those.
    rateCardId null: a card that is not stored.
    """

    rate_card_id: str | None
    name: str
    currency: Currency
    from_: Time | None = msgspec.field(name="from")
    to: Time | None
    customer_external_id: CustomerId | None
    time_zone: TimeZone
    out_of_range_events: int
    other_products_events: int
    other_products_before: Number
    by_metric: list[SimulatedMetric]
    by_day: list[SimulatedDay]
    by_customer: list[SimulatedCustomer]
    customers: int
    data: list[SimulatedGroup]
    groups: int


def answer_of(report: Report, card: Card, currency: str, span: Span, zone: str) -> SimulationReport:
    """The report with what it is about."""
    about = {
        "rateCardId": card.rate_card_id,
        "name": card.name,
        "currency": currency,
        "from": None if span.from_us is None else format_time(span.from_us),
        "to": None if span.to_us is None else format_time(span.to_us),
        "customerExternalId": span.customer,
        "timeZone": zone,
    }
    return msgspec.convert({**about, **report}, SimulationReport)


def span_of(from_: str | None, to: str | None, customer: str | None) -> Span:
    """What a client asks for. Raises Problem invalid_time, invalid_customer or invalid_parameter."""
    if customer is not None and (
        not 1 <= len(customer.encode(errors="replace")) <= 255 or any(unicodedata.category(character) == "Cc" for character in customer)
    ):
        raise Problem("invalid_customer", "A customer's id has 1 to 255 bytes and no control characters.", "customerExternalId")
    span = Span(None if from_ is None else parse_time(from_, "from"), None if to is None else parse_time(to, "to"), customer)
    if span.from_us is not None and span.to_us is not None and span.from_us >= span.to_us:
        raise Problem("invalid_parameter", "from must be before to.", "from")
    return span


_running = asyncio.Semaphore(MAX_AT_ONCE)


async def simulate_rate_card(call: Call) -> Answer:
    """Reads and rates; nothing is written, so there is nothing to repeat."""
    body: SimulateBody = call.body
    span = span_of(body.from_, body.to, body.customer_external_id)
    zone = time_zone(body.time_zone)
    tenant = call.tenant
    if _running.locked():
        raise Problem("overloaded", "Another simulation is running here.", retry_after=2)
    async with _running, call.services.database.tenant(tenant.tenant_id, isolation="repeatable_read", readonly=True) as connection:
        card = await stored_card(connection, tenant.tenant_id, call.path["rateCardId"])
        currency = await currency_of(connection, tenant.tenant_id, tenant.currency, span, body.currency)
        try:
            report = await simulate(
                connection,
                tenant.tenant_id,
                card,
                span,
                zone,
                currency,
                lambda _events: None,
                now_us=call.services.clock.now_us(),
                most_events=MAX_EVENTS,
                most_rows=MAX_ROWS,
            )
        except asyncpg.QueryCanceledError:
            raise too_large(MAX_EVENTS) from None
    return Answer(answer_of(report, card, currency, span, zone))


ROUTES: tuple[Route, ...] = (
    Route(
        method="POST",
        path="/v1/rate-cards/{rateCardId}/simulate",
        handler=simulate_rate_card,
        summary="Try a rate card on past usage",
        tag="Pricing",
        description="What was charged and what this card would have charged, by customer, metric and day. Every stored event is rated "
        "anew as if the card had been in force alone and since ever; balances play no part, nor do assigned cards, nor customers of "
        "other currencies. Tiers and allowances begin with the billing period in which `from` lies. Periods that lie in the span as a "
        "whole and are over count with what they cost at their ends. Nothing is written.",
        body=SimulateBody,
        answer=SimulationReport,
        errors=(
            "rate_card_not_found",
            "invalid_time",
            "invalid_customer",
            "invalid_parameter",
            "invalid_currency",
            "currency_mismatch",
            "simulation_too_large",
            "amount_out_of_range",
            "overloaded",
        ),
    ),
)
