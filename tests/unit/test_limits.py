"""Proves that bodies are bounded in size and time however they arrive, and that refused ones leave the connection usable if cheap."""

from __future__ import annotations

import asyncio
import gzip
import itertools
from typing import Any

import pytest

from buffmoney.base.errors import Problem
from buffmoney.edge import limits


def receiver(*messages: dict[str, Any], delay_s: float = 0.0) -> Any:
    """An ASGI receive that gives these messages, then waits for ever."""
    rest = iter(messages)

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(delay_s)
        for message in rest:
            return message
        await asyncio.Event().wait()
        raise AssertionError

    return receive


def part(body: bytes, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_a_body_in_parts() -> None:
    reader = limits.BodyReader(1)
    assert await reader.read(receiver(part(b"ab", True), part(b"cd", True), part(b"", False)), "identity", 10) == b"abcd"
    assert await reader.read(receiver(part(b"abcd", False)), "identity", 10) == b"abcd"


@pytest.mark.parametrize("sizes", [[11], [5, 6], [5, 5, 1], [1] * 11])
async def test_a_body_above_the_limit(sizes: list[int]) -> None:
    reader = limits.BodyReader(1)
    messages = [part(b"x" * size, position + 1 < len(sizes)) for position, size in enumerate(sizes)]
    with pytest.raises(Problem) as refused:
        await reader.read(receiver(*messages), "identity", 10)
    assert refused.value.code == "body_too_large"


async def test_the_time_is_for_the_whole_body() -> None:
    """Parts that each come in time do not keep a body open for ever."""
    reader = limits.BodyReader(0.2)
    began = asyncio.get_running_loop().time()
    with pytest.raises(Problem) as refused:
        await reader.read(receiver(*[part(b"x", True)] * 100, delay_s=0.03), "identity", 1_000)
    assert refused.value.code == "request_timeout"
    assert asyncio.get_running_loop().time() - began < 0.5


async def test_a_client_that_leaves() -> None:
    with pytest.raises(limits.ClientGoneError):
        await limits.BodyReader(1).read(receiver(part(b"x", True), {"type": "http.disconnect"}), "identity", 10)


async def test_arriving_bodies_share_a_memory() -> None:
    reader = limits.BodyReader(5)
    with reader.account(bytes(limits.BUFFERED_BODIES_BYTES)), pytest.raises(Problem) as refused:
        await reader.read(receiver(part(b"x", True), part(b"x", False)), "identity", limits.BUFFERED_BODIES_BYTES)
    assert refused.value.code == "overloaded"
    assert await reader.read(receiver(part(b"x", True), part(b"x", False)), "identity", limits.BUFFERED_BODIES_BYTES) == b"xx"


@pytest.mark.parametrize("size", [0, 1, 999, 1_000])
def test_gunzip(size: int) -> None:
    content = b"x" * size
    assert limits.gunzip(gzip.compress(content), 1_000) == content
    assert limits.gunzip(gzip.compress(content[: size // 2]) + gzip.compress(content[size // 2 :]), 1_000) == content


def test_gunzip_never_makes_more_than_the_limit() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    for data in (bomb, gzip.compress(b"x" * 600) * 2, gzip.compress(b"x" * 1_001)):
        with pytest.raises(Problem) as refused:
            limits.gunzip(data, 1_000)
        assert refused.value.code == "body_too_large"


@pytest.mark.parametrize("data", [b"nothing", gzip.compress(b"{}")[:-3], gzip.compress(b"{}") + b"rest", b"\x1f\x8b"])
def test_broken_gzip(data: bytes) -> None:
    with pytest.raises(Problem) as refused:
        limits.gunzip(data, 1_000)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "unsupported_media_type"),
        ({b"content-type": b"text/plain"}, "unsupported_media_type"),
        ({b"content-type": b"application/json", b"content-encoding": b"br"}, "unsupported_encoding"),
        ({b"content-type": b"application/json", b"content-encoding": b"gzip, gzip"}, "unsupported_encoding"),
        ({b"content-type": b"application/json", b"content-length": b"1001"}, "body_too_large"),
        ({b"content-type": b"application/json", b"content-length": b"-1"}, "invalid_header"),
        ({b"content-type": b"application/json", b"content-length": b"9" * 5_000}, "invalid_header"),
    ],
)
def test_what_headers_give_away(headers: dict[bytes, bytes], code: str) -> None:
    with pytest.raises(Problem) as refused:
        limits.check_headers(headers, 1_000)
    assert refused.value.code == code


def test_good_headers() -> None:
    assert limits.check_headers({b"content-type": b"Application/JSON; charset=utf-8", b"content-length": b"1000"}, 1_000) == "identity"
    assert limits.check_headers({b"content-type": b"application/json", b"content-encoding": b"GZIP"}, 1_000) == "gzip"


async def test_draining() -> None:
    assert await limits.drain(limits.Incoming(receiver()), {})
    assert await limits.drain(limits.Incoming(receiver(part(b"x", True), part(b"x", False))), {b"content-length": b"2"})
    assert not await limits.drain(limits.Incoming(receiver()), {b"content-length": b"999999999"})
    endless = receiver(*itertools.repeat(part(bytes(100_000), True), 10))
    assert not await limits.drain(limits.Incoming(endless), {b"transfer-encoding": b"chunked"})


async def test_a_body_that_was_read_is_not_waited_for() -> None:
    incoming = limits.Incoming(receiver(part(b"xx", False)))
    assert await limits.BodyReader(1).read(incoming, "identity", 10) == b"xx"
    began = asyncio.get_running_loop().time()
    assert await limits.drain(incoming, {b"content-length": b"2"})
    assert asyncio.get_running_loop().time() - began < 0.1


def test_a_budget_is_given_back() -> None:
    budget = limits.Budget(1)
    with budget.one():
        assert budget.exhausted
        with pytest.raises(Problem) as refused, budget.one():
            pass
        assert refused.value.code == "overloaded"
    assert not budget.exhausted
