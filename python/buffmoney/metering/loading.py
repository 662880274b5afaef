"""Loads what the engine needs from the ledger: price catalogues, wallets with their open grants and counters, holds, events to be voided.

Reading never races writing: the engine asks only for what it does not hold, and it holds everything an open group has touched.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING

import asyncpg

from buffmoney._core import Engine, Needs
from buffmoney.base import queries
from buffmoney.base.clock import Clock, to_datetime
from buffmoney.ledger.accounts import OVERDRAFT_PART, UNBILLED_PART
from buffmoney.metering import stored
from buffmoney.metering.period_ends import Period
from buffmoney.pricing import catalog

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

SQL = queries.load("buffmoney.metering", "core.sql")
MOST_ROUNDS = 8
"""What is loaded can name what to load next (a hold its wallet, a wallet its grants), but not for ever."""
SMALL_BYTES = 16 * 1024
"""Below this the engine is quicker than a change of thread."""
TABLES_AT_ONCE = 32
"""tables of event keys that one statement looks into"""
COUNTED_FOR = timedelta(days=128)
"""How long ago the periods began whose counters are loaded: what the engine calls KEPT_FOR_US."""

GrantRow = tuple[int, bytes, str, int, str, int | None, int]
CounterRow = tuple[int, int, int, str]
SettledRow = tuple[Period, int, str, str, str, bytes]
WalletRow = tuple[int, int, str, str, str | None, str | None, int, str, str, str, bytes, bytes | None]


class Loader:
    """Fills an engine's memory. One connection of its own, outside of any transaction."""

    def __init__(self, connection: Connection, engine: Engine, clock: Clock) -> None:
        self._connection = connection
        self._engine = engine
        self._clock = clock
        self._counting: set[int] = set()
        """tenants with a line that counts, now or ever: only their customers can have counters"""
        self.catalog_versions: dict[int, int] = {}
        """tenant -> a version that is certainly not newer than the catalogue in memory"""

    async def satisfy(self, messages: list[bytes]) -> None:
        """Loads until these messages can be applied."""
        large = sum(map(len, messages)) > SMALL_BYTES
        await self._satisfy(lambda: self._engine.needs(messages), in_thread=large)

    async def satisfy_sweep(self, wallets: list[tuple[int, int]], holds: list[tuple[int, bytes]], periods: list[Period]) -> None:
        """Loads until these wallets, holds and periods can be swept."""
        await self._satisfy(lambda: self._engine.sweep_needs(wallets, holds, periods), in_thread=False)

    async def _satisfy(self, ask: Callable[[], Needs], *, in_thread: bool) -> None:
        for _ in range(MOST_ROUNDS):
            needs = await asyncio.to_thread(ask) if in_thread else ask()
            if needs.nothing:
                return
            await self._load(needs)
        raise RuntimeError(f"the engine still needs something after {MOST_ROUNDS} rounds of loading")

    async def _load(self, needs: Needs) -> None:
        for tenant_id in needs.catalogs:
            await self._load_catalog(tenant_id)
        if needs.account_ids:
            count = needs.account_ids
            rows = await self._connection.fetch(SQL["reserve_account_ids"], count)
            self._engine.add_account_ids([row["account_id"] for row in rows])
        if needs.wallets:
            wallets = needs.wallets
            tenants, names = zip(*wallets, strict=True)
            rows = await self._connection.fetch(SQL["wallets_by_name"], tenants, names)
            present = {(row["tenant_id"], row["external_id"]) for row in rows}
            await self._load_wallets(rows, [wallet for wallet in wallets if wallet not in present])
        if needs.accounts:
            tenants_of, accounts = zip(*needs.accounts, strict=True)
            await self._load_wallets(await self._connection.fetch(SQL["wallets_by_account"], tenants_of, accounts), [])
        if needs.holds:
            await self._load_holds(needs.holds)
        if needs.settled:
            await self._load_settled(needs.settled)
        if needs.events:
            await self._load_events(needs.events)
        if needs.keys:
            await self.find_keys(needs.keys)

    async def find_keys(self, keys: list[tuple[int, bytes]]) -> list[asyncpg.Record]:
        """Looks event keys (tenant, hash) up where they may be and tells the engine which are stored.

        Gives the rows that are: tenant_id, key_hash, fingerprint, commit_id.
        """
        near = set(self._engine.key_tables_in_memory)
        indexed: dict[int, list[tuple[int, str]]] = {}
        known: set[str] = set()
        for table, place in self._engine.key_tables_with(keys):
            tenant_id, key = keys[place]
            if table in near:
                known.add(key.hex())
            else:
                indexed.setdefault(table, []).append((tenant_id, key.hex()))
        rows: list[asyncpg.Record] = []
        # Each table by its own name: through event_keys PostgreSQL would open all of them, however many, to look into a few.
        asked = list(indexed)
        for start in range(0, len(asked), TABLES_AT_ONCE):
            tables = asked[start : start + TABLES_AT_ONCE]
            text = " UNION ALL ".join(
                SQL["existing_keys"].format(table=table, tenants=2 * at + 1, wanted=2 * at + 2) for at, table in enumerate(tables)
            )
            columns = itertools.chain.from_iterable(zip(*indexed[table], strict=True) for table in tables)
            rows += await self._connection.fetch(text, *columns)
        if known:
            rows += await self._connection.fetch(SQL["existing_keys_in_memory_tables"], sorted(near), sorted(known))
        self._engine.remember_keys([(row["key_hash"].bytes, row["fingerprint"]) for row in rows])
        found = {row["key_hash"].bytes for row in rows}
        self._engine.remember_absent_keys([key for _, key in keys if key not in found])
        return rows

    async def _load_catalog(self, tenant_id: int) -> None:
        # The version is read first: a change in between makes the next poll load once more, never once less.
        version = await self._connection.fetchval("SELECT catalog_version FROM tenants WHERE tenant_id = $1", tenant_id)
        content = await catalog.read(self._connection, self._clock, tenant_id)
        self._engine.load_catalog(tenant_id, content)
        if b'ounterId"' in content:
            self._counting.add(tenant_id)
        self.catalog_versions[tenant_id] = version or 0

    async def _load_wallets(self, rows: list[asyncpg.Record], absent: list[tuple[int, str]]) -> None:
        grants = await self._grants((row["tenant_id"], row["grants_after"]) for row in rows)
        wallets: list[WalletRow] = [
            (
                row["tenant_id"],
                row["account_id"],
                row["external_id"],
                row["currency"],
                row["overdraft_limit"],
                row["low_balance_threshold"],
                row["seq"],
                row["balance"],
                row["held"],
                row["unbilled"],
                row["chain_hash"] or bytes(32),
                row["grants_after"],
            )
            for row in rows
        ]
        self._engine.load_wallets(wallets, grants, absent, await self._counters(rows))

    async def _counters(self, rows: list[asyncpg.Record]) -> list[CounterRow]:
        # A sweep loads wallets of tenants whose catalogue nobody needed yet, and a wallet stays in memory as it was loaded.
        wanted = [
            (row["tenant_id"], row["account_id"])
            for row in rows
            if row["tenant_id"] in self._counting or row["tenant_id"] not in self.catalog_versions
        ]
        if not wanted:
            return []
        tenants, accounts = zip(*wanted, strict=True)
        since = to_datetime(self._clock.now_us()) - COUNTED_FOR
        found = await self._connection.fetch(SQL["counters_of"], tenants, accounts, since)
        return [(row["account_id"], row["counter_id"], row["period_start_us"], row["quantity"]) for row in found]

    async def _load_holds(self, wanted: list[tuple[int, bytes]]) -> None:
        tenants, holds = zip(*wanted, strict=True)
        rows = await self._connection.fetch(SQL["holds_by_id"], tenants, [hold.hex() for hold in holds])
        grants = await self._grants((row["tenant_id"], row["parts"]) for row in rows)
        present = {(row["tenant_id"], row["hold_id"].bytes) for row in rows}
        self._engine.load_holds(
            [
                (row["tenant_id"], row["hold_id"].bytes, row["account_id"], row["amount"], row["parts"], row["expires_us"], row["status"])
                for row in rows
            ],
            grants,
            [hold for hold in wanted if hold not in present],
        )

    async def _load_settled(self, wanted: list[Period]) -> None:
        rows = await self._connection.fetch(SQL["settled"], *map(list, zip(*wanted, strict=True)))
        grants = await self._grants((row["tenant_id"], row["parts"]) for row in rows)
        found: list[SettledRow] = [
            (
                (row["tenant_id"], row["account_id"], row["period_start_us"], row["counter_id"]),
                row["revision"],
                row["quantity"],
                row["charged"],
                row["total"],
                row["parts"],
            )
            for row in rows
        ]
        present = {period for period, *_ in found}
        self._engine.load_settled(found, grants, [period for period in wanted if period not in present])

    async def _load_events(self, wanted: list[tuple[int, bytes, str]]) -> None:
        by_tenant: dict[int, dict[bytes, str]] = {}
        for tenant_id, hashed, key in wanted:
            by_tenant.setdefault(tenant_id, {})[hashed] = key
        for tenant_id, keys in by_tenant.items():
            found = await stored.read(self._connection, tenant_id, keys)
            grants = await self._grants((tenant_id, facts[-1]) for _, facts, _ in found.rows)
            self._engine.load_events(found.rows, grants, found.absent)

    async def _grants(self, packed: Iterable[tuple[int, bytes | None]]) -> list[GrantRow]:
        # Open grants and the parts of holds are packed alike: 32 bytes each, the grant's id first, or what stands for one.
        wanted = {
            (tenant_id, parts[at : at + 16])
            for tenant_id, parts in packed
            if parts
            for at in range(0, len(parts), 32)
            if parts[at : at + 16] not in (OVERDRAFT_PART, UNBILLED_PART)
        }
        if not wanted:
            return []
        tenants, grants = zip(*wanted, strict=True)
        rows = await self._connection.fetch(SQL["grants_by_id"], tenants, [grant.hex() for grant in grants])
        return [
            (row["tenant_id"], row["grant_id"].bytes, row["kind"], row["priority"], row["amount"], row["expires_us"], row["created_us"])
            for row in rows
        ]
