"""Proves that API keys are random, recognizable without a look-up, and stored as nothing from which they could be made again."""

from __future__ import annotations

import secrets

from buffmoney.merchants import keys

PEPPER = bytes(range(32))
OTHER_PEPPER = bytes(range(1, 33))


def test_form() -> None:
    sandbox, live = keys.generate(PEPPER, "sandbox"), keys.generate(PEPPER, "live")
    assert sandbox.startswith("bm_test_")
    assert live.startswith("bm_live_")
    assert len(sandbox) == len(live) == keys.LENGTH
    assert keys.shown_prefix(live) == live[:16]
    assert len({keys.generate(PEPPER, "live") for _ in range(1_000)}) == 1_000


def test_only_our_keys_are_well_formed() -> None:
    key = keys.generate(PEPPER, "live")
    assert keys.well_formed(PEPPER, key)
    assert not keys.well_formed(OTHER_PEPPER, key)
    for position in range(len(key)):
        other = "x" if key[position] != "x" else "y"
        assert not keys.well_formed(PEPPER, key[:position] + other + key[position + 1 :])
    for wrong in ("", "bm_live_", key[:-1], key + "x", key.replace("bm_live_", "bm_test_"), "é" * keys.LENGTH, "\udcff" * keys.LENGTH):
        assert not keys.well_formed(PEPPER, wrong)


def test_random_keys_are_refused() -> None:
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    for _ in range(2_000):
        made_up = "bm_live_" + "".join(secrets.choice(alphabet) for _ in range(keys.LENGTH - 8))
        assert not keys.well_formed(PEPPER, made_up)


def test_hash_needs_the_pepper() -> None:
    key = keys.generate(PEPPER, "live")
    assert len(keys.hash_key(PEPPER, key)) == 32
    assert keys.hash_key(PEPPER, key) == keys.hash_key(PEPPER, key)
    assert keys.hash_key(PEPPER, key) != keys.hash_key(OTHER_PEPPER, key)
