"""The main job on real input: a trace is imported, rated and deducted exactly, and a second import changes nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.product import ROOT, Merchant

HERE = Path(__file__).resolve().parent.parent / "data"
REAL = Path(os.environ.get("BUFFMONEY_TRACE_DATA") or ROOT.parent / "shared" / "data")
CARD: dict[str, Any] = {
    "name": "trace",
    "currency": "CNY",
    "charges": [
        {"metric": "tokens_input", "per": "1000000", "price": "4", "match": {}},
        {"metric": "tokens_output", "per": "1000000", "price": "16", "match": {}},
    ],
}


def import_trace(merchant: Merchant, file: Path, prefix: str, shift_to: str, *extra: str) -> dict[str, Any]:
    """`buffmoney usage import`, its JSON."""
    done = merchant.product.cli(
        *("usage", "import", str(file), "--map", "tokens_input=ContextTokens", "--map", "tokens_output=GeneratedTokens"),
        *("--time-column", "TIMESTAMP", "--customer", prefix, "--key-prefix", prefix, "--shift-to", shift_to, "--json", *extra),
        timeout_s=280,
        BUFFMONEY_URL=merchant.product.url,
        BUFFMONEY_API_KEY=merchant.sandbox_key,
    )
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def sums(report: dict[str, Any]) -> dict[str, Decimal]:
    """Quantities as numbers, whether they are written as strings or not."""
    return {metric: Decimal(str(total)) for metric, total in report["quantities"].items()}


def this_moment() -> str:
    """One moment of today, for all imports of a test."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_small_trace_is_charged_exactly(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: every line becomes two events, sums and charge are those of the oracle, and a second import is all duplicates."""
    expected = json.loads((HERE / "trace.json").read_text())
    merchant = new_merchant(card=CARD)
    merchant.grant("100", "small")
    at = this_moment()
    first = import_trace(merchant, HERE / "trace.csv", "small", at, "--dimension", "model=gpt-4o")
    assert (first["events"], first["accepted"], first["duplicates"], first["rejected"]) == (expected["events"], expected["events"], 0, 0)
    assert sums(first) == {metric: Decimal(total) for metric, total in expected["quantities"].items()}
    assert Decimal(first["charged"]) == Decimal(expected["charged"])
    balance, stored = merchant.balance("small"), merchant.stored()
    assert Decimal(balance["available"]) == 100 - Decimal(expected["charged"])
    again = import_trace(merchant, HERE / "trace.csv", "small", at, "--dimension", "model=gpt-4o")
    assert (again["events"], again["accepted"], again["duplicates"], again["rejected"]) == (expected["events"], 0, expected["events"], 0)
    assert (merchant.balance("small"), merchant.stored()) == (balance, stored)


def test_times_keep_their_distance(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: with --shift-to the last line gets that moment and the others keep their distance to it."""
    merchant = new_merchant(card=CARD, billing="pay-as-you-go")
    at = this_moment()
    import_trace(merchant, HERE / "trace.csv", "shifted", at)
    lines = (HERE / "trace.csv").read_text().splitlines()[1:]
    times = [datetime.fromisoformat(line.split(",")[0][:26]).replace(tzinfo=UTC) for line in lines]
    query = "SELECT min(occurred_at) AS first, max(occurred_at) AS last FROM usage_events WHERE tenant_id = $1"
    row = merchant.product.sql.fetch(query, merchant.tenant_id)[0]
    assert abs((row["last"] - datetime.fromisoformat(at)).total_seconds()) < 0.001
    assert abs((row["last"] - row["first"]) - (max(times) - min(times))).total_seconds() < 0.001


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not (REAL / "azure-llm-2023-conv.csv").exists(), reason="the public traces are not on this machine")
def test_the_public_traces_are_charged_exactly(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: 56,370 events of real traffic cost ¥231.040352, twice imported or once, and the ledger verifies."""
    merchant = new_merchant(card=CARD)
    at = this_moment()
    files = {"code": REAL / "azure-llm-2023-code.csv", "conv": REAL / "azure-llm-2023-conv.csv"}
    for customer in files:
        merchant.grant("1000", customer)
    first = [import_trace(merchant, file, name, at) for name, file in files.items()]
    assert sum(report["events"] for report in first) == sum(report["accepted"] for report in first) == 56_370
    assert sum(sums(report)["tokens_input"] for report in first) == 40_421_844
    assert sum(sums(report)["tokens_output"] for report in first) == 4_334_561
    assert sum(Decimal(report["charged"]) for report in first) == Decimal("231.040352")
    balances, stored = [merchant.balance(name) for name in files], merchant.stored()
    again = [import_trace(merchant, file, name, at) for name, file in files.items()]
    assert sum(report["duplicates"] for report in again) == 56_370
    assert ([merchant.balance(name) for name in files], merchant.stored()) == (balances, stored)
    assert sum(1000 - Decimal(balance["available"]) for balance in balances) == Decimal("231.040352")
    report = merchant.product.verify()
    assert report["exit"] == 0, report
