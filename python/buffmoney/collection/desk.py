"""What taking in money needs, in an edge and in a worker alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import httpx

    from buffmoney.base.clock import Clock
    from buffmoney.base.config import Settings
    from buffmoney.base.database import Database
    from buffmoney.base.http import CommandBus


class Desk(Protocol):
    """`base.http.Services` of an edge is one; a worker makes its own."""

    @property
    def settings(self) -> Settings:
        """Of this process."""

    @property
    def clock(self) -> Clock:
        """Where the time comes from."""

    @property
    def database(self) -> Database:
        """Of a role that may settle payments. Never held while a channel is asked."""

    @property
    def commands(self) -> CommandBus:
        """The way to the wallets."""

    @property
    def http(self) -> httpx.AsyncClient:
        """The way to the channels."""
