"""Reads balances while everything goes wrong: no snapshot may be below the floor or differ from the ledger at its sequence."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass, field
from decimal import Decimal

from tests.faults.load import ANSWER_S, Connection


@dataclass
class Snapshots:
    """What was seen. by_sequence: (customer, sequence) → (available, held, unbilled)."""

    by_sequence: dict[tuple[str, int], tuple[Decimal, Decimal, Decimal]] = field(default_factory=dict)
    reads: int = 0
    below_floor: int = 0
    totals_off: int = 0
    """snapshots whose parts do not sum up, or that contradict another one of the same sequence"""
    went_back: int = 0
    """snapshots older than one that the same reader had seen before"""


class Watcher:
    """Balance readers on one merchant, all of whose customers have a floor of zero."""

    def __init__(self, port: int, key: str, customers: int, seed: int = 2) -> None:
        self.port, self.key, self.customers = port, key, customers
        self.random = random.Random(seed)
        self.seen = Snapshots()
        self.stopping = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []
        self.last_ok: float = 0

    def start(self, readers: int = 2) -> None:
        """Starts the readers."""
        self.tasks = [asyncio.create_task(self.read()) for _ in range(readers)]

    async def stop(self) -> None:
        """Ends the readers."""
        self.stopping.set()
        try:
            async with asyncio.timeout(ANSWER_S + 5):
                await asyncio.gather(*self.tasks)
        except TimeoutError:
            for task in self.tasks:
                task.cancel()

    async def read(self) -> None:
        """One reader."""
        connection = Connection(self.port, self.key)
        newest: dict[str, int] = {}
        while not self.stopping.is_set():
            # Poor customers are watched most: their floor is near.
            low = self.customers * 9 // 10 if self.random.random() < 0.5 else 0
            customer = f"c{self.random.randrange(low, self.customers)}"
            try:
                status, _, body = await connection.request("GET", f"/v1/customers/{customer}/balance")
            except (OSError, TimeoutError):
                await asyncio.sleep(0.05)
                continue
            if status == 200:
                self.last_ok = asyncio.get_running_loop().time()
                self.enter(customer, json.loads(body), newest)
            await asyncio.sleep(0.005 if status == 200 else 0.05)
        connection.close()

    def enter(self, customer: str, balance: dict[str, object], newest: dict[str, int]) -> None:
        """Checks one snapshot by itself and keeps it for the audit."""
        seen = self.seen
        seen.reads += 1
        available, held, unbilled = (Decimal(str(balance[name])) for name in ("available", "held", "unbilled"))
        shown = (available, held, unbilled)
        sequence = int(str(balance["sequence"]))
        if available < 0 or held < 0 or unbilled < 0:
            seen.below_floor += 1
        if seen.by_sequence.setdefault((customer, sequence), shown) != shown:
            seen.totals_off += 1
        if sequence < newest.get(customer, 0):
            seen.went_back += 1
        newest[customer] = max(sequence, newest.get(customer, 0))
