"""WeChat Pay v3's wire forms: what we ask as paths and JSON, and what its JSON means. No I/O, no clock, no keys.

Unused fields are left out, never null. Amounts are whole fen. A state that is not known is pending.
"""

from __future__ import annotations

import ipaddress
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from buffmoney.collection.channels import (
    CHINA,
    LARGEST_AMOUNT_FEN,
    BillKind,
    ChannelError,
    NewPayment,
    PaymentState,
    PaymentStatus,
    RefundRequest,
    RefundState,
    RefundStatus,
    Unreadable,
    WechatCredentials,
    to_fen,
)

LONGEST_DESCRIPTION_BYTES = 127
LONGEST_REASON_BYTES = 80
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_PAYMENT_STATUS: dict[str, PaymentStatus] = {"NOTPAY": "unpaid", "SUCCESS": "paid", "REFUND": "refunded", "CLOSED": "closed"}
_REFUND_STATUS: dict[str, RefundStatus] = {
    "PROCESSING": "processing",
    "SUCCESS": "succeeded",
    "CLOSED": "closed",
    "ABNORMAL": "abnormal",
}
T = TypeVar("T")


class Call(msgspec.Struct, frozen=True):
    """A request: method, path with query, and its body as it is signed and sent."""

    method: str
    target: str
    body: bytes = b""


class Refusal(msgspec.Struct, frozen=True):
    """The body of a 4xx."""

    code: str
    message: str = ""


class Resource(msgspec.Struct, frozen=True):
    """The encrypted part of a callback."""

    algorithm: str
    ciphertext: str
    nonce: str
    associated_data: str = ""


class Envelope(msgspec.Struct, frozen=True):
    """A callback as it is signed."""

    id: str
    event_type: str
    resource: Resource


class BillAnswer(msgspec.Struct, frozen=True):
    """Where the file of a bill is, and its hash (hexadecimal), which is over the uncompressed file."""

    hash_type: str
    hash_value: str
    download_url: str


class _Amount(msgspec.Struct, frozen=True):
    total: int
    currency: str = ""


class _Payer(msgspec.Struct, frozen=True):
    openid: str | None = None
    sp_openid: str | None = None
    sub_openid: str | None = None


class _Transaction(msgspec.Struct, frozen=True):
    out_trade_no: str
    trade_state: str
    appid: str = ""
    sp_appid: str = ""
    mchid: str = ""
    sp_mchid: str = ""
    sub_mchid: str | None = None
    transaction_id: str | None = None
    success_time: str | None = None
    payer: _Payer | None = None
    amount: _Amount | None = None


class _RefundAmount(msgspec.Struct, frozen=True):
    refund: int


class _Refund(msgspec.Struct, frozen=True):
    """A refund; answers say `status`, callbacks `refund_status`."""

    out_refund_no: str
    out_trade_no: str
    amount: _RefundAmount
    refund_id: str | None = None
    status: str = ""
    refund_status: str = ""
    success_time: str | None = None
    mchid: str = ""
    sp_mchid: str = ""
    sub_mchid: str | None = None


def create_call(credentials: WechatCredentials, payment: NewPayment) -> Call:
    """POST …/transactions/{native,jsapi,h5}. Raises ChannelError PARAM_ERROR, as WeChat would, for what it never takes."""
    body: dict[str, Any] = {}
    if credentials.sub_mchid is None:
        body |= {"appid": credentials.app_id, "mchid": credentials.mchid}
    else:
        body |= {"sp_appid": credentials.app_id, "sp_mchid": credentials.mchid, "sub_mchid": credentials.sub_mchid}
        if credentials.sub_app_id is not None:
            body["sub_appid"] = credentials.sub_app_id
    body |= {
        "description": shortened(payment.description, LONGEST_DESCRIPTION_BYTES),
        "out_trade_no": payment.order_no,
        "time_expire": payment.expires_at.astimezone(CHINA).isoformat(timespec="seconds"),
        "notify_url": payment.notify_url,
        "amount": {"total": to_fen(payment.amount), "currency": "CNY"},
    }
    if payment.product == "jsapi":
        body["payer"] = _payer(credentials, payment.payer_openid)
    elif payment.product == "h5":
        body["scene_info"] = {"payer_client_ip": _client_ip(payment.client_ip), "h5_info": {"type": payment.device}}
    elif payment.product != "native":
        raise ValueError(f"WeChat Pay has no product {payment.product}")
    return Call("POST", f"{_transactions(credentials)}/{payment.product}", msgspec.json.encode(body))


def query_call(credentials: WechatCredentials, order_no: str) -> Call:
    """GET …/transactions/out-trade-no/{no}."""
    return Call("GET", f"{_order(credentials, order_no)}?{urlencode(_merchant(credentials))}")


def close_call(credentials: WechatCredentials, order_no: str) -> Call:
    """POST …/out-trade-no/{no}/close, answered with 204 and nothing."""
    return Call("POST", f"{_order(credentials, order_no)}/close", msgspec.json.encode(_merchant(credentials)))


def refund_call(credentials: WechatCredentials, request: RefundRequest) -> Call:
    """POST /v3/refund/domestic/refunds. Accepted is not refunded: the status says how far it is."""
    body: dict[str, Any] = {} if credentials.sub_mchid is None else {"sub_mchid": credentials.sub_mchid}
    body |= {"out_trade_no": request.order_no, "out_refund_no": request.refund_no}
    reason = shortened(request.reason, LONGEST_REASON_BYTES)
    if reason:
        body["reason"] = reason
    if request.notify_url is not None:
        body["notify_url"] = request.notify_url
    body["amount"] = {"refund": to_fen(request.amount), "total": to_fen(request.total), "currency": "CNY"}
    return Call("POST", "/v3/refund/domestic/refunds", msgspec.json.encode(body))


def refund_query_call(credentials: WechatCredentials, refund_no: str) -> Call:
    """GET /v3/refund/domestic/refunds/{out_refund_no}."""
    target = f"/v3/refund/domestic/refunds/{quote(refund_no, safe='')}"
    return Call("GET", target if credentials.sub_mchid is None else f"{target}?{urlencode({'sub_mchid': credentials.sub_mchid})}")


def bill_call(credentials: WechatCredentials, day: date, kind: BillKind) -> Call:
    """GET /v3/bill/…: where the file of a day is.

    Raises ChannelError NOT_OFFERED for the funds of a sub-merchant: WeChat gives those in several encrypted files, which are not read here.
    """
    if kind == "trade":
        query = {"bill_date": day.isoformat(), "bill_type": "ALL", "tar_type": "GZIP"}
        if credentials.sub_mchid is not None:
            query["sub_mchid"] = credentials.sub_mchid
        return Call("GET", f"/v3/bill/tradebill?{urlencode(query)}")
    if credentials.sub_mchid is not None:
        raise ChannelError("NOT_OFFERED", "the funds bill of a sub-merchant is not read; the trade bill is")
    query = {"bill_date": day.isoformat(), "account_type": "BASIC", "tar_type": "GZIP"}
    return Call("GET", f"/v3/bill/fundflowbill?{urlencode(query)}")


def invoking_app_id(credentials: WechatCredentials) -> str:
    """The app whose page invokes JSAPI payment: the one that the payer's openid belongs to."""
    return credentials.app_id if credentials.sub_mchid is None else credentials.sub_app_id or credentials.app_id


def with_return_url(h5_url: str, return_url: str | None) -> str:
    """The H5 address, and where the payer's browser goes from there."""
    return h5_url if return_url is None else f"{h5_url}&redirect_url={quote(return_url, safe='')}"


def read_text(body: bytes, field: str) -> str:
    """One text of an answer to `create`: code_url, prepay_id or h5_url. Raises Unreadable."""
    found = read(body, dict[str, Any]).get(field)
    if not isinstance(found, str) or not found:
        raise Unreadable(f"the answer has no {field}")
    return found


def read_payment(body: bytes) -> PaymentState:
    """A payment, from a query's answer or a decrypted callback. Raises Unreadable."""
    transaction = read(body, _Transaction)
    status = _PAYMENT_STATUS.get(transaction.trade_state, "unpaid")
    amount, payer = transaction.amount, transaction.payer or _Payer()
    if status in ("paid", "refunded") and (amount is None or not amount.currency or not transaction.transaction_id):
        raise Unreadable("a payment without amount, currency or transaction_id")
    return PaymentState(
        status=status,
        order_no=transaction.out_trade_no,
        transaction_id=transaction.transaction_id or None,
        amount=None if amount is None else from_fen(amount.total),
        currency="CNY" if amount is None else amount.currency,
        collector_id=transaction.sp_mchid or transaction.mchid,
        app_id=transaction.sp_appid or transaction.appid,
        paid_at=_moment(transaction.success_time),
        payer=payer.openid or payer.sub_openid or payer.sp_openid,
        raw_state=transaction.trade_state,
        sub_merchant_id=transaction.sub_mchid,
    )


def unknown_payment(credentials: WechatCredentials, order_no: str, code: str) -> PaymentState:
    """An order that WeChat does not know. code: its answer."""
    return PaymentState(
        "unknown", order_no, None, None, "CNY", credentials.mchid, credentials.app_id, None, None, code, credentials.sub_mchid
    )


def read_refund(body: bytes) -> tuple[str, str | None, str, RefundState]:
    """Of a refund: mchid or sp_mchid ("" if not said), sub_mchid, order number and state. Raises Unreadable."""
    refund = read(body, _Refund)
    raw_state = refund.refund_status or refund.status
    state = RefundState(
        status=_REFUND_STATUS.get(raw_state, "processing"),
        refund_no=refund.out_refund_no,
        channel_refund_id=refund.refund_id or None,
        amount=from_fen(refund.amount.refund),
        succeeded_at=_moment(refund.success_time),
        raw_state=raw_state,
    )
    return refund.sp_mchid or refund.mchid, refund.sub_mchid, refund.out_trade_no, state


def read(body: bytes, form: type[T]) -> T:
    """JSON of a form; fields that it does not name are left alone. Raises Unreadable."""
    try:
        return msgspec.json.decode(body, type=form)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        # The text of a decoder's error may quote what it read; its first words do not.
        raise Unreadable(f"not a {form.__name__.lstrip('_')}: {type(error).__name__}") from None


def from_fen(fen: int) -> Decimal:
    """Fen as yuan with two decimals. Raises Unreadable for a negative amount, or more than any payment."""
    if not 0 <= fen <= LARGEST_AMOUNT_FEN:
        raise Unreadable("an amount out of range")
    return Decimal(fen).scaleb(-2)


def shortened(text: str, longest_bytes: int) -> str:
    """A text for people, without control characters and at most so long.

    In bytes of UTF-8, since WeChat's pages do not agree on whether it counts them or characters.
    """
    plain = " ".join(_CONTROLS.sub(" ", text).split())
    return plain.encode()[:longest_bytes].decode(errors="ignore")


def _transactions(credentials: WechatCredentials) -> str:
    return "/v3/pay/transactions" if credentials.sub_mchid is None else "/v3/pay/partner/transactions"


def _order(credentials: WechatCredentials, order_no: str) -> str:
    return f"{_transactions(credentials)}/out-trade-no/{quote(order_no, safe='')}"


def _merchant(credentials: WechatCredentials) -> dict[str, str]:
    if credentials.sub_mchid is None:
        return {"mchid": credentials.mchid}
    return {"sp_mchid": credentials.mchid, "sub_mchid": credentials.sub_mchid}


def _payer(credentials: WechatCredentials, openid: str | None) -> dict[str, str]:
    if not openid:
        raise ChannelError("PARAM_ERROR", "JSAPI needs the payer's openid")
    if credentials.sub_mchid is None:
        return {"openid": openid}
    return {"sp_openid": openid} if credentials.sub_app_id is None else {"sub_openid": openid}


def _client_ip(text: str | None) -> str:
    try:
        address = ipaddress.ip_address(text or "")
    except ValueError:
        raise ChannelError("PARAM_ERROR", "H5 needs the payer's IP address") from None
    mapped = getattr(address, "ipv4_mapped", None) or address
    if mapped.is_loopback or mapped.is_unspecified:
        raise ChannelError("PARAM_ERROR", "H5 does not take a loopback address for the payer's")
    return str(mapped)


def _moment(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Unreadable("a time that is none") from None
    if moment.tzinfo is None:
        raise Unreadable("a time without a zone")
    return moment.astimezone(UTC)
