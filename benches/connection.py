"""A keep-alive HTTP/1.1 connection that costs next to nothing, since the load generator shares the machine with what it measures."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import cast
from urllib.parse import urlsplit


class Connection(asyncio.Protocol):
    """One request at a time. Answers must carry Content-Length, or be 204."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._waiter: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: asyncio.Transport | None = None
        self._body_start = 0
        self._end = 0
        self._status = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        # uvloop's transport has the methods but not the base class.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop. A request under way fails."""
        self._transport = None
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(ConnectionResetError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        buffer = self._buffer
        buffer += data
        if not self._end:
            at = buffer.find(b"\r\n\r\n")
            if at < 0:
                return
            head = bytes(buffer[:at]).lower()
            self._status = int(head[9:12])
            field = head.find(b"\r\ncontent-length:")
            if field >= 0:
                stop = head.find(b"\r\n", field + 2)
                length = int(head[field + 17 : stop if stop >= 0 else len(head)])
            elif self._status == 204:
                length = 0
            else:
                raise ValueError(f"an answer without Content-Length: {head!r}")
            self._body_start = at + 4
            self._end = at + 4 + length
        if len(buffer) < self._end:
            return
        body = bytes(buffer[self._body_start : self._end])
        del buffer[: self._end]
        self._end = 0
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result((self._status, body))

    @property
    def alive(self) -> bool:
        """Whether a request can be sent."""
        return self._transport is not None

    def request(self, head: bytes, body: bytes = b"") -> asyncio.Future[tuple[int, bytes]]:
        """Sends and returns the future (status, body). Raises ConnectionResetError if the connection is gone."""
        if self._transport is None:
            raise ConnectionResetError("not connected")
        self._waiter = self._loop.create_future()
        self._transport.write(head + body)
        return self._waiter

    def close(self) -> None:
        """Ends the connection."""
        if self._transport is not None:
            self._transport.close()


class Target:
    """Where requests go and with which key."""

    def __init__(self, url: str, api_key: str) -> None:
        parts = urlsplit(url)
        self.host = parts.hostname or "127.0.0.1"
        self.port = parts.port or 80
        self.fields = f"\r\nHost: {self.host}:{self.port}\r\nAuthorization: Bearer {api_key}\r\n".encode()

    async def connect(self) -> Connection:
        """A new connection."""
        _, connection = await asyncio.get_running_loop().create_connection(Connection, self.host, self.port)
        return connection

    def get(self, path: str) -> bytes:
        """The bytes of a GET request."""
        return f"GET {path} HTTP/1.1".encode() + self.fields + b"\r\n"

    def send(self, path: str, headers: Mapping[str, str], length: int) -> bytes:
        """The head of a POST request without a key, with these headers and a body of so many bytes."""
        return self._head("POST", path, {**headers, "Content-Length": str(length)})

    def look(self, path: str, headers: Mapping[str, str]) -> bytes:
        """The bytes of a GET request without a key."""
        return self._head("GET", path, headers)

    def _head(self, method: str, path: str, headers: Mapping[str, str]) -> bytes:
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"{method} {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n{fields}\r\n".encode()

    def post(self, path: str, length: int, idempotency_key: str | None = None) -> bytes:
        """The head of a POST request with a JSON body of so many bytes."""
        key = f"Idempotency-Key: {idempotency_key}\r\n".encode() if idempotency_key else b""
        return (
            f"POST {path} HTTP/1.1".encode()
            + self.fields
            + key
            + f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n".encode()
        )
