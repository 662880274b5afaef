"""Asking the channels: from the checkout page while somebody looks at it, from the worker at growing intervals until an order expires.

A channel is always asked before an order is closed there, and what it says is settled by the same rules as a callback. An order that the
channel does not know (Alipay's before the scan) can still be paid until it expires, so it is watched until then, and looked at once more.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

import asyncpg
import httpx

from buffmoney.base import queries, telemetry
from buffmoney.base.clock import Clock, to_datetime
from buffmoney.base.config import Settings
from buffmoney.base.database import Database
from buffmoney.base.errors import DatabaseUnavailable, Problem
from buffmoney.base.http import CommandBus, Tenant
from buffmoney.collection import accounts, receiving, refund_steps
from buffmoney.collection.accounts import Opened
from buffmoney.collection.channels import Channel, ChannelError, ChannelUnavailable, PaymentState
from buffmoney.collection.desk import Desk

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

FIRST_POLL = timedelta(seconds=60)
"""of the worker: until then the page asks"""
THEN_AFTER_S: Sequence[int] = (10, 10, 20, 20, 30, 30, 60, 60, 120, 120, 300)
"""between the worker's polls; the last one goes on"""
PAGE_ASKS_EVERY = timedelta(seconds=2)
PAGE_ASKS_FOR = timedelta(seconds=60)
PAGE_ASKS_THEN_EVERY = timedelta(seconds=10)
AFTER_EXPIRY = timedelta(seconds=2)
LAST_LOOK_AFTER = timedelta(minutes=15)
"""how long after its end an order that the channel did not know is looked at once more"""
AT_ONCE = 20
"""orders of a channel that are asked about at a time, and as many of its refunds"""
LEASE = timedelta(seconds=60)
TICK_S = 0.5
BUSY_TICK_S = 0.1
"""between two looks for what is due, where the last one has found something"""
DRAIN_S = 5.0
REFUSED_GRANTS_EVERY_S = 30.0
REFUSED_GRANTS_SINCE = timedelta(hours=24)
CALL_TIMEOUT_S = 10.0

_SQL = queries.load("buffmoney.collection", "orders.sql")
_log = telemetry.logger("polling")

Asked = Literal["paid", "closed", "open"]


@dataclass(frozen=True, slots=True)
class WorkerDesk:
    """A worker's `Desk`."""

    settings: Settings
    clock: Clock
    database: Database
    commands: CommandBus
    http: httpx.AsyncClient


def channel_client() -> httpx.AsyncClient:
    """The HTTP client that channels are called with: no proxies from the environment, no redirects."""
    limits = httpx.Limits(max_connections=100, max_keepalive_connections=20)
    return httpx.AsyncClient(timeout=httpx.Timeout(CALL_TIMEOUT_S, connect=3.0), limits=limits, trust_env=False, follow_redirects=False)


async def ask(desk: Desk, tenant: Tenant, order_id: str) -> Asked:
    """Asks the channel about an order and settles what it says. Raises ChannelError, ChannelUnavailable and Problem."""
    row, opened = await _order(desk, tenant, order_id)
    state = await opened.channel.query(row["order_no"])
    await receiving.receive(desk, tenant, opened.account, state, "poll")
    return _came_to(state)


async def close(desk: Desk, tenant: Tenant, order_id: str) -> Asked:
    """Closes an order at the channel unless it is paid, which is asked first and settled. `open`: it can still be paid.

    Raises ChannelError, ChannelUnavailable and Problem.
    """
    row, opened = await _order(desk, tenant, order_id)
    state = await opened.channel.query(row["order_no"])
    came_to = _came_to(state)
    if came_to != "open":
        await receiving.receive(desk, tenant, opened.account, state, "close")
        return came_to
    outcome = await opened.channel.close(row["order_no"])
    if outcome == "already_paid":
        await receiving.receive(desk, tenant, opened.account, await opened.channel.query(row["order_no"]), "close")
        return "paid"
    now = to_datetime(desk.clock.now_us())
    last_look = None
    if outcome == "not_found":
        if now < row["expires_at"]:
            return "open"
        last_look = row["expires_at"] + LAST_LOOK_AFTER
    async with desk.database.tenant(tenant.tenant_id) as connection:
        await connection.execute(_SQL["order_closed"], tenant.tenant_id, order_id, now, last_look)
    return "closed"


async def ask_for_page(desk: Desk, tenant: Tenant, row: asyncpg.Record) -> None:
    """Asks about an order that somebody looks at, unless that was done a moment ago. The channel's failures are nobody's business here."""
    now = to_datetime(desk.clock.now_us())
    fresh = row["started_at"] is None or now < row["started_at"] + PAGE_ASKS_FOR
    before = now - (PAGE_ASKS_EVERY if fresh else PAGE_ASKS_THEN_EVERY)
    async with desk.database.tenant(tenant.tenant_id) as connection:
        if await connection.fetchval(_SQL["may_ask"], tenant.tenant_id, row["order_id"], now, before) is None:
            return
    try:
        await ask(desk, tenant, row["order_id"])
    except (ChannelError, ChannelUnavailable) as failure:
        _log.info("channel_not_asked", order=row["order_id"], detail=str(failure))


async def _order(desk: Desk, tenant: Tenant, order_id: str) -> tuple[asyncpg.Record, Opened]:
    async with desk.database.tenant(tenant.tenant_id) as connection:
        row = await connection.fetchrow(_SQL["order"], tenant.tenant_id, order_id)
        if row is None:
            raise Problem("not_found")
        return row, await accounts.opened(desk, connection, tenant, row["channel_account_id"])


def _came_to(state: PaymentState) -> Asked:
    return "paid" if state.status in ("paid", "refunded") else "closed" if state.status == "closed" else "open"


# ---------------------------------------------------------------- the worker


class _Lane:
    """What is asked of one channel, of one kind. A channel that hangs fills its own lane, and nobody else waits for it."""

    def __init__(self, claim: Callable[[int], Awaitable[list[Coroutine[Any, Any, object]]]]) -> None:
        self._claim = claim
        self.under_way: set[asyncio.Task[object]] = set()

    async def begin(self) -> bool:
        """Begins what is due, as far as there is room. False: nothing was."""
        room = AT_ONCE - len(self.under_way)
        due = await self._claim(room) if room > 0 else []
        for work in due:
            task = asyncio.create_task(work, name="channel asked")
            self.under_way.add(task)
            task.add_done_callback(self.under_way.discard)
        return bool(due)


async def keep_asking(desk: Desk, stopping: asyncio.Event) -> None:
    """Polls orders, goes on with refunds and pays back refused credits, over all tenants, until `stopping` is set. Outages are waited out.

    Any number of workers may do this at once. desk: with a database of a role that sees all tenants.
    """
    loop = asyncio.get_running_loop()
    look_for_refused = 0.0
    lanes = [_Lane(partial(due, desk, channel)) for channel in get_args(Channel) for due in (_orders_due, _refunds_due)]
    while not stopping.is_set():
        begun = False
        try:
            for lane in lanes:
                begun |= await lane.begin()
            if loop.time() >= look_for_refused:
                look_for_refused = loop.time() + REFUSED_GRANTS_EVERY_S
                await _pay_back_refused(desk)
        except (DatabaseUnavailable, asyncpg.PostgresError, OSError) as failure:
            _log.warning("polling_failed", detail=f"{type(failure).__name__}: {failure}")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), BUSY_TICK_S if begun else TICK_S)
    under_way = set().union(*(lane.under_way for lane in lanes))
    if under_way:
        # What is cut off has its lease, and then somebody tries again.
        _, late = await asyncio.wait(under_way, timeout=DRAIN_S)
        for task in late:
            task.cancel()


async def _orders_due(desk: Desk, channel: Channel, most: int) -> list[Coroutine[Any, Any, object]]:
    now = to_datetime(desk.clock.now_us())
    async with desk.database.transaction() as connection:
        rows = await connection.fetch(_SQL["claim_due"], now, now + LEASE, most, channel)
    return [poll(desk, _tenant(row), row["order_id"]) for row in rows]


async def _refunds_due(desk: Desk, channel: Channel, most: int) -> list[Coroutine[Any, Any, object]]:
    return [refund_steps.go_on(desk, tenant, refund_id) for tenant, refund_id in await refund_steps.claim(desk, channel, most, LEASE)]


async def _pay_back_refused(desk: Desk) -> None:
    since = to_datetime(desk.clock.now_us()) - REFUSED_GRANTS_SINCE
    async with desk.database.transaction() as connection:
        rows = await connection.fetch(_SQL["refused_grants"], since)
    for row in rows:
        await receiving.pay_back_refused(desk, _tenant(row), row["paid_order_id"])


async def poll(desk: Desk, tenant: Tenant, order_id: str) -> None:
    """One claimed order: asked about, and closed once it has expired or its top-up is no longer open. Raises nothing of the channel."""
    try:
        async with desk.database.tenant(tenant.tenant_id) as connection:
            row = await connection.fetchrow(_SQL["order_to_poll"], tenant.tenant_id, order_id)
        if row is None:
            return
        now = to_datetime(desk.clock.now_us())
        pause = timedelta(seconds=THEN_AFTER_S[min(row["polls"], len(THEN_AFTER_S)) - 1])
        # Never past the end: then it is closed.
        next_at = min(now + pause, row["expires_at"] + AFTER_EXPIRY) if now < row["expires_at"] else now + pause
        try:
            if row["status"] == "closed":
                # The last look.
                await ask(desk, tenant, order_id)
                next_at = None
            elif now < row["expires_at"] and row["wanted"]:
                await ask(desk, tenant, order_id)
            elif await close(desk, tenant, order_id) != "open" or now >= row["expires_at"]:
                return
        except (ChannelError, ChannelUnavailable) as failure:
            _log.warning("channel_not_asked", order=order_id, detail=str(failure))
            next_at = now + pause
        async with desk.database.tenant(tenant.tenant_id) as connection:
            await connection.execute(_SQL["poll_again"], tenant.tenant_id, order_id, next_at)
    except Exception:
        # Its lease ends, and then somebody tries again.
        _log.warning("poll_failed", tenant=tenant.tenant_id, order=order_id, exc_info=True)


def _tenant(row: asyncpg.Record) -> Tenant:
    return Tenant(row["tenant_id"], row["merchant_id"], row["mode"], row["partition_id"], row["currency"], key_id="")
