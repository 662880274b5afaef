"""The edge as an ASGI application over real PostgreSQL and Valkey: what it stores, refuses, and says of its health."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from buffmoney.audit.log import Author
from buffmoney.base.clock import SystemClock
from buffmoney.base.config import Settings
from buffmoney.edge.app import create_app
from buffmoney.ledger import heads
from buffmoney.merchants import keys
from tests.integration.partition import Room, event, room, running_core, servers
from tests.product import SCRATCH, assert_problem

CARD = {"name": "other", "currency": "CNY", "charges": [{"metric": "tokens_input", "per": "1000", "price": "2"}]}


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    """PostgreSQL and Valkey of these tests' own."""
    home = SCRATCH / f"edge-{secrets.token_hex(4)}"
    home.mkdir(parents=True)
    try:
        with servers(home) as running:
            yield running.replace(answer_timeout_s=5.0, body_timeout_s=1.0, max_inflight_batches=2)
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
async def there(settings: Settings) -> AsyncIterator[Room]:
    async with room(settings) as fresh:
        yield fresh


@pytest.fixture
async def client(there: Room) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an edge on this loop, with a key of the room's tenant. There is no core unless a test starts one."""
    by = Author.system(there.settings, SystemClock(), "test")
    made = await keys.create(there.owner, there.settings.api_key_pepper, SystemClock(), there.tenant_id, "sandbox", by=by)
    edge = create_app(there.settings)
    await edge.start()
    try:
        headers = {"Authorization": f"Bearer {made.secret}"}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=edge), base_url="http://edge", headers=headers) as client:
            yield client
    finally:
        await edge.stop()


@contextlib.asynccontextmanager
async def core(there: Room, client: httpx.AsyncClient) -> AsyncIterator[None]:
    """A core; the system is ready inside."""
    async with running_core(there.settings):
        deadline = time.monotonic() + 20
        while (await client.get("/readyz")).status_code != 200:
            assert time.monotonic() < deadline, (await client.get("/readyz")).text
            await asyncio.sleep(0.1)
        yield


async def test_a_stored_answer_is_given_again(client: httpx.AsyncClient, there: Room) -> None:
    """Proves: the same key and body get the first answer, another body 409, and the effect happens once."""
    headers = {"Idempotency-Key": "metric 1"}
    first = await client.post("/v1/metrics", json={"code": "pages"}, headers=headers)
    again = await client.post("/v1/metrics", json={"code": "pages"}, headers=headers)
    other = await client.post("/v1/metrics", json={"code": "words"}, headers=headers)
    elsewhere = await client.post("/v1/api-keys", json={"name": "x"}, headers=headers)
    assert first.status_code == again.status_code == 201
    assert first.json() == again.json()
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert_problem(other, 409, "idempotency_conflict")
    assert_problem(elsewhere, 409, "idempotency_conflict")
    assert await there.owner.fetchval("SELECT count(*) FROM metrics WHERE metric_id >= 100") == 1


async def test_equal_requests_at_once_have_one_effect(client: httpx.AsyncClient, there: Room) -> None:
    """Proves: of twenty equal requests at once one takes effect; the others get its answer or are told to wait."""
    before = await there.owner.fetchval("SELECT count(*) FROM api_keys")
    answers = await asyncio.gather(
        *(client.post("/v1/api-keys", json={"name": "x"}, headers={"Idempotency-Key": "at once"}) for _ in range(20))
    )
    made = {answer.json()["keyId"] for answer in answers if answer.status_code == 201}
    assert len(made) == 1
    for answer in answers:
        if answer.status_code != 201:
            assert_problem(answer, 409, "idempotency_in_progress")
    assert await there.owner.fetchval("SELECT count(*) FROM api_keys") == before + 1


async def test_a_failure_is_not_remembered(client: httpx.AsyncClient) -> None:
    """Proves: after a refusal the same key may be used for a better request."""
    headers = {"Idempotency-Key": "second try"}
    assert_problem(await client.post("/v1/metrics", json={"code": "Not A Code"}, headers=headers), 422)
    assert (await client.post("/v1/metrics", json={"code": "a_code"}, headers=headers)).status_code == 201


async def test_a_stored_answer_does_not_show_a_new_key(client: httpx.AsyncClient, there: Room) -> None:
    """Proves: a new API key can be asked for again by its Idempotency-Key, and is still in no table."""
    headers = {"Idempotency-Key": "new key"}
    first = (await client.post("/v1/api-keys", json={"name": "x"}, headers=headers)).json()
    assert (await client.post("/v1/api-keys", json={"name": "x"}, headers=headers)).json() == first
    stored = await there.owner.fetchval("SELECT string_agg(body, '') FROM idempotent_requests")
    assert stored
    assert first["key"].encode() not in stored
    assert first["keyId"].encode() not in stored


@pytest.mark.parametrize("key", ["", "x" * 256, "a\x7f"])
async def test_request_keys_that_are_none(client: httpx.AsyncClient, key: str) -> None:
    """Proves: a key that is empty, too long or not printable is refused."""
    answer = await client.post("/v1/metrics", json={"code": "pages"}, headers={"Idempotency-Key": key})
    assert_problem(answer, 422, "invalid_idempotency_key")


async def test_commands_carry_their_key_to_the_core(client: httpx.AsyncClient, there: Room) -> None:
    """Proves: a grant sent twice with one key is one grant, and with another body a conflict."""
    async with core(there, client):
        body = {"amount": "10", "currency": "CNY", "kind": "paid"}
        headers = {"Idempotency-Key": "grant 1"}
        answers = [await client.post("/v1/customers/acme/grants", json=body, headers=headers) for _ in range(3)]
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.json()["grantId"] for answer in answers}) == 1
        other = await client.post("/v1/customers/acme/grants", json={**body, "amount": "11"}, headers=headers)
        assert_problem(other, 409, "idempotency_conflict")
        assert (await client.get("/v1/customers/acme/balance")).json()["available"] == "10"


async def test_known_duplicates_are_answered_without_the_core(client: httpx.AsyncClient, there: Room) -> None:
    """Proves: once a batch is committed, its repetition is answered while no core is there; a new event is refused, not kept waiting."""
    batch = {"events": [event("key-1"), event("key-2")]}
    async with core(there, client):
        await there.grant("acme", "10")
        first = (await client.post("/v1/usage-events", json=batch)).json()
        assert (first["accepted"], first["charged"], first["balances"]) == (2, "2", {"acme": "8"})
    await asyncio.sleep(5.5)
    again = (await client.post("/v1/usage-events?results=all", json=batch)).json()
    assert (again["accepted"], again["duplicates"], again["charged"]) == (0, 2, "0")
    assert [result["charge"] for result in again["results"]] == ["1", "1"]
    began = time.monotonic()
    answer = await client.post("/v1/usage-events", json={"events": [event("key-3")]})
    assert_problem(answer, 503, "core_unavailable")
    assert answer.headers["retry-after"] == "1"
    assert time.monotonic() - began < 1


async def test_a_conflict_is_never_taken_for_a_duplicate(client: httpx.AsyncClient, there: Room) -> None:
    """Proves: the same key with another payload is a conflict, whoever answers: Redis, or the ledger after a flush."""
    async with core(there, client):
        await there.grant("acme", "10")
        await client.post("/v1/usage-events", json={"events": [event("key-1")]})
        for flush in (False, True):
            if flush:
                await there.redis.command("FLUSHALL")
            answer = (await client.post("/v1/usage-events", json={"events": [event("key-1", quantity="2000")]})).json()
            assert answer["results"][0]["outcome"] == "conflict"
            assert answer["rejected"] == 1


async def test_more_batches_than_allowed_are_refused_at_once(client: httpx.AsyncClient, there: Room) -> None:
    """Proves: with two batches in flight a third gets 429 with Retry-After, and room is made again when they end."""
    await there.redis.command("SET", "{p0}:core", "1:1", "PX", 60_000)
    waiting = [asyncio.create_task(client.post("/v1/usage-events", json={"events": [event(f"key-{n}")]}, timeout=30)) for n in range(2)]
    await asyncio.sleep(0.5)
    began = time.monotonic()
    refused = await client.post("/v1/usage-events", json={"events": [event("key-3")]})
    assert_problem(refused, 429, "overloaded")
    assert refused.headers["retry-after"] == "1"
    assert time.monotonic() - began < 0.5
    assert (await client.get("/v1/metrics")).status_code == 200, "other requests go on"
    for answer in await asyncio.gather(*waiting):
        assert_problem(answer, 503, "outcome_unknown")
    async with core(there, client):
        # Both were still in the inbox: what came of them is found out by repeating them.
        await there.grant("acme", "10")
        answer = await client.post("/v1/usage-events", json={"events": [event("key-4")]})
        assert answer.json()["accepted"] == 1


async def test_ready_means_database_core_and_chain(client: httpx.AsyncClient, there: Room) -> None:
    """Proves: /readyz names what is missing: the core, then nothing, then the commits that a signed head vouches for."""
    assert "no core holds it" in (await client.get("/readyz")).json()["reasons"][0]
    path = there.settings.heads_file
    assert path is not None
    async with core(there, client):
        await there.grant("acme", "10")
        await asyncio.sleep(0.4)
        assert (await client.get("/readyz")).json() == {"ready": True, "reasons": []}
        key = there.settings.ledger_key
        row = await there.owner.fetchrow("SELECT commit_seq, head FROM partitions WHERE partition_id = 0")
        later = row["commit_seq"] + 5
        heads.write(path, {0: heads.Head(0, later, bytes(32), heads.sign(key, 0, later, bytes(32)))})
        await asyncio.sleep(0.4)
        cut = await client.get("/readyz")
        assert_problem(cut, 503, "not_ready")
        assert f"before {later}" in cut.json()["detail"]
        path.unlink()
        heads.write(path, {0: heads.Head(0, row["commit_seq"], row["head"], bytes(32))})
        await asyncio.sleep(0.4)
        assert "not signed" in (await client.get("/readyz")).json()["detail"]
        path.unlink()


async def test_every_answer_has_a_request_id_and_errors_have_one_form(client: httpx.AsyncClient) -> None:
    """Proves: requests can be found in the logs by what the client was given, whatever came of them."""
    for method, path, status in (
        ("GET", "/healthz", 200),
        ("HEAD", "/healthz", 200),
        ("POST", "/healthz", 405),
        ("GET", "/nothing", 404),
        ("PATCH", "/v1/metrics", 405),
        ("HEAD", "/v1/metrics", 200),
        ("GET", "/v1/metrics?x=1", 422),
        ("GET", "/api/openapi", 200),
        ("GET", "/metrics", 200),
    ):
        answer = await client.request(method, path)
        assert answer.status_code == status, (method, path)
        assert answer.headers["x-request-id"].startswith("req_")
        if status >= 400:
            assert assert_problem(answer, status)["requestId"] == answer.headers["x-request-id"]
        if method == "HEAD":
            assert not answer.content


async def test_a_body_that_stops_arriving(client: httpx.AsyncClient) -> None:
    """Proves: a body that is not complete in its time gets 408, and the connection is closed."""

    async def body() -> AsyncIterator[bytes]:
        yield b'{"code":'
        await asyncio.sleep(3)
        yield b'"pages"}'

    answer = await client.post("/v1/metrics", content=body(), headers={"Content-Type": "application/json"})
    assert_problem(answer, 408, "request_timeout")
    assert answer.headers["connection"] == "close"


async def test_without_postgresql_and_redis(settings: Settings) -> None:
    """Proves: an edge starts before what it needs, answers 503, and shows no stack trace."""
    edge = create_app(settings.replace(database_url="postgresql://nobody@127.0.0.1:1/none", redis_url="redis://127.0.0.1:1/0"))
    await edge.start()
    try:
        key = keys.generate(settings.api_key_pepper, "live")
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=edge), base_url="http://edge") as client:
            answer = await client.get("/v1/metrics", headers={"Authorization": f"Bearer {key}"})
            assert_problem(answer, 503, "database_unavailable")
            assert "Traceback" not in answer.text
            ready = await client.get("/readyz")
            assert_problem(ready, 503, "not_ready")
            assert {reason.split(":")[0] for reason in ready.json()["reasons"]} == {"redis", "database"}
            assert (await client.get("/healthz")).status_code == 200
    finally:
        await edge.stop()


async def test_the_document_describes_every_route(client: httpx.AsyncClient) -> None:
    """Proves: every operation has a summary, a tag, its success, and each error as problem+json with an example."""
    document: dict[str, Any] = json.loads((await client.get("/api/openapi")).content)
    seen = 0
    for item in document["paths"].values():
        for operation in item.values():
            seen += 1
            assert operation["summary"]
            assert operation["tags"]
            assert any(status.startswith("2") for status in operation["responses"])
            for status, response in operation["responses"].items():
                if not status.startswith("2"):
                    problem = response["content"]["application/problem+json"]
                    codes = [one["$ref"].rpartition("/")[2] for one in problem["examples"].values()]
                    assert codes
                    assert all(str(document["components"]["examples"][code]["value"]["status"]) == status for code in codes)
            assert {"401", "500", "503"} <= set(operation["responses"])
    assert seen >= 20
