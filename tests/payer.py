"""A customer with a phone: pays a merchant's top-ups through the checkout and the simulator, over HTTP as a browser would."""

from __future__ import annotations

import json
from typing import Any

import httpx

from tests.product import Merchant, wait_until

BROWSER = {"user-agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"}


class Payer:
    """Of one merchant's sandbox."""

    def __init__(self, merchant: Merchant) -> None:
        self.merchant = merchant
        self.sql = merchant.product.sql
        self.simulator = str(merchant.product.run["simulatorUrl"])
        self.client = httpx.Client(timeout=30, trust_env=False, headers=BROWSER)

    def close(self) -> None:
        """Ends the connections."""
        self.client.close()

    def top_up(self, amount: str = "100", customer: str = "acme", **fields: Any) -> dict[str, Any]:
        """A new top-up."""
        return self.merchant.ok("POST", "/v1/top-ups", {"customerExternalId": customer, "amount": amount, **fields})

    def start(self, made: dict[str, Any], product: str = "native") -> str:
        """Chooses how to pay on the checkout page; the content of the code that it shows then."""
        begun = self.client.post(f"{made['checkoutUrl']}/start", data={"product": product})
        assert begun.status_code == 303, f"{begun.status_code} {begun.text[:300]}"
        newest = self.order(made)
        assert newest["product"] == product, newest
        return str(json.loads(newest["started"])["qr_content"])

    def order(self, made: dict[str, Any]) -> dict[str, Any]:
        """The newest payment order of a top-up, as the database has it."""
        rows = self.sql.fetch("SELECT * FROM payment_orders WHERE top_up_id = $1 ORDER BY created_at DESC, order_id DESC", made["topUpId"])
        return dict(rows[0])

    def press(self, code: str, outcome: str = "pay") -> httpx.Response:
        """A button on the phone, after the code was scanned."""
        return self.client.post(f"{self.simulator}/phone/pay", json={"code": code, "outcome": outcome})

    def control(self, path: str, /, **body: Any) -> dict[str, Any]:
        """Has the simulator behave in another way."""
        answer = self.client.post(f"{self.simulator}/control/{path}", json=body)
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text}"
        found: dict[str, Any] = answer.json()
        return found

    def pay(self, made: dict[str, Any], product: str = "native") -> None:
        """From the checkout to the payment, which the channel then tells of."""
        answer = self.press(self.start(made, product))
        assert answer.is_success, answer.text

    def status(self, made: dict[str, Any]) -> str:
        """The top-up's status."""
        return str(self.merchant.ok("GET", f"/v1/top-ups/{made['topUpId']}")["status"])

    def credited(self, made: dict[str, Any]) -> None:
        """Waits until the credits are in the wallet."""
        wait_until(lambda: self.status(made) == "credited", 20)

    def refund(self, made: dict[str, Any], amount: str, reason: str = "") -> dict[str, Any]:
        """A refund that is taken, once its status is final."""
        asked = self.merchant.ok("POST", f"/v1/top-ups/{made['topUpId']}/refunds", {"amount": amount, "reason": reason})
        return self.final(asked["refundId"])

    def final(self, refund_id: str) -> dict[str, Any]:
        """A refund once its status is final."""
        found: dict[str, Any] = {}

        def ended() -> bool:
            found.update(self.merchant.ok("GET", f"/v1/refunds/{refund_id}"))
            return found["status"] in ("succeeded", "closed", "refused", "abnormal")

        wait_until(ended, 30)
        return found

    def alerts(self) -> list[str]:
        """What people are told to look at, newest first."""
        return [one["kind"] for one in self.merchant.ok("GET", "/v1/payment-alerts")["data"]]

    def book(self) -> dict[str, Any]:
        """The accounts of the cash book that are not zero."""
        balances = self.merchant.ok("GET", "/v1/cash-book")["balances"]
        return {account: balance for account, balance in balances.items() if balance != "0"}
