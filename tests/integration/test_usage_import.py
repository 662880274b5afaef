"""`buffmoney usage import`: whole, once, and resumable."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.product import Merchant


def run(merchant: Merchant, file: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the summary of an import."""
    done = merchant.product.cli(
        *("usage", "import", str(file), "--map", "tokens_input=in", "--map", "tokens_output=out", "--time-column", "at", "--json"),
        *("--key-prefix", "p", *arguments),
        check=False,
        BUFFMONEY_URL=merchant.product.url,
        BUFFMONEY_API_KEY=merchant.sandbox_key,
    )
    return done.returncode, json.loads(done.stdout) if done.stdout.strip() else {"error": done.stderr}


def write(path: Path, lines: int, *more: str) -> Path:
    """A CSV file of a line a second, three years old."""
    start = datetime(2023, 11, 16, 18, 0, tzinfo=UTC)
    rows = [f"{(start + timedelta(seconds=number)).strftime('%Y-%m-%d %H:%M:%S')}.1234567,{number + 1},1" for number in range(lines)]
    path.write_text("\n".join(["at,in,out", *rows, *more]))
    return path


def test_a_begun_import_goes_on_where_it_was(merchant: Merchant, tmp_path: Path) -> None:
    """Proves: with --shift-to now a later run keeps the moment of the first one, finds its events and sends only the rest."""
    merchant.grant("1000")
    whole = write(tmp_path / "a.csv", 700)
    code, first = run(merchant, whole, "--customer", "acme", "--shift-to", "now")
    assert (code, first["accepted"], first["quantities"]) == (0, 1400, {"tokens_input": "245350", "tokens_output": "700"})
    code, second = run(merchant, whole, "--customer", "acme", "--shift-to", "now")
    assert (code, second["accepted"], second["duplicates"], second["charged"]) == (0, 0, 1400, "0")
    assert second["quantities"] == first["quantities"]
    assert second["shiftedTo"] == first["shiftedTo"]


def test_what_is_not_taken_is_in_the_error_file(merchant: Merchant, tmp_path: Path) -> None:
    """Proves: bad lines and refused events have their reason in the file, the exit code says so, and mending them completes the import."""
    file = write(tmp_path / "a.csv", 3, "2023-11-16 18:01:00,x,1", "2023-11-16 18:01:01,0,900000", "nonsense", "2023-11-16 18:01:02,1,1")
    code, summary = run(merchant, file, "--customer", "acme", "--shift-to", "now")
    assert code == 1
    assert [summary[name] for name in ("events", "accepted", "rejected", "skipped")] == [13, 9, 4, 1]
    entries = [json.loads(line) for line in (tmp_path / "a.csv.errors.jsonl").read_text().splitlines()]
    assert {(entry["line"], entry["metric"], entry["code"]) for entry in entries} == {
        (5, "tokens_input", "bad_line"),
        (6, "tokens_output", "insufficient_balance"),
        (7, None, "bad_line"),
    }
    merchant.grant("10000")
    code, summary = run(merchant, file, "--customer", "acme", "--shift-to", "now")
    assert (summary["accepted"], summary["duplicates"]) == (1, 9)


def test_customers_from_a_column_and_json_lines(merchant: Merchant, tmp_path: Path) -> None:
    """Proves: JSONL is read by its suffix, and each line's own customer is charged."""
    now = datetime.now(UTC)
    file = tmp_path / "a.jsonl"
    line = {"at": now.isoformat(), "in": 1000, "out": None}
    file.write_text("\n".join(json.dumps({**line, "who": who}) for who in ("acme", "acme", "nobody")))
    code, summary = run(merchant, file, "--customer-column", "who", "--dimension", "model=x")
    assert (code, summary["accepted"], summary["rejected"], summary["skipped"]) == (1, 2, 1, 3)
    assert merchant.balance()["available"] == "98"


def test_mistakes_are_explained(merchant: Merchant, tmp_path: Path) -> None:
    """Proves: a missing file, column, customer or key ends at once with a sentence and exit code 1."""
    file = write(tmp_path / "a.csv", 1)
    for arguments, words in (
        (("--customer", "acme", "--shift-to", "later"), "is not a time"),
        ((), "--customer"),
        (("--customer", "acme", "--api-key", "bm_test_wrong"), "invalid_api_key"),
    ):
        code, summary = run(merchant, file, *arguments)
        assert code == 1
        assert words in summary["error"]
    assert "is not a file" in run(merchant, tmp_path / "b.csv", "--customer", "acme")[1]["error"]
    file.write_text("at,in\n")
    assert "no column 'out'" in run(merchant, file, "--customer", "acme")[1]["error"]


def test_a_quote_that_is_not_closed_does_not_stop_the_import(merchant: Merchant, tmp_path: Path) -> None:
    """Proves: the line is named in the error file with the lines it took in, what stands before it is taken, and the exit code is 1."""
    merchant.grant("1000")
    file = write(tmp_path / "a.csv", 9, '"2023-11-16 18:01:00,1,1', "2023-11-16 18:01:01,1,1")
    code, summary = run(merchant, file, "--customer", "acme", "--shift-to", "now")
    assert (code, summary["accepted"], summary["rejected"], summary["events"]) == (1, 18, 4, 22)
    (entry,) = [json.loads(line) for line in (tmp_path / "a.csv.errors.jsonl").read_text().splitlines()]
    assert (entry["line"], entry["code"]) == (11, "bad_line")
    assert "unexpected end of data" in entry["detail"]
    assert "up to 12" in entry["detail"]
