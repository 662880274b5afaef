"""Voids and amendments as a merchant sees them: what goes back to whom, what is told of it, and that it happens once."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest

from tests.product import Merchant, assert_problem, event, moment


def void(merchant: Merchant, key: str, **body: Any) -> dict[str, Any]:
    """A void that must succeed."""
    return merchant.ok("POST", f"/v1/usage-events/{key}/void", body)


def used(merchant: Merchant) -> tuple[int, Decimal, Decimal]:
    """(events, quantity, charge) of all usage, by the sums."""
    report = merchant.ok("GET", "/v1/usage")
    quantity = sum((Decimal(row["quantity"]) for row in report["data"]), Decimal(0))
    return report["events"], quantity, Decimal(report["charged"])


def test_a_void_gives_the_charge_back_to_the_grants_that_paid(merchant: Merchant) -> None:
    """Proves: part by part, overdraft too; the event, its explanation, the history and the sums tell of it."""
    # Before the fixture's grant in the order of spending.
    first = merchant.grant("1.5", kind="promotional", priority=0)["grantId"]
    second = merchant.grant("10", kind="bonus", priority=0)["grantId"]
    before = merchant.balance()
    merchant.usage(event(key="small", quantity="1000"), event(key="big", quantity="2000"), event(key="last", quantity="500"))
    assert used(merchant) == (3, 3500, Decimal("3.5"))
    done = void(merchant, "big", reason="計錯了")
    assert (done["amount"], done["alreadyVoided"], done["reason"], done["balanceAfter"]) == ("2", False, "計錯了", "110")
    wallet = {"account": "customer_wallet"}
    assert done["givenBackTo"] == [{**wallet, "grantId": first, "amount": "0.5"}, {**wallet, "grantId": second, "amount": "1.5"}]
    remaining = {grant["grantId"]: grant["remaining"] for grant in merchant.balance()["grants"]}
    assert (remaining[first], remaining[second]) == ("0.5", "9.5")
    assert used(merchant) == (2, 1500, Decimal("1.5"))
    for path in ("/v1/usage-events/big", "/v1/usage-events/big/charge"):
        told = merchant.ok("GET", path)
        assert (told["charge"], told["amends"], told["amendedBy"]) == ("2", None, None)
        assert told["void"]["givenBackTo"] == done["givenBackTo"]
        assert (told["void"]["amount"], told["void"]["balanceAfter"], told["void"]["reason"]) == ("2", "110", "計錯了")
        assert told["void"]["voidedBy"].startswith("key_")
    assert merchant.ok("GET", "/v1/usage-events/small")["void"] is None
    history = merchant.ok("GET", "/v1/customers/acme/history?kind=void")["data"]
    assert [(one["amount"], one["grantId"], one["idempotencyKey"], one["debitAccount"], one["creditAccount"]) for one in history] == [
        ("0.5", first, "big", "usage_revenue", "customer_wallet"),
        ("1.5", second, "big", "usage_revenue", "customer_wallet"),
    ]
    for key in ("small", "last"):
        void(merchant, key)
    assert merchant.balance()["available"] == before["available"]
    assert used(merchant) == (0, 0, 0)
    assert merchant.ok("GET", "/v1/usage")["data"] == []


def test_an_event_is_voided_once(merchant: Merchant) -> None:
    """Proves: whoever asks again gets the first void, the key stays taken, and an unknown key is a 404 that stores nothing."""
    merchant.usage(event(key="one", occurredAt=(at := moment())))
    first = void(merchant, "one", reason="a")
    again = void(merchant, "one", reason="b")
    assert again == {**first, "alreadyVoided": True}
    same = [merchant.ok("POST", "/v1/usage-events/one/void", {}, Idempotency_Key="k") for _ in range(2)]
    assert same[0] == same[1] == again
    assert merchant.usage(event(key="one", occurredAt=at))["duplicates"] == 1
    assert merchant.usage(event(key="one", quantity="5"))["results"][0]["outcome"] == "conflict"
    stored = merchant.stored()
    assert_problem(merchant.call("POST", "/v1/usage-events/never/void", {}), 404, "event_not_found")
    assert_problem(merchant.live.call("POST", "/v1/usage-events/one/void", {}), 404, "event_not_found")
    assert merchant.stored() == stored
    assert merchant.balance()["available"] == "100"


def test_two_requests_race_for_one_void(merchant: Merchant) -> None:
    """Proves: of many voids at once, with and without keys of their own, one gives back, and all tell the same void."""
    merchant.usage(event(key="raced", quantity="7000"))
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda _: void(merchant, "raced"), range(24)))
    assert sorted(answer["alreadyVoided"] for answer in answers) == [False] + [True] * 23
    assert len({(answer["voidedAt"], answer["balanceAfter"]) for answer in answers}) == 1
    assert merchant.balance()["available"] == "100"
    assert merchant.product.sql.value("SELECT count(*) FROM usage_voids WHERE tenant_id = $1", merchant.tenant_id) == 1


def test_overdraft_is_repaid_and_expired_grants_expire_again(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: what no grant paid repays overdraft, and what comes back to a grant that has expired meanwhile is gone at once."""
    merchant = new_merchant()
    merchant.ok("POST", "/v1/customers", {"externalId": "acme", "overdraftLimit": None})
    grant = merchant.grant("1", expiresAt=moment(1.5))["grantId"]
    merchant.usage(event(key="mixed", quantity="3000"))
    assert merchant.balance()["available"] == "-2"
    time.sleep(1.6)
    done = void(merchant, "mixed")
    wallet = {"account": "customer_wallet"}
    assert done["givenBackTo"] == [{**wallet, "grantId": grant, "amount": "1"}, {**wallet, "grantId": None, "amount": "2"}]
    assert done["balanceAfter"] == merchant.balance()["available"] == "0"
    kinds = [one["kind"] for one in merchant.ok("GET", "/v1/customers/acme/history")["data"]]
    assert kinds == ["grant_expiry", "void", "void", "usage", "usage", "grant"]


def test_a_free_event_is_voided_without_a_posting(merchant: Merchant) -> None:
    """Proves: nothing to give back is no reason to keep it in the sums."""
    merchant.ok("POST", "/v1/rate-cards", {"name": "free", "currency": "CNY", "charges": [{"metric": "images", "price": "0"}]})
    merchant.usage(event(key="free", metric="images", quantity="2"))
    postings = merchant.stored()["postings"]
    assert used(merchant)[:2] == (1, 2)
    assert void(merchant, "free")["givenBackTo"] == []
    assert merchant.ok("GET", "/v1/usage-events/free")["void"]["postingSequence"] is None
    assert (used(merchant)[0], merchant.stored()["postings"]) == (0, postings)


def test_a_void_does_not_open_more_grants_than_a_customer_may_have(merchant: Merchant) -> None:
    """Proves: with 100 open grants, an event that a spent one paid cannot be given back; once there is room it can."""
    merchant.grant("1", kind="promotional")
    merchant.usage(event(key="paid by the spent one", quantity="1000"))
    for number in range(99):
        merchant.grant("0.01", kind="bonus", priority=number)
    before = merchant.balance()
    assert len(before["grants"]) == 100
    path = "/v1/usage-events/paid by the spent one/void"
    assert_problem(merchant.call("POST", path, {}), 422, "too_many_grants")
    assert merchant.balance() == before
    merchant.usage(event(quantity="10"))
    assert merchant.ok("POST", path, {})["balanceAfter"] == "101.98"


def test_simulations_leave_voided_events_out(merchant: Merchant) -> None:
    """Proves: what another card would have earned does not count what was taken back, and counts what amends it."""
    merchant.usage(*(event(key=key, quantity="1000") for key in ("stays", "goes", "changes")))
    void(merchant, "goes")
    merchant.ok("POST", "/v1/usage-events/changes/amend", {"idempotencyKey": "changed", "quantity": "500"})
    card = {"name": "dear", "currency": "CNY", "charges": [{"metric": "tokens_input", "per": "1000", "price": "3"}], "draft": True}
    card_id = merchant.ok("POST", "/v1/rate-cards", card)["rateCardId"]
    report = merchant.ok("POST", f"/v1/rate-cards/{card_id}/simulate", {})
    assert (report["events"], report["before"], report["after"]) == (2, "1.5", "4.5")


def test_an_amendment_is_both_or_neither(merchant: Merchant) -> None:
    """Proves: the new event takes what is not said from the old one; refused, nothing has happened; repeated, it is the first answer."""
    merchant.usage(event(key="old", quantity="60000", dimensions={"model": "x"}))
    path = "/v1/usage-events/old/amend"
    before = (merchant.balance(), merchant.stored(), used(merchant))
    for body, status, code in (
        ({"idempotencyKey": "new", "quantity": "100001"}, 402, "insufficient_balance"),
        ({"idempotencyKey": "new", "metric": "images"}, 422, "no_price"),
        ({"idempotencyKey": "new", "metric": "nothing"}, 422, "unknown_metric"),
        ({"idempotencyKey": "new", "occurredAt": moment(-36 * 86_400)}, 422, "too_old"),
        ({"idempotencyKey": "new", "occurredAt": moment(600)}, 422, "in_future"),
        ({"idempotencyKey": "new", "quantity": "-1"}, 422, "invalid_quantity"),
        ({"idempotencyKey": "new", "quantity": "1e3"}, 422, "invalid_quantity"),
        ({"idempotencyKey": "new", "dimensions": {"a": 1}}, 422, "invalid_dimensions"),
        ({"idempotencyKey": ""}, 422, "invalid_idempotency_key"),
        ({"idempotencyKey": "old"}, 409, "idempotency_conflict"),
        ({"idempotencyKey": "new", "reason": "x" * 256}, 422, "invalid_reason"),
        ({"idempotencyKey": "new", "customerExternalId": "other"}, 422, "unknown_field"),
        ({"quantity": "1"}, 422, "missing_field"),
    ):
        assert_problem(merchant.call("POST", path, body), status, code)
    assert_problem(merchant.call("POST", "/v1/usage-events/never/amend", {"idempotencyKey": "new"}), 404, "event_not_found")
    assert (merchant.balance(), merchant.stored(), used(merchant)) == before
    body = {"idempotencyKey": "new", "quantity": "99000.5", "reason": "estimate"}
    done = merchant.ok("POST", path, body)
    assert (done["void"]["amount"], done["event"]["charge"], done["balanceAfter"]) == ("60", "99.0005", "0.9995")
    assert merchant.ok("POST", path, body) == done
    assert_problem(merchant.call("POST", path, {**body, "quantity": "1"}), 409, "event_voided")
    assert_problem(merchant.call("POST", path, {**body, "idempotencyKey": "third"}), 409, "event_voided")
    assert void(merchant, "old")["amendedBy"] == "new"
    new, old = merchant.ok("GET", "/v1/usage-events/new"), merchant.ok("GET", "/v1/usage-events/old/charge")
    assert (new["amends"], new["amendedBy"], new["void"], new["quantity"], new["dimensions"]) == (
        "old",
        None,
        None,
        "99000.5",
        {"model": "x"},
    )
    assert (old["amends"], old["amendedBy"], old["void"]["amount"]) == (None, "new", "60")
    assert new["occurredAt"] == old["occurredAt"]
    assert used(merchant) == (1, Decimal("99000.5"), Decimal("99.0005"))
    # What amends can be amended, and voided, in its turn.
    merchant.ok("POST", "/v1/usage-events/new/amend", {"idempotencyKey": "newer", "quantity": "1000"})
    void(merchant, "newer")
    assert merchant.balance()["available"] == "100"


@pytest.mark.parametrize("reason", ["", "x" * 256, "é" * 128, "a\nb", "\x00", "\x85", 5])
def test_bad_reasons(merchant: Merchant, reason: object) -> None:
    """Proves: a reason out of bounds is one clear error and voids nothing."""
    merchant.usage(event(key="kept"))
    before = merchant.balance()
    problem = merchant.call("POST", "/v1/usage-events/kept/void", {"reason": reason})
    assert_problem(problem, 422, "invalid_body" if reason in (5, "\x00") else "invalid_reason")
    assert merchant.balance() == before
    assert merchant.ok("GET", "/v1/usage-events/kept")["void"] is None
