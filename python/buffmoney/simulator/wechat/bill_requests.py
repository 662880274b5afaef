"""Asking for a bill: the answer names a file that can be fetched for a few minutes, and the hash of what is in it."""

from __future__ import annotations

import gzip
import hashlib
import secrets
from datetime import date, timedelta

from buffmoney.simulator.channel_time import SECOND_US, day_bounds, day_of, parse_day
from buffmoney.simulator.wechat import bills
from buffmoney.simulator.wechat.call import Call, Reply
from buffmoney.simulator.wechat.errors import WechatError, parameter

READY_AT_S = 10 * 3_600
"""after the end of the bill's day"""
KEPT_DAYS = 92
FILE_LIVES_S = 300
FILE_PATH = "/bills/wechat/file"
_KINDS: dict[str, bills.BillType] = {"ALL": "ALL", "SUCCESS": "SUCCESS", "REFUND": "REFUND"}


def trade_bill(call: Call) -> Reply:
    """GET /v3/bill/tradebill."""
    day = _day(call)
    kind = _KINDS.get(call.query.get("bill_type", "ALL"))
    if kind is None:
        raise parameter("输入源“/query/bill_type”只支持ALL, SUCCESS, REFUND")
    sub_mchid = call.query.get("sub_mchid")
    if sub_mchid is not None:
        call.sub_merchant(sub_mchid)
    sign: bills.FeeSign = "positive" if call.world.store.setting("positive_refund_fees", False) else "negative"
    return _answer(call, bills.trade_bill(call.world.store, call.merchant, day, kind, sign, sub_mchid))


def fund_bill(call: Call) -> Reply:
    """GET /v3/bill/fundflowbill. Nothing ever moves on the accounts OPERATION and FEES."""
    return _funds(call, None)


def sub_merchant_fund_bill(call: Call) -> Reply:
    """GET /v3/bill/sub-merchant-fundflowbill: the same file for one sub-merchant. The facts say no more of it than its address."""
    return _funds(call, call.sub_merchant(call.query.get("sub_mchid")).sub_mchid)


def _funds(call: Call, sub_mchid: str | None) -> Reply:
    day = _day(call)
    account = call.query.get("account_type", "BASIC")
    if account not in ("BASIC", "OPERATION", "FEES"):
        raise parameter("输入源“/query/account_type”只支持BASIC, OPERATION, FEES")
    content = bills.fund_bill(call.world.store, call.merchant, day, sub_mchid) if account == "BASIC" else None
    return _answer(call, content)


def _day(call: Call) -> date:
    day = parse_day(call.query_text("bill_date"))
    now = call.world.clock.now_us()
    today = day_of(now)
    if day is None or day >= today or day < today - timedelta(days=KEPT_DAYS):
        raise parameter("输入源“/query/bill_date”必须是三个月内、今天之前的日期")
    if now < day_bounds(day)[1] + READY_AT_S * SECOND_US:
        raise WechatError(400, "STATEMENT_CREATING", "账单生成中，请30分钟后再试")
    if call.query.get("tar_type", "GZIP") != "GZIP":
        raise parameter("输入源“/query/tar_type”只支持GZIP")
    return day


def _answer(call: Call, content: bytes | None) -> Reply:
    if content is None:
        raise WechatError(400, "NO_STATEMENT_EXIST", "账单文件不存在")
    token = secrets.token_hex(32)
    packed = gzip.compress(content, mtime=0) if "tar_type" in call.query else content
    store, now = call.world.store, call.world.clock.now_us()
    with store.transaction():
        store.execute("DELETE FROM bill_files WHERE expires_at_us <= ?", now)
        store.insert(
            "bill_files",
            token=token,
            channel="wechat",
            collector_id=call.merchant.collector_id,
            name="bill.gz" if "tar_type" in call.query else "bill.csv",
            content=packed,
            expires_at_us=now + FILE_LIVES_S * SECOND_US,
        )
    return Reply(
        200,
        {
            "hash_type": "SHA1",
            # Of the file as it is before it is packed.
            "hash_value": hashlib.sha1(content, usedforsecurity=False).hexdigest(),
            "download_url": f"{call.base_url}{FILE_PATH}?token={token}",
        },
    )


def file(call: Call) -> bytes:
    """The file behind a token, for the merchant that asked for it."""
    content: bytes | None = call.world.store.value(
        "SELECT content FROM bill_files WHERE token = ? AND channel = 'wechat' AND collector_id = ? AND expires_at_us > ?",
        call.query_text("token"),
        call.merchant.collector_id,
        call.world.clock.now_us(),
    )
    if content is None:
        raise WechatError(404, "RESOURCE_NOT_EXISTS", "账单下载地址已失效")
    return content
