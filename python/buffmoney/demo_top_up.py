"""The demo's payer: buys credits on the hosted checkout, scans the code that the page draws, pays it with the simulator's phone, and spends
them. In the sandbox, where no money moves; every request is the one that a browser, a phone or an AI product would send."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx

from buffmoney import demo_camera

BUYER = "first-buyer"
AMOUNT, BONUS, SPENT = "100", "20", "18"
CREDITED_S = 20.0
_BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"}


class TopUpError(RuntimeError):
    """A step did not do what it must. The message says which."""


@dataclass(frozen=True, slots=True)
class Bought:
    """What became of it. credited_s: from the payment until the credits could be read over the API."""

    page_bytes: int
    credited_s: float
    balance_before: Decimal
    balance_after: Decimal


async def buy(url: str, sandbox_key: str, simulator_url: str) -> Bought:
    """A top-up of ¥100 with a bonus of ¥20, from the checkout page to spent credits. Raises TopUpError, httpx.HTTPError."""
    keyed = {"Authorization": f"Bearer {sandbox_key}"}
    async with (
        httpx.AsyncClient(base_url=url, headers=keyed, timeout=15, trust_env=False) as product,
        httpx.AsyncClient(headers=_BROWSER, timeout=15, trust_env=False) as browser,
    ):
        line = {"metric": "tokens_input", "per": "1000000", "price": SPENT, "match": {}}
        await _ok(product.post("/v1/rate-cards", json={"name": "sandbox", "currency": "CNY", "charges": [line]}))
        await _ok(product.post("/v1/promotions", json={"name": f"Buy {AMOUNT}, get {BONUS}", "buy": AMOUNT, "get": BONUS}))
        made = await _ok(product.post("/v1/top-ups", json={"customerExternalId": BUYER, "amount": AMOUNT}))
        page = await browser.get(made["checkoutUrl"])
        chosen = await browser.post(f"{made['checkoutUrl']}/start", data={"product": "native"}, follow_redirects=True)
        try:
            code = demo_camera.read(chosen.text)
        except ValueError as failure:
            raise TopUpError(f"the checkout answered {page.status_code}, then {chosen.status_code}, and {failure}") from failure
        paid = time.monotonic()
        scanned = await browser.post(f"{simulator_url}/phone/pay", json={"code": code, "outcome": "pay"})
        if not scanned.is_success:
            raise TopUpError(f"the phone could not pay: {scanned.text[:300]}")
        while (await _ok(product.get(f"/v1/top-ups/{made['topUpId']}")))["status"] != "credited":
            if time.monotonic() - paid > CREDITED_S:
                raise TopUpError(f"the credits were not there {CREDITED_S:.0f} s after the payment")
            await asyncio.sleep(0.01)
        credited_s = time.monotonic() - paid
        before = await _balance(product)
        event = {
            "customerExternalId": BUYER,
            "idempotencyKey": f"spend-{made['topUpId']}",
            "metric": "tokens_input",
            "quantity": "1000000",
            "occurredAt": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }
        await _ok(product.post("/v1/usage-events", json={"events": [event]}))
        bought = Bought(len(page.content), credited_s, before, await _balance(product))
    if (bought.balance_before, bought.balance_after) != (
        Decimal(AMOUNT) + Decimal(BONUS),
        Decimal(AMOUNT) + Decimal(BONUS) - Decimal(SPENT),
    ):
        raise TopUpError(f"¥{AMOUNT} and ¥{BONUS} were bought and ¥{SPENT} spent: the balance was {before}, then {bought.balance_after}")
    return bought


async def _balance(product: httpx.AsyncClient) -> Decimal:
    return Decimal((await _ok(product.get(f"/v1/customers/{BUYER}/balance")))["available"])


async def _ok(request: Any) -> dict[str, Any]:
    answer: httpx.Response = await request
    if not answer.is_success:
        raise TopUpError(f"{answer.request.method} {answer.request.url.path} answered {answer.status_code}: {answer.text[:300]}")
    content: dict[str, Any] = answer.json()
    return content
