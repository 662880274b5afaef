"""Why a charge is what it is: a line of a rate card applied to a quantity, step by step.

Worked out in exact rational numbers and without the engine, which charged: the two must agree, or the charge is not explained.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import msgspec

from buffmoney.base import money

ROUNDING = f"half to even at {money.SCALE} decimals"
MAX_DECIMALS = 18
"""an amount that needs more of them is written as a fraction"""
_NANO = 10**money.SCALE


class UnexplainedError(RuntimeError):
    """What was charged or posted is not what the rules give."""


@dataclass(frozen=True, slots=True)
class Line:
    """What a line of a rate card asks. price: the cost for a mark-up. percent: only of a mark-up."""

    model: str
    price: Decimal
    per: Decimal
    percent: Decimal | None = None
    minimum: Decimal | None = None


class ChargeStep(msgspec.Struct, rename="camel"):
    """One step of a calculation. amount: what the formula gives, exactly; `a/b` where that takes more than 18 decimals."""

    what: str
    formula: str
    amount: str


class Explanation(msgspec.Struct, rename="camel"):
    """A charge in the making: exact, rounded once, and not less than the line's minimum."""

    steps: list[ChargeStep]
    exact: str
    rounded: str
    rounding: str
    minimum_applied: bool
    charge: str


def explain(line: Line, quantity: Decimal) -> Explanation:
    """What a quantity costs, and why. Raises UnexplainedError for a model that is not known."""
    exact, steps = _price(line, quantity)
    rounded = round(exact * _NANO)
    if exact * _NANO != rounded:
        steps.append(ChargeStep(f"rounded {ROUNDING}", f"round({_text(exact)}, {money.SCALE})", money.format_nano(rounded)))
    charge = rounded
    if line.minimum is not None:
        charge = max(rounded, money.to_nano(line.minimum))
        formula = f"max({money.format_nano(rounded)}, {money.format_decimal(line.minimum)})"
        steps.append(ChargeStep("at least the minimum", formula, money.format_nano(charge)))
    return Explanation(steps, _text(exact), money.format_nano(rounded), ROUNDING, charge > rounded, money.format_nano(charge))


def explain_charge(line: Line, quantity: Decimal, charged: Decimal) -> Explanation:
    """Why an event was charged this. Raises UnexplainedError if the line does not give it."""
    found = explain(line, quantity)
    if found.charge != money.format_decimal(charged):
        raise UnexplainedError(f"charged {charged}, but {line} gives {found.charge} for {quantity}")
    return found


def _price(line: Line, quantity: Decimal) -> tuple[Fraction, list[ChargeStep]]:
    amount, price, per = (Fraction(value) for value in (quantity, line.price, line.per))
    shown, price_shown, per_shown = (money.format_decimal(value) for value in (quantity, line.price, line.per))
    match line.model:
        case "per_unit":
            exact = amount * price / per
            return exact, [ChargeStep("quantity × price ÷ per", f"{shown} × {price_shown} ÷ {per_shown}", _text(exact))]
        case "package":
            packages = math.ceil(amount / per)
            exact = packages * price
            return exact, [
                ChargeStep("packages begun: quantity ÷ per, rounded up", f"ceil({shown} ÷ {per_shown})", str(packages)),
                ChargeStep("packages × price", f"{packages} × {price_shown}", _text(exact)),
            ]
        case "flat":
            return price, [ChargeStep("price of an event, whatever its quantity", price_shown, _text(price))]
        case "markup" if line.percent is not None:
            cost = amount * price / per
            exact = cost * (1 + Fraction(line.percent) / 100)
            # A fraction is a number of its own here and must not fall apart in a formula.
            cost_shown = f"({_text(cost)})" if "/" in _text(cost) else _text(cost)
            factor = f"(1 + {money.format_decimal(line.percent)} ÷ 100)"
            return exact, [
                ChargeStep("quantity × cost ÷ per", f"{shown} × {price_shown} ÷ {per_shown}", _text(cost)),
                ChargeStep("marked up: × (1 + percent ÷ 100)", f"{cost_shown} × {factor}", _text(exact)),
            ]
    raise UnexplainedError(f"{line} is of no model that is known")


def _text(value: Fraction) -> str:
    """A finite decimal of at most 18 places, else numerator/denominator in lowest terms."""
    scaled = value * 10**MAX_DECIMALS
    if scaled.denominator != 1:
        return f"{value.numerator}/{value.denominator}"
    whole, rest = divmod(scaled.numerator, 10**MAX_DECIMALS)
    return f"{whole}.{rest:0{MAX_DECIMALS}d}".rstrip("0").rstrip(".")
