"""The first answer to a POST, kept in the transaction of its effect, and given again to whoever repeats the request.

Answers may hold a new API key, and this table must not be where keys can be read. So bodies are stored encrypted: the stream and the
signature are blake3 under keys derived from the secret, with a fresh nonce for each answer.
"""

from __future__ import annotations

import hmac
import secrets

from blake3 import blake3

from buffmoney.base import queries
from buffmoney.base.clock import to_datetime
from buffmoney.base.config import Settings
from buffmoney.base.errors import Problem
from buffmoney.base.http import Answer, Call

REPLAYED = {"idempotent-replayed": "true"}
MAX_KEY_CHARACTERS = 255
_NONCE_BYTES = 16
_SIGNATURE_BYTES = 16

_SQL = queries.load("buffmoney.edge")


def parse_key(header: bytes | None) -> str | None:
    """The value of an Idempotency-Key header. Raises Problem invalid_idempotency_key."""
    if header is None:
        return None
    if not 1 <= len(header) <= MAX_KEY_CHARACTERS or any(not 0x20 <= byte < 0x7F for byte in header):
        raise Problem(
            "invalid_idempotency_key",
            f"An Idempotency-Key has 1 to {MAX_KEY_CHARACTERS} printable ASCII characters.",
            param="Idempotency-Key",
        )
    return header.decode("ascii")


def refuse_key(header: bytes | None) -> None:
    """For requests whose events carry their own keys. Raises Problem unexpected_idempotency_key if the header is there: whoever sends it
    expects it to count, and might give the same event another key at each attempt."""
    if header is not None:
        raise Problem(
            "unexpected_idempotency_key",
            "Usage events carry their own idempotencyKey, each event one, for good: repeat them with these, and leave this header out.",
            param="Idempotency-Key",
        )


class StoredAnswers:
    """Runs handlers so that their first answer is stored with their effect."""

    def __init__(self, settings: Settings) -> None:
        self._stream_key = settings.derive("stored answer stream")
        self._signature_key = settings.derive("stored answer signature")

    async def run(self, call: Call, target: str) -> Answer:
        """The handler's answer, or the stored one. target: the path as it was requested.

        Raises Problem idempotency_conflict if the key was used with another request, idempotency_in_progress if its first request is
        still being worked on, and whatever the handler raises: a failure is not remembered.
        """
        if call.idempotency_key is None:
            answer = await call.route.handler(call)
            await _afterwards(call)
            return answer
        fingerprint = self._fingerprint(call, target)
        tenant_id = call.tenant.tenant_id
        async with call.services.database.tenant(tenant_id) as connection:
            # Held until the commit, so that of two equal requests the second finds the first one's answer.
            if not await connection.fetchval(_SQL["lock_request"], f"{tenant_id}:{call.idempotency_key}"):
                raise Problem("idempotency_in_progress", "A request with this Idempotency-Key is being answered.", retry_after=1)
            row = await connection.fetchrow(_SQL["stored_answer"], tenant_id, call.idempotency_key)
            if row is not None:
                if not hmac.compare_digest(row["fingerprint"], fingerprint):
                    raise Problem(
                        "idempotency_conflict", "This Idempotency-Key was used before with another request.", param="Idempotency-Key"
                    )
                return Answer(self._open(row["body"]), row["status"], REPLAYED)
            call.connection = connection
            try:
                answer = await call.route.handler(call)
            finally:
                call.connection = None
            status = answer.status if answer.status is not None else call.route.status
            now = to_datetime(call.services.clock.now_us())
            body = answer.encode()
            await connection.execute(_SQL["store_answer"], tenant_id, call.idempotency_key, fingerprint, status, self._seal(body), now)
        await _afterwards(call)
        return Answer(body, status, answer.headers)

    def _fingerprint(self, call: Call, target: str) -> bytes:
        return blake3(f"{call.route.method} {target}\0".encode() + call.raw_body, key=self._signature_key).digest()

    def _seal(self, body: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        hidden = self._mask(nonce, body)
        return nonce + self._sign(nonce + hidden) + hidden

    def _open(self, sealed: bytes) -> bytes:
        nonce, signature = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES : _NONCE_BYTES + _SIGNATURE_BYTES]
        hidden = sealed[_NONCE_BYTES + _SIGNATURE_BYTES :]
        if not hmac.compare_digest(self._sign(nonce + hidden), signature):
            raise ValueError("a stored answer is not signed with this BUFFMONEY_SECRET")
        return self._mask(nonce, hidden)

    def _mask(self, nonce: bytes, data: bytes) -> bytes:
        stream = blake3(nonce, key=self._stream_key).digest(length=len(data))
        return (int.from_bytes(data, "big") ^ int.from_bytes(stream, "big")).to_bytes(len(data), "big")

    def _sign(self, data: bytes) -> bytes:
        return blake3(b"sealed\0" + data, key=self._signature_key).digest(length=_SIGNATURE_BYTES)


async def _afterwards(call: Call) -> None:
    for action in call.after_commit:
        await action()
