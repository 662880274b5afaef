"""A product behind proxies, with a merchant's programmer and a payer before it who try again until they know."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx
import redis

from tests.faults.arena import SMALL_TABLES
from tests.faults.course import SERVERS, Course
from tests.faults.wires import HttpWire, PostgresWire, RedisWire, Wire, postgres_address, redis_address
from tests.payer import BROWSER
from tests.product import SCRATCH, Merchant, Product

AGAIN_S = 0.1
PATIENCE_S = 30.0
FASTER = 240.0
"""by which callbacks are repeated sooner: Alipay's four minutes are a second, WeChat's fifteen seconds a sixteenth"""
OVERDUE_S = 2.0
NO_REUSE = httpx.Limits(max_keepalive_connections=0)


@dataclass
class Purchase:
    """One customer's way through a flow. What is not known yet is empty. codes: what the checkout showed, to be scanned."""

    customer: str
    top_up_id: str = ""
    checkout_url: str = ""
    codes: list[str] = field(default_factory=list)


class Till:
    """`product` speaks to PostgreSQL, Valkey and the simulator of `servers` through proxies that report to `course`."""

    def __init__(self, product: Product, servers: Product, course: Course, url: str) -> None:
        self.product, self.servers, self.course = product, servers, course
        self.simulator = str(servers.run["simulatorUrl"])
        name = urlsplit(product.run["databaseUrl"]).path
        self.database_url = urlunsplit(urlsplit(servers.run["databaseUrl"])._replace(path=name))
        self.merchant: Merchant
        self.tenant_id = 0
        self.url = url
        self.client = httpx.AsyncClient(timeout=10, trust_env=False, headers=BROWSER, limits=NO_REUSE)

    async def open(self) -> None:
        """Makes the merchant, who promises a bonus to everybody, and their accounts at both channels."""
        self.merchant = await asyncio.to_thread(self.product.new_merchant)
        self.tenant_id = await asyncio.to_thread(lambda: self.merchant.tenant_id)
        await self.shop("POST", "/v1/promotions", {"name": "twenty", "buy": "100", "get": "20"})
        first = Purchase("first")
        await self.top_up(first)
        for way in ("precreate", "native"):
            await self.start(first, way)

    async def close(self) -> None:
        """Ends the connections."""
        await self.client.aclose()
        await asyncio.to_thread(self.merchant.close)

    # -- the database as its owner sees it, past the proxies

    async def rows(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """A statement, repeated while PostgreSQL is away."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                connection = await asyncpg.connect(self.database_url, timeout=5)
                try:
                    return list(await connection.fetch(statement, *arguments))
                finally:
                    await connection.close()
            except (OSError, TimeoutError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError):
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(AGAIN_S)

    async def hurry(self, one: Purchase, *, polls: bool) -> None:
        """What a worker would do when a lease has run out or its next look is due, it is to do now. polls: orders, too."""
        if polls:
            await self.rows(
                "UPDATE payment_orders SET next_poll_at = now() WHERE tenant_id = $1 AND top_up_id = $2"
                " AND next_poll_at > now() + make_interval(secs => $3)",
                self.tenant_id,
                one.top_up_id,
                OVERDUE_S,
            )
        await self.rows(
            "UPDATE refunds SET next_step_at = now() WHERE tenant_id = $1 AND top_up_id = $2"
            " AND next_step_at > now() + make_interval(secs => $3)",
            self.tenant_id,
            one.top_up_id,
            OVERDUE_S,
        )

    async def expire(self, one: Purchase) -> None:
        """Half an hour has passed for the orders of a top-up, here and not at the channel."""
        await self.rows(
            "UPDATE payment_orders SET expires_at = now() - interval '1 s', next_poll_at = now() WHERE tenant_id = $1 AND top_up_id = $2",
            self.tenant_id,
            one.top_up_id,
        )

    # -- people

    async def until_known(self, method: str, url: str, **what: Any) -> httpx.Response:
        """A request, repeated while its outcome is not known."""
        deadline = time.monotonic() + PATIENCE_S
        seen = ""
        while time.monotonic() < deadline:
            try:
                answer = await self.client.request(method, url, **what)
            except httpx.TransportError as failure:
                seen = repr(failure)
            else:
                seen = f"{answer.status_code} {answer.text[:200]}"
                if answer.status_code < 500 and answer.status_code != 429 and "idempotency_in_progress" not in answer.text:
                    return answer
            await asyncio.sleep(AGAIN_S)
        raise TimeoutError(f"{method} {url} has no outcome within {PATIENCE_S:.0f} s: {seen}")

    async def shop(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """What the merchant's programmer asks for, under a key of its own, so that it is done once."""
        headers = {"Authorization": f"Bearer {self.merchant.sandbox_key}", "Content-Type": "application/json"}
        if method == "POST":
            headers["Idempotency-Key"] = secrets.token_hex(8)
        content = None if body is None else json.dumps(body).encode()
        answer = await self.until_known(method, f"{self.url}{path}", headers=headers, content=content)
        assert answer.is_success, f"{method} {path} → {answer.status_code} {answer.text}"
        found: dict[str, Any] = answer.json()
        return found

    async def control(self, path: str, **body: Any) -> None:
        """Has the simulator behave in another way."""
        answer = await self.until_known("POST", f"{self.simulator}/control/{path}", json=body)
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text}"

    async def callbacks(self, mode: str) -> None:
        """Whether the channels send any."""
        await self.control("callbacks", mode=mode, speed=FASTER)

    async def top_up(self, one: Purchase) -> None:
        """A customer wants credits for ¥100."""
        made = await self.shop("POST", "/v1/top-ups", {"customerExternalId": one.customer, "amount": "100"})
        one.top_up_id, one.checkout_url = made["topUpId"], made["checkoutUrl"]

    async def start(self, one: Purchase, way: str = "native") -> None:
        """The payer chooses how to pay, and chooses again until there is a code, or the page says that it is paid."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            answer = await self.until_known("POST", f"{one.checkout_url}/start", data={"product": way})
            rows = await self.rows(
                "SELECT started ->> 'qr_content' AS code, u.status FROM top_ups u LEFT JOIN payment_orders o ON o.tenant_id = u.tenant_id"
                " AND o.top_up_id = u.top_up_id AND o.product = $3 AND o.status IN ('created', 'pending')"
                " WHERE u.tenant_id = $1 AND u.top_up_id = $2",
                self.tenant_id,
                one.top_up_id,
                way,
            )
            if rows[0]["status"] == "paid":
                return
            if answer.status_code == 303 and rows[0]["code"] is not None:
                one.codes.append(rows[0]["code"])
                return
            await asyncio.sleep(AGAIN_S)
        raise TimeoutError(f"{way} of {one.customer} was not started")

    async def pay(self, one: Purchase) -> None:
        """The payer pays by every code that the checkout has shown."""
        for code in one.codes:
            answer = await self.until_known("POST", f"{self.simulator}/phone/pay", json={"code": code, "outcome": "pay"})
            assert answer.is_success or answer.json().get("reason") == "already_paid", answer.text

    # -- what has come of it

    async def count(self, statement: str, one: Purchase) -> int:
        """How many rows a statement about a top-up counts."""
        return int((await self.rows(statement, self.tenant_id, one.top_up_id))[0][0])

    async def credited(self, one: Purchase) -> bool:
        """Whether the top-up is paid and the core has decided all that was asked of it for the customer."""
        paid = "SELECT count(*) FROM top_ups WHERE tenant_id = $1 AND top_up_id = $2 AND status = 'paid'"
        return await self.count(paid, one) == 1 and await self.decided(one)

    async def decided(self, one: Purchase) -> bool:
        """Whether the outbox has nothing left for the customer."""
        return not await self.rows(
            "SELECT 1 FROM wallet_outbox WHERE tenant_id = $1 AND customer = $2 AND result IS NULL", self.tenant_id, one.customer
        )

    async def refunded(self, one: Purchase) -> bool:
        """Whether there is a refund and it is over, whatever its end."""
        over = "SELECT count(*) FROM refunds WHERE tenant_id = $1 AND top_up_id = $2 AND next_step_at IS NULL"
        return await self.count(over, one) == 1 and await self.decided(one)

    async def closed(self, one: Purchase) -> bool:
        """Whether its order is closed."""
        return (
            await self.count("SELECT count(*) FROM payment_orders WHERE tenant_id = $1 AND top_up_id = $2 AND status = 'closed'", one) == 1
        )

    # -- processes

    async def whole(self) -> None:
        """Waits until every process runs, has been heard of, and the edge answers."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            running = {role: await asyncio.to_thread(self.product.pids, role) for role in ("edge", "worker", "core")}
            servers = {role: await asyncio.to_thread(self.servers.pids, role) for role in SERVERS}
            back = all(pids and set(pids) <= self.course.heard for pids in running.values()) and all(servers.values())
            if back and await self._ready():
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"not everything came back: {running}, heard of {self.course.heard}")
            await asyncio.sleep(AGAIN_S)

    async def _ready(self) -> bool:
        try:
            answers = [await self.client.get(f"{self.product.url}/readyz"), await self.client.get(f"{self.simulator}/healthz")]
        except httpx.TransportError:
            return False
        return all(answer.status_code == 200 for answer in answers)


@asynccontextmanager
async def till(servers: Product) -> AsyncIterator[Till]:
    """A product of its own, with a database of its own on the servers of another, behind proxies. One edge, so that a kill takes all."""
    database = f"till_{secrets.token_hex(3)}"
    owner = await asyncpg.connect(servers.run["databaseUrl"])
    await owner.execute(f"CREATE DATABASE {database}")
    await owner.close()
    postgres, login = postgres_address(servers.run["databaseUrl"])
    redis_server, password = redis_address(servers.run["redisUrl"])
    simulator = urlsplit(servers.run["simulatorUrl"])
    home = SCRATCH / f"faults-till-{secrets.token_hex(3)}"
    product = Product(home / "data", SMALL_TABLES)
    course = Course(product, servers)
    wires: list[Wire] = [
        PostgresWire(course, postgres, "postgres"),
        RedisWire(course, redis_server, "valkey"),
        HttpWire(course, (simulator.hostname or "", simulator.port or 0), "simulator"),
        HttpWire(course, ("127.0.0.1", product.port), "edge"),
    ]
    for wire in wires:
        await wire.start()
    url = f"http://127.0.0.1:{wires[3].port}"
    redis_url = f"redis://{password}127.0.0.1:{wires[1].port}/2"
    product.environment |= {
        "DATABASE_URL": f"postgresql://{login}@127.0.0.1:{wires[0].port}/{database}",
        "REDIS_URL": redis_url,
        "BUFFMONEY_SIMULATOR_URL": f"http://127.0.0.1:{wires[2].port}",
        "BUFFMONEY_PUBLIC_URL": url,
        # Roles belong to the whole server, and their passwords derive from the secret.
        "BUFFMONEY_SECRET": (servers.data_dir / "secret").read_text().strip(),
    }
    opened: Till | None = None
    try:
        await asyncio.to_thread(redis.Redis.from_url(redis_url).flushdb)
        await asyncio.to_thread(product.start)
        opened = Till(product, servers, course, url)
        await opened.callbacks("normal")
        await opened.open()
        yield opened
    finally:
        if opened is not None:
            await opened.callbacks("normal")
            await opened.close()
        await asyncio.to_thread(product.stop)
        for wire in wires:
            await wire.stop()
        owner = await asyncpg.connect(servers.run["databaseUrl"])
        await owner.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
        await owner.close()
        shutil.rmtree(home, ignore_errors=True)
