"""The core against a real PostgreSQL and Valkey: nothing is lost, doubled or answered wrongly, whoever fails in between."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import time
from urllib.parse import urlsplit

import asyncpg
import pytest

from buffmoney.base.database import connect
from buffmoney.ledger import heads, verify
from buffmoney.metering import lease
from tests.faults.proxy import CommitDroppingProxy
from tests.integration.partition import (
    ACCEPTED,
    DUPLICATE,
    INSUFFICIENT,
    Room,
    assert_whole,
    core_process,
    event,
    outcomes,
    running_core,
)


async def test_a_batch_is_charged_once_and_a_repetition_changes_nothing(place: Room) -> None:
    async with running_core(place.settings):
        await place.grant("acme", "10")
        first = event("k1")
        events = [first, event("k2", quantity="500"), first]
        assert await place.usage(events) == [(0, ACCEPTED, 10**9), (1, ACCEPTED, 5 * 10**8), (2, DUPLICATE, 0)]
        assert [row[1] for row in await place.usage(events)] == [DUPLICATE] * 3
        assert await place.balance("acme") == "8.500000000"
    report = await assert_whole(place)
    assert (report["events"], report["charged"]) == (2, {"CNY": "1.5"})


async def test_a_new_core_finds_stored_keys_after_the_unique_violation(place: Room) -> None:
    async with running_core(place.settings):
        await place.grant("acme", "10")
        await place.usage([event("k1"), event("k2")])
    async with running_core(place.settings):
        answers = await place.usage([event("k1"), event("new"), event("k2")])
        # k1 and k2 carry another time than before, so they conflict; what matters is that neither is charged again.
        assert [row[1] == ACCEPTED for row in answers] == [False, True, False]
        assert await place.balance("acme") == "7.000000000"
    await assert_whole(place)


async def test_old_duplicates_in_every_batch_cost_a_look_up_and_no_new_tenure(place: Room) -> None:
    old = [event(f"old-{number}", quantity="1") for number in range(500)]
    async with running_core(place.settings):
        await place.grant("acme", "10")
        assert [row[1] for row in await place.usage(old)] == [ACCEPTED] * 500
    async with running_core(place.settings):
        await place.usage([event("first", quantity="1")])
        epoch = await place.owner.fetchval("SELECT epoch FROM partitions WHERE partition_id = 0")
        messages = []
        for number, repeated in enumerate(old):
            # They keep coming while groups fail, so that newcomers bring the same trouble.
            messages.append(os.urandom(16))
            await place.send(place.usage_message([event(f"new-{number}", quantity="1"), repeated], messages[-1]))
            await asyncio.sleep(0.002)
        for message in messages:
            assert [row[1] for row in outcomes(await place.reply(message))] == [ACCEPTED, DUPLICATE]
        assert await place.owner.fetchval("SELECT epoch FROM partitions WHERE partition_id = 0") == epoch
    assert (await assert_whole(place))["events"] == 1_001


async def test_an_event_that_was_accepted_is_a_duplicate_even_when_it_could_not_be_paid_now(place: Room) -> None:
    once = event("only")
    async with running_core(place.settings):
        await place.grant("acme", "1")
        assert (await place.usage([once]))[0][1] == ACCEPTED
    async with running_core(place.settings):
        assert [row[1] for row in await place.usage([once, event("other")])] == [DUPLICATE, INSUFFICIENT]
        assert await place.balance("acme") == "0.000000000"
    await assert_whole(place)


async def test_a_redelivered_message_gets_its_first_outcome_from_a_new_core(place: Room) -> None:
    events, identity = [event("k1"), event("k2", quantity="300")], os.urandom(16)
    async with running_core(place.settings):
        await place.grant("acme", "1.2")
        first = await place.usage(events, identity)
        assert [row[1] for row in first] == [ACCEPTED, INSUFFICIENT]
        # The reply is still in the cache of the same core.
        assert await place.usage(events, identity, redelivered=True) == first
    async with running_core(place.settings):
        assert await place.usage(events, identity, redelivered=True) == first
        assert await place.balance("acme") == "0.200000000"
    await assert_whole(place)


async def test_a_command_gives_its_first_answer_to_every_repetition(place: Room) -> None:
    command = {"type": "hold", "commandId": secrets.token_hex(16), "customer": "acme", "amount": "3", "ttlMs": 60_000}
    async with running_core(place.settings):
        await place.grant("acme", "10")
        first = await place.command(command)
        assert first["ok"], first
        assert await place.command(command) == first
    async with running_core(place.settings):
        assert await place.command(command) == first
        assert (await place.command({**command, "amount": "4"}))["code"] == "idempotency_conflict"
        captured = await place.command(
            {"type": "capture", "commandId": secrets.token_hex(16), "holdId": command["commandId"], "amount": "1"}
        )
        assert captured["ok"], captured
        assert await place.balance("acme") == "9.000000000"
    await assert_whole(place)


async def test_holds_and_grants_end_by_themselves(place: Room) -> None:
    async with running_core(place.settings):
        await place.grant("acme", "10", expires_in_s=3)
        await place.grant("used", "1", expires_in_s=1)
        assert (await place.usage([event("k", customer="used")]))[0][1] == ACCEPTED
        hold = {"type": "hold", "commandId": secrets.token_hex(16), "customer": "acme", "amount": "4", "ttlMs": 500}
        assert (await place.command(hold))["ok"]
        assert await place.balance("acme") == "6.000000000"
        await asyncio.sleep(1.6)
        assert await place.balance("acme") == "10.000000000"
        await asyncio.sleep(3)
        assert await place.balance("acme") == "0.000000000"
        # Also the grant that was used up before its end counts as past, so that no sweep finds it again.
        assert await place.owner.fetchval("SELECT count(*) FROM grants WHERE expired_commit_id IS NULL") == 0
    await assert_whole(place)


@pytest.mark.parametrize("before_server", [False, True])
async def test_a_connection_lost_at_commit_neither_loses_nor_doubles(place: Room, before_server: bool) -> None:
    proxy = CommitDroppingProxy(place.settings.database_url)
    await proxy.start()
    database = urlsplit(place.settings.database_url).path.strip("/")
    try:
        async with running_core(place.settings.replace(database_url=proxy.url(database))):
            await place.grant("acme", "100")
            for turn in range(3):
                proxy.before_server = before_server
                proxy.armed = 1
                answers = await place.usage([event(f"{turn}-{number}") for number in range(20)])
                assert [row[1] for row in answers] == [ACCEPTED] * 20
            assert proxy.dropped == 3
            assert await place.balance("acme") == "40.000000000"
    finally:
        await proxy.stop()
    await assert_whole(place)


async def test_two_cores_that_believe_in_the_same_partition_cannot_both_commit(place: Room) -> None:
    """One is stopped past its lease, in the middle of traffic, and goes on after another has taken over."""
    first = core_process(place.settings)
    second = None
    try:
        await place.grant("acme", "1000")
        assert (await place.usage([event("before")]))[0][1] == ACCEPTED
        first.send_signal(signal.SIGSTOP)
        second = core_process(place.settings)
        identities = [os.urandom(16) for _ in range(20)]
        batches = [[event(f"{turn}-{number}") for number in range(10)] for turn in range(20)]
        for identity, events in zip(identities, batches, strict=True):
            await place.send(place.usage_message(events, identity))
        # What the stopped core has taken from the inbox is delivered again, as an edge does it.
        await asyncio.sleep(3)
        first.send_signal(signal.SIGCONT)
        for identity, events in zip(identities, batches, strict=True):
            await place.send(place.usage_message(events, identity, redelivered=True))
        for identity in identities:
            await place.reply(identity, within_s=20)
        assert (await place.usage([event("after")]))[0][1] == ACCEPTED
        assert await place.balance("acme") == "798.000000000"
        epochs = [row["epoch"] for row in await place.owner.fetch("SELECT epoch FROM commits ORDER BY commit_seq")]
        assert epochs == sorted(epochs)
        assert len(set(epochs)) == 2
    finally:
        for process in (first, second):
            if process is not None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
                process.wait(20)
    await assert_whole(place)


async def test_a_killed_core_is_followed_at_once(place: Room) -> None:
    """A lease of a process that is gone need not run out; one of a process that only stands still must."""
    patient = place.settings.replace(lease_s=30.0)
    first = core_process(patient)
    await place.grant("acme", "10")
    first.send_signal(signal.SIGSTOP)
    async with running_core(patient):
        identity = os.urandom(16)
        await place.send(place.usage_message([event("waits")], identity))
        with pytest.raises(TimeoutError):
            await place.reply(identity, within_s=2)
        first.kill()
        first.wait(10)
        # What the first one had taken from the inbox is delivered again.
        await place.send(place.usage_message([event("waits")], identity, redelivered=True))
        assert (await place.usage([event("next")]))[0][1] == ACCEPTED
    await assert_whole(place)


def test_a_lease_of_another_machine_is_never_taken_for_dead() -> None:
    ours = lease.new_holder()
    machine, _, created, token = ours.split(":")
    assert not lease.is_dead(ours)
    assert lease.is_dead(f"{machine}:{2**22 - 1}:{created}:{token}")
    assert lease.is_dead(f"{machine}:{os.getpid()}:1.00:{token}"), "the number was given to another process"
    for unknown in ("", "elsewhere", f"elsewhere.1:{2**22 - 1}:{created}:{token}"):
        assert not lease.is_dead(unknown)


async def test_a_predecessor_that_stands_still_in_its_commit_holds_nobody_up(place: Room) -> None:
    """As a core that is stopped after it has moved the partition's row on and before its COMMIT: the row stays locked."""
    async with running_core(place.settings):
        await place.grant("acme", "10")
    stopped = await connect(place.settings, "core", name="buffmoney core 0 writer a")
    await stopped.execute("BEGIN; UPDATE partitions SET commit_seq = commit_seq + 1 WHERE partition_id = 0")
    began = time.monotonic()
    async with running_core(place.settings):
        assert await place.usage([event("k1")]) == [(0, ACCEPTED, 10**9)]
    assert time.monotonic() - began < 4
    with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.OperatorInterventionError)):
        await stopped.execute("COMMIT")
    await assert_whole(place)


async def test_a_core_refuses_a_ledger_that_ends_before_its_signed_head(place: Room) -> None:
    async with running_core(place.settings):
        await place.grant("acme", "10")
        await place.usage([event("k1")])
    assert place.settings.heads_file is not None
    assert heads.read(place.settings.heads_file)[0].commit_seq == 2
    # The owner of the database cuts the last commit off, and mends the head so that the rest is whole in itself.
    await place.owner.execute("SET session_replication_role = replica")
    for statement in (
        "DELETE FROM event_keys WHERE commit_id & 65535 = 2",
        "DELETE FROM usage_events WHERE commit_id & 65535 = 2",
        "DELETE FROM postings WHERE commit_id & 65535 = 2",
        "DELETE FROM commits WHERE commit_seq = 2",
    ):
        await place.owner.execute(statement)
    head = await place.owner.fetchval("SELECT head FROM commits WHERE commit_seq = 1")
    mac = heads.sign(place.settings.ledger_key, 0, 1, head)
    await place.owner.execute("UPDATE partitions SET commit_seq = 1, head = $1, head_mac = $2", head, mac)
    report = await verify.verify(place.settings, lambda _name, _rows, _expected: None)
    assert not report["ok"]
    await place.redis.command("DEL", "{p0}:core")
    async with running_core(place.settings):
        await place.send(place.usage_message([event("k2")], os.urandom(16)))
        await asyncio.sleep(1.5)
        assert await place.owner.fetchval("SELECT commit_seq FROM partitions") == 1
        assert await place.redis.command("LLEN", "{p0}:inbox") == 1
        assert await place.redis.command("EXISTS", "{p0}:core") == 0


async def test_a_flushed_redis_loses_nothing(place: Room) -> None:
    async with running_core(place.settings):
        await place.grant("acme", "10")
        events, identity = [event("k1")], os.urandom(16)
        await place.usage(events, identity)
        await place.redis.command("FLUSHALL")
        assert await place.usage(events, identity, redelivered=True) == [(0, ACCEPTED, 10**9)]
        await asyncio.sleep(1.5)
        assert await place.redis.command("EXISTS", "{p0}:core") == 1
        assert [row[1] for row in await place.usage(events)] == [DUPLICATE]


async def test_a_connection_that_would_lose_commits_is_refused(place: Room) -> None:
    await place.owner.execute("SET synchronous_commit = off")
    with pytest.raises(lease.NotDurableError, match="synchronous_commit"):
        await lease.assert_durable(place.owner, unsafe=False)
