"""Customers with a rate card of their own: an override made for them, or a version of their product's card that they keep.

An assignment counts from its moment on, by when usage occurred, until the next one of the same customer and product. Nothing is changed or
deleted: going back to the product's default cards is an assignment, too, and of two with the same start the one made later counts.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal

import msgspec

from buffmoney.audit import log
from buffmoney.base import queries
from buffmoney.base.clock import format_time, to_datetime
from buffmoney.base.errors import Problem
from buffmoney.base.http import Answer, Call, Route, tell_core
from buffmoney.base.times import parse_time
from buffmoney.base.wire import CustomerId, Time
from buffmoney.pricing import products, versions

if TYPE_CHECKING:
    import asyncpg

    from buffmoney.base.database import Connection

MAX_ASSIGNMENTS = 50_000
"""of one tenant, past ones too: every core holds them all"""
_SQL = queries.load("buffmoney.pricing")

State = Literal["past", "in_force", "scheduled", "replaced"]


class AssignmentBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Which card a customer meets.

    rateCardId: a published version; null: the default cards of the product. productId: only with null, the default product without it.
    effectiveFrom: RFC 3339, by when usage occurred; at once without it.
    """

    rate_card_id: str | None
    product_id: str | None = None
    effective_from: Time | None = None


class EndQuery(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Which assignment ends, and when. productId: the default product without it. effectiveFrom: RFC 3339, at once without it."""

    product_id: str | None = None
    effective_from: Time | None = None


class Assignment(msgspec.Struct, rename="camel"):
    """A customer's card for a product from a moment on. rateCardId, name and version null: the product's default cards.

    state: `replaced` by a later one with the same start, else `past`, `in_force` or `scheduled`.
    """

    customer_external_id: CustomerId
    product_id: str
    rate_card_id: str | None
    name: str | None
    version: int | None
    effective_from: Time
    state: State
    created_at: Time


class AssignmentList(msgspec.Struct, rename="camel"):
    """Everything that was ever assigned to a customer, newest first."""

    data: list[Assignment]


async def assign_card(call: Call) -> Answer:
    """Lets a customer meet one version of a product's card, or the default cards again."""
    body: AssignmentBody = call.body
    if body.rate_card_id is not None and body.product_id is not None:
        raise Problem("invalid_body", "The rate card says which product's it is.", "productId")
    return await _assign(call, body.rate_card_id, body.product_id, body.effective_from)


async def end_assignment(call: Call) -> Answer:
    """Lets a customer meet the default cards of a product again."""
    query: EndQuery = call.query
    return await _assign(call, None, query.product_id, query.effective_from)


async def list_assignments(call: Call) -> Answer:
    """What a customer was, is and will be assigned."""
    name, tenant_id = call.path["externalId"], call.tenant.tenant_id
    async with call.transaction() as connection:
        account_id, _ = await _customer(connection, tenant_id, name)
        rows = await connection.fetch(_SQL["assignments"], tenant_id, account_id, None)
    states = _states(rows, to_datetime(call.services.clock.now_us()))
    return Answer(AssignmentList([_assignment(name, row, state) for row, state in zip(rows, states, strict=True)]))


async def _assign(call: Call, card_id: str | None, product_id: str | None, effective_from: str | None) -> Answer:
    name, tenant_id = call.path["externalId"], call.tenant.tenant_id
    effective_us = None if effective_from is None else parse_time(effective_from, "effectiveFrom")
    async with call.transaction() as connection:
        account_id, currency = await _customer(connection, tenant_id, name)
        # Assignments of a tenant are made one after the other.
        if await connection.fetchval(_SQL["lock_tenant"], tenant_id) is None:
            raise Problem("not_found", "The tenant does not exist.")
        now = to_datetime(call.services.clock.now_us())
        if card_id is None:
            product_id = await products.resolve(connection, tenant_id, product_id)
        else:
            product_id = await _published(connection, tenant_id, card_id, currency)
        effect = now if effective_us is None else to_datetime(effective_us)
        if effect < now:
            raise Problem("invalid_assignment", "effectiveFrom lies in the past, where usage was priced already.", "effectiveFrom")
        before = await _met_at(connection, tenant_id, account_id, product_id, effect)
        if before is None:
            unchanged = card_id is None
        else:
            unchanged = card_id == before["rate_card_id"] and (effective_us is None or before["effective_from"] == effect)
        if unchanged:
            return Answer(_default(name, product_id, effect, now) if before is None else _assignment(name, before, _state(before, now)))
        if await connection.fetchval(_SQL["count_assignments"], tenant_id) >= MAX_ASSIGNMENTS:
            raise Problem("too_many_assignments", f"A merchant assigns rate cards at most {MAX_ASSIGNMENTS:,} times.")
        await connection.execute(_SQL["insert_assignment"], tenant_id, account_id, product_id, effect, card_id, now)
        row = await _met_at(connection, tenant_id, account_id, product_id, effect)
        assert row is not None
        made = _assignment(name, row, _state(row, now))
        told = None if before is None else msgspec.to_builtins(_assignment(name, before, _state(before, now)))
        author = log.Author.of(call)
        await log.record(connection, author, tenant_id, "customer.assign_rate_card", name, told, msgspec.to_builtins(made))
        version: int = await connection.fetchval(_SQL["next_version"], tenant_id)
    await tell_core(call, version)
    return Answer(made)


async def _met_at(connection: Connection, tenant_id: int, account_id: int, product_id: str, moment: datetime) -> asyncpg.Record | None:
    """The assignment that counts at a moment, if there is one."""
    rows = await connection.fetch(_SQL["assignments"], tenant_id, account_id, product_id)
    started = (row for row in rows if row["effective_from"] <= moment)
    return max(started, key=lambda row: (row["effective_from"], row["sequence"]), default=None)


async def _customer(connection: Connection, tenant_id: int, name: str) -> tuple[int, str]:
    """(account, currency). Raises Problem unknown_customer."""
    row = await connection.fetchrow(_SQL["customer"], tenant_id, name)
    if row is None:
        raise Problem("unknown_customer", param="externalId")
    return row["account_id"], row["currency"]


async def _published(connection: Connection, tenant_id: int, card_id: str, currency: str) -> str:
    """The product of a published card that has a price in this currency. Raises Problem."""
    card = await versions.read(connection, tenant_id, card_id)
    if card.status != "published":
        raise Problem("invalid_assignment", "This rate card is a draft: publish it first.", "rateCardId")
    if all(charge.currency != currency for charge in card.charges):
        detail = f"This rate card has no price in {currency}, the customer's currency: all of its usage would be refused."
        raise Problem("currency_mismatch", detail, "rateCardId")
    return card.product_id


def _state(row: asyncpg.Record, now: datetime) -> State:
    """Of an assignment that counts at some moment from now on."""
    return "in_force" if row["effective_from"] <= now else "scheduled"


def _states(rows: list[asyncpg.Record], now: datetime) -> list[State]:
    """Of all assignments of a customer."""
    counts: dict[tuple[str, datetime], int] = {}
    in_force: dict[str, datetime] = {}
    for row in rows:
        product, start = row["product_id"], row["effective_from"]
        counts[product, start] = max(row["sequence"], counts.get((product, start), 0))
        if start <= now:
            in_force[product] = max(start, in_force.get(product, start))

    def state(row: asyncpg.Record) -> State:
        product, start = row["product_id"], row["effective_from"]
        if counts[product, start] != row["sequence"]:
            return "replaced"
        return "past" if start < in_force.get(product, start) else _state(row, now)

    return [state(row) for row in rows]


def _assignment(name: str, row: asyncpg.Record, state: State) -> Assignment:
    start, made = format_time(row["effective_from"]), format_time(row["created_at"])
    return Assignment(name, row["product_id"], row["rate_card_id"], row["name"], row["version"], start, state, made)


def _default(name: str, product_id: str, effect: datetime, now: datetime) -> Assignment:
    """What holds for a customer to whom nothing was assigned."""
    return Assignment(
        name, product_id, None, None, None, format_time(effect), "in_force" if effect <= now else "scheduled", format_time(now)
    )


_PATH = "/v1/customers/{externalId}/rate-card"
_ERRORS = ("unknown_customer", "product_not_found", "invalid_assignment", "too_many_assignments", "invalid_time", "not_found")

ROUTES: tuple[Route, ...] = (
    Route(
        method="PUT",
        path=_PATH,
        handler=assign_card,
        summary="Assign a rate card to a customer",
        tag="Pricing",
        description="From `effectiveFrom` on the customer meets this one version in place of its product's default cards: an override "
        "(published with `audience` `assigned`) or a version it keeps, in force for others or not. The answer comes once the next event "
        "will be rated by it. What was priced before stays as it is.",
        body=AssignmentBody,
        answer=Assignment,
        errors=("rate_card_not_found", "currency_mismatch", *_ERRORS),
    ),
    Route(
        method="DELETE",
        path=_PATH,
        handler=end_assignment,
        summary="Let a customer meet the default rate cards again",
        tag="Pricing",
        description="From `effectiveFrom` on. The same as assigning `null`.",
        query=EndQuery,
        answer=Assignment,
        errors=_ERRORS,
    ),
    Route(
        method="GET",
        path=_PATH,
        handler=list_assignments,
        summary="List the rate cards assigned to a customer",
        tag="Pricing",
        description="Everything that was ever assigned to the customer, newest first.",
        answer=AssignmentList,
        errors=("unknown_customer",),
    ),
)
