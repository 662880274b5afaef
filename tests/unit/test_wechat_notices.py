"""Proves: a callback of WeChat Pay is believed only if every byte of it is WeChat's, now, and for this merchant; then it is read as what it
says, whichever of the keys of a switch-over signed or encrypted it."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import msgspec
import pytest
import wechatpayv3.utils as oracle
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from buffmoney.base.clock import FixedClock
from buffmoney.collection.channels import NoticeRefused, PaymentChannel, PaymentNotice, RefundNotice, WechatCredentials, new_nonce, open_channel
from tests.channel_wire import NOW_S, private_pem, public_pem, rsa_key

PUBLIC_KEY_ID = "PUB_KEY_ID_0116590025"
API_KEY = "0123456789abcdef0123456789abcdef"
OLD_API_KEY = "fedcba9876543210fedcba9876543210"
CREDENTIALS = WechatCredentials(
    "wx1", "1900000001", None, None, "5157F09E", private_pem("merchant"), API_KEY, {PUBLIC_KEY_ID: public_pem("platform")}
)
BEFORE = msgspec.structs.replace(CREDENTIALS, api_v3_key=OLD_API_KEY, platform_keys={"7132D72A": public_pem("old platform")})
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
    "mchid": "1900000001",
    "out_trade_no": "po_4f2a",
    "transaction_id": "4200000251",
    "refund_id": "5000000038",
    "out_refund_no": "re_000001",
    "refund_status": "SUCCESS",
    "success_time": "2026-11-18T12:30:00+08:00",
    "amount": {"total": 10000, "refund": 2550, "payer_total": 10000, "payer_refund": 2550},
}


def channel(credentials: WechatCredentials = CREDENTIALS, *also_valid: WechatCredentials) -> PaymentChannel:
    """A channel that is never asked to send anything."""
    return open_channel(credentials, also_valid, httpx.AsyncClient(), "http://127.0.0.1:1", FixedClock(NOW_S * 1_000_000), new_nonce)


def resource(content: Any, *, key: str = API_KEY, associated: str = "transaction", **changes: Any) -> dict[str, Any]:
    ciphertext = AESGCM(key.encode()).encrypt(b"fdasflkja484", json.dumps(content).encode(), associated.encode())
    made = {
        "original_type": "transaction",
        "algorithm": "AEAD_AES_256_GCM",
        "ciphertext": base64.b64encode(ciphertext).decode(),
        "associated_data": associated,
        "nonce": "fdasflkja484",
    }
    return {name: value for name, value in (made | changes).items() if value is not None}


def envelope(inner: Any, event_type: str = "TRANSACTION.SUCCESS", **changes: Any) -> bytes:
    body = {
        "id": "EV-2018022511223320873",
        "create_time": "2026-11-18T12:26:41+08:00",
        "resource_type": "encrypt-resource",
        "event_type": event_type,
        "summary": "支付成功",
        "resource": inner,
    }
    return json.dumps({name: value for name, value in (body | changes).items() if value is not None}, ensure_ascii=False).encode()


def headers(body: bytes, *, key: str = "platform", serial: str = PUBLIC_KEY_ID, at_s: int = NOW_S) -> dict[str, str]:
    return {
        "content-type": "application/json",
        "wechatpay-timestamp": str(at_s),
        "wechatpay-nonce": "n0nce",
        "wechatpay-signature": oracle.rsa_sign(rsa_key(key), f"{at_s}\nn0nce\n{body.decode()}\n"),
        "wechatpay-serial": serial,
    }


def refused(given: dict[str, str], body: bytes, by: PaymentChannel | None = None) -> str:
    with pytest.raises(NoticeRefused) as refusal:
        (by or channel()).read_notice(given, body)
    return refusal.value.reason


def test_a_payment() -> None:
    body = envelope(resource(PAID))
    notice = channel().read_notice(headers(body), body)
    assert isinstance(notice, PaymentNotice)
    assert notice.notice_id == "EV-2018022511223320873"
    assert (notice.payment.status, notice.payment.order_no, str(notice.payment.amount)) == ("paid", "po_4f2a", "100.00")


@pytest.mark.parametrize("associated", ["", "transaction", "refund"])
def test_associated_data_may_be_anything_that_was_sealed_with_it(associated: str) -> None:
    body = envelope(resource(PAID, associated=associated))
    assert channel().read_notice(headers(body), body)


def test_absent_associated_data_are_empty() -> None:
    body = envelope(resource(PAID, associated="", associated_data=None))
    assert channel().read_notice(headers(body), body)


@pytest.mark.parametrize(("event", "raw", "status"), [
    ("REFUND.SUCCESS", "SUCCESS", "succeeded"), ("REFUND.ABNORMAL", "ABNORMAL", "abnormal"), ("REFUND.CLOSED", "CLOSED", "closed"),
    ("REFUND.SUCCESS", "SOMETHING", "processing"),
])  # fmt: skip
def test_a_refund_is_what_its_resource_says(event: str, raw: str, status: str) -> None:
    body = envelope(resource(REFUNDED | {"refund_status": raw}, associated="refund"), event)
    notice = channel().read_notice(headers(body), body)
    assert isinstance(notice, RefundNotice)
    assert (notice.order_no, notice.refund.refund_no, notice.refund.status) == ("po_4f2a", "re_000001", status)
    assert str(notice.refund.amount) == "25.50"


def test_a_refund_of_another_merchant_is_refused() -> None:
    for changes in ({"mchid": "1900000002"}, {"mchid": ""}, {"sub_mchid": "1900000109"}):
        body = envelope(resource(REFUNDED | changes), "REFUND.SUCCESS")
        assert refused(headers(body), body) == "wrong_merchant"


def test_a_payment_of_another_merchant_says_so() -> None:
    """It is not refused: WeChat did collect it, and who decides what that means needs to see it."""
    body = envelope(resource(PAID | {"mchid": "1900000002"}))
    notice = channel().read_notice(headers(body), body)
    assert isinstance(notice, PaymentNotice)
    assert notice.payment.collector_id == "1900000002"


def test_an_unsigned_callback_is_refused() -> None:
    body = envelope(resource(PAID))
    assert refused({}, body) == "unsigned"
    given = headers(body)
    del given["wechatpay-signature"]
    assert refused(given, body) == "unsigned"


def test_a_wrong_key_is_refused() -> None:
    body = envelope(resource(PAID))
    assert refused(headers(body, key="stranger"), body) == "wrong_signature"
    assert refused(headers(body, serial="PUB_KEY_ID_9"), body) == "unknown_key"


@pytest.mark.parametrize("skew_s", [-301, 301])
def test_a_stale_callback_is_refused(skew_s: int) -> None:
    body = envelope(resource(PAID))
    assert refused(headers(body, at_s=NOW_S + skew_s), body) == "stale"


@pytest.mark.parametrize("skew_s", [-300, 300])
def test_a_callback_within_the_skew_is_taken(skew_s: int) -> None:
    body = envelope(resource(PAID))
    assert channel().read_notice(headers(body, at_s=NOW_S + skew_s), body)


def test_a_probe_is_refused_and_answered_with_a_failure() -> None:
    body = envelope(resource(PAID))
    given = headers(body)
    given["wechatpay-signature"] = "WECHATPAY/SIGNTEST/" + given["wechatpay-signature"]
    assert refused(given, body) == "probe"
    status, _, answer = channel().notice_answer(False, "probe")
    assert 400 <= status < 600
    assert json.loads(answer) == {"code": "FAIL", "message": "probe"}


def test_every_altered_byte_is_refused_before_anything_is_parsed() -> None:
    """One bit in each place of the body: the signature fails first, so no reason is ever about the content."""
    body = envelope(resource(PAID))
    given, by = headers(body), channel()
    for place in range(0, len(body), 7):
        altered = bytearray(body)
        altered[place] ^= 1
        assert refused(given, bytes(altered), by) == "wrong_signature"
    assert refused(given, body + b" ", by) == "wrong_signature"
    assert refused(given, b"", by) == "wrong_signature"


@pytest.mark.parametrize(
    "inner",
    [
        resource(PAID, associated_data="refund"),
        resource(PAID, nonce="fdasflkja485"),
        resource(PAID, nonce="short"),
        resource(PAID, ciphertext="not base64"),
        resource(PAID, ciphertext=""),
        resource(PAID, key=OLD_API_KEY),
        resource(PAID, algorithm="AEAD_SM4_GCM"),
    ],
)
def test_a_resource_that_does_not_open_is_refused(inner: dict[str, Any]) -> None:
    """Signed, even so: whoever has WeChat's signature still needs the merchant's APIv3 key."""
    body = envelope(inner)
    assert refused(headers(body), body) == "undecryptable"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"{}",
        b"[1]",
        b"not json",
        envelope(resource(PAID), id=None),
        envelope(resource(PAID), event_type=None),
        envelope(None),
        envelope("text"),
        envelope(resource(PAID, ciphertext=None)),
        envelope(resource({"out_trade_no": "po_4f2a"})),
        envelope(resource(PAID | {"amount": {"total": "10000", "currency": "CNY"}})),
        envelope(resource(PAID | {"success_time": "now"})),
        envelope(resource([])),
        envelope(resource({}), "REFUND.SUCCESS"),
    ],
)
def test_what_is_signed_but_of_no_known_form_is_refused(body: bytes) -> None:
    assert refused(headers(body), body) == "malformed"


def test_an_event_that_is_not_known_is_refused() -> None:
    """WeChat will send it again, and by then somebody may have looked."""
    body = envelope(resource(PAID), "PAYSCORE.USER_PAID")
    assert refused(headers(body), body) == "unknown_event"


def test_keys_overlap_during_a_rotation() -> None:
    """Of each pair, the one before still verifies and decrypts, in any combination; without it, it does not."""
    both = channel(CREDENTIALS, BEFORE)
    for api_key in (API_KEY, OLD_API_KEY):
        body = envelope(resource(PAID, key=api_key))
        for given in (headers(body), headers(body, key="old platform", serial="7132D72A")):
            assert both.read_notice(given, body)
    body = envelope(resource(PAID))
    assert refused(headers(body, key="old platform", serial="7132D72A"), body) == "unknown_key"


def test_answers_are_what_wechat_expects() -> None:
    assert channel().notice_answer(True) == (204, "application/json", b"")
    status, content_type, body = channel().notice_answer(False)
    assert (status, content_type) == (400, "application/json")
    assert json.loads(body)["code"] == "FAIL"
    assert len(json.loads(channel().notice_answer(False, "x" * 5000)[2])["message"]) <= 128
