"""A TCP proxy in front of the API that does to connections what networks do, each exchange by a seeded choice."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from types import TracebackType
from typing import Self

FATES = ("refused", "request cut", "answer lost", "answer cut", "delayed", "swallowed", "forwarded")
"""refused: the connection ends before the request is read. request cut: half of its first bytes get through. answer lost: the request gets
through, its answer does not. answer cut: its first bytes do. swallowed: nothing gets through, and nobody says so."""
WEIGHTS = (6, 6, 12, 8, 12, 2, 54)


class BadNetwork:
    """A context manager that listens on a free port of 127.0.0.1, in a thread of its own. fates: how often each one came to pass."""

    def __init__(self, target_port: int, seed: int) -> None:
        self.target_port = target_port
        self.fates: Counter[str] = Counter()
        self.port = 0
        self._chance = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        server = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop).result(10)
        self.port = server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _stop(self) -> None:
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _serve(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        server_in, server_out = await asyncio.open_connection("127.0.0.1", self.target_port)
        exchange = Exchange(self._chance, self.fates)
        ways = (asyncio.create_task(exchange.up(client_in, server_out)), asyncio.create_task(exchange.down(server_in, client_out)))
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            for writer in (client_out, server_out):
                writer.transport.abort()


class Exchange:
    """Requests and answers of one connection, one after the other. A way that returns ends the connection."""

    def __init__(self, chance: random.Random, fates: Counter[str]) -> None:
        self.chance, self.fates = chance, fates
        self.fate = ""
        self.answering = True

    async def up(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        """Client to server. Bytes that come after an answer begin the next request."""
        while data := await source.read(65536):
            if self.answering:
                self.answering = False
                self.fate = self.chance.choices(FATES, WEIGHTS)[0]
                self.fates[self.fate] += 1
                if self.fate == "refused":
                    return
                if self.fate == "request cut":
                    target.write(data[: len(data) // 2])
                    await target.drain()
                    return
                if self.fate == "delayed":
                    await asyncio.sleep(self.chance.uniform(0.01, 0.3))
            if self.fate != "swallowed":
                target.write(data)
                await target.drain()

    async def down(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        """Server to client."""
        while data := await source.read(65536):
            self.answering = True
            if self.fate == "answer lost":
                return
            if self.fate == "answer cut":
                target.write(data[: self.chance.randrange(1, len(data))])
                await target.drain()
                return
            target.write(data)
            await target.drain()
