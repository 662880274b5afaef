"""Proves that request keys are checked, and that a stored answer can be read back by us alone."""

from __future__ import annotations

import pytest

from buffmoney.base.config import Settings
from buffmoney.base.errors import Problem
from buffmoney.edge.idempotency import StoredAnswers, parse_key

ANSWERS = StoredAnswers(Settings(secret="s" * 32))


@pytest.mark.parametrize("body", [b"", b"{}", b'{"key":"bm_live_0123456789"}' * 100, bytes(range(256))])
def test_seal_and_open(body: bytes) -> None:
    sealed = ANSWERS._seal(body)
    assert ANSWERS._open(sealed) == body
    assert body not in sealed or not body
    assert ANSWERS._seal(body) != sealed


def test_another_secret_or_a_changed_byte_opens_nothing() -> None:
    sealed = ANSWERS._seal(b'{"a":1}')
    with pytest.raises(ValueError, match="not signed"):
        StoredAnswers(Settings(secret="t" * 32))._open(sealed)
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(ValueError, match="not signed"):
            ANSWERS._open(bytes(changed))


def test_request_keys() -> None:
    assert parse_key(None) is None
    assert parse_key(b"order 7/a") == "order 7/a"
    assert parse_key(b"~" * 255) == "~" * 255
    for wrong in (b"", b"x" * 256, b"a\x00", b"a\x7f", "é".encode(), b"a\tb"):
        with pytest.raises(Problem) as refused:
            parse_key(wrong)
        assert refused.value.code == "invalid_idempotency_key"
