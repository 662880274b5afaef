"""One import from file to summary."""

from __future__ import annotations

import asyncio
import json
import sys
import time
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from buffmoney.base import money
from buffmoney.base.clock import format_time
from buffmoney.importing.lines import BadLine, Event, ImportFailure, Line, Mapping, events_of, parse_moment, read_lines
from buffmoney.importing.sending import IN_FLIGHT, MAX_BATCH_EVENTS, Service

MAX_PREFIX_BYTES = 128
_PROBES = 3


@dataclass(slots=True)
class Summary:
    """What became of a file. quantities: sums over what the service now holds, accepted or duplicate."""

    events: int = 0
    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    skipped: int = 0
    quantities: dict[str, Decimal] = field(default_factory=dict)
    charged: dict[str, Decimal] = field(default_factory=dict)
    """by currency"""
    shifted_to: str | None = None
    error_file: str | None = None

    def wire(self) -> dict[str, Any]:
        """As JSON: {"events", "accepted", "duplicates", "rejected", "skipped", "quantities": {metric: sum}, "charged" (null where it would
        mix currencies), "chargedByCurrency": {currency: sum}, …}."""
        content: dict[str, Any] = {
            "events": self.events,
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "rejected": self.rejected,
            "skipped": self.skipped,
            "quantities": {metric: money.format_decimal(total) for metric, total in self.quantities.items()},
            "charged": None if len(self.charged) > 1 else money.format_decimal(sum(self.charged.values(), Decimal(0))),
            "chargedByCurrency": {currency: money.format_decimal(total) for currency, total in sorted(self.charged.items())},
        }
        if self.shifted_to is not None:
            content["shiftedTo"] = self.shifted_to
        if self.error_file is not None:
            content["errorFile"] = self.error_file
        return content


class ErrorFile:
    """Lines that were not taken, as JSONL. Made with the first of them; one of an earlier run goes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[str] | None = None
        path.unlink(missing_ok=True)

    @property
    def used(self) -> bool:
        """Whether anything was written."""
        return self._file is not None

    def write(self, entry: dict[str, Any]) -> None:
        """One line: {"line", "metric", "code", "detail", …}."""
        if self._file is None:
            self._file = self.path.open("w", encoding="utf-8")
        self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")

    def close(self) -> None:
        """Ends the file."""
        if self._file is not None:
            self._file.close()


class Import:
    """The state of one import."""

    def __init__(self, path: Path, mapping: Mapping, service: Service, errors: ErrorFile) -> None:
        self._path = path
        self._mapping = mapping
        self._service = service
        self._errors = errors
        self.summary = Summary(quantities={metric: Decimal(0) for metric in mapping.metrics})

    async def run(self, shift_to: str | None, progress: Progress, bar: TaskID) -> None:
        """Sends the file. shift_to: None, `now` or a time. Raises ImportFailure."""
        lines, last_us = self._survey()
        progress.update(bar, total=lines * len(self._mapping.metrics))
        shift_us = await self._shift(shift_to, last_us)
        queue: asyncio.Queue[list[Event] | None] = asyncio.Queue(IN_FLIGHT)

        async def work() -> None:
            while (batch := await queue.get()) is not None:
                self._record(batch, await self._service.send(batch))
                progress.update(bar, completed=self.summary.events + self.summary.skipped)

        async def feed() -> None:
            for number, batch in enumerate(self._batches(shift_us)):
                if number == 0:
                    # The first events tell a later run how far this one shifted, so nothing is stored before them.
                    self._record(batch, await self._service.send(batch))
                else:
                    await queue.put(batch)
            for _ in range(IN_FLIGHT):
                await queue.put(None)

        failure: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(feed())
                for _ in range(IN_FLIGHT):
                    group.create_task(work())
        except* ImportFailure as failures:
            failure = failures.exceptions[0]
        if failure is not None:
            raise failure
        progress.update(bar, completed=lines * len(self._mapping.metrics))

    def _survey(self) -> tuple[int, int | None]:
        """How many lines there are, and the time of the last one that has a time."""
        lines, last_us = 0, None
        for line in read_lines(self._path, self._mapping):
            lines += 1
            if isinstance(line, Line):
                last = line.values.get(self._mapping.time_column, "")
                try:
                    last_us = parse_moment(last, self._mapping.zone)
                except (ValueError, OverflowError):
                    continue
        return lines, last_us

    async def _shift(self, shift_to: str | None, last_us: int | None) -> int:
        if shift_to is None or last_us is None:
            return 0
        if shift_to != "now":
            moment_us = parse_moment(shift_to, self._mapping.zone)
        else:
            begun = await self._begun()
            moment_us = time.time_ns() // 1_000 if begun is None else last_us + begun
        self.summary.shifted_to = format_time(moment_us)
        return moment_us - last_us

    async def _begun(self) -> int | None:
        """The shift of an earlier run of this very import, in microseconds, told by its first events. None: there was none."""
        probes = 0
        for line in read_lines(self._path, self._mapping):
            for event in events_of(line, self._mapping, 0) if isinstance(line, Line) else ():
                if isinstance(event, Event):
                    stored = await self._service.occurred_at(event.wire["idempotencyKey"])
                    if stored is not None:
                        original = parse_moment(event.wire["occurredAt"], self._mapping.zone)
                        return parse_moment(stored, self._mapping.zone) - original
                    probes += 1
                    if probes == _PROBES:
                        return None
        return None

    def _batches(self, shift_us: int) -> Iterator[list[Event]]:
        batch: list[Event] = []
        for line in read_lines(self._path, self._mapping):
            if isinstance(line, BadLine):
                self._refuse(line, line.lines * len(self._mapping.metrics))
                continue
            for event in events_of(line, self._mapping, shift_us):
                if event is None:
                    self.summary.skipped += 1
                elif isinstance(event, BadLine):
                    self._refuse(event, 1)
                else:
                    batch.append(event)
            if len(batch) > MAX_BATCH_EVENTS - len(self._mapping.metrics):
                yield batch
                batch = []
        if batch:
            yield batch

    def _refuse(self, line: BadLine, events: int) -> None:
        self.summary.events += events
        self.summary.rejected += events
        self._errors.write({"line": line.number, "metric": line.metric, "code": "bad_line", "detail": line.detail, "content": line.content})

    def _record(self, batch: list[Event], answer: dict[str, Any]) -> None:
        summary = self.summary
        refused = set()
        for result in answer["results"]:
            if result["outcome"] in ("conflict", "rejected"):
                event = batch[result["index"]]
                refused.add(result["index"])
                detail = result.get("detail")
                self._errors.write(
                    {"line": event.line, "metric": event.metric, "code": result.get("code"), "detail": detail, "content": event.wire}
                )
        for index, event in enumerate(batch):
            if index not in refused:
                summary.quantities[event.metric] += event.quantity
        summary.events += len(batch)
        summary.accepted += answer["accepted"]
        summary.duplicates += answer["duplicates"]
        summary.rejected += answer["rejected"]
        for currency, charge in answer["chargedByCurrency"].items():
            summary.charged[currency] = summary.charged.get(currency, Decimal(0)) + Decimal(charge)


def import_usage(
    file: Path,
    *,
    metrics: dict[str, str],
    time_column: str,
    key_prefix: str,
    url: str,
    api_key: str,
    customer: str | None = None,
    customer_column: str | None = None,
    dimensions: dict[str, str] | None = None,
    shift_to: str | None = None,
    time_zone: str = "UTC",
    error_file: Path | None = None,
    as_json: bool = False,
) -> int:
    """Imports a CSV or JSONL file and prints a summary; the exit code: 0, or 1 if anything was rejected or the import stopped.

    metrics: metric code -> column of its quantity; zero and empty quantities are no usage and are skipped. time_zone: of times that name
    none. shift_to: `now` or a time, which the last line gets while the others keep their distance; a later run of the same import with
    `now` keeps the moment of the first. Events are sent in batches, a few at a time, and repeated until they are answered.
    """
    errors: ErrorFile | None = None
    console = Console(stderr=True)
    try:
        mapping = _mapping(metrics, time_column, customer, customer_column, dimensions or {}, key_prefix, time_zone)
        if shift_to is not None and shift_to != "now":
            parse_moment(shift_to, mapping.zone)
        if not file.is_file():
            raise ImportFailure(f"{file} is not a file")
        errors = ErrorFile(error_file or file.with_name(file.name + ".errors.jsonl"))
        summary = asyncio.run(_run(file, mapping, errors, shift_to, url, api_key, console))
    except (ImportFailure, ValueError) as failure:
        console.print(f"error: {failure}", style="red", markup=False, highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("Interrupted. Run the same command again to continue: nothing is counted twice.")
        return 130
    finally:
        if errors is not None:
            errors.close()
    _show(summary, as_json)
    return 1 if summary.rejected else 0


async def _run(file: Path, mapping: Mapping, errors: ErrorFile, shift_to: str | None, url: str, api_key: str, console: Console) -> Summary:
    service = Service(url, api_key)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("events"), TimeRemainingColumn())
    try:
        with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
            work = Import(file, mapping, service, errors)
            await work.run(shift_to, progress, progress.add_task(file.name, total=None))
    finally:
        await service.close()
    if errors.used:
        work.summary.error_file = str(errors.path)
    return work.summary


def _mapping(
    metrics: dict[str, str],
    time_column: str,
    customer: str | None,
    customer_column: str | None,
    dimensions: dict[str, str],
    key_prefix: str,
    time_zone: str,
) -> Mapping:
    if not metrics:
        raise ImportFailure("name at least one metric: --map METRIC=COLUMN")
    if len(metrics) > MAX_BATCH_EVENTS // 2:
        raise ImportFailure("too many metrics")
    if (customer is None) == (customer_column is None):
        raise ImportFailure("say whose usage it is, either with --customer or with --customer-column")
    if not 1 <= len(key_prefix.encode()) <= MAX_PREFIX_BYTES:
        raise ImportFailure(f"--key-prefix has 1 to {MAX_PREFIX_BYTES} bytes")
    try:
        zone = zoneinfo.ZoneInfo(time_zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ImportFailure(f"there is no time zone {time_zone!r}") from None
    return Mapping(metrics, time_column, customer, customer_column, dimensions, key_prefix, zone)


def _show(summary: Summary, as_json: bool) -> None:
    content = summary.wire()
    if as_json:
        sys.stdout.write(json.dumps(content) + "\n")
        return
    sums = ", ".join(f"{total} {metric}" for metric, total in content["quantities"].items())
    charged = " and ".join(f"{total} {currency}" for currency, total in content["chargedByCurrency"].items()) or "0"
    lines = [
        f"{summary.events} events: {summary.accepted} accepted, {summary.duplicates} duplicates, {summary.rejected} rejected",
        f"The service holds {sums} of this file. Charged now: {charged}",
    ]
    if summary.skipped:
        lines.append(f"{summary.skipped} quantities were zero or empty and are no usage")
    if summary.shifted_to is not None:
        lines.append(f"The last line is at {summary.shifted_to}")
    if summary.error_file is not None:
        lines.append(f"What was not taken: {summary.error_file}")
    sys.stdout.write("\n".join(lines) + "\n")
