"""One product under load, and the means to hurt it. Only processes below our own `buffmoney up` are ever signalled, by pid."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import shutil
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import psutil
import redis

from tests.faults.audit import Audit, audit
from tests.faults.load import Load
from tests.faults.watch import Watcher
from tests.product import SCRATCH, Merchant, Product

RECOVERY_LIMIT_S = 5.0
SMALL_TABLES = {"BUFFMONEY_KEYS_PER_TABLE": "5000"}
"""so that tables of event keys are closed and opened all the time, and faults meet that, too"""


@dataclass
class Line:
    """What one scenario found. `expect_loss` is for the control run alone."""

    name: str
    kills: int = 0
    result: Audit = field(default_factory=Audit)
    recovery_s: list[float] = field(default_factory=list)
    verify: str = "not run"
    note: str = ""
    expect_loss: bool = False
    skipped: bool = False

    @property
    def passed(self) -> bool:
        """Whether everything is as it must be."""
        if self.skipped:
            return True
        if self.expect_loss:
            return self.result.lost > 0
        clean = self.result.lost == self.result.doubled == self.result.left_open == self.result.below_floor == 0
        quick = max(self.recovery_s, default=0) <= RECOVERY_LIMIT_S
        return clean and quick and self.verify == "clean" and self.result.acked > 0 and not self.result.differences

    def __str__(self) -> str:
        if self.skipped:
            return f"{self.name:<22} skipped: {self.note}"
        verdict = "ok" if self.passed else "FAILED"
        slowest = f"{max(self.recovery_s):.2f}s" if self.recovery_s else "-"
        return (
            f"{self.name:<22} kills={self.kills:<3} acked={self.result.acked:<8} lost={self.result.lost} doubled={self.result.doubled} "
            f"left_open={self.result.left_open} below_floor={self.result.below_floor} recovery_max={slowest} verify={self.verify} "
            f"{verdict}{f' ({self.note})' if self.note else ''}"
        )


class Arena:
    """A running product, its merchant of this scenario, its load and its watcher."""

    def __init__(self, product: Product, merchant: Merchant, load: Load, watcher: Watcher, line: Line) -> None:
        self.product, self.merchant, self.load, self.watcher, self.line = product, merchant, load, watcher, line
        self.random = random.Random(line.name)

    # -- faults

    def kill(self, pid: int, number: signal.Signals = signal.SIGKILL) -> None:
        """Signals one of our own processes; one that has just died is as good."""
        if pid not in {process.pid for process in self.product.family()}:
            return
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return

    async def kill_and_recover(self, role: str, *, every: bool = False) -> None:
        """kill -9 of one of a role's processes, or of every one, then the time from their return to the first 2xx."""
        pids = self.product.pids(role)
        assert pids, f"no {role} is running"
        victims = pids if every else [self.random.choice(pids)]
        for victim in victims:
            self.kill(victim)
        self.line.kills += len(victims)
        await self.wait_for_return(role, victims, len(pids))
        back = time.monotonic()
        await self.first_success(back)

    async def wait_for_return(self, role: str, victims: Sequence[int], count: int, limit_s: float = 30) -> None:
        """Until as many processes of the role run as before, and servers answer."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            now = await asyncio.to_thread(self.product.pids, role)
            if not set(victims) & set(now) and len(now) >= count and await self.answers(role):
                return
            await asyncio.sleep(0.05)
        raise TimeoutError(f"{role} did not come back within {limit_s} s")

    async def answers(self, role: str) -> bool:
        """Whether a server takes connections; processes of our own count as back when they exist."""
        if role == "postgres":
            try:
                connection = await asyncpg.connect(self.product.run["databaseUrl"], timeout=2)
            except (OSError, TimeoutError, asyncpg.PostgresError):
                return False
            await connection.close()
        if role == "valkey":
            try:
                self.redis().ping()
            except redis.RedisError:
                return False
        return True

    def redis(self) -> redis.Redis:
        """The product's Redis."""
        return redis.Redis.from_url(self.product.run["redisUrl"], socket_timeout=2)

    async def first_success(self, since: float, limit_s: float = 30) -> None:
        """Notes how long after `since` the first batch was answered with 2xx."""
        deadline = since + limit_s
        while time.monotonic() < deadline:
            later = next((moment for moment in reversed(self.load.book.successes[-200:]) if moment >= since), None)
            if later is not None:
                first = min(moment for moment in self.load.book.successes[-2000:] if moment >= since)
                self.line.recovery_s.append(first - since)
                return
            await asyncio.sleep(0.02)
        self.line.recovery_s.append(limit_s)


@asynccontextmanager
async def arena(
    product: Product,
    line: Line,
    *,
    watch: bool = True,
    poor: str = "3",
    verify: bool = True,
    merchant: Merchant | None = None,
    occurred_at: str | None = None,
    **load: int,
) -> AsyncIterator[Arena]:
    """A merchant, a fresh one if none is given, under load. At the end: drain, audit, ledger verify; the line is filled in."""
    merchant = merchant or await asyncio.to_thread(product.new_merchant)
    traffic = Load(product.port, merchant.sandbox_key, f"{line.name}-{secrets.token_hex(3)}", occurred_at=occurred_at)
    watcher = Watcher(product.port, merchant.sandbox_key, traffic.customers)
    tenant_id = await asyncio.to_thread(lambda: merchant.tenant_id)
    await traffic.fund(poor_amount=poor)
    running = Arena(product, merchant, traffic, watcher, line)
    traffic.start(**load)
    if watch:
        watcher.start()
    await asyncio.sleep(0.5)
    try:
        yield running
    finally:
        await traffic.stop()
        await watcher.stop()
        merchant.close()
    # Holds that were left to expire need a moment more than their second.
    await asyncio.sleep(3)
    connection = await asyncpg.connect(product.run["databaseUrl"], timeout=30)
    try:
        found = await audit(connection, tenant_id, traffic.book, watcher.seen)
        found.differences = line.result.differences + found.differences
        line.result = found
    finally:
        await connection.close()
    if verify:
        report = await asyncio.to_thread(product.verify)
        line.verify = "clean" if report["exit"] == 0 and not report["differences"] else f"DIFFERS {report['differences'][:2]}"


@asynccontextmanager
async def own_product(
    name: str, environment: dict[str, str] | None = None, home: Path | None = None, data: Path | None = None
) -> AsyncIterator[Product]:
    """A product of its own for faults that would spoil another's data."""
    directory = home or SCRATCH / f"faults-{name}-{secrets.token_hex(3)}"
    product = Product(data or directory / "data", SMALL_TABLES | (environment or {}))
    try:
        yield await asyncio.to_thread(product.start)
    finally:
        await asyncio.to_thread(product.stop)
        shutil.rmtree(directory, ignore_errors=True)


def family_of(pid: int) -> list[psutil.Process]:
    """A process and everything below it, the parent first."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
