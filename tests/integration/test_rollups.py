"""Roll-ups equal the events they cover, whoever dies in between, and the verifier sees when they do not."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import pytest

from buffmoney.base.config import Settings
from buffmoney.base.database import Database
from buffmoney.ledger import verify
from buffmoney.metering import rollups
from tests.integration.partition import Room, event, room, running_core, servers
from tests.product import SCRATCH

AT_ONCE = timedelta(0)


@pytest.fixture(scope="module")
def backends() -> Iterator[Settings]:
    home = SCRATCH / f"rollups-{secrets.token_hex(4)}"
    home.mkdir(parents=True)
    try:
        with servers(home) as settings:
            yield settings
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
async def place(backends: Settings) -> AsyncIterator[Room]:
    async with room(backends) as there:
        async with running_core(there.settings):
            await there.grant("acme", "1000")
            await there.usage([event(f"a{number}", quantity=str(number + 1)) for number in range(100)])
        yield there


@pytest.fixture
async def worker(place: Room) -> AsyncIterator[Database]:
    database = await Database.open(place.settings, "worker", size=4)
    yield database
    await database.close()


async def differences(place: Room) -> list[str]:
    report = await verify.verify(place.settings, lambda _name, _rows, _expected: None)
    return [one["what"] for one in report["differences"]]


async def test_every_event_is_counted_once(place: Room, worker: Database) -> None:
    assert await rollups.roll_up(worker, 0) == 0, "a young tail waits"
    # Several workers at once: one does it.
    counts = await asyncio.gather(*(rollups.roll_up(worker, 0, patience=AT_ONCE) for _ in range(4)))
    assert sorted(counts) == [0, 0, 0, 100]
    async with running_core(place.settings):
        await place.usage([event(f"b{number}") for number in range(50)])
    assert await rollups.roll_up(worker, 0, patience=AT_ONCE) == 50
    assert await rollups.roll_up(worker, 0, patience=AT_ONCE) == 0
    sums = await place.owner.fetchrow("SELECT sum(events), sum(quantity), sum(charge) FROM usage_rollups")
    assert tuple(sums) == tuple(await place.owner.fetchrow("SELECT count(*), sum(quantity), sum(charge) FROM usage_events"))
    assert await differences(place) == []


async def test_the_verifier_sees_a_roll_up_that_is_off(place: Room, worker: Database) -> None:
    await rollups.roll_up(worker, 0, patience=AT_ONCE)
    await place.owner.execute("UPDATE usage_rollups SET quantity = quantity + 1")
    assert await differences(place) == ["rollup"]


async def test_the_worker_stops_when_told_and_keeps_the_indexes_summarised(place: Room, worker: Database) -> None:
    stopping = asyncio.Event()
    task = asyncio.create_task(rollups.keep_up(worker, stopping))
    await asyncio.sleep(0.3)
    stopping.set()
    await asyncio.wait_for(task, 5)
    async with worker.connection() as connection:
        assert await connection.fetchval("SELECT summarize_commit_indexes()") == 0
