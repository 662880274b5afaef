"""The examples of the API's document: each operation asked once of a real BuffMoney, and what it answered.

`python -m tests.api_examples` starts a product of its own and writes `buffmoney/edge/examples.json` anew;
tests/integration/test_document.py asks the same of the session's product and compares. What is secret or only true of this machine is
replaced before it is kept.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import buffmoney
from tests.described import Described
from tests.payer import Payer
from tests.product import SCRATCH, Merchant, Product, moment, wait_until

FILE = Path(buffmoney.__file__).with_name("edge") / "examples.json"
PUBLIC_URL = "https://billing.example.com"
CARD: dict[str, Any] = {
    "name": "Standard",
    "currency": "CNY",
    "charges": [
        {"metric": "tokens_input", "price": "4", "per": "1000000", "match": {"model": "gpt-4o"}},
        {"metric": "tokens_output", "price": "16", "per": "1000000", "match": {"model": "gpt-4o"}},
    ],
}
DEARER: dict[str, Any] = {**CARD, "charges": [{**CARD["charges"][0], "price": "5"}, CARD["charges"][1]]}


class Recorder:
    """Asks operations by their ids, checks requests and answers against the document, and keeps both."""

    def __init__(self, product: Product) -> None:
        self.product = product
        self.kept: dict[str, dict[str, Any]] = {}
        self.merchant = product.new_merchant(card=None)
        self.described = Described(self.merchant.client().get("/api/openapi").json())

    def ask(
        self,
        operation: str,
        body: Any = None,
        *,
        path: dict[str, str] | None = None,
        query: dict[str, str] | None = None,
        key: str | None = None,
        merchant: Merchant | None = None,
    ) -> dict[str, Any]:
        """One request that must succeed; its answer."""
        about = self.described.operations[operation]
        self.described.request(operation, body)
        target = re.sub(r"\{(\w+)\}", lambda name: quote((path or {})[name[1]], safe=""), about.path)
        if query:
            target += "?" + urlencode(query)
        headers = {"Idempotency_Key": key} if key else {}
        answer = (merchant or self.merchant).call(about.method, target, body, **headers)
        assert answer.is_success, f"{operation}: {answer.status_code} {answer.text}"
        found: dict[str, Any] = answer.json()
        self.described.answer(operation, answer.status_code, found)
        self.kept[operation] = {"path": path or {}, "query": query or {}, "key": key, "body": body, "answer": found}
        return found

    def examples(self) -> dict[str, Any]:
        """What was kept, without secrets."""
        text = json.dumps(self.kept).replace(self.product.url, PUBLIC_URL)
        text = re.sub(r"(bm_(?:test|live)_)[A-Za-z0-9_-]{16,}", r"\1EXAMPLE0KEY", text)
        text = re.sub(r'("returnSecret": ")[^"]+', r"\1EXAMPLE0SECRET", text)
        text = re.sub(r"(/pay/)[A-Za-z0-9_-]{20,}", r"\1EXAMPLE0TOKEN", text)
        cleaned: dict[str, Any] = json.loads(text)
        return dict(sorted(cleaned.items()))


def record(product: Product) -> Recorder:
    """Every operation of the document once, in an order in which each finds what it needs. Takes some ten seconds."""
    recorder = Recorder(product)
    payer = Payer(recorder.merchant)
    try:
        _prices(recorder)
        _wallet(recorder)
        _usage(recorder)
        _corrections(recorder)
        _money_in(recorder, payer)
        _merchant(recorder)
        _period_charges(recorder)
    finally:
        payer.close()
        recorder.merchant.close()
    return recorder


def _prices(recorder: Recorder) -> None:
    ask = recorder.ask
    ask("createMetric", {"code": "video_seconds", "unit": "second"}, key="metric-video-seconds")
    ask("listMetrics")
    product = ask("createProduct", {"code": "image_studio", "name": "Image studio"}, key="product-image-studio")
    ask("getProduct", path={"productId": product["productId"]})
    ask("listProducts")
    first = ask("createRateCard", CARD, key="rate-card-standard")
    draft = recorder.merchant.ok("POST", "/v1/rate-cards", {**CARD, "draft": True})
    ask("replaceRateCard", DEARER, path={"rateCardId": draft["rateCardId"]})
    ask("publishRateCard", {}, path={"rateCardId": draft["rateCardId"]}, key="publish-dearer")
    ask("getRateCard", path={"rateCardId": draft["rateCardId"]})
    ask("diffRateCards", path={"rateCardId": draft["rateCardId"]}, query={"against": first["rateCardId"]})
    unwanted = recorder.merchant.ok("POST", "/v1/rate-cards", {**CARD, "draft": True})
    ask("deleteRateCard", path={"rateCardId": unwanted["rateCardId"]})
    ask("listRateCards", query={"status": "published"})
    ask("configureCustomer", {"externalId": "acme", "lowBalanceThreshold": "10"}, key="customer-acme")
    ask("assignCard", {"rateCardId": first["rateCardId"]}, path={"externalId": "acme"})
    ask("endAssignment", path={"externalId": "acme"})
    ask("listAssignments", path={"externalId": "acme"})


def _wallet(recorder: Recorder) -> None:
    ask, acme = recorder.ask, {"externalId": "acme"}
    ask("getCustomer", path=acme)
    ask("listCustomers", query={"limit": "20"})
    ask("createGrant", {"amount": "100", "currency": "CNY", "kind": "paid"}, path=acme, key="order-4711")
    hold = ask("createHold", {"amount": "5", "ttlSeconds": 600}, path=acme, key="agent-run-17")
    ask("getHold", path={"holdId": hold["holdId"]})
    ask("captureHold", {"amount": "3.2"}, path={"holdId": hold["holdId"]}, key="agent-run-17-done")
    given_up = recorder.merchant.ok("POST", "/v1/customers/acme/holds", {"amount": "2"})
    ask("releaseHold", {}, path={"holdId": given_up["holdId"]}, key="agent-run-18-given-up")
    ask("listGrants", path=acme)
    ask("getHistory", path=acme, query={"limit": "3"})


def _usage(recorder: Recorder) -> None:
    ask, card = recorder.ask, recorder.kept["getRateCard"]["answer"]["rateCardId"]
    usage = {"customerExternalId": "acme", "occurredAt": moment(-5), "dimensions": {"model": "gpt-4o"}}
    events = [
        {**usage, "idempotencyKey": "call-4711-in", "metric": "tokens_input", "quantity": "125000"},
        {**usage, "idempotencyKey": "call-4711-out", "metric": "tokens_output", "quantity": "3500"},
    ]
    ask("ingestUsageEvents", {"events": events}, query={"results": "all"})
    ask("getBalance", path={"externalId": "acme"})
    ask("getUsageEvent", path={"idempotencyKey": "call-4711-in"})
    ask("getCharge", path={"idempotencyKey": "call-4711-in"})
    ask("getUsage", query={"customerExternalId": "acme", "granularity": "month", "groupBy": "dimension.model"})
    ask("simulateRateCard", {"customerExternalId": "acme"}, path={"rateCardId": card})


def _corrections(recorder: Recorder) -> None:
    ask = recorder.ask
    amend = {"idempotencyKey": "call-4711-in-2", "quantity": "100000", "reason": "counted twice"}
    ask("amendUsageEvent", amend, path={"idempotencyKey": "call-4711-in"}, key="amend-4711")
    ask("voidUsageEvent", {"reason": "bad answer"}, path={"idempotencyKey": "call-4711-out"}, key="void-4711")
    ask("voidUsageEvents", {"filter": {"customerExternalId": "acme", "metric": "tokens_input"}, "preview": True})


def _money_in(recorder: Recorder, payer: Payer) -> None:
    ask = recorder.ask
    ask("putTopUpSettings", {"tiers": ["30", "100", "300", "1000"], "freeAmounts": {"minimum": "1", "maximum": "5000"}})
    ask("getTopUpSettings")
    promotion = {"name": "Buy 100, get 20", "buy": "100", "get": "20", "firstPurchaseOnly": True}
    promised = ask("createPromotion", promotion, key="promotion-first-100")
    wanted = {"customerExternalId": "acme", "amount": "100", "returnUrl": "https://shop.example.com/paid"}
    made = ask("createTopUp", wanted, key="top-up-4711")
    payer.pay(made)
    payer.credited(made)
    ask("getTopUp", path={"topUpId": made["topUpId"]})
    ask("createRefund", {"amount": "50", "reason": "not needed any more"}, path={"topUpId": made["topUpId"]}, key="refund-4711")
    refund = payer.final(recorder.kept["createRefund"]["answer"]["refundId"])
    ask("getRefund", path={"refundId": refund["refundId"]})
    ask("listRefunds", path={"topUpId": made["topUpId"]})
    odd = payer.top_up("300")
    code = payer.start(odd)
    payer.control(f"orders/{payer.order(odd)['order_no']}", everywhere=True, amount="1.00")
    payer.press(code)
    wait_until(lambda: bool(payer.alerts()), 20)
    ask("listPaymentAlerts")
    cancelled = payer.top_up("30")
    ask("cancelTopUp", {}, path={"topUpId": cancelled["topUpId"]}, key="cancel-4712")
    ask("listTopUps", query={"customerExternalId": "acme"})
    ask("endPromotion", {}, path={"promotionId": promised["promotionId"]}, key="promotion-first-100-ends")
    ask("listPromotions")
    ask("getCashBook")
    ask("getReturnSecret")


def _merchant(recorder: Recorder) -> None:
    ask = recorder.ask
    made = ask("createApiKey", {"name": "ingest workers"}, key="key-ingest-workers")
    replaced = ask("rotateApiKey", {"overlapSeconds": 3600}, path={"keyId": made["keyId"]}, key="rotate-ingest-workers")
    ask("revokeApiKey", {}, path={"keyId": replaced["keyId"]}, key="revoke-ingest-workers")
    ask("listApiKeys")
    ask("getBillingPeriod")
    ask("changeBillingPeriod", {"timeZone": "America/New_York", "anchorDay": 15})
    ask("listAuditLog", query={"limit": "2", "action": "rate_card.publish"})


def _period_charges(recorder: Recorder) -> None:
    """A pay-as-you-go merchant, whose last month is over."""
    minimum = {**CARD["charges"][0], "minimumPerPeriod": "50"}
    merchant = recorder.product.new_merchant(billing="pay-as-you-go", card={**CARD, "charges": [minimum]})
    try:
        # A month has at most 31 days, so that this one's period ended days ago, and usage is taken up to 35 days back.
        usage = {"customerExternalId": "acme", "metric": "tokens_input", "quantity": "3000000", "dimensions": {"model": "gpt-4o"}}
        merchant.usage({**usage, "idempotencyKey": "call-3811-in", "occurredAt": moment(-34 * 86_400)})
        wait_until(lambda: bool(merchant.ok("GET", "/v1/period-charges")["data"]), 30)
        recorder.ask("listPeriodCharges", query={"customerExternalId": "acme"}, merchant=merchant)
    finally:
        merchant.close()


@contextmanager
def _a_product() -> Iterator[Product]:
    home = SCRATCH / f"examples-{secrets.token_hex(4)}"
    product = Product(home / "data")
    try:
        yield product.start()
    finally:
        product.stop()
        shutil.rmtree(home, ignore_errors=True)


def main() -> None:
    """Writes the examples anew."""
    with _a_product() as product:
        recorded = record(product).examples()
    FILE.write_text(json.dumps(recorded, indent=1, ensure_ascii=False) + "\n")
    print(f"{len(recorded)} examples of {datetime.now(UTC):%Y-%m-%d} in {FILE}")


if __name__ == "__main__":
    main()
