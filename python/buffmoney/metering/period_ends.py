"""Finds the billing periods that are over and not settled yet: what volume tiers and minimums per period still ask.

A period is due GRACE after its end. What was used before that is found by one walk over the accounts of the tenants that have such lines,
at the start of a tenure and each time a period has ended; what moves a counter after that the engine names in the group that moved it.
So no tenant without such lines costs anything, and none is walked over twice in a period. A period that is settled already does no harm:
the engine sees that nothing has moved. Until a group that settles a period is committed, the period stays due.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import asyncpg

from buffmoney.base import queries
from buffmoney.base.clock import to_datetime
from buffmoney.base.periods import BACK, Periods

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

Period = tuple[int, int, int, int]
"""(tenant_id, account_id, start in microseconds, counter of its units)"""
GRACE = timedelta(hours=1)
"""how long after its end a period is settled: what the engine calls PERIOD_GRACE_US"""
IN_FLIGHT = timedelta(minutes=2)
"""what was applied before a period was due is committed by then, or never"""
WALKED_AT_ONCE = 1_000
"""accounts; other work of the core comes between"""
MOST_DUE = 1_000
"""periods that one sweep settles"""
_US = timedelta(microseconds=1)
SQL = queries.load("buffmoney.metering", "core.sql")


@dataclass(slots=True)
class _Walk:
    """A tenant's walk: until which end of a period it is done, to which it is under way, and past which account."""

    done: int = 0
    to: int = 0
    past: int = 0


@dataclass(slots=True)
class PeriodEnds:
    """The periods of one tenure that are due."""

    waiting: dict[Period, None] = field(default_factory=dict)
    _walks: dict[int, _Walk] = field(default_factory=dict)

    def add(self, periods: Iterable[Period]) -> None:
        """Periods whose counters a committed group has moved when they were over."""
        self.waiting.update(dict.fromkeys(periods))

    def settled(self, periods: Iterable[Period]) -> None:
        """Periods that a committed sweep has looked at."""
        for period in periods:
            self.waiting.pop(period, None)

    def due(self) -> list[Period]:
        """Some of those that wait, one account's together."""
        return sorted(period for period, _ in zip(self.waiting, range(MOST_DUE), strict=False))

    async def look(self, connection: Connection, partition_id: int, now_us: int) -> None:
        """Goes one step further where a walk is to be made."""
        if len(self.waiting) >= MOST_DUE:
            return
        for tenant_id, where, units, charges in await connection.fetch(SQL["period_counters"], partition_id):
            walk = self._walks.setdefault(tenant_id, _Walk())
            starts = Periods.stored(where).starts_us
            if not walk.to:
                # The first walk of a tenure needs no margin: what its own groups move from now on they name.
                margin = GRACE + IN_FLIGHT if walk.done else GRACE
                begun = bisect_right(starts, now_us - margin // _US)
                if begun and starts[begun - 1] > walk.done:
                    walk.to, walk.past = starts[begun - 1], 0
            if walk.to:
                await self._step(connection, tenant_id, ([*units, *charges], [*units, *units]), walk, now_us)

    async def _step(self, connection: Connection, tenant_id: int, counters: tuple[list[int], list[int]], walk: _Walk, now_us: int) -> None:
        since, until = to_datetime(now_us) - BACK, to_datetime(walk.to)
        async with connection.transaction():
            # Statistics lag behind a table that grows this fast.
            await connection.execute("SET LOCAL enable_seqscan = off")
            accounts = [row[0] for row in await connection.fetch(SQL["counted_accounts"], tenant_id, walk.past, WALKED_AT_ONCE)]
            if accounts:
                rows = await connection.fetch(SQL["unsettled"], tenant_id, accounts, *counters, since, until)
                self.add((tenant_id, row["account_id"], row["period_start_us"], row["units"]) for row in rows)
        if len(accounts) < WALKED_AT_ONCE:
            walk.done, walk.to = walk.to, 0
        else:
            walk.past = accounts[-1]
