"""Every page on every device, in both languages: a picture for people, and axe's verdict."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from buffmoney.collection.checkout_view import CheckoutView
from tests.browser.conftest import Payer
from tests.checkouts import TopUps, attempt, view

OPENID = "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"
STEPS: dict[str, Callable[[str], CheckoutView]] = {
    "choose": lambda device: view(),
    "failed": lambda device: with_attempt("native" if device == "desktop" else "jsapi" if device == "wechat" else "wap", status="failed"),
    "paid": lambda device: view(status="paid"),
    "credited": lambda device: view(status="credited", balance=Decimal("143.205")),
    "expired": lambda device: view(status="expired"),
    "canceled": lambda device: view(status="canceled"),
}
ONWARDS = {
    "desktop": ("native", "precreate", "page"),
    "phone": ("h5", "wap"),
    "wechat": ("jsapi", "native"),
    "alipay": ("wap",),
}


def with_attempt(product: Any, **changes: Any) -> CheckoutView:
    shown = view()
    return view(token=shown.token, attempts=[attempt(product, shown, **changes)])


PAGES = [
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
    """Proves: each page renders, has no problem that axe knows, and never scrolls sideways; in the dark, too."""
    shown = top_ups.put(make(device))
    one = payer(device, locale="zh-CN" if language == "zh" else "en-GB")
    page = one.open(shown.token, f"?openid={OPENID}" if device == "wechat" and name != "native" else "")
    one.picture(f"{name}-{device}-{language}")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
