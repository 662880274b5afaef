"""Races and repetitions on wallets: the floor holds, and nothing happens twice."""

from __future__ import annotations

import random
import secrets
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
import redis

from tests.product import Merchant, assert_problem, event, moment, wait_until

GRANTS = "/v1/customers/acme/grants"
HOLDS = "/v1/customers/acme/holds"


def test_200_parallel_debits_on_a_balance_for_10(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: of two hundred events of ¥1 at once on ¥10 exactly ten are taken, and the balance is zero."""
    merchant = new_merchant()
    merchant.grant("10")
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda _: merchant.usage(event()), range(200)))
    codes = Counter(result.get("code") or result["outcome"] for answer in answers for result in answer["results"])
    assert codes == {"accepted": 10, "insufficient_balance": 190}
    assert merchant.balance()["available"] == "0"


def test_debits_race_holds_and_releases(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: usage, holds, captures and releases at once never bring a wallet below its floor, and every yuan is accounted for."""
    merchant = new_merchant()
    merchant.grant("50")
    seen: list[Decimal] = []

    def work(seed: int) -> Decimal:
        chooser, spent = random.Random(seed), Decimal(0)
        for _ in range(12):
            seen.append(Decimal(merchant.balance()["available"]))
            if chooser.random() < 0.5:
                spent += Decimal(merchant.usage(event())["charged"])
                continue
            hold = merchant.call("POST", HOLDS, {"amount": "2", "ttlSeconds": 60})
            if hold.status_code == 402:
                continue
            hold_id = hold.json()["holdId"]
            if chooser.random() < 0.5:
                merchant.ok("POST", f"/v1/holds/{hold_id}/release", {})
            else:
                spent += Decimal(merchant.ok("POST", f"/v1/holds/{hold_id}/capture", {"amount": "1.5"})["captured"])
        return spent

    with ThreadPoolExecutor(10) as pool:
        spent = sum(pool.map(work, range(10)), Decimal(0))
    balance = merchant.balance()
    assert min(seen) >= 0
    assert Decimal(balance["available"]) == 50 - spent
    assert balance["held"] == "0"


def test_a_grant_sent_twice_is_one_grant(merchant: Merchant) -> None:
    """Proves: the same Idempotency-Key and body give the first answer again; another body gets 409; one grant exists."""
    body = {"amount": "7", "currency": "CNY", "kind": "bonus"}
    key = secrets.token_hex(8)
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: merchant.call("POST", GRANTS, body, Idempotency_Key=key), range(10)))
    assert {answer.status_code for answer in answers} <= {200, 201}
    assert len({answer.json()["grantId"] for answer in answers}) == 1
    assert merchant.balance()["available"] == "107"
    assert_problem(merchant.call("POST", GRANTS, {**body, "amount": "8"}, Idempotency_Key=key), 409, "idempotency_conflict")
    assert merchant.stored()["grants"] == 2


def test_a_hold_sent_twice_is_one_hold(merchant: Merchant) -> None:
    """Proves: a hold and its capture may be repeated with their keys; the second capture without one is refused."""
    hold = [merchant.ok("POST", HOLDS, {"amount": "10", "ttlSeconds": 60}, Idempotency_Key="hold-1") for _ in range(2)]
    assert hold[0]["holdId"] == hold[1]["holdId"]
    assert (merchant.balance()["available"], merchant.balance()["held"]) == ("90", "10")
    path = f"/v1/holds/{hold[0]['holdId']}/capture"
    captured = [merchant.ok("POST", path, {"amount": "4"}, Idempotency_Key="capture-1") for _ in range(2)]
    assert captured[0] == captured[1]
    assert (merchant.balance()["available"], merchant.balance()["held"]) == ("96", "0")
    assert_problem(merchant.call("POST", path, {}), 409, "hold_closed")
    assert_problem(merchant.call("POST", f"/v1/holds/{hold[0]['holdId']}/release", {}), 409, "hold_closed")


def test_a_forgotten_hold_expires_once(merchant: Merchant) -> None:
    """Proves: a hold whose owner died is given back by itself at its expiry, once, with one posting."""
    hold = merchant.ok("POST", HOLDS, {"amount": "30", "ttlSeconds": 1})
    assert merchant.balance()["held"] == "30"
    wait_until(lambda: merchant.balance()["held"] == "0", 8)
    assert merchant.balance()["available"] == "100"
    assert_problem(merchant.call("POST", f"/v1/holds/{hold['holdId']}/capture", {}), 409, "hold_expired")
    rows = merchant.product.sql.fetch("SELECT amount FROM postings WHERE tenant_id = $1 AND kind = 8", merchant.tenant_id)
    assert [row["amount"] for row in rows] == [30]


def test_captures_above_the_hold(merchant: Merchant) -> None:
    """Proves: no more than the hold can be captured by amount, and the hold stays open after the refusal."""
    hold = merchant.ok("POST", HOLDS, {"amount": "10", "ttlSeconds": 60})
    assert_problem(merchant.call("POST", f"/v1/holds/{hold['holdId']}/capture", {"amount": "10.01"}), 422, "capture_exceeds_hold")
    assert merchant.balance()["held"] == "10"


def test_capture_with_the_actual_events(merchant: Merchant) -> None:
    """Proves: a capture with events charges the events, gives back the rest, and the events are known afterwards."""
    hold = merchant.ok("POST", HOLDS, {"amount": "10", "ttlSeconds": 60})
    one = event(quantity="3000")
    merchant.ok("POST", f"/v1/holds/{hold['holdId']}/capture", {"events": [one]})
    assert (merchant.balance()["available"], merchant.balance()["held"]) == ("97", "0")
    assert merchant.usage(one)["duplicates"] == 1


def test_a_hold_of_estimated_events(merchant: Merchant) -> None:
    """Proves: a hold may be sized by the events that are expected."""
    answer = merchant.ok("POST", HOLDS, {"events": [event(quantity="5000")], "ttlSeconds": 60})
    assert answer["amount"] == "5"
    assert merchant.stored()["usage_events"] == 0


@pytest.mark.parametrize("amount", ["100.000000001", "1000"])
def test_holds_beyond_the_balance(merchant: Merchant, amount: str) -> None:
    """Proves: a hold that the balance does not cover gets 402 and changes nothing."""
    before = merchant.stored()
    assert_problem(merchant.call("POST", HOLDS, {"amount": amount, "ttlSeconds": 60}), 402, "insufficient_balance")
    assert merchant.stored() == before


@pytest.mark.parametrize(
    "body",
    [
        {"amount": "1", "ttlSeconds": 0},
        {"amount": "1", "ttlSeconds": -1},
        {"amount": "1", "ttlSeconds": 10**12},
        {"amount": "1", "ttlSeconds": "60"},
        {"amount": "1", "ttlSeconds": 1.5},
        {"amount": 1, "ttlSeconds": 60},
        {"ttlSeconds": 60},
        {"amount": None, "ttlSeconds": 60},
        {"amount": "1", "events": [event()], "ttlSeconds": 60},
    ],
)
def test_bad_holds(merchant: Merchant, body: dict[str, object]) -> None:
    """Proves: a hold without an amount, with two, or without a sensible life gets 422."""
    before = merchant.stored()
    assert_problem(merchant.call("POST", HOLDS, body), 422)
    assert merchant.stored() == before


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "gift"},
        {"kind": None},
        {"currency": "cny"},
        {"currency": "USD"},
        {"currency": "XX"},
        {"priority": 10**9},
        {"priority": "1"},
        {"priority": 1.5},
        {"expiresAt": "2020-01-01T00:00:00Z"},
        {"expiresAt": "2027-01-01T00:00:00"},
        {"expiresAt": "soon"},
        {"expiresAt": 5},
        {"amount": 5},
        {"amount": None},
    ],
)
def test_bad_grants(merchant: Merchant, fields: dict[str, object]) -> None:
    """Proves: a grant of a wrong kind, currency, priority or expiry gets 422 and no wallet appears."""
    before = merchant.stored()
    body = {"amount": "5", "currency": "CNY", "kind": "paid", **fields}
    assert_problem(merchant.call("POST", "/v1/customers/fresh/grants", body), 422)
    assert merchant.stored() == before


def test_an_expired_grant_is_not_spent(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: credit is of no use from its expiry on, by itself, and what was left becomes breakage."""
    merchant = new_merchant()
    merchant.grant("5", expiresAt=moment(1.5))
    merchant.grant("3")
    assert merchant.usage(event())["accepted"] == 1
    wait_until(lambda: merchant.balance()["available"] == "3", 8)
    assert merchant.usage(event(quantity="4000"))["results"][0]["code"] == "insufficient_balance"
    rows = merchant.product.sql.fetch("SELECT amount FROM postings WHERE tenant_id = $1 AND kind = 6", merchant.tenant_id)
    assert [row["amount"] for row in rows] == [4]


def test_grants_are_spent_in_their_order(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: lower priority first, then soonest expiry, then what was given before what was paid, then the oldest."""
    merchant = new_merchant()
    given = {
        "paid, old": merchant.grant("1", priority=10),
        "bonus": merchant.grant("1", priority=10, kind="bonus"),
        "promotional": merchant.grant("1", priority=10, kind="promotional"),
        "later": merchant.grant("1", priority=10, expiresAt=moment(7200)),
        "soon": merchant.grant("1", priority=10, expiresAt=moment(3600)),
        "first": merchant.grant("1", priority=0),
        "paid, new": merchant.grant("1", priority=10),
    }
    names = {grant["grantId"]: name for name, grant in given.items()}
    order = []
    for _ in given:
        merchant.usage(event())
        left = {names[grant["grantId"]] for grant in merchant.balance()["grants"] if Decimal(grant["remaining"]) > 0}
        order += [name for name in given if name not in left and name not in order]
    assert order == ["first", "soon", "later", "promotional", "bonus", "paid, old", "paid, new"]
    assert merchant.balance()["available"] == "0"


def test_an_unknown_customer(merchant: Merchant, new_merchant: Callable[..., Merchant]) -> None:
    """Proves: balances and holds of customers that do not exist get 404; usage of one is refused when the merchant wants that."""
    assert_problem(merchant.call("GET", "/v1/customers/nobody/balance"), 404, "unknown_customer")
    assert_problem(merchant.call("POST", "/v1/customers/nobody/holds", {"amount": "1", "ttlSeconds": 60}), 404, "unknown_customer")
    strict = new_merchant(unknown_customers="refuse", billing="pay-as-you-go")
    assert strict.usage(event(customer="nobody"))["results"][0]["code"] == "unknown_customer"
    assert strict.stored()["customers"] == 0


def test_redis_flushed_between_and_during_requests(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: FLUSHALL at any moment loses, doubles and refuses nothing: the balance is exact and duplicates are still known."""
    merchant = new_merchant()
    merchant.grant("1000")
    cache = redis.Redis.from_url(merchant.product.run["redisUrl"])
    events = [event(key=f"flush-{number}") for number in range(100)]

    def send(one: dict[str, object]) -> str:
        for _ in range(40):
            answer = merchant.send(one)
            if answer.status_code == 200:
                return str(answer.json()["results"][0]["outcome"])
            assert answer.status_code in (429, 503), answer.text
            time.sleep(0.25)
        raise AssertionError("no answer after ten seconds")

    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(send, one) for one in events]
        for _ in range(5):
            cache.flushall()
            time.sleep(0.1)
        outcomes = Counter(future.result() for future in futures)
    cache.flushall()
    assert set(outcomes) <= {"accepted", "duplicate"}
    assert merchant.balance()["available"] == "900"
    assert merchant.usage(*events)["duplicates"] == 100
    assert merchant.balance()["available"] == "900"
    assert merchant.stored()["usage_events"] == 100


def test_read_your_writes(merchant: Merchant) -> None:
    """Proves: the balance read after an ingest answer always includes that ingest."""
    for number in range(1, 61):
        answer = merchant.usage(event(quantity="100"))
        balance = merchant.balance()
        assert answer["balances"]["acme"] == balance["available"] == str((Decimal(100) - Decimal(number) / 10).normalize().to_eng_string())
