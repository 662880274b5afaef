"""The way to Redis: a pipe for command sequences that Rust has packed, and a connection that waits on lists.

Redis may be flushed, restarted or gone at any moment. Failures become `RedisUnavailable` (503 redis_unavailable); after one, further
calls fail at once for a moment instead of queueing up in front of a server that is away.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Any, Literal, cast

import redis.asyncio
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.exceptions import RedisError, ResponseError

from buffmoney.base.errors import RedisUnavailable

CONNECT_TIMEOUT_S = 1.0
FIRST_BACKOFF_S = 0.02
LONGEST_BACKOFF_S = 0.5

_FAILURES = (OSError, RedisError, asyncio.TimeoutError, asyncio.IncompleteReadError)


class _Link:
    """One connection, opened when needed; after a failure to open it, further attempts fail at once until the back-off has passed."""

    def __init__(self, url: str) -> None:
        # Only a factory of connections: it knows the forms of a Redis URL.
        self._pool = ConnectionPool.from_url(url, protocol=2, socket_timeout=None, socket_connect_timeout=CONNECT_TIMEOUT_S)
        self.connection: AbstractConnection | None = None
        self._backoff_s = 0.0
        self._not_before_s = 0.0

    @property
    def broken(self) -> bool:
        """Whether there is a connection whose other end has closed in the meantime, as a server that restarts does."""
        if self.connection is None:
            return False
        reader: asyncio.StreamReader | None = self.connection._reader
        return reader is None or reader.at_eof() or reader.exception() is not None

    async def open(self) -> AbstractConnection:
        """The open connection. Raises RedisUnavailable."""
        if self.connection is not None:
            if not self.broken:
                return self.connection
            await self.close()
        loop = asyncio.get_running_loop()
        if loop.time() < self._not_before_s:
            raise RedisUnavailable
        connection = cast(AbstractConnection, self._pool.make_connection())  # type: ignore[no-untyped-call]
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await connection.connect()  # type: ignore[no-untyped-call]
        except _FAILURES as failure:
            self._backoff_s = min(max(self._backoff_s * 2, FIRST_BACKOFF_S), LONGEST_BACKOFF_S)
            self._not_before_s = loop.time() + self._backoff_s
            with contextlib.suppress(*_FAILURES):
                await connection.disconnect(nowait=True)
            raise RedisUnavailable from failure
        self._backoff_s = 0.0
        self.connection = connection
        return connection

    async def close(self) -> None:
        """Closes the connection; a later `open` makes a new one."""
        connection, self.connection = self.connection, None
        if connection is not None:
            with contextlib.suppress(*_FAILURES):
                await connection.disconnect(nowait=True)


class RedisPipe:
    """One connection shared by all tasks of a process; calls are pipelined and answered in order.

    A cancelled call leaves the pipe in order: its answers are read and dropped.
    """

    def __init__(self, url: str, *, timeout_s: float = 5.0) -> None:
        self.url = url
        self._timeout_s = timeout_s
        self._link = _Link(url)
        self._opening = asyncio.Lock()
        self._waiting: deque[tuple[int, asyncio.Future[list[Any]]]] = deque()
        self._something = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._client: redis.asyncio.Redis | None = None

    @property
    def client(self) -> redis.asyncio.Redis:
        """redis-py's own client, for rare things; its errors are redis-py's."""
        if self._client is None:
            self._client = redis.asyncio.Redis.from_url(
                self.url, protocol=2, socket_timeout=self._timeout_s, socket_connect_timeout=CONNECT_TIMEOUT_S
            )
        return self._client

    async def send(self, packed: bytes, answers: int) -> list[Any]:
        """Sends RESP bytes of one or more commands and gives their answers, in order.

        answers: how many commands `packed` holds. An error answer to one command is in the list as a `redis.exceptions.ResponseError`.
        Raises RedisUnavailable: then whether the commands took effect is not known.
        """
        if answers <= 0:
            return []
        async with self._opening:
            if self._link.broken:
                # Whoever still waits for an answer on the old connection must not get one of the new.
                await self._fail()
            connection = await self._link.open()
            if self._reader is None:
                self._reader = asyncio.create_task(self._read(connection), name="redis pipe reader")
            future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
            # The entry goes in before the bytes go out, and both under the lock: entries and bytes keep the same order.
            self._waiting.append((answers, future))
            self._something.set()
            try:
                async with asyncio.timeout(self._timeout_s):
                    await connection.send_packed_command(packed, check_health=False)
            except BaseException as failure:
                # Part of the bytes may be out, so the connection is of no further use to anybody.
                await self._fail()
                if isinstance(failure, _FAILURES):
                    raise RedisUnavailable from failure
                raise
        try:
            async with asyncio.timeout(self._timeout_s):
                return await future
        except TimeoutError as failure:
            await self._fail()
            raise RedisUnavailable("Redis did not answer in time.") from failure

    async def command(self, *arguments: bytes | str | int | float) -> Any:
        """One command, packed here. Raises RedisUnavailable, and redis.exceptions.ResponseError if Redis refuses it."""
        answer = (await self.send(pack(*arguments), 1))[0]
        if isinstance(answer, ResponseError):
            raise answer
        return answer

    async def close(self) -> None:
        """Fails what is in flight and closes the connections."""
        await self._fail()
        if self._client is not None:
            await self._client.aclose()

    async def _read(self, connection: AbstractConnection) -> None:
        try:
            while True:
                while not self._waiting:
                    self._something.clear()
                    await self._something.wait()
                count, future = self._waiting[0]
                answers: list[Any] = []
                for _ in range(count):
                    try:
                        answers.append(await connection.read_response())
                    except ResponseError as refusal:
                        answers.append(refusal)
                self._waiting.popleft()
                if not future.done():
                    future.set_result(answers)
        except _FAILURES:
            if self._link.connection is connection:
                await self._fail(from_reader=True)

    async def _fail(self, *, from_reader: bool = False) -> None:
        waiting, self._waiting = self._waiting, deque()
        reader, self._reader = self._reader, None
        if reader is not None and not from_reader:
            reader.cancel()
        for _, future in waiting:
            if not future.done():
                future.set_exception(RedisUnavailable("The connection to Redis was lost."))
                future.exception()
        await self._link.close()


class RedisQueue:
    """A connection of its own that waits for list elements, so that waiting holds up nobody."""

    def __init__(self, url: str) -> None:
        self._link = _Link(url)

    async def pop(self, key: str | bytes, *, side: Literal["LEFT", "RIGHT"], count: int, wait_s: float) -> list[bytes]:
        """Up to `count` elements (BLMPOP), as soon as there is one; empty after `wait_s` seconds without any.

        Raises RedisUnavailable. Elements that were popped when a connection broke are gone: senders must be able to send again.
        """
        connection = await self._link.open()
        try:
            async with asyncio.timeout(wait_s + 2.0):
                await connection.send_packed_command(pack("BLMPOP", f"{wait_s:.3f}", 1, key, side, "COUNT", count), check_health=False)
                answer = await connection.read_response()
        except ResponseError as refusal:
            raise RedisUnavailable(f"Redis refused to pop: {refusal}") from refusal
        except _FAILURES as failure:
            await self._link.close()
            raise RedisUnavailable("The connection to Redis was lost.") from failure
        except BaseException:
            # Cancelled between command and answer: what comes next on this connection would belong to the call before.
            await self._link.close()
            raise
        return [] if answer is None else list(answer[1])

    async def close(self) -> None:
        """Closes the connection."""
        await self._link.close()


def pack(*arguments: bytes | str | int | float) -> bytes:
    """One Redis command as RESP bytes."""
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        data = argument if isinstance(argument, bytes) else str(argument).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)
