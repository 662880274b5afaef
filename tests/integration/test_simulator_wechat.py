"""WeChat Pay's stand-in as a merchant meets it: signatures, orders, every refusal, refunds, and the phone."""

from __future__ import annotations

import json
import re
import secrets
import time
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest

from tests.simulation import Simulation, WechatMerchant, new_key, new_number, signed

NATIVE = "/v3/pay/transactions/native"


@pytest.fixture
def merchant(simulation: Simulation) -> WechatMerchant:
    """A direct merchant."""
    return simulation.wechat()


def refused(answer: httpx.Response, status: int, code: str) -> None:
    """One error in the channel's form."""
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.json()["message"]


def test_an_order_from_creation_to_whole_refund(simulation: Simulation, merchant: WechatMerchant) -> None:
    """Proves: the states NOTPAY, SUCCESS, REFUND and what each of them shows; a refund is PROCESSING, then SUCCESS."""
    simulation.control("refunds", outcome="WAIT")
    number, code = merchant.create(fen=1234, attach="a=1")
    assert re.fullmatch(r"weixin://wxpay/bizpayurl\?pr=\w{12}", code)
    waiting = merchant.query(number).json()
    assert waiting["trade_state"] == "NOTPAY"
    assert "transaction_id" not in waiting
    done = simulation.pay(code)
    paid = merchant.query(number).json()
    assert paid["trade_state"] == "SUCCESS"
    assert (paid["appid"], paid["mchid"], paid["out_trade_no"]) == (merchant.facts["appId"], merchant.mchid, number)
    assert paid["transaction_id"] == done["transactionId"]
    assert re.fullmatch(r"\d{28}", paid["transaction_id"])
    assert paid["amount"] == {"total": 1234, "payer_total": 1234, "currency": "CNY", "payer_currency": "CNY"}
    assert (paid["trade_type"], paid["bank_type"], paid["attach"]) == ("NATIVE", "OTHERS", "a=1")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+08:00", paid["success_time"])
    assert paid["payer"]["openid"]
    assert merchant.call("GET", f"/v3/pay/transactions/id/{paid['transaction_id']}?mchid={merchant.mchid}").json() == paid

    asked = merchant.refund(number, 1234, 1234, "back-1").json()
    assert (asked["status"], asked["out_refund_no"], asked["out_trade_no"]) == ("PROCESSING", "back-1", number)
    assert merchant.query(number).json()["trade_state"] == "REFUND"
    simulation.control("refunds/back-1", outcome="SUCCESS")
    found = merchant.call("GET", "/v3/refund/domestic/refunds/back-1").json()
    assert found["status"] == "SUCCESS"
    assert found["success_time"]
    assert (found["amount"]["refund"], found["amount"]["total"]) == (1234, 1234)
    assert merchant.refund(number, 1234, 1234, "back-1").json()["status"] == "SUCCESS"


def test_the_independent_library_is_understood_and_understands(simulation: Simulation, merchant: WechatMerchant) -> None:
    """Proves: wechatpayv3's signatures are accepted here, and it accepts the signatures of our answers."""
    from wechatpayv3 import WeChatPayType

    library, number = merchant.library(), new_number()
    status, text = library.pay(description="充值", out_trade_no=number, amount={"total": 500}, pay_type=WeChatPayType.NATIVE)
    assert status == 200, text
    simulation.pay(json.loads(text)["code_url"])
    status, text = library.query(out_trade_no=number)
    assert (status, json.loads(text)["trade_state"]) == (200, "SUCCESS")
    status, text = library.refund(out_refund_no="lib-1", out_trade_no=number, amount={"refund": 200, "total": 500, "currency": "CNY"})
    assert (status, json.loads(text)["amount"]["refund"]) == (200, 200)
    status, text = library.query_refund(out_refund_no="lib-1")
    assert (status, json.loads(text)["out_refund_no"]) == (200, "lib-1")
    other = new_number()
    library.pay(description="充值", out_trade_no=other, amount={"total": 500}, pay_type=WeChatPayType.NATIVE)
    status, _ = library.close(out_trade_no=other)
    assert status == 204
    simulation.control("faults", path="/v3/pay", status="sign_error")
    with pytest.raises(Exception, match="signature"):
        library.query(out_trade_no=number)


def test_signatures_are_checked(simulation: Simulation, merchant: WechatMerchant) -> None:
    """Proves: a wrong key, body, path, serial, scheme, time or header is refused, each before anything is stored."""
    body = json.dumps(merchant.order()).encode()
    for skew in (-302, 302):
        skewed = merchant.authorization("POST", NATIVE, body, skew_s=skew)
        refused(merchant.call("POST", NATIVE, body, Authorization=skewed), 401, "SIGN_ERROR")
    fine = merchant.authorization("POST", NATIVE, body, skew_s=-290)
    assert merchant.call("POST", NATIVE, body, Authorization=fine).status_code == 200

    other = json.dumps(merchant.order()).encode()
    wrong = [
        merchant.authorization("POST", NATIVE, body),
        merchant.authorization("GET", NATIVE, other),
        merchant.authorization("POST", NATIVE + "?", other),
        merchant.authorization("POST", NATIVE, other, serial_no="0" * 40),
        merchant.authorization("POST", NATIVE, other, timestamp=str(int(time.time()) + 1)),
        merchant.authorization("POST", NATIVE, other, signature="AAAA"),
        merchant.authorization("POST", NATIVE, other, signature=""),
        merchant.authorization("POST", NATIVE, other).replace("RSA2048", "RSA1024", 1),
        merchant.authorization("POST", NATIVE, other).replace("nonce_str", "nonce"),
        merchant.authorization("POST", NATIVE, other) + ',mchid="1"',
        "",
    ]
    for header in wrong:
        refused(merchant.call("POST", NATIVE, other, Authorization=header), 401, "SIGN_ERROR")
    stranger = WechatMerchant(simulation, new_key(), {**merchant.facts, "mchid": "1900000001"}, merchant.notify_url)
    refused(stranger.call("POST", NATIVE, other), 400, "MCH_NOT_EXISTS")
    refused(merchant.query(json.loads(other)["out_trade_no"]), 404, "ORDER_NOT_EXIST")

    refused(merchant.call("POST", NATIVE, other, Accept="text/html"), 400, "PARAM_ERROR")
    refused(merchant.call("POST", NATIVE, other, Content_Type="text/plain"), 400, "PARAM_ERROR")
    refused(merchant.call("POST", "/v3/pay/transactions/app", other), 404, "RESOURCE_NOT_EXISTS")


def test_the_clock_of_signatures_moves_apart_from_that_of_orders(simulation: Simulation, merchant: WechatMerchant) -> None:
    """Proves: a skipped day does not make signatures stale, and a skewed signature clock does."""
    simulation.control("clock", advanceSeconds=86_400)
    number, _ = merchant.create()
    try:
        simulation.control("clock", advanceSignatureSeconds=400)
        answer = merchant.call("GET", f"/v3/pay/transactions/out-trade-no/{number}?mchid={merchant.mchid}", check=False)
        refused(answer, 401, "SIGN_ERROR")
        assert abs(int(answer.headers["wechatpay-timestamp"]) - time.time() - 400) < 5
    finally:
        simulation.control("clock", advanceSignatureSeconds=-400)
    assert merchant.query(number).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"appid": None}, {"mchid": None}, {"description": None}, {"description": ""}, {"description": "长" * 128},
        {"out_trade_no": "12345"}, {"out_trade_no": "a" * 33}, {"out_trade_no": "abc def"}, {"out_trade_no": "abc订单号"},
        {"notify_url": None}, {"notify_url": "/relative"},
        {"notify_url": "https://a.example/x?y=1"}, {"notify_url": "https://a.example/" + "x" * 250}, {"amount": None}, {"amount": {}},
        {"amount": {"total": 0}}, {"amount": {"total": -1}}, {"amount": {"total": 1.5}}, {"amount": {"total": "100"}},
        {"amount": {"total": True}}, {"amount": {"total": 100, "currency": "USD"}},
        {"attach": "x" * 129}, {"attach": 1}, {"time_expire": "2030-01-01T00:00:00Z"},
        {"time_expire": "2030-02-30T00:00:00+08:00"}, {"time_expire": "2030-01-01 00:00:00"}, {"time_expire": 1},
    ],
    ids=lambda changes: json.dumps(changes, ensure_ascii=False)[:60],
)  # fmt: skip
def test_malformed_orders_are_refused(merchant: WechatMerchant, changes: dict[str, Any]) -> None:
    """Proves: each field is held to its type, length and alphabet."""
    refused(merchant.call("POST", NATIVE, merchant.order(**changes)), 400, "PARAM_ERROR")


def test_malformed_bodies_and_foreign_parties_are_refused(simulation: Simulation, merchant: WechatMerchant) -> None:
    for body in (b"{", b"[]", b"null", json.dumps({**merchant.order(), "attach": None}).encode(), b'{"a":' * 5_000 + b"1" + b"}" * 5_000):
        refused(merchant.call("POST", NATIVE, body), 400, "PARAM_ERROR")
    refused(merchant.call("POST", NATIVE, merchant.order(appid=simulation.wechat().facts["appId"])), 400, "APPID_MCHID_NOT_MATCH")
    refused(merchant.call("POST", NATIVE, merchant.order(mchid=simulation.wechat().mchid)), 400, "PARAM_ERROR")
    refused(merchant.call("POST", "/v3/pay/partner/transactions/native", merchant.order()), 403, "NO_AUTH")
    number, _ = merchant.create()
    refused(simulation.wechat().query(number), 404, "ORDER_NOT_EXIST")
    refused(merchant.call("GET", f"/v3/pay/transactions/out-trade-no/{number}?mchid=1900000001"), 400, "PARAM_ERROR")
    big = json.dumps(merchant.order(detail={"x": "y" * (1 << 20)})).encode()
    assert merchant.call("POST", NATIVE, big, check=False).status_code == 413


def test_an_order_number_means_one_order(simulation: Simulation, merchant: WechatMerchant) -> None:
    """Proves: the same content again gives a fresh code and kills the old, other content is refused, other merchants may use it."""
    number, first = merchant.create(fen=100)
    _, second = merchant.create(number, fen=100)
    assert first != second
    assert simulation.phone(first).json() == {"status": "refused", "reason": "code_replaced"}
    refused(merchant.call("POST", NATIVE, merchant.order(number, 101)), 403, "OUT_TRADE_NO_USED")
    refused(merchant.call("POST", NATIVE, merchant.order(number, 100, description="x")), 403, "OUT_TRADE_NO_USED")
    later = f"{simulation.now() + timedelta(hours=5):%Y-%m-%dT%H:%M:%S}+08:00"
    expires = simulation.control(f"orders/{number}")["expiresAt"]
    _, third = merchant.create(number, fen=100, time_expire=later)
    assert simulation.control(f"orders/{number}")["expiresAt"] == expires, "time_expire is settable once"
    simulation.pay(third)
    refused(merchant.call("POST", NATIVE, merchant.order(number, 100)), 400, "ORDER_PAID")
    other = simulation.wechat()
    assert other.create(number, fen=7)[0] == number
    assert simulation.http.get(f"{simulation.url}/control/orders/{number}").status_code == 409
    assert simulation.control(f"orders/{number}?collectorId={other.mchid}")["amount"] == "0.07"


def test_paying_twice_is_refused_and_attempts_are_independent(simulation: Simulation, merchant: WechatMerchant) -> None:
    one, code = merchant.create()
    two, other_code = merchant.create()
    assert simulation.phone(code, "fail").json()["status"] == "failed"
    assert simulation.phone(code, "wait").json()["status"] == "waiting"
    assert merchant.query(one).json()["trade_state"] == "NOTPAY"
    first = simulation.pay(code)
    again = simulation.phone(code)
    assert (again.status_code, again.json()) == (409, {"status": "refused", "reason": "already_paid"})
    assert merchant.query(one).json()["transaction_id"] == first["transactionId"]
    assert merchant.query(two).json()["trade_state"] == "NOTPAY"
    simulation.pay(other_code)
    assert merchant.query(two).json()["transaction_id"] != first["transactionId"]
    assert simulation.phone("weixin://wxpay/bizpayurl?pr=nobody").status_code == 404
    assert simulation.phone("nonsense").json()["reason"] == "unknown_code"
    assert simulation.phone(code, "steal").status_code == 422


def test_closing(simulation: Simulation, merchant: WechatMerchant) -> None:
    number, code = merchant.create()
    answer = merchant.close(number)
    assert (answer.status_code, answer.content) == (204, b"")
    assert merchant.query(number).json()["trade_state"] == "CLOSED"
    assert simulation.phone(code).json()["reason"] == "closed"
    refused(merchant.close(number), 400, "ORDER_CLOSED")
    refused(merchant.call("POST", NATIVE, merchant.order(number)), 400, "ORDER_CLOSED")
    paid = merchant.paid()
    refused(merchant.close(paid), 400, "ORDER_PAID")
    refused(merchant.close(new_number()), 404, "ORDER_NOT_EXIST")


def test_time_stops_payment_but_closes_nothing(simulation: Simulation, merchant: WechatMerchant) -> None:
    """Proves: codes live as long as the channel's, time_expire is raised to a minute, capped at 90 days, and ends payment alone."""
    soon = f"{simulation.now() + timedelta(seconds=5):%Y-%m-%dT%H:%M:%S}+08:00"
    far = f"{simulation.now() + timedelta(days=400):%Y-%m-%dT%H:%M:%S}+08:00"
    short, short_code = merchant.create(time_expire=soon)
    long, _ = merchant.create(time_expire=far)
    plain, plain_code = merchant.create()
    _, page = merchant.create(product="h5", scene_info={"payer_client_ip": "203.0.113.7", "h5_info": {"type": "Wap"}})
    created = simulation.now()

    def lives(number: str) -> timedelta:
        return type(created).fromisoformat(simulation.control(f"orders/{number}")["expiresAt"]) - created

    assert timedelta(seconds=55) < lives(short) <= timedelta(seconds=61)
    assert timedelta(days=89) < lives(long) <= timedelta(days=90)
    assert timedelta(days=6) < lives(plain) <= timedelta(days=7)
    simulation.control("clock", advanceSeconds=62)
    assert simulation.phone(short_code).json()["reason"] == "order_expired"
    assert merchant.query(short).json()["trade_state"] == "NOTPAY"
    assert merchant.close(short).status_code == 204
    simulation.control("clock", advanceSeconds=240)
    assert simulation.phone(page).json()["reason"] == "code_expired"
    simulation.control("clock", advanceSeconds=7_200)
    assert simulation.phone(plain_code).json()["reason"] == "code_expired"
    simulation.pay(merchant.create(plain)[1])


def test_h5(simulation: Simulation, merchant: WechatMerchant) -> None:
    """Proves: h5_url leads to a page, and after paying the browser is sent to redirect_url. 127.0.0.1 is rejected."""
    scene = {"payer_client_ip": "203.0.113.7", "h5_info": {"type": "iOS"}}
    for wrong in (
        {"payer_client_ip": "127.0.0.1", "h5_info": {"type": "iOS"}}, {"payer_client_ip": "x", "h5_info": {"type": "iOS"}},
        {"h5_info": {"type": "iOS"}}, {"payer_client_ip": "203.0.113.7"},
        {"payer_client_ip": "203.0.113.7", "h5_info": {"type": "Symbian"}},
    ):  # fmt: skip
        refused(merchant.call("POST", "/v3/pay/transactions/h5", merchant.order(scene_info=wrong)), 400, "PARAM_ERROR")
    number, url = merchant.create(product="h5", scene_info=scene)
    url += "&redirect_url=" + quote("https://shop.example/done?x=1", safe="")
    page = simulation.http.get(url)
    assert page.status_code == 200
    assert "¥1.00" in page.text
    answer = simulation.http.post(f"{simulation.url}/phone/pay", data={"code": url, "outcome": "pay"})
    assert (answer.status_code, answer.headers["location"]) == (303, "https://shop.example/done?x=1")
    assert merchant.query(number).json()["trade_type"] == "MWEB"


def test_jsapi_pays_only_what_the_merchant_signed(simulation: Simulation, merchant: WechatMerchant) -> None:
    refused(merchant.call("POST", "/v3/pay/transactions/jsapi", merchant.order()), 400, "PARAM_ERROR")
    number, prepay_id = merchant.create(product="jsapi", payer={"openid": "oTest123"})

    def invoke(**changes: str) -> str:
        fields = {
            "appId": merchant.facts["appId"],
            "timeStamp": str(int(time.time())),
            "nonceStr": secrets.token_hex(8),
            "package": f"prepay_id={prepay_id}",
        } | changes
        sign = signed(merchant.key, "".join(f"{fields[name]}\n" for name in ("appId", "timeStamp", "nonceStr", "package")))
        body = {**fields, "signType": "RSA", "paySign": changes.get("paySign", sign), "outcome": changes.get("outcome", "pay")}
        return str(simulation.http.post(f"{simulation.url}/phone/jsapi", json=body).json()["err_msg"]).partition(":")[2]

    assert invoke(paySign="AAAA") == "fail"
    assert invoke(timeStamp=str(int(time.time()) - 400)) == "fail"
    assert invoke(package="prepay_id=wxother") == "fail"
    assert invoke(appId="wx0000000000000000") == "fail"
    assert invoke(outcome="wait") == "cancel"
    assert merchant.query(number).json()["trade_state"] == "NOTPAY"
    assert invoke() == "ok"
    assert merchant.query(number).json()["payer"] == {"openid": "oTest123"}
    assert invoke() == "fail"


def test_a_service_provider_collects_for_its_own_alone(simulation: Simulation) -> None:
    provider = simulation.wechat(mode="service_provider")
    second = simulation.http.post(
        f"{simulation.url}/onboarding/wechat", json={"mode": "service_provider", "mchid": provider.mchid, "name": "另一家"}
    ).json()
    foreign = simulation.wechat(mode="service_provider").facts["subMchid"]
    base = "/v3/pay/partner/transactions"
    sub = provider.facts["subMchid"]
    assert second["mchid"] == provider.mchid
    assert second["subMchid"] != sub

    def order(number: str | None = None, sub_mchid: str = sub, **changes: Any) -> dict[str, Any]:
        ours = {"sp_appid": provider.facts["appId"], "sp_mchid": provider.mchid, "sub_mchid": sub_mchid}
        return provider.order(number, appid=None, mchid=None, **ours, **changes)

    refused(provider.call("POST", NATIVE, provider.order()), 403, "NO_AUTH")
    refused(provider.call("POST", f"{base}/native", order(sub_mchid="1600000000")), 400, "MCH_NOT_EXISTS")
    refused(provider.call("POST", f"{base}/native", order(sub_mchid=foreign)), 403, "NO_AUTH")
    refused(provider.call("POST", f"{base}/native", order(sub_appid="wx1")), 400, "APPID_MCHID_NOT_MATCH")
    body = order()
    number = body["out_trade_no"]
    code = provider.call("POST", f"{base}/native", body).json()["code_url"]
    # A number is unique over all sub-merchants.
    refused(provider.call("POST", f"{base}/native", order(number, second["subMchid"])), 403, "OUT_TRADE_NO_USED")
    query = f"?{urlencode({'sp_mchid': provider.mchid, 'sub_mchid': sub})}"
    simulation.pay(code)
    paid = provider.call("GET", f"{base}/out-trade-no/{number}{query}").json()
    assert (paid["sp_mchid"], paid["sub_mchid"], paid["sp_appid"]) == (provider.mchid, sub, provider.facts["appId"])
    assert list(paid["payer"]) == ["sp_openid"]
    other = f"?{urlencode({'sp_mchid': provider.mchid, 'sub_mchid': second['subMchid']})}"
    refused(provider.call("GET", f"{base}/out-trade-no/{number}{other}"), 404, "ORDER_NOT_EXIST")
    refused(provider.refund(number, 1, 100), 400, "PARAM_ERROR")
    refused(provider.refund(number, 1, 100, sub_mchid=second["subMchid"]), 404, "ORDER_NOT_EXIST")
    assert provider.refund(number, 1, 100, "sp-back", sub_mchid=sub).status_code == 200
    assert provider.call("GET", f"/v3/refund/domestic/refunds/sp-back?sub_mchid={sub}").status_code == 200
    refused(provider.call("GET", f"/v3/refund/domestic/refunds/sp-back?sub_mchid={second['subMchid']}"), 404, "RESOURCE_NOT_EXISTS")
    inside = order(sub_appid=provider.facts["subAppId"], payer={"sub_openid": "oSub"})
    assert provider.call("POST", f"{base}/jsapi", inside).json()["prepay_id"]
    refused(provider.call("POST", f"{base}/jsapi", order(payer={"sub_openid": "oSub"})), 400, "PARAM_ERROR")
    open_number = order()
    provider.call("POST", f"{base}/native", open_number)
    closing = {"sp_mchid": provider.mchid, "sub_mchid": sub}
    assert provider.call("POST", f"{base}/out-trade-no/{open_number['out_trade_no']}/close", closing).status_code == 204


def test_refunds_are_held_to_the_rules(simulation: Simulation, merchant: WechatMerchant) -> None:
    """Proves: every refusal of a refund, and that parts never add up to more than was paid."""
    number = merchant.paid(1000)
    refused(merchant.refund(new_number(), 1, 1000), 404, "ORDER_NOT_EXIST")
    refused(merchant.refund(merchant.create(fen=1000)[0], 1, 1000), 403, "TRADE_ERROR")
    refused(merchant.refund(number, 1, 999), 400, "INVALID_REQUEST")
    refused(merchant.refund(number, 1001, 1000), 400, "INVALID_REQUEST")
    refused(merchant.refund(number, 0, 1000), 400, "PARAM_ERROR")
    refused(merchant.refund(number, 1, 1000, "x" * 65), 400, "PARAM_ERROR")
    refused(merchant.refund(number, 1, 1000, reason="长" * 81), 400, "PARAM_ERROR")
    refused(merchant.refund(number, 1, 1000, amount={"refund": 1, "total": 1000}), 400, "PARAM_ERROR")
    refused(merchant.refund(number, 1, 1000, out_trade_no=None), 400, "PARAM_ERROR")
    refused(merchant.refund(number, 1, 1000, sub_mchid="1600000000"), 403, "NO_AUTH")
    refused(merchant.call("GET", "/v3/refund/domestic/refunds/nobody"), 404, "RESOURCE_NOT_EXISTS")

    assert merchant.refund(number, 400, 1000, "part-1").status_code == 200
    refused(merchant.refund(number, 300, 1000, "part-1"), 400, "INVALID_REQUEST")
    refused(merchant.refund(merchant.paid(1000), 400, 1000, "part-1"), 400, "INVALID_REQUEST")
    refused(merchant.refund(number, 601, 1000), 400, "INVALID_REQUEST")
    by_transaction = merchant.query(number).json()["transaction_id"]
    assert merchant.refund(number, 100, 1000, "part-2", out_trade_no=None, transaction_id=by_transaction).status_code == 200
    simulation.control("refunds", gapSeconds=60, delaySeconds=0)
    refused(merchant.refund(number, 1, 1000), 429, "FREQUENCY_LIMITED")
    assert merchant.refund(number, 400, 1000, "part-1").status_code == 200, "a repetition is no new refund"
    simulation.control("clock", advanceSeconds=61)
    assert merchant.refund(number, 1, 1000).status_code == 200
    simulation.control("refunds", gapSeconds=0, delaySeconds=0)
    simulation.control(f"orders/{number}", refuseRefunds="ACCOUNT_ERROR")
    refused(merchant.refund(number, 1, 1000), 403, "ACCOUNT_ERROR")
    simulation.control(f"orders/{number}", method="POST")
    simulation.control(f"merchants/{merchant.mchid}", refundable="0.05")
    refused(merchant.refund(number, 6, 1000), 403, "NOT_ENOUGH")
    assert merchant.refund(number, 5, 1000).status_code == 200
    refused(merchant.refund(number, 1, 1000), 403, "NOT_ENOUGH")
    simulation.control(f"merchants/{merchant.mchid}", refundable=None)
    for _ in range(46):
        assert merchant.refund(number, 1, 1000).status_code == 200
    refused(merchant.refund(number, 1, 1000), 403, "RULE_LIMIT")
    old = merchant.paid(1000)
    simulation.control("clock", advanceSeconds=366 * 86_400)
    refused(merchant.refund(old, 1, 1000), 403, "RULE_LIMIT")


def test_a_refund_may_end_closed_or_abnormal(simulation: Simulation, merchant: WechatMerchant) -> None:
    """Proves: a closed refund frees its amount, an abnormal one keeps it until it is settled."""
    number = merchant.paid(100)
    simulation.control("refunds", outcome="CLOSED", delaySeconds=0, gapSeconds=0)
    merchant.refund(number, 100, 100, "c1")
    assert merchant.call("GET", "/v3/refund/domestic/refunds/c1").json()["status"] == "CLOSED"
    simulation.control("refunds", outcome="ABNORMAL", delaySeconds=0, gapSeconds=0)
    merchant.refund(number, 100, 100, "c2")
    assert merchant.call("GET", "/v3/refund/domestic/refunds/c2").json()["status"] == "ABNORMAL"
    refused(merchant.refund(number, 1, 100, "c3"), 400, "INVALID_REQUEST")
    assert simulation.control("refunds/c2", outcome="SUCCESS")["status"] == "SUCCESS"
    simulation.control("refunds/c2", outcome="CLOSED", expected=409)
    assert simulation.control(f"orders/{number}")["refunded"] == "1.00"


def test_fees_come_back_whole_after_a_closed_refund(simulation: Simulation, merchant: WechatMerchant) -> None:
    """Proves: what a closed refund would have given back comes with the later ones; 0.6 % of 2.52 are two fen."""
    number = merchant.paid(252)
    simulation.control("refunds", outcome="WAIT", delaySeconds=0, gapSeconds=0)
    first, *others = [new_number("r") for _ in range(4)]
    merchant.refund(number, 84, 252, first)
    merchant.refund(number, 84, 252, others[0])
    simulation.control(f"refunds/{first}", outcome="CLOSED")
    for refund_no in others[1:]:
        assert merchant.refund(number, 84, 252, refund_no).status_code == 200
    found = {one["refundNo"]: (one["status"], one["feeReturned"]) for one in simulation.control(f"orders/{number}")["refunds"]}
    assert found.pop(first) == ("CLOSED", "0.01")
    assert [found[refund_no][1] for refund_no in others] == ["0.00", "0.01", "0.01"]


def test_failures_on_demand(simulation: Simulation, merchant: WechatMerchant) -> None:
    """Proves: errors, silence, broken connections and forged answers come as often as told, before or after the effect."""
    number, _ = merchant.create()
    simulation.control("faults", path="/v3/pay/transactions/out-trade-no/*/close", status=500, times=2)
    refused(merchant.close(number), 500, "SYSTEM_ERROR")
    assert merchant.query(number).status_code == 200, "another path"
    refused(merchant.close(number), 500, "SYSTEM_ERROR")
    simulation.control("faults", path="/v3/pay", status=429, code="FREQUENCY_LIMITED")
    refused(merchant.query(number), 429, "FREQUENCY_LIMITED")
    simulation.control("faults", path="/v3/pay", status="sign_error")
    answer = merchant.call("GET", f"/v3/pay/transactions/out-trade-no/{number}?mchid={merchant.mchid}", check=False)
    assert answer.json()["trade_state"] == "NOTPAY"
    assert not merchant.is_genuine(answer.headers, answer.content)
    simulation.control("faults", path="/v3/pay", status="reset", when="after")
    with pytest.raises(httpx.TransportError):
        merchant.close(number)
    assert merchant.query(number).json()["trade_state"] == "CLOSED", "it took effect"
    other = new_number()
    simulation.control("faults", path="/v3/pay", status="reset")
    with pytest.raises(httpx.TransportError):
        merchant.create(other)
    refused(merchant.query(other), 404, "ORDER_NOT_EXIST")
    simulation.control("faults", path="/v3/pay", status="timeout", seconds=1.5)
    began = time.monotonic()
    with pytest.raises(httpx.TransportError):
        merchant.query(number)
    assert time.monotonic() - began >= 1.4
    assert simulation.control("faults")["faults"] == []


def test_control_refuses_what_it_does_not_know(simulation: Simulation) -> None:
    """Proves: a misspelt lever is an error, not silence, and no web page's form reaches one."""

    def post(path: str, body: Any, content_type: str = "application/json") -> int:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return simulation.http.post(f"{simulation.url}{path}", content=content, headers={"Content-Type": content_type}).status_code

    assert post("/control/callbacks", {"mode": "chaos"}) == 422
    assert post("/control/callbacks", {"mode": "normal", "spede": 3}) == 422
    assert post("/control/callbacks", {"speed": 0}) == 422
    assert post("/control/callbacks", {"speed": True}) == 422
    assert post("/control/callbacks", b"{") == 400
    assert post("/control/callbacks", b"mode=off", "application/x-www-form-urlencoded") == 415
    assert post("/control/clock", {"advanceSeconds": -1}) == 422
    assert post("/control/clock", {"advanceSeconds": 1e300}) == 422
    assert post("/control/faults", {"path": "/v3", "status": 200}) == 422
    assert post("/control/faults", {"path": "v3", "status": 500}) == 422
    assert post("/control/faults", {"path": "/v3", "status": "explode"}) == 422
    assert post("/control/orders/nobody", {}) == 404
    assert post("/control/refunds/nobody", {}) == 404
    assert post("/control/merchants/1", {"refundable": "1"}) == 404
    assert post("/control/rotate", {"channel": "paypal"}) == 422
    for pem in ("", "x", None, 5):
        assert post("/onboarding/wechat", {"merchantPublicKey": pem}) == 422
        assert post("/onboarding/alipay", {"appPublicKey": pem}) == 422
    assert post("/onboarding/wechat", {"mode": "service_provider", "mchid": "1900000000"}) == 404


def test_the_phone_works_without_scripts(simulation: Simulation, merchant: WechatMerchant) -> None:
    """Proves: plain forms, a strict policy, names and texts escaped, and every refusal said in words."""
    number, code = merchant.create(fen=8_888, description="<script>alert(1)</script>")
    page = simulation.http.get(f"{simulation.url}/phone", params={"code": code})
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "<script" not in page.text
    assert "&lt;script&gt;" in page.text
    for text in ("¥88.88", "测试商户", number, "确认付款", "Pay", 'value="fail"', 'value="wait"', 'method="post"'):
        assert text in page.text
    listed = simulation.http.get(f"{simulation.url}/phone").text
    assert number in listed
    assert quote(code, safe="") in listed
    waited = simulation.http.post(f"{simulation.url}/phone/pay", data={"code": code, "outcome": "wait"})
    assert "尚未付款" in waited.text
    done = simulation.http.post(f"{simulation.url}/phone/pay", data={"code": code, "outcome": "pay"})
    assert "支付成功" in done.text
    again = simulation.http.post(f"{simulation.url}/phone/pay", data={"code": code, "outcome": "pay"})
    assert (again.status_code, "请勿重复付款" in again.text) == (409, True)
    assert simulation.http.get(f"{simulation.url}/phone", params={"code": "weixin://wxpay/bizpayurl?pr=no"}).status_code == 404
    assert number not in simulation.http.get(f"{simulation.url}/phone").text
    assert simulation.http.get(simulation.url).headers["location"] == "/phone"
