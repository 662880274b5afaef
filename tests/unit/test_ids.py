"""Proves that ids are unique, ordered by time, and that only ids of the right kind are taken."""

from __future__ import annotations

import uuid

import pytest

from buffmoney.base import ids
from buffmoney.base.clock import FixedClock, format_time, to_datetime, to_us


def test_ids_are_version_7_uuids_in_order_of_time() -> None:
    clock = FixedClock(1_700_000_000_000_000)
    made = []
    for _ in range(100):
        made.append(ids.new_bytes(clock))
        clock.advance(1_000)
    assert made == sorted(made)
    assert len(set(made)) == 100
    parsed = uuid.UUID(bytes=made[0])
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert int.from_bytes(made[0][:6], "big") == 1_700_000_000_000


def test_short_ids_fit_the_schema() -> None:
    first, second = ids.new_short("mer"), ids.new_short("mer")
    assert first != second
    assert first.startswith("mer_")
    assert len(first) == 28
    assert set(first[4:]) <= set("0123456789abcdef")


def test_public_ids_round_trip() -> None:
    value = ids.new_bytes()
    assert ids.parse_public("hold", ids.public("hold", value)) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hold",
        "hold_",
        "gr_" + "0" * 32,
        "hold_" + "0" * 31,
        "hold_" + "0" * 33,
        "hold_" + "G" * 32,
        "hold_" + "A" * 32,
        "hold_" + "٣" * 32,
    ],
)
def test_other_texts_are_no_hold(text: str) -> None:
    assert ids.parse_public("hold", text) is None


def test_times_are_exact() -> None:
    last_microsecond = 4_102_444_799_999_999
    assert to_us(to_datetime(last_microsecond)) == last_microsecond
    assert format_time(last_microsecond) == "2099-12-31T23:59:59.999999Z"
    with pytest.raises(ValueError, match="zone"):
        to_us(to_datetime(0).replace(tzinfo=None))
