"""Alipay's wire forms: what we ask as business parameters, and what its answers and callbacks mean. No I/O, no clock, no keys.

Amounts are yuan with two decimals, times Beijing's. A state that is not known is pending. An order does not exist at Alipay before the
payer scans or logs in: TRADE_NOT_EXIST means unpaid so far, which is why every order has a time_expire.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from buffmoney.collection.channels import (
    CHINA,
    AlipayCredentials,
    BillKind,
    NewPayment,
    PaymentNotice,
    PaymentState,
    PaymentStatus,
    Product,
    RefundNotice,
    RefundRequest,
    RefundState,
    RefundStatus,
    Unreadable,
    to_fen,
)

METHODS: dict[Product, str] = {
    "page": "alipay.trade.page.pay",
    "wap": "alipay.trade.wap.pay",
    "precreate": "alipay.trade.precreate",
}
PRODUCT_CODES: dict[Product, str] = {"page": "FAST_INSTANT_TRADE_PAY", "wap": "QUICK_WAP_PAY"}
"""for a QR it is by contract, and may be left out"""
QUERY = "alipay.trade.query"
CLOSE = "alipay.trade.close"
REFUND = "alipay.trade.refund"
REFUND_QUERY = "alipay.trade.fastpay.refund.query"
BILL_ADDRESS = "alipay.data.dataservice.bill.downloadurl.query"
OK = "10000"
BILL_TYPES: dict[BillKind, str] = {"trade": "trade", "funds": "signcustomer"}
LONGEST_SUBJECT_BYTES = 256
LONGEST_REASON_BYTES = 256

_AMOUNT = re.compile(r"(0|[1-9][0-9]{0,9})(\.[0-9]{1,2})?", re.ASCII)
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}", re.ASCII)
_NOT_IN_SUBJECTS = re.compile(r"[/=&\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_PAYMENT_STATUS: dict[str, PaymentStatus] = {
    "WAIT_BUYER_PAY": "unpaid",
    "TRADE_SUCCESS": "paid",
    "TRADE_FINISHED": "paid",
    "TRADE_CLOSED": "closed",
}
_REFUND_STATUS: dict[str, RefundStatus] = {"REFUND_SUCCESS": "succeeded", "REFUND_PROCESSING": "processing"}
T = TypeVar("T")


class Result(msgspec.Struct, frozen=True):
    """How a call went. code: 10000 for success; sub_code: what the business says of a failure."""

    code: str
    msg: str = ""
    sub_code: str = ""
    sub_msg: str = ""


class _Precreated(msgspec.Struct, frozen=True):
    out_trade_no: str
    qr_code: str


class _Trade(msgspec.Struct, frozen=True):
    out_trade_no: str
    trade_status: str
    total_amount: str
    trade_no: str = ""
    trans_currency: str = ""
    send_pay_date: str = ""
    buyer_user_id: str = ""
    buyer_open_id: str = ""


class _Refunded(msgspec.Struct, frozen=True):
    out_trade_no: str
    trade_no: str = ""
    fund_change: str = ""
    gmt_refund_pay: str = ""


class _RefundFound(msgspec.Struct, frozen=True):
    out_trade_no: str = ""
    out_request_no: str = ""
    trade_no: str = ""
    refund_status: str = ""
    refund_amount: str = ""
    gmt_refund_pay: str = ""


class _BillAddress(msgspec.Struct, frozen=True):
    bill_download_url: str


def create_content(payment: NewPayment) -> dict[str, str]:
    """biz_content of page pay, wap pay and precreate."""
    if payment.product not in METHODS:
        raise ValueError(f"Alipay has no product {payment.product}")
    content = {
        "out_trade_no": payment.order_no,
        "total_amount": to_yuan(payment.amount),
        "subject": subject(payment.description),
        "time_expire": beijing(payment.expires_at),
    }
    if payment.product in PRODUCT_CODES:
        content["product_code"] = PRODUCT_CODES[payment.product]
    if payment.product == "wap" and payment.return_url is not None:
        content["quit_url"] = payment.return_url
    return content


def refund_content(request: RefundRequest) -> dict[str, str]:
    """biz_content of a refund. out_request_no is always given: without it Alipay takes a refund for the whole one."""
    content = {"out_trade_no": request.order_no, "refund_amount": to_yuan(request.amount), "out_request_no": request.refund_no}
    reason = subject(request.reason, LONGEST_REASON_BYTES, empty="")
    return {**content, "refund_reason": reason} if reason else content


def refund_query_content(order_no: str, refund_no: str) -> dict[str, Any]:
    """biz_content of a refund's query; the time of the refund is given only if asked for."""
    return {"out_trade_no": order_no, "out_request_no": refund_no, "query_options": ["gmt_refund_pay"]}


def bill_content(day: date, kind: BillKind) -> dict[str, str]:
    """biz_content of the query for a bill's address."""
    return {"bill_type": BILL_TYPES[kind], "bill_date": day.isoformat()}


def read_result(content: bytes) -> Result:
    """How a call went. Raises Unreadable."""
    return read(content, Result)


def read_qr_code(content: bytes, order_no: str) -> str:
    """The text of a precreated order's QR code. Raises Unreadable, also if it is another order's."""
    found = read(content, _Precreated)
    if found.out_trade_no != order_no or not found.qr_code:
        raise Unreadable("no QR code of this order")
    return found.qr_code


def read_payment(content: bytes, credentials: AlipayCredentials, order_no: str) -> PaymentState:
    """A payment from a query's answer, which is always of the asking merchant. Raises Unreadable, also if it is another order's."""
    trade = read(content, _Trade)
    if trade.out_trade_no != order_no:
        raise Unreadable("the answer is about another order")
    paid_at = from_beijing(trade.send_pay_date)
    status = _PAYMENT_STATUS.get(trade.trade_status, "unpaid")
    if status == "closed" and paid_at is not None:
        # Closed is both what timed out and what was refunded whole; only the latter was ever paid.
        status = "refunded"
    if status in ("paid", "refunded") and not trade.trade_no:
        raise Unreadable("a payment without trade_no")
    return PaymentState(
        status=status,
        order_no=trade.out_trade_no,
        transaction_id=trade.trade_no or None,
        amount=from_yuan(trade.total_amount),
        currency=trade.trans_currency or "CNY",
        collector_id=credentials.seller_id,
        app_id=credentials.app_id,
        paid_at=paid_at,
        payer=trade.buyer_user_id or trade.buyer_open_id or None,
        raw_state=trade.trade_status,
    )


def unknown_payment(credentials: AlipayCredentials, order_no: str, code: str) -> PaymentState:
    """An order that Alipay does not know, or not yet. code: its answer."""
    return PaymentState("unknown", order_no, None, None, "CNY", credentials.seller_id, credentials.app_id, None, None, code)


def read_refunded(content: bytes, request: RefundRequest) -> RefundState | None:
    """A refund from its answer; None unless it says that money moved: then ask. Raises Unreadable, also if it is another order's."""
    refunded = read(content, _Refunded)
    if refunded.out_trade_no != request.order_no:
        raise Unreadable("the answer is about another order")
    if refunded.fund_change != "Y":
        return None
    # Its refund_fee is not used: it is what was refunded of the order so far, not by this refund.
    return RefundState(
        "succeeded", request.refund_no, refunded.trade_no or None, request.amount, from_beijing(refunded.gmt_refund_pay), "fund_change=Y"
    )


def read_refund_found(content: bytes, order_no: str, refund_no: str) -> RefundState:
    """A refund from its query's answer: success without any status or amount means that there is no such refund. Raises Unreadable."""
    found = read(content, _RefundFound)
    if found.out_trade_no not in ("", order_no) or found.out_request_no not in ("", refund_no):
        raise Unreadable("the answer is about another refund")
    if not found.refund_status and not found.refund_amount:
        return RefundState("unknown", refund_no, None, None, None, "")
    return RefundState(
        status=_REFUND_STATUS.get(found.refund_status, "processing"),
        refund_no=refund_no,
        channel_refund_id=found.trade_no or None,
        amount=from_yuan(found.refund_amount) if found.refund_amount else None,
        succeeded_at=from_beijing(found.gmt_refund_pay),
        raw_state=found.refund_status,
    )


def read_bill_address(content: bytes) -> str:
    """Where a bill is for thirty seconds. Raises Unreadable."""
    address = read(content, _BillAddress).bill_download_url
    if not address.startswith(("https://", "http://")):
        raise Unreadable("the bill has no address")
    return address


def read_notice(fields: Mapping[str, str]) -> PaymentNotice | RefundNotice:
    """A verified callback. Raises Unreadable.

    With a refund_fee it is about a refund: a partial one says TRADE_SUCCESS again, the last one TRADE_CLOSED. TRADE_CLOSED without it is a
    time-out. refund_fee is the sum over all refunds of the order, so the state of the one at hand has no amount.
    """
    notice_id, order_no, raw_state = (fields.get(name, "") for name in ("notify_id", "out_trade_no", "trade_status"))
    if not notice_id or not order_no or not raw_state:
        raise Unreadable("a callback without notify_id, out_trade_no or trade_status")
    refund_fee = fields.get("refund_fee", "")
    if refund_fee and from_yuan(refund_fee) > 0:
        # A refund without a number of its own is one of the whole order, which Alipay then files under the order's.
        refund_no = fields.get("out_biz_no") or order_no
        refunded_at = from_beijing(fields.get("gmt_refund", "").partition(".")[0])
        refund = RefundState("succeeded", refund_no, fields.get("trade_no") or None, None, refunded_at, raw_state)
        return RefundNotice(notice_id, order_no, refund)
    status = _PAYMENT_STATUS.get(raw_state, "unpaid")
    if status == "paid" and not (fields.get("total_amount") and fields.get("trade_no")):
        raise Unreadable("a payment without total_amount or trade_no")
    payment = PaymentState(
        status=status,
        order_no=order_no,
        transaction_id=fields.get("trade_no") or None,
        amount=from_yuan(fields["total_amount"]) if fields.get("total_amount") else None,
        currency=fields.get("trans_currency") or "CNY",
        collector_id=fields.get("seller_id", ""),
        app_id=fields.get("app_id", ""),
        paid_at=from_beijing(fields.get("gmt_payment", "")),
        payer=fields.get("buyer_id") or fields.get("buyer_open_id") or None,
        raw_state=raw_state,
    )
    return PaymentNotice(notice_id, payment)


def read(content: bytes, form: type[T]) -> T:
    """JSON of a form; fields that it does not name are left alone. Raises Unreadable."""
    try:
        return msgspec.json.decode(content, type=form)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Unreadable(f"not a {form.__name__.lstrip('_')}: {type(error).__name__}") from None


def to_yuan(amount: Decimal) -> str:
    """Yuan with two decimals. Raises ValueError for what `to_fen` refuses."""
    yuan, fen = divmod(to_fen(amount), 100)
    return f"{yuan}.{fen:02d}"


def from_yuan(text: str) -> Decimal:
    """Yuan with at most two decimals, as text of ASCII digits. Raises Unreadable for anything else."""
    if _AMOUNT.fullmatch(text) is None:
        raise Unreadable("an amount that is none")
    return Decimal(text)


def beijing(moment: datetime) -> str:
    """`yyyy-MM-dd HH:mm:ss`, the fraction of a second cut off."""
    return moment.astimezone(CHINA).strftime("%Y-%m-%d %H:%M:%S")


def from_beijing(text: str) -> datetime | None:
    """`yyyy-MM-dd HH:mm:ss` as aware UTC; None for nothing. Raises Unreadable for anything else."""
    if not text:
        return None
    if _TIME.fullmatch(text) is None:
        raise Unreadable("a time that is none")
    try:
        return datetime.fromisoformat(text).replace(tzinfo=CHINA).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Unreadable("a time that is none") from None


def subject(text: str, longest_bytes: int = LONGEST_SUBJECT_BYTES, *, empty: str = "-") -> str:
    """A text for people as Alipay takes it: without `/`, `=`, `&` and control characters, and at most so long."""
    plain = " ".join(_NOT_IN_SUBJECTS.sub(" ", text).split())
    return plain.encode()[:longest_bytes].decode(errors="ignore") or empty
