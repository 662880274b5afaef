"""WeChat Pay v3 over HTTP: each request signed over the bytes sent, each answer and callback verified before it is parsed."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import zlib
from collections.abc import Callable, Mapping, Sequence
from datetime import date, time
from typing import TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec

from buffmoney.base.clock import Clock
from buffmoney.base.telemetry import logger
from buffmoney.collection.channels import (
    BillKind,
    Channel,
    ChannelError,
    ChannelUnavailable,
    CloseOutcome,
    CredentialsError,
    NewPayment,
    Notice,
    NoticeRefused,
    PaymentNotice,
    PaymentState,
    RefundNotice,
    RefundRequest,
    RefundState,
    Started,
    Unreadable,
    WechatCredentials,
    bill_is_due,
    check_order_no,
    check_refund_no,
    rsa,
)
from buffmoney.collection.channels.transport import LARGEST_BILL_BYTES, Answer, exchange, prepare
from buffmoney.collection.channels.wechat import mapping, signing

BILLS_FROM = time(10)
"""Shanghai time of the next day: earlier, a day without a statement may only not have one yet"""
BILL_DEADLINE_S = 120.0

_RETRYABLE = ("FREQUENCY_LIMITED", "RATELIMIT_EXCEEDED", "NOT_ENOUGH")
_NO_SUCH_ORDER = ("ORDER_NOT_EXIST",)
_NO_SUCH_REFUND = ("RESOURCE_NOT_EXISTS", "RESOURCE_NOT_EXIST", "REFUND_NOT_EXIST")
_log = logger("collection.channels.wechat")
T = TypeVar("T")


class WechatChannel:
    """A PaymentChannel. Made by `open_channel`."""

    channel: Channel = "wechat"

    def __init__(
        self,
        current: WechatCredentials,
        also_valid: Sequence[WechatCredentials],
        http: httpx.AsyncClient,
        base_url: str,
        clock: Clock,
        nonce: Callable[[], str],
        deadline_s: float,
    ) -> None:
        every = (current, *also_valid)
        if any((other.mchid, other.sub_mchid) != (current.mchid, current.sub_mchid) for other in every):
            raise CredentialsError("credentials of two merchants do not go together")
        for field in ("app_id", "mchid", "merchant_serial"):
            if not getattr(current, field):
                raise CredentialsError(f"{field} is empty")
        self._credentials = current
        self._private_key = rsa.private_key(current.merchant_private_key, "merchant_private_key")
        self._api_keys = [signing.api_key(credentials.api_v3_key) for credentials in every]
        self._platform_keys = signing.PlatformKeys(credentials.platform_keys for credentials in every)
        self._public_key_id = next((key for key in current.platform_keys if key.startswith(signing.PUBLIC_KEY_PREFIX)), None)
        self._http = http
        self._base_url = base_url.rstrip("/")
        self._clock = clock
        self._nonce = nonce
        self._deadline_s = deadline_s

    async def create(self, payment: NewPayment) -> Started:
        """Makes the order; a Native order made again gets a fresh code, and the old one ends."""
        answer = await self._call(mapping.create_call(self._credentials, payment))
        if payment.product == "native":
            return Started(qr_content=self._read(answer, lambda body: mapping.read_text(body, "code_url")))
        if payment.product == "h5":
            h5_url = self._read(answer, lambda body: mapping.read_text(body, "h5_url"))
            return Started(redirect_url=mapping.with_return_url(h5_url, payment.return_url))
        prepay_id = self._read(answer, lambda body: mapping.read_text(body, "prepay_id"))
        app_id = mapping.invoking_app_id(self._credentials)
        return Started(
            jsapi=signing.jsapi_invocation(self._private_key, app_id, prepay_id, timestamp=self._timestamp(), nonce=self._nonce())
        )

    async def query(self, order_no: str) -> PaymentState:
        """What WeChat knows of an order."""
        check_order_no(order_no)
        try:
            answer = await self._call(mapping.query_call(self._credentials, order_no))
        except ChannelError as error:
            if not error.says(*_NO_SUCH_ORDER):
                raise
            return mapping.unknown_payment(self._credentials, order_no, error.code)
        state = self._read(answer, mapping.read_payment)
        if state.order_no != order_no:
            raise self._unavailable(answer, "the answer is about another order")
        return state

    async def close(self, order_no: str) -> CloseOutcome:
        """Closes an unpaid order."""
        check_order_no(order_no)
        try:
            await self._call(mapping.close_call(self._credentials, order_no))
        except ChannelError as error:
            if error.says("ORDER_PAID"):
                return "already_paid"
            if error.says("ORDER_CLOSED"):
                return "closed"
            if error.says(*_NO_SUCH_ORDER):
                return "not_found"
            raise
        return "closed"

    async def refund(self, request: RefundRequest) -> RefundState:
        """Asks for a refund. That it is accepted says nothing more: see its status."""
        answer = await self._call(mapping.refund_call(self._credentials, request))
        return self._refund_state(answer, request.order_no, request.refund_no)

    async def query_refund(self, order_no: str, refund_no: str) -> RefundState:
        """What WeChat knows of a refund."""
        check_refund_no(refund_no)
        try:
            answer = await self._call(mapping.refund_query_call(self._credentials, refund_no))
        except ChannelError as error:
            if not error.says(*_NO_SUCH_REFUND):
                raise
            return RefundState("unknown", refund_no, None, None, None, error.code)
        return self._refund_state(answer, order_no, refund_no)

    def read_notice(self, headers: Mapping[str, str], body: bytes) -> Notice:
        """A callback: verified over its raw bytes, then parsed, then decrypted. Raises NoticeRefused."""
        refusal = self._platform_keys.refusal(headers, body, self._clock.now_us())
        if refusal is not None:
            raise NoticeRefused(refusal)
        try:
            envelope = mapping.read(body, mapping.Envelope)
            resource = envelope.resource
            if resource.algorithm != "AEAD_AES_256_GCM":
                raise NoticeRefused("undecryptable")
            content = signing.decrypt(self._api_keys, resource.ciphertext, resource.nonce, resource.associated_data)
            if content is None:
                raise NoticeRefused("undecryptable")
            if envelope.event_type.startswith("TRANSACTION."):
                return PaymentNotice(envelope.id, mapping.read_payment(content))
            if envelope.event_type.startswith("REFUND."):
                mchid, sub_mchid, order_no, refund = mapping.read_refund(content)
                if mchid != self._credentials.mchid or sub_mchid != self._credentials.sub_mchid:
                    raise NoticeRefused("wrong_merchant")
                return RefundNotice(envelope.id, order_no, refund)
        except Unreadable:
            raise NoticeRefused("malformed") from None
        raise NoticeRefused("unknown_event")

    def notice_answer(self, ok: bool, message: str = "") -> tuple[int, str, bytes]:
        """204 and nothing, or 400 and a reason, upon which WeChat sends it again, fifteen times within a day."""
        if ok:
            return 204, "application/json", b""
        return 400, "application/json", msgspec.json.encode({"code": "FAIL", "message": message[:128] or "not accepted"})

    async def download_bill(self, day: date, kind: BillKind) -> bytes | None:
        """The CSV of a day in Shanghai (UTF-8 with BOM), checked against its SHA1; None if WeChat has no statement for it."""
        if not bill_is_due(day, BILLS_FROM, self._clock.now_us()):
            raise ChannelError("BILL_NOT_READY", "bills are there from 10:00 of the next day on", retryable=True)
        try:
            answer = await self._call(mapping.bill_call(self._credentials, day, kind))
        except ChannelError as error:
            if error.says("NO_STATEMENT_EXIST"):
                return None
            if error.says("STATEMENT_CREATING"):
                raise ChannelError("BILL_NOT_READY", error.detail, retryable=True, request_id=error.request_id) from None
            raise
        bill = self._read(answer, lambda body: mapping.read(body, mapping.BillAnswer))
        if bill.hash_type != "SHA1":
            raise self._unavailable(answer, "the bill's hash is not SHA1")
        if urlsplit(bill.download_url).scheme != urlsplit(self._base_url).scheme:
            raise self._unavailable(answer, "the bill's address is of another scheme than the channel's")
        request = self._signed(mapping.Call("GET", bill.download_url), bill.download_url)
        # The file is not signed: what vouches for it is the hash in the signed answer before it.
        file = await exchange(self._http, request, BILL_DEADLINE_S, limit_bytes=LARGEST_BILL_BYTES, raw=True)
        if file.status != 200:
            raise self._unavailable(file, f"the bill's file is answered with {file.status}")
        content = await asyncio.to_thread(_unpacked, file.body)
        if content is None or not hmac.compare_digest(_sha1(content), bill.hash_value.lower()):
            raise self._unavailable(file, "the bill's file is not the one that was announced")
        return content

    def _refund_state(self, answer: Answer, order_no: str, refund_no: str) -> RefundState:
        _, _, of_order, state = self._read(answer, mapping.read_refund)
        if (of_order, state.refund_no) != (order_no, refund_no):
            raise self._unavailable(answer, "the answer is about another refund")
        return state

    async def _call(self, call: mapping.Call) -> Answer:
        """Sends a call. Raises ChannelError for a signed refusal, ChannelUnavailable for all else that is no success."""
        try:
            answer = await exchange(self._http, self._signed(call, self._base_url + call.target), self._deadline_s)
        except ChannelUnavailable as error:
            _log.warning("no answer", method=call.method, path=_path(call), reason=error.detail)
            raise
        if answer.status >= 500 or answer.status < 200:
            raise self._unavailable(answer, f"answered with {answer.status}", call)
        refusal = self._platform_keys.refusal(answer.headers, answer.body, self._clock.now_us())
        if refusal is not None:
            raise self._unavailable(answer, f"answered with {answer.status}, not to be believed: {refusal}", call)
        if answer.status < 300:
            return answer
        said = self._read(answer, lambda body: mapping.read(body, mapping.Refusal))
        _log.warning("refused", method=call.method, path=_path(call), status=answer.status, code=said.code, request_id=_request_id(answer))
        error = ChannelError(said.code, said.message, request_id=_request_id(answer))
        if error.says("SYSTEM_ERROR"):
            raise ChannelUnavailable(str(error), request_id=error.request_id)
        error.retryable = answer.status == 429 or error.says(*_RETRYABLE)
        raise error

    def _signed(self, call: mapping.Call, url: str) -> httpx.Request:
        headers = {"Accept": "application/json"}
        if call.body:
            headers["Content-Type"] = "application/json"
        if self._public_key_id is not None:
            headers["Wechatpay-Serial"] = self._public_key_id
        request = prepare(self._http, call.method, url, headers, call.body)
        request.headers["Authorization"] = signing.authorization(
            self._private_key,
            self._credentials.mchid,
            self._credentials.merchant_serial,
            call.method,
            request.url.raw_path,
            call.body,
            timestamp=self._timestamp(),
            nonce=self._nonce(),
        )
        return request

    def _timestamp(self) -> str:
        return str(self._clock.now_us() // 1_000_000)

    def _read(self, answer: Answer, how: Callable[[bytes], T]) -> T:
        try:
            return how(answer.body)
        except Unreadable as error:
            raise self._unavailable(answer, str(error)) from None

    def _unavailable(self, answer: Answer, detail: str, call: mapping.Call | None = None) -> ChannelUnavailable:
        said = {} if call is None else {"method": call.method, "path": _path(call)}
        _log.warning("answer not usable", status=answer.status, reason=detail, request_id=_request_id(answer), **said)
        return ChannelUnavailable(detail, request_id=_request_id(answer))


def _path(call: mapping.Call) -> str:
    return call.target.partition("?")[0]


def _request_id(answer: Answer) -> str:
    return answer.headers.get("request-id", "")[:128]


def _sha1(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def _unpacked(packed: bytes) -> bytes | None:
    """The file in a gzip, or the file itself if it is none; None for a broken gzip or one of more than 256 MiB."""
    if not packed.startswith(b"\x1f\x8b"):
        return packed
    unpacker = zlib.decompressobj(wbits=31)
    try:
        content = unpacker.decompress(packed, LARGEST_BILL_BYTES)
    except zlib.error:
        return None
    return content if unpacker.eof and not unpacker.unused_data else None
