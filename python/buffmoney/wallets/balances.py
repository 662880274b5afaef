"""A customer's balance: from Redis in one round trip while the core vouches for it, else from the ledger.

The core keeps balances in a hash whose name holds its epoch and a generation, and says both in a key that lives three seconds. A balance
is believed only if the word and the balance come from the same round trip: whatever was flushed, restarted or overtaken has another
generation. What the ledger says is always true, only slower; then the core is asked to put the wallet back into Redis.
"""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from buffmoney import _core
from buffmoney.base import money, queries
from buffmoney.base.clock import to_us
from buffmoney.base.errors import Problem, RedisUnavailable
from buffmoney.base.http import Answer, Call
from buffmoney.base.redis import pack
from buffmoney.base.wire import Currency, Number, Time
from buffmoney.wallets.customers import check_external_id, unknown_customer
from buffmoney.wallets.grants import Kind, read_parts

if TYPE_CHECKING:
    from datetime import datetime

    import asyncpg

_SQL = queries.load("buffmoney.wallets")
_KIND_CODES = {"promotional": 0, "bonus": 1, "paid": 2}
_NEVER_US = (1 << 63) - 1
_PACKED_VERSION = b"\x02"
_MAX_WARMING = 64

_words: dict[int, bytes] = {}
"""the last word of each partition's core, to guess the name of the hash with; never trusted by itself"""
_warming: set[asyncio.Task[None]] = set()


class BalanceByKind(msgspec.Struct, rename="camel"):
    """What is available of each kind of grant. paid: paid for. bonus: on top of what was paid for. promotional: given without a payment."""

    paid: Number
    bonus: Number
    promotional: Number


class OpenGrant(msgspec.Struct, rename="camel"):
    """A grant with something left, in the order of spending."""

    grant_id: str
    kind: Kind
    priority: int
    remaining: Number
    expires_at: Time | None


class Balance(msgspec.Struct, rename="camel"):
    """A wallet.

    available: negative only within the overdraft limit, where customers pay before. sequence: of the last posting in it. unbilled: where
    they pay after, what the customer owes and was not invoiced for, what open holds took of it included; it is no part of available, and
    credits do not repay it. byKind: what is available, by kind of grant. grants: those with something left, in the order of spending.
    """

    available: Number
    held: Number
    unbilled: Number
    currency: Currency
    by_kind: BalanceByKind
    grants: list[OpenGrant]
    sequence: int


async def get_balance(call: Call) -> Answer:
    """The balance, including everything that was answered before this request."""
    name = check_external_id(call.path["externalId"])
    packed = await _from_redis(call, name)
    if packed is None:
        packed = await _from_ledger(call, name)
        _warm(call, name)
    return Answer(_core.render_balance(packed))


async def _from_redis(call: Call, name: str) -> bytes | None:
    partition = call.tenant.partition_id
    prefix = b"{p%d}:" % partition
    name_in_hash = struct.pack(">Q", call.tenant.tenant_id) + name.encode()
    try:
        for _ in range(2):
            guess = _words.get(partition, b"none")
            request = pack("GET", prefix + b"core") + pack("HGET", prefix + b"balance:" + guess, name_in_hash)
            word, packed = await call.services.redis.send(request, 2)
            if not isinstance(word, bytes):
                return None
            if word == guess:
                # A core of another version may pack otherwise.
                return packed if isinstance(packed, bytes) and packed.startswith(_PACKED_VERSION) else None
            _words[partition] = word
    except RedisUnavailable:
        return None
    return None


async def _from_ledger(call: Call, name: str) -> bytes:
    async with call.transaction() as connection:
        row = await connection.fetchrow(_SQL["wallet"], call.tenant.tenant_id, name)
    if row is None:
        raise unknown_customer()
    return pack_wallet(row)


def pack_wallet(row: asyncpg.Record) -> bytes:
    """The wallet as the core packs it, so that both sources are rendered by the same code. row: of the statement `wallet`."""
    head = _PACKED_VERSION + row["currency"].encode() + struct.pack("<q", row["seq"])
    parts = [head, *(_i128(money.to_nano(row[name])) for name in ("available", "held", "unbilled"))]
    # An anonymous row comes as a plain tuple, its grant's id first.
    known = {grant[0]: grant[1:] for grant in row["grants"] or ()}
    for grant_id, remaining in read_parts(row["grants_after"]).items():
        parts.append(_grant(grant_id, known[grant_id], remaining))
    return b"".join(parts)


def _grant(grant_id: UUID, grant: tuple[str, int, datetime | None], remaining: int) -> bytes:
    kind, priority, expires_at = grant
    expires_us = _NEVER_US if expires_at is None else to_us(expires_at)
    return grant_id.bytes + struct.pack("<Bhq", _KIND_CODES[kind], priority, expires_us) + _i128(remaining)


def _i128(number: int) -> bytes:
    return number.to_bytes(16, "little", signed=True)


def _warm(call: Call, name: str) -> None:
    # A favour to the next reader. It must never queue up in front of a core that has better things to do.
    if len(_warming) < _MAX_WARMING:
        task = asyncio.create_task(_ask_to_warm(call, name), name="warm a balance")
        _warming.add(task)
        task.add_done_callback(_warming.discard)


async def _ask_to_warm(call: Call, name: str) -> None:
    try:
        await call.services.commands.command(call.tenant, {"type": "warm", "customer": name})
    except Problem:
        return
