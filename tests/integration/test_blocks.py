"""Blocks of a billing period, holds by estimated events and captures that cannot be paid, through the real product."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from buffmoney.base.config import Settings
from buffmoney.migrate import migrate, migrations
from buffmoney.pricing import presets
from tests import by_hand
from tests.integration.test_tiers import CARDS, card, charged, last_month, wait_for_core
from tests.product import Merchant, Product, assert_problem, event

PACKS = {"metric": "images", "model": "package", "price": "100", "per": "500", "blocks": "period"}


def image(key: str | None = None, quantity: str = "1", **fields: Any) -> dict[str, Any]:
    """An event of images, one of them unless it says so."""
    return event(key=key, metric="images", quantity=quantity, **fields)


def codes(merchant: Merchant, *events: dict[str, Any]) -> list[str]:
    """What became of each event, sent in batches as large as they may be."""
    found = []
    for start in range(0, len(events), 500):
        results = merchant.usage(*events[start : start + 500])["results"]
        found += [result.get("code") or result["outcome"] for result in results]
    return found


@pytest.mark.parametrize(
    ("preset", "pack", "given", "images"),
    [
        ("images", "500", {"paid": "100"}, 500),
        ("images", "1800", {"paid": "300"}, 1800),
        ("image_credits", None, {"paid": "100"}, 500),
        # What a promotion of the shop gives: buy 300, get 60.
        ("image_credits", None, {"paid": "300", "bonus": "60"}, 1800),
    ],
)
def test_the_products_own_examples_image_by_image(
    new_merchant: Callable[..., Merchant], preset: str, pack: str | None, given: dict[str, str], images: int
) -> None:
    """Proves: with the presets as they are, a prepaid customer makes exactly 500 single images for ¥100 and 1,800 for ¥300, each an event
    of its own; the next one is refused for want of balance."""
    merchant = new_merchant(card=None)
    merchant.ok("POST", CARDS, json.loads(presets.text(preset)))
    for kind, amount in given.items():
        merchant.grant(amount, kind=kind)
    dimensions = {"pack": pack} if pack else {}
    assert codes(merchant, *(image(dimensions=dimensions) for _ in range(images + 1))) == ["accepted"] * images + ["insufficient_balance"]
    assert merchant.balance()["available"] == "0"


def test_reserved_storage_is_paid_by_the_hundred(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: the storage preset's reserved line, measured ten gigabytes at a time, costs ¥10 for each hundred that a month begins."""
    merchant = new_merchant(card=None, billing="pay-as-you-go")
    merchant.ok("POST", CARDS, json.loads(presets.text("storage")))
    used = [event(metric="storage_gb", quantity="10", dimensions={"class": "reserved"}) for _ in range(11)]
    assert charged(merchant, *used) == ["10", *["0"] * 9, "10"]


def explain(merchant: Merchant, key: str) -> dict[str, Any]:
    """Why an event was charged what it was, worked out again by hand from what was left."""
    found = merchant.ok("GET", f"/v1/usage-events/{key}/charge")
    covered = {**found["line"], "allowance": found["blocks"]["leftBefore"]}
    assert by_hand.check(found) == by_hand.charge_of(covered, found["quantity"])
    return found


def test_blocks_count_through_everything(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: packs are bought and used up over batches, a killed core, late events, voids, amendments and a new version; every explanation
    can be worked out by hand, a simulation finds the same, and the ledger verifies."""
    merchant = new_merchant(billing="pay-as-you-go", card=None)
    said = {name: value for name, value in PACKS.items() if name != "blocks"}
    made = merchant.ok("POST", CARDS, card({**said, "allowance": "10"}))
    # Who does not say it means the period.
    assert made["charges"] == [{**PACKS, "allowance": "10", "match": {}}]
    assert charged(merchant, image("free", "9"), image("first", "2"), image("second", "498")) == ["0", "100", "0"]
    assert charged(merchant, image("other", "11", customerExternalId="二")) == ["100"]
    wait_for_core(merchant)
    assert charged(merchant, image("third"), image("fourth"), image("late", "600", occurredAt=last_month())) == ["0", "100", "200"]
    found = {key: explain(merchant, key) for key in ("free", "first", "second", "third", "fourth", "late")}
    assert {key: tuple(one["blocks"][name] for name in ("leftBefore", "lacking", "bought", "leftAfter")) for key, one in found.items()} == {
        "free": ("10", "0", 0, "1"),
        "first": ("1", "1", 1, "499"),
        "second": ("499", "0", 0, "1"),
        "third": ("1", "0", 0, "0"),
        "fourth": ("0", "1", 1, "499"),
        "late": ("10", "590", 2, "410"),
    }
    assert found["first"]["counter"] is None
    assert found["late"]["blocks"]["periodEnd"] == found["first"]["blocks"]["periodStart"]
    report = merchant.ok("POST", f"{CARDS}/{made['rateCardId']}/simulate", {})
    assert (report["before"], report["after"]) == ("500", "500")

    # What began the second pack is less: the pack is bought again, neither twice nor never.
    amended = merchant.ok("POST", "/v1/usage-events/fourth/amend", {"idempotencyKey": "fifth", "quantity": "5"})
    assert amended["event"]["charge"] == "100"
    merchant.ok("POST", "/v1/usage-events/second/void", {})
    assert charged(merchant, image(quantity="993")) == ["0"]
    # A new version's price is for the next pack; what is left of this one comes first.
    merchant.ok("POST", CARDS, card({**PACKS, "price": "300", "per": "1800"}))
    assert charged(merchant, image("last", "1"), image()) == ["300", "0"]
    assert charged(merchant, image(quantity="1798"), image()) == ["0", "300"]
    # Blocks of each event leave them alone.
    merchant.ok("POST", CARDS, card({**PACKS, "blocks": "event", "minimum": "150"}))
    assert charged(merchant, image("single"), image()) == ["150", "150"]
    assert merchant.ok("GET", "/v1/usage-events/single/charge")["blocks"] is None
    shown = merchant.product.cli("usage", "explain", "last", BUFFMONEY_API_KEY=merchant.sandbox_key).stdout
    assert "blocks=period" in shown and "0 units left before, 1799 after, 1 bought" in shown
    verified = merchant.product.verify()
    assert (verified["exit"], verified["differences"]) == (0, []), verified


def test_a_dollar_customer_has_packs_of_its_own(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: a package with prices side by side counts each customer's blocks, paid in its own currency."""
    merchant = new_merchant(card=None, billing="pay-as-you-go")
    prices = {name: value for name, value in PACKS.items() if name != "price"} | {"prices": {"CNY": "100", "USD": "15"}}
    made = merchant.ok("POST", CARDS, card(prices))
    assert made["charges"] == [{**prices, "match": {}}]
    merchant.ok("POST", "/v1/customers", {"externalId": "sam", "currency": "USD"})
    for customer, price in (("acme", "100"), ("sam", "15")):
        assert charged(merchant, *(image(quantity="250", customerExternalId=customer) for _ in range(3))) == [price, "0", price]


async def older_cards(product: Product) -> list[tuple[str, str | None]]:
    """(model, blocks) of a published package and of a draft's, and of another line, in a database from before there was a choice."""
    settings = Settings.from_environment(product.environment)
    parts, name = urlsplit(product.run["databaseUrl"]), f"older_{secrets.token_hex(4)}"
    server = await asyncpg.connect(product.run["databaseUrl"])
    await server.execute(f'CREATE DATABASE "{name}"')
    await server.close()
    older = settings.replace(database_url=f"postgresql://{parts.netloc}/{name}" + (f"?{parts.query}" if parts.query else ""))
    owner = await asyncpg.connect(older.database_url)
    try:
        for migration in migrations():
            if migration.name == "blocks_of_a_period":
                break
            await owner.execute(migration.sql)
            await owner.execute("INSERT INTO schema_migrations (version, name) VALUES ($1, $2)", migration.version, migration.name)
        await owner.execute("""
            INSERT INTO merchants VALUES ('mer_' || repeat('0', 24), 'Old', 'prepaid', now());
            INSERT INTO tenants (merchant_id, mode, partition_id, unknown_customers, created_at)
            VALUES ('mer_' || repeat('0', 24), 'live', 0, 'create', now());
            INSERT INTO metrics (tenant_id, metric_id, code, created_at) SELECT tenant_id, 3, 'images', now() FROM tenants;
            INSERT INTO products SELECT tenant_id, 'prod_' || repeat('0', 24), 'default', 'default', now() FROM tenants;
            INSERT INTO rate_cards (tenant_id, rate_card_id, product_id, name, currency, created_at)
            SELECT tenant_id, 'rc_' || repeat(digit, 24), 'prod_' || repeat('0', 24), 'old', 'CNY', now()
            FROM tenants, unnest('{0,1}'::text[]) AS digit;
            INSERT INTO rate_card_charges (tenant_id, rate_card_id, line, metric_id, model, price, per, minimum, currency, price_id)
            SELECT tenant_id, rate_card_id, line, 3, CASE line WHEN 0 THEN 'package' ELSE 'per_unit' END, 100, 500, 150, 'CNY',
                nextval('price_ids') FROM rate_cards, generate_series(0, 1) AS line;
            UPDATE rate_cards SET status = 'published', version = 1, published_at = now() WHERE rate_card_id = 'rc_' || repeat('0', 24);
        """)
        assert (await migrate(older)).applied[0] == "blocks_of_a_period"
        rows = await owner.fetch("SELECT model, blocks FROM rate_card_charges ORDER BY rate_card_id, line")
        with pytest.raises(asyncpg.RestrictViolationError):
            await owner.execute("UPDATE rate_card_charges SET blocks = 'period' WHERE blocks = 'event'")
        return [tuple(row) for row in rows]
    finally:
        await owner.close()


def test_packages_from_before_keep_their_meaning(product: Product) -> None:
    """Proves: the migration says of every package that is there, published or not, that its blocks are those of the event, as they were."""
    assert asyncio.run(older_cards(product)) == [("package", "event"), ("per_unit", None)] * 2


TAMPERING = {
    "a charge's pack was bought before": "UPDATE usage_events SET counter_before = counter_before - 500 WHERE idempotency_key = 'b'",
    "an event left more": "UPDATE usage_events SET counter_before = counter_before - 1 WHERE idempotency_key = 'b'",
    "units are given away": "UPDATE usage_counter_quantities SET quantities = ARRAY(SELECT one - 1 FROM unnest(quantities) AS one)",
    "a counter is gone": "DELETE FROM usage_counter_quantities WHERE commit_id = (SELECT max(commit_id) FROM usage_counter_quantities)",
    "packs are larger": "UPDATE rate_card_charges SET per = per + 1 WHERE blocks = 'period'",
    "blocks are those of events": "UPDATE rate_card_charges SET blocks = 'event', counter_id = NULL WHERE blocks = 'period'",
}
"""what is done → the statement, run as the superuser with all triggers off, and undone"""


def test_what_is_changed_of_blocks_is_found(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: verify derives what is left of packs from the events and their voids, and finds any change of it."""
    merchant = new_merchant(billing="pay-as-you-go", card=None)
    merchant.ok("POST", CARDS, card(PACKS))
    merchant.usage(image("a", "499"), image("b", "300"))
    merchant.usage(image("c"))
    merchant.ok("POST", "/v1/usage-events/a/void", {})
    merchant.usage(image("d", "700"))

    async def spoiled(statement: str) -> dict[str, Any]:
        connection = await asyncpg.connect(merchant.product.run["databaseUrl"])
        tables = ("usage_events", "usage_counter_quantities", "rate_card_charges")
        try:
            await connection.execute("SET session_replication_role = replica")
            for table in tables:
                await connection.execute(f"CREATE TABLE kept_{table} AS SELECT * FROM {table}")
            try:
                await connection.execute(statement)
                return await asyncio.to_thread(merchant.product.verify)
            finally:
                for table in tables[:2]:
                    await connection.execute(f"DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept_{table}")
                await connection.execute(
                    "UPDATE rate_card_charges c SET (per, blocks, counter_id) = (k.per, k.blocks, k.counter_id) "
                    "FROM kept_rate_card_charges k "
                    "WHERE (k.tenant_id, k.rate_card_id, k.line, k.currency) = (c.tenant_id, c.rate_card_id, c.line, c.currency)"
                )
                for table in tables:
                    await connection.execute(f"DROP TABLE kept_{table}")
        finally:
            await connection.close()

    clean = merchant.product.verify()
    assert clean["exit"] == 0, clean
    for what, statement in TAMPERING.items():
        report = asyncio.run(spoiled(statement))
        assert report["exit"] == 1, what
        assert {one["what"] for one in report["differences"]} & {"counter", "charge"}, (what, report)
    assert merchant.product.verify()["exit"] == 0


def test_holds_know_what_the_customer_has_used(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: estimates go on with the customer's tiers and packs; one of nothing makes a hold of zero; a capture that cannot be paid is
    answered 402, changes nothing and can be tried again with the same key; and the ledger verifies."""
    merchant = new_merchant(card=None)
    tiers = [{"upTo": "100", "price": "1"}, {"upTo": None, "price": "5"}]
    merchant.ok("POST", CARDS, card({"metric": "agent_runs", "model": "graduated", "allowance": "10", "tiers": tiers}, PACKS))
    merchant.grant("700")
    runs = {"metric": "agent_runs", "quantity": "10"}

    def hold(*events: dict[str, str]) -> dict[str, Any]:
        return merchant.ok("POST", "/v1/customers/acme/holds", {"events": list(events)})

    free = hold(runs)
    assert (free["amount"], free["status"], free["balance"]["held"]) == ("0", "open", "0")
    assert_problem(merchant.call("POST", "/v1/customers/acme/holds", {"amount": "0"}), 422, "invalid_amount")
    closed = merchant.ok("POST", f"/v1/holds/{free['holdId']}/capture", {"events": [event(key="free", **runs)]})
    assert (closed["captured"], closed["released"], closed["usage"]["accepted"]) == ("0", "0", 1)
    assert charged(merchant, event(metric="agent_runs", quantity="100")) == ["100"]
    assert hold(runs, runs)["amount"] == "100"
    two = hold({"metric": "images", "quantity": "300"}, {"metric": "images", "quantity": "300"})
    assert two["amount"] == "200"
    other = hold({"metric": "images", "quantity": "1"})["holdId"]
    # 200 are left. The work came to more than was held, and to more than there is.
    work, path = {"events": [image("work", "2001")]}, f"/v1/holds/{two['holdId']}/capture"
    refused = assert_problem(merchant.call("POST", path, work, idempotency_key="w"), 402, "insufficient_balance")
    assert "the hold stays open" in refused["detail"]
    state = merchant.ok("GET", f"/v1/holds/{two['holdId']}")
    assert (state["status"], merchant.balance()["available"]) == ("open", "200")
    assert_problem(merchant.call("GET", "/v1/usage-events/work"), 404, "event_not_found")
    merchant.grant("100")
    done = merchant.ok("POST", path, work, idempotency_key="w")
    assert (done["captured"], done["released"], done["balance"]["available"]) == ("500", "0", "0")
    assert merchant.ok("POST", f"/v1/holds/{other}/release", {})["released"] == "100"
    verified = merchant.product.verify()
    assert (verified["exit"], verified["differences"]) == (0, []), verified
