"""Times from clients are exact or refused."""

from __future__ import annotations

import pytest

from buffmoney.base.errors import Problem
from buffmoney.base.times import parse_time


@pytest.mark.parametrize(
    ("text", "time_us"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T08:00:00.000001+08:00", 1),
        ("2026-01-31t08:00:00.123456789z", 1_769_846_400_123_456),
        ("2024-02-29T23:59:59.9-05:30", 1_709_270_999_900_000),
    ],
)
def test_a_time_is_read_to_the_microsecond(text: str, time_us: int) -> None:
    """Proves: zones count, further digits are cut off and never rounded up."""
    assert parse_time(text, "at") == time_us


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-01",
        "2026-01-01T00:00:00",
        "2026-02-29T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2016-12-31T23:59:60Z",
        "9999-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00+24:00",
        "2026-1-1T00:00:00Z",
        " 2026-01-01T00:00:00Z",
        "２026-01-01T00:00:00Z",
        "1767225600",
    ],
)
def test_what_is_not_a_time_is_refused(text: str) -> None:
    """Proves: no zone, no such day, a leap second, a far year and other scripts' digits get 422."""
    with pytest.raises(Problem) as refused:
        parse_time(text, "at")
    assert (refused.value.status, refused.value.code, refused.value.param) == (422, "invalid_time", "at")
