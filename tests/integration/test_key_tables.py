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

from buffmoney._core import KeyFilter
from buffmoney.base.config import Settings
from buffmoney.ledger import verify
from buffmoney.metering import commit
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
    return await place.owner.fetch("SELECT key_table, keys, filter FROM key_tables WHERE partition_id = 0 ORDER BY key_table")


async def until_stored(place: Room, count: int) -> list[asyncpg.Record]:
    """The tables, once so many are closed and have their filters."""
    for _ in range(100):
        found = [row for row in await tables(place) if row["filter"] is not None]
        if len(found) >= count:
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(f"{len(found)} filters are stored")


async def fill(place: Room, closed: int) -> int:
    """Sends new events until so many tables are closed and stored. Gives how many events."""
    sent = 0
    while len([row for row in await tables(place) if row["filter"] is not None]) < closed:
        assert await use(place, range(sent, sent + 250)) == {ACCEPTED: 250}
        sent += 250
        assert sent < 20_000
        # Tables are made and stored beside the loop, every half second.
        await asyncio.sleep(0.1)
    return sent


async def test_a_key_is_taken_once_over_all_tables(place: Room) -> None:
    async with running_core(place.settings):
        await place.grant("acme", "100000")
        sent = await fill(place, 3)
        # Old ones alone, old and new ones in one batch, and an old key with another payload.
        assert await use(place, range(1_000)) == {DUPLICATE: 1_000}
        assert await use(place, range(sent - 250, sent + 250)) == {DUPLICATE: 250, ACCEPTED: 250}
        assert await use(place, range(500), quantity="2") == {CONFLICT: 500}
        held = await place.owner.fetch("SELECT key_table, count(*) AS keys FROM event_keys GROUP BY 1 ORDER BY 1")
        assert len(held) >= 3
        assert sum(row["keys"] for row in held) == sent + 250
        for row in await until_stored(place, 3):
            stored = await place.owner.fetch("SELECT key_hash FROM event_keys WHERE key_table = $1", row["key_table"])
            assert row["keys"] == len(stored)
            assert len(row["filter"]) == KeyFilter(KEYS).size_bytes
    report = await assert_whole(place)
    assert report["events"] == sent + 250


@pytest.mark.parametrize("memory", [1 << 20, 0], ids=["filters", "no memory for filters"])
async def test_another_core_knows_the_keys_of_closed_tables(place: Room, memory: int) -> None:
    async with running_core(place.settings):
        await place.grant("acme", "100000")
        sent = await fill(place, 2)
    async with running_core(place.settings.replace(key_filter_bytes=memory)):
        assert await use(place, range(sent)) == {DUPLICATE: sent}
        assert await use(place, range(sent, sent + 500)) == {ACCEPTED: 500}
    await assert_whole(place)


async def test_a_table_without_a_filter_is_looked_into_until_it_is_read(place: Room) -> None:
    """As after a crash between closing a table and storing its filter."""
    async with running_core(place.settings):
        await place.grant("acme", "100000")
        sent = await fill(place, 2)
    await place.owner.execute("UPDATE key_tables SET filter = NULL")
    async with running_core(place.settings):
        assert await use(place, range(sent)) == {DUPLICATE: sent}
        assert await use(place, range(sent, sent + 500)) == {ACCEPTED: 500}
        again = await until_stored(place, 2)
        newest = (await tables(place))[-1]["key_table"]
        assert newest not in {row["key_table"] for row in again}, "the open table has none"
    await assert_whole(place)


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


async def test_a_core_that_lost_its_lease_stores_no_filter(place: Room) -> None:
    async with running_core(place.settings):
        await place.grant("acme", "100000")
        assert await use(place, range(100)) == {ACCEPTED: 100}
    epoch = await place.owner.fetchval("SELECT epoch FROM partitions WHERE partition_id = 0")
    number = (await tables(place))[-1]["key_table"]
    for wrong, changed in ((epoch - 1, "UPDATE 0"), (epoch, "UPDATE 1"), (epoch, "UPDATE 0")):
        assert await place.owner.execute(commit.SQL["store_key_filter"], 0, wrong, number, 0, KeyFilter(KEYS).stored()) == changed


async def test_verification_finds_a_key_that_is_in_two_tables(place: Room) -> None:
    """An empty filter stands for one that has lost its keys: the event is charged a second time, and verification says so."""
    async with running_core(place.settings):
        await place.grant("acme", "100000")
        await fill(place, 1)
    first = (await tables(place))[0]["key_table"]
    await place.owner.execute("UPDATE key_tables SET filter = $2 WHERE key_table = $1", first, KeyFilter(KEYS).stored())
    async with running_core(place.settings):
        assert await place.usage([key_event(0)], os.urandom(16)) == [(0, ACCEPTED, 10**6)]
    report = await verify.verify(place.settings, lambda _name, _rows, _expected: None)
    assert [one["what"] for one in report["differences"]] == ["key_twice"]
