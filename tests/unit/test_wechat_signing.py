"""Proves: WeChat Pay v3's canonical forms are the documented bytes; `wechatpayv3` accepts what is signed here, and what it signs is accepted
here; and an answer or callback is refused for every way in which it may be somebody else's."""

from __future__ import annotations

import base64
import re
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
import wechatpayv3.utils as oracle
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from buffmoney.collection.channels import CredentialsError, rsa
from buffmoney.collection.channels.wechat import signing
from tests.channel_wire import NOW_S, private_pem, public_pem, rsa_key

NOW_US = NOW_S * 1_000_000
SERIAL = "PUB_KEY_ID_0116590025"
BODY = '{"id":"1","note":"会员充值"}'.encode()


def keys() -> signing.PlatformKeys:
    return signing.PlatformKeys([{SERIAL: public_pem("platform")}])


def signed_headers(body: bytes = BODY, *, key: str = "platform", at_s: int = NOW_S, serial: str = SERIAL) -> dict[str, str]:
    """What WeChat sends with a body, signed by the other library."""
    signature = oracle.rsa_sign(rsa_key(key), f"{at_s}\nnonce123\n{body.decode()}\n")
    return {
        "wechatpay-timestamp": str(at_s),
        "wechatpay-nonce": "nonce123",
        "wechatpay-signature": signature,
        "wechatpay-serial": serial,
    }


def certificate(name: str, serial: int) -> str:
    """A self-signed certificate, as platform certificates are given out."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "platform")])
    now = datetime(2026, 1, 1, tzinfo=UTC)
    built = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(rsa_key(name).public_key())
    built = built.serial_number(serial).not_valid_before(now).not_valid_after(now + timedelta(days=1800))
    return built.sign(rsa_key(name), hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def test_canonical_forms_are_the_documented_bytes() -> None:
    """Golden bytes: each part ends in a newline, the last one too, and the body is as it is."""
    assert (
        signing.request_message("GET", b"/v3/pay/transactions/out-trade-no/a1?mchid=1900000001", "1554208460", "593BEC0C930BF1AF", b"")
        == b"GET\n/v3/pay/transactions/out-trade-no/a1?mchid=1900000001\n1554208460\n593BEC0C930BF1AF\n\n"
    )
    assert (
        signing.request_message("POST", b"/v3/refund/domestic/refunds", "1554208460", "N", '{"reason":"退"}'.encode())
        == b'POST\n/v3/refund/domestic/refunds\n1554208460\nN\n{"reason":"\xe9\x80\x80"}\n'
    )
    assert signing.answer_message("1554209980", "c5ac7061fccab6bf3e254dcf98995b8c", b"") == b"1554209980\nc5ac7061fccab6bf3e254dcf98995b8c\n\n"
    assert signing.invocation_message("wx1", "1414561699", "n", "prepay_id=wx2") == b"wx1\n1414561699\nn\nprepay_id=wx2\n"


def test_the_other_library_makes_the_same_authorization(monkeypatch: pytest.MonkeyPatch) -> None:
    """PKCS#1 v1.5 is deterministic, so equal input gives an equal signature."""
    monkeypatch.setattr(oracle.time, "time", lambda: float(NOW_S))
    target, body = "/v3/pay/transactions/native?a=%20b", '{"description":"会员"}'
    theirs = oracle.build_authorization(target, "POST", "1900000001", "5157F09E", rsa_key("merchant"), data=body, nonce_str="N0NCE")
    key = rsa.private_key(private_pem("merchant"), "merchant_private_key")
    ours = signing.authorization(
        key, "1900000001", "5157F09E", "POST", target.encode(), body.encode(), timestamp=str(NOW_S), nonce="N0NCE"
    )
    assert ours.partition(" ")[0] == theirs.partition(" ")[0] == "WECHATPAY2-SHA256-RSA2048"
    assert fields(ours) == fields(theirs)


def fields(authorization: str) -> dict[str, str]:
    return dict(re.findall(r'(\w+)="([^"]*)"', authorization))


def test_the_other_library_verifies_a_jsapi_invocation() -> None:
    key = rsa.private_key(private_pem("merchant"), "merchant_private_key")
    given = signing.jsapi_invocation(key, "wx8888", "wx26112221580621e9b071c00d9e093b0000", timestamp="1414561699", nonce="e61463f8efa9")
    assert set(given) == {"appId", "timeStamp", "nonceStr", "package", "signType", "paySign"}
    assert (given["package"], given["signType"]) == ("prepay_id=wx26112221580621e9b071c00d9e093b0000", "RSA")
    # The library verifies three lines; the first two of the four go into its first.
    first = f"{given['appId']}\n{given['timeStamp']}"
    public = rsa_key("merchant").public_key()
    assert oracle.rsa_verify(first, given["nonceStr"], given["package"], given["paySign"], public)
    assert not oracle.rsa_verify(first, given["nonceStr"], given["package"] + "0", given["paySign"], public)


def test_openssl_verifies_a_signature(tmp_path: object) -> None:
    """A third opinion, made of no Python at all."""
    key = rsa.private_key(private_pem("merchant"), "merchant_private_key")
    message = signing.request_message("GET", b"/v3/certificates", "1554208460", "593BEC0C", b"")
    for name, content in (
        ("message", message),
        ("signature", base64.b64decode(rsa.sign(key, message))),
        ("public.pem", public_pem("merchant").encode()),
    ):
        (tmp_path / name).write_bytes(content)  # type: ignore[operator]
    command = ["openssl", "dgst", "-sha256", "-verify", "public.pem", "-signature", "signature", "message"]
    assert subprocess.run(command, cwd=str(tmp_path), capture_output=True, check=False).stdout == b"Verified OK\n"


def test_what_the_other_library_signs_is_accepted() -> None:
    assert keys().refusal(signed_headers(), BODY, NOW_US) is None
    assert keys().refusal(signed_headers(b""), b"", NOW_US) is None


@pytest.mark.parametrize("skew_s", [-300, -299, 0, 299, 300])
def test_the_clocks_may_differ_by_300_seconds(skew_s: int) -> None:
    assert keys().refusal(signed_headers(at_s=NOW_S + skew_s), BODY, NOW_US) is None


@pytest.mark.parametrize("skew_s", [-86_400, -301, 301, 10**9])
def test_but_not_by_301(skew_s: int) -> None:
    assert keys().refusal(signed_headers(at_s=NOW_S + skew_s), BODY, NOW_US) == "stale"


@pytest.mark.parametrize("timestamp", ["", "-1", "1e9", "١٧٩٥٠٠٠٠٠٠", " 1795000000", "1_795_000_000", "9" * 5000, "1795000000.0", "NaN"])
def test_a_timestamp_is_ascii_digits(timestamp: str) -> None:
    assert keys().refusal(signed_headers() | {"wechatpay-timestamp": timestamp}, BODY, NOW_US) == ("stale" if timestamp else "unsigned")


@pytest.mark.parametrize("name", ["timestamp", "nonce", "signature", "serial"])
def test_a_missing_header_is_no_signature(name: str) -> None:
    headers = signed_headers()
    assert keys().refusal(headers | {f"wechatpay-{name}": ""}, BODY, NOW_US) == "unsigned"
    del headers[f"wechatpay-{name}"]
    assert keys().refusal(headers, BODY, NOW_US) == "unsigned"


def test_a_probe_is_refused_whatever_comes_after_it() -> None:
    headers = signed_headers()
    headers["wechatpay-signature"] = signing.PROBE + headers["wechatpay-signature"]
    assert keys().refusal(headers, BODY, NOW_US) == "probe"


def test_a_key_that_is_not_held_is_unknown() -> None:
    assert keys().refusal(signed_headers(serial="PUB_KEY_ID_9"), BODY, NOW_US) == "unknown_key"


def test_another_key_under_a_known_serial_is_refused() -> None:
    assert keys().refusal(signed_headers(key="stranger"), BODY, NOW_US) == "wrong_signature"


@pytest.mark.parametrize("signature", ["not base64", "AAAA", "=", "é", "A" * 344])
def test_a_signature_that_is_none_is_refused(signature: str) -> None:
    assert keys().refusal(signed_headers() | {"wechatpay-signature": signature}, BODY, NOW_US) == "wrong_signature"


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_one_altered_byte_breaks_the_signature(data: st.DataObject) -> None:
    """In the body, the nonce or the time, whichever bit."""
    headers, body = signed_headers(), bytearray(BODY)
    where = data.draw(st.sampled_from(["body", "nonce", "timestamp"]))
    if where == "body":
        body[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    elif where == "nonce":
        headers["wechatpay-nonce"] = data.draw(st.text("abcdef0123456789", min_size=1).filter(lambda text: text != "nonce123"))
    else:
        headers["wechatpay-timestamp"] = str(NOW_S + data.draw(st.integers(-300, 300).filter(bool)))
    assert keys().refusal(headers, bytes(body), NOW_US) == "wrong_signature"


def test_old_and_new_key_both_count_during_a_switch_over() -> None:
    """A certificate is found by its serial, in either case and with or without zeros before it; a public key by its id alone."""
    both = signing.PlatformKeys([{SERIAL: public_pem("new")}, {"05E1A0": certificate("platform", 0x5E1A0)}])
    assert both.refusal(signed_headers(key="new"), BODY, NOW_US) is None
    for serial in ("05E1A0", "5E1A0", "05e1a0"):
        assert both.refusal(signed_headers(serial=serial), BODY, NOW_US) is None
    assert both.refusal(signed_headers(key="new", serial="05E1A0"), BODY, NOW_US) == "wrong_signature"
    assert both.refusal(signed_headers(key="new", serial=SERIAL.lower()), BODY, NOW_US) == "unknown_key"


def test_the_current_credentials_key_wins() -> None:
    first = signing.PlatformKeys([{SERIAL: public_pem("new")}, {SERIAL: public_pem("platform")}])
    assert first.refusal(signed_headers(key="new"), BODY, NOW_US) is None
    assert first.refusal(signed_headers(), BODY, NOW_US) == "wrong_signature"


def test_without_keys_nothing_is_opened() -> None:
    with pytest.raises(CredentialsError, match="platform_keys"):
        signing.PlatformKeys([{}, {}])
    for text in ("", "short", "x" * 31, "x" * 33, "密" * 32):
        with pytest.raises(CredentialsError, match="api_v3_key"):
            signing.api_key(text)
    assert len(signing.api_key("x" * 32)) == 32


API_KEY = "0123456789abcdef0123456789abcdef"


def sealed(content: bytes, associated: str = "transaction", nonce: str = "fdasflkja484", key: str = API_KEY) -> str:
    return base64.b64encode(AESGCM(key.encode()).encrypt(nonce.encode(), content, associated.encode())).decode()


@pytest.mark.parametrize("associated", ["transaction", ""])
def test_a_resource_is_decrypted_as_the_other_library_does(associated: str) -> None:
    content = '{"out_trade_no":"充值"}'.encode()
    text = sealed(content, associated)
    assert oracle.aes_decrypt("fdasflkja484", text, associated, API_KEY) == content.decode()
    assert signing.decrypt([b"y" * 32, API_KEY.encode()], text, "fdasflkja484", associated) == content


def test_a_resource_that_does_not_open_is_none() -> None:
    keys, text = [API_KEY.encode()], sealed(b"{}")
    assert signing.decrypt(keys, text, "fdasflkja484", "refund") is None
    assert signing.decrypt(keys, text, "fdasflkja485", "transaction") is None
    assert signing.decrypt(keys, text, "fdasflkja48", "transaction") is None
    assert signing.decrypt([b"z" * 32], text, "fdasflkja484", "transaction") is None
    assert signing.decrypt([], text, "fdasflkja484", "transaction") is None
    for ciphertext in ("", "AA==", "not base64", text + "!", text[:-4], "é", text.replace(text[0], "A" if text[0] != "A" else "B", 1)):
        assert signing.decrypt(keys, ciphertext, "fdasflkja484", "transaction") is None
    long_nonce = "f" * 16
    assert signing.decrypt(keys, sealed(b"{}", nonce=long_nonce), long_nonce, "transaction") is None
