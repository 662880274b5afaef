"""What the channel says about orders and refunds, in answers and in callbacks alike."""

from __future__ import annotations

from typing import Any

from buffmoney.simulator.channel_time import rfc3339
from buffmoney.simulator.records import CURRENCY, Order, Refund

TRADE_TYPES = {"native": "NATIVE", "jsapi": "JSAPI", "h5": "MWEB"}
_DESCRIPTIONS = {"NOTPAY": "订单未支付", "SUCCESS": "支付成功", "REFUND": "转入退款", "CLOSED": "订单已关闭"}


def trade_state(order: Order, has_refunds: bool) -> str:
    """NOTPAY (beyond its end too: that closes nothing), SUCCESS, REFUND once any refund was taken, CLOSED."""
    if order.paid:
        return "REFUND" if has_refunds else "SUCCESS"
    return "CLOSED" if order.state == "closed" else "NOTPAY"


def parties(order: Order, alteration: dict[str, Any]) -> dict[str, Any]:
    """Whose order it is, under the names of its mode."""
    app_id, mchid = alteration.get("appId", order.app_id), alteration.get("collectorId", order.collector_id)
    if order.sub_mchid is None:
        return {"appid": app_id, "mchid": mchid}
    ours = {"sp_appid": app_id, "sp_mchid": mchid, "sub_mchid": order.sub_mchid}
    return {**ours, "sub_appid": order.sub_app_id} if order.sub_app_id else ours


def transaction(order: Order, *, state: str, alteration: dict[str, Any]) -> dict[str, Any]:
    """An order as queries and payment callbacks show it."""
    total = alteration.get("amountFen", order.amount_fen)
    currency = alteration.get("currency", CURRENCY)
    content: dict[str, Any] = {
        **parties(order, alteration),
        "out_trade_no": order.order_no,
        "trade_state": state,
        "trade_state_desc": _DESCRIPTIONS[state],
        "amount": {"total": total, "payer_total": total, "currency": currency, "payer_currency": currency},
    }
    if order.attach:
        content["attach"] = order.attach
    if order.paid_at_us is not None:
        name = "openid" if order.sub_mchid is None else "sub_openid" if order.sub_app_id else "sp_openid"
        content |= {
            "transaction_id": order.transaction_id,
            "trade_type": TRADE_TYPES[order.product],
            "bank_type": "OTHERS",
            "success_time": rfc3339(order.paid_at_us),
            "payer": {name: order.payer},
        }
    return content


def refund(order: Order, found: Refund) -> dict[str, Any]:
    """A refund as its request and its query show it."""
    content: dict[str, Any] = {
        "refund_id": found.refund_id,
        "out_refund_no": found.refund_no,
        "transaction_id": order.transaction_id,
        "out_trade_no": order.order_no,
        "channel": "ORIGINAL",
        "user_received_account": "支付用户零钱",
        "create_time": rfc3339(found.accepted_at_us),
        "status": found.status,
        "funds_account": "UNSETTLED",
        "amount": {
            "total": order.amount_fen,
            "refund": found.amount_fen,
            "payer_total": order.amount_fen,
            "payer_refund": found.amount_fen,
            "settlement_total": order.amount_fen,
            "settlement_refund": found.amount_fen,
            "discount_refund": 0,
            "currency": CURRENCY,
        },
    }
    if found.status == "SUCCESS" and found.finished_at_us is not None:
        content["success_time"] = rfc3339(found.finished_at_us)
    return content
