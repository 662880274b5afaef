"""Proves, on a socket: the bytes that WeChat's end receives are those that were signed; an answer counts only if it is signed by a key that is
held; everything else is an unknown outcome; and each of WeChat's codes becomes what it means."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import re
import time
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import pytest
import wechatpayv3.utils as oracle
from structlog.testing import capture_logs

from buffmoney.base.clock import FixedClock
from buffmoney.collection.channels import (
    ChannelError,
    ChannelUnavailable,
    CredentialsError,
    NewPayment,
    PaymentChannel,
    RefundRequest,
    WechatCredentials,
    new_nonce,
    open_channel,
)
from tests.channel_wire import NOW_S, Reply, Sent, Wire, private_pem, public_pem, rsa_key

PUBLIC_KEY_ID = "PUB_KEY_ID_0116590025"
API_KEY = "0123456789abcdef0123456789abcdef"
CREDENTIALS = WechatCredentials(
    app_id="wx1",
    mchid="1900000001",
    sub_mchid=None,
    sub_app_id=None,
    merchant_serial="5157F09EFDC096DE15EBE81A47057A7232F1B8E1",
    merchant_private_key=private_pem("merchant"),
    api_v3_key=API_KEY,
    platform_keys={"7132D72A03E93CDDF8C03BBD1F37EEDF": public_pem("old platform"), PUBLIC_KEY_ID: public_pem("platform")},
)
PAYMENT = NewPayment(
    "po_4f2a", Decimal("100"), "充值 ¥100", "native", datetime(2026, 11, 18, 5, tzinfo=UTC), "https://pay.example.com/callbacks/wechat/ca_1"
)
REFUND = RefundRequest("po_4f2a", "re_000001", Decimal("25.50"), Decimal("100"), "不想要了")
PAID = {
    "appid": "wx1",
    "mchid": "1900000001",
    "out_trade_no": "po_4f2a",
    "transaction_id": "4200000251",
    "trade_state": "SUCCESS",
    "success_time": "2026-11-18T12:26:40+08:00",
    "payer": {"openid": "o-1"},
    "amount": {"total": 10000, "currency": "CNY"},
}
REFUNDED = {
    "refund_id": "5000000038",
    "out_refund_no": "re_000001",
    "out_trade_no": "po_4f2a",
    "status": "PROCESSING",
    "amount": {"total": 10000, "refund": 2550, "currency": "CNY"},
}


@pytest.fixture
async def wire() -> AsyncIterator[tuple[Wire, httpx.AsyncClient]]:
    """WeChat's end, and a client for it."""
    end = Wire()
    async with end.serving() as http:
        yield end, http


def opened(wire: tuple[Wire, httpx.AsyncClient], credentials: WechatCredentials = CREDENTIALS, **more: Any) -> PaymentChannel:
    end, http = wire
    return open_channel(credentials, (), http, end.url, FixedClock(NOW_S * 1_000_000), new_nonce, **more)


def signed(content: Any = None, status: int = 200, *, key: str = "platform", serial: str = PUBLIC_KEY_ID, at_s: int = NOW_S) -> Reply:
    """An answer as WeChat gives it, signed by the other library. content: JSON, or None for an empty body."""
    body = "" if content is None else json.dumps(content, ensure_ascii=False)
    signature = oracle.rsa_sign(rsa_key(key), f"{at_s}\nn0nce\n{body}\n")
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "Request-ID": "08F78BA9",
        "Wechatpay-Timestamp": str(at_s),
        "Wechatpay-Nonce": "n0nce",
        "Wechatpay-Signature": signature,
        "Wechatpay-Serial": serial,
    }
    return Reply(status, body.encode(), headers)


def refusal(status: int, code: str) -> Reply:
    return signed({"code": code, "message": "说明"}, status)


def assert_signed_as_sent(request: Sent, mchid: str = "1900000001") -> None:
    """The other library verifies the signature over what the socket received."""
    scheme, _, rest = request.headers["authorization"].partition(" ")
    said = dict(re.findall(r'(\w+)="([^"]*)"', rest))
    assert scheme == "WECHATPAY2-SHA256-RSA2048"
    assert (said["mchid"], said["serial_no"], said["timestamp"]) == (mchid, CREDENTIALS.merchant_serial, str(NOW_S))
    assert 16 <= len(said["nonce_str"]) <= 32
    # The library's form has three lines: method, target, and the other three as one.
    rest = f"{said['timestamp']}\n{said['nonce_str']}\n{request.body.decode()}"
    assert oracle.rsa_verify(request.method, request.target, rest, said["signature"], rsa_key("merchant").public_key())


async def test_a_native_order_goes_out_as_signed(wire: tuple[Wire, httpx.AsyncClient]) -> None:
    wire[0].answer = lambda _: signed({"code_url": "weixin://wxpay/bizpayurl?pr=p4lpSuKzz"})
    started = await opened(wire).create(PAYMENT)
    assert (started.qr_content, started.redirect_url, started.jsapi) == ("weixin://wxpay/bizpayurl?pr=p4lpSuKzz", None, None)
    (request,) = wire[0].sent
    assert (request.method, request.target) == ("POST", "/v3/pay/transactions/native")
    assert_signed_as_sent(request)
    assert request.headers["accept"] == request.headers["content-type"] == "application/json"
    assert request.headers["wechatpay-serial"] == PUBLIC_KEY_ID
    assert request.headers["user-agent"].startswith("BuffMoney/")
    assert json.loads(request.body)["amount"] == {"total": 10000, "currency": "CNY"}


async def test_nothing_of_the_shared_client_goes_along(wire: tuple[Wire, httpx.AsyncClient]) -> None:
    """Cookies, parameters and default headers of the client would be sent unsigned, or change what was signed."""
    end, http = wire
    http.cookies.set("session", "x", domain="127.0.0.1")
    http.params = http.params.set("debug", "1")
    http.headers["X-Extra"] = "1"
    http.auth = ("user", "password")
    end.answer = lambda _: signed(PAID)
    await opened(wire).query("po_4f2a")
    assert_signed_as_sent(end.sent[0])
    assert end.sent[0].target == "/v3/pay/transactions/out-trade-no/po_4f2a?mchid=1900000001"
    assert not {"cookie", "x-extra"} & set(end.sent[0].headers)


async def test_every_call_has_a_nonce_of_its_own(wire: tuple[Wire, httpx.AsyncClient]) -> None:
    wire[0].answer = lambda _: signed(PAID)
    channel = opened(wire)
    for _ in range(3):
        await channel.query("po_4f2a")
    assert len({re.search('nonce_str="([^"]*)"', request.headers["authorization"])[1] for request in wire[0].sent}) == 3  # type: ignore[index]


async def test_jsapi_is_invoked_with_a_signature(wire: tuple[Wire, httpx.AsyncClient]) -> None:
    wire[0].answer = lambda _: signed({"prepay_id": "wx26112221"})
    started = await opened(wire).create(msgspec.structs.replace(PAYMENT, product="jsapi", payer_openid="o-1"))
    given = started.jsapi
    assert given is not None
    assert started.qr_content is started.redirect_url is None
    assert (given["appId"], given["timeStamp"], given["package"]) == ("wx1", str(NOW_S), "prepay_id=wx26112221")
    public = rsa_key("merchant").public_key()
    assert oracle.rsa_verify(f"wx1\n{NOW_S}", given["nonceStr"], "prepay_id=wx26112221", given["paySign"], public)


async def test_h5_goes_to_wechat_and_back(wire: tuple[Wire, httpx.AsyncClient]) -> None:
    wire[0].answer = lambda _: signed({"h5_url": "https://wx.tenpay.com/cgi?prepay_id=1"})
    payment = msgspec.structs.replace(PAYMENT, product="h5", client_ip="14.23.150.211", return_url="https://a.example/b?c=1")
    started = await opened(wire).create(payment)
    assert started.redirect_url == "https://wx.tenpay.com/cgi?prepay_id=1&redirect_url=" + quote("https://a.example/b?c=1", safe="")


async def test_a_service_provider_signs_as_itself(wire: tuple[Wire, httpx.AsyncClient]) -> None:
    wire[0].answer = lambda _: signed({"code_url": "weixin://x"})
    await opened(wire, msgspec.structs.replace(CREDENTIALS, sub_mchid="1900000109")).create(PAYMENT)
    (request,) = wire[0].sent
    assert request.target == "/v3/pay/partner/transactions/native"
    assert json.loads(request.body)["sub_mchid"] == "1900000109"
    assert_signed_as_sent(request, mchid="1900000001")


async def test_a_paid_order(wire: tuple[Wire, httpx.AsyncClient]) -> None:
    wire[0].answer = lambda _: signed(PAID)
    state = await opened(wire).query("po_4f2a")
    assert (state.status, state.amount, state.collector_id) == ("paid", Decimal("100.00"), "1900000001")
    assert_signed_as_sent(wire[0].sent[0])


@pytest.mark.parametrize("code", ["ORDER_NOT_EXIST", "ORDERNOTEXIST"])
async def test_an_order_that_wechat_does_not_know(wire: tuple[Wire, httpx.AsyncClient], code: str) -> None:
    wire[0].answer = lambda _: refusal(404, code)
    channel = opened(wire)
    state = await channel.query("po_4f2a")
    assert (state.status, state.order_no, state.amount, state.raw_state) == ("unknown", "po_4f2a", None, code)
    assert await channel.close("po_4f2a") == "not_found"


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (signed(None, 204), "closed"),
        (refusal(400, "ORDER_PAID"), "already_paid"),
        (refusal(400, "ORDERPAID"), "already_paid"),
        (refusal(400, "ORDER_CLOSED"), "closed"),
        (refusal(400, "ORDERCLOSED"), "closed"),
    ],
)
async def test_closing(wire: tuple[Wire, httpx.AsyncClient], reply: Reply, outcome: str) -> None:
    wire[0].answer = lambda _: reply
    assert await opened(wire).close("po_4f2a") == outcome
    assert_signed_as_sent(wire[0].sent[0])


async def test_a_refund_and_its_query(wire: tuple[Wire, httpx.AsyncClient]) -> None:
    wire[0].answer = lambda request: signed(REFUNDED if request.method == "POST" else REFUNDED | {"status": "SUCCESS"})
    channel = opened(wire)
    state = await channel.refund(REFUND)
    assert (state.status, state.amount, state.channel_refund_id) == ("processing", Decimal("25.50"), "5000000038")
    assert (await channel.query_refund("po_4f2a", "re_000001")).status == "succeeded"
    assert wire[0].sent[1].target == "/v3/refund/domestic/refunds/re_000001"
    for request in wire[0].sent:
        assert_signed_as_sent(request)


async def test_a_repeated_refund_is_the_same_request(wire: tuple[Wire, httpx.AsyncClient]) -> None:
    """So that WeChat answers with the same refund, and makes no second one."""
    wire[0].answer = lambda _: signed(REFUNDED)
    channel = opened(wire)
    assert await channel.refund(REFUND) == await channel.refund(REFUND)
    assert wire[0].sent[0].body == wire[0].sent[1].body


async def test_a_refund_that_wechat_does_not_know(wire: tuple[Wire, httpx.AsyncClient]) -> None:
    wire[0].answer = lambda _: refusal(404, "RESOURCE_NOT_EXISTS")
    assert (await opened(wire).query_refund("po_4f2a", "re_000001")).status == "unknown"


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        (400, "PARAM_ERROR", False),
        (400, "APPID_MCHID_NOT_MATCH", False),
        (401, "SIGN_ERROR", False),
        (403, "NOT_ENOUGH", True),
        (403, "NOTENOUGH", True),
        (403, "OUT_TRADE_NO_USED", False),
        (403, "RULE_LIMIT", False),
        (429, "FREQUENCY_LIMITED", True),
        (429, "SOMETHING_NEW", True),
        (404, "MCH_NOT_EXISTS", False),
    ],
)
async def test_a_signed_refusal_keeps_its_code(wire: tuple[Wire, httpx.AsyncClient], status: int, code: str, retryable: bool) -> None:
    wire[0].answer = lambda _: refusal(status, code)
    with pytest.raises(ChannelError) as refused:
        await opened(wire).refund(REFUND)
    assert (refused.value.code, refused.value.detail, refused.value.retryable) == (code, "说明", retryable)
    assert refused.value.request_id == "08F78BA9"


def without(name: str) -> Reply:
    reply = signed(PAID)
    return Reply(reply.status, reply.body, {key: value for key, value in reply.headers.items() if key.lower() != name})


def signed_text(text: str) -> Reply:
    """Any text, signed as it is."""
    signature = oracle.rsa_sign(rsa_key("platform"), f"{NOW_S}\nn0nce\n{text}\n")
    return Reply(200, text.encode(), {**signed(None).headers, "Wechatpay-Signature": signature})


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, json.dumps(PAID).encode()),
        Reply(404, b'{"code":"ORDER_NOT_EXIST"}'),
        Reply(400, b'{"code":"ORDER_PAID"}'),
        Reply(429, b'{"code":"FREQUENCY_LIMITED"}'),
        Reply(200, b""),
        Reply(302, b"", {"Location": "https://elsewhere.example/"}),
        refusal(500, "SYSTEM_ERROR"),
        refusal(502, "ORDER_NOT_EXIST"),
        refusal(403, "SYSTEM_ERROR"),
        signed(PAID, 503),
        signed(PAID, key="stranger"),
        signed(PAID, serial="PUB_KEY_ID_9"),
        signed(PAID, at_s=NOW_S - 301),
        signed(PAID, at_s=NOW_S + 301),
        signed(PAID | {"out_trade_no": "po_other"}),
        signed({"code": 7}, 400),
        signed([], 400),
        signed(None),
        *(without(f"wechatpay-{name}") for name in ("timestamp", "nonce", "signature", "serial")),
        signed_text("<html>"),
        signed_text("{"),
        Reply(200, b"x" * (2 << 20)),
        Reply(reset=True),
        Reply(200, gzip.compress(b"{}")[:-4], {"Content-Encoding": "gzip"}),
    ],
)
async def test_anything_else_is_an_unknown_outcome(wire: tuple[Wire, httpx.AsyncClient], reply: Reply) -> None:
    """Unsigned, signed by another, too old, 5xx, garbage, about another order, endless, cut off: never a state, never a refusal."""
    wire[0].answer = lambda _: reply
    with pytest.raises(ChannelUnavailable):
        await opened(wire).query("po_4f2a")


async def test_an_altered_answer_is_an_unknown_outcome(wire: tuple[Wire, httpx.AsyncClient]) -> None:
    reply = signed(PAID | {"trade_state": "NOTPAY"})
    wire[0].answer = lambda _: Reply(200, reply.body.replace(b"NOTPAY", b"SUCCESS"), reply.headers)
    with pytest.raises(ChannelUnavailable, match="wrong_signature"):
        await opened(wire).query("po_4f2a")


@pytest.mark.parametrize("reply", [Reply(200, b"{}", delay_s=30), Reply(200, b"x" * 100, drip_s=0.1)])
async def test_a_slow_answer_is_cut_off(wire: tuple[Wire, httpx.AsyncClient], reply: Reply) -> None:
    """Also one that keeps coming, byte by byte, so that no time-out between two bytes would ever end it."""
    wire[0].answer = lambda _: reply
    started = time.monotonic()
    with pytest.raises(ChannelUnavailable):
        await opened(wire, deadline_s=0.5).query("po_4f2a")
    assert time.monotonic() - started < 3


async def test_nobody_listening_is_an_unknown_outcome(wire: tuple[Wire, httpx.AsyncClient]) -> None:
    end, http = wire
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    channel = open_channel(CREDENTIALS, (), http, f"http://127.0.0.1:{port}", FixedClock(NOW_S * 1_000_000), new_nonce)
    with pytest.raises(ChannelUnavailable):
        await channel.query("po_4f2a")


async def test_answers_of_both_keys_count_during_a_switch_over(wire: tuple[Wire, httpx.AsyncClient]) -> None:
    replies = [signed(PAID), signed(PAID, key="old platform", serial="7132D72A03E93CDDF8C03BBD1F37EEDF")]
    wire[0].answer = lambda _: replies.pop()
    channel = opened(wire)
    assert [(await channel.query("po_4f2a")).status for _ in range(2)] == ["paid", "paid"]


async def test_numbers_are_checked_before_they_are_sent(wire: tuple[Wire, httpx.AsyncClient]) -> None:
    channel = opened(wire)
    for number in ("", "short", "x" * 33, "a/b/c/d", "po-4f2a1", "po_4f2a?", "订单订单订单"):
        with pytest.raises(ValueError, match="order number"):
            await channel.query(number)
        with pytest.raises(ValueError, match="order number"):
            await channel.close(number)
    with pytest.raises(ValueError, match="refund number"):
        await channel.query_refund("po_4f2a", "x" * 65)
    assert wire[0].sent == []


BILL = "\ufeff交易时间,公众账号ID\r\n`2026-11-17 01:52:32,`wx1\r\n".encode()
DAY = date(2026, 11, 17)


def bill_answers(end: Wire, file: bytes, digest: str, status: int = 200, hash_type: str = "SHA1") -> None:
    def answer(request: Sent) -> Reply:
        if request.target.startswith("/v3/billdownload/"):
            return Reply(status, file)
        return signed({"hash_type": hash_type, "hash_value": digest, "download_url": f"{end.url}/v3/billdownload/file?token=a%2Bb&tartype=gzip"})

    end.answer = answer


SHA1 = hashlib.sha1(BILL, usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("file", [gzip.compress(BILL), BILL])
@pytest.mark.parametrize("digest", [SHA1, SHA1.upper()])
async def test_a_bill_is_fetched_signed_and_checked(wire: tuple[Wire, httpx.AsyncClient], file: bytes, digest: str) -> None:
    """The hash is over the file as it is before it was compressed."""
    bill_answers(wire[0], file, digest)
    assert await opened(wire).download_bill(DAY, "trade") == BILL
    ask, fetch = wire[0].sent
    assert ask.target == "/v3/bill/tradebill?bill_date=2026-11-17&bill_type=ALL&tar_type=GZIP"
    assert fetch.target == "/v3/billdownload/file?token=a%2Bb&tartype=gzip"
    assert_signed_as_sent(ask)
    assert_signed_as_sent(fetch)


@pytest.mark.parametrize(
    ("file", "digest", "status", "hash_type"),
    [
        (gzip.compress(BILL + b"x"), SHA1, 200, "SHA1"),
        (gzip.compress(BILL), hashlib.sha1(gzip.compress(BILL), usedforsecurity=False).hexdigest(), 200, "SHA1"),
        (gzip.compress(BILL)[:-5], SHA1, 200, "SHA1"),
        (gzip.compress(BILL) + b"rest", SHA1, 200, "SHA1"),
        (b"", SHA1, 200, "SHA1"),
        (gzip.compress(BILL), SHA1, 404, "SHA1"),
        (gzip.compress(BILL), SHA1, 200, "MD5"),
        (gzip.compress(BILL), "é", 200, "SHA1"),
    ],
)
async def test_another_file_is_refused(wire: tuple[Wire, httpx.AsyncClient], file: bytes, digest: str, status: int, hash_type: str) -> None:
    bill_answers(wire[0], file, digest, status, hash_type)
    with pytest.raises(ChannelUnavailable):
        await opened(wire).download_bill(DAY, "trade")


@pytest.mark.parametrize("address", ["ftp://127.0.0.1/x", "", "https://", "/v3/billdownload/file", "https://a.example/x"])
async def test_an_address_of_another_scheme_is_not_followed(wire: tuple[Wire, httpx.AsyncClient], address: str) -> None:
    wire[0].answer = lambda _: signed({"hash_type": "SHA1", "hash_value": SHA1, "download_url": address})
    with pytest.raises(ChannelUnavailable):
        await opened(wire).download_bill(DAY, "trade")
    assert len(wire[0].sent) == 1


async def test_a_day_without_a_bill(wire: tuple[Wire, httpx.AsyncClient]) -> None:
    wire[0].answer = lambda _: refusal(400, "NO_STATEMENT_EXIST")
    assert await opened(wire).download_bill(DAY, "funds") is None


async def test_a_bill_that_is_not_made_yet(wire: tuple[Wire, httpx.AsyncClient]) -> None:
    """WeChat says so itself, or it is before ten: then it is not even asked, since it might say that there is none."""
    wire[0].answer = lambda _: refusal(400, "STATEMENT_CREATING")
    with pytest.raises(ChannelError) as refused:
        await opened(wire).download_bill(DAY, "trade")
    assert (refused.value.code, refused.value.retryable) == ("BILL_NOT_READY", True)
    assert len(wire[0].sent) == 1
    before_ten = FixedClock(int(datetime(2026, 11, 18, 1, 59, 59, tzinfo=UTC).timestamp()) * 1_000_000)
    channel = open_channel(CREDENTIALS, (), wire[1], wire[0].url, before_ten, new_nonce)
    with pytest.raises(ChannelError, match="BILL_NOT_READY"):
        await channel.download_bill(DAY, "trade")
    assert len(wire[0].sent) == 1


async def test_logs_have_the_request_id_and_no_secret(wire: tuple[Wire, httpx.AsyncClient]) -> None:
    channel = opened(wire)
    for reply in (refusal(403, "NOT_ENOUGH"), signed(PAID, 500), signed(PAID, key="stranger"), Reply(reset=True)):
        wire[0].answer = lambda _, reply=reply: reply  # type: ignore[misc]
        with capture_logs() as lines, pytest.raises((ChannelError, ChannelUnavailable)) as failed:
            await channel.refund(REFUND)
        assert len(lines) == 1
        assert reply.reset or lines[0]["request_id"] == "08F78BA9"
        shown = repr(lines) + repr(failed.value) + str(failed.value)
        for secret in (API_KEY, CREDENTIALS.merchant_private_key[40:80], "signature=", "WECHATPAY2"):
            assert secret not in shown


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"api_v3_key": ""}, "api_v3_key"),
        ({"api_v3_key": API_KEY[:-1]}, "api_v3_key"),
        ({"platform_keys": {}}, "platform_keys"),
        ({"platform_keys": {PUBLIC_KEY_ID: "nonsense nonsense"}}, "platform_keys"),
        ({"platform_keys": {PUBLIC_KEY_ID: private_pem("platform")}}, "platform_keys"),
        ({"merchant_private_key": ""}, "merchant_private_key"),
        ({"merchant_private_key": public_pem("merchant")}, "merchant_private_key"),
        ({"merchant_private_key": private_pem("merchant")[:600]}, "merchant_private_key"),
        ({"merchant_serial": ""}, "merchant_serial"),
        ({"mchid": ""}, "mchid"),
    ],
)
async def test_unusable_credentials_open_nothing(wire: tuple[Wire, httpx.AsyncClient], changes: dict[str, Any], named: str) -> None:
    """And the error says which, not what."""
    broken = msgspec.structs.replace(CREDENTIALS, **changes)
    with pytest.raises(CredentialsError, match=named) as refused:
        opened(wire, broken)
    shown = str(refused.value) + repr(refused.value.__context__ if not refused.value.__suppress_context__ else "")
    assert "nonsense" not in shown
    assert CREDENTIALS.merchant_private_key[40:80] not in shown


async def test_credentials_of_two_merchants_do_not_go_together(wire: tuple[Wire, httpx.AsyncClient]) -> None:
    for changes in ({"mchid": "1900000002"}, {"sub_mchid": "1900000109"}):
        other = msgspec.structs.replace(CREDENTIALS, **changes)
        with pytest.raises(CredentialsError, match="two merchants"):
            open_channel(CREDENTIALS, (other,), wire[1], wire[0].url, FixedClock(0), new_nonce)
