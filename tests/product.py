"""One real BuffMoney for tests: `buffmoney up` as a child process, its merchants, and its database as the owner sees it."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import httpx
import psutil

from buffmoney.audit.log import Author
from buffmoney.base.clock import SystemClock
from buffmoney.base.config import Settings
from buffmoney.merchants import merchants
from buffmoney.merchants.merchants import Billing, NewMerchant, UnknownCustomers

ROOT = Path(__file__).resolve().parent.parent
SCRATCH = ROOT / ".cache" / "tests"
"""where test servers keep their data; inside the tree, ignored by git"""
COMMAND = str(Path(sys.executable).with_name("buffmoney"))
COUNTED = ("customers", "event_keys", "usage_events", "postings", "grants", "holds", "wallet_commands")
"""tables whose rows tell whether a request stored anything"""
T = TypeVar("T")


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def moment(offset_s: float = 0) -> str:
    """RFC 3339 in UTC, `offset_s` seconds from now."""
    return (datetime.now(UTC) + timedelta(seconds=offset_s)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def event(customer: str = "acme", key: str | None = None, quantity: str = "1000", **fields: Any) -> dict[str, Any]:
    """A valid usage event, but for what `fields` replaces. A field of None is left out."""
    body: dict[str, Any] = {
        "customerExternalId": customer,
        "idempotencyKey": key or secrets.token_hex(8),
        "metric": "tokens_input",
        "quantity": quantity,
        "occurredAt": moment(),
        "dimensions": {"model": "gpt-4o"},
    }
    body.update(fields)
    return {name: value for name, value in body.items() if value is not None}


CARD: dict[str, Any] = {
    "name": "standard",
    "currency": "CNY",
    "charges": [
        {"metric": "tokens_input", "per": "1000", "price": "1", "match": {}},
        {"metric": "tokens_output", "per": "1000", "price": "4", "match": {}},
    ],
}
"""¥1 a thousand tokens in, ¥4 a thousand out: the default event costs ¥1"""


def wait_until(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    """Waits for something that happens by itself."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def assert_problem(answer: httpx.Response, status: int, code: str | None = None) -> dict[str, object]:
    """One clear error: problem+json with a stable code and the request's id."""
    assert answer.status_code == status, f"{answer.status_code} {answer.text[:500]}"
    assert answer.headers["content-type"].startswith("application/problem+json"), answer.headers
    body: dict[str, object] = answer.json()
    assert body["status"] == status
    assert str(body["requestId"]).startswith("req_"), body
    assert body["code"], body
    if code is not None:
        assert body["code"] == code, body
    return body


class Sql:
    """The owner's connection to PostgreSQL, usable from plain functions and any thread. It connects again after a fault."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.connection: asyncpg.Connection[asyncpg.Record] | None = None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine on the connection's own loop and waits for it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout=300)

    async def _fetch(self, statement: str, arguments: tuple[Any, ...]) -> list[asyncpg.Record]:
        for attempt in (1, 2):
            try:
                if self.connection is None or self.connection.is_closed():
                    self.connection = await asyncpg.connect(self.url, timeout=10)
                return list(await self.connection.fetch(statement, *arguments))
            except (OSError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError):
                self.connection = None
                if attempt == 2:
                    raise
        raise AssertionError("unreachable")

    def fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """All rows."""
        return self.run(self._fetch(statement, arguments))

    def value(self, statement: str, *arguments: Any) -> Any:
        """The first field of the first row, None without rows."""
        rows = self.fetch(statement, *arguments)
        return rows[0][0] if rows else None

    def close(self) -> None:
        """Ends the connection and its loop."""
        connection = self.connection
        if connection is not None and not connection.is_closed():
            self.run(connection.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(timeout=10)


class Product:
    """`buffmoney up` with a data directory of its own. environment: settings on top of the inherited ones."""

    def __init__(self, data_dir: Path, environment: dict[str, str] | None = None, arguments: Sequence[str] = ()) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        ours = ("DATABASE_URL", "REDIS_URL", "BUFFMONEY_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        self.environment = {**inherited, "BUFFMONEY_DATA_DIR": str(data_dir), **(environment or {})}
        self.arguments = list(arguments)
        self.process: subprocess.Popen[bytes] | None = None
        self.run: dict[str, Any] = {}
        self._sql: Sql | None = None

    @property
    def log(self) -> Path:
        """What `up` and its children printed."""
        return self.data_dir.parent / f"{self.data_dir.name}.log"

    def logs(self) -> str:
        """Everything that `up` and its children wrote to their logs."""
        files = [self.log, *sorted((self.data_dir / "logs").glob("*.log"))]
        return "".join(file.read_text(errors="replace") for file in files if file.exists())

    def start(self, timeout_s: float = 120) -> Product:
        """Starts everything and waits until /readyz says 200."""
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [COMMAND, "up", "--port", str(self.port), "--data-dir", str(self.data_dir), *self.arguments],
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.wait_ready(timeout_s)
        self.run = json.loads((self.data_dir / "run.json").read_text())
        return self

    def wait_ready(self, timeout_s: float = 60) -> None:
        """Waits for /readyz; fails with the end of the log when `up` has died or takes too long."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.process is not None and self.process.poll() is not None:
                raise RuntimeError(f"`buffmoney up` ended with {self.process.returncode}:\n{self.log.read_text()[-4000:]}")
            try:
                if httpx.get(f"{self.url}/readyz", timeout=2, trust_env=False).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        raise RuntimeError(f"not ready after {timeout_s} s:\n{self.log.read_text()[-4000:]}")

    def stop(self, timeout_s: float = 40) -> int:
        """SIGTERM, then wait. Gives the exit code; whatever is left after the time is killed by its pid."""
        if self._sql is not None:
            self._sql.close()
            self._sql = None
        if self.process is None:
            return 0
        family = self.family()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait(10)
        for child in family:
            if child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
                child.kill()
        self.process = None
        return code

    # -- processes

    def family(self) -> list[psutil.Process]:
        """Every process below `up`."""
        try:
            return psutil.Process(self.process.pid).children(recursive=True) if self.process else []
        except psutil.NoSuchProcess:
            return []

    def pids(self, role: str) -> list[int]:
        """Processes of a role: edge, core, worker, valkey, postgres (its postmaster only)."""
        found = []
        for process in self.family():
            try:
                words = process.cmdline()
                name = process.name()
                if role == "postgres":
                    parent = process.parent()
                    if name == "postgres" and (parent is None or parent.name() != "postgres"):
                        found.append(process.pid)
                elif role == "valkey":
                    if "valkey" in name or "redis" in name or any("valkey-server" in word for word in words[:1]):
                        found.append(process.pid)
                elif role in words[:6] and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process.pid)
            except psutil.NoSuchProcess:
                continue
        return found

    # -- ways in

    @property
    def sql(self) -> Sql:
        """The database as its owner."""
        if self._sql is None:
            self._sql = Sql(self.run["databaseUrl"])
        return self._sql

    def cli(self, *arguments: str, check: bool = True, timeout_s: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
        """A `buffmoney` command on the same data directory."""
        done = subprocess.run(
            [COMMAND, *arguments], env={**self.environment, **environment}, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"buffmoney {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    def verify(self) -> dict[str, Any]:
        """`buffmoney ledger verify --json`, with its exit code as `exit`."""
        done = self.cli("ledger", "verify", "--json", check=False, timeout_s=600)
        try:
            report: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            report = {"differences": [{"what": "no report", "detail": (done.stdout + done.stderr)[-2000:]}]}
        return {**report, "exit": done.returncode}

    def new_merchant(
        self, *, billing: Billing = "prepaid", unknown_customers: UnknownCustomers = "create", card: dict[str, Any] | None = CARD
    ) -> Merchant:
        """A fresh merchant, with a rate card in its sandbox unless `card` is None."""

        async def make() -> NewMerchant:
            connection = await asyncpg.connect(self.run["databaseUrl"])
            try:
                name = f"Test {secrets.token_hex(4)}"
                settings, clock = Settings.from_environment(self.environment), SystemClock()
                by = Author.command_line(settings, clock)
                return await merchants.create(
                    connection, settings.api_key_pepper, clock, name, by=by, billing=billing, unknown_customers=unknown_customers
                )
            finally:
                await connection.close()

        made = self.sql.run(make())
        merchant = Merchant(self, made.merchant_id, made.sandbox_key, made.live_key)
        if card is not None:
            merchant.ok("POST", "/v1/rate-cards", card)
        return merchant


@dataclass
class Merchant:
    """One merchant as its own programmer sees it. Requests go to the sandbox unless `live` is used."""

    product: Product
    merchant_id: str
    sandbox_key: str
    live_key: str
    clients: dict[str, httpx.Client] = field(default_factory=dict)

    def client(self, key: str | None = None) -> httpx.Client:
        """An HTTP client with one of the keys."""
        key = key or self.sandbox_key
        if key not in self.clients:
            self.clients[key] = httpx.Client(
                base_url=self.product.url, headers={"Authorization": f"Bearer {key}"}, timeout=30, trust_env=False
            )
        return self.clients[key]

    @property
    def live(self) -> Merchant:
        """The same merchant's other tenant."""
        return Merchant(self.product, self.merchant_id, self.live_key, self.live_key)

    def close(self) -> None:
        """Ends the connections."""
        for client in self.clients.values():
            client.close()

    @property
    def tenant_id(self) -> int:
        """The tenant behind the key in use."""
        mode = "live" if self.sandbox_key.startswith("bm_live_") else "sandbox"
        found = self.product.sql.value("SELECT tenant_id FROM tenants WHERE merchant_id = $1 AND mode = $2", self.merchant_id, mode)
        return int(found)

    def call(
        self, method: str, path: str, body: Any = None, *, content: bytes | None = None, key: str | None = None, **headers: str
    ) -> httpx.Response:
        """Any request. body: to be sent as JSON; content: bytes sent as they are. Header names are written with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            content = json.dumps(body).encode()
        if content is not None:
            named.setdefault("Content-Type", "application/json")
        return self.client(key).request(method, path, content=content, headers=named)

    def ok(self, method: str, path: str, body: Any = None, **headers: str) -> dict[str, Any]:
        """A request that must succeed; its answer."""
        answer = self.call(method, path, body, **headers)
        assert answer.is_success, f"{method} {path} → {answer.status_code} {answer.text}"
        result: dict[str, Any] = answer.json()
        return result

    def send(self, *events: dict[str, Any]) -> httpx.Response:
        """POST /v1/usage-events, every result wanted."""
        return self.call("POST", "/v1/usage-events?results=all", {"events": list(events)})

    def usage(self, *events: dict[str, Any]) -> dict[str, Any]:
        """The answer to a batch that must be taken."""
        answer = self.send(*events)
        assert answer.status_code == 200, f"{answer.status_code} {answer.text}"
        result: dict[str, Any] = answer.json()
        return result

    def grant(self, amount: str, customer: str = "acme", **fields: Any) -> dict[str, Any]:
        """A grant that must succeed."""
        return self.ok("POST", f"/v1/customers/{customer}/grants", {"amount": amount, "currency": "CNY", "kind": "paid", **fields})

    def balance(self, customer: str = "acme") -> dict[str, Any]:
        """The customer's balance."""
        return self.ok("GET", f"/v1/customers/{customer}/balance")

    def stored(self) -> dict[str, int]:
        """How many rows of this tenant there are, by table."""
        counts = ", ".join(f"(SELECT count(*) FROM {table} WHERE tenant_id = $1) AS {table}" for table in COUNTED)
        return dict(self.product.sql.fetch(f"SELECT {counts}", self.tenant_id)[0])
