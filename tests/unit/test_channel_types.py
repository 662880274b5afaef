"""Proves: no payment or refund with an amount or number that a channel would take otherwise can be made; codes are compared as both channels
write them; and nothing secret is in the repr of anything."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from buffmoney.base.clock import FixedClock
from buffmoney.collection.channels import (
    CHANNEL_OF,
    AlipayCredentials,
    ChannelError,
    CredentialsError,
    NewPayment,
    RefundRequest,
    WechatCredentials,
    new_nonce,
    open_channel,
    to_fen,
)

RUNS = settings(max_examples=300, deadline=None, derandomize=True)
PAYMENT = NewPayment("po_4f2a", Decimal("0.01"), "充值", "native", datetime(2026, 11, 18, tzinfo=UTC), "https://pay.example.com/c/1")
WECHAT = WechatCredentials("wx1", "1900000001", None, None, "SERIAL", "PRIVATE KEY", "API KEY", {"PUB_KEY_ID_1": "PUBLIC KEY"})
ALIPAY = AlipayCredentials("2014", "2088", "PRIVATE KEY", ("PUBLIC KEY",))


@RUNS
@given(st.decimals(allow_nan=True, allow_infinity=True) | st.integers(-10, 10**13).map(lambda fen: Decimal(fen).scaleb(-2)))
@example(Decimal("0.01"))
@example(Decimal("1.000000000"))
@example(Decimal("0.011"))
@example(Decimal("-0"))
@example(Decimal("1E+300000"))
@example(Decimal("1E-300000"))
@example(Decimal("1.0000000000000000000000000000000001"))
@example(Decimal("sNaN"))
def test_an_amount_is_whole_fen_or_refused(amount: Decimal) -> None:
    try:
        fen = to_fen(amount)
    except ValueError:
        if amount.is_finite() and -40 < amount.as_tuple().exponent < 40:  # type: ignore[operator]
            exact = Fraction(amount) * 100
            assert exact.denominator != 1 or not 1 <= exact <= 10_000_000_000 or amount.as_tuple().exponent < -9  # type: ignore[operator]
        return
    assert Fraction(fen, 100) == Fraction(amount)
    assert 1 <= fen <= 10_000_000_000


@pytest.mark.parametrize(
    "changes",
    [
        {"order_no": "po-4f2a"},
        {"order_no": "short"},
        {"order_no": "x" * 33},
        {"order_no": "po_4f2a\n"},
        {"order_no": "po_４f2a"},
        {"amount": Decimal(0)},
        {"amount": Decimal("-1")},
        {"amount": Decimal("0.001")},
        {"amount": Decimal("NaN")},
        {"amount": Decimal("Infinity")},
        {"amount": Decimal("100000000.01")},
        {"description": " \n"},
        {"expires_at": datetime(2026, 11, 18)},  # noqa: DTZ001
        {"notify_url": "https://pay.example.com/c?x=1"},
        {"notify_url": "https://pay.example.com/" + "x" * 240},
        {"notify_url": "/callbacks"},
        {"notify_url": "https://支付.example/c"},
    ],
)
def test_a_payment_that_a_channel_would_refuse_is_not_made(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        msgspec.structs.replace(PAYMENT, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": Decimal("100.01")},
        {"amount": Decimal(0)},
        {"total": Decimal("1E+20")},
        {"refund_no": "re-1"},
        {"refund_no": "x" * 65},
        {"order_no": ""},
        {"notify_url": "https://a.example/?b"},
    ],
)
def test_nor_is_such_a_refund(changes: dict[str, Any]) -> None:
    good = RefundRequest("po_4f2a", "re_000001", Decimal("100"), Decimal("100"), "")
    with pytest.raises(ValueError):  # noqa: PT011
        msgspec.structs.replace(good, **changes)


@pytest.mark.parametrize(
    ("code", "same"),
    [
        ("ORDER_PAID", "ORDERPAID"),
        ("ORDERPAID", "ORDER_PAID"),
        ("ACQ.TRADE_NOT_EXIST", "TRADE_NOT_EXIST"),
        ("aop.ACQ.SYSTEM_ERROR", "ACQ.SYSTEM_ERROR"),
        ("isv.invalid-signature", "isv.invalid_signature"),
    ],
)
def test_codes_are_compared_without_underscores(code: str, same: str) -> None:
    assert ChannelError(code, "").says("OTHER", same)
    assert not ChannelError(code, "").says("OTHER", same + "_X")


def test_nothing_secret_is_shown() -> None:
    for credentials in (WECHAT, ALIPAY, [WECHAT], {"a": ALIPAY}):
        for shown in (repr(credentials), str(credentials), f"{credentials}"):
            assert "KEY" not in shown
            assert "SERIAL" not in shown


def test_credentials_of_two_channels_do_not_go_together() -> None:
    for current, other in ((WECHAT, ALIPAY), (ALIPAY, WECHAT)):
        with pytest.raises(CredentialsError, match="two channels"):
            open_channel(current, (other,), httpx.AsyncClient(), "http://127.0.0.1:1", FixedClock(0), new_nonce)


def test_every_product_is_of_one_channel() -> None:
    assert set(CHANNEL_OF.values()) == {"wechat", "alipay"}
    assert len(CHANNEL_OF) == 6


def test_nonces_do_not_repeat() -> None:
    made = {new_nonce() for _ in range(10_000)}
    assert len(made) == 10_000
    assert {len(nonce) for nonce in made} == {32}
