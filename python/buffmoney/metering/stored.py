"""Events as the ledger has them, for the engine to void: what each was, which grants paid it, and its void if it has one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from buffmoney.base import money, queries
from buffmoney.metering.shares import parts_of

if TYPE_CHECKING:
    import asyncpg

    from buffmoney.base.database import Connection

SQL = queries.load("buffmoney.metering", "voiding.sql")

EventFacts = tuple[int, int, int, int, int, int, str, str, str, bytes]
VoidFacts = tuple[int, str, str | None, str | None, int | None, str | None]
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
        where = {
            row["key_hash"].bytes: row for row in await connection.fetch(SQL["commits_of_keys"], tenant_id, [one.hex() for one in keys])
        }
        times = {row["commit_id"]: row["committed_at"] for row in where.values()}
        events: list[asyncpg.Record] = []
        if where:
            known = [keys[hashed] for hashed in where]
            events = await connection.fetch(SQL["events"], tenant_id, list(times), list(times.values()), known)
        parts = await parts_of(connection, tenant_id, events)
    by_key = {event["idempotency_key"]: (event, paid) for event, paid in zip(events, parts, strict=True)}
    rows: list[EventRow] = []
    for hashed, found in where.items():
        if keys[hashed] in by_key:
            event, paid = by_key[keys[hashed]]
            rows.append((hashed, _event(event, paid), _void(found)))
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


def _void(row: asyncpg.Record) -> VoidFacts | None:
    if not row["voided"]:
        return None
    return (row["voided_us"], row["balance_after"], row["reason"], row["replaced_by"], row["replaced_fingerprint"], row["result"])
