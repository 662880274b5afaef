"""Fairness on an event loop: long steps one at a time, and everything small between them."""

from __future__ import annotations

import asyncio
from types import TracebackType


class Turnstile:
    """Held around a step that keeps the loop busy for long (decoding a batch is a third of a millisecond).

    When forty batches become ready at once, they would otherwise run one after the other in one round of the loop, and a balance
    that arrives meanwhile would wait for all of them. It lets one through in each round.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> None:
        await self._lock.acquire()

    async def __aexit__(self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None) -> None:
        try:
            # Given back only in the next round: whoever is ready in this one has to queue.
            await asyncio.sleep(0)
        finally:
            self._lock.release()
