"""What an edge knows of each partition's core and inbox: polled from Redis, so that a request is refused before it waits in vain."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import Gauge

from buffmoney.base import telemetry
from buffmoney.base.errors import RedisUnavailable
from buffmoney.base.redis import RedisPipe, pack

POLL_S = 0.25
GRACE_S = 2.0
"""How long a core may be missing from Redis before it counts as away: a flush takes its sign away until it renews it."""

CORE_UP = Gauge("buffmoney_edge_core_up", "1 while the partition's core shows itself in Redis.", ["partition"])
EDGE_INBOX_DEPTH = Gauge("buffmoney_edge_inbox_depth", "Messages waiting in the partition's inbox, as this edge sees it.", ["partition"])
REDIS_UP = Gauge("buffmoney_edge_redis_up", "1 while this edge reaches Redis.")

_log = telemetry.logger("watch")


@dataclass(slots=True)
class PartitionState:
    """seen_at: loop time at which the core last showed itself. depth: messages in the inbox."""

    seen_at: float
    depth: int = 0


class PartitionWatch:
    """Polls `{pN}:core` and the length of `{pN}:inbox` of every partition that somebody asked about.

    on_return is called, on the event loop, each time Redis can be reached again.
    """

    def __init__(self, redis_url: str, on_return: Callable[[], None] | None = None) -> None:
        self._pipe = RedisPipe(redis_url, timeout_s=1.0)
        self._states: dict[int, PartitionState] = {}
        self._task: asyncio.Task[None] | None = None
        self.on_return = on_return
        self.redis_up = True

    async def start(self) -> None:
        """Begins polling."""
        self._task = asyncio.create_task(self._run(), name="partition watch")

    async def stop(self) -> None:
        """Ends polling."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._pipe.close()

    def state(self, partition_id: int) -> PartitionState:
        """What is known of a partition; one that was never asked about is taken to be well until it is polled."""
        state = self._states.get(partition_id)
        if state is None:
            state = self._states[partition_id] = PartitionState(asyncio.get_running_loop().time())
        return state

    def core_is_up(self, partition_id: int) -> bool:
        """Whether the core showed itself within the grace period."""
        return asyncio.get_running_loop().time() - self.state(partition_id).seen_at < GRACE_S

    def redis_failed(self) -> None:
        """Somebody else found Redis gone."""
        if self.redis_up:
            self.redis_up = False
            REDIS_UP.set(0)
            _log.warning("redis_lost")

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        REDIS_UP.set(1)
        while True:
            partitions = list(self._states)
            commands = [pack("PING")]
            for partition_id in partitions:
                commands += (pack("GET", f"{{p{partition_id}}}:core"), pack("LLEN", f"{{p{partition_id}}}:inbox"))
            try:
                answers = (await self._pipe.send(b"".join(commands), len(commands)))[1:]
            except RedisUnavailable:
                self.redis_failed()
            else:
                if isinstance(answers[0] if answers else None, Exception):
                    # A server that is still loading its data answers with errors: it is not back yet.
                    self.redis_failed()
                else:
                    self._take(partitions, answers, loop.time())
            await asyncio.sleep(POLL_S)

    def _take(self, partitions: list[int], answers: list[object], now: float) -> None:
        for position, partition_id in enumerate(partitions):
            core, depth = answers[2 * position], answers[2 * position + 1]
            state = self._states[partition_id]
            if isinstance(core, bytes):
                state.seen_at = now
            state.depth = depth if isinstance(depth, int) else 0
            CORE_UP.labels(str(partition_id)).set(isinstance(core, bytes))
            EDGE_INBOX_DEPTH.labels(str(partition_id)).set(state.depth)
        if not self.redis_up:
            self.redis_up = True
            REDIS_UP.set(1)
            _log.info("redis_back")
            if self.on_return is not None:
                self.on_return()
