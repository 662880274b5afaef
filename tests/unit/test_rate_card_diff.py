"""What a difference of two cards says is what turns the one into the other."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from buffmoney.pricing.cards import Charge, check_charge, check_line
from buffmoney.pricing.diff import Difference, compare, describe, render

LINES = st.lists(
    st.builds(
        Charge,
        metric=st.sampled_from(["images", "agent_runs"]),
        price=st.sampled_from([Decimal("1"), Decimal("2.5")]),
        per=st.just(Decimal(1)),
        match=st.dictionaries(st.sampled_from(["model", "region"]), st.sampled_from(["a", "b"]), max_size=2).map(
            lambda match: dict(sorted(match.items()))
        ),
    ),
    max_size=8,
)


def line(place: int, metric: str, match: dict[str, str], model: str = "per_unit", /, **said: str) -> Charge:
    """A line of a card in yuan."""
    return check_line(place, "CNY", metric, match, model, **said)[0]


def test_a_difference_in_words() -> None:
    """Proves: added, removed and changed lines read as a person would say them; a line that stays is not mentioned."""
    before = [
        line(0, "images", {}, price="0.2"),
        line(0, "images", {}, price="0.02", currency="USD"),
        line(1, "images", {"pack": "500"}, "package", price="100", per="500"),
        line(2, "agent_runs", {}, "flat", price="0.5"),
    ]
    after = [
        line(0, "agent_runs", {}, "flat", price="0.500"),
        line(1, "images", {}, price="0.25", minimum="1"),
        line(1, "images", {}, price="0.03", currency="USD"),
        line(2, "tokens_input", {"model": "a", "tier": "x"}, "markup", cost="3", per="1000000", percent="12.5"),
    ]
    assert render(compare(before, after)).splitlines() == [
        "+ tokens_input (model=a, tier=x): cost of 3 CNY per 1000000 plus 12.5 %",
        "- images (pack=500): 100 CNY for each 500 or part of them in a period",
        "~ images: 0.2 CNY per 1 → 0.25 CNY per 1, at least 1 CNY an event",
        "~ images: 0.02 USD per 1 → 0.03 USD per 1",
    ]
    assert describe(after[0]) == "0.5 CNY an event"
    assert render(compare(before, list(reversed(before)))) == "No line differs."


def test_another_model_is_a_change_even_at_the_same_price() -> None:
    """Proves: a line is known by metric and match; everything else is what may change."""
    unit, flat = check_charge(0, "images", {}, price="1"), check_charge(0, "images", {}, "flat", price="1")
    assert compare([unit], [flat]) == Difference([], [], [(unit, flat)])
    of_period, of_event = (line(0, "images", {}, "package", price="1", per="5", blocks=whose) for whose in ("period", "event"))
    five = "1 CNY for each 5 or part of them"
    assert render(compare([of_event], [of_period])) == f"~ images: {five} of an event → {five} in a period"


@given(LINES, LINES)
def test_a_difference_turns_one_card_into_the_other(before: list[Charge], after: list[Charge]) -> None:
    """Proves: before, less what was removed, with what was changed and what was added, is after, even with lines said twice."""
    found = compare(before, after)
    left = list(before)
    for gone in [*found.removed, *(old for old, _ in found.changed)]:
        left.remove(gone)
    rebuilt = [*left, *found.added, *(new for _, new in found.changed)]
    assert sorted(map(repr, rebuilt)) == sorted(map(repr, after))
    keys = [(line.metric, line.match) for line in found.added]
    assert not [line for line in found.removed if (line.metric, line.match) in keys]
