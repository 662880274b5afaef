"""Derives every tenant's cash book again: its chain against the stored hashes and the signed head, each order by the rules of fees and
refunds, and the payments and refunds of collection against their postings.

Found are: a posting that was changed, deleted, doubled, put in another's place or added by somebody without the secret, a tail that was cut
off, an order that took or gave back other fees than the rules say, and an order, refund or credit without its posting or the other way
round. As with the audit log, a whole old state put back, signed head and all, shows only against heads that were noted before, outside of
the database: `against`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from buffmoney.audit import chain
from buffmoney.audit.verify import Difference, NotedHead
from buffmoney.base import queries
from buffmoney.base.money import format_decimal
from buffmoney.ledger import cash

if TYPE_CHECKING:
    import asyncpg

    from buffmoney.base.database import Connection

KEPT_DIFFERENCES = 100
_ROWS_AT_A_TIME = 1_000

COMPARED: dict[str, tuple[str, tuple[str, ...]]] = {
    "cash_payment": ("payment_order_differences", ("payment_orders",)),
    "cash_refund": ("refund_differences", ("refunds",)),
    "cash_credit": ("grant_differences", ("payment_orders", "refunds", "wallet_outbox")),
    "cash_bonus": ("bonus_differences", ("top_ups", "wallet_outbox")),
    "cash_refund_credit": ("taken_differences", ("refunds", "top_ups", "wallet_outbox", "postings")),
}
"""What is found → the statement that finds it, and the tables without which there is nothing to compare."""

_SQL = queries.load("buffmoney.ledger", "cash_verify.sql")


class Report(msgspec.Struct, frozen=True, rename="camel"):
    """What was found. differences: the first ones; balances: by mode, then by account.

    heads: of the tenants that have postings, to be noted elsewhere and given as `against` one day.
    """

    postings: int
    difference_count: int
    differences: list[Difference]
    balances: dict[str, dict[str, str]]
    heads: list[NotedHead]


class _Book(msgspec.Struct):
    """Where the walk along a tenant's postings has come to."""

    seq: int = 0
    chain_hash: bytes = chain.START


class _Walk:
    """Takes every posting in order of tenant and number."""

    def __init__(self, cash_key: bytes, against: Sequence[NotedHead]) -> None:
        self._cash_key = cash_key
        self._noted: dict[tuple[int, int], list[NotedHead]] = {}
        for one in against:
            self._noted.setdefault((one.tenant_id, one.sequence), []).append(one)
        self._books: dict[int, _Book] = {}
        self.postings = 0
        self.difference_count = 0
        self.differences: list[Difference] = []

    def found(self, what: str, tenant_id: int, seq: int, detail: str) -> None:
        """Notes a difference."""
        self.difference_count += 1
        if len(self.differences) < KEPT_DIFFERENCES:
            self.differences.append(Difference(what, tenant_id, seq, detail))

    def posting(self, row: asyncpg.Record) -> None:
        """The next posting."""
        self.postings += 1
        tenant_id, seq = row["tenant_id"], row["seq"]
        book = self._books.setdefault(tenant_id, _Book())
        if seq != book.seq + 1:
            missing = f"posting {book.seq + 1} is" if seq == book.seq + 2 else f"postings {book.seq + 1} to {seq - 1} are"
            self.found("cash_gap", tenant_id, seq, f"{missing} missing before it")
        elif _chained(book.chain_hash, row) != row["chain_hash"]:
            about = f"{row['kind']} of order {row['order_id']}" if row["order_id"] else row["kind"]
            self.found("cash_chain", tenant_id, seq, f"{about}: it, or what lies before it, was changed")
        # What follows is compared with the stored hash, so that one change is one difference.
        book.seq, book.chain_hash = seq, row["chain_hash"]
        for noted in self._noted.pop((tenant_id, seq), ()):
            if noted.chain_hash != row["chain_hash"].hex():
                self.found("cash_noted", tenant_id, seq, "another posting stands where the noted one was")

    def heads(self, rows: Sequence[asyncpg.Record]) -> None:
        """The head of every tenant, after all postings."""
        for row in rows:
            tenant_id, seq = row["tenant_id"], row["seq"]
            end = self._books.get(tenant_id, _Book())
            if seq is None:
                self.found("cash_head", tenant_id, 0, "the tenant has no signed head of its cash book")
                continue
            if not chain.is_signed(self._cash_key, tenant_id, seq, row["chain_hash"], row["mac"]):
                self.found("cash_head", tenant_id, seq, "the head is not signed with this BUFFMONEY_SECRET")
            if end.seq < seq:
                self.found("cash_tail", tenant_id, seq, f"the cash book ends at posting {end.seq}, its head says {seq}")
            elif end.seq > seq:
                self.found("cash_tail", tenant_id, end.seq, f"the cash book goes on to posting {end.seq}, its head says {seq}")
            elif end.chain_hash != row["chain_hash"]:
                self.found("cash_tail", tenant_id, seq, "the newest posting is not the one that the head was signed for")
        for left in self._noted.values():
            for noted in left:
                self.found("cash_noted", noted.tenant_id, noted.sequence, "there is no such posting any more")

    def to_be_noted(self) -> list[NotedHead]:
        """The heads of the books that were walked along."""
        return [NotedHead(tenant_id, book.seq, book.chain_hash.hex()) for tenant_id, book in self._books.items()]


def _chained(before: bytes, row: asyncpg.Record) -> bytes | None:
    """The hash that a posting should have; None for what we never wrote."""
    try:
        return cash.chained(before, cash.Posting(**{name: row[name] for name in cash.Posting.__struct_fields__}))
    except (ValueError, OverflowError):
        return None


async def verify_on(
    connection: Connection,
    cash_key: bytes,
    *,
    against: Sequence[NotedHead] = (),
    step: Callable[[int, int | None], None] = lambda _rows, _expected: None,
) -> Report:
    """Verifies all cash books. connection: in a repeatable-read transaction that sees all tenants.

    step: told of the rows so far, and about how many there are.
    """
    walk = _Walk(cash_key, against)
    expected = await connection.fetchval(_SQL["estimate"]) or None
    async for row in connection.cursor(_SQL["postings"], prefetch=_ROWS_AT_A_TIME):
        walk.posting(row)
        if walk.postings % _ROWS_AT_A_TIME == 0:
            step(walk.postings, expected)
    walk.heads(await connection.fetch(_SQL["heads"]))
    for row in await connection.fetch(_SQL["order_differences"]):
        walk.found("cash_order", row["tenant_id"], row["first_seq"], f"{row['order_id']}: {row['detail']}")
    for what, (statement, tables) in COMPARED.items():
        if await _exist(connection, tables):
            for row in await connection.fetch(_SQL[statement]):
                # The third column names the order or the refund.
                walk.found(what, row["tenant_id"], row["seq"], f"{row[2]}: {row['detail']}")
    balances: dict[str, dict[str, str]] = {}
    for row in await connection.fetch(_SQL["balances"]):
        balances.setdefault(row["mode"], {})[row["code"]] = format_decimal(row["balance"])
    step(walk.postings, expected)
    return Report(walk.postings, walk.difference_count, walk.differences, balances, walk.to_be_noted())


async def _exist(connection: Connection, tables: Sequence[str]) -> bool:
    found: bool = await connection.fetchval("SELECT bool_and(to_regclass(name) IS NOT NULL) FROM unnest($1::text[]) AS name", list(tables))
    return found


def read_noted(text: bytes) -> list[NotedHead]:
    """The heads of an earlier report. Raises ValueError for anything else."""

    class Noted(msgspec.Struct, rename="camel"):
        cash_heads: list[NotedHead]

    try:
        return msgspec.json.decode(text, type=Noted).cash_heads
    except (msgspec.ValidationError, msgspec.DecodeError) as failure:
        raise ValueError(f"not a report of `buffmoney ledger verify --json`: {failure}") from failure
