"""Everything that the simulator's parts share, put together once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from buffmoney.base.clock import Clock, SystemClock
from buffmoney.simulator.announcing import Announcer
from buffmoney.simulator.channel_time import ChannelClock
from buffmoney.simulator.faults import Faults
from buffmoney.simulator.keys import Keyring
from buffmoney.simulator.merchants import Merchants
from buffmoney.simulator.orders import Orders
from buffmoney.simulator.refunds import Refunds
from buffmoney.simulator.store import Store


@dataclass(frozen=True, slots=True)
class World:
    """One simulated world. wake: set whenever there may be something new for the courier."""

    store: Store
    clock: ChannelClock
    keyring: Keyring
    merchants: Merchants
    announcer: Announcer
    orders: Orders
    refunds: Refunds
    faults: Faults
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def open(cls, directory: Path, clock: Clock | None = None) -> Self:
        """The world of a data directory, made when it is new. Raises StoreInUse, OSError."""
        store = Store(directory)
        channel_clock = ChannelClock(store, clock or SystemClock())
        keyring = Keyring(store)
        keyring.make_first(channel_clock.now_us())
        announcer = Announcer(store, channel_clock)
        return cls(
            store,
            channel_clock,
            keyring,
            Merchants(store),
            announcer,
            Orders(store, channel_clock, announcer),
            Refunds(store, channel_clock, announcer),
            Faults(store),
        )

    def keep_up(self) -> None:
        """What time has done since: orders that it closed, refunds that it settled."""
        self.orders.keep_up()
        self.refunds.keep_up()
