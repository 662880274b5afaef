"""Promotions: buy an amount, get a bonus. Of all that apply, the one with the largest bonus counts; they are not added up."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from buffmoney.audit import log
from buffmoney.base import money, queries
from buffmoney.base.clock import format_time, to_datetime
from buffmoney.base.errors import Problem
from buffmoney.base.http import Answer, Call
from buffmoney.base.ids import new_short
from buffmoney.base.times import parse_time
from buffmoney.base.wire import Number, NumberInput, Time
from buffmoney.collection.top_up_settings import Days, parse_yuan

if TYPE_CHECKING:
    import asyncpg

    from buffmoney.base.database import Connection

MAX_PROMOTIONS = 1_000
"""of one tenant, ended ones too"""
_SQL = queries.load("buffmoney.collection", "top_ups.sql")

State = Literal["scheduled", "active", "ended"]


class PromotionBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Terms of a promotion.

    buy: CNY, from which amount on. get: CNY, the bonus. firstPurchaseOnly: only for a customer's first paid top-up. repeats: for every
    whole `buy` in the amount, else once from `buy` on. usesPerCustomer null: without end. bonusValidDays null: as the top-up settings say.
    startsAt: at once without it; endsAt: RFC 3339, half-open, null for never.
    """

    name: str
    buy: NumberInput
    get: NumberInput
    repeats: bool = False
    first_purchase_only: bool = False
    uses_per_customer: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    bonus_valid_days: Days | None = None
    starts_at: Time | None = None
    ends_at: Time | None = None


class EndBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """No fields."""


class Promotion(msgspec.Struct, rename="camel"):
    """A promotion, whose terms never change.

    buy: CNY, from which amount on. get: CNY, the bonus. repeats: for every whole `buy` in the amount, else once. firstPurchaseOnly: only
    for a customer's first paid top-up. usesPerCustomer null: without end. bonusValidDays null: as the top-up settings say. startsAt: itself
    in it. endsAt: itself not in it; null: never. state: whether it counts now. endedAt: when it was ended by hand.
    """

    promotion_id: str
    name: str
    buy: Number
    get: Number
    repeats: bool
    first_purchase_only: bool
    uses_per_customer: int | None
    bonus_valid_days: int | None
    starts_at: Time
    ends_at: Time | None
    state: State
    created_at: Time
    ended_at: Time | None


class PromotionList(msgspec.Struct, rename="camel"):
    """All promotions of the tenant, newest first."""

    data: list[Promotion]


class Promised(msgspec.Struct, frozen=True):
    """What a top-up is promised. promotion_id None: no bonus."""

    promotion_id: str | None
    bonus: Decimal
    bonus_valid_days: int | None


def bonus_of(row: asyncpg.Record, amount: Decimal) -> Decimal:
    """The bonus that a promotion gives for an amount; 0 below its `buy`."""
    times = int(amount // row["buy_amount"])
    bonus: Decimal = row["get_amount"] * (times if row["repeats"] else min(times, 1))
    return bonus


async def promise(connection: Connection, tenant_id: int, customer: str, amount: Decimal, now: datetime) -> Promised:
    """The best promotion in force that this customer can have now, as far as is known before the payment."""
    rows = await connection.fetch(_SQL["promotions_for"], tenant_id, customer, now)
    # Oldest first, and max() keeps the first of equals.
    best = max(rows, key=lambda row: bonus_of(row, amount), default=None)
    bonus = Decimal(0) if best is None else bonus_of(best, amount)
    if best is None or not bonus:
        return Promised(None, Decimal(0), None)
    return Promised(best["promotion_id"], bonus, best["bonus_valid_days"])


async def still_counts(connection: Connection, tenant_id: int, customer: str, promotion_id: str) -> bool:
    """Whether a promised bonus is still due, counted over the customer's paid top-ups.

    Before it settles a payment, the caller holds `lock_customer`, so that two payments at once do not both count as the first.
    """
    counts: bool = await connection.fetchval(_SQL["promotion_counts"], tenant_id, promotion_id, customer)
    return counts


async def lock_customer(connection: Connection, tenant_id: int, customer: str) -> None:
    """Settlements with a bonus of one customer go one after the other, until the transaction ends."""
    await connection.execute(_SQL["lock_customer"], f"{tenant_id}:{customer}")


async def create_promotion(call: Call) -> Answer:
    """Makes a promotion."""
    body: PromotionBody = call.body
    tenant_id, now = call.tenant.tenant_id, to_datetime(call.services.clock.now_us())
    if not 1 <= len(body.name) <= 255 or any(ord(one) < 32 or 0xD800 <= ord(one) <= 0xDFFF for one in body.name):
        raise Problem("invalid_promotion", "A promotion's name has 1 to 255 characters and no control characters.", "name")
    buy, get = parse_yuan(body.buy, "buy"), parse_yuan(body.get, "get")
    starts_at = now if body.starts_at is None else to_datetime(parse_time(body.starts_at, "startsAt"))
    ends_at = None if body.ends_at is None else to_datetime(parse_time(body.ends_at, "endsAt"))
    if ends_at is not None and ends_at <= max(starts_at, now):
        raise Problem("invalid_promotion", "A promotion ends after it starts, and not in the past.", "endsAt")
    async with call.transaction() as connection:
        if await connection.fetchval(_SQL["count_promotions"], tenant_id) >= MAX_PROMOTIONS:
            raise Problem("invalid_promotion", f"A merchant has at most {MAX_PROMOTIONS:,} promotions.")
        row = await connection.fetchrow(
            _SQL["insert_promotion"],
            tenant_id,
            new_short("pm", call.services.clock),
            body.name,
            buy,
            get,
            body.repeats,
            body.first_purchase_only,
            body.uses_per_customer,
            body.bonus_valid_days,
            starts_at,
            ends_at,
            now,
        )
        assert row is not None
        made = _promotion(row, now)
        author = log.Author.of(call)
        await log.record(connection, author, tenant_id, "promotion.create", made.promotion_id, None, msgspec.to_builtins(made))
    return Answer(made)


async def end_promotion(call: Call) -> Answer:
    """Ends a promotion now. Top-ups that were promised it keep it. Ending twice is the same as once."""
    tenant_id, promotion_id = call.tenant.tenant_id, call.path["promotionId"]
    now = to_datetime(call.services.clock.now_us())
    async with call.transaction() as connection:
        row = await connection.fetchrow(_SQL["lock_promotion"], tenant_id, promotion_id)
        if row is None:
            raise Problem("promotion_not_found")
        before = _promotion(row, now)
        if before.state == "ended":
            return Answer(before)
        await connection.execute(_SQL["end_promotion"], tenant_id, promotion_id, now)
        after = msgspec.structs.replace(before, state="ended", ended_at=format_time(now))
        told = (msgspec.to_builtins(before), msgspec.to_builtins(after))
        await log.record(connection, log.Author.of(call), tenant_id, "promotion.end", promotion_id, *told)
    return Answer(after)


async def list_promotions(call: Call) -> Answer:
    """All promotions."""
    now = to_datetime(call.services.clock.now_us())
    async with call.transaction() as connection:
        rows = await connection.fetch(_SQL["list_promotions"], call.tenant.tenant_id)
    return Answer(PromotionList([_promotion(row, now) for row in rows]))


def _promotion(row: asyncpg.Record, now: datetime) -> Promotion:
    state: State = "active"
    if row["ended_at"] is not None or (row["ends_at"] is not None and row["ends_at"] <= now):
        state = "ended"
    elif row["starts_at"] > now:
        state = "scheduled"
    return Promotion(
        row["promotion_id"],
        row["name"],
        money.format_decimal(row["buy_amount"]),
        money.format_decimal(row["get_amount"]),
        row["repeats"],
        row["first_purchase_only"],
        row["uses_per_customer"],
        row["bonus_valid_days"],
        format_time(row["starts_at"]),
        None if row["ends_at"] is None else format_time(row["ends_at"]),
        state,
        format_time(row["created_at"]),
        None if row["ended_at"] is None else format_time(row["ended_at"]),
    )
