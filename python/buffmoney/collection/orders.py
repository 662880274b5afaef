"""Payment orders, and the one place where it is decided what a payment is used for: `settle`."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Literal
from uuid import UUID

import msgspec
from prometheus_client import Counter

from buffmoney.base import money, queries
from buffmoney.base.clock import Clock, to_datetime, to_us
from buffmoney.base.config import Settings
from buffmoney.base.ids import new_bytes, public
from buffmoney.collection import alerts, promotions
from buffmoney.collection.accounts import Account
from buffmoney.collection.alerts import Alert
from buffmoney.collection.channels import PaymentState
from buffmoney.collection.top_up_settings import CURRENCY
from buffmoney.ledger import cash
from buffmoney.wallets import outbox
from buffmoney.wallets.grants import DEFAULT_PRIORITY

if TYPE_CHECKING:
    import asyncpg

    from buffmoney.base.database import Connection

UNKNOWN_FOR = timedelta(minutes=10)
"""how old a payment of an unknown order must be before it goes to suspense: until then its order may still be on its way to the disk"""
SETTLED = Counter(
    "buffmoney_payments_settled", "Payments that were looked at, by what came of it and who brought the news.", ["verdict", "source"]
)

_SQL = queries.load("buffmoney.collection", "orders.sql")
LOCK_ORDER = _SQL["lock_order"]
"""(tenant, channel, order number): the order and its top-up, until the end of the transaction"""
_REFUNDS = queries.load("buffmoney.collection", "refunds.sql")

Source = Literal["callback", "poll", "close"]
Verdict = Literal["credited", "refunded", "repeated", "suspended", "too_early", "not_paid"]


class Settled(msgspec.Struct, frozen=True):
    """What came of a payment. commands: of the outbox, to be delivered after the commit. refund_id: a refund to be gone on with.

    credited; refunded: a second payment, or one of a cancelled top-up; repeated: it was settled before; suspended: left to people;
    too_early: an unknown order, so the channel should say it again later; not_paid: the state says so.
    """

    verdict: Verdict
    order_id: str | None = None
    commands: tuple[outbox.Command, ...] = ()
    refund_id: str | None = None

    @property
    def taken(self) -> bool:
        """Whether the channel need not say it again."""
        return self.verdict != "too_early"


class Books(msgspec.Struct, frozen=True):
    """Who posts to the cash book: a `ledger.cash.Signer`."""

    settings: Settings
    clock: Clock

    @property
    def cash_key(self) -> bytes:
        """What signs the book's heads."""
        return self.settings.cash_key


def number_of(order_id: str) -> str:
    """An order's number at the channel: its id without the prefix, 32 hexadecimal digits."""
    return order_id.removeprefix("po_")


async def settle(
    connection: Connection, settings: Settings, clock: Clock, tenant_id: int, account: Account, state: PaymentState, source: Source
) -> Settled:
    """Decides what a payment is used for, by the written rules of this package, and does it, in the caller's transaction.

    account: through which the news came, verified. state: the channel's word. Any number of times, from any side, in any sequence, it
    comes to the same.
    """
    if state.status not in ("paid", "refunded"):
        return Settled("not_paid")
    books = Books(settings, clock)
    row = await connection.fetchrow(_SQL["lock_order"], tenant_id, account.channel, state.order_no)
    if row is None:
        settled = await _unknown(connection, books, tenant_id, account, state)
    elif row["status"] == "paid" and row["transaction_id"] == state.transaction_id:
        settled = Settled("repeated", row["order_id"])
    else:
        wrong = _difference(row, account, state)
        if wrong is None:
            settled = await _use(connection, books, tenant_id, row, state, source)
        else:
            settled = await _suspend(connection, books, tenant_id, row, state, wrong)
    SETTLED.labels(settled.verdict, source).inc()
    return settled


def _difference(row: asyncpg.Record, account: Account, state: PaymentState) -> tuple[alerts.Kind, str] | None:
    """What is wrong with a payment, compared exactly with what was ordered; None if nothing is."""
    if row["status"] == "paid":
        return "second_transaction", f"The order was settled with transaction {row['transaction_id']}."
    if not is_collected_by(row, account, state):
        said = (account.channel_account_id, state.collector_id, state.app_id)
        expected = (row["channel_account_id"], row["collector_id"], row["app_id"])
        return "wrong_collector", f"It says {', '.join(map(str, said))}; the order is for {', '.join(expected)}."
    if state.currency != row["currency"]:
        return "wrong_currency", f"It is in {state.currency}, the order in {row['currency']}."
    if state.amount is None or state.amount != row["amount"]:
        return "wrong_amount", f"It is of {state.amount}, the order of {money.format_decimal(row['amount'])}."
    if state.status == "refunded":
        return "refunded_elsewhere", "The channel has refunded it, in whole or part, before it was settled here."
    return None


def is_collected_by(row: asyncpg.Record, account: Account, state: PaymentState) -> bool:
    """Whether news that came for an account are of whom an order is collected by: its account, collector, app and sub-merchant."""
    expected = (row["channel_account_id"], row["collector_id"], row["app_id"])
    of_sub_merchant = row["sub_merchant_id"] is None or state.sub_merchant_id == row["sub_merchant_id"]
    return (account.channel_account_id, state.collector_id, state.app_id) == expected and of_sub_merchant


async def _use(connection: Connection, books: Books, tenant_id: int, row: asyncpg.Record, state: PaymentState, source: Source) -> Settled:
    """A payment as it was ordered: the first of its top-up is credited, every other one goes back."""
    now = to_datetime(books.clock.now_us())
    paid_at = state.paid_at or now
    order_id, amount = row["order_id"], row["amount"]
    fixed = (tenant_id, order_id, state.transaction_id, state.payer, paid_at, now, source)
    entries = cash.payment_entries(order_id, row["channel"], amount, platform_bps=books.settings.platform_fee_bps, occurred_at=paid_at)
    if row["suspended_at"] is not None:
        # Said wrongly before, and now as it was ordered: what was put aside for it comes back out.
        entries = [*await _release(connection, tenant_id, row, paid_at), *entries]
    if row["top_up_status"] == "open":
        bonus = row["bonus"]
        if bonus:
            await promotions.lock_customer(connection, tenant_id, row["customer"])
            if not await promotions.still_counts(connection, tenant_id, row["customer"], row["promotion_id"]):
                bonus = Decimal(0)
        grants = [await _grant(connection, books.clock, tenant_id, row, "paid", amount, row["paid_valid_days"], now)]
        if bonus:
            grants.append(await _grant(connection, books.clock, tenant_id, row, "bonus", bonus, row["bonus_valid_days"], now))
        ids = [UUID(bytes=grant.command_id) for grant in grants]
        await connection.execute(_SQL["credit"], *fixed, bonus, ids[0], ids[1] if bonus else None)
        settled = Settled("credited", order_id, tuple(grants))
    else:
        await connection.execute(_SQL["pay_back"], *fixed)
        cause: Literal["canceled", "double_payment"] = "canceled" if row["top_up_status"] == "canceled" else "double_payment"
        refund_id = await pay_back(connection, books.clock, tenant_id, row, state.transaction_id or "", cause)
        settled = Settled("refunded", order_id, refund_id=refund_id)
    await cash.post(connection, books, tenant_id, entries)
    return settled


async def pay_back(
    connection: Connection,
    clock: Clock,
    tenant_id: int,
    row: asyncpg.Record,
    transaction_id: str,
    cause: Literal["canceled", "double_payment", "grant_refused"],
) -> str:
    """Asks for the refund of a whole payment that bought nothing, under the number that belongs to its order, and says so.

    row: of an order that is paid and locked.
    """
    now = to_datetime(clock.now_us())
    refund_id = public("re", new_bytes(clock))
    reasons = {
        "canceled": "top-up was cancelled",
        "double_payment": "top-up was paid already",
        "grant_refused": "credits could not be given",
    }
    await connection.execute(
        _REFUNDS["insert_refund"],
        tenant_id,
        refund_id,
        f"{row['order_no']}R00",
        row["order_id"],
        row["top_up_id"],
        cause,
        row["amount"],
        Decimal(0),
        Decimal(0),
        None,
        reasons[cause],
        "ready",
        "settlement",
        now,
    )
    kinds: dict[str, alerts.Kind] = {"canceled": "paid_after_cancel", "double_payment": "double_payment", "grant_refused": "grant_refused"}
    alert = Alert(
        kind=kinds[cause],
        channel=row["channel"],
        order_no=row["order_no"],
        subject=transaction_id,
        order_id=row["order_id"],
        refund_id=refund_id,
        amount=row["amount"],
        detail=f"The {reasons[cause]}: the payment is being refunded.",
    )
    await alerts.record(connection, clock, tenant_id, alert)
    return refund_id


async def _grant(
    connection: Connection,
    clock: Clock,
    tenant_id: int,
    row: asyncpg.Record,
    kind: Literal["paid", "bonus"],
    amount: Decimal,
    valid_days: int | None,
    now: datetime,
) -> outbox.Command:
    command: dict[str, object] = {
        "type": "grant",
        "customer": row["customer"],
        "amount": money.format_decimal(amount),
        "currency": CURRENCY,
        "kind": kind,
        "priority": DEFAULT_PRIORITY,
        "expiresAtUs": None if valid_days is None else to_us(now + timedelta(days=valid_days)),
    }
    return await outbox.enqueue(connection, clock, tenant_id, f"payment:{row['order_id']}:{kind}", command)


async def _release(connection: Connection, tenant_id: int, row: asyncpg.Record, moment: datetime) -> list[cash.Entry]:
    suspended = await connection.fetchval(_SQL["suspended_amount"], tenant_id, row["order_id"])
    if suspended is None:
        return []
    return cash.suspense_release_entries(row["channel"], suspended, order_id=row["order_id"], refund_id=None, occurred_at=moment)


async def _suspend(
    connection: Connection, books: Books, tenant_id: int, row: asyncpg.Record, state: PaymentState, wrong: tuple[alerts.Kind, str]
) -> Settled:
    """A payment that is not what was ordered: the money is in the books, nobody gets credit, and people are told."""
    kind, detail = wrong
    settled_before = row["status"] == "paid"
    # Of one order suspense holds one amount; what comes beside a payment that was settled is nobody's. Money that the channel says it
    # has paid back already is not there.
    posted = (settled_before or row["suspended_at"] is None) and kind != "refunded_elsewhere" and _postable(state)
    alert = Alert(
        kind=kind,
        channel=row["channel"],
        order_no=row["order_no"],
        subject=state.transaction_id or "",
        order_id=row["order_id"],
        amount=state.amount,
        in_suspense=posted,
        detail=detail,
    )
    now = to_datetime(books.clock.now_us())
    new = await alerts.record(connection, books.clock, tenant_id, alert)
    if not settled_before and row["suspended_at"] is None:
        await connection.execute(_SQL["suspend"], tenant_id, row["order_id"], now)
    if new and posted and state.amount is not None:
        order_id = None if settled_before else row["order_id"]
        entries = cash.suspense_entries(row["channel"], state.amount, order_id=order_id, occurred_at=state.paid_at or now)
        await cash.post(connection, books, tenant_id, entries)
    return Settled("suspended", row["order_id"])


async def _unknown(connection: Connection, books: Books, tenant_id: int, account: Account, state: PaymentState) -> Settled:
    """A payment of an order that is not there (yet)."""
    now = to_datetime(books.clock.now_us())
    paid_at = state.paid_at or now - UNKNOWN_FOR
    if now - paid_at < UNKNOWN_FOR:
        return Settled("too_early")
    posted = _postable(state) and state.status == "paid" and state.collector_id == account.collector_id
    alert = Alert(
        kind="unknown_order",
        channel=account.channel,
        order_no=state.order_no,
        subject=state.transaction_id or "",
        amount=state.amount,
        in_suspense=posted,
        detail=f"No such order was made here. The channel says {state.raw_state} to {state.collector_id}.",
    )
    if await alerts.record(connection, books.clock, tenant_id, alert) and posted and state.amount is not None:
        entries = cash.suspense_entries(account.channel, state.amount, order_id=None, occurred_at=paid_at)
        await cash.post(connection, books, tenant_id, entries)
    return Settled("suspended")


def _postable(state: PaymentState) -> bool:
    """Whether the cash book, which is in whole fen of CNY, can hold this."""
    amount = state.amount
    return state.currency == CURRENCY and amount is not None and amount > 0 and amount == round(amount, 2)
