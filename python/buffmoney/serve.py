"""The edge as a process: granian in this very process, so that one pid is one edge, for signals, memory and crashes alike."""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import Any

from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server

from buffmoney.base.config import Settings

BACKLOG = 2_048
FAREWELL_S = 0.25
"""How long, before connections are closed, every answer asks its client to close: so no request meets a closing connection."""


class _Server(Server):
    """A granian server on a socket that is already open, in place of an address of its own."""

    def __init__(self, target: Any, listener: socket.socket) -> None:
        super().__init__(
            target,
            interface=Interfaces.ASGI,
            http=HTTPModes.http1,
            websockets=False,
            backlog=BACKLOG,
            http1_settings=HTTP1Settings(header_read_timeout=10_000, keep_alive=True),
            log_level=LogLevels.error,
            # No handlers of its own: its errors go where ours go, in the same form.
            log_dictconfig={"handlers": {}, "formatters": {}, "loggers": {}},
        )
        self._listener = listener

    def _init_shared_socket(self) -> None:
        self._ssp = None
        self._shd: Any = SocketHolder(self._listener.fileno(), False, BACKLOG)  # type: ignore[call-arg]


def listen(host: str, port: int, descriptor: int | None) -> socket.socket:
    """The socket to serve: the inherited one, or one of our own. Several edges of one machine may have the same port. Raises OSError."""
    if descriptor is not None:
        inherited = socket.socket(fileno=descriptor)
        inherited.setblocking(False)
        return inherited
    own = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    own.bind((host, port))
    own.listen(BACKLOG)
    own.setblocking(False)
    return own


async def serve(application: Any, settings: Settings, descriptor: int | None = None) -> bool:
    """Serves an ASGI application until SIGTERM or SIGINT, then drains. False if it ended by itself: start-up failed, or the server did."""
    server = _Server(application, listen(settings.host, settings.port, descriptor))
    asked = asyncio.Event()

    def stop() -> None:
        if not asked.is_set():
            asked.set()
            application.begin_farewell()
            loop.call_later(FAREWELL_S, server.stop)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    await server.serve()
    return asked.is_set()
