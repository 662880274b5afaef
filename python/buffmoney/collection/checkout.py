"""The hosted checkout over HTTP: `routes(checkout)`.

A page for a payer who has nothing but its address. No key, no cookie, no session: the token in the address is the whole permission.
So the address is never sent on (Referrer-Policy), kept by nobody (no-store), framed by nobody, and of a wrong one nothing can be learnt:
unknown, foreign and outdated tokens get the same page.

`GET /pay/{token}` shows the state. `POST /pay/{token}/start` begins a payment and leads back to it. `GET /pay/{token}/status` tells a
script whether the state is another. Scripts, styles and everything else come from here alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from urllib.parse import parse_qsl, quote, urlencode

import msgspec

from buffmoney.base import telemetry
from buffmoney.base.errors import Problem
from buffmoney.base.http import Answer, Call, Route
from buffmoney.collection import checkout_assets, checkout_page, return_url
from buffmoney.collection.checkout_page import Notice
from buffmoney.collection.checkout_view import CHANNEL_OF, Checkout, CheckoutView, PayProduct
from buffmoney.collection.visitor import Visitor, visitor

MAX_FORM_BYTES = 4_096
HTML = "text/html; charset=utf-8"
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
PAGE_HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "content-security-policy": POLICY,
        # The origin, never the address with its token. WeChat opens H5 payments only for pages that name their registered domain here.
        "referrer-policy": "strict-origin",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
        "x-robots-tag": "noindex, nofollow",
        "vary": "User-Agent, Accept-Language",
    }
)
"""of every page, failures too"""

_log = telemetry.logger("checkout")


class PageQuery(msgspec.Struct):
    """The page's own parameters. Others are let pass: channels and messengers add theirs on the way back.

    lang: `zh` or `en`. openid: the payer's, inside WeChat, from the merchant. go: set by the start of a payment. asked: the payer says
    that it is paid.
    """

    lang: str | None = None
    openid: str | None = None
    go: str | None = None
    asked: str | None = None


class CheckoutState(msgspec.Struct, rename="camel"):
    """What the page's script asks for again and again. state: another text means that the page shows something else now."""

    status: str
    state: str
    seconds_left: int


def routes(checkout: Checkout) -> tuple[Route, ...]:
    """The checkout's routes, for these top-ups."""

    async def show(call: Call) -> Answer:
        query: PageQuery = call.query
        token = call.path["token"]
        view = await checkout.view(call.services, token)
        if view is not None and (view.status == "paid" or checkout_page.is_expected(view)):
            # Whoever comes back from paying, and every browser without scripts, is to see the truth now.
            view = await _asked(call, checkout, token) or view
        notice: Notice | None = "nothing_yet" if query.asked == "1" else None
        return _page(call, view, _visitor(call, query.lang, query.openid), notice=notice, go=query.go == "1")

    async def start(call: Call) -> Answer:
        form = _form(call.raw_body)
        token = call.path["token"]
        who = _visitor(call, form.get("lang"), form.get("openid"))
        product = _product(form.get("product"), who)
        view = await checkout.view(call.services, token)
        if view is None:
            raise _missing()
        if checkout_page.status_of(view) != "open":
            # An old page: what has become of it is what the payer has to see now, above all if a payment has come.
            return _see_other(token, who)
        try:
            await checkout.start(call.services, token, CHANNEL_OF[product], product, call.client_ip() or None, who.openid)
        except Problem as problem:
            if problem.code == "not_found":
                raise _missing() from problem
            _log.warning("checkout_not_started", request_id=call.request_id, product=product, code=problem.code)
            view = await checkout.view(call.services, token)
            if view is not None and checkout_page.status_of(view) == "open":
                notice: Notice = "unavailable" if problem.retryable else "exhausted" if problem.code == "too_many_attempts" else "refused"
                return _page(call, view, who, status=problem.status, notice=notice)
            # Paid, or over, in the meantime: that is what the page then shows.
            return _see_other(token, who)
        return _see_other(token, who, go=True)

    async def status(call: Call) -> Answer:
        view = await checkout.poll(call.services, call.path["token"])
        if view is None:
            raise _missing()
        return Answer(
            CheckoutState(checkout_page.status_of(view), checkout_page.state_of(view), checkout_page.seconds_left(view)),
            headers={"x-content-type-options": "nosniff", "referrer-policy": "strict-origin"},
        )

    ours = partial(Route, tag="Checkout", answer=bytes, public=True, documented=False)
    return (
        ours(method="GET", path="/pay/{token}", handler=show, summary="The checkout", query=PageQuery, refusal=refusal),
        ours(
            method="POST",
            path="/pay/{token}/start",
            handler=start,
            summary="Begin a payment",
            raw=True,
            takes="application/x-www-form-urlencoded",
            refusal=refusal,
        ),
        ours(method="GET", path="/pay/{token}/status", handler=status, summary="Whether anything changed"),
        ours(method="GET", path="/pay/assets/{name}", handler=asset, summary="The checkout's style, script and icon", refusal=refusal),
        Route(
            method="GET",
            path="/v1/return-secret",
            handler=return_url.get_return_secret,
            summary="Read the return secret",
            tag="Top-ups",
            description=(
                "The key of `bm_signature`, which the checkout adds to a top-up's `returnUrl`: HMAC-SHA256 over `v1`, `bm_top_up_id`, "
                "`bm_status`, `bm_amount`, `bm_currency` and `bm_time`, joined by line feeds."
            ),
            answer=return_url.ReturnSecret,
        ),
    )


async def asset(call: Call) -> Answer:
    """A file that pages load."""
    found = checkout_assets.find(call.path["name"])
    if found is None:
        raise _missing()
    file, for_good = found
    return Answer(
        file.content,
        headers={
            "cache-control": "public, max-age=31536000, immutable" if for_good else "no-store",
            "x-content-type-options": "nosniff",
            "cross-origin-resource-policy": "same-origin",
        },
        content_type=file.content_type,
    )


def refusal(problem: Problem, headers: Mapping[bytes, bytes], request_id: str) -> Answer:
    """A failure as a page."""
    language = visitor("", headers.get(b"accept-language", b"").decode("latin-1")).language()
    content = checkout_page.render_failure(language, problem.status, request_id)
    return Answer(content, problem.status, PAGE_HEADERS, HTML)


async def _asked(call: Call, checkout: Checkout, token: str) -> CheckoutView | None:
    try:
        return await checkout.poll(call.services, token)
    except Problem as problem:
        # What was known before is still worth showing.
        _log.warning("checkout_not_polled", request_id=call.request_id, code=problem.code)
        return None


def _page(
    call: Call, view: CheckoutView | None, who: Visitor, *, status: int = 200, notice: Notice | None = None, go: bool = False
) -> Answer:
    if view is None:
        raise _missing()
    key = return_url.secret(call.services.settings, view.tenant_id)
    return Answer(checkout_page.render(view, who, key, notice=notice, go=go), status, PAGE_HEADERS, HTML)


def _visitor(call: Call, lang: str | None, openid: str | None) -> Visitor:
    return visitor(call.header(b"user-agent"), call.header(b"accept-language"), lang, openid)


def _form(body: bytes) -> dict[str, str]:
    if len(body) > MAX_FORM_BYTES:
        raise Problem("body_too_large", f"The form has at most {MAX_FORM_BYTES} bytes.")
    try:
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=16))
    except ValueError as failure:
        raise Problem("invalid_body", "The form is malformed.") from failure


def _product(name: str | None, who: Visitor) -> PayProduct:
    for product in CHANNEL_OF:
        # The form may be older than the device: a page begun on one may be sent from another. But without an openid there is no JSAPI.
        if product == name and (product != "jsapi" or who.openid is not None):
            return product
    raise Problem("invalid_parameter", "There is no such way to pay.", param="product")


def _see_other(token: str, who: Visitor, *, go: bool = False) -> Answer:
    """Leads to the page by GET, so that neither a reload nor the way back starts another payment."""
    query = urlencode([*who.kept(), *((("go", "1"),) if go else ())])
    location = f"/pay/{quote(token, safe='')}" + (f"?{query}" if query else "")
    return Answer(b"", 303, {**PAGE_HEADERS, "location": location}, HTML)


def _missing() -> Problem:
    return Problem("not_found", "There is nothing at this path.")
