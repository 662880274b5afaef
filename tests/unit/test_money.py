"""Proves that amounts are read exactly or refused, before any arithmetic, and written in one form."""

from __future__ import annotations

import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buffmoney.base import money
from buffmoney.base.errors import Problem

REFUSED = [
    "", " ", "NaN", "nan", "Infinity", "-Infinity", "inf", "1e400", "1e300000", "1E5", "1_000", "１２", "٣", " 5 ", "5\n", "+5", "--5",
    ".5", "5.", "05", "00", "0x10", "1,000", "1.0000000001", "0.1234567890", "9" * 19, "1" * 25, "9" * 10_000, "-1", "-0", "0", "0.0",
    "-0.0", "1.2.3", "½", "1\u0000", "\u0661", "1 000", "−1",
]  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_refuses(text: str) -> None:
    with pytest.raises(Problem) as refused:
        money.parse(text, "amount")
    assert (refused.value.status, refused.value.code, refused.value.param) == (422, "invalid_amount", "amount")


@pytest.mark.parametrize("value", [None, 1, 1.5, True, [], {}, b"1"])
def test_refuses_what_is_no_text(value: object) -> None:
    with pytest.raises(Problem):
        money.parse(value, "amount")


def test_refuses_huge_exponents_at_once() -> None:
    started = time.perf_counter()
    for _ in range(1_000):
        with pytest.raises(Problem):
            money.parse("1e300000", "amount")
    assert time.perf_counter() - started < 1.0


def test_signs_and_zero_only_where_they_are_allowed() -> None:
    assert money.parse("-3", "threshold", signed=True) == -3
    assert money.parse("0", "limit", zero=True) == 0
    with pytest.raises(Problem):
        money.parse("-0", "threshold", signed=True, zero=True)
    with pytest.raises(Problem):
        money.parse("-1", "limit", zero=True)


@given(st.integers(min_value=-(10**27) + 1, max_value=10**27 - 1))
def test_nano_round_trip(nano: int) -> None:
    text = money.format_nano(nano)
    assert money.to_nano(Decimal(text)) == nano
    assert money.to_nano(money.from_nano(nano)) == nano
    assert "e" not in text.lower()
    assert not text.startswith("-0") or nano < 0
    if nano:
        assert money.to_nano(money.parse(text, "amount", signed=True)) == nano


@given(st.text(max_size=30))
def test_never_raises_anything_but_problems(text: str) -> None:
    try:
        value = money.parse(text, "amount", signed=True, zero=True)
    except Problem:
        return
    assert text.isascii()
    assert value == Decimal(text)


@pytest.mark.parametrize(("nano", "text"), [(0, "0"), (1, "0.000000001"), (-1, "-0.000000001"), (10**9, "1"), (99_500_000_000, "99.5")])
def test_shortest_form(nano: int, text: str) -> None:
    assert money.format_nano(nano) == text


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e-10", "1e50"])
def test_formats_only_finite_amounts_of_the_scale(value: str) -> None:
    with pytest.raises(ValueError, match=r"finite|decimals|range"):
        money.format_decimal(Decimal(value))
