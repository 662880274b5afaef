"""API keys: `bm_live_` or `bm_test_`, 8 characters that may be shown, 32 secret ones, and 6 of a keyed checksum.

The checksum lets an edge refuse made-up keys without any look-up, so that a flood of random keys costs the database nothing. What is
stored is a blake3 hash keyed with a pepper that is not in the database: a stolen table neither holds keys nor lets them be guessed.
"""

from __future__ import annotations

import hmac
import secrets
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from blake3 import blake3

from buffmoney.audit import log
from buffmoney.base import queries
from buffmoney.base.clock import Clock, format_time, to_datetime
from buffmoney.base.errors import Problem
from buffmoney.base.ids import new_short

if TYPE_CHECKING:
    import asyncpg

    from buffmoney.base.database import Connection

MODES = {"sandbox": "bm_test_", "live": "bm_live_"}
SHOWN_CHARACTERS = 8
SECRET_CHARACTERS = 32
CHECKSUM_CHARACTERS = 6
LENGTH = 8 + SHOWN_CHARACTERS + SECRET_CHARACTERS + CHECKSUM_CHARACTERS
LONGEST_OVERLAP_S = 30 * 24 * 3600

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHARACTERS = frozenset(_ALPHABET)
_SQL = queries.load("buffmoney.merchants")


class ApiKey(msgspec.Struct, frozen=True):
    """A key as it may be shown. prefix: its first 16 characters. expires_at: the end of a rotation's overlap."""

    key_id: str
    prefix: str
    name: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class NewKey(msgspec.Struct, frozen=True):
    """A key just made: the only moment at which `secret`, the whole key, exists outside of its owner's hands."""

    key_id: str
    prefix: str
    secret: str


def generate(pepper: bytes, mode: str) -> str:
    """A new key for `sandbox` or `live`, with 190 random bits beside the shown ones."""
    body = MODES[mode] + "".join(secrets.choice(_ALPHABET) for _ in range(SHOWN_CHARACTERS + SECRET_CHARACTERS))
    return body + _checksum(pepper, body)


def well_formed(pepper: bytes, key: str) -> bool:
    """Whether we made this key at some time. False needs no look-up; True says nothing about whether it still works."""
    if len(key) != LENGTH or not key.startswith(tuple(MODES.values())) or not _CHARACTERS.issuperset(key[8:]):
        return False
    return hmac.compare_digest(_checksum(pepper, key[:-CHECKSUM_CHARACTERS]), key[-CHECKSUM_CHARACTERS:])


def hash_key(pepper: bytes, key: str) -> bytes:
    """What is stored and looked up: 32 bytes."""
    return blake3(key.encode(), key=pepper).digest()


def shown_prefix(key: str) -> str:
    """The part of a key that may be shown and logged."""
    return key[: 8 + SHOWN_CHARACTERS]


async def create(
    connection: Connection, pepper: bytes, clock: Clock, tenant_id: int, mode: str, name: str = "", *, by: log.Author
) -> NewKey:
    """Makes a key for a tenant. mode: the tenant's own. name: at most 255 characters, for people. Raises Problem invalid_parameter."""
    async with connection.transaction():
        made, key = await _make(connection, pepper, clock, tenant_id, mode, name)
        await log.record(connection, by, tenant_id, "api_key.create", key.key_id, None, _told(key))
    return made


async def _make(connection: Connection, pepper: bytes, clock: Clock, tenant_id: int, mode: str, name: str) -> tuple[NewKey, ApiKey]:
    if len(name) > 255 or any(ord(character) < 32 for character in name):
        raise Problem("invalid_parameter", "A key's name has at most 255 characters and no control characters.", param="name")
    key = generate(pepper, mode)
    key_id, now = new_short("key", clock), to_datetime(clock.now_us())
    await connection.execute(_SQL["insert_key"], tenant_id, key_id, shown_prefix(key), hash_key(pepper, key), name, now, None)
    return NewKey(key_id, shown_prefix(key), key), ApiKey(key_id, shown_prefix(key), name, now, None, None)


async def list_keys(connection: Connection, tenant_id: int) -> list[ApiKey]:
    """All keys of a tenant, oldest first, revoked ones too."""
    return [_from_row(row) for row in await connection.fetch(_SQL["list_keys"], tenant_id)]


async def revoke(connection: Connection, clock: Clock, tenant_id: int, key_id: str, *, by: log.Author) -> ApiKey:
    """Ends a key for good; every edge refuses it within a second. Revoking twice is the same as once. Raises Problem key_not_found."""
    async with connection.transaction():
        found = await connection.fetchrow(_SQL["lock_key"], tenant_id, key_id)
        if found is None:
            raise Problem("key_not_found", "There is no API key with this id.", param="keyId")
        before = _from_row(found)
        if before.revoked_at is not None:
            return before
        after = msgspec.structs.replace(before, revoked_at=to_datetime(clock.now_us()))
        await connection.execute(_SQL["revoke_key"], tenant_id, key_id, after.revoked_at)
        await log.record(connection, by, tenant_id, "api_key.revoke", key_id, _told(before), _told(after))
    return after


async def rotate(
    connection: Connection,
    pepper: bytes,
    clock: Clock,
    tenant_id: int,
    mode: str,
    key_id: str,
    overlap_s: int = 86_400,
    *,
    by: log.Author,
) -> NewKey:
    """Makes a key in place of another, which goes on working for `overlap_s` seconds (0 to 30 days).

    Raises Problem key_not_found (also for a revoked key) or invalid_parameter.
    """
    if not 0 <= overlap_s <= LONGEST_OVERLAP_S:
        raise Problem("invalid_parameter", f"The overlap is 0 to {LONGEST_OVERLAP_S} seconds.", param="overlapSeconds")
    async with connection.transaction():
        row = await connection.fetchrow(_SQL["lock_key"], tenant_id, key_id)
        if row is None or row["revoked_at"] is not None:
            raise Problem("key_not_found", "There is no API key with this id that still works.", param="keyId")
        before = _from_row(row)
        made, key = await _make(connection, pepper, clock, tenant_id, mode, before.name)
        ends_at = to_datetime(clock.now_us()) + timedelta(seconds=overlap_s)
        after = msgspec.structs.replace(before, expires_at=await connection.fetchval(_SQL["end_key"], tenant_id, key_id, ends_at))
        await log.record(connection, by, tenant_id, "api_key.create", key.key_id, None, {**_told(key), "replaces": key_id})
        await log.record(connection, by, tenant_id, "api_key.rotate", key_id, _told(before), {**_told(after), "replacedBy": key.key_id})
    return made


async def tenant_of(connection: Connection, key_id: str) -> tuple[int, str]:
    """The tenant of a key and its mode, for the command line. Raises Problem key_not_found."""
    row = await connection.fetchrow(_SQL["key_tenant"], key_id)
    if row is None:
        raise Problem("key_not_found", f"There is no API key {key_id}.", param="keyId")
    return row["tenant_id"], row["mode"]


async def owner_of(connection: Connection, pepper: bytes, clock: Clock, key: str) -> tuple[int, str]:
    """The tenant that a whole key belongs to, and its currency, for the command line. Raises Problem invalid_api_key."""
    row = await connection.fetchrow(_SQL["hash_tenant"], hash_key(pepper, key), to_datetime(clock.now_us()))
    if row is None:
        raise Problem("invalid_api_key", "The API key is unknown, expired or revoked.")
    return row["tenant_id"], row["currency"]


def _checksum(pepper: bytes, body: str) -> str:
    number = int.from_bytes(blake3(b"checksum\0" + body.encode(), key=pepper).digest()[:8], "big")
    characters = []
    for _ in range(CHECKSUM_CHARACTERS):
        number, index = divmod(number, len(_ALPHABET))
        characters.append(_ALPHABET[index])
    return "".join(characters)


def _told(key: ApiKey) -> dict[str, Any]:
    """A key as the audit log tells of it: what may be shown, and nothing more."""
    return {
        "keyId": key.key_id,
        "prefix": key.prefix,
        "name": key.name,
        "createdAt": format_time(key.created_at),
        "expiresAt": None if key.expires_at is None else format_time(key.expires_at),
        "revokedAt": None if key.revoked_at is None else format_time(key.revoked_at),
    }


def _from_row(row: asyncpg.Record) -> ApiKey:
    return ApiKey(row["key_id"], row["prefix"], row["name"], row["created_at"], row["expires_at"], row["revoked_at"])
