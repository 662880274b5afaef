"""Whether this system may be sent work: the database answers, every partition has its core, and no signed chain is broken."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from buffmoney.base import queries
from buffmoney.base.config import Settings
from buffmoney.base.database import Database
from buffmoney.base.errors import Problem
from buffmoney.ledger import heads
from buffmoney.metering.watch import PartitionWatch

if TYPE_CHECKING:
    import asyncpg

    from buffmoney.base.database import Connection

CHECK_TIMEOUT_S = 3.0
KEEP_S = 0.25
"""How long a result is given again: this path needs no key, so asking it often must cost nothing."""

_SQL = queries.load("buffmoney.edge")


class Readiness:
    """Answers `/readyz`."""

    def __init__(self, settings: Settings, database: Database, watch: PartitionWatch) -> None:
        self._settings = settings
        self._database = database
        self._watch = watch
        self._checked_at = float("-inf")
        self._reasons: list[str] = []
        self._checking: asyncio.Task[list[str]] | None = None

    async def reasons(self) -> list[str]:
        """Why the system is not ready; empty if it is."""
        loop = asyncio.get_running_loop()
        if loop.time() - self._checked_at < KEEP_S:
            return self._reasons
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._check(), name="readiness")
        self._reasons = await asyncio.shield(self._checking)
        self._checked_at = loop.time()
        return self._reasons

    async def _check(self) -> list[str]:
        reasons: list[str] = []
        if not self._watch.redis_up:
            reasons.append("redis: cannot be reached")
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                # The file first: it may only ever be behind what the database says a moment later.
                outside = await self._outside()
                async with self._database.connection() as connection:
                    rows = await connection.fetch(_SQL["partition_heads"])
                    if not rows:
                        reasons.append("database: no partition, run `buffmoney migrate`")
                    for row in rows:
                        reasons += await self._partition(connection, row, outside.get(row["partition_id"]))
        except (Problem, TimeoutError):
            reasons.append("database: cannot be reached")
        except heads.HeadMismatchError as failure:
            reasons.append(f"chain: {failure}")
        except Exception as failure:
            # Before the first migration there is not even a table to ask.
            reasons.append(f"database: {type(failure).__name__}")
        return reasons

    async def _outside(self) -> dict[int, heads.Head]:
        if self._settings.heads_file is None:
            return {}
        return await asyncio.to_thread(heads.read, self._settings.heads_file)

    async def _partition(self, connection: Connection, row: asyncpg.Record, outside: heads.Head | None) -> list[str]:
        partition_id = row["partition_id"]
        reasons = []
        if not row["held"]:
            reasons.append(f"partition {partition_id}: no core holds it")
        elif self._watch.redis_up and not self._watch.core_is_up(partition_id):
            reasons.append(f"partition {partition_id}: its core does not show itself in Redis")
        stored = heads.Head(partition_id, row["commit_seq"], row["head"], row["head_mac"])
        key = self._settings.ledger_key
        if not heads.is_signed(key, stored):
            reasons.append(f"partition {partition_id}: the head at commit {stored.commit_seq} is not signed with this secret")
        elif stored.commit_seq and row["committed_head"] != stored.head:
            reasons.append(f"partition {partition_id}: commit {stored.commit_seq} is missing or was changed")
        if outside is not None and outside.commit_seq:
            if not heads.is_signed(key, outside):
                reasons.append(f"partition {partition_id}: the head in the heads file is not signed with this secret")
            elif outside.commit_seq > stored.commit_seq:
                reasons.append(f"partition {partition_id}: the ledger ends at commit {stored.commit_seq}, before {outside.commit_seq}")
            elif await connection.fetchval(_SQL["committed_head"], partition_id, outside.commit_seq) != outside.head:
                reasons.append(f"partition {partition_id}: commit {outside.commit_seq} is not the one that was signed")
        return reasons
