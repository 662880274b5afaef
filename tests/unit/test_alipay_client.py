"""Proves, on a socket: Alipay's gateway receives parameters whose signature the other library accepts; an answer counts only if its object is
signed as it stands there by a key that is held; everything else is an unknown outcome; and each of Alipay's codes becomes what it means."""

from __future__ import annotations

import base64
import io
import json
import time
import zipfile
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import msgspec
import pytest
from alipay import AliPay
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from structlog.testing import capture_logs

from buffmoney.base.clock import FixedClock
from buffmoney.collection.channels import (
    AlipayCredentials,
    ChannelError,
    ChannelUnavailable,
    CredentialsError,
    NewPayment,
    NoticeRefused,
    PaymentChannel,
    PaymentNotice,
    RefundNotice,
    RefundRequest,
    new_nonce,
    open_channel,
)
from tests.channel_wire import NOW_S, Reply, Sent, Wire, private_pem, public_pem, rsa_key

CREDENTIALS = AlipayCredentials("2014072300007148", "2088102146225135", private_pem("app"), (public_pem("alipay"),))
PAYMENT = NewPayment(
    "po_4f2a",
    Decimal("100"),
    "充值 ¥100 + 20",
    "precreate",
    datetime(2026, 11, 18, 5, tzinfo=UTC),
    "https://pay.example.com/callbacks/alipay/ca_1",
    return_url="https://shop.example/done?x=1&y=2",
)
REFUND = RefundRequest("po_4f2a", "re_000001", Decimal("25.50"), Decimal("100"), "不想要了")
TRADE = {
    "code": "10000",
    "msg": "Success",
    "trade_no": "2026111822001",
    "out_trade_no": "po_4f2a",
    "trade_status": "TRADE_SUCCESS",
    "total_amount": "100.00",
    "send_pay_date": "2026-11-18 12:26:40",
}
REFUNDED = {"code": "10000", "msg": "Success", "trade_no": "2026111822001", "out_trade_no": "po_4f2a", "refund_fee": "25.50", "fund_change": "Y"}


@pytest.fixture
async def wire() -> AsyncIterator[tuple[Wire, httpx.AsyncClient]]:
    """Alipay's end, and a client for it."""
    end = Wire()
    async with end.serving() as http:
        yield end, http


def opened(wire: tuple[Wire, httpx.AsyncClient], *also_valid: AlipayCredentials, path: str = "", **more: Any) -> PaymentChannel:
    end, http = wire
    return open_channel(CREDENTIALS, also_valid, http, end.url + path, FixedClock(NOW_S * 1_000_000), new_nonce, **more)


def sign(content: bytes, key: str = "alipay") -> str:
    return base64.b64encode(rsa_key(key).sign(content, padding.PKCS1v15(), hashes.SHA256())).decode()


def parameters(request: Sent) -> dict[str, str]:
    """All parameters, wherever they were; none may be in both places."""
    pairs = parse_qsl(urlsplit(request.target).query, strict_parsing=True) + parse_qsl(request.body.decode(), strict_parsing=True)
    assert len({name for name, _ in pairs}) == len(pairs)
    return dict(pairs)


def answered(request: Sent, content: dict[str, Any], *, key: str = "alipay", member: str | None = None) -> Reply:
    """An answer with escaped slashes, as Alipay writes them."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).replace("/", "\\/")
    name = member or parameters(request)["method"].replace(".", "_") + "_response"
    body = f'{{"{name}":{text},"sign":"{sign(text.encode(), key)}"}}'
    return Reply(200, body.encode(), {"Content-Type": "text/html;charset=utf-8"})


def failed(sub_code: str, code: str = "40004") -> dict[str, str]:
    return {"code": code, "msg": "Business Failed", "sub_code": sub_code, "sub_msg": "说明"}


def assert_accepted(given: dict[str, str]) -> dict[str, Any]:
    """The other library verifies a request's parameters. Their biz_content."""
    library = AliPay("2014072300007148", None, app_private_key_string=private_pem("stranger"), alipay_public_key_string=public_pem("app"))
    unsigned = {name: value for name, value in given.items() if name != "sign"}
    assert all(unsigned.values())
    assert library._verify("&".join(f"{name}={unsigned[name]}" for name in sorted(unsigned)), given["sign"])
    assert (given["app_id"], given["sign_type"], given["charset"]) == ("2014072300007148", "RSA2", "utf-8")
    assert (given["format"], given["version"], given["timestamp"]) == ("JSON", "1.0", "2026-11-18 19:06:40")
    content: dict[str, Any] = json.loads(given["biz_content"])
    return content


async def test_a_qr_code(wire: tuple[Wire, httpx.AsyncClient]) -> None:
    wire[0].answer = lambda request: answered(
        request, {"code": "10000", "msg": "Success", "out_trade_no": "po_4f2a", "qr_code": "https://qr.alipay.com/bax0343"}
    )
    started = await opened(wire).create(PAYMENT)
    assert (started.qr_content, started.redirect_url, started.jsapi) == ("https://qr.alipay.com/bax0343", None, None)
    (request,) = wire[0].sent
    assert (request.method, urlsplit(request.target).path) == ("POST", "/gateway.do")
    given = parameters(request)
    assert (given["method"], given["notify_url"]) == ("alipay.trade.precreate", PAYMENT.notify_url)
    assert "return_url" not in given
    assert assert_accepted(given) == {
        "out_trade_no": "po_4f2a", "total_amount": "100.00", "subject": "充值 ¥100 + 20", "time_expire": "2026-11-18 13:00:00",
    }  # fmt: skip
    # Without the charset in the address, the gateway would take the form for GBK.
    assert "charset=utf-8" in request.target
    assert list(dict(parse_qsl(request.body.decode()))) == ["biz_content"]


@pytest.mark.parametrize(("product", "method"), [("page", "alipay.trade.page.pay"), ("wap", "alipay.trade.wap.pay")])
@pytest.mark.parametrize("path", ["", "/", "/gateway.do"])
async def test_page_and_wap_are_addresses(wire: tuple[Wire, httpx.AsyncClient], product: Any, method: str, path: str) -> None:
    """Nothing is sent: the payer's browser goes there."""
    started = await opened(wire, path=path).create(msgspec.structs.replace(PAYMENT, product=product))
    assert started.redirect_url is not None
    assert started.qr_content is started.jsapi is None
    assert wire[0].sent == []
    address = urlsplit(started.redirect_url)
    assert f"{address.scheme}://{address.netloc}{address.path}" == f"{wire[0].url}/gateway.do"
    given = dict(parse_qsl(address.query, strict_parsing=True))
    content = assert_accepted(given)
    assert (given["method"], given["return_url"], given["notify_url"]) == (method, PAYMENT.return_url, PAYMENT.notify_url)
    assert (content["out_trade_no"], content["total_amount"]) == ("po_4f2a", "100.00")


async def test_a_paid_order(wire: tuple[Wire, httpx.AsyncClient]) -> None:
    wire[0].answer = lambda request: answered(request, TRADE)
    state = await opened(wire).query("po_4f2a")
    assert (state.status, state.amount, state.collector_id) == ("paid", Decimal("100.00"), "2088102146225135")
    assert assert_accepted(parameters(wire[0].sent[0])) == {"out_trade_no": "po_4f2a"}


@pytest.mark.parametrize("code", ["ACQ.TRADE_NOT_EXIST", "TRADE_NOT_EXIST", "ACQ.TRADENOTEXIST"])
async def test_an_order_that_nobody_has_scanned(wire: tuple[Wire, httpx.AsyncClient], code: str) -> None:
    wire[0].answer = lambda request: answered(request, failed(code))
    channel = opened(wire)
    state = await channel.query("po_4f2a")
    assert (state.status, state.amount, state.raw_state) == ("unknown", None, code)
    assert await channel.close("po_4f2a") == "not_found"
    assert (await channel.query_refund("po_4f2a", "re_000001")).status == "unknown"


@pytest.mark.parametrize(
    ("content", "state", "outcome"),
    [
        ({"code": "10000", "msg": "Success", "out_trade_no": "po_4f2a"}, None, "closed"),
        (failed("ACQ.TRADE_HAS_SUCCESS"), None, "already_paid"),
        (failed("ACQ.TRADE_HAS_FINISHED"), None, "already_paid"),
        (failed("ACQ.TRADE_HAS_CLOSE"), None, "closed"),
        (failed("ACQ.TRADE_STATUS_ERROR"), TRADE, "already_paid"),
        (failed("ACQ.TRADE_STATUS_ERROR"), TRADE | {"trade_status": "TRADE_FINISHED"}, "already_paid"),
        (failed("ACQ.TRADE_STATUS_ERROR"), TRADE | {"trade_status": "TRADE_CLOSED"}, "already_paid"),
        (failed("ACQ.TRADE_STATUS_ERROR"), TRADE | {"trade_status": "TRADE_CLOSED", "send_pay_date": ""}, "closed"),
    ],
)
async def test_closing(wire: tuple[Wire, httpx.AsyncClient], content: dict[str, Any], state: dict[str, Any] | None, outcome: str) -> None:
    """TRADE_STATUS_ERROR is said of paid and of closed orders alike: then the order is asked for."""

    def answer(request: Sent) -> Reply:
        return answered(request, content if parameters(request)["method"] == "alipay.trade.close" else state or {})

    wire[0].answer = answer
    assert await opened(wire).close("po_4f2a") == outcome
    assert len(wire[0].sent) == (1 if state is None else 2)


async def test_an_order_that_can_neither_be_closed_nor_is_paid_stays_a_refusal(wire: tuple[Wire, httpx.AsyncClient]) -> None:
    wire[0].answer = lambda request: answered(
        request,
        failed("ACQ.TRADE_STATUS_ERROR") if parameters(request)["method"] == "alipay.trade.close" else TRADE | {"trade_status": "WAIT_BUYER_PAY"},
    )
    with pytest.raises(ChannelError, match="TRADE_STATUS_ERROR"):
        await opened(wire).close("po_4f2a")


async def test_a_refund_that_moved_money(wire: tuple[Wire, httpx.AsyncClient]) -> None:
    wire[0].answer = lambda request: answered(request, REFUNDED)
    channel = opened(wire)
    state = await channel.refund(REFUND)
    assert (state.status, state.amount, state.refund_no) == ("succeeded", Decimal("25.50"), "re_000001")
    assert await channel.refund(REFUND) == state
    first, second = (assert_accepted(parameters(request)) for request in wire[0].sent)
    assert first == second == {
        "out_trade_no": "po_4f2a", "refund_amount": "25.50", "out_request_no": "re_000001", "refund_reason": "不想要了",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("found", "status"),
    [
        ({"refund_status": "REFUND_SUCCESS", "refund_amount": "25.50", "out_request_no": "re_000001"}, "succeeded"),
        ({"refund_status": "REFUND_PROCESSING"}, "processing"),
        ({}, "processing"),
    ],
)
async def test_a_refund_that_did_not_say_so_is_asked_for(wire: tuple[Wire, httpx.AsyncClient], found: dict[str, str], status: str) -> None:
    """Accepted and not found is still no failure: it may be under way."""
    wire[0].answer = lambda request: answered(
        request, REFUNDED | {"fund_change": "N"} if parameters(request)["method"] == "alipay.trade.refund" else {"code": "10000", **found}
    )
    assert (await opened(wire).refund(REFUND)).status == status
    assert [parameters(request)["method"] for request in wire[0].sent] == ["alipay.trade.refund", "alipay.trade.fastpay.refund.query"]


@pytest.mark.parametrize(
    ("content", "code", "retryable"),
    [
        (failed("ACQ.SELLER_BALANCE_NOT_ENOUGH"), "ACQ.SELLER_BALANCE_NOT_ENOUGH", True),
        (failed("ACQ.REFUND_AMT_NOT_EQUAL_TOTAL"), "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL", False),
        (failed("ACQ.TRADE_HAS_FINISHED"), "ACQ.TRADE_HAS_FINISHED", False),
        (failed("ACQ.DISCORDANT_REPEAT_REQUEST"), "ACQ.DISCORDANT_REPEAT_REQUEST", False),
        (failed("isv.invalid-signature", "40002"), "isv.invalid-signature", False),
        (failed("aop.invalid-auth-token", "20001"), "aop.invalid-auth-token", False),
        ({"code": "40006", "msg": "Insufficient Permissions"}, "40006", False),
        ({"code": "99999", "msg": "?"}, "99999", False),
    ],
)
async def test_a_signed_refusal_keeps_its_code(wire: tuple[Wire, httpx.AsyncClient], content: dict[str, str], code: str, retryable: bool) -> None:
    wire[0].answer = lambda request: answered(request, content)
    with pytest.raises(ChannelError) as refused:
        await opened(wire).refund(REFUND)
    assert (refused.value.code, refused.value.retryable) == (code, retryable)
    wire[0].answer = lambda request: answered(request, content, member="error_response")
    with pytest.raises(ChannelError):
        await opened(wire).refund(REFUND)


@pytest.mark.parametrize(
    "content",
    [
        failed("ACQ.SYSTEM_ERROR"),
        failed("aop.ACQ.SYSTEM_ERROR"),
        failed("isp.unknow-error", "20000"),
        {"code": "20000", "msg": "Service Currently Unavailable"},
        {"msg": "Success"},
        TRADE | {"out_trade_no": "po_other"},
        TRADE | {"total_amount": "x"},
    ],
)
async def test_signed_but_no_outcome(wire: tuple[Wire, httpx.AsyncClient], content: dict[str, str]) -> None:
    wire[0].answer = lambda request: answered(request, content)
    with pytest.raises(ChannelUnavailable):
        await opened(wire).query("po_4f2a")


PLAIN = json.dumps(TRADE)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, f'{{"alipay_trade_query_response":{PLAIN}}}'.encode()),
        Reply(200, f'{{"alipay_trade_query_response":{PLAIN},"sign":"{sign(PLAIN.encode(), "stranger")}"}}'.encode()),
        Reply(200, f'{{"alipay_trade_query_response":{PLAIN} ,"sign":"AAAA"}}'.encode()),
        Reply(200, f'{{"alipay_trade_close_response":{PLAIN},"sign":"{sign(PLAIN.encode())}"}}'.encode()),
        Reply(500, f'{{"alipay_trade_query_response":{PLAIN},"sign":"{sign(PLAIN.encode())}"}}'.encode()),
        Reply(429, f'{{"alipay_trade_query_response":{PLAIN},"sign":"{sign(PLAIN.encode())}"}}'.encode()),
        Reply(302, b"", {"Location": "https://elsewhere.example/"}),
        Reply(200, b'{"alipay_trade_query_response":{"code":"40002","sub_code":"isv.invalid-app-id"}}'),
        Reply(200, b"<html>"),
        Reply(200, b""),
        Reply(200, b"x" * (2 << 20)),
        Reply(reset=True),
        Reply(200, b"{}", delay_s=30),
        Reply(200, b"{" * 100, drip_s=0.1),
    ],
)
async def test_anything_else_is_an_unknown_outcome(wire: tuple[Wire, httpx.AsyncClient], reply: Reply) -> None:
    """Unsigned, signed by another, of another method, 5xx, garbage, endless, cut off, slow: never a state, never a refusal."""
    wire[0].answer = lambda _: reply
    started = time.monotonic()
    with pytest.raises(ChannelUnavailable):
        await opened(wire, deadline_s=0.5).query("po_4f2a")
    assert time.monotonic() - started < 3


async def test_a_rewritten_answer_is_an_unknown_outcome(wire: tuple[Wire, httpx.AsyncClient]) -> None:
    """The same JSON with other white space is not what was signed."""
    wire[0].answer = lambda _: Reply(
        200, f'{{"alipay_trade_query_response":{PLAIN.replace(", ", ",")},"sign":"{sign(PLAIN.encode())}"}}'.encode()
    )
    with pytest.raises(ChannelUnavailable, match="does not hold"):
        await opened(wire).query("po_4f2a")


async def test_answers_of_both_keys_count_during_a_switch_over(wire: tuple[Wire, httpx.AsyncClient]) -> None:
    before = msgspec.structs.replace(CREDENTIALS, alipay_public_keys=(public_pem("old alipay"),))
    wire[0].answer = lambda request: answered(request, TRADE, key="old alipay")
    assert (await opened(wire, before).query("po_4f2a")).status == "paid"
    with pytest.raises(ChannelUnavailable):
        await opened(wire).query("po_4f2a")
    wire[0].answer = lambda request: answered(request, TRADE)
    assert (await opened(wire, before).query("po_4f2a")).status == "paid"


def archive() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("bill.csv", "#支付宝业务明细查询\r\n".encode("gbk"))
    return packed.getvalue()


DAY = date(2026, 11, 17)


def bill_answers(end: Wire, file: Reply) -> None:
    end.answer = lambda request: (
        file if request.target.startswith("/bills/") else answered(request, {"code": "10000", "bill_download_url": f"{end.url}/bills/x?a=%E4%B8%AD&b=1"})
    )


async def test_a_bill_is_fetched_as_it_is(wire: tuple[Wire, httpx.AsyncClient]) -> None:
    packed = archive()
    bill_answers(wire[0], Reply(200, packed))
    assert await opened(wire).download_bill(DAY, "trade") == packed
    ask, fetch = wire[0].sent
    assert assert_accepted(parameters(ask)) == {"bill_type": "trade", "bill_date": "2026-11-17"}
    assert (fetch.method, fetch.target, fetch.body) == ("GET", "/bills/x?a=%E4%B8%AD&b=1", b"")
    assert "authorization" not in fetch.headers


@pytest.mark.parametrize("file", [Reply(200, b"<html>expired"), Reply(404, b"PK"), Reply(302, b"PK", {"Location": "/"}), Reply(200, b""), Reply(reset=True)])
async def test_another_file_is_refused(wire: tuple[Wire, httpx.AsyncClient], file: Reply) -> None:
    bill_answers(wire[0], file)
    with pytest.raises(ChannelUnavailable):
        await opened(wire).download_bill(DAY, "funds")


async def test_days_without_a_bill(wire: tuple[Wire, httpx.AsyncClient]) -> None:
    """Before nine it may only not be made yet, and Alipay says of both that there is none: so it is not even asked."""
    wire[0].answer = lambda request: answered(request, failed("isp.bill_not_exist"))
    assert await opened(wire).download_bill(DAY, "trade") is None
    before_nine = FixedClock(int(datetime(2026, 11, 18, 0, 59, 59, tzinfo=UTC).timestamp()) * 1_000_000)
    channel = open_channel(CREDENTIALS, (), wire[1], wire[0].url, before_nine, new_nonce)
    with pytest.raises(ChannelError) as refused:
        await channel.download_bill(DAY, "trade")
    assert (refused.value.code, refused.value.retryable) == ("BILL_NOT_READY", True)
    assert len(wire[0].sent) == 1


async def test_logs_have_the_code_and_no_secret(wire: tuple[Wire, httpx.AsyncClient]) -> None:
    channel = opened(wire)
    for reply in (None, Reply(500), Reply(200, b"{}"), Reply(reset=True)):
        wire[0].answer = lambda request, reply=reply: reply or answered(request, failed("ACQ.SELLER_BALANCE_NOT_ENOUGH"))  # type: ignore[misc]
        with capture_logs() as lines, pytest.raises((ChannelError, ChannelUnavailable)) as broken:
            await channel.refund(REFUND)
        assert len(lines) == 1
        assert lines[0]["method"] == "alipay.trade.refund"
        shown = repr(lines) + repr(broken.value) + str(broken.value)
        for secret in (CREDENTIALS.app_private_key[40:80], "sign=", parameters(wire[0].sent[-1])["sign"]):
            assert secret not in shown


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"alipay_public_keys": ()}, "alipay_public_keys"),
        ({"alipay_public_keys": ("nonsense nonsense",)}, "alipay_public_keys"),
        ({"app_private_key": ""}, "app_private_key"),
        ({"app_id": ""}, "app_id"),
        ({"seller_id": ""}, "seller_id"),
    ],
)
async def test_unusable_credentials_open_nothing(wire: tuple[Wire, httpx.AsyncClient], changes: dict[str, Any], named: str) -> None:
    broken = msgspec.structs.replace(CREDENTIALS, **changes)
    with pytest.raises(CredentialsError, match=named) as refused:
        open_channel(broken, (), wire[1], wire[0].url, FixedClock(0), new_nonce)
    assert "nonsense" not in str(refused.value)


# ---- callbacks

NOTICE = {
    "notify_id": "2026111800222122640000",
    "notify_type": "trade_status_sync",
    "notify_time": "2026-11-18 12:26:41",
    "charset": "utf-8",
    "version": "1.0",
    "app_id": "2014072300007148",
    "seller_id": "2088102146225135",
    "out_trade_no": "po_4f2a",
    "trade_no": "2026111822001",
    "trade_status": "TRADE_SUCCESS",
    "subject": "充值 ¥100 + 20 & more=%41",
    "body": "",
    "total_amount": "100.00",
    "gmt_payment": "2026-11-18 12:26:40",
}


def notice_body(fields: dict[str, str], *, key: str = "alipay", with_type: bool = False) -> bytes:
    """A callback signed by the other library."""
    library = AliPay("2014072300007148", None, app_private_key_string=private_pem(key), alipay_public_key_string=public_pem("alipay"))
    covered = fields | ({"sign_type": "RSA2"} if with_type else {})
    signature = library._sign("&".join(f"{name}={covered[name]}" for name in sorted(covered)))
    return urlencode(fields | {"sign_type": "RSA2", "sign": signature}).encode()


def unconnected(*also_valid: AlipayCredentials) -> PaymentChannel:
    return open_channel(CREDENTIALS, also_valid, httpx.AsyncClient(), "http://127.0.0.1:1", FixedClock(NOW_S * 1_000_000), new_nonce)


def refused(body: bytes, by: PaymentChannel | None = None) -> str:
    with pytest.raises(NoticeRefused) as refusal:
        (by or unconnected()).read_notice({"content-type": "application/x-www-form-urlencoded; charset=utf-8"}, body)
    return refusal.value.reason


@pytest.mark.parametrize("with_type", [False, True])
def test_a_callback_with_sign_type_signed_or_not(with_type: bool) -> None:
    notice = unconnected().read_notice({}, notice_body(NOTICE, with_type=with_type))
    assert isinstance(notice, PaymentNotice)
    assert (notice.notice_id, notice.payment.status, notice.payment.amount) == ("2026111800222122640000", "paid", Decimal("100.00"))


def test_callbacks_that_are_not_alipays_are_refused() -> None:
    by = unconnected()
    assert refused(urlencode(NOTICE).encode(), by) == "unsigned"
    assert refused(urlencode(NOTICE | {"sign": "", "sign_type": "RSA2"}).encode(), by) == "unsigned"
    assert refused(urlencode(NOTICE | {"sign": "not base64", "sign_type": "RSA2"}).encode(), by) == "wrong_signature"
    assert refused(notice_body(NOTICE, key="stranger"), by) == "wrong_signature"
    assert refused(b"", by) == "malformed"
    assert refused(b'{"sign":"x"}', by) == "malformed"
    body = notice_body(NOTICE)
    assert refused(body + b"&total_amount=1.00", by) == "malformed"
    assert refused(body + b"&extra=1", by) == "wrong_signature"


def test_every_altered_byte_is_refused() -> None:
    """In a value, a name or the signature; none gets through, whatever it turns the form into."""
    body, by = notice_body(NOTICE), unconnected()
    for place in range(0, len(body), 5):
        altered = bytearray(body)
        altered[place] ^= 1
        if altered.find(b"sign_type=") == -1 or bytes(altered[altered.find(b"sign_type=") :][:14]) != b"sign_type=RSA2":
            continue  # this name and value are the only ones that no signature covers
        assert refused(bytes(altered), by) in ("wrong_signature", "unsigned", "malformed"), place


def test_a_signed_callback_of_no_known_form_is_refused() -> None:
    for changes in ({"total_amount": "1e2"}, {"notify_id": ""}, {"gmt_payment": "now"}):
        assert refused(notice_body(NOTICE | changes)) == "malformed"


def test_a_payment_of_another_merchant_says_so() -> None:
    """It is not refused: Alipay did collect it, and who decides what that means needs to see it."""
    notice = unconnected().read_notice({}, notice_body(NOTICE | {"seller_id": "2088000000000000", "app_id": "1"}))
    assert isinstance(notice, PaymentNotice)
    assert (notice.payment.collector_id, notice.payment.app_id) == ("2088000000000000", "1")


def test_a_refund() -> None:
    fields = NOTICE | {"refund_fee": "25.50", "out_biz_no": "re_000001", "gmt_refund": "2026-11-18 12:30:00.123"}
    notice = unconnected().read_notice({}, notice_body(fields))
    assert isinstance(notice, RefundNotice)
    assert (notice.order_no, notice.refund.refund_no) == ("po_4f2a", "re_000001")
    assert refused(notice_body(fields | {"seller_id": "2088000000000000"})) == "wrong_merchant"


def test_callbacks_under_the_old_key_are_taken_during_a_rotation() -> None:
    before = msgspec.structs.replace(CREDENTIALS, alipay_public_keys=(public_pem("old alipay"),))
    body = notice_body(NOTICE, key="old alipay")
    assert unconnected(before).read_notice({}, body)
    assert unconnected(before).read_notice({}, notice_body(NOTICE))
    assert refused(body) == "wrong_signature"


def test_answers_are_what_alipay_expects() -> None:
    assert unconnected().notice_answer(True) == (200, "text/plain", b"success")
    status, _, body = unconnected().notice_answer(False, "unknown order")
    assert status == 400
    assert body != b"success"
