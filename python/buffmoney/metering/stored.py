"""Events as the ledger has them, for the engine to void: what each was, which grants paid it, and its void if it has one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from buffmoney.base import money, queries
from buffmoney.metering.shares import parts_of

if TYPE_CHECKING:
    from uuid import UUID

    import asyncpg

    from buffmoney.base.database import Connection

SQL = queries.load("buffmoney.metering", "voiding.sql")

EventFacts = tuple[int, int, int, int, int, int, str, str, str, bytes]
VoidFacts = tuple[int, str, str, str | None, str | None, int | None, str | None]
EventRow = tuple[bytes, EventFacts, VoidFacts | None]
"""As `Engine.load_events` takes it."""


@dataclass(frozen=True, slots=True)
class StoredEvents:
    """What was found, and the keys' hashes of what was not: never accepted, or of a day that was archived."""

    rows: list[EventRow]
    absent: list[bytes]


async def read(connection: Connection, tenant_id: int, keys: Mapping[bytes, str]) -> StoredEvents:
    """The tenant's events with these keys, by the keys' hashes. Takes a few statements, however many there are."""
    async with connection.transaction(readonly=True):
        # Statistics lag behind tables that grow this fast; the indexes are right whatever they say.
        await connection.execute("SET LOCAL enable_seqscan = off")
        hashes = [one.hex() for one in keys]
        where = {row["key_hash"].bytes: row["commit_id"] for row in await connection.fetch(SQL["commits_of_keys"], tenant_id, hashes)}
        commits = await connection.fetch(SQL["times_of_commits"], list(set(where.values())))
        events: list[asyncpg.Record] = []
        if commits:
            ids, times = zip(*commits, strict=True)
            events = await connection.fetch(SQL["events"], tenant_id, ids, times, [keys[hashed] for hashed in where])
        parts = await parts_of(connection, tenant_id, events)
        voids = {row["key_hash"].bytes: row for row in await connection.fetch(SQL["voids_of_keys"], tenant_id, hashes)}
        amending = [row["command_id"] for row in voids.values() if row["replaced_by"] is not None]
        said = await connection.fetch(SQL["answers"], tenant_id, amending) if amending else []
        answers: dict[UUID, str] = {row["command_id"]: row["result"] for row in said}
    by_key = {event["idempotency_key"]: (event, paid) for event, paid in zip(events, parts, strict=True)}
    rows: list[EventRow] = []
    for hashed in where:
        if keys[hashed] in by_key:
            event, paid = by_key[keys[hashed]]
            rows.append((hashed, _event(event, paid), _void(voids.get(hashed), answers)))
    return StoredEvents(rows, [hashed for hashed in keys if hashed not in where or keys[hashed] not in by_key])


def _event(row: asyncpg.Record, parts: list[tuple[bytes, int]]) -> EventFacts:
    return (
        row["account_id"],
        row["commit_id"],
        row["posting_seq"],
        row["metric_id"],
        row["price_id"],
        row["occurred_us"],
        money.format_decimal(row["quantity"]),
        money.format_decimal(row["charge"]),
        row["dimensions"],
        b"".join(grant + amount.to_bytes(16, "little") for grant, amount in parts),
    )


def _void(row: asyncpg.Record | None, answers: Mapping[UUID, str]) -> VoidFacts | None:
    if row is None:
        return None
    available, unbilled = (money.format_decimal(row[name]) for name in ("balance_after", "unbilled_after"))
    answer = answers.get(row["command_id"])
    return (row["voided_us"], available, unbilled, row["reason"], row["replaced_by"], row["replaced_fingerprint"], answer)
