"""What proves the audit log: canonical bytes of an entry, the hash that chains it to the one before, and the signature of the newest.

Every field is length-prefixed, so that no two different entries have the same bytes. JSON is hashed with sorted keys and without white
space, so that the hash does not depend on how PostgreSQL writes it.
"""

from __future__ import annotations

import hmac
import json
from datetime import datetime
from typing import Any

import msgspec
from blake3 import blake3

from buffmoney.base.clock import to_us

START = bytes(32)
"""the hash before the first entry"""
_ABSENT = (1 << 64) - 1


class Entry(msgspec.Struct, frozen=True):
    """What is hashed of an entry. before, after: canonical JSON; None where the database has NULL."""

    tenant_id: int
    seq: int
    at: datetime
    actor_kind: str
    actor: str
    action: str
    object_kind: str
    object_id: str
    before: str | None
    after: str | None
    request_id: str


def canonical(content: Any) -> str:
    """JSON with sorted keys and no white space. Raises ValueError for NaN and infinities."""
    return json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def chained(before: bytes, entry: Entry) -> bytes:
    """The chain hash of an entry: 32 bytes of blake3 over the hash before and the entry."""
    hasher = blake3(before)
    for number in (entry.tenant_id, entry.seq, to_us(entry.at)):
        hasher.update(number.to_bytes(8, "little", signed=True))
    for text in (
        entry.actor_kind,
        entry.actor,
        entry.action,
        entry.object_kind,
        entry.object_id,
        entry.before,
        entry.after,
        entry.request_id,
    ):
        hasher.update(framed(text))
    return hasher.digest()


def framed(text: str | None) -> bytes:
    """A text in UTF-8 behind its length in 8 bytes; for none, the largest length and nothing."""
    if text is None:
        return _ABSENT.to_bytes(8, "little")
    data = text.encode()
    return len(data).to_bytes(8, "little") + data


def sign(key: bytes, tenant_id: int, seq: int, chain_hash: bytes) -> bytes:
    """Keyed blake3 over tenant, sequence (8 bytes little-endian each) and hash: 32 bytes. Every book has a key of its own."""
    return blake3(tenant_id.to_bytes(8, "little") + seq.to_bytes(8, "little") + chain_hash, key=key).digest()


def is_signed(key: bytes, tenant_id: int, seq: int, chain_hash: bytes, mac: bytes) -> bool:
    """Whether the signature is ours."""
    return hmac.compare_digest(sign(key, tenant_id, seq, chain_hash), mac)
