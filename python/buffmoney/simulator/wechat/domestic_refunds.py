"""Refunds and their queries. What the facts leave open is said at its place."""

from __future__ import annotations

from buffmoney.simulator.channel_time import SECOND_US
from buffmoney.simulator.orders import REFUND_WINDOW_US
from buffmoney.simulator.records import Order, Refund
from buffmoney.simulator.refunds import MOST_PARTS
from buffmoney.simulator.wechat import answers
from buffmoney.simulator.wechat.call import Call, Reply, belongs
from buffmoney.simulator.wechat.errors import WechatError, parameter
from buffmoney.simulator.wechat.fields import REFUND_NO, Fields


def create(call: Call) -> Reply:
    """POST /v3/refund/domestic/refunds. The same number again answers with the refund as it is now."""
    body = Fields.parse(call.body)
    order = _order(call, body)
    refund_no = body.text("out_refund_no", 64)
    if REFUND_NO.fullmatch(refund_no) is None:
        raise parameter("输入源“/body/out_refund_no”格式错误")
    reason = body.text_or_none("reason", 80)
    notify_url = body.notify_url(required=False)
    amount = body.inner("amount")
    refund_fen, total_fen = amount.fen("refund"), amount.fen("total")
    amount.currency(required=True)
    if total_fen != order.amount_fen:
        raise WechatError(400, "INVALID_REQUEST", "订单金额与原订单不一致")
    refunds = call.world.refunds
    found = refunds.find_number("wechat", call.merchant.collector_id, refund_no)
    if found is not None:
        if found.order_id != order.order_id or found.amount_fen != refund_fen:
            raise WechatError(400, "INVALID_REQUEST", "请求重入时，参数与首次请求时不一致")
        return Reply(200, answers.refund(order, found))
    _check(call, order, refund_fen)
    made = refunds.accept(order, call.merchant, refund_no, refund_fen, reason, notify_url, at_once=False)
    return Reply(200, answers.refund(order, made))


def _order(call: Call, body: Fields) -> Order:
    sub = call.sub_merchant(body.content.get("sub_mchid")) if call.merchant.mode == "service_provider" else None
    if sub is None and "sub_mchid" in body.content:
        raise WechatError(403, "NO_AUTH", "直连商户不能传sub_mchid")
    collector = call.merchant.collector_id
    number, transaction_id = body.text_or_none("out_trade_no", 32), body.text_or_none("transaction_id", 32)
    if number is not None:
        order = call.world.orders.find("wechat", collector, number)
    elif transaction_id is not None:
        order = call.world.orders.find_transaction("wechat", collector, transaction_id)
    else:
        raise parameter("transaction_id和out_trade_no必须二选一")
    if order is None or not belongs(order, sub) or (transaction_id is not None and order.transaction_id != transaction_id):
        raise WechatError(404, "ORDER_NOT_EXIST", "订单不存在")
    return order


def _check(call: Call, order: Order, refund_fen: int) -> None:
    """What a new refund must meet. Which code each of these gets is not in the facts; the meanings are."""
    world, now = call.world, call.world.clock.now_us()
    if order.paid_at_us is None:
        raise WechatError(403, "TRADE_ERROR", "订单状态不支持退款")
    if order.refund_refusal is not None:
        raise WechatError(403, order.refund_refusal, "退款被拒绝")
    if now >= order.paid_at_us + REFUND_WINDOW_US["wechat"]:
        raise WechatError(403, "RULE_LIMIT", "订单已超过可退款的最大期限")
    if order.refunded_fen + refund_fen > order.amount_fen:
        raise WechatError(400, "INVALID_REQUEST", "申请退款金额大于订单剩余可退金额")
    before = world.refunds.of_order(order)
    if len(before) >= MOST_PARTS:
        raise WechatError(403, "RULE_LIMIT", "退款次数超过限制")
    if before and now < before[-1].accepted_at_us + world.refunds.behaviour.gap_s * SECOND_US:
        raise WechatError(429, "FREQUENCY_LIMITED", "同一订单的退款间隔须大于1分钟")
    left = call.merchant.refundable_fen
    if left is not None and refund_fen > left:
        raise WechatError(403, "NOT_ENOUGH", "基本账户余额不足，请充值后重新发起")


def query(call: Call) -> Reply:
    """GET /v3/refund/domestic/refunds/{out_refund_no}."""
    sub = call.sub_merchant(call.query.get("sub_mchid")) if call.merchant.mode == "service_provider" else None
    found: Refund | None = call.world.refunds.find_number("wechat", call.merchant.collector_id, call.path["number"])
    order = None if found is None else call.world.orders.read(found.order_id)
    if found is None or order is None or not belongs(order, sub):
        raise WechatError(404, "RESOURCE_NOT_EXISTS", "退款单不存在")
    return Reply(200, answers.refund(order, found))
