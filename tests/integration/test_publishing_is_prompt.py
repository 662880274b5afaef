"""A new price reaches the running product at once, and nobody who sends usage meanwhile notices more than the price."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from tests.product import Merchant, event

TIMES = 10
BOUND_S = 3.0
"""The product means to need less than a second; the rest is for a machine that is busy with other tests."""


class Sender(threading.Thread):
    """Another client, which sends batches one after the other and remembers what was not taken."""

    def __init__(self, merchant: Merchant) -> None:
        super().__init__(daemon=True)
        self._merchant = merchant
        self.stopping = threading.Event()
        self.batches = 0
        self.refused: list[object] = []

    def run(self) -> None:
        """Until it is told to stop."""
        while not self.stopping.is_set():
            answer = self._merchant.send(*(event("bob") for _ in range(20)))
            self.batches += 1
            if answer.status_code != 200 or answer.json()["accepted"] != 20:
                self.refused.append(answer.text[:300])


def first_event_at(merchant: Merchant, price: str) -> float:
    """Seconds until an event of acme is charged this."""
    started = time.monotonic()
    while time.monotonic() - started < BOUND_S:
        if merchant.usage(event())["charged"] == price:
            return time.monotonic() - started
    raise AssertionError(f"no event was charged {price} within {BOUND_S} s")


def test_a_new_price_counts_within_a_second_while_others_go_on(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: from the request that publishes or assigns to the first event priced by it takes no longer than the bound, ten times
    each, and no event that another client sends meanwhile is refused."""
    merchant = new_merchant(billing="pay-as-you-go")
    merchant.usage(event(), event("bob"))
    sender = Sender(Merchant(merchant.product, merchant.merchant_id, merchant.sandbox_key, merchant.live_key))
    sender.start()
    took: dict[str, list[float]] = {"published": [], "assigned": []}
    for number in range(TIMES):
        for what, price in (("published", f"{number + 2}"), ("assigned", f"{number + 2}.5")):
            line = {"metric": "tokens_input", "price": price, "per": "1000"}
            card = {"name": price, "currency": "CNY", "charges": [line]}
            started = time.monotonic()
            if what == "published":
                merchant.ok("DELETE", "/v1/customers/acme/rate-card")
                started = time.monotonic()
                merchant.ok("POST", "/v1/rate-cards", card)
            else:
                own = merchant.ok("POST", "/v1/rate-cards", {**card, "audience": "assigned"})["rateCardId"]
                merchant.ok("PUT", "/v1/customers/acme/rate-card", {"rateCardId": own})
            first_event_at(merchant, price)
            took[what].append(time.monotonic() - started)
    sender.stopping.set()
    sender.join(timeout=30)
    for what, seconds in took.items():
        print(f"{what}: first event after {', '.join(f'{one * 1000:.0f}' for one in seconds)} ms")
    print(f"another client: {sender.batches} batches of 20 events, {len(sender.refused)} not taken whole")
    assert max(map(max, took.values())) < BOUND_S
    assert sender.batches > TIMES
    assert sender.refused == []
