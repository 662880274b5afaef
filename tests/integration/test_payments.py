"""Payments from the checkout to the books: credited, repeated, wrong, late, refunded. The simulator is the channels' truth."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from typing import Any

import httpx
import pytest

from tests.payer import BROWSER, Payer
from tests.product import Merchant, assert_problem, event, wait_until


@pytest.fixture
def payer(new_merchant: Callable[..., Merchant]) -> Iterator[Payer]:
    """A customer of a fresh merchant; the simulator behaves as channels do."""
    one = Payer(new_merchant())
    one.control("callbacks", mode="normal")
    one.control("refunds", delaySeconds=0, gapSeconds=0)
    yield one
    one.control("callbacks", mode="normal")
    one.close()


def available(payer: Payer) -> Decimal:
    return Decimal(payer.merchant.balance()["available"])


def assert_whole(payer: Payer) -> None:
    """The books agree with one another."""
    report = payer.merchant.product.verify()
    assert (report["exit"], report["differences"]) == (0, [])


@pytest.mark.parametrize("way", ["native", "precreate"])
def test_a_payment_becomes_credits(payer: Payer, way: str) -> None:
    """Proves: what is paid is in the wallet as two grants, bonus and paid, and in the cash book with its fee; the books agree."""
    payer.merchant.ok("POST", "/v1/promotions", {"name": "welcome", "buy": "100", "get": "20", "firstPurchaseOnly": True})
    made = payer.top_up()
    payer.pay(made, way)
    payer.credited(made)
    grants = {one["kind"]: one["amount"] for one in payer.merchant.ok("GET", "/v1/customers/acme/grants")["data"]}
    assert grants == {"paid": "100", "bonus": "20"}
    channel = "wechat" if way == "native" else "alipay"
    assert payer.book() == {f"{channel}_clearing": "100", f"{channel}_fees": "0.6", "merchant_payable": "99.4"}
    again = payer.top_up()
    payer.pay(again, way)
    payer.credited(again)
    # The bonus was for the first purchase.
    assert available(payer) == 220
    assert payer.alerts() == []
    assert_whole(payer)


def test_a_callback_a_hundred_times_at_once(payer: Payer) -> None:
    """Proves: copies of a callback, and news of the same payment from elsewhere, are one credit."""
    made = payer.top_up()
    payer.control("callbacks", mode="duplicate", times=100)
    payer.pay(made)
    payer.credited(made)
    number = payer.order(made)["order_no"]
    payer.control("callbacks", mode="normal")
    threads = [threading.Thread(target=payer.control, args=(f"orders/{number}/announce",)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert available(payer) == 100
    assert payer.sql.value("SELECT count(*) FROM cash_postings WHERE tenant_id = $1 AND kind = 'payment'", payer.merchant.tenant_id) == 1
    assert payer.alerts() == []
    assert_whole(payer)


def test_without_callbacks_we_ask(payer: Payer) -> None:
    """Proves: a payment of which the channel says nothing is found by asking, while the payer looks at the page."""
    payer.control("callbacks", mode="off")
    made = payer.top_up()
    payer.pay(made)

    def seen() -> bool:
        assert payer.client.get(f"{made['checkoutUrl']}/status").status_code == 200
        return payer.status(made) == "credited"

    wait_until(seen, 20)
    assert payer.order(made)["settled_by"] == "poll"
    assert available(payer) == 100


@pytest.mark.parametrize(
    ("said", "kind"),
    [({"amount": "1.00"}, "wrong_amount"), ({"currency": "USD"}, "wrong_currency"), ({"collectorId": "1999999999"}, "wrong_collector")],
)
def test_a_payment_that_is_not_what_was_ordered(payer: Payer, said: dict[str, str], kind: str) -> None:
    """Proves: a signed callback with another amount, currency or collector gives no credit, and is put aside with an alert."""
    made = payer.top_up()
    code = payer.start(made)
    payer.control(f"orders/{payer.order(made)['order_no']}", everywhere=True, **said)
    assert payer.press(code).is_success
    wait_until(lambda: payer.alerts() == [kind], 20)
    assert payer.status(made) == "open"
    assert available(payer) == 0
    suspense = payer.book().get("payment_suspense")
    assert suspense == {"wrong_amount": "1", "wrong_collector": "100"}.get(kind)
    assert_whole(payer)


def test_paid_after_it_was_cancelled(payer: Payer) -> None:
    """Proves: a payment of a cancelled top-up goes back whole, with an alert, under the number that belongs to its order."""
    made = payer.top_up()
    payer.control("callbacks", mode="off")
    code = payer.start(made)
    assert payer.press(code).is_success
    payer.merchant.ok("POST", f"/v1/top-ups/{made['topUpId']}/cancel", {})
    payer.control("callbacks", mode="normal")
    # Whoever was first, cancellation or payment, nobody has both money and credit.
    wait_until(lambda: payer.status(made) in ("credited", "canceled") and payer.order(made)["status"] == "paid", 20)
    if payer.status(made) == "canceled":
        refunds = payer.merchant.ok("GET", f"/v1/top-ups/{made['topUpId']}/refunds")["data"]
        assert [payer.final(one["refundId"])["status"] for one in refunds] == ["succeeded"]
        assert payer.alerts() == ["paid_after_cancel"]
    else:
        assert available(payer) == 100
    assert_whole(payer)


def test_refunds_take_back_what_is_unspent(payer: Payer) -> None:
    """Proves: a part takes its share of the bonus; more than the payment, or than what is unspent, is refused; the fee comes back."""
    merchant = payer.merchant
    merchant.ok("POST", "/v1/promotions", {"name": "welcome", "buy": "100", "get": "20"})
    made = payer.top_up()
    payer.pay(made)
    payer.credited(made)
    first = payer.refund(made, "50", "half of it")
    assert (first["status"], first["creditsTaken"]) == ("succeeded", {"paid": "50", "bonus": "10"})
    assert available(payer) == 60
    assert payer.book() == {"wechat_clearing": "50", "wechat_fees": "0.3", "merchant_payable": "49.7"}
    path = f"/v1/top-ups/{made['topUpId']}/refunds"
    assert_problem(merchant.call("POST", path, {"amount": "50.01"}), 422, "refund_exceeds_payment")
    merchant.usage(*(event(quantity="1000", key=f"spent-{number}") for number in range(30)))
    assert available(payer) == 30
    assert_problem(merchant.call("POST", path, {"amount": "50"}), 422, "refund_exceeds_unspent")
    for amount in ("0", "-1", "0.001", "1e2", "NaN"):
        assert_problem(merchant.call("POST", path, {"amount": amount}), 422, "invalid_amount")
    rest = payer.refund(made, "20")
    assert rest["status"] == "succeeded"
    history = merchant.ok("GET", "/v1/customers/acme/history?kind=refund")["data"]
    assert sum(Decimal(one["amount"]) for one in history) == 60 + Decimal(rest["creditsTaken"]["paid"]) + Decimal(
        rest["creditsTaken"]["bonus"]
    )
    told = [one["action"] for one in merchant.ok("GET", "/v1/audit-log?limit=50")["data"]]
    assert told.count("refund.create") == 2
    assert_whole(payer)


def test_parallel_refunds_never_exceed_the_payment(payer: Payer) -> None:
    """Proves: of ten refunds of ¥30 asked for at once, three are taken."""
    made = payer.top_up()
    payer.pay(made)
    payer.credited(made)
    path = f"/v1/top-ups/{made['topUpId']}/refunds"
    answers: list[httpx.Response] = []
    headers = {"Authorization": f"Bearer {payer.merchant.sandbox_key}"}

    def ask() -> None:
        answers.append(httpx.post(payer.merchant.product.url + path, json={"amount": "30"}, headers=headers, timeout=30, trust_env=False))

    threads = [threading.Thread(target=ask) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = [one.json()["refundId"] for one in answers if one.status_code == 201]
    assert len(taken) == 3, [one.text for one in answers]
    assert all(one.status_code == 422 for one in answers if one.status_code != 201)
    assert [payer.final(one)["status"] for one in taken] == ["succeeded"] * 3
    assert available(payer) == 10
    assert_whole(payer)


def test_a_refund_that_the_channel_refuses_gives_the_credits_back(payer: Payer) -> None:
    """Proves: credits that were taken for a refund are there again when the channel closes it; the cash book never heard of it."""
    made = payer.top_up()
    payer.pay(made)
    payer.credited(made)
    payer.control("refunds", outcome="CLOSED", delaySeconds=0, gapSeconds=0)
    closed = payer.refund(made, "40")
    payer.control("refunds", delaySeconds=0, gapSeconds=0)
    assert closed["status"] == "closed"
    wait_until(lambda: available(payer) == 100, 20)
    assert payer.book()["wechat_clearing"] == "100"
    assert "refund_closed" in payer.alerts()
    assert_whole(payer)


def test_a_refund_of_which_nobody_can_say_whether_there_is_one(payer: Payer) -> None:
    """Proves: a refund that was taken, its answer lost, then refused, then not looked up, keeps its credits until the channel says."""
    made = payer.top_up()
    payer.pay(made)
    payer.credited(made)
    payer.control("callbacks", mode="off")
    path = "/v3/refund/domestic/refunds"
    payer.control("faults", path=path, status=500, when="after")
    payer.control("faults", path=path, status=403, code="TRADE_ERROR")
    payer.control("faults", path=path, status=429, code="FREQUENCY_LIMITED")
    found = payer.refund(made, "40")
    assert found["status"] == "succeeded", found
    assert payer.client.get(f"{payer.simulator}/control/faults").json() == {"faults": []}
    assert available(payer) == 60
    assert payer.book()["wechat_clearing"] == "60"
    assert_whole(payer)


def test_callbacks_that_no_channel_sent(payer: Payer, product_url: str) -> None:
    """Proves: what is unsigned, signed by a stranger, a probe, or for an account that does not exist changes nothing."""
    made = payer.top_up()
    code = payer.start(made)
    account = payer.order(made)["channel_account_id"]
    before = payer.merchant.stored()
    signed: dict[str, Any] = {
        "wechatpay-timestamp": "1795496400",
        "wechatpay-nonce": "n",
        "wechatpay-serial": "PUB_KEY_ID_0",
        "wechatpay-signature": "WECHATPAY/SIGNTEST/AAAA",
    }
    for headers in ({}, signed, signed | {"wechatpay-signature": "AAAA"}):
        answer = payer.client.post(f"{product_url}/callbacks/wechat/{account}", content=b"{}", headers=headers)
        assert 400 <= answer.status_code < 600, answer.text
        assert answer.json()["code"] == "FAIL"
    missing = payer.client.post(f"{product_url}/callbacks/wechat/ca_{'0' * 24}", content=b"{}", headers=signed)
    crossed = payer.client.post(f"{product_url}/callbacks/alipay/{account}", content=b"a=1", headers=signed)
    assert (missing.status_code, crossed.status_code) == (404, 404)
    payer.control("callbacks", mode="forged")
    assert payer.press(code).is_success
    payer.control("callbacks", mode="normal")
    payer.credited(made)
    assert payer.merchant.stored()["grants"] == before["grants"] + 1
    assert_whole(payer)


@pytest.fixture
def product_url(payer: Payer) -> str:
    """Where callbacks are taken."""
    return payer.merchant.product.url


def test_a_public_page_makes_no_orders_without_bound(payer: Payer) -> None:
    """Proves: of a top-up there are twenty orders at most, also when many ask at once; then a page says so, and the open one is paid."""
    made = payer.top_up()
    count = partial(payer.sql.value, "SELECT count(*) FROM payment_orders WHERE top_up_id = $1", made["topUpId"])

    def begin(openid: str) -> int:
        form = {"product": "jsapi", "openid": openid}
        return httpx.post(f"{made['checkoutUrl']}/start", data=form, headers=BROWSER, timeout=60, trust_env=False).status_code

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(begin, (f"oPayer{number:022}" for number in range(40))))
    assert count() == 20
    assert 409 in answers
    assert set(answers) <= {303, 409, 503}
    refused = payer.client.post(f"{made['checkoutUrl']}/start", data={"product": "native"})
    assert refused.status_code == 409
    assert "尝试付款的次数过多" in refused.text
    assert count() == 20
    # A new top-up has its own twenty, and the last of them can be paid after the next was refused.
    other = payer.top_up()
    for number in range(19):
        payer.client.post(f"{other['checkoutUrl']}/start", data={"product": "jsapi", "openid": f"oPayer{number:022}"})
    code = payer.start(other)
    assert payer.client.post(f"{other['checkoutUrl']}/start", data={"product": "precreate"}).status_code == 409
    assert payer.start(other) == code
    assert payer.press(code).is_success
    payer.credited(other)
