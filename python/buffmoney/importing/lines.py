"""From the lines of a CSV or JSONL file to usage events."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Any, TextIO

from buffmoney.base.clock import format_time, to_us

_QUANTITY = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,9})?", re.ASCII)
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:[.,](\d{1,12}))?(?: ?([Zz]|[+-]\d\d:?\d\d))?", re.ASCII)
_JSONL_SUFFIXES = (".jsonl", ".ndjson")
LONGEST_CONTENT = 2_000
"""characters of a line that cannot be read"""


class ImportFailure(Exception):
    """The import cannot go on. The message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """What the columns mean. metrics: metric code -> column. Either customer or customer_column."""

    metrics: dict[str, str]
    time_column: str
    customer: str | None
    customer_column: str | None
    dimensions: dict[str, str]
    key_prefix: str
    zone: tzinfo = UTC

    def key(self, line: int, metric: str) -> str:
        """The idempotency key of a line's metric: stable, whatever else is in the file."""
        return f"{self.key_prefix}:{line}:{metric}"


@dataclass(frozen=True, slots=True)
class Line:
    """One line that could be read. number: of the line in the file, from 1. values: by column, as text."""

    number: int
    values: dict[str, str]


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line, or one metric of it, that cannot become an event. lines: more than one where a quote takes in those that follow."""

    number: int
    detail: str
    content: Any
    metric: str | None = None
    lines: int = 1


@dataclass(frozen=True, slots=True)
class Event:
    """An event ready to be sent, with the number of its line."""

    line: int
    metric: str
    quantity: Decimal
    wire: dict[str, Any]


def parse_moment(text: str, zone: tzinfo) -> int:
    """A time as microseconds since the epoch; further digits are cut off, and a time without a zone is in `zone`. Raises ValueError."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a time such as 2026-01-31 08:00:00.123 or 2026-01-31T08:00:00Z")
    day, time, fraction, offset = match.groups()
    moment = datetime.fromisoformat(f"{day}T{time}.{(fraction or '0')[:6]:0<6}{'+00:00' if offset in ('Z', 'z') else offset or ''}")
    return to_us(moment if moment.tzinfo is not None else moment.replace(tzinfo=zone))


def read_lines(path: Path, mapping: Mapping) -> Iterator[Line | BadLine]:
    """The lines of a file. CSV has a header line; JSONL (by its suffix .jsonl or .ndjson) one object a line. Empty lines are passed over.

    Raises ImportFailure if the file cannot be read or lacks a column that was named.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from (_jsonl(file) if path.suffix.lower() in _JSONL_SUFFIXES else _csv(file, path, mapping))
    except OSError as failure:
        raise ImportFailure(f"{path} cannot be read: {failure.strerror}") from failure
    except UnicodeDecodeError as failure:
        raise ImportFailure(f"{path} is not UTF-8: {failure}") from failure


def _csv(file: TextIO, path: Path, mapping: Mapping) -> Iterator[Line | BadLine]:
    record: list[str] = []

    def texts() -> Iterator[str]:
        for text in file:
            record.append(text)
            yield text

    reader = csv.reader(texts(), strict=True)
    try:
        header = next(reader, None)
    except csv.Error as failure:
        raise ImportFailure(f"{path}, line {reader.line_num}: {failure}") from failure
    if header is None:
        raise ImportFailure(f"{path} is empty: a CSV file starts with a line of column names")
    wanted = [*mapping.metrics.values(), mapping.time_column, *([mapping.customer_column] if mapping.customer_column else [])]
    for column in wanted:
        if column not in header:
            raise ImportFailure(f"{path} has no column {column!r}. It has: {', '.join(header)}")
    while True:
        record.clear()
        try:
            row = next(reader, None)
        except csv.Error as failure:
            yield _broken_record(record, reader.line_num, failure, file)
            continue
        if row is None:
            return
        if not row:
            continue
        if len(row) != len(header):
            yield BadLine(reader.line_num, f"the line has {len(row)} fields, the header {len(header)}", row)
        else:
            yield Line(reader.line_num, dict(zip(header, row, strict=True)))


def _broken_record(record: list[str], last: int, failure: csv.Error, file: TextIO) -> BadLine:
    """What the reader could not end: one line, or, where a quote was open, all that it took in. Those are not read as lines of their own,
    since a text in quotes may look like one."""
    first, lines, detail = last - len(record) + 1, len(record), str(failure)
    if detail.startswith("field larger than"):
        # Nobody knows where the quote ends, so the rest of the file is in it.
        lines += sum(1 for _ in file)
    if lines > 1:
        detail += f": a quote that opens here is not closed as it should be, and takes in the lines up to {first + lines - 1}"
    return BadLine(first, detail, "".join(record)[:LONGEST_CONTENT], lines=lines)


def _jsonl(file: TextIO) -> Iterator[Line | BadLine]:
    for number, text in enumerate(file, 1):
        if not text.strip():
            continue
        try:
            # Numbers stay the text that they are: a float would change them.
            content = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
        except (ValueError, RecursionError) as failure:
            yield BadLine(number, f"not JSON: {failure}", text.rstrip("\r\n")[:LONGEST_CONTENT])
            continue
        if not isinstance(content, dict):
            yield BadLine(number, "not a JSON object", content)
            continue
        yield Line(
            number, {name: "" if value is None else value if isinstance(value, str) else str(value) for name, value in content.items()}
        )


def events_of(line: Line, mapping: Mapping, shift_us: int) -> Iterator[Event | BadLine | None]:
    """The events of a line, one a metric; None where the quantity is zero or empty, which is no usage."""
    values = line.values
    try:
        occurred_us = parse_moment(values.get(mapping.time_column, ""), mapping.zone) + shift_us
        customer = mapping.customer if mapping.customer_column is None else values.get(mapping.customer_column, "")
        if not customer:
            raise ValueError("the line has no customer")
    except (ValueError, OverflowError) as failure:
        for metric in mapping.metrics:
            yield BadLine(line.number, str(failure), values, metric)
        return
    occurred_at = format_time(occurred_us)
    for metric, column in mapping.metrics.items():
        text = values.get(column, "").strip()
        if not text:
            yield None
            continue
        if _QUANTITY.fullmatch(text) is None:
            yield BadLine(line.number, f"{column}: {text[:100]!r} is not a plain decimal number with at most 9 decimals", values, metric)
            continue
        quantity = Decimal(text)
        if not quantity:
            yield None
            continue
        yield Event(
            line.number,
            metric,
            quantity,
            {
                "customerExternalId": customer,
                "idempotencyKey": mapping.key(line.number, metric),
                "metric": metric,
                "quantity": text,
                "occurredAt": occurred_at,
                "dimensions": mapping.dimensions,
            },
        )
