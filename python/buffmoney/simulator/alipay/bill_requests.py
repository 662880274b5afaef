"""Asking for a bill: the answer names a ZIP that can be fetched for 30 seconds by whoever has its address."""

from __future__ import annotations

import secrets
from typing import Any

from buffmoney.simulator.alipay import bills
from buffmoney.simulator.alipay.errors import AlipayError, business
from buffmoney.simulator.alipay.trades import Call
from buffmoney.simulator.channel_time import SECOND_US, day_bounds, parse_day
from buffmoney.simulator.world import World

READY_AT_S = 9 * 3_600
"""after the end of the bill's day"""
FILE_LIVES_S = 30
FILE_PATH = "/bills/alipay/file.zip"


def download_url(call: Call) -> dict[str, Any]:
    """alipay.data.dataservice.bill.downloadurl.query. A day without movement and one whose bill is not made yet get the same error."""
    kind, day = call.required("bill_type", 32), parse_day(call.required("bill_date", 10))
    if kind not in ("trade", "signcustomer") or day is None:
        raise business("INVALID_PARAMETER", "参数有误：bill_type或bill_date")
    world, now = call.world, call.world.clock.now_us()
    content = None
    if now >= day_bounds(day)[1] + READY_AT_S * SECOND_US:
        make = bills.trade_bill if kind == "trade" else bills.fund_bill
        content = make(world.store, call.merchant, day, now)
    if content is None:
        raise AlipayError("40004", "isp.bill_not_exist", "账单不存在")
    token = secrets.token_hex(24)
    with world.store.transaction():
        world.store.execute("DELETE FROM bill_files WHERE expires_at_us <= ?", now)
        world.store.insert(
            "bill_files",
            token=token,
            channel="alipay",
            collector_id=call.merchant.collector_id,
            name=f"{call.merchant.collector_id}0156_{day:%Y%m%d}.csv.zip",
            content=content,
            expires_at_us=now + FILE_LIVES_S * SECOND_US,
        )
    return {"bill_download_url": f"{call.base_url}{FILE_PATH}?fileId={token}", "bill_file_code": "SUCCESS"}


def file(world: World, token: str) -> bytes | None:
    """The ZIP behind a token, None once its time is over."""
    content: bytes | None = world.store.value(
        "SELECT content FROM bill_files WHERE token = ? AND channel = 'alipay' AND expires_at_us > ?", token, world.clock.now_us()
    )
    return content
