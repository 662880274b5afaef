"""What the simulator's faces share of HTTP: bodies within bounds, exact targets, links back, and answers that fail on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from buffmoney.simulator.faults import Fault

Endpoint = Callable[[Request], Awaitable[Response]]

LONGEST_BODY = 1 << 20


async def body(request: Request) -> bytes:
    """The request's body. Raises HTTPException 413 beyond a mebibyte."""
    content = b""
    async for piece in request.stream():
        content += piece
        if len(content) > LONGEST_BODY:
            raise HTTPException(413, "The body is too large.")
    return content


def raw_target(request: Request) -> str:
    """Path and query exactly as they were sent: what a signature covers."""
    path: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    path = path.partition(b"?")[0]
    query: bytes = request.scope["query_string"]
    return (path + (b"?" + query if query else b"")).decode("latin-1")


def base_url(request: Request) -> str:
    """The address under which the simulator was reached."""
    return f"{request.url.scheme}://{request.url.netloc}"


class Reset(Response):
    """An answer that breaks off: it promises more bytes than it sends, so that the server has to close the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI's one entry."""
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})
        await send({"type": "http.response.body", "body": b"{"})


async def spoil(fault: Fault) -> Response | None:
    """What a fault sends in place of any answer of a channel; None for faults that a channel words itself."""
    if fault.kind == "timeout":
        await asyncio.sleep(fault.seconds)
        return Reset()
    if fault.kind == "reset":
        return Reset()
    return None
