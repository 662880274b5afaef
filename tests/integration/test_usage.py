"""Usage sums equal their events, rolled up or not; an event shows its charge, its price and its postings."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.product import Merchant, assert_problem, event


def usage(merchant: Merchant, **query: str) -> dict[str, Any]:
    """GET /v1/usage; dots and `from` in names are written as `__` and `from_`."""
    parameters = {name.rstrip("_").replace("__", "."): value for name, value in query.items()}
    answer = merchant.client().get("/v1/usage", params=parameters)
    assert answer.status_code == 200, answer.text
    report: dict[str, Any] = answer.json()
    return report


def at(moment: datetime) -> str:
    """RFC 3339."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def test_sums_are_always_those_of_the_events(merchant: Merchant) -> None:
    """Proves: at no moment, before, during or after the roll-up, does a sum miss an event or count one twice."""
    merchant.grant("1000")
    total = 0
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        answer = merchant.usage(*(event(quantity="100", metric="tokens_input") for _ in range(5)))
        assert answer["accepted"] == 5
        total += 5
        report = usage(merchant, metric="tokens_input")
        assert (report["events"], report["data"][0]["quantity"]) == (total, str(total * 100))
        assert Decimal(report["charged"]) == Decimal(total) / 10
        time.sleep(0.05)
    tenant = merchant.tenant_id
    while not merchant.product.sql.value("SELECT coalesce(sum(events), 0) = $2 FROM usage_rollups WHERE tenant_id = $1", tenant, total):
        assert time.monotonic() < deadline + 20, "nothing was rolled up"
        time.sleep(0.1)
    assert usage(merchant)["events"] == total


def test_the_last_microsecond_of_a_month_in_shanghai(merchant: Merchant) -> None:
    """Proves: months, days and hours begin and end in the time zone asked for, whatever zone the server is in."""
    shanghai = ZoneInfo("Asia/Shanghai")
    now = datetime.now(shanghai)
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    last = first - timedelta(microseconds=1)
    merchant.usage(
        event(occurredAt=at(last)), event(occurredAt=at(first)), event(occurredAt=at(first), metric="tokens_output", quantity="500")
    )
    for settled in (False, True):
        if settled:
            time.sleep(2)
        months = usage(merchant, granularity="month", metric="tokens_input")["data"]
        assert [(row["start"], row["end"], row["events"]) for row in months][-1][0] == first.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        assert [row["events"] for row in months] == [1, 1]
        assert months[0]["end"] == months[1]["start"]
        in_utc = usage(merchant, granularity="month", metric="tokens_input", timeZone="UTC")["data"]
        assert [row["events"] for row in in_utc] == [2]
        boundary = first.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        assert usage(merchant, to=boundary)["events"] == 1
        assert usage(merchant, from_=boundary)["events"] == 2
        assert len(usage(merchant, granularity="hour", from_=boundary)["data"]) == 2


def test_filters_and_groups(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: a filter takes what has the value, a group keeps its values apart, and everything adds up."""
    merchant = new_merchant()
    for customer in ("a", "b"):
        merchant.grant("100", customer)
    merchant.usage(
        event("a", dimensions={"model": "x", "region": "cn"}),
        event("a", dimensions={"model": "y"}),
        event("b", dimensions={"model": "x"}, quantity="2000"),
        event("b", dimensions={}, metric="tokens_output"),
    )
    assert usage(merchant, customerExternalId="a")["events"] == 2
    assert usage(merchant, customerExternalId="nobody")["data"] == []
    assert usage(merchant, dimension__model="x")["charged"] == "3"
    assert usage(merchant, dimension__model="x", dimension__region="cn")["events"] == 1
    rows = usage(merchant, groupBy="customer,dimension.model")["data"]
    assert {(row["customerExternalId"], row["dimensions"]["model"], row["quantity"]) for row in rows} == {
        ("a", "x", "1000"),
        ("a", "y", "1000"),
        ("b", "x", "2000"),
        ("b", None, "1000"),
    }


@pytest.mark.parametrize(
    "query",
    [
        "from=2026-01-01T00:07:00Z",
        "from=2026-01-01",
        "from=2026-01-01T00:15:00Z&to=2026-01-01T00:00:00Z",
        "granularity=week",
        "timeZone=Mars/Phobos",
        "timeZone=../../etc/passwd",
        "groupBy=colour",
        "groupBy=dimension.",
        "metric=unheard_of",
        "dimension=x",
        "dimension.=x",
        "dimension.model=a&dimension.model=b",
        "colour=red",
    ],
)
def test_bad_questions(merchant: Merchant, query: str) -> None:
    """Proves: what cannot be answered exactly gets 422."""
    assert_problem(merchant.call("GET", f"/v1/usage?{query}"), 422)


def test_an_event_shows_its_postings(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: an event that empties one grant and goes on with the next names both postings; its neighbours only theirs."""
    merchant = new_merchant()
    merchant.grant("3", kind="bonus")
    merchant.grant("10")
    merchant.usage(event(key="one"), event(key="two / 二", quantity="3000"), event(key="three"))
    found = [merchant.ok("GET", f"/v1/usage-events/{key}") for key in ("one", "two%20%2F%20%E4%BA%8C", "three")]
    assert [[posting["sequence"] for posting in one["postings"]] for one in found] == [[3], [3, 4], [4]]
    assert [one["charge"] for one in found] == ["1", "3", "1"]
    assert found[1]["idempotencyKey"] == "two / 二"
    assert found[1]["posting"] == found[1]["postings"][0]
    assert [posting["amount"] for posting in found[1]["postings"]] == ["3", "2"]
    assert_problem(merchant.call("GET", "/v1/usage-events/never"), 404, "event_not_found")


def test_a_free_event_has_no_posting(merchant: Merchant) -> None:
    """Proves: a price of zero leaves the ledger alone and still counts as usage."""
    merchant.ok("POST", "/v1/rate-cards", {"name": "free", "currency": "CNY", "charges": [{"metric": "images", "price": "0"}]})
    assert merchant.usage(event(key="free", metric="images", quantity="2"))["charged"] == "0"
    found = merchant.ok("GET", "/v1/usage-events/free")
    assert (found["charge"], found["posting"], found["postings"]) == ("0", None, [])
    assert usage(merchant, metric="images")["data"][0]["quantity"] == "2"
