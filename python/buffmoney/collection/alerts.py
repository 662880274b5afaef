"""Alerts: what happened to a payment or refund that people have to look at. Written with the fact itself, in its transaction, once."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from buffmoney.base import cursors, money, queries, telemetry
from buffmoney.base.clock import Clock, format_time, to_datetime, to_us
from buffmoney.base.http import Answer, Call
from buffmoney.base.ids import new_short
from buffmoney.base.wire import Number, Time
from buffmoney.collection.channels import Channel

if TYPE_CHECKING:
    from buffmoney.base.database import Connection

_SQL = queries.load("buffmoney.collection", "alerts.sql")
_log = telemetry.logger("payments")

Kind = Literal[
    "unknown_order",
    "wrong_amount",
    "wrong_currency",
    "wrong_collector",
    "refunded_elsewhere",
    "second_transaction",
    "double_payment",
    "paid_after_cancel",
    "grant_refused",
    "refund_abnormal",
    "refund_closed",
    "refund_stuck",
]


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """What to say. subject: the channel's transaction, or the refund's number; there is one alert of a kind for each of an order.

    in_suspense: the amount is posted to payment_suspense in the same transaction.
    """

    kind: Kind
    channel: Channel
    order_no: str
    subject: str
    detail: str
    order_id: str | None = None
    refund_id: str | None = None
    amount: Decimal | None = None
    in_suspense: bool = False


class PaymentAlert(msgspec.Struct, rename="camel"):
    """Something that people have to look at.

    alertId: of the alert. kind: what happened. orderNo: ours, at the channel. orderId: null: the order is not known. refundId: of alerts
    about a refund. detail: for people. amount: CNY. subject: the channel's transaction, or the refund's number. inSuspense: the amount
    waits for people to decide.
    """

    alert_id: str
    kind: Kind
    channel: Channel
    order_no: str
    subject: str
    order_id: str | None
    refund_id: str | None
    amount: Number | None
    in_suspense: bool
    detail: str
    created_at: Time


class AlertPage(msgspec.Struct, rename="camel"):
    """Newest first. nextCursor null: the last page."""

    data: list[PaymentAlert]
    next_cursor: str | None


class AlertQuery(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A page of the list."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50
    cursor: str | None = None


async def record(connection: Connection, clock: Clock, tenant_id: int, alert: Alert) -> bool:
    """Writes an alert in the caller's transaction; False if it was written before."""
    made = await connection.fetchval(
        _SQL["insert_alert"],
        tenant_id,
        new_short("al", clock),
        alert.kind,
        alert.channel,
        alert.order_no,
        alert.subject,
        alert.order_id,
        alert.refund_id,
        alert.amount,
        alert.in_suspense,
        alert.detail[:1_000],
        to_datetime(clock.now_us()),
    )
    if made is not None:
        _log.warning("payment_alert", tenant=tenant_id, alert=made, kind=alert.kind, channel=alert.channel, order_no=alert.order_no)
    return made is not None


async def list_payment_alerts(call: Call) -> Answer:
    """A page of alerts."""
    query: AlertQuery = call.query
    secret, tenant_id = call.services.settings.secret, call.tenant.tenant_id
    after = (None, None)
    if query.cursor is not None:
        created_us, last = cursors.unseal(secret, tenant_id, "payment-alerts", query.cursor)
        after = (to_datetime(created_us), last)  # type: ignore[assignment]
    async with call.transaction() as connection:
        rows = await connection.fetch(_SQL["list_alerts"], tenant_id, *after, query.limit + 1)
    page = rows[: query.limit]
    cursor = None
    if len(rows) > query.limit:
        cursor = cursors.seal(secret, tenant_id, "payment-alerts", [to_us(page[-1]["created_at"]), page[-1]["alert_id"]])
    data = [
        PaymentAlert(
            row["alert_id"],
            row["kind"],
            row["channel"],
            row["order_no"],
            row["subject"],
            row["order_id"],
            row["refund_id"],
            None if row["amount"] is None else money.format_decimal(row["amount"]),
            row["in_suspense"],
            row["detail"],
            format_time(row["created_at"]),
        )
        for row in page
    ]
    return Answer(AlertPage(data, cursor))
