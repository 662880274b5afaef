"""Every page on every device, in both languages: a picture for people, and axe's verdict."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from buffmoney.collection.checkout_view import CheckoutReturn, CheckoutView
from tests.browser.conftest import Payer
from tests.checkouts import TopUps, attempt, view

OPENID = "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"
WHOLE, SECOND = CheckoutReturn(amount=Decimal(100)), CheckoutReturn(amount=Decimal(100), extra=True, done=True)
STEPS: dict[str, Callable[[str], CheckoutView]] = {
    "choose": lambda device: view(),
    "failed": lambda device: with_attempt("native" if device == "desktop" else "jsapi" if device == "wechat" else "wap", status="failed"),
    "paid": lambda device: view(status="paid"),
    "credited": lambda device: view(status="credited", balance=Decimal("143.205")),
    "expired": lambda device: view(status="expired"),
    "canceled": lambda device: view(status="canceled"),
}
RARE = {
    "review": view(under_review=True),
    "returning": view(status="credited", returns=(WHOLE,)),
    "twice": view(status="credited", balance=Decimal(120), returns=(SECOND,), under_review=True),
    "nowhere": view(channels=("alipay",)),
}
"""seen on one device each"""
ONWARDS = {
    "desktop": ("native", "precreate", "page"),
    "phone": ("h5", "wap"),
    "wechat": ("jsapi", "native"),
    "alipay": ("wap",),
}


BROKEN = """() => {
    const found = [];
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        for (const number of texts.currentNode.data.matchAll(/[-+]?¥[0-9.,]*[0-9]|[0-9]+:[0-9]{2}/g)) {
            const range = document.createRange();
            range.setStart(texts.currentNode, number.index);
            range.setEnd(texts.currentNode, number.index + number[0].length);
            if (new Set([...range.getClientRects()].map(one => Math.round(one.top))).size > 1) found.push(number[0]);
        }
    }
    return found;
}"""
"""sums and clocks that stand on more than one line"""
CUT_OFF = """() => [...document.querySelectorAll("body *")].filter(element => {
    const { left, right } = element.getBoundingClientRect();
    return right > innerWidth + 1 || left < -1;
}).map(element => element.outerHTML.slice(0, 80))"""
"""what lies beside the screen, also where something hides it"""


def with_attempt(product: Any, **changes: Any) -> CheckoutView:
    shown = view()
    return view(token=shown.token, attempts=[attempt(product, shown, **changes)])


PAGES = [
    *(
        (device, name, lambda _device, one=RARE[name]: one)
        for device, name in (("phone", "review"), ("desktop", "returning"), ("desktop", "twice"), ("wechat", "nowhere"))
    ),
    *((device, step, STEPS[step]) for device in ("desktop", "phone", "wechat") for step in STEPS),
    *(
        (device, product, lambda _device, product=product: with_attempt(product))
        for device, products in ONWARDS.items()
        for product in products
    ),
]


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize(("device", "name", "make"), PAGES, ids=[f"{device}-{name}" for device, name, _ in PAGES])
def test_seen(
    payer: Callable[..., Payer], top_ups: TopUps, device: str, name: str, make: Callable[[str], CheckoutView], language: str
) -> None:
    """Proves: each page renders, has no problem that axe knows, light or dark, and never scrolls sideways."""
    shown = top_ups.put(make(device))
    one = payer(device, locale="zh-CN" if language == "zh" else "en-GB")
    page = one.open(shown.token, f"?openid={OPENID}" if device == "wechat" and name not in ("native", "nowhere") else "")
    one.picture(f"{name}-{device}-{language}")
    # Colours know no language: each of the two is looked at in one.
    page.emulate_media(color_scheme="light" if language == "zh" else "dark")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate(CUT_OFF) == []


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("name", ["choose", "native", "page", "credited", "expired", "twice"])
def test_narrow_and_large(payer: Callable[..., Payer], top_ups: TopUps, name: str, language: str) -> None:
    """Proves: with long names and amounts, from the narrowest phone to a desktop and with letters of twice the size, nothing is cut off
    sideways, and every sum and the clock stay whole on one line."""
    plain = RARE[name] if name in RARE else with_attempt(name) if name in ("native", "page") else STEPS[name]("phone")
    long = {"merchant_name": "Donaudampfschifffahrtsgesellschaft" * 3, "customer": "customer-" + "0123456789" * 20}
    amounts = {"amount": Decimal("49999.99"), "balance": Decimal("-123456789.123456789")}
    shown = top_ups.put(msgspec.structs.replace(plain, **long, **amounts))
    one = payer("desktop", locale="zh-CN" if language == "zh" else "en-GB")
    page = one.open(shown.token)
    if plain.status == "open":
        # The clock of the script, which is wider than the minutes before it.
        expect(page.locator("#left")).to_have_text(re.compile("^[0-9]+:[0-9]{2}$"))
    for width in (1280, 390, 320):
        page.set_viewport_size({"width": width, "height": 800})
        for size in ("100%", "200%"):
            page.evaluate("size => { document.documentElement.style.fontSize = size; }", size)
            assert page.evaluate(CUT_OFF) == [], (width, size)
            assert page.evaluate(BROKEN) == [], (width, size)
        one.picture(f"large-{name}-{width}-{language}")
