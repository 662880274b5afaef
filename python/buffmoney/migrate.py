"""Brings a database to the schema of this version: the processes' roles, the numbered migrations, the partitions.

Everything is idempotent and under one advisory lock, so any number of machines may run it at once. A crash leaves whole migrations
only: each is applied in one transaction together with its row in `schema_migrations`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from buffmoney.audit import log
from buffmoney.base.clock import Clock, SystemClock, to_datetime
from buffmoney.base.config import ROLES, Settings
from buffmoney.base.database import connect
from buffmoney.ledger import cash

if TYPE_CHECKING:
    from buffmoney.base.database import Connection

MIGRATIONS = Path(__file__).parent / "migrations"
LOCK = 0x6275_6666_6D6F  # "buffmo": one migration at a time on a database
_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql", re.ASCII)


class MigrationError(RuntimeError):
    """The database cannot be brought to this version. The message says why."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file."""

    version: int
    name: str
    sql: str


@dataclass(frozen=True, slots=True)
class Migrated:
    """What was done. version: the schema's version now; applied: names of what this run applied; partitions: how many there are."""

    version: int
    applied: tuple[str, ...]
    partitions: int


def migrations(directory: Path = MIGRATIONS) -> tuple[Migration, ...]:
    """The numbered files in their order. Raises MigrationError if a number is missing or used twice."""
    found = []
    for path in sorted(directory.glob("*.sql")):
        match = _FILE.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"{path.name} is not named like 0001_what_it_does.sql")
        found.append(Migration(int(match[1]), match[2], path.read_text(encoding="utf-8")))
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise MigrationError(f"the migrations in {directory} are not numbered 0001, 0002, … without a gap")
    return tuple(found)


async def migrate(settings: Settings, *, partitions: int = 1, clock: Clock | None = None) -> Migrated:
    """Brings the database of `settings.database_url` to this version. Never takes anything away.

    partitions: how many there are to be at least. Raises MigrationError, and DatabaseUnavailable.
    """
    connection = await connect(settings, None, name="buffmoney migrate")
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
        await connection.execute("SET client_min_messages = warning")
        await _make_roles(connection, settings)
        applied = await _apply(connection, log.Author.system(settings, clock or SystemClock(), "migrate"))
        count = await _make_partitions(connection, partitions)
        await _make_usage_partitions(connection, clock or SystemClock())
        return Migrated(len(migrations()), tuple(applied), count)
    finally:
        await connection.close()


async def pending(settings: Settings) -> tuple[str, ...]:
    """Names of migrations that the database does not have yet. Raises DatabaseUnavailable."""
    connection = await connect(settings, None, name="buffmoney migrate")
    try:
        done = await _applied(connection)
    finally:
        await connection.close()
    return tuple(migration.name for migration in migrations() if migration.version not in done)


async def _make_roles(connection: Connection, settings: Settings) -> None:
    """The three roles, with the passwords that derive from the secret. Only the core may pass row security: COPY cannot run under it."""
    for role in ROLES:
        name = f"buffmoney_{role}"
        bypass = "BYPASSRLS" if role == "core" else "NOBYPASSRLS"
        rights = f"LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION {bypass}"
        async with connection.transaction():
            exists = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", name)
            # The password is hexadecimal digits that we derived, so it can stand in the statement, which takes no parameters.
            verb = "ALTER" if exists else "CREATE"
            await connection.execute(f"{verb} ROLE {name} {rights} PASSWORD '{settings.role_password(role)}'")


async def _applied(connection: Connection) -> dict[int, str]:
    if await connection.fetchval("SELECT to_regclass('public.schema_migrations')") is None:
        return {}
    return {row["version"]: row["name"] for row in await connection.fetch("SELECT version, name FROM public.schema_migrations")}


async def _apply(connection: Connection, by: log.Author) -> list[str]:
    known = migrations()
    done = await _applied(connection)
    newer = sorted(version for version in done if version > len(known))
    if newer:
        raise MigrationError(
            f"the database is at schema version {newer[-1]}, newer than this program's {len(known)}: use a newer BuffMoney"
        )
    applied = []
    for migration in known:
        if migration.version in done:
            if done[migration.version] != migration.name:
                raise MigrationError(
                    f"the database has migration {migration.version} as {done[migration.version]!r}, this program as {migration.name!r}"
                )
            continue
        async with connection.transaction():
            if migration.version == 1:
                await _close_public(connection)
            await connection.execute(migration.sql)
            # The chains' hashes and signatures are made here: PostgreSQL has no blake3.
            if migration.name == "audit_log":
                await log.begin_where_missing(connection, by)
            if migration.name == "cash_book":
                await cash.begin_where_missing(connection, by)
            await connection.execute("INSERT INTO schema_migrations (version, name) VALUES ($1, $2)", migration.version, migration.name)
        applied.append(migration.name)
    return applied


async def _close_public(connection: Connection) -> None:
    """Nobody gets anything by being anybody: what a role may do is what the migrations grant it."""
    database = await connection.fetchval("SELECT quote_ident(current_database())")
    await connection.execute(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")
    await connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    for role in ROLES:
        await connection.execute(f"GRANT CONNECT ON DATABASE {database} TO buffmoney_{role}")


async def _make_partitions(connection: Connection, count: int) -> int:
    async with connection.transaction():
        await connection.execute(
            "INSERT INTO partitions (partition_id) SELECT generate_series(0, $1::integer - 1) ON CONFLICT DO NOTHING", count
        )
        await connection.execute(
            "INSERT INTO rollup_progress (partition_id, commit_seq) SELECT partition_id, 0 FROM partitions ON CONFLICT DO NOTHING"
        )
        total: int = await connection.fetchval("SELECT count(*)::integer FROM partitions")
    return total


async def _make_usage_partitions(connection: Connection, clock: Clock) -> None:
    """Today's and tomorrow's, so that the first batch after midnight does not wait for one."""
    today = to_datetime(clock.now_us()).date()
    for day in (today, today + timedelta(days=1)):
        await connection.execute("SELECT ensure_usage_partition($1)", day)
