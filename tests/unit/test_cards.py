"""No event can meet two equally specific lines of a stored rate card."""

from __future__ import annotations

import itertools
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buffmoney.base.errors import Problem
from buffmoney.pricing.cards import Charge, check_charge, refuse_ambiguous


def charge(metric: str = "images", **match: str) -> Charge:
    """A line; the price does not matter here."""
    return Charge(metric, Decimal(1), Decimal(1), dict(sorted(match.items())))


def ambiguous(*charges: Charge) -> list[int] | None:
    """The lines that are said to collide."""
    try:
        refuse_ambiguous(charges)
    except Problem as refused:
        assert refused.code == "invalid_rate_card"
        lines: list[int] = refused.extensions["lines"]
        assert all(f"charges[{line}]" in refused.detail for line in lines)
        return lines
    return None


def test_lines_that_say_the_same_collide() -> None:
    """Proves: both lines are named."""
    assert ambiguous(charge(), charge(model="a"), charge()) == [0, 2]
    assert ambiguous(charge(model="a"), charge(model="b"), charge(model="b")) == [1, 2]


def test_lines_on_other_dimensions_collide_unless_they_disagree() -> None:
    """Proves: model=a and region=cn both fit an event that has both; model=a,tier=x and model=b,region=cn never do."""
    assert ambiguous(charge(model="a"), charge(region="cn")) == [0, 1]
    assert ambiguous(charge(model="a", tier="x"), charge(model="b", region="cn")) is None
    assert ambiguous(charge(model="a", tier="x"), charge(model="a", region="cn")) == [0, 1]


def test_more_specific_lines_and_other_metrics_do_not_collide() -> None:
    """Proves: the number of dimensions decides between lines of one metric."""
    assert ambiguous(charge(), charge(model="a"), charge(model="a", region="cn"), charge("agent_runs")) is None


MATCHES = st.dictionaries(st.sampled_from(["model", "region", "tier"]), st.sampled_from(["a", "b"]), max_size=3)


@given(st.lists(MATCHES, min_size=1, max_size=6))
def test_the_search_agrees_with_trying_every_event(matches: list[dict[str, str]]) -> None:
    """Proves: a card is refused exactly when some event meets two equally specific lines."""
    charges = [charge(**match) for match in matches]
    collides = False
    for values in itertools.product(["a", "b", None], repeat=3):
        event = {name: value for name, value in zip(["model", "region", "tier"], values, strict=True) if value is not None}
        met = [len(one.match) for one in charges if one.match.items() <= event.items()]
        collides = collides or len(met) != len(set(met))
    assert (ambiguous(*charges) is not None) == collides


def test_ten_thousand_lines_are_checked_at_once() -> None:
    """Proves: the search does not compare every line with every other."""
    lines = [charge(model=f"m{number}") for number in range(5_000)] + [charge(model=f"m{number}", region="cn") for number in range(5_000)]
    assert ambiguous(*lines) is None
    assert ambiguous(*lines, charge(model="m4999")) == [4_999, 10_000]


@pytest.mark.parametrize("price", ["NaN", "1e3", "-1", "0.0000000001", "1_000", "１２", " 5 ", "", 5, None, "1" * 25])
def test_a_price_is_a_plain_decimal(price: object) -> None:
    """Proves: what is not a plain decimal of at most nine decimals names its line."""
    with pytest.raises(Problem) as refused:
        check_charge(3, "images", price, "1", {})
    assert (refused.value.code, refused.value.param) == ("invalid_price", "charges[3].price")


def test_free_is_a_price_and_per_zero_is_none() -> None:
    """Proves: a price of 0 is taken, a quantity of 0 to price is not."""
    assert check_charge(0, "images", "0", "1", {}).price == 0
    with pytest.raises(Problem, match="invalid_price"):
        check_charge(0, "images", "1", "0", {})
