"""Refunds a merchant asks for: what may be refunded, and which credits are taken for it. What becomes of one is in `refund_steps`."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Literal
from uuid import UUID

import msgspec

from buffmoney.audit import log
from buffmoney.base import money, queries
from buffmoney.base.clock import format_time, to_datetime
from buffmoney.base.errors import Problem
from buffmoney.base.http import Answer, Call
from buffmoney.base.ids import new_bytes, public
from buffmoney.base.wire import Currency, Number, NumberInput, Time
from buffmoney.collection import refund_steps
from buffmoney.collection.channels import Channel
from buffmoney.collection.top_up_settings import CURRENCY, parse_yuan
from buffmoney.wallets import outbox
from buffmoney.wallets.grants import read_parts

if TYPE_CHECKING:
    import asyncpg

    from buffmoney.base.database import Connection

MAX_PARTS = 50
"""of one payment: WeChat's limit"""
MAX_REASON_CHARACTERS = 80
FEN = Decimal("0.01")
_SQL = queries.load("buffmoney.collection", "refunds.sql")

Status = Literal["requested", "ready", "processing", "succeeded", "abnormal", "closed", "refused"]


class RefundBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What is given back.

    amount: CNY, at most what is left of the payment and unspent of its credits. reason: for the customer, at most 80 characters.
    """

    amount: NumberInput
    reason: str = ""


class CreditsTaken(msgspec.Struct, rename="camel"):
    """Credits taken back. paid: from the paid grant. bonus: from the bonus grant."""

    paid: Number
    bonus: Number


class Refund(msgspec.Struct, rename="camel"):
    """A refund.

    status: `requested`: the credits are being taken back; `ready`: to be sent to the channel; `processing`: the channel works on it;
    `succeeded`; `abnormal`: the channel could not pay it out, see to it there; `closed`: the channel refused, the credits are given back;
    `refused`: the credits were spent meanwhile. cause: who asked for it. failure: the core's or channel's code. creditsTaken: from the
    customer's wallet. refundNo: ours, at the channel. channelRefundId: the channel's. succeededAt: by the channel.
    """

    refund_id: str
    top_up_id: str
    cause: Literal["merchant", "double_payment", "canceled", "grant_refused"]
    amount: Number
    currency: Currency
    reason: str
    status: Status
    credits_taken: CreditsTaken
    channel: Channel
    refund_no: str
    channel_refund_id: str | None
    failure: str | None
    created_at: Time
    succeeded_at: Time | None


class RefundList(msgspec.Struct, rename="camel"):
    """All refunds of a top-up, oldest first."""

    data: list[Refund]


class Left(msgspec.Struct, frozen=True):
    """What there is to refund from. asked: of the payment so far; bonus_due: of the bonus for that. bonus_left None: it has expired."""

    amount: Decimal
    bonus: Decimal
    asked: Decimal
    bonus_due: Decimal
    paid_left: Decimal
    bonus_left: Decimal | None

    def taking(self, amount: Decimal) -> tuple[Decimal, Decimal]:
        """The credits that a refund of `amount` takes, paid and bonus: the amount, and of the bonus what is due, in proportion to all that
        is refunded then, half a fen up. What of that is spent is taken from the paid credits."""
        if self.bonus_left is None:
            return amount, Decimal(0)
        due = (self.bonus * (self.asked + amount) / self.amount).quantize(FEN, ROUND_HALF_UP) - self.bonus_due
        due = max(due, Decimal(0))
        from_bonus = min(due, self.bonus_left)
        return amount + due - from_bonus, from_bonus

    @property
    def refundable(self) -> Decimal:
        """The most that can be refunded: more of the payment never takes less of the credits."""
        low, high = 0, int(min(self.amount - self.asked, self.paid_left) / FEN)
        while low < high:
            middle = (low + high + 1) // 2
            if self.taking(middle * FEN)[0] <= self.paid_left:
                low = middle
            else:
                high = middle - 1
        return low * FEN


async def create_refund(call: Call) -> Answer:
    """Asks for a refund: the credits are taken first, then the channel is asked."""
    body: RefundBody = call.body
    amount = parse_yuan(body.amount, "amount")
    if len(body.reason) > MAX_REASON_CHARACTERS or any(ord(one) < 32 or 0xD800 <= ord(one) <= 0xDFFF for one in body.reason):
        raise Problem("invalid_reason", f"A reason has at most {MAX_REASON_CHARACTERS} characters and no control characters.", "reason")
    tenant_id, top_up_id, clock = call.tenant.tenant_id, call.path["topUpId"], call.services.clock
    now = to_datetime(clock.now_us())
    async with call.transaction() as connection:
        row = await connection.fetchrow(_SQL["paid_top_up"], tenant_id, top_up_id)
        if row is None:
            raise Problem("top_up_not_found")
        if row["status"] != "paid":
            raise Problem("top_up_not_paid")
        if now > row["paid_at"] + timedelta(days=row["refund_window_days"]):
            raise Problem("refund_window_over", f"A top-up can be refunded for {row['refund_window_days']} days after its payment.")
        left = await _left(connection, tenant_id, row, now)
        paid_taken, bonus_taken = _taken(left, amount)
        number: int = await connection.fetchval(_SQL["count_refund"], tenant_id, row["paid_order_id"])
        if number > MAX_PARTS - 1:
            raise Problem("too_many_refunds", f"A payment can be refunded in at most {MAX_PARTS - 1} parts.")
        refund_id = public("re", new_bytes(clock))
        parts = [(row["paid_grant_id"], paid_taken), *([(row["bonus_grant_id"], bonus_taken)] if bonus_taken else [])]
        command: dict[str, object] = {
            "type": "refund",
            "customer": row["customer"],
            "parts": [{"grantId": grant.hex, "amount": money.format_decimal(part)} for grant, part in parts],
        }
        taking = await outbox.enqueue(connection, clock, tenant_id, f"refund:{refund_id}:take", command)
        await connection.execute(
            _SQL["insert_refund"],
            tenant_id,
            refund_id,
            f"{row['order_no']}R{number:02d}",
            row["paid_order_id"],
            top_up_id,
            "merchant",
            amount,
            paid_taken,
            bonus_taken,
            UUID(bytes=taking.command_id),
            body.reason,
            "requested",
            call.tenant.key_id,
            now,
        )
        made = _refund(await connection.fetchrow(_SQL["refund"], tenant_id, refund_id))
        await log.record(connection, log.Author.of(call), tenant_id, "refund.create", refund_id, None, msgspec.to_builtins(made))

    async def begin() -> None:
        await refund_steps.go_on(call.services, call.tenant, refund_id)

    call.after_commit.append(begin)
    return Answer(made)


async def get_refund(call: Call) -> Answer:
    """One refund."""
    async with call.transaction() as connection:
        return Answer(_refund(await connection.fetchrow(_SQL["refund"], call.tenant.tenant_id, call.path["refundId"])))


async def list_refunds(call: Call) -> Answer:
    """All refunds of a top-up."""
    tenant_id, top_up_id = call.tenant.tenant_id, call.path["topUpId"]
    async with call.transaction() as connection:
        if not await connection.fetchval(_SQL["is_top_up"], tenant_id, top_up_id):
            raise Problem("top_up_not_found")
        rows = await connection.fetch(_SQL["list_refunds"], tenant_id, top_up_id)
    return Answer(RefundList([_refund(row) for row in rows]))


def _taken(left: Left, amount: Decimal) -> tuple[Decimal, Decimal]:
    """The credits to take. Raises Problem refund_exceeds_payment or refund_exceeds_unspent, which say what is possible."""
    rest = left.amount - left.asked
    if amount > rest:
        detail = f"Of {money.format_decimal(left.amount)} paid, {money.format_decimal(left.asked)} is refunded already."
        raise Problem("refund_exceeds_payment", detail, "amount", refundable=money.format_decimal(left.refundable))
    paid_taken, bonus_taken = left.taking(amount)
    if paid_taken > left.paid_left:
        refundable = money.format_decimal(left.refundable)
        detail = f"Of the paid credits {money.format_decimal(left.paid_left)} is unspent, so at most {refundable} can be refunded."
        raise Problem("refund_exceeds_unspent", detail, "amount", refundable=refundable)
    return paid_taken, bonus_taken


async def _left(connection: Connection, tenant_id: int, row: asyncpg.Record, now: datetime) -> Left:
    """What there is to refund from. Raises Problem top_up_not_credited."""
    asked = await connection.fetchrow(_SQL["refunded_so_far"], tenant_id, row["paid_order_id"])
    assert asked is not None
    paid_grant, bonus_grant = row["paid_grant_id"], row["bonus_grant_id"]
    grants = {one["grant_id"]: one for one in await connection.fetch(_SQL["what_is_left"], tenant_id, paid_grant, bonus_grant, now)}
    if paid_grant not in grants or (bonus_grant is not None and bonus_grant not in grants):
        raise Problem("top_up_not_credited", retry_after=1)
    remaining = read_parts(grants[paid_grant]["grants_after"])
    bonus_left: Decimal | None = Decimal(0)
    if bonus_grant is not None:
        bonus_left = None if grants[bonus_grant]["expired"] else money.from_nano(remaining.get(bonus_grant, 0))
    paid_left = Decimal(0) if grants[paid_grant]["expired"] else money.from_nano(remaining.get(paid_grant, 0))
    return Left(row["amount"], row["bonus_granted"], asked["amount"], asked["bonus_due"], paid_left, bonus_left)


def _refund(row: asyncpg.Record | None) -> Refund:
    if row is None:
        raise Problem("refund_not_found")
    return Refund(
        row["refund_id"],
        row["top_up_id"],
        row["cause"],
        money.format_decimal(row["amount"]),
        CURRENCY,
        row["reason"],
        row["status"],
        CreditsTaken(money.format_decimal(row["paid_taken"]), money.format_decimal(row["bonus_taken"])),
        row["channel"],
        row["refund_no"],
        row["channel_refund_id"],
        row["failure"],
        format_time(row["created_at"]),
        None if row["succeeded_at"] is None else format_time(row["succeeded_at"]),
    )
