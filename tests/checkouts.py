"""Top-ups in memory that keep the promises of `Checkout`, for tests of the page alone, and the real edge that serves them."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from buffmoney.base.config import Settings
from buffmoney.base.errors import Problem
from buffmoney.base.http import Services
from buffmoney.collection import checkout, checkout_token
from buffmoney.collection.checkout_view import CheckoutAttempt, CheckoutView, PayChannel, PayProduct
from buffmoney.edge.app import Edge
from buffmoney.serve import _Server, listen

SECRET = "a secret of the tests, long enough to derive keys"
QR_CONTENT = {"native": "weixin://wxpay/bizpayurl?pr=p4lpSuKzz", "precreate": "https://qr.alipay.com/bax03431ljhokirwl38f00a7"}
JSAPI = {
    "appId": "wx2421b1c4370ec43b",
    "timeStamp": "1395712654",
    "nonceStr": "e61463f8efa94090b1f366cccfbbb444",
    "package": "prepay_id=wx21201855730335ac86f8c43d1889123400",
    "signType": "RSA",
    "paySign": 'a signature with <odd> & "quoted" characters',
}


def view(**changes: Any) -> CheckoutView:
    """An open top-up of ¥100 with a bonus of ¥20 that ends in half an hour, but for what `changes` replaces."""
    now = changes.pop("now", None) or datetime.now(UTC)
    plain: dict[str, Any] = {
        "tenant_id": 7,
        "top_up_id": "tu_0197a1b2c3d4e5f607182930",
        "token": token_like(),
        "merchant_name": "Nimbus AI 云图",
        "customer": "acme-42",
        "amount": Decimal("100"),
        "bonus": Decimal("20"),
        "currency": "CNY",
        "status": "open",
        "now": now,
        "expires_at": now + timedelta(minutes=30),
        "attempts": [],
        "channels": ("wechat", "alipay"),
        "return_url": "https://shop.example/wallet?tab=credits",
    }
    return CheckoutView(**{**plain, **changes})


def attempt(product: PayProduct, shown: CheckoutView, cashier: str = "https://cashier.example", **changes: Any) -> CheckoutAttempt:
    """A pending attempt on a top-up, with the way to pay that its product has."""
    plain: dict[str, Any] = {
        "channel": checkout.CHANNEL_OF[product],
        "product": product,
        "status": "pending",
        "expires_at": shown.expires_at,
        "qr_content": QR_CONTENT.get(product),
        "redirect_url": f"{cashier}/{product}?order=1" if product in ("h5", "wap", "page") else None,
        "jsapi": JSAPI if product == "jsapi" else None,
    }
    return CheckoutAttempt(**{**plain, **changes})


@dataclass
class TopUps:
    """A `Checkout`. `polls`: how often each token was asked about.

    refuse: the code of the problem that every start meets. broken: nothing can be read. silent: the channels do not answer.
    """

    cashier: str = "https://cashier.example"
    refuse: str | None = None
    broken: bool = False
    silent: bool = False
    kept: dict[bytes, CheckoutView] = field(default_factory=dict)
    polls: dict[str, int] = field(default_factory=dict)
    started: list[tuple[PayChannel, PayProduct, str | None, str | None]] = field(default_factory=list)

    def reset(self) -> None:
        """Works again, and has no memory of starts."""
        self.refuse, self.broken, self.silent = None, False, False
        self.started.clear()

    def add(self, **changes: Any) -> CheckoutView:
        """A new top-up."""
        return self.put(view(**changes))

    def put(self, shown: CheckoutView) -> CheckoutView:
        """Keeps a top-up in place of what it was."""
        hashed = checkout_token.hashed(shown.token)
        assert hashed is not None
        self.kept[hashed] = shown
        return shown

    def change(self, token: str, **changes: Any) -> CheckoutView:
        """A top-up, changed."""
        return self.put(msgspec.structs.replace(self.now(token), **changes))

    def pay(self, token: str) -> None:
        """The channel says that the last attempt is paid."""
        attempts = self.now(token).attempts
        self.change(token, status="paid", attempts=[*attempts[:-1], msgspec.structs.replace(attempts[-1], status="paid")])

    def now(self, token: str) -> CheckoutView:
        """A top-up as it is at this moment."""
        hashed = checkout_token.hashed(token)
        if hashed is None or hashed not in self.kept:
            raise Problem("not_found")
        shown = self.kept[hashed]
        now = datetime.now(UTC)
        status = "expired" if shown.status == "open" and shown.expires_at <= now else shown.status
        return msgspec.structs.replace(shown, now=now, status=status)

    async def view(self, services: Services, token: str) -> CheckoutView | None:
        if self.broken:
            raise Problem("database_unavailable")
        try:
            return self.now(token)
        except Problem:
            return None

    async def start(
        self, services: Services, token: str, channel: PayChannel, product: PayProduct, client_ip: str | None, openid: str | None
    ) -> object:
        shown = self.now(token)
        self.started.append((channel, product, client_ip, openid))
        if self.refuse is not None:
            raise Problem(self.refuse)
        if shown.status != "open":
            raise Problem("forbidden")
        closed = [msgspec.structs.replace(one, status="closed") if one.status == "pending" else one for one in shown.attempts]
        self.change(token, attempts=[*closed, attempt(product, shown, self.cashier)])
        return None

    async def poll(self, services: Services, token: str) -> CheckoutView | None:
        self.polls[token] = self.polls.get(token, 0) + 1
        if self.silent:
            raise Problem("core_unavailable")
        return await self.view(services, token)


@contextmanager
def serving(top_ups: TopUps, home: Path) -> Iterator[str]:
    """The real edge with the checkout's routes, on granian, in a thread of its own. Gives its address.

    It has neither PostgreSQL nor Redis: nothing that the page does may need them beside the top-ups.
    """
    settings = Settings(
        database_url="postgresql://nobody:nothing@127.0.0.1:1/none", redis_url="redis://127.0.0.1:1", secret=SECRET, data_dir=home
    )
    listener = listen("127.0.0.1", 0, None)
    port = listener.getsockname()[1]
    server = _Server(Edge(settings, checkout.routes(top_ups)), listener)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(server.serve(),), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(server.stop)
        thread.join(timeout=10)
        # granian has closed what it was given to listen on.
        listener.detach()
        assert not thread.is_alive()
        loop.close()


def token_like() -> str:
    """A token that is nobody's."""
    return secrets.token_urlsafe(32)
