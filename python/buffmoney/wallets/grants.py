"""Grants: money given to a wallet, paid for or not, spent in the order of priority, soonest expiry, bonus before paid, oldest."""

from __future__ import annotations

import re
import struct
from typing import Annotated, Literal
from uuid import UUID

import msgspec

from buffmoney.base import cursors, money, queries
from buffmoney.base.clock import format_time, to_datetime, to_us
from buffmoney.base.errors import Problem
from buffmoney.base.http import Answer, Call
from buffmoney.base.ids import public
from buffmoney.base.times import parse_time
from buffmoney.base.wire import Currency, CustomerId, Number, NumberInput, Time
from buffmoney.wallets import commands
from buffmoney.wallets.customers import PageQuery, account_of, check_external_id

DEFAULT_PRIORITY = 100
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)
_SQL = queries.load("buffmoney.wallets")

Kind = Literal["paid", "bonus", "promotional"]


class GrantBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Money to give.

    amount: above zero. kind: `paid` for, `bonus` on top of what was paid for, or `promotional`. priority: 0 to 1000, lower is spent first.
    expiresAt: RFC 3339; what is left then is lost.
    """

    amount: NumberInput
    currency: Currency
    kind: Kind
    priority: Annotated[int, msgspec.Meta(ge=0, le=1000)] = DEFAULT_PRIORITY
    expires_at: Time | None = None


class BalanceAfter(msgspec.Struct, rename="camel"):
    """The wallet right after the movement."""

    available: Number
    held: Number
    unbilled: Number


class Grant(msgspec.Struct, rename="camel"):
    """A grant just made."""

    grant_id: str
    customer_external_id: CustomerId
    amount: Number
    currency: Currency
    kind: Kind
    priority: int
    expires_at: Time | None
    created_at: Time
    balance: BalanceAfter


class GrantInList(msgspec.Struct, rename="camel"):
    """A grant with what remains of it. status: open, spent (also while the rest is on hold, and when it was refunded), or
    expired."""

    grant_id: str
    amount: Number
    remaining: Number
    currency: Currency
    kind: Kind
    priority: int
    status: Literal["open", "spent", "expired"]
    expires_at: Time | None
    created_at: Time


class GrantPage(msgspec.Struct, rename="camel"):
    """Newest first. nextCursor null: the last page."""

    data: list[GrantInList]
    next_cursor: str | None


def read_parts(packed: bytes | None) -> dict[UUID, int]:
    """What remains of each open grant, in nano-units and in the order of spending.

    packed: `postings.grants_after`: for each grant its id in 16 bytes and 16 bytes of little-endian nano-units.
    """
    if packed is None:
        return {}
    return {UUID(bytes=grant): low | high << 64 for grant, low, high in struct.iter_unpack("<16sQq", packed)}


async def create_grant(call: Call) -> Answer:
    """Gives money to a wallet; the customer is made if the merchant lets customers be made."""
    body: GrantBody = call.body
    name = check_external_id(call.path["externalId"])
    amount = money.parse(body.amount, "amount")
    if _CURRENCY.fullmatch(body.currency) is None:
        raise Problem("invalid_currency", "A currency is three capital letters of ISO 4217, for example CNY.", "currency")
    expires_us = None
    if body.expires_at is not None:
        expires_us = parse_time(body.expires_at, "expiresAt", code="invalid_expiry")
    command: dict[str, object] = {
        "type": "grant",
        "commandId": call.command_id(),
        "customer": name,
        "amount": money.format_decimal(amount),
        "currency": body.currency,
        "kind": body.kind,
        "priority": body.priority,
        "expiresAtUs": expires_us,
    }
    return Answer(msgspec.json.encode(await commands.run(call, command)))


async def list_grants(call: Call) -> Answer:
    """A page of a customer's grants."""
    query: PageQuery = call.query
    name = check_external_id(call.path["externalId"])
    secret, tenant_id = call.services.settings.secret, call.tenant.tenant_id
    scope = f"grants\0{name}"
    after = (None, None)
    if query.cursor is not None:
        created_us, grant_hex = cursors.unseal(secret, tenant_id, scope, query.cursor)
        after = (to_datetime(created_us), UUID(grant_hex))  # type: ignore[assignment]
    async with call.transaction() as connection:
        account_id = await account_of(connection, tenant_id, name)
        rows = await connection.fetch(_SQL["list_grants"], tenant_id, account_id, *after, query.limit + 1)
    page = rows[: query.limit]
    cursor = None
    if len(rows) > query.limit:
        cursor = cursors.seal(secret, tenant_id, scope, [to_us(page[-1]["created_at"]), page[-1]["grant_id"].hex])
    remaining = read_parts(page[0]["grants_after"]) if page else {}
    data = []
    for row in page:
        left = remaining.get(row["grant_id"], 0)
        data.append(
            GrantInList(
                public("gr", row["grant_id"].bytes),
                money.format_decimal(row["amount"]),
                money.format_nano(left),
                row["currency"],
                row["kind"],
                row["priority"],
                "open" if left else "expired" if row["expired"] else "spent",
                None if row["expires_at"] is None else format_time(row["expires_at"]),
                format_time(row["created_at"]),
            )
        )
    return Answer(GrantPage(data, cursor))
