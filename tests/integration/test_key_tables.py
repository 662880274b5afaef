"""Event keys in many small tables, with a real core: dedupe is exact over all of them, also for a core that has just begun."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from buffmoney._core import Engine
from buffmoney.base.config import Settings
from buffmoney.ledger import verify
from buffmoney.metering import commit, lease
from buffmoney.metering.key_tables import TABLES_IN_A_SPAN, KeyTables, KeyTwiceError
from tests.integration.partition import ACCEPTED, CONFLICT, DUPLICATE, Room, assert_whole, event, room, running_core

KEYS = 1_000
NOW = datetime.now(UTC).isoformat().replace("+00:00", "Z")


@pytest.fixture
async def place(backends: Settings) -> AsyncIterator[Room]:
    async with room(backends.replace(keys_per_table=KEYS)) as there:
        yield there


def key_event(number: int, quantity: str = "1") -> dict[str, Any]:
    """The same each time."""
    return {**event(f"key {number}", quantity=quantity), "occurredAt": NOW}


async def use(place: Room, numbers: range, *, quantity: str = "1") -> Counter[int]:
    """Sends these events in batches of 500; how many got which outcome."""
    found: Counter[int] = Counter()
    for first in range(numbers.start, numbers.stop, 500):
        batch = [key_event(number, quantity) for number in range(first, min(first + 500, numbers.stop))]
        found.update(outcome for _, outcome, _ in await place.usage(batch))
    return found


async def tables(place: Room) -> list[asyncpg.Record]:
    return await place.owner.fetch(
        "SELECT key_table, keys, filter, span_from, indexed FROM key_tables WHERE partition_id = 0 ORDER BY key_table"
    )


async def closed_tables(place: Room) -> list[asyncpg.Record]:
    return [row for row in await tables(place) if row["keys"] is not None]


async def fill(place: Room, closed: int) -> int:
    """Sends new events until so many tables are closed. Gives how many events."""
    sent = 0
    while len(await closed_tables(place)) < closed:
        assert await use(place, range(sent, sent + 250)) == {ACCEPTED: 250}
        sent += 250
        assert sent < 20_000
        # Tables are made and stored beside the loop, every half second.
        await asyncio.sleep(0.1)
    return sent


async def test_a_key_is_taken_once_over_all_tables(place: Room) -> None:
    async with running_core(place.settings):
        await place.grant("acme", "100000")
        sent = await fill(place, 10)
        # Old ones alone, old and new ones in one batch, and an old key with another payload.
        assert await use(place, range(1_000)) == {DUPLICATE: 1_000}
        assert await use(place, range(sent - 250, sent + 250)) == {DUPLICATE: 250, ACCEPTED: 250}
        assert await use(place, range(500), quantity="2") == {CONFLICT: 500}
        held = await place.owner.fetch("SELECT key_table, count(*) AS keys FROM event_keys GROUP BY 1 ORDER BY 1")
        assert len(held) > 10
        assert sum(row["keys"] for row in held) == sent + 250
        stored = {row["key_table"]: row["keys"] for row in held}
        assert all(row["keys"] == stored[row["key_table"]] and row["indexed"] for row in await closed_tables(place))
        (span,) = [row for row in await tables(place) if row["filter"] is not None]
        assert span["span_from"] == held[0]["key_table"]
        assert sum(row["keys"] for row in held if row["key_table"] <= span["key_table"]) >= TABLES_IN_A_SPAN * KEYS
        assert len(span["filter"]) == 1 << 16, "a chunk"
    report = await assert_whole(place)
    assert report["events"] == sent + 250


@pytest.mark.parametrize("memory", [1 << 20, 0], ids=["filters", "no memory for filters"])
async def test_another_core_knows_the_keys_of_closed_tables(place: Room, memory: int) -> None:
    async with running_core(place.settings):
        await place.grant("acme", "100000")
        sent = await fill(place, 10)
    async with running_core(place.settings.replace(key_filter_bytes=memory)):
        assert await use(place, range(sent)) == {DUPLICATE: sent}
        assert await use(place, range(sent, sent + 500)) == {ACCEPTED: 500}
    await assert_whole(place)


async def test_a_span_without_a_filter_is_read_anew(place: Room) -> None:
    """As after a crash between closing its last table and storing its filter."""
    async with running_core(place.settings):
        await place.grant("acme", "100000")
        sent = await fill(place, 9)
    await place.owner.execute("UPDATE key_tables SET filter = NULL, span_from = NULL")
    async with running_core(place.settings):
        assert await use(place, range(sent)) == {DUPLICATE: sent}
        assert await use(place, range(sent, sent + 2_500)) == {ACCEPTED: 2_500}
    await assert_whole(place)


async def test_a_closed_table_without_an_index_gets_it_before_anything_is_taken(place: Room) -> None:
    """As after a crash between closing a table and making its index."""
    async with running_core(place.settings):
        await place.grant("acme", "100000")
        sent = await fill(place, 2)
    indexes = "SELECT tablename FROM pg_indexes WHERE tablename LIKE 'event_keys_%' ORDER BY 1"
    made = [row["tablename"] for row in await place.owner.fetch(indexes)]
    closed = [row["key_table"] for row in await closed_tables(place)]
    assert made == [f"event_keys_{number}" for number in closed], "the open table has none"
    await place.owner.execute(f"DROP INDEX event_keys_{closed[-1]}_pkey")
    await place.owner.execute("UPDATE key_tables SET indexed = false, keys = NULL WHERE key_table = $1", closed[-1])
    async with running_core(place.settings):
        assert await use(place, range(sent)) == {DUPLICATE: sent}
        assert set(made) <= {row["tablename"] for row in await place.owner.fetch(indexes)}
    await assert_whole(place)


async def test_a_key_that_was_taken_twice_stops_the_partition(place: Room) -> None:
    """It cannot happen while the engine is right; if it does, the index of the closed table shows it, and somebody has to look."""
    async with running_core(place.settings):
        await place.grant("acme", "100000")
        await fill(place, 1)
    number = (await tables(place))[-1]["key_table"]
    row = "VALUES (1, '00000000-0000-0000-0000-000000000001'::uuid, 1, 1, $1::integer)"
    for _ in range(2):
        await place.owner.execute(f"INSERT INTO event_keys_{number} (tenant_id, key_hash, fingerprint, commit_id, key_table) {row}", number)
    assert await place.owner.fetchval("SELECT open_key_table(0, 1000)") > number
    taken = lease.Lease(0, 1, "test", 0, bytes(32), b"")
    with pytest.raises(KeyTwiceError, match=f"event_keys_{number}"):
        await KeyTables(taken).begin(place.owner, Engine(0, bytes(32)), place.settings)


async def test_keys_from_before_there_were_several_tables_are_known(place: Room) -> None:
    async with running_core(place.settings):
        await place.grant("acme", "100000")
        assert await use(place, range(700)) == {ACCEPTED: 700}
    # What the migration leaves of an older database: one table of all partitions.
    await place.owner.execute("UPDATE key_tables SET partition_id = NULL")
    async with running_core(place.settings):
        assert await use(place, range(700)) == {DUPLICATE: 700}
        assert await use(place, range(700, 1_000)) == {ACCEPTED: 300}
        assert (await tables(place))[0]["keys"] is None, "new keys go into a table of the partition's own"
    await assert_whole(place)


async def test_a_core_that_lost_its_lease_closes_no_table(place: Room) -> None:
    async with running_core(place.settings):
        await place.grant("acme", "100000")
        assert await use(place, range(100)) == {ACCEPTED: 100}
    epoch = await place.owner.fetchval("SELECT epoch FROM partitions WHERE partition_id = 0")
    number = (await tables(place))[-1]["key_table"]
    for wrong, changed in ((epoch - 1, "UPDATE 0"), (epoch, "UPDATE 1"), (epoch, "UPDATE 0")):
        assert await place.owner.execute(commit.SQL["close_key_table"], 0, wrong, number, 0, bytes(64), number) == changed


async def test_verification_finds_a_key_that_is_in_two_tables(place: Room) -> None:
    """An empty filter stands for one that has lost its keys: the event is charged a second time, and verification says so."""
    async with running_core(place.settings):
        await place.grant("acme", "100000")
        await fill(place, 1)
    first = (await tables(place))[0]["key_table"]
    await place.owner.execute("UPDATE key_tables SET filter = $2, span_from = $1 WHERE key_table = $1", first, bytes(1 << 16))
    async with running_core(place.settings):
        assert await place.usage([key_event(0)], os.urandom(16)) == [(0, ACCEPTED, 10**6)]
    report = await verify.verify(place.settings, lambda _name, _rows, _expected: None)
    assert [one["what"] for one in report["differences"]] == ["key_twice"]
