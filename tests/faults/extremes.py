"""Faults that need a product of their own or more load than the others: overload, a full disk, and the control run."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections import deque
from pathlib import Path

import asyncpg
import psutil

from tests.faults.arena import Arena, Line, arena, family_of, own_product
from tests.faults.load import Connection
from tests.product import Product

OVERLOAD_FACTOR = 3
GOODPUT_SHARE = 0.5
"""of the capacity; the generator of three times the load runs on the same machine"""


class Flood:
    """Open-loop load: batches are sent at a rate, whatever becomes of the earlier ones."""

    def __init__(self, running: Arena, batch: int = 500) -> None:
        self.running = running
        running.load.batch = batch
        self.idle: deque[Connection] = deque()
        self.count = 0
        self.taken = 0
        self.refused = 0
        self.failed = 0
        self.slowest_s = 0.0
        # One batch written out once, with a mark where its name goes: the generator must be cheaper than what it loads.
        events = running.load.events("@@")
        self.customers = [event["customerExternalId"] for event in events]
        self.template = json.dumps({"events": events}).encode()
        self.examples: list[str] = []

    async def one(self) -> None:
        """One batch, once. 429 and 503 are final here: the client was told that nothing was done."""
        load = self.running.load
        self.count += 1
        connection = self.idle.popleft() if self.idle else Connection(load.port, load.key)
        name = f"{load.name}-flood-{self.count}"
        started = time.monotonic()
        body = self.template.replace(b"@@", name.encode())
        try:
            status, headers, content = await self.exchange(connection, body)
        except (OSError, TimeoutError) as failure:
            self.failed += 1
            self.examples.append(f"{failure!r} after {time.monotonic() - started:.2f} s")
            load.book.statuses[type(failure).__name__] += 1
            return
        self.slowest_s = max(self.slowest_s, time.monotonic() - started)
        load.book.statuses[str(status)] += 1
        if status == 200:
            self.taken += 1
            load.book.successes.append(time.monotonic())
            # Without ?results=all only what was not accepted is listed, and here nothing should be.
            results = json.loads(content)["results"]
            if results:
                load.book.problem(f"batch {name}: {results[:2]}")
            load.book.events.update((f"{name}-{place}", (customer, None)) for place, customer in enumerate(self.customers))
        elif status in (429, 503):
            self.refused += 1
            if "retry-after" not in headers:
                load.book.problem(f"{status} without Retry-After")
        else:
            load.book.problem(f"batch → {status} {content[:200]!r}")
        self.idle.append(connection)

    async def exchange(self, connection: Connection, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """One request. A connection that the server closed while it lay idle is opened again, as every HTTP client does."""
        used, started = connection.writer is not None, time.monotonic()
        try:
            return await connection.request("POST", "/v1/usage-events", body)
        except ConnectionError:
            if not used or time.monotonic() - started > 0.1:
                raise
            return await connection.request("POST", "/v1/usage-events", body)

    async def closed(self, workers: int, seconds: float) -> float:
        """Batches a second with this many clients that wait for each answer."""
        until = time.monotonic() + seconds
        before = self.taken

        async def client() -> None:
            while time.monotonic() < until:
                await self.one()

        await asyncio.gather(*(client() for _ in range(workers)))
        return (self.taken - before) / seconds

    async def open(self, rate: float, seconds: float, most: int = 600) -> float:
        """Batches a second that were taken while `rate` a second were sent. most: requests under way at once."""
        started, before = time.monotonic(), self.taken
        under_way: set[asyncio.Task[None]] = set()
        sent = 0
        while (elapsed := time.monotonic() - started) < seconds:
            while sent < elapsed * rate and len(under_way) < most:
                task = asyncio.create_task(self.one())
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                sent += 1
            await asyncio.sleep(0.005)
        goodput = (self.taken - before) / seconds
        await asyncio.gather(*under_way)
        return goodput


async def overload(product: Product, short: bool) -> Line:
    """Three times the capacity: what is too much gets 429 or 503 with Retry-After, what is taken is taken for good, goodput holds."""
    line = Line("overload")
    seconds = 4 if short else 20
    async with arena(product, line, ingest=0, holds=0, grants=0, poor="1000000") as running:
        flood = Flood(running)
        capacity = await flood.closed(24, seconds)
        edges = [psutil.Process(pid) for pid in product.pids("edge")]
        memory = sum(edge.memory_info().rss for edge in edges)
        before = flood.count
        goodput = await flood.open(capacity * OVERLOAD_FACTOR, seconds)
        offered = (flood.count - before) / seconds
        grown = sum(edge.memory_info().rss for edge in edges) - memory
        line.note = (
            f"capacity {capacity * 500:,.0f} events/s, offered {offered * 500:,.0f}, goodput {goodput * 500:,.0f}, "
            f"refused {flood.refused} batches, "
            f"failed {flood.failed}, slowest {flood.slowest_s:.1f}s, edge +{grown / 2**20:.0f} MB"
        )
        if goodput < capacity * GOODPUT_SHARE:
            line.result.differ(f"goodput {goodput:.0f} of {capacity:.0f} batches/s")
        if flood.failed:
            line.result.differ(f"{flood.failed} requests got no answer under overload: {dict(running.load.book.statuses)} {flood.examples}")
        if grown > 150 * 2**20:
            line.result.differ(f"the edges grew by {grown / 2**20:.0f} MB")
        await asyncio.sleep(0.5)
        running.load.start(ingest=1, holds=0, grants=0)
        await running.first_success(time.monotonic())
    return line


async def disk_full(product: Product, short: bool) -> Line:
    """The file system of PostgreSQL's data runs full under load, and has room again later."""
    line = Line("disk_full")
    if os.geteuid() != 0:
        line.skipped, line.note = True, "a file system of its own needs root"
        return line
    mount = Path("/mnt") / f"buffmoney-faults-{secrets.token_hex(3)}"
    mount.mkdir(mode=0o755)
    mounted = await asyncio.to_thread(
        subprocess.run,
        ["mount", "-t", "tmpfs", "-o", "size=1200m,mode=755", "tmpfs", str(mount)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        mount.rmdir()
        line.skipped, line.note = True, f"tmpfs cannot be mounted here: {mounted.stderr.strip()}"
        return line
    try:
        async with own_product("disk", home=mount / "home", data=mount / "data") as own, arena(own, line) as running:
            for _ in range(1 if short else 3):
                ballast = mount / "ballast"
                await asyncio.to_thread(fill, ballast)
                line.kills += 1
                filled = time.monotonic()
                await asyncio.sleep(3 if short else 6)
                refused = [moment for moment in running.load.book.successes if moment > filled + 2]
                line.note = "ingest stood still" if not refused else f"{len(refused)} batches were still taken"
                ballast.unlink()
                await running.first_success(time.monotonic(), limit_s=60)
                await asyncio.sleep(1)
    finally:
        await asyncio.to_thread(subprocess.run, ["umount", "-l", str(mount)], check=False)
        shutil.rmtree(mount, ignore_errors=True)
    return line


def fill(path: Path) -> None:
    """Writes until the file system has no block left, and keeps it that way against what PostgreSQL frees meanwhile."""
    deadline = time.monotonic() + 1.5
    with path.open("ab", buffering=0) as file:
        for size in (2**20, 4096):
            while True:
                try:
                    file.write(bytes(size))
                except OSError:
                    if size == 4096 and time.monotonic() < deadline:
                        time.sleep(0.02)
                        continue
                    break


async def control(product: Product, short: bool) -> Line:
    """The harness must be able to see loss: without synchronous commits and with PostgreSQL killed whole, it has to report some."""
    line = Line("control (must lose)", expect_loss=True)
    async with own_product("control", {"BUFFMONEY_UNSAFE_ASYNC_COMMIT": "1"}) as own:
        owner = await asyncpg.connect(own.run["databaseUrl"])
        for statement in (
            "ALTER SYSTEM SET synchronous_commit = off",
            "ALTER SYSTEM SET wal_writer_delay = '10s'",
            "ALTER SYSTEM SET wal_writer_flush_after = '1GB'",
            "SELECT pg_reload_conf()",
            "ALTER ROLE buffmoney_edge SET synchronous_commit = off",
            "ALTER ROLE buffmoney_core SET synchronous_commit = off",
            "ALTER ROLE buffmoney_worker SET synchronous_commit = off",
        ):
            await owner.execute(statement)
        await owner.close()
        # The worker commits synchronously on its old session, which would flush everybody's log.
        async with arena(own, line, watch=False, verify=False) as running:
            for role in ("worker", "edge"):
                for pid in own.pids(role):
                    running.kill(pid)
            owner = await asyncpg.connect(own.run["databaseUrl"])
            await owner.execute("CHECKPOINT")
            await owner.close()
            await asyncio.sleep(3)
            (postmaster,) = own.pids("postgres")
            # The postmaster stands still meanwhile: nobody is told to write out the log in good order, and all stay its children.
            running.kill(postmaster, signal.SIGSTOP)
            for process in reversed(family_of(postmaster)):
                running.kill(process.pid)
            line.kills += 1
            await running.wait_for_return("postgres", [postmaster], 1)
            await running.first_success(time.monotonic())
    line.verify = "not expected"
    return line
