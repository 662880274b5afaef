"""Money as the channels keep it: whole fen, written as yuan with two decimals where the wire wants yuan. Never a float."""

from __future__ import annotations

import re

FEE_PER_MILLE = 6
"""what both channels keep of a payment"""
FEE_RATE = "0.60%"
"""the same as the bills print it"""

_YUAN = re.compile(r"(0|[1-9][0-9]{0,8})(?:\.([0-9]{1,2}))?", re.ASCII)


def yuan(fen: int) -> str:
    """Fen as yuan with two decimals: -5 is `-0.05`."""
    sign = "-" if fen < 0 else ""
    whole, rest = divmod(abs(fen), 100)
    return f"{sign}{whole}.{rest:02d}"


def parse_yuan(text: object) -> int | None:
    """Yuan with at most two decimals as fen; None for anything else, be it a number that is not a string."""
    match = _YUAN.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    whole, decimals = match.groups()
    return int(whole) * 100 + int((decimals or "0").ljust(2, "0"))


def fee(fen: int) -> int:
    """The channel's fee for an amount, rounded to whole fen, half up."""
    return (fen * FEE_PER_MILLE + 500) // 1_000


def fee_returned(amount_fen: int, refunded_fen: int, returned_fen: int, refund_fen: int) -> int:
    """The part of a payment's fee that WeChat gives back with one more refund. returned_fen: what came back with those before it.

    It is the fee on all that is refunded less what came back before, so that the parts of a whole refund add up to the whole fee,
    and so they do when one between them was closed.
    """
    if refunded_fen + refund_fen > amount_fen:
        raise ValueError("more than was paid")
    return max(fee(refunded_fen + refund_fen) - returned_fen, 0)
