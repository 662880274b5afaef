"""Void many events by a filter: first a preview, which names the exact set by a digest, then the voids of that very set.

The set is what the filter finds and what is not voided, but for what was voided with this very set: so a call that was cut short, by its
time or by a crash, is repeated as it was and goes on, while events that came or went otherwise make it another set, which is refused.
The events are voided in pieces, each a command of its own to the core, which decides each event by itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections import defaultdict
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import msgspec

from buffmoney.base import money, queries
from buffmoney.base.clock import to_datetime
from buffmoney.base.errors import Problem
from buffmoney.base.http import Answer, Call, Route
from buffmoney.base.times import parse_time
from buffmoney.base.wire import Currency, CustomerId, MetricCode, Number, Time
from buffmoney.metering.voids import TRY_AGAIN, check_reason
from buffmoney.wallets import commands
from buffmoney.wallets.customers import check_external_id

if TYPE_CHECKING:
    from datetime import datetime

    from buffmoney.base.database import Connection

MAX_EVENTS = 100_000
PIECE_EVENTS = 250
"""Of one command: what the core must read for them does not keep usage waiting."""
WORK_S = 5.0
"""After this long a call answers; repeated, it goes on."""
MOST_CUSTOMERS = 1_000
TOO_EARLY, TOO_LATE = timedelta(minutes=6), timedelta(days=36)
"""An event arrives no earlier before, and no later after, than this from when it occurred: that finds the days' tables."""
_SQL = queries.load("buffmoney.metering", "voiding.sql")


class VoidFilter(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Which events; at least one of these is needed. dimensions: all of these values. from, to: of occurredAt, RFC 3339, half-open."""

    customer_external_id: CustomerId | None = None
    metric: MetricCode | None = None
    dimensions: dict[str, str] | None = None
    from_: Time | None = msgspec.field(default=None, name="from")
    to: Time | None = None


class VoidSetBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What is to be voided.

    filter: which events. preview: true: only tell what would be voided; false: void it. setId: the preview's, where preview is false.
    reason: at most 255 bytes, kept with each void.
    """

    filter: VoidFilter
    preview: bool
    set_id: str | None = None
    reason: str | None = None


class VoidedMetric(msgspec.Struct, rename="camel"):
    """The events of one metric in one currency."""

    metric: MetricCode
    events: int
    quantity: Number
    charge: Number
    currency: Currency


class VoidedCustomer(msgspec.Struct, rename="camel"):
    """The events of one customer."""

    customer_external_id: CustomerId
    events: int
    charge: Number
    currency: Currency


class RefusedVoid(msgspec.Struct, rename="camel"):
    """An event of the set that could not be voided. code: why."""

    idempotency_key: str
    code: str


class VoidSet(msgspec.Struct, rename="camel"):
    """A set of events, and how far its voiding is.

    setId: names exactly these events. events: of the whole set. charge: of the whole set; null where there are several currencies.
    currency: null where there are several. chargeByCurrency: the same by currency. byMetric: of the whole set. byCustomer: of the whole
    set, the largest first. customers: how many there are. voided: how many are, so far. amount: given back by this call; null where there
    are several currencies. amountByCurrency: the same by currency. refused: those that could not be voided. done: nothing is left to do but
    what was refused; false: repeat the call as it was.
    """

    set_id: str
    events: int
    charge: Number | None
    currency: Currency | None
    charge_by_currency: dict[str, Number]
    by_metric: list[VoidedMetric]
    customers: int
    by_customer: list[VoidedCustomer]
    voided: int
    amount: Number | None
    amount_by_currency: dict[str, Number]
    refused: list[RefusedVoid]
    done: bool


class _Listed(msgspec.Struct):
    """The events of a set: keys still to be voided, sums over all."""

    set_id: bytes
    events: int
    voided: int
    left: list[str]
    sums: dict[tuple[int, int], tuple[int, Decimal, Decimal]]
    """by account and metric: events, quantity, charge"""


async def void_usage_events(call: Call) -> Answer:
    """Previews a set of events, or voids it piece by piece."""
    body: VoidSetBody = call.body
    reason = check_reason(body.reason)
    wanted = _set_id(body)
    tenant = call.tenant
    async with call.transaction() as connection:
        arguments = await _arguments(connection, tenant.tenant_id, body.filter)
        await connection.execute(_SQL["match_voids_by_hash"])
        try:
            rows = (
                []
                if arguments is None
                else await connection.fetch(_SQL["listed"], *arguments[:7], wanted and UUID(bytes=wanted), *arguments[7:])
            )
        except asyncpg.QueryCanceledError:
            raise _too_large() from None
        if len(rows) > MAX_EVENTS:
            raise _too_large()
        listed = await asyncio.to_thread(_sum, rows)
        answer = await _describe(connection, call, listed)
    if wanted is None:
        return Answer(answer)
    if wanted != listed.set_id:
        raise Problem("set_changed", "Events came, or were voided, since the preview: preview again.", "setId")
    await _void(call, listed, answer, reason)
    return Answer(answer)


def _set_id(body: VoidSetBody) -> bytes | None:
    """The set to void; None for a preview."""
    if body.preview:
        if body.set_id is not None:
            raise Problem("invalid_body", "A preview takes no setId: it gives one.", "setId")
        return None
    try:
        found = bytes.fromhex(body.set_id or "")
    except ValueError:
        found = b""
    if len(found) != 16:
        raise Problem("invalid_body", "Give the setId of the preview: 32 hexadecimal digits.", "setId")
    return found


async def _arguments(connection: Connection, tenant_id: int, filter: VoidFilter) -> list[Any] | None:
    """The arguments of the statement `listed`, but for the set. None: nothing can be found."""
    from_at, to_at = _time(filter.from_, "filter.from"), _time(filter.to, "filter.to")
    if from_at is not None and to_at is not None and from_at >= to_at:
        raise Problem("invalid_parameter", "from must be before to.", "filter.from")
    if all(one is None for one in (filter.customer_external_id, filter.metric, filter.dimensions or None, from_at, to_at)):
        raise Problem("invalid_parameter", "Name a customer, a metric, dimensions or a time.", "filter")
    account_id = metric_id = None
    if filter.metric is not None:
        metric_id = await connection.fetchval("SELECT metric_id FROM metrics WHERE tenant_id = $1 AND code = $2", tenant_id, filter.metric)
        if metric_id is None:
            raise Problem("unknown_metric", "There is no such metric.", "filter.metric")
    if filter.customer_external_id is not None:
        name = check_external_id(filter.customer_external_id, "filter.customerExternalId")
        account_id = await connection.fetchval(
            "SELECT account_id FROM customers WHERE tenant_id = $1 AND external_id = $2", tenant_id, name
        )
        # A customer without a wallet has used nothing.
        if account_id is None:
            return None
    arrived = (None if from_at is None else from_at - TOO_EARLY, None if to_at is None else to_at + TOO_LATE)
    dimensions = msgspec.json.encode(filter.dimensions).decode() if filter.dimensions else None
    if dimensions is not None and "\\u0000" in dimensions:
        raise Problem("invalid_dimensions", "Dimensions have no control characters.", "filter.dimensions")
    return [tenant_id, from_at, to_at, *arrived, account_id, metric_id, dimensions, MAX_EVENTS + 1]


def _time(text: str | None, param: str) -> datetime | None:
    return None if text is None else to_datetime(parse_time(text, param))


def _sum(rows: list[asyncpg.Record]) -> _Listed:
    sums: dict[tuple[int, int], tuple[int, Decimal, Decimal]] = {}
    digest = hashlib.sha256()
    left: list[tuple[int, str]] = []
    for row in sorted(rows, key=lambda row: row["idempotency_key"]):
        key = row["idempotency_key"].encode()
        digest.update(len(key).to_bytes(2, "big") + key)
        if not row["voided"]:
            left.append((row["commit_id"], row["idempotency_key"]))
        events, quantity, charge = sums.get((row["account_id"], row["metric_id"]), (0, Decimal(0), Decimal(0)))
        sums[row["account_id"], row["metric_id"]] = (events + 1, quantity + row["quantity"], charge + row["charge"])
    # Commit by commit: what was accepted together lies together, and is quicker to read again.
    keys = [key for _, key in sorted(left)]
    return _Listed(digest.digest()[:16], len(rows), len(rows) - len(keys), keys, sums)


async def _describe(connection: Connection, call: Call, listed: _Listed) -> VoidSet:
    tenant_id = call.tenant.tenant_id
    codes = {row["metric_id"]: row["code"] for row in await connection.fetch(_SQL["metric_codes"], tenant_id)}
    accounts = sorted({account for account, _ in listed.sums})
    found = {row["account_id"]: row for row in await connection.fetch(_SQL["customers"], tenant_id, accounts)}
    by_metric: defaultdict[tuple[str, str], list[Decimal]] = defaultdict(lambda: [Decimal(0)] * 3)
    by_account: defaultdict[int, list[Decimal]] = defaultdict(lambda: [Decimal(0)] * 2)
    for (account, metric), (events, quantity, charge) in listed.sums.items():
        group = by_metric[codes[metric], found[account]["currency"]]
        group[:] = group[0] + events, group[1] + quantity, group[2] + charge
        by_account[account] = [by_account[account][0] + events, by_account[account][1] + charge]
    charges: defaultdict[str, Decimal] = defaultdict(Decimal)
    for (_, currency), (_, _, charge) in by_metric.items():
        charges[currency] += charge
    largest = sorted(by_account.items(), key=lambda item: (-item[1][1], item[0]))[:MOST_CUSTOMERS]
    total, by_currency = _in_currencies(charges)
    return VoidSet(
        set_id=listed.set_id.hex(),
        events=listed.events,
        charge=total,
        currency=None if len(charges) > 1 else next(iter(charges), call.tenant.currency),
        charge_by_currency=by_currency,
        by_metric=[
            VoidedMetric(metric, int(events), money.format_decimal(quantity), money.format_decimal(charge), currency)
            for (metric, currency), (events, quantity, charge) in sorted(by_metric.items())
        ],
        customers=len(by_account),
        by_customer=[
            VoidedCustomer(found[account]["external_id"], int(events), money.format_decimal(charge), found[account]["currency"])
            for account, (events, charge) in largest
        ],
        voided=listed.voided,
        amount="0",
        amount_by_currency={},
        refused=[],
        done=not listed.left,
    )


def _in_currencies(sums: dict[str, Decimal]) -> tuple[str | None, dict[str, str]]:
    """A sum, None if it would be of several currencies, and the sums of each."""
    shown = {currency: money.format_decimal(amount) for currency, amount in sorted(sums.items())}
    return (None if len(shown) > 1 else next(iter(shown.values()), "0")), shown


async def _void(call: Call, listed: _Listed, answer: VoidSet, reason: str | None) -> None:
    """Voids what is left until it is done or the time is up, and says so in the answer. Raises Problem: what is voided stays so."""
    began = time.monotonic()
    given: defaultdict[str, Decimal] = defaultdict(Decimal)
    at = 0
    while at < len(listed.left) and time.monotonic() - began < WORK_S:
        keys = listed.left[at : at + PIECE_EVENTS]
        at += len(keys)
        command: dict[str, object] = {
            "type": "void_set",
            # Not the same for a repetition: that an event is voided once is decided by the event.
            "commandId": secrets.token_hex(16),
            "setId": listed.set_id.hex(),
            "keys": keys,
            "by": call.tenant.key_id,
            "reason": reason,
        }
        piece = await commands.run(call, command)
        answer.voided += piece["voided"] + piece["alreadyVoided"]
        for currency, amount in piece["amounts"].items():
            given[currency] += Decimal(amount)
        answer.refused += [RefusedVoid(one["idempotencyKey"], one["code"]) for one in piece["refused"]]
    answer.amount, answer.amount_by_currency = _in_currencies(given)
    answer.done = at >= len(listed.left)


def _too_large() -> Problem:
    return Problem(
        "void_too_large",
        f"That is more than {MAX_EVENTS:,} events, or takes too long to find: name a shorter time or one customer.",
        "filter",
    )


ROUTES: tuple[Route, ...] = (
    Route(
        method="POST",
        path="/v1/usage-events/void",
        handler=void_usage_events,
        summary="Take many events back, after a preview",
        tag="Corrections",
        description=f"With `preview`: how many events the filter finds, what they come to, and the setId of exactly these. Without: voids "
        f"the events of that setId, if they still are the same ones (else 409). At most {MAX_EVENTS:,} events. A call works for some "
        "seconds; as long as `done` is false, or after an error, repeat it as it was and it goes on.",
        body=VoidSetBody,
        answer=VoidSet,
        errors=(
            "invalid_parameter",
            "invalid_time",
            "invalid_customer",
            "invalid_dimensions",
            "invalid_reason",
            "unknown_metric",
            "set_changed",
            "void_too_large",
            *TRY_AGAIN,
        ),
    ),
)
