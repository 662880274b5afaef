"""The tables that event keys lie in: found when the lease is taken, opened and closed while it is held.

One table is open and takes the keys of new events; its primary key finds what it has already. When it is full, the loop turns to the
next one, which was made ahead of that. Of closed tables the engine holds a filter (16 bits a key), whose no is exact; whatever it does not
rule out is looked up before the event is decided. So dedupe is exact and for good, while the index that every new key must enter
stays small.

A crash leaves at most a closed table without its filter: the next core reads the table and makes it, and looks up every key in that table
until then. A core that has lost its lease cannot store a filter, which could lack its successor's keys.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncpg

from buffmoney._core import Engine, KeyFilter
from buffmoney.base import queries, telemetry
from buffmoney.base.config import Settings
from buffmoney.base.database import connect
from buffmoney.base.priority import BULK
from buffmoney.metering.lease import Lease

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

SQL = queries.load("buffmoney.metering", "core.sql")
MOST_TABLES = 32
"""Tables grow with what is stored, so that there are never many more than this: each is one more to look into."""
FEED_BYTES = 1 << 20

log = telemetry.logger(__name__)


@dataclass(slots=True)
class KeyTables:
    """Those of one partition, for one tenure. What takes an engine is called by the loop alone; the rest are tasks beside it."""

    lease: Lease
    stored: int = 0
    """keys in closed tables"""
    next: int | None = None
    """a table that was made and is still empty"""
    next_capacity: int = 0
    nearly_full: bool = False
    unread: list[tuple[int, int, bool]] = field(default_factory=list)
    """(table, capacity, closed) whose keys are to be read"""
    read: list[tuple[int, KeyFilter, int]] = field(default_factory=list)
    """(table, filter, keys), for the loop to hand to the engine"""
    closed: list[tuple[int, int, bytes]] = field(default_factory=list)
    """(table, keys, filter), to be stored"""

    async def begin(self, connection: Connection, engine: Engine, settings: Settings) -> None:
        """Tells the engine which tables there are. Reads stored filters, the newest first, as far as memory is allowed for them."""
        partition_id = self.lease.partition_id
        rows = await connection.fetch(SQL["key_tables"], partition_id)
        self.stored = sum(row["keys"] or row["capacity"] for row in rows if row["filtered"])
        current = rows[0] if rows and not rows[0]["filtered"] and rows[0]["partition_id"] == partition_id else None
        if current is None:
            number, capacity = await self._make(connection, settings)
            engine.open_key_table(number, capacity, complete=True)
        else:
            number, capacity = current["key_table"], current["capacity"]
            empty = not await connection.fetchval(f"SELECT EXISTS (SELECT FROM event_keys_{number})")  # noqa: S608 - a number of our own
            engine.open_key_table(number, capacity, complete=empty)
            if not empty:
                self.unread.append((number, capacity, False))
        room = settings.key_filter_bytes
        for row in rows:
            if row["key_table"] == number:
                continue
            key_filter = None
            if not row["filtered"]:
                # Looked up in for every key until it is read: it comes before the open one.
                self.unread.insert(0, (row["key_table"], row["capacity"], True))
            elif room > 0:
                key_filter = KeyFilter.read(await connection.fetchval(SQL["key_filter"], row["key_table"]))
                room -= key_filter.size_bytes
            engine.add_closed_key_table(row["key_table"], key_filter)

    async def _make(self, connection: Connection, settings: Settings) -> tuple[int, int]:
        capacity = max(settings.keys_per_table, self.stored // MOST_TABLES)
        return int(await connection.fetchval(SQL["open_key_table"], self.lease.partition_id, capacity)), capacity

    # ------------------------------------------------------------------ the loop's part

    def turn(self, engine: Engine, *, groups_open: bool) -> bool:
        """Between two groups: opens the next table if this one is full. False: the groups on their way must land before another begins."""
        while self.read:
            number, key_filter, keys = self.read.pop(0)
            engine.complete_key_table(number, key_filter, keys)
        keys, capacity = engine.key_table_fill
        self.nearly_full = 8 * keys >= 7 * capacity
        if keys < capacity or self.next is None:
            return True
        if groups_open:
            # There may be a moment without any by itself. A filter that was made for fewer keys is not wrong, only less sharp.
            return 16 * keys < 17 * capacity
        turned = engine.turn_key_table(self.next, self.next_capacity)
        if turned is not None:
            log.info("key_table_closed", partition=self.lease.partition_id, table=turned[0], keys=turned[1])
            self.closed.append(turned)
            self.stored += turned[1]
            self.next = None
        return True

    # ------------------------------------------------------------------ beside the loop

    async def tend(self, chores: Connection, settings: Settings) -> None:
        """Stores filters of closed tables, and makes the next table when the open one is nearly full."""
        while self.closed:
            await self._store(chores, *self.closed[0])
            self.closed.pop(0)
        if self.nearly_full and self.next is None:
            number, self.next_capacity = await self._make(chores, settings)
            self.next = number

    async def _store(self, connection: Connection, number: int, keys: int, stored: bytes) -> None:
        status = await connection.execute(SQL["store_key_filter"], self.lease.partition_id, self.lease.epoch, number, keys, stored)
        if status != "UPDATE 1":
            log.warning("key_filter_not_stored", partition=self.lease.partition_id, table=number)

    async def read_all(self, settings: Settings, wake: Callable[[], None]) -> None:
        """Reads the tables whose filters are missing, on a connection of its own, and stores those of closed ones."""
        if not self.unread:
            return
        connection = await connect(settings, "core", name=f"buffmoney core {self.lease.partition_id} keys", niceness=BULK)
        try:
            for number, capacity, closed in self.unread:
                key_filter = KeyFilter(capacity)
                keys = await _fill(connection, key_filter, number)
                self.read.append((number, key_filter, keys))
                wake()
                if closed:
                    await self._store(connection, number, keys, key_filter.stored())
        finally:
            await connection.close()


async def _fill(connection: Connection, key_filter: KeyFilter, number: int) -> int:
    pieces: list[bytes] = []
    size = keys = 0

    async def flush() -> None:
        nonlocal size, keys
        data = b"".join(pieces)
        pieces.clear()
        size = 0
        keys += await asyncio.to_thread(key_filter.feed, data)

    async def take(piece: bytes) -> None:
        nonlocal size
        pieces.append(piece)
        size += len(piece)
        if size >= FEED_BYTES:
            await flush()

    output: Any = take
    await connection.copy_from_table(f"event_keys_{number}", columns=["key_hash"], output=output, format="binary")
    await flush()
    return keys
