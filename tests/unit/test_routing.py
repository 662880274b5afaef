"""Proves that paths, queries and bodies become what handlers take, or one clear error."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest

from buffmoney.base.errors import Problem
from buffmoney.base.http import Answer, Call, Route
from buffmoney.edge.routing import Endpoint, RouteTable, decode_body, decode_query


class Body(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    amount: str
    due_at: str | None = None
    tags: list[str] = []


class Optional(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    amount: str | None = None


class Query(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50
    group_by: list[str] = []
    unit: Literal["hour", "day"] | None = None
    only: dict[str, str] = {}


async def handler(call: Call) -> Answer:
    return Answer(b"{}")


def route(method: Any, path: str, **more: Any) -> Route:
    return Route(method=method, path=path, handler=handler, summary="", tag="", answer=Body, **more)


TABLE = RouteTable(
    (
        route("GET", "/v1/things"),
        route("POST", "/v1/things", body=Body),
        route("GET", "/v1/things/{id}/parts", query=Query),
        route("GET", "/v1/things/all/parts"),
        route("POST", "/v1/things/{id}/close", body=Optional),
        route("POST", "/v1/things/{id}/open"),
    )
)


def refusal(action: Any, *arguments: Any) -> Problem:
    with pytest.raises(Problem) as refused:
        action(*arguments)
    return refused.value


@pytest.mark.parametrize(
    ("method", "path", "template", "parameters"),
    [
        ("GET", b"/v1/things", "/v1/things", {}),
        ("HEAD", b"/v1/things", "/v1/things", {}),
        ("GET", b"/v1/things/a%2Fb/parts", "/v1/things/{id}/parts", {"id": "a/b"}),
        ("GET", b"/v1/things/%E4%BD%A0/parts", "/v1/things/{id}/parts", {"id": "你"}),
        ("GET", b"/v1/things/all/parts", "/v1/things/all/parts", {}),
        ("POST", b"/v1/things/all/close", "/v1/things/{id}/close", {"id": "all"}),
    ],
)
def test_found(method: str, path: bytes, template: str, parameters: dict[str, str]) -> None:
    endpoint, found = TABLE.find(method, path)
    assert (endpoint.route.path, found) == (template, parameters)


@pytest.mark.parametrize(
    "path", [b"/", b"", b"/v1", b"/v1/things/", b"/v1/things//parts", b"/v1/things/a", b"/v1/things/a/parts/b", b"/V1/things"]
)
def test_not_found(path: bytes) -> None:
    assert refusal(TABLE.find, "GET", path).code == "not_found"


def test_other_methods() -> None:
    problem = refusal(TABLE.find, "DELETE", b"/v1/things")
    assert problem.code == "method_not_allowed"
    assert problem.extensions["allow"] == ["GET", "HEAD", "POST"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (b"/v1/things/%FF/parts", 400),
        (b"/v1/things/a%00/parts", 422),
        (b"/v1/things/" + b"a" * 256 + b"/parts", 422),
        (b"/" + b"a" * 5_000, 414),
    ],
)
def test_bad_paths(path: bytes, status: int) -> None:
    assert refusal(TABLE.find, "GET", path).status == status


PARTS: Endpoint = TABLE.find("GET", b"/v1/things/x/parts")[0]


def test_queries() -> None:
    assert decode_query(PARTS, b"") == Query()
    assert decode_query(PARTS, b"limit=7&groupBy=a&groupBy=b%20c&unit=day") == Query(7, ["a", "b c"], "day")
    assert decode_query(PARTS, b"only.model=m&only.tier=t") == Query(only={"model": "m", "tier": "t"})


@pytest.mark.parametrize(
    ("query", "code", "param"),
    [
        (b"limit=0", "invalid_parameter", "limit"),
        (b"limit=x", "invalid_parameter", "limit"),
        (b"limit=1&limit=2", "invalid_parameter", "limit"),
        (b"limit=1e2", "invalid_parameter", "limit"),
        (b"limit=%207", "invalid_parameter", "limit"),
        (b"only=1&only.model=2", "invalid_parameter", "only.model"),
        (b"only.=1", "invalid_parameter", "only."),
        (b"limit=", "invalid_parameter", "limit"),
        (b"unit=week", "invalid_parameter", "unit"),
        (b"merchantId=1", "unknown_field", "merchantId"),
        (b"unit=%00", "invalid_parameter", "unit"),
        (b"unit=%FF", "invalid_request", None),
    ],
)
def test_bad_queries(query: bytes, code: str, param: str | None) -> None:
    problem = refusal(decode_query, PARTS, query)
    assert (problem.code, problem.param) == (code, param)


def test_a_route_without_parameters_takes_none() -> None:
    assert refusal(decode_query, TABLE.find("GET", b"/v1/things")[0], b"a=1").code == "unknown_field"


THING = TABLE.find("POST", b"/v1/things")[0]


def test_bodies() -> None:
    assert decode_body(THING, b'{"amount":"1","dueAt":"x"}') == Body("1", "x")
    assert decode_body(TABLE.find("POST", b"/v1/things/x/close")[0], b"") == Optional()
    assert decode_body(TABLE.find("POST", b"/v1/things/x/open")[0], b" {} ".strip()) is None


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"", "malformed_json", None),
        (b"{", "malformed_json", None),
        (b'{"amount":NaN}', "malformed_json", None),
        (b'{"amount":1e400}', "malformed_json", None),
        (b'{"amount":"1","tags":[Infinity]}', "malformed_json", None),
        (b'{"amount":"\xff"}', "malformed_json", None),
        (b'{"amount":"\\ud800"}', "malformed_json", None),
        (b'{"tags":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "malformed_json", None),
        (b'{"amount":"\\u0000"}', "invalid_body", None),
        (b'{"amount":1}', "invalid_body", "amount"),
        (b'{"amount":"1","tags":["a",2]}', "invalid_body", "tags[1]"),
        (b'{"amount":"1","status":"open"}', "unknown_field", "status"),
        (b'{"dueAt":"x"}', "missing_field", "amount"),
        (b"[]", "invalid_body", None),
    ],
)
def test_bad_bodies(body: bytes, code: str, param: str | None) -> None:
    problem = refusal(decode_body, THING, body)
    assert (problem.code, problem.param) == (code, param)


def test_a_literal_backslash_is_no_nul() -> None:
    assert decode_body(THING, b'{"amount":"\\\\u0000"}') == Body("\\u0000")


def test_a_request_without_a_body_takes_none() -> None:
    assert refusal(decode_body, TABLE.find("POST", b"/v1/things/x/open")[0], b'{"a":1}').code == "unknown_field"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"amount": "1", "amount": "1000"}', "amount"),
        (b'{"amount": "1", "\\u0061mount": "1000"}', "amount"),
        (b'{"amount": "1", "dueAt": null, "tags": [], "dueAt": "x"}', "dueAt"),
    ],
)
def test_a_field_named_twice_is_an_error(body: bytes, param: str) -> None:
    """Proves: which of them would count is never asked."""
    endpoint, _ = TABLE.find("POST", b"/v1/things")
    problem = refusal(decode_body, endpoint, body)
    assert (problem.code, problem.status, problem.param) == ("invalid_body", 422, param)
