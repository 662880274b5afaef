"""A payment channel's end of the wire, for tests of its client: RSA keys, and an HTTP server on a socket that keeps what it was sent byte for
byte and answers as it is told. Nothing here is made with the product's own code."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

NOW_S = 1_795_000_000
"""2026-11-18T12:26:40+08:00, to which the tests' clocks are set"""


@cache
def rsa_key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """A key of its own for each name, made once."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def private_pem(name: str) -> str:
    """PKCS#8 PEM."""
    form = serialization.PrivateFormat.PKCS8
    return rsa_key(name).private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def public_pem(name: str) -> str:
    """SubjectPublicKeyInfo PEM."""
    return rsa_key(name).public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


@dataclass
class Sent:
    """A request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Reply:
    """What is answered. drip_s: the pause after each byte of the body. reset: the connection ends without an answer."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0
    drip_s: float = 0
    reset: bool = False


Answerer = Callable[[Sent], Reply]


class Wire:
    """The server: `answer` may be replaced at any time, `sent` has all requests."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.answer: Answerer = lambda _: Reply(404)
        self.url = ""
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[httpx.AsyncClient]:
        """Serves on a free port of 127.0.0.1, with a client for it."""
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
            yield client
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._exchange(reader, writer)
        writer.close()
        self._tasks.discard(task)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii").split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        request = Sent(method, target, headers, await reader.readexactly(int(headers.get("content-length", "0"))))
        self.sent.append(request)
        reply = self.answer(request)
        if reply.reset:
            return
        await asyncio.sleep(reply.delay_s)
        lines = [f"HTTP/1.1 {reply.status} X", *(f"{name}: {value}" for name, value in reply.headers.items()), "Connection: close"]
        if reply.status != 204:
            lines.append(f"Content-Length: {len(reply.body)}")
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
        if not reply.drip_s:
            writer.write(reply.body)
        else:
            for byte in reply.body:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(reply.drip_s)
        await writer.drain()
