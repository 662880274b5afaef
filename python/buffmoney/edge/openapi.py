"""OpenAPI 3.1 from the routes: nothing is described twice, so nothing can be described wrongly."""

from __future__ import annotations

import re
from typing import Any

import msgspec

import buffmoney
from buffmoney.base.errors import CODES
from buffmoney.base.http import Route

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

PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "An error (RFC 9457). `code` is stable: decide by it. `retryable`: the same request may succeed later.",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "param": {"type": "string", "description": "The field, parameter or header at fault."},
        "requestId": {"type": "string"},
        "retryable": {"type": "boolean"},
    },
    "required": ["type", "title", "status", "code", "detail", "requestId", "retryable"],
}


def document(routes: tuple[Route, ...]) -> dict[str, Any]:
    """The OpenAPI document as plain data."""
    kinds: list[Any] = []
    for route in routes:
        kinds += [kind for kind in (route.answer, route.body) if kind is not None and kind not in kinds]
    schemas, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    by_kind = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_kind)
    tags = list(dict.fromkeys(route.tag for route in routes))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "BuffMoney",
            "version": buffmoney.__version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": (
                "Usage in batches of up to 500 events, rated, deducted from prepaid balances and written to an append-only ledger, exactly "
                "once. Amounts and quantities are decimal strings, times are RFC 3339. Repeat a request after 429, 503 or a lost "
                "connection: usage events carry their own keys, and every other POST takes an Idempotency-Key."
            ),
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in tags],
        "security": [{"apiKey": []}],
        "paths": paths,
        "components": {
            "schemas": {**components, "Problem": PROBLEM_SCHEMA},
            "securitySchemes": {
                "apiKey": {"type": "http", "scheme": "bearer", "description": "An API key, bm_live_… or bm_test_…: it decides the tenant."}
            },
        },
    }


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


def _operation(route: Route, by_kind: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": _parameters(route),
        "responses": _responses(route, by_kind),
    }
    if route.description:
        operation["description"] = route.description
    if route.public:
        operation["security"] = []
    if route.body is not None:
        content: dict[str, Any] = {"schema": by_kind[route.body]}
        if route.body_example is not None:
            content["example"] = route.body_example
        required = route.raw or any(one.required for one in msgspec.structs.fields(route.body))
        operation["requestBody"] = {"required": required, "content": {"application/json": content}}
    return operation


def _operation_id(route: Route) -> str:
    words = [word for word in re.split(r"[^A-Za-z0-9]+", route.path.removeprefix("/v1")) if word]
    return route.method.lower() + "".join(word[0].upper() + word[1:] for word in words)


def _parameters(route: Route) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = []
    for name in re.findall(r"\{([^}]+)\}", route.path):
        parameter: dict[str, Any] = {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[^\x00-\x1F\x7F]+$"},
        }
        if name in route.path_descriptions:
            parameter["description"] = route.path_descriptions[name]
        parameters.append(parameter)
    if route.query is not None:
        schema = _inline(route.query)
        for name, of in schema.get("properties", {}).items():
            plain = _without_null(of)
            if plain.get("type") == "object":
                # One parameter an entry, `dimension.model=…`: OpenAPI cannot say it for any name, so the usual one stands for all.
                name, plain = f"{name}.model", {"type": "string"}
            parameter = {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": plain}
            if "description" in of:
                parameter["description"] = of["description"]
            parameters.append(parameter)
    if route.idempotency in ("command", "stored"):
        parameters.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "description": "The same key and body again: the first answer again. The same key with another body: 409.",
                "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[\\x20-\\x7E]+$"},
            }
        )
    return parameters


def _inline(kind: type) -> dict[str, Any]:
    (schema,), components = msgspec.json.schema_components([kind], ref_template="{name}")
    inlined: dict[str, Any] = components[schema["$ref"]]
    return inlined


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    # A parameter is given or not; there is no null in a query string.
    schema = {name: value for name, value in schema.items() if not (name == "default" and value is None)}
    options = schema.get("anyOf")
    if options is None:
        return schema
    rest = [option for option in options if option != {"type": "null"}]
    if len(rest) != 1:
        return {**schema, "anyOf": rest}
    return {**{name: value for name, value in schema.items() if name != "anyOf"}, **rest[0]}


def _responses(route: Route, by_kind: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    request_id = {"X-Request-Id": {"description": "Names this request in our logs.", "schema": {"type": "string"}}}
    content: dict[str, Any] = {"schema": by_kind[route.answer]}
    if route.answer_example is not None:
        content["example"] = route.answer_example
    headers: dict[str, Any] = dict(request_id)
    if route.idempotency in ("command", "stored"):
        headers["Idempotent-Replayed"] = {"description": "`true` on an answer that is given again.", "schema": {"type": "string"}}
    responses: dict[str, Any] = {str(route.status): {"description": "Done.", "headers": headers, "content": {"application/json": content}}}
    by_status: dict[int, list[str]] = {}
    for code in error_codes(route):
        by_status.setdefault(CODES[code].status, []).append(code)
    for status in sorted(by_status):
        headers = dict(request_id)
        if status in (429, 503):
            headers["Retry-After"] = {"description": "Seconds to wait.", "schema": {"type": "integer"}}
        responses[str(status)] = {
            "description": "; ".join(f"`{code}`: {CODES[code].title}" for code in by_status[status]),
            "headers": headers,
            "content": {
                "application/problem+json": {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "examples": {code: {"value": _example(code)} for code in by_status[status]},
                }
            },
        }
    return responses


def _example(code: str) -> dict[str, Any]:
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
