"""Chromium from Debian, the edge that serves the checkout, and a cashier of another origin."""

from __future__ import annotations

import http.server
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.checkouts import TopUps, serving
from tests.product import ROOT, SCRATCH

PICTURES = ROOT / ".cache" / "pictures"
"""what the tests saw: <page>-<device>-<language>.png"""
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
DEVICES: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1280, "height": 800}},
    "phone": {**PHONE, "user_agent": IPHONE},
    "wechat": {
        **PHONE,
        "user_agent": IPHONE.replace("Version/17.5 ", "") + " MicroMessenger/8.0.49(0x18003137) NetType/WIFI Language/zh_CN",
    },
    "alipay": {**PHONE, "user_agent": IPHONE.replace("Version/17.5 ", "") + " AliApp(AP/10.6.0.6000) AlipayClient/10.6.0.6000 Language/zh"},
}


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """Debian's Chromium in place of a downloaded one. Without it these tests are skipped, but never in CI."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        words = "Chromium is missing. On Debian: apt-get install chromium fonts-noto-cjk (make test does it for root)"
        if os.environ.get("CI"):
            pytest.fail(words)
        pytest.skip(words)
    return {**browser_type_launch_args, "executable_path": found}


class Cashier(http.server.BaseHTTPRequestHandler):
    """Where h5, wap and page lead: another origin, whose page leads back."""

    server: CashierServer

    def do_GET(self) -> None:
        if self.path != "/favicon.ico":
            self.server.visits.append((self.path, self.headers.get("Referer")))
        content = b"<!doctype html><title>Cashier</title><h1>Cashier</h1>"
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing."""


class CashierServer(http.server.ThreadingHTTPServer):
    """visits: path and Referer of each request."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Cashier)
        self.visits: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture(scope="session")
def cashier_server() -> Iterator[CashierServer]:
    """One cashier for all tests."""
    server = CashierServer()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def cashier(cashier_server: CashierServer) -> CashierServer:
    """A cashier without visits."""
    cashier_server.visits.clear()
    return cashier_server


@pytest.fixture(scope="session")
def shop(cashier_server: CashierServer) -> Iterator[tuple[TopUps, str]]:
    """Top-ups, and the address of the edge that serves their checkouts."""
    home = SCRATCH / "browser"
    home.mkdir(parents=True, exist_ok=True)
    top_ups = TopUps(cashier=cashier_server.url)
    with serving(top_ups, home) as url:
        yield top_ups, url


@pytest.fixture
def top_ups(shop: tuple[TopUps, str]) -> Iterator[TopUps]:
    """The top-ups behind the served pages."""
    yield shop[0]
    shop[0].refuse = None
    shop[0].broken = False
    shop[0].started.clear()


@dataclass
class Payer:
    """One browser window on a device. `problems`: errors of the page and of its policy, which must not be."""

    page: Page
    url: str
    device: str
    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def open(self, token: str, query: str = "") -> Page:
        """Goes to a checkout."""
        self.page.goto(f"{self.url}/pay/{token}{query}")
        return self.page

    def picture(self, name: str) -> Path:
        """Keeps what is to be seen."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        path = PICTURES / f"{name}.png"
        self.page.screenshot(path=path, full_page=True, animations="disabled")
        return path


@pytest.fixture
def payer(shop: tuple[TopUps, str], browser: Browser) -> Iterator[Callable[..., Payer]]:
    """Opens windows: `payer(device, **context options)`. At the end no window may have had an error."""
    contexts: list[BrowserContext] = []
    payers: list[Payer] = []

    def open_window(device: str = "desktop", **options: Any) -> Payer:
        context = browser.new_context(**{"locale": "zh-CN", "timezone_id": "Asia/Shanghai", **DEVICES[device], **options})
        contexts.append(context)
        context.set_default_timeout(10_000)
        one = Payer(context.new_page(), shop[1], device)
        one.page.on("pageerror", lambda error: one.problems.append(str(error)))
        one.page.on("console", lambda message: one.problems.append(message.text) if message.type in ("error", "warning") else None)
        one.page.on("request", lambda request: one.requests.append(request.url))
        payers.append(one)
        return one

    yield open_window
    for context in contexts:
        context.close()
    for one in payers:
        assert one.problems == [], one.problems
