"""`python -m benches`: prints a table and writes benches/results/latest.json."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benches import callbacks, measures
from benches.hardware import ROOT, commit, hardware
from benches.sdk import sdk

RESULTS = ROOT / "benches" / "results" / "latest.json"
Measure = Callable[[measures.Pace, measures.Say], Coroutine[Any, Any, measures.Figures]]
MEASURES: dict[str, Measure] = {
    "ingest": measures.ingest,
    "many": measures.many,
    "hot": measures.hot,
    "tiered": measures.tiered,
    "holds": measures.holds,
    "simulate": measures.simulate,
    "sdk": sdk,
    "callbacks": callbacks.callbacks,
    "wallets": measures.wallets,
    "growth": measures.growth,
    "soak": measures.soak,
}
BUSY = 0.7
"""load average above which the figures are not worth much"""
LONG = ("growth", "wallets")
"""left out with --quick"""
GOALS: dict[str, tuple[str, float]] = {
    "ingest_ratio": (">=", 0.5),
    "ingest_ratio_many_customers": (">=", 0.35),
    "ingest_ratio_hot_customer": (">=", 0.35),
    "batch_p99_ms_half": ("<=", 100),
    "balance_p99_ms_half": ("<=", 5),
    "balance_p99_ms_full": ("<=", 15),
    "hold_pairs_per_s": (">=", 1500),
    "hold_pair_p99_ms": ("<=", 50),
    "decode_events_per_s": (">=", 1_500_000),
    "rate_events_per_s": (">=", 3_000_000),
    "rate_events_per_s_1000_lines_tiered": (">=", 2_000_000),
    "tiered_ingest_ratio": (">=", 0.9),
    "simulate_events_per_core_s": (">=", 500_000),
    "growth_ratio_20m": (">=", 0.5),
    "retry_storm_ratio": (">=", 2),
    "sdk_fetch_ratio": (">=", 0.8),
    "sdk_buffer_us_per_event": ("<=", 2),
    "callbacks_per_s": (">=", 200),
    "callback_p99_ms": ("<=", 200),
    "credit_readable_p99_ms": ("<=", 100),
    "callbacks_per_s_single_merchant": (">=", 200),
    "callback_p99_ms_single_merchant": ("<=", 200),
    "credit_readable_p99_ms_single_merchant": ("<=", 100),
    "checkout_page_kb": ("<=", 50),
    "edge_memory_mb": ("<=", 250),
    "core_memory_mb_1m_wallets": ("<=", 1024),
}


def engine() -> measures.Figures:
    """The Rust engine by itself, by pytest-benchmark, one core. Events a second at the fastest round's neighbourhood: the median."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "engine.json"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "benches/test_engine.py", f"--benchmark-json={report}"]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        found = json.loads(report.read_bytes())["benchmarks"]
    return {each["extra_info"]["figure"]: round(each["extra_info"]["events"] / each["stats"]["median"]) for each in found}


def table(figures: dict[str, float | str]) -> Table:
    """The figures with their goals."""
    shown = Table(title="BuffMoney benchmarks", caption=f"{figures['hardware']}\n{figures['commit']}")
    shown.add_column("figure")
    shown.add_column("measured", justify="right")
    shown.add_column("goal", justify="right")
    for name, value in figures.items():
        if not isinstance(value, int | float):
            continue
        goal, mark = "", ""
        if name in GOALS:
            relation, limit = GOALS[name]
            met = value >= limit if relation == ">=" else value <= limit
            goal, mark = f"{relation} {limit:,}", "[green]" if met else "[red]"
        shown.add_row(name, f"{mark}{value:,}", goal)
    return shown


def main() -> None:
    """Parses the options, measures, prints, writes."""
    parser = argparse.ArgumentParser(prog="python -m benches", description=__doc__)
    parser.add_argument("--only", help=f"comma-separated, of: engine, {', '.join(MEASURES)}; the other figures keep what latest.json says")
    parser.add_argument("--quick", action="store_true", help="shorter rounds; leaves out growth (20 million keys) and wallets (a million)")
    parser.add_argument("--soak", action="store_true", help="ten minutes at half load at the end, for memory")
    arguments = parser.parse_args()
    names = arguments.only.split(",") if arguments.only else ["engine", *(name for name in MEASURES if name != "soak")]
    if arguments.quick and not arguments.only:
        names = [name for name in names if name not in LONG]
    if arguments.soak and "soak" not in names:
        names.append("soak")
    if unknown := [name for name in names if name != "engine" and name not in MEASURES]:
        parser.error(f"unknown: {', '.join(unknown)}")
    console = Console()
    pace = measures.QUICK if arguments.quick else measures.FULL
    load_before = round(os.getloadavg()[0], 2)
    if load_before > BUSY:
        console.print(
            f"[yellow]This machine is busy (load {load_before}): the figures will tell more about that than about BuffMoney.[/yellow]"
        )
    figures: dict[str, float | str] = {}
    if arguments.only and RESULTS.exists():
        figures.update(json.loads(RESULTS.read_bytes()))
    for name in names:
        started = time.monotonic()
        console.print(f"[bold]{name}[/bold]")
        figures.update(
            engine()
            if name == "engine"
            else asyncio.run(MEASURES[name](pace, lambda line: console.print(line, highlight=False, soft_wrap=True)))
        )
        console.print(f"  took {time.monotonic() - started:.0f} s", highlight=False)
        figures["load_before"] = load_before
        figures["hardware"], figures["commit"] = hardware(), commit()
        figures["measured_at"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        # After each, so that one that fails does not take along what was measured before it.
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(json.dumps(figures, indent=2) + "\n")
    console.print(table(figures))


if __name__ == "__main__":
    main()
