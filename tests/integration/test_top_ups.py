"""Top-ups before they are paid: what may be bought, which bonus is promised, and who may see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.product import Merchant, assert_problem, moment

SETTINGS = "/v1/top-up-settings"
PROMOTIONS = "/v1/promotions"
TOP_UPS = "/v1/top-ups"


def top_up(merchant: Merchant, amount: str = "100", customer: str = "acme", **fields: Any) -> dict[str, Any]:
    """A top-up that must succeed."""
    return merchant.ok("POST", TOP_UPS, {"customerExternalId": customer, "amount": amount, **fields})


def promotion(merchant: Merchant, **fields: Any) -> dict[str, Any]:
    """A promotion that must succeed."""
    return merchant.ok("POST", PROMOTIONS, {"name": "Buy 100, get 20", "buy": "100", "get": "20", **fields})


def test_settings_begin_with_four_tiers_and_can_be_replaced(merchant: Merchant) -> None:
    """Proves: the tiers are ¥30, 100, 300 and 1,000 until they are set; what was set is what comes back, and what top-ups must keep to."""
    assert merchant.ok("GET", SETTINGS)["tiers"] == ["30", "100", "300", "1000"]
    wanted = {
        "tiers": ["50.00", "8.88"],
        "freeAmounts": None,
        "displayName": "小店",
        "paidValidDays": None,
        "bonusValidDays": 90,
        "refundWindowDays": 7,
        "checkoutValidMinutes": 10,
    }
    assert merchant.ok("PUT", SETTINGS, wanted) == {**wanted, "tiers": ["8.88", "50"]}
    assert merchant.ok("GET", SETTINGS) == {**wanted, "tiers": ["8.88", "50"]}
    assert top_up(merchant, "8.88")["amount"] == "8.88"
    for amount in ("100", "8.89", "49.99"):
        answer = merchant.call("POST", TOP_UPS, {"customerExternalId": "acme", "amount": amount})
        assert_problem(answer, 422, "invalid_amount")
    merchant.ok("PUT", SETTINGS, {"tiers": [], "freeAmounts": {"minimum": "5", "maximum": "6"}})
    assert top_up(merchant, "5.01")["amount"] == "5.01"
    assert_problem(merchant.call("POST", TOP_UPS, {"customerExternalId": "acme", "amount": "6.01"}), 422, "invalid_amount")


@pytest.mark.parametrize(
    "wrong",
    [
        {"tiers": []},
        {"tiers": ["0"]},
        {"tiers": ["10", "10.00"]},
        {"tiers": ["10.001"]},
        {"tiers": ["50000.01"]},
        {"tiers": ["1e2"]},
        {"tiers": ["１２"]},
        {"tiers": [str(number) for number in range(1, 14)]},
        {"tiers": ["1"], "freeAmounts": {"minimum": "2", "maximum": "1"}},
        {"tiers": ["1"], "freeAmounts": {"minimum": "-1", "maximum": "1"}},
        {"tiers": ["1"], "refundWindowDays": 366},
        {"tiers": ["1"], "bonusValidDays": 0},
        {"tiers": ["1"], "checkoutValidMinutes": 4},
        {"tiers": ["1"], "displayName": " "},
        {"tiers": ["1"], "displayName": "a\u0007"},
        {"tiers": ["1"], "status": "open"},
    ],
)
def test_settings_that_are_refused(merchant: Merchant, wrong: dict[str, Any]) -> None:
    """Proves: nothing of it is stored."""
    assert_problem(merchant.call("PUT", SETTINGS, wrong), 422)
    assert merchant.ok("GET", SETTINGS)["tiers"] == ["30", "100", "300", "1000"]


def test_a_top_up_has_all_that_its_customer_needs(merchant: Merchant) -> None:
    """Proves: it is open, has an address of its own, ends in half an hour, and is found by its id and in the lists."""
    made = top_up(merchant, "100", returnUrl="https://shop.example/paid?order=1", locale="en")
    assert (made["status"], made["amount"], made["bonus"], made["currency"]) == ("open", "100", "0", "CNY")
    assert made["payment"] is None
    assert made["checkoutUrl"].startswith(f"{merchant.product.url}/pay/")
    assert len(made["checkoutUrl"].rpartition("/")[2]) == 43
    other = top_up(merchant, "30", customer="somebody new")
    assert other["checkoutUrl"] != made["checkoutUrl"]
    assert merchant.ok("GET", "/v1/customers/somebody%20new")["currency"] == "CNY"
    assert merchant.ok("GET", f"{TOP_UPS}/{made['topUpId']}") == made
    assert [one["topUpId"] for one in merchant.ok("GET", TOP_UPS)["data"]] == [other["topUpId"], made["topUpId"]]
    assert merchant.ok("GET", f"{TOP_UPS}?customerExternalId=acme")["data"] == [made]
    page = merchant.ok("GET", f"{TOP_UPS}?limit=1")
    assert merchant.ok("GET", f"{TOP_UPS}?limit=1&cursor={page['nextCursor']}") == {"data": [made], "nextCursor": None}
    row = merchant.product.sql.fetch(
        "SELECT made_by, request_id, expires_at - created_at AS lives FROM top_ups WHERE top_up_id = $1", made["topUpId"]
    )[0]
    assert row["made_by"].startswith("key_")
    assert row["request_id"].startswith("req_")
    assert row["lives"].total_seconds() == 1_800


def test_the_same_request_is_the_same_top_up(merchant: Merchant) -> None:
    """Proves: a repetition gets the first answer, another body under the same key 409."""
    body = {"customerExternalId": "acme", "amount": "100"}
    first = merchant.call("POST", TOP_UPS, body, Idempotency_Key="one")
    assert merchant.call("POST", TOP_UPS, body, Idempotency_Key="one").json() == first.json()
    assert_problem(merchant.call("POST", TOP_UPS, {**body, "amount": "30"}, Idempotency_Key="one"), 409, "idempotency_conflict")
    assert len(merchant.ok("GET", TOP_UPS)["data"]) == 1


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        *[
            ({"amount": amount}, "invalid_amount")
            for amount in ("0", "-1", "-0", "0.001", "1e2", "NaN", "1_0", " 5 ", "٣", "1e300000", "9" * 25, "")
        ],
        ({"amount": 100}, "invalid_body"),
        ({"customerExternalId": ""}, "invalid_customer"),
        ({"customerExternalId": "x" * 256}, "invalid_customer"),
        ({"status": "paid"}, "unknown_field"),
        ({"bonus": "100"}, "unknown_field"),
        ({"merchantId": "mer_1"}, "unknown_field"),
        *[
            ({"returnUrl": url}, "invalid_parameter")
            for url in (
                "",
                "javascript:alert(1)",
                "/here",
                "http://",
                "https://a@b.example/",
                "https://a.example/\n",
                "https://" + "a" * 2048,
                "ftp://a.example",
            )
        ],
    ],
)
def test_top_ups_that_are_refused(merchant: Merchant, fields: dict[str, Any], code: str) -> None:
    """Proves: one clear error, and nothing stored."""
    assert_problem(merchant.call("POST", TOP_UPS, {"customerExternalId": "acme", "amount": "100", **fields}), 422, code)
    assert merchant.ok("GET", TOP_UPS)["data"] == []


def test_live_checkouts_lead_back_over_tls_only(merchant: Merchant) -> None:
    """Proves: an address without TLS is taken in the sandbox and refused in live mode."""
    fields = {"customerExternalId": "acme", "amount": "100", "returnUrl": "http://shop.example/"}
    assert merchant.call("POST", TOP_UPS, fields).status_code == 201
    live = merchant.live
    assert_problem(live.call("POST", TOP_UPS, fields), 422, "invalid_parameter")
    live.close()


def test_credits_need_a_wallet_in_yuan(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: a customer with another currency, or one that the merchant does not want made, gets no top-up."""
    merchant = new_merchant(unknown_customers="refuse")
    assert_problem(merchant.call("POST", TOP_UPS, {"customerExternalId": "nobody", "amount": "100"}), 404, "unknown_customer")
    merchant.ok("POST", "/v1/customers", {"externalId": "sam", "currency": "USD"})
    assert_problem(merchant.call("POST", TOP_UPS, {"customerExternalId": "sam", "amount": "100"}), 422, "currency_mismatch")


def test_the_best_promotion_in_force_is_promised(merchant: Merchant) -> None:
    """Proves: below its amount none, once or for every whole amount, the largest counts, and only within its window."""
    assert top_up(merchant, "300")["bonus"] == "0"
    once = promotion(merchant)
    assert (once["state"], once["endsAt"]) == ("active", None)
    assert [top_up(merchant, amount)["bonus"] for amount in ("99.99", "100", "300")] == ["0", "20", "20"]
    often = promotion(merchant, name="every 100", get="15", repeats=True)
    assert [top_up(merchant, amount)["bonus"] for amount in ("100", "199.99", "300", "1000")] == ["20", "20", "45", "150"]
    assert top_up(merchant, "300")["promotionId"] == often["promotionId"]
    promotion(merchant, name="to come", get="99", startsAt=moment(3600), endsAt=moment(7200))
    assert top_up(merchant, "100")["bonus"] == "20"
    ended = merchant.ok("POST", f"{PROMOTIONS}/{once['promotionId']}/end", {})
    assert ended["state"] == "ended"
    assert merchant.ok("POST", f"{PROMOTIONS}/{once['promotionId']}/end", {}) == ended
    assert top_up(merchant, "100")["bonus"] == "15"
    assert [one["state"] for one in merchant.ok("GET", PROMOTIONS)["data"]] == ["scheduled", "active", "ended"]


def test_changes_of_what_is_sold_are_told(merchant: Merchant) -> None:
    """Proves: new settings, a promotion and its end are in the audit log, once each, with what was before and after."""
    first = merchant.ok("GET", SETTINGS)
    second = merchant.ok("PUT", SETTINGS, {**first, "tiers": ["10"]})
    merchant.ok("PUT", SETTINGS, {**first, "tiers": ["10"]})
    made = promotion(merchant)
    ended = merchant.ok("POST", f"{PROMOTIONS}/{made['promotionId']}/end", {})
    told = [one for one in merchant.ok("GET", "/v1/audit-log")["data"] if one["objectKind"] in ("top_up_settings", "promotion")][::-1]
    assert [(one["action"], one["before"], one["after"]) for one in told] == [
        ("top_up_settings.update", first, second),
        ("promotion.create", None, made),
        ("promotion.end", made, ended),
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"buy": "0"},
        {"get": "-1"},
        {"get": "0.005"},
        {"usesPerCustomer": 0},
        {"bonusValidDays": 0},
        {"endsAt": "2020-01-01T00:00:00Z"},
        {"startsAt": "tomorrow"},
        {"startsAt": "2090-01-01T00:00:00Z", "endsAt": "2090-01-01T00:00:00Z"},
        {"state": "active"},
    ],
)
def test_promotions_that_are_refused(merchant: Merchant, fields: dict[str, Any]) -> None:
    """Proves: one clear error, and nothing stored."""
    assert_problem(merchant.call("POST", PROMOTIONS, {"name": "x", "buy": "100", "get": "20", **fields}), 422)
    assert merchant.ok("GET", PROMOTIONS)["data"] == []
