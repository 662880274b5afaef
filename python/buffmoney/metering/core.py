"""The core: the one writer of each partition it holds.

A PartitionWriter takes the partition's lease, then moves messages from the inbox through the engine into PostgreSQL in groups.
Two groups are open at a time: while one is being committed, the next is applied in memory and copied on a second
connection, and commits only after the first. Nothing is answered before its commit. Messages in hand are applied again after every failure;
what the database already has, dedupe finds.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import asyncpg

from buffmoney._core import Engine
from buffmoney.base import telemetry
from buffmoney.base.clock import Clock, SystemClock, to_datetime
from buffmoney.base.config import Settings
from buffmoney.base.database import connect
from buffmoney.base.errors import DatabaseUnavailable, RedisUnavailable
from buffmoney.base.priority import BULK
from buffmoney.base.redis import RedisPipe, RedisQueue
from buffmoney.ledger import heads
from buffmoney.metering import commit, lease, message, metrics, redelivery, stored
from buffmoney.metering.hand import Hand
from buffmoney.metering.key_tables import KeyTables, KeyTwiceError
from buffmoney.metering.loading import SMALL_BYTES, Loader
from buffmoney.metering.message import Incoming
from buffmoney.metering.publish import Publisher, ReplyCache
from buffmoney.metering.tenure import Flight, Tenure
from buffmoney.metering.upkeep import Upkeep

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

EVENT_BYTES = 90
"""about what an event takes in a message; groups are measured in bytes, which costs nothing"""
POP_MESSAGES = 64
POP_WAIT_S = 0.25
RETRY_S = 0.2
REFUSED_RETRY_S = 0.5
WRITE_TIMEOUT_S = 60.0

log = telemetry.logger(__name__)


class PartitionWriter:
    """Writes one partition for as long as it holds the lease, and waits for the lease otherwise."""

    def __init__(self, settings: Settings, partition_id: int, clock: Clock, stopping: asyncio.Event) -> None:
        self._settings = settings
        self._partition_id = partition_id
        self._label = str(partition_id)
        self._clock = clock
        self._stopping = stopping
        self._holder = lease.new_holder()
        self._engine = Engine(partition_id, settings.ledger_key, settings.max_wallets)
        self._upkeep = Upkeep(settings, clock)
        self._redis = RedisPipe(settings.redis_url)
        self._queue = RedisQueue(settings.redis_url)
        self._unresolved: list[Flight] = []
        self._replies = ReplyCache()
        self._hand = Hand(partition_id, settings.group_events * EVENT_BYTES, self._replies)
        self._complaint = ""
        self._last_now_us = 0
        self._log = log.bind(partition=partition_id, holder=self._holder)

    # ------------------------------------------------------------------ tenures

    async def run(self) -> None:
        """Until `stopping` is set and everything in hand is done."""
        while not self._stopping.is_set():
            try:
                tenure = await self._begin()
                if tenure is None:
                    await self._pause(RETRY_S)
                else:
                    await self._serve(tenure)
            except (heads.HeadMismatchError, lease.NotDurableError, KeyTwiceError) as refusal:
                # Writing on would bury the evidence. Somebody has to look at this ledger.
                metrics.HEAD_VALID.labels(self._label).set(0)
                self._log.error("refusing_to_write", detail=str(refusal))
                await self._pause(5.0)
            except Exception as failure:
                self._report(failure)
                await self._pause(RETRY_S)
        self._hand.take_back(_messages(self._unresolved))
        await self._give_back()
        await self._queue.close()
        await self._redis.close()

    def _report(self, failure: Exception) -> None:
        fault = commit.classify(failure)
        metrics.COMMIT_FAULTS.labels(self._label, fault.reason).inc()
        # An outage is one line, not one for every attempt to find its end.
        if str(fault) != self._complaint:
            expected = isinstance(failure, DatabaseUnavailable | commit.CommitFault)
            self._log.warning("tenure_ended", reason=fault.reason, detail=str(fault), exc_info=not expected)
        self._complaint = str(fault)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _begin(self) -> Tenure | None:
        control = await connect(self._settings, "core", name=f"buffmoney core {self._label} lease", statement_timeout_s=5)
        try:
            await lease.assert_durable(control, unsafe=self._settings.unsafe_async_commit)
            taken = await lease.take(control, self._partition_id, self._holder, self._settings.lease_s)
            committed = await self._resolve(control)
            if taken is not None:
                return await self._open(taken, control, committed)
            # The core that has the partition finds in the commits what these messages came to, and answers.
            self._hand.forget([one for flight in committed for one in flight.messages])
            await self._give_back()
            if await control.fetchrow(commit.SQL["read_partition"], self._partition_id) is None:
                self._log.error("unknown_partition")
            await _close([control])
            return None
        except BaseException:
            await _close([control])
            raise

    async def _open(self, taken: lease.Lease, control: Connection, committed: list[Flight]) -> Tenure:
        connections: list[Connection] = []
        try:
            try:
                await lease.check_head(control, taken, self._settings)
            except heads.HeadMismatchError as mismatch:
                if not self._settings.unsafe_async_commit:
                    await lease.release(control, taken)
                    raise
                self._log.error("ledger_behind_its_head", detail=str(mismatch))
            # A predecessor that is stopped in the middle of a transaction would keep its keys locked for as long as it stands still.
            await control.execute(commit.SQL["end_predecessors"], f"buffmoney core {self._label} writer%")
            for purpose in ("writer a", "writer b", "loader", "chores"):
                name = f"buffmoney core {self._label} {purpose}"
                connections.append(await connect(self._settings, "core", name=name, niceness=BULK))
            first, second, loading, chores = connections
            for writer in (first, second):
                await lease.assert_durable(writer, unsafe=self._settings.unsafe_async_commit)
            # A renewal locks the row that every commit updates, and may be lost in a crash, as the lease then is: it does not wait for the
            # disk.
            await control.execute("SET synchronous_commit = off")
            await chores.execute("SET lock_timeout = '2s'")
            # Young tables have no statistics, and their indexes are right whatever those would say. Planning for many tables takes
            # longer than looking into one.
            await loading.execute("SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan")
            publisher = Publisher(self._redis, self._partition_id, taken.epoch, self._settings.seen_batches)
            loader = Loader(loading, self._engine, self._clock)
            tenure = Tenure(taken, control, deque((first, second)), loader, loading, chores, publisher, KeyTables(taken))
            await tenure.leaves.prepare(chores, self._clock.now_us())
            self._engine.start(taken.commit_seq, taken.head, taken.epoch)
            await tenure.key_tables.begin(chores, self._engine, self._settings)
        except BaseException:
            await _close(connections)
            raise
        publisher.start()
        for flight in committed:
            publisher.answer(flight.answers(self._replies))
            self._hand.forget(flight.messages)
        self._complaint = ""
        metrics.LEASE_HELD.labels(self._label).set(1)
        metrics.HEAD_VALID.labels(self._label).set(1)
        self._log.info("lease_taken", epoch=taken.epoch, commit_seq=taken.commit_seq)
        return tenure

    async def _resolve(self, connection: Connection) -> list[Flight]:
        # Called when a new epoch has begun, ours or another core's: what was in flight then is decided and stays so.
        committed: list[Flight] = []
        while self._unresolved:
            flight = self._unresolved[0]
            if flight.group.empty:
                break
            found = await connection.fetchval(commit.SQL["head_at"], self._partition_id, flight.group.commit_seq)
            if found != flight.group.head:
                break
            committed.append(self._unresolved.pop(0))
            self._log.info("outcome_known", commit_seq=flight.group.commit_seq, committed=True)
        self._hand.take_back(_messages(self._unresolved))
        self._unresolved = []
        return committed

    async def _serve(self, tenure: Tenure) -> None:
        tasks = [
            asyncio.create_task(self._upkeep.keep_lease(tenure), name=f"lease {self._label}"),
            asyncio.create_task(self._upkeep.look_for_due(tenure), name=f"chores {self._label}"),
            asyncio.create_task(self._upkeep.tend_key_tables(tenure), name=f"key tables {self._label}"),
        ]
        intake = asyncio.create_task(self._take_in(tenure), name=f"intake {self._label}")
        stop = asyncio.create_task(self._wake_on_stop(tenure))
        try:
            await self._write(tenure)
        finally:
            tenure.over.set()
            self._hand.room.set()
            await asyncio.gather(intake, return_exceptions=True)
            await self._land(tenure)
            for task in (*tasks, stop):
                task.cancel()
            await asyncio.gather(*tasks, stop, return_exceptions=True)
            await tenure.publisher.stop()
            await self._upkeep.write_head(tenure)
            if self._stopping.is_set() and not tenure.lost:
                with contextlib.suppress(Exception):
                    await lease.release(tenure.control, tenure.lease)
            await _close([tenure.control, *tenure.writers, tenure.loading, tenure.chores])
            metrics.LEASE_HELD.labels(self._label).set(0)
            self._log.info("lease_given_up", epoch=tenure.lease.epoch, in_hand=len(self._hand))

    async def _wake_on_stop(self, tenure: Tenure) -> None:
        await self._stopping.wait()
        tenure.wake.set()

    async def _land(self, tenure: Tenure) -> None:
        """Waits for the groups in flight and keeps their messages unless they are committed."""
        for flight in tenure.flights:
            await flight.settled.wait()
        failed = [flight for flight in tenure.flights if not flight.committed]
        for flight in tenure.flights:
            if flight.committed:
                self._hand.forget(flight.messages)
        tenure.flights.clear()
        if failed and isinstance(failed[0].fault, commit.OutcomeUnknown):
            self._unresolved = failed
        else:
            self._hand.take_back(_messages(failed))

    # ------------------------------------------------------------------ messages in hand

    async def _give_back(self) -> None:
        """Leaves what is in hand to the core that has the partition now."""
        if not self._hand:
            return
        publisher = Publisher(self._redis, self._partition_id, 0, self._settings.seen_batches)
        if await publisher.give_back(self._hand.to_give_back()):
            self._log.info("messages_given_back", messages=len(self._hand))
            self._hand.clear()

    async def _take_in(self, tenure: Tenure) -> None:
        complained = False
        while not (tenure.over.is_set() or self._stopping.is_set()):
            if self._hand.full:
                self._hand.room.clear()
                await self._hand.room.wait()
                continue
            try:
                popped = await self._queue.pop(tenure.publisher.inbox_key, side="RIGHT", count=POP_MESSAGES, wait_s=POP_WAIT_S)
            except RedisUnavailable as failure:
                if not complained:
                    self._log.warning("inbox_unavailable", detail=str(failure))
                complained = True
                await asyncio.sleep(0.05)
                continue
            complained = False
            replies = [self._hand.accept(raw) for raw in popped]
            tenure.publisher.answer([reply for reply in replies if reply is not None])
            if popped:
                tenure.wake.set()
        tenure.intake_done = True
        tenure.wake.set()

    # ------------------------------------------------------------------ groups

    async def _write(self, tenure: Tenure) -> None:
        """The loop. It alone calls the engine."""
        while True:
            tenure.wake.clear()
            await self._settle(tenure)
            if tenure.failure is not None:
                raise tenure.failure
            if tenure.key_tables.turn(self._engine, self._settings, groups_open=bool(tenure.flights)) and self._may_begin(tenure):
                for tenant_id in tenure.stale_catalogs:
                    self._engine.drop_catalog(tenant_id)
                tenure.stale_catalogs.clear()
                flight = await self._prepare(tenure)
                if flight is not None:
                    if await self._refused_before(tenure, flight):
                        continue
                    previous = tenure.flights[-1] if tenure.flights else None
                    tenure.flights.append(flight)
                    flight.task = asyncio.create_task(self._commit(tenure, flight, previous))
                    await tenure.publisher.room()
                    continue
                if self._stopping.is_set() and tenure.intake_done and not tenure.flights and not self._hand:
                    return
            await tenure.wake.wait()

    def _may_begin(self, tenure: Tenure) -> bool:
        """Whether the next group should be made now. One smaller than the one on its way would only leave those behind it to a third.
        Where groups are small, each event costs more, and at half load the processors have no room for that."""
        return not tenure.flights or (len(tenure.flights) == 1 and self._hand.size >= tenure.flights[0].size)

    async def _prepare(self, tenure: Tenure) -> Flight | None:
        """Applies the next messages, or a due sweep, to memory. None: there is nothing to do."""
        now_us = self._last_now_us = max(self._last_now_us, self._clock.now_us())
        if tenure.due is not None:
            due, tenure.due = tenure.due, None
            await tenure.loader.satisfy_sweep(due.wallets, due.holds, due.periods)
            return Flight(self._engine.sweep(due.wallets, due.holds, now_us, due.periods), [], "usage_events", due)
        if not self._hand:
            return None
        batch = self._hand.next_batch()
        try:
            raw = await self._ready(tenure, batch)
            events_table = await tenure.leaves.name(tenure.loading, to_datetime(now_us).date())
            if sum(map(len, raw)) > SMALL_BYTES:
                group = await asyncio.to_thread(self._engine.apply, raw, now_us)
            else:
                group = self._engine.apply(raw, now_us)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, DatabaseUnavailable, OSError):
            self._hand.take_back(batch)
            raise
        except Exception as failure:
            # The engine has undone the group. Alone, each of its messages shows whether it is the one.
            self._hand.refuse(batch, f"{type(failure).__name__}: {failure}")
            tenure.wake.set()
            return None
        except BaseException as failure:
            if type(failure).__name__ != "PanicException":
                self._hand.take_back(batch)
                raise
            # A panic leaves memory in doubt: a new tenure loads it again.
            self._hand.refuse(batch, str(failure))
            raise commit.GroupRefused(f"the engine panicked: {failure}") from failure
        return Flight(group, batch, events_table)

    async def _ready(self, tenure: Tenure, batch: list[Incoming]) -> list[bytes]:
        """Everything the engine needs for these messages, and the bytes to give it."""
        again = [one for one in batch if one.redelivered and one.kind == message.USAGE]
        if again:
            found = await redelivery.restore(tenure.loading, tenure.loader, self._partition_id, tenure.lease.commit_seq, again)
            metrics.REDELIVERIES.labels(self._label, "commit").inc(found)
            metrics.REDELIVERIES.labels(self._label, "nothing").inc(len(again) - found)
            for one in again:
                one.redelivered = False
        for one in batch:
            if one.kind == message.COMMAND and b'"catalog"' in one.raw:
                self._engine.drop_catalog(one.tenant_id)
        raw = [one.engine_bytes() for one in batch]
        await tenure.loader.satisfy(raw)
        return raw

    async def _commit(self, tenure: Tenure, flight: Flight, previous: Flight | None) -> None:
        connection = tenure.writers[0]
        tenure.writers.rotate(1)
        group = flight.group
        started_s = time.perf_counter()
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                if not group.empty:
                    await commit.write(connection, group, flight.events_table)
                if previous is not None:
                    await previous.settled.wait()
                    if not previous.committed:
                        raise commit.EarlierGroupFailed("the group before was not committed")
                if group.empty:
                    await commit.check_epoch(connection, self._partition_id, tenure.lease.epoch)
                else:
                    await commit.finish(connection, group, self._partition_id, tenure.lease.epoch)
            flight.committed = True
            tenure.publisher.publish(group, flight.restored_answers(self._replies))
            self._count(flight, time.perf_counter() - started_s)
        except Exception as failure:
            flight.fault = commit.classify(failure)
            if not group.empty and not await commit.abandon(connection):
                flight.fault = flight.fault if isinstance(flight.fault, commit.LeaseLost) else commit.OutcomeUnknown(str(flight.fault))
        finally:
            flight.settled.set()
            tenure.wake.set()

    def _count(self, flight: Flight, seconds: float) -> None:
        group = flight.group
        for outcome, count in group.outcomes.items():
            metrics.EVENTS.labels(self._label, outcome).inc(count)
        if not group.empty:
            metrics.COMMIT_SECONDS.labels(self._label).observe(seconds)
            metrics.GROUP_EVENTS.labels(self._label).observe(group.events_accepted)
            metrics.GROUP_MESSAGES.labels(self._label).observe(len(flight.messages))

    async def _settle(self, tenure: Tenure) -> None:
        """Takes note of the groups that are decided, oldest first."""
        while tenure.flights and tenure.flights[0].settled.is_set():
            flight = tenure.flights[0]
            if not flight.committed:
                # What was applied on top of it cannot be committed either.
                for later in tenure.flights:
                    await later.settled.wait()
                await self._recover(tenure, list(tenure.flights))
                return
            tenure.flights.popleft()
            tenure.healthy = True
            self._engine.commit(flight.group.group_id)
            self._hand.forget(flight.messages)
            tenure.period_ends.add(flight.group.late_periods)
            if flight.swept is not None:
                tenure.period_ends.settled(flight.swept.periods)
            if flight.swept is not None and flight.swept.grants:
                # A group without a commit of its own found nothing left: the commit before it says so as well.
                tenure.expired.append((flight.swept.grants, flight.group.commit_id - flight.group.empty))
            if not flight.group.empty:
                metrics.WALLETS.labels(self._label).set(self._engine.wallets)
                metrics.ENGINE_BYTES.labels(self._label).set(self._engine.memory_bytes)
                tenure.newest = heads.Head(self._partition_id, flight.group.commit_seq, flight.group.head, flight.group.head_mac)

    async def _recover(self, tenure: Tenure, failed: list[Flight]) -> None:
        """Undoes the failed groups and makes ready to apply their messages again. Raises what only a new tenure can mend."""
        fault = failed[0].fault or commit.OutcomeUnknown("no fault was noted")
        metrics.COMMIT_FAULTS.labels(self._label, fault.reason).inc()
        self._log.warning("group_failed", reason=fault.reason, detail=str(fault), messages=sum(len(one.messages) for one in failed))
        # First undone, then told what is stored: undoing takes a group's keys out of memory.
        self._engine.rollback()
        match fault:
            case commit.SentBefore():
                await self._look_up(tenure, failed)
            case commit.StorageRefuses():
                tenure.healthy = False
                await self._pause(REFUSED_RETRY_S)
            case commit.GroupRefused():
                pass
            case _:
                tenure.lost = isinstance(fault, commit.LeaseLost)
                raise fault
        tenure.flights.clear()
        if isinstance(fault, commit.GroupRefused):
            self._hand.take_back(_messages(failed[1:]))
            self._hand.refuse(failed[0].messages, str(fault))
        else:
            self._hand.take_back(_messages(failed), again=isinstance(fault, commit.SentBefore))
        tenure.wake.set()

    async def _look_up(self, tenure: Tenure, failed: list[Flight]) -> None:
        """Finds out which commands and voids are stored already, and tells the engine. The same messages cannot fail by them again."""
        found = 0
        for flight in failed:
            found += await self._remember(tenure, flight.group.command_ids)
            # What is voided is read with the event when the messages are applied again.
            for tenant_id, hashes in flight.group.void_keys:
                found += await tenure.loading.fetchval(stored.SQL["existing_voids"], tenant_id, [one.hex() for one in hashes])
        if not found:
            raise commit.LeaseLost("a unique violation that nothing stored explains")

    async def _remember(self, tenure: Tenure, commands: list[tuple[int, bytes]]) -> int:
        """Tells the engine which of these the database has. Returns how many."""
        if not commands:
            return 0
        tenants, ids = zip(*commands, strict=True)
        rows = await tenure.loading.fetch(commit.SQL["existing_commands"], tenants, [one.hex() for one in ids])
        self._engine.remember_commands([(row["tenant_id"], row["command_id"].bytes, row["fingerprint"], row["result"]) for row in rows])
        return len(rows)

    async def _refused_before(self, tenure: Tenure, flight: Flight) -> bool:
        """Whether a command that the engine refused was applied long ago: then its answer is known, and the group is undone to give it."""
        if not flight.group.refused_commands:
            return False
        try:
            if not await self._remember(tenure, flight.group.refused_commands):
                return False
        except BaseException:
            self._hand.take_back(flight.messages)
            raise
        self._hand.take_back(flight.messages)
        # The engine undoes all open groups or none, so those on their way come first.
        while tenure.flights:
            await tenure.flights[0].settled.wait()
            await self._settle(tenure)
        self._engine.rollback()
        return True


def _messages(flights: Sequence[Flight]) -> list[Incoming]:
    return [one for flight in flights for one in flight.messages]


async def _close(connections: Sequence[Connection]) -> None:
    for connection in connections:
        try:
            async with asyncio.timeout(2):
                await connection.close()
        except (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.PostgresError):
            connection.terminate()


async def run(settings: Settings, partitions: Sequence[int]) -> None:
    """The core process: writes these partitions until SIGTERM or SIGINT, then finishes what it has in hand."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    await serve(settings, partitions, stopping, SystemClock())


async def serve(settings: Settings, partitions: Sequence[int], stopping: asyncio.Event, clock: Clock) -> None:
    """The same until `stopping` is set."""
    async with asyncio.TaskGroup() as writers:
        for partition_id in partitions:
            writers.create_task(PartitionWriter(settings, partition_id, clock, stopping).run(), name=f"partition {partition_id}")
