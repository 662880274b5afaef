"""Tiers and allowances from the card to the ledger, through the real product: counted per period, explained, verified, simulated."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from tests import by_hand
from tests.product import Merchant, Product, event

CARDS = "/v1/rate-cards"
SHANGHAI = ZoneInfo("Asia/Shanghai")
TIERS = [
    {"upTo": "1000", "price": "1", "per": "1000"},
    {"upTo": "3000", "price": "0.5", "per": "1000"},
    {"upTo": None, "price": "0.2", "per": "1000"},
]
TIERED = {"metric": "tokens_input", "model": "graduated", "allowance": "500", "tiers": TIERS}
IMAGES = {"metric": "images", "price": "0.2", "allowance": "10"}


def card(*charges: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A card of these lines."""
    return {"name": "tiers", "currency": "CNY", "charges": list(charges), **fields}


def explain(merchant: Merchant, key: str) -> dict[str, Any]:
    """Why an event was charged what it was, worked out again by hand."""
    found = merchant.ok("GET", f"/v1/usage-events/{key}/charge")
    before = "0" if found["counter"] is None else found["counter"]["before"]
    assert by_hand.check(found) == by_hand.charge_of(found["line"], found["quantity"], before)
    return found


def charged(merchant: Merchant, *events: dict[str, Any]) -> list[str]:
    """Sends events one batch each and gives their charges."""
    return [merchant.usage(one)["results"][0]["charge"] for one in events]


def last_month() -> str:
    """The last second of the month before, in Shanghai: at most 35 days ago."""
    first = datetime.now(SHANGHAI).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first - timedelta(seconds=1)).isoformat()


def wait_for_core(merchant: Merchant) -> None:
    """Kills the core and waits for the next one to take over."""
    (killed,) = merchant.product.pids("core")
    os.kill(killed, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while merchant.product.pids("core") in ([], [killed]) and time.monotonic() < deadline:
        time.sleep(0.1)


def test_tiers_and_allowance_count_through_everything(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: charges follow the counter over batches, a new version, a killed core, a late event and another customer; every explanation
    can be worked out by hand; and the ledger verifies."""
    merchant = new_merchant(billing="pay-as-you-go", card=None)
    made = merchant.ok("POST", CARDS, card(TIERED, IMAGES))
    assert made["charges"] == [{**TIERED, "match": {}}, {**IMAGES, "model": "per_unit", "match": {}, "per": "1"}]
    # 500 free, 500 of the first tier; the rest of it and 500 of the second.
    assert charged(merchant, event(key="a"), event(key="b")) == ["0.5", "0.75"]
    assert charged(merchant, event(key="other", customer="二", quantity="500")) == ["0"]
    wait_for_core(merchant)
    assert charged(merchant, event(key="c")) == ["0.5"]
    late = event(key="late", occurredAt=last_month(), quantity="1500")
    assert charged(merchant, late) == ["1"]
    assert charged(merchant, event(key="i", metric="images", quantity="10"), event(metric="images", quantity="1")) == ["0", "0.2"]
    dearer = [{**tier, "price": price} for tier, price in zip(TIERS, ("2", "1", "0.4"), strict=True)]
    merchant.ok("POST", CARDS, card({**TIERED, "tiers": dearer}, {**TIERED, "match": {"model": "x"}}))
    assert charged(merchant, event(key="d"), event(key="e", dimensions={"model": "x"})) == ["0.7", "0.5"]
    found = {key: explain(merchant, key) for key in ("a", "b", "other", "c", "late", "d", "e")}
    counters = {key: (one["counter"]["before"], one["counter"]["after"], one["counter"]["allowanceUsed"]) for key, one in found.items()}
    assert counters == {
        "a": ("0", "1000", "500"),
        "b": ("1000", "2000", "0"),
        "other": ("0", "500", "500"),
        "c": ("2000", "3000", "0"),
        "late": ("0", "1500", "500"),
        "d": ("3000", "4000", "0"),
        "e": ("0", "1000", "500"),
    }
    assert [(tier["number"], tier["quantity"], tier["amount"]) for tier in found["b"]["tiers"]] == [(1, "500", "0.5"), (2, "500", "0.25")]
    assert found["a"]["counter"]["periodStart"] == found["late"]["counter"]["periodEnd"]
    assert (found["other"]["steps"][-1]["amount"], found["other"]["postings"]) == ("0", [])
    stored = merchant.ok("GET", "/v1/usage-events/a")
    assert (stored["price"]["price"], stored["price"]["per"]) == (None, None)
    report = merchant.product.verify()
    assert (report["exit"], report["differences"]) == (0, []), report
    assert report["counters"] >= 6


def test_a_wallet_that_was_loaded_to_expire_a_grant_goes_on_counting(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: a new core that meets a customer first because a grant of it is due, and no message of the merchant came yet, has its
    counters."""
    merchant = new_merchant(billing="pay-as-you-go", card=None)
    merchant.ok("POST", CARDS, card(IMAGES))
    assert charged(merchant, event(metric="images", quantity="8")) == ["0"]
    ends = datetime.now(SHANGHAI) + timedelta(seconds=4)
    merchant.grant("1", expiresAt=ends.isoformat())
    wait_for_core(merchant)
    unswept = "SELECT count(*) FROM grants WHERE tenant_id = $1 AND expired_commit_id IS NULL"
    deadline = time.monotonic() + 60
    while merchant.product.sql.value(unswept, merchant.tenant_id) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert charged(merchant, event(metric="images", quantity="8")) == ["1.2"]
    report = merchant.product.verify()
    assert (report["exit"], report["differences"]) == (0, []), report


def test_the_largest_card_may_count_in_every_line(merchant: Merchant) -> None:
    """Proves: 10,000 lines with tiers are published twice within a request's time, and the second version goes on with the counters."""
    lines = [{"metric": "tokens_input", "price": "0.001", "allowance": "500", "match": {"model": f"m{n}"}} for n in range(10_000)]
    merchant.ok("POST", CARDS, card(*lines))
    assert charged(merchant, event(dimensions={"model": "m77"})) == ["0.5"]
    merchant.ok("POST", CARDS, card(*lines))
    assert charged(merchant, event(dimensions={"model": "m77"})) == ["1"]
    assert merchant.product.sql.value("SELECT count(*) FROM usage_counters WHERE tenant_id = $1", merchant.tenant_id) == 10_000


def test_a_simulation_counts_anew(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: a card with tiers over usage that was charged by the unit gives what the tiers ask, in the order of the events; and the other
    way round."""
    merchant = new_merchant(billing="pay-as-you-go")
    for number in range(7):
        merchant.usage(event(key=f"k{number}"), event("二", key=f"l{number}", quantity="100"))
    draft = merchant.ok("POST", CARDS, card(TIERED, draft=True))["rateCardId"]
    report = merchant.ok("POST", f"{CARDS}/{draft}/simulate", {})
    # acme: 500 free, 1,000 at 1, 2,000 at 0.5, 3,500 at 0.2 for a thousand. 二: 500 free, 200 at 1.
    assert (report["before"], report["after"]) == ("7.7", "2.9")
    merchant.ok("POST", f"{CARDS}/{draft}/publish", {})
    assert charged(merchant, event()) == ["0.5"]
    assert merchant.ok("POST", f"{CARDS}/{draft}/simulate", {})["after"] == "3.1"


def test_a_comparison_tells_of_tiers(merchant: Merchant) -> None:
    """Proves: the difference of two versions names tiers and allowances, for programs and for people, also on the command line."""
    merchant.ok("POST", CARDS, card(TIERED))
    changed = merchant.ok("POST", CARDS, card({**TIERED, "allowance": "700", "tiers": TIERS[1:]}))
    found = merchant.ok("GET", f"{CARDS}/{changed['rateCardId']}/diff")
    assert (found["changed"][0]["before"]["tiers"], found["changed"][0]["after"]["tiers"]) == (TIERS, TIERS[1:])
    tiers = "1 CNY per 1000 up to 1000, then 0.5 CNY per 1000 up to 3000, then 0.2 CNY per 1000"
    assert f"~ tokens_input: {tiers}, the first 500 of a period free → " in found["text"]
    environment = {"BUFFMONEY_URL": merchant.product.url, "BUFFMONEY_API_KEY": merchant.sandbox_key, "COLUMNS": "200"}
    shown = merchant.product.cli("rate-cards", "show", changed["rateCardId"], **environment).stdout
    assert "to 3000: 0.5 per 1000; beyond: 0.2 per 1000" in shown
    assert "700" in shown


def test_a_merchant_says_where_its_periods_begin(product: Product) -> None:
    """Proves: zone and anchor day of a merchant decide the period of an event; wrong ones are refused."""
    zone = ("--time-zone", "America/New_York", "--anchor-day", "31")
    made = json.loads(product.cli("merchants", "create", "--name", "Anchored", "--billing", "pay-as-you-go", *zone, "--json").stdout)
    merchant = Merchant(product, made["merchantId"], made["sandboxKey"], made["liveKey"])
    merchant.ok("POST", CARDS, card(TIERED))
    merchant.usage(event(key="one"))
    counter = explain(merchant, "one")["counter"]
    start, end = (datetime.fromisoformat(counter[name]).astimezone(ZoneInfo("America/New_York")) for name in ("periodStart", "periodEnd"))
    for boundary in (start, end):
        assert (boundary.hour, boundary.minute) == (0, 0)
        # The 31st, or the last day of a month without one.
        assert boundary.day == 31 or (boundary + timedelta(days=1)).day == 1
    assert start <= datetime.now(start.tzinfo) < end
    assert product.verify()["exit"] == 0
    merchant.close()
    for wrong in (("--time-zone", "Mars/Olympus"), ("--anchor-day", "0"), ("--anchor-day", "32")):
        done = product.cli("merchants", "create", "--name", "Wrong", *wrong, check=False)
        assert done.returncode != 0, done.stdout


TAMPERING = {
    "what was counted before is changed": "UPDATE usage_events SET counter_before = counter_before + 1 WHERE idempotency_key = 'b'",
    "two events change places": """UPDATE usage_events SET counter_before = 500 - counter_before, charge = charge WHERE
        idempotency_key IN ('x', 'y')""",
    "a quantity is changed": "UPDATE usage_counter_quantities SET quantities[1] = quantities[1] + 1",
    "a quantity is deleted": "DELETE FROM usage_counter_quantities WHERE commit_id = (SELECT max(commit_id) FROM usage_counter_quantities)",
    "a quantity is made up": """INSERT INTO usage_counter_quantities SELECT tenant_id, account_id, period_start, commit_id + 1, false,
        counter_ids, ARRAY[quantities[1] + 5] FROM usage_counter_quantities ORDER BY commit_id DESC LIMIT 1""",
    "a row without a move is made up": """INSERT INTO usage_counter_quantities
        SELECT tenant_id, account_id, period_start, commit_id + 1, false, counter_ids, quantities FROM usage_counter_quantities
        ORDER BY commit_id DESC LIMIT 1""",
    "a counter is left out of a whole row": """INSERT INTO usage_counter_quantities
        SELECT tenant_id, account_id, period_start, commit_id + 1, true, '{2000000}', '{0}' FROM usage_counter_quantities
        ORDER BY commit_id DESC LIMIT 1""",
    "a counter is another": "UPDATE usage_counter_quantities SET counter_ids[1] = counter_ids[1] + 1000000",
    "a period is another": "UPDATE usage_counter_quantities SET period_start = period_start - interval '1 hour'",
    "an event of no counter has counted": "UPDATE usage_events SET counter_before = 7 WHERE idempotency_key = 'plain'",
    "an allowance is larger": "UPDATE rate_card_charges SET allowance = allowance + 1 WHERE allowance IS NOT NULL",
    "the periods begin elsewhere": "UPDATE tenant_period_settings SET anchor_day = 15 + extract(day FROM now())::integer % 2",
    "the periods began elsewhere": """UPDATE tenant_period_settings SET effective_from = now() - interval '1 hour'
        WHERE NOT isfinite(effective_from)""",
    "a change of the periods is made up": """INSERT INTO tenant_period_settings
        SELECT tenant_id, now() - interval '90 seconds', 1, 'UTC', 7, now() FROM tenant_period_settings
        WHERE NOT isfinite(effective_from)""",
    "the periods are gone": "DELETE FROM tenant_period_settings",
}
"""what is done → the statement, run as the superuser with all triggers off, and undone"""


def test_what_is_changed_of_counters_is_found(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: verify derives counters from events, charges from counters and periods from the merchant's zone: it finds any change."""
    merchant = new_merchant(billing="pay-as-you-go", card=None)
    merchant.ok("POST", CARDS, card(TIERED, {"metric": "images", "price": "1"}))
    merchant.usage(event(key="x", quantity="100"), event(key="y", quantity="400"))
    merchant.usage(event(key="a"), event(key="plain", metric="images"))
    merchant.usage(event(key="b"))
    tables = ("usage_events", "usage_counter_quantities", "tenant_period_settings", "rate_card_charges")

    async def spoiled(statement: str) -> dict[str, Any]:
        connection = await asyncpg.connect(merchant.product.run["databaseUrl"])
        try:
            await connection.execute("SET session_replication_role = replica")
            for table in tables:
                await connection.execute(f"CREATE TABLE kept_{table} AS SELECT * FROM {table}")
            try:
                await connection.execute(statement)
                return await asyncio.to_thread(merchant.product.verify)
            finally:
                for table in tables[:3]:
                    await connection.execute(f"DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept_{table}")
                await connection.execute(
                    "UPDATE rate_card_charges c SET allowance = k.allowance FROM kept_rate_card_charges k "
                    "WHERE (k.tenant_id, k.rate_card_id, k.line) = (c.tenant_id, c.rate_card_id, c.line)"
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


@pytest.mark.parametrize("table", ["usage_counters", "usage_counter_quantities"])
def test_counters_are_append_only(merchant: Merchant, table: str) -> None:
    """Proves: the database refuses to change or delete what was counted, also to its owner."""
    merchant.ok("POST", CARDS, card(TIERED))
    merchant.usage(event())
    for statement in (f"UPDATE {table} SET tenant_id = tenant_id", f"DELETE FROM {table}", f"TRUNCATE {table} CASCADE"):
        with pytest.raises(asyncpg.RestrictViolationError):
            merchant.product.sql.fetch(statement)
