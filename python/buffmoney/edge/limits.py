"""What a request may cost: the size of its body, the time it takes to arrive, and how many are being worked on at once."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from starlette.types import Message, Receive

from buffmoney.base.errors import Problem

DRAIN_BYTES = 512 * 1024
"""How much of a refused body is read and dropped, so that the connection of a polite client can be used again."""
DRAIN_S = 1.0
LARGE_BODY_TIMES = 4
"""How many times the ordinary limit a body may have on a route that takes large ones …"""
LARGE_BODIES = 2
"""… and how many of those above the ordinary limit an edge works on at once: decoded, they are many times their size."""
BUFFERED_BODIES_BYTES = 64 * 1024 * 1024
"""All bodies that one edge holds while they arrive and are worked on."""


class ClientGoneError(Exception):
    """The client closed the connection before its body was complete: there is nobody to answer."""


class Incoming:
    """An ASGI receive that remembers whether the whole body has come."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.complete = False

    async def __call__(self) -> Message:
        """The next message."""
        message = await self._receive()
        if not message.get("more_body", False):
            self.complete = True
        return message


class Budget:
    """A number that may be taken from and must be given back."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left."""
        return self.used >= self.limit

    @contextmanager
    def one(self) -> Iterator[None]:
        """Takes one for the duration. Raises Problem overloaded if nothing is left."""
        if self.exhausted:
            raise Problem("overloaded", "More requests are in flight than can be answered in time.")
        self.used += 1
        try:
            yield
        finally:
            self.used -= 1


def check_headers(headers: Mapping[bytes, bytes], max_bytes: int, takes: str = "application/json") -> str:
    """What can be refused before the body is read; returns the content encoding, `identity` or `gzip`. takes: as in `Route`.

    Raises Problem unsupported_media_type, unsupported_encoding, body_too_large or invalid_header.
    """
    content_type = headers.get(b"content-type", b"").split(b";", 1)[0].strip().lower()
    if content_type != takes.encode() and takes != "*":
        raise Problem("unsupported_media_type", f"Send Content-Type: {takes}.", param="Content-Type")
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding not in (b"identity", b"gzip", b"x-gzip"):
        raise Problem("unsupported_encoding", "Content-Encoding may be gzip or absent.", param="Content-Encoding")
    length = headers.get(b"content-length")
    if length is not None:
        if not length.isdigit() or len(length) > 18:
            raise Problem("invalid_header", "Content-Length is not a number.", param="Content-Length")
        if int(length) > max_bytes:
            raise too_large(max_bytes)
    return "identity" if encoding == b"identity" else "gzip"


def too_large(max_bytes: int) -> Problem:
    """The refusal of a body above the limit."""
    return Problem("body_too_large", f"A body may have at most {max_bytes} bytes, also once it is decompressed.")


class BodyReader:
    """Reads request bodies within the limits of one edge."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._memory = Budget(BUFFERED_BODIES_BYTES)

    @contextmanager
    def account(self, body: bytes) -> Iterator[None]:
        """Counts a body as held for the duration."""
        self._memory.used += len(body)
        try:
            yield
        finally:
            self._memory.used -= len(body)

    async def read(self, receive: Receive, encoding: str, max_bytes: int) -> bytes:
        """The whole body, decoded, of at most max_bytes.

        Raises Problem request_timeout, body_too_large, overloaded or invalid_request, and ClientGoneError.
        """
        message = await self._first(receive)
        body = message.get("body", b"")
        assert isinstance(body, bytes)
        if message.get("more_body", False):
            body = await self._rest(receive, body, max_bytes)
        elif len(body) > max_bytes:
            raise too_large(max_bytes)
        return body if encoding == "identity" else gunzip(body, max_bytes)

    async def _first(self, receive: Receive) -> dict[str, object]:
        return await self._next(receive, asyncio.get_running_loop().time() + self._timeout_s)

    async def _next(self, receive: Receive, deadline: float) -> dict[str, object]:
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError as failure:
            raise Problem("request_timeout", f"The body did not arrive within {self._timeout_s:g} seconds.") from failure
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        return dict(message)

    async def _rest(self, receive: Receive, first: bytes, max_bytes: int) -> bytes:
        # The deadline is for the whole body: one byte a second must not keep it open.
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        chunks, length = [first], len(first)
        self._memory.used += length
        try:
            while True:
                if length > max_bytes:
                    raise too_large(max_bytes)
                if self._memory.exhausted:
                    raise Problem("overloaded", "Too many bodies are arriving at once.")
                message = await self._next(receive, deadline)
                chunk = message.get("body", b"")
                assert isinstance(chunk, bytes)
                chunks.append(chunk)
                length += len(chunk)
                self._memory.used += len(chunk)
                if not message.get("more_body", False):
                    break
            if length > max_bytes:
                raise too_large(max_bytes)
            return b"".join(chunks)
        finally:
            self._memory.used -= length


async def drain(receive: Incoming, headers: Mapping[bytes, bytes]) -> bool:
    """Reads and drops what is left of a refused request's body if that is small. True if the connection can be used again."""
    if receive.complete:
        return True
    length = headers.get(b"content-length")
    if length is None and b"transfer-encoding" not in headers:
        return True
    if length is not None and length.isdigit() and int(length[:18]) > DRAIN_BYTES:
        return False
    dropped = 0
    try:
        async with asyncio.timeout(DRAIN_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return False
                dropped += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return True
                if dropped > DRAIN_BYTES:
                    return False
    except TimeoutError:
        return False


def gunzip(data: bytes, max_bytes: int) -> bytes:
    """Decompressed gzip data of at most max_bytes; never makes more than that. Raises Problem body_too_large or invalid_request."""
    parts: list[bytes] = []
    room = max_bytes
    while data:
        member = zlib.decompressobj(wbits=31)
        try:
            part = member.decompress(data, room + 1)
        except zlib.error as failure:
            raise Problem("invalid_request", "The body is not valid gzip.", param="Content-Encoding") from failure
        if len(part) > room:
            raise too_large(max_bytes)
        if not member.eof:
            raise Problem("invalid_request", "The gzip body is cut off.", param="Content-Encoding")
        parts.append(part)
        room -= len(part)
        # A gzip file may be several, one after the other.
        data = member.unused_data
    return b"".join(parts)
