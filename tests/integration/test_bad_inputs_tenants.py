"""What one tenant can see or change of another: nothing, through the API and through the database."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from tests.payer import Payer
from tests.product import Merchant, Product, assert_problem, event

CARDS = ("rate_cards", "rate_card_charges")
"""what the edge may change while it is a draft"""
LEDGER = (
    "postings",
    "commits",
    "event_keys",
    "usage_events",
    "wallet_commands",
    "low_balance_alerts",
    "usage_voids",
    "period_charges",
    "product_metrics",
    "customer_rate_cards",
    "tenant_period_settings",
    *CARDS,
)


def without_request(body: dict[str, Any], *names: str) -> str:
    """A problem's text without the request's id and without the ids that were asked for."""
    text = repr({key: value for key, value in body.items() if key != "requestId"})
    for name in names:
        text = text.replace(name, "<id>")
    return text


@pytest.fixture
def other(new_merchant: Callable[..., Merchant]) -> Merchant:
    """A second merchant with a rate card and no customers."""
    return new_merchant()


def things_of(merchant: Merchant) -> dict[str, tuple[str, str, dict[str, Any] | None]]:
    """For every route with an id in its path: an id of this merchant, one that never existed, and a body."""
    merchant.usage(event(key="mine"))
    hold = str(merchant.ok("POST", "/v1/customers/acme/holds", {"amount": "1", "ttlSeconds": 600})["holdId"])
    key = str(merchant.ok("POST", "/v1/api-keys", {"name": "mine"})["keyId"])
    line = {"metric": "images", "per": "1", "price": "1"}
    card = str(merchant.ok("POST", "/v1/rate-cards", {"name": "mine", "currency": "CNY", "charges": [line]})["rateCardId"])
    body = {"name": "mine", "currency": "CNY", "charges": [line]}
    product = str(merchant.ok("POST", "/v1/products", {"code": "mine"})["productId"])
    promotion = str(merchant.ok("POST", "/v1/promotions", {"name": "mine", "buy": "100", "get": "20"})["promotionId"])
    top_up = str(merchant.ok("POST", "/v1/top-ups", {"customerExternalId": "acme", "amount": "100"})["topUpId"])
    payer = Payer(merchant)
    paid = payer.top_up("50")
    payer.pay(paid)
    payer.credited(paid)
    refund = str(merchant.ok("POST", f"/v1/top-ups/{paid['topUpId']}/refunds", {"amount": "10"})["refundId"])
    payer.close()
    no_refund = "re_" + "0" * 32
    no_promotion, no_top_up = "pm_" + "0" * 24, "tu_" + "0" * 32
    no_hold, no_key, no_card, no_product = "hold_" + "0" * 32, "key_" + "0" * 24, "rc_" + "0" * 24, "prod_" + "0" * 24
    return {
        "GET /v1/customers/{externalId}": ("acme", "nobody", None),
        "GET /v1/customers/{externalId}/balance": ("acme", "nobody", None),
        "GET /v1/customers/{externalId}/grants": ("acme", "nobody", None),
        "GET /v1/customers/{externalId}/history": ("acme", "nobody", None),
        "GET /v1/customers/{externalId}/rate-card": ("acme", "nobody", None),
        "PUT /v1/customers/{externalId}/rate-card": ("acme", "nobody", {"rateCardId": card}),
        "DELETE /v1/customers/{externalId}/rate-card": ("acme", "nobody", None),
        "POST /v1/customers/{externalId}/holds": ("acme", "nobody", {"amount": "1", "ttlSeconds": 60}),
        "GET /v1/holds/{holdId}": (hold, no_hold, None),
        "POST /v1/holds/{holdId}/capture": (hold, no_hold, {}),
        "POST /v1/holds/{holdId}/release": (hold, no_hold, {}),
        "GET /v1/usage-events/{idempotencyKey}": ("mine", "never", None),
        "GET /v1/usage-events/{idempotencyKey}/charge": ("mine", "never", None),
        "POST /v1/usage-events/{idempotencyKey}/void": ("mine", "never", {}),
        "POST /v1/usage-events/{idempotencyKey}/amend": ("mine", "never", {"idempotencyKey": "amended"}),
        "GET /v1/rate-cards/{rateCardId}": (card, no_card, None),
        "PUT /v1/rate-cards/{rateCardId}": (card, no_card, body),
        "DELETE /v1/rate-cards/{rateCardId}": (card, no_card, None),
        "POST /v1/rate-cards/{rateCardId}/publish": (card, no_card, {}),
        "GET /v1/rate-cards/{rateCardId}/diff": (card, no_card, None),
        "POST /v1/rate-cards/{rateCardId}/simulate": (card, no_card, {}),
        "GET /v1/products/{productId}": (product, no_product, None),
        "POST /v1/promotions/{promotionId}/end": (promotion, no_promotion, {}),
        "GET /v1/top-ups/{topUpId}": (top_up, no_top_up, None),
        "POST /v1/top-ups/{topUpId}/cancel": (top_up, no_top_up, {}),
        "POST /v1/top-ups/{topUpId}/refunds": (paid["topUpId"], no_top_up, {"amount": "10"}),
        "GET /v1/top-ups/{topUpId}/refunds": (paid["topUpId"], no_top_up, None),
        "GET /v1/refunds/{refundId}": (refund, no_refund, None),
        "POST /v1/api-keys/{keyId}/revoke": (key, no_key, {}),
        "POST /v1/api-keys/{keyId}/rotate": (key, no_key, {}),
    }


def test_every_route_hides_what_belongs_to_others(merchant: Merchant, other: Merchant) -> None:
    """Proves: on every route, another merchant and the other mode get the very 404 that a thing which never existed gets."""
    things = things_of(merchant)
    before = (merchant.balance(), merchant.stored())
    live = merchant.live
    for route, (mine, nothing, body) in things.items():
        method, template = route.split()
        for stranger in (other, live):
            path = re.sub(r"\{\w+\}", "{}", template)
            foreign = assert_problem(stranger.call(method, path.format(mine), body), 404)
            absent = assert_problem(stranger.call(method, path.format(nothing), body), 404)
            assert without_request(foreign, mine, nothing) == without_request(absent, mine, nothing), route
    live.close()
    assert (merchant.balance(), merchant.stored()) == before
    # A grant makes its customer, so another tenant's customer is just a new name there.
    known = {*things, "POST /v1/customers/{externalId}/grants"}
    documented = {
        f"{method.upper()} {path}"
        for path, operations in merchant.client().get("/api/openapi").json()["paths"].items()
        for method in operations
        if "{" in path and method in ("get", "post", "put", "patch", "delete")
    }
    assert documented == known, "a route with an id is not covered by this test"


@pytest.mark.parametrize(
    "path", ["/v1/customers", "/v1/rate-cards", "/v1/products", "/v1/api-keys", "/v1/metrics", "/v1/usage", "/v1/promotions", "/v1/top-ups"]
)
def test_lists_show_ones_own_things_only(merchant: Merchant, other: Merchant, path: str) -> None:
    """Proves: no list of another merchant or of the other mode shows an id of ours."""
    ids = {mine for mine, _, _ in things_of(merchant).values() if mine != "mine"}
    merchant.ok("POST", "/v1/metrics", {"code": "secret_metric"})
    live = merchant.live
    for stranger in (other, live):
        answer = stranger.call("GET", path)
        assert answer.status_code == 200, answer.text
        assert not [name for name in (*ids, "secret_metric") if name in answer.text]
    live.close()


@pytest.mark.parametrize("path", ["/v1/customers/acme/history", "/v1/customers"])
def test_foreign_and_broken_cursors(merchant: Merchant, other: Merchant, path: str) -> None:
    """Proves: a cursor that belongs to another merchant, or to nobody, gets 400."""
    for number in range(3):
        merchant.usage(event())
        merchant.grant("1", f"more-{number}")
        other.grant("1", "acme" if number == 0 else f"more-{number}")
    page = merchant.client().get(path, params={"limit": "1"})
    cursor = page.json()["nextCursor"]
    assert merchant.client().get(path, params={"limit": "1", "cursor": cursor}).status_code == 200
    assert_problem(other.client().get(path, params={"limit": "1", "cursor": cursor}), 400, "invalid_cursor")
    for broken in ("x", "", "AAAA", cursor[:-3], cursor + "A", "é" * 20, "../../etc"):
        answer = merchant.client().get(path, params={"limit": "1", "cursor": broken})
        assert_problem(answer, 400, "invalid_cursor")


@pytest.mark.parametrize("query", ["limit=0", "limit=-1", "limit=100000", "limit=x", "limit=1e2", "from=yesterday", "unknown=1"])
def test_bad_query_parameters(merchant: Merchant, query: str) -> None:
    """Proves: a parameter out of range, malformed or unknown gets 422."""
    assert_problem(merchant.call("GET", f"/v1/customers/acme/history?{query}"), 422)


def role_url(product: Product, role: str) -> str:
    """The database as one of the processes sees it."""
    from buffmoney.base.config import Settings

    environment = {**product.environment, "DATABASE_URL": product.run["databaseUrl"], "REDIS_URL": product.run["redisUrl"]}
    settings = Settings.from_environment(environment)
    return settings.role_url(role.removeprefix("buffmoney_"))  # type: ignore[arg-type]


def as_role(product: Product, role: str, statement: str, tenant_id: int | None = None) -> list[asyncpg.Record]:
    """Runs one statement as a role, with the tenant set as the edge does it."""

    async def run() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(role_url(product, role))
        try:
            async with connection.transaction():
                if tenant_id is not None:
                    await connection.execute("SELECT set_config('buffmoney.tenant_id', $1, true)", str(tenant_id))
                return list(await connection.fetch(statement))
        finally:
            await connection.close()

    return asyncio.run(run())


@pytest.mark.parametrize("role", ["buffmoney_edge", "buffmoney_core", "buffmoney_worker"])
def test_no_role_can_change_the_ledger(product: Product, merchant: Merchant, role: str) -> None:
    """Proves: UPDATE, DELETE and TRUNCATE of the ledger are denied to every role that a process uses; the edge, which edits drafts, is
    denied it for every published card."""
    merchant.usage(event())
    first = "SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 ORDER BY attnum LIMIT 1"
    editable = {"rate_cards": "status", "rate_card_charges": "price_id"} if role == "buffmoney_edge" else {}
    for table in LEDGER:
        column = editable.get(table) or product.sql.value(first, table)
        refusal = asyncpg.RestrictViolationError if table in editable else asyncpg.InsufficientPrivilegeError
        for statement in (f"UPDATE {table} SET {column} = {column}", f"DELETE FROM {table}"):
            with pytest.raises(refusal):
                as_role(product, role, statement, merchant.tenant_id)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            as_role(product, role, f"TRUNCATE {table}", merchant.tenant_id)


def test_even_the_owner_meets_the_trigger(product: Product, merchant: Merchant) -> None:
    """Proves: behind the privileges stands a trigger: the owner's own UPDATE, DELETE and TRUNCATE fail too."""
    merchant.usage(event(key="voided"))
    merchant.ok("PUT", "/v1/customers/acme/rate-card", {"rateCardId": merchant.ok("GET", "/v1/rate-cards")["data"][0]["rateCardId"]})
    merchant.ok("POST", "/v1/customers", {"externalId": "acme", "lowBalanceThreshold": "98.5"})
    merchant.usage(event())
    merchant.ok("POST", "/v1/usage-events/voided/void", {})
    # Charges of periods need a period that is over: test_period_charges.py.
    for table in sorted({*LEDGER} - {"period_charges"}):
        assert product.sql.value(f"SELECT count(*) FROM {table}"), f"{table} is empty: its row triggers would not be met"
        for statement in (f"DELETE FROM {table}", f"TRUNCATE {table} CASCADE"):
            with pytest.raises(asyncpg.RestrictViolationError):
                product.sql.fetch(statement)


def test_row_level_security_stands_behind_the_queries(product: Product, merchant: Merchant, other: Merchant) -> None:
    """Proves: the edge's role sees one tenant's rows, even without a filter, and none without a tenant."""
    merchant.usage(event(key="voided"))
    merchant.ok("POST", "/v1/usage-events/voided/void", {})
    other.grant("1")
    for one in (merchant, other):
        one.ok("PUT", "/v1/customers/acme/rate-card", {"rateCardId": one.ok("GET", "/v1/rate-cards")["data"][0]["rateCardId"]})
    mine, theirs = merchant.tenant_id, other.tenant_id
    for table in (
        "customers",
        "postings",
        "grants",
        "usage_events",
        "usage_voids",
        "period_charges",
        "event_keys",
        "api_keys",
        "tenants",
        "tenant_period_settings",
        "rate_cards",
        "products",
        "customer_rate_cards",
        "cash_postings",
        "cash_heads",
    ):
        rows = as_role(product, "buffmoney_edge", f"SELECT DISTINCT tenant_id FROM {table}", mine)
        assert {row["tenant_id"] for row in rows} <= {mine}, table
        assert as_role(product, "buffmoney_edge", f"SELECT 1 FROM {table} WHERE tenant_id = {theirs}", mine) == []
        assert as_role(product, "buffmoney_edge", f"SELECT 1 FROM {table}") == []


def test_the_core_cannot_be_reached_around(product: Product, merchant: Merchant) -> None:
    """Proves: the edge's role can write no posting, grant or customer by itself."""
    for table in ("postings", "grants", "customers", "holds", "event_keys"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            as_role(product, "buffmoney_edge", f"INSERT INTO {table} SELECT * FROM {table}", merchant.tenant_id)


def test_sandbox_and_live_share_nothing(merchant: Merchant) -> None:
    """Proves: a customer of the sandbox does not exist in live, and money of one cannot be spent in the other."""
    live = merchant.live
    assert_problem(live.call("GET", "/v1/customers/acme/balance"), 404, "unknown_customer")
    live.grant("5")
    assert merchant.balance()["available"] == "100"
    assert live.balance()["available"] == "5"
    assert merchant.tenant_id != live.tenant_id
    live.close()


def test_every_documented_route_refuses_strangers(product: Product, merchant: Merchant) -> None:
    """Proves: every route in the OpenAPI document under /v1 answers 401 without a key."""
    document = merchant.client().get("/api/openapi").json()
    assert str(document["openapi"]).startswith("3.1")
    checked = 0
    for path, operations in document["paths"].items():
        for method in operations:
            if not path.startswith("/v1/") or method not in ("get", "post", "put", "patch", "delete"):
                continue
            answer = merchant.client().request(method, re.sub(r"\{\w+\}", "x", path), headers={"Authorization": "Bearer bm_test_wrong"})
            assert answer.status_code == 401, f"{method} {path} → {answer.status_code}"
            checked += 1
    assert checked >= 10
