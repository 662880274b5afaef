"""Proves: what is asked of Alipay is the documented content, with exact yuan and Beijing's time; and what it answers or sends never means more
than it says: an unknown state is pending, what is not of its form is refused, and a cumulative refund is nobody's amount."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from buffmoney.collection.channels import AlipayCredentials, NewPayment, PaymentNotice, PaymentState, RefundNotice, RefundRequest, Unreadable
from buffmoney.collection.channels.alipay import mapping

RUNS = settings(max_examples=300, deadline=None, derandomize=True)
CREDENTIALS = AlipayCredentials("2014072300007148", "2088102146225135", "", ())
PAYMENT = NewPayment(
    order_no="po_4f2a",
    amount=Decimal("100"),
    description="充值 ¥100",
    product="precreate",
    expires_at=datetime(2026, 11, 18, 16, 56, 40, 999_999, tzinfo=UTC),
    notify_url="https://pay.example.com/callbacks/alipay/ca_1",
    return_url="https://shop.example/done?x=1",
)
REFUND = RefundRequest("po_4f2a", "re_000001", Decimal("25.5"), Decimal("100"), "a/b=c&d")


def test_contents_of_the_three_products() -> None:
    content = mapping.create_content(PAYMENT)
    assert content == {"out_trade_no": "po_4f2a", "total_amount": "100.00", "subject": "充值 ¥100", "time_expire": "2026-11-19 00:56:40"}
    page = mapping.create_content(msgspec.structs.replace(PAYMENT, product="page"))
    assert page == content | {"product_code": "FAST_INSTANT_TRADE_PAY"}
    wap = mapping.create_content(msgspec.structs.replace(PAYMENT, product="wap"))
    assert wap == content | {"product_code": "QUICK_WAP_PAY", "quit_url": "https://shop.example/done?x=1"}
    with pytest.raises(ValueError, match="native"):
        mapping.create_content(msgspec.structs.replace(PAYMENT, product="native"))


def test_contents_of_the_other_calls() -> None:
    assert mapping.refund_content(REFUND) == {
        "out_trade_no": "po_4f2a", "refund_amount": "25.50", "out_request_no": "re_000001", "refund_reason": "a b c d",
    }  # fmt: skip
    assert "refund_reason" not in mapping.refund_content(msgspec.structs.replace(REFUND, reason="/"))
    assert mapping.refund_query_content("po_4f2a", "re_000001")["query_options"] == ["gmt_refund_pay"]
    assert mapping.bill_content(date(2026, 11, 7), "trade") == {"bill_type": "trade", "bill_date": "2026-11-07"}
    assert mapping.bill_content(date(2026, 11, 7), "funds")["bill_type"] == "signcustomer"


@RUNS
@given(st.integers(1, 10_000_000_000))
@example(1)
@example(10)
@example(10_000_000_000)
def test_yuan_are_exact_both_ways(fen: int) -> None:
    text = mapping.to_yuan(Decimal(fen).scaleb(-2))
    assert text == f"{fen // 100}.{fen % 100:02d}"
    assert mapping.from_yuan(text) * 100 == fen


@pytest.mark.parametrize(("text", "value"), [("0", "0"), ("0.00", "0"), ("88.8", "88.8"), ("100000000.00", "100000000")])
def test_amounts_that_alipay_writes(text: str, value: str) -> None:
    assert mapping.from_yuan(text) == Decimal(value)


@pytest.mark.parametrize(
    "text", ["", "NaN", "Infinity", "-1.00", "+1", "1e5", "1e300000", "1_000", "１２", "٣", " 5 ", "5.", ".5", "1.000", "01.00", "1,000.00", "1\n", "9" * 11]
)
def test_amounts_that_are_none(text: str) -> None:
    with pytest.raises(Unreadable):
        mapping.from_yuan(text)


@RUNS
@given(st.text(max_size=300), st.integers(1, 256))
def test_subjects_are_what_alipay_takes(text: str, longest: int) -> None:
    subject = mapping.subject(text, longest)
    assert subject
    assert not set("/=&") & set(subject)
    assert len(subject.encode()) <= longest
    assert all(ord(character) >= 32 for character in subject)


def test_times_are_beijings_whatever_zone_they_come_in() -> None:
    moment = datetime(2026, 12, 31, 16, 0, 0, tzinfo=UTC)
    assert mapping.beijing(moment) == mapping.beijing(moment.astimezone(timezone(timedelta(hours=-11)))) == "2027-01-01 00:00:00"
    assert mapping.from_beijing("2027-01-01 00:00:00") == moment
    assert mapping.from_beijing("") is None
    for text in ("2027-01-01", "2027-01-01T00:00:00", "2027-02-29 00:00:00", "2027-01-01 24:00:00", "0001-01-01 00:00:00", "x"):
        with pytest.raises(Unreadable):
            mapping.from_beijing(text)


def trade(**changes: Any) -> bytes:
    body = {
        "code": "10000",
        "msg": "Success",
        "trade_no": "2026111822001",
        "out_trade_no": "po_4f2a",
        "buyer_user_id": "2088101117955611",
        "trade_status": "TRADE_SUCCESS",
        "total_amount": "100.00",
        "receipt_amount": "99.40",
        "buyer_pay_amount": "90.00",
        "send_pay_date": "2026-11-18 12:26:40",
    }
    return json.dumps({name: value for name, value in (body | changes).items() if value is not None}).encode()


def read(**changes: Any) -> PaymentState:
    return mapping.read_payment(trade(**changes), CREDENTIALS, "po_4f2a")


def test_a_payment_is_read_whole() -> None:
    """The amount is the order's, not what is left after vouchers or fees."""
    state = read()
    assert (state.status, state.order_no, state.transaction_id, state.amount) == ("paid", "po_4f2a", "2026111822001", Decimal("100.00"))
    assert (state.currency, state.collector_id, state.app_id) == ("CNY", "2088102146225135", "2014072300007148")
    assert (state.paid_at, state.payer) == (datetime(2026, 11, 18, 4, 26, 40, tzinfo=UTC), "2088101117955611")
    assert read(trans_currency="USD").currency == "USD"


@pytest.mark.parametrize(
    ("raw", "paid_at", "status"),
    [
        ("WAIT_BUYER_PAY", None, "unpaid"),
        ("TRADE_SUCCESS", "2026-11-18 12:26:40", "paid"),
        ("TRADE_SUCCESS", None, "paid"),
        ("TRADE_FINISHED", "2026-11-18 12:26:40", "paid"),
        ("TRADE_CLOSED", None, "closed"),
        ("TRADE_CLOSED", "2026-11-18 12:26:40", "refunded"),
    ],
)
def test_known_states(raw: str, paid_at: str | None, status: str) -> None:
    """Closed is both what timed out and what was refunded whole; only the latter was ever paid."""
    assert read(trade_status=raw, send_pay_date=paid_at).status == status


KNOWN = ("WAIT_BUYER_PAY", "TRADE_SUCCESS", "TRADE_FINISHED", "TRADE_CLOSED")


@RUNS
@given(st.text().filter(lambda text: text not in KNOWN))
@example("trade_success")
@example("TRADE_PENDING")
@example("")
def test_any_other_state_is_pending(raw: str) -> None:
    state = read(trade_status=raw)
    assert (state.status, state.raw_state) == ("unpaid", raw)


@pytest.mark.parametrize(
    "changes",
    [
        {"out_trade_no": "po_other"},
        {"out_trade_no": None},
        {"trade_status": None},
        {"trade_no": None},
        {"total_amount": None},
        {"total_amount": "1e2"},
        {"total_amount": 100},
        {"send_pay_date": "today"},
    ],
)
def test_a_payment_of_another_form_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        read(**changes)


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"{", b"\xff", b"[" * 100_000])
@pytest.mark.parametrize(
    "reader",
    [
        mapping.read_result,
        lambda content: mapping.read_payment(content, CREDENTIALS, "po_4f2a"),
        lambda content: mapping.read_refunded(content, REFUND),
        lambda content: mapping.read_qr_code(content, "po_4f2a"),
        mapping.read_bill_address,
    ],
)
def test_garbage_is_refused(reader: Callable[[bytes], Any], content: bytes) -> None:
    with pytest.raises(Unreadable):
        reader(content)


def test_a_qr_code_is_of_its_order() -> None:
    assert mapping.read_qr_code(b'{"out_trade_no":"po_4f2a","qr_code":"https:\\/\\/qr.alipay.com\\/x"}', "po_4f2a") == "https://qr.alipay.com/x"
    for content in (b'{"out_trade_no":"po_other","qr_code":"https://x"}', b'{"out_trade_no":"po_4f2a","qr_code":""}'):
        with pytest.raises(Unreadable):
            mapping.read_qr_code(content, "po_4f2a")


def test_a_bills_address_is_one() -> None:
    assert mapping.read_bill_address(b'{"bill_download_url":"http://dwbillcenter.alipay.com/x"}') == "http://dwbillcenter.alipay.com/x"
    for address in ("", "file:///etc/passwd", "ftp://x/y"):
        with pytest.raises(Unreadable):
            mapping.read_bill_address(json.dumps({"bill_download_url": address}).encode())


def test_only_moved_money_is_a_refund() -> None:
    """refund_fee is what was refunded of the order so far, so the amount is the one that was asked for."""
    content = {"out_trade_no": "po_4f2a", "trade_no": "2026111822001", "refund_fee": "75.50", "fund_change": "Y"}
    state = mapping.read_refunded(json.dumps(content).encode(), REFUND)
    assert state is not None
    assert (state.status, state.refund_no, state.amount) == ("succeeded", "re_000001", Decimal("25.5"))
    for change in ("N", "", "y"):
        assert mapping.read_refunded(json.dumps(content | {"fund_change": change}).encode(), REFUND) is None
    with pytest.raises(Unreadable):
        mapping.read_refunded(json.dumps(content | {"out_trade_no": "po_other"}).encode(), REFUND)


@pytest.mark.parametrize(
    ("content", "status", "amount"),
    [
        ({"refund_status": "REFUND_SUCCESS", "refund_amount": "25.50"}, "succeeded", Decimal("25.50")),
        ({"refund_status": "REFUND_PROCESSING", "refund_amount": "25.50"}, "processing", Decimal("25.50")),
        ({"refund_status": "REFUND_SOMETHING"}, "processing", None),
        ({"refund_amount": "25.50"}, "processing", Decimal("25.50")),
        ({}, "unknown", None),
    ],
)
def test_states_of_refunds(content: dict[str, str], status: str, amount: Decimal | None) -> None:
    """Success without status or amount is how Alipay says that there is no such refund."""
    state = mapping.read_refund_found(json.dumps({"code": "10000", **content}).encode(), "po_4f2a", "re_000001")
    assert (state.status, state.amount, state.refund_no) == (status, amount, "re_000001")


@pytest.mark.parametrize("content", [{"out_trade_no": "po_other"}, {"out_request_no": "re_other"}, {"refund_amount": "x"}, {"gmt_refund_pay": "x"}])
def test_a_refund_of_another_form_is_refused(content: dict[str, str]) -> None:
    with pytest.raises(Unreadable):
        mapping.read_refund_found(json.dumps({"refund_status": "REFUND_SUCCESS", **content}).encode(), "po_4f2a", "re_000001")


NOTICE = {
    "notify_id": "2026111800222122640000",
    "app_id": "2014072300007148",
    "seller_id": "2088102146225135",
    "out_trade_no": "po_4f2a",
    "trade_no": "2026111822001",
    "trade_status": "TRADE_SUCCESS",
    "total_amount": "100.00",
    "buyer_id": "2088101117955611",
    "gmt_payment": "2026-11-18 12:26:40",
}


def noticed(**changes: str) -> PaymentState:
    notice = mapping.read_notice(NOTICE | changes)
    assert isinstance(notice, PaymentNotice)
    return notice.payment


def test_a_notice_of_a_payment() -> None:
    state = noticed()
    assert (state.status, state.amount, state.collector_id, state.app_id) == ("paid", Decimal("100.00"), "2088102146225135", "2014072300007148")
    assert (state.paid_at, state.payer) == (datetime(2026, 11, 18, 4, 26, 40, tzinfo=UTC), "2088101117955611")
    assert noticed(seller_id="").collector_id == ""
    assert noticed(refund_fee="0.00").status == "paid"
    assert noticed(trade_status="WAIT_BUYER_PAY", gmt_payment="").status == "unpaid"
    assert noticed(trade_status="TRADE_FINISHED").status == "paid"
    assert noticed(trade_status="TRADE_CLOSED").status == "closed"


@RUNS
@given(st.text(min_size=1).filter(lambda text: text not in KNOWN))
def test_any_other_state_of_a_notice_is_pending(raw: str) -> None:
    assert noticed(trade_status=raw).status == "unpaid"


@pytest.mark.parametrize("trade_status", ["TRADE_SUCCESS", "TRADE_CLOSED"])
def test_a_notice_of_a_refund(trade_status: str) -> None:
    """A partial one says TRADE_SUCCESS again: it is no second payment. Its refund_fee is a sum, so it has no amount."""
    changes = {"trade_status": trade_status, "refund_fee": "75.50", "out_biz_no": "re_000001", "gmt_refund": "2026-11-18 12:30:00.123"}
    notice = mapping.read_notice(NOTICE | changes)
    assert isinstance(notice, RefundNotice)
    assert (notice.order_no, notice.refund.refund_no, notice.refund.status) == ("po_4f2a", "re_000001", "succeeded")
    assert notice.refund.amount is None
    assert notice.refund.succeeded_at == datetime(2026, 11, 18, 4, 30, tzinfo=UTC)
    del changes["out_biz_no"]
    whole = mapping.read_notice(NOTICE | changes)
    assert isinstance(whole, RefundNotice)
    assert whole.refund.refund_no == "po_4f2a"


@pytest.mark.parametrize(
    "changes",
    [
        {"notify_id": ""},
        {"out_trade_no": ""},
        {"trade_status": ""},
        {"trade_no": ""},
        {"total_amount": ""},
        {"total_amount": "100.001"},
        {"total_amount": "1e2"},
        {"gmt_payment": "today"},
        {"refund_fee": "-1"},
        {"refund_fee": "NaN"},
        {"refund_fee": "1.00", "gmt_refund": "x"},
    ],
)
def test_a_notice_of_another_form_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(Unreadable):
        mapping.read_notice(NOTICE | changes)
