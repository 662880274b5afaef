"""Waiting for a channel for somebody who looks at a page: so long and no longer. What has not ended by then goes on by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from buffmoney.base import telemetry

AT_ONCE = 40
"""so many of a kind may be under way in a process: a channel that hangs takes no more of the client's connections than that"""

_log = telemetry.logger("patience")
_under_way: dict[tuple[str, str], asyncio.Task[Any]] = {}

T = TypeVar("T")


async def within(seconds: float, kind: str, name: str, do: Callable[[], Awaitable[T]]) -> T | None:
    """What `do` gives, or None if it has not ended in time, or too many of the kind are under way. Raises what `do` raises in time.

    Of one kind and name there is one at a time: whoever comes meanwhile waits for that one, which nobody's going away ends.
    """
    task = _under_way.get((kind, name))
    if task is None:
        if sum(one == kind for one, _ in _under_way) >= AT_ONCE:
            return None
        task = _under_way[kind, name] = asyncio.create_task(_run(do), name=f"{kind} {name}")
        task.add_done_callback(lambda ended: _ended(kind, name, ended))
    done, _ = await asyncio.wait({task}, timeout=seconds)
    return await task if done else None


async def _run(do: Callable[[], Awaitable[T]]) -> T:
    return await do()


def _ended(kind: str, name: str, task: asyncio.Task[Any]) -> None:
    del _under_way[kind, name]
    # Also for those who did not wait: nobody else would hear of it.
    if not task.cancelled() and (failure := task.exception()) is not None:
        _log.info("not_in_time_or_failed", kind=kind, name=name, detail=f"{type(failure).__name__}: {failure}")
