"""What one tenant can see or change of another: nothing, through the API and through the database."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from tests.product import Merchant, Product, assert_problem, event

LEDGER = ("postings", "commits", "event_keys", "usage_events", "wallet_commands", "low_balance_alerts", "rate_cards", "rate_card_charges")


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


def test_every_read_of_another_tenants_things_is_a_404_like_any_other(merchant: Merchant, other: Merchant) -> None:
    """Proves: another merchant and the other mode get the very answer that a thing which never existed gets."""
    merchant.usage(event(key="mine"))
    hold = merchant.ok("POST", "/v1/customers/acme/holds", {"amount": "1", "ttlSeconds": 600})
    missing = "hold_" + "0" * 32
    cases = [
        ("GET", "/v1/customers/{}/balance", "acme", "nobody", None),
        ("GET", "/v1/customers/{}/history", "acme", "nobody", None),
        ("POST", "/v1/customers/{}/holds", "acme", "nobody", {"amount": "1", "ttlSeconds": 60}),
        ("GET", "/v1/usage-events/{}", "mine", "never", None),
        ("POST", "/v1/holds/{}/capture", str(hold["holdId"]), missing, {}),
        ("POST", "/v1/holds/{}/release", str(hold["holdId"]), missing, {}),
    ]
    live = merchant.live
    for method, path, mine, nothing, body in cases:
        for stranger in (other, live):
            foreign = assert_problem(stranger.call(method, path.format(mine), body), 404)
            absent = assert_problem(stranger.call(method, path.format(nothing), body), 404)
            assert without_request(foreign, mine, nothing) == without_request(absent, mine, nothing), path
    live.close()
    assert merchant.balance()["held"] == "1"


def test_another_merchants_key_id_and_rate_card(merchant: Merchant, other: Merchant) -> None:
    """Proves: keys and rate cards of another merchant cannot be read, revoked or rotated."""
    made = merchant.ok("POST", "/v1/api-keys", {"name": "mine"})
    for action in ("revoke", "rotate"):
        assert_problem(other.call("POST", f"/v1/api-keys/{made['keyId']}/{action}", {}), 404)
    card = merchant.ok(
        "POST", "/v1/rate-cards", {"name": "x", "currency": "CNY", "charges": [{"metric": "images", "per": "1", "price": "1"}]}
    )
    card_id = card.get("rateCardId") or card["id"]
    assert_problem(other.call("GET", f"/v1/rate-cards/{card_id}"), 404)
    assert merchant.call("GET", "/v1/customers/acme/balance", key=str(made["key"])).status_code == 200


@pytest.mark.parametrize("path", ["/v1/customers/acme/history", "/v1/customers"])
def test_foreign_and_broken_cursors(merchant: Merchant, other: Merchant, path: str) -> None:
    """Proves: a cursor that belongs to another merchant, or to nobody, gets 400."""
    for number in range(3):
        merchant.usage(event())
        merchant.grant("1", f"more-{number}")
        other.grant("1", "acme" if number == 0 else f"more-{number}")
    page = merchant.client().get(path, params={"limit": "1"})
    if page.status_code == 404 and path == "/v1/customers":
        pytest.skip("customers are not listed by this version")
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
@pytest.mark.parametrize("table", LEDGER)
def test_no_role_can_change_the_ledger(product: Product, merchant: Merchant, role: str, table: str) -> None:
    """Proves: UPDATE, DELETE and TRUNCATE of the ledger are denied to every role that a process uses."""
    merchant.usage(event())
    column = product.sql.value(
        "SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 ORDER BY attnum LIMIT 1", table
    )
    for statement in (f"UPDATE {table} SET {column} = {column}", f"DELETE FROM {table}", f"TRUNCATE {table}"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            as_role(product, role, statement, merchant.tenant_id)


@pytest.mark.parametrize("table", [name for name in LEDGER if name not in ("commits",)])
def test_even_the_owner_meets_the_trigger(product: Product, merchant: Merchant, table: str) -> None:
    """Proves: behind the privileges stands a trigger: the owner's own UPDATE, DELETE and TRUNCATE fail too."""
    merchant.usage(event())
    if table == "low_balance_alerts":
        pytest.skip("row triggers need a row; TRUNCATE is covered by the other tables")
    if not product.sql.value(f"SELECT count(*) FROM {table}"):
        merchant.grant("1")
    for statement in (f"DELETE FROM {table}", f"TRUNCATE {table} CASCADE"):
        with pytest.raises(asyncpg.RestrictViolationError):
            product.sql.fetch(statement)


def test_row_level_security_stands_behind_the_queries(product: Product, merchant: Merchant, other: Merchant) -> None:
    """Proves: the edge's role sees one tenant's rows, even without a filter, and none without a tenant."""
    merchant.usage(event())
    other.grant("1")
    mine, theirs = merchant.tenant_id, other.tenant_id
    for table in ("customers", "postings", "grants", "usage_events", "event_keys", "api_keys", "tenants", "rate_cards"):
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
