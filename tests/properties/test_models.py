"""Proves: every pricing model charges through the engine what the plain-Python oracle says and what the golden tables say."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buffmoney.base.money import from_nano
from buffmoney.pricing.cards import Tier
from buffmoney.pricing.explain import Line, explain
from tests.oracle import NANO, Card, Charge, Outcome, Usage, exact_after, nano, show
from tests.properties.model_run import TENANT_ID, ModelRun
from tests.workload import START_US, Batch, ChangeCard

GOLDEN = Path(__file__).parent / "golden_models.md"
MODELS = ("per_unit", "package", "flat", "markup")
LARGEST = 10**27 - 1
"""nano-units of an amount or quantity with 18 digits and nine decimals"""
RUNS = settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)

any_size = st.integers(0, 89).flatmap(lambda bits: st.integers(0, min(2**bits, LARGEST)))
"""as often small as large"""
round_sizes = st.tuples(st.integers(1, 999), st.integers(0, 23)).map(lambda pair: pair[0] * 10 ** pair[1])
amounts = st.one_of(any_size, round_sizes)
positive = amounts.map(lambda amount: amount or 1)


@st.composite
def lines(draw: st.DrawFn) -> Charge:
    """A line of any model, of any amounts that a card may have."""
    model = draw(st.sampled_from(MODELS))
    per = "1" if model == "flat" else show(draw(positive))
    percent = show(draw(amounts)) if model == "markup" else None
    minimum = show(draw(positive)) if draw(st.booleans()) else None
    return Charge("images", show(draw(amounts)), per, {}, model, percent, minimum)


def near_edges(line: Charge, count: int) -> list[int]:
    """Quantities at the end of a block, one nano-unit before and one after, as far as a quantity may go."""
    edge = nano(line.per) * count
    return [quantity for quantity in (edge - 1, edge, edge + 1) if 0 < quantity <= LARGEST]


def through_engine(line: Charge, quantities: Sequence[int]) -> ModelRun:
    """One event each, of a customer without a floor. ModelRun compares outcome and charge of each with the oracle's."""
    run = ModelRun(billing="pay-as-you-go")
    events = [Usage("acme", f"key-{number}", line.metric, quantity, START_US) for number, quantity in enumerate(quantities)]
    run.feed([ChangeCard(Card("one", (line,))), *(Batch(tuple(events[start : start + 500])) for start in range(0, len(events), 500))])
    return run


@RUNS
@given(line=lines(), quantities=st.lists(positive, min_size=1, max_size=6), blocks=st.integers(0, 1000))
def test_any_line_charges_any_quantity_as_the_oracle_does(line: Charge, quantities: list[int], blocks: int) -> None:
    """Proves: outcome and charge equal the oracle's, for prices and percentages of 18 digits and nine decimals, and at edges of blocks."""
    through_engine(line, [*quantities, *near_edges(line, blocks)])


@pytest.mark.parametrize("model", MODELS)
def test_the_largest_charge_is_taken_twice_and_one_more_is_refused_alone(model: str) -> None:
    """Proves: charges of 18 digits add up in a commit; the first that is larger is refused by itself, and the partition goes on."""
    largest = f"{10**18 - 1}.999999999"
    kept = through_engine(Charge("images", largest, "1", {}, model, "0" if model == "markup" else None), [NANO, NANO])
    assert [charge for _, charge in kept.model.known.values()] == [LARGEST, LARGEST]
    over = {
        "per_unit": Charge("images", largest, "0.999999999"),
        "package": Charge("images", largest, "0.999999999", {}, "package"),
        "flat": Charge("images", "1", "1", {}, "flat", None, f"{10**18}"),
        "markup": Charge("images", largest, "1", {}, "markup", "0.000000001"),
    }[model]
    run = through_engine(over, [NANO])
    assert run.model.rate(Usage("acme", "any", "images", NANO, START_US), "CNY") == Outcome("amount_out_of_range")
    assert run.model.known == {}
    run.feed([ChangeCard(Card("two", (Charge("images", "1"),), created_us=1)), Batch((Usage("acme", "next", "images", NANO, START_US),))])
    assert [charge for _, charge in run.model.known.values()] == [NANO]


def test_a_line_that_contradicts_its_model_is_refused() -> None:
    """Proves: a catalogue takes no line whose fields are not of its model."""
    for line, words in (
        (Charge("images", "1", model="tiers"), "unknown pricing model"),
        (Charge("images", "1", model="markup"), "needs a percentage"),
        (Charge("images", "1", model="package", percent="5"), "only a mark-up"),
        (Charge("images", "1", "0"), "per is zero"),
        (Charge("images", "-1"), "not a plain decimal number"),
        (Charge("images", "1", minimum="0.0000000001"), "more than 9 decimals"),
    ):
        with pytest.raises(ValueError, match=words):
            through_engine(line, [])


# ---------------------------------------------------------------- golden tables


def golden() -> list[tuple[str, dict[str, str]]]:
    """(model, row by column) of every row of the tables."""
    found: list[tuple[str, dict[str, str]]] = []
    model, columns = "", list[str]()
    for text in GOLDEN.read_text().splitlines():
        if text.startswith("## "):
            model, columns = text[3:].partition(":")[0], []
        elif text.startswith("|") and not text.startswith("|---"):
            cells = [cell.strip() for cell in text.strip("|").split("|")]
            if columns:
                found.append((model, dict(zip(columns, cells, strict=True))))
            columns = columns or cells
    return found


ROWS = golden()


@pytest.mark.parametrize("model, row", ROWS, ids=[f"{model}: {row['what']}" for model, row in ROWS])
def test_golden(model: str, row: dict[str, str]) -> None:
    """Proves: the table's row is what the oracle, the explanation and the engine's own commit say."""
    model = row.get("model", model)
    price = row.get("cost") or row.get("price") or "0"
    tiers = tuple(tier_of(text) for text in row.get("tiers", "").split(";") if text)
    allowance, blocks = row.get("allowance") or None, "period" if model == "package of the period" else "event"
    model, minimum = model.removesuffix(" of the period"), row.get("minimum") or None
    line = Charge("images", price, row.get("per", "1"), {}, model, row.get("percent") or None, minimum, allowance, tiers, blocks=blocks)
    if line.buys_blocks:
        golden_blocks(line, row)
        return
    quantity, before = nano(row["quantity"]), nano(row.get("used before", "0"))
    answer = explain(line_of(line), from_nano(quantity), from_nano(before))
    assert (answer.exact, answer.charge) == (row["before rounding"], row["charge"])
    run = through_engine(line, [before, quantity] if before else [quantity])
    event = run.partition.tables.usage_events[-1]
    assert (event["tenant_id"], event["quantity"], event["charge"]) == (TENANT_ID, quantity, nano(row["charge"]))
    assert event.get("counter_before", 0) == before
    assert Fraction(row["before rounding"]) == (exact_after(line, quantity, before) or 0)


def golden_blocks(line: Charge, row: dict[str, str]) -> None:
    """A row of many events: `500 × 1, 2` are five hundred of one unit each, and one of two."""
    quantities: list[int] = []
    for text in row["events"].split(", "):
        count, _, quantity = text.rpartition(" × ")
        quantities += [nano(quantity)] * int(count or "1")
    run = through_engine(line, quantities)
    events = run.partition.tables.usage_events
    assert [event["quantity"] for event in events] == quantities
    answers = [explain(line_of(line), from_nano(event["quantity"]), from_nano(event["counter_before"])) for event in events]
    assert [nano(answer.charge) for answer in answers] == [event["charge"] for event in events]
    charged = [(number, event["charge"]) for number, event in enumerate(events, 1) if event["charge"]]
    assert "; ".join(f"{show(charge)} by event {number}" for number, charge in charged) == row["charged"]
    assert show(sum(event["charge"] for event in events)) == row["in all"]


def tier_of(text: str) -> tuple[str | None, str, str]:
    """A tier as the tables write it: `to 1000: 4 per 1000000`, or `beyond: 3 per 1`."""
    end, _, rest = text.strip().partition(": ")
    price, _, per = rest.partition(" per ")
    return (None if end == "beyond" else end.removeprefix("to ")), price, per


def line_of(charge: Charge) -> Line:
    """The oracle's line as the product explains it."""
    percent, minimum, allowance = (None if text is None else Decimal(text) for text in (charge.percent, charge.minimum, charge.allowance))
    tiers = tuple(Tier(None if up_to is None else Decimal(up_to), Decimal(price), Decimal(per)) for up_to, price, per in charge.tiers)
    return Line(charge.model, Decimal(charge.price), Decimal(charge.per), percent, minimum, allowance, tiers, blocks=charge.blocks)


def test_the_golden_tables_cover_every_model() -> None:
    """Proves: the tables are read, all of them."""
    counts = {"per_unit": 17, "package": 12, "package of the period": 12, "flat": 6, "markup": 14, "graduated": 23, "allowance": 16}
    assert {model: sum(each == model for each, _ in ROWS) for model in counts} == counts
    assert len(ROWS) == sum(counts.values())
