"""The yardstick: bare COPY, on one connection, of rows that the product really wrote.

The rows come out of the product's own tables, group by group. They go into tables of the same definition (columns, checks, indexes, a
partition leaf for the events; all keys in one table, as one would begin) in a schema of their own in the same database, one transaction
for each group, synchronous_commit on. Keys are drawn anew so that the unique index sees what arrives in reality: random keys in no order.
Wallet sequences move on, so that no posting is met twice.
"""

from __future__ import annotations

import io
import os
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg

KEY_COLUMNS = ("tenant_id", "key_hash", "fingerprint", "commit_id")
EVENT_COLUMNS = (
    "tenant_id", "account_id", "commit_id", "posting_seq", "accepted_at", "occurred_at", "metric_id", "price_id", "quantity", "charge",
    "idempotency_key", "dimensions",
)  # fmt: skip
POSTING_COLUMNS = (
    "tenant_id", "account_id", "seq", "kind", "debit_account_id", "credit_account_id", "amount", "balance_after", "held_after", "grant_id",
    "reference", "commit_id", "posted_at", "grants_after", "chain_hash",
)  # fmt: skip
HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
KEY_ROW_BYTES = 2 + (4 + 8) + (4 + 16) + (4 + 8) + (4 + 8)
KEY_OFFSET = 2 + (4 + 8) + 4
SEQUENCE_OFFSET = 2 + (4 + 8) + (4 + 8) + 4
EVENTS_PER_GROUP = 10_000
SAMPLE_EVENTS = 120_000

SCHEMA = """
DROP SCHEMA IF EXISTS bare CASCADE;
CREATE SCHEMA bare;
CREATE TABLE bare.event_keys (LIKE public.event_keys, PRIMARY KEY (tenant_id, key_hash));
ALTER TABLE bare.event_keys DROP COLUMN key_table;
CREATE TABLE bare.postings (LIKE public.postings INCLUDING ALL);
CREATE TABLE bare.usage_events (LIKE public.usage_events INCLUDING ALL) PARTITION BY RANGE (accepted_at);
CREATE TABLE bare.usage_events_leaf PARTITION OF bare.usage_events FOR VALUES FROM ('2000-01-01') TO ('2200-01-01');
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """One group as the product wrote it: COPY rows without header and trailer."""

    count: int
    keys: bytearray
    events: bytes
    postings: list[bytearray]


@dataclass(frozen=True, slots=True)
class Group:
    """One transaction: three COPY BINARY streams."""

    count: int
    keys: bytes
    events: bytes
    postings: bytes


def rows_of(stream: bytes) -> Iterator[bytes]:
    """The rows of a COPY BINARY stream, each with its field count."""
    at = len(HEADER)
    while True:
        (fields,) = struct.unpack_from(">h", stream, at)
        if fields < 0:
            return
        start = at
        at += 2
        for _ in range(fields):
            (length,) = struct.unpack_from(">i", stream, at)
            at += 4 + max(length, 0)
        yield stream[start:at]


async def copy_out(connection: asyncpg.Connection[Any], columns: tuple[str, ...], table: str, first: int, last: int) -> bytes:
    """The rows of a range of commits, as COPY BINARY."""
    sink = io.BytesIO()
    query = f"SELECT {', '.join(columns)} FROM public.{table} WHERE commit_id BETWEEN {first} AND {last}"
    await connection.copy_from_query(query, output=sink, format="binary")
    return sink.getvalue()


class Bare:
    """The yardstick's tables and its one connection."""

    def __init__(self, database_url: str) -> None:
        self.database_url = database_url
        self.samples: list[Sample] = []
        self.written = 0
        self._connection: asyncpg.Connection[Any] | None = None
        self._shift = 0

    @property
    def connection(self) -> asyncpg.Connection[Any]:
        """The connection, once open."""
        assert self._connection is not None
        return self._connection

    async def open(self) -> None:
        """Connects and makes the tables."""
        self._connection = await asyncpg.connect(self.database_url)
        await self.connection.execute("SET client_min_messages = warning; SET synchronous_commit = on")
        await self.connection.execute(SCHEMA)
        for name, wanted in (("fsync", "on"), ("full_page_writes", "on"), ("synchronous_commit", "on")):
            assert await self.connection.fetchval("SELECT current_setting($1)", name) == wanted, f"{name} must be {wanted}"

    async def close(self) -> None:
        """Drops the tables and ends the connection."""
        await self.connection.execute("DROP SCHEMA IF EXISTS bare CASCADE")
        await self.connection.close()

    async def take_sample(self) -> None:
        """Reads the rows of the newest commits with events, and joins commits to groups of at least EVENTS_PER_GROUP events."""
        commits = await self.connection.fetch(
            "SELECT commit_id, events FROM (SELECT commit_id, events, sum(events) OVER (ORDER BY commit_seq DESC) AS total "
            "FROM public.commits WHERE events > 0) AS newest WHERE total <= $1 ORDER BY commit_id",
            SAMPLE_EVENTS,
        )
        self.samples = []
        first, count = 0, 0
        for commit in commits:
            first = first or commit["commit_id"]
            count += commit["events"]
            if count < EVENTS_PER_GROUP:
                continue
            events = await copy_out(self.connection, EVENT_COLUMNS, "usage_events", first, commit["commit_id"])
            postings = await copy_out(self.connection, POSTING_COLUMNS, "postings", first, commit["commit_id"])
            tenant = next(rows_of(events))[:14]
            keys = bytearray((struct.pack(">h", 4) + tenant[2:] + struct.pack(">i16xi8siq", 16, 8, os.urandom(8), 8, first)) * count)
            self.samples.append(
                Sample(count, keys, events[len(HEADER) : -len(TRAILER)], [bytearray(row) for row in rows_of(postings)]),
            )
            assert len(keys) == count * KEY_ROW_BYTES
            first, count = 0, 0
        if not self.samples:
            raise RuntimeError("the product has committed too little to take a sample from")

    def groups(self, events: int, in_order: bool = False) -> list[Group]:
        """Groups for at least so many events. in_order: keys sorted within each group, as the engine writes them."""
        made: list[Group] = []
        total = 0
        while total < events:
            if total == 0 or len(made) % len(self.samples) == 0:
                self._shift += 1
            sample = self.samples[len(made) % len(self.samples)]
            made.append(self._renewed(sample, in_order))
            total += sample.count
        return made

    def _renewed(self, sample: Sample, in_order: bool) -> Group:
        fresh = os.urandom(16 * sample.count)
        drawn = [fresh[at : at + 16] for at in range(0, len(fresh), 16)]
        if in_order:
            drawn.sort()
        for row, key in enumerate(drawn):
            at = row * KEY_ROW_BYTES + KEY_OFFSET
            sample.keys[at : at + 16] = key
        for posting in sample.postings:
            (sequence,) = struct.unpack_from(">q", posting, SEQUENCE_OFFSET)
            # The lower 40 bits are the product's own sequence, above them counts the round.
            struct.pack_into(">q", posting, SEQUENCE_OFFSET, (sequence & ((1 << 40) - 1)) | self._shift << 40)
        return Group(
            sample.count,
            HEADER + bytes(sample.keys) + TRAILER,
            HEADER + sample.events + TRAILER,
            HEADER + b"".join(sample.postings) + TRAILER,
        )

    async def write(self, groups: list[Group]) -> float:
        """Writes them and returns events a second."""
        connection = self.connection
        started = time.perf_counter()
        for group in groups:
            async with connection.transaction():
                for table, columns, stream in (
                    ("event_keys", KEY_COLUMNS, group.keys),
                    ("usage_events_leaf", EVENT_COLUMNS, group.events),
                    ("postings", POSTING_COLUMNS, group.postings),
                ):
                    await connection.copy_to_table(table, schema_name="bare", source=io.BytesIO(stream), columns=columns, format="binary")
        elapsed = time.perf_counter() - started
        count = sum(group.count for group in groups)
        self.written += count
        return count / elapsed
