"""Roll-ups equal the events they cover, whoever dies in between, and the verifier sees when they do not."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal

import pytest

from buffmoney.base import queries
from buffmoney.base.config import Settings
from buffmoney.base.database import Database
from buffmoney.ledger import verify
from buffmoney.metering import rollups
from tests.integration.partition import Room, event, room, running_core

AT_ONCE = timedelta(0)


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


async def sums(place: Room) -> tuple[int, Decimal, Decimal]:
    """(events, quantity, charge) as `GET /v1/usage` reads them, in one snapshot."""
    statement = queries.load("buffmoney.metering", "usage.sql")["usage"]
    arguments = (place.tenant_id, 0, None, None, None, None, None, "hour", "Asia/Shanghai", True, ["model"], 100, False)
    rows = await place.owner.fetch(statement, *arguments)
    return (*(sum((row[name] for row in rows), Decimal(0)) for name in ("events", "quantity", "charge")),)  # type: ignore[return-value]


async def test_voids_leave_the_sums_when_their_commit_comes(place: Room, worker: Database) -> None:
    """Proves: events rolled up and voided later, voided before they are rolled up, and voided in a chunk with nothing else."""

    async def void(*keys: str) -> None:
        for key in keys:
            answer = await place.command({"type": "void", "commandId": secrets.token_hex(16), "key": key, "by": "key_test"})
            assert answer["ok"], answer

    left = {f"a{number}": number + 1 for number in range(100)}
    async with running_core(place.settings):
        for keys, roll in ((("a0", "a1"), True), (("a2",), False), (("a3", "a4"), True), (("a5",), True), ((), True)):
            await void(*keys)
            for key in keys:
                del left[key]
            expected = (len(left), sum(left.values()), Decimal(sum(left.values())) / 1000)
            assert await sums(place) == expected
            if roll:
                await rollups.roll_up(worker, 0, patience=AT_ONCE)
                assert await sums(place) == expected
                assert await differences(place) == []
        # Where everything is voided, it is as if there had been nothing.
        await void(*left)
        assert await sums(place) == (0, 0, 0)
        await rollups.roll_up(worker, 0, patience=AT_ONCE)
        assert await sums(place) == (0, 0, 0)
        assert await place.owner.fetchval("SELECT sum(events) + sum(quantity) + sum(charge) FROM usage_rollups") == 0
    assert await differences(place) == []


async def test_the_verifier_sees_a_roll_up_without_its_voids(place: Room, worker: Database) -> None:
    """Proves: a worker that rolled up without looking at the voids would be found."""
    async with running_core(place.settings):
        await place.command({"type": "void", "commandId": secrets.token_hex(16), "key": "a7", "by": "key_test"})
    await rollups.roll_up(worker, 0, patience=AT_ONCE)
    assert await differences(place) == []
    await place.owner.execute("UPDATE usage_rollups SET events = events + 1, quantity = quantity + 8, charge = charge + 0.008")
    assert await differences(place) == ["rollup"]
