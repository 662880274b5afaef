"""Which price a customer meets: that of its currency, of the card assigned to it, of the version it keeps."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from tests.product import Merchant, assert_problem, event, moment

CARDS = "/v1/rate-cards"
CUSTOMERS = "/v1/customers"
LINE = {"metric": "tokens_input", "price": "2", "per": "1000"}
BOTH = {"metric": "tokens_input", "prices": {"CNY": "4", "USD": "0.6"}, "per": "1000"}


def card(*charges: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A rate card's body."""
    return {"name": "card", "currency": "CNY", "charges": list(charges) or [LINE], **fields}


def make(merchant: Merchant, *charges: dict[str, Any], **fields: Any) -> str:
    """The id of a new card."""
    return str(merchant.ok("POST", CARDS, card(*charges, **fields))["rateCardId"])


def own(merchant: Merchant, price: str = "3", **fields: Any) -> str:
    """The id of a card for those to whom it is assigned."""
    return make(merchant, {**LINE, "price": price}, audience="assigned", **fields)


def customer(merchant: Merchant, name: str, currency: str, amount: str = "100") -> None:
    """A customer of this currency with some money."""
    made = merchant.ok("POST", CUSTOMERS, {"externalId": name, "currency": currency})
    assert made["currency"] == currency
    merchant.grant(amount, name, currency=currency)


def assign(merchant: Merchant, card_id: str | None, name: str = "acme", **fields: Any) -> dict[str, Any]:
    """An assignment that must be made."""
    return merchant.ok("PUT", f"{CUSTOMERS}/{name}/rate-card", {"rateCardId": card_id, **fields})


def assigned(merchant: Merchant, name: str = "acme") -> list[dict[str, Any]]:
    """All assignments of a customer, newest first."""
    found: list[dict[str, Any]] = merchant.ok("GET", f"{CUSTOMERS}/{name}/rate-card")["data"]
    return found


def charge(merchant: Merchant, name: str = "acme", **fields: Any) -> str:
    """What a thousand tokens cost a customer, or why they are refused."""
    result = merchant.usage(event(name, **fields))["results"][0]
    return str(result.get("charge") or result["code"])


# ---------------------------------------------------------------- currencies


def test_a_customer_pays_in_the_currency_of_its_wallet(merchant: Merchant) -> None:
    """Proves: each currency has its own price, sums and explanation; without a price the event is refused; the ledger is whole."""
    card_id = make(merchant, BOTH, {"metric": "tokens_output", "price": "1"})
    customer(merchant, "sam", "USD")
    customer(merchant, "eva", "EUR")
    answer = merchant.usage(event(key="cny"), event("sam", key="usd", quantity="1500"), event("eva"), event("sam", metric="tokens_output"))
    assert [one.get("charge") or one["code"] for one in answer["results"]] == ["4", "0.9", "no_price", "no_price"]
    assert (answer["charged"], answer["chargedByCurrency"]) == (None, {"CNY": "4", "USD": "0.9"})
    assert answer["balances"] == {"acme": "96", "sam": "99.1", "eva": "100"}
    alone = merchant.usage(event("sam"))
    assert (alone["charged"], alone["chargedByCurrency"]) == ("0.6", {"USD": "0.6"})

    dollars, yuan = (merchant.ok("GET", f"/v1/usage-events/{key}/charge") for key in ("usd", "cny"))
    assert [(one["currency"], one["line"]["price"], one["line"]["index"]) for one in (yuan, dollars)] == [
        ("CNY", "4", 0),
        ("USD", "0.6", 0),
    ]
    assert dollars["rateCard"]["rateCardId"] == yuan["rateCard"]["rateCardId"] == card_id
    stored = merchant.ok("GET", "/v1/usage-events/usd")
    assert (stored["currency"], stored["price"]["price"], stored["charge"]) == ("USD", "0.6", "0.9")

    report = json.loads(merchant.product.cli("ledger", "verify", "--json").stdout)
    assert report["ok"], report["differences"]
    assert set(report["charged"]) >= {"CNY", "USD"}


def test_sums_of_usage_never_mix_currencies(merchant: Merchant) -> None:
    """Proves: a report over customers of several currencies has rows and sums for each; one of a customer is in its own."""
    make(merchant, BOTH)
    merchant.usage(event())
    before = merchant.ok("GET", "/v1/usage")
    assert (before["currency"], before["charged"], before["chargedByCurrency"]) == ("CNY", "4", {"CNY": "4"})
    customer(merchant, "sam", "USD")
    merchant.usage(event("sam"), event("sam"))
    report = merchant.ok("GET", "/v1/usage")
    assert (report["currency"], report["charged"], report["events"]) == (None, None, 3)
    assert report["chargedByCurrency"] == {"CNY": "4", "USD": "1.2"}
    assert [(row["currency"], row["events"], row["charge"]) for row in report["data"]] == [("CNY", 1, "4"), ("USD", 2, "1.2")]
    mine = merchant.ok("GET", "/v1/usage?customerExternalId=sam")
    assert (mine["currency"], mine["charged"], mine["data"][0]["currency"]) == ("USD", "1.2", "USD")


def test_a_currency_is_chosen_once(merchant: Merchant) -> None:
    """Proves: it is the merchant's unless it is chosen, stays for good, and is one that is supported; grants must be in it."""
    make(merchant, BOTH)
    merchant.grant("10", "new")
    merchant.usage(event("new"))
    assert merchant.ok("GET", f"{CUSTOMERS}/new")["currency"] == "CNY"
    customer(merchant, "sam", "USD")
    changed = merchant.ok("POST", CUSTOMERS, {"externalId": "sam", "lowBalanceThreshold": "1"})
    assert (changed["currency"], changed["lowBalanceThreshold"]) == ("USD", "1")
    before = merchant.stored()
    for name, currency in (("sam", "CNY"), ("acme", "USD")):
        assert_problem(merchant.call("POST", CUSTOMERS, {"externalId": name, "currency": currency}), 422, "currency_mismatch")
    for currency in ("CHF", "usd", "", "US", "USDT"):
        problem = assert_problem(merchant.call("POST", CUSTOMERS, {"externalId": "other", "currency": currency}), 422, "invalid_currency")
        assert problem["param"] == "currency"
    for name, currency in (("sam", "CNY"), ("acme", "USD"), ("nobody", "USD")):
        grant = {"amount": "1", "currency": currency, "kind": "paid"}
        assert_problem(merchant.call("POST", f"{CUSTOMERS}/{name}/grants", grant), 422, "currency_mismatch")
    assert merchant.stored() == before


def test_holds_are_in_the_wallets_currency(merchant: Merchant) -> None:
    """Proves: estimated and actual usage of a hold is priced as any other."""
    make(merchant, BOTH)
    customer(merchant, "sam", "USD", "1")
    expected = {"metric": "tokens_input", "quantity": "1000"}
    hold = merchant.ok("POST", f"{CUSTOMERS}/sam/holds", {"events": [expected]})
    assert (hold["amount"], hold["currency"], hold["balance"]["available"]) == ("0.6", "USD", "0.4")
    closed = merchant.ok("POST", f"/v1/holds/{hold['holdId']}/capture", {"events": [event("sam", quantity="1500")]})
    assert (closed["captured"], closed["usage"]["charged"], closed["balance"]["available"]) == ("0.9", "0.9", "0.1")


def test_prices_side_by_side_come_back_as_they_were_made(merchant: Merchant) -> None:
    """Proves: a card reads as it was written, also through a draft, and a difference tells currencies apart."""
    lines = [
        {"metric": "images", "model": "markup", "match": {}, "costs": {"CNY": "7", "USD": "1"}, "per": "1", "percent": "20"},
        {"metric": "tokens_input", "model": "per_unit", "match": {}, **BOTH, "minimums": {"USD": "0.01"}},
        {"metric": "tokens_output", "model": "flat", "match": {}, "price": "1"},
        {"metric": "tokens_output", "model": "flat", "match": {}, "price": "0.2", "currency": "EUR"},
    ]
    made = merchant.ok("POST", CARDS, card(*lines, draft=True))
    assert made["charges"] == lines
    path = f"{CARDS}/{made['rateCardId']}"
    assert merchant.ok("PUT", path, card(*made["charges"]))["charges"] == lines
    assert merchant.ok("GET", CARDS)["data"][0]["chargeCount"] == 4
    done = merchant.ok("POST", f"{path}/publish", {})
    assert done["charges"] == lines
    dearer = [{**lines[1], "prices": {"CNY": "4", "USD": "0.7"}, "minimums": {"USD": "0.01"}}, *lines[2:], lines[0]]
    found = merchant.ok("GET", f"{CARDS}/{make(merchant, *dearer)}/diff")
    assert found["text"].splitlines()[1:] == [
        "~ tokens_input: 0.6 USD per 1000, at least 0.01 USD an event → 0.7 USD per 1000, at least 0.01 USD an event"
    ]
    assert found["text"].startswith("~ in force from: ")
    assert (found["changed"][0]["after"]["price"], found["changed"][0]["after"]["currency"]) == ("0.7", "USD")


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (card({**BOTH, "price": "1"}), "invalid_rate_card", "charges[0].price"),
        (card({**BOTH, "prices": {}}), "invalid_rate_card", "charges[0].prices"),
        (card({**BOTH, "prices": {"XAU": "1"}}), "invalid_currency", "charges[0].prices"),
        (card({**BOTH, "prices": {"USD": "NaN"}}), "invalid_price", "charges[0].prices.USD"),
        (card({**BOTH, "prices": {"USD": 1}}), "invalid_body", None),
        (card(LINE, {**LINE, "currency": "CHF"}), "invalid_currency", "charges[1].currency"),
        (card(BOTH, {"metric": "images", "price": "1"}, {**LINE, "currency": "USD"}), "invalid_rate_card", "charges[2].match"),
        (card(BOTH, {"metric": "unheard_of", "price": "1"}), "unknown_metric", "charges[1].metric"),
        (card(currency="CHF"), "invalid_currency", "currency"),
        (card(currency="USD"), "currency_mismatch", "currency"),
        (card(audience="somebody"), "invalid_body", None),
        (card(audience="assigned", effectiveFrom=moment(60)), "invalid_rate_card", "effectiveFrom"),
        (card(*({**BOTH, "match": {"model": str(n)}} for n in range(5_001))), "invalid_rate_card", "charges"),
    ],
)
def test_bad_cards(merchant: Merchant, body: dict[str, Any], code: str, param: str | None) -> None:
    """Proves: each fault has its code and place, and no card is stored."""
    before = merchant.ok("GET", CARDS)
    problem = assert_problem(merchant.call("POST", CARDS, body), 422, code)
    if param is not None:
        assert problem["param"] == param
    assert merchant.ok("GET", CARDS) == before


def test_a_simulation_is_in_one_currency(merchant: Merchant) -> None:
    """Proves: it covers customers of one currency, the one asked for, the customer's or the merchant's, by request and by command."""
    make(merchant, BOTH)
    customer(merchant, "sam", "USD")
    merchant.usage(event(), event("sam"), event("sam"))
    tried = make(merchant, {**BOTH, "prices": {"CNY": "5", "USD": "1"}}, draft=True)

    def simulate(**body: str) -> tuple[str, int, str, str]:
        report = merchant.ok("POST", f"{CARDS}/{tried}/simulate", body)
        return report["currency"], report["events"], report["before"], report["after"]

    assert simulate() == ("CNY", 1, "4", "5")
    assert simulate(currency="USD") == simulate(customerExternalId="sam") == ("USD", 2, "1.2", "2")
    assert simulate(customerExternalId="sam", currency="CNY") == ("CNY", 0, "0", "0")
    for currency, code in (("EUR", "currency_mismatch"), ("CHF", "invalid_currency")):
        problem = assert_problem(merchant.call("POST", f"{CARDS}/{tried}/simulate", {"currency": currency}), 422, code)
        assert problem["param"] == "currency"
    command = ("rate-cards", "simulate", "--card", tried, "--currency", "USD", "--json")
    report = json.loads(merchant.product.cli(*command, BUFFMONEY_API_KEY=merchant.sandbox_key).stdout)
    assert (report["currency"], report["before"], report["after"]) == ("USD", "1.2", "2")


def test_tiers_and_allowances_in_several_currencies(merchant: Merchant) -> None:
    """Proves: an allowance goes with prices side by side, tiers are lines of their own for each currency; each customer has its own
    count, a card of its own goes on with it, and a simulation counts the customers of its currency alone."""
    tiers = [[{"upTo": "1000", "price": price, "per": "1000"}, {"upTo": None, "price": "0", "per": "1"}] for price in ("8", "1")]
    graduated = {"metric": "tokens_output", "model": "graduated", "match": {}}
    lines = [
        {"metric": "tokens_input", "model": "per_unit", "match": {}, **BOTH, "allowance": "1000"},
        {**graduated, "tiers": tiers[0]},
        {**graduated, "tiers": tiers[1], "currency": "USD"},
    ]
    made = merchant.ok("POST", CARDS, card(*lines))
    assert made["charges"] == lines
    customer(merchant, "sam", "USD")
    for name, prices in (("acme", ("0", "4", "8", "0")), ("sam", ("0", "0.6", "1", "0"))):
        events = (event(name, metric=metric) for metric in ("tokens_input", "tokens_input", "tokens_output", "tokens_output"))
        assert tuple(result["charge"] for result in merchant.usage(*events)["results"]) == prices
    tried = make(merchant, {**lines[0], "allowance": "500"}, draft=True)
    for currency, after in (("CNY", "6"), ("USD", "0.9")):
        report = merchant.ok("POST", f"{CARDS}/{tried}/simulate", {"currency": currency})
        assert (report["events"], report["after"], report["unpricedEvents"]) == (4, after, 2)
    assign(merchant, make(merchant, {**LINE, "price": "3", "allowance": "2500"}, audience="assigned"))
    assert charge(merchant) == "1.5"
    verified = json.loads(merchant.product.cli("ledger", "verify", "--json").stdout)
    assert verified["ok"], verified["differences"]


# ---------------------------------------------------------------- own cards


def test_only_those_meet_a_card_to_whom_it_is_assigned(merchant: Merchant) -> None:
    """Proves: an override prices nothing by itself, its customer's next event when it is assigned, and not what happened before; it is
    numbered with the others, and going back is as quick."""
    merchant.grant("100", "bob")
    early = moment(-60)
    card_id = own(merchant)
    made = merchant.ok("GET", f"{CARDS}/{card_id}")
    assert (made["audience"], made["version"], made["effectiveFrom"]) == ("assigned", 2, made["publishedAt"])
    assert [charge(merchant, name) for name in ("acme", "bob")] == ["1", "1"]
    done = assign(merchant, card_id)
    assert (done["rateCardId"], done["version"], done["state"], done["name"]) == (card_id, 2, "in_force", "card")
    assert [charge(merchant, name, key=f"{name}-own") for name in ("acme", "bob")] == ["3", "1"]
    assert charge(merchant, occurredAt=early) == "1"
    why = merchant.ok("GET", "/v1/usage-events/acme-own/charge")
    assert (why["rateCard"]["rateCardId"], why["rateCard"]["version"], why["charge"]) == (card_id, 2, "3")
    # The default cards go on without it.
    assert merchant.ok("POST", CARDS, card({**LINE, "price": "5"}))["version"] == 3
    assert [charge(merchant, name) for name in ("acme", "bob")] == ["3", "5"]
    back = merchant.ok("DELETE", f"{CUSTOMERS}/acme/rate-card")
    assert (back["rateCardId"], back["version"], back["state"]) == (None, None, "in_force")
    assert charge(merchant) == "5"
    assert [(one["rateCardId"], one["state"]) for one in assigned(merchant)] == [(None, "in_force"), (card_id, "past")]
    assert assigned(merchant, "bob") == []


def test_a_customer_keeps_a_version(merchant: Merchant) -> None:
    """Proves: a pinned version counts though a newer one is in force for others, and before it is."""
    first = merchant.ok("GET", CARDS)["data"][0]["rateCardId"]
    assign(merchant, first)
    make(merchant, {**LINE, "price": "5"})
    later = make(merchant, {**LINE, "price": "9"}, effectiveFrom=moment(3600))
    merchant.grant("100", "bob")
    assert [charge(merchant, name) for name in ("acme", "bob")] == ["1", "5"]
    assign(merchant, later)
    assert [charge(merchant, name) for name in ("acme", "bob")] == ["9", "5"]


def test_assignments_of_the_future(merchant: Merchant) -> None:
    """Proves: an assignment waits for its moment, by when usage occurs; one with the same start takes its place."""
    first, second = own(merchant, "3"), own(merchant, "4")
    soon = moment(120)
    assert assign(merchant, first, effectiveFrom=soon)["state"] == "scheduled"
    # Usage is taken up to five minutes ahead.
    assert [charge(merchant), charge(merchant, occurredAt=moment(119)), charge(merchant, occurredAt=soon)] == ["1", "1", "3"]
    assign(merchant, second, effectiveFrom=soon)
    assert charge(merchant, occurredAt=moment(180)) == "4"
    assert [(one["rateCardId"], one["state"]) for one in assigned(merchant)] == [(second, "scheduled"), (first, "replaced")]
    merchant.ok("DELETE", f"{CUSTOMERS}/acme/rate-card?effectiveFrom={soon}")
    assert charge(merchant, occurredAt=moment(180)) == "1"


def test_each_product_has_its_own(merchant: Merchant) -> None:
    """Proves: a card of one product does not touch what another prices, and the product of null can be named."""
    studio = merchant.ok("POST", "/v1/products", {"code": "studio"})["productId"]
    make(merchant, {"metric": "images", "price": "7"}, productId=studio)
    pictures = make(merchant, {"metric": "images", "price": "6"}, productId=studio, audience="assigned")
    assert assign(merchant, pictures)["productId"] == studio
    assert [charge(merchant), charge(merchant, metric="images", quantity="1")] == ["1", "6"]
    assign(merchant, None)
    assert charge(merchant, metric="images", quantity="1") == "6"
    assign(merchant, None, productId=studio)
    assert charge(merchant, metric="images", quantity="1") == "7"


def test_a_card_of_another_currency_can_be_assigned_to_those_who_have_it(merchant: Merchant) -> None:
    """Proves: a card in dollars alone is for customers with dollars, and is refused to others, whose usage it could not price."""
    customer(merchant, "sam", "USD")
    dollars = own(merchant, "0.5", currency="USD")
    assert charge(merchant, "sam") == "no_price"
    assign(merchant, dollars, "sam")
    assert charge(merchant, "sam") == "0.5"
    problem = assert_problem(merchant.call("PUT", f"{CUSTOMERS}/acme/rate-card", {"rateCardId": dollars}), 422, "currency_mismatch")
    assert problem["param"] == "rateCardId"


def test_assignments_that_are_refused(merchant: Merchant) -> None:
    """Proves: each fault has its code and place, and nothing is stored or told."""
    path = f"{CUSTOMERS}/acme/rate-card"
    card_id, draft = own(merchant), make(merchant, draft=True)
    studio = merchant.ok("POST", "/v1/products", {"code": "studio"})["productId"]
    log = merchant.ok("GET", "/v1/audit-log")
    for body, status, code, param in (
        ({"rateCardId": draft}, 422, "invalid_assignment", "rateCardId"),
        ({"rateCardId": "rc_" + "0" * 24}, 404, "rate_card_not_found", "rateCardId"),
        ({"rateCardId": "x\u0000"}, 422, "invalid_body", None),
        ({"rateCardId": "rc_x"}, 404, "rate_card_not_found", "rateCardId"),
        ({"rateCardId": card_id, "effectiveFrom": moment(-1)}, 422, "invalid_assignment", "effectiveFrom"),
        ({"rateCardId": card_id, "effectiveFrom": "2027-01-01T00:00:00"}, 422, "invalid_time", "effectiveFrom"),
        ({"rateCardId": card_id, "productId": studio}, 422, "invalid_body", "productId"),
        ({"rateCardId": None, "productId": "prod_" + "0" * 24}, 404, "product_not_found", "productId"),
        ({"rateCardId": None, "effectiveFrom": moment(-1)}, 422, "invalid_assignment", "effectiveFrom"),
        ({}, 422, "missing_field", None),
        ({"rateCardId": card_id, "price": "1"}, 422, "unknown_field", None),
    ):
        problem = assert_problem(merchant.call("PUT", path, body), status, code)
        assert param is None or problem["param"] == param
    for name, status, code in (
        ("nobody", 404, "unknown_customer"),
        ("x" * 300, 422, "invalid_parameter"),
        ("x%00y", 422, "invalid_parameter"),
        ("%ED%A0%80", 400, "invalid_request"),
    ):
        for method, body in (("GET", None), ("DELETE", None), ("PUT", {"rateCardId": card_id})):
            assert_problem(merchant.call(method, f"{CUSTOMERS}/{name}/rate-card", body), status, code)
    assert_problem(merchant.call("DELETE", f"{path}?productId=prod_{'0' * 24}"), 404, "product_not_found")
    assert_problem(merchant.call("DELETE", f"{path}?effectiveFrom=soon"), 422, "invalid_time")
    assert assigned(merchant) == []
    assert merchant.ok("GET", "/v1/audit-log") == log


def test_a_card_of_another_merchant_is_not_there(merchant: Merchant, new_merchant: Callable[..., Merchant]) -> None:
    """Proves: neither another merchant's card nor its product can be assigned; both look like ones that never existed."""
    other = new_merchant()
    card_id = own(other)
    product = other.ok("GET", "/v1/products")["data"][0]["productId"]
    path = f"{CUSTOMERS}/acme/rate-card"
    assert_problem(merchant.call("PUT", path, {"rateCardId": card_id}), 404, "rate_card_not_found")
    assert_problem(merchant.call("DELETE", f"{path}?productId={product}"), 404, "product_not_found")
    assert assigned(merchant) == []


def test_every_assignment_is_told_and_a_repetition_is_none(merchant: Merchant) -> None:
    """Proves: an entry has what counted before and what counts now; the same again changes nothing."""
    card_id = own(merchant)
    assert assign(merchant, None)["rateCardId"] is None
    first = assign(merchant, card_id)
    assert assign(merchant, card_id) == first
    version = "SELECT catalog_version FROM tenants WHERE tenant_id = $1"
    before = merchant.product.sql.value(version, merchant.tenant_id)
    later = moment(3600)
    back = assign(merchant, None, effectiveFrom=later)
    assert assign(merchant, None, effectiveFrom=later) == back
    assert merchant.product.sql.value(version, merchant.tenant_id) == before + 1
    entries = merchant.client().get("/v1/audit-log", params={"action": "customer.assign_rate_card"}).json()["data"]
    assert [(one["objectKind"], one["objectId"], one["before"], one["after"]) for one in reversed(entries)] == [
        ("customer", "acme", None, first),
        ("customer", "acme", first, back),
    ]
    assert assigned(merchant) == [back, first]


def test_assignments_are_never_changed(merchant: Merchant) -> None:
    """Proves: the database refuses to change or delete one, and to assign a draft or another product's card, also to its owner."""
    assign(merchant, own(merchant))
    draft = make(merchant, draft=True)
    sql, tenant_id = merchant.product.sql, merchant.tenant_id
    for statement in (
        "UPDATE customer_rate_cards SET effective_from = now()",
        "DELETE FROM customer_rate_cards",
        "TRUNCATE customer_rate_cards",
    ):
        with pytest.raises(asyncpg.RestrictViolationError):
            sql.fetch(statement)
    insert = """INSERT INTO customer_rate_cards
        SELECT tenant_id, account_id, $3, 99, now(), $2, now() FROM customer_rate_cards WHERE tenant_id = $1"""
    product = sql.value("SELECT product_id FROM products WHERE tenant_id = $1", tenant_id)
    with pytest.raises(asyncpg.RestrictViolationError):
        sql.fetch(insert, tenant_id, draft, product)
    studio = merchant.ok("POST", "/v1/products", {"code": "studio"})["productId"]
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        sql.fetch(insert, tenant_id, own(merchant), studio)


def test_the_command_line(merchant: Merchant) -> None:
    """Proves: a card is published for some, assigned, listed and taken back by commands alone."""

    def run(*arguments: str) -> str:
        return merchant.product.cli(*arguments, BUFFMONEY_API_KEY=merchant.sandbox_key).stdout

    card_id = make(merchant, BOTH, draft=True)
    assert "for customers to whom it is assigned" in run("rate-cards", "publish", card_id, "--audience", "assigned")
    assert "4 CNY, 0.6 USD" in run("rate-cards", "show", card_id)
    assert f"acme: {card_id} (card, version 2) from " in run("customers", "assign-card", "acme", card_id)
    assert charge(merchant) == "4"
    later = moment(3600)
    assert json.loads(run("customers", "unassign-card", "acme", "--from", later, "--json"))["state"] == "scheduled"
    shown = run("customers", "cards", "acme")
    for text in (card_id, "default cards", "scheduled", "in_force"):
        assert text in shown
    assert json.loads(run("customers", "cards", "acme", "--json"))["data"] == assigned(merchant)
