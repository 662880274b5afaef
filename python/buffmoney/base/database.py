"""The way to PostgreSQL: one pool for a role, and transactions that see one tenant.

Connection failures become `DatabaseUnavailable` (503 database_unavailable), whatever layer of the driver they come from.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Literal, cast

import asyncpg

from buffmoney.base.config import Role, Settings
from buffmoney.base.errors import DatabaseUnavailable
from buffmoney.base.priority import step_back

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

CONNECT_TIMEOUT_S = 3.0
STATEMENT_TIMEOUT_S = 15.0

Isolation = Literal["read_committed", "repeatable_read", "serializable"]

CONNECTION_FAILURES = (
    OSError,
    asyncio.TimeoutError,
    asyncio.IncompleteReadError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.QueryCanceledError,
    asyncpg.DiskFullError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.exceptions.InternalClientError,
)
"""What the driver raises when the server is away, starting, stopping, full or hanging, and not when a statement is wrong."""


_FOR_TENANT = "SELECT set_config('buffmoney.tenant_id', $1, true)"
_FOR_TENANT_AND_MEMORY = f"{_FOR_TENANT}, set_config('synchronous_commit', 'off', true)"
"""both settings in one round trip"""


@contextmanager
def connection_failures() -> Iterator[None]:
    """Turns every connection failure inside into DatabaseUnavailable."""
    try:
        yield
    except CONNECTION_FAILURES as failure:
        raise DatabaseUnavailable() from failure


async def connect(
    settings: Settings,
    role: Role | None,
    *,
    name: str = "buffmoney",
    statement_timeout_s: float | None = None,
    niceness: int = 0,
) -> Connection:
    """One connection outside of any pool. role None: the schema's owner. niceness: see `priority.step_back`. Raises DatabaseUnavailable."""
    url = settings.database_url if role is None else settings.role_url(role)
    server_settings = {"application_name": name, "timezone": "UTC"}
    if statement_timeout_s is not None:
        server_settings["statement_timeout"] = str(int(statement_timeout_s * 1_000))
    with connection_failures():
        connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S, server_settings=server_settings)
    if niceness and role is not None:
        step_back(connection.get_server_pid(), role, niceness)
    return connection


class Database:
    """A pool of connections of one role. Opens no connection before one is needed, so a process can start before PostgreSQL does."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], acquire_timeout_s: float) -> None:
        self.pool = pool
        self._acquire_timeout_s = acquire_timeout_s

    @classmethod
    async def open(
        cls,
        settings: Settings,
        role: Role | None,
        *,
        size: int = 10,
        statement_timeout_s: float = STATEMENT_TIMEOUT_S,
        acquire_timeout_s: float = 5.0,
        niceness: int = 0,
        name: str | None = None,
    ) -> Database:
        """role None: the schema's owner. niceness: see `priority.step_back`. name: what the server shows of it; by its role if None."""

        async def begin(connection: Connection) -> None:
            if niceness and role is not None:
                step_back(connection.get_server_pid(), role, niceness)

        pool = await asyncpg.create_pool(
            settings.database_url if role is None else settings.role_url(role),
            min_size=0,
            max_size=size,
            timeout=CONNECT_TIMEOUT_S,
            max_inactive_connection_lifetime=60.0,
            # The server gives up a little before the client, so that it is the statement that ends and not the connection.
            command_timeout=statement_timeout_s + 1,
            init=begin,
            reset=_reset,
            server_settings={
                "application_name": name or f"buffmoney {role or 'owner'}",
                "timezone": "UTC",
                "statement_timeout": str(int(statement_timeout_s * 1_000)),
                "idle_in_transaction_session_timeout": str(int(statement_timeout_s * 2_000)),
            },
        )
        return cls(pool, acquire_timeout_s)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection without a transaction and without a tenant. Raises DatabaseUnavailable."""
        with connection_failures():
            async with self.pool.acquire(timeout=self._acquire_timeout_s) as connection:
                # A proxy that forwards everything, so to everybody else it is a connection like any other.
                yield cast("Connection", connection)

    @asynccontextmanager
    async def transaction(
        self, *, isolation: Isolation = "read_committed", readonly: bool = False, durable: bool = True
    ) -> AsyncIterator[Connection]:
        """A transaction without a tenant. Commits at the end, rolls back on any exception. Raises DatabaseUnavailable.

        durable False: its commit does not wait for the disk, so a crash of PostgreSQL may take it back.
        """
        async with self.connection() as connection, connection.transaction(isolation=isolation, readonly=readonly):
            if not durable:
                await connection.execute("SET LOCAL synchronous_commit = off")
            yield connection

    @asynccontextmanager
    async def tenant(
        self, tenant_id: int, *, isolation: Isolation = "read_committed", readonly: bool = False, durable: bool = True
    ) -> AsyncIterator[Connection]:
        """A transaction that sees the rows of one tenant only: row-level security reads `buffmoney.tenant_id`, set for this transaction."""
        async with self.transaction(isolation=isolation, readonly=readonly) as connection:
            await connection.execute(_FOR_TENANT if durable else _FOR_TENANT_AND_MEMORY, str(tenant_id))
            yield connection

    async def close(self) -> None:
        """Waits a moment for connections in use, then closes them all."""
        try:
            async with asyncio.timeout(3):
                await self.pool.close()
        except (TimeoutError, OSError, asyncpg.InterfaceError, asyncpg.PostgresError):
            self.pool.terminate()


async def _reset(connection: Connection) -> None:
    # Nothing here sets session state (the tenant is local to its transaction), so the usual round trip of a reset is saved.
    if connection.is_in_transaction():
        await connection.reset()
