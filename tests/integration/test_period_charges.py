"""Charges at the end of a billing period, from the card to the ledger: settled, revised, listed, verified, found again."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from buffmoney.base.clock import Clock, SystemClock
from buffmoney.base.periods import Periods
from buffmoney.ledger import verify
from buffmoney.metering import core
from buffmoney.pricing import cards, versions
from tests import by_hand
from tests.integration.partition import ACCEPTED, Room, assert_whole, running_core
from tests.integration.partition import event as room_event
from tests.product import Merchant, Product, assert_problem, event

CARDS = "/v1/rate-cards"
SHANGHAI = ZoneInfo("Asia/Shanghai")
TIERS = [{"upTo": "100", "price": "2", "per": "1"}, {"upTo": None, "price": "1", "per": "1"}]
VOLUME = {"metric": "images", "model": "volume", "tiers": TIERS}
RUNS = {"metric": "agent_runs", "model": "flat", "price": "3", "minimumPerPeriod": "10"}


def card(*charges: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A card of these lines."""
    return {"name": "periods", "currency": "CNY", "charges": list(charges), **fields}


@pytest.fixture
def anchored(product: Product) -> Iterator[Merchant]:
    """A pay-as-you-go merchant whose last billing period ended within the last two days, and more than an hour ago."""
    anchor = str((datetime.now(SHANGHAI) - timedelta(hours=25)).day)
    arguments = ("--name", "Periods", "--billing", "pay-as-you-go", "--anchor-day", anchor, "--json")
    made = json.loads(product.cli("merchants", "create", *arguments).stdout)
    merchant = Merchant(product, made["merchantId"], made["sandboxKey"], made["liveKey"])
    yield merchant
    merchant.close()


def past(**fields: Any) -> dict[str, Any]:
    """An event of the period that is over."""
    return event(occurredAt=(datetime.now(SHANGHAI) - timedelta(days=3)).isoformat(), **fields)


def settled(merchant: Merchant, revision: int, metric: str = "images", customer: str = "acme") -> dict[str, Any]:
    """The newest row of a customer's period, once it has this revision."""
    deadline = time.monotonic() + 30
    while True:
        found = merchant.ok("GET", f"/v1/period-charges?customerExternalId={customer}")["data"]
        newest = next((one for one in found if one["metric"] == metric), None)
        if newest is not None and newest["revision"] == revision:
            break
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    for step in newest["steps"]:
        assert by_hand.work_out(step["formula"]) == Fraction(step["amount"]), step
    assert Fraction(newest["steps"][-1]["amount"]) == Fraction(newest["total"])
    reversal = -1 if newest["amount"].startswith("-") else 1
    assert reversal * sum(Fraction(one["amount"]) for one in newest["postings"]) == Fraction(newest["amount"])
    return newest


def test_a_period_is_settled_and_revised(anchored: Merchant) -> None:
    """Proves: an ended period is charged by the tier of its total; a late event that makes all units cheaper and a void are revisions with
    the difference; the answers can be worked out by hand, and the ledger verifies."""
    merchant = anchored
    merchant.ok("POST", CARDS, card(VOLUME, RUNS))
    merchant.grant("50")
    assert merchant.usage(past(key="a", metric="images", quantity="60"))["results"][0]["charge"] == "0"
    first = settled(merchant, 1)
    assert (first["quantity"], first["eventCharges"], first["total"], first["amount"]) == ("60", "0", "120", "120")
    assert (first["tier"]["number"], first["line"]["model"], first["rateCard"]["version"]) == (1, "volume", 1)
    assert [(one["kind"], one["amount"], one["grantId"] is None) for one in first["postings"]] == [
        ("period_charge", "50", False),
        ("period_charge", "70", True),
    ]
    merchant.usage(past(key="b", metric="images", quantity="41"))
    second = settled(merchant, 2)
    assert (second["total"], second["amount"], second["tier"]["number"]) == ("101", "-19", 2)
    assert [(one["kind"], one["amount"]) for one in second["postings"]] == [("period_charge_reversal", "19")]
    merchant.ok("POST", "/v1/usage-events/a/void", {})
    third = settled(merchant, 3)
    assert (third["quantity"], third["total"], third["amount"]) == ("41", "82", "-19")
    balance = merchant.balance()
    assert (balance["available"], balance["unbilled"], third["postings"][0]["account"]) == ("0", "32", "customer_unbilled")
    # Usage of the period that goes on asks for nothing yet.
    merchant.usage(event(key="now", metric="images", quantity="5"), event(key="run", metric="agent_runs", quantity="1"))
    merchant.usage(past(key="run-1", metric="agent_runs", quantity="1"))
    short = settled(merchant, 1, "agent_runs")
    assert (short["eventCharges"], short["minimumApplied"], short["total"]) == ("3", True, "7")
    for number in (2, 3, 4):
        merchant.usage(past(key=f"run-{number}", metric="agent_runs", quantity="1"))
    deadline = time.monotonic() + 30
    while merchant.ok("GET", "/v1/period-charges")["data"][0]["total"] != "0":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    why = merchant.ok("GET", "/v1/usage-events/a/charge")
    assert (why["charge"], why["period"]["periodEnd"], why["counter"]) == ("0", first["periodEnd"], None)
    assert "end" in why["steps"][0]["what"]
    assert merchant.ok("GET", "/v1/usage-events/run-1/charge")["period"]["periodStart"] == first["periodStart"]
    # Sums of usage stay sums of events, and the history has the postings.
    totals = {row["metric"]: row["charge"] for row in merchant.ok("GET", "/v1/usage")["data"]}
    assert totals == {"images": "0", "agent_runs": "15"}
    history = merchant.ok("GET", "/v1/customers/acme/history?kind=period_charge&kind=period_charge_reversal")["data"]
    assert {one["reference"] for one in history} == {None}
    pages, cursor = [], ""
    while True:
        page = merchant.ok("GET", f"/v1/period-charges?limit=2{cursor}")
        pages += page["data"]
        if page["nextCursor"] is None:
            break
        cursor = f"&cursor={page['nextCursor']}"
    assert pages == merchant.ok("GET", "/v1/period-charges?limit=200")["data"]
    assert merchant.ok("GET", f"/v1/period-charges?periodStart={first['periodEnd']}")["data"] == []
    assert merchant.ok("GET", "/v1/period-charges?customerExternalId=nobody")["data"] == []
    assert_problem(merchant.call("GET", "/v1/period-charges?periodStart=yesterday"), 422, "invalid_time")
    environment = {"BUFFMONEY_URL": merchant.product.url, "BUFFMONEY_API_KEY": merchant.sandbox_key, "COLUMNS": "200"}
    shown = merchant.product.cli("usage", "periods", "--customer", "acme", **environment).stdout
    assert "revision 3" in shown and "41 × 2 ÷ 1 = 82" in shown
    assert json.loads(merchant.product.cli("usage", "periods", "--json", **environment).stdout)["periodCharges"] == pages
    report = merchant.product.verify()
    assert (report["exit"], report["differences"]) == (0, []), report
    assert report["periodCharges"] >= 5


def test_prepaid_customers_have_no_charges_at_a_periods_end(merchant: Merchant) -> None:
    """Proves: volume tiers and minimums per period are refused with one error each where customers pay before, drafts too."""
    for line, param in ((VOLUME, "charges[0].model"), (RUNS, "charges[0].minimumPerPeriod")):
        for fields in ({}, {"draft": True}):
            problem = assert_problem(merchant.call("POST", CARDS, card(line, **fields)), 422, "invalid_rate_card")
            assert problem["param"] == param
    assert merchant.product.sql.value("SELECT count(*) FROM usage_counters WHERE tenant_id = $1", merchant.tenant_id) == 0


@pytest.mark.parametrize(
    "line, code, param",
    [
        ({**VOLUME, "tiers": []}, "invalid_rate_card", "tiers"),
        ({**VOLUME, "tiers": TIERS[:1]}, "invalid_rate_card", "tiers[0].upTo"),
        ({**VOLUME, "minimum": "1"}, "invalid_rate_card", "minimum"),
        ({**VOLUME, "price": "1"}, "invalid_rate_card", "price"),
        ({"metric": "images", "model": "volume"}, "missing_field", "tiers"),
        ({**RUNS, "minimumPerPeriod": "0"}, "invalid_price", "minimumPerPeriod"),
        ({**RUNS, "minimumPerPeriod": "1e3"}, "invalid_price", "minimumPerPeriod"),
        ({**RUNS, "minimumsPerPeriod": {"CNY": "1"}}, "invalid_rate_card", "minimumsPerPeriod"),
    ],
)
def test_wrong_lines_get_one_error_each(anchored: Merchant, line: dict[str, Any], code: str, param: str) -> None:
    """Proves: what contradicts its model is refused by name."""
    assert assert_problem(anchored.call("POST", CARDS, card(line)), 422, code)["param"] == f"charges[0].{param}"


def test_a_comparison_tells_of_periods(anchored: Merchant) -> None:
    """Proves: a card comes back as it was written, and the difference of two names what is new, with prices side by side as well."""
    several = {"metric": "storage_gb", "prices": {"CNY": "1", "USD": "0.2"}, "minimumsPerPeriod": {"CNY": "5", "USD": "1"}}
    made = anchored.ok("POST", CARDS, card({**VOLUME, "allowance": "5"}, RUNS, several))
    lines = {line["metric"]: line for line in made["charges"]}
    assert (lines["images"]["tiers"], lines["images"]["allowance"]) == (TIERS, "5")
    assert (lines["agent_runs"]["minimumPerPeriod"], lines["storage_gb"]["minimumsPerPeriod"]) == ("10", several["minimumsPerPeriod"])
    after = anchored.ok("POST", CARDS, card(VOLUME, {**RUNS, "minimumPerPeriod": "20"}, several))
    text = anchored.ok("GET", f"{CARDS}/{after['rateCardId']}/diff")["text"]
    assert "all units of a period at 2 CNY per 1 up to 100, then 1 CNY per 1" in text
    assert "3 CNY an event, at least 10 CNY a period → 3 CNY an event, at least 20 CNY a period" in text


TAMPERING = {
    "a total": "UPDATE period_charges SET total = total + 1, amount = amount + 1",
    "a quantity": "UPDATE period_charges SET quantity = quantity + 1",
    "a payer": "UPDATE period_charges SET parts = decode(repeat('00', 16), 'hex') || substr(parts, 17)",
    "a line": "UPDATE period_charges SET price_id = price_id + 1000000",
    "a row that is gone": "DELETE FROM period_charges",
    "a counter": "UPDATE usage_counter_quantities SET quantities[1] = quantities[1] + 1",
    "the tiers": """UPDATE rate_card_charges SET tiers = replace(tiers::text, '"price": "2"', '"price": "3"')::jsonb
        WHERE model = 'volume'""",
    "a posting": "UPDATE postings SET amount = amount + 1 WHERE kind = 9",
}
"""what is changed → the statement, run as the superuser with all triggers off, and undone"""


def test_what_is_changed_of_period_charges_is_found(anchored: Merchant) -> None:
    """Proves: verify derives each period's charge from its counters and line, and each counter from its events: it finds any change."""
    merchant = anchored
    merchant.ok("POST", CARDS, card(VOLUME))
    merchant.grant("50")
    merchant.usage(past(key="a", metric="images", quantity="60"))
    settled(merchant, 1)

    async def spoiled(statement: str) -> dict[str, Any]:
        connection = await asyncpg.connect(merchant.product.run["databaseUrl"])
        tables = ("period_charges", "usage_counter_quantities", "postings")
        try:
            await connection.execute("SET session_replication_role = replica")
            for table in tables:
                await connection.execute(f"CREATE TABLE kept_{table} AS SELECT * FROM {table}")
            await connection.execute("CREATE TABLE kept_charges AS SELECT * FROM rate_card_charges")
            try:
                await connection.execute(statement)
                return await asyncio.to_thread(merchant.product.verify)
            finally:
                for table in tables:
                    await connection.execute(
                        f"DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept_{table}; DROP TABLE kept_{table}"
                    )
                await connection.execute(
                    "UPDATE rate_card_charges c SET tiers = k.tiers FROM kept_charges k "
                    "WHERE (k.tenant_id, k.price_id) = (c.tenant_id, c.price_id)"
                )
                await connection.execute("DROP TABLE kept_charges")
        finally:
            await connection.close()

    assert merchant.product.verify()["exit"] == 0
    for what, statement in TAMPERING.items():
        report = asyncio.run(spoiled(statement))
        assert report["exit"] == 1, what
        assert {one["what"] for one in report["differences"]} & {"period_charge", "period_charge_missing", "counter"}, (what, report)
    assert merchant.product.verify()["exit"] == 0
    for statement in ("UPDATE period_charges SET total = total", "DELETE FROM period_charges", "TRUNCATE period_charges"):
        with pytest.raises(asyncpg.RestrictViolationError):
            merchant.product.sql.fetch(statement)


class Moved(Clock):
    """The time, so much later."""

    def __init__(self, ahead_us: int) -> None:
        self._ahead_us = ahead_us

    def now_us(self) -> int:
        return SystemClock().now_us() + self._ahead_us


async def test_a_period_that_ended_while_no_core_ran_is_found(place: Room) -> None:
    """Proves: a core that starts after the end of a period finds by its walk what is to be settled, of every customer once, and a core
    after it finds nothing more; verify misses what a core should have settled a quarter of an hour ago, and nothing before."""
    await place.owner.execute("UPDATE merchants SET billing = 'pay-as-you-go'")
    charges = cards.check_line(0, "CNY", "tokens_input", {}, "volume", tiers=[_Tier("1500", "2", "1000"), _Tier(None, "1", "1000")])
    await place.owner.execute("SELECT setval('price_ids', 100)")
    async with place.owner.transaction():
        draft = versions.Draft(None, "volume", "CNY", charges, None)
        card_id = await versions.create(place.owner, SystemClock(), place.tenant_id, draft)
        await versions.publish(place.owner, SystemClock(), place.tenant_id, card_id)
    await asyncio.sleep(0.01)
    async with running_core(place.settings):
        answers = await place.usage([{**room_event(f"k{n}", f"c{n % 3}"), "occurredAt": _now()} for n in range(6)])
        assert [row[1] for row in answers] == [ACCEPTED] * 6
    await assert_whole(place)
    _, end_us = Periods().of(SystemClock().now_us())
    ahead = Moved(end_us + 3_700 * 10**6 - SystemClock().now_us())
    for late_s, missing in ((3_600 + 890, 0), (3_600 + 910, 3)):
        then = Moved(end_us + late_s * 10**6 - SystemClock().now_us())
        report = await verify.verify(place.settings, lambda _name, _rows, _expected: None, then)
        assert [one["what"] for one in report["differences"]] == ["period_charge_missing"] * missing
    rows = "SELECT count(*) FROM period_charges"
    for expected in (3, 3):
        stopping = asyncio.Event()
        task = asyncio.create_task(core.PartitionWriter(place.settings, 0, ahead, stopping).run())
        deadline = time.monotonic() + 30
        while await place.owner.fetchval(rows) < expected:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        await asyncio.sleep(1.2)
        stopping.set()
        await asyncio.wait_for(task, 30)
        assert await place.owner.fetchval(rows) == expected
    assert {row[0] for row in await place.owner.fetch("SELECT total::text FROM period_charges")} == {"2.000000000"}
    report = await assert_whole(place)
    assert report["periodCharges"] == 3


class _Tier:
    def __init__(self, up_to: str | None, price: str, per: str) -> None:
        self.up_to, self.price, self.per = up_to, price, per


def _now() -> str:
    return datetime.now(SHANGHAI).isoformat()


def test_a_simulation_has_what_whole_periods_cost_at_their_ends(anchored: Merchant) -> None:
    """Proves: before is what a period was charged, after what the card asks for it, if it lies in the span as a whole and is over."""
    merchant = anchored
    merchant.ok("POST", CARDS, card(VOLUME, RUNS))
    merchant.usage(past(key="a", metric="images", quantity="60"), past(key="r", metric="agent_runs", quantity="1"))
    merchant.usage(event(key="now", metric="images", quantity="5"))
    first, short = settled(merchant, 1), settled(merchant, 1, "agent_runs")
    cheaper = [{"upTo": "50", "price": "2", "per": "1"}, {"upTo": None, "price": "0.5", "per": "1"}]
    draft = merchant.ok("POST", CARDS, card({**VOLUME, "tiers": cheaper}, {**RUNS, "minimumPerPeriod": "20"}, draft=True))["rateCardId"]
    report = merchant.ok("POST", f"{CARDS}/{draft}/simulate", {})
    sums = {row["metric"]: (row["events"], row["before"], row["after"]) for row in report["byMetric"]}
    assert (first["total"], short["total"]) == ("120", "7")
    assert sums == {"images": (2, "120", "30"), "agent_runs": (1, "10", "20")}
    last = (datetime.fromisoformat(first["periodEnd"]).astimezone(SHANGHAI) - timedelta(days=1)).date().isoformat()
    assert {row["day"]: row["after"] for row in report["byDay"]}[last] in ("47", "50")
    inside = {"from": first["periodStart"], "to": first["periodEnd"]}
    assert merchant.ok("POST", f"{CARDS}/{draft}/simulate", inside)["after"] == "50"
    later = (datetime.fromisoformat(first["periodStart"]) + timedelta(seconds=1)).isoformat()
    part = merchant.ok("POST", f"{CARDS}/{draft}/simulate", {**inside, "from": later})
    assert (part["before"], part["after"]) == ("3", "3")
