"""Alipay's callbacks: form posts, signed over every field but `sign` and `sign_type`."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from buffmoney.simulator.alipay.signing import signed_without_type
from buffmoney.simulator.channel_time import beijing
from buffmoney.simulator.fen import yuan
from buffmoney.simulator.keys import PlatformKey, Signing
from buffmoney.simulator.records import Order, Refund

RETRIES_S = (240, 600, 600, 3_600, 7_200, 21_600, 54_000)
"""waits after each attempt that was not taken: 7 repetitions"""


def trade_status(order: Order) -> str:
    """WAIT_BUYER_PAY, TRADE_SUCCESS, TRADE_FINISHED, or TRADE_CLOSED: given up, timed out, or wholly refunded."""
    if order.paid:
        if order.refunded_fen == order.amount_fen:
            return "TRADE_CLOSED"
        return "TRADE_FINISHED" if order.state == "finished" else "TRADE_SUCCESS"
    return "TRADE_CLOSED" if order.state == "closed" else "WAIT_BUYER_PAY"


def content(order: Order, kind: str, refund: Refund | None) -> dict[str, str]:
    """The fields of a callback, but for those that each attempt adds."""
    alteration = order.alteration
    total = yuan(alteration.get("amountFen", order.amount_fen))
    fields = {
        "notify_type": "trade_status_sync",
        "app_id": alteration.get("appId", order.app_id),
        "auth_app_id": alteration.get("appId", order.app_id),
        "seller_id": alteration.get("collectorId", order.collector_id),
        "charset": "utf-8",
        "version": "1.0",
        "out_trade_no": order.order_no,
        "trade_no": order.transaction_id,
        "trade_status": trade_status(order),
        "subject": order.description,
        "total_amount": total,
        "gmt_create": beijing(order.exists_at_us if order.exists_at_us is not None else order.created_at_us),
    }
    if order.attach:
        fields["passback_params"] = order.attach
    if "currency" in alteration:
        fields["trans_currency"] = alteration["currency"]
    if order.paid_at_us is not None:
        fields |= {
            "buyer_id": order.payer or "",
            "receipt_amount": total,
            "buyer_pay_amount": total,
            "invoice_amount": total,
            "point_amount": "0.00",
            "fund_bill_list": json.dumps([{"amount": total, "fundChannel": "ALIPAYACCOUNT"}], separators=(",", ":")),
            "gmt_payment": beijing(order.paid_at_us),
        }
    if refund is not None and refund.finished_at_us is not None:
        # Cumulative over all refunds of the trade.
        fields |= {
            "refund_fee": yuan(order.refunded_fen),
            "gmt_refund": beijing(refund.finished_at_us) + ".000",
            "out_biz_no": refund.refund_no,
        }
        if order.refunded_fen == order.amount_fen:
            fields["gmt_close"] = beijing(refund.finished_at_us)
    elif kind == "closed" and order.closed_at_us is not None:
        fields["gmt_close"] = beijing(order.closed_at_us)
    return fields


def request(notice_id: str, kept: dict[str, Any], key: PlatformKey, now_us: int, signing: Signing) -> tuple[dict[str, str], bytes]:
    """One attempt as (headers, body)."""
    fields = {**kept, "notify_id": notice_id, "notify_time": beijing(now_us)}
    if signing != "unsigned":
        signature = signed_without_type(fields, key)
        if signing == "forged":
            signature = signed_without_type({**fields, "total_amount": "0.00"}, key)
        fields |= {"sign": signature, "sign_type": "RSA2"}
    return {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}, urlencode(fields).encode()


def taken(status: int, body: bytes) -> bool:
    """Whether a merchant's answer ends the repetitions: these seven letters and nothing else."""
    return status == 200 and body == b"success"
