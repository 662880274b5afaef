"""Compares what clients were told with what PostgreSQL says after the run."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from decimal import Decimal

import asyncpg

from tests.faults.load import Book
from tests.faults.watch import Snapshots

PREFIX = len("hold_")


@dataclass
class Audit:
    """The result. doubled: events, grants or money that exist more often than they were asked for."""

    acked: int = 0
    lost: int = 0
    doubled: int = 0
    left_open: int = 0
    below_floor: int = 0
    differences: list[str] = field(default_factory=list)

    def differ(self, text: str) -> None:
        """Notes an example."""
        if len(self.differences) < 20:
            self.differences.append(text)


async def audit(connection: asyncpg.Connection[asyncpg.Record], tenant_id: int, book: Book, seen: Snapshots) -> Audit:
    """Every acknowledged event, grant and hold; every wallet's money; every balance that was read."""
    result = Audit(acked=len(book.events) + len(book.grants) + len(book.holds), below_floor=seen.below_floor)
    result.left_open += len(book.unanswered)
    names = {
        row["account_id"]: row["external_id"] for row in await connection.fetch("SELECT * FROM customers WHERE tenant_id = $1", tenant_id)
    }
    await _events(connection, tenant_id, book, names, result)
    await _grants(connection, tenant_id, book, names, result)
    await _holds(connection, tenant_id, book, result)
    await _money(connection, tenant_id, names, result)
    await _snapshots(connection, tenant_id, names, seen, result)
    for text in book.problems:
        result.differ(f"client: {text}")
    return result


async def _events(connection: asyncpg.Connection[asyncpg.Record], tenant_id: int, book: Book, names: dict[int, str], result: Audit) -> None:
    rows = await connection.fetch("SELECT idempotency_key, account_id, charge FROM usage_events WHERE tenant_id = $1", tenant_id)
    stored = {row["idempotency_key"]: (names[row["account_id"]], row["charge"]) for row in rows}
    result.doubled += len(rows) - len(stored)
    for key, (customer, charge) in book.events.items():
        if key not in stored:
            result.lost += 1
            result.differ(f"event {key} was acknowledged and is not there")
        elif stored[key][0] != customer or (charge is not None and stored[key][1] != Decimal(charge)):
            result.lost += 1
            result.differ(f"event {key}: told {customer} {charge}, stored {stored[key]}")
    for key in book.refused & stored.keys() - book.events.keys():
        result.doubled += 1
        result.differ(f"event {key} was refused and is there")


async def _grants(connection: asyncpg.Connection[asyncpg.Record], tenant_id: int, book: Book, names: dict[int, str], result: Audit) -> None:
    rows = await connection.fetch("SELECT grant_id, account_id, amount FROM grants WHERE tenant_id = $1", tenant_id)
    stored = {f"gr_{row['grant_id'].hex}": (names[row["account_id"]], row["amount"]) for row in rows}
    for grant_id, (customer, amount) in book.grants.items():
        if stored.get(grant_id) != (customer, Decimal(amount)):
            result.lost += 1
            result.differ(f"grant {grant_id}: told {customer} {amount}, stored {stored.get(grant_id)}")
    posted = await connection.fetch("SELECT grant_id, count(*) AS n FROM postings WHERE tenant_id = $1 AND kind = 1 GROUP BY 1", tenant_id)
    result.doubled += sum(row["n"] - 1 for row in posted)


async def _holds(connection: asyncpg.Connection[asyncpg.Record], tenant_id: int, book: Book, result: Audit) -> None:
    rows = await connection.fetch(
        "SELECT hold_id, status, captured, expires_at < now() - interval '5 s' AS due FROM holds WHERE tenant_id = $1", tenant_id
    )
    stored = {f"hold_{row['hold_id'].hex}": row for row in rows}
    for hold_id, (_, status, captured) in book.holds.items():
        row = stored.get(hold_id)
        if row is None:
            result.lost += 1
            result.differ(f"hold {hold_id} was acknowledged and is not there")
        elif status not in ("unknown", "expired", row["status"]) or (status == "captured" and row["captured"] != Decimal(captured)):
            result.lost += 1
            result.differ(f"hold {hold_id}: told {status} {captured}, stored {row['status']} {row['captured']}")
    for row in rows:
        if row["status"] == "open" and row["due"]:
            result.left_open += 1
            result.differ(f"hold {row['hold_id']} is open after its expiry")


async def _money(connection: asyncpg.Connection[asyncpg.Record], tenant_id: int, names: dict[int, str], result: Audit) -> None:
    """granted − charged by events − captured − charged for periods = available + held − unbilled, for every wallet."""
    expected: dict[int, Decimal] = defaultdict(Decimal)
    for statement, sign in (
        ("SELECT account_id, sum(amount) FROM grants WHERE tenant_id = $1 GROUP BY 1", 1),
        ("SELECT account_id, sum(charge) FROM usage_events WHERE tenant_id = $1 GROUP BY 1", -1),
        ("SELECT account_id, sum(coalesce(captured, 0)) FROM holds WHERE tenant_id = $1 AND status = 'captured' GROUP BY 1", -1),
        ("SELECT account_id, sum(amount) FROM period_charges WHERE tenant_id = $1 GROUP BY 1", -1),
    ):
        for row in await connection.fetch(statement, tenant_id):
            expected[row[0]] += sign * row[1]
    last = await connection.fetch(
        "SELECT DISTINCT ON (account_id) account_id, balance_after, held_after, unbilled_after FROM postings"
        " WHERE tenant_id = $1 ORDER BY account_id, seq DESC",
        tenant_id,
    )
    for row in last:
        if row["balance_after"] + row["held_after"] - row["unbilled_after"] != expected[row["account_id"]]:
            result.doubled += 1
            result.differ(
                f"wallet {names[row['account_id']]}: {row['balance_after']} + {row['held_after']} − {row['unbilled_after']} ≠ "
                f"{expected[row['account_id']]}"
            )
    low = await connection.fetch("SELECT account_id, seq FROM postings WHERE tenant_id = $1 AND balance_after < 0", tenant_id)
    result.below_floor += len(low)


async def _snapshots(
    connection: asyncpg.Connection[asyncpg.Record], tenant_id: int, names: dict[int, str], seen: Snapshots, result: Audit
) -> None:
    """A balance that was read must be what the ledger has at that sequence: nothing uncommitted is ever shown."""
    rows = await connection.fetch(
        "SELECT account_id, seq, balance_after, held_after, unbilled_after FROM postings WHERE tenant_id = $1", tenant_id
    )
    ledger = {(names[row["account_id"]], row["seq"]): (row["balance_after"], row["held_after"], row["unbilled_after"]) for row in rows}
    wrong: Counter[str] = Counter()
    for (customer, sequence), shown in seen.by_sequence.items():
        if sequence and ledger.get((customer, sequence)) != shown:
            wrong[customer] += 1
            result.differ(f"balance of {customer} at {sequence}: shown {shown}, ledger {ledger.get((customer, sequence))}")
    off = sum(wrong.values()) + seen.totals_off
    if off:
        result.differ(f"{off} of {seen.reads} balances read were not the ledger's")
    if seen.went_back:
        result.differ(f"{seen.went_back} of {seen.reads} balances read were older than one read before")
