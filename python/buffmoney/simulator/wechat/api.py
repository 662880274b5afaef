"""The routes of API v3, and what is done with every request before and after its handler: signatures, errors, faults."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from functools import partial
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from buffmoney.simulator import keys, serving
from buffmoney.simulator.channel_time import rfc3339
from buffmoney.simulator.faults import Fault
from buffmoney.simulator.merchants import Merchant
from buffmoney.simulator.wechat import bill_requests, domestic_refunds, transactions
from buffmoney.simulator.wechat.call import Call, Reply
from buffmoney.simulator.wechat.errors import WechatError, parameter
from buffmoney.simulator.wechat.signing import Target, authorize, signed_headers
from buffmoney.simulator.world import World

Handler = Callable[[Call], Reply]


def certificates(call: Call) -> Reply:
    """GET /v3/certificates: those in use, each encrypted for the merchant. Who has only public keys to verify with gets none."""
    world = call.world
    now = world.clock.now_us()
    found = [key for key in world.keyring.active("wechat", now) if key.certificate_pem is not None]
    if not found:
        raise WechatError(404, "RESOURCE_NOT_EXISTS", "无可用的平台证书，请使用微信支付公钥")
    data = []
    for key in found:
        assert key.certificate_pem is not None
        assert call.merchant.api_v3_key is not None
        nonce, ciphertext = keys.encrypt(call.merchant.api_v3_key, key.certificate_pem.encode(), "certificate")
        data.append(
            {
                "serial_no": key.key_id,
                "effective_time": rfc3339(key.created_at_us),
                "expire_time": rfc3339(key.created_at_us + 5 * 365 * 86_400 * 1_000_000),
                "encrypt_certificate": {
                    "algorithm": "AEAD_AES_256_GCM",
                    "nonce": nonce,
                    "associated_data": "certificate",
                    "ciphertext": ciphertext,
                },
            }
        )
    return Reply(200, {"data": data})


def routes(world: World) -> list[Route]:
    """Everything under /v3, and the files of bills."""
    table: list[tuple[str, str, Handler]] = [
        ("POST", "/v3/refund/domestic/refunds", domestic_refunds.create),
        ("GET", "/v3/refund/domestic/refunds/{number}", domestic_refunds.query),
        ("GET", "/v3/bill/tradebill", bill_requests.trade_bill),
        ("GET", "/v3/bill/fundflowbill", bill_requests.fund_bill),
        ("GET", "/v3/bill/sub-merchant-fundflowbill", bill_requests.sub_merchant_fund_bill),
        ("GET", "/v3/certificates", certificates),
    ]
    for base, partner in (("/v3/pay/transactions", False), ("/v3/pay/partner/transactions", True)):
        table += [
            ("POST", f"{base}/native", partial(transactions.create, product="native", partner=partner)),
            ("POST", f"{base}/jsapi", partial(transactions.create, product="jsapi", partner=partner)),
            ("POST", f"{base}/h5", partial(transactions.create, product="h5", partner=partner)),
            ("GET", f"{base}/out-trade-no/{{number}}", partial(transactions.query, partner=partner, by_number=True)),
            ("GET", f"{base}/id/{{number}}", partial(transactions.query, partner=partner, by_number=False)),
            ("POST", f"{base}/out-trade-no/{{number}}/close", partial(transactions.close, partner=partner)),
        ]
    found = [Route(path, _endpoint(world, handler), methods=[method]) for method, path, handler in table]
    found.append(Route(bill_requests.FILE_PATH, _file_endpoint(world), methods=["GET"]))
    found.append(Route("/v3/{rest:path}", _endpoint(world, _nowhere), methods=["GET", "POST", "PUT", "DELETE", "PATCH"]))
    return found


def _nowhere(_call: Call) -> Reply:
    raise WechatError(404, "RESOURCE_NOT_EXISTS", "请求的接口不存在")


def _endpoint(world: World, handler: Handler) -> serving.Endpoint:
    async def answer(request: Request) -> Response:
        fault = world.faults.take(request.url.path, None)
        signed_by = request.headers.get("wechatpay-serial")
        if fault is not None and not fault.after:
            spoilt = await serving.spoil(fault)
            if spoilt is not None:
                return spoilt
            if fault.status is not None:
                return _respond(world, _failure(fault), signed_by, fault)
        world.keep_up()
        try:
            reply: Reply | WechatError = handler(_call(world, request, await serving.body(request)))
        except WechatError as error:
            reply = error
        world.wake.set()
        if fault is not None and fault.after:
            spoilt = await serving.spoil(fault)
            if spoilt is not None:
                return spoilt
            if fault.status is not None:
                reply = _failure(fault)
        return _respond(world, reply, signed_by, fault)

    return answer


def _file_endpoint(world: World) -> serving.Endpoint:
    async def answer(request: Request) -> Response:
        try:
            # The only answer that is not signed: its hash came with a signed one.
            return Response(bill_requests.file(_call(world, request, b"")), media_type="application/octet-stream")
        except WechatError as error:
            return _respond(world, error, request.headers.get("wechatpay-serial"), None)

    return answer


def _call(world: World, request: Request, body: bytes) -> Call:
    merchant = _authorized(world, request, body)
    query = dict(parse_qsl(request.url.query, keep_blank_values=True))
    path = {name: str(value) for name, value in request.path_params.items()}
    return Call(world, merchant, path, query, body, serving.base_url(request))


def _authorized(world: World, request: Request, body: bytes) -> Merchant:
    accepts = request.headers.get("accept", "")
    if not request.headers.get("user-agent") or not ("application/json" in accepts or "*/*" in accepts):
        raise parameter("Http头缺少Accept或User-Agent")
    if body and request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise parameter("Http头Content-Type必须是application/json")
    target = Target(request.method, serving.raw_target(request), body)
    return authorize(request.headers.get("authorization"), target, world.merchants, world.clock.signing_s())


def _failure(fault: Fault) -> WechatError:
    assert fault.status is not None
    return WechatError(fault.status, fault.code or "SYSTEM_ERROR", fault.message or "系统异常，请稍后重试")


def _respond(world: World, reply: Reply | WechatError, signed_by: str | None, fault: Fault | None) -> Response:
    if isinstance(reply, WechatError):
        content: dict[str, object] | None = {"code": reply.code, "message": reply.message}
    else:
        content = reply.content
    body = b"" if content is None else json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    key = world.keyring.pick("wechat", world.clock.now_us(), signed_by)
    forged = fault is not None and fault.kind == "sign_error"
    headers = {
        "Request-ID": secrets.token_hex(18).upper(),
        **signed_headers(key, world.clock.signing_s(), body, "forged" if forged else "genuine"),
    }
    return Response(body, reply.status, headers, media_type=None if content is None else "application/json")
