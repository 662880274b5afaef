"""Corrections of usage: void an event, or amend it, which is to void it and take a new one in the same commit.

Nothing stored changes: a void is a row of `usage_voids` and postings that name the event they reverse. The charge goes back to the
grants that paid it, part by part; what was owed unbilled is owed no more; what was overdraft first repays overdraft; what comes back
to an expired grant expires at once. An event is voided once: whoever asks again gets the first void. Its key stays taken for ever.
Who voided it and why is in the row, and the row is in the digest of its commit, so the ledger tells it and no entry of the audit log does.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import msgspec

from buffmoney import _core
from buffmoney.base import money, queries
from buffmoney.base.clock import format_time
from buffmoney.base.errors import CODES, Problem
from buffmoney.base.http import Answer, Call, Route
from buffmoney.base.ids import public
from buffmoney.base.wire import DIMENSIONS, QUANTITY, Currency, CustomerId, MetricCode, Number, Time
from buffmoney.ledger.accounts import OVERDRAFT_PART, UNBILLED_PART
from buffmoney.wallets import commands

if TYPE_CHECKING:
    import asyncpg

    from buffmoney.base.database import Connection

MAX_REASON_BYTES = 255
TRY_AGAIN = ("redis_unavailable", "core_unavailable", "outcome_unknown", "overloaded")
_SQL = queries.load("buffmoney.metering", "voiding.sql")
_USAGE = queries.load("buffmoney.metering", "usage.sql")

CustomerAccount = Literal["customer_wallet", "customer_unbilled"]


class GivenBack(msgspec.Struct, rename="camel"):
    """What came back to whom. account: the wallet, or what is owed unbilled, which is less now. grantId null: to no grant, so of the
    wallet overdraft that was repaid."""

    account: CustomerAccount
    grant_id: str | None
    amount: Number


class EventVoid(msgspec.Struct, rename="camel"):
    """The void of an event.

    amount: all that was given back. postingSequence: its first posting; null if the event was free of charge. balanceAfter: what was
    available after it, unbilledAfter: what was owed. setId: the set it was voided with; null: alone. voidedBy: the id of the API key.
    commandId: of the void. givenBackTo: what came back to whom.
    """

    voided_at: Time
    voided_by: str
    command_id: str
    set_id: str | None
    reason: str | None
    amount: Number
    given_back_to: list[GivenBack]
    posting_sequence: int | None
    balance_after: Number
    unbilled_after: Number
    commit_id: str


class VoidBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Why an event is taken back. reason: at most 255 bytes, kept with the void."""

    reason: str | None = None


class AmendBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """The new event.

    idempotencyKey: names it. quantity, occurredAt, metric, dimensions: as they were where they are left out. reason: at most 255 bytes,
    kept with the void.
    """

    idempotency_key: str
    quantity: Annotated[msgspec.Raw | msgspec.UnsetType, msgspec.Meta(extra_json_schema=QUANTITY)] = msgspec.UNSET
    occurred_at: Time | msgspec.UnsetType = msgspec.UNSET
    metric: MetricCode | msgspec.UnsetType = msgspec.UNSET
    dimensions: Annotated[msgspec.Raw | msgspec.UnsetType, msgspec.Meta(extra_json_schema=DIMENSIONS)] = msgspec.UNSET
    reason: str | None = None


class VoidedEvent(msgspec.Struct, rename="camel"):
    """An event after its void.

    alreadyVoided: it was voided before, and this is what was said then. givenBackTo: what came back to whom. amount: all that was given
    back. amendedBy: the key of the event in its place; null: none.
    """

    already_voided: bool
    idempotency_key: str
    customer_external_id: CustomerId
    amount: Number
    currency: Currency
    given_back_to: list[GivenBack]
    balance_after: Number
    unbilled_after: Number
    voided_at: Time
    reason: str | None
    amended_by: str | None


class AmendingEvent(msgspec.Struct, rename="camel"):
    """The event that stands in the place of another. amends: the key of the event it replaces."""

    idempotency_key: str
    amends: str
    charge: Number
    currency: Currency


class AmendedEvent(msgspec.Struct, rename="camel"):
    """Both halves of an amendment.

    void: the event that was taken back. event: the one in its place. balanceAfter: what was available after both. unbilledAfter: what was
    owed after both.
    """

    void: VoidedEvent
    event: AmendingEvent
    balance_after: Number
    unbilled_after: Number


def check_reason(reason: str | None) -> str | None:
    """A merchant's words for a void. Raises Problem invalid_reason."""
    if reason is None:
        return None
    try:
        size = len(reason.encode())
    except UnicodeEncodeError:
        size = 0
    if not 1 <= size <= MAX_REASON_BYTES or any(unicodedata.category(character) == "Cc" for character in reason):
        raise Problem("invalid_reason", f"A reason has 1 to {MAX_REASON_BYTES} bytes and no control characters.", "reason")
    return reason


async def void_usage_event(call: Call) -> Answer:
    """Takes one event back."""
    body: VoidBody = call.body
    command: dict[str, object] = {
        "type": "void",
        "commandId": call.command_id(),
        "key": call.path["idempotencyKey"],
        "by": call.tenant.key_id,
        "reason": check_reason(body.reason),
    }
    return Answer(msgspec.json.encode(await commands.run(call, command)))


async def amend_usage_event(call: Call) -> Answer:
    """Takes one event back and another one instead, or neither."""
    body: AmendBody = call.body
    reason = check_reason(body.reason)
    key, tenant_id = call.path["idempotencyKey"], call.tenant.tenant_id
    async with call.transaction() as connection:
        stored = await _stored(connection, tenant_id, key)
    # Stored events never change, so that what is filled in here is the same whenever it is asked.
    event = {
        "customerExternalId": stored["external_id"],
        "idempotencyKey": body.idempotency_key,
        "metric": stored["metric"] if body.metric is msgspec.UNSET else body.metric,
        "quantity": money.format_decimal(stored["quantity"]) if body.quantity is msgspec.UNSET else body.quantity,
        "occurredAt": format_time(stored["occurred_at"]) if body.occurred_at is msgspec.UNSET else body.occurred_at,
        "dimensions": msgspec.Raw(stored["dimensions"].encode()) if body.dimensions is msgspec.UNSET else body.dimensions,
    }
    command: dict[str, object] = {
        "type": "amend",
        "commandId": call.command_id(),
        "key": key,
        "by": call.tenant.key_id,
        "reason": reason,
    }
    return Answer(msgspec.json.encode(await commands.run(call, command, _section(call, event))))


async def _stored(connection: Connection, tenant_id: int, key: str) -> asyncpg.Record:
    where = await connection.fetchrow(_USAGE["key_commit"], tenant_id, UUID(bytes=_core.key_hash(tenant_id, key)))
    if where is None:
        raise Problem("event_not_found")
    await connection.execute(_USAGE["trust_indexes"])
    event = await connection.fetchrow(_USAGE["event"], tenant_id, *where, key)
    if event is None:
        raise Problem("event_not_found")
    return event


def _section(call: Call, event: dict[str, Any]) -> bytes:
    """The new event as it goes to the core. Raises Problem with the event's own code."""
    try:
        batch = _core.decode_batch(msgspec.json.encode({"events": [event]}), call.tenant.tenant_id, call.services.clock.now_us(), 1)
    except _core.BatchError as refusal:
        _, code, detail, param = refusal.args
        raise Problem(code, detail, param) from refusal
    if batch.rejected:
        problem: dict[str, Any] = msgspec.json.decode(batch.problems)[0]
        code = str(problem.get("code", ""))
        raise Problem(code if code in CODES else "invalid_event", str(problem.get("detail", "")), problem.get("param"))
    return batch.section()


async def corrections_of(connection: Connection, tenant_id: int, key: str) -> tuple[EventVoid | None, str | None, str | None]:
    """An event's void, the key of the event that it amends, and the key of the one that amends it."""
    row = await connection.fetchrow(_SQL["amendment"], tenant_id, UUID(bytes=_core.key_hash(tenant_id, key)), key)
    if row is None or row["voided_at"] is None:
        return None, None if row is None else row["amends"], None
    parts: bytes = row["parts"]
    given = [_given_back(parts[at : at + 16], parts[at + 16 : at + 32]) for at in range(0, len(parts), 32)]
    void = EventVoid(
        format_time(row["voided_at"]),
        row["voided_by"],
        row["command_id"].hex,
        None if row["set_id"] is None else row["set_id"].hex,
        row["reason"],
        money.format_decimal(row["charge"]),
        given,
        row["posting_seq"] or None,
        money.format_decimal(row["balance_after"]),
        money.format_decimal(row["unbilled_after"]),
        str(row["commit_id"]),
    )
    return void, row["amends"], row["replaced_by"]


def _given_back(payer: bytes, packed: bytes) -> GivenBack:
    amount = money.format_nano(int.from_bytes(packed, "little", signed=True))
    if payer == UNBILLED_PART:
        return GivenBack("customer_unbilled", None, amount)
    return GivenBack("customer_wallet", None if payer == OVERDRAFT_PART else public("gr", payer), amount)


ROUTES: tuple[Route, ...] = (
    Route(
        method="POST",
        path="/v1/usage-events/{idempotencyKey}/void",
        handler=void_usage_event,
        summary="Take an event back",
        tag="Corrections",
        description="Gives its charge back to those who paid it and takes it out of all sums. The event stays on record and its "
        "key stays taken. Voiding it again answers with the first void.",
        body=VoidBody,
        answer=VoidedEvent,
        errors=("event_not_found", "invalid_reason", "too_many_grants", "amount_out_of_range", "idempotency_conflict", *TRY_AGAIN),
        idempotency="command",
    ),
    Route(
        method="POST",
        path="/v1/usage-events/{idempotencyKey}/amend",
        handler=amend_usage_event,
        summary="Replace an event by a corrected one",
        tag="Corrections",
        description="Voids the event and takes a new one of the same customer, in one commit or not at all. What is left out is as it was.",
        body=AmendBody,
        answer=AmendedEvent,
        errors=(
            "event_not_found",
            "event_voided",
            "invalid_reason",
            "invalid_idempotency_key",
            "invalid_quantity",
            "invalid_time",
            "invalid_metric",
            "invalid_dimensions",
            "invalid_event",
            "too_old",
            "in_future",
            "unknown_metric",
            "no_price",
            "insufficient_balance",
            "currency_mismatch",
            "too_many_grants",
            "amount_out_of_range",
            "idempotency_conflict",
            *TRY_AGAIN,
        ),
        idempotency="command",
    ),
)
