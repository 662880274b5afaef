"""The core's side of Redis: replies, balances, marks of seen batches and its sign of life. All of it may vanish at any moment.

Everything here is sent after a commit and says what PostgreSQL already holds. A failure loses nothing: replies stay in the cache
until the edge delivers its message again, and balances move on to a hash of a new generation, so that nobody trusts an old one.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable

from redis.exceptions import ResponseError

from buffmoney._core import Group
from buffmoney.base import telemetry
from buffmoney.base.errors import RedisUnavailable
from buffmoney.base.redis import RedisPipe, pack
from buffmoney.metering import metrics

LIFE_MS = 3_000
"""edges trust cached balances this long after the core's last sign of life"""
TTL_MS = 60_000
"""of replies, and of balances: refreshed with every sign of life, so that the hashes of dead cores go by themselves"""
CACHED_REPLIES = 4_000
SEEN_SHARDS = 16
"""sets for each generation of seen batches: as the Rust core names them"""
QUEUE_GROUPS = 4

# Answers -1 if a core of a later epoch has spoken, 0 if our last word is gone, else 1. ARGV: epoch, word, "renew" or "announce".
_SIGN_OF_LIFE = """
local found = redis.call('GET', KEYS[1])
if found then
  local epoch = tonumber(string.match(found, '^(%d+):'))
  if epoch and epoch > tonumber(ARGV[1]) then return -1 end
end
if ARGV[3] == 'renew' and found ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
return 1
"""

log = telemetry.logger(__name__)
Reply = tuple[bytes, bytes]
"""(list to push to, reply bytes)"""


class ReplyCache:
    """The replies to the newest messages, for edges that deliver one again."""

    def __init__(self, size: int = CACHED_REPLIES) -> None:
        self._size = size
        self._replies: OrderedDict[bytes, bytes] = OrderedDict()

    def get(self, message_id: bytes) -> bytes | None:
        """The reply to a message, None if it is not known (any more)."""
        return self._replies.get(message_id)

    def put(self, message_id: bytes, reply: bytes) -> None:
        """Remembers a reply; the oldest goes."""
        self._replies[message_id] = reply
        if len(self._replies) > self._size:
            self._replies.popitem(last=False)


class Publisher:
    """Publishes the commits of one epoch of one partition, in their order."""

    def __init__(self, redis: RedisPipe, partition_id: int, epoch: int, seen_batches: int) -> None:
        self._redis = redis
        self._partition = str(partition_id)
        self._prefix = f"{{p{partition_id}}}:"
        self._epoch = epoch
        self._seen_batches = seen_batches
        self._rotated: set[int] = set()
        self._generation = ""
        self._queue: asyncio.Queue[Callable[[], tuple[bytes, int]]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self.superseded = False
        """a core of a later epoch is at work"""

    @property
    def inbox_key(self) -> str:
        """The list from which the core takes messages."""
        return f"{self._prefix}inbox"

    @property
    def balance_key(self) -> bytes:
        """The hash of balances of this generation."""
        return f"{self._prefix}balance:{self._epoch}:{self._generation}".encode()

    def _seen_key(self, generation: str, shard: int) -> str:
        return f"{self._prefix}seen:{generation}:{shard:x}"

    def start(self) -> None:
        """Begins to publish."""
        self._task = asyncio.create_task(self._run(), name=f"publisher {self._partition}")

    async def stop(self) -> None:
        """Publishes what is queued, as far as Redis takes it."""
        if self._task is None:
            return
        await self._queue.join()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def room(self) -> None:
        """Waits while Redis is too far behind: groups in the queue hold memory."""
        if self._queue.qsize() >= QUEUE_GROUPS:
            await self._queue.join()

    def publish(self, group: Group, replies: list[Reply]) -> None:
        """Queues a committed group's balances, replies and marks of seen batches, and further replies (restored ones)."""

        def make() -> tuple[bytes, int]:
            commands, count = group.publish(self.balance_key, f"{self._prefix}seen:a".encode(), TTL_MS)
            return commands + _pushes(replies), count + 2 * len(replies)

        self._queue.put_nowait(make)

    def answer(self, replies: list[Reply]) -> None:
        """Queues replies alone."""
        if replies:
            self._queue.put_nowait(lambda: (_pushes(replies), 2 * len(replies)))

    async def _run(self) -> None:
        while True:
            make = await self._queue.get()
            try:
                if not self._generation:
                    await self._announce()
                await self._send(*make())
            except RedisUnavailable as failure:
                self._distrust(failure)
            except Exception:
                # Publishing must go on: edges wait for replies, and what is lost here they can ask for again.
                self._distrust(None)
                log.exception("publish_failed", partition=self._partition)
            finally:
                self._queue.task_done()

    async def _send(self, packed: bytes, count: int) -> None:
        for answer in await self._redis.send(packed, count):
            if isinstance(answer, ResponseError):
                raise RedisUnavailable(f"Redis refused: {answer}")

    def _distrust(self, failure: Exception | None) -> None:
        metrics.REDIS_FAULTS.labels(self._partition).inc()
        if self._generation:
            log.warning("redis_fault", partition=self._partition, detail=str(failure))
        self._generation = ""

    async def _announce(self) -> None:
        # Balances of the generation before may lack a change, so a new hash begins empty and the old one goes.
        generation = secrets.token_hex(6)
        key = f"{self._prefix}balance:{self._epoch}:{generation}"
        said = await self._say(generation, key, "announce")
        if said == -1:
            self.superseded = True
            raise RedisUnavailable("a core of a later epoch has announced itself")
        self._generation = generation

    async def _say(self, generation: str, balance_key: str, how: str) -> int:
        word = f"{self._epoch}:{generation}"
        return int(
            await self._redis.command("EVAL", _SIGN_OF_LIFE, 2, f"{self._prefix}core", balance_key, self._epoch, word, how, LIFE_MS, TTL_MS)
        )

    async def beat(self) -> None:
        """The sign of life, each second while the lease is held and writing works. Also rotates the marks of seen batches."""
        try:
            if not self._generation:
                await self._announce()
            said = await self._say(self._generation, self.balance_key.decode(), "renew")
            if said == 0:
                # Flushed, restarted, or we were away for long: what Redis now holds is not what we put there.
                old, self._generation = self.balance_key, ""
                await self._redis.command("UNLINK", old)
                await self._announce()
            elif said == -1:
                self.superseded = True
            await self._rotate_seen()
            metrics.INBOX_DEPTH.labels(self._partition).set(int(await self._redis.command("LLEN", self.inbox_key)))
        except (RedisUnavailable, ResponseError) as failure:
            self._distrust(failure)

    async def _rotate_seen(self) -> None:
        """Lets the older half of the marks go, where a set is full.

        The sets of all shards fill alike. Their first limits are spread, so that they take turns from then on: freeing one keeps a
        processor for some hundredths of a second, freeing all at once would keep it for the most of one.
        """
        packed = b"".join(pack("SCARD", self._seen_key("a", shard)) for shard in range(SEEN_SHARDS))
        for shard, count in enumerate(await self._redis.send(packed, SEEN_SHARDS)):
            spread = 1.0 if shard in self._rotated else (shard + 1) / SEEN_SHARDS
            if isinstance(count, int) and count > spread * self._seen_batches / SEEN_SHARDS:
                self._rotated.add(shard)
                await self._redis.command("RENAME", self._seen_key("a", shard), self._seen_key("b", shard))

    async def give_back(self, messages: list[bytes]) -> bool:
        """Puts messages back to where the next core takes them first. False: Redis did not take them."""
        try:
            await self._redis.command("RPUSH", self.inbox_key, *reversed(messages))
        except (RedisUnavailable, ResponseError):
            return False
        return True


def _pushes(replies: list[Reply]) -> bytes:
    return b"".join(pack("RPUSH", key, reply) + pack("PEXPIRE", key, TTL_MS) for key, reply in replies)
