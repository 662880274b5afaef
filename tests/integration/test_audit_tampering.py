"""The audit log against those who own the database, against each other's transactions, and against crashes."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from buffmoney.audit import chain, log
from buffmoney.audit.verify import NotedHead, Report, read_noted, verify, verify_on
from buffmoney.base.clock import FixedClock, SystemClock
from buffmoney.base.config import Settings
from buffmoney.base.database import Database, connect
from buffmoney.merchants import keys, merchants
from buffmoney.migrate import migrate
from tests.integration.partition import Room, room, servers
from tests.product import COMMAND, SCRATCH

CHANGES = 6
"""entries of the room's tenant beside the one that begins its log"""
ROLES = ("edge", "core", "worker")
LAST = CHANGES + 1

TAMPERING = {
    "an actor is changed": ("UPDATE audit_log SET actor = 'nobody' WHERE tenant_id = $1 AND seq = 3", "audit_chain", 3),
    "a time is changed": ("UPDATE audit_log SET at = at + interval '1 us' WHERE tenant_id = $1 AND seq = 3", "audit_chain", 3),
    "what came after is changed": (
        "UPDATE audit_log SET after = jsonb_set(after, '{name}', '\"other\"') WHERE tenant_id = $1 AND seq = 4",
        "audit_chain",
        4,
    ),
    "what came after is taken out": (
        "UPDATE audit_log SET before = after, after = NULL WHERE tenant_id = $1 AND seq = 4",
        "audit_chain",
        4,
    ),
    "a number too long for us is put in": (
        "UPDATE audit_log SET after = jsonb_build_object('n', repeat('9', 5000)::numeric) WHERE tenant_id = $1 AND seq = 4",
        "audit_chain",
        4,
    ),
    "a request is changed": (
        "UPDATE audit_log SET request_id = 'req_' || repeat('0', 32) WHERE tenant_id = $1 AND seq = 2",
        "audit_chain",
        2,
    ),
    "a hash is changed": ("UPDATE audit_log SET chain_hash = sha256('x') WHERE tenant_id = $1 AND seq = 3", "audit_chain", 3),
    "the newest entry is changed": (f"UPDATE audit_log SET actor = 'x' WHERE tenant_id = $1 AND seq = {LAST}", "audit_chain", LAST),
    "an entry is deleted": ("DELETE FROM audit_log WHERE tenant_id = $1 AND seq = 3", "audit_gap", 4),
    "the first entry is deleted": ("DELETE FROM audit_log WHERE tenant_id = $1 AND seq = 1", "audit_gap", 2),
    "an entry is deleted and the others move up": (
        """WITH gone AS (DELETE FROM audit_log WHERE tenant_id = $1 AND seq = 2),
        moved AS (DELETE FROM audit_log WHERE tenant_id = $1 AND seq > 2 RETURNING *)
        INSERT INTO audit_log SELECT tenant_id, seq + 99, at, actor_kind, actor, action, object_kind, object_id, before, after, request_id,
        chain_hash FROM moved""",
        "audit_gap",
        102,
    ),
    "two entries change places": (
        """WITH moved AS (DELETE FROM audit_log WHERE tenant_id = $1 AND seq IN (3, 4) RETURNING *)
        INSERT INTO audit_log SELECT tenant_id, 1007 - seq, at, actor_kind, actor, action, object_kind, object_id, before, after,
        request_id, chain_hash FROM moved""",
        "audit_gap",
        5,
    ),
    "the tail is cut off": (f"DELETE FROM audit_log WHERE tenant_id = $1 AND seq >= {LAST - 1}", "audit_tail", LAST),
    "everything is deleted": ("DELETE FROM audit_log WHERE tenant_id = $1", "audit_tail", LAST),
    "the tail is cut off and the head moved back": (
        f"""WITH gone AS (DELETE FROM audit_log WHERE tenant_id = $1 AND seq = {LAST})
        UPDATE audit_heads SET seq = {LAST - 1}, chain_hash = (SELECT chain_hash FROM audit_log WHERE tenant_id = $1 AND seq = {LAST - 1})
        WHERE tenant_id = $1""",
        "audit_head",
        LAST - 1,
    ),
    "the log and its head are gone": (
        "WITH gone AS (DELETE FROM audit_log WHERE tenant_id = $1) DELETE FROM audit_heads WHERE tenant_id = $1",
        "audit_head",
        0,
    ),
    "a head is forged": ("UPDATE audit_heads SET mac = sha256('x') WHERE tenant_id = $1", "audit_head", LAST),
    "another tenant's head is put in place": (
        """UPDATE audit_heads h SET seq = o.seq, chain_hash = o.chain_hash, mac = o.mac FROM audit_heads o
        WHERE h.tenant_id = $1 AND o.tenant_id <> $1 AND o.seq > 0""",
        "audit_head",
        2,
    ),
}
"""what is done → the statement, the kind of difference that is found first, and at which entry"""


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    """PostgreSQL and Valkey of these tests' own."""
    home = SCRATCH / f"audit-{secrets.token_hex(4)}"
    home.mkdir(parents=True)
    try:
        with servers(home) as running:
            yield running
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
async def there(settings: Settings) -> AsyncIterator[Room]:
    """A database with the room's tenant, whose log has LAST entries, and a merchant whose tenants have two each."""
    async with room(settings) as fresh:
        by = log.Author.command_line(fresh.settings, SystemClock())
        await merchants.create(fresh.owner, fresh.settings.api_key_pepper, SystemClock(), "Another", by=by)
        for number in range(CHANGES):
            await keys.create(fresh.owner, fresh.settings.api_key_pepper, SystemClock(), fresh.tenant_id, "sandbox", f"key {number}", by=by)
        yield fresh


@pytest.fixture
async def edge(there: Room) -> AsyncIterator[Database]:
    """The edge's way to the database."""
    database = await Database.open(there.settings, "edge", size=8)
    yield database
    await database.close()


def author(there: Room) -> log.Author:
    """A key of the API."""
    settings = there.settings
    clock = FixedClock(1_774_944_000_000_000)
    return log.Author("api_key", "key_" + "0" * 24, "req_" + "0" * 32, clock, settings.audit_key, settings.cash_key)


async def write(connection: asyncpg.Connection[asyncpg.Record], there: Room, name: str = "pages") -> int:
    """An entry that nobody would miss."""
    return await log.record(connection, author(there), there.tenant_id, "metric.create", name, None, {"code": name})


async def after(there: Room, *statements: str, against: tuple[NotedHead, ...] = ()) -> Report:
    """What verify says once these statements were run past every trigger; nothing of it stays."""
    connection = await asyncpg.connect(there.settings.database_url)
    try:
        doing = connection.transaction(isolation="repeatable_read")
        await doing.start()
        await connection.execute("SET LOCAL session_replication_role = replica")
        for statement in statements:
            await connection.execute(statement, there.tenant_id)
        report = await verify_on(connection, there.settings.audit_key, against=against)
        await doing.rollback()
        return report
    finally:
        await connection.close()


# ---------------------------------------------------------------- tampering


async def test_an_untouched_log_is_whole(there: Room) -> None:
    """Proves: verify finds nothing where nothing was done, and says what it looked at."""
    report = await verify(there.settings)
    assert (report.ok, report.differences) == (True, [])
    assert (report.tenants, report.entries) == (3, LAST + 4)
    assert {head.sequence for head in report.heads} == {LAST, 2}


@pytest.mark.parametrize("what", TAMPERING)
async def test_tampering_is_found(there: Room, what: str) -> None:
    """Proves: each way of changing the log is found, at the entry where it was done and in the right tenant."""
    statement, kind, seq = TAMPERING[what]
    report = await after(there, statement)
    assert not report.ok
    first = report.differences[0]
    assert (first.what, first.tenant_id, first.sequence) == (kind, there.tenant_id, seq), report.differences
    assert {one.tenant_id for one in report.differences} == {there.tenant_id}
    assert (await verify(there.settings)).ok


@pytest.mark.parametrize("place", range(1, LAST + 1))
async def test_an_added_or_changed_entry_with_right_hashes_needs_the_secret(there: Room, place: int) -> None:
    """Proves: who rewrites an entry and every hash after it, as anybody can, still lacks the signature."""
    rows = await there.owner.fetch(
        "SELECT *, before::text AS before, after::text AS after FROM audit_log WHERE tenant_id = $1 ORDER BY seq", there.tenant_id
    )
    before, statements = chain.START, []
    for row in rows:
        fields = {name: row[name] for name in chain.Entry.__struct_fields__}
        for name in ("before", "after"):
            fields[name] = None if fields[name] is None else chain.canonical(json.loads(fields[name]))
        if row["seq"] == place:
            fields["actor"] = "nobody"
        before = chain.chained(before, chain.Entry(**fields))
        statements.append(
            f"UPDATE audit_log SET actor = '{fields['actor']}', chain_hash = '\\x{before.hex()}' "
            f"WHERE tenant_id = $1 AND seq = {row['seq']}"
        )
    forged = await after(there, *statements, f"UPDATE audit_heads SET chain_hash = '\\x{before.hex()}' WHERE tenant_id = $1")
    assert [one.what for one in forged.differences] == ["audit_head"]
    unsigned = await after(there, *statements)
    assert [(one.what, one.sequence) for one in unsigned.differences] == [("audit_tail", LAST)]


async def test_an_old_state_put_back_is_found_by_what_was_noted(there: Room, edge: Database) -> None:
    """Proves: a cut-off tail under a head that was truly signed once is found by a report that was kept elsewhere."""
    query = "SELECT seq, chain_hash, mac FROM audit_heads WHERE tenant_id = $1"
    old = await there.owner.fetchrow(query, there.tenant_id)
    assert old is not None
    async with edge.tenant(there.tenant_id) as connection:
        await write(connection, there)
    noted = tuple((await verify(there.settings)).heads)
    back = (
        f"DELETE FROM audit_log WHERE tenant_id = $1 AND seq > {old['seq']}",
        f"UPDATE audit_heads SET seq = {old['seq']}, chain_hash = '\\x{old['chain_hash'].hex()}', mac = '\\x{old['mac'].hex()}' "
        "WHERE tenant_id = $1",
    )
    assert (await after(there, *back)).ok, "the limit that is documented"
    found = await after(there, *back, against=noted)
    assert [(one.what, one.sequence) for one in found.differences] == [("audit_noted", LAST + 1)]
    # The log that went on in an honest way has what was noted.
    async with edge.tenant(there.tenant_id) as connection:
        await write(connection, there)
    assert (await verify(there.settings, against=noted)).ok
    other = [NotedHead(there.tenant_id, 2, "00" * 32)]
    assert [one.what for one in (await verify(there.settings, against=other)).differences] == ["audit_noted"]


async def test_nothing_is_written_after_a_forged_head(there: Room, edge: Database) -> None:
    """Proves: a head that is not ours is not signed over by the next change, which is refused instead."""
    await there.owner.execute("UPDATE audit_heads SET seq = seq + 1, chain_hash = sha256('x') WHERE tenant_id = $1", there.tenant_id)
    with pytest.raises(log.AuditLogBrokenError, match="not signed"):
        async with edge.tenant(there.tenant_id) as connection:
            await keys.create(connection, there.settings.api_key_pepper, SystemClock(), there.tenant_id, "sandbox", by=author(there))
    assert await there.owner.fetchval("SELECT count(*) FROM api_keys WHERE tenant_id = $1", there.tenant_id) == CHANGES
    with pytest.raises(log.AuditLogBrokenError, match="missing"):
        async with there.owner.transaction():
            await log.record(there.owner, author(there), 999_999, "metric.create", "x", None, {})


async def test_the_commands_say_so(there: Room, tmp_path: Path) -> None:
    """Proves: `audit verify` and `ledger verify` exit with 0, and with 1 once the tail is cut off or what was noted is gone."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "DATABASE_URL": there.settings.database_url,
        "REDIS_URL": there.settings.redis_url,
        "BUFFMONEY_SECRET": there.settings.secret,
        "BUFFMONEY_DATA_DIR": str(tmp_path),
    }

    async def run(*arguments: str) -> tuple[int, str, str]:
        done = await asyncio.to_thread(
            subprocess.run, [COMMAND, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, done.stdout, done.stderr

    code, whole, _ = await run("audit", "verify", "--json")
    assert (code, json.loads(whole)["ok"]) == (0, True)
    noted = tmp_path / "noted.json"
    noted.write_text(whole)
    assert (await run("audit", "verify", "--against", str(noted)))[0] == 0
    assert (await run("audit", "verify"))[1] == f"The audit log is whole: {LAST + 4} entries of 3 tenants.\n"
    code, text, _ = await run("ledger", "verify", "--json")
    assert (code, json.loads(text)["auditEntries"]) == (0, LAST + 4)

    await there.owner.execute("ALTER TABLE audit_log DISABLE TRIGGER ALL")
    await there.owner.execute("DELETE FROM audit_log WHERE tenant_id = $1 AND seq = $2", there.tenant_id, LAST)
    code, text, _ = await run("audit", "verify")
    assert code == 1
    assert f"audit_tail (tenant {there.tenant_id}, entry {LAST}): the log ends at entry {LAST - 1}, its head says {LAST}" in text
    code, text, _ = await run("audit", "verify", "--against", str(noted), "--json")
    assert (code, {one["what"] for one in json.loads(text)["differences"]}) == (1, {"audit_tail", "audit_noted"})
    code, text, _ = await run("ledger", "verify", "--json")
    report = json.loads(text)
    assert (code, report["ok"], [one["what"] for one in report["differences"]]) == (1, False, ["audit_tail"])
    for name in ("nowhere.json", __file__):
        code, _, complaint = await run("audit", "verify", "--against", name)
        assert (code, complaint.startswith("error: ")) == (1, True)


def test_a_report_that_is_none_is_refused() -> None:
    """Proves: heads are read from our own report alone."""
    for text in (b"", b"[]", b'{"heads": [{"tenantId": 1}]}', b"\xff"):
        with pytest.raises(ValueError, match="not a report"):
            read_noted(text)


# ---------------------------------------------------------------- transactions


async def test_concurrent_changes_make_one_chain(there: Room, edge: Database) -> None:
    """Proves: a hundred changes of two tenants on eight connections have numbers without gaps, and a chain that holds."""
    other = await there.owner.fetchval("SELECT min(tenant_id) FROM tenants WHERE tenant_id <> $1", there.tenant_id)

    async def change(number: int) -> None:
        tenant_id = (there.tenant_id, other)[number % 2]
        async with edge.tenant(tenant_id) as connection:
            made = await keys.create(
                connection, there.settings.api_key_pepper, SystemClock(), tenant_id, "sandbox", f"n{number}", by=author(there)
            )
            if number % 5 == 0:
                await keys.rotate(
                    connection, there.settings.api_key_pepper, SystemClock(), tenant_id, "sandbox", made.key_id, by=author(there)
                )
            if number % 7 == 0:
                raise ZeroDivisionError

    results = await asyncio.gather(*(change(number) for number in range(100)), return_exceptions=True)
    assert {type(result) for result in results} == {type(None), ZeroDivisionError}
    assert (await verify(there.settings)).ok
    for tenant_id in (there.tenant_id, other):
        numbers = [row["seq"] for row in await there.owner.fetch("SELECT seq FROM audit_log WHERE tenant_id = $1 ORDER BY 1", tenant_id)]
        assert numbers == list(range(1, len(numbers) + 1))
        made = await there.owner.fetchval("SELECT count(*) FROM api_keys WHERE tenant_id = $1", tenant_id)
        told = await there.owner.fetchval(
            "SELECT count(*) FROM audit_log l JOIN api_keys k ON k.key_id = l.object_id AND k.tenant_id = l.tenant_id "
            "WHERE l.tenant_id = $1 AND action = 'api_key.create'",
            tenant_id,
        )
        assert told == made


async def test_a_rollback_and_a_lost_connection_write_nothing(there: Room, edge: Database) -> None:
    """Proves: the change and its entry come together or not at all, whether we or the server end the transaction."""
    query = "SELECT (SELECT count(*) FROM audit_log), (SELECT count(*) FROM api_keys), (SELECT sum(seq) FROM audit_heads)"
    before = await there.owner.fetchrow(query)
    with pytest.raises(ZeroDivisionError):
        async with edge.tenant(there.tenant_id) as connection:
            await keys.create(connection, there.settings.api_key_pepper, SystemClock(), there.tenant_id, "sandbox", by=author(there))
            raise ZeroDivisionError
    assert await there.owner.fetchrow(query) == before

    connection = await connect(there.settings, "edge")
    await connection.transaction().start()
    await connection.execute("SELECT set_config('buffmoney.tenant_id', $1, true)", str(there.tenant_id))
    await keys.create(connection, there.settings.api_key_pepper, SystemClock(), there.tenant_id, "sandbox", by=author(there))
    await there.owner.execute("SELECT pg_terminate_backend($1, 5000)", connection.get_server_pid())
    assert await there.owner.fetchrow(query) == before
    async with edge.tenant(there.tenant_id) as connection:
        assert await write(connection, there) == LAST + 1
    assert (await verify(there.settings)).ok


async def test_an_entry_needs_a_transaction(there: Room) -> None:
    """Proves: who forgets the transaction is told at once."""
    with pytest.raises(AssertionError, match="transaction"):
        await write(there.owner, there)


# ---------------------------------------------------------------- privileges


@pytest.mark.parametrize("role", ROLES)
async def test_no_role_changes_what_was_written(there: Room, role: str) -> None:
    """Proves: no process may update, delete or empty the log, nor make or remove a head; only the edge writes."""
    connection = await connect(there.settings, role)  # type: ignore[arg-type]
    statements = [
        "UPDATE audit_log SET actor = 'x'",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
        "DELETE FROM audit_heads",
        "TRUNCATE audit_heads",
        "INSERT INTO audit_heads SELECT * FROM audit_heads",
        "UPDATE audit_heads SET tenant_id = 1",
        "ALTER TABLE audit_log DISABLE TRIGGER ALL",
    ]
    if role != "edge":
        statements += ["INSERT INTO audit_log SELECT * FROM audit_log", "UPDATE audit_heads SET seq = 0"]
    for statement in statements:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    await connection.close()


async def test_the_edge_sees_and_writes_one_tenant(there: Room, edge: Database) -> None:
    """Proves: row-level security shows a tenant its own entries, and refuses one under another's name."""
    other = await there.owner.fetchval("SELECT min(tenant_id) FROM tenants WHERE tenant_id <> $1", there.tenant_id)
    async with edge.tenant(there.tenant_id) as connection:
        for table in ("audit_log", "audit_heads"):
            assert {row["tenant_id"] for row in await connection.fetch(f"SELECT tenant_id FROM {table}")} == {there.tenant_id}
    with pytest.raises(log.AuditLogBrokenError):
        async with edge.tenant(there.tenant_id) as connection:
            await log.record(connection, author(there), other, "metric.create", "x", None, {})
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with edge.tenant(there.tenant_id) as connection:
            await connection.execute(
                "INSERT INTO audit_log SELECT $1, seq + 100, at, actor_kind, actor, action, object_kind, object_id, before, after, "
                "request_id, chain_hash FROM audit_log",
                other,
            )
    async with edge.connection() as connection:
        assert await connection.fetch("SELECT * FROM audit_log") == []


async def test_triggers_stop_the_owner_and_heads_do_not_go_back(there: Room, edge: Database) -> None:
    """Proves: whoever owns the tables is stopped, too; a head goes on by one entry at a time, and never back."""
    for statement in (
        "UPDATE audit_log SET actor = 'x'",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
        "DELETE FROM audit_heads",
        "TRUNCATE audit_heads",
        "UPDATE audit_heads SET seq = seq - 1",
        "UPDATE audit_heads SET seq = seq + 2",
        "UPDATE audit_heads SET mac = sha256('x')",
    ):
        with pytest.raises(asyncpg.RestrictViolationError):
            await there.owner.execute(statement)
    with pytest.raises(asyncpg.RestrictViolationError):
        async with edge.tenant(there.tenant_id) as connection:
            await connection.execute("UPDATE audit_heads SET seq = 0")


# ---------------------------------------------------------------- tenants from before


async def test_tenants_from_before_begin_their_log_with_the_migration(there: Room) -> None:
    """Proves: a database without the log gets it with a signed first entry for each tenant, by the system; again, nothing happens."""
    await there.owner.execute(
        "DROP TABLE audit_log, audit_heads; DROP FUNCTION one_entry_on(); DELETE FROM schema_migrations WHERE version = 4"
    )
    assert (await migrate(there.settings)).applied == ("audit_log",)
    assert (await migrate(there.settings)).applied == ()
    report = await verify(there.settings)
    assert (report.ok, report.tenants, report.entries) == (True, 3, 3)
    rows = await there.owner.fetch("SELECT DISTINCT seq, actor_kind, actor, action FROM audit_log")
    assert [tuple(row) for row in rows] == [(1, "system", "migrate", "audit_log.begin")]
