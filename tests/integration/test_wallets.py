"""Customers, grants, balances, history and holds as a merchant sees them."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
import redis

from tests.product import Merchant, assert_problem, event, moment

HOLDS = "/v1/customers/acme/holds"


def test_a_customer_is_made_and_changed(merchant: Merchant) -> None:
    """Proves: what is left out stays, null removes, and an id may hold a slash, a space and Chinese."""
    name = "分店 1/2"
    path = "/v1/customers/%E5%88%86%E5%BA%97%201%2F2"
    made = merchant.ok("POST", "/v1/customers", {"externalId": name, "overdraftLimit": "10.50", "lowBalanceThreshold": "-1"})
    assert (made["externalId"], made["overdraftLimit"], made["lowBalanceThreshold"]) == (name, "10.5", "-1")
    changed = merchant.ok("POST", "/v1/customers", {"externalId": name, "lowBalanceThreshold": None}, idempotency_key="c1")
    assert (changed["overdraftLimit"], changed["lowBalanceThreshold"]) == ("10.5", None)
    assert merchant.ok("GET", path) == changed
    merchant.ok("POST", "/v1/customers", {"externalId": name, "lowBalanceThreshold": "3"})
    assert merchant.ok("POST", "/v1/customers", {"externalId": name, "lowBalanceThreshold": None}, idempotency_key="c1") == changed
    assert merchant.usage(event(name, quantity="10500"))["balances"] == {name: "-10.5"}
    assert merchant.ok("GET", f"{path}/balance")["available"] == "-10.5"
    assert merchant.usage(event(name, quantity="1"))["results"][0]["code"] == "insufficient_balance"
    for limit in ("-1", "x", 5, "1e3"):
        assert_problem(merchant.call("POST", "/v1/customers", {"externalId": name, "overdraftLimit": limit}), 422)


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 256, "é" * 128, "\x85", 5])
def test_bad_ids(merchant: Merchant, name: object) -> None:
    """Proves: an id of 0 or more than 255 bytes, or with a control character, gets 422."""
    assert_problem(merchant.call("POST", "/v1/customers", {"externalId": name}), 422)


def test_customers_in_pages(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: pages hold every customer once, in the order of their making."""
    merchant = new_merchant()
    names = [f"c{number}" for number in range(7)]
    for name in names:
        merchant.ok("POST", "/v1/customers", {"externalId": name})
    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = merchant.client().get("/v1/customers", params={"limit": "3", **({"cursor": cursor} if cursor else {})}).json()
        found.extend(customer["externalId"] for customer in page["data"])
        cursor = page["nextCursor"]
    assert found == names


def test_a_low_balance_is_recorded_once_for_each_fall(merchant: Merchant) -> None:
    """Proves: falling below the threshold is recorded, staying below is not."""
    merchant.ok("POST", "/v1/customers", {"externalId": "acme", "lowBalanceThreshold": "98"})
    for _ in range(5):
        merchant.usage(event())
    rows = merchant.product.sql.fetch("SELECT threshold, available FROM low_balance_alerts WHERE tenant_id = $1", merchant.tenant_id)
    assert [(row["threshold"], row["available"]) for row in rows] == [(98, 97)]


def test_grants_and_what_remains_of_them(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: the list says what is left of each grant, newest first, in pages."""
    merchant = new_merchant()
    first = merchant.grant("3", kind="promotional")
    second = merchant.grant("5", priority=1, expiresAt=moment(3600))
    merchant.usage(event(quantity="6000"))
    grants = merchant.ok("GET", "/v1/customers/acme/grants")["data"]
    assert [(grant["grantId"], grant["remaining"], grant["status"]) for grant in grants] == [
        (second["grantId"], "0", "spent"),
        (first["grantId"], "2", "open"),
    ]
    page = merchant.ok("GET", "/v1/customers/acme/grants?limit=1")
    rest = merchant.client().get("/v1/customers/acme/grants", params={"cursor": page["nextCursor"]}).json()
    assert [*page["data"], *rest["data"]] == grants
    assert_problem(merchant.call("GET", "/v1/customers/nobody/grants"), 404, "unknown_customer")


def test_a_grant_sent_again_is_one_grant(merchant: Merchant) -> None:
    """Proves: the same key gives the first answer again; another body, or another customer with the same body, does not."""
    body = {"amount": "7", "currency": "CNY", "kind": "paid"}
    first = merchant.ok("POST", "/v1/customers/acme/grants", body, idempotency_key="g")
    assert merchant.ok("POST", "/v1/customers/acme/grants", body, idempotency_key="g") == first
    for path, other in (("acme", {**body, "amount": "8"}), ("other", body)):
        assert_problem(merchant.call("POST", f"/v1/customers/{path}/grants", other, idempotency_key="g"), 409, "idempotency_conflict")
    assert merchant.balance()["available"] == "107"


def test_both_sources_of_a_balance_say_the_same(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: the balance from the ledger is, byte for byte, the one from Redis: overdraft, holds, kinds and expiries included."""
    merchant = new_merchant()
    merchant.ok("POST", "/v1/customers", {"externalId": "acme", "overdraftLimit": "5"})
    merchant.grant("3", kind="bonus", expiresAt=moment(3600))
    merchant.grant("0.5", kind="promotional", priority=7)
    merchant.grant("10.000000001")
    merchant.ok("POST", HOLDS, {"amount": "2", "ttlSeconds": 600})
    cache = redis.Redis.from_url(merchant.product.run["redisUrl"])
    for quantity in ("1000", "7000", "6000"):
        merchant.usage(event(quantity=quantity))
        cached = merchant.call("GET", "/v1/customers/acme/balance").content
        cache.flushall()
        assert merchant.call("GET", "/v1/customers/acme/balance").content == cached
        deadline = time.monotonic() + 10
        while not cache.keys("{p0}:balance:*"):
            # The core notices at its next sign of life; then a read warms the wallet.
            assert merchant.call("GET", "/v1/customers/acme/balance").content == cached
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert merchant.call("GET", "/v1/customers/acme/balance").content == cached
    body = merchant.balance()
    assert (body["available"], body["held"]) == ("-2.499999999", "2")
    assert body["byKind"] == {"paid": "0", "bonus": "0", "promotional": "0"}


def test_history_runs_without_gaps(merchant: Merchant) -> None:
    """Proves: pages hold every posting once, newest first, and each balance follows from the one before."""
    merchant.usage(event(quantity="2500"))
    hold = merchant.ok("POST", HOLDS, {"amount": "4", "ttlSeconds": 600})
    merchant.ok("POST", f"/v1/holds/{hold['holdId']}/capture", {"amount": "1"})
    found: list[dict[str, Any]] = []
    parameters = {"limit": "2"}
    while True:
        page = merchant.client().get("/v1/customers/acme/history", params=parameters).json()
        found.extend(page["data"])
        if page["nextCursor"] is None:
            break
        parameters["cursor"] = page["nextCursor"]
    assert [entry["sequence"] for entry in found] == [5, 4, 3, 2, 1]
    assert [entry["kind"] for entry in found] == ["release", "capture", "hold", "usage", "grant"]
    assert [(entry["debitAccount"], entry["creditAccount"]) for entry in reversed(found)] == [
        ("paid_credit_funding", "customer_wallet"),
        ("customer_wallet", "usage_revenue"),
        ("customer_wallet", "customer_held"),
        ("customer_held", "usage_revenue"),
        ("customer_held", "customer_wallet"),
    ]
    balance = Decimal(0)
    for entry in reversed(found):
        amount = Decimal(entry["amount"])
        balance += amount * ((entry["creditAccount"] == "customer_wallet") - (entry["debitAccount"] == "customer_wallet"))
        assert Decimal(entry["balanceAfter"]) == balance
    assert found[0]["reference"] == found[1]["reference"] == hold["holdId"]
    only = merchant.ok("GET", "/v1/customers/acme/history?kind=hold&kind=usage")["data"]
    assert [entry["kind"] for entry in only] == ["hold", "usage"]
    since = found[2]["postedAt"]
    assert [entry["sequence"] for entry in merchant.ok("GET", f"/v1/customers/acme/history?from={since}")["data"]] == [5, 4, 3]
    assert [entry["sequence"] for entry in merchant.ok("GET", f"/v1/customers/acme/history?to={since}")["data"]] == [2, 1]
    for query in ("kind=gift", "from=x", f"from={since}&to={since}"):
        assert_problem(merchant.call("GET", f"/v1/customers/acme/history?{query}"), 422)
    cursor = merchant.ok("GET", "/v1/customers/acme/history?limit=1")["nextCursor"]
    other = merchant.client().get("/v1/customers/acme/history", params={"limit": "1", "kind": "usage", "cursor": cursor})
    assert_problem(other, 400, "invalid_cursor")


def test_a_hold_for_estimated_events(merchant: Merchant) -> None:
    """Proves: what the events would cost is held, and nothing of them is recorded."""
    estimate = {
        "events": [
            {"metric": "tokens_input", "quantity": 2000},
            {"metric": "tokens_output", "quantity": "500", "dimensions": {"model": "x"}},
        ]
    }
    hold = merchant.ok("POST", HOLDS, estimate)
    assert (hold["amount"], hold["balance"]) == ("4", {"available": "96", "held": "4", "unbilled": "0"})
    assert merchant.stored()["usage_events"] == 0
    state = merchant.ok("GET", f"/v1/holds/{hold['holdId']}")
    assert (state["status"], state["captured"], state["released"]) == ("open", None, None)
    for bad, code in (
        ([{"metric": "tokens_input", "quantity": "-1"}], "invalid_quantity"),
        ([{"metric": "images", "quantity": "1"}], "no_price"),
        ([{"metric": "unheard_of", "quantity": "1"}], "unknown_metric"),
        ([{"metric": "tokens_input", "quantity": "1", "customerExternalId": "other"}], "invalid_customer"),
        ([{"metric": "tokens_input", "quantity": "1"}] * 501, None),
    ):
        assert_problem(merchant.call("POST", HOLDS, {"events": bad}), 413 if code is None else 422, code)
    assert merchant.balance()["held"] == "4"


def test_a_capture_with_the_actual_events(merchant: Merchant) -> None:
    """Proves: the hold goes back, the events are usage like any other, in one step; also when they come to more than was held."""
    hold = merchant.ok("POST", HOLDS, {"amount": "2", "ttlSeconds": 600})
    path = f"/v1/holds/{hold['holdId']}/capture"
    assert_problem(merchant.call("POST", path, {"events": [event(quantity="-5")]}), 422, "invalid_quantity")
    assert_problem(merchant.call("POST", path, {"events": [event("other")]}), 422, "customer_mismatch")
    assert_problem(merchant.call("POST", path, {"events": []}), 422)
    assert_problem(merchant.call("POST", path, {"events": [event()], "amount": "1"}), 422)
    key = secrets.token_hex(4)
    body = {"events": [event(key=key, quantity="3000")]}
    closed = merchant.ok("POST", path, body, idempotency_key="c")
    assert (closed["captured"], closed["released"], closed["usage"]["accepted"]) == ("3", "0", 1)
    assert closed["balance"] == {"available": "97", "held": "0", "unbilled": "0"}
    assert merchant.ok("POST", path, body, idempotency_key="c") == closed
    assert_problem(merchant.call("POST", path, {}), 409, "hold_closed")
    assert merchant.ok("GET", f"/v1/usage-events/{key}")["charge"] == "3"
    state = merchant.ok("GET", f"/v1/holds/{hold['holdId']}")
    assert (state["status"], state["captured"], state["released"]) == ("captured", "3", "0")
    assert merchant.usage(body["events"][0])["duplicates"] == 1


def test_balances_without_a_core(merchant: Merchant) -> None:
    """Proves: while the core is away, a balance still comes, from the ledger, and exact."""
    merchant.usage(event())
    before = merchant.balance()
    (core,) = merchant.product.pids("core")
    os.kill(core, signal.SIGSTOP)
    try:
        time.sleep(3.5)
        assert merchant.balance() == before
        assert_problem(merchant.call("GET", "/v1/customers/nobody/balance"), 404, "unknown_customer")
    finally:
        os.kill(core, signal.SIGCONT)
    deadline = time.monotonic() + 20
    while merchant.send(event()).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert merchant.balance()["available"] == "98"
