"""The reference at /api/docs in Chromium: a picture of it for people, axe's verdict, and nothing asked of anybody else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser.conftest import Payer
from tests.product import Product


@pytest.mark.parametrize("device", ["desktop", "phone"])
@pytest.mark.parametrize("name", ["", "holds", "errors"])
def test_seen(payer: Callable[..., Payer], product: Product, device: str, name: str) -> None:
    """Proves: each page is one request to this server, has no problem that axe knows, light or dark, and never scrolls sideways."""
    one = payer(device, locale="en-GB")
    address = f"{product.url}/api/docs/{name}".removesuffix("/")
    one.page.goto(address)
    one.page.set_viewport_size({"width": 1440, "height": 900} if device == "desktop" else {"width": 390, "height": 844})
    one.picture(f"reference-{name or 'overview'}-{device}")
    one.page.emulate_media(color_scheme="light" if device == "phone" else "dark")
    found = Axe().run(one.page)
    assert found.violations_count == 0, found.generate_report()
    assert one.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert [request for request in one.requests if not request.startswith("data:")] == [address]


def test_an_example_is_copied(payer: Callable[..., Payer], product: Product) -> None:
    """Proves: the button copies the command that is shown."""
    one = payer("desktop", permissions=["clipboard-read", "clipboard-write"])
    one.page.goto(f"{product.url}/api/docs/wallets#createGrant")
    one.page.get_by_role("button", name="Copy the request").first.click()
    one.page.get_by_text("Copied").wait_for()
    shown = one.page.locator("#createGrant figure code").first.text_content()
    assert one.page.evaluate("navigator.clipboard.readText()") == shown


def test_without_scripts(payer: Callable[..., Payer], product: Product) -> None:
    """Proves: on a phone without scripts the contents open, and what they lead to is there."""
    one = payer("phone", java_script_enabled=False)
    one.page.goto(f"{product.url}/api/docs")
    one.page.locator(".menu summary").click()
    one.page.locator(".menu").get_by_role("link", name="Holds").click()
    one.page.locator(".menu summary").click()
    one.page.locator(".menu").get_by_role("link", name="Release a hold").click()
    assert one.page.url.endswith("/api/docs/holds#releaseHold")
    assert one.page.locator("#releaseHold pre").first.is_visible()
    assert one.page.get_by_role("button").count() == 0
