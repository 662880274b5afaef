"""The edge's side of the inbox against a real Valkey. The other side is the test, in place of the core: it takes messages and answers."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from buffmoney.base.config import Settings
from buffmoney.base.errors import Problem
from buffmoney.base.http import Tenant
from buffmoney.base.redis import RedisPipe, RedisQueue
from buffmoney.metering import inbox, message
from buffmoney.metering.watch import GRACE_S, PartitionWatch
from tests.integration.partition import servers
from tests.product import SCRATCH

TENANT = Tenant(7, "mer_1", "live", 0, "CNY", "key_1")
INBOX = "{p0}:inbox"


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    """A Valkey of these tests' own."""
    home = SCRATCH / f"inbox-{secrets.token_hex(4)}"
    home.mkdir(parents=True)
    try:
        with servers(home) as running:
            yield running.replace(answer_timeout_s=6.0)
    finally:
        shutil.rmtree(home, ignore_errors=True)


class Far:
    """The far side: what a core would take and answer."""

    def __init__(self, settings: Settings) -> None:
        self.redis = RedisPipe(settings.redis_url)
        self.queue = RedisQueue(settings.redis_url)

    async def show_core(self) -> None:
        await self.redis.command("SET", "{p0}:core", "1:1", "PX", 60_000)

    async def take(self, wait_s: float = 5.0) -> list[message.Incoming]:
        return [message.read(raw) for raw in await self.queue.pop(INBOX, side="RIGHT", count=500, wait_s=wait_s)]

    async def answer(self, incoming: message.Incoming, content: dict[str, Any]) -> None:
        await self.redis.command("RPUSH", incoming.reply_to, incoming.message_id + b"\x02" + json.dumps(content).encode())

    async def close(self) -> None:
        await self.redis.close()
        await self.queue.close()


@pytest.fixture
async def far(settings: Settings) -> AsyncIterator[Far]:
    side = Far(settings)
    await side.redis.command("FLUSHALL")
    await side.show_core()
    yield side
    await side.close()


@pytest.fixture
async def near(settings: Settings, far: Far) -> AsyncIterator[inbox.Inbox]:
    watch = PartitionWatch(settings.redis_url)
    near = inbox.Inbox(settings, watch)
    await watch.start()
    await near.start()
    yield near
    await near.stop(drain_s=0.1)
    await watch.stop()


async def test_messages_of_one_turn_go_together(near: inbox.Inbox, far: Far) -> None:
    """Proves: many commands at once reach the core in order, and each gets its own answer, whatever the order of the answers."""
    calls = [asyncio.create_task(near.command(TENANT, {"number": number})) for number in range(300)]
    taken = await far.take()
    assert len(taken) == 300
    numbers = [_command_of(one)["number"] for one in taken]
    assert numbers == list(range(300))
    for one, number in sorted(zip(taken, numbers, strict=True), key=lambda pair: -pair[1]):
        await far.answer(one, {"ok": True, "number": number})
    assert [(await call)["number"] for call in calls] == list(range(300))


async def test_a_lost_message_is_sent_again(near: inbox.Inbox, far: Far) -> None:
    """Proves: after a flush the message goes out again under the same id, marked as redelivered, and a second answer is dropped."""
    call = asyncio.create_task(near.command(TENANT, {"a": 1}))
    first = (await far.take())[0]
    assert not first.redelivered
    await far.redis.command("FLUSHALL")
    await far.show_core()
    second = (await far.take())[0]
    assert second.redelivered
    assert second.message_id == first.message_id
    await far.answer(second, {"ok": True})
    await far.answer(first, {"ok": False})
    assert (await call)["ok"] is True


async def test_what_waits_in_the_inbox_is_not_sent_again(near: inbox.Inbox, far: Far) -> None:
    """Proves: a slow core does not get every message twice."""
    call = asyncio.create_task(near.command(TENANT, {"a": 1}))
    await asyncio.sleep(inbox.FIRST_PATIENCE_S + 0.8)
    assert len(await far.take()) == 1
    call.cancel()


async def test_no_answer_is_an_unknown_outcome(near: inbox.Inbox, far: Far, settings: Settings) -> None:
    """Proves: after the answer time-out the client is told that the outcome is not known, and when to ask again."""
    began = time.monotonic()
    with pytest.raises(Problem) as unknown:
        await near.command(TENANT, {"a": 1})
    assert unknown.value.code == "outcome_unknown"
    assert unknown.value.retry_after == 1
    assert settings.answer_timeout_s - 0.5 < time.monotonic() - began < settings.answer_timeout_s + 1.5


async def test_a_core_that_is_away_is_found_out(near: inbox.Inbox, far: Far) -> None:
    """Proves: without a core nothing is sent, and as soon as it is back everything works."""
    near.check_room(0)
    await far.redis.command("DEL", "{p0}:core")
    await asyncio.sleep(GRACE_S + 0.6)
    with pytest.raises(Problem) as refused:
        await near.command(TENANT, {"a": 1})
    assert refused.value.code == "core_unavailable"
    assert await far.redis.command("LLEN", INBOX) == 0
    await far.show_core()
    await asyncio.sleep(0.6)
    near.check_room(0)


async def test_a_full_inbox_takes_no_more(near: inbox.Inbox, far: Far) -> None:
    """Proves: messages are refused while the inbox is full, and taken again when it is not."""
    near.check_room(0)
    await far.redis.command("LPUSH", INBOX, *[b"x"] * inbox.MAX_USAGE_DEPTH)
    await asyncio.sleep(0.6)
    with pytest.raises(Problem) as refused:
        await near.usage(TENANT, lambda identity, reply_to, again: b"never sent")
    assert refused.value.code == "overloaded"
    await far.redis.command("DEL", INBOX)
    await asyncio.sleep(0.6)
    near.check_room(0)


async def test_redis_that_is_away(settings: Settings) -> None:
    """Proves: without Redis a command is refused at once instead of waiting for its time-out."""
    gone = settings.replace(redis_url="redis://127.0.0.1:1/0")
    watch = PartitionWatch(gone.redis_url)
    near = inbox.Inbox(gone, watch)
    await watch.start()
    await near.start()
    try:
        await asyncio.sleep(0.3)
        began = time.monotonic()
        with pytest.raises(Problem) as refused:
            await near.command(TENANT, {"a": 1})
        assert refused.value.code == "redis_unavailable"
        assert time.monotonic() - began < 0.1
    finally:
        await near.stop(drain_s=0.1)
        await watch.stop()


def _command_of(incoming: message.Incoming) -> dict[str, Any]:
    # Header of 30 bytes, reply_to, u32 length, JSON.
    start = 46 + len(incoming.reply_to)
    length = int.from_bytes(incoming.raw[start : start + 4], "little")
    content: dict[str, Any] = json.loads(incoming.raw[start + 4 : start + 4 + length])
    return content
