"""The channels' time: a clock of their own that can be advanced, their day (00:00 in Shanghai), and the ways they write a moment."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone

from buffmoney.base.clock import Clock, to_datetime, to_us
from buffmoney.simulator.store import Store

SHANGHAI = timezone(timedelta(hours=8), "Asia/Shanghai")
"""China keeps one time all year since 1991"""
SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US

_RFC3339 = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\+08:00", re.ASCII)
_BEIJING = re.compile(r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}", re.ASCII)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


class ChannelClock:
    """The clock of orders, callbacks and bills, and a second one that dates signatures.

    They are two because a merchant's own clock does not follow when a day is skipped here: after that its signatures must still be
    taken, and those it gets must not look stale.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._offset_us = int(store.setting("clock_offset_us", 0))
        self._signing_offset_us = int(store.setting("signing_offset_us", 0))

    def now_us(self) -> int:
        """Microseconds since 1970 of the simulated time."""
        return self._clock.now_us() + self._offset_us

    def signing_s(self) -> int:
        """Whole seconds since 1970, as signatures are dated and checked."""
        return (self._clock.now_us() + self._signing_offset_us) // SECOND_US

    def advance(self, seconds: float, signing_seconds: float) -> None:
        """Moves the clock forward for good, and that of signatures either way."""
        if seconds < 0:
            raise ValueError("a clock does not go back")
        self._offset_us += round(seconds * SECOND_US)
        self._signing_offset_us += round(signing_seconds * SECOND_US)
        with self._store.transaction():
            self._store.set_setting("clock_offset_us", self._offset_us)
            self._store.set_setting("signing_offset_us", self._signing_offset_us)


def rfc3339(time_us: int) -> str:
    """WeChat's way: `2026-01-31T16:00:00+08:00`."""
    return to_datetime(time_us - time_us % SECOND_US).astimezone(SHANGHAI).isoformat()


def beijing(time_us: int) -> str:
    """Alipay's way, and both channels' in bills: `2026-01-31 16:00:00`."""
    return f"{to_datetime(time_us).astimezone(SHANGHAI):%Y-%m-%d %H:%M:%S}"


def parse_rfc3339(text: object) -> int | None:
    """A moment as WeChat takes it, with +08:00 and without fractions, in microseconds; None for anything else."""
    if not isinstance(text, str) or _RFC3339.fullmatch(text) is None:
        return None
    return _moment(text.removesuffix("+08:00"))


def parse_beijing(text: object) -> int | None:
    """A moment as Alipay takes it, in microseconds; None for anything else."""
    if not isinstance(text, str) or _BEIJING.fullmatch(text) is None:
        return None
    return _moment(text)


def _moment(text: str) -> int | None:
    try:
        return to_us(datetime.fromisoformat(text).replace(tzinfo=SHANGHAI).astimezone(UTC))
    except (ValueError, OverflowError):
        return None


def parse_day(text: object) -> date | None:
    """`yyyy-MM-dd` as a day; None for anything else."""
    if not isinstance(text, str) or _DAY.fullmatch(text) is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def day_of(time_us: int) -> date:
    """The channels' day in which a moment lies."""
    return to_datetime(time_us).astimezone(SHANGHAI).date()


def day_bounds(day: date) -> tuple[int, int]:
    """The first microsecond of a day, and the first one after it."""
    start = to_us(datetime(day.year, day.month, day.day, tzinfo=SHANGHAI))
    return start, start + DAY_US
