"""Proves the ground on real servers: migrations, roles and their rights, merchants and keys, and the ways to PostgreSQL and Redis."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from redis.exceptions import ResponseError

from buffmoney.audit.log import Author
from buffmoney.base.clock import FixedClock, SystemClock
from buffmoney.base.config import Settings, make_secret
from buffmoney.base.database import Database, connect
from buffmoney.base.errors import DatabaseUnavailable, Problem, RedisUnavailable
from buffmoney.base.redis import RedisPipe, RedisQueue, pack
from buffmoney.child import preparation
from buffmoney.merchants import keys, merchants
from buffmoney.migrate import MigrationError, migrate, migrations, pending
from buffmoney.servers import EmbeddedPostgres, EmbeddedValkey, Server, wait_until_ready
from tests.product import SCRATCH


@contextlib.contextmanager
def running(server: Server) -> Iterator[subprocess.Popen[bytes]]:
    """A server in the foreground, stopped in good order at the end."""
    server.prepare()
    command = server.command()
    process = subprocess.Popen(
        command.arguments,
        cwd=command.directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=preparation(command.account, command.death_signal),
    )
    try:
        assert asyncio.run(wait_until_ready(server, 30))
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.send_signal(command.stop_signal)
        process.wait(30)


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    """A migrated database and an empty Valkey of this module alone."""
    home = SCRATCH / f"platform-{secrets.token_hex(4)}"
    home.mkdir(parents=True)
    settings = Settings(data_dir=home, secret=make_secret(home))
    postgres, valkey = EmbeddedPostgres(settings), EmbeddedValkey(settings)
    try:
        with running(postgres), running(valkey):
            settings = settings.replace(database_url=postgres.url, redis_url=valkey.url)
            asyncio.run(migrate(settings, partitions=2))
            yield settings
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
async def owner(settings: Settings) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await connect(settings, None)
    yield connection
    await connection.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the servers as another account")
def test_servers_start_behind_a_closed_door_with_no_more_than_they_need() -> None:
    home = SCRATCH / f"closed-{secrets.token_hex(4)}"
    home.mkdir(parents=True, mode=0o700)
    try:
        settings = Settings(data_dir=home / "data", secret="s" * 32)
        settings.data_dir.mkdir()
        with running(EmbeddedPostgres(settings)) as postgres, running(EmbeddedValkey(settings)) as valkey:
            for process in (postgres, valkey):
                status = dict(
                    line.split(":\t", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if ":\t" in line
                )
                assert not status["Uid"].startswith("0\t")
                # One bit: passing through directories that are closed to the account.
                assert {int(status[kind], 16) for kind in ("CapEff", "CapPrm", "CapAmb")} == {2}
    finally:
        shutil.rmtree(home, ignore_errors=True)


# ---------------------------------------------------------------- migrations


async def test_migrating_again_changes_nothing(settings: Settings) -> None:
    assert await pending(settings) == ()
    first, second = await asyncio.gather(migrate(settings), migrate(settings))
    assert first == second
    assert (first.applied, first.partitions) == ((), 2)


async def test_cards_made_before_versions_become_versions(settings: Settings, owner: asyncpg.Connection[asyncpg.Record]) -> None:
    """Proves: the cards of an older database are published versions of a default product, in the order in which they were made, with
    their prices untouched and as immutable as they were."""
    name = f"older_{secrets.token_hex(4)}"
    await owner.execute(f'CREATE DATABASE "{name}"')
    parts = urlsplit(settings.database_url)
    # urlunsplit would drop the empty host of a socket's URL.
    older = settings.replace(database_url=f"postgresql://{parts.netloc}/{name}" + (f"?{parts.query}" if parts.query else ""))
    connection = await connect(older, None)
    try:
        for migration in migrations():
            if migration.name == "rate_card_versions":
                break
            await connection.execute(migration.sql)
            await connection.execute("INSERT INTO schema_migrations (version, name) VALUES ($1, $2)", migration.version, migration.name)
        await connection.execute("INSERT INTO merchants VALUES ('mer_' || repeat('0', 24), 'Old', 'prepaid', now())")
        tenants = []
        for mode in ("sandbox", "live"):
            tenant_id = await connection.fetchval(
                "INSERT INTO tenants (merchant_id, mode, partition_id, unknown_customers, created_at) "
                "VALUES ('mer_' || repeat('0', 24), $1, 0, 'create', now()) RETURNING tenant_id",
                mode,
            )
            await connection.execute("INSERT INTO metrics VALUES ($1, 1, 'tokens_input', '', now())", tenant_id)
            tenants.append(tenant_id)
        for number, age in ((0, "2 days"), (1, "1 day"), (2, "3 days")):
            card_id = f"rc_{number:024d}"
            effect = "NULL" if age == "3 days" else f"now() - interval '{age}'"
            await connection.execute(
                f"INSERT INTO rate_cards VALUES ($1, $2, 'card', 'CNY', {effect}, now() - interval '{age}')", tenants[0], card_id
            )
            await connection.execute(
                "INSERT INTO rate_card_charges VALUES ($1, $2, 0, $3, 1, '{}', 2.5, 1000)", tenants[0], card_id, number
            )
        await connection.execute("INSERT INTO event_keys VALUES ($1, gen_random_uuid(), 5, 1)", tenants[0])
        assert (await migrate(older)).applied == tuple(one.name for one in migrations() if one.version > migration.version - 1)
        rows = await connection.fetch(
            "SELECT right(rate_card_id, 1)::integer AS number, version, status, published_at = r.created_at AS dated, p.code, "
            "price_id, model, price, minimum, c.currency, audience "
            "FROM rate_cards r JOIN rate_card_charges c USING (tenant_id, rate_card_id) JOIN products p USING (tenant_id, product_id) "
            "ORDER BY version"
        )
        assert [(row["number"], row["version"], row["price_id"]) for row in rows] == [(2, 1, 2), (0, 2, 0), (1, 3, 1)]
        expected = ("published", True, "default", "per_unit", Decimal("2.5"), None, "CNY", "everyone")
        names = ("status", "dated", "code", "model", "price", "minimum", "currency", "audience")
        assert {tuple(row[name] for name in names) for row in rows} == {expected}
        products = await connection.fetch("SELECT tenant_id, product_id, code FROM products ORDER BY tenant_id")
        assert [(row["tenant_id"], row["code"]) for row in products] == [(tenant_id, "default") for tenant_id in tenants]
        assert len({row["product_id"] for row in products}) == 2
        assert dict(await connection.fetchrow("SELECT tenant_id, metric_id FROM product_metrics") or {}) == {
            "tenant_id": tenants[0],
            "metric_id": 1,
        }
        # The keys of before are one closed table of all partitions, as immutable as they were.
        assert await connection.fetchval("SELECT fingerprint FROM event_keys WHERE tenant_id = $1", tenants[0]) == 5
        found = await connection.fetchrow("SELECT key_table, partition_id, capacity, filter FROM key_tables")
        assert found is not None and tuple(found) == (1, None, 1, None)
        for statement in (
            "UPDATE rate_cards SET name = 'x'",
            "DELETE FROM rate_card_charges",
            "DELETE FROM event_keys",
            "TRUNCATE event_keys_1",
        ):
            with pytest.raises(asyncpg.RestrictViolationError):
                await connection.execute(statement)
    finally:
        await connection.close()
        await owner.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


async def test_a_newer_database_is_left_alone(settings: Settings, owner: asyncpg.Connection[asyncpg.Record]) -> None:
    await owner.execute("INSERT INTO schema_migrations (version, name) VALUES (9999, 'from_the_future')")
    try:
        with pytest.raises(MigrationError, match="newer"):
            await migrate(settings)
    finally:
        await owner.execute("DELETE FROM schema_migrations WHERE version = 9999")


def test_numbers_have_no_gap(tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_text("SELECT 1")
    (tmp_path / "0003_c.sql").write_text("SELECT 1")
    with pytest.raises(MigrationError, match="gap"):
        migrations(tmp_path)


async def test_roles_have_no_more_than_they_need(settings: Settings, owner: asyncpg.Connection[asyncpg.Record]) -> None:
    rows = await owner.fetch(
        "SELECT rolname, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls FROM pg_roles"
        " WHERE rolname LIKE 'buffmoney\\_%'"
    )
    assert {row["rolname"]: row["rolbypassrls"] for row in rows} == {
        "buffmoney_edge": False,
        "buffmoney_core": True,
        "buffmoney_worker": False,
    }
    assert not any(row["rolsuper"] or row["rolcreatedb"] or row["rolcreaterole"] or row["rolreplication"] for row in rows)
    for role in ("edge", "core", "worker"):
        connection = await connect(settings, role)
        statements = [
            *(f"{verb} {table}" for verb in ("DELETE FROM", "TRUNCATE") for table in ("postings", "commits", "event_keys", "usage_events")),
            "UPDATE postings SET amount = 1",
            "UPDATE commits SET events = 0",
            "CREATE TABLE mine (id integer)",
            "CREATE TEMP TABLE mine (id integer)",
            "ALTER TABLE postings DISABLE TRIGGER ALL",
            "UPDATE tenants SET mode = 'live'",
        ]
        for statement in statements:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
        await connection.close()


async def test_the_owner_is_stopped_by_triggers(settings: Settings, owner: asyncpg.Connection[asyncpg.Record]) -> None:
    for statement in ("TRUNCATE postings", "TRUNCATE usage_events", "TRUNCATE event_keys"):
        with pytest.raises(asyncpg.RestrictViolationError):
            await owner.execute(statement)


async def test_durability_is_on(settings: Settings) -> None:
    connection = await connect(settings, "core")
    for name in ("fsync", "full_page_writes", "synchronous_commit", "data_checksums"):
        assert await connection.fetchval(f"SHOW {name}") == "on", name
    await connection.close()


# ---------------------------------------------------------------- merchants and keys


async def test_a_merchant_is_two_tenants_that_share_no_row(settings: Settings, owner: asyncpg.Connection[asyncpg.Record]) -> None:
    by = Author.command_line(settings, SystemClock())
    made = await merchants.create(owner, settings.api_key_pepper, SystemClock(), "Ink & Paper 墨", by=by, unknown_customers="refuse")
    other = await merchants.create(owner, settings.api_key_pepper, SystemClock(), "Another", by=by, billing="pay-as-you-go", currency="USD")
    rows = await owner.fetch("SELECT * FROM tenants WHERE merchant_id = $1 ORDER BY mode", made.merchant_id)
    assert [(row["mode"], row["unknown_customers"], row["currency"]) for row in rows] == [
        ("live", "refuse", "CNY"),
        ("sandbox", "refuse", "CNY"),
    ]
    assert rows[0]["partition_id"] == rows[1]["partition_id"]
    elsewhere = await owner.fetchval("SELECT partition_id FROM tenants WHERE merchant_id = $1 LIMIT 1", other.merchant_id)
    assert elsewhere != rows[0]["partition_id"]
    metrics = await owner.fetch("SELECT metric_id, code FROM metrics WHERE tenant_id = $1 ORDER BY metric_id", rows[0]["tenant_id"])
    assert [tuple(row) for row in metrics] == [
        (1, "tokens_input"),
        (2, "tokens_output"),
        (3, "images"),
        (4, "agent_runs"),
        (5, "storage_gb"),
    ]
    database = await Database.open(settings, "edge")
    for key, mode in ((made.sandbox_key, "sandbox"), (made.live_key, "live")):
        async with database.connection() as connection:
            found = await connection.fetchrow("SELECT * FROM authenticate_key($1)", keys.hash_key(settings.api_key_pepper, key))
        assert found is not None
        assert (found["mode"], found["merchant_id"]) == (mode, made.merchant_id)
        async with database.tenant(found["tenant_id"]) as connection:
            assert {row["tenant_id"] for row in await connection.fetch("SELECT tenant_id FROM api_keys")} == {found["tenant_id"]}
    async with database.connection() as connection:
        assert await connection.fetch("SELECT * FROM api_keys") == []
    await database.close()
    stored = await owner.fetch("SELECT prefix || encode(key_hash, 'hex') AS all FROM api_keys")
    assert not any(made.live_key[16:] in row["all"] for row in stored)


@pytest.mark.parametrize(
    "wrong",
    [{"name": ""}, {"name": "x" * 256}, {"name": "a\u0000b"}, {"billing": "never"}, {"currency": "cny"}, {"unknown_customers": "?"}],
)
async def test_wrong_merchants_are_refused(settings: Settings, owner: asyncpg.Connection[asyncpg.Record], wrong: dict[str, str]) -> None:
    by = Author.command_line(settings, SystemClock())
    before = await owner.fetchval("SELECT count(*) FROM tenants")
    with pytest.raises(Problem) as refused:
        await merchants.create(owner, settings.api_key_pepper, SystemClock(), by=by, **{"name": "Fine", **wrong})  # type: ignore[arg-type]
    assert refused.value.code == "invalid_merchant"
    assert await owner.fetchval("SELECT count(*) FROM tenants") == before


async def test_keys_are_rotated_with_overlap_and_revoked_for_good(settings: Settings, owner: asyncpg.Connection[asyncpg.Record]) -> None:
    pepper, clock = settings.api_key_pepper, FixedClock(SystemClock().now_us())
    by = Author.command_line(settings, clock)
    made = await merchants.create(owner, pepper, clock, "Rotating", by=by)
    tenant_id = await merchants.tenant_id_of(owner, made.merchant_id, "live")
    (first,) = await keys.list_keys(owner, tenant_id)
    database = await Database.open(settings, "edge")
    clock.advance(1_000_000)
    async with database.tenant(tenant_id) as connection:
        second = await keys.rotate(connection, pepper, clock, tenant_id, "live", first.key_id, overlap_s=3600, by=by)
    listed = await keys.list_keys(owner, tenant_id)
    assert [key.key_id for key in listed] == [first.key_id, second.key_id]
    assert listed[0].expires_at is not None
    assert (listed[0].expires_at - listed[0].created_at).total_seconds() == 3601
    clock.advance(1_000_000)
    # A later rotation with a longer overlap does not prolong an end that was set before.
    await keys.rotate(owner, pepper, clock, tenant_id, "live", first.key_id, overlap_s=7200, by=by)
    assert (await keys.list_keys(owner, tenant_id))[0].expires_at == listed[0].expires_at
    revoked = await keys.revoke(owner, clock, tenant_id, second.key_id, by=by)
    clock.advance(5_000_000)
    assert (await keys.revoke(owner, clock, tenant_id, second.key_id, by=by)).revoked_at == revoked.revoked_at
    for call in (
        keys.rotate(owner, pepper, clock, tenant_id, "live", second.key_id, by=by),
        keys.revoke(owner, clock, tenant_id, "key_" + "0" * 24, by=by),
        keys.revoke(owner, clock, tenant_id + 1, first.key_id, by=by),
    ):
        with pytest.raises(Problem) as refused:
            await call
        assert refused.value.code == "key_not_found"
    await database.close()


# ---------------------------------------------------------------- the ways to PostgreSQL and Redis


async def test_a_database_that_is_away_is_a_problem_of_its_own(settings: Settings) -> None:
    database = await Database.open(settings.replace(database_url="postgresql://a:b@127.0.0.1:1/x"), "edge")
    with pytest.raises(DatabaseUnavailable):
        async with database.tenant(1):
            pass
    await database.close()


async def test_a_wrong_statement_is_not_a_connection_failure(settings: Settings) -> None:
    database = await Database.open(settings, "edge", size=1)
    for _ in range(2):
        with pytest.raises(asyncpg.UndefinedTableError):
            async with database.tenant(1) as connection:
                await connection.execute("SELECT * FROM nowhere")
    with pytest.raises(ZeroDivisionError):
        async with database.tenant(1) as connection:
            raise ZeroDivisionError
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT current_tenant()") is None
    await database.close()


async def test_only_who_asks_for_it_does_not_wait_for_the_disk(settings: Settings) -> None:
    """Proves: durability is given up for one transaction, which sees its tenant nevertheless, and is back in the connection's next."""
    database = await Database.open(settings, "edge", size=1)
    query = "SELECT current_tenant(), current_setting('synchronous_commit')"
    for durable in (False, True):
        async with database.tenant(2, durable=durable) as connection:
            assert tuple(await connection.fetchrow(query) or ()) == (2, "on" if durable else "off")
        async with database.transaction(durable=durable) as connection:
            assert tuple(await connection.fetchrow(query) or ()) == (None, "on" if durable else "off")
    await database.close()


async def test_pipelines_of_many_tasks_get_their_own_answers(settings: Settings) -> None:
    pipe = RedisPipe(settings.redis_url)

    async def one(number: int) -> None:
        packed = pack("SET", f"k{number}", number) + pack("GET", f"k{number}") + pack("INCR", "text") + pack("ECHO", "x" * number)
        answers = await pipe.send(packed, 4)
        assert answers[:2] == [b"OK", str(number).encode()]
        assert isinstance(answers[2], ResponseError)
        assert answers[3] == b"x" * number

    await pipe.command("SET", "text", "no number")
    await asyncio.gather(*(one(number) for number in range(200)))
    # A call that gives up leaves its answers to nobody else.
    for _ in range(20):
        given_up = asyncio.create_task(pipe.send(pack("GET", "text"), 1))
        await asyncio.sleep(0)
        given_up.cancel()
    await asyncio.gather(*(one(number) for number in range(50)))
    await pipe.close()


async def test_a_redis_that_is_away_or_hangs_is_a_problem_of_its_own(settings: Settings) -> None:
    away = RedisPipe("redis://127.0.0.1:1/0")
    for _ in range(3):
        with pytest.raises(RedisUnavailable):
            await away.command("PING")
    hanging = RedisPipe(settings.redis_url, timeout_s=0.2)
    with pytest.raises(RedisUnavailable):
        await hanging.command("BLPOP", "nothing", 1)
    await asyncio.sleep(0.05)
    assert await hanging.command("PING") == b"PONG"
    await away.close()
    await hanging.close()


async def test_a_connection_that_was_closed_while_idle_is_made_again(settings: Settings) -> None:
    pipe, queue, other = RedisPipe(settings.redis_url), RedisQueue(settings.redis_url), RedisPipe(settings.redis_url)
    for _ in range(3):
        assert await pipe.command("PING") == b"PONG"
        assert await queue.pop("nothing", side="LEFT", count=1, wait_s=0.01) == []
        await other.command("CLIENT", "KILL", "SKIPME", "yes", "TYPE", "normal")
        await asyncio.sleep(0.05)
    waiting = [asyncio.create_task(pipe.command("BLPOP", "nothing", 5)), *(asyncio.create_task(pipe.command("PING")) for _ in range(3))]
    await asyncio.sleep(0.05)
    await other.command("CLIENT", "KILL", "SKIPME", "yes", "TYPE", "normal")
    assert all(isinstance(failure, RedisUnavailable) for failure in await asyncio.gather(*waiting, return_exceptions=True))
    assert await pipe.command("ECHO", "again") == b"again"
    for connection in (pipe, queue, other):
        await connection.close()


async def test_a_queue_waits_and_keeps_order(settings: Settings) -> None:
    pipe, queue = RedisPipe(settings.redis_url), RedisQueue(settings.redis_url)
    assert await queue.pop("line", side="RIGHT", count=10, wait_s=0.05) == []
    waiting = asyncio.create_task(queue.pop("line", side="RIGHT", count=10, wait_s=5))
    await asyncio.sleep(0.05)
    await pipe.command("LPUSH", "line", b"\x00one")
    assert await waiting == [b"\x00one"]
    await pipe.command("LPUSH", "line", "1", "2", "3")
    assert await queue.pop("line", side="RIGHT", count=2, wait_s=1) == [b"1", b"2"]
    cancelled = asyncio.create_task(queue.pop("other", side="RIGHT", count=1, wait_s=5))
    await asyncio.sleep(0.05)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert await queue.pop("line", side="RIGHT", count=2, wait_s=1) == [b"3"]
    await pipe.close()
    await queue.close()
