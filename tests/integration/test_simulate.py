"""A card tried on past usage says what it would have charged, of the right events alone, and writes nothing."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from buffmoney.base.config import Settings
from buffmoney.base.database import connect
from buffmoney.base.errors import Problem
from buffmoney.pricing import simulation
from tests.product import CARD, Merchant, Product, assert_problem, event, moment

CARDS = "/v1/rate-cards"
NEW_CARD: dict[str, Any] = {
    "name": "dearer",
    "currency": "CNY",
    "charges": [
        {"metric": "tokens_input", "per": "1000", "price": "3"},
        {"metric": "tokens_input", "per": "1000", "price": "0.5", "match": {"model": "small"}},
    ],
}
"""thrice the price of input, half of it for one model, and none for output"""
DAY_S = 24 * 3600


@pytest.fixture
def busy(merchant: Merchant) -> Merchant:
    """A merchant with usage of two customers on three days: ¥1 each, the last one ¥4."""
    merchant.grant("100", "二")
    answer = merchant.usage(
        event(occurredAt=moment(-2 * DAY_S)),
        event(occurredAt=moment(-DAY_S), dimensions={"model": "small"}),
        event("二", occurredAt=moment(-DAY_S)),
        event("二", metric="tokens_output"),
    )
    assert answer["charged"] == "7"
    return merchant


def draft(merchant: Merchant, **fields: Any) -> str:
    """NEW_CARD as a draft: its id."""
    made = merchant.ok("POST", CARDS, {**NEW_CARD, **fields, "draft": True})
    return str(made["rateCardId"])


def simulate(merchant: Merchant, card: str, **body: Any) -> dict[str, Any]:
    """POST …/simulate; `from` is written `from_`."""
    return merchant.ok("POST", f"{CARDS}/{card}/simulate", {name.rstrip("_"): value for name, value in body.items()})


def row(events: int, before: str, after: str, unpriced: tuple[int, str] = (0, "0"), **names: str) -> dict[str, Any]:
    """Sums as the answer has them."""
    difference = format(Decimal(after) - Decimal(before), "f")
    sums = {"events": events, "before": before, "after": after, "difference": difference}
    return {**sums, "unpricedEvents": unpriced[0], "unpricedBefore": unpriced[1], **names}


def day(offset_s: int, zone: str = "Asia/Shanghai") -> str:
    """The date in a zone, so many seconds from now."""
    return (datetime.now(UTC) + timedelta(seconds=offset_s)).astimezone(ZoneInfo(zone)).date().isoformat()


def test_before_and_after_by_customer_metric_and_day(busy: Merchant, new_merchant: Any) -> None:
    """Proves: every sum is that of this tenant's events, rated anew by the card asked for; nothing is written."""
    stranger = new_merchant()
    stranger.grant("100")
    stranger.usage(event(quantity="77000"))
    card = draft(busy)
    state = """SELECT (SELECT catalog_version FROM tenants WHERE tenant_id = $1), (SELECT last_value FROM price_ids),
        (SELECT count(*) FROM audit_log WHERE tenant_id = $1), (SELECT count(*) FROM rate_cards WHERE tenant_id = $1),
        (SELECT count(*) FROM idempotent_requests WHERE tenant_id = $1)"""
    stored, versions = busy.stored(), busy.product.sql.fetch(state, busy.tenant_id)
    report = simulate(busy, card)
    assert (busy.stored(), busy.product.sql.fetch(state, busy.tenant_id)) == (stored, versions)
    total = row(4, "7", "6.5", (1, "4"))
    assert {name: report[name] for name in total} == total
    assert (report["rateCardId"], report["currency"], report["outOfRangeEvents"], report["otherProductsEvents"]) == (card, "CNY", 0, 0)
    assert report["byMetric"] == [row(3, "3", "6.5", metric="tokens_input"), row(1, "4", "0", (1, "4"), metric="tokens_output")]
    assert report["byDay"] == [
        row(1, "1", "3", day=day(-2 * DAY_S)),
        row(2, "2", "3.5", day=day(-DAY_S)),
        row(1, "4", "0", (1, "4"), day=day(0)),
    ]
    assert report["byCustomer"] == [
        row(2, "5", "3", (1, "4"), customerExternalId="二"),
        row(2, "2", "3.5", customerExternalId="acme"),
    ]
    assert (report["customers"], report["groups"]) == (2, 4)
    assert report["data"][0] == row(1, "4", "0", (1, "4"), customerExternalId="二", metric="tokens_output", day=day(0))
    in_force = str(busy.ok("GET", CARDS)["data"][-1]["rateCardId"])
    assert simulate(busy, in_force)["difference"] == "0"


def test_every_model_and_what_other_products_price(merchant: Merchant, tmp_path: Path) -> None:
    """Proves: a draft of any models charges as it would once published, from a file, too; metrics of other products are left aside."""
    product = merchant.ok("POST", "/v1/products", {"code": "pictures", "name": "Pictures"})["productId"]
    images = {"name": "images", "currency": "CNY", "charges": [{"metric": "images", "price": "2"}], "productId": product}
    merchant.ok("POST", CARDS, images)
    merchant.usage(
        *(event(quantity="1500", dimensions={"model": model}) for model in ("package", "flat", "markup", "minimum")),
        event(metric="images", quantity="3"),
    )
    lines = [
        {"metric": "tokens_input", "match": {"model": "package"}, "model": "package", "price": "0.7", "per": "1000"},
        {"metric": "tokens_input", "match": {"model": "flat"}, "model": "flat", "price": "0.01"},
        {"metric": "tokens_input", "match": {"model": "markup"}, "model": "markup", "cost": "2", "per": "1000", "percent": "12.5"},
        {"metric": "tokens_input", "match": {"model": "minimum"}, "price": "1", "per": "1000000", "minimum": "0.25"},
    ]
    # 2 × 0.7 + 0.01 + 1.5 × 2 × 1.125 + 0.25
    expected = row(4, "6", "5.035")
    stored = simulate(merchant, draft(merchant, charges=lines))
    assert {name: stored[name] for name in expected} == expected
    assert (stored["otherProductsEvents"], stored["otherProductsBefore"]) == (1, "6")
    assert [line["metric"] for line in stored["byMetric"]] == ["tokens_input"]
    path = tmp_path / "card.json"
    path.write_text(json.dumps({**NEW_CARD, "charges": lines}))
    by_file = merchant.product.cli("rate-cards", "simulate", "--card", str(path), "--json", "--api-key", merchant.sandbox_key)
    assert json.loads(by_file.stdout) == {**stored, "rateCardId": None}
    merchant.ok("POST", f"{CARDS}/{stored['rateCardId']}/publish")
    charged = merchant.usage(*(event(quantity="1500", dimensions={"model": line["match"]["model"]}) for line in lines))["charged"]
    assert charged == stored["after"]


def test_filters(busy: Merchant) -> None:
    """Proves: from and to are half-open over the time of the usage, a customer is looked at alone, and days follow the time zone."""
    card = draft(busy)
    exact_time = datetime.now(UTC) - timedelta(days=3)
    exact, after = (f"{time:%Y-%m-%dT%H:%M:%S.%f}Z" for time in (exact_time, exact_time + timedelta(microseconds=1)))
    busy.grant("10", "edge")
    busy.usage(event("edge", occurredAt=exact))
    assert simulate(busy, card, from_=exact, to=after)["events"] == 1
    assert simulate(busy, card, to=exact)["events"] == 0
    assert simulate(busy, card, from_=after)["events"] == 4
    assert simulate(busy, card, customerExternalId="acme")["after"] == "3.5"
    assert simulate(busy, card, customerExternalId="nobody")["events"] == 0
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):
        assert simulate(busy, card, customerExternalId="edge", timeZone=zone)["byDay"] == [row(1, "1", "3", day=day(-3 * DAY_S, zone))]


def test_the_card_in_force_gives_what_was_charged_in_any_span(new_merchant: Any) -> None:
    """Proves: tried on any part of its own usage, within a billing period or across several, a card with tiers and an allowance gives what
    was charged, late usage included; the command says the same."""
    merchant = new_merchant(billing="pay-as-you-go", card=None)
    tiers = [{"upTo": "3000", "price": "1", "per": "1000"}, {"upTo": None, "price": "0.1", "per": "1000"}]
    lines = [
        {"metric": "tokens_input", "model": "graduated", "allowance": "700", "tiers": tiers},
        {"metric": "images", "price": "1", "allowance": "3"},
    ]
    card = merchant.ok("POST", CARDS, {"name": "tiers", "currency": "CNY", "charges": lines})["rateCardId"]
    chance = random.Random(7)
    ages = [DAY_S * chance.random() * 34 for _ in range(60)]
    for age_s in ages:
        metric, quantity = chance.choice((("tokens_input", "900"), ("images", "1")))
        merchant.usage(event(chance.choice(("acme", "二")), metric=metric, quantity=quantity, occurredAt=moment(-age_s)))
    whole = simulate(merchant, card)
    assert (whole["events"], whole["difference"], whole["after"]) == (60, "0", whole["before"])
    edges = sorted({DAY_S * chance.random() * 34 for _ in range(12)} | set(ages[:6]), reverse=True)
    parts = 0
    for from_age, to_age in itertools.combinations([None, *edges, None], 2):
        span = {name: moment(-age) for name, age in (("from", from_age), ("to", to_age)) if age is not None}
        report = merchant.ok("POST", f"{CARDS}/{card}/simulate", span)
        assert (report["difference"], report["after"]) == ("0", report["before"]), span
        parts += report["before"] not in ("0", whole["before"])
    assert parts > 100
    cut = ("--card", card, "--from", moment(-edges[3]), "--json", "--api-key", merchant.sandbox_key)
    by_command = json.loads(merchant.product.cli("rate-cards", "simulate", *cut).stdout)
    assert (by_command["difference"], by_command["events"] > 0) == ("0", True)


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"from": "2026-01-02T00:00:00Z", "to": "2026-01-02T00:00:00Z"}, "invalid_parameter", "from"),
        ({"from": "2026-01-02"}, "invalid_time", "from"),
        ({"to": "2026-02-30T00:00:00Z"}, "invalid_time", "to"),
        ({"timeZone": "Mars/Olympus"}, "invalid_parameter", "timeZone"),
        ({"customerExternalId": ""}, "invalid_customer", "customerExternalId"),
        ({"customerExternalId": "a\nb"}, "invalid_customer", "customerExternalId"),
        ({"customerExternalId": "é" * 128}, "invalid_customer", "customerExternalId"),
        ({"since": "2026-01-02T00:00:00Z"}, "unknown_field", None),
    ],
)
def test_bad_questions(merchant: Merchant, body: dict[str, Any], code: str, param: str | None) -> None:
    """Proves: each has one clear error."""
    card = merchant.ok("GET", CARDS)["data"][0]["rateCardId"]
    problem = assert_problem(merchant.call("POST", f"{CARDS}/{card}/simulate", body), 422, code)
    assert param is None or problem["param"] == param


def test_cards_of_others_are_not_there(merchant: Merchant, new_merchant: Any) -> None:
    """Proves: neither a made-up id nor another merchant's card can be tried."""
    other = new_merchant().ok("GET", CARDS)["data"][0]["rateCardId"]
    for card in (other, "rc_" + "0" * 24, "x"):
        assert_problem(merchant.call("POST", f"{CARDS}/{card}/simulate", {}), 404, "rate_card_not_found")


def test_a_request_covers_so_many_events_at_most(busy: Merchant, product: Product) -> None:
    """Proves: at the bound it answers, above it there is a clear error, for the role that answers requests under row security."""
    settings = Settings.from_environment(product.environment)
    tenant_id = busy.tenant_id
    card_id = draft(busy)

    async def attempt(most: int) -> int:
        connection = await connect(settings, "edge")
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                await connection.execute("SELECT set_config('buffmoney.tenant_id', $1, true)", str(tenant_id))
                card = await simulation.stored_card(connection, tenant_id, card_id)
                span = simulation.Span()
                report = await simulation.simulate(
                    connection, tenant_id, card, span, "UTC", "CNY", lambda _events: None, now_us=0, most_events=most
                )
        finally:
            await connection.close()
        return int(report["events"])

    assert asyncio.run(attempt(4)) == 4
    with pytest.raises(Problem) as caught:
        asyncio.run(attempt(3))
    assert (caught.value.code, caught.value.status) == ("simulation_too_large", 422)


def test_the_command_says_the_same(busy: Merchant, tmp_path: Path) -> None:
    """Proves: a card in a file and the same card stored give the same report, and people get tables."""
    file = tmp_path / "card.json"
    file.write_text(json.dumps(NEW_CARD))
    key = busy.sandbox_key
    by_api = simulate(busy, draft(busy))
    stored = busy.stored()
    by_id = busy.product.cli("rate-cards", "simulate", "--card", by_api["rateCardId"], "--json", BUFFMONEY_API_KEY=key)
    assert json.loads(by_id.stdout) == by_api
    by_file = busy.product.cli("rate-cards", "simulate", "--card", str(file), "--json", "--api-key", key)
    assert json.loads(by_file.stdout) == {**by_api, "rateCardId": None}
    span = ("--from", moment(-1.5 * DAY_S), "--to", moment(-0.5 * DAY_S), "--customer", "acme")
    filtered = busy.product.cli("rate-cards", "simulate", "--card", str(file), "--json", "--api-key", key, *span)
    assert (json.loads(filtered.stdout)["events"], json.loads(filtered.stdout)["after"]) == (1, "0.5")
    shown = busy.product.cli("rate-cards", "simulate", "--card", str(file), "--api-key", key).stdout
    for text in (
        "4 events charged 7 CNY then, 6.5 CNY by this card",
        "-0.5 CNY (-7.14 %)",
        "tokens_output",
        "acme",
        day(-DAY_S),
        "1 event charged 4 then, without a price",
        *(row[name] for row in by_api["data"] for name in ("customerExternalId", "metric", "day", "before", "after")),
    ):
        assert text in shown, shown
    assert "…" not in shown
    assert busy.stored() == stored


@pytest.mark.parametrize(
    ("card", "code"),
    [
        ({**NEW_CARD, "currency": "USD"}, "currency_mismatch"),
        ({**NEW_CARD, "charges": [{"metric": "unheard_of", "price": "1"}]}, "unknown_metric"),
        ({**NEW_CARD, "charges": [{"metric": "images", "price": "-1"}]}, "invalid_price"),
        ({**NEW_CARD, "charges": CARD["charges"][:1] * 2}, "invalid_rate_card"),
        ({**NEW_CARD, "charges": [{"metric": "images", "model": "magic", "price": "1"}]}, "invalid_rate_card"),
        ({**NEW_CARD, "productId": "prod_" + "0" * 24}, "product_not_found"),
        ({**NEW_CARD, "charges": []}, "invalid_rate_card"),
        ({"name": "x"}, "invalid_body"),
    ],
)
def test_bad_cards_in_files(merchant: Merchant, tmp_path: Path, card: dict[str, Any], code: str) -> None:
    """Proves: a file is checked as a card that is to be stored is, and the command ends with 1."""
    file = tmp_path / "card.json"
    file.write_text(json.dumps(card))
    done = merchant.product.cli("rate-cards", "simulate", "--card", str(file), "--api-key", merchant.sandbox_key, check=False)
    assert (done.returncode, f"[{code}]" in done.stderr) == (1, True), done.stderr


def test_the_command_needs_a_key_that_works(merchant: Merchant, tmp_path: Path) -> None:
    """Proves: it looks at nobody's usage without the key, and says when the file is not there."""
    for key, card, text in (
        ("bm_test_nobody", "rc_" + "0" * 24, "invalid_api_key"),
        (merchant.sandbox_key, "nowhere.json", "nowhere.json"),
    ):
        done = merchant.product.cli("rate-cards", "simulate", "--card", card, "--api-key", key, check=False)
        assert (done.returncode, text in done.stderr) == (1, True), done.stderr
