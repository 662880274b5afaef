"""What was used: sums by customer, metric, dimension and time without what was voided, and single events with their charge and postings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal
from uuid import UUID

import msgspec

from buffmoney import _core
from buffmoney.base import money, queries
from buffmoney.base.clock import format_time, to_datetime
from buffmoney.base.errors import Problem
from buffmoney.base.http import Answer, Call, Route
from buffmoney.base.ids import public
from buffmoney.base.periods import time_zone
from buffmoney.base.times import parse_time
from buffmoney.base.wire import DIMENSIONS, Currency, CustomerId, MetricCode, Number, Time, TimeZone
from buffmoney.metering.shares import SharedPosting, postings_of
from buffmoney.metering.voids import EventVoid, corrections_of

if TYPE_CHECKING:
    import asyncpg

QUARTER_HOUR_US = 15 * 60 * 1_000_000
MAX_ROWS = 10_000
MAX_DIMENSIONS = 8
_DIMENSION = "dimension."
_SQL = queries.load("buffmoney.metering", "usage.sql")


Granularity = Literal["hour", "day", "month"]


class UsageQuery(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Which usage, and how it is summed.

    customerExternalId: of one customer. metric: of one metric. dimension: only events with this value of a dimension,
    `dimension.<name>=<value>`. granularity: a row for each hour, day or month. timeZone: where days and months begin. from, to: RFC 3339,
    half-open, whole quarter hours. groupBy: `customer`, `dimension.<name>`, several with commas.
    """

    customer_external_id: CustomerId | None = None
    metric: MetricCode | None = None
    dimension: dict[str, str] = {}
    group_by: str | None = None
    from_: Time | None = msgspec.field(default=None, name="from")
    to: Time | None = None
    granularity: Granularity | None = None
    time_zone: TimeZone = "Asia/Shanghai"


class UsageRow(msgspec.Struct, rename="camel", omit_defaults=True):
    """The sum of some events of one metric, of customers of one currency.

    start, end: of the hour, day or month, where a granularity was asked for. customerExternalId, dimensions: where they were grouped by.
    """

    metric: MetricCode
    events: int
    quantity: Number
    charge: Number
    currency: Currency
    start: Time | None = None
    end: Time | None = None
    customer_external_id: CustomerId | None = None
    dimensions: dict[str, str | None] | None = None


class UsageReport(msgspec.Struct, rename="camel"):
    """Sums of usage.

    asOf: all events that were answered before are in it. granularity: as it was asked for. events: over all rows. currency: null where the
    rows are in several currencies. charged: over all rows; null where they are in several currencies. chargedByCurrency: over all rows, by
    the currency of the customers' wallets.
    """

    as_of: Time
    from_: Time | None = msgspec.field(name="from")
    to: Time | None
    granularity: Granularity | None
    time_zone: TimeZone
    currency: Currency | None
    events: int
    charged: Number | None
    charged_by_currency: dict[str, Number]
    data: list[UsageRow]


class PriceLine(msgspec.Struct, rename="camel"):
    """The line of a rate card that priced an event.

    line: its index in the card, from 0. price, per: null for a line with tiers, which has several.
    """

    rate_card_id: str
    line: int
    price: Number | None
    per: Number | None


class UsagePosting(msgspec.Struct, rename="camel"):
    """A posting that carries (a part of) an event's charge, with others of the same commit.

    grantId null: what no grant paid, overdraft of the wallet or owed unbilled, as debitAccount says.
    """

    sequence: int
    kind: str
    amount: Number
    debit_account: str
    credit_account: str
    balance_after: Number
    held_after: Number
    unbilled_after: Number
    grant_id: str | None
    posted_at: Time


class RecordedEvent(msgspec.Struct, rename="camel"):
    """An event as it was accepted.

    price: the line that priced it. posting: the first of postings; null: free of charge. postings: those that carry the charge. void: how
    it was taken back, null if it was not. amends: the key of the event it replaces. amendedBy: the key of the event that replaces it.
    """

    idempotency_key: str
    customer_external_id: CustomerId
    metric: MetricCode
    quantity: Number
    occurred_at: Time
    accepted_at: Time
    dimensions: Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema=DIMENSIONS)]
    charge: Number
    currency: Currency
    price: PriceLine
    posting: UsagePosting | None
    postings: list[UsagePosting]
    commit_id: str
    void: EventVoid | None
    amends: str | None
    amended_by: str | None


async def get_usage(call: Call) -> Answer:
    """Sums of usage, always equal to the events they cover that are not voided."""
    query: UsageQuery = call.query
    by_customer, by_dimensions = _grouping(query.group_by)
    zone = time_zone(query.time_zone)
    from_us, to_us = _quarter_hour(query.from_, "from"), _quarter_hour(query.to, "to")
    if from_us is not None and to_us is not None and from_us >= to_us:
        raise Problem("invalid_parameter", "from must be before to.", "from")
    if len(query.dimension) > MAX_DIMENSIONS:
        raise Problem("invalid_parameter", f"At most {MAX_DIMENSIONS} dimensions.", "dimension")
    tenant = call.tenant
    as_of = call.services.clock.now_us()
    rows: list[asyncpg.Record] = []
    async with call.transaction() as connection:
        known = True
        metric_id = account_id = None
        currency: str = tenant.currency
        if query.metric is not None:
            metrics = {row["code"]: row["metric_id"] for row in await connection.fetch(_SQL["metric_ids"], tenant.tenant_id)}
            metric_id = metrics.get(query.metric)
            if metric_id is None:
                raise Problem("unknown_metric", "There is no such metric.", "metric")
        if query.customer_external_id is not None:
            customer = await connection.fetchrow(_SQL["customer"], tenant.tenant_id, query.customer_external_id)
            # A customer without a wallet has used nothing.
            known = customer is not None
            if customer is not None:
                account_id, currency = customer
        mixed = account_id is None and await connection.fetchval(_SQL["other_currencies"], tenant.tenant_id, currency)
        if known:
            await connection.execute(_SQL["trust_indexes"])
            rows = await connection.fetch(
                _SQL["usage"],
                tenant.tenant_id,
                tenant.partition_id,
                None if from_us is None else to_datetime(from_us),
                None if to_us is None else to_datetime(to_us),
                account_id,
                metric_id,
                msgspec.json.encode(query.dimension).decode() if query.dimension else None,
                query.granularity,
                zone,
                by_customer,
                by_dimensions or None,
                MAX_ROWS + 1,
                mixed,
            )
    if len(rows) > MAX_ROWS:
        raise Problem("invalid_parameter", f"That is more than {MAX_ROWS} rows: ask for a shorter time or group by less.", "groupBy")
    charged: dict[str, int] = {}
    for row in rows:
        code = row["currency"] or currency
        charged[code] = charged.get(code, 0) + money.to_nano(row["charge"])
    only = None if len(charged) > 1 else next(iter(charged), currency)
    return Answer(
        UsageReport(
            format_time(as_of),
            None if from_us is None else format_time(from_us),
            None if to_us is None else format_time(to_us),
            query.granularity,
            zone,
            only,
            int(sum(row["events"] for row in rows)),
            None if only is None else money.format_nano(sum(charged.values())),
            {code: money.format_nano(charged[code]) for code in sorted(charged)},
            [_row(row, currency) for row in rows],
        )
    )


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event with its price as stored, the postings that carry its charge, each with its share in nano-units, and its corrections."""

    commit_id: int
    row: asyncpg.Record
    postings: list[tuple[asyncpg.Record, SharedPosting, int]]
    void: EventVoid | None
    amends: str | None
    amended_by: str | None


async def find_event(call: Call, key: str) -> StoredEvent:
    """The event with this idempotency key. Raises Problem event_not_found."""
    tenant_id = call.tenant.tenant_id
    async with call.transaction() as connection:
        where = await connection.fetchrow(_SQL["key_commit"], tenant_id, UUID(bytes=_core.key_hash(tenant_id, key)))
        if where is None:
            raise Problem("event_not_found")
        commit_id, committed_at = where
        await connection.execute(_SQL["trust_indexes"])
        event = await connection.fetchrow(_SQL["event"], tenant_id, commit_id, committed_at, key)
        if event is None:
            # Its key is kept for good, the event itself may lie in a day that was archived.
            raise Problem("event_not_found")
        postings = await postings_of(connection, tenant_id, commit_id, committed_at, event)
        return StoredEvent(commit_id, event, postings, *await corrections_of(connection, tenant_id, key))


async def get_usage_event(call: Call) -> Answer:
    """One event, its charge with the price behind it, and its postings."""
    key = call.path["idempotencyKey"]
    found = await find_event(call, key)
    event = found.row
    carried = [_posting(row) for row, _, _ in found.postings]
    return Answer(
        RecordedEvent(
            key,
            event["external_id"],
            event["metric"],
            money.format_decimal(event["quantity"]),
            format_time(event["occurred_at"]),
            format_time(event["accepted_at"]),
            msgspec.Raw(event["dimensions"].encode()),
            money.format_decimal(event["charge"]),
            event["currency"],
            _price_line(event),
            carried[0] if carried else None,
            carried,
            str(found.commit_id),
            found.void,
            found.amends,
            found.amended_by,
        )
    )


def _grouping(text: str | None) -> tuple[bool, list[str]]:
    by_customer, dimensions = False, []
    for word in [] if text is None else text.split(","):
        if word == "customer":
            by_customer = True
        elif word.startswith(_DIMENSION) and len(word) > len(_DIMENSION):
            dimensions.append(word.removeprefix(_DIMENSION))
        elif word != "metric":
            raise Problem("invalid_parameter", "Group by customer, metric and dimension.<name>, several with commas.", "groupBy")
    if len(dimensions) > MAX_DIMENSIONS:
        raise Problem("invalid_parameter", f"At most {MAX_DIMENSIONS} dimensions.", "groupBy")
    return by_customer, sorted(set(dimensions))


def _quarter_hour(text: str | None, param: str) -> int | None:
    if text is None:
        return None
    time_us = parse_time(text, param)
    if time_us % QUARTER_HOUR_US:
        raise Problem("invalid_parameter", "Usage is summed by quarter hours: give a time at minute 0, 15, 30 or 45.", param)
    return time_us


def _price_line(event: asyncpg.Record) -> PriceLine:
    price, per = (None if event["tiers"] else money.format_decimal(event[name]) for name in ("price", "per"))
    return PriceLine(event["rate_card_id"], event["line"], price, per)


def _row(row: asyncpg.Record, currency: str) -> UsageRow:
    return UsageRow(
        row["metric"],
        int(row["events"]),
        money.format_decimal(row["quantity"]),
        money.format_decimal(row["charge"]),
        row["currency"] or currency,
        None if row["start"] is None else format_time(row["start"]),
        None if row["end"] is None else format_time(row["end"]),
        row["external_id"],
        None if row["dimensions"] is None else msgspec.json.decode(row["dimensions"]),
    )


def _posting(row: asyncpg.Record) -> UsagePosting:
    return UsagePosting(
        row["seq"],
        row["kind"],
        money.format_decimal(row["amount"]),
        row["debit_code"],
        row["credit_code"],
        money.format_decimal(row["balance_after"]),
        money.format_decimal(row["held_after"]),
        money.format_decimal(row["unbilled_after"]),
        None if row["grant_id"] is None else public("gr", row["grant_id"].bytes),
        format_time(row["posted_at"]),
    )


ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/v1/usage",
        handler=get_usage,
        summary="Sum usage by metric, time, customer and dimensions",
        tag="Usage",
        description="Always the sum of the events it covers that are not voided: everything answered before `asOf` is in it. Charges of "
        "customers of different currencies are rows of their own and are never added up.",
        query=UsageQuery,
        answer=UsageReport,
        errors=("invalid_parameter", "invalid_time", "unknown_metric"),
    ),
    Route(
        method="GET",
        path="/v1/usage-events/{idempotencyKey}",
        handler=get_usage_event,
        summary="Get an event with its charge and its postings",
        tag="Usage",
        description="The event as it was accepted, with its charge, the line that priced it, and how it was taken back, if it was.",
        answer=RecordedEvent,
        errors=("event_not_found",),
    ),
)
