"""Somebody who is paid: enqueues grants in transactions of its own and delivers them, as an edge does; as a process, one that dies.

`python -m tests.integration.till JSON`: {"tenantId", "partitionId", "sources", "customer", "amount", "die", "delayMs"}. It dies
`before_commit` or `after_commit` of the last source, or `delivering`: delayMs after it began to deliver that.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from buffmoney.base.clock import SystemClock
from buffmoney.base.config import Settings
from buffmoney.base.database import Database
from buffmoney.base.http import Tenant
from buffmoney.metering.inbox import Inbox
from buffmoney.metering.watch import PartitionWatch
from buffmoney.wallets import outbox


def grant(customer: str, amount: str, kind: str = "paid", **fields: Any) -> dict[str, object]:
    """The command that gives credit, without its id."""
    return {
        "type": "grant",
        "customer": customer,
        "amount": amount,
        "currency": "CNY",
        "kind": kind,
        "priority": 100,
        "expiresAtUs": None,
        **fields,
    }


def refund(customer: str, *parts: tuple[bytes, str]) -> dict[str, object]:
    """The command that takes credit back. parts: grant and amount."""
    return {"type": "refund", "customer": customer, "parts": [{"grantId": one.hex(), "amount": amount} for one, amount in parts]}


@dataclass
class Till:
    """One tenant's payments, with the rights of an edge."""

    tenant: Tenant
    database: Database
    inbox: Inbox
    clock: SystemClock

    async def enqueue(self, source: str, command: dict[str, object]) -> bytes:
        """In a transaction of its own."""
        async with self.database.tenant(self.tenant.tenant_id) as connection:
            return (await outbox.enqueue(connection, self.clock, self.tenant.tenant_id, source, command)).command_id

    async def deliver(self, command_id: bytes, **options: float) -> dict[str, Any] | None:
        """What `outbox.deliver_one` gives."""
        return await outbox.deliver_one(self.inbox, self.database, self.clock, self.tenant, command_id, **options)

    async def find(self, *command_ids: bytes) -> list[outbox.Delivery]:
        """What became of commands, in this order."""
        async with self.database.tenant(self.tenant.tenant_id) as connection:
            found = await outbox.find(connection, self.tenant.tenant_id, command_ids)
        return [found[one] for one in command_ids]

    async def decided(self, *command_ids: bytes, within_s: float = 20) -> list[outbox.Delivery]:
        """The same, once all of them are decided."""
        deadline = time.monotonic() + within_s
        while True:
            found = await self.find(*command_ids)
            if all(one.answer for one in found):
                return found
            assert time.monotonic() < deadline, f"{sum(one.answer is None for one in found)} of {len(found)} are not decided in time"
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def till(settings: Settings, tenant_id: int, partition_id: int = 0) -> AsyncIterator[Till]:
    """Opened, and closed at the end."""
    database = await Database.open(settings, "edge", size=8)
    watch = PartitionWatch(settings.redis_url)
    inbox = Inbox(settings, watch)
    await watch.start()
    await inbox.start()
    try:
        yield Till(Tenant(tenant_id, "mer_test", "sandbox", partition_id, "CNY", ""), database, inbox, SystemClock())
    finally:
        await inbox.stop(drain_s=0.1)
        await watch.stop()
        await database.close()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def _enqueue_and_die(place: Till, source: str, command: dict[str, object], die: str | None) -> bytes:
    async with place.database.tenant(place.tenant.tenant_id) as connection:
        enqueued = await outbox.enqueue(connection, place.clock, place.tenant.tenant_id, source, command)
        if die == "before_commit":
            _die()
    if die == "after_commit":
        _die()
    return enqueued.command_id


async def _main(told: dict[str, Any]) -> None:
    settings = Settings.from_environment(os.environ).complete()
    *first, last = told["sources"]
    async with till(settings, told["tenantId"], told["partitionId"]) as place:
        command = grant(told["customer"], told["amount"])
        for source in first:
            await place.enqueue(source, command)
        command_id = await _enqueue_and_die(place, last, command, told["die"])
        if told["die"] == "delivering":
            # Some time between the message's leaving, its commit, its answer and the row's.
            asyncio.get_running_loop().call_later(told["delayMs"] / 1_000, _die)
        await place.deliver(command_id)


if __name__ == "__main__":
    asyncio.run(_main(json.loads(sys.argv[1])))
