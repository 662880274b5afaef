"""OpenAPI 3.1 from the routes: nothing is described twice, so nothing can be described wrongly.

Paths, parameters and error codes come from the routes, schemas from their wire structs, examples from answers that a real BuffMoney gave
(`examples.json`, recorded by `python -m tests.api_examples`).
"""

from __future__ import annotations

import re
from importlib import resources
from typing import Any

import msgspec

import buffmoney
from buffmoney.base.errors import CODES
from buffmoney.base.http import Route
from buffmoney.edge import schemas

_EXAMPLE_REQUEST_ID = "req_0197a1b2c3d4e5f60718293a4b5c6d7e"

_ALWAYS = ("internal_error", "invalid_request", "uri_too_long", "unknown_field", "invalid_parameter", "shutting_down")
_WITH_KEY = ("missing_api_key", "invalid_api_key", "database_unavailable")
_WITH_PATH_PARAMETERS = ("not_found",)
_WITH_REQUEST = (
    "invalid_header",
    "malformed_json",
    "request_timeout",
    "body_too_large",
    "unsupported_media_type",
    "unsupported_encoding",
    "invalid_body",
    "missing_field",
    "invalid_idempotency_key",
    "overloaded",
)
_WITH_CORE = ("redis_unavailable", "core_unavailable", "outcome_unknown", "overloaded")
_STORED = ("idempotency_conflict", "idempotency_in_progress")

_DESCRIPTION = """\
Usage in batches of up to 500 events, rated, deducted from prepaid balances and written to an append-only ledger, exactly once.

**Amounts and quantities** are decimal strings, times are RFC 3339, names are camelCase. A field that a request does not know is refused.

**API keys** are sent as `Authorization: Bearer bm_test_…` or `bm_live_…`; the key decides whose data a request sees, and sandbox and live
share nothing.

**Errors** are RFC 9457 `application/problem+json`. `code` is stable: decide by it. `retryable` says whether the same request may succeed
later; 429 and 503 carry `Retry-After`.

**Repeat** a request after 429, 503 or a lost connection as it was: usage events carry their own keys, and every other POST takes an
`Idempotency-Key`. The same key with the same body gives the first answer again, with another body 409.

**Lists** are paged by cursor: give `nextCursor` as `cursor` until it is null.
"""

_TAGS = {
    "Usage": "Events that were used, what they were charged, and their sums.",
    "Corrections": "Events taken back, one by one or many at once. Nothing that is stored changes: a correction is a posting of its own.",
    "Customers": "Those who pay, by your own ids, and the settings of their wallets.",
    "Wallets": "Money given to a customer, what is left of it, and every posting that moved it.",
    "Holds": "Money set aside before work is done, and captured for what the work came to.",
    "Pricing": "Products, metrics and rate cards, and which customer meets which card.",
    "Top-ups": "What customers buy: orders, the hosted checkout, promotions.",
    "Refunds": "Payments given back, whole or in part.",
    "Cash book": "What the payment channels collected and whose it is, and what people have to look at.",
    "API keys": "Keys of the merchant in the mode of the key that asks.",
    "Billing period": "When the merchant's billing periods begin.",
    "Audit log": "Who changed what.",
}

PROBLEM_SCHEMA: schemas.Schema = {
    "type": "object",
    "description": "An error (RFC 9457).",
    "properties": {
        "type": {"type": "string", "description": "`urn:buffmoney:problem:` and the code.", "format": "uri"},
        "title": {"type": "string", "description": "What the code means."},
        "status": {"type": "integer", "description": "The HTTP status.", "minimum": 400, "maximum": 599},
        "code": {"type": "string", "description": "Stable: decide by it.", "pattern": "^[a-z0-9_]+$"},
        "detail": {"type": "string", "description": "One sentence for the developer; its words may change."},
        "param": {"type": "string", "description": "The field, parameter or header at fault."},
        "requestId": {"type": "string", "description": "Names this request in our logs.", "pattern": "^req_[0-9a-f]{32}$"},
        "retryable": {"type": "boolean", "description": "The same request may succeed later without a change."},
        "results": {
            "type": "array",
            "items": {"$ref": "#/components/schemas/EventResult"},
            "description": "Where events are to blame: what is wrong with each.",
        },
        "refundable": {"type": "string", "format": "decimal", "description": "Of a refund that is too large: the most that is possible."},
    },
    "required": ["type", "title", "status", "code", "detail", "requestId", "retryable"],
}

_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Any text of yours that names this request for good. The same key and body again: the first answer again. The same key "
    "with another body: 409.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[\\x20-\\x7E]+$"},
}
_HEADERS = {
    "RequestId": {"description": "Names this request in our logs.", "schema": {"type": "string"}},
    "RetryAfter": {"description": "Seconds to wait before the same request is sent again.", "schema": {"type": "integer"}},
    "IdempotentReplayed": {"description": "`true` on an answer that is given again.", "schema": {"type": "string"}},
}


class Example(msgspec.Struct, frozen=True):
    """One request and its answer. path, query: parameters by name. key: of Idempotency-Key. body None: none."""

    path: dict[str, str]
    query: dict[str, str]
    key: str | None
    body: Any
    answer: Any


def examples() -> dict[str, Example]:
    """The recorded example of each operation, by its id."""
    text = resources.files("buffmoney.edge").joinpath("examples.json").read_bytes()
    return msgspec.json.decode(text, type=dict[str, Example])


def document(routes: tuple[Route, ...]) -> dict[str, Any]:
    """The OpenAPI document as plain data."""
    by_kind, components = schemas.schemas_of(
        dict.fromkeys(kind for route in routes for kind in (route.answer, route.body) if kind is not None)
    )
    recorded = examples()
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_kind, recorded.get(operation_id(route)))
    codes = sorted({code for route in routes for code in error_codes(route)})
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "BuffMoney",
            "version": buffmoney.__version__,
            "summary": "Metering, prepaid balances and an append-only ledger for AI products.",
            "description": _DESCRIPTION,
            "contact": {"name": "BuffMoney"},
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "The server that this document comes from."}],
        "tags": [{"name": tag, "description": _TAGS[tag]} for tag in dict.fromkeys(route.tag for route in routes)],
        "security": [{"apiKey": []}],
        "paths": paths,
        "components": {
            "schemas": {**components, "Problem": PROBLEM_SCHEMA},
            "parameters": {"IdempotencyKey": _IDEMPOTENCY_KEY},
            "headers": _HEADERS,
            "examples": {code: {"summary": CODES[code].title, "value": _problem(code)} for code in codes},
            "securitySchemes": {
                "apiKey": {"type": "http", "scheme": "bearer", "description": "An API key, bm_live_… or bm_test_…: it decides the tenant."}
            },
        },
    }


def operation_id(route: Route) -> str:
    """The handler's name in camelCase."""
    first, *words = route.handler.__name__.split("_")
    return first + "".join(map(str.capitalize, words))


def error_codes(route: Route) -> tuple[str, ...]:
    """Every code that a route may answer with: its own, and those of the checks before its handler."""
    codes = [*route.errors, *_ALWAYS]
    if not route.public:
        codes += _WITH_KEY
    if "{" in route.path:
        codes += _WITH_PATH_PARAMETERS
    if route.method != "GET":
        codes += _WITH_REQUEST
    if route.raw or route.idempotency == "command":
        codes += _WITH_CORE
    if route.idempotency == "command":
        codes.append("idempotency_conflict")
    if route.idempotency == "stored":
        codes += _STORED
    return tuple(dict.fromkeys(codes))


def _operation(route: Route, by_kind: dict[Any, schemas.Schema], example: Example | None) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": operation_id(route),
        "summary": route.summary,
        "description": route.description,
        "tags": [route.tag],
        "parameters": _parameters(route, example),
        "responses": _responses(route, by_kind, example),
    }
    if route.public:
        operation["security"] = []
    if route.body is not None:
        content: dict[str, Any] = {"schema": by_kind[route.body]}
        if example is not None:
            content["example"] = example.body
        required = route.raw or any(one.required for one in msgspec.structs.fields(route.body))
        operation["requestBody"] = {"required": required, "content": {"application/json": content}}
    return operation


def _parameters(route: Route, example: Example | None) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = []
    for name in re.findall(r"\{([^}]+)\}", route.path):
        schema: schemas.Schema = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[^\x00-\x1F\x7F]+$"}
        described = schemas.GLOSSARY.get(name, "")
        parameters.append({"name": name, "in": "path", "required": True, "description": described, "schema": schema})
    if route.query is not None:
        for name, schema in schemas.parameters_of(route.query).items():
            required, described = schema.pop("required"), schema.pop("description", "")
            if schema.get("type") == "object":
                # One parameter an entry, `dimension.model=…`: OpenAPI cannot say it for any name, so the usual one stands for all.
                name, schema = f"{name}.model", {"type": "string"}
            parameters.append({"name": name, "in": "query", "required": required, "description": described, "schema": schema})
    if example is not None:
        given = {**example.path, **example.query}
        for parameter in parameters:
            if parameter["name"] in given:
                value = given[parameter["name"]]
                parameter["example"] = int(value) if parameter["schema"].get("type") == "integer" else value
    if route.idempotency in ("command", "stored"):
        parameters.append({"$ref": "#/components/parameters/IdempotencyKey"})
    return parameters


def _responses(route: Route, by_kind: dict[Any, schemas.Schema], example: Example | None) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": by_kind[route.answer]}
    if example is not None:
        content["example"] = example.answer
    headers = {"X-Request-Id": _header("RequestId")}
    if route.idempotency in ("command", "stored"):
        headers["Idempotent-Replayed"] = _header("IdempotentReplayed")
    responses: dict[str, Any] = {str(route.status): {"description": "Done.", "headers": headers, "content": {"application/json": content}}}
    by_status: dict[int, list[str]] = {}
    for code in error_codes(route):
        by_status.setdefault(CODES[code].status, []).append(code)
    for status, codes in sorted(by_status.items()):
        headers = {"X-Request-Id": _header("RequestId")}
        if status in (429, 503):
            headers["Retry-After"] = _header("RetryAfter")
        narrowed = {"type": "object", "properties": {"status": {"const": status}, "code": {"type": "string", "enum": sorted(codes)}}}
        responses[str(status)] = {
            "description": "; ".join(f"`{code}`: {CODES[code].title}" for code in codes) + ".",
            "headers": headers,
            "content": {
                "application/problem+json": {
                    "schema": {"allOf": [{"$ref": "#/components/schemas/Problem"}, narrowed]},
                    "examples": {code: {"$ref": f"#/components/examples/{code}"} for code in codes},
                }
            },
        }
    return responses


def _header(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/headers/{name}"}


def _problem(code: str) -> dict[str, Any]:
    registered = CODES[code]
    return {
        "type": f"urn:buffmoney:problem:{code}",
        "title": registered.title,
        "status": registered.status,
        "code": code,
        "detail": registered.title + ".",
        "requestId": _EXAMPLE_REQUEST_ID,
        "retryable": registered.retryable,
    }
