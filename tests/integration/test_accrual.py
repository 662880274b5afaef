"""Where a merchant bills pay-as-you-go: what a customer's grants do not cover is owed unbilled, and every answer says so."""

from __future__ import annotations

import os
import signal
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from tests.product import Merchant, assert_problem, event, moment, wait_until

HOLDS = "/v1/customers/acme/holds"


@pytest.fixture
def accruing(new_merchant: Callable[..., Merchant]) -> Merchant:
    """A merchant whose customers pay after. A thousand input tokens cost 1."""
    return new_merchant(billing="pay-as-you-go")


def amounts(merchant: Merchant) -> tuple[str, str, str]:
    """(available, held, unbilled) of acme."""
    balance = merchant.balance()
    return balance["available"], balance["held"], balance["unbilled"]


def codes(answer: dict[str, Any]) -> list[str]:
    """What became of each event."""
    return [result.get("code") or result["outcome"] for result in answer["results"]]


def test_usage_beyond_the_grants_is_owed(accruing: Merchant) -> None:
    """Proves: grants are spent first and the rest is owed, not taken; credit does not repay it; event, explanation, history and the chart
    of accounts tell of it; a void lowers it; and the ledger verifies."""
    grant = accruing.grant("1", kind="promotional")["grantId"]
    answer = accruing.usage(event(key="a", quantity="3000"), event(key="b", quantity="500"))
    assert (answer["charged"], answer["balances"]) == ("3.5", {"acme": "0"})
    assert amounts(accruing) == ("0", "0", "2.5")
    given = accruing.grant("5")
    assert given["balance"] == {"available": "5", "held": "0", "unbilled": "2.5"}

    history = accruing.ok("GET", "/v1/customers/acme/history")["data"]
    told = ("kind", "amount", "debitAccount", "creditAccount", "balanceAfter", "heldAfter", "unbilledAfter")
    assert [tuple(one[name] for name in told) for one in history] == [
        ("grant", "5", "paid_credit_funding", "customer_wallet", "5", "0", "2.5"),
        ("usage", "2.5", "customer_unbilled", "usage_revenue", "0", "0", "2.5"),
        ("usage", "1", "customer_wallet", "usage_revenue", "0", "0", "0"),
        ("grant", "1", "promotional_credit_cost", "customer_wallet", "1", "0", "0"),
    ]
    why = accruing.ok("GET", "/v1/usage-events/a/charge")
    parts = ("account", "grantId", "shareOfThisEvent", "amount", "events", "balanceAfter", "unbilledAfter")
    assert [tuple(one[name] for name in parts) for one in why["postings"]] == [
        ("customer_wallet", grant, "1", "1", 1, "0", "0"),
        ("customer_unbilled", None, "2", "2.5", 2, "0", "2.5"),
    ]
    stored = accruing.ok("GET", "/v1/usage-events/b")
    assert [(one["debitAccount"], one["unbilledAfter"]) for one in stored["postings"]] == [("customer_unbilled", "2.5")]
    chart = accruing.product.sql.fetch(
        "SELECT code, class FROM chart_of_accounts a JOIN postings p ON a.account_id = p.debit_account_id AND a.tenant_id = p.tenant_id "
        "WHERE p.tenant_id = $1 AND p.unbilled_after > 0 AND p.kind = 2",
        accruing.tenant_id,
    )
    assert [tuple(row) for row in chart] == [("customer_unbilled", "asset")]

    said = accruing.product.cli("usage", "explain", "a", BUFFMONEY_URL=accruing.product.url, BUFFMONEY_API_KEY=accruing.sandbox_key).stdout
    assert "paid by unbilled, balance after 0, unbilled 2.5" in said
    done = accruing.ok("POST", "/v1/usage-events/a/void", {})
    assert (done["balanceAfter"], done["unbilledAfter"]) == ("6", "0.5")
    assert done["givenBackTo"] == [
        {"account": "customer_wallet", "grantId": grant, "amount": "1"},
        {"account": "customer_unbilled", "grantId": None, "amount": "2"},
    ]
    void = accruing.ok("GET", "/v1/usage-events/a")["void"]
    assert (void["givenBackTo"], void["unbilledAfter"]) == (done["givenBackTo"], "0.5")
    assert {**accruing.ok("POST", "/v1/usage-events/a/void", {}), "alreadyVoided": False} == done
    # 1.5 for 0.5, out of the grants now: nothing is owed any more.
    amended = accruing.ok("POST", "/v1/usage-events/b/amend", {"idempotencyKey": "c", "quantity": "1500"})
    assert (amended["void"]["unbilledAfter"], amended["balanceAfter"], amended["unbilledAfter"]) == ("0", "4.5", "0")
    said = accruing.product.cli("balance", "acme", BUFFMONEY_URL=accruing.product.url, BUFFMONEY_API_KEY=accruing.sandbox_key).stdout
    assert "4.5 CNY available, 0 held, 0 unbilled" in said
    assert accruing.product.verify()["differences"] == []


def test_a_customer_owes_no_more_than_its_limit(accruing: Merchant) -> None:
    """Proves: the limit is of what is owed, holds included; what of a hold no grant covers is owed while it is open and as far as it is
    captured, and not after its release or its end."""
    accruing.ok("POST", "/v1/customers", {"externalId": "acme", "overdraftLimit": "5"})
    accruing.grant("2")
    first = accruing.ok("POST", HOLDS, {"amount": "4"})
    assert first["balance"] == {"available": "0", "held": "4", "unbilled": "2"}
    assert codes(accruing.usage(event(quantity="3001"), event(quantity="2000"))) == ["insufficient_balance", "accepted"]
    assert_problem(accruing.call("POST", HOLDS, {"amount": "1.000000001"}), 402, "insufficient_balance")
    short = accruing.ok("POST", HOLDS, {"amount": "1", "ttlSeconds": 1})
    assert short["balance"] == {"available": "0", "held": "5", "unbilled": "5"}
    assert accruing.usage(event(quantity="1"))["rejected"] == 1
    wait_until(lambda: amounts(accruing) == ("0", "4", "4"), 10)
    closed = accruing.ok("POST", f"/v1/holds/{first['holdId']}/capture", {"amount": "3.5"})
    assert closed["balance"] == {"available": "0", "held": "0", "unbilled": "3.5"}
    # Who owes more than a lowered limit can still spend what it has.
    accruing.ok("POST", "/v1/customers", {"externalId": "acme", "overdraftLimit": "1"})
    accruing.grant("1")
    assert codes(accruing.usage(event(quantity="1001"), event(quantity="1000"))) == ["insufficient_balance", "accepted"]
    released = accruing.ok("POST", "/v1/customers", {"externalId": "acme", "overdraftLimit": None})
    assert released["overdraftLimit"] is None
    third = accruing.ok("POST", HOLDS, {"amount": "1000"})
    assert accruing.ok("POST", f"/v1/holds/{third['holdId']}/release", {})["balance"]["unbilled"] == "3.5"
    assert accruing.product.verify()["differences"] == []


def test_both_sources_say_what_is_owed(accruing: Merchant) -> None:
    """Proves: the balance from the ledger is, byte for byte, the one from Redis; what another version had left there is not read; and a
    new core goes on with it."""
    accruing.grant("1", expiresAt=moment(3600))
    accruing.usage(event(quantity="4000"))
    cache = redis.Redis.from_url(accruing.product.run["redisUrl"])
    shown = accruing.call("GET", "/v1/customers/acme/balance").content
    assert b'"unbilled":"3"' in shown
    [hashed] = cache.keys("{p0}:balance:*")
    field = struct.pack(">Q", accruing.tenant_id) + b"acme"
    packed = cache.hget(hashed, field)
    assert packed is not None
    cache.hset(hashed, field, b"\x01" + packed[1:44] + packed[60:])
    assert accruing.call("GET", "/v1/customers/acme/balance").content == shown
    cache.flushall()
    assert accruing.call("GET", "/v1/customers/acme/balance").content == shown
    (core,) = accruing.product.pids("core")
    os.kill(core, signal.SIGKILL)
    accruing.product.wait_ready()
    after = event(quantity="500")
    wait_until(lambda: accruing.send(after).status_code == 200, 30)
    assert amounts(accruing) == ("0", "0", "3.5")


def test_overdraft_from_before_wallets_accrued(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: a wallet that was overdrawn before its merchant's wallets accrued stays verifiable and below zero, credit repays that, and
    usage since then is owed."""
    merchant = new_merchant()
    merchant.ok("POST", "/v1/customers", {"externalId": "acme", "overdraftLimit": None})
    merchant.usage(event(key="old", quantity="3000"))
    assert amounts(merchant) == ("-3", "0", "0")
    merchant.product.sql.fetch("UPDATE merchants SET billing = 'pay-as-you-go' WHERE merchant_id = $1", merchant.merchant_id)
    merchant.product.sql.fetch("UPDATE tenants SET catalog_version = catalog_version + 1 WHERE tenant_id = $1", merchant.tenant_id)
    time.sleep(2)
    merchant.usage(event(quantity="2000"))
    assert amounts(merchant) == ("-3", "0", "2")
    merchant.grant("4")
    assert amounts(merchant) == ("1", "0", "2")
    # What no grant had paid comes back to no grant, and is spent after them and before anything is owed.
    merchant.ok("POST", "/v1/usage-events/old/void", {})
    merchant.usage(event(quantity="5000"))
    assert amounts(merchant) == ("0", "0", "3")
    assert merchant.product.verify()["differences"] == []
