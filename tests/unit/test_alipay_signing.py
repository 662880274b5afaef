"""Proves: Alipay's canonical forms are the documented bytes; `python-alipay-sdk` accepts what is signed here, and what it signs is accepted
here; and the signed part of an answer is cut out exactly as it stands there, whatever it is written like, or not at all."""

from __future__ import annotations

import base64
import json
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import pytest
from alipay import AliPay
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from buffmoney.collection.channels import CredentialsError, rsa
from buffmoney.collection.channels.alipay import signing
from tests.channel_wire import private_pem, public_pem, rsa_key

RUNS = settings(max_examples=300, deadline=None, derandomize=True)
PARAMETERS = {
    "app_id": "2014072300007148",
    "method": "alipay.trade.precreate",
    "format": "JSON",
    "charset": "utf-8",
    "sign_type": "RSA2",
    "timestamp": "2026-11-18 12:26:40",
    "version": "1.0",
    "notify_url": "https://pay.example.com/callbacks/alipay/ca_1",
    "return_url": "",
    "biz_content": '{"out_trade_no":"po_4f2a","subject":"充值 100+1"}',
}
APP_KEY = rsa.private_key(private_pem("app"), "app_private_key")
KEYS = [rsa.public_key(public_pem("alipay"), "alipay_public_keys")]


@cache
def oracle(private: str = "app", public: str = "alipay") -> AliPay:
    """The other library: signs with one key, verifies with another."""
    return AliPay(
        appid="2014072300007148",
        app_notify_url=None,
        app_private_key_string=private_pem(private),
        alipay_public_key_string=public_pem(public),
        sign_type="RSA2",
    )


def sign(content: bytes, key: str = "alipay") -> str:
    return base64.b64encode(rsa_key(key).sign(content, padding.PKCS1v15(), hashes.SHA256())).decode()


def test_a_requests_canonical_form_is_these_bytes() -> None:
    """Sorted, undecorated, with sign_type, without empty values and without a signature that is there already."""
    assert signing.request_message(PARAMETERS | {"sign": "x"}).decode() == (
        'app_id=2014072300007148&biz_content={"out_trade_no":"po_4f2a","subject":"充值 100+1"}&charset=utf-8&format=JSON'
        "&method=alipay.trade.precreate&notify_url=https://pay.example.com/callbacks/alipay/ca_1&sign_type=RSA2"
        "&timestamp=2026-11-18 12:26:40&version=1.0"
    )


def test_the_other_library_verifies_a_request() -> None:
    """After it went through an address, too: encoding comes after signing."""
    parameters = signing.signed(APP_KEY, PARAMETERS)
    assert "return_url" not in parameters
    arrived = dict(parse_qsl(signing.encoded(parameters), strict_parsing=True))
    assert arrived == parameters
    signature = arrived.pop("sign")
    # It would take sign_type out for a callback; as a request it is signed.
    assert oracle(public="app")._verify("&".join(f"{name}={arrived[name]}" for name in sorted(arrived)), signature)


def test_the_other_library_makes_the_same_signature() -> None:
    """PKCS#1 v1.5 is deterministic, so equal input gives an equal signature."""
    theirs = dict(parse_qsl(oracle().sign_data({name: value for name, value in PARAMETERS.items() if value})))
    assert theirs == signing.signed(APP_KEY, PARAMETERS)


NOTICE = {
    "notify_id": "2026111800222122640000",
    "notify_type": "trade_status_sync",
    "notify_time": "2026-11-18 12:26:41",
    "app_id": "2014072300007148",
    "seller_id": "2088102146225135",
    "out_trade_no": "po_4f2a",
    "trade_no": "2026111822001",
    "trade_status": "TRADE_SUCCESS",
    "total_amount": "100.00",
    "subject": "充值 a+b=c&d %41",
    "body": "",
    "charset": "utf-8",
    "version": "1.0",
}


def form(fields: dict[str, str]) -> bytes:
    return urlencode(fields).encode()


def unsigned(fields: dict[str, str]) -> dict[str, str]:
    """What the other library wants beside the signature; it takes sign_type away itself."""
    return {name: value for name, value in fields.items() if name != "sign"}


@pytest.mark.parametrize("sign_type_is_signed", [False, True])
def test_a_callback_that_the_other_library_signed(sign_type_is_signed: bool) -> None:
    """Most leave sign_type out of the signature, some keep it in. Blank values are signed in either case."""
    fields = NOTICE | ({"sign_type": "RSA2"} if sign_type_is_signed else {})
    signature = oracle(private="alipay")._sign("&".join(f"{name}={fields[name]}" for name in sorted(fields)))
    read = signing.read_form(form(NOTICE | {"sign_type": "RSA2", "sign": signature}))
    assert read is not None
    assert read["body"] == ""
    assert signing.is_form_signed(KEYS, read)
    assert not signing.is_form_signed([rsa.public_key(public_pem("stranger"), "x")], read)
    if not sign_type_is_signed:
        assert oracle().verify(unsigned(read), read["sign"])


@RUNS
@given(
    st.dictionaries(
        st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1).filter(lambda name: name not in ("sign", "sign_type")), st.text(), min_size=1
    ),
    st.data(),
)
def test_any_callback_is_verified_as_the_other_library_does(fields: dict[str, str], data: st.DataObject) -> None:
    """Whatever is in its values; and one changed value, field or name breaks it for both."""
    signature = oracle(private="alipay")._sign("&".join(f"{name}={fields[name]}" for name in sorted(fields)))
    read = signing.read_form(form(fields | {"sign": signature, "sign_type": "RSA2"}))
    assert read == fields | {"sign": signature, "sign_type": "RSA2"}
    assert signing.is_form_signed(KEYS, read)
    assert oracle().verify(unsigned(read), read["sign"])
    name = data.draw(st.sampled_from(sorted(fields)))
    other = read | {name: fields[name] + data.draw(st.text(min_size=1))}
    assume(other != read)
    assert not signing.is_form_signed(KEYS, other)
    assert not oracle().verify(unsigned(other), other["sign"])
    fewer = {key: value for key, value in read.items() if key != name}
    assert not signing.is_form_signed(KEYS, fewer)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"a",
        b"a=1&b",
        b"a=1&a=2",
        b"a=1&%61=1",
        b"a=%ff",
        b"a=%ed%a0%80",
        "a=充".encode(),
        b"&".join(b"f%d=1" % number for number in range(201)),
        b"\x00",
    ],
)
def test_a_body_that_is_no_form_is_none(body: bytes) -> None:
    assert signing.read_form(body) is None


def test_a_form_is_decoded_once() -> None:
    assert signing.read_form(b"a=%2541&b=1+2%2B3&c=") == {"a": "%41", "b": "1 2+3", "c": ""}


@pytest.mark.parametrize("signature", ["", "not base64", "AAAA", "é", "=", "A" * 344])
def test_a_signature_that_is_none(signature: str) -> None:
    assert not signing.is_form_signed(KEYS, NOTICE | {"sign": signature})
    assert not signing.is_answer_signed(KEYS, b"{}", signature)


def test_any_of_several_keys_may_have_signed() -> None:
    keys = signing.public_keys([(public_pem("alipay"),), (public_pem("alipay"), public_pem("old alipay"))])
    for key in ("alipay", "old alipay"):
        assert signing.is_answer_signed(keys, b"{}", sign(b"{}", key))
    assert not signing.is_answer_signed(keys, b"{}", sign(b"{}", "stranger"))
    with pytest.raises(CredentialsError, match="alipay_public_keys"):
        signing.public_keys([(), ()])


def test_keys_may_be_bare_base64() -> None:
    """As Alipay's own tool and console give them: the DER without its PEM lines, PKCS#1 or PKCS#8."""
    der, public_form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    for private_form in (serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL):
        bare = base64.b64encode(rsa_key("app").private_bytes(der, private_form, serialization.NoEncryption())).decode()
        assert rsa.sign(rsa.private_key(bare, "x"), b"m") == rsa.sign(APP_KEY, b"m")
    bare = base64.b64encode(rsa_key("app").public_key().public_bytes(der, public_form)).decode()
    wrapped = "\n".join(bare[at : at + 64] for at in range(0, len(bare), 64))
    for text in (bare, wrapped):
        assert rsa.is_signed(rsa.public_key(text, "x"), b"m", rsa.sign(APP_KEY, b"m"))


def test_short_keys_and_other_kinds_are_refused() -> None:
    short = rsa_key("short", 1024).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(CredentialsError, match="2048"):
        rsa.private_key(short.decode(), "app_private_key")
    locked = rsa_key("app").private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    for text in (locked.decode(), "AAAA", "é", "", "-----BEGIN PRIVATE KEY-----", public_pem("app")):
        with pytest.raises(CredentialsError, match="app_private_key"):
            rsa.private_key(text, "app_private_key")
    der = rsa_key("app").private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    for place in (100, 200):
        # Within the modulus: it loads, but what it signs is not valid.
        damaged = bytearray(der)
        damaged[place] ^= 4
        with pytest.raises(CredentialsError, match="app_private_key"):
            rsa.private_key(base64.b64encode(damaged).decode(), "app_private_key")
    for text in ("AAAA", "é", "", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", private_pem("app")):
        with pytest.raises(CredentialsError, match="alipay_public_keys"):
            rsa.public_key(text, "alipay_public_keys")


# ---- the raw substring

METHOD = "alipay.trade.query"
GOLDEN = (
    b'{"alipay_trade_query_response":{"code":"10000","msg":"Success","qr":"https:\\/\\/qr.alipay.com\\/x",'
    b'"note":"a \\"}\\" b \\\\","empty":{}, "list":[{"a":"]}"}]},"sign":"AA\\/BB+C=","alipay_cert_sn":"50f1"}'
)
GOLDEN_CONTENT = (
    b'{"code":"10000","msg":"Success","qr":"https:\\/\\/qr.alipay.com\\/x","note":"a \\"}\\" b \\\\","empty":{}, "list":[{"a":"]}"}]}'
)


def test_the_signed_part_is_these_bytes() -> None:
    """Escaped slashes, braces in strings, spaces: all as received. The signature itself is a JSON string, whose slashes may be escaped."""
    assert signing.cut_answer(GOLDEN, METHOD) == (GOLDEN_CONTENT, "AA/BB+C=")
    other_order = b' {\r\n "sign" : "AA" , "alipay_trade_query_response" :\t' + GOLDEN_CONTENT + b" }\n"
    assert signing.cut_answer(other_order, METHOD) == (GOLDEN_CONTENT, "AA")
    assert signing.cut_answer(b'{"error_response":{"code":"40002"},"sign":"AA"}', METHOD) == (b'{"code":"40002"}', "AA")


def test_the_other_library_cuts_and_verifies_the_same() -> None:
    content = '{"code":"10000","trade_status":"TRADE_SUCCESS","subject":"充值","out_trade_no":"po_4f2a"}'
    body = f'{{"alipay_trade_query_response":{content},"sign":"{sign(content.encode())}"}}'
    assert oracle()._verify_and_return_sync_response(body, "alipay_trade_query_response") == json.loads(content)
    cut = signing.cut_answer(body.encode(), METHOD)
    assert cut is not None
    assert cut[0].decode() == content
    assert signing.is_answer_signed(KEYS, *cut)


texts = st.text(st.characters(codec="utf-8"), max_size=12) | st.text('{}[]",:\\/ \n', max_size=12)
values = st.recursive(
    texts | st.integers() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@RUNS
@given(
    st.dictionaries(texts, values, max_size=5),
    st.booleans(),
    st.sampled_from([None, 0, 1, 2]),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t: ")]),
    st.booleans(),
    st.booleans(),
    st.dictionaries(texts.filter(lambda name: "sign" not in name and "response" not in name), values, max_size=2),
)
def test_whatever_an_answer_is_written_like_it_is_cut_out_as_it_stands(
    content: dict[str, Any],
    ascii_only: bool,
    indent: int | None,
    separators: tuple[str, str],
    slashes: bool,
    sign_first: bool,
    more: dict[str, Any],
) -> None:
    text = json.dumps(content, ensure_ascii=ascii_only, indent=indent, separators=separators)
    if slashes:
        text = text.replace("/", "\\/")
    members = [("alipay_trade_query_response", text), ("sign", json.dumps(sign(text.encode())))]
    members += [(name, json.dumps(value, ensure_ascii=ascii_only)) for name, value in more.items()]
    if sign_first:
        members.reverse()
    body = "{" + separators[0].join(json.dumps(name, ensure_ascii=ascii_only) + separators[1] + value for name, value in members) + "}"
    cut = signing.cut_answer(body.encode(), METHOD)
    assert cut is not None
    assert cut[0] == text.encode()
    assert signing.is_answer_signed(KEYS, *cut)


@RUNS
@given(
    st.binary(max_size=40) | st.text('{}[]",:\\ ab01', max_size=40).map(str.encode) | values.map(lambda value: json.dumps(value).encode())
)
@example(b"{}")
@example(b'{"a":1,"a":2}')
@example(b'{"a":1}{"b":2}')
@example(b'{"a":[}]}')
@example(b'{"a":{"b":1,"c":2},"d":"}"}')
def test_members_are_those_that_json_has(body: bytes) -> None:
    """Where Python reads an object, the same members are found, each the JSON of its value; and they always are of the body's bytes."""
    found = signing.top_members(body)
    try:
        pairs = json.loads(body.decode(), object_pairs_hook=list)
    except ValueError:
        pairs = None
    if isinstance(pairs, list) and body.lstrip()[:1] == b"{":
        names = [name for name, _ in pairs]
        if len(set(names)) == len(names):
            assert found is not None
            read = {json.loads(b'"' + name + b'"'): json.loads(value) for name, value in found.items()}
            assert json.dumps(read) == json.dumps(json.loads(body))
    elif pairs is not None:
        assert found is None
    for value in (found or {}).values():
        assert value in body


@RUNS
@given(st.integers(0, len(GOLDEN) - 1), st.binary(min_size=1, max_size=2))
def test_nothing_but_the_signed_bytes_ever_passes(place: int, replacement: bytes) -> None:
    """An answer with bytes replaced anywhere either holds the signed object unchanged, or is refused."""
    content = GOLDEN_CONTENT
    body = bytearray(b'{"alipay_trade_query_response":' + content + b',"sign":"' + sign(content).encode() + b'"}')
    body[place : place + len(replacement)] = replacement
    cut = signing.cut_answer(bytes(body), METHOD)
    if cut is not None and signing.is_answer_signed(KEYS, *cut):
        assert cut[0] == content


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"null",
        b"<html>",
        b'{"sign":"AA"}',
        b'{"alipay_trade_query_response":{}}',
        b'{"alipay_trade_query_response":{},"sign":1}',
        b'{"alipay_trade_query_response":{},"sign":"\\u0041"}',
        b'{"alipay_trade_query_response":{},"sign":""',
        b'{"alipay_trade_query_response":"x","sign":"AA"}',
        b'{"alipay_trade_query_response":[],"sign":"AA"}',
        b'{"alipay_trade_close_response":{},"sign":"AA"}',
        b'{"alipay_trade_query_response":{},"error_response":{},"sign":"AA"}',
        b'{"alipay_trade_query_response":{},"alipay_trade_query_response":{},"sign":"AA"}',
        b'{"alipay_trade_query_response":{},"sign":"AA","sign":"BB"}',
        b'{"alipay_trade_query_response":{},"sign":"AA"} ,',
        b'{"alipay_trade_query_response":{},"sign":"AA",}',
        b'{"alipay_trade_query_response":{}"sign":"AA"}',
        b'{"alipay_trade_query_response"{},"sign":"AA"}',
        b'[{"alipay_trade_query_response":{},"sign":"AA"}]',
        b'{"x":{"alipay_trade_query_response":{},"sign":"AA"}}',
        b'{"alipay_trade_query_response":{"a":"b},"sign":"AA"}',
        b"{" * 100_000,
        b'{"alipay_trade_query_response":{},"sign":"\xff"}',
    ],
)
def test_what_is_no_signed_answer_is_none(body: bytes) -> None:
    assert signing.cut_answer(body, METHOD) is None


def test_a_large_answer_takes_no_time() -> None:
    """1 MiB of quotes and backslashes, and of brackets: linear, not worse."""
    for filler in (b'"' + b"\\\\" * 500_000 + b'"', b"[" * 300_000 + b"]" * 300_000, b"[" + b'"",' * 300_000 + b'""]'):
        body = b'{"alipay_trade_query_response":{"x":' + filler + b'},"sign":"AA"}'
        cut = signing.cut_answer(body, METHOD)
        assert cut is not None
        assert len(cut[0]) == len(filler) + 6


def test_percent_signs_survive_the_address() -> None:
    assert signing.encoded({"a": "100%+&=/ 充"}) == "a=" + quote("100%+&=/ 充", safe="").replace("%20", "+")
