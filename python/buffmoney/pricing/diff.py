"""What changed between two cards: what is said of each as a whole, and line by line. A line is known by its metric, its match and its
currency; its counter by metric and match alone, so that a line with another match begins to count anew."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import msgspec

from buffmoney.pricing.cards import PERIOD, Charge

CounterName = tuple[str, bytes, str]
"""metric, match as canonical JSON, and what is counted"""


class Difference(msgspec.Struct, frozen=True):
    """added, changed: in the order of the card after; removed: in that of the card before. changed: (before, after)."""

    added: list[Charge]
    removed: list[Charge]
    changed: list[tuple[Charge, Charge]]


def compare(before: Sequence[Charge], after: Sequence[Charge]) -> Difference:
    """The difference of two cards' lines. Their order is none. Lines that a draft says twice are paired in their order."""
    waiting: defaultdict[tuple[str, bytes, str], list[Charge]] = defaultdict(list)
    for charge in before:
        waiting[_key(charge)].append(charge)
    added, changed = [], []
    for charge in after:
        same = waiting[_key(charge)]
        if not same:
            added.append(charge)
            continue
        old = same.pop(0)
        if msgspec.structs.replace(old, line=charge.line) != charge:
            changed.append((old, charge))
    left = {id(charge) for charges in waiting.values() for charge in charges}
    return Difference(added, [charge for charge in before if id(charge) in left], changed)


def _key(charge: Charge) -> tuple[str, bytes, str]:
    return charge.metric, canonical(charge.match), charge.currency


def canonical(match: Mapping[str, str]) -> bytes:
    """A match as the names of counters have it."""
    return msgspec.json.encode(match, order="sorted")


def counters(charge: Charge) -> list[CounterName]:
    """What a line counts in a billing period."""
    next_event = "blocks" if charge.blocks == PERIOD else "quantity"
    measures = ([next_event] if charge.counts else []) + (["period_quantity", "period_charge"] if charge.settles else [])
    return [(charge.metric, canonical(charge.match), measure) for measure in measures]


def from_zero(before: Sequence[Charge], after: Sequence[Charge], known: Collection[CounterName]) -> list[Charge]:
    """The lines of the card after whose counters begin with it, also within a period: neither the card before counts that, nor has an
    earlier version done so. known: by earlier versions."""
    counted = {name for charge in before for name in counters(charge)}.union(known)
    found = {(charge.metric, canonical(charge.match)): charge for charge in reversed(after) if not counted.issuperset(counters(charge))}
    return list(reversed(found.values()))


def describe(charge: Charge) -> str:
    """What a line says, in words: `4 CNY per 1000000, at least 0.01 CNY an event`."""
    amounts, currency = charge.amounts, charge.currency
    match charge.model:
        case "package":
            whose = "in a period" if charge.blocks == PERIOD else "of an event"
            text = f"{amounts['price']} {currency} for each {amounts['per']} or part of them {whose}"
        case "flat":
            text = f"{amounts['price']} {currency} an event"
        case "markup":
            text = f"cost of {amounts['cost']} {currency} per {amounts['per']} plus {amounts['percent']} %"
        case "graduated":
            text = describe_tiers(charge, currency)
        case "volume":
            text = f"all units of a period at {describe_tiers(charge, currency)}"
        case _:
            text = f"{amounts['price']} {currency} per {amounts['per']}"
    if "minimum" in amounts:
        text = f"{text}, at least {amounts['minimum']} {currency} an event"
    if "minimumPerPeriod" in amounts:
        text = f"{text}, at least {amounts['minimumPerPeriod']} {currency} a period"
    return f"{text}, the first {amounts['allowance']} of a period free" if "allowance" in amounts else text


def describe_tiers(charge: Charge, currency: str) -> str:
    """The tiers of a line in words: `4 CNY per 1000000 up to 1000000, then 3 CNY per 1000000`."""
    texts = []
    for tier in charge.tiers:
        wire = tier.wire
        texts.append(f"{wire['price']} {currency} per {wire['per']}" + ("" if tier.up_to is None else f" up to {wire['upTo']}"))
    return ", then ".join(texts)


def name(charge: Charge) -> str:
    """Which usage a line is for: `tokens_input (model=gpt-4o)`."""
    return f"{charge.metric} ({', '.join(f'{key}={value}' for key, value in charge.match.items())})" if charge.match else charge.metric


def render(difference: Difference, fields: Sequence[tuple[str, str, str]] = (), counted_anew: Sequence[Charge] = ()) -> str:
    """The difference for people. First the fields of the cards that differ, (name, before, after); then one line of text for each line of
    a card: + added, - removed, ~ changed; then the lines that begin to count at zero."""
    texts = [f"~ {field}: {old} → {new}" for field, old, new in fields]
    texts += [f"+ {name(charge)}: {describe(charge)}" for charge in difference.added]
    texts += [f"- {name(charge)}: {describe(charge)}" for charge in difference.removed]
    texts += [f"~ {name(new)}: {describe(old)} → {describe(new)}" for old, new in difference.changed]
    if not (difference.added or difference.removed or difference.changed):
        texts.append("No line differs.")
    texts += [
        f"! {name(charge)} begins to count at zero: no version before counts this metric with this match, and what the running period has "
        "used so far is not in it."
        for charge in counted_anew
    ]
    return "\n".join(texts)
