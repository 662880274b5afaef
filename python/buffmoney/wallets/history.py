"""A wallet's history: its postings, newest first, each with the balance after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from buffmoney.base import cursors, money, queries
from buffmoney.base.clock import format_time, to_datetime
from buffmoney.base.errors import Problem
from buffmoney.base.http import Answer, Call
from buffmoney.base.ids import public
from buffmoney.base.times import parse_time
from buffmoney.base.wire import Currency, Number, Time
from buffmoney.wallets.customers import account_of, check_external_id

if TYPE_CHECKING:
    import asyncpg

PostingKind = Literal[
    "grant",
    "usage",
    "hold",
    "capture",
    "release",
    "grant_expiry",
    "void",
    "hold_expiry",
    "period_charge",
    "period_charge_reversal",
    "refund",
]
_NAMELESS_KINDS = frozenset({"void", "period_charge", "period_charge_reversal"})
"""what they refer to has no public id"""
_HOLD_KINDS = frozenset({"hold", "capture", "release", "hold_expiry"})
_SQL = queries.load("buffmoney.wallets")


class HistoryQuery(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """kind: repeated for several. from, to: RFC 3339, half-open, of the time of posting."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 50
    cursor: str | None = None
    kind: list[PostingKind] | None = None
    from_: Time | None = msgspec.field(default=None, name="from")
    to: Time | None = None


class HistoryEntry(msgspec.Struct, rename="camel"):
    """One posting: `amount` went from the debit to the credit account.

    balanceAfter: what was available after it, unbilledAfter: what was owed and not invoiced. grantId null: no grant.
    reference: the grant or hold behind it; of a refund its command, `cmd_` and 32 hexadecimal digits.
    idempotencyKey: only of a void, that of the event it reverses.
    """

    sequence: int
    kind: PostingKind
    amount: Number
    debit_account: str
    credit_account: str
    balance_after: Number
    held_after: Number
    unbilled_after: Number
    grant_id: str | None
    reference: str | None
    idempotency_key: str | None
    posted_at: Time


class HistoryPage(msgspec.Struct, rename="camel"):
    """Newest first. nextCursor null: the last page."""

    data: list[HistoryEntry]
    currency: Currency
    next_cursor: str | None


async def get_history(call: Call) -> Answer:
    """A page of a wallet's postings."""
    query: HistoryQuery = call.query
    name = check_external_id(call.path["externalId"])
    secret, tenant_id = call.services.settings.secret, call.tenant.tenant_id
    from_us = None if query.from_ is None else parse_time(query.from_, "from")
    to_us = None if query.to is None else parse_time(query.to, "to")
    if from_us is not None and to_us is not None and from_us >= to_us:
        raise Problem("invalid_parameter", "from must be before to.", "from")
    kinds = sorted(set(query.kind)) if query.kind else None
    scope = f"history\0{name}\0{kinds}\0{from_us}\0{to_us}"
    below = None
    if query.cursor is not None:
        (below,) = cursors.unseal(secret, tenant_id, scope, query.cursor)
    async with call.transaction() as connection:
        account_id = await account_of(connection, tenant_id, name)
        rows = await connection.fetch(
            _SQL["history"],
            tenant_id,
            account_id,
            below,
            kinds,
            None if from_us is None else to_datetime(from_us),
            None if to_us is None else to_datetime(to_us),
            query.limit + 1,
        )
    page = rows[: query.limit]
    cursor = cursors.seal(secret, tenant_id, scope, [page[-1]["seq"]]) if len(rows) > query.limit else None
    return Answer(HistoryPage([_entry(row) for row in page], call.tenant.currency, cursor))


def _entry(row: asyncpg.Record) -> HistoryEntry:
    kind: PostingKind = row["kind"]
    reference = row["reference"]
    prefix = "hold" if kind in _HOLD_KINDS else "cmd" if kind == "refund" else "gr"
    return HistoryEntry(
        row["seq"],
        kind,
        money.format_decimal(row["amount"]),
        row["debit_code"],
        row["credit_code"],
        money.format_decimal(row["balance_after"]),
        money.format_decimal(row["held_after"]),
        money.format_decimal(row["unbilled_after"]),
        None if row["grant_id"] is None else public("gr", row["grant_id"].bytes),
        None if reference is None or kind in _NAMELESS_KINDS else public(prefix, reference.bytes),
        row["idempotency_key"],
        format_time(row["posted_at"]),
    )
