"""Amounts and quantities: decimal strings of ASCII digits with at most nine decimals, never a float.

A text is matched against its grammar before any arithmetic, so that `1e300000`, `1_000`, `１２`, `٣` and ` 5 ` cost nothing and
are refused, though Python's Decimal would take them all.
"""

from __future__ import annotations

import re
from decimal import Decimal

from buffmoney.base.errors import Problem

SCALE = 9
"""decimals kept; one unit of the last is a nano"""
MAX_INTEGER_DIGITS = 18
"""digits before the point; room for every real amount, and sums of billions of them still fit 128 bits of nano"""

CURRENCIES = ("CNY", "USD", "EUR", "GBP", "SGD", "AUD", "NZD", "HKD", "JPY", "THB")
"""what wallets and prices can be in, by ISO 4217"""

_GRAMMAR = re.compile(r"(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?", re.ASCII)
_NANO = 10**SCALE


def parse(text: object, param: str, *, code: str = "invalid_amount", signed: bool = False, zero: bool = False) -> Decimal:
    """The exact value of a decimal string from a client.

    signed: negative values are allowed. zero: 0 is allowed ("-0" never is).
    Raises Problem 422 `code` naming `param`.
    """
    if not isinstance(text, str):
        raise Problem(code, 'Give a decimal string, for example "12.5".', param=param)
    if len(text) > 64:
        raise Problem(code, "The number is too long.", param=param)
    match = _GRAMMAR.fullmatch(text)
    if match is None:
        raise Problem(
            code, 'Give a plain decimal string of digits, for example "12.5": no exponent, spaces, signs or separators.', param=param
        )
    sign, whole, decimals = match.groups()
    if len(whole) > MAX_INTEGER_DIGITS:
        raise Problem(code, f"At most {MAX_INTEGER_DIGITS} digits before the decimal point.", param=param)
    if decimals is not None and len(decimals) > SCALE:
        raise Problem(code, f"At most {SCALE} digits after the decimal point.", param=param)
    value = Decimal(text)
    if not value and (sign or not zero):
        raise Problem(code, "Must not be zero.", param=param)
    if sign and not signed:
        raise Problem(code, "Must not be negative.", param=param)
    return value


def check_currency(code: str, param: str, *, known: str | None = None) -> str:
    """A currency that is supported. known: one that is taken whatever it is. Raises Problem invalid_currency naming `param`."""
    if code not in CURRENCIES and code != known:
        raise Problem("invalid_currency", f"The currencies are {', '.join(CURRENCIES)}.", param=param)
    return code


def to_nano(value: Decimal) -> int:
    """An exact amount in nano-units. Raises ValueError if it has more decimals, or is not a finite number."""
    if not value.is_finite():
        raise ValueError("not a finite amount")
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int) or exponent > 40:
        raise ValueError("out of range")
    number = int("".join(map(str, digits)) or "0")
    shift = exponent + SCALE
    if shift >= 0:
        number *= int(10**shift)
    else:
        number, rest = divmod(number, int(10**-shift))
        if rest:
            raise ValueError(f"more than {SCALE} decimals")
    return -number if sign else number


def from_nano(nano: int) -> Decimal:
    """Nano-units as an exact Decimal."""
    return Decimal(format_nano(nano))


def format_nano(nano: int) -> str:
    """Nano-units as the shortest plain decimal string: no exponent, no trailing zeros, never `-0`."""
    whole, rest = divmod(abs(nano), _NANO)
    sign = "-" if nano < 0 else ""
    if not rest:
        return f"{sign}{whole}"
    return f"{sign}{whole}.{str(rest).zfill(SCALE).rstrip('0')}"


def format_decimal(value: Decimal) -> str:
    """A Decimal as the shortest plain decimal string. Raises ValueError for NaN, infinities and more than nine decimals."""
    return format_nano(to_nano(value))
