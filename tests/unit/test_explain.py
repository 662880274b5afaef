"""Charges explained: what a finance person would write down for each model."""

from __future__ import annotations

from decimal import Decimal

import pytest

from buffmoney.pricing.explain import Line, UnexplainedError, explain, explain_charge


def line(model: str, price: str, per: str = "1", percent: str | None = None, minimum: str | None = None) -> Line:
    """A line from decimal strings."""
    return Line(model, Decimal(price), Decimal(per), percent and Decimal(percent), minimum and Decimal(minimum))  # type: ignore[arg-type]


GOLDEN = [
    # line, quantity, formulas with their amounts, exact, rounded, minimum applied, charge
    (line("per_unit", "4", "1000000"), "1000", ["1000 × 4 ÷ 1000000 = 0.004"], "0.004", "0.004", False, "0.004"),
    (line("per_unit", "1", "3"), "1", ["1 × 1 ÷ 3 = 1/3", "round(1/3, 9) = 0.333333333"], "1/3", "0.333333333", False, "0.333333333"),
    (line("per_unit", "0"), "5", ["5 × 0 ÷ 1 = 0"], "0", "0", False, "0"),
    (
        # Half a nano-unit: down to the even digit.
        line("per_unit", "0.000000001", "2"),
        "1",
        ["1 × 0.000000001 ÷ 2 = 0.0000000005", "round(0.0000000005, 9) = 0"],
        *("0.0000000005", "0", False, "0"),
    ),
    (
        # One and a half: up to the even digit.
        line("per_unit", "0.000000001", "2"),
        "3",
        ["3 × 0.000000001 ÷ 2 = 0.0000000015", "round(0.0000000015, 9) = 0.000000002"],
        *("0.0000000015", "0.000000002", False, "0.000000002"),
    ),
    (line("package", "100", "500"), "500", ["ceil(500 ÷ 500) = 1", "1 × 100 = 100"], "100", "100", False, "100"),
    (line("package", "100", "500"), "500.000000001", ["ceil(500.000000001 ÷ 500) = 2", "2 × 100 = 200"], "200", "200", False, "200"),
    (line("package", "300", "1800"), "1", ["ceil(1 ÷ 1800) = 1", "1 × 300 = 300"], "300", "300", False, "300"),
    (line("flat", "0.5"), "123456", ["0.5 = 0.5"], "0.5", "0.5", False, "0.5"),
    (
        line("markup", "2", "1000", "12.5"),
        "1500",
        ["1500 × 2 ÷ 1000 = 3", "3 × (1 + 12.5 ÷ 100) = 3.375"],
        *("3.375", "3.375", False, "3.375"),
    ),
    (
        line("markup", "1", "3", "20"),
        "2",
        ["2 × 1 ÷ 3 = 2/3", "(2/3) × (1 + 20 ÷ 100) = 0.8"],
        *("0.8", "0.8", False, "0.8"),
    ),
    (
        line("per_unit", "4", "1000000", minimum="0.01"),
        "1000",
        ["1000 × 4 ÷ 1000000 = 0.004", "max(0.004, 0.01) = 0.01"],
        *("0.004", "0.004", True, "0.01"),
    ),
    (line("flat", "0.01", minimum="0.01"), "1", ["0.01 = 0.01", "max(0.01, 0.01) = 0.01"], "0.01", "0.01", False, "0.01"),
    (
        line("per_unit", "2"),
        "999999999999999999.999999999",
        ["999999999999999999.999999999 × 2 ÷ 1 = 1999999999999999999.999999998"],
        *("1999999999999999999.999999998", "1999999999999999999.999999998", False, "1999999999999999999.999999998"),
    ),
]


@pytest.mark.parametrize(("priced", "quantity", "steps", "exact", "rounded", "minimum_applied", "charge"), GOLDEN)
def test_every_model_is_explained_as_on_paper(
    priced: Line, quantity: str, steps: list[str], exact: str, rounded: str, minimum_applied: bool, charge: str
) -> None:
    """Proves: each model's steps, its exact amount, its one rounding and its minimum are those worked out by hand."""
    found = explain(priced, Decimal(quantity))
    assert [f"{step.formula} = {step.amount}" for step in found.steps] == steps
    assert (found.exact, found.rounded, found.minimum_applied, found.charge) == (exact, rounded, minimum_applied, charge)
    assert explain_charge(priced, Decimal(quantity), Decimal(charge)) == found


def test_another_charge_is_not_explained_away() -> None:
    """Proves: a charge that is a nano-unit off its line, or of a model that nobody knows, has no explanation."""
    priced = line("per_unit", "4", "1000000")
    with pytest.raises(UnexplainedError):
        explain_charge(priced, Decimal(1000), Decimal("0.004000001"))
    for unknown in (line("stairs", "1"), line("markup", "1")):
        with pytest.raises(UnexplainedError):
            explain(unknown, Decimal(1))


def test_blocks_of_a_period_are_told_by_what_is_left() -> None:
    """Proves: the steps say what an event found of the allowance and of blocks bought before, what it lacked, and what it bought."""
    packs = Line("package", Decimal(100), Decimal(500), allowance=Decimal(10), blocks="period")
    for before, quantity, formulas, charge, lacking in (
        ("0", "10", ["10 = 10", "max(10 - 10, 0) = 0", "ceil(0 ÷ 500) = 0", "0 × 100 = 0"], "0", "0"),
        ("9", "501.5", ["1 = 1", "max(501.5 - 1, 0) = 500.5", "ceil(500.5 ÷ 500) = 2", "2 × 100 = 200"], "200", "500.5"),
        ("-489", "1", ["499 = 499", "max(1 - 499, 0) = 0", "ceil(0 ÷ 500) = 0", "0 × 100 = 0"], "0", "0"),
        # An event was voided that had bought: nothing is left, and what was used is not asked for again.
        ("12", "1", ["0 = 0", "max(1 - 0, 0) = 1", "ceil(1 ÷ 500) = 1", "1 × 100 = 100"], "100", "1"),
    ):
        found = explain(packs, Decimal(quantity), Decimal(before))
        assert [f"{step.formula} = {step.amount}" for step in found.steps] == formulas
        assert (found.charge, found.exact, found.rounded, found.billable) == (charge, charge, charge, lacking)
