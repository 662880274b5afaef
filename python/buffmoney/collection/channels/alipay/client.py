"""Alipay's gateway over HTTP: each request signed over its parameters, each answer and callback verified before it is parsed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, time
from typing import Any, TypeVar

import httpx
import msgspec

from buffmoney.base.clock import Clock, to_datetime
from buffmoney.base.telemetry import logger
from buffmoney.collection.channels import (
    AlipayCredentials,
    BillKind,
    Channel,
    ChannelError,
    ChannelUnavailable,
    CloseOutcome,
    CredentialsError,
    NewPayment,
    Notice,
    NoticeRefused,
    PaymentState,
    RefundNotice,
    RefundRequest,
    RefundState,
    Started,
    Unreadable,
    bill_is_due,
    check_order_no,
    check_refund_no,
    rsa,
)
from buffmoney.collection.channels.alipay import mapping, signing
from buffmoney.collection.channels.transport import LARGEST_BILL_BYTES, exchange, prepare

GATEWAY = "/gateway.do"
BILLS_FROM = time(9)
"""Beijing time of the next day: earlier, a day without a bill may only not have one yet"""
BILL_DEADLINE_S = 120.0

_RETRYABLE = ("ACQ.SELLER_BALANCE_NOT_ENOUGH", "ACQ.REASON_TRADE_BEEN_FREEZEN", "isv.app-call-limited", "isp.call-limited")
_NO_SUCH_TRADE = ("ACQ.TRADE_NOT_EXIST",)
_log = logger("collection.channels.alipay")
T = TypeVar("T")


class AlipayChannel:
    """A PaymentChannel. Made by `open_channel`."""

    channel: Channel = "alipay"

    def __init__(
        self,
        current: AlipayCredentials,
        also_valid: Sequence[AlipayCredentials],
        http: httpx.AsyncClient,
        base_url: str,
        clock: Clock,
        deadline_s: float,
    ) -> None:
        every = (current, *also_valid)
        if any((other.app_id, other.seller_id) != (current.app_id, current.seller_id) for other in every):
            raise CredentialsError("credentials of two merchants do not go together")
        for field in ("app_id", "seller_id"):
            if not getattr(current, field):
                raise CredentialsError(f"{field} is empty")
        self._credentials = current
        self._private_key = rsa.private_key(current.app_private_key, "app_private_key")
        self._public_keys = signing.public_keys(credentials.alipay_public_keys for credentials in every)
        self._http = http
        self._gateway = base_url.rstrip("/").removesuffix(GATEWAY) + GATEWAY
        self._clock = clock
        self._deadline_s = deadline_s

    async def create(self, payment: NewPayment) -> Started:
        """A QR code from the gateway, or for page and wap a signed address that the payer's browser opens: then nothing is asked here."""
        content = mapping.create_content(payment)
        method = mapping.METHODS[payment.product]
        more = {"notify_url": payment.notify_url}
        if payment.product != "precreate":
            if payment.return_url is not None:
                more["return_url"] = payment.return_url
            return Started(redirect_url=f"{self._gateway}?{signing.encoded(self._signed(method, content, more))}")
        answer = await self._call(method, content, more)
        return Started(qr_content=self._read(answer, lambda body: mapping.read_qr_code(body, payment.order_no)))

    async def query(self, order_no: str) -> PaymentState:
        """What Alipay knows of an order: nothing before the payer has scanned."""
        check_order_no(order_no)
        try:
            answer = await self._call(mapping.QUERY, {"out_trade_no": order_no})
        except ChannelError as error:
            if not error.says(*_NO_SUCH_TRADE):
                raise
            return mapping.unknown_payment(self._credentials, order_no, error.code)
        return self._read(answer, lambda content: mapping.read_payment(content, self._credentials, order_no))

    async def close(self, order_no: str) -> CloseOutcome:
        """Closes an unpaid order. An order that nobody has scanned cannot be closed: it ends by its time_expire alone."""
        check_order_no(order_no)
        try:
            await self._call(mapping.CLOSE, {"out_trade_no": order_no})
        except ChannelError as error:
            if error.says(*_NO_SUCH_TRADE):
                return "not_found"
            if error.says("ACQ.TRADE_HAS_SUCCESS", "ACQ.TRADE_HAS_FINISHED"):
                return "already_paid"
            if error.says("ACQ.TRADE_HAS_CLOSE"):
                return "closed"
            if not error.says("ACQ.TRADE_STATUS_ERROR"):
                raise
            # Its state does not allow to close it, but that is said of paid and of closed orders alike.
            status = (await self.query(order_no)).status
            if status in ("paid", "refunded"):
                return "already_paid"
            if status == "closed":
                return "closed"
            raise
        return "closed"

    async def refund(self, request: RefundRequest) -> RefundState:
        """Asks for a refund, and where its answer does not say that money moved, what became of it."""
        answer = await self._call(mapping.REFUND, mapping.refund_content(request))
        state = self._read(answer, lambda content: mapping.read_refunded(content, request))
        if state is not None:
            return state
        found = await self.query_refund(request.order_no, request.refund_no)
        return msgspec.structs.replace(found, status="processing") if found.status == "unknown" else found

    async def query_refund(self, order_no: str, refund_no: str) -> RefundState:
        """What Alipay knows of a refund."""
        check_order_no(order_no)
        check_refund_no(refund_no)
        try:
            answer = await self._call(mapping.REFUND_QUERY, mapping.refund_query_content(order_no, refund_no))
        except ChannelError as error:
            if not error.says(*_NO_SUCH_TRADE):
                raise
            return RefundState("unknown", refund_no, None, None, None, error.code)
        return self._read(answer, lambda content: mapping.read_refund_found(content, order_no, refund_no))

    def read_notice(self, headers: Mapping[str, str], body: bytes) -> Notice:
        """A callback: its form is decoded once, verified, and only then understood. Raises NoticeRefused. headers: not signed, not used."""
        fields = signing.read_form(body)
        if fields is None:
            raise NoticeRefused("malformed")
        if not fields.get("sign"):
            raise NoticeRefused("unsigned")
        if not signing.is_form_signed(self._public_keys, fields):
            raise NoticeRefused("wrong_signature")
        try:
            notice = mapping.read_notice(fields)
        except Unreadable:
            raise NoticeRefused("malformed") from None
        if isinstance(notice, RefundNotice) and (fields.get("app_id"), fields.get("seller_id")) != (
            self._credentials.app_id,
            self._credentials.seller_id,
        ):
            raise NoticeRefused("wrong_merchant")
        return notice

    def notice_answer(self, ok: bool, message: str = "") -> tuple[int, str, bytes]:
        """`success`, or 400 and `fail`, upon which Alipay sends it again, seven times within 25 hours. message: for WeChat only."""
        return (200, "text/plain", b"success") if ok else (400, "text/plain", b"fail")

    async def download_bill(self, day: date, kind: BillKind) -> bytes | None:
        """The ZIP of a day in China as it is; None if Alipay has no bill for it."""
        if not bill_is_due(day, BILLS_FROM, self._clock.now_us()):
            raise ChannelError("BILL_NOT_READY", "bills are there from about 9:00 of the next day on", retryable=True)
        try:
            answer = await self._call(mapping.BILL_ADDRESS, mapping.bill_content(day, kind))
        except ChannelError as error:
            if error.says("isp.bill_not_exist"):
                return None
            raise
        address = self._read(answer, mapping.read_bill_address)
        # Neither the request nor the file is signed; the address is good for thirty seconds.
        file = await exchange(self._http, prepare(self._http, "GET", address, {}), BILL_DEADLINE_S, limit_bytes=LARGEST_BILL_BYTES, raw=True)
        if file.status != 200 or not file.body.startswith(b"PK"):
            raise self._unavailable(mapping.BILL_ADDRESS, f"the bill's file is answered with {file.status} and is no ZIP")
        return file.body

    def _signed(self, method: str, content: Mapping[str, Any], more: Mapping[str, str]) -> dict[str, str]:
        return signing.signed(
            self._private_key,
            {
                "app_id": self._credentials.app_id,
                "method": method,
                "format": "JSON",
                "charset": "utf-8",
                "sign_type": "RSA2",
                "timestamp": mapping.beijing(to_datetime(self._clock.now_us())),
                "version": "1.0",
                **more,
                "biz_content": msgspec.json.encode(content).decode(),
            },
        )

    async def _call(self, method: str, content: Mapping[str, Any], more: Mapping[str, str] | None = None) -> bytes:
        """The signed object of a successful answer. Raises ChannelError for a signed refusal, else ChannelUnavailable."""
        parameters = self._signed(method, content, more or {})
        # The charset has to be known before the form is decoded, so what is public goes into the address, and only the business into the body.
        form = signing.encoded({"biz_content": parameters.pop("biz_content")}).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded;charset=utf-8", "Accept": "application/json"}
        request = prepare(self._http, "POST", f"{self._gateway}?{signing.encoded(parameters)}", headers, form)
        try:
            answer = await exchange(self._http, request, self._deadline_s)
        except ChannelUnavailable as error:
            _log.warning("no answer", method=method, reason=error.detail)
            raise
        if answer.status != 200:
            raise self._unavailable(method, f"answered with {answer.status}")
        cut = signing.cut_answer(answer.body, method)
        if cut is None:
            # So it is also answered whose application or key the gateway does not know.
            raise self._unavailable(method, "an answer without a signature, as to a wrong app_id or key")
        signed_content, signature = cut
        if not signing.is_answer_signed(self._public_keys, signed_content, signature):
            raise self._unavailable(method, "the signature of the answer does not hold")
        result = self._read(signed_content, mapping.read_result)
        if result.code == mapping.OK:
            return signed_content
        code = result.sub_code or result.code
        _log.warning("refused", method=method, code=result.code, sub_code=result.sub_code)
        error_said = ChannelError(code, result.sub_msg or result.msg)
        if result.code == "20000" or error_said.says("ACQ.SYSTEM_ERROR", "isp.unknow-error"):
            raise ChannelUnavailable(str(error_said))
        error_said.retryable = error_said.says(*_RETRYABLE)
        raise error_said

    def _read(self, content: bytes, how: Callable[[bytes], T]) -> T:
        try:
            return how(content)
        except Unreadable as error:
            raise self._unavailable("", str(error)) from None

    def _unavailable(self, method: str, detail: str) -> ChannelUnavailable:
        _log.warning("answer not usable", method=method, reason=detail)
        return ChannelUnavailable(detail)
