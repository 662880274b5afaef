"""A file's lines become events with stable keys, exact quantities and shifted times, or say what is wrong with them."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from buffmoney.importing.lines import BadLine, Event, ImportFailure, Line, Mapping, events_of, parse_moment, read_lines

MAPPING = Mapping({"tokens_input": "in", "tokens_output": "out"}, "at", "acme", None, {"model": "m"}, "p")


def events(path: Path, mapping: Mapping = MAPPING, shift_us: int = 0) -> list[Event | BadLine | None]:
    """Everything that a file becomes."""
    found: list[Event | BadLine | None] = []
    for line in read_lines(path, mapping):
        found.extend(events_of(line, mapping, shift_us) if isinstance(line, Line) else [line])
    return found


def test_a_csv_line_becomes_an_event_for_each_metric(tmp_path: Path) -> None:
    """Proves: the last line needs no line feed, seven digits of a second are cut to six, and a naive time is in UTC."""
    path = tmp_path / "a.csv"
    path.write_text("at,in,out\n2023-11-16 18:17:03.9799609,4808,10\n2023-11-16 18:17:04,1,2.5")
    found = events(path, shift_us=1_000_000)
    assert [one.wire for one in found if isinstance(one, Event)][:2] == [
        {
            "customerExternalId": "acme",
            "idempotencyKey": f"p:2:{metric}",
            "metric": metric,
            "quantity": quantity,
            "occurredAt": "2023-11-16T18:17:04.979960Z",
            "dimensions": {"model": "m"},
        }
        for metric, quantity in (("tokens_input", "4808"), ("tokens_output", "10"))
    ]
    assert [one.quantity for one in found if isinstance(one, Event)] == [4808, 10, 1, Decimal("2.5")]


def test_zero_and_empty_quantities_are_no_usage(tmp_path: Path) -> None:
    """Proves: they become neither an event nor an error."""
    path = tmp_path / "a.csv"
    path.write_text("at,in,out\n2023-11-16 18:17:03,0,\n2023-11-16 18:17:03,0.000,7\n")
    found = events(path)
    assert found[:3] == [None, None, None]
    assert isinstance(found[3], Event)


@pytest.mark.parametrize("quantity", ["-1", "1e3", "NaN", "1,000", "１２", "1.0000000001", "9" * 19, "x"])
def test_a_bad_quantity_leaves_its_neighbours_alone(tmp_path: Path, quantity: str) -> None:
    """Proves: one cell's fault is one event's."""
    path = tmp_path / "a.csv"
    path.write_text(f'at,in,out\n2023-11-16 18:17:03,"{quantity}",10\n')
    bad, good = events(path)
    assert isinstance(bad, BadLine)
    assert (bad.number, bad.metric) == (2, "tokens_input")
    assert isinstance(good, Event)


def test_jsonl_keeps_numbers_as_they_are_written(tmp_path: Path) -> None:
    """Proves: no number passes through a float; a line that is not an object is a bad line; empty lines are passed over."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"at":"2023-11-16T18:17:03Z","in":0.100000001,"out":123456789012345678}\n\n[1]\n{"at":\n{"at":"?","in":1,"out":1}\n')
    found = events(path)
    assert [one.wire["quantity"] for one in found if isinstance(one, Event)] == ["0.100000001", "123456789012345678"]
    assert [(one.number, one.metric) for one in found if isinstance(one, BadLine)] == [
        (3, None),
        (4, None),
        (5, "tokens_input"),
        (5, "tokens_output"),
    ]


def test_a_customer_of_each_line(tmp_path: Path) -> None:
    """Proves: the column names the customer, and a line without one is bad."""
    path = tmp_path / "a.csv"
    path.write_text("\ufeffwho,at,in\nx,2023-11-16 18:17:03,1\n,2023-11-16 18:17:03,1\ny,2023-11-16 18:17:03,1,2\n")
    found = events(path, Mapping({"tokens_input": "in"}, "at", None, "who", {}, "p"))
    assert isinstance(found[0], Event)
    assert found[0].wire["customerExternalId"] == "x"
    assert [one.number for one in found[1:] if isinstance(one, BadLine)] == [3, 4]


def test_what_cannot_be_read_at_all(tmp_path: Path) -> None:
    """Proves: a missing column and a file that is not UTF-8 end the import with a sentence."""
    path = tmp_path / "a.csv"
    path.write_text("at,in\n")
    with pytest.raises(ImportFailure, match="no column 'out'"):
        events(path)
    path.write_bytes(b"at,in,out\n\xff\xfe,1,2\n")
    with pytest.raises(ImportFailure, match="UTF-8"):
        events(path)


def test_a_time_without_a_zone_is_in_the_zone_asked_for() -> None:
    """Proves: the same text is eight hours earlier in Shanghai."""
    naive = "2026-01-31 08:00:00"
    assert parse_moment(naive, ZoneInfo("UTC")) - parse_moment(naive, ZoneInfo("Asia/Shanghai")) == 8 * 3600 * 1_000_000
    assert parse_moment("2026-01-31T08:00:00+08:00", ZoneInfo("UTC")) == parse_moment(naive, ZoneInfo("Asia/Shanghai"))
    with pytest.raises(ValueError, match="is not a time"):
        parse_moment("yesterday", ZoneInfo("UTC"))


def test_a_quote_that_is_not_closed_is_a_bad_line_that_says_what_it_took_in(tmp_path: Path) -> None:
    """Proves: what stands before it, and after it where it ends, is read; the lines within it are counted and never read as usage."""
    path = tmp_path / "a.csv"
    line = "2023-11-16 18:17:03,1,2\n"
    path.write_text(
        f'at,in,out\n{line}2023-11-16 18:17:03,"1,2\n{line}2023-11-16 18:17:03,"5",2\n{line}2023-11-16 18:17:04,"3"x,2\n{line}"{line}{line}'
    )
    found = list(read_lines(path, MAPPING))
    assert [one.number for one in found if isinstance(one, Line)] == [2, 6, 8]
    bad = [one for one in found if isinstance(one, BadLine)]
    assert [(one.number, one.lines) for one in bad] == [(3, 3), (7, 1), (9, 2)]
    assert "takes in the lines up to 5" in bad[0].detail
    assert bad[1].content == '2023-11-16 18:17:04,"3"x,2\n'
    assert "unexpected end of data" in bad[2].detail


def test_a_quote_without_an_end_in_a_large_file(tmp_path: Path) -> None:
    """Proves: where a quoted field grows beyond what a field may have, the rest of the file counts as not taken, in bounded memory."""
    path = tmp_path / "a.csv"
    path.write_text('at,in,out\n2023-11-16 18:17:03,1,2\n"' + "2023-11-16 18:17:03,1,2\n" * 20_000)
    good, bad = read_lines(path, MAPPING)
    assert isinstance(good, Line)
    assert isinstance(bad, BadLine)
    assert (bad.number, bad.lines, len(bad.content)) == (3, 20_000, 2_000)
