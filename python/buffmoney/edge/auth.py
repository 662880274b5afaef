"""API keys at the door.

A key that we never made fails its checksum and costs no look-up. For the others the database is asked, and its answer is kept for
half a second at most, so that a revocation is effective on every edge within a second. Refused requests are counted, not logged one
by one: a flood of wrong keys fills neither the log nor the memory.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime

from prometheus_client import Counter

from buffmoney.base import telemetry
from buffmoney.base.clock import Clock, to_us
from buffmoney.base.config import Settings
from buffmoney.base.database import Database
from buffmoney.base.errors import Problem
from buffmoney.base.http import Tenant
from buffmoney.merchants import keys

TRUST_S = 0.5
"""How long an answer of the database is used."""
REFRESH_AFTER_S = 0.25
"""Age at which a key in use is looked up again in the background, so that no request has to wait for it."""
MAX_CACHED_KEYS = 10_000
LOG_EVERY_S = 10.0

REFUSED = Counter("buffmoney_edge_refused_keys", "Requests refused for their API key.", ["reason"])

_log = telemetry.logger("auth")
_AUTHENTICATE = "SELECT tenant_id, key_id, mode, merchant_id, partition_id, currency, expires_at, revoked_at FROM authenticate_key($1)"


@dataclass(slots=True)
class _Known:
    """tenant None: no such key, or it has ended. asked_at: when the look-up began, in loop time."""

    tenant: Tenant | None
    expires_at_us: int | None
    asked_at: float


class Authenticator:
    """Finds the tenant of a request. One per edge."""

    def __init__(self, settings: Settings, database: Database, clock: Clock) -> None:
        self._pepper = settings.api_key_pepper
        self._database = database
        self._clock = clock
        self._known: dict[bytes, _Known] = {}
        self._asking: dict[bytes, asyncio.Task[_Known]] = {}
        self._refused_since_log = 0
        self._logged_at = float("-inf")

    async def authenticate(self, authorization: bytes | None) -> Tenant:
        """The tenant of an `Authorization` header. Raises Problem missing_api_key, invalid_api_key or database_unavailable."""
        if authorization is None:
            raise self._refusal("missing", Problem("missing_api_key", "Send Authorization: Bearer with an API key.", param="Authorization"))
        scheme, _, token = authorization.partition(b" ")
        token = token.strip()
        if scheme.lower() != b"bearer" or not token:
            raise self._refusal(
                "missing", Problem("missing_api_key", "The Authorization header is not of the form Bearer KEY.", param="Authorization")
            )
        key = token.decode("latin-1")
        if not keys.well_formed(self._pepper, key):
            raise self._refusal("made_up", _invalid())
        known = await self._look_up(keys.hash_key(self._pepper, key))
        ended = known.expires_at_us is not None and known.expires_at_us <= self._clock.now_us()
        if known.tenant is None or ended:
            raise self._refusal("unknown_or_ended", _invalid())
        return known.tenant

    async def _look_up(self, key_hash: bytes) -> _Known:
        now = asyncio.get_running_loop().time()
        known = self._known.get(key_hash)
        if known is not None:
            age_s = now - known.asked_at
            if age_s < REFRESH_AFTER_S:
                return known
            if age_s < TRUST_S:
                self._ask(key_hash)
                return known
        # One look-up serves all requests with this key; a client that goes away must not cancel it for the others.
        return await asyncio.shield(self._ask(key_hash))

    def _ask(self, key_hash: bytes) -> asyncio.Task[_Known]:
        task = self._asking.get(key_hash)
        if task is None:
            task = asyncio.create_task(self._fetch(key_hash), name="api key look-up")
            self._asking[key_hash] = task
            task.add_done_callback(lambda done: self._asked(key_hash, done))
        return task

    def _asked(self, key_hash: bytes, task: asyncio.Task[_Known]) -> None:
        self._asking.pop(key_hash, None)
        if not task.cancelled():
            task.exception()  # whoever waits gets it; a background refresh that failed is tried again by the next request

    async def _fetch(self, key_hash: bytes) -> _Known:
        asked_at = asyncio.get_running_loop().time()
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_AUTHENTICATE, key_hash)
        if row is None or row["revoked_at"] is not None:
            known = _Known(None, None, asked_at)
        else:
            expires_at: datetime | None = row["expires_at"]
            tenant = Tenant(row["tenant_id"], row["merchant_id"], row["mode"], row["partition_id"], row["currency"], row["key_id"])
            known = _Known(tenant, None if expires_at is None else to_us(expires_at), asked_at)
        # Oldest out first, and a look-up makes its key the newest.
        self._known.pop(key_hash, None)
        if len(self._known) >= MAX_CACHED_KEYS:
            del self._known[next(iter(self._known))]
        self._known[key_hash] = known
        return known

    def _refusal(self, reason: str, problem: Problem) -> Problem:
        REFUSED.labels(reason).inc()
        self._refused_since_log += 1
        now = asyncio.get_running_loop().time()
        if now - self._logged_at >= LOG_EVERY_S:
            _log.warning("requests_refused_for_their_key", count=self._refused_since_log, last_reason=reason)
            self._logged_at = now
            self._refused_since_log = 0
        return problem


def _invalid() -> Problem:
    # Unknown, expired and revoked sound the same: whoever guesses keys learns nothing.
    return Problem("invalid_api_key", "The API key is unknown, expired or revoked.", param="Authorization")
