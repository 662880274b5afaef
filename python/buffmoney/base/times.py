"""RFC 3339 times from clients: with a zone, of a real day, and never a guess."""

from __future__ import annotations

import re
from datetime import datetime

from buffmoney.base.clock import to_us
from buffmoney.base.errors import Problem

_GRAMMAR = re.compile(r"(\d{4}-\d{2}-\d{2})[Tt](\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)


def parse_time(text: str, param: str, *, code: str = "invalid_time") -> int:
    """An RFC 3339 time as microseconds since the epoch; digits beyond microseconds are cut off.

    Raises Problem 422 `code`: no zone, a leap second, a day that does not exist, a year outside of 1970 to 9998.
    """
    match = _GRAMMAR.fullmatch(text)
    if match is None:
        raise Problem(code, 'Give an RFC 3339 time with its zone, for example "2026-01-31T08:00:00Z".', param)
    day, time, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{time}.{(fraction or '0')[:6]:0<6}{'+00:00' if zone in 'Zz' else zone}")
    except ValueError:
        raise Problem(code, "There is no such time.", param) from None
    if not 1970 <= moment.year <= 9998:
        raise Problem(code, "The year is out of range.", param)
    return to_us(moment)
