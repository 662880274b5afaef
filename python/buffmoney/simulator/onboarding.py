"""Onboarding without paper: whoever brings a public key becomes a merchant."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from buffmoney.simulator.control_body import Body, ControlError
from buffmoney.simulator.world import World


async def onboard_wechat(world: World, _request: Request, body: Body) -> dict[str, Any]:
    """A new merchant or service provider; with `mchid`, one more sub-merchant of a service provider."""
    mode, mchid = body.choice("mode", ("direct", "service_provider"), "direct"), body.text("mchid")
    name, pem = body.text("name") or "Sandbox merchant", body.raw("merchantPublicKey")
    body.end()
    if mchid is None:
        try:
            merchant = world.merchants.onboard("wechat", pem, mode, name)
        except ValueError as failure:
            raise ControlError(str(failure)) from failure
    else:
        found = world.merchants.find("wechat", mchid)
        if found is None or found.mode != "service_provider" or mode != "service_provider":
            raise ControlError("There is no such service provider.", 404)
        merchant = found
    sub = world.merchants.add_sub_merchant(merchant.collector_id, name) if mode == "service_provider" else None
    key = world.keyring.active("wechat", world.clock.now_us())[0]
    return {
        "mchid": merchant.collector_id,
        "subMchid": None if sub is None else sub.sub_mchid,
        "subAppId": None if sub is None else sub.sub_app_id,
        "appId": merchant.app_id,
        "merchantSerial": merchant.serial,
        "apiV3Key": merchant.api_v3_key,
        "platformKeyId": key.key_id,
        "platformPublicKey": key.public_pem,
    }


async def onboard_alipay(world: World, _request: Request, body: Body) -> dict[str, Any]:
    """A new seller with one application."""
    name, pem = body.text("name") or "Sandbox merchant", body.raw("appPublicKey")
    body.end()
    try:
        merchant = world.merchants.onboard("alipay", pem, "direct", name)
    except ValueError as failure:
        raise ControlError(str(failure)) from failure
    key = world.keyring.active("alipay", world.clock.now_us())[0]
    return {"appId": merchant.app_id, "sellerId": merchant.collector_id, "alipayPublicKey": key.public_pem}
