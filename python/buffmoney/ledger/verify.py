"""`buffmoney ledger verify`: re-derives every chain, balance, charge, identity and total from the rows themselves.

It walks along the chains of the cash book and of the audit log, too, so that one command tells whether everything is whole.

Everything is read in one repeatable-read snapshot, so a live system can be verified while it writes. Rows stream through the
Rust verifier; memory grows with wallets and commits, not with events.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

from buffmoney._core import Verifier
from buffmoney.audit import verify as audit_log
from buffmoney.base import queries, tables
from buffmoney.base.clock import Clock, SystemClock
from buffmoney.base.config import Settings
from buffmoney.base.database import connect
from buffmoney.base.errors import DatabaseUnavailable
from buffmoney.base.periods import Periods
from buffmoney.ledger import cash_verify, heads

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

SQL = queries.load("buffmoney.ledger", "verify.sql")
FEED_BYTES = 1 << 20
SHOWN_DIFFERENCES = 20

Report = dict[str, Any]
"""{"ok", "postings", "events", "voids", "wallets", "commits", "counters", "periodCharges", "charged": {currency: sum},
"cashPostings", "cashBalances": {mode: {account: balance}}, "cashHeads": [{"tenantId", "sequence", "chainHash"}], "auditEntries",
"differenceCount", "differences": [{"what", "tenantId", "accountId", "seq", "detail"}]}"""
Step = Callable[[str, int, int | None], None]
"""Told of progress: what is read, rows so far, and about how many there are."""


class _Feed:
    """Hands COPY's many small pieces to the verifier in large ones, outside of the event loop's thread."""

    def __init__(self, take: Callable[[bytes], int], step: Callable[[int], None]) -> None:
        self._take = take
        self._step = step
        self._pieces: list[bytes] = []
        self._size = 0

    async def __call__(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size >= FEED_BYTES:
            await self.flush()

    async def flush(self) -> None:
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        self._step(await asyncio.to_thread(self._take, data))


async def _stream(connection: Connection, statement: str, take: Callable[[bytes], int], step: Callable[[int], None]) -> None:
    feed = _Feed(take, step)
    output: Callable[[bytes], Coroutine[Any, Any, None]] = feed.__call__
    await connection.copy_from_query(statement, output=output, format="binary")
    await feed.flush()


@contextlib.asynccontextmanager
async def _snapshot(settings: Settings) -> AsyncIterator[Connection]:
    connection = await connect(settings, "core", name="buffmoney ledger verify")
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            # Keys are sorted over all their tables.
            await connection.execute("SET LOCAL work_mem = '256MB'")
            yield connection
    finally:
        await connection.close()


async def verify(settings: Settings, step: Step, clock: Clock | None = None, *, against: Sequence[audit_log.NotedHead] = ()) -> Report:
    """Verifies the whole ledger: by the clock, periods that are over are settled.

    against: heads of cash books, noted before. Raises DatabaseUnavailable.
    """
    verifier = Verifier(settings.ledger_key)
    # The file is read first: the snapshot is younger, so the ledger must already have what the file vouches for.
    outside = _heads_outside(settings.heads_file)
    async with _snapshot(settings) as connection:
        estimates = await connection.fetchrow(SQL["estimates"])
        assert estimates is not None
        verifier.periods([(tenant_id, Periods.stored(where).starts_us) for tenant_id, where in await connection.fetch(SQL["periods"])])
        verifier.prices([(*row[:8], row[8:12], row[12:]) for row in map(tuple, await connection.fetch(SQL["prices"]))])
        verifier.at((clock or SystemClock()).now_us())
        verifier.metrics([tuple(row) for row in await connection.fetch(SQL["metrics"])])
        verifier.customers([tuple(row) for row in await connection.fetch(SQL["customers"])])
        for name, take in (
            ("postings", verifier.postings),
            ("voids", verifier.voids),
            ("period_charges", verifier.period_charges),
            ("events", verifier.events),
            ("counters", verifier.counters),
            ("event_keys", verifier.event_keys),
            ("commits", verifier.commits),
        ):
            expected = max(int(estimates[name]), 0) or None
            await _stream(connection, SQL[name], take, _named(step, name, expected))
        verifier.heads([tuple(row) for row in await connection.fetch(SQL["heads"])])
        step("roll-ups and holds", 0, None)
        differences = await _differences_by_sql(connection)
        differences += await _differences_from_outside(connection, settings, outside)
        cash = await cash_verify.verify_on(
            connection, settings.cash_key, against=against, step=lambda rows, expected: step("cash book", rows, expected)
        )
        audit = await audit_log.verify_on(connection, settings.audit_key, step=lambda rows: step("audit log", rows, None))
        differences += [_difference(one.what, tenant_id=one.tenant_id, seq=one.sequence, detail=one.detail) for one in cash.differences]
        differences += [_difference(one.what, tenant_id=one.tenant_id, seq=one.sequence, detail=one.detail) for one in audit.differences]
    report: Report = json.loads(verifier.finish())
    report["differences"] = [*report["differences"], *differences][:100]
    unlisted = audit.difference_count - len(audit.differences) + cash.difference_count - len(cash.differences)
    report["differenceCount"] = report.get("differenceCount", 0) + len(differences) + unlisted
    report["cashPostings"] = cash.postings
    report["cashBalances"] = cash.balances
    report["cashHeads"] = msgspec.to_builtins(cash.heads)
    report["auditEntries"] = audit.entries
    return {"ok": report["differenceCount"] == 0, **report}


def _named(step: Step, name: str, expected: int | None) -> Callable[[int], None]:
    return lambda rows: step(name, rows, expected)


def _heads_outside(path: Path | None) -> dict[int, heads.Head] | str:
    try:
        return heads.read(path) if path else {}
    except (heads.HeadMismatchError, OSError) as failure:
        return str(failure)


def _difference(what: str, *, tenant_id: int = 0, account_id: int = 0, seq: int = 0, detail: str) -> dict[str, Any]:
    return {"what": what, "tenantId": tenant_id, "accountId": account_id, "seq": seq, "detail": detail}


async def _differences_from_outside(
    connection: Connection, settings: Settings, outside: dict[int, heads.Head] | str
) -> list[dict[str, Any]]:
    """What the signed heads outside the database say against it. They may be a second old, so the ledger may be further on."""
    if isinstance(outside, str):
        return [_difference("heads_file", detail=outside)]
    found = []
    for one in outside.values():
        place = f"{settings.heads_file}: partition {one.partition_id}, commit {one.commit_seq}"
        if not heads.is_signed(settings.ledger_key, one):
            found.append(_difference("head_signature", detail=f"{place}: not signed with this BUFFMONEY_SECRET"))
        elif one.commit_seq:
            head = await connection.fetchval(SQL["head_at"], one.partition_id, one.commit_seq)
            if head != one.head:
                what = "the ledger has no such commit" if head is None else "the ledger has another commit in its place"
                found.append(_difference("head_outside", detail=f"{place}: {what}"))
    return found


async def _differences_by_sql(connection: Connection) -> list[dict[str, Any]]:
    found = [
        _difference(
            "rollup",
            tenant_id=row["tenant_id"],
            account_id=row["account_id"],
            detail=f"{row['bucket'].isoformat()} metric {row['metric_id']}: {row['rolled_up']} events rolled up, {row['stored']} stored, "
            "or quantity or charge differ",
        )
        for row in await connection.fetch(SQL["rollup_differences"])
    ]
    found += [
        _difference(
            "hold",
            tenant_id=row["tenant_id"],
            account_id=row["account_id"],
            detail=f"hold {row['hold_id'].hex} is {row['status']} with {row['amount']}; postings: {row['held']} held, "
            f"{row['captured']} captured, {row['returned']} returned",
        )
        for row in await connection.fetch(SQL["hold_differences"])
    ]
    found += [
        _difference(
            "outbox",
            tenant_id=row["tenant_id"],
            detail=f"command {row['command_id'].hex} of {row['source']} is {row['outcome']}, and the core remembers nothing of that",
        )
        for row in await connection.fetch(SQL["outbox_differences"])
    ]
    return found


def run(settings: Settings, *, against: Sequence[audit_log.NotedHead] = (), as_json: bool = False) -> int:
    """The command: 0 if the ledger is as it should be, 1 with the first differences, 2 if it cannot be read."""
    console = Console(stderr=True)
    try:
        if as_json:
            report = asyncio.run(verify(settings, lambda _name, _rows, _expected: None, against=against))
            sys.stdout.write(json.dumps(report, ensure_ascii=False) + "\n")
        else:
            report = _with_progress(settings, against, console)
            _show(report, Console())
    except DatabaseUnavailable as failure:
        console.print(f"The ledger cannot be read: {failure}", style="red")
        return 2
    return 0 if report["ok"] else 1


def _with_progress(settings: Settings, against: Sequence[audit_log.NotedHead], console: Console) -> Report:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<20}"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        tasks: dict[str, Any] = {}

        def step(name: str, rows: int, expected: int | None) -> None:
            if name not in tasks:
                for task in tasks.values():
                    _finish(progress, task)
                tasks[name] = progress.add_task(name.replace("_", " "), total=expected)
            task = tasks[name]
            # The planner's estimate may be too low: a bar never shows more than there is.
            progress.update(task, completed=rows, total=max(rows, expected) if expected else None)

        report = asyncio.run(verify(settings, step, against=against))
        for task in tasks.values():
            _finish(progress, task)
    return report


def _finish(progress: Progress, task: Any) -> None:
    completed = progress.tasks[progress.task_ids.index(task)].completed
    progress.update(task, total=max(completed, 1), completed=max(completed, 1))
    progress.stop_task(task)


def _charged(by_currency: dict[str, str]) -> str:
    return " and ".join(f"{amount} {currency}" for currency, amount in by_currency.items()) or "nothing"


def _show_cash(balances: dict[str, dict[str, str]], console: Console) -> None:
    if not balances:
        return
    modes = sorted(balances)
    rows = [
        (code, *(f"{Decimal(balances[mode].get(code, 0)):,.2f}" for mode in modes))
        for code in dict.fromkeys(code for accounts in balances.values() for code in accounts)
    ]
    tables.show(("cash book, CNY", *modes), rows, figures=len(modes), console=console)


def _show(report: Report, console: Console) -> None:
    counts = f"{report['commits']:,} commits, {report['postings']:,} postings of {report['wallets']:,} wallets, {report['events']:,} events"
    counts += f", {report['cashPostings']:,} cash postings, {report['auditEntries']:,} audit entries"
    if report["ok"]:
        console.print(f"[green]The ledger is whole:[/green] {counts}, {_charged(report['charged'])} charged.", highlight=False)
        _show_cash(report["cashBalances"], console)
        return
    console.print(f"[red]{report['differenceCount']:,} differences[/red] in {counts}:", highlight=False)
    for one in report["differences"][:SHOWN_DIFFERENCES]:
        place = ", ".join(
            f"{label} {one[key]}" for label, key in (("tenant", "tenantId"), ("account", "accountId"), ("seq", "seq")) if one[key]
        )
        console.print(f"  {one['what']}{f' ({place})' if place else ''}: {one['detail']}", highlight=False, markup=False)
