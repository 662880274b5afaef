"""Creating, querying and closing orders, direct and for a service provider."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import secrets
import sqlite3
from typing import Any
from urllib.parse import urlencode

from buffmoney.simulator.channel_time import DAY_US, SECOND_US, parse_rfc3339
from buffmoney.simulator.merchants import SubMerchant, digits
from buffmoney.simulator.orders import lives_until
from buffmoney.simulator.records import Order, Product
from buffmoney.simulator.wechat import answers
from buffmoney.simulator.wechat.call import Call, Reply, belongs
from buffmoney.simulator.wechat.errors import WechatError, parameter
from buffmoney.simulator.wechat.fields import Fields

CODE_LIVES_S: dict[Product, int] = {"native": 7_200, "jsapi": 7_200, "h5": 300}
DEFAULT_EXPIRY_US = 7 * DAY_US
SHORTEST_EXPIRY_US = 60 * SECOND_US
LONGEST_EXPIRY_US = 90 * DAY_US
H5_PATH = "/cgi-bin/mmpayweb-bin/checkmweb"


def create(call: Call, product: Product, *, partner: bool) -> Reply:
    """POST …/transactions/{native,jsapi,h5}. Again with the same content it gives a fresh code and kills the old one."""
    body = Fields.parse(call.body)
    sub = call.check_parties(body.content, partner=partner)
    sub_app_id = _check_apps(call, body, sub)
    order_no = body.order_no()
    description = body.text("description", 127)
    attach = body.text_or_none("attach", 128)
    notify_url = body.notify_url(required=True)
    amount = body.inner("amount")
    amount_fen = amount.fen("total")
    amount.currency(required=False)
    openid = _payer(body, sub, sub_app_id) if product == "jsapi" else None
    if product == "h5":
        _check_scene(body)
    expires = _expiry(call, body)
    fingerprint = _fingerprint(body.content, product)
    orders = call.world.orders
    order = orders.find("wechat", call.merchant.collector_id, order_no)
    if order is None:
        try:
            order = orders.create(
                channel="wechat",
                collector_id=call.merchant.collector_id,
                app_id=call.merchant.app_id,
                sub_mchid=None if sub is None else sub.sub_mchid,
                sub_app_id=sub_app_id,
                order_no=order_no,
                product=product,
                amount_fen=amount_fen,
                description=description,
                attach=attach,
                notify_url=notify_url,
                openid=openid,
                fingerprint=fingerprint,
                expires_at_us=expires,
            )
        except sqlite3.IntegrityError:
            raise WechatError(403, "OUT_TRADE_NO_USED", "商户订单号重复") from None
    elif order.fingerprint != fingerprint:
        raise WechatError(403, "OUT_TRADE_NO_USED", "商户订单号重复")
    if order.paid:
        raise WechatError(400, "ORDER_PAID", "该订单已支付")
    if order.state == "closed":
        raise WechatError(400, "ORDER_CLOSED", "该订单已关闭")
    return Reply(200, _new_code(call, order))


def _check_apps(call: Call, body: Fields, sub: SubMerchant | None) -> str | None:
    app_id = body.text("appid" if sub is None else "sp_appid", 32)
    sub_app_id = None if sub is None else body.text_or_none("sub_appid", 32)
    if app_id != call.merchant.app_id or (sub is not None and sub_app_id not in (None, sub.sub_app_id)):
        raise WechatError(400, "APPID_MCHID_NOT_MATCH", "appid和mchid不匹配，请检查后再试")
    return sub_app_id


def _payer(body: Fields, sub: SubMerchant | None, sub_app_id: str | None) -> str:
    payer = body.inner("payer")
    if sub is None:
        return payer.text("openid", 128)
    if "sub_openid" in payer.content:
        if sub_app_id is None:
            raise parameter("sub_openid需要同时传sub_appid")
        return payer.text("sub_openid", 128)
    return payer.text("sp_openid", 128)


def _check_scene(body: Fields) -> None:
    scene = body.inner("scene_info")
    address = scene.text("payer_client_ip", 45)
    try:
        loopback = ipaddress.ip_address(address).is_loopback
    except ValueError:
        raise parameter("输入源“/body/scene_info/payer_client_ip”不是合法的IP地址") from None
    if loopback:
        raise parameter("payer_client_ip不能是127.0.0.1")
    if scene.inner("h5_info").text("type", 32) not in ("iOS", "Android", "Wap"):
        raise parameter("输入源“/body/scene_info/h5_info/type”只支持iOS, Android, Wap")


def _expiry(call: Call, body: Fields) -> int:
    now = call.world.clock.now_us()
    if "time_expire" not in body.content:
        return now + DEFAULT_EXPIRY_US
    wanted = parse_rfc3339(body.content["time_expire"])
    if wanted is None:
        raise parameter("输入源“/body/time_expire”格式错误，应为yyyy-MM-DDTHH:mm:ss+08:00")
    return min(max(wanted, now + SHORTEST_EXPIRY_US), now + LONGEST_EXPIRY_US)


def _fingerprint(content: dict[str, Any], product: Product) -> str:
    # The end of an order can be set only once; a repetition may name another one, which counts for nothing.
    kept = {name: value for name, value in content.items() if name != "time_expire"}
    return hashlib.sha256(f"{product}\0{json.dumps(kept, sort_keys=True)}".encode()).hexdigest()


def _new_code(call: Call, order: Order) -> dict[str, Any]:
    lives = lives_until(order, call.world.clock.now_us(), CODE_LIVES_S[order.product])
    token = secrets.token_urlsafe(9).replace("-", "a").replace("_", "b") if order.product == "native" else f"wx{secrets.token_hex(17)}"
    call.world.orders.new_code(order, token, lives)
    return links(order, token, call.base_url)


def links(order: Order, token: str, base_url: str) -> dict[str, str]:
    """How the payer goes on: code_url, prepay_id or h5_url."""
    if order.product == "native":
        return {"code_url": f"weixin://wxpay/bizpayurl?pr={token}"}
    if order.product == "jsapi":
        return {"prepay_id": token}
    return {"h5_url": f"{base_url}{H5_PATH}?{urlencode({'prepay_id': token, 'package': digits(10)})}"}


def query(call: Call, *, partner: bool, by_number: bool) -> Reply:
    """GET …/out-trade-no/{out_trade_no} or …/id/{transaction_id}."""
    order = _found(call, call.query, partner=partner, by_number=by_number)
    state = answers.trade_state(order, bool(call.world.refunds.of_order(order)))
    alteration = order.alteration if order.alteration.get("everywhere") else {}
    return Reply(200, answers.transaction(order, state=state, alteration=alteration))


def _found(call: Call, given: dict[str, Any], *, partner: bool, by_number: bool) -> Order:
    sub = call.check_parties(given, partner=partner)
    orders, collector = call.world.orders, call.merchant.collector_id
    number = call.path["number"]
    order = orders.find("wechat", collector, number) if by_number else orders.find_transaction("wechat", collector, number)
    if order is None or not belongs(order, sub):
        raise WechatError(404, "ORDER_NOT_EXIST", "订单不存在")
    return order


def close(call: Call, *, partner: bool) -> Reply:
    """POST …/out-trade-no/{out_trade_no}/close."""
    order = _found(call, Fields.parse(call.body).content, partner=partner, by_number=True)
    if order.paid:
        raise WechatError(400, "ORDER_PAID", "订单已支付，请走已支付流程")
    if order.state == "closed":
        raise WechatError(400, "ORDER_CLOSED", "订单已关闭，无法重复关闭")
    call.world.orders.close(order)
    return Reply(204, None)
