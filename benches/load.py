"""The load generator, a process of its own: `python -m benches.load` reads one JSON plan from stdin and prints one JSON report.

Every answer is checked. A plan is a `Plan` by its field names; a report is a `Report`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import math
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from benches.batches import EVENTS_PER_BATCH, MARK, Shape, batch_marks, templates
from benches.connection import Connection, Target

RETRIED_BATCHES = 128
WATCH_EVERY_S = 0.003
WATCHED_FOR_S = 20.0
BACK_OFF_S = 0.05
"""pause after a 429 or 503, much shorter than Retry-After asks, so that refusals show up as refusals and not as lower load"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to send. work: ingest, retry, balance, hold, grant or prepared.

    rate: requests a second (open loop); None: as fast as answers come.
    """

    url: str
    api_key: str
    work: str
    seconds: float
    connections: int = 32
    rate: float | None = None
    requests: int | None = None
    """stop after so many instead of after `seconds`"""
    customers: int = 1000
    own: bool = False
    prefix: str = "customer"
    seed: int = 1
    amount: str = "1000000"
    prepared: str = ""
    """for that work: a file with a msgpack array of `Prepared`, each of which is sent once, in this order"""


class Prepared(msgspec.Struct, array_like=True):
    """A request and what its answer must be. watch: a GET that is sent again and again once that has come, until its answer has `sign`."""

    head: bytes
    body: bytes
    status: int
    watch: bytes = b""
    sign: bytes = b""


@dataclass(slots=True, kw_only=True)
class Report:
    """What happened. Latencies in milliseconds, of answers with the expected status.

    An open loop measures from the moment at which the generator woke up to send, so waiting for a free connection counts, and what the
    generator itself overslept is `late_ms`.
    """

    seconds: float = 0.0
    requests: int = 0
    events: int = 0
    refused: int = 0
    """answers 429 and 503"""
    wrong: int = 0
    """answers of any other unexpected kind"""
    first_wrong: str = ""
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0
    seen: dict[int, float] = field(default_factory=dict)
    """by the number of a prepared request, from 0: seconds since 1970 when what it watches for was first read, 0 if it was not"""
    late_ms: float = 0.0
    """how far the generator itself fell behind an open-loop plan, at most"""
    latencies: list[float] = field(default_factory=list)

    def finish(self, started: float) -> None:
        """Turns the collected latencies into percentiles."""
        self.seconds = time.perf_counter() - started
        ordered = sorted(self.latencies)
        if ordered:
            self.p50_ms = round(ordered[len(ordered) // 2] * 1e3, 3)
            self.p99_ms = round(ordered[min(len(ordered) - 1, math.ceil(len(ordered) * 0.99) - 1)] * 1e3, 3)
            self.max_ms = round(ordered[-1] * 1e3, 3)
        self.latencies = []


Send = Callable[[Connection], Awaitable[bool]]
"""sends one request and says whether the answer was the expected one"""


class Load:
    """One plan being carried out."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.target = Target(plan.url, plan.api_key)
        self.report = Report()
        self.shape = Shape(plan.customers, plan.own, plan.prefix)
        self.chance = random.Random(plan.seed)
        self._watching: list[asyncio.Task[None]] = []
        self._watchers: list[Connection] = []

    def _wrong(self, status: int, body: bytes) -> bool:
        if status in (429, 503):
            self.report.refused += 1
        else:
            self.report.wrong += 1
            self.report.first_wrong = self.report.first_wrong or f"{status} {body[:400].decode(errors='replace')}"
        return False

    def _batches(self, path: str = "/v1/usage-events") -> Callable[[], tuple[bytes, bytes]]:
        """A function that makes the next (head, body)."""
        bodies = templates(self.shape, self.plan.seed)
        marks = batch_marks(self.plan.seed)
        heads = [self.target.post(path, len(body)) for body in bodies]
        position = -1

        def following() -> tuple[bytes, bytes]:
            nonlocal position
            position = (position + 1) % len(bodies)
            return heads[position], bodies[position].replace(MARK, next(marks))

        return following

    def ingest(self) -> Send:
        """New batches."""
        following = self._batches()
        expected = b'"accepted":%d,' % EVENTS_PER_BATCH

        async def send(connection: Connection) -> bool:
            head, body = following()
            status, answer = await connection.request(head, body)
            if status == 200 and expected in answer[:200]:
                self.report.events += EVENTS_PER_BATCH
                return True
            return self._wrong(status, answer)

        return send

    async def retry(self) -> Send:
        """The same batches again and again, whole. They are sent once before anything is counted."""
        following = self._batches()
        known = [following() for _ in range(RETRIED_BATCHES)]
        connection = await self.target.connect()
        for head, body in known:
            status, answer = await connection.request(head, body)
            if status != 200:
                raise RuntimeError(f"a batch to retry was refused: {status} {answer[:300]!r}")
        connection.close()
        expected = b'"duplicates":%d,' % EVENTS_PER_BATCH
        position = 0

        async def send(connection: Connection) -> bool:
            nonlocal position
            position = (position + 1) % len(known)
            status, answer = await connection.request(*known[position])
            if status == 200 and expected in answer[:200]:
                self.report.events += EVENTS_PER_BATCH
                return True
            return self._wrong(status, answer)

        return send

    def balance(self) -> Send:
        """Balances of customers picked at random."""
        requests = [self.target.get(f"/v1/customers/{self.shape.name(number)}/balance") for number in range(min(self.plan.customers, 5000))]

        async def send(connection: Connection) -> bool:
            status, answer = await connection.request(self.chance.choice(requests))
            return True if status == 200 and b'"available"' in answer else self._wrong(status, answer)

        return send

    def hold(self) -> Send:
        """A hold and its capture; the latency is that of the pair."""
        content = json.dumps({"amount": "0.5", "ttlSeconds": 300}).encode()
        capture = json.dumps({"amount": "0.3"}).encode()
        marks = batch_marks(self.plan.seed)
        expected_hold, expected_capture = b'"holdId":"', b'"status":"captured"'

        async def send(connection: Connection) -> bool:
            customer, mark = self.shape.name(self.chance.randrange(self.plan.customers)), next(marks).decode()
            head = self.target.post(f"/v1/customers/{customer}/holds", len(content), f"hold-{mark}")
            status, answer = await connection.request(head, content)
            at = answer.find(expected_hold)
            if status not in (200, 201) or at < 0:
                return self._wrong(status, answer)
            hold_id = answer[at + len(expected_hold) : answer.index(b'"', at + len(expected_hold))].decode()
            head = self.target.post(f"/v1/holds/{hold_id}/capture", len(capture), f"capture-{mark}")
            status, answer = await connection.request(head, capture)
            return True if status == 200 and expected_capture in answer else self._wrong(status, answer)

        return send

    def grant(self) -> Send:
        """One grant for each customer in turn."""
        content = json.dumps({"amount": self.plan.amount, "currency": "CNY", "kind": "paid"}).encode()
        number = -1

        async def send(connection: Connection) -> bool:
            nonlocal number
            number += 1
            customer = self.shape.name(number % self.plan.customers)
            head = self.target.post(f"/v1/customers/{customer}/grants", len(content), f"bench-grant-{self.plan.seed}-{number}")
            status, answer = await connection.request(head, content)
            return True if status in (200, 201) and b'"grantId"' in answer else self._wrong(status, answer)

        return send

    def prepared(self) -> Send:
        """What the plan's file holds."""
        waiting = enumerate(msgspec.msgpack.decode(Path(self.plan.prepared).read_bytes(), type=list[Prepared]))

        async def send(connection: Connection) -> bool:
            number, one = next(waiting)
            status, answer = await connection.request(one.head, one.body)
            if status != one.status:
                return self._wrong(status, answer)
            if one.watch:
                self._watching.append(asyncio.create_task(self._watch(number, one)))
            return True

        return send

    async def _watch(self, number: int, one: Prepared) -> None:
        connection = self._watchers.pop() if self._watchers else await self.target.connect()
        if not connection.alive:
            # One that was idle for long is closed by the server.
            connection = await self.target.connect()
        seen, deadline = 0.0, time.monotonic() + WATCHED_FOR_S
        while not seen and time.monotonic() < deadline:
            _, answer = await connection.request(one.watch)
            if one.sign in answer:
                seen = time.time()
            else:
                await asyncio.sleep(WATCH_EVERY_S)
        self.report.seen[number] = seen
        self._watchers.append(connection)

    async def run(self) -> Report:
        """Carries the plan out."""
        send: Send = await self.retry() if self.plan.work == "retry" else getattr(self, self.plan.work)()
        connections = await asyncio.gather(*(self.target.connect() for _ in range(self.plan.connections)))
        gc.collect()
        gc.freeze()
        self.report = Report()
        started = time.perf_counter()
        if self.plan.rate is None:
            await asyncio.gather(*(self._closed(connection, send, started) for connection in connections))
        else:
            await self._open(connections, send, started)
        self.report.finish(started)
        await asyncio.gather(*self._watching)
        for connection in [*connections, *self._watchers]:
            connection.close()
        return self.report

    def _more(self, started: float) -> bool:
        if self.plan.requests is not None:
            return self.report.requests < self.plan.requests
        return time.perf_counter() - started < self.plan.seconds

    async def _one(self, connection: Connection, send: Send, since: float) -> bool:
        try:
            ok = await send(connection)
        except ConnectionResetError as fault:
            ok = self._wrong(0, str(fault).encode())
        if ok:
            self.report.latencies.append(time.perf_counter() - since)
        return ok

    async def _closed(self, connection: Connection, send: Send, started: float) -> None:
        while self._more(started) and self.report.wrong < 100:
            self.report.requests += 1
            if not await self._one(connection, send, time.perf_counter()):
                await asyncio.sleep(BACK_OFF_S)
                if not connection.alive:
                    connection = await self.target.connect()

    async def _open(self, connections: list[Connection], send: Send, started: float) -> None:
        assert self.plan.rate is not None
        free: asyncio.Queue[Connection] = asyncio.Queue()
        for connection in connections:
            free.put_nowait(connection)
        under_way: set[asyncio.Task[None]] = set()

        async def planned(since: float) -> None:
            connection = await free.get()
            await self._one(connection, send, since)
            free.put_nowait(connection if connection.alive else await self.target.connect())

        while self._more(started):
            moment = started + self.report.requests / self.plan.rate
            wait = moment - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            awake = time.perf_counter()
            self.report.late_ms = max(self.report.late_ms, round((awake - moment) * 1e3, 3))
            self.report.requests += 1
            task = asyncio.create_task(planned(awake))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        if under_way:
            await asyncio.wait(under_way, timeout=30)


def main() -> None:
    """Reads the plan, carries it out, prints the report."""
    # It stands in for clients on other machines, which do not wait for this one's processors: with a mere niceness it overslept by up
    # to 30 ms beside a full load, and that was counted as the product's. Needs root; without, figures are worse.
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(os.sched_get_priority_min(os.SCHED_RR)))
    content: dict[str, Any] = json.load(sys.stdin)
    report = uvloop.run(Load(Plan(**content)).run())
    json.dump(asdict(report), sys.stdout)


if __name__ == "__main__":
    main()
