"""What no channel has: levers to make the stand-ins misbehave, and a look behind them. JSON in camelCase."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from buffmoney.simulator import control_views, onboarding, serving
from buffmoney.simulator.announcing import MODES, Behaviour
from buffmoney.simulator.channel_time import rfc3339
from buffmoney.simulator.control_body import Body, ControlError
from buffmoney.simulator.faults import KINDS
from buffmoney.simulator.fen import yuan
from buffmoney.simulator.keys import OVERLAP_S, Channel, new_private_key
from buffmoney.simulator.records import Order, Refund
from buffmoney.simulator.refunds import OUTCOMES, RefundBehaviour
from buffmoney.simulator.world import World

LONGEST_S = 10 * 366 * 86_400.0

Handler = Callable[[World, Request, Body], Awaitable[dict[str, Any]]]


async def set_callbacks(world: World, _request: Request, body: Body) -> dict[str, Any]:
    """How callbacks go from now on. What is left out is as at the beginning."""
    behaviour = Behaviour(
        body.choice("mode", MODES, "normal"),
        int(body.number("times", 2, 1, 1_000)),
        None if body.raw("delaySeconds") is None else body.number("delaySeconds", 0, 0, LONGEST_S),
        body.number("speed", 1.0, 0.001, 1_000_000),
    )
    body.end()
    world.announcer.behave(behaviour)
    return control_views.behaviour(behaviour)


async def list_callbacks(world: World, request: Request, _body: Body) -> dict[str, Any]:
    """Every callback, the newest first, with every request that was made for it. `?orderNo=` for one order's."""
    found = control_views.callbacks(world, request.query_params.get("orderNo"))
    return {"behaviour": control_views.behaviour(world.announcer.behaviour), "callbacks": found}


async def add_fault(world: World, _request: Request, body: Body) -> dict[str, Any]:
    """The next `times` requests to a path fail."""
    path, status = body.text("path"), body.raw("status")
    kind = str(status) if type(status) is int and 400 <= status <= 599 else status
    if not path or not path.startswith("/") or not isinstance(kind, str) or (not kind.isdigit() and kind not in KINDS):
        raise ControlError(f"Give a path that begins with a slash, and a status: 400 to 599, {', '.join(KINDS)}.")
    fault = {
        "times": int(body.number("times", 1, 1, 1_000_000)),
        "method": body.text("alipayMethod"),
        "code": body.text("code"),
        "message": body.text("message"),
        "after": body.choice("when", ("before", "after"), "before") == "after",
        "seconds": body.number("seconds", 30, 0, 3_600),
    }
    body.end()
    world.faults.add(path, kind, **fault)
    return {"faults": [control_views.fault(one) for one in world.faults.listed()]}


async def list_faults(world: World, _request: Request, _body: Body) -> dict[str, Any]:
    """The failures that are still to come."""
    return {"faults": [control_views.fault(one) for one in world.faults.listed()]}


async def clear_faults(world: World, _request: Request, _body: Body) -> dict[str, Any]:
    """No more failures."""
    world.faults.clear()
    return {"faults": []}


async def rotate(world: World, _request: Request, body: Body) -> dict[str, Any]:
    """A new key of a channel, in use at once and beside the old one for `overlapSeconds`."""
    channel: Channel = body.choice("channel", ("wechat", "alipay"))
    kind = body.choice("kind", ("public_key", "certificate"), "public_key")
    overlap_s = body.number("overlapSeconds", OVERLAP_S, 0, LONGEST_S)
    body.end()
    private = await asyncio.to_thread(new_private_key)
    made = world.keyring.add(channel, kind, private, world.clock.now_us(), overlap_s)
    return control_views.key(made)


async def list_keys(world: World, _request: Request, _body: Body) -> dict[str, Any]:
    """The keys in use, the newest first."""
    now = world.clock.now_us()
    channels: tuple[Channel, ...] = ("wechat", "alipay")
    return {channel: [control_views.key(key) for key in world.keyring.active(channel, now)] for channel in channels}


async def move_clock(world: World, _request: Request, body: Body) -> dict[str, Any]:
    """Moves the time of orders, callbacks and bills forward, and that of signatures either way."""
    seconds = body.number("advanceSeconds", 0, 0, LONGEST_S)
    signing_seconds = body.number("advanceSignatureSeconds", 0, -LONGEST_S, LONGEST_S)
    body.end()
    world.clock.advance(seconds, signing_seconds)
    world.keep_up()
    return {"now": rfc3339(world.clock.now_us()), "signatureTime": world.clock.signing_s()}


async def read_clock(world: World, _request: Request, _body: Body) -> dict[str, Any]:
    """The simulated time."""
    return {"now": rfc3339(world.clock.now_us()), "signatureTime": world.clock.signing_s()}


def _order(world: World, request: Request) -> Order:
    collector = request.query_params.get("collectorId")
    found = [one for one in world.orders.with_number(request.path_params["number"]) if collector in (None, one.collector_id)]
    if not found:
        raise ControlError("There is no such order.", 404)
    if len(found) > 1:
        raise ControlError("Several collectors have an order of this number: add ?collectorId=.", 409)
    return found[0]


async def show_order(world: World, request: Request, _body: Body) -> dict[str, Any]:
    """The truth about an order."""
    world.keep_up()
    return control_views.order(world, _order(world, request), serving.base_url(request))


async def alter_order(world: World, request: Request, body: Body) -> dict[str, Any]:
    """What an order's callbacks are to say in place of the truth; a paid one is announced again at once. An empty body undoes it."""
    order = _order(world, request)
    altered: dict[str, Any] = {}
    if (fen := body.fen("amount")) is not None:
        altered["amountFen"] = fen
    for name in ("currency", "collectorId", "appId"):
        if (text := body.text(name)) is not None:
            altered[name] = text
    if body.raw("everywhere", False) is True:
        altered["everywhere"] = True
    refusal = body.text("refuseRefunds")
    body.end()
    order = world.orders.alter(order, json.dumps(altered), refusal)
    if order.paid and altered:
        world.orders.announce_again(order)
    return control_views.order(world, order, serving.base_url(request))


async def announce_order(world: World, request: Request, body: Body) -> dict[str, Any]:
    """A new callback of a paid order."""
    body.end()
    order = _order(world, request)
    if not order.paid:
        raise ControlError("The order is not paid.", 409)
    world.orders.announce_again(order)
    return control_views.order(world, order, serving.base_url(request))


async def set_refunds(world: World, _request: Request, body: Body) -> dict[str, Any]:
    """What becomes of new refunds. What is left out is as at the beginning."""
    behaviour = RefundBehaviour(
        body.choice("outcome", OUTCOMES, "SUCCESS"),
        body.number("delaySeconds", 1, 0, LONGEST_S),
        body.number("gapSeconds", 60, 0, LONGEST_S),
    )
    body.end()
    world.refunds.behave(behaviour)
    return {"outcome": behaviour.outcome, "delaySeconds": behaviour.delay_s, "gapSeconds": behaviour.gap_s}


async def settle_refund(world: World, request: Request, body: Body) -> dict[str, Any]:
    """Ends a refund that waits or is ABNORMAL."""
    outcome = body.choice("outcome", ("SUCCESS", "CLOSED", "ABNORMAL"), "SUCCESS")
    body.end()
    rows = world.store.all("SELECT * FROM refunds WHERE refund_no = ?", request.path_params["number"])
    if len(rows) != 1:
        raise ControlError("There is not one such refund.", 404 if not rows else 409)
    refund = Refund(*rows[0])
    if refund.status not in ("PROCESSING", "ABNORMAL"):
        raise ControlError(f"The refund is {refund.status}.", 409)
    return control_views.refund(world.refunds.settle(refund, outcome))


async def set_merchant(world: World, request: Request, body: Body) -> dict[str, Any]:
    """What a collector has left for refunds, null for enough."""
    fen = body.fen("refundable")
    body.end()
    collector = request.path_params["number"]
    channels: tuple[Channel, ...] = ("wechat", "alipay")
    if not any(world.merchants.limit_refunds(channel, collector, fen) for channel in channels):
        raise ControlError("There is no such collector.", 404)
    return {"collectorId": collector, "refundable": None if fen is None else yuan(fen)}


async def set_bills(world: World, _request: Request, body: Body) -> dict[str, Any]:
    """The sign of fees that come back with refunds in WeChat's bills; it differs by source."""
    sign = body.choice("refundFeeSign", ("negative", "positive"), "negative")
    body.end()
    with world.store.transaction():
        world.store.set_setting("positive_refund_fees", sign == "positive")
    return {"refundFeeSign": sign}


_TABLE: tuple[tuple[str, str, Handler, int], ...] = (
    ("POST", "/onboarding/wechat", onboarding.onboard_wechat, 201),
    ("POST", "/onboarding/alipay", onboarding.onboard_alipay, 201),
    ("POST", "/control/callbacks", set_callbacks, 200),
    ("GET", "/control/callbacks", list_callbacks, 200),
    ("POST", "/control/faults", add_fault, 200),
    ("GET", "/control/faults", list_faults, 200),
    ("DELETE", "/control/faults", clear_faults, 200),
    ("POST", "/control/rotate", rotate, 200),
    ("GET", "/control/keys", list_keys, 200),
    ("POST", "/control/clock", move_clock, 200),
    ("GET", "/control/clock", read_clock, 200),
    ("POST", "/control/orders/{number}", alter_order, 200),
    ("GET", "/control/orders/{number}", show_order, 200),
    ("POST", "/control/orders/{number}/announce", announce_order, 200),
    ("POST", "/control/refunds", set_refunds, 200),
    ("POST", "/control/refunds/{number}", settle_refund, 200),
    ("POST", "/control/merchants/{number}", set_merchant, 200),
    ("POST", "/control/bills", set_bills, 200),
)


def routes(world: World) -> list[Route]:
    """Everything under /onboarding and /control."""

    def endpoint(handler: Handler, status: int) -> serving.Endpoint:
        async def answer(request: Request) -> Response:
            try:
                content = b""
                if request.method != "GET":
                    content = await serving.body(request)
                    # A form of some web page must not get here: a browser asks before it sends this type elsewhere.
                    if content and request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
                        raise ControlError("The body must be application/json.", 415)
                done = await handler(world, request, Body(content))
            except ControlError as error:
                return JSONResponse({"error": error.message}, error.status)
            world.wake.set()
            return JSONResponse(done, status)

        return answer

    return [Route(path, endpoint(handler, status), methods=[method]) for method, path, handler, status in _TABLE]
