"""From the channel's word about a payment to its consequences: settled in one transaction, then credits and refunds at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from buffmoney.base import queries, telemetry
from buffmoney.base.clock import to_datetime
from buffmoney.base.http import Tenant
from buffmoney.collection import orders, refund_steps
from buffmoney.collection.accounts import Account
from buffmoney.collection.channels import PaymentState
from buffmoney.collection.desk import Desk
from buffmoney.collection.orders import Settled, Source
from buffmoney.wallets import outbox

if TYPE_CHECKING:
    from buffmoney.base.database import Connection

_SQL = queries.load("buffmoney.collection", "orders.sql")
_REFUNDS = queries.load("buffmoney.collection", "refunds.sql")
_log = telemetry.logger("payments")
_following: set[asyncio.Task[None]] = set()


async def receive(desk: Desk, tenant: Tenant, account: Account, state: PaymentState, source: Source) -> Settled:
    """Settles a payment and waits for its credits. Raises Problem database_unavailable: then nothing is settled."""
    async with desk.database.tenant(tenant.tenant_id) as connection:
        settled = await orders.settle(connection, desk.settings, desk.clock, tenant.tenant_id, account, state, source)
        if state.status == "closed":
            await close_here(desk, connection, tenant, account, state)
    await follow(desk, tenant, settled)
    return settled


async def close_here(desk: Desk, connection: Connection, tenant: Tenant, account: Account, state: PaymentState) -> None:
    """The channel says that an order of this collector is closed: then it is here, too."""
    row = await connection.fetchrow(orders.LOCK_ORDER, tenant.tenant_id, account.channel, state.order_no)
    if row is not None and orders.is_collected_by(row, account, state):
        await connection.execute(_SQL["order_closed"], tenant.tenant_id, row["order_id"], to_datetime(desk.clock.now_us()), None)


async def follow(desk: Desk, tenant: Tenant, settled: Settled) -> None:
    """What comes after the commit: credits are delivered, a refund is begun. Raises nothing: what fails, a worker goes on with."""
    try:
        answers = await outbox.deliver(desk.commands, desk.database, desk.clock, tenant, settled.commands)
        if answers and answers[0] is not None and not answers[0].get("ok") and settled.order_id is not None:
            await pay_back_refused(desk, tenant, settled.order_id)
    except Exception:
        _log.warning("payment_not_followed", tenant=tenant.tenant_id, order=settled.order_id, exc_info=True)
    if settled.refund_id is not None:
        await refund_steps.go_on(desk, tenant, settled.refund_id)


def follow_soon(desk: Desk, tenant: Tenant, settled: Settled) -> None:
    """The same without waiting for it: a channel wants its answer as soon as the payment is on disk."""
    if settled.commands or settled.refund_id is not None:
        task = asyncio.create_task(follow(desk, tenant, settled), name="follow a payment")
        _following.add(task)
        task.add_done_callback(_following.discard)


async def pay_back_refused(desk: Desk, tenant: Tenant, order_id: str) -> None:
    """A payment whose credits the core has refused for good goes back, once."""
    async with desk.database.tenant(tenant.tenant_id) as connection:
        order = await connection.fetchrow(_SQL["order"], tenant.tenant_id, order_id)
        if order is None:
            return
        row = await connection.fetchrow(orders.LOCK_ORDER, tenant.tenant_id, order["channel"], order["order_no"])
        asked = await connection.fetchval(_REFUNDS["is_refunded"], tenant.tenant_id, order_id)
        if row is None or row["status"] != "paid" or asked:
            return
        refund_id = await orders.pay_back(connection, desk.clock, tenant.tenant_id, row, row["transaction_id"] or "", "grant_refused")
    await refund_steps.go_on(desk, tenant, refund_id)
