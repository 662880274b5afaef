"""Writes one group of the engine into PostgreSQL, and says what it means when that fails.

A commit is one transaction: COPYs, updates of holds, grants and customers, and last the partition's own row, which must be at
the commit before and in our epoch. What the database says decides: nothing here guesses an outcome.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import date, timedelta
from typing import TYPE_CHECKING, cast

import asyncpg

from buffmoney._core import CopyStream, Group
from buffmoney.base import queries
from buffmoney.base.clock import to_datetime
from buffmoney.base.errors import DatabaseUnavailable

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

SQL = queries.load("buffmoney.metering", "core.sql")
COPY_CHUNK_BYTES = 256 * 1024
IDENTITY_TABLES = ("wallet_commands", "usage_voids")
"""How the names of tables begin whose unique violation means that something was sent before."""


class CommitFault(Exception):
    """A group is not known to be committed. `reason` is a label for logs and metrics."""

    reason = "failed"


class SentBefore(CommitFault):
    """A command or void of the group is already stored. Nothing of the group was written."""

    reason = "sent_before"


class LeaseLost(CommitFault):
    """Another core has the partition, or has had it. Nothing of the group was written."""

    reason = "lease_lost"


class OutcomeUnknown(CommitFault):
    """The connection was lost; the group may or may not be committed."""

    reason = "outcome_unknown"


class StorageRefuses(CommitFault):
    """Disk full, read-only, out of connections: the same group may succeed later. Nothing of it was written."""

    reason = "storage_refuses"


class GroupRefused(CommitFault):
    """The database will never take this group as it is. Nothing of it was written."""

    reason = "group_refused"


class EarlierGroupFailed(CommitFault):
    """The group before was not committed, so this one was rolled back."""

    reason = "earlier_group_failed"


def classify(failure: BaseException) -> CommitFault:
    """What an exception of the driver means for the group that was being written."""
    text = f"{type(failure).__name__}: {failure}"
    match failure:
        case CommitFault():
            return failure
        case asyncpg.UniqueViolationError() if str(failure.table_name).startswith(IDENTITY_TABLES):
            return SentBefore(text)
        case asyncpg.UniqueViolationError() | asyncpg.SerializationError() | asyncpg.DeadlockDetectedError():
            # The keys of postings and commits are the last arbiter between two writers. Of event keys the engine knows all: where one is
            # stored that it does not know, it must start again from the database.
            return LeaseLost(text)
        case DatabaseUnavailable() | OSError() | TimeoutError() | asyncio.IncompleteReadError() | asyncpg.InterfaceError():
            return OutcomeUnknown(text)
        case asyncpg.PostgresConnectionError() | asyncpg.OperatorInterventionError() | asyncpg.exceptions.InternalClientError():
            return OutcomeUnknown(text)
        case (
            asyncpg.InsufficientResourcesError()
            | asyncpg.ReadOnlySQLTransactionError()
            | asyncpg.PostgresSystemError()
            | asyncpg.LockNotAvailableError()
        ):
            return StorageRefuses(text)
        case asyncpg.PostgresError():
            return GroupRefused(text)
        case _:
            return OutcomeUnknown(text)


class LeafPartitions:
    """The day partitions of `usage_events` that are known to exist. COPY straight into one saves routing every row."""

    def __init__(self) -> None:
        self._names: dict[date, str] = {}

    async def name(self, connection: Connection, day: date) -> str:
        """The table for events accepted on a day of UTC; makes it if need be."""
        if day not in self._names:
            self._names[day] = str(await connection.fetchval(SQL["ensure_partition"], day))
        return self._names[day]

    async def prepare(self, connection: Connection, now_us: int) -> None:
        """Makes sure of today's and tomorrow's, so that midnight costs nothing."""
        today = to_datetime(now_us).date()
        for day in (today, today + timedelta(days=1)):
            await self.name(connection, day)


async def _chunks(stream: CopyStream) -> AsyncIterator[bytes]:
    # A buffer, and so are its parts: nothing is copied before the driver does. Types before Python 3.12 have no word for it.
    data = cast("bytes", memoryview(cast("bytes", stream)))
    for at in range(0, len(data), COPY_CHUNK_BYTES):
        yield data[at : at + COPY_CHUNK_BYTES]


async def write(connection: Connection, group: Group, events_table: str) -> None:
    """Opens the group's transaction and copies its rows. Does not depend on the group before being committed."""
    await connection.execute("BEGIN")
    leaves = {"usage_events": events_table, "event_keys": f"event_keys_{group.key_table}"}
    for table, columns, stream in group.copies:
        target = leaves.get(table, table)
        await connection.copy_to_table(target, source=_chunks(stream), columns=columns, format="binary")


async def finish(connection: Connection, group: Group, partition_id: int, epoch: int) -> None:
    """Updates what is not append-only and commits. The group before must be committed: these rows may be its."""
    await _update(connection, group)
    status = await connection.execute(SQL["advance_partition"], partition_id, epoch, group.commit_seq, group.head, group.head_mac)
    if status != "UPDATE 1":
        raise LeaseLost(f"partition {partition_id} is no longer at commit {group.commit_seq - 1} of epoch {epoch}")
    await connection.execute("COMMIT")


async def _update(connection: Connection, group: Group) -> None:
    expected: list[tuple[str, int, str]] = []
    if group.closed_holds:
        tenants, holds, statuses, captured = zip(*group.closed_holds, strict=True)
        status = await connection.execute(SQL["close_holds"], tenants, [hold.hex() for hold in holds], statuses, captured, group.commit_id)
        expected.append(("holds", len(holds), status))
    if group.expired_grants:
        tenants, grants = zip(*group.expired_grants, strict=True)
        await connection.execute(SQL["expire_grants"], tenants, [grant.hex() for grant in grants], group.commit_id)
    if group.configured:
        tenants, accounts, limits, thresholds = zip(*group.configured, strict=True)
        status = await connection.execute(SQL["configure_customers"], tenants, accounts, limits, thresholds)
        expected.append(("customers", len(set(zip(tenants, accounts, strict=True))), status))
    for table, count, status in expected:
        if status != f"UPDATE {count}":
            # Memory and database differ. The engine must start again from the database.
            raise LeaseLost(f"{table}: {status} where {count} rows were to change")


async def check_epoch(connection: Connection, partition_id: int, epoch: int) -> None:
    """For a group that writes nothing. Raises LeaseLost if the partition has changed hands."""
    found = await connection.fetchval(SQL["check_epoch"], partition_id)
    if found != epoch:
        raise LeaseLost(f"partition {partition_id} is at epoch {found}, not {epoch}")


async def abandon(connection: Connection) -> bool:
    """Rolls back what the connection was doing. False: the connection is of no further use."""
    try:
        if connection.is_closed():
            return False
        async with asyncio.timeout(5):
            await connection.execute("ROLLBACK")
    except (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.PostgresError):
        connection.terminate()
        return False
    return True
