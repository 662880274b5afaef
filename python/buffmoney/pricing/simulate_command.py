"""`buffmoney rate-cards simulate`: a card over any number of stored events, read in one read-only snapshot, with progress."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

from buffmoney.base import queries, tables
from buffmoney.base.clock import SystemClock
from buffmoney.base.config import Settings
from buffmoney.base.database import connect, connection_failures
from buffmoney.base.errors import Problem
from buffmoney.base.http import refuse_repeated_names
from buffmoney.base.periods import time_zone
from buffmoney.merchants import keys
from buffmoney.pricing import cards, products, simulation
from buffmoney.pricing.api import RateCardBody, draft_of
from buffmoney.pricing.simulation import Card, SimulatedSums, SimulationReport, Span

if TYPE_CHECKING:
    from buffmoney.base.database import Connection

SHOWN_CUSTOMERS = 20
SHOWN_DAYS = 31
LARGEST = "the largest changes:"
_SQL = queries.load("buffmoney.pricing")
_CARD_ID = re.compile(r"rc_[0-9a-f]{24}", re.ASCII)


def read_card(path: str) -> RateCardBody:
    """A card as `rate-cards create` takes it. path: - for standard input. Raises OSError, Problem invalid_body."""
    text = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    try:
        card = msgspec.json.decode(text, type=RateCardBody)
    except msgspec.DecodeError as failure:
        raise Problem("invalid_body", f"{path} is not a rate card: {failure}.") from None
    refuse_repeated_names(text)
    return card


async def _written_card(connection: Connection, tenant_id: int, body: RateCardBody) -> Card:
    draft = draft_of(body)
    cards.refuse_ambiguous(draft.charges)
    known = {row["code"]: row["metric_id"] for row in await connection.fetch(_SQL["metric_ids"], tenant_id)}
    product_id = await products.resolve(connection, tenant_id, draft.product_id)
    return simulation.written_card(draft.name, draft.currency, draft.charges, known, product_id)


async def _simulate(
    settings: Settings, api_key: str, card: str | RateCardBody, span: Span, zone: str, asked: str | None, steps: _Steps
) -> SimulationReport:
    connection = await connect(settings, "core", name="buffmoney rate-cards simulate")
    try:
        with connection_failures():
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                tenant_id, tenant_currency = await keys.owner_of(connection, settings.api_key_pepper, SystemClock(), api_key)
                if isinstance(card, str):
                    tried = await simulation.stored_card(connection, tenant_id, card)
                else:
                    tried = await _written_card(connection, tenant_id, card)
                currency = await simulation.currency_of(connection, tenant_id, tenant_currency, span, asked)
                steps.expect(await simulation.expected(connection, tenant_id, tried, span))
                report = await simulation.simulate(
                    connection, tenant_id, tried, span, zone, currency, steps.step, now_us=SystemClock().now_us()
                )
                return simulation.answer_of(report, tried, currency, span, zone)
    finally:
        await connection.close()


class _Steps:
    """Progress that nobody sees."""

    def expect(self, events: int) -> None:
        """About so many events will come."""

    def step(self, events: int) -> None:
        """So many have been rated."""


class _Bar(_Steps):
    """Progress as a bar."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("events", total=None)
        self._expected = 0

    def expect(self, events: int) -> None:
        self._expected = events
        self._progress.update(self._task, total=events or None)

    def step(self, events: int) -> None:
        # What is not rolled up yet was not expected: a bar never shows more than there is.
        self._progress.update(self._task, completed=events, total=max(events, self._expected))


def run(
    settings: Settings,
    api_key: str,
    card: str,
    *,
    from_: str | None = None,
    to: str | None = None,
    customer: str | None = None,
    zone: str = "Asia/Shanghai",
    currency: str | None = None,
    as_json: bool = False,
) -> int:
    """The command. Raises Problem for what cannot be simulated and OSError for a file that cannot be read."""
    import uvloop

    span, zone = simulation.span_of(from_, to, customer), time_zone(zone, "--time-zone")
    tried = card if _CARD_ID.fullmatch(card) else read_card(card)
    if as_json:
        report = uvloop.run(_simulate(settings, api_key, tried, span, zone, currency, _Steps()))
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
        return 0
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        report = uvloop.run(_simulate(settings, api_key, tried, span, zone, currency, _Bar(progress)))
    _show(report, Console())
    return 0


def _show(report: SimulationReport, console: Console) -> None:
    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    money = report.currency
    say(f"{report.name}: {_events(report.events)} charged {report.before} {money} then, {report.after} {money} by this card")
    say(f"{_signed(report.difference)} {money}{_percent(report.before, report.difference)}")
    if report.unpriced_events:
        unpriced = f"{_events(report.unpriced_events)} charged {report.unpriced_before} then"
        say(f"{unpriced}, without a price on this card: it would refuse them.")
    if report.out_of_range_events:
        say(f"{_events(report.out_of_range_events)} would be charged more than can be kept: they would be refused.")
    if report.other_products_events:
        others = (
            f"{_events(report.other_products_events)} of metrics that other products price, charged {report.other_products_before} then"
        )
        say(f"{others}, left aside.")
    if not report.events:
        return
    _show_sums(console, "By metric", ("metric",), [((row.metric,), row) for row in report.by_metric])
    days = report.by_day[-SHOWN_DAYS:]
    _show_sums(console, _of("By day", "the last", len(days), len(report.by_day)), ("day",), [((row.day,), row) for row in days])
    shown = report.by_customer[:SHOWN_CUSTOMERS]
    title = _of("By customer", LARGEST, len(shown), report.customers)
    _show_sums(console, title, ("customer",), [((row.customer_external_id,), row) for row in shown])
    groups = report.data[:SHOWN_CUSTOMERS]
    title = _of("By customer, metric and day", LARGEST, len(groups), report.groups)
    by_all = [((row.customer_external_id, row.metric, row.day), row) for row in groups]
    _show_sums(console, title, ("customer", "metric", "day"), by_all)


def _events(count: int) -> str:
    return f"{count:,} event" if count == 1 else f"{count:,} events"


def _of(title: str, which: str, shown: int, all_of_them: int) -> str:
    return title if shown == all_of_them else f"{title}, {which} {shown:,} of {all_of_them:,}"


def _show_sums(console: Console, title: str, names: tuple[str, ...], rows: Sequence[tuple[tuple[str, ...], SimulatedSums]]) -> None:
    figures = ["events", "before", "after", "difference", ""]
    unpriced = any(sums.unpriced_events for _, sums in rows)
    if unpriced:
        figures += ["no price", "their before"]
    found = []
    for labels, sums in rows:
        percent = _percent(sums.before, sums.difference).strip(" ()")
        cells = [f"{sums.events:,}", sums.before, sums.after, _signed(sums.difference), percent]
        if unpriced:
            cells += [f"{sums.unpriced_events:,}", sums.unpriced_before] if sums.unpriced_events else ["", ""]
        found.append((*labels, *cells))
    tables.show((*names, *figures), found, figures=len(figures), title=title, console=console)


def _signed(amount: str) -> str:
    return amount if amount.startswith("-") or amount == "0" else f"+{amount}"


def _percent(before: str, difference: str) -> str:
    whole = Decimal(before)
    return f" ({Decimal(difference) / whole * 100:+.2f} %)" if whole else ""
