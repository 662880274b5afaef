"""The gateway: one path, a method in the parameters, answers whose inner object is signed as it stands in the text."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from buffmoney.simulator import pages, serving
from buffmoney.simulator.alipay import bill_requests, trades
from buffmoney.simulator.alipay.errors import MESSAGES, AlipayError
from buffmoney.simulator.alipay.signing import request_is_genuine, signed_content
from buffmoney.simulator.alipay.trades import Call
from buffmoney.simulator.channel_time import parse_beijing
from buffmoney.simulator.faults import Fault
from buffmoney.simulator.records import Product
from buffmoney.simulator.world import World

PATH = "/gateway.do"
CASHIER_PATH = "/cashier"
BROWSER_METHODS: dict[str, Product] = {"alipay.trade.page.pay": "page", "alipay.trade.wap.pay": "wap"}
METHODS: dict[str, Callable[[Call], dict[str, Any]]] = {
    "alipay.trade.precreate": trades.precreate,
    "alipay.trade.query": trades.query,
    "alipay.trade.close": trades.close,
    "alipay.trade.refund": trades.refund,
    "alipay.trade.fastpay.refund.query": trades.query_refund,
    "alipay.data.dataservice.bill.downloadurl.query": bill_requests.download_url,
}
_REQUIRED = ("method", "app_id", "sign_type", "sign", "charset", "timestamp", "version")
_FIXED = {
    "sign_type": ("RSA2", "signature-type"),
    "charset": ("utf-8", "charset"),
    "format": ("json", "format"),
    "version": ("1.0", "version"),
}


def authenticate(world: World, fields: dict[str, str], base_url: str) -> Call:
    """Checks the public parameters and the signature. Raises AlipayError."""
    for name in _REQUIRED:
        if not fields.get(name):
            raise AlipayError("40001", f"isv.missing-{name.replace('_', '-').replace('sign', 'signature')}", f"缺少{name}参数")
    merchant = world.merchants.find_app(fields["app_id"])
    if merchant is None or merchant.channel != "alipay":
        raise AlipayError("40002", "isv.invalid-app-id", "无效的AppID参数")
    for name, (value, word) in _FIXED.items():
        if fields.get(name, value).lower() != value.lower():
            raise AlipayError("40002", f"isv.invalid-{word}", f"无效的{name}参数")
    if not request_is_genuine(merchant, fields):
        raise AlipayError("40002", "isv.invalid-signature", "验签出错，建议检查签名字符串或签名私钥与应用公钥是否匹配")
    # Only its form is checked: the facts name no limit to its age.
    if parse_beijing(fields["timestamp"]) is None:
        raise AlipayError("40002", "isv.invalid-timestamp", "非法的时间戳参数")
    if fields.get("app_auth_token"):
        raise AlipayError("20001", "aop.invalid-app-auth-token", "无效的应用授权令牌")
    try:
        content = json.loads(fields.get("biz_content") or "null")
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise AlipayError("40002", "isv.invalid-parameter", "biz_content不是合法的JSON对象")
    return Call(world, merchant, fields, content, base_url)


def open_page(world: World, fields: dict[str, str], base_url: str) -> str:
    """The token of the cashier that a signed page pay or wap pay request leads to. Raises AlipayError."""
    call = authenticate(world, fields, base_url)
    product = BROWSER_METHODS.get(fields["method"])
    if product is None:
        raise AlipayError("40002", "isv.invalid-method", "不存在的方法名")
    return trades.open_order(call, product)[1]


def routes(world: World) -> list[Route]:
    """The gateway and the files of bills."""

    async def gateway(request: Request) -> Response:
        fields = dict(parse_qsl(request.url.query, keep_blank_values=True))
        fields |= dict(parse_qsl((await serving.body(request)).decode("utf-8", "replace"), keep_blank_values=True))
        method = fields.get("method", "")
        fault = world.faults.take(PATH, method)
        if fault is not None and not fault.after and (spoilt := await _spoilt(world, method, fault)) is not None:
            return spoilt
        world.keep_up()
        answer = _browser(world, fields, request) if method in BROWSER_METHODS else _api(world, method, fields, request, fault)
        world.wake.set()
        if fault is not None and fault.after and (spoilt := await _spoilt(world, method, fault)) is not None:
            return spoilt
        return answer

    async def bill(request: Request) -> Response:
        content = bill_requests.file(world, request.query_params.get("fileId", ""))
        if content is None:
            return Response("the address is not valid any more", 404, media_type="text/plain")
        return Response(content, media_type="application/zip")

    return [Route(PATH, gateway, methods=["GET", "POST"]), Route(bill_requests.FILE_PATH, bill, methods=["GET"])]


async def _spoilt(world: World, method: str, fault: Fault) -> Response | None:
    spoilt = await serving.spoil(fault)
    if spoilt is None and fault.status is not None:
        if fault.code is None:
            return Response("Service Unavailable", fault.status, media_type="text/plain")
        code, _, sub_code = fault.code.partition("/")
        message = fault.message or "系统繁忙"
        content = {"code": code, "msg": MESSAGES.get(code, "Error"), "sub_code": sub_code, "sub_msg": message}
        return _signed(world, method, content, forged=False)
    return spoilt


def _browser(world: World, fields: dict[str, str], request: Request) -> Response:
    try:
        token = open_page(world, fields, serving.base_url(request))
    except AlipayError as error:
        return pages.answer(pages.refusal(error.sub_code, error.sub_msg), 400)
    return RedirectResponse(f"{CASHIER_PATH}?token={token}", 302)


def _api(world: World, method: str, fields: dict[str, str], request: Request, fault: Fault | None) -> Response:
    try:
        call = authenticate(world, fields, serving.base_url(request))
        content = {"code": "10000", "msg": MESSAGES["10000"], **METHODS.get(method, trades.unknown_method)(call)}
    except AlipayError as error:
        content = error.content
        if error.sub_code in ("isv.missing-method", "isv.missing-app-id", "isv.invalid-app-id"):
            # Nobody is known for whom it could be signed.
            return Response(json.dumps({"error_response": content}, ensure_ascii=False), media_type="text/html")
    return _signed(world, method, content, forged=fault is not None and fault.kind == "sign_error")


def _signed(world: World, method: str, content: dict[str, Any], *, forged: bool) -> Response:
    # With slashes escaped, as the gateway does: whoever serialises it again before verifying finds another text.
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).replace("/", "\\/")
    key = world.keyring.for_answer("alipay", world.clock.now_us())
    signature = signed_content(text + "forged" if forged else text, key)
    name = json.dumps(f"{method.replace('.', '_')}_response")
    return Response(f'{{{name}:{text},"sign":"{signature}"}}', media_type="text/html")
