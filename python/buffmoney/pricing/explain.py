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
from buffmoney.base.wire import Number
from buffmoney.pricing.cards import PERIOD, VOLUME, Tier

ROUNDING = f"half to even at {money.SCALE} decimals"
MAX_DECIMALS = 18
"""an amount that needs more of them is written as a fraction"""
_NANO = 10**money.SCALE


class UnexplainedError(RuntimeError):
    """What was charged or posted is not what the rules give."""


@dataclass(frozen=True, slots=True)
class Line:
    """What a line of a rate card asks. price: the cost for a mark-up. percent: only of a mark-up. tiers: only of a graduated or volume
    line. blocks: only of a package."""

    model: str
    price: Decimal
    per: Decimal
    percent: Decimal | None = None
    minimum: Decimal | None = None
    allowance: Decimal | None = None
    tiers: tuple[Tier, ...] = ()
    minimum_per_period: Decimal | None = None
    blocks: str | None = None

    @property
    def counts(self) -> bool:
        """Whether the charge depends on what was used in the period before."""
        return self.model != VOLUME and (self.allowance is not None or bool(self.tiers) or self.buys_blocks)

    @property
    def buys_blocks(self) -> bool:
        """Whether its counter counts what was used less the blocks that were bought."""
        return self.blocks == PERIOD

    @property
    def settles(self) -> bool:
        """Whether a period can cost something when it is over."""
        return self.model == VOLUME or self.minimum_per_period is not None


class ChargeStep(msgspec.Struct, rename="camel"):
    """One step of a calculation.

    what: in words. formula: with its numbers. amount: what the formula gives, exactly; `a/b` where that takes more than 18 decimals.
    """

    what: str
    formula: str
    amount: str


class PricedTier(msgspec.Struct, rename="camel"):
    """The part of an event that lies in one tier. number: from 1. amount: quantity × price ÷ per, before any rounding."""

    number: int
    up_to: Number | None
    quantity: Number
    price: Number
    per: Number
    amount: str


class Explanation(msgspec.Struct, rename="camel"):
    """A charge in the making: exact, rounded once, and not less than the line's minimum.

    billable: what is left of the quantity beyond the allowance, and beyond blocks that were bought before. tiers: of a graduated line.
    blocks: how many the event bought, of a line whose blocks are those of the period.
    """

    steps: list[ChargeStep]
    exact: str
    rounded: str
    rounding: str
    minimum_applied: bool
    charge: str
    billable: str
    tiers: list[PricedTier]
    blocks: int | None = None


def explain(line: Line, quantity: Decimal, before: Decimal = Decimal(0)) -> Explanation:
    """What a quantity costs, and why. before: what the period's counter was, of a line that counts: what was used, and where the line buys
    blocks that less the blocks bought.

    Raises UnexplainedError for a model that is not known.
    """
    if line.model == VOLUME:
        return _later(quantity)
    if line.buys_blocks:
        return _blocks(line, quantity, before)
    billable, steps = _billable(line, quantity, before)
    tiers: list[PricedTier] = []
    if not billable:
        exact = Fraction(0)
    elif line.tiers:
        exact, priced, tiers = _graduated(line, billable, before)
        steps += priced
    else:
        exact, priced = _price(line, billable)
        steps += priced
    rounded = round(exact * _NANO)
    if exact * _NANO != rounded:
        steps.append(ChargeStep(f"rounded {ROUNDING}", f"round({_text(exact)}, {money.SCALE})", money.format_nano(rounded)))
    charge = rounded
    if line.minimum is not None and billable:
        charge = max(rounded, money.to_nano(line.minimum))
        formula = f"max({money.format_nano(rounded)}, {money.format_decimal(line.minimum)})"
        steps.append(ChargeStep("at least the minimum", formula, money.format_nano(charge)))
    return Explanation(
        steps,
        _text(exact),
        money.format_nano(rounded),
        ROUNDING,
        charge > rounded,
        money.format_nano(charge),
        money.format_decimal(billable),
        tiers,
    )


def explain_charge(line: Line, quantity: Decimal, charged: Decimal, before: Decimal = Decimal(0)) -> Explanation:
    """Why an event was charged this. Raises UnexplainedError if the line does not give it."""
    found = explain(line, quantity, before)
    if found.charge != money.format_decimal(charged):
        raise UnexplainedError(f"charged {charged}, but {line} gives {found.charge} for {quantity}")
    return found


def _later(quantity: Decimal) -> Explanation:
    step = ChargeStep("priced at the end of its billing period, by the total of the period", "0", "0")
    return Explanation([step], "0", "0", ROUNDING, False, "0", money.format_decimal(quantity), [])


def left_of(line: Line, counter: Decimal) -> Decimal:
    """How many units the allowance and the blocks that were bought still cover, where the counter of a line that buys blocks stands."""
    return max((line.allowance or Decimal(0)) - counter, Decimal(0))


def _blocks(line: Line, quantity: Decimal, before: Decimal) -> Explanation:
    left = left_of(line, before)
    lacking = max(quantity - left, Decimal(0))
    count = math.ceil(Fraction(lacking) / Fraction(line.per))
    exact = count * Fraction(line.price)
    covered, used, lacks, per, price = (money.format_decimal(value) for value in (left, quantity, lacking, line.per, line.price))
    covers = "blocks bought before" if line.allowance is None else "the allowance and of blocks bought before"
    steps = [
        ChargeStep(f"left in the period of {covers}", covered, covered),
        ChargeStep("lacking: quantity − what is left, not below 0", f"max({used} - {covered}, 0)", lacks),
        ChargeStep("blocks begun: lacking ÷ per, rounded up", f"ceil({lacks} ÷ {per})", str(count)),
        ChargeStep("blocks × price", f"{count} × {price}", _text(exact)),
    ]
    return Explanation(steps, _text(exact), _text(exact), ROUNDING, False, _text(exact), lacks, [], count)


class PeriodExplanation(msgspec.Struct, rename="camel"):
    """The charge of a period in the making. billable: of a volume line, what is left of the total beyond the allowance; tier: the one in
    which that lies, null where nothing is left. exact: what the line asks before rounding. total: what the period is charged."""

    steps: list[ChargeStep]
    billable: str | None
    tier: PricedTier | None
    exact: str
    rounded: str
    rounding: str
    minimum_applied: bool
    total: str


def explain_period(line: Line, quantity: Decimal, charged: Decimal, total: Decimal) -> PeriodExplanation:
    """Why a period is charged this in all, for so many units of which the events were charged so much. Raises UnexplainedError if the line
    does not give it."""
    steps: list[ChargeStep] = []
    tier, billable, exact = None, None, Fraction(charged)
    if line.model == VOLUME:
        left, allowance = quantity, line.allowance
        if allowance is not None:
            left = max(quantity - allowance, Decimal(0))
            formula = f"max({money.format_decimal(quantity)} - {money.format_decimal(allowance)}, 0)"
            steps.append(ChargeStep("to be billed: total − allowance, not below 0", formula, money.format_decimal(left)))
        exact, billable = Fraction(0), money.format_decimal(left)
        if left:
            number, found = next((place, one) for place, one in enumerate(line.tiers, 1) if one.up_to is None or left <= one.up_to)
            exact, wire = Fraction(left) * Fraction(found.price) / Fraction(found.per), found.wire
            tier = PricedTier(number, wire["upTo"], billable, str(wire["price"]), str(wire["per"]), _text(exact))
            reach = "beyond all others" if found.up_to is None else f"up to {wire['upTo']}"
            what = f"all units by tier {number}, {reach}: units × price ÷ per"
            steps.append(ChargeStep(what, f"{billable} × {wire['price']} ÷ {wire['per']}", _text(exact)))
    else:
        steps.append(ChargeStep("charged for the events of the period", money.format_decimal(charged), money.format_decimal(charged)))
    rounded = round(exact * _NANO)
    if exact * _NANO != rounded:
        steps.append(ChargeStep(f"rounded {ROUNDING}", f"round({_text(exact)}, {money.SCALE})", money.format_nano(rounded)))
    asked = rounded if quantity else 0
    if line.minimum_per_period is not None and quantity:
        asked = max(rounded, money.to_nano(line.minimum_per_period))
        formula = f"max({money.format_nano(rounded)}, {money.format_decimal(line.minimum_per_period)})"
        steps.append(ChargeStep("at least the minimum per period", formula, money.format_nano(asked)))
    owed = max(asked - money.to_nano(charged), 0) if quantity else 0
    shown = f"max({money.format_nano(asked)} - {money.format_decimal(charged)}, 0)"
    steps.append(ChargeStep("less what the events were charged, not below 0", shown, money.format_nano(owed)))
    if owed != money.to_nano(total):
        raise UnexplainedError(f"a period charged {total}, but {line} gives {money.format_nano(owed)} for {quantity} after {charged}")
    applied = asked > rounded
    return PeriodExplanation(steps, billable, tier, _text(exact), money.format_nano(rounded), ROUNDING, applied, money.format_nano(owed))


def _billable(line: Line, quantity: Decimal, before: Decimal) -> tuple[Decimal, list[ChargeStep]]:
    """What of a quantity lies beyond the allowance of the period."""
    if line.allowance is None:
        return quantity, []
    left = max(line.allowance - before, Decimal(0))
    free = min(quantity, left)
    billable = quantity - free
    allowance, used, amount, rest, taken, billed = (
        money.format_decimal(value) for value in (line.allowance, before, quantity, left, free, billable)
    )
    return billable, [
        ChargeStep("left of the period's allowance: allowance − used before, not below 0", f"max({allowance} - {used}, 0)", rest),
        ChargeStep("free of charge: as much of the quantity as is left", f"min({amount}, {rest})", taken),
        ChargeStep("to be billed: quantity − what is free", f"{amount} - {taken}", billed),
    ]


def _graduated(line: Line, billable: Decimal, before: Decimal) -> tuple[Fraction, list[ChargeStep], list[PricedTier]]:
    """Tier by tier. Tiers count what the period has used beyond the allowance."""
    steps, tiers, exact = [], [], Fraction(0)
    start = max(before - (line.allowance or 0), Decimal(0))
    at, end = start, start + billable
    for number, tier in enumerate(line.tiers, 1):
        to = end if tier.up_to is None else min(end, tier.up_to)
        if to <= at:
            continue
        part, wire = to - at, tier.wire
        amount = Fraction(part) * Fraction(tier.price) / Fraction(tier.per)
        shown = money.format_decimal(part)
        reach = "beyond the one before" if tier.up_to is None else f"up to {wire['upTo']}"
        steps.append(
            ChargeStep(
                f"units in tier {number}, {reach}: from {money.format_decimal(at)} to {money.format_decimal(to)}",
                f"{money.format_decimal(to)} - {money.format_decimal(at)}",
                shown,
            )
        )
        steps.append(ChargeStep(f"tier {number}: units × price ÷ per", f"{shown} × {wire['price']} ÷ {wire['per']}", _text(amount)))
        tiers.append(PricedTier(number, wire["upTo"], shown, str(wire["price"]), str(wire["per"]), _text(amount)))
        exact += amount
        at = to
    if len(tiers) > 1:
        steps.append(ChargeStep("all tiers together", " + ".join(tier.amount for tier in tiers), _text(exact)))
    return exact, steps, tiers


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
