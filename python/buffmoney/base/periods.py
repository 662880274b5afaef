"""Billing periods: calendar months, or from an anchor day to the next, in a merchant's time zone.

The one place where a period's boundaries are worked out; whoever needs them fast gets them as a table. A period begins with its first day
at midnight, or with the moment at which the clocks go on where they leave midnight out. An anchor day that a month does not have is its
last day.
"""

from __future__ import annotations

import zoneinfo
from bisect import bisect_right
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from buffmoney.base.clock import to_datetime, to_us
from buffmoney.base.errors import Problem

ASIA_SHANGHAI = "Asia/Shanghai"
FIRST_YEAR = 2000
LAST_YEAR = 2100
BACK = timedelta(days=128)
"""how far a catalogue's table of periods reaches back: as far as counters are kept, what the engine calls KEPT_FOR_US"""
AHEAD = timedelta(days=3653)
"""how far it reaches ahead"""


def time_zone(name: str, param: str = "timeZone", code: str = "invalid_parameter") -> str:
    """A time zone that exists. Raises Problem `code`."""
    try:
        return zoneinfo.ZoneInfo(name).key
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise Problem(code, "Give the name of a time zone, for example Asia/Shanghai.", param) from None


@lru_cache(maxsize=64)
def _starts(zone: str, anchor_day: int) -> list[int]:
    where = zoneinfo.ZoneInfo(zone)
    found = set()
    for month in range(12 * FIRST_YEAR, 12 * LAST_YEAR + 1):
        year, place = divmod(month, 12)
        day = min(anchor_day, monthrange(year, place + 1)[1])
        found.add(to_us(datetime(year, place + 1, day, tzinfo=where).astimezone(UTC)))
    return sorted(found)


@dataclass(frozen=True, slots=True)
class Periods:
    """The periods of one merchant. anchor_day: 1 to 31."""

    zone: str = ASIA_SHANGHAI
    anchor_day: int = 1

    @property
    def starts_us(self) -> list[int]:
        """When every period begins whose first day lies in the years FIRST_YEAR to LAST_YEAR - 1, and when the last one ends: rising,
        in microseconds."""
        return _starts(self.zone, self.anchor_day)

    def of(self, moment_us: int) -> tuple[int, int]:
        """Start and end of the period in which a moment lies, half-open. Raises ValueError for a moment outside of the table."""
        starts = self.starts_us
        after = bisect_right(starts, moment_us)
        if not 0 < after < len(starts):
            raise ValueError(f"no period has {to_datetime(moment_us)}")
        return starts[after - 1], starts[after]

    def around(self, now_us: int) -> list[int]:
        """The starts from the period BACK ago to the end of the one AHEAD."""
        starts = self.starts_us
        first = bisect_right(starts, now_us - BACK // timedelta(microseconds=1)) - 1
        return starts[max(first, 0) : bisect_right(starts, now_us + AHEAD // timedelta(microseconds=1)) + 1]

    def wire(self, starts_us: list[int]) -> dict[str, Any]:
        """As the catalogue's JSON has them."""
        return {"timeZone": self.zone, "anchorDay": self.anchor_day, "startsUs": starts_us}
