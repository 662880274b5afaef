"""Customers: the merchant's own names of those who pay, and the settings of their wallets."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Annotated

import msgspec

from buffmoney.base import cursors, money, queries
from buffmoney.base.clock import format_time
from buffmoney.base.errors import Problem
from buffmoney.base.http import Answer, Call
from buffmoney.base.wire import Currency, CustomerId, Number, NumberInput, Time
from buffmoney.wallets import commands

if TYPE_CHECKING:
    import asyncpg

    from buffmoney.base.database import Connection

MAX_EXTERNAL_ID_BYTES = 255
_SQL = queries.load("buffmoney.wallets")


class CustomerBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A customer to make or to change; what is left out stays as it is.

    overdraftLimit: how far below zero the balance may go, or, where customers pay after, how much may be owed unbilled; null: without end.
    lowBalanceThreshold: falling below it is recorded; null: none. currency: of the wallet, for good; the merchant's without it.
    """

    external_id: CustomerId
    currency: Currency | msgspec.UnsetType = msgspec.UNSET
    overdraft_limit: NumberInput | msgspec.UnsetType | None = msgspec.UNSET
    low_balance_threshold: NumberInput | msgspec.UnsetType | None = msgspec.UNSET


class Customer(msgspec.Struct, rename="camel"):
    """A customer.

    overdraftLimit null: no floor, and no limit to what may be owed unbilled. lowBalanceThreshold: falling below it is recorded; null: none.
    """

    external_id: CustomerId
    currency: Currency
    overdraft_limit: Number | None
    low_balance_threshold: Number | None
    created_at: Time


class CustomerPage(msgspec.Struct, rename="camel"):
    """In the order of their making. nextCursor null: the last page."""

    data: list[Customer]
    next_cursor: str | None


class PageQuery(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A page of a list."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50
    cursor: str | None = None


def check_external_id(text: str, param: str = "externalId") -> str:
    """A customer's id as the merchant gives it: 1 to 255 bytes without control characters. Raises Problem invalid_customer."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        size = 0
    if not 1 <= size <= MAX_EXTERNAL_ID_BYTES or any(unicodedata.category(character) == "Cc" for character in text):
        raise Problem("invalid_customer", f"A customer's id has 1 to {MAX_EXTERNAL_ID_BYTES} bytes and no control characters.", param)
    return text


def unknown_customer() -> Problem:
    """The one answer for a customer that this tenant does not have."""
    return Problem("unknown_customer", param="externalId")


async def account_of(connection: Connection, tenant_id: int, external_id: str) -> int:
    """The wallet's account. Raises Problem unknown_customer."""
    account_id: int | None = await connection.fetchval(_SQL["account"], tenant_id, external_id)
    if account_id is None:
        raise unknown_customer()
    return account_id


async def configure_customer(call: Call) -> Answer:
    """Makes a customer, or changes the settings of one."""
    body: CustomerBody = call.body
    name = check_external_id(body.external_id)
    command: dict[str, object] = {"type": "configure", "commandId": call.command_id(), "customer": name, "create": True}
    if body.currency is not msgspec.UNSET:
        command["currency"] = money.check_currency(body.currency, "currency", known=call.tenant.currency)
    if body.overdraft_limit is not msgspec.UNSET:
        limit = body.overdraft_limit
        command["overdraftLimit"] = None if limit is None else money.format_decimal(money.parse(limit, "overdraftLimit", zero=True))
    if body.low_balance_threshold is not msgspec.UNSET:
        threshold = body.low_balance_threshold
        command["lowBalanceThreshold"] = (
            None if threshold is None else money.format_decimal(money.parse(threshold, "lowBalanceThreshold", signed=True, zero=True))
        )
    done = await commands.run(call, command)
    made = await _read(call, name)
    # The settings are those of the command's own answer: a repetition gets the first answer again, whatever was changed since.
    return Answer(Customer(name, made.currency, done["overdraftLimit"], done["lowBalanceThreshold"], made.created_at))


async def get_customer(call: Call) -> Answer:
    """One customer."""
    return Answer(await _read(call, check_external_id(call.path["externalId"])))


async def list_customers(call: Call) -> Answer:
    """A page of customers."""
    query: PageQuery = call.query
    secret, tenant_id = call.services.settings.secret, call.tenant.tenant_id
    after = 0
    if query.cursor is not None:
        (after,) = cursors.unseal(secret, tenant_id, "customers", query.cursor)
    async with call.transaction() as connection:
        rows = await connection.fetch(_SQL["list_customers"], tenant_id, after, query.limit + 1)
    page = rows[: query.limit]
    cursor = cursors.seal(secret, tenant_id, "customers", [page[-1]["account_id"]]) if len(rows) > query.limit else None
    return Answer(CustomerPage([_customer(row) for row in page], cursor))


async def _read(call: Call, name: str) -> Customer:
    async with call.transaction() as connection:
        row = await connection.fetchrow(_SQL["customer"], call.tenant.tenant_id, name)
    if row is None:
        raise unknown_customer()
    return _customer(row)


def _customer(row: asyncpg.Record) -> Customer:
    limit, threshold = row["overdraft_limit"], row["low_balance_threshold"]
    return Customer(
        row["external_id"],
        row["currency"],
        None if limit is None else money.format_decimal(limit),
        None if threshold is None else money.format_decimal(threshold),
        format_time(row["created_at"]),
    )
