"""The tables that event keys lie in: found when the lease is taken, opened and closed while it is held.

One table is open and takes the keys of new events. The engine has all of its keys in memory, so it needs no index; when the lease is
taken they are read. When it is full, the loop turns to the next one, which was made ahead of that, and the closed one gets its index. Of
closed tables the engine holds filters, each over the tables of a span (32 bits a key, fewer when memory is full), whose no is exact;
whatever a filter does not rule out is looked up in the span's tables before the event is decided. So dedupe is exact and for good, and no
commit enters a key into an index.

A crash leaves at most one closed table without its index, which the next core makes before it begins. The tables of the newest span, whose
filter is not stored yet, are read by whoever takes the lease. A core that has lost it cannot store a filter, which could lack its
successor's keys; what it may still do to an index harms nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncpg

from buffmoney._core import Engine
from buffmoney.base import queries, telemetry
from buffmoney.base.config import Settings
from buffmoney.metering.lease import Lease

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

SQL = queries.load("buffmoney.metering", "core.sql")
TABLES_IN_A_SPAN = 8
"""at first: what the lease's next holder reads, two million keys, takes it a second"""
FEW_SPANS = 32
"""Spans grow with what is stored, so that there are no more than about this many: each is one more to look into for every event."""
FEW_TABLES = 512
"""So do tables, for the sake of statements that ask all of them where a key is."""
FEED_BYTES = 1 << 20

log = telemetry.logger(__name__)


class KeyTwiceError(Exception):
    """A table holds a key twice: an event was taken a second time. Somebody has to look at this ledger before more is written."""


@dataclass(slots=True)
class KeyTables:
    """Those of one partition, for one tenure. What takes an engine is called by the loop alone; the rest are tasks beside it."""

    lease: Lease
    stored: int = 0
    """keys in closed tables, about"""
    next: int | None = None
    """a table that was made and is still empty"""
    nearly_full: bool = False
    span_from: int = 0
    """the first table of the newest span"""
    closed: list[tuple[int, int, bytes | None, int | None]] = field(default_factory=list)
    """(table, keys, filter of the span that ended with it, the span's first table), to be indexed and stored"""

    async def begin(self, connection: Connection, engine: Engine, settings: Settings) -> None:
        """Tells the engine which tables there are and what those of the newest span have. Reads stored filters as far as memory is allowed
        for them, the newest first. Raises KeyTwiceError."""
        engine.reserve_key_filters(settings.key_filter_bytes)
        rows = await connection.fetch(SQL["key_tables"], self.lease.partition_id)
        self.stored = sum(row["keys"] or row["capacity"] for row in rows)
        spanned: set[int] = set()
        room = True
        for last in rows:
            if last["filtered"]:
                tables = [row["key_table"] for row in rows if last["span_from"] <= row["key_table"] <= last["key_table"]]
                stored = await connection.fetchval(SQL["key_filter"], last["key_table"]) if room else None
                room = engine.add_key_span(tables, stored)
                spanned.update(tables)
        newest = [row for row in rows if row["key_table"] not in spanned]
        engine.begin_key_span(max(self._span(settings), sum(row["keys"] or row["capacity"] for row in newest)))
        opened = newest.pop(0)["key_table"] if newest and not newest[0]["closed"] else await self._make(connection, settings)
        for row in newest:
            if not row["indexed"]:
                await self._index(connection, row["key_table"])
            engine.add_closed_key_table(row["key_table"])
            await _read(connection, row["key_table"], engine.feed_closed_key_table)
        engine.open_key_table(opened, self._capacity(settings))
        await _read(connection, opened, engine.feed_key_table)
        self.span_from = min([opened, *(row["key_table"] for row in newest)])

    async def _make(self, connection: Connection, settings: Settings) -> int:
        return int(await connection.fetchval(SQL["open_key_table"], self.lease.partition_id, self._capacity(settings)))

    def _capacity(self, settings: Settings) -> int:
        return max(settings.keys_per_table, self.stored // FEW_TABLES)

    def _span(self, settings: Settings) -> int:
        return max(TABLES_IN_A_SPAN * self._capacity(settings), self.stored // FEW_SPANS)

    # ------------------------------------------------------------------ the loop's part

    def turn(self, engine: Engine, settings: Settings, *, groups_open: bool) -> bool:
        """Between two groups: opens the next table if this one is full. False: the groups on their way must land before another begins."""
        keys, capacity = engine.key_table_fill
        self.nearly_full = 8 * keys >= 7 * capacity
        if keys < capacity or self.next is None or self.closed:
            # Keys of the table closed before leave memory when this one is closed, so that one must have its index by then.
            return True
        if groups_open:
            # There may be a moment without any by itself.
            return 16 * keys < 17 * capacity
        turned = engine.turn_key_table(self.next, self._capacity(settings), self._span(settings))
        if turned is not None:
            number, keys, key_filter = turned
            log.info("key_table_closed", partition=self.lease.partition_id, table=number, keys=keys)
            self.closed.append((number, keys, key_filter, self.span_from if key_filter else None))
            self.stored += keys
            self.span_from = self.next if key_filter else self.span_from
            self.next = None
        return True

    # ------------------------------------------------------------------ beside the loop

    async def tend(self, chores: Connection, settings: Settings) -> None:
        """Gives closed tables their index, stores filters, and makes the next table when the open one is nearly full."""
        if self.nearly_full and self.next is None:
            self.next = await self._make(chores, settings)
        while self.closed:
            await self._index(chores, self.closed[0][0])
            status = await chores.execute(SQL["close_key_table"], self.lease.partition_id, self.lease.epoch, *self.closed[0])
            if status != "UPDATE 1":
                log.warning("key_table_not_closed", partition=self.lease.partition_id, table=self.closed[0][0])
            self.closed.pop(0)

    async def _index(self, connection: Connection, number: int) -> None:
        try:
            await connection.execute(SQL["index_key_table"], number)
        except asyncpg.UniqueViolationError as twice:
            raise KeyTwiceError(f"event_keys_{number}: {twice.detail}") from twice


async def _read(connection: Connection, number: int, feed: Callable[[bytes], int]) -> None:
    """Reads a table in chunks of a megabyte."""
    pieces: list[bytes] = []
    size = 0

    async def flush() -> None:
        nonlocal size
        data = b"".join(pieces)
        pieces.clear()
        size = 0
        await asyncio.to_thread(feed, data)

    async def take(piece: bytes) -> None:
        nonlocal size
        pieces.append(piece)
        size += len(piece)
        if size >= FEED_BYTES:
            await flush()

    output: Any = take
    await connection.copy_from_table(f"event_keys_{number}", columns=["key_hash", "fingerprint"], output=output, format="binary")
    await flush()
