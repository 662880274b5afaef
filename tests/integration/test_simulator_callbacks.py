"""Callbacks of the stand-ins: what they hold, that independent libraries verify them, and the channels' ways of repeating them."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.simulation import Listener, Received, Simulation, WechatMerchant, is_signed, wait_for


@pytest.fixture(autouse=True)
def quiet(simulation: Simulation) -> Iterator[None]:
    """What a test leaves unfinished must not reach the next one's listener: their ports differ, so it only ends here."""
    yield
    simulation.as_new()


def opened(merchant: WechatMerchant, received: Received) -> dict[str, Any]:
    """The envelope of a callback with its resource decrypted by hand, after its signature was checked."""
    assert merchant.is_genuine(received.headers, received.body)
    envelope: dict[str, Any] = json.loads(received.body)
    resource = envelope["resource"]
    assert resource["algorithm"] == "AEAD_AES_256_GCM"
    assert len(resource["nonce"]) == 12
    plain = AESGCM(merchant.facts["apiV3Key"].encode()).decrypt(
        resource["nonce"].encode(), base64.b64decode(resource["ciphertext"]), resource["associated_data"].encode()
    )
    return {**envelope, "resource": json.loads(plain)}


def fields_of(received: Received) -> dict[str, str]:
    """The form of an Alipay callback."""
    return dict(parse_qsl(received.body.decode(), keep_blank_values=True))


def test_wechat_tells_of_payment_and_refund(simulation: Simulation, listener: Listener) -> None:
    """Proves: one callback each, in the channel's form, verified and decrypted by hand and by wechatpayv3."""
    merchant = simulation.wechat(listener=listener)
    number = merchant.paid(250, attach="x=1")
    first = opened(merchant, listener.wait(1)[0])
    assert (first["event_type"], first["resource_type"], first["resource"]["trade_state"]) == (
        "TRANSACTION.SUCCESS", "encrypt-resource", "SUCCESS",
    )  # fmt: skip
    assert first["resource"] == merchant.query(number).json()
    merchant.refund(number, 100, 250, "r1")
    second = opened(merchant, listener.wait(2)[1])
    refund = second["resource"]
    assert (second["event_type"], refund["refund_status"], refund["out_refund_no"]) == ("REFUND.SUCCESS", "SUCCESS", "r1")
    assert refund["amount"] == {"total": 250, "refund": 100, "payer_total": 250, "payer_refund": 100}
    assert (refund["mchid"], refund["out_trade_no"]) == (merchant.mchid, number)
    assert first["id"] != second["id"]

    library = merchant.library()
    for received, event in zip(listener.received, ("TRANSACTION.SUCCESS", "REFUND.SUCCESS"), strict=True):
        headers = {name.title(): value for name, value in received.headers.items()}
        found = library.callback(headers, received.body)
        assert found["event_type"] == event
        spoilt = received.body.replace(b"TRANSACTION", b"TRANSACTIOM").replace(b"REFUND.", b"REFUMD.")
        assert library.callback(headers, spoilt) is None
    wait_for(lambda: all(one["state"] == "delivered" for one in simulation.callbacks(number)))
    assert [len(one["deliveries"]) for one in simulation.callbacks(number)] == [1, 1]
    for outcome in ("CLOSED", "ABNORMAL"):
        simulation.control("refunds", outcome=outcome, delaySeconds=0, gapSeconds=0)
        merchant.refund(number, 1, 250, f"r-{outcome}")
        assert opened(merchant, listener.wait(3 if outcome == "CLOSED" else 4)[-1])["event_type"] == f"REFUND.{outcome}"


def test_alipay_tells_of_payment_refunds_and_time_out(simulation: Simulation, listener: Listener) -> None:
    """Proves: a form post for each step, verified by hand and by python-alipay-sdk; a full refund and a time-out are both TRADE_CLOSED."""
    merchant = simulation.alipay(listener=listener)
    number = merchant.paid("2.50")
    merchant.refund(number, "1.00", "r1")
    merchant.refund(number, "1.50", "r2")
    timed_out, code = merchant.create(timeout_express="1m")
    simulation.phone(code, "wait")
    simulation.control("clock", advanceSeconds=61)
    found = sorted(map(fields_of, listener.wait(4)), key=lambda one: (one["out_trade_no"] != number, one.get("refund_fee", "")))
    assert [one["trade_status"] for one in found] == ["TRADE_SUCCESS", "TRADE_SUCCESS", "TRADE_CLOSED", "TRADE_CLOSED"]
    assert [one.get("refund_fee") for one in found] == [None, "1.00", "2.50", None]
    assert [one.get("out_biz_no") for one in found] == [None, "r1", "r2", None]
    assert found[3]["out_trade_no"] == timed_out
    assert "gmt_payment" not in found[3]
    for one in found:
        assert (one["app_id"], one["seller_id"]) == (merchant.facts["appId"], merchant.facts["sellerId"])
        sign = one.pop("sign")
        assert merchant.library().verify(dict(one), sign)
        one.pop("sign_type")
        message = "&".join(f"{name}={one[name]}" for name in sorted(one)).encode()
        assert is_signed(merchant.facts["alipayPublicKey"], message, sign)
        assert not is_signed(merchant.facts["alipayPublicKey"], message + b"0", sign)
    assert len({one["notify_id"] for one in found}) == 4
    assert all(received.headers["content-type"].startswith("application/x-www-form-urlencoded") for received in listener.received)


def test_finished_trades_are_announced(simulation: Simulation, listener: Listener) -> None:
    merchant = simulation.alipay(listener=listener)
    merchant.paid("1.00")
    listener.wait(1)
    simulation.control("clock", advanceSeconds=361 * 86_400)
    assert fields_of(listener.wait(2)[1])["trade_status"] == "TRADE_FINISHED"


@pytest.mark.parametrize(
    ("channel", "schedule"),
    [
        ("wechat", [15, 15, 30, 180, 600, 1200, 1800, 1800, 1800, 3600, 10800, 10800, 10800, 21600, 21600]),
        ("alipay", [240, 600, 600, 3600, 7200, 21600, 54000]),
    ],
)
def test_repetitions_follow_the_channel(simulation: Simulation, listener: Listener, channel: str, schedule: list[int]) -> None:
    """Proves: the waits between attempts are the channel's own, the id stays, the signature is new, and after the last it gives up."""
    listener.answer = (500, b'{"code":"FAIL","message":"later"}')
    merchant: Any = simulation.wechat(listener=listener) if channel == "wechat" else simulation.alipay(listener=listener)
    number = merchant.paid()
    for count, wait_s in enumerate(schedule, start=1):
        listener.wait(count)
        wait_for(lambda count=count: simulation.callbacks(number)[0]["attempts"] == count)  # type: ignore[misc]
        simulation.control("clock", advanceSeconds=wait_s - 6)
        time.sleep(0.05)
        assert len(listener.received) == count, f"attempt {count + 1} came early"
        simulation.control("clock", advanceSeconds=6)
    listener.wait(len(schedule) + 1)
    wait_for(lambda: simulation.callbacks(number)[0]["state"] == "given_up")
    simulation.control("clock", advanceSeconds=90_000)
    time.sleep(0.2)
    assert len(listener.received) == len(schedule) + 1
    if channel == "wechat":
        assert len({json.loads(one.body)["id"] for one in listener.received}) == 1
        assert len({one.headers["wechatpay-signature"] for one in listener.received}) == len(listener.received)
    else:
        assert len({fields_of(one)["notify_id"] for one in listener.received}) == 1


@pytest.mark.parametrize(
    ("channel", "answer", "taken"),
    [
        ("wechat", (200, b""), True), ("wechat", (204, b""), True), ("wechat", (202, b""), False), ("wechat", (302, b""), False),
        ("wechat", (400, b"{}"), False), ("alipay", (200, b"success"), True), ("alipay", (200, b"success\n"), False),
        ("alipay", (200, b"SUCCESS"), False), ("alipay", (200, b"fail"), False), ("alipay", (500, b"success"), False),
    ],
)  # fmt: skip
def test_what_counts_as_taken(simulation: Simulation, listener: Listener, channel: str, answer: tuple[int, bytes], taken: bool) -> None:
    listener.answer = answer
    merchant: Any = simulation.wechat(listener=listener) if channel == "wechat" else simulation.alipay(listener=listener)
    number = merchant.paid()
    wait_for(lambda: simulation.callbacks(number)[0]["attempts"] == 1)
    found = simulation.callbacks(number)[0]
    assert found["state"] == ("delivered" if taken else "waiting")
    assert found["deliveries"][0]["status"] == answer[0]
    assert found["deliveries"][0]["answer"] == answer[1].decode()


def test_speed_shortens_waits_that_have_begun(simulation: Simulation, listener: Listener) -> None:
    listener.answers = [(500, b"")] * 3
    merchant = simulation.wechat(listener=listener)
    number = merchant.paid()
    wait_for(lambda: simulation.callbacks(number)[0]["attempts"] == 1)
    simulation.control("callbacks", speed=100)
    listener.wait(4, timeout_s=5)
    wait_for(lambda: simulation.callbacks(number)[0]["state"] == "delivered")


def test_nobody_there_and_nobody_answering(simulation: Simulation, listener: Listener) -> None:
    """Proves: a refused connection and an answer later than five seconds both count as not taken."""
    gone = Listener()
    gone.close()
    merchant = simulation.wechat(listener=gone)
    number = merchant.paid()
    wait_for(lambda: simulation.callbacks(number)[0]["attempts"] == 1)
    assert simulation.callbacks(number)[0]["deliveries"][0]["status"] is None
    listener.wait_s = 5.5
    slow = simulation.wechat(listener=listener)
    late = slow.paid()
    wait_for(lambda: simulation.callbacks(late)[0]["attempts"] == 1)
    delivery = simulation.callbacks(late)[0]["deliveries"][0]
    assert (delivery["status"], delivery["accepted"]) == (None, False)
    assert 4_900 <= delivery["tookMs"] <= 5_400


def test_off_duplicate_late_and_reordered(simulation: Simulation, listener: Listener) -> None:
    merchant = simulation.wechat(listener=listener)
    simulation.control("callbacks", mode="off")
    number = merchant.paid()
    time.sleep(0.3)
    assert not listener.received
    assert simulation.callbacks(number)[0]["state"] == "waiting"
    simulation.control("callbacks", mode="normal")
    listener.wait(1)

    simulation.control("callbacks", mode="duplicate", times=7)
    merchant.paid()
    bodies = [json.loads(one.body) for one in listener.wait(8)[1:]]
    assert len({body["id"] for body in bodies}) == 1
    time.sleep(0.2)
    assert len(listener.received) == 8

    simulation.control("callbacks", mode="late", delaySeconds=600)
    late = merchant.paid()
    time.sleep(0.2)
    assert len(listener.received) == 8
    simulation.control("clock", advanceSeconds=601)
    assert opened(merchant, listener.wait(9)[8])["resource"]["out_trade_no"] == late

    simulation.control("callbacks", mode="reordered", delaySeconds=600)
    number = merchant.paid(100)
    merchant.refund(number, 40, 100, "o1")
    merchant.refund(number, 60, 100, "o2")
    wait_for(lambda: len(simulation.callbacks(number)) == 3)
    simulation.control("clock", advanceSeconds=601)
    events = [opened(merchant, one)["resource"] for one in listener.wait(12)[9:]]
    assert [event.get("out_refund_no") for event in events] == ["o2", "o1", None]


@pytest.mark.parametrize("mode", ["probe", "forged", "unsigned"])
def test_what_must_be_refused_comes_before_what_is_genuine(simulation: Simulation, listener: Listener, mode: str) -> None:
    """Proves: WeChat's probe, a wrong signature and none are sent on demand, and whether they were refused is written down."""
    simulation.control("callbacks", mode=mode)
    wechat, alipay = simulation.wechat(listener=listener), simulation.alipay(listener=listener)
    listener.answers = [(401, b"")]
    number = wechat.paid()
    bogus, genuine = listener.wait(2)
    assert not wechat.is_genuine(bogus.headers, bogus.body)
    assert wechat.is_genuine(genuine.headers, genuine.body)
    assert bogus.headers.get("wechatpay-signature", "").startswith("WECHATPAY/SIGNTEST/") == (mode == "probe")
    wait_for(lambda: simulation.callbacks(number)[0]["state"] == "delivered")
    assert [(one["kind"], one["accepted"]) for one in simulation.callbacks(number)[0]["deliveries"]] == [(mode, True), ("genuine", True)]
    number = alipay.paid()
    received = listener.wait(3 if mode == "probe" else 4)[2:]
    signs = [fields_of(one).get("sign") for one in received]
    if mode == "unsigned":
        assert signs[0] is None
    wait_for(lambda: simulation.callbacks(number)[0]["state"] == "delivered")
    kinds = [(one["kind"], one["accepted"]) for one in simulation.callbacks(number)[0]["deliveries"]]
    # The bogus one was answered with success, which is written down as wrong.
    assert kinds == ([("genuine", True)] if mode == "probe" else [(mode, False), ("genuine", True)])


def test_altered_callbacks_are_genuinely_signed(simulation: Simulation, listener: Listener) -> None:
    """Proves: a callback may state a wrong amount, currency or party under a right signature; queries keep to the truth unless told."""
    merchant = simulation.wechat(listener=listener)
    number, code = merchant.create(fen=100)
    simulation.control(f"orders/{number}", amount="0.01", currency="USD", collectorId="1900000000", appId="wxother")
    simulation.pay(code)
    resource = opened(merchant, listener.wait(1)[0])["resource"]
    assert (resource["amount"]["total"], resource["amount"]["currency"]) == (1, "USD")
    assert (resource["mchid"], resource["appid"]) == ("1900000000", "wxother")
    assert merchant.query(number).json()["amount"]["total"] == 100
    simulation.control(f"orders/{number}", amount="0.02", everywhere=True)
    assert opened(merchant, listener.wait(2)[1])["resource"]["amount"]["total"] == 2
    assert merchant.query(number).json()["amount"]["total"] == 2
    simulation.control(f"orders/{number}", method="POST")
    simulation.control(f"orders/{number}/announce", method="POST")
    assert opened(merchant, listener.wait(3)[2])["resource"] == merchant.query(number).json()

    alipay = simulation.alipay(listener=listener)
    number, code = alipay.create(amount="9.00")
    simulation.control(f"orders/{number}", amount="900.00")
    simulation.pay(code)
    found = fields_of(listener.wait(4)[3])
    assert found["total_amount"] == "900.00"
    sign = found.pop("sign")
    assert alipay.library().verify(found, sign)
    assert alipay.query(number)["total_amount"] == "9.00"


def test_keys_rotate_with_an_overlap(simulation: Simulation, listener: Listener) -> None:
    """Proves: during the overlap both keys sign, a request may name the one it wants, and afterwards only the new one is used."""
    merchant = simulation.wechat(listener=listener)
    old = merchant.facts["platformKeyId"]
    new = simulation.control("rotate", channel="wechat", kind="certificate", overlapSeconds=3_600)
    assert x509.load_pem_x509_certificate(new["platformCertificate"].encode()).serial_number == int(new["platformKeyId"], 16)
    numbers = [merchant.paid() for _ in range(4)]
    assert {one.headers["wechatpay-serial"] for one in listener.wait(4)} == {old, new["platformKeyId"]}
    assert all(merchant.is_genuine(one.headers, one.body) for one in listener.received)
    path = f"/v3/pay/transactions/out-trade-no/{numbers[0]}?mchid={merchant.mchid}"
    for key_id in (old, new["platformKeyId"], old):
        assert merchant.call("GET", path, Wechatpay_Serial=key_id).headers["wechatpay-serial"] == key_id
    certificates = merchant.call("GET", "/v3/certificates").json()["data"]
    assert [one["serial_no"] for one in certificates] == [new["platformKeyId"]]
    sealed = certificates[0]["encrypt_certificate"]
    plain = AESGCM(merchant.facts["apiV3Key"].encode()).decrypt(
        sealed["nonce"].encode(), base64.b64decode(sealed["ciphertext"]), sealed["associated_data"].encode()
    )
    assert plain.decode() == new["platformCertificate"]

    simulation.control("clock", advanceSeconds=3_601)
    assert [one["platformKeyId"] for one in simulation.control("keys")["wechat"]] == [new["platformKeyId"]]
    assert {merchant.call("GET", path, Wechatpay_Serial=old).headers["wechatpay-serial"] for _ in range(4)} == {new["platformKeyId"]}
    back = simulation.control("rotate", channel="wechat", overlapSeconds=0)
    assert back["platformKeyId"].startswith("PUB_KEY_ID_")
    assert merchant.call("GET", "/v3/certificates").status_code == 404

    alipay = simulation.alipay(listener=listener)
    simulation.control("rotate", channel="alipay", overlapSeconds=3_600)
    keys = alipay.public_keys()
    assert len(keys) == 2
    listener.received.clear()
    for _ in range(4):
        alipay.paid()
    signers = set()
    for received in listener.wait(4):
        fields = fields_of(received)
        sign = fields.pop("sign")
        fields.pop("sign_type")
        message = "&".join(f"{name}={fields[name]}" for name in sorted(fields)).encode()
        signers |= {number for number, pem in enumerate(keys) if is_signed(pem, message, sign)}
    assert signers == {0, 1}
    simulation.control("rotate", channel="alipay", overlapSeconds=0)


def test_stale_signatures_on_demand(simulation: Simulation, listener: Listener) -> None:
    """Proves: callbacks can be dated beyond what a merchant may take, with a signature that is right otherwise."""
    merchant = simulation.wechat(listener=listener)
    _, code = merchant.create()
    simulation.control("clock", advanceSignatureSeconds=-301)
    try:
        simulation.pay(code)
        received = listener.wait(1)[0]
    finally:
        simulation.control("clock", advanceSignatureSeconds=301)
    assert 300 <= time.time() - int(received.headers["wechatpay-timestamp"]) < 310
    message = f"{received.headers['wechatpay-timestamp']}\n{received.headers['wechatpay-nonce']}\n".encode() + received.body + b"\n"
    keys = {one["platformKeyId"]: one["platformPublicKey"] for one in simulation.control("keys")["wechat"]}
    assert is_signed(keys[received.headers["wechatpay-serial"]], message, received.headers["wechatpay-signature"])


def test_no_address_no_callback(simulation: Simulation, listener: Listener) -> None:
    """Proves: a WeChat refund without notify_url, and an Alipay order without one, are not announced."""
    merchant = simulation.wechat(listener=listener)
    number = merchant.paid()
    merchant.refund(number, 100, 100, notify_url=None)
    silent = simulation.alipay()
    business = silent.order()
    simulation.pay(silent.call("alipay.trade.precreate", business)["qr_code"])
    assert [one["kind"] for one in simulation.callbacks(number)] == ["payment"]
    assert simulation.callbacks(business["out_trade_no"]) == []
