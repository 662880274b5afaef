"""A TCP proxy in front of PostgreSQL that can lose the answer to a COMMIT, the worst moment to lose a connection."""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT_DONE = b"COMMIT\x00"
"""the tag of CommandComplete after a COMMIT"""


class CommitDroppingProxy:
    """Forwards everything. While armed, the next COMMIT of any client is let through to the server, its answer is not.

    `before_server` instead loses the COMMIT itself: to the client both look the same, the database knows the difference.
    """

    def __init__(self, database_url: str) -> None:
        parts = urlsplit(database_url)
        query = parse_qs(parts.query)
        socket_directory = query.get("host", [""])[0]
        port = int(query.get("port", [str(parts.port or 5432)])[0])
        self.unix_path = f"{unquote(socket_directory)}/.s.PGSQL.{port}" if socket_directory else ""
        self.host, self.target_port = parts.hostname or "127.0.0.1", port
        self.credentials = parts.netloc.rpartition("@")[0]
        self.server: asyncio.Server | None = None
        self.port = 0
        self.armed = 0
        self.before_server = False
        self.only = b""
        """a COMMIT is lost only if its transaction has sent this before"""
        self.dropped = 0
        self.lost = asyncio.Event()
        """set when a COMMIT is lost"""

    def url(self, database: str) -> str:
        """The database through this proxy."""
        return f"postgresql://{self.credentials}@127.0.0.1:{self.port}/{database}"

    async def start(self) -> None:
        """Listens on a free port of 127.0.0.1."""
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    async def lose_a_commit(self, *, before_server: bool, patience_s: float = 8.0) -> int:
        """Arms the proxy until a COMMIT was lost, or nothing came. Gives how many were lost."""
        dropped, self.before_server, self.armed = self.dropped, before_server, 1
        self.lost.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self.lost.wait()
        self.armed = 0
        return self.dropped - dropped

    async def stop(self) -> None:
        """Closes the listener."""
        if self.server is not None:
            self.server.close()

    async def _serve(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        try:
            if self.unix_path:
                server_in, server_out = await asyncio.open_unix_connection(self.unix_path)
            else:
                server_in, server_out = await asyncio.open_connection(self.host, self.target_port)
        except OSError:
            client_out.close()
            return
        losing = asyncio.Event()
        up = asyncio.create_task(self._up(client_in, server_out, losing))
        down = asyncio.create_task(self._down(server_in, client_out, losing))
        await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
        for task in (up, down):
            task.cancel()
        for writer in (client_out, server_out):
            writer.transport.abort()

    async def _up(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, losing: asyncio.Event) -> None:
        """Client to server. Only the core's groups are of interest: their COMMIT is a simple query of its own."""
        seen = False
        try:
            while data := await source.read(65536):
                seen = seen or self.only in data
                ends = b"COMMIT" in data and len(data) < 64
                if self.armed and ends and seen:
                    self.armed -= 1
                    self.dropped += 1
                    self.lost.set()
                    if self.before_server:
                        return
                    losing.set()
                seen = seen and not ends
                target.write(data)
                await target.drain()
        except OSError:
            return

    async def _down(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, losing: asyncio.Event) -> None:
        """Server to client; ends, and with it the connection, in place of the lost answer."""
        kept = b""
        try:
            while data := await source.read(65536):
                if losing.is_set():
                    kept += data
                    if COMMIT_DONE in kept or b"ROLLBACK\x00" in kept or len(kept) > 65536:
                        return
                    continue
                target.write(data)
                await target.drain()
        except OSError:
            return
