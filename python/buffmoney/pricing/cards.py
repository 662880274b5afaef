"""The rules of a rate card: what a line may say, and that no event could meet two equally specific lines."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any

import msgspec

from buffmoney.base import money
from buffmoney.base.errors import Problem

MAX_CHARGES = 10_000
MAX_MATCHED_DIMENSIONS = 16
MAX_DIMENSION_NAME_BYTES = 64
MAX_DIMENSION_VALUE_BYTES = 255
MAX_MATCH_SHAPES = 64
"""different sets of dimensions that the lines of one metric may match on; keeps the search for ambiguous lines short"""


MAX_TIERS = 100


PER_UNIT = "per_unit"
PACKAGE = "package"
MARKUP = "markup"
GRADUATED = "graduated"
VOLUME = "volume"
TIERED = (GRADUATED, VOLUME)
"""the models whose prices are in their tiers"""
PERIOD = "period"
EVENT = "event"
BLOCKS = (PERIOD, EVENT)
"""whose blocks a package line counts: those that a billing period begins, which its events use up one after the other, or those of each
event. Lines that were written before there was a choice are of the event; since then, who does not say it means the period"""


class Model(msgspec.Struct, frozen=True):
    """A way to charge: which fields a line of it must and may have, besides `minimumPerPeriod`."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ("minimum",)


MODELS = {
    PER_UNIT: Model(("price",), ("per", "allowance", "minimum")),
    PACKAGE: Model(("price", "per"), ("blocks", "allowance", "minimum")),
    "flat": Model(("price",)),
    MARKUP: Model(("cost", "percent"), ("per", "allowance", "minimum")),
    GRADUATED: Model(("tiers",), ("allowance", "minimum")),
    VOLUME: Model(("tiers",), ("allowance",)),
}
"""what an event of quantity q costs: q * price / per; price for each block of `per` units that is begun; price, whatever q; the cost
q * cost / per and `percent` on top; of each part of q, by the tier it lies in within the period, part * price / per.
The first `allowance` units of a period are free: q is what lies beyond them. Of a volume line an event costs nothing; when its period is
over, all units of it cost the price of the one tier in which their total, less the allowance, lies"""
BlocksName = Annotated[str, msgspec.Meta(extra_json_schema={"enum": list(BLOCKS)})]
ModelName = Annotated[str, msgspec.Meta(extra_json_schema={"enum": list(MODELS)})]
AMOUNTS = ("price", "cost", "per", "percent", "minimum", "minimumPerPeriod", "allowance")
"""the fields of a line that are numbers"""
SIDE_BY_SIDE = {"prices": "price", "costs": "cost", "minimums": "minimum", "minimumsPerPeriod": "minimumPerPeriod"}
"""the fields of a line that are numbers by currency, and the one that each stands for"""


class Tier(msgspec.Struct, frozen=True):
    """Units of a period up to and with the `up_to`th (beyond an allowance), `price` for `per` of them. up_to None: all the others."""

    up_to: Decimal | None
    price: Decimal
    per: Decimal

    @property
    def wire(self) -> dict[str, str | None]:
        """As JSON has it."""
        up_to = None if self.up_to is None else money.format_decimal(self.up_to)
        return {"upTo": up_to, "price": money.format_decimal(self.price), "per": money.format_decimal(self.per)}


def stored_tiers(stored: str | None) -> tuple[Tier, ...]:
    """Tiers as the database has them: the JSON of their `wire`, or nothing."""
    if stored is None:
        return ()
    tiers = msgspec.json.decode(stored, type=list[_StoredTier])
    return tuple(Tier(None if one.up_to is None else Decimal(one.up_to), Decimal(one.price), Decimal(one.per)) for one in tiers)


class _StoredTier(msgspec.Struct, rename="camel"):
    up_to: str | None
    price: str
    per: str


class Charge(msgspec.Struct, frozen=True):
    """A checked line in one currency, for events of a metric whose dimensions contain `match`.

    price: the cost in the model markup, 0 in graduated and volume.
    allowance: units of the metric that are free in each billing period. tiers: of the models graduated and volume, and only of them.
    blocks: of the model package, and only of it.
    minimum_per_period: what a billing period costs at least in which the line was used.
    line: its place in the card, from 0; a line with prices side by side is one of these for each currency.
    """

    metric: str
    price: Decimal
    per: Decimal
    match: dict[str, str]
    model: str = PER_UNIT
    percent: Decimal | None = None
    minimum: Decimal | None = None
    allowance: Decimal | None = None
    tiers: tuple[Tier, ...] = ()
    currency: str = ""
    line: int = 0
    minimum_per_period: Decimal | None = None
    blocks: str | None = None

    @property
    def counts(self) -> bool:
        """Whether what an event costs depends on what was used in the period before."""
        return self.model != VOLUME and (self.allowance is not None or bool(self.tiers) or self.blocks == PERIOD)

    @property
    def settles(self) -> bool:
        """Whether a period can cost something when it is over."""
        return self.model == VOLUME or self.minimum_per_period is not None

    @property
    def amounts(self) -> dict[str, str]:
        """The numbers of the line as decimal strings, by the field's name on the wire, in the order of AMOUNTS."""
        values = {
            "cost" if self.model == MARKUP else "price": None if self.model in TIERED else self.price,
            "per": None if self.model in ("flat", *TIERED) else self.per,
            "percent": self.percent,
            "minimum": self.minimum,
            "minimumPerPeriod": self.minimum_per_period,
            "allowance": self.allowance,
        }
        return {name: money.format_decimal(value) for name, value in values.items() if value is not None}


def check_text(text: str, param: str, *, longest_bytes: int, what: str) -> str:
    """A text that can be stored, shown and compared. Raises Problem invalid_rate_card."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        size = 0
    if not 1 <= size <= longest_bytes or any(unicodedata.category(character) == "Cc" for character in text):
        raise Problem("invalid_rate_card", f"{what} has 1 to {longest_bytes} bytes and no control characters.", param=param)
    return text


def check_tiers(tiers: object, where: str) -> tuple[Tier, ...]:
    """Tiers as a client wrote them: at most MAX_TIERS, each up to a higher bound than the one before, the last one open.

    Every unit of a period then lies in exactly one of them. Raises Problem invalid_price or invalid_rate_card naming the tier.
    """
    if not isinstance(tiers, list) or not 1 <= len(tiers) <= MAX_TIERS:
        raise Problem("invalid_rate_card", f"A line with tiers has 1 to {MAX_TIERS} of them.", param=where)
    found: list[Tier] = []
    for place, tier in enumerate(tiers):
        at, last = f"{where}[{place}]", place == len(tiers) - 1
        up_to = None if tier.up_to is None else money.parse(tier.up_to, f"{at}.upTo", code="invalid_price")
        if last and up_to is not None:
            raise Problem("invalid_rate_card", "Units beyond the last tier would have no price: its upTo is null.", param=f"{at}.upTo")
        if not last and up_to is None:
            raise Problem("invalid_rate_card", "No unit gets beyond a tier without an end: only the last upTo is null.", param=f"{at}.upTo")
        if up_to is not None and found and up_to <= (found[-1].up_to or 0):
            raise Problem("invalid_rate_card", "Tiers overlap: each upTo is greater than the one before.", param=f"{at}.upTo")
        price = money.parse(tier.price, f"{at}.price", code="invalid_price", zero=True)
        found.append(Tier(up_to, price, money.parse(tier.per, f"{at}.per", code="invalid_price")))
    return tuple(found)


def check_charge(
    line: int,
    metric: str,
    match: dict[str, str],
    model: str = PER_UNIT,
    /,
    *,
    tiers: object = None,
    blocks: str | None = None,
    **amounts: object,
) -> Charge:
    """One line as a client wrote it. line: from 0. amounts: those of AMOUNTS that the client gave. tiers: with up_to, price and per.

    Raises Problem invalid_price, invalid_rate_card or missing_field naming the line.
    """
    where = f"charges[{line}]"
    if len(match) > MAX_MATCHED_DIMENSIONS:
        raise Problem("invalid_rate_card", f"A line matches at most {MAX_MATCHED_DIMENSIONS} dimensions.", param=f"{where}.match")
    for name, value in match.items():
        check_text(name, f"{where}.match", longest_bytes=MAX_DIMENSION_NAME_BYTES, what="A dimension's name")
        check_text(value, f"{where}.match.{name}", longest_bytes=MAX_DIMENSION_VALUE_BYTES, what="A dimension's value")
    fields = MODELS.get(model)
    if fields is None:
        raise Problem("invalid_rate_card", f"There is no such model. The models are {', '.join(MODELS)}.", param=f"{where}.model")
    known = (*fields.required, *fields.optional, "minimumPerPeriod")
    said = {"tiers": tiers, "blocks": blocks}
    given = [*amounts, *(name for name, value in said.items() if value is not None)]
    for name in given:
        if name not in known:
            raise Problem("invalid_rate_card", f"A {model} line has {', '.join(known)}, but no {name}.", param=f"{where}.{name}")
    for name in fields.required:
        if name not in given:
            raise Problem("missing_field", f"A {model} line has {name if name == 'tiers' else f'a {name}'}.", param=f"{where}.{name}")
    if model == PACKAGE:
        blocks = PERIOD if blocks is None else blocks
        if blocks not in BLOCKS:
            raise Problem("invalid_rate_card", f"A package line's blocks are those of a {' or an '.join(BLOCKS)}.", param=f"{where}.blocks")
        if blocks == PERIOD and "minimum" in amounts:
            detail = "Most events begin no block of the period: only a package whose blocks are those of the event has a minimum."
            raise Problem("invalid_rate_card", detail, param=f"{where}.minimum")

    def amount(name: str, *, zero: bool = False) -> Decimal:
        return money.parse(amounts[name], f"{where}.{name}", code="invalid_price", zero=zero)

    return Charge(
        metric,
        # What was bought is told by what was charged.
        Decimal(0) if model in TIERED else amount("cost" if model == MARKUP else "price", zero=blocks != PERIOD),
        amount("per") if "per" in amounts else Decimal(1),
        dict(sorted(match.items())),
        model,
        amount("percent", zero=True) if "percent" in amounts else None,
        amount("minimum") if "minimum" in amounts else None,
        amount("allowance") if "allowance" in amounts else None,
        () if tiers is None else check_tiers(tiers, f"{where}.tiers"),
        minimum_per_period=amount("minimumPerPeriod") if "minimumPerPeriod" in amounts else None,
        blocks=blocks,
    )


def check_line(line: int, card_currency: str, metric: str, match: dict[str, str], model: str = PER_UNIT, /, **said: Any) -> list[Charge]:
    """One line as a client wrote it, in each of its currencies: the card's first, then by name.

    said: those of AMOUNTS (str), of SIDE_BY_SIDE (currency -> str), `tiers`, `blocks` and `currency` (str) that the client gave.
    Raises Problem like `check_charge`, and invalid_currency.
    """
    where = f"charges[{line}]"
    tables: dict[str, dict[str, str]] = {name: said.pop(name) for name in SIDE_BY_SIDE if name in said}
    if not tables:
        currency = money.check_currency(said.pop("currency", card_currency), f"{where}.currency", known=card_currency)
        return [msgspec.structs.replace(check_charge(line, metric, match, model, **said), currency=currency, line=line)]
    several = "costs" if model == MARKUP else "prices"
    for name in tables:
        if several not in tables or name not in (several, "minimums", "minimumsPerPeriod"):
            raise Problem("invalid_rate_card", f"A {model} line has {several} and minimums side by side.", param=f"{where}.{name}")
    for name in ("currency", SIDE_BY_SIDE[several], "minimum", "minimumPerPeriod"):
        if name in said:
            raise Problem("invalid_rate_card", f"A line has either {name} or {several}.", param=f"{where}.{name}")
    if not tables[several]:
        raise Problem("invalid_rate_card", "A line has a price in one currency at least.", param=f"{where}.{several}")
    for name, table in tables.items():
        for currency, text in table.items():
            money.check_currency(currency, f"{where}.{name}", known=card_currency)
            if currency not in tables[several]:
                raise Problem("invalid_rate_card", f"There is no price in {currency}.", param=f"{where}.{name}.{currency}")
            money.parse(text, f"{where}.{name}.{currency}", code="invalid_price", zero=name == several)
    charges = []
    for currency in sorted(tables[several], key=lambda code: (code != card_currency, code)):
        amounts = {SIDE_BY_SIDE[name]: table[currency] for name, table in tables.items() if currency in table}
        charge = check_charge(line, metric, match, model, **said, **amounts)
        charges.append(msgspec.structs.replace(charge, currency=currency, line=line))
    return charges


def refuse_ambiguous(charges: Sequence[Charge]) -> None:
    """Raises Problem invalid_rate_card, naming both lines, if one event could meet two lines that are equally specific.

    Two lines of one metric collide when they match on as many dimensions and agree wherever both name the same one.
    """
    # An event's customer has one currency: lines of different ones never meet.
    by_metric: defaultdict[tuple[str, str], defaultdict[tuple[str, ...], list[int]]] = defaultdict(lambda: defaultdict(list))
    for place, charge in enumerate(charges):
        by_metric[charge.metric, charge.currency][tuple(charge.match)].append(place)
    for (metric, _), shapes in by_metric.items():
        if len(shapes) > MAX_MATCH_SHAPES:
            raise Problem(
                "invalid_rate_card",
                f"The lines of {metric} match on more than {MAX_MATCH_SHAPES} different sets of dimensions.",
                param="charges",
            )
        names_of = list(shapes)
        for index, names in enumerate(names_of):
            for others in names_of[index:]:
                if len(others) == len(names):
                    collision = _collision(charges, shapes[names], shapes[others], [name for name in names if name in others])
                    if collision is not None:
                        first, second = sorted(charges[place].line for place in collision)
                        raise Problem(
                            "invalid_rate_card",
                            f"charges[{first}] and charges[{second}] are equally specific and could both match one event of {metric}: "
                            "which one counts would be left to chance. Make one of them more specific.",
                            param=f"charges[{second}].match",
                            lines=[first, second],
                        )


def _collision(charges: Sequence[Charge], ours: list[int], theirs: list[int], shared: list[str]) -> tuple[int, int] | None:
    seen: dict[tuple[str, ...], int] = {}
    same = ours is theirs
    for line in ours:
        values = tuple(charges[line].match[name] for name in shared)
        if same and values in seen:
            return seen[values], line
        seen[values] = line
    if not same:
        for line in theirs:
            values = tuple(charges[line].match[name] for name in shared)
            if values in seen:
                return seen[values], line
    return None
