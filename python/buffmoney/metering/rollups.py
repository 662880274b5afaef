"""Roll-ups: usage in quarter hours of UTC by customer, metric and dimensions, so that reading a month does not read every event.
A voided event is taken out of its quarter hour again.

They follow the commits at a distance. Whoever reads usage adds the events and voids after `rollup_progress` in the same snapshot, so
the distance never shows; it only leaves the machine to ingest. Progress and rows change in one transaction: a crash repeats
nothing and skips nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TYPE_CHECKING

import asyncpg

from buffmoney.base import queries, telemetry
from buffmoney.base.database import Database
from buffmoney.base.errors import DatabaseUnavailable
from buffmoney.ledger.accounts import commit_id
from buffmoney.metering import metrics

if TYPE_CHECKING:
    from buffmoney.base.database import Connection

SQL = queries.load("buffmoney.metering", "rollups.sql")
CHUNK_EVENTS = 500_000
"""A tail this long is rolled up, and in pieces of this size: the more events share a row, the less each costs."""
REST = 1.0
"""After each piece it rests this many times as long as the piece took."""
LONGEST_REST_S = 2.0
PATIENCE = timedelta(seconds=10)
"""A shorter tail waits until its oldest commit is this old."""
TICK_S = 2.0

log = telemetry.logger(__name__)


async def roll_up(database: Database, partition_id: int, *, patience: timedelta = PATIENCE) -> int:
    """Rolls up one chunk of a partition if one is due. Returns its events; 0 when nothing was due. Raises DatabaseUnavailable."""
    async with _derived(database) as connection:
        progress = await connection.fetchval(SQL["claim_progress"], partition_id)
        if progress is None:
            return 0
        chunk = await connection.fetchrow(SQL["next_chunk"], partition_id, progress, CHUNK_EVENTS)
        if chunk is None or chunk["last_seq"] is None or (chunk["events"] < CHUNK_EVENTS and chunk["age"] < patience):
            return 0
        # Statistics lag behind a table that grows this fast: reading by index and adding up in a hash table is right whatever they say.
        await connection.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; SET LOCAL work_mem = '64MB'")
        await connection.execute(SQL["roll_up"], commit_id(partition_id, progress), chunk["last_id"], chunk["first_at"], chunk["last_at"])
        await connection.execute(SQL["advance_progress"], partition_id, chunk["last_seq"])
        return int(chunk["events"])


@contextlib.asynccontextmanager
async def _derived(database: Database) -> AsyncIterator[Connection]:
    """A transaction that a crash may undo as a whole, since its work is done again from the ledger. It does not wait for the disk: at the
    lowest priority it would keep the lock on PostgreSQL's log long after the disk has answered, and every commit of a core behind it."""
    async with database.transaction(durable=False) as connection:
        yield connection


async def keep_up(database: Database, stopping: asyncio.Event) -> None:
    """Rolls up every partition until `stopping` is set. Outages of the database are waited out."""
    while not stopping.is_set():
        try:
            await _summarize(database)
            for partition_id in await _partitions(database):
                while await _rolled_up_and_rested(database, partition_id, stopping):
                    pass
                async with database.connection() as connection:
                    metrics.ROLLUP_LAG.labels(str(partition_id)).set(await connection.fetchval(SQL["lag"], partition_id) or 0)
        except (DatabaseUnavailable, asyncpg.PostgresError, OSError) as failure:
            metrics.ROLLUP_FAILURES.inc()
            log.warning("roll_up_failed", detail=f"{type(failure).__name__}: {failure}")
        try:
            await asyncio.wait_for(stopping.wait(), TICK_S)
        except TimeoutError:
            continue


async def _rolled_up_and_rested(database: Database, partition_id: int, stopping: asyncio.Event) -> bool:
    """False when nothing more is due, or it is time to stop."""
    began = time.monotonic()
    events = await roll_up(database, partition_id)
    if events:
        await _summarize(database)
    rest_s = min(REST * (time.monotonic() - began), LONGEST_REST_S)
    if events and not stopping.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), rest_s)
    return bool(events) and not stopping.is_set()


async def _summarize(database: Database) -> None:
    # What is not in the block index yet is read by every piece, so it must not pile up behind a long tail.
    async with _derived(database) as connection:
        await connection.execute(SQL["summarize"])


async def _partitions(database: Database) -> list[int]:
    async with database.connection() as connection:
        return [row["partition_id"] for row in await connection.fetch(SQL["partitions"])]
