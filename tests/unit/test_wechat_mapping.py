"""Proves: what is asked of WeChat Pay is the documented JSON, with exact fen, no nulls and no more than is used; and what it answers never
means more than it says: an unknown state is pending, and what is not of its form is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from buffmoney.collection.channels import ChannelError, NewPayment, RefundRequest, Unreadable, WechatCredentials
from buffmoney.collection.channels.wechat import mapping

RUNS = settings(max_examples=300, deadline=None, derandomize=True)
DIRECT = WechatCredentials("wx1", "1900000001", None, None, "5157F09E", "", "", {})
PARTNER = msgspec.structs.replace(DIRECT, sub_mchid="1900000109")
PARTNER_WITH_APP = msgspec.structs.replace(PARTNER, sub_app_id="wx2")
PAYMENT = NewPayment(
    order_no="po_4f2a",
    amount=Decimal("100"),
    description="充值 ¥100",
    product="native",
    expires_at=datetime(2026, 11, 18, 4, 56, 40, 999_999, tzinfo=UTC),
    notify_url="https://pay.example.com/callbacks/wechat/ca_1",
)
JSAPI = msgspec.structs.replace(PAYMENT, product="jsapi", payer_openid="o-1")
H5 = msgspec.structs.replace(PAYMENT, product="h5", client_ip="14.23.150.211", device="iOS")
amounts_fen = st.integers(1, 10_000_000_000)


def created(credentials: WechatCredentials, payment: NewPayment) -> tuple[str, str]:
    call = mapping.create_call(credentials, payment)
    assert call.method == "POST"
    return call.target, call.body.decode()


def test_a_native_order_is_these_bytes() -> None:
    target, body = created(DIRECT, PAYMENT)
    assert target == "/v3/pay/transactions/native"
    assert body == (
        '{"appid":"wx1","mchid":"1900000001","description":"充值 ¥100","out_trade_no":"po_4f2a",'
        '"time_expire":"2026-11-18T12:56:40+08:00","notify_url":"https://pay.example.com/callbacks/wechat/ca_1",'
        '"amount":{"total":10000,"currency":"CNY"}}'
    )


def test_a_service_provider_names_both_merchants() -> None:
    target, text = created(PARTNER, PAYMENT)
    body = json.loads(text)
    assert target == "/v3/pay/partner/transactions/native"
    assert (body["sp_appid"], body["sp_mchid"], body["sub_mchid"]) == ("wx1", "1900000001", "1900000109")
    assert not {"appid", "mchid", "sub_appid"} & set(body)
    assert json.loads(created(PARTNER_WITH_APP, PAYMENT)[1])["sub_appid"] == "wx2"


@pytest.mark.parametrize(
    ("credentials", "payer", "app_id"),
    [(DIRECT, {"openid": "o-1"}, "wx1"), (PARTNER, {"sp_openid": "o-1"}, "wx1"), (PARTNER_WITH_APP, {"sub_openid": "o-1"}, "wx2")],
)
def test_the_payer_is_of_the_app_that_invokes(credentials: WechatCredentials, payer: dict[str, str], app_id: str) -> None:
    target, text = created(credentials, JSAPI)
    assert target.endswith("/jsapi")
    assert json.loads(text)["payer"] == payer
    assert mapping.invoking_app_id(credentials) == app_id


def test_jsapi_needs_the_payer() -> None:
    with pytest.raises(ChannelError) as refused:
        mapping.create_call(DIRECT, msgspec.structs.replace(JSAPI, payer_openid=None))
    assert refused.value.code == "PARAM_ERROR"


def test_h5_says_who_pays_and_on_what() -> None:
    target, text = created(DIRECT, H5)
    assert target.endswith("/h5")
    assert json.loads(text)["scene_info"] == {"payer_client_ip": "14.23.150.211", "h5_info": {"type": "iOS"}}
    assert (
        json.loads(created(DIRECT, msgspec.structs.replace(H5, client_ip="2001:db8::1"))[1])["scene_info"]["payer_client_ip"]
        == "2001:db8::1"
    )


@pytest.mark.parametrize(
    "address",
    [None, "", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "0.0.0.0", "localhost", "2130706433", "1.2.3.4, 5.6.7.8"],  # noqa: S104
)
def test_h5_takes_no_loopback_address(address: str | None) -> None:
    with pytest.raises(ChannelError) as refused:
        mapping.create_call(DIRECT, msgspec.structs.replace(H5, client_ip=address))
    assert (refused.value.code, refused.value.retryable) == ("PARAM_ERROR", False)


def test_alipays_products_are_not_wechats() -> None:
    with pytest.raises(ValueError, match="page"):
        mapping.create_call(DIRECT, msgspec.structs.replace(PAYMENT, product="page"))


def test_paths_of_the_other_calls() -> None:
    assert mapping.query_call(DIRECT, "po_4f2a").target == "/v3/pay/transactions/out-trade-no/po_4f2a?mchid=1900000001"
    assert (
        mapping.query_call(PARTNER, "po_4f2a").target
        == "/v3/pay/partner/transactions/out-trade-no/po_4f2a?sp_mchid=1900000001&sub_mchid=1900000109"
    )
    close = mapping.close_call(DIRECT, "po_4f2a")
    assert (close.method, close.target) == ("POST", "/v3/pay/transactions/out-trade-no/po_4f2a/close")
    assert close.body == b'{"mchid":"1900000001"}'
    assert mapping.close_call(PARTNER, "po_4f2a").body == b'{"sp_mchid":"1900000001","sub_mchid":"1900000109"}'
    assert mapping.refund_query_call(DIRECT, "re_000001").target == "/v3/refund/domestic/refunds/re_000001"
    assert mapping.refund_query_call(PARTNER, "re_000001").target == "/v3/refund/domestic/refunds/re_000001?sub_mchid=1900000109"
    day = date(2026, 11, 17)
    assert mapping.bill_call(DIRECT, day, "trade").target == "/v3/bill/tradebill?bill_date=2026-11-17&bill_type=ALL&tar_type=GZIP"
    assert mapping.bill_call(PARTNER, day, "trade").target.endswith("&sub_mchid=1900000109")
    assert mapping.bill_call(DIRECT, day, "funds").target == "/v3/bill/fundflowbill?bill_date=2026-11-17&account_type=BASIC&tar_type=GZIP"
    with pytest.raises(ChannelError, match="NOT_OFFERED"):
        mapping.bill_call(PARTNER, day, "funds")


def test_a_refund_is_these_bytes() -> None:
    request = RefundRequest("po_4f2a", "re_000001", Decimal("0.01"), Decimal("100"), "不想要了", "https://pay.example.com/r")
    call = mapping.refund_call(DIRECT, request)
    assert (call.method, call.target) == ("POST", "/v3/refund/domestic/refunds")
    assert call.body.decode() == (
        '{"out_trade_no":"po_4f2a","out_refund_no":"re_000001","reason":"不想要了","notify_url":"https://pay.example.com/r",'
        '"amount":{"refund":1,"total":10000,"currency":"CNY"}}'
    )
    plain = json.loads(mapping.refund_call(PARTNER, msgspec.structs.replace(request, reason=" \n", notify_url=None)).body)
    assert set(plain) == {"sub_mchid", "out_trade_no", "out_refund_no", "amount"}


def test_a_return_address_is_encoded_whole() -> None:
    address = mapping.with_return_url("https://wx.tenpay.com/x?prepay_id=1&package=2", "https://a.example/b?c=d&e=充")
    assert address == "https://wx.tenpay.com/x?prepay_id=1&package=2&redirect_url=https%3A%2F%2Fa.example%2Fb%3Fc%3Dd%26e%3D%E5%85%85"
    assert mapping.with_return_url("https://wx.tenpay.com/x?p=1", None) == "https://wx.tenpay.com/x?p=1"


@RUNS
@given(amounts_fen)
@example(1)
@example(10_000_000_000)
def test_fen_are_exact_both_ways(fen: int) -> None:
    amount = mapping.from_fen(fen)
    assert amount * 100 == fen
    assert amount.as_tuple().exponent == -2
    asked = json.loads(created(DIRECT, msgspec.structs.replace(PAYMENT, amount=amount))[1])["amount"]["total"]
    assert asked == fen
    assert type(asked) is int


@pytest.mark.parametrize("fen", [-1, 10_000_000_001, 10**30])
def test_fen_out_of_range_are_refused(fen: int) -> None:
    with pytest.raises(Unreadable):
        mapping.from_fen(fen)


@RUNS
@given(st.text(max_size=200), st.integers(1, 127))
def test_texts_for_people_fit_and_stay_whole(text: str, longest: int) -> None:
    short = mapping.shortened(text, longest)
    assert len(short.encode()) <= longest
    assert all(ord(character) >= 32 and ord(character) != 127 for character in short)
    # Bytes are cut off at the end, and never through a character: what is left is what was there.
    assert mapping.shortened(text, 10_000).startswith(short)


def paid(**changes: Any) -> dict[str, Any]:
    body: dict[str, Any] = {
        "appid": "wx1",
        "mchid": "1900000001",
        "out_trade_no": "po_4f2a",
        "transaction_id": "4200000251201911194300000001",
        "trade_type": "NATIVE",
        "trade_state": "SUCCESS",
        "trade_state_desc": "支付成功",
        "bank_type": "OTHERS",
        "attach": "",
        "success_time": "2026-11-18T12:26:40+08:00",
        "payer": {"openid": "o-1"},
        "amount": {"total": 10000, "payer_total": 9990, "currency": "CNY", "payer_currency": "CNY"},
    }
    return {name: value for name, value in (body | changes).items() if value is not None}


def read(body: dict[str, Any]) -> Any:
    return mapping.read_payment(json.dumps(body).encode())


def test_a_payment_is_read_whole() -> None:
    state = read(paid())
    assert (state.status, state.order_no, state.transaction_id) == ("paid", "po_4f2a", "4200000251201911194300000001")
    assert (state.amount, state.currency, state.collector_id, state.app_id) == (Decimal("100.00"), "CNY", "1900000001", "wx1")
    assert (state.paid_at, state.payer, state.raw_state) == (datetime(2026, 11, 18, 4, 26, 40, tzinfo=UTC), "o-1", "SUCCESS")
    assert state.sub_merchant_id is None


def test_a_service_providers_payment_names_both_merchants() -> None:
    body = paid(appid=None, mchid=None, payer={"sp_openid": "o-1", "sub_openid": "o-2"})
    state = read(body | {"sp_appid": "wx1", "sp_mchid": "1900000001", "sub_mchid": "1900000109"})
    assert (state.collector_id, state.sub_merchant_id, state.app_id, state.payer) == ("1900000001", "1900000109", "wx1", "o-2")


@pytest.mark.parametrize(("raw", "status"), [("NOTPAY", "unpaid"), ("SUCCESS", "paid"), ("REFUND", "refunded"), ("CLOSED", "closed")])
def test_known_states(raw: str, status: str) -> None:
    assert read(paid(trade_state=raw)).status == status


@RUNS
@given(st.text().filter(lambda text: text not in ("NOTPAY", "SUCCESS", "REFUND", "CLOSED")))
@example("success")
@example("SUCCESS ")
@example("USERPAYING")
@example("PAYERROR")
@example("REVOKED")
@example("")
def test_any_other_state_is_pending(raw: str) -> None:
    state = read(paid(trade_state=raw))
    assert (state.status, state.raw_state) == ("unpaid", raw)


def test_an_unpaid_order_has_little_to_say() -> None:
    state = read(paid(trade_state="NOTPAY", transaction_id=None, success_time=None, payer=None, amount=None))
    assert (state.status, state.amount, state.paid_at, state.payer, state.transaction_id) == ("unpaid", None, None, None, None)


@pytest.mark.parametrize(
    "broken",
    [
        paid(amount=None),
        paid(amount={"total": 10000}),
        paid(amount={"total": "10000", "currency": "CNY"}),
        paid(amount={"total": 100.5, "currency": "CNY"}),
        paid(amount={"total": True, "currency": "CNY"}),
        paid(amount={"total": -1, "currency": "CNY"}),
        paid(amount={"total": 10**40, "currency": "CNY"}),
        paid(amount={"currency": "CNY"}),
        paid(transaction_id=None),
        paid(out_trade_no=None),
        paid(out_trade_no=7),
        paid(trade_state=None),
        paid(success_time="yesterday"),
        paid(success_time="2026-11-18T12:26:40"),
        paid(success_time="2026-11-18T12:26:60+08:00"),
    ],
)
def test_a_payment_of_another_form_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        read(broken)


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{", b'"x"', b"\xff", b"[" * 100_000, b"1e400", b'{"out_trade_no":"\xed\xa0\x80"}'])
@pytest.mark.parametrize(
    "reader",
    [
        mapping.read_payment,
        mapping.read_refund,
        lambda body: mapping.read(body, mapping.Envelope),
        lambda body: mapping.read_text(body, "x"),
    ],
)
def test_garbage_is_refused(reader: Callable[[bytes], Any], body: bytes) -> None:
    with pytest.raises(Unreadable):
        reader(body)


def refund(**changes: Any) -> bytes:
    body = {
        "refund_id": "50000000382019052709732678859",
        "out_refund_no": "re_000001",
        "transaction_id": "4200000251201911194300000001",
        "out_trade_no": "po_4f2a",
        "channel": "ORIGINAL",
        "user_received_account": "支付用户零钱",
        "status": "SUCCESS",
        "success_time": "2026-11-18T12:30:00+08:00",
        "amount": {"total": 10000, "refund": 2550, "payer_total": 10000, "payer_refund": 2550, "currency": "CNY"},
    }
    return json.dumps({name: value for name, value in (body | changes).items() if value is not None}).encode()


@pytest.mark.parametrize(
    ("raw", "status"), [("PROCESSING", "processing"), ("SUCCESS", "succeeded"), ("CLOSED", "closed"), ("ABNORMAL", "abnormal")]
)
@pytest.mark.parametrize("name", ["status", "refund_status"])
def test_states_of_refunds(raw: str, status: str, name: str) -> None:
    """In an answer it is called status, in a callback refund_status."""
    mchid, sub_mchid, order_no, state = mapping.read_refund(refund(**({"status": None} | {name: raw}), mchid="1900000001"))
    assert (mchid, sub_mchid, order_no) == ("1900000001", None, "po_4f2a")
    assert (state.status, state.raw_state, state.refund_no) == (status, raw, "re_000001")
    assert (state.amount, state.channel_refund_id) == (Decimal("25.50"), "50000000382019052709732678859")
    assert state.succeeded_at == datetime(2026, 11, 18, 4, 30, tzinfo=UTC)


@RUNS
@given(st.text().filter(lambda text: text not in ("PROCESSING", "SUCCESS", "CLOSED", "ABNORMAL")))
def test_any_other_state_of_a_refund_is_processing(raw: str) -> None:
    assert mapping.read_refund(refund(status=raw))[3].status == "processing"
