"""The simulator as an ASGI application: `create_app()`."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from buffmoney.base.clock import Clock
from buffmoney.simulator import control, phone
from buffmoney.simulator.alipay import gateway
from buffmoney.simulator.courier import Courier
from buffmoney.simulator.wechat import api
from buffmoney.simulator.world import World

BACKLOG = 2_048


class Simulator:
    """The application on one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._farewell = False
        courier = Courier(world)

        @asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            courier.start()
            try:
                yield
            finally:
                await courier.stop()
                world.store.close()

        routes = [*api.routes(world), *gateway.routes(world), *phone.routes(world), *control.routes(world)]
        self._app = Starlette(routes=[*routes, Route("/healthz", _health)], lifespan=lifespan)

    def begin_farewell(self) -> None:
        """From now on every answer asks its client to close the connection."""
        self._farewell = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI's one entry."""
        await self._app(scope, receive, self._parting(send) if self._farewell else send)

    def _parting(self, send: Send) -> Send:
        async def parting(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(raw=message["headers"])["connection"] = "close"
            await send(message)

        return parting


async def _health(_request: Request) -> Response:
    return PlainTextResponse("ok\n")


def create_app(directory: Path, clock: Clock | None = None) -> Simulator:
    """The application on a data directory. Raises StoreInUse, OSError."""
    return Simulator(World.open(directory, clock))


def listen(host: str, port: int) -> socket.socket:
    """A socket of our own alone, port 0 for any free one. Raises OSError naming address and port."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as taken:
        listener.close()
        raise OSError(f"{host}:{port} cannot be listened on: {taken.strerror}. Choose another with --port.") from taken
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener
