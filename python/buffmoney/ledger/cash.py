"""The cash book: what the channels collected for a merchant, what they and we take of it, and what the merchant is owed.

A payment is posted gross, then the channel's fee as we estimate it, then ours; a refund takes the gross back out, and of the fees what is
given back. Amounts are CNY in whole fen. The channel's bill is the truth about its fee; the estimate says until then what will be owed.

Rounding, once for each order, so that an order can be checked by itself, as the channels do in their bills:

- A fee is amount × rate, half a fen up: what the channels' bills show (¥0.03 at 39 % is ¥0.01), so estimate and bill differ as little
  as may be.
- Both fees together never exceed the payment: ours gives way. A payment of one fen does not cost the merchant anything.
- Of a fee, refunds of R in all out of a payment of P give back fee × R ÷ P, half a fen up; each refund gives back that total less what
  those before it gave. So no entry is negative, and the sum depends on R alone, not on how R was cut: refunded whole, a fee is given back
  whole. Up and not down: what is kept of both fees together is then never more than what is left of the payment.
- Alipay keeps its fee when it refunds, so there the merchant bears it. Ours goes back in proportion on both channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, Protocol, get_args

import asyncpg
import msgspec
from blake3 import blake3

from buffmoney.audit import chain
from buffmoney.base import money, queries
from buffmoney.base.clock import Clock, to_datetime, to_us
from buffmoney.ledger import accounts

if TYPE_CHECKING:
    from buffmoney.base.database import Connection

Channel = Literal["wechat", "alipay"]
Kind = Literal[
    "payment",
    "channel_fee",
    "platform_fee",
    "refund",
    "channel_fee_return",
    "platform_fee_return",
    "suspense",
    "suspense_release",
]
KINDS: tuple[Kind, ...] = get_args(Kind)

ESTIMATED_FEE_BPS = 60
"""What a channel is expected to keep of a payment, in hundredths of a percent."""
RETURNS_ITS_FEE: frozenset[Channel] = frozenset({"wechat"})
"""The channels that give their fee back with a refund."""
CLEARING: dict[Channel, int] = {"wechat": accounts.WECHAT_CLEARING, "alipay": accounts.ALIPAY_CLEARING}
CHANNEL_FEES: dict[Channel, int] = {"wechat": accounts.WECHAT_FEES, "alipay": accounts.ALIPAY_FEES}

_WHOLE_BPS = 10_000
_NANO_PER_FEN: int = 10 ** (money.SCALE - 2)
_SQL = queries.load("buffmoney.ledger", "cash.sql")


class CashBookBrokenError(RuntimeError):
    """The book of a tenant does not end where its signed head says, so nothing may be written after it. The message says which tenant."""


class AlreadyPostedError(RuntimeError):
    """The order was paid, or this refund of it happened, in another transaction. This one cannot go on and must be rolled back."""


class Signer(Protocol):
    """Who posts: an `audit.log.Author` is one."""

    @property
    def clock(self) -> Clock:
        """What the time of the posting is read from."""
        ...

    @property
    def cash_key(self) -> bytes:
        """`Settings.cash_key`."""
        ...


class Entry(msgspec.Struct, frozen=True):
    """A posting to be made. amount: CNY, positive, whole fen. occurred_at: aware; when it happened, by the channel."""

    kind: Kind
    debit: int
    credit: int
    amount: Decimal
    order_id: str | None
    refund_id: str | None
    channel: Channel
    occurred_at: datetime


class OrderSums(msgspec.Struct, frozen=True):
    """What the book holds of a paid order: what was paid, what was taken of it, and what was refunded so far."""

    channel: Channel
    amount: Decimal
    channel_fee: Decimal
    platform_fee: Decimal
    refunded: Decimal = Decimal(0)


class Posting(msgspec.Struct, frozen=True):
    """What is hashed of a posting."""

    tenant_id: int
    seq: int
    kind: str
    debit_account_id: int
    credit_account_id: int
    amount: Decimal
    order_id: str | None
    refund_id: str | None
    channel: str
    occurred_at: datetime
    posted_at: datetime


# ---------------------------------------------------------------- what is posted


def payment_entries(
    order_id: str,
    channel: Channel,
    amount: Decimal,
    *,
    platform_bps: int,
    occurred_at: datetime,
    fee_bps: int = ESTIMATED_FEE_BPS,
) -> list[Entry]:
    """A paid order: gross, the channel's estimated fee, our fee. A fee of nothing has no entry.

    platform_bps, fee_bps: of the amount, 0 to 10,000. Raises ValueError for an amount that is not of whole fen above 0.
    """
    paid = _fen(amount)
    channel_fee = _fee(paid, fee_bps)
    platform_fee = min(_fee(paid, platform_bps), paid - channel_fee)
    rows: list[tuple[Kind, int, int, int]] = [
        ("payment", CLEARING[channel], accounts.MERCHANT_PAYABLE, paid),
        ("channel_fee", accounts.MERCHANT_PAYABLE, CHANNEL_FEES[channel], channel_fee),
        ("platform_fee", accounts.MERCHANT_PAYABLE, accounts.PLATFORM_FEES, platform_fee),
    ]
    return _entries(rows, order_id, None, channel, occurred_at)


def refund_entries(
    order_id: str, refund_id: str, channel: Channel, amount: Decimal, original: OrderSums, *, occurred_at: datetime
) -> list[Entry]:
    """A refund that the channel has made: gross, and of the fees what is given back.

    original: from `order_sums`, read while the caller holds the order's lock. Raises ValueError for an amount that is not of whole fen
    above 0 or more than is left of the payment, and for another channel than the payment's.
    """
    if channel != original.channel:
        raise ValueError(f"the order was paid through {original.channel}, not {channel}")
    paid, before = _fen(original.amount), _fen(original.refunded, zero=True)
    after = before + _fen(amount)
    if after > paid:
        raise ValueError(f"{amount} is more than is left of {original.amount}, of which {original.refunded} was refunded")

    def given_back(fee: Decimal) -> int:
        fen = _fen(fee, zero=True)
        return _share(fen, after, paid) - _share(fen, before, paid)

    rows: list[tuple[Kind, int, int, int]] = [("refund", accounts.MERCHANT_PAYABLE, CLEARING[channel], after - before)]
    if channel in RETURNS_ITS_FEE:
        rows.append(("channel_fee_return", CHANNEL_FEES[channel], accounts.MERCHANT_PAYABLE, given_back(original.channel_fee)))
    rows.append(("platform_fee_return", accounts.PLATFORM_FEES, accounts.MERCHANT_PAYABLE, given_back(original.platform_fee)))
    return _entries(rows, order_id, refund_id, channel, occurred_at)


def suspense_entries(channel: Channel, amount: Decimal, *, order_id: str | None, occurred_at: datetime) -> list[Entry]:
    """Money that came and cannot be settled: wrong amount or collector, or an order that we do not know (order_id None).

    Raises ValueError for an amount that is not of whole fen above 0.
    """
    return _entries([("suspense", CLEARING[channel], accounts.PAYMENT_SUSPENSE, _fen(amount))], order_id, None, channel, occurred_at)


def suspense_release_entries(
    channel: Channel, amount: Decimal, *, order_id: str | None, refund_id: str | None, occurred_at: datetime
) -> list[Entry]:
    """Money leaves suspense: paid back (refund_id), or understood at last; then `payment_entries` follow in the same transaction.

    Raises ValueError for an amount that is not of whole fen above 0.
    """
    rows: list[tuple[Kind, int, int, int]] = [("suspense_release", accounts.PAYMENT_SUSPENSE, CLEARING[channel], _fen(amount))]
    return _entries(rows, order_id, refund_id, channel, occurred_at)


def _entries(
    rows: Sequence[tuple[Kind, int, int, int]], order_id: str | None, refund_id: str | None, channel: Channel, occurred_at: datetime
) -> list[Entry]:
    return [
        Entry(kind, debit, credit, _yuan(fen), order_id, refund_id, channel, occurred_at) for kind, debit, credit, fen in rows if fen != 0
    ]


def _fen(amount: Decimal, *, zero: bool = False) -> int:
    fen, rest = divmod(money.to_nano(amount), _NANO_PER_FEN)
    if rest or fen < 0 or (fen == 0 and not zero):
        raise ValueError(f"{amount} is not an amount of whole fen above 0")
    return fen


def _yuan(fen: int) -> Decimal:
    return money.from_nano(fen * _NANO_PER_FEN)


def _fee(fen: int, bps: int) -> int:
    if not 0 <= bps <= _WHOLE_BPS:
        raise ValueError(f"a fee is 0 to {_WHOLE_BPS} hundredths of a percent, not {bps}")
    return _share(fen, bps, _WHOLE_BPS)


def _share(of: int, part: int, whole: int) -> int:
    """of × part ÷ whole, half up. None of them is negative."""
    return (2 * of * part + whole) // (2 * whole)


# ---------------------------------------------------------------- the book


async def begin(connection: Connection, by: Signer, tenant_id: int) -> None:
    """Opens the book of a new tenant. connection: the schema's owner's, in the transaction that makes the tenant."""
    await connection.execute(_SQL["begin"], tenant_id, chain.START, chain.sign(by.cash_key, tenant_id, 0, chain.START))


async def begin_where_missing(connection: Connection, by: Signer) -> int:
    """Opens the books of tenants that are older than these tables. Gives their number."""
    rows = await connection.fetch(_SQL["without_book"])
    for row in rows:
        await begin(connection, by, row["tenant_id"])
    return len(rows)


async def post(connection: Connection, by: Signer, tenant_id: int, entries: Sequence[Entry]) -> int:
    """Writes entries in the caller's transaction, all of them or none, and gives the number of the last one.

    Call it last: it holds the tenant's head until the transaction ends, and the payments of a merchant wait for one another there. Who
    also writes to the audit log does that after it. Raises CashBookBrokenError, AlreadyPostedError, and ValueError for no entries.
    """
    assert connection.is_in_transaction(), "a posting belongs to the transaction of what it tells of"
    if not entries:
        raise ValueError("nothing to post")
    head = await connection.fetchrow(_SQL["lock_head"], tenant_id)
    if head is None or not chain.is_signed(by.cash_key, tenant_id, head["seq"], head["chain_hash"], head["mac"]):
        state = "missing" if head is None else "not signed with this BUFFMONEY_SECRET"
        raise CashBookBrokenError(f"the head of the cash book of tenant {tenant_id} is {state}: see `buffmoney ledger verify`")
    posted_at = to_datetime(by.clock.now_us())
    first: int = head["seq"] + 1
    hashes = [head["chain_hash"]]
    for seq, entry in enumerate(entries, first):
        posting = Posting(
            tenant_id=tenant_id,
            seq=seq,
            kind=entry.kind,
            debit_account_id=entry.debit,
            credit_account_id=entry.credit,
            amount=entry.amount,
            order_id=entry.order_id,
            refund_id=entry.refund_id,
            channel=entry.channel,
            occurred_at=entry.occurred_at,
            posted_at=posted_at,
        )
        hashes.append(chained(hashes[-1], posting))
    last = first + len(entries) - 1
    mac = chain.sign(by.cash_key, tenant_id, last, hashes[-1])
    # The fields of an entry are in the order in which the statement takes them.
    columns = zip(*map(msgspec.structs.astuple, entries), strict=True)
    try:
        await connection.execute(
            _SQL["append"], tenant_id, last, hashes[-1], mac, posted_at, list(range(first, last + 1)), hashes[1:], *map(list, columns)
        )
    except asyncpg.UniqueViolationError as violation:
        if violation.constraint_name == "cash_postings_once":
            raise AlreadyPostedError(violation.detail) from violation
        raise CashBookBrokenError(
            f"the cash book of tenant {tenant_id} goes on beyond its head: see `buffmoney ledger verify`"
        ) from violation
    return last


async def order_sums(connection: Connection, tenant_id: int, order_id: str) -> OrderSums | None:
    """What the book holds of an order; None if it was not paid. Who is going to refund it holds the order's lock first."""
    row = await connection.fetchrow(_SQL["order_sums"], tenant_id, order_id)
    return None if row is None else OrderSums(**dict(row))


async def balances(connection: Connection, tenant_id: int) -> dict[str, Decimal]:
    """The balance of every account of the book, by its code, in the order of the chart.

    Positive: what an asset is worth, what is owed, what was earned. Reads all postings of the tenant.
    """
    return {row["code"]: row["balance"] for row in await connection.fetch(_SQL["balances"], tenant_id)}


def chained(before: bytes, posting: Posting) -> bytes:
    """The chain hash of a posting: 32 bytes of blake3 over the hash before and the posting.

    Of it six numbers of 8 bytes (tenant, seq, accounts debited and credited, occurred_at and posted_at in microseconds), the amount in
    nano-units in 16, all little-endian; then kind, order, refund and channel, each behind its length. Raises ValueError or OverflowError
    for what no posting of ours can be.
    """
    hasher = blake3(before)
    for number in (
        posting.tenant_id,
        posting.seq,
        posting.debit_account_id,
        posting.credit_account_id,
        to_us(posting.occurred_at),
        to_us(posting.posted_at),
    ):
        hasher.update(number.to_bytes(8, "little", signed=True))
    hasher.update(money.to_nano(posting.amount).to_bytes(16, "little", signed=True))
    for text in (posting.kind, posting.order_id, posting.refund_id, posting.channel):
        hasher.update(chain.framed(text))
    return hasher.digest()
