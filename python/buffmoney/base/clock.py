"""Time, passed in. Whoever needs the time takes a `Clock`, so that tests and sandbox tenants can have their own."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Where the time comes from."""

    def now_us(self) -> int:
        """Microseconds since 1970-01-01T00:00:00Z."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_us(self) -> int:
        """Microseconds since 1970-01-01T00:00:00Z."""
        return time.time_ns() // 1_000


class FixedClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now_us: int) -> None:
        self.time_us = now_us

    def now_us(self) -> int:
        """Microseconds since 1970-01-01T00:00:00Z."""
        return self.time_us

    def advance(self, by_us: int) -> None:
        """Moves the clock forward by microseconds; never back."""
        if by_us < 0:
            raise ValueError("a clock does not go back")
        self.time_us += by_us


def to_datetime(time_us: int) -> datetime:
    """Microseconds since the epoch as an aware UTC datetime, exactly (no float in between)."""
    return EPOCH + timedelta(microseconds=time_us)


def to_us(moment: datetime) -> int:
    """An aware datetime as microseconds since the epoch. A naive one is refused: its meaning would depend on the machine."""
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return (moment - EPOCH) // timedelta(microseconds=1)


def format_time(moment: datetime | int) -> str:
    """RFC 3339 in UTC with a trailing Z; microseconds only when there are any."""
    if isinstance(moment, int):
        moment = to_datetime(moment)
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    text = moment.astimezone(UTC).isoformat()
    return text.removesuffix("+00:00") + "Z"
