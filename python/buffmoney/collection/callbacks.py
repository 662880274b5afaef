"""What the channels send on their own. Verified first, parsed after; answered in the channel's form, once everything is on disk.

An account is found by its id in the address, before a tenant is known, and its own keys decide whether the bytes are the channel's. So a
sandbox's callback at a live account is signed with a wrong key, like everybody else's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec
from prometheus_client import Counter

from buffmoney.base import telemetry
from buffmoney.base.errors import Problem
from buffmoney.base.http import Answer, Call, Route, Tenant
from buffmoney.collection import accounts, alerts, orders, receiving, refund_steps
from buffmoney.collection.accounts import Opened
from buffmoney.collection.alerts import Alert
from buffmoney.collection.channels import Channel, NoticeRefused, PaymentNotice, RefundNotice

LOG_EVERY_S = 10.0
CALLBACKS = Counter("buffmoney_payment_callbacks", "Callbacks of payment channels, by what came of them.", ["channel", "outcome"])

_log = telemetry.logger("callbacks")
_logged_at = float("-inf")


class Acknowledged(msgspec.Struct):
    """In the form that the channel expects."""


async def wechat_callback(call: Call) -> Answer:
    """A callback of WeChat Pay."""
    return await _callback(call, "wechat")


async def alipay_callback(call: Call) -> Answer:
    """A callback of Alipay."""
    return await _callback(call, "alipay")


async def _callback(call: Call, channel: Channel) -> Answer:
    desk, channel_account_id = call.services, call.path["channelAccountId"]
    tenant = await accounts.of_callback(desk, channel_account_id, channel)
    if tenant is None:
        raise Problem("not_found", "There is nothing at this path.")
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in call.headers.items()}
    settled = None
    async with desk.database.tenant(tenant.tenant_id) as connection:
        opened = await accounts.opened(desk, connection, tenant, channel_account_id)
        try:
            notice = opened.channel.read_notice(headers, call.raw_body)
        except NoticeRefused as refusal:
            return _refused(opened, refusal)
        if isinstance(notice, PaymentNotice):
            state = notice.payment
            settled = await orders.settle(connection, desk.settings, desk.clock, tenant.tenant_id, opened.account, state, "callback")
            if state.status == "closed":
                await receiving.close_here(desk, connection, tenant, opened.account, state)
    if settled is not None:
        # After the commit. The credits do not keep the channel waiting.
        receiving.follow_soon(desk, tenant, settled)
        return _answer(opened, settled.verdict, settled.taken)
    assert isinstance(notice, RefundNotice)
    return await _refund(call, tenant, opened, notice)


async def _refund(call: Call, tenant: Tenant, opened: Opened, notice: RefundNotice) -> Answer:
    desk = call.services
    async with desk.database.tenant(tenant.tenant_id) as connection:
        refund_id = await refund_steps.find(connection, tenant.tenant_id, notice.refund.refund_no)
        if refund_id is None:
            alert = Alert(
                kind="refunded_elsewhere",
                channel=opened.account.channel,
                order_no=notice.order_no,
                subject=notice.refund.refund_no,
                amount=notice.refund.amount,
                detail=f"The channel tells of a refund that was not made here: {notice.refund.raw_state}.",
            )
            await alerts.record(connection, desk.clock, tenant.tenant_id, alert)
    if refund_id is not None:
        await refund_steps.apply(desk, tenant, refund_id, notice.refund)
    return _answer(opened, "refund", True)


def _answer(opened: Opened, outcome: str, ok: bool, message: str = "") -> Answer:
    CALLBACKS.labels(opened.account.channel, outcome).inc()
    status, content_type, body = opened.channel.notice_answer(ok, message or ("" if ok else outcome))
    return Answer(body, status, content_type=content_type)


def _refused(opened: Opened, refusal: NoticeRefused) -> Answer:
    # A flood of them fills no log.
    global _logged_at
    now = asyncio.get_running_loop().time()
    if now - _logged_at >= LOG_EVERY_S:
        _logged_at = now
        _log.warning("callback_refused", account=opened.account.channel_account_id, reason=refusal.reason)
    return _answer(opened, refusal.reason, False)


def _wechat_problem(problem: Problem, _headers: Mapping[bytes, bytes], _request_id: str) -> Answer:
    return Answer(msgspec.json.encode({"code": "FAIL", "message": problem.title}), problem.status)


def _alipay_problem(problem: Problem, _headers: Mapping[bytes, bytes], _request_id: str) -> Answer:
    return Answer(b"failure", problem.status, content_type="text/plain")


ROUTES: tuple[Route, ...] = (
    Route(
        method="POST",
        path="/callbacks/wechat/{channelAccountId}",
        handler=wechat_callback,
        summary="A callback of WeChat Pay",
        tag="Callbacks",
        answer=Acknowledged,
        public=True,
        raw=True,
        takes="*",
        documented=False,
        refusal=_wechat_problem,
    ),
    Route(
        method="POST",
        path="/callbacks/alipay/{channelAccountId}",
        handler=alipay_callback,
        summary="A callback of Alipay",
        tag="Callbacks",
        answer=Acknowledged,
        public=True,
        raw=True,
        takes="*",
        documented=False,
        refusal=_alipay_problem,
    ),
)
