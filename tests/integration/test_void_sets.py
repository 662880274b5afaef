"""Many events voided by a filter: the preview, the exact set, pieces, repetitions, and what is refused."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest

from tests.product import Merchant, assert_problem, event, moment

PATH = "/v1/usage-events/void"


def preview(merchant: Merchant, **filters: Any) -> dict[str, Any]:
    """What a filter finds."""
    return merchant.ok("POST", PATH, {"filter": filters, "preview": True})


def send(merchant: Merchant, count: int, start: int = 0, **fields: Any) -> None:
    """Events of ¥0.001 to ¥0.009 by turns."""
    events = [event(key=f"set {number}", quantity=str(1 + number % 9), **fields) for number in range(start, start + count)]
    for at in range(0, count, 500):
        merchant.usage(*events[at : at + 500])


def test_exactly_the_previewed_set_is_voided(merchant: Merchant) -> None:
    """Proves: the preview's figures, the void of that set, in several pieces, and that a repetition has nothing left to do."""
    merchant.grant("50", "beta")
    send(merchant, 600)
    send(merchant, 7, 600, customer="beta", metric="tokens_output")
    send(merchant, 5, 700, customer="beta", dimensions={"model": "other"})
    stored = merchant.stored()
    found = preview(merchant, dimensions={"model": "gpt-4o"}, **{"from": moment(-60)})
    assert (found["events"], found["voided"], found["done"], found["customers"]) == (607, 0, False, 2)
    by_metric = {one["metric"]: (one["events"], Decimal(one["quantity"]), Decimal(one["charge"])) for one in found["byMetric"]}
    quantity = sum(1 + number % 9 for number in range(600))
    dear = sum(1 + number % 9 for number in range(600, 607))
    assert by_metric == {
        "tokens_input": (600, quantity, Decimal(quantity) / 1000),
        "tokens_output": (7, dear, Decimal(dear) * 4 / 1000),
    }
    by_customer = {one["customerExternalId"]: Decimal(one["charge"]) for one in found["byCustomer"]}
    assert by_customer == {"acme": Decimal(quantity) / 1000, "beta": Decimal(dear) * 4 / 1000}
    assert merchant.stored() == stored, "a preview writes nothing"
    since = moment(-3600)
    found = preview(merchant, dimensions={"model": "gpt-4o"}, **{"from": since})
    body = {"filter": {"dimensions": {"model": "gpt-4o"}, "from": since}, "preview": False, "setId": found["setId"], "reason": "outage"}
    done = merchant.ok("POST", PATH, body)
    assert (done["voided"], done["done"], done["refused"], done["amount"]) == (607, True, [], found["charge"])
    assert merchant.balance()["available"] == "100"
    assert merchant.ok("GET", "/v1/usage")["events"] == 5
    void = merchant.ok("GET", "/v1/usage-events/set 3")["void"]
    assert (void["setId"], void["reason"]) == (found["setId"], "outage")
    again = merchant.ok("POST", PATH, body)
    assert (again["voided"], again["done"], again["amount"], again["events"]) == (607, True, "0", 607)
    assert preview(merchant, dimensions={"model": "gpt-4o"}, **{"from": since})["events"] == 0


def test_a_set_that_has_changed_is_refused(merchant: Merchant) -> None:
    """Proves: one event more, or one voided by itself meanwhile, or another filter, and nothing is voided."""
    send(merchant, 5)
    found = preview(merchant, metric="tokens_input")
    body = {"filter": {"metric": "tokens_input"}, "preview": False, "setId": found["setId"]}
    send(merchant, 1, 5)
    assert_problem(merchant.call("POST", PATH, body), 409, "set_changed")
    body["setId"] = preview(merchant, metric="tokens_input")["setId"]
    merchant.ok("POST", "/v1/usage-events/set 2/void", {})
    assert_problem(merchant.call("POST", PATH, body), 409, "set_changed")
    assert_problem(merchant.call("POST", PATH, {**body, "filter": {"customerExternalId": "nobody"}}), 409, "set_changed")
    assert merchant.ok("GET", "/v1/usage")["events"] == 5
    assert_problem(merchant.live.call("POST", PATH, {**body, "filter": {"customerExternalId": "acme"}}), 409, "set_changed")


def test_two_calls_void_one_set_at_once(merchant: Merchant) -> None:
    """Proves: the same call several times in parallel voids each event once, and all end with the set voided."""
    send(merchant, 1200)
    found = preview(merchant, customerExternalId="acme")
    body = {"filter": {"customerExternalId": "acme"}, "preview": False, "setId": found["setId"]}
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: merchant.ok("POST", PATH, body), range(4)))
    assert all(answer["done"] and answer["voided"] == 1200 for answer in answers)
    assert sum(Decimal(answer["amount"]) for answer in answers) == Decimal(found["charge"])
    assert merchant.balance()["available"] == "100"


def test_times_are_half_open_and_by_occurrence(merchant: Merchant) -> None:
    """Proves: from counts, to does not, to the microsecond, and a late event lies where it occurred."""
    at = {"early": moment(-86_400), "from": moment(-3600), "to": moment(-60)}
    merchant.usage(*(event(key=key, occurredAt=time) for key, time in at.items()))
    found = preview(merchant, **{"from": at["from"], "to": at["to"]})
    body = {"filter": {"from": at["from"], "to": at["to"]}, "preview": False, "setId": found["setId"]}
    assert merchant.ok("POST", PATH, body)["voided"] == 1
    assert merchant.ok("GET", "/v1/usage-events/from")["void"] is not None
    assert preview(merchant, to=at["from"])["events"] == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"filter": {}, "preview": True}, "invalid_parameter"),
        ({"filter": {"dimensions": {}}, "preview": True}, "invalid_parameter"),
        ({"filter": {"metric": "images", "customer": "x"}, "preview": True}, "unknown_field"),
        ({"filter": {"metric": "nothing"}, "preview": True}, "unknown_metric"),
        ({"filter": {"customerExternalId": ""}, "preview": True}, "invalid_customer"),
        ({"filter": {"from": "yesterday"}, "preview": True}, "invalid_time"),
        ({"filter": {"from": "2026-01-02T00:00:00Z", "to": "2026-01-02T00:00:00Z"}, "preview": True}, "invalid_parameter"),
        ({"filter": {"metric": "images"}}, "missing_field"),
        ({"preview": True}, "missing_field"),
        ({"filter": {"metric": "images"}, "preview": True, "setId": "0" * 32}, "invalid_body"),
        ({"filter": {"metric": "images"}, "preview": False}, "invalid_body"),
        ({"filter": {"metric": "images"}, "preview": False, "setId": "x" * 32}, "invalid_body"),
        ({"filter": {"metric": "images"}, "preview": False, "setId": "0" * 32, "reason": "x" * 256}, "invalid_reason"),
        ({"filter": {"dimensions": {"a": "\x00"}}, "preview": True}, "invalid_body"),
        ({"filter": {"dimensions": {"a": 5}}, "preview": True}, "invalid_body"),
    ],
)
def test_bad_sets(merchant: Merchant, body: dict[str, Any], code: str) -> None:
    """Proves: each bad request gets one clear error, and nothing is stored."""
    before = merchant.stored()
    assert_problem(merchant.call("POST", PATH, body), 422, code)
    assert merchant.stored() == before


@pytest.mark.slow
def test_at_most_a_hundred_thousand_events(merchant: Merchant) -> None:
    """Proves: one more than the bound is refused; the bound itself is voided, call by call, each event once."""
    merchant.grant("1000")
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda start: send(merchant, 5_000, start), range(0, 100_000, 5_000)))
    merchant.usage(event(key="one more"))
    body: dict[str, Any] = {"filter": {"customerExternalId": "acme"}, "preview": True}
    assert_problem(merchant.call("POST", PATH, body), 422, "void_too_large")
    merchant.ok("POST", "/v1/usage-events/one more/void", {})
    found = preview(merchant, customerExternalId="acme")
    body = {**body, "preview": False, "setId": found["setId"]}
    given, voided = Decimal(0), 0
    while voided < 100_000:
        done = merchant.ok("POST", PATH, body)
        assert done["voided"] > voided, "a call must go on where the one before ended"
        given, voided = given + Decimal(done["amount"]), done["voided"]
        assert done["done"] == (voided == 100_000)
    assert given == Decimal(found["charge"])
    assert merchant.balance()["available"] == "1100"


def test_the_commands(merchant: Merchant) -> None:
    """Proves: void, amend and void by filter work from the command line, with a preview, a question that is not asked, and JSON."""
    at_merchant = {"BUFFMONEY_URL": merchant.product.url, "BUFFMONEY_API_KEY": merchant.sandbox_key}

    def cli(*arguments: str, check: bool = True) -> Any:
        done = merchant.product.cli("usage", *arguments, check=check, **at_merchant)
        return json.loads(done.stdout) if "--json" in arguments and done.returncode == 0 else done

    send(merchant, 300)
    merchant.usage(event(key="..", quantity="5"), event(key="a/b", quantity="5"))
    assert cli("void", "..", "--reason", "test", "--json")["amount"] == "0.005"
    assert "0.005" in cli("void", "..").stdout
    assert cli("amend", "a/b", "--new-key", "c", "--quantity", "7", "--json")["event"]["charge"] == "0.007"
    assert cli("void", check=False).returncode != 0
    shown = cli("void", "--customer", "acme", "--metric", "tokens_input", "--preview", "--json")
    assert (shown["events"], shown["voided"]) == (301, 0)
    assert cli("void", "--customer", "acme", check=False).returncode != 0, "neither --preview nor --yes"
    done = cli("void", "--customer", "acme", "--yes", "--reason", "all of it", "--json")
    assert (done["voided"], done["done"], done["amount"]) == (301, True, shown["charge"])
    assert merchant.balance()["available"] == "100"
    assert "event_not_found" in cli("void", "never", check=False).stderr
