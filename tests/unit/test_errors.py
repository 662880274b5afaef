"""Proves that failures can only be raised with registered codes, and that each says whether a repetition can help."""

from __future__ import annotations

import pytest

from buffmoney.base.errors import CODES, Problem, RedisUnavailable


def test_codes_are_well_formed() -> None:
    for code in CODES.values():
        assert code.code.isidentifier()
        assert code.code == code.code.lower()
        assert 400 <= code.status <= 599
        # What is wrong with a request stays wrong; what is wrong with the system may pass.
        if code.status in (429, 503):
            assert code.retryable


def test_unregistered_codes_are_refused() -> None:
    with pytest.raises(ValueError, match="oops"):
        Problem("oops")


def test_who_may_try_again_is_told_when() -> None:
    assert Problem("overloaded").retry_after == 1
    assert Problem("overloaded", retry_after=7).retry_after == 7
    assert Problem("invalid_amount").retry_after is None
    assert RedisUnavailable().status == 503
