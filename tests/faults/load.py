"""Clients as a careful customer would write them: they repeat a request until they know its outcome, and note every answer."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.product import moment

REPEAT_AFTER_S = 0.1
"""clients repeat sooner than Retry-After asks for, because the harness measures when service is back"""
ANSWER_S = 30.0


@dataclass
class Book:
    """What the clients were told. Times are of time.monotonic()."""

    events: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    """acknowledged: key → (customer, charge, None where the answer did not list it)"""
    refused: set[str] = field(default_factory=set)
    """keys of events refused for lack of money"""
    unanswered: set[str] = field(default_factory=set)
    """keys of events whose sender gave up without knowing"""
    grants: dict[str, tuple[str, str]] = field(default_factory=dict)
    """acknowledged: grant id → (customer, amount)"""
    holds: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    """acknowledged: hold id → (customer, last status that was told, captured amount)"""
    statuses: Counter[str] = field(default_factory=Counter)
    """answers by status and code, and failed connections"""
    successes: list[float] = field(default_factory=list)
    """when ingest was answered with 2xx"""
    problems: list[str] = field(default_factory=list)
    """answers that no client should ever see"""

    def problem(self, text: str) -> None:
        """Notes something that must not happen; a few examples are enough."""
        if len(self.problems) < 20:
            self.problems.append(text[:300])


class Connection:
    """A keep-alive HTTP/1.1 connection that is opened again when it broke."""

    def __init__(self, port: int, key: str) -> None:
        self.port = port
        self.head = f"Host: 127.0.0.1\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    def close(self) -> None:
        """Drops the connection."""
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None

    async def request(self, method: str, path: str, body: bytes = b"", key: str = "") -> tuple[int, dict[str, str], bytes]:
        """One exchange: (status, headers in lower case, body). Raises OSError or TimeoutError."""
        try:
            async with asyncio.timeout(ANSWER_S):
                if self.writer is None or self.reader is None:
                    self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**22)
                named = f"Idempotency-Key: {key}\r\n" if key else ""
                self.writer.write(f"{method} {path} HTTP/1.1\r\n{self.head}{named}Content-Length: {len(body)}\r\n\r\n".encode() + body)
                await self.writer.drain()
                return await self._answer(self.reader)
        except asyncio.IncompleteReadError as broken:
            self.close()
            raise ConnectionResetError("closed in the middle of an answer") from broken
        except (OSError, TimeoutError):
            self.close()
            raise

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:]) if name}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("connection", "").lower() == "close":
            self.close()
        return int(head[0].split()[1]), headers, body


class Load:
    """Traffic on one merchant: usage in batches, holds, grants. customers are c0, c1, …; the last tenth of them are poor."""

    def __init__(
        self, port: int, key: str, name: str, *, customers: int = 60, batch: int = 100, seed: int = 1, occurred_at: str | None = None
    ) -> None:
        self.port, self.key, self.name = port, key, name
        self.occurred_at = occurred_at
        """when all usage occurred; None: just now"""
        self.customers, self.batch = customers, batch
        self.random = random.Random(seed)
        self.book = Book()
        self.stopping = asyncio.Event()
        self.give_up_at = float("inf")
        self.tasks: list[asyncio.Task[None]] = []

    # -- life

    async def fund(self, amount: str = "1000000", poor_amount: str = "3") -> None:
        """Gives every customer money, so that most usage is taken."""
        connection = Connection(self.port, self.key)
        for number in range(self.customers):
            poor = number >= self.customers * 9 // 10
            await self.grant(connection, f"c{number}", poor_amount if poor else amount, f"{self.name}-fund-{number}")
        connection.close()

    def start(self, *, ingest: int = 4, holds: int = 2, grants: int = 1) -> None:
        """Starts the workers."""
        self.tasks += [asyncio.create_task(self.ingest_worker(number)) for number in range(ingest)]
        self.tasks += [asyncio.create_task(self.hold_worker(number)) for number in range(holds)]
        self.tasks += [asyncio.create_task(self.grant_worker(number)) for number in range(grants)]

    async def stop(self, grace_s: float = 25) -> None:
        """No new work; what is under way is repeated until its outcome is known or the grace is over."""
        self.give_up_at = time.monotonic() + grace_s
        self.stopping.set()
        for outcome in await asyncio.gather(*self.tasks, return_exceptions=True):
            if isinstance(outcome, BaseException):
                self.book.problem(f"a worker ended with {outcome!r}")
        self.tasks = []

    # -- requests

    async def until_known(self, connection: Connection, path: str, body: bytes, key: str = "") -> tuple[int, dict[str, Any]] | None:
        """Repeats a POST until its outcome is known; None after giving up."""
        while time.monotonic() < self.give_up_at:
            try:
                status, headers, content = await connection.request("POST", path, body, key)
            except (OSError, TimeoutError) as failure:
                self.book.statuses[type(failure).__name__] += 1
                await asyncio.sleep(REPEAT_AFTER_S)
                continue
            answer = json.loads(content) if content else {}
            self.book.statuses[f"{status} {answer.get('code', '')}".strip()] += 1
            if status in (429, 503):
                if "retry-after" not in headers:
                    self.book.problem(f"{status} without Retry-After: {content[:200]!r}")
                await asyncio.sleep(REPEAT_AFTER_S)
                continue
            if status >= 500:
                self.book.problem(f"{path} → {status} {content[:200]!r}")
                await asyncio.sleep(REPEAT_AFTER_S)
                continue
            if status == 409 and answer.get("code") == "idempotency_in_progress":
                await asyncio.sleep(REPEAT_AFTER_S)
                continue
            return status, answer
        return None

    def events(self, prefix: str) -> list[dict[str, Any]]:
        """One batch."""
        now = self.occurred_at or moment()
        return [
            {
                "customerExternalId": f"c{self.random.randrange(self.customers)}",
                "idempotencyKey": f"{prefix}-{number}",
                "metric": self.random.choice(("tokens_input", "tokens_output")),
                "quantity": str(self.random.randint(1, 2000)),
                "occurredAt": now,
                "dimensions": {"model": self.random.choice(("gpt-4o", "qwen-max"))},
            }
            for number in range(self.batch)
        ]

    def note(self, events: list[dict[str, Any]], answer: dict[str, Any]) -> None:
        """Enters the answer to a batch."""
        results = {result["index"]: result for result in answer["results"]}
        if len(results) != len(events):
            self.book.problem(f"{len(results)} results for {len(events)} events")
        for index, event in enumerate(events):
            result = results.get(index, {})
            key = event["idempotencyKey"]
            if result.get("outcome") in ("accepted", "duplicate"):
                self.book.events[key] = (event["customerExternalId"], result.get("charge"))
            elif result.get("code") == "insufficient_balance":
                self.book.refused.add(key)
            else:
                self.book.problem(f"event {key}: {result}")

    async def send(self, connection: Connection, events: list[dict[str, Any]]) -> bool:
        """Sends one batch until its outcome is known."""
        body = json.dumps({"events": events}).encode()
        known = await self.until_known(connection, "/v1/usage-events?results=all", body)
        if known is None:
            self.book.unanswered.update(event["idempotencyKey"] for event in events)
            return False
        status, answer = known
        if status != 200:
            self.book.problem(f"batch → {status} {answer}")
            return False
        self.book.successes.append(time.monotonic())
        self.note(events, answer)
        return True

    async def grant(self, connection: Connection, customer: str, amount: str, key: str) -> None:
        """Gives one grant until its outcome is known."""
        body = json.dumps({"amount": amount, "currency": "CNY", "kind": "paid"}).encode()
        known = await self.until_known(connection, f"/v1/customers/{customer}/grants", body, key)
        if known is None:
            return
        status, answer = known
        if status not in (200, 201):
            self.book.problem(f"grant → {status} {answer}")
            return
        self.book.grants[answer["grantId"]] = (customer, amount)

    # -- workers

    async def ingest_worker(self, number: int) -> None:
        """Batch after batch; now and then an old one again."""
        connection = Connection(self.port, self.key)
        count = 0
        last: list[dict[str, Any]] = []
        while not self.stopping.is_set():
            count += 1
            if last and self.random.random() < 0.05:
                await self.send(connection, last)
                continue
            last = self.events(f"{self.name}-{number}-{count}")
            await self.send(connection, last)
        connection.close()

    async def hold_worker(self, number: int) -> None:
        """A hold, then a capture, a release, or nothing so that it expires."""
        connection = Connection(self.port, self.key)
        count = 0
        while not self.stopping.is_set():
            count += 1
            key = f"{self.name}-hold-{number}-{count}"
            customer = f"c{self.random.randrange(self.customers)}"
            choice = self.random.choice(("capture", "part", "release", "forget"))
            ttl = 1 if choice == "forget" else 3600
            body = json.dumps({"amount": f"0.{self.random.randint(1, 99):02d}", "ttlSeconds": ttl}).encode()
            known = await self.until_known(connection, f"/v1/customers/{customer}/holds", body, key)
            if known is None:
                break
            status, answer = known
            if status == 402:
                continue
            if status not in (200, 201):
                self.book.problem(f"hold → {status} {answer}")
                continue
            hold_id = answer["holdId"]
            self.book.holds[hold_id] = (customer, "open", "0")
            if choice == "forget":
                self.book.holds[hold_id] = (customer, "expired", "0")
                await asyncio.sleep(0.05)
                continue
            action = "release" if choice == "release" else "capture"
            content = b'{"amount": "0.01"}' if choice == "part" else b"{}"
            known = await self.until_known(connection, f"/v1/holds/{hold_id}/{action}", content, f"{key}-end")
            if known is None:
                self.book.holds[hold_id] = (customer, "unknown", "0")
                break
            status, answer = known
            if status != 200:
                self.book.problem(f"{action} → {status} {answer}")
                continue
            self.book.holds[hold_id] = (customer, answer["status"], answer["captured"])
        connection.close()

    async def grant_worker(self, number: int) -> None:
        """A small grant every now and then, also to the poor."""
        connection = Connection(self.port, self.key)
        count = 0
        while not self.stopping.is_set():
            count += 1
            customer = f"c{self.random.randrange(self.customers)}"
            await self.grant(connection, customer, "1.5", f"{self.name}-grant-{number}-{count}")
            await asyncio.sleep(0.2)
        connection.close()
