"""Holds: money set aside before the work is done, captured for what it came to, released, or freed by time."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

from buffmoney import _core
from buffmoney.base import money, queries
from buffmoney.base.clock import format_time
from buffmoney.base.errors import CODES, Problem
from buffmoney.base.http import Answer, Call
from buffmoney.base.ids import parse_public, public
from buffmoney.base.wire import DIMENSIONS, QUANTITY, Currency, CustomerId, EventResult, MetricCode, Number, NumberInput, Time
from buffmoney.wallets import commands
from buffmoney.wallets.customers import check_external_id
from buffmoney.wallets.grants import BalanceAfter

DEFAULT_TTL_S = 900
LONGEST_TTL_S = 7 * 24 * 3600
MAX_EVENTS = 500
_SQL = queries.load("buffmoney.wallets")

Status = Literal["open", "captured", "released", "expired"]


class EstimatedEvent(msgspec.Struct, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """Usage that is expected.

    customerExternalId: the hold's customer without it. occurredAt: now without it. idempotencyKey: of no effect: nothing of an estimate is
    recorded.
    """

    metric: MetricCode
    quantity: Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema=QUANTITY)]
    dimensions: Annotated[msgspec.Raw | msgspec.UnsetType, msgspec.Meta(extra_json_schema=DIMENSIONS)] = msgspec.UNSET
    occurred_at: Time | msgspec.UnsetType = msgspec.UNSET
    customer_external_id: CustomerId | msgspec.UnsetType = msgspec.UNSET
    idempotency_key: str | msgspec.UnsetType = msgspec.UNSET


class HoldBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What is held: either `amount`, or what `events` would be charged now, one after the other, on the customer's tiers, allowances and
    blocks as they stand. That may be nothing, and then the hold is one of zero.

    amount: above zero, in the currency of the wallet. events: usage that is expected, at most 500. ttlSeconds: 1 second to 7 days.
    """

    amount: NumberInput | None = None
    events: Annotated[list[EstimatedEvent], msgspec.Meta(min_length=1)] | None = None
    ttl_seconds: int = DEFAULT_TTL_S


class CaptureBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What the work came to; the rest is released.

    Events may cost more than is held, as far as the balance covers them. Where it does not, the answer is 402 `insufficient_balance`,
    nothing happens and the hold stays open: the same capture can be tried again after a top-up.

    amount: a part of what is held. events: the actual usage, as in POST /v1/usage-events; without either the whole is taken.
    """

    amount: NumberInput | None = None
    events: Annotated[
        msgspec.Raw | msgspec.UnsetType,
        msgspec.Meta(extra_json_schema={"type": "array", "items": {"$ref": "#/components/schemas/UsageEvent"}, "maxItems": MAX_EVENTS}),
    ] = msgspec.UNSET


class ReleaseBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """No fields."""


class Hold(msgspec.Struct, rename="camel"):
    """A hold just made. expiresAt: when it is released by itself."""

    hold_id: str
    customer_external_id: CustomerId
    amount: Number
    currency: Currency
    status: Status
    expires_at: Time
    created_at: Time
    balance: BalanceAfter


class HoldState(msgspec.Struct, rename="camel"):
    """A hold as it stands. captured, released: null while it is open. expiresAt: when it is released by itself."""

    hold_id: str
    customer_external_id: CustomerId
    amount: Number
    currency: Currency
    status: Status
    captured: Number | None
    released: Number | None
    expires_at: Time
    created_at: Time


class CapturedUsage(msgspec.Struct, rename="camel"):
    """What became of the events of a capture.

    accepted, duplicates, rejected: how many had this outcome. results: what was not accepted, as in POST /v1/usage-events.
    """

    accepted: int
    duplicates: int
    rejected: int
    charged: Number
    results: list[EventResult]


class ClosedHold(msgspec.Struct, rename="camel"):
    """A hold after its capture or release.

    captured: what was taken. released: what was given back. usage: only of a capture with events.
    """

    hold_id: str
    status: Status
    captured: Number
    released: Number
    balance: BalanceAfter
    usage: CapturedUsage | None = None


async def create_hold(call: Call) -> Answer:
    """Sets money aside, in the order in which it would be spent."""
    body: HoldBody = call.body
    name = check_external_id(call.path["externalId"])
    if (body.amount is None) == (body.events is None):
        raise Problem("invalid_body", "Give either amount or events.", "amount")
    if not 1 <= body.ttl_seconds <= LONGEST_TTL_S:
        raise Problem("invalid_ttl", f"ttlSeconds is 1 to {LONGEST_TTL_S}.", "ttlSeconds")
    command: dict[str, object] = {
        "type": "hold",
        "commandId": call.command_id(),
        "customer": name,
        "amount": None if body.amount is None else money.format_decimal(money.parse(body.amount, "amount")),
        "ttlMs": body.ttl_seconds * 1_000,
    }
    section = b"" if body.events is None else _estimate(call, name, body.events)
    return Answer(msgspec.json.encode(await commands.run(call, command, section)))


async def capture_hold(call: Call) -> Answer:
    """Takes what the work came to and gives back the rest."""
    body: CaptureBody = call.body
    events = b"null" if body.events is msgspec.UNSET else bytes(body.events)
    if body.amount is not None and events != b"null":
        raise Problem("invalid_body", "Give amount or events, not both.", "events")
    command: dict[str, object] = {
        "type": "capture",
        "commandId": call.command_id(),
        "holdId": _hold_id(call).hex(),
        "amount": None if body.amount is None else money.format_decimal(money.parse(body.amount, "amount")),
    }
    section = b"" if events == b"null" else _section(call, b'{"events":' + events + b"}")
    return Answer(msgspec.json.encode(await commands.run(call, command, section)))


async def release_hold(call: Call) -> Answer:
    """Gives all of it back."""
    command: dict[str, object] = {"type": "release", "commandId": call.command_id(), "holdId": _hold_id(call).hex()}
    return Answer(msgspec.json.encode(await commands.run(call, command)))


async def get_hold(call: Call) -> Answer:
    """A hold as it stands in the ledger."""
    hold_id = _hold_id(call)
    async with call.transaction() as connection:
        row = await connection.fetchrow(_SQL["hold"], call.tenant.tenant_id, UUID(bytes=hold_id))
    if row is None:
        raise _hold_not_found()
    amount: Decimal = row["amount"]
    captured = released = None
    if row["status"] != "open":
        taken: Decimal = row["captured"] or Decimal(0)
        captured = money.format_decimal(taken)
        # Actual usage may come to more than was held.
        released = money.format_decimal(max(amount - taken, Decimal(0)))
    return Answer(
        HoldState(
            public("hold", hold_id),
            row["external_id"],
            money.format_decimal(amount),
            row["currency"],
            row["status"],
            captured,
            released,
            format_time(row["expires_at"]),
            format_time(row["created_at"]),
        )
    )


def _hold_not_found() -> Problem:
    return Problem("hold_not_found")


def _hold_id(call: Call) -> bytes:
    hold_id = parse_public("hold", call.path["holdId"])
    if hold_id is None:
        raise _hold_not_found()
    return hold_id


def _estimate(call: Call, name: str, events: list[EstimatedEvent]) -> bytes:
    now = format_time(call.services.clock.now_us())
    for index, event in enumerate(events):
        if event.customer_external_id is msgspec.UNSET:
            event.customer_external_id = name
        elif event.customer_external_id != name:
            raise Problem("invalid_customer", "The event belongs to another customer.", f"events[{index}].customerExternalId")
        # Nothing of an estimate is recorded, so that the key only has to be unlike its neighbours'.
        event.idempotency_key = f"estimate {index}"
        if event.occurred_at is msgspec.UNSET:
            event.occurred_at = now
    return _section(call, msgspec.json.encode({"events": events}))


def _section(call: Call, body: bytes) -> bytes:
    # A capture takes all of its events to the core or none: what fails validation fails the request.
    try:
        batch = _core.decode_batch(body, call.tenant.tenant_id, call.services.clock.now_us(), MAX_EVENTS)
    except _core.BatchError as refusal:
        _, code, detail, param = refusal.args
        raise Problem(code, detail, param) from refusal
    if batch.count == 0:
        raise Problem("empty_batch", "There are no events.", "events")
    if batch.rejected:
        results: list[dict[str, Any]] = msgspec.json.decode(batch.problems)
        first = results[0]
        code = str(first.get("code", ""))
        raise Problem(
            code if code in CODES else "invalid_event",
            str(first.get("detail", "")),
            f"events[{first.get('index', 0)}].{first.get('param') or ''}".rstrip("."),
            results=results,
        )
    return batch.section()
