"""The explanation of a charge: recomputed by hand from the answer, and adding up to the ledger."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from fractions import Fraction
from typing import Any
from urllib.parse import quote

import pytest

from tests import by_hand
from tests.integration.test_trace_import import CARD as TRACE_CARD
from tests.integration.test_trace_import import HERE, import_trace, this_moment
from tests.product import Merchant, assert_problem, event

POSTINGS = """
SELECT p.account_id, p.seq, p.amount, p.balance_after FROM postings p JOIN posting_kinds k USING (kind)
WHERE p.tenant_id = $1 AND k.code = 'usage'
"""


def explain(merchant: Merchant, key: str) -> dict[str, Any]:
    """GET /v1/usage-events/{key}/charge, worked out again."""
    found = merchant.ok("GET", f"/v1/usage-events/{quote(key, safe='')}/charge")
    assert found["idempotencyKey"] == key
    before = "0" if found["counter"] is None else found["counter"]["before"]
    assert by_hand.check(found) == by_hand.charge_of(found["line"], found["quantity"], before)
    assert Fraction(found["charge"]) == sum(Fraction(one["shareOfThisEvent"]) for one in found["postings"])
    assert found["posting"] == (found["postings"][0] if found["postings"] else None)
    return found


def check_postings(merchant: Merchant, explained: Iterable[dict[str, Any]]) -> None:
    """All events' shares against the ledger's own rows."""
    accounts = {
        row["external_id"]: row["account_id"]
        for row in merchant.product.sql.fetch("SELECT external_id, account_id FROM customers WHERE tenant_id = $1", merchant.tenant_id)
    }
    through: defaultdict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    for one in explained:
        for posting in one["postings"]:
            through[accounts[one["customerExternalId"]], posting["sequence"]].append(posting)
    rows = {(row["account_id"], row["seq"]): row for row in merchant.product.sql.fetch(POSTINGS, merchant.tenant_id)}
    assert set(through) == set(rows)
    for key, row in rows.items():
        assert sum(Decimal(posting["shareOfThisEvent"]) for posting in through[key]) == row["amount"], key
        for posting in through[key]:
            assert (posting["events"], Decimal(posting["amount"])) == (len(through[key]), row["amount"])
            assert Decimal(posting["balanceAfter"]) == row["balance_after"]


def test_all_that_a_charge_says(merchant: Merchant) -> None:
    """Proves: card, line, calculation, posting and balance of an event are there, with the neighbours in its posting counted."""
    card = {
        "name": "dear",
        "currency": "CNY",
        "charges": [
            {"metric": "images", "price": "1"},
            {"metric": "images", "price": "1", "per": "3", "match": {"model": "x"}},
            {"metric": "tokens_input", "price": "1", "per": "1000"},
        ],
    }
    card_id = merchant.ok("POST", "/v1/rate-cards", card)["rateCardId"]
    key = "a key / 二 ? . %2F"
    merchant.usage(event(key="neighbour"), event(key=key, metric="images", quantity="2", dimensions={"region": "cn", "model": "x"}))
    found = explain(merchant, key)
    stored = merchant.ok("GET", f"/v1/usage-events/{quote(key, safe='')}")
    same = ("customerExternalId", "metric", "quantity", "dimensions", "occurredAt", "acceptedAt", "charge", "currency", "commitId")
    assert {name: found[name] for name in same} == {name: stored[name] for name in same}
    assert found["rateCard"]["rateCardId"] == card_id
    assert found["rateCard"]["name"] == "dear"
    assert found["rateCard"]["effectiveFrom"] is not None
    line = {"index": 1, "metric": "images", "match": {"model": "x"}, "model": "per_unit", "price": "1", "per": "3"}
    assert found["line"] == line
    assert [(step["formula"], step["amount"]) for step in found["steps"]] == [
        ("2 × 1 ÷ 3", "2/3"),
        ("round(2/3, 9)", "0.666666667"),
    ]
    assert (found["exact"], found["rounded"], found["charge"], found["minimumApplied"]) == ("2/3", "0.666666667", "0.666666667", False)
    assert len(found["postings"]) == 1
    posting = found["posting"]
    assert (posting["sequence"], posting["amount"], posting["events"], posting["shareOfThisEvent"], posting["balanceAfter"]) == (
        *(2, "1.666666667", 2),
        *("0.666666667", "98.333333333"),
    )
    assert posting["grantId"] == stored["posting"]["grantId"] is not None
    assert_problem(merchant.call("GET", "/v1/usage-events/never/charge"), 404, "event_not_found")
    assert_problem(merchant.live.call("GET", f"/v1/usage-events/{quote(key, safe='')}/charge"), 404, "event_not_found")


def test_every_model_is_charged_and_explained(merchant: Merchant) -> None:
    """Proves: what the engine charges under each model is what the line gives by hand, and a new version changes what comes after it."""
    merchant.grant("1000")
    charges = [
        {"metric": "images", "model": "package", "price": "100", "per": "500", "blocks": "event"},
        {"metric": "agent_runs", "model": "flat", "price": "0.5"},
        {"metric": "tokens_input", "model": "markup", "cost": "2", "per": "3000", "percent": "12.5"},
        {"metric": "tokens_output", "price": "1", "per": "1000000", "minimum": "0.01"},
    ]
    first = merchant.ok("POST", "/v1/rate-cards", {"name": "models", "currency": "CNY", "charges": charges})
    sent = {"images": "501", "agent_runs": "7", "tokens_input": "1000", "tokens_output": "9"}
    for metric, quantity in sent.items():
        merchant.usage(event(key=f"{metric} 1", metric=metric, quantity=quantity))
    second = merchant.ok(
        "POST", "/v1/rate-cards", {"name": "models", "currency": "CNY", "draft": True, "charges": [charges[1] | {"price": "0.7"}]}
    )
    merchant.usage(event(key="agent_runs 2", metric="agent_runs", quantity="1"))
    merchant.ok("POST", f"/v1/rate-cards/{second['rateCardId']}/publish", {})
    merchant.usage(event(key="agent_runs 3", metric="agent_runs", quantity="1"))
    found = {key: explain(merchant, key) for key in (*(f"{metric} 1" for metric in sent), "agent_runs 2", "agent_runs 3")}
    assert {key: (one["charge"], one["line"]["model"], one["rateCard"]["version"]) for key, one in found.items()} == {
        "images 1": ("200", "package", 2),
        "agent_runs 1": ("0.5", "flat", 2),
        "tokens_input 1": ("0.75", "markup", 2),
        "tokens_output 1": ("0.01", "per_unit", 2),
        "agent_runs 2": ("0.5", "flat", 2),
        "agent_runs 3": ("0.7", "flat", 3),
    }
    assert found["tokens_output 1"]["minimumApplied"]
    assert found["agent_runs 2"]["rateCard"]["rateCardId"] == first["rateCardId"]
    for one in found.values():
        by_hand.check(one)
    assert merchant.ok("GET", f"/v1/rate-cards/{first['rateCardId']}")["status"] == "published"


def test_a_charge_over_many_grants_and_into_overdraft(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: an event that empties grant after grant has a share of each posting, and the rest is overdraft, paid by no grant."""
    merchant = new_merchant()
    merchant.ok("POST", "/v1/customers", {"externalId": "acme", "overdraftLimit": None})
    grants = [merchant.grant("1", priority=number)["grantId"] for number in range(3)]
    merchant.usage(event(key="first", quantity="500"), event(key="long", quantity="4000"), event(key="last", quantity="250"))
    first, long, last = (explain(merchant, key) for key in ("first", "long", "last"))
    assert [(one["grantId"], one["shareOfThisEvent"], one["amount"], one["events"]) for one in long["postings"]] == [
        (grants[0], "0.5", "1", 2),
        (grants[1], "1", "1", 1),
        (grants[2], "1", "1", 1),
        (None, "1.5", "1.75", 2),
    ]
    assert [one["shareOfThisEvent"] for one in first["postings"]] == ["0.5"]
    assert [(one["grantId"], one["shareOfThisEvent"], one["balanceAfter"]) for one in last["postings"]] == [(None, "0.25", "-1.75")]
    check_postings(merchant, (first, long, last))


def test_a_free_event_is_explained_too(merchant: Merchant) -> None:
    """Proves: a price of zero is a reason like any other, and no posting carries it."""
    merchant.ok("POST", "/v1/rate-cards", {"name": "free", "currency": "CNY", "charges": [{"metric": "images", "price": "0"}]})
    merchant.usage(event(key="free", metric="images", quantity="2"))
    found = explain(merchant, "free")
    assert (found["charge"], found["steps"][0]["formula"], found["posting"], found["postings"]) == ("0", "2 × 0 ÷ 1", None, [])


@pytest.mark.parametrize("seed", range(4))
def test_shares_add_up_to_the_ledger_whatever_was_sent(new_merchant: Callable[..., Merchant], seed: int) -> None:
    """Proves: random batches in parallel over small grants and holds have shares that are the postings, to the nano-unit."""
    chooser = random.Random(seed)
    merchant = new_merchant(billing="pay-as-you-go" if seed % 2 else "prepaid")
    customers = [f"customer {number}" for number in range(3)]
    for customer in customers:
        for _ in range(chooser.randint(2, 8)):
            merchant.grant(f"{chooser.randint(1, 20)}.{chooser.randint(1, 999)}", quote(customer), priority=chooser.randint(0, 2))
    batches = [
        [
            event(chooser.choice(customers), quantity=f"{chooser.randint(1, 9000)}.{chooser.randint(1, 999_999)}", key=f"{number}-{place}")
            for place in range(chooser.randint(1, 12))
        ]
        for number in range(16)
    ]

    def send(number: int) -> list[str]:
        if number % 5 == 0:
            # A hold that is captured by events puts other postings between those of usage.
            customer = batches[number][0]["customerExternalId"]
            hold = merchant.call("POST", f"/v1/customers/{quote(customer)}/holds", {"amount": "3.5", "ttlSeconds": 600})
            if hold.is_success:
                mine = [one for one in batches[number] if one["customerExternalId"] == customer]
                merchant.call("POST", f"/v1/holds/{hold.json()['holdId']}/capture", {"events": mine})
        answer = merchant.usage(*batches[number])
        return [
            batches[number][result["index"]]["idempotencyKey"]
            for result in answer["results"]
            if result["outcome"] in ("accepted", "duplicate")
        ]

    with ThreadPoolExecutor(8) as threads:
        keys = [key for some in threads.map(send, range(len(batches))) for key in some]
    assert len(keys) == merchant.stored()["usage_events"] > 10
    explained = [explain(merchant, key) for key in keys]
    check_postings(merchant, explained)
    assert any(len(one["postings"]) > 1 for one in explained), "no event emptied a grant"
    for one in explained:
        stored = merchant.ok("GET", f"/v1/usage-events/{one['idempotencyKey']}")
        assert [posting["sequence"] for posting in stored["postings"]] == [posting["sequence"] for posting in one["postings"]]


def test_ten_events_of_an_imported_trace_by_hand(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: ten random events of a trace are recomputed from nothing but their answers, and all of them are the bill."""
    merchant = new_merchant(card=TRACE_CARD)
    merchant.grant("100", "small")
    report = import_trace(merchant, HERE / "trace.csv", "small", this_moment(), "--dimension", "model=gpt-4o")
    keys = [
        row["idempotency_key"]
        for row in merchant.product.sql.fetch("SELECT idempotency_key FROM usage_events WHERE tenant_id = $1", merchant.tenant_id)
    ]
    for key in random.Random(2026).sample(sorted(keys), 10):
        found = explain(merchant, key)
        price = {"tokens_input": 4, "tokens_output": 16}[found["metric"]]
        assert Fraction(found["charge"]) == Fraction(found["quantity"]) * price / 1_000_000
        assert found["dimensions"] == {"model": "gpt-4o"}
    explained = [explain(merchant, key) for key in keys]
    assert sum(Decimal(one["charge"]) for one in explained) == Decimal(report["charged"])
    check_postings(merchant, explained)


def test_ten_events_of_a_trace_under_tiers_by_hand(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: the same with tiers and allowances: an answer says where its counter was, which is all that is missing."""
    tiers = [{"upTo": "20000", "price": "4", "per": "1000000"}, {"upTo": "60000", "price": "3", "per": "1000000"}]
    tiers.append({"upTo": None, "price": "2", "per": "1000000"})
    graduated = {"metric": "tokens_input", "model": "graduated", "allowance": "5000", "tiers": tiers, "match": {}}
    free = {"metric": "tokens_output", "per": "1000000", "price": "16", "allowance": "3000", "match": {}}
    merchant = new_merchant(card={**TRACE_CARD, "charges": [graduated, free]})
    merchant.grant("100", "small")
    report = import_trace(merchant, HERE / "trace.csv", "small", this_moment(), "--dimension", "model=gpt-4o")
    rows = merchant.product.sql.fetch("SELECT idempotency_key FROM usage_events WHERE tenant_id = $1", merchant.tenant_id)
    explained = {row["idempotency_key"]: explain(merchant, row["idempotency_key"]) for row in rows}
    for key in random.Random(2026).sample(sorted(explained), 10):
        found = explained[key]
        by_line = by_hand.charge_of(found["line"], found["quantity"], found["counter"]["before"])
        assert by_hand.check(found) == by_line == Fraction(found["charge"])
    met = {tier["number"] for one in explained.values() for tier in one["tiers"]}
    assert met == {1, 2, 3}, "the trace reaches every tier"
    assert any(Decimal(one["counter"]["allowanceUsed"]) for one in explained.values())
    assert sum(Decimal(one["charge"]) for one in explained.values()) == Decimal(report["charged"])


def test_the_command_says_it_in_words(merchant: Merchant) -> None:
    """Proves: `usage explain` prints the calculation and the posting, as JSON the answer itself, and fails for an unknown key."""
    at_merchant = {"BUFFMONEY_URL": merchant.product.url, "BUFFMONEY_API_KEY": merchant.sandbox_key}
    # A key may look like a step in the path; the command finds it all the same.
    for key in ("..", "a/b c"):
        merchant.usage(event(key=key, quantity="1"), event())
        said = json.loads(merchant.product.cli("usage", "explain", key, "--json", **at_merchant).stdout)
        assert (said["idempotencyKey"], said["charge"], said["posting"]["amount"]) == (key, "0.001", "1.001")
        text = merchant.product.cli("usage", "explain", key, **at_merchant).stdout
        assert "1 × 1 ÷ 1000 = 0.001" in text, text
        assert "0.001 of 1.001, with 1 other event(s)" in text, text
        assert "model=gpt-4o" in text, text
    unknown = merchant.product.cli("usage", "explain", "never", check=False, **at_merchant)
    assert (unknown.returncode, "event_not_found" in unknown.stderr) == (1, True)
