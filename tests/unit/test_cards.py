"""No event can meet two equally specific lines of a stored rate card."""

from __future__ import annotations

import itertools
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from buffmoney.base.errors import Problem
from buffmoney.pricing.cards import Charge, check_charge, check_line, refuse_ambiguous


def charge(metric: str = "images", **match: str) -> Charge:
    """A line; the price does not matter here."""
    return Charge(metric, Decimal(1), Decimal(1), dict(sorted(match.items())))


def ambiguous(*charges: Charge) -> list[int] | None:
    """The lines that are said to collide."""
    try:
        refuse_ambiguous([msgspec.structs.replace(one, line=line) for line, one in enumerate(charges)])
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


def test_lines_of_different_currencies_do_not_collide() -> None:
    """Proves: two prices for the same usage are refused in one currency only, and named by their lines."""
    both = check_line(0, "CNY", "images", {}, prices={"CNY": "1", "USD": "0.2"})
    euros = check_line(1, "CNY", "images", {}, price="0.1", currency="EUR")
    refuse_ambiguous([*both, *euros])
    with pytest.raises(Problem) as refused:
        refuse_ambiguous([*both, *euros, *check_line(2, "CNY", "images", {}, prices={"USD": "3", "EUR": "4"})])
    assert refused.value.extensions["lines"] == [0, 2]


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
        check_charge(3, "images", {}, price=price)
    assert (refused.value.code, refused.value.param) == ("invalid_price", "charges[3].price")


def test_free_is_a_price_and_per_zero_is_none() -> None:
    """Proves: a price of 0 is taken, a quantity of 0 to price is not."""
    assert check_charge(0, "images", {}, price="0").price == 0
    with pytest.raises(Problem, match="invalid_price"):
        check_charge(0, "images", {}, price="1", per="0")


@pytest.mark.parametrize(
    ("model", "amounts"),
    [
        ("per_unit", {"price": "4", "per": "1000000"}),
        ("per_unit", {"price": "0", "per": "1", "minimum": "0.000000001"}),
        ("package", {"price": "100", "per": "500"}),
        ("flat", {"price": "0.5", "minimum": "1"}),
        ("markup", {"cost": "3.000000001", "per": "0.5", "percent": "0"}),
        ("markup", {"cost": "3", "per": "1", "percent": "12.123456789", "minimum": "0.1"}),
    ],
)
def test_a_line_says_what_it_was_given(model: str, amounts: dict[str, str]) -> None:
    """Proves: every field of a model is kept exactly, under its own name."""
    line = check_charge(0, "images", {"b": "2", "a": "1"}, model, **amounts)
    assert (line.model, line.amounts, list(line.match)) == (model, amounts, ["a", "b"])


def test_blocks_are_those_of_the_period_unless_a_line_says_otherwise() -> None:
    """Proves: who does not say it means the period; only such a line, among packages without an allowance, is counted."""
    said = {"price": "100", "per": "500"}
    lines = [check_charge(0, "images", {}, "package", **said, **fields) for fields in ({}, {"blocks": "period"}, {"blocks": "event"})]
    assert [(line.blocks, line.counts) for line in lines] == [("period", True), ("period", True), ("event", False)]
    assert check_charge(0, "images", {}, "package", **said, blocks="event", allowance="5").counts
    assert check_charge(0, "images", {}, price="1").blocks is None


def test_a_unit_is_what_a_price_is_for_unless_it_says_more() -> None:
    """Proves: per is 1 where it may be left out, and a flat line has none to show."""
    assert check_charge(0, "images", {}, price="1").amounts["per"] == "1"
    assert check_charge(0, "images", {}, "markup", cost="1", percent="1").amounts["per"] == "1"
    flat = check_charge(0, "images", {}, "flat", price="1")
    assert (flat.per, "per" in flat.amounts) == (1, False)


@pytest.mark.parametrize(
    ("model", "amounts", "code", "field"),
    [
        ("tiered", {"price": "1"}, "invalid_rate_card", "model"),
        ("", {"price": "1"}, "invalid_rate_card", "model"),
        ("per_unit", {}, "missing_field", "price"),
        ("per_unit", {"price": "1", "cost": "1"}, "invalid_rate_card", "cost"),
        ("per_unit", {"price": "1", "percent": "1"}, "invalid_rate_card", "percent"),
        ("package", {"price": "1"}, "missing_field", "per"),
        ("package", {"price": "1", "per": "0"}, "invalid_price", "per"),
        ("package", {"price": "1", "per": "5", "blocks": "month"}, "invalid_rate_card", "blocks"),
        ("package", {"price": "1", "per": "5", "minimum": "1"}, "invalid_rate_card", "minimum"),
        ("package", {"price": "0", "per": "5"}, "invalid_price", "price"),
        ("per_unit", {"price": "1", "blocks": "period"}, "invalid_rate_card", "blocks"),
        ("flat", {"price": "1", "per": "1"}, "invalid_rate_card", "per"),
        ("markup", {"price": "1", "percent": "1"}, "invalid_rate_card", "price"),
        ("markup", {"cost": "1"}, "missing_field", "percent"),
        ("markup", {"cost": "-1", "percent": "1"}, "invalid_price", "cost"),
        ("markup", {"cost": "1", "percent": "-1"}, "invalid_price", "percent"),
        ("markup", {"cost": "1", "percent": "20%"}, "invalid_price", "percent"),
        ("markup", {"cost": "1", "percent": "0.0000000001"}, "invalid_price", "percent"),
        ("flat", {"price": "1", "minimum": "0"}, "invalid_price", "minimum"),
        ("flat", {"price": "1", "minimum": "-1"}, "invalid_price", "minimum"),
    ],
)
def test_a_line_has_the_fields_of_its_model(model: str, amounts: dict[str, str], code: str, field: str) -> None:
    """Proves: each fault has its code and place."""
    with pytest.raises(Problem) as refused:
        check_charge(7, "images", {}, model, **amounts)
    assert (refused.value.code, refused.value.param) == (code, f"charges[7].{field}")


def test_prices_side_by_side_are_a_line_in_each_currency() -> None:
    """Proves: the card's currency comes first, amounts go where they belong, and a line alone is in the card's currency or its own."""
    made = check_line(4, "CNY", "images", {}, "markup", costs={"USD": "1", "EUR": "2", "CNY": "7"}, minimums={"EUR": "3"}, percent="5")
    assert [(one.currency, one.price, one.minimum, one.percent, one.line) for one in made] == [
        ("CNY", 7, None, 5, 4),
        ("EUR", 2, 3, 5, 4),
        ("USD", 1, None, 5, 4),
    ]
    assert [(one.currency, one.line) for one in check_line(2, "USD", "images", {}, price="1")] == [("USD", 2)]
    assert [one.currency for one in check_line(0, "USD", "images", {}, price="1", currency="JPY")] == ["JPY"]
    # A merchant whose own currency is not on the list keeps it.
    assert [one.currency for one in check_line(0, "CHF", "images", {}, prices={"CHF": "1", "USD": "1"})] == ["CHF", "USD"]


@pytest.mark.parametrize(
    ("model", "said", "code", "field"),
    [
        ("per_unit", {"prices": {}}, "invalid_rate_card", "prices"),
        ("per_unit", {"prices": {"XXX": "1"}}, "invalid_currency", "prices"),
        ("per_unit", {"prices": {"usd": "1"}}, "invalid_currency", "prices"),
        ("per_unit", {"price": "1", "currency": "CHF"}, "invalid_currency", "currency"),
        ("per_unit", {"prices": {"CNY": "1", "USD": "-1"}}, "invalid_price", "prices.USD"),
        ("per_unit", {"prices": {"USD": "1"}, "price": "1"}, "invalid_rate_card", "price"),
        ("per_unit", {"prices": {"USD": "1"}, "currency": "USD"}, "invalid_rate_card", "currency"),
        ("per_unit", {"prices": {"USD": "1"}, "minimum": "1"}, "invalid_rate_card", "minimum"),
        ("per_unit", {"prices": {"USD": "1"}, "minimums": {"CNY": "1"}}, "invalid_rate_card", "minimums.CNY"),
        ("per_unit", {"prices": {"USD": "1"}, "minimums": {"USD": "0"}}, "invalid_price", "minimums.USD"),
        ("per_unit", {"price": "1", "minimums": {"USD": "1"}}, "invalid_rate_card", "minimums"),
        ("per_unit", {"costs": {"USD": "1"}}, "invalid_rate_card", "costs"),
        ("markup", {"prices": {"USD": "1"}, "percent": "1"}, "invalid_rate_card", "prices"),
        ("markup", {"costs": {"USD": "1"}}, "missing_field", "percent"),
    ],
)
def test_prices_side_by_side_are_checked_one_by_one(model: str, said: dict[str, Any], code: str, field: str) -> None:
    """Proves: each fault has its code and place."""
    with pytest.raises(Problem) as refused:
        check_line(7, "CNY", "images", {}, model, **said)
    assert (refused.value.code, refused.value.param) == (code, f"charges[7].{field}")
