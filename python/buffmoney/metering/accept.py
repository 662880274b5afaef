"""The edge's half of taking usage: decode, answer what is already known, hand the rest to the core, answer when it is durable.

A batch that Redis knows as committed, from its first event to its last, is answered here. Redis may have forgotten, or be gone, or the same
events may come in another batch: then the core and the database find the duplicates, and the answer is the same.
"""

from __future__ import annotations

from typing import Any

import msgspec
from prometheus_client import Counter

from buffmoney import _core
from buffmoney.base import queries
from buffmoney.base.errors import Problem, RedisUnavailable
from buffmoney.base.http import Answer, Call

MAX_EVENTS = 500

BATCHES = Counter("buffmoney_edge_batches", "Batches of usage events, by where they were decided.", ["decided"])
_IN_CORE, _AT_EDGE, _INVALID = (BATCHES.labels(decided) for decided in ("core", "edge", "invalid"))

_SQL = queries.load("buffmoney.metering", "accept.sql")


class _Result(msgspec.Struct):
    outcome: str
    idempotencyKey: Any = None  # noqa: N815 - the name on the wire


class _Results(msgspec.Struct):
    results: list[_Result]


_RESULTS = msgspec.json.Decoder(_Results)
_PROBLEMS = msgspec.json.Decoder(list[dict[str, Any]])


async def accept(call: Call, all_results: bool) -> Answer:
    """Takes the body of POST /v1/usage-events and gives the outcome of each of its events, once it is durable.

    all_results: accepted events are in `results` too, and duplicates with the charge of their first time. Raises Problem for a body that is
    refused as a whole (400, 413, 422) and for what `CommandBus.usage` raises.
    """
    services, tenant = call.services, call.tenant
    try:
        async with services.turn:
            batch = _core.decode_batch(call.raw_body, tenant.tenant_id, services.clock.now_us(), MAX_EVENTS)
    except _core.BatchError as refusal:
        _INVALID.inc()
        _, code, detail, param = refusal.args
        raise Problem(code, detail, param=param) from None
    if batch.all_invalid:
        _INVALID.inc()
        raise _all_invalid(batch)
    reply: bytes | None = None
    if await _seen(call, batch):
        batch.mark_seen()
        _AT_EDGE.inc()
    else:
        reply = await services.commands.usage(tenant, batch.message)
        _IN_CORE.inc()
    async with services.turn:
        answer = batch.answer(reply, all_results, call.request_id)
    if all_results:
        charges = await _duplicates_charges(call, answer)
        if charges:
            answer = batch.answer(reply, True, call.request_id, charges)
    return Answer(answer)


async def _seen(call: Call, batch: _core.DecodedBatch) -> bool:
    prefix = b"{p%d}:seen:" % call.tenant.partition_id
    try:
        # A server that is loading or out of memory answers with errors: then nothing is known, which is always safe.
        return 1 in await call.services.bulk_redis.send(*batch.seen_command([prefix + b"a", prefix + b"b"]))
    except RedisUnavailable:
        return False


async def _duplicates_charges(call: Call, answer: bytes) -> dict[bytes, str]:
    """Key hash -> what the event was charged the first time, of every duplicate in an answer."""
    texts = [result.idempotencyKey for result in _RESULTS.decode(answer).results if result.outcome == "duplicate"]
    keys = {text: _core.key_hash(call.tenant.tenant_id, text) for text in texts if isinstance(text, str)}
    if not keys:
        return {}
    tenant_id = call.tenant.tenant_id
    async with call.transaction() as connection:
        commits = await connection.fetch(_SQL["commits_of_keys"], tenant_id, [key.hex() for key in keys.values()])
        if not commits:
            return {}
        times = [row["committed_at"] for row in commits]
        ids = [row["commit_id"] for row in commits]
        rows = await connection.fetch(_SQL["charges_in_commits"], tenant_id, list(keys), ids, min(times), max(times))
    return {keys[row["idempotency_key"]]: row["charge"] for row in rows}


def _all_invalid(batch: _core.DecodedBatch) -> Problem:
    first = _PROBLEMS.decode(batch.problems)[0]
    return Problem(
        first["code"],
        f"No event of the batch is valid. The first: {first.get('detail', '')}",
        param=first.get("param"),
        results=msgspec.Raw(batch.problems),
    )
