"""Voids in the core against a real PostgreSQL and Valkey: each event once and whole, whoever fails in between."""

from __future__ import annotations

import asyncio
import json
import os
import random
import secrets
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import pytest

from buffmoney import _core
from buffmoney.base.clock import SystemClock
from tests.faults.proxy import CommitDroppingProxy
from tests.integration.partition import ACCEPTED, Room, core_process, event, running_core
from tests.integration.test_core import assert_whole


def void(key: str) -> dict[str, Any]:
    """A command of its own each time."""
    return {"type": "void", "commandId": secrets.token_hex(16), "key": key, "by": "key_test", "reason": None}


async def test_the_primary_key_is_the_last_arbiter(place: Room) -> None:
    """Proves: a void that somebody else stores between the core's reading and its writing is found, and told as the first one."""
    async with running_core(place.settings):
        await place.grant("acme", "10")
        assert [row[1] for row in await place.usage([event("raced"), event("other")])] == [ACCEPTED] * 2
        epoch = await place.owner.fetchval("SELECT epoch FROM partitions")
        identity = os.urandom(16)
        transaction = place.owner.transaction()
        await transaction.start()
        await place.owner.execute(
            "INSERT INTO usage_voids (tenant_id, key_hash, idempotency_key, account_id, commit_id, voided_at, command_id, voided_by, "
            "reason, event_commit_id, event_posting_seq, posting_seq, metric_id, price_id, occurred_at, quantity, charge, dimensions, "
            "parts, balance_after) SELECT e.tenant_id, k.key_hash, idempotency_key, account_id, e.commit_id, now(), gen_random_uuid(), "
            "'key_other', 'first', e.commit_id, posting_seq, 99, metric_id, price_id, occurred_at, quantity, charge, dimensions, '', 7 "
            "FROM usage_events e JOIN event_keys k ON k.key_hash = $1::text::uuid WHERE idempotency_key = 'raced'",
            _core.key_hash(place.tenant_id, "raced").hex(),
        )
        command = json.dumps(void("raced")).encode()
        await place.send(_core.command_message(place.tenant_id, identity, place.reply_to, False, command, b""))
        with pytest.raises(TimeoutError):
            await place.reply(identity, within_s=1)
        await transaction.commit()
        answer = json.loads(await place.reply(identity))
        assert (answer["ok"], answer["alreadyVoided"], answer["reason"], answer["balanceAfter"]) == (True, True, "first", "7")
        # Nobody lost the partition for it, nothing was given back, and the next one is voided as ever.
        assert await place.owner.fetchval("SELECT epoch FROM partitions") == epoch
        assert await place.balance("acme") == "8.000000000"
        assert (await place.command(void("other")))["alreadyVoided"] is False
        assert await place.balance("acme") == "9.000000000"


async def test_a_void_follows_its_event_in_whatever_group(place: Room) -> None:
    """Proves: an event that was just answered can be voided, and of many voids in flight at once one counts."""
    async with running_core(place.settings):
        await place.grant("acme", "10")
        for turn in range(20):
            await place.usage([event(f"k{turn}")])
            identities = [os.urandom(16) for _ in range(5)]
            for identity in identities:
                command = json.dumps(void(f"k{turn}")).encode()
                await place.send(_core.command_message(place.tenant_id, identity, place.reply_to, False, command, b""))
            answers = [json.loads(await place.reply(identity)) for identity in identities]
            assert sorted(answer["alreadyVoided"] for answer in answers) == [False, True, True, True, True]
        assert await place.balance("acme") == "10.000000000"
    async with running_core(place.settings):
        # A new core reads what it does not remember.
        assert (await place.command(void("k3")))["alreadyVoided"] is True
        assert (await place.command(void("never")))["code"] == "event_not_found"
    assert (await assert_whole(place))["voids"] == 20


@pytest.mark.parametrize("before_server", [False, True])
async def test_a_connection_lost_at_commit_voids_once(place: Room, before_server: bool) -> None:
    """Proves: whether the COMMIT arrived or not, the void and the amendment are there once and whole."""
    proxy = CommitDroppingProxy(place.settings.database_url)
    await proxy.start()
    database = urlsplit(place.settings.database_url).path.strip("/")
    try:
        async with running_core(place.settings.replace(database_url=proxy.url(database))):
            await place.grant("acme", "100")
            await place.usage([event(f"k{number}") for number in range(20)])
            proxy.before_server = before_server
            keys = [f"k{number}" for number in range(10)]
            words = {"type": "void_set", "commandId": secrets.token_hex(16), "setId": "ab" * 16, "by": "key_test"}
            for command in (void("k0"), {**words, "keys": keys}):
                proxy.armed = 1
                assert (await place.command(command))["ok"]
            assert proxy.dropped == 2
            assert await place.balance("acme") == "90.000000000"
    finally:
        await proxy.stop()
    assert (await assert_whole(place))["voids"] == 10


async def test_a_core_that_is_killed_while_voiding(place: Room) -> None:
    """Proves: after kill -9 of the core amid voids, amendments and usage, and all of it sent again, nothing is doubled and nothing half."""
    dice = random.Random(7)
    core = core_process(place.settings)
    kills = 0
    try:
        await place.grant("acme", "1000")
        for first in range(0, 600, 100):
            await place.usage([event(f"k{number}") for number in range(first, first + 100)])
        voided: set[int] = set()
        amended = 0
        for turn in range(10):
            numbers = range(turn * 60, turn * 60 + 50)
            sets = [numbers[at : at + 10] for at in range(0, 40, 10)]
            messages: dict[bytes, tuple[dict[str, Any], bytes]] = {}
            for some in sets:
                # Each set twice: two requests for the same events.
                for _ in range(2):
                    words = {"type": "void_set", "commandId": secrets.token_hex(16), "setId": "cd" * 16, "by": "key_test"}
                    messages[os.urandom(16)] = ({**words, "keys": [f"k{number}" for number in some]}, b"")
            for number in numbers[40:]:
                body = json.dumps({"events": [event(f"new {number}", quantity="250")]}).encode()
                section = _core.decode_batch(body, place.tenant_id, SystemClock().now_us()).section()
                messages[os.urandom(16)] = ({**void(f"k{number}"), "type": "amend"}, section)
            for identity, (command, section) in messages.items():
                await place.send(
                    _core.command_message(place.tenant_id, identity, place.reply_to, False, json.dumps(command).encode(), section)
                )
            await asyncio.sleep(dice.uniform(0.0, 0.03))
            core.kill()
            core.wait(10)
            kills += 1
            core = core_process(place.settings)
            for identity, (command, section) in messages.items():
                await place.send(
                    _core.command_message(place.tenant_id, identity, place.reply_to, True, json.dumps(command).encode(), section)
                )
            for identity in messages:
                answer = json.loads(await place.reply(identity, within_s=30))
                assert answer["ok"], answer
            voided.update(numbers)
            amended += 10
            expected = Decimal(1000) - 600 + len(voided) - Decimal(amended) / 4
            assert Decimal(str(await place.balance("acme"))) == expected
        assert kills == 10
    finally:
        core.terminate()
        core.wait(20)
    report = await assert_whole(place)
    assert (report["voids"], report["events"]) == (500, 700)
