"""What goes on beside the core's loop: keeping the lease, showing life, writing the head down, finding what time has brought about."""

from __future__ import annotations

import asyncio

import asyncpg

from buffmoney.base import telemetry
from buffmoney.base.clock import Clock, to_datetime
from buffmoney.base.config import Settings
from buffmoney.base.database import connect
from buffmoney.base.priority import AFTER_BULK
from buffmoney.ledger import heads
from buffmoney.metering import commit, lease, metrics
from buffmoney.metering.tenure import Due, Tenure

SWEEP_S = 0.5

log = telemetry.logger(__name__)


class Upkeep:
    """The tasks of a tenure. They tell the loop through the tenure, and never touch the engine, which belongs to the loop."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock

    async def keep_lease(self, tenure: Tenure) -> None:
        """Renews the lease and, while writing works, shows that the core is alive and writes its head down."""
        every_s = min(1.0, self._settings.lease_s / 3)
        while True:
            try:
                await lease.renew(tenure.control, tenure.lease, self._settings.lease_s)
                if tenure.healthy:
                    await tenure.publisher.beat()
                await self.write_head(tenure)
            except Exception as failure:
                tenure.fail(commit.classify(failure))
                return
            await asyncio.sleep(every_s)

    async def write_head(self, tenure: Tenure) -> None:
        newest, path = tenure.newest, self._settings.heads_file
        if newest is None or path is None or newest == tenure.written:
            return
        try:
            await asyncio.to_thread(heads.write, path, {tenure.lease.partition_id: newest})
            tenure.written = newest
        except (OSError, heads.HeadMismatchError) as failure:
            # An old head is still a true one: it vouches for less.
            metrics.COMMIT_FAULTS.labels(str(tenure.lease.partition_id), "head_not_written").inc()
            log.error("head_not_written", detail=str(failure))

    async def look_for_due(self, tenure: Tenure) -> None:
        """Looks for what is due by time and for catalogues that have changed."""
        while True:
            try:
                for row in await tenure.chores.fetch(commit.SQL["catalog_versions"], tenure.lease.partition_id):
                    known = tenure.loader.catalog_versions.get(row["tenant_id"])
                    if known is not None and row["catalog_version"] > known:
                        tenure.stale_catalogs.add(row["tenant_id"])
                await self._mark_expired(tenure)
                if tenure.due is None:
                    tenure.due = await self._find_due(tenure)
                    if tenure.due is not None:
                        tenure.wake.set()
                await tenure.leaves.prepare(tenure.chores, self._clock.now_us())
            except asyncpg.LockNotAvailableError as busy:
                log.info("partition_made_later", detail=str(busy))
            except Exception as failure:
                tenure.fail(commit.classify(failure))
                return
            await asyncio.sleep(SWEEP_S)

    async def tend_key_tables(self, tenure: Tenure) -> None:
        """Closes tables of event keys and makes new ones, on a connection of its own: to make an index takes a while."""
        try:
            name = f"buffmoney core {tenure.lease.partition_id} keys"
            connection = await connect(self._settings, "core", name=name, niceness=AFTER_BULK)
            try:
                # What a crash undoes is done again when the lease is taken. To wait for the disk at this priority would keep PostgreSQL's
                # log from the commits for longer than the disk takes.
                await connection.execute("SET lock_timeout = '2s'; SET synchronous_commit = off")
                while True:
                    try:
                        await tenure.key_tables.tend(connection, self._settings)
                    except asyncpg.LockNotAvailableError as busy:
                        log.info("key_table_closed_later", detail=str(busy))
                    await asyncio.sleep(SWEEP_S)
            finally:
                connection.terminate()
        except Exception as failure:
            tenure.fail(commit.classify(failure))

    async def _find_due(self, tenure: Tenure) -> Due | None:
        now = to_datetime(self._clock.now_us())
        grants = await tenure.chores.fetch(commit.SQL["due_grants"], tenure.lease.partition_id, now)
        holds = await tenure.chores.fetch(commit.SQL["due_holds"], tenure.lease.partition_id, now)
        await tenure.period_ends.look(tenure.chores, tenure.lease.partition_id, self._clock.now_us())
        periods = tenure.period_ends.due()
        if not grants and not holds and not periods:
            return None
        return Due(
            wallets=sorted({(row["tenant_id"], row["account_id"]) for row in grants}),
            grants=[(row["tenant_id"], row["grant_id"].hex) for row in grants],
            holds=[(row["tenant_id"], row["hold_id"].bytes) for row in holds],
            periods=periods,
        )

    async def _mark_expired(self, tenure: Tenure) -> None:
        """Notes that grants are past, also those that were used up before: so that no sweep finds them again."""
        while tenure.expired:
            grants, commit_id = tenure.expired[0]
            tenants, ids = zip(*grants, strict=True)
            await tenure.chores.execute(commit.SQL["expire_grants"], tenants, ids, commit_id)
            tenure.expired.pop(0)
