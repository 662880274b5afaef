"""Opaque cursors of paged lists, bound to the tenant and the list that they were made for.

A cursor is base64url of JSON and a keyed hash. One from another tenant, another list or another filter is refused, so that
nobody can page through what is not theirs and nobody comes to rely on what a cursor holds.
"""

import base64
import binascii
import hashlib
import hmac
from typing import Any

import msgspec

from buffmoney.base.errors import Problem

_MAC_BYTES = 12


def _mac(secret: bytes, tenant_id: int, scope: str, payload: bytes) -> bytes:
    context = f"cursor\0{tenant_id}\0{scope}\0".encode()
    return hashlib.blake2b(context + payload, key=hashlib.sha256(secret).digest(), digest_size=_MAC_BYTES).digest()


def seal(secret: str | bytes, tenant_id: int, scope: str, position: list[Any]) -> str:
    """A cursor that stands for `position` (JSON values) in the list that `scope` names, filters included."""
    key = secret.encode() if isinstance(secret, str) else secret
    payload = msgspec.json.encode(position)
    return base64.urlsafe_b64encode(_mac(key, tenant_id, scope, payload) + payload).rstrip(b"=").decode()


def unseal(secret: str | bytes, tenant_id: int, scope: str, cursor: str) -> list[Any]:
    """The position that `seal` was given. Raises Problem 400 invalid_cursor for anything else than a cursor of this list and tenant."""
    key = secret.encode() if isinstance(secret, str) else secret
    try:
        raw = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError, ValueError):
        raw = b""
    mac, payload = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
    if len(mac) != _MAC_BYTES or not hmac.compare_digest(mac, _mac(key, tenant_id, scope, payload)):
        raise Problem(
            "invalid_cursor", "The cursor does not belong to this list. Take it from the answer before, with the same filters.", "cursor"
        )
    position: list[Any] = msgspec.json.decode(payload)
    return position
