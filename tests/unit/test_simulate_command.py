"""What people read of a simulation is all of what programs get."""

from __future__ import annotations

import io
from typing import Any

import msgspec
import pytest
from rich.console import Console

from buffmoney.pricing.simulate_command import _show
from buffmoney.pricing.simulation import SimulationReport

BEFORE, AFTER, DIFFERENCE, UNPRICED = "{}12345678901.123456789", "{}23456789012.987654321", "-{}11111111111.864197532", "{}98765.432109876"


def sums(number: int, **names: str) -> dict[str, Any]:
    """Sums as long as they get, different ones for each number."""
    amounts = {"before": BEFORE, "after": AFTER, "difference": DIFFERENCE, "unpricedBefore": UNPRICED}
    return {"events": 12_345_678 + number, "unpricedEvents": 765_432 + number, **names} | {
        name: amount.format(number) for name, amount in amounts.items()
    }


REPORT = {
    **sums(1),
    "rateCardId": None,
    "name": "dearer [red]",
    "currency": "CNY",
    "from": None,
    "to": None,
    "customerExternalId": None,
    "timeZone": "Asia/Shanghai",
    "outOfRangeEvents": 54_321,
    "otherProductsEvents": 43_210,
    "otherProductsBefore": "32109.876543219",
    "byMetric": [sums(2, metric="tokens_input_of_a_model_with_a_long_name"), sums(3, metric="images")],
    "byDay": [sums(4, day="2026-11-30"), sums(5, day="2026-12-01")],
    "byCustomer": [sums(6, customerExternalId="顾客 " + "x" * 40), sums(7, customerExternalId="acme [b]")],
    "customers": 2,
    "data": [sums(8, customerExternalId="acme [b]", metric="images", day="2026-12-01")],
    "groups": 1,
}


def said(value: Any) -> list[str]:
    """Every figure of a report as people read it."""
    if isinstance(value, dict):
        names = ("name", "metric", "customerExternalId", "timeZone")
        # Names go on in the next line, and how many customers and groups there are is told where not all of them are shown.
        return [text for key, one in value.items() if key not in (*names, "customers", "groups") for text in said(one)]
    if isinstance(value, list):
        return [text for one in value for text in said(one)]
    return [] if value is None else [f"{value:,}" if isinstance(value, int) else str(value)]


@pytest.mark.parametrize(("terminal", "width"), [(False, 80), (True, 80), (True, 40), (True, 300)])
def test_every_figure_stands_in_the_text(terminal: bool, width: int) -> None:
    """Proves: on a terminal of any width, and piped, each amount, count and day of the JSON is there, whole, and nothing is cut off."""
    output = io.StringIO()
    _show(msgspec.convert(REPORT, SimulationReport), Console(file=output, width=width, force_terminal=terminal, no_color=True))
    text = output.getvalue()
    figures = said(REPORT)
    assert len(figures) > 50
    assert [figure for figure in figures if figure not in text] == []
    assert "…" not in text


def test_what_is_left_out_is_told() -> None:
    """Proves: where there are more days, customers or groups than a table shows, its title says how many."""
    days = [sums(number, day=f"2026-10-{number + 1:02}") for number in range(31)]
    report = {**REPORT, "byDay": [*days, sums(40, day="2026-11-01")], "customers": 1_234, "groups": 5_678}
    output = io.StringIO()
    _show(msgspec.convert(report, SimulationReport), Console(file=output, width=80))
    text = output.getvalue()
    for title in ("By day, the last 31 of 32", "By customer, the largest changes: 2 of 1,234", "the largest changes: 1 of 5,678"):
        assert title in text
