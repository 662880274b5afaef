"""Derives every tenant's chain of entries again and compares it with what is stored and with the signed heads.

Found are: an entry that was changed, deleted, doubled, put in another's place or added by somebody without the secret, and a tail that was
cut off. What the database alone cannot show is a whole old state put back, signed head and all; for that, `against` takes heads that
were noted before, outside of the database.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from buffmoney.audit import chain
from buffmoney.base import queries
from buffmoney.base.config import Settings
from buffmoney.base.database import connect

if TYPE_CHECKING:
    import asyncpg

    from buffmoney.base.database import Connection

KEPT_DIFFERENCES = 100
_ROWS_AT_A_TIME = 200

_SQL = queries.load("buffmoney.audit")


class NotedHead(msgspec.Struct, frozen=True, rename="camel"):
    """The newest entry of a tenant at some time. chainHash: hexadecimal."""

    tenant_id: int
    sequence: int
    chain_hash: str


class Difference(msgspec.Struct, frozen=True, rename="camel"):
    """What is not as it should be. sequence 0: the log of the tenant as such."""

    what: str
    tenant_id: int
    sequence: int
    detail: str


class Report(msgspec.Struct, frozen=True, rename="camel"):
    """What was found. differences: the first ones, in order; heads: to be noted elsewhere and given as `against` one day."""

    ok: bool
    tenants: int
    entries: int
    difference_count: int
    differences: list[Difference]
    heads: list[NotedHead]


class _Tenant(msgspec.Struct):
    """Where the walk along a tenant's entries has come to."""

    tenant_id: int
    seq: int = 0
    chain_hash: bytes = chain.START


class _Walk:
    """Takes every entry in order of tenant and number."""

    def __init__(self, audit_key: bytes, against: Sequence[NotedHead]) -> None:
        self._audit_key = audit_key
        self._noted: dict[tuple[int, int], list[NotedHead]] = {}
        for one in against:
            self._noted.setdefault((one.tenant_id, one.sequence), []).append(one)
        self._tenants: dict[int, _Tenant] = {}
        self.entries = 0
        self.difference_count = 0
        self.differences: list[Difference] = []

    def found(self, what: str, tenant_id: int, seq: int, detail: str) -> None:
        """Notes a difference."""
        self.difference_count += 1
        if len(self.differences) < KEPT_DIFFERENCES:
            self.differences.append(Difference(what, tenant_id, seq, detail))

    def entry(self, row: asyncpg.Record) -> None:
        """The next entry."""
        self.entries += 1
        tenant_id, seq = row["tenant_id"], row["seq"]
        at = self._tenants.setdefault(tenant_id, _Tenant(tenant_id))
        if seq != at.seq + 1:
            missing = f"entry {at.seq + 1} is" if seq == at.seq + 2 else f"entries {at.seq + 1} to {seq - 1} are"
            self.found("audit_gap", tenant_id, seq, f"{missing} missing before it")
        elif _chained(at.chain_hash, row) != row["chain_hash"]:
            self.found("audit_chain", tenant_id, seq, f"{row['action']} of {row['object_id']}: it, or what lies before it, was changed")
        # What follows is compared with the stored hash, so that one change is one difference.
        at.seq, at.chain_hash = seq, row["chain_hash"]
        for noted in self._noted.pop((tenant_id, seq), ()):
            if noted.chain_hash != row["chain_hash"].hex():
                self.found("audit_noted", tenant_id, seq, "another entry stands where the noted one was")

    def heads(self, rows: Sequence[asyncpg.Record]) -> None:
        """The head of every tenant, after all entries."""
        for row in rows:
            tenant_id, seq = row["tenant_id"], row["seq"]
            end = self._tenants.setdefault(tenant_id, _Tenant(tenant_id))
            if seq is None:
                self.found("audit_head", tenant_id, 0, "the tenant has no signed head")
                continue
            if not chain.is_signed(self._audit_key, tenant_id, seq, row["chain_hash"], row["mac"]):
                self.found("audit_head", tenant_id, seq, "the head is not signed with this BUFFMONEY_SECRET")
            if end.seq < seq:
                self.found("audit_tail", tenant_id, seq, f"the log ends at entry {end.seq}, its head says {seq}")
            elif end.seq > seq:
                self.found("audit_tail", tenant_id, end.seq, f"the log goes on to entry {end.seq}, its head says {seq}")
            elif end.chain_hash != row["chain_hash"]:
                self.found("audit_tail", tenant_id, seq, "the newest entry is not the one that the head was signed for")
        for left in self._noted.values():
            for noted in left:
                if noted.sequence:
                    self.found("audit_noted", noted.tenant_id, noted.sequence, "there is no such entry any more")

    def report(self) -> Report:
        """What was found."""
        heads = [NotedHead(one.tenant_id, one.seq, one.chain_hash.hex()) for one in self._tenants.values()]
        return Report(self.difference_count == 0, len(heads), self.entries, self.difference_count, self.differences, heads)


def _chained(before: bytes, row: asyncpg.Record) -> bytes | None:
    """The hash that an entry should have; None for what we never wrote, such as a number of many thousand digits."""
    try:
        return chain.chained(
            before,
            chain.Entry(
                **{name: row[name] for name in chain.Entry.__struct_fields__ if name not in ("before", "after")},
                before=_canonical(row["before"]),
                after=_canonical(row["after"]),
            ),
        )
    except (ValueError, OverflowError, RecursionError):
        return None


def _canonical(text: str | None) -> str | None:
    return None if text is None else chain.canonical(json.loads(text))


async def verify_on(
    connection: Connection, audit_key: bytes, *, against: Sequence[NotedHead] = (), step: Callable[[int], None] = lambda _rows: None
) -> Report:
    """Verifies all logs. connection: in a repeatable-read transaction that sees all tenants. step: told of the rows so far."""
    walk = _Walk(audit_key, against)
    async for row in connection.cursor(_SQL["all_entries"], prefetch=_ROWS_AT_A_TIME):
        walk.entry(row)
        if walk.entries % _ROWS_AT_A_TIME == 0:
            step(walk.entries)
    walk.heads(await connection.fetch(_SQL["all_heads"]))
    step(walk.entries)
    return walk.report()


async def verify(settings: Settings, *, against: Sequence[NotedHead] = ()) -> Report:
    """Verifies all logs in one snapshot, so a live system can be verified while it writes. Raises DatabaseUnavailable."""
    connection = await connect(settings, "core", name="buffmoney audit verify")
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return await verify_on(connection, settings.audit_key, against=against)
    finally:
        await connection.close()


def read_noted(text: bytes) -> list[NotedHead]:
    """The heads of an earlier report. Raises ValueError for anything else."""

    class Noted(msgspec.Struct):
        heads: list[NotedHead]

    try:
        return msgspec.json.decode(text, type=Noted).heads
    except (msgspec.ValidationError, msgspec.DecodeError) as failure:
        raise ValueError(f"not a report of `buffmoney audit verify --json`: {failure}") from failure
