"""A partition without the rest of the product: PostgreSQL, Valkey, one tenant, and cores that a test starts and stops itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from buffmoney import _core
from buffmoney.audit import log
from buffmoney.base.clock import Clock, SystemClock
from buffmoney.base.config import Settings
from buffmoney.base.redis import RedisPipe, RedisQueue
from buffmoney.ledger import cash, verify
from buffmoney.metering import core
from buffmoney.migrate import migrate
from buffmoney.servers import EmbeddedPostgres, EmbeddedValkey, wait_until_ready

START_CORE = """
import asyncio
from buffmoney.base.config import Settings
from buffmoney.metering import core
asyncio.run(core.run(Settings.from_environment(), [0]))
"""
ACCEPTED, DUPLICATE, CONFLICT, INSUFFICIENT = 0, 1, 2, 10


@contextlib.contextmanager
def servers(data_dir: Path) -> Iterator[Settings]:
    """PostgreSQL and Valkey in a directory, and the settings to reach them; stopped at the end."""
    settings = Settings(secret=secrets.token_hex(32), data_dir=data_dir, lease_s=1.0, heads_file=data_dir / "heads.json")
    running: list[tuple[subprocess.Popen[bytes], Any]] = []
    try:
        urls = []
        for server in (EmbeddedPostgres(settings), EmbeddedValkey(settings)):
            server.prepare()
            command = server.command()
            with (data_dir / "servers.log").open("ab") as log:
                account = command.account
                process = subprocess.Popen(
                    command.arguments,
                    cwd=command.directory,
                    stdout=log,
                    stderr=log,
                    user=account.uid if account else None,
                    group=account.gid if account else None,
                    extra_groups=[] if account else None,
                )
            running.append((process, command.stop_signal))
            assert asyncio.run(wait_until_ready(server, 60)), f"{command.arguments[0]} did not start"
            urls.append(server.url)
        yield settings.replace(database_url=urls[0], redis_url=urls[1])
    finally:
        for process, stop_signal in reversed(running):
            process.send_signal(stop_signal)
            process.wait(30)


class Room:
    """One fresh database with one tenant, whose inbox the test writes to in place of an edge."""

    def __init__(self, settings: Settings, owner: asyncpg.Connection[asyncpg.Record], tenant_id: int) -> None:
        self.settings = settings
        self.owner = owner
        self.tenant_id = tenant_id
        self.redis = RedisPipe(settings.redis_url)
        self.queue = RedisQueue(settings.redis_url)
        self.reply_to = b"reply:" + secrets.token_hex(6).encode()
        self.replies: dict[bytes, bytes] = {}

    async def send(self, message: bytes) -> None:
        """Puts a message into the inbox."""
        await self.redis.command("LPUSH", "{p0}:inbox", message)

    async def reply(self, message_id: bytes, within_s: float = 15.0) -> bytes:
        """The body of the reply to a message. Raises TimeoutError."""
        deadline = time.monotonic() + within_s
        while message_id not in self.replies:
            if time.monotonic() > deadline:
                raise TimeoutError(f"no reply within {within_s} s")
            for reply in await self.queue.pop(self.reply_to, side="LEFT", count=50, wait_s=0.2):
                identity, _, body = _core.split_reply(reply)
                self.replies[identity] = body
        return self.replies.pop(message_id)

    def usage_message(
        self, events: list[dict[str, Any]], message_id: bytes, *, redelivered: bool = False, clock: Clock | None = None
    ) -> bytes:
        """The inbox message of a batch."""
        batch = _core.decode_batch(json.dumps({"events": events}).encode(), self.tenant_id, (clock or SystemClock()).now_us())
        assert batch.rejected == 0, batch.problems
        return batch.message(message_id, self.reply_to, redelivered)

    async def usage(
        self, events: list[dict[str, Any]], message_id: bytes | None = None, *, redelivered: bool = False, clock: Clock | None = None
    ) -> list[tuple[int, int, int]]:
        """Sends a batch. Gives (index, outcome, charge in nano-units) of each event."""
        identity = message_id or os.urandom(16)
        await self.send(self.usage_message(events, identity, redelivered=redelivered, clock=clock))
        return outcomes(await self.reply(identity))

    async def command(self, command: dict[str, Any], message_id: bytes | None = None) -> dict[str, Any]:
        """Sends a wallet command and gives its answer."""
        identity = message_id or os.urandom(16)
        await self.send(_core.command_message(self.tenant_id, identity, self.reply_to, False, json.dumps(command).encode(), b""))
        answer: dict[str, Any] = json.loads(await self.reply(identity))
        return answer

    async def grant(self, customer: str, amount: str, *, expires_in_s: float | None = None) -> dict[str, Any]:
        """Gives a customer a paid grant."""
        expires_us = None if expires_in_s is None else SystemClock().now_us() + int(expires_in_s * 1_000_000)
        answer = await self.command(
            {
                "type": "grant",
                "commandId": secrets.token_hex(16),
                "customer": customer,
                "amount": amount,
                "currency": "CNY",
                "kind": "paid",
                "priority": 0,
                "expiresAtUs": expires_us,
            }
        )
        assert answer["ok"], answer
        return answer

    async def balance(self, customer: str) -> str | None:
        """The balance after the customer's last posting, as the ledger has it."""
        value = await self.owner.fetchval(
            "SELECT balance_after::text FROM postings p JOIN customers c USING (tenant_id, account_id) "
            "WHERE c.tenant_id = $1 AND c.external_id = $2 ORDER BY p.seq DESC LIMIT 1",
            self.tenant_id,
            customer,
        )
        return None if value is None else str(value)

    async def close(self) -> None:
        """Closes the connections."""
        await self.queue.close()
        await self.redis.close()
        await self.owner.close()


def event(key: str, customer: str = "acme", quantity: str = "1000") -> dict[str, Any]:
    """An event that costs ¥1 for each thousand of quantity."""
    return {
        "customerExternalId": customer,
        "idempotencyKey": key,
        "metric": "tokens_input",
        "quantity": quantity,
        "occurredAt": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "dimensions": {"model": "gpt-4o"},
    }


def outcomes(body: bytes) -> list[tuple[int, int, int]]:
    """(index, outcome, charge in nano-units) of each event of a usage reply's body."""
    count = int.from_bytes(body[:2], "little")
    rows = (body[at : at + 19] for at in range(2, 2 + 19 * count, 19))
    return [(int.from_bytes(row[:2], "little"), row[2], int.from_bytes(row[3:], "little", signed=True)) for row in rows]


async def assert_whole(place: Room, clock: Clock | None = None) -> verify.Report:
    """The ledger of a room verifies. Gives the report."""
    report = await verify.verify(place.settings, lambda _name, _rows, _expected: None, clock)
    assert report["ok"], report["differences"]
    return report


@contextlib.asynccontextmanager
async def room(settings: Settings) -> AsyncIterator[Room]:
    """A fresh database on the servers, a merchant's sandbox tenant, and a price of ¥1 a thousand input tokens."""
    name = f"room_{secrets.token_hex(4)}"
    administrator = await asyncpg.connect(settings.database_url)
    await administrator.execute(f'CREATE DATABASE "{name}"')
    await administrator.close()
    parts = urlsplit(settings.database_url)
    # urlunsplit would drop the empty host of a socket's URL.
    url = f"postgresql://{parts.netloc}/{name}" + (f"?{parts.query}" if parts.query else "")
    fresh = settings.replace(database_url=url, heads_file=settings.data_dir / f"{name}.json")
    await migrate(fresh)
    owner = await asyncpg.connect(fresh.database_url)
    tenant_id = await _tenant(owner)
    async with owner.transaction():
        by = log.Author.system(fresh, SystemClock(), "test")
        await log.begin_where_missing(owner, by)
        await cash.begin_where_missing(owner, by)
    there = Room(fresh, owner, tenant_id)
    await there.redis.command("FLUSHALL")
    try:
        yield there
    finally:
        await there.close()


async def _tenant(owner: asyncpg.Connection[asyncpg.Record]) -> int:
    merchant_id = f"mer_{secrets.token_hex(12)}"
    await owner.execute("INSERT INTO merchants VALUES ($1, 'Test', 'prepaid', now())", merchant_id)
    tenant_id: int = await owner.fetchval(
        "INSERT INTO tenants (merchant_id, mode, partition_id, unknown_customers, created_at) "
        "VALUES ($1, 'sandbox', 0, 'create', now()) RETURNING tenant_id",
        merchant_id,
    )
    await owner.execute(
        "INSERT INTO tenant_period_settings (tenant_id, effective_from, revision, time_zone, anchor_day, created_at) "
        "VALUES ($1, '-infinity', 1, 'Asia/Shanghai', 1, now())",
        tenant_id,
    )
    await owner.execute("INSERT INTO metrics VALUES ($1, 1, 'tokens_input', '', now())", tenant_id)
    product_id, card_id = f"prod_{secrets.token_hex(12)}", f"rc_{secrets.token_hex(12)}"
    await owner.execute("INSERT INTO products VALUES ($1, $2, 'default', 'default', now())", tenant_id, product_id)
    await owner.execute("INSERT INTO rate_cards VALUES ($1, $2, 'standard', 'CNY', NULL, now(), $3)", tenant_id, card_id, product_id)
    await owner.execute(
        "INSERT INTO rate_card_charges (tenant_id, rate_card_id, line, price_id, metric_id, price, per, currency) "
        "VALUES ($1, $2, 0, 1, 1, 1, 1000, 'CNY')",
        tenant_id,
        card_id,
    )
    await owner.execute(
        "UPDATE rate_cards SET status = 'published', version = 1, published_at = now() WHERE tenant_id = $1 AND rate_card_id = $2",
        tenant_id,
        card_id,
    )
    return tenant_id


@contextlib.asynccontextmanager
async def running_core(settings: Settings, clock: Clock | None = None) -> AsyncIterator[core.PartitionWriter]:
    """A core on this event loop; drained at the end."""
    stopping = asyncio.Event()
    writer = core.PartitionWriter(settings, 0, clock or SystemClock(), stopping)
    task = asyncio.create_task(writer.run())
    try:
        yield writer
    finally:
        stopping.set()
        await asyncio.wait_for(task, 30)


def core_process(settings: Settings) -> subprocess.Popen[bytes]:
    """A core in a process of its own."""
    environment = {
        **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "BUFFMONEY_SECRET": settings.secret,
        "BUFFMONEY_DATA_DIR": str(settings.data_dir),
        "BUFFMONEY_HEADS_FILE": str(settings.heads_file),
        "BUFFMONEY_LEASE_S": str(settings.lease_s),
    }
    return subprocess.Popen([sys.executable, "-c", START_CORE], env=environment)
