"""Identifiers: time-ordered, so that indexes stay warm, with enough randomness never to meet again."""

from __future__ import annotations

import re
import secrets

from buffmoney.base.clock import Clock, SystemClock

_SYSTEM_CLOCK = SystemClock()
_HEX_32 = re.compile(r"[0-9a-f]{32}", re.ASCII)


def new_bytes(clock: Clock = _SYSTEM_CLOCK) -> bytes:
    """16 bytes in UUIDv7 layout: 48 bits of milliseconds, then version, variant and 74 random bits."""
    milliseconds = clock.now_us() // 1_000
    tail = int.from_bytes(secrets.token_bytes(10), "big")
    value = (milliseconds & ((1 << 48) - 1)) << 80 | tail
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return value.to_bytes(16, "big")


def new_short(prefix: str, clock: Clock = _SYSTEM_CLOCK) -> str:
    """`<prefix>_` and 24 hexadecimal digits: 48 bits of milliseconds and 48 random bits.

    For things that people make now and then: merchants, keys, rate cards.
    """
    milliseconds = (clock.now_us() // 1_000) & ((1 << 48) - 1)
    return f"{prefix}_{milliseconds:012x}{secrets.token_hex(6)}"


def new_request_id(clock: Clock = _SYSTEM_CLOCK) -> str:
    """`req_` and 32 hexadecimal digits."""
    return "req_" + new_bytes(clock).hex()


def public(prefix: str, value: bytes) -> str:
    """The id of a grant (`gr`), hold (`hold`) or wallet command (`cmd`) as clients see it. value: 16 bytes."""
    if len(value) != 16:
        raise ValueError(f"an id has 16 bytes, not {len(value)}")
    return f"{prefix}_{value.hex()}"


def parse_public(prefix: str, text: str) -> bytes | None:
    """The 16 bytes of a public id; None if the text is none (then no such thing exists, and the answer is 404)."""
    head, _, digits = text.partition("_")
    if head != prefix or _HEX_32.fullmatch(digits) is None:
        return None
    return bytes.fromhex(digits)
