"""Numbers and text that must be refused with one clear error each, with nothing stored."""

from __future__ import annotations

import json
import time

import pytest

from tests.product import Merchant, assert_problem, event

BATCH = "/v1/usage-events"


def body_with(quantity_json: str) -> bytes:
    """A batch of one event whose quantity is this very JSON text."""
    return json.dumps({"events": [event(quantity="@")]}).replace('"@"', quantity_json).encode()


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e400", "01", "+1", "0x10", "1_000"])
def test_numbers_that_are_not_json_are_malformed(merchant: Merchant, text: str) -> None:
    """Proves: what JSON does not know as a number, or no double can hold, gets 400 and stores nothing."""
    before = merchant.stored()
    assert_problem(merchant.call("POST", BATCH, content=body_with(text)), 400, "malformed_json")
    assert merchant.stored() == before


@pytest.mark.parametrize(
    "quantity",
    [
        "1e300000",
        "1e3",
        "-1",
        "-0",
        "0",
        "0.0",
        "-0.5",
        "0.0000000001",
        "1.0000000000",
        "1_000",
        "１２",
        "٣",
        " 5 ",
        "5 ",
        "+5",
        "",
        ".5",
        "5.",
        "NaN",
        "Infinity",
        "1234567890123456789012345",
        "9" * 400,
        "0x1F",
        "1,000",
        "5\n",
    ],
)
def test_quantities_that_are_not_plain_positive_decimals(merchant: Merchant, quantity: str) -> None:
    """Proves: every quantity that Python or another language might read as a number, but is none of ours, gets 422 and stores nothing."""
    before = merchant.stored()
    started = time.monotonic()
    problem = assert_problem(merchant.send(event(quantity=quantity)), 422, "invalid_quantity")
    assert time.monotonic() - started < 2, "no arithmetic on huge numbers"
    assert problem["param"], problem
    assert merchant.stored() == before


@pytest.mark.parametrize(
    "amount", ["0", "-5", "-0", "1e3", "1e300000", "NaN", "Infinity", "１２", " 5 ", "1_000", "0.0000000001", "9" * 30]
)
@pytest.mark.parametrize("what", ["grants", "holds"])
def test_amounts_of_grants_and_holds(merchant: Merchant, what: str, amount: str) -> None:
    """Proves: amounts of money follow the same strict rules as quantities."""
    before = merchant.stored()
    fields = {"currency": "CNY", "kind": "paid"} if what == "grants" else {"ttlSeconds": 60}
    assert_problem(merchant.call("POST", f"/v1/customers/acme/{what}", {"amount": amount, **fields}), 422)
    assert merchant.stored() == before


@pytest.mark.parametrize("amount", ["NaN", "1e400", "Infinity"])
def test_amounts_that_are_not_json(merchant: Merchant, amount: str) -> None:
    """Proves: a grant whose amount is no JSON at all gets 400."""
    content = f'{{"amount": {amount}, "currency": "CNY", "kind": "paid"}}'.encode()
    assert_problem(merchant.call("POST", "/v1/customers/acme/grants", content=content), 400, "malformed_json")


@pytest.mark.parametrize("price", ["NaN", "-1", "1e3", "１", "0.0000000001", "9" * 31])
def test_prices_of_rate_cards(merchant: Merchant, price: str) -> None:
    """Proves: prices are strict decimals too, and a refused card leaves no row."""
    count = "SELECT count(*) FROM rate_cards WHERE tenant_id = $1"
    before = merchant.product.sql.value(count, merchant.tenant_id)
    for field, value in (("price", price), ("per", price)):
        charge = {"metric": "images", "per": "1", "price": "1", "match": {}, field: value}
        assert_problem(merchant.call("POST", "/v1/rate-cards", {"name": "bad", "currency": "CNY", "charges": [charge]}), 422)
    assert merchant.product.sql.value(count, merchant.tenant_id) == before


def test_per_zero_is_refused(merchant: Merchant) -> None:
    """Proves: a price per nothing cannot be made."""
    charge = {"metric": "images", "per": "0", "price": "1", "match": {}}
    assert_problem(merchant.call("POST", "/v1/rate-cards", {"name": "bad", "currency": "CNY", "charges": [charge]}), 422)


@pytest.mark.parametrize("table, column", [("postings", "amount"), ("usage_events", "quantity"), ("grants", "amount"), ("holds", "amount")])
def test_the_database_refuses_nan(merchant: Merchant, table: str, column: str) -> None:
    """Proves: NaN, which passes CHECK (x > 0), is refused by the schema itself."""
    rule = """SELECT count(*) FROM pg_constraint WHERE conrelid = $1::text::regclass AND contype = 'c'
              AND pg_get_constraintdef(oid) LIKE '%' || $2 || '%NaN%'"""
    assert merchant.product.sql.value(rule, table, column) >= 1


@pytest.mark.parametrize("field", ["customerExternalId", "idempotencyKey", "metric"])
@pytest.mark.parametrize("text", ["a\u0000b", "a\u0007b", "line\nbreak", "\u007f", "x" * 256, "钱" * 86, ""])
def test_ids_with_bad_text(merchant: Merchant, field: str, text: str) -> None:
    """Proves: NUL, control characters, and ids over 255 bytes (not characters) or empty get 422, never 500."""
    before = merchant.stored()
    assert_problem(merchant.send(event(**{field: text})), 422)
    assert merchant.stored() == before


@pytest.mark.parametrize(
    "dimensions", [{"model": "a\u0000b"}, {"a\u0000": "b"}, {"model": 5}, {"model": {"a": "b"}}, ["model"], "model", {"m": "x" * 5000}]
)
def test_bad_dimensions(merchant: Merchant, dimensions: object) -> None:
    """Proves: dimensions are a flat object of short strings without NUL, or 422."""
    before = merchant.stored()
    assert_problem(merchant.send(event(dimensions=dimensions)), 422)
    assert merchant.stored() == before


def test_a_lone_surrogate_is_malformed(merchant: Merchant) -> None:
    """Proves: half of a surrogate pair, which no UTF-8 can hold, gets 400."""
    content = json.dumps({"events": [event(customer="@")]}).replace("@", "\\ud800").encode()
    assert_problem(merchant.call("POST", BATCH, content=content), 400, "malformed_json")


def test_invalid_utf8_is_malformed(merchant: Merchant) -> None:
    """Proves: bytes that are not UTF-8 get 400."""
    content = json.dumps({"events": [event(customer="@")]}).encode().replace(b"@", b"\xff\xfe")
    assert_problem(merchant.call("POST", BATCH, content=content), 400, "malformed_json")


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"events":' * 100_000, b'{"events":[{"dimensions":' + b'{"a":' * 100_000])
@pytest.mark.parametrize("path", [BATCH, "/v1/customers/acme/grants"])
def test_deep_nesting_is_malformed(merchant: Merchant, path: str, content: bytes) -> None:
    """Proves: JSON a hundred thousand levels deep gets 400 and breaks no stack."""
    assert_problem(merchant.call("POST", path, content=content), 400, "malformed_json")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"null", b"[]", b'"x"', b"5", b'{"events": 5}', b'{"events": {}}', b"{}", b'{"events":[]} x']
)
def test_bodies_that_are_no_batch(merchant: Merchant, content: bytes) -> None:
    """Proves: a body that is not an object with an array of events gets one clear error."""
    answer = merchant.call("POST", BATCH, content=content)
    assert answer.status_code in (400, 422), answer.text
    assert_problem(answer, answer.status_code)


@pytest.mark.parametrize("external_id", ["a%00b", "a%0Ab", "x" * 256, "%FF"])
def test_customer_ids_in_paths(merchant: Merchant, external_id: str) -> None:
    """Proves: the same rules hold for ids in paths: 400, 404 or 422, never 500, and no customer appears."""
    before = merchant.stored()
    body = {"amount": "1", "currency": "CNY", "kind": "paid"}
    answer = merchant.call("POST", f"/v1/customers/{external_id}/grants", body)
    assert answer.status_code in (400, 404, 422), answer.text
    assert_problem(answer, answer.status_code)
    answer = merchant.call("GET", f"/v1/customers/{external_id}/balance")
    assert answer.status_code in (400, 404, 422), answer.text
    assert merchant.stored() == before


def test_rounding_is_half_even_at_nine_decimals(merchant: Merchant) -> None:
    """Proves: a charge that falls exactly between two nano-units goes to the even one, and no quantity is rounded before."""
    card = {"name": "fine", "currency": "CNY", "charges": [{"metric": "images", "per": "2", "price": "0.000000001", "match": {}}]}
    merchant.ok("POST", "/v1/rate-cards", card)
    answer = merchant.usage(*[event(metric="images", quantity=quantity) for quantity in ("1", "3", "5", "1.000000001")])
    assert [result["charge"] for result in answer["results"]] == ["0", "0.000000002", "0.000000002", "0.000000001"]
