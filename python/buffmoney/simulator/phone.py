"""The phone: what a code leads to, and paying, failing or waiting on it, by hand on a page or by a program in JSON."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from buffmoney.simulator import keys, pages, serving
from buffmoney.simulator.alipay import gateway
from buffmoney.simulator.alipay.errors import AlipayError
from buffmoney.simulator.alipay.signing import signed_without_type
from buffmoney.simulator.alipay.trades import QR_BASE
from buffmoney.simulator.channel_time import beijing
from buffmoney.simulator.fen import yuan
from buffmoney.simulator.merchants import digits
from buffmoney.simulator.orders import PayRefused
from buffmoney.simulator.records import Order
from buffmoney.simulator.wechat.signing import SKEW_S, jsapi_message
from buffmoney.simulator.wechat.transactions import H5_PATH, links
from buffmoney.simulator.world import World

OUTCOMES = ("pay", "fail", "wait")
SHOWN = 50
_NOTES = {"fail": ("付款失败：余额不足", "The payment failed. You may try again."), "wait": ("尚未付款", "Nothing is paid yet.")}
_RETURN_METHODS = {"page": "alipay.trade.page.pay.return", "wap": "alipay.trade.wap.pay.return"}


@dataclass(frozen=True, slots=True)
class Scanned:
    """What a code says. back: where an H5 page sends the payer afterwards."""

    token: str
    back: str | None = None


def scan(world: World, code: str, base_url: str) -> Scanned:
    """Reads a code_url, a qr_code, an h5_url, a prepay_id, a cashier's address, or a signed address of the gateway. Raises PayRefused."""
    if code.startswith("prepay_id="):
        return Scanned(code.removeprefix("prepay_id="))
    try:
        parts = urlsplit(code)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
    except ValueError:
        raise PayRefused("unknown_code") from None
    if parts.scheme == "weixin":
        return Scanned(query.get("pr", ""))
    if code.startswith(QR_BASE):
        return Scanned(code.removeprefix(QR_BASE))
    if parts.path == H5_PATH:
        return Scanned(query.get("prepay_id", ""), query.get("redirect_url") or None)
    if parts.path == gateway.CASHIER_PATH:
        return Scanned(query.get("token", ""))
    if parts.path == gateway.PATH:
        try:
            return Scanned(gateway.open_page(world, query, base_url))
        except AlipayError as error:
            raise PayRefused(_gateway_reason(error)) from error
    raise PayRefused("unknown_code")


def _gateway_reason(error: AlipayError) -> str:
    return {"ACQ.TRADE_HAS_SUCCESS": "already_paid", "ACQ.TRADE_HAS_CLOSE": "closed", "isv.invalid-signature": "invalid_signature"}.get(
        error.sub_code, "bad_request"
    )


def _merchant_name(world: World, order: Order) -> str:
    if order.sub_mchid is not None and (sub := world.merchants.find_sub(order.sub_mchid)) is not None:
        return sub.name
    merchant = world.merchants.find(order.channel, order.collector_id)
    return merchant.name if merchant is not None else order.collector_id


def way_back(world: World, order: Order, redirect_url: str | None) -> str | None:
    """Where a payer goes after paying: WeChat's redirect_url as it is, Alipay's return_url with a signed result."""
    if order.channel == "wechat":
        parts = urlsplit(redirect_url or "")
        return redirect_url if parts.scheme in ("http", "https") and parts.netloc else None
    if order.return_url is None or order.product not in _RETURN_METHODS:
        return None
    now = world.clock.now_us()
    fields = {
        "charset": "utf-8",
        "out_trade_no": order.order_no,
        "method": _RETURN_METHODS[order.product],
        "total_amount": yuan(order.amount_fen),
        "trade_no": order.transaction_id,
        "auth_app_id": order.app_id,
        "version": "1.0",
        "app_id": order.app_id,
        "sign_type": "RSA2",
        "seller_id": order.collector_id,
        "timestamp": beijing(now),
    }
    fields["sign"] = signed_without_type(fields, world.keyring.pick("alipay", now))
    return order.return_url + ("&" if "?" in order.return_url else "?") + urlencode(fields)


def act(world: World, scanned: Scanned, outcome: str) -> Order:
    """What the payer does with an order. Raises PayRefused."""
    if outcome == "pay":
        order = world.orders.look_up(scanned.token)
        payer = "oSim" + secrets.token_urlsafe(18) if order.channel == "wechat" else "2088" + digits(12)
        paid = world.orders.pay(scanned.token, payer)
        world.wake.set()
        return paid
    order = world.orders.touch(scanned.token)
    world.wake.set()
    return order


def routes(world: World) -> list[Route]:
    """The phone's pages, and the pages of the channels that a browser is sent to."""

    async def home(_request: Request) -> Response:
        return RedirectResponse("/phone", 302)

    async def show(request: Request) -> Response:
        code = request.query_params.get("code")
        if not code:
            base = serving.base_url(request)
            waiting = [(order, _merchant_name(world, order), code_text(order, token, base)) for order, token in world.orders.waiting(SHOWN)]
            return pages.answer(pages.index(waiting))
        return _show(request, code)

    async def browser(request: Request) -> Response:
        return _show(request, str(request.url))

    def _show(request: Request, code: str) -> Response:
        world.keep_up()
        try:
            scanned = scan(world, code, serving.base_url(request))
            order = world.orders.payable(scanned.token)
            if order.product == "precreate":
                # To scan is what makes Alipay's trade exist; a cashier waits for the payer to log in.
                order = world.orders.touch(scanned.token)
                world.wake.set()
        except PayRefused as refused:
            return pages.answer(pages.refused(refused.reason), 404 if refused.reason == "unknown_code" else 409)
        return pages.answer(pages.payment(order, _merchant_name(world, order), code))

    async def pay(request: Request) -> Response:
        is_json = request.headers.get("content-type", "").startswith("application/json")
        fields = _fields(await serving.body(request), is_json=is_json)
        code, outcome = fields.get("code"), fields.get("outcome", "pay")
        if not isinstance(code, str) or outcome not in OUTCOMES:
            return _bad(is_json)
        world.keep_up()
        try:
            scanned = scan(world, code, serving.base_url(request))
            order = act(world, scanned, outcome)
        except PayRefused as refused:
            status = 404 if refused.reason == "unknown_code" else 409
            if is_json:
                return JSONResponse({"status": "refused", "reason": refused.reason}, status)
            return pages.answer(pages.refused(refused.reason), status)
        back = way_back(world, order, scanned.back) if order.paid else None
        if is_json:
            return JSONResponse(_result(order, outcome, back))
        name = _merchant_name(world, order)
        if not order.paid:
            return pages.answer(pages.payment(order, name, code, note=_NOTES[outcome]))
        return pages.answer(pages.paid(order, name, None)) if back is None else RedirectResponse(back, 303)

    async def jsapi(request: Request) -> Response:
        fields = _fields(await serving.body(request), is_json=True)
        return JSONResponse({"err_msg": f"get_brand_wcpay_request:{_invoke(world, fields)}"}, headers={"access-control-allow-origin": "*"})

    return [
        Route("/", home, methods=["GET"]),
        Route("/phone", show, methods=["GET"]),
        Route("/phone/pay", pay, methods=["POST"]),
        Route("/phone/jsapi", jsapi, methods=["POST"]),
        Route(gateway.CASHIER_PATH, browser, methods=["GET"]),
        Route(H5_PATH, browser, methods=["GET"]),
    ]


def code_text(order: Order, token: str, base_url: str) -> str:
    """What is scanned or opened to pay an order."""
    if order.channel == "alipay":
        return QR_BASE + token if order.product == "precreate" else f"{base_url}{gateway.CASHIER_PATH}?token={token}"
    found = links(order, token, base_url)
    return f"prepay_id={token}" if order.product == "jsapi" else found.get("code_url") or found["h5_url"]


def _invoke(world: World, fields: dict[str, Any]) -> str:
    """What WeixinJSBridge does with the parameters of a page: `ok`, `cancel` or `fail`. Only what the merchant signed is paid."""
    texts = {name: fields.get(name) for name in ("appId", "timeStamp", "nonceStr", "package", "signType", "paySign")}
    if not all(isinstance(text, str) and text for text in texts.values()) or texts["signType"] != "RSA":
        return "fail"
    app_id, timestamp, nonce, package, _, signature = (str(text) for text in texts.values())
    try:
        order = world.orders.payable(package.removeprefix("prepay_id="))
    except PayRefused:
        return "fail"
    merchant = world.merchants.find(order.channel, order.collector_id)
    fresh = timestamp.isdigit() and abs(world.clock.signing_s() - int(timestamp)) <= SKEW_S
    genuine = merchant is not None and keys.verify(merchant.public_key, jsapi_message(app_id, timestamp, nonce, package), signature)
    if not fresh or not genuine or app_id not in (order.app_id, order.sub_app_id) or not package.startswith("prepay_id="):
        return "fail"
    outcome = fields.get("outcome", "pay")
    if outcome not in OUTCOMES:
        return "fail"
    act(world, Scanned(package.removeprefix("prepay_id=")), outcome)
    return {"pay": "ok", "fail": "fail", "wait": "cancel"}[outcome]


def _fields(content: bytes, *, is_json: bool) -> dict[str, Any]:
    if not is_json:
        return dict(parse_qsl(content.decode("utf-8", "replace"), keep_blank_values=True))
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _bad(is_json: bool) -> Response:
    if is_json:
        return JSONResponse({"status": "refused", "reason": "bad_request"}, 422)
    return pages.answer(pages.refused("bad_request"), 422)


def _result(order: Order, outcome: str, back: str | None) -> dict[str, Any]:
    content: dict[str, Any] = {
        "status": "paid" if order.paid else "failed" if outcome == "fail" else "waiting",
        "channel": order.channel,
        "orderNo": order.order_no,
        "amount": yuan(order.amount_fen),
    }
    if order.paid:
        content["transactionId"] = order.transaction_id
    return {**content, "redirectUrl": back} if back is not None else content
