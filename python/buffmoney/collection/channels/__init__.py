"""Payment channels: what a payment, a refund and a callback are, whichever channel they go through.

A client is a transport (`client`) around signatures (`signing`) and a pure mapping (`mapping`); `open_channel` makes one. What a
channel says is one of three things: a state, a refusal that it has signed (`ChannelError`), or nothing that can be relied on
(`ChannelUnavailable`: the outcome is unknown, so ask again by the same number).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from buffmoney.base.clock import to_us
from buffmoney.base.money import to_nano

if TYPE_CHECKING:
    import httpx

    from buffmoney.base.clock import Clock

Channel = Literal["wechat", "alipay"]
Product = Literal["native", "jsapi", "h5", "page", "wap", "precreate"]
Device = Literal["iOS", "Android", "Wap"]
BillKind = Literal["trade", "funds"]
PaymentStatus = Literal["unpaid", "paid", "closed", "refunded", "unknown"]
CloseOutcome = Literal["closed", "already_paid", "not_found"]
RefundStatus = Literal["processing", "succeeded", "closed", "abnormal", "unknown"]
NoticeRefusal = Literal[
    "unsigned", "stale", "probe", "unknown_key", "wrong_signature", "undecryptable", "malformed", "unknown_event", "wrong_merchant"
]

CHANNEL_OF: dict[Product, Channel] = {
    "native": "wechat",
    "jsapi": "wechat",
    "h5": "wechat",
    "page": "alipay",
    "wap": "alipay",
    "precreate": "alipay",
}
LIVE_BASE_URLS: dict[Channel, str] = {"wechat": "https://api.mch.weixin.qq.com", "alipay": "https://openapi.alipay.com"}
"""for live tenants, and for nobody else"""
CHINA = timezone(timedelta(hours=8))
"""the time that both channels write and cut their days by, all year"""
LARGEST_AMOUNT_FEN = 10_000_000_000
"""Alipay's ¥100,000,000; WeChat's own limits are far lower"""
MOST_DECIMALS = 18
"""of an amount, zeros included: a number of millions of decimals is refused before anything is worked out with it"""
LONGEST_NOTIFY_URL = 255

_ORDER_NO = re.compile(r"[A-Za-z0-9_]{6,32}", re.ASCII)
_REFUND_NO = re.compile(r"[A-Za-z0-9_]{6,64}", re.ASCII)
_NOT_IN_CODES = re.compile(r"[^A-Z0-9]")


class ChannelError(Exception):
    """The channel refused, and has signed that it did. code: its own. retryable: the same request may succeed later without a change.

    request_id: the channel's, for its support; empty if it gave none.
    """

    def __init__(self, code: str, detail: str, *, retryable: bool = False, request_id: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.detail = detail
        self.retryable = retryable
        self.request_id = request_id

    def says(self, *codes: str) -> bool:
        """Whether its code is one of these. Older pages write the same codes without underscores, and Alipay puts `ACQ.` before them."""
        return plain_code(self.code) in {plain_code(code) for code in codes}


class ChannelUnavailable(Exception):
    """No answer, 5xx, or one whose signature does not hold: whether the channel did it is unknown. request_id: as in ChannelError."""

    def __init__(self, detail: str, *, request_id: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.request_id = request_id


class NoticeRefused(Exception):
    """A callback that is not to be believed. Nothing of it was parsed before its signature held."""

    def __init__(self, reason: NoticeRefusal) -> None:
        super().__init__(reason)
        self.reason: NoticeRefusal = reason


class CredentialsError(ValueError):
    """Credentials with which no channel can be opened. The message names the field and never shows what is in it."""


class Unreadable(ValueError):
    """Signed by the channel, but not of the form that it documents."""


class NewPayment(msgspec.Struct, frozen=True):
    """What a payment order asks of a channel.

    order_no: 6 to 32 letters, digits and underscores, which both channels take; one for every attempt. amount: CNY, whole fen.
    expires_at: aware. notify_url: at most 255 characters, without a query. return_url: for products in a browser. payer_openid: for
    JSAPI. client_ip, device: for H5.
    """

    order_no: str
    amount: Decimal
    description: str
    product: Product
    expires_at: datetime
    notify_url: str
    return_url: str | None = None
    payer_openid: str | None = None
    client_ip: str | None = None
    device: Device = "Wap"

    def __post_init__(self) -> None:
        check_order_no(self.order_no)
        to_fen(self.amount)
        if not self.description.strip():
            raise ValueError("a payment needs a description")
        if self.expires_at.tzinfo is None:
            raise ValueError("expires_at has no zone")
        check_notify_url(self.notify_url)


class Started(msgspec.Struct, frozen=True):
    """How the payer goes on: exactly one of the three.

    qr_content: to be drawn as a QR code. redirect_url: for the payer's browser. jsapi: parameters of WeixinJSBridge.
    """

    qr_content: str | None = None
    redirect_url: str | None = None
    jsapi: dict[str, str] | None = None


class PaymentState(msgspec.Struct, frozen=True):
    """What the channel says of a payment.

    status: `unknown` if the channel does not know the order (Alipay before the scan), which is unpaid so far; any state that is not
    known is `unpaid`, that is pending; `refunded`: paid, and since refunded in part or whole. amount: what the order is for, None if the
    channel does not say. collector_id: WeChat's mchid or sp_mchid, Alipay's seller_id. sub_merchant_id: WeChat's sub_mchid.
    paid_at: aware UTC.
    """

    status: PaymentStatus
    order_no: str
    transaction_id: str | None
    amount: Decimal | None
    currency: str
    collector_id: str
    app_id: str
    paid_at: datetime | None
    payer: str | None
    raw_state: str
    sub_merchant_id: str | None = None


class RefundRequest(msgspec.Struct, frozen=True):
    """A refund of `amount` out of `total`, the whole payment, CNY. refund_no: 6 to 64 letters, digits and underscores, the same on every
    repetition."""

    order_no: str
    refund_no: str
    amount: Decimal
    total: Decimal
    reason: str
    notify_url: str | None = None

    def __post_init__(self) -> None:
        check_order_no(self.order_no)
        check_refund_no(self.refund_no)
        if to_fen(self.amount) > to_fen(self.total):
            raise ValueError("a refund is at most what was paid")
        if self.notify_url is not None:
            check_notify_url(self.notify_url)


class RefundState(msgspec.Struct, frozen=True):
    """What the channel says of a refund. status: `unknown` if it does not know this refund; a state that is not known is `processing`.

    amount: of this refund, None if the channel does not say. succeeded_at: aware UTC.
    """

    status: RefundStatus
    refund_no: str
    channel_refund_id: str | None
    amount: Decimal | None
    succeeded_at: datetime | None
    raw_state: str


class PaymentNotice(msgspec.Struct, frozen=True):
    """A callback about a payment. notice_id: the channel's, the same on every repetition of the callback."""

    notice_id: str
    payment: PaymentState


class RefundNotice(msgspec.Struct, frozen=True):
    """A callback about a refund. notice_id: the channel's, the same on every repetition of the callback."""

    notice_id: str
    order_no: str
    refund: RefundState


Notice = PaymentNotice | RefundNotice


class WechatCredentials(msgspec.Struct, frozen=True, tag="wechat"):
    """With what a merchant, or a service provider for its sub-merchant (`sub_mchid`), collects through WeChat Pay.

    merchant_private_key: PEM. api_v3_key: 32 characters. platform_keys: by certificate serial (hexadecimal) or PUB_KEY_ID_…, a PEM
    public key or certificate each; several during a switch-over. In service-provider mode app_id, mchid, serial and keys are those of
    the provider.
    """

    app_id: str
    mchid: str
    sub_mchid: str | None
    sub_app_id: str | None
    merchant_serial: str
    merchant_private_key: str
    api_v3_key: str
    platform_keys: dict[str, str]

    def __repr__(self) -> str:
        return f"WechatCredentials(app_id={self.app_id!r}, mchid={self.mchid!r}, sub_mchid={self.sub_mchid!r}, …)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("app_id", self.app_id), ("mchid", self.mchid), ("sub_mchid", self.sub_mchid)]


class AlipayCredentials(msgspec.Struct, frozen=True, tag="alipay"):
    """With what a merchant collects through Alipay.

    Keys are PEM, or the bare base64 that Alipay's own tool gives. alipay_public_keys: several during a switch-over.
    """

    app_id: str
    seller_id: str
    app_private_key: str
    alipay_public_keys: tuple[str, ...]

    def __repr__(self) -> str:
        return f"AlipayCredentials(app_id={self.app_id!r}, seller_id={self.seller_id!r}, …)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("app_id", self.app_id), ("seller_id", self.seller_id)]


Credentials = WechatCredentials | AlipayCredentials


class PaymentChannel(Protocol):
    """A channel as the rest of collection uses it. Calls raise ChannelError or ChannelUnavailable."""

    channel: Channel

    async def create(self, payment: NewPayment) -> Started:
        """Makes the order at the channel, or finds the same one again."""
        ...

    async def query(self, order_no: str) -> PaymentState:
        """What the channel knows of an order."""
        ...

    async def close(self, order_no: str) -> CloseOutcome:
        """Closes an unpaid order. `not_found`: the channel does not know it; with Alipay its QR code stays payable until it expires."""
        ...

    async def refund(self, request: RefundRequest) -> RefundState:
        """Asks for a refund. The same refund_no again is the same refund."""
        ...

    async def query_refund(self, order_no: str, refund_no: str) -> RefundState:
        """What the channel knows of a refund."""
        ...

    def read_notice(self, headers: Mapping[str, str], body: bytes) -> Notice:
        """A callback, verified over its raw bytes. headers: names in lower case. Raises NoticeRefused."""
        ...

    def notice_answer(self, ok: bool, message: str = "") -> tuple[int, str, bytes]:
        """Status, content type and body that the channel expects. Unless `ok`, it sends the callback again."""
        ...

    async def download_bill(self, day: date, kind: BillKind) -> bytes | None:
        """The file of a day in Shanghai; None if there is none because nothing happened.

        Raises ChannelError BILL_NOT_READY (retryable) as long as it may still be made.
        """
        ...


def open_channel(
    current: Credentials,
    also_valid: tuple[Credentials, ...],
    http: httpx.AsyncClient,
    base_url: str,
    clock: Clock,
    nonce: Callable[[], str],
    *,
    deadline_s: float = 15.0,
) -> PaymentChannel:
    """The client of the channel that the credentials are for.

    current: signs and sends. also_valid: of the same merchant, verify only, for a rotation with overlap. base_url: scheme and host, with
    a path at most if the channel's own paths go below it. nonce: a new text of at most 32 letters and digits each time (`new_nonce`).
    deadline_s: how long a call may take as a whole, beside the client's own time-outs.
    Loading keys takes milliseconds: keep the channel. Raises CredentialsError; empty keys are refused, too.
    """
    # Here, because both clients are made of the types above.
    from buffmoney.collection.channels.alipay.client import AlipayChannel
    from buffmoney.collection.channels.wechat.client import WechatChannel

    if isinstance(current, WechatCredentials):
        others = [other for other in also_valid if isinstance(other, WechatCredentials)]
        if len(others) == len(also_valid):
            return WechatChannel(current, others, http, base_url, clock, nonce, deadline_s)
    else:
        others_alipay = [other for other in also_valid if isinstance(other, AlipayCredentials)]
        if len(others_alipay) == len(also_valid):
            return AlipayChannel(current, others_alipay, http, base_url, clock, deadline_s)
    raise CredentialsError("credentials of two channels do not go together")


def new_nonce() -> str:
    """32 hexadecimal digits, 128 random bits."""
    return secrets.token_hex(16)


def bill_is_due(day: date, from_time: time, now_us: int) -> bool:
    """Whether the bill of a day in China should be there: from a time of the next day on. now_us: microseconds since 1970."""
    return now_us >= to_us(datetime.combine(day + timedelta(days=1), from_time, CHINA))


def plain_code(code: str) -> str:
    """A channel's code as codes are compared: without its prefix, without underscores and hyphens, in capitals."""
    return _NOT_IN_CODES.sub("", code.rpartition(".")[2].upper())


def check_order_no(order_no: str) -> str:
    """An order number that both channels take: [A-Za-z0-9_]{6,32}. Raises ValueError."""
    if _ORDER_NO.fullmatch(order_no) is None:
        raise ValueError("an order number has 6 to 32 letters, digits and underscores")
    return order_no


def check_refund_no(refund_no: str) -> str:
    """A refund number that both channels take: [A-Za-z0-9_]{6,64}. Raises ValueError."""
    if _REFUND_NO.fullmatch(refund_no) is None:
        raise ValueError("a refund number has 6 to 64 letters, digits and underscores")
    return refund_no


def check_notify_url(url: str) -> None:
    """Raises ValueError for a callback address that WeChat refuses: with a query, or longer than 255 characters."""
    if not url.startswith(("https://", "http://")) or "?" in url or "#" in url or not url.isascii() or len(url) > LONGEST_NOTIFY_URL:
        raise ValueError("a notify_url is an http(s) address of at most 255 characters without a query")


def to_fen(amount: Decimal) -> int:
    """A positive CNY amount in fen, exactly. Raises ValueError for parts of a fen, zero, negative, NaN and more than ¥100,000,000."""
    exponent = amount.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -MOST_DECIMALS:
        raise ValueError("an amount is whole fen")
    fen, rest = divmod(to_nano(amount), 10_000_000)
    if rest or not 1 <= fen <= LARGEST_AMOUNT_FEN:
        raise ValueError("an amount is whole fen, from ¥0.01 to ¥100,000,000")
    return fen
