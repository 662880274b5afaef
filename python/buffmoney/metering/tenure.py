"""What belongs to one holding of a partition's lease, and the groups that are on their way to the database."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import asyncpg

from buffmoney._core import Group
from buffmoney.ledger.heads import Head
from buffmoney.metering import message
from buffmoney.metering.commit import CommitFault, LeafPartitions, LeaseLost
from buffmoney.metering.key_tables import KeyTables
from buffmoney.metering.lease import Lease
from buffmoney.metering.loading import Loader
from buffmoney.metering.message import Incoming
from buffmoney.metering.period_ends import Period, PeriodEnds
from buffmoney.metering.publish import Publisher, Reply, ReplyCache

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]


@dataclass(frozen=True, slots=True)
class Due:
    """What time has brought about: grants past their expiry with their wallets, holds past theirs, and billing periods that are over."""

    wallets: list[tuple[int, int]]
    """(tenant_id, account_id)"""
    grants: list[tuple[int, str]]
    """(tenant_id, grant id in hexadecimal)"""
    holds: list[tuple[int, bytes]]
    """(tenant_id, hold id)"""
    periods: list[Period] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Flight:
    """A group applied to memory, the messages it came from, and whether it is committed."""

    group: Group
    messages: list[Incoming]
    events_table: str
    swept: Due | None = None
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    committed: bool = False
    fault: CommitFault | None = None
    task: asyncio.Task[None] | None = None

    @property
    def size(self) -> int:
        """Bytes of its messages."""
        return sum(len(one.raw) for one in self.messages)

    def answers(self, cache: ReplyCache) -> list[Reply]:
        """All replies of the committed group, put into the cache."""
        return self._replies(cache, only_restored=False)

    def restored_answers(self, cache: ReplyCache) -> list[Reply]:
        """Puts all replies into the cache; gives those that the group itself does not publish, because they were restored."""
        return self._replies(cache, only_restored=True)

    def _replies(self, cache: ReplyCache, *, only_restored: bool) -> list[Reply]:
        restored = {one.engine_id: one for one in self.messages if one.alias}
        replies: list[Reply] = []
        for reply_to, message_id, reply in self.group.replies:
            original = restored.get(message_id)
            if original is not None:
                reply = message.restore_acceptances(reply, original.message_id, original.original_charges)
                message_id = original.message_id
            cache.put(message_id, reply)
            if original is not None or not only_restored:
                replies.append((reply_to, reply))
        return replies


@dataclass(slots=True, eq=False)
class Tenure:
    """One epoch of one partition: its lease, its connections, and what is under way."""

    lease: Lease
    control: Connection
    writers: deque[Connection]
    """two, used in turn, so that a group can be copied while the one before commits"""
    loader: Loader
    loading: Connection
    chores: Connection
    publisher: Publisher
    key_tables: KeyTables
    leaves: LeafPartitions = field(default_factory=LeafPartitions)
    flights: deque[Flight] = field(default_factory=deque)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    """something happened that the loop may act on"""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    intake_done: bool = False
    lost: bool = False
    """another core may have the lease"""
    healthy: bool = True
    """writing worked last time"""
    failure: CommitFault | None = None
    due: Due | None = None
    expired: list[tuple[list[tuple[int, str]], int]] = field(default_factory=list)
    """(grants that were swept, the commit that did it), to be marked"""
    period_ends: PeriodEnds = field(default_factory=PeriodEnds)
    stale_catalogs: set[int] = field(default_factory=set)
    newest: Head | None = None
    written: Head | None = None

    def fail(self, fault: CommitFault) -> None:
        """Ends the tenure at the loop's next step."""
        self.failure = fault
        self.lost = self.lost or isinstance(fault, LeaseLost)
        self.wake.set()
