"""Bodies that are too large, too slow or packed in a dangerous way, keys that do not exist, and what may be seen of secrets."""

from __future__ import annotations

import gzip
import json
import secrets
import socket
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from tests.product import Merchant, Product, assert_problem, event

BATCH = "/v1/usage-events"


def compressed(merchant: Merchant, content: bytes, encoding: str = "gzip") -> httpx.Response:
    """A batch with a Content-Encoding."""
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    return merchant.client().post(BATCH, content=content, headers=headers)


def exchange(port: int, request: bytes, *, timeout_s: float = 30) -> bytes:
    """Sends raw bytes and reads until the server closes or nothing more comes."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
        connection.sendall(request)
        received = b""
        while True:
            try:
                part = connection.recv(65536)
            except (TimeoutError, ConnectionResetError):
                return received
            received += part
            head, _, body = received.partition(b"\r\n\r\n")
            length = [int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
            if not part or (length and len(body) >= length[0]):
                return received


def test_gzip_bodies_are_taken(merchant: Merchant) -> None:
    """Proves: a compressed batch is the same as a plain one."""
    answer = compressed(merchant, gzip.compress(json.dumps({"events": [event(), event()]}).encode()))
    assert answer.status_code == 200, answer.text
    assert answer.json()["accepted"] == 2


def test_a_gzip_bomb_is_cut_off(merchant: Merchant) -> None:
    """Proves: 1 GiB of zeros in 1 MiB of gzip gets 413 at once, and no edge grows by it."""
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(1024)) + packer.flush()
    edges = [psutil.Process(pid) for pid in merchant.product.pids("edge")]
    before = sum(edge.memory_info().rss for edge in edges)
    started = time.monotonic()
    assert_problem(compressed(merchant, bomb), 413, "body_too_large")
    assert time.monotonic() - started < 5
    assert sum(edge.memory_info().rss for edge in edges) - before < 100 * 2**20


@pytest.mark.parametrize("content", [b"not gzip at all", gzip.compress(b'{"events": []}')[:-6], gzip.compress(b"{}") + b"rest"])
def test_broken_gzip(merchant: Merchant, content: bytes) -> None:
    """Proves: bytes that are not the gzip they claim to be get 400."""
    assert_problem(compressed(merchant, content), 400)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "x-unknown"])
def test_other_encodings(merchant: Merchant, encoding: str) -> None:
    """Proves: an encoding that is not gzip gets 415, not garbage."""
    assert_problem(compressed(merchant, gzip.compress(b"{}"), encoding), 415, "unsupported_encoding")


@pytest.mark.parametrize("path", [BATCH, "/v1/customers/acme/grants", "/v1/rate-cards"])
def test_a_body_of_100_mb_is_refused_early(merchant: Merchant, path: str) -> None:
    """Proves: a Content-Length of 100 MB gets 413 before the body is sent."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {merchant.sandbox_key}\r\nContent-Type: application/json\r\n"
    started = time.monotonic()
    answer = exchange(merchant.product.port, (head + "Content-Length: 104857600\r\n\r\n").encode() + b" " * 1000)
    assert answer.split(b"\r\n")[0].split()[1] == b"413", answer[:300]
    assert b"body_too_large" in answer
    assert time.monotonic() - started < 5


def test_a_chunked_body_of_100_mb_is_cut_off(merchant: Merchant) -> None:
    """Proves: without a Content-Length the body is counted while it comes, and cut off at the limit."""

    def chunks() -> object:
        for _ in range(1600):
            yield b" " * 65536

    try:
        answer = merchant.client().post(BATCH, content=chunks(), headers={"Content-Type": "application/json"})  # type: ignore[arg-type]
    except httpx.TransportError:
        return  # the server closed the connection while the body was still being sent
    assert_problem(answer, 413, "body_too_large")


def test_a_body_sent_byte_by_byte_times_out(merchant: Merchant) -> None:
    """Proves: one byte a second gets 408 after the body's time, and the connection is closed."""
    head = f"POST {BATCH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {merchant.sandbox_key}\r\nContent-Type: application/json\r\n"
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", merchant.product.port), timeout=2) as connection:
        connection.sendall((head + "Content-Length: 1000\r\n\r\n").encode())
        received = b""
        connection.settimeout(1)
        while time.monotonic() - started < 30 and b"\r\n\r\n" not in received:
            try:
                connection.sendall(b" ")
                received += connection.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                break
    assert received.split(b"\r\n")[0].split()[1] == b"408", received
    assert 5 < time.monotonic() - started < 25


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml", ""])
def test_other_content_types(merchant: Merchant, content_type: str) -> None:
    """Proves: a body that is not declared as JSON gets 415."""
    answer = merchant.client().post("/v1/customers/acme/grants", content=b'{"amount":"1"}', headers={"Content-Type": content_type})
    assert_problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Basic abc", "Bearer bm_test_nothing", "Bearer " + "x" * 5000, "bearer bm_live_\u00e9"]
)
def test_requests_without_a_good_key(product: Product, authorization: str | None) -> None:
    """Proves: a missing, malformed or unknown key gets 401."""
    headers = {} if authorization is None else {b"Authorization": authorization.encode("latin-1")}
    answer = httpx.get(f"{product.url}/v1/customers/acme/balance", headers=headers, trust_env=False)  # type: ignore[arg-type]
    assert answer.status_code in (401, 431), answer.text
    if answer.status_code == 401:
        assert_problem(answer, 401)
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_flood_of_random_keys(product: Product, merchant: Merchant) -> None:
    """Proves: thousands of made-up keys get 401, leave no row, fill no log and grow no memory."""
    tables = "SELECT (SELECT count(*) FROM api_keys) + (SELECT count(*) FROM idempotent_requests) + (SELECT count(*) FROM tenants)"
    before = product.sql.value(tables)
    edges = [psutil.Process(pid) for pid in product.pids("edge")]
    memory, log = sum(edge.memory_info().rss for edge in edges), len(product.logs())

    def knock(_: int) -> set[int]:
        with httpx.Client(base_url=product.url, trust_env=False) as client:
            keys = (f"bm_test_{secrets.token_urlsafe(32)}" for _ in range(500))
            return {client.get("/v1/customers/acme/balance", headers={"Authorization": f"Bearer {key}"}).status_code for key in keys}

    with ThreadPoolExecutor(4) as pool:
        seen = set().union(*pool.map(knock, range(6)))
    assert seen <= {401, 429}, seen
    assert 401 in seen
    assert product.sql.value(tables) == before
    assert sum(edge.memory_info().rss for edge in edges) - memory < 50 * 2**20
    assert len(product.logs()) - log < 200_000
    assert merchant.balance()["available"] == "100", "a good key still works"


def test_a_revoked_key_is_out_within_a_second(merchant: Merchant) -> None:
    """Proves: a second key works, and one second after its revocation no edge takes it."""
    made = merchant.ok("POST", "/v1/api-keys", {"name": "second"})
    key = str(made["key"])
    path = "/v1/customers/acme/balance"
    for _ in range(10):
        assert httpx.get(merchant.product.url + path, headers={"Authorization": f"Bearer {key}"}, trust_env=False).status_code == 200
    revoked = merchant.call("POST", f"/v1/api-keys/{made['keyId']}/revoke", {})
    assert revoked.is_success, revoked.text
    time.sleep(1.05)
    for _ in range(20):
        answer = httpx.get(merchant.product.url + path, headers={"Authorization": f"Bearer {key}"}, trust_env=False)
        assert_problem(answer, 401, "invalid_api_key")


def test_a_rotated_key_overlaps(merchant: Merchant) -> None:
    """Proves: after a rotation both keys work until the overlap ends."""
    made = merchant.ok("POST", "/v1/api-keys", {"name": "old"})
    rotated = merchant.ok("POST", f"/v1/api-keys/{made['keyId']}/rotate", {"overlapSeconds": 2})
    for key in (made["key"], rotated["key"]):
        assert merchant.call("GET", "/v1/customers/acme/balance", key=str(key)).status_code == 200
    time.sleep(3.2)
    assert merchant.call("GET", "/v1/customers/acme/balance", key=str(made["key"])).status_code == 401
    assert merchant.call("GET", "/v1/customers/acme/balance", key=str(rotated["key"])).status_code == 200


def test_unknown_paths_and_methods(merchant: Merchant) -> None:
    """Proves: a path that does not exist gets 404, a method that a path does not have 405 with Allow."""
    assert_problem(merchant.call("GET", "/v1/no-such-thing"), 404, "not_found")
    answer = merchant.call("DELETE", BATCH)
    assert_problem(answer, 405, "method_not_allowed")
    assert "POST" in answer.headers["allow"]


def test_no_secret_is_written_down(product: Product, new_merchant: Callable[..., Merchant]) -> None:
    """Proves: API keys are in no log and in no table; the database knows a hash and a short prefix."""
    merchant = new_merchant()
    merchant.grant("5")
    merchant.usage(event())
    merchant.call("GET", "/v1/customers/none/balance")
    log = product.logs()
    for key in (merchant.sandbox_key, merchant.live_key):
        assert key not in log
        assert key[8:] not in log
        rows = product.sql.fetch(
            "SELECT prefix, key_hash FROM api_keys k JOIN tenants t USING (tenant_id) WHERE t.merchant_id = $1", merchant.merchant_id
        )
        assert all(len(row["prefix"]) <= 20 and len(row["key_hash"]) == 32 for row in rows)
    secret = (product.data_dir / "secret").read_text().strip() if (product.data_dir / "secret").exists() else ""
    assert not secret or secret not in log


def test_private_files_are_private(product: Product) -> None:
    """Proves: what `up` writes with secrets in it can be read by its owner only."""
    assert (product.data_dir / "run.json").stat().st_mode & 0o077 == 0


def test_a_field_named_twice_is_refused(merchant: Merchant, tmp_path: Path) -> None:
    """Proves: where JSON names a field twice, at any depth and however it is written, nothing is decided by the first or the last of
    them: a grant, a price, a hold; neither through the API nor by a card in a file."""
    line = '{"metric": "images", "price": "1", "price": "2"}'
    rate_card = f'{{"name": "x", "currency": "CNY", "charges": [{{"metric": "tokens_input", "price": "1"}}, {line}]}}'
    grant = '"currency": "CNY", "kind": "paid"'
    used = '{"metric": "images", "quantity": "1", "quantity": "2"}'
    for path, body, param in (
        ("/v1/customers/acme/grants", f'{{"amount": "1", {grant}, "amount": "1000"}}', "amount"),
        ("/v1/customers/acme/grants", f'{{"amount": "1", {grant}, "\\u0061mount": "1000"}}', "amount"),
        ("/v1/rate-cards", rate_card, "charges[1].price"),
        ("/v1/customers/acme/holds", f'{{"ttlSeconds": 60, "events": [{used}]}}', "events[0].quantity"),
        ("/v1/customers/acme/holds", '{"amount": "1", "ttlSeconds": 1, "ttlSeconds": 99}', "ttlSeconds"),
    ):
        answer = merchant.client().post(path, content=body, headers={"Content-Type": "application/json"})
        problem = assert_problem(answer, 422, "invalid_body")
        assert (problem["param"], "named twice" in str(problem["detail"])) == (param, True), problem
    assert len(merchant.ok("GET", "/v1/rate-cards")["data"]) == 1
    file = tmp_path / "card.json"
    file.write_text(rate_card)
    environment = {"BUFFMONEY_URL": merchant.product.url, "BUFFMONEY_API_KEY": merchant.sandbox_key}
    for command in (("simulate", "--card"), ("create", "--file"), ("create", "--draft", "--file")):
        done = merchant.product.cli("rate-cards", *command, str(file), check=False, **environment)
        assert (done.returncode, "charges[1].price is named twice" in done.stderr) == (1, True), done.stderr
    assert len(merchant.ok("GET", "/v1/rate-cards")["data"]) == 1


def test_an_idempotency_key_on_usage_is_refused(merchant: Merchant) -> None:
    """Proves: whoever sends the header expects that it counts; it does not, so nothing is taken, and the sentence says what to do. The
    document tells it, and asks for the header wherever it counts."""
    merchant.grant("10")
    before = merchant.stored()
    for key in ("order-1", ""):
        answer = merchant.client().post(BATCH, json={"events": [event()]}, headers={"Idempotency-Key": key})
        problem = assert_problem(answer, 422, "unexpected_idempotency_key")
        assert problem["param"] == "Idempotency-Key"
    assert merchant.stored() == before
    operation = merchant.client().get("/api/openapi").json()["paths"][BATCH]["post"]
    assert "unexpected_idempotency_key" in operation["responses"]["422"]["description"]
    assert "`Idempotency-Key` is refused" in operation["description"]
    assert "Idempotency-Key" not in [one["name"] for one in operation["parameters"]]
    assert merchant.usage(event())["accepted"] == 1
