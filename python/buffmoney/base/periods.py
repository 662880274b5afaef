"""Billing periods: calendar months, or from an anchor day to the next, in a merchant's time zone.

The one place where a period's boundaries are worked out; whoever needs them fast gets them as a table. A period begins with its first day
at midnight, or with the moment at which the clocks go on where they leave midnight out. An anchor day that a month does not have is its
last day.

A merchant may change zone and anchor day. The change takes effect when the period ends that is open then, and from there a period runs to
the next boundary by the new setting: a short one, and never longer than a month. So no period that has begun ever changes.
"""

from __future__ import annotations

import json
import zoneinfo
from bisect import bisect_left, bisect_right
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Self

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


def check_anchor_day(day: int, param: str = "anchorDay", code: str = "invalid_parameter") -> int:
    """A day on which periods can begin. Raises Problem `code`."""
    if not 1 <= day <= 31:
        raise Problem(code, "A billing period begins on a day from 1 to 31.", param)
    return day


@dataclass(frozen=True, slots=True)
class Setting:
    """Where periods begin from a moment on. anchor_day: 1 to 31. since_us: in microseconds; None: since ever."""

    zone: str = ASIA_SHANGHAI
    anchor_day: int = 1
    since_us: int | None = None


@lru_cache(maxsize=64)
def _calendar(zone: str, anchor_day: int) -> list[int]:
    where = zoneinfo.ZoneInfo(zone)
    found = set()
    for month in range(12 * FIRST_YEAR, 12 * LAST_YEAR + 1):
        year, place = divmod(month, 12)
        day = min(anchor_day, monthrange(year, place + 1)[1])
        found.add(to_us(datetime(year, place + 1, day, tzinfo=where).astimezone(UTC)))
    return sorted(found)


@lru_cache(maxsize=256)
def _starts(settings: tuple[Setting, ...]) -> list[int]:
    if len(settings) == 1 and settings[0].since_us is None:
        return _calendar(settings[0].zone, settings[0].anchor_day)
    found: list[int] = []
    for place, setting in enumerate(settings):
        calendar = _calendar(setting.zone, setting.anchor_day)
        first, last = 0, len(calendar)
        if setting.since_us is not None:
            # Where the setting before ended a period, one begins, whether the new calendar says so or not.
            found.append(setting.since_us)
            first = bisect_right(calendar, setting.since_us)
        if place + 1 < len(settings) and (until_us := settings[place + 1].since_us) is not None:
            last = bisect_left(calendar, until_us)
        found += calendar[first:last]
    return found


@dataclass(frozen=True, slots=True)
class Periods:
    """The periods of one merchant. settings: in order of effect, the first of them since ever."""

    settings: tuple[Setting, ...] = (Setting(),)

    @classmethod
    def stored(cls, settings: str) -> Self:
        """By what the database's `period_settings` gives: [[since in microseconds or null, time zone, anchor day], …] as JSON."""
        return cls(tuple(Setting(zone, anchor_day, since_us) for since_us, zone, anchor_day in json.loads(settings)))

    @property
    def starts_us(self) -> list[int]:
        """When every period begins whose first day lies in the years FIRST_YEAR to LAST_YEAR - 1, and when the last one ends: rising,
        in microseconds."""
        return _starts(self.settings)

    def of(self, moment_us: int) -> tuple[int, int]:
        """Start and end of the period in which a moment lies, half-open. Raises ValueError for a moment outside of the table."""
        starts = self.starts_us
        after = bisect_right(starts, moment_us)
        if not 0 < after < len(starts):
            raise ValueError(f"no period has {to_datetime(moment_us)}")
        return starts[after - 1], starts[after]

    def at(self, moment_us: int) -> Setting:
        """The setting in force at a moment: that of the period in which it lies."""
        return [setting for setting in self.settings if setting.since_us is None or setting.since_us <= moment_us][-1]

    def changes_at(self, now_us: int) -> int:
        """When a change takes effect that is made now: when the open period ends, or with the change that is still to come."""
        last_us = self.settings[-1].since_us
        # Another clock may have taken it that the open period was over; what is to come never comes before something else.
        return last_us if last_us is not None and last_us > now_us else self.of(now_us)[1]

    def around(self, now_us: int) -> list[int]:
        """The starts from the period BACK ago to the end of the one AHEAD."""
        starts = self.starts_us
        first = bisect_right(starts, now_us - BACK // timedelta(microseconds=1)) - 1
        return starts[max(first, 0) : bisect_right(starts, now_us + AHEAD // timedelta(microseconds=1)) + 1]

    @staticmethod
    def wire(starts_us: list[int]) -> dict[str, Any]:
        """As the catalogue's JSON has them."""
        return {"startsUs": starts_us}
