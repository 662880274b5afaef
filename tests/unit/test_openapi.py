"""The API's document: every word of it there, its examples as it says, and nothing that breaks who builds on the last release."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from buffmoney.base.errors import CODES
from buffmoney.edge import openapi, schemas
from buffmoney.edge.app import ROUTES
from tests.api_changes import RELEASED, breaking, current, skeleton
from tests.described import Described

DOCUMENT = current()


def test_nothing_is_left_undescribed() -> None:
    """Proves: every operation, parameter, schema and field says what it is, and every schema is of a kind."""
    missing = [
        f"{operation.method} {operation.path}"
        for operation in Described(DOCUMENT).operations.values()
        if not operation.words["description"]
    ]
    for operation in Described(DOCUMENT).operations.values():
        missing += [
            f"{operation.path} {one['name']}" for one in operation.words["parameters"] if "$ref" not in one and not one["description"]
        ]
    for name, schema in DOCUMENT["components"]["schemas"].items():
        missing += [name] if not schema.get("description") else []
        for field, of in schema.get("properties", {}).items():
            if not of.get("description") or not of.keys() & {"type", "$ref", "anyOf"}:
                missing.append(f"{name}.{field}")
    assert missing == []


def test_operations_are_called_by_one_name_each() -> None:
    """Proves: operationIds are unique names that a typed client can have as they are."""
    names = [openapi.operation_id(route) for route in ROUTES if route.documented]
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() and name[0].islower() for name in names)


def test_examples_are_as_described() -> None:
    """Proves: every operation has a recorded example whose request and answer fit its schemas, and every error code one of Problem."""
    described, recorded = Described(DOCUMENT), openapi.examples()
    assert set(recorded) == set(described.operations), "record them: python -m tests.api_examples"
    for route in ROUTES:
        if route.documented:
            example = recorded[openapi.operation_id(route)]
            described.request(openapi.operation_id(route), example.body)
            described.answer(openapi.operation_id(route), route.status, example.answer)
    for name, operation in described.operations.items():
        for status, response in operation.words["responses"].items():
            for code in response["content"].get("application/problem+json", {}).get("examples", {}):
                described.answer(name, int(status), DOCUMENT["components"]["examples"][code]["value"])


def test_the_judge_sees_what_is_wrong() -> None:
    """Proves: an answer with a field too many, a field too few, a wrong form or an undocumented code is found."""
    described, good = Described(DOCUMENT), openapi.examples()["getCustomer"].answer
    problem = DOCUMENT["components"]["examples"]["unknown_customer"]["value"]
    wrong: list[tuple[int, Any]] = [
        (200, {**good, "surprise": 1}),
        (200, {name: value for name, value in good.items() if name != "currency"}),
        (200, {**good, "createdAt": "yesterday"}),
        (200, {**good, "lowBalanceThreshold": "1e3"}),
        (404, {**problem, "code": "hold_not_found"}),
        (418, problem),
    ]
    described.answer("getCustomer", 200, good)
    described.answer("getCustomer", 404, problem)
    for status, body in wrong:
        with pytest.raises(AssertionError):
            described.answer("getCustomer", status, body)


def test_docstrings_become_descriptions() -> None:
    """Proves: what a docstring says of fields is told of them, what it says of none of them of the whole."""
    text = """A card. price, per: what it costs; version null: a draft.
    to: until when, itself not in it. match: see `to: x`, or a-z: any."""
    whole, fields = schemas.sentences(text, ["price", "per", "version", "to", "match"])
    assert whole == "A card."
    assert fields == {
        "price": "What it costs.",
        "per": "What it costs.",
        "version": "Null: a draft.",
        "to": "Until when, itself not in it.",
        "match": "See `to: x`, or a-z: any.",
    }
    assert schemas.sentences("Nothing of fields: at all", ["x"]) == ("Nothing of fields: at all.", {})
    assert schemas.sentences("", []) == ("", {})


def test_codes_are_told_with_the_status_they_have() -> None:
    """Proves: each code of each route stands at its own status, as one of the values that `code` may have there."""
    for route in (route for route in ROUTES if route.documented):
        responses = DOCUMENT["paths"][route.path][route.method.lower()]["responses"]
        told = {
            (code, int(status))
            for status, response in responses.items()
            for content in response["content"].values()
            if "allOf" in content["schema"]
            for code in content["schema"]["allOf"][1]["properties"]["code"]["enum"]
        }
        assert told == {(code, CODES[code].status) for code in openapi.error_codes(route)}


# ---------------------------------------------------------------------------------------------------- incompatible changes


def test_nothing_that_was_released_is_broken() -> None:
    """Proves: who was written for the last released document goes on working. If a break is meant: `python -m tests.api_changes`."""
    assert breaking(json.loads(RELEASED.read_text()), skeleton(DOCUMENT)) == []


def _schema(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def find(document: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = document["components"]["schemas"][name]
        return found

    return find


_balance, _grant, _customers = _schema("Balance"), _schema("GrantBody"), "/v1/customers"
BREAKS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a route that is gone": (lambda document: document["paths"].pop("/v1/cash-book"), "GET /v1/cash-book is gone"),
    "a method that is gone": (lambda document: document["paths"][_customers].pop("post"), "POST /v1/customers is gone"),
    "another operationId": (
        lambda document: document["paths"][_customers]["get"].update(operationId="customers"),
        "was called listCustomers",
    ),
    "a parameter that is gone": (
        lambda document: document["paths"][_customers]["get"]["parameters"].pop(0),
        "query parameter limit is gone",
    ),
    "a parameter that is required": (
        lambda document: document["paths"][_customers]["get"]["parameters"][0].update(required=True),
        "query parameter limit is required now",
    ),
    "a smaller limit": (
        lambda document: document["paths"][_customers]["get"]["parameters"][0]["schema"].update(maximum=100),
        "maximum was 200 and is 100",
    ),
    "another success": (
        lambda document: (
            document["paths"][_customers]["post"]["responses"].update({"201": {"content": {}}})
            or document["paths"][_customers]["post"]["responses"].pop("200")
        ),
        "no longer answers 200",
    ),
    "a field of an answer that is gone": (lambda document: _balance(document)["properties"].pop("held"), "Balance.held is gone"),
    "a field of an answer that may be absent": (
        lambda document: _balance(document)["required"].remove("held"),
        "Balance.held may be absent now",
    ),
    "a field of an answer that may be null": (
        lambda document: _balance(document)["properties"].update(
            held={"anyOf": [_balance(document)["properties"]["held"], {"type": "null"}]}
        ),
        "Balance.held may now be null",
    ),
    "a field of an answer that is a number": (
        lambda document: _balance(document)["properties"]["held"].update(type="number"),
        "Balance.held may now be number",
    ),
    "a field of another form": (
        lambda document: _schema("Customer")(document)["properties"]["createdAt"].pop("format"),
        "the format was date-time and is None",
    ),
    "a field of a request that is gone": (lambda document: _grant(document)["properties"].pop("priority"), "GrantBody.priority is gone"),
    "a field of a request that is required": (
        lambda document: _grant(document)["required"].append("priority"),
        "GrantBody.priority is required now",
    ),
    "a new field of a request that is required": (
        lambda document: (_grant(document)["properties"].update(why={"type": "string"}), _grant(document)["required"].append("why")),
        "GrantBody.why is new and required",
    ),
    "a value that is no longer taken": (
        lambda document: _grant(document)["properties"]["kind"]["enum"].remove("bonus"),
        "the value bonus is gone",
    ),
    "null that is no longer taken": (
        lambda document: _grant(document)["properties"].update(expiresAt={"type": "string", "format": "date-time"}),
        "GrantBody.expiresAt no longer takes null",
    ),
    "numbers that are no longer taken": (
        lambda document: _schema("UsageEvent")(document)["properties"]["quantity"]["anyOf"].pop(1),
        "UsageEvent.quantity no longer takes integer",
    ),
    "a stricter form": (
        lambda document: _grant(document)["properties"]["currency"].update(pattern="^CNY$"),
        "the pattern was ^[A-Z]{3}$ and is ^CNY$",
    ),
    "an error code that is gone": (
        lambda document: document["components"]["examples"].pop("hold_expired"),
        "the error code hold_expired is gone",
    ),
    "an error code that is no longer retryable": (
        lambda document: document["components"]["examples"]["overloaded"]["value"].update(retryable=False),
        "retryable of the error code overloaded was True and is False",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_break_is_found(name: str) -> None:
    """Proves: each kind of incompatible change is told, and told alone."""
    change, told = BREAKS[name]
    old = skeleton(DOCUMENT)
    new = copy.deepcopy(old)
    change(new)
    found = breaking(old, new)
    assert found
    assert all(told in one for one in found), found


ADDITIONS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a route": lambda document: document["paths"].update({"/v1/plans": copy.deepcopy(document["paths"]["/v1/metrics"])}),
    "a field of an answer": lambda document: (
        _balance(document)["properties"].update(new={"type": "string"}),
        _balance(document)["required"].append("new"),
    ),
    "a field of a request": lambda document: _grant(document)["properties"].update(new={"type": "string"}),
    "a parameter": lambda document: document["paths"][_customers]["get"]["parameters"].append(
        {"name": "q", "in": "query", "required": False, "schema": {"type": "string"}}
    ),
    "a value that an answer may have": lambda document: _schema("Hold")(document)["properties"]["status"]["enum"].append("partly"),
    "a value that is taken": lambda document: _grant(document)["properties"]["kind"]["enum"].append("gift"),
    "a field of a request that need not be there": lambda document: _grant(document)["required"].remove("kind"),
    "a greater limit": lambda document: document["paths"][_customers]["get"]["parameters"][0]["schema"].update(maximum=500),
    "null that is taken": lambda document: _grant(document)["properties"].update(
        amount={"anyOf": [_grant(document)["properties"]["amount"], {"type": "null"}]}
    ),
    "an answer that is never null": lambda document: _schema("Grant")(document)["properties"].update(
        expiresAt={"type": "string", "format": "date-time"}
    ),
    "an error code": lambda document: document["components"]["examples"].update(
        new_code={"value": {"status": 409, "retryable": False, "code": "new_code"}}
    ),
}


@pytest.mark.parametrize("name", ADDITIONS)
def test_an_addition_is_none(name: str) -> None:
    """Proves: what nobody can have relied on is no break."""
    old = skeleton(DOCUMENT)
    new = copy.deepcopy(old)
    ADDITIONS[name](new)
    assert breaking(old, new) == []
