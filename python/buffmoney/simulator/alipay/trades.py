"""The methods of trades: precreate, query, close, refund, refund query, and what opens a cashier page."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import sqlite3
from dataclasses import dataclass
from typing import Any

from buffmoney.simulator.alipay.errors import AlipayError, business
from buffmoney.simulator.alipay.notices import trade_status
from buffmoney.simulator.channel_time import DAY_US, SECOND_US, beijing, parse_beijing
from buffmoney.simulator.fen import parse_yuan, yuan
from buffmoney.simulator.merchants import Merchant
from buffmoney.simulator.orders import lives_until
from buffmoney.simulator.records import Order, Product, Refund
from buffmoney.simulator.world import World

PRODUCT_CODES: dict[Product, str] = {"page": "FAST_INSTANT_TRADE_PAY", "wap": "QUICK_WAP_PAY"}
QR_BASE = "https://qr.alipay.com/"
QR_LIVES_S = 7_200
MOST_FEN = 10_000_000_000
LONGEST_EXPIRY_US = 15 * DAY_US
SHORTEST_EXPIRY_US = 60 * SECOND_US
BUYER_LOGON = "sim***@example.com"

_ORDER_NO = re.compile(r"[A-Za-z0-9_]{1,64}", re.ASCII)
_SPAN = re.compile(r"([1-9][0-9]{0,4})([mhd])", re.ASCII)
_SPAN_S = {"m": 60, "h": 3_600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated request. fields: the public parameters; business: biz_content."""

    world: World
    merchant: Merchant
    fields: dict[str, str]
    business: dict[str, Any]
    base_url: str

    def text(self, name: str, longest: int) -> str | None:
        """A field of biz_content, None without one. Raises AlipayError for what is no text or too long."""
        found = self.business.get(name)
        if found is None or found == "":
            return None
        if not isinstance(found, str) or len(found) > longest:
            raise business("INVALID_PARAMETER", f"参数有误：{name}")
        return found

    def required(self, name: str, longest: int) -> str:
        """A field of biz_content that must be there."""
        found = self.text(name, longest)
        if found is None:
            raise business("INVALID_PARAMETER", f"参数有误：缺少{name}")
        return found

    def fen(self, name: str) -> int:
        """An amount in yuan from 0.01 to 100000000.00, in fen."""
        found = parse_yuan(self.business.get(name))
        if found is None or not 1 <= found <= MOST_FEN:
            raise business("INVALID_PARAMETER", f"参数有误：{name}")
        return found

    def trade(self) -> Order:
        """The trade that out_trade_no or trade_no names. Raises AlipayError unless it exists."""
        order_no, trade_no = self.text("out_trade_no", 64), self.text("trade_no", 64)
        orders, collector = self.world.orders, self.merchant.collector_id
        # The channel's number goes before the merchant's, as it says itself.
        if trade_no is not None:
            order = orders.find_transaction("alipay", collector, trade_no)
        elif order_no is not None:
            order = orders.find("alipay", collector, order_no)
        else:
            raise business("INVALID_PARAMETER", "参数有误：out_trade_no和trade_no不能同时为空")
        if order is None or order.exists_at_us is None:
            raise business("TRADE_NOT_EXIST", "交易不存在")
        return order


def open_order(call: Call, product: Product) -> tuple[Order, str]:
    """The order of a request for payment and the token of its code. The trade does not exist by that. Raises AlipayError."""
    order_no = call.required("out_trade_no", 64)
    if _ORDER_NO.fullmatch(order_no) is None:
        raise business("INVALID_PARAMETER", "参数有误：out_trade_no")
    amount_fen = call.fen("total_amount")
    subject = call.required("subject", 256)
    if any(character in subject for character in "/=&"):
        raise business("INVALID_PARAMETER", "参数有误：subject")
    code = call.text("product_code", 64)
    if product in PRODUCT_CODES and code != PRODUCT_CODES[product]:
        raise business("INVALID_PARAMETER", "参数有误：product_code")
    now = call.world.clock.now_us()
    expires = _expiry(call, now)
    fingerprint = hashlib.sha256(json.dumps([product, amount_fen, subject]).encode()).hexdigest()
    orders = call.world.orders
    order = orders.find("alipay", call.merchant.collector_id, order_no)
    if order is None:
        try:
            order = orders.create(
                channel="alipay",
                collector_id=call.merchant.collector_id,
                app_id=call.merchant.app_id,
                order_no=order_no,
                product=product,
                amount_fen=amount_fen,
                description=subject,
                attach=call.text("passback_params", 512),
                notify_url=call.fields.get("notify_url"),
                return_url=call.fields.get("return_url"),
                fingerprint=fingerprint,
                expires_at_us=expires,
            )
        except sqlite3.IntegrityError:
            raise business("SYSTEM_ERROR", "系统繁忙") from None
    elif order.paid:
        raise business("TRADE_HAS_SUCCESS", "交易已被支付")
    elif order.state == "closed":
        raise business("TRADE_HAS_CLOSE", "交易已经关闭")
    elif order.fingerprint != fingerprint:
        # Not in the facts; the channel's own word for one number with two contents.
        raise business("CONTEXT_INCONSISTENT", "交易信息被篡改")
    elif order.exists_at_us is None and order.expires_at_us <= now:
        # Nobody ever saw it, so there is no trade that could have timed out.
        orders.set_expiry(order, expires)
        order = orders.read(order.order_id)
    return order, _token(call, order, now)


def _expiry(call: Call, now: int) -> int:
    text = call.text("time_expire", 32)
    if text is None:
        span = call.text("timeout_express", 8)
        return now + (LONGEST_EXPIRY_US if span is None else min(_span_s(span, "timeout_express") * SECOND_US, LONGEST_EXPIRY_US))
    wanted = parse_beijing(text)
    # Whole seconds on the wire: one second of grace at either end.
    if wanted is None or not now + SHORTEST_EXPIRY_US - SECOND_US <= wanted <= now + LONGEST_EXPIRY_US + SECOND_US:
        raise business("INVALID_PARAMETER", "参数有误：time_expire")
    return wanted


def _span_s(text: str, name: str) -> int:
    match = _SPAN.fullmatch(text)
    if match is None:
        raise business("INVALID_PARAMETER", f"参数有误：{name}")
    return int(match[1]) * _SPAN_S[match[2]]


def _token(call: Call, order: Order, now: int) -> str:
    orders = call.world.orders
    token = orders.code_of(order)
    if token is not None and call.world.store.value("SELECT expires_at_us FROM codes WHERE token = ?", token) > now:
        return token
    span = call.text("qr_code_timeout_express", 8) if order.product == "precreate" else None
    if order.product == "precreate":
        lives_s = QR_LIVES_S if span is None else _span_s(span, "qr_code_timeout_express")
    else:
        lives_s = LONGEST_EXPIRY_US // SECOND_US
    token = ("bax" if order.product == "precreate" else "pay") + secrets.token_hex(12)
    orders.new_code(order, token, lives_until(order, now, lives_s))
    return token


def precreate(call: Call) -> dict[str, Any]:
    """alipay.trade.precreate."""
    order, token = open_order(call, "precreate")
    return {"out_trade_no": order.order_no, "qr_code": QR_BASE + token}


def query(call: Call) -> dict[str, Any]:
    """alipay.trade.query."""
    order = call.trade()
    alteration = order.alteration if order.alteration.get("everywhere") else {}
    total = yuan(alteration.get("amountFen", order.amount_fen))
    content = {
        "trade_no": order.transaction_id,
        "out_trade_no": order.order_no,
        "buyer_logon_id": BUYER_LOGON,
        "trade_status": trade_status(order),
        "total_amount": total,
        "receipt_amount": total if order.paid else "0.00",
        "buyer_pay_amount": total if order.paid else "0.00",
        "point_amount": "0.00",
        "invoice_amount": total if order.paid else "0.00",
    }
    if order.paid_at_us is not None:
        content |= {"send_pay_date": beijing(order.paid_at_us), "buyer_user_id": order.payer or ""}
    return content


def close(call: Call) -> dict[str, Any]:
    """alipay.trade.close."""
    order = call.trade()
    if order.paid:
        raise business("TRADE_STATUS_ERROR", "交易状态不合法")
    if order.state == "closed":
        raise business("TRADE_HAS_CLOSE", "交易已经关闭")
    call.world.orders.close(order)
    return {"out_trade_no": order.order_no, "trade_no": order.transaction_id}


def refund(call: Call) -> dict[str, Any]:
    """alipay.trade.refund. The same request number again answers as before, with fund_change N."""
    order = call.trade()
    amount = call.business.get("refund_amount")
    fen = parse_yuan(amount)
    if fen is None:
        raise business("INVALID_PARAMETER", "参数有误：refund_amount")
    if fen == 0:
        raise business("REFUND_FEE_ERROR", "退款金额有误")
    reason = call.text("refund_reason", 256)
    request_no = call.text("out_request_no", 64)
    refunds = call.world.refunds
    found = None if request_no is None else refunds.find(order, request_no)
    if found is not None:
        if found.amount_fen != fen:
            raise business("DISCORDANT_REPEAT_REQUEST", "请求信息不一致")
        return _refunded(call, order, found, moved=False)
    _check_refundable(call, order, fen)
    if request_no is None:
        if fen != order.amount_fen:
            raise business("INVALID_PARAMETER", "部分退款必须传out_request_no")
        request_no = order.order_no
        if (found := refunds.find(order, request_no)) is not None:
            return _refunded(call, order, found, moved=False)
    made = refunds.accept(order, call.merchant, request_no, fen, reason, None, at_once=True)
    return _refunded(call, order, made, moved=made.status == "SUCCESS")


def _check_refundable(call: Call, order: Order, fen: int) -> None:
    if order.state == "finished":
        raise business("TRADE_HAS_FINISHED", "交易已完结")
    if not order.paid:
        raise business("TRADE_STATUS_ERROR", "交易状态不合法")
    if order.refund_refusal is not None:
        raise business(order.refund_refusal, "退款被拒绝")
    if order.refunded_fen + fen > order.amount_fen:
        raise business("REFUND_AMT_NOT_EQUAL_TOTAL", "退款金额超限")
    left = call.merchant.refundable_fen
    if left is not None and fen > left:
        raise business("SELLER_BALANCE_NOT_ENOUGH", "卖家余额不足")


def _refunded(call: Call, order: Order, made: Refund, *, moved: bool) -> dict[str, Any]:
    content = {
        "trade_no": order.transaction_id,
        "out_trade_no": order.order_no,
        "buyer_logon_id": BUYER_LOGON,
        "buyer_user_id": order.payer or "",
        "fund_change": "Y" if moved else "N",
        # Over all refunds of the trade, this one included.
        "refund_fee": yuan(call.world.orders.read(order.order_id).refunded_fen),
    }
    if made.status == "SUCCESS" and made.finished_at_us is not None:
        content["gmt_refund_pay"] = beijing(made.finished_at_us)
    return content


def query_refund(call: Call) -> dict[str, Any]:
    """alipay.trade.fastpay.refund.query. A refund that is not there, or not through, is shown by a missing refund_status."""
    order = call.trade()
    found = call.world.refunds.find(order, call.required("out_request_no", 64))
    if found is None:
        return {}
    content = {
        "trade_no": order.transaction_id,
        "out_trade_no": order.order_no,
        "out_request_no": found.refund_no,
        "total_amount": yuan(order.amount_fen),
        "refund_amount": yuan(found.amount_fen),
    }
    if found.status == "SUCCESS" and found.finished_at_us is not None:
        content |= {"refund_status": "REFUND_SUCCESS", "gmt_refund_pay": beijing(found.finished_at_us)}
    return content


def unknown_method(_call: Call) -> dict[str, Any]:
    """Any other method."""
    raise AlipayError("40006", "isv.insufficient-isv-permissions", "ISV权限不足")
