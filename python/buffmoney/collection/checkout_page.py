"""The checkout's HTML: from what a top-up is to what its payer sees. Pure: nothing is asked and nothing changed here."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from functools import lru_cache
from typing import Literal
from urllib.parse import quote, urlencode

import jinja2
import msgspec
import segno
from blake3 import blake3
from markupsafe import Markup

from buffmoney.base.clock import to_us
from buffmoney.base.money import format_decimal
from buffmoney.collection import checkout_assets, return_url
from buffmoney.collection.checkout_view import CHANNEL_OF, CheckoutAttempt, CheckoutView, Locale, PayChannel, PayProduct
from buffmoney.collection.visitor import Visitor

Step = Literal["choose", "nowhere", "scan", "leave", "jsapi", "paid", "credited", "expired", "canceled", "returning", "returned", "review"]
Status = Literal["open", "paid", "credited", "expired", "canceled", "refunded", "review"]
Notice = Literal["lapsed", "unavailable", "refused", "nothing_yet", "exhausted"]
Pace = Literal["fast", "slow", ""]

REFRESH_S = 5
"""how often a browser without scripts asks again while a payment is expected"""

_SYMBOLS = {"CNY": "¥"}
_MINOR_DIGITS = {"JPY": 0}
# Characters that turn the direction of what follows, and control characters: a name must not rearrange the page.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_PATH_STEPS: dict[PayProduct, Step] = {
    "native": "scan",
    "precreate": "scan",
    "jsapi": "jsapi",
    "h5": "leave",
    "wap": "leave",
    "page": "leave",
}

TEXTS: dict[Locale, dict[str, str]] = {
    "zh": json.loads(checkout_assets.FOLDER.joinpath("zh.json").read_bytes()),
    "en": json.loads(checkout_assets.FOLDER.joinpath("en.json").read_bytes()),
}

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("buffmoney.collection", "pages"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
_TEMPLATES.globals["asset"] = checkout_assets.address
_TEMPLATES.globals["channel_of"] = CHANNEL_OF
# Compiled before the first payer comes.
_CHECKOUT = _TEMPLATES.get_template("checkout.html")
_FAILURE = _TEMPLATES.get_template("failure.html")


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """What the template fills in: texts in the visitor's language, amounts formatted, addresses whole. None: not shown."""

    step: Step
    state: str
    pace: Pace
    heading: str
    lead: str
    notice: str | None
    notes: list[str]
    merchant: str
    initial: str
    customer: str
    sandbox: bool
    amount: str
    amount_label: str
    bonus: str | None
    credits: str
    balance: str | None
    clock: bool
    seconds_left: int
    minutes_left: str
    offers: tuple[PayProduct, ...]
    others: tuple[tuple[PayProduct, str], ...]
    channel: PayChannel | None
    code: Markup | None
    code_label: str
    waiting: str
    redirect_url: str | None
    jsapi: str | None
    go: bool
    go_label: str
    over: bool
    back: str | None
    back_label: str
    address: str
    asked_address: str
    start_address: str
    status_address: str
    other_address: str
    kept: tuple[tuple[str, str], ...]
    refresh_s: int | None


def render(view: CheckoutView, visitor: Visitor, return_key: str, *, notice: Notice | None = None, go: bool = False) -> bytes:
    """The page. return_key: of `return_url.secret`. notice: what to say about a start that failed. go: the payer has just started."""
    text = TEXTS[visitor.language(view.locale)]
    page = _page(view, visitor, text, return_key, notice, go)
    return _CHECKOUT.render(page=page, text=text).encode()


def render_failure(language: Locale, status: int, request_id: str) -> bytes:
    """The page of a request that was refused or failed. A refusal's depends on the language alone, so that it tells nothing."""
    text = TEXTS[language]
    kind = "missing" if status < 500 and status not in (408, 429) else "trouble"
    reference = request_id if kind == "trouble" else None
    return _FAILURE.render(text=text, title=text[f"{kind}_title"], lead=text[f"{kind}_lead"], reference=reference).encode()


def shown_amount(amount: Decimal, currency: str) -> str:
    """An amount as people write it, exactly: all the decimals it has, at least those of the currency's minor unit."""
    number = format_decimal(amount)
    sign = "-" if number.startswith("-") else ""
    whole, _, decimals = number.removeprefix("-").partition(".")
    decimals = decimals.ljust(_MINOR_DIGITS.get(currency, 2), "0")
    return f"{sign}{_SYMBOLS.get(currency, currency + ' ')}{int(whole):,}{'.' if decimals else ''}{decimals}"


def state_of(view: CheckoutView) -> str:
    """A short text that changes whenever the page would. The script compares it."""
    attempts = [(attempt.product, attempt.status, _is_open(attempt, view)) for attempt in view.attempts]
    returns = [(str(one.amount), one.extra, one.done) for one in view.returns]
    facts = (status_of(view), str(view.balance), attempts, returns, view.under_review, view.channels)
    return blake3(msgspec.json.encode(facts)).hexdigest()[:16]


def status_of(view: CheckoutView) -> Status:
    """What has become of the top-up, for its payer.

    An open one whose time is up is expired before anybody has noted it. One whose whole payment goes back, or has gone, is refunded,
    also if its credits never came. A payment that people have to decide about is under review until its credits are there.
    """
    if view.status in ("paid", "credited") and _returned(view) >= view.amount:
        return "refunded"
    if view.under_review and view.status != "credited":
        return "review"
    return "expired" if view.status == "open" and view.expires_at <= view.now else view.status


def _returned(view: CheckoutView) -> Decimal:
    """How much of the payment that was credited goes back, or has gone."""
    return sum((one.amount for one in view.returns if not one.extra), Decimal(0))


def is_expected(view: CheckoutView) -> bool:
    """Whether a payment may arrive at any moment: there is an order that the payer can still pay."""
    return status_of(view) == "open" and any(_is_open(attempt, view) for attempt in view.attempts)


def seconds_left(view: CheckoutView) -> int:
    """Whole seconds until the page ends, at least 0."""
    return max(0, -(-(to_us(view.expires_at) - to_us(view.now)) // 1_000_000))


def _is_open(attempt: CheckoutAttempt, view: CheckoutView) -> bool:
    return attempt.status in ("created", "pending") and attempt.expires_at > view.now


def _current(view: CheckoutView, visitor: Visitor) -> CheckoutAttempt | None:
    """The attempt that this visitor can go on with. A code begun on a computer is of no use on the phone that should scan it."""
    last = view.attempts[-1] if view.attempts else None
    if last is None or not _is_open(last, view) or last.product not in visitor.offers():
        return None
    if last.redirect_url is not None and not return_url.is_safe(last.redirect_url):
        return None
    return last if last.qr_content or last.redirect_url or last.jsapi else None


def _notice(view: CheckoutView) -> Notice | None:
    last = view.attempts[-1] if view.attempts else None
    if last is None or last.status == "paid":
        return None
    # An order fails only when its channel refuses to make it.
    if last.status == "failed":
        return "refused"
    return None if _is_open(last, view) else "lapsed"


def _offers(view: CheckoutView, visitor: Visitor) -> tuple[PayProduct, ...]:
    """The ways to pay from here, the best first, at the channels that the merchant has."""
    return tuple(product for product in visitor.offers() if CHANNEL_OF[product] in view.channels)


def _step(view: CheckoutView, current: CheckoutAttempt | None, offers: tuple[PayProduct, ...]) -> Step:
    status = status_of(view)
    if status == "open":
        return _PATH_STEPS[current.product] if current is not None else "choose" if offers else "nowhere"
    if status == "refunded":
        return "returned" if all(one.done for one in view.returns if not one.extra) else "returning"
    return status


def _text_key(step: Step, current: CheckoutAttempt | None, offers: tuple[PayProduct, ...], visitor: Visitor, view: CheckoutView) -> str:
    """The name of the lead's text."""
    if step == "scan" and visitor.device == "wechat":
        return "scan_inside_wechat"
    if step == "leave":
        return "leave_lead"
    if step == "nowhere":
        return f"nowhere_lead_{visitor.device}" if view.channels and visitor.device in ("wechat", "alipay") else "nowhere_lead"
    if step == "choose" and len({CHANNEL_OF[product] for product in offers}) == 1:
        return f"choose_{CHANNEL_OF[offers[0]]}_lead"
    return f"scan_{current.channel}_lead" if step == "scan" and current is not None else f"{step}_lead"


def _notes(view: CheckoutView, step: Step, text: dict[str, str]) -> list[str]:
    """What else the payer has to know: a line for each payment, or part of one, that goes back, and for one that people look at."""
    found = []
    for one in view.returns:
        if one.extra or step not in ("returning", "returned"):
            which = "part" if not one.extra else "second" if view.status in ("paid", "credited") else "unused"
            note = text[f"note_{which}_{'returned' if one.done else 'returning'}"]
            found.append(note.format(part=shown_amount(one.amount, view.currency)))
    if view.under_review and step != "review":
        found.append(text["note_review"])
    return found


def _page(view: CheckoutView, visitor: Visitor, text: dict[str, str], return_key: str, notice: Notice | None, go: bool) -> Page:
    status = status_of(view)
    current = _current(view, visitor) if status == "open" else None
    offers = _offers(view, visitor)
    step = _step(view, current, offers)
    if notice == "nothing_yet" and step != "leave":
        notice = None
    if step == "choose" and notice is None:
        notice = _notice(view)
    merchant = _UNSEEN.sub("", view.merchant_name)
    amount = shown_amount(view.amount, view.currency)
    total = shown_amount(view.amount + view.bonus, view.currency)
    values = {"merchant": merchant, "amount": amount, "credits": total, "refunded": shown_amount(_returned(view), view.currency)}
    title = f"{step}_{current.channel}_title" if current is not None and step in ("scan", "leave") else f"{step}_title"
    left = seconds_left(view)
    back = None
    if view.return_url is not None:
        back = return_url.signed(
            view.return_url,
            return_key,
            top_up_id=view.top_up_id,
            status=status,
            amount=view.amount,
            currency=view.currency,
            now=view.now,
        )
    address = f"/pay/{quote(view.token, safe='')}"
    kept = visitor.kept()
    expected = status == "paid" or is_expected(view)
    settled = status in ("paid", "credited")
    return Page(
        step=step,
        state=state_of(view),
        pace="fast" if expected else "slow" if _may_change(view) else "",
        heading=text[title].format(**values),
        lead=text[_text_key(step, current, offers, visitor, view)].format(**values),
        notice=None if notice is None else text[_notice_key(notice, offers)].format(**values),
        notes=_notes(view, step, text),
        merchant=merchant,
        initial=next((character.upper() for character in merchant if character.isalnum()), "¥"),
        customer=_UNSEEN.sub("", view.customer),
        sandbox=view.sandbox,
        amount=amount,
        amount_label=text["summary_due" if status == "open" else "summary_paid" if settled or status == "refunded" else "summary_amount"],
        # Only where it is to come or has come: a page that is over promises nothing.
        bonus=shown_amount(view.bonus, view.currency) if view.bonus and (settled or status == "open") else None,
        credits=total,
        balance=None if view.balance is None else shown_amount(view.balance, view.currency),
        clock=status == "open",
        seconds_left=left,
        minutes_left=text["time_minutes"].format(minutes=-(-left // 60)),
        offers=offers,
        others=() if current is None else _others(current, offers, text),
        channel=None if current is None else current.channel,
        code=None if current is None or current.qr_content is None else _code(current.qr_content),
        code_label="" if current is None else text[f"scan_label_{current.channel}"].format(**values),
        waiting=text["paid_waiting" if status == "paid" else "waiting"].format(**values),
        redirect_url=None if current is None else current.redirect_url,
        jsapi=None if current is None or current.jsapi is None else json.dumps(current.jsapi),
        go=go and step in ("leave", "jsapi"),
        go_label=_go_label(step, current, text).format(**values),
        over=status not in ("open", "paid"),
        back=back,
        back_label=text["back_open" if status == "open" else "back_done"].format(**values),
        address=_with(address, kept),
        asked_address=_with(address, (*kept, ("asked", "1"))),
        start_address=f"{address}/start",
        status_address=f"{address}/status",
        other_address=_with(address, (("lang", text["other_language_code"]), *(pair for pair in kept if pair[0] != "lang"))),
        kept=kept,
        refresh_s=REFRESH_S if expected else None,
    )


def _may_change(view: CheckoutView) -> bool:
    """Whether there may be news by and by, though no payment is expected at this moment."""
    return status_of(view) in ("open", "expired", "review") or not all(one.done for one in view.returns)


def _notice_key(notice: Notice, offers: tuple[PayProduct, ...]) -> str:
    return "notice_refused_only" if notice == "refused" and len(offers) < 2 else f"notice_{notice}"


def _others(current: CheckoutAttempt, offers: tuple[PayProduct, ...], text: dict[str, str]) -> tuple[tuple[PayProduct, str], ...]:
    """What to offer beside the way that was begun: the other channel's best, and Alipay's other one on a computer."""
    found: list[tuple[PayProduct, str]] = []
    for product in offers:
        if product != current.product and CHANNEL_OF[product] == current.channel:
            found.append((product, text[f"pay_{product}"]))
        elif CHANNEL_OF[product] != current.channel and all(CHANNEL_OF[other] == current.channel for other, _ in found):
            found.append((product, text[f"other_{CHANNEL_OF[product]}"]))
    return tuple(found)


def _go_label(step: Step, current: CheckoutAttempt | None, text: dict[str, str]) -> str:
    if current is None or step == "scan":
        return ""
    return text["jsapi_pay"] if step == "jsapi" else text[f"leave_{current.channel}_go"]


@lru_cache(maxsize=1_024)
def _code(content: str) -> Markup:
    """A QR code as an SVG element that takes the colour of its surroundings: one path of digits, whatever the content is."""
    code = segno.make(content, error="m", micro=False)
    drawing = code.svg_inline(border=4, omitsize=True, svgclass=None, lineclass=None, dark="#000")
    return Markup(drawing.replace("<svg ", '<svg aria-hidden="true" focusable="false" shape-rendering="crispEdges" ', 1))  # noqa: S704


def _with(address: str, parameters: tuple[tuple[str, str], ...]) -> str:
    return f"{address}?{urlencode(parameters)}" if parameters else address
