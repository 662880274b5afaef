"""Alipay's stand-in as a merchant meets it: signatures, trades that exist only once somebody scanned, refunds, and the cashier."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from tests.simulation import AlipayMerchant, Simulation, is_signed, new_key, new_number

PRECREATE = "alipay.trade.precreate"


@pytest.fixture
def merchant(simulation: Simulation) -> AlipayMerchant:
    """A seller."""
    return simulation.alipay()


def refused(found: dict[str, Any], code: str, sub_code: str) -> None:
    """One error in the channel's form."""
    assert (found["code"], found["sub_code"]) == (code, sub_code), found
    assert found["msg"]
    assert found["sub_msg"]


def no_trade(found: dict[str, Any]) -> None:
    """What both query and close say before anybody scanned."""
    refused(found, "40004", "ACQ.TRADE_NOT_EXIST")


def test_a_trade_from_scan_to_refunds(simulation: Simulation, merchant: AlipayMerchant) -> None:
    """Proves: no trade before the scan, then WAIT_BUYER_PAY, TRADE_SUCCESS, and TRADE_CLOSED once wholly refunded."""
    number, code = merchant.create(amount="12.34")
    assert re.fullmatch(r"https://qr\.alipay\.com/bax\w+", code)
    no_trade(merchant.query(number))
    no_trade(merchant.call("alipay.trade.close", {"out_trade_no": number}))
    assert simulation.http.get(f"{simulation.url}/phone", params={"code": code}).status_code == 200
    waiting = merchant.query(number)
    assert (waiting["trade_status"], waiting["total_amount"]) == ("WAIT_BUYER_PAY", "12.34")
    assert "send_pay_date" not in waiting
    refused(merchant.refund(number, "1.00", "early"), "40004", "ACQ.TRADE_STATUS_ERROR")
    simulation.pay(code)
    paid = merchant.query(number)
    assert (paid["trade_status"], paid["receipt_amount"], paid["buyer_pay_amount"]) == ("TRADE_SUCCESS", "12.34", "12.34")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", paid["send_pay_date"])
    assert merchant.call("alipay.trade.query", {"trade_no": paid["trade_no"]}) == paid
    refused(merchant.call("alipay.trade.close", {"out_trade_no": number}), "40004", "ACQ.TRADE_STATUS_ERROR")

    refused(merchant.refund(number, "4.00"), "40004", "ACQ.INVALID_PARAMETER")
    first = merchant.refund(number, "4.00", "part-1")
    assert (first["code"], first["fund_change"], first["refund_fee"]) == ("10000", "Y", "4.00")
    again = merchant.refund(number, "4.00", "part-1")
    assert (again["fund_change"], again["refund_fee"]) == ("N", "4.00")
    refused(merchant.refund(number, "5.00", "part-1"), "40004", "ACQ.DISCORDANT_REPEAT_REQUEST")
    refused(merchant.refund(number, "8.35", "part-2"), "40004", "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL")
    assert merchant.query(number)["trade_status"] == "TRADE_SUCCESS"
    assert merchant.refund(number, "8.34", "part-2")["refund_fee"] == "12.34"
    assert merchant.query(number)["trade_status"] == "TRADE_CLOSED"
    refused(merchant.refund(number, "0.01", "part-3"), "40004", "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL")
    query = {"out_trade_no": number, "out_request_no": "part-1"}
    found = merchant.call("alipay.trade.fastpay.refund.query", query)
    assert (found["refund_status"], found["refund_amount"], found["total_amount"]) == ("REFUND_SUCCESS", "4.00", "12.34")
    nothing = merchant.call("alipay.trade.fastpay.refund.query", {**query, "out_request_no": "part-9"})
    assert nothing["code"] == "10000"
    assert "refund_status" not in nothing


def test_the_independent_library_is_understood_and_understands(simulation: Simulation, merchant: AlipayMerchant) -> None:
    """Proves: python-alipay-sdk's signatures are accepted here, and it accepts the signatures of answers with Chinese and slashes."""
    from alipay.exceptions import AliPayValidationError

    library, number = merchant.library(), new_number()
    made = library.api_alipay_trade_precreate(subject="充值100元", out_trade_no=number, total_amount="100.00")
    assert made["qr_code"].startswith("https://qr.alipay.com/")
    simulation.pay(made["qr_code"])
    assert library.api_alipay_trade_query(out_trade_no=number)["trade_status"] == "TRADE_SUCCESS"
    assert library.api_alipay_trade_refund("1.50", out_trade_no=number, out_request_no="a")["refund_fee"] == "1.50"
    assert library.api_alipay_trade_fastpay_refund_query("a", out_trade_no=number)["refund_status"] == "REFUND_SUCCESS"
    unpaid = new_number()
    assert library.api_alipay_trade_query(out_trade_no=unpaid)["sub_code"] == "ACQ.TRADE_NOT_EXIST"
    page = library.api_alipay_trade_page_pay("充值", unpaid, "3.00", return_url="https://shop.example/back")
    done = simulation.pay(f"{simulation.url}/gateway.do?{page}")
    assert done["orderNo"] == unpaid
    result = dict(parse_qsl(urlsplit(done["redirectUrl"]).query, keep_blank_values=True))
    sign = result.pop("sign")
    assert library.verify(dict(result), sign)
    assert library.api_alipay_trade_query(out_trade_no=unpaid)["total_amount"] == "3.00"
    simulation.control("faults", path="/gateway.do", status="sign_error")
    with pytest.raises(AliPayValidationError):
        library.api_alipay_trade_query(out_trade_no=number)


def test_public_parameters_are_checked(simulation: Simulation, merchant: AlipayMerchant) -> None:
    """Proves: each missing or wrong public parameter has its own answer, and nothing is stored for a wrong signature."""
    number = new_number()

    def call(**changes: str) -> dict[str, Any]:
        return merchant.call(PRECREATE, merchant.order(number), **changes)

    for name in ("sign", "sign_type", "charset", "timestamp", "version"):
        refused(call(**{name: ""}), "40001", f"isv.missing-{name.replace('_', '-').replace('sign', 'signature')}")
    refused(call(sign="AAAA"), "40002", "isv.invalid-signature")
    refused(call(sign_type="RSA"), "40002", "isv.invalid-signature-type")
    refused(call(charset="gbk"), "40002", "isv.invalid-charset")
    refused(call(version="2.0"), "40002", "isv.invalid-version")
    refused(call(timestamp="2026-01-01T00:00:00"), "40002", "isv.invalid-timestamp")
    refused(call(app_auth_token="x"), "20001", "aop.invalid-app-auth-token")
    refused(call(biz_content="{"), "40002", "isv.invalid-parameter")
    refused(call(biz_content="[]"), "40002", "isv.invalid-parameter")
    refused(merchant.call("alipay.trade.nothing", {}), "40006", "isv.insufficient-isv-permissions")
    other = AlipayMerchant(simulation, new_key(), {**merchant.facts, "appId": "2021000000000000"}, merchant.notify_url)
    unsigned = simulation.http.post(f"{simulation.url}/gateway.do", data=other.parameters(PRECREATE, merchant.order())).json()
    refused(unsigned["error_response"], "40002", "isv.invalid-app-id")
    assert "sign" not in unsigned
    altered = merchant.parameters(PRECREATE, merchant.order(number, "1.00"))
    altered["biz_content"] = altered["biz_content"].replace("1.00", "0.01")
    assert "invalid-signature" in simulation.http.post(f"{simulation.url}/gateway.do", data=altered).text
    assert simulation.http.get(f"{simulation.url}/control/orders/{number}").status_code == 404
    # Parameters in the address count like those in the body.
    got = simulation.http.get(f"{simulation.url}/gateway.do", params=merchant.parameters(PRECREATE, merchant.order(number))).json()
    assert got["alipay_trade_precreate_response"]["code"] == "10000"


@pytest.mark.parametrize(
    "changes",
    [
        {"out_trade_no": None}, {"out_trade_no": "a-b"}, {"out_trade_no": "a" * 65}, {"out_trade_no": 5}, {"total_amount": None},
        {"total_amount": "0.00"}, {"total_amount": "0"}, {"total_amount": "1.001"}, {"total_amount": "-1"}, {"total_amount": "1e2"},
        {"total_amount": "１.00"}, {"total_amount": 1}, {"total_amount": "100000000.01"}, {"total_amount": "NaN"}, {"subject": None},
        {"subject": "a/b"}, {"subject": "a=b"}, {"subject": "a&b"}, {"subject": "长" * 257}, {"time_expire": "2030-01-01T00:00:00+08:00"},
        {"time_expire": "2020-01-01 00:00:00"}, {"time_expire": "2099-01-01 00:00:00"}, {"timeout_express": "5"},
        {"qr_code_timeout_express": "0m"},
    ],
    ids=lambda changes: json.dumps(changes, ensure_ascii=False)[:60],
)  # fmt: skip
def test_malformed_orders_are_refused(merchant: AlipayMerchant, changes: dict[str, Any]) -> None:
    """Proves: each field is held to its type, length and alphabet."""
    refused(merchant.call(PRECREATE, merchant.order(**changes)), "40004", "ACQ.INVALID_PARAMETER")


def test_an_order_number_means_one_order(simulation: Simulation, merchant: AlipayMerchant) -> None:
    number, code = merchant.create()
    assert merchant.create(number)[1] == code
    refused(merchant.call(PRECREATE, merchant.order(number, "2.00")), "40004", "ACQ.CONTEXT_INCONSISTENT")
    simulation.pay(code)
    again = simulation.phone(code)
    assert (again.status_code, again.json()["reason"]) == (409, "already_paid")
    refused(merchant.call(PRECREATE, merchant.order(number)), "40004", "ACQ.TRADE_HAS_SUCCESS")
    assert simulation.alipay().create(number)[0] == number
    refused(merchant.call("alipay.trade.query", {}), "40004", "ACQ.INVALID_PARAMETER")
    no_trade(simulation.alipay().query(number))


def test_closing_needs_a_trade(simulation: Simulation, merchant: AlipayMerchant) -> None:
    number, code = merchant.create()
    assert simulation.phone(code, "wait").json()["status"] == "waiting"
    assert simulation.phone(code, "fail").json()["status"] == "failed"
    closed = merchant.call("alipay.trade.close", {"out_trade_no": number})
    assert (closed["code"], closed["out_trade_no"]) == ("10000", number)
    assert merchant.query(number)["trade_status"] == "TRADE_CLOSED"
    refused(merchant.call("alipay.trade.close", {"out_trade_no": number}), "40004", "ACQ.TRADE_HAS_CLOSE")
    refused(merchant.call(PRECREATE, merchant.order(number)), "40004", "ACQ.TRADE_HAS_CLOSE")
    refused(merchant.refund(number, "1.00", "x"), "40004", "ACQ.TRADE_STATUS_ERROR")
    assert simulation.phone(code).json()["reason"] == "closed"


def test_time_closes_trades_that_exist(simulation: Simulation, merchant: AlipayMerchant) -> None:
    """Proves: at time_expire a scanned trade is TRADE_CLOSED and an unscanned one never existed; neither can be paid."""
    soon = f"{simulation.now() + timedelta(minutes=5):%Y-%m-%d %H:%M:%S}"
    seen, seen_code = merchant.create(time_expire=soon)
    unseen, unseen_code = merchant.create(time_expire=soon)
    short, short_code = merchant.create(qr_code_timeout_express="2m")
    simulation.phone(seen_code, "wait")
    simulation.control("clock", advanceSeconds=150)
    assert simulation.phone(short_code).json()["reason"] == "code_expired"
    assert merchant.create(short, qr_code_timeout_express="2m")[1] != short_code
    simulation.control("clock", advanceSeconds=160)
    assert merchant.query(seen)["trade_status"] == "TRADE_CLOSED"
    no_trade(merchant.query(unseen))
    assert simulation.phone(seen_code).json()["reason"] == "closed"
    assert simulation.phone(unseen_code).json()["reason"] == "order_expired"
    refused(merchant.call(PRECREATE, merchant.order(time_expire=soon)), "40004", "ACQ.INVALID_PARAMETER")
    simulation.pay(merchant.create(unseen)[1])


def test_refusals_of_refunds(simulation: Simulation, merchant: AlipayMerchant) -> None:
    number = merchant.paid("10.00")
    no_trade(merchant.refund(new_number(), "1.00", "a"))
    for amount in ("-1.00", "1.001", "x", ""):
        refused(merchant.refund(number, amount, "a"), "40004", "ACQ.INVALID_PARAMETER")
    refused(merchant.refund(number, "0.00", "a"), "40004", "ACQ.REFUND_FEE_ERROR")
    for code in ("TRADE_NOT_ALLOW_REFUND", "REASON_TRADE_BEEN_FREEZEN"):
        simulation.control(f"orders/{number}", refuseRefunds=code)
        refused(merchant.refund(number, "1.00", "a"), "40004", f"ACQ.{code}")
    simulation.control(f"orders/{number}", method="POST")
    simulation.control(f"merchants/{merchant.facts['sellerId']}", refundable="0.50")
    refused(merchant.refund(number, "0.51", "a"), "40004", "ACQ.SELLER_BALANCE_NOT_ENOUGH")
    assert merchant.refund(number, "0.50", "a")["fund_change"] == "Y"
    simulation.control(f"merchants/{merchant.facts['sellerId']}", refundable=None)
    simulation.control("refunds", outcome="WAIT")
    assert merchant.refund(number, "1.00", "slow")["fund_change"] == "N"
    query = {"out_trade_no": number, "out_request_no": "slow"}
    assert "refund_status" not in merchant.call("alipay.trade.fastpay.refund.query", query)
    simulation.control("refunds/slow", outcome="SUCCESS")
    assert merchant.call("alipay.trade.fastpay.refund.query", query)["refund_status"] == "REFUND_SUCCESS"
    whole = merchant.paid("2.00")
    simulation.control("refunds", outcome="SUCCESS")
    assert merchant.refund(whole, "2.00")["refund_fee"] == "2.00"
    simulation.control("clock", advanceSeconds=361 * 86_400)
    assert merchant.query(number)["trade_status"] == "TRADE_FINISHED"
    refused(merchant.refund(number, "1.00", "late"), "40004", "ACQ.TRADE_HAS_FINISHED")


@pytest.mark.parametrize(("product", "code"), [("page", "FAST_INSTANT_TRADE_PAY"), ("wap", "QUICK_WAP_PAY")])
def test_the_cashier_and_its_signed_return(simulation: Simulation, merchant: AlipayMerchant, product: str, code: str) -> None:
    """Proves: a signed address opens a cashier; after paying the browser goes back with a result that is signed."""
    business = merchant.order(amount="5.00", product_code=code)
    address = merchant.address(product, business, notify_url=merchant.notify_url, return_url="https://shop.example/back?a=1")
    opened = simulation.http.get(address)
    assert opened.status_code == 302
    cashier = simulation.http.get(simulation.url + opened.headers["location"])
    assert "¥5.00" in cashier.text
    no_trade(merchant.query(business["out_trade_no"]))
    link = str(cashier.url)
    assert "尚未付款" in simulation.http.post(f"{simulation.url}/phone/pay", data={"code": link, "outcome": "wait"}).text
    assert merchant.query(business["out_trade_no"])["trade_status"] == "WAIT_BUYER_PAY"
    done = simulation.http.post(f"{simulation.url}/phone/pay", data={"code": link, "outcome": "pay"})
    assert done.status_code == 303
    assert done.headers["location"].startswith("https://shop.example/back?a=1&")
    fields = dict(parse_qsl(urlsplit(done.headers["location"]).query, keep_blank_values=True))
    assert fields.pop("a") == "1"
    sign, sign_type = fields.pop("sign"), fields.pop("sign_type")
    message = "&".join(f"{name}={fields[name]}" for name in sorted(fields)).encode()
    assert sign_type == "RSA2"
    assert any(is_signed(pem, message, sign) for pem in merchant.public_keys())
    assert merchant.library().verify({**fields, "sign_type": "RSA2"}, sign)
    assert (fields["out_trade_no"], fields["total_amount"], fields["seller_id"]) == (
        business["out_trade_no"], "5.00", merchant.facts["sellerId"],
    )  # fmt: skip
    assert fields["method"] == f"alipay.trade.{product}.pay.return"
    again = simulation.http.get(address)
    assert (again.status_code, "ACQ.TRADE_HAS_SUCCESS" in again.text) == (400, True)
    assert simulation.phone(address).json()["reason"] == "already_paid"


def test_a_cashier_address_must_be_signed_and_whole(simulation: Simulation, merchant: AlipayMerchant) -> None:
    business = merchant.order(product_code="FAST_INSTANT_TRADE_PAY")
    altered = merchant.address("page", business).replace("1.00", "0.01")
    answer = simulation.http.get(altered)
    assert (answer.status_code, "isv.invalid-signature" in answer.text) == (400, True)
    assert simulation.phone(altered).json()["reason"] == "invalid_signature"
    wrong_product = simulation.http.get(merchant.address("wap", business))
    assert (wrong_product.status_code, "ACQ.INVALID_PARAMETER" in wrong_product.text) == (400, True)
    posted = simulation.http.post(f"{simulation.url}/gateway.do", data=merchant.parameters("alipay.trade.page.pay", business))
    assert posted.status_code == 302
    assert simulation.http.get(f"{simulation.url}/cashier?token=nobody").status_code == 404


def test_failures_on_demand(simulation: Simulation, merchant: AlipayMerchant) -> None:
    """Proves: errors in the channel's own form and none at all, before and after the effect, for one method of the one path."""
    number = merchant.paid("1.00")
    fault: dict[str, Any] = {"path": "/gateway.do", "alipayMethod": "alipay.trade.refund"}
    simulation.control("faults", status=500, code="40004/ACQ.SYSTEM_ERROR", when="after", **fault)
    assert merchant.query(number)["code"] == "10000"
    refused(merchant.refund(number, "0.40", "a"), "40004", "ACQ.SYSTEM_ERROR")
    assert merchant.refund(number, "0.40", "a")["fund_change"] == "N", "it had taken effect"
    simulation.control("faults", status=500, code="20000/isp.unknow-error", **fault)
    refused(merchant.refund(number, "0.10", "b"), "20000", "isp.unknow-error")
    assert merchant.refund(number, "0.10", "b")["fund_change"] == "Y", "it had taken none"
    simulation.control("faults", status="reset", **fault)
    with pytest.raises(httpx.TransportError):
        merchant.refund(number, "0.10", "c")
    simulation.control("faults", status=503, **fault)
    raw = simulation.http.post(f"{simulation.url}/gateway.do", data=merchant.parameters("alipay.trade.refund", {}))
    assert raw.status_code == 503
